"""The application: routes, guards and how errors are said.

No sessions yet: the page and the API answer this machine only, and whoever can ask may read.
Passkeys, API keys and roles are a later issue; ``parts.caller_of`` is where they will stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

import meschain
from meschain.api import hook, image
from meschain.api.live import events
from meschain.api.page import page
from meschain.api.parts import caller_of, parts_of, this_machine_only
from meschain.api.problem import HANDLERS
from meschain.api.rest.listing import list_listings
from meschain.api.rest.message import messages
from meschain.api.rest.metrics import live, metrics, ready
from meschain.api.rest.order import list_orders
from meschain.api.rest.problem import list_problems
from meschain.api.rest.status import health, status

if TYPE_CHECKING:
    from meschain.api.parts import Parts

_BODY_BYTES_MAX: Final = 65_536  # nothing but webhooks sends more yet
_HEADERS: Final = {"x-content-type-options": "nosniff"}


def create_app(parts: Parts) -> Litestar:
    """The ASGI application over ``parts``."""
    rest = Router(
        "/api/v1",
        route_handlers=[
            list_orders,
            list_listings,
            list_problems,
            status,
            messages,
            events,
        ],
        dependencies={"caller": Provide(caller_of)},
        response_headers={"cache-control": "no-store"},
    )
    this_machine = Router("/", route_handlers=[page, metrics, rest], guards=[this_machine_only])
    return Litestar(
        route_handlers=[health, live, ready, hook.router, image.router, this_machine],
        state=State({"parts": parts}),
        dependencies={"parts": Provide(parts_of, sync_to_thread=False)},
        exception_handlers=dict(HANDLERS),
        request_max_body_size=_BODY_BYTES_MAX,
        response_headers=_HEADERS,
        openapi_config=OpenAPIConfig(
            title="MesChain-Sync",
            version=meschain.__version__,
            path="/api/v1/schema",
            # Only the document: the framework's viewers load scripts from elsewhere.
            render_plugins=[JsonRenderPlugin()],
        ),
        logging_config=None,
    )
