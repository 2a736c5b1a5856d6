"""How long a sale on one channel takes until the next buyer on every other channel sees it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING, Final

from bench.environment import CpuMeter
from bench.hub import arm, connect, fill, hub
from bench.program import Aim, Findings, Row, run, say
from bench.propagation.buyers import Click, Plan, buy
from bench.propagation.stage import sales_of, stages_of
from bench.sandbox import Wanted, sandbox
from bench.shop import acknowledge_all, open_shop, settle_down
from meschain.app.commands.register_webhook import AccountWebhooks
from meschain.channel.clock import SystemClock
from meschain.channel.contract import Call, Priority, WebhookRegistration
from meschain.server import serve
from meschain.sync.engine import EngineSettings

if TYPE_CHECKING:
    import argparse

    from bench.database import Server
    from bench.sandbox import Sandbox
    from bench.shop import Shop
    from meschain.bootstrap import Hub
    from meschain.sandbox.facade import AccountLine

QUESTION: Final = "How long does a sale take until the next buyer elsewhere sees it?"
CLOCK: Final = SystemClock()
ON_HAND: Final = 10_000
SETTINGS: Final = {"n11": {"order_status_query": "omitted"}}
FACADES: Final = {
    "n11": {"status_omitted": "all"},
    "trendyol": {"webhook_url_words": "loopback_allowed"},
}
_DRAIN_S_MAX: Final = 60.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accounts", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--orders-per-s", type=float, nargs="+", default=[10, 50, 100])
    parser.add_argument("--webhooks", nargs="+", default=["on", "off"], choices=["on", "off"])
    parser.add_argument("--skus", type=int, default=3_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="of buying, a measurement")
    parser.add_argument("--warm-up-s", type=float, default=10.0)


async def measure(options: argparse.Namespace, server: Server) -> Findings:
    findings = Findings()
    for accounts in options.accounts:
        half = accounts // 2
        wanted = Wanted(accounts={"trendyol": accounts - half, "n11": half}, settings=FACADES)
        with server.database() as url:
            async with sandbox(wanted) as served:
                say(f"{options.skus} SKUs on {accounts} accounts")
                bench = await _Bench.prepared(url, server, served, options.skus)
                for webhooks in options.webhooks:
                    for pace in options.orders_per_s:
                        row: Row = {"accounts": accounts, "webhooks": webhooks}
                        row |= await bench.measure(
                            pace,
                            warm_up_s=options.warm_up_s,
                            seconds=options.seconds,
                            with_webhooks=webhooks == "on",
                        )
                        say(str(row))
                        findings.rows.append(row)
    _conclude(findings)
    return findings


def _conclude(findings: Findings) -> None:
    """The aim stands for 30 accounts and 100 orders a second, as a hub is meant to run."""
    for row in findings.rows:
        if (row["accounts"], row["orders_per_s"], row["webhooks"]) == (30, 100.0, "on"):
            for figure, aim in (("hub_p50_ms", 60.0), ("hub_p99_ms", 250.0)):
                measured = float(row[figure] or 0)
                findings.figures[figure] = measured
                findings.aims.append(Aim(figure, aim, measured, at_least=False))


class _Bench:
    """One shop on many accounts; the stock goes down from case to case."""

    def __init__(
        self,
        url: str,
        server: Server,
        served: Sandbox,
        shop: Shop,
        accounts: dict[int, AccountLine],
    ) -> None:
        self._url = url
        self._server = server
        self._served = served
        self._shop = shop
        self._accounts = accounts
        self._draw = random.Random(1)  # noqa: S311 – a seed, no secret
        self._skus: list[int] = []  # those that nobody has bought lately

    @classmethod
    async def prepared(cls, url: str, server: Server, served: Sandbox, skus: int) -> _Bench:
        now = CLOCK.now()
        shop = open_shop(url, skus=skus, on_hand=ON_HAND, now=now)
        async with hub(url, server, EngineSettings()) as opened:
            accounts = await connect(opened, url, shop, served, settings=SETTINGS)
            await arm(opened, shop, list(accounts))
        acknowledge_all(url, shop, now=now)
        await fill(url, shop, served, quantity=ON_HAND)
        settle_down(url)
        return cls(url, server, served, shop, accounts)

    async def measure(
        self, pace: float, *, warm_up_s: float, seconds: float, with_webhooks: bool
    ) -> Row:
        parts = {
            "sandbox": self._served.pid,
            "postgresql": self._server.pid,
            "hub_and_buyers": os.getpid(),
        }
        async with hub(self._url, self._server, EngineSettings()) as opened:
            await opened.engine.start()
            api = await serve(opened, 0, merchant_id=self._shop.merchant_id)
            await self._webhooks(opened, api.url if with_webhooks else None)
            await buy(self._plan(pace, warm_up_s))
            sold_before = len(sales_of(await self._served.journal(0), self._accounts))
            with CpuMeter(parts) as cpu:
                bought = await buy(self._plan(pace, seconds))
            await self._propagated(opened)
            await api.stop()
            await opened.engine.stop()
        entries = await self._served.journal(0)
        sales = sales_of(entries, self._accounts)[sold_before:]
        stages = stages_of(self._url, self._accounts, entries, sales, units_begun=ON_HAND)
        row: Row = {
            "orders_per_s": float(pace),
            "achieved_orders_per_s": round(bought.orders / bought.took_s, 1),
        }
        row |= stages.row()
        row |= {f"{part}_cores": used for part, used in cpu.cores.items()}
        return row

    def _plan(self, pace: float, seconds: float) -> Plan:
        """No SKU twice within the time that the whole catalog takes: sales do not overlap."""
        clicks: list[Click] = []
        while len(clicks) < max(1, int(pace * seconds)):
            if not self._skus:
                self._skus = list(range(1, self._shop.skus + 1))
                self._draw.shuffle(self._skus)
            number = self._skus.pop()
            account = self._draw.choice(list(self._accounts.values()))
            letter = "S" if account.marketplace == "n11" else "B"
            clicks.append(Click(account.marketplace, account.seller_id, f"{letter}{number}"))
        return Plan(self._served.control_url, pace, clicks)

    async def _webhooks(self, opened: Hub, base_url: str | None) -> None:
        """Registered at ``base_url`` where the marketplace has them; None: none at all."""
        for account in opened.engine.accounts:
            call = Call(Priority.NORMAL, guard=account)
            webhooks = AccountWebhooks(
                opened.database,
                opened.keys,
                opened.clock,
                account.channel,
                merchant_id=account.merchant_id,
                account_id=account.account_id,
            )
            if not account.manifest.orders.webhook:
                continue
            if base_url is not None:
                answer = await webhooks.register(base_url, call)
                assert isinstance(answer, WebhookRegistration), answer
                continue
            for known in await webhooks.registered():
                await webhooks.delete(known.url, known.webhook_id, call)

    async def _propagated(self, opened: Hub) -> None:
        """Wait until nothing is dirty and no ticket is open, so that cases do not mix."""
        until_s = time.perf_counter() + _DRAIN_S_MAX
        calm = 0
        while calm < 3 and time.perf_counter() < until_s:
            await asyncio.sleep(1.0)
            busy = 0
            for account in opened.engine.accounts:
                async with opened.database.engine() as unit:
                    row = await unit.row(
                        "offer.backlog",
                        {"merchant": account.merchant_id, "account": account.account_id},
                    )
                assert row is not None
                busy += int(row[0]) + int(row[2])
            calm = 0 if busy else calm + 1


if __name__ == "__main__":
    run("propagation", QUESTION, add_options, measure)
