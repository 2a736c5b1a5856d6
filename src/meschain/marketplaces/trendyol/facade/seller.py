"""One seller's account as the marketplace keeps it beside the world's shop."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meschain.sandbox.world import Parcel, Shelf, ShelfState, Shop

if TYPE_CHECKING:
    from meschain.marketplaces.trendyol.facade.batch import Batch
    from meschain.marketplaces.trendyol.facade.package import PackageLog
    from meschain.marketplaces.trendyol.facade.webhook import Webhook

APPROVED_STATES: Final = frozenset({ShelfState.ON_SALE, ShelfState.ARCHIVED})


@dataclass(frozen=True, slots=True)
class ChosenValue:
    """One attribute value of a product: known by id, or free text."""

    attribute_id: int
    value_id: int | None
    text: str


@dataclass(slots=True)
class Card:
    """What the marketplace knows of a listing beyond what buyers' economy needs."""

    shelf: Shelf
    product_main_id: str
    description: str
    brand_id: int
    category_id: int
    images: tuple[str, ...]
    attributes: tuple[ChosenValue, ...]
    dimensional_weight: Decimal = Decimal(1)
    delivery_duration: int | None = None
    origin: str | None = None
    lot_number: str | None = None
    shipment_address_id: int | None = None
    returning_address_id: int | None = None
    cargo_providers: tuple[str, ...] = ()
    location_based_delivery: str | None = None
    channels: tuple[str, ...] = ("CORE",)
    content: Content | None = None
    review_number: int = 0  # each submission for approval gets the next one
    approved_at: datetime | None = None
    archived_at: datetime | None = None
    price_changed_at: datetime | None = None
    stock_changed_at: datetime | None = None
    lock_reason: str | None = None
    locked_at: datetime | None = None


@dataclass(slots=True)
class Content:
    """A product page: variants of one model and one choice of slicer values (fact sheet 3.1)."""

    content_id: int
    product_main_id: str
    title: str
    description: str
    brand_id: int
    category_id: int
    images: tuple[str, ...]
    attributes: tuple[ChosenValue, ...]  # without those that tell its variants apart
    created_at: datetime
    modified_at: datetime
    cards: dict[str, Card] = field(default_factory=dict)  # by barcode


@dataclass(slots=True)
class ContentAudit:
    """A content update in quality control (fact sheet 3.4, second approval stage)."""

    content_id: int
    barcode: str
    batch_request_id: str
    requested_at: datetime
    kinds: tuple[str, ...]
    status: str = "RUNNING"
    completed_at: datetime | None = None


@dataclass(slots=True)
class PackageFacts:
    """What the façade keeps of a parcel beside the world: which units, where from, which label."""

    units: dict[int, tuple[int, ...]]  # line id → positions of its units in the order line
    warehouse_id: int | None = None
    box_quantity: int | None = None
    extended_days: int = 0
    label_boxes: int = 0  # 0: no label asked for yet


@dataclass(slots=True)
class StreamCursor:
    """Where a stream read stands, and the filters it belongs to."""

    filters: tuple[str, ...]
    start_ms: int
    end_ms: int
    position: int


@dataclass(slots=True)
class Seller:
    """Everything the marketplace holds of one seller."""

    shop: Shop
    number: int  # sellerId as the integer that payloads carry
    log: PackageLog
    cards: dict[str, Card] = field(default_factory=dict)
    contents: dict[int, Content] = field(default_factory=dict)  # content ids only ever grow
    content_of: dict[tuple[object, ...], Content] = field(default_factory=dict)
    audits: list[ContentAudit] = field(default_factory=list)
    batches: dict[str, Batch] = field(default_factory=dict)
    batch_free_s: float = 0.0  # with batch_order=sent: when the last accepted batch is applied
    bodies: dict[bytes, float] = field(default_factory=dict)  # digest → when it was accepted
    price_updates: dict[str, tuple[float, ...]] = field(default_factory=dict)
    parcels: dict[int, PackageFacts] = field(default_factory=dict)
    cursors: dict[str, StreamCursor] = field(default_factory=dict)
    webhooks: dict[str, Webhook] = field(default_factory=dict)

    def parcel(self, package_id: int) -> Parcel | None:
        return self.shop.parcels.get(package_id)
