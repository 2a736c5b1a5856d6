"""Many merchants in one hub: they come and go, share what they must, and workers share them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.capability import Operation
from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, Priority
from meschain.channel.http import HttpReply, HttpRequest
from meschain.channel.transport import HttpTransport
from meschain.registry import Marketplace as Folder
from meschain.registry import marketplaces
from meschain.sandbox.host import SandboxHost
from meschain.sandbox.world import Shelf, ShelfState
from meschain.sandbox.world import Shop as WorldShop
from meschain.store.erasure import rows_left
from meschain.sync.attempt import Attempt
from meschain.telemetry import log_files
from meschain.testing.shop import Shop
from meschain.testing.trade import ACCOUNT_SETTINGS, FACADE_SETTINGS, Trade, trading
from tests.simulated.test_cli import Shell
from tests.simulated.test_engine import EAST, WEST, worker
from tests.unit.test_pacing import Marketplace, VirtualClock, manifest, quota

MERCHANTS = 6
MOVE_S = 10.0  # a killed worker's accounts are served again within it
LOAD_S = 5.0  # what a machine under the load of other tests may add


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
        assert trade.hub.engine.accounts == [stays]
        assert stays.has_lease


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


async def test_accounts_behind_one_address_share_its_quota_and_merchants_theirs(
    database_url: str, tmp_path: Path
) -> None:
    clock = VirtualClock()
    market = manifest(
        [quota("ip", 20, 10.0, scope="egress_ip"), quota("own", 4, 10.0, scope="merchant")],
        catalog=Operation(quotas=("ip",)),
        upload=Operation(quotas=("own",)),
    )
    settings = HubSettings(database_url, tmp_path / "master.key", loopback_only=True)
    async with Hub.opened(settings, clock) as hub:
        # Two accounts of the first merchant, one of the second.
        accounts = [Marketplace(clock, hub.pacer(market, "", merchant)) for merchant in (1, 1, 2)]
        for account in accounts:
            for _ in range(15):
                account.call("catalog", Priority.NORMAL, there_s=0.2)
            for _ in range(4):
                account.call("upload", Priority.NORMAL, there_s=0.2)
        await clock.run(200)
        assert most_in_a_window(accounts, "catalog") <= 20
        assert most_in_a_window(accounts[:2], "upload") <= 4
        assert most_in_a_window(accounts, "upload") > 4, "merchants do not wait for one another"
        assert all(len(account.seen["catalog"]) == 15 for account in accounts)


def most_in_a_window(accounts: list[Marketplace], operation: str) -> int:
    together = Marketplace(accounts[0].clock, accounts[0].pacer)  # it only counts
    together.seen[operation] = [at for account in accounts for at in account.seen[operation]]
    return together.most_in_a_window(10.0)


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


class Mall:
    """Some merchants with both accounts each, in a world and in a hub that nobody serves yet."""

    SKUS = ("A", "B")
    UNITS = 40

    def __init__(
        self, host: SandboxHost, connection: psycopg.Connection[tuple[object, ...]]
    ) -> None:
        self.host = host
        self.connection = connection
        self.shops: list[Shop] = []
        self.markets: dict[tuple[int, str], WorldShop] = {}

    async def open(self, hub: Hub, known: Mapping[str, Folder]) -> None:
        """Every shelf shows what the hub wants."""
        lines = {name: [a for a in self.host.accounts if a.marketplace == name] for name in known}
        for number in range(MERCHANTS):
            shop = Shop.open(self.connection, f"M{number}")
            self.shops.append(shop)
            for sku in self.SKUS:
                shop.variant(sku, on_hand=self.UNITS)
            for name, folder in known.items():
                line = lines[name][number]
                market = self.host.world.shop(name, line.seller_id)
                assert market is not None
                self.markets[number, name] = market
                new = NewAccount(
                    name,
                    name,
                    line.base_urls,
                    line.credentials,
                    ACCOUNT_SETTINGS.get(name, {}),
                    line.tier,
                )
                shop.accounts[name] = await add_account(
                    hub.database, hub.keys, hub.clock, shop.merchant_id, folder.manifest, new
                )
                by_code = market.facts.get("shelf_key") == "stock_code"
                for sku in self.SKUS:
                    key = sku if by_code else f"B{sku}"
                    shelf = Shelf(key, f"B{sku}", sku, sku, self.UNITS, 10_000, 10_000, 20)
                    self.host.world.add_shelf(market, shelf)
                    self.host.world.set_state(market, shelf, ShelfState.ON_SALE)
                shop.list_on(name, self.SKUS)
                if folder.manifest.offers.key == "stock_code":
                    self.connection.execute(
                        "UPDATE listing_key SET push_key = stock_code WHERE account_id = %s",
                        (shop.accounts[name],),
                    )
        self.connection.execute("UPDATE account SET state = 'armed'")

    def shelf(self, number: int, name: str, sku: str) -> Shelf:
        shelves = self.markets[number, name].shelves.values()
        return next(shelf for shelf in shelves if shelf.stock_code == sku)

    def buy(self, number: int, name: str, sku: str) -> None:
        buyer = self.host.economy.people.person(self.host.world.orders_total + 1)
        shelf = self.shelf(number, name, sku)
        self.host.world.place_order(self.markets[number, name], {shelf.key: 1}, buyer)

    def owners(self) -> Counter[str]:
        """Accounts by process; "": nobody's."""
        rows = self.connection.execute("SELECT coalesce(owner, '') FROM ownership").fetchall()
        return Counter(str(owner) for (owner,) in rows)

    def shows(self, sku: str, units: int) -> bool:
        """Whether every shelf of every merchant shows so many."""
        return all(self.shelf(number, name, sku).quantity == units for number, name in self.markets)


def pid_of(owner: str) -> int:
    return int(owner.split(":")[1])


@pytest.mark.slow
async def test_accounts_of_many_merchants_outlive_a_killed_and_a_stopped_worker(
    database_url: str, tmp_path: Path
) -> None:
    """Three workers. The one that serves is killed, the next one stopped and woken up too late."""
    known = marketplaces()
    host = SandboxHost(
        {name: folder.facade_factory() for name, folder in known.items()},
        settings=FACADE_SETTINGS,
        accounts_per_marketplace=MERCHANTS,
        port=0,
    )
    async with AsyncExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        await stack.enter_async_context(host)
        mall = Mall(host, connection)
        settings = HubSettings(database_url, tmp_path / "master.key", loopback_only=True)
        async with Hub.opened(settings) as hub:
            await mall.open(hub, known)
        accounts = len(mall.markets)
        for _ in range(3):
            await stack.enter_async_context(worker(database_url, tmp_path))
        await until(lambda: listeners(connection) == 3 and "" not in mall.owners())

        gone: set[str] = set()
        serving = ""
        for signal_, units in ((signal.SIGKILL, 39), (signal.SIGSTOP, 38)):
            # Without a renewal a successor would take every quota for used up.
            await until(lambda: number(connection, RENEWED) == accounts)
            serving = mall.owners().most_common(1)[0][0]
            for merchant in range(MERCHANTS):
                mall.buy(merchant, EAST if merchant % 2 else WEST, "A")
            os.kill(pid_of(serving), signal_)
            gone.add(serving)
            moved_s = await until(lambda: not gone & mall.owners().keys() - {""})
            assert moved_s < MOVE_S + LOAD_S
            await until(lambda units=units: mall.shows("A", units), within_s=90)  # type: ignore[misc]
        os.kill(pid_of(serving), signal.SIGCONT)
        for shop in mall.shops:
            await asyncio.to_thread(shop.move, {"B": -1}, "adjustment")
        await until(lambda: mall.shows("B", Mall.UNITS - 1))
        await until(lambda: number(connection, UNDONE) == 0, within_s=90)

        assert not gone & mall.owners().keys()
        assert mall.owners().total() == accounts
        placed = len(host.world.orders)
        assert placed == 2 * MERCHANTS
        assert number(connection, "SELECT count(*)::int FROM orders") == placed
        assert number(connection, "SELECT sum(reserved)::int FROM stock_level") == placed
        assert mall.shows("A", Mall.UNITS - 2)
        # What the woken one claimed before it was stopped ended as another owner's.
        assert number(connection, ZOMBIES) == 0
        assert number(connection, "SELECT sum(net_found)::int FROM lane") == 0


RENEWED = "SELECT count(*)::int FROM ownership WHERE pacer IS NOT NULL AND owner IS NOT NULL"
UNDONE = (
    "SELECT ((SELECT count(*) FROM offer_dirty) + (SELECT count(*) FROM offer_inflight)"
    " + (SELECT count(*) FROM offer_unsettled))::int"
)
# Requests under an older lease, made after the one that followed it began.
ZOMBIES = (
    "SELECT count(*)::int FROM ticket t WHERE t.released_us > (SELECT min(n.claimed_us)"
    " FROM ticket n WHERE n.merchant_id = t.merchant_id AND n.account_id = t.account_id"
    " AND n.epoch > t.epoch)"
)


def number(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> int:
    """The one whole number that the statement yields."""
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


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


async def until(is_so: Callable[[], bool], *, within_s: float = 60.0) -> float:
    """Wait for it; returns the seconds it took."""
    began_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - began_s < within_s, f"it did not happen within {within_s} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began_s


def is_listening(database_url: str) -> bool:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return listeners(connection) == 1


def listeners(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    """Processes that hear of changes."""
    row = connection.execute(
        "SELECT count(*)::int FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
