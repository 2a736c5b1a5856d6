"""The HTTP transport of one account over a session that all accounts of the process share."""

from __future__ import annotations

import ipaddress
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from meschain.channel.contract import LeaseExpired
from meschain.channel.http import HttpReply, TransportLost
from meschain.channel.patience import WRITE_PATIENCE_S_MIN, Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.connector import Connection

    from meschain.channel.capability import Operation
    from meschain.channel.clock import Clock
    from meschain.channel.contract import Call, Guard
    from meschain.channel.http import HttpRequest
    from meschain.channel.pacing import Pacer

REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
_CONNECT_S_MAX: Final = 10.0
# Statuses that speak of the marketplace's front, not of our request.
_OUTAGE_STATUSES: Final = frozenset({502, 503, 504})

_log = logging.getLogger(__name__)


class LiveHostRefused(Exception):
    """Tests and the demo may speak to this machine only; nothing was sent."""


class _Stopped(Exception):
    """Raised where the first byte would leave: this attempt must not be sent."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is recorded of one call: no headers, no bodies, no query, hence no secrets."""

    operation: str
    method: str
    url: str  # scheme, host and path
    is_written: bool  # bytes may have left
    status: int | None
    released_s: float
    answered_s: float
    reply_bytes: int
    error: str = ""


class Admission(Enum):
    """What a breaker says to a call."""

    FREE = "free"
    PROBE = "probe"  # the one call by which an open breaker looks whether it may close
    REFUSED = "refused"


class Breaker:
    """Stops calling a marketplace that does not answer; one probe after each cool-down.

    Opens after ``failures_max`` consecutive failures. A plain 500 is counted too, but since some
    marketplaces answer it to a request they do not like, a run of nothing but 500s opens only
    when it hits more than one operation.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        name: str = "",
        failures_max: int = 5,
        cool_down_s: float = 1.0,
        cool_down_s_max: float = 60.0,
    ) -> None:
        """``name`` says in the log whose breaker it is."""
        self._clock = clock
        self._name = name
        self._failures_max = failures_max
        self._cool_down_s = cool_down_s
        self._cool_down_s_max = cool_down_s_max
        self._failures = 0
        self._failed_operations: set[str] = set()
        self._is_outage = False
        self._openings = 0  # since the last success; 0: closed
        self._retry_at_s = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are being refused or probed."""
        return self._openings > 0

    @property
    def retry_in_s(self) -> float:
        """Seconds until a probe may go; 0 when closed."""
        return max(0.0, self._retry_at_s - self._clock.monotonic_s()) if self.is_open else 0.0

    def admit(self) -> Admission:
        """Ask right before sending; what was admitted must be reported back once."""
        if not self.is_open:
            return Admission.FREE
        if self._probing or self.retry_in_s > 0:
            return Admission.REFUSED
        self._probing = True
        return Admission.PROBE

    def answered(self, operation: str, status: int, admission: Admission) -> None:
        """A reply came: any below 500 proves that the marketplace is there."""
        if status >= 500:
            self.failed(operation, admission, is_outage=status in _OUTAGE_STATUSES)
            return
        if self.is_open:
            _log.info("marketplace answers again", extra={"account": self._name})
        self._failures = self._openings = 0
        self._failed_operations.clear()
        self._is_outage = self._probing = False

    def failed(self, operation: str, admission: Admission, *, is_outage: bool = True) -> None:
        """No reply, or a 5xx."""
        self._failures += 1
        self._failed_operations.add(operation)
        self._is_outage |= is_outage
        if self.is_open and admission is not Admission.PROBE:
            return  # the late end of a call that left before it opened
        self._probing = False
        certain = self._is_outage or len(self._failed_operations) > 1
        if self._failures < self._failures_max or not certain:
            return
        if not self.is_open:
            _log.warning(
                "marketplace does not answer, calls are held back",
                extra={"account": self._name, "failures": self._failures},
            )
        wait_s = min(self._cool_down_s * 2.0**self._openings, self._cool_down_s_max)
        self._openings += 1
        self._retry_at_s = self._clock.monotonic_s() + wait_s

    def forget(self, admission: Admission) -> None:
        """An admitted call ended without a verdict: cancelled, or refused by its guard."""
        if admission is Admission.PROBE:
            self._probing = False


@dataclass(slots=True)
class _Attempt:
    """One send, as the request class below sees it."""

    guard: Guard | None
    admission: Admission
    clock: Clock
    until_s: float  # the permit's
    is_written: bool = False

    def before_first_byte(self) -> None:
        # aiohttp repeats GET, PUT and DELETE once when a kept-alive connection breaks. The
        # repetition would be neither paced nor guarded, so the engine alone repeats.
        # Source: aiohttp 3.14, ClientSession._request, retry_persistent_connection.
        if self.is_written:
            raise _Stopped("the connection broke, and nothing is sent twice")
        if self.clock.monotonic_s() > self.until_s:
            raise _Stopped("the connection took longer than its place in a shared quota lasts")
        if self.guard is not None:
            try:
                self.guard.check()
            except LeaseExpired as late:
                raise _Stopped(f"lease: {late}") from late
        self.is_written = True


_attempt: ContextVar[_Attempt] = ContextVar("attempt")


class _GuardedRequest(aiohttp.ClientRequest):
    """Asks leave after the connection stands and before anything is written to it.

    This is the only point that knows for certain whether bytes may have left.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        _attempt.get().before_first_byte()
        return await super().send(conn)


def open_session(
    *, connections_max: int = 512, connections_per_host_max: int = 64, keep_alive_s: float = 15.0
) -> aiohttp.ClientSession:
    """The shared session; the caller closes it.

    ``keep_alive_s``: many servers drop idle connections after 60–75 s, some after 5 s; a write
    on a dropped connection ends as Unknown, so short is safer than long.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections_max,
            limit_per_host=connections_per_host_max,
            keepalive_timeout=keep_alive_s,
        ),
        request_class=_GuardedRequest,
        cookie_jar=aiohttp.DummyCookieJar(),  # accounts must not share what a server remembers
        skip_auto_headers=("Content-Type", "User-Agent"),
        trust_env=False,
    )


class HttpTransport:
    """Implements ``channel.http.Transport`` for one account."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        pacer: Pacer,
        operations: Mapping[str, Operation],
        clock: Clock,
        *,
        breaker: Breaker | None = None,
        loopback_only: bool = False,
        on_exchange: Callable[[Exchange], None] | None = None,
        reply_bytes_max: int = REPLY_BYTES_MAX,
    ) -> None:
        """``session`` comes from ``open_session``; ``operations`` from the manifest."""
        self._session = session
        self._pacer = pacer
        self._clock = clock
        self._breaker = breaker or Breaker(clock)
        self._loopback_only = loopback_only
        self._on_exchange = on_exchange
        self._reply_bytes_max = reply_bytes_max
        self._timeouts_s = {name: operation.timeout_s for name, operation in operations.items()}
        self._patience = {name: Patience(limit_s) for name, limit_s in self._timeouts_s.items()}

    async def send(self, request: HttpRequest, call: Call) -> HttpReply:
        """Wait for the budget, check breaker and guard, send, read the whole reply.

        Raises TransportLost, or LiveHostRefused before anything else happens.
        """
        url = _url(request)
        if self._loopback_only and not _is_loopback(url.host or ""):
            raise LiveHostRefused(f"{url.host} is not this machine")
        call.handed_s = self._clock.monotonic_s()
        call.operation = request.operation
        if self._breaker.retry_in_s > 0:  # do not queue for a budget that cannot be used
            raise _breaker_is_open()
        with await self._pacer.acquire(request.operation, call) as permit:
            admission = self._breaker.admit()
            if admission is Admission.REFUSED:
                permit.unused()
                raise _breaker_is_open()
            call.released_s = self._clock.monotonic_s()
            attempt = _Attempt(call.guard, admission, self._clock, permit.until_s)
            try:
                return await self._exchange(request, url, attempt, call)
            finally:
                if not attempt.is_written:
                    permit.unused()

    async def _exchange(
        self, request: HttpRequest, url: URL, attempt: _Attempt, call: Call
    ) -> HttpReply:
        status: int | None = None
        body = b""
        error = "cancelled"
        patience = self._patience[request.operation]
        limit_s = self._timeouts_s[request.operation]
        if call.is_repeated:
            least_s = 0.0 if request.method == "GET" else WRITE_PATIENCE_S_MIN
            limit_s = min(limit_s, max(least_s, patience.limit_s))
        began_s = self._clock.monotonic_s()
        token = _attempt.set(attempt)
        try:
            async with self._session.request(
                request.method,
                url,
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=limit_s, connect=min(_CONNECT_S_MAX, limit_s)),
            ) as response:
                status = response.status
                body = await self._read(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
        except (_Stopped, aiohttp.ClientError, TimeoutError, OSError) as lost:
            error = _describe(lost)
            if isinstance(lost, TimeoutError):
                patience.waited_in_vain()
            if attempt.is_written or not isinstance(lost, _Stopped):
                self._breaker.failed(request.operation, attempt.admission)
            raise TransportLost(error, may_have_arrived=attempt.is_written) from lost
        else:
            error = ""
            patience.answered(self._clock.monotonic_s() - began_s)
            self._breaker.answered(request.operation, status, attempt.admission)
            return HttpReply(status, headers, body)
        finally:
            _attempt.reset(token)
            self._breaker.forget(attempt.admission)
            call.answered_s = self._clock.monotonic_s()
            if self._on_exchange is not None:
                self._on_exchange(
                    Exchange(
                        operation=request.operation,
                        method=request.method,
                        url=str(url.with_user(None).with_query(None).with_fragment(None)),
                        is_written=attempt.is_written,
                        status=status,
                        released_s=call.released_s or call.answered_s,
                        answered_s=call.answered_s,
                        reply_bytes=len(body),
                        error=error,
                    )
                )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body, decompressed, never more than the limit of memory we grant it."""
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._reply_bytes_max:
                raise aiohttp.ClientPayloadError(f"reply exceeds {self._reply_bytes_max} bytes")
            parts.append(part)
        return b"".join(parts)


def _breaker_is_open() -> TransportLost:
    return TransportLost("circuit breaker is open", may_have_arrived=False)


def _url(request: HttpRequest) -> URL:
    if not request.query:
        return URL(request.url)
    joint = "&" if "?" in request.url else "?"
    return URL(f"{request.url}{joint}{urlencode(request.query, quote_via=quote)}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _describe(lost: BaseException) -> str:
    """The network's words; never the headers, which some errors of aiohttp carry."""
    if isinstance(lost, _Stopped):
        return str(lost)
    if isinstance(lost, TimeoutError) and not isinstance(lost, aiohttp.ClientError):
        return "no answer in time"
    if isinstance(lost, aiohttp.ClientResponseError):
        return f"{type(lost).__name__}: {lost.status} {lost.message}"
    return f"{type(lost).__name__}: {lost}"
