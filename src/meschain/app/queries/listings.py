"""The listing matrix: SKU × account, what we want there and what was acknowledged."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from meschain.app.queries.paging import Page, cursor_of, position_of
from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.domain.text import fold
from meschain.store.unit_of_work import Database, UnitOfWork

_MOVEMENTS: Final = 2_000  # the variants that moved last are looked for among these


class ListingCell(msgspec.Struct, frozen=True, kw_only=True):
    """One SKU on one account.

    ``agreement``: "equal", "waiting" (to be sent), "sent" (not acknowledged yet), "looking"
    (nobody can say, it is read back) or "refused". ``since`` is when it began to differ,
    ``known_at`` when the shown quantity was last known to stand.
    """

    account_id: int
    listing_id: int
    state: str
    agreement: str
    quantity_desired: int | None
    quantity_shown: int | None
    list_price_desired: MoneyView | None
    list_price_shown: MoneyView | None
    sale_price_desired: MoneyView | None
    sale_price_shown: MoneyView | None
    since: datetime | None
    known_at: datetime | None


class ListingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One SKU. A bundle has no stock of its own: its three counts are None."""

    sku: str
    title: str
    attributes: dict[str, str]
    is_bundle: bool
    on_hand: int | None
    reserved: int | None
    available: int | None
    cells: list[ListingCell]


class _Cell(msgspec.Struct, frozen=True):
    account_id: int
    listing_id: int
    state: str
    quantity_desired: int | None
    quantity_shown: int | None
    list_desired_minor: int | None
    sale_desired_minor: int | None
    list_shown_minor: int | None
    sale_shown_minor: int | None
    known_us: int | None
    waiting_since_us: int | None
    sent_since_us: int | None
    is_unsettled: bool
    is_refused: bool


class _Row(msgspec.Struct, frozen=True):
    sku: str
    title: str
    currency: str
    is_bundle: bool
    attributes: dict[str, str | int | bool | list[str] | None]
    on_hand: int | None
    reserved: int | None
    available: int | None
    cells: list[_Cell]


async def read_recent_listings(
    database: Database, merchant_id: int, *, limit: int
) -> Page[ListingRow]:
    """The SKUs whose stock moved last, the latest first; one page and no more."""
    async with database.merchant(merchant_id) as unit:
        found = await unit.rows(
            "view.recent_variants",
            {"merchant": merchant_id, "movements": _MOVEMENTS, "limit": limit},
        )
        rows = await _rows(unit, merchant_id, [row[0] for row in found])
    return Page([_view(row) for row in rows], None)


async def read_listings(
    database: Database,
    merchant_id: int,
    *,
    limit: int,
    cursor: str | None = None,
    skus: Sequence[str] | None = None,
    search: str | None = None,
) -> Page[ListingRow]:
    """A page of SKUs in their order; ``search`` by SKU, barcode or name. Raises CursorInvalid."""
    after = "" if cursor is None else position_of(cursor, tuple[str])[0]
    async with database.merchant(merchant_id) as unit:
        found = await unit.rows(
            "view.variants_by_sku",
            {
                "merchant": merchant_id,
                "after": after,
                "skus": None if skus is None else list(skus),
                "search": search or None,
                "folded": fold(search) if search else None,
                "limit": limit + 1,
            },
        )
        rows = await _rows(unit, merchant_id, [row[0] for row in found[:limit]])
    more = len(found) > limit
    return Page([_view(row) for row in rows], cursor_of((rows[-1].sku,)) if more else None)


async def _rows(unit: UnitOfWork, merchant_id: int, variants: list[int]) -> list[_Row]:
    if not variants:
        return []
    records = await unit.records("view.listings", {"merchant": merchant_id, "variants": variants})
    return [msgspec.convert(record, _Row) for record in records]


def _view(row: _Row) -> ListingRow:
    return ListingRow(
        sku=row.sku,
        title=row.title,
        attributes={name: _text(value) for name, value in row.attributes.items()},
        is_bundle=row.is_bundle,
        on_hand=None if row.is_bundle else row.on_hand or 0,
        reserved=None if row.is_bundle else row.reserved or 0,
        available=None if row.is_bundle else row.available or 0,
        cells=[_cell(cell, row.currency) for cell in row.cells],
    )


def _text(value: str | int | bool | list[str] | None) -> str:  # noqa: FBT001 – a value of JSON
    return ", ".join(value) if isinstance(value, list) else str(value)


def _cell(cell: _Cell, currency: str) -> ListingCell:
    since = [us for us in (cell.waiting_since_us, cell.sent_since_us) if us is not None]
    return ListingCell(
        account_id=cell.account_id,
        listing_id=cell.listing_id,
        state=cell.state,
        agreement=_agreement(cell),
        quantity_desired=cell.quantity_desired,
        quantity_shown=cell.quantity_shown,
        list_price_desired=money_view(cell.list_desired_minor, currency),
        list_price_shown=money_view(cell.list_shown_minor, currency),
        sale_price_desired=money_view(cell.sale_desired_minor, currency),
        sale_price_shown=money_view(cell.sale_shown_minor, currency),
        since=instant(min(since, default=None)),
        known_at=instant(cell.known_us),
    )


def _agreement(cell: _Cell) -> str:
    if cell.sent_since_us is not None:
        return "sent"
    if cell.waiting_since_us is not None:
        return "waiting"
    if cell.is_refused:
        return "refused"
    return "looking" if cell.is_unsettled else "equal"
