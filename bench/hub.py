"""The product's hub on a benchmark's database, with its own quotas or without any."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import psycopg

from bench.sandbox import ShelfSeed
from bench.shop import list_on
from meschain.app.commands.add_account import NewAccount, add_account
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.pacing import Pacer
from meschain.registry import marketplace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from bench.database import Server
    from bench.sandbox import Sandbox
    from bench.shop import Shop
    from meschain.channel.capability import Manifest
    from meschain.channel.contract import Account, Channel
    from meschain.sandbox.facade import AccountLine
    from meschain.sync.account import ServedAccount
    from meschain.sync.engine import EngineSettings
    from meschain.sync.ownership import Claimed


class UnpacedHub(Hub):
    """A hub whose marketplaces set no limits: what remains is ours alone."""

    def channel(self, account: Account, pacer: Pacer, *, name: str = "") -> Channel:  # noqa: ARG002 – the hub's signature
        """As the hub's own, with a pacer that holds nothing back."""
        free = Pacer(_without_quotas(marketplace(account.marketplace).manifest), "", self.clock)
        self._free[account.account_id] = free
        return super().channel(account, free, name=name)

    async def open_account(self, claimed: Claimed) -> ServedAccount | None:
        served = await super().open_account(claimed)
        if served is not None:
            served.pacer = self._free[served.account_id]
        return served

    @property
    def _free(self) -> dict[int, Pacer]:
        pacers: dict[int, Pacer] = self.__dict__.setdefault("free_pacers", {})
        return pacers


def _without_quotas(manifest: Manifest) -> Manifest:
    replace = msgspec.structs.replace
    return replace(
        manifest,
        quotas=(),
        operations={
            name: replace(operation, quotas=(), min_interval_s=0.0)
            for name, operation in manifest.operations.items()
        },
    )


@asynccontextmanager
async def hub(
    url: str, server: Server, engine: EngineSettings, *, is_paced: bool = True
) -> AsyncIterator[Hub]:
    """A hub that serves nothing until its engine is started."""
    kind = Hub if is_paced else UnpacedHub
    settings = HubSettings(url, server.folder / "master.key", loopback_only=True, engine=engine)
    async with kind.opened(settings) as opened:
        yield opened


async def connect(
    of: Hub,
    url: str,
    shop: Shop,
    sandbox: Sandbox,
    *,
    settings: Mapping[str, Mapping[str, str]],
) -> dict[int, AccountLine]:
    """Add every shop of the sandbox as a read-only account that lists all SKUs; by account id."""
    found: dict[int, AccountLine] = {}
    for line in sandbox.accounts:
        manifest = marketplace(line.marketplace).manifest
        account = NewAccount(
            line.marketplace,
            f"{line.marketplace} {line.seller_id}",
            line.base_urls,
            line.credentials,
            settings.get(line.marketplace, {}),
            line.tier,
        )
        account_id = await add_account(
            of.database, of.keys, of.clock, shop.merchant_id, manifest, account
        )
        list_on(
            url,
            shop,
            [account_id],
            by_stock_code=manifest.offers.key == "stock_code",
            now=of.clock.now(),
        )
        found[account_id] = line
    return found


async def arm(of: Hub, shop: Shop, accounts: Sequence[int], *, state: str = "armed") -> None:
    """Let the engine send; what it serves already hears of it at once."""
    for account_id in accounts:
        async with of.database.merchant(shop.merchant_id) as unit:
            await unit.run(
                "account.set_state",
                {
                    "merchant": shop.merchant_id,
                    "account": account_id,
                    "state": state,
                    "only_from": ["read_only", "armed", "paused"],
                },
            )
    for account in of.engine.accounts:
        if account.account_id in accounts:
            account.state = state
    of.engine.wakeups.add(accounts)


async def fill(url: str, shop: Shop, sandbox: Sandbox, *, quantity: int) -> None:
    """Put every listing on its shelf, as the hub believes it to stand."""
    with psycopg.connect(url) as connection:
        variants = connection.execute(
            "SELECT barcode, sku, list_price_minor, sale_price_minor FROM variant"
            " WHERE merchant_id = %s ORDER BY variant_id",
            (shop.merchant_id,),
        ).fetchall()
    seeds = [
        ShelfSeed(
            barcode=str(barcode),
            stock_code=str(sku),
            quantity=quantity,
            list_minor=int(list_minor),
            sale_minor=int(sale_minor),
        )
        for barcode, sku, list_minor, sale_minor in variants
    ]
    for account in sandbox.accounts:
        await sandbox.add_shelves(account, seeds)
