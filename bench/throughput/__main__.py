"""How many offers a second reach the shelves and are acknowledged."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

import psycopg

from bench.environment import CpuMeter
from bench.hub import arm, connect, fill, hub
from bench.program import Aim, Findings, Row, run, say
from bench.sandbox import Wanted, sandbox
from bench.shop import CHUNK, acknowledge_all, open_shop, raise_prices, settle_down
from meschain.channel.clock import SystemClock
from meschain.sync.engine import EngineSettings
from meschain.sync.lane import LaneSettings

if TYPE_CHECKING:
    import argparse

    from bench.database import Server
    from bench.sandbox import Sandbox
    from bench.shop import Shop
    from meschain.bootstrap import Hub
    from meschain.sandbox.facade import AccountLine

QUESTION: Final = "How many offers a second reach the shelves and are acknowledged?"
AIMS: Final = {1_000: 40_000, 100: 20_000, 20: 8_000}  # batch → offers a second
CLOCK: Final = SystemClock()
_WAIT_S_MAX: Final = 900.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offers", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=4, help="half on each marketplace")
    parser.add_argument("--batches", type=int, nargs="+", default=[1_000, 100, 20])
    parser.add_argument("--repeat", type=int, default=3)


async def measure(options: argparse.Namespace, server: Server) -> Findings:
    findings = Findings()
    skus = options.offers // options.accounts
    half = options.accounts // 2
    wanted = Wanted(
        accounts={"trendyol": options.accounts - half, "n11": half} if half else {"trendyol": 1},
        settings={"trendyol": {"quotas": "off"}, "n11": {"quotas": "off"}},
    )
    with server.database() as url:
        async with sandbox(wanted) as served:
            say(f"{skus} SKUs on {options.accounts} accounts")
            now = CLOCK.now()
            shop = open_shop(url, skus=skus, on_hand=100, now=now)
            async with hub(url, server, EngineSettings(), is_paced=False) as opened:
                accounts = await connect(opened, url, shop, served, settings={})
            acknowledge_all(url, shop, now=now)
            await fill(url, shop, served, quantity=100)
            for batch in options.batches:
                rounds = [
                    await _round(url, server, shop, served, accounts, batch)
                    for _ in range(options.repeat)
                ]
                rounds.sort(key=_rate)
                row = rounds[len(rounds) // 2]
                row["spread_offers_per_s"] = f"{_rate(rounds[0]):.0f} – {_rate(rounds[-1]):.0f}"
                findings.rows.append(row)
                if batch in AIMS:
                    name = f"offers_acknowledged_per_s, batches of {batch}"
                    findings.aims.append(Aim(name, AIMS[batch], _rate(row), at_least=True))
    return findings


def _rate(row: Row) -> float:
    return float(row["offers_acknowledged_per_s"] or 0)


async def _round(
    url: str,
    server: Server,
    shop: Shop,
    served: Sandbox,
    accounts: dict[int, AccountLine],
    batch: int,
) -> Row:
    """Change every price while nothing is sent, then let the engine go."""
    offers = shop.skus * len(accounts)
    with psycopg.connect(url, autocommit=True) as connection:
        raise_prices(connection, shop, chunk=CHUNK // len(accounts), now=CLOCK.now())
    settle_down(url)
    lanes = LaneSettings(batch_max=batch)
    settings = EngineSettings(lanes=lanes, pull_orders=False)
    async with hub(url, server, settings, is_paced=False) as opened:
        await arm(opened, shop, list(accounts), state="read_only")
        await opened.engine.start()
        parts = {"sandbox": served.pid, "postgresql": server.pid, "hub": os.getpid()}
        with CpuMeter(parts) as cpu:
            began_s = time.perf_counter()
            await arm(opened, shop, list(accounts))
            await _acknowledged(opened, offers, began_s)
            took_s = time.perf_counter() - began_s
        requests = sum(account.health.requests for account in opened.engine.accounts)
        await opened.engine.stop()
    equal = await _equal(url, shop, served, accounts)
    row: Row = {
        "batch": batch,
        "offers": offers,
        "took_s": round(took_s, 2),
        "offers_acknowledged_per_s": round(offers / took_s),
        "requests_per_s": round(requests / took_s),
        "shelves_equal": equal,
    }
    row |= {f"{part}_cores": used for part, used in cpu.cores.items()}
    say(str(row))
    return row


async def _acknowledged(opened: Hub, offers: int, began_s: float) -> None:
    """Wait until as many items as are dirty came back as done."""
    told_s = began_s
    while True:
        done = sum(account.health.items_done for account in opened.engine.accounts)
        if done >= offers:
            return
        now_s = time.perf_counter()
        if now_s - told_s > 2:
            told_s = now_s
            say(f"  {done} of {offers} after {now_s - began_s:.0f} s")
        assert now_s - began_s < _WAIT_S_MAX, f"only {done} of {offers} were acknowledged"
        await asyncio.sleep(0.02)


async def _equal(url: str, shop: Shop, served: Sandbox, accounts: dict[int, AccountLine]) -> bool:
    """Recounted: every shelf shows what is desired, and the hub knows it."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT k.account_id, k.push_key, p.list_minor, p.sale_minor, q.quantity"
            " FROM listing_key k JOIN offer_desired_price p USING (merchant_id, account_id,"
            " listing_id) JOIN offer_desired_quantity q USING (merchant_id, account_id, listing_id)"
            " JOIN offer_acknowledged a USING (merchant_id, account_id, listing_id)"
            " WHERE k.merchant_id = %s AND a.price_revision = p.revision"
            " AND a.quantity_revision = q.revision",
            (shop.merchant_id,),
        ).fetchall()
    desired = {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}
    shown = {
        (account_id, shelf.key): (shelf.list_minor, shelf.sale_minor, shelf.quantity)
        for account_id, account in accounts.items()
        for shelf in await served.shelves(account)
    }
    return desired == shown


if __name__ == "__main__":
    run("throughput", QUESTION, add_options, measure)
