"""``meschain why``: a published price and quantity, told back to their causes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import click
import msgspec

from meschain.app.queries.why import NotListed, read_why
from meschain.cli.failure import Failure
from meschain.cli.help import Command, for_merchant, reports
from meschain.cli.session import at_desk

if TYPE_CHECKING:
    from datetime import datetime

    from meschain.app.queries.why import FieldView, LevelView, MovementView, WhyView
    from meschain.cli.session import Desk
    from meschain.messages import Param


@click.command("why", cls=Command)
@click.argument("sku")
@click.argument("account")
@for_merchant
@reports
@at_desk
async def why(desk: Desk, sku: str, account: str) -> None:
    row = await desk.account(account)
    try:
        found = await read_why(
            desk.hub.database, desk.hub.clock, desk.merchant_id, row.account_id, sku
        )
    except NotListed as absent:
        kind = "not_listed" if absent.is_known else "sku_unknown"
        raise Failure(kind, sku=sku, name=account) from absent
    document = {
        **msgspec.structs.asdict(found),
        "agrees": found.agrees,
        "ledger_agrees": all(level.agrees for level in found.levels),
    }
    if not desk.out.document(document):
        _Teller(desk, found).tell()


class _Teller:
    """Says it in the order in which a number comes to be."""

    def __init__(self, desk: Desk, why: WhyView) -> None:
        self._out = desk.out
        self._words = desk.words
        self._why = why

    def tell(self) -> None:
        why = self._why
        self._head(
            "head",
            sku=why.sku,
            account=why.account,
            state=self._words.text(f"page.account.state_{why.account_state}"),
            listing_state=self._words.text(f"listing_state.{why.listing_state}"),
        )
        self._out.line()
        self._tell_quantity()
        self._tell_field(0)
        self._out.line()
        self._tell_price()
        self._tell_field(1)
        if why.last_ticket is not None:
            ticket = why.last_ticket
            self._out.line()
            self._head(
                "last_ticket",
                ticket=ticket.ticket_id,
                reference=ticket.reference or "–",
                sent=self._age(ticket.sent_at),
                ended=self._age(ticket.ended_at),
                outcome=self._words.text(f"cli.ticket.{ticket.outcome or 'unknown'}"),
            )
        self._tell_promises()
        self._tell_ledger()

    # — quantity —

    def _tell_quantity(self) -> None:
        why = self._why
        self._head("quantity", units=self._units(why.quantity_desired))
        for level in why.levels:
            self._tell_level(level)
        if not why.levels:
            self._say("never_counted")
        if why.is_bundle:
            self._say("bundle", count=why.available)
        self._say("available", count=why.available)
        shared = why.available * why.share_bps // 10_000
        if why.share_bps != 10_000:
            share = self._words.percent(Decimal(why.share_bps) / 100)
            self._say("own_share" if why.is_own_share else "share", share=share, count=shared)
        if why.buffer_units:
            rest = max(0, shared - why.buffer_units)
            key = "own_buffer" if why.is_own_buffer else "buffer"
            self._say(key, units=self._units(why.buffer_units), count=rest)
        if why.quantity_max is not None and shared - why.buffer_units > why.quantity_max:
            self._say("maximum", count=why.quantity_max)
        if why.quantity_kept_at is not None:
            self._say(
                "quantity_kept",
                by=self._kept_by(why.quantity_kept_by),
                age=self._age(why.quantity_kept_at),
            )
        if why.quantity_desired is None:
            self._say("no_offer")
        elif why.agrees:
            self._say("agrees", units=self._units(why.quantity_recomputed))
        else:
            self._say(
                "disagrees",
                style="red",
                computed=self._units(why.quantity_recomputed),
                stored=self._units(why.quantity_desired),
            )
        self._tell_shelf()

    def _tell_level(self, level: LevelView) -> None:
        self._say(
            "level_of_bundle" if self._why.is_bundle else "level",
            sku=level.sku,
            location=level.location,
            on_hand=level.on_hand,
            reserved=level.reserved,
            safety=level.safety_stock,
            count=level.available,
            each=level.units_per_bundle,
        )
        if not level.agrees:
            self._say(
                "level_disagrees",
                style="red",
                sku=level.sku,
                on_hand=level.ledger_on_hand,
                reserved=level.ledger_reserved,
                reservations=level.reservations,
            )

    def _tell_shelf(self) -> None:
        why = self._why
        if why.quantity_shown is None:
            self._say("shelf_unknown")
            return
        self._say(
            "shelf",
            units=self._units(why.quantity_shown),
            known=self._age(why.shown_since),
            acknowledged=why.quantity_acknowledged_revision or 0,
            revision=why.quantity_revision or 0,
        )
        if why.own_units:
            self._say(
                "own_sales",
                units=self._units(why.own_units),
                orders=self._words.text("count.orders", count=why.own_orders),
                expected=self._units(why.quantity_shown - why.own_units),
            )
        if (why.quantity_desired or 0) > why.quantity_shown:
            self._say("rise", known=self._age(why.orders_fresh_at))

    # — price —

    def _tell_price(self) -> None:
        why = self._why
        money = self._out.money
        self._head("price", sale=money(why.sale_price_desired))
        self._say(
            "price_of_variant",
            sale=money(why.sale_price),
            list=money(why.list_price),
            vat="–" if why.vat_percent is None else self._words.percent(Decimal(why.vat_percent)),
            changed=self._age(why.priced_at),
        )
        if why.sale_price_kept is not None:
            self._say(
                "price_kept",
                sale=money(why.sale_price_kept),
                list=money(why.list_price_kept),
                by=self._kept_by(why.price_kept_by),
                age=self._age(why.price_kept_at),
            )
        if why.sale_price_shown is None:
            self._say("price_unknown")
        else:
            self._say(
                "price_shown",
                sale=money(why.sale_price_shown),
                list=money(why.list_price_shown),
                acknowledged=why.price_acknowledged_revision or 0,
                revision=why.price_revision or 0,
            )

    # — between us and the channel —

    def _tell_field(self, place: int) -> None:
        field: FieldView = self._why.fields[place]
        if field.sent_at is not None:
            self._say(
                "in_flight",
                value=self._units(field.sent_quantity)
                if field.field == "quantity"
                else self._out.money(field.sent_sale_price),
                revision=field.sent_revision or 0,
                age=self._age(field.sent_at),
                ticket=field.ticket_id or 0,
                reference=field.reference or "–",
            )
        if field.waiting_since is not None:
            self._say("waiting", age=self._age(field.waiting_since))
        if field.conflict_since is not None:
            self._say(
                "conflict",
                style="red",
                value=self._units(field.their_quantity)
                if field.field == "quantity"
                else self._out.money(field.their_sale_price),
                age=self._age(field.conflict_since),
            )
        if field.looking_since is not None:
            reason = self._words.text(f"cli.why.looking_{field.looking_reason}")
            self._say("looking", age=self._age(field.looking_since), reason=reason)
        if field.refused_at is not None:
            advice = field.advice or "advice.offer.refused"
            self._say(
                "refused",
                style="red",
                age=self._age(field.refused_at),
                words=" ".join(part for part in (field.code, field.words) if part) or "–",
                advice=self._words.text(advice),
            )

    def _kept_by(self, who: str | None) -> str:
        return self._words.text("cli.why.by_rule") if who == "rule" else who or "–"

    # — where the units went —

    def _tell_promises(self) -> None:
        if not self._why.reservations:
            return
        self._out.line()
        self._head("reservations")
        for promise in self._why.reservations:
            self._say(
                "reservation",
                units=self._units(promise.units),
                sku=promise.sku,
                order=promise.order_number,
                account=promise.account,
                age=self._age(promise.placed_at),
            )

    def _tell_ledger(self) -> None:
        if not self._why.movements:
            return
        self._out.line()
        self._head("ledger", count=len(self._why.movements))
        self._out.table(
            ("occurred", "sku", "movement", "on_hand_delta", "reserved_delta", "cause"),
            [self._movement(each) for each in self._why.movements],
            right="on_hand_delta reserved_delta",
        )

    def _movement(self, movement: MovementView) -> tuple[str, ...]:
        cause = movement.reason or movement.actor
        if movement.order_number:
            cause = self._words.text(
                "cli.why.by_order", order=movement.order_number, account=movement.account or ""
            )
        return (
            self._age(movement.occurred_at),
            movement.sku,
            self._words.text(f"cli.movement.{movement.kind}"),
            signed(movement.on_hand_delta),
            signed(movement.reserved_delta),
            cause,
        )

    # — words —

    def _head(self, key: str, **params: Param) -> None:
        self._out.say(f"cli.why.{key}", style="bold", **params)

    def _say(self, key: str, *, style: str = "", **params: Param) -> None:
        self._out.line("  " + self._words.text(f"cli.why.{key}", **params), style=style)

    def _units(self, count: int | None) -> str:
        return "–" if count is None else self._words.text("count.units", count=count)

    def _age(self, at: datetime | None) -> str:
        return self._out.age(at, self._why.at)


def signed(delta: int) -> str:
    """A change with its sign; "" for none."""
    return f"{delta:+d}" if delta else ""
