"""Quotas that accounts of several processes share: the database lends, so all stay within them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from meschain.channel.clock import microseconds
from meschain.channel.pacing import Ask, Lent
from meschain.store.unit_of_work import DATABASE_AWAY

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

log = logging.getLogger(__name__)

_AWAY_S: Final = 1.0


class StoredLender:
    """Lends from the table ``budget_loan``. Implements ``channel.pacing.Lender``."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """One for all budgets of a process."""
        self._database = database
        self._clock = clock

    async def lend(self, ask: Ask) -> Lent:
        """Nothing while the database is away: then nobody knows what others use."""
        now_us = microseconds(self._clock.now())
        try:
            ((loan, units, free_us),) = await self._database.engine_rows(
                "budget.borrow",
                {
                    "budget": ask.budget,
                    "limit": ask.limit,
                    "wanted": ask.wanted,
                    "last": ask.last,
                    "used": ask.used,
                    "now_us": now_us,
                    "occupied_us": int(ask.occupied_s * 1_000_000),
                },
            )
        except DATABASE_AWAY as away:
            log.warning("nothing is lent", extra={"budget": ask.budget, "error": str(away)})
            return Lent(0, 0, _AWAY_S)
        return Lent(loan, units, max(0.0, (free_us - now_us) / 1_000_000))
