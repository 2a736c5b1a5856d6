"""Cancelling and splitting: said once, of the package that was meant, and never lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from meschain.app.commands.package_actions import (
    WishUnderWay,
    cancellation,
    chosen_lines,
    division,
    wish_package,
)
from meschain.channel.contract import PackageLine
from meschain.channel.outcome import Done, Refused
from meschain.domain.order import PackageState
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import Order, ParcelState
from meschain.sync.account import ServedAccount
from meschain.sync.package_lane import PackageLane
from meschain.sync.package_wish import Terms, UnitsUnknown, Wish
from meschain.testing.trade import Trade
from tests.simulated.cut_off import CutOff
from tests.simulated.package_desk import ALERTS, EAST, WEST, ask, detail, ordered, pulled, reads

pytestmark = pytest.mark.slow  # each test starts a whole market

CANCEL, SPLIT = PackageState.UNSUPPLIED, PackageState.SUPERSEDED
PHASE = "SELECT phase FROM package_wish"


async def picked(trade: Trade, marketplace: str) -> Order:
    """Three of A and one of B, being packed: the hub knows it."""
    order = await ordered(trade, marketplace, {"A": 3, "B": 1})
    trade.host.world.advance(order.parcels[0], ParcelState.PICKING)
    await pulled(trade, marketplace)
    return order


async def meant(trade: Trade, order: Order, to: PackageState) -> Terms:
    """One of A is cancelled, or goes by itself."""
    found = await detail(trade, order)
    package = found.packages[0]
    lines = chosen_lines(package, {"A": 1})
    if to is CANCEL:
        return cancellation(found, package, lines, "out_of_stock")
    return division(package, [lines])


def parcels(order: Order) -> Counter[tuple[str, tuple[tuple[str, int], ...]]]:
    """What the marketplace has: state and goods of each package that was not broken up."""
    return Counter(
        (
            str(parcel.state),
            tuple(
                sorted(
                    (order.line(line_id).shelf.stock_code, units)
                    for line_id, units in parcel.units.items()
                )
            ),
        )
        for parcel in order.parcels
        if parcel.state is not ParcelState.BROKEN_UP
    )


def once(to: PackageState) -> Counter[tuple[str, tuple[tuple[str, int], ...]]]:
    """How it stands when it was carried out exactly once."""
    part = str(ParcelState.UNSUPPLIED if to is CANCEL else ParcelState.PICKING)
    return Counter([(part, (("A", 1),)), (str(ParcelState.PICKING), (("A", 2), ("B", 1)))])


def said(requests: Counter[str]) -> int:
    """Requests that cancel or split."""
    return sum(n for name, n in requests.items() if "split" in name or name == "cancel_lines")


@pytest.mark.parametrize("name", [EAST, WEST])
@pytest.mark.parametrize("to", [CANCEL, SPLIT])
async def test_it_is_said_once_and_ends_when_its_packages_are_seen(
    trade: Trade, requests: Counter[str], name: str, to: PackageState
) -> None:
    order = await picked(trade, name)
    requests.clear()
    wished = await ask(trade, order, to, terms=await meant(trade, order, to))
    assert (wished.is_taken, wished.outcome) == (True, Done())
    await trade.until(lambda: trade.rows(PHASE) == [(4,)])
    assert said(requests) == 1
    assert parcels(order) == once(to)
    assert trade.rows(ALERTS) == []
    left = 3 if to is CANCEL else 4
    reserved = "SELECT sum(units_reserved)::int FROM reservation"
    await trade.until(lambda: trade.number(reserved) == left)
    assert trade.rows("SELECT wanted_state FROM package WHERE wanted_state IS NOT NULL") == []


async def test_what_is_asked_twice_is_said_once_and_nothing_else_comes_between(
    trade: Trade, requests: Counter[str]
) -> None:
    order = await picked(trade, WEST)
    found = await detail(trade, order)
    package = found.packages[0]
    terms = await meant(trade, order, CANCEL)
    desk = (trade.hub.database, trade.hub.clock, trade.shop.merchant_id, found, package)
    requests.clear()
    await trade.set_state("read_only", WEST)
    await trade.until(lambda: trade.served(WEST).state == "read_only")
    other = division(package, [chosen_lines(package, {"B": 1})])
    await wish_package(*desk, SPLIT, actor="zero", terms=other)  # not begun: it may be replaced
    first = await wish_package(*desk, CANCEL, actor="one", terms=terms)
    second = await wish_package(*desk, CANCEL, actor="two", terms=terms)
    assert first == second
    await trade.set_state("armed", WEST)
    await trade.until(lambda: trade.rows(PHASE) == [(3,)])
    third = await wish_package(*desk, CANCEL, actor="three", terms=terms)
    assert third == first
    for to, another in ((SPLIT, other), (CANCEL, cancellation(found, package, [], "other"))):
        with pytest.raises(WishUnderWay):
            await wish_package(*desk, to, actor="four", terms=another)
    with pytest.raises(WishUnderWay):
        await wish_package(*desk, PackageState.INVOICED, actor="five")
    await trade.until(lambda: trade.rows(PHASE) == [(4,)])
    assert said(requests) == 1
    assert parcels(order) == once(CANCEL)


@pytest.mark.parametrize("name", [EAST, WEST])
@pytest.mark.parametrize("to", [CANCEL, SPLIT])
@pytest.mark.parametrize(("fault", "times"), [(Fault.RESET, 2), (Fault.TIMEOUT_AFTER_APPLYING, 1)])
async def test_a_lost_answer_is_looked_after_before_it_is_said_again(
    trade: Trade,
    requests: Counter[str],
    name: str,
    to: PackageState,
    fault: Fault,
    times: int,
) -> None:
    order = await picked(trade, name)
    terms = await meant(trade, order, to)
    requests.clear()
    trade.force(fault, 1, name)
    assert (await ask(trade, order, to, terms=terms)).is_taken
    await trade.until(lambda: trade.rows(PHASE) == [(4,)])
    assert parcels(order) == once(to)
    assert (said(requests), reads(requests) >= times) == (times, True)
    assert trade.rows(ALERTS) == []


@pytest.mark.parametrize("name", [EAST, WEST])
@pytest.mark.parametrize("to", [CANCEL, SPLIT])
async def test_a_refusal_is_told_in_the_marketplaces_words(
    trade: Trade, requests: Counter[str], name: str, to: PackageState
) -> None:
    order = await picked(trade, name)
    terms = await meant(trade, order, to)
    trade.host.world.advance(order.parcels[0], ParcelState.SHIPPED)  # we do not know
    requests.clear()
    wished = await ask(trade, order, to, terms=terms)
    assert (wished.is_taken, wished.is_open) == (False, False)
    assert isinstance(wished.outcome, Refused)
    [(kind, words)] = trade.rows(ALERTS)
    assert kind == f"alert.package.{'cancel' if to is CANCEL else 'split'}_refused"
    assert words
    assert said(requests) == 1
    assert trade.rows("SELECT wanted_state FROM package") == [(None,)]


@pytest.mark.parametrize("to", [CANCEL, SPLIT])
async def test_nothing_is_said_of_a_package_that_is_not_the_same_any_more(
    trade: Trade, requests: Counter[str], to: PackageState
) -> None:
    """Its line ids may mean other goods by now."""
    order = await picked(trade, EAST)
    terms = await meant(trade, order, to)
    await trade.set_state("read_only", EAST)
    await trade.until(lambda: trade.served(EAST).state == "read_only")
    assert (await ask(trade, order, to, terms=terms, wait_s=0.1)).is_open
    line = next(line for line in order.lines if line.shelf.stock_code == "B")
    trade.host.world.cancel_units(order.parcels[0], {line.line_id: 1}, by_seller=False)
    await pulled(trade, EAST)
    requests.clear()
    await trade.set_state("armed", EAST)
    await trade.until(lambda: trade.rows(PHASE) == [(4,)])
    assert said(requests) == 0
    assert [kind for kind, _ in trade.rows(ALERTS)] == ["alert.package.changed"]


async def test_what_somebody_else_cancelled_is_not_taken_for_ours(
    trade: Trade, requests: Counter[str]
) -> None:
    """Our request was lost, and the buyer cancelled the package meanwhile."""
    order = await picked(trade, EAST)
    terms = await meant(trade, order, CANCEL)
    trade.force(Fault.RESET, 1, EAST)
    requests.clear()
    assert (await ask(trade, order, CANCEL, terms=terms, wait_s=0.2)).is_open
    parcel = order.parcels[0]
    trade.host.world.cancel_units(parcel, dict(parcel.units), by_seller=False)
    await trade.until(lambda: trade.rows(PHASE) == [(4,)])
    assert said(requests) == 1
    assert [kind for kind, _ in trade.rows(ALERTS)] == ["alert.package.changed"]


def test_a_cancellation_names_no_more_than_there_is() -> None:
    with pytest.raises(UnitsUnknown):
        Terms.of({"1": 2}, [[PackageLine("1", 1)], [PackageLine("1", 2)]])
    with pytest.raises(UnitsUnknown):
        Terms.of({"1": 2}, [[PackageLine("2", 1)]])


# — killed —


STEPS_MIN, STEPS_MAX = 5, 40  # of one wish between two awaits, database and network
OPEN = "SELECT count(*)::int FROM package_wish WHERE phase < 4"


async def carry_on(trade: Trade, name: str, done: Callable[[], bool]) -> None:
    """A lane works as of its own, until ``done``."""
    lane = PackageLane(trade.hub.database, trade.hub.keys, trade.hub.clock)
    lane.serve(trade.served(name))
    running = asyncio.create_task(lane.run())
    await trade.until(done)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await lane.drain(0.0)


def arrive(trade: Trade, order: Order, to: PackageState) -> None:
    """As if the request had reached the marketplace."""
    parcel = order.parcels[0]
    line = next(line for line in order.lines if line.shelf.stock_code == "A")
    if to is CANCEL:
        trade.host.world.cancel_units(parcel, {line.line_id: 1}, by_seller=True)
    else:
        trade.host.world.split(parcel, [{line.line_id: 1}])


@pytest.mark.parametrize(
    ("name", "to", "is_begun"),
    [(EAST, CANCEL, False), (WEST, SPLIT, False), (WEST, CANCEL, True)],
)
async def test_cut_off_at_any_step_it_is_carried_out_once(
    trade: Trade,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    to: PackageState,
    is_begun: bool,  # noqa: FBT001 – a parameter of the test
) -> None:
    """Whoever comes next finds what was recorded; begun before, it is looked at first."""
    trade.hub.engine.packages.dismiss(trade.accounts[name])
    whole = PackageLane._step  # noqa: SLF001 – what is cut off
    await trade.move({"A": 3 * STEPS_MAX, "B": STEPS_MAX})
    await trade.until(lambda: trade.shelf(name, "A").quantity >= 3 * STEPS_MAX)
    await trade.until(lambda: trade.shelf(name, "B").quantity >= STEPS_MAX)
    orders = [trade.buy(name, {"A": 3, "B": 1}) for _ in range(STEPS_MAX)]
    for order in orders:
        trade.host.world.advance(order.parcels[0], ParcelState.PICKING)
    await pulled(trade, name)
    for at, order in enumerate(orders, start=1):
        await ask(trade, order, to, terms=await meant(trade, order, to), wait_s=0.0)
        if is_begun:
            await trade.write(
                "UPDATE package_wish SET phase = 2, tries = 1, next_us = 0 WHERE phase = 1"
            )
            if at % 2:
                arrive(trade, order, to)
        cuts: list[CutOff] = []

        async def cut(
            lane: PackageLane,
            account: ServedAccount,
            wish: Wish,
            at: int = at,
            cuts: list[CutOff] = cuts,
        ) -> None:
            work = CutOff(whole(lane, account, wish), at)
            await work
            cuts.append(work)
            await asyncio.sleep(3600)  # until its lane is drained: nothing more of this process

        with monkeypatch.context() as patched:
            patched.setattr(PackageLane, "_step", cut)
            await carry_on(trade, name, lambda cuts=cuts: bool(cuts))  # type: ignore[misc]
        await trade.write("UPDATE package_wish SET next_us = 0 WHERE phase < 4")
        await carry_on(trade, name, lambda: trade.number(OPEN) == 0)
        assert parcels(order) == once(to), at
        assert trade.rows(ALERTS) == [], at
        if not cuts[0].is_cut:
            assert at > STEPS_MIN
            return
    raise AssertionError("it never ends")
