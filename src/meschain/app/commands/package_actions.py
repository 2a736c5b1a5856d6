"""What a merchant does with a package: pick, invoice, cancel, split.

All four are wishes: recorded in one transaction, carried out by the order lane of whoever serves
the account (``sync.package_lane``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, PackageLine, PackageRef, Priority
from meschain.channel.http import TransportLost
from meschain.channel.outcome import Done, NotSent
from meschain.domain.order import LEGAL_TRANSITIONS, PackageState
from meschain.sync.package_wish import (
    Terms,
    UnitsUnknown,
    WishPhase,
    alert_subject,
    outcome_of,
    refused_alerts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meschain.app.queries.order_detail import OrderDetail, PackageDetail
    from meschain.channel.clock import Clock
    from meschain.channel.contract import ItemOutcomes, Label
    from meschain.channel.outcome import Outcome, Problem
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount


LOOK_S_MIN: Final = 0.02  # how often a waiting command asks how far its wish is
LOOK_S_MAX: Final = 0.2


class TransitionForbidden(ValueError):
    """The package cannot go there from where it stands."""


class WishUnderWay(TransitionForbidden):
    """Another cancellation or split of the package has begun, and nobody has seen its end."""


class InvoiceUnderWay(TransitionForbidden):
    """It is invoiced under another number, or that number may just have arrived."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish as it was recorded; ``wish_us`` names it. ``state``: what is to stand."""

    merchant_id: int
    order_id: int
    package_id: str
    state: PackageState
    wish_us: int


@dataclass(frozen=True, slots=True)
class Wished:
    """How far a wish is. ``outcome`` is the marketplace's last answer, None: it gave none yet.

    ``is_open``: it is still to be carried out.
    """

    is_taken: bool
    is_open: bool
    outcome: Outcome | ItemOutcomes | None


async def wish_package(
    database: Database,
    clock: Clock,
    merchant_id: int,
    order: OrderDetail,
    package: PackageDetail,
    to: PackageState,
    *,
    actor: str,
    invoice_number: str = "",
    terms: Terms | None = None,
) -> Wish | None:
    """Ask that it be packed, or invoiced; None: it stands so already, by all that is known.

    With ``terms`` that units be cancelled (``UNSUPPLIED``), or that it be split (``SUPERSEDED``).
    One transaction; asking again for what is under way joins it. Raises TransitionForbidden,
    WishUnderWay, InvoiceUnderWay.
    """
    assert (terms is not None) == (to in {PackageState.UNSUPPLIED, PackageState.SUPERSEDED})
    stands = package.standing
    before = None if stands is None else PackageState(stands)
    if before is to:
        if invoice_number and package.invoice_number not in {"", invoice_number}:
            raise InvoiceUnderWay(package.external_id)
        return None
    if before is None or to not in LEGAL_TRANSITIONS[before]:
        raise TransitionForbidden(package.state or package.state_raw)
    now = clock.now()
    key: dict[str, object] = {
        "merchant": merchant_id,
        "account": order.account_id,
        "order": order.order_id,
        "package": package.external_id,
        "state": to.value,
        "invoice_number": invoice_number,
        "actor": actor,
        "terms": None if terms is None else msgspec.json.encode(terms).decode(),
        "now": now,
        "now_us": microseconds(now),
    }
    facts = {
        "order_id": order.order_id,
        "package": package.external_id,
        "invoice_number": invoice_number,
        "terms": terms,
    }
    async with database.merchant(merchant_id) as unit:
        await unit.run("package.want", key)
        row = await unit.row("package.put_wish", key)
        if row is None:
            under_way = InvoiceUnderWay if invoice_number else WishUnderWay
            raise under_way(package.external_id)
        subject = alert_subject(order.external_id, package.external_id)
        for kind in refused_alerts():
            await unit.run("order.resolve_alerts", key | {"kind": kind, "subject": subject})
        said = msgspec.json.encode(facts).decode()
        await unit.run("catalog.add_audit", key | {"action": f"package.{to.value}", "facts": said})
        unit.wake([order.account_id])
    return Wish(merchant_id, order.order_id, package.external_id, to, row[0])


async def await_wish(database: Database, clock: Clock, wish: Wish, *, timeout_s: float) -> Wished:
    """Wait until the marketplace has said yes or no, at most ``timeout_s`` seconds."""
    until_s = clock.monotonic_s() + timeout_s
    wait_s = LOOK_S_MIN
    while True:
        found = await _how_far(database, wish)
        if not found.is_open or clock.monotonic_s() >= until_s:
            return found
        await clock.sleep(wait_s)
        wait_s = min(LOOK_S_MAX, wait_s * 2)


async def _how_far(database: Database, wish: Wish) -> Wished:
    key: dict[str, object] = {
        "merchant": wish.merchant_id,
        "order": wish.order_id,
        "package": wish.package_id,
        "wish_us": wish.wish_us,
    }
    async with database.merchant(wish.merchant_id) as unit:
        row = await unit.row("package.wish", key)
    if row is None:
        return Wished(is_taken=False, is_open=False, outcome=NotSent("replaced"))
    phase, is_over, is_there, document = row
    outcome = None if document is None else outcome_of(document)
    is_taken = (
        is_there or phase == WishPhase.TAKEN or (phase == WishPhase.ENDED and outcome == Done())
    )
    return Wished(is_taken, not is_taken and not is_over, outcome)


def reference_of(order: OrderDetail, package: PackageDetail) -> PackageRef:
    """The package as a channel names it."""
    lines = tuple(PackageLine(line.line_id, line.units) for line in package.lines)
    return PackageRef(order.external_id, package.external_id, lines, package.cargo_code)


def chosen_lines(package: PackageDetail, wanted: Mapping[str, int]) -> list[PackageLine]:
    """Units by line id, item key or SKU as given; empty: all. Raises UnitsUnknown."""
    if not wanted:
        return [PackageLine(line.line_id, line.units) for line in package.lines]
    chosen: list[PackageLine] = []
    for name, units in wanted.items():
        line = next((x for x in package.lines if name in {x.line_id, x.item_key}), None)
        if line is None or not 0 < units <= line.units:
            raise UnitsUnknown(name)
        chosen.append(PackageLine(line.line_id, units))
    return chosen


def cancellation(
    order: OrderDetail, package: PackageDetail, lines: Sequence[PackageLine], reason: str
) -> Terms:
    """That these units cannot be supplied. Raises UnitsUnknown."""
    items = {line.line_id: line.item_key for line in package.lines}
    units = Counter[str]()
    for other in order.packages:
        if other.state == PackageState.UNSUPPLIED:
            for line in other.lines:
                units[line.item_key] += line.units
    for each in lines:
        units[items[each.line_id]] += each.units
    wanted = {items[each.line_id]: units[items[each.line_id]] for each in lines}
    return Terms.of(_stood(package), [lines], reason=reason, unsupplied=wanted)


def division(package: PackageDetail, groups: Sequence[Sequence[PackageLine]]) -> Terms:
    """That each group becomes a package; what is not named stays together. Raises UnitsUnknown."""
    return Terms.of(_stood(package), groups)


def _stood(package: PackageDetail) -> dict[str, int]:
    return {line.line_id: line.units for line in package.lines}


async def fetch_label(
    account: ServedAccount, order: OrderDetail, package: PackageDetail
) -> Label | Problem:
    """The marketplace's own label, or the code that ours must carry."""
    call = Call(Priority.NORMAL, guard=account)
    try:
        return await account.channel.fetch_label(reference_of(order, package), call)
    except TransportLost as lost:
        return NotSent(lost.detail)
