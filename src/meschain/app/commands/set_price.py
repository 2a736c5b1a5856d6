"""Set list and sale prices: one SKU or a whole file, planned first, applied in chunks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.domain.money import Money

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

CHUNK: Final = 5_000  # sales run beside a mass change undisturbed


class NewPrice(msgspec.Struct, frozen=True):
    """What is asked for, in minor units; None leaves a price as it is.

    ``follows``: where list and sale price were one, a sale price alone moves both.
    """

    sku: str
    list_minor: int | None
    sale_minor: int | None
    row_number: int = 0
    cost_minor: int | None = None
    follows: bool = False


class PriceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A price before and after."""

    sku: str
    currency: str
    list_before_minor: int | None
    sale_before_minor: int | None
    list_minor: int | None
    sale_minor: int | None
    cost_before_minor: int | None = None
    cost_minor: int | None = None


class PriceRefusal(msgspec.Struct, frozen=True):
    """A price that is left out.

    "sku_unknown", "sale_above_list", "sale_missing", "twice", "large"; ``params``: amounts of it.
    """

    sku: str
    reason: str
    row_number: int
    params: dict[str, str] = {}


class PricePlan(msgspec.Struct, kw_only=True):
    """What a change would do, or has done."""

    changed: list[PriceChange] = []
    unchanged: int = 0
    refused: list[PriceRefusal] = []


Record = Callable[["UnitOfWork", list[PriceChange]], Awaitable[None]]


async def set_prices(
    database: Database,
    clock: Clock,
    merchant_id: int,
    prices: Sequence[NewPrice],
    *,
    actor: str,
    is_plan: bool = False,
    allows_large: bool = True,
    record: Record | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PricePlan:
    """Apply them, or with ``is_plan`` only say what would change; refused ones block nothing.

    Without ``allows_large`` a list or sale price that changes by more than half is refused.
    ``record`` is told of each chunk's changes within its transaction.
    """
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
            changed = await _set_chunk(
                unit, clock, merchant_id, chunk, plan, is_plan=is_plan, allows_large=allows_large
            )
            if record is not None and changed and not is_plan:
                await record(unit, changed)
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
    allows_large: bool,
) -> list[PriceChange]:
    now = clock.now()
    key: dict[str, object] = {"merchant": merchant_id, "now": now, "now_us": microseconds(now)}
    name = "stock.variants" if is_plan else "stock.lock_variants"
    rows = await unit.rows(name, key | {"skus": sorted(price.sku for price in chunk)})
    stored = {row[1]: row for row in rows}
    changed: dict[int, PriceChange] = {}
    for price in chunk:
        row = stored.get(price.sku)
        judged = PriceRefusal(price.sku, "sku_unknown", price.row_number)
        change = judged if row is None else _change(price, row, allows_large=allows_large)
        if isinstance(change, PriceRefusal):
            plan.refused.append(change)
        elif change is None:
            plan.unchanged += 1
        else:
            assert row is not None
            changed[int(row[0])] = change
            plan.changed.append(change)
    if is_plan or not changed:
        return []
    variants = sorted(changed)
    params = key | {
        "variants": variants,
        "lists": [changed[variant].list_minor for variant in variants],
        "sales": [changed[variant].sale_minor for variant in variants],
        "costs": [changed[variant].cost_minor for variant in variants],
    }
    await unit.run("stock.set_prices", params)
    touched = await unit.row("catalog.refresh_price", params)
    assert touched is not None
    unit.wake(touched[0])
    facts = msgspec.json.encode({"variants": variants[:100], "count": len(variants)}).decode()
    await unit.run("catalog.add_event", params | {"kind": "price.changed", "facts": facts})
    return list(changed.values())


def _change(
    price: NewPrice, row: TupleRow, *, allows_large: bool
) -> PriceChange | PriceRefusal | None:
    _, sku, _, currency, list_before, sale_before, _, cost_before = row
    list_minor = list_before if price.list_minor is None else price.list_minor
    sale_minor = sale_before if price.sale_minor is None else price.sale_minor
    cost_minor = cost_before if price.cost_minor is None else price.cost_minor
    if price.follows and price.list_minor is None and list_before == sale_before is not None:
        list_minor = sale_minor
    if sale_minor is None and price.cost_minor is None:
        return PriceRefusal(sku, "sale_missing", price.row_number)
    if None not in (list_minor, sale_minor) and sale_minor > list_minor:
        params = _amounts(currency, sale_price=sale_minor, list_price=list_minor)
        return PriceRefusal(sku, "sale_above_list", price.row_number, params)
    for before, after in ((sale_before, sale_minor), (list_before, list_minor)):
        if not allows_large and before and abs(after - before) * 2 > before:
            params = _amounts(currency, before=before, after=after)
            return PriceRefusal(sku, "large", price.row_number, params)
    if (list_minor, sale_minor, cost_minor) == (list_before, sale_before, cost_before):
        return None
    return PriceChange(
        sku=sku,
        currency=currency,
        list_before_minor=list_before,
        sale_before_minor=sale_before,
        list_minor=list_minor,
        sale_minor=sale_minor,
        cost_before_minor=cost_before,
        cost_minor=cost_minor,
    )


def _amounts(currency: str, **minors: int) -> dict[str, str]:
    return {name: str(Money(minor, currency).amount) for name, minor in minors.items()}


def _chunks(prices: list[NewPrice]) -> Iterator[list[NewPrice]]:
    """In the order of their keys, as all mass changes are."""
    prices.sort(key=lambda price: price.sku)
    for start in range(0, len(prices), CHUNK):
        yield prices[start : start + CHUNK]
