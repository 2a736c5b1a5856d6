"""What every façade offers to the host that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from meschain.sandbox.world import Shop, World

if TYPE_CHECKING:
    from aiohttp import web


@dataclass(frozen=True, slots=True)
class SellerSpec:
    """Whom to open a shop for; a façade makes up the credentials from the world's seed."""

    seller_number: int
    tier: str = ""  # "" = the lowest


class Facade(Protocol):
    """One marketplace's real API in front of the world.

    ``facade.py`` of a marketplace folder exports ``def create_facade(world, settings) -> Facade``.
    ``settings`` are strings; a façade documents its names and refuses unknown ones.

    What the economy must know of the marketplace stands in ``shop.facts``, all of it optional:
    ``ships_from`` = "picking" (no invoiced state: the carrier takes prepared parcels),
    ``holds_orders`` = False (no payment check), ``micro_exports`` = False, ``carriers`` (names to
    draw from), ``shelf_key`` = "stock_code" (else a listing's key is its barcode).
    """

    @property
    def marketplace(self) -> str:
        """The folder's name."""
        ...

    @property
    def services(self) -> Mapping[str, str]:
        """Service name → path prefix on the façade's port: ``{"integration": "/integration"}``."""
        ...

    def application(self) -> web.Application:
        """The routes; built once, served by the host."""
        ...

    def open_shop(self, seller: SellerSpec) -> Shop:
        """Open a shop with fresh credentials under the names the connector's manifest asks for."""
        ...

    async def start(self) -> None:
        """Begin background work (batches, approvals, webhooks)."""
        ...

    async def stop(self) -> None:
        """End all of it; nothing may run afterwards."""
        ...


@runtime_checkable
class KeepsStatistics(Protocol):
    """A façade that counts (requests, refusals, webhooks, …); shown by the control interface."""

    def statistics(self) -> Mapping[str, object]:
        """Plain values only, by name."""
        ...


FacadeFactory = Callable[[World, Mapping[str, str]], Facade]


@dataclass(frozen=True, slots=True)
class AccountLine:
    """What a client needs to speak to one shop; ``meschain sandbox --json`` prints it."""

    marketplace: str
    seller_id: str
    base_urls: Mapping[str, str]  # by service, as the real marketplace has hosts
    credentials: Mapping[str, str] = field(repr=False)
    tier: str
    control_url: str
