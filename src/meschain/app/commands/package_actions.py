"""What a merchant does with a package: pick, invoice, cancel, split – and read it back.

Every action ends with a look at the order, whatever the marketplace answered: what it shows is
what counts, and after an unknown outcome it is the only thing that may be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from meschain.channel.contract import (
    Call,
    ItemOutcomes,
    LeaseExpired,
    OrderPage,
    PackageLine,
    PackageRef,
    Priority,
)
from meschain.channel.http import TransportLost
from meschain.channel.outcome import Accepted, Done, NotSent, Unknown
from meschain.domain.order import LEGAL_TRANSITIONS, PackageState
from meschain.sync.intake import Intake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from meschain.app.queries.order_detail import OrderDetail, PackageDetail
    from meschain.channel.clock import Clock
    from meschain.channel.contract import Label
    from meschain.channel.outcome import Outcome, Problem
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount


class TransitionForbidden(ValueError):
    """The package cannot go there from where it stands."""


class UnitsUnknown(ValueError):
    """The package has no such line, or fewer units of it."""


@dataclass(frozen=True, slots=True)
class Acted:
    """What the marketplace answered, and what came of reading the order again."""

    outcome: Outcome | ItemOutcomes
    reread: Problem | None  # None: the order was read and taken in

    @property
    def is_certain(self) -> bool:
        """Whether what stands now is known."""
        return self.reread is None


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


class PackageDesk:
    """Acts on the packages of one account."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        clock: Clock,
        account: ServedAccount,
        *,
        actor: str,
    ) -> None:
        """``account``: opened for this process."""
        self._database = database
        self._clock = clock
        self._account = account
        self._actor = actor
        self._intake = Intake(
            database,
            keys,
            merchant_id=account.merchant_id,
            account_id=account.account_id,
            name=account.name,
        )

    async def advance(
        self,
        order: OrderDetail,
        package: PackageDetail,
        to: PackageState,
        *,
        invoice_number: str = "",
    ) -> Acted:
        """Report that it is being packed, or invoiced. Raises TransitionForbidden.

        The wish is written down first and stands until the channel shows it; refused, it goes.
        """
        before = None if package.state is None else PackageState(package.state)
        if before is not to and (before is None or to not in LEGAL_TRANSITIONS[before]):
            raise TransitionForbidden(package.state or package.state_raw)
        await self._want(order, package, to)
        outcome = await self._spoken(
            self._account.channel.advance_package(
                reference_of(order, package), to, self._call(), invoice_number=invoice_number
            )
        )
        if not _may_stand(outcome):
            await self._want(order, package, None)
        elif invoice_number and isinstance(outcome, Done | Accepted | ItemOutcomes):
            await self._put_invoice_number(order, package, invoice_number)
        return await self._ended(order, package, f"package.{to.value}", outcome)

    async def cancel(
        self,
        order: OrderDetail,
        package: PackageDetail,
        lines: Sequence[PackageLine],
        reason: str,
    ) -> Acted:
        """Say that these units cannot be supplied."""
        outcome = await self._spoken(
            self._account.channel.cancel_lines(
                reference_of(order, package), lines, reason, self._call()
            )
        )
        return await self._ended(order, package, "package.cancel_lines", outcome)

    async def split(
        self, order: OrderDetail, package: PackageDetail, groups: Sequence[Sequence[PackageLine]]
    ) -> Acted:
        """Make several packages of one."""
        outcome = await self._spoken(
            self._account.channel.split_package(reference_of(order, package), groups, self._call())
        )
        return await self._ended(order, package, "package.split", outcome)

    async def label(self, order: OrderDetail, package: PackageDetail) -> Label | Problem:
        """The marketplace's own label, or the code that ours must carry."""
        try:
            return await self._account.channel.fetch_label(
                reference_of(order, package), self._call()
            )
        except TransportLost as lost:
            return NotSent(lost.detail)

    async def reread(self, number: str) -> Problem | None:
        """Read the order whole and take it in."""
        try:
            page = await self._account.channel.pull_order(number, self._call())
        except TransportLost as lost:
            return NotSent(lost.detail)
        if not isinstance(page, OrderPage):
            return page
        for observed in page.orders:
            await self._intake.take(observed, detected_by="poll", now=self._clock.now())
        return None

    async def _spoken(self, answer: Awaitable[Outcome | ItemOutcomes]) -> Outcome | ItemOutcomes:
        try:
            return await answer
        except LeaseExpired:
            return NotSent("lease_expired")
        except TransportLost as lost:
            return Unknown("lost", lost.detail) if lost.may_have_arrived else NotSent(lost.detail)

    async def _ended(
        self,
        order: OrderDetail,
        package: PackageDetail,
        action: str,
        outcome: Outcome | ItemOutcomes,
    ) -> Acted:
        facts = {
            "order_id": order.order_id,
            "package": package.external_id,
            "outcome": type(outcome).__name__,
        }
        async with self._database.merchant(self._account.merchant_id) as unit:
            await unit.run(
                "catalog.add_audit",
                {
                    "merchant": self._account.merchant_id,
                    "now": self._clock.now(),
                    "actor": self._actor,
                    "action": action,
                    "facts": msgspec.json.encode(facts).decode(),
                },
            )
        return Acted(outcome, await self.reread(order.external_id))

    async def _want(
        self, order: OrderDetail, package: PackageDetail, to: PackageState | None
    ) -> None:
        async with self._database.merchant(self._account.merchant_id) as unit:
            await unit.run(
                "package.want",
                self._key(order, package) | {"state": None if to is None else to.value},
            )

    async def _put_invoice_number(
        self, order: OrderDetail, package: PackageDetail, number: str
    ) -> None:
        async with self._database.merchant(self._account.merchant_id) as unit:
            await unit.run(
                "package.put_invoice_number", self._key(order, package) | {"number": number}
            )

    def _key(self, order: OrderDetail, package: PackageDetail) -> dict[str, object]:
        return {
            "merchant": self._account.merchant_id,
            "order": order.order_id,
            "package": package.external_id,
        }

    def _call(self) -> Call:
        return Call(Priority.CRITICAL, guard=self._account)


def _may_stand(outcome: Outcome | ItemOutcomes) -> bool:
    """Whether the channel may yet show what was asked for."""
    if isinstance(outcome, ItemOutcomes):
        return any(isinstance(each, Done | Unknown) for each in outcome.items.values())
    return isinstance(outcome, Done | Accepted | Unknown)
