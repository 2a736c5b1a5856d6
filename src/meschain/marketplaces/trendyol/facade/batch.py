"""Batches: accepted at once, applied a little later, readable for four hours (fact sheet 5)."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from meschain.marketplaces.trendyol.facade.edge import MARKETPLACE
from meschain.marketplaces.trendyol.facade.envelope import Refused, json_reply
from meschain.marketplaces.trendyol.facade.gate import Call
from meschain.marketplaces.trendyol.facade.seller import Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.timetable import Timetable
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.faults import Fault
from meschain.sandbox.world import World

Item = TypeVar("Item")
Failures = dict[int, list[str]]  # position of a failed item → its reasons

ITEMS_MAX: Final = 1000
RETENTION_S: Final = 4 * 3600
_STUCK_S: Final = (30.0, 120.0)  # a batch that is late is this late
_UNEXPECTED: Final = "Beklenmeyen bir hata oluştu, lütfen tekrar deneyiniz."

RawItem = dict[str, object]


class RawBody(msgspec.Struct):
    items: list[RawItem]


_RAW_BODY: Final = msgspec.json.Decoder(RawBody, float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class Batch:
    """What was accepted. The body is kept as sent and decoded again when a result is read."""

    batch_id: str
    kind: BatchKind
    seller: Seller
    raw: bytes
    item_count: int
    created_at: datetime
    expires_at_s: int
    progress: Progress


@dataclass(slots=True)
class Progress:
    """How far a batch has come."""

    is_reported: bool = False  # applied, and said so
    is_gone: bool = False  # its result vanished early
    modified_at: datetime | None = None
    failures: Failures = field(default_factory=dict)


class ItemResult(msgspec.Struct, rename="camel", gc=False):
    """One row of a result."""

    request_item: object
    status: str
    failure_reasons: list[str]
    batch_request_log_id: str | msgspec.UnsetType | None = msgspec.UNSET
    notes: str | msgspec.UnsetType | None = msgspec.UNSET


Apply = Callable[[Seller, Sequence[Item], Batch], Failures]
Echoes = Callable[[Batch], Sequence[object]]


@dataclass(frozen=True, slots=True)
class BatchKind:
    """One ``batchRequestType`` and what its results look like."""

    name: str
    echoes: Echoes  # what was asked, item by item, as results show it
    has_status: bool = True  # price and stock results carry no status of the whole batch
    lists_unfinished: bool = False  # items are shown as IN_PROGRESS before they are applied
    is_logged: bool = False  # archive results carry two fields more


def each(echo: Callable[[Batch, RawItem], object]) -> Echoes:
    """Echo item after item, from the body as sent, numbers exact."""
    return lambda batch: [echo(batch, item) for item in _RAW_BODY.decode(batch.raw).items]


class Batches:
    """Accepts batches and answers for their results."""

    def __init__(self, world: World, settings: Settings, timetable: Timetable) -> None:
        self._world = world
        self._settings = settings
        self._timetable = timetable
        self._random = random.Random(f"{MARKETPLACE}:batches:{world.seed}")  # noqa: S311

    def accept(
        self,
        seller: Seller,
        kind: BatchKind,
        raw: bytes,
        items: Sequence[Item],
        apply: Apply[Item],
    ) -> web.Response:
        """Register the batch, plan its application, answer with its id."""
        if not 0 < len(items) <= ITEMS_MAX:
            raise Refused(400, "invalid.items", f"items must hold 1..{ITEMS_MAX} entries")
        now = self._world.clock.now()
        self._forget_expired(seller, now)
        expires_at_s = int(now.timestamp()) + RETENTION_S
        unique = uuid.UUID(int=self._random.getrandbits(128), version=4)
        batch = Batch(
            f"{unique}-{expires_at_s}", kind, seller, raw, len(items), now, expires_at_s, Progress()
        )
        seller.batches[batch.batch_id] = batch
        self._plan(batch, items, apply)
        return json_reply({"batchRequestId": batch.batch_id})

    def _plan(self, batch: Batch, items: Sequence[Item], apply: Apply[Item]) -> None:
        settings, faults = self._settings, self._world.faults
        delay_s = self._random.uniform(settings.apply_ms_min, settings.apply_ms_max) / 1000
        is_reported = True
        if faults.happens(Fault.BATCH_STUCK, MARKETPLACE):
            if faults.uniform(0, 1) < 0.5:
                delay_s += faults.uniform(*_STUCK_S)
            else:
                is_reported = False
        if settings.batch_order == "sent":
            now_s = self._world.clock.monotonic_s()
            delay_s = max(delay_s, batch.seller.batch_free_s - now_s)
            batch.seller.batch_free_s = now_s + delay_s
        self._timetable.after(
            delay_s, partial(self._apply, batch, items, apply, is_reported=is_reported)
        )

    def _apply(
        self, batch: Batch, items: Sequence[Item], apply: Apply[Item], *, is_reported: bool
    ) -> None:
        faults, progress = self._world.faults, batch.progress
        if faults.happens(Fault.BATCH_ITEM_FAILED, MARKETPLACE):
            victim = min(int(faults.uniform(0, batch.item_count)), batch.item_count - 1)
            others = [*items[:victim], *items[victim + 1 :]]
            failures = apply(batch.seller, others, batch)
            progress.failures = {
                at if at < victim else at + 1: reasons for at, reasons in failures.items()
            }
            progress.failures[victim] = [_UNEXPECTED]
        else:
            progress.failures = apply(batch.seller, items, batch)
        progress.is_reported = is_reported
        progress.modified_at = self._world.clock.now()
        progress.is_gone = faults.happens(Fault.BATCH_EXPIRED, MARKETPLACE)

    @staticmethod
    def _forget_expired(seller: Seller, now: datetime) -> None:
        while seller.batches:  # oldest first: all are kept equally long
            oldest = next(iter(seller.batches.values()))
            if oldest.expires_at_s > now.timestamp():
                return
            del seller.batches[oldest.batch_id]

    # — GET …/products/batch-requests/{batchRequestId} —
    async def result(self, call: Call) -> web.Response:
        """The result, or the eternal PROCESSING of an id nobody knows (sheet 5 and 15.11)."""
        batch_id = call.request.match_info["batchRequestId"]
        batch = call.seller.batches.get(batch_id)
        if batch is None:
            return self._unknown(batch_id)
        if batch.progress.is_gone or batch.expires_at_s <= self._world.clock.now().timestamp():
            if self._settings.expired_batch == "not_found":
                raise Refused(404, "batch.request.not.found", "Batch request is not found")
            return self._unknown(batch_id)
        return json_reply(_rendered(batch))

    @staticmethod
    def _unknown(batch_id: str) -> web.Response:
        return json_reply(
            {
                "batchRequestId": batch_id,
                "items": [],
                "status": "PROCESSING",
                "itemCount": 0,
                "failedItemCount": 0,
            }
        )


def _rendered(batch: Batch) -> dict[str, object]:
    """The result document. Built when it is read: most batches of a busy seller are read once."""
    kind, progress = batch.kind, batch.progress
    document: dict[str, object] = {"batchRequestId": batch.batch_id, "items": _items(batch)}
    if kind.has_status:
        document["status"] = "COMPLETED" if progress.is_reported else "IN_PROGRESS"
    document |= {
        "creationDate": epoch_ms(batch.created_at),
        "lastModification": epoch_ms(progress.modified_at or batch.created_at),
        "sourceType": "API",
        "itemCount": batch.item_count,
        "failedItemCount": len(progress.failures) if progress.is_reported else 0,
        "batchRequestType": kind.name,
    }
    return document


def _items(batch: Batch) -> list[ItemResult]:
    kind, progress = batch.kind, batch.progress
    if not progress.is_reported and not kind.lists_unfinished:
        return []
    done = "SUCCESS" if progress.is_reported else "IN_PROGRESS"
    rows = [ItemResult(item, done, []) for item in kind.echoes(batch)]
    if progress.is_reported:
        for at, reasons in progress.failures.items():
            rows[at].status, rows[at].failure_reasons = "FAILED", reasons
    if kind.is_logged:
        for row in rows:
            row.batch_request_log_id = row.notes = None
    return rows


def iso_instant(instant: datetime) -> str:
    """The form ``2025-05-08T11:37:07.950+00:00`` that results carry."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds")
