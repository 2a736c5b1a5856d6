"""The event feed: what changed, in the one order that never changes afterwards."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

import msgspec

from meschain.app.queries.view import instant
from meschain.channel.clock import Clock
from meschain.store.unit_of_work import Database

BATCH_MAX: Final = 500
_KEPT_DAYS: Final = 30
_PAST_THE_LAST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """A position in the feed; ``xid`` is text, as 64 unsigned bits are beyond many readers."""

    epoch: int
    xid: str
    event_id: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.xid}-{self.event_id}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The cursor of such a text, or None when it is none of ours."""
        parts = text.split("-")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            return None
        epoch, xid, event_id = (int(part) for part in parts)
        if epoch >= 2**31 or xid >= 2**63 or event_id > _PAST_THE_LAST:
            return None
        return cls(epoch, str(xid), event_id)


class EventView(msgspec.Struct, frozen=True):
    """One event: what changed, not how it looks now."""

    at: datetime
    kind: str
    account_id: int | None
    facts: dict[str, object]


class _Row(msgspec.Struct, frozen=True):
    xid: str
    event_id: int
    at_us: int
    kind: str
    account_id: int | None
    facts: dict[str, object]


async def feed_end(database: Database, merchant_id: int) -> FeedCursor:
    """The cursor of a reader who wants only what is still to come."""
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("view.feed_position")
    assert row is not None
    return FeedCursor(row[0], row[1], _PAST_THE_LAST)


async def can_resume(
    database: Database, clock: Clock, merchant_id: int, cursor: FeedCursor
) -> bool:
    """Whether reading on after ``cursor`` misses nothing: the same epoch, and not too long ago."""
    today = clock.now().date()
    async with database.merchant(merchant_id) as unit:
        position = await unit.row("view.feed_position")
        missed = await unit.row(
            "view.events_missed",
            {
                "merchant": merchant_id,
                "days": [today - timedelta(days=days) for days in range(2, _KEPT_DAYS)],
                "xid": cursor.xid,
            },
        )
    assert position is not None
    assert missed is not None
    is_known = int(cursor.xid) <= int(position[1])
    return bool(position[0] == cursor.epoch and is_known and not missed[0])


async def read_events(
    database: Database, clock: Clock, merchant_id: int, cursor: FeedCursor
) -> tuple[list[EventView], FeedCursor]:
    """What happened after ``cursor`` (at most since yesterday), and the cursor behind it."""
    today = clock.now().date()
    async with database.merchant(merchant_id) as unit:
        records = await unit.records(
            "view.events",
            {
                "merchant": merchant_id,
                # The day of a row is its writer's: clocks of two machines may differ at midnight.
                "days": [today + timedelta(days=days) for days in (-1, 0, 1)],
                "xid": cursor.xid,
                "event": cursor.event_id,
                "limit": BATCH_MAX,
            },
        )
    rows = [msgspec.convert(record, _Row) for record in records]
    if rows:
        cursor = FeedCursor(cursor.epoch, rows[-1].xid, rows[-1].event_id)
    events = []
    for row in rows:
        at = instant(row.at_us)
        assert at is not None
        events.append(EventView(at, row.kind, row.account_id, row.facts))
    return events, cursor
