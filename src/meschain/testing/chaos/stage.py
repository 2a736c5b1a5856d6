"""The stage of a chaos run: sandbox, PostgreSQL, hub and worker, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import psutil
import psycopg

from meschain.app.commands.add_account import NewAccount, add_account
from meschain.bootstrap import Hub, HubSettings
from meschain.registry import marketplace
from meschain.sandbox.facade import AccountLine
from meschain.store.embedded import EmbeddedPostgres
from meschain.store.migrate import migrate
from meschain.testing.chaos.program import Program
from meschain.testing.checker import CheckedShop
from meschain.testing.guard import guarded
from meschain.testing.shop import Shop

if TYPE_CHECKING:
    import random

SKUS: Final = 24
QUANTITY: Final = 3_000  # nothing sells out: what is sold twice is the checker's own test
ACCOUNT_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "n11": {"shipment_template": "Standart"}
}
# Only what shortens waiting; a run is about processes, not about slow marketplaces.
_FACADE_SETTINGS: Final = (
    "trendyol.apply_ms_min=20",
    "trendyol.apply_ms_max=120",
    "n11.task_delay_ms_min=20",
    "n11.task_delay_ms_max=120",
)
_DEMAND: Final[Mapping[str, object]] = {
    "orders_per_minute": 480,
    "cancel_share": 0.15,
    "cancel_minutes_mean": 20,  # of the economy, which runs 600 times faster
    "held_minutes": [2.0, 20.0],
}
_FACTOR: Final = "600"
_FAULTS: Final[Mapping[str, float]] = {
    "server_error": 0.01,
    "reset": 0.01,
    "throttled": 0.005,
    "webhook_lost": 0.05,
    "webhook_doubled": 0.05,
    "webhook_reordered": 0.05,
}
_START_S: Final = 30.0
_POLL_S: Final = 0.05


class StageFailed(RuntimeError):
    """Something did not start; the text is what it said."""


@dataclass(slots=True)
class Stage:
    """What a round acts on."""

    control_url: str
    database_url: str
    merchant_id: int
    shops: list[CheckedShop]
    postgres: EmbeddedPostgres
    hub: Program
    worker: Program
    session: aiohttp.ClientSession
    shop: Shop

    async def tell_sandbox(self, path: str, body: Mapping[str, object]) -> None:
        """Change something on the control interface."""
        async with self.session.put(f"{self.control_url}/control{path}", json=body) as answer:
            answer.raise_for_status()

    async def set_demand(self, *, is_on: bool) -> None:
        await self.tell_sandbox("/demand", {**_DEMAND, "is_on": is_on})

    def kill_postmaster(self) -> None:
        """The server's first process; its supervisor starts another."""
        pid = self.postgres.pid
        if pid is not None:
            _kill(pid)

    def kill_backend(self, draw: random.Random) -> None:
        """A process that serves one connection; the server then starts anew by itself."""
        pid = self.postgres.pid
        if pid is None:
            return
        with contextlib.suppress(psutil.Error):
            backends = [
                child.pid
                for child in psutil.Process(pid).children()
                if any(" [local] " in word or "client" in word for word in child.cmdline())
            ]
            if backends:
                _kill(draw.choice(sorted(backends)))

    async def count_goods(self, deltas: dict[str, int]) -> None:
        """The merchant counts, while the database is up."""

        def count() -> None:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                self.shop.connection = connection
                self.shop.move(deltas, "adjustment")

        await asyncio.to_thread(count)

    async def testimony(self) -> str:
        """Who holds which account, what the lanes say of themselves, the programs' last words."""

        def ask() -> list[str]:
            with psycopg.connect(self.database_url) as connection:
                held = connection.execute(
                    "SELECT account_id, owner, epoch, lease_until_us, fresh_us FROM ownership"
                    " JOIN order_cursor USING (merchant_id, account_id) ORDER BY account_id"
                ).fetchall()
                lanes = connection.execute(
                    "SELECT account_id, name, last_run_us, failures, last_error FROM lane"
                    " ORDER BY account_id, name"
                ).fetchall()
            return [f"now {time.time():.3f}", *map(str, held), *map(str, lanes)]

        try:
            lines = await asyncio.to_thread(ask)
        except psycopg.OperationalError as away:
            lines = [str(away)]
        for program in (self.hub, self.worker):
            lines += [f"– {program.name}, running: {program.is_running}", program.last_words()]
        return "\n".join(lines)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    """A folder that is gone afterwards, with one for the hub in it."""
    with tempfile.TemporaryDirectory(prefix="meschain-chaos-") as name:
        home = Path(name)
        home.chmod(0o755)  # the database's own user must be able to pass
        (home / "hub").mkdir(mode=0o700)
        with guarded(home):
            yield home


@asynccontextmanager
async def stage(seed: int) -> AsyncIterator[Stage]:
    """Everything runs and trades; all of it ends by its own number afterwards."""
    async with AsyncExitStack() as stack:
        home = stack.enter_context(_home())
        postgres = EmbeddedPostgres(home / "postgres")
        stack.callback(postgres.remove)
        # Not in a thread: it would go on starting after the run was told to end.
        database_url = postgres.start()
        migrate(database_url)
        private = home / "hub"
        environment = {
            "DATABASE_URL": database_url,
            "MESCHAIN_HOME": str(private),
            "MESCHAIN_LOOPBACK_ONLY": "1",
            "MESCHAIN_LANG": "en",
        }
        settings = [word for each in _FACADE_SETTINGS for word in ("--setting", each)]
        sandbox = Program(
            "sandbox",
            (
                *("sandbox", "--json", "--port", "0", "--seed", str(seed)),
                *("--time-factor", _FACTOR, *settings),
            ),
            environment,
            home / "sandbox.log",
        )
        port = _free_port()
        hub = Program("hub", ("up", "--port", str(port)), environment, home / "hub.log")
        worker = Program("worker", ("worker",), environment, home / "worker.log")
        for program in (sandbox, worker, hub):
            stack.push_async_callback(program.end)
        await sandbox.start(is_read=True)
        lines = await _accounts(sandbox)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        shop, shops = await _open_shop(lines, session, database_url, private)
        made = Stage(
            lines[0].control_url,
            database_url,
            shop.merchant_id,
            shops,
            postgres,
            hub,
            worker,
            session,
            shop,
        )
        await made.tell_sandbox("/faults", {"rates": _FAULTS})
        await hub.start()
        await worker.start()
        await _until_owned(made)
        await _register_webhooks(lines, port, environment, home)
        yield made


async def _accounts(sandbox: Program) -> list[AccountLine]:
    assert sandbox.process is not None
    assert sandbox.process.stdout is not None
    lines: list[AccountLine] = []
    try:
        async with asyncio.timeout(_START_S):
            while len(lines) < len(ACCOUNT_SETTINGS) + 1:
                line = await sandbox.process.stdout.readline()
                if not line:
                    raise StageFailed(sandbox.last_words())
                lines.append(msgspec.json.decode(line, type=AccountLine))
    except TimeoutError as late:
        raise StageFailed(sandbox.last_words()) from late
    return lines


async def _open_shop(
    lines: list[AccountLine], session: aiohttp.ClientSession, database_url: str, home: Path
) -> tuple[Shop, list[CheckedShop]]:
    """A merchant whose goods stand on every shelf, armed."""
    skus = [f"S{number}" for number in range(SKUS)]
    shops: list[CheckedShop] = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        shop = Shop.open(connection)
        for sku in skus:
            shop.variant(sku, on_hand=QUANTITY)
        settings = HubSettings(database_url, home / "master.key", loopback_only=True)
        async with Hub.opened(settings) as hub:
            for line in lines:
                name, manifest = line.marketplace, marketplace(line.marketplace).manifest
                account = NewAccount(
                    name,
                    name,
                    line.base_urls,
                    line.credentials,
                    ACCOUNT_SETTINGS.get(name, {}),
                    line.tier,
                )
                shop.accounts[name] = await add_account(
                    hub.database, hub.keys, hub.clock, shop.merchant_id, manifest, account
                )
                await _stock(session, line, skus)
                shop.list_on(name, skus)
                connection.execute(
                    "UPDATE listing_key SET push_key = CASE %s WHEN 'stock_code' THEN stock_code"
                    " ELSE barcode END WHERE account_id = %s",
                    (manifest.offers.key, shop.accounts[name]),
                )
                shops.append(CheckedShop(shop.accounts[name], name, line.seller_id))
        connection.execute("UPDATE account SET state = 'armed'")
    return shop, shops


async def _stock(session: aiohttp.ClientSession, line: AccountLine, skus: list[str]) -> None:
    body = {
        "marketplace": line.marketplace,
        "seller_id": line.seller_id,
        "shelves": [
            {
                "barcode": f"B{sku}",
                "stock_code": sku,
                "title": f"Kazak {sku}",
                "quantity": QUANTITY,
                "list_minor": 10_000,
                "sale_minor": 10_000,
            }
            for sku in skus
        ],
    }
    async with session.post(f"{line.control_url}/control/shelves", json=body) as answer:
        answer.raise_for_status()


async def _until_owned(made: Stage) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            for program in (made.hub, made.worker):
                if not program.is_running:
                    raise StageFailed(program.last_words())
            with psycopg.connect(made.database_url) as connection:
                row = connection.execute(
                    "SELECT count(*) FROM ownership WHERE pacer IS NULL"
                ).fetchone()
            if row is not None and row[0] == 0:
                return
            await asyncio.sleep(_POLL_S)


async def _register_webhooks(
    lines: list[AccountLine], port: int, environment: Mapping[str, str], home: Path
) -> None:
    for line in lines:
        if marketplace(line.marketplace).manifest.orders.webhook:
            url = f"http://127.0.0.1:{port}"
            command = ("webhook", "register", line.marketplace, "--url", url)
            registering = Program("register", command, environment, home / "register.log")
            await registering.start()
            assert registering.process is not None
            if await registering.process.wait():
                raise StageFailed(registering.last_words())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
