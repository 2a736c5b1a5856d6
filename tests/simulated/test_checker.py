"""The checker must be green on an honest run, and red on every single thing that is planted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import aiohttp
import psycopg
import pytest

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.bootstrap import Hub, HubSettings
from meschain.messages import LANGUAGES, Catalog
from meschain.registry import marketplaces
from meschain.sandbox.clock import epoch_us as us_of
from meschain.sandbox.faults import Fault
from meschain.sandbox.host import SandboxHost
from meschain.sandbox.journal import JournalEntry
from meschain.sandbox.truth import ShelfRef, Showing
from meschain.sandbox.world import ParcelState, Shelf, ShelfState
from meschain.sandbox.world import Shop as WorldShop
from meschain.testing.checker import (
    CheckedShop,
    Control,
    PropagationMeter,
    Quota,
    Verdict,
    check,
)
from meschain.testing.checker.control import InjectedFault
from meschain.testing.checker.ledger import Counted, HubOrder, Ledger, Listing, Variant
from meschain.testing.checker.oversell import Judge, Knowledge
from meschain.testing.checker.verdict import Defect, Percentiles, Problem
from meschain.testing.shop import Shop

SKUS = [f"S{number}" for number in range(6)]
SETTLE_S = 30.0


@dataclass(slots=True)
class Run:
    """A trade that has ended: world and hub, ready to be looked at and tampered with."""

    host: SandboxHost
    url: str
    merchant_id: int
    shops: list[CheckedShop]
    connection: psycopg.Connection[tuple[object, ...]]

    async def verdict(self) -> Verdict:
        return await check(self.host.control_url, self.url, self.merchant_id, self.shops)

    async def defects(self) -> set[Defect]:
        return {problem.defect for problem in (await self.verdict()).problems}

    def world_shop(self, place: int) -> WorldShop:
        shop = self.shops[place]
        found = self.host.world.shop(shop.marketplace, shop.seller_id)
        assert found is not None
        return found

    def sql(self, statement: str) -> None:
        self.connection.execute(statement)


@asynccontextmanager
async def trade(url: str, key_folder: Path) -> AsyncIterator[Run]:
    """Six SKUs and a set of two on both marketplaces; some orders, one cancelled, one shipped."""
    markets = marketplaces()
    with psycopg.connect(url, autocommit=True) as connection:
        shop = Shop.open(connection)
        for sku in SKUS:
            shop.variant(sku, on_hand=9)
        shop.bundle("SET", {SKUS[5]: 2})
        host = SandboxHost(
            {name: market.facade_factory() for name, market in markets.items()},
            settings={"n11": {"status_omitted": "all"}},
            port=0,
        )
        settings = HubSettings(url, key_folder / "master.key", loopback_only=True)
        async with host, Hub.opened(settings) as hub:
            shops = [await connect(hub, host, shop, place) for place in range(len(host.accounts))]
            run = Run(host, url, shop.merchant_id, shops, connection)
            await hub.engine.start()
            try:
                await until_green(run, hub)
                buy(run)
                await until_green(run, hub)
            finally:
                await hub.engine.stop()
            yield run


async def connect(hub: Hub, host: SandboxHost, shop: Shop, place: int) -> CheckedShop:
    line = host.accounts[place]
    manifest = marketplaces()[line.marketplace].manifest
    is_by_code = manifest.offers.key == "stock_code"
    settings = {"order_status_query": "omitted"} if is_by_code else {}
    account = await add_account(
        hub.database,
        hub.keys,
        hub.clock,
        shop.merchant_id,
        manifest,
        NewAccount(
            line.marketplace,
            line.marketplace,
            line.base_urls,
            line.credentials,
            settings,
            line.tier,
        ),
    )
    shop.accounts[line.marketplace] = account
    world_shop = host.world.shop(line.marketplace, line.seller_id)
    assert world_shop is not None
    skus = [*SKUS, "SET"]
    for sku in skus:
        shelf = Shelf(
            sku if is_by_code else f"B{sku}", f"B{sku}", sku, sku, 0, 10_000, 10_000, 20,
            ShelfState.ON_SALE,
        )  # fmt: skip
        host.world.add_shelf(world_shop, shelf)
    shop.list_on(line.marketplace, skus, acknowledged=False)
    if is_by_code:
        shop.connection.execute(
            "UPDATE listing_key SET push_key = stock_code WHERE account_id = %s", (account,)
        )
    shop.connection.execute("UPDATE account SET state = 'armed' WHERE account_id = %s", (account,))
    return CheckedShop(account, line.marketplace, line.seller_id)


def buy(run: Run) -> None:
    world, people = run.host.world, run.host.economy.people
    for place in range(len(run.shops)):
        shop = run.world_shop(place)
        keys = list(shop.shelves)
        kept = world.place_order(shop, {keys[0]: 2, keys[1]: 1}, people.person(1))
        assert kept.parcels
        gone = world.place_order(shop, {keys[2]: 1}, people.person(2))
        world.advance(gone.parcels[0], ParcelState.PICKING)
        world.advance(gone.parcels[0], ParcelState.SHIPPED)
        regretted = world.place_order(shop, {keys[3]: 3}, people.person(3))
        line = regretted.lines[0].line_id
        world.cancel_units(regretted.parcels[0], {line: 1}, by_seller=False)
        world.place_order(shop, {keys[6]: 1}, people.person(4))


async def until_green(run: Run, hub: Hub) -> None:
    """Let the hub come to rest; an honest run gets there by itself."""
    problems: list[Problem] = []
    for _ in range(int(SETTLE_S / 0.3)):
        problems = (await run.verdict()).problems
        if not problems:
            return
        for account in hub.engine.accounts:
            account.poll_orders.set()  # nobody tells us here; looking need not wait its turn
        await asyncio.sleep(0.3)
    raise AssertionError(problems[:5])


@pytest.mark.slow
async def test_each_planted_defect_turns_it_red(database_url: str, tmp_path: Path) -> None:
    async with trade(database_url, tmp_path) as run:
        verdict = await run.verdict()
        assert verdict.is_green, verdict.problems
        assert verdict.orders == 8
        assert (verdict.shelves_checked, verdict.shelves_equal) == (14, 14)
        assert verdict.propagation_ms.samples > 6
        assert (verdict.lost, verdict.doubled) == (0, 0)

        # — in the world —
        world, shop = run.host.world, run.world_shop(0)
        shelf = next(iter(shop.shelves.values()))
        shown = shelf.quantity
        world.set_offer(shop, shelf, quantity=shown + 1, cause="planted")
        assert await run.defects() == {Defect.SHELF_QUANTITY}
        world.set_offer(shop, shelf, quantity=shown, sale_minor=9_999, cause="planted")
        assert await run.defects() == {Defect.SHELF_PRICE}
        world.set_offer(shop, shelf, sale_minor=10_000, cause="planted")
        assert await run.defects() == set()
        stranger = Shelf("X", "X", "X", "X", 1, 1, 1, 20, ShelfState.ON_SALE)
        world.add_shelf(shop, stranger)
        assert await run.defects() == {Defect.SHELF_UNLISTED}
        world.set_state(shop, stranger, ShelfState.ARCHIVED)

        # — in the books —
        run.sql("UPDATE order_line SET units_ordered = units_ordered + 1 WHERE sku = 'S0'")
        assert await run.defects() == {Defect.UNITS_DOUBLED}
        run.sql("UPDATE order_line SET units_ordered = units_ordered - 2 WHERE sku = 'S0'")
        assert await run.defects() == {Defect.UNITS_LOST}
        run.sql("UPDATE order_line SET units_ordered = units_ordered + 1 WHERE sku = 'S0'")

        run.sql("UPDATE stock_level SET reserved = reserved + 1 WHERE variant_id = 1")
        assert await run.defects() == {Defect.LEVEL, Defect.RESERVED}
        run.sql("UPDATE stock_level SET reserved = reserved - 1 WHERE variant_id = 1")

        run.sql("UPDATE package SET state = 'created' WHERE state = 'shipped'")
        assert Defect.PACKAGE_STATE in await run.defects()
        run.sql(
            "UPDATE package p SET state = 'shipped' FROM order_line l"
            " WHERE l.order_id = p.order_id AND l.sku = 'S2'"
        )
        assert await run.defects() == set()

        run.sql(
            "INSERT INTO orders (merchant_id, account_id, external_id, placed_at, currency,"
            " first_seen_us) VALUES (1, 1, 'invented', '2026-11-01', 'TRY', 1)"
        )
        assert await run.defects() == {Defect.ORDER_INVENTED}
        assert (await run.verdict()).doubled == 1
        run.sql("DELETE FROM orders WHERE external_id = 'invented'")

        run.sql("UPDATE lane SET net_found = 1 WHERE name = 'stock'")
        assert await run.defects() == {Defect.NET_FOUND}
        run.sql("UPDATE lane SET net_found = 0")

        # A movement booked twice: the level no longer is the sum, nor does the order add up.
        run.sql(
            "INSERT INTO stock_movement (merchant_id, variant_id, location_id, kind,"
            " on_hand_delta, reserved_delta, order_id, actor, occurred_at)"
            " SELECT merchant_id, variant_id, location_id, kind, on_hand_delta, reserved_delta,"
            " order_id, actor, occurred_at FROM stock_movement"
            " WHERE kind = 'allocation' ORDER BY movement_id LIMIT 1"
        )
        assert await run.defects() >= {Defect.LEVEL, Defect.PROMISED, Defect.SHELF_QUANTITY}
        run.sql(
            "DELETE FROM stock_movement"
            " WHERE movement_id = (SELECT max(movement_id) FROM stock_movement)"
        )
        assert await run.defects() == set()

        run.sql("DELETE FROM orders WHERE order_id = (SELECT min(order_id) FROM orders)")
        lost = await run.verdict()
        assert Defect.ORDER_LOST in {problem.defect for problem in lost.problems}
        assert lost.lost == 1
        assert not lost.is_green


# — oversells: what the hub could have done —

BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)
HERE, THERE = CheckedShop(1, "east", "e"), CheckedShop(2, "west", "w")


@dataclass(slots=True)
class Story:
    """A journal written by hand; times in seconds after the beginning."""

    entries: list[JournalEntry] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def tell(self, at_s: float, kind: str, shop: CheckedShop, **facts: object) -> None:
        at = BEGAN + timedelta(seconds=at_s)
        self.entries.append(
            JournalEntry(next(self.numbers), at, kind, shop.marketplace, shop.seller_id, "K", facts)
        )

    def listing(self, shop: CheckedShop, quantity: int) -> None:
        self.tell(0, "listing", shop, state="on_sale", quantity=quantity, list_minor=1,
                  sale_minor=1)  # fmt: skip

    def offer(self, at_s: float, shop: CheckedShop, before: int, quantity: int) -> None:
        self.tell(at_s, "offer", shop, cause="batch", quantity=quantity, list_minor=1,
                  sale_minor=1, quantity_before=before, sets_quantity=True)  # fmt: skip

    def sale(self, at_s: float, shop: CheckedShop, order: str, before: int) -> None:
        self.tell(at_s, "sale", shop, order=order, units=1, quantity=before - 1,
                  quantity_before=before)  # fmt: skip


def us(at_s: float) -> int:
    return round((BEGAN.timestamp() + at_s) * 1_000_000)


def books(known_s: float | None, pushes_s: list[float] | None = None) -> Ledger:
    """One unit of one SKU on both shops; the hub knew of order A at ``known_s``."""
    orders = [] if known_s is None else [HubOrder(1, 1, "A", us(known_s))]
    return Ledger(
        listings=[Listing(n, n, "K", 1, "on_sale", 10_000, 0, None, None, None) for n in (1, 2)],
        variants={1: Variant(1, "SKU", is_bundle=False, list_minor=1, sale_minor=1)},
        components={},
        levels={},
        safety={},
        moved={},
        counted=[Counted(1, 1, BEGAN - timedelta(days=1))],
        orders=orders,
        pushes_us={2: [us(at_s) for at_s in pushes_s or []]},
    )


def sold_twice(second_s: float) -> Story:
    """The last unit goes here at 1 s, and there again at ``second_s``."""
    story = Story()
    story.listing(HERE, 1)
    story.listing(THERE, 1)
    story.sale(1, HERE, "A", 1)
    story.sale(second_s, THERE, "B", 1)
    return story


@pytest.mark.parametrize(
    ("second_s", "known_s", "fault", "knowledge"),
    [
        (2.0, None, None, Knowledge.UNAWARE),
        (2.0, 2.5, None, Knowledge.UNAWARE),
        (2.0, 1.2, None, Knowledge.ON_ITS_WAY),
        (5.0, 1.2, None, Knowledge.KNOWINGLY),
        (5.0, 1.2, ("west", "server_error", 4.0), Knowledge.CHANNEL_AWAY),
        (5.0, 1.2, ("east", "server_error", 4.0), Knowledge.KNOWINGLY),
        (60.0, 1.2, ("west", "server_error", 70.0), Knowledge.KNOWINGLY),
        (60.0, 40.0, ("west", "throttled", 2.0), Knowledge.KNOWINGLY),
        (5.0, 1.2, ("west", "webhook_lost", 4.0), Knowledge.KNOWINGLY),
        # A push that was held or stuck must be seen at the shelf; here none ever came.
        (5.0, 1.2, ("west", "timeout_after_applying", 4.0), Knowledge.KNOWINGLY),
        (5.0, 1.2, ("west", "batch_stuck", 4.0), Knowledge.KNOWINGLY),
    ],
)
def test_an_oversell_is_judged_by_what_the_hub_knew(
    second_s: float,
    known_s: float | None,
    fault: tuple[str, str, float] | None,
    knowledge: Knowledge,
) -> None:
    faults = [] if fault is None else [InjectedFault(1, us(fault[2]), fault[1], fault[0])]
    story = sold_twice(second_s)
    judged = Judge(books(known_s), [HERE, THERE], story.entries, faults, {}).judge()
    assert judged.by_knowledge[knowledge] == 1
    assert sum(judged.by_knowledge.values()) == 1
    assert judged.by_cause["not_yet_lowered"] == 1
    is_red = [problem.defect for problem in judged.problems] == [Defect.OVERSOLD_KNOWINGLY]
    assert is_red is (knowledge is Knowledge.KNOWINGLY)


def test_a_stuck_batch_that_lowers_the_shelf_later_excuses() -> None:
    story = sold_twice(5)
    story.offer(9, THERE, 0, 0)
    faults = [InjectedFault(1, us(2), "batch_stuck", "west")]
    judged = Judge(books(1.2), [HERE, THERE], story.entries, faults, {}).judge()
    assert judged.by_knowledge[Knowledge.CHANNEL_AWAY] == 1


def test_a_spent_quota_excuses_and_half_a_quota_does_not() -> None:
    story = sold_twice(5)
    quotas = {"west": [Quota(10, 20)]}
    for pushes, knowledge in ((19, Knowledge.QUOTA_SPENT), (10, Knowledge.KNOWINGLY)):
        ledger = books(1.2, [4 - number / 10 for number in range(pushes, 0, -1)])
        judged = Judge(ledger, [HERE, THERE], story.entries, [], quotas).judge()
        assert judged.by_knowledge[knowledge] == 1


def test_a_push_that_puts_a_sold_unit_back_is_its_own_cause() -> None:
    story = Story()
    story.listing(HERE, 1)
    story.sale(1, HERE, "A", 1)
    story.offer(2, HERE, 0, 1)
    story.sale(6, HERE, "C", 1)
    judged = Judge(books(1.2), [HERE, THERE], story.entries, [], {}).judge()
    assert judged.by_cause["put_back"] == 1
    assert judged.by_knowledge[Knowledge.KNOWINGLY] == 1


async def test_the_fault_log_says_what_failed_where_and_when() -> None:
    async with SandboxHost({}, port=0) as host, aiohttp.ClientSession() as session:
        faults = host.world.faults
        faults.force(Fault.RESET, count=2, marketplace="west")
        began_us = us_of(host.world.clock.now())
        assert [faults.happens(Fault.RESET, each) for each in ("east", "west", "west")] == [
            False, True, True,
        ]  # fmt: skip
        log = await Control(session, host.control_url).fault_log()
        assert [(each.number, each.fault, each.marketplace) for each in log] == [
            (1, "reset", "west"),
            (2, "reset", "west"),
        ]
        assert all(0 <= each.at_us - began_us < 5_000_000 for each in log)


# — propagation —


def test_propagation_is_the_time_until_the_other_shelf_shows_what_was_left() -> None:
    shown = [
        Showing(ShelfRef(shop.marketplace, shop.seller_id, "K"), "SKU") for shop in (HERE, THERE)
    ]
    story = Story()
    story.listing(HERE, 5)
    story.listing(THERE, 5)
    story.sale(1, HERE, "A", 5)
    story.offer(1.25, THERE, 5, 5)  # an older value: not it
    story.offer(1.5, THERE, 5, 4)
    story.sale(2, HERE, "B", 4)
    story.sale(2.1, THERE, "C", 4)  # came down by its own sale: no push was needed for B
    meter = PropagationMeter(shown, {"SKU": 5})
    for entry in story.entries:  # in pieces, as a live screen feeds it
        meter.feed([entry])
    assert meter.samples_us == [500_000]
    assert meter.waiting == 1  # HERE has not heard of C


def test_percentiles_are_by_nearest_rank() -> None:
    measured = Percentiles.of_us([1_000 * number for number in range(1, 101)])
    assert (measured.p50, measured.p99, measured.samples) == (50, 99, 100)
    assert Percentiles.of_us([]).p50 is None


# — telling —


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_it_can_say_has_words(language: str) -> None:
    verdict = Verdict(
        oversold={"put_back": 1, "not_yet_lowered": 1, "stock_taken": 1, "overstated": 1},
        oversold_when=dict.fromkeys(Knowledge, 1),
        propagation_ms=Percentiles(1, 2, 3),
        detection_ms=Percentiles(1, 2, 3),
        problems=[Problem(defect, "S", "1", "2") for defect in Defect] * 2,
    )
    catalog = Catalog.load(language)
    lines = [*verdict.lines(catalog), *verdict.oversell_lines(catalog)]
    lines += Verdict().oversell_lines(catalog)
    assert all(line and "{" not in line and not line.startswith("check.") for line in lines)
    assert verdict.figures()["is_green"] is False
