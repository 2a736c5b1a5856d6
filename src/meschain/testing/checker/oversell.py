"""Oversells: found by the world's recount, judged by what the hub knew and when."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from meschain.sandbox.clock import epoch_us
from meschain.sandbox.faults import Fault
from meschain.sandbox.truth import (
    Oversell,
    OversellCause,
    ShelfRef,
    Showing,
    StockChange,
    recount,
)
from meschain.testing.checker.verdict import Defect, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from meschain.sandbox.journal import JournalEntry
    from meschain.testing.checker.compare import CheckedShop
    from meschain.testing.checker.control import InjectedFault
    from meschain.testing.checker.ledger import Ledger

KNOWN_US_MAX: Final = 1_000_000  # so long after the hub knew, a second sale is still forgiven
_QUOTA_SPENT_PERCENT: Final = 90
# How long a fault keeps a channel from answering, in seconds: what the façades document of it, and
# the time-out after which the hub's request is given up. Faults of webhooks delay what the hub
# knows, never what it does, and excuse nothing here.
_CHANNEL_AWAY_S: Final[Mapping[str, float]] = {
    Fault.THROTTLED: 10.0,
    Fault.SERVER_ERROR: 2.0,
    Fault.RESET: 2.0,
}
# These concern the listings of one request only, so the listing itself must bear witness.
_HELD_S: Final = 31.0
_STUCK_S: Final = 121.0
_ITEM_FAILED_S: Final = 5.0
_APPLIED_WITHIN_S: Final = 2.0


class Knowledge(StrEnum):
    """What the hub could have done about an oversell."""

    UNAWARE = "unaware"  # the second sale came before the hub knew of the first
    ON_ITS_WAY = "on_its_way"  # within a second of it
    CHANNEL_AWAY = "channel_away"  # a fault kept the channel from answering
    QUOTA_SPENT = "quota_spent"
    KNOWINGLY = "knowingly"  # nothing excuses it


@dataclass(frozen=True, slots=True)
class Quota:
    """At most ``limit`` offer pushes in ``window_s``."""

    window_s: float
    limit: int


@dataclass(slots=True)
class Judgement:
    """Sales that the stock could not meet: by cause, by what the hub could have done."""

    by_cause: dict[str, int]
    by_knowledge: dict[str, int]
    units: int = 0
    problems: list[Problem] = field(default_factory=list)


def showings(ledger: Ledger, shops: Iterable[CheckedShop]) -> list[Showing]:
    """Which listings show which SKU; a bundle shows each of its components."""
    places = {shop.account_id: shop for shop in shops}
    return [
        Showing(
            ShelfRef(place.marketplace, place.seller_id, listing.push_key),
            ledger.variants[variant].sku,
            units,
        )
        for listing in ledger.listings
        if (place := places.get(listing.account_id)) is not None
        for variant, units in ledger.parts(listing.variant_id).items()
    ]


def starting_stock(ledger: Ledger, began_at: datetime) -> tuple[dict[str, int], list[StockChange]]:
    """What the merchant had counted when the world began, and what was counted since."""
    stock: Counter[str] = Counter()
    changes: list[StockChange] = []
    for counted in ledger.counted:
        sku = ledger.variants[counted.variant_id].sku
        if counted.at <= began_at:
            stock[sku] += counted.units
        else:
            changes.append(StockChange(sku, counted.at, counted.units))
    return dict(stock), changes


class Judge:
    """Looks at each oversell with the fault log, the hub's orders and the quotas beside it."""

    def __init__(
        self,
        ledger: Ledger,
        shops: Sequence[CheckedShop],
        entries: Sequence[JournalEntry],
        faults: Iterable[InjectedFault],
        quotas: Mapping[str, Sequence[Quota]],
    ) -> None:
        """``quotas`` by marketplace: what its tier allows for offer pushes."""
        self._ledger = ledger
        self._shops = shops
        self._entries = entries
        self._quotas = quotas
        self._accounts = {(shop.marketplace, shop.seller_id): shop.account_id for shop in shops}
        self._known_us = {
            (order.account_id, order.external_id): order.first_seen_us for order in ledger.orders
        }
        self._faults: defaultdict[str, list[InjectedFault]] = defaultdict(list)
        for fault in faults:
            self._faults[fault.marketplace].append(fault)
        self._offers_us: defaultdict[ShelfRef, list[int]] = defaultdict(list)
        for entry in entries:
            if entry.kind == "offer" and entry.facts["sets_quantity"]:
                shelf = ShelfRef(entry.marketplace, entry.seller_id, entry.key)
                self._offers_us[shelf].append(epoch_us(entry.at))

    def judge(self) -> Judgement:
        """Recount the journal and judge what it shows."""
        judgement = Judgement(dict.fromkeys(OversellCause, 0), dict.fromkeys(Knowledge, 0))
        if not self._entries:
            return judgement
        stock, changes = starting_stock(self._ledger, self._entries[0].at)
        shown = showings(self._ledger, self._shops)
        result = recount(self._entries, shown, stock, changes=changes)
        judgement.units = result.units_oversold
        for oversell in result.oversells:
            knowledge, late_us = self._knowledge(oversell)
            judgement.by_cause[oversell.cause] += 1
            judgement.by_knowledge[knowledge] += 1
            if knowledge is Knowledge.KNOWINGLY:
                second = oversell.second
                subject = f"{oversell.sku} ({second.shelf.marketplace} {second.order})"
                found = f"{oversell.cause}, {late_us // 1000} ms"
                defect = Defect.OVERSOLD_KNOWINGLY
                judgement.problems.append(Problem(defect, subject, found=found))
        return judgement

    def _knowledge(self, oversell: Oversell) -> tuple[Knowledge, int]:
        """What was known, and for how long when the second sale came (µs)."""
        second_us = epoch_us(oversell.second.at)
        known_us = 0  # stock that never was: nobody need tell the hub
        if oversell.first is not None:
            shelf = oversell.first.shelf
            account = self._accounts[shelf.marketplace, shelf.seller_id]
            seen_us = self._known_us.get((account, oversell.first.order))
            if seen_us is None or seen_us >= second_us:
                return Knowledge.UNAWARE, 0
            known_us = seen_us
        late_us = second_us - known_us
        if late_us <= KNOWN_US_MAX:
            return Knowledge.ON_ITS_WAY, late_us
        if self._is_away(oversell.second.shelf, known_us, second_us):
            return Knowledge.CHANNEL_AWAY, late_us
        if self._is_spent(oversell.second.shelf, second_us):
            return Knowledge.QUOTA_SPENT, late_us
        return Knowledge.KNOWINGLY, late_us

    def _is_away(self, shelf: ShelfRef, known_us: int, second_us: int) -> bool:
        """Whether a fault kept this shelf from being lowered between the two instants."""
        offers = self._offers_us[shelf]
        for fault in self._faults[shelf.marketplace]:
            if fault.at_us > second_us:
                break
            lasts_s = _CHANNEL_AWAY_S.get(fault.fault, 0.0)
            if fault.fault == Fault.TIMEOUT_AFTER_APPLYING:
                # The push that was held is seen: it was applied, while its answer never came.
                lasts_s = _HELD_S if _any_within(offers, fault.at_us, _APPLIED_WITHIN_S) else 0.0
            elif fault.fault == Fault.BATCH_STUCK:
                lasts_s = _STUCK_S if _any_within(offers, second_us, _STUCK_S) else 0.0
            elif fault.fault == Fault.BATCH_ITEM_FAILED:
                lasts_s = _ITEM_FAILED_S
            if lasts_s and fault.at_us + int(lasts_s * 1_000_000) >= known_us:
                return True
        return False

    def _is_spent(self, shelf: ShelfRef, at_us: int) -> bool:
        """Whether the account had used up what its quota allows, by the requests that left."""
        account = self._accounts[shelf.marketplace, shelf.seller_id]
        pushes = self._ledger.pushes_us.get(account, [])
        for quota in self._quotas.get(shelf.marketplace, ()):
            begin = bisect_left(pushes, at_us - int(quota.window_s * 1_000_000))
            used = bisect_right(pushes, at_us) - begin
            if used * 100 >= quota.limit * _QUOTA_SPENT_PERCENT:
                return True
        return False


def _any_within(instants_us: Sequence[int], from_us: int, seconds: float) -> bool:
    place = bisect_left(instants_us, from_us)
    return place < len(instants_us) and instants_us[place] <= from_us + int(seconds * 1_000_000)
