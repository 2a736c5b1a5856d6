"""Deleting a merchant: exported first, erased from every table, nobody else's row touched."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest
from click.testing import CliRunner, Result

from meschain.cli.tree import root
from meschain.store import erasure
from meschain.store.unit_of_work import Database
from meschain.testing.shop import Shop
from tests.store.test_isolation import SHARED, fill, rows_of, tables

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def invoke(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    return Invoke()


class Invoke:
    def __call__(self, *words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(root, words)
        assert "Traceback" not in result.output
        assert result.exit_code == status, result.output
        return result


@pytest.fixture
def two(connection: Connection) -> tuple[Shop, Shop]:
    """Two merchants with a row in every table each; nobody can open what is sealed in them."""
    shops = Shop.open(connection, "Kaya"), Shop.open(connection, "Demir")
    for shop, mark in zip(shops, "XY", strict=True):
        fill(shop, mark)
    connection.execute("DELETE FROM data_key")
    return shops


def delete(invoke: Invoke, *words: str, status: int = 0) -> Result:
    named = ("merchant", "delete", "Kaya", "--confirm", "Kaya")
    return invoke(*named, *words, status=status)


def test_every_row_of_every_table_is_gone_and_of_no_other_merchant(
    two: tuple[Shop, Shop], invoke: Invoke
) -> None:
    connection = two[0].connection
    before = rows_of(connection, two[1].merchant_id)
    assert all(rows for table, rows in before.items() if table != "data_key")
    document = json.loads(delete(invoke, "--without-export", "--json").stdout)
    assert document["is_erased"] is True
    assert {each["table"] for each in document["tables"]} == set(tables(connection)) - SHARED
    for each in document["tables"]:
        assert each["left"] == 0
        assert each["erased"] >= (each["table"] != "data_key"), each
    assert not any(rows_of(connection, two[0].merchant_id).values())
    assert rows_of(connection, two[1].merchant_id) == before


def test_it_is_done_in_bounded_chunks_and_goes_on_where_it_was_cut_short(
    two: tuple[Shop, Shop], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = two[0]
    for number in range(7):
        shop.variant(f"V{number}", on_hand=1)
    monkeypatch.setattr(erasure, "CHUNK", 2)
    erase_chunk = erasure._erase_chunk  # noqa: SLF001 – where a kill may come
    sizes: list[int] = []

    async def counted(database: Database, merchant: int, table: str) -> int:
        size = await erase_chunk(database, merchant, table)
        sizes.append(size)
        if len(sizes) == 20:
            raise KeyboardInterrupt
        return size

    monkeypatch.setattr(erasure, "_erase_chunk", counted)
    delete(invoke, "--without-export", status=130)
    assert sum(sizes) < sum(map(len, rows_of(shop.connection, shop.merchant_id).values()))
    assert "Kaya (deleting)" in invoke("merchant", "list").stdout
    invoke("merchant", "delete", "Kaya")  # all was asked before; there is nothing to export now
    assert max(sizes) <= 2
    assert not any(rows_of(shop.connection, shop.merchant_id).values())
    assert "Kaya" not in invoke("merchant", "list").stdout


def test_rows_that_come_in_behind_are_erased_too(
    two: tuple[Shop, Shop], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that was under way when the deletion began."""
    shop = two[0]
    erase_chunk = erasure._erase_chunk  # noqa: SLF001 – between two tables
    late = ["one"]

    async def overtaken(database: Database, merchant: int, table: str) -> int:
        if table == "variant" and late:
            late.clear()
            shop.move({"AX": 1}, "adjustment")
        return await erase_chunk(database, merchant, table)

    monkeypatch.setattr(erasure, "_erase_chunk", overtaken)
    delete(invoke, "--without-export")
    assert not late
    assert not any(rows_of(shop.connection, shop.merchant_id).values())


def test_a_process_that_wakes_up_too_late_writes_nothing_of_the_merchant(
    two: tuple[Shop, Shop], invoke: Invoke, database_url: str
) -> None:
    """What it noted of its exchanges is stored once a second, by the merchant's number alone."""
    gone, stays = two
    accounts = [shop.accounts["east"] for shop in two]
    delete(invoke, "--without-export")
    before = len(rows_of(stays.connection, stays.merchant_id)["attempt"])

    async def late() -> None:
        database = Database(database_url)
        await database.open()
        try:
            async with database.engine() as unit:
                await unit.run(
                    "inbound.add_attempts",
                    {
                        "merchants": [gone.merchant_id, stays.merchant_id],
                        "accounts": accounts,
                        "operations": ["stock", "stock"],
                        "at_us": [1, 1],
                        "statuses": [500, 500],
                        "outcomes": ["unknown", "unknown"],
                        "durations_us": [1, 1],
                    },
                )
        finally:
            await database.close()

    asyncio.run(late())
    assert not any(rows_of(gone.connection, gone.merchant_id).values())
    assert len(rows_of(stays.connection, stays.merchant_id)["attempt"]) == before + 1


def test_rows_without_a_key_that_come_in_behind_are_erased_too(
    two: tuple[Shop, Shop], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = two[0]
    erase_chunk = erasure._erase_chunk  # noqa: SLF001 – between two tables
    late = ["one"]

    async def overtaken(database: Database, merchant: int, table: str) -> int:
        if table == "merchant" and late:
            late.clear()
            shop.connection.execute(
                "INSERT INTO alert (merchant_id, kind, subject, raised_us)"
                " VALUES (%s, 'k', 's', 1)",
                (merchant,),
            )
        return await erase_chunk(database, merchant, table)

    monkeypatch.setattr(erasure, "_erase_chunk", overtaken)
    delete(invoke, "--without-export")
    assert not late
    assert not any(rows_of(shop.connection, shop.merchant_id).values())


def test_it_is_refused_until_all_was_said(
    two: tuple[Shop, Shop], invoke: Invoke, tmp_path: Path
) -> None:
    connection = two[0].connection
    there = tmp_path / "kaya.zip"
    there.write_text("an older export", encoding="utf-8")
    before = rows_of(connection, two[0].merchant_id)
    for words, said in (
        (("--confirm", "Kaya"), "--export-to FILE"),
        (("--confirm", "Kaya", "--without-export", "--export-to", "x.zip"), "--export-to FILE"),
        (("--confirm", "Kaya", "--export-to", str(there)), "is there already"),
        (("--without-export",), "still sells on east"),
        (("--without-export", "--confirm", "kaya"), "--confirm Kaya"),
    ):
        refused = invoke("merchant", "delete", "Kaya", *words, status=1)
        assert said in refused.stderr.replace("\n", " ")
    connection.execute("UPDATE account SET state = 'read_only'")
    unarmed = invoke("merchant", "delete", "Kaya", "--without-export", status=1)
    assert "would be deleted" in unarmed.stderr
    connection.execute("UPDATE account SET state = 'armed'")
    invoke("merchant", "delete", "Nobody", "--without-export", status=1)
    assert rows_of(connection, two[0].merchant_id) == before
    assert there.read_text(encoding="utf-8") == "an older export"


def test_what_was_exported_first_comes_back(
    connection: Connection, invoke: Invoke, tmp_path: Path
) -> None:
    shop = Shop.open(connection, "Kaya")
    shop.variant("A", on_hand=5)
    file = tmp_path / "kaya.zip"
    said = delete(invoke, "--export-to", str(file)).stderr
    assert "Credentials and buyers" in said, "what was left out is said"
    with ZipFile(file) as archive:
        assert b'"A"' in archive.read("tables/variant.jsonl")
    assert connection.execute("SELECT count(*) FROM merchant").fetchall() == [(0,)]
    invoke("merchant", "import", str(file))
    levels = json.loads(invoke("stock", "list", "--json").stdout)["levels"]
    assert [(level["sku"], level["on_hand"]) for level in levels] == [("A", 5)]


def test_a_failing_export_deletes_nothing(
    two: tuple[Shop, Shop], invoke: Invoke, tmp_path: Path
) -> None:
    connection = two[0].connection
    before = rows_of(connection, two[0].merchant_id)
    delete(invoke, "--export-to", str(tmp_path / "nowhere" / "kaya.zip"), status=1)
    assert rows_of(connection, two[0].merchant_id) == before
