"""Rules that creating and updating a product share: attributes, template, VAT.

The sheet gives the known reasons in English and says that the real text is Turkish (§1.3); the
wording is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meschain.marketplaces.n11.facade.body import Body
from meschain.marketplaces.n11.facade.listing import ListedAttribute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.marketplaces.n11.facade.settings import Settings
    from meschain.marketplaces.n11.facade.taxonomy import Attribute, Category

VAT_PERCENTS: Final = frozenset({0, 1, 10, 20})
_OPTION_FLAGS: Final = frozenset({"isVariant", "isSlicer"})


class AttributeRow(Body):
    """Exactly one of the two values is filled, the other is left out or null."""

    id: int | None = None
    valueId: int | str | None = None  # noqa: N815
    customValue: str | None = None  # noqa: N815


def _is_filled(value: int | str | None, settings: Settings) -> bool:
    # A sample of the documentation prints the text "null" where a null belongs.
    return value is not None and not (value == "null" and settings.null_text == "absent")


def carries_both_values(rows: Sequence[AttributeRow], settings: Settings) -> bool:
    """Whether an attribute has ``valueId`` and ``customValue``: TASK_ERR_001."""
    return any(
        _is_filled(row.valueId, settings) and _is_filled(row.customValue, settings) for row in rows
    )


def read_attributes(
    rows: Sequence[AttributeRow], category: Category, settings: Settings
) -> tuple[list[ListedAttribute], list[str]]:
    """The attributes chosen, and what is wrong with them."""
    chosen: list[ListedAttribute] = []
    reasons: list[str] = []
    for row in rows:
        attribute = category.attributes.get(row.id) if row.id is not None else None
        if attribute is None:
            reasons.append(f"{row.id} id'li özellik bu kategoride bulunmamaktadır.")
            continue
        if carries_both_values([row], settings):  # a task that creates is refused as a whole
            reasons.append(f"{attribute.name}: valueId ve customValue birlikte gönderilemez.")
            continue
        value = _value_of(row, attribute, settings)
        if value is None:
            reasons.append(
                f"{attribute.name}: {row.valueId} özellik değeri id'si kategoride bulunmamaktadır."
                if _is_filled(row.valueId, settings)
                else f"{attribute.name}: özellik değeri verilmelidir veya özel değer kabul edilmez."
            )
            continue
        is_option = not attribute.flags.isdisjoint(_OPTION_FLAGS)
        chosen.append(ListedAttribute(attribute.attribute_id, attribute.name, value, is_option))
    return chosen, reasons


def _value_of(row: AttributeRow, attribute: Attribute, settings: Settings) -> str | None:
    if _is_filled(row.valueId, settings):
        return attribute.values.get(row.valueId) if isinstance(row.valueId, int) else None
    if not _is_filled(row.customValue, settings) or "isCustomValue" not in attribute.flags:
        return None
    return (row.customValue or "").strip() or None


def template_reason(name: str | None, settings: Settings) -> str:
    """Templates are named as the seller office names them."""
    if not name:
        return "shipmentTemplate alanı boş olamaz."
    return "" if name in settings.shipment_templates else f"shipmentTemplate geçersiz: {name}"


def vat_reason(vat_rate: int | None) -> str:
    """``vatRate``: 0, 1, 10 or 20."""
    if vat_rate is None:
        return "vatRate alanı boş olamaz."
    return "" if vat_rate in VAT_PERCENTS else "vatRate 0, 1, 10 veya 20 olmalıdır."
