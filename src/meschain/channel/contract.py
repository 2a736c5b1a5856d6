"""The Channel protocol: the neutral operations of a marketplace account.

Reads return their result or a ``Problem``; actions return an ``Outcome``. Nothing raises for
what a marketplace may answer, and nothing is guessed. An operation that a marketplace lacks is
named in its manifest's ``lacks`` and returns ``Refused(code="lacking", advice=<message key>)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Protocol

from meschain.channel.capability import Manifest
from meschain.channel.outcome import ItemOutcome, Outcome, Problem
from meschain.domain.catalog import Content
from meschain.domain.money import Money
from meschain.domain.order import OrderObservation, PackageState


class Priority(IntEnum):
    """Order in which waiting calls of an account get the budget; lower goes first."""

    CRITICAL = 0  # a quantity down, a price brake, cancelling
    NORMAL = 1
    BULK = 2  # mass changes, audits, reference data


class LeaseExpired(Exception):
    """Raised by a call's guard: this process may no longer speak for the account."""


class Guard(Protocol):
    """Called by the transport right before the first byte leaves."""

    def check(self) -> None:
        """Raise ``LeaseExpired`` when it is too late to send."""
        ...


@dataclass(slots=True)
class Call:
    """One call's terms, and the instants the transport stamps on it (monotonic seconds)."""

    priority: Priority = Priority.NORMAL
    guard: Guard | None = None
    is_repeated: bool = False  # its caller asks or tells again: one that hangs is given up early
    handed_s: float | None = None  # given to the pacer
    released_s: float | None = None  # the pacer let it go; bytes follow
    answered_s: float | None = None
    operation: str = ""  # the manifest's name of the last request made for this call


@dataclass(frozen=True, slots=True)
class Account:
    """A seller's credentials on one marketplace, opened. Never logged, never stored like this."""

    account_id: int
    merchant_id: int
    marketplace: str
    base_urls: Mapping[str, str]  # service → base URL without trailing slash
    credentials: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    tier: str = ""


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """The identifiers by which the channel knows a listing; all mutable, all text."""

    barcode: str = ""
    stock_code: str = ""
    remote_id: str = ""  # the channel's own listing or product id
    group_id: str = ""  # variant group / model code


@dataclass(frozen=True, slots=True)
class OfferPush:
    """Absolute values for one listing; None: this field is not part of the push.

    ``key`` is the identifier named by the manifest (``offers.key``); outcomes come back under it.
    """

    key: str
    quantity: int | None = None
    list_price: Money | None = None
    sale_price: Money | None = None


@dataclass(frozen=True, slots=True)
class ItemOutcomes:
    """Per-item results by the key sent. A key that is missing is Unknown to the engine."""

    items: Mapping[str, ItemOutcome]


@dataclass(frozen=True, slots=True)
class TicketOpen:
    """The marketplace is still working on it; ``items`` are those it has already decided."""

    items: Mapping[str, ItemOutcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TicketEnded:
    """All that the ticket will ever say. Keys not named are Unknown."""

    items: Mapping[str, ItemOutcome]


@dataclass(frozen=True, slots=True)
class ObservedOffer:
    """A listing as the channel shows it now."""

    keys: RemoteKeys
    quantity: int | None
    list_price: Money | None
    sale_price: Money | None
    title: str = ""
    state: str = ""  # "on_sale", "off_sale", "pending", "rejected", "archived", "locked", "unknown"
    state_raw: str = ""
    reject_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OfferPage:
    """Some listings of the account; ``next_token`` None: this was the last page."""

    offers: tuple[ObservedOffer, ...]
    next_token: str | None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class CategoryNode:
    """A category of the marketplace; only leaves accept products."""

    category_id: str
    name: str
    parent_id: str | None
    is_leaf: bool


@dataclass(frozen=True, slots=True)
class CategoryAttribute:
    """An attribute of a category. ``values`` may be empty where they are read separately."""

    attribute_id: str
    name: str
    is_required: bool
    is_variant: bool
    is_slicer: bool
    allows_custom: bool
    allows_multiple: bool = False
    values: tuple[tuple[str, str], ...] = ()  # (value id, value name)
    is_brand: bool = False


@dataclass(frozen=True, slots=True)
class BrandEntry:
    """A brand the marketplace knows."""

    brand_id: str
    name: str


@dataclass(frozen=True, slots=True)
class MappedAttribute:
    """An attribute in the marketplace's ids: a value id, or free text where it is allowed."""

    attribute_id: str
    value_id: str | None = None
    custom_value: str | None = None


@dataclass(frozen=True, slots=True)
class ListingContent:
    """Everything needed to create or update one listing, already mapped to their ids."""

    keys: RemoteKeys
    content: Content
    category_id: str
    brand_id: str | None
    brand_name: str
    attributes: tuple[MappedAttribute, ...]
    image_urls: tuple[str, ...]
    vat_percent: Decimal
    desi: Decimal
    quantity: int
    list_price: Money
    sale_price: Money
    handling_days: int
    origin_country: str | None = None


@dataclass(frozen=True, slots=True)
class OrderWindow:
    """Orders last modified in ``[modified_from, modified_to)``, UTC."""

    modified_from: datetime
    modified_to: datetime


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Some orders of a window. ``next_token`` None: this was the last page.

    ``skip_token`` goes on where everything older than this page is known already: a channel that
    reads several newest-first lists one after the other names the next list there.
    """

    orders: tuple[OrderObservation, ...]
    next_token: str | None
    broken: tuple[bytes, ...] = ()  # rows that could not be read, kept raw
    skip_token: str | None = None


@dataclass(frozen=True, slots=True)
class PackageLine:
    """Units of one order line inside an action."""

    line_id: str
    units: int


@dataclass(frozen=True, slots=True)
class PackageRef:
    """What an action on a package needs to name it."""

    order_id: str
    package_id: str
    lines: tuple[PackageLine, ...]
    cargo_code: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A cargo label: the marketplace's own document, or what ours must carry."""

    media_type: str  # "application/zpl", "application/pdf", "text/plain" (cargo code only)
    content: bytes


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """What a webhook delivery must present; made by us at registration, sealed in the store."""

    scheme: str  # "basic" or "api_key"
    username: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class WebhookRegistration:
    """A webhook as the channel knows it."""

    webhook_id: str
    url: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """An incoming request, before anything about it is believed."""

    headers: Mapping[str, str]  # lower-case names
    body: bytes


class Channel(Protocol):
    """One account on one marketplace."""

    @property
    def manifest(self) -> Manifest:
        """Limits and abilities."""
        ...

    # — connection and reference data —
    async def check_credentials(self, call: Call) -> Outcome:
        """A cheap authenticated read: Done, Unauthorized, or a Problem."""
        ...

    async def list_categories(self, call: Call) -> Sequence[CategoryNode] | Problem: ...

    async def list_attributes(
        self, category_id: str, call: Call
    ) -> Sequence[CategoryAttribute] | Problem:
        """Attributes of a leaf with all their values (further pages are read here)."""
        ...

    async def find_brands(self, name: str, call: Call) -> Sequence[BrandEntry] | Problem: ...

    # — listings —
    async def observe_offers(self, keys: Sequence[str], call: Call) -> OfferPage | Problem:
        """The listings with these keys (at most ``offers.observe_batch_max``)."""
        ...

    async def list_offers(self, page_token: str | None, call: Call) -> OfferPage | Problem:
        """Sweep all listings of the account, page by page; None starts."""
        ...

    async def publish(self, items: Sequence[ListingContent], call: Call) -> Outcome | ItemOutcomes:
        """Create listings; usually Accepted(ticket)."""
        ...

    async def update_content(
        self, items: Sequence[ListingContent], call: Call
    ) -> Outcome | ItemOutcomes: ...

    async def close_listings(
        self, keys: Sequence[RemoteKeys], call: Call
    ) -> Outcome | ItemOutcomes: ...

    # — offers —
    async def push_offers(self, pushes: Sequence[OfferPush], call: Call) -> Outcome | ItemOutcomes:
        """Publish absolute values in one request (at most ``offers.batch_max`` items)."""
        ...

    async def poll_ticket(self, reference: str, call: Call) -> TicketOpen | TicketEnded | Problem:
        """Ask what became of an Accepted request. Expired or unknown: ``Unknown("expired")``."""
        ...

    # — orders —
    async def pull_orders(
        self, window: OrderWindow, page_token: str | None, call: Call
    ) -> OrderPage | Problem: ...

    async def pull_order(self, order_id: str, call: Call) -> OrderPage | Problem:
        """Every package of one order; ``is_whole`` is set on the observation."""
        ...

    async def advance_package(
        self, package: PackageRef, to: PackageState, call: Call, *, invoice_number: str = ""
    ) -> Outcome | ItemOutcomes:
        """Report PICKING or INVOICED; items are keyed by line id."""
        ...

    async def cancel_lines(
        self, package: PackageRef, cancelled: Sequence[PackageLine], reason: str, call: Call
    ) -> Outcome | ItemOutcomes:
        """The seller cannot supply these units.

        ``reason``: "out_of_stock", "defective", "wrong_price", "force_majeure", "other".
        """
        ...

    async def split_package(
        self, package: PackageRef, groups: Sequence[Sequence[PackageLine]], call: Call
    ) -> Outcome: ...

    async def ship_own_courier(self, package: PackageRef, tracking: str, call: Call) -> Outcome: ...

    async def fetch_label(self, package: PackageRef, call: Call) -> Label | Problem: ...

    # — webhooks —
    async def register_webhook(
        self, url: str, secret: WebhookSecret, call: Call
    ) -> WebhookRegistration | Problem: ...

    async def list_webhooks(self, call: Call) -> Sequence[WebhookRegistration] | Problem: ...

    async def delete_webhook(self, webhook_id: str, call: Call) -> Outcome: ...

    async def activate_webhook(self, webhook_id: str, call: Call) -> Outcome: ...

    def verify_webhook(self, delivery: WebhookDelivery, secret: WebhookSecret) -> bool:
        """Whether the delivery carries the registered secret (constant-time comparison)."""
        ...

    def parse_webhook(self, delivery: WebhookDelivery) -> OrderPage | Problem:
        """The orders a verified delivery speaks of."""
        ...


# — kept places: later issues implement these; a marketplace folder opts in by implementing one —


class ReturnsChannel(Protocol):
    """Returns (claims) of an account."""

    async def pull_returns(
        self, window: OrderWindow, page_token: str | None, call: Call
    ) -> object: ...

    async def decide_return(self, return_id: str, decision: object, call: Call) -> Outcome: ...


class QuestionsChannel(Protocol):
    """Buyers' questions."""

    async def pull_questions(self, page_token: str | None, call: Call) -> object: ...

    async def answer_question(self, question_id: str, text: str, call: Call) -> Outcome: ...


class SettlementsChannel(Protocol):
    """Statements of sales and fees, and payouts."""

    async def pull_settlements(
        self, window: OrderWindow, page_token: str | None, call: Call
    ) -> object: ...


class InvoicesChannel(Protocol):
    """The merchant's invoices, attached to packages."""

    async def attach_invoice(self, package: PackageRef, invoice: object, call: Call) -> Outcome: ...
