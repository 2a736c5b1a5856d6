"""The tables of one shop out of a dump, under their plain names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final, TextIO

from meschain.exchange.opencart.sql import InsertedRow, read_rows
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused

# What is read. Everything else in a dump (orders, customers, sessions) is passed over unread.
TABLES: Final = frozenset(
    {
        *("product", "product_description", "product_code", "identifier", "product_image"),
        *("product_option", "product_option_value", "option", "option_description"),
        *("option_value_description", "product_special", "product_discount"),
        *("product_attribute", "attribute_description", "manufacturer", "manufacturer_description"),
        *("product_to_category", "category", "category_description", "language", "setting"),
        *("tax_class", "tax_rate", "tax_rule", "weight_class", "weight_class_description"),
        *("length_class", "length_class_description"),
    }
)
_CHILDREN: Final = (
    *("product_description", "product_code", "product_image", "product_option"),
    *("product_option_value", "product_special", "product_discount", "product_attribute"),
    "product_to_category",
)


_NO_PREFIX: Final = ("order_", "coupon_")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row with typed access; an absent column, NULL and an expression are all None or empty."""

    line: int
    values: Mapping[str, str | None]

    def text(self, column: str) -> str:
        return (self.values.get(column) or "").strip()

    def whole(self, column: str) -> int:
        """A key or a count; 0 where it is absent or no number, as the shop itself has it."""
        number = self.decimal(column)
        return int(number) if number is not None else 0

    def decimal(self, column: str) -> Decimal | None:
        """None where nothing or no finite number is stated."""
        try:
            number = Decimal(self.text(column))
        except InvalidOperation:
            return None
        return number if number.is_finite() else None

    def flag(self, column: str, *, default: bool) -> bool:
        return self.whole(column) != 0 if self.values.get(column) is not None else default

    def has(self, column: str) -> bool:
        return column in self.values


@dataclass(slots=True)
class Tables:
    """All rows that were kept. ``damaged`` could not be matched with their columns."""

    rows: dict[str, list[TableRow]] = field(default_factory=lambda: defaultdict(list))
    damaged: list[InsertedRow] = field(default_factory=list)

    def __getitem__(self, table: str) -> list[TableRow]:
        return self.rows.get(table, [])

    def by_key(self, table: str, column: str) -> dict[int, TableRow]:
        """Rows by a key column; of doubled keys the first stands."""
        found: dict[int, TableRow] = {}
        for row in self[table]:
            found.setdefault(row.whole(column), row)
        return found

    def grouped(self, table: str, column: str) -> dict[int, list[TableRow]]:
        groups: defaultdict[int, list[TableRow]] = defaultdict(list)
        for row in self[table]:
            groups[row.whole(column)].append(row)
        return groups

    def orphans(self) -> Iterator[tuple[str, int]]:
        """Tables whose rows name products that the dump does not hold, with their count."""
        products = {row.whole("product_id") for row in self["product"]}
        for table in _CHILDREN:
            count = sum(row.whole("product_id") not in products for row in self[table])
            if count:
                yield table, count


def load_tables(dump: TextIO, prefix: str | None) -> Tables:
    """Read a dump whole. ``prefix`` None means to find it. Raises: FileRefused."""
    found: defaultdict[str, list[InsertedRow]] = defaultdict(list)
    for row in read_rows(dump, _may_be_wanted):
        found[row.table].append(row)
    prefix = _prefix(Counter({name: len(rows) for name, rows in found.items()}), prefix)
    tables = Tables()
    for name in TABLES:
        for row in found.get(prefix + name, ()):
            if row.values:
                tables.rows[name].append(TableRow(row.line, row.values))
            else:
                tables.damaged.append(row)
    return tables


def _may_be_wanted(table: str) -> bool:
    """Whether the name is one of ours behind some prefix; the prefix itself is found later.

    ``oc_order_product`` would pass for a table ``product`` and is often the largest of all.
    """
    return any(
        table.endswith(name) and not table.removesuffix(name).endswith(_NO_PREFIX)
        for name in TABLES
    )


def _prefix(row_counts: Counter[str], asked: str | None) -> str:
    """The prefix before ``product`` and ``product_description``; two shops are not mixed."""
    suffix = "product_description"
    candidates = sorted(
        prefix
        for name in row_counts
        if name.endswith(suffix) and row_counts[(prefix := name.removesuffix(suffix)) + "product"]
    )
    if asked is not None:
        if not row_counts[f"{asked.lower()}product"]:
            raise FileRefused(Reason.DUMP_NO_PRODUCTS)
        return asked.lower()
    if not candidates:
        raise FileRefused(Reason.DUMP_NO_PRODUCTS)
    if len(candidates) > 1:
        raise FileRefused(Reason.DUMP_TWO_SHOPS, prefixes=", ".join(candidates))
    return candidates[0]
