"""Orders in: pages, windows, versions, money."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from meschain.channel.contract import OrderPage, OrderWindow
from meschain.domain.order import PackageState
from meschain.sandbox.world import Order, ParcelState
from meschain.testing.conformance.stage import ConformancePart, Profile


class OrderConformance(ConformancePart):
    """What a buyer did is what the observation says, to the kuruş."""

    async def test_an_order_is_observed_as_it_was_placed(self) -> None:
        async with self.open() as stage:
            first, second = stage.stock(2)
            order = stage.place({first: 2, second: 1})
            seen = (await stage.pulled())[order.number]
            assert abs(seen.placed_at - order.placed_at) < timedelta(seconds=1)
            assert seen.currency == "TRY"
            assert len(seen.packages) == 1
            package = seen.packages[0]
            assert package.state is PackageState.CREATED
            assert package.cargo_code == order.parcels[0].cargo_code
            assert [(line.sku, line.barcode, line.quantity) for line in package.lines] == [
                (line.shelf.stock_code, line.shelf.barcode, line.units) for line in order.lines
            ]
            assert [line.unit_gross for line in package.lines] == [Decimal("99.90")] * 2
            assert [line.vat_percent for line in package.lines] == [Decimal(10)] * 2
            assert [line.commission_percent for line in package.lines] == [Decimal(13)] * 2
            buyer = order.buyer
            assert seen.shipping_address.city == buyer.city
            assert seen.shipping_address.district == buyer.district
            assert buyer.last_name in seen.buyer.full_name
            assert seen.unknown_fields == {}

    async def test_a_company_is_told_from_a_person_with_what_its_invoice_needs(self) -> None:
        async with self.open(facade=self.plain_addresses()) as stage:
            key = stage.stock(1, quantity=100)[0]
            people = stage.economy.people
            companies = [n for n in range(1, 200) if people.person(n).is_company][:2]
            persons = [n for n in range(1, 200) if not people.person(n).is_company][:2]
            orders = [stage.place({key: 1}, buyer=number) for number in companies + persons]
            pulled = await stage.pulled()
            for order in orders:
                seen, buyer = pulled[order.number].buyer, order.buyer
                assert seen.is_company == buyer.is_company
                assert seen.company_name == buyer.company_name
                assert seen.tax_office == buyer.tax_office
                assert seen.tax_number == buyer.tax_number
                assert bool(seen.identity_number) <= (not buyer.is_company)

    async def test_the_sums_of_discounted_orders_equal_the_truth_to_the_minor_unit(self) -> None:
        async with self.open(speed=200) as stage:
            keys = stage.stock(3, quantity=1_000)
            for number, key in enumerate(keys):
                stage.shelf(key).sale_minor = 9_990 + 7 * number  # divides badly
            people = stage.economy.people
            buyers = [n for n in range(1, 200) if people.person(n).is_company][:4]
            buyers += [n for n in range(1, 200) if not people.person(n).is_company][:8]
            orders = []
            for number, buyer in enumerate(buyers):
                units = number % 3 + 1
                shares = [(13 * number + 5 * at + 1, 3 * number + at) for at in range(units)]
                key = stage.shelf(keys[number % 3]).key
                orders.append(
                    stage.place(
                        {keys[number % 3]: units, keys[(number + 1) % 3]: 1},
                        buyer=buyer,
                        seller_discounts_minor={key: tuple(s for s, _ in shares)},
                        marketplace_discounts_minor={key: tuple(m for _, m in shares)},
                    )
                )
            pulled = await stage.pulled()
            for order in orders:
                seen = pulled[order.number]
                payable = sum(line.payable for p in seen.packages for line in p.lines)
                truth = invoice_minor(order, stage.profile)
                assert round(payable * 100) == truth
                assert sum(p.total or 0 for p in seen.packages) * 100 == truth

    async def test_all_pages_of_a_window_hold_every_order_once(self) -> None:
        async with self.open(speed=400) as stage:
            key = stage.stock(1, quantity=10_000)[0]
            count = 2 * stage.manifest.orders.page_size_max + 5
            orders = [stage.place({key: 1}) for _ in range(count)]
            seen = [o.external_id for page in await stage.pages() for o in page.orders]
            assert sorted(seen) == sorted(order.number for order in orders)

    async def test_pages_come_newest_first_where_the_manifest_says_so(self) -> None:
        """Within a stretch that the connector reads on its own; the engine may end it early."""
        async with self.open(speed=400) as stage:
            if not stage.manifest.orders.newest_first:
                return
            key = stage.stock(1, quantity=10_000)[0]
            count = 2 * stage.manifest.orders.page_size_max + 5
            for _ in range(count):
                stage.place({key: 1})
                await stage.economy.clock.sleep(0.001)
            pages = [page for page in await stage.pages() if page.orders]
            assert len(pages) >= 3
            oldest = [min(modified(page)) for page in pages]
            newest = [max(modified(page)) for page in pages]
            for before, after in zip(oldest, newest[1:], strict=False):
                assert before >= after

    async def test_what_changed_before_the_window_is_not_needed_and_nothing_in_it_is_missed(
        self,
    ) -> None:
        async with self.open(speed=20_000) as stage:
            key = stage.stock(1)[0]
            early = stage.place({key: 1})
            await stage.economy.clock.sleep(5 * 3_600)
            late = stage.place({key: 1})
            assert late.number in await stage.pulled(stage.window(hours_back=1))
            whole = await stage.pulled(stage.window(hours_back=24))
            assert {early.number, late.number} <= set(whole)

    async def test_the_longest_window_and_the_deepest_history_are_readable(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            order = stage.place({key: 1})
            limits = stage.manifest.orders
            end = stage.now() + timedelta(seconds=limits.horizon_s)
            begin = end - timedelta(seconds=limits.window_s_max)
            assert order.number in await stage.pulled(OrderWindow(begin, end))
            oldest = stage.now() - timedelta(seconds=limits.history_s_max)
            window = OrderWindow(oldest, oldest + timedelta(seconds=limits.window_s_max))
            assert await stage.pulled(window) == {}

    async def test_a_package_is_always_seen_in_its_newest_version(self) -> None:
        async with self.open(speed=1_000) as stage:
            key = stage.stock(1)[0]
            order = stage.place({key: 1})
            first = (await stage.pulled())[order.number].packages[0]
            await stage.economy.clock.sleep(60)
            parcel = order.parcels[0]
            stage.world.cancel_units(parcel, dict(parcel.units), by_seller=False)
            second = (await stage.pulled())[order.number].packages[0]
            assert second.external_id == first.external_id
            assert (first.state, second.state) == (PackageState.CREATED, PackageState.CANCELLED)
            assert second.modified_at > first.modified_at

    async def test_an_order_in_its_payment_check_is_held_or_not_shown(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1)[0]
            order = stage.place({key: 1}, awaiting=True)
            before = (await stage.pulled()).get(order.number)
            if stage.profile.sees_held:
                assert before is not None
                assert before.packages[0].state is PackageState.HELD
            else:
                assert before is None
            stage.world.advance(order.parcels[0], ParcelState.CREATED)
            after = (await stage.pulled())[order.number]
            assert after.packages[0].state is PackageState.CREATED

    async def test_a_look_up_reads_the_order_whole(self) -> None:
        async with self.open(speed=200) as stage:
            keys = stage.stock(3)
            other = stage.place({keys[0]: 1})
            order = stage.place(dict.fromkeys(keys, 2))
            parcel = order.parcels[0]
            line_id = order.lines[0].line_id
            stage.world.cancel_units(parcel, {line_id: 1}, by_seller=False)
            seen = await stage.read(order)
            assert seen.is_whole
            living = [p for p in seen.packages if p.state is not PackageState.SUPERSEDED]
            units = sum(line.quantity for package in living for line in package.lines)
            assert units == 6
            cancelled = [p for p in living if p.state is PackageState.CANCELLED]
            assert [line.quantity for p in cancelled for line in p.lines] == [1]
            assert (await stage.read(other)).external_id == other.number

    async def test_an_unknown_order_is_an_empty_page(self) -> None:
        async with self.open() as stage:
            page = await stage.channel.pull_order("11111111111", stage.call)
            assert isinstance(page, OrderPage)
            assert page.orders == ()

    async def test_a_state_that_no_mapping_names_is_kept_raw_and_not_guessed(self) -> None:
        async with self.open() as stage:
            order = stage.place({stage.stock(1)[0]: 1})
            stage.transport.replace = {b'"Created"': b'"Teleported"'}
            package = (await stage.pulled())[order.number].packages[0]
            assert package.state is None
            assert package.state_raw == "Teleported"

    async def test_a_row_that_cannot_be_read_is_kept_raw_and_the_others_go_through(self) -> None:
        async with self.open() as stage:
            key = stage.stock(1, quantity=100)[0]
            bad, good = stage.place({key: 7}), stage.place({key: 1})
            stage.transport.replace = {b'"quantity":7': b'"quantity":"many"'}
            pages = await stage.pages()
            assert {o.external_id for page in pages for o in page.orders} == {good.number}
            broken = {row for page in pages for row in page.broken}
            assert [bad.number.encode() in row for row in broken] == [True]

    async def test_a_field_nobody_documented_is_kept_and_shown(self) -> None:
        async with self.open() as stage:
            order = stage.place({stage.stock(1)[0]: 1})
            stage.transport.replace = {b'"orderNumber":': b'"rocketClass":"B","orderNumber":'}
            seen = (await stage.pulled())[order.number]
            assert "rocketClass" in seen.unknown_fields

    def plain_addresses(self) -> dict[str, str]:
        """Façade settings without pick-up points, whose address is not the buyer's."""
        return {name: "0" for name in self.profile.facade if name == "pickup_point_every"}


def modified(page: OrderPage) -> list[float]:
    return [p.modified_at.timestamp() for order in page.orders for p in order.packages]


def invoice_minor(order: Order, profile: Profile) -> int:
    """What the buyer's invoice carries, by the world's own lines."""
    deducts = profile.marketplace_discount == "company" and order.buyer.is_company
    return sum(
        line.unit_sale_minor * line.units
        - sum(line.unit_seller_discounts_minor)
        - (sum(line.unit_marketplace_discounts_minor) if deducts else 0)
        for line in order.lines
    )
