"""A shop on both façades whose packages are worked on; other tests here bring their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from msgspec.structs import replace as replaced

from meschain import registry
from meschain.channel.contract import Call
from meschain.channel.http import HttpReply, HttpRequest
from meschain.channel.transport import HttpTransport
from meschain.registry import Marketplace, marketplaces
from meschain.sync import package_lane
from meschain.testing.trade import Trade, hasty, trading


@pytest.fixture
def markets(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Marketplace]:
    """Both marketplaces, where orders are pulled only when they are asked for."""
    quick: dict[str, Marketplace] = {}
    for name, market in marketplaces().items():
        manifest = hasty(market.manifest)
        orders = replaced(manifest.orders, poll_interval_s=600, poll_interval_s_min=600)
        manifest = replaced(manifest, orders=orders)
        quick[name] = replace(market, manifest=manifest)
        module = import_module(f"meschain.marketplaces.{name}.channel")
        if hasattr(module, "MANIFEST"):
            monkeypatch.setattr(module, "MANIFEST", manifest)
        else:
            monkeypatch.setattr(module, "_manifest", lambda manifest=manifest: manifest)
    monkeypatch.setattr(registry, "marketplaces", lambda: quick)
    monkeypatch.setattr(package_lane, "FIRST_LOOK_S", 0.3)
    return quick


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
