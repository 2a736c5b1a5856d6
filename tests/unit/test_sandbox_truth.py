"""The recount: who sold what nobody had, and why the shelf still showed it."""

from datetime import UTC, datetime, timedelta

import pytest

from meschain.sandbox.clock import StandingClock
from meschain.sandbox.faults import Faults
from meschain.sandbox.journal import JournalTruncated
from meschain.sandbox.people import People
from meschain.sandbox.truth import (
    OversellCause,
    Recount,
    ShelfRef,
    Showing,
    StockChange,
    recount,
    shelf_quantities,
)
from meschain.sandbox.world import Order, ParcelState, Shelf, ShelfState, Shop, World

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BUYER = People(1).person(1)
EAST, WEST = ShelfRef("east", "1", "k"), ShelfRef("west", "1", "k")


class Street:
    """One SKU in two shops; every act comes one second after the one before."""

    def __init__(self, *, stock: int, shown: int | None = None, restocks: bool = False) -> None:
        self.clock = StandingClock(NOON)
        self.world = World(self.clock, Faults(1), seed=1)
        self.stock = stock
        self.shops = {}
        for name in ("east", "west"):
            shop = Shop(name, "1", {}, "", restocks_on_cancel=restocks)
            self.shops[name] = self.world.open_shop(shop)
            shelf = Shelf(
                "k",
                "b",
                "s",
                "T",
                stock if shown is None else shown,
                200,
                100,
                20,
                ShelfState.ON_SALE,
            )
            self.world.add_shelf(shop, shelf)

    def buy(self, name: str, units: int = 1) -> Order:
        self.clock.turn(1)
        return self.world.place_order(self.shops[name], {"k": units}, BUYER)

    def push(self, name: str, quantity: int | None = None, **prices: int) -> None:
        self.clock.turn(1)
        shop = self.shops[name]
        self.world.set_offer(shop, shop.shelves["k"], quantity=quantity, cause="batch", **prices)

    def recount(self, *changes: StockChange) -> Recount:
        showings = [Showing(EAST, "SKU"), Showing(WEST, "SKU")]
        return recount(self.world.journal, showings, {"SKU": self.stock}, changes=changes)


def test_sales_that_the_stock_meets_are_no_oversells() -> None:
    street = Street(stock=3)
    street.buy("east", 2)
    street.push("west", 1)
    street.buy("west")
    street.push("east", 0)
    told = street.recount()
    assert told.oversells == []
    assert told.put_backs == []
    assert told.units_sold == {"SKU": 3}
    assert told.available == {"SKU": 0}


def test_the_last_unit_sold_twice_before_the_other_shelf_was_told() -> None:
    street = Street(stock=1)
    first = street.buy("east")
    second = street.buy("west")
    told = street.recount()
    (oversell,) = told.oversells
    assert oversell.cause is OversellCause.NOT_YET_LOWERED
    assert oversell.units_short == told.units_oversold == 1
    assert oversell.first is not None
    assert (oversell.first.order, oversell.first.shelf) == (first.number, EAST)
    assert (oversell.second.order, oversell.second.shelf) == (second.number, WEST)
    assert oversell.second.shelf_showed == 1
    assert oversell.window == timedelta(seconds=1)
    assert oversell.last_push is not None
    assert oversell.last_push.cause == "listing"
    assert told.available == {"SKU": -1}


def test_a_push_that_did_not_know_of_the_shelfs_own_sale_puts_it_back() -> None:
    street = Street(stock=1)
    street.buy("east")
    street.push("west", 0)
    street.push("east", 1)  # computed before the sale, applied after it
    street.buy("east")
    told = street.recount()
    (oversell,) = told.oversells
    assert oversell.cause is OversellCause.PUT_BACK
    assert oversell.last_push is not None
    assert (oversell.last_push.quantity_before, oversell.last_push.quantity) == (0, 1)
    assert oversell.last_push.at > oversell.second.at - timedelta(seconds=2)
    (put_back,) = told.put_backs
    assert put_back.units_over == 1
    assert put_back.unseen == oversell.first


def test_a_put_back_is_counted_though_nobody_bought_it() -> None:
    street = Street(stock=2)
    street.buy("east", 2)
    street.push("east", 2)
    street.push("east", 0)
    told = street.recount()
    assert told.oversells == []
    assert [put_back.units_over for put_back in told.put_backs] == [2]


def test_a_stale_push_that_repeats_the_shelf_is_the_cause_of_what_follows() -> None:
    street = Street(stock=1)
    street.buy("east")
    street.push("west", 1)
    street.buy("west")
    assert street.recount().oversells[0].cause is OversellCause.PUT_BACK


def test_a_price_alone_says_nothing_of_the_quantity() -> None:
    street = Street(stock=1)
    street.buy("east")
    street.push("west", None, sale_minor=90)
    street.buy("west")
    (oversell,) = street.recount().oversells
    assert oversell.cause is OversellCause.NOT_YET_LOWERED
    assert oversell.last_push is not None
    assert oversell.last_push.cause == "listing"


def test_a_listing_that_comes_back_into_sale_keeps_its_last_push() -> None:
    street = Street(stock=1)
    shop = street.shops["west"]
    street.buy("east")
    street.world.set_state(shop, shop.shelves["k"], ShelfState.ARCHIVED)
    street.world.set_state(shop, shop.shelves["k"], ShelfState.ON_SALE)
    street.buy("west")
    assert street.recount().oversells[0].cause is OversellCause.NOT_YET_LOWERED


def test_a_shelf_that_showed_more_than_there_ever_was_is_overstated() -> None:
    street = Street(stock=1, shown=5)
    street.buy("east", 2)
    (oversell,) = street.recount().oversells
    assert oversell.cause is OversellCause.OVERSTATED
    assert oversell.first is None
    assert oversell.units_short == 1


def test_stock_that_the_merchant_took_away_is_a_cause_of_its_own() -> None:
    street = Street(stock=1)
    taken = StockChange("SKU", NOON + timedelta(milliseconds=500), -1)
    street.buy("east")
    (oversell,) = street.recount(taken).oversells
    assert oversell.cause is OversellCause.STOCK_TAKEN
    assert oversell.first is None


def test_a_receipt_makes_room_for_more_sales() -> None:
    street = Street(stock=1)
    street.buy("east")
    street.push("west", 1)
    street.buy("west")
    assert street.recount(StockChange("SKU", NOON + timedelta(seconds=1.5), 1)).oversells == []


def test_a_cancelled_unit_may_be_sold_again() -> None:
    street = Street(stock=1, restocks=True)
    parcel = street.buy("east").parcels[0]
    street.world.cancel_units(parcel, dict(parcel.units), by_seller=False)
    street.buy("west")
    told = street.recount()
    assert told.oversells == []
    assert told.units_cancelled == {"SKU": 1}
    assert parcel.state is ParcelState.CANCELLED
    street.buy("east")  # restocked by the marketplace, and sold by the other one meanwhile
    assert [o.cause for o in street.recount().oversells] == [OversellCause.NOT_YET_LOWERED]


def test_several_units_short_are_counted_and_only_once() -> None:
    street = Street(stock=2)
    street.buy("east", 2)
    street.buy("west", 1)
    street.buy("west", 1)
    told = street.recount()
    assert [oversell.units_short for oversell in told.oversells] == [1, 1]
    assert told.oversells_by_cause()[OversellCause.NOT_YET_LOWERED] == 2
    assert told.available == {"SKU": -2}


def test_a_set_takes_its_components_from_the_same_stock() -> None:
    street = Street(stock=3)
    showings = [Showing(EAST, "SKU"), Showing(WEST, "SKU", 2), Showing(WEST, "BOX")]
    street.push("west", 1)
    street.buy("east", 2)
    street.buy("west")
    told = recount(street.world.journal, showings, {"SKU": 3, "BOX": 5})
    assert told.units_sold == {"SKU": 4, "BOX": 1}
    assert [(o.sku, o.units_short) for o in told.oversells] == [("SKU", 1)]
    assert told.oversells[0].cause is OversellCause.NOT_YET_LOWERED


def test_a_refused_buyer_and_a_sale_of_unknown_goods_are_shown() -> None:
    street = Street(stock=1)
    street.buy("west")
    with pytest.raises(ValueError, match="sold_out"):
        street.buy("west")
    told = recount(street.world.journal, [Showing(EAST, "SKU")], {"SKU": 1})
    assert told.unknown_shelves == {WEST}
    assert street.recount().refusals == {"SKU": 1}


def test_a_recount_refuses_a_journal_with_a_gap() -> None:
    street = Street(stock=1)
    street.buy("east")
    entries = list(street.world.journal)
    del entries[1]
    with pytest.raises(JournalTruncated):
        recount(entries, [Showing(EAST, "SKU")], {"SKU": 1})
    with pytest.raises(JournalTruncated):
        shelf_quantities(entries)
