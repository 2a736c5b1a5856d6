"""One account whose listings are worked on: how it is spoken to, and how what it shows is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, LeaseExpired, OfferPage, Priority
from meschain.channel.outcome import ContractBroken, NotSent

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from meschain.channel.capability import Manifest
    from meschain.channel.clock import Clock
    from meschain.channel.contract import Channel, Guard, ObservedOffer, RemoteKeys
    from meschain.channel.outcome import Problem
    from meschain.domain.money import Money
    from meschain.store.unit_of_work import Database, UnitOfWork

SWEEP_PAGES_MAX: Final = 20_000
LISTINGS_PER_CHUNK: Final = 1_000
PUSHABLE: Final = frozenset({"on_sale", "off_sale"})
"""States in which a listing takes prices and quantities."""

_OBSERVED: Final = frozenset({"on_sale", "off_sale", "pending", "rejected", "archived", "locked"})
_NOT_YET_THERE: Final = frozenset({"draft", "sent", "pending", "rejected"})

_T = TypeVar("_T")


class ListingProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a listing is not on sale: a message key of ours, or the marketplace's own words."""

    key: str
    params: dict[str, str] = {}
    words: str = ""
    advice: str = ""


def next_state(state: str, observed: str) -> str:
    """The listing's state after a look.

    A channel that shows a listing without saying whether it is on sale has it; then prices and
    quantities are kept up (a sale may happen), and it counts as off sale until a look says more.
    """
    if observed in _OBSERVED:
        return observed
    return "off_sale" if state in _NOT_YET_THERE else state


@dataclass(frozen=True, slots=True, kw_only=True)
class Storefront:
    """``guard`` and ``epoch`` are those of the lease, where a hub speaks for the account.

    ``images_url``: under which marketplaces reach this hub, which then serves them what is kept of
    images; None: they can be told the images' own addresses only.
    """

    database: Database
    channel: Channel
    clock: Clock
    merchant_id: int
    account_id: int
    settings: Mapping[str, str] = field(default_factory=dict)
    guard: Guard | None = None
    epoch: int = 0
    images_url: str | None = None

    @property
    def manifest(self) -> Manifest:
        """Limits and abilities of the marketplace."""
        return self.channel.manifest

    @property
    def key(self) -> dict[str, object]:
        """What every query names."""
        return {"merchant": self.merchant_id, "account": self.account_id}

    @property
    def at(self) -> dict[str, object]:
        """The same with the present instant."""
        now = self.clock.now()
        return self.key | {"now": now, "now_us": microseconds(now)}

    def push_key(self, keys: RemoteKeys) -> str:
        """The identifier under which the marketplace takes offers."""
        return keys.barcode if self.manifest.offers.key == "barcode" else keys.stock_code

    def call(self, priority: Priority = Priority.BULK) -> Call:
        """The terms of one call."""
        return Call(priority, guard=self.guard)

    async def sweep(self) -> AsyncIterator[OfferPage | Problem]:
        """All pages of the account's listings; a problem is the last thing given."""
        token: str | None = None
        for _ in range(SWEEP_PAGES_MAX):
            page = await spoken(self.channel.list_offers(token, self.call()))
            yield page
            if not isinstance(page, OfferPage) or page.next_token is None:
                return
            token = page.next_token
        yield ContractBroken(f"more than {SWEEP_PAGES_MAX} pages of listings", b"")

    async def observe(self, keys: Sequence[str]) -> dict[str, ObservedOffer] | Problem:
        """What the channel shows for these keys; absent: it does not have them."""
        seen: dict[str, ObservedOffer] = {}
        for part in chunks(keys, self.manifest.offers.observe_batch_max):
            page = await spoken(self.channel.observe_offers(part, self.call()))
            if not isinstance(page, OfferPage):
                return page
            seen |= {self.push_key(offer.keys): offer for offer in page.offers}
        return seen

    async def record(
        self, unit: UnitOfWork, seen: Sequence[tuple[int, ObservedOffer]], currency: str
    ) -> dict[int, tuple[str, str]]:
        """Keep what a look showed of listings; returns listing → (state before, state now).

        What has just become pushable gets its offers opened: an account's read-only state keeps
        anything from being sent.
        """
        at = self.at
        offers = dict(seen)
        before: dict[int, str] = dict(
            await unit.rows("listing.lock_states", {**at, "listings": sorted(offers)})
        )
        moves = {
            listing_id: (state, next_state(state, offers[listing_id].state))
            for listing_id, state in before.items()
            if state != "closed"
        }
        rows = [
            {
                "listing_id": listing_id,
                "state": after,
                "state_raw": offers[listing_id].state_raw,
                "problems": _rejections(offers[listing_id]) if after == "rejected" else [],
            }
            for listing_id, (_, after) in moves.items()
        ]
        await unit.run("listing.observe", at | {"rows": document(rows)})
        pushable = [listing_id for listing_id, (_, after) in moves.items() if after in PUSHABLE]
        if pushable:
            held = [_held(listing_id, offers[listing_id], currency) for listing_id in pushable]
            await unit.run(
                "listing.put_observed",
                at | {"rows": document(held), "observed_us": at["now_us"]},
            )
        opened = [each for each in pushable if moves[each][0] not in PUSHABLE]
        if opened:
            row = await unit.row("listing.open_offers", at | {"listings": opened})
            assert row is not None
            unit.wake(row[0])
            await unit.run("listing.rank_offers", at | {"listings": opened})
        changed = {key: after for key, (state, after) in moves.items() if state != after}
        await self.tell(unit, "listing.state", changed)
        return moves

    async def tell(self, unit: UnitOfWork, kind: str, states: Mapping[int, str]) -> None:
        """One event for listings that came into new states."""
        if states:
            facts = {"listings": list(states), "states": list(states.values())}
            await unit.run(
                "listing.add_event",
                self.at | {"kind": kind, "facts": document(facts)},
            )


async def spoken(answer: Awaitable[_T]) -> _T | NotSent:
    """The channel's answer; where the lease ran out before anything left, that."""
    try:
        return await answer
    except LeaseExpired:
        return NotSent("lease_expired")


def chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """``size`` items at a time."""
    supply = iter(items)
    while part := list(islice(supply, size)):
        yield part


def document(value: object) -> str:
    """A JSON parameter."""
    return msgspec.json.encode(value).decode()


def _rejections(offer: ObservedOffer) -> list[ListingProblem]:
    words = offer.reject_reasons or ("",)
    return [ListingProblem("listing.rejected", words=each) for each in words]


def _held(listing_id: int, offer: ObservedOffer, currency: str) -> dict[str, object]:
    return {
        "listing_id": listing_id,
        "quantity": offer.quantity,
        "list_minor": _minor(offer.list_price, currency),
        "sale_minor": _minor(offer.sale_price, currency),
    }


def _minor(price: Money | None, currency: str) -> int | None:
    """In the merchant's currency; an amount in another one could not be compared."""
    return price.minor if price is not None and price.currency == currency else None
