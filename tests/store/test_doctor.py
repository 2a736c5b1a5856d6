"""Each thing that can be wrong is planted, and must be found, with what to do about it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import click
import psycopg
import pytest

from meschain.app.keeping.backups import BackupPlan, Proof, write_proof
from meschain.app.keeping.doctor import Doctor, Finding, Place
from meschain.app.keeping.storage import Folder
from meschain.channel.clock import microseconds
from meschain.cli.tree import root
from meschain.messages import LANGUAGES, Catalog
from meschain.messages.source import tables
from meschain.store.embedded import EmbeddedPostgres
from meschain.store.vault import Vault
from meschain.testing.shop import Shop

MIB = 1024 * 1024
Connection = psycopg.Connection[tuple[object, ...]]
DOCTORS = (Path("src/meschain/app/keeping/doctor.py"), Path("src/meschain/cli/doctor.py"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return Place(
        home=home,
        database_folder=None,
        master_key=home / "master.key",
        images_folder=home / "images",
        s3_file=home / "s3.toml",
        plan=None,
        hub_pid=None,
    )


def look(place: Place, connection: Connection | None = None) -> list[Finding]:
    looking = Doctor(place, datetime.now(UTC))  # noqa: TID251 – as the command does
    looking.look_around()
    looking.look_at_backups(Folder(place.home.parent / "backups"))
    if connection is not None:
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            looking.look_into(connection)
    return looking.findings


def kinds(findings: list[Finding], *levels: str) -> set[str]:
    return {each.kind for each in findings if each.level in (levels or ("notice", "wrong"))}


def now_us(**ago: float) -> int:
    return microseconds(datetime.now(UTC) - timedelta(**ago))  # noqa: TID251


@pytest.fixture
def well(connection: Connection, place: Place) -> Shop:
    """A shop whose one account is served, and a master key that opens its data key."""
    shop = Shop.open(connection)
    account = shop.account("east")
    wrapped = Vault.at(place.master_key).new_data_key(shop.merchant_id, 1)
    connection.execute(
        "INSERT INTO data_key VALUES (%s, 1, %s, now())", (shop.merchant_id, wrapped)
    )
    key = {"m": shop.merchant_id, "a": account, "soon": now_us(minutes=-1), "now": now_us()}
    connection.execute(
        "INSERT INTO ownership (merchant_id, account_id, owner, lease_until_us)"
        " VALUES (%(m)s, %(a)s, 'x', %(soon)s)",
        key,
    )
    connection.execute("INSERT INTO order_cursor VALUES (%(m)s, %(a)s, %(now)s, %(now)s)", key)
    connection.execute(
        "INSERT INTO lane (merchant_id, account_id, name, interval_s, batch_size, importance,"
        " last_run_us, last_success_us)"
        " VALUES (%(m)s, %(a)s, 'stock', 60, 10, 'high', %(now)s, %(now)s)",
        key,
    )
    return shop


def test_a_healthy_hub_has_nothing_wrong(well: Shop, place: Place) -> None:
    findings = look(place, well.connection)
    # The test's server is told not to care for power cuts, and the disk may be nearly full.
    assert kinds(findings) <= {"database_unsafe", "backup_unplanned", "disk_low"}
    good = {"program", "database", "log_unarchived", "clock", "key", "accounts"}
    assert good <= kinds(findings, "good")


PLANTED: dict[str, str | tuple[str, ...]] = {
    "account_reconnect": "UPDATE account SET state = 'reconnect'",
    "account_paused": "UPDATE account SET state = 'paused'",
    "account_unserved": "UPDATE ownership SET lease_until_us = 1",
    "orders_old": "UPDATE order_cursor SET fresh_us = fresh_us - 1000000000",
    "orders_unread": "UPDATE order_cursor SET fresh_us = 0",
    "lane_paused": "UPDATE lane SET is_paused = true",
    "lane_silent": "UPDATE lane SET last_run_us = last_run_us - 300000000",
    "lane_failing": "UPDATE lane SET last_error = 'x', last_error_us = last_success_us + 1",
    "net_found": "UPDATE lane SET net_found = 1",
    "backlog_old": "INSERT INTO offer_dirty (merchant_id, account_id, listing_id, field, urgency,"
    " rank, since_us) SELECT merchant_id, account_id, 1, 1, 1, 0, 0 FROM account",
    "webhook_waiting": "INSERT INTO webhook_inbox (merchant_id, account_id, received_us,"
    " body_sealed, key_number) SELECT merchant_id, account_id, 1, '', 1 FROM account",
    "refused": "INSERT INTO offer_refusal SELECT merchant_id, account_id, 1, 1, 1, '', '', '', 1"
    " FROM account",
    "throttled": "INSERT INTO attempt (merchant_id, account_id, operation, at_us, status, outcome)"
    " SELECT a.merchant_id, a.account_id, 'x', c.fresh_us, 429, '' FROM account a"
    " JOIN order_cursor c USING (merchant_id, account_id)",
    "alerts": "INSERT INTO alert (merchant_id, kind, subject, raised_us)"
    " SELECT merchant_id, 'x', '', 1 FROM merchant",
    "personal_overdue": "INSERT INTO orders (merchant_id, account_id, external_id, placed_at,"
    " currency, first_seen_us)"
    " SELECT merchant_id, account_id, '1', now() - interval '183 days', 'TRY', 1"
    " FROM account; INSERT INTO package (merchant_id, order_id, external_id, state, state_raw,"
    " modified_at) SELECT merchant_id, order_id, 'P', 'delivered', '', placed_at FROM orders",
    "images_lost": "WITH p AS (INSERT INTO product"
    " (merchant_id, model_code, created_at, updated_at)"
    " SELECT merchant_id, 'M', now(), now() FROM merchant RETURNING merchant_id, product_id)"
    " INSERT INTO media (merchant_id, product_id, source_url, content_hash, media_type)"
    " SELECT merchant_id, product_id, 'local:1', sha256('x'), 'image/jpeg' FROM p",
    "database_read_only": "SET default_transaction_read_only = on",
    "schema_newer": "INSERT INTO schema_migration VALUES (9999, 'later', 'pre', 'x')",
    "schema_older": "DELETE FROM schema_migration WHERE version = 7",
    "schema_changed": "UPDATE schema_migration SET checksum = 'x' WHERE version = 7",
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_wrong_in_the_database_is_found(kind: str, well: Shop, place: Place) -> None:
    assert kind not in kinds(look(place, well.connection))
    statement = PLANTED[kind]
    assert isinstance(statement, str)
    well.connection.execute(statement)
    found = kinds(look(place, well.connection))
    assert kind in found
    assert not {"orders_old", "orders_unread"} <= found, "each says it otherwise"


def spoil_key(place: Place) -> None:
    place.master_key.write_bytes(bytes(32))


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("key_missing", lambda place: place.master_key.unlink()),
        ("key_invalid", lambda place: place.master_key.write_bytes(b"short")),
        ("key_other", spoil_key),
        ("key_open", lambda place: place.master_key.chmod(0o644)),
        ("folder_open", lambda place: place.home.chmod(0o755)),
    ],
)
def test_what_is_wrong_in_the_data_folder_is_found(
    kind: str, spoil: Callable[[Place], object], well: Shop, place: Place
) -> None:
    assert kind not in kinds(look(place, well.connection))
    spoil(place)
    assert kind in kinds(look(place, well.connection))


def test_backups_that_are_missing_late_untried_or_bad_are_found(place: Place) -> None:
    planned = replace(place, plan=BackupPlan())
    storage = Folder(place.home.parent / "backups")
    folder = storage.path
    assert kinds(look(place)) >= {"backup_unplanned"}
    assert "backup_none" in kinds(look(planned), "wrong")
    folder.mkdir()
    now = datetime.now(UTC)  # noqa: TID251
    stamp = (now - timedelta(days=3)).strftime("%Y%m%dT%H%M%SZ")
    (folder / f"meschain-{stamp}.backup").write_bytes(b"")
    assert "backup_old" in kinds(look(planned), "wrong")
    stamp = (now + timedelta(days=400)).strftime("%Y%m%dT%H%M%SZ")  # a clock was wrong
    (folder / f"meschain-{stamp}.backup").write_bytes(b"")
    assert "backup_old" in kinds(look(planned), "wrong")
    stamp = (now - timedelta(hours=3)).strftime("%Y%m%dT%H%M%SZ")
    (folder / f"meschain-{stamp}.backup").write_bytes(b"")
    found = look(planned)
    assert kinds(found) - {"disk_low"} == {"backup_untested", "backup_same_disk"}
    write_proof(storage, Proof(now, "x.backup", 0, "it broke"))
    assert "backup_unproven" in kinds(look(planned), "wrong")
    write_proof(storage, Proof(now, "x.backup", 9))
    assert kinds(look(planned)) - {"disk_low"} == {"backup_same_disk"}
    with (folder / f"meschain-{stamp}.backup").open("wb") as huge:
        huge.truncate(shutil.disk_usage(folder).free)  # takes no room, and counts as what it says
    assert "backup_disk_low" in kinds(look(planned), "wrong")
    shutil.rmtree(folder)
    assert "backup_none" in kinds(look(planned), "wrong")
    folder.write_text("in the way")
    assert "backup_unreadable" in kinds(look(planned), "wrong")
    sealed = replace(planned, backup_key=place.home / "backup.key")
    assert "backup_key_missing" in kinds(look(sealed), "wrong")


@pytest.mark.parametrize(
    ("free_mib", "expected"),
    [(800, ("disk_low", "wrong")), (4_000, ("disk_low", "notice")), (6_000, ("disk", "good"))],
)
def test_a_disk_that_is_nearly_full_is_found_before_it_is(
    free_mib: int, expected: tuple[str, str], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = free_mib * MIB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = [each for each in look(place) if each.kind.startswith("disk")]
    assert {(each.kind, each.level) for each in found} == {expected}
    assert {each.params["free"] for each in found} == {free_mib}


@pytest.mark.slow
def test_whether_the_log_is_archived_and_whether_that_fails_is_found(
    place: Place, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    settings = {"archive_mode": "on", "archive_command": "test ! -e full && cp %p archived"}

    def archiving(connection: Connection) -> set[str]:
        looking = Doctor(place, datetime.now(UTC))  # noqa: TID251 – as the command does
        looking.look_into(connection)
        said = {"log_archived", "log_unarchived", "archive_empty", "archive_failing"}
        return {each.kind for each in looking.findings} & said

    server = EmbeddedPostgres(tmp_path / "postgres", settings=settings)
    try:
        url = server.start()
        with psycopg.connect(url, autocommit=True) as connection:
            assert archiving(connection) == {"archive_empty"}
            connection.execute("CREATE TABLE something ()")
            connection.execute("SELECT pg_switch_wal()")
            until(lambda: archiving(connection) == {"log_archived"})
            assert (server.cluster / "archived").exists()
            (server.cluster / "full").touch()
            connection.execute("CREATE TABLE more ()")
            connection.execute("SELECT pg_switch_wal()")
            until(lambda: archiving(connection) == {"archive_failing"})
    finally:
        server.remove()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_hub_that_died_and_a_clock_that_is_off_are_found(well: Shop, place: Place) -> None:
    dead = replace(place, hub_pid=os.getpid())  # the number is another process's by now
    assert "hub_gone" in kinds(look(dead))
    assert "hub" in kinds(look(replace(dead, hub_lives=True)), "good")
    for seconds, level in ((5, "notice"), (60, "wrong")):
        looking = Doctor(place, datetime.now(UTC) + timedelta(seconds=seconds))  # noqa: TID251
        looking.look_into(well.connection)
        assert "clock_off" in kinds(looking.findings, level)


# — texts —


def texts(language: str) -> dict[str, str]:
    found = {key: text for _, table in tables(language) for key, text in table.items()}
    return {key: text for key, text in found.items() if key.startswith("cli.doctor.")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_finding_has_a_text_and_every_bad_one_says_what_to_do(language: str) -> None:
    words = Catalog.load(language)
    code = "".join(each.read_text(encoding="utf-8") for each in DOCTORS)
    found = set(re.findall(r'"([a-z]+(?:_[a-z]+)*)", "(?:good|notice|wrong)"', code))
    found -= {"good", "notice", "wrong", "green", "yellow"}
    found |= {"backup_away", "backup_old", "clock_off", "database_away", "database_old"}
    found |= {"disk_low", "refused", "throttled"}
    assert len(found) > 35
    good = {"program", "hub", "key", "database", "disk", "backup", "clock", "accounts", "images"}
    good |= {"log_archived", "log_unarchived"}
    for kind in found:
        assert f"cli.doctor.{kind}" in words, kind
        assert (f"cli.doctor.{kind}.do" in words) == (kind not in good), kind


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_commands_that_are_advised_exist(language: str) -> None:
    for key, text in texts(language).items():
        for words in re.findall(r"meschain ([a-z-]+(?: [a-z-]+)*)", text):
            command: click.Command = root
            for word in words.split():
                if not isinstance(command, click.Group):
                    break
                below = command.get_command(click.Context(command), word)
                assert below is not None, f"{key}: {words}"
                command = below
