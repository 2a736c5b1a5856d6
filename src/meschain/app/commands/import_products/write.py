"""Writing a compared chunk: JSON documents become rows, set by set, in the one order of locks.

COPY is not possible here: the unit of work is a pipeline, in which PostgreSQL's client library
refuses it, and COPY into tables with row-level security is refused by the server. One JSON
parameter a statement does the same work in one round trip. Each statement is told the keys of what
it belongs to, so that none has to look for them.
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

    from meschain.app.commands.import_products.compare import Compared, Entry, Ground
    from meschain.app.commands.import_products.state import ProductState
    from meschain.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Pen:
    """What every statement of one import has in common; ``actor`` is named in the ledger."""

    merchant_id: int
    location_id: int
    language: str
    import_id: int
    reason: str
    actor: str
    event_kind: str = "catalog.imported"

    async def write(
        self, unit: UnitOfWork, compared: Compared, ground: Ground, now: datetime
    ) -> None:
        """Everything of the chunk that changes; the caller holds products and variants locked."""
        at: dict[str, object] = {
            "merchant": self.merchant_id,
            "now": now,
            "now_us": microseconds(now),
        }
        product_ids = {**ground.product_ids, **await self._products(unit, compared, at)}
        changed = sorted(
            (entry for entry in compared.entries if entry.is_changed),
            key=lambda entry: entry.after.sku,
        )
        if not changed:
            return
        homes = [product_ids[entry.after.model_code] for entry in changed]
        cursor = await unit.run(
            "catalog.put_variants",
            at | {"rows": _rows(entry.after for entry in changed), "products": homes},
        )
        ids: dict[str, int] = dict(await cursor.fetchall())
        await self._moved(unit, changed, product_ids)
        await self._pictures(unit, changed, ids, product_ids)
        await self._bundles(unit, changed, ids, ground, at)
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
            at | {"kind": self.event_kind, "facts": msgspec.json.encode(facts).decode()},
        )

    async def _products(
        self, unit: UnitOfWork, compared: Compared, at: Mapping[str, object]
    ) -> dict[str, int]:
        """The ids of the products that were written."""
        changed = [(before, after) for before, after in compared.products if before != after]
        if not changed:
            return {}
        changed.sort(key=lambda each: each[1].model_code)
        rows = _rows(self._findable(after) for _, after in changed)
        cursor = await unit.run("catalog.put_products", {**at, "rows": rows, "source": self.actor})
        ids: dict[str, int] = dict(await cursor.fetchall())
        dropped = [
            {"product_id": ids[after.model_code], "language": language}
            for before, after in changed
            for language in (before.titles if before else ())
            if language not in after.titles
        ]
        if dropped:
            await unit.run("catalog.drop_contents", {**at, "rows": _rows(dropped)})
        worded = [
            {
                "product_id": ids[after.model_code],
                "language": language,
                "title": title,
                "description_html": after.descriptions.get(language, ""),
            }
            for before, after in changed
            if before is None
            or (before.titles, before.descriptions) != (after.titles, after.descriptions)
            for language, title in after.titles.items()
        ]
        if worded:
            await unit.run("catalog.put_contents", {**at, "rows": _rows(worded)})
        await self._media(
            unit,
            [
                (ids[after.model_code], None, before.image_urls if before else (), after.image_urls)
                for before, after in changed
            ],
        )
        return ids

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

    async def _media(
        self,
        unit: UnitOfWork,
        owners: Iterable[tuple[int, int | None, Sequence[str], Sequence[str]]],
    ) -> None:
        """The pictures of products and variants: whose they are, before, and after."""
        key: dict[str, object] = {"merchant": self.merchant_id}
        changed = [owner for owner in owners if owner[2] != owner[3]]
        dropped = [
            {"product_id": product_id, "variant_id": variant_id, "image_urls": after}
            for product_id, variant_id, before, after in changed
            if before
        ]
        if dropped:
            await unit.run("catalog.drop_media", key | {"rows": _rows(dropped)})
        put = [
            {
                "product_id": product_id,
                "variant_id": variant_id,
                "position": place,
                "source_url": url,
            }
            for product_id, variant_id, _, after in changed
            for place, url in enumerate(after)
        ]
        if put:
            await unit.run("catalog.put_media", key | {"rows": _rows(put)})

    async def _moved(
        self, unit: UnitOfWork, changed: Sequence[Entry], product_ids: Mapping[str, int]
    ) -> None:
        moved = [
            (entry.before, product_ids[entry.after.model_code])
            for entry in changed
            if entry.before is not None and entry.before.state.model_code != entry.after.model_code
        ]
        if moved:
            key: dict[str, object] = {"merchant": self.merchant_id}
            await unit.run(
                "catalog.follow_media",
                key
                | {
                    "variants": [before.variant_id for before, _ in moved],
                    "homes": [before.product_id for before, _ in moved],
                    "products": [product_id for _, product_id in moved],
                },
            )
            models = sorted({before.state.model_code for before, _ in moved})
            await unit.run("catalog.drop_empty_products", key | {"models": models})

    async def _pictures(
        self,
        unit: UnitOfWork,
        changed: Sequence[Entry],
        ids: Mapping[str, int],
        product_ids: Mapping[str, int],
    ) -> None:
        await self._media(
            unit,
            [
                (
                    product_ids[entry.after.model_code],
                    ids[entry.after.sku],
                    entry.before.state.image_urls if entry.before else (),
                    entry.after.image_urls,
                )
                for entry in changed
            ],
        )

    async def _bundles(
        self,
        unit: UnitOfWork,
        changed: Sequence[Entry],
        ids: Mapping[str, int],
        ground: Ground,
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
        parts = [
            (ids[bundle.sku], ground.variants[component].variant_id, units)
            for bundle in bundles
            for component, units in bundle.bundle.items()
        ]
        await unit.run("catalog.drop_components", {**at, "variants": variants})
        await unit.run(
            "catalog.put_components",
            {
                **at,
                "bundles": [part[0] for part in parts],
                "components": [part[1] for part in parts],
                "units": [part[2] for part in parts],
            },
        )
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
                        "reason": self.reason,
                        "actor": self.actor,
                    },
                )


async def _wake(unit: UnitOfWork, name: str, params: Mapping[str, object]) -> None:
    row = await unit.row(name, params)
    assert row is not None
    unit.wake(row[0])


def _rows(states: Iterable[object]) -> str:
    return msgspec.json.encode(list(states)).decode()
