"""What would be sent now, and why the rest would not – without sending anything."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.channel.clock import Clock, microseconds
from meschain.store.unit_of_work import Database
from meschain.sync.lane import ORDER_FRESH_S, SKEW_US

ROWS_MAX: Final = 100_000

Change = Literal[
    "quantity_down", "quantity_up", "price_down", "price_up", "list_price", "first", "same"
]
Verdict = Literal[
    "now",  # the next request takes it
    "in_flight",  # sent, not answered to the end
    "looking",  # nobody can say what stands there: it is read back first
    "refused",  # waits for new input
    "waiting",  # for an answer, or after a failure
    "rise_held_back",  # a quantity rises only when the channel's orders are known up to now
    "expected",  # the channel has lowered its own shelf: nothing needs to be sent
    "not_on_sale",  # the listing is in approval, rejected, archived or locked
    "held",  # edited on the panel: waits for its owner's answer
    "no_price",
    "nobody",  # no hub serves the account
    "read_only",
    "paused",
    "reconnect",
    "unnoticed",  # only the safety net would find it: must never be
]


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One field of one listing. ``since`` is when it began to differ."""

    account_id: int
    account: str
    sku: str
    push_key: str
    field: Literal["quantity", "price"]
    change: Change
    verdict: Verdict
    quantity_shown: int | None
    quantity_desired: int | None
    own_units: int
    list_price_shown: MoneyView | None
    list_price_desired: MoneyView | None
    sale_price_shown: MoneyView | None
    sale_price_desired: MoneyView | None
    since: datetime | None
    words: str
    advice: str
    listing_state: str


class PlanTotal(msgspec.Struct, frozen=True):
    """How many offers (a listing's quantity or price) of one account change so and end so."""

    account_id: int
    change: Change
    verdict: Verdict
    offers: int


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """``rows`` are the first ones, in the order of sending; ``totals`` count all."""

    at: datetime
    accounts: dict[int, str]
    totals: list[PlanTotal]
    rows: list[PlanRow]

    def count(self, *verdicts: Verdict) -> int:
        """Offers that end so and change at all."""
        return sum(t.offers for t in self.totals if t.verdict in verdicts and t.change != "same")


class _Row(msgspec.Struct, frozen=True):
    account_id: int
    listing_id: int
    sku: str
    currency: str
    push_key: str
    field: int
    change: Change
    verdict: Verdict
    quantity_shown: int | None
    quantity_desired: int | None
    own_units: int | None
    list_shown_minor: int | None
    list_desired_minor: int | None
    sale_shown_minor: int | None
    sale_desired_minor: int | None
    since_us: int | None
    words: str
    advice: str
    listing_state: str


async def read_plan(
    database: Database,
    clock: Clock,
    merchant_id: int,
    *,
    account_id: int | None = None,
    limit: int = 50,
) -> PlanView:
    """The plan of one account, or of all."""
    now = clock.now()
    now_us = microseconds(now)
    async with database.merchant(merchant_id) as unit:
        accounts = await unit.rows("account.list", {"merchant": merchant_id})
        row = await unit.row(
            "plan.differences",
            {
                "merchant": merchant_id,
                "account": account_id,
                "now_us": now_us,
                "fresh_after_us": now_us - int(ORDER_FRESH_S * 1_000_000),
                "skew_us": SKEW_US,
                "limit": min(limit, ROWS_MAX),
            },
        )
    assert row is not None
    names = {int(found[0]): str(found[2]) for found in accounts}
    rows = msgspec.convert(row[1], list[_Row])
    return PlanView(
        at=now,
        accounts=names,
        totals=msgspec.convert(row[0], list[PlanTotal]),
        rows=[_view(each, names[each.account_id]) for each in rows],
    )


def _view(row: _Row, account: str) -> PlanRow:
    is_quantity = row.field == 1
    own_units = row.own_units or 0

    def price(minor: int | None) -> MoneyView | None:
        return None if is_quantity else money_view(minor, row.currency)

    return PlanRow(
        account_id=row.account_id,
        account=account,
        sku=row.sku,
        push_key=row.push_key,
        field="quantity" if is_quantity else "price",
        change=row.change,
        verdict=row.verdict,
        quantity_shown=row.quantity_shown if is_quantity else None,
        quantity_desired=row.quantity_desired,
        own_units=own_units,
        list_price_shown=price(row.list_shown_minor),
        list_price_desired=price(row.list_desired_minor),
        sale_price_shown=price(row.sale_shown_minor),
        sale_price_desired=price(row.sale_desired_minor),
        since=instant(row.since_us),
        words=row.words,
        advice=row.advice,
        listing_state=row.listing_state,
    )
