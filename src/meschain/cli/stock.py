"""Stock and prices by hand."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from meschain.app.commands.set_price import NewPrice, PricePlan, set_prices
from meschain.app.commands.set_stock import (
    BundleHasNoStock,
    Counting,
    PlaceUnknown,
    SkuUnknown,
    StockChange,
    change_stock,
)
from meschain.app.queries.conflicts import read_conflicts
from meschain.app.queries.stock import read_ledger, read_stock
from meschain.app.queries.view import money_view
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import Exact, File, Group, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.why import signed
from meschain.domain.money import currency_exponent
from meschain.exchange.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.app.queries.conflicts import ConflictView
    from meschain.app.queries.view import MoneyView
    from meschain.cli.session import Desk

_SHOWN_MAX: Final = 50
_PRICE_COLUMNS: Final = ("sku", "list_price", "sale_price")


@click.group("stock", cls=Group)
def stock() -> None:
    pass


@stock.command("set")
@click.argument("sku")
@click.argument("units", type=Whole())
@click.option("--location")
@click.option("--reason", default="")
@for_merchant
@reports
@at_desk
async def set_(desk: Desk, sku: str, units: int, location: str | None, reason: str) -> None:
    await _change(desk, sku, units, Counting.COUNTED, location, reason)


@stock.command("receive")
@click.argument("sku")
@click.argument("units", type=Whole(1))
@click.option("--location")
@click.option("--reason", default="")
@for_merchant
@reports
@at_desk
async def receive(desk: Desk, sku: str, units: int, location: str | None, reason: str) -> None:
    await _change(desk, sku, units, Counting.RECEIVED, location, reason)


@stock.command("safety")
@click.argument("sku")
@click.argument("units", type=Whole())
@click.option("--location")
@for_merchant
@reports
@at_desk
async def safety(desk: Desk, sku: str, units: int, location: str | None) -> None:
    await _change(desk, sku, units, Counting.SAFETY, location, "")


async def _change(
    desk: Desk, sku: str, units: int, counting: Counting, location: str | None, reason: str
) -> None:
    try:
        changes: list[StockChange] = await change_stock(
            desk.hub.database,
            desk.hub.clock,
            desk.merchant_id,
            {sku: units},
            counting,
            actor=desk.actor,
            location=location,
            reason=reason,
        )
    except SkuUnknown as unknown:
        raise Failure("sku_unknown", sku=", ".join(unknown.skus)) from unknown
    except BundleHasNoStock as bundle:
        raise Failure("bundle_has_no_stock", sku=bundle.sku) from bundle
    except PlaceUnknown as unknown:
        raise Failure("location_unknown", code=str(unknown.args[0])) from unknown
    change = changes[0]
    if desk.out.document({**msgspec.structs.asdict(change), "counting": counting.value}):
        return
    if counting is Counting.SAFETY:
        desk.out.say("cli.stock.held_back", sku=sku, count=units)
    else:
        desk.out.say(
            "cli.stock.changed",
            sku=sku,
            before=change.on_hand_before,
            count=change.on_hand,
            delta=signed(change.delta) or "0",
        )


@stock.command("list")
@click.option("--search")
@click.option("--after", default="")
@click.option("--limit", type=Whole(1, 100_000), default=_SHOWN_MAX)
@for_merchant
@reports
@at_desk
async def list_(desk: Desk, search: str | None, after: str, limit: int) -> None:
    rows = await read_stock(
        desk.hub.database, desk.merchant_id, limit=limit, after=after, search=search
    )
    if desk.out.document({"merchant": desk.merchant.name, "levels": rows}):
        return
    if not rows:
        desk.out.say("cli.stock.none")
        return
    desk.out.table(
        ("sku", "title", "location", "on_hand", "reserved", "safety_stock", "available"),
        [
            (
                row.sku,
                row.title,
                row.location,
                *map(desk.out.number, (row.on_hand, row.reserved, row.safety_stock, row.available)),
            )
            for row in rows
        ],
        right="on_hand reserved safety_stock available",
    )
    if len(rows) == limit:
        desk.out.note("cli.stock.more", after=rows[-1].sku)


@stock.command("ledger")
@click.argument("sku")
@click.option("--limit", type=Whole(1, 100_000), default=_SHOWN_MAX)
@for_merchant
@reports
@at_desk
async def ledger(desk: Desk, sku: str, limit: int) -> None:
    rows = await read_ledger(desk.hub.database, desk.merchant_id, sku, limit=limit)
    if rows is None:
        raise Failure("sku_unknown", sku=sku)
    if desk.out.document({"sku": sku, "movements": rows}):
        return
    if not rows:
        desk.out.say("cli.stock.never_moved", sku=sku)
        return
    desk.out.table(
        (
            "occurred", "location", "movement", "on_hand_delta", "reserved_delta", "on_hand",
            "reserved", "cause",
        ),
        [
            (
                desk.words.moment(row.occurred_at, "datetime"),
                row.location,
                desk.words.text(f"cli.movement.{row.kind}"),
                signed(row.on_hand_delta),
                signed(row.reserved_delta),
                desk.out.number(row.on_hand_after),
                desk.out.number(row.reserved_after),
                desk.words.text(
                    "cli.why.by_order", order=row.order_number, account=row.account_name or ""
                )
                if row.order_number
                else row.reason or row.actor,
            )
            for row in rows
        ],
        right="on_hand_delta reserved_delta on_hand reserved",
    )  # fmt: skip


# — prices —


@click.group("price", cls=Group)
def price() -> None:
    pass


@price.command("set")
@click.argument("sku", required=False)
@click.option("--list", "list_price", type=Exact())
@click.option("--sale", "sale_price", type=Exact())
@click.option("--file", type=File())
@click.option("--plan", "is_plan", is_flag=True)
@for_merchant
@reports
@at_desk
async def set_price(
    desk: Desk,
    *,
    sku: str | None,
    list_price: Decimal | None,
    sale_price: Decimal | None,
    file: Path | None,
    is_plan: bool,
) -> None:
    is_single = sku is not None and not (list_price is None and sale_price is None)
    if is_single == (file is not None) or (sku is not None and file is not None):
        raise Failure("price_what")
    digits = currency_exponent(await _currency(desk))
    if file is not None:
        prices = _read_prices(file, digits)
    else:
        assert sku is not None
        prices = [NewPrice(sku, _minor(list_price, digits), _minor(sale_price, digits))]
    with desk.out.progress("cli.price.setting") as tick:
        plan = await set_prices(
            desk.hub.database,
            desk.hub.clock,
            desk.merchant_id,
            prices,
            actor=desk.actor,
            is_plan=is_plan,
            on_progress=tick,
        )
    kept = await _kept(desk, plan, sku)
    if not desk.out.document({"is_plan": is_plan, **msgspec.structs.asdict(plan), "kept": kept}):
        _say_prices(desk, plan, is_plan=is_plan)
        _say_kept(desk, kept)
    if plan.refused and not plan.changed and not plan.unchanged:
        raise Incomplete("price_refused", count=len(plan.refused))


async def _kept(desk: Desk, plan: PricePlan, sku: str | None) -> list[ConflictView]:
    """Listings that the new prices do not reach: a panel's price is in force there."""
    if not plan.changed:
        return []
    changed = {change.sku for change in plan.changed}
    found = await read_conflicts(
        desk.hub.database, desk.merchant_id, sku=sku, field="price", state="kept"
    )
    return [each for each in found if each.sku in changed]


def _say_kept(desk: Desk, kept: Sequence[ConflictView]) -> None:
    for each in kept[:_SHOWN_MAX]:
        price = desk.out.money(each.their_sale_price)
        desk.out.say("cli.price.kept", style="red", sku=each.sku, account=each.account, price=price)
    if len(kept) > _SHOWN_MAX:
        desk.out.say("cli.more", count=len(kept) - _SHOWN_MAX)


async def _currency(desk: Desk) -> str:
    async with desk.hub.database.merchant(desk.merchant_id) as unit:
        row = await unit.row("view.merchant", {"merchant": desk.merchant_id})
    assert row is not None
    return str(row[2])


def _minor(amount: Decimal | None, digits: int) -> int | None:
    if amount is None:
        return None
    scaled = amount.scaleb(digits)
    if scaled != int(scaled):
        raise Failure("price_digits", value=str(amount), digits=digits)
    return int(scaled)


def _read_prices(path: Path, digits: int) -> list[NewPrice]:
    source = Source(path)
    with source.text(source.detect_encoding()) as opened:
        text = opened.read()
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = rows.fieldnames or ()
    if "sku" not in names or not {"list_price", "sale_price"} & set(names):
        raise Failure("price_header", file=str(path), columns=", ".join(_PRICE_COLUMNS))
    prices: list[NewPrice] = []
    for number, row in enumerate(rows, start=2):
        cells = {name: (row.get(name) or "").strip() for name in _PRICE_COLUMNS}
        if any(cells.values()):
            price = NewPrice(
                cells["sku"],
                _amount(path, number, cells["list_price"], digits),
                _amount(path, number, cells["sale_price"], digits),
                row_number=number,
            )
            prices.append(price)
    return prices


def _amount(path: Path, number: int, cell: str, digits: int) -> int | None:
    """``1249.90`` or ``1249,90``; grouped thousands could be read in two ways and are refused."""
    if not cell:
        return None
    try:
        return _minor(Exact().convert(cell, None, None), digits)
    except (click.BadParameter, Failure) as wrong:
        raise Failure("price_cell", file=str(path), row=number, value=cell) from wrong


def _say_prices(desk: Desk, plan: PricePlan, *, is_plan: bool) -> None:
    def cells(shown: Sequence[MoneyView | None]) -> tuple[str, ...]:
        return tuple(desk.out.money(each) for each in shown)

    rows = [
        (
            change.sku,
            *cells(
                [
                    money_view(minor, change.currency)
                    for minor in (
                        change.list_before_minor,
                        change.list_minor,
                        change.sale_before_minor,
                        change.sale_minor,
                    )
                ]
            ),
        )
        for change in plan.changed[:_SHOWN_MAX]
    ]
    if rows:
        desk.out.table(
            ("sku", "list_before", "list_price", "sale_before", "sale_price"),
            rows,
            right="list_before list_price sale_before sale_price",
        )
    for refused in plan.refused[:_SHOWN_MAX]:
        reason = desk.words.text(f"cli.price.refused_{refused.reason}")
        place = refused.sku or "–"
        if refused.row_number:
            place = desk.words.text("cli.price.place", sku=place, row=refused.row_number)
        desk.out.line(f"{place}: {reason}", style="red")
    desk.out.say(
        "cli.price.planned" if is_plan else "cli.price.done",
        changed=len(plan.changed),
        unchanged=plan.unchanged,
        refused=len(plan.refused),
    )
