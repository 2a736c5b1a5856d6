"""Publishing, updating, closing, and reading back what stands there."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from meschain.channel.contract import ItemOutcomes, RemoteKeys
from meschain.channel.outcome import Done, Problem, Refused, Unknown
from meschain.domain.catalog import Content
from meschain.sandbox.world import ShelfState
from meschain.testing.conformance.stage import ConformancePart


class ListingConformance(ConformancePart):
    """The life of a listing."""

    async def test_a_published_listing_waits_then_stands_on_sale_as_it_was_sent(self) -> None:
        async with self.open() as stage:
            items = await stage.contents(2)
            ends = await stage.ended(await stage.channel.publish(items, stage.call))
            keys = [stage.key_of(item.keys) for item in items]
            assert ends == dict.fromkeys(keys, Done())
            pending = (await stage.swept())[keys[0]]
            assert pending.state in {"pending", "on_sale"}
            shown = await stage.swept_until(keys[0], "on_sale")
            assert (shown.quantity, shown.list_price, shown.sale_price) == (
                7,
                stage.money(15_000),
                stage.money(12_345),
            )
            assert shown.title == items[0].content.title
            assert (shown.keys.barcode, shown.keys.stock_code) == (
                items[0].keys.barcode,
                items[0].keys.stock_code,
            )

    async def test_a_listing_that_waits_for_approval_is_observed_as_pending(self) -> None:
        async with self.open(facade=self.never_approves()) as stage:
            items = await stage.contents(1)
            await stage.ended(await stage.channel.publish(items, stage.call))
            key = stage.key_of(items[0].keys)
            page = await stage.channel.observe_offers([key], stage.call)
            assert not isinstance(page, Problem)
            assert [(stage.key_of(o.keys), o.state) for o in page.offers] == [(key, "pending")]

    async def test_a_listing_on_sale_is_observed_as_on_sale(self) -> None:
        """Or else nobody learns from a look that an approval has come."""
        async with self.open() as stage:
            key = stage.stock(1)[0]
            page = await stage.channel.observe_offers([key], stage.call)
            assert not isinstance(page, Problem)
            assert [(o.state, o.quantity) for o in page.offers] == [("on_sale", 10)]

    async def test_a_key_that_is_not_listed_is_absent_from_the_look(self) -> None:
        async with self.open() as stage:
            stage.stock(1)
            page = await stage.channel.observe_offers(["NO-SUCH-KEY"], stage.call)
            assert not isinstance(page, Problem)
            assert page.offers == ()
            assert page.next_token is None

    async def test_a_missing_required_attribute_refuses_the_item_in_their_words(self) -> None:
        async with self.open() as stage:
            good, bad = await stage.contents(2)
            bad = replace(bad, attributes=())
            ends = await stage.ended(await stage.channel.publish([good, bad], stage.call))
            refusal = ends[stage.key_of(bad.keys)]
            assert isinstance(refusal, Refused)
            assert refusal.text
            assert ends[stage.key_of(good.keys)] == Done()

    async def test_publishing_what_is_listed_already_is_refused_and_makes_no_double(self) -> None:
        async with self.open() as stage:
            items = await stage.contents(1)
            await stage.ended(await stage.channel.publish(items, stage.call))
            again = [replace(items[0], quantity=8)]  # not the identical request
            ends = await stage.ended(await stage.channel.publish(again, stage.call))
            assert isinstance(ends[stage.key_of(items[0].keys)], Refused)
            assert len(stage.shop.shelves) == 1

    async def test_items_that_no_request_can_express_are_named_and_the_others_not_sent(
        self,
    ) -> None:
        async with self.open() as stage:
            good, bad = await stage.contents(2)
            bad = replace(bad, vat_percent=Decimal("18.5"))
            outcome = await stage.channel.publish([good, bad], stage.call)
            assert isinstance(outcome, ItemOutcomes)
            assert isinstance(outcome.items[stage.key_of(bad.keys)], Refused)
            other = outcome.items[stage.key_of(good.keys)]
            assert isinstance(other, Unknown)
            assert other.evidence == "not_sent"
            assert stage.shop.shelves == {}

    async def test_content_of_a_listing_is_updated(self) -> None:
        async with self.open() as stage:
            items = await stage.contents(1)
            await stage.ended(await stage.channel.publish(items, stage.call))
            key = stage.key_of(items[0].keys)
            shown = await stage.swept_until(key, "on_sale")
            changed = replace(
                items[0],
                keys=replace(items[0].keys, remote_id=shown.keys.remote_id),
                content=Content("tr", items[0].content.title, "<p>Yeni açıklama.</p>"),
            )
            ends = await stage.ended(await stage.channel.update_content([changed], stage.call))
            assert ends == {key: Done()}

    async def test_updating_what_is_not_listed_is_refused_item_by_item(self) -> None:
        async with self.open() as stage:
            items = await stage.contents(1)
            ends = await stage.ended(await stage.channel.update_content(items, stage.call))
            assert isinstance(ends[stage.key_of(items[0].keys)], Refused)

    async def test_a_closed_listing_is_shown_as_archived(self) -> None:
        async with self.open() as stage:
            first, second = stage.stock(2)
            shelf = stage.shelf(first)
            keys = RemoteKeys(barcode=shelf.barcode, stock_code=shelf.stock_code)
            outcome = await stage.channel.close_listings([keys], stage.call)
            assert await stage.ended(outcome) == {first: Done()}
            assert shelf.state is ShelfState.ARCHIVED
            swept = await stage.swept()
            assert (swept[first].state, swept[second].state) == ("archived", "on_sale")

    async def test_a_sweep_shows_every_listing_once_over_all_pages(self) -> None:
        async with self.open(speed=200) as stage:
            count = 2 * stage.manifest.catalog.page_size_max + 7
            keys = stage.stock(count)
            for number, key in enumerate(keys):
                stage.shelf(key).quantity = number
            swept = await stage.swept()
            assert {key: offer.quantity for key, offer in swept.items()} == {
                key: number for number, key in enumerate(keys)
            }
            assert {offer.state for offer in swept.values()} <= {"on_sale", "off_sale"}

    async def test_a_look_at_many_keys_shows_what_stands_on_the_shelves(self) -> None:
        async with self.open(speed=200) as stage:
            keys = stage.stock(stage.manifest.offers.observe_batch_max)
            for number, key in enumerate(keys):
                stage.shelf(key).quantity = number
            page = await stage.channel.observe_offers(keys, stage.call)
            assert not isinstance(page, Problem)
            assert {stage.key_of(o.keys): o.quantity for o in page.offers} == {
                key: number for number, key in enumerate(keys)
            }

    def never_approves(self) -> dict[str, str]:
        """Façade settings under which an approval takes longer than any test."""
        return {name: "1000000" for name in self.profile.facade if name.startswith("approval")}
