from __future__ import annotations

import errno
import os
import stat
from datetime import date
from pathlib import Path

import pytest

from meschain.exchange import (
    FileFormat,
    ReadingOptions,
    Reason,
    RefusedRow,
    SourceForm,
    SourceKind,
    collect,
    read_catalog,
    write_refused,
)
from meschain.exchange.refused import HELD_MAX, Refused, RefusedRows

OPTIONS = ReadingOptions(today=date(2026, 11, 20))


def render(row: Refused) -> str:
    return f"{row.reason_code} {dict(row.params)} ✗"


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


def test_refused_rows_beyond_memory_wait_in_a_file() -> None:
    count = HELD_MAX * 3
    rows = RefusedRows(RefusedRow)
    given = [
        RefusedRow(n, f"S-{n}", Reason.PRICE_ZERO, {"column": "ş"}, {"sku": f"S-{n}"})
        for n in range(count)
    ]
    rows.extend(reversed(given))
    assert (len(rows), rows[0].row_number, rows[count - 1].row_number) == (count, count - 1, 0)
    assert [each.row_number for each in rows[HELD_MAX - 1 : HELD_MAX + 2]] == [
        count - HELD_MAX - n for n in range(3)
    ]
    rows.sort()
    assert list(rows) == given
    rows.append(given[7])
    assert rows[-1] == given[7]
    assert not RefusedRows(RefusedRow)


def test_a_refused_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    reading = read_catalog(b"sku;title;price\nA-1;Kazak;0\n", OPTIONS)
    refused = collect(reading.records).refused
    target = tmp_path / "refused.csv"
    target.write_text("of yesterday", encoding="utf-8")

    def full(_: Refused) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as lost:
        write_refused(target, reading.form, refused, full)
    assert lost.value.filename == str(target)
    with pytest.raises(FileNotFoundError) as nowhere:
        write_refused(tmp_path / "no" / "refused.csv", reading.form, refused, render)
    assert nowhere.value.filename == str(tmp_path / "no")
    assert target.read_text(encoding="utf-8") == "of yesterday"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_no_plain_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    reading = read_catalog(b"sku;title;price\nA-1;Kazak;0\n", OPTIONS)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Opened for both, a pipe lets its writer go on.
    held = os.open(pipe, os.O_RDWR)
    write_refused(pipe, reading.form, collect(reading.records).refused, render)
    written = os.read(held, 1 << 16).decode("utf-8-sig")
    os.close(held)
    assert written.startswith("sku;title;price;refused_row;refused_reason")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
