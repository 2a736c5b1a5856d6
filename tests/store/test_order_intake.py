"""Order intake: what a sale does, whatever order its observations come in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from meschain.channel.clock import SystemClock
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
from meschain.sync.intake import Intake, Taken
from meschain.testing.shop import NOW, NOW_US, Shop

SECOND = 1_000_000
S = PackageState


@dataclass
class Desk:
    """One account's intake, and eyes for what it does."""

    shop: Shop
    intake: Intake
    account_id: int
    woken: list[int] = field(default_factory=list)

    async def take(self, order: OrderObservation) -> str:
        taken = await self.intake.take(order, detected_by="poll", now=NOW)
        return "known" if taken is None else taken.outcome

    def rows(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        return self.shop.connection.execute(statement, params).fetchall()

    def level(self, sku: str) -> tuple[int, int]:
        """(on hand, reserved) over all locations; checked against the ledger."""
        variant = self.shop.variants[sku]
        ((on_hand, reserved),) = self.rows(
            "SELECT sum(on_hand), sum(reserved) FROM stock_level WHERE variant_id = %s", variant
        )
        ((moved, promised),) = self.rows(
            "SELECT coalesce(sum(on_hand_delta), 0), coalesce(sum(reserved_delta), 0)"
            " FROM stock_movement WHERE variant_id = %s",
            variant,
        )
        ((open_units,),) = self.rows(
            "SELECT coalesce(sum(units_reserved), 0) FROM reservation WHERE variant_id = %s",
            variant,
        )
        assert (on_hand, reserved) == (moved, promised), "the level is the sum of its movements"
        assert reserved == open_units, "reserved is the sum of open reservations"
        return on_hand, reserved

    def desired(self, account: str, sku: str) -> int:
        ((quantity,),) = self.rows(
            "SELECT quantity FROM offer_desired_quantity WHERE listing_id = %s",
            self.shop.listings[account, sku],
        )
        assert isinstance(quantity, int)
        return quantity

    def states(self) -> dict[str, str | None]:
        return dict(self.rows("SELECT external_id, state FROM package ORDER BY external_id"))

    def alerts(self) -> dict[str, int]:
        return dict(self.rows("SELECT kind, sum(times)::int FROM alert GROUP BY kind"))

    def movements(self, sku: str) -> list[tuple[str, int, int]]:
        return self.rows(
            "SELECT kind, on_hand_delta, reserved_delta FROM stock_movement"
            " WHERE variant_id = %s AND kind NOT IN ('receipt', 'adjustment') ORDER BY movement_id",
            self.shop.variants[sku],
        )


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, app_connections=8)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def desk(shop: Shop, database: Database, tmp_path: Path) -> Desk:
    """SKUs A and B with 10 units each, on ``east`` (lowers its own shelf) and ``west``."""
    for sku in ("A", "B"):
        shop.variant(sku, on_hand=10)
    east = shop.account("east", lowers_own_shelf=True)
    shop.account("west")
    for name in ("east", "west"):
        shop.list_on(name, ["A", "B"])
    keys = DataKeys(database, Vault.at(tmp_path / "master.key"), SystemClock())
    intake = Intake(database, keys, merchant_id=shop.merchant_id, account_id=east, name="east")
    desk = Desk(shop, intake, east)
    database.on_commit(lambda _merchant, accounts: desk.woken.extend(accounts))
    return desk


def line(sku: str, units: int = 1, *, line_id: str = "", price: str = "100") -> LineObservation:
    return LineObservation(
        external_id=line_id or f"L-{sku}",
        sku=sku,
        barcode=f"B{sku}",
        title=f"Kazak {sku}",
        quantity=units,
        unit_gross=Decimal(price),
        unit_seller_discount=Decimal(0),
        unit_marketplace_discount=Decimal(0),
        payable=Decimal(price) * units,
        vat_percent=Decimal(20),
        commission_percent=Decimal(13),
    )


def package(
    number: str,
    *lines: LineObservation,
    state: PackageState | None = S.CREATED,
    minute: float = 0,
    origins: tuple[str, ...] = (),
    total: str | None = None,
    raw: str = "",
) -> PackageObservation:
    return PackageObservation(
        external_id=number,
        state=state,
        state_raw=raw or (state.value if state else "?"),
        modified_at=NOW + timedelta(minutes=minute),
        lines=lines,
        cargo_code=f"728{number}",
        origin_package_ids=origins,
        total=None if total is None else Decimal(total),
    )


def order(
    number: str, *packages: PackageObservation, placed: timedelta = timedelta(), whole: bool = False
) -> OrderObservation:
    return OrderObservation(
        external_id=number,
        placed_at=NOW + placed,
        currency="TRY",
        packages=packages,
        buyer=Buyer(full_name="Ayşe Kaya"),
        shipping_address=Address(city="İzmir", country_code="TR"),
        invoice_address=Address(),
        is_whole=whole,
        raw=b"{}",
    )


# — a sale —


async def test_a_sale_reserves_and_lowers_every_listing_of_its_sku(desk: Desk) -> None:
    assert await desk.take(order("1", package("P1", line("A", 3)))) == "new"
    assert desk.level("A") == (10, 3)
    assert (desk.desired("east", "A"), desk.desired("west", "A")) == (7, 7)
    assert desk.desired("west", "B") == 10
    assert desk.movements("A") == [("allocation", 0, 3)]
    assert desk.rows("SELECT account_id, field, urgency FROM offer_dirty ORDER BY account_id") == [
        (desk.shop.accounts["east"], 1, 0),
        (desk.shop.accounts["west"], 1, 0),
    ]
    assert sorted(desk.woken) == sorted(desk.shop.accounts.values())
    assert desk.rows("SELECT kind, account_id FROM event") == [("order.new", desk.account_id)]


async def test_the_same_observation_again_changes_nothing(desk: Desk, database: Database) -> None:
    sale = order("1", package("P1", line("A", 3)))
    await desk.take(sale)
    before = desk.rows("SELECT * FROM stock_movement")
    assert await desk.take(sale) == "known"
    assert await forgetful(desk, database).take(sale) == "same"
    assert desk.rows("SELECT * FROM stock_movement") == before
    assert desk.level("A") == (10, 3)
    assert len(desk.rows("SELECT 1 FROM event")) == 1


async def test_an_older_version_that_comes_late_is_ignored(desk: Desk, database: Database) -> None:
    await desk.take(order("1", package("P1", line("A", 2), state=S.CANCELLED, minute=5)))
    late = order("1", package("P1", line("A", 2), state=S.CREATED, minute=1))
    assert await forgetful(desk, database).take(late) == "same"
    assert desk.states() == {"P1": "cancelled"}
    assert desk.level("A") == (10, 0)


async def test_cancelling_releases_and_shipping_sells(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2))))
    await desk.take(order("2", package("P2", line("A", 3))))
    assert desk.level("A") == (10, 5)
    await desk.take(order("1", package("P1", line("A", 2), state=S.CANCELLED, minute=1)))
    assert desk.level("A") == (10, 3)
    await desk.take(order("2", package("P2", line("A", 3), state=S.SHIPPED, minute=1)))
    assert desk.level("A") == (7, 0)
    assert desk.desired("west", "A") == 7
    assert desk.movements("A") == [
        ("allocation", 0, 2),
        ("allocation", 0, 3),
        ("release", 0, -2),
        ("sale", -3, -3),
    ]


async def test_an_order_first_seen_when_it_has_left_is_a_sale_at_once(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2), state=S.DELIVERED)))
    assert desk.level("A") == (8, 0)
    assert desk.movements("A") == [("sale", -2, 0)]


async def test_returned_goods_come_back_by_a_count_and_not_by_the_state(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2), state=S.DELIVERED)))
    await desk.take(order("1", package("P1", line("A", 2), state=S.RETURNED, minute=1)))
    assert desk.level("A") == (8, 0)


async def test_an_order_in_its_payment_check_reserves(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2), state=S.HELD)))
    assert desk.level("A") == (10, 2)


# — states —


async def test_an_illegal_step_is_refused_and_said(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2), state=S.SHIPPED)))
    assert (
        await desk.take(order("1", package("P1", line("A", 2), state=S.CREATED, minute=1)))
        == "same"
    )
    assert desk.states() == {"P1": "shipped"}
    assert desk.level("A") == (8, 0)
    assert desk.alerts() == {"alert.order.illegal_transition": 1}


async def test_an_unknown_state_is_kept_raw_and_moves_nothing(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2))))
    await desk.take(order("1", package("P1", line("A", 2), state=None, raw="Teleported", minute=1)))
    assert desk.rows("SELECT state, state_raw FROM package") == [("created", "Teleported")]
    assert desk.level("A") == (10, 2)
    assert desk.alerts() == {"alert.order.unknown_state": 1}
    await desk.take(order("1", package("P1", line("A", 2), state=S.SHIPPED, minute=2)))
    assert desk.level("A") == (8, 0)


async def test_an_order_first_seen_in_an_unknown_state_reserves_to_be_safe(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2), state=None, raw="Teleported")))
    assert desk.rows("SELECT state FROM package") == [(None,)]
    assert desk.level("A") == (10, 2)


# — unknown SKUs —


async def test_an_order_for_an_unknown_sku_is_kept_and_linkable(
    desk: Desk, database: Database
) -> None:
    await desk.take(order("1", package("P1", line("A"), line("X", 4))))
    assert desk.rows("SELECT item_key, variant_id IS NULL FROM order_line ORDER BY 1") == [
        ("A", False),
        ("X", True),
    ]
    assert desk.alerts() == {"alert.order.unknown_sku": 1}
    assert desk.level("A") == (10, 1)
    ((order_id,),) = desk.rows("SELECT order_id FROM orders")
    key = {"merchant": desk.shop.merchant_id, "order": order_id}
    async with database.merchant(desk.shop.merchant_id) as unit:
        link = {"variant": desk.shop.variants["B"], "item_key": "X"}
        await unit.run("order.link_line", key | link)
        await unit.run("order.settle", key | {"actor": "owner", "now": NOW, "now_us": NOW_US})
    assert desk.level("B") == (10, 4)
    assert desk.desired("west", "B") == 6


# — bundles and locations —


async def test_a_bundle_takes_its_components_and_lowers_what_they_are_in(desk: Desk) -> None:
    desk.shop.bundle("SET", {"A": 2, "B": 1})
    desk.shop.list_on("west", ["SET"])
    assert desk.desired("west", "SET") == 5
    await desk.take(order("1", package("P1", line("SET", 2))))
    assert desk.level("A") == (10, 4)
    assert desk.level("B") == (10, 2)
    assert desk.desired("west", "SET") == 3
    assert (desk.desired("west", "A"), desk.desired("west", "B")) == (6, 8)
    await desk.take(order("2", package("P2", line("A", 5))))
    assert desk.desired("west", "SET") == 0


async def test_a_component_that_left_its_bundle_is_not_promised_for_ever(desk: Desk) -> None:
    desk.shop.bundle("SET", {"A": 2, "B": 1})
    await desk.take(order("1", package("P1", line("SET", 1))))
    desk.shop.connection.execute(
        "DELETE FROM bundle_component WHERE component_variant_id = %s", (desk.shop.variants["B"],)
    )
    await desk.take(order("1", package("P1", line("SET", 1), state=S.CANCELLED, minute=1)))
    assert (desk.level("A"), desk.level("B")) == ((10, 0), (10, 0))
    assert desk.desired("west", "B") == 10


async def test_with_several_locations_no_unit_is_shown_that_is_promised(desk: Desk) -> None:
    """5 of 6 units are sold at once, 3 lie here and 3 there: 1 is left, wherever it lies."""
    shop = desk.shop
    shop.variant("C", on_hand=3)
    ((second,),) = desk.rows(
        "INSERT INTO location (merchant_id, code, name) VALUES (%s, 'second', 'Mağaza')"
        " RETURNING location_id",
        shop.merchant_id,
    )
    main, shop.location_id = shop.location_id, second
    shop.move({"C": 3})
    shop.location_id = main
    shop.list_on("west", ["C"])
    assert desk.desired("west", "C") == 6
    await desk.take(order("1", package("P1", line("C", 5))))
    assert desk.level("C") == (6, 5)
    assert desk.desired("west", "C") == 1
    assert desk.rows("SELECT units_backorder FROM order_line") == [(0,)]
    assert "alert.stock.oversold" not in desk.alerts()


async def test_an_account_fed_from_one_location_sells_from_it(desk: Desk) -> None:
    shop = desk.shop
    ((second,),) = desk.rows(
        "INSERT INTO location (merchant_id, code, name) VALUES (%s, 'second', 'Mağaza')"
        " RETURNING location_id",
        shop.merchant_id,
    )
    main, shop.location_id = shop.location_id, second
    shop.move({"A": 4})
    shop.location_id = main
    desk.rows(
        "UPDATE account SET location_ids = %s WHERE account_id = %s RETURNING 1",
        [second],
        desk.account_id,
    )
    await desk.take(order("1", package("P1", line("A", 1))))
    assert desk.rows("SELECT location_id, units_reserved FROM reservation") == [(second, 1)]
    assert desk.level("A") == (14, 1)
    assert (desk.desired("east", "A"), desk.desired("west", "A")) == (3, 13)


async def test_goods_never_counted_where_an_account_sells_are_booked_at_home(desk: Desk) -> None:
    """Counted in the second shop only, sold by an account that is fed from the third."""
    shop = desk.shop
    ((second,), (third,)) = desk.rows(
        "INSERT INTO location (merchant_id, code, name) SELECT %s, code, code"
        " FROM unnest('{second,third}'::text[]) code RETURNING location_id",
        shop.merchant_id,
    )
    home, shop.location_id = shop.location_id, second
    shop.variant("C", on_hand=4)
    shop.location_id = home
    shop.list_on("east", ["C"])
    desk.rows(
        "UPDATE account SET location_ids = %s WHERE account_id = %s RETURNING 1",
        [third],
        desk.account_id,
    )
    await desk.take(order("1", package("P1", line("C", 1))))
    assert desk.rows("SELECT location_id, units_reserved FROM reservation") == [(home, 1)]
    assert desk.level("C") == (4, 1)  # and as the ledger says it
    assert desk.alerts() == {"alert.stock.oversold": 1}


async def test_a_refused_intake_leaves_nothing_and_the_connection_goes_on(desk: Desk) -> None:
    """Merchant, call and commit travel together; an error on the way ends all of it."""
    broken = order("1", package("P1", replace(line("A", 1), quantity=0)))
    for _ in range(20):  # more often than there are connections
        with pytest.raises(psycopg.errors.CheckViolation):
            await desk.take(broken)
    assert desk.rows("SELECT 1 FROM orders") == []
    assert desk.woken == []
    assert await desk.take(order("1", package("P1", line("A", 1)))) == "new"


# — splits —


async def test_a_broken_up_package_keeps_its_units_promised_until_its_parts_are_seen(
    desk: Desk,
) -> None:
    """Or else they would stand on the shelves for a moment, and be sold a second time."""
    await desk.take(order("1", package("P1", line("A", 4))))
    await desk.take(order("1", package("P1", line("A", 4), state=S.SUPERSEDED, minute=1)))
    assert desk.level("A") == (10, 4)
    assert desk.desired("west", "A") == 6
    await desk.take(order("1", package("P2", line("A", 1), minute=1, origins=("P1",))))
    assert desk.level("A") == (10, 4)
    await desk.take(order("1", package("P3", line("A", 3), minute=1, origins=("P1",))))
    assert desk.level("A") == (10, 4)
    await desk.take(
        order("1", package("P2", line("A", 1), state=S.SHIPPED, minute=2, origins=("P1",)))
    )
    assert desk.level("A") == (9, 3)
    assert desk.movements("A") == [("allocation", 0, 4), ("sale", -1, -1)]


async def test_parts_that_are_seen_before_their_parent_is_broken_up_are_not_counted_twice(
    desk: Desk,
) -> None:
    """The deliveries of a split come in any order."""
    await desk.take(order("1", package("P1", line("A", 4))))
    await desk.take(order("1", package("P2", line("A", 1), minute=1, origins=("P1",))))
    assert desk.level("A") == (10, 4)
    await desk.take(order("1", package("P3", line("A", 3), minute=1, origins=("P1",))))
    await desk.take(order("1", package("P1", line("A", 4), state=S.SUPERSEDED, minute=1)))
    assert desk.level("A") == (10, 4)
    assert desk.movements("A") == [("allocation", 0, 4)]
    assert desk.rows("SELECT units_ordered FROM order_line") == [(4,)]
    assert desk.rows("SELECT units FROM offer_shelf_sale") == [(4,)]


async def test_parts_without_a_named_origin_are_known_by_the_line_that_survives(
    desk: Desk,
) -> None:
    """Where the marketplace names no origin, one part keeps the line's id."""
    await desk.take(order("1", package("P1", line("A", 4, line_id="L1"))))
    parts = (
        package("P2", line("A", 1, line_id="L9"), minute=1),
        package("P3", line("A", 3, line_id="L1"), minute=1),
    )
    await desk.take(order("1", *parts))
    assert desk.level("A") == (10, 4)
    await desk.take(
        order("1", package("P1", line("A", 4, line_id="L1"), state=S.SUPERSEDED, minute=1))
    )
    assert desk.level("A") == (10, 4)
    assert desk.rows("SELECT units_ordered FROM order_line") == [(4,)]


async def test_an_order_read_whole_heals_what_single_parts_made_too_large(desk: Desk) -> None:
    """A part with a new line id and no origin, seen alone, could be more goods: promised first."""
    await desk.take(order("1", package("P1", line("A", 4, line_id="L1"))))
    part = package("P2", line("A", 1, line_id="L9"), minute=1)
    await desk.take(order("1", part))
    assert desk.level("A") == (10, 5)
    parent = package("P1", line("A", 4, line_id="L1"), state=S.SUPERSEDED, minute=1)
    rest = package("P3", line("A", 3, line_id="L1"), minute=1)
    await desk.take(order("1", parent, part, rest, whole=True))
    assert desk.level("A") == (10, 4)
    assert desk.desired("west", "A") == 6


async def test_an_order_read_whole_heals_also_when_every_package_was_seen_before(
    desk: Desk,
) -> None:
    await desk.take(order("1", package("P1", line("A", 4, line_id="L1"))))
    part = package("P2", line("A", 1, line_id="L9"), minute=1)
    rest = package("P3", line("A", 3, line_id="L1"), minute=1)
    parent = package("P1", line("A", 4, line_id="L1"), state=S.SUPERSEDED, minute=1)
    for seen in (part, parent, rest):
        await desk.take(order("1", seen))
    assert desk.level("A") == (10, 5)
    assert await desk.take(order("1", parent, part, rest, whole=True)) == "changed"
    assert desk.level("A") == (10, 4)
    assert await desk.take(order("1", parent, part, rest, whole=True)) == "same"


async def test_an_order_read_whole_before_its_parts_exist_keeps_them_promised(desk: Desk) -> None:
    """Parts are made asynchronously; the read may fall between."""
    await desk.take(order("1", package("P1", line("A", 4))))
    parent = package("P1", line("A", 4), state=S.SUPERSEDED, minute=1)
    part = package("P2", line("A", 1), minute=1, origins=("P1",))
    await desk.take(order("1", parent, whole=True))
    assert desk.level("A") == (10, 4)
    await desk.take(order("1", parent, part, whole=True))
    assert desk.level("A") == (10, 4)


async def test_an_order_whose_new_part_is_unclear_asks_to_be_read_whole(desk: Desk) -> None:
    async def take(seen: OrderObservation) -> Taken:
        taken = await desk.intake.take(seen, detected_by="poll", now=NOW)
        assert taken is not None
        return taken

    first = await take(order("1", package("P1", line("A", 4, line_id="L1"))))
    named = await take(order("1", package("P2", line("A", 1), minute=1, origins=("P1",))))
    alone = await take(order("1", package("P3", line("A", 1, line_id="L9"), minute=1)))
    assert (first.is_unclear, named.is_unclear, alone.is_unclear) == (False, False, True)


async def test_units_cancelled_out_of_a_package_are_released_and_the_rest_stays(
    desk: Desk,
) -> None:
    await desk.take(order("1", package("P1", line("A", 4), line("B", 1))))
    await desk.take(
        order(
            "1",
            package("P1", line("A", 4), line("B", 1), state=S.SUPERSEDED, minute=1),
            package("P2", line("A", 1), state=S.CANCELLED, minute=1, origins=("P1",)),
            package("P3", line("A", 3), line("B", 1), minute=1, origins=("P1",)),
        )
    )
    assert desk.level("A") == (10, 3)
    assert desk.level("B") == (10, 1)


async def test_a_line_that_left_its_package_is_released(desk: Desk) -> None:
    """Some marketplaces take a cancelled line out of the package in place."""
    await desk.take(order("1", package("P1", line("A", 4), line("B", 2))))
    await desk.take(order("1", package("P1", line("A", 3), minute=1)))
    assert (desk.level("A"), desk.level("B")) == ((10, 3), (10, 0))
    assert desk.desired("west", "B") == 10


# — beyond stock —


async def test_sold_beyond_stock_is_said_truthfully(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 8))))
    await desk.take(order("2", package("P2", line("A", 5))))
    assert desk.level("A") == (10, 13)
    assert desk.desired("west", "A") == 0
    assert desk.rows(
        "SELECT o.external_id, l.units_backorder FROM order_line l JOIN orders o"
        " USING (merchant_id, order_id) ORDER BY 1"
    ) == [("1", 0), ("2", 3)]
    assert desk.alerts() == {"alert.stock.oversold": 1}


async def test_a_variant_that_was_never_counted_can_be_sold(desk: Desk) -> None:
    desk.shop.variant("NEVER")
    desk.shop.list_on("east", ["NEVER"])
    await desk.take(order("1", package("P1", line("NEVER", 1))))
    assert desk.level("NEVER") == (0, 1)
    assert desk.desired("east", "NEVER") == 0


# — the channel lowers its own shelf —


async def test_a_sale_that_leaves_the_wanted_quantity_as_it_was_still_restocks_its_own_shelf(
    desk: Desk,
) -> None:
    """A channel capped at 5 has lowered its shelf to 4: it must be told 5 again."""
    desk.shop.connection.execute("UPDATE account SET quantity_max = 5")
    desk.shop.move({"A": 0, "B": 0})
    desk.shop.connection.execute(
        "UPDATE offer_acknowledged SET quantity = 5, quantity_revision = 9"
    )
    desk.shop.connection.execute("UPDATE offer_desired_quantity SET quantity = 5, revision = 9")
    desk.shop.connection.execute("DELETE FROM offer_dirty")
    await desk.take(order("1", package("P1", line("A", 1)), placed=timedelta(minutes=1)))
    assert (desk.desired("east", "A"), desk.desired("west", "A")) == (5, 5)
    assert desk.rows("SELECT account_id, listing_id FROM offer_dirty") == [
        (desk.account_id, desk.shop.listings["east", "A"])
    ]
    claimed = desk.rows(
        "SELECT o_listing_id, o_quantity FROM claim_offers(%s::int[], %s::int[], '{9}', '{9}',"
        " '{9}', '{true}', '{false}', '{false}', '{2}', '{0}', '{1}', %s, %s, %s)",
        [desk.shop.merchant_id],
        [desk.account_id],
        NOW_US + 100 * SECOND,
        NOW_US + 120 * SECOND,
        2 * SECOND,
    )
    assert claimed == [(desk.shop.listings["east", "A"], 5)]
    assert desk.account_id in desk.woken


async def test_a_sale_first_seen_when_it_was_cancelled_again_restocks_its_own_shelf(
    desk: Desk,
) -> None:
    """The hub was down for both; the channel lowered its shelf and did not raise it again."""
    for number, account in enumerate(("east", "west")):  # one lowers its shelf, one may
        desk.intake._account_id = desk.shop.accounts[account]  # noqa: SLF001 – the other's desk
        gone = package(f"P{number}", line("A", 1), state=S.CANCELLED)
        assert await desk.take(order(str(number), gone)) == "new"
    assert desk.level("A") == (10, 0)
    assert desk.rows("SELECT account_id, reassert FROM offer_dirty ORDER BY 1") == [
        (desk.shop.accounts["east"], True),
        (desk.shop.accounts["west"], True),
    ]


# — money —


async def test_sums_that_differ_from_what_is_stated_are_said(desk: Desk) -> None:
    await desk.take(order("1", package("P1", line("A", 2, price="19.995"), total="39.99")))
    await desk.take(order("2", package("P2", line("A", 1, price="20"), total="20.00")))
    assert desk.alerts() == {}
    await desk.take(order("3", package("P3", line("A", 1, price="20"), total="20.01")))
    assert desk.alerts() == {"alert.order.total_mismatch": 1}


async def test_the_document_is_rounded_once_and_cancelled_parts_are_not_in_it(desk: Desk) -> None:
    lines = (line("A", 3, price="3.3333"), line("B", 1, price="1.001", line_id="L2"))
    await desk.take(order("1", package("P1", *lines)))
    assert desk.rows("SELECT payable, payable_minor FROM orders") == [(Decimal("11.0009"), 1100)]
    await desk.take(
        order(
            "1",
            package("P1", *lines, state=S.SUPERSEDED, minute=1),
            package("P2", lines[0], minute=1, origins=("P1",)),
            package("P3", lines[1], state=S.CANCELLED, minute=1, origins=("P1",)),
        )
    )
    assert desk.rows("SELECT payable, payable_minor FROM orders") == [(Decimal("9.9999"), 1000)]


# — personal data —


async def test_nothing_personal_stands_in_the_database_unsealed(desk: Desk) -> None:
    marks = {
        name: f"MARK{number}{name}"
        for number, name in enumerate(
            ("name", "mail", "company", "office", "tax", "person", "street", "hood", "phone", "raw")
        )
    }
    address = Address(
        full_name=marks["name"],
        company=marks["company"],
        street=marks["street"],
        neighborhood=marks["hood"],
        district="Konak",
        city="İzmir",
        postal_code="35000",
        country_code="TR",
        phone=marks["phone"],
    )
    sale = replace(
        order("1", package("P1", line("A"))),
        buyer=Buyer(
            full_name=marks["name"],
            email=marks["mail"],
            is_company=True,
            company_name=marks["company"],
            tax_office=marks["office"],
            tax_number=marks["tax"],
            identity_number=marks["person"],
        ),
        shipping_address=address,
        invoice_address=address,
        raw=marks["raw"].encode(),
    )
    await desk.take(sale)
    await desk.take(replace(sale, packages=(package("P1", line("A"), state=None, minute=1),)))
    dumped = "\n".join(dump(desk.shop.connection))
    assert "İzmir" in dumped  # the dump sees what is there
    assert [name for name, mark in marks.items() if mark in dumped] == []
    assert [n for n, mark in marks.items() if mark.encode().hex() in dumped] == []
    ((sealed, number),) = desk.rows("SELECT person_sealed, key_number FROM orders")
    opened = desk.intake._keys.vault.open(  # noqa: SLF001 – who holds the key can read it
        desk.shop.merchant_id, number, "order.person", bytes(sealed)
    )
    assert marks["tax"].encode() in opened


async def test_an_address_that_comes_later_is_taken_and_one_that_is_hidden_later_is_not(
    desk: Desk,
) -> None:
    def seen(name: str, city: str, minute: float, state: PackageState) -> OrderObservation:
        return replace(
            order("1", package("P1", line("A"), state=state, minute=minute)),
            buyer=Buyer(full_name=name),
            shipping_address=Address(full_name=name, city=city, country_code="TR"),
        )

    def buyer() -> bytes:
        ((sealed, number),) = desk.rows("SELECT person_sealed, key_number FROM orders")
        vault = desk.intake._keys.vault  # noqa: SLF001 – who holds the key can read it
        return vault.open(desk.shop.merchant_id, number, "order.person", bytes(sealed))

    await desk.take(seen("", "", 0, S.CREATED))
    await desk.take(seen("Ayşe Kaya", "İzmir", 2, S.PICKING))
    assert "Ayşe Kaya".encode() in buyer()
    assert desk.rows("SELECT city FROM orders") == [("İzmir",)]
    await desk.take(seen("Eski Ad", "Bursa", 1, S.CREATED))
    await desk.take(seen("***", "", 3, S.INVOICED))
    await desk.take(seen("A*** K***", "İzmir", 4, S.SHIPPED))
    assert "Ayşe Kaya".encode() in buyer()
    assert desk.rows("SELECT city FROM orders") == [("İzmir",)]


def dump(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    """Every row of every table as text."""
    tables = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p')"
        " AND c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    rows: list[str] = []
    for (table,) in tables:
        rows += [
            str(row[0])
            for row in connection.execute(f"SELECT t::text FROM {table} t")  # noqa: S608
        ]
    return rows


# — many at once —


async def test_the_last_units_sold_by_eight_at_once_are_all_booked_and_nobody_deadlocks(
    desk: Desk, database: Database, tmp_path: Path
) -> None:
    """Shared SKUs and bundles of them, in every order; some orders are cancelled meanwhile."""
    desk.shop.bundle("SET1", {"A": 1, "B": 2})
    desk.shop.bundle("SET2", {"B": 1, "A": 2})
    desk.shop.list_on("west", ["SET1", "SET2"])
    desk.shop.list_on("east", ["SET1", "SET2"])
    keys = DataKeys(database, Vault.at(tmp_path / "master.key"), SystemClock())
    west = desk.shop.accounts["west"]
    intakes = [
        Intake(database, keys, merchant_id=desk.shop.merchant_id, account_id=account, name="x")
        for account in (desk.account_id, west) * 4
    ]
    baskets = [("A", "B"), ("B", "A"), ("SET1",), ("SET2", "A"), ("B", "SET1"), ("SET2",)]

    async def sell(worker: int) -> None:
        for number in range(12):
            skus = baskets[(worker + number) % len(baskets)]
            sold = package(f"P{worker}-{number}", *(line(sku) for sku in skus))
            sale = order(f"{worker}-{number}", sold)
            await intakes[worker].take(sale, detected_by="poll", now=NOW)
            if number % 3 == 0:
                cancelled = replace(
                    sold, state=S.CANCELLED, state_raw="x", modified_at=NOW + timedelta(hours=1)
                )
                gone = replace(sale, packages=(cancelled,))
                await intakes[worker].take(gone, detected_by="webhook", now=NOW)

    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(sell(worker))

    contents = {"A": {"A": 1}, "B": {"B": 1}, "SET1": {"A": 1, "B": 2}, "SET2": {"B": 1, "A": 2}}
    wanted = Counter[str]()
    kept = [(w, n) for w in range(8) for n in range(12) if n % 3]
    for sku in (sku for w, n in kept for sku in baskets[(w + n) % len(baskets)]):
        wanted.update(contents[sku])
    assert desk.level("A") == (10, wanted["A"])
    assert desk.level("B") == (10, wanted["B"])
    assert len(desk.rows("SELECT 1 FROM orders")) == 96
    for account in ("east", "west"):
        for sku in contents:
            assert desk.desired(account, sku) == 0


def forgetful(desk: Desk, database: Database) -> Desk:
    """The same account in a process that has just started."""
    intake = Intake(
        database,
        desk.intake._keys,  # noqa: SLF001 – the same keys
        merchant_id=desk.shop.merchant_id,
        account_id=desk.account_id,
        name="east",
    )
    return Desk(desk.shop, intake, desk.account_id)
