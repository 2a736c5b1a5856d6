"""Product tasks: acknowledged at once, applied later, asked for by number (§3.2 to §3.4).

A finished task keeps the body it came with and the failures, nothing else: its rows are read
from the body again when somebody asks for them.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from meschain.marketplaces.n11.facade import replies
from meschain.marketplaces.n11.facade.body import UNREADABLE, Body
from meschain.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from meschain.marketplaces.n11.facade.book import Market, ShopBook

SKUS_MAX: Final = 1000  # per request [A: S1, S3]
ISTANBUL: Final = timezone(timedelta(hours=3))  # no daylight saving (§5)
IN_QUEUE: Final = "IN_QUEUE"
PROCESSED: Final = "PROCESSED"
REJECT: Final = "REJECT"
Reasons = tuple[str, ...]  # why an item failed; empty: it did not


class SkuRow(Body):
    """What a row of every task has."""

    stockCode: str | None = None  # noqa: N815 – the wire's names


Row = TypeVar("Row", bound=SkuRow)


class _Payload(Body, Generic[Row]):
    integrator: str | None = None
    skus: list[Row] | None = None


class TaskBody(Body, Generic[Row]):
    """The body of all task endpoints."""

    payload: _Payload[Row] | None = None


class _EchoSku(SkuRow, forbid_unknown_fields=False):
    """What a result repeats of a row, as the text that was sent."""

    salePrice: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815
    listPrice: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815
    quantity: msgspec.Raw = msgspec.Raw(b"null")


_echo_decoder: Final = msgspec.json.Decoder(TaskBody[_EchoSku])


class TaskKind(ABC, Generic[Row]):
    """One task endpoint: how a body is read, what is refused, and what a row does."""

    type_name: str

    def __init__(self, market: Market, decoder: msgspec.json.Decoder[TaskBody[Row]]) -> None:
        """``decoder`` fixes the rows' type."""
        self.market = market
        self.decoder = decoder

    def refused_request(self, rows: list[Row]) -> web.Response | None:  # noqa: ARG002 – for kinds
        """An HTTP error instead of a task."""
        return None

    def rejection(self, book: ShopBook, rows: list[Row]) -> str:  # noqa: ARG002 – for kinds
        """Why the whole task is REJECT; empty: it is not."""
        return ""

    @abstractmethod
    def apply(self, book: ShopBook, row: Row, cause: str) -> Reasons:
        """Change the world, or say why not. ``cause`` names the task."""

    def finish(self, book: ShopBook) -> None:
        """All rows are applied."""


@dataclass(slots=True)
class Task:
    """One request, from its acknowledgement to the end of its retention."""

    number: int
    type_name: str
    book: ShopBook
    body: bytes
    status: str
    reasons: list[str]
    created_at: datetime
    modified_at: datetime
    failures: dict[int, Reasons] = field(default_factory=dict)


class _Pageable(Body):
    page: int
    size: int


class _PageQuery(Body):
    taskId: int  # noqa: N815
    pageable: _Pageable


class Tasks:
    """All tasks of all sellers."""

    def __init__(self, market: Market) -> None:
        """No task yet."""
        self._market = market
        self._numbers = itertools.count(1001)
        self._tasks: dict[int, Task] = {}
        self._ended: deque[tuple[float, int]] = deque()  # (monotonic end, number)

    async def accept(
        self, kind: TaskKind[Row], book: ShopBook, request: web.Request
    ) -> web.Response:
        """Acknowledge with IN_QUEUE or REJECT, both at HTTP 200."""
        settings = self._market.settings
        body = await request.read()
        try:
            payload = kind.decoder.decode(body).payload or _Payload[Row]()
        except UNREADABLE as broken:
            return replies.ms_server_error("HttpMessageNotReadableException", str(broken))
        rows = payload.skus or []
        refusal = kind.refused_request(rows)
        if refusal is not None:
            return refusal
        key = (kind.type_name, body)
        if key in book.tasks_in_progress:
            self._market.counts["refused_as_duplicate"] += 1
            return replies.as_json(
                {
                    settings.duplicate_task_key: "TASK_ERR_010",
                    "errorMessage": "Aynı içeriğe sahip bir task hâlen işleniyor.",
                },
                status=settings.duplicate_task_status,
            )
        rejection = self._rejection(payload.integrator, rows) or kind.rejection(book, rows)
        is_told = bool(rejection) and settings.rejection_told == "acknowledgement"
        now = self._market.world.clock.now()
        task = Task(
            number=next(self._numbers),
            type_name=kind.type_name,
            book=book,
            body=body,
            status=REJECT if is_told else IN_QUEUE,
            reasons=[rejection if is_told else f"{len(rows)} sku işlenmeye alındı."],
            created_at=now,
            modified_at=now,
        )
        self._forget_old()
        self._tasks[task.number] = task
        self._market.counts["tasks_rejected" if rejection else "tasks_accepted"] += 1
        if is_told:
            self._end(task)
        else:
            book.tasks_in_progress[key] = task
            self._plan(kind, task, [] if rejection else rows, is_rejected=bool(rejection))
        return replies.as_json(
            {
                "id": task.number,
                "type": task.type_name,
                "status": task.status,
                "reasons": task.reasons,
            }
        )

    async def page_query(self, book: ShopBook, request: web.Request) -> web.Response:
        """State and rows of a task."""
        try:
            query = msgspec.json.decode(await request.read(), type=_PageQuery)
        except UNREADABLE as broken:
            return replies.ms_server_error("HttpMessageNotReadableException", str(broken))
        page, size = query.pageable.page, query.pageable.size
        if page < 0 or size < 1:
            return replies.ms_server_error("IllegalArgumentException", "page or size")
        self._forget_old()
        task = self._tasks.get(query.taskId)
        if task is None or task.book is not book:
            if self._market.settings.unknown_task == "error":
                return replies.ms_error(404, "TaskNotFoundException", "Task bulunamadı.")
            return replies.as_json(
                {"taskId": query.taskId, "status": None, "skus": spring_page([], 0, page, size)}
            )
        rows = _rows_of(task) if task.status == PROCESSED else []
        start = page * size
        content = [
            self._result(task, place, row)
            for place, row in enumerate(rows[start : start + size], start)
        ]
        return replies.as_json(
            {
                "taskId": task.number,
                "status": task.status,
                "createdDate": _local_text(task.created_at),
                "modifiedDate": _local_text(task.modified_at),
                "skus": spring_page(content, len(rows), page, size),
            }
        )

    # — inside —
    def _rejection(self, integrator: str | None, rows: list[Row]) -> str:
        if not integrator or not integrator.strip():
            return "integrator alanı boş olamaz."
        if not rows:
            return "skus alanı boş olamaz."
        if len(rows) > SKUS_MAX:
            return f"Tek istekte en fazla {SKUS_MAX} sku gönderilebilir."
        if self._market.settings.repeated_stock_code == "reject":
            codes = [row.stockCode for row in rows if row.stockCode]
            if len(set(codes)) < len(codes):
                return "Aynı stockCode bir istekte birden fazla kez gönderilemez."
        return ""

    def _plan(self, kind: TaskKind[Row], task: Task, rows: list[Row], *, is_rejected: bool) -> None:
        market, settings = self._market, self._market.settings
        low, high = settings.task_delay_ms_min, settings.task_delay_ms_max
        delay_s = market.world.faults.uniform(low, high) / 1000
        if is_rejected:
            market.agenda.after(delay_s, partial(self._close, task, REJECT))
            return
        is_stuck = market.world.faults.happens(Fault.BATCH_STUCK, "n11")
        is_reported = True
        if is_stuck and settings.stuck_task == "late":
            delay_s += settings.stuck_s
        elif is_stuck:
            is_reported = False
        perform = partial(self._perform, kind, task, rows, is_reported=is_reported)
        market.agenda.after(delay_s, perform)

    def _perform(
        self,
        kind: TaskKind[Row],
        task: Task,
        rows: list[Row],
        *,
        is_reported: bool,
    ) -> None:
        market, book = self._market, task.book
        cause = f"task {task.number}"
        fails_anyway = -1
        if market.world.faults.happens(Fault.BATCH_ITEM_FAILED, "n11"):
            fails_anyway = min(int(market.world.faults.uniform(0, len(rows))), len(rows) - 1)
        seen: set[str] | None = set() if market.settings.repeated_stock_code == "fail" else None
        for place, row in enumerate(rows):
            if place == fails_anyway:
                reasons: Reasons = ("Beklenmeyen bir hata oluştu.",)
            elif not row.stockCode:
                reasons = ("stockCode alanı boş olamaz.",)
            elif seen is not None and row.stockCode in seen:
                reasons = ("Aynı stockCode bir istekte birden fazla kez gönderilemez.",)
            else:
                reasons = kind.apply(book, row, cause)
            if reasons:
                task.failures[place] = reasons
            if seen is not None and row.stockCode:
                seen.add(row.stockCode)
        kind.finish(book)
        market.counts["skus_failed"] += len(task.failures)
        market.counts["skus_applied"] += len(rows) - len(task.failures)
        if not is_reported:  # it stays IN_QUEUE for good, and identical content stays refused
            return
        self._close(task, PROCESSED)
        if market.world.faults.happens(Fault.BATCH_EXPIRED, "n11"):
            del self._tasks[task.number]

    def _close(self, task: Task, status: str) -> None:
        task.status = status
        task.modified_at = self._market.world.clock.now()
        del task.book.tasks_in_progress[task.type_name, task.body]
        self._end(task)

    def _end(self, task: Task) -> None:
        self._ended.append((self._market.world.clock.monotonic_s(), task.number))

    def _forget_old(self) -> None:
        limit_s = self._market.world.clock.monotonic_s() - self._market.settings.task_retention_s
        while self._ended and self._ended[0][0] < limit_s:
            self._tasks.pop(self._ended.popleft()[1], None)

    def _result(self, task: Task, place: int, row: _EchoSku) -> dict[str, object]:
        settings = self._market.settings
        failures = task.failures.get(place)
        reasons = failures or ("İşlem başarılı.",)
        sku: dict[str, object] = {
            "salePrice": row.salePrice,
            "listPrice": row.listPrice,
            "stock": row.quantity,
        }
        item: dict[str, object] = {
            "itemCode": row.stockCode,
            "status": settings.fail_spelling if failures else "SUCCESS",
            "sku": sku,
        }
        (sku if settings.reasons_place == "sku" else item)["reasons"] = reasons
        return item


def spring_page(content: Sequence[object], total: int, page: int, size: int) -> dict[str, object]:
    """The page object of the Spring framework; past the end it is merely empty."""
    pages = -(-total // size)
    return {
        "content": content,
        "totalElements": total,
        "totalPages": pages,
        "number": page,
        "size": size,
        "first": page == 0,
        "last": page >= pages - 1,
        "empty": not content,
    }


def _rows_of(task: Task) -> list[_EchoSku]:
    payload = _echo_decoder.decode(task.body).payload
    return payload.skus or [] if payload else []


def _local_text(instant: datetime) -> str:
    return instant.astimezone(ISTANBUL).strftime("%d-%m-%Y %H:%M:%S")
