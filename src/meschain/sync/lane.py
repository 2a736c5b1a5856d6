"""The offer lanes of all accounts of this process: claim → send → acknowledge, in sets.

One loop claims for every lane in one statement; sends run beside each other, but never two for
the same listing; one loop ends all answered tickets in one statement.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, LeaseExpired, Priority
from meschain.channel.http import TransportLost
from meschain.channel.outcome import Accepted, NotSent, Throttled, Unauthorized, Unknown
from meschain.sync.measure import Measures
from meschain.sync.plan import (
    ClaimedItem,
    Exceptions,
    TicketVerdict,
    Verdict,
    by_ticket,
    judge_request,
    pushes,
)
from meschain.sync.trace import Stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meschain.channel.clock import Clock
    from meschain.channel.contract import ItemOutcomes
    from meschain.channel.outcome import Outcome
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount
    from meschain.sync.trace import Tracer
    from meschain.sync.wake import Wakeups

log = logging.getLogger(__name__)

PUSH: Final = "push_offers"  # the operation name that every manifest gives its offer push
REQUESTS_MAX: Final = 8  # of one lane under way at once; never two for the same listing
CLAIM_ROWS_MAX: Final = 4_000  # in one claim over all lanes, so that acknowledging keeps up
CLAIM_ROWS_MIN: Final = 100  # a lane may claim at once, however many are awake
CLAIM_S_AIM: Final = 0.030  # a claim of full lanes takes so long: the next sale waits for its end
CLAIM_ROWS_SURE: Final = 1_000  # at once whatever it takes: of fewer rows the time says little
HELD_LONG_US: Final = 1_000_000  # after so long much has gathered
SPACING_MARGIN: Final = 1.1  # requests that follow each other this much slower never fill a quota
ORDER_FRESH_S: Final = 60.0  # a quantity rises only when orders are known up to so long ago
SKEW_US: Final = 2_000_000  # how far the channel's clock and ours may disagree
LINGER_S_MAX: Final = 0.020
LINGER_FACTOR: Final = 4.0  # of what the last set took: a quarter of the time is spent on it
SEND_BY_US: Final = 20_000_000  # a claimed row that is not on its way by then is not sent
BACKOFF_S_MAX: Final = 60.0
FIRST_LOOK_S: Final = 3.0  # after an unknown outcome; later looks follow ever more slowly
REFUSALS_MAX: Final = 64  # requests in a row refused as a whole, then no single item is to blame
_ALTERNATE: Final = 4  # every so many claims the quantities that rise go before the prices
_NEVER: Final = 2**62


@dataclass(slots=True)
class OpenTicket:
    """A request that the marketplace accepted and has not finished; polled by sync.ticket."""

    account: ServedAccount
    ticket_id: int
    reference: str
    listings: Mapping[str, int]  # key sent → listing
    accepted_s: float  # monotonic
    polls: int = 0
    sinces_us: tuple[int, ...] = ()  # when its quantity-downs were decided, to measure propagation


@dataclass(slots=True)
class Ending:
    """A ticket on its way into ``end_tickets``."""

    account: ServedAccount
    ticket_id: int
    judged: TicketVerdict
    not_before_us: int = 0
    recheck_us: int = 0
    final_us: int = 0
    handed_us: int | None = None
    released_us: int | None = None
    answered_us: int | None = None
    sinces_us: tuple[int, ...] = ()
    accepted_us: int | None = None  # None: answered at once, there was nothing to poll
    polls: int = 0


@dataclass(slots=True)
class _Acceptance:
    ticket: OpenTicket
    handed_us: int
    released_us: int
    accepted_us: int


@dataclass(slots=True)
class LaneSettings:
    """What may be tuned; the defaults are those of production."""

    requests_max: int = REQUESTS_MAX
    batch_max: int | None = None  # smaller batches than the marketplace allows (benchmarks)
    linger_s_max: float = LINGER_S_MAX


@dataclass(frozen=True, slots=True)
class _SendBy:
    """The guard of a push: the lease still stands, and the values are not too old to be sent.

    A request may wait in the pacer after a throttle; a sale meanwhile has made its values wrong.
    """

    account: ServedAccount
    by_s: float

    def check(self) -> None:
        """Raise LeaseExpired when it is too late."""
        self.account.check()
        if self.account.clock.monotonic_s() > self.by_s:
            raise LeaseExpired(f"{self.account.name}: claimed too long ago")


class OfferLanes:
    """All offer lanes of this process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        wakeups: Wakeups,
        on_accepted: Callable[[OpenTicket], None],
        settings: LaneSettings | None = None,
        measures: Measures | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """``on_accepted`` receives tickets that must be polled to their end."""
        self._database = database
        self._clock = clock
        self._wakeups = wakeups
        self._on_accepted = on_accepted
        self._settings = settings or LaneSettings()
        self._measures = measures or Measures()
        self._tracer = tracer
        self._accounts: dict[int, ServedAccount] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._ended: list[Ending] = []
        self._accepted: list[_Acceptance] = []
        self._answers = asyncio.Event()
        self._later: dict[int, asyncio.TimerHandle] = {}  # account → its next wake-up by time
        self._first = 0  # the account that is first in turn, where one claim cannot serve all
        self._next_s: dict[int, float] = {}  # account → when its quota has its next request begin
        # Lanes that had all the rows of their last claim, or nearly; and how many these were.
        self._full: dict[int, int] = {}
        self._rows_max = CLAIM_ROWS_MAX  # of full lanes in one claim, as measured
        # Tickets whose request is on its way, or whose end is being stored: ticket → account.
        self._active: dict[int, int] = {}
        self._claiming: set[int] = set()  # accounts of the claim that is being made
        self.claimed_rows = 0  # for benchmarks and tests

    # — accounts —

    def serve(self, account: ServedAccount) -> None:
        """Begin to serve an account whose lease this process holds."""
        self._accounts[account.account_id] = account
        self._wakeups.add((account.account_id,))

    def dismiss(self, account_id: int) -> None:
        """Stop claiming for an account; what is under way ends by itself."""
        self._accounts.pop(account_id, None)
        self._full.pop(account_id, None)
        self._next_s.pop(account_id, None)

    def is_quiet(self, account: ServedAccount) -> bool:
        """Whether every request of the account is answered, and every answer stored."""
        account_id = account.account_id
        return (
            account.sending == 0
            and account_id not in self._claiming
            and account_id not in self._active.values()
        )

    # — loops —

    async def run_claims(self) -> None:
        """Claim and send until cancelled."""
        loop = asyncio.get_running_loop()
        next_check_s = 0.0
        # This loop begins again when the database was away: the last claim may have been committed
        # without our hearing of it. Nobody claims beside this loop, so nothing else is found here.
        await self.end_orphans(claimed_before_us=self._now_us())
        while True:
            await self._wakeups.wait(max(0.0, next_check_s - loop.time()))
            awake = self._wakeups.take()
            if loop.time() >= next_check_s:
                awake |= await self._dirty_accounts()
                next_check_s = loop.time() + 1.0
            if awake:
                began_s = loop.time()
                await self._claim(awake)
                if not self._has_room_for_more():
                    await self._linger(loop.time() - began_s)

    async def run_answers(self) -> None:
        """Store what requests and tickets came to until cancelled, then what is left."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._answers.wait()
                self._answers.clear()
                began_s = loop.time()
                await self._store_answers()
                await self._linger(loop.time() - began_s)
        finally:
            await asyncio.shield(self._store_answers())

    def _has_room_for_more(self) -> bool:
        """Whether a lane that is full may send on: then patience would only leave it idle."""
        return any(
            self._accounts[account_id].sending < self._settings.requests_max - 1
            for account_id in self._full
        )

    async def _linger(self, took_s: float) -> None:
        """Under load a little patience makes larger sets; after a rest nothing waits for it."""
        await self._clock.sleep(min(self._settings.linger_s_max, LINGER_FACTOR * took_s))

    async def end_orphans(self, *, claimed_before_us: int | None = None) -> int:
        """End tickets that this process claimed and never started; returns how many.

        Their claim's commit was answered by a lost connection, so they were certainly not sent.
        """
        accounts = list(self._accounts.values())
        async with self._database.engine() as unit:
            rows = await unit.rows(
                "offer.unanswered_tickets",
                {
                    "merchants": [a.merchant_id for a in accounts],
                    "accounts": [a.account_id for a in accounts],
                    "epochs": [a.lease.epoch for a in accounts],
                    "before_us": claimed_before_us or self._now_us() - SEND_BY_US,
                },
            )
        orphans = [(a, ticket) for a, ticket in rows if ticket not in self._active]
        for account_id, ticket_id in orphans:
            account = self._accounts.get(account_id)
            if account is None:
                continue  # taken over meanwhile; the new owner has ended it
            self.end(Ending(account, ticket_id, TicketVerdict(Verdict.AGAIN)))
        return len(orphans)

    async def drain(self, timeout_s: float) -> None:
        """Let requests under way end, so that a graceful stop leaves nothing unknown."""
        if self._sends:
            await asyncio.wait(self._sends, timeout=timeout_s)
        unfinished = list(self._sends)
        for send in unfinished:
            send.cancel()  # unknown to us; the next owner observes
        await asyncio.gather(*unfinished, return_exceptions=True)
        for handle in self._later.values():
            handle.cancel()
        self._later.clear()
        await self._store_answers()

    # — claiming —

    async def _dirty_accounts(self) -> set[int]:
        accounts = [a for a in self._accounts.values() if a.may_send]
        if not accounts:
            return set()
        rows = await self._database.lane_rows(
            "offer.dirty_accounts",
            {
                "merchants": [a.merchant_id for a in accounts],
                "accounts": [a.account_id for a in accounts],
                "now_us": self._now_us(),
            },
        )
        return {account_id for _, account_id in rows}

    def _room(self, account: ServedAccount) -> tuple[int, int]:
        """Requests that may go now: (any, of them not urgent)."""
        slots = self._settings.requests_max - account.sending
        now_s = self._clock.monotonic_s()
        if slots <= 0:
            return 0, 0  # an answer wakes the lane again
        if now_s < account.backoff_until_s:
            self._wake_later(account, account.backoff_until_s - now_s)
            return 0, 0
        wait_s = self._next_s.get(account.account_id, 0.0) - now_s
        if wait_s > 0:
            account.held_us = account.held_us or self._now_us()
            self._wake_later(account, wait_s)
            return 0, 0
        urgent = account.pacer.available(PUSH, Priority.CRITICAL)
        bulk = min(urgent, account.pacer.available(PUSH, Priority.NORMAL))
        if urgent <= 0:
            account.held_us = account.held_us or self._now_us()
            self._wake_later(account, account.pacer.next_free_s(PUSH, Priority.CRITICAL))
        if bulk <= 0:
            account.held_bulk_us = account.held_bulk_us or self._now_us()
            self._wake_later(account, account.pacer.next_free_s(PUSH, Priority.NORMAL))
        # One place is kept for what is urgent: a slow marketplace must not hold up a sale.
        return min(slots, urgent), min(slots - 1, bulk)

    def _in_turn(self, awake: Iterable[int]) -> list[tuple[ServedAccount, int, int, int]]:
        """Lanes for one claim: account, rows, of them not urgent, listings a request.

        Most lanes have a row or two: they all go at once. Full ones are served in turn.
        """
        lanes: list[tuple[ServedAccount, int, int, int]] = []
        left = self._rows_max
        share = max(CLAIM_ROWS_MIN, CLAIM_ROWS_MAX // max(1, len(self._accounts)))
        first: int | None = None  # whom this claim has no rows left for
        for account_id in sorted(awake, key=lambda each: (each < self._first, each)):
            account = self._accounts.get(account_id)
            if account is None or not account.may_send:
                continue
            urgent, bulk = self._room(account)
            if urgent <= 0:
                continue
            offers = account.manifest.offers
            batch = min(offers.batch_max, self._settings.batch_max or offers.batch_max)
            expected = self._expected(account, batch)
            if expected and left <= 0:
                self._wakeups.add((account_id,))
                first = account_id if first is None else first
                continue
            # Never less than a request holds: it costs the same quota, however little it carries.
            rows = min(max(left, batch) if expected else share, urgent * batch)
            left -= min(rows, expected)
            lanes.append((account, rows, min(rows, bulk * batch), batch))
        self._first = first or 0
        return lanes

    def _expected(self, account: ServedAccount, batch: int) -> int:
        """Rows that a claim will find, where they are many; else 0."""
        held_us = account.held_us
        is_long = held_us is not None and self._now_us() - held_us > HELD_LONG_US
        return max(self._full.get(account.account_id, 0), batch if is_long else 0)

    async def _claim(self, awake: Iterable[int]) -> int:
        lanes = self._in_turn(awake)
        if not lanes:
            return 0
        now_us = self._now_us()
        began_s = self._clock.monotonic_s()
        self._claiming = {account.account_id for account, *_ in lanes}
        try:
            params = self._claim_params(lanes, now_us)
            rows_ = await self._database.lane_rows("offer.claim", params)
        finally:
            self._claiming = set()
        items = list(starmap(ClaimedItem, rows_))
        took_s = max(0.001, self._clock.monotonic_s() - began_s)
        self._measures.claims.add((int(took_s * 1_000_000),))
        if len(items) >= CLAIM_ROWS_SURE:
            fitting = int(len(items) * CLAIM_S_AIM / took_s)
            self._rows_max = min(CLAIM_ROWS_MAX, max(CLAIM_ROWS_SURE, fitting))
        counts: dict[int, int] = {}
        for request in by_ticket(items):
            account = self._accounts.get(request[0].account_id)
            if account is None:
                continue  # dismissed meanwhile; the next owner ends the ticket
            counts[account.account_id] = counts.get(account.account_id, 0) + len(request)
            if self._tracer is not None:
                way = _stretch(account, _sinces_us(request), now_us, self._now_us())
                self._tracer.claimed(way, ticket_id=request[0].ticket_id, offers=len(request))
            self._start(account, request)
        for account, rows, bulk, _ in lanes:
            account.claims += 1
            got = counts.get(account.account_id, 0)
            if got:
                account.held_us = None
                account.held_bulk_us = account.held_bulk_us if bulk <= 0 else None
            if got * 2 >= rows:  # a full claim: there is probably more (two fields a listing)
                self._full[account.account_id] = 2 * got
                self._wakeups.add((account.account_id,))
            else:
                self._full.pop(account.account_id, None)
        self.claimed_rows += len(items)
        return len(items)

    def _claim_params(
        self, lanes: list[tuple[ServedAccount, int, int, int]], now_us: int
    ) -> dict[str, object]:
        accounts = [lane[0] for lane in lanes]
        fresh_us = now_us - int(ORDER_FRESH_S * 1_000_000)
        return {
            "merchants": [a.merchant_id for a in accounts],
            "accounts": [a.account_id for a in accounts],
            "limits": [lane[1] for lane in lanes],
            "bulk": [lane[2] for lane in lanes],
            "batches": [lane[3] for lane in lanes],
            "up": [a.orders_fresh_us >= fresh_us for a in accounts],
            "ordered": [a.manifest.offers.tickets_ordered for a in accounts],
            "joint": [not a.manifest.offers.separate_fields for a in accounts],
            "first": [1 if a.claims % _ALTERNATE == _ALTERNATE - 1 else 2 for a in accounts],
            "after": [a.bulk_cursor for a in accounts],
            "epochs": [a.lease.epoch for a in accounts],
            "now_us": now_us,
            "send_by_us": now_us + SEND_BY_US,
            "skew_us": SKEW_US,
        }

    # — sending —

    def _start(self, account: ServedAccount, request: list[ClaimedItem]) -> None:
        if request[-1].urgency > 1:
            account.bulk_cursor = request[-1].listing_id
        account.sending += 1
        gap_s = SPACING_MARGIN * account.pacer.even_gap_s(PUSH)
        self._next_s[account.account_id] = self._clock.monotonic_s() + gap_s
        self._active[request[0].ticket_id] = account.account_id
        is_urgent = any(item.urgency <= 1 for item in request)
        held_us = account.held_us if is_urgent else account.held_us or account.held_bulk_us
        task = asyncio.create_task(self._send(account, request, is_urgent, held_us))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _send(
        self,
        account: ServedAccount,
        request: list[ClaimedItem],
        is_urgent: bool,  # noqa: FBT001 – said by the one caller
        held_us: int | None,
    ) -> None:
        """Send one request; ``held_us``: since when the pacer has held it back, if it has."""
        guard = _SendBy(account, self._clock.monotonic_s() + SEND_BY_US / 1_000_000)
        # What is urgent and hangs is unknown soon, and told again: buyers do not wait.
        call = Call(
            Priority.CRITICAL if is_urgent else Priority.NORMAL, guard=guard, is_repeated=is_urgent
        )
        ticket_id = request[0].ticket_id
        offset_us = self._now_us() - int(self._clock.monotonic_s() * 1_000_000)
        outcome: Outcome | ItemOutcomes
        try:
            outcome = await account.channel.push_offers(pushes(request, account.currency), call)
        except LeaseExpired:
            outcome = NotSent("lease_expired")
        except TransportLost as lost:
            # Channels turn this into an outcome themselves; a stray one must not lose the ticket.
            maybe = lost.may_have_arrived
            outcome = Unknown("lost", lost.detail) if maybe else NotSent(lost.detail)
        except Exception as defect:
            # A process edge: a defect in one marketplace's folder must neither lose the ticket nor
            # stop the lanes of others. What was sent is unknown until it is looked at.
            log.exception("connector failed", extra={"account": account.account_id})
            outcome = Unknown("connector_failed", repr(defect))
        finally:
            account.sending -= 1
            self._wakeups.add((account.account_id,))
        try:
            self._answered(account, request, call, outcome, offset_us, held_us)
        except Exception as defect:
            # Another edge: an answer that we cannot make sense of must not hold its listings for
            # ever. What came of them is unknown.
            log.exception("answer not understood", extra={"account": account.account_id})
            self.end(Ending(account, ticket_id, TicketVerdict(Verdict.UNKNOWN, words=repr(defect))))

    def _answered(
        self,
        account: ServedAccount,
        request: list[ClaimedItem],
        call: Call,
        outcome: Outcome | ItemOutcomes,
        offset_us: int,
        held_us: int | None,
    ) -> None:
        """What came of a request; ``offset_us``: from monotonic time to the clock's."""
        listings = {item.push_key: item.listing_id for item in request}
        ticket_id = request[0].ticket_id
        self._after_send(account, outcome)

        def stamp(at_s: float | None) -> int:
            return offset_us + int(at_s * 1_000_000) if at_s is not None else self._now_us()

        handed_us = min(stamp(call.handed_s), held_us) if held_us else stamp(call.handed_s)
        released_us, answered_us = stamp(call.released_s), stamp(call.answered_s)
        judged = judge_request(listings, outcome)
        sinces_us = _sinces_us(request)
        if self._tracer is not None:
            self._tracer.answered(
                _stretch(account, sinces_us, handed_us, answered_us),
                ticket_id=ticket_id,
                operation=PUSH,
                pacing_us=max(0, released_us - handed_us),
                verdict="accepted" if judged is None else judged.verdict.name.lower(),
            )
        if judged is None:
            assert isinstance(outcome, Accepted)
            self._measure(account, request, handed_us, released_us, answered_us)
            ticket = OpenTicket(
                account, ticket_id, outcome.reference, listings, self._clock.monotonic_s()
            )
            ticket.sinces_us = sinces_us
            self._accepted.append(_Acceptance(ticket, handed_us, released_us, answered_us))
        else:
            if judged.verdict is Verdict.DONE:
                self._measure(account, request, handed_us, released_us, answered_us)
            doubt_halves(account, judged)
            ending = Ending(account, ticket_id, judged)
            ending.sinces_us = sinces_us
            ending.handed_us, ending.released_us = handed_us, released_us
            ending.answered_us = answered_us
            self._schedule_look(ending)
            if judged.verdict is Verdict.AGAIN:
                ending.not_before_us = self._now_us() + int(
                    max(0.0, account.backoff_until_s - self._clock.monotonic_s()) * 1_000_000
                )
            self._ended.append(ending)
        self._answers.set()

    def _measure(
        self,
        account: ServedAccount,
        request: list[ClaimedItem],
        handed_us: int,
        released_us: int,
        answered_us: int,
    ) -> None:
        """Hub time: commit → handed to the pacer, plus released by it → accepted."""
        health = account.health
        sent_us = answered_us - released_us
        sinces = [item.since_us for item in request]
        handed = [max(handed_us, since_us) for since_us in sinces]
        pacing_us = [max(0, released_us - at_us) for at_us in handed]
        hub_us = [
            at_us - since_us + sent_us for at_us, since_us in zip(handed, sinces, strict=True)
        ]
        health.pacing_us.extend(pacing_us)
        health.hub_us.extend(hub_us)
        self._measures.propagated(account.manifest.identity.name, hub_us, pacing_us)

    def _after_send(self, account: ServedAccount, outcome: Outcome | ItemOutcomes) -> None:
        health = account.health
        health.requests += 1
        match outcome:
            case Throttled():
                health.throttles += 1
                account.pacer.throttled(PUSH, outcome)
                self._back_off(account)
            case NotSent():
                self._back_off(account)
            case Unknown(evidence=evidence) if evidence != "duplicate":
                health.failures += 1
                health.last_error = outcome.text or evidence
                self._back_off(account)
            case Unauthorized():
                health.failures += 1
                health.last_error = outcome.text
                account.state = "reconnect"  # stored by the ownership loop; the owner is asked
            case _:
                account.backoff_s = 0.0
                if health.is_away:
                    health.is_away = False
                    log.info("channel is back", extra={"account": account.account_id})

    def _back_off(self, account: ServedAccount) -> None:
        account.backoff_s = min(BACKOFF_S_MAX, account.backoff_s * 2 or 0.25)
        account.backoff_until_s = self._clock.monotonic_s() + account.backoff_s
        if not account.health.is_away and account.backoff_s > 1:
            account.health.is_away = True
            log.warning(
                "channel is away",
                extra={"account": account.account_id, "error": account.health.last_error},
            )

    # — answers —

    def end(self, ending: Ending) -> None:
        """A polled ticket has come to its end."""
        doubt_halves(ending.account, ending.judged)
        self._schedule_look(ending)
        self._active[ending.ticket_id] = ending.account.account_id
        self._ended.append(ending)
        self._answers.set()

    def _schedule_look(self, ending: Ending) -> None:
        offers = ending.account.manifest.offers
        timeout_s = ending.account.manifest.operations[PUSH].timeout_s
        now_us = self._now_us()
        ending.recheck_us = now_us + int(FIRST_LOOK_S * 1_000_000)
        ending.final_us = now_us + int((timeout_s + offers.apply_s_max) * 1_000_000)

    async def _store_answers(self) -> None:
        while self._accepted or self._ended:
            accepted, self._accepted = self._accepted, []
            ended, self._ended = self._ended, []
            rows: list[tuple[Any, ...]] = []
            try:
                if accepted:
                    await self._database.lane_rows("offer.accept", _accept_params(accepted))
                if ended:
                    rows = await self._database.lane_rows("offer.end", self._end_params(ended))
            except BaseException:
                # The database is away: both statements are safe to repeat, so nothing is lost.
                self._accepted = accepted + self._accepted
                self._ended = ended + self._ended
                self._answers.set()
                raise
            for ticket_id in [e.ticket_id for e in ended] + [a.ticket.ticket_id for a in accepted]:
                self._active.pop(ticket_id, None)
            for acceptance in accepted:
                self._on_accepted(acceptance.ticket)
                self._wakeups.add((acceptance.ticket.account.account_id,))
            if ended:
                self._count(ended, {row[0]: row[1:] for row in rows})

    def _count(self, ended: list[Ending], counts: Mapping[int, tuple[int, int, int, int]]) -> None:
        for ending in ended:
            done, refused, unknown, _ = counts.get(ending.ticket_id, (0, 0, 0, 0))
            health = ending.account.health
            health.items_done += done
            health.items_refused += refused
            health.items_unknown += unknown
            if ending.judged.verdict is Verdict.DONE:
                ended_us = ending.answered_us or self._now_us()
                health.propagation_us.extend(ended_us - since for since in ending.sinces_us)
            if self._tracer is not None and ending.accepted_us is not None:
                self._tracer.ended(
                    _stretch(ending.account, ending.sinces_us, ending.accepted_us, self._now_us()),
                    ticket_id=ending.ticket_id,
                    polls=ending.polls,
                    verdict=ending.judged.verdict.name.lower(),
                )
            self._wakeups.add((ending.account.account_id,))

    def _end_params(self, ended: list[Ending]) -> dict[str, object]:
        merged = Exceptions()
        tickets: list[int] = []
        for ending in ended:
            exceptions = ending.judged.exceptions
            tickets += [ending.ticket_id] * len(exceptions.listings)
            merged.listings += exceptions.listings
            merged.verdicts += exceptions.verdicts
            merged.codes += exceptions.codes
            merged.words += exceptions.words
            merged.advice += exceptions.advice
        return {
            "merchants": [e.account.merchant_id for e in ended],
            "tickets": [e.ticket_id for e in ended],
            "epochs": [e.account.lease.epoch for e in ended],
            "verdicts": [int(e.judged.verdict) for e in ended],
            "codes": [e.judged.code for e in ended],
            "words": [e.judged.words for e in ended],
            "advice": [e.judged.advice for e in ended],
            "not_before_us": [e.not_before_us for e in ended],
            "recheck_us": [e.recheck_us for e in ended],
            "final_us": [e.final_us for e in ended],
            "handed_us": [e.handed_us for e in ended],
            "released_us": [e.released_us for e in ended],
            "answered_us": [e.answered_us for e in ended],
            "x_tickets": tickets,
            "x_listings": merged.listings,
            "x_fields": [0] * len(tickets),
            "x_verdicts": [int(verdict) for verdict in merged.verdicts],
            "x_codes": merged.codes,
            "x_words": merged.words,
            "x_advice": merged.advice,
            "now_us": self._now_us(),
            "skew_us": SKEW_US,
        }

    # — time —

    def _now_us(self) -> int:
        return microseconds(self._clock.now())

    def _wake_later(self, account: ServedAccount, seconds: float) -> None:
        """Wake the lane at that time; one timer an account, the earliest."""
        loop = asyncio.get_running_loop()
        at_s = loop.time() + max(0.001, seconds)
        planned = self._later.get(account.account_id)
        if planned is not None:
            if planned.when() <= at_s:
                return
            planned.cancel()

        def wake() -> None:
            del self._later[account.account_id]
            self._wakeups.add((account.account_id,))

        self._later[account.account_id] = loop.call_at(at_s, wake)


def _sinces_us(request: list[ClaimedItem]) -> tuple[int, ...]:
    """Of what falls: a sale, or a count of its owner's."""
    return tuple(item.since_us for item in request if item.urgency == 0)


def _stretch(
    account: ServedAccount, sinces_us: tuple[int, ...], began_us: int, ended_us: int
) -> Stretch:
    return Stretch(account.merchant_id, account.account_id, sinces_us, began_us, ended_us)


def doubt_halves(account: ServedAccount, judged: TicketVerdict) -> None:
    """Where nothing at all is taken, halves only cost quota: then the refusal is everybody's."""
    if judged.verdict is Verdict.DONE:
        account.refusals = 0
    elif judged.verdict is Verdict.HALVES:
        account.refusals += 1
        if account.refusals > REFUSALS_MAX:
            judged.verdict = Verdict.REFUSED


def _accept_params(accepted: list[_Acceptance]) -> dict[str, object]:
    return {
        "merchants": [a.ticket.account.merchant_id for a in accepted],
        "tickets": [a.ticket.ticket_id for a in accepted],
        "epochs": [a.ticket.account.lease.epoch for a in accepted],
        "references": [a.ticket.reference for a in accepted],
        "handed_us": [a.handed_us for a in accepted],
        "released_us": [a.released_us for a in accepted],
        "accepted_us": [a.accepted_us for a in accepted],
    }
