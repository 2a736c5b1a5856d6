"""Feeds while the hub runs: each looked at by a process of its own, so that no lane waits."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg_pool import PoolTimeout

from meschain.app.beside import run_beside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

log = logging.getLogger(__name__)

LOOK_S: Final = 15.0
# Fetching is waiting, so that a slow supplier holds up nobody; comparing is work for a processor.
LOOKS_AT_ONCE: Final = 4
LOOK_S_MAX: Final = 3_600.0


async def keep_feeds(
    database: Database,
    clock: Clock,
    merchant_names: Callable[[], Awaitable[Mapping[int, str]]],
    command: Sequence[str],
    *,
    look_s: float = LOOK_S,
    look_s_max: float = LOOK_S_MAX,
) -> None:
    """Run ``command --merchant MERCHANT -- NAME`` for each feed that is due; for ever.

    A due feed is claimed by moving its next look, so of several hubs one takes it. At most
    ``LOOKS_AT_ONCE`` are looked at, each for ``look_s_max``. Cancelled, it ends what it has begun;
    an import that is cut short is continued by the next look.
    """
    free = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def look(merchant: str, name: str) -> None:
        try:
            async with asyncio.timeout(look_s_max):
                status, _ = await run_beside([*command, "--merchant", merchant, "--", name])
        except (TimeoutError, OSError) as lost:
            log.warning("feed was given up", extra={"feed": name}, exc_info=lost)
        else:
            if status:
                # What is the matter stands in the alert that the look has left.
                log.warning("feed was not taken in", extra={"feed": name, "status": status})
        finally:
            free.release()

    is_away = False
    async with asyncio.TaskGroup() as looks:
        while True:
            await free.acquire()
            try:
                due = await _due(database, clock, merchant_names)
                is_away = False
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as away:
                if not is_away:
                    log.warning("database is away", extra={"loop": "feeds", "error": away})
                due, is_away = None, True
            if due is None:
                free.release()
                await clock.sleep(look_s)
            else:
                looks.create_task(look(*due))


async def _due(
    database: Database,
    clock: Clock,
    merchant_names: Callable[[], Awaitable[Mapping[int, str]]],
) -> tuple[str, str] | None:
    """Merchant and name of the feed that has waited longest, claimed."""
    async with database.engine() as unit:
        row = await unit.row("feed.claim_due", {"now": clock.now()})
    if row is None:
        return None
    merchant_id, name = row
    merchant = (await merchant_names()).get(merchant_id)
    return None if merchant is None else (merchant, str(name))
