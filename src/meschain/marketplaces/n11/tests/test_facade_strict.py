"""Where the façade was more obliging than the fact sheet, and the readings that it leaves open."""

from __future__ import annotations

import pytest

from meschain.marketplaces.n11.tests.facade_stall import (
    APPROVE,
    CREATE,
    OFFER,
    PACKAGES,
    SPLIT_BY_LINE,
    TASK,
    UPDATE,
    dress,
    open_stall,
    payload,
    reasons,
    statuses,
)
from meschain.sandbox.world import ParcelState


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (OFFER, payload({"stockCode": "A", "quantity": 3, "stock": 3})),
        (OFFER, payload({"stockCode": "A", "quantity": 3}) | {"sender": "SELLER"}),
        (CREATE, payload(dress("A", brand="Anka"))),
        (CREATE, payload(dress("A", images=[{"url": "https://r.example/1.jpg", "index": 0}]))),
        (CREATE, payload(dress("A", attributes=[{"id": 1, "valueId": 1, "name": "Marka"}]))),
        (UPDATE, payload({"stockCode": "A", "vatRate": 10, "barcode": "1"})),
        (TASK, {"taskId": 1, "pageable": {"page": 0, "size": 1000, "sort": "id"}}),
        (TASK, {"taskId": 1}),
        (TASK, {"taskId": 1, "pageable": {"page": 0}}),
    ],
)
async def test_a_product_body_of_another_shape_than_the_sheets_is_unreadable(
    path: str, body: object
) -> None:
    async with open_stall() as stall:
        shelf = stall.stock("A")
        answer = await stall.call("POST", path, body=body)
        stall.clock.move(1)
        assert (answer.status, answer.at("@type")) == (500, "InternalServerException")
        assert shelf.quantity == 10


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", APPROVE, {"lines": [{"lineId": 1}], "status": "Picking", "reason": "x"}),
        ("PUT", APPROVE, {"lines": [{"lineId": 1, "quantity": 1}], "status": "Picking"}),
        ("POST", SPLIT_BY_LINE, {"splitGroups": [{"orderLineIds": [1], "name": "x"}]}),
    ],
)
async def test_an_order_body_with_a_field_nobody_named_is_refused(
    method: str, path: str, body: object
) -> None:
    async with open_stall() as stall:
        answer = await stall.call(method, path, body=body)
    assert (answer.status, answer.at("status")) == (400, "failure")
    assert "unknown field" in str(answer.at("errorMessage"))


async def test_a_body_that_does_not_call_itself_json_is_read_by_no_family() -> None:
    async with open_stall() as stall:
        shelf = stall.stock("A")
        headers = stall.keys | {"content-type": "text/plain"}
        body = payload({"stockCode": "A", "quantity": 3})
        task = await stall.call("POST", OFFER, body=body, headers=headers)
        lines = {"lines": [], "status": "Picking"}
        order = await stall.call("PUT", APPROVE, body=lines, headers=headers)
        stall.clock.move(1)
        assert shelf.quantity == 10
    assert (task.status, task.at("@type")) == (500, "InternalServerException")
    assert (order.status, order.at("status")) == (400, "failure")


async def test_a_picture_needs_its_place_in_the_order() -> None:
    async with open_stall() as stall:
        images = [{"url": "https://resim.example/1.jpg"}]
        answer = await stall.task(CREATE, dress("A", images=images))
    assert statuses(answer) == ["FAIL"]
    assert "order" in reasons(answer)


async def test_an_update_too_takes_one_value_of_an_attribute_and_not_both() -> None:
    both = [{"id": 433, "valueId": 445400, "customValue": "Modal"}]
    async with open_stall() as stall:
        await stall.task(CREATE, dress("A"))
        stall.clock.move(60)
        row = {"stockCode": "A", "vatRate": 10, "attributes": both}
        answer = await stall.task(UPDATE, row)
    assert statuses(answer) == ["FAIL"]
    assert "birlikte" in reasons(answer)


async def test_a_sender_nobody_named_has_no_orders() -> None:
    async with open_stall() as stall:
        stall.buy({"A": 1})
        found = [(await stall.packages(sender=each)).at("pageCount") for each in ("SELLER", "n11")]
    assert found == [1, 0]


async def test_labor_costs_of_jewellery_are_out_of_scope() -> None:
    async with open_stall() as stall:
        answer = await stall.call("PUT", "/rest/order/v1/labor-costs", body={})
    assert answer.status == 503


async def test_a_rejection_may_be_told_by_the_result_only() -> None:
    bad = {"stockCode": "A", "quantity": 1}
    async with open_stall(rejection_told="result") as stall:
        shelf = stall.stock("A")
        sent = await stall.call("POST", OFFER, body=payload(bad, bad))
        early = await stall.result(sent.at("id"))
        stall.clock.move(1)
        late = await stall.result(sent.at("id"))
        assert shelf.quantity == 10
        assert stall.facade.statistics()["tasks_rejected"] == 1
        again = await stall.call("POST", OFFER, body=payload(bad, bad))
    assert (sent.at("status"), early.at("status"), late.at("status")) == (
        "IN_QUEUE",
        "IN_QUEUE",
        "REJECT",
    )
    assert again.at("status") == "IN_QUEUE"  # the first is no longer in progress


async def test_statuses_may_be_spelled_as_the_mapping_pages_do() -> None:
    async with open_stall(status_spelling="mapping_page", status_omitted="all") as stall:
        order = stall.buy({"A": 3})
        (line,) = order.lines
        stall.world.cancel_units(order.parcels[0], {line.line_id: 1}, by_seller=False)
        gone = stall.buy({"B": 1})
        stall.world.advance(gone.parcels[0], ParcelState.CANCELLED)
        rows = (await stall.packages()).rows("content")
        asked = await stall.packages(status="Cancelled")
    found = {str(row["shipmentPackageStatus"]) for row in rows}
    assert found == {"Created", "Canceled", "UnPacked"}
    assert len(asked.rows("content")) == 2  # what is asked for has one spelling


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("object", {"reasons": ["Ürün katalog kurallarına uygun değildir."]}),
        ("text", "Ürün katalog kurallarına uygun değildir."),
        ("array", ["Ürün katalog kurallarına uygun değildir."]),
    ],
)
async def test_why_a_product_was_rejected_has_no_confirmed_shape(
    setting: str, expected: object
) -> None:
    async with open_stall(reject_info=setting, rejected_words="çiçekli") as stall:
        await stall.task(CREATE, dress("A"))
        stall.clock.move(60)
        answer = await stall.call("GET", "/ms/product-query")
    assert answer.at("content", 0, "rejectInfo") == expected


async def test_a_campaign_lowers_the_commission_rate_of_some_orders() -> None:
    async with open_stall() as stall:
        stall.stock("A", quantity=50)
        for _ in range(5):
            stall.buy({"A": 1}, commission_percent=9)
        rows = (await stall.packages()).rows("content")
        answer = await stall.packages()
    lines = [answer.rows("content", place, "lines")[0] for place in range(len(rows))]
    rates = [(line["commissionRate"], line["sellerCampaignCommissionRate"]) for line in lines]
    assert rates == [(9, 0)] * 4 + [(11, 2)]


async def test_defaults_are_the_stricter_reading() -> None:
    """§1.2: key and secret are mandatory by the changelog. §3.6: live use in 2026 unconfirmed."""
    async with open_stall() as stall:
        alone = {"appkey": stall.keys["appkey"]}
        assert (await stall.call("GET", "/cdn/categories", headers=alone)).status == 403
        assert (await stall.call("POST", "/ws/orderService/", raw=b"<x/>")).status == 503
        assert (await stall.call("GET", PACKAGES, query={"size": "1000"})).at("size") == 100


_DAMAGED = [b'{"payload":{"integrator":"\xff"}}', b'{"taskId":' + b"[" * 100_000, b"\x00", b""]


@pytest.mark.parametrize("raw", _DAMAGED)
@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", OFFER, 500), ("POST", TASK, 500), ("PUT", APPROVE, 400)]
)
async def test_bytes_that_are_no_json_are_answered_and_never_break_the_facade(
    method: str, path: str, status: int, raw: bytes
) -> None:
    async with open_stall() as stall:
        answer = await stall.call(method, path, raw=raw)
    assert (answer.status, answer.content_type) == (status, "application/json")


@pytest.mark.parametrize("number", ["1_0", " 1", "٣", "+5", "1" * 20, "1" * 5000, "1.0", "0x1"])
async def test_a_number_in_a_query_is_written_in_plain_digits(number: str) -> None:
    async with open_stall() as stall:
        stall.buy({"A": 1})
        query = {"size": number}
        products = await stall.call("GET", "/ms/product-query", query=query)
        packages = [
            (await stall.packages(**{name: number})).status
            for name in ("startDate", "endDate", "page", "size")
        ]
        found = await stall.packages(packageIds=number)
        category = await stall.call("GET", f"/cdn/category/{number}/attribute")
    assert (products.status, products.at("@type")) == (500, "InternalServerException")
    assert packages == [400] * 4
    assert (found.status, found.at("content")) == (200, [])
    assert (category.status, category.at("errorCode")) == (400, "invalidInput")
