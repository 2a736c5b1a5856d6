"""Daily sheets in: counted stock and prices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meschain.app.commands.import_sheet import import_prices, import_stock
from meschain.app.queries.view import money_view
from meschain.cli.files.said import (
    SHOWN_MAX,
    Told,
    end,
    form_document,
    read_as,
    refusal_documents,
    say_more,
    say_refused,
    say_warnings,
    sheet_run,
)
from meschain.cli.help import Command, File, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.exchange.sheet.daily import PRICE_COLUMNS, STOCK_COLUMNS
from meschain.exchange.sheet.named import open_sheet

if TYPE_CHECKING:
    from meschain.app.commands.import_sheet import LevelChange
    from meschain.app.commands.set_price import PriceChange
    from meschain.cli.session import Desk


@click.command("stock", cls=Command)
@click.argument("file", type=File())
@click.option("--location")
@read_as
@for_merchant
@reports
@at_desk
async def stock(
    desk: Desk,
    *,
    file: Path,
    location: str | None,
    told: Told,
) -> None:
    read = open_sheet(file, STOCK_COLUMNS, told.options)
    with desk.out.progress("cli.import.sheet.reading") as tick:
        run = sheet_run(desk, file, tick, is_plan=told.is_plan)
        plan = await import_stock(run, read, location=location)
    document = {
        "file": file.name,
        "is_plan": told.is_plan,
        "import_id": plan.import_id or None,
        "form": form_document(plan.form),
        "counts": plan.counts,
        "changed": plan.changed,
        "refused": refusal_documents(desk, plan.refused),
    }
    if not desk.out.document(document):
        say_warnings(desk, plan.warnings)
        _say_levels(desk, plan.changed)
        say_refused(desk, plan.refused)
        key = "cli.import.sheet.planned" if told.is_plan else "cli.import.sheet.done"
        desk.out.line(desk.words.text(key, **plan.counts), style="bold")
    taken = len(plan.changed) + plan.unchanged
    end(desk, plan.form, plan.refused, back=told.refused, file=file, taken=taken)


def _say_levels(desk: Desk, changed: list[LevelChange]) -> None:
    number = desk.out.number
    if changed:
        desk.out.table(
            ("sku", "location", "quantity_before", "on_hand", "safety_before", "safety_stock"),
            [
                (
                    each.sku,
                    each.location,
                    *map(number, (each.quantity_before, each.quantity)),
                    *map(number, (each.safety_stock_before, each.safety_stock)),
                )
                for each in changed[:SHOWN_MAX]
            ],
            right="quantity_before on_hand safety_before safety_stock",
        )
        say_more(desk, len(changed))


@click.command("prices", cls=Command)
@click.argument("file", type=File())
@click.option("--yes-large", "allows_large", is_flag=True)
@read_as
@for_merchant
@reports
@at_desk
async def prices(
    desk: Desk,
    *,
    file: Path,
    allows_large: bool,
    told: Told,
) -> None:
    read = open_sheet(file, PRICE_COLUMNS, told.options)
    with desk.out.progress("cli.import.sheet.reading") as tick:
        run = sheet_run(desk, file, tick, is_plan=told.is_plan)
        plan, left_out = await import_prices(run, read, allows_large=allows_large)
    counts = {"changed": len(plan.changed), "unchanged": plan.unchanged, "refused": len(left_out)}
    document = {
        "file": file.name,
        "is_plan": told.is_plan,
        "form": form_document(read.form),
        "counts": counts,
        "changed": plan.changed,
        "refused": refusal_documents(desk, left_out),
    }
    if not desk.out.document(document):
        say_warnings(desk, read.warnings)
        _say_prices(desk, plan.changed)
        say_refused(desk, left_out)
        key = "cli.import.sheet.planned" if told.is_plan else "cli.import.sheet.done"
        desk.out.line(desk.words.text(key, **counts), style="bold")
    taken = len(plan.changed) + plan.unchanged
    end(desk, read.form, left_out, back=told.refused, file=file, taken=taken)


def _say_prices(desk: Desk, changed: list[PriceChange]) -> None:
    columns = (
        ("list_before", "list_before_minor"),
        ("list_price", "list_minor"),
        ("sale_before", "sale_before_minor"),
        ("sale_price", "sale_minor"),
        ("cost_before", "cost_before_minor"),
        ("cost", "cost_minor"),
    )
    if changed:
        desk.out.table(
            ("sku", *(name for name, _ in columns)),
            [
                (
                    each.sku,
                    *(
                        desk.out.money(money_view(getattr(each, fld), each.currency))
                        for _, fld in columns
                    ),
                )
                for each in changed[:SHOWN_MAX]
            ],
            right=" ".join(name for name, _ in columns),
        )
        say_more(desk, len(changed))
