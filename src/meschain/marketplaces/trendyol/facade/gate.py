"""Authentication, headers and quotas: what every call passes before a handler sees it."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from http import HTTPMethod
from typing import Final, TypeVar

import msgspec
from aiohttp import hdrs, web
from msgspec import inspect

from meschain.marketplaces.trendyol.facade.envelope import Refused, Unauthenticated, encode
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
# msgspec reads a decimal from a string too; the documented type is a number.
_QUOTED_NUMBER: Final = re.compile(rb'"(?:salePrice|listPrice|dimensionalWeight)"\s*:\s*"')
_ANYTHING: Final = msgspec.json.Decoder(float_hook=Decimal)


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


class Request(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A body, or part of one: the fields that the sheet names for this very call."""


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted request."""

    request: web.Request
    seller: Seller
    settings: Settings

    def text(self, name: str) -> str | None:
        """A query parameter; an empty one counts as not given, two of a name contradict."""
        given = self.request.query.getall(name, [])
        if len(given) > 1:
            raise Refused(400, f"invalid.{name}", f"{name} must be given once")
        return given[0] or None if given else None

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

    def listed(self, name: str, *, most: int, form: str = "") -> list[str]:
        """An array, repeated or with commas.

        The setting ``arrays`` decides where no ``form`` is documented.
        """
        form = form or self.settings.arrays
        given = self.request.query.getall(name, [])
        if form == "comma" and len(given) > 1:
            raise Refused(400, f"invalid.{name}", f"{name} must be one list with commas")
        parts = given if form == "repeated" else ",".join(given).split(",")
        values = [part.strip() for part in parts if part.strip()]
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
        return (await self.raw_and_body(decoder))[1]

    async def raw_and_body(self, decoder: msgspec.json.Decoder[Body]) -> tuple[bytes, Body]:
        """Read the body as sent and typed.

        A missing field or a wrong type is the request's error (sheet 1.5). So is a field that the
        sheet does not name, unless a setting drops it from both.
        """
        raw = await self.raw_body()
        if _QUOTED_NUMBER.search(raw):
            raise Refused(400, "invalid.request", "prices and weights must be numbers")
        try:
            if self.settings.unknown_fields == "ignore":
                raw = encode(_named(_ANYTHING.decode(raw), inspect.type_info(decoder.type)))
            return raw, decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as mistake:
            raise Refused(400, "invalid.request", str(mistake)) from mistake


def _named(value: object, kind: inspect.Type) -> object:
    """The parsed body without what ``kind`` does not name."""
    if isinstance(kind, inspect.UnionType):
        for member in kind.types:
            value = _named(value, member)
    elif isinstance(kind, inspect.ListType) and isinstance(value, list):
        return [_named(entry, kind.item_type) for entry in value]
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        return {name: _named(value[name], fields[name]) for name in value.keys() & fields.keys()}
    return value


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
    query: frozenset[str] | None = frozenset()  # parameters that the sheet names; None: any


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
            self._check_query(request, operation)
            return await operation.answer(Call(request, seller, self._settings))

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

    def _check_query(self, request: web.Request, operation: Operation) -> None:
        if operation.query is None or self._settings.unknown_fields == "ignore":
            return
        unknown = request.query.keys() - operation.query
        if unknown:
            raise Refused(400, "invalid.parameter", f"unknown: {min(unknown)}")

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
