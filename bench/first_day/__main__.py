"""How long until a merchant's whole catalog is listed, and until a price change of all stands."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from bench.hub import hub
from bench.program import Findings, Row, run, say
from bench.sandbox import Wanted, sandbox
from bench.shop import CHUNK, Shop, raise_prices
from meschain.app.commands.add_account import NewAccount, add_account
from meschain.app.commands.add_merchant import NewMerchant, add_merchant
from meschain.app.commands.arm_account import ArmingLimits, arm_account
from meschain.app.commands.import_products import ImportOptions, apply_import
from meschain.app.commands.mapping import apply_mapping, read_mapping
from meschain.channel.clock import SystemClock
from meschain.channel.contract import Account
from meschain.channel.pacing import Pacer
from meschain.demo.catalog import generate_catalog, products_for
from meschain.demo.plan import stage_settings
from meschain.exchange import ReadingOptions, read_catalog
from meschain.registry import marketplace, marketplaces
from meschain.sync.engine import EngineSettings
from meschain.sync.listing import (
    Storefront,
    advance_publications,
    link_listings,
    plan_publication,
    publish_listings,
)

if TYPE_CHECKING:
    import argparse

    from bench.database import Server
    from bench.sandbox import Sandbox
    from meschain.bootstrap import Hub
    from meschain.sandbox.facade import AccountLine

QUESTION: Final = (
    "How long until a whole catalog is listed, and until a price change of all stands?"
)
CLOCK: Final = SystemClock()
_ACTOR: Final = "bench"
_ROUND_S: Final = 0.5
_PUSHABLE: Final = {"on_sale", "off_sale"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skus", type=int, default=8_000)
    parser.add_argument("--minutes", type=float, default=30.0, help="then what stands is told")


async def measure(options: argparse.Namespace, server: Server) -> Findings:
    """In real time and to its end, or up to ``--minutes``; nothing is extrapolated."""
    findings = Findings()
    stage = stage_settings()
    wanted = Wanted(
        accounts=dict.fromkeys(sorted(stage), 1),  # the lowest tier is a façade's own default
        settings={name: dict(side.facade) for name, side in stage.items()},
    )
    deadline_s = time.perf_counter() + options.minutes * 60
    with server.database() as url:
        async with sandbox(wanted) as served, hub(url, server, EngineSettings()) as opened:
            day = _Day(url, opened, served, server.folder, deadline_s)
            shop = await day.catalog(options.skus)
            begun_s = time.perf_counter()
            rows = await asyncio.gather(
                *(day.list_all(shop.merchant_id, line) for line in served.accounts)
            )
            findings.rows += rows
            await opened.engine.start()
            equal = await day.wait_until_equal()
            listed_s = time.perf_counter() - begun_s
            key = "all_listed_minutes" if equal else "not_all_listed_within_minutes"
            findings.figures[key] = round(listed_s / 60, 2)
            if equal:
                begun_s = time.perf_counter()
                with psycopg.connect(url, autocommit=True) as connection:
                    raise_prices(connection, shop, chunk=CHUNK // 2, now=CLOCK.now())
                opened.engine.wakeups.add([a.account_id for a in opened.engine.accounts])
                equal = await day.wait_until_equal()
                changed_s = time.perf_counter() - begun_s
                key = "prices_changed_minutes" if equal else "prices_not_changed_within_minutes"
                findings.figures[key] = round(changed_s / 60, 2)
            findings.figures["offers_equal"], findings.figures["offers"] = await day.recount()
            await opened.engine.stop()
    return findings


@dataclass(frozen=True, slots=True)
class _Day:
    url: str
    hub: Hub
    sandbox: Sandbox
    folder: Path
    deadline_s: float

    @property
    def is_over(self) -> bool:
        return time.perf_counter() > self.deadline_s

    async def catalog(self, skus: int) -> Shop:
        """The demo's own messy files, as large as asked for."""
        merchant_id = await add_merchant(
            self.hub.database, CLOCK, NewMerchant(name="Örnek"), actor=_ACTOR
        )
        folder = self.folder / "catalog"
        folder.mkdir()
        files = await asyncio.to_thread(generate_catalog, folder, products=products_for(skus))
        for path in (files.dump, files.sheet):
            options = ReadingOptions(today=CLOCK.now().date(), shop_url="https://shop.example")
            reading = await asyncio.to_thread(read_catalog, path, options)
            done = await apply_import(
                self.hub.database,
                CLOCK,
                merchant_id,
                reading,
                ImportOptions(actor=_ACTOR, file_name=path.name),
            )
            say(f"{path.name}: {dict(done.plan.counts)}")
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "SELECT min(variant_id), max(variant_id) FROM variant WHERE merchant_id = %s",
                (merchant_id,),
            ).fetchone()
        assert row is not None
        first, last = int(str(row[0])), int(str(row[1]))
        return Shop(merchant_id, 0, last - first + 1, first)  # its ids may have gaps

    async def list_all(self, merchant_id: int, line: AccountLine) -> Row:
        """Mapping, linking, publishing until the marketplace has approved all it will; arming."""
        storefront = await self._account(merchant_id, line)
        manifest = storefront.manifest
        begun_s = time.perf_counter()
        path = resources.files("meschain.demo") / "mapping" / f"{line.marketplace}.csv"
        reading = read_mapping(Path(str(path)), list(marketplaces()))
        await apply_mapping(
            self.hub.database, CLOCK, merchant_id, reading, actor=_ACTOR, file_name=path.name
        )
        await link_listings(storefront)
        plan = await plan_publication(storefront, limit=1_000_000)
        report = await publish_listings(storefront, plan)
        sent_s = time.perf_counter() - begun_s
        say(f"{line.marketplace}: {report.sent} sent in {sent_s:.0f} s, {report.problem or 'fine'}")
        states: dict[str, int] = {}
        is_first = True
        while not self.is_over:
            advanced = await advance_publications(storefront)
            for state, count in advanced.states.items():
                states[state] = states.get(state, 0) + count
            if not (is_first or advanced.open or advanced.states or advanced.problem):
                break
            is_first = False
            await asyncio.sleep(_ROUND_S)
        limits = ArmingLimits(to_zero_percent=100, price_jumps_percent=100)
        await arm_account(
            self.hub.database, CLOCK, merchant_id, storefront.account_id, limits, actor=_ACTOR
        )
        return {
            "marketplace": line.marketplace,
            "tier": line.tier or manifest.default_tier,
            "sent": report.sent,
            "incomplete": len(plan.incomplete),
            "on_sale": sum(states.get(state, 0) for state in _PUSHABLE),
            "rejected": states.get("rejected", 0),
            "sent_minutes": round(sent_s / 60, 2),
            "approved_minutes": round((time.perf_counter() - begun_s) / 60, 2),
        }

    async def _account(self, merchant_id: int, line: AccountLine) -> Storefront:
        manifest = marketplace(line.marketplace).manifest
        settings = stage_settings()[line.marketplace].account
        account_id = await add_account(
            self.hub.database,
            self.hub.keys,
            CLOCK,
            merchant_id,
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
        account = Account(
            account_id,
            merchant_id,
            line.marketplace,
            line.base_urls,
            line.credentials,
            settings,
            line.tier,
        )
        return Storefront(
            database=self.hub.database,
            channel=self.hub.channel(account, Pacer(manifest, line.tier, CLOCK)),
            clock=CLOCK,
            merchant_id=merchant_id,
            account_id=account_id,
            settings=settings,
        )

    async def wait_until_equal(self) -> bool:
        """Until every shelf shows what is desired; False when the time was over before."""
        while not self.is_over:
            await asyncio.sleep(_ROUND_S)
            with psycopg.connect(self.url) as connection:
                row = connection.execute(
                    "SELECT NOT EXISTS (SELECT FROM offer_dirty d JOIN listing l"
                    " USING (merchant_id, listing_id) WHERE l.state IN ('on_sale', 'off_sale'))"
                    " AND NOT EXISTS (SELECT FROM offer_inflight)"
                ).fetchone()
            assert row is not None
            if row[0]:
                equal, wanted = await self.recount()
                if equal == wanted:
                    return True
        return False

    async def recount(self) -> tuple[int, int]:
        """Offers that stand on their shelves as they should, and all of them."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                "SELECT a.marketplace, k.push_key, p.list_minor, p.sale_minor, q.quantity"
                " FROM listing_key k JOIN listing l USING (merchant_id, account_id, listing_id)"
                " JOIN account a USING (merchant_id, account_id)"
                " JOIN offer_desired_price p USING (merchant_id, account_id, listing_id)"
                " JOIN offer_desired_quantity q USING (merchant_id, account_id, listing_id)"
                " WHERE l.state IN ('on_sale', 'off_sale')"
            ).fetchall()
        wanted = {(str(row[0]), str(row[1])): row[2:] for row in rows}
        shown = {
            (account.marketplace, shelf.key): (shelf.list_minor, shelf.sale_minor, shelf.quantity)
            for account in self.sandbox.accounts
            for shelf in await self.sandbox.shelves(account)
        }
        return sum(shown.get(key) == values for key, values in wanted.items()), len(wanted)


if __name__ == "__main__":
    run("first_day", QUESTION, add_options, measure)
