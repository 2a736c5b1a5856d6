"""Packages of one shop as N11 numbers them, kept in the order of their last change.

The world keeps one line id for the life of an order. N11 does not: after a split the existing
``orderLineId`` survives on one part and every other part gets a new one (§3.6). So the ids live
here, per (package, line), together with *which* units of the line a package holds: discounts are
given per unit, and a split must not lose a kuruş.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meschain.marketplaces.n11.facade.body import identifier
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import Order, Parcel, ParcelState, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

CREATED: Final = "Created"
PICKING: Final = "Picking"
SHIPPED: Final = "Shipped"
STATUS: Final = {
    ParcelState.CREATED: CREATED,
    ParcelState.PICKING: PICKING,
    ParcelState.INVOICED: PICKING,  # N11 has no such state
    ParcelState.SHIPPED: SHIPPED,
    ParcelState.AT_COLLECTION_POINT: SHIPPED,
    ParcelState.UNDELIVERED: SHIPPED,  # "undelivered" has no REST status (§4.1)
    ParcelState.DELIVERED: "Delivered",
    ParcelState.RETURNED: "Delivered",  # returns live in SOAP
    ParcelState.CANCELLED: "Cancelled",
    ParcelState.UNSUPPLIED: "UnSupplied",
    ParcelState.BROKEN_UP: "Unpacked",
}
STATUSES: Final = frozenset(STATUS.values())


@dataclass(frozen=True, slots=True)
class Item:
    """Units ``start`` to ``stop`` of a world line, under N11's id."""

    order_line_id: int
    start: int
    stop: int


@dataclass(slots=True)
class Package:
    """N11's side of a parcel."""

    parcel: Parcel
    order_place: int  # 1 = the shop's first order; quirks recur by it
    package_place: int
    created_ms: int
    modified_ms: int = 0
    change_place: int = 0  # of all changes of the shop: a total order
    status: str = ""
    items: dict[int, Item] = field(default_factory=dict)  # by the world's line id
    line_status: dict[int, str] = field(default_factory=dict)  # lines ahead of their package
    row: bytes | None = None  # the answer row, until something changes
    row_tracking: str = ""

    def status_of(self, line_id: int) -> str:
        """A line's own status: one line may be approved before the others."""
        return self.line_status.get(line_id, self.status)


class Packages:
    """All packages of a shop; the last changed stands last in every index."""

    def __init__(self, shop: Shop) -> None:
        """No package yet."""
        self._shop = shop
        self._by_number: dict[int, Package] = {}
        self._by_change: dict[int, Package] = {}
        self._by_status: dict[str, dict[int, Package]] = {status: {} for status in STATUSES}
        self._by_order_line: dict[int, tuple[Package, int]] = {}
        self._order_places: dict[str, int] = {}
        self._undivided: dict[int, None] = {}  # broken-up packages whose ids are not yet dealt out
        self._change_places = itertools.count(1)
        self._split_off_ids = itertools.count(9_000_000_001)

    def note(self, parcel: Parcel) -> None:
        """Take over a parcel's new state. A parcel that awaits payment is not shown to sellers."""
        status = STATUS.get(parcel.state)
        if status is None:
            return
        package = self._by_number.get(parcel.number) or self._add(parcel)
        if package.status:
            self._by_status[package.status].pop(parcel.number, None)
        package.status = status
        package.line_status.clear()
        self._moved(package, epoch_ms(parcel.modified_at))

    def approve_line(self, package: Package, line_id: int, status: str, now_ms: int) -> bool:
        """Note that one line is ahead; True when now all lines of the package are."""
        package.line_status[line_id] = status
        self._moved(package, now_ms)
        return all(package.status_of(each) == status for each in package.items)

    def of_order(self, order: Order) -> list[Package]:
        """The packages of an order that sellers may see, oldest first."""
        found = (self._by_number.get(parcel.number) for parcel in order.parcels)
        return [package for package in found if package is not None]

    def find(self, number: int) -> Package | None:
        """The package of that id."""
        self._settle()
        return self._by_number.get(number)

    def find_line(self, order_line_id: int) -> tuple[Package, int] | None:
        """Where a line id lives now: its package and the world's line id."""
        self._settle()
        return self._by_order_line.get(order_line_id)

    def latest_first(self, status: str | None) -> Iterator[Package]:
        """All packages (of one status), the last changed first."""
        self._settle()
        return reversed((self._by_change if status is None else self._by_status[status]).values())

    def point_look_up(self, order_number: str | None, package_ids: str | None) -> list[Package]:
        """Packages of an order, or with the ids of a comma list, or both; last changed first."""
        self._settle()
        if package_ids is None:
            order = self._shop.orders.get(order_number or "")
            found = [] if order is None else self.of_order(order)
        else:
            texts = {text.strip() for text in package_ids.split(",")}
            named = (self._by_number.get(identifier(text)) for text in texts)
            found = [each for each in named if each is not None]
            if order_number is not None:
                found = [each for each in found if each.parcel.order.number == order_number]
        return sorted(found, key=lambda each: each.change_place, reverse=True)

    # — inside —
    def _add(self, parcel: Parcel) -> Package:
        order = parcel.order
        place = self._order_places.setdefault(order.number, len(self._order_places) + 1)
        package = Package(parcel, place, len(self._by_number) + 1, epoch_ms(parcel.created_at))
        self._by_number[parcel.number] = package
        if parcel.origins:
            self._undivided[parcel.origins[0]] = None
        else:
            for line_id, count in parcel.units.items():
                self._give(package, line_id, Item(line_id, 0, count))
        return package

    def _moved(self, package: Package, modified_ms: int) -> None:
        number = package.parcel.number
        package.modified_ms = modified_ms
        package.change_place = next(self._change_places)
        package.row = None
        for index in (self._by_change, self._by_status[package.status]):
            index.pop(number, None)
            index[number] = package

    def _give(self, package: Package, line_id: int, item: Item) -> None:
        package.items[line_id] = item
        self._by_order_line[item.order_line_id] = (package, line_id)

    def _settle(self) -> None:
        """Deal out line ids after splits. It waits for the first look: then all parts are there."""
        while self._undivided:
            number = next(iter(self._undivided))
            del self._undivided[number]
            parent = self._by_number[number]
            parts = [
                part
                for part in self.of_order(parent.parcel.order)
                if part.parcel.origins == (number,)
            ]
            for line_id, item in parent.items.items():
                holders = [part for part in parts if line_id in part.parcel.units]
                start = item.start
                for part in holders:
                    stop = start + part.parcel.units[line_id]
                    survives = part is holders[-1]  # the world puts what was not named last
                    order_line_id = item.order_line_id if survives else next(self._split_off_ids)
                    self._give(part, line_id, Item(order_line_id, start, stop))
                    start = stop
