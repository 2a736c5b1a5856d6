"""The checker: recounts a run from the sandbox's control interface and plain SQL, nothing else.

It shares no code with the engine, the store or the connectors: what it says stands on the world's
journal, the hub's tables and sums of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from meschain.testing.checker.compare import CheckedShop, Comparison
from meschain.testing.checker.control import Control, WorldOrder, WorldRefused
from meschain.testing.checker.ledger import read_ledger
from meschain.testing.checker.oversell import Judge, Quota, showings, starting_stock
from meschain.testing.checker.propagation import PropagationMeter
from meschain.testing.checker.verdict import Defect, Percentiles, Problem, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CheckedShop",
    "Comparison",
    "Control",
    "Defect",
    "Percentiles",
    "Problem",
    "PropagationMeter",
    "Quota",
    "Verdict",
    "WorldOrder",
    "WorldRefused",
    "check",
    "read_ledger",
    "showings",
    "starting_stock",
]


async def check(
    control_url: str,
    database_url: str,
    merchant_id: int,
    shops: Sequence[CheckedShop],
    *,
    quotas: Mapping[str, Sequence[Quota]] | None = None,
) -> Verdict:
    """Recount everything. Demand must have stopped and the hub come to rest, else it is red.

    ``quotas`` by marketplace: how many offer pushes its tier allows; without them no oversell is
    excused by a spent quota. Raises WorldRefused where the journal was cut: a part proves nothing.
    """
    async with aiohttp.ClientSession() as session:
        control = Control(session, control_url)
        orders = await control.orders()
        shelves = await control.shelves()
        entries = await control.journal()
        faults = await control.fault_log()
        state = await control.state()
        statistics = await control.statistics()
    ledger = await read_ledger(database_url, merchant_id)

    comparison = Comparison(ledger, shops)
    verdict = Verdict(
        orders=len(orders),
        faults_injected=state.faults_injected,
        self_inflicted_429=sum(statistics.refused_by_quota.values()),
        safety_net_found=ledger.safety_net_found,
    )
    verdict.problems += comparison.orders(orders)
    verdict.problems += comparison.stock()
    verdict.shelves_checked, differing = comparison.shelves(shelves)
    verdict.problems += differing
    verdict.shelves_equal = verdict.shelves_checked - len(
        {each.subject for each in differing if each.defect is not Defect.LISTING_ABSENT}
    )
    judgement = Judge(ledger, shops, entries, faults, quotas or {}).judge()
    verdict.oversold, verdict.oversold_when = judgement.by_cause, judgement.by_knowledge
    verdict.problems += judgement.problems
    for group, count in statistics.refused_by_quota.items():
        verdict.problems.append(Problem(Defect.THROTTLED_BY_US, group, "0", str(count)))
    if verdict.safety_net_found:
        found = str(verdict.safety_net_found)
        verdict.problems.append(Problem(Defect.NET_FOUND, "lane.net_found", "0", found))

    if entries:
        stock, _ = starting_stock(ledger, entries[0].at)
        meter = PropagationMeter(showings(ledger, shops), stock)
        meter.feed(entries)
        verdict.propagation_ms = Percentiles.of_us(meter.samples_us)
    placed = {
        (comparison.accounts.get((each.marketplace, each.seller_id)), each.order_number): each
        for each in orders
    }
    verdict.detection_ms = Percentiles.of_us(
        [
            ours.first_seen_us - theirs.placed_at_us
            for ours in ledger.orders
            if (theirs := placed.get((ours.account_id, ours.external_id))) is not None
        ]
    )
    return verdict
