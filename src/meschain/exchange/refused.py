"""Refused rows of a file of any length."""

from __future__ import annotations

import marshal
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import eq
from typing import Final, Generic, Protocol, TypeVar, overload

HELD_MAX: Final = 1_000


class ToldRow(Protocol):
    """A row refused or remarked upon."""

    @property
    def row_number(self) -> int: ...
    @property
    def sku(self) -> str | None: ...
    @property
    def reason_code(self) -> str: ...
    @property
    def params(self) -> Mapping[str, str]: ...


class Refused(ToldRow, Protocol):
    """A row left out, by a reader (``RefusedRow``) or by what the hub holds."""

    @property
    def raw_row(self) -> Mapping[str, str]: ...


Row = TypeVar("Row", bound=Refused)


class RefusedRows(Sequence[Row], Generic[Row]):  # noqa: PLW1641 – they grow
    """The first ``HELD_MAX`` are held, all others wait in a temporary file: 16 bytes each remain.

    ``kind`` makes one of its row number, SKU, reason, parameters and cells. Raises: OSError where
    the disk is full.
    """

    def __init__(self, kind: type[Row], rows: Iterable[Row] = ()) -> None:
        self._kind = kind
        self._held: list[Row] = []
        self._numbers: array[int] = array("q")
        self._places: array[int] = array("q")  # in the file
        self._order: Sequence[int] | None = None  # None: as they came
        self.extend(rows)

    def append(self, row: Row) -> None:
        """Put it behind all others."""
        if self._order is not None:
            self._order = [*self._order, len(self)]
        self._numbers.append(row.row_number)
        if len(self._held) < HELD_MAX:
            self._held.append(row)
            return
        if not self._places:
            # The file lives as long as the rows, and is closed with them.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            weakref.finalize(self, self._file.close)
            self._end = 0
        packed = marshal.dumps(
            (row.row_number, row.sku, str(row.reason_code), dict(row.params), dict(row.raw_row))
        )
        self._file.seek(self._end)
        self._file.write(packed)
        self._places.append(self._end)
        self._end += len(packed)

    def extend(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.append(row)

    def sort(self) -> None:
        """By their row numbers."""
        self._order = sorted(range(len(self)), key=self._numbers.__getitem__)

    def __len__(self) -> int:
        return len(self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RefusedRows):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, range(len(self)) if self._order is None else self._order)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice[int | None, int | None, int | None]) -> list[Row]: ...
    def __getitem__(
        self, place: int | slice[int | None, int | None, int | None]
    ) -> Row | list[Row]:
        order = range(len(self)) if self._order is None else self._order
        if isinstance(place, slice):
            return [self._row(each) for each in order[place]]
        return self._row(order[place])

    def _row(self, place: int) -> Row:
        if place < len(self._held):
            return self._held[place]
        self._file.seek(self._places[place - len(self._held)])
        # Written by this process into a file without a name: nobody else can have changed it.
        return self._kind(*marshal.load(self._file))  # noqa: S302
