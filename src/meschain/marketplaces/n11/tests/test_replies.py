"""Every shape in which N11 says something else than the result."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meschain.channel.contract import OfferPush, OrderWindow, PackageLine, PackageRef
from meschain.channel.http import HttpReply, TransportLost
from meschain.channel.outcome import (
    ContractBroken,
    NotSent,
    Outcome,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.domain.order import PackageState
from meschain.marketplaces.n11.client import read_reply
from meschain.marketplaces.n11.mapping import Unreadable, order_observations, package_row
from meschain.marketplaces.n11.tests.playback import CALL, Playback, channel_on, json_reply
from meschain.marketplaces.n11.wire import ShipmentPackage, field_names

PUSH = (OfferPush("A", 1),)
PICK = PackageRef("1", "2", (PackageLine("3", 1),))


def html(status: int) -> HttpReply:
    return HttpReply(status, {"content-type": "text/html"}, b"<html><body>no</body></html>")


def plain(status: int, body: bytes) -> HttpReply:
    return HttpReply(status, {"content-type": "text/plain"}, body)


async def push(reply: HttpReply | TransportLost) -> object:
    return await channel_on(Playback(reply)).push_offers(PUSH, CALL)


async def pick(reply: HttpReply | TransportLost) -> object:
    return await channel_on(Playback(reply)).advance_package(PICK, PackageState.PICKING, CALL)


def ms_failure(type_name: str, message: str, status: int) -> HttpReply:
    return json_reply(
        f'{{"@type":"{type_name}","name":"x","message":"{message}","description":null,'
        f'"urlStack":[],"errors":[{{"reason":"neden"}}]}}',
        status,
    )


REFUSED_KEYS = (
    '{"code":400,"status":"failure","errorCode":"SELLER_API.authenticationFailed",'
    '"errorMessage":"Kimlik doğrulanamadı","errorCategory":"SELLER_API"}'
)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            ms_failure("SellerApiUserUnauthorizedException", "yetki yok", 401),
            Unauthorized("yetki yok · neden"),
        ),
        (
            ms_failure("InternalServerException", "MissingRequestHeaderException: appsecret", 500),
            Unauthorized("MissingRequestHeaderException: appsecret · neden"),
        ),
        (
            ms_failure("InternalServerException", "ConstraintViolationException: size", 500),
            Refused("ConstraintViolationException", "ConstraintViolationException: size · neden"),
        ),
        (
            ms_failure("InternalServerException", "IllegalArgumentException: saleStatus", 500),
            Refused("IllegalArgumentException", "IllegalArgumentException: saleStatus · neden"),
        ),
        (
            ms_failure("InternalServerException", "beklenmeyen hata", 500),
            Unknown("server_error", "beklenmeyen hata · neden"),
        ),
        (
            ms_failure("SellerApiException", "olmaz", 422),
            Refused("SellerApiException", "olmaz · neden"),
        ),
        (
            json_reply('{"errorCode":"TASK_ERR_010","errorMessage":"sürüyor"}', 400),
            Unknown("duplicate", "sürüyor"),
        ),
        (
            json_reply('{"@type":"X","code":"TASK_ERR_010","message":"sürüyor"}', 500),
            Unknown("duplicate", "sürüyor"),
        ),
        (
            json_reply('{"errorCode":"TASK_ERR_001","errorMessage":"iki değer"}', 500),
            Refused("TASK_ERR_001", "iki değer"),
        ),
        (
            json_reply('{"code":200,"status":"failure","errorCode":"E1","errorMessage":"olmaz"}'),
            Refused("E1", "olmaz"),
        ),
        (html(503), Unknown("server_error", "HTTP 503")),
        (plain(502, b"Bad Gateway"), Unknown("server_error", "Bad Gateway")),
        (HttpReply(500, {}, b""), Unknown("server_error", "HTTP 500")),
        (HttpReply(429, {"retry-after": "7"}, b""), Throttled(7.0)),
        (html(429), Throttled(None)),
        (TransportLost("reset", may_have_arrived=True), Unknown("lost", "reset")),
        (TransportLost("no route", may_have_arrived=False), NotSent("no route")),
    ],
)
async def test_the_product_familys_failures(
    reply: HttpReply | TransportLost, expected: Outcome
) -> None:
    assert await push(reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (json_reply(REFUSED_KEYS, 400), Unauthorized("Kimlik doğrulanamadı")),
        (json_reply(REFUSED_KEYS, 200), Unauthorized("Kimlik doğrulanamadı")),
        (plain(403, b"Authentication failed"), Unauthorized("Authentication failed")),
        (html(400), Unauthorized("HTTP 400")),
        (html(503), Unknown("server_error", "HTTP 503")),
        (
            json_reply('{"code":400,"errorCode":"maxCallLimit.reached","errorMessage":"çok"}', 400),
            Throttled(None),
        ),
        (
            json_reply('{"code":400,"status":"failure","errorMessage":"olmaz"}', 400),
            Refused("400", "olmaz"),
        ),
    ],
)
async def test_the_order_familys_failures(reply: HttpReply, expected: Outcome) -> None:
    assert await pick(reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (plain(403, b"Authentication failed"), Unauthorized("Authentication failed")),
        (
            json_reply('{"errorCode":"invalidInput","errorMessage":"kategori"}', 400),
            Refused("invalidInput", "kategori", "advice.n11.category_not_leaf"),
        ),
    ],
)
async def test_the_category_familys_failures(reply: HttpReply, expected: Outcome) -> None:
    assert await channel_on(Playback(reply)).list_attributes("5", CALL) == expected


@pytest.mark.parametrize(
    "reply",
    [
        html(200),
        html(400),
        html(403),
        plain(403, b"Forbidden by the weather"),
        plain(200, b"OK"),
        json_reply("[]"),
        json_reply("{}"),
        json_reply('{"id":1,"status":"MAYBE"}'),
        json_reply('{"id":1,'),
        json_reply("[" * 4000),
        json_reply(b'{"id":1,"status":"\xff"}'),
        HttpReply(302, {"location": "https://example.com"}, b""),
        HttpReply(204, {}, b""),
    ],
)
async def test_a_reply_that_no_page_names_is_kept_raw_and_believed_in_nothing(
    reply: HttpReply,
) -> None:
    outcome = await push(reply)
    assert isinstance(outcome, ContractBroken)
    assert outcome.raw == reply.body


async def test_a_long_unknown_reply_is_cut() -> None:
    outcome = await push(plain(200, b"x" * 10_000))
    assert isinstance(outcome, ContractBroken)
    assert len(outcome.raw) == 4096


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (plain(404, b"yok"), ""),
        (
            json_reply('{"errorCode":"SELLER_API.notAllowed","errorMessage":"kapalı"}', 400),
            "SELLER_API.notAllowed",
        ),
    ],
)
async def test_an_order_list_refused_with_good_keys_has_to_be_enabled(
    reply: HttpReply, code: str, window: OrderWindow
) -> None:
    problem = await channel_on(Playback(reply)).pull_orders(window, None, CALL)
    assert isinstance(problem, Refused)
    assert (problem.code, problem.advice) == (code, "advice.n11.orders_not_enabled")


@given(st.binary(), st.integers(200, 599))
def test_no_bytes_of_any_status_ever_raise(body: bytes, status: int) -> None:
    reply = HttpReply(status, {}, body)
    assert isinstance(read_reply("product_query", reply, msgspec.json.Decoder(int).decode), object)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_FIELDS = sorted(field_names(ShipmentPackage))


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_any_damage_to_an_order_row_is_read_or_called_unreadable(damage: dict[str, object]) -> None:
    row = {"orderNumber": 1, "shipmentPackageStatus": "Created", "lastModifiedDate": 1} | damage
    try:
        order_observations([package_row(msgspec.json.encode(row), {})])
    except Unreadable:
        return
