"""A variant and a product as the catalog holds them: what an import compares and writes.

The fields are those of the tables, so that a state encoded as JSON is a row of ``catalog.sql``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from meschain.domain.money import Money


class VariantState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A variant with what hangs on it. None: the catalog does not know it.

    ``on_hand`` counts the units at the import's location; None where they were never counted.
    ``bundle`` is component SKU → units.
    """

    sku: str
    model_code: str
    currency: str
    barcode: str | None = None
    attributes: dict[str, str] = {}
    list_price_minor: int | None = None
    sale_price_minor: int | None = None
    cost_minor: int | None = None
    vat_percent: Decimal | None = None
    desi: Decimal | None = None
    weight_g: int | None = None
    length_mm: int | None = None
    width_mm: int | None = None
    height_mm: int | None = None
    handling_days: int | None = None
    origin_country: str | None = None
    image_urls: tuple[str, ...] = ()
    bundle: dict[str, int] = {}
    on_hand: int | None = None

    @property
    def is_bundle(self) -> bool:
        """Whether it is made of other variants."""
        return bool(self.bundle)


class ProductState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A product with its words and pictures; ``titles`` and ``descriptions`` by language."""

    model_code: str
    brand: str = ""
    category_path: str = ""
    attributes: dict[str, str] = {}
    titles: dict[str, str] = {}
    descriptions: dict[str, str] = {}
    image_urls: tuple[str, ...] = ()


class StoredVariant(msgspec.Struct, frozen=True):
    """A variant of the database. ``is_component``: some bundle is made of it."""

    variant_id: int
    product_id: int
    is_component: bool
    state: VariantState


FieldValue = str | int | Decimal | Money | None
"""One value of a field, for people: amounts as Money, several pictures joined by `` | ``."""


class FieldChange(msgspec.Struct, frozen=True):
    """One field before and after; of a new variant nothing is listed."""

    field: str
    before: FieldValue
    after: FieldValue


_MONEY_FIELDS: Final = {
    "list_price_minor": "list_price",
    "sale_price_minor": "sale_price",
    "cost_minor": "cost",
}
_SINGULAR: Final = {"titles": "title", "descriptions": "description"}


def changes_of(
    before: VariantState | ProductState, after: VariantState | ProductState
) -> tuple[FieldChange, ...]:
    """What differs, field by field; a named value (attribute, title) is a field of its own."""
    if before == after:
        return ()
    found: list[FieldChange] = []
    for name in after.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name == "on_hand":
            name = "quantity"  # noqa: PLW2901 – the file's word for the counted units
        if isinstance(new, dict) and name != "bundle":
            prefix = _SINGULAR.get(name, name)
            keys = dict.fromkeys((*old, *new))
            found += [
                FieldChange(f"{prefix}.{key}", old.get(key), new.get(key))
                for key in keys
                if old.get(key) != new.get(key)
            ]
        elif name in _MONEY_FIELDS:
            found.append(FieldChange(_MONEY_FIELDS[name], _money(old, before), _money(new, after)))
        else:
            found.append(FieldChange(name, _plain(old), _plain(new)))
    return tuple(found)


def shown_name(name: str) -> str:
    """A field as people know it: ``list_price``, ``quantity``, ``title.tr``."""
    if name == "on_hand":
        return "quantity"  # the file's word for the counted units
    group, dot, key = name.partition(".")
    return _MONEY_FIELDS.get(name) or f"{_SINGULAR.get(group, group)}{dot}{key}"


def _money(minor: int | None, state: VariantState | ProductState) -> Money | None:
    assert isinstance(state, VariantState)
    return None if minor is None else Money(minor, state.currency)


def _plain(value: FieldValue | tuple[str, ...] | dict[str, int]) -> FieldValue:
    if isinstance(value, tuple):
        return " | ".join(value)
    if isinstance(value, dict):
        return " | ".join(f"{sku}*{units}" for sku, units in value.items())
    return value
