"""The pages of a shop and the forms sold on each: options, master_id variants, their SKUs."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

from meschain.exchange.fault import Fault
from meschain.exchange.opencart.option import (
    VARIANT_TYPES,
    Adjustment,
    Axis,
    Choice,
    SkuKey,
    combinations,
    name_skus,
)
from meschain.exchange.opencart.shop import Shop
from meschain.exchange.opencart.table import TableRow
from meschain.exchange.reason import Reason


@dataclass(frozen=True, slots=True)
class Form:
    """One variant to be: what is chosen on its page, and its SKU."""

    choices: tuple[Choice, ...]
    sku: str


@dataclass(frozen=True, slots=True)
class Page:
    """A product row with its forms. ``fault`` tells why it has none.

    ``free`` are the axes on which the buyer still chooses; ``remarks`` are warnings so far.
    """

    row: TableRow
    forms: tuple[Form, ...]
    free: tuple[Axis, ...]
    remarks: tuple[Fault, ...]
    fault: Fault | None = None


class Pages:
    """The shop's product pages, their options, and the SKU of every variant.

    A page with ``master_id`` is a variant of another page and fixes some of the master's options.
    """

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        tables = shop.tables
        rows = sorted(tables["product"], key=lambda row: (row.whole("product_id"), row.line))
        self.by_id: dict[int, TableRow] = {}
        self.doubled: list[TableRow] = []
        for row in rows:
            if self.by_id.setdefault(row.whole("product_id"), row) is not row:
                self.doubled.append(row)
        self.products = list(self.by_id.values())
        self.children: defaultdict[int, list[TableRow]] = defaultdict(list)
        for row in self.products:
            if row.whole("master_id"):
                self.children[row.whole("master_id")].append(row)
        self._option_types = {
            key: row.text("type") for key, row in tables.by_key("option", "option_id").items()
        }
        self._option_names = shop.names("option_description", "option_id")
        self._value_names = shop.names("option_value_description", "option_value_id")
        self._values = tables.grouped("product_option_value", "product_option_id")
        self._options = tables.grouped("product_option", "product_id")
        self._drafts: dict[int, _Draft] = {}

    def is_for_sale(self, page: TableRow) -> bool:
        return self.shop.options.include_disabled or page.flag("status", default=True)

    def base_sku(self, page: TableRow) -> str:
        return self.shop.code(page, "sku") or page.text("model")

    def own_sku(self, page: TableRow) -> str:
        """A SKU that the page states for itself: a variant page often just repeats its master's."""
        own = self.base_sku(page)
        master = self.by_id.get(page.whole("master_id"))
        return "" if master is not None and own == self.base_sku(master) else own

    def axes(self, page: TableRow, remarks: list[Fault]) -> list[Axis]:
        """Options that make variants, by their id; the others are remarked upon. Raises: Fault."""
        found: list[Axis] = []
        rows = self._options.get(page.whole("product_id"), ())
        for row in sorted(rows, key=lambda row: (row.whole("option_id"), row.line)):
            option_id = row.whole("option_id")
            name = self._option_names.get(option_id, "")
            kind = self._option_types.get(option_id, "")
            if kind not in VARIANT_TYPES:
                remarks.append(Fault(Reason.OPTION_NOT_A_VARIANT, option=name, type=kind))
                continue
            if not name:
                raise Fault(Reason.OPTION_NAMELESS, option=str(option_id))
            key = row.whole("product_option_id")
            values = sorted(
                self._values.get(key, ()), key=lambda row: row.whole("product_option_value_id")
            )
            choices = tuple(self._choice(name, value) for value in values)
            found.append(Axis(key, name, choices))
        return found

    def _choice(self, option: str, row: TableRow) -> Choice:
        value = self._value_names.get(row.whole("option_value_id"))
        if value is None:
            raise Fault(Reason.OPTION_NAMELESS, option=f"{option} {row.whole('option_value_id')}")
        quantity = row.whole("quantity") if row.flag("subtract", default=True) else None
        return Choice(
            choice_id=row.whole("product_option_value_id"),
            option=option,
            value=value,
            quantity=quantity,
            price=_adjustment(row, "price"),
            weight=_adjustment(row, "weight"),
        )

    def fixed(self, page: TableRow, axes: list[Axis]) -> list[Axis]:
        """The master's axes as a variant page has them: those it fixes keep one choice."""
        chosen = _chosen(page.text("variant"))
        narrowed: list[Axis] = []
        for axis in axes:
            choice_id = chosen.get(axis.product_option_id)
            if choice_id is None:
                narrowed.append(axis)
                continue
            choices = tuple(each for each in axis.choices if each.choice_id == choice_id)
            if not choices:
                raise Fault(Reason.VARIANT_OPTION_UNKNOWN, option=axis.option)
            narrowed.append(Axis(axis.product_option_id, axis.option, choices))
        if not any(axis.product_option_id in chosen for axis in axes):
            raise Fault(Reason.VARIANT_WITHOUT_OPTION, master_id=page.text("master_id"))
        return narrowed

    def all(self) -> dict[int, Page]:
        """Every page by product id, its SKUs settled over the whole shop."""
        for row in self.products:
            self._draft(row)
        drafts = self._drafts
        stated = {
            draft.base
            for draft in drafts.values()
            if draft.is_own and any(not naming for _, naming in draft.combinations)
        }
        wanted = {
            _key(draft, choices): (draft.base, naming)
            for draft in drafts.values()
            for choices, naming in draft.combinations
            if naming
        }
        named = name_skus(wanted, stated)
        return {
            product_id: Page(
                row=draft.row,
                forms=tuple(
                    Form(choices, named[_key(draft, choices)] if naming else draft.base)
                    for choices, naming in draft.combinations
                ),
                free=tuple(axis for axis in draft.axes if len(axis.choices) > 1),
                remarks=tuple(draft.remarks),
                fault=draft.fault,
            )
            for product_id, draft in drafts.items()
        }

    def _draft(self, row: TableRow) -> _Draft:
        """The page worked out, once; a master asks for its variant pages before their turn."""
        product_id = row.whole("product_id")
        if product_id in self._drafts:
            return self._drafts[product_id]
        draft = self._drafts[product_id] = _Draft(row, self.base_sku(row))
        try:
            if row.whole("master_id"):
                self._draft_variant_page(draft)
            else:
                self._draft_page(draft)
        except Fault as fault:
            draft.fault = fault
            draft.combinations.clear()
        return draft

    def _draft_page(self, draft: _Draft) -> None:
        """A page of its own; what its variant pages sell is left to them."""
        draft.axes = self.axes(draft.row, draft.remarks)
        elsewhere: set[frozenset[int]] = set()
        for child in self.children[draft.row.whole("product_id")]:
            if self.is_for_sale(child):
                elsewhere |= {_ids(choices) for choices, _ in self._draft(child).combinations}
        draft.combinations = [
            (choices, choices)
            for choices in combinations(draft.axes)
            if _ids(choices) not in elsewhere
        ]

    def _draft_variant_page(self, draft: _Draft) -> None:
        row = draft.row
        master = self.by_id.get(row.whole("master_id"))
        if master is None or master.whole("master_id"):
            raise Fault(Reason.MASTER_UNKNOWN, master_id=row.text("master_id"))
        draft.axes = self.fixed(row, self.axes(master, []))  # remarked upon at the master
        chosen = _chosen(row.text("variant"))
        own = self.own_sku(row)
        draft.is_own = bool(own)
        draft.base = own or self.base_sku(master)
        for choices in combinations(draft.axes):
            free = tuple(each for each in choices if each.choice_id not in chosen.values())
            draft.combinations.append((choices, free if own else choices))


@dataclass(slots=True)
class _Draft:
    """A page while it is worked out: combinations with the choices that their SKUs spell out."""

    row: TableRow
    base: str
    is_own: bool = True
    axes: list[Axis] = field(default_factory=list)
    combinations: list[tuple[tuple[Choice, ...], tuple[Choice, ...]]] = field(default_factory=list)
    remarks: list[Fault] = field(default_factory=list)
    fault: Fault | None = None


def _key(draft: _Draft, choices: tuple[Choice, ...]) -> SkuKey:
    return draft.row.whole("product_id"), tuple(choice.choice_id for choice in choices)


def _ids(choices: tuple[Choice, ...]) -> frozenset[int]:
    return frozenset(choice.choice_id for choice in choices)


def _adjustment(row: TableRow, column: str) -> Adjustment:
    prefix = row.text(f"{column}_prefix") if row.has(f"{column}_prefix") else "+"
    return Adjustment(prefix, row.decimal(column) or Decimal(0))


def _chosen(variant: str) -> dict[int, int]:
    """product_option_id → product_option_value_id out of a page's ``variant`` JSON."""
    try:
        stated: object = json.loads(variant, strict=False) if variant else {}
    except json.JSONDecodeError:
        return {}
    if not isinstance(stated, dict):
        return {}
    return {
        int(option): int(value)
        for option, value in stated.items()
        if str(option).isdecimal() and str(value).isdecimal()
    }
