"""Turkish text without ICU: folding for search and matching, and a sort key of our own."""

from __future__ import annotations

import unicodedata
from itertools import filterfalse
from typing import Final

_LOWER: Final = str.maketrans({"I": "ı", "İ": "i"})
_DOTLESS: Final = str.maketrans({"ı": "i"})
# The Turkish alphabet; q, w and x stand where Turkish dictionaries put them.
_ALPHABET: Final = "abcçdefgğhıijklmnoöpqrsştuüvwxyz"
_RANK: Final = {letter: f"{rank:02d}" for rank, letter in enumerate(_ALPHABET, start=10)}


def turkish_lower(text: str) -> str:
    """Lower case by Turkish rules: I → ı, İ → i."""
    return unicodedata.normalize("NFC", text).translate(_LOWER).lower()


def fold(text: str) -> str:
    """The form in which names are compared and searched.

    Case and accents vanish and the four i's are one letter, so that ``IŞIK``, ``ışık`` and the
    ``isik`` of a foreign keyboard meet. White space is collapsed.
    """
    lowered = turkish_lower(text).translate(_DOTLESS)
    decomposed = unicodedata.normalize("NFKD", lowered)
    return " ".join("".join(filterfalse(unicodedata.combining, decomposed)).split())


def sort_key(text: str) -> str:
    """A key that sorts by the Turkish alphabet under plain byte order (COLLATE "C").

    Letters become two-digit ranks after digits and marks; other accents fall to their base
    letter. The text itself follows after a separator, so that the order is total.
    """
    lowered = turkish_lower(text)
    parts: list[str] = []
    for char in lowered:
        if char in _RANK:
            parts.append("~" + _RANK[char])
            continue
        base = unicodedata.normalize("NFKD", char)[0]
        parts.append("~" + _RANK[base] if base in _RANK else base)
    return "".join(parts) + "\x01" + lowered
