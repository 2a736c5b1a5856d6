"""Stock and prices by hand."""

from __future__ import annotations

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
from meschain.app.queries.stock import read_ledger, read_stock
from meschain.app.queries.view import money_view
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.files.daily import kept_listings, say_kept, take_prices
from meschain.cli.files.said import Told
from meschain.cli.help import Exact, File, Group, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.why import signed
from meschain.domain.money import currency_exponent
from meschain.exchange.number import AMOUNT_MAX
from meschain.exchange.sheet.named import SheetOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.app.queries.view import MoneyView
    from meschain.cli.session import Desk

_SHOWN_MAX: Final = 50


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
@click.option("--yes-large", "allows_large", is_flag=True)
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
    allows_large: bool,
) -> None:
    has_price = not (list_price is None and sale_price is None)
    if file is not None and sku is None and not has_price:
        told = Told(is_plan, None, SheetOptions())
        await take_prices(desk, file, told, allows_large=allows_large)
        return
    if file is not None or sku is None or not has_price:
        raise Failure("price_what")
    digits = currency_exponent(await _currency(desk))
    plan = await set_prices(
        desk.hub.database,
        desk.hub.clock,
        desk.merchant_id,
        [NewPrice(sku, _minor(list_price, digits), _minor(sale_price, digits))],
        actor=desk.actor,
        is_plan=is_plan,
    )
    kept = await kept_listings(desk, plan.changed)
    if not desk.out.document({"is_plan": is_plan, **msgspec.structs.asdict(plan), "kept": kept}):
        _say_prices(desk, plan, is_plan=is_plan)
        say_kept(desk, kept)
    if plan.refused:
        raise Incomplete("price_refused")


async def _currency(desk: Desk) -> str:
    async with desk.hub.database.merchant(desk.merchant_id) as unit:
        row = await unit.row("view.merchant", {"merchant": desk.merchant_id})
    assert row is not None
    return str(row[2])


def _minor(amount: Decimal | None, digits: int) -> int | None:
    if amount is None:
        return None
    if not 0 < amount < AMOUNT_MAX:
        raise Failure("price_range", value=str(amount), most=AMOUNT_MAX)
    scaled = amount.scaleb(digits)
    if scaled != int(scaled):
        raise Failure("price_digits", value=str(amount), digits=digits)
    return int(scaled)


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
        desk.out.line(f"{refused.sku}: {reason}", style="red")
    desk.out.say(
        "cli.price.planned" if is_plan else "cli.price.done",
        changed=len(plan.changed),
        unchanged=plan.unchanged,
        refused=len(plan.refused),
    )
