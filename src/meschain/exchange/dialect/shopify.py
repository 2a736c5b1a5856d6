"""The product CSV of Shopify, under its present column names and those before them.

Rows with the same handle are one product. The first states the product and its first variant; the
options' names stand there alone. A later row is a variant, or one more image and nothing else.
Prices have no currency; ``Price`` is what buyers pay, ``Compare-at price`` what is struck out.
Source: Shopify Help Center, "Using CSV files to import and export products" (columns, image rows,
``Title`` / ``Default Title`` of a product without options, markets' columns, metafields).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from meschain.exchange.dialect.base import (
    NO_SEPARATORS,
    Cells,
    Header,
    Left,
    Line,
    Stated,
    left_out,
)
from meschain.exchange.dialect.unit import grams
from meschain.exchange.fault import Fault
from meschain.exchange.neutral import restored
from meschain.exchange.number import read_decimal
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused, ReadingOptions, SourceKind
from meschain.exchange.sheet.column import key_of

# Column → its names, the present one first.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "handle": ("URL handle", "Handle"),
    "title": ("Title",),
    "description": ("Description", "Body (HTML)", "Body HTML"),
    "vendor": ("Vendor",),
    "category": ("Product category",),
    "type": ("Type", "Custom product type"),
    "published": ("Published on online store", "Published"),
    "status": ("Status",),
    "sku": ("SKU", "Variant SKU"),
    "barcode": ("Barcode", "Variant Barcode"),
    "price": ("Price", "Variant Price"),
    "compare_price": ("Compare-at price", "Variant Compare At Price"),
    "cost": ("Cost per item",),
    "tracker": ("Inventory tracker", "Variant Inventory Tracker"),
    "quantity": ("Inventory quantity", "Variant Inventory Qty"),
    "weight_g": ("Weight value (grams)", "Variant Grams"),
    "image": ("Product image URL", "Image Src"),
    "image_position": ("Image position",),
    "variant_image": ("Variant image URL", "Variant Image"),
    "gift_card": ("Gift card",),
    "option1_name": ("Option1 name",),
    "option1_value": ("Option1 value",),
    "option2_name": ("Option2 name",),
    "option2_value": ("Option2 value",),
    "option3_name": ("Option3 name",),
    "option3_value": ("Option3 value",),
}
_NOT_NEEDED: Final = (
    *("Tags", "Option1 Linked To", "Option2 Linked To", "Option3 Linked To", "Image alt text"),
    *("Variant Inventory Policy", "Continue selling when out of stock", "Fulfillment service"),
    *("Variant Fulfillment Service", "Variant Requires Shipping", "Requires shipping"),
    *("Variant Taxable", "Charge tax", "Tax code", "Variant Tax Code", "SEO Title", "SEO title"),
    *("SEO Description", "Variant Weight Unit", "Weight unit for display", "Unit price total"),
    *("Unit price total measure", "Unit price total measure unit", "Unit price base measure"),
    *("Unit price base measure unit", "Collection", "Standardized Product Type"),
)
# Of Google's channel, of markets ("Price / Avrupa"), and metafields
# ("Kumaş (product.metafields.custom.kumas)"), which also may speak of more than goods.
_OTHERS: Final = re.compile(
    r"google shopping|(?:included|price|compare-at price|compare at price) /"
)
_OF_PRODUCT: Final = (
    *("title", "description", "vendor", "category", "type", "published", "status"),
    *("option1_name", "option2_name", "option3_name", "gift_card"),
)
_OF_VARIANT: Final = ("sku", "price", "option1_value", "barcode", "quantity")
_CODES: Final = frozenset({"sku", "barcode", "price", "quantity", "weight_g"})
_NUMERIC: Final = ("price", "compare_price", "cost", "quantity", "weight_g")


def recognized_count(header: Sequence[str]) -> int:
    """How many names of this header Shopify writes; 0 without a handle and a variant's price."""
    return Header(header).recognized_count(_NAMES, "handle", "price")


class ShopifyDialect:
    kind = SourceKind.SHOPIFY
    is_by_product = True
    own_separators = NO_SEPARATORS
    # Shopify writes its column names in English whatever the shop's language.
    header_language = "en"

    def __init__(self, header: Sequence[str], options: ReadingOptions) -> None:
        """Raises: FileRefused."""
        found = Header(header)
        self.columns = found.columns
        self._options = options
        self._at = found.places(_NAMES)
        if "sku" not in self._at:
            raise FileRefused(Reason.HEADER_NO_SKU)
        if "handle" not in self._at:
            raise FileRefused(Reason.HEADER_NO_COLUMN, column=_NAMES["handle"][0])
        self.sku_place: int = self._at["sku"]
        self.barcode_place = self._at.get("barcode")
        self.used = frozenset(self._at.values())
        ignored = {key_of(name) for name in _NOT_NEEDED}
        self.remarks = left_out(
            column
            for column in found.unknown(self.used)
            if key_of(column) not in ignored and not _OTHERS.match(key_of(column))
        )
        self.numeric = [
            (self.columns[self._at[each]], self._at[each]) for each in _NUMERIC if each in self._at
        ]
        sources = {
            "sku": "sku",
            "barcode": "barcode",
            "title": "title",
            "description": "description",
            "brand": "vendor",
            "category": "type" if "type" in self._at else "category",
            "list_price": "compare_price" if "compare_price" in self._at else "price",
            "sale_price": "price",
            "cost": "cost",
            "quantity": "quantity",
            "weight_g": "weight_g",
            "product_image_urls": "image",
            "image_urls": "variant_image",
        }
        self._cells = Cells(
            {fld: self.columns[self._at[at]] for fld, at in sources.items() if at in self._at},
            options.language,
        )
        self.layout = self._cells.layout

    def _get(self, line: Line, column: str) -> str:
        place = self._at.get(column)
        if place is None:
            return ""
        cell = restored(line.cells[place].strip())
        return _unquoted(cell) if column in _CODES else cell

    def key(self, cells: Sequence[str]) -> str:
        return cells[self._at["handle"]].strip()

    def translate(
        self, lines: Sequence[Line], separators: Mapping[str, str]
    ) -> Iterator[Stated | Left]:
        first = lines[0]
        handle = self._get(first, "handle")
        if not handle:
            for line in lines:
                yield Left(line, Fault(Reason.CELL_MISSING, column=self._column("handle")))
            return
        if reason := self._whole_refused(first):
            for line in lines:
                yield Left(line, reason)
            return
        yield Stated(first, self._cells.row(self._of_product(lines)), handle, sells=False)
        names = [self._get(first, f"option{number}_name") for number in (1, 2, 3)]
        for line in lines:
            if line is first or any(self._get(line, column) for column in _OF_VARIANT):
                yield self._variant(line, handle, names, separators)
            elif not self._get(line, "image"):
                yield Left(line, Fault(Reason.ROW_NOTHING), is_refused=False)

    def _column(self, column: str) -> str:
        return self.columns[self._at[column]]

    def _whole_refused(self, first: Line) -> Fault | None:
        if self._get(first, "gift_card").lower() == "true":
            return Fault(Reason.PRODUCT_KIND, kind="gift card")
        status = self._get(first, "status").lower()
        is_active = status == "active" or (
            not status and self._get(first, "published").lower() != "false"
        )
        if not is_active and not self._options.include_disabled:
            return Fault(Reason.PRODUCT_DISABLED)
        return None

    def _of_product(self, lines: Sequence[Line]) -> dict[str, str]:
        first = lines[0]
        images: list[tuple[int, str]] = []
        for line in lines:
            position = self._get(line, "image_position")[:6]
            if image := self._get(line, "image"):
                images.append((int(position) if position.isdigit() else len(images) + 1, image))
        urls = [image for _, image in sorted(images, key=lambda each: each[0])]
        return {
            "title": self._get(first, "title"),
            "description": self._get(first, "description"),
            "brand": self._get(first, "vendor"),
            "category": self._get(first, "type") or self._get(first, "category"),
            "product_image_urls": "|".join(dict.fromkeys(urls)),
        }

    def _variant(
        self, line: Line, handle: str, names: Sequence[str], separators: Mapping[str, str]
    ) -> Stated | Left:
        remarks: list[Fault] = []
        values = [self._get(line, f"option{number}_value") for number in (1, 2, 3)]
        attributes = {
            name: value
            for name, value in zip(names, values, strict=True)
            if name and value and (name, value) != ("Title", "Default Title")
        }
        try:
            fields = {
                "sku": self._get(line, "sku"),
                "barcode": self._get(line, "barcode"),
                **self._prices(line, separators),
                "cost": self._get(line, "cost"),
                "quantity": self._quantity(line, remarks),
                "weight_g": self._weight(line, separators),
                "image_urls": self._get(line, "variant_image"),
            }
        except Fault as fault:
            return Left(line, fault)
        return Stated(line, self._cells.row(fields), handle, attributes=attributes, remarks=remarks)

    def _prices(self, line: Line, separators: Mapping[str, str]) -> dict[str, str]:
        """A compare-at price that is not above the price strikes nothing out. Raises: Fault."""
        price, compared = self._get(line, "price"), self._get(line, "compare_price")
        if price and compared:
            highest = read_decimal(compared, self._column("compare_price"), separators)
            if highest <= read_decimal(price, self._column("price"), separators):
                compared = ""
        return {"list_price": compared or price, "sale_price": price}

    def _quantity(self, line: Line, remarks: list[Fault]) -> str:
        quantity = self._get(line, "quantity")
        if "tracker" in self._at and not self._get(line, "tracker"):
            return ""  # the shop does not count this variant; it writes 0 all the same
        if quantity.startswith("-"):
            remarks.append(Fault(Reason.STOCK_NEGATIVE, quantity=quantity))
            return "0"
        return quantity

    def _weight(self, line: Line, separators: Mapping[str, str]) -> str:
        cell = self._get(line, "weight_g")
        if not cell:
            return ""
        amount: Decimal = read_decimal(cell, self._column("weight_g"), separators)
        return grams(amount, "g")

    def raw_row(self, line: Line, first: Line | None) -> Mapping[str, str]:
        """With what only the first row states, so that the mended row stands alone."""
        cells = list(line.cells)
        if first is not None:
            for column in _OF_PRODUCT:
                place = self._at.get(column)
                if place is not None and not cells[place]:
                    cells[place] = first.cells[place]
        return dict(zip(self.columns, cells, strict=True))


def _unquoted(cell: str) -> str:
    """Without the apostrophe before numbers that spreadsheets would shorten."""
    return cell[1:] if cell[:1] == "'" and cell[1:].isdigit() else cell
