"""Buyers' personal data: how long it is kept, whose it is, and its erasure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec

from meschain.app.commands.erase_personal_data import (
    Erased,
    erase_due,
    erase_on_request,
    set_term,
)
from meschain.app.queries.personal_data import (
    Found,
    FoundPast,
    Wanted,
    find_buyer,
    read_asked,
    read_due,
    read_found,
    read_past,
    read_terms,
)
from meschain.cli.failure import Failure
from meschain.cli.help import Group, Misused, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.registry import marketplace as find_marketplace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.cli.session import Desk

DAYS_MAX: Final = 3_650
_PROVEN: Final = ("what", "kept", "beyond", "left")


@click.group("personal-data", cls=Group)
def personal_data() -> None:
    pass


@personal_data.command("due")
@for_merchant
@reports
@at_desk
async def due(desk: Desk) -> None:
    await _say_due(desk)


async def _say_due(desk: Desk) -> None:
    accounts = await read_due(desk.hub.database, desk.merchant_id, desk.hub.clock.now())
    asked = await read_asked(desk.hub.database, desk.merchant_id)
    if desk.out.document({"accounts": accounts, "asked": asked}):
        return
    desk.out.table(
        ("account", "personal.days", "personal.due", "oldest", "personal.open"),
        [
            (
                each.account,
                desk.out.number(each.days),
                desk.out.number(each.due),
                "–" if each.oldest_at is None else desk.words.moment(each.oldest_at, "date"),
                desk.out.number(each.open),
            )
            for each in accounts
        ],
        right="personal.days personal.due personal.open",
    )
    for each in asked:
        kind = "asked_due" if each.has_ended else "asked_open"
        desk.out.say(f"cli.personal-data.{kind}", number=each.number)


@personal_data.command("keep")
@click.argument("account")
@click.option("--days", type=Whole(1, DAYS_MAX))
@for_merchant
@reports
@at_desk
async def keep(desk: Desk, account: str, days: int | None) -> None:
    row = await desk.account(account)
    most = find_marketplace(row.marketplace).manifest.orders.personal_days_max
    if days is not None:
        if most is not None and days > most:
            raise Failure("personal_data_days", name=account, days=days, most=most)
        await set_term(
            desk.hub.database,
            desk.hub.clock,
            desk.merchant_id,
            row.account_id,
            days,
            actor=desk.actor,
        )
    terms = await read_terms(desk.hub.database, desk.merchant_id)
    kept = next(each.days for each in terms if each.account_id == row.account_id)
    if desk.out.document({"account": row.name, "days": kept, "days_max": most}):
        return
    desk.out.say("cli.personal-data.kept", name=row.name, count=kept)


@personal_data.command("find")
@click.argument("text")
@for_merchant
@reports
@at_desk
async def find(desk: Desk, text: str) -> None:
    met = await _of_buyer(desk, text)
    if desk.out.document({"orders": met.orders, "past_orders": met.past}):
        return
    if not met:
        desk.out.say("cli.personal-data.nobody")
        return
    _show(desk, met)


@dataclass(frozen=True, slots=True)
class _Met:
    """What an erasure is about."""

    orders: Sequence[Found]
    past: Sequence[FoundPast]

    @property
    def unended(self) -> list[str]:
        """Numbers of orders whose buyers still wait for something."""
        kept = [each for each in self.orders if each.erased_at is None]
        return [each.number for each in kept if not each.has_ended]

    def __bool__(self) -> bool:
        return bool(self.orders or self.past)


async def _of_buyer(desk: Desk, text: str) -> _Met:
    hub, text = desk.hub, text.strip()
    with desk.out.progress("cli.personal-data.searching") as tick:
        orders = await find_buyer(hub.database, hub.keys, desk.merchant_id, Wanted(text), tick)
    past = await read_past(hub.database, desk.merchant_id, numbers=(text,), buyer=text)
    return _Met(orders, past)


async def _of_numbers(desk: Desk, numbers: Sequence[str], account: str | None) -> _Met:
    hub = desk.hub
    row = None if account is None else await desk.account(account)
    orders = await read_found(
        hub.database,
        hub.keys,
        desk.merchant_id,
        numbers=numbers,
        account_id=None if row is None else row.account_id,
    )
    past: Sequence[FoundPast] = ()
    if row is None:
        past = await read_past(hub.database, desk.merchant_id, numbers=numbers)
    for number, count in Counter(each.number for each in orders).items():
        if count > 1:
            known = ", ".join(each.account for each in orders if each.number == number)
            raise Failure("order_which", number=number, known=known)
    known_numbers = {each.number for each in orders} | {each.number for each in past}
    for number in numbers:
        if number not in known_numbers:
            raise Failure("order_unknown", number=number)
    return _Met(orders, past)


@personal_data.command("erase")
@click.argument("numbers", nargs=-1)
@click.option("--buyer")
@click.option("--account")
@click.option("--due", "is_due", is_flag=True)
@click.option("--plan", "is_plan", is_flag=True)
@click.option("--when-ended", is_flag=True)
@for_merchant
@reports
@at_desk
async def erase(
    desk: Desk,
    *,
    numbers: tuple[str, ...],
    buyer: str | None,
    account: str | None,
    is_due: bool,
    is_plan: bool,
    when_ended: bool,
) -> None:
    if bool(numbers) + (buyer is not None) + is_due != 1:
        raise Misused("erase_what", click.get_current_context())
    if is_due:
        await (_say_due(desk) if is_plan else _erase_due(desk))
        return
    if buyer is not None and Wanted(buyer).is_name:
        raise Failure("personal_data_name", name=buyer)
    met = await (_of_numbers(desk, numbers, account) if buyer is None else _of_buyer(desk, buyer))
    if not met:
        raise Failure("personal_data_nobody")
    if is_plan:
        if not desk.out.document({"is_plan": True, "orders": met.orders, "past_orders": met.past}):
            _show(desk, met)
            desk.out.say("cli.personal-data.planned")
        return
    if met.unended and not when_ended:
        raise Failure("personal_data_open", numbers=", ".join(met.unended))
    hub = desk.hub
    erased = await erase_on_request(
        hub.database,
        hub.clock,
        desk.merchant_id,
        met.orders,
        met.past,
        log=desk.session.settings.erasure_log,
        actor=desk.actor,
    )
    order_ids = [each.order_id for each in met.orders]
    after = await read_found(hub.database, hub.keys, desk.merchant_id, order_ids=order_ids)
    _prove(desk, after, met.past, erased)


async def _erase_due(desk: Desk) -> None:
    done = await erase_due(desk.hub.database, desk.hub.clock, desk.merchant_id, actor=desk.actor)
    asked = done.pop("", 0)
    if desk.out.document({"erased": done, "erased_asked": asked}):
        return
    for name, count in done.items():
        desk.out.say("cli.personal-data.erased_of", name=name, count=count)
    if asked:
        desk.out.say("cli.personal-data.erased_asked", count=asked)
    if not done and not asked:
        desk.out.say("cli.personal-data.nothing_due")


def _show(desk: Desk, met: _Met) -> None:
    """With the buyers: whoever asks must see that they are the right ones."""
    desk.out.table(
        ("order", "account", "placed", "buyer", "personal.contact", "state"),
        [
            (
                each.number,
                each.account,
                desk.words.moment(each.placed_at, "date"),
                *_buyer(desk, each),
                _state(desk, each),
            )
            for each in met.orders
        ]
        + [
            (
                each.number,
                each.source,
                desk.words.moment(each.placed_at, "date"),
                "–",
                "–",
                desk.words.text("cli.personal-data.state_past"),
            )
            for each in met.past
        ],
    )


def _buyer(desk: Desk, found: Found) -> tuple[str, str]:
    """Name, and how they are reached."""
    if found.person is None:
        return (desk.words.text("cli.personal-data.erased"), "–")
    buyer, to = found.person.buyer, found.person.shipping_address
    contact = (str(buyer.get("email") or ""), to.get("phone", ""))
    return str(buyer.get("full_name") or ""), " ".join(filter(None, contact)) or "–"


def _state(desk: Desk, found: Found) -> str:
    if found.erased_at is not None:
        return _since(desk, found.erased_at)
    kind = "ended" if found.has_ended else "asked" if found.is_asked else "open"
    return desk.words.text(f"cli.personal-data.state_{kind}")


class _ProofRow(msgspec.Struct, frozen=True):
    """An order in a proof; ``erased_at`` None: as soon as it has ended."""

    number: str
    account: str
    placed_at: datetime
    erased_at: datetime | None


def _prove(desk: Desk, orders: Sequence[Found], past: Sequence[FoundPast], erased: Erased) -> None:
    """What was erased, for whoever asked; nothing of the buyer stands in it."""
    words = desk.words
    rows = [_ProofRow(o.number, o.account, o.placed_at, o.erased_at) for o in orders]
    rows += [_ProofRow(p.number, p.source, p.placed_at, p.erased_at or erased.at) for p in past]
    if not desk.out.document({"at": erased.at, "orders": rows, "rows_left": erased.left}):
        at = words.moment(erased.at, "datetime")
        desk.out.say("cli.personal-data.proof", name=desk.merchant.name, at=at, style="bold")
        desk.out.table(
            ("order", "account", "placed", "state"),
            [
                (each.number, each.account, words.moment(each.placed_at, "date"),
                 words.text("cli.personal-data.state_asked") if each.erased_at is None
                 else _since(desk, each.erased_at))
                for each in rows
            ],
        )  # fmt: skip
        if any(each.erased_at for each in rows):
            for kind in _PROVEN[:-1] if erased.left else _PROVEN:
                desk.out.say(f"cli.personal-data.proof_{kind}")
    if erased.left:
        raise Failure("personal_data_left", count=erased.left)


def _since(desk: Desk, at: datetime) -> str:
    return desk.words.text("cli.personal-data.erased_at", date=desk.words.moment(at, "date"))
