"""What the catalog refuses is written back as it was given, mended, and read again."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from meschain.exchange import ReadingOptions, ReadProduct, read_catalog
from meschain.testing.shop import NOW
from tests.store.commands import invoke

DATA = Path(__file__).parent.parent / "data"
HELD = """\
model_code;sku;barcode;title;list_price;sale_price;quantity;vat_percent
KZK;KZK-M;8690000000012;Kazak;1499,90;1249,90;5;20
KZK;KZK-L;8690000000029;Kazak;1499,90;1249,90;7;20
"""
# TRK claims a barcode that KZK-M keeps; SET is made of something that nobody has.
MORE = """\
model_code;sku;barcode;title;list_price;sale_price;quantity;vat_percent;bundle
TRK;TRK-M;8690000000012;Tişört "Yaz";399,90;349,90;20;10;
TRK;TRK-L;8690000000036;Tişört "Yaz";399,90;349,90;20;10;
SET;SET-2;;İkili;700,00;650,00;;20;TRK-M*2
"""


@pytest.fixture
def home(home: Path) -> Path:
    invoke("merchant", "add", "Kaya")
    return home


@pytest.mark.parametrize("plan", [True, False])
def test_rows_that_the_catalog_refuses_come_back_whole_and_go_in_when_mended(
    home: Path,
    plan: bool,  # noqa: FBT001 – a parameter of the test
) -> None:
    (home / "held.csv").write_text(HELD, encoding="utf-8")
    (home / "more.csv").write_text(MORE, encoding="utf-8")
    invoke("import", "products", str(home / "held.csv"))
    back = home / "back.csv"
    options = ["--plan"] if plan else []
    invoke("import", "products", str(home / "more.csv"), "--refused", str(back), *options)

    with back.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter=";"))
    given = list(csv.DictReader(MORE.splitlines(), delimiter=";"))
    kept = {row["sku"]: {name: row[name] for name in given[0]} for row in rows}
    assert kept == {row["sku"]: row for row in given if row["sku"] in {"TRK-M", "SET-2"}}

    invoke("import", "products", str(home / "more.csv"))
    mended = back.read_text(encoding="utf-8-sig").replace("8690000000012", "8690000000043")
    (home / "mended.csv").write_text(mended, encoding="utf-8")
    said = invoke("import", "products", str(home / "mended.csv"))
    assert "Created 2, updated 0" in said.output


def test_every_product_of_a_dump_keeps_a_row_for_each_of_its_variants() -> None:
    reading = read_catalog(DATA / "opencart3.sql", ReadingOptions(today=NOW.date()))
    products = [record for record in reading.records if isinstance(record, ReadProduct)]
    assert products
    for product in products:
        assert len(product.raw_rows) == len(product.draft.variants)
        assert all(row["model"] for row in product.raw_rows)
    several = [each for each in products if len(each.draft.variants) > 1]
    assert all(row["options"] for product in several for row in product.raw_rows)
