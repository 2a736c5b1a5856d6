"""Images by their content: names under which they are kept and served."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTENSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/avif": "avif"}
)
"""Media types that are taken, each with the ending of its names."""

WIDTHS_PX: Final = (160, 480, 1200)
"""Derived sizes: at most so wide and twice as high; a smaller image keeps its size."""

DERIVED_TYPES: Final = ("image/webp", "image/avif")
LOCAL: Final = "local:"
"""Begins the source of an image that came as a file and has no address of its own."""

_ORIGINAL: Final = re.compile(rf"([0-9a-f]{{64}})\.({'|'.join(EXTENSIONS.values())})")
_DERIVED: Final = re.compile(
    rf"([0-9a-f]{{64}})-({'|'.join(map(str, WIDTHS_PX))})"
    rf"\.({'|'.join(EXTENSIONS[each] for each in DERIVED_TYPES)})"
)
_TYPES: Final = {extension: media_type for media_type, extension in EXTENSIONS.items()}


def original_name(content_hash: str, media_type: str) -> str:
    """``<hash>.jpg``: the SHA-256 of the content (hexadecimal) and its type."""
    return f"{content_hash}.{EXTENSIONS[media_type]}"


def derived_names(content_hash: str) -> dict[str, tuple[int, str]]:
    """``<hash>-<width>.webp`` → width and media type, the widest first."""
    return {
        f"{content_hash}-{width}.{EXTENSIONS[media_type]}": (width, media_type)
        for width in sorted(WIDTHS_PX, reverse=True)
        for media_type in DERIVED_TYPES
    }


def hash_in(name: str) -> str | None:
    """The hash that a name of ours holds; None: no such name."""
    found = _ORIGINAL.fullmatch(name) or _DERIVED.fullmatch(name)
    return found[1] if found else None


def is_original(name: str) -> bool:
    return _ORIGINAL.fullmatch(name) is not None


def media_type_of(name: str) -> str:
    """The media type of a name of ours."""
    return _TYPES[name.rpartition(".")[2]]
