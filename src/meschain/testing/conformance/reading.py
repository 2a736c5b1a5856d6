"""Every other reading of what the documentation leaves open is understood as well."""

from __future__ import annotations

from meschain.channel.contract import OfferPush, OrderWindow, TicketEnded
from meschain.channel.outcome import Done, Problem, Refused
from meschain.domain.order import PackageState
from meschain.sandbox.faults import Fault
from meschain.testing.conformance.package import living, pick
from meschain.testing.conformance.stage import ConformancePart, Stage, package_lines, package_ref


class ReadingConformance(ConformancePart):
    """One short trip through everything, under each of the folder's readings."""

    async def test_every_other_reading_of_the_contract_is_understood_too(self) -> None:
        for reading in self.profile.readings:
            async with self.open(
                speed=200, facade=reading.facade, account=reading.account
            ) as stage:
                try:
                    await listings(stage)
                    await offers(stage)
                    await orders(stage)
                except AssertionError as disagreement:
                    raise AssertionError(f"under {reading}: {disagreement}") from disagreement


async def listings(stage: Stage) -> None:
    items = await stage.contents(1)
    key = stage.key_of(items[0].keys)
    ends = await stage.ended(await stage.channel.publish(items, stage.call))
    assert ends == {key: Done()}
    shown = await stage.swept_until(key, "on_sale")
    assert shown.sale_price == items[0].sale_price


async def offers(stage: Stage) -> None:
    keys = stage.stock(3)
    stage.world.faults.force(Fault.BATCH_ITEM_FAILED, count=1)
    outcome = await stage.channel.push_offers([OfferPush(key, 1) for key in keys], stage.call)
    ends = await stage.ended(outcome)
    assert sorted(type(end).__name__ for end in ends.values()) == ["Done", "Done", "Refused"]
    unknown = await stage.channel.poll_ticket("990099", stage.call)
    assert not isinstance(unknown, TicketEnded)


async def orders(stage: Stage) -> None:
    """The window is the one that the engine reads just after the order was placed."""
    order = stage.place(dict(zip(stage.stock(2), (3, 1), strict=True)))
    limits = stage.manifest.orders
    window = stage.window(hours_back=limits.overlap_s / 3600)
    assert isinstance(window, OrderWindow)
    seen = (await stage.pulled(window))[order.number]
    assert abs((seen.placed_at - order.placed_at).total_seconds()) < 1
    await pick(stage, seen, seen.packages[0])
    whole = await stage.read(order)
    package = living(whole)[0]
    assert package.state is PackageState.PICKING
    outcome = await stage.channel.split_package(
        package_ref(whole, package), [package_lines(package, [2, 0])], stage.call
    )
    assert outcome == Done()
    after = await stage.read_until(order, lambda it: len(living(it)) == 2)
    assert sum(line.quantity for part in living(after) for line in part.lines) == 4
    part = living(after)[0]
    too_much = [package_lines(part, [line.quantity + 1 for line in part.lines])]
    refused = await stage.channel.split_package(package_ref(after, part), too_much, stage.call)
    assert isinstance(refused, Refused | Problem), refused
