"""Exchanges with marketplaces that went wrong, kept for their owner to read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from meschain.channel.clock import Clock
from meschain.store.unit_of_work import Database

FLUSH_S: Final = 1.0
_WAITING_MAX: Final = 1_000  # an outage must not fill the memory; the newest say enough


@dataclass(frozen=True, slots=True)
class Attempt:
    """One exchange. ``status`` 0: no answer came. Times in microseconds."""

    merchant_id: int
    account_id: int
    operation: str
    at_us: int
    status: int
    outcome: str
    duration_us: int


class Attempts:
    """Collects attempts and stores them once a second."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Nothing waits."""
        self._database = database
        self._clock = clock
        self._waiting: deque[Attempt] = deque(maxlen=_WAITING_MAX)

    def note(self, attempt: Attempt) -> None:
        """Keep one for the next round; never waits."""
        self._waiting.append(attempt)

    async def run(self) -> None:
        """Store what was noted until cancelled."""
        while True:
            await self._clock.sleep(FLUSH_S)
            attempts = list(self._waiting)
            if not attempts:
                continue
            async with self._database.engine() as unit:
                await unit.run(
                    "inbound.add_attempts",
                    {
                        "merchants": [a.merchant_id for a in attempts],
                        "accounts": [a.account_id for a in attempts],
                        "operations": [a.operation for a in attempts],
                        "at_us": [a.at_us for a in attempts],
                        "statuses": [a.status for a in attempts],
                        "outcomes": [a.outcome for a in attempts],
                        "durations_us": [a.duration_us for a in attempts],
                    },
                )
            for _ in range(min(len(attempts), len(self._waiting))):
                self._waiting.popleft()
