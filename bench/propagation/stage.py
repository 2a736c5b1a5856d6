"""From the buyer's click to the other shelves: what each stage took, by both sides' clocks."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from bench.environment import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.program import Row
    from bench.sandbox import Entry
    from meschain.sandbox.facade import AccountLine

_US_A_MS = 1000


@dataclass(frozen=True, slots=True)
class Sale:
    """A click that got what it wanted; ``units_before`` of that SKU were sold before it."""

    at_us: int
    account_id: int
    order: str
    sku: str
    units_before: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that carried a listing, by the hub's clock."""

    claimed_us: int
    handed_us: int
    released_us: int
    accepted_us: int

    def paced_us(self, since_us: int) -> int:
        """How long the pacer held back what was wanted since then.

        Held back before it was claimed, a request was "handed" when that began, and what came
        after the claim is the hub's own time again.
        """
        if self.handed_us < self.claimed_us:
            return max(0, self.claimed_us - max(self.handed_us, since_us))
        return self.released_us - max(self.handed_us, since_us)


@dataclass(slots=True)
class Stages:
    """Milliseconds, one list a stage, by the marketplace that the stage lies with."""

    detection: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    hub: list[float] = field(default_factory=list)  # as design.md §8 has it
    to_wire: list[float] = field(default_factory=list)
    pacing: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    acceptance: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    shelf: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    total: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missing: int = 0  # shelves that never showed the sale

    def row(self) -> Row:
        row: Row = {}
        named: dict[str, Mapping[str, list[float]]] = {
            "detection": self.detection,
            "hub": {"": self.hub},
            "to_wire": {"": self.to_wire},
            "pacing": self.pacing,
            "acceptance": self.acceptance,
            "shelf": self.shelf,
            "total": self.total,
        }
        for stage, by_marketplace in named.items():
            for marketplace, taken_ms in sorted(by_marketplace.items()):
                prefix = f"{marketplace}_{stage}" if marketplace else stage
                row[f"{prefix}_p50_ms"] = round(percentile(taken_ms, 50), 1)
                row[f"{prefix}_p99_ms"] = round(percentile(taken_ms, 99), 1)
        row["shelves_missing"] = self.missing
        return row


def sales_of(entries: Iterable[Entry], accounts: Mapping[int, AccountLine]) -> list[Sale]:
    """All sales in their order. Listings are keyed ``B<n>`` or ``S<n>``: SKU ``S<n>``."""
    by_seller = {(a.marketplace, a.seller_id): account for account, a in accounts.items()}
    sold: dict[str, int] = defaultdict(int)
    found: list[Sale] = []
    for entry in entries:
        if entry.kind == "sale":
            sku = f"S{entry.key[1:]}"
            account_id = by_seller[entry.marketplace, entry.seller_id]
            order = str(entry.facts["order"])
            found.append(Sale(entry.at_us, account_id, order, sku, sold[sku]))
            sold[sku] += 1
    return found


def stages_of(
    url: str,
    accounts: Mapping[int, AccountLine],
    entries: Iterable[Entry],
    sales: Sequence[Sale],
    *,
    units_begun: int,
) -> Stages:
    """What became of these sales on every other shelf."""
    applied = _applied(entries, accounts)
    with psycopg.connect(url) as connection:
        taken_us: dict[tuple[int, str], int] = {
            (int(account), str(external)): int(at_us)
            for account, external, at_us in connection.execute(
                "SELECT account_id, external_id, first_seen_us FROM orders"
            )
        }
        sent = _sent(connection, since_us=min((sale.at_us for sale in sales), default=0))
    stages = Stages()
    for sale in sales:
        intake_us = taken_us.get((sale.account_id, sale.order))
        if intake_us is None:
            stages.missing += len(accounts) - 1
            continue
        source = accounts[sale.account_id].marketplace
        stages.detection[source].append((intake_us - sale.at_us) / _US_A_MS)
        left = units_begun - sale.units_before - 1
        for account_id, account in accounts.items():
            if account_id == sale.account_id:
                continue
            shown_us = _first_at_most(applied.get((account_id, sale.sku), []), left)
            request = _request_of(sent.get((account_id, sale.sku), []), intake_us, shown_us)
            if shown_us is None or request is None:
                stages.missing += 1
                continue
            target = account.marketplace
            paced_us = request.paced_us(intake_us)
            to_wire_us = request.released_us - intake_us - paced_us
            accepting_us = request.accepted_us - request.released_us
            stages.hub.append((to_wire_us + accepting_us) / _US_A_MS)
            stages.to_wire.append(to_wire_us / _US_A_MS)
            stages.pacing[target].append(paced_us / _US_A_MS)
            stages.acceptance[target].append(accepting_us / _US_A_MS)
            stages.shelf[target].append((shown_us - request.accepted_us) / _US_A_MS)
            stages.total[target].append((shown_us - sale.at_us) / _US_A_MS)
    return stages


def _applied(
    entries: Iterable[Entry], accounts: Mapping[int, AccountLine]
) -> dict[tuple[int, str], list[tuple[int, int]]]:
    """(account, SKU) → the quantities that the seller's offers set there, with their times."""
    by_seller = {(a.marketplace, a.seller_id): account for account, a in accounts.items()}
    found: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for entry in entries:
        if entry.kind == "offer" and entry.facts["sets_quantity"]:
            account_id = by_seller[entry.marketplace, entry.seller_id]
            quantity = entry.facts["quantity"]
            assert isinstance(quantity, int)
            found[account_id, f"S{entry.key[1:]}"].append((entry.at_us, quantity))
    return found


def _first_at_most(offers: Sequence[tuple[int, int]], left: int) -> int | None:
    """When the shelf first showed the sale; two sales that travelled together show at once."""
    return next((at_us for at_us, quantity in offers if quantity <= left), None)


def _sent(
    connection: psycopg.Connection[tuple[object, ...]], *, since_us: int
) -> dict[tuple[int, str], list[Sent]]:
    """(account, SKU) → its accepted requests, oldest first."""
    found: dict[tuple[int, str], list[Sent]] = defaultdict(list)
    rows = connection.execute(
        "SELECT t.account_id, k.stock_code, t.claimed_us, t.handed_us, t.released_us, t.accepted_us"
        " FROM ticket t CROSS JOIN LATERAL unnest(t.listing_ids) AS x (listing_id)"
        " JOIN listing_key k ON k.merchant_id = t.merchant_id AND k.account_id = t.account_id"
        " AND k.listing_id = x.listing_id"
        " WHERE t.accepted_us IS NOT NULL AND t.released_us IS NOT NULL AND t.claimed_us >= %s"
        " ORDER BY t.released_us, t.ticket_id",
        (since_us,),
    )
    for account_id, sku, *times in rows:
        assert isinstance(account_id, int)
        found[account_id, str(sku)].append(Sent(*map(int, map(str, times))))
    return found


def _request_of(requests: list[Sent], intake_us: int, shown_us: int | None) -> Sent | None:
    """The request that brought it: the last to go out after the intake and before the shelf.

    Not the first that was *claimed* after the intake: a claim stamps its time before its statement
    begins, and still sees what was committed meanwhile.
    """
    if shown_us is None:
        return None
    place = bisect_right(requests, shown_us, key=lambda request: request.released_us)
    found = requests[place - 1] if place else None
    return found if found is not None and found.released_us >= intake_us else None
