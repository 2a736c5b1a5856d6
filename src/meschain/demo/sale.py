"""One sale told in time: the last unit goes on one marketplace, and the other one knows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from meschain.demo.catalog import STORY_SKU
from meschain.demo.screen import instant
from meschain.registry import marketplace
from meschain.sandbox.clock import epoch_us
from meschain.testing.checker import Comparison, Control, WorldRefused, read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meschain.demo.screen import Screen
    from meschain.testing.checker import CheckedShop, WorldOrder

_WAIT_S_MAX: Final = 30.0
_LOOK_EVERY_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class _Shelf:
    shop: CheckedShop
    key: str

    @property
    def title(self) -> str:
        return marketplace(self.shop.marketplace).manifest.identity.title


class OneSale:
    """The story; what it tells comes from the world's journal and the hub's order book."""

    def __init__(
        self, screen: Screen, control: Control, database_url: str, merchant_id: int
    ) -> None:
        self._screen = screen
        self._control = control
        self._database_url = database_url
        self._merchant_id = merchant_id

    async def tell(self, shops: Sequence[CheckedShop], on_sold: Callable[[], None]) -> None:
        """Sell the last unit (then ``on_sold``), wait for the other shelf, send a buyer there."""
        shelves = await self._shelves(shops)
        if len(shelves) < 2:
            return
        here, there = shelves[0], shelves[1]
        screen, before = self._screen, (await self._control.state()).journal_last_number
        order = await self._buy(here)
        screen.say(
            "demo.sale.sold", at=instant(order.placed_at_us), sku=STORY_SKU, market=here.title
        )
        on_sold()
        known = asyncio.create_task(self._known(here.shop.account_id, order.order_number))
        lowered_us = await self._lowered(there, before)
        seen = await known
        if seen is not None:
            screen.say(
                f"demo.sale.known.{seen[1]}",
                at=instant(seen[0]),
                after=(seen[0] - order.placed_at_us) // 1_000,
            )
        if lowered_us is None:
            screen.say("demo.sale.not_lowered", market=there.title)
            return
        screen.say(
            "demo.sale.lowered",
            at=instant(lowered_us),
            market=there.title,
            after=(lowered_us - order.placed_at_us) // 1_000,
        )
        try:
            await self._buy(there)
        except WorldRefused:
            now = (await self._control.state()).at_us
            screen.say("demo.sale.refused", at=instant(now), market=there.title)
        else:
            screen.say("demo.sale.sold_twice", market=there.title)

    async def _shelves(self, shops: Sequence[CheckedShop]) -> list[_Shelf]:
        """Where the story's goods are listed; first where the marketplace tells of its sales."""
        ledger = await read_ledger(self._database_url, self._merchant_id, with_orders=False)
        listings = Comparison(ledger, shops).listings.values()
        keys = {
            each.account_id: each.push_key
            for each in listings
            if ledger.variants[each.variant_id].sku == STORY_SKU
        }
        found = [_Shelf(each, keys[each.account_id]) for each in shops if each.account_id in keys]
        found.sort(key=lambda each: not marketplace(each.shop.marketplace).manifest.orders.webhook)
        return found

    async def _buy(self, shelf: _Shelf) -> WorldOrder:
        shop = shelf.shop
        return await self._control.place_order(shop.marketplace, shop.seller_id, {shelf.key: 1})

    async def _lowered(self, shelf: _Shelf, after: int) -> int | None:
        """When the shelf was told to show nothing, by the world's journal; None: never."""
        for _ in range(int(_WAIT_S_MAX / _LOOK_EVERY_S)):
            for entry in await self._control.journal(after):
                after = entry.number
                is_there = (entry.marketplace, entry.key) == (shelf.shop.marketplace, shelf.key)
                if is_there and entry.kind == "offer" and entry.facts["quantity"] == 0:
                    return epoch_us(entry.at)
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def _known(self, account_id: int, order_number: str) -> tuple[int, str] | None:
        """When the hub knew of the order, and how."""
        async with await psycopg.AsyncConnection.connect(
            self._database_url, autocommit=True
        ) as connection:
            for _ in range(int(_WAIT_S_MAX / _LOOK_EVERY_S)):
                cursor = await connection.execute(
                    "SELECT first_seen_us, detected_by FROM orders"
                    " WHERE merchant_id = %s AND account_id = %s AND external_id = %s",
                    (self._merchant_id, account_id, order_number),
                )
                row = await cursor.fetchone()
                if row is not None:
                    return row[0], row[1]
                await asyncio.sleep(_LOOK_EVERY_S)
        return None
