from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from meschain.marketplaces.trendyol.facade import UnknownSetting, create_facade
from meschain.marketplaces.trendyol.tests.facade_market import HandClock, market
from meschain.sandbox.clock import SandboxClock
from meschain.sandbox.facade import Facade, KeepsStatistics, SellerSpec
from meschain.sandbox.faults import Fault, Faults
from meschain.sandbox.world import World

BRANDS = "/product/brands"
ORDERS = "/order/sellers/{seller}/v2/orders"
OFFERS = "/inventory/sellers/{seller}/products/price-and-inventory"
WEBHOOKS = "/webhook/sellers/{seller}/webhooks"


# — who may call —
async def test_missing_user_agent_is_403() -> None:
    async with market() as m:
        headers = m.headers | {"User-Agent": ""}
        assert (await m.call("GET", BRANDS, headers=headers)).status == 403


@pytest.mark.parametrize(
    "agent", ["Python/3.11", "200001", "200001 - Two Words", "200001 - " + "x" * 31, "7 - Hub"]
)
async def test_user_agent_must_name_the_seller_and_the_integrator(agent: str) -> None:
    async with market() as m:
        headers = m.headers | {"User-Agent": agent}
        assert (await m.call("GET", BRANDS, headers=headers)).status == 403
    async with market(user_agent="present") as m:
        assert (await m.call("GET", BRANDS, headers=headers)).status == 200


@pytest.mark.parametrize("authorization", ["", "Basic", "Basic bm86Ym9keQ==", "Bearer abc"])
async def test_wrong_credentials_answer_401_in_the_gateway_envelope(authorization: str) -> None:
    async with market() as m:
        headers = m.headers | {"Authorization": authorization}
        for path in (BRANDS, ORDERS, "/sellers/{seller}/common-label/1"):
            answer = await m.call("GET", path, headers=headers)
            assert answer.status == 401
            assert answer.json["exception"] == "ClientApiAuthenticationException"


async def test_a_key_opens_its_own_sellers_doors_only() -> None:
    async with market() as m:
        other = m.facade.open_shop(SellerSpec(2))
        answer = await m.get(f"/order/sellers/{other.seller_id}/v2/orders")
        assert answer.status == 401


@pytest.mark.parametrize(("code", "status"), [("TR", 200), ("1", 200), ("DE", 400)])
async def test_storefront_code_may_be_tr_or_1_or_absent(code: str, status: int) -> None:
    async with market() as m:
        answer = await m.call("GET", BRANDS, headers=m.headers | {"storefrontcode": code})
        assert answer.status == status
        if status == 400:
            assert answer.key == "invalid.storefrontcode"


async def test_credentials_come_from_the_seed() -> None:
    def shop_keys(seed: int) -> dict[str, str]:
        world = World(SandboxClock(), Faults(seed), seed=seed)
        return create_facade(world, {}).open_shop(SellerSpec(3)).credentials

    assert shop_keys(1) == shop_keys(1) != shop_keys(2)
    assert sorted(shop_keys(1)) == ["api_key", "api_secret", "seller_id"]


# — what is no call —
async def test_unknown_urls_and_methods_answer_in_their_familys_envelope() -> None:
    async with market() as m:
        assert (await m.get("/product/nothing")).key == "error"
        answer = await m.get("/order/nothing")
        assert answer.status == 404
        assert set(answer.json) == {"error", "message"}
        assert (await m.call("DELETE", BRANDS)).status == 405


async def test_a_body_must_be_json() -> None:
    async with market() as m:
        headers = m.headers | {"Content-Type": "text/plain"}
        assert (await m.call("POST", OFFERS, {"items": []}, headers=headers)).status == 415
        assert (await m.call("POST", OFFERS, raw=b"{items:")).status == 400
        assert (await m.call("POST", OFFERS, raw=b"\xff\xfe")).status == 400


# — quotas —
async def test_the_51st_call_of_an_endpoint_in_ten_seconds_is_429() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        for _ in range(50):
            assert (await m.get(BRANDS)).status == 200
        refused = await m.get(BRANDS)
        assert (refused.status, refused.key) == (429, "too.many.requests")
        assert "Retry-After" not in refused.headers
        assert (await m.get("/product/product-categories")).status == 200
        await clock.push(10)
        assert (await m.get(BRANDS)).status == 200
        assert m.facade.statistics()["refused_by_quota"] == {"burst": 1}


async def test_orders_are_limited_to_30_a_minute_in_the_lowest_tier() -> None:
    clock = HandClock()
    async with market(clock=clock, retry_after="seconds") as m:
        for _ in range(30):
            assert (await m.get(ORDERS)).status == 200
        refused = await m.get("/order/sellers/{seller}/orders/stream")
        assert refused.status == 429  # unconfirmed: the stream draws on the same row
        assert refused.json["error"] == "too.many.requests"
        assert refused.headers["Retry-After"] == "60"
        await clock.push(60)
        assert (await m.get(ORDERS)).status == 200


async def test_a_higher_tier_may_ask_for_more() -> None:
    clock = HandClock()
    async with market(clock=clock, stream_quota="1000") as m:
        m.shop.tier = "500k"
        for _ in range(2):
            for _ in range(50):
                assert (await m.get(ORDERS)).status == 200
            await clock.push(10)
        assert (await m.get(ORDERS)).status == 429
        assert (await m.get("/order/sellers/{seller}/orders/stream")).status == 200


async def test_all_product_writes_share_one_bucket() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        calls = [("/archive-state", "PUT"), ("/unlock", "PUT"), ("", "DELETE")]
        for number in range(4):
            for _ in range(50):
                path, method = calls[number % 3]
                assert (await m.update(path, {"barcode": "X"}, method=method)).status != 429
            await clock.push(10)
        assert (await m.create()).status == 429
        assert m.facade.statistics()["refused_by_quota"] == {"product_write": 1}


async def test_quotas_can_be_switched_off() -> None:
    async with market(quotas="off") as m:
        for _ in range(60):
            assert (await m.get(BRANDS)).status == 200


async def test_an_unknown_tier_opens_no_shop() -> None:
    async with market() as m:
        with pytest.raises(ValueError, match="tier"):
            m.facade.open_shop(SellerSpec(9, "gold"))


# — settings —
@pytest.mark.parametrize("given", [{"speed": "1"}, {"quotas": "maybe"}, {"apply_ms_min": "9999"}])
def test_unknown_settings_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(UnknownSetting):
        create_facade(World(SandboxClock(), Faults(1), seed=1), given)


async def test_the_facade_is_one_and_counts() -> None:
    async with market() as m:
        facade: Facade = m.facade
        assert isinstance(facade, KeepsStatistics)
        assert (facade.marketplace, facade.services) == (
            "trendyol",
            {"integration": "/integration"},
        )


# — faults on the line —
async def test_throttling_though_in_quota_looks_like_any_other() -> None:
    async with market() as m:
        m.world.faults.force(Fault.THROTTLED, count=2, marketplace="trendyol")
        assert (await m.get(BRANDS)).key == "too.many.requests"
        assert (await m.get(ORDERS)).json["error"] == "too.many.requests"
        assert m.facade.statistics()["refused_by_quota"] == {}


async def test_a_server_error_applies_nothing() -> None:
    async with market() as m:
        shelf = m.on_sale("A", quantity=5)
        m.world.faults.force(Fault.SERVER_ERROR, count=1)
        answer = await m.push_offers({"barcode": "A", "quantity": 1})
        assert answer.status in {500, 502}
        assert m.facade.seller(m.shop.seller_id).batches == {}
        assert shelf.quantity == 5


async def test_a_reset_comes_before_anything_is_done() -> None:
    async with market() as m:
        m.world.faults.force(Fault.RESET, count=1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await m.push_offers({"barcode": "A", "quantity": 1})
        assert m.facade.seller(m.shop.seller_id).batches == {}


async def test_a_timeout_comes_after_everything_is_done() -> None:
    async with market(clock=SandboxClock()) as m:
        shelf = m.on_sale("A", quantity=5)
        m.world.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await m.push_offers({"barcode": "A", "quantity": 1})
        assert shelf.quantity == 1
        repeated = await m.push_offers({"barcode": "A", "quantity": 1})
        assert "15 dakika" in repeated.text  # the only trace of the first one


async def test_a_held_reply_does_not_hold_up_the_end() -> None:
    started = time.monotonic()
    async with market(clock=SandboxClock()) as m:
        m.world.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1)
        hanging = asyncio.create_task(m.get(BRANDS))
        await asyncio.sleep(0.1)
    await asyncio.gather(hanging, return_exceptions=True)
    assert time.monotonic() - started < 2


async def test_faults_leave_webhook_management_alone() -> None:
    async with market() as m:
        for fault in (Fault.THROTTLED, Fault.SERVER_ERROR, Fault.RESET):
            m.world.faults.force(fault, count=1)
        assert (await m.get(WEBHOOKS)).status == 200
