"""What breaks around a hub: its database, its disk, its clock. Nothing is lost, and it says so."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from meschain.bootstrap import Hub, HubSettings
from meschain.channel.clock import SystemClock, microseconds
from meschain.cli.tree import root
from meschain.store.embedded import EmbeddedPostgres, EmbeddedPostgresError
from meschain.store.migrate import migrate
from meschain.testing.trade import Trade, trading

EAST, WEST = "trendyol", "n11"
MIB = 1024 * 1024


class JumpingClock(SystemClock):
    """The machine's clock after somebody, or NTP, has set it. Durations go on as they are."""

    def __init__(self) -> None:
        self.off = timedelta()

    def now(self) -> datetime:
        return super().now() + self.off


@asynccontextmanager
async def hub_with(trade: Trade, url: str, home: Path, clock: SystemClock) -> AsyncIterator[Trade]:
    """Another hub of the same shop, with its own clock."""
    with psycopg.connect(url, autocommit=True) as connection:
        settings = HubSettings(url, home / "master.key", loopback_only=True)
        async with Hub.opened(settings, clock) as hub:
            await hub.engine.start()
            try:
                yield Trade(
                    trade.host, replace(trade.shop, connection=connection), hub, trade.accounts
                )
            finally:
                await hub.engine.stop()


async def calm(trade: Trade) -> None:
    """Every order is in, and every shelf shows what it should. Doubts may be looked at later."""
    waiting = "SELECT ((SELECT count(*) FROM offer_dirty) + (SELECT count(*) FROM offer_inflight))"
    placed = len(trade.host.world.orders)
    await trade.until(
        lambda: (
            trade.number("SELECT count(*)::int FROM orders") == placed
            and trade.number(f"{waiting}::int") == 0
            and trade.differing() == []
        ),
        within_s=100,
    )


# — the clock —


@pytest.mark.slow
async def test_a_clock_that_jumps_forth_and_back_loses_no_order_and_no_quantity(
    database_url: str, tmp_path: Path
) -> None:
    """Two days ahead and back: orders are found at once each time. Two days behind they cannot be
    asked for, and are found when the clock is right again."""
    clock = JumpingClock()
    async with (
        trading(database_url, tmp_path, quantity=40, is_started=False) as trade,
        hub_with(trade, database_url, tmp_path, clock) as hub,
    ):
        for days in (2, 0, -2, 0):
            clock.off = timedelta(days=days)
            trade.buy(EAST, {"A": 1})
            trade.buy(WEST, {"B": 2})
            if days < 0:
                await asyncio.sleep(3)
            else:
                await calm(hub)
        assert hub.net_found() == 0


async def test_what_a_clock_that_was_ahead_has_put_off_is_not_waited_for(
    database_url: str, tmp_path: Path
) -> None:
    async with trading(database_url, tmp_path, is_started=False) as trade:
        await trade.move({"A": -3})
        ahead_us = microseconds(trade.hub.clock.now() + timedelta(days=2))
        await trade.write("UPDATE offer_dirty SET not_before_us = %s", ahead_us)
        await trade.write("UPDATE lane SET next_run_us = %s", ahead_us)
        await trade.write(
            "INSERT INTO offer_unsettled (merchant_id, account_id, listing_id, field, recheck_us,"
            " since_us, reason) SELECT merchant_id, account_id, listing_id, 1, %s, 1, 2"
            " FROM offer_acknowledged",
            ahead_us,
        )
        async with hub_with(trade, database_url, tmp_path, SystemClock()) as hub:
            await calm(hub)
            looked = "SELECT count(*)::int FROM offer_unsettled"
            await hub.until(lambda: hub.number(looked) == 0)
            due = "SELECT count(*)::int FROM lane WHERE next_run_us > %s - 3600000000"
            assert hub.number(due, ahead_us) == 0


@pytest.mark.slow
async def test_a_killed_hubs_accounts_are_taken_over_although_the_clock_went_back(
    database_url: str, tmp_path: Path
) -> None:
    """Its leases seem to last for another day: nobody would speak for the accounts until then."""
    async with trading(database_url, tmp_path, is_started=False) as trade:
        ahead = JumpingClock()
        ahead.off = timedelta(days=1)
        async with hub_with(trade, database_url, tmp_path, ahead) as first:
            assert len(first.hub.engine.accounts) == 2
            leases = "SELECT merchant_id, account_id, owner, lease_until_us FROM ownership"
            held = trade.rows(leases)
        for merchant, account, owner, until in held:  # as if it had not said goodbye
            await trade.write(
                "UPDATE ownership SET owner = %s, lease_until_us = %s"
                " WHERE merchant_id = %s AND account_id = %s",
                *(owner, until, merchant, account),
            )
        async with hub_with(trade, database_url, tmp_path, SystemClock()) as second:
            await second.until(lambda: len(second.hub.engine.accounts) == 2)


# — the database —


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server as a hub has it, with all its care for power cuts."""
    tmp_path.chmod(0o755)
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.mark.slow
@pytest.mark.parametrize(
    "sign", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["restarted", "cut", "killed"]
)
async def test_a_database_that_goes_and_comes_back_under_load_loses_nothing(
    sign: signal.Signals, own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    url = own_server.start()
    migrate(url)
    async with trading(url, tmp_path, quantity=60) as trade:
        stop = asyncio.Event()

        async def buy() -> None:
            number = 0
            while not stop.is_set():
                trade.buy((EAST, WEST)[number % 2], {"ABC"[number % 3]: 1})
                number += 1
                await asyncio.sleep(0.05)

        buying = asyncio.create_task(buy())
        for _ in range(2):
            await asyncio.sleep(1.0)
            pid = own_server.pid
            assert pid is not None
            os.kill(pid, sign)
            await trade.until(lambda pid=pid: own_server.pid not in {None, pid})  # type: ignore[misc]
        stop.set()
        await buying
        trade.shop.connection = psycopg.connect(url, autocommit=True)
        try:
            placed = len(trade.host.world.orders)
            assert placed > 20
            await calm(trade)
            torn = trade.number(
                "SELECT count(*)::int FROM stock_level l WHERE on_hand - reserved <> 60 -"
                " (SELECT coalesce(sum(units_ordered), 0) FROM order_line o"
                " WHERE o.variant_id = l.variant_id)"
            )
            assert torn == 0
        finally:
            trade.shop.connection.close()


@pytest.mark.slow
async def test_a_database_that_only_reads_for_a_while_loses_nothing(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As hosted servers do when their disk is nearly full, and every server that is a replica."""
    async with trading(database_url, tmp_path, quantity=60) as trade:
        trade.buy(EAST, {"A": 1})
        await trade.come_to_rest()
        with psycopg.connect(database_url, autocommit=True) as owner:
            spared = trade.connection.info.backend_pid
            turn_read_only(owner, "on", spared)
            for _ in range(10):
                trade.buy(EAST, {"B": 1})
                trade.buy(WEST, {"C": 1})
            # Until no lease could be renewed: everything that writes was refused by then.
            await trade.until(
                lambda: trade.number("SELECT max(lease_until_us) FROM ownership") < now_us()
            )
            with (
                pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
                psycopg.connect(database_url) as refused,
            ):
                refused.execute("UPDATE stock_level SET on_hand = 0")
            taken = trade.number("SELECT count(*)::int FROM orders")
            assert taken < len(trade.host.world.orders)
            turn_read_only(owner, "off", spared)
        await calm(trade)
        assert trade.number("SELECT count(*)::int FROM orders") == len(trade.host.world.orders)
    assert not [each.message for each in caplog.records if each.message == "engine loop failed"]


def now_us() -> int:
    return microseconds(SystemClock().now())


def turn_read_only(owner: psycopg.Connection[tuple[object, ...]], word: str, spared: int) -> None:
    """For everybody who connects from now on; of those who are there only one stays."""
    statement = "ALTER DATABASE {} SET default_transaction_read_only = {}"
    owner.execute("SET default_transaction_read_only = off")
    owner.execute(sql.SQL(statement).format(sql.Identifier(owner.info.dbname), sql.SQL(word)))
    owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND NOT pid = ANY (%s)",
        ([owner.info.backend_pid, spared],),
    )


async def test_a_newer_database_is_refused_by_every_command_and_left_alone(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO schema_migration VALUES (9999, 'later', 'pre', 'x')")
        before = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
        for words in (["account", "list"], ["up", "--port", "0"], ["backup"], ["worker"]):
            result = await asyncio.to_thread(CliRunner().invoke, root, words)
            assert result.exit_code == 1, result.output
            assert "newer MesChain-Sync" in result.output
            assert "Install that version" in result.output
        assert before is not None
        result = await asyncio.to_thread(CliRunner().invoke, root, ["doctor"])
        assert "9999" in result.output


# — the disk —


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 320 MB, where the database's own user may go too."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="meschain-disk-"))
    folder.chmod(0o755)
    made = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=320m", "meschain-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        folder.rmdir()
        pytest.skip(f"no file system may be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path) -> Path:
    """Take all room that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MIB))
        except OSError:
            pass
    return ballast


@pytest.mark.slow
async def test_a_disk_that_fills_up_loses_nothing_and_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = EmbeddedPostgres(small_disk / "postgres", settings={"max_wal_size": "64MB"})
    try:
        url = server.start()
        migrate(url)
        async with trading(url, tmp_path, quantity=60) as trade:
            trade.buy(EAST, {"A": 1})
            await trade.come_to_rest()
            ballast = fill(small_disk)
            # Until the database itself finds no room any more.
            for _ in range(20):
                trade.buy(EAST, {"B": 1})
                trade.buy(WEST, {"C": 1})
                await asyncio.sleep(0.1)
            with pytest.raises(psycopg.OperationalError):
                await asyncio.to_thread(write_until_refused, url)
            # And while there is none it dies, too.
            pid = server.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(8)  # longer than several starts in vain
            ballast.unlink()
            trade.shop.connection = await reconnected(url)
            try:
                await calm(trade)
            finally:
                trade.shop.connection.close()
        assert any("away" in record.message for record in caplog.records)
    finally:
        server.remove()


def write_until_refused(url: str) -> None:
    """Rows that no compression makes smaller, more than the disk holds."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(400):
            connection.execute(
                "INSERT INTO import_run (merchant_id, kind, file_name, file_hash, actor,"
                " started_at) VALUES (1, 'x', '', %s, 'x', now())",
                (os.urandom(MIB),),
            )


async def reconnected(url: str) -> psycopg.Connection[tuple[object, ...]]:
    async with asyncio.timeout(40):
        while True:
            try:
                return psycopg.connect(url, autocommit=True)
            except psycopg.OperationalError:
                await asyncio.sleep(0.2)


def test_a_disk_that_can_only_be_read_is_told_at_the_start(small_disk: Path) -> None:
    home = small_disk / "postgres"
    with EmbeddedPostgres(home):
        pass
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        with pytest.raises(EmbeddedPostgresError) as refused:
            EmbeddedPostgres(home).start()
        assert refused.value.code == "pg.folder_unwritable"
        assert str(home) in str(refused.value)
    finally:
        subprocess.run(["/bin/mount", "-o", "remount,rw", str(small_disk)], check=True)
