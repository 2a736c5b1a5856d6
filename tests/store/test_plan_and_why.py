"""The plan says what would go and why not; the explanation leads back to the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from meschain.app.queries.plan import PlanRow, read_plan
from meschain.app.queries.why import NotListed, read_why
from meschain.channel.clock import microseconds
from meschain.store.unit_of_work import Database
from meschain.testing.shop import NOW, NOW_US, Shop

Connection = psycopg.Connection[tuple[object, ...]]


class Clock:
    """Stands still, a minute after the shop was made."""

    def now(self) -> datetime:
        return NOW + timedelta(minutes=1)

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


CLOCK = Clock()
NOW_HERE_US = microseconds(CLOCK.now())


@pytest.fixture
def listed(shop: Shop) -> Shop:
    """Two SKUs and a set on an armed account that a hub serves; all in step, orders fresh."""
    shop.variant("A", on_hand=10, sale_minor=124_990)
    shop.variant("B", on_hand=5)
    shop.bundle("SET", {"A": 2, "B": 1})
    shop.account("east", lowers_own_shelf=True)
    shop.list_on("east", ["A", "B", "SET"])
    key = (shop.merchant_id, shop.accounts["east"])
    shop.connection.execute(
        "INSERT INTO ownership (merchant_id, account_id, owner, epoch, lease_until_us)"
        " VALUES (%s, %s, 'hub', 1, %s)",
        (*key, NOW_HERE_US + 5_000_000),
    )
    shop.connection.execute(
        "INSERT INTO order_cursor VALUES (%s, %s, %s, %s)", (*key, NOW_HERE_US, NOW_HERE_US)
    )
    return shop


async def rows(database: Database, shop: Shop) -> dict[tuple[str, str], PlanRow]:
    plan = await read_plan(database, CLOCK, shop.merchant_id)
    return {(row.sku, row.field): row for row in plan.rows}


def one(shop: Shop, statement: str, params: Iterable[object] = ()) -> None:
    shop.connection.execute(statement, tuple(params))


# — plan —


async def test_a_shelf_in_step_is_no_part_of_the_plan(database: Database, listed: Shop) -> None:
    plan = await read_plan(database, CLOCK, listed.merchant_id)
    assert plan.rows == []
    assert plan.totals == []


async def test_a_sale_and_a_price_show_what_is_shown_and_what_should_be(
    database: Database, listed: Shop
) -> None:
    listed.move({"B": -3})
    one(listed, "UPDATE variant SET sale_price_minor = 20000, list_price_minor = 20000"
        " WHERE sku = 'B'")  # fmt: skip
    one(
        listed,
        "SELECT refresh_desired_price(%s, %s::bigint[], %s)",
        (listed.merchant_id, [listed.variants["B"]], NOW_US),
    )
    found = await rows(database, listed)
    quantity = found["B", "quantity"]
    assert (quantity.quantity_shown, quantity.quantity_desired) == (5, 2)
    assert (quantity.change, quantity.verdict) == ("quantity_down", "now")
    assert found["SET", "quantity"].quantity_desired == 2
    price = found["B", "price"]
    assert price.change == "price_up"
    assert price.sale_price_shown is not None
    assert price.sale_price_desired is not None
    assert (price.sale_price_shown.amount, price.sale_price_desired.amount) == ("100.00", "200.00")
    assert next(iter(found))[0] == "B", "quantity downs go first"


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ("UPDATE account SET state = 'read_only'", "read_only"),
        ("UPDATE account SET state = 'paused'", "paused"),
        ("UPDATE account SET state = 'reconnect'", "reconnect"),
        ("UPDATE listing SET state = 'rejected'", "not_on_sale"),
        ("UPDATE ownership SET lease_until_us = 0", "nobody"),
        ("UPDATE order_cursor SET fresh_us = 0", "rise_held_back"),
        ("UPDATE offer_dirty SET not_before_us = 9000000000000000", "waiting"),
        ("DELETE FROM offer_dirty", "unnoticed"),
    ],
)
async def test_the_plan_says_why_a_rise_does_not_go_yet(
    database: Database, listed: Shop, statement: str, verdict: str
) -> None:
    listed.move({"B": 3})
    assert (await rows(database, listed))["B", "quantity"].verdict == "now"
    one(listed, statement)
    assert (await rows(database, listed))["B", "quantity"].verdict == verdict


async def test_lanes_that_rest_hold_everything_back(database: Database, listed: Shop) -> None:
    listed.move({"B": -1})
    one(
        listed,
        "INSERT INTO lane (merchant_id, account_id, name, interval_s, batch_size, importance,"
        " is_paused) VALUES (%s, %s, 'stock', 300, 200, 'critical', true)",
        (listed.merchant_id, listed.accounts["east"]),
    )
    assert (await rows(database, listed))["B", "quantity"].verdict == "paused"


async def test_what_the_channel_sold_itself_needs_no_push(database: Database, listed: Shop) -> None:
    listed.move({"B": -1})
    one(
        listed,
        "INSERT INTO offer_shelf_sale VALUES (%s, %s, %s, 1, %s, 1)",
        (listed.merchant_id, listed.accounts["east"], listed.listings["east", "B"],
         NOW_US + 30_000_000),
    )  # fmt: skip
    plan = await read_plan(database, CLOCK, listed.merchant_id)
    expected = [total for total in plan.totals if total.verdict == "expected"]
    assert [(total.change, total.offers) for total in expected] == [("same", 1)]


async def test_refused_and_in_flight_are_told_apart(database: Database, listed: Shop) -> None:
    listed.move({"A": -1, "B": -1})
    key = (listed.merchant_id, listed.accounts["east"])
    one(
        listed,
        "INSERT INTO offer_refusal VALUES (%s, %s, %s, 1, 99, '17', 'stok hatalı', '', %s)",
        (*key, listed.listings["east", "A"], NOW_US),
    )
    one(
        listed,
        "INSERT INTO offer_inflight VALUES (%s, %s, %s, 1, 5, 99, 4, NULL, NULL, NULL, %s)",
        (*key, listed.listings["east", "B"], NOW_US),
    )
    one(listed, "DELETE FROM offer_dirty")
    found = await rows(database, listed)
    assert found["A", "quantity"].verdict == "refused"
    assert found["A", "quantity"].words == "stok hatalı"
    assert found["B", "quantity"].verdict == "in_flight"


async def test_totals_count_what_the_limit_leaves_out(database: Database, listed: Shop) -> None:
    listed.move({"A": -1, "B": -1})
    plan = await read_plan(database, CLOCK, listed.merchant_id, limit=1)
    assert len(plan.rows) == 1
    assert plan.count("now") == 3


async def test_a_plan_never_shows_another_merchant(
    database: Database, listed: Shop, connection: Connection
) -> None:
    listed.move({"A": -1})
    other = Shop.open(connection, "Demir")
    plan = await read_plan(database, CLOCK, other.merchant_id)
    assert plan.rows == []
    assert plan.accounts == {}


# — why —


async def test_a_quantity_leads_back_to_levels_policy_and_movements(
    database: Database, listed: Shop
) -> None:
    one(listed, "UPDATE account SET share_bps = 5000, buffer_units = 1, quantity_max = 3")
    one(listed, "UPDATE stock_level SET safety_stock = 2 WHERE variant_id = %s",
        [listed.variants["A"]])  # fmt: skip
    listed.move({"A": 4}, kind="adjustment")
    why = await read_why(database, CLOCK, listed.merchant_id, listed.accounts["east"], "A")
    [level] = why.levels
    assert (level.on_hand, level.reserved, level.safety_stock, level.available) == (14, 0, 2, 12)
    assert level.agrees
    assert why.available == 12
    assert (why.share_bps, why.buffer_units, why.quantity_max) == (5_000, 1, 3)
    assert why.quantity_recomputed == why.quantity_desired == 3, "12 × 50 % − 1 = 5, at most 3"
    assert why.agrees
    assert why.quantity_shown == 10
    assert why.shown_since == datetime.fromtimestamp(NOW_US / 1e6, UTC)
    assert [(m.kind, m.on_hand_delta) for m in why.movements] == [
        ("adjustment", 4),
        ("receipt", 10),
    ]
    assert why.fields[0].waiting_since is not None
    assert why.sale_price is not None
    assert why.sale_price.amount == "1249.90"


async def test_a_set_is_explained_by_its_components(database: Database, listed: Shop) -> None:
    why = await read_why(database, CLOCK, listed.merchant_id, listed.accounts["east"], "SET")
    assert why.is_bundle
    assert [(level.sku, level.units_per_bundle, level.available) for level in why.levels] == [
        ("A", 2, 10),
        ("B", 1, 5),
    ]
    assert why.available == why.quantity_recomputed == 5
    assert {movement.sku for movement in why.movements} == {"A", "B"}


async def test_a_stored_quantity_that_does_not_follow_is_seen(
    database: Database, listed: Shop
) -> None:
    one(listed, "UPDATE offer_desired_quantity SET quantity = 7 WHERE listing_id = %s",
        [listed.listings["east", "B"]])  # fmt: skip
    one(listed, "UPDATE stock_level SET on_hand = 6 WHERE variant_id = %s",
        [listed.variants["B"]])  # fmt: skip
    why = await read_why(database, CLOCK, listed.merchant_id, listed.accounts["east"], "B")
    assert (why.quantity_desired, why.quantity_recomputed) == (7, 6)
    assert not why.agrees
    assert not why.levels[0].agrees, "the ledger still says 5"


async def test_what_is_not_listed_is_told_from_what_is_unknown(
    database: Database, listed: Shop
) -> None:
    listed.variant("C")
    for sku, is_known in (("C", True), ("D", False)):
        with pytest.raises(NotListed) as absent:
            await read_why(database, CLOCK, listed.merchant_id, listed.accounts["east"], sku)
        assert absent.value.is_known is is_known
