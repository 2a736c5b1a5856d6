"""Pushes of price and stock, and the batches they become."""

from __future__ import annotations

import json

import pytest

from meschain.channel.contract import Call, OfferPush, TicketEnded, TicketOpen
from meschain.channel.outcome import Accepted, ContractBroken, Done, Refused, Throttled, Unknown
from meschain.marketplaces.trendyol.tests.playback import channel, lira, ok, refusal, sample

TICKET = "c57e3453-2c00-11f0-aa3a-be9298facace-1746718627"
TOO_MANY = Refused("", "Stok adedi 20000 üzerinde olamaz\nQuantity is too high")


async def test_a_push_carries_only_what_changed_and_prices_to_the_kurus() -> None:
    trendyol, transport = channel(ok("batch_receipt"))
    pushes = [
        OfferPush("8680000000011", quantity=0),
        OfferPush("868 000", list_price=lira("113.80"), sale_price=lira("112.85")),
    ]
    assert await trendyol.push_offers(pushes, Call()) == Accepted(TICKET)
    assert transport.paths == ["/inventory/sellers/2738/products/price-and-inventory"]
    assert transport.requests[0].body == (
        b'{"items":[{"barcode":"8680000000011","quantity":0},'
        b'{"barcode":"868000","salePrice":112.85,"listPrice":113.80}]}'
    )


async def test_one_price_without_the_other_is_our_mistake() -> None:
    trendyol, _ = channel()
    with pytest.raises(AssertionError, match="pair"):
        await trendyol.push_offers([OfferPush("1", sale_price=lira("1.00"))], Call())


async def test_an_answer_without_batch_id_is_broken() -> None:
    trendyol, _ = channel(ok(body=b"{}"))
    outcome = await trendyol.push_offers([OfferPush("1", quantity=1)], Call())
    assert isinstance(outcome, ContractBroken)


async def test_the_identical_body_is_evidence_of_the_first_one() -> None:
    trendyol, _ = channel(refusal(400, "error_repeated"))
    outcome = await trendyol.push_offers([OfferPush("1", quantity=1)], Call())
    assert isinstance(outcome, Unknown)
    assert outcome.evidence == "duplicate"


def _inventory(**changed: object) -> bytes:
    return json.dumps(json.loads(sample("batch_inventory")) | changed).encode()


async def test_an_inventory_batch_is_judged_by_its_items() -> None:
    trendyol, transport = channel(ok("batch_inventory"))
    assert await trendyol.poll_ticket(TICKET, Call()) == TicketEnded(
        {"8680000000011": Done(), "8680000000028": TOO_MANY}
    )
    assert transport.paths == [f"/product/sellers/2738/products/batch-requests/{TICKET}"]


async def test_a_batch_that_has_not_named_all_its_items_is_open() -> None:
    trendyol, _ = channel(ok(body=_inventory(itemCount=3)), ok(body=_inventory(items=None)))
    still_open = await trendyol.poll_ticket(TICKET, Call())
    assert isinstance(still_open, TicketOpen)
    assert still_open.items["8680000000011"] == Done()
    assert await trendyol.poll_ticket(TICKET, Call()) == TicketOpen({})


@pytest.mark.parametrize("status", ["IN_PROGRESS", "PROCESSING", "QUEUED"])
async def test_any_other_status_than_completed_is_waited_for(status: str) -> None:
    trendyol, _ = channel(ok(body=_inventory(status=status)))
    assert isinstance(await trendyol.poll_ticket(TICKET, Call()), TicketOpen)


async def test_an_item_in_progress_keeps_a_completed_batch_open() -> None:
    batch = json.loads(sample("batch_create"))
    batch["items"][0]["status"] = "IN_PROGRESS"
    trendyol, _ = channel(ok(body=json.dumps(batch).encode()))
    still_open = await trendyol.poll_ticket(TICKET, Call())
    assert isinstance(still_open, TicketOpen)
    assert still_open.items.keys() == {"8680000000028"}


async def test_an_unknown_ticket_stays_open_and_an_expired_one_says_so() -> None:
    trendyol, _ = channel(ok("batch_unknown"), refusal(404), refusal(429, "error_too_many"))
    assert await trendyol.poll_ticket(TICKET, Call()) == TicketOpen({})
    assert await trendyol.poll_ticket(TICKET, Call()) == Unknown("expired")
    assert await trendyol.poll_ticket(TICKET, Call()) == Throttled()


async def test_a_completed_batch_may_hold_failures_in_their_own_words() -> None:
    trendyol, _ = channel(ok("batch_create"))
    assert await trendyol.poll_ticket(TICKET, Call()) == TicketEnded(
        {"8680000000011": Done(), "8680000000028": Refused("", "Marka bulunamadı")}
    )


async def test_a_content_that_failed_fails_every_barcode_that_shares_it() -> None:
    trendyol, transport = channel(
        ok("batch_variant"), ok("batch_content"), ok("inventory_and_price")
    )
    failed = Refused("", "Başlık uygun değil")
    assert await trendyol.poll_ticket(f"{TICKET},{TICKET}", Call()) == TicketEnded(
        {"8680000000011": failed, "8680000000028": failed}
    )
    assert transport.query()["barcodes"] == "8680000000011,8680000000028"


async def test_a_barcode_whose_content_was_not_named_is_left_unknown() -> None:
    nothing = json.dumps(json.loads(sample("batch_content")) | {"items": []}).encode()
    trendyol, _ = channel(ok("batch_variant"), ok(body=nothing), ok("inventory_and_price"))
    assert await trendyol.poll_ticket(f"{TICKET},{TICKET}", Call()) == TicketEnded({})


async def test_a_joint_ticket_decides_nothing_before_all_of_it_has_ended() -> None:
    trendyol, _ = channel(ok("batch_variant"), ok("batch_unknown"))
    assert await trendyol.poll_ticket(f"{TICKET},{TICKET}", Call()) == TicketOpen({})
