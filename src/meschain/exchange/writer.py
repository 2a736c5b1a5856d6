"""Catalogs and refused rows written as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange.reason import Reason
from meschain.exchange.record import RefusedRow, SourceForm
from meschain.exchange.sheet.column import NAMES, PREFIXES, REFUSED_COLUMNS

HeaderLanguage = Literal["en", "tr"]
Render = Callable[[Reason, Mapping[str, str]], str]
_LANGUAGES: Final[tuple[HeaderLanguage, ...]] = ("en", "tr")


def write_refused(
    path: Path, form: SourceForm, refused_rows: Iterable[RefusedRow], render: Render
) -> int:
    """Write refused rows in the form of their source, each with its row number and reason.

    A CSV keeps its header, delimiter, encoding and cells as they were, so that it can be mended and
    read again; of a dump the key columns are written. ``render`` turns a reason into a sentence.
    Returns the number of rows.
    """
    rows = list(refused_rows)
    columns = form.columns or tuple(dict.fromkeys(name for row in rows for name in row.raw_row))
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    # A sentence may hold a letter that Windows-1254 lacks; the row itself always fits.
    with path.open("w", encoding=encoding, errors="replace", newline="") as target:
        writer = csv.writer(target, delimiter=form.delimiter, lineterminator="\r\n")
        writer.writerow((*columns, *REFUSED_COLUMNS))
        for row in rows:
            # Cells beyond the header have no column to go back to.
            cells = (row.raw_row.get(column, "") for column in columns)
            reason = render(row.reason_code, row.params)
            writer.writerow((*cells, str(row.row_number), reason))
    return len(rows)


def write_catalog(
    path: Path,
    products: Sequence[ProductDraft],
    *,
    header_language: HeaderLanguage = "en",
    default_language: str = "tr",
    encoding: str = "utf-8-sig",
    delimiter: str = ";",
    decimal_separator: str = ",",
) -> None:
    """Write drafts as our documented CSV, one row a variant; only columns that something fills.

    What is written reads back as the same drafts, as far as the CSV can say it: a price that only
    some variants state, or a product without a title beside others with one, is refused on reading.
    """
    names = _Names(header_language, default_language)
    table = [
        _cells(product, variant, names, decimal_separator)
        for product in products
        for variant in product.variants
    ]
    filled = {column for row in table for column, cell in row.items() if cell}
    always = {names.plain("model_code"), names.plain("sku")}
    columns = [column for column in _ordered(table) if column in filled | always]
    with path.open("w", encoding=encoding, newline="") as target:
        writer = csv.DictWriter(
            target, columns, delimiter=delimiter, extrasaction="ignore", lineterminator="\r\n"
        )
        writer.writeheader()
        writer.writerows(table)


class _Names:
    """Header names in one language."""

    def __init__(self, language: HeaderLanguage, default_language: str) -> None:
        self._index = _LANGUAGES.index(language)
        self._default_language = default_language

    def plain(self, fld: str) -> str:
        return NAMES[fld][self._index]

    def named(self, fld: str, name: str) -> str:
        if fld in NAMES and name == self._default_language:
            return self.plain(fld)
        return f"{PREFIXES[fld][self._index]}:{name}"


def _ordered(table: Iterable[Mapping[str, str]]) -> Iterator[str]:
    yield from dict.fromkeys(column for row in table for column in row)


def _cells(
    product: ProductDraft, variant: VariantDraft, names: _Names, separator: str
) -> dict[str, str]:
    def number(value: Decimal | int | None) -> str:
        return (
            ""
            if value is None
            else f"{value:f}".replace(".", separator)
            if isinstance(value, Decimal)
            else str(value)
        )

    def money(value: Money | None) -> str:
        return "" if value is None else number(value.amount)

    prices = (variant.list_price, variant.sale_price, variant.cost)
    currency = next((price.currency for price in prices if price is not None), "")
    plain = {
        "model_code": product.model_code,
        "sku": variant.sku,
        "barcode": variant.barcode or "",
        "brand": product.brand or "",
        "category": product.category or "",
        "list_price": money(variant.list_price),
        "sale_price": money(variant.sale_price),
        "cost": money(variant.cost),
        "currency": currency,
        "quantity": number(variant.quantity),
        "vat_percent": number(variant.vat_percent),
        "desi": number(variant.desi),
        "weight_g": number(variant.weight_g),
        "length_mm": number(variant.length_mm),
        "width_mm": number(variant.width_mm),
        "height_mm": number(variant.height_mm),
        "handling_days": number(variant.handling_days),
        "origin_country": variant.origin_country or "",
        "image_urls": "|".join(variant.image_urls),
        "product_image_urls": "|".join(product.image_urls),
        "bundle": "|".join(f"{sku}*{units}" for sku, units in variant.bundle.items()),
    }
    cells = {names.plain(fld): cell for fld, cell in plain.items()}
    for content in product.contents:
        cells[names.named("title", content.language)] = content.title
        cells[names.named("description", content.language)] = content.description_html
    for name, value in variant.attributes.items():
        cells[names.named("attributes", name)] = value
    for name, value in product.attributes.items():
        cells[names.named("product_attributes", name)] = value
    return cells
