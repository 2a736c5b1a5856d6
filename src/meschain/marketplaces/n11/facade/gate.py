"""What every call passes: faults, credentials as its family wants them, and the quota."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from meschain.marketplaces.n11.facade import replies
from meschain.marketplaces.n11.facade.body import JSON
from meschain.marketplaces.n11.facade.book import Market, ShopBook
from meschain.sandbox.faults import Fault
from meschain.sandbox.quota import SlidingWindow

Handler = Callable[[ShopBook, web.Request], Awaitable[web.Response]]
Route = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MINUTE_S = 60.0
_LOOK_EVERY_S = 0.05
_DUE_PER_REQUEST = 4  # an answer is no older than the clock, nor held up by many tasks


class Gate:
    """Wraps handlers, and the whole application in one middleware."""

    def __init__(self, market: Market) -> None:
        """Nothing counted yet."""
        self._market = market
        self._calls = SlidingWindow()
        self._is_closing = asyncio.Event()

    def open(self) -> None:
        """Serve."""
        self._is_closing.clear()

    def close(self) -> None:
        """Let go of every reply that is held back."""
        self._is_closing.set()

    # — families —
    def ms(self, handler: Handler) -> Route:
        """A missing header is a 500 that names Java's exception; a wrong one is a 401."""

        async def route(request: web.Request) -> web.Response:
            for name in ("appkey", "appsecret"):
                if name not in request.headers:
                    return replies.ms_server_error("MissingRequestHeaderException", name)
            book = self._identified(request.headers["appkey"], request.headers["appsecret"])
            if book is None:
                return replies.ms_error(
                    401,
                    "SellerApiUserUnauthorizedException",
                    "Kullanıcı bilgileri doğrulanamadı.",
                )
            return await self._within_quota("ms", book, request, handler)

        return route

    def rest(self, handler: Handler) -> Route:
        """A missing header is HTML; wrong ones are the failure JSON, or plain text [C: S6]."""

        async def route(request: web.Request) -> web.Response:
            for name in ("appkey", "appsecret"):
                if name not in request.headers:
                    return replies.html(400, f"Required request header '{name}' is not present")
            book = self._identified(request.headers["appkey"], request.headers["appsecret"])
            if book is None and self._market.settings.rest_auth == "403":
                return replies.authentication_failed_text()
            if book is None:
                return replies.rest_failure(
                    replies.AUTHENTICATION_FAILED, "Kullanıcı bilgileri doğrulanamadı."
                )
            return await self._within_quota("rest", book, request, handler)

        return route

    def cdn(self, handler: Handler) -> Route:
        """Key and secret by the changelog; the key alone was seen to be enough (2026-10-10)."""

        async def route(request: web.Request) -> web.Response:
            book = self._market.books.get(request.headers.get("appkey", ""))
            if book is not None and self._market.settings.cdn_auth == "both":
                secret = request.headers.get("appsecret", "")
                book = self._identified(book.appkey, secret)
            if book is None:
                return replies.authentication_failed_text()
            return await self._within_quota("cdn", book, request, handler)

        return route

    def ws(self, appkey: str, appsecret: str, operation: str) -> ShopBook | web.Response:
        """The seller of a SOAP request, or the failure it gets at HTTP 200."""
        book = self._identified(appkey, appsecret)
        if book is None:
            return replies.soap_failure(
                replies.AUTHENTICATION_FAILED,
                "Kullanıcı bilgileri doğrulanamadı.",
                response_name=f"{operation}Response",
            )
        return book if self._admits(book, operation) else self._over_quota("ws")

    @web.middleware
    async def middleware(self, request: web.Request, handler: Route) -> web.StreamResponse:
        """Faults first: a network does not care whether a path exists."""
        market, faults = self._market, self._market.world.faults
        market.agenda.perform_due(limit=_DUE_PER_REQUEST)
        market.counts["requests"] += 1
        family = request.path.lstrip("/").partition("/")[0]
        if faults.happens(Fault.RESET, "n11"):
            return _cut(request)
        if faults.happens(Fault.THROTTLED, "n11"):
            return replies.over_quota(family, market.settings.over_quota_status)
        if faults.happens(Fault.SERVER_ERROR, "n11"):
            if family == "ms" and faults.uniform(0, 1) < 0.5:
                return replies.ms_server_error("NullPointerException", "Beklenmeyen hata")
            return replies.html(502, "Bad Gateway")
        is_held = faults.happens(Fault.TIMEOUT_AFTER_APPLYING, "n11")
        if request.match_info.http_exception is not None:
            response: web.StreamResponse = replies.unknown_path()
        else:
            response = await handler(request)
        return await self._hold(request) if is_held else response

    # — inside —
    def _identified(self, appkey: str, appsecret: str) -> ShopBook | None:
        book = self._market.books.get(appkey)
        if book is None or not secrets.compare_digest(book.appsecret.encode(), appsecret.encode()):
            return None
        return book

    def _admits(self, book: ShopBook, path: str) -> bool:
        settings = self._market.settings
        if not settings.quotas:
            return True
        is_list = path.endswith("/shipmentPackages")
        return self._calls.admit(
            (book.appkey, path),
            limit=settings.packages_per_minute if is_list else settings.other_per_minute,
            window_s=_MINUTE_S,
            now_s=self._market.world.clock.monotonic_s(),
        )

    def _over_quota(self, family: str) -> web.Response:
        self._market.counts["refused_by_quota"] += 1
        return replies.over_quota(family, self._market.settings.over_quota_status)

    async def _within_quota(
        self, family: str, book: ShopBook, request: web.Request, handler: Handler
    ) -> web.Response:
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else request.path
        if not self._admits(book, path):
            return self._over_quota(family)
        if request.method != "GET" and request.content_type != JSON:
            message = f"Content type '{request.content_type}' not supported"
            if family == "ms":
                return replies.ms_server_error("HttpMediaTypeNotSupportedException", message)
            return replies.rest_failure(replies.INVALID_INPUT, message)
        return await handler(book, request)

    async def _hold(self, request: web.Request) -> web.StreamResponse:
        """The work is done and the answer never comes: until the client leaves, or a bound."""
        clock = self._market.world.clock
        until_s = clock.monotonic_s() + self._market.settings.hold_s_max
        while (
            clock.monotonic_s() < until_s
            and not self._is_closing.is_set()
            and request.transport is not None
            and not request.transport.is_closing()
        ):
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._is_closing.wait()
            except TimeoutError:
                continue
        return _cut(request)


def _cut(request: web.Request) -> web.Response:
    """Abort the connection; the response is never written."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
