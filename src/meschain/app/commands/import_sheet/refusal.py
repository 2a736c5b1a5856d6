"""Why the hub leaves out a row that could be read; the texts are in ``messages.toml`` beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meschain.exchange import RefusedRow


class SheetReason(StrEnum):
    SKU_UNKNOWN = "sheet.sku_unknown"
    TWICE = "sheet.twice"  # row
    BUNDLE = "sheet.bundle"
    COUNTED_SINCE = "sheet.counted_since"  # kept
    LOCATION_UNKNOWN = "sheet.location_unknown"  # value
    NOTHING = "sheet.nothing"
    CURRENCY_OTHER = "sheet.currency_other"  # given, held
    PRICE_LARGE = "sheet.price_large"  # before, after
    PRICE_MISSING = "sheet.price_missing"


@dataclass(frozen=True, slots=True)
class SheetRefusal:
    """A row that is left out. ``raw_row``: column → cell as given."""

    row_number: int
    sku: str | None
    reason_code: str
    params: Mapping[str, str] = field(default_factory=dict)
    raw_row: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: RefusedRow) -> SheetRefusal:
        return cls(row.row_number, row.sku, row.reason_code, row.params, row.raw_row)
