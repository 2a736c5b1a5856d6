"""Import and export the mapping table as CSV: first the plan, then the same rows applied."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.import_products.step import Step
from meschain.domain.text import fold
from meschain.exchange.sheet.split import split_rows
from meschain.exchange.source import Source
from meschain.sync.listing.mapping import (
    OWN_FIELDS,
    MappingKind,
    MappingRow,
    mapping_rows,
)

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

KIND: Final = "mapping"
COLUMNS: Final = tuple(each.name for each in fields(MappingRow))
_OPTIONAL: Final = frozenset({"theirs_name"})
_DELIMITERS: Final = (",", ";", "\t")
_ROWS_PER_STATEMENT: Final = 5_000


class MappingReason(StrEnum):
    """Why a row is refused; the texts are in ``app/messages.toml``."""

    FIELD_COUNT = "mapping.field_count"  # expected, found
    QUOTING = "mapping.quoting"
    MARKETPLACE_UNKNOWN = "mapping.marketplace_unknown"  # value, known
    KIND_UNKNOWN = "mapping.kind_unknown"  # value, known
    SCOPE_UNEXPECTED = "mapping.scope_unexpected"  # value
    SCOPE_UNREADABLE = "mapping.scope_unreadable"  # value
    OURS_MISSING = "mapping.ours_missing"
    FIELD_UNKNOWN = "mapping.field_unknown"  # value, known
    THEIRS_MISSING = "mapping.theirs_missing"
    DUPLICATE = "mapping.duplicate"  # row
    CHARACTER = "mapping.character"


class MappingFileRefused(ValueError):
    """The file has no header with our columns; ``missing`` names those that were not found."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class RefusedMapping:
    """A row that is left out; ``cells`` as given."""

    row_number: int
    reason: MappingReason
    params: dict[str, str]
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MappingChange:
    """A row before and after; before None: new, after None: taken away."""

    before: MappingRow | None
    after: MappingRow | None


@dataclass(slots=True)
class MappingPlan:
    """What an import would do, or has done."""

    changes: list[MappingChange] = field(default_factory=list)
    unchanged: int = 0
    refused: list[RefusedMapping] = field(default_factory=list)
    import_id: int | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The figures, by name."""
        created = sum(change.before is None for change in self.changes)
        removed = sum(change.after is None for change in self.changes)
        return {
            "created": created,
            "updated": len(self.changes) - created - removed,
            "removed": removed,
            "unchanged": self.unchanged,
            "refused": len(self.refused),
        }


@dataclass(frozen=True, slots=True)
class MappingReading:
    """A file's rows; ``fingerprint``: SHA-256 of its bytes."""

    rows: tuple[MappingRow, ...]
    refused: tuple[RefusedMapping, ...]
    fingerprint: bytes


def read_mapping(source: Path | bytes, marketplaces: Collection[str]) -> MappingReading:
    """The rows of a file that may be used, and the others with their reasons.

    Raises: MappingFileRefused, FileRefused, OSError.
    """
    content = source.read_bytes() if isinstance(source, Path) else source
    opened = Source(content)
    with opened.text(opened.detect_encoding()) as lines:
        text = lines.read().splitlines(keepends=True)
    header = text[0] if text else ""
    delimiter = max(_DELIMITERS, key=header.count)
    table = split_rows(text, delimiter)
    _, names = next(table, (0, ""))
    places = _places(names)
    width = len(names)
    rows: list[MappingRow] = []
    refused: list[RefusedMapping] = []
    seen: dict[tuple[str, str, str, str], int] = {}
    for number, cells in table:
        if isinstance(cells, str):
            refused.append(RefusedMapping(number, MappingReason.QUOTING, {}, (cells,)))
            continue
        judged = _row(cells, places, width, marketplaces)
        if isinstance(judged, MappingRow):
            first = seen.setdefault(judged.key, number)
            if first == number:
                rows.append(judged)
                continue
            judged = (MappingReason.DUPLICATE, {"row": str(first)})
        refused.append(RefusedMapping(number, *judged, tuple(cells)))
    return MappingReading(tuple(rows), tuple(refused), hashlib.sha256(content).digest())


def _places(names: Sequence[str] | str) -> dict[str, int]:
    if isinstance(names, str):
        raise MappingFileRefused(", ".join(COLUMNS))
    places = {fold(name).replace(" ", "_"): place for place, name in enumerate(names)}
    missing = [name for name in COLUMNS if name not in places and name not in _OPTIONAL]
    if missing:
        raise MappingFileRefused(", ".join(missing))
    return {name: places[name] for name in COLUMNS if name in places}


_Fault = tuple[MappingReason, dict[str, str]]


def _row(
    cells: list[str], places: dict[str, int], width: int, marketplaces: Collection[str]
) -> MappingRow | _Fault:
    if len(cells) != width:
        return MappingReason.FIELD_COUNT, {"expected": str(width), "found": str(len(cells))}
    if not "".join(cells).isprintable():
        return MappingReason.CHARACTER, {}
    given = dict.fromkeys(COLUMNS, "") | {
        name: cells[place].strip() for name, place in places.items()
    }
    if given["marketplace"] not in marketplaces:
        known = ", ".join(sorted(marketplaces))
        return MappingReason.MARKETPLACE_UNKNOWN, {"value": given["marketplace"], "known": known}
    if given["kind"] not in tuple(MappingKind):
        known = ", ".join(MappingKind)
        return MappingReason.KIND_UNKNOWN, {"value": given["kind"], "known": known}
    row = MappingRow(
        given["marketplace"],
        MappingKind(given["kind"]),
        given["scope"],
        given["ours"],
        given["theirs"],
        given["theirs_name"],
    )
    return _fault(row) or row


def _fault(row: MappingRow) -> _Fault | None:
    """What is wrong between the columns of a row."""
    if reason := _scope_fault(row):
        return reason, {"value": row.scope}
    if row.kind in {MappingKind.CATEGORY, MappingKind.ATTRIBUTE}:
        if not row.ours:
            return MappingReason.OURS_MISSING, {}
        if not row.theirs:
            return MappingReason.THEIRS_MISSING, {}
    is_field = row.kind is MappingKind.ATTRIBUTE and row.ours.startswith("@")
    if is_field and row.ours not in OWN_FIELDS:
        known = ", ".join(sorted(OWN_FIELDS))
        return MappingReason.FIELD_UNKNOWN, {"value": row.ours, "known": known}
    return None


def _scope_fault(row: MappingRow) -> MappingReason | None:
    match row.kind:
        case MappingKind.CATEGORY | MappingKind.BRAND:
            return MappingReason.SCOPE_UNEXPECTED if row.scope else None
        case MappingKind.ATTRIBUTE:
            return MappingReason.SCOPE_UNREADABLE if "/" in row.scope else None
        case MappingKind.VALUE:
            _, _, attribute = row.scope.partition("/")
            is_readable = attribute and "/" not in attribute
            return None if is_readable else MappingReason.SCOPE_UNREADABLE


async def plan_mapping(
    database: Database, merchant_id: int, reading: MappingReading, *, replaces: bool = False
) -> MappingPlan:
    """What taking the rows in would change; nothing is written.

    ``replaces``: rows that the file does not have go, for the marketplaces that it names.
    """
    async with database.merchant(merchant_id) as unit:
        return await _plan(unit, merchant_id, reading, replaces=replaces)


async def apply_mapping(
    database: Database,
    clock: Clock,
    merchant_id: int,
    reading: MappingReading,
    *,
    actor: str,
    file_name: str = "",
    replaces: bool = False,
) -> MappingPlan:
    """Take the rows in, in one transaction."""
    now = clock.now()
    key: dict[str, object] = {"merchant": merchant_id, "now": now, "actor": actor}
    async with database.merchant(merchant_id) as unit:
        plan = await _plan(unit, merchant_id, reading, replaces=replaces)
        run = await unit.row(
            "catalog.begin_import",
            key | {"kind": KIND, "file_name": file_name, "file_hash": reading.fingerprint},
        )
        assert run is not None
        plan.import_id = int(run[0])
        put = [change.after for change in plan.changes if change.after is not None]
        gone = [change.before for change in plan.changes if change.before and not change.after]
        await put_rows(unit, merchant_id, put, gone)
        if plan.changes:
            step = Step(
                mapping=[(_cells(each.before), _cells(each.after)) for each in plan.changes]
            )
            about = {"import": run[0], "step": 0, "facts": step.packed()}
            await unit.run("import.add_step", key | about)
        counts = msgspec.json.encode(plan.counts).decode()
        await unit.run("catalog.end_import", key | {"import": run[0], "counts": counts})
        facts = msgspec.json.encode({"import_id": run[0], "file_name": file_name, **plan.counts})
        await unit.run(
            "catalog.add_audit", key | {"action": "import.mapping", "facts": facts.decode()}
        )
    return plan


def _cells(row: MappingRow | None) -> list[str] | None:
    return None if row is None else [str(getattr(row, name)) for name in COLUMNS]


def row_of(cells: Sequence[str] | None) -> MappingRow | None:
    """A row out of its cells, in the order of ``COLUMNS``; None: there is none."""
    if cells is None:
        return None
    marketplace, kind, *rest = cells
    return MappingRow(marketplace, MappingKind(kind), *rest)


async def put_rows(
    unit: UnitOfWork, merchant_id: int, put: Sequence[MappingRow], gone: Sequence[MappingRow]
) -> None:
    """Create or update rows, and take others away."""
    for name, rows in (("mapping.put", put), ("mapping.drop", gone)):
        for document in _documents(rows):
            await unit.run(name, {"merchant": merchant_id, "rows": document})


async def _plan(
    unit: UnitOfWork, merchant_id: int, reading: MappingReading, *, replaces: bool
) -> MappingPlan:
    marketplaces = sorted({row.marketplace for row in reading.rows})
    held = {row.key: row for row in await mapping_rows(unit, merchant_id, marketplaces)}
    plan = MappingPlan(refused=list(reading.refused))
    for row in reading.rows:
        before = held.pop(row.key, None)
        if before == row:
            plan.unchanged += 1
        else:
            plan.changes.append(MappingChange(before, row))
    if replaces:
        plan.changes += [MappingChange(row, None) for row in held.values()]
    return plan


def _documents(rows: Sequence[MappingRow]) -> Iterator[str]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        part = [
            {name: getattr(row, name) for name in COLUMNS} | {"ours_folded": fold(row.ours)}
            for row in rows[start : start + _ROWS_PER_STATEMENT]
        ]
        yield msgspec.json.encode(part).decode()


async def export_mapping(
    database: Database, merchant_id: int, marketplaces: list[str] | None = None
) -> list[MappingRow]:
    """The merchant's rows, of these marketplaces or of all."""
    async with database.merchant(merchant_id) as unit:
        return await mapping_rows(unit, merchant_id, marketplaces)


def write_mapping(path: Path, rows: Sequence[MappingRow]) -> None:
    """Write rows as the CSV that ``read_mapping`` reads; UTF-8 with its mark, for spreadsheets."""
    with path.open("w", encoding="utf-8-sig", newline="") as target:
        writer = csv.writer(target, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows(tuple(getattr(row, name) for name in COLUMNS) for row in rows)
