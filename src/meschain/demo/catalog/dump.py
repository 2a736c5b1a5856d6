"""The shop's OpenCart 4 dump: net prices, escaped HTML, options, variant pages, dated specials."""

from __future__ import annotations

import html
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Final

from meschain.demo.catalog.goods import Good, Item
from meschain.demo.catalog.words import Shape

Value = str | int | Decimal
_TURKISH, _ENGLISH = 1, 2
_GRAM_CLASS, _CM_CLASS = 2, 1
_FIXED_CLASS: Final = 14  # percentage and a sum of money: cannot be told
_TAX_CLASS: Final = {1: 11, 10: 12, 20: 13}
_ROWS_PER_STATEMENT: Final = 200
_BROKEN_SHARE: Final = 100  # one product in so many
_ALWAYS: Final = ("0000-00-00", "0000-00-00")
_LONG: Final = ("2024-01-01", "2039-12-31")
_OVER: Final = ("2023-11-20", "2023-12-01")

# A part of the real schema: the tables an import reads, and one of others that it must pass over.
_TABLES: Final = {
    "product": (
        "product_id int(11) NOT NULL AUTO_INCREMENT, master_id int(11) NOT NULL DEFAULT '0', "
        "model varchar(64) NOT NULL, sku varchar(64) NOT NULL, upc varchar(12) NOT NULL, "
        "ean varchar(14) NOT NULL, jan varchar(13) NOT NULL, isbn varchar(17) NOT NULL, "
        "mpn varchar(64) NOT NULL, variant text NOT NULL, override text NOT NULL, "
        "quantity int(4) NOT NULL DEFAULT '0', image varchar(255) NOT NULL, "
        "manufacturer_id int(11) NOT NULL, price decimal(15,4) NOT NULL DEFAULT '0.0000', "
        "tax_class_id int(11) NOT NULL, weight decimal(15,8) NOT NULL, "
        "weight_class_id int(11) NOT NULL, length decimal(15,8) NOT NULL, "
        "width decimal(15,8) NOT NULL, height decimal(15,8) NOT NULL, "
        "length_class_id int(11) NOT NULL, subtract tinyint(1) NOT NULL DEFAULT '1', "
        "status tinyint(1) NOT NULL DEFAULT '0', date_added datetime NOT NULL"
    ),
    "product_description": (
        "product_id int(11) NOT NULL, language_id int(11) NOT NULL, name varchar(255) NOT NULL, "
        "description text NOT NULL, meta_title varchar(255) NOT NULL"
    ),
    "product_image": (
        "product_image_id int(11) NOT NULL, product_id int(11) NOT NULL, "
        "image varchar(255) NOT NULL, sort_order int(3) NOT NULL"
    ),
    "product_option": (
        "product_option_id int(11) NOT NULL, product_id int(11) NOT NULL, "
        "option_id int(11) NOT NULL, value text NOT NULL, required tinyint(1) NOT NULL"
    ),
    "product_option_value": (
        "product_option_value_id int(11) NOT NULL, product_option_id int(11) NOT NULL, "
        "product_id int(11) NOT NULL, option_id int(11) NOT NULL, "
        "option_value_id int(11) NOT NULL, quantity int(3) NOT NULL, subtract tinyint(1) NOT NULL, "
        "price decimal(15,4) NOT NULL, price_prefix varchar(1) NOT NULL, "
        "weight decimal(15,8) NOT NULL, weight_prefix varchar(1) NOT NULL"
    ),
    "product_special": (
        "product_special_id int(11) NOT NULL, product_id int(11) NOT NULL, "
        "customer_group_id int(11) NOT NULL, priority int(5) NOT NULL, "
        "price decimal(15,4) NOT NULL, date_start date NOT NULL, date_end date NOT NULL"
    ),
    "product_attribute": (
        "product_id int(11) NOT NULL, attribute_id int(11) NOT NULL, "
        "language_id int(11) NOT NULL, text text NOT NULL"
    ),
    "product_to_category": "product_id int(11) NOT NULL, category_id int(11) NOT NULL",
    "attribute_description": (
        "attribute_id int(11) NOT NULL, language_id int(11) NOT NULL, name varchar(64) NOT NULL"
    ),
    "category": (
        "category_id int(11) NOT NULL, parent_id int(11) NOT NULL DEFAULT '0', "
        "status tinyint(1) NOT NULL"
    ),
    "category_description": (
        "category_id int(11) NOT NULL, language_id int(11) NOT NULL, name varchar(255) NOT NULL"
    ),
    "manufacturer": "manufacturer_id int(11) NOT NULL, name varchar(64) NOT NULL",
    "option": "option_id int(11) NOT NULL, type varchar(32) NOT NULL, sort_order int(3) NOT NULL",
    "option_description": (
        "option_id int(11) NOT NULL, language_id int(11) NOT NULL, name varchar(128) NOT NULL"
    ),
    "option_value_description": (
        "option_value_id int(11) NOT NULL, language_id int(11) NOT NULL, "
        "option_id int(11) NOT NULL, name varchar(128) NOT NULL"
    ),
    "language": (
        "language_id int(11) NOT NULL, name varchar(32) NOT NULL, code varchar(5) NOT NULL, "
        "status tinyint(1) NOT NULL"
    ),
    "setting": (
        "setting_id int(11) NOT NULL, store_id int(11) NOT NULL, `code` varchar(128) NOT NULL, "
        "`key` varchar(128) NOT NULL, `value` text NOT NULL, serialized tinyint(1) NOT NULL"
    ),
    "tax_class": "tax_class_id int(11) NOT NULL, title varchar(32) NOT NULL",
    "tax_rate": (
        "tax_rate_id int(11) NOT NULL, geo_zone_id int(11) NOT NULL, name varchar(32) NOT NULL, "
        "rate decimal(15,4) NOT NULL, type char(1) NOT NULL"
    ),
    "tax_rule": (
        "tax_rule_id int(11) NOT NULL, tax_class_id int(11) NOT NULL, "
        "tax_rate_id int(11) NOT NULL, based varchar(10) NOT NULL, priority int(5) NOT NULL"
    ),
    "weight_class": "weight_class_id int(11) NOT NULL, value decimal(15,8) NOT NULL",
    "weight_class_description": (
        "weight_class_id int(11) NOT NULL, language_id int(11) NOT NULL, "
        "title varchar(32) NOT NULL, unit varchar(4) NOT NULL"
    ),
    "length_class": "length_class_id int(11) NOT NULL, value decimal(15,8) NOT NULL",
    "length_class_description": (
        "length_class_id int(11) NOT NULL, language_id int(11) NOT NULL, "
        "title varchar(32) NOT NULL, unit varchar(4) NOT NULL"
    ),
    "coupon": "coupon_id int(11) NOT NULL, name varchar(128) NOT NULL, code varchar(20) NOT NULL",
}
# How a product row comes to be refused; the keys are the reasons that an import must give.
_BREAKAGES: Final = (
    *("price.zero", "price.sale_above_list", "title.missing", "number.negative"),
    *("sku.date", "title.only_html", "vat.class_unclear", "option.empty"),
)


def net(gross: Decimal, vat_percent: int) -> Decimal:
    """The net price as the shop stores it, four digits: the gross comes back exactly."""
    return (gross * 100 / (100 + vat_percent)).quantize(Decimal("0.0001"), ROUND_HALF_UP)


@dataclass(slots=True)
class _Ids:
    """Numbers names in the order they come."""

    known: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> int:
        return self.known.setdefault(name, len(self.known) + 1)


@dataclass(slots=True)
class _Tables:
    """The rows of every table while the dump is put together."""

    rows: defaultdict[str, list[tuple[Value, ...]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    brands: _Ids = field(default_factory=_Ids)
    categories: _Ids = field(default_factory=_Ids)
    attributes: _Ids = field(default_factory=_Ids)
    options: _Ids = field(default_factory=_Ids)
    values: _Ids = field(default_factory=_Ids)
    product_id: int = 0
    expected: Counter[str] = field(default_factory=Counter)

    def add(self, table: str, *values: Value) -> int:
        """Add a row; gives its number in the table, which serves as its key."""
        self.rows[table].append(values)
        return len(self.rows[table])

    def new(self, table: str, *values: Value) -> int:
        """Add a row whose first column is its own number."""
        number = len(self.rows[table]) + 1
        return self.add(table, number, *values)


def write_dump(path: Path, goods: Sequence[Good], *, protected: frozenset[str]) -> dict[str, int]:
    """Write the dump; one product in a hundred is broken, never one that holds a protected SKU.

    Returns what an import must find: ``products``, ``variants``, ``rows`` (of the product table)
    and each reason's count, in refused product rows.
    """
    tables = _Tables()
    _shop_itself(tables)
    broken = 0
    for place, good in enumerate(goods, start=1):
        breakage = ""
        if place % _BROKEN_SHARE == _BROKEN_SHARE // 2:
            fitting = _BREAKAGES[broken % len(_BREAKAGES)]
            is_safe = protected.isdisjoint(item.sku for item in good.items)
            if is_safe and good.kind.shape is not Shape.VARIANT_PAGES:
                # Only a product with an option can have one without values.
                needs_option = fitting == "option.empty" and not good.kind.option
                breakage = "price.zero" if needs_option else fitting
                broken += 1
        _product(tables, good, breakage)
    _names(tables)
    path.write_text("".join(_statements(tables)), encoding="utf-8", newline="")
    return {**tables.expected, "rows": len(tables.rows["product"])}


def _product(tables: _Tables, good: Good, breakage: str) -> None:
    kind = good.kind
    has_pages = kind.shape is Shape.VARIANT_PAGES
    quantity = sum(item.quantity for item in good.items)
    first = good.items[0]
    barcode = first.barcode if not kind.option and len(first.barcode) <= 14 else ""
    model = "12.May" if breakage == "sku.date" else good.model
    master_id = _page(
        tables, good, first, breakage, model=model, barcode=barcode,
        quantity=-1 if breakage == "number.negative" else quantity,
    )  # fmt: skip
    if not kind.option:
        _expect(tables, breakage, 1)
        return
    option_id = tables.options.of(kind.option)
    product_option_id = tables.new("product_option", master_id, option_id, "", 1)
    base = first
    for item in () if breakage == "option.empty" else good.items:
        extra = net(item.list_price - base.list_price, kind.vat_percent)
        choice = tables.new(
            "product_option_value", product_option_id, master_id, option_id,
            tables.values.of(f"{kind.option}\n{item.value}"), item.quantity, 1,
            extra, "+", Decimal(item.weight_g - base.weight_g), "+",
        )  # fmt: skip
        if has_pages:
            variant = f'{{"{product_option_id}":"{choice}"}}'
            _page(
                tables, good, item, "", model=item.sku, barcode=item.barcode[:14],
                quantity=item.quantity, master_id=master_id, variant=variant,
            )  # fmt: skip
    _expect(tables, breakage, len(good.items))


def _expect(tables: _Tables, breakage: str, variants: int) -> None:
    if breakage:
        tables.expected[breakage] += 1
    else:
        tables.expected["products"] += 1
        tables.expected["variants"] += variants


def _page(
    tables: _Tables, good: Good, item: Item, breakage: str, *, model: str, barcode: str,
    quantity: int, master_id: int = 0, variant: str = "",
) -> int:  # fmt: skip
    """One row of the product table and what hangs on it. Returns its id."""
    vat = good.kind.vat_percent
    tables.product_id += 1
    product_id = tables.product_id
    price = Decimal(0) if breakage == "price.zero" else net(item.list_price, vat)
    tax_class = _FIXED_CLASS if breakage == "vat.class_unclear" else _TAX_CLASS[vat]
    isbn = barcode if good.kind.prefix == "KTP" and barcode.isdigit() else ""
    tables.add(
        "product", product_id, master_id,
        f"{model}\n" if product_id % 50 == 0 else model,  # a line end that someone pasted
        "", "", barcode, "", isbn, "", variant, "", quantity,
        f"catalog/urunler/{good.model.lower()}.jpg", tables.brands.of(good.brand), price,
        tax_class, Decimal(item.weight_g), _GRAM_CLASS, Decimal(0), Decimal(0), Decimal(0),
        _CM_CLASS, 1, int(good.status), "2025-03-14 09:26:53",
    )  # fmt: skip
    title = "<br><b> </b>" if breakage == "title.only_html" else good.title
    # A variant page has no description of its own: it shows its master's.
    if breakage != "title.missing" and not master_id:
        _description(tables, product_id, _TURKISH, title, good.description)
        if product_id % 3 == 0 and not breakage:
            _description(tables, product_id, _ENGLISH, good.title_en, f"<p>{good.title_en}</p>")
    _special(tables, product_id, good, item, breakage)
    if not master_id:
        for name, value in good.attributes.items():
            attribute_id = tables.attributes.of(name)
            tables.add("product_attribute", product_id, attribute_id, _TURKISH, value)
        for depth in range(1, len(good.path) + 1):
            category = tables.categories.of("\n".join(good.path[:depth]))
            tables.add("product_to_category", product_id, category)
        tables.new("product_image", product_id, f"catalog/urunler/{good.model.lower()}-2.jpg", 1)
    return product_id


def _description(
    tables: _Tables, product_id: int, language: int, title: str, description: str
) -> None:
    """The shop stores texts escaped, quotes included."""
    texts = (html.escape(title), html.escape(description), html.escape(title))
    tables.add("product_description", product_id, language, *texts)


def _special(tables: _Tables, product_id: int, good: Good, item: Item, breakage: str) -> None:
    vat = good.kind.vat_percent
    if breakage == "price.sale_above_list":
        price = net(item.list_price + 500, vat)
        tables.new("product_special", product_id, 1, 1, price, *_ALWAYS)
    elif good.special == "active":
        dates = _LONG if product_id % 2 else _ALWAYS
        tables.new("product_special", product_id, 1, 1, net(item.sale_price, vat), *dates)
    elif good.special == "over":
        price = net(item.list_price * Decimal("0.5"), vat)
        tables.new("product_special", product_id, 1, 1, price, *_OVER)


def _shop_itself(tables: _Tables) -> None:
    tables.add("language", _TURKISH, "Türkçe", "tr-tr", 1)
    tables.add("language", _ENGLISH, "English", "en-gb", 1)
    settings = (
        ("config_currency", "TRY"),
        ("config_language_catalog", "tr-tr"),
        ("config_customer_group_id", "1"),
        ("config_meta_description", "Ev, giyim ve \"fazlası\"; kapınızda.\r\n('ücretsiz kargo')"),
    )
    for setting, stated in settings:
        tables.new("setting", 0, "config", setting, stated, 0)
    for percent, class_id in _TAX_CLASS.items():
        tables.add("tax_class", class_id, f"KDV %{percent}")
        tables.add("tax_rate", 80 + percent, 3, f"KDV %{percent}", Decimal(percent), "P")
        tables.new("tax_rule", class_id, 80 + percent, "shipping", 1)
    tables.add("tax_class", _FIXED_CLASS, "KDV + çevre payı")
    tables.add("tax_rate", 79, 3, "Çevre payı", Decimal(2), "F")
    tables.new("tax_rule", _FIXED_CLASS, 100, "shipping", 1)
    tables.new("tax_rule", _FIXED_CLASS, 79, "shipping", 2)
    for unit, title, ratio in (("kg", "Kilogram", 1), ("g", "Gram", 1000)):
        number = tables.new("weight_class", Decimal(ratio))
        tables.add("weight_class_description", number, _TURKISH, title, unit)
    number = tables.new("length_class", Decimal(1))
    tables.add("length_class_description", number, _TURKISH, "Santimetre", "cm")
    tables.new("coupon", "Hoş geldin; ilk alışverişe", "MERHABA'25")


def _names(tables: _Tables) -> None:
    for brand, number in tables.brands.known.items():
        tables.add("manufacturer", number, html.escape(brand))
    for path, number in tables.categories.known.items():
        parent, _, name = path.rpartition("\n")
        tables.add("category", number, tables.categories.known.get(parent, 0), 1)
        tables.add("category_description", number, _TURKISH, html.escape(name))
    for name, number in tables.attributes.known.items():
        tables.add("attribute_description", number, _TURKISH, name)
    for name, number in tables.options.known.items():
        tables.add("option", number, "select", number)
        tables.add("option_description", number, _TURKISH, name)
    for key, number in tables.values.known.items():
        option, _, value = key.partition("\n")
        option_id = tables.options.of(option)
        tables.add("option_value_description", number, _TURKISH, option_id, value)


def _statements(tables: _Tables) -> Iterator[str]:
    yield "-- Dükkân yedeği; \"demo\"\n\n/*!40101 SET NAMES utf8mb4 */;\nSET sql_mode = '';\n\n"
    for table, columns in _TABLES.items():
        yield f"DROP TABLE IF EXISTS `oc_{table}`;\n"
        yield f"CREATE TABLE `oc_{table}` (\n  {columns}\n) ENGINE=InnoDB CHARSET=utf8mb4;\n"
        rows = tables.rows[table]
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            part = rows[start : start + _ROWS_PER_STATEMENT]
            yield f"INSERT INTO `oc_{table}` VALUES\n{_values(part)};\n\n"


def _values(rows: Iterable[tuple[Value, ...]]) -> str:
    return ",\n".join(f"({', '.join(map(_literal, row))})" for row in rows)


def _literal(value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:.4f}"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"')
    return "'" + escaped.replace("\r", "\\r").replace("\n", "\\n") + "'"
