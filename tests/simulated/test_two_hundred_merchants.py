"""Two hundred merchants with four accounts each in one hub: one's mass change delays nobody.

A fifth of the 100,000 dirty offers that ``bench/many_merchants`` measures with, and no time limit:
what is claimed before what does not depend on the machine.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from bench.hub import connect, fill
from bench.sandbox import Sandbox, ShelfView, Wanted, sandbox
from bench.shop import Shop, acknowledge_all, open_shop, raise_prices
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.clock import SystemClock, microseconds
from meschain.sync.engine import EngineSettings
from tests.simulated.mall import WAITING, Connection, number, until

MERCHANTS = 200
EACH = 2  # accounts of a merchant on each marketplace
MARKETPLACES = ("trendyol", "n11")
LARGE_SKUS = 5_000  # of the first merchant, which reprices; the others have one
ON_HAND = 100
CLOCK = SystemClock()


async def open_all(hub: Hub, url: str, world: Sandbox) -> list[tuple[Shop, Sandbox]]:
    """Every merchant with its accounts, which nobody has armed; shelves show what the hub wants."""
    lines = {
        name: [line for line in world.accounts if line.marketplace == name] for name in MARKETPLACES
    }
    opened = []
    for place in range(MERCHANTS):
        shop = open_shop(
            url,
            skus=1 if place else LARGE_SKUS,
            on_hand=ON_HAND,
            now=CLOCK.now(),
            name=f"merchant {place}",
        )
        part = [
            line for name in MARKETPLACES for line in lines[name][place * EACH : (place + 1) * EACH]
        ]
        own = Sandbox(part, world.pid, world.session)
        await connect(hub, url, shop, own, settings={})
        acknowledge_all(url, shop, now=CLOCK.now())
        await fill(url, shop, own, quantity=ON_HAND)
        opened.append((shop, own))
    return opened


def units_of(place: int) -> int:
    """What the merchant sells: not what its neighbours do."""
    return 1 + place % 7


def sell(connection: Connection, shop: Shop, units: int) -> None:
    now = CLOCK.now()
    connection.execute(
        "SELECT move_stock(%s, %s, 'adjustment', ARRAY[%s::bigint], ARRAY[%s], '', 'test', %s, %s)",
        (
            *(shop.merchant_id, shop.location_id, shop.first_variant_id, -units),
            *(now, microseconds(now)),
        ),
    )


async def shelf_of(own: Sandbox) -> set[tuple[int, int]]:
    """Quantity and price of the first SKU on all accounts of a merchant."""
    shown: list[ShelfView] = []
    for account in own.accounts:
        shown += [shelf for shelf in await own.shelves(account) if shelf.stock_code == "S1"]
    assert len(shown) == len(MARKETPLACES) * EACH
    return {(shelf.quantity, shelf.sale_minor) for shelf in shown}


@pytest.mark.slow
async def test_sales_of_two_hundred_merchants_are_claimed_while_ones_mass_change_waits(
    database_url: str, tmp_path: Path
) -> None:
    accounts = dict.fromkeys(MARKETPLACES, MERCHANTS * EACH)
    pushing = EngineSettings(pull_orders=False)  # what is sold is booked here
    settings = HubSettings(
        database_url, tmp_path / "master.key", loopback_only=True, engine=pushing
    )
    async with (
        sandbox(Wanted(accounts=accounts)) as world,
        Hub.opened(settings) as hub,
    ):
        opened = await open_all(hub, database_url, world)
        large = opened[0][0]
        with psycopg.connect(database_url, autocommit=True) as connection:
            await hub.engine.start()
            try:
                await until(lambda: len(hub.engine.accounts) == MERCHANTS * 4)
                raise_prices(connection, large, chunk=LARGE_SKUS, now=CLOCK.now())
                for place, (shop, _) in enumerate(opened[1:], 1):
                    sell(connection, shop, units_of(place))
                assert number(connection, WAITING) == 4 * (LARGE_SKUS + MERCHANTS - 1)
                await asyncio.to_thread(connection.execute, "UPDATE account SET state = 'armed'")
                await until(lambda: number(connection, WAITING) == 0)
            finally:
                await hub.engine.stop()

            claims = connection.execute(
                "SELECT merchant_id = %s, min(claimed_us), max(claimed_us) FROM ticket"
                " WHERE surface = 'offer' GROUP BY merchant_id, account_id",
                (large.merchant_id,),
            ).fetchall()
            assert len(claims) == MERCHANTS * 4, "every account was served"
            ends_us = max(int(str(last)) for is_large, _, last in claims if is_large)
            begins_us = max(int(str(first)) for is_large, first, _ in claims if not is_large)
            assert begins_us < ends_us, "a sale waited until the mass change was over"
            crossed = number(
                connection,
                "SELECT count(*)::int FROM ticket t CROSS JOIN unnest(t.listing_ids) AS x (id)"
                " JOIN listing l ON l.listing_id = x.id"
                " WHERE (l.merchant_id, l.account_id) <> (t.merchant_id, t.account_id)",
            )
            assert crossed == 0
        price = 10_001  # of the first SKU, everywhere
        assert await shelf_of(opened[0][1]) == {(ON_HAND, price + 1)}
        for place, (_, own) in enumerate(opened[1:], 1):
            assert await shelf_of(own) == {(ON_HAND - units_of(place), price)}, place
