from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from meschain.exchange import (
    FileFormat,
    ReadingOptions,
    SourceForm,
    SourceKind,
    collect,
    read_catalog,
    write_refused,
)

OPTIONS = ReadingOptions(today=date(2026, 11, 20))


def render(code: str, params: Mapping[str, str]) -> str:
    return f"{code} {dict(params)} ✗"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1254"])
def test_refused_rows_come_back_in_their_own_form_and_can_be_mended(
    tmp_path: Path, encoding: str
) -> None:
    content = (
        'sku;Ürün Adı;Fiyat\nA-1;"Kazak; ""şık""";12,50\nA-2;Etek;-1\nA-3;"açık;5\nA-4;Bot\n'
    ).encode(encoding)
    reading = read_catalog(content, OPTIONS)
    target = tmp_path / "refused.csv"
    assert write_refused(target, reading.form, collect(reading.records).refused, render) == 3
    written = target.read_bytes().decode("utf-8-sig" if encoding == "utf-8" else encoding)
    assert written.splitlines()[0] == "sku;Ürün Adı;Fiyat;refused_row;refused_reason"
    assert written.splitlines()[1].startswith("A-2;Etek;-1;3;")
    mended = written.replace("Etek;-1", "Etek;1").encode(encoding)
    found = collect(read_catalog(mended, OPTIONS).records)
    assert [each.draft.variants[0].sku for each in found.products] == ["A-2"]


def test_of_a_dump_the_key_columns_are_written(tmp_path: Path) -> None:
    content = (
        b"INSERT INTO oc_product (product_id, model, price) VALUES (7, 'A', 1);"
        b"INSERT INTO oc_product_description (product_id, language_id, name) VALUES (8, 1, 'x');"
    )
    reading = read_catalog(content, OPTIONS)
    assert reading.form == SourceForm(
        kind=SourceKind.OPENCART, file_format=FileFormat.SQL, encoding="utf-8", delimiter=";"
    )
    target = tmp_path / "refused.csv"
    write_refused(target, reading.form, collect(reading.records).refused, render)
    header, row = target.read_text(encoding="utf-8-sig").splitlines()
    assert header == "product_id;model;price;refused_row;refused_reason"
    assert row.startswith("7;A;1;1;title.missing")
