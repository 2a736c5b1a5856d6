"""A table: one header, and rows that can be walked as often as needed."""

from __future__ import annotations

import marshal
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused

TRUTHS: Final = ("FALSE", "TRUE")


class TableRow(NamedTuple):
    """One row. ``cells`` is the line as it stands where its quoting is broken.

    ``numbers`` are the places that hold numbers or truth values proper: written with a decimal
    point, or as one of ``TRUTHS``, whatever the file's language. ``broken`` are those whose formula
    gave an error or was never computed.
    """

    number: int
    cells: list[str] | str
    numbers: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableForm:
    """How the table is written. ``delimiter`` is that of a CSV its refused rows go into."""

    encoding: str
    delimiter: str = ","
    sheet: str | None = None
    item: str | None = None


class Table(Protocol):
    @property
    def form(self) -> TableForm: ...
    @property
    def header(self) -> Sequence[str]: ...
    @property
    def header_row(self) -> int:
        """The row number of the header; 0 where there is none to point at."""

    @property
    def remarks(self) -> Sequence[Fault]:
        """What is to be said of the file as a whole."""

    def rows(self) -> Iterator[TableRow]:
        """The rows below the header, each time from the first."""


Spooled = tuple[int, list[str], tuple[int, ...], tuple[int, ...]]
_BATCH_ROWS: Final = 200
_BATCH_CHARACTERS: Final = 1 << 22
_SPOOL_BYTES_MAX: Final = 1 << 32


class Spool:
    """Rows kept in a temporary file: what is slow to parse is parsed once and read twice."""

    def __init__(self) -> None:
        # The file lives as long as the table that is read from it, and is closed with it.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._sizes: list[int] = []
        self._waiting: list[Spooled] = []
        self._characters = 0

    def put(self, row: Spooled) -> None:
        """Raises: FileRefused when the rows outgrow any catalog (one text may stand in many)."""
        self._waiting.append(row)
        self._characters += sum(map(len, row[1]))
        if len(self._waiting) == _BATCH_ROWS or self._characters > _BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        place = self._file.seek(0, os.SEEK_END)
        if place > _SPOOL_BYTES_MAX:
            raise FileRefused(Reason.FILE_UNPACKED, gigabytes=str(_SPOOL_BYTES_MAX >> 30))
        self._sizes.append(self._file.write(marshal.dumps(self._waiting)))
        self._waiting = []
        self._characters = 0

    def __iter__(self) -> Iterator[Spooled]:
        """The rows in the order in which they were put; several walks do not disturb each other."""
        place = 0
        for size in self._sizes:
            self._file.seek(place)
            place += size
            # Written by this process into a file without a name: nobody else can have changed it.
            rows: list[Spooled] = marshal.loads(self._file.read(size))  # noqa: S302
            yield from rows
        yield from self._waiting
