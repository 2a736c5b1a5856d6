"""``meschain plan``: what would be sent now, and why the rest would not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from meschain.app.queries.plan import ROWS_MAX, read_plan
from meschain.cli.help import Command, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.speaking import account_details
from meschain.cli.wording import ages, quantities

if TYPE_CHECKING:
    from meschain.app.queries.plan import PlanRow, PlanView
    from meschain.cli.session import Desk


@click.command("plan", cls=Command)
@click.argument("account", required=False)
@click.option("--limit", type=Whole(1, ROWS_MAX), default=50)
@for_merchant
@reports
@at_desk
async def plan(desk: Desk, account: str | None, limit: int) -> None:
    row = None if account is None else await desk.account(account)
    found = await read_plan(
        desk.hub.database,
        desk.hub.clock,
        desk.merchant_id,
        account_id=None if row is None else row.account_id,
        limit=limit,
    )
    if desk.out.document({**msgspec.structs.asdict(found), "merchant": desk.merchant.name}):
        return
    if not found.accounts:
        desk.out.say("cli.account.none")
        return
    if not found.totals:
        accounts = await desk.accounts() if row is None else [row]
        listings = [(await account_details(desk, each)).listings for each in accounts]
        desk.out.say("cli.plan.nothing" if any(listings) else "cli.plan.nothing_listed")
        return
    _say_totals(desk, found)
    if found.rows:
        desk.out.line()
        desk.out.table(
            ("account", "sku", "field", "shown", "desired", "verdict", "since"),
            [_cells(desk, found, each) for each in found.rows],
            right="shown desired",
        )
    listed = sum(total.offers for total in found.totals if total.change != "same")
    if listed > len(found.rows):
        desk.out.say("cli.plan.more", count=listed - len(found.rows))


def _say_totals(desk: Desk, found: PlanView) -> None:
    for account_id in sorted({total.account_id for total in found.totals}):
        desk.out.say("cli.plan.of_account", name=found.accounts[account_id], style="bold")
        for total in found.totals:
            if total.account_id == account_id:
                said = desk.words.text(
                    "cli.plan.total",
                    offers=desk.words.text("cli.count.offers", count=total.offers),
                    change=desk.words.text(f"cli.change.{total.change}"),
                    verdict=desk.words.text(f"cli.verdict.{total.verdict}"),
                )
                desk.out.line(f"  {said}")


def _cells(desk: Desk, found: PlanView, row: PlanRow) -> tuple[str, ...]:
    words = desk.words
    verdict = words.text(f"cli.verdict.{row.verdict}")
    if row.verdict == "not_on_sale":
        verdict += f" ({words.text(f'listing_state.{row.listing_state}')})"
    if row.verdict == "refused":
        advice = words.text(row.advice) if row.advice in words else ""
        verdict = " ".join(part for part in (verdict + ":", row.words, advice) if part)
    if row.field == "quantity":
        shown, desired = quantities(desk.out, row.quantity_shown, row.quantity_desired)
        if row.own_units:
            shown += " " + words.text("cli.plan.own_units", count=row.own_units)
    else:
        shown, desired = (
            desk.out.money(price) for price in (row.sale_price_shown, row.sale_price_desired)
        )
        if row.change == "list_price":
            shown, desired = (
                desk.out.money(price) for price in (row.list_price_shown, row.list_price_desired)
            )
    return (
        row.account,
        row.sku,
        words.text(f"cli.change.{row.change}"),
        shown,
        desired,
        verdict,
        ages(desk.out, row.since, found.at),
    )
