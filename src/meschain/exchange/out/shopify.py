"""The product CSV that Shopify imports; see ``dialect.shopify`` for its rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.exchange.out.layout import (
    ExportOptions,
    LeftOutReason,
    Losses,
    amount,
    prices,
    sellable,
    title_cell,
)
from meschain.exchange.out.sheet import Row, SheetStyle

_ORDER: Final = (
    *("Title", "URL handle", "Description", "Vendor", "Type", "Published on online store"),
    *("Status", "SKU", "Barcode"),
    *("Option1 name", "Option1 value", "Option2 name", "Option2 value"),
    *("Option3 name", "Option3 value", "Price", "Compare-at price", "Cost per item"),
    *("Inventory tracker", "Inventory quantity", "Weight value (grams)", "Product image URL"),
    *("Image position", "Variant image URL"),
)
OPTIONS_MAX: Final = 3
"""Options of one product. Source: Shopify Help Center, "Adding variants"."""


class ShopifyLayout:
    style = SheetStyle(encoding="utf-8", delimiter=",", decimal_separator=".")
    numeric = frozenset(
        {
            *("Price", "Compare-at price", "Cost per item", "Inventory quantity"),
            *("Weight value (grams)", "Image position"),
        }
    )

    def __init__(self, options: ExportOptions, losses: Losses) -> None:
        self._options = options
        self._losses = losses

    def ordered(self, columns: list[str]) -> list[str]:
        return [name for name in _ORDER if name in columns]

    def rows(self, product: ProductDraft) -> Iterator[Row]:
        title, description, variants = sellable(product, self._options, self._losses)
        names = list(dict.fromkeys(name for each in variants for name in each.attributes))
        if len(names) > OPTIONS_MAX:
            self._losses.leave_out(LeftOutReason.OPTIONS, *variants)
            return
        if not variants:
            return
        for variant in variants:
            self._note(variant)
        self._losses.note(product_attributes=product.attributes or None)
        first = {
            "Title": title_cell(title),
            "Description": description,
            "Vendor": product.brand or "",
            "Type": product.category or "",
            "Published on online store": "TRUE",
            "Status": "active",
            **{f"Option{n} name": name for n, name in enumerate(names, start=1)},
        }
        if not names and len(variants) == 1:
            first |= {"Option1 name": "Title", "Option1 value": "Default Title"}
        images: list[dict[str, str]] = [
            {"Product image URL": url, "Image position": str(n)}
            for n, url in enumerate(product.image_urls, start=1)
        ]
        cells = [_of_variant(variant, names) for variant in variants]
        for number in range(max(len(cells), len(images))):
            yield {
                "URL handle": product.model_code,
                **(first if not number else {}),
                **(cells[number] if number < len(cells) else {}),
                **(images[number] if number < len(images) else {}),
            }

    def _note(self, variant: VariantDraft) -> None:
        self._losses.note(
            vat_percent=variant.vat_percent,
            desi=variant.desi,
            length_mm=variant.length_mm,
            width_mm=variant.width_mm,
            height_mm=variant.height_mm,
            handling_days=variant.handling_days,
            origin_country=variant.origin_country,
            bundle=variant.bundle,
            image_urls=variant.image_urls[1:] or None,
            one_price=True if variant.list_price is None and variant.sale_price else None,
            no_price=True if variant.sale_price is None and variant.list_price is None else None,
        )


def _of_variant(variant: VariantDraft, names: list[str]) -> dict[str, str]:
    regular, sale = prices(variant)
    counted = variant.quantity
    return {
        "SKU": variant.sku,
        "Barcode": variant.barcode or "",
        "Price": amount(sale or regular),
        "Compare-at price": amount(regular) if sale else "",
        "Cost per item": amount(variant.cost),
        "Inventory tracker": "" if counted is None else "shopify",
        "Inventory quantity": "" if counted is None else str(counted),
        "Weight value (grams)": str(variant.weight_g) if variant.weight_g else "",
        # One is all a variant can have; one of several would stand for all on the way back.
        "Variant image URL": variant.image_urls[0] if len(variant.image_urls) == 1 else "",
        **{
            f"Option{number} value": variant.attributes.get(name, "")
            for number, name in enumerate(names, start=1)
        },
    }
