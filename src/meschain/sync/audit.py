"""Looking at the channel: the unsettled soon, everything slowly, and the net beneath it all."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, LeaseExpired, OfferPage, Priority
from meschain.channel.http import TransportLost
from meschain.channel.outcome import NotSent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.channel.clock import Clock
    from meschain.channel.contract import ObservedOffer
    from meschain.channel.outcome import Problem
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount

log = logging.getLogger(__name__)

QUANTITY: Final = 1
PRICE: Final = 2
LOOKS_MAX: Final = 500  # unsettled listings handled in one round
RETRY_LOOK_S: Final = 5.0
SWEEP_PAGES_MAX: Final = 10_000
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


@dataclass(slots=True)
class SweepReport:
    """What a sweep of one account found. ``moving``: changes were under way, not judged."""

    checked: int = 0
    equal: int = 0
    moving: int = 0
    unknown_theirs: int = 0
    drift: list[Drift] = field(default_factory=list)

    @property
    def consistency_bps(self) -> int:
        """Equal among judged listings, in 1/10,000; 10,000 when nothing was to judge."""
        judged = self.checked - self.moving
        return 10_000 if judged <= 0 else self.equal * 10_000 // judged


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
                list_minor = offer.list_price.minor if offer and offer.list_price else None
                sale_minor = offer.sale_price.minor if offer and offer.sale_price else None
                rows.append((listings[key], field_, quantity, list_minor, sale_minor))
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
        """Read the whole channel back and compare; ``repair``: look closely at what differs."""
        report = SweepReport()
        began_us = self._now_us()
        token: str | None = None
        for _ in range(SWEEP_PAGES_MAX):
            try:
                call = Call(Priority.BULK, guard=account)
                page = await account.channel.list_offers(token, call)
            except LeaseExpired:
                return NotSent("lease_expired")
            except TransportLost as lost:
                return NotSent(lost.detail)
            if not isinstance(page, OfferPage):
                return page
            await self._compare(account, page, report)
            token = page.next_token
            if token is None:
                break
        async with self._database.engine() as unit:
            if repair and report.drift:
                await unit.run(
                    "offer.unsettle",
                    _key(account)
                    | {
                        "listings": [d.listing_id for d in report.drift for _ in (1, 2)],
                        "fields": [f for _ in report.drift for f in (QUANTITY, PRICE)],
                        "now_us": self._now_us(),
                    },
                )
            await unit.run(
                "offer.put_sweep",
                _key(account)
                | {
                    "started_us": began_us,
                    "ended_us": self._now_us(),
                    "checked": report.checked,
                    "equal": report.equal,
                    "moving": report.moving,
                    "repaired": len(report.drift) if repair else 0,
                    "drift": msgspec.json.encode(report.drift[:100]).decode(),
                },
            )
        return report

    async def _compare(self, account: ServedAccount, page: OfferPage, report: SweepReport) -> None:
        name = account.manifest.offers.key
        seen = {getattr(offer.keys, name): offer for offer in page.offers}
        if not seen:
            return
        async with self._database.engine() as unit:
            rows = await unit.rows("offer.observed_all", _key(account) | {"keys": sorted(seen)})
        report.unknown_theirs += len(seen) - len(rows)
        for row in rows:
            push_key, listing_id, quantity, list_minor, sale_minor = row[:5]
            is_moving, own_units, state = row[8:11]
            if state not in {"on_sale", "off_sale"}:
                continue
            offer = seen[push_key]
            report.checked += 1
            if is_moving or own_units:
                report.moving += 1
                continue
            shown_list = offer.list_price.minor if offer.list_price else None
            shown_sale = offer.sale_price.minor if offer.sale_price else None
            if (offer.quantity, shown_list, shown_sale) == (quantity, list_minor, sale_minor):
                report.equal += 1
                continue
            report.drift.append(
                Drift(
                    push_key,
                    listing_id,
                    quantity,
                    offer.quantity,
                    list_minor,
                    shown_list,
                    sale_minor,
                    shown_sale,
                )
            )

    def _now_us(self) -> int:
        return microseconds(self._clock.now())


def _key(account: ServedAccount) -> dict[str, object]:
    return {"merchant": account.merchant_id, "account": account.account_id}
