"""The outermost layer: transport faults, and every refusal in the envelope of its family."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from meschain.marketplaces.trendyol.facade.envelope import (
    PREFIX,
    Family,
    Refused,
    Unauthenticated,
    error_reply,
    family_of,
    text_reply,
    unauthenticated_reply,
)
from meschain.marketplaces.trendyol.facade.gate import TooManyRequests
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import World

MARKETPLACE: Final = "trendyol"
_HOLD_S_MAX: Final = 60.0
_HOLD_STEP_S: Final = 0.05


class Edge:
    """Builds the two middlewares; ``is_closing`` lets held replies go at shutdown."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self.is_closing = False

    def middlewares(self) -> tuple[Middleware, Middleware]:
        """Outermost first."""

        @web.middleware
        async def faults(request: web.Request, handler: Handler) -> web.StreamResponse:
            # Managing webhooks is the merchant's own set-up, not the traffic that faults test.
            if request.path.startswith(PREFIX + "/webhook/"):
                return await handler(request)
            return await self._with_faults(request, handler)

        @web.middleware
        async def envelopes(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except Refused as refused:
                return self._refusal(family_of(request.path), refused)
            except Unauthenticated:
                return unauthenticated_reply()
            except web.HTTPException as standard:  # unknown route, wrong method, body too large
                reason = standard.reason
                return error_reply(family_of(request.path), standard.status, "error", reason)

        return faults, envelopes

    def _refusal(self, family: Family, refused: Refused) -> web.Response:
        # No envelope is documented for a missing User-Agent, only the status.
        if refused.status == 403:
            return text_reply(refused.message, status=403)
        reply = error_reply(family, refused.status, refused.key, refused.message)
        if isinstance(refused, TooManyRequests) and self._settings.retry_after == "seconds":
            reply.headers[hdrs.RETRY_AFTER] = str(refused.window_s)
        return reply

    async def _with_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        faults = self._world.faults
        family = family_of(request.path)
        if faults.happens(Fault.RESET, MARKETPLACE):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # never sent
        if faults.happens(Fault.SERVER_ERROR, MARKETPLACE):
            status = 500 if faults.uniform(0, 1) < 0.5 else 502
            return error_reply(family, status, "TrendyolSystemException", "Beklenmeyen hata")
        if faults.happens(Fault.THROTTLED, MARKETPLACE):
            return self._refusal(family, TooManyRequests("fault", 10))
        reply = await handler(request)
        if faults.happens(Fault.TIMEOUT_AFTER_APPLYING, MARKETPLACE):
            await self._hold(request)
            return error_reply(family, 504, "gateway.timeout", "Gateway Timeout")
        return reply

    async def _hold(self, request: web.Request) -> None:
        """Keep the caller waiting until it hangs up; a gateway would give up after a minute."""
        clock = self._world.clock
        give_up_s = clock.monotonic_s() + _HOLD_S_MAX
        while clock.monotonic_s() < give_up_s and not self.is_closing:
            if request.transport is None or request.transport.is_closing():
                return
            await clock.sleep(_HOLD_STEP_S)
