"""Registering webhooks, and believing a delivery."""

from __future__ import annotations

import base64
import hmac
from typing import Final

from meschain.channel.contract import WebhookDelivery, WebhookRegistration, WebhookSecret
from meschain.marketplaces.trendyol import wire

# Addresses with these words are refused. Source: sheet 12.
_FORBIDDEN_IN_URL: Final = ("trendyol", "dolap", "localhost")


def basic(username: str, password: str) -> str:
    """The credentials of an ``Authorization: Basic`` header."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def is_url_allowed(url: str) -> bool:
    return not any(word in url.lower() for word in _FORBIDDEN_IN_URL)


def webhook_order(url: str, secret: WebhookSecret) -> wire.WebhookOrder:
    """All statuses: an empty list subscribes to every one, also to those yet to come."""
    if secret.scheme == "api_key":
        return wire.WebhookOrder(
            url=url,
            authentication_type="API_KEY",
            subscribed_statuses=[],
            api_key=secret.secret,
        )
    assert secret.scheme == "basic", "the contract knows two schemes"
    return wire.WebhookOrder(
        url=url,
        authentication_type="BASIC_AUTHENTICATION",
        subscribed_statuses=[],
        username=secret.username,
        password=secret.secret,
    )


def registration(webhook: wire.Webhook) -> WebhookRegistration:
    return WebhookRegistration(webhook.id, webhook.url, is_active=webhook.status == "ACTIVE")


def is_authentic(delivery: WebhookDelivery, secret: WebhookSecret) -> bool:
    """Whether the delivery shows the registered secret. It is not signed: that is all there is."""
    if not secret.secret:
        return False
    if secret.scheme == "api_key":
        shown, expected = delivery.headers.get("x-api-key", ""), secret.secret
    else:
        scheme, _, shown = delivery.headers.get("authorization", "").partition(" ")
        shown = shown.strip() if scheme.lower() == "basic" else ""
        expected = basic(secret.username, secret.secret)
    return hmac.compare_digest(
        shown.encode(errors="surrogateescape"), expected.encode(errors="surrogateescape")
    )
