"""Register, list and delete the webhooks of an account."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.channel.contract import WebhookRegistration, WebhookSecret
from meschain.channel.outcome import Done, Problem, Refused, Unknown
from meschain.sync.webhook import MISSING_ALERT, PENDING, SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from meschain.channel.clock import Clock
    from meschain.channel.contract import Call, Channel
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

HOOKS: Final = "/hooks/"
_TOKEN_BYTES: Final = 24  # 192 random bits: nobody finds a path by trying


@dataclass(frozen=True, slots=True)
class RegisteredWebhook:
    """A webhook as our table has it. ``url`` holds the unguessable path: for its owner only."""

    webhook_id: str  # "" until the marketplace has named it
    url: str
    is_active: bool
    created_at: datetime


class AccountWebhooks:
    """The webhooks of one account: our rows beside the marketplace's list."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        clock: Clock,
        channel: Channel,
        *,
        merchant_id: int,
        account_id: int,
    ) -> None:
        """``channel`` speaks for that very account."""
        self._database = database
        self._keys = keys
        self._clock = clock
        self._channel = channel
        self._merchant_id = merchant_id
        self._key: dict[str, object] = {"merchant": merchant_id, "account": account_id}

    async def registered(self) -> Sequence[RegisteredWebhook]:
        """Ours, oldest first."""
        async with self._database.merchant(self._merchant_id) as unit:
            rows = await unit.rows("webhook.of_account", self._key)
        return [
            RegisteredWebhook(
                "" if webhook_id.startswith(PENDING) else webhook_id, url, is_active, created_at
            )
            for webhook_id, url, _, is_active, created_at in rows
        ]

    async def register(self, base_url: str, call: Call) -> WebhookRegistration | Problem:
        """Make the marketplace tell us of orders at ``base_url``; repeated, it changes nothing.

        Ours under another base URL are deleted: the hub has moved. A marketplace without webhooks
        answers ``Refused("lacking")``, and its advice says what happens instead.
        """
        manifest = self._channel.manifest
        if not manifest.orders.webhook:
            return Refused("lacking", "", manifest.lacks.get("register_webhook", ""))
        listed = await self._channel.list_webhooks(call)
        if isinstance(listed, Problem):
            return listed
        theirs = {each.url: each for each in listed}
        begins = base_url.rstrip("/") + HOOKS
        for ours in await self.registered():
            known = theirs.get(ours.url)
            if known is None:
                continue  # registered this moment, or lost: the scheduled check decides
            if ours.url.startswith(begins):
                return await self._keep(known, call)
            await self.delete(ours.url, known.webhook_id, call)
            del theirs[ours.url]
        if manifest.orders.webhook_max and len(theirs) >= manifest.orders.webhook_max:
            return Refused("webhook_max", str(manifest.orders.webhook_max), "advice.webhook.max")
        return await self._register(begins, call)

    async def _keep(self, known: WebhookRegistration, call: Call) -> WebhookRegistration | Problem:
        if not known.is_active:
            outcome = await self._channel.activate_webhook(known.webhook_id, call)
            if isinstance(outcome, Problem):
                return outcome
        registration = WebhookRegistration(known.webhook_id, known.url, is_active=True)
        await self._confirm(registration)
        return registration

    async def _register(self, begins: str, call: Call) -> WebhookRegistration | Problem:
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        url = begins + token
        secret = WebhookSecret("basic", "meschain", secrets.token_urlsafe(_TOKEN_BYTES))
        key_number = await self._keys.current(self._merchant_id)
        sealed = self._keys.vault.seal(
            self._merchant_id, key_number, SECRET, msgspec.json.encode(secret)
        )
        async with self._database.merchant(self._merchant_id) as unit:
            await unit.run(
                "webhook.intend",
                self._key
                | {
                    "webhook": PENDING + token,
                    "url": url,
                    "path_token": token,
                    "sealed": sealed,
                    "key_number": key_number,
                    "now": self._clock.now(),
                },
            )
        answer = await self._channel.register_webhook(url, secret, call)
        if isinstance(answer, Unknown):
            # Not repeated before it is looked for: the URL is its natural key.
            listed = await self._channel.list_webhooks(call)
            if not isinstance(listed, Problem):
                answer = next((each for each in listed if each.url == url), answer)
        if isinstance(answer, WebhookRegistration):
            await self._confirm(WebhookRegistration(answer.webhook_id, url, answer.is_active))
        elif not isinstance(answer, Unknown):
            await self._forget(url)
        return answer

    async def delete(self, url: str, webhook_id: str, call: Call) -> Done | Problem:
        """Delete it there, then here. One that the marketplace no longer knows is gone as well."""
        outcome = await self._channel.delete_webhook(webhook_id, call)
        if isinstance(outcome, Problem):
            listed = await self._channel.list_webhooks(call)
            if isinstance(listed, Problem) or any(each.url == url for each in listed):
                return outcome
        await self._forget(url)
        return Done()

    async def _confirm(self, registration: WebhookRegistration) -> None:
        async with self._database.merchant(self._merchant_id) as unit:
            await unit.run(
                "webhook.confirm",
                self._key
                | {
                    "url": registration.url,
                    "webhook": registration.webhook_id,
                    "is_active": registration.is_active,
                },
            )
            await unit.run(
                "webhook.resolve_alerts",
                self._key | {"kind": MISSING_ALERT, "now_us": microseconds(self._clock.now())},
            )

    async def _forget(self, url: str) -> None:
        async with self._database.merchant(self._merchant_id) as unit:
            await unit.run("webhook.forget", self._key | {"url": url})
