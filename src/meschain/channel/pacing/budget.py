"""Quotas that accounts share: lent in slices, so that each account paces alone in between."""

from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from meschain.channel.pacing.window import Gate, span_s

if TYPE_CHECKING:
    from meschain.channel.capability import Quota
    from meschain.channel.clock import Clock

_TRANSIT_S: Final = 1.0  # a lent unit is used, and counted by the marketplace, this late at most


class Slice(msgspec.Struct, frozen=True):
    """Units of a shared quota lent until ``until_s`` (monotonic); with none, ask again then."""

    units: int
    until_s: float


class SharedBudget(Protocol):
    """Lends slices of a quota that several accounts share (merchant, application, egress IP)."""

    async def borrow(self, quota: Quota, limit: int) -> Slice:
        """Lend some units of ``quota``; never raises for a budget that is used up."""
        ...


class LocalBudget:
    """Lends to the accounts of this one process; one instance for what they share."""

    def __init__(self, clock: Clock, *, slice_s: float = 1.0) -> None:
        """``slice_s``: how long a loan lasts; shorter shares more fairly, longer costs less."""
        self._clock = clock
        self._slice_s = slice_s
        self._loans: dict[str, deque[tuple[float, int]]] = {}  # (free again at, units)

    async def borrow(self, quota: Quota, limit: int) -> Slice:
        """Lend what one slice may use up, at most a quarter of the quota."""
        now = self._clock.monotonic_s()
        loans = self._loans.setdefault(quota.group, deque())
        while loans and loans[0][0] <= now:
            loans.popleft()
        free = limit - sum(units for _, units in loans)
        if free <= 0:
            return Slice(0, loans[0][0])
        units = min(free, max(1, ceil(limit / 4)))
        until = now + self._slice_s
        loans.append((until + _TRANSIT_S + span_s(quota.window_s), units))
        return Slice(units, until)


class Loan:
    """A quota that is shared with other accounts: what is left of the slice we borrowed."""

    __slots__ = ("_budget", "_limit", "_quota", "_slice", "gate")

    def __init__(self, quota: Quota, limit: int, budget: SharedBudget) -> None:
        self._quota = quota
        self._limit = limit
        self._budget = budget
        self._slice = Slice(0, -inf)
        self.gate = Gate(quota.window_s / 10)

    def must_ask(self, now: float) -> bool:
        """Whether the slice is used up or over, and it is time to ask for another."""
        return self._slice.until_s <= now

    def ready_s(self, now: float) -> float:
        """When a unit can be had; now also where asking for one might succeed."""
        free = now if self._slice.units > 0 or self.must_ask(now) else self._slice.until_s
        return max(self.gate.until_s, free)

    def has_unit(self, now: float) -> bool:
        return self._slice.units > 0 and not self.must_ask(now)

    def room(self, now: float) -> int:
        if self.gate.until_s > now:
            return 0
        return 1 if self.must_ask(now) else self._slice.units

    def add(self, units: int) -> None:
        self._slice = Slice(max(0, self._slice.units + units), self._slice.until_s)

    async def ask(self) -> None:
        self._slice = await self._budget.borrow(self._quota, self._limit)
