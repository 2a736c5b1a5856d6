"""Wake-ups across processes: after the commit, at most one NOTIFY per process and 5 ms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

import psycopg

CHANNEL: Final = "meschain_wake"
ASK_CHANNEL: Final = "meschain_ask"  # from a command: run the lanes of these accounts now
FREE_CHANNEL: Final = "meschain_free"  # accounts were given back; which ones stands in ownership
GATHER_S: Final = 0.005
_PAYLOAD_ACCOUNTS_MAX: Final = 700  # a payload holds less than 8,000 bytes


class Notifier:
    """Tells other processes which accounts were touched, and hears what they tell."""

    def __init__(
        self,
        conninfo: str,
        heard: Callable[[Iterable[int]], None],
        asked: Callable[[Iterable[int]], None],
        freed: Callable[[Iterable[int]], None],
    ) -> None:
        """``heard`` receives the accounts that another process (or this one) has touched.

        ``asked``: those whose lanes a command wants to run now. ``freed``: some were given back.
        """
        self._conninfo = conninfo
        self._hears = {CHANNEL: heard, ASK_CHANNEL: asked, FREE_CHANNEL: freed}
        self._pending: set[int] = set()
        self._event = asyncio.Event()

    def tell(self, accounts: Iterable[int]) -> None:
        """Note accounts served elsewhere; sent within 5 ms."""
        self._pending.update(accounts)
        if self._pending:
            self._event.set()

    async def run_tell(self) -> None:
        """Send what was noted until cancelled. A lost hint costs a second, never an update."""
        async with await self._connect() as connection:
            while True:
                await self._event.wait()
                await asyncio.sleep(GATHER_S)
                self._event.clear()
                accounts, self._pending = sorted(self._pending), set()
                for start in range(0, len(accounts), _PAYLOAD_ACCOUNTS_MAX):
                    payload = ",".join(map(str, accounts[start : start + _PAYLOAD_ACCOUNTS_MAX]))
                    await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))

    async def run_listen(self) -> None:
        """Hear until cancelled."""
        async with await self._connect() as connection:
            for channel in self._hears:
                await connection.execute(f"LISTEN {channel}")
            async with contextlib.aclosing(connection.notifies()) as notifies:
                async for notify in notifies:
                    accounts = [int(account) for account in notify.payload.split(",") if account]
                    self._hears[notify.channel](accounts)

    async def _connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
