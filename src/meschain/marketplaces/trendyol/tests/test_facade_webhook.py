from __future__ import annotations

import msgspec
import pytest

from meschain.marketplaces.trendyol.tests.facade_market import (
    HandClock,
    Json,
    Market,
    Receiver,
    market,
    receiver,
)
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import ParcelState

HOOKS = "/webhook/sellers/{seller}/webhooks"
RETRY_S = 300


def hook(url: str = "https://hub.example/in", **changed: object) -> Json:
    return {
        "url": url,
        "authenticationType": "BASIC_AUTHENTICATION",
        "username": "hub",
        "password": "öpen",
    } | changed


async def register(m: Market, at: Receiver, **changed: object) -> str:
    answer = await m.post(HOOKS, hook(at.url, **changed))
    assert answer.status == 200, answer.text
    return f"{HOOKS}/{answer.json['id']}"


async def listed(m: Market) -> list[Json]:
    return (await m.get(HOOKS)).rows


# — management —
async def test_create_answers_json_and_the_other_five_plain_text() -> None:
    async with market() as m:
        created = await m.post(HOOKS, hook())
        assert (created.content_type, set(created.json)) == ("application/json", {"id"})
        one = f"{HOOKS}/{created.json['id']}"
        for method, path, body in (
            ("PUT", one, hook("https://hub.example/other")),
            ("PUT", one + "/deactivate", None),
            ("PUT", one + "/activate", None),
            ("DELETE", one, None),
        ):
            answer = await m.call(method, path, body)
            assert (answer.status, answer.content_type) == (200, "text/plain")
        assert (await m.call("DELETE", one)).status == 404


async def test_the_list_is_a_bare_array_without_secrets() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        await m.post(HOOKS, hook(subscribedStatuses=["CREATED"]))
        row = (await listed(m))[0]
        assert set(row) == {
            "id",
            "createdDate",
            "lastModifiedDate",
            "url",
            "username",
            "authenticationType",
            "status",
            "subscribedStatuses",
            "countryCodes",
            "storeFrontCode",
        }
        assert row["createdDate"] == epoch_ms(clock.now()) + 3 * 3600 * 1000
        assert (row["status"], row["lastModifiedDate"]) == ("ACTIVE", None)
        assert row["subscribedStatuses"] == ["CREATED"]


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "hub.example/in"},
        {"url": "https://Trendyol.example/in"},
        {"url": "https://hub.example/dolap"},
        {"url": "http://localhost:8080/in"},
        {"authenticationType": "NONE"},
        {"password": None},
        {"authenticationType": "API_KEY"},
        {"subscribedStatuses": ["Created"]},
    ],
)
async def test_what_a_webhook_may_not_be(changed: Json) -> None:
    async with market() as m:
        assert (await m.post(HOOKS, hook() | changed)).status == 400
        assert await listed(m) == []


async def test_loopback_words_can_be_allowed_for_a_demo() -> None:
    async with market(webhook_url_words="loopback_allowed") as m:
        assert (await m.post(HOOKS, hook("http://localhost:8080/in"))).status == 200
        assert (await m.post(HOOKS, hook("http://localhost/trendyol"))).status == 400


async def test_fifteen_webhooks_passive_ones_counted() -> None:
    async with market() as m:
        for number in range(15):
            answer = await m.post(HOOKS, hook(f"https://hub.example/{number}"))
            await m.put(f"{HOOKS}/{answer.json['id']}/deactivate")
        assert (await m.post(HOOKS, hook())).status == 400


# — delivery —
async def test_a_new_package_is_posted_whole_in_a_page_wrapper() -> None:
    async with market() as m, receiver() as at:
        await register(m, at)
        parcel = m.parcel()
        await at.until(1)
        body = at.bodies[0]
        assert {k: v for k, v in body.items() if k != "content"} == {
            "totalElements": 1,
            "totalPages": 1,
            "page": 0,
            "size": 1,
        }
        package = msgspec.convert(body["content"], list[Json])[0]
        assert package == await m.package(parcel)
        assert at.headers[0]["Authorization"] == "Basic aHViOsO2cGVu"


async def test_an_api_key_travels_in_its_header() -> None:
    async with market() as m, receiver() as at:
        await register(m, at, authenticationType="API_KEY", apiKey="k-1")
        m.parcel()
        await at.until(1)
        assert at.headers[0]["x-api-key"] == "k-1"
        assert "Authorization" not in at.headers[0]


async def test_only_subscribed_statuses_arrive() -> None:
    async with market() as m, receiver() as at, receiver() as everything:
        await register(m, at, subscribedStatuses=["PICKING", "UNPACKED"])
        await register(m, everything, subscribedStatuses=[])
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        m.world.split(parcel, [{next(iter(parcel.units)): 1}])
        await everything.until(5)
        assert sorted(map(str, at.statuses)) == ["Picking", "Picking", "Picking", "UnPacked"]


async def test_failures_are_repeated_every_five_minutes_until_success() -> None:
    clock = HandClock()
    async with market(clock=clock) as m, receiver() as at:
        await register(m, at)
        at.status = 500
        m.parcel()
        await at.until(1)
        for attempt in range(2, 5):
            await clock.push(RETRY_S - 1)
            assert len(at.bodies) == attempt - 1
            await clock.push(1)
            await at.until(attempt)
        at.status = 200
        await clock.push(RETRY_S)
        await at.until(5)
        await clock.push(RETRY_S)
        assert len(at.bodies) == 5
        assert len({msgspec.json.encode(body) for body in at.bodies}) == 1


async def test_thirteen_failures_make_it_passive_and_activation_revives_it() -> None:
    clock = HandClock()
    async with market(clock=clock) as m, receiver() as at:
        one = await register(m, at)
        at.status = 500
        m.parcel()
        for attempt in range(1, 13):
            await at.until(attempt)
            assert (await listed(m))[0]["status"] == "ACTIVE"
            await clock.push(RETRY_S)
        await at.until(13)
        await m.settle()
        assert (await listed(m))[0]["status"] == "PASSIVE"
        at.status = 200
        m.parcel()  # lost: nobody listens
        await clock.push(RETRY_S)
        assert len(at.bodies) == 13
        await m.put(one + "/activate")
        m.parcel()
        await at.until(14)
        assert m.facade.statistics()["webhook_attempts_failed"] == 13


async def test_failures_can_be_counted_over_all_events() -> None:
    clock = HandClock()
    async with market(clock=clock, webhook_failures="webhook") as m, receiver() as at:
        await register(m, at)
        at.status = 500
        m.on_sale("A", quantity=100)
        for _ in range(13):
            m.buy({"A": 1})
        await at.until(13)
        await m.settle()
        assert (await listed(m))[0]["status"] == "PASSIVE"


async def test_events_of_a_passive_time_can_be_kept() -> None:
    async with market(passive_events="kept") as m, receiver() as at:
        one = await register(m, at)
        await m.put(one + "/deactivate")
        m.parcel()
        await m.put(one + "/activate")
        await at.until(1)


async def test_an_unreachable_merchant_is_a_failure_like_any_other() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        async with receiver() as at:
            await register(m, at)
        m.parcel()
        for _ in range(100):
            await clock.push(0)
            if m.facade.statistics()["webhook_attempts_failed"]:
                break
        assert m.facade.statistics()["webhook_attempts_failed"] == 1


async def test_a_deleted_webhook_is_silent_at_once() -> None:
    clock = HandClock()
    async with market(clock=clock, webhook_delay_ms="100") as m, receiver() as at:
        one = await register(m, at)
        m.parcel()
        await m.call("DELETE", one)
        await clock.push(1)
        assert at.bodies == []


# — faults —
async def test_a_lost_webhook_never_comes() -> None:
    async with market() as m, receiver() as at:
        await register(m, at)
        m.world.faults.force(Fault.WEBHOOK_LOST, count=1, marketplace="trendyol")
        parcel = m.parcel()
        m.world.advance(parcel, ParcelState.PICKING)
        await at.until(1)
        assert at.statuses == ["Picking"]


async def test_a_late_webhook_comes_and_a_doubled_one_comes_twice() -> None:
    clock = HandClock()
    async with market(clock=clock) as m, receiver() as at:
        await register(m, at)
        m.world.faults.force(Fault.WEBHOOK_LATE, count=1)
        m.parcel()
        await clock.push(4)
        assert at.bodies == []
        await clock.push(60)
        await at.until(1)
        m.world.faults.force(Fault.WEBHOOK_DOUBLED, count=1)
        m.parcel()
        await at.until(3)
        assert at.bodies[1] == at.bodies[2]


async def test_a_reordered_webhook_is_overtaken_by_the_next() -> None:
    clock = HandClock()
    async with market(clock=clock) as m, receiver() as at:
        await register(m, at)
        m.world.faults.force(Fault.WEBHOOK_REORDERED, count=1)
        parcel = m.parcel()
        m.world.advance(parcel, ParcelState.PICKING)
        await at.until(1)
        await clock.push(3)
        await at.until(2)
        assert at.statuses == ["Picking", "Created"]
