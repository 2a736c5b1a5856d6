"""Webhooks: registered, believed only with their secret, read like a page, kept alive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from meschain.channel.contract import (
    OrderPage,
    WebhookDelivery,
    WebhookRegistration,
    WebhookSecret,
)
from meschain.channel.outcome import Done, Problem, Refused
from meschain.sandbox.faults import Fault
from meschain.testing.conformance.stage import ConformancePart, Stage

SECRETS: Final = (
    WebhookSecret("basic", "meschain", "dogru-parola-1"),
    WebhookSecret("api_key", "", "anahtar-987"),
)


class WebhookConformance(ConformancePart):
    """Where there are none, all of it says so."""

    async def test_webhooks_are_offered_as_the_manifest_says(self) -> None:
        async with self.open() as stage, receiver() as inbox:
            registered = await stage.channel.register_webhook(inbox.url, SECRETS[0], stage.call)
            listed = await stage.channel.list_webhooks(stage.call)
            parsed = stage.channel.parse_webhook(WebhookDelivery({}, b"{}"))
            if stage.manifest.orders.webhook:
                assert isinstance(registered, WebhookRegistration)
                assert isinstance(listed, list)
                return
            for answer in (
                registered,
                listed,
                parsed,
                await stage.channel.delete_webhook("1", stage.call),
                await stage.channel.activate_webhook("1", stage.call),
            ):
                assert isinstance(answer, Refused)
                assert answer.code == "lacking"
                assert answer.advice
            assert not stage.channel.verify_webhook(WebhookDelivery({}, b"{}"), SECRETS[0])

    async def test_a_delivery_is_believed_with_its_secret_and_says_what_a_pull_says(self) -> None:
        for secret in SECRETS:
            async with self.open() as stage, receiver() as inbox:
                if not stage.manifest.orders.webhook:
                    return
                await stage.channel.register_webhook(inbox.url, secret, stage.call)
                order = stage.place({stage.stock(1)[0]: 2})
                await stage.until(inbox.has_any)
                delivery = inbox.deliveries[0]
                assert stage.channel.verify_webhook(delivery, secret)
                wrong = WebhookSecret(secret.scheme, secret.username, secret.secret + "x")
                assert not stage.channel.verify_webhook(delivery, wrong)
                assert not stage.channel.verify_webhook(WebhookDelivery({}, b""), secret)
                empty = WebhookSecret(secret.scheme, secret.username, "")
                assert not stage.channel.verify_webhook(WebhookDelivery({}, b""), empty)
                page = stage.channel.parse_webhook(delivery)
                assert isinstance(page, OrderPage)
                pulled = (await stage.pulled())[order.number]
                assert [o.packages for o in page.orders] == [pulled.packages]

    async def test_what_is_not_theirs_to_read_is_a_problem_and_never_raises(self) -> None:
        async with self.open() as stage:
            for body in (b"", b"[]", b"{", b'{"content":null}', b"\xff\xfe", b"<html>"):
                page = stage.channel.parse_webhook(WebhookDelivery({}, body))
                assert isinstance(page, Problem), body

    async def test_a_failed_delivery_is_repeated_until_it_is_taken(self) -> None:
        async with self.open(speed=1_000) as stage, receiver() as inbox:
            if not stage.manifest.orders.webhook:
                return
            inbox.status = 500
            await stage.channel.register_webhook(inbox.url, SECRETS[0], stage.call)
            stage.place({stage.stock(1)[0]: 1})
            await stage.until(lambda: len(inbox.deliveries) >= 2)
            inbox.status = 200
            await stage.until(lambda: inbox.taken == 1)
            assert len({delivery.body for delivery in inbox.deliveries}) == 1

    async def test_a_webhook_that_went_passive_is_seen_and_woken(self) -> None:
        async with self.open(speed=20_000) as stage, receiver() as inbox:
            if not stage.manifest.orders.webhook:
                return
            inbox.status = 500
            registered = await stage.channel.register_webhook(inbox.url, SECRETS[0], stage.call)
            assert isinstance(registered, WebhookRegistration)
            key = stage.stock(1)[0]
            stage.place({key: 1})
            await stage.until(lambda: len(inbox.deliveries) >= 13)
            passive = await registration(stage)
            assert not passive.is_active
            assert await stage.channel.activate_webhook(passive.webhook_id, stage.call) == Done()
            assert (await registration(stage)).is_active
            inbox.status = 200
            stage.place({key: 1})
            await stage.until(lambda: inbox.taken > 0)

    async def test_a_deleted_webhook_is_gone_and_deleting_it_again_is_no_error(self) -> None:
        async with self.open() as stage, receiver() as inbox:
            if not stage.manifest.orders.webhook:
                return
            made = await stage.channel.register_webhook(inbox.url, SECRETS[1], stage.call)
            assert isinstance(made, WebhookRegistration)
            assert await stage.channel.delete_webhook(made.webhook_id, stage.call) == Done()
            assert await stage.channel.list_webhooks(stage.call) == []
            assert await stage.channel.delete_webhook(made.webhook_id, stage.call) == Done()

    async def test_only_so_many_webhooks_are_taken(self) -> None:
        async with self.open(speed=200) as stage, receiver() as inbox:
            if not stage.manifest.orders.webhook:
                return
            for _ in range(stage.manifest.orders.webhook_max):
                made = await stage.channel.register_webhook(inbox.url, SECRETS[0], stage.call)
                assert isinstance(made, WebhookRegistration)
            refused = await stage.channel.register_webhook(inbox.url, SECRETS[0], stage.call)
            assert isinstance(refused, Refused)

    async def test_a_lost_delivery_is_found_by_the_pull_and_a_doubled_one_says_the_same(
        self,
    ) -> None:
        async with self.open() as stage, receiver() as inbox:
            if not stage.manifest.orders.webhook:
                return
            await stage.channel.register_webhook(inbox.url, SECRETS[0], stage.call)
            key = stage.stock(1)[0]
            stage.world.faults.force(Fault.WEBHOOK_LOST, count=1)
            lost = stage.place({key: 1})
            stage.world.faults.force(Fault.WEBHOOK_DOUBLED, count=1)
            stage.place({key: 1})
            await stage.until(lambda: len(inbox.deliveries) == 2)
            assert len({delivery.body for delivery in inbox.deliveries}) == 1
            assert lost.number in await stage.pulled()


@dataclass(slots=True)
class Inbox:
    """A receiver of deliveries that answers as it is told."""

    url: str = ""
    status: int = 200
    taken: int = 0
    deliveries: list[WebhookDelivery] = field(default_factory=list)

    def has_any(self) -> bool:
        return bool(self.deliveries)

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.deliveries.append(WebhookDelivery(headers, await request.read()))
        self.taken += self.status == 200
        return web.Response(status=self.status)


@asynccontextmanager
async def receiver() -> AsyncIterator[Inbox]:
    """A server on loopback under a name that marketplaces accept."""
    inbox = Inbox()
    application = web.Application()
    application.router.add_post("/hook", inbox.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    inbox.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield inbox
    finally:
        await runner.cleanup()


async def registration(stage: Stage) -> WebhookRegistration:
    """The one webhook there is."""
    listed = await stage.channel.list_webhooks(stage.call)
    assert not isinstance(listed, Problem)
    assert len(listed) == 1
    return listed[0]
