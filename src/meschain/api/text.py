"""Texts of the API and the page, in the reader's language."""

from __future__ import annotations

from functools import cache
from typing import Final

from meschain.messages import LANGUAGES
from meschain.messages.source import tables

_PREFIXES: Final = (
    "advice.",
    "age.",
    "agreement.",
    "alert.",
    "listing.missing.",
    "listing_state.",
    "package_state.",
    "page.",
    "problem.",
)


@cache
def texts(language: str) -> dict[str, str]:
    """Everything the page and the problem documents say, by key."""
    found: dict[str, str] = {}
    for _, table in tables(language):
        found.update({k: text for k, text in table.items() if k.startswith(_PREFIXES)})
    return found


def language_of(accept_language: str) -> str:
    """The first language of an ``Accept-Language`` header that we have; English otherwise."""
    ranked: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept_language.split(",")[:20]):
        tag, _, quality = part.strip().partition(";q=")
        try:
            rank = float(quality) if quality else 1.0
        except ValueError:
            rank = 0.0
        ranked.append((-rank, place, tag.strip().split("-")[0].lower()))
    return next((tag for _, _, tag in sorted(ranked) if tag in LANGUAGES), "en")
