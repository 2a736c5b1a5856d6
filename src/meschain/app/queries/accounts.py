"""The merchant's accounts: what they are called, what they may do, what they are shown."""

from datetime import datetime

import msgspec

from meschain.store.unit_of_work import Database


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """One account. ``share_bps`` of 10,000 is everything; ``quantity_max`` None: no cap."""

    account_id: int
    marketplace: str
    name: str
    state: str
    is_live: bool
    tier: str
    settings: dict[str, str]
    share_bps: int
    buffer_units: int
    quantity_max: int | None
    created_at: datetime


async def read_accounts(database: Database, merchant_id: int) -> list[AccountRow]:
    """All accounts that were not removed, in the order in which they were added."""
    async with database.merchant(merchant_id) as unit:
        records = await unit.records("account.list", {"merchant": merchant_id})
    return [msgspec.convert(record, AccountRow) for record in records]
