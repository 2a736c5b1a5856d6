"""Price and stock, and the life of tasks."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from meschain.marketplaces.n11.facade import create_facade, serve
from meschain.marketplaces.n11.tests.facade_stall import (
    OFFER,
    TASK,
    HandClock,
    Stall,
    open_stall,
    payload,
    priced,
    reasons,
    statuses,
)
from meschain.sandbox.clock import SandboxClock
from meschain.sandbox.facade import SellerSpec
from meschain.sandbox.faults import Fault, Faults
from meschain.sandbox.world import World

PAIR = b'{"stockCode":"A","listPrice":2000.00,"salePrice":1600.00,"quantity":2}'


def offer(stock_code: str, quantity: int = 3) -> dict[str, object]:
    return {"stockCode": stock_code, "quantity": quantity}


async def test_a_task_is_acknowledged_at_once_and_applied_later() -> None:
    async with open_stall() as stall:
        shelf = stall.stock("A")
        sent = await stall.offer(PAIR)
        early = await stall.result(sent.at("id"))
        untouched = shelf.quantity
        stall.clock.move(1)
        late = await stall.result(sent.at("id"))
    assert sent.json == {
        "id": sent.at("id"),
        "type": "SKU_UPDATE",
        "status": "IN_QUEUE",
        "reasons": ["1 sku işlenmeye alındı."],
    }
    assert (early.at("status"), early.rows("skus", "content"), untouched) == ("IN_QUEUE", [], 10)
    assert (shelf.list_minor, shelf.sale_minor, shelf.quantity) == (200_000, 160_000, 2)
    assert late.at("status") == "PROCESSED"
    assert late.at("createdDate") == "20-11-2026 12:00:00"  # Istanbul
    assert late.at("modifiedDate") == "20-11-2026 12:00:01"
    row = late.rows("skus", "content")[0]
    assert (row["itemCode"], row["status"]) == ("A", "SUCCESS")
    assert row["sku"] == {"salePrice": 1600.0, "listPrice": 2000.0, "stock": 2}


async def test_the_background_applies_tasks_in_real_time_without_being_asked() -> None:
    world = World(SandboxClock(), Faults(1), seed=1)
    facade = create_facade(world, {"task_delay_ms_min": "5", "task_delay_ms_max": "20"})
    shop = facade.open_shop(SellerSpec(seller_number=1))
    async with serve(facade) as base_url, aiohttp.ClientSession() as session:
        stall = Stall(facade, world, HandClock(), shop, base_url, session)
        shelf = stall.stock("A")
        for quantity in (3, 4):
            await stall.call("POST", OFFER, body=payload(offer("A", quantity)))
            for _ in range(100):
                await asyncio.sleep(0.01)
                if shelf.quantity == quantity:
                    break
            assert shelf.quantity == quantity


async def test_price_and_stock_can_be_sent_each_alone() -> None:
    async with open_stall() as stall:
        shelf = stall.stock("A", quantity=10, price_minor=5000)
        await stall.task(OFFER, offer("A", 3))
        assert (shelf.quantity, shelf.sale_minor) == (3, 5000)
        await stall.offer(b'{"stockCode":"A","listPrice":60.00,"salePrice":60.00}')
        stall.clock.move(1)
        await stall.packages()
        assert (shelf.quantity, shelf.list_minor, shelf.sale_minor) == (3, 6000, 6000)


@pytest.mark.parametrize(
    ("row", "fragment"),
    [
        (b'{"stockCode":"A","salePrice":10.00}', "birlikte"),
        (b'{"stockCode":"A","listPrice":10.00,"salePrice":null}', "birlikte"),
        (b'{"stockCode":"A","quantity":1000000}', "999999"),
        (b'{"stockCode":"A","quantity":-1}', "999999"),
        (b'{"stockCode":"Z","quantity":1}', "bulunamad"),
        (b'{"quantity":1}', "stockCode"),
        (b'{"stockCode":"A","quantity":1,"currencyType":"TRY"}', "currencyType"),
        (b'{"stockCode":"A","listPrice":1000000.01,"salePrice":1.00}', "minimum/maksimum"),
        (b'{"stockCode":"A","listPrice":1.00,"salePrice":0.00}', "minimum/maksimum"),
    ],
)
async def test_an_offer_with_a_fault_fails_by_its_row(row: bytes, fragment: str) -> None:
    async with open_stall() as stall:
        shelf = stall.stock("A")
        sent = await stall.offer(row)
        stall.clock.move(1)
        answer = await stall.result(sent.at("id"))
        assert (shelf.quantity, shelf.sale_minor) == (10, 10_000)
    assert statuses(answer) == ["FAIL"]
    assert fragment in reasons(answer)


BAD_PRICES = [
    ("99.9", "99.90"),
    ("99", "99"),
    ("99.900", "99.900"),
    ('"99,90"', '"99,90"'),
    ('"99.90"', '"99.90"'),
    ("9.99e1", "99.90"),
    ("-5.00", "-5.00"),
    ("10.00", "20.00"),
]


@pytest.mark.parametrize(("list_price", "sale_price"), BAD_PRICES)
async def test_a_badly_written_price_rejects_the_whole_request(
    list_price: str, sale_price: str
) -> None:
    bad = {"stockCode": "B", "listPrice": priced(list_price), "salePrice": priced(sale_price)}
    async with open_stall() as stall:
        shelf = stall.stock("A")
        sent = await stall.call("POST", OFFER, body=payload(offer("A"), bad))
        stall.clock.move(1)
        result = await stall.result(sent.at("id"))
        assert shelf.quantity == 10
    assert (sent.status, sent.at("status")) == (200, "REJECT")
    assert result.at("status") == "REJECT"


@pytest.mark.parametrize(("list_price", "sale_price"), BAD_PRICES)
async def test_by_the_current_page_it_fails_only_its_row(list_price: str, sale_price: str) -> None:
    bad = {"stockCode": "B", "listPrice": priced(list_price), "salePrice": priced(sale_price)}
    async with open_stall(price_rule="fail") as stall:
        stall.stock("A")
        stall.stock("B")
        assert statuses(await stall.task(OFFER, offer("A"), bad)) == ["SUCCESS", "FAIL"]


async def test_a_foreign_price_without_a_currency_stays_foreign() -> None:
    async with open_stall() as stall:
        shelf = stall.stock("A")
        dollars = {"listPrice": priced("10.00"), "salePrice": priced("9.99")}
        await stall.task(OFFER, {"stockCode": "A", "currencyType": "USD"} | dollars)
        assert shelf.sale_minor == 39_960
        await stall.task(OFFER, {"stockCode": "A"} | dollars | {"salePrice": priced("10.00")})
        assert shelf.sale_minor == 40_000


@pytest.mark.parametrize(
    "body",
    [
        payload(offer("A"), integrator=""),
        payload(),
        {"payload": {"integrator": "Test"}},
        {},
        payload(*(offer(f"S{place}") for place in range(1001))),
        payload(offer("A"), offer("A")),
    ],
)
async def test_a_task_that_breaks_a_rule_of_the_envelope_is_rejected_at_200(
    body: dict[str, object],
) -> None:
    async with open_stall() as stall:
        stall.stock("A")
        answer = await stall.call("POST", OFFER, body=body)
    assert (answer.status, answer.at("status")) == (200, "REJECT")


async def test_a_thousand_rows_are_allowed_and_read_in_pages() -> None:
    async with open_stall() as stall:
        for place in range(1000):
            stall.stock(f"S{place}")
        await stall.task(OFFER, *(offer(f"S{place}", place) for place in range(1000)))
        page = await stall.result(1001, page=2, size=300)
        last = await stall.result(1001, page=3, size=300)
        past = await stall.result(1001, page=4, size=300)
        negative = await stall.result(1001, page=-1)
    assert (page.at("skus", "totalElements"), page.at("skus", "totalPages")) == (1000, 4)
    assert page.at("skus", "content", 0, "itemCode") == "S600"
    assert (len(last.rows("skus", "content")), last.at("skus", "last")) == (100, True)
    assert past.at("skus", "empty") is True
    assert negative.status == 500


async def test_a_repeated_stock_code_can_fail_by_its_row_instead() -> None:
    async with open_stall(repeated_stock_code="fail") as stall:
        shelf = stall.stock("A")
        answer = await stall.task(OFFER, offer("A", 1), offer("A", 2))
        assert (statuses(answer), shelf.quantity) == (["SUCCESS", "FAIL"], 1)


async def test_the_same_content_is_refused_while_the_first_is_in_progress() -> None:
    async with open_stall() as stall:
        stall.stock("A")
        await stall.offer(PAIR)
        again = await stall.offer(PAIR)
        other = await stall.offer(PAIR.replace(b":2}", b":3}"))
        stall.clock.move(1)
        afterwards = await stall.offer(PAIR)
    assert (again.status, again.at("errorCode")) == (400, "TASK_ERR_010")
    assert again.at("errorMessage")
    assert other.at("status") == afterwards.at("status") == "IN_QUEUE"


async def test_the_duplicate_answer_has_two_observed_shapes() -> None:
    async with open_stall(duplicate_task_status="409", duplicate_task_key="code") as stall:
        await stall.offer(PAIR)
        again = await stall.offer(PAIR)
    assert (again.status, again.at("code")) == (409, "TASK_ERR_010")


async def test_an_unknown_task_is_an_error_or_an_empty_answer() -> None:
    async with open_stall() as stall:
        strict = await stall.result(5)
    async with open_stall(unknown_task="empty") as stall:
        easy = await stall.result(5)
    assert (strict.status, easy.status) == (404, 200)
    assert easy.at("status") is None


async def test_a_result_is_forgotten_after_its_retention() -> None:
    async with open_stall(task_retention_s="100") as stall:
        stall.stock("A")
        answer = await stall.task(OFFER, offer("A"))
        stall.clock.move(99)
        assert (await stall.result(answer.at("taskId"))).status == 200
        stall.clock.move(2)
        assert (await stall.result(answer.at("taskId"))).status == 404


async def test_reasons_and_the_word_fail_stand_where_some_answers_put_them() -> None:
    async with open_stall(reasons_place="sku", fail_spelling="Fail") as stall:
        answer = await stall.task(OFFER, offer("Z"))
    row = answer.rows("skus", "content")[0]
    assert row["status"] == "Fail"
    assert "reasons" not in row
    assert answer.at("skus", "content", 0, "sku", "reasons")


async def test_one_item_may_fail_for_no_reason_of_its_own() -> None:
    async with open_stall() as stall:
        for key in "AB":
            stall.stock(key)
        stall.world.faults.force(Fault.BATCH_ITEM_FAILED, count=1, marketplace="n11")
        answer = await stall.task(OFFER, offer("A"), offer("B"))
        again = await stall.task(OFFER, offer("A"), offer("B"))
    assert sorted(map(str, statuses(answer))) == ["FAIL", "SUCCESS"]
    assert statuses(again) == ["SUCCESS", "SUCCESS"]


async def test_a_stuck_task_is_applied_late_and_may_overwrite_a_later_one() -> None:
    async with open_stall(stuck_s="50") as stall:
        shelf = stall.stock("A")
        stall.world.faults.force(Fault.BATCH_STUCK, count=1, marketplace="n11")
        stuck = await stall.offer(b'{"stockCode":"A","quantity":1}')
        await stall.task(OFFER, offer("A", 2))
        assert shelf.quantity == 2
        stall.clock.move(51)
        late = await stall.result(stuck.at("id"))
        assert (late.at("status"), shelf.quantity) == ("PROCESSED", 1)


async def test_a_stuck_task_may_be_applied_and_never_reported() -> None:
    async with open_stall(stuck_task="unreported") as stall:
        shelf = stall.stock("A")
        stall.world.faults.force(Fault.BATCH_STUCK, count=1, marketplace="n11")
        stuck = await stall.offer(b'{"stockCode":"A","quantity":1}')
        stall.clock.move(1000)
        result = await stall.result(stuck.at("id"))
        again = await stall.offer(b'{"stockCode":"A","quantity":1}')
        assert (result.at("status"), shelf.quantity) == ("IN_QUEUE", 1)
    assert again.status == 400


async def test_a_result_may_expire_before_it_was_read() -> None:
    async with open_stall() as stall:
        shelf = stall.stock("A")
        stall.world.faults.force(Fault.BATCH_EXPIRED, count=1, marketplace="n11")
        answer = await stall.task(OFFER, offer("A", 1))
        assert (answer.status, shelf.quantity) == (404, 1)


async def test_another_seller_cannot_read_a_task() -> None:
    async with open_stall() as stall:
        stall.stock("A")
        answer = await stall.task(OFFER, offer("A"))
        other = stall.facade.open_shop(SellerSpec(seller_number=2)).credentials
        headers = {"appkey": other["app_key"], "appsecret": other["app_secret"]}
        body = {"taskId": answer.at("taskId"), "pageable": {"page": 0, "size": 1000}}
        assert (await stall.call("POST", TASK, body=body, headers=headers)).status == 404
