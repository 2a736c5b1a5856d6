"""Tables of named columns that are no catalog: stock counts, price lists, past orders.

A reader says which columns it knows; everything about the file itself (encoding, separators,
workbooks, decimals) is found as for a catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Final

from meschain.domain.money import Money
from meschain.domain.text import fold
from meschain.exchange.columnmap import ColumnMap
from meschain.exchange.damage import check_text
from meschain.exchange.fault import Fault
from meschain.exchange.neutral import restored
from meschain.exchange.number import Evidence, read_decimal, read_money, read_whole, strip_currency
from meschain.exchange.reason import Reason
from meschain.exchange.record import (
    FileFormat,
    FileRefused,
    RefusedRow,
    RowWarning,
    SourceForm,
    SourceKind,
)
from meschain.exchange.sheet.column import REFUSED_COLUMNS, key_of
from meschain.exchange.source import Source
from meschain.exchange.table.package import OLE_MAGIC, ZIP_MAGIC
from meschain.exchange.table.row import TRUTHS, Table, TableRow
from meschain.exchange.table.text import open_text
from meschain.exchange.table.workbook import open_workbook

_HEAD_BYTES: Final = 8
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that a reader knows: field → names, of which the first are English and Turkish.

    ``keys`` are the fields whose cells are codes; ``numeric`` those that hold numbers; each of
    ``required`` must be there. ``passed_over`` are known columns that need no remark.
    """

    names: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    numeric: frozenset[str]
    keys: frozenset[str] = frozenset()
    passed_over: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetOptions:
    """What the file cannot say itself; see ``ReadingOptions``.

    ``known_maps``: by whose sheets they are; one is used where it knows more of the header than we
    do, and no ``column_map`` is told.
    """

    encoding: str | None = None
    sheet: str | None = None
    decimal_separator: str | None = None
    column_map: ColumnMap | None = None
    known_maps: Mapping[str, ColumnMap] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row. ``cells``: field → text, trimmed, empty ones left out; amounts are read on demand."""

    number: int
    cells: Mapping[str, str]
    _given: Sequence[str]
    _header: Sequence[str]
    _columns: Mapping[str, str]
    _separators: Mapping[str, str]

    @property
    def raw_row(self) -> Mapping[str, str]:
        """Column → cell as given."""
        return dict(zip(self._header, self._given, strict=False))

    def text(self, fld: str) -> str:
        return self.cells.get(fld, "")

    def whole(self, fld: str) -> int | None:
        """A whole number from 0 on. Raises: Fault."""
        cell = self.cells.get(fld)
        return None if cell is None else read_whole(cell, self._columns[fld], self._separators)

    def decimal(self, fld: str) -> Decimal | None:
        """An exact number, also below 0. Raises: Fault."""
        cell = self.cells.get(fld)
        if cell is None:
            return None
        digits = cell.removeprefix("-").removeprefix("−")
        number = read_decimal(digits.lstrip(), self._columns[fld], self._separators)
        return number if digits == cell else -number

    def money(self, fld: str, currency: str) -> Money | None:
        """An amount in whole minor units, from 0 on. Raises: Fault."""
        cell = self.cells.get(fld)
        if cell is None:
            return None
        amount = strip_currency(cell, currency)
        return read_money(amount, self._columns[fld], self._separators, currency)

    def refused(self, sku: str | None, fault: Fault) -> RefusedRow:
        return RefusedRow(self.number, sku or None, fault.reason, fault.params, self.raw_row)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSheet:
    """A file being read; ``rows`` may be walked as often as needed.

    ``known_as``: whose sheet it was found to be, by one of the known maps.
    """

    form: SourceForm
    fields: frozenset[str]
    warnings: tuple[RowWarning, ...]
    rows: Callable[[], Iterator[NamedRow | RefusedRow]]
    row_count: int = 0
    known_as: str | None = None


def open_sheet(source: Path | bytes, columns: Columns, options: SheetOptions) -> NamedSheet:
    """Find out how the file is written and where each column stands. Raises: FileRefused, OSError.

    It is read twice: once for what its numbers show, then row by row.
    """
    known = _known(columns, options)
    table, file_format = _table(Source(source), known, options)
    known_as = max(known, key=lambda name: _count(known[name], table.header))
    column_map = options.known_maps[known_as] if known_as else options.column_map
    layout = _lay_out(table, columns, column_map)
    separators, row_count = _surveyed(table, layout, _told_separator(options))
    form = SourceForm(
        kind=SourceKind.CSV if column_map is None else SourceKind.SUPPLIER,
        file_format=file_format,
        encoding=table.form.encoding,
        delimiter=table.form.delimiter,
        columns=layout.columns,
        decimal_separators=separators,
        sheet=table.form.sheet,
    )
    fixed = _NONE if column_map is None else column_map.fixed
    words = {} if column_map is None else column_map.words
    reader = _Reader(table, layout, separators, dict(fixed), words)
    return NamedSheet(
        form=form,
        fields=frozenset((*layout.at, *fixed)),
        warnings=(
            *(RowWarning(0, None, each.reason, each.params) for each in table.remarks),
            *(
                RowWarning(table.header_row, None, Reason.HEADER_UNKNOWN, {"column": column})
                for column in layout.unknown
            ),
        ),
        rows=reader.rows,
        row_count=row_count,
        known_as=known_as or None,
    )


def _known(columns: Columns, options: SheetOptions) -> dict[str, dict[str, str]]:
    """Names as compared → field: those told or ours under ``""``, before those of known maps."""
    known = {"": _known_names(columns, options.column_map)}
    if options.column_map is None:
        known |= {name: _known_names(columns, each) for name, each in options.known_maps.items()}
    return known


def _count(known: Mapping[str, str], header: Sequence[str]) -> int:
    return sum(key_of(cell) in known for cell in header)


def _table(
    source: Source, known: Mapping[str, Mapping[str, str]], options: SheetOptions
) -> tuple[Table, FileFormat]:
    with source.binary() as raw:
        head = raw.read(_HEAD_BYTES)
    if head.startswith(OLE_MAGIC):
        raise FileRefused(Reason.FILE_XLS)

    def known_count(header: Sequence[str]) -> int:
        return max(_count(names, header) for names in known.values())

    told = options.column_map
    if head.startswith(ZIP_MAGIC):
        sheet = options.sheet or (told.sheet if told else None)
        return open_workbook(source, known_count, sheet), FileFormat.XLSX
    encoding = source.detect_encoding(options.encoding or (told.encoding if told else None))
    delimiter = told.delimiter if told else None
    return open_text(source, encoding, known_count, delimiter), FileFormat.TEXT


def _told_separator(options: SheetOptions) -> str | None:
    of_map = options.column_map.decimal_separator if options.column_map else None
    return options.decimal_separator or of_map


def _known_names(columns: Columns, column_map: ColumnMap | None) -> dict[str, str]:
    """Name as compared → field; with a column map, its names and no others."""
    if column_map is not None:
        for ours in (*column_map.columns, *column_map.fixed):
            if ours not in columns.names:
                allowed = ", ".join(columns.names)
                raise FileRefused(Reason.MAP_UNKNOWN, entry=f"columns.{ours}", allowed=allowed)
        return {
            key_of(theirs): ours for ours, names in column_map.columns.items() for theirs in names
        }
    return {key_of(name): fld for fld, names in columns.names.items() for name in names}


@dataclass(frozen=True, slots=True)
class _Layout:
    columns: tuple[str, ...]
    at: Mapping[str, int]
    numeric: frozenset[str]
    keys: frozenset[str]
    unknown: tuple[str, ...]


def _lay_out(table: Table, columns: Columns, column_map: ColumnMap | None) -> _Layout:
    header = tuple(cell.strip() or f"column {place + 1}" for place, cell in enumerate(table.header))
    known = _known_names(columns, column_map)
    at: dict[str, int] = {}
    unknown: list[str] = []
    passed_over = {key_of(name) for name in (*columns.passed_over, *REFUSED_COLUMNS)}
    for place, name in enumerate(header):
        fld = known.get(key_of(name))
        if fld is None:
            if (
                column_map is None
                and table.header[place].strip()
                and key_of(name) not in (passed_over)
            ):
                unknown.append(name)
        elif fld in at:
            raise FileRefused(Reason.HEADER_TWICE, column=name)
        else:
            at[fld] = place
    fixed = column_map.fixed if column_map else _NONE
    for fld in columns.required:
        if fld not in at and fld not in fixed:
            raise FileRefused(Reason.HEADER_NO_COLUMN, column=columns.names[fld][0])
    return _Layout(header, at, columns.numeric, columns.keys, tuple(unknown))


def _surveyed(table: Table, layout: _Layout, told: str | None) -> tuple[dict[str, str], int]:
    """Column → decimal separator, as in a catalog: by what its own cells show, else the file's.

    And how many rows there are.
    """
    evidence = Evidence()
    numeric = [(layout.columns[at], at) for fld, at in layout.at.items() if fld in layout.numeric]
    exact: set[int] = set()
    marked: set[int] = set()
    row_count = 0
    for row in table.rows():
        row_count += 1
        for column, place in numeric:
            if isinstance(row.cells, str) or place >= len(row.cells):
                continue
            cell = row.cells[place].strip()
            if "," in cell or "." in cell:
                if place in row.numbers:
                    exact.add(place)
                else:
                    marked.add(place)
                    evidence.note(column, cell.strip("₺$€£ABCDEFGHIJKLMNOPQRSTUVWXYZ "))
    separators = dict(evidence.decide([column for column, _ in numeric], told))
    for column, place in numeric:
        if place in exact and place not in marked:
            separators.setdefault(column, ".")
    return separators, row_count


@dataclass(slots=True)
class _Reader:
    table: Table
    layout: _Layout
    separators: Mapping[str, str]
    fixed: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]
    named: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.named = {fld: self.layout.columns[at] for fld, at in self.layout.at.items()}
        self.named |= {fld: fld for fld in self.fixed if fld not in self.named}

    def rows(self) -> Iterator[NamedRow | RefusedRow]:
        columns = self.layout.columns
        for row in self.table.rows():
            cells = row.cells
            if isinstance(cells, str):
                yield RefusedRow(row.number, None, Reason.ROW_QUOTING, {}, {columns[0]: cells})
                continue
            if len(cells) > len(columns) and any(map(str.strip, cells[len(columns) :])):
                params = {"expected": str(len(columns)), "found": str(len(cells))}
                raw_row = dict(zip(columns, cells, strict=False))
                yield RefusedRow(row.number, None, Reason.ROW_FIELD_COUNT, params, raw_row)
                continue
            try:
                stated = self._stated(row, cells)
            except Fault as fault:
                raw_row = dict(zip(columns, cells, strict=False))
                yield RefusedRow(row.number, None, fault.reason, fault.params, raw_row)
            else:
                yield NamedRow(row.number, stated, cells, columns, self.named, self.separators)

    def _stated(self, row: TableRow, cells: list[str]) -> dict[str, str]:
        """Field → cell. Raises: Fault."""
        stated = dict(self.fixed)
        is_exact = row.numbers or row.broken
        for fld, place in self.layout.at.items():
            cell = cells[place].strip() if place < len(cells) else ""
            if not cell:
                continue
            if cell[0] == "'":
                cell = restored(cell)
            if is_exact:
                cell = self._settled(row, fld, place, cell)
            if not cell.isprintable() or "\ufffd" in cell:
                column = self.layout.columns[place]
                check_text(cell, column, is_key=fld in self.layout.keys)
            words = self.words.get(fld)
            stated[fld] = words.get(fold(cell), cell) if words else cell
        return stated

    def _settled(self, row: TableRow, fld: str, place: int, cell: str) -> str:
        """A number proper as the rest of its column is written. Raises: Fault."""
        column = self.layout.columns[place]
        if place in row.broken:
            raise Fault(Reason.CELL_BROKEN, column=column, value=cell)
        if place not in row.numbers:
            return cell
        if cell in TRUTHS and fld in self.layout.keys:
            raise Fault(Reason.CELL_TRUTH_VALUE, column=column, value=cell)
        if "." in cell:
            # 12.10 entered as a number has become 12.1: nobody can tell what the code was.
            if fld in self.layout.keys:
                raise Fault(Reason.SKU_NUMBER_FORMAT, value=cell)
            if self.separators.get(column) == ",":
                return cell.replace(".", ",")
        return cell
