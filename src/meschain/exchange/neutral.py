"""Cells that a spreadsheet would compute, made harmless and read back as they were.

A text that begins with one of ``= + - @``, a tab or a line end can run as a formula when a CSV is
opened. An apostrophe before it keeps it a text; one that stands there already gets a second, so
that reading takes off exactly what writing put on. A plain number is computed to itself and stays.
Source: OWASP, "CSV Injection" (the characters); WooCommerce writes the same apostrophe.
"""

from __future__ import annotations

import re
from typing import Final

_COMPUTED: Final = re.compile(r"'*[=+\-@\t\r\n]")
_NEUTRAL: Final = re.compile(r"'+[=+\-@\t\r\n]")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*")


def neutralized(text: str) -> str:
    """The text of a cell as it may be written."""
    return f"'{text}" if _COMPUTED.match(text) and not _NUMBER.fullmatch(text) else text


def restored(cell: str) -> str:
    """The text that ``neutralized`` was given."""
    return cell[1:] if _NEUTRAL.match(cell) else cell


def safe_again(cell: str) -> str:
    """A cell that was read from a file, going back into one: neutral as it came, or made so."""
    return cell if cell.startswith("'") else neutralized(cell)
