from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from meschain.marketplaces.trendyol.tests.facade_market import (
    HandClock,
    Json,
    buyer,
    market,
)
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import ParcelState

V1 = "/order/sellers/{seller}/orders"
V2 = "/order/sellers/{seller}/v2/orders"
STREAM = "/order/sellers/{seller}/orders/stream"
DAY_MS = 24 * 3600 * 1000
DAY_S = 24 * 3600

# Fact sheet 6.2, in its order; whoPays is absent since the marketplace pays the carrier here.
PACKAGE_FIELDS = """
shipmentPackageId orderNumber status shipmentPackageStatus orderDate lastModifiedDate
originShipmentDate agreedDeliveryDate estimatedDeliveryStartDate estimatedDeliveryEndDate
packageHistories paymentMethod currencyCode packageGrossAmount packageSellerDiscount
packageTyDiscount packageTotalDiscount packageTotalPrice discountDisplays customerId
customerFirstName customerLastName customerEmail identityNumber taxNumber commercial
orderCountryCode supplierId channelId warehouseId cargoTrackingNumber cargoTrackingLink
cargoSenderNumber cargoProviderName cargoDeci deliveryType deliveryAddressType timeSlotId
fastDelivery fastDeliveryType deliveredByService giftBoxRequested 3pByTrendyol isCod micro etgbNo
etgbDate hsCode containsDangerousProduct is4P createdBy originPackageIds shipmentNumber invoiceLink
invoiceNumber invoiceStatus invoiceRejectedReasonKeys sellerDeliveryMethod sellerOtpCode
shipmentAddress invoiceAddress lines
"""
LINE_FIELDS = """
lineId barcode stockCode contentId productName productSize productColor productOrigin
productCategoryId quantity sellerId salesCampaignId currencyCode vatRate commission businessUnit
orderLineItemStatusName lineGrossAmount lineSellerDiscount lineTyDiscount lineTotalDiscount
lineUnitPrice discountDetails fastDeliveryOptions cancelledBy cancelReason cancelReasonCode
defectiveClaimListingInsight
"""


def lines(package: Json) -> list[Json]:
    return msgspec.convert(package["lines"], list[Json])


# — the package object —
async def test_a_package_has_every_documented_field_and_no_other() -> None:
    async with market() as m:
        package = await m.package(m.parcel())
        assert set(package) == set(PACKAGE_FIELDS.split())
        assert set(lines(package)[0]) == set(LINE_FIELDS.split())


async def test_a_package_tells_who_what_and_where() -> None:
    async with market() as m:
        parcel = m.parcel()
        package = await m.package(parcel)
        assert package["shipmentPackageId"] == parcel.number
        assert package["orderNumber"] == parcel.order.number
        assert package["status"] == package["shipmentPackageStatus"] == "Created"
        assert package["cargoProviderName"] == "Trendyol Express"
        assert package["cargoTrackingNumber"] == int(parcel.cargo_code)  # a number on the wire
        assert package["createdBy"] == "order-creation"
        assert package["originPackageIds"] is None
        address = msgspec.convert(package["shipmentAddress"], Json)
        assert (address["city"], address["district"], address["cityCode"]) == (
            "İstanbul",
            "Kadıköy",
            34,
        )


async def test_the_order_date_is_three_hours_ahead_and_nothing_else_is() -> None:
    async with market() as m:
        placed_ms = epoch_ms(m.clock.now())
        package = await m.package(m.parcel())
        assert package["orderDate"] == placed_ms + 3 * 3600 * 1000
        assert package["lastModifiedDate"] == placed_ms
        assert package["packageHistories"] == [{"createdDate": placed_ms, "status": "Created"}]
    async with market(order_date="utc") as m:
        assert (await m.package(m.parcel()))["orderDate"] == placed_ms


async def test_delivery_is_agreed_for_the_end_of_the_next_day() -> None:
    async with market() as m:
        # 23:59 on 21 November in Istanbul is 20:59 UTC.
        assert (await m.package(m.parcel()))["agreedDeliveryDate"] == 1_795_294_740_000


async def test_line_amounts_are_per_unit_and_the_details_are_exact() -> None:
    async with market() as m:
        m.on_sale("A", price_minor=10_000)
        order = m.buy({"A": 3}, seller_discounts_minor={"A": (334, 333, 333)})
        package = await m.package(order.parcels[0])
        line = lines(package)[0]
        assert (line["quantity"], line["lineGrossAmount"]) == (3, 100)
        assert (line["lineSellerDiscount"], line["lineUnitPrice"]) == (3.33, 96.67)
        details = msgspec.convert(line["discountDetails"], list[Json])
        assert [detail["lineItemPrice"] for detail in details] == [96.66, 96.67, 96.67]
        exact = sum(Decimal(str(detail["lineItemPrice"])) for detail in details)
        assert exact == Decimal("290.00")  # unit × quantity would say 290.01
        assert (
            package["packageGrossAmount"],
            package["packageTotalDiscount"],
            package["packageTotalPrice"],
        ) == (300, 10, 290)


async def test_the_marketplaces_discount_shows_on_corporate_orders_only() -> None:
    async with market() as m:
        m.on_sale("A", price_minor=10_000)
        for is_company, shown in ((False, 0), (True, 15)):
            order = m.world.place_order(
                m.shop,
                {"A": 1},
                buyer(is_company=is_company),
                marketplace_discounts_minor={"A": (1500,)},
            )
            package = await m.package(order.parcels[0])
            line = lines(package)[0]
            assert (package["packageTyDiscount"], line["lineTyDiscount"]) == (shown, shown)
            assert line["lineUnitPrice"] == package["packageTotalPrice"] == 100 - shown


async def test_a_company_brings_its_tax_office() -> None:
    async with market() as m:
        m.on_sale("A")
        order = m.world.place_order(m.shop, {"A": 1}, buyer(is_company=True))
        package = await m.package(order.parcels[0])
        assert (package["commercial"], package["taxNumber"]) == (True, "1234567890")
        invoice = msgspec.convert(package["invoiceAddress"], Json)
        assert (invoice["taxOffice"], invoice["taxNumber"]) == ("Kadıköy", "1234567890")
        private = await m.package(m.parcel())
        assert (private["commercial"], private["taxNumber"]) == (False, None)
        assert "taxOffice" not in msgspec.convert(private["invoiceAddress"], Json)


# — the stream —
async def test_the_stream_yields_each_package_once_newest_first() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        parcels = []
        for _ in range(3):
            parcels.append(m.parcel())
            await clock.push(1)
        m.world.advance(parcels[0], ParcelState.PICKING)
        answer = await m.get(STREAM)
        assert set(answer.json) == {"content", "size", "hasMore", "nextCursor"}
        assert (answer.json["size"], answer.json["hasMore"], answer.json["nextCursor"]) == (
            50,
            False,
            "",
        )
        expected = [parcels[0].number, parcels[2].number, parcels[1].number]
        assert [row["shipmentPackageId"] for row in answer.content] == expected


async def test_a_cursor_reads_on_undisturbed_by_what_happens_meanwhile() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        m.on_sale("A", quantity=100)
        numbers = []
        for _ in range(5):
            numbers.append(m.parcel().number)
            await clock.push(1)
        first = await m.get(STREAM, size="2")
        assert first.json["hasMore"] is True
        m.parcel()
        second = await m.get(STREAM, size="2", nextCursor=str(first.json["nextCursor"]))
        third = await m.get(STREAM, size="2", nextCursor=str(second.json["nextCursor"]))
        seen = [row["shipmentPackageId"] for a in (first, second, third) for row in a.content]
        assert seen == numbers[::-1]
        assert third.json["hasMore"] is False


async def test_a_cursor_belongs_to_its_filters() -> None:
    async with market() as m:
        for _ in range(3):
            m.parcel()
        query = {"size": "1", "packageItemStatuses": "Created,Picking"}
        cursor = str((await m.get(STREAM, **query)).json["nextCursor"])
        assert (await m.get(STREAM, **query, nextCursor=cursor)).status == 200
        assert (await m.get(STREAM, size="1", nextCursor=cursor)).status == 400
        assert (await m.get(STREAM, nextCursor="made-up")).status == 400


async def test_the_stream_filters_by_status_and_window() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        early = m.parcel()
        await clock.push(1000)
        late = m.advance(m.parcel(), ParcelState.PICKING)
        assert (await m.get(STREAM, packageItemStatuses="UnPacked,Verified")).content == []
        picking = (await m.get(STREAM, packageItemStatuses="Picking")).content
        assert [row["shipmentPackageId"] for row in picking] == [late.number]
        now_ms = epoch_ms(clock.now())
        window = {
            "lastModifiedStartDate": str(now_ms - 1_000_000),
            "lastModifiedEndDate": str(now_ms - 1),
        }
        found = (await m.get(STREAM, **window)).content
        assert [row["shipmentPackageId"] for row in found] == [early.number]
        assert (await m.get(STREAM, packageItemStatuses="created")).status == 400


@pytest.mark.parametrize(
    ("start_days", "end_days", "status"),
    [(14, 0, 200), (14.1, 0, 400), (0, 1, 400), (90, 77, 200), (91, 80, 400)],
)
async def test_a_stream_window_is_fourteen_days_of_the_last_three_months(
    start_days: float, end_days: float, status: int
) -> None:
    async with market() as m:
        now_ms = epoch_ms(m.clock.now())
        answer = await m.get(
            STREAM,
            lastModifiedStartDate=str(now_ms - round(start_days * DAY_MS)),
            lastModifiedEndDate=str(now_ms - round(end_days * DAY_MS)),
        )
        assert answer.status == status


async def test_without_dates_the_stream_shows_fourteen_days() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        m.parcel()
        await clock.push(14 * DAY_S)
        assert len((await m.get(STREAM)).content) == 1
        await clock.push(1)
        assert (await m.get(STREAM)).content == []


async def test_sizes_are_one_to_two_hundred() -> None:
    async with market() as m:
        for path in (STREAM, V2):
            assert (await m.get(path, size="200")).status == 200
            assert (await m.get(path, size="201")).status == 400
            assert (await m.get(path, size="0")).status == 400


async def test_filter_dates_can_be_read_as_turkish_time() -> None:
    async with market(filter_epoch="gmt3") as m:
        m.parcel()
        now_ms = epoch_ms(m.clock.now())
        start = {"lastModifiedStartDate": str(now_ms - 60_000)}
        assert (await m.get(STREAM, **start, lastModifiedEndDate=str(now_ms))).content == []
        ahead = str(now_ms + 3 * 3600 * 1000)
        assert len((await m.get(STREAM, **start, lastModifiedEndDate=ahead)).content) == 1


# — the paged list —
async def test_the_list_is_paged_with_totals() -> None:
    async with market() as m:
        numbers = [m.parcel().number for _ in range(5)]
        answer = await m.get(V2, size="2", page="1", orderByDirection="ASC")
        assert {k: v for k, v in answer.json.items() if k != "content"} == {
            "page": 1,
            "size": 2,
            "totalPages": 3,
            "totalElements": 5,
        }
        assert [row["shipmentPackageId"] for row in answer.content] == numbers[2:4]


async def test_beyond_ten_thousand_packages_the_list_answers_429() -> None:
    async with market() as m:
        assert (await m.get(V2, size="200", page="49")).status == 200
        assert (await m.get(V2, size="200", page="50")).status == 429


async def test_the_list_finds_by_order_status_and_package() -> None:
    async with market() as m:
        first, second = m.parcel(), m.advance(m.parcel(), ParcelState.PICKING)
        by_order = (await m.get(V2, orderNumber=first.order.number)).content
        assert [row["shipmentPackageId"] for row in by_order] == [first.number]
        assert (await m.get(V2, orderNumber="1")).content == []
        picking = (await m.get(V2, status="Picking")).content
        assert [row["shipmentPackageId"] for row in picking] == [second.number]
        both = ",".join(str(parcel.number) for parcel in (first, second))
        assert (await m.get(V2, shipmentPackageIds=both)).json["totalElements"] == 2
        many = ",".join(str(number) for number in range(51))
        assert (await m.get(V2, shipmentPackageIds=many)).status == 400
        assert (await m.get(V2, status="UnPacked")).status == 400
        assert (await m.get(V2, orderByField="orderDate")).status == 400


async def test_the_list_knows_a_week_by_default_and_a_month_at_most() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        order = m.buy()
        await clock.push(8 * DAY_S)
        assert (await m.get(V2)).content == []
        assert (await m.get(V2, orderNumber=order.number)).content == []  # the stricter reading
        now_ms = epoch_ms(clock.now())
        window = {"startDate": str(now_ms - 14 * DAY_MS), "endDate": str(now_ms)}
        assert len((await m.get(V2, **window)).content) == 1
        assert (await m.get(V2, startDate=window["startDate"])).status == 400
        too_wide = window | {"startDate": str(now_ms - 15 * DAY_MS)}
        assert (await m.get(V2, **too_wide)).status == 400
        old = {"startDate": str(now_ms - 31 * DAY_MS), "endDate": str(now_ms - 20 * DAY_MS)}
        assert (await m.get(V2, **old)).status == 400


async def test_old_dates_can_be_hidden_and_lookups_reach_further() -> None:
    clock = HandClock()
    async with market(clock=clock, old_dates="hide", order_lookup_days="30") as m:
        order = m.buy()
        await clock.push(20 * DAY_S)
        assert len((await m.get(V2, orderNumber=order.number)).content) == 1
        now_ms = epoch_ms(clock.now())
        old = {"startDate": str(now_ms - 40 * DAY_MS), "endDate": str(now_ms - 27 * DAY_MS)}
        assert (await m.get(V2, **old)).content == []


async def test_the_list_dates_by_what_it_is_ordered_by() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        first = m.parcel()
        await clock.push(10)
        second = m.parcel()
        await clock.push(10)
        m.world.advance(first, ParcelState.PICKING)
        by_change = (await m.get(V2, orderByField="PackageLastModifiedDate")).content
        by_creation = (await m.get(V2)).content
        assert by_change[0]["shipmentPackageId"] == first.number
        assert by_creation[0]["shipmentPackageId"] == second.number


async def test_the_first_version_is_closed() -> None:
    async with market() as m:
        assert (await m.get(V1)).status == 426
    async with market(order_v1="closed") as m:
        assert (await m.get(V1)).status == 404
