"""Somebody edits on a marketplace's own panel, while the real engine trades over both façades."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import msgspec
import pytest

from meschain.app.commands.resolve_conflict import resolve_conflicts, set_conflict_rules
from meschain.app.commands.set_price import NewPrice, set_prices
from meschain.app.queries.conflicts import read_conflicts
from meschain.app.queries.plan import read_plan
from meschain.app.queries.problems import read_problems
from meschain.app.queries.view import MoneyView
from meschain.app.queries.why import read_why
from meschain.registry import Marketplace
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import Impossible
from meschain.sync.audit import SweepReport
from meschain.sync.engine import EngineSettings
from meschain.sync.sweep import Sweeps, SweepSettings
from meschain.testing.trade import Trade, trading
from tests.simulated.markets import hastened

pytestmark = pytest.mark.slow  # each test starts a whole market

EAST, WEST = "trendyol", "n11"
BOTH = (EAST, WEST)
# Second looks at once; whole sweeps only when a test asks for one.
QUICK = EngineSettings(sweeps=SweepSettings(round_s=0.1, first_s=3_600.0))


@pytest.fixture
def markets(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Marketplace]:
    """The marketplaces, with our own waits cut short."""
    return hastened(monkeypatch)


@pytest.fixture
async def trade(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> AsyncIterator[Trade]:
    async with trading(database_url, tmp_path, markets=markets, engine=QUICK) as opened:
        # Shelves are told something once, as after arming: what was never told has no conflicts.
        await opened.move({"A": 1, "B": 1, "C": 1})
        await price(opened, "A", 11_000)
        await opened.come_to_rest()
        yield opened


async def price(trade: Trade, sku: str, minor: int) -> None:
    plan = await set_prices(
        trade.hub.database,
        trade.hub.clock,
        trade.shop.merchant_id,
        [NewPrice(sku, minor, minor)],
        actor="test",
    )
    assert len(plan.changed) == 1


async def edit(trade: Trade, marketplace: str, sku: str, **values: int) -> None:
    """On the panel, through the sandbox's control interface."""
    shop = trade.market(marketplace)
    body = {
        "marketplace": marketplace,
        "seller_id": shop.seller_id,
        "key": trade.shelf(marketplace, sku).key,
        **values,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{trade.host.accounts[0].control_url}/control/panel", data=msgspec.json.encode(body)
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def sweep(trade: Trade, marketplace: str) -> SweepReport:
    account = trade.served(marketplace)
    report = await trade.hub.engine.audit.sweep(account, repair=True)
    assert isinstance(report, SweepReport), report
    return report


async def rules(trade: Trade, **given: str) -> None:
    for account in trade.accounts.values():
        await set_conflict_rules(
            trade.hub.database,
            trade.hub.clock,
            trade.shop.merchant_id,
            account,
            actor="test",
            **given,  # type: ignore[arg-type]
        )


def happened(trade: Trade) -> list[str]:
    """Events of conflicts; the audit has the same."""
    ((events, audited),) = trade.rows(  # in one statement: the engine goes on meanwhile
        "SELECT ARRAY(SELECT kind FROM event WHERE kind LIKE 'conflict.%%' ORDER BY event_id),"
        " ARRAY(SELECT action FROM audit WHERE action LIKE 'conflict.%%' ORDER BY audit_id)"
    )
    assert events == audited
    assert isinstance(events, list)
    return events


def opened(trade: Trade) -> int:
    return trade.number("SELECT count(*)::int FROM offer_conflict WHERE state = 2")


async def resolve(trade: Trade, keep: str) -> int:
    rows = await read_conflicts(trade.hub.database, trade.shop.merchant_id)
    return await resolve_conflicts(
        trade.hub.database,
        trade.hub.clock,
        trade.shop.merchant_id,
        rows,
        keep,  # type: ignore[arg-type]
        actor="cli:test",
    )


# — ask —


@pytest.mark.parametrize("name", BOTH)
async def test_a_price_edited_there_is_asked_about_and_left_alone_until_then(
    trade: Trade, name: str
) -> None:
    await edit(trade, name, "A", list_minor=9_900, sale_minor=9_500)
    report = await sweep(trade, name)
    assert (report.conflicts, len(report.drift)) == (1, 1)
    await trade.until(lambda: opened(trade) == 1)
    assert happened(trade) == ["conflict.ask"]
    (problem,) = (await read_problems(trade.hub.database, trade.shop.merchant_id, limit=10)).items
    assert (problem.message, problem.advice) == (
        "alert.conflict.price",
        "alert.conflict.price.advice",
    )
    assert problem.params["theirs"] == MoneyView(9_500, "TRY", "95.00")
    plan = await read_plan(trade.hub.database, trade.hub.clock, trade.shop.merchant_id)
    assert [(row.field, row.verdict) for row in plan.rows] == [("price", "held")]
    # Quantities of the same listing go on, sales too, and no price is carried along.
    await trade.move({"A": 5})
    trade.buy(EAST, {"A": 1})
    trade.buy(WEST, {"A": 1})
    await trade.come_to_rest()
    await sweep(trade, name)
    await trade.come_to_rest()
    assert trade.shelf(name, "A").sale_minor == 9_500
    assert trade.net_found() == 0
    # The answer.
    assert await resolve(trade, "hub") == 1
    await trade.until(lambda: trade.shelf(name, "A").sale_minor == 11_000)
    await trade.come_to_rest()
    assert (await sweep(trade, name)).drift == []


@pytest.mark.parametrize("name", BOTH)
async def test_a_new_price_of_the_merchants_answers_the_question(trade: Trade, name: str) -> None:
    await edit(trade, name, "A", list_minor=9_900, sale_minor=9_500)
    await sweep(trade, name)
    await trade.until(lambda: opened(trade) == 1)
    await price(trade, "A", 12_500)
    await trade.until(lambda: trade.shelf(name, "A").sale_minor == 12_500)
    await trade.until(lambda: opened(trade) == 0)
    assert happened(trade) == ["conflict.ask", "conflict.answered"]


@pytest.mark.parametrize("name", BOTH)
async def test_a_quantity_in_question_is_never_kept_from_falling(trade: Trade, name: str) -> None:
    await rules(trade, quantity="ask")
    await edit(trade, name, "A", quantity=4)
    await sweep(trade, name)
    await trade.until(lambda: opened(trade) == 1)
    await trade.move({"A": 9})
    other = WEST if name == EAST else EAST
    await trade.until(lambda: trade.shelf(other, "A").quantity == 20)
    await asyncio.sleep(0.5)
    assert trade.shelf(name, "A").quantity == 4, "a raise waits for the answer"
    trade.buy(other, {"A": 18})
    await trade.until(lambda: trade.shelf(name, "A").quantity == 2)
    assert opened(trade) == 1
    await trade.move({"A": 10})
    await asyncio.sleep(0.5)
    assert trade.shelf(name, "A").quantity == 2
    assert await resolve(trade, "channel") == 1
    await trade.until(lambda: trade.shelf(name, "A").quantity == 4)
    await trade.come_to_rest()
    assert trade.net_found() == 0


# — channel —


@pytest.mark.parametrize("name", BOTH)
async def test_by_the_channels_rule_price_and_quantity_stay_as_edited(
    trade: Trade, name: str
) -> None:
    await rules(trade, price="channel", quantity="channel")
    await edit(trade, name, "A", list_minor=9_900, sale_minor=9_500, quantity=0)
    await sweep(trade, name)
    await trade.until(lambda: happened(trade) == ["conflict.channel"])
    pushes = trade.pushes(name)
    await trade.move({"A": 5})
    await price(trade, "A", 12_500)
    await trade.come_to_rest()
    assert trade.pushes(name) == pushes, "nothing is sent over it"
    shelf = trade.shelf(name, "A")
    assert (shelf.quantity, shelf.list_minor, shelf.sale_minor) == (0, 9_900, 9_500)
    why = await read_why(
        trade.hub.database, trade.hub.clock, trade.shop.merchant_id, trade.accounts[name], "A"
    )
    assert why.agrees
    assert why.sale_price_kept is not None
    assert (why.sale_price_kept.minor, why.price_kept_by, why.quantity_kept_by) == (
        9_500,
        "rule",
        "rule",
    )
    # Given up again.
    assert await resolve(trade, "hub") == 2
    await trade.until(lambda: shelf.sale_minor == 12_500)
    await trade.until(lambda: shelf.quantity == 16)
    await trade.come_to_rest()


# — hub —


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("quantity", [0, 4, 99])
async def test_by_the_hubs_rule_it_is_told_again_and_written_down(
    trade: Trade, name: str, quantity: int
) -> None:
    await rules(trade, price="hub")
    await edit(trade, name, "A", list_minor=9_900, sale_minor=9_500, quantity=quantity)
    await sweep(trade, name)
    shelf = trade.shelf(name, "A")
    await trade.until(lambda: (shelf.quantity, shelf.sale_minor) == (11, 11_000))
    await trade.come_to_rest()
    assert happened(trade) == ["conflict.hub"]
    ((changes,),) = trade.rows("SELECT facts->'changes' FROM audit WHERE action = 'conflict.hub'")
    assert isinstance(changes, list)
    assert [(c["field"], c["ours"], c["theirs"]) for c in changes] == [
        ("quantity", 11, quantity),
        ("price", 11_000, 9_500),
    ]
    assert trade.rows("SELECT kind FROM alert") == []


# — a look shows it too —


async def test_a_look_after_a_lost_answer_sees_the_edit_before_it_tells_again(
    trade: Trade,
) -> None:
    """The quantity is in doubt and told again; the price beside it was edited and is not."""
    await edit(trade, EAST, "A", list_minor=9_900, sale_minor=9_500)
    trade.force(Fault.TIMEOUT_AFTER_APPLYING, 6, EAST)  # reads of orders may meet some of them
    await trade.move({"A": 3})
    await trade.until(lambda: opened(trade) == 1, within_s=40)
    assert trade.number("SELECT count(*)::int FROM ticket WHERE outcome = 'unknown'") > 0
    await trade.come_to_rest()
    assert (trade.shelf(EAST, "A").quantity, trade.shelf(EAST, "A").sale_minor) == (14, 9_500)


# — the slow sweep —


async def test_the_slow_sweep_goes_on_where_the_last_owner_left_it(trade: Trade) -> None:
    settings = SweepSettings(first_s=0.0)

    def sweeps() -> Sweeps:
        engine = trade.hub.engine
        account = trade.served(EAST)
        return Sweeps(account, engine.audit, trade.hub.database, trade.hub.clock, settings)

    await edit(trade, EAST, "A", list_minor=9_900, sale_minor=9_500)
    pause_s = await sweeps().step()
    assert 10 < pause_s <= settings.page_pause_max_s
    ((checked, expected, token),) = trade.rows(
        "SELECT checked, expected, next_token FROM sweep WHERE ended_us IS NULL"
    )
    assert (checked, expected) == (3, 3)
    assert token is not None
    again = sweeps()  # a new owner: the unapproved ones are left
    await again.step()
    ((checked, equal, conflicts, pages),) = trade.rows(
        "SELECT checked, equal, conflicts, pages FROM sweep WHERE ended_us IS NOT NULL"
    )
    assert (checked, equal, conflicts, pages) == (3, 2, 1, 2)
    await trade.until(lambda: opened(trade) == 1)
    assert await again.step() > 0, "the next one is due tomorrow"
    assert trade.number("SELECT count(*)::int FROM sweep") == 1


async def test_the_engine_reads_armed_accounts_back_by_itself(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    settings = SweepSettings(round_s=0.05, first_s=0.0, quota_share=1_000.0, page_pause_max_s=0.1)
    async with trading(
        database_url, tmp_path, markets=markets, engine=EngineSettings(sweeps=settings)
    ) as trade:
        await trade.until(
            lambda: (
                trade.rows(
                    "SELECT a.name, s.checked, s.equal FROM sweep s"
                    " JOIN account a USING (account_id) WHERE s.ended_us IS NOT NULL"
                    " ORDER BY a.name"
                )
                == [(WEST, 3, 3), (EAST, 3, 3)]
            )
        )
        await trade.set_state("read_only", WEST)
        await trade.until(lambda: trade.served(WEST).state == "read_only")
        await trade.write("UPDATE sweep SET started_us = 0")  # a day has passed
        swept = "SELECT count(*)::int FROM sweep WHERE account_id = %s AND ended_us IS NOT NULL"
        await trade.until(lambda: trade.number(swept, trade.accounts[EAST]) == 2)
        assert trade.number(swept, trade.accounts[WEST]) == 1


# — what must never happen —


async def sweep_until(trade: Trade, name: str, end_s: float) -> int:
    """Read the account back over and over; how many listings were judged."""
    judged = 0
    while time.monotonic() < end_s:
        account = trade.hub.engine.account(trade.accounts[name])
        if account is not None:
            report = await trade.hub.engine.audit.sweep(account, repair=True)
            if isinstance(report, SweepReport):
                judged += report.checked - report.moving
        await asyncio.sleep(0.2)
    return judged


async def trade_until(trade: Trade, skus: Sequence[str], end_s: float) -> int:
    """Buyers buy and cancel, goods come in, prices change; how many orders there were."""
    draw = random.Random(20)  # noqa: S311 – a simulation, no secret
    while time.monotonic() < end_s:
        name, sku = draw.choice(BOTH), draw.choice(skus)
        try:
            order = trade.buy(name, {sku: draw.randint(1, 3)})
        except Impossible:
            await trade.move({sku: 20})
            continue
        if draw.random() < 0.2:
            parcel = order.parcels[0]
            await asyncio.sleep(draw.random())
            units = dict(parcel.units)
            trade.host.world.cancel_units(parcel, units, by_seller=False, reason="buyer")
        if draw.random() < 0.15:
            await price(trade, draw.choice(skus), draw.randint(9_000, 30_000))
        await asyncio.sleep(0.1)
    return len(trade.host.world.orders)


async def test_a_busy_trade_with_all_faults_makes_up_no_edit(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody touches the panel; sweeps run all the time over both shops."""
    # Batches that are late are late by seconds here, and the hub knows how late they may be.
    monkeypatch.setattr("meschain.marketplaces.trendyol.facade.batch._STUCK_S", (0.5, 2.0))
    skus = tuple(f"S{number}" for number in range(12))
    async with trading(
        database_url,
        tmp_path,
        markets=hastened(monkeypatch, offers={"apply_s_max": 6.0}),
        engine=QUICK,
        skus=skus,
        quantity=60,
        facade={WEST: {"stuck_s": "2.0"}},
        rates=dict.fromkeys(Fault, 0.03) | {Fault.TIMEOUT_AFTER_APPLYING: 0.01},
    ) as trade:
        await rules(trade, quantity="ask", price="ask")
        await trade.write("UPDATE account SET quantity_max = 40 WHERE name = %s", EAST)
        await trade.move(dict.fromkeys(skus, 1))
        begun_s = time.monotonic()
        *judged, sold = await asyncio.gather(
            *(sweep_until(trade, name, begun_s + 35) for name in BOTH),
            trade_until(trade, skus, begun_s + 25),
        )
        assert sold > 60
        assert min(judged) > 50, "otherwise nothing was shown"
        assert trade.host.world.faults.injected.keys() >= {"timeout_after_applying", "reset"}
        assert happened(trade) == []
        assert opened(trade) == 0
        assert trade.net_found() == 0


async def test_an_edit_in_the_midst_of_trade_is_found(trade: Trade) -> None:
    """The counterpart: the same strictness does not hide a real edit."""
    await edit(trade, WEST, "B", list_minor=9_900, sale_minor=9_500)
    begun_s = time.monotonic()
    await asyncio.gather(
        sweep_until(trade, WEST, begun_s + 6), trade_until(trade, ("A", "C"), begun_s + 5)
    )
    await trade.until(lambda: opened(trade) == 1)
    assert happened(trade) == ["conflict.ask"]
