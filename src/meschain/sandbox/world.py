"""The world: shops, shelves, buyers' orders, parcels. The truth that a checker recounts.

Neutral words only: a façade translates them into one marketplace's protocol. Everything happens
on one event loop and every change is one synchronous call, so there is nothing to lock. All
money is whole minor units of the shop's currency, VAT included.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from meschain.sandbox.journal import ENTRIES_MAX_DEFAULT, Fact, Journal, JournalEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from meschain.sandbox.clock import SandboxClock
    from meschain.sandbox.faults import Faults

__all__ = [
    "OPEN_STATES",
    "Impossible",
    "JournalEntry",
    "Order",
    "OrderChanged",
    "OrderLine",
    "Parcel",
    "ParcelState",
    "Person",
    "Shelf",
    "ShelfState",
    "Shop",
    "World",
]


class ShelfState(StrEnum):
    """What a buyer can do with a listing."""

    PENDING = "pending"  # waits for the marketplace's approval
    ON_SALE = "on_sale"
    REJECTED = "rejected"
    ARCHIVED = "archived"


class ParcelState(StrEnum):
    """Life of a parcel, in neutral words."""

    AWAITING = "awaiting"  # payment check: ordered, not yet released to the seller
    CREATED = "created"
    PICKING = "picking"
    INVOICED = "invoiced"
    SHIPPED = "shipped"
    AT_COLLECTION_POINT = "at_collection_point"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    RETURNED = "returned"
    CANCELLED = "cancelled"  # by the buyer or the marketplace
    UNSUPPLIED = "unsupplied"  # by the seller
    BROKEN_UP = "broken_up"  # replaced by other parcels


OPEN_STATES = frozenset(
    {ParcelState.AWAITING, ParcelState.CREATED, ParcelState.PICKING, ParcelState.INVOICED}
)


class Impossible(ValueError):
    """The world cannot do that; ``reason`` is a short constant a façade may translate."""

    def __init__(self, reason: str) -> None:
        """Keep the constant."""
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Shelf:
    """One listing as buyers see it. ``key`` is unique in its shop (barcode or stock code)."""

    key: str
    barcode: str
    stock_code: str
    title: str
    quantity: int
    list_minor: int
    sale_minor: int
    vat_percent: int
    state: ShelfState = ShelfState.PENDING
    facts: dict[str, object] = field(default_factory=dict)  # the façade's own: category, images, …
    reject_reasons: tuple[str, ...] = ()
    created_at: datetime | None = None
    changed_at: datetime | None = None
    number: int = 0  # unique in the world; façades make their content or product ids of it
    # What buyers did here since the listing began, for whoever recounts.
    sales: int = 0
    units_sold: int = 0
    units_cancelled: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """A buyer: who, where, and what their invoice needs."""

    number: int
    first_name: str
    last_name: str
    email: str
    phone: str
    city: str
    district: str
    neighborhood: str
    street: str
    postal_code: str
    city_code: int
    is_company: bool = False
    company_name: str = ""
    tax_office: str = ""
    tax_number: str = ""
    identity_number: str = "11111111111"  # the placeholder that marketplaces themselves print


@dataclass(slots=True)
class OrderLine:
    """One listing in an order, with the prices of the moment of sale."""

    line_id: int
    shelf: Shelf
    units: int
    unit_list_minor: int
    unit_sale_minor: int
    # One entry per unit: a discount need not divide evenly, which is why unit prices can be finer
    # than the minor unit in what a marketplace reports.
    unit_seller_discounts_minor: tuple[int, ...]
    unit_marketplace_discounts_minor: tuple[int, ...]
    commission_percent: int


@dataclass(slots=True)
class Parcel:
    """What travels (or would travel) together. ``units`` maps line id → units in this parcel."""

    number: int
    order: Order
    units: dict[int, int]
    state: ParcelState
    cargo_code: str
    carrier: str
    created_at: datetime
    modified_at: datetime
    history: list[tuple[datetime, ParcelState]]
    origins: tuple[int, ...] = ()
    created_by: str = "order-creation"  # or "split", "cancel"
    desi: int = 1
    invoice_number: str = ""
    tracking_number: str = ""  # the carrier's own number, known after its first scan
    cancel_reason: str = ""


@dataclass(slots=True)
class Order:
    """A buyer's purchase in one shop."""

    number: str
    shop: Shop
    buyer: Person
    placed_at: datetime
    lines: list[OrderLine]
    parcels: list[Parcel] = field(default_factory=list)
    payment_method: str = "Kredi Kartı"
    micro_export: bool = False

    def line(self, line_id: int) -> OrderLine:
        """The line of that id; raises Impossible("unknown_line")."""
        for line in self.lines:
            if line.line_id == line_id:
                return line
        reason = "unknown_line"
        raise Impossible(reason)


@dataclass(slots=True)
class Shop:
    """One seller's account on one marketplace, on the marketplace's side."""

    marketplace: str
    seller_id: str
    credentials: dict[str, str]
    tier: str
    currency: str = "TRY"
    lowers_own_shelf: bool = True  # a sale lowers the shelf at once
    restocks_on_cancel: bool = False
    shelves: dict[str, Shelf] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    parcels: dict[int, Parcel] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)  # the façade's own, e.g. webhooks
    number: int = 0  # given by the world; the journal's name for this shop


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """A parcel of an order came to be or changed state."""

    order: Order
    parcel: Parcel
    at: datetime


class World:
    """All shops, one clock, one seed, one journal."""

    def __init__(
        self,
        clock: SandboxClock,
        faults: Faults,
        *,
        seed: int,
        journal_entries_max: int = ENTRIES_MAX_DEFAULT,
    ) -> None:
        """An empty world."""
        self.clock = clock
        self.faults = faults
        self.seed = seed
        self.shops: list[Shop] = []
        self.orders: list[Order] = []  # in the order in which they were placed
        self.journal = Journal(entries_max=journal_entries_max)
        self._shops: dict[tuple[str, str], Shop] = {}
        self._shelves: list[tuple[Shop, Shelf]] = []  # shelf ``number`` is its position plus one
        self._labels: dict[str, Parcel] = {}  # cargo code → parcel
        self._listeners: list[Callable[[OrderChanged], None]] = []
        self._order_numbers = itertools.count(10_000_000_001)
        self._parcel_numbers = itertools.count(3_000_000_001)
        self._line_numbers = itertools.count(4_000_000_001)
        self._cargo_numbers = itertools.count(7_280_000_000_000_001)

    @property
    def orders_total(self) -> int:
        """Orders placed since the world began; each is stamped with ``placed_at``."""
        return len(self.orders)

    # — shops and shelves —
    def open_shop(self, shop: Shop) -> Shop:
        """Add a shop; (marketplace, seller id) must be free."""
        if (shop.marketplace, shop.seller_id) in self._shops:
            raise Impossible("shop_exists")
        shop.number = self.journal.add_seller(shop.marketplace, shop.seller_id)
        self._shops[shop.marketplace, shop.seller_id] = shop
        self.shops.append(shop)
        return shop

    def shop(self, marketplace: str, seller_id: str) -> Shop | None:
        """The shop, or None."""
        return self._shops.get((marketplace, seller_id))

    def add_shelf(self, shop: Shop, shelf: Shelf) -> Shelf:
        """Put a listing into a shop. Raises Impossible("key_taken")."""
        if shelf.key in shop.shelves:
            raise Impossible("key_taken")
        self._shelves.append((shop, shelf))
        shelf.number = len(self._shelves)
        shelf.created_at = shelf.changed_at = self.clock.now()
        shop.shelves[shelf.key] = shelf
        self._write_listing(shop, shelf, shelf.created_at)
        return shelf

    def shelves(self, *, after: int = 0) -> Iterable[tuple[Shop, Shelf]]:
        """Every listing that stands in its shop, by ``number``, those after ``after`` only."""
        for shop, shelf in itertools.islice(self._shelves, after, None):
            if shop.shelves.get(shelf.key) is shelf:
                yield shop, shelf

    def set_state(
        self, shop: Shop, shelf: Shelf, state: ShelfState, *, reasons: tuple[str, ...] = ()
    ) -> None:
        """Approve, reject, archive or bring back a listing."""
        shelf.state = state
        shelf.reject_reasons = reasons
        shelf.changed_at = self.clock.now()
        self._write_listing(shop, shelf, shelf.changed_at)

    def set_offer(
        self,
        shop: Shop,
        shelf: Shelf,
        *,
        quantity: int | None = None,
        list_minor: int | None = None,
        sale_minor: int | None = None,
        cause: str,
    ) -> None:
        """Apply the seller's absolute values; ``cause`` names the batch that brought them.

        This is where a sold unit is put back when the seller did not know of the sale yet:
        an absolute value has no memory. The journal keeps the quantity before and after.
        """
        before = shelf.quantity
        if quantity is not None:
            shelf.quantity = quantity
        if list_minor is not None:
            shelf.list_minor = list_minor
        if sale_minor is not None:
            shelf.sale_minor = sale_minor
        shelf.changed_at = now = self.clock.now()
        self.journal.write(
            (
                now,
                Fact.OFFER,
                shop.number,
                shelf.key,
                cause,
                shelf.quantity,
                shelf.list_minor,
                shelf.sale_minor,
                before,
                quantity is not None,
            )
        )

    # — buying —
    def place_order(
        self,
        shop: Shop,
        basket: Mapping[str, int],
        buyer: Person,
        *,
        awaiting: bool = False,
        seller_discounts_minor: Mapping[str, tuple[int, ...]] | None = None,
        marketplace_discounts_minor: Mapping[str, tuple[int, ...]] | None = None,
        commission_percent: int = 13,
        carrier: str = "Sandbox Kargo",
        desi: int = 1,
        micro_export: bool = False,
    ) -> Order:
        """Buy ``basket`` (shelf key → units) at the shelves' prices, all or nothing.

        Raises Impossible: "unknown_shelf", "not_on_sale", "sold_out", "empty_basket". A refusal at
        a shelf is journalled: a buyer who meets an empty shelf is what a good stock sync looks
        like.
        """
        now = self.clock.now()
        if not basket or min(basket.values()) < 1:
            raise Impossible("empty_basket")
        shelves = [self._pick(shop, key, units, now) for key, units in basket.items()]
        order = Order(
            str(next(self._order_numbers)), shop, buyer, now, [], micro_export=micro_export
        )
        in_parcel: dict[int, int] = {}
        for shelf, units in zip(shelves, basket.values(), strict=True):
            none = (0,) * units
            line = OrderLine(
                line_id=next(self._line_numbers),
                shelf=shelf,
                units=units,
                unit_list_minor=shelf.list_minor,
                unit_sale_minor=shelf.sale_minor,
                unit_seller_discounts_minor=(seller_discounts_minor or {}).get(shelf.key, none),
                unit_marketplace_discounts_minor=(marketplace_discounts_minor or {}).get(
                    shelf.key, none
                ),
                commission_percent=commission_percent,
            )
            assert len(line.unit_seller_discounts_minor) == units
            assert len(line.unit_marketplace_discounts_minor) == units
            order.lines.append(line)
            in_parcel[line.line_id] = units
            before = shelf.quantity
            if shop.lowers_own_shelf:
                shelf.quantity -= units
                shelf.changed_at = now
            shelf.sales += 1
            shelf.units_sold += units
            self.journal.write(
                (
                    now,
                    Fact.SALE,
                    shop.number,
                    shelf.key,
                    order.number,
                    units,
                    shelf.quantity,
                    before,
                )
            )
        shop.orders[order.number] = order
        self.orders.append(order)
        state = ParcelState.AWAITING if awaiting else ParcelState.CREATED
        self._new_parcel(order, in_parcel, state, now, carrier=carrier, desi=desi)
        return order

    # — parcels —
    def advance(self, parcel: Parcel, state: ParcelState) -> None:
        """Move a parcel to a later state; the façade has checked that its protocol allows it."""
        parcel.state = state
        parcel.modified_at = self.clock.now()
        parcel.history.append((parcel.modified_at, state))
        self._write_parcel(parcel)

    def split(self, parcel: Parcel, groups: Iterable[Mapping[int, int]]) -> list[Parcel]:
        """Break a parcel up into one new parcel per group of (line id → units); the rest follows.

        Raises Impossible: "not_open", "unknown_line", "too_many_units", "empty_group".
        """
        before = parcel.state  # successors go on where the parcel stood
        rest, parts = self._divide(parcel, groups)
        if rest:
            parts.append(rest)
        self.advance(parcel, ParcelState.BROKEN_UP)
        return [self._successor(parcel, part, "split", before) for part in parts]

    def cancel_units(
        self, parcel: Parcel, units: Mapping[int, int], *, by_seller: bool, reason: str = ""
    ) -> list[Parcel]:
        """Cancel units of an open parcel: it is replaced by one cancelled and one surviving parcel.

        When all units go, the parcel itself is cancelled and no successor is made. Returns the
        successors. Raises Impossible as ``split`` does.
        """
        ended = ParcelState.UNSUPPLIED if by_seller else ParcelState.CANCELLED
        before = parcel.state
        rest, parts = self._divide(parcel, [units])
        cancelled = parts[0]
        shop = parcel.order.shop
        now = self.clock.now()
        for line_id, count in cancelled.items():
            shelf = parcel.order.line(line_id).shelf
            quantity = shelf.quantity
            if shop.restocks_on_cancel:
                shelf.quantity += count
                shelf.changed_at = now
            shelf.units_cancelled += count
            self.journal.write(
                (
                    now,
                    Fact.CANCEL,
                    shop.number,
                    shelf.key,
                    parcel.order.number,
                    count,
                    by_seller,
                    shelf.quantity,
                    quantity,
                )
            )
        if not rest:
            parcel.cancel_reason = reason
            self.advance(parcel, ended)
            return []
        self.advance(parcel, ParcelState.BROKEN_UP)
        dead = self._successor(parcel, cancelled, "cancel", ended, reason)
        return [dead, self._successor(parcel, rest, "cancel", before)]

    def find_parcel(self, cargo_code: str) -> Parcel | None:
        """The living parcel that carries this code on its label."""
        parcel = self.parcel_labelled(cargo_code)
        return parcel if parcel is not None and parcel.state in OPEN_STATES else None

    def parcel_labelled(self, cargo_code: str) -> Parcel | None:
        """The parcel that carries this code, whatever became of it."""
        parcel = self._labels.get(cargo_code)
        if parcel is not None and parcel.cargo_code == cargo_code:
            return parcel
        # A façade may have labelled a parcel anew (another carrier): look, and remember.
        for shop in self.shops:
            for other in shop.parcels.values():
                if other.cargo_code == cargo_code:
                    self._labels[cargo_code] = other
                    return other
        return None

    def note_scan(self, parcel: Parcel | None, cargo_code: str, *, refused: str = "") -> None:
        """Journal that a carrier scanned a label; ``refused`` says why nothing came of it."""
        number = parcel.order.shop.number if parcel is not None else 0
        self.journal.write((self.clock.now(), Fact.SCAN, number, cargo_code, not refused, refused))

    def subscribe(self, listener: Callable[[OrderChanged], None]) -> None:
        """Be told of every parcel that comes to be or changes, at once and in order."""
        self._listeners.append(listener)

    # — inside —
    def _pick(self, shop: Shop, key: str, units: int, now: datetime) -> Shelf:
        shelf = shop.shelves.get(key)
        if shelf is None:
            reason = "unknown_shelf"
        elif shelf.state is not ShelfState.ON_SALE:
            reason = "not_on_sale"
        elif shelf.quantity < units:
            reason = "sold_out"
        else:
            return shelf
        quantity = 0
        if shelf is not None:
            shelf.refusals += 1
            quantity = shelf.quantity
        self.journal.write((now, Fact.REFUSED, shop.number, key, units, reason, quantity))
        raise Impossible(reason)

    def _divide(
        self, parcel: Parcel, groups: Iterable[Mapping[int, int]]
    ) -> tuple[dict[int, int], list[dict[int, int]]]:
        if parcel.state not in OPEN_STATES:
            raise Impossible("not_open")
        rest = dict(parcel.units)
        parts: list[dict[int, int]] = []
        for group in groups:
            part = {line_id: count for line_id, count in group.items() if count > 0}
            if not part:
                raise Impossible("empty_group")
            for line_id, count in part.items():
                if line_id not in parcel.units:
                    raise Impossible("unknown_line")
                if rest.get(line_id, 0) < count:
                    raise Impossible("too_many_units")
                rest[line_id] -= count
            parts.append(part)
        return {line_id: count for line_id, count in rest.items() if count > 0}, parts

    def _successor(
        self,
        parcel: Parcel,
        units: dict[int, int],
        created_by: str,
        state: ParcelState,
        cancel_reason: str = "",
    ) -> Parcel:
        return self._new_parcel(
            parcel.order,
            units,
            state,
            self.clock.now(),
            carrier=parcel.carrier,
            desi=parcel.desi,
            origins=(parcel.number,),
            created_by=created_by,
            cancel_reason=cancel_reason,
        )

    def _new_parcel(
        self,
        order: Order,
        units: dict[int, int],
        state: ParcelState,
        now: datetime,
        *,
        carrier: str,
        desi: int,
        origins: tuple[int, ...] = (),
        created_by: str = "order-creation",
        cancel_reason: str = "",
    ) -> Parcel:
        parcel = Parcel(
            number=next(self._parcel_numbers),
            order=order,
            units=units,
            state=state,
            cargo_code=str(next(self._cargo_numbers)),
            carrier=carrier,
            created_at=now,
            modified_at=now,
            history=[(now, state)],
            origins=origins,
            created_by=created_by,
            desi=desi,
            cancel_reason=cancel_reason,
        )
        order.parcels.append(parcel)
        order.shop.parcels[parcel.number] = parcel
        self._labels[parcel.cargo_code] = parcel
        self._write_parcel(parcel)
        return parcel

    def _write_listing(self, shop: Shop, shelf: Shelf, at: datetime) -> None:
        self.journal.write(
            (
                at,
                Fact.LISTING,
                shop.number,
                shelf.key,
                shelf.state.value,
                shelf.quantity,
                shelf.list_minor,
                shelf.sale_minor,
            )
        )

    def _write_parcel(self, parcel: Parcel) -> None:
        """Journal the parcel's present state and tell who listens."""
        self.journal.write(
            (
                parcel.modified_at,
                Fact.PARCEL,
                parcel.order.shop.number,
                str(parcel.number),
                parcel.order.number,
                parcel.state.value,
                tuple(parcel.units.items()),
            )
        )
        if self._listeners:
            change = OrderChanged(parcel.order, parcel, parcel.modified_at)
            for listener in self._listeners:
                listener(change)
