"""Replies, and the error envelopes of each family of services (fact sheet 1.4)."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Final

import msgspec
from aiohttp import web

PREFIX: Final = "/integration"
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_LABEL_TYPES: Final = {
    401: (1002, "UnauthorizedException"),
    404: (1001, "NotFoundException"),
}
# The sheet names label codes for 401 and 404 only; what the others carry is a guess.
_LABEL_OTHER: Final = (1000, "BadRequestException")


class Family(Enum):
    """Which envelope a service answers in."""

    PRODUCT = "product"
    ORDER = "order"  # webhooks too: the sheet gives them no envelope of their own
    LABEL = "label"


class Refused(Exception):
    """The protocol says no. ``key`` is the discriminator string of the product envelope."""

    def __init__(self, status: int, key: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.key = key
        self.message = message


class Unauthenticated(Exception):
    """The gateway does not know the caller: its own envelope, whatever the service."""


def family_of(path: str) -> Family:
    """The envelope of the service behind ``path``."""
    if "/common-label/" in path:
        return Family.LABEL
    if path.startswith((PREFIX + "/order/", PREFIX + "/webhook/")):
        return Family.ORDER
    return Family.PRODUCT


def encode(value: object) -> bytes:
    """JSON with decimals as numbers, as the marketplace writes money."""
    return _ENCODER.encode(value)


def json_reply(value: object, *, status: int = 200) -> web.Response:
    return json_bytes(_ENCODER.encode(value), status=status)


def json_bytes(body: bytes, *, status: int = 200) -> web.Response:
    """A JSON reply whose body stands ready."""
    return web.Response(body=body, status=status, content_type="application/json")


def text_reply(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/plain")


def error_reply(family: Family, status: int, key: str, message: str) -> web.Response:
    """The same refusal in the envelope of its family."""
    match family:
        case Family.PRODUCT:
            error = {"key": key, "message": message, "errorCode": str(status)}
            return json_reply({"errors": [error]}, status=status)
        case Family.ORDER:
            return json_reply({"error": key, "message": message}, status=status)
        case Family.LABEL:
            code, kind = _LABEL_TYPES.get(status, _LABEL_OTHER)
            error_item = {"code": code, "type": kind, "title": message}
            return json_reply({"error": {"status": status, "errors": [error_item]}}, status=status)


def unauthenticated_reply() -> web.Response:
    """Wrong credentials: the gateway's envelope, 401 (fact sheet 1.2)."""
    return json_reply({"exception": "ClientApiAuthenticationException"}, status=401)


def major(minor: int) -> Decimal:
    """Whole minor units as the amount the marketplace writes."""
    return Decimal(minor).scaleb(-2)
