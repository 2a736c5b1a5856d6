"""What a seller does to packages: prepare, cancel, split, hand over, label."""

from __future__ import annotations

from collections import Counter

from meschain.channel.contract import ItemOutcomes, Label, PackageLine, PackageRef
from meschain.channel.outcome import Done, Refused
from meschain.domain.order import OrderObservation, PackageObservation, PackageState
from meschain.sandbox.world import Order, ParcelState
from meschain.testing.conformance.stage import (
    ConformancePart,
    Stage,
    package_lines,
    package_ref,
)


class PackageConformance(ConformancePart):
    """Actions are judged by what the world is afterwards, and by what is read back."""

    async def test_picking_is_reported_and_seen(self) -> None:
        async with self.open() as stage:
            order, seen, package = await ordered(stage, 2, 1)
            await pick(stage, seen, package)
            assert order.parcels[0].state is ParcelState.PICKING
            assert (await stage.read(order)).packages[0].state is PackageState.PICKING

    async def test_picking_twice_is_refused_and_harms_nothing(self) -> None:
        async with self.open() as stage:
            order, seen, package = await ordered(stage, 1)
            await pick(stage, seen, package)
            again = await stage.channel.advance_package(
                package_ref(seen, package), PackageState.PICKING, stage.call
            )
            ends = again.items.values() if isinstance(again, ItemOutcomes) else [again]
            assert all(isinstance(end, Refused) for end in ends)
            assert order.parcels[0].state is ParcelState.PICKING

    async def test_invoiced_is_reported_where_it_exists(self) -> None:
        async with self.open() as stage:
            order, seen, package = await ordered(stage, 1)
            await pick(stage, seen, package)
            outcome = await stage.channel.advance_package(
                package_ref(seen, package),
                PackageState.INVOICED,
                stage.call,
                invoice_number="ABC2026000000001",
            )
            if "advance_package.invoiced" in stage.manifest.lacks:
                assert isinstance(outcome, Refused)
                assert outcome.code == "lacking"
                assert order.parcels[0].state is ParcelState.PICKING
            else:
                assert outcome == Done()
                assert order.parcels[0].state is ParcelState.INVOICED

    async def test_the_carriers_scan_and_delivery_are_seen(self) -> None:
        async with self.open(speed=100) as stage:
            order, seen, package = await ordered(stage, 1)
            await pick(stage, seen, package)
            if "advance_package.invoiced" not in stage.manifest.lacks:
                await stage.channel.advance_package(
                    package_ref(seen, package), PackageState.INVOICED, stage.call
                )
            stage.economy.carrier.scan(package.cargo_code)
            shipped = (await stage.read(order)).packages[0]
            assert shipped.state is PackageState.SHIPPED
            assert shipped.tracking_number == order.parcels[0].tracking_number != ""
            stage.economy.carrier.bring(order.parcels[0], ParcelState.DELIVERED)
            assert (await stage.read(order)).packages[0].state is PackageState.DELIVERED

    async def test_units_that_cannot_be_supplied_are_cancelled_and_the_rest_goes_on(self) -> None:
        async with self.open(speed=100) as stage:
            order, seen, package = await ordered(stage, 3, 2)
            await pick(stage, seen, package)
            seen = await stage.read(order)
            package = living(seen)[0]
            outcome = await stage.channel.cancel_lines(
                package_ref(seen, package),
                package_lines(package, [1, 0]),
                "out_of_stock",
                stage.call,
            )
            assert outcome == Done()
            after = await stage.read_until(
                order, lambda it: any(p.state is PackageState.UNSUPPLIED for p in it.packages)
            )
            assert units_by(after, PackageState.UNSUPPLIED) == Counter({"KZK-00001": 1})
            assert units_by(after, PackageState.PICKING) == Counter(
                {"KZK-00001": 2, "KZK-00002": 2}
            )

    async def test_every_reason_of_ours_has_a_number_of_theirs(self) -> None:
        for reason in ("out_of_stock", "defective", "wrong_price", "force_majeure", "other"):
            async with self.open(speed=100) as stage:
                order, seen, package = await ordered(stage, 2)
                await pick(stage, seen, package)
                outcome = await stage.channel.cancel_lines(
                    package_ref(seen, package), package_lines(package, [1]), reason, stage.call
                )
                assert outcome == Done(), (reason, order.number)

    async def test_the_last_units_are_cancelled_or_refused_with_advice(self) -> None:
        async with self.open(speed=100) as stage:
            order, seen, package = await ordered(stage, 2)
            await pick(stage, seen, package)
            outcome = await stage.channel.cancel_lines(
                package_ref(seen, package), package_lines(package, [2]), "defective", stage.call
            )
            if stage.profile.last_units_cancellable:
                assert outcome == Done()
                assert order.parcels[0].state is ParcelState.UNSUPPLIED
            else:
                assert isinstance(outcome, Refused)
                assert outcome.advice
                assert order.parcels[0].state is ParcelState.PICKING

    async def test_a_package_is_split_along_one_line(self) -> None:
        await self.split([2, 1], [[2, 0]], [{"KZK-00001": 2}, {"KZK-00002": 1}])

    async def test_a_package_is_split_along_all_its_lines(self) -> None:
        await self.split(
            [2, 1, 1],
            [[2, 0, 0], [0, 1, 0]],
            [{"KZK-00001": 2}, {"KZK-00002": 1}, {"KZK-00003": 1}],
        )

    async def test_a_package_is_split_into_two_groups_that_cover_it(self) -> None:
        await self.split([2, 1], [[2, 0], [0, 1]], [{"KZK-00001": 2}, {"KZK-00002": 1}])

    async def test_a_line_is_split_by_units(self) -> None:
        await self.split([5], [[2], [3]], [{"KZK-00001": 2}, {"KZK-00001": 3}])

    async def test_units_of_several_lines_are_split_off(self) -> None:
        await self.split(
            [3, 2],
            [[1, 1]],
            [{"KZK-00001": 1, "KZK-00002": 1}, {"KZK-00001": 2, "KZK-00002": 1}],
        )

    async def split(
        self, units: list[int], groups: list[list[int]], expected: list[dict[str, int]]
    ) -> None:
        """Split one order's package and read the parts back."""
        async with self.open(speed=100) as stage:
            order, seen, package = await ordered(stage, *units)
            await pick(stage, seen, package)
            outcome = await stage.channel.split_package(
                package_ref(seen, package),
                [package_lines(package, group) for group in groups],
                stage.call,
            )
            assert outcome == Done()
            after = await stage.read_until(order, lambda it: len(living(it)) == len(expected))
            parts = [dict(contents(part)) for part in living(after)]
            assert sorted(map(str, parts)) == sorted(map(str, expected))
            parent = next(p for p in after.packages if p.external_id == package.external_id)
            assert parent.state is PackageState.SUPERSEDED
            codes = [part.cargo_code for part in living(after)]
            assert len(set(codes)) == len(codes)
            assert all(part.state is PackageState.PICKING for part in living(after))

    async def test_an_own_courier_takes_over_where_a_call_for_it_is_known(self) -> None:
        async with self.open() as stage:
            order, seen, package = await ordered(stage, 1)
            await pick(stage, seen, package)
            outcome = await stage.channel.ship_own_courier(
                package_ref(seen, package), "https://kurye.example/1", stage.call
            )
            if "ship_own_courier" in stage.manifest.lacks:
                assert isinstance(outcome, Refused)
                assert outcome.code == "lacking"
                assert outcome.advice
            else:
                assert outcome == Done()
                assert order.parcels[0].state is ParcelState.SHIPPED

    async def test_a_label_is_theirs_or_the_code_for_ours(self) -> None:
        async with self.open(speed=100) as stage:
            _, seen, package = await ordered(stage, 1)
            await pick(stage, seen, package)
            label = await stage.channel.fetch_label(package_ref(seen, package), stage.call)
            assert isinstance(label, Label)
            assert package.cargo_code.encode() in label.content
            if label.media_type == "text/plain":
                assert label.content == package.cargo_code.encode()
            else:
                assert label.media_type == "application/zpl"
                assert label.content.startswith(b"^XA")

    async def test_a_package_that_is_gone_is_refused_and_not_taken_for_lost_credentials(
        self,
    ) -> None:
        async with self.open() as stage:
            stage.stock(1)
            gone = PackageRef("10000000999", "3999999999", (PackageLine("4999999999", 1),))
            outcome = await stage.channel.advance_package(gone, PackageState.PICKING, stage.call)
            ends = outcome.items.values() if isinstance(outcome, ItemOutcomes) else [outcome]
            assert [isinstance(end, Refused) for end in ends] == [True]


async def ordered(stage: Stage, *units: int) -> tuple[Order, OrderObservation, PackageObservation]:
    """An order of so many units of as many listings, and its one package."""
    order = stage.place(dict(zip(stage.stock(len(units)), units, strict=True)))
    seen = (await stage.pulled())[order.number]
    return order, seen, seen.packages[0]


async def pick(stage: Stage, seen: OrderObservation, package: PackageObservation) -> None:
    outcome = await stage.channel.advance_package(
        package_ref(seen, package), PackageState.PICKING, stage.call
    )
    if isinstance(outcome, ItemOutcomes):
        assert outcome.items == {line.external_id: Done() for line in package.lines}
    else:
        assert outcome == Done()


def living(order: OrderObservation) -> list[PackageObservation]:
    return [p for p in order.packages if p.state is not PackageState.SUPERSEDED]


def contents(package: PackageObservation) -> Counter[str]:
    units = Counter[str]()
    for line in package.lines:
        units[line.sku] += line.quantity
    return units


def units_by(order: OrderObservation, state: PackageState) -> Counter[str]:
    units = Counter[str]()
    for package in order.packages:
        if package.state is state:
            units += contents(package)
    return units
