"""Workers share accounts and budgets: they come, are killed and are stopped, and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from aiohttp import web

from meschain.bootstrap import Hub, HubSettings
from meschain.channel.contract import Call
from meschain.channel.http import HttpReply, HttpRequest
from meschain.channel.transport import HttpTransport
from meschain.sync import engine, ownership
from meschain.sync.lane import PUSH
from meschain.telemetry import log_files
from meschain.testing.checker import CheckedShop, check
from meschain.testing.trade import trading
from tests.simulated.mall import (
    LOAD_S,
    MOVE_S,
    Mall,
    number,
    opened,
    pid_of,
    until,
)
from tests.simulated.spender import LIMITS, WINDOW_S
from tests.simulated.test_engine import EAST, WEST, ZOMBIES, worker

pytestmark = pytest.mark.slow

MERCHANTS = 12
GAP_S = 1.0  # an account that is handed over has an owner again within it
MOVED = "SELECT sum(epoch - 1)::int FROM ownership"
UNKNOWN = "SELECT count(*)::int FROM ticket WHERE outcome = 'unknown'"


# — accounts —


class Gaps:
    """How long accounts had no owner, at most, as a look each few milliseconds finds it."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._since_s: dict[int, float] = {}
        self.longest_s = 0.0

    async def watch(self) -> None:
        connecting = psycopg.AsyncConnection.connect(self._database_url, autocommit=True)
        async with await connecting as connection:
            while True:
                rows = await connection.execute(
                    "SELECT account_id FROM ownership WHERE owner IS NULL"
                )
                free = {int(account) for (account,) in await rows.fetchall()}
                now_s = time.monotonic()
                for account in self._since_s.keys() - free:
                    self.longest_s = max(self.longest_s, now_s - self._since_s.pop(account))
                for account in free - self._since_s.keys():
                    self._since_s[account] = now_s
                await asyncio.sleep(0.005)


@asynccontextmanager
async def beside(work: asyncio.Task[None]) -> AsyncIterator[None]:
    """While inside, the work goes on; what went wrong with it is told at the end."""
    try:
        yield
    finally:
        if not work.done():
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def sell(mall: Mall, sold: dict[tuple[int, str], int]) -> None:
    """A sale somewhere, again and again, each merchant and marketplace in turn."""
    for turn in range(10_000):
        place = turn % MERCHANTS
        sku = Mall.SKUS[turn // MERCHANTS % 2]
        mall.buy(place, (EAST, WEST)[turn // 3 % 2], sku)
        sold[place, sku] = sold.get((place, sku), 0) + 1
        await asyncio.sleep(0.1)


def is_even(mall: Mall, workers: int) -> bool:
    """Whether so many workers serve all accounts, none a fifth more or less than its part."""
    owners = mall.owners()
    mean = len(mall.markets) / workers
    return (
        "" not in owners
        and len(owners) == workers
        and all(abs(count - mean) <= mean / 5 for count in owners.values())
    )


def lapses(home: Path) -> int:
    """Accounts that a worker lost because it got no time of the machine for eight seconds."""
    logs = "".join(each.path.read_text("utf-8") for each in log_files(home / "logs"))
    return logs.count("account is no longer served here")


async def test_workers_share_accounts_evenly_while_they_come_and_are_killed_and_stopped(
    database_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        mall = await stack.enter_async_context(opened(database_url, tmp_path, MERCHANTS))
        workers = [await stack.enter_async_context(worker(database_url, tmp_path))]
        load_s = max(LOAD_S, await until(lambda: is_even(mall, 1)))
        sold: dict[tuple[int, str], int] = {}
        gaps = Gaps(database_url)
        selling = asyncio.create_task(sell(mall, sold))
        watching = asyncio.create_task(gaps.watch())
        async with beside(selling), beside(watching):
            # Two more come: they are handed their part while the first goes on.
            workers += [
                await stack.enter_async_context(worker(database_url, tmp_path)) for _ in range(2)
            ]
            await until(lambda: is_even(mall, 3))
            await asyncio.sleep(3 * engine.SHARE_S)  # nothing moves any more
            # 16 must move, or 20 where the third came when the first two had shared.
            assert 16 <= number(mall.connection, MOVED) <= 20 + lapses(tmp_path)
            assert gaps.longest_s < GAP_S + load_s
            unanswered = number(mall.connection, UNKNOWN)
            assert unanswered == 0 or lapses(tmp_path), "no push was left unanswered"

            killed = next(each for each in mall.owners() if pid_of(each) == workers[1].pid)
            workers[1].kill()
            moved_s = await until(lambda: killed not in mall.owners() and is_even(mall, 2))
            assert moved_s < MOVE_S + load_s

            await stack.enter_async_context(worker(database_url, tmp_path))
            await until(lambda: is_even(mall, 3))

            unknown = number(mall.connection, UNKNOWN)
            gaps.longest_s = 0.0
            workers[2].send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(workers[2].wait(), 60) == 0
            await until(lambda: is_even(mall, 2))
            assert gaps.longest_s < GAP_S + load_s
            assert number(mall.connection, UNKNOWN) == unknown or lapses(tmp_path), "in good order"
            assert number(mall.connection, "SELECT count(*)::int FROM worker") == 3
        await until(mall.is_at_rest)
        for (place, sku), units in sold.items():
            shown = {mall.shelf(place, name, sku).quantity for name in (EAST, WEST)}
            assert shown == {Mall.UNITS - units}, (place, sku)
        for place, shop in enumerate(mall.shops):
            shops = [
                CheckedShop(account, name, mall.markets[place, name].seller_id)
                for name, account in shop.accounts.items()
            ]
            verdict = await check(mall.host.control_url, database_url, shop.merchant_id, shops)
            assert verdict.problems == []
        assert number(mall.connection, ZOMBIES) == 0


async def test_an_account_is_handed_over_only_when_its_pushes_are_answered(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the tickets that the marketplace has accepted: the next owner polls them on."""
    monkeypatch.setattr(ownership, "SETTLED_S", 0.0)
    monkeypatch.setattr(engine, "BUSY_S", 3.0)
    answered = asyncio.Event()
    send = HttpTransport.send

    async def held(self: HttpTransport, request: HttpRequest, call: Call) -> HttpReply:
        reply = await send(self, request, call)
        if request.operation == PUSH:
            await answered.wait()
        return reply

    monkeypatch.setattr(HttpTransport, "send", held)
    late = {
        EAST: {"apply_ms_min": "6000", "apply_ms_max": "6000"},
        WEST: {"task_delay_ms_min": "6000", "task_delay_ms_max": "6000"},
    }
    async with AsyncExitStack() as stack:
        trade = await stack.enter_async_context(trading(database_url, tmp_path, facade=late))
        await trade.move({"A": -1})
        await trade.until(lambda: all(each.sending == 1 for each in trade.hub.engine.accounts))
        settings = HubSettings(database_url, tmp_path / "master.key", loopback_only=True)
        other = await stack.enter_async_context(Hub.opened(settings))
        await other.engine.start()
        stack.push_async_callback(other.engine.stop)
        tried: set[int] = set()

        def is_tried() -> bool:
            tried.update(each.account_id for each in trade.hub.engine.accounts if each.is_leaving)
            return len(tried) == 2

        await trade.until(is_tried)
        await trade.until(lambda: not any(each.is_leaving for each in trade.hub.engine.accounts))
        assert len(trade.hub.engine.accounts) == 2
        answered.set()
        await trade.until(lambda: len(other.engine.accounts) == 1)
        assert len(trade.hub.engine.accounts) == 1
        assert other.engine.tickets.open == 1
        await trade.come_to_rest()
        assert trade.number(UNKNOWN) == 0
        assert (trade.pushes(EAST), trade.pushes(WEST)) == (1, 1)
        await trade.move({"B": -2})  # and both go on
        await trade.come_to_rest()
        assert trade.net_found() == 0


# — budgets —


class Counter:
    """A marketplace that counts."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    async def count(self, request: web.Request) -> web.Response:
        self.seen.setdefault(request.path, []).append(time.monotonic())
        return web.Response()

    def at(self, operation: str) -> list[float]:
        paths = [path for path in self.seen if path.startswith(f"/{operation}/")]
        return sorted(at for path in paths for at in self.seen[path])

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_get("/{operation}/{merchant}", self.count)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ((host, port),) = runner.addresses
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


def most_in_a_window(times: list[float]) -> int:
    return max(sum(at - WINDOW_S < other <= at for other in times) for at in times)


async def test_processes_behind_one_address_never_exceed_its_quota_nor_a_merchants(
    database_url: str, tmp_path: Path
) -> None:
    """Three processes with an account of each of two merchants; one is killed in the middle."""
    counter = Counter()
    calls = 8
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    async with counter.served() as server:
        spending = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.simulated.spender", database_url, str(tmp_path / "master.key")),
                *(server, str(calls), "1", "2"),
                env=environment,
            )
            for _ in range(3)
        ]
        try:
            await until(lambda: len(counter.at("catalog")) > LIMITS["catalog"])
            spending[0].kill()
            ended = await asyncio.wait_for(
                asyncio.gather(*(process.wait() for process in spending[1:])), 150
            )
            assert ended == [0, 0]
        finally:
            for process in spending:
                if process.returncode is None:
                    process.kill()
                await process.wait()
    assert 2 * 2 * calls <= len(counter.at("catalog")) < 3 * 2 * calls
    assert most_in_a_window(counter.at("catalog")) <= LIMITS["catalog"]
    for merchant in (1, 2):
        assert most_in_a_window(counter.seen[f"/upload/{merchant}"]) <= LIMITS["upload"]
    # Merchants do not wait for one another.
    assert most_in_a_window(counter.at("upload")) > LIMITS["upload"]
