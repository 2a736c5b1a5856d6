"""Taking a merchant away: every table that has one, rows before what they refer to, in chunks."""

from __future__ import annotations

from collections.abc import Callable
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from meschain.store.sql import query

if TYPE_CHECKING:
    from meschain.store.unit_of_work import Database

CHUNK: Final = 5_000  # rows a transaction; locks are held for well under 2 s
_PASSES: Final = 5

Progress = Callable[[int, int], None]


class StillWritten(RuntimeError):
    """Something goes on writing rows of the merchant that is being erased."""


async def erase(
    database: Database, merchant_id: int, on_progress: Progress = lambda _done, _total: None
) -> dict[str, int]:
    """Erase every row of the merchant, itself last; returns how many of each table.

    Cut short, the rest is erased by repeating it. Raises StillWritten.
    """
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows("erasure.tables")
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for table, parents in rows:
        sorter.add(table)
        for parent in parents:
            sorter.add(parent, table)
    known = {table for table, _ in rows}
    order = [table for table in sorter.static_order() if table in known]
    gone = dict.fromkeys(order, 0)
    for _ in range(_PASSES):
        before = sum(gone.values())
        try:
            for table in order:
                while erased := await _erase_chunk(database, merchant_id, table):
                    gone[table] += erased
                    on_progress(sum(gone.values()), 0)
        except psycopg.errors.ForeignKeyViolation:
            continue  # a command that was under way has added rows behind us
        if sum(gone.values()) == before:
            return gone  # nor has anything come behind us where no key forbids it
    raise StillWritten(str(merchant_id))


async def _erase_chunk(database: Database, merchant_id: int, table: str) -> int:
    # In a partitioned table the same ctid may stand for several rows, all of this merchant.
    chunk = sql.SQL(
        "WITH gone AS (DELETE FROM {0} WHERE merchant_id = %(merchant)s AND ctid = ANY (ARRAY("
        "SELECT ctid FROM {0} WHERE merchant_id = %(merchant)s LIMIT %(limit)s)) RETURNING 1)"
        " SELECT count(*) FROM gone"
    ).format(sql.Identifier(table))
    async with database.merchant(merchant_id) as unit:
        await unit.run("catalog.plan_by_key")
        params = {"merchant": merchant_id, "limit": CHUNK}
        row = await (await unit.connection.execute(chunk, params)).fetchone()
    assert row is not None
    return int(row[0])


async def rows_left(url: str, merchant_id: int) -> dict[str, int]:
    """Rows of the merchant by table, as the owner sees them: also what ``erase`` may not see."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        tables = await (await connection.execute(query("erasure.tables"))).fetchall()
        left: dict[str, int] = {}
        for table, _ in tables:
            counting = sql.SQL("SELECT count(*) FROM {} WHERE merchant_id = %s").format(
                sql.Identifier(table)
            )
            row = await (await connection.execute(counting, (merchant_id,))).fetchone()
            assert row is not None
            left[table] = row[0]
    return left
