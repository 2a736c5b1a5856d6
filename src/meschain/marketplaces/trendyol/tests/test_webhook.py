"""Webhooks: registered, believed, read."""

from __future__ import annotations

import json

import pytest

from meschain.channel.contract import (
    Call,
    OrderPage,
    WebhookDelivery,
    WebhookRegistration,
    WebhookSecret,
)
from meschain.channel.outcome import ContractBroken, Done, Refused
from meschain.marketplaces.trendyol.tests.playback import channel, ok, refusal, sample

BASIC = WebhookSecret("basic", username="hub", secret="s3cret")  # noqa: S106 – a test's own
API_KEY = WebhookSecret("api_key", secret="k3y")  # noqa: S106 – a test's own
WEBHOOK_ID = "3f2b6c1e-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (
            BASIC,
            {
                "authenticationType": "BASIC_AUTHENTICATION",
                "username": "hub",
                "password": "s3cret",
            },
        ),
        (API_KEY, {"authenticationType": "API_KEY", "apiKey": "k3y"}),
    ],
)
async def test_registering_subscribes_to_every_status(
    secret: WebhookSecret, shown: dict[str, str]
) -> None:
    trendyol, transport = channel(ok("webhook_receipt"))
    url = "https://hub.example.com/in"
    registered = await trendyol.register_webhook(url, secret, Call())
    assert registered == WebhookRegistration(WEBHOOK_ID, url, is_active=True)
    assert transport.paths == ["/webhook/sellers/2738/webhooks"]
    assert transport.body() == {"url": url, "subscribedStatuses": []} | shown


@pytest.mark.parametrize("host", ["my-Trendyol.example.com", "dolap.example", "LOCALHOST:8080"])
async def test_a_forbidden_address_is_refused_with_the_way_out(host: str) -> None:
    trendyol, transport = channel()
    refused = await trendyol.register_webhook(f"https://{host}/in", BASIC, Call())
    assert isinstance(refused, Refused)
    assert refused.advice == "advice.trendyol.webhook_url"
    assert not transport.requests


async def test_a_passive_webhook_is_seen_and_activated() -> None:
    trendyol, transport = channel(ok("webhooks"), ok(body=b"200 OK"))
    webhooks = await trendyol.list_webhooks(Call())
    assert isinstance(webhooks, list)
    assert [seen.is_active for seen in webhooks] == [True, False]
    assert await trendyol.activate_webhook(webhooks[1].webhook_id, Call()) == Done()
    assert transport.requests[-1].method == "PUT"
    assert transport.paths[-1].endswith("/webhooks/3f2b6c1e-0000-4000-8000-000000000002/activate")


async def test_deleting_twice_is_deleting_once() -> None:
    trendyol, _ = channel(ok(body=b"200 OK"), refusal(404, body=b"not found"))
    assert await trendyol.delete_webhook(WEBHOOK_ID, Call()) == Done()
    assert await trendyol.delete_webhook(WEBHOOK_ID, Call()) == Done()


@pytest.mark.parametrize(
    ("headers", "secret", "is_authentic"),
    [
        ({"authorization": "Basic aHViOnMzY3JldA=="}, BASIC, True),
        ({"authorization": "basic aHViOnMzY3JldA=="}, BASIC, True),
        ({"authorization": "Basic aHViOndyb25n"}, BASIC, False),
        ({"authorization": "Bearer aHViOnMzY3JldA=="}, BASIC, False),
        ({"authorization": "Basic \udcff"}, BASIC, False),
        ({}, BASIC, False),
        ({"x-api-key": "k3y"}, API_KEY, True),
        ({"x-api-key": "other"}, API_KEY, False),
        ({"authorization": "Basic aHViOnMzY3JldA=="}, API_KEY, False),
        ({"x-api-key": ""}, WebhookSecret("api_key"), False),
    ],
)
def test_a_delivery_is_believed_only_with_the_registered_secret(
    headers: dict[str, str], secret: WebhookSecret, *, is_authentic: bool
) -> None:
    trendyol, _ = channel()
    assert trendyol.verify_webhook(WebhookDelivery(headers, b""), secret) is is_authentic


def test_a_delivery_speaks_of_whole_packages_but_not_of_whole_orders() -> None:
    trendyol, _ = channel()
    page = trendyol.parse_webhook(WebhookDelivery({}, sample("packages")))
    assert isinstance(page, OrderPage)
    (order,) = page.orders
    assert order.external_id == "10654411111"
    assert not order.is_whole


def test_a_row_that_cannot_be_read_is_kept_beside_those_that_can() -> None:
    delivery = json.loads(sample("packages"))
    delivery["content"].insert(0, {"orderNumber": "1"})
    trendyol, _ = channel()
    page = trendyol.parse_webhook(WebhookDelivery({}, json.dumps(delivery).encode()))
    assert isinstance(page, OrderPage)
    assert len(page.orders) == 1
    assert page.broken == (b'{"orderNumber": "1"}',)


def test_a_delivery_of_something_else_is_broken() -> None:
    trendyol, _ = channel()
    assert isinstance(trendyol.parse_webhook(WebhookDelivery({}, b"[]")), ContractBroken)
