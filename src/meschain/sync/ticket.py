"""Polling asynchronous answers to their end; holds neither lane nor connection while it waits."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from typing import TYPE_CHECKING, Final

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, LeaseExpired, Priority, TicketEnded, TicketOpen
from meschain.channel.http import TransportLost
from meschain.channel.outcome import NotSent, Refused, Throttled, Unauthorized, Unknown
from meschain.channel.patience import Patience
from meschain.sync.lane import Ending, OpenTicket
from meschain.sync.plan import TicketVerdict, Verdict, judge_items, judge_refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from meschain.channel.clock import Clock
    from meschain.channel.outcome import Problem

log = logging.getLogger(__name__)

POLL: Final = "poll_ticket"
WITHOUT_LEASE_S: Final = 1.0  # a ticket of an account whose lease has run out is tried so often
STUCK_S_MIN: Final = 10.0  # however fast its like, a ticket is not given up before
STUCK_S_FIRST: Final = 60.0  # nor before, while no ticket of the account has ended
_AFTER_S: Final = 0.1
POLLS_MAX: Final = 32  # under way at once in this process


class TicketPolls:
    """Open tickets by the time of their next poll."""

    def __init__(self, clock: Clock, on_end: Callable[[Ending], None]) -> None:
        """``on_end`` receives each ticket once, with the verdict on its items."""
        self._clock = clock
        self._on_end = on_end
        self._due: list[tuple[float, int, OpenTicket]] = []
        self._order = itertools.count()
        self._added = asyncio.Event()
        self._polls: set[asyncio.Task[None]] = set()
        self._patience: dict[int, Patience] = {}  # account → how long its tickets usually take
        self.open = 0

    def add(self, ticket: OpenTicket) -> None:
        """A freshly accepted (or adopted) ticket."""
        self.open += 1
        self._schedule(ticket)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            now_s = self._clock.monotonic_s()
            while self._due and self._due[0][0] <= now_s and len(self._polls) < POLLS_MAX:
                _, _, ticket = heapq.heappop(self._due)
                task = asyncio.create_task(self._step(ticket))
                self._polls.add(task)
                task.add_done_callback(self._finished)
            wait_s = 1.0
            if self._due and len(self._polls) < POLLS_MAX:
                wait_s = max(0.0, min(wait_s, self._due[0][0] - self._clock.monotonic_s()))
            try:
                async with asyncio.timeout(wait_s):
                    await self._added.wait()
            except TimeoutError:
                pass
            self._added.clear()

    async def stop(self) -> None:
        """End the polls under way; their tickets stay open and are adopted by the next owner."""
        polls = list(self._polls)
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._polls.discard(task)
        self._added.set()

    def _schedule(self, ticket: OpenTicket, *, at_least_s: float = 0.0) -> None:
        waits = ticket.account.manifest.offers.ticket_poll_s
        wait_s = waits[min(ticket.polls, len(waits) - 1)]
        left_s = ticket.accepted_s + self._patience_for(ticket).limit_s - self._clock.monotonic_s()
        if left_s > 0:  # a last look when patience ends, not at the next slow poll after it
            wait_s = min(wait_s, left_s + _AFTER_S)
        wait_s = max(at_least_s, wait_s)
        entry = (self._clock.monotonic_s() + wait_s, next(self._order), ticket)
        heapq.heappush(self._due, entry)
        self._added.set()

    async def _step(self, ticket: OpenTicket) -> None:
        try:
            await self._poll(ticket)
        except Exception:
            # A process edge: a defect must not lose the ticket, whose listings would then wait for
            # it for ever.
            log.exception("ticket poll failed", extra={"account": ticket.account.account_id})
            self._schedule(ticket, at_least_s=WITHOUT_LEASE_S)

    async def _poll(self, ticket: OpenTicket) -> None:
        account = ticket.account
        if account.is_dismissed:
            self.open -= 1  # the new owner has adopted it
            return
        if not account.has_lease or account.state == "reconnect":
            self._schedule(ticket, at_least_s=WITHOUT_LEASE_S)  # renewed late, or taken over soon
            return
        call = Call(Priority.NORMAL, guard=account, is_repeated=True)
        answer: TicketOpen | TicketEnded | Problem
        try:
            answer = await account.channel.poll_ticket(ticket.reference, call)
        except LeaseExpired:
            self._schedule(ticket, at_least_s=WITHOUT_LEASE_S)
            return
        except TransportLost as lost:
            answer = NotSent(lost.detail)
        except Exception as defect:
            # Another edge: one marketplace's folder. In the end its ticket is stuck, and looked at.
            log.exception("connector failed", extra={"account": account.account_id})
            answer = NotSent(repr(defect))
        ticket.polls += 1
        judged = self._judge(ticket, answer)
        if judged is None:
            return
        self.open -= 1
        now_us = microseconds(self._clock.now())
        ending = Ending(account, ticket.ticket_id, judged, answered_us=now_us)
        ending.sinces_us = ticket.sinces_us
        age_s = self._clock.monotonic_s() - ticket.accepted_s
        ending.accepted_us, ending.polls = now_us - int(age_s * 1_000_000), ticket.polls
        self._on_end(ending)

    def _patience_for(self, ticket: OpenTicket) -> Patience:
        """How long a ticket of this account is worth waiting for."""
        most_s = ticket.account.manifest.offers.ticket_stuck_s
        return self._patience.setdefault(
            ticket.account.account_id,
            Patience(most_s, least_s=STUCK_S_MIN, first_s=STUCK_S_FIRST),
        )

    def _judge(
        self, ticket: OpenTicket, answer: TicketOpen | TicketEnded | Problem
    ) -> TicketVerdict | None:
        """The verdict, or None when the ticket goes on being polled."""
        age_s = self._clock.monotonic_s() - ticket.accepted_s
        offers = ticket.account.manifest.offers
        patience = self._patience_for(ticket)
        match answer:
            case TicketEnded():
                patience.answered(age_s)
                return judge_items(ticket.listings, answer.items)
            case Refused(code="REJECT"):
                # The ticket as a whole was refused: nothing of it was applied.
                return judge_refusal(ticket.listings, answer)
            case Unknown(evidence="expired"):
                return TicketVerdict(Verdict.UNKNOWN, "expired", answer.text)
            case Throttled():
                ticket.account.health.throttles += 1
                ticket.account.pacer.throttled(POLL, answer)
            case Unauthorized():
                ticket.account.state = "reconnect"
                ticket.account.health.last_error = answer.text
            case _:
                pass
        # A ticket that takes much longer than its like may never be applied, and its shelf may show
        # what is sold. Looked at in vain, the next ones are given more time.
        if age_s > min(patience.limit_s, offers.ticket_retention_s):
            patience.waited_in_vain()
            log.warning(
                "ticket is stuck",
                extra={"account": ticket.account.account_id, "ticket": ticket.ticket_id},
            )
            return TicketVerdict(Verdict.UNKNOWN, "stuck")
        self._schedule(ticket)
        return None
