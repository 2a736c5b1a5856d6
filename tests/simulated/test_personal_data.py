"""Erasing buyers of a hub that trades: by command, in reports, after a restore, in the logs."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from msgspec import structs

from meschain import registry
from meschain.app.keeping.backups import make_backup
from meschain.app.keeping.schedule import keep_erasing
from meschain.app.keeping.storage import Folder
from meschain.channel.contract import OrderPage
from meschain.cli.tree import root
from meschain.sandbox.world import Order, ParcelState
from meschain.store.backup import drop_before
from meschain.store.vault import Vault
from meschain.sync.inbound import OrderPulls
from meschain.sync.intake import Intake
from meschain.sync.webhook import DELIVERY
from meschain.telemetry import log_files, log_to_folder
from meschain.testing.database import DatabaseServer
from meschain.testing.markers import places_of
from meschain.testing.trade import Trade, trading

pytestmark = pytest.mark.slow  # each test starts a whole market

EAST, WEST = "trendyol", "n11"


@pytest.fixture(autouse=True)
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Commands work on the hub that trades."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setenv("MESCHAIN_LOOPBACK_ONLY", "1")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    yield tmp_path
    drop_before(database_url)


async def command(*words: str, status: int = 0) -> str:
    """Run a command in a thread; what it printed on both ways, or its document."""
    result = await asyncio.to_thread(CliRunner().invoke, root, words)
    assert "Traceback" not in result.output, result.output
    assert result.exit_code == status, result.output
    return result.stdout if "--json" in words else result.output


def markers(order: Order) -> set[str]:
    """What names or finds this buyer and nobody else."""
    buyer = order.buyer
    return {buyer.email, buyer.phone, buyer.phone.removeprefix("+90"), buyer.street}


def met(trade: Trade, home: Path, *orders: Order) -> dict[str, set[str]]:
    wanted = set().union(*map(markers, orders))
    return places_of(trade.connection, Vault.at(home / "master.key"), wanted)


async def brought(trade: Trade, *orders: Order, state: ParcelState = ParcelState.DELIVERED) -> None:
    """The parcels are there, and the hub has seen it."""
    for order in orders:
        for parcel in order.parcels:
            trade.host.world.advance(parcel, state)
    seen = (
        "SELECT count(*)::int FROM package p JOIN orders o USING (merchant_id, order_id)"
        " WHERE o.external_id = ANY (%s) AND p.state = %s"
    )
    numbers = [order.number for order in orders]
    await trade.until(lambda: trade.number(seen, numbers, state.value) == len(orders))


async def test_a_buyer_who_asks_is_forgotten_and_stays_so(database_url: str, home: Path) -> None:
    log_to_folder(home / "logs", "debug")
    async with trading(database_url, home) as trade:
        east, west = trade.buy(EAST, {"A": 1}), trade.buy(WEST, {"B": 2})
        other, under_way = trade.buy(EAST, {"B": 1}), trade.buy(EAST, {"C": 1})
        await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") == 4)
        await brought(trade, east, west, other)
        for order in (east, west):
            places = met(trade, home, order)
            assert {"orders.person_sealed", "orders.raw_sealed"} <= places.keys(), places
        sheet = home / "before.csv"
        await command("export", "orders", "--to", str(sheet))

        # To look changes nothing; an order under way is refused, and says why.
        plan = await command("personal-data", "erase", east.number, west.number, "--plan")
        assert east.buyer.email in plan
        refused = await command("personal-data", "erase", east.number, under_way.number, status=1)
        assert under_way.number in refused
        assert "--when-ended" in refused
        assert met(trade, home, east).keys() >= {"orders.person_sealed"}

        proof = await command("personal-data", "erase", east.number, west.number)
        assert {east.number, west.number} <= set(proof.split())
        assert not any(mark in proof for mark in markers(east) | markers(west))
        assert met(trade, home, east, west) == {}
        assert met(trade, home, other)

        # The goods come back: the marketplace shows the whole order once more, buyer and all.
        looked = "SELECT max(modified_at) FROM package JOIN orders o USING (merchant_id, order_id)"
        looked += " WHERE o.external_id = %s"
        before_it = trade.rows(looked, west.number)
        await brought(trade, east, state=ParcelState.RETURNED)
        await brought(trade, west)  # this marketplace has no such state; it touches the package
        await trade.until(lambda: trade.rows(looked, west.number) != before_it)
        assert met(trade, home, east, west) == {}
        said = await command("order", "show", east.number, "--person", "--language", "tr")
        assert "kişisel veriler" in said
        assert said.count("silindi") == 3  # of the buyer, the cargo code, the tracking

        # Marked while it is under way, it goes when it has ended.
        said = await command("personal-data", "erase", under_way.number, "--when-ended")
        assert "when it has ended" in said
        assert met(trade, home, under_way)
        await brought(trade, under_way)
        said = await command("personal-data", "erase", "--due")
        assert "1 order" in said
        assert met(trade, home, under_way) == {}
        await trade.come_to_rest()

        found = json.loads(await command("personal-data", "find", other.buyer.email, "--json"))
        assert [each["number"] for each in found["orders"]] == [other.number]
        erased = ("personal-data", "erase", "--buyer", other.buyer.email, "--json")
        document = json.loads(await command(*erased))
        assert document["rows_left"] == 0
        assert met(trade, home, east, west, other, under_way) == {}
    # Each line, price and unit is in the report as it was, and the states that came since.
    after = home / "after.csv"
    await command("export", "orders", "--to", str(after), "--language", "tr")
    rows = [line.split(";") for line in after.read_text("utf-8-sig").splitlines()]
    before = [line.split(";") for line in sheet.read_text("utf-8-sig").splitlines()]
    changing = {rows[0].index(name) for name in ("state", "tracking_number")}
    plain = [[c for n, c in enumerate(row) if n not in changing] for row in rows]
    assert plain == [[c for n, c in enumerate(row) if n not in changing] for row in before]
    assert {row[rows[0].index("tracking_number")] for row in rows[1:]} == {"silindi"}
    written = "".join(each.path.read_text("utf-8") for each in log_files(home / "logs"))
    assert len(written) > 2_000
    everyone = markers(east) | markers(west) | markers(other) | markers(under_way)
    assert [each for each in everyone if each in written] == []


async def test_a_restored_backup_erases_again_what_was_erased_since(
    database_url: str, database_server: DatabaseServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trading(database_url, home) as trade:
        order, kept = trade.buy(EAST, {"A": 1}), trade.buy(WEST, {"B": 1})
        await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") == 2)
        await brought(trade, order, kept)
        # A delivery that was taken in a moment ago is in the backup too.
        number = await trade.hub.keys.current(trade.shop.merchant_id)
        body = trade.hub.keys.vault.seal(
            trade.shop.merchant_id, number, DELIVERY, order.buyer.email.encode()
        )
        await trade.write(
            "INSERT INTO webhook_inbox (merchant_id, account_id, received_us, body_sealed,"
            " key_number, handled_us) VALUES (%s, %s, 1, %s, %s, 9223372036854775807)",
            trade.shop.merchant_id, trade.accounts[EAST], body, number,
        )  # fmt: skip
        assert "webhook_inbox.body_sealed" in met(trade, home, order)
    now = datetime.now(UTC)  # noqa: TID251 – as the command does
    backups = Folder(home / "backups")
    made = await asyncio.to_thread(
        lambda: make_backup(
            database_url, backups, now=now, key=None, master_key=None,
            tick=lambda _done, _total: None,
        )
    )  # fmt: skip
    await command("personal-data", "erase", order.number)

    def erased(url: str) -> list[tuple[object, ...]]:
        with psycopg.connect(url) as connection:
            places = places_of(connection, Vault.at(home / "master.key"), markers(order))
            assert places == {}
            assert places_of(connection, Vault.at(home / "master.key"), markers(kept))
            return connection.execute(
                "SELECT number, asked_at < now() FROM erasure_request"
            ).fetchall()

    # In its own place: the database that goes knows who asked, also without the file beside it.
    (home / "erasure-requests.jsonl").rename(home / "aside")
    said = await command("restore", backups.address(made.name), "--replace")
    assert "1 order of a buyer who had asked was erased again" in said
    assert erased(database_url) == [(order.number, True)]
    # On another machine, with what the data folder held: nothing of the database is left.
    with database_server.database() as url:
        there = home / "there"
        there.mkdir()
        shutil.copy(home / "master.key", there)
        shutil.copy(home / "aside", there / "erasure-requests.jsonl")
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("MESCHAIN_HOME", str(there))
        document = json.loads(await command("restore", backups.address(made.name), "--json"))
        assert document["orders_erased"] == 1
        assert erased(url) == [(order.number, True)]
        drop_before(url)


async def test_a_running_hub_erases_what_has_had_its_time(database_url: str, home: Path) -> None:
    async with trading(database_url, home) as trade:
        order, young = trade.buy(EAST, {"A": 1}), trade.buy(WEST, {"B": 1})
        await trade.until(lambda: trade.number("SELECT count(*)::int FROM orders") == 2)
        await brought(trade, order, young)

        async def merchants() -> list[int]:
            return [trade.shop.merchant_id]

        kept = asyncio.create_task(
            keep_erasing(trade.hub.database, trade.hub.clock, merchants, look_s=0.05)
        )
        assert "1 day" in await command("personal-data", "keep", EAST, "--days", "1")
        for table, column in (("orders", "placed_at"), ("package", "modified_at")):
            await trade.write(
                f"UPDATE {table} SET {column} = {column} - interval '25 hours'"  # noqa: S608
            )
        await trade.until(lambda: met(trade, home, order) == {})
        assert met(trade, home, young)
        kept.cancel()
        with suppress(asyncio.CancelledError):
            await kept
    assert "180" in await command("personal-data", "due")
    assert "nothing" in (await command("personal-data", "erase", "--due")).lower()
    assert "erased" in await command("order", "show", order.number)


async def test_a_row_that_cannot_be_read_is_named_and_not_kept(
    database_url: str, home: Path
) -> None:
    async with trading(database_url, home, is_started=False) as trade:
        hub, merchant = trade.hub, trade.shop.merchant_id
        await hub.engine.start()
        account = trade.served(EAST)
        intake = Intake(
            hub.database,
            hub.keys,
            merchant_id=merchant,
            account_id=account.account_id,
            name=EAST,
        )
        pulls = OrderPulls(account, intake, hub.database, hub.clock)
        await hub.engine.stop()
        page = OrderPage(orders=(), next_token=None, broken=(b'{"customerEmail": "gizli@x.y"}',))
        await pulls.take(page, detected_by="poll")
        assert trade.rows("SELECT kind, length(subject) FROM alert") == [
            ("alert.order.unreadable", 12)
        ]
        assert places_of(trade.connection, Vault.at(home / "master.key"), {"gizli"}) == {}


async def test_commands_say_what_they_need(
    database_url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trading(database_url, home, is_started=False):
        pass
    assert "--buyer" in await command("personal-data", "erase", status=2)
    assert "--buyer" in await command("personal-data", "erase", "1", "--due", status=2)
    assert "several people" in await command(
        "personal-data", "erase", "--buyer", "Ayşe Kaya", status=1
    )
    assert "no order 77" in await command("personal-data", "erase", "77", status=1)
    assert "nothing to erase" in await command(
        "personal-data", "erase", "--buyer", "a@b.example", status=1
    )
    assert "No order" in await command("personal-data", "find", "Ayşe")
    assert "180 days" in await command("personal-data", "keep", WEST)
    strict = dict(registry.marketplaces())
    manifest = strict[WEST].manifest
    manifest = structs.replace(
        manifest, orders=structs.replace(manifest.orders, personal_days_max=30)
    )
    strict[WEST] = replace(strict[WEST], manifest=manifest)
    monkeypatch.setattr(registry, "marketplaces", lambda: strict)
    assert "30 days at most" in await command(
        "personal-data", "keep", WEST, "--days", "31", status=1
    )
    assert "30 days" in await command("personal-data", "keep", WEST, "--days", "30")
