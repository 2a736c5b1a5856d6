"""What many merchants cost in one hub, and what a mass change of one costs the others."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from bench.environment import CpuMeter, percentile
from bench.hub import arm, connect, fill, hub
from bench.order import LINES, Orders
from bench.program import Aim, Findings, Row, run, say
from bench.sandbox import Sandbox, Wanted, sandbox
from bench.shop import CHUNK, acknowledge_all, open_shop, raise_prices, settle_down
from meschain.channel.clock import SystemClock, microseconds
from meschain.sync.engine import EngineSettings
from meschain.sync.intake import Intake

if TYPE_CHECKING:
    import argparse

    from bench.database import Server
    from bench.shop import Shop
    from meschain.bootstrap import Hub

QUESTION: Final = "What do many merchants cost, and what does one's mass change cost the others?"
CLOCK: Final = SystemClock()
ON_HAND: Final = 10_000
EACH: Final = 2  # accounts of a merchant on each marketplace
MARKETPLACES: Final = ("trendyol", "n11")
SETTINGS: Final = {"n11": {"order_status_query": "omitted"}}
FACADES: Final = {"n11": {"status_omitted": "all"}}
_SERVED_S_MAX: Final = 120.0
_US_A_MS: Final = 1000
_AFTER_S: Final = 5.0  # for what was sold last


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--merchants", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--skus", type=int, default=50, help="of each merchant but the large one")
    parser.add_argument("--large-skus", type=int, default=25_000, help="of the one that reprices")
    parser.add_argument("--sales-per-s", type=float, default=10.0, help="of the other merchants")
    parser.add_argument("--seconds", type=float, default=30.0, help="a measurement")


async def measure(options: argparse.Namespace, server: Server) -> Findings:
    findings = Findings()
    for merchants in options.merchants:
        with server.database() as url:
            accounts = dict.fromkeys(MARKETPLACES, merchants * EACH)
            async with sandbox(Wanted(accounts=accounts, settings=FACADES)) as served:
                say(f"{merchants} merchants with {len(served.accounts)} accounts")
                bench = await _Bench.prepared(url, server, served, merchants, options)
                row = await bench.measure()
        say(str(row))
        findings.rows.append(row)
        findings.aims.append(
            Aim(
                f"added_ms_p99_of_{merchants}_merchants",
                100.0,
                float(row["added_ms_p99"] or 0),
                at_least=False,
            )
        )
    return findings


@dataclass(frozen=True, slots=True)
class _Sold:
    merchant_id: int
    account_id: int
    sku: str
    at_us: int


@dataclass(slots=True)
class _Taken:
    """Milliseconds of each offer: ours, and those of the sandbox, whose one process serves all."""

    to_wire_ms: list[float] = field(default_factory=list)  # less what the pacer held back
    accept_ms: list[float] = field(default_factory=list)


class _Bench:
    """The first merchant is the large one."""

    def __init__(
        self,
        url: str,
        server: Server,
        served: Sandbox,
        options: argparse.Namespace,
        shops: list[tuple[Shop, list[int]]],
    ) -> None:
        self._url = url
        self._server = server
        self._served = served
        self._options = options
        self._shops = shops
        self._orders = {shop.merchant_id: Orders(shop) for shop, _ in shops}
        self._draw = random.Random(1)  # noqa: S311 – a seed, no secret

    @classmethod
    async def prepared(
        cls,
        url: str,
        server: Server,
        served: Sandbox,
        merchants: int,
        options: argparse.Namespace,
    ) -> _Bench:
        by_marketplace = {
            name: [line for line in served.accounts if line.marketplace == name]
            for name in MARKETPLACES
        }
        shops: list[tuple[Shop, list[int]]] = []
        now = CLOCK.now()
        async with hub(url, server, EngineSettings()) as opened:
            for number in range(merchants):
                skus = options.skus if number else options.large_skus
                shop = open_shop(
                    url, skus=skus, on_hand=ON_HAND, now=now, name=f"merchant {number}"
                )
                part = [
                    line
                    for name in MARKETPLACES
                    for line in by_marketplace[name][number * EACH : (number + 1) * EACH]
                ]
                own = Sandbox(part, served.pid, served.session)
                accounts = list(await connect(opened, url, shop, own, settings=SETTINGS))
                await arm(opened, shop, accounts)
                acknowledge_all(url, shop, now=now)
                await fill(url, shop, own, quantity=ON_HAND)
                shops.append((shop, accounts))
                if number % 25 == 0:
                    say(f"merchant {number + 1} of {merchants}")
        settle_down(url)
        return cls(url, server, served, options, shops)

    async def measure(self) -> Row:
        parts = {
            "sandbox": self._served.pid,
            "postgresql": self._server.pid,
            "hub": os.getpid(),
        }
        accounts = sum(len(accounts) for _, accounts in self._shops)
        async with hub(self._url, self._server, EngineSettings()) as opened:
            began_s = time.perf_counter()
            await opened.engine.start()
            async with asyncio.timeout(_SERVED_S_MAX):
                while len(opened.engine.accounts) < accounts:  # noqa: ASYNC110 – nobody tells
                    await asyncio.sleep(0.1)
            served_s = time.perf_counter() - began_s
            await asyncio.sleep(self._options.seconds / 3)
            with CpuMeter(parts) as rest:
                await asyncio.sleep(self._options.seconds)
            alone = await self._sell(opened)
            change = asyncio.create_task(asyncio.to_thread(self._reprice))
            with CpuMeter(parts) as busy:
                beside = await self._sell(opened)
            await change
            memory_mb = psutil.Process().memory_info().rss / 1e6
            await opened.engine.stop()
        with psycopg.connect(self._url) as connection:
            left = connection.execute("SELECT count(*) FROM offer_dirty").fetchone()
        row: Row = {
            "merchants": len(self._shops),
            "accounts": accounts,
            "served_after_s": round(served_s, 1),
            "hub_mb": round(memory_mb),
        }
        row |= {f"rest_{part}_cores": used for part, used in rest.cores.items()}
        row |= {f"busy_{part}_cores": used for part, used in busy.cores.items()}
        for name, taken in (("alone", alone), ("beside", beside)):
            row[f"{name}_offers"] = len(taken.to_wire_ms)
            for stage, stage_ms in (("to_wire", taken.to_wire_ms), ("accept", taken.accept_ms)):
                row[f"{name}_{stage}_ms_p50"] = round(percentile(stage_ms, 50), 1)
                row[f"{name}_{stage}_ms_p99"] = round(percentile(stage_ms, 99), 1)
        row["added_ms_p99"] = round(
            percentile(beside.to_wire_ms, 99) - percentile(alone.to_wire_ms, 99), 1
        )
        row["dirty_at_the_end"] = int(left[0]) if left else None
        return row

    def _reprice(self) -> None:
        """All prices of the large merchant: a dirty row for each of its listings."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            raise_prices(connection, self._shops[0][0], chunk=CHUNK, now=CLOCK.now())

    async def _sell(self, opened: Hub) -> _Taken:
        """Orders of the other merchants, and what the offers that followed took."""
        sold: list[_Sold] = []
        count = int(self._options.sales_per_s * self._options.seconds)
        began_s = time.perf_counter()
        since_us = microseconds(CLOCK.now())
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(
                    max(0.0, began_s + number / self._options.sales_per_s - time.perf_counter())
                )
                shop, accounts = self._draw.choice(self._shops[1:])
                account = self._draw.choice(accounts)
                group.create_task(self._sale(opened, shop, account, sold))
        await asyncio.sleep(_AFTER_S)
        return self._taken(sold, since_us)

    async def _sale(self, opened: Hub, shop: Shop, account: int, sold: list[_Sold]) -> None:
        now = CLOCK.now()
        intake = Intake(
            opened.database, opened.keys, merchant_id=shop.merchant_id, account_id=account, name=""
        )
        order = self._orders[shop.merchant_id].following(now)
        await intake.take(order, detected_by="webhook", now=now)
        sold.extend(
            _Sold(shop.merchant_id, account, line.sku, microseconds(now))
            for line in order.packages[0].lines
        )
        assert len(order.packages[0].lines) == LINES

    def _taken(self, sold: list[_Sold], since_us: int) -> _Taken:
        requests: dict[tuple[int, str], dict[int, list[tuple[int, ...]]]]
        requests = defaultdict(lambda: defaultdict(list))
        with psycopg.connect(self._url) as connection:
            rows = connection.execute(
                "SELECT t.merchant_id, k.stock_code, t.account_id, t.claimed_us, t.handed_us,"
                " t.released_us, t.accepted_us FROM ticket t"
                " CROSS JOIN LATERAL unnest(t.listing_ids) AS x (listing_id)"
                " JOIN listing_key k ON k.merchant_id = t.merchant_id"
                " AND k.account_id = t.account_id AND k.listing_id = x.listing_id"
                " WHERE t.accepted_us IS NOT NULL AND t.released_us >= %s AND t.merchant_id <> %s"
                " ORDER BY t.released_us",
                (since_us, self._shops[0][0].merchant_id),
            )
            for merchant, sku, account, *times in rows:
                requests[int(merchant), str(sku)][int(account)].append(tuple(map(int, times)))
        taken = _Taken()
        for sale in sold:
            for account, sent in requests[sale.merchant_id, sale.sku].items():
                if account == sale.account_id:
                    continue  # it lowers its own shelf: what goes there follows another sale
                first = next((each for each in sent if each[2] >= sale.at_us), None)
                if first is None:
                    continue
                claimed_us, handed_us, released_us, accepted_us = first
                handed_us = max(handed_us, sale.at_us)
                paced_us = (
                    max(0, claimed_us - handed_us)
                    if handed_us < claimed_us
                    else released_us - handed_us
                )
                taken.to_wire_ms.append((released_us - sale.at_us - paced_us) / _US_A_MS)
                taken.accept_ms.append((accepted_us - released_us) / _US_A_MS)
        return taken


if __name__ == "__main__":
    run("many_merchants", QUESTION, add_options, measure)
