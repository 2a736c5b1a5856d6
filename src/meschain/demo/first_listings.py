"""The first listings of an account: link what is there, publish the rest, arm."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from meschain.app.commands.arm_account import ArmingLimits, ArmingStopped, arm_account
from meschain.app.commands.mapping import apply_mapping, read_mapping
from meschain.registry import marketplaces
from meschain.sync.listing import (
    advance_publications,
    link_listings,
    plan_publication,
    publish_listings,
)

if TYPE_CHECKING:
    from meschain.bootstrap import Hub
    from meschain.demo.screen import Screen
    from meschain.sandbox.facade import AccountLine
    from meschain.sync.listing import PublicationPlan, Storefront
    from meschain.testing.checker import Control

_ACTOR: Final = "demo"
# One in so many variants was already listed by hand, somewhat dearer and with an older quantity.
_LISTED_BEFORE: Final = 12
_DEARER_PERCENT: Final = 105
_ROUNDS_MAX: Final = 300
_ROUND_S: Final = 0.3
_UNMAPPED_SHOWN: Final = 3

_SOME_VARIANTS: Final = """
SELECT v.sku, v.barcode, v.list_price_minor, v.sale_price_minor, v.vat_percent::integer, c.title,
       (SELECT coalesce(sum(on_hand), 0)::integer FROM stock_level s
         WHERE s.merchant_id = v.merchant_id AND s.variant_id = v.variant_id)
  FROM variant v
  JOIN product_content c ON c.merchant_id = v.merchant_id AND c.product_id = v.product_id
                        AND c.language = 'tr'
 WHERE v.merchant_id = %s AND v.barcode IS NOT NULL AND NOT v.is_bundle
   AND v.variant_id %% %s = %s
 ORDER BY v.variant_id
"""


class CannotPrepare(RuntimeError):
    """The preparation came to no end; the text says where."""


@dataclass(frozen=True, slots=True)
class FirstListings:
    """One account on its first day."""

    hub: Hub
    screen: Screen
    control: Control
    line: AccountLine
    storefront: Storefront

    @property
    def title(self) -> str:
        return self.storefront.manifest.identity.title

    async def list_all(self) -> None:
        """Mapping, linking, publishing, until the marketplace has approved all it will."""
        self.screen.doing("demo.linking", market=self.title)
        await self._map()
        await self._list_by_hand()
        await self._link()
        self.screen.doing("demo.planning", market=self.title)
        plan = await plan_publication(self.storefront, limit=1_000_000)
        self._tell(plan)
        report = await publish_listings(self.storefront, plan)
        if report.problem is not None:
            raise CannotPrepare(f"{self.title}: {report.problem}")
        states: Counter[str] = Counter()
        for number in range(_ROUNDS_MAX):
            advanced = await advance_publications(self.storefront)
            states += advanced.states
            is_still = not advanced.open and not advanced.states and advanced.problem is None
            if is_still and number:
                break
            done = states["on_sale"] + states["off_sale"]
            self.screen.doing("demo.publishing", market=self.title, done=done, count=report.sent)
            await asyncio.sleep(_ROUND_S)
        else:
            raise CannotPrepare(f"{self.title}: {dict(states)}")
        self.screen.say(
            "demo.published",
            market=self.title,
            count=states["on_sale"] + states["off_sale"],
            rejected=states["rejected"],
        )

    async def arm(self) -> None:
        """From here on the hub writes. Raises CannotPrepare where the limits stop it."""
        hub, storefront = self.hub, self.storefront
        try:
            counts = await arm_account(
                hub.database,
                hub.clock,
                storefront.merchant_id,
                storefront.account_id,
                ArmingLimits(),
                actor=_ACTOR,
            )
        except ArmingStopped as stopped:
            raise CannotPrepare(f"{self.title}: {stopped} {stopped.counts}") from stopped
        self.screen.say(
            "demo.armed",
            market=self.title,
            count=counts.listings,
            zero=counts.to_zero,
            jumps=counts.price_jumps,
            rises=counts.quantity_rises,
        )

    # — steps —

    async def _map(self) -> None:
        path = resources.files(__package__) / "mapping" / f"{self.line.marketplace}.csv"
        reading = read_mapping(Path(str(path)), list(marketplaces()))
        plan = await apply_mapping(
            self.hub.database,
            self.hub.clock,
            self.storefront.merchant_id,
            reading,
            actor=_ACTOR,
            file_name=path.name,
        )
        count = plan.counts["created"]
        self.screen.say("demo.mapped", market=self.title, count=count, name=path.name)

    async def _list_by_hand(self) -> None:
        """What the merchant had put up on the marketplace's own panel before there was a hub."""
        async with await psycopg.AsyncConnection.connect(
            self.hub.settings.database_url
        ) as connection:
            share = self.storefront.account_id % _LISTED_BEFORE
            params = (self.storefront.merchant_id, _LISTED_BEFORE, share)
            rows = await (await connection.execute(_SOME_VARIANTS, params)).fetchall()
        shelves: list[dict[str, object]] = [
            {
                "barcode": barcode,
                "stock_code": sku,
                "title": title,
                "quantity": on_hand + 1 if on_hand else 0,
                "list_minor": list_minor * _DEARER_PERCENT // 100,
                "sale_minor": sale_minor * _DEARER_PERCENT // 100,
                "vat_percent": vat_percent,
            }
            for sku, barcode, list_minor, sale_minor, vat_percent, title, on_hand in rows
        ]
        if shelves:
            await self.control.add_shelves(self.line.marketplace, self.line.seller_id, shelves)

    async def _link(self) -> None:
        linked = await link_listings(self.storefront)
        if linked.problem is not None:
            raise CannotPrepare(f"{self.title}: {linked.problem}")
        self.screen.say(
            "demo.linked",
            market=self.title,
            swept=linked.swept,
            count=len(linked.matching.links),
            conflicts=len(linked.matching.conflicts),
        )

    def _tell(self, plan: PublicationPlan) -> None:
        if plan.problem is not None:
            raise CannotPrepare(f"{self.title}: {plan.problem}")
        self.screen.say(
            "demo.publication",
            market=self.title,
            count=len(plan.ready),
            incomplete=len(plan.incomplete),
        )
        for draft in plan.incomplete[:_UNMAPPED_SHOWN]:
            for problem in draft.problems[:1]:
                why = self.screen.text(problem.key, **problem.params)
                self.screen.point("demo.incomplete", sku=draft.sku, why=why)
