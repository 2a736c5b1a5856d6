"""One import of a sheet: who, which file, and its record in ``import_run`` and the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from meschain.app.commands.import_products.step import Step
from meschain.app.commands.import_products.walk import CONTINUED_WITHIN, working_alone

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

Progress = Callable[[int, int], None]
"""Told rows done and rows in all (0: not known)."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run under way. ``former``: the chunks that a process wrote which was cut short.

    ``actor`` is named in ledger and audit.
    """

    import_id: int
    began_at: datetime
    former: tuple[Step, ...]
    actor: str

    @property
    def changed(self) -> int:
        """SKUs that the former chunks changed."""
        return len({(step.location, sku) for step in self.former for sku in step.skus})


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRun:
    """What an import is told. ``is_plan``: nothing is written, not even that it was asked.

    ``terms_hash``: a fingerprint of how the file is read; cut short, it is continued only so.
    """

    database: Database
    clock: Clock
    merchant_id: int
    actor: str
    file_name: str
    file_hash: bytes
    terms_hash: bytes = b""
    is_plan: bool = False
    on_progress: Progress | None = None

    @property
    def key(self) -> dict[str, object]:
        return {"merchant": self.merchant_id}

    def tell(self, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(done, total)

    @asynccontextmanager
    async def begun(
        self, kind: str, *, location: int | None = None, is_alone: bool = True
    ) -> AsyncIterator[Begun]:
        """The run's record; a plan has none. ``is_alone``: no other import meanwhile.

        A run of the same file that was cut short is continued. ``location``: where units are
        counted. Raises: ImportBusy.
        """
        if self.is_plan:
            yield Begun(0, self.clock.now(), (), self.actor)
            return
        alone = working_alone(self.database, self.merchant_id, self.clock)
        async with alone if is_alone else nullcontext():
            yield await self._begin(kind, location)

    async def _begin(self, kind: str, location: int | None) -> Begun:
        now = self.clock.now()
        about = self.key | {
            "kind": kind,
            "file_name": self.file_name,
            "file_hash": self.file_hash,
            "terms_hash": self.terms_hash,
            "actor": self.actor,
            "location": location,
            "now": now,
            "since": now - CONTINUED_WITHIN,
        }
        async with self.database.merchant(self.merchant_id) as unit:
            row = await unit.row("import.cut_short", about)
            if row is None:
                row = await unit.row("import.begin", about)
                assert row is not None
                return Begun(int(row[0]), now, (), f"import:{row[0]}")
            at = about | {"import": row[0]}
            await unit.run("import.continue", at)
            steps = await unit.rows("import.steps", at)
        former = tuple(Step.unpacked(bytes(facts)) for (facts,) in steps)
        return Begun(int(row[0]), row[1], former, f"import:{row[0]}")

    async def note(self, unit: UnitOfWork, import_id: int, step_number: int, step: Step) -> None:
        """What a chunk changes, written with it, so that the run can be put back."""
        facts = {"step": step_number, "facts": step.packed()}
        await unit.run("import.add_step", self.key | {"import": import_id} | facts)

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
