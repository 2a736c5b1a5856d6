"""Authentication, headers and quotas: what every call passes before a handler sees it."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPMethod
from typing import Final, TypeVar

import msgspec
from aiohttp import hdrs, web

from meschain.marketplaces.trendyol.facade.envelope import Refused, Unauthenticated
from meschain.marketplaces.trendyol.facade.seller import Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.sandbox.clock import SandboxClock
from meschain.sandbox.quota import SlidingWindow

Body = TypeVar("Body")

TIERS: Final = ("50k", "75k", "150k", "500k", "unlimited")  # a seller's listing limit
_BURST: Final = 50
_BURST_S: Final = 10.0
_MINUTE_S: Final = 60.0
_USER_AGENT: Final = re.compile(r"(\d+) - [A-Za-z0-9]{1,30}")
_STOREFRONTS: Final = frozenset({"TR", "1"})


class Bucket(Enum):
    """A shared minute bucket and its limit per tier, None for no limit (fact sheet 2.2 to 2.4)."""

    PRODUCT_READ = ("product_read", (1000, 1250, 1500, 1750, 2000))
    PRODUCT_WRITE = ("product_write", (200, 300, 400, 500, 600))
    INVENTORY_WRITE = ("inventory_write", (350, 500, 1000, 1500, 2000))
    PACKAGES = ("packages", (30, 40, 50, 100, 100))
    STREAM = ("stream", (1000, 1000, 1000, 1000, 1000))
    PACKAGE_STATUS = ("package_status", (300, 300, 500, None, None))
    PACKAGE_CHANGE = ("package_change", (100, 100, 200, None, None))
    LABEL_CREATE = ("label_create", (100, 100, 100, 100, 100))
    LABEL_READ = ("label_read", (100, 100, 100, 100, 100))
    BURST_ONLY = ("burst_only", (None, None, None, None, None))

    def __init__(self, label: str, limits: tuple[int | None, ...]) -> None:
        self.label = label
        self.limits = limits


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted request."""

    request: web.Request
    seller: Seller

    def text(self, name: str) -> str | None:
        """A query parameter; an empty one counts as not given."""
        return self.request.query.get(name) or None

    def number(self, name: str, default: int, *, low: int = 0, high: int | None = None) -> int:
        """A whole-number query parameter within its bounds."""
        given = self.text(name)
        value = default if given is None else _whole(name, given)
        if value < low or (high is not None and value > high):
            bounds = f"{low}.." if high is None else f"{low}..{high}"
            raise Refused(400, f"invalid.{name}", f"{name} must be in {bounds}")
        return value

    def optional_number(self, name: str) -> int | None:
        given = self.text(name)
        return None if given is None else _whole(name, given)

    def choice(self, name: str, allowed: frozenset[str]) -> str | None:
        """A query parameter with a closed set of values."""
        given = self.text(name)
        if given is not None and given not in allowed:
            raise Refused(400, f"invalid.{name}", f"{name}: {given}")
        return given

    def listed(self, name: str, *, most: int) -> list[str]:
        """A repeated or comma-separated parameter: the sheet leaves the encoding open."""
        values = [
            part.strip()
            for given in self.request.query.getall(name, [])
            for part in given.split(",")
            if part.strip()
        ]
        if len(values) > most:
            raise Refused(400, f"invalid.{name}", f"{name}: at most {most}")
        return values

    def path_number(self, name: str) -> int:
        return int(self.request.match_info[name])

    async def raw_body(self) -> bytes:
        if self.request.content_type != "application/json":
            raise Refused(415, "unsupported.media.type", "Content-Type must be application/json")
        return await self.request.read()

    async def body(self, decoder: msgspec.json.Decoder[Body]) -> Body:
        return decode(decoder, await self.raw_body())


def decode(decoder: msgspec.json.Decoder[Body], raw: bytes) -> Body:
    """The typed body; a missing field or a wrong type is the request's error (sheet 1.5)."""
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as mistake:
        raise Refused(400, "invalid.request", str(mistake)) from mistake


def _whole(name: str, given: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", given):
        raise Refused(400, f"invalid.{name}", f"{name} must be a whole number")
    return int(given)


@dataclass(frozen=True, slots=True)
class Operation:
    """One documented call: where it is, what it costs, who answers."""

    method: HTTPMethod
    path: str  # below the service prefix
    bucket: Bucket
    answer: Callable[[Call], Awaitable[web.Response]]


class Gate:
    """Knows the sellers by their credentials and counts their calls."""

    def __init__(self, clock: SandboxClock, settings: Settings) -> None:
        self._clock = clock
        self._settings = settings
        self._windows = SlidingWindow()
        self._by_credential: dict[str, Seller] = {}
        self.sellers: dict[str, Seller] = {}
        self.refused_by_quota: Counter[str] = Counter()

    def admit_seller(self, seller: Seller, api_key: str, api_secret: str) -> None:
        """From now on these credentials open this seller's doors."""
        pair = base64.b64encode(f"{api_key}:{api_secret}".encode()).decode()
        self._by_credential[pair] = seller
        self.sellers[seller.shop.seller_id] = seller

    def guard(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        """The operation's handler behind all checks."""

        async def handle(request: web.Request) -> web.Response:
            seller = self._authenticate(request)
            self._charge(seller, operation)
            self._check_storefront(request)
            return await operation.answer(Call(request, seller))

        return handle

    def _authenticate(self, request: web.Request) -> Seller:
        user_agent = request.headers.get(hdrs.USER_AGENT, "")
        if not user_agent:
            raise Refused(403, "forbidden", "User-Agent header is required")
        scheme, _, pair = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        seller = self._by_credential.get(pair.strip()) if scheme.lower() == "basic" else None
        if seller is None:
            raise Unauthenticated
        # Keys are issued to one seller (sheet 1.2); with another's id in the path they are wrong.
        if request.match_info.get("sellerId", seller.shop.seller_id) != seller.shop.seller_id:
            raise Unauthenticated
        if self._settings.user_agent == "form":
            form = _USER_AGENT.fullmatch(user_agent)
            if form is None or form[1] != seller.shop.seller_id:
                raise Refused(403, "forbidden", "User-Agent must be '{sellerId} - {name}'")
        return seller

    def _check_storefront(self, request: web.Request) -> None:
        storefront = request.headers.get("storeFrontCode")
        if storefront is not None and storefront not in _STOREFRONTS:
            raise Refused(400, "invalid.storefrontcode", f"storeFrontCode: {storefront}")

    def _charge(self, seller: Seller, operation: Operation) -> None:
        if self._settings.quotas == "off":
            return
        bucket = operation.bucket
        if bucket is Bucket.STREAM and self._settings.stream_quota == "packages":
            bucket = Bucket.PACKAGES
        now_s = self._clock.monotonic_s()
        who = seller.shop.seller_id
        endpoint = (who, operation.method, operation.path)
        if not self._windows.admit(endpoint, limit=_BURST, window_s=_BURST_S, now_s=now_s):
            self._refuse("burst", _BURST_S)
        limit = bucket.limits[TIERS.index(seller.shop.tier)]
        if limit is not None and not self._windows.admit(
            (who, bucket), limit=limit, window_s=_MINUTE_S, now_s=now_s
        ):
            self._refuse(bucket.label, _MINUTE_S)

    def _refuse(self, bucket: str, window_s: float) -> None:
        self.refused_by_quota[bucket] += 1
        raise TooManyRequests(bucket, int(window_s))


class TooManyRequests(Refused):
    """429; how long the whole window lasts, for the setting that tells it."""

    def __init__(self, bucket: str, window_s: int) -> None:
        super().__init__(429, "too.many.requests", f"Too many requests ({bucket})")
        self.window_s = window_s
