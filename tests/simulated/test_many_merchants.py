"""Many merchants in one hub: they come and go, share what they must, and workers share them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call
from meschain.channel.http import HttpReply, HttpRequest
from meschain.channel.transport import HttpTransport
from meschain.registry import marketplaces
from meschain.sandbox.host import SandboxHost
from meschain.store.erasure import rows_left
from meschain.sync.attempt import Attempt
from meschain.telemetry import log_files
from meschain.testing.shop import Shop
from meschain.testing.trade import Trade, trading
from tests.simulated.mall import (
    LOAD_S,
    MOVE_S,
    RENEWED,
    Mall,
    is_listening,
    listeners,
    number,
    opened,
    pid_of,
    until,
)
from tests.simulated.test_cli import Shell
from tests.simulated.test_engine import EAST, WEST, ZOMBIES, worker

MERCHANTS = 6


@pytest.fixture
def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name, value in (
        ("DATABASE_URL", database_url),
        ("MESCHAIN_HOME", str(tmp_path)),
        ("MESCHAIN_LANG", "en"),
        ("MESCHAIN_LOOPBACK_ONLY", "1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    return Shell()


# — coming and going —


@pytest.mark.slow
async def test_a_running_hub_lets_go_of_a_merchant_that_is_deleted_and_serves_the_others(
    shell: Shell, database_url: str, tmp_path: Path
) -> None:
    async with trading(database_url, tmp_path, quantity=500) as trade:
        leaving = trade.shop.merchant_id
        await shell("merchant", "add", "Demir")
        line = trade.host.accounts[0]
        (tmp_path / "account.json").write_text(json.dumps(asdict(line)), encoding="utf-8")
        credentials = ("--credentials-file", str(tmp_path / "account.json"))
        await shell("account", "add", line.marketplace, *credentials, "--merchant", "Demir")
        await trade.until(lambda: len(trade.hub.engine.accounts) == 3)
        stays = next(a for a in trade.hub.engine.accounts if a.merchant_id != leaving)

        file = str(tmp_path / "kaya.zip")
        named = ("merchant", "delete", "Kaya", "--confirm", "Kaya", "--export-to", file, "--json")
        deleting = asyncio.create_task(shell(*named))
        await trade.move({"A": -1})  # work for the lanes while their accounts are taken away
        busy = asyncio.create_task(keep_busy(trade, leaving))
        began_s = time.monotonic()
        await trade.until(lambda: len(trade.hub.engine.accounts) == 1, within_s=MOVE_S + LOAD_S)
        assert time.monotonic() - began_s < MOVE_S + LOAD_S
        assert (await deleting).document["is_erased"] is True
        busy.cancel()
        await asyncio.sleep(2.0)  # whatever the hub still wrote would be there by now
        left = await rows_left(database_url, leaving)
        assert {table: rows for table, rows in left.items() if rows} == {}
        (served,) = trade.hub.engine.accounts  # on a busy machine perhaps under a lease taken anew
        assert served.account_id == stays.account_id
        assert served.has_lease


async def test_the_marketplace_is_told_to_call_a_deleted_merchant_no_more(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESCHAIN_PUBLIC_URL", "https://hub.example")
    made: list[str] = []
    send = HttpTransport.send

    async def noted(self: HttpTransport, request: HttpRequest, call: Call) -> HttpReply:
        made.append(request.operation)
        return await send(self, request, call)

    monkeypatch.setattr(HttpTransport, "send", noted)
    file = tmp_path / "account.json"
    deleting = ("merchant", "delete", "Kaya", "--confirm", "Kaya", "--without-export")
    async with SandboxHost({EAST: marketplaces()[EAST].facade_factory()}, port=0) as host:
        file.write_text(json.dumps(asdict(host.accounts[0])), encoding="utf-8")
        await shell("merchant", "add", "Kaya")
        await shell("account", "add", EAST, "--credentials-file", str(file))
        assert "delete_webhook" not in made
        said = await shell(*deleting)
        assert made.count("delete_webhook") == 1
        assert "could not be ended" not in said.err
        await shell("merchant", "add", "Kaya")
        await shell("account", "add", EAST, "--credentials-file", str(file))
    # The marketplace is away; that keeps nobody from leaving.
    said = await shell(*deleting)
    assert "could not be ended" in said.err


async def keep_busy(trade: Trade, merchant: int) -> None:
    """Sales, and failures written down for as long as the merchant is served."""
    while True:
        for served in trade.hub.engine.accounts:
            if served.merchant_id == merchant:
                at_us = microseconds(trade.hub.clock.now())
                trade.hub.engine.attempts.note(
                    Attempt(
                        merchant_id=merchant,
                        account_id=served.account_id,
                        operation="pull_orders",
                        at_us=at_us,
                        status=500,
                        outcome="answered",
                        duration_us=1,
                    )
                )
                trade.buy(served.name, {"B": 1})
        await asyncio.sleep(0.2)


# — what accounts share —


async def test_the_integrators_name_is_said_once_and_an_account_may_have_its_own(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents: list[str] = []
    send = HttpTransport.send

    async def noted(self: HttpTransport, request: HttpRequest, call: Call) -> HttpReply:
        agents.append(request.headers.get("User-Agent", ""))
        return await send(self, request, call)

    monkeypatch.setattr(HttpTransport, "send", noted)
    factories = {EAST: marketplaces()[EAST].facade_factory()}
    await shell("merchant", "add", "Kaya")
    async with SandboxHost(factories, port=0) as host:
        (line,) = host.accounts
        file = tmp_path / "account.json"
        file.write_text(json.dumps(asdict(line)), encoding="utf-8")
        add = ("account", "add", EAST, "--credentials-file", str(file), "--name")
        await shell(*add, "plain")
        monkeypatch.setenv("MESCHAIN_INTEGRATOR", "KayaYazilim")
        await shell(*add, "ours")
        await shell(*add, "own", "--setting", "integrator=DemirSoft")
    seller = line.credentials["seller_id"]
    said = [name for name, _ in itertools.groupby(agents)]
    assert said == [
        f"{seller} - {name}" for name in ("SelfIntegration", "KayaYazilim", "DemirSoft")
    ]


# — processes —


@pytest.mark.slow
async def test_accounts_of_many_merchants_outlive_a_killed_and_a_stopped_worker(
    database_url: str, tmp_path: Path
) -> None:
    """Three workers. One that serves is killed, the next one stopped and woken up too late."""
    async with AsyncExitStack() as stack:
        mall = await stack.enter_async_context(opened(database_url, tmp_path, MERCHANTS))
        connection = mall.connection
        accounts = len(mall.markets)
        for _ in range(3):
            await stack.enter_async_context(worker(database_url, tmp_path))
        began_s = await until(lambda: listeners(connection) == 3 and "" not in mall.owners())
        load_s = max(LOAD_S, began_s)

        gone: set[str] = set()
        serving = ""
        for signal_, sold in ((signal.SIGKILL, 1), (signal.SIGSTOP, 2)):
            # Without a renewal a successor would take every quota for used up.
            await until(lambda: number(connection, RENEWED) == accounts)
            serving = mall.owners().most_common(1)[0][0]
            for merchant in range(MERCHANTS):
                mall.buy(merchant, EAST if merchant % 2 else WEST, "A")
            os.kill(pid_of(serving), signal_)
            gone.add(serving)
            moved_s = await until(lambda: not gone & mall.owners().keys() - {""})
            assert moved_s < MOVE_S + load_s
            await until(lambda sold=sold: mall.shows("A", Mall.UNITS - sold))  # type: ignore[misc]
        os.kill(pid_of(serving), signal.SIGCONT)
        for shop in mall.shops:
            await asyncio.to_thread(shop.move, {"B": -1}, "adjustment")
        await until(lambda: mall.shows("B", Mall.UNITS - 1))
        await until(mall.is_at_rest)

        placed = len(mall.host.world.orders)
        assert placed == 2 * MERCHANTS
        assert number(connection, "SELECT count(*)::int FROM orders") == placed
        assert number(connection, "SELECT sum(reserved)::int FROM stock_level") == placed
        assert mall.shows("A", Mall.UNITS - 2)
        # What the woken one claimed before it was stopped ended as another owner's. It lives, so it
        # may serve again, as a new owner.
        assert number(connection, ZOMBIES) == 0
        assert number(connection, "SELECT sum(net_found)::int FROM lane") == 0


@pytest.mark.slow
async def test_a_worker_reads_its_log_level_again_when_it_is_told_to(
    database_url: str, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('log_level = "warning"\n', encoding="utf-8")

    def logged() -> str:
        return "".join(each.path.read_text("utf-8") for each in log_files(tmp_path / "logs"))

    with psycopg.connect(database_url, autocommit=True) as connection:
        shop = Shop.open(connection)
        shop.account("east")
        connection.execute("INSERT INTO ownership (merchant_id, account_id) VALUES (1, 1)")
    async with worker(database_url, tmp_path) as process:
        await until(lambda: is_listening(database_url))
        settings.write_text('log_level = "debug"\n', encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        await until(lambda: '"log_level":"debug"' in logged())
        settings.write_text("log_level = 3\n", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        await until(lambda: "settings cannot be read" in logged())
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
