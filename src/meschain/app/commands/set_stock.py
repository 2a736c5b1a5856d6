"""Count stock, receive goods, hold some back: movements of the ledger, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.rows import TupleRow

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

CHUNK: Final = 5_000


class SkuUnknown(LookupError):
    """The catalog does not hold these SKUs; nothing was changed."""

    def __init__(self, skus: Sequence[str]) -> None:
        """Those that are missing."""
        super().__init__(", ".join(skus))
        self.skus = skus


class BundleHasNoStock(ValueError):
    """Sets are made of other variants: count those."""

    def __init__(self, sku: str) -> None:
        """The set."""
        super().__init__(sku)
        self.sku = sku


class PlaceUnknown(LookupError):
    """The merchant has no location of this code."""


class Counting(StrEnum):
    """What the given numbers mean."""

    COUNTED = "counted"  # so many are on hand now
    RECEIVED = "received"  # so many came in
    SAFETY = "safety"  # so many are held back from sale


class StockChange(msgspec.Struct, frozen=True):
    """What became of one SKU; ``delta`` is the change of the counted units."""

    sku: str
    on_hand_before: int
    on_hand: int
    delta: int


async def change_stock(
    database: Database,
    clock: Clock,
    merchant_id: int,
    units_by_sku: Mapping[str, int],
    counting: Counting,
    *,
    actor: str,
    location: str | None = None,
    reason: str = "",
) -> list[StockChange]:
    """Apply it to the default location, or the one named. Published quantities follow at once.

    A count is compared under the level's lock, so that a sale in the same moment is not lost.
    Raises SkuUnknown, BundleHasNoStock, PlaceUnknown before anything is changed.
    """
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        place = await unit.row("stock.location", key | {"location": location})
        rows = await unit.rows("stock.variants", key | {"skus": sorted(units_by_sku)})
    if place is None:
        raise PlaceUnknown(location or "")
    _check(rows, units_by_sku)
    changes: list[StockChange] = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        async with database.merchant(merchant_id) as unit:
            changes += await _change(
                unit,
                key | {"location": place[0], "now": (now := clock.now())},
                {int(row[0]): str(row[1]) for row in chunk},
                units_by_sku,
                counting,
                {"reason": reason, "actor": actor, "now_us": microseconds(now)},
            )
    return sorted(changes, key=lambda change: change.sku)


def _check(rows: Sequence[TupleRow], units_by_sku: Mapping[str, int]) -> None:
    missing = sorted(units_by_sku.keys() - {str(row[1]) for row in rows})
    if missing:
        raise SkuUnknown(missing)
    for row in rows:
        if row[2]:
            raise BundleHasNoStock(row[1])


async def _change(
    unit: UnitOfWork,
    key: dict[str, object],
    skus: Mapping[int, str],
    units_by_sku: Mapping[str, int],
    counting: Counting,
    about: dict[str, object],
) -> list[StockChange]:
    variants = sorted(skus)
    params = key | about | {"variants": variants}
    await unit.run("stock.ensure_levels", params)
    before: dict[int, int] = dict(await unit.rows("catalog.lock_levels", params))
    if counting is Counting.SAFETY:
        for units in sorted({units_by_sku[sku] for sku in skus.values()}):
            same = [variant for variant, sku in skus.items() if units_by_sku[sku] == units]
            await unit.run("stock.set_safety_stock", params | {"variants": same, "units": units})
        touched = await unit.row("catalog.refresh_quantity", params)
        deltas = dict.fromkeys(variants, 0)
    else:
        is_count = counting is Counting.COUNTED
        deltas = {
            variant: units_by_sku[sku] - (before[variant] if is_count else 0)
            for variant, sku in skus.items()
        }
        touched = await unit.row(
            "catalog.move_stock",
            params
            | {
                "kind": "adjustment" if is_count else "receipt",
                "deltas": [deltas[variant] for variant in variants],
            },
        )
    assert touched is not None
    unit.wake(touched[0])
    facts = {"counting": counting.value, "variants": variants[:100], "count": len(variants)}
    said = msgspec.json.encode(facts).decode()
    await unit.run("catalog.add_event", params | {"kind": "stock.changed", "facts": said})
    return [StockChange(skus[v], before[v], before[v] + deltas[v], deltas[v]) for v in variants]
