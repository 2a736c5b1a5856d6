"""How long things take in this process: histograms that only grow, for whoever scrapes them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Final

# From a claim of one row to a shelf that waited for its quota; one set for all.
BOUNDS_US: Final = (
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 900_000_000,
)  # fmt: skip


class Histogram:
    """``counts`` has one place for each bound, of what took no longer, and a last for the rest."""

    __slots__ = ("counts", "sum_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_US) + 1)
        self.sum_us = 0

    def add(self, durations_us: Sequence[int]) -> None:
        """Count durations; one that a clock set back made negative counts as 0."""
        # Sorted, since this is done for every offer of a mass change: a loop takes twice as long.
        ordered = sorted(durations_us)
        if ordered and ordered[0] < 0:
            ordered = [max(0, each) for each in ordered]
        below = 0
        for place, bound_us in enumerate(BOUNDS_US):
            up_to = bisect_right(ordered, bound_us)
            self.counts[place] += up_to - below
            below = up_to
        self.counts[-1] += len(ordered) - below
        self.sum_us += sum(ordered)


def _by_name() -> defaultdict[str, Histogram]:
    return defaultdict(Histogram)


@dataclass(frozen=True, slots=True)
class Measures:
    """By what manifests name: however many accounts there are, these are no more."""

    propagation: defaultdict[str, Histogram] = field(default_factory=_by_name)  # marketplace
    hub: defaultdict[str, Histogram] = field(default_factory=_by_name)  # marketplace
    requests: defaultdict[tuple[str, str], Histogram] = field(
        default_factory=lambda: defaultdict(Histogram)
    )  # marketplace, operation
    claims: Histogram = field(default_factory=Histogram)

    def propagated(self, marketplace: str, hub_us: list[int], pacing_us: list[int]) -> None:
        """Offers that were accepted together: the hub's time, and what the pacer held back."""
        self.hub[marketplace].add(hub_us)
        self.propagation[marketplace].add(list(map(add, hub_us, pacing_us)))

    def requested(self, marketplace: str, operation: str, duration_us: int) -> None:
        """A request that was released, until its answer or its loss."""
        self.requests[marketplace, operation].add((duration_us,))
