"""What a hub keeps up while it runs: backups, each by a process of its own, and erasures."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg_pool import PoolTimeout

from meschain.app.beside import run_beside
from meschain.app.commands.erase_personal_data import erase_due
from meschain.app.keeping.backups import backups_in, is_due
from meschain.app.keeping.bucket import BucketFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from meschain.app.keeping.backups import BackupPlan
    from meschain.app.keeping.storage import Storage
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

log = logging.getLogger(__name__)

LOOK_S: Final = 300.0  # looking costs a request where backups lie in a bucket
AFTER_FAILURE_S: Final = 900.0
ERASE_S: Final = 600.0


async def keep_backups(
    plan: BackupPlan,
    open_storage: Callable[[], Storage],
    clock: Clock,
    command: Sequence[str],
    *,
    look_s: float = LOOK_S,
) -> None:
    """Run ``command`` whenever a backup is due; for ever. Cancelled, it ends what it has begun.

    The storage is opened for each look: how it is reached may be mended meanwhile.
    """
    every = timedelta(hours=plan.every_hours)
    while True:
        pause_s = look_s
        if await asyncio.to_thread(_is_due, open_storage, clock.now(), every):
            status, words = await run_beside(command)
            if status == 0:
                log.info("backup was made")
            else:
                pause_s = max(look_s, AFTER_FAILURE_S)
                log.error("backup failed", extra={"status": status, "words": words})
        await clock.sleep(pause_s)


def _is_due(open_storage: Callable[[], Storage], now: datetime, every: timedelta) -> bool:
    try:
        return is_due(backups_in(open_storage()), now, every)
    except (OSError, BucketFailed):
        return True  # it cannot be looked into: the command says why


async def keep_erasing(
    database: Database,
    clock: Clock,
    merchant_ids: Callable[[], Awaitable[Iterable[int]]],
    *,
    look_s: float = ERASE_S,
) -> None:
    """Erase buyers' data whose time is over, in small batches; for ever. Several hubs may."""
    while True:
        try:
            for merchant_id in await merchant_ids():
                done = await erase_due(database, clock, merchant_id, actor="hub")
                if done:
                    facts = {"merchant": merchant_id, "orders": sum(done.values())}
                    log.info("personal data was erased", extra=facts)
        except (psycopg.Error, PoolTimeout) as away:
            log.warning("personal data was not erased", extra={"error": away})
        await clock.sleep(look_s)
