"""Why an image is not taken."""

from __future__ import annotations

from enum import StrEnum


class ImageReason(StrEnum):
    """Texts are in ``messages.toml``; each is told ``source`` too, the file or address."""

    UNMATCHED = "image.unmatched"
    AMBIGUOUS = "image.ambiguous"  # code
    TWICE = "image.twice"  # first
    NAME_UNSAFE = "image.name_unsafe"
    NO_FILE = "image.no_file"
    UNREADABLE = "image.unreadable"
    EMPTY = "image.empty"
    TOO_LARGE = "image.too_large"  # megabytes
    TYPE = "image.type"
    DAMAGED = "image.damaged"
    TOO_MANY_PIXELS = "image.too_many_pixels"  # megapixels
    # What ``channel.fetch`` says, by the last part of its reasons.
    FETCH_ADDRESS_WRONG = "image.fetch.address_wrong"
    FETCH_ADDRESS_PRIVATE = "image.fetch.address_private"
    FETCH_UNREACHABLE = "image.fetch.unreachable"  # words
    FETCH_STATUS = "image.fetch.status"  # status
    FETCH_REDIRECTED = "image.fetch.redirected"
    FETCH_TOO_LARGE = "image.fetch.too_large"  # megabytes
    FETCH_TOO_SLOW = "image.fetch.too_slow"  # seconds


class ImageRefused(ValueError):
    """An image is not taken; ``params`` fill the reason's text."""

    def __init__(self, reason: ImageReason, **params: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.params = params
