"""``python -m meschain.demo``: a shop, two simulated marketplaces, and the hub between them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import uvloop

from meschain.demo.day import Day
from meschain.demo.first_listings import CannotPrepare
from meschain.demo.folder import DemoFolder, Prepared, TooManyDemos, program_fingerprint
from meschain.demo.plan import (
    SEED,
    SKUS_DEFAULT,
    SKUS_MAX,
    DemoPlan,
    NotADuration,
    home_of_environment,
    seconds_of,
)
from meschain.demo.prepare import FirstDay, checked_shops, restage
from meschain.demo.sandbox import SandboxFailed, sandbox_process
from meschain.demo.screen import Screen
from meschain.messages import Catalog
from meschain.registry import marketplace
from meschain.store.embedded import EmbeddedPostgresError
from meschain.testing.checker import Control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from meschain.testing.checker import Verdict

_INTERRUPTED: Final = 130
_STARTED: Final = "MESCHAIN_STARTED_AT_UNIX_S"


@dataclass(slots=True)
class Demo:
    """One run, from the command to the last line."""

    plan: DemoPlan
    screen: Screen
    started_s: float  # monotonic: when the command was given
    first_sale_s: float | None = None
    is_first_time: bool = False
    prepare_s: float = 0.0
    figures: dict[str, object] = field(default_factory=dict)

    async def run(self) -> int:
        """The exit status."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(self._run(stopping))

        def stop() -> None:
            # What is not yet open for trade has nothing to close: it is simply cut short.
            if stopping.is_set() or self.first_sale_s is None:
                running.cancel()
            stopping.set()

        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop)
        try:
            verdict = await running
        except asyncio.CancelledError:
            self.screen.say("demo.interrupted")
            return _INTERRUPTED
        if verdict is None:
            return 0 if self.plan.run_s is None else _INTERRUPTED
        self.figures |= verdict.figures()
        return 0 if verdict.is_green else 1

    async def _run(self, stopping: asyncio.Event) -> Verdict | None:
        folder = DemoFolder.take(self.plan.home)
        screen = self.screen
        screen.say("demo.database", folder=str(folder.path))
        async with contextlib.AsyncExitStack() as stack:
            screen.doing("demo.starting")
            async with screen.working():
                # Before the database: if we are killed, the sandbox ends it.
                accounts = await stack.enter_async_context(
                    sandbox_process(folder.postgres.data_dir)
                )
                await stack.enter_async_context(_started(folder))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            control = Control(session, accounts[0].control_url)
            markets = (marketplace(line.marketplace).manifest for line in accounts)
            titles = ", ".join(manifest.identity.title for manifest in markets)
            screen.say("demo.sandbox", markets=titles)
            program = await asyncio.to_thread(program_fingerprint, self.plan.skus, SEED)
            prepared = folder.prepared(program)
            self.is_first_time = prepared is None
            if prepared is None:
                began_s = time.monotonic()
                first = FirstDay(folder, screen, accounts, control, self.plan.skus)
                async with screen.working():
                    prepared = await first.prepare(program)
                self.prepare_s = time.monotonic() - began_s
                await asyncio.to_thread(folder.begin_day)
            else:
                await asyncio.to_thread(folder.begin_day)
                await restage(folder, control, accounts, prepared)
                screen.say("demo.kept")
            day = Day(
                self.plan,
                folder,
                screen,
                control,
                prepared,
                checked_shops(accounts, prepared.accounts),
                lambda: self._sold(folder, prepared),
            )
            verdict = await day.run(stopping)
            self.figures["settle_s"] = round(day.settle_s, 1)
            self.figures["staff"] = day.staff_counts
            return verdict

    def _sold(self, folder: DemoFolder, prepared: Prepared) -> None:
        """The first sale stands on the screen: say how long it took, now and the first time."""
        self.first_sale_s = time.monotonic() - self.started_s
        took = _tenths(self.first_sale_s)
        if self.is_first_time:
            folder.keep(msgspec.structs.replace(prepared, first_sale_s=self.first_sale_s))
            self.screen.say("demo.first_sale.new", took=took)
        else:
            before = prepared.first_sale_s
            self.screen.say("demo.first_sale.again", took=took, first=_tenths(before or 0.0))
            self.figures["first_sale_s_new"] = before and round(before, 1)

    def document(self, status: int) -> bytes:
        """The last line for scripts: one JSON object, units in names."""
        return msgspec.json.encode(
            {
                "demo": "meschain",
                "exit_status": status,
                "run_s": self.plan.run_s,
                "skus": self.plan.skus,
                "orders_per_minute": self.plan.orders_per_minute,
                "prepare_s": round(self.prepare_s, 1),
                "first_sale_s": self.first_sale_s and round(self.first_sale_s, 1),
                "is_first_time": self.is_first_time,
                **self.figures,
            }
        )


@contextlib.asynccontextmanager
async def _started(folder: DemoFolder) -> AsyncIterator[None]:
    """In threads: starting and stopping a server blocks. Whoever leaves early waits for both."""
    starting = asyncio.create_task(asyncio.to_thread(folder.__enter__))
    try:
        await asyncio.shield(starting)
        yield
    finally:
        await asyncio.wait([starting])
        await asyncio.to_thread(folder.__exit__, None, None, None)


def _tenths(seconds: float) -> Decimal:
    return Decimal(seconds).quantize(Decimal("0.1"))


def main(arguments: Sequence[str]) -> int:
    """Run the demo; the exit status is 0 only if the checker is green."""
    started_s = time.monotonic()
    given = os.environ.get(_STARTED)
    if given:
        started_s -= max(0.0, time.time() - float(given))
    catalog = Catalog.load()
    plan = _plan(catalog, arguments)
    logging.basicConfig(level=logging.CRITICAL)
    screen = Screen(catalog)
    demo = Demo(plan, screen, started_s)
    try:
        status = uvloop.run(demo.run())
    except (CannotPrepare, SandboxFailed) as failed:
        screen.say("demo.failed", why=str(failed))
        status = 1
    except EmbeddedPostgresError as failed:
        screen.say(failed.code, **{name: str(value) for name, value in failed.params.items()})
        status = 1
    except TooManyDemos as failed:
        screen.say("demo.too_many", folder=str(failed))
        status = 1
    if plan.as_json or not sys.stdout.isatty():
        sys.stdout.write(demo.document(status).decode() + "\n")
        sys.stdout.flush()
    return status


def _plan(catalog: Catalog, arguments: Sequence[str]) -> DemoPlan:
    parser = argparse.ArgumentParser(
        prog="python -m meschain.demo", description=catalog.text("demo.help")
    )
    parser.add_argument("--for", dest="run", metavar="60s", help=catalog.text("demo.help.for"))
    parser.add_argument(
        "--skus", type=int, default=SKUS_DEFAULT, help=catalog.text("demo.help.skus")
    )
    parser.add_argument("--calm", action="store_true", help=catalog.text("demo.help.calm"))
    parser.add_argument("--json", action="store_true", help=catalog.text("demo.help.json"))
    options = parser.parse_args(arguments)
    try:
        run_s = None if options.run is None else seconds_of(options.run)
    except NotADuration:
        parser.error(catalog.text("demo.not_a_duration", text=options.run))
    if not 2 <= options.skus <= SKUS_MAX:
        parser.error(catalog.text("demo.not_skus", most=SKUS_MAX))
    return DemoPlan(
        run_s=run_s,
        skus=options.skus,
        as_json=options.json,
        is_calm=options.calm,
        home=home_of_environment(),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
