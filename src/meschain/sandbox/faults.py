"""Faults, drawn from the seed and counted, so that a checker can say what was survived."""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_LOG_ENTRIES_MAX: Final = 100_000


class Fault(StrEnum):
    """What may go wrong between a marketplace and its seller."""

    THROTTLED = "throttled"  # 429 although within quota
    SERVER_ERROR = "server_error"  # 5xx, nothing applied
    TIMEOUT_AFTER_APPLYING = "timeout_after_applying"  # applied, the answer never comes
    RESET = "reset"  # connection reset before applying
    WEBHOOK_LOST = "webhook_lost"
    WEBHOOK_LATE = "webhook_late"
    WEBHOOK_DOUBLED = "webhook_doubled"
    WEBHOOK_REORDERED = "webhook_reordered"
    BATCH_ITEM_FAILED = "batch_item_failed"  # one item of a batch fails for no reason of its own
    BATCH_STUCK = "batch_stuck"  # applied late or never reported
    BATCH_EXPIRED = "batch_expired"  # the result is gone before it was read


@dataclass(frozen=True, slots=True)
class Injected:
    """One fault that was injected; ``number`` counts from 1."""

    number: int
    at: datetime
    fault: Fault
    marketplace: str


class Faults:
    """Rates per fault (probability of each opportunity) and exact counts still to inject."""

    def __init__(
        self,
        seed: int,
        rates: dict[Fault, float] | None = None,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """All draws come from ``seed``; no rates means no faults. With ``now`` they are logged."""
        self._random = random.Random(f"faults:{seed}")  # noqa: S311 – a simulation, no secret
        self.rates: dict[Fault, float] = dict(rates or {})
        self.injected: Counter[str] = Counter()
        self.log: deque[Injected] = deque(maxlen=_LOG_ENTRIES_MAX)
        self._now = now
        self._forced: Counter[tuple[str, Fault]] = Counter()
        self.is_enabled = True

    def force(self, fault: Fault, *, count: int, marketplace: str = "") -> None:
        """Inject ``fault`` at the next ``count`` opportunities (of one marketplace, or any)."""
        self._forced[(marketplace, fault)] += count

    def forced_left(self) -> dict[tuple[str, Fault], int]:
        """Forced faults that found no opportunity yet, by (marketplace or "", fault)."""
        return {key: count for key, count in self._forced.items() if count > 0}

    def happens(self, fault: Fault, marketplace: str) -> bool:
        """Whether this opportunity is taken; counts it when it is."""
        if not self.is_enabled:
            return False
        for key in ((marketplace, fault), ("", fault)):
            if self._forced[key] > 0:
                self._forced[key] -= 1
                self._note(fault, marketplace)
                return True
        rate = self.rates.get(fault, 0.0)
        if rate > 0 and self._random.random() < rate:
            self._note(fault, marketplace)
            return True
        return False

    def _note(self, fault: Fault, marketplace: str) -> None:
        self.injected[fault.value] += 1
        if self._now is not None:
            number = sum(self.injected.values())
            self.log.append(Injected(number, self._now(), fault, marketplace))

    def uniform(self, low: float, high: float) -> float:
        """A delay drawn from the same seed."""
        return self._random.uniform(low, high)
