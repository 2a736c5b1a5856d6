"""A line whose SKU nobody knew, linked later: its channel lowered its own shelf all the same."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from meschain.app.commands.link_order_line import link_order_line
from meschain.app.queries.order_detail import read_order
from meschain.channel.clock import SystemClock, microseconds
from meschain.domain.order import (
    Address,
    Buyer,
    LineObservation,
    OrderObservation,
    PackageObservation,
    PackageState,
)
from meschain.store.keys import DataKeys
from meschain.store.unit_of_work import Database
from meschain.store.vault import Vault
from meschain.sync.intake import Intake
from meschain.testing.shop import NOW, Shop

PLACED = NOW + timedelta(seconds=30)


@pytest.fixture
async def shop(
    connection: psycopg.Connection[tuple[object, ...]], database: Database, tmp_path: Path
) -> Shop:
    """A stands with 4 of its 10 units on ``east``, and an order of 2 "OLD" has come from there."""
    shop = Shop.open(connection)
    shop.variant("A", on_hand=10)
    east = shop.account("east", lowers_own_shelf=True)
    shop.account("west")
    connection.execute("UPDATE account SET quantity_max = 4 WHERE name = 'east'")
    for name in ("east", "west"):
        shop.list_on(name, ["A"])
    keys = DataKeys(database, Vault.at(tmp_path / "master.key"), SystemClock())
    intake = Intake(database, keys, merchant_id=shop.merchant_id, account_id=east, name="east")
    line = LineObservation(
        external_id="L1",
        sku="OLD",
        barcode="B-OLD",
        title="Kazak",
        quantity=2,
        unit_gross=Decimal(100),
        unit_seller_discount=Decimal(0),
        unit_marketplace_discount=Decimal(0),
        payable=Decimal(200),
        vat_percent=Decimal(20),
        commission_percent=Decimal(13),
    )
    package = PackageObservation(
        external_id="P1",
        state=PackageState.CREATED,
        state_raw="Created",
        modified_at=PLACED,
        lines=(line,),
        cargo_code="728",
        origin_package_ids=(),
        total=None,
    )
    order = OrderObservation(
        external_id="1",
        placed_at=PLACED,
        currency="TRY",
        packages=(package,),
        buyer=Buyer(full_name="Ayşe Kaya"),
        shipping_address=Address(city="İzmir", country_code="TR"),
        invoice_address=Address(),
        is_whole=False,
        raw=b"{}",
    )
    await intake.take(order, detected_by="poll", now=PLACED)
    return shop


async def link(database: Database, shop: Shop) -> None:
    order = await read_order(database, shop.merchant_id, "1")
    await link_order_line(
        database, SystemClock(), shop.merchant_id, order, "OLD", "A", actor="owner"
    )


def told_again(shop: Shop) -> list[tuple[object, ...]]:
    return shop.connection.execute(
        "SELECT a.name, d.reassert FROM offer_dirty d"
        " JOIN account a USING (merchant_id, account_id)"
        " WHERE d.field = 1 ORDER BY a.name"
    ).fetchall()


async def test_its_own_channel_is_told_again_though_the_wanted_quantity_stays(
    database: Database, shop: Shop
) -> None:
    """Capped at 4, so still 4 are wanted; the shelf may show 2."""
    await link(database, shop)
    desired = shop.connection.execute(
        "SELECT a.name, q.quantity FROM offer_desired_quantity q"
        " JOIN account a USING (merchant_id, account_id) ORDER BY a.name"
    ).fetchall()
    assert desired == [("east", 4), ("west", 8)]
    assert told_again(shop) == [("east", True), ("west", False)]
    # Another code was sold, so it was another shelf of theirs: nothing is known of ours.
    assert shop.connection.execute("SELECT units FROM offer_shelf_sale").fetchall() == []


@pytest.mark.parametrize("key", ["barcode = 'B-OLD'", "stock_code = 'OLD'"])
async def test_the_units_are_counted_where_the_line_names_that_listing(
    database: Database, shop: Shop, key: str
) -> None:
    """The order came before its listing was linked under the channel's code."""
    account = shop.accounts["east"]
    shop.connection.execute(
        f"UPDATE listing_key SET {key} WHERE account_id = %s",  # noqa: S608 – of this file
        (account,),
    )
    await link(database, shop)
    sales = shop.connection.execute(
        "SELECT account_id, listing_id, placed_us, units FROM offer_shelf_sale"
    ).fetchall()
    assert sales == [(account, shop.listings["east", "A"], microseconds(PLACED), 2)]
    assert told_again(shop) == [("east", True), ("west", False)]
