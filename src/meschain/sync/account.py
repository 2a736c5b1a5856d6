"""An account as this process serves it: its channel, its lease, its health."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meschain.channel.contract import LeaseExpired

if TYPE_CHECKING:
    from meschain.channel.capability import Manifest
    from meschain.channel.clock import Clock
    from meschain.channel.contract import Channel
    from meschain.channel.pacing import Pacer

SAMPLES_MAX: Final = 2_000  # measurements kept an account, for percentiles of the recent past


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to speak for an account, until a monotonic deadline of this process."""

    epoch: int
    until_s: float


@dataclass(slots=True)
class AccountHealth:
    """What the lane can say of itself."""

    hub_us: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    pacing_us: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    propagation_us: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    requests: int = 0
    failures: int = 0
    throttles: int = 0
    items_done: int = 0
    items_refused: int = 0
    items_unknown: int = 0
    last_error: str = ""
    is_away: bool = False  # logged once when it goes, once when it returns


@dataclass(slots=True, eq=False)
class ServedAccount:
    """One account under this process's lease."""

    merchant_id: int
    account_id: int
    name: str
    state: str
    currency: str
    channel: Channel
    pacer: Pacer
    clock: Clock
    lease: Lease
    health: AccountHealth = field(default_factory=AccountHealth)
    is_paused: bool = False  # the offer lane, by its owner
    is_leaving: bool = False  # to another process: nothing more is begun
    is_dismissed: bool = False  # another process has it now; a lease that only ran out comes back
    stored_state: str = ""  # as last read from the database or written there
    orders_fresh_us: int = 0
    sending: int = 0  # requests of the offer lane that are on their way
    held_us: int | None = None  # since when the pacer holds back even what is urgent
    held_bulk_us: int | None = None  # since when it holds back what is not urgent
    backoff_until_s: float = 0.0
    backoff_s: float = 0.0
    claims: int = 0
    refusals: int = 0  # requests in a row that were refused as a whole
    bulk_cursor: int = 0  # listing after which the round among the not urgent goes on
    poll_orders: asyncio.Event = field(default_factory=asyncio.Event)
    look: asyncio.Event = field(default_factory=asyncio.Event)  # a listing is due to be looked at

    @property
    def manifest(self) -> Manifest:
        """Limits and abilities."""
        return self.channel.manifest

    @property
    def has_lease(self) -> bool:
        """Whether this process may still speak for the account."""
        return self.clock.monotonic_s() < self.lease.until_s

    @property
    def may_send(self) -> bool:
        """Whether a lane may begin something: its owner lets it, and so does the lease."""
        return (
            self.state == "armed" and not self.is_paused and not self.is_leaving and self.has_lease
        )

    def check(self) -> None:
        """The guard of every call: refuse when the lease has run out. Raises LeaseExpired."""
        if not self.has_lease:
            raise LeaseExpired(self.name)
