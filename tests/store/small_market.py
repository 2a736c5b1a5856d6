"""A small channel for tests of linking and publishing: what it shows, and how it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from meschain.channel.capability import Manifest
from meschain.channel.contract import (
    Call,
    CategoryAttribute,
    ItemOutcomes,
    ListingContent,
    ObservedOffer,
    OfferPage,
    RemoteKeys,
    TicketEnded,
    TicketOpen,
)
from meschain.channel.outcome import Accepted, Outcome, Problem
from meschain.domain.money import Money
from meschain.testing.shop import NOW

MANIFEST = msgspec.convert(
    {
        "identity": {
            "name": "pazar",
            "title": "Pazar",
            "countries": ["TR"],
            "currencies": ["TRY"],
            "languages": ["tr"],
            "time_zone": "Europe/Istanbul",
            "read_on": "2026-10-09",
        },
        "hosts": {},
        "credentials": [],
        "tiers": ["one"],
        "default_tier": "one",
        "quotas": [],
        "operations": {},
        "offers": {
            "key": "barcode",
            "fields": ["quantity", "price"],
            "separate_fields": True,
            "price_kinds": ["list", "sale"],
            "batch_max": 100,
            "quantity_max": 1000,
            "ticket": True,
            "tickets_ordered": False,
            "ticket_retention_s": 14_400,
            "ticket_stuck_s": 900,
            "ticket_poll_s": [1],
            "apply_s_max": 60,
            "observe_batch_max": 2,
            "shelf_decrement": "at_order",
            "shelf_restock_on_cancel": "unknown",
            "source": "test",
        },
        "catalog": {
            "batch_max": 2,
            "title_length_max": 40,
            "title_length_min": 5,
            "description_length_max": 100,
            "images_max": 1,
            "page_size_max": 10,
            "vat_percents": [0, 1, 10, 20],
            "source": "test",
        },
        "orders": {
            "webhook": False,
            "poll_interval_s": 1,
            "poll_interval_s_min": 1,
            "window_s_max": 1,
            "history_s_max": 1,
            "overlap_s": 1,
            "page_size_max": 1,
            "pages_max": 1,
            "source": "test",
        },
        "states": {},
        "lacks": {},
    },
    Manifest,
)
ATTRIBUTES = (
    CategoryAttribute(
        "47", "Renk", is_required=True, is_variant=False, is_slicer=True, allows_custom=True
    ),
    CategoryAttribute(
        "338", "Beden", is_required=True, is_variant=True, is_slicer=False, allows_custom=False
    ),
    CategoryAttribute(
        "14", "Materyal", is_required=False, is_variant=False, is_slicer=False, allows_custom=False
    ),
)
MAPPING = (
    ("category", "", "Giyim > Kazak", "607", ""),
    ("brand", "", "Işılbez", "11073", "Işıl Tekstil"),
    ("attribute", "", "Renk", "47", ""),
    ("attribute", "607", "Beden", "338", ""),
    ("value", "/47", "Lacivert", "1005", ""),
    ("value", "/47", "Gül Kurusu", "", "Gül kurusu"),
    ("value", "607/338", "M", "1031", ""),
)


@dataclass(slots=True)
class HandClock:
    """Moves only when told."""

    instant: datetime = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        del seconds


@dataclass(slots=True)
class Market:
    """The channel: what it shows, and how it answers. ``on_send`` is called before each send."""

    offers: dict[str, ObservedOffer] = field(default_factory=dict)
    manifest: Manifest = MANIFEST
    page_size: int = 2
    broken_page: Problem | None = None
    answers: list[Outcome | ItemOutcomes] = field(default_factory=list)
    polls: list[TicketOpen | TicketEnded | Problem] = field(default_factory=list)
    sent: list[tuple[str, tuple[ListingContent, ...]]] = field(default_factory=list)
    on_send: Callable[[], None] = lambda: None
    shows_state_by_key: bool = True
    calls: list[str] = field(default_factory=list)

    def show(self, *offers: ObservedOffer) -> None:
        for offer in offers:
            self.offers[offer.keys.barcode or offer.keys.stock_code] = offer

    async def list_offers(self, page_token: str | None, call: Call) -> OfferPage | Problem:
        del call
        self.calls.append("list_offers")
        start = int(page_token or 0)
        rows = list(self.offers.values())
        if start and self.broken_page is not None:
            return self.broken_page
        end = start + self.page_size
        token = str(end) if end < len(rows) else None
        return OfferPage(tuple(rows[start:end]), token)

    async def observe_offers(self, keys: Sequence[str], call: Call) -> OfferPage | Problem:
        del call
        assert len(keys) <= self.manifest.offers.observe_batch_max
        self.calls.append("observe_offers")
        found = [self.offers[key] for key in keys if key in self.offers]
        if not self.shows_state_by_key:
            found = [replace(offer, state="unknown", state_raw="approved") for offer in found]
        return OfferPage(tuple(found), None)

    async def list_attributes(
        self, category_id: str, call: Call
    ) -> Sequence[CategoryAttribute] | Problem:
        del call
        self.calls.append(f"list_attributes {category_id}")
        return ATTRIBUTES

    async def publish(self, items: Sequence[ListingContent], call: Call) -> Outcome | ItemOutcomes:
        return await self._send("publish", items, call)

    async def update_content(
        self, items: Sequence[ListingContent], call: Call
    ) -> Outcome | ItemOutcomes:
        return await self._send("update", items, call)

    async def _send(
        self, name: str, items: Sequence[ListingContent], call: Call
    ) -> Outcome | ItemOutcomes:
        if call.guard is not None:
            call.guard.check()
        self.on_send()
        self.sent.append((name, tuple(items)))
        return self.answers.pop(0) if self.answers else Accepted(f"t{len(self.sent)}")

    async def poll_ticket(self, reference: str, call: Call) -> TicketOpen | TicketEnded | Problem:
        del reference, call
        self.calls.append("poll_ticket")
        return self.polls.pop(0) if self.polls else TicketOpen()


def offer(barcode: str, stock_code: str = "", **shown: object) -> ObservedOffer:
    plain = ObservedOffer(
        keys=RemoteKeys(barcode=barcode, stock_code=stock_code, remote_id=f"r{barcode}"),
        quantity=5,
        list_price=Money(12_000, "TRY"),
        sale_price=Money(10_000, "TRY"),
        state="on_sale",
        state_raw="onSale",
    )
    return replace(plain, **shown)  # type: ignore[arg-type]
