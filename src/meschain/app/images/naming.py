"""Which variant or product a file shows, by its name. Pure.

Read as the merchant meant it, in this order: the whole name is a code (``KZK-1042-M.jpg``); it is a
code and a place (``KZK-1042-M-2.jpg``, ``_2``, `` 2``, `` (2)``); the folder is a code
(``KZK-1042-M/2.jpg``, ``KZK-1042-M/IMG_4711.jpg``). A code is looked for among SKUs, then barcodes,
then model codes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from meschain.app.images.refusal import ImageReason, ImageRefused

_NUMBERED: Final = re.compile(r"(?P<code>.+?)(?:[-_ ]|\s*\((?=\d+\)))(?P<place>[0-9]{1,2})\)?")
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*[^0-9])?(?P<place>[0-9]{1,4})\)?")
_FIRST: Final = 1


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose image it is: a variant's, or (``variant_id`` None) a whole product's."""

    product_id: int
    variant_id: int | None
    code: str


@dataclass(frozen=True, slots=True)
class CodedVariant:
    """A row of ``image.codes``."""

    variant_id: int
    product_id: int
    sku: str
    barcode: str
    model_code: str


class Codes:
    """All codes of a merchant."""

    def __init__(self, variants: Iterable[CodedVariant]) -> None:
        """Codes that differ by case alone are told apart by it, and only by it."""
        self._kinds: tuple[dict[str, set[Owner]], ...] = tuple(
            defaultdict[str, set[Owner]](set) for _ in range(3)
        )
        skus, barcodes, models = self._kinds
        for each in variants:
            variant = Owner(each.product_id, each.variant_id, each.sku)
            _add(skus, each.sku, variant)
            _add(barcodes, each.barcode, variant)
            _add(models, each.model_code, Owner(each.product_id, None, each.model_code))

    def find(self, code: str) -> Owner | None:
        """Whose code it is. Raises: ImageRefused where it may be of several."""
        plain = unicodedata.normalize("NFC", code)
        for form in (plain, _folded(plain)):
            for kind in self._kinds:
                owners = kind.get(form)
                if owners is None:
                    continue
                if len(owners) > 1:
                    raise ImageRefused(ImageReason.AMBIGUOUS, code=code)
                return next(iter(owners))
        return None

    def owner_of(self, name: str) -> tuple[Owner, int]:
        """Owner and place of the file; ``name`` is its path with ``/``. Raises: ImageRefused."""
        for code, place in readings(name):
            owner = self.find(code)
            if owner is not None:
                return owner, place
        raise ImageRefused(ImageReason.UNMATCHED)


def _add(kind: dict[str, set[Owner]], code: str, owner: Owner) -> None:
    if code:
        plain = unicodedata.normalize("NFC", code)
        kind[plain].add(owner)
        kind[_folded(plain)].add(owner)


def _folded(code: str) -> str:
    # A mark that no code can hold keeps folded forms apart from those written so.
    return f"\0{code.casefold()}"


def readings(name: str) -> Iterator[tuple[str, int]]:
    """Codes that the file may be named after, the likeliest first, each with the place it gives."""
    path = PurePosixPath(name)
    stem = path.stem.strip()
    yield stem, _FIRST
    if numbered := _NUMBERED.fullmatch(stem):
        yield numbered["code"].strip(), int(numbered["place"])
    if folder := path.parent.name.strip():
        ending = _ENDS_IN_NUMBER.fullmatch(stem)
        yield folder, int(ending["place"]) if ending else _FIRST
