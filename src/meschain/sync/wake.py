"""Wake-ups: hints after a commit. Losing one costs at most a second, never an update."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Wakeups:
    """The set of accounts whose dirty rows may have grown, and an event to wait on."""

    def __init__(self) -> None:
        """Nothing is awake."""
        self._accounts: set[int] = set()
        self._event = asyncio.Event()

    def add(self, accounts: Iterable[int]) -> None:
        """Note accounts; cheap, idempotent, callable from any coroutine."""
        before = len(self._accounts)
        self._accounts.update(accounts)
        if len(self._accounts) > before:
            self._event.set()

    def take(self) -> set[int]:
        """All noted accounts; the set is empty afterwards."""
        taken, self._accounts = self._accounts, set()
        self._event.clear()
        return taken

    async def wait(self, timeout_s: float) -> None:
        """Return when something was noted, or after ``timeout_s``: the net beneath the hints."""
        if self._accounts:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return
