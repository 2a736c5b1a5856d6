"""The engine's life in a process: from start until it is asked to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meschain.bootstrap import Hub


@asynccontextmanager
async def until_stopped() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; the signals' own meaning returns afterwards."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    try:
        yield stopping
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)


async def run_worker(hub: Hub, stopping: asyncio.Event) -> None:
    """Serve our share of the accounts until ``stopping``; then let go in order."""
    await hub.engine.start()
    try:
        await stopping.wait()
    finally:
        await hub.engine.stop()
