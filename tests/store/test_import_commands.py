"""The commands about imports: what was taken in, putting it back, and what is said meanwhile."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from meschain.cli import output
from meschain.cli.output import Output
from meschain.messages import Catalog
from tests.store.commands import document, invoke

FIRST = """\
model_code;sku;title;sale_price;quantity;vat_percent
KZK;KZK-M;Kazak;1249,90;5;20
KZK;KZK-L;Kazak;1249,90;7;20
"""
SECOND = """\
model_code;sku;title;sale_price;quantity;vat_percent
KZK;KZK-M;Kazak;999,90;3;20
SAL;SAL-1;Şal;89,90;4;18
SAL;SAL-2;Şal;89,90;4;20
"""


def run(*words: str, status: int = 0) -> str:
    return invoke(*words, status=status).output


@pytest.fixture
def home(home: Path) -> Path:
    run("merchant", "add", "Kaya")
    for name, text in (("first.csv", FIRST), ("second.csv", SECOND)):
        (home / name).write_text(text, encoding="utf-8")
    return home


def test_imports_are_listed_and_put_back_by_their_number(home: Path) -> None:
    assert "Nothing was imported yet" in run("import", "list")
    run("import", "products", str(home / "first.csv"))
    planned = run("import", "products", str(home / "second.csv"), "--plan")
    assert "sale_price: TRY 1,249.90 → TRY 999.90, quantity: 5 → 3" in planned
    second = document("import", "products", str(home / "second.csv"))
    said = run("import", "list").splitlines()
    assert re.search(r"second\.csv .*cli:.* done +1 created, 1 updated, 1 refused", said[1])
    assert re.search(r"first\.csv .* 2 created$", said[2])
    listed = document("import", "list")["imports"]
    assert [each["file_name"] for each in listed] == ["second.csv", "first.csv"]
    assert all(len(each["file_hash"]) == 64 and each["can_undo"] for each in listed)

    number = str(second["import_id"])
    planned = run("import", "undo", number, "--plan")
    assert "KZK-M  sale_price: TRY 999.90 → TRY 1,249.90" in planned
    assert "Would put back 1, remove 1, move the units of 2 back, keep 0" in planned
    assert "Put back 1, removed 1" in run("import", "undo", number)
    levels = document("stock", "list")["levels"]
    assert {each["sku"]: each["on_hand"] for each in levels} == {"KZK-M": 5, "KZK-L": 7}
    turkish = run("import", "list", "--language", "tr")
    assert "geri alındı" in turkish
    assert "was put back before" in run("import", "undo", number, status=1)
    assert "no import with the number 99" in run("import", "undo", "99", status=1)


def test_what_stays_is_said_with_its_reason(home: Path) -> None:
    first = document("import", "products", str(home / "first.csv"))
    run("import", "products", str(home / "second.csv"))
    number = str(first["import_id"])
    kept = document("import", "undo", number, "--plan")["kept"]
    assert [(each["code"], each["reason_code"]) for each in kept] == [("KZK-M", "undo.moved")]
    said = run("import", "undo", number, "--language", "tr")
    assert "KZK-M" in said
    assert "Stoğu başka bir işlemle değişmiş." in said


def test_work_that_says_nothing_is_seen_to_go_on() -> None:
    """No silence of more than two seconds, and the pace as soon as there is one."""
    out = Output(Catalog.load("en"))
    errors = io.StringIO()
    out.errors = Console(file=errors, width=200)
    with out.progress("cli.import.writing") as tick:
        time.sleep(1.8)
        assert errors.getvalue().splitlines() == ["Writing to the catalog, rows: … 2 s"]
        tick(1_000, 3_000)
        time.sleep(1.5)
    line = errors.getvalue().splitlines()[1]
    assert re.fullmatch(
        r"Writing to the catalog, rows: 1,000/3,000 \(\d{3}/s, \d s left\)", line
    ), line


def test_the_pace_of_a_second_pass_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore reads all rows once more to compare them."""
    now_s = [0.0]
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    out = Output(Catalog.load("en"))
    errors = io.StringIO()
    out.errors = Console(file=errors, width=200)
    with out.progress("cli.restore.working") as tick:
        now_s[0] = 100.0
        tick(1_000, 1_000)
        tick(0, 1_000)
        now_s[0] = 102.0
        tick(500, 1_000)
        time.sleep(1.8)
    assert errors.getvalue().splitlines() == ["Restoring rows 500/1,000 (250/s, 2 s left)"]
