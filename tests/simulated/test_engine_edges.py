"""The engine at its edges: nothing that runs in the background ends unseen, or in disorder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from meschain.registry import Marketplace
from meschain.store import unit_of_work
from meschain.store.unit_of_work import Database
from meschain.sync import lane
from meschain.sync.account import ServedAccount
from meschain.sync.ownership import Claimed
from meschain.sync.sweep import Sweeps
from meschain.sync.ticket import TicketPolls
from meschain.testing.trade import Trade, trading
from tests.simulated.package_desk import EAST, WEST

pytestmark = pytest.mark.slow  # each test starts a whole market


async def test_stopping_breaks_no_connection_and_takes_no_three_seconds(
    database_url: str,
    tmp_path: Path,
    markets: Mapping[str, Marketplace],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Loops are inside a transaction when it comes."""

    async def run(self: Sweeps) -> None:
        while True:
            async with self._database.merchant(1) as unit:
                await unit.connection.execute("SELECT pg_sleep(0.05)")
                await unit.connection.execute("SELECT pg_sleep(5)")

    monkeypatch.setattr(Sweeps, "run", run)
    async with trading(database_url, tmp_path, markets=markets, is_started=False) as trade:
        await trade.hub.engine.start()
        await asyncio.sleep(0.3)
        began_s = time.monotonic()
        await trade.hub.engine.stop()
        assert time.monotonic() - began_s < 3.0
    said = [record.getMessage() for record in caplog.records if record.name.startswith("psycopg")]
    assert said == []


async def test_a_process_that_is_stopped_inside_a_transaction_does_not_keep_its_locks(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes its accounts over would wait for them for ever."""
    monkeypatch.setattr(unit_of_work, "IDLE_MS", dict.fromkeys(unit_of_work.IDLE_MS, 300))
    database = Database(database_url)
    await database.open()
    lock = "SELECT pg_advisory_xact_lock(77)"

    async def stopped() -> None:
        async with database.engine() as unit:
            await unit.connection.execute(lock)
            async with await psycopg.AsyncConnection.connect(database_url) as other:
                await other.execute("SET lock_timeout = '5s'")
                await other.execute(lock)
            await unit.connection.execute("SELECT 1")

    with pytest.raises(psycopg.Error) as ended:
        await stopped()
    assert ended.value.sqlstate == "25P03"
    await database.close()


@pytest.mark.parametrize("how", ["cancelled", "returned"])
async def test_a_loop_that_ends_by_itself_is_told_and_begun_again(
    database_url: str,
    tmp_path: Path,
    markets: Mapping[str, Marketplace],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    """As when what it waited for was cancelled by somebody else."""
    runs = 0

    async def run(_: Sweeps) -> None:
        nonlocal runs
        runs += 1
        if runs > 2:  # both accounts have had theirs
            await asyncio.sleep(3600)
        if how == "cancelled":
            raise asyncio.CancelledError

    monkeypatch.setattr(Sweeps, "run", run)
    async with trading(database_url, tmp_path, markets=markets) as trade:
        await trade.until(lambda: runs == 4)
    told = [record for record in caplog.records if record.message.startswith("engine loop")]
    assert len(told) == 2
    assert {record.levelno for record in told} == {logging.ERROR}


async def test_an_account_that_cannot_be_opened_does_not_keep_others_waiting(
    database_url: str,
    tmp_path: Path,
    markets: Mapping[str, Marketplace],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trading(database_url, tmp_path, markets=markets, is_started=False) as trade:
        first, second = sorted(trade.accounts.values())
        engine = trade.hub.engine

        async def opened(claimed: Claimed) -> ServedAccount | None:
            if claimed.account_id == first:
                raise ValueError("settings of another version")
            return await trade.hub.open_account(claimed)

        monkeypatch.setattr(engine, "_open_account", opened)
        await engine.start()
        assert [account.account_id for account in engine.accounts] == [second]
        assert "account cannot be served" in caplog.text
        await engine.stop()


@pytest.mark.parametrize("place", ["request", "ticket"])
async def test_an_answer_that_is_not_understood_holds_no_listing(
    trade: Trade, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """A defect of ours: said, and what came of the request is looked at."""
    owner, name = (lane, "judge_request") if place == "request" else (TicketPolls, "_judge")
    judge = getattr(owner, name)
    calls = 0

    def defective(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise AssertionError("not understood")
        return judge(*given)

    monkeypatch.setattr(owner, name, defective)
    await trade.move({"A": -1})
    await trade.come_to_rest()
    assert (trade.shelf(EAST, "A").quantity, trade.shelf(WEST, "A").quantity) == (9, 9)
    assert calls > 1
    assert "not understood" in caplog.text
