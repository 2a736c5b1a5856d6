"""Feeds while the hub runs: each looked at by a process of its own, so that no lane waits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import psycopg

from meschain.app.beside import run_beside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

log = logging.getLogger(__name__)

LOOK_S: Final = 15.0


async def keep_feeds(
    database: Database,
    clock: Clock,
    merchant_names: Callable[[], Awaitable[Mapping[int, str]]],
    command: Sequence[str],
    *,
    look_s: float = LOOK_S,
) -> None:
    """Run ``command --merchant MERCHANT -- NAME`` for each feed that is due; for ever.

    A due feed is claimed by moving its next look, so of several hubs one takes it. Cancelled, it
    ends what it has begun; an import that is cut short is continued by the next look.
    """
    is_away = False
    while True:
        try:
            has_looked = await _look(database, clock, merchant_names, command)
            is_away = False
        except (psycopg.OperationalError, psycopg.InterfaceError) as away:
            if not is_away:
                log.warning("database is away", extra={"loop": "feeds", "error": away})
            has_looked, is_away = False, True
        if not has_looked:
            await clock.sleep(look_s)


async def _look(
    database: Database,
    clock: Clock,
    merchant_names: Callable[[], Awaitable[Mapping[int, str]]],
    command: Sequence[str],
) -> bool:
    """Whether a feed was due."""
    async with database.engine() as unit:
        due = await unit.row("feed.claim_due", {"now": clock.now()})
    if due is None:
        return False
    merchant_id, name = due
    if merchant := (await merchant_names()).get(merchant_id):
        status, _ = await run_beside([*command, "--merchant", merchant, "--", name])
        if status:
            # What is the matter stands in the alert that the look has left.
            log.warning("feed was not taken in", extra={"feed": name, "status": status})
    return True
