"""World against books: orders, packages, promises, levels, shelves, by sums of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meschain.testing.checker.ledger import Level
from meschain.testing.checker.verdict import Defect, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from meschain.testing.checker.control import WorldOrder, WorldShelf
    from meschain.testing.checker.ledger import HubOrder, Ledger, Listing

# What a parcel's state means for the goods, in the words of the trade: written down again here,
# so that a mistake in the hub's own table shows.
_PROMISED: Final = {"awaiting", "created", "picking", "invoiced"}
_GONE: Final = {"shipped", "at_collection_point", "delivered", "undelivered", "returned"}
_RELEASED: Final = {"cancelled", "unsupplied"}
_HUB_WORDS: Final = {"awaiting": "held", "broken_up": "superseded"}


@dataclass(frozen=True, slots=True)
class CheckedShop:
    """Which account of the hub is which shop of the world."""

    account_id: int
    marketplace: str
    seller_id: str


class Comparison:
    """One look at both sides; every method yields what differs."""

    def __init__(self, ledger: Ledger, shops: Iterable[CheckedShop]) -> None:
        self.ledger = ledger
        self.accounts = {(shop.marketplace, shop.seller_id): shop.account_id for shop in shops}
        self.listings = {(each.account_id, each.push_key): each for each in ledger.listings}
        self._moved: dict[int, dict[int, Level]] = {}  # variant → location → Σ movements
        for (variant, location), level in ledger.moved.items():
            self._moved.setdefault(variant, {})[location] = level

    # — orders —

    def orders(self, orders: Sequence[WorldOrder]) -> Iterator[Problem]:
        """Each order of the world exactly once, with its units, packages and promises."""
        known = {(each.account_id, each.external_id): each for each in self.ledger.orders}
        for order in orders:
            account = self.accounts.get((order.marketplace, order.seller_id))
            if account is None:
                continue  # a shop that is not ours
            ours = known.pop((account, order.order_number), None)
            if ours is None:
                yield Problem(Defect.ORDER_LOST, _name(order))
                continue
            yield from self._units(order, ours)
            yield from self._packages(order, ours)
            yield from self._promises(order, ours)
        for ours in known.values():
            yield Problem(Defect.ORDER_INVENTED, ours.external_id)

    def _units(self, order: WorldOrder, ours: HubOrder) -> Iterator[Problem]:
        sold: Counter[int | None] = Counter()
        for line in order.lines:
            listing = self.listings.get((ours.account_id, line.key))
            sold[listing.variant_id if listing else None] += line.units
        if None in ours.units and None not in sold:
            yield Problem(Defect.UNITS_UNLINKED, _name(order), found=str(ours.units[None]))
        for variant in sold.keys() | ours.units.keys():
            expected, found = sold[variant], ours.units.get(variant, 0)
            if expected != found:
                defect = Defect.UNITS_LOST if found < expected else Defect.UNITS_DOUBLED
                subject = f"{_name(order)} {self._sku(variant)}"
                yield Problem(defect, subject, str(expected), str(found))

    def _packages(self, order: WorldOrder, ours: HubOrder) -> Iterator[Problem]:
        unseen = dict(ours.packages)
        for parcel in order.parcels:
            name = str(parcel.parcel_number)
            subject = f"{_name(order)}/{name}"
            expected = _HUB_WORDS.get(parcel.state, parcel.state)
            if name not in unseen:
                # One that was broken up before anybody looked leaves no trace, and needs none.
                if expected != "superseded":
                    yield Problem(Defect.PACKAGE_LOST, subject, expected)
                continue
            found = unseen.pop(name)
            if found != expected and _meaning(found) != _meaning(expected):
                yield Problem(Defect.PACKAGE_STATE, subject, expected, found or "?")
        for name in unseen:
            yield Problem(Defect.PACKAGE_INVENTED, f"{_name(order)}/{name}")

    def _promises(self, order: WorldOrder, ours: HubOrder) -> Iterator[Problem]:
        """Reserved and sold units of the order: parcels of the world, reservations, movements."""
        ledger = self.ledger
        lines = {line.line_id: line for line in order.lines}
        wanted: dict[int, Level] = {}
        for parcel in order.parcels:
            for line_id, units in parcel.units.items():
                listing = self.listings.get((ours.account_id, lines[line_id].key))
                for variant, each in ledger.parts(listing.variant_id).items() if listing else ():
                    before = wanted.get(variant, Level(0, 0))
                    gone = units * each if parcel.state in _GONE else 0
                    promised = units * each if parcel.state in _PROMISED else 0
                    wanted[variant] = Level(before.on_hand - gone, before.reserved + promised)
        for variant, expected in wanted.items():
            key = (ours.order_id, variant)
            reserved = ledger.reserved_by_order.get(key, Level(0, 0))
            moved = ledger.moved_by_order.get(key, Level(0, 0))
            if not expected == reserved == moved:
                subject = f"{_name(order)} {self._sku(variant)}"
                found = f"{_told(reserved)} / {_told(moved)}"
                yield Problem(Defect.PROMISED, subject, _told(expected), found)

    # — stock —

    def stock(self) -> Iterator[Problem]:
        """Level = Σ movements; reserved = Σ reservations."""
        ledger = self.ledger
        for key in ledger.levels.keys() | ledger.moved.keys() | ledger.reserved.keys():
            level = ledger.levels.get(key, Level(0, 0))
            moved = ledger.moved.get(key, Level(0, 0))
            if level != moved:
                yield Problem(Defect.LEVEL, self._sku(key[0]), _told(moved), _told(level))
            promised = ledger.reserved.get(key, 0)
            if level.reserved != promised:
                found = str(level.reserved)
                yield Problem(Defect.RESERVED, self._sku(key[0]), str(promised), found)

    # — shelves —

    def shelves(self, shelves: Sequence[WorldShelf]) -> tuple[int, list[Problem]]:
        """How many shelves stand on sale, and which show something else than they should."""
        problems: list[Problem] = []
        absent = {
            key: each for key, each in self.listings.items() if each.state in {"on_sale", "locked"}
        }
        checked = 0
        for shelf in shelves:
            account = self.accounts.get((shelf.marketplace, shelf.seller_id))
            if account is None:
                continue
            listing = self.listings.get((account, shelf.key))
            absent.pop((account, shelf.key), None)
            if shelf.state != "on_sale":
                continue
            checked += 1
            problems += self._shelf(shelf, listing)
        problems += [
            Problem(Defect.LISTING_ABSENT, f"{key} ({self._market(account)})")
            for account, key in absent
        ]
        return checked, problems

    def _shelf(self, shelf: WorldShelf, listing: Listing | None) -> Iterator[Problem]:
        subject = f"{shelf.stock_code or shelf.key} ({shelf.marketplace})"
        if listing is None:
            yield Problem(Defect.SHELF_UNLISTED, subject)
            return
        expected = self.published_quantity(listing)
        if shelf.quantity != expected:
            found = f"{shelf.quantity} {listing.refused or ''}".strip()
            yield Problem(Defect.SHELF_QUANTITY, subject, str(expected), found)
        variant = self.ledger.variants[listing.variant_id]
        if (shelf.list_minor, shelf.sale_minor) != (variant.list_minor, variant.sale_minor):
            found = f"{shelf.list_minor}/{shelf.sale_minor} {listing.refused or ''}".strip()
            wanted = f"{variant.list_minor}/{variant.sale_minor}"
            yield Problem(Defect.SHELF_PRICE, subject, wanted, found)

    def published_quantity(self, listing: Listing) -> int:
        """What this listing must show, from the movements alone."""
        parts = self.ledger.parts(listing.variant_id)
        available = min(
            self._available(variant, listing.location_ids) // units
            for variant, units in parts.items()
        )
        shaped = available * listing.share_bps // 10_000 - listing.buffer_units
        if listing.quantity_max is not None:
            shaped = min(shaped, listing.quantity_max)
        return max(0, shaped)

    def _available(self, variant: int, locations: Sequence[int] | None) -> int:
        return sum(
            max(0, level.on_hand - level.reserved - self.ledger.safety.get((variant, place), 0))
            for place, level in self._moved.get(variant, {}).items()
            if locations is None or place in locations
        )

    # — names —

    def _sku(self, variant: int | None) -> str:
        if variant is None:
            return "?"
        known = self.ledger.variants.get(variant)
        return known.sku if known else str(variant)

    def _market(self, account: int) -> str:
        return next(
            (name for (name, _), each in self.accounts.items() if each == account), str(account)
        )


def _name(order: WorldOrder) -> str:
    return f"{order.marketplace} {order.order_number}"


def _told(level: Level) -> str:
    return f"{level.on_hand:+d}, {level.reserved:+d}"


def _meaning(state: str | None) -> str:
    """What a state means for the goods; two states that mean the same may be on their way."""
    if state in _PROMISED or state == "held":
        return "promised"
    if state in _GONE:
        return "gone"
    if state in _RELEASED:
        return "released"
    return state or "?"
