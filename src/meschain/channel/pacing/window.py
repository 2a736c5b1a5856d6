"""One quota as data that fills and empties; nothing here waits."""

from __future__ import annotations

from collections import deque
from itertools import chain, repeat
from math import ceil, inf
from typing import Final

from meschain.channel.contract import Priority

# Occupation until the answer takes care of the network. What is left: clocks that run at
# different rates (NTP slews by up to 500 ppm), marketplaces that count on several nodes, and
# bytes still under way when we gave up waiting.
_MARGIN_SHARE: Final = 0.005
_MARGIN_S: Final = 0.05

_KEPT_SHARE: Final = 0.2  # of a budget that critical calls draw on, kept for them
_BURST_SHARE: Final = {Priority.NORMAL: 0.25, Priority.BULK: 0.05}
_BURST_MIN: Final = {Priority.NORMAL: 4, Priority.BULK: 2}

_BACKOFF_S_MIN: Final = 0.5
_BACKOFF_S_START_MAX: Final = 30.0
_BACKOFF_S_MAX: Final = 900.0
_RETRY_AFTER_S_MAX: Final = 3600.0  # a longer "Retry-After" is taken for a mistake of theirs
_EPISODE_S: Final = 60.0  # a throttle later than this after the last one starts a new count
_LOWER_FACTOR: Final = 0.8  # an observed throttle takes a fifth of the limit away …
_RECOVERY_SHARE: Final = 0.05  # … and each quiet window gives this part of the full limit back

_ROUNDING_S: Final = 1e-6  # sums of gaps are not exact
_SLICES: Final = 8  # a snapshot tells the age of calls in eighths of a window


def span_s(window_s: float) -> float:
    """How long an answered call occupies its quota: the window and a margin."""
    return window_s * (1 + _MARGIN_SHARE) + _MARGIN_S


class Gate:
    """Shut for a while after a throttle, longer each time it happens again."""

    __slots__ = ("_backoff_s", "_level", "until_s")

    def __init__(self, backoff_s: float = 1.0) -> None:
        self._backoff_s = max(_BACKOFF_S_MIN, min(backoff_s, _BACKOFF_S_START_MAX))
        self._level = 0
        self.until_s = -inf

    def shut(self, now: float, retry_after_s: float | None, use: float = 1.0) -> bool:
        """Shut the gate; False when it was shut already: the answer of a call sent before.

        ``use``: how full the quota was by our count, 0 to 1. A throttle that comes far from the
        limit is hardly ours, and a sale should not wait for it as long as for one we caused.
        """
        again = now < self.until_s
        if not again:
            self._level = self._level + 1 if now - self.until_s < _EPISODE_S else 0
        if retry_after_s is not None:
            wait = min(max(retry_after_s, 0.0), _RETRY_AFTER_S_MAX) + _MARGIN_S
            self.until_s = max(self.until_s, now + wait)
        elif not again:
            first_s = max(_BACKOFF_S_MIN, self._backoff_s * min(1.0, use))
            self.until_s = now + min(first_s * 2.0**self._level, _BACKOFF_S_MAX)
        return not again


class Window:
    """One quota of this account: who occupies it, and when the next may come."""

    __slots__ = (
        "_lowered",
        "_lowered_s",
        "_stamps",
        "_tat_s",
        "gate",
        "group",
        "in_flight",
        "keeps",
        "limit",
        "operation",
        "span_s",
        "window_s",
    )

    def __init__(self, group: str, operation: str, limit: int, window_s: float) -> None:
        assert limit > 0, f"quota {group} allows nothing"
        self.group = group
        self.operation = operation
        self.limit = limit
        self.window_s = window_s
        self.span_s = span_s(window_s)
        self.keeps = False  # set when a critical operation is a member
        self.in_flight = 0
        self.gate = Gate(window_s / 10)
        self._stamps: deque[float] = deque()  # when calls were answered, oldest first
        self._tat_s = -inf  # theoretical arrival time of the next NORMAL or BULK call
        self._lowered: float | None = None
        self._lowered_s = 0.0

    @property
    def key(self) -> str:
        """Its name in a snapshot."""
        return f"{self.group}/{self.operation}" if self.operation else self.group

    def used(self, now: float) -> int:
        """Calls in flight or answered within the last window."""
        stamps = self._stamps
        expired = now - self.span_s
        while stamps and stamps[0] <= expired:
            stamps.popleft()
        return self.in_flight + len(stamps)

    def limit_now(self, now: float) -> int:
        """The manifest's limit, or less for a while after a throttle."""
        if self._lowered is None:
            return self.limit
        back = (now - self._lowered_s) / self.window_s * _RECOVERY_SHARE * self.limit
        limit = int(self._lowered + back)
        if limit >= self.limit:
            self._lowered = None
            return self.limit
        return max(1, limit)

    def share(self, priority: Priority, now: float) -> int:
        """How far a call of this priority may fill the window."""
        limit = self.limit_now(now)
        if priority is Priority.CRITICAL or not self.keeps:
            return limit
        return max(1, int(limit * (1 - _KEPT_SHARE)))

    def ready_s(self, priority: Priority, now: float, ahead: int = 0) -> float:
        """When a call may come with ``ahead`` others before it; not after ``now``: at once.

        A lower bound where calls in flight stand in the way: their window has yet to begin.
        """
        ready = self.gate.until_s
        share = self.share(priority, now)
        lacking = self.used(now) + ahead + 1 - share
        if lacking > 0:
            stamps = self._stamps
            blocking = stamps[lacking - 1] if lacking <= len(stamps) else now
            ready = max(ready, blocking + self.span_s)
        if priority is not Priority.CRITICAL:
            gap = self.span_s / share
            burst = max(_BURST_MIN[priority], int(share * _BURST_SHARE[priority]))
            ready = max(ready, max(self._tat_s, now) + (ahead - burst + 1) * gap - _ROUNDING_S)
        return ready

    def room(self, priority: Priority, now: float) -> int:
        """Calls of this priority that could go at ``now``."""
        if self.gate.until_s > now:
            return 0
        share = self.share(priority, now)
        room = share - self.used(now)
        if priority is not Priority.CRITICAL:
            gap = self.span_s / share
            burst = max(_BURST_MIN[priority], int(share * _BURST_SHARE[priority]))
            room = min(room, burst - ceil((max(self._tat_s, now) - now - _ROUNDING_S) / gap))
        return max(0, room)

    def even_gap_s(self, now: float) -> float:
        """Seconds between calls from now on, so that none of them finds the window full.

        0 while half of it is free. Spent as fast as possible, a quota would be gone in seconds, and
        then every sale would wait until the first of its calls is a whole window old.
        """
        used, limit = self.used(now), self.limit_now(now)
        if used * 2 < limit:
            return 0.0
        gap_s = self.span_s / limit
        place = max(0, limit - used)  # of a call from now on, the next being the first
        for stamp in chain(self._stamps, repeat(now, self.in_flight)):
            place += 1  # it needs the room that this stamp leaves
            gap_s = max(gap_s, (stamp + self.span_s - now) / place)
        return gap_s

    def take(self, priority: Priority, now: float) -> None:
        self.in_flight += 1
        if priority is not Priority.CRITICAL:
            self._tat_s = max(self._tat_s, now) + self.span_s / self.share(priority, now)

    def settle(self, now: float) -> None:
        self.in_flight -= 1
        self._stamps.append(now)

    def give_back(self, priority: Priority, now: float) -> None:
        self.in_flight -= 1
        if priority is not Priority.CRITICAL:
            self._tat_s -= self.span_s / self.share(priority, now)

    def shut(self, now: float, retry_after_s: float | None) -> bool:
        """Shut its gate after a throttle; False when it was shut already."""
        return self.gate.shut(now, retry_after_s, self.used(now) / self.limit_now(now))

    def lower(self, now: float) -> None:
        """A throttle says that less is allowed than the manifest (or another client) knows."""
        self._lowered = max(1.0, self.limit_now(now) * _LOWER_FACTOR)
        self._lowered_s = now

    def lowered_to(self, now: float) -> float | None:
        limit = self.limit_now(now)
        return None if self._lowered is None else float(limit)

    def ages(self, now: float) -> tuple[int, ...]:
        """Occupants by age in eighths of the window, youngest first; empty when nobody is."""
        if not self.used(now):
            return ()
        counts = [0] * _SLICES
        counts[0] = self.in_flight
        for stamp in self._stamps:
            counts[min(_SLICES - 1, int((now - stamp) / self.span_s * _SLICES))] += 1
        return tuple(counts)

    def fill(self, ages: tuple[int, ...], snapshot_s: float, last_s: float) -> None:
        """Take over the occupants of a snapshot, each as young as it can be.

        The youngest eighth holds the calls in flight, which may have been counted until ``last_s``.
        """
        stamps = [
            snapshot_s - index * self.span_s / _SLICES if index else last_s
            for index, count in enumerate(ages)
            for _ in range(count)
        ]
        self._stamps = deque(sorted([*stamps, *self._stamps])[-self.limit :])

    def assume_sent(self, unseen_s: float, last_s: float) -> None:
        """Occupy what an owner that vanished may have released in ``unseen_s`` seconds."""
        share = self.share(Priority.NORMAL, last_s)
        burst = max(_BURST_MIN[Priority.NORMAL], int(share * _BURST_SHARE[Priority.NORMAL]))
        unseen = burst + ceil(unseen_s / self.span_s * share)
        self._stamps.extend([last_s] * min(unseen, max(0, share - self.used(last_s))))

    def lower_to(self, limit: float, now: float) -> None:
        self._lowered, self._lowered_s = min(limit, float(self.limit)), now
