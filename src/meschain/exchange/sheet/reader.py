"""Tables as drafts: a first pass that learns what the file shows, a second that reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.exchange.claim import Claims
from meschain.exchange.damage import BarcodeColumn
from meschain.exchange.dialect.base import Dialect, Left, Line, Stated
from meschain.exchange.fault import Fault
from meschain.exchange.number import Evidence
from meschain.exchange.reason import Reason
from meschain.exchange.record import (
    CatalogReading,
    FileFormat,
    ReadingOptions,
    ReadProduct,
    Record,
    RefusedRow,
    RowWarning,
    SourceForm,
)
from meschain.exchange.sheet.cells import ProductCells, RowReader
from meschain.exchange.table import Table, TableRow
from meschain.exchange.table.row import TRUTHS

_NUMBER_IN_CELL: Final = re.compile(r"[₺$€A-Z ]*(-?[0-9][0-9.,]*[0-9])[₺$€A-Z ]*")


def read_table(
    table: Table, dialect: Dialect, file_format: FileFormat, options: ReadingOptions
) -> CatalogReading:
    """A table's products; read twice, and held only as far as its products are incomplete."""
    survey = _survey(table, dialect)
    columns = [column for column, _ in dialect.numeric]
    separators = dict(survey.evidence.decide(columns, options.decimal_separator))
    for column, place in dialect.numeric:
        # Numbers proper need no mark; text beside them that shows none keeps a column undecided.
        if place in survey.exact_places and place not in survey.marked_places:
            separators.setdefault(column, ".")
    form = SourceForm(
        kind=dialect.kind,
        file_format=file_format,
        encoding=table.form.encoding,
        delimiter=table.form.delimiter,
        columns=tuple(dialect.columns),
        decimal_separators=separators,
        header_language=dialect.header_language,
        sheet=table.form.sheet,
        item=table.form.item,
    )
    pass_ = _Pass(
        dialect=dialect,
        options=options,
        survey=survey,
        separators=separators,
        rows=RowReader(
            dialect.layout, options, {**separators, **dialect.own_separators}, survey.barcodes
        ),
    )
    return CatalogReading(form=form, records=pass_.records(table), row_count=survey.row_count)


@dataclass(slots=True)
class _Survey:
    """What the first pass learned of the whole file."""

    evidence: Evidence = field(default_factory=Evidence)
    barcodes: BarcodeColumn = field(default_factory=BarcodeColumn)
    rows_of_key: Counter[str] = field(default_factory=Counter)
    skus: set[str] = field(default_factory=set)
    row_count: int = 0
    exact_places: set[int] = field(default_factory=set)
    marked_places: set[int] = field(default_factory=set)


def _survey(table: Table, dialect: Dialect) -> _Survey:
    survey = _Survey()
    numeric = list(dialect.numeric)
    width = len(dialect.columns)
    barcode_at = dialect.barcode_place
    for row in table.rows():
        survey.row_count += 1
        cells = _fitted(row.cells, width)
        if cells is None:
            continue
        for column, place in numeric:
            cell = cells[place]
            if "," in cell or "." in cell:
                if place in row.numbers:
                    survey.exact_places.add(place)
                else:
                    survey.marked_places.add(place)
                    survey.evidence.note(column, _number_in(cell))
        if barcode_at is not None and (barcode := cells[barcode_at].strip()):
            survey.barcodes.note(barcode)
        survey.rows_of_key[dialect.key(cells)] += 1
        survey.skus.add(cells[dialect.sku_place].strip())
    return survey


@lru_cache(maxsize=4096)
def _number_in(cell: str) -> str:
    """The number in a cell that holds one and at most a currency; else nothing."""
    found = _NUMBER_IN_CELL.fullmatch(cell.strip())
    return found[1] if found else ""


def _fitted(row: list[str] | str, width: int) -> list[str] | None:
    """The cells of a row as wide as the header; empty ones beyond it are dropped."""
    if isinstance(row, str):
        return None
    if len(row) == width:
        return row
    if len(row) > width and not any(map(str.strip, row[width:])):
        return row[:width]
    return None


@dataclass(slots=True)
class _Member:
    line: Line
    variant: VariantDraft

    @property
    def row_number(self) -> int:
        return self.line.number


@dataclass(slots=True)
class _Group:
    """The rows of one product read so far; what the first row states of the product holds.

    ``lines`` wait here where the dialect wants all of them at once.
    """

    rows_expected: int
    rows_seen: int = 0
    lines: list[Line] = field(default_factory=list)
    product_row: int = 0
    model_code: str = ""
    model_stated: bool = False
    members: list[_Member] = field(default_factory=list)
    brand: str | None = None
    category: str | None = None
    titles: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    image_urls: tuple[str, ...] = ()

    def state(self, line: Line, model: str, sku: str, stated: ProductCells) -> list[Fault]:
        """Take in what a row says of the product; contradictions are dropped and remarked upon."""
        remarks: list[Fault] = []
        self.product_row = self.product_row or line.number
        self.model_code = self.model_code or model or sku
        self.model_stated = self.model_stated or bool(model)
        self.brand = _settle("brand", self.brand, stated.brand, remarks)
        self.category = _settle("category", self.category, stated.category, remarks)
        _settle_all("title", self.titles, stated.titles, remarks)
        _settle_all("description", self.descriptions, stated.descriptions, remarks)
        _settle_all("product_attr", self.attributes, stated.attributes, remarks)
        self.image_urls = self.image_urls or stated.image_urls
        return remarks

    def product(self, raw_rows: Iterable[Mapping[str, str]]) -> ReadProduct:
        draft = ProductDraft(
            model_code=self.model_code,
            brand=self.brand,
            category=self.category,
            contents=tuple(
                Content(tag, title, self.descriptions.get(tag, ""))
                for tag, title in self.titles.items()
            ),
            variants=tuple(member.variant for member in self.members),
            attributes=self.attributes,
            image_urls=self.image_urls,
        )
        rows = tuple(member.row_number for member in self.members)
        return ReadProduct(draft, self.product_row, rows, self.model_stated, tuple(raw_rows))


def _settle(column: str, kept: str | None, stated: str | None, remarks: list[Fault]) -> str | None:
    if kept is not None and stated is not None and kept != stated:
        remarks.append(Fault(Reason.PRODUCT_CONFLICT, column=column, value=stated, kept=kept))
    return stated if kept is None else kept


def _settle_all(
    kind: str, kept: dict[str, str], stated: Mapping[str, str], remarks: list[Fault]
) -> None:
    for name, value in stated.items():
        kept[name] = _settle(f"{kind}:{name}", kept.get(name), value, remarks) or value


def _alike(group: _Group) -> Iterator[RowWarning]:
    """Variants that no attribute tells apart; those without any attribute are left alone."""
    seen: dict[frozenset[tuple[str, str]], str] = {}
    for member in group.members if len(group.members) > 1 else ():
        variant = member.variant
        other = seen.setdefault(frozenset(variant.attributes.items()), variant.sku)
        if variant.attributes and other != variant.sku:
            named = ", ".join(f"{name}: {value}" for name, value in variant.attributes.items())
            params = {"other": other, "attributes": named}
            reason = Reason.VARIANT_SAME_ATTRIBUTES
            yield RowWarning(member.row_number, variant.sku, reason, params)


@dataclass(slots=True)
class _Pass:
    """The second pass: rows become variants, complete groups become products."""

    dialect: Dialect
    options: ReadingOptions
    survey: _Survey
    separators: Mapping[str, str]
    rows: RowReader
    claims: Claims = field(default_factory=Claims)
    groups: dict[str, _Group] = field(default_factory=dict)
    with_bundles: list[_Group] = field(default_factory=list)

    def records(self, table: Table) -> Iterator[Record]:
        for remark in table.remarks:
            yield RowWarning(0, None, remark.reason, remark.params)
        for remark in self.dialect.remarks:
            yield RowWarning(table.header_row, None, remark.reason, remark.params)
        if not self.survey.row_count:
            yield RowWarning(0, None, Reason.FILE_EMPTY, {})
        width = len(self.dialect.columns)
        for row in table.rows():
            cells = _fitted(row.cells, width)
            if cells is None:
                yield self._unfit(row.number, row.cells)
            else:
                yield from self._row(row, cells)
        assert not self.groups, "a product was surveyed that the second pass did not meet"
        for group in self.with_bundles:
            yield from self._bundles(group)

    def _row(self, row: TableRow, cells: list[str]) -> Iterator[Record]:
        key = self.dialect.key(cells)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _Group(self.survey.rows_of_key[key])
        group.rows_seen += 1
        line = Line(row.number, cells)
        try:
            if row.numbers or row.broken:
                self._settle_cells(row, cells)
        except Fault as fault:
            yield self._refused(line, fault)
        else:
            if self.dialect.is_by_product:
                group.lines.append(line)
            else:
                yield from self._take(group, (line,))
        if group.rows_seen == group.rows_expected:
            del self.groups[key]
            if group.lines:
                yield from self._take(group, group.lines)
            yield from self._complete(group)

    def _settle_cells(self, row: TableRow, cells: list[str]) -> None:
        """Write numbers proper as the rest of their column is written. Raises: Fault."""
        columns = self.dialect.columns
        for place in row.broken:
            if place in self.dialect.used:
                raise Fault(Reason.CELL_BROKEN, column=columns[place], value=cells[place])
        for place in row.numbers:
            cell = cells[place]
            if cell in TRUTHS and place in (self.dialect.sku_place, self.dialect.barcode_place):
                raise Fault(Reason.CELL_TRUTH_VALUE, column=columns[place], value=cell)
            if "." not in cell:
                continue
            # 12.10 entered as a number has become 12.1: nobody can tell what the code was.
            if place == self.dialect.sku_place:
                raise Fault(Reason.SKU_NUMBER_FORMAT, value=cell)
            if place == self.dialect.barcode_place:
                raise Fault(Reason.BARCODE_NUMBER_FORMAT, value=cell)
            if self.separators.get(columns[place]) == ",":
                cells[place] = cell.replace(".", ",")

    def _take(self, group: _Group, lines: Sequence[Line]) -> Iterator[Record]:
        for each in self.dialect.translate(lines, self.separators):
            if isinstance(each, Left):
                yield self._left(each, group)
            else:
                yield from self._stated(each, group)

    def _left(self, left: Left, group: _Group) -> Record:
        if left.is_refused:
            return self._refused(left.line, left.fault, group)
        sku = left.line.cells[self.dialect.sku_place].strip() or None
        return RowWarning(left.line.number, sku, left.fault.reason, left.fault.params)

    def _stated(self, stated: Stated, group: _Group) -> Iterator[Record]:
        line, sku = stated.line, None
        try:
            if stated.sells:
                variant, product = self.rows.read(
                    stated.cells, stated.attributes, stated.product_attributes
                )
                self.claims.claim(variant, line.number)
                group.members.append(_Member(line, variant))
                sku = variant.sku
            else:
                product = self.rows.read_product(stated.cells, stated.product_attributes)
        except Fault as fault:
            yield self._refused(line, fault, group)
            return
        remarks = [*stated.remarks, *self.rows.remarks]
        remarks += group.state(line, stated.model, sku or "", product)
        for remark in remarks:
            yield RowWarning(line.number, sku, remark.reason, remark.params)

    def _complete(self, group: _Group) -> Iterator[Record]:
        if self.dialect.layout.titles and not group.titles:
            for member in group.members:
                self.claims.release(member.variant)
                yield self._refused(member.line, Fault(Reason.TITLE_MISSING), group)
            return
        for tag in group.descriptions.keys() - group.titles.keys():
            first = group.members[0]
            params = {"column": f"description:{tag}"}
            yield RowWarning(
                first.row_number, first.variant.sku, Reason.HEADER_DESCRIPTION_ALONE, params
            )
        yield from _alike(group)
        if any(member.variant.bundle for member in group.members):
            self.with_bundles.append(group)
        elif group.members:
            yield group.product(self._raw_rows(group))

    def _bundles(self, group: _Group) -> Iterator[Record]:
        """A product with bundles, once every row has been seen."""
        kept: list[_Member] = []
        for member in group.members:
            try:
                self.claims.check_bundle(
                    member.variant, known=self.options.known_skus, in_file=self.survey.skus
                )
            except Fault as fault:
                yield self._refused(member.line, fault, group)
            else:
                kept.append(member)
        group.members = kept
        if kept:
            yield group.product(self._raw_rows(group))

    def _unfit(self, number: int, row: list[str] | str) -> RefusedRow:
        columns = self.dialect.columns
        if isinstance(row, str):
            return RefusedRow(number, None, Reason.ROW_QUOTING, {}, {columns[0]: row})
        params = {"expected": str(len(columns)), "found": str(len(row))}
        names = (*columns, *(f"column {i + 1}" for i in range(len(row))))
        raw_row = dict(zip(names, row, strict=False))
        return RefusedRow(number, None, Reason.ROW_FIELD_COUNT, params, raw_row)

    def _raw_rows(self, group: _Group) -> Iterator[Mapping[str, str]]:
        first = group.lines[0] if group.lines else None
        for member in group.members:
            yield self.dialect.raw_row(member.line, first)

    def _refused(self, line: Line, fault: Fault, group: _Group | None = None) -> RefusedRow:
        first = group.lines[0] if group is not None and group.lines else None
        raw_row = self.dialect.raw_row(line, first)
        sku = line.cells[self.dialect.sku_place].strip()
        return RefusedRow(line.number, sku or None, fault.reason, fault.params, raw_row)
