"""Why is this number what it is: a published price and quantity, back to their causes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.channel.clock import Clock
from meschain.domain.stock import (
    QuantityPolicy,
    StockLevel,
    bundle_available,
    published_quantity,
)
from meschain.store.unit_of_work import Database

MOVEMENTS_MAX: Final = 20
FIELDS: Final = ("quantity", "price")


class NotListed(LookupError):
    """This SKU has no listing on this account; ``is_known``: the catalog has the SKU."""

    def __init__(self, sku: str, *, is_known: bool) -> None:
        """The SKU asked for."""
        super().__init__(sku)
        self.sku = sku
        self.is_known = is_known


class LevelView(msgspec.Struct, frozen=True, kw_only=True):
    """Units of one component at one place. ``ledger_*`` are the sums of the movements."""

    sku: str
    location: str
    units_per_bundle: int
    on_hand: int
    reserved: int
    safety_stock: int
    available: int
    movements: int
    ledger_on_hand: int
    ledger_reserved: int
    reservations: int

    @property
    def agrees(self) -> bool:
        """Whether level, ledger and reservations say the same."""
        ledger = (self.ledger_on_hand, self.ledger_reserved, self.reservations)
        return ledger == (self.on_hand, self.reserved, self.reserved)


class MovementView(msgspec.Struct, frozen=True):
    """A line of the ledger."""

    sku: str
    location: str
    kind: str
    on_hand_delta: int
    reserved_delta: int
    reason: str
    actor: str
    occurred_at: datetime
    order_number: str | None
    account: str | None


class ReservationView(msgspec.Struct, frozen=True):
    """Units promised to an order."""

    sku: str
    location: str
    units: int
    order_number: str
    account: str
    placed_at: datetime


class FieldView(msgspec.Struct, frozen=True, kw_only=True):
    """Where one field stands between us and the channel; None: not so."""

    field: str
    waiting_since: datetime | None
    not_before: datetime | None
    sent_at: datetime | None
    sent_revision: int | None
    sent_quantity: int | None
    sent_sale_price: MoneyView | None
    ticket_id: int | None
    reference: str | None
    looking_since: datetime | None
    looking_reason: int | None
    look_at: datetime | None
    refused_at: datetime | None
    refused_revision: int | None
    code: str | None
    words: str | None
    advice: str | None
    conflict_since: datetime | None  # edited on the panel; waits for its owner's answer
    their_quantity: int | None
    their_sale_price: MoneyView | None


class TicketView(msgspec.Struct, frozen=True):
    """The last request that carried the listing."""

    ticket_id: int
    reference: str
    sent_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None
    outcome: str


class WhyView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole explanation. ``quantity_recomputed`` is made anew from the levels below."""

    at: datetime
    sku: str
    account: str
    account_state: str
    push_key: str | None
    listing_state: str
    state_raw: str
    is_bundle: bool
    vat_percent: str | None
    priced_at: datetime
    list_price: MoneyView | None
    sale_price: MoneyView | None
    list_price_desired: MoneyView | None
    sale_price_desired: MoneyView | None
    list_price_shown: MoneyView | None
    sale_price_shown: MoneyView | None
    price_revision: int | None
    price_acknowledged_revision: int | None
    available: int
    share_bps: int
    is_own_share: bool
    buffer_units: int
    is_own_buffer: bool
    quantity_max: int | None
    quantity_recomputed: int
    quantity_desired: int | None
    quantity_shown: int | None
    quantity_revision: int | None
    quantity_acknowledged_revision: int | None
    shown_since: datetime | None
    sent_at: datetime | None
    own_units: int
    own_orders: int
    orders_fresh_at: datetime | None
    levels: list[LevelView]
    reservations: list[ReservationView]
    movements: list[MovementView]
    # What was kept of an edit on the panel: a price of the listing's own, a maximum.
    list_price_kept: MoneyView | None
    sale_price_kept: MoneyView | None
    price_kept_at: datetime | None
    price_kept_by: str | None
    quantity_kept_at: datetime | None
    quantity_kept_by: str | None
    fields: list[FieldView]
    last_ticket: TicketView | None

    @property
    def agrees(self) -> bool:
        """Whether the stored quantity is the one that follows from the levels."""
        return self.quantity_desired in {None, self.quantity_recomputed}


class _Listing(msgspec.Struct, frozen=True):
    variant_id: int
    sku: str
    is_bundle: bool
    currency: str
    list_price_minor: int | None
    sale_price_minor: int | None
    vat_percent: object
    priced_at: datetime
    listing_id: int
    listing_state: str
    state_raw: str
    observed_at: datetime | None
    push_key: str | None
    account_id: int
    account: str
    account_state: str
    location_ids: list[int] | None
    share_bps: int
    is_own_share: bool
    buffer_units: int
    is_own_buffer: bool
    quantity_max: int | None
    quantity_desired: int | None
    quantity_revision: int | None
    list_desired_minor: int | None
    sale_desired_minor: int | None
    price_revision: int | None
    quantity_shown: int | None
    quantity_acknowledged_revision: int | None
    list_shown_minor: int | None
    sale_shown_minor: int | None
    price_acknowledged_revision: int | None
    sent_us: int | None
    done_us: int | None
    orders_fresh_us: int | None
    list_kept_minor: int | None
    sale_kept_minor: int | None
    price_kept_us: int | None
    price_kept_by: str | None
    quantity_kept_us: int | None
    quantity_kept_by: str | None


class _Level(msgspec.Struct, frozen=True):
    sku: str
    variant_id: int
    units_per_bundle: int
    location: str | None
    on_hand: int | None
    reserved: int | None
    safety_stock: int | None
    on_hand_sum: int | None
    reserved_sum: int | None
    movements: int | None
    reservations_sum: int


class _UnderWay(msgspec.Struct, frozen=True):
    field: int
    dirty_us: int | None
    not_before_us: int | None
    urgency: int | None
    sent_us: int | None
    sent_revision: int | None
    sent_quantity: int | None
    sent_sale_minor: int | None
    ticket_id: int | None
    reference: str | None
    ticket_state: int | None
    unsettled_us: int | None
    unsettled_reason: int | None
    recheck_us: int | None
    refused_revision: int | None
    code: str | None
    words: str | None
    advice: str | None
    refused_us: int | None
    conflict_us: int | None
    their_quantity: int | None
    their_sale_minor: int | None


async def read_why(
    database: Database, clock: Clock, merchant_id: int, account_id: int, sku: str
) -> WhyView:
    """Everything that made the numbers of one SKU on one account. Raises NotListed."""
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    async with database.merchant(merchant_id) as unit:
        found = await unit.records("why.listing", key | {"sku": sku})
        if not found:
            known = await unit.rows("stock.variants", key | {"skus": [sku]})
            raise NotListed(sku, is_known=bool(known))
        listing = msgspec.convert(found[0], _Listing)
        key |= {"listing": listing.listing_id, "variant": listing.variant_id}
        rows = await unit.records("why.levels", key | {"locations": listing.location_ids})
        levels = [msgspec.convert(row, _Level) for row in rows]
        about = key | {
            "variants": sorted({level.variant_id for level in levels}),
            "limit": MOVEMENTS_MAX,
        }
        movements = await unit.records("why.movements", about)
        reservations = await unit.records("why.reservations", about)
        under_way = await unit.records("why.under_way", key)
        ticket = await unit.row("why.last_ticket", key)
        sales = await unit.row("why.shelf_sales", key)
    assert sales is not None
    available = _available(levels)
    policy = QuantityPolicy(listing.share_bps, listing.buffer_units, listing.quantity_max)
    currency = listing.currency
    return WhyView(
        at=clock.now(),
        sku=listing.sku,
        account=listing.account,
        account_state=listing.account_state,
        push_key=listing.push_key,
        listing_state=listing.listing_state,
        state_raw=listing.state_raw,
        is_bundle=listing.is_bundle,
        vat_percent=None if listing.vat_percent is None else str(listing.vat_percent),
        priced_at=listing.priced_at,
        list_price=money_view(listing.list_price_minor, currency),
        sale_price=money_view(listing.sale_price_minor, currency),
        list_price_desired=money_view(listing.list_desired_minor, currency),
        sale_price_desired=money_view(listing.sale_desired_minor, currency),
        list_price_shown=money_view(listing.list_shown_minor, currency),
        sale_price_shown=money_view(listing.sale_shown_minor, currency),
        price_revision=listing.price_revision,
        price_acknowledged_revision=listing.price_acknowledged_revision,
        available=available,
        share_bps=listing.share_bps,
        is_own_share=listing.is_own_share,
        buffer_units=listing.buffer_units,
        is_own_buffer=listing.is_own_buffer,
        quantity_max=listing.quantity_max,
        quantity_recomputed=published_quantity(available, policy),
        quantity_desired=listing.quantity_desired,
        quantity_shown=listing.quantity_shown,
        quantity_revision=listing.quantity_revision,
        quantity_acknowledged_revision=listing.quantity_acknowledged_revision,
        shown_since=instant(listing.done_us),
        sent_at=instant(listing.sent_us),
        own_units=sales[0],
        own_orders=sales[1],
        orders_fresh_at=instant(listing.orders_fresh_us),
        list_price_kept=money_view(listing.list_kept_minor, currency),
        sale_price_kept=money_view(listing.sale_kept_minor, currency),
        price_kept_at=instant(listing.price_kept_us),
        price_kept_by=listing.price_kept_by,
        quantity_kept_at=instant(listing.quantity_kept_us),
        quantity_kept_by=listing.quantity_kept_by,
        levels=[_level(level) for level in levels if level.location is not None],
        reservations=[msgspec.convert(row, ReservationView) for row in reservations],
        movements=[msgspec.convert(row, MovementView) for row in movements],
        fields=[_field(msgspec.convert(row, _UnderWay), currency) for row in under_way],
        last_ticket=None if ticket is None else _ticket(ticket),
    )


def _available(levels: Sequence[_Level]) -> int:
    """By domain.stock: summed over places, and for a bundle the least that can be made."""
    parts: dict[int, tuple[int, int]] = {}
    for level in levels:
        here = StockLevel(level.on_hand or 0, level.reserved or 0, level.safety_stock or 0)
        before = parts.get(level.variant_id, (0, level.units_per_bundle))
        parts[level.variant_id] = (before[0] + here.available, level.units_per_bundle)
    return bundle_available(list(parts.values())) if parts else 0


def _level(level: _Level) -> LevelView:
    stored = StockLevel(level.on_hand or 0, level.reserved or 0, level.safety_stock or 0)
    return LevelView(
        sku=level.sku,
        location=level.location or "",
        units_per_bundle=level.units_per_bundle,
        on_hand=stored.on_hand,
        reserved=stored.reserved,
        safety_stock=stored.safety_stock,
        available=stored.available,
        movements=level.movements or 0,
        ledger_on_hand=level.on_hand_sum or 0,
        ledger_reserved=level.reserved_sum or 0,
        reservations=level.reservations_sum,
    )


def _field(row: _UnderWay, currency: str) -> FieldView:
    far = 2**62
    return FieldView(
        field=FIELDS[row.field - 1],
        waiting_since=instant(row.dirty_us),
        not_before=instant(row.not_before_us or None),
        sent_at=instant(row.sent_us),
        sent_revision=row.sent_revision,
        sent_quantity=row.sent_quantity,
        sent_sale_price=money_view(row.sent_sale_minor, currency),
        ticket_id=row.ticket_id,
        reference=row.reference,
        looking_since=instant(row.unsettled_us),
        looking_reason=row.unsettled_reason,
        # The largest bigint means: after the tickets have ended.
        look_at=None if row.recheck_us is None or row.recheck_us > far else instant(row.recheck_us),
        refused_at=instant(row.refused_us),
        refused_revision=row.refused_revision,
        code=row.code,
        words=row.words,
        advice=row.advice,
        conflict_since=instant(row.conflict_us),
        their_quantity=row.their_quantity,
        their_sale_price=money_view(row.their_sale_minor, currency),
    )


def _ticket(row: Sequence[object]) -> TicketView:
    number, reference, claimed_us, accepted_us, ended_us, outcome = row
    sent_at = instant(msgspec.convert(claimed_us, int))
    assert sent_at is not None
    return TicketView(
        msgspec.convert(number, int),
        str(reference),
        sent_at,
        instant(msgspec.convert(accepted_us, int | None)),
        instant(msgspec.convert(ended_us, int | None)),
        str(outcome),
    )
