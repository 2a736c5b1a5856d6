"""Delimited text as a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused
from meschain.exchange.sheet.split import Row, split_rows
from meschain.exchange.source import Source
from meschain.exchange.table.row import TableForm, TableRow

_COLUMNS_MAX: Final = 16_384  # what a spreadsheet can hold
_DELIMITERS: Final = (";", ",", "\t", "|")
# "sep=;" on the first line is how spreadsheets are told the delimiter.
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)")


@dataclass(frozen=True, slots=True)
class TextTable:
    source: Source
    form: TableForm
    header: Sequence[str]
    header_row: int
    remarks: Sequence[Fault] = ()

    def rows(self) -> Iterator[TableRow]:
        with self.source.lines(self.form.encoding) as lines:
            rows = _rows(lines, self.form.delimiter)
            next(rows)
            for number, cells in rows:
                yield TableRow(number, cells)


def open_text(
    source: Source,
    encoding: str,
    known_count: Callable[[Sequence[str]], int],
    delimiter: str | None = None,
) -> TextTable:
    """The table under the delimiter by which most header cells are known. Raises: FileRefused."""
    with source.lines(encoding) as lines:
        told = _SEPARATOR_LINE.fullmatch(next(lines, "").strip())
    best: TextTable | None = None
    best_count = -1
    for each in (delimiter,) if delimiter else (told[1],) if told else _DELIMITERS:
        with source.lines(encoding) as lines:
            number, header = next(_rows(lines, each), (0, ""))
        if isinstance(header, list) and known_count(header) > best_count:
            best_count = known_count(header)
            form = TableForm(encoding=encoding, delimiter=each)
            best = TextTable(source, form, header, number)
    if best is None:
        raise FileRefused(Reason.FILE_EMPTY)
    if len(best.header) > _COLUMNS_MAX:
        raise FileRefused(Reason.FILE_TOO_WIDE, columns_max=str(_COLUMNS_MAX))
    return best


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    """All rows, the header first; a "sep=" line is counted and left out."""
    first = next(lines, "")
    if _SEPARATOR_LINE.fullmatch(first.strip()):
        return split_rows(lines, delimiter, first_number=2)
    return split_rows(chain((first,), lines), delimiter)
