"""The master key: where it is, replacing it, and life without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from meschain.app.keeping.master_key import (
    KeyState,
    forget_older,
    give_up,
    read_key_state,
    rotate,
    usable,
)
from meschain.channel.clock import SystemClock, microseconds
from meschain.cli.database import reached_by_command
from meschain.cli.failure import Failure
from meschain.cli.help import Group, reports, session_of
from meschain.cli.session import actor, read_merchants
from meschain.store.unit_of_work import Database
from meschain.store.vault import Vault

if TYPE_CHECKING:
    from meschain.cli.session import Session

T = TypeVar("T")
Work = Callable[[Database, list[int]], Awaitable[T]]


@click.group("key", cls=Group)
def key() -> None:
    pass


@key.command("status")
@reports
@click.pass_context
def status(ctx: click.Context) -> None:
    session = session_of(ctx)
    path = session.settings.master_key
    if not path.exists():
        raise Failure("key_absent", file=str(path))
    vault = Vault(path.read_bytes())

    async def look(database: Database, merchants: list[int]) -> KeyState:
        return await read_key_state(database, vault, merchants)

    state = _run(session, look)
    if not session.out.document(
        {
            "file": str(path),
            "fingerprint": vault.fingerprint,
            "replaced": vault.replaced,
            "data_keys": state.newest,
            "data_keys_older": state.older,
            "data_keys_locked": state.locked,
        }
    ):
        session.out.say("cli.key.where", file=str(path), fingerprint=vault.fingerprint)
        session.out.say("cli.key.opens", count=state.newest + state.older)
        if vault.replaced:
            session.out.say("cli.key.holds_older", count=vault.replaced)
        if state.older:
            session.out.say("cli.key.unfinished", count=state.older)
    if state.locked:
        raise Failure("key_locked", count=state.locked)


@key.command("rotate")
@click.option("--forget-older", "is_forgetting", is_flag=True)
@reports
@click.pass_context
def rotate_(ctx: click.Context, *, is_forgetting: bool) -> None:
    session = session_of(ctx)
    path = session.settings.master_key
    if not path.exists():
        raise Failure("key_absent", file=str(path))

    async def work(database: Database, merchants: list[int]) -> int:
        if is_forgetting:
            return await forget_older(database, path, merchants)
        return await rotate(database, SystemClock(), path, merchants, actor=actor())

    count = _run(session, work)
    fingerprint = Vault.at(path).fingerprint
    done = "forgotten" if is_forgetting else "sealed"
    if not session.out.document({"file": str(path), "fingerprint": fingerprint, done: count}):
        said = "cli.key.forgotten" if is_forgetting else "cli.key.rotated"
        session.out.say(said, count=count, file=str(path), fingerprint=fingerprint)


@key.command("lost")
@click.option("--yes", "is_sure", is_flag=True)
@reports
@click.pass_context
def lost(ctx: click.Context, *, is_sure: bool) -> None:
    session = session_of(ctx)
    path = session.settings.master_key

    async def work(database: Database, merchants: list[int]) -> int:
        vault = usable(path)
        if vault and not (await read_key_state(database, vault, merchants)).locked:
            raise Failure("key_not_lost", file=str(path))
        if not is_sure:
            raise Failure("key_give_up", file=str(path))
        if await _is_served(database, merchants):
            raise Failure("key_hub_runs")
        return await give_up(database, SystemClock(), path, merchants, actor=actor())

    count = _run(session, work)
    if not session.out.document({"file": str(path), "accounts_to_reconnect": count}):
        session.out.say("cli.key.given_up", count=count, file=str(path))


async def _is_served(database: Database, merchants: list[int]) -> bool:
    now_us = microseconds(SystemClock().now())
    for merchant_id in merchants:
        async with database.merchant(merchant_id) as unit:
            if await unit.rows("account.served", {"merchant": merchant_id, "now_us": now_us}):
                return True
    return False


def _run(session: Session, work: Work[T]) -> T:
    """Over the database alone: a hub's parts would insist on the key."""
    with reached_by_command(session.settings, session.out) as reached:

        async def run() -> T:
            merchants = [each.merchant_id for each in await read_merchants(reached.url)]
            async with _opened(reached.url) as database:
                return await work(database, merchants)

        return asyncio.run(run())


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, app_connections=1, engine_connections=1)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
