"""Backups of a hub that trades: restored elsewhere, it knows every order and tells every shelf."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from meschain.app.keeping import master_key, schedule
from meschain.app.keeping.backups import (
    BackupPlan,
    Proof,
    backups_in,
    make_backup,
    read_proof,
    write_proof,
)
from meschain.app.keeping.schedule import keep_backups
from meschain.app.keeping.storage import Folder
from meschain.bootstrap import Hub, HubSettings
from meschain.channel.clock import SystemClock
from meschain.channel.contract import Priority
from meschain.cli.tree import root
from meschain.registry import Marketplace
from meschain.sandbox.world import Impossible
from meschain.settings import Settings
from meschain.store.backup import drop_before
from meschain.store.keys import DataKeys
from meschain.store.vault import (
    MasterKeyMissing,
    Vault,
    VaultLocked,
    write_master_keys,
)
from meschain.telemetry import LogFilter, LogReader
from meschain.testing.checker import CheckedShop, check
from meschain.testing.database import DatabaseServer
from meschain.testing.shop import Shop
from meschain.testing.trade import Trade, trading
from tests.simulated.markets import hastened

EAST, WEST = "trendyol", "n11"
SKUS = ("A", "B", "C", "D")
UNSOLD = "E"  # only counted
QUANTITY = 60


def save(url: str, folder: Path) -> Path:
    name = make_backup(
        url,
        Folder(folder),
        now=datetime.now(UTC),  # noqa: TID251 – as the command does
        key=None,
        master_key=None,
        tick=lambda _done, _total: None,
    ).name
    return folder / name


def cut(path: Path, to: Path) -> None:
    to.write_bytes(path.read_bytes()[:-40])


async def command(*words: str, status: int = 0) -> str:
    """Run a command in a thread; what it printed on both ways, or its document."""
    result = await asyncio.to_thread(CliRunner().invoke, root, words)
    assert "Traceback" not in result.output, result.output
    assert result.exit_code == status, result.output
    return result.stdout if "--json" in words else result.output


@pytest.fixture
def markets(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Marketplace]:
    """The marketplaces, with our own waits cut short."""
    return hastened(monkeypatch, quotas_finer=10)


def commands_go_to(patch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    patch.setenv("DATABASE_URL", url)
    patch.setenv("MESCHAIN_HOME", str(home))
    patch.setenv("MESCHAIN_LANG", "en")
    patch.setenv("MESCHAIN_LOOPBACK_ONLY", "1")
    patch.setattr("meschain.cli.tree.configure_logging", lambda level: level)


@pytest.fixture
def here(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands meet the hub's own database and data folder."""
    commands_go_to(monkeypatch, database_url, tmp_path)
    return tmp_path


@pytest.fixture
def elsewhere(
    database_server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """Commands meet another database and another data folder."""
    with database_server.database() as url:
        home = tmp_path / "elsewhere"
        home.mkdir()
        commands_go_to(monkeypatch, url, home)
        yield url, home
        drop_before(url)


async def buyers(trade: Trade, stop: asyncio.Event) -> None:
    """They buy everywhere, for as long as shelves hold it."""
    number = 0
    while not stop.is_set():
        with contextlib.suppress(Impossible):
            trade.buy((EAST, WEST)[number % 2], {SKUS[number // 2 % 4]: 1})
        number += 1
        await asyncio.sleep(0.05)


@asynccontextmanager
async def hub_over(trade: Trade, url: str, home: Path) -> AsyncIterator[Trade]:
    """The same world, with another hub over another database."""
    with psycopg.connect(url, autocommit=True) as connection:
        settings = HubSettings(url, home / "master.key", loopback_only=True)
        async with Hub.opened(settings) as hub:
            await hub.engine.start()
            shop = replace(trade.shop, connection=connection)
            try:
                yield Trade(trade.host, shop, hub, trade.accounts)
            finally:
                await hub.engine.stop()


@pytest.mark.slow
async def test_a_backup_from_the_middle_of_trade_restored_elsewhere_loses_and_doubles_nothing(
    database_url: str,
    elsewhere: tuple[str, Path],
    markets: Mapping[str, Marketplace],
    tmp_path: Path,
) -> None:
    """The hub sells on after the backup, counts goods, dies; buyers go on; the restored one takes
    over."""
    url, home = elsewhere
    async with trading(
        database_url, tmp_path, skus=(*SKUS, UNSOLD), quantity=QUANTITY, markets=markets
    ) as trade:
        stop = asyncio.Event()
        buying = asyncio.create_task(buyers(trade, stop))
        try:
            await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") > 10)
            path = await asyncio.to_thread(save, database_url, tmp_path / "backups")
            known = len(trade.host.world.orders)
            await trade.until(lambda: len(trade.host.world.orders) > known + 20)
            await trade.move({"A": 30, UNSOLD: 7})  # counted after the backup: gone with it
            counted = QUANTITY + 7
            await trade.until(lambda: trade.shelf(EAST, UNSOLD).quantity == counted)
            await trade.hub.engine.stop()
            dead_at = len(trade.host.world.orders)
            await trade.until(lambda: len(trade.host.world.orders) > dead_at + 10)
        finally:
            stop.set()
            await buying
        journal_at = trade.host.world.journal[-1].number

        shutil.copy(tmp_path / "master.key", home)
        said = json.loads(await command("restore", str(path), "--keep-armed", "--json"))
        assert (said["accounts_armed"], said["accounts_disarmed"]) == (2, 0)
        async with hub_over(trade, url, home) as restored:
            placed = len(trade.host.world.orders)
            # What the dead hub has sent is unknown; what is kept for orders and sales is not waited
            # for, and the rest comes a minute after the restore.
            for name in (EAST, WEST):
                pacer = restored.served(name).pacer
                assert pacer.available("pull_orders", Priority.CRITICAL) > 0
                assert pacer.available("push_offers", Priority.NORMAL) == 0
            await restored.until(
                lambda: restored.number("SELECT count(*)::int FROM orders") == placed
            )
            await restored.come_to_rest(within_s=100)
            on_hand = restored.number("SELECT sum(on_hand)::int FROM stock_level")
            assert on_hand == (len(SKUS) + 1) * QUANTITY
            told_too_much(restored, journal_at)
            url_of_world = trade.host.accounts[0].control_url
            shops = [
                CheckedShop(trade.accounts[line.marketplace], line.marketplace, line.seller_id)
                for line in trade.host.accounts
            ]
            verdict = await check(url_of_world, url, trade.shop.merchant_id, shops)
            assert verdict.problems == []
            assert verdict.shelves_equal == verdict.shelves_checked == 2 * (len(SKUS) + 1)
            for marketplace in (EAST, WEST):
                assert trade.shelf(marketplace, UNSOLD).quantity == QUANTITY
            # And it trades on.
            trade.buy(EAST, {"C": 1})
            await restored.come_to_rest()
            assert restored.net_found() == 0


def told_too_much(trade: Trade, after: int) -> None:
    """No shelf rose to units that were sold on it already: orders first, then quantities.

    Lowering one that stands higher is right at any time, however little is known yet.
    """
    sold: dict[tuple[str, str], int] = {}
    for entry in trade.host.world.journal:
        place = (entry.marketplace, entry.key)
        units = entry.facts.get("units")
        if entry.kind == "sale":
            assert isinstance(units, int)
            sold[place] = sold.get(place, 0) + units
        if entry.kind == "offer" and entry.number > after and entry.facts["sets_quantity"]:
            quantity, before = entry.facts["quantity"], entry.facts["quantity_before"]
            assert isinstance(quantity, int)
            assert isinstance(before, int)
            assert quantity <= max(before, QUANTITY - sold.get(place, 0)), entry


async def test_a_hub_without_its_master_key_does_not_make_another_one(
    database_url: str, tmp_path: Path
) -> None:
    async with trading(database_url, tmp_path, is_started=False):
        pass
    key = tmp_path / "master.key"
    settings = HubSettings(database_url, key, loopback_only=True)
    right = key.read_bytes()
    key.unlink()
    with pytest.raises(MasterKeyMissing, match=str(key)):
        async with Hub.opened(settings):
            pass
    assert not key.exists()
    key.write_bytes(bytes(32))
    with pytest.raises(VaultLocked):
        async with Hub.opened(settings):
            pass
    key.write_bytes(right)
    async with Hub.opened(settings):
        pass


# — the commands —


async def test_a_backup_is_made_tried_and_restored_by_commands(
    database_url: str,
    elsewhere: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    url, home = elsewhere
    async with trading(database_url, tmp_path, is_started=False):
        pass
    key_file = tmp_path / "backup.key"
    key_file.write_text("a sentence that nobody guesses\n")
    commands_go_to(monkeypatch, database_url, tmp_path)
    folder = str(tmp_path / "b")
    assert "--key-file" in await command("backup", "--to", folder, "--with-key", status=1)
    said = json.loads(
        await command(
            *("backup", "--to", folder, "--key-file", str(key_file), "--with-key", "--json")
        )
    )
    assert said["is_sealed"] is said["has_master_key"] is True
    assert said["size_bytes"] > 1_000
    file = said["file"]
    sealed = (*("restore", file), "--key-file", str(key_file))
    assert "good" in await command(*sealed, "--test")
    assert "there are merchants here" in (await command(*sealed, status=1)).lower()
    assert "key" in await command("restore", file, "--test", status=1)

    # Another machine, with nothing: the key comes along.
    commands_go_to(monkeypatch, url, home)
    told = await command(*sealed, "--keep-armed")
    assert "2 accounts go on sending" in told
    assert (home / "master.key").read_bytes() == (tmp_path / "master.key").read_bytes()
    assert (home / "master.key").stat().st_mode & 0o077 == 0
    listed = json.loads(await command("account", "list", "--json"))
    assert [each["state"] for each in listed["accounts"]] == ["armed", "armed"]

    # And again, over what is there now: put aside, and named.
    cut(Path(file), Path(file + ".bad"))
    bad = ("restore", file + ".bad", "--key-file", str(key_file), "--replace")
    assert "damaged" in await command(*bad, status=1)
    said = json.loads(await command(*sealed, "--replace", "--json"))
    assert said["accounts_disarmed"] == 2
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname = %s", (said["database_before"],)
        ).fetchone()
        assert found == (1,)
        assert connection.execute("SELECT count(*) FROM merchant").fetchone() == (1,)
        hub_runs = await command(*sealed, "--replace", status=1)
    assert "still connected" in hub_runs


async def test_without_the_master_key_a_restore_changes_nothing_and_says_what_is_missing(
    database_url: str, elsewhere: tuple[str, Path], tmp_path: Path
) -> None:
    url, home = elsewhere
    async with trading(database_url, tmp_path, is_started=False):
        pass
    path = await asyncio.to_thread(save, database_url, tmp_path / "backups")
    said = await command("restore", str(path), status=1)
    assert str(home / "master.key") in said
    assert not (home / "master.key").exists()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM merchant").fetchone() == (0,)


async def test_scheduled_backups_are_kept_by_the_plan_and_the_newest_is_tried(
    elsewhere: tuple[str, Path], database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the hub's own loop, which runs the real command as a process of its own."""
    _, home = elsewhere
    async with trading(database_url, tmp_path, is_started=False):
        pass
    monkeypatch.setenv("DATABASE_URL", database_url)
    folder = tmp_path / "kept"
    folder.mkdir()
    for day in (10, 11, 12):
        (folder / f"meschain-202601{day}T030000Z.backup").write_bytes(b"old")
    for name, days in (("left", 2), ("made-by-another", 0)):
        (folder / f".partial-{name}").write_bytes(b"cut")
        when_s = time.time() - days * 86_400
        os.utime(folder / f".partial-{name}", (when_s, when_s))
    (home / "settings.toml").write_text(
        f'[backup]\nevery_hours = 24\nfolder = "{folder}"\n'
        "keep_daily = 2\nkeep_weekly = 1\nkeep_monthly = 1\n"
    )
    plan = Settings.load().backup
    assert plan is not None
    run = (sys.executable, "-m", "meschain", "backup", "--scheduled")
    keeping = asyncio.create_task(
        keep_backups(plan, lambda: Folder(folder), SystemClock(), run, look_s=0.1), name="backups"
    )
    try:
        async with asyncio.timeout(60):
            while read_proof(Folder(folder)) is None:
                assert not keeping.done()
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # not due again
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    proof = read_proof(Folder(folder))
    assert proof is not None
    assert (proof.problem, proof.rows > 20) == ("", True)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        ".partial-made-by-another",
        "meschain-20260112T030000Z.backup",
        proof.file,
        "self-test.json",
    ]


async def test_a_running_hub_makes_its_backups_by_itself(
    elsewhere: tuple[str, Path], database_url: str, tmp_path: Path
) -> None:
    """`meschain up` with a section [backup] in its settings, and nothing else."""
    _, home = elsewhere
    async with trading(database_url, tmp_path, is_started=False):
        pass
    shutil.copy(tmp_path / "master.key", home)
    (home / "settings.toml").write_text("[backup]\n")
    hub = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meschain", "up", "--port", "0"),
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while not {"account is served", "backup was made"} <= messages(home):
                assert hub.returncode is None
                await asyncio.sleep(0.1)
    finally:
        if hub.returncode is None:
            hub.terminate()
        assert await hub.wait() == 0
    assert len(backups_in(Folder(home / "backups"))) == 1
    assert read_proof(Folder(home / "backups")) is not None


def messages(home: Path) -> set[str]:
    return {str(line["message"]) for line in LogReader(home / "logs").read(LogFilter())}


async def test_a_backup_that_cannot_be_written_leaves_nothing_and_is_told(
    elsewhere: tuple[str, Path], tmp_path: Path
) -> None:
    del elsewhere
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert str(blocked) in await command("backup", "--to", str(blocked), status=1)
    short = tmp_path / "short.key"
    short.write_text("hunter2\n")
    folder = tmp_path / "folder"
    said = await command("backup", "--to", str(folder), "--key-file", str(short), status=1)
    assert f"{short} is too short" in said
    # A file that may not grow beyond a block, as on a disk that is full.
    await command("backup", "--to", str(folder))
    whole = sorted(folder.iterdir())
    limited = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", 'ulimit -f 1; exec "$@"', "sh"),
        *(sys.executable, "-m", "meschain", "backup", "--to", str(folder)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, words = await limited.communicate()
    assert limited.returncode == 1
    assert f"{folder} cannot be used" in words.decode()
    assert sorted(folder.iterdir()) == whole


@pytest.mark.slow
async def test_while_trials_fail_the_last_backup_that_stood_one_stays(
    database_url: str, here: Path, tmp_path: Path
) -> None:
    """The plan keeps the newest alone; what the hub's owner has put beside our tables is unknown to
    a restore, so that every new backup is useless."""
    async with trading(database_url, tmp_path, is_started=False):
        pass
    folder = here / "backups"
    storage = Folder(folder)
    (here / "settings.toml").write_text(
        "[backup]\nkeep_daily = 0\nkeep_weekly = 0\nkeep_monthly = 0\n"
    )
    await command("backup", "--scheduled")
    (kept,) = backups_in(storage)
    good = (folder / kept.name).rename(folder / "meschain-20260101T030000Z.backup").name
    write_proof(storage, Proof(datetime(2026, 1, 1, 3, tzinfo=UTC), good, 9, good=good))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE ours (id integer)")
        for _ in range(2):
            said = await command("backup", "--scheduled", status=1)
            assert "could not be restored on trial" in said
            assert "ours" in said
            newest, oldest = backups_in(storage)
            assert oldest.name == good
            found = await command("doctor", status=1)
            assert f"{newest.name}: the last trial failed" in found
            await asyncio.sleep(1)  # a name says the second
        # As the advice says.
        connection.execute("DROP TABLE ours")
    made = json.loads(await command("backup", "--json"))["file"]
    await command("restore", "--test", made)
    assert "the last trial failed" not in await command("doctor", status=1)
    await command("backup", "--scheduled")
    assert good not in (each.name for each in backups_in(storage))


@pytest.mark.slow
async def test_the_schedule_outlives_a_folder_that_is_gone_and_says_so(
    elsewhere: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, home = elsewhere
    folder = home / "backups"
    folder.write_text("in the way")
    monkeypatch.setattr(schedule, "AFTER_FAILURE_S", 0.1)
    run = (sys.executable, "-m", "meschain", "backup", "--scheduled")
    keeping = asyncio.create_task(
        keep_backups(BackupPlan(), lambda: Folder(folder), SystemClock(), run, look_s=0.1),
        name="backups",
    )
    try:
        async with asyncio.timeout(60):
            while "backup failed" not in caplog.messages:
                assert not keeping.done()
                await asyncio.sleep(0.05)
            folder.unlink()
            while not backups_in(Folder(folder)):
                assert not keeping.done()
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@pytest.mark.slow
async def test_a_hub_that_was_killed_is_not_taken_for_the_process_that_has_its_number_now(
    here: Path,
) -> None:
    address = here / "hub.json"
    address.write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": os.getpid()}))
    assert "ended without saying goodbye" in await command("doctor", status=1)
    hub = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meschain", "up", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert hub.stdout is not None
        async with asyncio.timeout(60):
            assert await hub.stdout.readline()
        assert f"a hub runs here (process {hub.pid})" in await command("doctor", status=1)
    finally:
        hub.kill()
        await hub.wait()
    assert "ended without saying goodbye" in await command("doctor", status=1)


# — the master key —


async def test_the_master_key_is_replaced_beside_a_running_hub(
    database_url: str, here: Path, markets: Mapping[str, Marketplace], tmp_path: Path
) -> None:
    path = here / "master.key"
    async with trading(database_url, tmp_path, markets=markets) as trade:
        trade.buy(EAST, {"A": 1})
        await trade.come_to_rest()
        first = path.read_bytes()
        before = json.loads(await command("key", "status", "--json"))
        rotated = json.loads(await command("key", "rotate", "--json"))
        assert rotated["sealed"] == before["data_keys"] == 1
        assert rotated["fingerprint"] != before["fingerprint"]
        assert path.read_bytes()[32:] == first
        assert path.stat().st_mode & 0o077 == 0
        # The hub goes on with the data keys that it has open, and reads new ones.
        trade.buy(WEST, {"A": 2})
        await trade.come_to_rest()
        trade.hub.keys = DataKeys(trade.hub.database, trade.hub.keys.vault, trade.hub.clock)
        assert await trade.hub.keys.current(trade.shop.merchant_id) == 1
        # A merchant who comes now gets a key that the new file opens.
        other = Shop.open(trade.connection, "Demir")
        await trade.hub.keys.current(other.merchant_id)
        status = json.loads(await command("key", "status", "--json"))
        assert (status["data_keys"], status["data_keys_older"]) == (2, 0)
        forgotten = json.loads(await command("key", "rotate", "--forget-older", "--json"))
        assert forgotten["forgotten"] == 1
        assert len(path.read_bytes()) == 32
        # And one that starts now needs nothing else.
        await trade.hub.engine.stop()
        async with hub_over(trade, database_url, tmp_path) as anew:
            assert len(anew.hub.engine.accounts) == 2
            anew.buy(EAST, {"B": 1})
            await anew.come_to_rest()
    new = path.read_bytes()
    path.write_bytes(first)
    assert "does not open" in await command("key", "status", status=1)
    path.write_bytes(new)
    assert "opens all 2" in await command("key", "status")


async def test_a_rotation_that_was_killed_is_finished_by_the_next(
    database_url: str, here: Path, tmp_path: Path
) -> None:
    path = here / "master.key"
    async with trading(database_url, tmp_path, is_started=False):
        pass
    # The file was written; of the database nothing.
    write_master_keys(path, Vault.at(path).with_new_key())
    fingerprint = Vault(path.read_bytes()).fingerprint
    assert "still sealed with an older key" in await command("key", "status")
    assert "key" in await command("key", "rotate", "--forget-older", status=1)
    said = json.loads(await command("key", "rotate", "--json"))
    assert (said["fingerprint"], said["sealed"]) == (fingerprint, 1)
    assert len(path.read_bytes()) == 64


@pytest.mark.slow
async def test_two_rotations_at_once_lose_no_key(
    database_url: str, here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The worst order: both have read the file, and the second writes when the first is done."""
    async with trading(database_url, tmp_path, is_started=False):
        pass
    both_have_read = threading.Barrier(2)
    first_is_done = threading.Event()
    read = master_key.read_key_state
    has_read, has_written = set[int](), list[int]()

    async def read_together(*args: Any) -> master_key.KeyState:  # noqa: ANN401 – handed on
        state = await read(*args)
        if threading.get_ident() not in has_read:
            has_read.add(threading.get_ident())
            with contextlib.suppress(threading.BrokenBarrierError):
                both_have_read.wait(2)  # in vain when they go one after the other
        return state

    def write_in_turn(path: Path, keys: bytes) -> None:
        has_written.append(threading.get_ident())
        if len(has_written) == 2:
            first_is_done.wait(10)
        write_master_keys(path, keys)

    async def rotated() -> None:
        await command("key", "rotate")
        first_is_done.set()

    monkeypatch.setattr(master_key, "read_key_state", read_together)
    monkeypatch.setattr(master_key, "write_master_keys", write_in_turn)
    await asyncio.gather(rotated(), rotated())
    assert len(has_written) == 2
    path = here / "master.key"
    assert len(path.read_bytes()) == 3 * 32
    assert "still sealed" not in await command("key", "status")


async def test_an_older_backup_opens_with_the_keys_that_a_rotation_has_kept(
    database_url: str, elsewhere: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, home = elsewhere
    async with trading(database_url, tmp_path, is_started=False):
        pass
    path = await asyncio.to_thread(save, database_url, tmp_path / "backups")
    commands_go_to(monkeypatch, database_url, tmp_path)
    await command("key", "rotate")
    commands_go_to(monkeypatch, url, home)
    (home / "master.key").write_bytes((tmp_path / "master.key").read_bytes()[:32])
    assert "master key" in await command("restore", str(path), status=1)
    shutil.copy(tmp_path / "master.key", home)
    await command("restore", str(path))
    assert "still sealed" in await command("key", "status")
    await command("key", "rotate")
    assert "still sealed" not in await command("key", "status")


async def test_after_the_loss_of_the_master_key_everything_but_the_sealed_stays(
    database_url: str, here: Path, markets: Mapping[str, Marketplace], tmp_path: Path
) -> None:
    path = here / "master.key"
    async with trading(database_url, tmp_path, markets=markets) as trade:
        trade.buy(EAST, {"A": 1})
        await trade.come_to_rest()
    assert "Nothing is lost" in await command("key", "lost", "--yes", status=1)
    path.write_bytes(bytes(32))
    assert "meschain key lost" in await command("key", "status", status=1)
    assert "master key" in await command("account", "list", status=1)
    assert "add --yes" in await command("key", "lost", status=1)
    assert path.read_bytes() == bytes(32)
    said = json.loads(await command("key", "lost", "--yes", "--json"))
    assert said["accounts_to_reconnect"] == 2
    assert path.read_bytes() != bytes(32)
    listed = json.loads(await command("account", "list", "--json"))
    assert {each["state"] for each in listed["accounts"]} == {"reconnect"}
    orders = json.loads(await command("order", "list", "--json"))
    number = orders["items"][0]["external_id"]
    await command("order", "show", number)
    with psycopg.connect(database_url) as connection:
        kept = "SELECT count(*) FILTER (WHERE person_sealed IS NULL), count(*) FROM orders"
        assert connection.execute(kept).fetchone() == (1, 1)


async def test_what_the_key_still_opens_is_not_given_up(
    database_url: str, here: Path, tmp_path: Path
) -> None:
    """As after a ``key lost`` that was killed, and a hub that went on with the new key."""
    path = here / "master.key"
    async with trading(database_url, tmp_path, is_started=False) as trade:
        other = Shop.open(trade.connection, "Demir")
        path.write_bytes(os.urandom(32))
        await DataKeys(trade.hub.database, Vault.at(path), trade.hub.clock).current(
            other.merchant_id
        )
    kept = path.read_bytes()
    with psycopg.connect(database_url) as connection:
        before = connection.execute(
            "SELECT * FROM data_key WHERE merchant_id = %s", (other.merchant_id,)
        ).fetchall()
        assert len(before) == 1
        said = json.loads(await command("key", "lost", "--yes", "--json"))
        assert said["accounts_to_reconnect"] == 2
        assert path.read_bytes() == kept
        assert connection.execute("SELECT * FROM data_key").fetchall() == before
    assert "It opens 1 data key" in await command("key", "status")


async def test_a_lost_key_is_not_given_up_beside_a_hub_that_still_has_it_open(
    database_url: str, here: Path, markets: Mapping[str, Marketplace], tmp_path: Path
) -> None:
    path = here / "master.key"
    async with trading(database_url, tmp_path, markets=markets):
        right = path.read_bytes()
        path.unlink()
        assert "still serves accounts" in await command("key", "lost", "--yes", status=1)
        assert not path.exists()
        path.write_bytes(right)
