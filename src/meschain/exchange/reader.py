"""Any catalog file as drafts: finds out what it is and hands it to its reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from meschain.exchange.opencart import read_dump
from meschain.exchange.record import CatalogReading, ReadingOptions
from meschain.exchange.sheet.reader import read_sheet
from meschain.exchange.source import Source

_HEAD_BYTES: Final = 1 << 16
_STATEMENT: Final = re.compile(
    rb"^\s*(?:INSERT\s+(?:IGNORE\s+)?INTO|REPLACE\s+INTO|CREATE\s+TABLE|DROP\s+TABLE)\s",
    re.IGNORECASE | re.MULTILINE,
)


def read_catalog(source: Path | bytes, options: ReadingOptions) -> CatalogReading:
    """Read our CSV or an OpenCart SQL dump, plain or gzip; see ``CatalogReading``.

    A CSV is read twice and held only as far as its models are incomplete; a dump's product tables
    are held as a whole. Raises: FileRefused, OSError.
    """
    opened = Source(source)
    with opened.binary() as raw:
        head = raw.read(_HEAD_BYTES)
    if _STATEMENT.search(head):
        return read_dump(opened, options)
    return read_sheet(opened, options)
