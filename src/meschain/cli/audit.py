"""``meschain audit``: read an account back and compare."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import click

from meschain.app.queries.view import money_view
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import Command, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.speaking import opened_account, outcome_words
from meschain.sync.audit import SweepReport

if TYPE_CHECKING:
    from meschain.cli.session import Desk
    from meschain.sync.audit import Drift

_SHOWN_MAX: Final = 50


@click.command("audit", cls=Command)
@click.argument("account")
@click.option("--repair", is_flag=True)
@for_merchant
@reports
@at_desk
async def audit(desk: Desk, *, account: str, repair: bool) -> None:
    row = await desk.account(account)
    served = await opened_account(desk, row)
    desk.out.note("cli.audit.reading", name=row.name)
    report = await desk.hub.engine.audit.sweep(served, repair=repair)
    if not isinstance(report, SweepReport):
        raise Failure("audit_stopped", name=row.name, words=outcome_words(report, desk.words))
    drift = report.drift
    if not desk.out.document(
        {
            "account": row.name,
            "checked": report.checked,
            "equal": report.equal,
            "moving": report.moving,
            "unknown_theirs": report.unknown_theirs,
            "consistency_bps": report.consistency_bps,
            "drift": drift,
            "conflicts": report.conflicts,
            "is_repaired": repair and bool(report.repairable),
        }
    ):
        if drift:
            desk.out.table(
                ("key", "shown", "desired", "price_shown", "price_desired"),
                [_cells(desk, served.currency, each) for each in drift[:_SHOWN_MAX]],
                right="shown desired price_shown price_desired",
            )
        desk.out.say(
            "cli.audit.done",
            style="bold",
            name=row.name,
            checked=report.checked,
            equal=report.equal,
            moving=report.moving,
            drift=len(drift),
            unknown=report.unknown_theirs,
            consistency=desk.words.percent(Decimal(report.consistency_bps) / 100),
        )
        if report.conflicts:
            desk.out.say("cli.audit.conflicts", count=report.conflicts)
        if report.repairable and repair:
            desk.out.say("cli.audit.repairing" if row.state == "armed" else "cli.audit.not_armed")
    if report.repairable and not repair:
        raise Incomplete("drift_found", count=report.repairable, name=row.name)
    if drift and not repair:
        # Nothing to repair: what was edited there goes by the account's rule, or its owner's word.
        raise Incomplete("edits_found", count=len(drift), name=row.name)


def _cells(desk: Desk, currency: str, drift: Drift) -> tuple[str, ...]:
    return (
        drift.push_key,
        desk.out.number(drift.shown_quantity),
        desk.out.number(drift.wanted_quantity),
        desk.out.money(money_view(drift.shown_sale_minor, currency)),
        desk.out.money(money_view(drift.wanted_sale_minor, currency)),
    )
