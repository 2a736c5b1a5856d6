"""A sheet of an XLSX workbook as a table.

Cells are taken as they are stored, not as they are shown, with four exceptions: a date is written
as a date, a percentage as a percentage, a number whose format is nothing but zeros with its leading
zeros, and a number with more digits than a spreadsheet keeps in powers of ten, so that it is known
for damaged. Formulas give the value that was computed when the file was saved.
Source: ECMA-376 part 1, 18.3.1.4 (cell), 18.8.30 (number formats), 18.17.4 (dates).
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Final

from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused
from meschain.exchange.source import LINE_CHARACTERS_MAX, Source, line_too_long
from meschain.exchange.table.package import Package, SheetPart, open_package, opened, unescape
from meschain.exchange.table.row import TRUTHS, Spool, TableForm, TableRow
from meschain.exchange.xml import feed, local, new_parser

COLUMNS_MAX: Final = 1_000
_HEADER_ROWS_MAX: Final = 20
_DIGITS_KEPT: Final = 15
"""Decimal digits that a spreadsheet's number holds for certain (IEEE 754 double)."""
_INDEX_DIGITS_MAX: Final = 9
_MERGES_MAX: Final = 200_000
_DATE_FORMATS: Final = frozenset(
    map(str, [*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])
)
_PERCENT_FORMATS: Final = frozenset({"9", "10"})
# A spreadsheet's dates have no zone.
_DAY_0: Final = datetime(1899, 12, 30)  # noqa: DTZ001
_DAY_0_OF_1904: Final = datetime(1904, 1, 1)  # noqa: DTZ001
_LITERAL: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
_ZEROS: Final = re.compile(r"0{2,}")
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})(?::([A-Z]{1,3})([0-9]{1,7}))?")


class _Shown(Enum):
    NUMBER = "number"
    DATE = "date"
    PERCENT = "percent"


def open_workbook(
    source: Source, known_count: Callable[[Sequence[str]], int], sheet: str | None
) -> WorkbookTable:
    """The sheet of that name, else the first visible one. Raises: FileRefused."""
    with source.binary() as raw:
        try:
            archive = zipfile.ZipFile(raw)
        except (zipfile.BadZipFile, OSError) as damage:
            raise FileRefused(Reason.FILE_XLSX_BROKEN) from damage
        with archive:
            package = open_package(archive)
            part = _chosen(package, sheet)
            walk = _SheetWalk(package.strings(), _Formats(package))
            walk.read(package, part)
    names = tuple(each.name for each in package.sheets)
    return walk.table(known_count, part.name, names)


def _chosen(package: Package, sheet: str | None) -> SheetPart:
    visible = [each for each in package.sheets if not each.is_hidden] or list(package.sheets)
    for each in package.sheets if sheet is not None else visible[:1]:
        if sheet is None or each.name.casefold() == sheet.casefold():
            return each
    names = ", ".join(each.name for each in package.sheets)
    raise FileRefused(Reason.FILE_NO_SHEET, sheet=sheet or "", sheets=names)


@lru_cache(maxsize=1024)
def _column(letters: str) -> int:
    """The place of a column by its letters; A is 0. Raises: FileRefused."""
    if not (letters.isascii() and letters.isalpha() and letters.isupper()):
        raise FileRefused(Reason.FILE_XLSX_BROKEN)
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter) - 64
    return place - 1


def _index(text: str) -> int:
    """A place in one of the workbook's lists. Raises: FileRefused."""
    if not (text.isascii() and text.isdigit() and len(text) <= _INDEX_DIGITS_MAX):
        raise FileRefused(Reason.FILE_XLSX_BROKEN)
    return int(text)


class _Formats:
    """What the styles of a workbook make of a number."""

    def __init__(self, package: Package) -> None:
        codes = package.formats()
        self._kinds = [_kind(code) for code in codes]
        self._widths = [len(code) if _ZEROS.fullmatch(code) else 0 for code in codes]
        self._zero_day = _DAY_0_OF_1904 if package.counts_from_1904 else _DAY_0

    def text(self, stored: str, style: int) -> tuple[str, bool]:
        """A stored number as text, and whether that is a number (with a decimal point)."""
        kind = self._kinds[style] if style < len(self._kinds) else _Shown.NUMBER
        if kind is _Shown.NUMBER:
            if len(stored) <= _DIGITS_KEPT and stored.isascii() and stored.isdigit():
                width = self._widths[style] if style < len(self._widths) else 0
                return stored.zfill(width), True
            return _number(stored), True
        if kind is _Shown.DATE:
            return self._date(stored), False
        return f"{_scaled(stored)}%", True

    def _date(self, stored: str) -> str:
        try:
            moment = self._zero_day + timedelta(days=float(stored))
        except (OverflowError, ValueError):
            return stored
        moment = (moment + timedelta(milliseconds=500)).replace(microsecond=0)
        return moment.date().isoformat() if moment.time() == moment.min.time() else str(moment)


def _kind(code: str) -> _Shown:
    if code in _DATE_FORMATS:
        return _Shown.DATE
    if code in _PERCENT_FORMATS:
        return _Shown.PERCENT
    if code.isdigit() or code == "General":
        return _Shown.NUMBER
    bare = _LITERAL.sub("", code).partition(";")[0].lower()
    if bare.endswith("%"):
        return _Shown.PERCENT
    return _Shown.DATE if any(letter in bare for letter in "ymdhs") else _Shown.NUMBER


@lru_cache(maxsize=4096)
def _number(stored: str) -> str:
    """``0.30000000000000004`` is the 0.3 that was entered; ``1.23E+18`` has lost digits."""
    try:
        rounded = Decimal(f"{float(stored):.{_DIGITS_KEPT}g}")
    except (ValueError, ArithmeticError):
        return stored
    if not rounded.is_finite():
        return stored
    if abs(rounded) >= 10**_DIGITS_KEPT:
        return f"{rounded:E}"
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(stored: str) -> str:
    try:
        return _number(str(Decimal(stored) * 100))
    except ArithmeticError:
        return stored


@dataclass(slots=True)
class _SheetWalk:
    """One walk over a sheet's XML. The cell being read lives in the fields with an underscore."""

    strings: list[str]
    formats: _Formats
    spool: Spool = field(default_factory=Spool)
    head: list[tuple[int, list[str]]] = field(default_factory=list)
    merges: list[tuple[int, int, int, int]] = field(default_factory=list)
    formula_counts: Counter[int] = field(default_factory=Counter)
    width: int = 0
    _row_number: int = 0
    _cells: list[str] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _broken: list[int] = field(default_factory=list)
    _place: int = -1
    _kind: str = "n"
    _style: int = 0
    _has_formula: bool = False
    _captures: bool = False
    _text: str = ""

    def read(self, package: Package, part: SheetPart) -> None:
        starts: dict[str, Callable[[Mapping[str, str]], None]] = {
            "row": self._start_row,
            "c": self._start_cell,
            "v": self._start_text,
            "t": self._start_text,
            "f": self._start_formula,
            "rPh": self._start_phonetic,
            "mergeCell": self._merge,
        }
        ends: dict[str, Callable[[], None]] = {
            "row": self._end_row,
            "c": self._end_cell,
            "v": self._end_text,
            "t": self._end_text,
        }

        def start(name: str, attributes: Mapping[str, str]) -> None:
            handler = starts.get(name) or starts.get(local(name))
            if handler is not None:
                handler(attributes)

        def end(name: str) -> None:
            handler = ends.get(name) or ends.get(local(name))
            if handler is not None:
                handler()

        parser = new_parser()
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = self._data
        with opened(package.archive, part.path) as stream:
            feed(parser, stream)

    def _start_row(self, attributes: Mapping[str, str]) -> None:
        given = attributes.get("r", "")
        self._row_number = _index(given) if given else self._row_number + 1
        self._cells, self._numbers, self._broken, self._place = [], [], [], -1

    def _start_cell(self, attributes: Mapping[str, str]) -> None:
        reference = attributes.get("r")
        self._place = _column(reference.rstrip("0123456789")) if reference else self._place + 1
        self._kind = attributes.get("t", "n")
        self._style = _index(attributes.get("s", "0"))
        self._has_formula = False
        self._text = ""

    def _start_formula(self, _: Mapping[str, str]) -> None:
        self._has_formula = True

    def _start_text(self, _: Mapping[str, str]) -> None:
        self._captures = True

    def _start_phonetic(self, _: Mapping[str, str]) -> None:
        # A reading aid inside a cell's own text; its <t> must not be taken for more of it.
        self._kind = "phonetic" if self._kind == "inlineStr" else self._kind

    def _end_text(self) -> None:
        self._captures = False

    def _data(self, data: str) -> None:
        if self._captures and self._kind != "phonetic":
            self._text += data
            if len(self._text) > LINE_CHARACTERS_MAX:
                raise line_too_long()

    def _end_cell(self) -> None:
        text = self._text
        place = self._place
        if self._has_formula:
            self.formula_counts[place] += 1
            if not text and self._kind != "str":
                text, self._kind = "=", "e"
        if not text:
            return
        if place >= COLUMNS_MAX:
            raise FileRefused(Reason.FILE_TOO_WIDE, columns_max=str(COLUMNS_MAX))
        text = self._meaning(text, place)
        cells = self._cells
        if place < len(cells):
            cells[place] = text
            return
        while len(cells) < place:
            cells.append("")
        cells.append(text)

    def _meaning(self, text: str, place: int) -> str:
        match self._kind:
            case "s":
                place_in_list = _index(text)
                if place_in_list >= len(self.strings):
                    raise FileRefused(Reason.FILE_XLSX_BROKEN)
                return self.strings[place_in_list]
            case "n":
                shown, is_number = self.formats.text(text, self._style)
                if is_number:
                    self._numbers.append(place)
                return shown
            case "e":
                self._broken.append(place)
                return text
            case "inlineStr" | "phonetic" | "str":
                return unescape(text)
            case "b":
                self._numbers.append(place)
                return TRUTHS[text == "1"]
            case _:  # a date written out
                return text.replace("T", " ").removesuffix(" 00:00:00")

    def _end_row(self) -> None:
        if sum(map(len, self._cells)) > LINE_CHARACTERS_MAX:
            raise line_too_long()
        if not any(map(str.strip, self._cells)):
            return
        self.width = max(self.width, len(self._cells))
        if len(self.head) < _HEADER_ROWS_MAX:
            self.head.append((self._row_number, self._cells))
        self.spool.put((self._row_number, self._cells, tuple(self._numbers), tuple(self._broken)))

    def _merge(self, attributes: Mapping[str, str]) -> None:
        found = _REFERENCE.fullmatch(attributes.get("ref", ""))
        if found is None or found[3] is None:
            return
        if len(self.merges) == _MERGES_MAX:
            raise FileRefused(Reason.FILE_TOO_MANY_MERGES, count_max=str(_MERGES_MAX))
        self.merges.append((int(found[2]), int(found[4]), _column(found[1]), _column(found[3])))

    def table(
        self,
        known_count: Callable[[Sequence[str]], int],
        sheet_name: str,
        sheet_names: tuple[str, ...],
    ) -> WorkbookTable:
        if not self.head:
            raise FileRefused(Reason.FILE_EMPTY)
        tall = [each for each in self.merges if each[1] > each[0]]
        header_row, header = _header(self.head, self.merges, tall, known_count)
        header += [""] * (self.width - len(header))
        remarks = [
            Fault(Reason.FORMULAS_READ, column=header[place] or str(place + 1), count=str(count))
            for place, count in sorted(self.formula_counts.items())
        ]
        below = [each for each in tall if each[1] > header_row]
        if any(each[0] > header_row for each in below):
            count = sum(each[0] > header_row for each in below)
            remarks.append(Fault(Reason.MERGED_READ, count=str(count)))
        form = TableForm(encoding="utf-8", delimiter=";", sheet=sheet_name)
        return WorkbookTable(
            form=form,
            header=header,
            header_row=header_row,
            remarks=tuple(remarks),
            sheet_names=sheet_names,
            spool=self.spool,
            tall=tuple(below),
        )


def _header(
    head: list[tuple[int, list[str]]],
    merges: list[tuple[int, int, int, int]],
    tall: list[tuple[int, int, int, int]],
    known_count: Callable[[Sequence[str]], int],
) -> tuple[int, list[str]]:
    """The row number and cells of that one of the first rows whose names are best known.

    A name merged downwards counts in each row it covers; one merged over several columns is put
    before the names below it where only both together are known ("Satış" over "Fiyatı").
    """
    fill = _Fill(tall)
    above: dict[int, str] = {}
    best = (-1, 0, [""])
    for number, given in head:
        cells, _ = fill.filled(number, given)
        together = [f"{above.get(place, '')} {cell}".strip() for place, cell in enumerate(cells)]
        names = [
            both if not known_count([cell]) and known_count([both]) else cell
            for cell, both in zip(cells, together, strict=True)
        ]
        count = known_count(names)
        if count > best[0]:
            best = (count, number, names)
        above = {}
        for first, last, left, right in merges:
            if first <= number <= last and left < len(cells):
                above.update(dict.fromkeys(range(left, right + 1), cells[left]))
    return best[1], best[2]


class _Fill:
    """Gives each cell of a range merged downwards the range's value; rows must come in order."""

    def __init__(self, tall: Sequence[tuple[int, int, int, int]]) -> None:
        self._waiting = sorted(tall, reverse=True)
        self._open: list[tuple[int, int, str, bool]] = []

    def filled(
        self, number: int, given: list[str], numbers: tuple[int, ...] = ()
    ) -> tuple[list[str], tuple[int, ...]]:
        """The cells of a row, and which of them are numbers proper."""
        cells = list(given)
        self._open = [each for each in self._open if each[0] >= number]
        for _, place, value, is_number in self._open:
            cells += [""] * (place + 1 - len(cells))
            if not cells[place]:
                cells[place] = value
                numbers = (*numbers, place) if is_number else numbers
        while self._waiting and self._waiting[-1][0] <= number:
            first, last, left, _ = self._waiting.pop()
            if first == number and left < len(cells):
                self._open.append((last, left, cells[left], left in numbers))
        return cells, numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkbookTable:
    form: TableForm
    header: Sequence[str]
    header_row: int
    remarks: Sequence[Fault]
    sheet_names: tuple[str, ...]
    spool: Spool
    tall: Sequence[tuple[int, int, int, int]]

    def rows(self) -> Iterator[TableRow]:
        width = len(self.header)
        fill = _Fill(self.tall) if self.tall else None
        for number, given, stored, broken in self.spool:
            numbers = stored
            if number <= self.header_row:
                if fill is not None:
                    fill.filled(number, given)
                continue
            cells = given
            if fill is not None:
                cells, numbers = fill.filled(number, given, numbers)
            cells.extend([""] * (width - len(cells)))
            yield TableRow(number, cells, numbers, broken)
