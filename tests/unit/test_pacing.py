from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meschain.channel.capability import (
    CatalogLimits,
    Identity,
    Manifest,
    OfferLimits,
    Operation,
    OrderLimits,
    Quota,
)
from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, Priority
from meschain.channel.outcome import Throttled, ThrottleScope
from meschain.channel.pacing import (
    UNLIMITED,
    Ask,
    Lent,
    Pacer,
    PacerState,
    SharedBudget,
)

CRITICAL, NORMAL, BULK = Priority.CRITICAL, Priority.NORMAL, Priority.BULK


class VirtualClock:
    """Time that passes only when the test says so, and then at once."""

    def __init__(self) -> None:
        self._now_s = 1_000.0
        self._serial = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self._now_s)

    def monotonic_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        self._serial += 1
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, self._serial, wake))
        await wake

    async def run(self, seconds: float) -> None:
        """Let ``seconds`` pass, everything due in between happening at its own instant."""
        until = self._now_s + seconds
        await _let_run()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, wake = heapq.heappop(self._sleepers)
            self._now_s = max(self._now_s, at)
            if not wake.done():
                wake.set_result(None)
                await _let_run()
        self._now_s = until


async def _let_run() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def quota(
    group: str, limit: int, window_s: float, *, each: bool = False, scope: str = "account"
) -> Quota:
    return msgspec.convert(
        {
            "group": group,
            "window_s": window_s,
            "limit": {"low": limit},
            "source": "test",
            "confidence": "A",
            "scope": scope,
            "per": "operation" if each else "group",
        },
        Quota,
    )


def manifest(quotas: list[Quota], **operations: Operation) -> Manifest:
    return Manifest(
        identity=Identity(
            name="x",
            title="X",
            countries=("TR",),
            currencies=("TRY",),
            languages=("tr",),
            time_zone="Europe/Istanbul",
            read_on=date(2026, 11, 1),
        ),
        hosts={},
        credentials=(),
        tiers=("low", "free"),
        default_tier="low",
        quotas=tuple(quotas),
        operations=operations,
        offers=OfferLimits(
            key="barcode",
            fields=("quantity",),
            separate_fields=True,
            price_kinds=("sale",),
            batch_max=1,
            quantity_max=1,
            ticket=False,
            tickets_ordered=False,
            ticket_retention_s=1,
            ticket_stuck_s=1,
            ticket_poll_s=(1.0,),
            apply_s_max=1,
            shelf_decrement="never",
            shelf_restock_on_cancel="no",
            source="",
        ),
        catalog=CatalogLimits(
            batch_max=1,
            title_length_max=1,
            description_length_max=1,
            images_max=1,
            page_size_max=1,
            vat_percents=(20,),
            source="",
        ),
        orders=OrderLimits(
            webhook=False,
            poll_interval_s=1,
            poll_interval_s_min=1,
            window_s_max=1,
            history_s_max=1,
            overlap_s=1,
            page_size_max=1,
            pages_max=1,
            source="",
        ),
        states={},
        lacks={},
    )


def push(limit: int = 50, window_s: float = 10.0, *, critical: bool = True) -> Manifest:
    """One quota and one operation, ``push``."""
    return manifest([quota("q", limit, window_s)], push=Operation(quotas=("q",), critical=critical))


@dataclass
class Marketplace:
    """The other side: what it counted, and when calls were released."""

    clock: VirtualClock
    pacer: Pacer
    seen: dict[str, list[float]] = field(default_factory=dict)
    released: list[tuple[float, Priority, int]] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def call(
        self,
        operation: str,
        priority: Priority,
        *,
        name: int = 0,
        delay_s: float = 0.0,
        there_s: float = 0.0,
        back_s: float = 0.0,
    ) -> asyncio.Task[None]:
        async def go() -> None:
            if delay_s:
                await self.clock.sleep(delay_s)
            with await self.pacer.acquire(operation, Call(priority)):
                self.released.append((self.clock.monotonic_s(), priority, name))
                if there_s:
                    await self.clock.sleep(there_s)
                self.seen.setdefault(operation, []).append(self.clock.monotonic_s())
                if back_s:
                    await self.clock.sleep(back_s)

        task = asyncio.create_task(go())
        self.tasks.append(task)
        return task

    def most_in_a_window(self, window_s: float, *operations: str) -> int:
        """The fullest half-open window ``(t - window, t]`` over these operations."""
        times = sorted(at for name in operations or self.seen for at in self.seen.get(name, ()))
        fullest = start = 0
        for end, at in enumerate(times):
            while times[start] <= at - window_s:
                start += 1
            fullest = max(fullest, end - start + 1)
        return fullest


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


# — the limit —

_call = st.tuples(
    st.floats(0, 25),  # when it is handed over
    st.sampled_from(["a", "b", "ab", "each1", "each2"]),
    st.sampled_from(list(Priority)),
    st.sampled_from([0.0, 0.01, 0.3, 2.0]),  # the way there
    st.sampled_from([0.0, 0.05, 0.7]),  # and back
    st.sampled_from([None, None, None, None, 0.0, 0.4, 3.0]),  # given up after so long
)


@settings(max_examples=80, deadline=None)
@given(
    calls=st.lists(_call, max_size=60),
    limit_a=st.integers(1, 12),
    limit_b=st.integers(1, 5),
    window_a_s=st.sampled_from([1.0, 5.0, 10.0]),
    window_b_s=st.sampled_from([0.5, 4.0]),
)
def test_no_window_of_the_marketplace_ever_exceeds_its_limit_and_nobody_is_forgotten(
    calls: list[tuple[float, str, Priority, float, float, float | None]],
    limit_a: int,
    limit_b: int,
    window_a_s: float,
    window_b_s: float,
) -> None:
    async def story() -> None:
        clock = VirtualClock()
        market = Marketplace(
            clock,
            Pacer(
                manifest(
                    [
                        quota("A", limit_a, window_a_s),
                        quota("B", limit_b, window_b_s),
                        quota("E", limit_b, window_a_s, each=True),
                    ],
                    a=Operation(quotas=("A",), critical=True),
                    b=Operation(quotas=("B",)),
                    ab=Operation(quotas=("A", "B")),
                    each1=Operation(quotas=("E", "A")),
                    each2=Operation(quotas=("E",), min_interval_s=0.2),
                ),
                "",
                clock,
            ),
        )
        kept = []
        for delay_s, operation, priority, there_s, back_s, patience_s in calls:
            task = market.call(operation, priority, delay_s=delay_s, there_s=there_s, back_s=back_s)
            if patience_s is None:
                kept.append(task)
            else:

                async def give_up(
                    task: asyncio.Task[None] = task, after_s: float = delay_s + patience_s
                ) -> None:
                    await clock.sleep(after_s)
                    task.cancel()

                market.tasks.append(asyncio.create_task(give_up()))
        await clock.run(2_000)
        assert all(task.done() and not task.cancelled() for task in kept)
        assert market.most_in_a_window(window_a_s, "a", "ab", "each1") <= limit_a
        assert market.most_in_a_window(window_b_s, "b", "ab") <= limit_b
        assert market.most_in_a_window(window_a_s, "each1") <= limit_b
        assert market.most_in_a_window(window_a_s, "each2") <= limit_b
        assert market.most_in_a_window(0.2, "each2") <= 1
        for use in market.pacer.usage():
            assert use.used == 0, "a cancelled or finished call still occupies its quota"
        await asyncio.gather(*market.tasks, return_exceptions=True)

    asyncio.run(story())


async def test_a_slow_first_call_cannot_push_a_later_one_into_its_window(
    clock: VirtualClock,
) -> None:
    """Connecting took 3 s, so the marketplace counted the first calls 3 s late."""
    market = Marketplace(clock, Pacer(push(5), "", clock))
    for _ in range(5):
        market.call("push", CRITICAL, there_s=3.0)
    for _ in range(5):
        market.call("push", CRITICAL, delay_s=10.2)
    await clock.run(60)
    assert len(market.seen["push"]) == 10
    assert market.most_in_a_window(10.0) == 5


async def test_a_saturated_quota_is_used_nearly_whole(clock: VirtualClock) -> None:
    market = Marketplace(clock, Pacer(push(350, 60.0, critical=False), "", clock))
    for _ in range(2_000):
        market.call("push", BULK)
    await clock.run(240)
    assert 4 * 350 * 0.98 <= len(market.released) <= 4 * 350
    for task in market.tasks:
        task.cancel()
    await _let_run()


async def test_calls_that_keep_the_even_gap_never_find_the_quota_spent(clock: VirtualClock) -> None:
    """However the first of them came: sales by the dozen a second, and then for minutes."""
    pacer = Pacer(push(240, 60.0), "", clock)
    waited_s: list[float] = []
    gaps_s: list[float] = []

    async def trade() -> None:
        while True:
            asked_s = clock.monotonic_s()
            with await pacer.acquire("push", Call(CRITICAL)):
                waited_s.append(clock.monotonic_s() - asked_s)
            gaps_s.append(pacer.even_gap_s("push"))
            await clock.sleep(max(0.1, gaps_s[-1]))

    task = asyncio.create_task(trade())
    await clock.run(300)
    task.cancel()
    await _let_run()
    assert gaps_s[0] == 0
    assert max(waited_s) < 0.1
    assert max(gaps_s) < 0.5
    assert len(waited_s) > 4.5 * 240


async def test_a_tier_without_a_limit_is_not_paced(clock: VirtualClock) -> None:
    pacer = Pacer(push(1), "free", clock)
    assert pacer.available("push", BULK) == UNLIMITED
    for _ in range(100):
        (await pacer.acquire("push", Call(BULK))).settle()


# — who goes first —


async def test_lower_priorities_leave_a_fifth_of_the_window_to_critical_calls(
    clock: VirtualClock,
) -> None:
    market = Marketplace(clock, Pacer(push(50), "", clock))
    for _ in range(60):
        market.call("push", NORMAL, back_s=100.0)
    await clock.run(30)
    assert len(market.released) == 40
    for _ in range(20):
        market.call("push", CRITICAL)
    await clock.run(0)
    assert len(market.released) == 50
    for task in market.tasks:
        task.cancel()
    await _let_run()


async def test_a_quota_without_critical_operations_keeps_nothing_back(
    clock: VirtualClock,
) -> None:
    market = Marketplace(clock, Pacer(push(50, critical=False), "", clock))
    for _ in range(60):
        market.call("push", NORMAL, back_s=30.0)
    await clock.run(29)
    assert len(market.released) == 50
    await clock.run(200)


@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(st.tuples(st.floats(0, 12), st.sampled_from(list(Priority))), max_size=40),
    limit=st.integers(1, 10),
)
def test_critical_is_never_behind_bulk_and_equals_go_in_order(
    calls: list[tuple[float, Priority]], limit: int
) -> None:
    async def story() -> None:
        clock = VirtualClock()
        market = Marketplace(clock, Pacer(push(limit), "", clock))
        for name, (delay_s, priority) in enumerate(calls):
            market.call("push", priority, name=name, delay_s=delay_s)
        await clock.run(1_000)
        handed = {name: 1_000.0 + delay_s for name, (delay_s, _) in enumerate(calls)}
        assert len(market.released) == len(calls)
        gone: set[int] = set()
        for at, priority, name in market.released:
            gone.add(name)
            for other, (_, other_priority) in enumerate(calls):
                waits = other not in gone and handed[other] < at
                if waits and other_priority is CRITICAL:
                    assert priority is CRITICAL, "a lower call went before a critical one"
                if waits and other_priority is priority:
                    assert handed[name] <= handed[other], "not in order"

    asyncio.run(story())


async def test_critical_calls_burst_and_bulk_calls_flow(clock: VirtualClock) -> None:
    market = Marketplace(clock, Pacer(push(100, 10.0), "", clock))
    for _ in range(90):
        market.call("push", BULK)
    await clock.run(1.0)
    first_second = len(market.released)
    assert 4 <= first_second <= 13, "80 in 10 s, after a burst of 5 % of it"
    for _ in range(50):
        market.call("push", CRITICAL)
    await clock.run(0)
    assert len(market.released) == first_second + 50
    await clock.run(60)


async def test_bulk_makes_way_for_normal_but_never_starves(clock: VirtualClock) -> None:
    """NORMAL calls arrive faster than the quota allows, for ten minutes; critical is idle."""
    market = Marketplace(clock, Pacer(push(10, 10.0), "", clock))
    bulk = [market.call("push", BULK, name=1) for _ in range(5)]
    for second in range(600):
        market.call("push", NORMAL, delay_s=float(second))
    await clock.run(29)
    assert sum(1 for _, priority, _ in market.released if priority is BULK) <= 2
    await clock.run(60)
    assert all(task.done() for task in bulk)
    await clock.run(1_200)
    assert all(task.done() for task in market.tasks)


async def test_a_call_in_two_quotas_is_not_starved_by_streams_in_each_of_them(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(
        manifest(
            [quota("G", 2, 3.0), quota("H", 2, 4.0)],
            g=Operation(quotas=("G",)),
            h=Operation(quotas=("H",)),
            both=Operation(quotas=("G", "H")),
        ),
        "",
        clock,
    )
    market = Marketplace(clock, pacer)
    for i in range(60):
        market.call("g", NORMAL, delay_s=i * 0.5)
        market.call("h", NORMAL, delay_s=i * 0.5)
    both = market.call("both", NORMAL, delay_s=2.0)
    await clock.run(20)
    assert both.done()
    await clock.run(300)
    assert all(task.done() for task in market.tasks)


async def test_a_call_that_waits_for_an_hour_does_not_hold_up_its_neighbors(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(
        manifest(
            [quota("read", 100, 60.0), quota("hourly", 1, 3_600.0)],
            addresses=Operation(quotas=("read", "hourly")),
            poll=Operation(quotas=("read",)),
        ),
        "",
        clock,
    )
    market = Marketplace(clock, pacer)
    market.call("addresses", NORMAL)
    second = market.call("addresses", NORMAL)
    await clock.run(1)
    polls = [market.call("poll", BULK) for _ in range(50)]
    await clock.run(60)
    assert all(task.done() for task in polls)
    assert not second.done()
    await clock.run(3_700)
    assert second.done()


# — giving back —


async def test_a_cancelled_waiter_gives_its_place_back(clock: VirtualClock) -> None:
    market = Marketplace(clock, Pacer(push(1), "", clock))
    market.call("push", NORMAL)
    await clock.run(0)
    gives_up = market.call("push", NORMAL)
    waits = market.call("push", NORMAL, name=7)
    await clock.run(1)
    gives_up.cancel()
    await clock.run(10)
    assert waits.done()
    assert market.released[-1][2] == 7


async def test_cancelling_in_the_turn_of_the_grant_loses_no_place(clock: VirtualClock) -> None:
    pacer = Pacer(push(1), "", clock)
    first = await pacer.acquire("push", Call(CRITICAL))
    waiter = asyncio.create_task(pacer.acquire("push", Call(CRITICAL)))
    await _let_run()
    first.unused()  # grants the waiter, which has not run yet
    waiter.cancel()
    await _let_run()
    assert waiter.cancelled()
    assert pacer.available("push", CRITICAL) == 1


async def test_a_place_freed_in_the_turn_of_a_cancellation_goes_to_the_next(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(push(1), "", clock)
    first = await pacer.acquire("push", Call(CRITICAL))
    leaves = asyncio.create_task(pacer.acquire("push", Call(CRITICAL)))
    stays = asyncio.create_task(pacer.acquire("push", Call(CRITICAL)))
    await _let_run()
    leaves.cancel()  # its task has not heard of it yet when the place becomes free
    first.unused()
    await _let_run()
    assert leaves.cancelled()
    (await stays).unused()
    assert pacer.available("push", CRITICAL) == 1


async def test_a_place_held_for_a_waiter_that_leaves_is_free_at_once(clock: VirtualClock) -> None:
    pacer = Pacer(
        manifest(
            [quota("G", 1, 8.0), quota("H", 1, 4.0)],
            g=Operation(quotas=("G",)),
            h=Operation(quotas=("H",)),
            both=Operation(quotas=("G", "H")),
        ),
        "",
        clock,
    )
    market = Marketplace(clock, pacer)
    market.call("h", NORMAL)
    await clock.run(1)
    both = market.call("both", NORMAL)
    await clock.run(0)
    behind = market.call("g", NORMAL)
    await clock.run(0)
    assert not behind.done(), "the only place in G is held for the call in both"
    both.cancel()
    await clock.run(0)
    assert behind.done()


async def test_an_unused_permit_frees_its_place_at_once(clock: VirtualClock) -> None:
    pacer = Pacer(push(2), "", clock)
    permits = [await pacer.acquire("push", Call(CRITICAL)) for _ in range(2)]
    assert pacer.available("push", CRITICAL) == 0
    permits[0].unused()
    permits[0].settle()  # ended is ended
    assert pacer.available("push", CRITICAL) == 1
    permits[1].settle()
    assert [use.used for use in pacer.usage()] == [1]


# — what the engine asks —


async def test_available_counts_what_could_go_now_and_next_free_says_when(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(push(10, 10.0), "", clock)
    assert pacer.available("push", CRITICAL) == 10
    assert pacer.available("push", NORMAL) == 4
    assert pacer.available("push", BULK) == 2
    for _ in range(10):
        (await pacer.acquire("push", Call(CRITICAL))).settle()
    assert pacer.available("push", CRITICAL) == 0
    assert pacer.next_free_s("push", CRITICAL) == pytest.approx(10.1)
    await clock.run(10.11)
    assert pacer.available("push", CRITICAL) == 10
    assert pacer.next_free_s("push", CRITICAL) == 0


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(list(Priority)), st.floats(0, 3)), max_size=30),
    limit=st.integers(1, 40),
)
def test_what_is_said_to_be_available_is_released_without_waiting(
    steps: list[tuple[Priority, float]], limit: int
) -> None:
    async def story() -> None:
        clock = VirtualClock()
        pacer = Pacer(push(limit), "", clock)
        for priority, pause_s in steps:
            room = pacer.available("push", priority)
            assert (room > 0) == (pacer.next_free_s("push", priority) <= 1e-6)
            for _ in range(room):
                permit = await asyncio.wait_for(pacer.acquire("push", Call(priority)), 1)
                permit.settle()
            assert pacer.available("push", priority) == 0
            await clock.run(pause_s)

    asyncio.run(story())


async def test_waiters_lessen_what_is_available(clock: VirtualClock) -> None:
    market = Marketplace(clock, Pacer(push(10, 10.0), "", clock))
    for _ in range(8):
        market.call("push", NORMAL)
    await clock.run(0)
    assert market.pacer.available("push", NORMAL) == 0
    assert market.pacer.available("push", CRITICAL) == 6, "they do not stand before it"
    await clock.run(60)


async def test_usage_names_group_operation_and_limit(clock: VirtualClock) -> None:
    pacer = Pacer(
        manifest(
            [quota("burst", 50, 10.0, each=True), quota("write", 350, 60.0)],
            push=Operation(quotas=("burst", "write")),
            create=Operation(quotas=("burst",)),
        ),
        "",
        clock,
    )
    (await pacer.acquire("push", Call())).settle()
    assert [(u.group, u.operation, u.used, u.limit, u.window_s) for u in pacer.usage()] == [
        ("burst", "push", 1, 50, 10.0),
        ("write", "", 1, 350, 60.0),
    ]


# — throttles —


async def test_a_throttle_shuts_its_scope_for_as_long_as_the_marketplace_says(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(
        manifest(
            [quota("q", 10, 10.0), quota("r", 10, 10.0)],
            push=Operation(quotas=("q",)),
            read=Operation(quotas=("q",)),
            other=Operation(quotas=("r",)),
            free=Operation(),
        ),
        "",
        clock,
    )
    pacer.throttled("push", Throttled(20.0))
    assert pacer.next_free_s("push", CRITICAL) == pytest.approx(20.05)
    assert pacer.available("read", CRITICAL) == 0
    assert pacer.available("other", CRITICAL) == 10
    pacer.throttled("other", Throttled(5.0, ThrottleScope.OPERATION))
    assert pacer.available("other", CRITICAL) == 0
    pacer.throttled("free", Throttled(7.0))
    assert pacer.next_free_s("free", CRITICAL) == pytest.approx(7.05)
    pacer.throttled("free", Throttled(90.0, ThrottleScope.ACCOUNT))
    assert pacer.next_free_s("read", CRITICAL) == pytest.approx(90.05)
    await clock.run(91)
    assert pacer.available("read", CRITICAL) > 0


async def test_silent_throttles_back_off_exponentially_and_count_once_an_episode(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(push(50, 10.0), "", clock)
    waits = []
    for _ in range(4):
        pacer.throttled("push", Throttled())
        pacer.throttled("push", Throttled())  # the answer of a call sent at the same time
        waits.append(pacer.next_free_s("push", CRITICAL))
        await clock.run(waits[-1])
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0])
    await clock.run(600)
    pacer.throttled("push", Throttled())
    assert pacer.next_free_s("push", CRITICAL) == pytest.approx(0.5)
    for _ in range(30):
        await clock.run(pacer.next_free_s("push", CRITICAL))
        pacer.throttled("push", Throttled())
    assert pacer.next_free_s("push", CRITICAL) == pytest.approx(900.0), "capped"


async def test_a_throttle_shuts_for_longer_the_fuller_the_quota_was(clock: VirtualClock) -> None:
    pacer = Pacer(push(50, 100.0), "", clock)
    for _ in range(25):
        (await pacer.acquire("push", Call(CRITICAL))).settle()
    pacer.throttled("push", Throttled())
    assert pacer.next_free_s("push", CRITICAL) == pytest.approx(5.0), "half of a tenth"


async def test_an_observed_throttle_lowers_the_limit_which_recovers_slowly(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(push(50, 10.0), "", clock)
    pacer.throttled("push", Throttled(1.0))
    await clock.run(1.1)
    assert pacer.available("push", CRITICAL) == 40
    await clock.run(20)
    assert 44 <= pacer.available("push", CRITICAL) <= 46
    await clock.run(60)
    assert pacer.available("push", CRITICAL) == 50


async def test_an_absurd_retry_after_is_capped(clock: VirtualClock) -> None:
    pacer = Pacer(push(), "", clock)
    pacer.throttled("push", Throttled(10_000_000.0))
    assert pacer.next_free_s("push", CRITICAL) <= 3_601


# — handing over —


async def _busy_pacer(clock: VirtualClock) -> Pacer:
    pacer = Pacer(push(50, 10.0), "", clock)
    for _ in range(20):
        (await pacer.acquire("push", Call(CRITICAL))).settle()
    await clock.run(5)
    for _ in range(10):
        (await pacer.acquire("push", Call(CRITICAL))).settle()
    return pacer


async def test_a_state_handed_over_in_good_order_is_continued_exactly(
    clock: VirtualClock,
) -> None:
    raw = msgspec.json.encode((await _busy_pacer(clock)).snapshot(final=True))
    assert len(raw) < 200
    heir = Pacer(push(50, 10.0), "", clock)
    heir.restore(msgspec.json.decode(raw, type=PacerState))
    assert heir.available("push", CRITICAL) == 20
    await clock.run(6.5)  # the older twenty are gone, an eighth of a window late at most
    assert heir.available("push", CRITICAL) == 40
    await clock.run(5)
    assert heir.available("push", CRITICAL) == 50


async def test_after_a_crash_the_unseen_last_seconds_are_taken_for_used(
    clock: VirtualClock,
) -> None:
    state = (await _busy_pacer(clock)).snapshot()
    await clock.run(4)
    heir = Pacer(push(50, 10.0), "", clock)
    heir.restore(state)
    assert heir.available("push", NORMAL) == 0, "the vanished owner may have sent them"
    assert heir.available("push", CRITICAL) >= 10, "the kept part is free"


async def test_a_state_from_before_a_long_pause_holds_nothing_up(clock: VirtualClock) -> None:
    state = (await _busy_pacer(clock)).snapshot()
    await clock.run(21)  # a lease and a window
    heir = Pacer(push(50, 10.0), "", clock)
    heir.restore(state)
    assert heir.available("push", CRITICAL) == 50


async def test_a_takeover_without_a_snapshot_starts_full_and_a_fresh_account_empty(
    clock: VirtualClock,
) -> None:
    heir = Pacer(push(50, 10.0), "", clock)
    assert heir.available("push", CRITICAL) == 50
    heir.restore(None)
    assert heir.available("push", CRITICAL) == 0
    await clock.run(10.2)
    assert heir.available("push", CRITICAL) == 50


async def test_of_an_unknown_past_everything_is_spent_but_what_is_kept_for_sales(
    clock: VirtualClock,
) -> None:
    """After a restore: orders are asked for at once, the rest a window after it – not later."""
    at_us = microseconds(clock.now())
    raw = b'{"at_us":%d,"final":true,"used":{},"lowered":{},"blocked_s":{},"is_unknown":true}'
    state = msgspec.json.decode(raw % at_us, type=PacerState)
    await clock.run(4)
    heir = Pacer(push(50, 10.0), "", clock)
    heir.restore(state)
    assert heir.available("push", NORMAL) == 0
    assert heir.available("push", CRITICAL) == 10
    await clock.run(6.2)  # ten seconds and the margin since the restore
    assert heir.available("push", CRITICAL) == 50
    late = Pacer(push(50, 10.0), "", clock)
    late.restore(state)
    assert late.available("push", CRITICAL) == 50


async def test_blocks_and_lowered_limits_survive_the_handover(clock: VirtualClock) -> None:
    pacer = Pacer(push(50, 10.0), "", clock)
    pacer.throttled("push", Throttled(30.0))
    pacer.throttled("push", Throttled(40.0, ThrottleScope.ACCOUNT))
    state = pacer.snapshot(final=True)
    await clock.run(10)
    heir = Pacer(push(50, 10.0), "", clock)
    heir.restore(state)
    assert heir.next_free_s("push", CRITICAL) == pytest.approx(30.05)
    await clock.run(30.1)
    assert heir.available("push", CRITICAL) < 50


# — quotas that accounts share —


class Book:
    """Keeps loans as the database does; see ``borrow_units`` and tests/store/test_budget.py."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._loans: dict[int, tuple[int, float]] = {}  # units, free again at
        self._serial = 0
        self.asked: list[Ask] = []

    async def lend(self, ask: Ask) -> Lent:
        self.asked.append(ask)
        now = self._clock.monotonic_s()
        if ask.last in self._loans:
            units, free_s = self._loans[ask.last]
            self._loans[ask.last] = (min(units, ask.used), free_s)
        self._loans = {
            number: loan for number, loan in self._loans.items() if loan[0] and loan[1] > now
        }
        await self._clock.sleep(0.01)
        free = ask.limit - sum(units for units, _ in self._loans.values())
        units = min(ask.wanted, (free + 1) // 2)
        if units <= 0:
            return Lent(0, 0, min(free_s for _, free_s in self._loans.values()) - now)
        self._serial += 1
        self._loans[self._serial] = (units, now + ask.occupied_s)
        return Lent(self._serial, units, 0.0)


SHARED = manifest([quota("ip", 20, 10.0, scope="egress_ip")], push=Operation(quotas=("ip",)))


def processes(book: Book, clock: VirtualClock, accounts: Sequence[int]) -> list[Marketplace]:
    """Accounts that share a quota, so many in each process."""
    return [
        Marketplace(clock, Pacer(SHARED, "", clock, {"egress_ip": budget}))
        for count in accounts
        for budget in [SharedBudget("x/egress_ip", book, clock)]
        for _ in range(count)
    ]


def together(markets: Sequence[Marketplace]) -> Marketplace:
    """What the marketplace saw of all of them."""
    seen = sorted(at for market in markets for at in market.seen.get("push", ()))
    return Marketplace(markets[0].clock, markets[0].pacer, {"push": seen})


async def test_accounts_of_several_processes_never_exceed_what_they_share(
    clock: VirtualClock,
) -> None:
    markets = processes(Book(clock), clock, [2, 1])
    for market in markets:
        for _ in range(15):
            market.call("push", NORMAL, there_s=0.2)
    await clock.run(60)
    assert all(len(market.seen["push"]) == 15 for market in markets)
    seen = together(markets)
    assert seen.most_in_a_window(10.0) <= 20
    # Most of the quota is used: 45 calls need three windows, and what slices cost.
    assert seen.seen["push"][-1] - seen.seen["push"][0] < 36
    assert markets[0].pacer.available("push", NORMAL) > 0


async def test_a_process_that_calls_now_and_then_leaves_the_quota_to_the_others(
    clock: VirtualClock,
) -> None:
    """What it borrows and does not use is free again when it asks next."""
    seldom, often = processes(Book(clock), clock, [1, 1])
    for number in range(20):
        seldom.call("push", NORMAL, delay_s=3.0 * number)
    for _ in range(200):
        often.call("push", NORMAL)
    await clock.run(70)
    assert len(seldom.seen["push"]) == 20
    assert max(at - 1000 - 3 * n for n, at in enumerate(seldom.seen["push"])) < 8
    assert len(often.seen["push"]) >= 60
    assert together([seldom, often]).most_in_a_window(10.0) <= 20
    for task in often.tasks:
        task.cancel()


async def test_what_a_killed_process_had_borrowed_is_free_again_in_time(
    clock: VirtualClock,
) -> None:
    killed, other = processes(Book(clock), clock, [1, 1])
    for _ in range(40):
        killed.call("push", NORMAL)
    await clock.run(0.5)
    for task in killed.tasks:
        task.cancel()
    for _ in range(20):
        other.call("push", NORMAL)
    await clock.run(30)
    assert len(other.seen["push"]) == 20
    assert together([killed, other]).most_in_a_window(10.0) <= 20


async def test_a_lent_place_that_was_not_used_in_time_is_void_and_not_given_to_another_slice(
    clock: VirtualClock,
) -> None:
    book = Book(clock)
    (market,) = processes(book, clock, [1])
    acquiring = asyncio.create_task(market.pacer.acquire("push", Call(NORMAL)))
    await clock.run(0.1)
    permit = acquiring.result()
    assert clock.monotonic_s() < permit.until_s < clock.monotonic_s() + 2.1
    await clock.run(5)
    permit.unused()
    assert market.pacer.under_way == 0
    before = len(book.asked)
    market.call("push", NORMAL)
    await clock.run(1)
    assert len(market.seen["push"]) == 1
    assert len(book.asked) == before + 1


async def test_a_throttle_of_a_shared_quota_stops_all_accounts_of_the_process(
    clock: VirtualClock,
) -> None:
    told, other = processes(Book(clock), clock, [2])
    told.pacer.throttled("push", Throttled(30.0))
    other.call("push", CRITICAL)
    await clock.run(29)
    assert "push" not in other.seen
    await clock.run(5)
    assert len(other.seen["push"]) == 1


async def test_a_scope_without_a_lender_is_counted_as_the_accounts_own(
    clock: VirtualClock,
) -> None:
    pacer = Pacer(
        manifest([quota("ip", 3, 10.0, scope="egress_ip")], push=Operation(quotas=("ip",))),
        "",
        clock,
    )
    assert pacer.available("push", CRITICAL) == 3
