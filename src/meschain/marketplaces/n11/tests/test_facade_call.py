"""Credentials, odd errors, quotas and faults of the façade."""

from __future__ import annotations

import asyncio
import re
from dataclasses import fields
from importlib import resources

import aiohttp
import pytest

from meschain.marketplaces.n11.facade import create_facade
from meschain.marketplaces.n11.facade.settings import Settings
from meschain.marketplaces.n11.tests.facade_stall import (
    PACKAGES,
    TASK,
    HandClock,
    open_stall,
    payload,
)
from meschain.sandbox.facade import SellerSpec
from meschain.sandbox.faults import Fault, Faults
from meschain.sandbox.world import World

QUERY = "/ms/product-query"
TREE = "/cdn/categories"


async def test_product_calls_want_key_and_secret_and_say_so_in_their_own_way() -> None:
    async with open_stall() as stall:
        good = await stall.call("GET", QUERY)
        wrong = await stall.call("GET", QUERY, headers=stall.keys | {"appsecret": "x"})
        keyless = await stall.call("GET", QUERY, headers={"appsecret": "x"})
        missing = await stall.call("GET", QUERY, headers={"appkey": stall.keys["appkey"]})
        spelled = await stall.call(
            "GET",
            QUERY,
            headers={"appKey": stall.keys["appkey"], "appSecret": stall.keys["appsecret"]},
        )
    assert good.status == spelled.status == 200
    assert (wrong.status, wrong.at("@type")) == (401, "SellerApiUserUnauthorizedException")
    assert wrong.at("message")
    assert missing.status == keyless.status == 500
    assert missing.at("@type") == "InternalServerException"
    assert "MissingRequestHeaderException" in missing.text
    assert missing.rows("errors")


async def test_order_calls_refuse_a_wrong_secret_with_a_failure_and_a_missing_one_with_html() -> (
    None
):
    async with open_stall() as stall:
        wrong = await stall.call("GET", PACKAGES, headers=stall.keys | {"appsecret": "x"})
        missing = await stall.call("GET", PACKAGES, headers={"appkey": stall.keys["appkey"]})
    assert wrong.status == 400
    assert wrong.at("status") == "failure"
    assert wrong.at("errorCode") == "SELLER_API.authenticationFailed"
    assert (wrong.at("code"), wrong.at("errorCategory")) == (400, "SELLER_API")
    assert (missing.status, missing.content_type) == (400, "text/html")


async def test_order_calls_can_refuse_in_the_other_observed_way() -> None:
    async with open_stall(rest_auth="403") as stall:
        wrong = await stall.call("GET", PACKAGES, headers=stall.keys | {"appsecret": "x"})
    assert (wrong.status, wrong.content_type) == (403, "text/plain")
    assert wrong.text == "Authentication failed"


@pytest.mark.parametrize(("setting", "key_alone"), [("both", 403), ("key", 200)])
async def test_category_calls_want_key_and_secret_or_as_was_seen_the_key_alone(
    setting: str, key_alone: int
) -> None:
    async with open_stall(cdn_auth=setting) as stall:
        both = await stall.call("GET", TREE)
        alone = await stall.call("GET", TREE, headers={"appkey": stall.keys["appkey"]})
        wrong = await stall.call("GET", TREE, headers=stall.keys | {"appkey": "x"})
        none = await stall.call("GET", TREE, headers={})
    assert (both.status, alone.status, none.status) == (200, key_alone, 403)
    assert (wrong.status, wrong.content_type) == (403, "text/plain")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/rest/order/v1/reject"),
        ("POST", PACKAGES),
        ("POST", "/ws/productService/"),
        ("POST", "/ws/returnService"),
        ("GET", "/ws/orderService.wsdl"),
    ],
)
async def test_a_path_that_the_sheet_does_not_name_is_a_503_in_html(method: str, path: str) -> None:
    async with open_stall() as stall:
        answer = await stall.call(method, path)
    assert (answer.status, answer.content_type) == (503, "text/html")


@pytest.mark.parametrize(
    "query",
    [
        {"size": "251"},
        {"page": "-1"},
        {"saleStatus": "Nope"},
        {"size": "many"},
        {"productStatus": "Nope"},
    ],
)
async def test_product_query_answers_plain_validation_errors_with_500(
    query: dict[str, str],
) -> None:
    async with open_stall() as stall:
        answer = await stall.call("GET", QUERY, query=query)
    assert answer.status == 500
    assert answer.at("@type") == "InternalServerException"
    assert "Exception: " in answer.text


async def test_an_unreadable_body_is_refused_by_each_family_in_its_shape() -> None:
    async with open_stall() as stall:
        task = await stall.call("POST", TASK, raw=b"{")
        order = await stall.call("PUT", "/rest/order/v1/update", body={"lineId": [1]})
    assert (task.status, task.at("@type")) == (500, "InternalServerException")
    assert (order.status, order.at("status")) == (400, "failure")


async def test_the_package_list_is_counted_by_the_minute_and_refusals_are_told() -> None:
    async with open_stall(packages_per_minute="2") as stall:
        statuses = [(await stall.packages()).status for _ in range(3)]
        elsewhere = await stall.call("GET", QUERY)
        stall.clock.move(61)
        later = await stall.packages()
        assert stall.facade.statistics()["refused_by_quota"] == 1
    assert statuses == [200, 200, 429]
    assert elsewhere.status == later.status == 200


async def test_undocumented_quotas_hold_for_each_path_and_can_be_switched_off() -> None:
    async with open_stall(other_per_minute="1") as stall:
        statuses = [(await stall.call("GET", QUERY)).status for _ in range(2)]
        tree = await stall.call("GET", TREE)
    assert (statuses, tree.status) == ([200, 429], 200)
    async with open_stall(other_per_minute="1", quotas="off") as stall:
        statuses = [(await stall.call("GET", QUERY)).status for _ in range(3)]
        assert stall.facade.statistics()["refused_by_quota"] == 0
    assert statuses == [200, 200, 200]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("colour", "blue"),
        ("quotas", "maybe"),
        ("rest_auth", "404"),
        ("stuck_s", "soon"),
        ("other_per_minute", "1.5"),
        ("task_delay_ms_min", "5000"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(name: str, text: str) -> None:
    world = World(HandClock(), Faults(1), seed=1)
    with pytest.raises(ValueError, match=name if name != "colour" else "unknown settings"):
        create_facade(world, {name: text})


def test_the_readme_names_every_setting() -> None:
    readme = resources.files("meschain.marketplaces.n11.facade").joinpath("README.md")
    text = readme.read_text(encoding="utf-8").replace("`_max`", "`task_delay_ms_max`")
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert {each.name for each in fields(Settings)} <= named


def test_the_same_seed_gives_the_same_credentials_and_sellers_differ() -> None:
    def credentials(seller_number: int) -> dict[str, str]:
        facade = create_facade(World(HandClock(), Faults(1), seed=5), {})
        return facade.open_shop(SellerSpec(seller_number)).credentials

    assert credentials(1) == credentials(1)
    assert credentials(1) != credentials(2)
    assert set(credentials(1)) == {"app_key", "app_secret"}


async def test_one_seller_never_sees_another() -> None:
    async with open_stall() as stall:
        stall.stock("A")
        stall.buy({"A": 1})
        other = stall.facade.open_shop(SellerSpec(seller_number=2)).credentials
        headers = {"appkey": other["app_key"], "appsecret": other["app_secret"]}
        products = await stall.call("GET", QUERY, headers=headers)
        packages = await stall.call("GET", PACKAGES, headers=headers)
    assert products.at("totalElements") == packages.at("pageCount") == 0


async def test_an_injected_throttle_speaks_the_language_of_its_family() -> None:
    async with open_stall() as stall:
        stall.world.faults.force(Fault.THROTTLED, count=2, marketplace="n11")
        products = await stall.call("GET", QUERY)
        orders = await stall.packages()
        assert stall.facade.statistics()["refused_by_quota"] == 0
    assert (products.status, orders.status) == (429, 429)
    assert products.at("@type")
    assert orders.at("status") == "failure"


async def test_an_injected_server_error_applies_nothing() -> None:
    async with open_stall() as stall:
        stall.world.faults.force(Fault.SERVER_ERROR, count=1, marketplace="n11")
        answer = await stall.call("PUT", "/rest/order/v1/update", body={"lines": []})
        assert stall.facade.statistics()["requests"] == 1
    assert answer.status >= 500
    assert answer.content_type == "text/html"


async def test_a_reset_happens_before_the_work() -> None:
    async with open_stall() as stall:
        stall.stock("A")
        stall.world.faults.force(Fault.RESET, count=1, marketplace="n11")
        with pytest.raises(aiohttp.ClientError):
            await stall.offer(b'{"stockCode":"A","quantity":3}')
        assert "tasks_accepted" not in stall.facade.statistics()


async def test_a_timeout_comes_after_the_work_and_ends_with_the_clients_patience() -> None:
    async with open_stall() as stall:
        stall.stock("A")
        stall.world.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1, marketplace="n11")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await stall.offer(b'{"stockCode":"A","quantity":3}')
        assert stall.facade.statistics()["tasks_accepted"] == 1
        stall.clock.move(1)
        await stall.packages()
        assert stall.shop.shelves["A"].quantity == 3


async def test_a_held_reply_is_cut_at_its_bound() -> None:
    async with open_stall(hold_s_max="0") as stall:
        stall.world.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1, marketplace="n11")
        with pytest.raises(aiohttp.ClientError):  # a GET would be repeated by the client
            await stall.offer(b'{"stockCode":"A","quantity":3}')


async def test_stopping_lets_go_of_held_replies() -> None:
    async with open_stall() as stall:
        stall.world.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1, marketplace="n11")
        held = asyncio.create_task(stall.offer(b'{"stockCode":"A"}'))
        await asyncio.sleep(0.05)
        await stall.facade.stop()
        with pytest.raises(aiohttp.ClientError):
            await held


async def test_tasks_need_their_integrator() -> None:
    async with open_stall() as stall:
        answer = await stall.call(
            "POST",
            "/ms/product/tasks/product-delete",
            body=payload({"stockCode": "A"}, integrator=None),
        )
    assert (answer.status, answer.at("status")) == (200, "REJECT")
