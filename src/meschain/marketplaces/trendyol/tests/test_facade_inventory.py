from __future__ import annotations

import msgspec
import pytest

from meschain.marketplaces.trendyol.tests.facade_market import HandClock, Json, market
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import ShelfState

REPEATED = "15 dakika boyunca aynı isteği tekrarlı olarak atamazsınız!"
PATH = "/inventory/sellers/{seller}/products/price-and-inventory"


async def test_price_and_stock_reach_the_shelf() -> None:
    async with market() as m:
        shelf = m.on_sale("A")
        answer = await m.push_offers(
            {"barcode": "A", "quantity": 7, "salePrice": 112.85, "listPrice": 113.85}
        )
        result = await m.batch(answer)
        assert (shelf.quantity, shelf.sale_minor, shelf.list_minor) == (7, 11_285, 11_385)
        assert result["batchRequestType"] == "ProductInventoryUpdate"
        assert "status" not in result  # judged per item only
        assert (result["itemCount"], result["failedItemCount"]) == (1, 0)
        item = msgspec.convert(result["items"], list[Json])[0]
        assert item == {
            "requestItem": {
                "updateRequestDate": "2026-11-20T09:00:00.000+00:00",
                "barcode": "A",
                "quantity": 7,
                "salePrice": 112.85,
                "listPrice": 113.85,
            },
            "status": "SUCCESS",
            "failureReasons": [],
        }


async def test_what_is_not_sent_stays() -> None:
    async with market() as m:
        shelf = m.on_sale("A", quantity=3, price_minor=5000)
        await m.batch(await m.push_offers({"barcode": "A", "quantity": 9}))
        assert (shelf.quantity, shelf.sale_minor) == (9, 5000)
        await m.batch(await m.push_offers({"barcode": "A", "salePrice": 40}))
        assert (shelf.quantity, shelf.sale_minor, shelf.list_minor) == (9, 4000, 5000)


async def test_accepted_is_not_applied() -> None:
    clock = HandClock()
    async with market(clock=clock, apply_ms_min="150", apply_ms_max="400") as m:
        shelf = m.on_sale("A", quantity=3)
        answer = await m.push_offers({"barcode": "A", "quantity": 9})
        batch_id = str(answer.json["batchRequestId"])
        await clock.push(0.1)
        assert shelf.quantity == 3
        unfinished = (await m.batch_now(batch_id)).json
        assert (unfinished["items"], unfinished["itemCount"]) == ([], 1)
        await clock.push(0.4)
        assert shelf.quantity == 9


@pytest.mark.parametrize(
    ("item", "word"),
    [
        ({"quantity": 20_001}, "Stok"),
        ({"quantity": -1}, "Stok"),
        ({"salePrice": 100.01}, "Liste fiyatı"),
        ({"listPrice": 99.99}, "Liste fiyatı"),
        ({"salePrice": 0}, "sıfırdan"),
        ({"salePrice": 10.005}, "ondalık"),
    ],
)
async def test_values_out_of_bounds_fail_their_item_alone(item: Json, word: str) -> None:
    async with market() as m:
        shelf, other = m.on_sale("A"), m.on_sale("B")
        sent = ({"barcode": "A"} | item, {"barcode": "B", "quantity": 1})
        first, second = await m.reasons(await m.push_offers(*sent))
        assert word in first[0]
        assert second == []
        assert (shelf.quantity, shelf.sale_minor, shelf.list_minor) == (10, 10_000, 10_000)
        assert other.quantity == 1
    async with market(inventory_bounds="request") as m:
        m.on_sale("A")
        refused = await m.push_offers({"barcode": "A", "quantity": 20_001})
        assert (refused.status, refused.key) == (400, "invalid.request")


async def test_the_extremes_are_allowed() -> None:
    async with market() as m:
        m.on_sale("A")
        m.on_sale("B")
        answer = await m.push_offers(
            {"barcode": "A", "quantity": 20_000}, {"barcode": "B", "quantity": 0}
        )
        assert await m.reasons(answer) == [[], []]


async def test_a_barcode_twice_in_a_batch_fails_the_second() -> None:
    async with market() as m:
        shelf = m.on_sale("A")
        answer = await m.push_offers(
            {"barcode": "A", "quantity": 1}, {"barcode": "A", "quantity": 2}
        )
        first, second = await m.reasons(answer)
        assert first == []
        assert second
        assert shelf.quantity == 1


async def test_only_approved_products_have_an_offer() -> None:
    async with market() as m:
        pending = m.on_sale("P")
        m.world.set_state(m.shop, pending, ShelfState.PENDING)
        answer = await m.push_offers(
            {"barcode": "P", "quantity": 1}, {"barcode": "unknown", "quantity": 1}
        )
        assert all(await m.reasons(answer))
        assert pending.quantity == 10


async def test_the_identical_body_is_refused_for_fifteen_minutes() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        m.on_sale("A")
        same, other = {"barcode": "A", "quantity": 1}, {"barcode": "A", "quantity": 2}
        assert (await m.push_offers(same)).status == 200
        assert (await m.push_offers(other)).status == 200
        refused = await m.push_offers(same)
        assert refused.status == 400
        assert refused.json["errors"] == [
            {"key": refused.key, "message": REPEATED, "errorCode": "400"}
        ]
        await clock.push(15 * 60 - 1)
        assert (await m.push_offers(same)).status == 400
        await clock.push(2)
        assert (await m.push_offers(same)).status == 200


async def test_a_refused_body_may_be_sent_again() -> None:
    async with market() as m:
        m.on_sale("A")
        m.world.faults.force(Fault.THROTTLED, count=1)
        assert (await m.push_offers({"barcode": "A", "quantity": 1})).status == 429
        assert (await m.push_offers({"barcode": "A", "quantity": 1})).status == 200


async def test_thirty_price_updates_a_minute_then_the_item_fails() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        shelf = m.on_sale("A")
        for step in range(30):
            answer = await m.push_offers({"barcode": "A", "salePrice": 50 + step})
            assert await m.reasons(answer) == [[]]
        late = await m.push_offers({"barcode": "A", "salePrice": 99, "quantity": 1})
        assert "30" in (await m.reasons(late))[0][0]
        assert (shelf.sale_minor, shelf.quantity) == (7900, 10)
        stock_only = await m.push_offers({"barcode": "A", "quantity": 1})
        assert await m.reasons(stock_only) == [[]]
        await clock.push(60)
        later = await m.push_offers({"barcode": "A", "salePrice": 98})
        assert await m.reasons(later) == [[]]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"items":[]}',
        b'{"items":[{"quantity":1}]}',
        b'{"items":[{"barcode":" ","quantity":1}]}',
        b'{"items":[{"barcode":"A","quantity":"1"}]}',
        b'{"items":[{"barcode":"A","quantity":1.5}]}',
        b'{"items":[{"barcode":"A","salePrice":"10.00"}]}',
    ],
)
async def test_a_malformed_request_is_refused_whole(body: bytes) -> None:
    async with market() as m:
        m.on_sale("A")
        answer = await m.call("POST", PATH, raw=body)
        assert answer.status == 400
        assert answer.json["errors"]


async def test_a_thousand_items_and_not_one_more() -> None:
    async with market() as m:
        items = [{"barcode": f"B{number}", "quantity": 1} for number in range(1001)]
        assert (await m.push_offers(*items[:1000])).status == 200
        assert (await m.push_offers(*items)).status == 400


# — results —
async def test_a_result_lives_four_hours_and_its_id_tells_until_when() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        m.on_sale("A")
        answer = await m.push_offers({"barcode": "A", "quantity": 1})
        await m.batch(answer)
        batch_id = str(answer.json["batchRequestId"])
        assert int(batch_id.rsplit("-", 1)[1]) == clock.now().timestamp() + 14_400
        await clock.push(4 * 3600 - 1)
        assert (await m.batch_now(batch_id)).json["items"]
        await clock.push(1)
        gone = await m.batch_now(batch_id)
        assert (gone.status, gone.json["status"], gone.json["items"]) == (200, "PROCESSING", [])


async def test_an_unknown_batch_is_processing_for_ever() -> None:
    async with market(expired_batch="not_found") as m:
        answer = await m.batch_now("nobody-knows-1746718627")
        assert (answer.status, answer.json["status"]) == (200, "PROCESSING")


async def test_expired_can_also_mean_not_found() -> None:
    clock = HandClock()
    async with market(clock=clock, expired_batch="not_found") as m:
        m.on_sale("A")
        answer = await m.push_offers({"barcode": "A", "quantity": 1})
        await clock.push(4 * 3600)
        assert (await m.batch_now(str(answer.json["batchRequestId"]))).status == 404


async def test_batches_may_overtake_each_other_unless_told_otherwise() -> None:
    async def last_quantity(order: str) -> set[int]:
        clock = HandClock()
        seen: set[int] = set()
        wide = {"apply_ms_min": "0", "apply_ms_max": "1000", "batch_order": order}
        async with market(clock=clock, **wide) as m:
            shelf = m.on_sale("A")
            for pair in range(12):
                await m.push_offers({"barcode": "A", "quantity": 100 + pair})
                await m.push_offers({"barcode": "A", "quantity": 200 + pair})
                await clock.push(2)
                seen.add(shelf.quantity // 100)
        return seen

    assert await last_quantity("any") == {1, 2}
    assert await last_quantity("sent") == {2}


# — faults of batches —
async def test_one_item_may_fail_for_no_reason_of_its_own() -> None:
    async with market() as m:
        for barcode in "ABC":
            m.on_sale(barcode)
        m.world.faults.force(Fault.BATCH_ITEM_FAILED, count=1)
        answer = await m.push_offers(*({"barcode": b, "quantity": 1} for b in "ABC"))
        reasons = await m.reasons(answer)
        assert sum(1 for given in reasons if given) == 1
        for barcode, given in zip("ABC", reasons, strict=True):
            assert m.shop.shelves[barcode].quantity == (10 if given else 1)


async def test_a_stuck_batch_comes_late_or_is_never_reported() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        outcomes = set()
        for number in range(12):
            shelf = m.on_sale(f"S{number}")
            m.world.faults.force(Fault.BATCH_STUCK, count=1)
            answer = await m.push_offers({"barcode": shelf.key, "quantity": 1})
            await clock.push(1)
            was_applied = shelf.quantity == 1
            await clock.push(120)
            result = await m.batch_now(str(answer.json["batchRequestId"]))
            outcomes.add((was_applied, bool(result.json["items"])))
            assert shelf.quantity == 1
        assert outcomes == {(True, False), (False, True)}


async def test_a_result_may_be_gone_before_it_was_read() -> None:
    async with market() as m:
        shelf = m.on_sale("A")
        m.world.faults.force(Fault.BATCH_EXPIRED, count=1)
        answer = await m.push_offers({"barcode": "A", "quantity": 1})
        result = await m.batch_now(str(answer.json["batchRequestId"]))
        assert result.json["status"] == "PROCESSING"
        assert shelf.quantity == 1
