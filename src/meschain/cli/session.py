"""One invocation: its settings, its language, and the hub it opens for a command."""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click
import psycopg

from meschain.app.queries.accounts import AccountRow, read_accounts
from meschain.app.queries.sync_status import wake
from meschain.bootstrap import Hub, HubSettings
from meschain.cli.database import Reached, reached_by_command
from meschain.cli.failure import Failure
from meschain.cli.output import Output
from meschain.messages import Catalog
from meschain.store.sql import query
from meschain.sync.engine import EngineSettings

if TYPE_CHECKING:
    from meschain.settings import Settings
    from meschain.sync.trace import Tracer

Params = ParamSpec("Params")


@dataclass(frozen=True, slots=True)
class Merchant:
    """For whom a command works."""

    merchant_id: int
    name: str


@dataclass(slots=True)
class Session:
    """What the root of the tree hands to every command."""

    settings: Settings
    catalog: Catalog
    out: Output
    merchant_name: str | None = None

    @classmethod
    def begin(cls, settings: Settings, language: str | None) -> Session:
        """``language`` None: of the settings, else of the environment."""
        catalog = Catalog.load(language or settings.language)
        return cls(settings, catalog, Output(catalog), settings.merchant)


@dataclass(slots=True)
class Desk:
    """A command at work: the hub's parts, and the merchant it works for."""

    session: Session
    hub: Hub
    reached: Reached
    merchant: Merchant
    touched: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """What is changed here is told to the process that serves it, should it be another one."""

        def touch(_: int, accounts: Sequence[int]) -> None:
            self.touched.update(accounts)
            self.hub.engine.wakeups.add(accounts)

        self.hub.database.on_commit(touch)

    async def wake(self) -> None:
        """Tell it now; forgotten, it would be found within a second."""
        if self.touched:
            await wake(self.hub.database, self.merchant_id, sorted(self.touched))
            self.touched.clear()

    @property
    def out(self) -> Output:
        """Where results go."""
        return self.session.out

    @property
    def words(self) -> Catalog:
        """The texts."""
        return self.session.catalog

    @property
    def merchant_id(self) -> int:
        """The merchant's id."""
        return self.merchant.merchant_id

    @property
    def actor(self) -> str:
        """Who is at the keyboard, for ledger and audit."""
        return actor()

    async def accounts(self) -> list[AccountRow]:
        """All that were not removed."""
        return await read_accounts(self.hub.database, self.merchant_id)

    async def account(self, name: str) -> AccountRow:
        """The account of that name. Raises Failure."""
        accounts = await self.accounts()
        for account in accounts:
            if account.name == name:
                return account
        if not accounts:
            raise Failure("account_none")
        raise Failure("account_unknown", name=name, known=", ".join(each.name for each in accounts))


def actor() -> str:
    """The user of this machine."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"


def at_desk(
    function: Callable[Concatenate[Desk, Params], Awaitable[None]],
) -> Callable[Params, None]:
    """Run a coroutine function as a command, with the database open and the merchant known."""

    @functools.wraps(function)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> None:
        session: Session = click.get_current_context().find_root().obj

        async def work(reached: Reached) -> None:
            async with opened_hub(session, reached) as hub:
                merchant = await find_merchant(reached.url, session.merchant_name)
                desk = Desk(session, hub, reached, merchant)
                try:
                    await function(desk, *args, **kwargs)
                finally:
                    await desk.wake()

        with reached_by_command(session.settings, session.out) as reached:
            asyncio.run(work(reached))

    return run


@asynccontextmanager
async def opened_hub(
    session: Session, reached: Reached, *, tracer: Tracer | None = None
) -> AsyncIterator[Hub]:
    """The hub's parts over a database that answers."""
    settings = session.settings
    settings.make_home()
    wired = HubSettings(
        reached.url,
        settings.master_key,
        loopback_only=settings.loopback_only,
        integrator=settings.integrator,
        engine=EngineSettings(tracer=tracer),
    )
    async with Hub.opened(wired) as hub:
        yield hub


async def read_merchants(url: str) -> list[Merchant]:
    """All merchants, by the owner's connection: no merchant is set yet."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await (await connection.execute(query("account.merchants"))).fetchall()
    return [Merchant(merchant_id, name) for merchant_id, name in rows]


async def find_merchant(url: str, name: str | None) -> Merchant:
    """The one named, else the only one. Raises Failure."""
    merchants = await read_merchants(url)
    known = ", ".join(each.name for each in merchants)
    if not merchants:
        raise Failure("merchant_none")
    if name is None:
        if len(merchants) > 1:
            raise Failure("merchant_which", known=known)
        return merchants[0]
    found = next((each for each in merchants if each.name == name), None)
    if found is None:
        raise Failure("merchant_unknown", name=name, known=known)
    return found
