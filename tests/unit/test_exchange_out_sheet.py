"""Tables as they are written, beside what other programs make of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from zipfile import ZipFile

import pytest

from meschain.exchange.out.sheet import (
    WORKBOOK_TEXT_MAX,
    Container,
    SheetStyle,
    WorkbookFull,
    in_place,
    write_sheet,
)
from meschain.exchange.table.package import unescape
from meschain.exchange.table.workbook import COLUMNS_MAX

XLSX = SheetStyle(container=Container.XLSX)


def sheet_xml(path: Path) -> str:
    with ZipFile(path) as archive:
        return archive.read("xl/worksheets/sheet1.xml").decode()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("TSHIRT_xl", "TSHIRT_xl"),
        ("BOX_x1_x2", "BOX_x1_x2"),
        ("_x000D_", "_x005F_x000D_"),
        ("a\rb", "a_x000D_b"),
        ("_x005F_x000D_", "_x005F_x005F_x005F_x000D_"),
    ],
)
def test_only_what_reads_as_an_escape_is_escaped(tmp_path: Path, text: str, written: str) -> None:
    """Most programs take ``_x005F_`` in a code for the code."""
    target = tmp_path / "out.xlsx"
    write_sheet(target, ["sku"], [{"sku": text}], XLSX)
    assert f">{written}</t>" in sheet_xml(target)
    assert unescape(written) == text


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * WORKBOOK_TEXT_MAX, True),
        ("=" + "x" * (WORKBOOK_TEXT_MAX - 1), False),  # the apostrophe is a letter, too
        ("👗" * (WORKBOOK_TEXT_MAX // 2), True),
        ("👗" * (WORKBOOK_TEXT_MAX // 2 + 1), False),
    ],
)
def test_letters_of_a_cell_are_counted_as_a_spreadsheet_does(
    tmp_path: Path, *, text: str, fits: bool
) -> None:
    target = tmp_path / "out.xlsx"
    if fits:
        assert write_sheet(target, ["sku"], [{"sku": text}], XLSX) == 1
    else:
        with pytest.raises(WorkbookFull):
            write_sheet(target, ["sku"], [{"sku": text}], XLSX)
        assert not list(tmp_path.iterdir())


def test_a_workbook_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    columns = [f"attr:{number}" for number in range(COLUMNS_MAX + 1)]
    with pytest.raises(WorkbookFull):
        write_sheet(tmp_path / "out.xlsx", columns, [], XLSX)
    assert not list(tmp_path.iterdir())
    assert write_sheet(tmp_path / "out.xlsx", columns[1:], [], XLSX) == 0


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.csv", tmp_path / "link.csv"
    target.write_text("before", encoding="utf-8")
    link.symlink_to(target)
    with in_place(link) as part:
        part.write_text("after", encoding="utf-8")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "after"


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    with in_place(pipe) as part:
        part.write_text("after", encoding="utf-8")
    reader.join(timeout=30)
    assert read == ["after"]
    assert pipe.is_fifo()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, in_place(tmp_path / "nowhere" / "out.csv"):
        pass
    assert caught.value.filename == str(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError) as taken, in_place(tmp_path):
        pass
    assert taken.value.filename == str(tmp_path)
