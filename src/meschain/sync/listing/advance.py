"""Bring publications on: poll their tickets, look where nobody can say, see what was approved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meschain.channel.contract import OfferPage, TicketEnded, TicketOpen
from meschain.channel.outcome import Refused, Unknown
from meschain.sync.listing.publish import answer
from meschain.sync.listing.storefront import LISTINGS_PER_CHUNK, chunks, document, spoken

if TYPE_CHECKING:
    from meschain.channel.contract import ObservedOffer
    from meschain.channel.outcome import Problem
    from meschain.sync.listing.storefront import Storefront

_TICKETS_MAX: Final = 200
_LOOKS_MAX: Final = 1_000  # listings looked for in one round, key by key
_SWEPT_MAX: Final = 50_000  # the same where a sweep meets them all anyway
_UNANSWERED: Final = 1  # ticket.state


@dataclass(slots=True)
class AdvanceReport:
    """What became of publications in this round.

    ``states``: listings by the state they came into. ``again``: not found on the channel, so they
    are drafts once more. ``open``: listings that still wait for the marketplace, whatever ended the
    round. A ``problem`` ended it early.
    """

    states: Counter[str] = field(default_factory=Counter)
    again: int = 0
    open: int = 0
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class _Ticket:
    ticket_id: int
    state: int
    reference: str
    listing_ids: Sequence[int]
    send_by_us: int
    accepted_us: int


async def advance_publications(storefront: Storefront) -> AdvanceReport:
    """One round; call it again while ``open`` is not 0, at the pace of ``ticket_poll_s``."""
    report = AdvanceReport()
    async with storefront.database.merchant(storefront.merchant_id) as unit:
        rows = await unit.rows("listing.content_tickets", storefront.key | {"limit": _TICKETS_MAX})
        orphans = await unit.rows("listing.orphans", storefront.key | {"limit": _LOOKS_MAX})
        ground = await unit.row(
            "catalog.ground", {"merchant": storefront.merchant_id, "location": None}
        )
    assert ground is not None
    round_ = _Round(storefront, report, ground[0])
    await round_.go([_Ticket(*row) for row in rows], dict(orphans))
    # Counted, not summed up on the way: a round looks at a bounded part, and may end early.
    async with storefront.database.merchant(storefront.merchant_id) as unit:
        counted = await unit.row("listing.count_open", storefront.key)
    assert counted is not None
    report.open = counted[0]
    return report


@dataclass(frozen=True, slots=True)
class _Round:
    storefront: Storefront
    report: AdvanceReport
    currency: str

    async def go(self, tickets: Sequence[_Ticket], orphans: Mapping[str, int]) -> None:
        """Until the end, or until the marketplace does not answer."""
        for ticket in tickets:
            await self.advance(ticket)
            if self.report.problem is not None:
                return
        await self.look(None, orphans)
        if self.report.problem is None:
            await self.approve()

    async def advance(self, ticket: _Ticket) -> None:
        """Poll a ticket, or look for what an unanswered request may have made."""
        now_us = int(str(self.storefront.at["now_us"]))
        if ticket.state == _UNANSWERED:
            if ticket.send_by_us <= now_us:
                await self.look(ticket.ticket_id, await self._keys(ticket))
            return
        reply = await spoken(
            self.storefront.channel.poll_ticket(ticket.reference, self.storefront.call())
        )
        limits = self.storefront.manifest.offers
        limit_us = int(min(limits.ticket_stuck_s, limits.ticket_retention_s) * 1_000_000)
        is_stuck = now_us - ticket.accepted_us > limit_us
        match reply:
            case TicketEnded(items=items):
                keys = await self._keys(ticket)
                await answer(self.storefront, ticket.ticket_id, keys, items)
                self._count(items, keys)
            case Refused(code="REJECT"):
                # The request as a whole was refused: nothing of it was applied.
                keys = await self._keys(ticket)
                refused = dict.fromkeys(keys, reply)
                await answer(self.storefront, ticket.ticket_id, keys, refused)
                self._count(refused, keys)
            case Unknown(evidence="expired"):
                await self.look(ticket.ticket_id, await self._keys(ticket))
            case TicketOpen() if is_stuck:
                await self.look(ticket.ticket_id, await self._keys(ticket))
            case TicketOpen():
                pass
            case _:
                self.report.problem = reply

    def _count(self, items: Mapping[str, object], keys: Mapping[str, int]) -> None:
        for key in keys:
            if key in items and not isinstance(items[key], Unknown):
                state = "rejected" if isinstance(items[key], Refused) else "pending"
                self.report.states[state] += 1

    async def _keys(self, ticket: _Ticket) -> dict[str, int]:
        """Push key → listing, of those that still wait for this answer."""
        async with self.storefront.database.merchant(self.storefront.merchant_id) as unit:
            rows = await unit.rows(
                "listing.push_keys", self.storefront.key | {"listings": list(ticket.listing_ids)}
            )
        return dict(rows)

    async def look(self, ticket_id: int | None, keys: Mapping[str, int]) -> None:
        """Creating is not idempotent: what the channel has is kept, the rest is drafted again."""
        seen = await self.storefront.observe(sorted(keys))
        if not isinstance(seen, dict):
            self.report.problem = seen
            return
        found = {keys[key]: offer for key, offer in seen.items() if key in keys}
        at = self.storefront.at
        # A correction that was lost: the same content may be sent again.
        lost = {
            listing: "rejected" for listing, offer in found.items() if offer.state == "rejected"
        }
        absent = {listing: "draft" for listing in keys.values() if listing not in found}
        rows = [
            {"listing_id": listing, "state": state, "problems": [], "forget": True}
            for listing, state in (absent | lost).items()
        ]
        async with self.storefront.database.merchant(self.storefront.merchant_id) as unit:
            await unit.run("listing.answer", at | {"rows": document(rows)})
            await self.storefront.tell(unit, "listing.state", absent)
            moves = await self.storefront.record(unit, list(found.items()), self.currency)
            if ticket_id is not None:
                await unit.run(
                    "listing.end_ticket", at | {"ticket": ticket_id, "outcome": "unknown"}
                )
        self.report.states.update(after for _, after in moves.values())
        self.report.again += len(absent)

    async def approve(self) -> None:
        """See what became of listings that wait for the marketplace's approval.

        Key by key or page by page, whichever costs fewer requests. A sweep also says what a look
        by key may not: whether an approved listing is on sale.
        """
        storefront = self.storefront
        async with storefront.database.merchant(storefront.merchant_id) as unit:
            rows = await unit.rows("listing.pending", storefront.key | {"limit": _LOOKS_MAX})
            counted = await unit.row("listing.count_listed", storefront.key)
        assert counted is not None
        keys: dict[str, int] = dict(rows)
        if not keys:
            return
        limits = storefront.manifest
        by_key = -(-len(keys) // limits.offers.observe_batch_max)
        by_page = -(-int(counted[0]) // limits.catalog.page_size_max) + 1
        is_swept = by_page <= by_key
        if is_swept and len(rows) == _LOOKS_MAX:
            async with storefront.database.merchant(storefront.merchant_id) as unit:
                rows = await unit.rows("listing.pending", storefront.key | {"limit": _SWEPT_MAX})
            keys = dict(rows)
        seen = await (self._sweep(keys) if is_swept else storefront.observe(sorted(keys)))
        if not isinstance(seen, dict):
            self.report.problem = seen
            return
        found = [(keys[key], offer) for key, offer in seen.items() if key in keys]
        for part in chunks(found, LISTINGS_PER_CHUNK):
            async with storefront.database.merchant(storefront.merchant_id) as unit:
                moves = await storefront.record(unit, part, self.currency)
            self.report.states.update(after for before, after in moves.values() if before != after)
        absent = sorted(set(keys.values()) - {listing for listing, _ in found})
        async with storefront.database.merchant(storefront.merchant_id) as unit:
            await unit.run("listing.looked", storefront.at | {"listings": absent})

    async def _sweep(self, keys: Mapping[str, int]) -> dict[str, ObservedOffer] | Problem:
        """Pages until all keys were met, or to the end."""
        seen: dict[str, ObservedOffer] = {}
        async for page in self.storefront.sweep():
            if not isinstance(page, OfferPage):
                return page
            for offer in page.offers:
                key = self.storefront.push_key(offer.keys)
                if key in keys:
                    seen.setdefault(key, offer)
            if len(seen) == len(keys):
                break
        return seen
