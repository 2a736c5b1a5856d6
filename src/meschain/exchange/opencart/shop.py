"""What a shop's tables say, in our words: names, prices on a day, measures, categories, images."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from meschain.domain.catalog import Content
from meschain.exchange.damage import check_text
from meschain.exchange.fault import Fault
from meschain.exchange.markup import clean_html, plain_text
from meschain.exchange.opencart.table import TableRow, Tables
from meschain.exchange.reason import Reason
from meschain.exchange.record import ReadingOptions

# Units of weight and length classes by their printed unit. Source: the SI; international pound and
# inch (1959).
_GRAMS: Final = {
    "kg": Decimal(1000),
    "g": Decimal(1),
    "gr": Decimal(1),
    "lb": Decimal("453.59237"),
    "oz": Decimal("28.349523125"),
}
_MILLIMETERS: Final = {
    "cm": Decimal(10),
    "mm": Decimal(1),
    "in": Decimal("25.4"),
    "m": Decimal(1000),
}
_CATEGORY_DEPTH_MAX: Final = 20
_OPEN_DATES: Final = frozenset({"", "0000-00-00", "0000-00-00 00:00:00"})
_DEFAULT_CUSTOMER_GROUP: Final = 1


@dataclass(frozen=True, slots=True)
class Special:
    """Net price other than the base price: ``F`` replaces it, ``P`` takes percent off, ``S`` a sum.

    Source: OpenCart 4.1, catalog model ``product`` (statement "special"); older shops know F only.
    """

    kind: str
    amount: Decimal


class Shop:
    """Lookups over the tables of one shop, built once."""

    def __init__(self, tables: Tables, options: ReadingOptions) -> None:
        self.tables = tables
        self.options = options
        self.remarks: list[Fault] = []
        self.settings = {
            row.text("key"): row.text("value")
            for row in reversed(tables["setting"])
            if not row.whole("store_id")
        }
        own = self.settings.get("config_currency")
        self.currency = options.currency or own or options.currency_fallback
        self.languages = self._languages()
        self._rank = {key: rank for rank, key in enumerate(self.languages)}
        self._descriptions = tables.grouped("product_description", "product_id")
        self._images = tables.grouped("product_image", "product_id")
        self._specials = tables.grouped("product_special", "product_id")
        self._discounts = tables.grouped("product_discount", "product_id")
        self._categories_of = tables.grouped("product_to_category", "product_id")
        self._attributes = tables.grouped("product_attribute", "product_id")
        self._categories = tables.by_key("category", "category_id")
        self._category_names = self.names("category_description", "category_id")
        self._attribute_names = self.names("attribute_description", "attribute_id")
        self._brands = self.names("manufacturer_description", "manufacturer_id") | {
            key: unescaped(row.text("name"))
            for key, row in tables.by_key("manufacturer", "manufacturer_id").items()
            if row.text("name")
        }
        self._grams = self._units("weight_class", _GRAMS)
        self._millimeters = self._units("length_class", _MILLIMETERS)
        self._codes = self._product_codes()

    def names(self, table: str, key: str) -> dict[int, str]:
        """Names by key, each in the best language that has one."""
        best: dict[int, tuple[int, str]] = {}
        for row in self.tables[table]:
            rank = self._rank.get(row.whole("language_id"))
            name = unescaped(row.text("name"))
            if rank is None or not name:
                continue
            current = best.get(row.whole(key))
            if current is None or rank < current[0]:
                best[row.whole(key)] = (rank, name)
        return {found: name for found, (_, name) in best.items()}

    def contents(self, product_id: int, remarks: list[Fault]) -> tuple[Content, ...]:
        """Title and cleaned description in every language that has a title. Raises: Fault."""
        found: dict[int, Content] = {}
        for row in self._descriptions.get(product_id, ()):
            rank = self._rank.get(row.whole("language_id"))
            given = html.unescape(row.text("name"))
            if rank is None or not given:
                continue
            title = plain_text(given) if "<" in given else " ".join(given.split())
            if not title:
                raise Fault(Reason.TITLE_ONLY_HTML, value=given)
            if title != " ".join(given.split()):
                remarks.append(Fault(Reason.TITLE_HTML_REMOVED, value=given))
            description = html.unescape(row.text("description"))
            check_text(title, "name")
            check_text(description, "description")
            language = self.languages[row.whole("language_id")]
            found.setdefault(rank, Content(language, title, clean_html(description)))
        return tuple(content for _, content in sorted(found.items()))

    def brand(self, product: TableRow) -> str | None:
        return self._brands.get(product.whole("manufacturer_id"))

    def category(self, product_id: int) -> str | None:
        """The deepest of a product's category paths; of equally deep ones that of the lowest id."""
        paths = [
            self._category_path(row.whole("category_id"))
            for row in sorted(
                self._categories_of.get(product_id, ()), key=lambda row: row.whole("category_id")
            )
        ]
        deepest = max(paths, key=len, default=())
        return " > ".join(deepest) or None

    def _category_path(self, category_id: int) -> tuple[str, ...]:
        path: list[str] = []
        for _ in range(_CATEGORY_DEPTH_MAX):
            row = self._categories.get(category_id)
            name = self._category_names.get(category_id)
            if name is not None:
                path.append(name)
            if row is None or not row.whole("parent_id"):
                break
            category_id = row.whole("parent_id")
        return tuple(reversed(path))

    def attributes(self, product_id: int) -> dict[str, str]:
        """Name → value in the best language, in the order of the attribute ids."""
        best: dict[int, tuple[int, str]] = {}
        for row in self._attributes.get(product_id, ()):
            rank = self._rank.get(row.whole("language_id"))
            value = unescaped(row.text("text"))
            current = best.get(row.whole("attribute_id"))
            if rank is not None and value and (current is None or rank < current[0]):
                best[row.whole("attribute_id")] = (rank, value)
        return {
            self._attribute_names[key]: value
            for key, (_, value) in sorted(best.items())
            if key in self._attribute_names
        }

    def image_urls(self, product: TableRow) -> tuple[str, ...]:
        """The main image, then the others in their order; nothing without the shop's address."""
        if self.options.shop_url is None:
            return ()
        others = sorted(
            self._images.get(product.whole("product_id"), ()),
            key=lambda row: (row.whole("sort_order"), row.whole("product_image_id")),
        )
        paths = [product.text("image"), *(row.text("image") for row in others)]
        base = self.options.shop_url.rstrip("/")
        return tuple(dict.fromkeys(f"{base}/image/{unescaped(path)}" for path in paths if path))

    def code(self, product: TableRow, name: str) -> str:
        """A product code: a column of the product up to OpenCart 4.0, a row of its own since."""
        return product.text(name) or self._codes.get((product.whole("product_id"), name), "")

    def special(self, product_id: int, remarks: list[Fault]) -> Special | None:
        """The price that the default customer group pays today for one piece, if it is special.

        A special is over at the beginning of its end date, as in the shop. Since 4.1 specials are
        discounts for a quantity of 1. Source: OpenCart 3.0, 4.0, 4.1, catalog model ``product``.
        """
        discounts = [
            row for row in self._discounts.get(product_id, ()) if row.whole("quantity") <= 1
        ]
        marked = [row for row in discounts if row.whole("special")]
        for rows in (self._specials.get(product_id, []), marked, discounts):
            active = [row for row in rows if self._is_active(row, remarks)]
            priced = [
                (row.whole("priority"), price, row.text("type").upper() or "F")
                for row in active
                if (price := row.decimal("price")) is not None
            ]
            if priced:
                _, price, kind = min(priced)
                return Special(kind, price)
        return None

    def _is_active(self, row: TableRow, remarks: list[Fault]) -> bool:
        group = self.settings.get("config_customer_group_id") or str(_DEFAULT_CUSTOMER_GROUP)
        if row.text("customer_group_id") != group:
            return False
        try:
            start, end = _day(row.text("date_start")), _day(row.text("date_end"))
        except ValueError:
            value = f"{row.text('date_start')} – {row.text('date_end')}"
            remarks.append(Fault(Reason.PRICE_SPECIAL_DATES, value=value))
            return False
        today = self.options.today
        return (start is None or start <= today) and (end is None or end > today)

    def grams(self, product: TableRow, weight: Decimal) -> int | None:
        """None for weight 0, which is what the shop holds where nobody weighed."""
        return _measured(weight, self._grams.get(product.whole("weight_class_id")))

    def millimeters(self, product: TableRow, side: str) -> int | None:
        length = product.decimal(side) or Decimal(0)
        return _measured(length, self._millimeters.get(product.whole("length_class_id")))

    def check_measures(self, product: TableRow, remarks: list[Fault]) -> None:
        """Remark on measures in a class that the dump does not explain; they are left out."""
        for columns, units, unit in (
            (("weight",), self._grams, "weight_class_id"),
            (("length", "width", "height"), self._millimeters, "length_class_id"),
        ):
            for column in columns:
                measure = product.decimal(column) or Decimal(0)
                if measure > 0 and product.whole(unit) not in units:
                    remarks.append(
                        Fault(Reason.MEASURE_CLASS_UNKNOWN, column=column, value=f"{measure:f}")
                    )

    def _languages(self) -> dict[int, str]:
        """Language id → short tag, the asked one first, then the shop's own, then by id."""
        codes = {
            row.whole("language_id"): row.text("code").lower() for row in self.tables["language"]
        }
        if not codes:
            described = {row.whole("language_id") for row in self.tables["product_description"]}
            return {min(described): self.options.language} if described else {}
        own = self.settings.get("config_language_catalog") or self.settings.get("config_language")
        ranked = sorted(
            codes,
            key=lambda key: (_short(codes[key]) != self.options.language, codes[key] != own, key),
        )
        tags: dict[int, str] = {}
        for key in ranked:
            tag = _short(codes[key])
            if tag in tags.values():
                self.remarks.append(
                    Fault(Reason.DUMP_LANGUAGE_TWICE, language=codes[key], code=tag)
                )
            else:
                tags[key] = tag
        return tags

    def _units(self, table: str, known: Mapping[str, Decimal]) -> dict[int, Decimal]:
        """Class id → our unit in one of the class's.

        By the printed unit where we know it, else by the ratio to a class that we know.
        Source: OpenCart, ``system/library/cart/weight.php``: ``value · to / from``.
        """
        by_unit: dict[int, Decimal] = {}
        for row in self.tables[f"{table}_description"]:
            factor = known.get(row.text("unit").lower().rstrip("."))
            if factor is not None:
                by_unit.setdefault(row.whole(f"{table}_id"), factor)
        values = {
            key: value
            for key, row in self.tables.by_key(table, f"{table}_id").items()
            if (value := row.decimal("value"))
        }
        anchors = [key for key in sorted(by_unit) if key in values]
        if anchors:
            anchor = anchors[0]
            for key, value in values.items():
                by_unit.setdefault(key, by_unit[anchor] * values[anchor] / value)
        return by_unit

    def _product_codes(self) -> dict[tuple[int, str], str]:
        """(product id, lower-case name such as ``ean``) → code, of the newer shops."""
        names = {
            row.text("identifier_id"): row.text("code").lower() for row in self.tables["identifier"]
        }
        codes: dict[tuple[int, str], str] = {}
        for row in self.tables["product_code"]:
            named = row.text("identifier_id") or row.text("code")
            key = (row.whole("product_id"), names.get(named, named.lower()))
            codes.setdefault(key, row.text("value"))
        return codes


def unescaped(text: str) -> str:
    """A name as it reads: the shop stores names HTML-escaped, once."""
    return " ".join(html.unescape(text).split())


def _short(code: str) -> str:
    """``tr-tr`` → ``tr``: the tag without its region."""
    return code.partition("-")[0].partition("_")[0]


def _day(text: str) -> date | None:
    """The date of a column; None where it is open. Raises: ValueError."""
    return None if text in _OPEN_DATES else date.fromisoformat(text[:10])


def _measured(measure: Decimal, factor: Decimal | None) -> int | None:
    """A measure in our unit, rounded to whole; None where it is 0 or its unit is unknown."""
    if measure <= 0 or factor is None:
        return None
    return int((measure * factor).to_integral_value(ROUND_HALF_UP)) or None
