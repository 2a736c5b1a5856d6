"""The one HTTP seam: typed requests and replies, and what the transport promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from meschain.channel.contract import Call


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request, complete but for pacing. ``operation`` is a key of the manifest's operations."""

    operation: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A reply read to its end. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TransportLost(Exception):
    """No reply was read. ``may_have_arrived`` False: the request certainly never left."""

    def __init__(self, detail: str, *, may_have_arrived: bool) -> None:
        """Keep the detail for the log and whether the request may have been applied."""
        super().__init__(detail)
        self.detail = detail
        self.may_have_arrived = may_have_arrived


class Transport(Protocol):
    """Sends one request of one account: paced by its operation's quotas, guarded, recorded.

    Raises ``TransportLost``. Never retries by itself: the engine decides by the outcome. A reply
    of any status is returned, also 429 and 5xx. Redirects are not followed.
    """

    async def send(self, request: HttpRequest, call: Call) -> HttpReply:
        """Wait for the budget, check the call's guard, send, read the whole reply."""
        ...
