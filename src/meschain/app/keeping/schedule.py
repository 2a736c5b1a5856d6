"""Backups while the hub runs: each by a process of its own, so that no lane waits for it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meschain.app.beside import run_beside
from meschain.app.keeping.backups import backups_in, is_due

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meschain.app.keeping.backups import BackupPlan
    from meschain.channel.clock import Clock

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
AFTER_FAILURE_S: Final = 900.0


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
