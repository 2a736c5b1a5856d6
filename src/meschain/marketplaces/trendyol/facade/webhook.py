"""Webhooks: their management, and their delivery with retries (fact sheet 12)."""

from __future__ import annotations

import asyncio
import base64
import random
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import hdrs, web

from meschain.marketplaces.trendyol.facade.edge import MARKETPLACE
from meschain.marketplaces.trendyol.facade.envelope import Refused, encode, json_reply, text_reply
from meschain.marketplaces.trendyol.facade.gate import Call, Request
from meschain.marketplaces.trendyol.facade.package import GMT3_MS, STATUS, Packages
from meschain.marketplaces.trendyol.facade.seller import Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.timetable import Timetable
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import Parcel, ParcelState, World

_WEBHOOKS_MAX: Final = 15  # passive ones count
_RETRY_S: Final = 5 * 60.0
_FAILURES_MAX: Final = 13
_ANSWER_S_MAX: Final = 10.0  # not documented: how long an answer is waited for
_LATE_S: Final = (5.0, 60.0)
_REORDER_S: Final = (1.0, 3.0)  # long enough for the next event to overtake
_FORBIDDEN_WORDS: Final = ("trendyol", "dolap", "localhost")
_STATUS: Final = {
    **{state: status.upper() for state, status in STATUS.items()},
    ParcelState.AT_COLLECTION_POINT: "AT_COLLECTION_POINT",
}
_STATUSES: Final = frozenset(_STATUS.values()) | {"VERIFIED"}
_OK: Final = "200 OK"


class WebhookBody(Request):
    url: str
    authentication_type: Literal["BASIC_AUTHENTICATION", "API_KEY"]
    username: str | None = None
    password: str | None = None
    api_key: str | None = None
    subscribed_statuses: list[str] | None = None


_DECODER: Final = msgspec.json.Decoder(WebhookBody)


@dataclass(slots=True)
class Webhook:
    """One registered webhook."""

    webhook_id: str
    body: WebhookBody
    created_at: datetime
    modified_at: datetime | None = None
    is_active: bool = True
    failures: int = 0  # in a row, whichever event they belong to
    kept: list[bytes] = field(default_factory=list)

    def wants(self, status: str) -> bool:
        """Empty or absent on create means all."""
        return not self.body.subscribed_statuses or status in self.body.subscribed_statuses

    def headers(self) -> dict[str, str]:
        """The authentication the seller asked for; there is no signature."""
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: "application/json"}
        if self.body.authentication_type == "API_KEY":
            headers["x-api-key"] = self.body.api_key or ""
        else:
            pair = f"{self.body.username}:{self.body.password}".encode()
            headers[hdrs.AUTHORIZATION] = "Basic " + base64.b64encode(pair).decode()
        return headers


class Webhooks:
    """Six management calls, and the sender."""

    def __init__(
        self, world: World, settings: Settings, timetable: Timetable, packages: Packages
    ) -> None:
        self._world = world
        self._settings = settings
        self._timetable = timetable
        self._packages = packages
        self._random = random.Random(f"{MARKETPLACE}:webhooks:{world.seed}")  # noqa: S311
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.delivered = 0
        self.failed = 0

    # — management —
    async def create(self, call: Call) -> web.Response:
        body = await self._body(call)
        if len(call.seller.webhooks) >= _WEBHOOKS_MAX:
            raise Refused(400, "webhook.limit", f"At most {_WEBHOOKS_MAX} webhooks")
        webhook_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        call.seller.webhooks[webhook_id] = Webhook(webhook_id, body, self._world.clock.now())
        return json_reply({"id": webhook_id})

    async def listed(self, call: Call) -> web.Response:
        return json_reply([_row(webhook) for webhook in call.seller.webhooks.values()])

    async def update(self, call: Call) -> web.Response:
        webhook = _find(call)
        webhook.body = await self._body(call)
        return self._changed(webhook)

    async def delete(self, call: Call) -> web.Response:
        del call.seller.webhooks[_find(call).webhook_id]
        return text_reply(_OK)

    async def activate(self, call: Call) -> web.Response:
        webhook = _find(call)
        webhook.is_active, webhook.failures = True, 0
        kept, webhook.kept = webhook.kept, []
        for body in kept:
            self._send_later(call.seller, webhook, body, 0, 0.0)
        return self._changed(webhook)

    async def deactivate(self, call: Call) -> web.Response:
        webhook = _find(call)
        webhook.is_active = False
        return self._changed(webhook)

    def _changed(self, webhook: Webhook) -> web.Response:
        webhook.modified_at = self._world.clock.now()
        return text_reply(_OK)

    async def _body(self, call: Call) -> WebhookBody:
        body = await call.body(_DECODER)
        parts = urlsplit(body.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Refused(400, "invalid.url", "url must be a web address")
        loopback = self._settings.webhook_url_words == "loopback_allowed"
        for word in _FORBIDDEN_WORDS:
            if word in body.url.lower() and not (loopback and word == "localhost"):
                raise Refused(400, "invalid.url", f"url must not contain {word}")
        needed = (
            (body.username, body.password)
            if body.authentication_type == "BASIC_AUTHENTICATION"
            else (body.api_key,)
        )
        if not all(needed):
            raise Refused(400, "invalid.authentication", "credentials of the chosen type missing")
        unknown = set(body.subscribed_statuses or ()) - _STATUSES
        if unknown:
            raise Refused(400, "invalid.subscribedStatuses", f"unknown: {min(unknown)}")
        return body

    # — delivery —
    def start(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S_MAX),
            connector=aiohttp.TCPConnector(limit=100),
        )

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def announce(self, seller: Seller, parcel: Parcel) -> None:
        """A package has a new status: tell every webhook that wants it, as it is now."""
        status = _STATUS[parcel.state]
        wanting = [webhook for webhook in seller.webhooks.values() if webhook.wants(status)]
        if not wanting:
            return
        body = encode(
            {
                "totalElements": 1,
                "totalPages": 1,
                "page": 0,
                "size": 1,
                "content": [self._packages.document(seller, parcel)],
            }
        )
        faults = self._world.faults
        for webhook in wanting:
            if not webhook.is_active:
                self._miss(webhook, body)
                continue
            if faults.happens(Fault.WEBHOOK_LOST, MARKETPLACE):
                continue
            delay_s = self._settings.webhook_delay_ms / 1000
            if faults.happens(Fault.WEBHOOK_LATE, MARKETPLACE):
                delay_s += faults.uniform(*_LATE_S)
            if faults.happens(Fault.WEBHOOK_REORDERED, MARKETPLACE):
                delay_s += faults.uniform(*_REORDER_S)
            self._send_later(seller, webhook, body, 0, delay_s)
            if faults.happens(Fault.WEBHOOK_DOUBLED, MARKETPLACE):
                self._send_later(seller, webhook, body, 0, delay_s)

    def _send_later(
        self, seller: Seller, webhook: Webhook, body: bytes, failures: int, delay_s: float
    ) -> None:
        self._timetable.after(delay_s, partial(self._begin, seller, webhook, body, failures))

    def _begin(self, seller: Seller, webhook: Webhook, body: bytes, failures: int) -> None:
        task = asyncio.create_task(self._send(seller, webhook, body, failures))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, seller: Seller, webhook: Webhook, body: bytes, failures: int) -> None:
        """One attempt. A failed one is repeated in five minutes; the thirteenth ends it all."""
        if seller.webhooks.get(webhook.webhook_id) is not webhook:
            return
        if not webhook.is_active:
            self._miss(webhook, body)
            return
        if await self._is_accepted(webhook, body):
            self.delivered += 1
            webhook.failures = 0
            return
        self.failed += 1
        failures += 1
        webhook.failures += 1
        per_delivery = self._settings.webhook_failures == "delivery"
        if (failures if per_delivery else webhook.failures) >= _FAILURES_MAX:
            webhook.is_active = False
            self._miss(webhook, body)
            return
        self._send_later(seller, webhook, body, failures, _RETRY_S)

    def _miss(self, webhook: Webhook, body: bytes) -> None:
        """What happens while passive is presumed lost; a setting keeps it for activation."""
        if self._settings.passive_events == "kept":
            webhook.kept.append(body)

    async def _is_accepted(self, webhook: Webhook, body: bytes) -> bool:
        assert self._session is not None
        try:
            async with self._session.post(
                webhook.body.url, data=body, headers=webhook.headers(), allow_redirects=False
            ) as reply:
                return 200 <= reply.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False


def _find(call: Call) -> Webhook:
    webhook = call.seller.webhooks.get(call.request.match_info["webhookId"])
    if webhook is None:
        raise Refused(404, "webhook.not.found", "Webhook not found")
    return webhook


def _row(webhook: Webhook) -> dict[str, object]:
    """Secrets are never returned; the two dates are epochs shifted by three hours."""
    modified_at = webhook.modified_at
    return {
        "id": webhook.webhook_id,
        "createdDate": epoch_ms(webhook.created_at) + GMT3_MS,
        "lastModifiedDate": None if modified_at is None else epoch_ms(modified_at) + GMT3_MS,
        "url": webhook.body.url,
        "username": webhook.body.username,
        "authenticationType": webhook.body.authentication_type,
        "status": "ACTIVE" if webhook.is_active else "PASSIVE",
        "subscribedStatuses": webhook.body.subscribed_statuses or None,
        "countryCodes": None,
        "storeFrontCode": "TR",
    }
