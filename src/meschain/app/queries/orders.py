"""Orders as their merchant reads them; buyers' personal data stays sealed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from meschain.app.queries.paging import Page, cursor_of, position_of
from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.channel.clock import microseconds
from meschain.store.unit_of_work import Database


class PackageView(msgspec.Struct, frozen=True):
    """A package. ``state`` None: the channel said something that no mapping names.

    ``taken_state``: the marketplace said yes to ``wanted_state``; not seen yet.
    """

    external_id: str
    state: str | None
    state_raw: str
    wanted_state: str | None
    taken_state: str | None
    carrier: str
    tracking_number: str
    ship_by: datetime | None


class OrderLineView(msgspec.Struct, frozen=True):
    """A line. ``sku`` None: we do not know what ``sku_given`` is."""

    item_key: str
    sku: str | None
    sku_given: str
    title: str
    units: int
    units_backorder: int


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """An order with its packages and lines. ``erased_at``: since when the buyer's data is gone."""

    order_id: int
    external_id: str
    account_id: int
    account_name: str
    marketplace: str
    placed_at: datetime
    first_seen_at: datetime
    detected_by: str
    payable: MoneyView
    is_company: bool
    city: str
    erased_at: datetime | None
    packages: list[PackageView]
    lines: list[OrderLineView]


def order_values(record: Mapping[str, object]) -> dict[str, object]:
    """The columns of an order, with amount and first sight as its views have them."""
    columns = msgspec.convert(record, _Columns)
    return {
        **record,
        "payable": money_view(columns.payable_minor, columns.currency),
        "first_seen_at": instant(columns.first_seen_us),
    }


class _Columns(msgspec.Struct, frozen=True):
    first_seen_us: int
    currency: str
    payable_minor: int


async def read_orders(
    database: Database,
    merchant_id: int,
    *,
    limit: int,
    cursor: str | None = None,
    account_id: int | None = None,
    order_ids: Sequence[int] | None = None,
) -> Page[OrderView]:
    """A page of orders, newest first. Raises CursorInvalid."""
    before_at, before_id = None, None
    if cursor is not None:
        before_us, before_id = position_of(cursor, tuple[int, int])
        before_at = instant(before_us)
    async with database.merchant(merchant_id) as unit:
        records = await unit.records(
            "view.orders",
            {
                "merchant": merchant_id,
                "account": account_id,
                "orders": None if order_ids is None else list(order_ids),
                "before_at": before_at,
                "before_id": before_id,
                "limit": limit + 1,
            },
        )
    rows = [msgspec.convert(order_values(record), OrderView) for record in records]
    more = len(rows) > limit
    rows = rows[:limit]
    last = (microseconds(rows[-1].placed_at.astimezone(UTC)), rows[-1].order_id) if more else None
    return Page(rows, None if last is None else cursor_of(last))
