"""One process's engine: leases, lanes, tickets, orders, looks – and how they come and go."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Protocol

from meschain.channel.clock import microseconds
from meschain.channel.contract import OrderPage
from meschain.store.unit_of_work import DATABASE_AWAY
from meschain.sync.account import Lease
from meschain.sync.attempt import Attempts
from meschain.sync.audit import PRICE, QUANTITY, Audit
from meschain.sync.collector import spare_collector
from meschain.sync.inbound import OrderPulls
from meschain.sync.intake import Intake
from meschain.sync.lane import (
    FIRST_LOOK_S,
    PUSH,
    SKEW_US,
    Ending,
    LaneSettings,
    OfferLanes,
    OpenTicket,
)
from meschain.sync.listing import Storefront, advance_publications
from meschain.sync.measure import Measures
from meschain.sync.notify import Notifier
from meschain.sync.ownership import CLAIM_MAX, RENEW_S, Census, Claimed, Ownership
from meschain.sync.package_lane import PackageLane
from meschain.sync.sweep import Sweeps, SweepSettings
from meschain.sync.ticket import TicketPolls
from meschain.sync.wake import Wakeups
from meschain.sync.webhook import Webhooks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from psycopg.rows import TupleRow

    from meschain.channel.clock import Clock
    from meschain.channel.contract import WebhookDelivery
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount
    from meschain.sync.trace import Tracer

log = logging.getLogger(__name__)

SHARE_S: Final = 1.0  # how often is looked at who serves how much
HAND_OVER_MAX: Final = 20  # accounts a second, and never more without an owner on the way
QUIET_POLL_S: Final = 0.02
QUIET_S: Final = 1.0  # so long an account may take to have every answer before it is handed over
BUSY_S: Final = 30.0  # one that was not quiet then is left alone for a while
SETTLE_S: Final = 1.0
STATES_S: Final = 1.0
NET_S: Final = 2.0  # how often schedules and pauses are looked at
PUBLISHING_S: Final = 60.0
PUBLISHING_OPEN_S: Final = 10.0
DRAIN_S: Final = 2.0
ENDS_MAX: Final = 6
END_S: Final = 0.5  # so long a cancelled task may take to leave the database in order
TIDY_S: Final = 600.0
STATISTICS_S: Final = 10.0
TICKETS_KEPT_S: Final = 3 * 86_400
EVENTS_KEPT_DAYS: Final = 30


class OpenAccount(Protocol):
    """Opens an account whose lease was claimed; None when it cannot be served by this program."""

    async def __call__(self, claimed: Claimed) -> ServedAccount | None:
        """Read the account, open its credentials, build channel, pacer and transport."""
        ...


@dataclass(slots=True)
class _Served:
    account: ServedAccount
    intake: Intake
    pulls: OrderPulls
    tasks: tuple[asyncio.Task[None], ...]
    stays_until_s: float = 0.0  # it was too busy to be handed over


@dataclass(slots=True)
class EngineSettings:
    """What may be tuned; the defaults are those of production."""

    lanes: LaneSettings = field(default_factory=LaneSettings)
    sweeps: SweepSettings = field(default_factory=SweepSettings)
    pull_orders: bool = True  # benchmarks of the push side switch it off
    accounts_max: int = 2_000  # bench/many_merchants: 800 at rest are a fifth of a core
    # The accounts a command works for; None: a worker's, which shares all accounts with the others.
    only: frozenset[int] | None = None
    tracer: Tracer | None = None


class Engine:
    """Owns accounts and keeps their channels in step."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        clock: Clock,
        open_account: OpenAccount,
        *,
        owner: str,
        settings: EngineSettings | None = None,
    ) -> None:
        """``owner`` is unique to this process."""
        self._database = database
        self._keys = keys
        self._clock = clock
        self._open_account = open_account
        self.settings = settings or EngineSettings()
        self._owner = owner
        self._ownership = Ownership(database, clock, owner)
        self._is_stopping = False
        self._freed = asyncio.Event()
        self._served: dict[int, _Served] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._asked = asyncio.Event()
        self.wakeups = Wakeups()
        self.audit = Audit(database, clock)
        self.attempts = Attempts(database, clock)
        self.tickets = TicketPolls(clock, self._end_ticket)
        self.measures = Measures()
        self.lanes = OfferLanes(
            database,
            clock,
            self.wakeups,
            self.tickets.add,
            self.settings.lanes,
            self.measures,
            self.settings.tracer,
        )
        self.packages = PackageLane(database, keys, clock)
        self.webhooks = Webhooks(database, keys, clock, self, open_account)
        self._notifier = Notifier(database.conninfo, self._wake, self._ask, self._free)
        database.on_commit(self._touched)

    # — life —

    async def start(self) -> None:
        """Claim what is free and begin; returns when the first accounts are served."""
        spare_collector()
        self._is_stopping = False
        await self._refresh_statistics()
        await self._beat()
        await self._claim_accounts(self._part_of(await self._ownership.census()))
        loops: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("leases", self._keep_leases),
            ("shares", self._keep_shares),
            ("claims", self.lanes.run_claims),
            ("answers", self.lanes.run_answers),
            ("tickets", self.tickets.run),
            ("packages", self.packages.run),
            ("looks", self._keep_looks),
            ("net", self._keep_net),
            ("states", self._keep_states),
            ("tidy", self._keep_tidy),
            ("statistics", self._keep_statistics),
            ("attempts", self.attempts.run),
            ("tell", self._notifier.run_tell),
            ("listen", self._notifier.run_listen),
            ("webhooks", self.webhooks.run_inbox),
            ("registrations", self.webhooks.run_checks),
        )
        self._tasks = [
            asyncio.create_task(self._forever(name, loop), name=name) for name, loop in loops
        ]

    async def stop(self) -> None:
        """Let what is under way end, store its answers, give the leases back."""
        self._is_stopping = True
        for served in self._served.values():
            self.lanes.dismiss(served.account.account_id)
            self.packages.dismiss(served.account.account_id)
            for task in served.tasks:
                task.cancel()
        try:
            await asyncio.gather(self.lanes.drain(DRAIN_S), self.packages.drain(DRAIN_S))
        except DATABASE_AWAY:
            log.warning("database is away while stopping; the next owner observes")
        await self.tickets.stop()
        await _end(
            *self._tasks, *(task for served in self._served.values() for task in served.tasks)
        )
        try:
            await self._ownership.renew(self.accounts, final=True)
            await self._ownership.release()
        except DATABASE_AWAY:
            log.warning("database is away while stopping; the leases run out by themselves")
        self._served.clear()

    @property
    def accounts(self) -> Sequence[ServedAccount]:
        """The accounts this process serves now."""
        return [served.account for served in self._served.values()]

    def account(self, account_id: int) -> ServedAccount | None:
        """The served account, or None when another process has it."""
        served = self._served.get(account_id)
        return served.account if served else None

    async def deliver(self, account_id: int, delivery: WebhookDelivery) -> bool:
        """Take in a verified webhook delivery; False when the account is not served here."""
        served = self._served.get(account_id)
        if served is None:
            return False
        page = served.account.channel.parse_webhook(delivery)
        if isinstance(page, OrderPage):
            await served.pulls.take(page, detected_by="webhook")
            return True
        served.account.poll_orders.set()  # unreadable: the pull will tell
        return True

    # — loops —

    def _touched(self, _merchant_id: int, accounts: Sequence[int]) -> None:
        """After a commit of this process: wake our lanes, tell the others."""
        self._wake(account for account in accounts if account in self._served)
        self._notifier.tell(account for account in accounts if account not in self._served)

    def _wake(self, accounts: Iterable[int]) -> None:
        self.wakeups.add(accounts)
        self.packages.wake()

    def _ask(self, accounts: Iterable[int]) -> None:
        """A command wants these accounts' lanes to run now; the lanes were set due before."""
        for account_id in accounts:
            served = self._served.get(account_id)
            if served is not None:
                served.account.poll_orders.set()
                self._wake((account_id,))
                self._asked.set()

    def _free(self, _: Iterable[int]) -> None:
        """Others have given accounts back."""
        self._freed.set()

    def _end_ticket(self, ending: Ending) -> None:
        self.lanes.end(ending)

    async def _forever(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop, and run it again when the database was away; anything else is a defect."""
        is_away = False
        while True:
            try:
                await loop()
            except DATABASE_AWAY as away:
                if not is_away:
                    log.warning("database is away", extra={"loop": name, "error": str(away)})
                is_away = True
                await self._clock.sleep(0.25)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Not meant for us: what the loop waited for was cancelled. It must not end unseen.
                log.exception("engine loop failed", extra={"loop": name})
                await self._clock.sleep(1.0)
            except Exception:
                # A process edge: one loop's defect must not stop the others in silence.
                log.exception("engine loop failed", extra={"loop": name})
                await self._clock.sleep(1.0)
            else:
                log.error("engine loop ended", extra={"loop": name})
                await self._clock.sleep(1.0)

    async def _keep_leases(self) -> None:
        while True:
            await self._beat()
            for account in await self._ownership.renew(self.accounts):
                if await self._drop(account):
                    log.warning(
                        "account is no longer served here", extra={"account": account.account_id}
                    )
            await self._clock.sleep(RENEW_S)

    async def _beat(self) -> None:
        if self.settings.only is None:
            await self._ownership.beat(self.settings.accounts_max)

    async def _keep_shares(self) -> None:
        """Take what is free up to our part of all accounts, and hand over what is beyond it."""
        while True:
            self._freed.clear()
            census = await self._ownership.census()
            if await self._claim_accounts(self._part_of(census)):
                await self._hand_over_excess(census)
                try:
                    async with asyncio.timeout(SHARE_S):
                        await self._freed.wait()
                except TimeoutError:
                    pass

    def _part_of(self, census: Census) -> int:
        if self.settings.only is not None:
            return self.settings.accounts_max
        return census.share_of(self._owner) or 0

    async def _claim_accounts(self, most: int) -> bool:
        """Serve what is free while we serve fewer than that; False: not all yet, time was up."""
        until_s = self._clock.monotonic_s() + RENEW_S
        while self._clock.monotonic_s() < until_s:
            limit = min(CLAIM_MAX, most - len(self._served))
            if limit <= 0 or self._is_stopping:
                return True
            claims = await self._ownership.claim(limit, only=self.settings.only)
            await self._begin(claims)
            if len(claims) < limit:
                return True
        return False

    async def _hand_over_excess(self, census: Census) -> None:
        """What others shall serve: a few at once, those first of which nothing is under way."""
        ours = census.share_of(self._owner, settled=True)
        if ours is None or self._is_stopping:
            return
        count = min(len(self._served) - ours, HAND_OVER_MAX - census.free)
        now_s = self._clock.monotonic_s()
        movable = [each for each in self._served.values() if each.stays_until_s <= now_s]
        movable.sort(key=lambda each: (not self._is_quiet(each.account), -each.account.account_id))
        await asyncio.gather(*(self._hand_over(each) for each in movable[: max(0, count)]))

    def _is_quiet(self, account: ServedAccount) -> bool:
        return (
            account.pacer.under_way == 0
            and self.lanes.is_quiet(account)
            and self.packages.is_quiet(account.account_id)
        )

    async def _hand_over(self, served: _Served) -> None:
        """Begin nothing more for the account, and give it back once all is answered and stored.

        Tickets that the marketplace has accepted go with it: the next owner polls them on.
        """
        account = served.account
        account.is_leaving = True
        until_s = self._clock.monotonic_s() + QUIET_S
        while not self._is_quiet(account):
            if self._clock.monotonic_s() > until_s:
                account.is_leaving = False
                served.stays_until_s = until_s + BUSY_S
                self._wake((account.account_id,))
                return
            await self._clock.sleep(QUIET_POLL_S)
        # From here on nothing of ours passes its guard, also what a loop was about to send.
        account.lease = Lease(account.lease.epoch, -inf)
        if await self._drop(account):
            await self._ownership.hand_over(account)
            log.info("account is handed over", extra={"account": account.account_id})

    async def _begin(self, claims: Sequence[Claimed]) -> None:
        for claimed in claims:
            try:
                account = await self._open_account(claimed)
                if account is not None:
                    await self._serve(account)
            except DATABASE_AWAY:
                raise  # the leases that were not begun run out, and are claimed again
            except Exception:
                # A process edge: what is wrong with one account must not keep the others waiting.
                log.exception("account cannot be served", extra={"account": claimed.account_id})

    async def _serve(self, account: ServedAccount) -> None:
        now_us = microseconds(self._clock.now())
        key = {"merchant": account.merchant_id, "account": account.account_id}
        async with self._database.engine() as unit:
            adopted = await unit.rows("offer.adopt", key | self._terms_of_adoption(account))
            items = await unit.rows("offer.open_ticket_items", key) if adopted else []
            row = await unit.row("inbound.cursor", key)
            schedules = await unit.rows(
                "inbound.lane_schedules",
                {"merchants": [account.merchant_id], "accounts": [account.account_id]},
            )
        account.is_paused = is_paused(schedules)
        account.orders_fresh_us = int(row[1]) if row else 0
        listings: dict[int, dict[str, int]] = {}
        for ticket_id, push_key, listing_id in items:
            listings.setdefault(ticket_id, {})[push_key] = listing_id
        for ticket_id, reference, accepted_us, _ in adopted:
            age_s = max(0.0, (now_us - accepted_us) / 1_000_000)
            self.tickets.add(
                OpenTicket(
                    account,
                    ticket_id,
                    reference,
                    listings.get(ticket_id, {}),
                    self._clock.monotonic_s() - age_s,
                )
            )
        intake = Intake(
            self._database,
            self._keys,
            merchant_id=account.merchant_id,
            account_id=account.account_id,
            name=account.name,
            tracer=self.settings.tracer,
        )
        pulls = OrderPulls(account, intake, self._database, self._clock)
        sweeps = Sweeps(account, self.audit, self._database, self._clock, self.settings.sweeps)
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("looks", partial(self._keep_looking, account)),
            ("publications", partial(self._keep_publishing, account)),
            ("sweeps", sweeps.run),
        ]
        if self.settings.pull_orders:
            loops.append(("orders", pulls.run))
        tasks = tuple(
            asyncio.create_task(self._forever(name, loop), name=f"{name}:{account.account_id}")
            for name, loop in loops
        )
        self._served[account.account_id] = _Served(account, intake, pulls, tasks)
        self.lanes.serve(account)
        self.packages.serve(account, intake)
        log.info(
            "account is served",
            extra={"account": account.account_id, "epoch": account.lease.epoch},
        )

    async def _drop(self, account: ServedAccount) -> bool:
        """Serve it no more; False where it was dropped before."""
        served = self._served.get(account.account_id)
        if served is None or served.account is not account:
            return False
        del self._served[account.account_id]
        account.is_dismissed = True
        self.lanes.dismiss(account.account_id)
        self.packages.dismiss(account.account_id)
        await _end(*served.tasks)
        return True

    async def _keep_looks(self) -> None:
        """Each second: whose unsettled listings are due. One question for all accounts."""
        while True:
            accounts = [a for a in self.accounts if a.state == "armed" and a.has_lease]
            due = await self._database.engine_rows(
                "offer.unsettled_accounts",
                _keys(accounts) | {"now_us": microseconds(self._clock.now())},
            )
            for (account_id,) in due:
                served = self._served.get(account_id)
                if served is not None:
                    served.account.look.set()
            await self._clock.sleep(SETTLE_S)

    async def _keep_looking(self, account: ServedAccount) -> None:
        """Unsettled listings of one account; a slow channel delays only its own."""
        while True:
            await account.look.wait()
            account.look.clear()
            if account.state == "armed" and account.has_lease:
                looked = await self.audit.settle(account)
                if looked:
                    self.wakeups.add((account.account_id,))

    async def _keep_publishing(self, account: ServedAccount) -> None:
        """Bring publications on: their tickets, their approval; quicker while some are open."""
        while True:
            pause_s = PUBLISHING_S
            if account.state == "armed" and account.has_lease:
                report = await advance_publications(
                    Storefront(
                        database=self._database,
                        channel=account.channel,
                        clock=self._clock,
                        merchant_id=account.merchant_id,
                        account_id=account.account_id,
                        guard=account,
                        epoch=account.lease.epoch,
                    )
                )
                if report.open:
                    pause_s = PUBLISHING_OPEN_S
            await self._clock.sleep(pause_s)

    def _terms_of_adoption(self, account: ServedAccount) -> dict[str, object]:
        now_us = microseconds(self._clock.now())
        manifest = account.manifest
        longest_s = manifest.operations[PUSH].timeout_s + manifest.offers.apply_s_max
        return {
            "epoch": account.lease.epoch,
            "recheck_us": now_us + int(FIRST_LOOK_S * 1_000_000),
            "final_us": now_us + int(longest_s * 1_000_000),
            "now_us": now_us,
            "skew_us": SKEW_US,
        }

    async def _adopt_stragglers(self) -> None:
        """What an earlier owner claimed in the moment of the takeover: nobody speaks for it."""
        served = {account.account_id: account for account in self.accounts}
        async with self._database.engine() as unit:
            rows = await unit.rows(
                "offer.straggling",
                {
                    "merchants": [a.merchant_id for a in served.values()],
                    "accounts": list(served),
                    "epochs": [a.lease.epoch for a in served.values()],
                },
            )
            for (account_id,) in rows:
                account = served[account_id]
                key = {"merchant": account.merchant_id, "account": account_id}
                await unit.run("offer.adopt", key | self._terms_of_adoption(account))
        self.wakeups.add(account_id for (account_id,) in rows)

    async def _keep_net(self) -> None:
        """The schedules of the lanes: the safety net runs when its lane is due."""
        while True:
            try:
                async with asyncio.timeout(NET_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            await self.lanes.end_orphans()
            await self._adopt_stragglers()
            lanes = await self._database.engine_rows("inbound.lane_schedules", _keys(self.accounts))
            for account_id, rows in groupby(lanes, key=itemgetter(0)):
                served = self._served.get(account_id)
                if served is not None:
                    await self._run_schedules(served.account, list(rows))

    async def _run_schedules(self, account: ServedAccount, lanes: Sequence[TupleRow]) -> None:
        now_us = microseconds(self._clock.now())
        account.is_paused = is_paused(lanes)
        if any(name == "orders" and next_run_us == 0 for _, name, _, next_run_us, *_ in lanes):
            account.poll_orders.set()  # somebody set it due, and the hint was lost
        if account.is_paused or account.state != "armed" or not account.has_lease:
            return
        for _, name, _, next_run_us, interval_s, batch_size in lanes:
            field = {"stock": QUANTITY, "prices": PRICE}.get(name)
            if field is not None and next_run_us <= now_us:
                found = await self.audit.safety_net(
                    account, name, field, limit=batch_size, interval_s=interval_s
                )
                if found:
                    self.wakeups.add((account.account_id,))

    async def _keep_tidy(self) -> None:
        """Partitions for the coming days, and rows that have served their time."""
        while True:
            now = self._clock.now()
            now_us = microseconds(now)
            before_us = now_us - TICKETS_KEPT_S * 1_000_000
            async with self._database.engine() as unit:
                days: dict[str, object] = {"first": now.date() + timedelta(days=1), "days": 7}
                await unit.run("keeping.prepare_event_days", days)
                before = now.date() - timedelta(days=EVENTS_KEPT_DAYS)
                await unit.run("keeping.forget_event_days", {"before": before})
                await unit.run("ownership.forget_workers", {"now_us": now_us})
                await unit.run("budget.forget", {"now_us": now_us})
            for account in self.accounts:
                key: dict[str, object] = {
                    "merchant": account.merchant_id,
                    "account": account.account_id,
                    "before_us": before_us,
                }
                async with self._database.engine() as unit:
                    await unit.run("keeping.forget_tickets", key)
                    await unit.run("keeping.forget_attempts", key)
                    await unit.run("keeping.forget_wishes", key)
                    for name in ("lanes", "dirty", "looks", "wishes"):
                        await unit.run(f"keeping.recall_{name}", key | {"now_us": now_us})
            await self._clock.sleep(TIDY_S)

    async def _keep_statistics(self) -> None:
        """What the planner knows of tables that grow, as with a first catalog or first orders."""
        while True:
            await self._clock.sleep(STATISTICS_S)
            await self._refresh_statistics()

    async def _refresh_statistics(self) -> None:
        async with self._database.engine() as unit:
            await unit.run("keeping.refresh_statistics")

    async def _keep_states(self) -> None:
        """Arm, disarm and pause act within a second; lost credentials are written down, once."""
        while True:
            async with self._database.engine() as unit:
                for account in self.accounts:
                    if account.state == "reconnect" != account.stored_state:
                        await unit.run(
                            "account.set_state",
                            {
                                "merchant": account.merchant_id,
                                "account": account.account_id,
                                "state": "reconnect",
                                "only_from": ["armed", "read_only"],
                            },
                        )
                rows = await unit.rows("account.states")
            states = {account_id: state for _, account_id, state in rows}
            for account in self.accounts:
                await self._follow(account, states.get(account.account_id, "closed"))
            await self._clock.sleep(STATES_S)

    async def _follow(self, account: ServedAccount, state: str) -> None:
        """Go on in the state that the owner has set."""
        before, account.state = account.state, state
        was_stored, account.stored_state = account.stored_state, state
        if was_stored == "reconnect" != state:
            # Its owner has given new credentials: served anew, by whoever is first.
            await self._drop(account)
            await self._ownership.let_go(account)
        elif state == "armed" != before:
            self.wakeups.add((account.account_id,))


def is_paused(schedules: Iterable[Sequence[object]]) -> bool:
    """Whether the owner lets an account's sending rest: name and pause of each of its lanes."""
    return any(name in {"stock", "prices"} and rests for _, name, rests, *_ in schedules)


def _keys(accounts: Iterable[ServedAccount]) -> dict[str, object]:
    served = list(accounts)
    return {
        "merchants": [account.merchant_id for account in served],
        "accounts": [account.account_id for account in served],
    }


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: before Python 3.12 a cancellation that meets the result of ``wait_for`` is
    swallowed, and the connection pool waits that way. Twice at once is too much: the second breaks
    off the cancelling of a query, and with it the connection.
    """
    pending = set(tasks)
    for times in range(ENDS_MAX):
        if not pending:
            return
        for task in pending:
            if times or not task.cancelling():
                task.cancel()
        _, pending = await asyncio.wait(pending, timeout=END_S)
    log.error("engine tasks do not end", extra={"tasks": [task.get_name() for task in pending]})
