"""One row of our CSV as a variant and what the row says of its product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from meschain.domain.catalog import VariantDraft
from meschain.domain.money import Money
from meschain.domain.text import fold
from meschain.exchange.damage import (
    MISREAD_SIGNS,
    BarcodeColumn,
    check_sku,
    check_text,
    meant_text,
)
from meschain.exchange.fault import Fault
from meschain.exchange.markup import clean_html, plain_text
from meschain.exchange.number import (
    CURRENCY_NAMES,
    read_decimal,
    read_money,
    read_whole,
    strip_currency,
)
from meschain.exchange.reason import Reason
from meschain.exchange.record import ReadingOptions
from meschain.exchange.sheet.column import Layout

_COMPONENT: Final = re.compile(r"(?P<sku>.+?)(?:\s*\*\s*(?P<units>[1-9][0-9]{0,3}))?")
_NONE_LEFT: Final = re.compile(r"0+(?:[.,]0+)?")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_COUNTRY_NAMES: Final = {"turkiye": "TR", "turkey": "TR"}

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ProductCells:
    """What one row states of the product as a whole; a None was not stated."""

    brand: str | None
    category: str | None
    titles: Mapping[str, str]
    descriptions: Mapping[str, str]
    attributes: Mapping[str, str]
    image_urls: tuple[str, ...]


@dataclass(slots=True)
class RowReader:
    """Reads rows of one file. ``remarks`` gathers the warnings of the row being read."""

    layout: Layout
    options: ReadingOptions
    separators: Mapping[str, str]
    barcodes: BarcodeColumn
    remarks: list[Fault] = field(default_factory=list)
    _percents: dict[Decimal, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Equal decimals differ in digits; drafts carry 20 and never 20.00.
        self._percents = {percent: percent for percent in self.options.vat_percents}

    def read(
        self,
        cells: list[str],
        attributes: Mapping[str, str] = _NONE,
        product_attributes: Mapping[str, str] = _NONE,
    ) -> tuple[VariantDraft, ProductCells]:
        """The row's meaning; attributes are those without a column. Raises: Fault, the first."""
        self.remarks.clear()
        self._check_characters(cells)
        for name, value in attributes.items():
            check_text(value, name)
        sku = self._text(cells, "sku")
        check_sku(sku)
        currency = self._currency(cells)
        is_out = self._is_out(cells, sku)
        list_price = self._price(cells, "list_price", currency, is_out=is_out)
        sale_price = self._price(cells, "sale_price", currency, is_out=is_out)
        self._check_prices(list_price, sale_price, is_out=is_out)
        bundle = self._bundle(cells)
        variant = VariantDraft(
            sku=sku,
            barcode=self._barcode(cells),
            attributes={**self._named(cells, self.layout.attributes), **attributes},
            list_price=list_price,
            sale_price=sale_price,
            cost=self._money(cells, "cost", currency),
            quantity=self._quantity(cells, bundle),
            vat_percent=self._vat_percent(cells),
            desi=self._decimal(cells, "desi"),
            weight_g=self._whole(cells, "weight_g"),
            length_mm=self._whole(cells, "length_mm"),
            width_mm=self._whole(cells, "width_mm"),
            height_mm=self._whole(cells, "height_mm"),
            handling_days=self._whole(cells, "handling_days"),
            origin_country=self._origin(cells),
            image_urls=self._images(cells, "image_urls"),
            bundle=bundle,
        )
        return variant, self._product(cells, product_attributes)

    def read_product(
        self, cells: list[str], product_attributes: Mapping[str, str] = _NONE
    ) -> ProductCells:
        """What a row states that sells nothing itself. Raises: Fault, the first found."""
        self.remarks.clear()
        self._check_characters(cells)
        return self._product(cells, product_attributes)

    def _text(self, cells: list[str], fld: str) -> str:
        place = self.layout.at.get(fld)
        return cells[place].strip() if place is not None else ""

    def _column(self, fld: str) -> str:
        return self.layout.columns[self.layout.at[fld]]

    def _check_characters(self, cells: list[str]) -> None:
        joined = "".join(cells)
        if MISREAD_SIGNS.intersection(joined):
            self._remark_misread(cells)
        if joined.isprintable() and "\ufffd" not in joined:
            return
        keys = {self.layout.at.get(fld) for fld in ("sku", "model_code", "barcode")}
        for place, cell in enumerate(cells):
            is_key = place in keys
            check_text(cell.strip() if is_key else cell, self.layout.columns[place], is_key=is_key)

    def _remark_misread(self, cells: list[str]) -> None:
        for place, cell in enumerate(cells):
            if (meant := meant_text(cell)) is not None:
                column = self.layout.columns[place]
                fault = Fault(Reason.ROW_MISREAD_TEXT, column=column, value=cell, meant=meant)
                self.remarks.append(fault)
                return

    def _currency(self, cells: list[str]) -> str:
        given = self._text(cells, "currency")
        if not given:
            return self.options.currency or self.options.currency_fallback
        code = CURRENCY_NAMES.get(given, given)
        if not _CURRENCY.fullmatch(code):
            raise Fault(Reason.CURRENCY_UNKNOWN, value=given)
        return code

    def _money(self, cells: list[str], fld: str, currency: str) -> Money | None:
        place = self.layout.at.get(fld)
        if place is None or not (cell := cells[place].strip()):
            return None
        amount = strip_currency(cell, currency)
        return read_money(amount, self.layout.columns[place], self.separators, currency)

    def _is_out(self, cells: list[str], sku: str) -> bool:
        """A SKU of the catalog whose row says that nothing is left of it.

        Suppliers clear the price of what they no longer have. To refuse the row for that would
        leave its former units on sale.
        """
        place = self.layout.at.get("quantity")
        is_none = place is not None and _NONE_LEFT.fullmatch(cells[place].strip()) is not None
        return is_none and sku in self.options.known_skus

    def _price(self, cells: list[str], fld: str, currency: str, *, is_out: bool) -> Money | None:
        price = self._money(cells, fld, currency)
        if price is not None and not price.minor:
            if is_out:
                return None
            raise Fault(Reason.PRICE_ZERO, column=self._column(fld))
        return price

    def _check_prices(
        self, list_price: Money | None, sale_price: Money | None, *, is_out: bool
    ) -> None:
        at = self.layout.at
        if list_price is None and sale_price is None and ("list_price" in at or "sale_price" in at):
            if not is_out:
                raise Fault(Reason.PRICE_MISSING)
            self.remarks.append(Fault(Reason.PRICE_STAYS))
        if list_price is not None and sale_price is not None and list_price < sale_price:
            raise Fault(
                Reason.PRICE_SALE_ABOVE_LIST,
                sale_price=str(sale_price.amount),
                list_price=str(list_price.amount),
            )

    def _decimal(self, cells: list[str], fld: str) -> Decimal | None:
        place = self.layout.at.get(fld)
        if place is None or not (cell := cells[place].strip()):
            return None
        return read_decimal(cell, self.layout.columns[place], self.separators)

    def _whole(self, cells: list[str], fld: str) -> int | None:
        place = self.layout.at.get(fld)
        if place is None or not (cell := cells[place].strip()):
            return None
        return read_whole(cell, self.layout.columns[place], self.separators)

    def _quantity(self, cells: list[str], bundle: Mapping[str, int]) -> int | None:
        quantity = self._whole(cells, "quantity")
        if bundle and quantity is not None:
            # A bundle has no stock of its own: it is as many as its components allow.
            self.remarks.append(Fault(Reason.BUNDLE_QUANTITY_IGNORED, quantity=str(quantity)))
            return None
        return quantity

    def _vat_percent(self, cells: list[str]) -> Decimal | None:
        cell = self._text(cells, "vat_percent").strip("% ")
        if not cell:
            return None
        percent = read_decimal(cell, self._column("vat_percent"), self.separators)
        known = self._percents.get(percent)
        if known is None:
            allowed = ", ".join(str(each) for each in sorted(self._percents))
            raise Fault(Reason.VAT_RATE_UNKNOWN, value=cell, allowed=allowed)
        return known

    def _barcode(self, cells: list[str]) -> str | None:
        barcode = self._text(cells, "barcode")
        if not barcode:
            return None
        remark = self.barcodes.check(barcode)
        if remark is not None:
            self.remarks.append(remark)
        return barcode

    def _origin(self, cells: list[str]) -> str | None:
        given = self._text(cells, "origin_country")
        if not given:
            return None
        code = _COUNTRY_NAMES.get(fold(given), given.upper())
        if not _COUNTRY.fullmatch(code):
            self.remarks.append(Fault(Reason.ORIGIN_UNREADABLE, value=given))
            return None
        return code

    def _images(self, cells: list[str], fld: str) -> tuple[str, ...]:
        cell = self._text(cells, fld)
        if not cell:
            return ()
        return tuple(url for part in cell.split("|") if (url := part.strip()))

    def _bundle(self, cells: list[str]) -> dict[str, int]:
        """``SKU*2|SKU2`` as component → units; a component named twice adds up."""
        cell = self._text(cells, "bundle")
        units: dict[str, int] = {}
        for part in cell.split("|") if cell else ():
            component = _COMPONENT.fullmatch(part.strip())
            if component is None:
                raise Fault(Reason.BUNDLE_UNREADABLE, value=cell)
            sku = component["sku"].strip()
            units[sku] = units.get(sku, 0) + int(component["units"] or 1)
        return units

    def _named(self, cells: list[str], places: Mapping[str, int]) -> dict[str, str]:
        return {name: value for name, place in places.items() if (value := cells[place].strip())}

    def _title(self, given: str) -> str:
        title = plain_text(given)
        if not title:
            raise Fault(Reason.TITLE_ONLY_HTML, value=given)
        if "<" in given and title != " ".join(given.split()):
            self.remarks.append(Fault(Reason.TITLE_HTML_REMOVED, value=given))
        return title

    def _product(self, cells: list[str], product_attributes: Mapping[str, str]) -> ProductCells:
        for name, value in product_attributes.items():
            check_text(value, name)
        layout = self.layout
        titles = self._named(cells, layout.titles)
        descriptions = self._named(cells, layout.descriptions)
        category = self._text(cells, "category")
        return ProductCells(
            brand=self._text(cells, "brand") or None,
            category=" > ".join(part.strip() for part in category.split(">")) or None,
            titles={tag: self._title(given) for tag, given in titles.items()},
            descriptions={tag: clean_html(given) for tag, given in descriptions.items()},
            attributes={**self._named(cells, layout.product_attributes), **product_attributes},
            image_urls=self._images(cells, "product_image_urls"),
        )
