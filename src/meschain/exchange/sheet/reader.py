"""Our CSV as drafts: a first pass that learns what the file shows, a second that reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Final

from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.exchange.claim import Claims
from meschain.exchange.damage import BarcodeColumn
from meschain.exchange.fault import Fault
from meschain.exchange.number import Evidence
from meschain.exchange.reason import Reason
from meschain.exchange.record import (
    CatalogReading,
    FileRefused,
    ReadingOptions,
    ReadProduct,
    Record,
    RefusedRow,
    RowWarning,
    SourceForm,
    SourceKind,
)
from meschain.exchange.sheet.cells import ProductCells, RowReader
from meschain.exchange.sheet.column import Layout, lay_out, recognized_count
from meschain.exchange.sheet.split import Row, split_rows
from meschain.exchange.source import Source

_DELIMITERS: Final = (";", ",", "\t", "|")
# "sep=;" on the first line is how spreadsheets are told the delimiter.
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)")
_NUMBER_IN_CELL: Final = re.compile(r"[₺$€A-Z ]*(-?[0-9][0-9.,]*[0-9])[₺$€A-Z ]*")


def read_sheet(source: Source, options: ReadingOptions) -> CatalogReading:
    """Raises: FileRefused where no header row names a SKU column."""
    encoding = source.detect_encoding()
    delimiter, header = _header(source, encoding)
    layout = lay_out(header, options.language)
    survey = _survey(source, encoding, delimiter, layout)
    separators = survey.evidence.decide(
        [column for column, _ in layout.numeric], options.decimal_separator
    )
    form = SourceForm(
        kind=SourceKind.CSV,
        encoding=encoding,
        delimiter=delimiter,
        columns=layout.columns,
        decimal_separators=separators,
    )
    pass_ = _Pass(
        layout=layout,
        options=options,
        survey=survey,
        rows=RowReader(layout, options, separators, survey.barcodes),
    )
    return CatalogReading(form=form, records=pass_.records(source, encoding, delimiter))


def _header(source: Source, encoding: str) -> tuple[str, list[str]]:
    """The delimiter under which most header cells are known, and those cells."""
    with source.text(encoding) as lines:
        told = _SEPARATOR_LINE.fullmatch(next(lines, "").strip())
    best: tuple[int, str, list[str]] = (-1, "", [])
    for delimiter in (told[1],) if told else _DELIMITERS:
        with source.text(encoding) as lines:
            _, header = next(_rows(lines, delimiter), (0, ""))
        if isinstance(header, list) and recognized_count(header) > best[0]:
            best = (recognized_count(header), delimiter, header)
    if not best[2]:
        raise FileRefused(Reason.FILE_EMPTY)
    return best[1], best[2]


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    """All rows, the header first; a "sep=" line is counted and left out."""
    first = next(lines, "")
    if _SEPARATOR_LINE.fullmatch(first.strip()):
        return split_rows(lines, delimiter, first_number=2)
    return split_rows(chain((first,), lines), delimiter)


@dataclass(slots=True)
class _Survey:
    """What the first pass learned of the whole file."""

    evidence: Evidence = field(default_factory=Evidence)
    barcodes: BarcodeColumn = field(default_factory=BarcodeColumn)
    rows_of_model: Counter[str] = field(default_factory=Counter)
    skus: set[str] = field(default_factory=set)


def _survey(source: Source, encoding: str, delimiter: str, layout: Layout) -> _Survey:
    survey = _Survey()
    numeric = list(layout.numeric)
    barcode_at = layout.at.get("barcode")
    with source.text(encoding) as lines:
        rows = _rows(lines, delimiter)
        next(rows)
        for _, row in rows:
            cells = _fitted(row, layout)
            if cells is None:
                continue
            for column, place in numeric:
                cell = cells[place]
                if "," in cell or "." in cell:
                    survey.evidence.note(column, _number_in(cell))
            if barcode_at is not None and (barcode := cells[barcode_at].strip()):
                survey.barcodes.note(barcode)
            sku, model = _keys(cells, layout)
            survey.rows_of_model[model or sku] += 1
            survey.skus.add(sku)
    return survey


@lru_cache(maxsize=4096)
def _number_in(cell: str) -> str:
    """The number in a cell that holds one and at most a currency; else nothing."""
    found = _NUMBER_IN_CELL.fullmatch(cell.strip())
    return found[1] if found else ""


def _fitted(row: list[str] | str, layout: Layout) -> list[str] | None:
    """The cells of a row as wide as the header; empty ones beyond it are dropped."""
    if isinstance(row, str):
        return None
    width = len(layout.columns)
    if len(row) == width:
        return row
    if len(row) > width and not any(map(str.strip, row[width:])):
        return row[:width]
    return None


def _keys(cells: list[str], layout: Layout) -> tuple[str, str]:
    model_at = layout.at.get("model_code")
    return cells[layout.at["sku"]].strip(), cells[model_at].strip() if model_at is not None else ""


@dataclass(slots=True)
class _Member:
    row_number: int
    cells: list[str]
    variant: VariantDraft


@dataclass(slots=True)
class _Group:
    """The rows of one model read so far; what the first row states of the product holds."""

    model_code: str
    rows_expected: int
    rows_seen: int = 0
    model_stated: bool = False
    members: list[_Member] = field(default_factory=list)
    brand: str | None = None
    category: str | None = None
    titles: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    image_urls: tuple[str, ...] = ()

    def add(self, member: _Member, stated: ProductCells) -> list[Fault]:
        """Take a row in; what contradicts an earlier row is dropped and remarked upon."""
        remarks: list[Fault] = []
        self.members.append(member)
        self.brand = _settle("brand", self.brand, stated.brand, remarks)
        self.category = _settle("category", self.category, stated.category, remarks)
        _settle_all("title", self.titles, stated.titles, remarks)
        _settle_all("description", self.descriptions, stated.descriptions, remarks)
        _settle_all("product_attr", self.attributes, stated.attributes, remarks)
        self.image_urls = self.image_urls or stated.image_urls
        return remarks

    def product(self) -> ReadProduct:
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
        return ReadProduct(draft, rows[0], rows, self.model_stated)


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
    """The second pass: rows become variants, complete models become products."""

    layout: Layout
    options: ReadingOptions
    survey: _Survey
    rows: RowReader
    claims: Claims = field(default_factory=Claims)
    groups: dict[str, _Group] = field(default_factory=dict)
    with_bundles: list[_Group] = field(default_factory=list)

    def records(self, source: Source, encoding: str, delimiter: str) -> Iterator[Record]:
        for column in self.layout.unknown:
            yield RowWarning(1, None, Reason.HEADER_UNKNOWN, {"column": column})
        for column in self.layout.lone_descriptions:
            yield RowWarning(1, None, Reason.HEADER_DESCRIPTION_ALONE, {"column": column})
        with source.text(encoding) as lines:
            rows = _rows(lines, delimiter)
            next(rows)
            for number, row in rows:
                yield from self._row(number, row)
        assert not self.groups, "a model was surveyed that the second pass did not meet"
        for group in self.with_bundles:
            yield from self._bundles(group)

    def _row(self, number: int, row: list[str] | str) -> Iterator[Record]:
        cells = _fitted(row, self.layout)
        if cells is None:
            yield self._unfit(number, row)
            return
        sku, model = _keys(cells, self.layout)
        key = model or sku
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _Group(key, self.survey.rows_of_model[key])
        group.rows_seen += 1
        try:
            variant, stated = self.rows.read(cells)
            self.claims.claim(variant, number)
        except Fault as fault:
            yield self._refused(number, cells, fault)
        else:
            group.model_stated = group.model_stated or bool(model)
            remarks = [*self.rows.remarks, *group.add(_Member(number, cells, variant), stated)]
            for remark in remarks:
                yield RowWarning(number, variant.sku, remark.reason, remark.params)
        if group.rows_seen == group.rows_expected:
            del self.groups[key]
            yield from self._complete(group)

    def _complete(self, group: _Group) -> Iterator[Record]:
        if self.layout.titles and not group.titles:
            for member in group.members:
                self.claims.release(member.variant)
                yield self._refused(member.row_number, member.cells, Fault(Reason.TITLE_MISSING))
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
            yield group.product()

    def _bundles(self, group: _Group) -> Iterator[Record]:
        """A product with bundles, once every row has been seen."""
        kept: list[_Member] = []
        for member in group.members:
            try:
                self.claims.check_bundle(
                    member.variant, known=self.options.known_skus, in_file=self.survey.skus
                )
            except Fault as fault:
                yield self._refused(member.row_number, member.cells, fault)
            else:
                kept.append(member)
        group.members = kept
        if kept:
            yield group.product()

    def _unfit(self, number: int, row: list[str] | str) -> RefusedRow:
        if isinstance(row, str):
            return RefusedRow(number, None, Reason.ROW_QUOTING, {}, {self.layout.columns[0]: row})
        params = {"expected": str(len(self.layout.columns)), "found": str(len(row))}
        names = (*self.layout.columns, *(f"column {i + 1}" for i in range(len(row))))
        raw_row = dict(zip(names, row, strict=False))
        return RefusedRow(number, None, Reason.ROW_FIELD_COUNT, params, raw_row)

    def _refused(self, number: int, cells: list[str], fault: Fault) -> RefusedRow:
        raw_row = dict(zip(self.layout.columns, cells, strict=True))
        sku, _ = _keys(cells, self.layout)
        return RefusedRow(number, sku or None, fault.reason, fault.params, raw_row)
