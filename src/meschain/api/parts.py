"""What the API needs of a hub, and who is asking."""

import asyncio
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from meschain.api.problem import ApiProblem
from meschain.app.images.gallery import Gallery
from meschain.app.queries.health import StatusView
from meschain.channel.clock import Clock
from meschain.store.unit_of_work import Database
from meschain.sync.engine import Engine

ApiRequest = Request[object, object, State]
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(slots=True)
class Parts:
    """Handed over by ``server``.

    ``merchant_id`` None: the hub's only merchant is meant. ``gallery`` None: no images are served.
    """

    database: Database
    clock: Clock
    engine: Engine
    merchant_id: int | None = None
    gallery: Gallery | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: int = 0
    statuses: dict[int, tuple[float, StatusView]] = field(default_factory=dict)  # by merchant


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request is answered."""

    merchant_id: int


def parts_of(state: State) -> Parts:
    """The parts under which this application runs."""
    parts = state.parts
    assert isinstance(parts, Parts)
    return parts


async def caller_of(
    parts: NamedDependency[Parts],
    merchant: Annotated[
        int | None, QueryParameter(ge=1, lt=2**31, description="The merchant; needed with several.")
    ] = None,
) -> Caller:
    """The merchant asked for, else the hub's own."""
    merchant_id = merchant or parts.merchant_id or await _first_merchant(parts)
    async with parts.database.merchant(merchant_id) as unit:
        row = await unit.row("view.merchant", {"merchant": merchant_id})
    if row is None:
        raise ApiProblem("merchant_unknown", 404)
    return Caller(merchant_id)


async def _first_merchant(parts: Parts) -> int:
    async with parts.database.engine() as unit:
        row = await unit.row("view.first_merchant")
    if row is None or row[0] is None:
        raise ApiProblem("merchant_none", 404)
    return int(row[0])


def this_machine_only(
    connection: ASGIConnection[object, object, object, State], _: BaseRouteHandler
) -> None:
    """Refuse what was not asked by a program of this machine under this machine's name.

    There are no sessions yet, so the page and the API are for loopback only. The listening address
    alone does not see to that: a foreign web page may point its own name at 127.0.0.1, and a
    reverse proxy for ``/hooks/`` may pass on too much.
    """
    host = connection.headers.get("host", "")
    name = host.rsplit(":", 1)[0].strip("[]")
    is_ours = name == "localhost" or _is_loopback(name)
    if not is_ours or any(header in connection.headers for header in _FORWARDED):
        raise ApiProblem("not_this_machine", 403)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
