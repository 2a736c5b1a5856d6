"""What happens later: one heap, one sleeping task, whatever the number of due things."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from meschain.sandbox.clock import SandboxClock

_IDLE_S: Final = 3600.0  # nothing is due: look again in an hour, or when something is added


class Timetable:
    """Runs actions at their time, in the order of their time. Actions are short and never fail."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._sleep: asyncio.Task[None] | None = None
        self._runner: asyncio.Task[None] | None = None

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run ``action`` after real seconds. Raises what an earlier action broke on."""
        if self._runner is not None and self._runner.done():
            self._runner.result()
        entry = (self._clock.monotonic_s() + delay_s, next(self._order), action)
        heapq.heappush(self._due, entry)
        if self._due[0] is entry and self._sleep is not None:
            self._sleep.cancel()  # it sleeps for something later

    def start(self) -> None:
        self._runner = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is still due never happens. An error inside an action surfaces here."""
        for task in (self._sleep, self._runner):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._sleep = self._runner = None
        self._due.clear()

    async def _run(self) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            while self._due and self._due[0][0] <= now_s:
                heapq.heappop(self._due)[2]()
            wait_s = self._due[0][0] - self._clock.monotonic_s() if self._due else _IDLE_S
            self._sleep = asyncio.create_task(self._clock.sleep(max(0.0, wait_s)))
            await asyncio.wait({self._sleep})
