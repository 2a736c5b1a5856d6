"""The host and its control interface over real HTTP, with a façade just large enough."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeAlias

import aiohttp
import pytest
from aiohttp import web

from meschain.sandbox.demand import DemandSettings
from meschain.sandbox.economy import EconomySettings
from meschain.sandbox.facade import Facade, SellerSpec
from meschain.sandbox.host import NoFreePort, SandboxHost, listening_socket, run_sandbox
from meschain.sandbox.journal import decode_entry
from meschain.sandbox.truth import ShelfRef, Showing, recount, shelf_quantities
from meschain.sandbox.world import ParcelState, Shop, World

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | None"
Json = dict[str, Value]


class Corner:
    """A marketplace with one operation, and one that never answers."""

    def __init__(self, world: World, settings: Mapping[str, str], *, name: str) -> None:
        self.marketplace = name
        self.services = {"shop": "/shop", "files": "/files"}
        self.settings = settings
        self.calls = 0
        self.is_running = False
        self._world = world

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/shop/ping", self._ping)
        application.router.add_get("/shop/forever", self._forever)
        return application

    def open_shop(self, seller: SellerSpec) -> Shop:
        seller_id = f"{self.marketplace}-{seller.seller_number}"
        return self._world.open_shop(
            Shop(self.marketplace, seller_id, {"key": f"secret of {seller_id}"}, seller.tier)
        )

    async def start(self) -> None:
        self.is_running = True
        if self.settings.get("breaks"):
            raise RuntimeError("this one cannot start")

    async def stop(self) -> None:
        self.is_running = False

    def statistics(self) -> Mapping[str, object]:
        return {"calls": self.calls}

    async def _ping(self, _: web.Request) -> web.Response:
        self.calls += 1
        return web.Response(text=self.marketplace)

    async def _forever(self, _: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()


def items(told: Json, name: str) -> list[Json]:
    found = told[name]
    assert isinstance(found, list)
    return [item for item in found if isinstance(item, dict)]


def east(world: World, settings: Mapping[str, str]) -> Facade:
    return Corner(world, settings, name="east")


def west(world: World, settings: Mapping[str, str]) -> Facade:
    return Corner(world, settings, name="west")


class Caller:
    """Speaks to the control interface."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, method: str, path: str, body: object = None, *, status: int = 200) -> Json:
        async with self._session.request(method, f"{self._url}/control{path}", json=body) as answer:
            told: Json = await answer.json(content_type=None)
            assert answer.status == status, told
            if status >= 400:
                assert answer.content_type == "application/problem+json"
                assert told["detail"]
            return told

    async def lines(self, path: str) -> list[bytes]:
        async with self._session.get(f"{self._url}/control{path}") as answer:
            assert answer.status == 200
            return (await answer.read()).splitlines()


@asynccontextmanager
async def sandbox(**options: object) -> AsyncIterator[tuple[SandboxHost, Caller]]:
    told: dict[str, object] = {"port": 0, **options}
    host = SandboxHost({"east": east, "west": west}, **told)  # type: ignore[arg-type]
    async with host, aiohttp.ClientSession() as session:
        yield host, Caller(session, host.control_url)


async def stock(control: Caller, quantity: int = 5) -> None:
    for name in ("east", "west"):
        await control.ask(
            "POST",
            "/shelves",
            {
                "marketplace": name,
                "seller_id": f"{name}-1",
                "shelves": [
                    {
                        "barcode": f"b{number}",
                        "stock_code": f"s{number}",
                        "title": "Goods",
                        "quantity": quantity,
                        "list_minor": 12_990,
                        "sale_minor": 9_990,
                    }
                    for number in range(3)
                ],
            },
            status=201,
        )


def purchase(name: str = "east", **more: object) -> dict[str, object]:
    return {"marketplace": name, "seller_id": f"{name}-1", "basket": {"b0": 1}, **more}


async def test_every_facade_has_a_port_of_its_own_and_every_account_an_address() -> None:
    async with sandbox(accounts_per_marketplace={"east": 30, "west": 2}) as (host, control):
        assert len(host.accounts) == 32
        told = await control.ask("GET", "/accounts")
        line = items(told, "accounts")[31]
        assert line["marketplace"] == "west"
        assert line["seller_id"] == "west-2"
        assert line["credentials"] == {"key": "secret of west-2"}
        assert "secret" not in repr(host.accounts[31])
        for account in host.accounts[29:31]:
            async with aiohttp.request("GET", account.base_urls["shop"] + "/ping") as answer:
                assert await answer.text() == account.marketplace
        ports = {account.base_urls["files"].split(":")[2] for account in host.accounts}
        assert len(ports) == 2
        assert host.control_url not in ports


async def test_an_account_can_be_opened_later_and_an_unknown_marketplace_cannot() -> None:
    async with sandbox() as (host, control):
        line = await control.ask(
            "POST", "/accounts", {"marketplace": "east", "tier": "gold"}, status=201
        )
        assert (line["seller_id"], line["tier"]) == ("east-2", "gold")
        assert len(host.world.shops) == 3
        problem = await control.ask("POST", "/accounts", {"marketplace": "north"}, status=404)
        assert problem["params"] == {"marketplace": "north"}


async def test_a_purchase_its_parcel_and_its_journey_are_seen_at_each_step() -> None:
    async with sandbox() as (_, control):
        await stock(control)
        order = await control.ask(
            "POST",
            "/orders",
            purchase(
                basket={"b0": 2, "b1": 1},
                buyer=17,
                awaiting=True,
                seller_discounts_minor={"b0": [334, 333]},
            ),
            status=201,
        )
        number = order["order_number"]
        told = await control.ask("GET", "/orders")
        assert items(told, "orders") == [order]
        assert told["orders_total"] == 1
        assert isinstance(order["buyer"], dict)
        assert order["buyer"]["number"] == 17
        assert items(order, "lines")[0]["unit_seller_discounts_minor"] == [334, 333]
        (parcel,) = items(order, "parcels")
        assert parcel["state"] == "awaiting"
        code = parcel["cargo_code"]
        await control.ask("POST", "/scan", {"cargo_code": code}, status=409)
        await control.ask("POST", "/release", {"order_number": number})
        problem = await control.ask("POST", "/release", {"order_number": number}, status=409)
        assert problem["reason"] == "not_held"
        shelves = items(await control.ask("GET", "/shelves?marketplace=east&limit=2"), "shelves")
        assert [(s["key"], s["quantity"], s["units_sold"]) for s in shelves] == [
            ("b0", 3, 2),
            ("b1", 4, 1),
        ]


async def test_a_parcel_that_is_ready_is_scanned_and_delivered() -> None:
    async with sandbox() as (host, control):
        await stock(control)
        await control.ask("POST", "/orders", purchase(), status=201)
        parcel = host.world.orders[0].parcels[0]
        host.world.advance(parcel, ParcelState.INVOICED)
        planned = await control.ask(
            "POST", "/scan", {"cargo_code": parcel.cargo_code, "after_minutes": 600}, status=202
        )
        assert planned["planned"] is True
        shipped = await control.ask("POST", "/scan", {"cargo_code": parcel.cargo_code})
        assert shipped["state"] == "shipped"
        problem = await control.ask("POST", "/scan", {"cargo_code": parcel.cargo_code}, status=409)
        assert problem["reason"] == "already_gone"
        await control.ask("POST", "/scan", {"cargo_code": "none"}, status=409)
        done = await control.ask("POST", "/deliver", {"parcel_number": parcel.number})
        assert done["state"] == "delivered"
        await control.ask("POST", "/deliver", {"parcel_number": 1}, status=404)


async def test_a_refused_purchase_says_why_and_is_in_the_journal() -> None:
    async with sandbox() as (_, control):
        await stock(control, quantity=1)
        await control.ask("POST", "/orders", purchase(), status=201)
        problem = await control.ask("POST", "/orders", purchase(), status=409)
        assert problem["reason"] == "sold_out"
        assert problem["key"] == "sandbox.problem.sold_out"
        entry = decode_entry((await control.lines("/journal"))[-1])
        assert (entry.kind, entry.facts["reason"]) == ("refused", "sold_out")
        await control.ask("POST", "/orders", purchase("north"), status=404)
        await control.ask(
            "POST", "/orders", purchase(seller_discounts_minor={"b0": [1, 2]}), status=409
        )


async def test_an_order_is_cancelled_in_part_and_then_as_a_whole() -> None:
    async with sandbox() as (host, control):
        await stock(control)
        order = await control.ask("POST", "/orders", purchase(basket={"b0": 3}), status=201)
        line_id = host.world.orders[0].lines[0].line_id
        body = {"order_number": order["order_number"], "units": {str(line_id): 1}}
        told = await control.ask("POST", "/cancel", body)
        assert [parcel["state"] for parcel in items(told, "parcels")] == [
            "broken_up",
            "cancelled",
            "created",
        ]
        await control.ask("POST", "/cancel", {"order_number": order["order_number"]})
        problem = await control.ask(
            "POST", "/cancel", {"order_number": order["order_number"]}, status=409
        )
        assert problem["reason"] == "not_open"
        parcel_number = host.world.orders[0].parcels[0].number
        await control.ask(
            "POST",
            "/cancel",
            {"order_number": order["order_number"], "parcel_number": parcel_number},
            status=409,
        )
        await control.ask("POST", "/cancel", {"order_number": "0"}, status=404)


async def test_orders_shelves_and_journal_are_read_in_pages() -> None:
    async with sandbox() as (host, control):
        await stock(control)
        for _ in range(5):
            await control.ask("POST", "/orders", purchase(), status=201)
        seen: list[Json] = []
        after: object = 0
        while after is not None:
            page = await control.ask("GET", f"/orders?after={after}&limit=2")
            seen += items(page, "orders")
            after = page["next_after"]
        assert [order["number"] for order in seen] == [1, 2, 3, 4, 5]
        since = seen[3]["placed_at_us"]
        page = await control.ask("GET", f"/orders?since={since}")
        assert items(page, "orders") == seen[3:]
        keys, after = [], 0
        while after is not None:
            page = await control.ask("GET", f"/shelves?after={after}&limit=4")
            keys += [shelf["key"] for shelf in items(page, "shelves")]
            after = page["next_after"]
        assert keys == ["b0", "b1", "b2"] * 2
        everything = await control.lines("/journal")
        assert len(everything) == host.world.journal.last_number
        assert await control.lines("/journal?after=3&limit=2") == everything[3:5]


async def test_a_checker_recounts_everything_over_http() -> None:
    async with sandbox() as (host, control):
        await stock(control, quantity=1)
        await control.ask("POST", "/orders", purchase("east"), status=201)
        await control.ask("POST", "/orders", purchase("west"), status=201)
        entries = [decode_entry(line) for line in await control.lines("/journal")]
        assert entries == list(host.world.journal)
        showings = [Showing(ShelfRef(name, f"{name}-1", "b0"), "A") for name in ("east", "west")]
        told = recount(entries, showings, {"A": 1})
        assert told.units_oversold == 1
        page = await control.ask("GET", "/shelves")
        assert shelf_quantities(entries) == {
            ShelfRef(str(s["marketplace"]), str(s["seller_id"]), str(s["key"])): s["quantity"]
            for s in items(page, "shelves")
        }


async def test_a_journal_that_forgot_says_so_instead_of_showing_a_part() -> None:
    async with sandbox(economy=EconomySettings(journal_entries_max=12)) as (_, control):
        await stock(control)
        for _ in range(5):
            await control.ask("POST", "/orders", purchase(), status=201)
        problem = await control.ask("GET", "/journal", status=410)
        assert isinstance(problem["params"], dict)
        first = problem["params"]["first_after"]
        lines = await control.lines(f"/journal?after={first}")
        assert decode_entry(lines[-1]).number == 16


async def test_faults_are_set_forced_and_counted() -> None:
    async with sandbox(economy=EconomySettings(fault_rates={})) as (host, control):
        told = await control.ask(
            "PUT",
            "/faults",
            {
                "rates": {"throttled": 0.5},
                "force": [{"fault": "reset", "count": 2, "marketplace": "east"}],
            },
        )
        assert isinstance(told["rates"], dict)
        assert told["rates"]["throttled"] == 0.5
        assert told["forced"] == [{"marketplace": "east", "fault": "reset", "count": 2}]
        told = await control.ask("PUT", "/faults", {"is_enabled": False})
        assert told["is_enabled"] is False
        assert host.world.faults.is_enabled is False
        mistakes: list[object] = [
            {"rates": {"throttled": 2}},
            {"rates": {"none": 1}},
            {"raets": {}},
        ]
        for wrong in mistakes:
            await control.ask("PUT", "/faults", wrong, status=400)


async def test_demand_time_and_carrier_are_changed_while_it_runs() -> None:
    async with sandbox() as (host, control):
        await stock(control, quantity=10_000)
        told = await control.ask("PUT", "/time", {"factor": 600})
        assert told["factor"] == 600
        enough = asyncio.Event()
        host.world.subscribe(lambda _: enough.set() if host.world.orders_total == 20 else None)
        told = await control.ask("PUT", "/demand", {"is_on": True, "orders_per_minute": 3000})
        assert (told["is_on"], told["cancel_share"]) == (True, 0.04)
        told = await control.ask("PUT", "/carrier", {"auto_pickup": True})
        assert told["auto_pickup"] is True
        await asyncio.wait_for(enough.wait(), timeout=5)
        told = await control.ask("PUT", "/demand", {"is_on": False})
        for path, wrong in (
            ("/demand", {"orders_per_day": -1}),
            ("/demand", {"is_onn": True}),
            ("/demand", {"cancel_share": 2}),
            ("/carrier", {"auto_pickup": 7}),
            ("/time", {"factor": 0}),
        ):
            await control.ask("PUT", path, wrong, status=400)
        await control.ask("POST", "/reset-demand")
        assert host.economy.demand.drawn == 0


async def test_state_and_statistics_count_and_include_what_a_facade_counts() -> None:
    async with sandbox() as (host, control):
        await stock(control)
        await control.ask("POST", "/orders", purchase(), status=201)
        async with aiohttp.request("GET", host.accounts[0].base_urls["shop"] + "/ping"):
            pass
        state = await control.ask("GET", "/state")
        assert (state["shops"], state["shelves"], state["orders_total"]) == (2, 6, 1)
        told = await control.ask("GET", "/statistics")
        assert told["facades"] == {"east": {"calls": 1}, "west": {"calls": 0}}
        assert told["parcels_by_state"] == {"created": 1}
        assert told["shelves_by_state"] == {"on_sale": 6}
        index = await control.ask("GET", "")
        assert isinstance(index["operations"], list)
        assert "POST /control/orders" in index["operations"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("DELETE", "/orders", None, 405),
        ("POST", "/orders", [1], 400),
        ("POST", "/orders", {"marketplace": "east"}, 400),
        ("GET", "/orders?after=minus", None, 400),
        ("POST", "/orders", purchase(basket={}), 409),
        ("POST", "/orders", purchase(basket={"b0": -1}), 400),
    ],
)
async def test_a_mistaken_request_is_answered_with_what_to_do(
    method: str, path: str, body: object, status: int
) -> None:
    async with sandbox() as (_, control):
        await stock(control)
        problem = await control.ask(method, path, body, status=status)
        assert problem["status"] == status


async def test_a_listing_is_not_added_twice_nor_half_a_list() -> None:
    async with sandbox() as (host, control):
        await stock(control)
        shelf = {
            "barcode": "b9",
            "stock_code": "s9",
            "title": "T",
            "quantity": 1,
            "list_minor": 1,
            "sale_minor": 1,
        }
        body = {"marketplace": "east", "seller_id": "east-1"}
        await control.ask(
            "POST", "/shelves", {**body, "shelves": [shelf, {**shelf, "barcode": "b0"}]}, status=409
        )
        assert len(host.world.shops[0].shelves) == 3
        host.world.shops[0].facts["shelf_key"] = "stock_code"
        told = await control.ask("POST", "/shelves", {**body, "shelves": [shelf]}, status=201)
        assert told["keys"] == ["s9"]


async def test_a_port_in_use_gives_way_to_the_next() -> None:
    with listening_socket(0) as taken:
        port = taken.getsockname()[1]
        with listening_socket(port) as other:
            assert other.getsockname()[1] > port


async def test_two_sandboxes_stand_side_by_side_from_the_same_usual_port() -> None:
    with listening_socket(0) as probe:
        usual = probe.getsockname()[1]
    async with sandbox(port=usual) as (one, _), sandbox(port=usual) as (other, control):
        assert one.control_url != other.control_url
        await control.ask("GET", "/state")


def test_no_port_at_all_is_said() -> None:
    with pytest.raises(NoFreePort), listening_socket(65_535), listening_socket(65_535):
        pass


@pytest.mark.slow
async def test_it_ends_within_two_seconds_though_a_client_waits_forever() -> None:
    async with sandbox(
        economy=EconomySettings(demand=DemandSettings(is_on=True, orders_per_minute=600.0))
    ) as (host, _):
        before = asyncio.all_tasks()
        waiting = []
        for account in host.accounts:
            url = account.base_urls["shop"] + "/forever"
            waiting.append(asyncio.create_task(_wait_for(url)))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await host.stop()
        assert time.monotonic() - began < 2
        await asyncio.gather(*waiting)
        assert not [task for task in asyncio.all_tasks() - before if not task.done()]
        assert not any(getattr(facade, "is_running") for facade in host.facades.values())  # noqa: B009


async def _wait_for(url: str) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with aiohttp.request("GET", url):
            pass


async def test_a_facade_that_cannot_start_leaves_nothing_behind() -> None:
    host = SandboxHost({"east": east, "west": west}, settings={"west": {"breaks": "1"}}, port=0)
    with pytest.raises(RuntimeError, match="cannot start"):
        await host.start()
    port = int(host.control_url.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("as_json", [True, False])
async def test_it_prints_a_line_for_each_account_and_ends_on_a_signal(*, as_json: bool) -> None:
    printed: asyncio.Queue[str] = asyncio.Queue()
    host = SandboxHost({"east": east, "west": west}, port=0, accounts_per_marketplace=2)
    running = asyncio.create_task(run_sandbox(host, as_json=as_json, write=printed.put_nowait))
    lines = [await printed.get() for _ in range(4 if as_json else 5)]
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, timeout=2)
    assert printed.empty()
    if as_json:
        told = [json.loads(line) for line in lines]
        assert len(told) == 4
        assert told[0].keys() == {
            "marketplace",
            "seller_id",
            "base_urls",
            "credentials",
            "tier",
            "control_url",
        }
    else:
        assert lines[-1].startswith("control  http://127.0.0.1:")


async def test_a_defect_of_the_economy_ends_the_sandbox_loudly() -> None:
    host = SandboxHost({"east": east}, port=0)

    def defect() -> None:
        raise ZeroDivisionError

    running = asyncio.create_task(run_sandbox(host, as_json=True, write=lambda _: None))
    await asyncio.sleep(0.1)
    host.economy.agenda.after(0, defect)
    with pytest.raises(BaseExceptionGroup) as broken:
        await asyncio.wait_for(running, timeout=2)
    assert isinstance(broken.value.exceptions[0], ZeroDivisionError)


async def test_the_same_seed_serves_the_same_buyers() -> None:
    told = []
    for _ in range(2):
        async with sandbox(seed=9) as (host, control):
            await stock(control, quantity=1000)
            settings = replace(host.economy.demand.settings, sold_out_share=0.0)
            host.economy.demand.settings = settings
            orders = [host.economy.demand.draw_order() for _ in range(30)]
            told.append([order and (order.buyer, len(order.lines)) for order in orders])
    assert told[0] == told[1]
