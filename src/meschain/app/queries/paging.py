"""Cursors: opaque to the client, a position in a total order to us."""

from __future__ import annotations

import base64
import binascii
from typing import Final, Generic, TypeVar

import msgspec

PAGE_MAX: Final = 200
PAGE_DEFAULT: Final = 50

Item = TypeVar("Item")
Position = TypeVar("Position")


class CursorInvalid(ValueError):
    """A cursor that we did not make."""


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """Some rows; ``next_cursor`` None: these were the last."""

    items: list[Item]
    next_cursor: str | None


def cursor_of(position: tuple[int, int] | tuple[int, str] | tuple[str]) -> str:
    """The cursor that continues after ``position``."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position_of(cursor: str, kind: type[Position]) -> Position:
    """The position of a cursor. Raises CursorInvalid."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=kind)
    except (binascii.Error, msgspec.MsgspecError, UnicodeEncodeError, ValueError) as wrong:
        raise CursorInvalid(cursor[:80]) from wrong
