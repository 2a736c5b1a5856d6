"""Lane health: backlog, propagation, errors, quotas and the next run of each account."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec

from meschain.app.queries.view import instant
from meschain.channel.clock import Clock, microseconds
from meschain.store.unit_of_work import Database
from meschain.sync.account import AccountHealth, ServedAccount

_SAMPLES: Final = 500  # the latest ones; sorting all of every account would hold the lanes up
_NEWEST_ORDERS: Final = 10_000


class Percentiles(msgspec.Struct, frozen=True):
    """Of the recent past, in milliseconds; None: nothing was measured."""

    p50_ms: float | None
    p99_ms: float | None
    samples: int


class LaneView(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule of an account."""

    name: str
    is_paused: bool
    interval_s: int
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_success_at: datetime | None
    last_error: str
    last_error_at: datetime | None
    runs: int
    failures: int
    net_found: int


class QuotaView(msgspec.Struct, frozen=True):
    """How full a quota is now."""

    group: str
    operation: str
    used: int
    limit: int
    window_s: float


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account's health.

    What only the serving process can measure (propagation, quotas, counts of its requests) is
    None where ``served_by`` is not "here".
    """

    account_id: int
    name: str
    marketplace: str
    state: str
    is_live: bool
    served_by: str  # "here", "another_process", "nobody"
    backlog: int
    oldest_dirty_at: datetime | None
    tickets_open: int
    unsettled: int
    webhooks_active: int
    swept_at: datetime | None
    consistency_bps: int | None  # of the last read-back sweep, in 1/10,000
    sweeping_checked: int | None  # of the sweep that is under way
    sweeping_expected: int | None
    conflicts: int  # edits on the panel that wait for an answer
    hub: Percentiles | None
    propagation: Percentiles | None
    requests: int | None
    failures: int | None
    throttles: int | None
    error_rate_bps: int | None
    items_done: int | None
    items_refused: int | None
    items_unknown: int | None
    last_error: str
    quotas: list[QuotaView]
    lanes: list[LaneView]


class ProblemCounts(msgspec.Struct, frozen=True):
    """Open problems by kind."""

    offers: int
    listings: int
    alerts: int


class OrderCounts(msgspec.Struct, frozen=True):
    """Orders by when the hub knew of them; exact up to 10,000 in the time."""

    last_minute: int
    last_ten_minutes: int
    newest_at: datetime | None


class MerchantView(msgspec.Struct, frozen=True):
    """Who is looked at."""

    merchant_id: int
    name: str
    currency: str
    language: str
    time_zone: str


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on one look. ``at`` is when it was read, by the hub's clock."""

    at: datetime
    merchant: MerchantView
    orders: OrderCounts
    problems: ProblemCounts
    backlog: int
    oldest_dirty_at: datetime | None
    hub: Percentiles
    propagation: Percentiles
    consistency_bps: int | None
    consistency_at: datetime | None  # the oldest of the sweeps it is made of
    accounts: list[AccountView]


class _Account(msgspec.Struct, frozen=True):
    account_id: int
    name: str
    marketplace: str
    state: str
    is_live: bool
    is_owned: bool
    lease_until_us: int | None
    dirty: int
    oldest_us: int | None
    tickets: int
    unsettled: int
    swept_us: int | None
    swept_checked: int | None
    swept_equal: int | None
    swept_differing: int | None
    sweeping_checked: int | None
    sweeping_expected: int | None
    conflicts: int
    webhooks: int


class _Lane(msgspec.Struct, frozen=True):
    account_id: int
    name: str
    is_paused: bool
    interval_s: int
    next_run_us: int
    last_run_us: int | None
    last_success_us: int | None
    last_error: str
    last_error_us: int | None
    runs: int
    failures: int
    net_found: int


async def read_status(
    database: Database, clock: Clock, merchant_id: int, served: Sequence[ServedAccount]
) -> StatusView:
    """The merchant's status; ``served`` are the accounts of this process."""
    now = clock.now()
    now_us = microseconds(now)
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        merchant = await unit.records("view.merchant", key)
        accounts = await unit.records("view.accounts", key)
        lanes = await unit.records("view.lanes", key)
        counts = await unit.records("view.problem_counts", key)
        orders = await unit.row(
            "view.order_counts", key | {"now_us": now_us, "newest": _NEWEST_ORDERS}
        )
    assert orders is not None
    rows = [msgspec.convert(account, _Account) for account in accounts]
    by_account: dict[int, list[LaneView]] = {}
    for lane in (msgspec.convert(record, _Lane) for record in lanes):
        by_account.setdefault(lane.account_id, []).append(_lane(lane))
    here = {each.account_id: each for each in served if each.merchant_id == merchant_id}
    views = [
        _account(row, here.get(row.account_id), by_account.get(row.account_id, []), now_us)
        for row in rows
    ]
    healths = [each.health for each in here.values()]
    judged = [row for row in rows if row.swept_us is not None]
    equal = sum(row.swept_equal or 0 for row in judged)
    differing = sum(row.swept_differing or 0 for row in judged)
    return StatusView(
        at=now,
        merchant=msgspec.convert(merchant[0], MerchantView),
        orders=OrderCounts(orders[0], orders[1], instant(orders[2])),
        problems=msgspec.convert(counts[0], ProblemCounts),
        backlog=sum(row.dirty for row in rows),
        oldest_dirty_at=instant(
            min((row.oldest_us for row in rows if row.oldest_us is not None), default=None)
        ),
        hub=percentiles(us for health in healths for us in _latest(health.hub_us)),
        propagation=percentiles(us for health in healths for us in _totals(health)),
        consistency_bps=_consistency_bps(equal, differing) if judged else None,
        consistency_at=instant(min((row.swept_us or 0 for row in judged), default=None)),
        accounts=views,
    )


def percentiles(samples_us: Iterable[int]) -> Percentiles:
    """The median and the 99th percentile by nearest rank."""
    ordered = sorted(samples_us)
    if not ordered:
        return Percentiles(None, None, 0)

    def rank(percent: int) -> float:
        place = -(-len(ordered) * percent // 100) - 1
        return ordered[max(0, place)] / 1_000

    return Percentiles(rank(50), rank(99), len(ordered))


def _latest(samples: Sequence[int]) -> Iterable[int]:
    return islice(reversed(samples), _SAMPLES)


def _totals(health: AccountHealth) -> Iterable[int]:
    """Commit → accepted, with what the pacer held back: both parts are measured per item."""
    pairs = zip(_latest(health.hub_us), _latest(health.pacing_us), strict=True)
    return (hub_us + pacing_us for hub_us, pacing_us in pairs)


def _consistency_bps(equal: int, differing: int) -> int:
    return 10_000 if equal + differing == 0 else equal * 10_000 // (equal + differing)


def _account(
    row: _Account, served: ServedAccount | None, lanes: list[LaneView], now_us: int
) -> AccountView:
    health = served.health if served else None
    is_held = row.is_owned and (row.lease_until_us or 0) > now_us
    swept = row.swept_us is not None
    return AccountView(
        account_id=row.account_id,
        name=row.name,
        marketplace=row.marketplace,
        state=row.state,
        is_live=row.is_live,
        served_by="here" if served else "another_process" if is_held else "nobody",
        backlog=row.dirty,
        oldest_dirty_at=instant(row.oldest_us),
        tickets_open=row.tickets,
        unsettled=row.unsettled,
        webhooks_active=row.webhooks,
        swept_at=instant(row.swept_us),
        consistency_bps=_consistency_bps(row.swept_equal or 0, row.swept_differing or 0)
        if swept
        else None,
        sweeping_checked=row.sweeping_checked,
        sweeping_expected=row.sweeping_expected,
        conflicts=row.conflicts,
        hub=percentiles(_latest(health.hub_us)) if health else None,
        propagation=percentiles(_totals(health)) if health else None,
        requests=health.requests if health else None,
        failures=health.failures if health else None,
        throttles=health.throttles if health else None,
        error_rate_bps=health.failures * 10_000 // max(1, health.requests) if health else None,
        items_done=health.items_done if health else None,
        items_refused=health.items_refused if health else None,
        items_unknown=health.items_unknown if health else None,
        last_error=_last_error(health, lanes),
        quotas=[
            QuotaView(use.group, use.operation, use.used, use.limit, use.window_s)
            for use in (served.pacer.usage() if served else ())
        ],
        lanes=lanes,
    )


def _last_error(health: AccountHealth | None, lanes: list[LaneView]) -> str:
    if health and health.last_error:
        return health.last_error
    said = [(lane.last_error_at, lane.last_error) for lane in lanes if lane.last_error_at]
    return max(said)[1] if said else ""


def _lane(row: _Lane) -> LaneView:
    return LaneView(
        name=row.name,
        is_paused=row.is_paused,
        interval_s=row.interval_s,
        next_run_at=instant(row.next_run_us or None),
        last_run_at=instant(row.last_run_us),
        last_success_at=instant(row.last_success_us),
        last_error=row.last_error,
        last_error_at=instant(row.last_error_us),
        runs=row.runs,
        failures=row.failures,
        net_found=row.net_found,
    )
