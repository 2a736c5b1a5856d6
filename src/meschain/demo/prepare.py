"""The merchant's first day: messy files in, two accounts, listings on both marketplaces."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.app.commands.add_merchant import NewMerchant, add_merchant
from meschain.app.commands.import_products import ImportOptions, apply_import
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.contract import Account, Call
from meschain.channel.outcome import Done
from meschain.channel.pacing import Pacer
from meschain.demo.catalog import CatalogFiles, generate_catalog, products_for
from meschain.demo.first_listings import CannotPrepare, FirstListings
from meschain.demo.folder import Prepared
from meschain.demo.plan import SEED, stage_settings
from meschain.demo.screen import INDENT
from meschain.exchange import ReadingOptions, VatPreview, read_catalog
from meschain.registry import marketplace
from meschain.store.migrate import migrate
from meschain.sync.listing import Storefront
from meschain.testing.checker import CheckedShop, Comparison, Control, Problem, read_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meschain.demo.folder import DemoFolder
    from meschain.demo.screen import Screen
    from meschain.sandbox.facade import AccountLine

MERCHANT: Final = "Örnek Butik"
SHOP_URL: Final = "https://butik.example"
_ACTOR: Final = "demo"
_REFUSED_SHOWN: Final = 6
_LISTED_S_MAX: Final = 120.0


@dataclass(slots=True)
class FirstDay:
    """Walks through the first day and keeps what it made."""

    folder: DemoFolder
    screen: Screen
    accounts: Sequence[AccountLine]
    control: Control
    skus: int
    storefronts: dict[str, Storefront] = field(default_factory=dict)

    async def prepare(self, program: str) -> Prepared:
        """Everything up to the first sale. Raises CannotPrepare."""
        self.screen.doing("demo.making")
        url = await asyncio.to_thread(self.folder.create_prepared)
        await asyncio.to_thread(migrate, url)
        settings = HubSettings(url, self.folder.master_key, loopback_only=True)
        async with Hub.opened(settings) as hub:
            merchant_id = await add_merchant(
                hub.database, hub.clock, NewMerchant(name=MERCHANT), actor=_ACTOR
            )
            await self._catalog(hub, merchant_id)
            ids = await self._connect(hub, merchant_id)
            await self._list(hub, merchant_id, ids)
        await self._remember()
        prepared = Prepared(program=program, merchant_id=merchant_id, accounts=ids)
        self.folder.keep(prepared)
        return prepared

    # — the catalog —

    async def _catalog(self, hub: Hub, merchant_id: int) -> None:
        files: CatalogFiles = await asyncio.to_thread(
            generate_catalog, self.folder.catalog, products=products_for(self.skus), seed=SEED
        )
        self.screen.say(
            "demo.files",
            dump=files.dump.name,
            sheet=files.sheet.name,
            folder=str(files.dump.parent),
        )
        for path in (files.dump, files.sheet):
            await self._import(hub, merchant_id, path)

    async def _import(self, hub: Hub, merchant_id: int, path: Path) -> None:
        screen = self.screen
        today = hub.clock.now().date()
        options = ReadingOptions(today=today, shop_url=SHOP_URL)
        reading = await asyncio.to_thread(read_catalog, path, options)
        for preview in reading.vat_previews:
            screen.line(INDENT + self._vat(preview))
        done = await apply_import(
            hub.database,
            hub.clock,
            merchant_id,
            reading,
            ImportOptions(actor=_ACTOR, file_name=path.name),
            on_progress=lambda done, _: screen.doing("demo.importing", count=done),
        )
        counts = done.plan.counts
        screen.say(
            "demo.imported",
            name=path.name,
            encoding=reading.form.encoding,
            created=counts["variants_created"],
            updated=counts["variants_updated"],
            refused=counts["refused"],
        )
        for refusal in done.plan.refused[:_REFUSED_SHOWN]:
            why = screen.text(refusal.reason_code, **refusal.params)
            screen.point("demo.refused", row=refusal.row_number, sku=refusal.sku or "–", why=why)
        if counts["refused"] > _REFUSED_SHOWN:
            screen.point("demo.refused_more", count=counts["refused"] - _REFUSED_SHOWN)

    def _vat(self, preview: VatPreview) -> str:
        if preview.percent is None or preview.example_gross is None:
            return f"{preview.title}: ?"
        net = preview.example_net.quantize(Decimal("0.01"))
        return self.screen.text(
            "demo.vat_preview",
            title=preview.title,
            net=net,
            vat=preview.percent.normalize(),
            gross=preview.example_gross,
            count=preview.product_count,
            sku=preview.example_sku,
        )

    # — accounts —

    async def _connect(self, hub: Hub, merchant_id: int) -> dict[str, int]:
        stage = stage_settings()
        ids: dict[str, int] = {}
        for line in self.accounts:
            manifest = marketplace(line.marketplace).manifest
            settings = stage[line.marketplace].account if line.marketplace in stage else {}
            account = Account(
                0, merchant_id, line.marketplace, line.base_urls, line.credentials, settings,
                line.tier,
            )  # fmt: skip
            channel = hub.channel(account, Pacer(manifest, line.tier, hub.clock))
            outcome = await channel.check_credentials(Call())
            if not isinstance(outcome, Done):
                raise CannotPrepare(f"{line.marketplace}: {outcome}")
            title = manifest.identity.title
            ids[line.marketplace] = await add_account(
                hub.database,
                hub.keys,
                hub.clock,
                merchant_id,
                manifest,
                NewAccount(
                    line.marketplace, title, line.base_urls, line.credentials, settings, line.tier
                ),
            )
            self.storefronts[line.marketplace] = Storefront(
                database=hub.database,
                channel=channel,
                clock=hub.clock,
                merchant_id=merchant_id,
                account_id=ids[line.marketplace],
                settings=settings,
            )
            self.screen.say("demo.account", market=title, url=next(iter(line.base_urls.values())))
        return ids

    # — listings —

    async def _list(self, hub: Hub, merchant_id: int, ids: dict[str, int]) -> None:
        opened = [
            FirstListings(hub, self.screen, self.control, line, self.storefronts[line.marketplace])
            for line in self.accounts
        ]
        async with asyncio.TaskGroup() as group:
            for listings in opened:
                group.create_task(listings.list_all())
        for listings in opened:
            await listings.arm()
        await hub.engine.start()
        try:
            await self._wait_until_equal(hub, merchant_id, ids)
        finally:
            await hub.engine.stop()

    async def _wait_until_equal(self, hub: Hub, merchant_id: int, ids: dict[str, int]) -> None:
        shops = checked_shops(self.accounts, ids)
        problems: list[Problem] = []
        deadline_s = hub.clock.monotonic_s() + _LISTED_S_MAX
        while hub.clock.monotonic_s() < deadline_s:
            ledger = await read_ledger(hub.settings.database_url, merchant_id, with_orders=False)
            checked, problems = Comparison(ledger, shops).shelves(await self.control.shelves())
            if checked and not problems and await self._is_at_rest(hub):
                self.screen.say("demo.listed", count=checked)
                return
            self.screen.doing("demo.listing", done=max(0, checked - len(problems)), count=checked)
            await asyncio.sleep(0.3)
        raise CannotPrepare(f"{len(problems)}: {problems[:3]}")

    @staticmethod
    async def _is_at_rest(hub: Hub) -> bool:
        """Nothing dirty, no ticket open: the next start's marketplaces know of no older tickets."""
        async with hub.database.engine() as unit:
            cursor = await unit.connection.execute(
                "SELECT NOT EXISTS (SELECT FROM offer_dirty)"
                " AND NOT EXISTS (SELECT FROM offer_inflight)"
                " AND NOT EXISTS (SELECT FROM ticket WHERE state < 3)"
            )
            row = await cursor.fetchone()
        return row is not None and bool(row[0])

    # — for the next start —

    async def _remember(self) -> None:
        shelves = await self.control.shelves()
        kept: dict[str, list[dict[str, object]]] = {}
        for shelf in shelves:
            kept.setdefault(shelf.marketplace, []).append(
                {
                    "key": shelf.key,
                    "barcode": shelf.barcode,
                    "stock_code": shelf.stock_code,
                    "title": shelf.title,
                    "quantity": shelf.quantity,
                    "list_minor": shelf.list_minor,
                    "sale_minor": shelf.sale_minor,
                    "vat_percent": shelf.vat_percent,
                }
            )
        self.folder.shelves.write_bytes(msgspec.json.encode(kept))


async def restage(
    folder: DemoFolder, control: Control, accounts: Sequence[AccountLine], prepared: Prepared
) -> None:
    """A second start: the world gets back what it held, the accounts their new addresses."""
    kept = json.loads(folder.shelves.read_bytes())
    for line in accounts:
        shelves = kept.get(line.marketplace, [])
        if shelves:
            await control.add_shelves(line.marketplace, line.seller_id, shelves)
    await _readdress(folder.day_url, accounts, prepared)


async def _readdress(url: str, accounts: Sequence[AccountLine], prepared: Prepared) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for line in accounts:
            await connection.execute(
                "UPDATE account SET base_urls = %s::jsonb"
                " WHERE merchant_id = %s AND account_id = %s",
                (
                    msgspec.json.encode(dict(line.base_urls)).decode(),
                    prepared.merchant_id,
                    prepared.accounts[line.marketplace],
                ),
            )


def checked_shops(accounts: Sequence[AccountLine], ids: dict[str, int]) -> list[CheckedShop]:
    """Which account is which shop."""
    return [
        CheckedShop(ids[line.marketplace], line.marketplace, line.seller_id) for line in accounts
    ]
