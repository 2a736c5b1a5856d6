"""Orders as their merchant reads them; buyers' personal data stays sealed."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from meschain.app.queries.paging import Page, cursor_of, position_of
from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.channel.clock import microseconds
from meschain.store.unit_of_work import Database


class PackageView(msgspec.Struct, frozen=True):
    """A package. ``state`` None: the channel said something that no mapping names."""

    external_id: str
    state: str | None
    state_raw: str
    wanted_state: str | None
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
    """An order with its packages and lines."""

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
    packages: list[PackageView]
    lines: list[OrderLineView]


class _Row(msgspec.Struct, frozen=True):
    order_id: int
    external_id: str
    account_id: int
    account_name: str
    marketplace: str
    placed_at: datetime
    first_seen_us: int
    detected_by: str
    currency: str
    payable_minor: int
    is_company: bool
    city: str
    packages: list[PackageView]
    lines: list[OrderLineView]


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
    rows = [msgspec.convert(record, _Row) for record in records]
    more = len(rows) > limit
    rows = rows[:limit]
    last = (microseconds(rows[-1].placed_at.astimezone(UTC)), rows[-1].order_id) if more else None
    return Page([_view(row) for row in rows], None if last is None else cursor_of(last))


def _view(row: _Row) -> OrderView:
    payable = money_view(row.payable_minor, row.currency)
    first_seen_at = instant(row.first_seen_us)
    assert payable is not None
    assert first_seen_at is not None
    return OrderView(
        order_id=row.order_id,
        external_id=row.external_id,
        account_id=row.account_id,
        account_name=row.account_name,
        marketplace=row.marketplace,
        placed_at=row.placed_at,
        first_seen_at=first_seen_at,
        detected_by=row.detected_by,
        payable=payable,
        is_company=row.is_company,
        city=row.city,
        packages=row.packages,
        lines=row.lines,
    )
