"""Orders in: webhooks for speed, overlapping pulls for certainty; both end in the same intake."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, LeaseExpired, OrderPage, OrderWindow, Priority
from meschain.channel.http import TransportLost
from meschain.channel.outcome import NotSent, Refused, Throttled, Unauthorized, Unknown
from meschain.store.unit_of_work import DATABASE_AWAY

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.channel.outcome import Problem
    from meschain.domain.order import OrderObservation
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount
    from meschain.sync.intake import Intake

log = logging.getLogger(__name__)

PULL: Final = "pull_orders"
DEEP_PULL_S: Final = 600.0  # how often the whole overlap is read again, whatever is known
ACTIVE_S: Final = 30.0  # so long after an order the faster pace is kept
BACKOFF_S_MAX: Final = 60.0
WITHOUT_CREDENTIALS_S: Final = 1.0  # how often an account that cannot be asked is looked at
UNCLEAR_READS_MAX: Final = 10  # orders read whole after one pull; the rest after the next
TAKES_MAX: Final = 6  # intake transactions of one account under way at once


class OrderPulls:
    """The order cursor of one account."""

    def __init__(
        self, account: ServedAccount, intake: Intake, database: Database, clock: Clock
    ) -> None:
        """One per account and lease."""
        self._account = account
        self._intake = intake
        self._database = database
        self._clock = clock
        self._deep_at_s = 0.0
        self._active_until_s = 0.0
        self._backoff_s = 0.0
        self._covered_us: int | None = None  # nobody else moves the cursor under our lease
        self._takes = asyncio.Semaphore(TAKES_MAX)
        self._unclear: dict[str, None] = {}  # orders to be read whole, first come first served
        self.pulls = 0
        self.taken = 0

    async def run(self) -> None:
        """Pull until cancelled: faster while orders come, at once when asked."""
        while True:
            if self._account.state in {"reconnect", "closed"}:
                await self._clock.sleep(WITHOUT_CREDENTIALS_S)
                continue
            # Before, not after: who asks while this pull is under way may know of more than it saw.
            self._account.poll_orders.clear()
            problem = await self.pull()
            if problem is None:
                await self._read_unclear()
            await self._record(problem)
            await self._pause(problem)

    async def pull(self) -> Problem | None:
        """Read everything that changed since the cursor; advance it when the end is reached."""
        account, limits = self._account, self._account.manifest.orders
        began = self._clock.now()
        if self._covered_us is None:
            self._covered_us = await self._stored_cursor_us()
        # A clock that was set back since leaves the cursor ahead of it: nothing would be read.
        covered_us = min(self._covered_us, microseconds(began))
        is_deep = self._clock.monotonic_s() >= self._deep_at_s
        begin = datetime.fromtimestamp(covered_us / 1_000_000, UTC)
        begin -= timedelta(seconds=limits.overlap_s)
        begin = max(begin, began - timedelta(seconds=limits.history_s_max))
        end = began + timedelta(seconds=limits.horizon_s)
        # What is older than this is known already; a deep pull believes nothing.
        known_before = None
        if not is_deep and limits.newest_first:
            known_before = datetime.fromtimestamp(covered_us / 1_000_000, UTC) - timedelta(
                seconds=min(60.0, limits.overlap_s)
            )
        while begin < end:
            until = min(end, begin + timedelta(seconds=limits.window_s_max))
            problem = await self._read(OrderWindow(begin, until), known_before)
            if problem is not None:
                return problem
            begin = until
        if is_deep:
            self._deep_at_s = self._clock.monotonic_s() + DEEP_PULL_S
        self._covered_us = began_us = microseconds(began)
        account.orders_fresh_us = began_us
        self.pulls += 1
        return None

    async def _read(self, window: OrderWindow, known_before: datetime | None) -> Problem | None:
        token: str | None = None
        for _ in range(self._account.manifest.orders.pages_max):
            page = await self._page(window, token)
            if not isinstance(page, OrderPage):
                return page
            await self.take(page, detected_by="poll")
            is_known = known_before is not None and _is_older(page, known_before)
            token = page.skip_token if is_known else page.next_token
            if token is None:
                return None
        log.warning("order window has too many pages", extra={"account": self._account.account_id})
        half = window.modified_from + (window.modified_to - window.modified_from) / 2
        if half - window.modified_from < timedelta(seconds=1):
            return Unknown("too_many_pages")
        first = await self._read(OrderWindow(window.modified_from, half), known_before)
        if first is not None:
            return first
        return await self._read(OrderWindow(half, window.modified_to), known_before)

    async def _page(self, window: OrderWindow, token: str | None) -> OrderPage | Problem:
        call = Call(Priority.CRITICAL, guard=self._account, is_repeated=True)
        try:
            return await self._account.channel.pull_orders(window, token, call)
        except LeaseExpired:
            return NotSent("lease_expired")
        except TransportLost as lost:
            return NotSent(lost.detail)

    async def take(self, page: OrderPage, *, detected_by: str) -> int:
        """Take in a page; one order that cannot be stored never blocks the others."""
        fresh = [order for order in page.orders if not self._intake.is_known(order)]
        # Oldest first, so that two versions of one package arrive in their order.
        fresh.sort(key=lambda order: max(p.modified_at for p in order.packages))
        by_order: dict[str, list[OrderObservation]] = {}
        for order in fresh:
            by_order.setdefault(order.external_id, []).append(order)
        try:
            async with asyncio.TaskGroup() as group:
                for versions in by_order.values():
                    group.create_task(self._take_versions(versions, detected_by))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures  # only what stops all of them comes here
        if fresh:
            self._stir()
            self.taken += len(fresh)
        for raw in page.broken:
            log.error("order row is unreadable", extra={"account": self._account.account_id})
            # Which row, and nothing of it: it may begin with its buyer.
            await self._alert("alert.order.unreadable", hashlib.sha256(raw).hexdigest()[:12])
        return len(fresh)

    def _stir(self) -> None:
        """Orders come: from now on the faster pace, also where the slow pause has begun already.

        Or else a webhook that gets lost at the beginning of a busy hour is noticed late.
        """
        now_s = self._clock.monotonic_s()
        if now_s >= self._active_until_s:
            pace_s = self._account.manifest.orders.poll_interval_s_min
            asyncio.get_running_loop().call_later(pace_s, self._account.poll_orders.set)
        self._active_until_s = now_s + ACTIVE_S

    async def _take_versions(self, versions: list[OrderObservation], detected_by: str) -> None:
        number = versions[0].external_id
        async with self._takes:
            try:
                for order in versions:
                    taken = await self._intake.take(
                        order, detected_by=detected_by, now=self._clock.now()
                    )
                    if taken is not None and taken.is_unclear:
                        self._unclear[number] = None
                        self._account.poll_orders.set()
            except DATABASE_AWAY:
                raise  # the database is away: nothing of this page may count as read
            except Exception:
                # A process edge: whatever one order holds, it must not stop the others.
                log.exception(
                    "order cannot be stored",
                    extra={"account": self._account.account_id, "order": number},
                )
                await self._alert("alert.order.unreadable", number)

    async def _read_unclear(self) -> None:
        """Read orders whole whose packages, seen one by one, may count the same goods twice."""
        for number in list(self._unclear)[:UNCLEAR_READS_MAX]:
            call = Call(Priority.NORMAL, guard=self._account, is_repeated=True)
            try:
                page = await self._account.channel.pull_order(number, call)
            except (LeaseExpired, TransportLost):
                return
            if not isinstance(page, OrderPage):
                return  # the next pull tries again
            for order in page.orders:
                await self._intake.take(order, detected_by="poll", now=self._clock.now())
            self._unclear.pop(number, None)

    async def _stored_cursor_us(self) -> int:
        rows = await self._database.engine_rows(
            "inbound.cursor",
            {"merchant": self._account.merchant_id, "account": self._account.account_id},
        )
        assert rows, "every account is added with its order cursor"
        return int(rows[0][0])

    async def _pause(self, problem: Problem | None) -> None:
        limits = self._account.manifest.orders
        if problem is None:
            self._backoff_s = 0.0
            is_active = self._clock.monotonic_s() < self._active_until_s
            pause_s = limits.poll_interval_s_min if is_active else limits.poll_interval_s
        else:
            self._backoff_s = min(BACKOFF_S_MAX, self._backoff_s * 2 or 0.5)
            pause_s = self._backoff_s
            if isinstance(problem, Throttled):
                self._account.pacer.throttled(PULL, problem)
                pause_s = max(pause_s, problem.retry_after_s or 0.0)
        try:
            async with asyncio.timeout(pause_s):
                await self._account.poll_orders.wait()
        except TimeoutError:
            return

    async def _record(self, problem: Problem | None) -> None:
        if isinstance(problem, Unauthorized):
            self._account.state = "reconnect"
        now_us = microseconds(self._clock.now())
        await self._database.engine_rows(
            "inbound.lane_ran",
            {
                "merchant": self._account.merchant_id,
                "account": self._account.account_id,
                "name": "orders",
                "now_us": now_us,
                "next_run_us": now_us
                + int(self._account.manifest.orders.poll_interval_s * 1_000_000),
                "error": describe(problem),
                "net_found": 0,
                "covered_us": (self._covered_us or 0) if problem is None else 0,
            },
        )

    async def _alert(self, kind: str, subject: str) -> None:
        async with self._database.engine() as unit:
            await unit.run(
                "inbound.raise_alert",
                {
                    "merchant": self._account.merchant_id,
                    "account": self._account.account_id,
                    "kind": kind,
                    "subject": subject,
                    "params": "{}",
                    "now_us": microseconds(self._clock.now()),
                },
            )


def _is_older(page: OrderPage, instant: datetime) -> bool:
    return any(package.modified_at < instant for order in page.orders for package in order.packages)


def describe(problem: Problem | None) -> str:
    """A problem in the marketplace's own words where it gave any; "" for none."""
    match problem:
        case None:
            return ""
        case Refused():
            return " ".join(part for part in (problem.code, problem.text) if part) or "refused"
        case Throttled():
            return "throttled"
        case Unauthorized():
            return problem.text or "unauthorized"
        case Unknown():
            return problem.text or problem.evidence
        case NotSent():
            return problem.reason
        case _:
            return problem.detail
