"""The package list: windows, clamping, row shape; and approving lines."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from meschain.marketplaces.n11.tests.facade_stall import (
    APPROVE,
    LALE_LTD,
    NOON,
    PACKAGES,
    Answer,
    Json,
    Stall,
    line_ids,
    open_stall,
)
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import Order, ParcelState

DAY_S = 24 * 3600
DAY_MS = DAY_S * 1000
NOON_MS = epoch_ms(NOON)


def numbers(answer: Answer) -> list[object]:
    return [row["orderNumber"] for row in answer.rows("content")]


async def approve(stall: Stall, *ids: int, status: str = "Picking") -> list[Json]:
    body = {"lines": [{"lineId": each} for each in ids], "status": status}
    answer = await stall.call("PUT", APPROVE, body=body)
    assert answer.status == 200, answer.text
    return answer.rows("content")


def advance(stall: Stall, order: Order, state: ParcelState) -> None:
    stall.world.advance(order.parcels[0], state)


async def test_the_row_has_exactly_the_fields_of_the_sheet() -> None:
    async with open_stall() as stall:
        stall.buy({"A": 2})
        answer = await stall.packages(status="Created")
    assert set(answer.json) == {"pageCount", "totalPages", "page", "size", "content"}
    row = answer.rows("content")[0]
    assert " ".join(row) == (
        "id orderNumber shipmentPackageStatus customerId customerfullName customerEmail "
        "tcIdentityNumber taxId taxOffice billingAddress shippingAddress deliveryAddressType "
        "shipmentCompanyId cargoProviderName cargoTrackingNumber cargoSenderNumber "
        "cargoTrackingLink shipmentMethod totalAmount totalDiscountAmount isReturned micro "
        "lastModifiedDate agreedDeliveryDate lines packageHistories"
    )
    assert " ".join(answer.rows("content", 0, "lines")[0]) == (
        "orderLineId productId productName stockCode barcode quantity price dueAmount "
        "sellerInvoiceAmount sellerDiscount sellerCouponDiscount totalSellerDiscountPrice "
        "mallDiscount totalMallDiscountPrice vatRate commissionRate sellerCampaignCommissionRate "
        "netMarketingFeeRate netMarketplaceFeeRate taxDeductionRate deliveryFeeType sender "
        "productOrigin hsCode orderItemLineItemStatusName variantAttributes"
    )
    assert isinstance(row["id"], str)
    assert row["customerfullName"] == "Ayşe Yılmaz"
    assert (row["lastModifiedDate"], row["isReturned"], row["micro"]) == (NOON_MS, False, False)
    assert row["cargoTrackingNumber"]
    assert row["cargoSenderNumber"] is row["cargoTrackingLink"] is None
    assert answer.at("content", 0, "billingAddress", "invoiceType") == 1


async def test_a_company_states_its_tax_office() -> None:
    async with open_stall() as stall:
        stall.buy({"A": 1}, buyer=LALE_LTD)
        answer = await stall.packages()
    billing = answer.at("content", 0, "billingAddress")
    assert isinstance(billing, dict)
    assert (billing["fullName"], billing["invoiceType"]) == ("Lale Ltd. Şti.", 2)
    assert (billing["taxId"], billing["taxHouse"], billing["tcId"]) == (
        "1234567890",
        "Zincirlikuyu",
        "",
    )
    assert answer.at("content", 0, "taxOffice") == "Zincirlikuyu"


async def test_discounts_are_per_unit_and_totals_per_line() -> None:
    async with open_stall() as stall:
        stall.stock("A", price_minor=29_280)
        terms = {
            "seller_discounts_minor": {"A": (290, 290)},
            "marketplace_discounts_minor": {"A": (2180, 2180)},
            "commission_percent": 9,
        }
        stall.buy({"A": 2}, **terms)
        first = (await stall.packages()).rows("content", 0, "lines")[0]
        stall.buy({"A": 2}, **terms)
        second = await stall.packages(orderByDirection="DESC")
    assert (first["price"], first["sellerDiscount"], first["sellerCouponDiscount"]) == (
        292.8,
        2.9,
        0,
    )
    assert (first["totalSellerDiscountPrice"], first["sellerInvoiceAmount"]) == (5.8, 579.8)
    assert (first["mallDiscount"], first["totalMallDiscountPrice"]) == (21.8, 43.6)
    assert (first["vatRate"], first["commissionRate"], first["taxDeductionRate"]) == (10, 9, 1)
    line = second.rows("content", 0, "lines")[0]  # the next order shows it as a coupon
    assert (line["sellerDiscount"], line["sellerCouponDiscount"]) == (0, 2.9)
    assert (second.at("content", 0, "totalAmount"), line["sellerInvoiceAmount"]) == (579.8, 579.8)
    assert second.at("content", 0, "totalDiscountAmount") == 5.8


async def test_a_discount_that_does_not_divide_keeps_its_exact_total() -> None:
    async with open_stall() as stall:
        stall.buy({"A": 3}, seller_discounts_minor={"A": (334, 333, 333)})
        answer = await stall.packages()
    line = msgspec.json.decode(answer.text.replace("3.3333", '"3.3333"'))["content"][0]["lines"][0]
    assert Decimal(line["sellerDiscount"]) == Decimal("3.3333")
    assert (line["totalSellerDiscountPrice"], line["sellerInvoiceAmount"]) == (10.0, 290.0)


async def test_an_export_carries_its_extra_fields() -> None:
    async with open_stall() as stall:
        stall.buy({"A": 1}, micro_export=True)
        row = (await stall.packages()).rows("content")[0]
    assert row["micro"] is True
    assert row["countryCode"] != "TR"
    assert {"invoiceLink", "invoiceDate", "etgbNo", "etgbDate"} <= set(row)
    assert "hsCode" in str(row["lines"])


async def test_a_pick_up_point_has_no_name_and_every_point_kind_comes() -> None:
    async with open_stall(pickup_point_every="2") as stall:
        for _ in range(6):
            stall.buy({"A": 1})
        rows = (await stall.packages()).rows("content")
    kinds = [row["deliveryAddressType"] for row in rows]
    assert kinds == [None, "EASYPOINT", None, "PUP", None, "KTN"]
    assert [msgspec.convert(row["shippingAddress"], dict)["fullName"] for row in rows[:2]] == [
        "Ayşe Yılmaz",
        None,
    ]
    assert msgspec.convert(rows[1]["billingAddress"], dict)["fullName"] == "Ayşe Yılmaz"


async def test_a_special_delivery_has_no_package_id() -> None:
    async with open_stall(special_delivery_every="2") as stall:
        for _ in range(2):
            stall.buy({"A": 1})
        rows = (await stall.packages()).rows("content")
    assert [row["id"] is None for row in rows] == [False, True]


async def test_histories_of_later_states_begin_with_a_blank() -> None:
    async with open_stall() as stall:
        order = stall.buy({"A": 1})
        for state in (ParcelState.PICKING, ParcelState.SHIPPED, ParcelState.RETURNED):
            stall.clock.move(60)
            advance(stall, order, state)
        answer = await stall.packages(status="Delivered")
    histories = answer.rows("content", 0, "packageHistories")
    assert [each["status"] for each in histories] == [
        "Created",
        " Picking",
        " Shipped",
        " Delivered",
    ]
    assert histories[0]["createdDate"] == NOON_MS
    assert answer.at("content", 0, "isReturned") is False


async def test_the_carriers_number_is_seen_even_when_it_comes_after_the_state() -> None:
    async with open_stall() as stall:
        order = stall.buy({"A": 1})
        advance(stall, order, ParcelState.SHIPPED)
        before = await stall.packages(status="Shipped")
        order.parcels[0].tracking_number = "TR42"
        after = await stall.packages(status="Shipped")
    assert before.at("content", 0, "cargoSenderNumber") is None
    assert after.at("content", 0, "cargoSenderNumber") == "TR42"
    assert str(after.at("content", 0, "cargoTrackingLink")).endswith("TR42")


async def test_an_order_that_awaits_payment_is_not_shown() -> None:
    async with open_stall() as stall:
        order = stall.buy({"A": 1}, awaiting=True)
        hidden = await stall.packages(orderNumber=order.number)
        advance(stall, order, ParcelState.CREATED)
        shown = await stall.packages(orderNumber=order.number)
    assert (numbers(hidden), numbers(shown)) == ([], [order.number])


async def test_one_status_a_call_and_an_unknown_one_is_an_empty_page() -> None:
    async with open_stall() as stall:
        created, picking = stall.buy({"A": 1}), stall.buy({"B": 1})
        advance(stall, picking, ParcelState.PICKING)
        assert numbers(await stall.packages(status="Created")) == [created.number]
        assert numbers(await stall.packages(status="Picking")) == [picking.number]
        for unknown in ("Canceled", "created", "Created,Picking", ""):
            answer = await stall.packages(status=unknown)
            assert (answer.status, answer.at("pageCount"), answer.at("content")) == (200, 0, [])


async def test_without_a_status_only_created_packages_come_unless_told_otherwise() -> None:
    for setting, expected in (("created", 1), ("all", 2)):
        async with open_stall(status_omitted=setting) as stall:
            stall.buy({"A": 1})
            advance(stall, stall.buy({"B": 1}), ParcelState.SHIPPED)
            assert (await stall.packages()).at("pageCount") == expected


async def test_a_page_is_silently_cut_to_a_hundred_and_page_count_counts_rows() -> None:
    async with open_stall() as stall:
        stall.stock("A", quantity=200)
        placed = [stall.buy({"A": 1}).number for _ in range(150)]
        first = await stall.packages(size=1000)
        second = await stall.packages(size=100, page=1)
        past = await stall.packages(page=9)
    assert (first.at("size"), first.at("pageCount"), first.at("totalPages")) == (100, 100, 2)
    assert (second.at("pageCount"), second.at("page")) == (50, 1)
    assert (past.at("pageCount"), past.at("content"), past.at("totalPages")) == (0, [], 2)
    assert numbers(first) + numbers(second) == placed


async def test_a_wide_window_is_silently_cut_to_the_days_before_its_end() -> None:
    async with open_stall() as stall:
        early = stall.buy({"A": 1})
        stall.clock.move(20 * DAY_S)
        late = stall.buy({"A": 1})
        end = NOON_MS + 20 * DAY_MS
        wide = await stall.packages(startDate=NOON_MS - DAY_MS, endDate=end)
        start_only = await stall.packages(startDate=NOON_MS - DAY_MS)
        end_only = await stall.packages(endDate=NOON_MS + DAY_MS)
        neither = await stall.packages()
    assert numbers(wide) == numbers(neither) == [late.number]
    assert numbers(start_only) == numbers(end_only) == [early.number]


async def test_the_window_is_of_creation_unless_the_last_change_is_asked_for() -> None:
    async with open_stall(order_direction="DESC") as stall:
        first, second = stall.buy({"A": 1}), stall.buy({"B": 1})
        stall.clock.move(3600)
        for order in (second, first):
            advance(stall, order, ParcelState.PICKING)
            stall.clock.move(60)
        recent = {"status": "Picking", "startDate": NOON_MS + 1, "endDate": NOON_MS + DAY_MS}
        by_creation = await stall.packages(**recent)
        by_change = await stall.packages(**recent, orderByField="true")
        ascending = await stall.packages(**recent, orderByField="true", orderByDirection="ASC")
        not_after = await stall.packages(
            status="Picking",
            startDate=NOON_MS,
            endDate=NOON_MS + 3_600_000,
            orderByField="true",
        )
    assert numbers(by_creation) == []
    assert numbers(by_change) == [first.number, second.number]
    assert numbers(ascending) == [second.number, first.number]
    assert numbers(not_after) == [second.number]


async def test_point_look_ups_obey_status_and_window_by_default() -> None:
    async with open_stall(status_omitted="all") as stall:
        order, other = stall.buy({"A": 1}), stall.buy({"A": 1})
        ids = ",".join(str(each.parcels[0].number) for each in (order, other))
        assert numbers(await stall.packages(orderNumber=order.number)) == [order.number]
        assert len(numbers(await stall.packages(packageIds=ids))) == 2
        both = await stall.packages(packageIds=ids, orderNumber=other.number)
        assert numbers(both) == [other.number]
        assert numbers(await stall.packages(orderNumber=order.number, status="Picking")) == []
        assert numbers(await stall.packages(orderNumber="x", packageIds="y")) == []
        stall.clock.move(16 * DAY_S)
        assert numbers(await stall.packages(orderNumber=order.number)) == []
    async with open_stall(lookup_window="ignored") as stall:
        order = stall.buy({"A": 1})
        stall.clock.move(16 * DAY_S)
        assert numbers(await stall.packages(orderNumber=order.number)) == [order.number]


async def test_orders_in_n11s_own_warehouse_are_none() -> None:
    async with open_stall() as stall:
        stall.buy({"A": 1})
        assert numbers(await stall.packages(sender="N11")) == []
        assert len(numbers(await stall.packages(sender="ALL"))) == 1


async def test_a_shifted_clock_of_the_window_is_a_setting() -> None:
    async with open_stall(window_shift_h="3") as stall:
        stall.buy({"A": 1})
        start = NOON_MS - 2 * 3_600_000
        assert numbers(await stall.packages(startDate=start, endDate=start + DAY_MS)) == []


@pytest.mark.parametrize(
    "query", [{"startDate": "x"}, {"page": "-1"}, {"size": "0"}, {"orderByDirection": "up"}]
)
async def test_a_query_that_means_nothing_is_a_failure(query: dict[str, str]) -> None:
    async with open_stall() as stall:
        answer = await stall.call("GET", PACKAGES, query=query)
    assert (answer.status, answer.at("status")) == (400, "failure")


async def test_lines_are_approved_one_by_one_and_the_package_follows_the_last() -> None:
    async with open_stall() as stall:
        order = stall.buy({"A": 1, "B": 1})
        first, second = line_ids(await stall.packages())
        stall.clock.move(60)
        assert [row["status"] for row in await approve(stall, first)] == ["SUCCESS"]
        half = await stall.packages(status="Created")
        lines = half.rows("content", 0, "lines")
        assert [line["orderItemLineItemStatusName"] for line in lines] == ["Picking", "Created"]
        assert half.at("content", 0, "lastModifiedDate") == NOON_MS + 60_000
        again = await approve(stall, first, second, 5)
        assert [row["status"] for row in again] == ["FAIL", "SUCCESS", "FAIL"]
        assert [row["lineId"] for row in again] == [first, second, 5]
        assert all(row["reasons"] for row in again)
        assert order.parcels[0].state is ParcelState.PICKING
        assert numbers(await stall.packages(status="Picking")) == [order.number]


async def test_only_created_lines_go_to_picking_and_nowhere_else() -> None:
    async with open_stall() as stall:
        order = stall.buy({"A": 1})
        (line_id,) = line_ids(await stall.packages())
        assert (await approve(stall, line_id, status="Shipped"))[0]["status"] == "FAIL"
        advance(stall, order, ParcelState.CANCELLED)
        assert (await approve(stall, line_id))[0]["status"] == "FAIL"


async def test_a_sale_lowers_the_shelf_unless_told_otherwise() -> None:
    for setting, left in (("on", 8), ("off", 10)):
        async with open_stall(lowers_own_shelf=setting) as stall:
            stall.buy({"A": 2})
            assert stall.shop.shelves["A"].quantity == left
