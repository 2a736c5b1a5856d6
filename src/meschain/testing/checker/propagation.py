"""From the buyer's click to the last of the other shelves, by the world's journal alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meschain.sandbox.clock import epoch_us
from meschain.sandbox.truth import ShelfRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meschain.sandbox.journal import JournalEntry
    from meschain.sandbox.truth import Showing


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A sale that a shelf does not show yet. ``available`` is what was left right after it."""

    at_us: int
    sku: str
    units_each: int
    available: int


class PropagationMeter:
    """Feed it the journal in order, in pieces as they come.

    A sample is the time from a sale to the first offer that brings another shelf of the SKU down
    to what was left after it. A shelf that already shows no more than that needs no push and gives
    no sample; one that comes down by its own sales meanwhile drops out.
    """

    def __init__(self, showings: Iterable[Showing], stock: Mapping[str, int]) -> None:
        """``stock``: units of each SKU before the first entry."""
        self.samples_us: list[int] = []
        self._available: defaultdict[str, int] = defaultdict(int, stock)
        self._shows: defaultdict[ShelfRef, list[Showing]] = defaultdict(list)
        self._shelves: defaultdict[str, list[Showing]] = defaultdict(list)
        self._quantity: dict[ShelfRef, int] = {}
        self._waiting: defaultdict[ShelfRef, list[_Waiting]] = defaultdict(list)
        for showing in showings:
            self._shows[showing.shelf].append(showing)
            self._shelves[showing.sku].append(showing)

    def feed(self, entries: Iterable[JournalEntry]) -> None:
        """Take the next entries."""
        for entry in entries:
            shelf = ShelfRef(entry.marketplace, entry.seller_id, entry.key)
            if entry.kind in {"listing", "offer"}:
                self._quantity[shelf] = _int(entry, "quantity")
                self._settle(shelf, epoch_us(entry.at))
            elif entry.kind == "sale":
                self._quantity[shelf] = _int(entry, "quantity")
                self._settle(shelf, None)
                for showing in self._shows.get(shelf, ()):
                    self._sold(shelf, showing, entry)
            elif entry.kind == "cancel":
                self._quantity[shelf] = _int(entry, "quantity")
                for showing in self._shows.get(shelf, ()):
                    self._available[showing.sku] += _int(entry, "units") * showing.units_each

    @property
    def waiting(self) -> int:
        """Shelves that still show more than was left after some sale."""
        return sum(1 for waiting in self._waiting.values() if waiting)

    def _sold(self, source: ShelfRef, showing: Showing, entry: JournalEntry) -> None:
        sku = showing.sku
        self._available[sku] -= _int(entry, "units") * showing.units_each
        left = max(0, self._available[sku])
        for other in self._shelves[sku]:
            if other.shelf == source:
                continue
            if self._quantity.get(other.shelf, 0) * other.units_each > left:
                waiting = _Waiting(epoch_us(entry.at), sku, other.units_each, left)
                self._waiting[other.shelf].append(waiting)

    def _settle(self, shelf: ShelfRef, offered_us: int | None) -> None:
        """End what the shelf's quantity now answers to; measured only where an offer did it."""
        waiting = self._waiting.get(shelf)
        if not waiting:
            return
        shown = self._quantity[shelf]
        still: list[_Waiting] = []
        for each in waiting:
            # A cancellation meanwhile allows more than was left then.
            allowed = max(each.available, self._available[each.sku])
            if shown * each.units_each > allowed and shown > 0:
                still.append(each)
            elif offered_us is not None:
                self.samples_us.append(offered_us - each.at_us)
        self._waiting[shelf] = still


def _int(entry: JournalEntry, name: str) -> int:
    value = entry.facts[name]
    assert isinstance(value, int)
    return value
