"""How many orders a second are taken in, and how long one takes."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import cycle
from typing import TYPE_CHECKING, Final

from bench.environment import CpuMeter, percentile
from bench.order import LINES, Orders
from bench.program import Aim, Findings, Row, run, say
from bench.shop import acknowledge_all, list_on, local_accounts, open_shop, settle_down
from meschain.channel.clock import SystemClock
from meschain.store.keys import DataKeys
from meschain.store.unit_of_work import Database
from meschain.store.vault import Vault
from meschain.sync.intake import Intake

if TYPE_CHECKING:
    import argparse

    from bench.database import Server
    from bench.shop import Shop

CLOCK: Final = SystemClock()
QUESTION: Final = "How many orders a second are taken in, and how long does one take?"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skus", type=int, default=6_000)
    parser.add_argument(
        "--listings", type=int, nargs="+", default=[15, 90], help="an order touches"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="a measurement")
    parser.add_argument("--repeat", type=int, default=3)


async def measure(options: argparse.Namespace, server: Server) -> Findings:
    findings = Findings()
    for listings in options.listings:
        with server.database() as url:
            accounts = -(-listings // LINES)
            say(f"{options.skus} SKUs on {accounts} accounts")
            now = CLOCK.now()
            shop = open_shop(url, skus=options.skus, on_hand=1_000_000, now=now)
            account_ids = local_accounts(url, shop, accounts, now=now)
            list_on(url, shop, account_ids, now=now)
            acknowledge_all(url, shop, now=now)
            settle_down(url)
            database = Database(url)
            keys = DataKeys(database, Vault.at(server.folder / "master.key"), CLOCK)
            await database.open()
            try:
                runner = _Runner(database, keys, shop, account_ids, server.pid)
                # A shop that has traded before: the planner knows what the order tables hold.
                await runner.measure(max(options.clients), min(3.0, options.seconds))
                settle_down(url)
                await runner.measure(max(options.clients), min(1.0, options.seconds))
                for clients in options.clients:
                    rounds = [
                        await runner.measure(clients, options.seconds)
                        for _ in range(options.repeat)
                    ]
                    row = sorted(rounds, key=_rate)[len(rounds) // 2]
                    row = {"clients": clients, "listings": accounts * LINES} | row
                    row["spread_orders_per_s"] = " – ".join(
                        f"{_rate(each):.0f}"
                        for each in sorted(rounds, key=_rate)[:: len(rounds) - 1 or 1]
                    )
                    say(str(row))
                    findings.rows.append(row)
            finally:
                await database.close()
    _conclude(findings)
    return findings


def _rate(row: Row) -> float:
    return float(row["orders_per_s"] or 0)


def _conclude(findings: Findings) -> None:
    by_case = {(row["clients"], row["listings"]): row for row in findings.rows}
    main = by_case.get((8, 15))
    if main is not None:
        findings.aims += [
            Aim("orders_per_s", 1_000, _rate(main), at_least=True),
            Aim("order_ms_p99", 20, float(main["order_ms_p99"] or 0), at_least=False),
        ]
    one, other = by_case.get((1, 15)), by_case.get((1, 90))
    if one is not None and other is not None:
        findings.figures["further_listing_ms"] = round(
            (float(other["order_ms_p50"] or 0) - float(one["order_ms_p50"] or 0)) / 75, 4
        )


class _Runner:
    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        shop: Shop,
        account_ids: list[int],
        postgres_pid: int,
    ) -> None:
        self._intakes = [
            Intake(database, keys, merchant_id=shop.merchant_id, account_id=account, name="bench")
            for account in account_ids
        ]
        self._parts = {"hub": os.getpid(), "postgresql": postgres_pid}
        self._orders = Orders(shop)
        self._turn = cycle(self._intakes)

    async def measure(self, clients: int, seconds: float) -> Row:
        taken_ms: list[float] = []
        began_s = time.perf_counter()
        with CpuMeter(self._parts) as cpu:
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(self._client(began_s + seconds, taken_ms))
        took_s = time.perf_counter() - began_s
        orders = len(taken_ms)
        return {
            "orders_per_s": round(orders / took_s, 1),
            "order_ms_p50": round(percentile(taken_ms, 50), 2),
            "order_ms_p99": round(percentile(taken_ms, 99), 2),
            "hub_cpu_ms": round(cpu.cores["hub"] * took_s * 1000 / orders, 3),
            "postgresql_cpu_ms": round(cpu.cores["postgresql"] * took_s * 1000 / orders, 3),
            "others_cores": cpu.cores["others"],
        }

    async def _client(self, until_s: float, taken_ms: list[float]) -> None:
        while time.perf_counter() < until_s:
            intake = next(self._turn)
            order = self._orders.following(CLOCK.now())
            began_s = time.perf_counter()
            taken = await intake.take(order, detected_by="webhook", now=CLOCK.now())
            taken_ms.append((time.perf_counter() - began_s) * 1000)
            assert taken is not None
            assert taken.outcome == "new"


if __name__ == "__main__":
    run("order_intake", QUESTION, add_options, measure)
