"""The pacer of one account: who may call now, who waits, and for how long."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.channel.contract import Priority
from meschain.channel.outcome import ThrottleScope
from meschain.channel.pacing.budget import Loan
from meschain.channel.pacing.window import Gate, Window

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from meschain.channel.capability import Manifest
    from meschain.channel.clock import Clock
    from meschain.channel.contract import Call
    from meschain.channel.outcome import Throttled
    from meschain.channel.pacing.budget import SharedBudget

UNLIMITED: Final = 1_000_000_000  # what ``available`` says where no quota binds
_AGING_S: Final = 30.0  # a BULK call that waited so long counts as NORMAL: it never starves
_UNSEEN_S_MAX: Final = 10.0  # a lease is 8 s: whoever lost it sends nothing after that (design)
_WAKE_S_MIN: Final = 0.001  # below a timer's resolution; keeps rounding from spinning the loop


class QuotaUse(msgspec.Struct, frozen=True):
    """How full one quota is now. ``operation`` is set where each operation has its own."""

    group: str
    used: int
    limit: int
    window_s: float
    operation: str = ""


class PacerState(msgspec.Struct, frozen=True, kw_only=True):
    """What a new owner must know, as JSON of some hundred bytes. Keys are those of the windows."""

    at_us: int  # wall clock, microseconds since the epoch
    final: bool  # nothing was released afterwards: the owner let go in good order
    used: dict[str, tuple[int, ...]]  # calls by age, in eighths of a window, youngest first
    lowered: dict[str, float]  # limits that throttling has lowered
    blocked_s: dict[str, float]  # seconds for which a window, an operation or all ("") are shut
    is_unknown: bool = False  # of what was sent before ``at_us`` (a restore): see Pacer.restore


class Permit:
    """Leave to send one call. ``with`` it: the call is over when the block ends."""

    __slots__ = ("_lane", "_lent", "_open", "_pacer", "_priority")

    def __init__(self, pacer: Pacer, lane: _Lane, priority: Priority, lent: _Lent) -> None:
        """Made by the pacer only."""
        self._pacer = pacer
        self._lane = lane
        self._priority = priority
        self._lent = lent
        self._open = True

    @property
    def until_s(self) -> float:
        """The call must be on its way by then (monotonic): what others share was lent so long."""
        return min(self._lent, default=inf)

    def __enter__(self) -> Permit:  # noqa: PYI034 – final by use; Self would promise subclasses
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.settle()

    def settle(self) -> None:
        """The call was answered or given up: its windows begin to run now."""
        if self._open:
            self._open = False
            self._pacer.settled(self._lane)

    def unused(self) -> None:
        """The call certainly never left: its place is free again."""
        if self._open:
            self._open = False
            self._pacer.returned(self._lane, self._priority, self._lent)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    order: tuple[int, float, int]  # critical or not, hand-over with aging, serial number
    priority: Priority
    aged_s: float  # from when on a BULK call has the rights of a NORMAL one
    granted: asyncio.Future[_Lent]

    def priority_at(self, now: float) -> Priority:
        aged = self.priority is Priority.BULK and now >= self.aged_s
        return Priority.NORMAL if aged else self.priority


@dataclass(slots=True, eq=False)
class _Lane:
    """One operation: the quotas it belongs to and who waits for it, by priority."""

    operation: str
    windows: tuple[Window, ...]
    loans: tuple[Loan, ...]
    gate: Gate = field(default_factory=Gate)
    waiting: tuple[OrderedDict[int, _Waiter], ...] = field(
        default_factory=lambda: tuple(OrderedDict[int, _Waiter]() for _ in Priority)
    )

    def head(self) -> _Waiter | None:
        """The first in order. Where it cannot go, none behind it on this operation can."""
        firsts = [next(iter(queue.values())) for queue in self.waiting if queue]
        return min(firsts, key=_order) if firsts else None

    def remove(self, waiter: _Waiter) -> int:
        """1, or 0 where it was removed before."""
        return int(self.waiting[waiter.priority].pop(waiter.order[2], None) is not None)

    def lacks_unit(self, now: float) -> bool:
        return any(not loan.has_unit(now) for loan in self.loans)


def _order(waiter: _Waiter) -> tuple[int, float, int]:
    return waiter.order


_Head = tuple[tuple[int, float, int], _Lane, _Waiter]
_Lent = tuple[float, ...]  # until when the unit of each of a lane's loans may be used


class Pacer:
    """All quotas of one account. Lives in the one process that holds the account's lease."""

    def __init__(
        self,
        manifest: Manifest,
        tier: str,
        clock: Clock,
        shared: Mapping[str, SharedBudget] | None = None,
    ) -> None:
        """A fresh account: nothing sent yet. After a takeover call ``restore``.

        ``tier`` "" is the manifest's default. ``shared`` maps a quota's scope to its lender; a
        scope without one is counted as if it were the account's own.
        """
        self._clock = clock
        self._gate = Gate()
        self._serial = 0
        self._waiters = 0
        self._busy: dict[str, _Lane] = {}  # lanes with waiters
        self._task: asyncio.Task[None] | None = None
        self._wake_s = inf
        self.under_way = 0  # calls that were released and are not over
        self._windows: dict[str, Window] = {}
        self._lanes: dict[str, _Lane] = {}
        tier = tier or manifest.default_tier
        assert tier in manifest.tiers, f"tier {tier!r} is none of {manifest.tiers}"
        quotas = {quota.group: quota for quota in manifest.quotas}
        loans: dict[str, Loan] = {}
        for name, operation in manifest.operations.items():
            windows: list[Window] = []
            lent: list[Loan] = []
            for group in operation.quotas:
                quota = quotas[group]
                limit = quota.limit.get(tier)
                if limit is None:
                    continue
                lender = (shared or {}).get(quota.scope)
                if lender is not None:
                    lent.append(loans.setdefault(group, Loan(limit, lender.purse(quota))))
                    continue
                own = name if quota.per == "operation" else ""
                window = Window(group, own, limit, quota.window_s)
                window = self._windows.setdefault(window.key, window)
                window.keeps = window.keeps or (operation.critical and limit > 1)
                windows.append(window)
            if operation.min_interval_s > 0:
                window = Window("interval", name, 1, operation.min_interval_s)
                windows.append(self._windows.setdefault(window.key, window))
            self._lanes[name] = _Lane(name, tuple(windows), tuple(lent))

    # — asking —

    async def acquire(self, operation: str, call: Call) -> Permit:
        """Wait until every quota of ``operation`` has room, and take one place in each of them.

        The permit must be ended (``with``, ``settle`` or ``unused``): until then it occupies its
        quotas. Cancelling the wait gives the place back.
        """
        lane = self._lanes[operation]
        priority = call.priority
        now = self._clock.monotonic_s()
        if (
            not self._waiters
            and self._ready_s(lane, priority, now) <= now
            and not lane.lacks_unit(now)
        ):
            return Permit(self, lane, priority, self._take(lane, priority, now))
        waiter = self._enqueue(lane, priority, now)
        if lane.head() is waiter:
            self._serve()
        try:
            lent = await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.cancelled():
                self._leave(lane, waiter)
            else:  # granted in the same turn of the loop
                self.returned(lane, priority, waiter.granted.result())
            raise
        return Permit(self, lane, priority, lent)

    def available(self, operation: str, priority: Priority) -> int:
        """Calls that could be released now beside those that already wait; sizes claims."""
        lane = self._lanes[operation]
        now = self._clock.monotonic_s()
        if max(self._gate.until_s, lane.gate.until_s) > now:
            return 0
        room = UNLIMITED
        for window in lane.windows:
            room = min(room, window.room(priority, now))
        for loan in lane.loans:
            room = min(room, loan.room(now))
        return max(0, room - self._ahead(lane, priority))

    def next_free_s(self, operation: str, priority: Priority) -> float:
        """Seconds until ``available`` can be above 0, as far as is known now; 0: it is."""
        lane = self._lanes[operation]
        now = self._clock.monotonic_s()
        return max(0.0, self._ready_s(lane, priority, now, self._ahead(lane, priority)) - now)

    def even_gap_s(self, operation: str) -> float:
        """Seconds between calls of ``operation``, so that its quotas last; 0: much is left.

        Interval rules and quotas lent by others speak for themselves.
        """
        now = self._clock.monotonic_s()
        windows = self._lanes[operation].windows
        return max((each.even_gap_s(now) for each in windows if each.limit > 1), default=0.0)

    def usage(self) -> list[QuotaUse]:
        """How full each quota is, for lane health; per-operation quotas only where used."""
        now = self._clock.monotonic_s()
        return [
            QuotaUse(window.group, used, window.limit_now(now), window.window_s, window.operation)
            for window in self._windows.values()
            if (used := window.used(now)) or not window.operation
        ]

    # — learning —

    def throttled(self, operation: str, throttle: Throttled) -> None:
        """The marketplace said "too fast": shut that scope for a while and lower its limits."""
        lane = self._lanes[operation]
        now = self._clock.monotonic_s()
        after = throttle.retry_after_s
        if throttle.scope is ThrottleScope.ACCOUNT:
            lowered = lane.windows if self._gate.shut(now, after) else ()
        elif throttle.scope is ThrottleScope.OPERATION or not (lane.windows or lane.loans):
            own = tuple(window for window in lane.windows if window.operation)
            lowered = own if lane.gate.shut(now, after) else ()
        else:
            for loan in lane.loans:
                loan.gate.shut(now, after)
            lowered = tuple(window for window in lane.windows if window.shut(now, after))
        for window in lowered:
            window.lower(now)

    # — handing over —

    def snapshot(self, *, final: bool = False) -> PacerState:
        """The state to persist with the lease; ``final``: nothing will be released any more."""
        now = self._clock.monotonic_s()
        gates = {window.key: window.gate for window in self._windows.values()}
        gates |= {f"{name}()": lane.gate for name, lane in self._lanes.items()}
        gates[""] = self._gate
        return PacerState(
            at_us=microseconds(self._clock.now()),
            final=final,
            used={key: ages for key, window in self._windows.items() if (ages := window.ages(now))},
            lowered={
                key: limit
                for key, window in self._windows.items()
                if (limit := window.lowered_to(now)) is not None
            },
            blocked_s={
                key: round(gate.until_s - now, 3)
                for key, gate in gates.items()
                if gate.until_s > now
            },
        )

    def restore(self, state: PacerState | None) -> None:
        """Begin where another owner ended: pessimistic, for nobody knows its last moments.

        Unless the state is final, what may have been released unseen since then is added for
        NORMAL and BULK; the part kept for CRITICAL stays free, for a sale cannot wait a window.
        None: nothing is known, every window is taken for full. An unknown state says when the
        sending ended and not how much it was: NORMAL and BULK wait a window from then on.
        """
        now = self._clock.monotonic_s()
        if state is None:
            for window in self._windows.values():
                window.fill((window.limit,), now, now)
            return
        since = max(0.0, (microseconds(self._clock.now()) - state.at_us) / 1_000_000)
        if state.is_unknown:
            for window in self._windows.values():
                window.assume_sent(window.span_s, now - since)
            return
        unseen_s = 0.0 if state.final else min(since, _UNSEEN_S_MAX)
        last_s = now - since + unseen_s  # when the other owner may have sent or counted last
        for key, window in self._windows.items():
            if key in state.lowered:
                window.lower_to(state.lowered[key], now - since)
            window.fill(state.used.get(key, ()), now - since, last_s)
            if not state.final:
                window.assume_sent(unseen_s, last_s)
            window.gate.until_s = now + state.blocked_s.get(key, -inf) - since
        for name, lane in self._lanes.items():
            lane.gate.until_s = now + state.blocked_s.get(f"{name}()", -inf) - since
        self._gate.until_s = now + state.blocked_s.get("", -inf) - since

    # — the rest is between the pacer and its permits —

    def settled(self, lane: _Lane) -> None:
        """A permit's call is over. Nothing becomes free now: its windows only begin to run."""
        now = self._clock.monotonic_s()
        self.under_way -= 1
        for window in lane.windows:
            window.settle(now)

    def returned(self, lane: _Lane, priority: Priority, lent: _Lent) -> None:
        """A permit was not used: others may have its place at once."""
        now = self._clock.monotonic_s()
        self.under_way -= 1
        for window in lane.windows:
            window.give_back(priority, now)
        for loan, until_s in zip(lane.loans, lent, strict=True):
            loan.give_back(until_s)
        self._serve()

    def _take(self, lane: _Lane, priority: Priority, now: float) -> _Lent:
        self.under_way += 1
        for window in lane.windows:
            window.take(priority, now)
        return tuple(loan.take() for loan in lane.loans)

    def _enqueue(self, lane: _Lane, priority: Priority, now: float) -> _Waiter:
        self._serial += 1
        aged_s = now + _AGING_S if priority is Priority.BULK else now
        waiter = _Waiter(
            order=(int(priority is not Priority.CRITICAL), aged_s, self._serial),
            priority=priority,
            aged_s=aged_s,
            granted=asyncio.get_running_loop().create_future(),
        )
        lane.waiting[priority][self._serial] = waiter
        self._waiters += 1
        self._busy[lane.operation] = lane
        return waiter

    def _dequeue(self, lane: _Lane, waiter: _Waiter) -> None:
        self._waiters -= lane.remove(waiter)
        if lane.operation in self._busy and not any(lane.waiting):
            del self._busy[lane.operation]

    def _leave(self, lane: _Lane, waiter: _Waiter) -> None:
        """A cancelled waiter goes; others may have stood aside for it."""
        self._dequeue(lane, waiter)
        self._serve()
        if not self._waiters and self._task is not None:
            self._task.cancel()
            self._task = None

    def _ahead(self, lane: _Lane, priority: Priority) -> int:
        """Waiters that a new call of this priority would stand behind, in any shared quota."""
        return sum(
            len(queue)
            for other in self._busy.values()
            if other is lane or not set(other.windows).isdisjoint(lane.windows)
            for queue in other.waiting[: priority + 1]
        )

    def _ready_s(self, lane: _Lane, priority: Priority, now: float, ahead: int = 0) -> float:
        ready = max(self._gate.until_s, lane.gate.until_s)
        for window in lane.windows:
            ready = max(ready, window.ready_s(priority, now, ahead))
        for loan in lane.loans:
            ready = max(ready, loan.ready_s(now))
        return ready

    def _serve(self) -> None:
        """Release in order everyone who can go, then plan the next look.

        A head that must wait lets those behind it pass only where that costs it nothing: a place
        that would not be free again when its other quotas are ready is held for it.
        """
        now = self._clock.monotonic_s()
        wake_s = inf
        held: dict[Window, int] = {}
        heads: list[_Head] = []
        for lane in self._busy.values():
            _push_head(heads, lane)
        while heads:
            _, lane, head = heappop(heads)
            if head.granted.cancelled():  # its task has yet to hear of it
                self._dequeue(lane, head)
                _push_head(heads, lane)
                continue
            priority = head.priority_at(now)
            ready_s = self._ready_s(lane, priority, now)
            if ready_s <= now and lane.lacks_unit(now):
                wake_s = now
            elif ready_s > now:
                wake_s = min(wake_s, ready_s, head.aged_s if head.aged_s > now else inf)
            elif all(held.get(w, 0) < w.room(priority, now) for w in lane.windows if w in held):
                self._dequeue(lane, head)
                head.granted.set_result(self._take(lane, priority, now))
                _push_head(heads, lane)
                continue
            for window in lane.windows:
                if ready_s - now < window.span_s:
                    held[window] = held.get(window, 0) + 1
        if wake_s < inf:
            self._plan(wake_s, now)

    def _plan(self, wake_s: float, now: float) -> None:
        if self._task is not None and not self._task.done():
            if wake_s > self._wake_s - _WAKE_S_MIN:
                return  # it looks soon enough, and plans anew
            self._task.cancel()
        self._wake_s = wake_s
        self._task = asyncio.create_task(self._look(max(wake_s - now, _WAKE_S_MIN)))

    async def _look(self, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        for lane in tuple(self._busy.values()):
            head = lane.head()
            now = self._clock.monotonic_s()
            if head is None or self._ready_s(lane, head.priority_at(now), now) > now:
                continue  # a unit would be void before it can be used
            for loan in lane.loans:
                if loan.must_ask(self._clock.monotonic_s()):
                    await loan.ask()
        self._task = None
        self._serve()


def _push_head(heads: list[_Head], lane: _Lane) -> None:
    head = lane.head()
    if head is not None:
        heappush(heads, (head.order, lane, head))  # orders differ, so lanes are never compared
