"""Stock levels and their ledger, as a merchant reads them."""

from datetime import datetime

import msgspec

from meschain.store.unit_of_work import Database


class StockRow(msgspec.Struct, frozen=True):
    """Units of one SKU at one place."""

    sku: str
    title: str
    location: str
    on_hand: int
    reserved: int
    safety_stock: int
    available: int


class LedgerRow(msgspec.Struct, frozen=True):
    """A movement, and what stood at its place after it."""

    movement_id: int
    location: str
    kind: str
    on_hand_delta: int
    reserved_delta: int
    reason: str
    actor: str
    occurred_at: datetime
    order_number: str | None
    account_name: str | None
    on_hand_after: int
    reserved_after: int


async def read_stock(
    database: Database, merchant_id: int, *, limit: int, after: str = "", search: str | None = None
) -> list[StockRow]:
    """Levels in the order of the SKU, those after ``after``; ``search``: how the SKU begins."""
    async with database.merchant(merchant_id) as unit:
        records = await unit.records(
            "stock.levels",
            {"merchant": merchant_id, "after": after, "search": search, "limit": limit},
        )
    return [msgspec.convert(record, StockRow) for record in records]


async def read_ledger(
    database: Database, merchant_id: int, sku: str, *, limit: int
) -> list[LedgerRow] | None:
    """The movements of one SKU, the latest first; None: the catalog does not hold it."""
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        variant = await unit.row("stock.variants", key | {"skus": [sku]})
        if variant is None:
            return None
        records = await unit.records(
            "stock.movements", key | {"variant": variant[0], "limit": limit}
        )
    return [msgspec.convert(record, LedgerRow) for record in records]
