"""Time as a port: everything that waits or asks the time goes through a Clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines, and sleeping."""

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go backwards; comparable within this process only."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for at least ``seconds`` of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The current instant, UTC."""
        return datetime.now(UTC)  # noqa: TID251 – the one place that asks the machine

    def monotonic_s(self) -> float:
        """The event loop's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


def microseconds(instant: datetime) -> int:
    """Microseconds since the Unix epoch, exact; the integer form of the engine's tables."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
