"""Server-sent events from the event feed: they say what changed; the reader reads again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from meschain.api.parts import Caller, Parts
from meschain.api.problem import ApiProblem
from meschain.app.queries.events import BATCH_MAX, FeedCursor, can_resume, feed_end, read_events
from meschain.store.unit_of_work import DATABASE_AWAY

LISTENERS_MAX: Final = 50
LOOK_S: Final = 0.25
QUIET_S: Final = 10.0  # a comment is sent then, so that a dead connection is noticed
RETRY_MS: Final = 1_000


@get("/events", summary="What changes, as it happens", tags=["events"])
async def events(
    parts: NamedDependency[Parts],
    caller: NamedDependency[Caller],
    last_event_id: Annotated[
        str | None, HeaderParameter(name="Last-Event-ID", max_length=100, required=False)
    ] = None,
) -> ServerSentEvent:
    """`begin`: read everything, then listen. `resume`: nothing was missed. `changed`: an array.

    The id of each is the feed's cursor: epoch, transaction, event.
    """
    if parts.listeners >= LISTENERS_MAX:
        raise ApiProblem("too_many_listeners", 503, {"retry-after": "5"})
    cursor = FeedCursor.parse(last_event_id or "")
    if cursor and await can_resume(parts.database, parts.clock, caller.merchant_id, cursor):
        begun = ServerSentEventMessage("{}", event="resume", id=str(cursor), retry=RETRY_MS)
    else:
        cursor = await feed_end(parts.database, caller.merchant_id)
        begun = ServerSentEventMessage("{}", event="begin", id=str(cursor), retry=RETRY_MS)
    return ServerSentEvent(
        _changes(parts, caller, cursor, begun), headers={"x-accel-buffering": "no"}
    )


async def _changes(
    parts: Parts, caller: Caller, cursor: FeedCursor, begun: ServerSentEventMessage
) -> AsyncIterator[ServerSentEventMessage]:
    parts.listeners += 1
    quiet_s = 0.0
    try:
        yield begun
        while not parts.stopping.is_set():
            batch, cursor = await read_events(
                parts.database, parts.clock, caller.merchant_id, cursor
            )
            if batch:
                quiet_s = 0.0
                yield ServerSentEventMessage(
                    msgspec.json.encode(batch).decode(), event="changed", id=str(cursor)
                )
            elif quiet_s >= QUIET_S:
                quiet_s = 0.0
                yield ServerSentEventMessage(comment="still here")
            if len(batch) < BATCH_MAX:
                quiet_s += LOOK_S
                await _stopped_or(parts.stopping, LOOK_S)
    except DATABASE_AWAY:
        return  # the reader connects again and goes on where it was
    finally:
        parts.listeners -= 1


async def _stopped_or(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
