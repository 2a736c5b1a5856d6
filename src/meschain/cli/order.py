"""Orders: read, link, pack, hand over."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meschain.app.commands.link_order_line import LineNotOpen, link_order_line
from meschain.app.commands.package_actions import (
    InvoiceUnderWay,
    TransitionForbidden,
    Wished,
    WishUnderWay,
    await_wish,
    cancellation,
    chosen_lines,
    division,
    fetch_label,
    wish_package,
)
from meschain.app.commands.set_stock import SkuUnknown
from meschain.app.queries.order_detail import (
    OrderDetail,
    OrderUnknown,
    PackageDetail,
    Person,
    open_person,
    read_order,
)
from meschain.app.queries.orders import read_orders
from meschain.channel.contract import Label
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import File, Group, OneOf, Pair, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.speaking import (
    carried_out,
    item_words,
    opened_account,
    outcome_words,
)
from meschain.domain.money import Money, Rounding
from meschain.domain.order import Address, PackageState
from meschain.label import Captions, CargoLabel, UnprintableCode, render_pdf, render_zpl
from meschain.sync.package_wish import Terms, UnitsUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meschain.app.queries.accounts import AccountRow
    from meschain.cli.session import Desk

_ANSWER_S: Final = 20.0  # so long a command waits for the marketplace's answer
_REASONS: Final = ("out_of_stock", "defective", "wrong_price", "force_majeure", "other")


@click.group("order", cls=Group)
def order() -> None:
    pass


# — reading —


@order.command("list")
@click.option("--account")
@click.option("--limit", type=Whole(1, 10_000), default=50)
@click.option("--cursor")
@for_merchant
@reports
@at_desk
async def list_(desk: Desk, account: str | None, limit: int, cursor: str | None) -> None:
    row = None if account is None else await desk.account(account)
    page = await read_orders(
        desk.hub.database,
        desk.merchant_id,
        limit=limit,
        cursor=cursor,
        account_id=None if row is None else row.account_id,
    )
    if desk.out.document(page):
        return
    if not page.items:
        desk.out.say("cli.order.none")
        return
    desk.out.table(
        ("order", "account", "placed", "goods", "packages", "payable"),
        [
            (
                each.external_id,
                each.account_name,
                desk.words.moment(each.placed_at, "datetime"),
                ", ".join(
                    f"{line.units} × {line.sku or line.sku_given + ' ?'}" for line in each.lines
                ),
                ", ".join(dict.fromkeys(_state(desk, p.state, p.state_raw) for p in each.packages)),
                desk.out.money(each.payable),
            )
            for each in page.items
        ],
        right="payable",
    )
    if page.next_cursor is not None:
        desk.out.note("cli.next_page", cursor=page.next_cursor)


def _state(desk: Desk, state: str | None, raw: str) -> str:
    """The state in our words; what no mapping names stays in the marketplace's."""
    return raw if state is None else desk.words.text(f"package_state.{state}")


async def _find(desk: Desk, number: str, account: str | None) -> OrderDetail:
    row = None if account is None else await desk.account(account)
    try:
        return await read_order(
            desk.hub.database,
            desk.merchant_id,
            number,
            account_id=None if row is None else row.account_id,
        )
    except OrderUnknown as unknown:
        if unknown.accounts:
            raise Failure(
                "order_which", number=number, known=", ".join(unknown.accounts)
            ) from unknown
        raise Failure("order_unknown", number=number) from unknown


@order.command("show")
@click.argument("number")
@click.option("--account")
@click.option("--person", "with_person", is_flag=True)
@for_merchant
@reports
@at_desk
async def show(
    desk: Desk,
    *,
    number: str,
    account: str | None,
    with_person: bool,
) -> None:
    found = await _find(desk, number, account)
    person: Person | None = None
    if with_person:
        person = await open_person(desk.hub.database, desk.hub.keys, desk.merchant_id, found)
    if desk.out.document({"order": found, "person": person}):
        return
    now = desk.hub.clock.now()
    desk.out.say(
        "cli.order.head",
        style="bold",
        number=found.external_id,
        account=found.account,
        placed=desk.words.moment(found.placed_at, "datetime"),
        age=desk.out.age(found.placed_at, now),
        payable=desk.out.money(found.payable),
    )
    if found.erased_at is not None:
        at = desk.words.moment(found.erased_at, "date")
        desk.out.say("cli.personal-data.erased_at", date=at)
    desk.out.table(
        ("item", "sku", "title", "units", "backorder"),
        [
            (
                item.item_key,
                item.sku or desk.words.text("cli.order.sku_unknown"),
                item.title,
                desk.out.number(item.units_ordered),
                desk.out.number(item.units_backorder) if item.units_backorder else "",
            )
            for item in found.items
        ],
        right="units backorder",
    )
    for package in found.packages:
        desk.out.line()
        _show_package(desk, found, package)
    if person is not None:
        desk.out.line()
        desk.out.pairs(_person_pairs(person))


def _show_package(desk: Desk, found: OrderDetail, package: PackageDetail) -> None:
    wanted = ""
    if package.wanted_state is not None:
        state = desk.words.text(f"package_state.{package.wanted_state}")
        said = "cli.order.wanted" if package.taken_state is None else "cli.order.taken"
        wanted = " " + desk.words.text(said, state=state)
    desk.out.say(
        "cli.order.package",
        style="bold",
        number=package.external_id,
        state=_state(desk, package.state, package.state_raw) + wanted,
    )
    erased = "" if found.erased_at is None else desk.words.text("cli.personal-data.erased")
    pairs = {
        "carrier": package.carrier,
        "cargo_code": package.cargo_code or erased,
        "tracking": package.tracking_number or erased,
        "desi": "" if package.desi is None else desk.out.number(package.desi),
        "ship_by": ""
        if package.ship_by is None
        else desk.words.moment(package.ship_by, "datetime"),
        "invoice": package.invoice_number,
    }
    desk.out.pairs({name: value for name, value in pairs.items() if value})
    currency = found.payable.currency
    desk.out.table(
        ("line", "item", "units", "unit_price", "discount", "vat", "payable"),
        [
            (
                line.line_id,
                line.item_key,
                desk.out.number(line.units),
                _exact(desk, line.unit_gross, currency),
                _exact(desk, line.unit_seller_discount * line.units, currency),
                "–" if line.vat_percent is None else desk.words.percent(line.vat_percent),
                _exact(desk, line.payable, currency),
            )
            for line in package.lines
        ],
        right="units unit_price discount vat payable",
    )


def _exact(desk: Desk, amount: Decimal, currency: str) -> str:
    """A unit price may be finer than the minor unit; then all its digits are shown."""
    money = Money.from_decimal(amount, currency, rounding=Rounding.HALF_UP)
    if money.amount == amount:
        return desk.out.money(money)
    return f"{desk.words.number(amount.normalize())} {currency}"


def _person_pairs(person: Person) -> dict[str, str]:
    buyer, to = person.buyer, person.shipping_address
    pairs = {
        "buyer": str(buyer.get("full_name") or ""),
        "company": str(buyer.get("company_name") or ""),
        "tax_office": str(buyer.get("tax_office") or ""),
        "tax_number": str(buyer.get("tax_number") or buyer.get("identity_number") or ""),
        "address": ", ".join(
            filter(None, (to.get(k) for k in ("neighborhood", "street", "district", "city")))
        ),
        "phone": to.get("phone", ""),
    }
    return {name: value for name, value in pairs.items() if value}


# — an unknown SKU —


@order.command("link-line")
@click.argument("number")
@click.argument("item")
@click.argument("sku")
@click.option("--account")
@for_merchant
@reports
@at_desk
async def link_line(desk: Desk, number: str, item: str, sku: str, account: str | None) -> None:
    found = await _find(desk, number, account)
    try:
        await link_order_line(
            desk.hub.database,
            desk.hub.clock,
            desk.merchant_id,
            found,
            item,
            sku,
            actor=desk.actor,
        )
    except SkuUnknown as unknown:
        raise Failure("sku_unknown", sku=sku) from unknown
    except LineNotOpen as closed:
        items = ", ".join(each.item_key for each in found.items if each.sku is None)
        raise Failure("line_not_open", item=item, known=items or "–") from closed
    if not desk.out.document({"order": number, "item": item, "sku": sku}):
        desk.out.say("cli.order.linked", number=number, item=item, sku=sku)


# — on the package —


def _package_of(found: OrderDetail, wanted: str | None) -> PackageDetail:
    """The one named, else the only one that is not over."""
    ended = {"cancelled", "unsupplied", "superseded", "returned", "delivered"}
    if wanted is not None:
        chosen = [each for each in found.packages if each.external_id == wanted]
    else:
        chosen = [each for each in found.packages if each.state not in ended]
        chosen = chosen or found.packages
    if len(chosen) != 1:
        known = ", ".join(each.external_id for each in found.packages)
        raise Failure("package_which", number=found.external_id, known=known)
    return chosen[0]


def _may_send(row: AccountRow) -> None:
    if row.state != "armed":
        raise Failure("package_needs_arming", name=row.name)


async def _tell_wished(
    desk: Desk, found: OrderDetail, package: PackageDetail, wished: Wished
) -> None:
    """What came of a wish; what is still open, the order lane goes on with."""
    items = [] if wished.outcome is None else item_words(wished.outcome, desk.words)
    await _say(desk, found, package, items, wished)
    if wished.is_open:
        raise Incomplete("wish_open", number=found.external_id)
    if not wished.is_taken:
        raise Incomplete("action_not_taken", number=found.external_id)


async def _say(
    desk: Desk,
    found: OrderDetail,
    package: PackageDetail,
    items: list[tuple[str, str]],
    wished: Wished,
) -> None:
    again = await read_order(
        desk.hub.database, desk.merchant_id, found.external_id, account_id=found.account_id
    )
    if desk.out.document(
        {
            "order": found.external_id,
            "package": package.external_id,
            "is_taken": wished.is_taken,
            "outcome": [{"item": item, "words": said} for item, said in items],
            "is_certain": not wished.is_open,
            "packages": again.packages,
        }
    ):
        return
    for item, said in items:
        desk.out.line(f"{item}: {said}" if item else said)
    if wished.is_open:
        return
    for each in again.packages:
        state = _state(desk, each.standing, each.state_raw)
        desk.out.say("cli.order.stands", number=each.external_id, state=state)


async def _advance(
    desk: Desk,
    number: str,
    account: str | None,
    package_id: str | None,
    to: PackageState,
    invoice_number: str = "",
) -> None:
    found = await _find(desk, number, account)
    await _wish(desk, found, _package_of(found, package_id), to, invoice_number=invoice_number)


async def _wish(
    desk: Desk,
    found: OrderDetail,
    package: PackageDetail,
    to: PackageState,
    *,
    invoice_number: str = "",
    terms: Terms | None = None,
) -> None:
    """Record it, have it carried out, and say what came of it."""
    row = await desk.account(found.account)
    _may_send(row)
    database, clock = desk.hub.database, desk.hub.clock
    try:
        wish = await wish_package(
            database,
            clock,
            desk.merchant_id,
            found,
            package,
            to,
            actor=desk.actor,
            invoice_number=invoice_number,
            terms=terms,
        )
    except InvoiceUnderWay as begun:
        number = package.external_id
        raise Failure("invoice_under_way", number=number, invoice=invoice_number) from begun
    except WishUnderWay as begun:
        raise Failure("wish_under_way", number=package.external_id) from begun
    except TransitionForbidden as forbidden:
        raise Failure(
            "transition_forbidden",
            number=package.external_id,
            state=_state(desk, package.standing, package.state_raw),
            wanted=desk.words.text(f"package_state.{to.value}"),
        ) from forbidden
    if wish is None:
        wished = Wished(is_taken=True, is_open=False, outcome=None)
    else:
        async with carried_out(desk, row):
            wished = await await_wish(database, clock, wish, timeout_s=_ANSWER_S)
    await _tell_wished(desk, found, package, wished)


@order.command("pick")
@click.argument("number")
@click.option("--package", "package_id")
@click.option("--account")
@for_merchant
@reports
@at_desk
async def pick(desk: Desk, number: str, package_id: str | None, account: str | None) -> None:
    await _advance(desk, number, account, package_id, PackageState.PICKING)


@order.command("invoice")
@click.argument("number")
@click.option("--invoice-number", default="")
@click.option("--package", "package_id")
@click.option("--account")
@for_merchant
@reports
@at_desk
async def invoice(
    desk: Desk, number: str, invoice_number: str, package_id: str | None, account: str | None
) -> None:
    await _advance(desk, number, account, package_id, PackageState.INVOICED, invoice_number)


@order.command("cancel")
@click.argument("number")
@click.option("--line", "lines", type=Pair(), multiple=True)
@click.option("--reason", type=OneOf(*_REASONS), required=True)
@click.option("--package", "package_id")
@click.option("--account")
@for_merchant
@reports
@at_desk
async def cancel(
    desk: Desk,
    number: str,
    lines: tuple[tuple[str, str], ...],
    reason: str,
    package_id: str | None,
    account: str | None,
) -> None:
    found = await _find(desk, number, account)
    package = _package_of(found, package_id)
    try:
        chosen = chosen_lines(package, _units(lines))
        terms = cancellation(found, package, chosen, reason)
    except UnitsUnknown as unknown:
        raise _units_unknown(package, unknown) from unknown
    await _wish(desk, found, package, PackageState.UNSUPPLIED, terms=terms)


@order.command("split")
@click.argument("number")
@click.option("--group", "groups", multiple=True, required=True)
@click.option("--package", "package_id")
@click.option("--account")
@for_merchant
@reports
@at_desk
async def split(
    desk: Desk,
    number: str,
    groups: tuple[str, ...],
    package_id: str | None,
    account: str | None,
) -> None:
    found = await _find(desk, number, account)
    package = _package_of(found, package_id)
    try:
        chosen = [
            chosen_lines(package, _units([_pair(part) for part in group.split(",")]))
            for group in groups
        ]
        terms = division(package, chosen)
    except UnitsUnknown as unknown:
        raise _units_unknown(package, unknown) from unknown
    await _wish(desk, found, package, PackageState.SUPERSEDED, terms=terms)


def _pair(text: str) -> tuple[str, str]:
    name, _, units = text.strip().partition("=")
    return name, units or "1"


def _units(pairs: Sequence[tuple[str, str]]) -> Mapping[str, int]:
    units: dict[str, int] = {}
    for name, text in pairs:
        if not text.isdecimal():
            raise UnitsUnknown(name)
        units[name] = units.get(name, 0) + int(text)
    return units


def _units_unknown(package: PackageDetail, unknown: UnitsUnknown) -> Failure:
    known = ", ".join(f"{line.item_key}={line.units}" for line in package.lines)
    return Failure("units_unknown", item=str(unknown), known=known)


# — the label —


@order.command("label")
@click.argument("number")
@click.argument("file", type=File())
@click.option("--package", "package_id")
@click.option("--account")
@for_merchant
@reports
@at_desk
async def label(
    desk: Desk, number: str, file: Path, package_id: str | None, account: str | None
) -> None:
    kind = file.suffix.lower()
    if kind not in {".pdf", ".zpl"}:
        raise Failure("label_kind", file=str(file))
    found = await _find(desk, number, account)
    package = _package_of(found, package_id)
    served = await opened_account(desk, await desk.account(found.account))
    answer = await fetch_label(served, found, package)
    if not isinstance(answer, Label):
        raise Failure("label_refused", number=number, words=outcome_words(answer, desk.words))
    is_ours = answer.media_type == "text/plain"
    if is_ours:
        content = await _rendered(desk, found, package, answer.content.decode(), kind)
    else:
        theirs = {"application/pdf": ".pdf", "application/zpl": ".zpl"}[answer.media_type]
        if theirs != kind:
            raise Failure("label_other_kind", file=str(file), suffix=theirs)
        content = answer.content
    _write(file, content)
    if not desk.out.document(
        {
            "order": number,
            "package": package.external_id,
            "file": str(file),
            "is_ours": is_ours,
            "bytes": len(content),
        }
    ):
        desk.out.say("cli.order.labelled" if is_ours else "cli.order.label_saved", file=str(file))


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


async def _rendered(
    desk: Desk, found: OrderDetail, package: PackageDetail, code: str, kind: str
) -> bytes:
    """Our own label with the marketplace's code on it."""
    person = await open_person(desk.hub.database, desk.hub.keys, desk.merchant_id, found)
    if person is None:
        raise Failure("label_no_address", number=found.external_id)
    payer = f"label.{package.cargo_payer}_pays" if package.cargo_payer else ""
    try:
        made = CargoLabel(
            carrier=package.carrier,
            cargo_code=code,
            order_number=found.external_id,
            package_number=package.external_id,
            recipient=Address(**person.shipping_address),
            sender_name=desk.merchant.name,
            captions=Captions.of(desk.words.text),
            desi="" if package.desi is None else str(package.desi.normalize()),
            payment=desk.words.text(payer) if payer else "",
            lines=tuple(f"{line.units} × {line.item_key}" for line in package.lines),
        )
        return render_pdf(made) if kind == ".pdf" else render_zpl(made)
    except UnprintableCode as wrong:
        raise Failure("label_code", code=code) from wrong
