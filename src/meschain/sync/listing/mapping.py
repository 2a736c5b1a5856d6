"""The mapping table: the merchant's words to one marketplace's ids, folded by Turkish rules.

The most particular row counts: the word itself before ``*`` (any word), and within either the row
of the category before the row of every category. An empty word stands for "not stated".
Reference: docs/reference/mapping-csv.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from meschain.domain.text import fold

if TYPE_CHECKING:
    from meschain.store.unit_of_work import UnitOfWork

ANY: Final = "*"
"""Any word of ours that no row of its own names."""

# What every variant has besides its attributes; usable as an attribute of ours.
BRAND: Final = "@brand"
MODEL_CODE: Final = "@model_code"
ORIGIN_COUNTRY: Final = "@origin_country"
OWN_FIELDS: Final = frozenset({BRAND, MODEL_CODE, ORIGIN_COUNTRY})


class MappingKind(StrEnum):
    """What a row maps."""

    CATEGORY = "category"
    ATTRIBUTE = "attribute"
    VALUE = "value"
    BRAND = "brand"


@dataclass(frozen=True, slots=True)
class MappingRow:
    """One word of ours on one marketplace.

    ``scope``: of an attribute their category, of a value ``category/attribute``; an empty category
    means every one. ``theirs``: their id; empty for a value or a brand: free text.
    """

    marketplace: str
    kind: MappingKind
    scope: str
    ours: str
    theirs: str
    theirs_name: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What may stand only once."""
        return (self.marketplace, self.kind, self.scope, fold(self.ours))


@dataclass(frozen=True, slots=True)
class Mapped:
    """Their id, or free text where ``theirs_id`` is None."""

    theirs_id: str | None
    text: str


class MappingTable:
    """The rows of one marketplace, for looking up."""

    def __init__(self, rows: Iterable[MappingRow]) -> None:
        self._rows: dict[tuple[str, str, str], MappingRow] = {}
        self._attributes: dict[str, dict[str, str]] = {}  # category → our word, folded → their id
        for row in rows:
            word = fold(row.ours)
            self._rows[row.kind, row.scope, word] = row
            if row.kind is MappingKind.ATTRIBUTE:
                self._attributes.setdefault(row.scope, {})[word] = row.theirs

    def category(self, path: str) -> str | None:
        """Their category's id."""
        row = self._rows.get((MappingKind.CATEGORY, "", fold(path)))
        return row.theirs if row else None

    def brand(self, name: str) -> Mapped | None:
        """Their brand; a row without an id means that the name itself is sent."""
        return self._found(MappingKind.BRAND, ("",), name)

    def attributes(self, category_id: str) -> Mapping[str, str]:
        """Our attributes' names, folded → the ids they have in this category."""
        return self._attributes.get("", {}) | self._attributes.get(category_id, {})

    def value(self, category_id: str, attribute_id: str, ours: str) -> Mapped | None:
        """Their value; a row without an id means free text."""
        scopes = (f"{category_id}/{attribute_id}", f"/{attribute_id}")
        return self._found(MappingKind.VALUE, scopes, ours)

    def _found(self, kind: MappingKind, scopes: tuple[str, ...], ours: str) -> Mapped | None:
        word = fold(ours)
        # "Not stated" is no word: only a row of its own gives it a value.
        for key in (word, ANY) if word else (word,):
            for scope in scopes:
                row = self._rows.get((kind, scope, key))
                if row is not None:
                    text = row.theirs_name or ours
                    return Mapped(row.theirs or None, text)
        return None


async def load_mapping(unit: UnitOfWork, merchant_id: int, marketplace: str) -> MappingTable:
    """All rows of the merchant for one marketplace."""
    return MappingTable(await mapping_rows(unit, merchant_id, [marketplace]))


async def mapping_rows(
    unit: UnitOfWork, merchant_id: int, marketplaces: list[str] | None
) -> list[MappingRow]:
    """The merchant's rows, of these marketplaces or (None) of all, in the order of the file."""
    rows = await unit.rows("mapping.rows", {"merchant": merchant_id, "marketplaces": marketplaces})
    return [
        MappingRow(marketplace, MappingKind(kind), *words) for marketplace, kind, *words in rows
    ]
