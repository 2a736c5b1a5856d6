"""From a database into a file: one snapshot, while the hub goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec
import psycopg
from psycopg import IsolationLevel

from meschain import __version__
from meschain.store.backup.content import BackupIncomplete, Sum, read_rows, spell_plainly, tables
from meschain.store.backup.envelope import (
    KEY_BYTES_MIN,
    MASTER_KEY,
    ROWS,
    SEQUENCES,
    TABLE,
    TABLE_END,
    BackupLocked,
    Header,
    TableBegin,
    Writer,
    new_salt,
)

if TYPE_CHECKING:
    from datetime import datetime

    from meschain.store.backup.envelope import Tick

__all__ = ["BackupIncomplete", "Saved", "save"]

_SLICE_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True)
class Saved:
    """What went into the file."""

    tables: int
    rows: int
    schema_version: int


def save(
    conninfo: str,
    file: BinaryIO,
    *,
    now: datetime,
    key: bytes | None = None,
    master_key: bytes | None = None,
    tick: Tick = lambda _done, _total: None,
) -> Saved:
    """Write everything in the database, as it is at one moment, into ``file``.

    Nothing is locked against the hub; rows that it replaces meanwhile are kept until the end.
    ``key``: seal the file; ``master_key`` goes only into a sealed one. Raises BackupLocked when the
    key is too short, BackupIncomplete when the user may not see all rows.
    """
    if key is not None and len(key) < KEY_BYTES_MIN:
        raise BackupLocked
    assert master_key is None or key is not None, "a master key never lies open"
    with psycopg.connect(conninfo, application_name="meschain backup") as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        spell_plainly(connection)
        found = tables(connection)
        estimate = sum(table.rows_estimated for table in found)
        header = Header(
            program=__version__,
            postgres=connection.execute("SHOW server_version").fetchall()[0][0],
            created_at=now,
            migrations=_migrations(connection),
            rows_estimated=estimate,
            salt=None if key is None else new_salt(),
            has_master_key=master_key is not None,
        )
        writer = Writer(file, header, key)
        if master_key is not None:
            writer.put(MASTER_KEY, master_key)
        done = 0
        for table in found:
            begin = TableBegin(table.name, list(table.columns))
            writer.put(TABLE, msgspec.json.encode(begin))
            total, ready = Sum(), bytearray()
            for row in read_rows(connection, table):
                total.add(row)
                ready += row
                if len(ready) >= _SLICE_BYTES:
                    _put_rows(writer, ready)
                    tick(done + total.rows, max(estimate, done + total.rows))
            _put_rows(writer, ready)
            writer.put(TABLE_END, msgspec.json.encode(total.end()))
            done += total.rows
            tick(done, max(estimate, done))
        # Numbers are drawn outside transactions: read last, these are behind every row above.
        writer.put(SEQUENCES, msgspec.json.encode(_sequences(connection)))
        writer.finish()
    return Saved(len(found), done, header.schema_version)


def _put_rows(writer: Writer, ready: bytearray) -> None:
    for at in range(0, len(ready), _SLICE_BYTES):
        writer.put(ROWS, bytes(ready[at : at + _SLICE_BYTES]))
    ready.clear()


def _migrations(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[int, str]:
    rows = connection.execute("SELECT version, checksum FROM schema_migration").fetchall()
    return dict(sorted(rows))


def _sequences(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT sequencename, last_value FROM pg_sequences"
        " WHERE schemaname = 'public' AND last_value IS NOT NULL ORDER BY sequencename"
    ).fetchall()
    return dict(rows)
