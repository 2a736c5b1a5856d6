"""Fetching a file that somebody else names: bounded, and never from inside our own network.

A name is resolved once, every address it has is judged, and the connection goes to just these
addresses, so that a second answer of the name service changes nothing. Redirects are followed one
by one, each judged like the first. Source: OWASP, "Server-Side Request Forgery Prevention".
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

if TYPE_CHECKING:
    from pathlib import Path

BYTES_MAX: Final = 1 << 29
SECONDS_MAX: Final = 600.0
_CONNECT_S_MAX: Final = 10.0
_SILENCE_S_MAX: Final = 30.0
_HOPS_MAX: Final = 5
_PIECE_BYTES: Final = 1 << 16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK, _NOT_MODIFIED = 200, 304
# Addresses that only wrap an IPv4 address, which may be a private one (RFC 6052, RFC 3056).
_WRAPPING: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"))


class FetchReason(StrEnum):
    """Why nothing was fetched; the texts are in ``app/feeds/messages.toml``."""

    ADDRESS_WRONG = "feed.fetch.address_wrong"
    ADDRESS_PRIVATE = "feed.fetch.address_private"
    UNREACHABLE = "feed.fetch.unreachable"  # words
    STATUS = "feed.fetch.status"  # status
    REDIRECTED = "feed.fetch.redirected"
    TOO_LARGE = "feed.fetch.too_large"  # megabytes
    TOO_SLOW = "feed.fetch.too_slow"  # seconds


class FetchFailed(Exception):
    """Nothing was fetched; ``params`` fill the reason's text."""

    def __init__(self, reason: FetchReason, **params: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.params = params


@dataclass(frozen=True, slots=True)
class Validators:
    """By what a server knows what we have (RFC 9110, 8.8)."""

    etag: str | None = None
    last_modified: str | None = None


async def fetch(
    address: str,
    target: Path,
    known: Validators,
    *,
    allows_private: bool = False,
    bytes_max: int = BYTES_MAX,
    seconds_max: float = SECONDS_MAX,
) -> Validators | None:
    """Write the body to ``target``; None: it is still what ``known`` says. Raises FetchFailed."""
    timeout = aiohttp.ClientTimeout(
        total=seconds_max, sock_connect=_CONNECT_S_MAX, sock_read=_SILENCE_S_MAX
    )
    connector = aiohttp.TCPConnector(
        resolver=_Judging(allows_private=allows_private), use_dns_cache=False, force_close=True
    )
    # Unpacking is left to the readers, which bound it.
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, trust_env=False
    ) as session:
        try:
            return await _follow(
                session, address, target, known, bytes_max, allows_private=allows_private
            )
        except TimeoutError as slow:
            raise FetchFailed(FetchReason.TOO_SLOW, seconds=f"{seconds_max:.0f}") from slow
        except aiohttp.ClientError as lost:
            cause: BaseException | None = lost
            while cause is not None and not isinstance(cause, FetchFailed):
                cause = cause.__cause__
            if cause is not None:
                raise cause from lost
            raise FetchFailed(FetchReason.UNREACHABLE, words=type(lost).__name__) from lost


async def _follow(
    session: aiohttp.ClientSession,
    address: str,
    target: Path,
    known: Validators,
    bytes_max: int,
    *,
    allows_private: bool,
) -> Validators | None:
    url = _judged(address, allows_private=allows_private)
    headers = {"Accept-Encoding": "identity", "User-Agent": "MesChain-Sync"}
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    for _ in range(_HOPS_MAX):
        async with session.get(url, headers=headers, allow_redirects=False) as reply:
            if reply.status in _REDIRECTS:
                to = url.join(URL(reply.headers.get("Location", "")))
                if url.scheme == "https" and to.scheme != "https":
                    raise FetchFailed(FetchReason.REDIRECTED)
                url = _judged(str(to), allows_private=allows_private)
                continue
            if reply.status == _NOT_MODIFIED:
                return None
            if reply.status != _OK:
                raise FetchFailed(FetchReason.STATUS, status=str(reply.status))
            await _save(reply, target, bytes_max)
            return Validators(reply.headers.get("ETag"), reply.headers.get("Last-Modified"))
    raise FetchFailed(FetchReason.REDIRECTED)


async def _save(reply: aiohttp.ClientResponse, target: Path, bytes_max: int) -> None:
    size = 0
    file = await asyncio.to_thread(target.open, "wb")
    try:
        async for piece in reply.content.iter_chunked(_PIECE_BYTES):
            size += len(piece)
            if size > bytes_max:
                raise FetchFailed(FetchReason.TOO_LARGE, megabytes=str(bytes_max >> 20))
            await asyncio.to_thread(file.write, piece)
    finally:
        file.close()


def _judged(address: str, *, allows_private: bool) -> URL:
    """An http(s) address; one that is a bare number is judged here, for none resolves it."""
    try:
        url = URL(address)
    except ValueError as wrong:
        raise FetchFailed(FetchReason.ADDRESS_WRONG) from wrong
    if url.scheme not in ("http", "https") or not url.host:
        raise FetchFailed(FetchReason.ADDRESS_WRONG)
    try:
        number = ipaddress.ip_address(url.host)
    except ValueError:
        return url
    if not (allows_private or is_public(number)):
        raise FetchFailed(FetchReason.ADDRESS_PRIVATE)
    return url


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is an address of the open Internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in _WRAPPING):
            return False
    return address.is_global and not address.is_multicast


class _Judging(AbstractResolver):
    """Resolves a name to addresses that may all be spoken to, or to none."""

    def __init__(self, *, allows_private: bool) -> None:
        self._allows_private = allows_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        results: list[ResolveResult] = []
        for kind, _, proto, _, place in found:
            number = str(place[0])
            address = ipaddress.ip_address(number.partition("%")[0])  # "%": a zone of IPv6
            if not (self._allows_private or is_public(address)):
                raise FetchFailed(FetchReason.ADDRESS_PRIVATE)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=number,
                    port=port,
                    family=kind,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing is held."""
