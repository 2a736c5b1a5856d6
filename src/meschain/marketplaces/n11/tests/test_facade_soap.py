"""The two SOAP operations in scope."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from meschain.marketplaces.n11.tests.facade_stall import Answer, Stall, line_ids, open_stall
from meschain.sandbox.world import ParcelState

ORDER = "/ws/orderService/"
CARRIERS = "/ws/shipmentCompanyService/"
XML = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": ""}


async def ask(
    stall: Stall,
    path: str,
    request: str,
    inner: str = "",
    *,
    prefix: str = "",
    is_known: bool = True,
    headers: Mapping[str, str] = XML,
    before: str = "",
) -> Answer:
    secret = stall.keys["appsecret"] if is_known else "x"
    auth = (
        f"<{prefix}auth><{prefix}appKey>{stall.keys['appkey']}</{prefix}appKey>"
        f"<{prefix}appSecret>{secret}</{prefix}appSecret></{prefix}auth>"
    )
    envelope = (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:sch="http://www.n11.com/ws/schemas"><soapenv:Header/><soapenv:Body>'
        f"<sch:{request}>{before}{auth}{inner}</sch:{request}></soapenv:Body></soapenv:Envelope>"
    )
    return await stall.call("POST", path, raw=envelope.encode(), headers=headers)


async def ship(stall: Stall, *ids: object, carrier: str = "343", number: str = "YK1") -> Answer:
    items = "".join(
        f"<orderItem><id>{each}</id><shipmentInfo><shipmentCompany><id>{carrier}</id>"
        f"</shipmentCompany><campaignNumber/><trackingNumber>{number}</trackingNumber>"
        "<shipmentMethod>1</shipmentMethod></shipmentInfo></orderItem>"
        for each in ids
    )
    inner = f"<orderItemList>{items}</orderItemList>"
    answer = await ask(stall, ORDER, "MakeOrderItemShipmentRequest", inner)
    assert (answer.status, answer.content_type) == (200, "text/xml")
    return answer


@pytest.mark.parametrize(
    "path",
    [CARRIERS, "/ws/ShipmentCompanyService", "/ws/SHIPMENTCOMPANYSERVICE.wsdl"],
)
@pytest.mark.parametrize("prefix", ["", "sch:"])
async def test_carriers_are_listed_at_any_spelling_of_the_address(path: str, prefix: str) -> None:
    async with open_stall() as stall:
        answer = await ask(stall, path, "GetShipmentCompaniesRequest", prefix=prefix)
    assert "<status>success</status>" in answer.text
    assert "<id>343</id><name>Yurtiçi Kargo</name><shortName>YK</shortName>" in answer.text


async def test_a_wrong_secret_is_a_failure_at_200() -> None:
    async with open_stall() as stall:
        answer = await ask(stall, CARRIERS, "GetShipmentCompaniesRequest", is_known=False)
    assert answer.status == 200
    assert "<status>failure</status>" in answer.text
    assert "<errorCode>SELLER_API.authenticationFailed</errorCode>" in answer.text


async def test_who_asks_is_said_first() -> None:
    async with open_stall() as stall:
        answer = await ask(stall, CARRIERS, "GetShipmentCompaniesRequest", before="<pagingData/>")
    assert "SELLER_API.authenticationFailed" in answer.text


async def test_calls_over_the_limit_fail_in_soaps_own_words() -> None:
    async with open_stall(other_per_minute="1") as stall:
        await ask(stall, CARRIERS, "GetShipmentCompaniesRequest")
        answer = await ask(stall, CARRIERS, "GetShipmentCompaniesRequest")
        assert stall.facade.statistics()["refused_by_quota"] == 1
    assert "maxCallLimit.reached" in answer.text


@pytest.mark.parametrize("state", [ParcelState.CREATED, ParcelState.PICKING])
async def test_an_own_carrier_ships_paid_and_accepted_lines(state: ParcelState) -> None:
    async with open_stall(make_shipment="on") as stall:
        order = stall.buy({"A": 1, "B": 1})
        first, second = line_ids(await stall.packages())
        stall.world.advance(order.parcels[0], state)
        assert "success" in (await ship(stall, first)).text
        assert order.parcels[0].state is state  # the other line is still here
        assert "success" in (await ship(stall, second, second)).text
        assert order.parcels[0].state is ParcelState.SHIPPED
        row = (await stall.packages(status="Shipped")).rows("content")[0]
        assert (row["cargoProviderName"], row["cargoSenderNumber"]) == ("Yurtiçi Kargo", "YK1")
        assert "failure" in (await ship(stall, first)).text


async def test_a_shipment_with_a_fault_ships_nothing() -> None:
    async with open_stall(make_shipment="on") as stall:
        order = stall.buy({"A": 1})
        (a,) = line_ids(await stall.packages())
        for refused in (
            ship(stall),
            ship(stall, 5),
            ship(stall, "x"),
            ship(stall, a, 5),
            ship(stall, a, carrier="1"),
            ship(stall, a, number=""),
        ):
            assert "<status>failure</status>" in (await refused).text
        assert order.parcels[0].state is ParcelState.CREATED


async def test_what_is_no_soap_message_is_a_failure() -> None:
    async with open_stall() as stall:
        encoded = b'<?xml version="1.0" encoding="x-9"?><x/>'
        for raw in (b"", b"<x/>", b"<!DOCTYPE x><x/>", b"<e><Body/></e>", encoded):
            answer = await stall.call("POST", CARRIERS, raw=raw, headers=XML)
            assert (answer.status, "failure" in answer.text) == (200, True)


async def test_an_envelope_must_call_itself_xml() -> None:
    async with open_stall() as stall:
        request = "GetShipmentCompaniesRequest"
        answer = await ask(stall, CARRIERS, request, headers={"Content-Type": "text/plain"})
    assert (answer.status, "failure" in answer.text) == (200, True)


async def test_operations_out_of_scope_are_unknown_paths() -> None:
    async with open_stall(make_shipment="on") as stall:
        accept = await ask(stall, ORDER, "OrderItemAcceptRequest")
        claims = await ask(stall, "/ws/returnService/", "ClaimReturnListRequest")
    assert accept.status == claims.status == 503
    async with open_stall() as stall:
        assert (await ask(stall, ORDER, "MakeOrderItemShipmentRequest")).status == 503
