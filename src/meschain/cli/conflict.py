"""Edits on a marketplace's own panel: look at them, answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import click
import psycopg

from meschain.app.commands.resolve_conflict import resolve_conflicts
from meschain.app.queries.conflicts import FIELDS, read_conflicts
from meschain.cli.failure import Failure
from meschain.cli.help import Group, OneOf, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.wording import ages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.app.queries.conflicts import ConflictView
    from meschain.cli.session import Desk

_SHOWN_MAX: Final = 50


@click.group("conflict", cls=Group)
def conflict() -> None:
    pass


@conflict.command("list")
@click.option("--account")
@click.option("--sku")
@click.option("--limit", type=Whole(1, 100_000), default=_SHOWN_MAX)
@for_merchant
@reports
@at_desk
async def list_(desk: Desk, account: str | None, sku: str | None, limit: int) -> None:
    row = None if account is None else await desk.account(account)
    found = await read_conflicts(
        desk.hub.database,
        desk.merchant_id,
        account_id=None if row is None else row.account_id,
        sku=sku,
        limit=limit + 1,
    )
    shown, is_more = found[:limit], len(found) > limit
    if desk.out.document({"conflicts": shown, "is_more": is_more}):
        return
    if not shown:
        desk.out.say("cli.conflict.none")
        return
    _table(desk, shown)
    if is_more:
        desk.out.note("cli.conflict.more", count=limit)
    if any(each.state == "open" for each in shown):
        desk.out.line()
        desk.out.say("cli.conflict.how")


@conflict.command("resolve")
@click.argument("sku", required=False)
@click.argument("account", required=False)
@click.option("--field", type=OneOf(*FIELDS))
@click.option("--keep", type=OneOf("hub", "channel"), required=True)
@click.option("--all", "is_all", is_flag=True)
@click.option("--account", "account_option")
@click.option("--yes", "is_sure", is_flag=True)
@for_merchant
@reports
@at_desk
async def resolve(
    desk: Desk,
    *,
    sku: str | None,
    account: str | None,
    field: str | None,
    keep: Literal["hub", "channel"],
    is_all: bool,
    account_option: str | None,
    is_sure: bool,
) -> None:
    name = account or account_option
    if name is None or is_all == (sku is not None):
        raise Failure("conflict_which")
    row = await desk.account(name)
    found = await read_conflicts(
        desk.hub.database,
        desk.merchant_id,
        account_id=row.account_id,
        sku=sku,
        field=field,
        state="open" if is_all else None,
    )
    # A question comes before what was kept earlier; the latter is given up on its own.
    chosen = [each for each in found if each.state == "open"] or found
    if not chosen:
        raise Failure("conflict_none", name=name)
    count = 0
    if is_sure or not is_all:
        try:
            count = await resolve_conflicts(
                desk.hub.database,
                desk.hub.clock,
                desk.merchant_id,
                chosen,
                keep,
                actor=desk.actor,
            )
        except psycopg.errors.LockNotAvailable as busy:
            raise Failure("conflict_busy", name=name) from busy
    is_plan = is_all and not is_sure
    if desk.out.document(
        {"account": row.name, "keep": keep, "is_plan": is_plan, "count": count, "chosen": chosen}
    ):
        return
    if is_plan:
        _table(desk, chosen[:_SHOWN_MAX])
        if len(chosen) > _SHOWN_MAX:
            desk.out.say("cli.more", count=len(chosen) - _SHOWN_MAX)
        desk.out.say(f"cli.conflict.planned_{keep}", style="bold", count=len(chosen))
        return
    desk.out.say(f"cli.conflict.resolved_{keep}", style="green", count=count, name=name)


def _table(desk: Desk, rows: Sequence[ConflictView]) -> None:
    now = desk.hub.clock.now()
    desk.out.table(
        ("account", "sku", "conflict.field", "conflict.ours", "conflict.theirs", "state", "since"),
        [
            (
                each.account,
                each.sku,
                desk.words.text(f"cli.conflict.field_{each.field}"),
                *_values(desk, each),
                desk.words.text(f"cli.conflict.state_{each.state}"),
                ages(desk.out, each.since, now),
            )
            for each in rows
        ],
        right="conflict.ours conflict.theirs",
    )


def _values(desk: Desk, row: ConflictView) -> tuple[str, str]:
    """Ours and theirs; list prices too where they differ, as an edit may have been of them only."""
    out = desk.out
    if row.field == "quantity":
        return out.number(row.our_quantity), out.number(row.their_quantity)
    ours, theirs = out.money(row.our_sale_price), out.money(row.their_sale_price)
    if row.our_list_price != row.their_list_price:
        ours += f" ({out.money(row.our_list_price)})"
        theirs += f" ({out.money(row.their_list_price)})"
    return ours, theirs
