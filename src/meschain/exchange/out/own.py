"""Our own columns out, one row a variant. Reference: docs/reference/catalog-csv.md.

What is written reads back as the same drafts. Importing refuses a variant without a price beside
others with one, and a product without a title beside others with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.exchange.out.layout import (
    ExportOptions,
    LeftOutReason,
    Losses,
    amount,
    currency_of,
    exact,
    title_cell,
)
from meschain.exchange.out.sheet import Row
from meschain.exchange.record import TURKISH_VAT_PERCENTS
from meschain.exchange.sheet.column import NAMES, NUMERIC, PREFIXES

_LANGUAGES: Final = ("en", "tr")


class OwnLayout:
    def __init__(self, options: ExportOptions, losses: Losses) -> None:
        self.style = options.style
        self._losses = losses
        self._language = _LANGUAGES.index(options.header_language)
        self._own_language = options.language
        self._plain = {fld: names[self._language] for fld, names in NAMES.items()}
        self.numeric = frozenset(self._plain[fld] for fld in NUMERIC)

    def _named(self, fld: str, name: str) -> str:
        if fld in NAMES and name == self._own_language:
            return self._plain[fld]
        return f"{PREFIXES[fld][self._language]}:{name}"

    def ordered(self, columns: list[str]) -> list[str]:
        """Plain columns as the reference lists them, then those with a name of their own."""
        always = [self._plain["model_code"], self._plain["sku"]]
        plain = [name for name in self._plain.values() if name in {*columns, *always}]
        return plain + sorted(set(columns) - set(plain))

    def rows(self, product: ProductDraft) -> Iterator[Row]:
        of_product = {
            "model_code": product.model_code,
            "brand": product.brand or "",
            "category": product.category or "",
            "product_image_urls": self._joined("product_image_urls", product.image_urls),
        }
        named = {
            **{self._named("title", each.language): title_cell(each.title)
               for each in product.contents},
            **{self._named("description", each.language): each.description_html
               for each in product.contents},
            **{self._named("product_attributes", name): value
               for name, value in product.attributes.items()},
        }  # fmt: skip
        if not product.contents:
            self._losses.note(no_title=True)
        for variant in product.variants:
            if any("|" in sku for sku in variant.bundle):
                self._losses.leave_out(LeftOutReason.PARTS, variant)
                continue
            cells = {self._plain[fld]: cell for fld, cell in self._cells(variant).items()}
            yield {
                **{self._plain[fld]: cell for fld, cell in of_product.items()},
                **cells,
                **named,
                **{self._named("attributes", name): value
                   for name, value in variant.attributes.items()},
            }  # fmt: skip

    def _cells(self, variant: VariantDraft) -> dict[str, str]:
        vat = variant.vat_percent
        if vat is not None and vat not in TURKISH_VAT_PERCENTS:
            self._losses.note(vat_percent=vat)
            vat = None
        if variant.list_price is None and variant.sale_price is None:
            self._losses.note(no_price=True)
        bundle = [f"{sku}*{units}" for sku, units in variant.bundle.items()]
        wholes = {
            name: "" if (value := getattr(variant, name)) is None else str(value)
            for name in (
                "quantity", "weight_g", "length_mm", "width_mm", "height_mm", "handling_days",
            )
        }  # fmt: skip
        return {
            "sku": variant.sku,
            "barcode": variant.barcode or "",
            "list_price": amount(variant.list_price),
            "sale_price": amount(variant.sale_price),
            "cost": amount(variant.cost),
            "currency": currency_of(variant) or "",
            **wholes,
            "vat_percent": "" if vat is None else exact(vat),
            "desi": "" if variant.desi is None else exact(variant.desi),
            "origin_country": variant.origin_country or "",
            "image_urls": self._joined("image_urls", variant.image_urls),
            "bundle": "|".join(bundle),
        }

    def _joined(self, fld: str, parts: tuple[str, ...]) -> str:
        """Parts in one cell, where none of them holds the mark between them."""
        if any("|" in part for part in parts):
            self._losses.note(**{fld: parts})
            return ""
        return "|".join(parts)
