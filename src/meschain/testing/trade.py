"""A shop that trades on every marketplace of the sandbox: real engine, façades and database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from msgspec.structs import replace

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.bootstrap import Hub, HubSettings
from meschain.registry import Marketplace, marketplaces
from meschain.sandbox.economy import EconomySettings
from meschain.sandbox.host import SandboxHost
from meschain.sandbox.world import Order, Shelf, ShelfState
from meschain.sync.engine import EngineSettings
from meschain.testing.shop import Shop

if TYPE_CHECKING:
    from meschain.channel.capability import Manifest
    from meschain.channel.contract import Channel
    from meschain.sandbox.faults import Fault
    from meschain.sandbox.world import Shop as WorldShop
    from meschain.sync.account import ServedAccount

PATIENCE_S: Final = 40.0  # on a busy machine; what must be quick says so itself
POLL_S: Final = 0.02
# Only what shortens waiting; readings of the contract stay the stricter ones.
FACADE_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "trendyol": {"apply_ms_min": "10", "apply_ms_max": "40"},
    "n11": {"task_delay_ms_min": "10", "task_delay_ms_max": "40"},
}
ACCOUNT_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "n11": {"shipment_template": "Standart"}
}


def hasty(manifest: Manifest) -> Manifest:
    """The same marketplace to a hub that need not be patient: only our own waits are shorter."""
    operations = {
        name: replace(operation, min_interval_s=0.0, timeout_s=1.0)
        for name, operation in manifest.operations.items()
    }
    offers = replace(
        manifest.offers,
        ticket_poll_s=(0.05, 0.1, 0.2),
        ticket_stuck_s=3.0,
        apply_s_max=1.0,
        read_lag_s=0.3,
    )
    orders = replace(manifest.orders, poll_interval_s=0.3, poll_interval_s_min=0.2)
    return replace(manifest, operations=operations, offers=offers, orders=orders)


@dataclass(slots=True)
class Trade:
    """Both sides: the world behind the façades, and the hub with its books."""

    host: SandboxHost
    shop: Shop
    hub: Hub
    accounts: dict[str, int] = field(default_factory=dict)  # marketplace → account id

    @property
    def connection(self) -> psycopg.Connection[tuple[object, ...]]:
        return self.shop.connection

    # — the world —

    def market(self, marketplace: str) -> WorldShop:
        """The shop as the marketplace keeps it."""
        line = next(line for line in self.host.accounts if line.marketplace == marketplace)
        found = self.host.world.shop(marketplace, line.seller_id)
        assert found is not None
        return found

    def shelf(self, marketplace: str, sku: str) -> Shelf:
        """The SKU's shelf there."""
        shelves = self.market(marketplace).shelves.values()
        return next(shelf for shelf in shelves if shelf.stock_code == sku)

    def buy(self, marketplace: str, basket: Mapping[str, int]) -> Order:
        """A buyer buys; raises what the world says when the shelf does not hold it."""
        world = self.host.world
        shelves = {self.shelf(marketplace, sku).key: units for sku, units in basket.items()}
        buyer = self.host.economy.people.person(world.orders_total + 1)
        return world.place_order(self.market(marketplace), shelves, buyer)

    def pushes(self, marketplace: str = "", *, after: int = 0) -> int:
        """How many offers of ours have reached shelves."""
        return sum(
            entry.kind == "offer" and marketplace in {"", entry.marketplace}
            for entry in self.host.world.journal
            if entry.number > after
        )

    def force(self, fault: Fault, count: int, marketplace: str = "") -> None:
        self.host.world.faults.force(fault, count=count, marketplace=marketplace)

    # — the hub —

    def served(self, marketplace: str) -> ServedAccount:
        """The account as this process serves it."""
        account = self.hub.engine.account(self.accounts[marketplace])
        assert account is not None, f"{marketplace} is not served here"
        return account

    def channel(self, marketplace: str) -> Channel:
        return self.served(marketplace).channel

    def rows(self, statement: str, *params: object) -> list[tuple[object, ...]]:
        """What a plain question finds; changes go through ``write``."""
        return self.connection.execute(statement, params).fetchall()

    def number(self, statement: str, *params: object) -> int:
        """The one whole number that the statement yields."""
        ((value,),) = self.rows(statement, *params)
        assert isinstance(value, int)
        return value

    # — the owner: beside the event loop, since a lock may be the engine's that runs on it —

    async def write(self, statement: str, *params: object) -> None:
        """Change something by plain SQL."""
        await asyncio.to_thread(self.connection.execute, statement, params)

    async def move(self, deltas: dict[str, int]) -> None:
        """Count goods: SKU → change."""
        await asyncio.to_thread(self.shop.move, deltas, "adjustment")

    async def set_state(self, state: str, marketplace: str = "") -> None:
        """As the owner does by arm, disarm and pause."""
        for name, account in self.accounts.items():
            if marketplace in {"", name}:
                await self.write(
                    "UPDATE account SET state = %s WHERE account_id = %s", state, account
                )

    def wanted(self, marketplace: str, sku: str) -> int:
        return self.number(
            "SELECT quantity FROM offer_desired_quantity WHERE listing_id = %s",
            self.shop.listings[marketplace, sku],
        )

    def net_found(self) -> int:
        """What only the safety net has found; must stay 0."""
        return self.number("SELECT sum(net_found)::int FROM lane")

    def is_at_rest(self) -> bool:
        """Every order is in the books, nothing is dirty, under way or open to doubt."""
        placed = len(self.host.world.orders)
        return (
            self.number("SELECT count(*)::int FROM orders") == placed
            and self.number(
                "SELECT ((SELECT count(*) FROM offer_dirty) + (SELECT count(*) FROM offer_inflight)"
                " + (SELECT count(*) FROM offer_unsettled))::int"
            )
            == 0
        )

    def differing(self) -> list[str]:
        """Shelves that show something else than the hub wants."""
        return [
            f"{marketplace} {sku}: {self.shelf(marketplace, sku).quantity}"
            f" instead of {self.wanted(marketplace, sku)}"
            for marketplace, sku in self.shop.listings
            if self.shelf(marketplace, sku).quantity != self.wanted(marketplace, sku)
        ]

    async def until(self, is_so: Callable[[], bool], *, within_s: float = PATIENCE_S) -> float:
        """Wait for it; returns the seconds it took. Raises AssertionError when it never comes."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < within_s:
            if is_so():
                return time.monotonic() - began_s
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"it did not happen within {within_s} s")

    async def come_to_rest(self, *, within_s: float = 40.0) -> None:
        """Wait until nothing is left to do, then hold both sides against each other."""
        try:
            await self.until(self.is_at_rest, within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.restless()}") from None
        assert self.differing() == []

    def restless(self) -> dict[str, object]:
        """What is still to be done, for whoever must find out why."""
        return {
            "placed": len(self.host.world.orders),
            "orders": self.number("SELECT count(*)::int FROM orders"),
            **{
                table: self.rows(f"SELECT to_jsonb(t) FROM {table} AS t LIMIT 6")  # noqa: S608
                for table in ("offer_dirty", "offer_inflight", "offer_unsettled")
            },
            "lanes": self.rows("SELECT to_jsonb(t) FROM lane AS t WHERE last_error <> ''"),
            "now": self.hub.clock.now(),
        }


@asynccontextmanager
async def trading(
    database_url: str,
    home: Path,
    *,
    skus: Sequence[str] = ("A", "B", "C"),
    quantity: int = 10,
    state: str = "armed",
    facade: Mapping[str, Mapping[str, str]] | None = None,
    credentials: Mapping[str, Mapping[str, str]] | None = None,
    markets: Mapping[str, Marketplace] | None = None,
    is_started: bool = True,
    rates: Mapping[Fault, float] | None = None,
    engine: EngineSettings | None = None,
) -> AsyncIterator[Trade]:
    """One account on every marketplace, every SKU on sale on each, shelves as the hub wants them.

    ``credentials`` replace the right ones of a marketplace; ``is_started`` False: the engine waits.
    """
    known = dict(markets or marketplaces())
    settings = {
        name: {**FACADE_SETTINGS.get(name, {}), **(facade or {}).get(name, {})} for name in known
    }
    host = SandboxHost(
        {name: market.facade_factory() for name, market in known.items()},
        settings=settings,
        economy=EconomySettings(fault_rates=dict(rates or {})),
        port=0,
    )
    async with AsyncExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        shop = Shop.open(connection)
        for sku in skus:
            shop.variant(sku, on_hand=quantity)
        await stack.enter_async_context(host)
        hub = await stack.enter_async_context(
            Hub.opened(
                HubSettings(
                    database_url,
                    home / "master.key",
                    loopback_only=True,
                    engine=engine or EngineSettings(),
                )
            )
        )
        trade = Trade(host, shop, hub)
        for line in host.accounts:
            name = line.marketplace
            account = NewAccount(
                name,
                name,
                line.base_urls,
                {**line.credentials, **(credentials or {}).get(name, {})},
                ACCOUNT_SETTINGS.get(name, {}),
                line.tier,
            )
            trade.accounts[name] = shop.accounts[name] = await add_account(
                hub.database, hub.keys, hub.clock, shop.merchant_id, known[name].manifest, account
            )
            _stock_shelves(trade, name, skus, quantity)
            shop.list_on(name, skus)
            if known[name].manifest.offers.key == "stock_code":
                await trade.write(
                    "UPDATE listing_key SET push_key = stock_code WHERE account_id = %s",
                    trade.accounts[name],
                )
        await trade.set_state(state)
        if is_started:
            await hub.engine.start()
            stack.push_async_callback(hub.engine.stop)
        yield trade


def _stock_shelves(trade: Trade, marketplace: str, skus: Sequence[str], quantity: int) -> None:
    market = trade.market(marketplace)
    by_code = market.facts.get("shelf_key") == "stock_code"
    for sku in skus:
        shelf = Shelf(
            key=sku if by_code else f"B{sku}",
            barcode=f"B{sku}",
            stock_code=sku,
            title=f"Kazak {sku}",
            quantity=quantity,
            list_minor=10_000,
            sale_minor=10_000,
            vat_percent=20,
            state=ShelfState.ON_SALE,
        )
        trade.host.world.add_shelf(market, shelf)
