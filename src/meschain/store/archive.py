"""A merchant's tables as JSON lines, out of one snapshot and into another hub.

Rows keep their numbers: every key begins with the merchant, so they meet nobody else's. Only
accounts are renumbered, for processes know their accounts by their numbers alone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import AsyncConnection, IsolationLevel, sql

from meschain.store.sql import query

if TYPE_CHECKING:
    from meschain.store.unit_of_work import UnitOfWork

# In the order in which they can be filled.
TABLES: Final = (
    *("location", "product", "product_content", "variant", "bundle_component", "media"),
    *("stock_level", "stock_movement", "mapping", "account", "lane", "order_cursor", "listing"),
    *("listing_key", "offer_desired_price", "offer_desired_quantity", "offer_acknowledged"),
    *("offer_dirty", "offer_unsettled", "offer_refusal", "offer_shelf_sale", "offer_conflict"),
    *("orders", "order_line", "reservation", "package", "package_line", "package_wish"),
    *("return_claim", "return_line", "question", "settlement", "settlement_line", "invoice"),
    *("alert", "audit", "import_run", "past_order", "past_order_line", "supplier_feed"),
    "erasure_request",
)
LEFT_OUT: Final = {
    "merchant": "its facts stand in archive.json",
    "data_key": "sealed by the hub's master key; the new hub makes its own",
    "account_credential": "secret; sealed/account_credential.jsonl where a passphrase is given",
    "webhook": "registered at this hub's address; register it anew",
    "webhook_inbox": "deliveries to this hub; orders are pulled",
    "offer_inflight": "asked by this hub; such offers are told again",
    "ticket": "of this hub's requests",
    "attempt": "of this hub's requests",
    "ownership": "leases of this hub's processes",
    "event": "this hub's feed, whose cursors mean nothing elsewhere",
    "sweep": "progress of this hub's looks",
    "import_step": "what an undo of this hub's imports would need",
}

# Where the new hub must not take up what the old one was doing: accounts are read-only until they
# are armed there, cursors are not fresh, wishes are looked at before anything is sent. Suppliers'
# feeds wait for somebody to look at them: they may name what only the old machine could reach.
_CHANGED: Final[Mapping[str, str]] = {
    "account": (
        "|| jsonb_build_object('state',"
        " CASE t.state WHEN 'closed' THEN 'closed' ELSE 'read_only' END)"
    ),
    "orders": "- ARRAY['person_sealed', 'raw_sealed', 'key_number']",
    "order_cursor": "|| jsonb_build_object('fresh_us', 0)",
    "package_wish": (
        "|| CASE WHEN t.phase < 4 THEN"
        " jsonb_build_object('phase', 2, 'is_doubtful', true) ELSE '{}' END"
    ),
    "supplier_feed": (
        "- ARRAY['key_number', 'source_sealed']"
        " || jsonb_build_object('next_due_at', timestamptz '3000-01-01 00:00+00',"
        " 'allows_private', false, 'source', feed_address(t.source))"
    ),
}
# What was sent and not answered is told again.
_IN_FLIGHT: Final = """
SELECT jsonb_build_object('account_id', i.account_id, 'listing_id', i.listing_id, 'field', i.field,
           'urgency', CASE i.field WHEN 1 THEN 0 ELSE 2 END, 'rank', 0, 'since_us', min(i.since_us),
           'not_before_us', 0, 'reassert', true, 'listings_max', null)
  FROM offer_inflight i
 WHERE NOT EXISTS (SELECT 1 FROM offer_dirty d
                    WHERE d.merchant_id = i.merchant_id AND d.account_id = i.account_id
                      AND d.field = i.field AND d.listing_id = i.listing_id)
 GROUP BY i.account_id, i.listing_id, i.field
 ORDER BY i.account_id, i.listing_id, i.field
"""


@dataclass(frozen=True, slots=True)
class TableForm:
    """Columns without the merchant, and those of the key."""

    columns: tuple[str, ...]
    key: tuple[str, ...]


class Snapshot:
    """One merchant at one moment."""

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection

    async def form(self, table: str) -> TableForm:
        cursor = await self._connection.execute(query("archive.columns"), {"table": table})
        row = await cursor.fetchone()
        assert row is not None
        return TableForm(tuple(row[0]), tuple(row[1]))

    async def lines(self, table: str, form: TableForm) -> AsyncIterator[str]:
        """Each row as a JSON object without line ends, in the order of the key."""
        assert table in TABLES
        rows = sql.SQL("SELECT to_jsonb(t) - 'merchant_id' {} FROM {} t ORDER BY {}").format(
            sql.SQL(_CHANGED.get(table, "")),  # a constant of ours
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, form.key)),
        )
        async for line in self._copied(rows):
            yield line
        if table == "offer_dirty":
            async for line in self._copied(sql.SQL(_IN_FLIGHT)):
                yield line

    async def rows(self, name: str, params: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """All rows of the named query."""
        return await (await self._connection.execute(query(name), params)).fetchall()

    async def _copied(self, rows: sql.Composable) -> AsyncIterator[str]:
        copying = sql.SQL("COPY ({}) TO STDOUT").format(rows)
        async with self._connection.cursor().copy(copying) as copy:
            async for (line,) in copy.rows():
                yield line


@asynccontextmanager
async def snapshot(url: str, merchant_id: int) -> AsyncIterator[Snapshot]:
    """What this merchant has at this moment; nothing that happens meanwhile is seen."""
    async with await AsyncConnection.connect(url) as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        await connection.execute("SET LOCAL ROLE meschain_app")
        await connection.execute("SET LOCAL timezone = 'UTC'")
        await connection.execute(
            "SELECT set_config('meschain.merchant_id', %s, true)", (str(merchant_id),)
        )
        yield Snapshot(connection)


async def put_lines(
    unit: UnitOfWork,
    table: str,
    columns: Sequence[str],
    lines: Sequence[str],
    accounts: Mapping[str, int],
) -> None:
    """Insert rows for the unit's merchant. ``accounts``: number there → number here."""
    assert table in TABLES
    names = sql.SQL(", ").join(map(sql.Identifier, ("merchant_id", *columns)))
    statement = sql.SQL(
        "INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_populate_recordset(NULL::{table},"
        " (SELECT jsonb_agg(r || jsonb_build_object('merchant_id', %(merchant)s::integer)"
        " || CASE WHEN %(accounts)s::jsonb ? (r ->> 'account_id')"
        " THEN jsonb_build_object('account_id', %(accounts)s::jsonb -> (r ->> 'account_id'))"
        " ELSE '{{}}' END) FROM jsonb_array_elements(%(rows)s::jsonb) r))"
    ).format(table=sql.Identifier(table), names=names)
    params = {
        "merchant": unit.merchant_id,
        "accounts": json.dumps(accounts),
        "rows": f"[{','.join(lines)}]",
    }
    await unit.connection.execute(statement, params)
