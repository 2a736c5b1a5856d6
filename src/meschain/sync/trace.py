"""What the engine tells of a sale's way, to whoever traces it; see ``meschain.tracing``.

A sale is known by its merchant and the microsecond of its intake, which every offer that it lowers
carries as ``since_us`` through claim, request and ticket, in whatever process these happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of the way that has ended, of some sales of one account. Times in microseconds."""

    merchant_id: int
    account_id: int
    sinces_us: Sequence[int]  # of the sales; one may be there more than once
    began_us: int
    ended_us: int


class Tracer(Protocol):
    """Told of what has happened; never waits, never fails."""

    def order_taken(
        self, *, merchant_id: int, account_id: int, since_us: int, order_id: int, outcome: str
    ) -> None:
        """An observation of an order was taken in just now, and has changed something."""
        ...

    def claimed(self, stretch: Stretch, *, ticket_id: int, offers: int) -> None:
        """Its offers were claimed for a request."""
        ...

    def answered(
        self, stretch: Stretch, *, ticket_id: int, operation: str, pacing_us: int, verdict: str
    ) -> None:
        """The request was answered, or lost; ``pacing_us`` of its time was spent waiting."""
        ...

    def ended(self, stretch: Stretch, *, ticket_id: int, polls: int, verdict: str) -> None:
        """The ticket that answered it has come to its end, and that is stored."""
        ...
