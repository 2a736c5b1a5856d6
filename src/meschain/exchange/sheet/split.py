"""Rows of a CSV out of its lines, so that one broken quote costs one row and not the rest."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

# A quoted cell may run over this many lines before its opening quote is held to be broken.
_LINES_PER_ROW_MAX: Final = 500

Row = tuple[int, list[str] | str]
"""Row number and cells; where the quoting is broken, the line as it stands."""


def split_rows(lines: Iterable[str], delimiter: str, *, first_number: int = 1) -> Iterator[Row]:
    """The rows, numbered as a spreadsheet numbers them; blank ones are counted and skipped.

    A quote that is never closed would make ``csv`` swallow all that follows. So a row is let run
    over several lines only if it comes out well formed and as wide as the header, the first row;
    otherwise its first line alone is given back as text, and reading resumes at the next.
    """
    waiting: deque[str] = deque()
    supply = iter(lines)
    width = 0
    number = first_number - 1
    while (line := waiting.popleft() if waiting else next(supply, None)) is not None:
        number += 1
        cells: list[str] | None
        if '"' in line:
            cells = _quoted(line, waiting, supply, delimiter, width)
        else:
            cells = line.rstrip("\r\n").split(delimiter)
        if cells is not None and not any(map(str.strip, cells)):
            continue
        width = width or len(cells or ())
        yield number, line.rstrip("\r\n") if cells is None else cells


def _quoted(
    first: str, waiting: deque[str], supply: Iterator[str], delimiter: str, width: int
) -> list[str] | None:
    """The row that begins with ``first``; lines that it does not turn out to own wait again."""
    taken: list[str] = []

    def own_lines() -> Iterator[str]:
        yield first
        while len(taken) < _LINES_PER_ROW_MAX:
            line = waiting.popleft() if waiting else next(supply, None)
            if line is None:
                return
            taken.append(line)
            yield line

    try:
        cells = next(csv.reader(own_lines(), delimiter=delimiter, strict=True))
    except csv.Error:
        cells = None
    if taken and (cells is None or (width and len(cells) != width)):
        waiting.extendleft(reversed(taken))
        return None
    return cells
