"""Running things: the hub, a worker, the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING

import click
import msgspec
import uvloop

from meschain.app.feeds import keep_feeds
from meschain.app.images.store import ImageStore
from meschain.app.keeping.schedule import keep_backups, keep_erasing
from meschain.app.keeping.storage import storage_at
from meschain.cli.database import HubAddress, Reached, reached_by_hub
from meschain.cli.failure import Failure
from meschain.cli.help import Command, Exact, Pair, Whole, for_merchant, reports, session_of
from meschain.cli.session import Session, find_merchant, opened_hub, read_merchants
from meschain.registry import marketplaces
from meschain.sandbox.demand import DemandSettings
from meschain.sandbox.economy import EconomySettings
from meschain.sandbox.host import PORT_DEFAULT, SandboxHost, run_sandbox
from meschain.server import PORT_USUAL, serve
from meschain.settings import Settings, SettingsInvalid
from meschain.telemetry import configure_logging, log_to_folder
from meschain.tracing import traced
from meschain.worker import run_worker, until_stopped

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from meschain.bootstrap import Hub
    from meschain.sync.trace import Tracer

log = logging.getLogger(__name__)


@click.command("up", cls=Command)
@click.option("--port", type=Whole(0, 65_535), default=PORT_USUAL)
@for_merchant
@reports
@click.pass_context
def up(ctx: click.Context, port: int) -> None:
    session = session_of(ctx)
    log_to_folder(session.settings.log_folder, session.settings.log_level)
    session.out.note("cli.up.database")
    with reached_by_hub(session.settings, session.out) as reached:
        uvloop.run(_up(session, reached, port))
    session.out.note("cli.up.stopped")


async def _up(session: Session, reached: Reached, port: int) -> None:
    merchants = await read_merchants(reached.url)
    merchant_id = (
        (await find_merchant(reached.url, session.merchant_name)).merchant_id
        if session.merchant_name is not None or len(merchants) == 1
        else None
    )
    async with (
        until_stopped() as stopping,
        _rereading(session.settings),
        _traced() as tracer,
        opened_hub(session, reached, tracer=tracer) as hub,
        _backups_kept(session.settings, hub),
        _feeds_kept(hub, reached.url),
        _erasing_kept(hub, reached.url),
    ):
        session.out.note("cli.up.engine")
        await hub.engine.start()
        server = None
        try:
            images = ImageStore(session.settings.images_folder)
            server = await serve(hub, port, merchant_id=merchant_id, images=images)
            with _address(session.settings.address_file, HubAddress(server.url, os.getpid())):
                served = len(hub.engine.accounts)
                if not session.out.document(
                    {"url": server.url, "accounts_served": served, "pid": os.getpid()}
                ):
                    session.out.say("cli.up.ready", url=server.url, count=served)
                if not merchants:
                    session.out.note("cli.up.no_merchant")
                await stopping.wait()
                session.out.note("cli.up.stopping")
        finally:
            # Beside each other, so that the whole stays within 3 s: a webhook that comes now is
            # recorded, and taken in after the next start.
            ends = [hub.engine.stop()] + ([server.stop()] if server else [])
            await asyncio.gather(*ends)


@contextlib.asynccontextmanager
async def _rereading(settings: Settings) -> AsyncIterator[None]:
    """SIGHUP has the log level read again; whatever else is set needs a restart."""

    def reread() -> None:
        try:
            level = Settings.load().log_level
        except SettingsInvalid as wrong:
            log.warning("settings cannot be read", exc_info=wrong)
            return
        for handler in logging.getLogger().handlers:
            handler.close()
        configure_logging(level)
        log_to_folder(settings.log_folder, level)
        log.info("settings were read again", extra={"log_level": level})

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reread)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextlib.asynccontextmanager
async def _traced() -> AsyncIterator[Tracer | None]:
    with traced(os.environ) as tracer:
        yield tracer


@contextlib.asynccontextmanager
async def _backups_kept(settings: Settings, hub: Hub) -> AsyncIterator[None]:
    """Backups by the plan of the settings, where there is one."""
    if settings.backup is None:
        yield
        return
    opened = partial(storage_at, settings.backup_address, settings.s3_file)
    command = (sys.executable, "-m", "meschain", "backup", "--scheduled")
    keeping = keep_backups(settings.backup, opened, hub.clock, command)
    async with _beside("backups", keeping):
        yield


@contextlib.asynccontextmanager
async def _feeds_kept(hub: Hub, url: str) -> AsyncIterator[None]:
    """Suppliers' feeds, each when it is due."""

    async def names() -> dict[int, str]:
        return {each.merchant_id: each.name for each in await read_merchants(url)}

    command = (sys.executable, "-m", "meschain", "feed", "run", "--wait")
    async with _beside("feeds", keep_feeds(hub.database, hub.clock, names, command)):
        yield


@contextlib.asynccontextmanager
async def _beside(name: str, keeping: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run it as long as the hub does; should a defect end it before, that is told at once."""

    def tell(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled():
            log.error("work beside the hub ended", exc_info=ended.exception(), extra={"work": name})

    task = asyncio.create_task(keeping, name=name)
    task.add_done_callback(tell)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _erasing_kept(hub: Hub, url: str) -> AsyncIterator[None]:
    """Buyers' personal data, each account's when its time is over."""

    async def merchants() -> list[int]:
        return [each.merchant_id for each in await read_merchants(url)]

    async with _beside("erasing", keep_erasing(hub.database, hub.clock, merchants)):
        yield


@contextlib.contextmanager
def _address(path: Path, address: HubAddress) -> Iterator[None]:
    """Say where the hub is; the lock says that it still is, and ends with the process."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # shared: hubs on a server of one's own may be several
        file.write(msgspec.json.encode(address))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@click.command("worker", cls=Command)
@click.pass_context
def worker(ctx: click.Context) -> None:
    session = session_of(ctx)
    if not session.settings.database_url:
        raise Failure("worker_needs_server")
    log_to_folder(session.settings.log_folder, session.settings.log_level)
    with reached_by_hub(session.settings, session.out) as reached:
        uvloop.run(_work(session, reached))
    session.out.note("cli.up.stopped")


async def _work(session: Session, reached: Reached) -> None:
    async with (
        until_stopped() as stopping,
        _rereading(session.settings),
        _traced() as tracer,
        opened_hub(session, reached, tracer=tracer) as hub,
    ):
        session.out.note("cli.worker.ready", pid=os.getpid())
        await run_worker(hub, stopping)


@click.command("sandbox", cls=Command)
@click.option("--port", type=Whole(0, 65_535), default=PORT_DEFAULT)
@click.option("--seed", type=Whole(), default=1)
@click.option("--orders-per-minute", type=Exact())
@click.option("--accounts", type=Whole(1, 1_000), default=1)
@click.option("--marketplace", "names", multiple=True)
@click.option("--tier", type=Pair(), multiple=True)
@click.option("--setting", type=Pair(), multiple=True)
@click.option("--time-factor", type=Exact())
@reports
@click.pass_context
def sandbox(
    ctx: click.Context,
    port: int,
    seed: int,
    orders_per_minute: Decimal | None,
    accounts: int,
    names: tuple[str, ...],
    tier: tuple[tuple[str, str], ...],
    setting: tuple[tuple[str, str], ...],
    time_factor: Decimal | None,
) -> None:
    session = session_of(ctx)
    known = marketplaces()
    for name in (*names, *(name for name, _ in tier), *(key.split(".")[0] for key, _ in setting)):
        if name not in known:
            raise Failure("marketplace_unknown", name=name, known=", ".join(sorted(known)))
    demand = DemandSettings(
        is_on=orders_per_minute is not None,
        orders_per_minute=None if orders_per_minute is None else float(orders_per_minute),
    )
    economy = EconomySettings(factor=float(time_factor or 1), demand=demand)
    settings: dict[str, dict[str, str]] = {}
    for key, value in setting:
        name, _, rest = key.partition(".")
        settings.setdefault(name, {})[rest] = value
    try:
        host = SandboxHost(
            {name: known[name].facade_factory() for name in names or known},
            seed=seed,
            settings=settings,
            economy=economy,
            accounts_per_marketplace=accounts,
            tier=dict(tier),
            port=port,
        )
    except ValueError as wrong:
        raise Failure("sandbox_setting", words=str(wrong)) from wrong
    session.out.note("cli.sandbox.note")
    asyncio.run(run_sandbox(host, as_json=session.out.as_json))
