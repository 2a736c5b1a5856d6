"""Some merchants with an account on every marketplace each, whom real workers serve."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.bootstrap import Hub, HubSettings
from meschain.registry import Marketplace as Folder
from meschain.registry import marketplaces
from meschain.sandbox.host import SandboxHost
from meschain.sandbox.world import Shelf, ShelfState
from meschain.sandbox.world import Shop as WorldShop
from meschain.testing.shop import Shop
from meschain.testing.trade import ACCOUNT_SETTINGS, FACADE_SETTINGS

Connection = psycopg.Connection[tuple[object, ...]]

MOVE_S = 10.0  # a killed worker's accounts are served again within it
LOAD_S = 5.0  # what a machine under the load of other tests may add; a worker that starts tells

RENEWED = "SELECT count(*)::int FROM ownership WHERE pacer IS NOT NULL AND owner IS NOT NULL"
WAITING = "SELECT ((SELECT count(*) FROM offer_dirty) + (SELECT count(*) FROM offer_inflight))::int"


def number(connection: Connection, statement: str) -> int:
    """The one whole number that the statement yields."""
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


class Mall:
    """Some merchants with both accounts each, in a world and in a hub that nobody serves yet."""

    SKUS = ("A", "B")
    UNITS = 1_000

    def __init__(self, host: SandboxHost, connection: Connection) -> None:
        self.host = host
        self.connection = connection
        self.shops: list[Shop] = []
        self.markets: dict[tuple[int, str], WorldShop] = {}

    async def open(self, hub: Hub, known: Mapping[str, Folder]) -> None:
        """Every shelf shows what the hub wants."""
        lines = {name: [a for a in self.host.accounts if a.marketplace == name] for name in known}
        for number in range(len(self.host.accounts) // len(known)):
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

    def is_at_rest(self) -> bool:
        """Every order is in the books, and nothing is left to tell.

        What a killed worker leaves in doubt is looked at again after hours, too.
        """
        placed = len(self.host.world.orders)
        known = number(self.connection, "SELECT count(*)::int FROM orders")
        return known == placed and number(self.connection, WAITING) == 0

    def shows(self, sku: str, units: int) -> bool:
        """Whether every shelf of every merchant shows so many."""
        return all(self.shelf(number, name, sku).quantity == units for number, name in self.markets)


@asynccontextmanager
async def opened(database_url: str, home: Path, merchants: int) -> AsyncIterator[Mall]:
    """Every account is armed, and nobody serves any."""
    known = marketplaces()
    host = SandboxHost(
        {name: folder.facade_factory() for name, folder in known.items()},
        settings=FACADE_SETTINGS,
        accounts_per_marketplace=merchants,
        port=0,
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        async with host:
            mall = Mall(host, connection)
            settings = HubSettings(database_url, home / "master.key", loopback_only=True)
            async with Hub.opened(settings) as hub:
                await mall.open(hub, known)
            yield mall


def pid_of(owner: str) -> int:
    return int(owner.split(":")[1])


async def until(is_so: Callable[[], bool], *, within_s: float = 180.0) -> float:
    """Wait for it; returns the seconds it took."""
    began_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - began_s < within_s, f"it did not happen within {within_s} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began_s


def is_listening(database_url: str) -> bool:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return listeners(connection) == 1


def listeners(connection: Connection) -> int:
    """Processes that hear of changes."""
    row = connection.execute(
        "SELECT count(*)::int FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
