"""Looking at the channel: the unsettled soon, everything slowly, and the net beneath it all."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, LeaseExpired, OfferPage, Priority
from meschain.channel.http import TransportLost
from meschain.channel.outcome import NotSent
from meschain.sync.lane import SKEW_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.channel.clock import Clock
    from meschain.channel.contract import ObservedOffer
    from meschain.channel.outcome import Problem
    from meschain.domain.money import Money
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount

log = logging.getLogger(__name__)

QUANTITY: Final = 1
PRICE: Final = 2
LOOKS_MAX: Final = 500  # unsettled listings handled in one round
RETRY_LOOK_S: Final = 5.0
SWEEP_PAGES_MAX: Final = 10_000
DRIFT_KEPT_MAX: Final = 100
JUDGE_TRIES: Final = 3
RETRY_JUDGE_S: Final = 0.2
RULES: Final = frozenset({"hub", "channel", "ask"})
_EDITED: Final = RULES | {"suspect", "held"}
_OBSERVE_WORTH: Final = 10  # below so many keys a read, telling again is cheaper where allowed


@dataclass(frozen=True, slots=True)
class Drift:
    """A listing that shows something else than we want, with nothing of ours under way."""

    push_key: str
    listing_id: int
    wanted_quantity: int | None
    shown_quantity: int | None
    wanted_list_minor: int | None
    shown_list_minor: int | None
    wanted_sale_minor: int | None
    shown_sale_minor: int | None
    is_edited: bool = False  # on the marketplace's panel, or so it seems


@dataclass(frozen=True, slots=True)
class Judged:
    """One field of one listing as it is shown, with the verdict of ``judge_shelf``."""

    listing_id: int
    push_key: str
    field: int
    verdict: str
    our_quantity: int | None
    quantity: int | None
    our_list_minor: int | None
    list_minor: int | None
    our_sale_minor: int | None
    sale_minor: int | None

    @property
    def is_readable(self) -> bool:
        """Whether the channel said anything of this field."""
        return (self.quantity if self.field == QUANTITY else self.sale_minor) is not None


@dataclass(slots=True)
class SweepReport:
    """What a sweep of one account found. ``moving``: changes were under way, not judged.

    ``conflicts`` counts fields that look edited on the panel, those that wait for their owner
    included; ``repairable`` listings that differ for no such reason.
    """

    checked: int = 0
    equal: int = 0
    moving: int = 0
    unknown_theirs: int = 0
    repaired: int = 0
    conflicts: int = 0
    repairable: int = 0
    drift: list[Drift] = field(default_factory=list)

    @property
    def consistency_bps(self) -> int:
        """Equal among judged listings, in 1/10,000; 10,000 when nothing was to judge."""
        judged = self.checked - self.moving
        return 10_000 if judged <= 0 else self.equal * 10_000 // judged

    def drift_json(self) -> str:
        """The first differences, as they are kept."""
        return msgspec.json.encode(self.drift[:DRIFT_KEPT_MAX]).decode()


class Audit:
    """Looks of one process; every method serves one account."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Stateless between calls."""
        self._database = database
        self._clock = clock

    # — unsettled listings —

    async def settle(self, account: ServedAccount) -> int:
        """Look at (or tell again) the unsettled listings that are due; returns how many."""
        now_us = self._now_us()
        key = _key(account)
        async with self._database.engine() as unit:
            limits: dict[str, object] = {"now_us": now_us, "limit": LOOKS_MAX}
            due = await unit.rows("offer.unsettled_due", key | limits)
        if not due:
            return 0
        offers = account.manifest.offers
        if offers.identical_body_refused_s == 0 and offers.observe_batch_max < _OBSERVE_WORTH:
            params = key | {
                "listings": [row[0] for row in due],
                "fields": [row[1] for row in due],
                "now_us": now_us,
            }
            async with self._database.engine() as unit:
                await unit.run("offer.reassert", params)
                await unit.run("offer.forget_unsettled", params)
            return len(due)
        fields: dict[str, list[int]] = {}
        listings: dict[str, int] = {}
        for listing_id, field_, push_key in due:
            fields.setdefault(push_key, []).append(field_)
            listings[push_key] = listing_id
        keys = sorted(listings)
        for start in range(0, len(keys), offers.observe_batch_max):
            chunk = keys[start : start + offers.observe_batch_max]
            observed_us = self._now_us()
            page = await self.observe(account, chunk)
            if not isinstance(page, OfferPage):
                async with self._database.engine() as unit:
                    await unit.run(
                        "offer.postpone_unsettled",
                        key
                        | {
                            "listings": [listings[k] for k in keys[start:]],
                            "now_us": now_us,
                            "recheck_us": self._now_us() + int(RETRY_LOOK_S * 1_000_000),
                        },
                    )
                return start
            seen = {getattr(offer.keys, offers.key): offer for offer in page.offers}
            await self._store_look(account, chunk, listings, fields, seen, observed_us)
        return len(due)

    async def observe(self, account: ServedAccount, keys: Sequence[str]) -> OfferPage | Problem:
        """What the channel shows for these keys."""
        try:
            return await account.channel.observe_offers(keys, Call(Priority.NORMAL, guard=account))
        except LeaseExpired:
            return NotSent("lease_expired")
        except TransportLost as lost:
            return NotSent(lost.detail)

    async def _store_look(
        self,
        account: ServedAccount,
        keys: Sequence[str],
        listings: dict[str, int],
        fields: dict[str, list[int]],
        seen: dict[str, ObservedOffer],
        observed_us: int,
    ) -> None:
        rows: list[tuple[int, int, int | None, int | None, int | None]] = []
        for key in keys:
            offer = seen.get(key)
            for field_ in fields[key]:
                quantity = offer.quantity if offer else None
                list_minor = _minor(offer.list_price if offer else None)
                sale_minor = _minor(offer.sale_price if offer else None)
                rows.append((listings[key], field_, quantity, list_minor, sale_minor))
        # First, so that a price that was edited there is not told again beside its quantity.
        try:
            await self.judge(account, list(seen.values()), observed_us)
        except psycopg.errors.LockNotAvailable:
            return  # still due: the next round looks again
        async with self._database.engine() as unit:
            await unit.run(
                "offer.settle_observed",
                _key(account)
                | {
                    "listings": [row[0] for row in rows],
                    "fields": [row[1] for row in rows],
                    "quantities": [row[2] for row in rows],
                    "lists": [row[3] for row in rows],
                    "sales": [row[4] for row in rows],
                    "observed_us": observed_us,
                    "now_us": self._now_us(),
                },
            )

    # — the safety net —

    async def safety_net(
        self, account: ServedAccount, lane: str, field_: int, *, limit: int, interval_s: int
    ) -> int:
        """Make dirty what differs and nothing carries. The number found must stay 0."""
        now_us = self._now_us()
        async with self._database.engine() as unit:
            rows = await unit.rows(
                "offer.safety_net",
                _key(account) | {"field": field_, "now_us": now_us, "limit": limit},
            )
            await unit.run(
                "inbound.lane_ran",
                _key(account)
                | {
                    "name": lane,
                    "now_us": now_us,
                    "next_run_us": now_us + interval_s * 1_000_000,
                    "error": "",
                    "net_found": len(rows),
                    "covered_us": 0,
                },
            )
        if rows:
            log.error(
                "safety net found unsent changes",
                extra={"account": account.account_id, "lane": lane, "rows": len(rows)},
            )
        return len(rows)

    # — sweeps —

    async def sweep(self, account: ServedAccount, *, repair: bool) -> SweepReport | Problem:
        """Read the whole channel back at once and compare; ``repair``: correct what differs.

        What looks edited on the panel is seen here for the first time: the hub looks again.
        """
        report = SweepReport()
        began_us = self._now_us()
        token: str | None = None
        for _ in range(SWEEP_PAGES_MAX):
            observed_us = self._now_us()
            page = await self.read_page(account, token)
            if not isinstance(page, OfferPage):
                return page
            differing = await self.compare(account, page, observed_us, report)
            if repair:
                await self.repair(account, differing)
                report.repaired += len({each.listing_id for each in differing})
            token = page.next_token
            if token is None:
                break
        async with self._database.engine() as unit:
            await unit.run(
                "offer.put_sweep",
                _key(account)
                | {
                    "started_us": began_us,
                    "ended_us": self._now_us(),
                    "checked": report.checked,
                    "equal": report.equal,
                    "moving": report.moving,
                    "repaired": report.repaired,
                    "drift": report.drift_json(),
                },
            )
        return report

    async def read_page(self, account: ServedAccount, token: str | None) -> OfferPage | Problem:
        """One page of all that the channel shows; it takes what others leave of the quota.

        Some lists leave values out: these are read key by key.
        """
        call = Call(Priority.BULK, guard=account)
        limits = account.manifest.offers
        try:
            page = await account.channel.list_offers(token, call)
            if not isinstance(page, OfferPage):
                return page
            lacking = [
                getattr(offer.keys, limits.key)
                for offer in page.offers
                if None in {offer.quantity, offer.list_price, offer.sale_price}
            ]
            values: dict[str, ObservedOffer] = {}
            for start in range(0, len(lacking), limits.observe_batch_max):
                chunk = lacking[start : start + limits.observe_batch_max]
                found = await account.channel.observe_offers(chunk, call)
                if not isinstance(found, OfferPage):
                    return found
                values |= {getattr(offer.keys, limits.key): offer for offer in found.offers}
        except LeaseExpired:
            return NotSent("lease_expired")
        except TransportLost as lost:
            return NotSent(lost.detail)
        offers = (values.get(getattr(offer.keys, limits.key), offer) for offer in page.offers)
        return replace(page, offers=tuple(offers))

    async def judge(
        self, account: ServedAccount, offers: Sequence[ObservedOffer], observed_us: int
    ) -> list[Judged]:
        """Hold what a look showed against ours; what was edited there is settled by its rule.

        See ``judge_shelf`` (store/functions/05_conflict.sql). Raises LockNotAvailable when somebody
        sells or sends just these: look again.
        """
        limits = account.manifest.offers
        seen = {getattr(offer.keys, limits.key): offer for offer in offers}
        if not seen:
            return []
        now = self._clock.now()
        params = _key(account) | {
            "keys": list(seen),
            "quantities": [offer.quantity for offer in seen.values()],
            "lists": [_minor(offer.list_price) for offer in seen.values()],
            "sales": [_minor(offer.sale_price) for offer in seen.values()],
            "observed_us": observed_us,
            "lag_us": int(limits.read_lag_s * 1_000_000),
            "skew_us": SKEW_US,
            "now": now,
            "now_us": microseconds(now),
        }
        judged: list[Judged] = []
        for tries_left in reversed(range(JUDGE_TRIES)):
            try:
                judged = await self._judge_once(account, params)
                break
            except psycopg.errors.LockNotAvailable:
                if not tries_left:
                    raise
                await self._clock.sleep(RETRY_JUDGE_S)
        settled = Counter(each.verdict for each in judged if each.verdict in RULES)
        if settled:
            log.info(
                "edits on the panel were settled",
                extra={"account": account.account_id, "rules": dict(settled)},
            )
        return judged

    async def _judge_once(self, account: ServedAccount, params: dict[str, object]) -> list[Judged]:
        async with self._database.merchant(account.merchant_id) as unit:
            judged = [Judged(*row) for row in await unit.rows("conflict.judge", params)]
            if any(each.verdict in RULES for each in judged):
                unit.wake((account.account_id,))
        return judged

    async def compare(
        self, account: ServedAccount, page: OfferPage, observed_us: int, report: SweepReport
    ) -> list[Judged]:
        """Judge one page and count it; returns what differs and is no edit: to be repaired."""
        judged = await self.judge(account, page.offers, observed_us)
        listings: dict[int, list[Judged]] = {}
        for each in judged:
            listings.setdefault(each.listing_id, []).append(each)
        report.unknown_theirs += len(page.offers) - len(listings)
        for pair in listings.values():
            quantity, price = sorted(pair, key=lambda each: each.field)
            verdicts = {quantity.verdict, price.verdict}
            report.checked += 1
            report.conflicts += sum(each.verdict in _EDITED for each in pair)
            if verdicts == {"equal"}:
                report.equal += 1
            elif verdicts <= {"equal", "moving"}:
                report.moving += 1
            else:
                report.repairable += "differs" in verdicts
                report.drift.append(
                    Drift(
                        quantity.push_key,
                        quantity.listing_id,
                        quantity.our_quantity,
                        quantity.quantity,
                        price.our_list_minor,
                        price.list_minor,
                        price.our_sale_minor,
                        price.sale_minor,
                        is_edited=bool(verdicts & _EDITED),
                    )
                )
        return [each for each in judged if each.verdict == "differs"]

    async def repair(self, account: ServedAccount, differing: Sequence[Judged]) -> None:
        """Have these looked at closely, and told again where they still differ."""
        if not differing:
            return
        async with self._database.engine() as unit:
            await unit.run(
                "offer.unsettle",
                _key(account)
                | {
                    "listings": [each.listing_id for each in differing],
                    "fields": [each.field for each in differing],
                    "now_us": self._now_us(),
                },
            )

    def _now_us(self) -> int:
        return microseconds(self._clock.now())


def _key(account: ServedAccount) -> dict[str, object]:
    return {"merchant": account.merchant_id, "account": account.account_id}


def _minor(price: Money | None) -> int | None:
    return None if price is None else price.minor
