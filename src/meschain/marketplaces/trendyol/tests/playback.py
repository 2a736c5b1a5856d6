"""A transport that plays replies and keeps the requests: the one seam these tests plug into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from meschain.channel.contract import Account, Call, ListingContent, MappedAttribute, RemoteKeys
from meschain.channel.http import HttpReply, HttpRequest
from meschain.domain.catalog import Content
from meschain.domain.money import Money
from meschain.marketplaces.trendyol.channel import TrendyolChannel

SAMPLES = Path(__file__).parents[1] / "samples"
NOW = datetime(2025, 11, 12, 9, 0, tzinfo=UTC)
BASE = "https://example.invalid/integration"


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def ok(name: str = "", *, body: bytes = b"") -> HttpReply:
    return HttpReply(200, {}, sample(name) if name else body)


def refusal(status: int, name: str = "", *, body: bytes = b"") -> HttpReply:
    return HttpReply(status, {}, sample(name) if name else body)


class Playback:
    """Gives the replies in order; an exception among them is raised instead."""

    def __init__(self, *replies: HttpReply | Exception) -> None:
        self._replies = list(replies)
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest, call: Call) -> HttpReply:
        del call
        self.requests.append(request)
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    @property
    def paths(self) -> list[str]:
        return [request.url.removeprefix(BASE) for request in self.requests]

    def query(self, index: int = -1) -> dict[str, str]:
        return dict(self.requests[index].query)

    def body(self, index: int = -1) -> object:
        parsed: object = json.loads(self.requests[index].body or b"null", parse_float=Decimal)
        return parsed


class StoppedClock:
    """Stands at ``NOW``."""

    def now(self) -> datetime:
        return NOW

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def channel(
    *replies: HttpReply | Exception, settings: Mapping[str, str] | None = None
) -> tuple[TrendyolChannel, Playback]:
    transport = Playback(*replies)
    account = Account(
        account_id=1,
        merchant_id=1,
        marketplace="trendyol",
        base_urls={"integration": BASE},
        credentials={"seller_id": "2738", "api_key": "key", "api_secret": "secret"},
        settings=settings or {},
        tier="50k",
    )
    return TrendyolChannel(account, transport, StoppedClock()), transport


def lira(amount: str) -> Money:
    return Money(int(Decimal(amount) * 100), "TRY")


def content(
    barcode: str = "8680000000011",
    *,
    content_id: str = "",
    brand_id: str | None = "40",
    vat_percent: str = "10",
    attributes: tuple[MappedAttribute, ...] = (MappedAttribute("338", value_id="2873"),),
    handling_days: int = 1,
) -> ListingContent:
    return ListingContent(
        keys=RemoteKeys(
            barcode=barcode, stock_code="KZK-1042-M", remote_id=content_id, group_id="KZK-1042"
        ),
        content=Content("tr", "Kazak", "<p>Yün</p>"),
        category_id="1238",
        brand_id=brand_id,
        brand_name="Örnek",
        attributes=attributes,
        image_urls=("https://example.com/1.jpg",),
        vat_percent=Decimal(vat_percent),
        desi=Decimal("1.5"),
        quantity=7,
        list_price=lira("249.90"),
        sale_price=lira("222.00"),
        handling_days=handling_days,
        origin_country="TR",
    )
