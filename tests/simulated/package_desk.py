"""Packages of a shop on both façades: orders as the hub knows them, and what a command would do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from meschain.app.commands.package_actions import Wished, await_wish, wish_package
from meschain.app.queries.order_detail import OrderDetail, read_order
from meschain.channel.clock import microseconds
from meschain.domain.order import PackageState
from meschain.sandbox.world import Order
from meschain.sync.package_wish import Terms
from meschain.testing.trade import Trade

EAST, WEST = "trendyol", "n11"
ALERTS = "SELECT kind, params ->> 'words' FROM alert WHERE resolved_us IS NULL"


async def ordered(trade: Trade, marketplace: str, basket: Mapping[str, int] | None = None) -> Order:
    """An order that the hub knows."""
    order = trade.buy(marketplace, basket or {"A": 1, "B": 1})
    await pulled(trade, marketplace)
    known = "SELECT count(*)::int FROM orders WHERE external_id = %s"
    await trade.until(lambda: trade.number(known, order.number) == 1)
    await trade.until(trade.is_at_rest)  # what follows meets no request of the offer lanes
    await asyncio.sleep(0.1)
    return order


async def pulled(trade: Trade, marketplace: str) -> None:
    """Orders are read to the end by a pull that begins now."""
    served = trade.served(marketplace)
    now_us = microseconds(trade.hub.clock.now())

    def is_read() -> bool:
        if served.orders_fresh_us >= now_us:
            return True
        served.poll_orders.set()  # a pull that is under way forgets it
        return False

    await trade.until(is_read)


async def detail(trade: Trade, order: Order) -> OrderDetail:
    return await read_order(trade.hub.database, trade.shop.merchant_id, order.number)


async def ask(
    trade: Trade,
    order: Order,
    to: PackageState = PackageState.PICKING,
    *,
    invoice_number: str = "",
    terms: Terms | None = None,
    wait_s: float = 15.0,
) -> Wished:
    """As a command does it."""
    hub = trade.hub
    found = await detail(trade, order)
    wish = await wish_package(
        hub.database,
        hub.clock,
        trade.shop.merchant_id,
        found,
        found.packages[0],
        to,
        actor="test",
        invoice_number=invoice_number,
        terms=terms,
    )
    assert wish is not None
    return await await_wish(hub.database, hub.clock, wish, timeout_s=wait_s)


def sent(requests: Counter[str]) -> int:
    return requests["advance_package"] + requests["order_update"]


def reads(requests: Counter[str]) -> int:
    return requests["pull_order"] + requests["pull_orders"]
