"""Past orders in."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meschain.app.commands.import_orders import HistoryPlan, import_orders
from meschain.cli.files.said import (
    Told,
    check_back,
    end,
    form_document,
    read_as,
    refusal_documents,
    say_refused,
    say_warnings,
    sheet_run,
    write_back,
)
from meschain.cli.help import Command, File, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.exchange import read_column_map
from meschain.exchange.sheet.history import HISTORY_COLUMNS
from meschain.exchange.sheet.named import open_sheet
from meschain.registry import marketplaces, order_maps

if TYPE_CHECKING:
    from meschain.cli.session import Desk


@click.command("orders", cls=Command)
@click.argument("file", type=File())
@click.option("--source", default="")
@read_as
@for_merchant
@reports
@at_desk
async def orders(
    desk: Desk,
    *,
    file: Path,
    source: str,
    told: Told,
) -> None:
    began_s = time.monotonic()
    check_back(told.refused, file)
    known_maps = {name: read_column_map(path) for name, path in order_maps().items()}
    read = open_sheet(file, HISTORY_COLUMNS, replace(told.options, known_maps=known_maps))
    with desk.out.progress("cli.import.sheet.reading") as tick:
        run = sheet_run(desk, file, tick, told)
        plan = await import_orders(run, read, source=source.strip() or read.known_as or "")
    lost = write_back(desk, plan.form, plan.refused, back=told.refused, file=file)
    lines = sum(total.lines for total in plan.sums.values())
    per_second = round(lines / max(time.monotonic() - began_s, 0.001))
    document = {
        "file": file.name,
        "is_plan": told.is_plan,
        "read_as": read.known_as,
        "import_id": plan.import_id or None,
        "form": form_document(plan.form),
        "counts": plan.counts,
        "sums": {
            currency: {
                "lines": total.lines,
                "units": total.units,
                "payable": f"{total.payable.normalize():f}",
                "cancelled_lines": total.cancelled_lines,
                "cancelled_payable": f"{total.cancelled_payable.normalize():f}",
            }
            for currency, total in sorted(plan.sums.items())
        },
        "first_at": plan.first_at,
        "last_at": plan.last_at,
        "rows_per_s": per_second,
        "refused": refusal_documents(desk, plan.refused),
    }
    if not desk.out.document(document):
        if read.known_as is not None:
            name = marketplaces()[read.known_as].manifest.identity.title
            desk.out.say("cli.import.history.read_as", name=name)
        _say(desk, plan, per_second, is_plan=told.is_plan)
    end(desk, plan.refused, back=told.refused, lost=lost, file=file, taken=lines)


def _say(desk: Desk, plan: HistoryPlan, per_second: int, *, is_plan: bool) -> None:
    out = desk.out
    say_warnings(desk, plan.warnings)
    say_refused(desk, plan.refused)
    if plan.first_at is not None and plan.last_at is not None:
        out.say("cli.import.history.span", first=plan.first_at, last=plan.last_at)
    for currency, total in sorted(plan.sums.items()):
        out.say(
            "cli.import.history.sum",
            lines=total.lines,
            units=total.units,
            payable=total.payable.normalize(),
            currency=currency,
        )
        if total.cancelled_lines:
            out.say(
                "cli.import.history.cancelled",
                lines=total.cancelled_lines,
                payable=total.cancelled_payable.normalize(),
                currency=currency,
            )
    key = "cli.import.history.planned" if is_plan else "cli.import.history.done"
    out.line(desk.words.text(key, **plan.counts), style="bold")
    out.say("cli.import.history.speed", count=per_second)
