"""Abilities and limits of a marketplace as data, read from its ``manifest.toml``.

The engine asks these values and never the marketplace's name. Every limit carries its source
and how sure it is ("A" official text … "D" derived, "U" unconfirmed: our own cautious choice).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

Confidence = Literal["A", "B", "C", "D", "U"]


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the marketplace is."""

    name: str
    title: str
    countries: tuple[str, ...]
    currencies: tuple[str, ...]
    languages: tuple[str, ...]
    time_zone: str
    read_on: date


class Credential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing the merchant must give; its text is ``credential.<marketplace>.<name>``."""

    name: str
    secret: bool = True


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most ``limit[tier]`` calls in any ``window_s`` seconds, shared by all member operations.

    ``scope``: "account", "merchant", "application" or "egress_ip". A tier missing in ``limit``
    has no limit. ``per`` "operation" gives every member operation its own bucket of this size.
    """

    group: str
    window_s: float
    limit: dict[str, int]
    source: str
    confidence: Confidence
    scope: Literal["account", "merchant", "application", "egress_ip"] = "account"
    per: Literal["group", "operation"] = "group"


class Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of the marketplace's API, under the name used in ``HttpRequest.operation``.

    ``push_offers``, ``poll_ticket`` and ``pull_orders`` are fixed names: the engine sizes its
    claims and slows down by them. All others are the folder's own.

    ``surface`` names the write surface (lane) it can touch, None for reads. ``critical`` calls
    may use the part of a budget kept for them. ``min_interval_s`` spaces calls of one account.
    """

    quotas: tuple[str, ...] = ()
    surface: str | None = None
    critical: bool = False
    idempotent: bool = True
    timeout_s: float = 30.0
    min_interval_s: float = 0.0
    source: str = ""


class OfferLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How prices and quantities are pushed and read back."""

    key: Literal["barcode", "stock_code"]
    fields: tuple[str, ...]  # of "quantity", "price"
    separate_fields: bool  # False: a body must carry all fields of the listing
    price_kinds: tuple[str, ...]  # of "list", "sale", …; sent together
    batch_max: int
    quantity_max: int
    ticket: bool
    tickets_ordered: bool  # True only where tickets are known to apply in the order sent
    ticket_retention_s: float
    ticket_stuck_s: float
    ticket_poll_s: tuple[float, ...]  # waits before the 1st, 2nd, … poll; the last one repeats
    apply_s_max: float  # longest time from acceptance to the shelf that is known
    # How much later than the shelf a read may be. U where a manifest is silent: our own choice.
    read_lag_s: float = 20.0
    identical_body_refused_s: float = 0.0
    item_price_updates_per_minute: int | None = None
    observe_batch_max: int = 1
    shelf_decrement: Literal["at_order", "at_payment", "never", "unknown"]
    shelf_restock_on_cancel: Literal["yes", "no", "unknown"]
    source: str


class CatalogLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How products are published and read.

    What is not documented of images is not asked of them: 0, None or False.
    """

    batch_max: int
    title_length_max: int
    title_length_min: int = 0
    description_length_max: int
    images_max: int
    images_https: bool = False
    image_bytes_max: int | None = None
    image_width_px_min: int = 0
    image_height_px_min: int = 0
    page_size_max: int
    vat_percents: tuple[int, ...]
    source: str


class OrderLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How orders are found."""

    webhook: bool
    webhook_max: int = 0
    poll_interval_s: float  # with nothing known to be waiting
    poll_interval_s_min: float  # never faster than this
    window_s_max: float
    history_s_max: float
    overlap_s: float
    page_size_max: int
    pages_max: int  # a read that needs more pages is cut into smaller windows
    newest_first: bool = False  # True: a page older than what is known ends the read
    horizon_s: float = 0.0  # how far beyond now the window must reach (clock doubts)
    personal_days_max: int | None = None  # buyers' data may be kept so long; None: not stated
    source: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the engine may know of a marketplace."""

    identity: Identity
    hosts: dict[str, dict[str, str]]  # "live" / "stage" → service → base URL
    credentials: tuple[Credential, ...]
    tiers: tuple[str, ...]
    default_tier: str
    quotas: tuple[Quota, ...]
    operations: dict[str, Operation]
    offers: OfferLimits
    catalog: CatalogLimits
    orders: OrderLimits
    states: dict[str, str]  # marketplace's package state → PackageState value
    lacks: dict[str, str]  # neutral operation → message key: what the merchant does instead


def load_manifest(path: Path) -> Manifest:
    """The manifest at ``path``; raises ``msgspec.ValidationError`` naming the wrong key."""
    return msgspec.toml.decode(path.read_bytes(), type=Manifest)
