"""Refused rows written back as CSV; catalogs go out by ``exchange.out``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection
from pathlib import Path

from meschain.exchange.neutral import safe_again
from meschain.exchange.out.sheet import in_place
from meschain.exchange.record import SourceForm
from meschain.exchange.refused import Refused
from meschain.exchange.sheet.column import REFUSED_COLUMNS

Render = Callable[[Refused], str]


def write_refused(
    path: Path, form: SourceForm, refused_rows: Collection[Refused], render: Render
) -> int:
    """Write refused rows in the form of their source, each with its row number and reason.

    A CSV keeps its header, delimiter, encoding and cells as they were, so that it can be mended and
    read again; of a dump the key columns are written. ``render`` says why a row is refused.
    The file appears whole or not at all. Returns the number of rows. Raises: OSError.
    """
    columns = form.columns or tuple(
        dict.fromkeys(name for row in refused_rows for name in row.raw_row)
    )
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    # A sentence may hold a letter that Windows-1254 lacks; the row itself always fits.
    with (
        in_place(path) as part,
        part.open("w", encoding=encoding, errors="replace", newline="") as target,
    ):
        writer = csv.writer(target, delimiter=form.delimiter, lineterminator="\r\n")
        writer.writerow((*map(safe_again, columns), *REFUSED_COLUMNS))
        for row in refused_rows:
            # Cells beyond the header have no column to go back to.
            cells = (safe_again(row.raw_row.get(column, "")) for column in columns)
            reason = render(row)
            writer.writerow((*cells, str(row.row_number), reason))
    return len(refused_rows)
