"""Weights and lengths of shops in our grams and millimeters."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

# Exact by definition: the international yard and pound agreement of 1959.
_GRAMS: Final = {
    "kg": Decimal(1000),
    "g": Decimal(1),
    "lb": Decimal("453.59237"),
    "lbs": Decimal("453.59237"),
    "oz": Decimal("28.349523125"),
}
_MILLIMETERS: Final = {
    "mm": Decimal(1),
    "cm": Decimal(10),
    "m": Decimal(1000),
    "in": Decimal("25.4"),
    "yd": Decimal("914.4"),
}
WEIGHT_UNITS: Final = frozenset(_GRAMS)
LENGTH_UNITS: Final = frozenset(_MILLIMETERS)


def grams(amount: Decimal, unit: str) -> str:
    """Whole grams, rounded half up; empty for none. Raises: KeyError for an unknown unit."""
    return _whole(amount * _GRAMS[unit])


def millimeters(amount: Decimal, unit: str) -> str:
    """Whole millimeters, rounded half up; empty for none. Raises: KeyError."""
    return _whole(amount * _MILLIMETERS[unit])


def _whole(amount: Decimal) -> str:
    rounded = int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    return str(rounded) if rounded else ""
