"""A feed for Google Merchant Center as tab-separated text; see ``dialect.google`` for its rules."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.domain.identity import gtin_check_digit_holds, has_gtin_length
from meschain.domain.money import Money
from meschain.exchange.out.layout import (
    ExportOptions,
    LeftOutReason,
    Losses,
    amount,
    exact,
    prices,
    title_cell,
)
from meschain.exchange.out.sheet import Row, SheetStyle

_ATTRIBUTES: Final = (
    *("color", "size", "material", "pattern", "age_group", "gender", "size_type", "size_system"),
)
_ORDER: Final = (
    *("id", "title", "description", "image_link", "additional_image_link", "availability"),
    *("quantity", "price", "sale_price", "cost_of_goods_sold", "product_type", "brand", "gtin"),
    *("mpn", "item_group_id"),
    *_ATTRIBUTES,
    *("shipping_weight", "shipping_length", "shipping_width", "shipping_height"),
    "max_handling_time",
)


class GoogleLayout:
    style = SheetStyle(encoding="utf-8", delimiter="\t", decimal_separator=".")
    numeric: frozenset[str] = frozenset({"quantity", "max_handling_time"})

    def __init__(self, options: ExportOptions, losses: Losses) -> None:
        self._options = options
        self._losses = losses

    def ordered(self, columns: list[str]) -> list[str]:
        return [name for name in _ORDER if name in columns]

    def rows(self, product: ProductDraft) -> Iterator[Row]:
        language = self._options.language
        content = next((each for each in product.contents if each.language == language), None)
        if content is None:
            self._losses.leave_out(LeftOutReason.NO_TITLE, *product.variants)
            return
        self._losses.fields["languages"] += len(product.contents) - 1
        self._losses.note(product_attributes=product.attributes or None)
        for variant in product.variants:
            self._note(variant, product)
            yield {
                "title": title_cell(content.title),
                "description": content.description_html,
                "brand": product.brand or "",
                "product_type": product.category or "",
                "item_group_id": product.model_code if len(product.variants) > 1 else "",
                **_of_variant(variant, product.image_urls),
            }

    def _note(self, variant: VariantDraft, product: ProductDraft) -> None:
        others = variant.attributes.keys() - {*_ATTRIBUTES, "MPN"}
        self._losses.note(
            attributes=tuple(others),
            barcode=variant.barcode if variant.barcode and not _gtin(variant) else None,
            product_image_urls=product.image_urls if variant.image_urls else None,
            lent_images=None if variant.image_urls else product.image_urls,
            vat_percent=variant.vat_percent,
            desi=variant.desi,
            origin_country=variant.origin_country,
            bundle=variant.bundle,
            one_price=True if variant.list_price is None and variant.sale_price else None,
            no_price=True if variant.sale_price is None and variant.list_price is None else None,
        )


def _of_variant(variant: VariantDraft, product_images: tuple[str, ...]) -> dict[str, str]:
    regular, sale = prices(variant)
    counted = variant.quantity
    # Google asks for an image of every item.
    images = variant.image_urls or product_images
    return {
        "id": variant.sku,
        "image_link": next(iter(images), ""),
        "additional_image_link": ",".join(images[1:]),
        "availability": "out_of_stock" if counted == 0 else "in_stock",
        "quantity": "" if counted is None else str(counted),
        "price": _priced(regular),
        "sale_price": _priced(sale),
        "cost_of_goods_sold": _priced(variant.cost),
        "gtin": _gtin(variant),
        "mpn": variant.attributes.get("MPN", ""),
        "shipping_weight": f"{variant.weight_g} g" if variant.weight_g else "",
        "shipping_length": _centimeters(variant.length_mm),
        "shipping_width": _centimeters(variant.width_mm),
        "shipping_height": _centimeters(variant.height_mm),
        "max_handling_time": "" if variant.handling_days is None else str(variant.handling_days),
        **{name: variant.attributes.get(name, "") for name in _ATTRIBUTES},
    }


def _priced(price: Money | None) -> str:
    if price is None:
        return ""
    # Decimals tell the reader what separates them, also in a currency without any.
    whole = ".00" if "." not in amount(price) else ""
    return f"{amount(price)}{whole} {price.currency}"


def _gtin(variant: VariantDraft) -> str:
    """The barcode where it is a GTIN; Google takes no in-house codes."""
    code = variant.barcode or ""
    is_gtin = code.isascii() and code.isdigit() and has_gtin_length(code)
    return code if is_gtin and gtin_check_digit_holds(code) else ""


def _centimeters(millimeters: int | None) -> str:
    return f"{exact(Decimal(millimeters).scaleb(-1))} cm" if millimeters else ""
