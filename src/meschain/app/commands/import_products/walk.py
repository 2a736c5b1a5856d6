"""Walking a file: chunk by chunk, each compared and (when applied) written in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.import_products.compare import (
    Ground,
    Memory,
    compare,
    part,
    settle_barcodes,
)
from meschain.app.commands.import_products.plan import (
    Created,
    ImportPlan,
    ProductUpdated,
    Refusal,
    Updated,
)
from meschain.app.commands.import_products.state import (
    ProductState,
    StoredVariant,
    VariantState,
    changes_of,
)
from meschain.app.commands.import_products.write import Pen
from meschain.exchange import ReadProduct, RefusedRow, RowWarning
from meschain.exchange.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.rows import TupleRow

    from meschain.app.commands.import_products.compare import Compared
    from meschain.channel.clock import Clock
    from meschain.domain.catalog import VariantDraft
    from meschain.exchange import CatalogReading, Record
    from meschain.exchange.claim import Claims
    from meschain.store.unit_of_work import Database, UnitOfWork

Progress = Callable[[int, int], None]
"""Told variants done and variants in all (0: not known)."""

# A chunk holds its locks for some 100 ms, so that sales run beside an import (design.md §2 allows
# 5,000 rows and 2 s).
VARIANTS_PER_CHUNK: Final = 1_000


class LocationUnknown(LookupError):
    """The merchant has no location of this code, or none at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What an import is told.

    ``location``: code of the place that was counted, None for the default one. ``actor``: who
    imports. ``variants_total``: of an earlier plan, for the progress only.
    """

    actor: str
    location: str | None = None
    file_name: str = ""
    file_hash: bytes = b""
    variants_total: int = 0


@dataclass(frozen=True, slots=True)
class ImportDone:
    """An import that was applied, and all it did."""

    import_id: int
    plan: ImportPlan


@dataclass(frozen=True, slots=True)
class _Terms:
    currency: str
    language: str
    location_id: int


async def plan_import(
    database: Database,
    merchant_id: int,
    reading: CatalogReading,
    options: ImportOptions,
    *,
    on_progress: Progress | None = None,
) -> ImportPlan:
    """What importing the file would do; nothing is written. Walks ``reading`` to its end.

    Raises: LocationUnknown.
    """
    terms = await _terms(database, merchant_id, options)
    walk = _Walk(database, merchant_id, terms, options, _plan_of(reading), on_progress)
    await walk.walk(reading)
    return walk.plan


async def apply_import(
    database: Database,
    clock: Clock,
    merchant_id: int,
    reading: CatalogReading,
    options: ImportOptions,
    *,
    on_progress: Progress | None = None,
) -> ImportDone:
    """Take the file in. Cut short, what was written stands, and repeating completes it.

    Raises: LocationUnknown.
    """
    terms = await _terms(database, merchant_id, options)
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        row = await unit.row(
            "catalog.begin_import",
            key
            | {
                "kind": f"products:{reading.form.kind}",
                "file_name": options.file_name,
                "file_hash": options.file_hash,
                "actor": options.actor,
                "now": clock.now(),
            },
        )
        assert row is not None
        import_id = int(row[0])
    pen = Pen(merchant_id, terms.location_id, terms.language, import_id, options.file_name)
    walk = _Walk(
        database, merchant_id, terms, options, _plan_of(reading), on_progress, pen=pen, clock=clock
    )
    await walk.walk(reading)
    counts = msgspec.json.encode(walk.plan.counts).decode()
    facts = {"import_id": import_id, "file_name": options.file_name, **walk.plan.counts}
    at = key | {"now": clock.now()}
    async with database.merchant(merchant_id) as unit:
        await unit.run("catalog.end_import", at | {"import": import_id, "counts": counts})
        await unit.run(
            "catalog.add_audit",
            at
            | {
                "actor": options.actor,
                "action": "import.products",
                "facts": msgspec.json.encode(facts).decode(),
            },
        )
    return ImportDone(import_id, walk.plan)


def _plan_of(reading: CatalogReading) -> ImportPlan:
    return ImportPlan(reading.form, reading.vat_previews)


async def _terms(database: Database, merchant_id: int, options: ImportOptions) -> _Terms:
    async with database.merchant(merchant_id) as unit:
        row = await unit.row(
            "catalog.ground", {"merchant": merchant_id, "location": options.location}
        )
    if row is None or row[2] is None:
        raise LocationUnknown(options.location or "")
    return _Terms(*row)


@dataclass(slots=True)
class _Taken:
    """A chunk as it was read. ``late``: bundles, which wait for their components."""

    products: list[ReadProduct] = field(default_factory=list)
    late: list[ReadProduct] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[RowWarning] = field(default_factory=list)


@dataclass(slots=True)
class _Walk:
    """One file on its way into the catalog (with a pen) or into a plan (without)."""

    database: Database
    merchant_id: int
    terms: _Terms
    options: ImportOptions
    plan: ImportPlan
    on_progress: Progress | None
    pen: Pen | None = None
    clock: Clock | None = None
    memory: Memory = field(default_factory=Memory)
    late: list[ReadProduct] = field(default_factory=list)
    done: int = 0

    async def walk(self, reading: CatalogReading) -> None:
        """All of it; bundles and moved barcodes last, when the rest is known."""
        # Reading is work for the processor: in a thread, a chunk ahead of the database.
        ahead = self._read_ahead(reading)
        try:
            while taken := await ahead:
                ahead = self._read_ahead(reading)
                self.plan.refused += taken.refused
                self.plan.warnings += taken.warnings
                self.late += taken.late
                await self._process(taken.products, is_last=False)
        finally:
            await asyncio.wait((ahead,))
        ground = await self._late_ground()
        kept, refused = settle_barcodes(self.late, ground, self.memory)
        self.plan.refused += refused
        # Single variants before the bundles that are made of them.
        for is_bundle in (False, True):
            waiting = [read for each in kept for read in _of_kind(each, is_bundle=is_bundle)]
            for chunk in _chunks(waiting):
                await self._process(chunk, is_last=True)

    def _read_ahead(self, reading: CatalogReading) -> asyncio.Task[_Taken | None]:
        return asyncio.create_task(
            asyncio.to_thread(_take, reading.records, self.memory.claims), name="read a file"
        )

    async def _process(self, chunk: Sequence[ReadProduct], *, is_last: bool) -> None:
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("catalog.plan_afresh")
            ground = await self._ground(unit, chunk)
            compared = compare(
                chunk, ground, self.memory, currency=self.terms.currency, is_last=is_last
            )
            if self.pen is not None and self.clock is not None:
                await self.pen.write(unit, compared, self.clock.now())
        self.late += compared.late
        self._note(compared)
        if self.on_progress is not None:
            self.on_progress(self.done, self.options.variants_total)

    async def _ground(self, unit: UnitOfWork, products: Sequence[ReadProduct]) -> Ground:
        """What the catalog holds of these drafts; locked when it is about to be written."""
        drafts = [draft for read in products for draft in read.draft.variants]
        skus = sorted({draft.sku for draft in drafts})
        components = {sku for draft in drafts for sku in draft.bundle}
        models = {read.draft.model_code for read in products}
        key: dict[str, object] = {"merchant": self.merchant_id}
        if self.pen is not None:
            await unit.run("catalog.lock_products", key | {"models": sorted(models)})
            await unit.run("catalog.lock_variants", key | {"skus": skus})
        wanted = sorted({*skus, *components})
        variants = {
            stored.state.sku: stored
            for row in await unit.rows(
                "catalog.variants", key | {"skus": wanted, "location": self.terms.location_id}
            )
            if (stored := _stored(row))
        }
        models |= {stored.state.model_code for stored in variants.values()}
        found = await unit.rows("catalog.products", key | {"models": sorted(models)})
        barcodes = sorted({draft.barcode for draft in drafts if draft.barcode is not None})
        holders: dict[str, list[str]] = {}
        for barcode, sku in await unit.rows(
            "catalog.barcode_holders", key | {"barcodes": barcodes}
        ):
            holders.setdefault(barcode, []).append(sku)
        return Ground(variants, {row[0]: _product(row) for row in found}, holders)

    async def _late_ground(self) -> Ground:
        variants: dict[str, StoredVariant] = {}
        holders: dict[str, Sequence[str]] = {}
        for chunk in _chunks(self.late):
            async with self.database.merchant(self.merchant_id) as unit:
                ground = await self._ground(unit, chunk)
            variants |= ground.variants
            holders |= ground.holders
        return Ground(variants, {}, holders)

    def _note(self, compared: Compared) -> None:
        plan = self.plan
        plan.refused += compared.refused
        for before, product in compared.products:
            if before is None:
                plan.products_created.append(product.model_code)
            elif before != product:
                plan.products_updated.append(
                    ProductUpdated(product.model_code, changes_of(before, product))
                )
        for entry in compared.entries:
            sku = entry.after.sku
            if entry.before is None:
                plan.created.append(Created(entry.row_number, sku))
            elif entry.is_changed:
                changes = changes_of(entry.before.state, entry.after)
                plan.updated.append(Updated(entry.row_number, sku, changes))
            else:
                plan.unchanged += 1
        self.done += len(compared.entries)


def _take(records: Iterator[Record], claims: Claims) -> _Taken | None:
    """The next chunk, None at the end. Nothing else touches the claims while bundles wait."""
    taken = _Taken()
    size = 0
    for record in records:
        match record:
            case RefusedRow():
                taken.refused.append(
                    Refusal(
                        record.row_number,
                        record.sku,
                        record.reason_code,
                        record.params,
                        record.raw_row,
                    )
                )
            case RowWarning():
                taken.warnings.append(record)
            case ReadProduct():
                claimed = _claimed(record, claims, taken)
                taken.late += _of_kind(claimed, is_bundle=True)
                now = _of_kind(claimed, is_bundle=False)
                taken.products += now
                size += sum(len(read.draft.variants) for read in now)
        if size >= VARIANTS_PER_CHUNK:
            break
    return taken if taken != _Taken() else None


def _claimed(read: ReadProduct, claims: Claims, taken: _Taken) -> ReadProduct:
    """The product without variants whose SKU or barcode the file has already spoken for."""
    places: list[int] = []
    for place, (draft, row_number) in enumerate(
        zip(read.draft.variants, read.variant_rows, strict=True)
    ):
        fault = _fault_of_claim(claims, draft, row_number)
        if fault is None:
            places.append(place)
        else:
            taken.refused.append(Refusal(row_number, draft.sku, fault.reason, fault.params))
    return read if len(places) == len(read.draft.variants) else part(read, places)


def _fault_of_claim(claims: Claims, draft: VariantDraft, row_number: int) -> Fault | None:
    try:
        claims.claim(draft, row_number)
    except Fault as fault:
        return fault
    return None


def _stored(row: TupleRow) -> StoredVariant:
    variant_id, is_component, *plain, image_urls, bundle, on_hand = row
    fields = [*plain, tuple(image_urls), bundle or {}, on_hand]
    return StoredVariant(variant_id, is_component, VariantState(*fields))


def _product(row: TupleRow) -> ProductState:
    fields = [*row[:-1], tuple(row[-1])]
    return ProductState(*fields)


def _of_kind(read: ReadProduct, *, is_bundle: bool) -> list[ReadProduct]:
    variants = read.draft.variants
    places = [place for place, draft in enumerate(variants) if bool(draft.bundle) is is_bundle]
    if len(places) == len(variants):
        return [read] if variants else []
    return [part(read, places)] if places else []


def _chunks(products: Sequence[ReadProduct]) -> Iterator[list[ReadProduct]]:
    """Whole products, some ``VARIANTS_PER_CHUNK`` variants at a time."""
    chunk: list[ReadProduct] = []
    size = 0
    for read in products:
        chunk.append(read)
        size += len(read.draft.variants)
        if size >= VARIANTS_PER_CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
