"""The control interface: look at the world, and move it. JSON over HTTP, loopback only.

It is for whoever tests a client, never for the client under test. Bodies and answers are
described in docs/guides/sandbox.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol, TypeVar

import msgspec
from aiohttp import web

from meschain.sandbox.clock import epoch_us
from meschain.sandbox.demand import DemandSettings
from meschain.sandbox.facade import AccountLine, Facade, KeepsStatistics
from meschain.sandbox.faults import Fault
from meschain.sandbox.journal import JournalTruncated, encode_entry
from meschain.sandbox.logistics import CarrierSettings
from meschain.sandbox.problem import Problem, problems
from meschain.sandbox.views import order_view, parcel_view, shelf_view
from meschain.sandbox.world import (
    OPEN_STATES,
    Impossible,
    Order,
    Parcel,
    ParcelState,
    Shelf,
    ShelfState,
    Shop,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meschain.sandbox.economy import Economy

_ORDERS_PAGE: Final = 1_000
_SHELVES_PAGE: Final = 10_000
_FAULTS_PAGE: Final = 10_000
_JOURNAL_PAGE: Final = 100_000
_JOURNAL_CHUNK: Final = 1_000
_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Quantity = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_Minor = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An unknown member is a mistake that should be seen, not a wish that is passed over."""


class OrderBody(_Body, frozen=True):
    marketplace: str
    seller_id: str
    basket: dict[str, _Quantity]
    buyer: int | None = None  # the buyer's number; else the next one
    awaiting: bool = False
    micro_export: bool = False
    seller_discounts_minor: dict[str, tuple[int, ...]] = {}
    marketplace_discounts_minor: dict[str, tuple[int, ...]] = {}


class CancelBody(_Body, frozen=True):
    order_number: str
    parcel_number: int | None = None
    units: dict[int, _Quantity] | None = None  # line id → units; without: everything that is open
    by_seller: bool = False
    reason: str = "buyer"


class ReleaseBody(_Body, frozen=True):
    order_number: str
    fails: bool = False


class ScanBody(_Body, frozen=True):
    cargo_code: str
    after_minutes: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 0.0  # of the economy


class DeliverBody(_Body, frozen=True):
    parcel_number: int
    state: Literal["delivered", "undelivered", "at_collection_point", "returned"] = "delivered"


class ShelfBody(_Body, frozen=True):
    barcode: str
    stock_code: str
    title: str
    quantity: _Quantity
    list_minor: _Minor
    sale_minor: _Minor
    vat_percent: int = 20
    key: str = ""
    facts: dict[str, object] = {}


class ShelvesBody(_Body, frozen=True):
    marketplace: str
    seller_id: str
    shelves: list[ShelfBody]


class PanelBody(_Body, frozen=True):
    marketplace: str
    seller_id: str
    key: str
    quantity: _Quantity | None = None  # what is not given stays
    list_minor: _Minor | None = None
    sale_minor: _Minor | None = None


class ForceBody(_Body, frozen=True):
    fault: Fault
    count: _Quantity
    marketplace: str = ""


class FaultsBody(_Body, frozen=True):
    rates: dict[Fault, Annotated[float, msgspec.Meta(ge=0, le=1)]] = {}
    is_enabled: bool | None = None
    force: list[ForceBody] = []


class TimeBody(_Body, frozen=True):
    factor: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)]


class AccountBody(_Body, frozen=True):
    marketplace: str
    tier: str = ""


class OpensAccounts(Protocol):
    """How the host opens one more shop."""

    def __call__(self, marketplace: str, tier: str = "") -> AccountLine: ...


_BodyType = TypeVar("_BodyType", bound=_Body)
_Settings = TypeVar("_Settings", DemandSettings, CarrierSettings)


class Control:
    """The routes over one economy."""

    def __init__(
        self,
        economy: Economy,
        facades: Mapping[str, Facade],
        accounts: Sequence[AccountLine],
        open_account: OpensAccounts,
    ) -> None:
        self._economy = economy
        self._world = economy.world
        self._facades = facades
        self._accounts = accounts
        self._open_account = open_account

    def application(self) -> web.Application:
        """Everything under ``/control``."""
        application = web.Application(middlewares=[problems], client_max_size=_BODY_BYTES_MAX)
        application.add_routes(
            [
                web.get("/control", self.index),
                web.get("/control/state", self.state),
                web.get("/control/statistics", self.statistics),
                web.get("/control/accounts", self.accounts),
                web.post("/control/accounts", self.add_account),
                web.get("/control/orders", self.orders),
                web.post("/control/orders", self.place_order),
                web.post("/control/cancel", self.cancel),
                web.post("/control/release", self.release),
                web.post("/control/scan", self.scan),
                web.post("/control/deliver", self.deliver),
                web.get("/control/shelves", self.shelves),
                web.post("/control/shelves", self.add_shelves),
                web.post("/control/panel", self.edit_on_panel),
                web.get("/control/journal", self.journal),
                web.get("/control/faults", self.faults),
                web.put("/control/faults", self.set_faults),
                web.get("/control/faults/log", self.fault_log),
                web.get("/control/time", self.time),
                web.put("/control/time", self.set_time),
                web.get("/control/demand", self.demand),
                web.put("/control/demand", self.set_demand),
                web.post("/control/reset-demand", self.reset_demand),
                web.get("/control/carrier", self.carrier),
                web.put("/control/carrier", self.set_carrier),
            ]
        )
        return application

    # — looking —
    async def index(self, request: web.Request) -> web.Response:
        operations = {
            f"{route.method} {route.resource.canonical}"
            for route in request.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
        return _json({"operations": sorted(operations)})

    async def state(self, _: web.Request) -> web.Response:
        """Counts that cost nothing to tell; asked for many times a minute."""
        world = self._world
        return _json(
            {
                "at_us": epoch_us(world.clock.now()),
                "seed": world.seed,
                "shops": len(world.shops),
                "shelves": sum(len(shop.shelves) for shop in world.shops),
                "orders_total": world.orders_total,
                "parcels_total": sum(len(shop.parcels) for shop in world.shops),
                "journal_last_number": world.journal.last_number,
                "journal_forgotten": world.journal.forgotten,
                "faults_injected": sum(world.faults.injected.values()),
                "demand_is_on": self._economy.demand.settings.is_on,
                "factor": world.clock.factor,
            }
        )

    async def statistics(self, _: web.Request) -> web.Response:
        world, economy = self._world, self._economy
        on_shelves = Counter(shelf.state.value for _, shelf in world.shelves())
        parcels = Counter(
            parcel.state.value for shop in world.shops for parcel in shop.parcels.values()
        )
        return _json(
            {
                "at_us": epoch_us(world.clock.now()),
                "orders_total": world.orders_total,
                "shelves_by_state": on_shelves,
                "parcels_by_state": parcels,
                "demand": {"drawn": economy.demand.drawn, **economy.demand.counts},
                "carrier": economy.carrier.counts,
                "agenda": {"planned": len(economy.agenda), "dropped": economy.agenda.dropped},
                "faults_injected": world.faults.injected,
                "facades": {
                    marketplace: facade.statistics()
                    for marketplace, facade in self._facades.items()
                    if isinstance(facade, KeepsStatistics)
                },
            }
        )

    async def accounts(self, _: web.Request) -> web.Response:
        return _json({"accounts": self._accounts})

    async def orders(self, request: web.Request) -> web.Response:
        """Those placed at or after ``since`` (µs), numbered above ``after``, at most ``limit``."""
        orders = self._world.orders
        since = _EPOCH + timedelta(microseconds=_number(request, "since", 0))
        start = max(
            _number(request, "after", 0),
            bisect_left(orders, since, key=lambda order: order.placed_at),
        )
        end = start + _limit(request, _ORDERS_PAGE)
        page = orders[start:end]
        return _json(
            {
                "orders_total": len(orders),
                "orders": [order_view(start + i, order) for i, order in enumerate(page, 1)],
                "next_after": end if end < len(orders) else None,
            }
        )

    async def shelves(self, request: web.Request) -> web.Response:
        limit = _limit(request, _SHELVES_PAGE)
        marketplace = request.query.get("marketplace")
        seller_id = request.query.get("seller_id")
        wanted = (
            (shop, shelf)
            for shop, shelf in self._world.shelves(after=_number(request, "after", 0))
            if marketplace in {None, shop.marketplace} and seller_id in {None, shop.seller_id}
        )
        page = list(islice(wanted, limit))
        more = next(wanted, None) is not None
        return _json(
            {
                "shelves": [shelf_view(shop, shelf) for shop, shelf in page],
                "next_after": page[-1][1].number if page and more else None,
            }
        )

    async def journal(self, request: web.Request) -> web.StreamResponse:
        """NDJSON after ``after``, at most ``limit`` lines, sent in small pieces."""
        journal = self._world.journal
        number = _number(request, "after", 0)
        last = min(journal.last_number, number + _limit(request, _JOURNAL_PAGE))
        if number < journal.forgotten:
            raise _truncated(journal.forgotten)
        answer = web.StreamResponse(
            headers={
                "Content-Type": "application/x-ndjson",
                "X-Journal-Last-Number": str(journal.last_number),
            }
        )
        await answer.prepare(request)
        while number < last:
            try:
                entries = journal.after(number, limit=min(_JOURNAL_CHUNK, last - number))
            except JournalTruncated:
                break  # forgotten while it was being sent; the reader asks on and is told so
            await answer.write(b"".join(map(encode_entry, entries)))
            number += len(entries)
        await answer.write_eof()
        return answer

    # — buying —
    async def place_order(self, request: web.Request) -> web.Response:
        body = await _body(request, OrderBody)
        shop = self._shop(body.marketplace, body.seller_id)
        _check_discounts(shop, body)
        people = self._economy.people
        order = self._world.place_order(
            shop,
            body.basket,
            people.person(body.buyer or self._world.orders_total % people.count + 1),
            awaiting=body.awaiting,
            micro_export=body.micro_export,
            seller_discounts_minor=body.seller_discounts_minor,
            marketplace_discounts_minor=body.marketplace_discounts_minor,
        )
        return _json(order_view(self._world.orders_total, order), status=201)

    async def cancel(self, request: web.Request) -> web.Response:
        body = await _body(request, CancelBody)
        order = self._order(body.order_number)
        parcels = [parcel for parcel in order.parcels if parcel.state in OPEN_STATES]
        if body.parcel_number is not None:
            parcels = [self._parcel(body.parcel_number)]
        elif not parcels:
            raise Impossible("not_open")
        elif body.units is not None and len(parcels) > 1:
            raise Problem(409, "which_parcel")
        for parcel in parcels:
            units = dict(parcel.units) if body.units is None else body.units
            self._world.cancel_units(parcel, units, by_seller=body.by_seller, reason=body.reason)
        return _json({"parcels": [parcel_view(parcel) for parcel in order.parcels]})

    async def release(self, request: web.Request) -> web.Response:
        body = await _body(request, ReleaseBody)
        order = self._order(body.order_number)
        if not self._economy.demand.release(order, fails=body.fails):
            raise Problem(409, "not_held")
        return _json({"parcels": [parcel_view(parcel) for parcel in order.parcels]})

    # — the carrier —
    async def scan(self, request: web.Request) -> web.Response:
        body = await _body(request, ScanBody)
        if body.after_minutes > 0:
            self._economy.carrier.hand_over(body.cargo_code, after_minutes=body.after_minutes)
            return _json({"cargo_code": body.cargo_code, "planned": True}, status=202)
        return _json(parcel_view(self._economy.carrier.scan(body.cargo_code)))

    async def deliver(self, request: web.Request) -> web.Response:
        body = await _body(request, DeliverBody)
        parcel = self._parcel(body.parcel_number)
        self._economy.carrier.bring(parcel, ParcelState(body.state))
        return _json(parcel_view(parcel))

    async def carrier(self, _: web.Request) -> web.Response:
        return _json(self._economy.carrier.settings)

    async def set_carrier(self, request: web.Request) -> web.Response:
        carrier = self._economy.carrier
        carrier.configure(await _changed(request, carrier.settings))
        return _json(carrier.settings)

    # — the stage —
    async def add_account(self, request: web.Request) -> web.Response:
        body = await _body(request, AccountBody)
        if body.marketplace not in self._facades:
            raise Problem(404, "unknown_marketplace", marketplace=body.marketplace)
        return _json(self._open_account(body.marketplace, body.tier), status=201)

    async def add_shelves(self, request: web.Request) -> web.Response:
        """Listings that stand on sale at once; all of them or none."""
        body = await _body(request, ShelvesBody)
        shop = self._shop(body.marketplace, body.seller_id)
        shelves = [_shelf(shop, shelf) for shelf in body.shelves]
        keys = {shelf.key for shelf in shelves}
        if len(keys) < len(shelves) or keys & shop.shelves.keys():
            raise Impossible("key_taken")
        for shelf in shelves:
            self._world.add_shelf(shop, shelf)
        return _json({"keys": [shelf.key for shelf in shelves]}, status=201)

    async def edit_on_panel(self, request: web.Request) -> web.Response:
        """Somebody changes a listing on the marketplace's own panel: no client is told."""
        body = await _body(request, PanelBody)
        shop = self._shop(body.marketplace, body.seller_id)
        shelf = shop.shelves.get(body.key)
        if shelf is None:
            raise Impossible("unknown_shelf")
        self._world.set_offer(
            shop,
            shelf,
            quantity=body.quantity,
            list_minor=body.list_minor,
            sale_minor=body.sale_minor,
            cause="panel",
        )
        return _json(shelf_view(shop, shelf))

    async def faults(self, _: web.Request) -> web.Response:
        faults = self._world.faults
        return _json(
            {
                "is_enabled": faults.is_enabled,
                "rates": {fault: faults.rates.get(fault, 0.0) for fault in Fault},
                "injected": faults.injected,
                "forced": [
                    {"marketplace": marketplace, "fault": fault, "count": count}
                    for (marketplace, fault), count in faults.forced_left().items()
                ],
            }
        )

    async def set_faults(self, request: web.Request) -> web.Response:
        """Rates that are not named stay; 0 ends one."""
        body = await _body(request, FaultsBody)
        faults = self._world.faults
        faults.rates.update(body.rates)
        if body.is_enabled is not None:
            faults.is_enabled = body.is_enabled
        for force in body.force:
            faults.force(force.fault, count=force.count, marketplace=force.marketplace)
        return await self.faults(request)

    async def fault_log(self, request: web.Request) -> web.Response:
        """Which faults were injected, where and when; those numbered above ``after``."""
        after = _number(request, "after", 0)
        wanted = (each for each in self._world.faults.log if each.number > after)
        page = list(islice(wanted, _limit(request, _FAULTS_PAGE)))
        more = next(wanted, None) is not None
        return _json(
            {
                "faults": [
                    {
                        "number": each.number,
                        "at_us": epoch_us(each.at),
                        "fault": each.fault,
                        "marketplace": each.marketplace,
                    }
                    for each in page
                ],
                "next_after": page[-1].number if page and more else None,
            }
        )

    async def time(self, _: web.Request) -> web.Response:
        clock = self._world.clock
        return _json(
            {
                "now_us": epoch_us(clock.now()),
                "economy_now_us": epoch_us(clock.economy_now()),
                "factor": clock.factor,
            }
        )

    async def set_time(self, request: web.Request) -> web.Response:
        body = await _body(request, TimeBody)
        self._economy.set_factor(body.factor)
        return await self.time(request)

    async def demand(self, _: web.Request) -> web.Response:
        return _json(self._economy.demand.settings)

    async def set_demand(self, request: web.Request) -> web.Response:
        demand = self._economy.demand
        demand.configure(await _changed(request, demand.settings))
        return _json(demand.settings)

    async def reset_demand(self, request: web.Request) -> web.Response:
        """The same buyers come again, in the same order."""
        self._economy.demand.reset()
        return await self.demand(request)

    # — finding —
    def _shop(self, marketplace: str, seller_id: str) -> Shop:
        shop = self._world.shop(marketplace, seller_id)
        if shop is None:
            raise Problem(404, "unknown_shop", marketplace=marketplace, seller_id=seller_id)
        return shop

    def _order(self, order_number: str) -> Order:
        for shop in self._world.shops:
            if order_number in shop.orders:
                return shop.orders[order_number]
        raise Problem(404, "unknown_order", order_number=order_number)

    def _parcel(self, parcel_number: int) -> Parcel:
        for shop in self._world.shops:
            if parcel_number in shop.parcels:
                return shop.parcels[parcel_number]
        raise Problem(404, "unknown_parcel", parcel=parcel_number)


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), status=status, content_type="application/json"
    )


async def _body(request: web.Request, kind: type[_BodyType]) -> _BodyType:
    return msgspec.json.decode(await request.read(), type=kind)


async def _changed(request: web.Request, settings: _Settings) -> _Settings:
    """The settings with the members of the body in place of theirs."""
    given = msgspec.json.decode(await request.read(), type=dict[str, object])
    names = [field.name for field in fields(settings)]
    unknown = given.keys() - names
    if unknown:
        raise Problem(
            400,
            "not_understood",
            mistake=f"Unknown: {', '.join(sorted(unknown))}; known: {', '.join(names)}",
        )
    merged = {name: getattr(settings, name) for name in names} | given
    return msgspec.convert(merged, type(settings))


def _number(request: web.Request, name: str, other: int) -> int:
    text = request.query.get(name, str(other))
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Problem(400, "not_understood", mistake=f"{name} is a whole number from 0")
    return int(text)


def _limit(request: web.Request, page: int) -> int:
    """How many the reader wants, from 1 to ten pages."""
    return min(max(_number(request, "limit", page), 1), 10 * page)


def _truncated(forgotten: int) -> Problem:
    return Problem(410, "journal_truncated", first_number=forgotten + 1, first_after=forgotten)


def _shelf(shop: Shop, body: ShelfBody) -> Shelf:
    """Without a key the shop's own rule holds: ``shop.facts["shelf_key"]``, else the barcode."""
    by_stock_code = shop.facts.get("shelf_key") == "stock_code"
    return Shelf(
        key=body.key or (body.stock_code if by_stock_code else body.barcode),
        barcode=body.barcode,
        stock_code=body.stock_code,
        title=body.title,
        quantity=body.quantity,
        list_minor=body.list_minor,
        sale_minor=body.sale_minor,
        vat_percent=body.vat_percent,
        state=ShelfState.ON_SALE,
        facts=dict(body.facts),
    )


def _check_discounts(shop: Shop, body: OrderBody) -> None:
    for key, units in body.basket.items():
        shelf = shop.shelves.get(key)
        if shelf is None:
            continue  # the world says it better
        none = (0,) * units
        by_seller = body.seller_discounts_minor.get(key, none)
        by_marketplace = body.marketplace_discounts_minor.get(key, none)
        if not len(by_seller) == len(by_marketplace) == units or any(
            min(one, other) < 0 or one + other > shelf.sale_minor
            for one, other in zip(by_seller, by_marketplace, strict=True)
        ):
            raise Problem(409, "wrong_discounts")
