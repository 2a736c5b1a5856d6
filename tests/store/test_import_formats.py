"""Every catalog format through ``meschain import products``: planned, taken in, taken in again."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from meschain.cli.tree import root

FORMATS = Path(__file__).parent.parent / "data" / "formats"

# File, options, what it is found to be, variants created.
FILES = [
    ("catalog.xlsx", ("--sheet", "ürünler"), ("csv", "xlsx", "tr"), 3),
    ("woocommerce.csv", (), ("woocommerce", "text", "tr"), 3),
    ("shopify.csv", (), ("shopify", "text", "en"), 4),
    ("shopify-before.csv", (), ("shopify", "text", "en"), 2),
    ("google.tsv", (), ("google", "text", "en"), 3),
    ("google.xml", (), ("google", "xml", "en"), 3),
    ("supplier.xml", ("--columns", str(FORMATS / "supplier.toml")), ("supplier", "xml", None), 3),
]


class Shell:
    async def __call__(self, *words: str, status: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, root, words)
        assert result.exit_code == status, f"{words}: {result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stdout + result.stderr
        return result.stdout if status == 0 else result.stderr

    async def document(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self(*words, "--json"))
        return found


@pytest.fixture
async def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    # The log belongs to the test run here.
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    shell = Shell()
    await shell("merchant", "add", "Kaya Tekstil")
    return shell


@pytest.mark.parametrize(("name", "options", "form", "count"), FILES)
async def test_a_file_is_planned_taken_in_and_changes_nothing_the_second_time(
    shell: Shell,
    database_url: str,
    name: str,
    options: tuple[str, ...],
    form: tuple[str, str, str | None],
    count: int,
) -> None:
    words = ("import", "products", str(FORMATS / name), *options)

    def moved() -> object:
        with psycopg.connect(database_url) as connection:
            return connection.execute(
                "SELECT count(*), coalesce(sum(on_hand_delta), 0) FROM stock_movement"
            ).fetchone()

    planned = await shell.document(*words, "--plan")
    found = planned["form"]
    assert (found["kind"], found["file_format"], found["header_language"]) == form
    assert planned["counts"]["variants_created"] == count
    assert planned["counts"]["refused"] == 0
    assert moved() == (0, 0)

    first = (await shell.document(*words))["counts"]
    assert first["variants_created"] == count
    after = moved()
    again = (await shell.document(*words))["counts"]
    assert (again["variants_unchanged"], again["variants_created"]) == (count, 0)
    assert (again["variants_updated"], again["products_updated"]) == (0, 0)
    assert moved() == after


async def test_the_plan_says_how_the_file_was_read_and_can_be_overruled(
    shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "katalog.csv"
    file.write_bytes("Stok Kodu;Ürün Adı;Fiyat\nA-1;Şal;1.249\nA-2;Atkı;80\n".encode("cp1254"))
    words = ("import", "products", str(file), "--plan")
    english = (await shell.document(*words))["refused"]
    assert english[0]["code"] == "number.undecided"
    said = await shell(*words, "--decimal", ",")
    assert "Read as: our own columns · cells separated by “;” · cp1254" in said
    assert "column names in Turkish · decimal separator “,”" in said
    turkish = await shell(*words, "--decimal", ",", "--language", "tr")
    assert "Dosya şöyle okundu: kendi sütunlarımız" in turkish
    wrong = await shell(*words, "--encoding", "utf-8", status=1)
    assert "cannot be read as utf-8" in wrong
    as_shop = await shell(*words, "--format", "shopify", status=1)
    assert "No column is named" in as_shop


async def test_a_refused_row_of_a_shop_file_stands_alone_and_goes_back_in(
    shell: Shell, tmp_path: Path
) -> None:
    """Its title stands in another row of the product, which is not refused."""
    broken = tmp_path / "products.csv"
    text = (FORMATS / "shopify.csv").read_text(encoding="utf-8")
    broken.write_text(text.replace(",YK-M-GRI,", ",,"), encoding="utf-8")
    refused = tmp_path / "refused.csv"
    await shell("import", "products", str(broken), "--refused", str(refused))
    with refused.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["Title"], row["refused_row"]) for row in rows] == [("Yün Kazak", "4")]

    mended = refused.read_text(encoding="utf-8-sig").replace("active,,", "active,YK-M-GRI,", 1)
    refused.write_text(mended, encoding="utf-8-sig")
    counts = (await shell.document("import", "products", str(refused)))["counts"]
    assert (counts["variants_created"], counts["refused"]) == (1, 0)
    levels = (await shell.document("stock", "list"))["levels"]
    assert {level["sku"] for level in levels} == {"YK-S-MAVI", "YK-M-MAVI", "YK-M-GRI"}


async def test_another_sheet_is_pointed_at_where_the_first_holds_no_catalog(shell: Shell) -> None:
    said = await shell("import", "products", str(FORMATS / "catalog.xlsx"), "--plan", status=1)
    assert "“Kapak”" in said
    assert "Ürünler" in said
    assert "--sheet" in said
    found = await shell("import", "products", str(FORMATS / "catalog.xlsx"), "--sheet", "Ürünler")
    assert "file  1 cells of “Satış Fiyatı” are formulas" in found
    missing = ("--sheet", "Fiyatlar")
    said = await shell(
        "import", "products", str(FORMATS / "catalog.xlsx"), "--plan", *missing, status=1
    )
    assert "no sheet “Fiyatlar”" in said


async def test_a_column_map_that_is_wrong_says_where(shell: Shell, tmp_path: Path) -> None:
    column_map = tmp_path / "map.toml"
    text = (FORMATS / "supplier.toml").read_text(encoding="utf-8")
    column_map.write_text(text.replace("times = 1.35", 'times = "bir buçuk"'), encoding="utf-8")
    words = ("import", "products", str(FORMATS / "supplier.xml"), "--columns", str(column_map))
    said = await shell(*words, "--plan", status=1)
    assert "price.sale_price.times" in said
    column_map.write_text(text.replace("StokKodu", "StokNo"), encoding="utf-8")
    assert "StokNo" in await shell(*words, "--plan", status=1)
