"""List price, sale price and cost out of a sheet, by SKU."""

from __future__ import annotations

from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.import_products.state import VariantState
from meschain.app.commands.import_products.step import Step, VariantStep
from meschain.app.commands.import_sheet.refusal import SheetReason, SheetRefusal
from meschain.app.commands.set_price import NewPrice, PricePlan, set_prices
from meschain.domain.money import Money
from meschain.exchange import FileRefused, Reason
from meschain.exchange.damage import check_sku
from meschain.exchange.fault import Fault
from meschain.exchange.refused import RefusedRows
from meschain.exchange.sheet.named import NamedRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meschain.app.commands.import_sheet.run import SheetRun
    from meschain.app.commands.set_price import PriceChange, PriceRefusal
    from meschain.exchange.sheet.named import NamedSheet
    from meschain.store.unit_of_work import UnitOfWork

KIND: Final = "prices"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_FIELDS: Final = ("list_price", "sale_price", "cost")
_REASONS: Final = {
    "sku_unknown": SheetReason.SKU_UNKNOWN,
    "sale_above_list": Reason.PRICE_SALE_ABOVE_LIST,
    "sale_missing": SheetReason.PRICE_MISSING,
    "large": SheetReason.PRICE_LARGE,
}


async def import_prices(
    run: SheetRun, sheet: NamedSheet, *, allows_large: bool
) -> tuple[PricePlan, RefusedRows[SheetRefusal], int]:
    """Take the sheet in, or say what it would change.

    What changes, every row left out, and the import's number (0 for a plan).
    Amounts are in the SKU's own currency; a row that names another is refused. A price that more
    than halves or grows by more than half is refused unless ``allows_large``. Raises: FileRefused.
    """
    if not set(_FIELDS) & sheet.fields:
        raise FileRefused(Reason.HEADER_NO_COLUMN, column="sale_price")
    async with run.database.merchant(run.merchant_id) as unit:
        row = await unit.row("view.merchant", run.key)
        place = await unit.row("stock.location", run.key | {"location": None})
        assert row is not None
        foreign: dict[str, str] = dict(await unit.rows("sheet.foreign_currencies", run.key))
    home = str(row[2])
    refused = RefusedRows(SheetRefusal)
    prices: list[NewPrice] = []
    seen: dict[str, int] = {}
    for each in sheet.rows():
        if not isinstance(each, NamedRow):
            refused.append(SheetRefusal.of(each))
            continue
        sku = each.text("sku")
        try:
            price = _price(each, sku, foreign.get(sku, home))
        except Fault as fault:
            refused.append(SheetRefusal.of(each.refused(sku, fault)))
            continue
        first = seen.setdefault(sku, each.number)
        if isinstance(price, SheetRefusal):
            refused.append(price)
        elif first != each.number:
            refused.append(_refusal(each, sku, SheetReason.TWICE, {"row": str(first)}))
        else:
            prices.append(price)

    async with run.begun(KIND, location=int(place[0]) if place else None) as begun:
        steps = count(len(begun.former))

        async def record(unit: UnitOfWork, changes: list[PriceChange]) -> None:
            step = Step(variants=[_step(change) for change in changes])
            await run.note(unit, begun.import_id, next(steps), step)

        plan = await set_prices(
            run.database,
            run.clock,
            run.merchant_id,
            prices,
            actor=begun.actor,
            is_plan=run.is_plan,
            allows_large=allows_large,
            record=record,
            on_progress=run.on_progress,
        )
        refused.extend(_late(plan.refused, sheet))
        refused.sort()
        counts = {
            "changed": len(plan.changed) + begun.changed,
            "unchanged": plan.unchanged - begun.changed,
            "refused": len(refused),
        }
        await run.end(begun.import_id, KIND, counts)
    return plan, refused, begun.import_id


def _step(change: PriceChange) -> VariantStep:
    """The prices before and after; nothing else is compared when they are put back."""
    before = VariantState(
        change.sku,
        "",
        change.currency,
        list_price_minor=change.list_before_minor,
        sale_price_minor=change.sale_before_minor,
        cost_minor=change.cost_before_minor,
    )
    after = msgspec.structs.replace(
        before,
        list_price_minor=change.list_minor,
        sale_price_minor=change.sale_minor,
        cost_minor=change.cost_minor,
    )
    return VariantStep(0, before, after)


def _price(row: NamedRow, sku: str, currency: str) -> NewPrice | SheetRefusal:
    """Raises: Fault."""
    check_sku(sku)
    given = row.text("currency")
    given = {"TL": "TRY", "₺": "TRY"}.get(given, given)
    if given and given != currency:
        params = {"given": given, "held": currency}
        return _refusal(row, sku, SheetReason.CURRENCY_OTHER, params)
    amounts = {fld: row.money(fld, currency) for fld in _FIELDS}
    if not any(amounts.values()):
        return _refusal(row, sku, SheetReason.NOTHING)
    for fld in ("list_price", "sale_price"):
        if amounts[fld] == Money(0, currency):
            raise Fault(Reason.PRICE_ZERO, column=fld)
    listed, sale, cost = (amount.minor if (amount := amounts[fld]) else None for fld in _FIELDS)
    return NewPrice(sku, listed, sale, row.number, cost_minor=cost, follows=True)


def _refusal(
    row: NamedRow, sku: str, reason: SheetReason, params: Mapping[str, str] = _NONE
) -> SheetRefusal:
    return SheetRefusal(row.number, sku, reason, params, row.raw_row)


def _late(refusals: list[PriceRefusal], sheet: NamedSheet) -> Iterator[SheetRefusal]:
    """What the catalog refused, with the rows' cells, for which the file is walked once more."""
    by_row = {refusal.row_number: refusal for refusal in refusals}
    for row in sheet.rows() if by_row else ():
        if isinstance(row, NamedRow) and (each := by_row.get(row.number)) is not None:
            reason = _REASONS[each.reason]
            yield SheetRefusal(row.number, each.sku, reason, each.params, row.raw_row)
