"""Suppliers' feeds: fetched with care, taken in where they differ, held back when in doubt."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web

from meschain.app.commands.import_products import ImportBusy
from meschain.app.commands.import_products.walk import working_alone
from meschain.app.feeds import (
    FeedLook,
    FeedSourceWrong,
    Hold,
    LookState,
    add_feed,
    keep_feeds,
    look_at_feed,
    read_feeds,
)
from meschain.app.feeds.feed import shown
from meschain.channel import fetch as fetch_module
from meschain.channel.clock import SystemClock
from meschain.channel.fetch import FetchFailed, FetchReason, Validators, fetch, is_public
from meschain.store.keys import DataKeys
from meschain.store.unit_of_work import Database
from meschain.store.vault import Vault
from meschain.testing.shop import Shop
from tests.store.commands import invoke

CLOCK = SystemClock()
VAULT = Vault(bytes(32))
MAP = b"""
[columns]
sku = "kod"
title = "ad"
cost = "alis"
quantity = "adet"
[fixed]
vat_percent = 20
[price.sale_price]
of = "alis"
times = 1.35
ending = ",90"
"""


def sheet(costs: dict[str, str], units: int = 5) -> str:
    rows = [f"{sku};{sku} Kazak;{cost};{units}" for sku, cost in costs.items()]
    return "\n".join(["kod;ad;alis;adet", *rows, ""])


class Supplier:
    """A server of this machine that serves one file, and says how often it was asked."""

    def __init__(self) -> None:
        self.text = ""
        self.status = 200
        self.location = ""
        self.asked: list[tuple[int, str | None]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        etag = f'"{hash(self.text)}"'
        known = request.headers.get("If-None-Match")
        status = 304 if known == etag and self.status == 200 else self.status
        self.asked.append((status, known))
        if self.location:
            return web.Response(status=302, headers={"Location": self.location})
        if status != 200:
            return web.Response(status=status)
        return web.Response(text=self.text, headers={"ETag": etag})


@pytest.fixture
async def supplier() -> AsyncIterator[Supplier]:
    supplier = Supplier()
    app = web.Application()
    app.router.add_get("/{tail:.*}", supplier.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    supplier.url = f"http://127.0.0.1:{runner.addresses[0][1]}/feed.csv?key=secret"
    yield supplier
    await runner.cleanup()


async def add(
    database: Database, shop: Shop, source: str, *, allows_private: bool = True
) -> Callable[..., Any]:
    keys = DataKeys(database, VAULT, CLOCK)
    await add_feed(
        database,
        keys,
        CLOCK,
        shop.merchant_id,
        name="akdeniz",
        source=source,
        column_map=MAP,
        every_s=3_600,
        allows_private=allows_private,
        actor="user:ayse",
    )

    async def look(**options: bool) -> FeedLook:
        return await look_at_feed(
            database, keys, CLOCK, shop.merchant_id, "akdeniz", actor="feed:akdeniz", **options
        )

    return look


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        await asyncio.sleep(0.025)
    pytest.fail("it did not come to be")


def prices(shop: Shop) -> dict[str, int]:
    rows = shop.connection.execute("SELECT sku, sale_price_minor FROM variant ORDER BY sku")
    return {str(sku): int(str(minor)) for sku, minor in rows.fetchall()}


def alerts(shop: Shop) -> list[tuple[object, ...]]:
    return shop.connection.execute(
        "SELECT kind, params ->> 'feed' FROM alert WHERE resolved_us IS NULL ORDER BY kind"
    ).fetchall()


async def test_only_differences_are_taken_in_and_an_unchanged_feed_is_not_sent_again(
    database: Database, shop: Shop, supplier: Supplier
) -> None:
    supplier.text = sheet({"A": "100,00", "B": "74,00", "C": "50,00"})
    look = await add(database, shop, supplier.url)
    assert (await look(is_plan=True)).state is LookState.PLANNED
    assert prices(shop) == {}
    first = await look()
    assert first.state is LookState.TAKEN
    # Cost × 1.35 up to the next ,90: 135.00 → 135.90, 99.90 → 99.90, 67.50 → 67.90.
    assert prices(shop) == {"A": 13_590, "B": 9_990, "C": 6_790}
    assert (await look()).state is LookState.UNCHANGED
    assert [status for status, _ in supplier.asked] == [200, 200, 304]

    supplier.text = sheet({"A": "100,00", "B": "80,00", "C": "50,00"})
    second = await look(allows_large=True)
    assert second.plan is not None
    assert [each.sku for each in second.plan.updated] == ["B"]
    assert prices(shop)["B"] == 10_890
    (feed,) = await read_feeds(database, shop.merchant_id)
    assert feed.source.endswith("/feed.csv")  # and not the key behind it
    assert (feed.variants, feed.problem) == (3, None)


async def test_a_feed_that_loses_many_rows_or_jumps_in_price_asks_first(
    database: Database, shop: Shop, supplier: Supplier
) -> None:
    costs = {f"S{n:02}": "100,00" for n in range(40)}
    supplier.text = sheet(costs)
    look = await add(database, shop, supplier.url)
    await look()
    before = prices(shop)

    supplier.text = sheet(dict(list(costs.items())[:27]), units=0)
    lost = await look()
    assert (lost.state, lost.hold) == (LookState.HELD, Hold.ROWS)
    assert lost.params == {"before": 40, "after": 27}
    assert alerts(shop) == [("alert.feed.rows", "akdeniz")]

    supplier.text = sheet(costs | {f"S{n:02}": "160,00" for n in range(3)})
    jumped = await look()
    assert (jumped.hold, jumped.params) == (Hold.PRICES, {"count": 3, "total": 40})
    assert alerts(shop) == [("alert.feed.prices", "akdeniz")]
    assert prices(shop) == before
    assert shop.connection.execute(
        "SELECT sum(on_hand_delta)::integer, count(*) FROM stock_movement"
    ).fetchall() == [(200, 40)]

    assert (await look(allows_large=True)).state is LookState.TAKEN
    assert prices(shop)["S00"] == 21_690
    assert alerts(shop) == []


async def test_a_failed_fetch_is_a_problem_that_ends_by_itself_and_changes_nothing(
    database: Database, shop: Shop, supplier: Supplier
) -> None:
    supplier.text = sheet({"A": "100,00"})
    look = await add(database, shop, supplier.url)
    supplier.status = 503
    failed = await look()
    assert (failed.state, failed.hold) == (LookState.FAILED, Hold.FETCH)
    assert prices(shop) == {}
    row = shop.connection.execute("SELECT params ->> 'detail' FROM alert").fetchone()
    assert row == ("Sunucu 503 durum koduyla yanıt verdi.",)
    supplier.status, supplier.text = 200, "<html>giriş</html>"
    assert (await look()).hold is Hold.FILE
    assert alerts(shop) == [("alert.feed.file", "akdeniz")]
    supplier.text = sheet({"A": "100,00"})
    assert (await look()).state is LookState.TAKEN
    assert alerts(shop) == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.9.9", "169.254.169.254", "0.0.0.0"),  # noqa: S104
        *("100.64.0.1", "224.0.0.1", "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"),
        *("64:ff9b::a00:1", "2002:7f00:1::", "::", "255.255.255.255"),
    ],
)
def test_addresses_of_the_own_network_are_known(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_addresses_of_the_open_internet_are_known() -> None:
    assert is_public(ipaddress.ip_address("93.184.216.34"))
    assert is_public(ipaddress.ip_address("2606:4700::1111"))


async def refused(
    address: str,
    tmp_path: Path,
    *,
    allows_private: bool = False,
    bytes_max: int = fetch_module.BYTES_MAX,
    seconds_max: float = 10.0,
) -> FetchReason:
    with pytest.raises(FetchFailed) as failed:
        await fetch(
            address,
            tmp_path / "feed",
            Validators(),
            allows_private=allows_private,
            bytes_max=bytes_max,
            seconds_max=seconds_max,
        )
    return failed.value.reason


async def test_nothing_is_fetched_from_inside(
    supplier: Supplier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by number, nor by a name that leads there, nor by a redirect."""
    url: str = supplier.url
    assert await refused(url, tmp_path) is FetchReason.ADDRESS_PRIVATE
    assert await refused(url.replace("127.0.0.1", "localhost"), tmp_path) is (
        FetchReason.ADDRESS_PRIVATE
    )
    assert await refused("http://[::1]/", tmp_path) is FetchReason.ADDRESS_PRIVATE
    assert await refused("file:///etc/passwd", tmp_path) is FetchReason.ADDRESS_WRONG
    assert not supplier.asked
    # The first address may be spoken to, the one that it sends on to may not.
    monkeypatch.setattr(fetch_module, "is_public", lambda address: str(address) == "127.0.0.1")
    supplier.location = "http://10.0.0.1/metadata"
    assert await refused(url, tmp_path) is FetchReason.ADDRESS_PRIVATE
    supplier.location = url
    assert await refused(url, tmp_path) is FetchReason.REDIRECTED
    assert len(supplier.asked) == 6


async def test_a_name_is_resolved_once(
    supplier: Supplier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name service that answers differently the second time gains nothing."""
    url: str = supplier.url
    asked: list[str] = []
    loop = asyncio.get_running_loop()

    async def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        place = ("127.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)]

    monkeypatch.setattr(loop, "getaddrinfo", resolve, raising=False)
    monkeypatch.setattr(fetch_module, "is_public", lambda _: True)
    supplier.text = "kod"
    assert (
        await fetch(url.replace("127.0.0.1", "feed.example"), tmp_path / "feed", Validators())
        is not None
    )
    assert asked == ["feed.example"]


async def test_what_is_too_large_or_too_slow_is_given_up(
    supplier: Supplier, tmp_path: Path
) -> None:
    url: str = supplier.url
    supplier.text = "x" * 2_000_000
    large = await refused(url, tmp_path, allows_private=True, bytes_max=1 << 20)
    assert large is FetchReason.TOO_LARGE
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        slow = await refused(address, tmp_path, allows_private=True, seconds_max=0.3)
        assert slow is FetchReason.TOO_SLOW


async def test_a_due_feed_is_looked_at_by_one_of_several_hubs(
    database: Database, shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / "feed.csv"
    file.write_text(sheet({"A": "100,00"}), encoding="utf-8")
    await add(database, shop, str(file))
    told = tmp_path / "told"
    script = f"import sys; open({str(told)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))"

    async def names() -> dict[int, str]:
        return {shop.merchant_id: "Kaya"}

    command = (sys.executable, "-c", script)
    hubs = [
        asyncio.create_task(keep_feeds(database, CLOCK, names, command, look_s=0.05))
        for _ in range(3)
    ]
    for _ in range(200):
        await asyncio.sleep(0.05)
        if told.exists() and told.read_text(encoding="utf-8"):
            break
    await asyncio.sleep(0.3)
    for hub in hubs:
        hub.cancel()
    await asyncio.gather(*hubs, return_exceptions=True)
    assert told.read_text(encoding="utf-8") == "--merchant Kaya -- akdeniz\n"


async def test_an_address_is_sealed_and_one_from_before_is_sealed_by_a_look(
    database: Database, shop: Shop, supplier: Supplier
) -> None:
    supplier.text = sheet({"A": "100,00"})
    look = await add(database, shop, supplier.url)

    def kept() -> str:
        rows = shop.connection.execute(
            "SELECT f::text FROM supplier_feed f UNION ALL SELECT a::text FROM audit a"
            " UNION ALL SELECT a::text FROM alert a"
        )
        return str(rows.fetchall())

    assert "secret" not in kept()
    supplier.status = 503
    await look()
    assert "secret" not in kept()
    shop.connection.execute(
        "UPDATE supplier_feed SET source = %s, source_sealed = NULL, key_number = NULL",
        (supplier.url,),
    )
    (feed,) = await read_feeds(database, shop.merchant_id)
    assert "secret" not in feed.source
    supplier.status = 200
    assert (await look()).state is LookState.TAKEN
    assert "secret" not in kept()
    supplier.text = sheet({"A": "110,00"})
    assert (await look()).state is LookState.TAKEN


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://ali:gizli@a.example/f.xml?key=gizli#gizli", "https://a.example/f.xml"),
        ("http://[gizli", "http://[gizli"),
        ("ftp://ali:gizli@a.example/f?gizli", "ftp://a.example/f"),
        ("https://a.example?gizli", "https://a.example"),
        ("/srv/feeds/a?b.csv", "/srv/feeds/a?b.csv"),
    ],
)
def test_what_is_shown_of_a_source_is_no_secret(source: str, said: str) -> None:
    assert shown(source) == said


async def test_a_broken_address_is_refused(database: Database, shop: Shop) -> None:
    for source in ("http://[broken", "https://", "feed.csv"):
        with pytest.raises(FeedSourceWrong):
            await add(database, shop, source)


async def test_a_slow_supplier_holds_up_nobody_and_not_for_ever(
    database: Database, shop: Shop, tmp_path: Path
) -> None:
    names = ["slow", *(f"quick{n}" for n in range(6))]
    shop.connection.execute(
        "INSERT INTO supplier_feed (merchant_id, name, source, column_map, every_s, created_at,"
        " next_due_at) SELECT %s, name, '/x', '', 3600, now(), now() - interval '1 hour' * (9 - n)"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS x (name, n)",
        (shop.merchant_id, names),
    )
    script = (
        "import pathlib, sys, time; name = sys.argv[-1]\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "(folder / name).write_text('begun')\n"
        "time.sleep(600 if name == 'slow' else 0)\n"
    )

    async def merchants() -> dict[int, str]:
        return {shop.merchant_id: "Kaya"}

    command = (sys.executable, "-c", script)
    hub = asyncio.create_task(
        keep_feeds(database, CLOCK, merchants, command, look_s=0.05, look_s_max=60.0)
    )
    await until(lambda: all((tmp_path / name).exists() for name in names))
    hub.cancel()
    await asyncio.gather(hub, return_exceptions=True)

    # One that hangs is given up, and its place is free again.
    for name in names:
        (tmp_path / name).unlink()
    shop.connection.execute("UPDATE supplier_feed SET name = name || '-slow', next_due_at = now()")
    script = script.replace("== 'slow'", "!= ''")
    command = (sys.executable, "-c", script)
    hub = asyncio.create_task(
        keep_feeds(database, CLOCK, merchants, command, look_s=0.05, look_s_max=1.0)
    )
    await until(lambda: all((tmp_path / f"{name}-slow").exists() for name in names))
    hub.cancel()
    await asyncio.gather(hub, return_exceptions=True)


async def test_a_look_waits_for_another_import_where_it_may(
    database: Database, shop: Shop, supplier: Supplier
) -> None:
    supplier.text = sheet({"A": "100,00"})
    look = await add(database, shop, supplier.url)
    async with working_alone(database, shop.merchant_id):
        with pytest.raises(ImportBusy):
            await look()
        waiting = asyncio.create_task(look(waits=True))
        await until(lambda: len(supplier.asked) == 2)
    assert (await waiting).state is LookState.TAKEN


async def test_feeds_are_looked_at_again_when_the_database_is_back(
    database: Database, shop: Shop, tmp_path: Path
) -> None:
    await add(database, shop, str(tmp_path / "feed.csv"))
    told = tmp_path / "told"

    async def names() -> dict[int, str]:
        return {shop.merchant_id: "Kaya"}

    shop.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    command = (sys.executable, "-c", f"open({str(told)!r}, 'w')")
    hub = asyncio.create_task(keep_feeds(database, CLOCK, names, command, look_s=0.05))
    try:
        async with asyncio.timeout(30):
            while not told.exists():
                assert not hub.done(), hub
                await asyncio.sleep(0.05)
    finally:
        hub.cancel()
        await asyncio.gather(hub, return_exceptions=True)


def test_the_commands_of_a_feed(home: Path, database_url: str) -> None:
    file, column_map = home / "feed.csv", home / "map.toml"
    column_map.write_bytes(MAP)
    file.write_text(sheet({"A": "100,00", "B": "10,00"}), encoding="utf-8")

    def run(*words: str, status: int = 0) -> str:
        return invoke(*words, status=status).output

    run("merchant", "add", "Kaya")
    assert "no feed yet" in run("feed", "list")
    options = ("--from", str(file), "--map", str(column_map), "--every", "30min")
    assert "is added" in run("feed", "add", "akdeniz", *options)
    assert "already" in run("feed", "add", "akdeniz", *options, status=1)
    assert "neither" in run("feed", "add", "x", "--from", "feed.csv", *options[2:], status=1)
    assert "no interval" in run("feed", "add", "x", *options[:-1], "1y", status=2)
    assert "Would create 2" in run("feed", "run", "akdeniz", "--plan")
    assert "Created 2" in run("feed", "run", "akdeniz")
    assert "Nothing to do" in run("feed", "run", "akdeniz")
    with psycopg.connect(database_url) as connection:
        taken = connection.execute("SELECT actor, file_name FROM import_run").fetchall()
    assert taken == [("feed:akdeniz", "akdeniz")]

    file.write_text(sheet({"A": "100,00"}), encoding="utf-8")
    held = run("feed", "run", "akdeniz", status=1)
    assert "only 1 of 2 variants left" in held
    assert "--yes-large" in held
    assert "yalnızca 1 tanesi kaldı" in run("feed", "list", "--language", "tr")
    assert "only 1 of 2 variants left" in run("problems")
    (feed,) = json.loads(run("feed", "list", "--json"))["feeds"]
    assert (feed["problem"], feed["every_s"]) == ("alert.feed.rows", 1_800)
    file.unlink()
    assert "cannot be read" in run("feed", "run", "akdeniz", status=1)
    assert "is removed" in run("feed", "remove", "akdeniz")
    assert "no feed “akdeniz”" in run("feed", "run", "akdeniz", status=1)
    assert "feed" not in run("problems")
