"""A process that ends in the middle of something."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class CutOff:
    """Awaits a coroutine and cancels it instead of its ``at``-th step."""

    def __init__(self, work: Coroutine[Any, Any, object], at: int) -> None:
        self._work = work
        self._at = at
        self.is_cut = False

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        for step in range(1, 10_000):
            try:
                if step == self._at:
                    self.is_cut = True
                    waited = steps.throw(asyncio.CancelledError())
                else:
                    waited = next(steps)
            except (StopIteration, asyncio.CancelledError):
                return
            yield waited
