"""What the merchant asks of packages: sent once, seen to, and never lost – on both façades."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from meschain.app.commands.package_actions import (
    InvoiceUnderWay,
    TransitionForbidden,
    await_wish,
    wish_package,
)
from meschain.app.queries.sync_status import ask as have_run
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.contract import Call, ItemOutcomes, PackageLine, PackageRef
from meschain.channel.http import HttpReply, HttpRequest
from meschain.channel.outcome import (
    Accepted,
    ContractBroken,
    Done,
    NotSent,
    Refused,
    Throttled,
    ThrottleScope,
    Unauthorized,
    Unknown,
)
from meschain.channel.transport import HttpTransport
from meschain.domain.order import PackageState
from meschain.registry import Marketplace
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import ParcelState
from meschain.sync import package_lane
from meschain.sync.engine import NET_S
from meschain.sync.package_wish import Answer, judge, outcome_document, outcome_of
from meschain.testing.trade import Trade, trading
from tests.simulated.package_desk import (
    ALERTS,
    EAST,
    WEST,
    ask,
    detail,
    ordered,
    pulled,
    reads,
    sent,
)

pytestmark = pytest.mark.slow  # each test starts a whole market

# — what a package costs —


async def test_a_certain_answer_costs_no_read_and_the_next_pull_ends_the_wish(
    trade: Trade, requests: Counter[str]
) -> None:
    east, west = await ordered(trade, EAST), await ordered(trade, WEST)
    requests.clear()
    for order in (east, west):
        assert (await ask(trade, order)).is_taken
        package = (await detail(trade, order)).packages[0]
        assert (package.state, package.standing) == ("created", "picking")
    invoiced = await ask(trade, east, PackageState.INVOICED, invoice_number="KAY2026000000001")
    assert invoiced.is_taken
    assert (east.parcels[0].state, west.parcels[0].state) == (
        ParcelState.INVOICED,
        ParcelState.PICKING,
    )
    # Before, the order was read after each of the three: package reads are the scarcest quota.
    assert (sent(requests), reads(requests)) == (3, 0)

    await pulled(trade, EAST)
    package = (await detail(trade, east)).packages[0]
    assert (package.state, package.wanted_state) == ("invoiced", None)
    assert package.invoice_number == "KAY2026000000001"
    with pytest.raises(TransitionForbidden):
        await ask(trade, east)


async def test_what_is_asked_twice_is_sent_once(trade: Trade, requests: Counter[str]) -> None:
    order = await ordered(trade, EAST)
    requests.clear()
    found = await detail(trade, order)
    desk = (trade.hub.database, trade.hub.clock, trade.shop.merchant_id, found, found.packages[0])
    first = await wish_package(*desk, PackageState.PICKING, actor="one")
    second = await wish_package(*desk, PackageState.PICKING, actor="two")
    assert first == second is not None
    assert (await await_wish(*desk[:2], second, timeout_s=15)).is_taken
    assert sent(requests) == 1
    found = await detail(trade, order)
    assert (
        await wish_package(*desk[:3], found, found.packages[0], PackageState.PICKING, actor="three")
        is None
    )


# — what may have arrived —


@pytest.mark.parametrize("name", [EAST, WEST])
@pytest.mark.parametrize(("fault", "times"), [(Fault.RESET, 2), (Fault.TIMEOUT_AFTER_APPLYING, 1)])
async def test_a_lost_answer_is_looked_after_and_repeated_only_where_it_did_not_arrive(
    trade: Trade, requests: Counter[str], name: str, fault: Fault, times: int
) -> None:
    order = await ordered(trade, name)
    requests.clear()
    trade.force(fault, 1, name)
    assert (await ask(trade, order)).is_taken
    assert order.parcels[0].state is ParcelState.PICKING
    assert sent(requests) == times
    assert reads(requests) >= 1
    assert trade.rows(ALERTS) == []


async def test_what_a_cut_off_process_had_begun_is_looked_at_by_the_next_owner(
    database_url: str,
    tmp_path: Path,
    markets: Mapping[str, Marketplace],
    requests: Counter[str],
) -> None:
    """One request had arrived when its sender was cut off, the other had not."""
    async with trading(database_url, tmp_path, markets=markets) as trade:
        arrived, lost = await ordered(trade, EAST), await ordered(trade, EAST)
        await trade.hub.engine.stop()
        for order in (arrived, lost):
            assert (await ask(trade, order, wait_s=0.1)).is_open
        # As the claim of the intent leaves it, when nothing more is heard of its process.
        await trade.write("UPDATE package_wish SET phase = 2, tries = 1, next_us = 0")
        trade.host.world.advance(arrived.parcels[0], ParcelState.PICKING)
        requests.clear()
        settings = HubSettings(database_url, tmp_path / "master.key", loopback_only=True)
        async with Hub.opened(settings) as second:
            await second.engine.start()
            await trade.until(
                lambda: trade.number("SELECT count(*)::int FROM package_wish WHERE phase < 3") == 0
            )
            await second.engine.stop()
        assert sent(requests) == 1
        assert lost.parcels[0].state is ParcelState.PICKING
        wanted = trade.rows("SELECT wanted_state FROM package ORDER BY order_id")
        assert wanted == [(None,), ("picking",)]


async def test_intent_is_kept_before_anything_is_sent(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the first byte the database says that the end is unknown."""
    order = await ordered(trade, WEST)
    phases: list[object] = []
    send = HttpTransport.send

    async def looking(self: HttpTransport, request: HttpRequest, call: Call) -> HttpReply:
        if request.operation == "order_update":
            phases.extend(trade.rows("SELECT phase, tries FROM package_wish"))
        return await send(self, request, call)

    monkeypatch.setattr(HttpTransport, "send", looking)
    assert (await ask(trade, order)).is_taken
    assert phases == [(2, 1)]


# — no —


@pytest.mark.parametrize("name", [EAST, WEST])
async def test_a_refusal_is_told_in_the_marketplaces_words_and_ends_the_wish(
    trade: Trade, requests: Counter[str], name: str
) -> None:
    order = await ordered(trade, name)
    requests.clear()
    trade.host.world.advance(order.parcels[0], ParcelState.PICKING)  # on the panel; we do not know
    wished = await ask(trade, order)
    assert (wished.is_taken, wished.is_open) == (False, False)
    [(kind, words)] = trade.rows(ALERTS)
    assert kind == "alert.package.picking_refused"
    assert words
    assert sent(requests) == 1
    package = (await detail(trade, order)).packages[0]
    assert (package.wanted_state, package.standing) == (None, "created")
    # The next pull shows the truth; a new wish answers the alert.
    await pulled(trade, name)
    assert (await detail(trade, order)).packages[0].standing == "picking"


async def test_a_new_wish_answers_the_alert_of_the_refused_one(trade: Trade) -> None:
    order = await ordered(trade, EAST)
    trade.host.world.advance(order.parcels[0], ParcelState.PICKING)
    assert not (await ask(trade, order)).is_taken
    assert len(trade.rows(ALERTS)) == 1
    await pulled(trade, EAST)
    assert (await ask(trade, order, PackageState.INVOICED)).is_taken
    assert trade.rows(ALERTS) == []


async def test_what_a_marketplace_lacks_is_said_and_raises_no_alarm(
    trade: Trade, requests: Counter[str]
) -> None:
    order = await ordered(trade, WEST)
    assert (await ask(trade, order)).is_taken
    requests.clear()
    wished = await ask(trade, order, PackageState.INVOICED)
    assert isinstance(wished.outcome, Refused)
    assert wished.outcome.code == "lacking"
    assert sent(requests) == 0
    assert trade.rows(ALERTS) == []


# — not now —


async def test_too_fast_is_tried_again_later_and_learned_from(
    trade: Trade, requests: Counter[str]
) -> None:
    order = await ordered(trade, WEST)
    requests.clear()
    trade.force(Fault.THROTTLED, 1, WEST)
    assert (await ask(trade, order, wait_s=19.0)).is_taken
    assert sent(requests) == 2
    assert trade.served(WEST).health.throttles == 1
    assert trade.rows(ALERTS) == []


@pytest.mark.parametrize("state", ["read_only", "paused", "lanes"])
async def test_an_account_that_may_not_send_sends_nothing_and_goes_on_when_it_may(
    trade: Trade, requests: Counter[str], state: str
) -> None:
    order = await ordered(trade, EAST)
    served = trade.served(EAST)
    pause = "UPDATE lane SET is_paused = %s WHERE name IN ('stock', 'prices')"
    if state == "lanes":
        await trade.write(pause, True)  # noqa: FBT003 – a parameter of SQL
        await trade.until(lambda: served.is_paused)
    else:
        await trade.set_state(state, EAST)
        await trade.until(lambda: served.state == state)
    requests.clear()
    assert (await ask(trade, order, wait_s=2.0)).is_open
    assert sent(requests) == 0
    if state == "lanes":
        await trade.write(pause, False)  # noqa: FBT003
    else:
        await trade.set_state("armed", EAST)
    await trade.until(lambda: order.parcels[0].state is ParcelState.PICKING)
    assert sent(requests) == 1


async def test_another_invoice_number_takes_the_place_of_one_that_was_not_sent_yet(
    trade: Trade,
) -> None:
    order = await ordered(trade, EAST)
    assert (await ask(trade, order)).is_taken
    served = trade.served(EAST)
    await trade.set_state("read_only", EAST)
    await trade.until(lambda: served.state == "read_only")
    invoiced = PackageState.INVOICED
    for number in ("ORN2026000000001", "ORN2026000000002", ""):
        assert (await ask(trade, order, invoiced, invoice_number=number, wait_s=0.1)).is_open
    await trade.set_state("armed", EAST)
    await trade.until(lambda: order.parcels[0].invoice_number == "ORN2026000000002")
    await pulled(trade, EAST)
    with pytest.raises(InvoiceUnderWay):
        await ask(trade, order, invoiced, invoice_number="ORN2026000000001")


async def test_an_invoice_number_that_may_have_arrived_is_not_silently_replaced(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_lane, "FIRST_LOOK_S", 3.0)
    order = await ordered(trade, EAST)
    assert (await ask(trade, order)).is_taken
    trade.force(Fault.TIMEOUT_AFTER_APPLYING, 1, EAST)
    invoiced = PackageState.INVOICED
    assert (
        await ask(trade, order, invoiced, invoice_number="ORN2026000000001", wait_s=0.1)
    ).is_open
    begun = "SELECT count(*)::int FROM package_wish WHERE phase = 2"
    await trade.until(lambda: trade.number(begun) == 1)
    with pytest.raises(InvoiceUnderWay):
        await ask(trade, order, invoiced, invoice_number="ORN2026000000002")
    assert (await ask(trade, order, invoiced, invoice_number="ORN2026000000001")).is_taken
    assert order.parcels[0].invoice_number == "ORN2026000000001"


async def test_a_hub_that_starts_while_its_lanes_rest_sends_nothing(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    """Offers neither: the pause is read before the first claim."""
    async with trading(database_url, tmp_path, markets=markets, is_started=False) as trade:
        await trade.write("UPDATE lane SET is_paused = true WHERE name IN ('stock', 'prices')")
        await trade.move({"A": -1})
        await trade.hub.engine.start()
        await asyncio.sleep(1.0)
        assert trade.pushes() == 0
        await trade.write("UPDATE lane SET is_paused = false")
        await trade.until(lambda: trade.pushes() == 2)
        await trade.hub.engine.stop()


async def test_what_has_long_ended_is_forgotten_and_nothing_else(trade: Trade) -> None:
    order = await ordered(trade, EAST)
    assert (await ask(trade, order)).is_taken
    key = {"merchant": trade.shop.merchant_id, "account": trade.accounts[EAST]}

    async def left() -> int:
        async with trade.hub.database.engine() as unit:
            await unit.run("keeping.forget_wishes", key | {"before_us": 2**62})
        return trade.number("SELECT count(*)::int FROM package_wish")

    assert await left() == 1
    await trade.write("UPDATE package_wish SET phase = 4")
    assert await left() == 0


# — asked to run —


@pytest.mark.parametrize("is_hint_lost", [False, True])
async def test_a_command_has_the_serving_hub_read_orders_at_once(
    trade: Trade,
    is_hint_lost: bool,  # noqa: FBT001 – a parameter of the test
) -> None:
    """Its own pull would come in ten minutes."""
    await pulled(trade, EAST)
    trade.buy(EAST, {"A": 1})
    if is_hint_lost:
        await trade.write("UPDATE lane SET next_run_us = 0")
    else:
        await have_run(trade.hub.database, trade.shop.merchant_id, [trade.accounts[EAST]])
    took_s = await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") == 1)
    assert is_hint_lost or took_s < NET_S


@pytest.mark.slow
async def test_who_asks_while_orders_are_read_has_them_read_again(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pulled(trade, EAST)
    account, reads = trade.served(EAST), 0
    read = account.channel.pull_orders

    async def pull_orders(*args: object) -> object:
        nonlocal reads
        reads += 1
        page = await read(*args)  # type: ignore[arg-type]
        if reads == 1:
            account.poll_orders.set()  # the page does not show what this one knows
        return page

    monkeypatch.setattr(
        type(account.channel), "pull_orders", lambda _self, *args: pull_orders(*args)
    )
    account.poll_orders.set()
    await trade.until(lambda: reads >= 2, within_s=5.0)


# — pure —


PACKAGE = PackageRef("1", "2", (PackageLine("a", 1), PackageLine("b", 2)))
NO = Refused("X", "olmaz")


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (Done(), Answer.YES),
        (Accepted("t"), Answer.DOUBT),
        (NO, Answer.NO),
        (Throttled(2.0, ThrottleScope.ACCOUNT), Answer.LATER),
        (Unauthorized("401"), Answer.LATER),
        (NotSent("lease_expired"), Answer.LATER),
        (Unknown("lost", "reset"), Answer.DOUBT),
        (ContractBroken("html", b"<html>\xff"), Answer.DOUBT),
        (ItemOutcomes({"a": Done(), "b": Done()}), Answer.YES),
        (ItemOutcomes({"a": Done()}), Answer.DOUBT),
        (ItemOutcomes({"a": Done(), "b": NO}), Answer.DOUBT),
        (ItemOutcomes({"a": Done(), "b": Unknown("not_named")}), Answer.DOUBT),
        (ItemOutcomes({"a": NO, "b": NO}), Answer.NO),
    ],
)
def test_every_outcome_is_judged_and_kept_as_it_came(outcome: object, answer: Answer) -> None:
    assert judge(outcome, PACKAGE) is answer  # type: ignore[arg-type]
    assert outcome_of(outcome_document(outcome)) == outcome  # type: ignore[arg-type]
