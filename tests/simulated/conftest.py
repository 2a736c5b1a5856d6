"""A shop on both façades whose packages are worked on; other tests here bring their own markets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from meschain.channel.contract import Call
from meschain.channel.http import HttpReply, HttpRequest
from meschain.channel.transport import HttpTransport
from meschain.registry import Marketplace
from meschain.sync import package_lane
from meschain.testing.trade import Trade, trading
from tests.simulated.markets import hastened


@pytest.fixture
def markets(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Marketplace]:
    """Both marketplaces, where orders are pulled only when they are asked for."""
    monkeypatch.setattr(package_lane, "FIRST_LOOK_S", 0.3)
    return hastened(monkeypatch, orders={"poll_interval_s": 600, "poll_interval_s_min": 600})


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests that the hub makes, by operation; all of them really go out."""
    made: Counter[str] = Counter()
    send = HttpTransport.send

    async def counted(self: HttpTransport, request: HttpRequest, call: Call) -> HttpReply:
        made[request.operation] += 1
        return await send(self, request, call)

    monkeypatch.setattr(HttpTransport, "send", counted)
    return made


@pytest.fixture
async def trade(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> AsyncIterator[Trade]:
    async with trading(database_url, tmp_path, markets=markets) as opened:
        yield opened
