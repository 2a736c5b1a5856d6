"""The world: what is conserved whatever sellers, buyers and carriers do."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meschain.sandbox.clock import SandboxClock, StandingClock
from meschain.sandbox.faults import Fault, Faults
from meschain.sandbox.people import People
from meschain.sandbox.truth import ShelfRef, shelf_quantities
from meschain.sandbox.world import (
    OPEN_STATES,
    Impossible,
    ParcelState,
    Shelf,
    ShelfState,
    Shop,
    World,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BUYER = People(1).person(1)


def stage(*, quantity: int = 10, shelves: int = 3, restocks: bool = False) -> tuple[World, Shop]:
    world = World(StandingClock(NOON), Faults(1), seed=1)
    shop = world.open_shop(Shop("east", "1", {}, "", restocks_on_cancel=restocks))
    for number in range(shelves):
        world.add_shelf(
            shop,
            Shelf(
                f"k{number}",
                f"b{number}",
                f"s{number}",
                "T",
                quantity,
                200,
                100,
                20,
                ShelfState.ON_SALE,
            ),
        )
    return world, shop


KEYS = st.sampled_from(["k0", "k1", "k2"])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), KEYS, st.integers(0, 20)),
        st.tuples(st.just("price"), KEYS, st.integers(0, 20)),
        st.tuples(st.just("buy"), KEYS, st.integers(1, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 50), st.integers(1, 4)),
        st.tuples(st.just("split"), st.integers(0, 50), st.integers(1, 4)),
        st.tuples(st.just("prepare"), st.integers(0, 50), st.integers(0, 0)),
    ),
    max_size=40,
)


def act(world: World, shop: Shop, name: str, what: str | int, count: int) -> None:
    if isinstance(what, str):
        if name == "offer":
            world.set_offer(shop, shop.shelves[what], quantity=count, cause="test")
        elif name == "price":
            world.set_offer(shop, shop.shelves[what], sale_minor=100 + count, cause="test")
        else:
            other = "k0" if what != "k0" else "k1"
            world.place_order(shop, {what: count, other: 1}, BUYER)
        return
    parcels = list(shop.parcels.values())
    if not parcels:
        return
    parcel = parcels[what % len(parcels)]
    line_id = next(iter(parcel.units))
    if name == "cancel":
        world.cancel_units(parcel, {line_id: count}, by_seller=bool(count % 2))
    elif name == "split":
        world.split(parcel, [{line_id: count}])
    elif parcel.state is ParcelState.CREATED:
        world.advance(parcel, ParcelState.PICKING)


@settings(max_examples=150)
@given(actions=ACTIONS, restocks=st.booleans())
def test_shelves_units_and_journal_agree_whatever_happens(
    actions: list[tuple[str, str | int, int]],
    restocks: bool,  # noqa: FBT001 – drawn by Hypothesis
) -> None:
    world, shop = stage(restocks=restocks)
    for name, what, count in actions:
        try:
            act(world, shop, name, what, count)
        except Impossible:
            continue  # a refusal changes nothing, as the laws below show
    # The journal alone explains every shelf.
    assert shelf_quantities(world.journal) == {
        ShelfRef("east", "1", shelf.key): shelf.quantity for _, shelf in world.shelves()
    }
    # Quantity now = quantity at first + Σ offers − Σ sales + Σ restocks.
    for shelf in shop.shelves.values():
        moved = 10
        for entry in world.journal:
            if entry.key == shelf.key and entry.kind in {"offer", "sale", "cancel"}:
                after, before = entry.facts["quantity"], entry.facts["quantity_before"]
                assert isinstance(after, int)
                assert isinstance(before, int)
                assert before == moved
                units = entry.facts.get("units", 0)
                assert isinstance(units, int)
                expected = {"offer": after - before, "sale": -units, "cancel": units * restocks}
                assert after - before == expected[entry.kind]
                moved = after
        assert moved == shelf.quantity >= 0
        assert shelf.units_sold == sum(
            line.units for order in world.orders for line in order.lines if line.shelf is shelf
        )
    # The parcels that were not broken up hold each order's units, no more and no less.
    for order in world.orders:
        held: Counter[int] = Counter()
        cancelled: Counter[int] = Counter()
        for parcel in order.parcels:
            assert all(count > 0 for count in parcel.units.values())
            if parcel.state is not ParcelState.BROKEN_UP:
                held.update(parcel.units)
            if parcel.state in {ParcelState.CANCELLED, ParcelState.UNSUPPLIED}:
                cancelled.update(parcel.units)
        assert held == {line.line_id: line.units for line in order.lines}
        told = Counter(
            entry.key
            for entry in world.journal
            if entry.kind == "cancel" and entry.facts["order"] == order.number
        )
        assert bool(told) == bool(cancelled)
    assert sum(shelf.units_cancelled for _, shelf in world.shelves()) == sum(
        sum(parcel.units.values())
        for parcel in shop.parcels.values()
        if parcel.state in {ParcelState.CANCELLED, ParcelState.UNSUPPLIED}
    )


@pytest.mark.parametrize(
    ("basket", "reason"),
    [
        ({"k0": 11}, "sold_out"),
        ({"nothing": 1}, "unknown_shelf"),
        ({"k1": 1, "k2": 1}, "not_on_sale"),
    ],
)
def test_a_refused_purchase_changes_nothing_and_is_journalled(
    basket: dict[str, int], reason: str
) -> None:
    world, shop = stage()
    world.set_state(shop, shop.shelves["k2"], ShelfState.ARCHIVED)
    with pytest.raises(Impossible) as refusal:
        world.place_order(shop, basket, BUYER)
    assert refusal.value.reason == reason
    assert world.orders_total == 0
    assert [shelf.quantity for _, shelf in world.shelves()] == [10, 10, 10]
    assert world.journal[-1].kind == "refused"
    assert world.journal[-1].facts["reason"] == reason


@pytest.mark.parametrize("basket", [{}, {"k0": 0}, {"k0": -1}])
def test_an_empty_basket_is_no_purchase(basket: dict[str, int]) -> None:
    world, shop = stage()
    with pytest.raises(Impossible, match="empty_basket"):
        world.place_order(shop, basket, BUYER)


def test_an_absolute_push_that_does_not_know_of_a_sale_puts_the_unit_back() -> None:
    world, shop = stage(quantity=1)
    world.place_order(shop, {"k0": 1}, BUYER)
    assert shop.shelves["k0"].quantity == 0
    world.set_offer(shop, shop.shelves["k0"], quantity=1, cause="batch-7")
    fact = world.journal[-1].facts
    assert (fact["quantity_before"], fact["quantity"], fact["cause"]) == (0, 1, "batch-7")
    world.place_order(shop, {"k0": 1}, BUYER)
    assert world.orders_total == 2


def test_a_label_finds_its_living_parcel_and_no_other() -> None:
    world, shop = stage()
    parcel = world.place_order(shop, {"k0": 3}, BUYER).parcels[0]
    assert world.find_parcel(parcel.cargo_code) is parcel
    parts = world.split(parcel, [{next(iter(parcel.units)): 1}])
    assert world.find_parcel(parcel.cargo_code) is None
    assert [world.find_parcel(part.cargo_code) for part in parts] == parts
    assert {part.state for part in parts} <= OPEN_STATES


def test_a_parcel_that_was_labelled_anew_is_found_by_the_new_code_only() -> None:
    world, shop = stage()
    parcel = world.place_order(shop, {"k0": 1}, BUYER).parcels[0]
    old, parcel.cargo_code = parcel.cargo_code, "ANOTHER-CARRIER-1"
    assert world.find_parcel("ANOTHER-CARRIER-1") is parcel
    assert world.find_parcel(old) is None


def test_a_shop_is_opened_once() -> None:
    world, shop = stage()
    assert world.shop("east", "1") is shop
    assert world.shop("east", "2") is None
    with pytest.raises(Impossible, match="shop_exists"):
        world.open_shop(Shop("east", "1", {}, ""))


def test_a_listing_that_a_shop_took_away_is_not_counted_any_more() -> None:
    world, shop = stage()
    del shop.shelves["k1"]
    assert [shelf.key for _, shelf in world.shelves()] == ["k0", "k2"]
    assert [shelf.key for _, shelf in world.shelves(after=1)] == ["k2"]


def test_the_economy_keeps_its_time_when_its_speed_changes() -> None:
    clock = StandingClock(NOON, factor=60)
    assert clock.economy_elapsed_s() == 0
    clock.turn(10)
    assert clock.economy_elapsed_s() == 600
    clock.factor = 1
    clock.turn(10)
    assert clock.economy_elapsed_s() == 610
    assert (clock.economy_now() - NOON).total_seconds() == 610
    assert clock.economy_s(60) == 60


def test_the_real_clock_goes_forward() -> None:
    clock = SandboxClock(factor=1000)
    before = clock.economy_elapsed_s()
    assert clock.now().tzinfo is UTC
    assert clock.economy_elapsed_s() >= before


def test_a_forced_fault_happens_exactly_as_often_as_asked() -> None:
    faults = Faults(1)
    faults.force(Fault.RESET, count=2, marketplace="east")
    assert faults.forced_left() == {("east", Fault.RESET): 2}
    assert [faults.happens(Fault.RESET, name) for name in ("west", "east", "east", "east")] == [
        False,
        True,
        True,
        False,
    ]
    assert faults.forced_left() == {}
    assert faults.injected == {"reset": 2}
