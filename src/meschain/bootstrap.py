"""The one place that wires adapters to ports: database, vault, marketplaces, engine."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psycopg

from meschain.app.commands.add_account import CREDENTIALS
from meschain.channel.clock import Clock, SystemClock, microseconds
from meschain.channel.contract import Account
from meschain.channel.pacing import Pacer, PacerState, SharedBudget
from meschain.channel.transport import Breaker, Exchange, HttpTransport, open_session
from meschain.registry import UnknownMarketplace, marketplace
from meschain.store.keys import DataKeys
from meschain.store.sql import query
from meschain.store.unit_of_work import Database
from meschain.store.vault import MasterKeyMissing, Vault, VaultLocked
from meschain.sync.account import ServedAccount
from meschain.sync.attempt import Attempt
from meschain.sync.budget import StoredLender
from meschain.sync.engine import Engine, EngineSettings

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from meschain.channel.capability import Manifest
    from meschain.channel.contract import Channel
    from meschain.sync.ownership import Claimed

log = logging.getLogger(__name__)

_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What a hub needs to know to start."""

    database_url: str
    master_key: Path
    loopback_only: bool = False  # demo and tests: a live host is refused before anything is sent
    integrator: str | None = None  # for accounts that are not told another one; see settings
    engine: EngineSettings = field(default_factory=EngineSettings)


class Hub:
    """The parts of a hub, wired. ``opened`` is the way in."""

    def __init__(self, settings: HubSettings, session: ClientSession, clock: Clock) -> None:
        """Nothing connects before ``open``."""
        self.settings = settings
        self.clock = clock
        self.session = session
        self._requests = itertools.count(1)
        self._budgets: dict[str, SharedBudget] = {}
        self.database = Database(settings.database_url)
        self._lender = StoredLender(self.database, clock)
        self.keys = DataKeys(self.database, Vault.at(settings.master_key), clock)
        self.engine = Engine(
            self.database,
            self.keys,
            clock,
            self.open_account,
            owner=f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}",
            settings=settings.engine,
        )

    def channel(self, account: Account, pacer: Pacer, *, name: str = "") -> Channel:
        """A channel over the shared session, paced by ``pacer``. Raises UnknownMarketplace."""
        market = marketplace(account.marketplace)
        if self.settings.integrator is not None:
            ours = {"integrator": self.settings.integrator}
            account = replace(account, settings=ours | dict(account.settings))
        transport = HttpTransport(
            self.session,
            pacer,
            market.manifest.operations,
            self.clock,
            breaker=Breaker(self.clock, name=name),
            loopback_only=self.settings.loopback_only,
            on_exchange=partial(self._exchanged, account),
        )
        return market.connect(account, transport, self.clock)

    def pacer(self, manifest: Manifest, tier: str, merchant_id: int) -> Pacer:
        """A pacer that shares quotas beyond the account with whoever else they are counted for.

        In whichever process that is served. Nobody knows who calls from which address, so all
        processes count as one address.
        """

        def budget(scope: str) -> SharedBudget:
            return self._budgets.setdefault(scope, SharedBudget(scope, self._lender, self.clock))

        name = manifest.identity.name
        shared = {scope: budget(f"{name}/{scope}") for scope in ("application", "egress_ip")}
        shared["merchant"] = budget(f"{name}/merchant/{merchant_id}")
        return Pacer(manifest, tier, self.clock, shared)

    async def open_account(self, claimed: Claimed) -> ServedAccount | None:
        """Open a leased account; None (and a log line) when this program cannot serve it."""
        async with self.database.engine() as unit:
            row = await unit.row(
                "account.one", {"merchant": claimed.merchant_id, "account": claimed.account_id}
            )
        if row is None:
            return None
        name, market_name, state, tier, base_urls, settings, sealed, key_number = row
        try:
            manifest = marketplace(market_name).manifest
            credentials = await self.keys.open(
                claimed.merchant_id, key_number, CREDENTIALS, bytes(sealed)
            )
        except (UnknownMarketplace, VaultLocked) as refused:
            log.error(  # noqa: TRY400 – the reason is the message, not the stack
                "account cannot be served",
                extra={"account": claimed.account_id, "reason": repr(refused)},
            )
            return None
        account = Account(
            account_id=claimed.account_id,
            merchant_id=claimed.merchant_id,
            marketplace=market_name,
            base_urls=base_urls,
            credentials=msgspec.json.decode(credentials, type=dict[str, str]),
            settings=settings,
            tier=tier,
        )
        pacer = self.pacer(manifest, tier, claimed.merchant_id)
        if claimed.pacer is not None:
            pacer.restore(msgspec.json.decode(claimed.pacer, type=PacerState))
        elif claimed.lease.epoch > 1:
            pacer.restore(None)
        return ServedAccount(
            merchant_id=claimed.merchant_id,
            account_id=claimed.account_id,
            name=name,
            state=state,
            stored_state=state,
            currency=manifest.identity.currencies[0],
            channel=self.channel(account, pacer, name=name),
            pacer=pacer,
            clock=self.clock,
            lease=claimed.lease,
        )

    def _exchanged(self, account: Account, exchange: Exchange) -> None:
        """Measure it, and keep what went wrong; what went well is counted by the lanes."""
        duration_us = int((exchange.answered_s - exchange.released_s) * 1_000_000)
        self.engine.measures.requested(account.marketplace, exchange.operation, duration_us)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "request ended",
                extra={
                    "request": next(self._requests),
                    "account": account.account_id,
                    "operation": exchange.operation,
                    "status": exchange.status,
                    "milliseconds": duration_us // 1_000,
                },
            )
        if not exchange.error and exchange.status is not None and exchange.status < _BAD_REQUEST:
            return
        self.engine.attempts.note(
            Attempt(
                merchant_id=account.merchant_id,
                account_id=account.account_id,
                operation=exchange.operation,
                at_us=microseconds(self.clock.now()),
                status=exchange.status or 0,
                outcome=exchange.error or "answered",
                duration_us=duration_us,
            )
        )

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: HubSettings, clock: Clock | None = None) -> AsyncIterator[Hub]:
        """A hub with its database open; the engine is started by whoever wants it."""
        await _check_master_key(settings)
        async with open_session() as session:
            hub = cls(settings, session, clock or SystemClock())
            await hub.database.open()
            try:
                yield hub
            finally:
                await hub.database.close()


async def _check_master_key(settings: HubSettings) -> None:
    """A new master key beside records sealed with another would only hide the loss.

    Raises MasterKeyMissing, MasterKeyInvalid, VaultLocked.
    """
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        row = await (await connection.execute(query("account.a_data_key"))).fetchone()
    if row is None:
        return
    if not settings.master_key.exists():
        raise MasterKeyMissing(str(settings.master_key))
    merchant_id, key_number, wrapped = row
    Vault.at(settings.master_key).load_data_key(merchant_id, key_number, bytes(wrapped))
