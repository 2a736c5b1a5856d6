"""What was imported: who, when, which file, and what came of it."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from meschain.store.unit_of_work import Database


class ImportRun(msgspec.Struct, frozen=True, kw_only=True):
    """One import. ``ended_at`` None: it is under way, or was cut short.

    ``can_undo``: it kept what it changed, and was not put back yet.
    """

    import_id: int
    kind: str
    file_name: str
    file_hash: str
    actor: str
    started_at: datetime
    ended_at: datetime | None
    counts: Mapping[str, int]
    undone_at: datetime | None
    undone_by: str | None
    undo_counts: Mapping[str, int] | None
    can_undo: bool

    @property
    def state(self) -> str:
        """``done``, ``undone``, or ``cut_short``."""
        if self.undone_at is not None:
            return "undone"
        return "done" if self.ended_at is not None else "cut_short"


async def read_imports(database: Database, merchant_id: int, *, limit: int) -> list[ImportRun]:
    """The latest first."""
    async with database.merchant(merchant_id) as unit:
        records = await unit.records("import.runs", {"merchant": merchant_id, "limit": limit})
    return [msgspec.convert(record, ImportRun, strict=False) for record in records]
