"""What really happened to the goods, recounted from the journal: pure functions for a checker.

The world knows shelves, not goods: the caller says which listings show which SKU, what stock the
merchant began with, and what the merchant changed by hand meanwhile. What the hub knew and when is
not here either; the checker adds it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from meschain.sandbox.journal import JournalEntry, JournalTruncated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta


class ShelfRef(NamedTuple):
    """One listing of one shop; a tuple, since a recount looks it up for every entry."""

    marketplace: str
    seller_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Showing:
    """A listing shows a SKU. A set is shown several times: once per component."""

    shelf: ShelfRef
    sku: str
    units_each: int = 1  # units of the SKU that one unit of the listing takes


@dataclass(frozen=True, slots=True)
class StockChange:
    """The merchant's own change (receipt, sale over the counter, count), signed."""

    sku: str
    at: datetime
    units: int


@dataclass(frozen=True, slots=True)
class Push:
    """An offer of the seller as it was applied to a shelf (or how the listing began)."""

    number: int  # in the journal, as everywhere here
    at: datetime
    shelf: ShelfRef
    cause: str
    quantity_before: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Sale:
    """One SKU in one order; ``units`` are of the SKU, ``shelf_showed`` of the listing before it."""

    number: int
    at: datetime
    shelf: ShelfRef
    order: str
    sku: str
    units: int
    shelf_showed: int


class OversellCause(StrEnum):
    """Why the shelf still showed what was gone, by the world's clock."""

    NOT_YET_LOWERED = "not_yet_lowered"  # sold elsewhere; no push has reached this shelf since
    PUT_BACK = "put_back"  # the last push brought a quantity older than a sale
    STOCK_TAKEN = "stock_taken"  # the merchant took stock away; no push has reached the shelf since
    OVERSTATED = "overstated"  # the shelf showed more than there ever was


@dataclass(frozen=True, slots=True)
class Oversell:
    """A sale that the stock could not meet."""

    sku: str
    units_short: int
    cause: OversellCause
    second: Sale  # the one that could not be met
    first: Sale | None  # the one after which it could not; None unless a sale did it
    last_push: Push | None  # the last that reached the second's shelf before it

    @property
    def window(self) -> timedelta | None:
        """How long after the first the second came."""
        return None if self.first is None else self.second.at - self.first.at


@dataclass(frozen=True, slots=True)
class PutBack:
    """A push that made a shelf show sold units again, whether or not anybody bought them."""

    sku: str
    push: Push
    units_over: int  # of the SKU, beyond what there was
    unseen: Sale | None  # the latest sale of the SKU before the push


@dataclass(slots=True)
class Recount:
    """The result, by SKU where it is by anything."""

    units_sold: Counter[str] = field(default_factory=Counter)
    units_cancelled: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    available: dict[str, int] = field(default_factory=dict)
    oversells: list[Oversell] = field(default_factory=list)
    put_backs: list[PutBack] = field(default_factory=list)
    unknown_shelves: set[ShelfRef] = field(default_factory=set)  # sold, but shown by nobody

    @property
    def units_oversold(self) -> int:
        """Units promised to a buyer that nobody had."""
        return sum(oversell.units_short for oversell in self.oversells)

    def oversells_by_cause(self) -> dict[OversellCause, int]:
        """How many of each cause, the absent ones too."""
        counted = Counter(oversell.cause for oversell in self.oversells)
        return {cause: counted[cause] for cause in OversellCause}


@dataclass(slots=True)
class _Goods:
    """One SKU as the recount goes on."""

    available: int
    most: int  # that were ever available
    # (number, before, after, the sale or None for the merchant) of every lowering.
    lowered: list[tuple[int, int, int, Sale | None]] = field(default_factory=list)
    last_sale: Sale | None = None

    def change(self, number: int, units: int, sale: Sale | None = None) -> None:
        before = self.available
        self.available += units
        self.most = max(self.most, self.available)
        self.last_sale = sale or self.last_sale
        if units < 0:
            self.lowered.append((number, before, self.available, sale))


@dataclass(frozen=True, slots=True)
class _Applied:
    """A push beside what there really was of each SKU when it was applied."""

    push: Push
    available: Mapping[str, int]
    most: Mapping[str, int]


def recount(
    entries: Iterable[JournalEntry],
    showings: Iterable[Showing],
    stock: Mapping[str, int],
    *,
    changes: Iterable[StockChange] = (),
) -> Recount:
    """Walk through the journal once, in its order.

    ``stock`` is each SKU's at the first entry. Entries must be whole: a gap raises
    JournalTruncated, since a recount of a part proves nothing. A cancelled unit is back in stock
    at once (nothing had left: only open parcels are cancelled).
    """
    return _Recounting(showings, stock, changes).walk(entries)


def shelf_quantities(entries: Iterable[JournalEntry]) -> dict[ShelfRef, int]:
    """What the shelves must show now, from the journal alone: a check on the world itself."""
    quantities: dict[ShelfRef, int] = {}
    for entry in whole(entries):
        shelf = _shelf(entry)
        if entry.kind in {"listing", "offer"}:
            quantities[shelf] = _int(entry, "quantity")
        elif entry.kind in {"sale", "cancel"}:
            moved = _int(entry, "quantity") - _int(entry, "quantity_before")
            quantities[shelf] = quantities.get(shelf, 0) + moved
    return quantities


def whole(entries: Iterable[JournalEntry]) -> Iterable[JournalEntry]:
    """The same entries; raises JournalTruncated where a number is missing."""
    expected: int | None = None
    for entry in entries:
        if expected is not None and entry.number != expected:
            raise JournalTruncated(entry.number)
        expected = entry.number + 1
        yield entry


class _Recounting:
    def __init__(
        self,
        showings: Iterable[Showing],
        stock: Mapping[str, int],
        changes: Iterable[StockChange],
    ) -> None:
        self.result = Recount()
        self.goods = {sku: _Goods(units, units) for sku, units in stock.items()}
        self.shown: defaultdict[ShelfRef, list[Showing]] = defaultdict(list)
        for showing in showings:
            self.shown[showing.shelf].append(showing)
            self.goods.setdefault(showing.sku, _Goods(0, 0))
        self.changes = sorted(changes, key=lambda change: change.at, reverse=True)
        self.pushes: dict[ShelfRef, _Applied] = {}

    def walk(self, entries: Iterable[JournalEntry]) -> Recount:
        number = 0
        for entry in whole(entries):
            number = entry.number
            while self.changes and self.changes[-1].at <= entry.at:
                self._change(number)
            if entry.kind in {"listing", "offer"}:
                self._push(entry)
            elif entry.kind == "sale":
                self._sale(entry)
            elif entry.kind == "cancel":
                self._cancel(entry)
            elif entry.kind == "refused":
                for showing in self.shown.get(_shelf(entry), ()):
                    self.result.refusals[showing.sku] += 1
        while self.changes:
            self._change(number)
        self.result.available = {sku: goods.available for sku, goods in self.goods.items()}
        return self.result

    def _change(self, number: int) -> None:
        change = self.changes.pop()
        self.goods.setdefault(change.sku, _Goods(0, 0)).change(number, change.units)

    def _push(self, entry: JournalEntry) -> None:
        shelf = _shelf(entry)
        quantity = _int(entry, "quantity")
        # A new state of a listing, or a new price alone, says nothing new of its quantity.
        if shelf in self.pushes if entry.kind == "listing" else not entry.facts["sets_quantity"]:
            return
        before = _int(entry, "quantity_before") if entry.kind == "offer" else 0
        cause = str(entry.facts.get("cause", "listing"))
        push = Push(entry.number, entry.at, shelf, cause, before, quantity)
        showings = self.shown.get(shelf, ())
        self.pushes[shelf] = _Applied(
            push,
            {showing.sku: self.goods[showing.sku].available for showing in showings},
            {showing.sku: self.goods[showing.sku].most for showing in showings},
        )
        for showing in showings:
            goods = self.goods[showing.sku]
            over = quantity * showing.units_each - max(0, goods.available)
            was_over = before * showing.units_each - max(0, goods.available)
            if over > 0 and over > was_over and goods.most >= quantity * showing.units_each:
                self.result.put_backs.append(PutBack(showing.sku, push, over, goods.last_sale))

    def _sale(self, entry: JournalEntry) -> None:
        shelf = _shelf(entry)
        if shelf not in self.shown:
            self.result.unknown_shelves.add(shelf)
        for showing in self.shown.get(shelf, ()):
            goods = self.goods[showing.sku]
            units = _int(entry, "units") * showing.units_each
            sale = Sale(
                entry.number,
                entry.at,
                shelf,
                str(entry.facts["order"]),
                showing.sku,
                units,
                _int(entry, "quantity_before"),
            )
            self.result.units_sold[showing.sku] += units
            short = min(units, units - goods.available)
            if short > 0:
                self.result.oversells.append(self._oversell(sale, showing, goods, short))
            goods.change(entry.number, -units, sale)

    def _cancel(self, entry: JournalEntry) -> None:
        for showing in self.shown.get(_shelf(entry), ()):
            units = _int(entry, "units") * showing.units_each
            self.result.units_cancelled[showing.sku] += units
            self.goods[showing.sku].change(entry.number, units)

    def _oversell(self, second: Sale, showing: Showing, goods: _Goods, short: int) -> Oversell:
        applied = self.pushes.get(second.shelf)
        # The latest lowering that made the difference between "can be met" and "cannot".
        number, first, found = 0, None, False
        for lowered, before, after, sale in reversed(goods.lowered):
            if before >= second.units > after:
                number, first, found = lowered, sale, True
                break
        if applied is not None and self._brought_too_much(applied, showing):
            stale = applied.most[showing.sku] >= applied.push.quantity * showing.units_each
            cause = OversellCause.PUT_BACK if stale else OversellCause.OVERSTATED
        elif not found or (applied is not None and applied.push.number > number):
            cause = OversellCause.OVERSTATED
        elif first is None:
            cause = OversellCause.STOCK_TAKEN
        else:
            cause = OversellCause.NOT_YET_LOWERED
        push = applied.push if applied is not None else None
        return Oversell(second.sku, short, cause, second, first, push)

    @staticmethod
    def _brought_too_much(applied: _Applied, showing: Showing) -> bool:
        shown = applied.push.quantity * showing.units_each
        return shown > max(0, applied.available.get(showing.sku, 0))


def _shelf(entry: JournalEntry) -> ShelfRef:
    return ShelfRef(entry.marketplace, entry.seller_id, entry.key)


def _int(entry: JournalEntry, name: str) -> int:
    value = entry.facts[name]
    assert isinstance(value, int)
    return value
