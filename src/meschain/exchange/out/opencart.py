"""The catalog tables of an OpenCart 4 shop as SQL; see ``exchange.opencart`` for how they are read.

A product whose variants choose options is a master page with a page for each variant; any other is
a page of its own. Prices go out net, with four decimals, so that VAT brings back the exact price.
Sources: opencart/opencart, ``upload/system/helper/db_schema.php`` (columns and their lengths).
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from math import prod
from pathlib import Path
from typing import Final

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange.markup import plain_text
from meschain.exchange.opencart.option import COMBINATIONS_MAX
from meschain.exchange.out.layout import (
    ExportOptions,
    LeftOutReason,
    Losses,
    countable,
    prices,
    sellable,
)
from meschain.exchange.out.sheet import in_place
from meschain.exchange.table.row import Spool

Value = str | int | Decimal | None
_COLUMNS: Final = {
    "language": ("language_id", "name", "code", "status"),
    "setting": ("store_id", "code", "key", "value", "serialized"),
    "weight_class": ("weight_class_id", "value"),
    "weight_class_description": ("weight_class_id", "language_id", "title", "unit"),
    "length_class": ("length_class_id", "value"),
    "length_class_description": ("length_class_id", "language_id", "title", "unit"),
    "tax_class": ("tax_class_id", "title", "description"),
    "tax_rate": ("tax_rate_id", "name", "rate", "type"),
    "tax_rule": ("tax_rule_id", "tax_class_id", "tax_rate_id", "based", "priority"),
    "manufacturer": ("manufacturer_id", "name"),
    "category": ("category_id", "parent_id", "status"),
    "category_description": ("category_id", "language_id", "name"),
    "attribute": ("attribute_id", "attribute_group_id"),
    "attribute_description": ("attribute_id", "language_id", "name"),
    "option": ("option_id", "type"),
    "option_description": ("option_id", "language_id", "name"),
    "option_value": ("option_value_id", "option_id"),
    "option_value_description": ("option_value_id", "language_id", "option_id", "name"),
    "product": (
        *("product_id", "master_id", "model", "sku", "ean", "variant", "quantity", "price"),
        *("tax_class_id", "manufacturer_id", "weight", "weight_class_id", "length", "width"),
        *("height", "length_class_id", "status"),
    ),
    "product_description": ("product_id", "language_id", "name", "description"),
    "product_attribute": ("product_id", "attribute_id", "language_id", "text"),
    "product_option": ("product_option_id", "product_id", "option_id", "required"),
    "product_option_value": (
        *("product_option_value_id", "product_option_id", "product_id", "option_id"),
        *("option_value_id", "quantity", "subtract", "price", "price_prefix", "weight"),
        "weight_prefix",
    ),
    "product_discount": (
        *("product_discount_id", "product_id", "customer_group_id", "quantity", "priority"),
        *("price", "type", "special", "date_start", "date_end"),
    ),
    "product_to_category": ("product_id", "category_id"),
}
_NET_DIGITS: Final = Decimal("0.0001")
_OPEN_DATE: Final = "0000-00-00"
_ROWS_PER_INSERT: Final = 200
_UNIT: Final = 1  # grams and millimeters, the only class of each
_LANGUAGE_ID: Final = 1
_SKU_LENGTH_MAX: Final = 64


class DumpWriter:
    """Rows wait in temporary files, a table each, for a dump lists its tables one by one."""

    def __init__(self, options: ExportOptions, losses: Losses) -> None:
        self.losses = losses
        self._options = options
        self._tables = {name: Spool() for name in _COLUMNS}
        self._keys: dict[tuple[str, ...], int] = {}  # what has been named once → its id
        self._last: dict[str, int] = {}
        self._count = 0
        self._head()

    def add(self, product: ProductDraft) -> None:
        product = countable(product, self.losses, instead=0)
        title, description, variants = sellable(product, self._options, self.losses)
        kept = [variant for variant in variants if self._fits(variant)]
        if not kept:
            return
        names = list(kept[0].attributes)
        is_single = len(kept) == 1 and not names
        if reason := _fault(title, kept, names, is_single=is_single):
            self.losses.leave_out(reason, *kept)
            return
        for variant in kept:
            self._note(variant, product)
        if any(text != " ".join(text.split()) for text in _texts(product, kept)):
            self.losses.note(spacing=True)
        if is_single:
            page = self._page(kept[0], product, model=product.model_code)
        else:
            page = self._master(product, is_on=_grid_size(kept, names) == len(kept))
        self._put(
            "product_description",
            (page, _LANGUAGE_ID, html.escape(title), html.escape(description)),
        )
        if product.category:
            self._put("product_to_category", (page, self._category(product.category)))
        for name, value in product.attributes.items():
            attribute = self._id("attribute", name)
            self._put("product_attribute", (page, attribute, _LANGUAGE_ID, html.escape(value)))
        if not is_single:
            self._variants(page, kept, names, product)

    def _fits(self, variant: VariantDraft) -> bool:
        if variant.vat_percent is None:
            # Without a rate the net price cannot be told.
            self.losses.leave_out(LeftOutReason.NO_VAT, variant)
        elif len(variant.sku) > _SKU_LENGTH_MAX:
            self.losses.leave_out(LeftOutReason.SKU, variant)
        else:
            return True
        return False

    def _note(self, variant: VariantDraft, product: ProductDraft) -> None:
        self.losses.note(
            cost=variant.cost,
            desi=variant.desi,
            handling_days=variant.handling_days,
            origin_country=variant.origin_country,
            bundle=variant.bundle,
            image_urls=variant.image_urls,
            product_image_urls=product.image_urls,
            not_counted=True if variant.quantity is None else None,
            one_price=True if variant.list_price is None and variant.sale_price else None,
            no_price=True if variant.sale_price is None and variant.list_price is None else None,
        )

    # — pages —

    def _page(
        self, variant: VariantDraft, product: ProductDraft, *, model: str, master: int = 0,
        chosen: str = "",
    ) -> int:  # fmt: skip
        page = self._next("product")
        assert variant.vat_percent is not None
        regular, sale = prices(variant)
        vat = variant.vat_percent
        brand = self._id("manufacturer", product.brand) if product.brand else 0
        self._put(
            "product",
            (
                *(page, master, model, variant.sku, variant.barcode, chosen),
                *(variant.quantity, _net(regular, vat), self._tax_class(vat), brand),
                *(variant.weight_g or 0, _UNIT, variant.length_mm or 0, variant.width_mm or 0),
                *(variant.height_mm or 0, _UNIT, 1),
            ),
        )
        if sale is not None:
            key = self._next("product_discount")
            dates = (_OPEN_DATE, _OPEN_DATE)
            self._put("product_discount", (key, page, 1, 1, 1, _net(sale, vat), "F", 1, *dates))
        return page

    def _master(self, product: ProductDraft, *, is_on: bool) -> int:
        """A page for what its variant pages share. It sells what none of them does.

        So it is on only where each combination of options has a page. Its SKU is none of theirs.
        """
        page = self._next("product")
        brand = self._id("manufacturer", product.brand) if product.brand else 0
        vat = product.variants[0].vat_percent
        tax_class = 0 if vat is None else self._tax_class(vat)
        self._put(
            "product",
            (
                *(page, 0, product.model_code, f"{product.model_code}#", "", ""),
                *(0, Decimal(0), tax_class, brand, 0, _UNIT, 0, 0, 0, _UNIT, int(is_on)),
            ),
        )
        return page

    def _variants(
        self, master: int, variants: list[VariantDraft], names: list[str], product: ProductDraft
    ) -> None:
        options: dict[str, int] = {}
        values: dict[tuple[str, str], int] = {}
        for name in names:
            option = self._id("option", name)
            options[name] = self._next("product_option")
            self._put("product_option", (options[name], master, option, 1))
            for value in dict.fromkeys(variant.attributes[name] for variant in variants):
                key = values[name, value] = self._next("product_option_value")
                named = self._option_value(option, name, value)
                neutral = (0, 0, Decimal(0), "+", Decimal(0), "+")
                self._put(
                    "product_option_value", (key, options[name], master, option, named, *neutral)
                )
        for variant in variants:
            chosen = {str(options[name]): str(values[name, variant.attributes[name]])
                      for name in names}  # fmt: skip
            model = product.model_code
            self._page(variant, product, model=model, master=master, chosen=json.dumps(chosen))

    # — what pages name —

    def _head(self) -> None:
        tag, currency = self._options.language, self._options.currency
        self._put("language", (_LANGUAGE_ID, tag, tag, 1))
        for key, value in (
            *(("config_currency", currency), ("config_language", tag)),
            *(("config_language_catalog", tag), ("config_customer_group_id", "1")),
        ):
            self._put("setting", (0, "config", key, value, 0))
        for table, unit in (("weight_class", "g"), ("length_class", "mm")):
            self._put(table, (_UNIT, Decimal(1)))
            self._put(f"{table}_description", (_UNIT, _LANGUAGE_ID, unit, unit))

    def _tax_class(self, percent: Decimal) -> int:
        name = f"{percent.normalize():f}"
        known = self._keys.get(("tax_class", name))
        if known is None:
            known = self._keys["tax_class", name] = self._next("tax_class")
            self._put("tax_class", (known, f"KDV {name}", f"KDV {name}"))
            self._put("tax_rate", (known, f"KDV {name}", percent, "P"))
            self._put("tax_rule", (known, known, known, "shipping", 1))
        return known

    def _id(self, table: str, name: str) -> int:
        known = self._keys.get((table, name))
        if known is None:
            known = self._keys[table, name] = self._next(table)
            if table == "manufacturer":
                self._put(table, (known, html.escape(name)))
            else:
                self._put(table, (known, "select" if table == "option" else 1))
                self._put(f"{table}_description", (known, _LANGUAGE_ID, html.escape(name)))
        return known

    def _option_value(self, option: int, option_name: str, value: str) -> int:
        key = ("option_value", option_name, value)
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = self._next("option_value")
            self._put("option_value", (known, option))
            named = (known, _LANGUAGE_ID, option, html.escape(value))
            self._put("option_value_description", named)
        return known

    def _category(self, path: str) -> int:
        parent = 0
        parts = path.split(" > ")
        for depth in range(1, len(parts) + 1):
            key = ("category", *parts[:depth])
            known = self._keys.get(key)
            if known is None:
                known = self._keys[key] = self._next("category")
                self._put("category", (known, parent, 1))
                name = html.escape(parts[depth - 1])
                self._put("category_description", (known, _LANGUAGE_ID, name))
            parent = known
        return parent

    # — rows —

    def _next(self, table: str) -> int:
        self._last[table] = self._last.get(table, 0) + 1
        return self._last[table]

    def _put(self, table: str, values: Iterable[Value]) -> None:
        self._tables[table].put((0, [_literal(value) for value in values], (), ()))
        self._count += table == "product"

    def finish(self, path: Path) -> int:
        with in_place(path) as part, part.open("w", encoding="utf-8", newline="\n") as target:
            target.write("SET NAMES utf8mb4;\n")
            for table, rows in self._tables.items():
                target.writelines(_statements(table, rows))
        return self._count


def _texts(product: ProductDraft, variants: list[VariantDraft]) -> Iterator[str]:
    """Names and values that are read back as names are: line ends and tabs become spaces."""
    yield from (product.brand or "", product.category or "")
    for named in (product.attributes, *(variant.attributes for variant in variants)):
        for name, value in named.items():
            yield from (name, value)


def _fault(
    title: str, variants: list[VariantDraft], names: list[str], *, is_single: bool
) -> LeftOutReason | None:
    """Why a product has no page; each variant must choose one value of every option."""
    if "<" in title and plain_text(title) != title:
        return LeftOutReason.TITLE_HTML
    if is_single:
        return None
    if _grid_size(variants, names) > COMBINATIONS_MAX:
        return LeftOutReason.OPTIONS
    chosen = {tuple(sorted(variant.attributes.items())) for variant in variants}
    has_all = all(variant.attributes.keys() == set(names) for variant in variants)
    is_told_apart = names and has_all and len(chosen) == len(variants)
    return None if is_told_apart else LeftOutReason.SAME_OPTIONS


def _grid_size(variants: list[VariantDraft], names: list[str]) -> int:
    return prod(len({variant.attributes.get(name) for variant in variants}) for name in names)


def _statements(table: str, rows: Iterable[tuple[int, list[str], object, object]]) -> Iterator[str]:
    names = ", ".join(f"`{name}`" for name in _COLUMNS[table])
    waiting: list[str] = []
    for _, values, _, _ in rows:
        waiting.append(f"({', '.join(values)})")
        if len(waiting) == _ROWS_PER_INSERT:
            yield _statement(table, names, waiting)
            waiting = []
    if waiting:
        yield _statement(table, names, waiting)


def _statement(table: str, names: str, rows: list[str]) -> str:
    return f"INSERT INTO `oc_{table}` ({names}) VALUES\n" + ",\n".join(rows) + ";\n"


def _literal(value: Value) -> str:
    """Source of the escapes: MySQL 8.0 Reference Manual, section 9.1.1, table 9.1."""
    if value is None:
        return "NULL"
    if not isinstance(value, str):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped.replace(chr(10), chr(92) + 'n').replace(chr(13), chr(92) + 'r')}'"


def _net(price: Money | None, vat_percent: Decimal) -> Decimal:
    """The price before VAT; 0 where there is none, which the shop takes for no price."""
    if price is None:
        return Decimal(0)
    return (price.amount * 100 / (100 + vat_percent)).quantize(_NET_DIGITS, ROUND_HALF_UP)
