"""What the economy will do later, in the economy's own time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from meschain.sandbox.clock import SandboxClock

ENTRIES_MAX: Final = 1_000_000
# Actions in a row before the servers get their turn on the same event loop.
_BURST: Final = 64


class Agenda:
    """Actions by due time (economy seconds since the beginning); equal times keep their order."""

    def __init__(self, clock: SandboxClock, *, entries_max: int = ENTRIES_MAX) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._woken = asyncio.Event()
        self.dropped = 0  # plans refused because the agenda was full

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, due_s: float, action: Callable[[], object]) -> None:
        """Do ``action`` once ``due_s`` seconds of the economy have passed since its beginning."""
        if len(self._heap) >= self._entries_max:
            self.dropped += 1
            return
        is_first = not self._heap or due_s < self._heap[0][0]
        heapq.heappush(self._heap, (due_s, next(self._numbers), action))
        if is_first:
            self._woken.set()

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Do ``action`` in ``seconds`` of the economy."""
        self.at(self._clock.economy_elapsed_s() + seconds, action)

    def wake(self) -> None:
        """Look at the clock again: its factor changed."""
        self._woken.set()

    def run_due(self, *, limit: int = _BURST) -> int:
        """Do what is due, at most ``limit`` actions; how many were done."""
        now_s = self._clock.economy_elapsed_s()
        done = 0
        while done < limit and self._heap and self._heap[0][0] <= now_s:
            heapq.heappop(self._heap)[2]()
            done += 1
        return done

    async def run(self) -> None:
        """Do everything in its time, until cancelled."""
        while True:
            self._woken.clear()
            if self.run_due() == _BURST:
                await asyncio.sleep(0)
                continue
            wait_s = None
            if self._heap:
                missing_s = self._heap[0][0] - self._clock.economy_elapsed_s()
                wait_s = max(0.0, self._clock.economy_s(missing_s))
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue
