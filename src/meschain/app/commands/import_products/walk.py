"""Walking a file: chunk by chunk, each compared and (when applied) written in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from meschain import __version__
from meschain.app.commands.import_products.compare import (
    Ground,
    Memory,
    compare,
    part,
    settle_barcodes,
)
from meschain.app.commands.import_products.plan import ImportPlan, Refusal
from meschain.app.commands.import_products.state import (
    ProductState,
    StoredVariant,
    VariantState,
)
from meschain.app.commands.import_products.step import Step
from meschain.app.commands.import_products.write import Pen
from meschain.exchange import ReadProduct, RefusedRow, RowWarning
from meschain.exchange.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from psycopg.rows import TupleRow

    from meschain.channel.clock import Clock
    from meschain.domain.catalog import VariantDraft
    from meschain.exchange import CatalogReading, ReadingOptions, Record
    from meschain.exchange.claim import Claims
    from meschain.store.unit_of_work import Database, UnitOfWork

Progress = Callable[[int, int], None]
"""Told rows done and rows in all (0: not known)."""

# A chunk holds its locks for some 100 ms, so that sales run beside an import (design.md §2 allows
# 5,000 rows and 2 s).
VARIANTS_PER_CHUNK: Final = 1_000


# A file that was cut short is continued within this time; later it is taken to mean a fresh count.
CONTINUED_WITHIN: Final = timedelta(hours=24)


# How long a daily sheet waits for an import of products, which it would follow in the same minute.
BUSY_S_MAX: Final = 60.0
BUSY_LOOK_S: Final = 0.5


class LocationUnknown(LookupError):
    """The merchant has no location of this code, or none at all."""


class ImportBusy(RuntimeError):
    """Another import of this merchant, or the undoing of one, is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What an import is told.

    ``location``: code of the place that was counted, None for the default one. ``actor``: who
    imports. ``terms_hash``: see the function of that name.
    """

    actor: str
    location: str | None = None
    file_name: str = ""
    file_hash: bytes = b""
    terms_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class ImportDone:
    """An import that was applied. ``continued``: how many variants an earlier process took in."""

    import_id: int
    plan: ImportPlan
    continued: int = 0


@dataclass(frozen=True, slots=True)
class _Terms:
    currency: str
    language: str
    location_id: int


def terms_hash(options: ReadingOptions) -> bytes:
    """A fingerprint of how a file is read: cut short, it is continued only in the same way.

    The day and what the catalog holds by now do not belong to it; the program does, since another
    one may divide the file in another way.
    """
    said = replace(options, today=date.min, known_skus=())
    return hashlib.sha256(f"{__version__} {VARIANTS_PER_CHUNK} {said}".encode()).digest()


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
    terms = await read_terms(database, merchant_id, options.location)
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
    """Take the file in. Cut short, what was written stands, and the same call continues it.

    Chunks that were written are not compared again: what was sold meanwhile is not counted back.
    Raises: LocationUnknown, ImportBusy.
    """
    terms = await read_terms(database, merchant_id, options.location)
    async with working_alone(database, merchant_id):
        import_id, began_at, done = await _begin(
            database, clock, merchant_id, reading, options, terms
        )
        pen = Pen(
            merchant_id,
            terms.location_id,
            terms.language,
            import_id,
            reason=options.file_name,
            actor=f"import:{import_id}",
        )
        walk = _Walk(
            database,
            merchant_id,
            terms,
            options,
            _plan_of(reading),
            on_progress,
            pen=pen,
            clock=clock,
            began_at=began_at,
            written=done,
        )
        await walk.walk(reading)
        facts = {"import_id": import_id, "file_name": options.file_name, **walk.plan.counts}
        at: dict[str, object] = {"merchant": merchant_id, "now": clock.now()}
        async with database.merchant(merchant_id) as unit:
            counts = _json(walk.plan.counts)
            await unit.run("catalog.end_import", at | {"import": import_id, "counts": counts})
            about = {"actor": options.actor, "action": "import.products", "facts": _json(facts)}
            await unit.run("catalog.add_audit", at | about)
        async with database.merchant(merchant_id) as unit:
            await unit.run("keeping.refresh_statistics")
    return ImportDone(import_id, walk.plan, walk.continued)


@asynccontextmanager
async def working_alone(
    database: Database, merchant_id: int, clock: Clock | None = None
) -> AsyncIterator[None]:
    """No second import of the merchant runs meanwhile; a killed process lets go by itself.

    With ``clock`` the end of another is waited for, up to ``BUSY_S_MAX``. Raises: ImportBusy.
    """
    key = {"merchant": merchant_id}
    async with database.session() as unit:
        until_s = clock.monotonic_s() + BUSY_S_MAX if clock else 0.0
        while (row := await unit.row("import.work_alone", key)) is None or not row[0]:
            if clock is None or clock.monotonic_s() > until_s:
                raise ImportBusy
            await clock.sleep(BUSY_LOOK_S)
        try:
            yield
        finally:
            await unit.run("import.end_work_alone", key)


async def _begin(
    database: Database,
    clock: Clock,
    merchant_id: int,
    reading: CatalogReading,
    options: ImportOptions,
    terms: _Terms,
) -> tuple[int, datetime, set[int]]:
    """The run's id, when it began, and the steps that it has behind it."""
    now = clock.now()
    about: dict[str, object] = {
        "merchant": merchant_id,
        "kind": f"products:{reading.form.kind}",
        "file_name": options.file_name,
        "file_hash": options.file_hash,
        "terms_hash": options.terms_hash,
        "actor": options.actor,
        "location": terms.location_id,
        "now": now,
        "since": now - CONTINUED_WITHIN,
    }
    async with database.merchant(merchant_id) as unit:
        if options.file_hash:
            row = await unit.row("import.cut_short", about)
            if row is not None:
                about["import"] = row[0]
                await unit.run("import.continue", about)
                steps = await unit.rows("import.step_numbers", about)
                return int(row[0]), row[1], {int(step[0]) for step in steps}
        row = await unit.row("import.begin", about)
        assert row is not None
        return int(row[0]), now, set()


def _plan_of(reading: CatalogReading) -> ImportPlan:
    return ImportPlan(reading.form, reading.vat_previews)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def read_terms(database: Database, merchant_id: int, location: str | None) -> _Terms:
    """Raises: LocationUnknown."""
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("catalog.ground", {"merchant": merchant_id, "location": location})
    if row is None or row[2] is None:
        raise LocationUnknown(location or "")
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
    """One file on its way into the catalog (with a pen) or into a plan (without).

    ``written``: steps that an earlier process has taken in.
    """

    database: Database
    merchant_id: int
    terms: _Terms
    options: ImportOptions
    plan: ImportPlan
    on_progress: Progress | None
    pen: Pen | None = None
    clock: Clock | None = None
    began_at: datetime | None = None
    written: set[int] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    late: list[ReadProduct] = field(default_factory=list)
    done: int = 0
    continued: int = 0
    row_count: int = 0
    _step: int = 0

    async def walk(self, reading: CatalogReading) -> None:
        """All of it; bundles and moved barcodes last, when the rest is known."""
        self.row_count = reading.row_count
        # Reading is work for the processor: in a thread, a chunk ahead of the database.
        ahead = self._read_ahead(reading)
        try:
            while taken := await ahead:
                ahead = self._read_ahead(reading)
                self.plan.refused.extend(taken.refused)
                self.plan.warnings += taken.warnings
                self.late += taken.late
                if self._step in self.written:
                    await self._recall(self._step, taken.products)
                else:
                    await self._process(taken.products, is_last=False)
                    await self._refresh_statistics()
                self._step += 1
                self._tell()
        finally:
            await asyncio.wait((ahead,))
        await self._walk_late()

    async def _walk_late(self) -> None:
        for step in sorted(each for each in self.written if each >= self._step):
            done = await self._recall(step, ())
            self.late = [rest for each in self.late if (rest := _without(each, done)) is not None]
            self._step = step + 1
        ground = await self._late_ground()
        kept, refused = settle_barcodes(self.late, ground, self.memory)
        self.plan.refused.extend(_with_rows(refused, self.late))
        # Single variants before the bundles that are made of them.
        for is_bundle in (False, True):
            waiting = [read for each in kept for read in _of_kind(each, is_bundle=is_bundle)]
            for chunk in _chunks(waiting):
                await self._process(chunk, is_last=True)
                self._step += 1
                self._tell()

    async def _refresh_statistics(self) -> None:
        """After the first chunk, the second, the fourth: each time the tables have doubled.

        The checks of foreign keys keep the plan that they began with. Made for empty tables, it may
        walk all rows of the merchant for each (measured: 200 µs a row instead of 20, and growing);
        new statistics make them plan again.
        """
        count = self._step + 1
        if self.pen is not None and not count & (count - 1):
            async with self.database.merchant(self.merchant_id) as unit:
                await unit.run("keeping.refresh_statistics")

    def _read_ahead(self, reading: CatalogReading) -> asyncio.Task[_Taken | None]:
        return asyncio.create_task(
            asyncio.to_thread(_take, reading.records, self.memory.claims), name="read a file"
        )

    def _tell(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.done + len(self.plan.refused), self.row_count)

    async def _recall(self, step_number: int, chunk: Sequence[ReadProduct]) -> set[str]:
        """What an earlier process did with a chunk, as if it had been done here; its SKUs."""
        assert self.pen is not None
        key = {"merchant": self.merchant_id, "import": self.pen.import_id, "step": step_number}
        async with self.database.merchant(self.merchant_id) as unit:
            row = await unit.row("import.step", key)
        assert row is not None
        step = Step.unpacked(bytes(row[0]))
        refused = step.refusals()
        waiting = set(step.waiting)
        skus = {draft.sku for read in chunk for draft in read.draft.variants}
        skus = (skus or set(step.taken)) - waiting - {each.sku for each in refused if each.sku}
        step.remember(self.memory, skus)
        self.late += [
            part(read, places)
            for read in chunk
            if (places := [n for n, d in enumerate(read.draft.variants) if d.sku in waiting])
        ]
        self.plan.refused.extend(_with_rows(refused, chunk or self.late))
        step.note(self.plan)
        self.done += len(skus)
        self.continued += len(skus)
        return skus | {each.sku for each in refused if each.sku}

    async def _process(self, chunk: Sequence[ReadProduct], *, is_last: bool) -> None:
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("catalog.plan_by_key")
            ground = await self._with_moved(unit, chunk, await self._ground(unit, chunk))
            compared = compare(
                chunk, ground, self.memory, currency=self.terms.currency, is_last=is_last
            )
            step = Step.of(compared, is_last=is_last)
            if self.pen is not None and self.clock is not None:
                now = self.clock.now()
                about = {"merchant": self.merchant_id, "import": self.pen.import_id}
                facts = {"step": self._step, "facts": step.packed()}
                await unit.run("import.add_step", about | facts)
                await self.pen.write(unit, compared, ground, now)
        self.late += compared.late
        self.plan.refused.extend(_with_rows(compared.refused, chunk))
        self.plan.warnings += compared.warnings
        step.note(self.plan)
        self.done += len(compared.entries)

    async def _ground(self, unit: UnitOfWork, products: Sequence[ReadProduct]) -> Ground:
        """What the catalog holds of these drafts; locked when it is about to be written."""
        drafts = [draft for read in products for draft in read.draft.variants]
        return await read_ground(
            unit,
            self.merchant_id,
            self.terms.location_id,
            skus={draft.sku for draft in drafts},
            components={sku for draft in drafts for sku in draft.bundle},
            models={read.draft.model_code for read in products},
            barcodes={draft.barcode for draft in drafts if draft.barcode is not None},
            is_locked=self.pen is not None,
        )

    async def _with_moved(
        self, unit: UnitOfWork, chunk: Sequence[ReadProduct], ground: Ground
    ) -> Ground:
        """The ground with what others have moved since the import began."""
        counted = [
            stored
            for read in chunk
            for draft in read.draft.variants
            if draft.quantity is not None
            and (stored := ground.variants.get(draft.sku)) is not None
            and (self.written or stored.state.on_hand != draft.quantity)
        ]
        if self.pen is None or not counted:
            return ground
        skus = {stored.variant_id: stored.state.sku for stored in counted}
        key: dict[str, object] = {
            "merchant": self.merchant_id,
            "location": self.terms.location_id,
            "variants": sorted(skus),
            "actor": self.pen.actor,
            "since": self.began_at,
        }
        rows = await unit.rows("import.moved_since", key)
        moved = {skus[variant]: (int(delta), bool(counted)) for variant, delta, counted in rows}
        return replace(ground, moved=moved)

    async def _late_ground(self) -> Ground:
        variants: dict[str, StoredVariant] = {}
        holders: dict[str, Sequence[str]] = {}
        for chunk in _chunks(self.late):
            async with self.database.merchant(self.merchant_id) as unit:
                ground = await self._ground(unit, chunk)
            variants |= ground.variants
            holders |= ground.holders
        return Ground(variants, {}, holders)


async def read_ground(
    unit: UnitOfWork,
    merchant_id: int,
    location_id: int,
    *,
    skus: set[str],
    components: set[str],
    models: set[str],
    barcodes: set[str],
    is_locked: bool,
) -> Ground:
    """What the catalog holds of these, with the products that the variants belong to."""
    key: dict[str, object] = {"merchant": merchant_id, "location": location_id}
    if is_locked:
        await unit.run("catalog.lock_products", key | {"models": sorted(models)})
        await unit.run("catalog.lock_variants", key | {"skus": sorted(skus)})
    variants = {
        stored.state.sku: stored
        for row in await unit.rows("catalog.variants", key | {"skus": sorted(skus | components)})
        if (stored := _stored(row))
    }
    models = models | {stored.state.model_code for stored in variants.values()}
    found = await unit.rows("catalog.products", key | {"models": sorted(models)})
    holders: dict[str, list[str]] = {}
    if barcodes:
        for barcode, sku in await unit.rows(
            "catalog.barcode_holders", key | {"barcodes": sorted(barcodes)}
        ):
            holders.setdefault(barcode, []).append(sku)
    products = {row[1]: _product(row) for row in found}
    return Ground(variants, products, holders, {row[1]: row[0] for row in found})


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
            refused = [Refusal(row_number, draft.sku, fault.reason, fault.params)]
            taken.refused += _with_rows(refused, [read])
    return read if len(places) == len(read.draft.variants) else part(read, places)


def _with_rows(refused: Sequence[Refusal], products: Sequence[ReadProduct]) -> list[Refusal]:
    """Refusals with the cells of their rows, so that they can be mended and read again."""
    if not refused:
        return []
    rows = {
        (row_number, draft.sku): raw_row
        for read in products
        for row_number, draft, raw_row in zip(
            read.variant_rows, read.draft.variants, read.raw_rows, strict=bool(read.raw_rows)
        )
    }
    return [
        replace(each, raw_row=rows.get((each.row_number, each.sku or ""), each.raw_row))
        for each in refused
    ]


def _fault_of_claim(claims: Claims, draft: VariantDraft, row_number: int) -> Fault | None:
    try:
        claims.claim(draft, row_number)
    except Fault as fault:
        return fault
    return None


def _stored(row: TupleRow) -> StoredVariant:
    variant_id, product_id, is_component, *plain, image_urls, bundle, on_hand = row
    fields = [*plain, tuple(image_urls), bundle or {}, on_hand]
    return StoredVariant(variant_id, product_id, is_component, VariantState(*fields))


def _product(row: TupleRow) -> ProductState:
    fields = [*row[1:-1], tuple(row[-1])]
    return ProductState(*fields)


def _without(read: ReadProduct, skus: set[str]) -> ReadProduct | None:
    """The product without these of its variants."""
    places = [n for n, draft in enumerate(read.draft.variants) if draft.sku not in skus]
    return part(read, places) if places else None


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
