"""What read models share: money and instants as they leave the hub."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from meschain.domain.money import currency_exponent

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MoneyView(msgspec.Struct, frozen=True):
    """Exact: ``amount`` is ``minor`` in major units, as text."""

    minor: int
    currency: str
    amount: str


def money_view(minor: int | None, currency: str) -> MoneyView | None:
    """An amount in minor units of its currency; None stays None."""
    if minor is None:
        return None
    amount = Decimal(minor).scaleb(-currency_exponent(currency))
    return MoneyView(minor, currency, format(amount, "f"))


def instant(us: int | None) -> datetime | None:
    """Microseconds since the epoch as an instant, exact."""
    return None if us is None else _EPOCH + timedelta(microseconds=us)
