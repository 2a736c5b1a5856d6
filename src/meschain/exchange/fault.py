"""The one exception of a row: raised where a cell is read, caught where the row is refused."""

from __future__ import annotations

from collections.abc import Mapping

from meschain.exchange.reason import Reason


class Fault(Exception):
    """A row cannot be used, for ``reason``; ``params`` fill the reason's text."""

    def __init__(self, reason: Reason, **params: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.params: Mapping[str, str] = params
