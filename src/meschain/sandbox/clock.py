"""Time in the sandbox.

What a protocol counts (quotas, epochs, retries, retention) runs on real time, since a real
client is measured by it. What the economy does (buyers, carriers, approvals) runs ``factor``
times faster: ``economy_s`` turns a duration of the economy into real seconds.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class SandboxClock:
    """Wall and monotonic time, and the economy's speed."""

    def __init__(self, *, factor: float = 1.0) -> None:
        """``factor`` 60 lets an hour of the economy pass in a minute."""
        self._factor = factor
        self._elapsed_s = 0.0  # economy seconds until the factor last changed
        self._changed_at_s: float | None = None  # monotonic; None until the economy is first asked
        self._began_at: datetime | None = None

    @property
    def factor(self) -> float:
        """How many seconds of the economy pass in one real second."""
        return self._factor

    @factor.setter
    def factor(self, factor: float) -> None:
        self._elapsed_s = self.economy_elapsed_s()
        self._changed_at_s = self.monotonic_s()
        self._factor = factor

    def now(self) -> datetime:
        """The current instant, UTC."""
        return datetime.now(UTC)  # noqa: TID251 – this is the clock

    def monotonic_s(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()

    def economy_s(self, seconds: float) -> float:
        """Real seconds that ``seconds`` of the economy take."""
        return seconds / self._factor

    def economy_elapsed_s(self) -> float:
        """Seconds of the economy since it was first asked; never goes backwards."""
        now_s = self.monotonic_s()
        if self._changed_at_s is None:
            self._changed_at_s, self._began_at = now_s, self.now()
        return self._elapsed_s + (now_s - self._changed_at_s) * self._factor

    def economy_now(self) -> datetime:
        """What the economy's own clock shows, UTC; it begins at the real time."""
        elapsed = timedelta(seconds=self.economy_elapsed_s())
        assert self._began_at is not None
        return self._began_at + elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait for real seconds."""
        await asyncio.sleep(seconds)


class StandingClock(SandboxClock):
    """A clock that stands until it is turned: economies without waiting, the same every time."""

    def __init__(self, at: datetime, *, factor: float = 1.0) -> None:
        super().__init__(factor=factor)
        self._at = at
        self._turned_s = 0.0

    def turn(self, seconds: float) -> None:
        """Let real seconds pass."""
        self._turned_s += seconds

    def now(self) -> datetime:
        return self._at + timedelta(seconds=self._turned_s)

    def monotonic_s(self) -> float:
        return self._turned_s

    async def sleep(self, seconds: float) -> None:
        self.turn(seconds)
        await asyncio.sleep(0)


def epoch_ms(instant: datetime) -> int:
    """Milliseconds since the Unix epoch."""
    return int(instant.timestamp() * 1000)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_us(instant: datetime) -> int:
    """Microseconds since the Unix epoch, exact (a float has too few digits for safety)."""
    return (instant - _EPOCH) // timedelta(microseconds=1)
