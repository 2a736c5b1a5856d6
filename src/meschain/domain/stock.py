"""Stock as a ledger: typed movements, levels that are nothing but their sum, and what is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MovementKind(StrEnum):
    """Why units moved. Signs are those of ``StockMovement``'s two deltas."""

    RECEIPT = "receipt"
    ADJUSTMENT = "adjustment"
    ALLOCATION = "allocation"
    RELEASE = "release"
    SALE = "sale"
    RETURN = "return"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class StockLevel:
    """Units of one variant at one location."""

    on_hand: int
    reserved: int
    safety_stock: int

    @property
    def available(self) -> int:
        """Units that may be promised: on hand − reserved − safety stock, never below 0."""
        return max(0, self.on_hand - self.reserved - self.safety_stock)


@dataclass(frozen=True, slots=True)
class QuantityPolicy:
    """How one account is shown the available units.

    ``share_bps`` of 10 000 is everything; ``buffer_units`` are held back from this channel;
    ``quantity_max`` caps what is shown (None: no cap of ours).
    """

    share_bps: int = 10_000
    buffer_units: int = 0
    quantity_max: int | None = None


def published_quantity(available: int, policy: QuantityPolicy) -> int:
    """Units that one account is told, never more than ``available`` and never below 0."""
    shared = available * policy.share_bps // 10_000 - policy.buffer_units
    capped = shared if policy.quantity_max is None else min(shared, policy.quantity_max)
    return max(0, capped)


def bundle_available(component_available: list[tuple[int, int]]) -> int:
    """Bundles that can be made from components given as (available, units per bundle)."""
    return min(available // units for available, units in component_available)
