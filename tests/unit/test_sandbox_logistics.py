"""The carrier: what a scan does, what it refuses, and where parcels end."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from meschain.sandbox.clock import StandingClock
from meschain.sandbox.economy import Economy, EconomySettings
from meschain.sandbox.logistics import CarrierSettings
from meschain.sandbox.world import Impossible, Parcel, ParcelState, Shelf, ShelfState, Shop

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def stage(*, ships_from: str = "", **carrier: object) -> tuple[Economy, Shop]:
    settings = EconomySettings(carrier=CarrierSettings(**carrier))  # type: ignore[arg-type]
    made = Economy(seed=1, settings=settings, clock=StandingClock(NOON))
    shop = made.world.open_shop(Shop("east", "1", {}, ""))
    if ships_from:
        shop.facts["ships_from"] = ships_from
    made.world.add_shelf(shop, Shelf("k", "b", "s", "T", 10_000, 200, 100, 20, ShelfState.ON_SALE))
    return made, shop


def bought(made: Economy, shop: Shop, *states: ParcelState) -> Parcel:
    parcel = made.world.place_order(shop, {"k": 1}, made.people.person(1)).parcels[0]
    for state in states:
        made.world.advance(parcel, state)
    return parcel


def states(*parcels: Parcel) -> list[ParcelState]:
    return [parcel.state for parcel in parcels]


def let_pass(made: Economy, *, hours: float) -> None:
    assert isinstance(made.clock, StandingClock)
    for _ in range(int(hours * 4)):
        made.clock.turn(900)
        while made.agenda.run_due():
            pass


def test_a_scan_ships_an_invoiced_parcel_under_the_carriers_own_number() -> None:
    made, shop = stage()
    parcel = bought(made, shop, ParcelState.PICKING, ParcelState.INVOICED)
    assert made.carrier.scan(parcel.cargo_code) is parcel
    assert parcel.state is ParcelState.SHIPPED
    assert parcel.tracking_number.startswith("SK")
    scans = [entry for entry in made.world.journal if entry.kind == "scan"]
    assert [(scan.key, scan.facts["accepted"]) for scan in scans] == [(parcel.cargo_code, True)]


@pytest.mark.parametrize(
    ("ships_from", "steps", "reason"),
    [
        ("", [], "not_ready"),
        ("", [ParcelState.PICKING], "not_ready"),
        ("picking", [], "not_ready"),
        ("", [ParcelState.INVOICED, ParcelState.SHIPPED], "already_gone"),
        ("", [ParcelState.INVOICED, ParcelState.SHIPPED, ParcelState.DELIVERED], "already_gone"),
        ("", [ParcelState.CANCELLED], "ended"),
    ],
)
def test_a_scan_at_the_wrong_time_is_refused_and_journalled(
    ships_from: str, steps: list[ParcelState], reason: str
) -> None:
    made, shop = stage(ships_from=ships_from)
    parcel = bought(made, shop, *steps)
    before = parcel.state
    with pytest.raises(Impossible, match=reason):
        made.carrier.scan(parcel.cargo_code)
    assert parcel.state is before
    assert made.world.journal[-1].facts == {"accepted": False, "reason": reason}


def test_an_unknown_label_is_refused_and_journalled_for_no_shop() -> None:
    made, _ = stage()
    with pytest.raises(Impossible, match="unknown_code"):
        made.carrier.scan("TORN LABEL")
    entry = made.world.journal[-1]
    assert (entry.kind, entry.marketplace, entry.key) == ("scan", "", "TORN LABEL")


def test_where_there_is_no_invoiced_state_a_parcel_ships_from_picking() -> None:
    made, shop = stage(ships_from="picking")
    parcel = bought(made, shop, ParcelState.PICKING)
    assert made.carrier.scan(parcel.cargo_code).state is ParcelState.SHIPPED


def test_a_parcel_that_is_handed_over_is_fetched_some_minutes_later() -> None:
    made, shop = stage()
    parcel = bought(made, shop, ParcelState.INVOICED)
    made.carrier.hand_over(parcel.cargo_code, after_minutes=60)
    let_pass(made, hours=0.75)
    assert states(parcel) == [ParcelState.INVOICED]
    let_pass(made, hours=0.5)
    assert states(parcel) == [ParcelState.SHIPPED]


def test_automatic_pick_up_fetches_what_is_ready_before_and_after_it_is_switched_on() -> None:
    made, shop = stage()
    early = bought(made, shop, ParcelState.INVOICED)
    let_pass(made, hours=5)
    assert states(early) == [ParcelState.INVOICED]
    made.carrier.configure(CarrierSettings(auto_pickup=True))
    late = bought(made, shop, ParcelState.PICKING)
    made.world.advance(late, ParcelState.INVOICED)
    cancelled = bought(made, shop, ParcelState.INVOICED)
    made.world.cancel_units(cancelled, dict(cancelled.units), by_seller=False)
    waiting = bought(made, shop, ParcelState.PICKING)
    let_pass(made, hours=4)
    assert states(early, late) == [ParcelState.SHIPPED, ParcelState.SHIPPED]
    assert states(cancelled, waiting) == [ParcelState.CANCELLED, ParcelState.PICKING]


def test_every_parcel_ends_delivered_or_comes_back() -> None:
    made, shop = stage(auto_pickup=True, undelivered_share=0.2)
    parcels = [bought(made, shop, ParcelState.INVOICED) for _ in range(200)]
    let_pass(made, hours=160)
    ends = Counter(parcel.state for parcel in parcels)
    assert set(ends) == {ParcelState.DELIVERED, ParcelState.RETURNED}
    assert 20 < ends[ParcelState.RETURNED] < 60
    returned = next(parcel for parcel in parcels if parcel.state is ParcelState.RETURNED)
    assert [state for _, state in returned.history][-3:] == [
        ParcelState.SHIPPED,
        ParcelState.UNDELIVERED,
        ParcelState.RETURNED,
    ]


def test_only_a_parcel_on_the_road_can_be_delivered() -> None:
    made, shop = stage()
    parcel = bought(made, shop, ParcelState.INVOICED)
    with pytest.raises(Impossible, match="not_on_the_road"):
        made.carrier.bring(parcel, ParcelState.DELIVERED)
    made.carrier.scan(parcel.cargo_code)
    made.carrier.bring(parcel, ParcelState.AT_COLLECTION_POINT)
    made.carrier.bring(parcel, ParcelState.DELIVERED)
    let_pass(made, hours=100)  # its planned arrival finds it delivered and does nothing
    assert parcel.state is ParcelState.DELIVERED
    assert made.carrier.counts["delivered"] == 1


def test_a_parcel_found_undelivered_by_hand_still_comes_back() -> None:
    made, shop = stage(undelivered_share=1.0)
    parcel = bought(made, shop, ParcelState.INVOICED)
    made.carrier.scan(parcel.cargo_code)
    made.carrier.bring(parcel, ParcelState.UNDELIVERED)
    let_pass(made, hours=200)
    assert parcel.state is ParcelState.RETURNED
