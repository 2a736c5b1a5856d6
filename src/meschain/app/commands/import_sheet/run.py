"""One import of a sheet: who, which file, and its record in ``import_run`` and the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from meschain.app.commands.import_products.step import Step

if TYPE_CHECKING:
    from meschain.app.commands.import_products.step import VariantStep
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

Progress = Callable[[int, int], None]
"""Told rows done and rows in all (0: not known)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRun:
    """What an import is told. ``is_plan``: nothing is written, not even that it was asked."""

    database: Database
    clock: Clock
    merchant_id: int
    actor: str
    file_name: str
    file_hash: bytes
    is_plan: bool = False
    on_progress: Progress | None = None

    @property
    def key(self) -> dict[str, object]:
        return {"merchant": self.merchant_id}

    def tell(self, done: int) -> None:
        if self.on_progress is not None:
            self.on_progress(done, 0)

    async def begin(self, kind: str, *, location: int | None = None) -> int:
        """The number of the import run; 0 for a plan. ``location``: where units were counted."""
        if self.is_plan:
            return 0
        async with self.database.merchant(self.merchant_id) as unit:
            row = await unit.row(
                "import.begin",
                self.key
                | {
                    "kind": kind,
                    "file_name": self.file_name,
                    "file_hash": self.file_hash,
                    "terms_hash": b"",
                    "actor": self.actor,
                    "location": location,
                    "now": self.clock.now(),
                },
            )
        assert row is not None
        return int(row[0])

    async def note(
        self, unit: UnitOfWork, import_id: int, step: int, changed: list[VariantStep]
    ) -> None:
        """What a chunk changes, written with it, so that the run can be put back."""
        facts = Step(
            variants=changed,
            products=[],
            left=[],
            spoken=[],
            unchanged=0,
            refused=[],
            waiting=[],
            taken=[],
        ).packed()
        at = self.key | {"import": import_id, "step": step, "facts": facts}
        await unit.run("import.add_step", at)

    async def end(self, import_id: int, kind: str, counts: Mapping[str, object]) -> None:
        if self.is_plan:
            return
        at = self.key | {"now": self.clock.now()}
        facts = {"import_id": import_id, "file_name": self.file_name, **counts}
        async with self.database.merchant(self.merchant_id) as unit:
            said = msgspec.json.encode(counts).decode()
            await unit.run("catalog.end_import", at | {"import": import_id, "counts": said})
            await unit.run(
                "catalog.add_audit",
                at
                | {
                    "actor": self.actor,
                    "action": f"import.{kind}",
                    "facts": msgspec.json.encode(facts).decode(),
                },
            )
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("keeping.refresh_statistics")
