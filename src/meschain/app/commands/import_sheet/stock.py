"""Counted units and safety stock out of a sheet, by SKU and place."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.import_products.state import VariantState
from meschain.app.commands.import_products.step import SafetyStep, Step, VariantStep
from meschain.app.commands.import_sheet.refusal import SheetReason, SheetRefusal
from meschain.channel.clock import microseconds
from meschain.exchange import FileRefused, Reason
from meschain.exchange.damage import check_sku
from meschain.exchange.fault import Fault
from meschain.exchange.refused import RefusedRows
from meschain.exchange.sheet.named import NamedRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg.rows import TupleRow

    from meschain.app.commands.import_sheet.run import Begun, SheetRun
    from meschain.exchange import RowWarning, SourceForm
    from meschain.exchange.sheet.named import NamedSheet
    from meschain.store.unit_of_work import UnitOfWork

CHUNK: Final = 5_000  # sales run beside it undisturbed
KIND: Final = "stock"


class LevelChange(msgspec.Struct, frozen=True, kw_only=True):
    """One SKU at one place, before and after; None: never counted there."""

    row_number: int
    sku: str
    location: str
    quantity_before: int | None
    quantity: int | None
    safety_stock_before: int
    safety_stock: int


@dataclass(slots=True)
class StockPlan:
    """What a sheet would do, or has done."""

    form: SourceForm
    warnings: tuple[RowWarning, ...]
    import_id: int = 0
    changed: list[LevelChange] = field(default_factory=list)
    unchanged: int = 0
    refused: RefusedRows[SheetRefusal] = field(default_factory=lambda: RefusedRows(SheetRefusal))

    @property
    def counts(self) -> dict[str, int]:
        changed, refused = len(self.changed), len(self.refused)
        return {"changed": changed, "unchanged": self.unchanged, "refused": refused}


@dataclass(frozen=True, slots=True)
class _Wanted:
    row: NamedRow
    sku: str
    quantity: int | None
    safety_stock: int | None

    def refused(self, reason: SheetReason, **params: str) -> SheetRefusal:
        return SheetRefusal(self.row.number, self.sku, reason, params, self.row.raw_row)


async def import_stock(run: SheetRun, sheet: NamedSheet, *, location: str | None) -> StockPlan:
    """Take the sheet in, or say what it would change.

    ``location`` is the place of rows that name none; None: the default one. A count is compared
    under the level's lock, so that a sale in the same moment is not lost. Raises: FileRefused.
    """
    if not {"quantity", "safety_stock"} & sheet.fields:
        raise FileRefused(Reason.HEADER_NO_COLUMN, column="quantity")
    plan = StockPlan(sheet.form, sheet.warnings)
    async with run.database.merchant(run.merchant_id) as unit:
        found = await unit.rows("sheet.locations", run.key)
    places = {str(code): int(place) for place, code, _ in found}
    home = location or next((str(code) for _, code, is_default in found if is_default), "")
    async with run.begun(KIND, location=places.get(home)) as begun:
        plan.import_id = begun.import_id
        walk = _Walk(run, plan, places, begun, steps=len(begun.former))
        done = 0
        for chunk in _chunks(_wanted(sheet, home, places, plan)):
            for code, wanted in sorted(chunk.items()):
                await walk.take(code, wanted)
                done += len(wanted)
            run.tell(done + len(plan.refused), sheet.row_count)
        plan.refused.sort()
        former = {
            "changed": len(plan.changed) + begun.changed,
            "unchanged": plan.unchanged - begun.changed,
        }
        await run.end(plan.import_id, KIND, plan.counts | former)
    return plan


def _wanted(
    sheet: NamedSheet, home: str, places: Mapping[str, int], plan: StockPlan
) -> Iterator[tuple[str, _Wanted]]:
    """Place and what a row wants there; what is refused goes into the plan."""
    seen: dict[tuple[str, str], int] = {}
    for row in sheet.rows():
        if not isinstance(row, NamedRow):
            plan.refused.append(SheetRefusal.of(row))
            continue
        sku = row.text("sku")
        try:
            check_sku(sku)
            wanted = _Wanted(row, sku, row.whole("quantity"), row.whole("safety_stock"))
        except Fault as fault:
            plan.refused.append(SheetRefusal.of(row.refused(sku, fault)))
            continue
        code = row.text("location") or home
        first = seen.setdefault((sku, code), row.number)
        if wanted.quantity is None and wanted.safety_stock is None:
            plan.refused.append(wanted.refused(SheetReason.NOTHING))
        elif first != row.number:
            plan.refused.append(wanted.refused(SheetReason.TWICE, row=str(first)))
        elif code not in places:
            plan.refused.append(wanted.refused(SheetReason.LOCATION_UNKNOWN, value=code))
        else:
            yield code, wanted


def _chunks(rows: Iterator[tuple[str, _Wanted]]) -> Iterator[dict[str, list[_Wanted]]]:
    chunk: defaultdict[str, list[_Wanted]] = defaultdict(list)
    size = 0
    for code, wanted in rows:
        chunk[code].append(wanted)
        size += 1
        if size == CHUNK:
            yield chunk
            chunk, size = defaultdict(list), 0
    if chunk:
        yield chunk


@dataclass(slots=True)
class _Walk:
    run: SheetRun
    plan: StockPlan
    places: Mapping[str, int]
    begun: Begun
    steps: int

    async def take(self, code: str, chunk: Sequence[_Wanted]) -> None:
        """One place's part of a chunk: a transaction of its own, for locks go by variant first."""
        run, plan = self.run, self.plan
        now = run.clock.now()
        at = run.key | {
            "location": self.places[code],
            "now": now,
            "now_us": microseconds(now),
            "actor": self.begun.actor,
            "reason": run.file_name,
        }
        async with run.database.merchant(run.merchant_id) as unit:
            rows = await unit.rows(
                "stock.variants", at | {"skus": sorted(each.sku for each in chunk)}
            )
            held = {str(row[1]): row for row in rows}
            known = {int(held[each.sku][0]): each for each in chunk if self._stands(each, held)}
            variants = sorted(known)
            before = await unit.rows("sheet.levels", at | {"variants": variants})
            counted = {int(variant) for variant, _, _ in before}
            if not run.is_plan:
                await unit.run("stock.ensure_levels", at | {"variants": variants})
                before = await unit.rows("sheet.lock_levels", at | {"variants": variants})
            levels = {
                int(variant): (int(on_hand), int(safety)) for variant, on_hand, safety in before
            }
            moved = await self._moved(unit, at, variants)
            changes: dict[int, LevelChange] = {}
            for variant in variants:
                on_hand, safety = levels.get(variant, (0, 0))
                wanted = known[variant]
                delta, was_counted = moved.get(variant, (0, False))
                if was_counted and wanted.quantity is not None:
                    kept = str(on_hand)
                    plan.refused.append(wanted.refused(SheetReason.COUNTED_SINCE, kept=kept))
                    continue
                quantity = on_hand if variant in counted else None
                change = LevelChange(
                    row_number=wanted.row.number,
                    sku=wanted.sku,
                    location=code,
                    quantity_before=quantity,
                    quantity=quantity
                    if wanted.quantity is None
                    else max(wanted.quantity + delta, 0),
                    safety_stock_before=safety,
                    safety_stock=safety if wanted.safety_stock is None else wanted.safety_stock,
                )
                if change.quantity != change.quantity_before or change.safety_stock != safety:
                    changes[variant] = change
                else:
                    plan.unchanged += 1
            plan.changed += sorted(changes.values(), key=lambda change: change.row_number)
            if changes and not run.is_plan:
                step = _step(changes, {str(row[1]): str(row[3]) for row in rows}, self.places[code])
                await run.note(unit, plan.import_id, self.steps, step)
                await _write(unit, at, changes, counted)
                self.steps += 1

    async def _moved(
        self, unit: UnitOfWork, at: Mapping[str, object], variants: list[int]
    ) -> dict[int, tuple[int, bool]]:
        """Units that others have moved since the sheet was counted, where it was cut short then."""
        if not self.begun.former:
            return {}
        about = {"variants": variants, "since": self.begun.began_at}
        rows = await unit.rows("import.moved_since", {**at, **about})
        return {int(each): (int(delta), bool(counted)) for each, delta, counted in rows}

    def _stands(self, wanted: _Wanted, held: Mapping[str, TupleRow]) -> bool:
        row = held.get(wanted.sku)
        if row is None:
            self.plan.refused.append(wanted.refused(SheetReason.SKU_UNKNOWN))
        elif row[2]:
            self.plan.refused.append(wanted.refused(SheetReason.BUNDLE))
        else:
            return True
        return False


def _step(changes: Mapping[int, LevelChange], currencies: Mapping[str, str], location: int) -> Step:
    """Counts and safety stock before and after; nothing else is compared when put back."""
    variants: list[VariantStep] = []
    safety: list[SafetyStep] = []
    for change in changes.values():
        if change.quantity != change.quantity_before:
            currency = currencies[change.sku]
            before = VariantState(change.sku, "", currency, on_hand=change.quantity_before)
            after = msgspec.structs.replace(before, on_hand=change.quantity)
            variants.append(VariantStep(change.row_number, before, after))
        if change.safety_stock != change.safety_stock_before:
            held = (change.safety_stock_before, change.safety_stock)
            safety.append(SafetyStep(change.sku, *held))
    return Step(variants=variants, safety=safety, location=location)


async def _write(
    unit: UnitOfWork,
    at: dict[str, object],
    changes: Mapping[int, LevelChange],
    counted: set[int],
) -> None:
    """Safety stock first, so that the movements' refresh of what channels show sees both."""
    held_back = {
        variant: change.safety_stock
        for variant, change in changes.items()
        if change.safety_stock != change.safety_stock_before
    }
    if held_back:
        await unit.run(
            "sheet.set_safety_stocks",
            at | {"variants": list(held_back), "units": list(held_back.values())},
        )
    for kind in ("receipt", "adjustment"):
        deltas = {
            variant: (change.quantity or 0) - (change.quantity_before or 0)
            for variant, change in changes.items()
            if (variant in counted) is (kind == "adjustment")
        }
        if deltas:
            touched = await unit.row(
                "catalog.move_stock",
                at | {"kind": kind, "variants": list(deltas), "deltas": list(deltas.values())},
            )
            assert touched is not None
            unit.wake(touched[0])
    variants = sorted(changes)
    facts = {"counting": "sheet", "variants": variants[:100], "count": len(variants)}
    said = msgspec.json.encode(facts).decode()
    await unit.run("catalog.add_event", at | {"kind": "stock.changed", "facts": said})
