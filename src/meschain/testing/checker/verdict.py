"""What a check found: figures, problems with their subject, and how both are told."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meschain.messages import Catalog

_SHOWN_MAX: Final = 20


class Defect(StrEnum):
    """Every way in which a run can be wrong; the text is ``check.`` and the value."""

    ORDER_LOST = "order_lost"
    ORDER_INVENTED = "order_invented"
    UNITS_LOST = "units_lost"
    UNITS_DOUBLED = "units_doubled"
    UNITS_UNLINKED = "units_unlinked"
    PACKAGE_LOST = "package_lost"
    PACKAGE_INVENTED = "package_invented"
    PACKAGE_STATE = "package_state"
    PROMISED = "promised"
    LEVEL = "level"
    RESERVED = "reserved"
    SHELF_QUANTITY = "shelf_quantity"
    SHELF_PRICE = "shelf_price"
    SHELF_UNLISTED = "shelf_unlisted"
    LISTING_ABSENT = "listing_absent"
    OVERSOLD_KNOWINGLY = "oversold_knowingly"
    THROTTLED_BY_US = "throttled_by_us"
    NET_FOUND = "net_found"


_LOSSES: Final = {Defect.ORDER_LOST, Defect.UNITS_LOST, Defect.PACKAGE_LOST}
_DOUBLES: Final = {Defect.ORDER_INVENTED, Defect.UNITS_DOUBLED, Defect.PACKAGE_INVENTED}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``subject`` names it; ``expected`` and ``found`` as they read."""

    defect: Defect
    subject: str
    expected: str = ""
    found: str = ""

    def text(self, catalog: Catalog) -> str:
        """In the reader's language."""
        return catalog.text(
            f"check.{self.defect}",
            subject=self.subject,
            expected=self.expected,
            found=self.found,
        )


@dataclass(frozen=True, slots=True)
class Percentiles:
    """In whole milliseconds; None: nothing was measured."""

    p50: int | None = None
    p99: int | None = None
    samples: int = 0

    @classmethod
    def of_us(cls, samples_us: Sequence[int]) -> Percentiles:
        """By nearest rank."""
        ordered = sorted(samples_us)
        if not ordered:
            return cls()

        def rank(percent: int) -> int:
            return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] // 1_000

        return cls(rank(50), rank(99), len(ordered))


@dataclass(slots=True)
class Verdict:
    """The result of one check. Green: nothing is wrong."""

    orders: int = 0
    faults_injected: int = 0
    oversold: dict[str, int] = field(default_factory=dict)  # sales that could not be met, by cause
    oversold_when: dict[str, int] = field(default_factory=dict)  # by what the hub could have done
    shelves_checked: int = 0
    shelves_equal: int = 0
    propagation_ms: Percentiles = field(default_factory=Percentiles)
    detection_ms: Percentiles = field(default_factory=Percentiles)
    self_inflicted_429: int = 0
    safety_net_found: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_green(self) -> bool:
        return not self.problems

    @property
    def lost(self) -> int:
        """Orders, packages and lines of which the hub knows less than was bought."""
        return sum(problem.defect in _LOSSES for problem in self.problems)

    @property
    def doubled(self) -> int:
        """Those of which it knows more."""
        return sum(problem.defect in _DOUBLES for problem in self.problems)

    def counted(self) -> dict[str, int]:
        """How many problems of each kind."""
        return dict(Counter(problem.defect.value for problem in self.problems))

    def figures(self) -> dict[str, object]:
        """For the JSON object; durations in ms."""
        return {
            "is_green": self.is_green,
            "orders": self.orders,
            "faults_injected": self.faults_injected,
            "lost": self.lost,
            "doubled": self.doubled,
            "oversold": self.oversold,
            "oversold_when": self.oversold_when,
            "shelves_checked": self.shelves_checked,
            "shelves_equal": self.shelves_equal,
            "propagation_ms": asdict(self.propagation_ms),
            "detection_ms": asdict(self.detection_ms),
            "self_inflicted_429": self.self_inflicted_429,
            "safety_net_found": self.safety_net_found,
            "problems": self.counted(),
            "problems_shown": [asdict(problem) for problem in self.problems[:_SHOWN_MAX]],
        }

    def lines(self, catalog: Catalog) -> Iterator[str]:
        """For people: what was checked, what is wrong, the verdict."""
        first, *points, last = self._said(catalog)
        yield first
        yield from (f"  {point}" for point in points)
        yield last

    def oversell_lines(self, catalog: Catalog) -> Iterator[str]:
        """Sales beyond stock with their causes, and what the hub could have done."""
        if not any(self.oversold.values()):
            yield catalog.text("check.oversold.none")
        for cause, count in self.oversold.items():
            if count:
                yield catalog.text(f"check.oversold.{cause}", units=count)
        for when, count in self.oversold_when.items():
            if count:
                yield "  " + catalog.text(f"check.when.{when}", units=count)

    def _said(self, catalog: Catalog) -> Iterator[str]:
        yield catalog.text(
            "check.orders",
            orders=self.orders,
            lost=self.lost,
            doubled=self.doubled,
            faults=self.faults_injected,
        )
        yield catalog.text("check.shelves", equal=self.shelves_equal, checked=self.shelves_checked)
        for name in ("propagation_ms", "detection_ms"):
            measured: Percentiles = getattr(self, name)
            if measured.p50 is not None and measured.p99 is not None:
                yield catalog.text(f"check.{name}", p50=measured.p50, p99=measured.p99)
        for problem in self.problems[:_SHOWN_MAX]:
            yield problem.text(catalog)
        left = len(self.problems) - _SHOWN_MAX
        if left > 0:
            yield catalog.text("check.more", left=left)
        yield catalog.text("check.green" if self.is_green else "check.red")
