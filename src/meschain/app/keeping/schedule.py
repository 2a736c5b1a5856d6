"""What a hub keeps up while it runs: backups, each by a process of its own, and erasures."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg_pool import PoolTimeout

from meschain.app.beside import run_beside
from meschain.app.commands.erase_personal_data import erase_due
from meschain.app.keeping.backups import backups_in, is_due

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from meschain.app.keeping.backups import BackupPlan
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
AFTER_FAILURE_S: Final = 900.0
ERASE_S: Final = 600.0


async def keep_backups(
    plan: BackupPlan, folder: Path, clock: Clock, command: Sequence[str], *, look_s: float = LOOK_S
) -> None:
    """Run ``command`` whenever a backup is due; for ever. Cancelled, it ends what it has begun."""
    every = timedelta(hours=plan.every_hours)
    while True:
        pause_s = look_s
        if _is_due(folder, clock, every):
            status, words = await run_beside(command)
            if status == 0:
                log.info("backup was made", extra={"folder": str(folder)})
            else:
                pause_s = max(look_s, AFTER_FAILURE_S)
                log.error("backup failed", extra={"status": status, "words": words})
        await clock.sleep(pause_s)


def _is_due(folder: Path, clock: Clock, every: timedelta) -> bool:
    try:
        return is_due(backups_in(folder), clock.now(), every)
    except OSError:
        return True  # the folder cannot be looked into: the command says why


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
