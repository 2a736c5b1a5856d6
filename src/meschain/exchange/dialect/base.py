"""What a dialect is: the columns of one program's export, and what their rows mean in ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason
from meschain.exchange.record import SourceKind
from meschain.exchange.sheet.column import Layout, key_of

NO_SEPARATORS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the source. ``cells`` are as many as the source has columns."""

    number: int
    cells: list[str]


@dataclass(slots=True)
class Stated:
    """What a line states, in the cells of the dialect's ``layout``.

    ``model`` is empty where the file does not group variants. Where ``sells`` is false the line
    speaks of the product only. Attributes here come on top of those with a column of their own.
    """

    line: Line
    cells: list[str]
    model: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    product_attributes: Mapping[str, str] = field(default_factory=dict)
    sells: bool = True
    remarks: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Left:
    """A line that states nothing to import: refused, or only remarked upon."""

    line: Line
    fault: Fault
    is_refused: bool = True


class Dialect(Protocol):
    """The header of one file, understood. Places are those of the source's cells."""

    @property
    def kind(self) -> SourceKind: ...
    @property
    def columns(self) -> Sequence[str]:
        """The source's own header, as refused rows give it back."""

    @property
    def layout(self) -> Layout:
        """Of the cells that ``translate`` makes; its column names are those said to the reader."""

    @property
    def remarks(self) -> Sequence[Fault]:
        """What is to be said of the header: columns left out, columns not there."""

    @property
    def own_separators(self) -> Mapping[str, str]:
        """Column of ``layout`` → decimal separator, where not the file's but ours."""

    @property
    def numeric(self) -> Sequence[tuple[str, int]]: ...
    @property
    def sku_place(self) -> int: ...
    @property
    def barcode_place(self) -> int | None: ...
    @property
    def used(self) -> frozenset[int]:
        """Places whose content matters."""

    @property
    def header_language(self) -> str | None: ...
    @property
    def is_by_product(self) -> bool:
        """Whether ``translate`` wants all lines of a product at once."""

    def key(self, cells: Sequence[str]) -> str:
        """What all lines of one product have in common; of these cells alone."""

    def translate(
        self, lines: Sequence[Line], separators: Mapping[str, str]
    ) -> Iterator[Stated | Left]:
        """Lines of one product, in file order. Every line comes out in some form."""

    def raw_row(self, line: Line, first: Line | None) -> Mapping[str, str]:
        """A refused line as it goes back to the merchant; ``first`` is its product's first."""


def left_out(columns: Iterable[str]) -> tuple[Fault, ...]:
    return tuple(Fault(Reason.HEADER_UNKNOWN, column=column) for column in columns)


class Header:
    """A source's header cells and where each name stands."""

    def __init__(self, header: Sequence[str]) -> None:
        self.columns = tuple(
            cell.strip() or f"column {place + 1}" for place, cell in enumerate(header)
        )
        self._places: dict[str, int] = {}
        for place, cell in enumerate(header):
            if cell.strip():
                self._places.setdefault(key_of(cell), place)

    def place(self, *names: str) -> int | None:
        """The first of ``names`` that the header has."""
        for name in names:
            found = self._places.get(key_of(name))
            if found is not None:
                return found
        return None

    def places(self, names: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Column → where it stands; those that the header lacks are left out."""
        found = {column: self.place(*each) for column, each in names.items()}
        return {column: place for column, place in found.items() if place is not None}

    def recognized_count(self, names: Mapping[str, Sequence[str]], *needed: str) -> int:
        """How many of these columns the header has; 0 when one of ``needed`` is not among them."""
        found = self.places(names)
        return len(found) if found.keys() >= {*needed} else 0

    def unknown(self, known: frozenset[int]) -> tuple[str, ...]:
        return tuple(self.columns[place] for place in self._places.values() if place not in known)


class Cells:
    """Fills a canonical row. Fields are ours, their names in messages the source's."""

    def __init__(self, names: Mapping[str, str], language: str) -> None:
        self._place = {fld: place for place, fld in enumerate(names)}
        titles = {"title": self._place["title"]} if "title" in names else {}
        self.layout = Layout(
            columns=tuple(names.values()),
            at={fld: at for fld, at in self._place.items() if fld not in ("title", "description")},
            titles={language: titles["title"]} if titles else {},
            descriptions=({language: self._place["description"]} if "description" in names else {}),
            attributes={},
            product_attributes={},
        )

    def row(self, stated: Mapping[str, str]) -> list[str]:
        """The cells of a row; fields that the layout lacks are left out."""
        cells = [""] * len(self._place)
        for fld, cell in stated.items():
            place = self._place.get(fld)
            if place is not None:
                cells[place] = cell
        return cells
