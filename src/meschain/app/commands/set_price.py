"""Set list and sale prices: one SKU or a whole file, planned first, applied in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.rows import TupleRow

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

CHUNK: Final = 5_000  # sales run beside a mass change undisturbed


class NewPrice(msgspec.Struct, frozen=True):
    """What is asked for, in minor units; None leaves a price as it is."""

    sku: str
    list_minor: int | None
    sale_minor: int | None
    row_number: int = 0


class PriceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A price before and after."""

    sku: str
    currency: str
    list_before_minor: int | None
    sale_before_minor: int | None
    list_minor: int | None
    sale_minor: int | None


class PriceRefusal(msgspec.Struct, frozen=True):
    """A price that is left out: "sku_unknown", "sale_above_list", "sale_missing", "twice"."""

    sku: str
    reason: str
    row_number: int


class PricePlan(msgspec.Struct, kw_only=True):
    """What a change would do, or has done."""

    changed: list[PriceChange] = []
    unchanged: int = 0
    refused: list[PriceRefusal] = []


async def set_prices(
    database: Database,
    clock: Clock,
    merchant_id: int,
    prices: Sequence[NewPrice],
    *,
    actor: str,
    is_plan: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PricePlan:
    """Apply them, or with ``is_plan`` only say what would change; refused ones block nothing."""
    plan = PricePlan(changed=[], refused=[])
    wanted: dict[str, NewPrice] = {}
    for price in prices:
        if price.sku in wanted:
            plan.refused.append(PriceRefusal(price.sku, "twice", price.row_number))
        else:
            wanted[price.sku] = price
    done = 0
    for chunk in _chunks(list(wanted.values())):
        async with database.merchant(merchant_id) as unit:
            await _set_chunk(unit, clock, merchant_id, chunk, plan, is_plan=is_plan)
        done += len(chunk)
        if on_progress is not None:
            on_progress(done, len(wanted))
    if plan.changed and not is_plan:
        facts = {"changed": len(plan.changed), "refused": len(plan.refused)}
        async with database.merchant(merchant_id) as unit:
            await unit.run(
                "catalog.add_audit",
                {
                    "merchant": merchant_id,
                    "now": clock.now(),
                    "actor": actor,
                    "action": "price.set",
                    "facts": msgspec.json.encode(facts).decode(),
                },
            )
    return plan


async def _set_chunk(
    unit: UnitOfWork,
    clock: Clock,
    merchant_id: int,
    chunk: Sequence[NewPrice],
    plan: PricePlan,
    *,
    is_plan: bool,
) -> None:
    now = clock.now()
    key: dict[str, object] = {"merchant": merchant_id, "now": now, "now_us": microseconds(now)}
    name = "stock.variants" if is_plan else "stock.lock_variants"
    rows = await unit.rows(name, key | {"skus": sorted(price.sku for price in chunk)})
    stored = {row[1]: row for row in rows}
    changed: dict[int, PriceChange] = {}
    for price in chunk:
        row = stored.get(price.sku)
        judged = PriceRefusal(price.sku, "sku_unknown", price.row_number)
        change = _change(price, row) if row is not None else judged
        if isinstance(change, PriceRefusal):
            plan.refused.append(change)
        elif change is None:
            plan.unchanged += 1
        else:
            assert row is not None
            changed[int(row[0])] = change
            plan.changed.append(change)
    if is_plan or not changed:
        return
    variants = sorted(changed)
    params = key | {
        "variants": variants,
        "lists": [changed[variant].list_minor for variant in variants],
        "sales": [changed[variant].sale_minor for variant in variants],
    }
    await unit.run("stock.set_prices", params)
    touched = await unit.row("catalog.refresh_price", params)
    assert touched is not None
    unit.wake(touched[0])
    facts = msgspec.json.encode({"variants": variants[:100], "count": len(variants)}).decode()
    await unit.run("catalog.add_event", params | {"kind": "price.changed", "facts": facts})


def _change(price: NewPrice, row: TupleRow) -> PriceChange | PriceRefusal | None:
    _, sku, _, currency, list_before, sale_before, _ = row
    list_minor = list_before if price.list_minor is None else price.list_minor
    sale_minor = sale_before if price.sale_minor is None else price.sale_minor
    if sale_minor is None:
        return PriceRefusal(sku, "sale_missing", price.row_number)
    if list_minor is not None and sale_minor > list_minor:
        return PriceRefusal(sku, "sale_above_list", price.row_number)
    if (list_minor, sale_minor) == (list_before, sale_before):
        return None
    return PriceChange(
        sku=sku,
        currency=currency,
        list_before_minor=list_before,
        sale_before_minor=sale_before,
        list_minor=list_minor,
        sale_minor=sale_minor,
    )


def _chunks(prices: list[NewPrice]) -> Iterator[list[NewPrice]]:
    """In the order of their keys, as all mass changes are."""
    prices.sort(key=lambda price: price.sku)
    for start in range(0, len(prices), CHUNK):
        yield prices[start : start + CHUNK]
