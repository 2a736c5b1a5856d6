"""Refused rows written back as CSV; catalogs go out by ``exchange.out``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from meschain.exchange.neutral import safe_again
from meschain.exchange.record import SourceForm
from meschain.exchange.sheet.column import REFUSED_COLUMNS

Render = Callable[[str, Mapping[str, str]], str]


class Refused(Protocol):
    """A row left out, by a reader (``RefusedRow``) or by what the hub holds."""

    @property
    def row_number(self) -> int: ...
    @property
    def reason_code(self) -> str: ...
    @property
    def params(self) -> Mapping[str, str]: ...
    @property
    def raw_row(self) -> Mapping[str, str]: ...


def write_refused(
    path: Path, form: SourceForm, refused_rows: Iterable[Refused], render: Render
) -> int:
    """Write refused rows in the form of their source, each with its row number and reason.

    A CSV keeps its header, delimiter, encoding and cells as they were, so that it can be mended and
    read again; of a dump the key columns are written. ``render`` turns a reason into a sentence.
    Returns the number of rows.
    """
    rows = list(refused_rows)
    columns = form.columns or tuple(dict.fromkeys(name for row in rows for name in row.raw_row))
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    # A sentence may hold a letter that Windows-1254 lacks; the row itself always fits.
    with path.open("w", encoding=encoding, errors="replace", newline="") as target:
        writer = csv.writer(target, delimiter=form.delimiter, lineterminator="\r\n")
        writer.writerow((*map(safe_again, columns), *REFUSED_COLUMNS))
        for row in rows:
            # Cells beyond the header have no column to go back to.
            cells = (safe_again(row.raw_row.get(column, "")) for column in columns)
            reason = render(row.reason_code, row.params)
            writer.writerow((*cells, str(row.row_number), reason))
    return len(rows)
