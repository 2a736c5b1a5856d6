"""Demand: replayed by the seed, true to the shelves, shaped by the hour."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meschain.sandbox.clock import StandingClock
from meschain.sandbox.demand import PEAK, TURKEY, DemandSettings, relative_demand
from meschain.sandbox.economy import Economy, EconomySettings
from meschain.sandbox.world import Order, ParcelState, Shelf, ShelfState, Shop

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
Sketch = list[tuple[str, str, int, tuple[tuple[str, int], ...], tuple[tuple[int, ...], ...]]]


def economy(
    *, seed: int = 1, shelves: int = 200, quantity: int = 1000, **settings: object
) -> Economy:
    """Two shops that show the same goods."""
    told = replace(DemandSettings(is_on=True), **settings)  # type: ignore[arg-type]
    made = Economy(seed=seed, settings=EconomySettings(demand=told), clock=StandingClock(MONDAY))
    for marketplace in ("east", "west"):
        shop = made.world.open_shop(Shop(marketplace, "1", {}, ""))
        for number in range(shelves):
            made.world.add_shelf(
                shop,
                Shelf(
                    f"key-{number}",
                    f"barcode-{number}",
                    f"sku-{number}",
                    f"Goods {number}",
                    quantity,
                    12_990,
                    9_999,
                    20,
                    ShelfState.ON_SALE,
                ),
            )
    return made


def let_pass(made: Economy, *, minutes: int) -> None:
    assert isinstance(made.clock, StandingClock)
    for _ in range(minutes * 15):
        made.clock.turn(4)  # less than the lag at which arrivals are forgone
        while made.agenda.run_due():
            pass


def sketch(orders: list[Order]) -> Sketch:
    return [
        (
            order.shop.marketplace,
            order.placed_at.isoformat(),
            order.buyer.number,
            tuple((line.shelf.key, line.units) for line in order.lines),
            tuple(line.unit_seller_discounts_minor for line in order.lines),
        )
        for order in orders
    ]


def test_a_seed_replays_the_same_orders_and_another_seed_does_not() -> None:
    told = []
    for seed in (5, 5, 6):
        made = economy(seed=seed, orders_per_minute=6.0, cancel_share=0.3)
        made.demand.restart()
        let_pass(made, minutes=20)
        told.append((sketch(made.world.orders), [e.facts for e in made.world.journal]))
    assert len(told[0][0]) > 80
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_after_a_reset_the_same_buyers_come_again() -> None:
    made = economy()
    first = [made.demand.draw_order() for _ in range(20)]
    made.demand.reset()
    again = [made.demand.draw_order() for _ in range(20)]
    assert [o and o.buyer.number for o in first] == [o and o.buyer.number for o in again]


def test_buyers_take_only_what_is_on_sale_and_in_stock() -> None:
    made = economy(shelves=40, quantity=3, sold_out_share=0.0)
    for shop in made.world.shops:
        for number in range(0, 40, 2):
            shelf = shop.shelves[f"key-{number}"]
            state = (ShelfState.PENDING, ShelfState.REJECTED, ShelfState.ARCHIVED)[number % 3]
            made.world.set_state(shop, shelf, state)
    while made.demand.draw_order():
        pass
    assert {line.shelf.state for order in made.world.orders for line in order.lines} == {
        ShelfState.ON_SALE
    }
    assert all(shelf.quantity >= 0 for _, shelf in made.world.shelves())
    assert not [entry for entry in made.world.journal if entry.kind == "refused"]


def test_a_few_buyers_insist_on_what_is_sold_out_and_are_refused() -> None:
    made = economy(shelves=20, quantity=0, sold_out_share=1.0)
    assert made.demand.draw_order() is None
    assert made.demand.counts == {"refused_sold_out": 1}
    assert made.world.journal[-1].facts["reason"] == "sold_out"


def test_who_insists_but_finds_everything_in_stock_buys_like_the_others() -> None:
    assert economy(sold_out_share=1.0).demand.draw_order() is not None


def test_nobody_buys_where_nothing_is_shown() -> None:
    made = economy(shelves=0)
    assert made.demand.draw_order() is None
    assert made.demand.counts == {"found_nothing": 1}


def test_orders_have_one_to_four_lines_of_one_to_three_units_mostly_one() -> None:
    made = economy(quantity=100_000)
    for _ in range(1000):
        made.demand.draw_order()
    lines = Counter(len(order.lines) for order in made.world.orders)
    units = Counter(line.units for order in made.world.orders for line in order.lines)
    assert set(lines) == {1, 2, 3, 4}
    assert set(units) == {1, 2, 3}
    assert lines[1] > 600
    assert units[1] > 0.8 * units.total()


def test_the_same_goods_are_popular_in_every_shop() -> None:
    made = economy(quantity=100_000)
    for _ in range(2000):
        made.demand.draw_order()
    best = [
        max(shop.shelves.values(), key=lambda shelf: shelf.sales).key for shop in made.world.shops
    ]
    sales = sorted((shelf.sales for _, shelf in made.world.shelves()), reverse=True)
    assert best[0] == best[1]
    assert sum(sales[:40]) > sum(sales) / 2  # a tenth of the listings, most of the sales


def test_discounts_are_per_unit_and_need_not_divide() -> None:
    made = economy(quantity=100_000, seller_discount_share=1.0, marketplace_discount_share=1.0)
    for _ in range(300):
        made.demand.draw_order()
    lines = [line for order in made.world.orders for line in order.lines]
    for line in lines:
        assert len(line.unit_seller_discounts_minor) == line.units
        assert len(line.unit_marketplace_discounts_minor) == line.units
        together = zip(
            line.unit_seller_discounts_minor, line.unit_marketplace_discounts_minor, strict=True
        )
        assert all(0 < one + other < line.unit_sale_minor for one, other in together)
    assert any(len(set(line.unit_seller_discounts_minor)) > 1 for line in lines)


def test_a_held_order_is_released_or_cancelled_after_the_payment_check() -> None:
    made = economy(held_share=1.0, held_fails_share=0.5, cancel_share=0.0, is_on=False)
    for _ in range(60):
        made.demand.draw_order()
    assert {p.state for o in made.world.orders for p in o.parcels} == {ParcelState.AWAITING}
    let_pass(made, minutes=31)
    ends = Counter(parcel.state for order in made.world.orders for parcel in order.parcels)
    assert set(ends) == {ParcelState.CREATED, ParcelState.CANCELLED}
    assert min(ends.values()) > 15


def test_a_shop_whose_marketplace_holds_no_orders_gets_none_held() -> None:
    made = economy(held_share=1.0)
    for shop in made.world.shops:
        shop.facts["holds_orders"] = False
    order = made.demand.draw_order()
    assert order is not None
    assert order.parcels[0].state is ParcelState.CREATED


def test_buyers_cancel_open_parcels_whole_or_in_part_and_prepared_ones_never() -> None:
    made = economy(
        quantity=100_000,
        held_share=0.0,
        cancel_share=1.0,
        cancel_whole_share=0.5,
        cancel_minutes_mean=5.0,
        is_on=False,
    )
    for _ in range(200):
        made.demand.draw_order()
    prepared = [order.parcels[0] for order in made.world.orders[:50]]
    for parcel in prepared:
        made.world.advance(parcel, ParcelState.PICKING)
    let_pass(made, minutes=120)
    assert {parcel.state for parcel in prepared} == {ParcelState.PICKING}
    assert made.demand.counts["cancelled_too_late"] == 50
    rest = made.world.orders[50:]
    whole = [order for order in rest if len(order.parcels) == 1]
    partly = [order for order in rest if len(order.parcels) == 3]
    assert len(whole) + len(partly) == len(rest)
    assert {order.parcels[0].state for order in whole} == {ParcelState.CANCELLED}
    assert partly


@pytest.mark.parametrize("factor", [1.0, 60.0])
def test_a_fixed_pace_counts_real_minutes_whatever_the_factor(factor: float) -> None:
    made = economy(quantity=100_000, orders_per_minute=120.0, sold_out_share=0.0)
    made.set_factor(factor)
    let_pass(made, minutes=10)
    assert 1050 < made.world.orders_total < 1350


def test_an_ordinary_day_brings_as_many_orders_as_it_says_most_in_the_evening() -> None:
    made = economy(quantity=100_000, orders_per_day=500.0, sold_out_share=0.0)
    made.set_factor(60.0)
    let_pass(made, minutes=7 * 24)
    assert 6500 < made.world.orders_total < 7500  # two shops, seven days
    assert isinstance(made.clock, StandingClock)
    began = MONDAY.timestamp()
    hours = Counter(
        (MONDAY + timedelta(seconds=(o.placed_at.timestamp() - began) * 60)).astimezone(TURKEY).hour
        for o in made.world.orders
    )
    assert hours[21] > 5 * hours[4]


def test_the_shape_of_a_week_has_mean_one_and_its_peak_on_monday_evening() -> None:
    week = [relative_demand(MONDAY + timedelta(hours=hour)) for hour in range(7 * 24)]
    assert sum(week) / len(week) == pytest.approx(1.0)
    assert max(week) == pytest.approx(PEAK)
    assert week.index(max(week)) == 21


def test_demand_that_is_switched_off_brings_nobody_more() -> None:
    made = economy(orders_per_minute=600.0)
    made.demand.restart()
    let_pass(made, minutes=1)
    placed = made.world.orders_total
    made.demand.configure(replace(made.demand.settings, is_on=False))
    let_pass(made, minutes=5)
    assert placed == made.world.orders_total > 0


def test_demand_stops_at_its_bound() -> None:
    made = economy(orders_per_minute=600.0, orders_max=10)
    made.demand.restart()
    let_pass(made, minutes=2)
    assert made.world.orders_total == 10


def test_after_a_standstill_the_missed_arrivals_are_forgone_not_poured_out() -> None:
    made = economy(orders_per_minute=600.0)
    made.demand.restart()
    assert isinstance(made.clock, StandingClock)
    made.clock.turn(3600)
    while made.agenda.run_due():
        pass
    assert made.demand.counts["arrivals_forgone"] == 1
    assert made.world.orders_total <= 2
