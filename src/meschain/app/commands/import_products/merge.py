"""Pure: what the catalog will hold once a draft is taken in. What a file does not state stays.

Rules that are not obvious:

- A name–value pair that is stated replaces that pair only; a stated list of pictures is the list.
- Without a discount, list price and sale price are one price: where only one of them is stated and
  both stood equal, both follow. Where they differed, the unstated one stays, and a sale price above
  the list price is refused.
- Another currency would give the unstated prices another meaning, so it must restate them all.
- A bundle's composition is replaced by a stated one and never emptied.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from meschain.app.commands.import_products.state import ProductState, VariantState
from meschain.domain.money import Money
from meschain.exchange import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.domain.catalog import ProductDraft, VariantDraft

_T = TypeVar("_T")
_CENT: Final = Decimal("0.01")
_INTEGER_MAX: Final = 2_147_483_647
_DESI_MAX: Final = Decimal(10) ** 7


class ImportReason(StrEnum):
    """Why the catalog refuses a row that could be read; the texts are in ``app/messages.toml``."""

    BARCODE_TAKEN = "import.barcode_taken"  # value, sku
    CURRENCY_PARTIAL = "import.currency_partial"  # before, after, missing
    TEXT_UNSTORABLE = "import.text_unstorable"
    COUNTED_SINCE = "import.counted_since"  # stated, kept (warning)


class DraftRefused(Exception):
    """A draft contradicts the catalog; ``params`` fill the reason's text."""

    def __init__(self, reason: Reason | ImportReason, **params: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.params: Mapping[str, str] = params


def merge_variant(
    before: VariantState | None, draft: VariantDraft, *, model_code: str, currency: str
) -> VariantState:
    """The variant as it will be. ``currency`` is that of a new variant without any price.

    Raises: DraftRefused.
    """
    base = before or VariantState(draft.sku, model_code, currency)
    stated_currency = _currency(draft) or base.currency
    if before is not None and stated_currency != before.currency:
        _check_currency_change(before, draft, stated_currency)
    list_minor, sale_minor = _prices(base, draft)
    after = VariantState(
        sku=draft.sku,
        model_code=model_code,
        currency=stated_currency,
        barcode=_or(draft.barcode, base.barcode),
        attributes=_over(base.attributes, draft.attributes),
        list_price_minor=list_minor,
        sale_price_minor=sale_minor,
        cost_minor=draft.cost.minor if draft.cost else base.cost_minor,
        vat_percent=_or(draft.vat_percent, base.vat_percent),
        desi=base.desi if draft.desi is None else _desi(draft.desi),
        weight_g=_whole("weight_g", draft.weight_g, base.weight_g),
        length_mm=_whole("length_mm", draft.length_mm, base.length_mm),
        width_mm=_whole("width_mm", draft.width_mm, base.width_mm),
        height_mm=_whole("height_mm", draft.height_mm, base.height_mm),
        handling_days=_whole("handling_days", draft.handling_days, base.handling_days),
        origin_country=_or(draft.origin_country, base.origin_country),
        image_urls=tuple(dict.fromkeys(draft.image_urls)) or base.image_urls,
        bundle=dict(sorted(draft.bundle.items())) or base.bundle,
        # A bundle's units are those of its components.
        on_hand=base.on_hand
        if draft.bundle or base.bundle
        else _whole("quantity", draft.quantity, base.on_hand),
    )
    check_storable(after)
    return after


def merge_product(
    before: ProductState | None,
    draft: ProductDraft,
    model_code: str,
    inherited: ProductState | None,
) -> ProductState:
    """The product as it will be.

    ``inherited``: the product that its first variant comes from, for what the file leaves open.
    Raises: DraftRefused.
    """
    base = before or inherited or ProductState(model_code)
    stated = {each.language: each for each in draft.contents}
    after = ProductState(
        model_code=model_code,
        brand=_or(draft.brand, base.brand),
        category_path=_or(draft.category, base.category_path),
        attributes=_over(base.attributes, draft.attributes),
        titles=base.titles | {tag: each.title for tag, each in sorted(stated.items())},
        descriptions=base.descriptions
        | {
            tag: each.description_html or base.descriptions.get(tag, "")
            for tag, each in sorted(stated.items())
        },
        image_urls=tuple(dict.fromkeys(draft.image_urls)) or base.image_urls,
    )
    check_storable(after)
    return after


def check_storable(state: VariantState | ProductState) -> None:
    """PostgreSQL keeps every character but NUL; half a surrogate is no character. Raises."""
    try:
        is_storable = rb"\u0000" not in msgspec.json.encode(state)
    except UnicodeEncodeError:
        is_storable = False
    if not is_storable:
        raise DraftRefused(ImportReason.TEXT_UNSTORABLE)


def _prices(base: VariantState, draft: VariantDraft) -> tuple[int | None, int | None]:
    list_minor, sale_minor = base.list_price_minor, base.sale_price_minor
    is_one_price = list_minor == sale_minor or sale_minor is None
    if draft.list_price is not None:
        list_minor = draft.list_price.minor
        if draft.sale_price is None and is_one_price:
            sale_minor = list_minor
    if draft.sale_price is not None:
        sale_minor = draft.sale_price.minor
        if draft.list_price is None and is_one_price and list_minor is not None:
            list_minor = sale_minor
    if list_minor is not None and sale_minor is not None and sale_minor > list_minor:
        raise DraftRefused(
            Reason.PRICE_SALE_ABOVE_LIST,
            sale_price=_amount(sale_minor, base, draft),
            list_price=_amount(list_minor, base, draft),
        )
    return list_minor, sale_minor


def _amount(minor: int, base: VariantState, draft: VariantDraft) -> str:
    return str(Money(minor, _currency(draft) or base.currency).amount)


def _currency(draft: VariantDraft) -> str | None:
    for price in (draft.sale_price, draft.list_price, draft.cost):
        if price is not None:
            return price.currency
    return None


def _check_currency_change(before: VariantState, draft: VariantDraft, currency: str) -> None:
    held = (before.list_price_minor, before.sale_price_minor, before.cost_minor)
    stated = (draft.list_price, draft.sale_price, draft.cost)
    missing = [
        name
        for name, old, new in zip(("list_price", "sale_price", "cost"), held, stated, strict=True)
        if old is not None and new is None
    ]
    if missing:
        raise DraftRefused(
            ImportReason.CURRENCY_PARTIAL,
            before=before.currency,
            after=currency,
            missing=", ".join(missing),
        )


def _desi(stated: Decimal) -> Decimal:
    desi = stated.quantize(_CENT, ROUND_HALF_UP)
    if desi >= _DESI_MAX:
        raise DraftRefused(
            Reason.NUMBER_TOO_LARGE, column="desi", value=str(stated), max=str(_DESI_MAX)
        )
    return desi


def _whole(column: str, stated: int | None, held: int | None) -> int | None:
    if stated is None:
        return held
    if stated > _INTEGER_MAX:
        raise DraftRefused(
            Reason.NUMBER_TOO_LARGE, column=column, value=str(stated), max=str(_INTEGER_MAX)
        )
    return stated


def _or(stated: _T | None, held: _T) -> _T:
    return held if stated is None else stated


def _over(held: dict[str, str], stated: Mapping[str, str]) -> dict[str, str]:
    return held | dict(stated) if stated else held
