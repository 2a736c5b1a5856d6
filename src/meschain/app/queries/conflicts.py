"""Edits on a marketplace's panel: those that wait for an answer, and what was kept of them."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.store.unit_of_work import Database

CONFLICTS_MAX: Final = 100_000
FIELDS: Final = {"quantity": 1, "price": 2}

Rule = Literal["hub", "channel", "ask"]


class ConflictView(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one listing. ``open``: waits for its owner; ``kept``: theirs is in force.

    Of a kept quantity, ``our_quantity`` is the maximum before (None: the account's).
    """

    account_id: int
    account: str
    sku: str
    listing_id: int
    field: Literal["quantity", "price"]
    state: Literal["open", "kept"]
    our_quantity: int | None
    their_quantity: int | None
    our_list_price: MoneyView | None
    our_sale_price: MoneyView | None
    their_list_price: MoneyView | None
    their_sale_price: MoneyView | None
    since: datetime | None
    kept_by: str | None  # "rule" or who decided


class ConflictRules(msgspec.Struct, frozen=True, kw_only=True):
    """Who wins on one account, and how often its whole catalog is read back."""

    price: Rule
    quantity: Rule
    sweep_interval_s: int


class _Row(msgspec.Struct, frozen=True):
    account_id: int
    account: str
    sku: str
    currency: str
    listing_id: int
    field: int
    state: Literal["open", "kept"]
    our_quantity: int | None
    their_quantity: int | None
    our_list_minor: int | None
    our_sale_minor: int | None
    their_list_minor: int | None
    their_sale_minor: int | None
    since_us: int | None
    kept_by: str | None


async def read_conflicts(
    database: Database,
    merchant_id: int,
    *,
    account_id: int | None = None,
    sku: str | None = None,
    field: str | None = None,
    state: Literal["open", "kept"] | None = None,
    limit: int = CONFLICTS_MAX,
) -> list[ConflictView]:
    """Open ones first, the newest first."""
    async with database.merchant(merchant_id) as unit:
        records = await unit.records(
            "conflict.list",
            {
                "merchant": merchant_id,
                "account": account_id,
                "sku": sku,
                "field": None if field is None else FIELDS[field],
                "state": state,
                "limit": limit,
            },
        )
    return [_view(msgspec.convert(record, _Row)) for record in records]


async def read_rules(database: Database, merchant_id: int, account_id: int) -> ConflictRules:
    """The rules of an account that exists."""
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("conflict.rules", {"merchant": merchant_id, "account": account_id})
    assert row is not None, "the caller has just read the account"
    return ConflictRules(price=row[0], quantity=row[1], sweep_interval_s=row[2])


def _view(row: _Row) -> ConflictView:
    return ConflictView(
        account_id=row.account_id,
        account=row.account,
        sku=row.sku,
        listing_id=row.listing_id,
        field="quantity" if row.field == FIELDS["quantity"] else "price",
        state=row.state,
        our_quantity=row.our_quantity,
        their_quantity=row.their_quantity,
        our_list_price=money_view(row.our_list_minor, row.currency),
        our_sale_price=money_view(row.our_sale_minor, row.currency),
        their_list_price=money_view(row.their_list_minor, row.currency),
        their_sale_price=money_view(row.their_sale_minor, row.currency),
        since=instant(row.since_us),
        kept_by=row.kept_by,
    )
