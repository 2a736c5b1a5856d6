"""Tables written row by row, as delimited text or as a workbook; nothing is held in memory.

The file appears whole or not at all: it is written beside its place and moved there at the end.
"""

from __future__ import annotations

import csv
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from meschain.exchange.neutral import neutralized
from meschain.exchange.table.row import Spool
from meschain.exchange.table.workbook import COLUMNS_MAX

Row = Mapping[str, str]
"""Column → cell; numbers with a decimal point."""


class Container(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetStyle:
    """How a table is written. What stands here is what spreadsheets in Turkish open as it is."""

    container: Container = Container.CSV
    encoding: str = "utf-8-sig"
    delimiter: str = ";"
    decimal_separator: str = ","


class LetterLost(ValueError):
    """The encoding has no room for a letter; nothing was written."""

    def __init__(self, encoding: str, letter: str) -> None:
        super().__init__(f"{encoding} {letter!r}")
        self.encoding = encoding
        self.letter = letter


class WorkbookFull(ValueError):
    """More rows or columns, or a longer text, than a workbook may hold; nothing was written."""


@contextmanager
def in_place(path: Path, *, is_private: bool = False) -> Iterator[Path]:
    """A path beside ``path`` to write to; moved there when all went well, else gone.

    A link stays, and what it leads to is written; a device or a pipe is written into.
    ``is_private``: readable by its owner alone. Raises: OSError.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path = path.resolve()
    if path.exists() and not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "part"
            with (Path(folder) / "part").open("rb") as made, path.open("wb") as target:
                shutil.copyfileobj(made, target)
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as wrong:
        # It is the folder's fault, not that of a file whose name nobody gave.
        raise OSError(wrong.errno, wrong.strerror, str(path.parent)) from wrong
    os.close(handle)
    part = Path(name)
    try:
        try:
            yield part
        except OSError as lost:
            lost.filename = lost.filename or str(path)  # a full disk names no file
            raise
        if not is_private:
            # As any file of this user: mkstemp keeps its own to itself.
            mask = os.umask(0)
            os.umask(mask)
            part.chmod(0o666 & ~mask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_sheet(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Row],
    style: SheetStyle,
    *,
    numeric: Collection[str] = (),
) -> int:
    """Write a table whose columns are known; returns its rows.

    Raises: LetterLost, WorkbookFull, OSError.
    """
    places = [(column, column in numeric) for column in columns]
    with in_place(path) as part:
        if style.container is Container.XLSX:
            return _write_workbook(part, columns, _cells(rows, places))
        return _write_text(part, columns, _cells(rows, places), style)


Cell = tuple[str, bool]
"""Text, and whether it is a number."""


def _cells(rows: Iterable[Row], places: Sequence[tuple[str, bool]]) -> Iterator[list[Cell]]:
    for row in rows:
        yield [(row.get(column, ""), is_number) for column, is_number in places]


def _write_text(
    path: Path, columns: Sequence[str], rows: Iterable[list[Cell]], style: SheetStyle
) -> int:
    written = 0
    mark = style.decimal_separator
    try:
        with path.open("w", encoding=style.encoding, newline="") as target:
            writer = csv.writer(target, delimiter=style.delimiter, lineterminator="\r\n")
            writer.writerow(map(neutralized, columns))
            for row in rows:
                writer.writerow(
                    text.replace(".", mark) if is_number else neutralized(text)
                    for text, is_number in row
                )
                written += 1
    except UnicodeEncodeError as lost:
        raise LetterLost(style.encoding, lost.object[lost.start : lost.end][:1]) from lost
    return written


class GrowingSheet:
    """Rows whose columns are known only when the last has come; they wait in a temporary file."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._place: dict[str, int] = {}
        self.count = 0

    @property
    def columns(self) -> list[str]:
        """In the order in which they were first filled."""
        return list(self._place)

    def put(self, row: Row) -> None:
        """Empty cells make no column."""
        place = self._place
        filled = {column: cell for column, cell in row.items() if cell}
        for column in filled:
            place.setdefault(column, len(place))
        cells = [""] * len(place)
        for column, cell in filled.items():
            cells[place[column]] = cell
        self._spool.put((0, cells, (), ()))
        self.count += 1

    def rows(self) -> Iterator[Row]:
        columns = self.columns
        for _, cells, _, _ in self._spool:
            yield dict(zip(columns, cells, strict=False))


# ── workbooks ────────────────────────────────────────────────────────────────────────────────────
# The least that is a workbook: one sheet, texts inline, no styles. Texts are typed as such, so a
# spreadsheet computes none of them; they are neutral all the same, for a sheet saved as CSV.
# Source: ECMA-376 part 1, 12.3 (parts), 18.3.1.4 (cell), 22.9.2.19 (escaped characters).
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPES: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARTS: Final = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPES}.worksheet+xml"/>'
        "</Types>"
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1"'
        f' Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
        '<sheet name="MesChain" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1"'
        f' Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}
# Beyond these a spreadsheet calls the file damaged, and mends it by leaving out; columns beyond
# ``COLUMNS_MAX`` we would not read again. Letters are those of UTF-16, where an emoji is two.
# Source: Microsoft, "Excel specifications and limits".
WORKBOOK_ROWS_MAX: Final = 1_048_576
WORKBOOK_TEXT_MAX: Final = 32_767
_FIRST_PRINTABLE: Final = " "
_NO_XML: Final = "\ufffe\uffff"
_READS_AS_ESCAPE: Final = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")


def _write_workbook(path: Path, columns: Sequence[str], rows: Iterable[list[Cell]]) -> int:
    written = 0
    if len(columns) > COLUMNS_MAX:
        raise WorkbookFull
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, _XML + text)
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            sheet.write(_row(1, [(column, False) for column in columns]))
            for number, row in zip(count(2), rows, strict=False):
                if number > WORKBOOK_ROWS_MAX:
                    raise WorkbookFull
                sheet.write(_row(number, row))
                written += 1
            sheet.write(b"</sheetData></worksheet>")
    return written


def _row(number: int, cells: Iterable[Cell]) -> bytes:
    """Raises: WorkbookFull."""
    parts = [
        ""
        if not text
        else f'<c r="{letters(place)}{number}"><v>{text}</v></c>'
        if is_number
        else f'<c r="{letters(place)}{number}" t="inlineStr"><is><t xml:space="preserve">'
        f"{_text(neutralized(text))}</t></is></c>"
        for place, (text, is_number) in enumerate(cells)
    ]
    return f'<row r="{number}">{"".join(parts)}</row>'.encode()


def letters(place: int) -> str:
    """A column's letters; 0 is A."""
    found = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        found = chr(65 + rest) + found
    return found


def _text(text: str) -> str:
    """XML holds no control characters but tab and line feed, and would turn CR into one.

    Raises: WorkbookFull.
    """
    if len(text) * 2 > WORKBOOK_TEXT_MAX and len(text.encode("utf-16-le")) // 2 > WORKBOOK_TEXT_MAX:
        raise WorkbookFull
    if "_x" in text:
        text = _READS_AS_ESCAPE.sub("_x005F_", text)
    if not text.isprintable():
        text = "".join(
            f"_x{ord(each):04X}_"
            if (each < _FIRST_PRINTABLE and each not in "\t\n") or each in _NO_XML
            else each
            for each in text
        )
    return escape(text)
