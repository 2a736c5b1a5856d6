"""Backups between real databases: everything comes back, everywhere, or nothing is changed."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from meschain.app.keeping import backups
from meschain.app.keeping.backups import Proof
from meschain.app.keeping.storage import Folder
from meschain.store.backup import (
    BackupDiffers,
    BackupIncomplete,
    BackupLocked,
    DatabaseInUse,
    Loaded,
    Tick,
    drop_before,
    has_merchants,
    read_header,
    scratch,
    swap,
)
from meschain.store.backup.content import Table, read_rows, spell_plainly, tables
from meschain.store.embedded import EmbeddedPostgres
from meschain.store.embedded.binaries import all_binaries
from meschain.store.migrate import (
    BackupNewerThanProgram,
    DatabaseNewerThanProgram,
    MigrationChanged,
    migrate,
    migrations,
)
from meschain.testing.database import TEST_SETTINGS, DatabaseServer, url_of
from meschain.testing.shop import Shop
from tests.store.test_isolation import fill

Connection = psycopg.Connection[tuple[object, ...]]
NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
KEY = b"a key of 16 bytes or more"
ODD = 'tab\t newline\n backslash\\ \\N quote" İıŞğ 😀 {"a":1}'


def no_tick(_done: int, _total: int) -> None:
    """Nobody looks."""


def made(url: str, folder: Path, *, key: bytes | None = None, tick: Tick = no_tick) -> Path:
    storage = Folder(folder)
    name = backups.make_backup(url, storage, now=NOW, key=key, master_key=None, tick=tick).name
    return folder / name


def prove(url: str, path: Path, *, key: bytes | None, tick: Tick = no_tick) -> Proof:
    return backups.prove(url, Folder(path.parent), path.name, now=NOW, key=key, tick=tick)


@contextmanager
def restored_beside(url: str, path: Path, key: bytes | None = None) -> Iterator[Loaded]:
    with path.open("rb") as file, scratch(url, file, key) as loaded:
        yield loaded


def content(url: str) -> dict[str, list[bytes]]:
    """All rows of all tables, as text."""
    with psycopg.connect(url) as connection:
        spell_plainly(connection)
        return {table.name: list(read_rows(connection, table)) for table in tables(connection)}


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {name for (name,) in rows}


def scratches_of(url: str) -> set[str]:
    """Other tests share the server."""
    prefix = urlsplit(url).path.removeprefix("/") + "_scratch_"
    return {name for name in databases(url) if name.startswith(prefix)}


@pytest.fixture
def filled(connection: Connection) -> Connection:
    """Two merchants with a row in every table, and texts that a format could trip over."""
    for name, mark in (("Kaya", "X"), ("Demir", "Y")):
        fill(Shop.open(connection, name), mark)
    connection.execute("UPDATE product SET brand = %s, category_path = ''", (ODD,))
    connection.execute("INSERT INTO budget_loan (budget, units, free_us) VALUES ('x', 1, 1)")
    connection.execute(
        "UPDATE orders SET person_sealed = %s, payable = 1234567.123456", (bytes(range(256)),)
    )
    return connection


@pytest.mark.usefixtures("filled")
def test_every_row_of_every_table_comes_back_and_new_numbers_go_on(
    database_url: str, tmp_path: Path
) -> None:
    ticks: list[tuple[int, int]] = []
    path = made(database_url, tmp_path, tick=lambda done, total: ticks.append((done, total)))
    assert path.stat().st_mode & 0o077 == 0
    assert ticks[-1][0] > 80
    before = content(database_url)
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    with restored_beside(database_url, path) as loaded:
        assert content(loaded.conninfo) == before
        loaded.bring_to_today()
        with psycopg.connect(loaded.conninfo) as restored, psycopg.connect(database_url) as ours:
            for each in (restored, ours):
                each.execute("SET meschain.merchant_id = 1")
            draw = "SELECT nextval('ticket_id_seq'), nextval(pg_get_serial_sequence('event', %s))"
            assert restored.execute(draw, ("event_id",)).fetchone() == (
                ours.execute(draw, ("event_id",)).fetchone()
            )
            # Foreign keys stand again, and functions are there.
            keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
            assert restored.execute(keys).fetchone() == ours.execute(keys).fetchone()
            functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            assert restored.execute(functions).fetchone() == ours.execute(functions).fetchone()
            # A number of a transaction of the old server would hide an event until it is reached.
            hidden = "SELECT count(*) FROM event WHERE xid >= pg_current_xact_id()"
            assert restored.execute(hidden).fetchone() == (0,)
    assert not scratches_of(database_url)


@pytest.mark.usefixtures("filled")
def test_a_sealed_backup_restores_with_its_key_only(database_url: str, tmp_path: Path) -> None:
    path = made(database_url, tmp_path, key=KEY)
    assert prove(database_url, path, key=KEY).rows > 80
    for wrong in (None, b"another key of 16 bytes"):
        with pytest.raises(BackupLocked):
            prove(database_url, path, key=wrong)
    assert not scratches_of(database_url)
    with pytest.raises(BackupLocked):
        made(database_url, tmp_path, key=b"too short")
    # Nothing half-made stays.
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.usefixtures("filled")
def test_what_was_loaded_otherwise_than_saved_is_refused(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a server stored something else: the comparison reads it back and says which table."""
    path = made(database_url, tmp_path)
    load = Loaded._load  # noqa: SLF001 – what stands between loading and comparing

    def spoil(self: Loaded, connection: Connection, *rest: object) -> None:
        load(self, connection, *rest)  # type: ignore[arg-type]
        connection.execute("UPDATE stock_level SET on_hand = on_hand + 1")

    monkeypatch.setattr(Loaded, "_load", spoil)
    with pytest.raises(BackupDiffers, match=r"^stock_level$"):
        prove(database_url, path, key=None)


def test_a_backup_beside_sales_is_of_one_moment(
    connection: Connection, database_url: str, tmp_path: Path
) -> None:
    """Level and movements are written together; a backup that mixes moments tears them apart."""
    shop = Shop.open(connection)
    skus = [f"S{number}" for number in range(20)]
    for sku in skus:
        shop.variant(sku, on_hand=1_000)
    stop = threading.Event()
    booked = 0

    def sell() -> None:
        nonlocal booked
        with psycopg.connect(database_url, autocommit=True) as own:
            shop.connection = own
            while not stop.is_set():
                shop.move(dict.fromkeys(skus, -1), "adjustment")
                booked += 1

    selling = threading.Thread(target=sell)
    selling.start()
    torn = (
        "SELECT count(*) FROM stock_level l WHERE on_hand <> (SELECT sum(on_hand_delta)"
        " FROM stock_movement m WHERE m.merchant_id = l.merchant_id"
        " AND m.variant_id = l.variant_id)"
    )
    try:
        for number in range(3):
            path = made(database_url, tmp_path / str(number))
            at_end = booked
            with (
                restored_beside(database_url, path) as loaded,
                psycopg.connect(loaded.conninfo) as restored,
            ):
                assert restored.execute(torn).fetchone() == (0,)
                ((moves,),) = restored.execute("SELECT count(*) FROM stock_movement").fetchall()
                assert moves // len(skus) <= at_end + 2
    finally:
        stop.set()
        selling.join()
    assert booked > 3


def test_a_backup_of_a_newer_program_is_refused_before_anything_is_changed(
    filled: Connection, database_url: str, tmp_path: Path
) -> None:
    filled.execute("INSERT INTO schema_migration VALUES (9999, 'later', 'pre', 'x')")
    path = made(database_url, tmp_path)
    with pytest.raises(BackupNewerThanProgram, match="9999"):
        prove(database_url, path, key=None)
    # The same of the database itself: an older program does not touch it.
    with pytest.raises(DatabaseNewerThanProgram, match="9999"):
        migrate(database_url)
    filled.execute("DELETE FROM schema_migration WHERE version = 9999")
    filled.execute("UPDATE schema_migration SET checksum = 'x' WHERE version = 3")
    with pytest.raises(MigrationChanged, match="states"):
        prove(database_url, made(database_url, tmp_path), key=None)


@pytest.mark.parametrize("version", [4, 5, 7])
def test_a_backup_of_an_older_schema_is_brought_to_todays(
    version: int, database_server: DatabaseServer, tmp_path: Path
) -> None:
    older = {each.version: each.checksum for each in migrations() if each.version <= version}
    with database_server.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        migrate(url, only=older)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("INSERT INTO merchant (name, created_at) VALUES ('Kaya', now())")
        path = made(url, tmp_path)
        with path.open("rb") as file:
            assert read_header(file).schema_version == version
        with restored_beside(url, path) as loaded:
            loaded.bring_to_today()
            loaded.begin_anew(now=NOW, actor="test", keep_armed=False)
            with psycopg.connect(loaded.conninfo) as restored:
                newest = restored.execute("SELECT max(version) FROM schema_migration").fetchone()
                assert newest == (migrations()[-1].version,)
                names = restored.execute("SELECT name FROM merchant").fetchall()
                assert names == [("Kaya",)]


@pytest.mark.slow
@pytest.mark.parametrize("is_upwards", [True, False], ids=["to a newer", "to an older"])
def test_a_backup_restores_on_another_server_of_another_major_version(
    is_upwards: bool,  # noqa: FBT001 – a parameter of the test
    filled: Connection,
    database_url: str,
    tmp_path: Path,
) -> None:
    found = {each.major: each for each in all_binaries(None)}
    ((here,),) = filled.execute("SELECT current_setting('server_version_num')::int / 10000")
    others = [major for major in sorted(found) if major != here]
    if not others:
        pytest.skip("only one major version of PostgreSQL is installed here")
    folder = tmp_path / "other"
    with EmbeddedPostgres(
        folder, binaries=str(found[others[0]].folder), settings=TEST_SETTINGS
    ) as other:
        theirs = other.start()
        migrate(theirs)
        source, target = (theirs, database_url) if is_upwards else (database_url, theirs)
        if is_upwards:
            with psycopg.connect(theirs, autocommit=True) as connection:
                fill(Shop.open(connection), "Z")
        path = made(source, tmp_path / "backups", key=KEY)
        with restored_beside(target, path, KEY) as loaded:
            assert content(loaded.conninfo) == content(source)
        other.remove()


# — in the place of what is there —


@pytest.fixture
def hub_url(database_server: DatabaseServer) -> Iterator[str]:
    """A database that may be renamed away."""
    with database_server.database() as url:
        yield url
        drop_before(url)


@pytest.mark.usefixtures("filled")
def test_the_swap_is_all_or_nothing_and_keeps_what_was_there(
    database_url: str, hub_url: str, tmp_path: Path
) -> None:
    path = made(database_url, tmp_path)
    with psycopg.connect(hub_url, autocommit=True) as connection:
        Shop.open(connection, "Old")
        with restored_beside(hub_url, path) as loaded, pytest.raises(DatabaseInUse):
            swap(loaded, hub_url, stamp="1")
        assert not scratches_of(hub_url)
        assert connection.execute("SELECT name FROM merchant").fetchall() == [("Old",)]
    befores = []
    for stamp in ("1", "2"):
        with restored_beside(hub_url, path) as loaded:
            loaded.bring_to_today()
            befores.append(swap(loaded, hub_url, stamp=stamp))
        assert has_merchants(hub_url)
        left = [name for name in databases(database_url) if name in befores]
        assert left == [befores[-1]]
    assert content(hub_url)["merchant"] == content(database_url)["merchant"]
    with psycopg.connect(hub_url) as connection:
        assert connection.execute("SELECT count(*) FROM merchant").fetchone() == (2,)


def test_what_a_killed_restore_left_behind_is_removed_by_the_next(
    filled: Connection, database_url: str, tmp_path: Path
) -> None:
    path = made(database_url, tmp_path)
    name = filled.info.dbname
    left = f"{name}_scratch_00000000"
    filled.execute(f'CREATE DATABASE "{left}"')
    prove(database_url, path, key=None)
    assert not any(f"{name}_scratch_" in each for each in databases(database_url))


def test_what_went_wrong_is_told_although_cleaning_up_fails_too(
    filled: Connection, database_url: str, tmp_path: Path
) -> None:
    """As on a full disk, where neither loading nor dropping goes on."""
    path = made(database_url, tmp_path)

    def full(_done: int, _total: int) -> None:
        for name in scratches_of(database_url):
            filled.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE true'.encode())
        raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(OSError, match="no room"):
        prove(database_url, path, key=None, tick=full)
    (left,) = scratches_of(database_url)
    filled.execute(f'ALTER DATABASE "{left}" IS_TEMPLATE false'.encode())
    assert prove(database_url, path, key=None).rows
    assert not scratches_of(database_url)


def test_databases_of_others_that_are_named_alike_are_left_alone(
    filled: Connection, database_url: str, tmp_path: Path
) -> None:
    path = made(database_url, tmp_path)
    stem = filled.info.dbname
    alike = [f"{stem}_scratch_of_mine", f"{stem}_before_christmas", f"{stem}_before_"]
    long = "a_name_that_is_longer_than_it_may_be_for_what_is_appended_"
    try:
        for name in (*alike, long + "1"):
            filled.execute(f'CREATE DATABASE "{name}"')
        prove(database_url, path, key=None)
        drop_before(database_url)
        drop_before(url_of(database_url, long + "2"))
        with restored_beside(url_of(database_url, long + "1"), path) as loaded:
            swap(loaded, url_of(database_url, long + "1"), stamp="7")
        drop_before(url_of(database_url, long + "2"))
        left = databases(database_url)
        assert {*alike, long + "1"} <= left
        assert sum(name.endswith("_before_7") for name in left) == 1
        drop_before(url_of(database_url, long + "1"))
        assert not any(name.endswith("_before_7") for name in databases(database_url))
    finally:
        for name in (*alike, long + "1"):
            filled.execute(f'DROP DATABASE IF EXISTS "{name}"')


# — owners without privileges —


@pytest.fixture
def plain_owner(database_server: DatabaseServer) -> Iterator[str]:
    """A database whose owner is no superuser and may not look around row-level security."""
    admin = database_server.admin_url
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain_owner LOGIN CREATEDB CREATEROLE")
        connection.execute("GRANT meschain_app, meschain_engine TO plain_owner")
        connection.execute("CREATE DATABASE plain OWNER plain_owner")
    try:
        yield make_conninfo(url_of(admin, "plain"), user="plain_owner")
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("DROP DATABASE plain WITH (FORCE)")
            connection.execute("DROP DATABASE IF EXISTS plain_before_1 WITH (FORCE)")
            connection.execute("DROP ROLE plain_owner")


def test_an_owner_without_privileges_saves_and_restores_every_merchant(
    plain_owner: str, tmp_path: Path
) -> None:
    migrate(plain_owner)
    with psycopg.connect(plain_owner, autocommit=True) as connection:
        for merchant in (1, 2):
            connection.execute(
                "SELECT set_config('meschain.merchant_id', %s, false)", (str(merchant),)
            )
            connection.execute("SET ROLE meschain_app")
            connection.execute(
                "INSERT INTO merchant (merchant_id, name, created_at) VALUES (%s, %s, now())",
                (merchant, f"M{merchant}"),
            )
            connection.execute(
                "INSERT INTO product (merchant_id, model_code, created_at, updated_at)"
                " VALUES (%s, 'A', now(), now())",
                (merchant,),
            )
            connection.execute("RESET ROLE")
    path = made(plain_owner, tmp_path)
    with restored_beside(plain_owner, path) as loaded:
        loaded.bring_to_today()
        loaded.begin_anew(now=NOW, actor="test", keep_armed=False)
        found = content(loaded.conninfo)
        assert len(found["product"]) == len(found["merchant"]) == len(found["audit"]) == 2
        swap(loaded, plain_owner, stamp="1")
    assert len(content(plain_owner)["audit"]) == 2
    drop_before(plain_owner)
    with psycopg.connect(plain_owner, autocommit=True) as connection:
        connection.execute("DROP POLICY owner_reads ON product")
    with pytest.raises(BackupIncomplete, match="product"):
        made(plain_owner, tmp_path)


def test_every_table_can_be_read_by_an_owner_without_privileges(connection: Connection) -> None:
    """A new table with forced security and no such policy would make backups fail there."""
    rows = connection.execute(
        "SELECT relname FROM pg_class c WHERE relforcerowsecurity AND NOT EXISTS"
        " (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'owner_reads')"
    ).fetchall()
    assert rows == []


def test_the_order_of_rows_is_total_in_every_table(connection: Connection) -> None:
    """Else two readings of the same rows could hash differently."""
    found: list[Table] = tables(connection)
    assert len(found) > 40
    assert [table.name for table in found if not table.key] == []
