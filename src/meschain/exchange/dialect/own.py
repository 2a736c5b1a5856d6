"""Our own columns, in a CSV or a workbook. Reference: docs/reference/catalog-csv.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from meschain.exchange.dialect.base import NO_SEPARATORS, Left, Line, Stated, left_out
from meschain.exchange.fault import Fault
from meschain.exchange.neutral import restored
from meschain.exchange.reason import Reason
from meschain.exchange.record import ReadingOptions, SourceKind
from meschain.exchange.sheet.column import Layout, header_language, lay_out


@dataclass(frozen=True, slots=True)
class OwnDialect:
    layout: Layout
    header_language: str | None
    kind: SourceKind = SourceKind.CSV
    is_by_product: bool = False

    @property
    def own_separators(self) -> Mapping[str, str]:
        return NO_SEPARATORS

    @property
    def columns(self) -> Sequence[str]:
        return self.layout.columns

    @property
    def remarks(self) -> Sequence[Fault]:
        lone = self.layout.lone_descriptions
        alone = (Fault(Reason.HEADER_DESCRIPTION_ALONE, column=column) for column in lone)
        return (*left_out(self.layout.unknown), *alone)

    @property
    def numeric(self) -> Sequence[tuple[str, int]]:
        return list(self.layout.numeric)

    @property
    def sku_place(self) -> int:
        return self.layout.at["sku"]

    @property
    def barcode_place(self) -> int | None:
        return self.layout.at.get("barcode")

    @property
    def used(self) -> frozenset[int]:
        layout = self.layout
        named = (layout.titles, layout.descriptions, layout.attributes, layout.product_attributes)
        return frozenset((*layout.at.values(), *(at for each in named for at in each.values())))

    def key(self, cells: Sequence[str]) -> str:
        return self._model(cells) or cells[self.layout.at["sku"]].strip()

    def _model(self, cells: Sequence[str]) -> str:
        place = self.layout.at.get("model_code")
        return "" if place is None else cells[place].strip()

    def translate(self, lines: Sequence[Line], _: Mapping[str, str]) -> Iterator[Stated | Left]:
        for line in lines:
            cells = [restored(cell) if cell[:1] == "'" else cell for cell in line.cells]
            yield Stated(line, cells, self._model(cells))

    def raw_row(self, line: Line, _: Line | None) -> Mapping[str, str]:
        return dict(zip(self.layout.columns, line.cells, strict=True))


def read_own_header(header: Sequence[str], options: ReadingOptions) -> OwnDialect:
    """Raises: FileRefused."""
    return OwnDialect(lay_out(header, options.language), header_language(header))
