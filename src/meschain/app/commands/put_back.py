"""Put any import back as one: of products, daily sheets, the mapping table, past orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meschain.app.commands.import_products.putback import Keeping, Kept
from meschain.app.commands.import_products.state import FieldChange
from meschain.app.commands.import_products.step import Step
from meschain.app.commands.import_products.undo import (
    ImportUnknown,
    PutBackChange,
    UndoPlan,
    end_undo,
    read_run,
    undo_import,
)
from meschain.app.commands.import_products.walk import working_alone
from meschain.app.commands.mapping import KIND as MAPPING
from meschain.app.commands.mapping import put_rows, row_of
from meschain.sync.listing.mapping import MappingRow, mapping_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meschain.app.commands.import_products.walk import Progress
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

ORDERS: Final = "orders"


async def put_import_back(
    database: Database,
    clock: Clock,
    merchant_id: int,
    import_id: int,
    *,
    actor: str,
    is_plan: bool = False,
    on_progress: Progress | None = None,
) -> UndoPlan:
    """Put back what the import changed and nobody has changed since, or only say it.

    Cut short, the same call goes on. Raises: ImportUnknown, AlreadyUndone, ImportBusy.
    """
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("import.run", {"merchant": merchant_id, "import": import_id})
    if row is None:
        raise ImportUnknown(str(import_id))
    if row[0] not in (MAPPING, ORDERS):
        return await undo_import(
            database,
            clock,
            merchant_id,
            import_id,
            actor=actor,
            is_plan=is_plan,
            on_progress=on_progress,
        )
    put_back = _put_mapping_back if row[0] == MAPPING else _put_orders_back
    async with working_alone(database, merchant_id):
        _, numbers = await read_run(database, merchant_id, import_id)
        async with database.merchant(merchant_id) as unit:
            steps = [
                Step.unpacked(bytes(facts))
                for (facts,) in await unit.rows(
                    "import.steps", {"merchant": merchant_id, "import": import_id}
                )
            ]
            plan = UndoPlan()
            await put_back(unit, merchant_id, import_id, steps, plan, is_plan=is_plan)
            if not is_plan:
                await end_undo(unit, clock, merchant_id, import_id, plan, actor=actor)
        if on_progress is not None:
            on_progress(len(numbers), len(numbers))
    return plan


async def _put_mapping_back(
    unit: UnitOfWork,
    merchant_id: int,
    _: int,
    steps: Iterable[Step],
    plan: UndoPlan,
    *,
    is_plan: bool,
) -> None:
    held = {row.key: row for row in await mapping_rows(unit, merchant_id, None)}
    put: list[MappingRow] = []
    gone: list[MappingRow] = []
    for step in steps:
        for stood, stated in step.mapping:
            before, after = row_of(stood), row_of(stated)
            row = after or before
            assert row is not None
            now = held.get(row.key)
            code = " ".join(filter(None, (row.marketplace, row.kind, row.scope, row.ours)))
            if now == before:
                continue
            if now != after:
                plan.kept.append(Kept(code, ("theirs",), Keeping.EDITED))
            elif before is None:
                gone.append(row)
                plan.removed.append(code)
            else:
                put.append(before)
                change = FieldChange("theirs", after.theirs if after else None, before.theirs)
                plan.put_back.append(PutBackChange(code, (change,)))
    if not is_plan:
        await put_rows(unit, merchant_id, put, gone)


async def _put_orders_back(
    unit: UnitOfWork,
    merchant_id: int,
    import_id: int,
    steps: Iterable[Step],
    plan: UndoPlan,
    *,
    is_plan: bool,
) -> None:
    """Orders that the import brought go; those that were there before stay, and are named."""
    made = {tuple(key) for step in steps for key in step.orders_created}
    changed = {tuple(key) for step in steps for key in step.orders_changed} - made
    keys = sorted(made)
    at: dict[str, object] = {
        "merchant": merchant_id,
        "import": import_id,
        "sources": [source for source, _ in keys],
        "numbers": [number for _, number in keys],
    }
    held = await unit.rows("past_order.held", at)
    for source, number, last in held:
        code = f"{source} {number}"
        if last == import_id:
            plan.removed.append(code)
        else:
            plan.kept.append(Kept(code, (), Keeping.EDITED))
    plan.kept += [Kept(" ".join(key), (), Keeping.RESTATED) for key in sorted(changed)]
    if not is_plan:
        await unit.run("past_order.drop", at)
