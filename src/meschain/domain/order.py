"""Orders as a channel shows them, the neutral states, and which transitions are legal.

An *observation* is what one reply or webhook says, already in our words. Amounts per unit are
exact decimals in major units, since marketplaces state unit prices finer than the minor unit;
totals are rounded once, where the document is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class PackageState(StrEnum):
    """Neutral state of a package. Foreign states that no mapping names have no member: None."""

    HELD = "held"  # payment or fraud check: reserves stock, must not ship
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
    SUPERSEDED = "superseded"  # broken up; its lines live on in other packages


class StockEffect(StrEnum):
    """What the state of a package means for its units."""

    RESERVE = "reserve"
    CONSUME = "consume"  # the units have left: reservation becomes a sale
    RELEASE = "release"
    NONE = "none"  # superseded: the successor speaks for the units


STOCK_EFFECT: Mapping[PackageState, StockEffect] = {
    PackageState.HELD: StockEffect.RESERVE,
    PackageState.CREATED: StockEffect.RESERVE,
    PackageState.PICKING: StockEffect.RESERVE,
    PackageState.INVOICED: StockEffect.RESERVE,
    PackageState.SHIPPED: StockEffect.CONSUME,
    PackageState.AT_COLLECTION_POINT: StockEffect.CONSUME,
    PackageState.DELIVERED: StockEffect.CONSUME,
    PackageState.UNDELIVERED: StockEffect.CONSUME,
    PackageState.RETURNED: StockEffect.CONSUME,  # goods come back by a counted return, not by this
    PackageState.CANCELLED: StockEffect.RELEASE,
    PackageState.UNSUPPLIED: StockEffect.RELEASE,
    PackageState.SUPERSEDED: StockEffect.NONE,
}

_OPEN = frozenset(
    {PackageState.HELD, PackageState.CREATED, PackageState.PICKING, PackageState.INVOICED}
)
_ENDED_UNSHIPPED = frozenset(
    {PackageState.CANCELLED, PackageState.UNSUPPLIED, PackageState.SUPERSEDED}
)
_AWAY = frozenset(
    {
        PackageState.SHIPPED,
        PackageState.AT_COLLECTION_POINT,
        PackageState.DELIVERED,
        PackageState.UNDELIVERED,
        PackageState.RETURNED,
    }
)
# A pull may miss steps between two looks, so every later step of the same road is legal.
LEGAL_TRANSITIONS: Mapping[PackageState, frozenset[PackageState]] = {
    PackageState.HELD: (_OPEN - {PackageState.HELD}) | _AWAY | _ENDED_UNSHIPPED,
    PackageState.CREATED: frozenset({PackageState.PICKING, PackageState.INVOICED})
    | _AWAY
    | _ENDED_UNSHIPPED,
    PackageState.PICKING: frozenset({PackageState.INVOICED}) | _AWAY | _ENDED_UNSHIPPED,
    PackageState.INVOICED: _AWAY | _ENDED_UNSHIPPED,
    PackageState.SHIPPED: _AWAY - {PackageState.SHIPPED},
    PackageState.AT_COLLECTION_POINT: frozenset(
        {PackageState.DELIVERED, PackageState.UNDELIVERED, PackageState.RETURNED}
    ),
    PackageState.UNDELIVERED: frozenset(
        {PackageState.DELIVERED, PackageState.RETURNED, PackageState.AT_COLLECTION_POINT}
    ),
    PackageState.DELIVERED: frozenset({PackageState.RETURNED}),
    PackageState.RETURNED: frozenset(),
    PackageState.CANCELLED: frozenset(),
    PackageState.UNSUPPLIED: frozenset(),
    PackageState.SUPERSEDED: frozenset(),
}


def is_legal_transition(before: PackageState | None, after: PackageState) -> bool:
    """Whether a package may go from ``before`` (None: first seen, or unknown) to ``after``."""
    return before is None or before is after or after in LEGAL_TRANSITIONS[before]


class CargoPayer(StrEnum):
    """Who pays the carrier."""

    SELLER = "seller"
    MARKETPLACE = "marketplace"
    BUYER = "buyer"


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address as the channel gives it; absent parts are empty strings."""

    full_name: str = ""
    company: str = ""
    street: str = ""
    neighborhood: str = ""
    district: str = ""
    city: str = ""
    postal_code: str = ""
    country_code: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Buyer:
    """The buyer and what an invoice to them must carry."""

    external_id: str = ""
    full_name: str = ""
    email: str = ""
    is_company: bool = False
    company_name: str = ""
    tax_office: str = ""
    tax_number: str = ""  # a company's tax number
    identity_number: str = ""  # a person's national number


@dataclass(frozen=True, slots=True)
class LineObservation:
    """One SKU in one package. All ``unit_*`` amounts are per unit, in major units, VAT included.

    ``payable`` is the exact sum over all units of what the buyer's invoice carries: gross minus
    the seller's discounts (a discount that the marketplace pays is not the seller's to deduct).
    """

    external_id: str
    sku: str
    barcode: str
    title: str
    quantity: int
    unit_gross: Decimal
    unit_seller_discount: Decimal
    unit_marketplace_discount: Decimal
    payable: Decimal
    vat_percent: Decimal | None
    commission_percent: Decimal | None
    state_raw: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PackageObservation:
    """One package as observed. ``state`` is None when the mapping does not know ``state_raw``."""

    external_id: str
    state: PackageState | None
    state_raw: str
    modified_at: datetime
    lines: tuple[LineObservation, ...]
    carrier: str = ""
    cargo_code: str = ""  # the code on the label that the carrier scans
    tracking_number: str = ""
    tracking_url: str = ""
    desi: Decimal | None = None
    cargo_payer: CargoPayer | None = None
    origin_package_ids: tuple[str, ...] = ()
    total: Decimal | None = None  # the package's own stated total, to check the lines against
    ship_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class OrderObservation:
    """What one read says of one order: its head and whole packages, perhaps not all packages."""

    external_id: str
    placed_at: datetime
    currency: str
    packages: tuple[PackageObservation, ...]
    buyer: Buyer
    shipping_address: Address
    invoice_address: Address
    micro_export: bool = False
    payment_method: str = ""
    is_whole: bool = False  # True when the read covered every package of the order
    unknown_fields: Mapping[str, object] = field(default_factory=dict)
    raw: bytes = b""
