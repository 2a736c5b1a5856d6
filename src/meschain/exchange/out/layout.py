"""What every catalog format shares: options, what is lost, how values are written."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.domain.money import Money, currency_exponent
from meschain.exchange.markup import plain_text
from meschain.exchange.out.sheet import Row, SheetStyle


class ExportFormat(StrEnum):
    """``csv`` and ``xlsx`` are our own columns."""

    CSV = "csv"
    XLSX = "xlsx"
    WOOCOMMERCE = "woocommerce"
    SHOPIFY = "shopify"
    GOOGLE = "google"
    OPENCART = "opencart"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What a file cannot say itself, or is told.

    ``currency`` is that of formats without one: variants priced otherwise are left out there.
    ``language`` is that of titles in formats with room for one. ``header_language`` (``en`` or
    ``tr``) and ``style`` are those of our own columns.
    """

    currency: str = "TRY"
    language: str = "tr"
    header_language: str = "en"
    style: SheetStyle = field(default_factory=SheetStyle)


class LeftOutReason(StrEnum):
    """Why a variant is not in the file; texts in ``messages.toml`` beside."""

    CURRENCY = "export.left_out.currency"
    NO_TITLE = "export.left_out.no_title"
    OPTIONS = "export.left_out.options"
    SAME_OPTIONS = "export.left_out.same_options"
    NO_VAT = "export.left_out.no_vat"
    PARTS = "export.left_out.parts"
    SKU = "export.left_out.sku"
    TITLE_HTML = "export.left_out.title_html"


@dataclass(frozen=True, slots=True)
class LeftOut:
    sku: str
    reason: LeftOutReason


LEFT_OUT_MAX: Final = 10_000  # named; all are counted


@dataclass(slots=True)
class Losses:
    """What the file does not hold. ``fields``: name → variants or products that have it."""

    fields: Counter[str] = field(default_factory=Counter)
    left_out: list[LeftOut] = field(default_factory=list)
    left_out_count: int = 0

    def leave_out(self, reason: LeftOutReason, *variants: VariantDraft) -> None:
        self.left_out_count += len(variants)
        if len(self.left_out) < LEFT_OUT_MAX:
            self.left_out += [LeftOut(variant.sku, reason) for variant in variants]

    def note(self, **values: object) -> None:
        """Count those that are stated."""
        self.fields.update(name for name, value in values.items() if value not in (None, (), {}))


class Layout(Protocol):
    """One format's way to write a product."""

    @property
    def style(self) -> SheetStyle: ...
    @property
    def numeric(self) -> frozenset[str]: ...
    def rows(self, product: ProductDraft) -> Iterator[Row]: ...
    def ordered(self, columns: list[str]) -> list[str]:
        """The header: the columns that something fills, in the format's order."""


def countable(product: ProductDraft, losses: Losses, *, instead: int | None) -> ProductDraft:
    """With ``instead`` for counts below 0, which overselling leaves and no catalog can state."""
    below = sum((each.quantity or 0) < 0 for each in product.variants)
    if not below:
        return product
    losses.fields["below_zero"] += below
    variants = (
        replace(each, quantity=instead) if (each.quantity or 0) < 0 else each
        for each in product.variants
    )
    return replace(product, variants=tuple(variants))


def title_cell(title: str) -> str:
    """A title as a cell: importing takes HTML for HTML, so what only looks so is escaped."""
    return title if plain_text(title) == title else html.escape(title, quote=False)


def amount(price: Money | None) -> str:
    """Major units with a decimal point. A third decimal gets a zero behind it.

    ``1.250`` alone is a price or a thousand times as much; ``1.2500`` is a price.
    """
    if price is None:
        return ""
    return f"{price.amount:f}{'0' if currency_exponent(price.currency) == 3 else ''}"


def exact(number: Decimal) -> str:
    """A measure with a decimal point, never with exactly three decimals; see ``amount``."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}0" if len(text.rpartition(".")[2]) == 3 and "." in text else text


def prices(variant: VariantDraft) -> tuple[Money | None, Money | None]:
    """Regular price, and the sale price where it is lower."""
    regular = variant.list_price or variant.sale_price
    sale = variant.sale_price
    return regular, sale if sale is not None and regular is not None and sale < regular else None


def currency_of(variant: VariantDraft) -> str | None:
    stated = (variant.list_price, variant.sale_price, variant.cost)
    return next((price.currency for price in stated if price is not None), None)


def sellable(
    product: ProductDraft, options: ExportOptions, losses: Losses
) -> tuple[str, str, list[VariantDraft]]:
    """Title, description and the variants that a shop's file can hold, for one without currency."""
    content = next((each for each in product.contents if each.language == options.language), None)
    if content is None:
        losses.leave_out(LeftOutReason.NO_TITLE, *product.variants)
        return "", "", []
    others = len(product.contents) - 1
    losses.fields["languages"] += others
    kept: list[VariantDraft] = []
    for variant in product.variants:
        if currency_of(variant) in (None, options.currency):
            kept.append(variant)
        else:
            losses.leave_out(LeftOutReason.CURRENCY, variant)
    return content.title, content.description_html, kept
