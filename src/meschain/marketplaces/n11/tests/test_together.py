"""Connector and façade together, where the conformance suite does not look."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from meschain.channel.contract import OfferPush, OrderPage
from meschain.channel.outcome import Accepted, Done, Refused, Throttled, Unknown
from meschain.domain.order import PackageState
from meschain.marketplaces.n11.tests import test_conformance as suite
from meschain.sandbox.world import ParcelState
from meschain.testing.conformance.package import contents, living, ordered, pick
from meschain.testing.conformance.stage import ConformancePart, package_lines, package_ref


class TestTogether(ConformancePart):
    profile = suite.TestN11.profile

    async def test_a_split_order_without_package_ids_keeps_its_parts_apart(self) -> None:
        """All rows of one instant: nothing but the key can tell the parent from its part."""
        async with self.open(speed=0.001, facade={"special_delivery_every": "1"}) as stage:
            order, seen, package = await ordered(stage, 3, 1)
            await pick(stage, seen, package)
            outcome = await stage.channel.split_package(
                package_ref(seen, package), [package_lines(package, [2, 0])], stage.call
            )
            assert outcome == Done()
            after = await stage.read(order)
            parts = sorted(str(dict(contents(part))) for part in living(after))
            assert parts == ["{'KZK-00001': 1, 'KZK-00002': 1}", "{'KZK-00001': 2}"]
            states = Counter(part.state for part in after.packages)
            assert states == {PackageState.PICKING: 2, PackageState.SUPERSEDED: 1}

    async def test_an_invoice_of_a_discount_that_does_not_divide_is_exact_line_by_line(
        self,
    ) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            order = stage.place(
                {key: 3},
                seller_discounts_minor={key: (334, 333, 333)},
                marketplace_discounts_minor={key: (200, 200, 201)},
            )
            seen = (await stage.pulled())[order.number]
            (line,) = seen.packages[0].lines
            assert line.payable == Decimal("289.70") == seen.packages[0].total
            assert round(line.unit_marketplace_discount * 3, 4) == Decimal("6.01")

    async def test_commission_is_what_is_left_after_the_campaign(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            numbers = [stage.place({key: 1}).number for _ in range(5)]
            pulled = await stage.pulled()
            lines = [pulled[number].packages[0].lines[0] for number in numbers]
            assert [line.commission_percent for line in lines] == [Decimal(13)] * 5
            assert lines[4].extra["sellerCampaignCommissionRate"] == 2

    @pytest.mark.parametrize("told", ["acknowledgement", "result"])
    async def test_a_rejection_is_final_wherever_n11_tells_it(self, told: str) -> None:
        async with self.open(facade={"rejection_told": told}, account={"integrator": " "}) as stage:
            key = stage.stock(1)[0]
            outcome = await stage.channel.push_offers([OfferPush(key, 3)], stage.call)
            end: object = outcome
            if told == "result":
                assert isinstance(outcome, Accepted)
                await stage.economy.clock.sleep(2)
                end = await stage.channel.poll_ticket(outcome.reference, stage.call)
            assert isinstance(end, Refused)
            assert end.code == "REJECT"
            assert ("integrator" in end.text) is (told == "acknowledgement")
            assert stage.shelf(key).quantity == 10

    @pytest.mark.parametrize("shape", ["error", "empty"])
    async def test_a_task_that_n11_does_not_know_has_expired(self, shape: str) -> None:
        async with self.open(facade={"unknown_task": shape}) as stage:
            answer = await stage.channel.poll_ticket("990099", stage.call)
            assert isinstance(answer, Unknown)
            assert answer.evidence == "expired"

    async def test_the_call_limit_slows_us_down_under_any_status(self) -> None:
        facade = {"packages_per_minute": "1", "over_quota_status": "400"}
        async with self.open(facade=facade) as stage:
            stage.stock(1)
            window = stage.window()
            assert isinstance(await stage.channel.pull_orders(window, None, stage.call), OrderPage)
            again = await stage.channel.pull_orders(window, None, stage.call)
            assert isinstance(again, Throttled)

    async def test_either_spelling_of_a_status_is_the_same_state(self) -> None:
        async with self.open(facade={"status_spelling": "mapping_page"}) as stage:
            key = stage.stock(1)[0]
            whole, part = stage.place({key: 1}), stage.place({key: 2})
            stage.world.advance(whole.parcels[0], ParcelState.CANCELLED)
            line_id = part.lines[0].line_id
            stage.world.cancel_units(part.parcels[0], {line_id: 1}, by_seller=False)
            (gone,) = (await stage.read(whole)).packages
            assert (gone.state, gone.state_raw) == (PackageState.CANCELLED, "Canceled")
            states = Counter(each.state for each in (await stage.read(part)).packages)
            assert states == {
                PackageState.CREATED: 1,
                PackageState.CANCELLED: 1,
                PackageState.SUPERSEDED: 1,
            }
