"""Putting an import back as one: planned first, then chunk by chunk, the last one first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from meschain.app.commands.import_products.putback import (
    Keeping,
    Kept,
    Memory,
    PutBack,
    Use,
    put_back,
)
from meschain.app.commands.import_products.state import FieldChange, changes_of
from meschain.app.commands.import_products.step import Step
from meschain.app.commands.import_products.walk import read_ground, read_terms, working_alone
from meschain.app.commands.import_products.write import Pen
from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.app.commands.import_products.compare import Ground
    from meschain.app.commands.import_products.walk import Progress
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork


class ImportUnknown(LookupError):
    """No import of that number, or one that kept nothing to put back."""


class AlreadyUndone(RuntimeError):
    """It has been put back before."""


class PutBackChange(msgspec.Struct, frozen=True):
    """A SKU or model code with what goes back."""

    code: str
    changes: tuple[FieldChange, ...]


@dataclass(slots=True)
class UndoPlan:
    """What putting an import back would do, or has done; in the reverse order of the import."""

    put_back: list[PutBackChange] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    moved_back: int = 0  # variants whose units were moved back

    @property
    def counts(self) -> dict[str, int]:
        """The figures, by name."""
        return {
            "put_back": len(self.put_back),
            "removed": len(self.removed),
            "moved_back": self.moved_back,
            "kept": len(self.kept),
        }

    def note(self, back: PutBack) -> None:
        """Count a chunk in."""
        self.kept += back.kept
        self.removed += [each.state.sku for each in back.removed]
        self.moved_back += len(back.counter)
        for entry in back.compared.entries:
            assert entry.before is not None
            changes = changes_of(entry.before.state, entry.after)
            self.put_back.append(PutBackChange(entry.after.sku, changes))
        for before, after in back.compared.products:
            if before is not None:
                self.put_back.append(PutBackChange(after.model_code, changes_of(before, after)))


async def undo_import(
    database: Database,
    clock: Clock,
    merchant_id: int,
    import_id: int,
    *,
    actor: str,
    is_plan: bool = False,
    on_progress: Progress | None = None,
) -> UndoPlan:
    """Put back what the import changed and nobody has changed since; the ledger only grows.

    Cut short, the same call goes on. Raises: ImportUnknown, AlreadyUndone, ImportBusy.
    """
    async with working_alone(database, merchant_id):
        location_id, steps = await read_run(database, merchant_id, import_id)
        terms = await read_terms(database, merchant_id, None)
        pen = Pen(
            merchant_id,
            location_id or terms.location_id,
            terms.language,
            import_id,
            reason="",
            actor=f"undo:{import_id}",
            event_kind="catalog.import_undone",
        )
        undo = _Undo(database, clock, pen, steps[::-1], on_progress)
        # Who may have a barcode back is known only when all chunks have been looked at.
        if is_plan or await undo.restores_barcodes():
            planned = await undo.walk(is_plan=True)
            if kept := undo.memory.settle_barcodes():
                undo.memory = Memory(barcodes_kept=kept)
                planned = await undo.walk(is_plan=True)
            if is_plan:
                return planned
        undo.memory = Memory(barcodes_kept=undo.memory.barcodes_kept)
        plan = await undo.walk(is_plan=False)
        async with database.merchant(merchant_id) as unit:
            await end_undo(unit, clock, merchant_id, import_id, plan, actor=actor)
        return plan


async def read_run(
    database: Database, merchant_id: int, import_id: int
) -> tuple[int | None, list[int]]:
    """Where a run counted units, and its chunks. Raises: ImportUnknown, AlreadyUndone."""
    key: dict[str, object] = {"merchant": merchant_id, "import": import_id}
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("import.run", key)
        steps = [int(each[0]) for each in await unit.rows("import.step_numbers", key)]
    if row is None or not steps:
        raise ImportUnknown(str(import_id))
    _, location_id, undone_at = row
    if undone_at is not None:
        raise AlreadyUndone(str(import_id))
    return location_id, steps


async def end_undo(
    unit: UnitOfWork, clock: Clock, merchant_id: int, import_id: int, plan: UndoPlan, *, actor: str
) -> None:
    """Record who put the import back, and what came of it."""
    counts = msgspec.json.encode(plan.counts).decode()
    facts = msgspec.json.encode({"import_id": import_id, **plan.counts}).decode()
    at = {"merchant": merchant_id, "import": import_id, "now": clock.now(), "actor": actor}
    await unit.run("import.end_undo", at | {"counts": counts})
    await unit.run("catalog.add_audit", at | {"action": "import.undo", "facts": facts})


@dataclass(slots=True)
class _Undo:
    database: Database
    clock: Clock
    pen: Pen
    steps: list[int]
    on_progress: Progress | None
    memory: Memory = field(default_factory=Memory)

    async def restores_barcodes(self) -> bool:
        """Whether any variant had another barcode before."""
        for step_number in self.steps:
            async with self.database.merchant(self.pen.merchant_id) as unit:
                step = await self._step(unit, step_number)
            if any(
                each.before and each.before.barcode != each.after.barcode for each in step.variants
            ):
                return True
        return False

    async def _step(self, unit: UnitOfWork, step_number: int) -> Step:
        row = await unit.row("import.step", self._key(step=step_number))
        assert row is not None
        return Step.unpacked(bytes(row[0]))

    async def walk(self, *, is_plan: bool) -> UndoPlan:
        """All chunks of the import, the last one first."""
        plan = UndoPlan()
        for place, step_number in enumerate(self.steps, 1):
            async with self.database.merchant(self.pen.merchant_id) as unit:
                await unit.run("catalog.plan_by_key")
                step = await self._step(unit, step_number)
                if step.location:
                    self.pen = replace(self.pen, location_id=step.location)
                ground = await self._ground(unit, step, is_plan=is_plan)
                await self._safety(unit, step, ground, plan, is_plan=is_plan)
                back = put_back(step, ground, await self._use(unit, step, ground), self.memory)
                if not is_plan:
                    await self._write(unit, back, ground)
            plan.note(back)
            if self.on_progress is not None:
                self.on_progress(place, len(self.steps))
        return plan

    def _key(self, **more: object) -> dict[str, object]:
        pen = self.pen
        return {
            "merchant": pen.merchant_id,
            "location": pen.location_id,
            "import": pen.import_id,
            "actors": [f"import:{pen.import_id}", pen.actor],
            **more,
        }

    async def _ground(self, unit: UnitOfWork, step: Step, *, is_plan: bool) -> Ground:
        """The catalog as it is; locked against everybody when it is about to be written."""
        skus = step.skus
        if not is_plan:
            created = sorted(each.after.sku for each in step.variants if each.before is None)
            await unit.run("import.lock_created", self._key(skus=created))
        updated = [each.before for each in step.variants if each.before is not None]
        ground = await read_ground(
            unit,
            self.pen.merchant_id,
            self.pen.location_id,
            skus=skus,
            components={part for before in updated for part in before.bundle},
            models={each.after.model_code for each in step.products}
            | {before.model_code for before in updated},
            barcodes={before.barcode for before in updated if before.barcode is not None},
            is_locked=not is_plan,
        )
        if is_plan:
            return ground
        # Units may have moved until now; from here to the commit they stand still.
        variants = sorted(ground.variants[sku].variant_id for sku in skus & ground.variants.keys())
        levels: dict[int, int] = dict(
            await unit.rows("catalog.lock_levels", self._key(variants=variants))
        )
        held = {
            sku: msgspec.structs.replace(
                stored,
                state=msgspec.structs.replace(stored.state, on_hand=levels.get(stored.variant_id)),
            )
            for sku, stored in ground.variants.items()
            if sku in skus
        }
        return replace(ground, variants={**ground.variants, **held})

    async def _safety(
        self, unit: UnitOfWork, step: Step, ground: Ground, plan: UndoPlan, *, is_plan: bool
    ) -> None:
        """Units held back, where they are what the sheet said; a count that follows sees them."""
        ids = {
            ground.variants[each.sku].variant_id: each
            for each in step.safety
            if each.sku in ground.variants
        }
        if not ids:
            return
        levels = await unit.rows("sheet.levels", self._key(variants=sorted(ids)))
        back: dict[int, int] = {}
        for variant, _, held in levels:
            each = ids[variant]
            if held == each.after:
                back[variant] = each.before
                change = FieldChange("safety_stock", held, each.before)
                plan.put_back.append(PutBackChange(each.sku, (change,)))
            elif held != each.before:
                plan.kept.append(Kept(each.sku, ("safety_stock",), Keeping.EDITED))
        if back and not is_plan:
            at = self._key(variants=list(back), units=list(back.values()))
            await unit.run("sheet.set_safety_stocks", at)
            now_us = microseconds(self.clock.now())
            row = await unit.row("catalog.refresh_quantity", at | {"now_us": now_us})
            assert row is not None
            unit.wake(row[0])

    async def _use(self, unit: UnitOfWork, step: Step, ground: Ground) -> Use:
        created = [
            ground.variants[each.after.sku].variant_id
            for each in step.variants
            if each.before is None and each.after.sku in ground.variants
        ]
        counted = [
            ground.variants[each.after.sku].variant_id
            for each in step.variants
            if each.after.on_hand != (each.before.on_hand if each.before else None)
            and each.after.sku in ground.variants
        ]
        bundles: dict[str, set[str]] = {}
        for component, bundle in await unit.rows("import.bundles_of", self._key(variants=created)):
            bundles.setdefault(component, set()).add(bundle)
        return Use(
            in_use=dict(await unit.rows("import.in_use", self._key(variants=created))),
            bundles={sku: frozenset(each) for sku, each in bundles.items()},
            moved={
                variant: (delta, was_counted)
                for variant, delta, was_counted in await unit.rows(
                    "import.moved", self._key(variants=counted)
                )
            },
        )

    async def _write(self, unit: UnitOfWork, back: PutBack, ground: Ground) -> None:
        now = self.clock.now()
        at = self._key(now=now, now_us=microseconds(now))
        await self.pen.write(unit, back.compared, ground, now)
        if back.counter:
            variants = sorted(back.counter)
            row = await unit.row(
                "catalog.move_stock",
                at
                | {
                    "kind": "adjustment",
                    "variants": variants,
                    "deltas": [back.counter[variant] for variant in variants],
                    "reason": "",
                    "actor": self.pen.actor,
                },
            )
            assert row is not None
            unit.wake(row[0])
        gone = sorted(each.variant_id for each in back.removed)
        empty = sorted([*back.uncounted, *gone])
        if empty:
            await unit.run("import.drop_levels", at | {"variants": empty})
        if gone:
            await self._remove(unit, back, gone, at)

    async def _remove(
        self, unit: UnitOfWork, back: PutBack, gone: list[int], at: Mapping[str, object]
    ) -> None:
        if any(each.state.bundle for each in back.removed):
            await unit.run("catalog.drop_components", {**at, "variants": gone})
        await unit.run("import.drop_variants", {**at, "variants": gone})
        models = sorted({each.state.model_code for each in back.removed})
        await unit.run("catalog.drop_empty_products", {**at, "models": models})
        facts = msgspec.json.encode({"import_id": self.pen.import_id, "removed": gone}).decode()
        await unit.run("catalog.add_event", {**at, "kind": self.pen.event_kind, "facts": facts})
