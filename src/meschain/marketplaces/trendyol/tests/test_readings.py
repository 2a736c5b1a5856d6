"""Open points of the sheet that the suite's short trip does not touch, under each reading."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from meschain.channel.contract import Label, OrderPage
from meschain.channel.outcome import Done, Problem
from meschain.domain.catalog import Content
from meschain.domain.order import CargoPayer
from meschain.marketplaces.trendyol.tests.test_conformance import TestTrendyol as _Suite
from meschain.testing.conformance.package import ordered, pick
from meschain.testing.conformance.stage import ConformancePart, package_ref

FORMS = [
    ("definition", {}),
    ("guide", {"attributes_create": "guide", "attributes_update": "guide"}),
]


class TestReadings(ConformancePart):
    """The connector against the façade, over HTTP."""

    profile = _Suite.profile

    @pytest.mark.parametrize(("arrays", "account"), [("comma", "comma"), ("repeated", "repeated")])
    async def test_a_look_at_two_keys_finds_both(self, arrays: str, account: str) -> None:
        settings = {"barcodes_array": account}
        async with self.open(facade={"arrays": arrays}, account=settings) as stage:
            keys = stage.stock(2)
            page = await stage.channel.observe_offers(keys, stage.call)
            assert not isinstance(page, Problem)
            assert sorted(stage.key_of(offer.keys) for offer in page.offers) == sorted(keys)

    @pytest.mark.parametrize(("form", "account"), FORMS)
    async def test_attributes_are_understood_in_the_form_that_is_demanded(
        self, form: str, account: dict[str, str]
    ) -> None:
        """Of a new listing, and of one that still waits for approval."""
        demanded = {"attributes_create": form, "attributes_update": form, "approval_s": "1000000"}
        async with self.open(facade=demanded, account=account) as stage:
            items = await stage.contents(1)
            key = stage.key_of(items[0].keys)
            published = await stage.channel.publish(items, stage.call)
            assert await stage.ended(published) == {key: Done()}
            title = items[0].content.title
            changed = replace(items[0], content=Content("tr", title, "<p>Yeni açıklama.</p>"))
            updated = await stage.channel.update_content([changed], stage.call)
            assert await stage.ended(updated) == {key: Done()}

    async def test_a_sweep_knows_every_quantity_where_the_list_leaves_them_out(self) -> None:
        async with self.open(speed=200, facade={"approved_quantity": "absent"}) as stage:
            keys = stage.stock(120)
            for number, key in enumerate(keys):
                stage.shelf(key).quantity = number
            swept = await stage.swept()
            assert {key: offer.quantity for key, offer in swept.items()} == {
                key: number for number, key in enumerate(keys)
            }

    @pytest.mark.parametrize("reading", ["unit", "total"])
    async def test_discounts_are_per_unit_whatever_the_lines_mean_by_theirs(
        self, reading: str
    ) -> None:
        async with self.open(facade={"line_discounts": reading}) as stage:
            key = stage.stock(1)[0]
            shares = {key: (101, 102, 104)}
            order = stage.place({key: 3}, seller_discounts_minor=shares)
            (line,) = (await stage.read(order)).packages[0].lines
            assert round(line.unit_seller_discount * 3, 6) == Decimal("3.07")  # 1.02 is their mean
            assert line.payable == Decimal("296.63")

    @pytest.mark.parametrize(
        ("payer", "seen", "media_type"),
        [
            ("marketplace", CargoPayer.MARKETPLACE, "application/zpl"),
            ("seller", CargoPayer.SELLER, "text/plain"),
        ],
    )
    async def test_the_label_is_ours_on_the_sellers_own_contract(
        self, payer: str, seen: CargoPayer, media_type: str
    ) -> None:
        async with self.open(speed=100, facade={"cargo_payer": payer}) as stage:
            _, observed, package = await ordered(stage, 1)
            assert package.cargo_payer is seen
            await pick(stage, observed, package)
            label = await stage.channel.fetch_label(package_ref(observed, package), stage.call)
            assert isinstance(label, Label)
            assert label.media_type == media_type

    @pytest.mark.parametrize("clock", ["gmt3", "utc"])
    async def test_an_order_is_dated_by_the_clock_that_the_account_was_calibrated_to(
        self, clock: str
    ) -> None:
        async with self.open(facade={"order_date": clock}, account={"order_date": clock}) as stage:
            order = stage.place({stage.stock(1)[0]: 1})
            page = await stage.channel.pull_order(order.number, stage.call)
            assert isinstance(page, OrderPage)
            (seen,) = page.orders
            assert seen.is_whole
            assert abs((seen.placed_at - order.placed_at).total_seconds()) < 1
            pulled = (await stage.pulled())[order.number]
            assert pulled.placed_at == seen.placed_at
