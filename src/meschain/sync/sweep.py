"""The slow sweep: each armed account is read back page by page, about once a day, for ever.

It asks as BULK and never for more than a small part of the slowest read quota. How far it came
stands in the ``sweep`` table, so that whoever serves the account next goes on from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from meschain.channel.clock import microseconds
from meschain.channel.contract import OfferPage
from meschain.sync.audit import SweepReport

if TYPE_CHECKING:
    from meschain.channel.capability import Manifest
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount
    from meschain.sync.audit import Audit

log = logging.getLogger(__name__)

SECOND_LOOKS_MAX: Final = 20  # in one round, so that a mass edit there takes turns with the rest
FAILURES_MAX: Final = 3  # pages in a row, before a sweep begins anew
_POLL: Final = "poll_ticket"


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What may be tuned; the defaults are those of production. Times in seconds."""

    round_s: float = 5.0  # how often second looks and due pages are thought of
    first_s: float = 600.0  # a process that has just begun has more urgent things to do
    quota_share: float = 0.05  # of the slowest read quota
    page_pause_max_s: float = 600.0  # a small catalog is read in minutes, not spread over the day
    retry_s: float = 300.0  # after a page that could not be read


class Sweeps:
    """Second looks and sweeps of one account; the loop that calls it belongs to the engine."""

    def __init__(
        self,
        account: ServedAccount,
        audit: Audit,
        database: Database,
        clock: Clock,
        settings: SweepSettings,
    ) -> None:
        """``settings.first_s`` runs from now."""
        self._account = account
        self._audit = audit
        self._database = database
        self._clock = clock
        self._settings = settings
        self._next_s = clock.monotonic_s() + settings.first_s
        self._failures = 0
        self._key = {"merchant": account.merchant_id, "account": account.account_id}

    async def run(self) -> None:
        """Never returns. What needs the account armed waits until it is."""
        while True:
            account = self._account
            if account.state == "armed" and account.has_lease:
                try:
                    await self.look_again()
                    if self._clock.monotonic_s() >= self._next_s:
                        self._next_s = self._clock.monotonic_s() + await self.step()
                except psycopg.errors.LockNotAvailable:
                    pass  # somebody sells or sends just these: the next round finds them
            await self._clock.sleep(self._settings.round_s)

    async def look_again(self) -> None:
        """Second looks at what seems edited on the panel, once the read lag has passed."""
        account, now = self._account, self._clock.now()
        now_us = microseconds(now)
        async with self._database.engine() as unit:
            rows = await unit.rows(
                "conflict.due", self._key | {"now_us": now_us, "limit": SECOND_LOOKS_MAX}
            )
        if rows[0][1]:
            async with self._database.merchant(account.merchant_id) as unit:
                await unit.run("conflict.end_answered", self._key | {"now": now, "now_us": now_us})
        keys = sorted({row[0] for row in rows if row[0] is not None})
        size = account.manifest.offers.observe_batch_max
        for start in range(0, len(keys), size):
            chunk = keys[start : start + size]
            observed_us = microseconds(self._clock.now())
            page = await self._audit.observe(account, chunk)
            if not isinstance(page, OfferPage):
                later_us = now_us + int(self._settings.retry_s * 1_000_000)
                params = self._key | {"keys": keys[start:], "look_us": later_us}
                async with self._database.engine() as unit:
                    await unit.run("conflict.postpone", params)
                return
            await self._audit.judge(account, page.offers, observed_us)
            name = account.manifest.offers.key
            unshown = set(chunk) - {getattr(offer.keys, name) for offer in page.offers}
            if unshown:
                async with self._database.engine() as unit:
                    await unit.run("conflict.forget_unshown", self._key | {"keys": list(unshown)})

    async def step(self) -> float:
        """Read one page if one is due; returns the seconds until the next may be."""
        now_us = microseconds(self._clock.now())
        async with self._database.engine() as unit:
            row = await unit.row("conflict.sweep", self._key)
            assert row is not None
            interval_s, sweep_id, started_us, ended_us, token, expected = row
            if sweep_id is None or ended_us is not None:
                due_s = 0.0 if sweep_id is None else started_us / 1e6 + interval_s - now_us / 1e6
                if due_s > 0:
                    return min(due_s, self._settings.page_pause_max_s)
                begun = await unit.row("conflict.begin_sweep", self._key | {"now_us": now_us})
                assert begun is not None
                sweep_id, expected, token = *begun, None
        page = await self._audit.read_page(self._account, token)
        if not isinstance(page, OfferPage):
            return await self._failed(sweep_id, token)
        report = SweepReport()
        found = await self._audit.compare(self._account, page, now_us, report)
        differing = [each for each in found if each.is_readable]
        await self._audit.repair(self._account, differing)
        is_over = page.next_token is None
        async with self._database.engine() as unit:
            await unit.run(
                "conflict.step_sweep",
                self._key
                | {
                    "sweep": sweep_id,
                    "token": page.next_token,
                    "ended_us": microseconds(self._clock.now()) if is_over else None,
                    "checked": report.checked,
                    "equal": report.equal,
                    "moving": report.moving,
                    "repaired": len({each.listing_id for each in differing}),
                    "conflicts": report.conflicts,
                    "drift": report.drift_json(),
                },
            )
        self._failures = 0
        if is_over:
            return 0.0
        size = self._account.manifest.catalog.page_size_max
        pages = max(1, expected // size)
        return page_pause_s(self._account.manifest, interval_s, pages, self._settings)

    async def _failed(self, sweep_id: int, token: str | None) -> float:
        """Try the page again later; when it fails again and again its token may have died."""
        self._failures += 1
        if self._failures >= FAILURES_MAX and token is not None:
            self._failures = 0
            log.warning(
                "sweep begins anew", extra={"account": self._account.account_id, "sweep": sweep_id}
            )
            async with self._database.engine() as unit:
                await unit.run("conflict.abandon_sweep", self._key | {"sweep": sweep_id})
        return self._settings.retry_s


def page_pause_s(
    manifest: Manifest, interval_s: float, pages: int, settings: SweepSettings
) -> float:
    """Seconds between two pages: spread over half the interval, within the share of the quota.

    Which quota a page costs is the marketplace folder's own affair, so the slowest one of all reads
    that are not critical counts, in the lowest tier.
    """
    reads = {
        group
        for name, operation in manifest.operations.items()
        if operation.surface is None and not operation.critical and name != _POLL
        for group in operation.quotas
    }
    slowest = min(
        (
            min(quota.limit.values()) / quota.window_s
            for quota in manifest.quotas
            if quota.group in reads and quota.limit
        ),
        default=1.0,
    )
    least_s = 1 / (slowest * settings.quota_share)
    return max(least_s, min(settings.page_pause_max_s, interval_s / 2 / pages))
