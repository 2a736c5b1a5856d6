"""What falls due later: one heap, one waiting task for all of it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from meschain.sandbox.clock import SandboxClock


class Agenda:
    """Actions by due time. They run from one background task, or from the next request."""

    def __init__(self, clock: SandboxClock) -> None:
        """Nothing is due."""
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._sooner = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run ``action`` once, ``seconds`` from now or a little later."""
        entry = (self._clock.monotonic_s() + seconds, next(self._numbers), action)
        heapq.heappush(self._due, entry)
        if self._due[0] is entry:
            self._sooner.set()

    def perform_due(self, *, limit: int) -> bool:
        """Run at most ``limit`` of what is due; whether more may be. Requests call it too."""
        for _ in range(limit):
            if not self._due or self._due[0][0] > self._clock.monotonic_s():
                return False
            heapq.heappop(self._due)[2]()
        return True

    def start(self) -> None:
        """Begin to wait."""
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="n11 agenda")

    async def stop(self) -> None:
        """Stop waiting; what is not yet due stays undone."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            await asyncio.wait({runner})
            if not runner.cancelled():
                runner.result()  # it ended by itself: say why

    async def _run(self) -> None:
        while True:
            self._sooner.clear()
            if self.perform_due(limit=1):
                await asyncio.sleep(0)  # a task may hold a thousand products: requests go between
                continue
            if not self._due:
                await self._sooner.wait()
                continue
            pause_s = max(self._due[0][0] - self._clock.monotonic_s(), 0.0)
            waits = {
                asyncio.ensure_future(self._clock.sleep(pause_s)),
                asyncio.ensure_future(self._sooner.wait()),
            }
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
