"""How fast prices change in mass, and what a sale beside it notices."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Final

import psycopg

from bench.environment import CpuMeter, percentile
from bench.order import Orders
from bench.program import Aim, Findings, Row, run, say
from bench.shop import (
    CHUNK,
    acknowledge_all,
    list_on,
    local_accounts,
    open_shop,
    raise_prices,
    settle_down,
)
from meschain.channel.clock import SystemClock
from meschain.store.keys import DataKeys
from meschain.store.unit_of_work import Database
from meschain.store.vault import Vault
from meschain.sync.intake import Intake

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine

    from bench.database import Server
    from bench.shop import Shop

QUESTION: Final = "How fast do prices change in mass, and what does a sale beside it notice?"
CLOCK: Final = SystemClock()


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prices", type=int, default=300_000)
    parser.add_argument("--accounts", type=int, default=5)
    parser.add_argument("--sales-per-s", type=float, default=50.0)
    parser.add_argument("--quiet-s", type=float, default=15.0, help="of sales alone, before")
    parser.add_argument("--repeat", type=int, default=3)


async def measure(options: argparse.Namespace, server: Server) -> Findings:
    findings = Findings()
    with server.database() as url:
        skus = options.prices // options.accounts
        say(f"{skus} SKUs on {options.accounts} accounts")
        now = CLOCK.now()
        shop = open_shop(url, skus=skus, on_hand=1_000_000, now=now)
        account_ids = local_accounts(url, shop, options.accounts, now=now)
        list_on(url, shop, account_ids, now=now)
        acknowledge_all(url, shop, now=now)
        settle_down(url)
        database = Database(url)
        keys = DataKeys(database, Vault.at(server.folder / "master.key"), CLOCK)
        await database.open()
        try:
            sales = Sales(database, keys, shop, account_ids, options.sales_per_s)
            await sales.during(asyncio.sleep(min(5.0, options.quiet_s)))  # the planner warms up
            settle_down(url)
            parts = {"postgresql": server.pid, "hub": os.getpid()}
            with CpuMeter(parts) as cpu:
                await sales.during(asyncio.sleep(options.quiet_s))
            findings.rows.append({"prices_changed": 0} | sales.row() | _cores(cpu))
            rounds: list[Row] = []
            for _ in range(options.repeat):
                # The connection outlives the meter: what an ended process used is not seen.
                with psycopg.connect(url, autocommit=True) as connection, CpuMeter(parts) as cpu:
                    took_s = await sales.during(
                        asyncio.to_thread(change, connection, shop, options.accounts)
                    )
                row: Row = {
                    "prices_changed": skus * options.accounts,
                    "took_s": round(took_s, 2),
                    "rows_per_s": round(skus * options.accounts / took_s),
                }
                rounds.append(row | sales.row() | _cores(cpu))
                say(str(rounds[-1]))
            findings.rows += rounds
        finally:
            await database.close()
    middle = sorted(rounds, key=lambda row: float(row["rows_per_s"] or 0))[len(rounds) // 2]
    findings.figures = {name: middle[name] for name in ("rows_per_s", "sale_ms_p99")}
    p99_ms = float(middle["sale_ms_p99"] or 0)
    findings.aims.append(Aim("sale_ms_p99", 100.0, p99_ms, at_least=False))
    return findings


def _cores(cpu: CpuMeter) -> Row:
    return {f"{part}_cores": used for part, used in cpu.cores.items()}


def change(connection: psycopg.Connection[tuple[object, ...]], shop: Shop, accounts: int) -> None:
    """Every price by one kuruş, as an import does it: at most 5,000 offers a transaction."""
    raise_prices(connection, shop, chunk=max(1, CHUNK // accounts), now=CLOCK.now())


@dataclass(slots=True)
class Sales:
    """Orders that arrive at an even pace and are taken in as they come."""

    database: Database
    keys: DataKeys
    shop: Shop
    account_ids: list[int]
    per_s: float
    taken_ms: list[float] = field(default_factory=list)
    orders: Orders = field(init=False)
    took_s: float = 0.0

    def __post_init__(self) -> None:
        self.orders = Orders(self.shop)

    async def during(self, work: Coroutine[object, object, None]) -> float:
        """Sell until ``work`` is done; returns how long that took."""
        self.taken_ms = []
        began_s = time.perf_counter()
        task = asyncio.create_task(work)
        turn = cycle(
            Intake(
                self.database,
                self.keys,
                merchant_id=self.shop.merchant_id,
                account_id=account_id,
                name="bench",
            )
            for account_id in self.account_ids
        )
        place = 0
        async with asyncio.TaskGroup() as group:
            while not task.done():
                due_s = began_s + place / self.per_s
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                group.create_task(self._sell(next(turn), due_s))
                place += 1
            await task
            self.took_s = time.perf_counter() - began_s
        return self.took_s

    async def _sell(self, intake: Intake, due_s: float) -> None:
        """Timed from when it was due: a queue before the database is part of the wait."""
        now = CLOCK.now()
        await intake.take(self.orders.following(now), detected_by="webhook", now=now)
        self.taken_ms.append((time.perf_counter() - due_s) * 1000)

    def row(self) -> Row:
        return {
            "sales_per_s": round(len(self.taken_ms) / self.took_s, 1),
            "sale_ms_p50": round(percentile(self.taken_ms, 50), 1),
            "sale_ms_p99": round(percentile(self.taken_ms, 99), 1),
        }


if __name__ == "__main__":
    run("mass_change", QUESTION, add_options, measure)
