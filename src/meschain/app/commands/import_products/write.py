"""Writing a compared chunk: JSON documents become rows, set by set, in the one order of locks.

COPY is not possible here: the unit of work is a pipeline, in which PostgreSQL's client library
refuses it, and COPY into tables with row-level security is refused by the server. One JSON
parameter a statement does the same work in one round trip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from meschain.channel.clock import microseconds
from meschain.domain.text import fold, sort_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from meschain.app.commands.import_products.compare import Compared, Entry
    from meschain.app.commands.import_products.state import ProductState
    from meschain.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Pen:
    """What every statement of one import has in common."""

    merchant_id: int
    location_id: int
    language: str
    import_id: int
    file_name: str

    @property
    def actor(self) -> str:
        """Who moved the stock, for the ledger."""
        return f"import:{self.import_id}"

    async def write(self, unit: UnitOfWork, compared: Compared, now: datetime) -> None:
        """Everything of the chunk that changes; the caller holds products and variants locked."""
        key: dict[str, object] = {"merchant": self.merchant_id}
        at = key | {"now": now, "now_us": microseconds(now)}
        await self._products(unit, compared, at)
        changed = [entry for entry in compared.entries if entry.is_changed]
        if not changed:
            return
        cursor = await unit.run(
            "catalog.put_variants", at | {"rows": _rows(entry.after for entry in changed)}
        )
        ids: dict[str, int] = dict(await cursor.fetchall())
        await self._moved(unit, changed)
        await self._pictures(unit, changed)
        await self._bundles(unit, changed, ids, at)
        # Stock comes last: from here to the commit the levels are locked against sales.
        await self._prices(unit, changed, ids, at)
        await self._stock(unit, changed, ids, at)
        facts = {
            "import_id": self.import_id,
            "created": [ids[entry.after.sku] for entry in changed if entry.before is None],
            "updated": [ids[entry.after.sku] for entry in changed if entry.before is not None],
        }
        await unit.run(
            "catalog.add_event",
            at | {"kind": "catalog.imported", "facts": msgspec.json.encode(facts).decode()},
        )

    async def _products(
        self, unit: UnitOfWork, compared: Compared, at: Mapping[str, object]
    ) -> None:
        changed = [(before, after) for before, after in compared.products if before != after]
        if not changed:
            return
        rows = _rows(self._findable(after) for _, after in changed)
        await unit.run("catalog.put_products", {**at, "rows": rows, "source": self.actor})
        worded = [
            after
            for before, after in changed
            if after.titles
            and (
                before is None
                or (before.titles, before.descriptions) != (after.titles, after.descriptions)
            )
        ]
        if worded:
            await unit.run("catalog.put_contents", {**at, "rows": _rows(worded)})
        pictured = [
            (before, after)
            for before, after in changed
            if after.image_urls != (before.image_urls if before else ())
        ]
        if pictured:
            had_some = [after for before, after in pictured if before and before.image_urls]
            if had_some:
                await unit.run("catalog.drop_product_media", {**at, "rows": _rows(had_some)})
            rows = _rows(after for _, after in pictured)
            await unit.run("catalog.put_product_media", {**at, "rows": rows})

    def _findable(self, product: ProductState) -> dict[str, object]:
        titles = product.titles
        title = titles.get(self.language) or next(iter(titles.values()), product.model_code)
        words = (*titles.values(), product.brand, product.category_path, product.model_code)
        return {
            "model_code": product.model_code,
            "brand": product.brand,
            "category_path": product.category_path,
            "attributes": product.attributes,
            "search_text": fold(" ".join(words)),
            "sort_key": sort_key(title),
        }

    async def _moved(self, unit: UnitOfWork, changed: Sequence[Entry]) -> None:
        moved = {
            entry.after.sku: entry.before.state.model_code
            for entry in changed
            if entry.before is not None and entry.before.state.model_code != entry.after.model_code
        }
        if moved:
            key: dict[str, object] = {"merchant": self.merchant_id}
            await unit.run("catalog.follow_media", key | {"skus": list(moved)})
            models = sorted(set(moved.values()))
            await unit.run("catalog.drop_empty_products", key | {"models": models})

    async def _pictures(self, unit: UnitOfWork, changed: Sequence[Entry]) -> None:
        pictured = [
            (before, entry.after)
            for entry in changed
            if entry.after.image_urls
            != (before := entry.before.state.image_urls if entry.before else ())
        ]
        if pictured:
            key: dict[str, object] = {"merchant": self.merchant_id}
            had_some = [after for before, after in pictured if before]
            if had_some:
                await unit.run("catalog.drop_variant_media", key | {"rows": _rows(had_some)})
            rows = _rows(after for _, after in pictured)
            await unit.run("catalog.put_variant_media", key | {"rows": rows})

    async def _bundles(
        self,
        unit: UnitOfWork,
        changed: Sequence[Entry],
        ids: Mapping[str, int],
        at: Mapping[str, object],
    ) -> None:
        bundles = [
            entry.after
            for entry in changed
            if entry.after.bundle != (entry.before.state.bundle if entry.before else {})
        ]
        if not bundles:
            return
        variants = sorted(ids[bundle.sku] for bundle in bundles)
        await unit.run("catalog.drop_components", {**at, "rows": _rows(bundles)})
        await unit.run("catalog.put_components", {**at, "rows": _rows(bundles)})
        await unit.run("catalog.lock_component_levels", {**at, "variants": variants})
        await _wake(unit, "catalog.refresh_quantity", {**at, "variants": variants})

    async def _prices(
        self,
        unit: UnitOfWork,
        changed: Sequence[Entry],
        ids: Mapping[str, int],
        at: Mapping[str, object],
    ) -> None:
        variants = sorted(
            ids[entry.after.sku]
            for entry in changed
            if entry.before is not None
            and (entry.before.state.list_price_minor, entry.before.state.sale_price_minor)
            != (entry.after.list_price_minor, entry.after.sale_price_minor)
        )
        if variants:
            await _wake(unit, "catalog.refresh_price", {**at, "variants": variants})

    async def _stock(
        self,
        unit: UnitOfWork,
        changed: Sequence[Entry],
        ids: Mapping[str, int],
        at: Mapping[str, object],
    ) -> None:
        """The counted units become movements: a receipt the first time, then the difference."""
        stated = {
            ids[entry.after.sku]: entry.after.on_hand
            for entry in changed
            if entry.after.on_hand is not None
            and entry.after.on_hand != (entry.before.state.on_hand if entry.before else None)
        }
        if not stated:
            return
        place = {**at, "location": self.location_id}
        levels: dict[int, int] = dict(
            await unit.rows("catalog.lock_levels", {**place, "variants": sorted(stated)})
        )
        moves: dict[str, dict[int, int]] = {"receipt": {}, "adjustment": {}}
        for variant_id, units in sorted(stated.items()):
            kind = "adjustment" if variant_id in levels else "receipt"
            moves[kind][variant_id] = units - levels.get(variant_id, 0)
        for kind, deltas in moves.items():
            if deltas:
                await _wake(
                    unit,
                    "catalog.move_stock",
                    {
                        **place,
                        "kind": kind,
                        "variants": list(deltas),
                        "deltas": list(deltas.values()),
                        "reason": self.file_name,
                        "actor": self.actor,
                    },
                )


async def _wake(unit: UnitOfWork, name: str, params: Mapping[str, object]) -> None:
    row = await unit.row(name, params)
    assert row is not None
    unit.wake(row[0])


def _rows(states: Iterable[object]) -> str:
    return msgspec.json.encode(list(states)).decode()
