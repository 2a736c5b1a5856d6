"""Money in integer minor units; every rounding is named where it happens."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Final

# ISO 4217 currencies whose minor unit is not a hundredth. Source: ISO 4217, table A.1.
_EXPONENTS: Final[dict[str, int]] = {
    "BHD": 3,
    "BIF": 0,
    "CLP": 0,
    "DJF": 0,
    "GNF": 0,
    "IQD": 3,
    "ISK": 0,
    "JOD": 3,
    "JPY": 0,
    "KMF": 0,
    "KRW": 0,
    "KWD": 3,
    "LYD": 3,
    "OMR": 3,
    "PYG": 0,
    "RWF": 0,
    "TND": 3,
    "UGX": 0,
    "VND": 0,
    "VUV": 0,
    "XAF": 0,
    "XOF": 0,
    "XPF": 0,
}


class Rounding(Enum):
    """How a value finer than the minor unit becomes whole; commercial invoices use HALF_UP."""

    HALF_UP = ROUND_HALF_UP
    HALF_EVEN = ROUND_HALF_EVEN
    DOWN = ROUND_DOWN
    UP = ROUND_CEILING


class CurrencyMismatch(ValueError):
    """Two amounts of different currencies met in one sum or comparison."""


def currency_exponent(currency: str) -> int:
    """Decimal digits of the currency's minor unit (TRY 2, JPY 0)."""
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount: ``minor`` whole minor units of ``currency`` (ISO 4217 code)."""

    minor: int
    currency: str

    @classmethod
    def from_decimal(cls, amount: Decimal, currency: str, *, rounding: Rounding) -> Money:
        """The amount in major units as Money; digits beyond the minor unit are rounded as named."""
        scaled = amount.scaleb(currency_exponent(currency))
        return cls(int(scaled.to_integral_value(rounding.value)), currency)

    @property
    def amount(self) -> Decimal:
        """The amount in major units, with exactly the currency's digits."""
        return Decimal(self.minor).scaleb(-currency_exponent(self.currency))

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            message = f"{self.currency} met {other.currency}"
            raise CurrencyMismatch(message)

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __mul__(self, units: int) -> Money:
        return Money(self.minor * units, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same(other)
        return self.minor < other.minor

    def __le__(self, other: Money) -> bool:
        self._same(other)
        return self.minor <= other.minor


def gross_from_net(
    net: Decimal, vat_percent: Decimal, currency: str, *, rounding: Rounding
) -> Money:
    """Price with VAT from the net price: ``net · (1 + v/100)``, rounded once, at the end."""
    return Money.from_decimal(net * (100 + vat_percent) / 100, currency, rounding=rounding)


def vat_within(gross: Decimal, vat_percent: Decimal) -> Decimal:
    """The VAT contained in a gross amount, exact: ``gross · v / (100 + v)``."""
    return gross * vat_percent / (100 + vat_percent)
