"""What the merchant asks of a package, and what an answer means for it: pure, no database.

Packing and invoicing are of the package as a whole. A cancellation or a split has ``Terms``: it is
not idempotent, and package and line ids may mean other goods afterwards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.contract import ItemOutcomes, PackageLine, PackageRef
from meschain.channel.outcome import (
    Accepted,
    ContractBroken,
    Done,
    NotSent,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.domain.order import LEGAL_TRANSITIONS, PackageState
from meschain.sync.inbound import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meschain.channel.outcome import Outcome

PACKAGE_CHANGED: Final = "package_changed"  # why a cancellation or split was not sent (any more)
_REFUSED_ALERTS: Final = {
    PackageState.PICKING: "alert.package.picking_refused",
    PackageState.INVOICED: "alert.package.invoiced_refused",
    PackageState.UNSUPPLIED: "alert.package.cancel_refused",
    PackageState.SUPERSEDED: "alert.package.split_refused",
}
_CHANGED_ALERT: Final = "alert.package.changed"
_OUTCOMES: Final[Mapping[str, type[Outcome]]] = {
    each.__name__: each
    for each in (
        Done, Accepted, Refused, Throttled, Unauthorized, Unknown, NotSent, ContractBroken
    )
}  # fmt: skip


class WishPhase(IntEnum):
    """How far a wish is; the numbers stand in ``package_wish.phase``."""

    WAITING = 1  # to be sent
    DOUBTFUL = 2  # begun, its end unknown: look before repeating
    TAKEN = 3  # the marketplace said yes; to be seen there
    ENDED = 4


class Answer(Enum):
    """What a request for a package came to."""

    YES = auto()
    NO = auto()
    DOUBT = auto()
    LATER = auto()  # it never arrived


class UnitsUnknown(ValueError):
    """The package has no such line, or fewer units of it."""


class Terms(msgspec.Struct, frozen=True):
    """A cancellation, or a split. Units by line id.

    ``stood``: what the package held when it was asked for. ``groups``: what is cancelled (one), or
    what becomes a package each. ``unsupplied``: units of the whole order that the seller has not
    supplied, by item, once a cancellation is carried out.
    """

    stood: dict[str, int]
    groups: tuple[dict[str, int], ...]
    reason: str = ""
    unsupplied: dict[str, int] = {}

    @classmethod
    def of(
        cls,
        stood: Mapping[str, int],
        groups: Iterable[Iterable[PackageLine]],
        *,
        reason: str = "",
        unsupplied: Mapping[str, int] | None = None,
    ) -> Terms:
        """Raises UnitsUnknown when the package does not hold so much."""
        merged: list[dict[str, int]] = []
        named = Counter[str]()
        for group in groups:
            units = Counter[str]()
            for line in group:
                units[line.line_id] += line.units
            named += units
            merged.append(dict(units))
        for line_id, units_named in named.items():
            if units_named > stood.get(line_id, 0):
                raise UnitsUnknown(line_id)
        return cls(dict(stood), tuple(merged), reason, dict(unsupplied or {}))


@dataclass(frozen=True, slots=True)
class Wish:
    """A row of ``package_wish``; times in microseconds."""

    merchant_id: int
    account_id: int
    order_id: int
    package_id: str
    state: str
    invoice_number: str
    actor: str
    wish_us: int
    phase: int
    tries: int
    looks: int
    is_doubtful: bool
    outcome: dict[str, dict[str, object]] | None
    terms: Terms | None

    @property
    def to(self) -> PackageState:
        """What is to stand: a cancellation is ``UNSUPPLIED``, a split ``SUPERSEDED``."""
        return PackageState(self.state)

    @property
    def name(self) -> tuple[int, int, str]:
        """The package: there is one wish for it at a time."""
        return self.merchant_id, self.order_id, self.package_id

    @property
    def may_have_arrived(self) -> bool:
        """Whether a request for it may ever have left."""
        return self.tries > 0 or self.is_doubtful or self.phase != WishPhase.WAITING

    @property
    def key(self) -> dict[str, object]:
        """What every query names."""
        return {
            "merchant": self.merchant_id,
            "account": self.account_id,
            "order": self.order_id,
            "package": self.package_id,
            "wish_us": self.wish_us,
            "tries": self.tries,
            "state": self.state,
        }


@dataclass(frozen=True, slots=True)
class PackageNow:
    """The package of a wish as it stands by all that was seen; ``state`` None: in no word of ours.

    ``unsupplied``: units of the whole order that the seller has not supplied, by item.
    """

    reference: PackageRef
    state: PackageState | None
    wanted: str | None
    unsupplied: Mapping[str, int]


class Fate(Enum):
    """What a wish can still come to."""

    OPEN = auto()  # it may be sent
    THERE = auto()  # it stands there, or the merchant wants something else
    GONE = auto()  # the package is not the one any more for which it was meant


def fate_of(wish: Wish, package: PackageNow) -> Fate:
    """A cancellation or split is meant for a package as it stood, and for no other."""
    terms = wish.terms
    if terms is None:
        is_over = package.wanted != wish.state or package.state is wish.to
        return Fate.THERE if is_over else Fate.OPEN
    is_living = package.state is None or wish.to in LEGAL_TRANSITIONS[package.state]
    if is_living and {x.line_id: x.units for x in package.reference.lines} == terms.stood:
        return Fate.OPEN
    if wish.to is PackageState.UNSUPPLIED:
        is_seen = all(package.unsupplied.get(i, 0) >= n for i, n in terms.unsupplied.items())
    else:
        is_seen = wish.may_have_arrived and package.state is PackageState.SUPERSEDED
    return Fate.THERE if is_seen or wish.phase == WishPhase.TAKEN else Fate.GONE


def judge(outcome: Outcome | ItemOutcomes, package: PackageRef) -> Answer:
    """What it means for the package as a whole. A line that is not named is in doubt."""
    match outcome:
        case ItemOutcomes(items=items):
            ends = {type(items.get(line.line_id)) for line in package.lines}
            if ends == {Done}:
                return Answer.YES
            return Answer.NO if ends == {Refused} else Answer.DOUBT
        case Done():
            return Answer.YES
        case Refused():
            return Answer.NO
        case NotSent() | Throttled() | Unauthorized():
            return Answer.LATER
        case _:
            return Answer.DOUBT


def is_refusal(outcome: Outcome | ItemOutcomes | None) -> bool:
    """Whether the marketplace said no to any of it."""
    if isinstance(outcome, ItemOutcomes):
        return any(isinstance(end, Refused) for end in outcome.items.values())
    return isinstance(outcome, Refused | ContractBroken)


def alert_subject(order: str, package: str) -> str:
    """What an alert on a refused wish is about."""
    return f"{order} {package}"


def alert_kind(to: PackageState, refused: Outcome | ItemOutcomes) -> str:
    """The alert that tells its owner."""
    if isinstance(refused, NotSent | Unknown):
        return _CHANGED_ALERT
    return _REFUSED_ALERTS[to]


def refused_alerts() -> tuple[str, ...]:
    """Kinds of alerts that a new wish for the package answers."""
    return (*_REFUSED_ALERTS.values(), _CHANGED_ALERT)


def words_of(outcome: Outcome | ItemOutcomes) -> str:
    """The marketplace's own words, each once."""
    ends = outcome.items.values() if isinstance(outcome, ItemOutcomes) else [outcome]
    said = [describe(end) for end in ends if not isinstance(end, Done | Accepted)]
    return "; ".join(dict.fromkeys(said))


def outcome_document(outcome: Outcome | ItemOutcomes) -> dict[str, dict[str, object]]:
    """As it is kept: item → kind and fields; "" for an outcome of the whole."""
    items: Mapping[str, Outcome] = (
        outcome.items if isinstance(outcome, ItemOutcomes) else {"": outcome}
    )
    return {
        item: {"kind": type(end).__name__, **msgspec.to_builtins(end)}
        for item, end in items.items()
    }


def outcome_of(document: Mapping[str, Mapping[str, object]]) -> Outcome | ItemOutcomes:
    """The same read back."""
    if "" in document:
        return _end_of(document[""])
    ends = {item: _end_of(fields) for item, fields in document.items()}
    return ItemOutcomes(
        {item: end for item, end in ends.items() if isinstance(end, Done | Refused | Unknown)}
    )


def _end_of(fields: Mapping[str, object]) -> Outcome:
    given = {name: value for name, value in fields.items() if name != "kind"}
    return msgspec.convert(given, _OUTCOMES[str(fields["kind"])])
