"""Logs: constant messages with key–value pairs, one line each, on standard error."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

_OWN: Final = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", (), None)) | {"message": "", "asctime": ""}
)


class KeyValueFormatter(logging.Formatter):
    """``2026-11-20T11:04:05.123Z warning meschain.sync.lane channel is away account=3``."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        pairs = [
            f"{name}={_quoted(value)}" for name, value in vars(record).items() if name not in _OWN
        ]
        head = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
        line = " ".join((head, record.levelname.lower(), record.name, record.getMessage(), *pairs))
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(char.isspace() for char in text) else text


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send this process's log to ``stream`` (standard error); the last call counts."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A pool that tries again says so at every attempt; what matters is that the database is away.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
