"""What a command says: tables and sentences for people, or one JSON document for scripts."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TextIO

import msgspec
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from meschain.app.queries.view import MoneyView
from meschain.domain.money import Money

if TYPE_CHECKING:
    from meschain.messages import Catalog, Param

_PLAIN_EVERY_S: Final = 1.5  # more than 2 s of silence looks like a stop
_PACE_AFTER_S: Final = 0.5
_GAP: Final = "  "
_NOTHING: Final = "–"


class Tick(Protocol):
    """Told how much is done, and of how much (0: not known)."""

    def __call__(self, done: int, total: int, /) -> None: ...


@dataclass(slots=True)
class Output:
    """Standard output carries the result and nothing else; all remarks go to standard error."""

    catalog: Catalog
    as_json: bool = False
    console: Console = field(default_factory=lambda: _console(sys.stdout))
    errors: Console = field(default_factory=lambda: _console(sys.stderr))

    # — results —

    def document(self, value: object) -> bool:
        """Print ``value`` as the one JSON document when that was asked for; says whether."""
        if self.as_json:
            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
            sys.stdout.flush()
        return self.as_json

    def say(self, key: str, *, style: str = "", **params: Param) -> None:
        """A sentence of the catalog."""
        self.line(self.catalog.text(key, **params), style=style)

    def line(self, text: str = "", *, style: str = "") -> None:
        """A line of the result; nothing when JSON was asked for."""
        if not self.as_json:
            self.console.print(Text(text, style=style))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
        """Rows under headings ``cli.column.<name>``; those named in ``right`` are numbers."""
        if self.as_json:
            return
        names = [self.catalog.text(f"cli.column.{column}") for column in columns]
        numbers = right.split()
        if self.console.is_terminal:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for column, name in zip(columns, names, strict=True):
                justify: JustifyMethod = "right" if column in numbers else "left"
                table.add_column(name, justify=justify, overflow="fold")
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            self.console.print(table, soft_wrap=False)
            return
        table_ = [names, *(list(row) for row in rows)]
        widths = [max(len(row[place]) for row in table_) for place in range(len(names))]
        for row in table_:
            cells = [
                cell.rjust(width) if column in numbers else cell.ljust(width)
                for cell, width, column in zip(row, widths, columns, strict=True)
            ]
            self.line(_GAP.join(cells).rstrip())

    def pairs(self, values: Mapping[str, str]) -> None:
        """Lines of ``name  value``; names are those of columns."""
        named = {self.catalog.text(f"cli.column.{name}"): value for name, value in values.items()}
        width = max(map(len, named), default=0)
        for name, value in named.items():
            self.line(f"  {name.ljust(width)}  {value}")

    @contextmanager
    def written(self, path: Path) -> Iterator[Path]:
        """Where to write a file: there, or for ``-`` where it is copied to standard output from.

        Standard output then holds nothing else: all that is said goes to standard error.
        """
        if str(path) != "-":
            yield path
            return
        self.as_json, self.console = False, self.errors
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part"
            yield part
            with part.open("rb") as made:
                shutil.copyfileobj(made, sys.stdout.buffer)
                sys.stdout.buffer.flush()

    # — remarks —

    def note(self, key: str, **params: Param) -> None:
        """A remark on standard error."""
        self.errors.print(Text(self.catalog.text(key, **params), style="dim"))

    def warn(self, text: str) -> None:
        """What went wrong, on standard error."""
        self.errors.print(Text(text, style="red"))

    @contextmanager
    def progress(self, key: str, **params: Param) -> Iterator[Tick]:
        """A bar on a terminal, else a line every so often, with the pace and what is left of it.

        Neither waits for the work to tell of itself: who waits sees that it goes on.
        """
        words = self.catalog.text(key, **params)
        if not self.errors.is_terminal:
            plain = _PlainTick(self, words)
            with plain.beating():
                yield plain
            return
        began_s, last = time.monotonic(), 0
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            console=self.errors,
            transient=True,
        )
        with bar:
            task = bar.add_task(words, total=None, pace="")

            def tick(done: int, total: int, /) -> None:
                nonlocal began_s, last
                if done < last:
                    began_s = time.monotonic()  # a second pass has a pace of its own
                last = done
                pace = self.pace(done, total, time.monotonic() - began_s)
                bar.update(task, completed=done, total=total or None, pace=pace)

            yield tick

    # — values —

    def pace(self, done: int, total: int, took_s: float) -> str:
        """``5,400/s, 16 s left``; nothing before there is something to say."""
        if done <= 0 or took_s < _PACE_AFTER_S:
            return ""
        rate = done / took_s
        if rate < 1:
            return ""
        said = [self.catalog.text("cli.progress.rate", count=round(rate))]
        if total > done:
            left_s = round((total - done) / rate)
            said.append(self.catalog.text("cli.progress.left", count=max(left_s, 1)))
        return ", ".join(said)

    def money(self, value: MoneyView | Money | None) -> str:
        """An amount, or a dash."""
        if value is None:
            return _NOTHING
        return self.catalog.money(
            Money(value.minor, value.currency) if isinstance(value, MoneyView) else value
        )

    def number(self, value: int | Decimal | None) -> str:
        """A number, or a dash."""
        return _NOTHING if value is None else self.catalog.number(value)

    def age(self, at: datetime | None, now: datetime) -> str:
        """``4 minutes ago``; ``never``."""
        if at is None:
            return self.catalog.text("age.never")
        seconds = max(0, int((now - at).total_seconds()))
        for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
            if seconds >= size:
                return self.catalog.text(f"age.{unit}", count=seconds // size)
        return self.catalog.text("age.seconds", count=seconds)


def _console(file: TextIO) -> Console:
    return Console(
        file=file,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        # Without colors nothing else is decorated either: https://no-color.org
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


class _PlainTick:
    """Progress without a terminal: a line every 1.5 s, whether or not there is news."""

    def __init__(self, out: Output, words: str) -> None:
        self._out = out
        self._words = words
        self._began_s = time.monotonic()
        self._done, self._total = 0, 0
        self._is_over = threading.Event()

    def __call__(self, done: int, total: int, /) -> None:
        if done < self._done:
            self._began_s = time.monotonic()  # a second pass has a pace of its own
        self._done, self._total = done, total

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Lines come until the context ends, from a thread: the work may not let go of its own."""
        thread = threading.Thread(target=self._beat, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _beat(self) -> None:
        while not self._is_over.wait(_PLAIN_EVERY_S):
            done, total = self._done, self._total
            number = self._out.catalog.number
            count = f"{number(done)}/{number(total)}" if total else number(done) if done else "…"
            took_s = time.monotonic() - self._began_s
            pace = self._out.pace(done, total, took_s)
            # Without figures the seconds show that it goes on.
            seconds = self._out.catalog.text("cli.seconds", count=round(took_s))
            rest = f"{count} ({pace})" if pace else f"{count} {seconds}"
            self._out.errors.print(Text(f"{self._words} {rest}"))
