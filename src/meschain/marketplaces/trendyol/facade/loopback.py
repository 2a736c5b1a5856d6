"""The façade alone on a loopback port, for tests and tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from meschain.sandbox.facade import Facade

_HOST = "127.0.0.1"


@asynccontextmanager
async def serve_on_loopback(facade: Facade) -> AsyncIterator[str]:
    """Start ``facade`` on a free port; yields ``http://127.0.0.1:port`` and ends it all after."""
    runner = web.AppRunner(facade.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, _HOST, 0)
    await site.start()
    await facade.start()
    try:
        yield f"http://{_HOST}:{runner.addresses[0][1]}"
    finally:
        await facade.stop()
        await runner.cleanup()
