"""The real engine between both façades and a real database; every wait is bounded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from meschain.registry import Marketplace
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import Impossible, ParcelState
from meschain.store.embedded import EmbeddedPostgres
from meschain.store.migrate import migrate
from meschain.sync.account import Lease
from meschain.testing.trade import Trade, trading
from tests.simulated.markets import hastened

EAST, WEST = "trendyol", "n11"  # the two that stand in the sandbox


@pytest.fixture
def markets(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Marketplace]:
    """The marketplaces, with our own waits cut short."""
    return hastened(monkeypatch)


# — a sale —


async def test_a_sale_on_each_channel_reaches_the_other(trade: Trade) -> None:
    trade.buy(EAST, {"A": 2})
    await trade.until(lambda: trade.shelf(WEST, "A").quantity == 8)
    trade.buy(WEST, {"A": 3, "B": 1})
    await trade.until(lambda: trade.shelf(EAST, "A").quantity == 5)
    await trade.come_to_rest()
    assert trade.shelf(EAST, "B").quantity == 9
    assert trade.rows("SELECT kind FROM alert") == []


async def test_a_channel_that_lowers_its_own_shelf_is_not_told_what_it_knows(trade: Trade) -> None:
    trade.buy(EAST, {"A": 2})
    await trade.until(lambda: trade.shelf(WEST, "A").quantity == 8)
    await trade.come_to_rest()
    assert trade.pushes(EAST) == 0
    assert trade.pushes(WEST) == 1


@pytest.mark.slow
async def test_a_quantity_that_comes_and_goes_is_told_each_time(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    """A body that the channel had minutes ago is refused; a shelf with too much cannot wait for the
    end of those minutes. Twice refused by chance, it waits for its first look.
    """
    skus = [f"S{number}" for number in range(12)]
    async with trading(database_url, tmp_path, markets=markets, skus=skus) as trade:
        for _ in range(4):
            await trade.move({"S5": -1})
            await trade.until(lambda: trade.shelf(EAST, "S5").quantity == 9, within_s=10.0)
            await trade.move({"S5": 1})
            await trade.until(lambda: trade.shelf(EAST, "S5").quantity == 10)
        await trade.come_to_rest()


@pytest.mark.slow
async def test_a_capped_shelf_that_sold_is_filled_up_again(trade: Trade) -> None:
    """What should be shown stays as it was, but the channel has lowered it by itself."""
    await trade.write("UPDATE account SET quantity_max = 4")
    await trade.move({"A": 1})
    await trade.until(lambda: trade.shelf(EAST, "A").quantity == 4)
    await trade.come_to_rest()
    trade.buy(EAST, {"A": 1})
    assert trade.shelf(EAST, "A").quantity == 3
    await trade.until(lambda: trade.shelf(EAST, "A").quantity == 4)
    await trade.come_to_rest()


async def test_the_next_buyer_of_a_last_unit_is_refused_on_the_other_channel(trade: Trade) -> None:
    trade.buy(EAST, {"A": 10})
    await trade.until(lambda: trade.shelf(WEST, "A").quantity == 0)
    with pytest.raises(Impossible, match="sold_out"):
        trade.buy(WEST, {"A": 1})
    await trade.come_to_rest()


async def test_a_last_unit_sold_twice_in_one_instant_is_told_as_it_is(trade: Trade) -> None:
    trade.buy(EAST, {"A": 10})
    trade.buy(WEST, {"A": 10})
    await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") == 2)
    await trade.come_to_rest()
    assert (trade.shelf(EAST, "A").quantity, trade.shelf(WEST, "A").quantity) == (0, 0)
    assert trade.number("SELECT sum(units_backorder)::int FROM order_line") == 10
    assert trade.rows("SELECT kind FROM alert") == [("alert.stock.oversold",)]


@pytest.mark.slow
async def test_a_split_on_a_channel_promises_no_unit_twice(trade: Trade) -> None:
    for name in (EAST, WEST):
        order = trade.buy(name, {"B": 3, "C": 1})
        await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") >= 1)
        await trade.until(trade.is_at_rest)
        parcel = order.parcels[0]
        trade.host.world.advance(parcel, ParcelState.PICKING)
        await asyncio.sleep(0.5)  # it is seen as it was before it is split
        trade.host.world.split(parcel, [{order.lines[0].line_id: 1}])
    await trade.until(
        lambda: trade.rows("SELECT count(*) FROM package WHERE state = 'superseded'") == [(2,)]
    )
    promised = "SELECT sum(reserved)::int FROM stock_level"
    await trade.until(lambda: trade.number(promised) == 8)
    await trade.come_to_rest()
    assert trade.number("SELECT sum(units_reserved)::int FROM reservation") == 8


async def test_an_order_that_cannot_be_stored_holds_up_no_other(trade: Trade) -> None:
    trade.shelf(WEST, "A").title = "Kazak \x00 A"  # no text of a database holds this character
    trade.buy(WEST, {"A": 1})
    trade.buy(WEST, {"B": 2})
    await trade.until(lambda: trade.shelf(EAST, "B").quantity == 8)
    kinds = "SELECT kind FROM alert WHERE kind = 'alert.order.unreadable'"
    await trade.until(lambda: len(trade.rows(kinds)) == 1)
    served = trade.served(WEST)
    fresh_us = served.orders_fresh_us
    await trade.until(lambda: served.orders_fresh_us > fresh_us)  # pulls come to their end


# — the owner's word —


@pytest.mark.slow
@pytest.mark.parametrize("state", ["paused", "read_only"])
async def test_pausing_and_disarming_stop_sending_within_a_second(trade: Trade, state: str) -> None:
    await trade.set_state(state)
    await asyncio.sleep(1.2)
    before = trade.host.world.journal.last_number
    await trade.move({"A": -1})
    trade.buy(EAST, {"B": 1})
    await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") == 1)
    await asyncio.sleep(0.7)
    assert trade.pushes(after=before) == 0
    assert trade.shelf(WEST, "A").quantity == 10
    await trade.set_state("armed")
    await trade.until(lambda: trade.shelf(WEST, "A").quantity == 9)
    await trade.come_to_rest()


@pytest.mark.slow
async def test_an_account_that_is_read_only_reads_and_never_sends(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    async with trading(database_url, tmp_path, markets=markets, state="read_only") as trade:
        await trade.move({"A": 5})
        trade.buy(EAST, {"A": 1})
        trade.buy(WEST, {"B": 1})
        await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") == 2)
        await asyncio.sleep(1.5)
        assert trade.pushes() == 0
        assert trade.rows("SELECT count(*) FROM ticket") == [(0,)]


@pytest.mark.slow
async def test_pausing_the_lanes_stops_sending_too(trade: Trade) -> None:
    await trade.write("UPDATE lane SET is_paused = true")
    await trade.until(lambda: trade.served(EAST).is_paused and trade.served(WEST).is_paused)
    before = trade.host.world.journal.last_number
    await trade.move({"A": -1})
    await asyncio.sleep(1.5)
    assert trade.pushes(after=before) == 0
    await trade.write("UPDATE lane SET is_paused = false")
    await trade.come_to_rest()


# — credentials —


@pytest.mark.slow
async def test_wrong_credentials_ask_to_reconnect_and_are_not_tried_on_and_on(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    async with trading(
        database_url, tmp_path, markets=markets, credentials={WEST: {"app_secret": "wrong"}}
    ) as trade:
        states = f"SELECT name, state FROM account WHERE name = '{WEST}'"  # noqa: S608
        await trade.until(lambda: trade.rows(states) == [(WEST, "reconnect")])
        asked = requests_of(trade, WEST)
        await trade.move({"A": -1})
        await trade.until(lambda: trade.shelf(EAST, "A").quantity == 9)  # the other goes on
        await asyncio.sleep(1.5)
        assert requests_of(trade, WEST) - asked <= 2


@pytest.mark.slow
async def test_new_credentials_are_taken_up_without_a_restart(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    async with trading(
        database_url, tmp_path, markets=markets, credentials={WEST: {"app_secret": "wrong"}}
    ) as trade:
        state = "SELECT count(*)::int FROM account WHERE state = 'reconnect'"
        await trade.until(lambda: trade.number(state) == 1)
        line = next(line for line in trade.host.accounts if line.marketplace == WEST)
        await reseal(trade, WEST, line.credentials)
        await trade.set_state("armed", WEST)
        await trade.move({"A": -1})
        await trade.until(lambda: trade.shelf(WEST, "A").quantity == 9)
        assert trade.number(state) == 0


async def reseal(trade: Trade, name: str, credentials: Mapping[str, str]) -> None:
    """As the owner does who gives new credentials."""
    import msgspec  # noqa: PLC0415

    merchant = trade.shop.merchant_id
    number = await trade.hub.keys.current(merchant)
    document = msgspec.json.encode(dict(credentials))
    sealed = trade.hub.keys.vault.seal(merchant, number, "account.credentials", document)
    await trade.write(
        "UPDATE account_credential SET sealed = %s, key_number = %s WHERE account_id = %s",
        sealed,
        number,
        trade.accounts[name],
    )


def requests_of(trade: Trade, name: str) -> int:
    facade = trade.host.facades[name]
    counted = facade.statistics()["requests"]  # type: ignore[attr-defined]
    assert isinstance(counted, int)
    return counted


# — a channel in trouble —


@pytest.mark.slow
async def test_a_channel_that_does_not_answer_is_held_back_and_comes_back(trade: Trade) -> None:
    rates = trade.host.world.faults.rates
    trade.host.world.faults.is_enabled = True
    rates[Fault.RESET] = 1.0
    await trade.move({"A": -1})
    await asyncio.sleep(3.0)
    # Without a breaker and a backoff these were hundreds: pushes, polls and pulls all fail.
    assert trade.host.world.faults.injected[Fault.RESET.value] < 60
    rates[Fault.RESET] = 0.0
    await trade.come_to_rest()
    assert trade.net_found() == 0


@pytest.mark.slow
async def test_one_channel_in_trouble_does_not_slow_the_other(trade: Trade) -> None:
    trade.force(Fault.TIMEOUT_AFTER_APPLYING, 1_000, EAST)
    await trade.move({"A": -1, "B": -2})
    took_s = await trade.until(lambda: trade.shelf(WEST, "A").quantity == 9)
    assert took_s < 2.0
    trade.host.world.faults.is_enabled = False
    await trade.come_to_rest()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.BATCH_STUCK, Fault.BATCH_EXPIRED])
async def test_a_ticket_that_never_tells_is_looked_after(trade: Trade, fault: Fault) -> None:
    """Its items are unknown: they are looked at, and the shelf comes to show what we want."""
    trade.force(fault, 2)
    await trade.move({"A": -1, "B": 3})
    await trade.until(lambda: trade.number("SELECT count(*)::int FROM ticket") > 0)
    await trade.come_to_rest()
    outcomes = trade.rows("SELECT DISTINCT outcome FROM ticket")
    assert ("unknown",) in outcomes
    assert trade.net_found() == 0


@pytest.mark.slow
async def test_a_ticket_outlives_a_lease_that_was_renewed_late(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    """The database was away a little too long; nobody else took the account."""
    slow = {WEST: {"task_delay_ms_min": "700", "task_delay_ms_max": "800"}}
    async with trading(database_url, tmp_path, markets=markets, facade=slow) as trade:
        await trade.move({"A": -1})
        await trade.until(lambda: trade.rows("SELECT 1 FROM ticket WHERE state = 2") == [(1,)])
        served = trade.served(WEST)
        served.lease = Lease(served.lease.epoch, 0.0)  # renewed within two seconds
        await trade.come_to_rest()


async def test_a_ticket_outlives_a_defect_of_its_connector(trade: Trade) -> None:
    channel = trade.channel(WEST)
    genuine, failures = channel.poll_ticket, [1, 1]

    async def poll_ticket(reference: str, call: object) -> object:
        if failures:
            failures.pop()
            raise RuntimeError("a defect")
        return await genuine(reference, call)  # type: ignore[arg-type]

    channel.poll_ticket = poll_ticket  # type: ignore[assignment,method-assign]
    await trade.move({"A": -1})
    await trade.come_to_rest()
    assert failures == []


# — a long run —


@pytest.mark.slow
async def test_a_run_with_every_fault_ends_with_equal_shelves_and_an_idle_safety_net(
    database_url: str, tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    rates = dict.fromkeys(
        (
            Fault.THROTTLED,
            Fault.SERVER_ERROR,
            Fault.RESET,
            Fault.TIMEOUT_AFTER_APPLYING,
            Fault.BATCH_ITEM_FAILED,
            Fault.BATCH_STUCK,
            Fault.BATCH_EXPIRED,
        ),
        0.04,
    )
    skus = [f"S{number}" for number in range(8)]
    draw = random.Random(20261120)  # noqa: S311 – a simulation, no secret
    async with trading(
        database_url,
        tmp_path,
        markets=markets,
        skus=skus,
        quantity=30,
        rates=rates,
        facade={WEST: {"stuck_s": "2"}},
    ) as trade:
        await trade.write("UPDATE lane SET interval_s = 2")
        orders = []
        number = 0
        while number < 60 or (trade.host.world.faults.injected.total() <= 10 and number < 600):
            number += 1
            name, sku = draw.choice((EAST, WEST)), draw.choice(skus)
            if trade.shelf(name, sku).quantity > 1:
                orders.append(trade.buy(name, {sku: draw.randint(1, 2)}))
            if number % 7 == 0:
                await trade.move({draw.choice(skus): draw.randint(-1, 4)})
            if number % 9 == 0 and orders:
                parcel = orders.pop(draw.randrange(len(orders))).parcels[0]
                trade.host.world.cancel_units(parcel, dict(parcel.units), by_seller=False)
            await asyncio.sleep(draw.uniform(0.02, 0.12))
        trade.host.world.faults.is_enabled = False
        await trade.until(trade.is_at_rest, within_s=60)
        # A price or quantity that the channel refused by lot waits for new input, as it should.
        refused = trade.number("SELECT count(*)::int FROM offer_refusal")
        assert len(trade.differing()) <= refused
        assert trade.host.world.faults.injected.total() > 10
        assert trade.net_found() == 0
        assert trade.number("SELECT sum(runs)::int FROM lane WHERE name = 'stock'") > 2
        for name in (EAST, WEST):
            report = await trade.hub.engine.audit.sweep(trade.served(name), repair=False)
            assert len(report.drift) <= refused  # type: ignore[union-attr]


# — processes come and go —


@asynccontextmanager
async def worker(database_url: str, home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real worker process on the same database and keys."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "MESCHAIN_HOME": str(home),
        "MESCHAIN_LOOPBACK_ONLY": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meschain", "worker", env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


async def are_up(trade: Trade, workers: int) -> None:
    """So many processes hear of changes; on a busy machine one takes its time to start.

    Nor before the server has ended the transaction in which another may have been stopped.
    """
    listening = (
        "SELECT count(*)::int FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
    )
    await trade.until(lambda: trade.number(listening) == workers, within_s=100)


def owners(trade: Trade) -> set[object]:
    return {row[0] for row in trade.rows("SELECT DISTINCT owner FROM ownership")}


@pytest.mark.slow
async def test_a_killed_workers_accounts_are_taken_over_within_ten_seconds(
    database_url: str, tmp_path: Path
) -> None:
    async with trading(database_url, tmp_path, is_started=False) as trade:
        async with worker(database_url, tmp_path) as first:
            await trade.until(lambda: None not in owners(trade))
            await trade.move({"A": -1})
            await trade.until(lambda: trade.shelf(WEST, "A").quantity == 9)
            async with worker(database_url, tmp_path):
                await are_up(trade, 2)
                first.kill()
                gone = {owner for owner in owners(trade) if f":{first.pid}:" in str(owner)}
                killed_s = time.monotonic()
                await trade.move({"B": -1})
                await trade.until(
                    lambda: (
                        trade.shelf(WEST, "B").quantity == 9
                        and trade.shelf(EAST, "B").quantity == 9
                    )
                )
                assert time.monotonic() - killed_s < 10.5
                assert owners(trade).isdisjoint(gone)
                assert gone
        assert trade.net_found() == 0


@pytest.mark.slow
async def test_a_graceful_stop_writes_down_what_the_quotas_have_seen(trade: Trade) -> None:
    """Or else the next owner takes every quota for full, and the first sales wait for it."""
    await trade.hub.engine.stop()
    pacers = trade.rows("SELECT (pacer ->> 'final')::boolean, owner FROM ownership")
    assert pacers == [(True, None), (True, None)]


# Requests under an older lease, made after the one that followed it began.
ZOMBIES = (
    "SELECT count(*)::int FROM ticket t WHERE t.released_us > (SELECT min(n.claimed_us)"
    " FROM ticket n WHERE n.merchant_id = t.merchant_id AND n.account_id = t.account_id"
    " AND n.epoch > t.epoch)"
)


@pytest.mark.slow
async def test_a_worker_that_wakes_up_after_its_lease_sends_nothing_more(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        trading(database_url, tmp_path, is_started=False) as trade,
        worker(database_url, tmp_path) as zombie,
    ):
        await trade.until(lambda: None not in owners(trade))
        first = owners(trade)
        # Without a renewal its successor would have to assume that every quota is used up.
        renewed = "SELECT count(*)::int FROM ownership WHERE pacer IS NOT NULL"
        await trade.until(lambda: trade.number(renewed) == 2)
        zombie.send_signal(signal.SIGSTOP)
        async with worker(database_url, tmp_path):
            await are_up(trade, 2)
            await trade.until(lambda: owners(trade).isdisjoint(first), within_s=12)
            zombie.send_signal(signal.SIGCONT)
            for units in range(1, 6):
                await trade.move({"A": -1})
                await trade.until(
                    lambda units=units: trade.shelf(WEST, "A").quantity == 10 - units  # type: ignore[misc]
                )
            # It lives, so it may serve again by now; but under no lease that another one followed.
            assert trade.number(ZOMBIES) == 0


@pytest.mark.slow
async def test_postgresql_killed_under_load_loses_nothing(
    tmp_path: Path, markets: Mapping[str, Marketplace]
) -> None:
    skus = [f"S{number}" for number in range(6)]
    draw = random.Random(7)  # noqa: S311 – a simulation, no secret
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    try:
        url = postgres.start()
        migrate(url)
        async with trading(url, tmp_path, markets=markets, skus=skus, quantity=200) as trade:
            for round_number in range(3):
                for _ in range(15):
                    name = draw.choice((EAST, WEST))
                    trade.buy(name, {draw.choice(skus): 1})
                    await asyncio.sleep(0.02)
                mine = trade.number("SELECT pg_backend_pid()")
                others = trade.rows(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> %s ORDER BY pid",
                    mine,
                )
                one_of_them = int(str(draw.choice(others)[0]))
                postmaster = psutil.Process(mine).ppid()
                checkpointer = trade.number(CHECKPOINTER)
                os.kill(one_of_them if round_number == 1 else postmaster, signal.SIGKILL)
                for _ in range(5):
                    trade.buy(draw.choice((EAST, WEST)), {draw.choice(skus): 1})
                trade.shop.connection.close()
                trade.shop.connection = await reconnected(url, checkpointer)
            await trade.come_to_rest(within_s=60)
            assert trade.number("SELECT count(*)::int FROM orders") == 60
            assert trade.net_found() == 0
            trade.shop.connection.close()
    finally:
        postgres.remove()


CHECKPOINTER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"


async def reconnected(url: str, checkpointer: int) -> psycopg.Connection[tuple[object, ...]]:
    """A connection to a server that has come back: a killed backend ends all, a little later."""
    for _ in range(400):
        try:
            connection = psycopg.connect(url, autocommit=True)
            ((pid,),) = connection.execute(CHECKPOINTER).fetchall() or ((checkpointer,),)
        except psycopg.OperationalError:
            await asyncio.sleep(0.05)
            continue
        if pid != checkpointer:
            return connection
        connection.close()
        await asyncio.sleep(0.05)
    raise AssertionError("the server did not come back")
