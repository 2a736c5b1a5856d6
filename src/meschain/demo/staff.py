"""The merchant's staff: they pick, invoice and hand over, at the hub's own package desk."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from meschain.app.commands.package_actions import TransitionForbidden, await_wish, wish_package
from meschain.app.queries.order_detail import read_order
from meschain.domain.order import PackageState
from meschain.testing.checker import Control, WorldRefused

if TYPE_CHECKING:
    from meschain.app.queries.order_detail import OrderDetail, PackageDetail
    from meschain.bootstrap import Hub
    from meschain.sync.account import ServedAccount

_BREAK_S: Final = 0.5
_HANDS: Final = 2  # of one account: a few people, not a factory
_PATIENCE_S: Final = 10.0  # then somebody asks again

# Packages that wait for a hand, oldest first.
_WAITING: Final = """
SELECT o.external_id, p.external_id
  FROM package p
  JOIN orders o ON o.merchant_id = p.merchant_id AND o.order_id = p.order_id
 WHERE p.merchant_id = %(merchant)s AND o.account_id = %(account)s
   AND p.state IN ('created', 'picking', 'invoiced')
   AND NOT p.external_id = ANY (%(laid)s)
 ORDER BY p.order_id, p.external_id
 LIMIT 1
"""


class Staff:
    """Works until cancelled; ``counts`` says what was done."""

    def __init__(self, hub: Hub, control: Control) -> None:
        self._hub = hub
        self._control = control
        self._laid: dict[str, float] = {}  # package → until when nobody touches it (loop time)
        self._shelf = asyncio.Lock()
        self._invoices = 0
        self.counts: Counter[str] = Counter()

    async def work(self) -> None:
        """All hands of all accounts."""
        async with asyncio.TaskGroup() as group:
            for account in self._hub.engine.accounts:
                for _ in range(_HANDS):
                    group.create_task(self._work(account))

    async def _work(self, account: ServedAccount) -> None:
        while True:
            async with self._shelf:  # two hands never take the same package
                found = await self._next(account)
                if found is not None:
                    self._lay(found[1], _PATIENCE_S)
            if found is None:
                await asyncio.sleep(_BREAK_S)
                continue
            order, package = found
            await self._handle(account, order, package)

    async def _next(self, account: ServedAccount) -> tuple[str, str] | None:
        now_s = asyncio.get_running_loop().time()
        self._laid = {name: until for name, until in self._laid.items() if until > now_s}
        async with self._hub.database.merchant(account.merchant_id) as unit:
            cursor = await unit.connection.execute(
                _WAITING,
                {
                    "merchant": account.merchant_id,
                    "account": account.account_id,
                    "laid": list(self._laid),
                },
            )
            row = await cursor.fetchone()
        return None if row is None else (row[0], row[1])

    def _lay(self, package: str, seconds: float) -> None:
        self._laid[package] = asyncio.get_running_loop().time() + seconds

    async def _handle(self, account: ServedAccount, number: str, package_id: str) -> None:
        """Bring one package one step on."""
        order = await read_order(
            self._hub.database, account.merchant_id, number, account_id=account.account_id
        )
        package = next(each for each in order.packages if each.external_id == package_id)
        try:
            if package.standing == PackageState.CREATED:
                is_taken = await self._ask(order, package, account, PackageState.PICKING)
            elif package.standing == PackageState.PICKING and _invoices(account):
                self._invoices += 1
                number = f"ORN2026{self._invoices:09d}"
                is_taken = await self._ask(order, package, account, PackageState.INVOICED, number)
            else:
                await self._hand_over(package_id, package.cargo_code)
                return
        except TransitionForbidden:
            return  # it moved on while it was being fetched
        self.counts["actions" if is_taken else "actions_failed"] += 1
        if is_taken:
            self._lay(package_id, 0)  # the next step may follow

    async def _ask(
        self,
        order: OrderDetail,
        package: PackageDetail,
        account: ServedAccount,
        to: PackageState,
        invoice_number: str = "",
    ) -> bool:
        """Whether the marketplace took it; what it left open, the hub goes on with by itself."""
        hub = self._hub
        wish = await wish_package(
            hub.database,
            hub.clock,
            account.merchant_id,
            order,
            package,
            to,
            actor="staff",
            invoice_number=invoice_number,
        )
        if wish is None:
            return True
        wished = await await_wish(hub.database, hub.clock, wish, timeout_s=_PATIENCE_S)
        return wished.is_taken

    async def _hand_over(self, package_id: str, cargo_code: str) -> None:
        """The label is scanned by the carrier; that alone moves the package on."""
        try:
            await self._control.scan(cargo_code)
        except WorldRefused:
            return  # cancelled or split meanwhile; the hub will hear of it
        self.counts["handed_over"] += 1
        self._lay(package_id, _PATIENCE_S)


def _invoices(account: ServedAccount) -> bool:
    return "advance_package.invoiced" not in account.manifest.lacks
