"""Daily sheets in: counted stock and prices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meschain.app.commands.import_sheet import import_prices, import_stock
from meschain.app.queries.conflicts import read_conflicts
from meschain.app.queries.view import money_view
from meschain.cli.files.said import (
    SHOWN_MAX,
    Told,
    check_back,
    end,
    form_document,
    read_as,
    refusal_documents,
    say_more,
    say_refused,
    say_warnings,
    sheet_run,
    write_back,
)
from meschain.cli.help import Command, File, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.exchange.sheet.daily import PRICE_COLUMNS, STOCK_COLUMNS
from meschain.exchange.sheet.named import open_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.app.commands.import_sheet import LevelChange
    from meschain.app.commands.set_price import PriceChange
    from meschain.app.queries.conflicts import ConflictView
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
    check_back(told.refused, file)
    read = open_sheet(file, STOCK_COLUMNS, told.options)
    with desk.out.progress("cli.import.sheet.reading") as tick:
        run = sheet_run(desk, file, tick, told)
        plan = await import_stock(run, read, location=location)
    lost = write_back(desk, plan.form, plan.refused, back=told.refused, file=file)
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
    end(desk, plan.refused, back=told.refused, lost=lost, file=file, taken=taken)


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
    await take_prices(desk, file, told, allows_large=allows_large)


async def take_prices(desk: Desk, file: Path, told: Told, *, allows_large: bool) -> None:
    """Take in a sheet of prices and say what came of it. Raises: Failure, FileRefused, OSError."""
    check_back(told.refused, file)
    read = open_sheet(file, PRICE_COLUMNS, told.options)
    with desk.out.progress("cli.import.sheet.reading") as tick:
        run = sheet_run(desk, file, tick, told)
        plan, left_out, import_id = await import_prices(run, read, allows_large=allows_large)
    lost = write_back(desk, read.form, left_out, back=told.refused, file=file)
    kept = await kept_listings(desk, plan.changed)
    counts = {"changed": len(plan.changed), "unchanged": plan.unchanged, "refused": len(left_out)}
    document = {
        "file": file.name,
        "is_plan": told.is_plan,
        "import_id": import_id or None,
        "form": form_document(read.form),
        "counts": counts,
        "changed": plan.changed,
        "kept": kept,
        "refused": refusal_documents(desk, left_out),
    }
    if not desk.out.document(document):
        say_warnings(desk, read.warnings)
        _say_prices(desk, plan.changed)
        say_refused(desk, left_out)
        key = "cli.import.sheet.planned" if told.is_plan else "cli.import.sheet.done"
        desk.out.line(desk.words.text(key, **counts), style="bold")
        say_kept(desk, kept)
    taken = len(plan.changed) + plan.unchanged
    end(desk, left_out, back=told.refused, lost=lost, file=file, taken=taken)


async def kept_listings(desk: Desk, changed: Sequence[PriceChange]) -> list[ConflictView]:
    """Listings that the new prices do not reach: a panel's price is in force there."""
    if not changed:
        return []
    skus = {change.sku for change in changed}
    sku = next(iter(skus)) if len(skus) == 1 else None
    found = await read_conflicts(
        desk.hub.database, desk.merchant_id, sku=sku, field="price", state="kept"
    )
    return [each for each in found if each.sku in skus]


def say_kept(desk: Desk, kept: Sequence[ConflictView]) -> None:
    for each in kept[:SHOWN_MAX]:
        price = desk.out.money(each.their_sale_price)
        desk.out.say("cli.price.kept", style="red", sku=each.sku, account=each.account, price=price)
    say_more(desk, len(kept))


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
