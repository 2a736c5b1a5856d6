"""Add a merchant with the place where its goods lie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final
from zoneinfo import available_timezones

import msgspec
from babel import Locale
from babel.core import get_global
from babel.numbers import get_territory_currencies

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database


NAME_LENGTH_MAX: Final = 200
DELETING: Final = " (deleting)"
IMPORTING: Final = " (importing)"
"""Behind the name of a merchant that is not whole; no merchant's own name ends so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMerchant:
    """What is known of a merchant at the beginning; the location becomes the default one."""

    name: str
    country: str = "TR"
    currency: str = "TRY"
    time_zone: str = "Europe/Istanbul"
    language: str = "tr"
    location_code: str = "main"
    location_name: str = "main"


class MerchantInvalid(ValueError):
    """``field`` of a new merchant holds what no merchant can have."""

    def __init__(self, field: str, value: str) -> None:
        super().__init__(f"{field}: {value}")
        self.field = field
        self.value = value


def currencies(on: date) -> set[str]:
    """ISO codes of those that are legal tender somewhere on that day."""
    return {
        code
        for territory in get_global("territory_currencies")
        for code in get_territory_currencies(territory, on)
    }


def check_merchant(merchant: NewMerchant, today: date) -> None:
    """Raises MerchantInvalid."""
    name = merchant.name
    known = {
        "name": 0 < len(name) <= NAME_LENGTH_MAX
        and name.isprintable()
        and name == name.strip()
        and not name.endswith((DELETING, IMPORTING)),
        "currency": merchant.currency in currencies(today),
        "time_zone": merchant.time_zone in available_timezones(),
        "country": len(merchant.country) == 2 and merchant.country in Locale("en").territories,
    }
    for field, is_known in known.items():
        if not is_known:
            raise MerchantInvalid(field, getattr(merchant, field))


async def add_merchant(
    database: Database, clock: Clock, merchant: NewMerchant, *, actor: str
) -> int:
    """Store it and return its id.

    Raises MerchantInvalid, and ``psycopg.errors.UniqueViolation`` where the name is taken.
    """
    now = clock.now()
    check_merchant(merchant, now.date())
    # The id comes first: row-level security asks for whom the row is before it may be written.
    async with database.engine() as unit:
        row = await unit.row("merchant.next_id")
    assert row is not None
    merchant_id = int(row[0])
    key: dict[str, object] = {"merchant": merchant_id, "now": now}
    async with database.merchant(merchant_id) as unit:
        await unit.run(
            "merchant.add",
            key
            | {
                "name": merchant.name,
                "country": merchant.country,
                "currency": merchant.currency,
                "time_zone": merchant.time_zone,
                "language": merchant.language,
            },
        )
        await unit.run(
            "merchant.add_location",
            key | {"code": merchant.location_code, "name": merchant.location_name},
        )
        await unit.run(
            "catalog.add_audit",
            key
            | {
                "actor": actor,
                "action": "merchant.add",
                "facts": msgspec.json.encode({"name": merchant.name}).decode(),
            },
        )
    return merchant_id
