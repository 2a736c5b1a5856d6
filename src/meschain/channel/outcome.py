"""The closed set of what any call to a marketplace can come to. The engine decides by it alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Done:
    """The marketplace has applied it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A ticket, not a result: ``reference`` is the marketplace's own id of the pending work."""

    reference: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The marketplace understood and said no. Waits for new input.

    ``code`` is the marketplace's own discriminator where it has one (else ""), ``text`` its own
    words, unchanged. ``advice`` is a message key of ours for the suggested fix, or "".
    """

    code: str
    text: str
    advice: str = ""


class ThrottleScope(StrEnum):
    """How far a throttle reaches."""

    OPERATION = "operation"
    QUOTA = "quota"  # every operation that shares a quota with the refused one
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too fast. ``retry_after_s`` is what the marketplace said, or None where it is silent."""

    retry_after_s: float | None = None
    scope: ThrottleScope = ThrottleScope.QUOTA


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The credentials are not accepted (any more)."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether it was applied: observe before deciding.

    ``evidence`` says why: "lost" (no answer), "server_error", "duplicate" (the identical request
    was refused as a repetition: the first one arrived), "expired", "stuck", "not_named".
    """

    evidence: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request never left: refused by our own lease, breaker or connection set-up."""

    reason: str


@dataclass(frozen=True, slots=True)
class ContractBroken:
    """The reply is none that the documentation names. ``raw`` is kept as it came (cut at 4 KiB)."""

    detail: str
    raw: bytes


Outcome = Done | Accepted | Refused | Throttled | Unauthorized | Unknown | NotSent | ContractBroken
ItemOutcome = Done | Refused | Unknown
"""How one item of a batch ended."""
Problem = Refused | Throttled | Unauthorized | Unknown | NotSent | ContractBroken
"""Why a read or an action gave no result."""
