"""A transport that plays prepared replies and remembers what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meschain.channel.clock import SystemClock
from meschain.channel.contract import Account, Call, Channel
from meschain.channel.http import HttpReply, HttpRequest, TransportLost
from meschain.marketplaces.n11.channel import connect

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLES = Path(__file__).parent.parent / "samples"
CALL = Call()


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def json_reply(body: bytes | str, status: int = 200) -> HttpReply:
    content = body.encode() if isinstance(body, str) else body
    return HttpReply(status, {"content-type": "application/json"}, content)


class Playback:
    """Replies in order; the last one repeats. Every request must be one the manifest knows."""

    def __init__(self, *replies: HttpReply | TransportLost) -> None:
        self.replies = list(replies)
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest, call: Call) -> HttpReply:
        del call
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, TransportLost):
            raise reply
        return reply

    @property
    def bodies(self) -> list[dict[str, object]]:
        return [
            msgspec.json.decode(r.body, type=dict[str, object]) for r in self.requests if r.body
        ]

    @property
    def queries(self) -> list[dict[str, str]]:
        return [dict(request.query) for request in self.requests]


def channel_on(playback: Playback, settings: Mapping[str, str] | None = None) -> Channel:
    account = Account(
        account_id=1,
        merchant_id=1,
        marketplace="n11",
        base_urls={"api": "https://n11.invalid"},
        credentials={"app_key": "the-key", "app_secret": "the-secret"},
        settings={"shipment_template": "Standart"} if settings is None else settings,
    )
    return connect(account, playback, SystemClock())
