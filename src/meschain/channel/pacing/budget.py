"""Quotas that accounts share: lent to processes in slices, and there to accounts unit by unit."""

from __future__ import annotations

import asyncio
from math import ceil, inf
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from meschain.channel.pacing.window import Gate, span_s

if TYPE_CHECKING:
    from meschain.channel.capability import Quota
    from meschain.channel.clock import Clock

_SLICE_S: Final = 2.0  # a unit that is not on its way by then is void
_LAST_S: Final = 0.5  # of a slice, in which no unit is given out: connections take their time
_TRANSIT_S: Final = 1.0  # from the first byte until the marketplace counts, and between clocks
_AGAIN_S: Final = 0.1  # where a slice was over before it came
_PARTS: Final = 4  # no slice is more than one part of so many


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a process wants of a shared quota, and what it used of the loan before."""

    budget: str  # its name, the same in every process
    limit: int
    wanted: int
    occupied_s: float  # from now on, for whatever is lent
    last: int  # the number of the loan before; 0: none
    used: int  # units of that loan; the others are free again


class Lent(msgspec.Struct, frozen=True):
    """``units`` under the number ``loan``; where there are none, ask again after ``wait_s``."""

    loan: int
    units: int
    wait_s: float


class Lender(Protocol):
    """Keeps the loans of all processes."""

    async def lend(self, ask: Ask) -> Lent:
        """Lend what is free, at most what is wanted; never raises for a lender that is away."""
        ...


class SharedBudget:
    """The quotas of one scope (merchant, application, egress IP), as this process shares in them.

    One instance for all accounts of the scope.
    """

    def __init__(self, name: str, lender: Lender, clock: Clock) -> None:
        """``name`` is the scope's, the same in every process."""
        self._name = name
        self._lender = lender
        self._clock = clock
        self._purses: dict[str, Purse] = {}

    def purse(self, quota: Quota) -> Purse:
        """The one purse of that quota."""
        known = self._purses.get(quota.group)
        if known is None:
            budget = f"{self._name}/{quota.group}"
            known = self._purses[quota.group] = Purse(budget, quota, self._lender, self._clock)
        return known


class Purse:
    """What this process has borrowed of one quota and not yet given out."""

    def __init__(self, budget: str, quota: Quota, lender: Lender, clock: Clock) -> None:
        """Nothing is borrowed yet."""
        self._budget = budget
        self._occupied_s = _SLICE_S + _TRANSIT_S + span_s(quota.window_s)
        self._lender = lender
        self._clock = clock
        self._asking = asyncio.Lock()
        self._lent = Lent(0, 0, 0.0)
        self._left = 0
        self._until_s = -inf  # of the slice
        self._ask_s = -inf  # not before
        self._tat_s = -inf  # theoretical arrival time of the next loan
        self.gate = Gate(quota.window_s / 10)  # shut for all of this process who share the quota

    async def take(self, limit: int) -> tuple[bool, float]:
        """True and until when the unit may be used; or False and when to ask again. Monotonic."""
        async with self._asking:
            now = self._clock.monotonic_s()
            if not self._has_unit(now) and now >= self._ask_s:
                await self._borrow(limit, now)
                now = self._clock.monotonic_s()
            if not self._has_unit(now):
                return False, max(self._ask_s, now + _AGAIN_S)
            self._left -= 1
            return True, self._until_s

    def _has_unit(self, now: float) -> bool:
        return self._left > 0 and now < self._until_s - _LAST_S

    async def _borrow(self, limit: int, now: float) -> None:
        """As much as was used last; twice that where it did not last."""
        used = self._lent.units - self._left
        wanted = used if self._left else 2 * used
        ask = Ask(
            budget=self._budget,
            limit=limit,
            wanted=min(max(1, wanted), ceil(limit / _PARTS)),
            occupied_s=self._occupied_s,
            last=self._lent.loan,
            used=used,
        )
        self._lent = await self._lender.lend(ask)
        self._left = self._lent.units
        self._until_s = now + _SLICE_S
        # After a part has gone at once, a stream: nobody takes all that is free (as in ``window``).
        self._tat_s = max(self._tat_s, now) + self._occupied_s * self._lent.units / limit
        self._ask_s = max(self._tat_s - self._occupied_s / _PARTS, now + self._lent.wait_s)


class Loan:
    """An account's part in a quota that is shared: one unit at a time."""

    __slots__ = ("_ask_s", "_limit", "_purse", "_until_s")

    def __init__(self, limit: int, purse: Purse) -> None:
        self._limit = limit
        self._purse = purse
        self._until_s = -inf  # of the unit in hand
        self._ask_s = -inf

    @property
    def gate(self) -> Gate:
        return self._purse.gate

    def has_unit(self, now: float) -> bool:
        return now < self._until_s

    def must_ask(self, now: float) -> bool:
        """Whether there is no unit, and it is time to ask for one."""
        return not self.has_unit(now) and now >= self._ask_s

    def ready_s(self, now: float) -> float:
        """When a unit can be had; now also where asking for one might succeed."""
        return max(self.gate.until_s, now if self.has_unit(now) else max(now, self._ask_s))

    def room(self, now: float) -> int:
        return int(self.ready_s(now) <= now)

    def take(self) -> float:
        """Use the unit; returns until when the call must be on its way."""
        until_s, self._until_s = self._until_s, -inf
        return until_s

    def give_back(self, until_s: float) -> None:
        """A unit that was taken and not used."""
        self._until_s = max(self._until_s, until_s)

    async def ask(self) -> None:
        is_lent, until_s = await self._purse.take(self._limit)
        if is_lent:
            self._until_s = until_s
        else:
            self._ask_s = until_s
