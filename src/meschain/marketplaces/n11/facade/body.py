"""What the body and the numbers of a request must be.

The sheet says nothing of fields beyond its own, nor of a body that does not call itself JSON: a
client that sends either was written from something else, and is told so.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

JSON: Final = "application/json"
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not the expected document."""
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """Base of everything that is read from a request."""


def integer(text: str) -> int:
    """A number of a query or a path, in plain digits of 64 bits. Raises ValueError."""
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"no number: {text[:20]}")
    return int(text)


def identifier(text: str) -> int:
    """The same of an id; 0, which names nothing, for any other text."""
    return int(text) if _INTEGER.fullmatch(text) else 0
