"""The chamber of horrors: files that merchants, suppliers and spreadsheets do send."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from meschain.domain.catalog import ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import Collected, FileRefused, ReadingOptions, collect, read_catalog
from meschain.messages import Catalog
from meschain.messages.source import LANGUAGES

HORRORS = Path(__file__).parent.parent / "data" / "horrors"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads(
    (HORRORS / "expected.toml").read_text(encoding="utf-8")
)
CATALOGS = [Catalog.load(language) for language in LANGUAGES]
OPTIONS = ReadingOptions(today=date(2026, 11, 20))
KNOWN = {"file", "kind", "encoding", "skus", "refused", "warned"}


def value(product: ProductDraft, variant: VariantDraft, name: str) -> str:
    if name == "title":
        return product.contents[0].title
    found = getattr(product if name == "model_code" else variant, name)
    return str(found.amount) if isinstance(found, Money) else str(found)


def said(found: Collected) -> list[str]:
    """Everything that is said about a file, in both languages."""
    return [
        catalog.text(code, **params)
        for code, params in (
            *((each.reason_code, each.params) for each in found.refused),
            *((each.reason_code, each.params) for each in found.warnings),
        )
        for catalog in CATALOGS
    ]


def test_every_file_of_the_chamber_has_its_answer() -> None:
    files = {path.name for path in HORRORS.iterdir() if path.is_file()}
    assert files - {"make.py", "expected.toml"} == set(EXPECTED)
    assert len(EXPECTED) >= 40


def test_the_chamber_is_what_its_script_writes(tmp_path: Path) -> None:
    (tmp_path / "make.py").write_bytes((HORRORS / "make.py").read_bytes())
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True, timeout=60)
    for name in EXPECTED:
        made = (tmp_path / name).read_bytes()
        # Deflated bytes may differ between versions of zlib.
        if not name.endswith((".xlsx", ".gz")):
            assert made == (HORRORS / name).read_bytes(), name


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_is_said_about_a_broken_file(name: str) -> None:
    expected = EXPECTED[name]
    if "file" in expected:
        with pytest.raises(FileRefused) as whole:
            collect(read_catalog(HORRORS / name, OPTIONS).records)
        assert expected == {"file": str(whole.value.reason)}
        for catalog in CATALOGS:
            text = catalog.text(whole.value.reason, **whole.value.params)
            assert "{" not in text
        return
    reading = read_catalog(HORRORS / name, OPTIONS)
    found = collect(reading.records)
    assert (str(reading.form.kind), reading.form.encoding) == (
        expected["kind"],
        expected["encoding"],
    )
    read = {
        each.sku: (product.draft, each)
        for product in found.products
        for each in product.draft.variants
    }
    assert list(read) == expected["skus"]
    refused = [[each.row_number, str(each.reason_code)] for each in found.refused]
    warned = [[each.row_number, str(each.reason_code)] for each in found.warnings]
    assert (refused, warned) == (expected["refused"], expected["warned"])
    assert all("{" not in text for text in said(found))
    for sku in expected.keys() - KNOWN:
        for field, wanted in expected[sku].items():
            assert value(*read[sku], field) == wanted, (sku, field)


def test_nothing_of_a_broken_file_disappears_silently() -> None:
    """Every data row of the tables is read, refused or remarked upon."""
    for name, expected in EXPECTED.items():
        if "file" in expected:
            continue
        found = collect(read_catalog(HORRORS / name, OPTIONS).records)
        rows = {row for product in found.products for row in product.variant_rows}
        rows |= {each.product_row for each in found.products}
        rows |= {each.row_number for each in found.refused}
        rows |= {each.row_number for each in found.warnings}
        if name.endswith(".csv") and expected["encoding"] == "utf-8" and name != "old-mac.csv":
            lines = (HORRORS / name).read_text(encoding="utf-8").splitlines()
            if name == "shopify.csv":
                # Row 4 is one more image of its product.
                rows.add(4)
            assert rows - {0, 1} == set(range(2, len(lines) + 1)), name
