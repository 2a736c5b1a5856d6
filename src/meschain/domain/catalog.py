"""The catalog as a merchant means it: products, their sellable variants, bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from meschain.domain.money import Money


@dataclass(frozen=True, slots=True)
class Content:
    """Title and description in one language (BCP 47 tag, ``tr`` or ``en``)."""

    language: str
    title: str
    description_html: str = ""


@dataclass(frozen=True, slots=True)
class VariantDraft:
    """A sellable form as an import states it. None means "not stated", never "empty".

    Prices are gross (VAT included). ``attributes`` are the merchant's own names and values,
    e.g. ``{"Renk": "Mavi", "Beden": "M"}``.
    """

    sku: str
    barcode: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    list_price: Money | None = None
    sale_price: Money | None = None
    cost: Money | None = None
    quantity: int | None = None
    vat_percent: Decimal | None = None
    desi: Decimal | None = None
    weight_g: int | None = None
    length_mm: int | None = None
    width_mm: int | None = None
    height_mm: int | None = None
    handling_days: int | None = None
    origin_country: str | None = None
    image_urls: tuple[str, ...] = ()
    bundle: Mapping[str, int] = field(default_factory=dict)  # component SKU → units


@dataclass(frozen=True, slots=True)
class ProductDraft:
    """A product as an import states it, with its variants."""

    model_code: str
    brand: str | None
    category: str | None  # the merchant's own category path, "Giyim > Kadın > Elbise"
    contents: tuple[Content, ...]
    variants: tuple[VariantDraft, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    image_urls: tuple[str, ...] = ()
