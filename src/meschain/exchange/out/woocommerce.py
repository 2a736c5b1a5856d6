"""The product CSV that WooCommerce imports; see ``dialect.woocommerce`` for its rules.

A product whose variants have attributes, or that has several variants, is a variable product with
its variations; any other is a simple one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.exchange.out.layout import (
    ExportOptions,
    Losses,
    amount,
    exact,
    prices,
    sellable,
    title_cell,
)
from meschain.exchange.out.sheet import Row, SheetStyle

_ORDER: Final = (
    *("Type", "SKU", "GTIN, UPC, EAN, or ISBN", "Name", "Published", "Description", "In stock?"),
    *("Stock", "Weight (kg)", "Length (cm)", "Width (cm)", "Height (cm)", "Sale price"),
    *("Regular price", "Cost of goods", "Categories", "Images", "Parent", "Brands"),
)
_NUMERIC: Final = frozenset(
    {
        *("Stock", "Weight (kg)", "Length (cm)", "Width (cm)", "Height (cm)"),
        *("Sale price", "Regular price", "Cost of goods"),
    }
)


class WooCommerceLayout:
    style = SheetStyle(delimiter=",", decimal_separator=".")
    numeric = _NUMERIC

    def __init__(self, options: ExportOptions, losses: Losses) -> None:
        self._options = options
        self._losses = losses

    def ordered(self, columns: list[str]) -> list[str]:
        plain = [name for name in _ORDER if name in columns]
        numbered = set(columns) - set(plain)
        return plain + sorted(numbered, key=lambda name: (int(name.split()[1]), name))

    def rows(self, product: ProductDraft) -> Iterator[Row]:
        title, description, variants = sellable(product, self._options, self._losses)
        if not variants:
            return
        of_product = {
            "Name": title_cell(title),
            "Description": _line_ends(description),
            "Brands": _several((product.brand or "",)),
            "Categories": _several((product.category or "",)),
            "Images": _several(product.image_urls),
            "Published": "1",
        }
        for variant in variants:
            self._note(variant)
        if len(variants) == 1 and not variants[0].attributes:
            (variant,) = variants
            self._losses.note(image_urls=variant.image_urls)
            attributes = _attributes({name: [each] for name, each in product.attributes.items()})
            yield {**of_product, **_of_variant(variant), **attributes, "Type": "simple"}
            return
        chosen: dict[str, list[str]] = {}
        for variant in variants:
            for name, value in variant.attributes.items():
                if value not in (values := chosen.setdefault(name, [])):
                    values.append(value)
        shared = {name: [v] for name, v in product.attributes.items() if name not in chosen}
        yield {
            **of_product,
            "Type": "variable",
            "SKU": product.model_code,
            **_attributes({**chosen, **shared}),
        }
        for variant in variants:
            yield {
                "Type": "variation",
                "Name": title_cell(title),
                "Published": "1",
                "Parent": product.model_code,
                "Images": _several(variant.image_urls),
                **_of_variant(variant),
                **_attributes({name: [each] for name, each in variant.attributes.items()}),
            }

    def _note(self, variant: VariantDraft) -> None:
        self._losses.note(
            vat_percent=variant.vat_percent,
            desi=variant.desi,
            handling_days=variant.handling_days,
            origin_country=variant.origin_country,
            bundle=variant.bundle,
            one_price=True if variant.list_price is None and variant.sale_price else None,
            no_price=True if variant.sale_price is None and variant.list_price is None else None,
        )


def _of_variant(variant: VariantDraft) -> dict[str, str]:
    regular, sale = prices(variant)
    counted = variant.quantity
    return {
        "SKU": variant.sku,
        "GTIN, UPC, EAN, or ISBN": variant.barcode or "",
        "Regular price": amount(regular),
        "Sale price": amount(sale),
        "Cost of goods": amount(variant.cost),
        "Stock": "" if counted is None else str(counted),
        "In stock?": "1" if counted is None else str(int(counted > 0)),
        "Weight (kg)": _scaled(variant.weight_g, -3),
        "Length (cm)": _scaled(variant.length_mm, -1),
        "Width (cm)": _scaled(variant.width_mm, -1),
        "Height (cm)": _scaled(variant.height_mm, -1),
    }


def _scaled(measure: int | None, exponent: int) -> str:
    return exact(Decimal(measure).scaleb(exponent)) if measure else ""


def _attributes(named: Mapping[str, Iterable[str]]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for number, (name, values) in enumerate(named.items(), start=1):
        cells |= {
            f"Attribute {number} name": name,
            f"Attribute {number} value(s)": _several(values),
            f"Attribute {number} visible": "1",
            f"Attribute {number} global": "0",
        }
    return cells


def _several(values: Iterable[str]) -> str:
    """Values separated by commas; one inside a value has a backslash before it."""
    return ", ".join(value.replace(",", "\\,") for value in values if value)


def _line_ends(description: str) -> str:
    r"""Line ends as ``\n``, and what already reads ``\n`` as ``\\n``."""
    escaped = description.replace("\\n", "\\\\n")
    # A backslash before a line end would make one of the latter; such a text keeps its line ends.
    return escaped if "\\\n" in escaped else escaped.replace("\n", "\\n")
