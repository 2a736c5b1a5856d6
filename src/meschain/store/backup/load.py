"""From a file into a database: into a scratch one first, compared, brought to today, swapped in."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Final, Self

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from meschain.channel.clock import microseconds
from meschain.store.backup.content import Sum, read_rows, spell_plainly, tables
from meschain.store.backup.envelope import (
    MASTER_KEY,
    ROWS,
    SEQUENCES,
    TABLE,
    TABLE_END,
    BackupDamaged,
    Header,
    TableBegin,
    TableEnd,
    Tick,
    read_header,
    read_records,
)
from meschain.store.migrate import migrate
from meschain.store.sql import query

Connection = psycopg.Connection[tuple[Any, ...]]

_STEM_BYTES_MAX: Final = 40  # of 63, so that there is room for what is appended
_CLOSING_S: Final = 3.0
_MAINTENANCE: Final = "postgres"  # a database every server has; only connected to for the swap


class BackupDiffers(RuntimeError):
    """What was loaded is not what was saved: the tables by name."""


class DatabaseInUse(RuntimeError):
    """Others are connected to the database that shall be replaced."""


@dataclass(slots=True)
class Loaded:
    """A scratch database with a backup's content, and what is known of it."""

    conninfo: str
    header: Header
    rows: int = 0
    tables: dict[str, TableEnd] = field(default_factory=dict)
    master_key: bytes | None = None
    is_kept: bool = False

    @classmethod
    def from_file(cls, conninfo: str, file: BinaryIO, key: bytes | None, tick: Tick) -> Self:
        """Load and compare. The schema is the backup's, made by our own migrations.

        Raises BackupUnknown, BackupLocked, BackupDamaged, BackupDiffers, BackupNewerThanProgram,
        MigrationChanged.
        """
        made = cls(conninfo, read_header(file))
        file.seek(0)
        migrate(conninfo, only=made.header.migrations)
        with psycopg.connect(conninfo) as connection, lifted_security(connection):
            spell_plainly(connection)
            made._load(connection, read_records(file, key), tick)
        with psycopg.connect(conninfo) as connection:
            spell_plainly(connection)
            made._compare(connection, tick)
        return made

    def _load(
        self, connection: Connection, records: Iterator[tuple[bytes, bytes]], tick: Tick
    ) -> None:
        known = {table.name for table in tables(connection)}
        # What the migrations put into tables is in the backup too.
        names = sql.SQL(", ").join(map(sql.Identifier, sorted(known)))
        connection.execute(sql.SQL("TRUNCATE {}").format(names))
        # Rows may come before those they refer to, so the references are checked afterwards.
        references = _drop_references(connection)
        for kind, content in records:
            if kind == TABLE:
                begin = msgspec.json.decode(content, type=TableBegin)
                if begin.name not in known:
                    raise BackupDamaged(f"there is no table {begin.name}")
                self._load_table(connection, begin, records, tick)
            elif kind == SEQUENCES:
                for name, value in msgspec.json.decode(content, type=dict[str, int]).items():
                    connection.execute("SELECT setval(%s::regclass, %s)", (f'"{name}"', value))
            elif kind == MASTER_KEY:
                self.master_key = content
        for statement in references:
            connection.execute(statement)
        connection.execute("ANALYZE")

    def _load_table(
        self,
        connection: Connection,
        begin: TableBegin,
        records: Iterator[tuple[bytes, bytes]],
        tick: Tick,
    ) -> None:
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(begin.name), sql.SQL(", ").join(map(sql.Identifier, begin.columns))
        )
        with connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for kind, content in records:
                    if kind != ROWS:
                        break
                    copy.write(content)
                else:
                    raise BackupDamaged("a table has no end")
            if kind != TABLE_END:
                raise BackupDamaged("a table has no end")
            self.tables[begin.name] = msgspec.json.decode(content, type=TableEnd)
            self.rows += cursor.rowcount
        tick(self.rows, max(self.rows, self.header.rows_estimated))

    def _compare(self, connection: Connection, tick: Tick) -> None:
        differing: list[str] = []
        done = 0
        for table in tables(connection):
            found = Sum()
            for row in read_rows(connection, table):
                found.add(row)
            done += found.rows
            if found.end() != self.tables.get(table.name):
                differing.append(table.name)
            tick(done, max(done, self.rows))
        if differing or len(self.tables) != len(tables(connection)):
            raise BackupDiffers(", ".join(differing) or "tables are missing")

    def bring_to_today(self) -> None:
        """Apply the migrations that came since, and the functions."""
        migrate(self.conninfo)

    def begin_anew(self, *, now: datetime, actor: str, keep_armed: bool) -> int:
        """Make an older state fit to trade with; see ``queries/restore.sql``.

        Returns how many accounts were armed. Without ``keep_armed`` they are read-only now.
        """
        params = {
            "now": now,
            "now_us": microseconds(now),
            "actor": actor,
            "keep_armed": keep_armed,
            "facts": msgspec.json.encode({"backup_of": self.header.created_at}).decode(),
        }
        with psycopg.connect(self.conninfo) as connection, lifted_security(connection):
            row = connection.execute(query("restore.armed")).fetchone()
            for name in _ANEW:
                connection.execute(query(f"restore.{name}"), params)
        assert row is not None
        armed: int = row[0]
        return armed

    def erase_again(self, requests: Sequence[Sequence[object]], *, now: datetime) -> int:
        """Erase what buyers have asked for since; returns how many orders.

        ``requests``: merchant, account, source, number, and when, as in ``erasure_request``.
        """
        columns = [list(column) for column in zip(*requests, strict=True)] or [[]] * 5
        names = ("merchants", "accounts", "sources", "numbers", "asked")
        params: dict[str, object] = dict(zip(names, columns, strict=True))
        with psycopg.connect(self.conninfo) as connection, lifted_security(connection):
            connection.execute(query("personal_data.ask_again"), params)
            row = connection.execute(query("personal_data.erase_again"), {"now": now}).fetchone()
            connection.execute(query("personal_data.erase_past_again"), {"now": now})
            connection.execute(query("personal_data.forget_deliveries_again"))
        assert row is not None
        erased: int = row[0]
        return erased

    def data_keys(self) -> list[tuple[int, int, bytes]]:
        """Merchant, number and sealed key of every data key in it."""
        with psycopg.connect(self.conninfo) as connection:
            rows = connection.execute(
                "SELECT merchant_id, key_number, wrapped FROM data_key ORDER BY 1, 2"
            ).fetchall()
        return [(merchant, number, bytes(wrapped)) for merchant, number, wrapped in rows]


_ANEW: Final = (
    "disarm",
    "begin_feed",
    "free_accounts",
    "doubt_orders",
    "end_tickets",
    "forget_inflight",
    "doubt_shelves",
    "tell_shelves",
    "doubt_wishes",
    "end_sweeps",
    "write_down",
)


@contextmanager
def lifted_security(connection: Connection) -> Iterator[None]:
    """One transaction in which the owner reads and writes the rows of all merchants."""
    with connection.transaction():
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relforcerowsecurity ORDER BY relname"
        ).fetchall()
        statement = "ALTER TABLE {} {} ROW LEVEL SECURITY"
        for (name,) in rows:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.SQL("NO FORCE")))
        yield
        for (name,) in rows:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.SQL("FORCE")))


def _drop_references(connection: Connection) -> list[sql.Composed]:
    """Drop the foreign keys; returns the statements that make, and check, them again."""
    rows = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'public'::regnamespace"
        " ORDER BY 1, 2"
    ).fetchall()
    again: list[sql.Composed] = []
    for table, name, definition in rows:
        named = sql.SQL("ALTER TABLE {} {} CONSTRAINT {} ")
        parts = sql.Identifier(table), sql.Identifier(name)
        connection.execute(named.format(parts[0], sql.SQL("DROP"), parts[1]))
        # The definition is PostgreSQL's own, of a schema that our migrations made just now.
        again.append(named.format(parts[0], sql.SQL("ADD"), parts[1]) + sql.SQL(definition))
    return again


@contextmanager
def scratch(
    conninfo: str, file: BinaryIO, key: bytes | None, tick: Tick = lambda _done, _total: None
) -> Iterator[Loaded]:
    """The backup in ``file`` in a database beside ``conninfo``'s, dropped at the end unless kept.

    ``conninfo``'s user must be allowed to create databases. What a killed run left is removed.
    """
    prefix = _stem(conninfo) + "_scratch_"
    made = prefix + secrets.token_hex(4)
    with psycopg.connect(
        make_conninfo(conninfo, dbname=_MAINTENANCE), autocommit=True
    ) as connection:
        # One at a time for a hub: then every other scratch database is a dead run's.
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", (prefix,))
        for left in _named(connection, prefix, "[0-9a-f]{8}"):
            _drop(connection, left)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(
                sql.Identifier(made)
            )
        )
        try:
            loaded = Loaded.from_file(make_conninfo(conninfo, dbname=made), file, key, tick)
            yield loaded
        except BaseException:
            # What went wrong first is what is told; what cannot be dropped now is left to the next.
            with suppress(psycopg.Error):
                _drop(connection, made)
            raise
        if not loaded.is_kept:
            _drop(connection, made)


def swap(loaded: Loaded, conninfo: str, *, stamp: str) -> str:
    """Put the scratch database in the place of ``conninfo``'s, both at once; nobody may be there.

    Returns the name under which what was there lies now; what an earlier swap put aside is dropped.
    Raises DatabaseInUse.
    """
    name, made = database_of(conninfo), database_of(loaded.conninfo)
    prefix = _stem(conninfo) + "_before_"
    before = prefix + stamp
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    with psycopg.connect(
        make_conninfo(conninfo, dbname=_MAINTENANCE), autocommit=True
    ) as connection:
        earlier = _named(connection, prefix, "[0-9]+")
        try:
            with connection.transaction():
                connection.execute(rename.format(sql.Identifier(name), sql.Identifier(before)))
                connection.execute(rename.format(sql.Identifier(made), sql.Identifier(name)))
        except psycopg.errors.ObjectInUse as used:
            raise DatabaseInUse from used
        loaded.is_kept = True
        for left in earlier:
            _drop(connection, left)
    return before


def check_unused(conninfo: str) -> None:
    """Refuse early what ``swap`` would refuse in the end. Raises DatabaseInUse.

    A session that has just been closed takes the server a moment to forget.
    """
    until_s = time.monotonic() + _CLOSING_S
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while True:
            ((count,),) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchall()
            if count == 0:
                return
            if time.monotonic() > until_s:
                raise DatabaseInUse
            time.sleep(0.05)


def _drop(connection: Connection, name: str) -> None:
    # By force only where it must be: the server's own autovacuum makes room when it is asked, and
    # to force it takes more rights than an owner has.
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    try:
        connection.execute(statement)
    except psycopg.errors.ObjectInUse:
        connection.execute(statement + sql.SQL(" WITH (FORCE)"))


def drop_before(conninfo: str) -> None:
    """Drop what ``swap`` has put aside."""
    prefix = _stem(conninfo) + "_before_"
    with psycopg.connect(
        make_conninfo(conninfo, dbname=_MAINTENANCE), autocommit=True
    ) as connection:
        for left in _named(connection, prefix, "[0-9]+"):
            _drop(connection, left)


def _stem(conninfo: str) -> str:
    """The database's name; a long one shortened so that no other's is taken for it."""
    name = database_of(conninfo)
    if len(name.encode()) <= _STEM_BYTES_MAX:
        return name
    return "meschain_" + hashlib.sha256(name.encode()).hexdigest()[:16]


def _named(connection: Connection, prefix: str, ending: str) -> list[str]:
    """Databases that were made here for this one: others may begin alike, and are not ours."""
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1", (prefix,)
    ).fetchall()
    return [name for (name,) in rows if re.fullmatch(ending, name.removeprefix(prefix))]


def has_merchants(conninfo: str) -> bool:
    """Whether the database at ``conninfo`` holds anything worth keeping."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("SELECT EXISTS (SELECT 1 FROM merchant)").fetchone()
    return row is not None and bool(row[0])


def erasure_requests(conninfo: str) -> list[tuple[object, ...]]:
    """What buyers have asked of the hub whose database this is; see ``Loaded.erase_again``."""
    with psycopg.connect(conninfo) as connection:
        if connection.execute("SELECT to_regclass('erasure_request')").fetchone() == (None,):
            return []
        return list(connection.execute(query("personal_data.requests")).fetchall())


def database_of(conninfo: str) -> str:
    """The name of its database."""
    given = conninfo_to_dict(conninfo)
    return str(given.get("dbname") or given.get("user") or _MAINTENANCE)
