"""How the demo speaks: lines, moments, work under way, and a table that lives on a terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rich.console import RenderableType
    from rich.status import Status

    from meschain.messages import Catalog, Param

# A watcher must never wonder whether we hang.
_PLAIN_EVERY_S: Final = 1.6
_TICK_S: Final = 0.2
INDENT: Final = "  "
_REMARKS_SHOWN: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Screen:
    """One reader's screen, in their language."""

    def __init__(self, catalog: Catalog, console: Console | None = None) -> None:
        self.catalog = catalog
        self.console = console or Console(
            file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._live: Live | None = None
        self._table: RenderableType = Text()
        self._remarks: deque[str] = deque(maxlen=_REMARKS_SHOWN)
        self._status: Status | None = None
        self._doing = ""
        self._said_s = time.monotonic()

    @property
    def is_live(self) -> bool:
        """Whether somebody sits before a terminal."""
        return self.console.is_terminal

    def text(self, key: str, **params: Param) -> str:
        return self.catalog.text(key, **params)

    def say(self, key: str, **params: Param) -> None:
        """One line that stays."""
        self.line(self.text(key, **params))

    def point(self, key: str, **params: Param) -> None:
        """One line that belongs to the line before it."""
        self.line(INDENT + self.text(key, **params))

    def line(self, text: str) -> None:
        """One line that stays, already in words."""
        self._said_s = time.monotonic()
        if self._live is not None:
            self._remarks.append(text)
            self._refresh()
        else:
            self.console.print(text)

    def blank(self) -> None:
        self.line("")

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """While it lasts, what is under way is shown: in place on a terminal, else said again."""
        if self.is_live:
            with self.console.status(Text(self._doing)) as status:
                self._status = status
                try:
                    yield
                finally:
                    self._status = None
            return
        ticking = asyncio.create_task(self._tick(), name="heartbeat")
        try:
            yield
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        began_s = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            if time.monotonic() - self._said_s >= _PLAIN_EVERY_S:
                took_s = round(time.monotonic() - began_s)
                self.point("demo.heartbeat", what=self._doing, seconds=took_s)

    def doing(self, key: str, **params: Param) -> None:
        """What is under way now, and how far it is."""
        self._doing = self.text(key, **params)
        if self._status is not None:
            self._status.update(Text(self._doing))

    @contextmanager
    def table(self) -> Iterator[None]:
        """While it lasts, ``show`` replaces what stands there; lines come below it."""
        if not self.is_live:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=False) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def show(self, table: RenderableType, plain: str) -> None:
        """The table as it now is; ``plain`` is what a reader without a terminal gets of it."""
        if self._live is not None:
            self._table = table
            self._refresh()
        elif time.monotonic() - self._said_s >= _PLAIN_EVERY_S:
            self.line(plain)

    def _refresh(self) -> None:
        assert self._live is not None
        remarks = [Text(remark) for remark in self._remarks]
        self._live.update(Group(self._table, *remarks), refresh=True)


def instant(us: int) -> datetime:
    """Microseconds since 1970 as an instant."""
    return _EPOCH + timedelta(microseconds=us)
