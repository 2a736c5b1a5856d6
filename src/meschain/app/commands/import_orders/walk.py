"""Walking a file of past orders: once to find what is refused, once to take the rest in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

from meschain.app.commands.import_orders.line import (
    HistoryReason,
    LineReader,
    LineRefused,
    PastLine,
    month_first_of,
    slashed,
)
from meschain.app.commands.import_products.step import Step
from meschain.app.commands.import_sheet.refusal import SheetRefusal
from meschain.domain.money import currency_exponent
from meschain.exchange.fault import Fault
from meschain.exchange.refused import RefusedRows
from meschain.exchange.sheet.named import NamedRow

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

    from meschain.app.commands.import_sheet.run import SheetRun
    from meschain.exchange import RefusedRow, RowWarning, SourceForm
    from meschain.exchange.sheet.named import NamedSheet
    from meschain.store.unit_of_work import UnitOfWork

CHUNK: Final = 5_000
KIND: Final = "orders"
_HEAD: Final = ("source", "number", "placed_at", "currency", "buyer_ref", "country", "city")
_LINE: Final = (
    *("source", "number", "line_number", "sku", "barcode", "title", "units", "unit_price"),
    *("payable", "vat_percent", "commission_percent", "state"),
)
OrderKey = tuple[str, str]
"""Source and number."""


class HistorySum(msgspec.Struct):
    """What the file states in one currency, cancelled lines included. Amounts in major units."""

    lines: int = 0
    units: int = 0
    payable: Decimal = Decimal(0)
    cancelled_lines: int = 0
    cancelled_payable: Decimal = Decimal(0)


@dataclass(slots=True)
class HistoryPlan:
    """What a file would do, or has done. ``lines_*`` count lines, ``orders`` orders."""

    form: SourceForm
    warnings: tuple[RowWarning, ...]
    import_id: int = 0
    orders: int = 0
    lines_created: int = 0
    lines_updated: int = 0
    lines_unchanged: int = 0
    lines_removed: int = 0
    sums: dict[str, HistorySum] = field(default_factory=dict)
    first_at: datetime | None = None
    last_at: datetime | None = None
    refused: RefusedRows[SheetRefusal] = field(default_factory=lambda: RefusedRows(SheetRefusal))

    @property
    def counts(self) -> dict[str, int]:
        return {
            "orders": self.orders,
            "lines_created": self.lines_created,
            "lines_updated": self.lines_updated,
            "lines_unchanged": self.lines_unchanged,
            "lines_removed": self.lines_removed,
            "refused": len(self.refused),
        }


class _Undone(Exception):
    """Ends the transaction of a plan."""


async def import_orders(run: SheetRun, sheet: NamedSheet, *, source: str) -> HistoryPlan:
    """Take the file in, or say what it would change: then the same statements, undone.

    An order stands whole in a file: a row that is refused takes the order's other rows with it, and
    lines that the hub holds beyond the file's go. ``source`` is that of rows that name none.
    """
    async with run.database.merchant(run.merchant_id) as unit:
        row = await unit.row("view.merchant", run.key)
    assert row is not None
    plan = HistoryPlan(sheet.form, sheet.warnings)
    zone = ZoneInfo(str(row[4]))
    dates = _dates(sheet)
    walk = _Walk(run, sheet, LineReader(source, str(row[2]), zone, month_first_of(dates)), plan)
    await walk.judge()
    async with run.begun(KIND) as begun:
        plan.import_id = begun.import_id
        walk.steps = len(begun.former)
        await walk.take()
        await run.end(plan.import_id, KIND, plan.counts)
    return plan


def _dates(sheet: NamedSheet) -> set[tuple[int, int]]:
    """Of dates with slashes; a file without any in its first row has none."""
    found: set[tuple[int, int]] = set()
    for row in sheet.rows():
        if isinstance(row, NamedRow):
            date = slashed(row.text("placed_at"))
            if date is None and not found:
                break
            if date is not None:
                found.add(date)
    return found


@dataclass(slots=True)
class _Walk:
    run: SheetRun
    sheet: NamedSheet
    reader: LineReader
    plan: HistoryPlan
    currencies: dict[OrderKey, str] = field(default_factory=dict)
    bad: dict[OrderKey, int] = field(default_factory=dict)  # order → its first refused row
    steps: int = 0

    async def judge(self) -> None:
        """Every row that cannot be used, and with it the rest of its order."""
        live: list[OrderKey] = []
        for row in self.sheet.rows():
            key = self._key(row)
            read = self._read(row)
            if isinstance(read, SheetRefusal):
                self.plan.refused.append(read)
                if key is not None:
                    self.bad.setdefault(key, read.row_number)
                continue
            key = (read.source, read.number)
            held = self.currencies.setdefault(key, read.currency)
            if held != read.currency:
                params = {"given": read.currency, "held": held}
                self._refuse(row, HistoryReason.CURRENCY, params)
                self.bad.setdefault(key, row_number(row))
        keys = sorted(self.currencies)
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            asked = self.run.key | {
                "sources": [source for source, _ in part],
                "numbers": [number for _, number in part],
            }
            async with self.run.database.merchant(self.run.merchant_id) as unit:
                live += [
                    (name, number) for name, number in await unit.rows("past_order.live", asked)
                ]
        if live or self.bad:
            self._refuse_orders(set(live))

    def _refuse_orders(self, live: set[OrderKey]) -> None:
        known = {refusal.row_number for refusal in self.plan.refused}
        for row in self.sheet.rows():
            key = self._key(row)
            if key is None or row_number(row) in known:
                continue
            if key in live:
                self._refuse(row, HistoryReason.LIVE, {"number": key[1]})
            elif key in self.bad:
                self._refuse(row, HistoryReason.INCOMPLETE, {"row": str(self.bad[key])})
        self.bad |= dict.fromkeys(live, 0)
        self.plan.refused.sort()

    def _key(self, row: NamedRow | RefusedRow) -> OrderKey | None:
        if not isinstance(row, NamedRow):
            return None
        return row.text("source") or self.reader.source, row.text("order_number")

    def _read(self, row: NamedRow | RefusedRow) -> PastLine | SheetRefusal:
        if not isinstance(row, NamedRow):
            return SheetRefusal.of(row)
        try:
            return self.reader.read(row)
        except Fault as fault:
            return SheetRefusal.of(row.refused(row.text("sku"), fault))
        except LineRefused as refused:
            sku = row.text("sku") or None
            return SheetRefusal(row.number, sku, refused.reason, refused.params, row.raw_row)

    def _refuse(
        self, row: NamedRow | RefusedRow, reason: HistoryReason, params: dict[str, str]
    ) -> None:
        sku = row.text("sku") or None if isinstance(row, NamedRow) else row.sku
        self.plan.refused.append(SheetRefusal(row_number(row), sku, reason, params, row.raw_row))

    async def take(self) -> None:
        """The rest, chunk by chunk; then each order's total and what it no longer has."""
        counted: defaultdict[OrderKey, int] = defaultdict(int)
        done = 0
        for chunk in self._chunks(counted):
            async with self._unit() as unit:
                await self._put(unit, chunk)
            done += len(chunk)
            self.run.tell(done + len(self.plan.refused), self.sheet.row_count)
        self.plan.orders = len(counted)
        keys = sorted(counted)
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            async with self._unit() as unit:
                await self._end(unit, part, counted)

    def _chunks(self, counted: dict[OrderKey, int]) -> Iterator[list[PastLine]]:
        chunk: list[PastLine] = []
        for row in self.sheet.rows():
            if not isinstance(row, NamedRow) or self._key(row) in self.bad:
                continue
            line = self.reader.read(row)
            key = (line.source, line.number)
            counted[key] += 1
            self._sum(line)
            chunk.append(msgspec.structs.replace(line, line_number=counted[key]))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _sum(self, line: PastLine) -> None:
        plan = self.plan
        total = plan.sums.setdefault(line.currency, HistorySum())
        total.lines += 1
        total.units += line.units
        total.payable += line.payable
        if line.state == "cancelled":
            total.cancelled_lines += 1
            total.cancelled_payable += line.payable
        at = line.placed_at
        plan.first_at = at if plan.first_at is None else min(plan.first_at, at)
        plan.last_at = at if plan.last_at is None else max(plan.last_at, at)

    @asynccontextmanager
    async def _unit(self) -> AsyncIterator[UnitOfWork]:
        """A transaction, undone at its end where this is a plan."""
        with suppress(_Undone):
            async with self.run.database.merchant(self.run.merchant_id) as unit:
                await unit.run("catalog.plan_by_key")
                yield unit
                self._undo_plan()

    def _undo_plan(self) -> None:
        if self.run.is_plan:
            raise _Undone

    async def _put(self, unit: UnitOfWork, chunk: list[PastLine]) -> None:
        at = self.run.key | {"import": self.plan.import_id}
        heads = {
            (line.source, line.number): line for line in reversed(chunk) if line.line_number == 1
        }
        if self.run.is_plan:  # undone chunk by chunk, so an order's head is written with each
            heads = {(line.source, line.number): line for line in reversed(chunk)}
        rows = _rows(list(heads.values()), _HEAD)
        orders = await unit.rows("past_order.put", at | {"rows": rows})
        put = await unit.rows("past_order.put_lines", at | {"rows": _rows(chunk, _LINE)})
        created = sum(bool(is_new) for _, is_new in put)
        await self._note(unit, orders, {order for order, _ in put})
        self.plan.lines_created += created
        self.plan.lines_updated += len(put) - created
        self.plan.lines_unchanged += len(chunk) - len(put)

    async def _note(self, unit: UnitOfWork, orders: list[TupleRow], touched: set[int]) -> None:
        """Which orders the chunk brought, and which it changed: ``touched`` by their lines."""
        if self.run.is_plan or not (orders or touched):
            return
        made = {order: (source, number) for source, number, order, is_new in orders if is_new}
        changed = {(source, number) for source, number, _, is_new in orders if not is_new}
        if old := touched - made.keys():
            at = self.run.key | {"import": self.plan.import_id, "orders": sorted(old)}
            changed |= {
                (source, number) for source, number in await unit.rows("past_order.touch", at)
            }
        step = Step(orders_created=sorted(made.values()), orders_changed=sorted(changed))
        await self.run.note(unit, self.plan.import_id, self.steps, step)
        self.steps += 1

    async def _end(
        self, unit: UnitOfWork, keys: list[OrderKey], counted: dict[OrderKey, int]
    ) -> None:
        rows = await unit.rows(
            "past_order.end_orders",
            self.run.key
            | {
                "import": self.plan.import_id,
                "sources": [source for source, _ in keys],
                "numbers": [number for _, number in keys],
                "lines": [counted[key] for key in keys],
                "factors": [10 ** currency_exponent(self.currencies[key]) for key in keys],
            },
        )
        self.plan.lines_removed += len(rows)
        await self._note(unit, [], {order for (order,) in rows})


def row_number(row: NamedRow | RefusedRow) -> int:
    return row.number if isinstance(row, NamedRow) else row.row_number


def _rows(lines: list[PastLine], names: tuple[str, ...]) -> str:
    return msgspec.json.encode(
        [{name: getattr(line, name) for name in names} for line in lines]
    ).decode()
