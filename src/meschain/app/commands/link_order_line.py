"""Say which variant an unknown SKU of an order is: its units are reserved from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meschain.app.commands.set_stock import SkuUnknown
from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from meschain.app.queries.order_detail import OrderDetail
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database


class LineNotOpen(LookupError):
    """The order has no such line, or its variant is known already."""


async def link_order_line(
    database: Database,
    clock: Clock,
    merchant_id: int,
    order: OrderDetail,
    item_key: str,
    sku: str,
    *,
    actor: str,
) -> None:
    """Link it; reservation, ledger and published quantities follow in the same transaction.

    Raises SkuUnknown, LineNotOpen.
    """
    now = clock.now()
    key: dict[str, object] = {
        "merchant": merchant_id,
        "order": order.order_id,
        "item_key": item_key,
        "actor": actor,
        "now": now,
        "now_us": microseconds(now),
    }
    async with database.merchant(merchant_id) as unit:
        variant = await unit.row("stock.variants", key | {"skus": [sku]})
        if variant is None:
            raise SkuUnknown([sku])
        linked = await unit.row("order.link_line", key | {"variant": variant[0]})
        if linked is None:
            raise LineNotOpen(item_key)
        touched = await unit.row("order.settle", key)
        assert touched is not None
        unit.wake(touched[0])
        await unit.run("order.count_shelf_sale", key)
        told = await unit.row("order.tell_again", key)
        assert told is not None
        unit.wake(told[0])
        subject = f"{order.external_id} {item_key}"
        await unit.run(
            "order.resolve_alerts", key | {"kind": "alert.order.unknown_sku", "subject": subject}
        )
        facts = {"order_id": order.order_id, "item_key": item_key, "sku": sku}
        said = msgspec.json.encode(facts).decode()
        await unit.run("catalog.add_audit", key | {"action": "order.link_line", "facts": said})
        await unit.run("catalog.add_event", key | {"kind": "order.linked", "facts": said})
