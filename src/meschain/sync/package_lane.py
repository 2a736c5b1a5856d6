"""The order lane's outgoing part: what the merchant asked of packages, until it stands there.

One row of ``package_wish`` is one piece of work, its natural key is the package. None of what is
asked is idempotent everywhere, so intent is committed before anything is sent, and what may have
arrived is looked at before it is sent again – by this process or by the next owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg
from psycopg_pool import PoolTimeout

from meschain.channel.clock import microseconds
from meschain.channel.contract import (
    Call,
    LeaseExpired,
    OrderPage,
    PackageLine,
    PackageRef,
    Priority,
)
from meschain.channel.http import TransportLost
from meschain.channel.outcome import (
    ContractBroken,
    Done,
    NotSent,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.domain.order import PackageState
from meschain.store.unit_of_work import DATABASE_AWAY
from meschain.sync.intake import Intake
from meschain.sync.package_wish import (
    PACKAGE_CHANGED,
    Answer,
    Fate,
    PackageNow,
    Terms,
    Wish,
    WishPhase,
    alert_kind,
    alert_subject,
    fate_of,
    is_refusal,
    judge,
    outcome_document,
    outcome_of,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from meschain.channel.clock import Clock
    from meschain.channel.contract import ItemOutcomes
    from meschain.channel.outcome import Outcome, Problem
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database, UnitOfWork
    from meschain.sync.account import ServedAccount

log = logging.getLogger(__name__)

REQUESTS_MAX: Final = 4  # of one account under way at once; never two for the same package
CHECK_S: Final = 1.0  # the net beneath the wake-ups
GATHER_S: Final = 0.05  # every sale wakes this lane too; it asks no more often than this
FIRST_LOOK_S: Final = 3.0  # after an unknown outcome; later looks follow ever more slowly
SEEN_S: Final = 60.0  # so long a pull or a webhook has to bring what the marketplace said yes to
LOOKS_MAX: Final = 3  # in vain, then a yes is not believed any more
LOOKS_MIN: Final = 2  # before a cancellation or split is repeated: some are applied a moment later
BACKOFF_S: Final = 0.5
BACKOFF_S_MAX: Final = 60.0
ORDER_SURFACE: Final = "order"


@dataclass(frozen=True, slots=True)
class _MaySend:
    """The guard of a request: the lease stands, and the owner lets the account send."""

    account: ServedAccount

    def check(self) -> None:
        """Raise LeaseExpired when it is too late, or not wanted any more."""
        self.account.check()
        if not self.account.may_send:
            raise LeaseExpired(f"{self.account.name}: is not to send")


class PackageLane:
    """The wishes of all accounts of this process."""

    def __init__(self, database: Database, keys: DataKeys, clock: Clock) -> None:
        """Nothing is served yet."""
        self._database = database
        self._keys = keys
        self._clock = clock
        self._accounts: dict[int, ServedAccount] = {}
        self._intakes: dict[int, Intake] = {}
        self._under_way: dict[tuple[int, int, str], asyncio.Task[None]] = {}
        self._sending: dict[int, int] = {}
        self._awake = asyncio.Event()

    # — accounts —

    def serve(self, account: ServedAccount, intake: Intake | None = None) -> None:
        """Begin to serve an account whose lease this process holds."""
        self._accounts[account.account_id] = account
        self._intakes[account.account_id] = intake or Intake(
            self._database,
            self._keys,
            merchant_id=account.merchant_id,
            account_id=account.account_id,
            name=account.name,
        )
        self.wake()

    def dismiss(self, account_id: int) -> None:
        """Begin nothing more for it; what is under way ends by itself."""
        self._accounts.pop(account_id, None)

    def is_quiet(self, account_id: int) -> bool:
        """Whether nothing of the account is under way."""
        return self._sending.get(account_id, 0) == 0

    def wake(self) -> None:
        """There may be something to do."""
        self._awake.set()

    # — life —

    async def run(self) -> None:
        """Take step after step until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._awake.wait()
            except TimeoutError:
                pass
            self._awake.clear()
            await self._begin_due()
            await self._clock.sleep(GATHER_S)

    async def drain(self, timeout_s: float) -> None:
        """Let requests under way end; what is cut off is looked at by the next owner."""
        steps = set(self._under_way.values())
        if not steps:
            return
        _, unfinished = await asyncio.wait(steps, timeout=timeout_s)
        for step in unfinished:
            step.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _begin_due(self) -> None:
        accounts = [each for each in self._accounts.values() if each.may_send]
        if not accounts:
            return
        async with self._database.engine() as unit:
            rows = await unit.rows(
                "package.due_wishes",
                {
                    "merchants": [each.merchant_id for each in accounts],
                    "accounts": [each.account_id for each in accounts],
                    "now_us": self._now_us(),
                    # Those under way may be due too, when the pacer holds them for long.
                    "limit": 2 * REQUESTS_MAX,
                },
            )
        for row in rows:
            wish = Wish(*row)
            if wish.terms is not None:
                wish = replace(wish, terms=msgspec.convert(wish.terms, Terms))
            account = self._accounts.get(wish.account_id)
            if account is None or wish.name in self._under_way:
                continue
            if self._sending.get(wish.account_id, 0) >= REQUESTS_MAX:
                continue
            self._sending[wish.account_id] = self._sending.get(wish.account_id, 0) + 1
            task = asyncio.create_task(self._step(account, wish))
            self._under_way[wish.name] = task
            task.add_done_callback(partial(self._finished, wish))

    def _finished(self, wish: Wish, _: asyncio.Task[None]) -> None:
        del self._under_way[wish.name]
        self._sending[wish.account_id] -= 1
        self.wake()

    async def _step(self, account: ServedAccount, wish: Wish) -> None:
        try:
            await (self._send if wish.phase == WishPhase.WAITING else self._look)(account, wish)
        except DATABASE_AWAY:
            await self._clock.sleep(CHECK_S)  # the database is away, which the loop says
        except Exception:
            # A process edge: one package's defect must not stop the others. Begun, it is looked at;
            # not begun, it is tried again – ever more slowly.
            log.exception(
                "package step failed",
                extra={"account": wish.account_id, "package": wish.package_id},
            )
            wait_s = _backoff_s(FIRST_LOOK_S, wish.looks)
            with contextlib.suppress(psycopg.Error, PoolTimeout):
                await self._put(wish, WishPhase(wish.phase), wait_s, looks=wish.looks + 1)

    # — sending —

    async def _send(self, account: ServedAccount, wish: Wish) -> None:
        """Intent, effect, answer."""
        package = await self._package(wish)
        fate = fate_of(wish, package)
        if fate is Fate.THERE:
            await self._there(wish)
            return
        if fate is Fate.GONE:
            if wish.may_have_arrived:  # perhaps that was ours: the whole order shows it
                await self._put(wish, WishPhase.DOUBTFUL, 0.0)
            else:
                await self._end(wish, refused=NotSent(PACKAGE_CHANGED))
            return
        operations = account.manifest.operations.values()
        timeout_s = max(each.timeout_s for each in operations if each.surface == ORDER_SURFACE)
        async with self._database.merchant(wish.merchant_id) as unit:
            begun = await unit.row(
                "package.begin_wish",
                wish.key | {"look_us": self._in_us(timeout_s + FIRST_LOOK_S)},
            )
        if begun is None:
            return  # another wish took its place
        wish = replace(wish, tries=begun[0])
        call = Call(Priority.NORMAL, guard=_MaySend(account))
        outcome = await _spoken(_request(account, wish, package.reference, call))
        _learn(account, call, outcome)
        await self._answered(account, wish, package.reference, outcome)

    async def _answered(
        self,
        account: ServedAccount,
        wish: Wish,
        package: PackageRef,
        outcome: Outcome | ItemOutcomes,
    ) -> None:
        document = outcome_document(outcome)
        match judge(outcome, _named(wish, package)):
            case Answer.YES:
                await self._taken(account, wish, document)
            case Answer.NO if wish.is_doubtful:
                # It may be refused because an earlier request arrived: what stands there decides.
                await self._put(wish, WishPhase.DOUBTFUL, 0.0, document)
            case Answer.NO:
                await self._end(wish, refused=outcome)
            case Answer.DOUBT:
                wait_s = _backoff_s(FIRST_LOOK_S, wish.tries - 1)
                await self._put(wish, WishPhase.DOUBTFUL, wait_s, document, is_doubtful=True)
            case Answer.LATER:
                wait_s = _backoff_s(BACKOFF_S, wish.tries - 1)
                if isinstance(outcome, Throttled):
                    wait_s = max(wait_s, outcome.retry_after_s or 0.0)
                await self._put(wish, WishPhase.WAITING, wait_s, document)

    async def _taken(
        self, account: ServedAccount, wish: Wish, document: dict[str, dict[str, object]]
    ) -> None:
        """The marketplace said yes; the next pull or webhook shows it, so nothing is read now.

        Only what a package was broken up into is soon asked for: until it is known, nothing can be
        done with the goods.
        """
        wait_s = max(SEEN_S, 3 * account.manifest.orders.poll_interval_s)
        if wish.terms is not None:
            wait_s = FIRST_LOOK_S
        async with self._database.merchant(wish.merchant_id) as unit:
            if not await self._store(unit, wish, WishPhase.TAKEN, wait_s, document):
                return
            if wish.invoice_number:
                await unit.run(
                    "package.put_invoice_number", wish.key | {"number": wish.invoice_number}
                )
            await self._tell(unit, wish, "package.taken")

    # — looking —

    async def _look(self, account: ServedAccount, wish: Wish) -> None:
        """Read the order whole; what it shows is what counts."""
        package = await self._package(wish)
        if fate_of(wish, package) is Fate.THERE:
            await self._there(wish)
            return
        problem = await self._read(account, package.reference.order_id)
        if problem is not None:
            wait_s = _backoff_s(FIRST_LOOK_S, wish.looks)
            if isinstance(problem, Throttled):
                wait_s = max(wait_s, problem.retry_after_s or 0.0)
            await self._put(wish, WishPhase(wish.phase), wait_s, looks=wish.looks + 1)
            return
        fate = fate_of(wish, await self._package(wish))
        last = None if wish.outcome is None else outcome_of(wish.outcome)
        looks_max = LOOKS_MAX if wish.phase == WishPhase.TAKEN else LOOKS_MIN
        if fate is Fate.THERE:
            await self._there(wish)
        elif fate is Fate.GONE:
            await self._end(wish, refused=Unknown(PACKAGE_CHANGED))
        elif wish.phase == WishPhase.DOUBTFUL and is_refusal(last):
            assert last is not None
            await self._end(wish, refused=last)
        elif wish.looks + 1 < looks_max and (wish.phase == WishPhase.TAKEN or wish.terms):
            wait_s = (SEEN_S if wish.phase == WishPhase.TAKEN else FIRST_LOOK_S) * 2**wish.looks
            await self._put(wish, WishPhase(wish.phase), wait_s, looks=wish.looks + 1)
        else:
            await self._put(wish, WishPhase.WAITING, 0.0, is_doubtful=True)

    async def _read(self, account: ServedAccount, order: str) -> Problem | None:
        call = Call(Priority.NORMAL, guard=account)
        page: OrderPage | Problem
        try:
            page = await account.channel.pull_order(order, call)
        except LeaseExpired:
            page = NotSent("lease_expired")
        except TransportLost as lost:
            page = NotSent(lost.detail)
        if not isinstance(page, OrderPage):
            _learn(account, call, page)
            return page
        intake = self._intakes[account.account_id]
        for seen in page.orders:
            await intake.take(seen, detected_by="poll", now=self._clock.now())
        return None

    async def _package(self, wish: Wish) -> PackageNow:
        async with self._database.merchant(wish.merchant_id) as unit:
            row = await unit.row("package.wished", wish.key)
        assert row is not None, "a wish goes with its package"
        order, state, wanted, cargo_code, lines, unsupplied = row
        named = tuple(PackageLine(line["line_id"], line["units"]) for line in lines)
        reference = PackageRef(order, wish.package_id, named, cargo_code)
        stands = None if state is None else PackageState(state)
        return PackageNow(reference, stands, wanted, unsupplied)

    # — books —

    async def _put(
        self,
        wish: Wish,
        phase: WishPhase,
        wait_s: float,
        document: dict[str, dict[str, object]] | None = None,
        *,
        looks: int = 0,
        is_doubtful: bool = False,
    ) -> None:
        async with self._database.merchant(wish.merchant_id) as unit:
            await self._store(
                unit, wish, phase, wait_s, document, looks=looks, is_doubtful=is_doubtful
            )

    async def _store(
        self,
        unit: UnitOfWork,
        wish: Wish,
        phase: WishPhase,
        wait_s: float = 0.0,
        document: dict[str, dict[str, object]] | None = None,
        *,
        looks: int = 0,
        is_doubtful: bool = False,
    ) -> bool:
        """False: another wish has taken its place, or another owner went on with it."""
        row = await unit.row(
            "package.step_wish",
            wish.key
            | {
                "phase": int(phase),
                "next_us": self._in_us(wait_s),
                "looks": looks,
                "is_doubtful": wish.is_doubtful or is_doubtful,
                "outcome": None if document is None else msgspec.json.encode(document).decode(),
            },
        )
        return row is not None

    async def _there(self, wish: Wish) -> None:
        """It stands there, or it is overtaken."""
        document = None if wish.terms is None else outcome_document(Done())
        async with self._database.merchant(wish.merchant_id) as unit:
            await self._store(unit, wish, WishPhase.ENDED, 0.0, document)

    async def _end(self, wish: Wish, *, refused: Outcome | ItemOutcomes) -> None:
        """It is refused, which its owner must know."""
        async with self._database.merchant(wish.merchant_id) as unit:
            document = outcome_document(refused)
            if not await self._store(unit, wish, WishPhase.ENDED, 0.0, document):
                return
            await unit.run("package.drop_wanted", wish.key)
            await self._tell(unit, wish, "package.refused")
            if isinstance(refused, Refused) and refused.code == "lacking":
                return  # said to whoever asked; nothing of it can be mended there
            row = await unit.row("package.wished", wish.key)
            assert row is not None
            words = words_of(refused)
            params = {"order": row[0], "package": wish.package_id, "words": words or "–"}
            await unit.run(
                "inbound.raise_alert",
                wish.key
                | {
                    "kind": alert_kind(wish.to, refused),
                    "subject": alert_subject(row[0], wish.package_id),
                    "params": msgspec.json.encode(params).decode(),
                    "now_us": self._now_us(),
                },
            )
        account = self._accounts.get(wish.account_id)
        if account is not None and is_refusal(refused):
            account.health.last_error = words

    async def _tell(self, unit: UnitOfWork, wish: Wish, kind: str) -> None:
        now = self._clock.now()
        facts = {"order_id": wish.order_id, "package": wish.package_id, "state": wish.state}
        await unit.run(
            "listing.add_event",
            wish.key
            | {
                "kind": kind,
                "facts": msgspec.json.encode(facts).decode(),
                "now": now,
                "now_us": microseconds(now),
            },
        )

    def _now_us(self) -> int:
        return microseconds(self._clock.now())

    def _in_us(self, seconds: float) -> int:
        return self._now_us() + int(seconds * 1_000_000)


# — pure —


def _named(wish: Wish, package: PackageRef) -> PackageRef:
    """The package with the lines that the wish is about."""
    if wish.terms is None:
        return package
    units = {name: units for group in wish.terms.groups for name, units in group.items()}
    return replace(package, lines=tuple(PackageLine(*line) for line in units.items()))


async def _request(
    account: ServedAccount, wish: Wish, package: PackageRef, call: Call
) -> Outcome | ItemOutcomes:
    """What the wish asks, said once."""
    terms, channel = wish.terms, account.channel
    if terms is None:
        number = wish.invoice_number
        return await channel.advance_package(package, wish.to, call, invoice_number=number)
    groups = [[PackageLine(name, units) for name, units in each.items()] for each in terms.groups]
    if wish.to is PackageState.UNSUPPLIED:
        return await channel.cancel_lines(package, groups[0], terms.reason, call)
    return await channel.split_package(package, groups, call)


def _backoff_s(first_s: float, times: int) -> float:
    return min(BACKOFF_S_MAX, first_s * 2.0 ** min(max(0, times), 10))


def _learn(account: ServedAccount, call: Call, outcome: Outcome | ItemOutcomes | Problem) -> None:
    """What an answer says of the account as a whole."""
    match outcome:
        case Throttled():
            account.health.throttles += 1
            if call.operation:
                account.pacer.throttled(call.operation, outcome)
        case Unauthorized():
            account.state = "reconnect"
            account.health.last_error = outcome.text
        case ContractBroken():
            log.error(
                "reply is none that is documented",
                extra={"account": account.account_id, "detail": outcome.detail},
            )
        case _:
            pass


async def _spoken(answer: Awaitable[Outcome | ItemOutcomes]) -> Outcome | ItemOutcomes:
    try:
        return await answer
    except LeaseExpired:
        return NotSent("lease_expired")
    except TransportLost as lost:
        return Unknown("lost", lost.detail) if lost.may_have_arrived else NotSent(lost.detail)
