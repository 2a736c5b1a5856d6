"""The content of a database as a backup sees it: tables, columns, rows in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from meschain.store.backup.envelope import TableEnd

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_OURS: Final = ("schema_migration", "schema_function")  # migrations write these themselves
# How values are spelled depends on these, and hashes depend on the spelling.
_SPELLING: Final = """
SET LOCAL client_encoding = 'UTF8'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL timezone = 'UTC';
SET LOCAL intervalstyle = 'postgres'; SET LOCAL bytea_output = 'hex';
SET LOCAL extra_float_digits = 1; SET LOCAL search_path = public; SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '60s'
"""


class BackupIncomplete(RuntimeError):
    """Row-level security would hide rows of this table from the user we connect as."""


@dataclass(frozen=True, slots=True)
class Table:
    """``key`` orders its rows: the primary key, else everything."""

    name: str
    columns: tuple[str, ...]
    key: tuple[tuple[str, bool], ...]  # column, and whether its order is a language's
    rows_estimated: int

    def select(self) -> sql.Composed:
        """All rows, in an order that depends on nothing but them."""
        order: list[sql.Composable] = [
            sql.SQL('{} COLLATE "C"' if is_text else "{}").format(sql.Identifier(column))
            for column, is_text in self.key
        ]
        order = order or [sql.SQL('t::text COLLATE "C"')]
        return sql.SQL("SELECT {} FROM {} AS t ORDER BY {}").format(
            sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            sql.Identifier(self.name),
            sql.SQL(", ").join(order),
        )


def spell_plainly(connection: Connection) -> None:
    """For the rest of the transaction: values are spelled the same on every server."""
    connection.execute(_SPELLING)


def tables(connection: Connection) -> list[Table]:
    """Every table of ours. A transaction's number (xid8) means nothing elsewhere and is left out.

    Raises BackupIncomplete.
    """
    rows = connection.execute(
        """
        SELECT c.relname, greatest(0, c.reltuples)::bigint,
               array(SELECT a.attname::text FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND a.attgenerated = '' AND a.atttypid <> 'xid8'::regtype
                      ORDER BY a.attnum),
               array(SELECT a.attname::text FROM pg_index i
                      CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
                      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                      WHERE i.indrelid = c.oid AND i.indisprimary
                        AND a.atttypid <> 'xid8'::regtype
                      ORDER BY k.place),
               array(SELECT a.attname::text FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attcollation <> 0),
               c.relrowsecurity AND c.relforcerowsecurity AND NOT u.rolsuper AND NOT u.rolbypassrls
               AND NOT EXISTS (SELECT 1 FROM pg_policy p
                                WHERE p.polrelid = c.oid AND u.oid = ANY (p.polroles)
                                  AND p.polcmd IN ('r', '*') AND p.polpermissive
                                  AND pg_get_expr(p.polqual, p.polrelid) = 'true')
          FROM pg_class c
          JOIN pg_roles u ON u.rolname = current_user
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND c.relpersistence = 'p' AND NOT c.relispartition AND NOT c.relname = ANY (%s)
         ORDER BY c.relname COLLATE "C"
        """,
        (list(_OURS),),
    ).fetchall()
    found: list[Table] = []
    for name, estimate, columns, key, collated, is_hidden in rows:
        if is_hidden:
            raise BackupIncomplete(name)
        found.append(
            Table(name, tuple(columns), tuple((each, each in collated) for each in key), estimate)
        )
    return found


def read_rows(connection: Connection, table: Table) -> Iterator[bytes]:
    """Its rows in COPY's text format, as the server sends them: mostly one at a time."""
    statement = sql.SQL("COPY ({}) TO STDOUT").format(table.select())
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in copy:
            yield bytes(row)


class Sum:
    """Counts and hashes rows in the order in which they come."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.rows = 0

    def add(self, row: bytes) -> None:
        """A row as ``read_rows`` gives it."""
        self._digest.update(row)
        self.rows += 1

    def end(self) -> TableEnd:
        """What the rows came to."""
        return TableEnd(self.rows, self._digest.hexdigest())
