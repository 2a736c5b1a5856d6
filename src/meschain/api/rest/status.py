import asyncio
from typing import Final

import msgspec
from litestar import get
from litestar.di import NamedDependency

import meschain
from meschain.api.parts import Caller, Parts
from meschain.api.problem import ApiProblem
from meschain.app.queries.health import StatusView, read_status

_ANSWER_S_MAX: Final = 2.0
_KEPT_S: Final = 0.5  # many pages that look at once cost the database one look


class HealthView(msgspec.Struct, frozen=True):
    """The process answers, and so does its database."""

    status: str
    version: str
    accounts_served: int


@get("/health", summary="Whether this hub can work", tags=["status"])
async def health(parts: NamedDependency[Parts]) -> HealthView:
    """503 with a problem document while the database is away."""
    return await health_of(parts)


async def health_of(parts: Parts) -> HealthView:
    """Whether the database answers in time. Raises ApiProblem."""
    try:
        async with asyncio.timeout(_ANSWER_S_MAX), parts.database.engine() as unit:
            await unit.row("view.feed_position")
    except TimeoutError as away:
        raise ApiProblem("database_away", 503, {"retry-after": "1"}) from away
    return HealthView("ok", meschain.__version__, len(parts.engine.accounts))


@get("/status", summary="Lane health and live figures", tags=["status"])
async def status(parts: NamedDependency[Parts], caller: NamedDependency[Caller]) -> StatusView:
    """Per account and in sum; what only the serving process can measure is null elsewhere."""
    return await read_status(parts.database, parts.clock, caller.merchant_id, parts.engine.accounts)
