"""Webhooks end to end: real façades, real database, the hub's own server."""

import asyncio
import base64
import io
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import aiohttp
import msgspec
import psycopg
import pytest

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.app.commands.register_webhook import AccountWebhooks
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.contract import Account, Call, WebhookDelivery, WebhookRegistration
from meschain.channel.contract import Channel as AnyChannel
from meschain.channel.outcome import Problem, Refused
from meschain.channel.pacing import Pacer
from meschain.registry import marketplaces
from meschain.sandbox.facade import AccountLine
from meschain.sandbox.faults import Fault
from meschain.sandbox.host import SandboxHost
from meschain.sandbox.world import ParcelState, Person, Shelf, ShelfState
from meschain.sandbox.world import Shop as WorldShop
from meschain.server import ServerHandle, serve
from meschain.store.vault import Vault
from meschain.sync import webhook
from meschain.sync.engine import EngineSettings
from meschain.testing.shop import Shop

pytestmark = pytest.mark.slow  # each test starts a whole market

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]
BUYER = Person(
    1, "Ay", "Kaya", "ay@relay.example", "+905000000000", "İzmir", "Konak", "x", "y", "35000", 35
)
SKUS = ("S0", "S1", "S2")


class Street:
    """A hub, its server, and the façades it deals with."""

    def __init__(self, url: str, key: Path, host: SandboxHost, connection: Connection) -> None:
        self.url = url
        self.key = key
        self.host = host
        self.connection = connection
        self.shop = Shop.open(connection, f"Kaya {secrets.token_hex(2)}")
        for sku in SKUS:
            self.shop.variant(sku, on_hand=5)
        self.worlds: dict[str, WorldShop] = {}

    async def connect(self, hub: Hub, line: AccountLine, *, armed: bool) -> int:
        """An account with every SKU on its shelf, which shows nothing yet."""
        market = marketplaces()[line.marketplace]
        world = self.host.world.shop(line.marketplace, line.seller_id)
        assert world is not None
        self.worlds[line.marketplace] = world
        account_id = await add_account(
            hub.database,
            hub.keys,
            hub.clock,
            self.shop.merchant_id,
            market.manifest,
            NewAccount(
                line.marketplace,
                line.marketplace,
                line.base_urls,
                line.credentials,
                {"order_status_query": "omitted"} if line.marketplace == "n11" else {},
                line.tier,
            ),
        )
        self.shop.accounts[line.marketplace] = account_id
        by_stock_code = market.manifest.offers.key == "stock_code"
        for sku in SKUS:
            key = sku if by_stock_code else f"B{sku}"
            shelf = Shelf(key, f"B{sku}", sku, "Kitap", 5, 10_000, 10_000, 20, ShelfState.ON_SALE)
            self.host.world.add_shelf(world, shelf)
        self.shop.list_on(line.marketplace, list(SKUS), acknowledged=True)
        if by_stock_code:
            self.connection.execute(
                "UPDATE listing_key SET push_key = stock_code WHERE account_id = %s", (account_id,)
            )
        if armed:
            self.connection.execute(
                "UPDATE account SET state = 'armed' WHERE account_id = %s", (account_id,)
            )
        return account_id

    @asynccontextmanager
    async def hub(self, *, pulls: bool = True) -> AsyncIterator[tuple[Hub, ServerHandle]]:
        """A hub process; its engine is started by the test."""
        settings = HubSettings(
            self.url, self.key, loopback_only=True, engine=EngineSettings(pull_orders=pulls)
        )
        async with Hub.opened(settings) as hub:
            handle = await serve(hub, 0, merchant_id=self.shop.merchant_id)
            try:
                yield hub, handle
            finally:
                await handle.stop()
                await hub.engine.stop()

    def buy(self, marketplace: str, sku: str, units: int = 1) -> str:
        world = self.worlds[marketplace]
        key = next(k for k, shelf in world.shelves.items() if shelf.stock_code == sku)
        return self.host.world.place_order(world, {key: units}, BUYER).number

    def shelf(self, marketplace: str, sku: str) -> int:
        return next(
            shelf.quantity
            for shelf in self.worlds[marketplace].shelves.values()
            if shelf.stock_code == sku
        )

    def count(self, statement: str) -> int:
        row = self.connection.execute(statement).fetchone()
        assert row is not None
        assert isinstance(row[0], int)
        return row[0]

    @property
    def orders(self) -> int:
        return self.count("SELECT count(*) FROM orders")

    @property
    def deliveries(self) -> int:
        return self.count("SELECT count(*) FROM webhook_inbox")

    def bodies(self) -> list[WebhookDelivery]:
        """What was delivered, opened with the hub's own key."""
        vault = Vault.at(self.key)
        for merchant, number, wrapped in self.connection.execute(
            "SELECT merchant_id, key_number, wrapped FROM data_key"
        ):
            assert isinstance(merchant, int)
            assert isinstance(number, int)
            assert isinstance(wrapped, bytes)
            vault.load_data_key(merchant, number, wrapped)
        found: list[WebhookDelivery] = []
        for merchant, number, sealed in self.connection.execute(
            "SELECT merchant_id, key_number, body_sealed FROM webhook_inbox ORDER BY inbox_id"
        ):
            assert isinstance(merchant, int)
            assert isinstance(number, int)
            assert isinstance(sealed, bytes)
            plain = vault.open(merchant, number, webhook.DELIVERY, sealed)
            found.append(msgspec.msgpack.decode(plain, type=WebhookDelivery))
        return found


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


async def until(is_so: Callable[[], bool], *, limit_s: float = 8.0) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 – a state of the database is waited for
            await asyncio.sleep(0.01)


def webhooks_of(hub: Hub, street: Street, name: str, channel: AnyChannel) -> AccountWebhooks:
    return AccountWebhooks(
        hub.database,
        hub.keys,
        hub.clock,
        channel,
        merchant_id=street.shop.merchant_id,
        account_id=street.shop.accounts[name],
    )


def channel_of(hub: Hub, street: Street, line: AccountLine) -> AnyChannel:
    """A channel beside the engine, as a command has it."""
    manifest = marketplaces()[line.marketplace].manifest
    account = Account(
        street.shop.accounts[line.marketplace],
        street.shop.merchant_id,
        line.marketplace,
        line.base_urls,
        line.credentials,
    )
    return hub.channel(account, Pacer(manifest, "", hub.clock))


async def register(
    hub: Hub, street: Street, handle: ServerHandle, line: AccountLine
) -> WebhookRegistration:
    command = webhooks_of(hub, street, line.marketplace, channel_of(hub, street, line))
    answer = await command.register(handle.url, Call())
    assert isinstance(answer, WebhookRegistration)
    return answer


@pytest.fixture
async def host() -> AsyncIterator[SandboxHost]:
    factories = {name: market.facade_factory() for name, market in marketplaces().items()}
    settings = {"trendyol": {"webhook_url_words": "loopback_allowed"}}
    async with SandboxHost(
        factories, settings=settings, port=0, accounts_per_marketplace=2
    ) as opened:
        yield opened


@pytest.fixture
def street(database_url: str, tmp_path: Path, host: SandboxHost) -> Iterator[Street]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Street(database_url, tmp_path / "master.key", host, connection)


def line_of(host: SandboxHost, marketplace: str, number: int = 0) -> AccountLine:
    return [line for line in host.accounts if line.marketplace == marketplace][number]


async def post(
    url: str, body: bytes = b"{}", headers: dict[str, str] | None = None
) -> tuple[int, str, dict[str, object]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as answer,
    ):
        raw = await answer.read()
        document: dict[str, object] = msgspec.json.decode(raw) if raw else {}
        return answer.status, answer.content_type, document


async def test_a_sale_on_one_channel_reaches_the_shelf_of_the_other_by_webhook(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        for name in ("trendyol", "n11"):
            await street.connect(hub, line_of(host, name), armed=True)
        await hub.engine.start()
        await register(hub, street, handle, line_of(host, "trendyol"))
        street.buy("trendyol", "S1", 2)
        await until(lambda: street.shelf("n11", "S1") == 3)
        assert street.connection.execute("SELECT detected_by FROM orders").fetchall() == [
            ("webhook",)
        ]
        # The channel lowered its own shelf: it is not told what it did itself.
        assert street.shelf("trendyol", "S1") == 3


async def test_a_lost_webhook_delays_a_sale_but_never_hides_it(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        account_id = await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        await register(hub, street, handle, line_of(host, "trendyol"))
        served = hub.engine.account(account_id)
        assert served is not None
        host.world.faults.force(Fault.WEBHOOK_LOST, count=1, marketplace="trendyol")
        street.buy("trendyol", "S0")
        await asyncio.sleep(0.3)
        assert (street.orders, street.deliveries) == (0, 0)
        served.poll_orders.set()  # the next pull, without the wait for it
        await until(lambda: street.orders == 1)
        assert street.count("SELECT sum(units_reserved)::integer FROM reservation") == 1


async def test_the_first_order_ends_the_slow_pause_of_the_pull(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        account_id = await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        await register(hub, street, handle, line_of(host, "trendyol"))
        served = hub.engine.account(account_id)
        assert served is not None
        limits = served.manifest.orders
        assert limits.poll_interval_s_min + 2 < limits.poll_interval_s
        await asyncio.sleep(1.0)  # the first pull is over, and the slow pause has begun
        street.buy("trendyol", "S0")
        await until(lambda: street.orders == 1)
        host.world.faults.force(Fault.WEBHOOK_LOST, count=1, marketplace="trendyol")
        street.buy("trendyol", "S1")
        await until(lambda: street.orders == 2, limit_s=limits.poll_interval_s_min + 2)


async def test_a_doubled_webhook_sells_nothing_twice(street: Street, host: SandboxHost) -> None:
    async with street.hub() as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        await register(hub, street, handle, line_of(host, "trendyol"))
        host.world.faults.force(Fault.WEBHOOK_DOUBLED, count=1, marketplace="trendyol")
        street.buy("trendyol", "S0", 2)
        await until(lambda: hub.engine.webhooks.taken == 2)
        assert street.orders == 1
        assert street.count("SELECT sum(units_reserved)::integer FROM reservation") == 2


async def test_a_late_webhook_changes_nothing_that_a_newer_one_has_said(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        url = (await register(hub, street, handle, line_of(host, "trendyol"))).url
        number = street.buy("trendyol", "S0")
        await until(lambda: street.orders == 1)
        order = street.worlds["trendyol"].orders[number]
        await asyncio.sleep(0.01)
        host.world.advance(order.parcels[0], ParcelState.PICKING)
        state = "SELECT count(*) FROM package WHERE state = 'picking'"
        await until(lambda: street.count(state) == 1)
        first = street.bodies()[0]
        kept = {name: first.headers[name] for name in ("authorization", "content-type")}
        status, _, _ = await post(url, first.body, kept)
        assert status == 200
        await until(lambda: hub.engine.webhooks.taken == 3)
        assert street.count(state) == 1


async def test_a_forged_webhook_is_refused_and_the_owner_is_told(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        url = (await register(hub, street, handle, line_of(host, "trendyol"))).url
        forged = {"Authorization": basic("meschain", "guess")}
        for attempt in range(webhook.FORGED_MAX):
            assert street.count("SELECT count(*) FROM alert") == 0
            status, kind, document = await post(url, headers=forged if attempt else None)
            assert (status, kind) == (401, "application/problem+json")
            assert document["type"] == "urn:meschain:problem:webhook-secret"
        assert street.connection.execute("SELECT kind FROM alert").fetchall() == [
            (webhook.FORGED_ALERT,)
        ]
        assert street.deliveries == 0


async def test_an_unknown_address_and_a_huge_body_are_refused(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        url = (await register(hub, street, handle, line_of(host, "trendyol"))).url
        status, _, document = await post(handle.url + "/hooks/" + "a" * 32)
        assert status == 404
        assert document["type"] == "urn:meschain:problem:webhook-unknown"
        status, _, document = await post(url, b" " * 1_100_000)
        assert status == 413
        assert document["type"] == "urn:meschain:problem:too-large"
        assert street.deliveries == 0


async def test_what_a_killed_process_recorded_is_taken_in_by_the_next(
    street: Street, host: SandboxHost
) -> None:
    """The first process only records, as one does that dies right after its answer."""
    async with street.hub() as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await register(hub, street, handle, line_of(host, "trendyol"))
        street.buy("trendyol", "S2")
        await until(lambda: street.deliveries == 1)
        assert street.orders == 0
    async with street.hub() as (hub, _):
        host.world.faults.force(Fault.SERVER_ERROR, count=100, marketplace="trendyol")
        await hub.engine.start()
        await until(lambda: street.orders == 1)
        marked = "SELECT count(*) FROM webhook_inbox WHERE handled_us IS NOT NULL"
        await until(lambda: street.count(marked) == 1)
    assert street.connection.execute("SELECT detected_by FROM orders").fetchall() == [("webhook",)]


async def test_handled_deliveries_are_deleted_soon(
    street: Street, host: SandboxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "KEPT_S", 0.1)
    monkeypatch.setattr(webhook, "FORGET_EVERY_S", 0.0)
    monkeypatch.setattr(webhook, "POLL_S", 0.1)
    async with street.hub() as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        await register(hub, street, handle, line_of(host, "trendyol"))
        street.buy("trendyol", "S2")
        await until(lambda: street.orders == 1)
        await until(lambda: street.deliveries == 0)


async def test_a_body_that_cannot_be_read_asks_for_a_pull_and_does_not_come_round(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub(pulls=False) as (hub, handle):
        account_id = await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        url = (await register(hub, street, handle, line_of(host, "trendyol"))).url
        served = hub.engine.account(account_id)
        assert served is not None
        street.buy("trendyol", "S0")
        await until(lambda: street.orders == 1)
        kept = {"authorization": street.bodies()[0].headers["authorization"]}
        for body in (b"<html>", b'{"content": [{"orderNumber": 7}]}'):
            status, _, _ = await post(url, body, kept)
            assert status == 200
        await until(served.poll_orders.is_set)
        marked = "SELECT count(*) FROM webhook_inbox WHERE handled_us IS NOT NULL"
        await until(lambda: street.count(marked) == 3)
        assert street.orders == 1


async def test_a_defect_while_taking_in_stops_nobody_and_is_reported(
    street: Street, host: SandboxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with street.hub(pulls=False) as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        await hub.engine.start()
        await register(hub, street, handle, line_of(host, "trendyol"))
        deliver = hub.engine.deliver

        async def break_once(_account: int, _delivery: WebhookDelivery) -> bool:
            monkeypatch.setattr(hub.engine, "deliver", deliver)
            raise KeyError("a defect")

        monkeypatch.setattr(hub.engine, "deliver", break_once)
        street.buy("trendyol", "S0")
        await until(lambda: hub.engine.webhooks.taken == 1)
        street.buy("trendyol", "S1")
        await until(lambda: street.orders == 1)
        assert street.connection.execute("SELECT kind FROM alert").fetchall() == [
            (webhook.UNREADABLE_ALERT,)
        ]


async def test_one_merchants_webhook_never_opens_for_another(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        await street.connect(hub, line_of(host, "trendyol"), armed=False)
        other = Street(street.url, street.key, host, street.connection)
        await other.connect(hub, line_of(host, "trendyol", 1), armed=False)
        await hub.engine.start()
        await register(hub, street, handle, line_of(host, "trendyol"))
        theirs = await register(hub, other, handle, line_of(host, "trendyol", 1))
        street.buy("trendyol", "S0")
        await until(lambda: street.orders == 1)
        delivery = street.bodies()[0]
        kept = {"authorization": delivery.headers["authorization"]}
        status, _, _ = await post(theirs.url, delivery.body, kept)
        assert status == 401
        owners = street.connection.execute("SELECT DISTINCT merchant_id FROM orders").fetchall()
        assert owners == [(street.shop.merchant_id,)]


async def test_registering_again_changes_nothing_and_a_hub_that_moved_cleans_up(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        line = line_of(host, "trendyol")
        await street.connect(hub, line, armed=False)
        command = webhooks_of(hub, street, "trendyol", channel_of(hub, street, line))
        first = await register(hub, street, handle, line)
        assert await register(hub, street, handle, line) == first
        moved = await command.register("https://hub.example", Call())
        assert isinstance(moved, WebhookRegistration)
        assert [each.url for each in await command.registered()] == [moved.url]
        listed = await channel_of(hub, street, line).list_webhooks(Call())
        assert not isinstance(listed, Problem)
        assert [each.url for each in listed] == [moved.url]


async def test_a_marketplace_without_webhooks_says_what_happens_instead(
    street: Street, host: SandboxHost
) -> None:
    async with street.hub() as (hub, handle):
        line = line_of(host, "n11")
        await street.connect(hub, line, armed=False)
        command = webhooks_of(hub, street, "n11", channel_of(hub, street, line))
        answer = await command.register(handle.url, Call())
        assert answer == Refused("lacking", "", "advice.n11.no_webhooks")
        assert street.count("SELECT count(*) FROM webhook") == 0


async def test_a_webhook_that_was_switched_off_is_switched_on_again(
    street: Street, host: SandboxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "CHECK_EVERY_S", 0.1)
    async with street.hub() as (hub, handle):
        line = line_of(host, "trendyol")
        await street.connect(hub, line, armed=False)
        registration = await register(hub, street, handle, line)
        seller = line.credentials["seller_id"]
        webhooks = f"{line.base_urls['integration']}/webhook/sellers/{seller}/webhooks"
        headers = {
            "User-Agent": f"{seller} - SelfIntegration",
            "Authorization": basic(line.credentials["api_key"], line.credentials["api_secret"]),
        }
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.put(f"{webhooks}/{registration.webhook_id}/deactivate") as answer,
        ):
            assert answer.status == 200
        await hub.engine.start()
        street.buy("trendyol", "S0")  # while it sleeps nothing is told
        await asyncio.sleep(0.3)
        street.buy("trendyol", "S1")
        await until(lambda: street.deliveries >= 1)


async def test_a_webhook_deleted_on_the_other_side_is_reported(
    street: Street, host: SandboxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "PENDING_S", -1.0)
    async with street.hub() as (hub, handle):
        line = line_of(host, "trendyol")
        await street.connect(hub, line, armed=False)
        registration = await register(hub, street, handle, line)
        await channel_of(hub, street, line).delete_webhook(registration.webhook_id, Call())
        await hub.engine.start()
        await until(lambda: street.count("SELECT count(*) FROM alert") == 1)
        assert street.connection.execute("SELECT kind FROM alert").fetchall() == [
            (webhook.MISSING_ALERT,)
        ]
        await register(hub, street, handle, line)
        open_alerts = "SELECT count(*) FROM alert WHERE resolved_us IS NULL"
        assert street.count(open_alerts) == 0
