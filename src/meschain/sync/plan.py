"""Pure planning: claimed values become requests, answers become verdicts by item."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from meschain.channel.contract import ItemOutcomes, OfferPush
from meschain.channel.outcome import (
    Accepted,
    ContractBroken,
    Done,
    NotSent,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.domain.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meschain.channel.outcome import ItemOutcome, Outcome


class Verdict(IntEnum):
    """How an item of a ticket ends; the numbers are those of ``end_tickets``."""

    DONE = 0
    REFUSED = 1
    UNKNOWN = 2
    AGAIN = 3
    ARRIVED = 4  # unknown, with evidence that it arrived: look before anything else
    HALVES = 5  # refused with all others of its request: told again in halves


class ClaimedItem(NamedTuple):
    """A row of ``claim_offers``; None: this field is not part of the push. Times in µs."""

    ticket_id: int
    merchant_id: int
    account_id: int
    listing_id: int
    push_key: str
    quantity: int | None
    list_minor: int | None
    sale_minor: int | None
    floor_minor: int | None
    urgency: int
    since_us: int


@dataclass(slots=True)
class Exceptions:
    """Items that end differently from their ticket, as the parallel arrays of ``end_tickets``."""

    listings: list[int] = field(default_factory=list)
    verdicts: list[int] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def add(self, listing_id: int, verdict: Verdict, refusal: Refused | None = None) -> None:
        """One item; a refusal brings the marketplace's own words."""
        self.listings.append(listing_id)
        self.verdicts.append(verdict)
        self.codes.append(refusal.code if refusal else "")
        self.words.append(refusal.text if refusal else "")
        self.advice.append(refusal.advice if refusal else "")


@dataclass(slots=True)
class TicketVerdict:
    """How a whole ticket ends, and the items that end differently."""

    verdict: Verdict
    code: str = ""
    words: str = ""
    advice: str = ""
    exceptions: Exceptions = field(default_factory=Exceptions)


def by_ticket(items: Iterable[ClaimedItem]) -> list[list[ClaimedItem]]:
    """Group claimed rows (ordered by ticket) into requests."""
    return [list(group) for _, group in groupby(items, key=lambda item: item.ticket_id)]


def pushes(items: Sequence[ClaimedItem], currency: str) -> list[OfferPush]:
    """The absolute values of one request."""
    return [
        OfferPush(
            key=item.push_key,
            quantity=item.quantity,
            list_price=None if item.list_minor is None else Money(item.list_minor, currency),
            sale_price=None if item.sale_minor is None else Money(item.sale_minor, currency),
        )
        for item in items
    ]


def judge_items(listings: Mapping[str, int], outcomes: Mapping[str, ItemOutcome]) -> TicketVerdict:
    """Items by the key sent; what was not named is unknown, never presumed done."""
    judged = TicketVerdict(Verdict.DONE)
    for key, listing_id in listings.items():
        outcome = outcomes.get(key)
        if isinstance(outcome, Done):
            continue
        if isinstance(outcome, Refused):
            judged.exceptions.add(listing_id, Verdict.REFUSED, outcome)
        elif isinstance(outcome, Unknown) and outcome.evidence == "duplicate":
            judged.exceptions.add(listing_id, Verdict.ARRIVED)
        elif isinstance(outcome, Unknown) and outcome.evidence == "not_sent":
            judged.exceptions.add(listing_id, Verdict.AGAIN)
        else:
            judged.exceptions.add(listing_id, Verdict.UNKNOWN)
    return judged


def judge_refusal(listings: Mapping[str, int], refusal: Refused) -> TicketVerdict:
    """A request refused as a whole: which item is to blame is found by telling them in halves."""
    verdict = Verdict.HALVES if len(listings) > 1 else Verdict.REFUSED
    return TicketVerdict(verdict, refusal.code, refusal.text, refusal.advice)


def judge_request(
    listings: Mapping[str, int], outcome: Outcome | ItemOutcomes
) -> TicketVerdict | None:
    """How a request ends by its own answer; None: it goes on as a ticket."""
    match outcome:
        case Accepted():
            return None
        case ItemOutcomes():
            return judge_items(listings, outcome.items)
        case Done():
            return TicketVerdict(Verdict.DONE)
        case Refused():
            return judge_refusal(listings, outcome)
        case Unknown(evidence="duplicate"):
            return TicketVerdict(Verdict.ARRIVED, "duplicate", outcome.text)
        case Unknown():
            return TicketVerdict(Verdict.UNKNOWN, outcome.evidence, outcome.text)
        case ContractBroken():
            return TicketVerdict(Verdict.UNKNOWN, "contract_broken", outcome.detail)
        case Throttled() | Unauthorized() | NotSent():
            # Certainly not applied: the difference stays, and so does the work.
            return TicketVerdict(Verdict.AGAIN)
