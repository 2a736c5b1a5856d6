"""A product feed for Google Merchant Center, as delimited text or XML (RSS 2.0, Atom).

Items with the same ``item_group_id`` are the variants of one product; there is no title of the
whole, so the first item's stands for it. Prices carry their currency ("15.00 USD") and, outside
the United States and Canada, VAT. ``availability`` counts nothing: out of stock is 0, in stock is
not stated. Source: Google Merchant Center Help, "Product data specification" (attributes, formats,
``sale_price_effective_date``, units) and "RSS 2.0 specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
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
from meschain.exchange.dialect.unit import LENGTH_UNITS, WEIGHT_UNITS, grams, millimeters
from meschain.exchange.fault import Fault
from meschain.exchange.neutral import restored
from meschain.exchange.number import CURRENCY_NAMES, read_decimal
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused, ReadingOptions, SourceKind

_NAMES: Final = (
    *("id", "title", "description", "link", "image_link", "additional_image_link"),
    *("availability", "price", "sale_price", "sale_price_effective_date", "cost_of_goods_sold"),
    *("google_product_category", "product_type", "brand", "gtin", "mpn", "item_group_id"),
    *("color", "size", "material", "pattern", "age_group", "gender", "size_type", "size_system"),
    *("shipping_weight", "shipping_length", "shipping_width", "shipping_height"),
    *("product_weight", "product_length", "product_width", "product_height"),
    *("max_handling_time", "quantity"),
)
_NOT_NEEDED: Final = frozenset(
    {
        *("link", "mobile_link", "canonical_link", "condition", "adult", "identifier_exists"),
        *("availability_date", "expiration_date", "min_handling_time", "multipack", "is_bundle"),
        *("shipping", "shipping_label", "tax", "tax_category", "promotion_id", "installment"),
        *("unit_pricing_measure", "unit_pricing_base_measure", "energy_efficiency_class"),
        *("min_energy_efficiency_class", "max_energy_efficiency_class", "certification"),
        *("product_detail", "product_highlight", "lifestyle_image_link", "ads_redirect"),
        *("custom_label_0", "custom_label_1", "custom_label_2", "custom_label_3"),
        *("custom_label_4", "excluded_destination", "included_destination", "pause", "pubDate"),
        *("shopping_ads_excluded_country", "ships_from_country", "transit_time_label", "guid"),
        *("subscription_cost", "loyalty_points", "external_seller_id", "virtual_model_link"),
        *("video_link", "structured_title", "structured_description", "short_title", "updated"),
    }
)
_VARIANT_ATTRIBUTES: Final = (
    *("color", "size", "material", "pattern", "age_group", "gender", "size_type", "size_system"),
)
_PRICES: Final = ("price", "sale_price", "cost_of_goods_sold")
_PRICE: Final = re.compile(
    r"(?:(?P<before>[A-Z]{3}|TL|[₺€$£])\s*)?(?P<amount>-?[0-9][0-9.,]*)"
    r"\s*(?P<after>[A-Z]{3}|TL|[₺€$£])?"
)
_MEASURE: Final = re.compile(r"(?P<amount>[0-9][0-9.,]*)\s*(?P<unit>[A-Za-z]+)")
_MEASURES: Final = {
    "weight_g": ("shipping_weight", "product_weight"),
    "length_mm": ("shipping_length", "product_length"),
    "width_mm": ("shipping_width", "product_width"),
    "height_mm": ("shipping_height", "product_height"),
}
_AVAILABLE: Final = {
    "in stock": "",
    "limited availability": "",
    "out of stock": "0",
    "preorder": "0",
    "backorder": "0",
}
_BETWEEN_URLS: Final = re.compile(r"\s*[,|]\s*(?=https?://)")


def _named(cell: str) -> str:
    """``g:image link`` as ``image_link``; what stands in brackets is a sub-attribute list."""
    name = cell.strip().removeprefix("g:").partition("(")[0].strip()
    return re.sub(r"[\s_]+", "_", name).lower()


def recognized_count(header: Sequence[str]) -> int:
    """How many attributes of this header Google specifies; 0 without an id and a feed's price."""
    names = {_named(cell) for cell in header}
    if "id" not in names or not {"availability", "image_link", "google_product_category"} & names:
        return 0
    return len(names & {*_NAMES, *_NOT_NEEDED})


class GoogleDialect:
    kind = SourceKind.GOOGLE
    is_by_product = True
    own_separators = NO_SEPARATORS
    # Attribute names are English in XML and in nearly every text feed.
    header_language = "en"

    def __init__(self, header: Sequence[str], options: ReadingOptions) -> None:
        """Raises: FileRefused."""
        self.columns = Header(header).columns
        self._options = options
        self._at: dict[str, int] = {}
        unknown: list[str] = []
        for place, cell in enumerate(header):
            name = _named(cell)
            if name in _NAMES:
                self._at.setdefault(name, place)
            elif name and name.partition("/")[0] not in _NOT_NEEDED and "@" not in name:
                unknown.append(self.columns[place])
        if "id" not in self._at:
            raise FileRefused(Reason.HEADER_NO_COLUMN, column="id")
        self.sku_place: int = self._at["id"]
        self.barcode_place = self._at.get("gtin")
        self.used = frozenset(self._at.values())
        self.remarks = left_out(unknown)
        measured = (name for names in _MEASURES.values() for name in names)
        numeric = (*_PRICES, *measured, "quantity", "max_handling_time")
        self.numeric = [
            (self.columns[self._at[each]], self._at[each]) for each in numeric if each in self._at
        ]
        sources: dict[str, str | None] = {
            "sku": "id",
            "barcode": "gtin",
            "title": "title",
            "description": "description",
            "brand": "brand",
            "category": self._first("product_type", "google_product_category"),
            "list_price": "price",
            "sale_price": self._first("sale_price", "price"),
            "currency": "price",
            "cost": "cost_of_goods_sold",
            "quantity": self._first("quantity", "availability"),
            "handling_days": "max_handling_time",
            "image_urls": self._first("image_link", "additional_image_link"),
            **{fld: self._first(*names) for fld, names in _MEASURES.items()},
        }
        self._cells = Cells(
            {
                fld: self.columns[self._at[at]]
                for fld, at in sources.items()
                if at is not None and at in self._at
            },
            options.language,
        )
        self.layout = self._cells.layout

    def _first(self, *names: str) -> str | None:
        return next((name for name in names if name in self._at), None)

    def _get(self, line: Line, name: str) -> str:
        place = self._at.get(name)
        return restored(line.cells[place].strip()) if place is not None else ""

    def key(self, cells: Sequence[str]) -> str:
        place = self._at.get("item_group_id")
        group = "" if place is None else cells[place].strip()
        return f"group {group}" if group else f"id {cells[self.sku_place].strip()}"

    def translate(
        self, lines: Sequence[Line], separators: Mapping[str, str]
    ) -> Iterator[Stated | Left]:
        # What the items say of the product is taken from the first that can be used.
        product: dict[str, str] | None = None
        for line in lines:
            remarks: list[Fault] = []
            try:
                fields = self._of_variant(line, separators, remarks)
            except Fault as fault:
                yield Left(line, fault)
                continue
            if product is None:
                product = self._of_product(line)
            yield Stated(
                line,
                self._cells.row({**product, **fields}),
                self._get(line, "item_group_id"),
                attributes=self._attributes(line),
                remarks=remarks,
            )

    def _of_product(self, line: Line) -> dict[str, str]:
        category = self._get(line, "product_type") or self._get(line, "google_product_category")
        return {
            "title": self._get(line, "title"),
            "description": self._get(line, "description"),
            "brand": self._get(line, "brand"),
            # A number is an entry of Google's own taxonomy and no name.
            "category": "" if category.isdigit() else category.partition("|")[0],
        }

    def _attributes(self, line: Line) -> dict[str, str]:
        stated = {name: self._get(line, name) for name in _VARIANT_ATTRIBUTES}
        stated["MPN"] = self._get(line, "mpn")
        return {name: value for name, value in stated.items() if value}

    def _of_variant(
        self, line: Line, separators: Mapping[str, str], remarks: list[Fault]
    ) -> dict[str, str]:
        """Raises: Fault."""
        prices = {name: self._price(line, name) for name in _PRICES}
        currencies = {currency for _, currency in prices.values() if currency}
        if len(currencies) > 1:
            named = ", ".join(sorted(currencies))
            raise Fault(Reason.CURRENCY_MIXED, currencies=named)
        price, sale = prices["price"][0], prices["sale_price"][0]
        if sale and not self._is_on_sale(line, remarks):
            sale = ""
        return {
            "sku": self._get(line, "id"),
            "barcode": self._get(line, "gtin").replace(" ", "").replace("-", ""),
            "list_price": price,
            "sale_price": sale or price,
            "currency": next(iter(currencies), ""),
            "cost": prices["cost_of_goods_sold"][0],
            "quantity": self._quantity(line, remarks),
            "handling_days": self._get(line, "max_handling_time"),
            "image_urls": "|".join(self._images(line)),
            **self._measured(line, separators, remarks),
        }

    def _price(self, line: Line, name: str) -> tuple[str, str]:
        """Amount as written, and the currency's code. Raises: Fault."""
        given = self._get(line, name)
        if not given:
            return "", ""
        found = _PRICE.fullmatch(given)
        if found is None:
            column = self.columns[self._at[name]]
            raise Fault(Reason.NUMBER_UNREADABLE, column=column, value=given)
        mark = found["after"] or found["before"] or ""
        return found["amount"], CURRENCY_NAMES.get(mark, mark)

    def _is_on_sale(self, line: Line, remarks: list[Fault]) -> bool:
        given = self._get(line, "sale_price_effective_date")
        if not given:
            return True
        try:
            begin, end = (datetime.fromisoformat(part.strip()).date() for part in given.split("/"))
        except ValueError:
            remarks.append(Fault(Reason.PRICE_SPECIAL_DATES, value=given))
            return False
        return begin <= self._options.today <= end

    def _quantity(self, line: Line, remarks: list[Fault]) -> str:
        if counted := self._get(line, "quantity"):
            return counted
        given = self._get(line, "availability")
        if not given:
            return ""
        known = _AVAILABLE.get(given.lower().replace("_", " "))
        if known is None:
            remarks.append(Fault(Reason.AVAILABILITY_UNKNOWN, value=given))
            return ""
        return known

    def _images(self, line: Line) -> list[str]:
        given = (self._get(line, name) for name in ("image_link", "additional_image_link"))
        urls = (url for cell in given for url in _BETWEEN_URLS.split(cell) if url)
        return list(dict.fromkeys(urls))

    def _measured(
        self, line: Line, separators: Mapping[str, str], remarks: list[Fault]
    ) -> dict[str, str]:
        stated: dict[str, str] = {}
        for fld, names in _MEASURES.items():
            name = next((name for name in names if self._get(line, name)), None)
            if name is None:
                continue
            cell, column = self._get(line, name), self.columns[self._at[name]]
            found = _MEASURE.fullmatch(cell)
            unit = found["unit"].lower() if found else ""
            if found is None or unit not in (WEIGHT_UNITS if fld == "weight_g" else LENGTH_UNITS):
                remarks.append(Fault(Reason.MEASURE_UNIT_UNKNOWN, column=column, value=cell))
                continue
            amount = read_decimal(found["amount"], column, separators)
            convert = grams if fld == "weight_g" else millimeters
            if converted := convert(amount, unit):
                stated[fld] = converted
        return stated

    def raw_row(self, line: Line, _: Line | None) -> Mapping[str, str]:
        return dict(zip(self.columns, line.cells, strict=True))
