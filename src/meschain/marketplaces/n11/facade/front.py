"""The façade as the host serves it: routes, sellers, background work."""

from __future__ import annotations

import random
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from meschain.marketplaces.n11.facade import replies, soap
from meschain.marketplaces.n11.facade.agenda import Agenda
from meschain.marketplaces.n11.facade.book import Market, ShopBook
from meschain.marketplaces.n11.facade.gate import Gate, Handler
from meschain.marketplaces.n11.facade.offer import PriceStockUpdate
from meschain.marketplaces.n11.facade.package_change import PackageChange
from meschain.marketplaces.n11.facade.package_query import PackageQuery
from meschain.marketplaces.n11.facade.package_row import CARRIERS
from meschain.marketplaces.n11.facade.packages import Packages
from meschain.marketplaces.n11.facade.product_create import ProductCreate
from meschain.marketplaces.n11.facade.product_query import Catalog, ProductQuery
from meschain.marketplaces.n11.facade.product_update import ProductDelete, ProductUpdate
from meschain.marketplaces.n11.facade.settings import read_settings
from meschain.marketplaces.n11.facade.task import Row, TaskKind, Tasks
from meschain.marketplaces.n11.facade.taxonomy import load_taxonomy
from meschain.sandbox.world import Shop, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from meschain.sandbox.facade import Facade, SellerSpec

# A thousand products with descriptions of up to 30 000 characters each.
BODY_BYTES_MAX: Final = 64 * 1024 * 1024


class N11Facade:
    """N11 in front of the world."""

    def __init__(self, world: World, settings: Mapping[str, str]) -> None:
        """Raises ValueError for a setting that does not exist."""
        self._market = Market(world, read_settings(settings), load_taxonomy(), Agenda(world.clock))
        self._gate = Gate(self._market)
        world.subscribe(self._market.parcel_changed)

    @property
    def marketplace(self) -> str:
        """The folder's name."""
        return "n11"

    @property
    def services(self) -> Mapping[str, str]:
        """All families stand on one host."""
        return {"api": ""}

    def open_shop(self, seller: SellerSpec) -> Shop:
        """A shop with fresh ``app_key`` and ``app_secret``. N11 knows no tiers."""
        world, settings = self._market.world, self._market.settings
        # Not a secret: the sandbox must give the same credentials for the same seed.
        draw = random.Random(f"n11:{world.seed}:{seller.seller_number}")  # noqa: S311
        appkey, appsecret = (str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(2))
        shop = world.open_shop(
            Shop(
                marketplace="n11",
                seller_id=str(seller.seller_number),
                credentials={"app_key": appkey, "app_secret": appsecret},
                tier=seller.tier,
                lowers_own_shelf=settings.lowers_own_shelf,
                restocks_on_cancel=settings.restocks_on_cancel,
                facts={
                    "shelf_key": "stock_code",
                    "ships_from": "picking",  # no invoiced state; the carrier's scan ends Picking
                    "holds_orders": False,  # the REST list knows no order before its payment
                    "carriers": [name for name, _ in CARRIERS.values()],
                },
            )
        )
        self._market.add(ShopBook(shop, appkey, appsecret, Packages(shop)))
        return shop

    def statistics(self) -> Mapping[str, object]:
        """Counts since the start, ``refused_by_quota`` always among them."""
        return {"refused_by_quota": 0, **self._market.counts}

    async def start(self) -> None:
        """Begin to apply tasks and approve products."""
        self._gate.open()
        self._market.agenda.start()

    async def stop(self) -> None:
        """End all of it, held replies too."""
        self._gate.close()
        await self._market.agenda.stop()

    def application(self) -> web.Application:
        """All routes that the fact sheet names in scope; any other path is a 503."""
        market, gate = self._market, self._gate
        tasks, catalog = Tasks(market), Catalog(market)
        packages, change = PackageQuery(market), PackageChange(market)

        def task(kind: TaskKind[Row]) -> Handler:
            async def accept(book: ShopBook, request: web.Request) -> web.Response:
                return await tasks.accept(kind, book, request)

            return accept

        application = web.Application(middlewares=[gate.middleware], client_max_size=BODY_BYTES_MAX)
        add = application.router.add_route
        add("GET", "/cdn/categories", gate.cdn(catalog.categories))
        add("GET", "/cdn/category/{category_id}/attribute", gate.cdn(catalog.attributes))
        for name, accept in (
            ("product-create", task(ProductCreate(market))),
            ("product-update", task(ProductUpdate(market))),
            ("price-stock-update", task(PriceStockUpdate(market))),
            ("product-delete", task(ProductDelete(market))),
        ):
            add("POST", f"/ms/product/tasks/{name}", gate.ms(accept))
        add("POST", "/ms/product/task-details/page-query", gate.ms(tasks.page_query))
        add("GET", "/ms/product-query", gate.ms(ProductQuery(market).answer))
        add("GET", "/rest/delivery/v1/shipmentPackages", gate.rest(packages.answer))
        add("PUT", "/rest/order/v1/update", gate.rest(change.approve))
        add("POST", "/rest/delivery/v1/splitCombinePackage", gate.rest(change.split_by_line))
        add("POST", "/rest/delivery/v1/splitPackageByQuantity", gate.rest(change.split_by_quantity))
        add("PUT", "/rest/delivery/v1/collectionRequest", gate.rest(change.request_collection))
        add("POST", "/ws/{service:.+}", self._soap)
        return application

    async def _soap(self, request: web.Request) -> web.Response:
        operation = soap.operation_of(request.match_info["service"])
        if operation is None or (
            operation == "MakeOrderItemShipment" and not self._market.settings.make_shipment
        ):
            return replies.unknown_path()
        try:
            envelope = soap.SoapRequest(request.content_type, await request.read())
        except ValueError:
            return replies.soap_failure(replies.INVALID_INPUT, "Geçersiz SOAP mesajı.")
        if envelope.name != f"{operation}Request":
            return replies.unknown_path()
        seller = self._gate.ws(*envelope.credentials(), operation)
        if isinstance(seller, web.Response):
            return seller
        answers = soap.Soap(self._market)
        if operation == "GetShipmentCompanies":
            return answers.shipment_companies()
        return answers.make_shipment(seller, envelope)


@asynccontextmanager
async def serve(facade: Facade, *, port: int = 0) -> AsyncIterator[str]:
    """Run a façade on loopback and yield its base URL; port 0 takes a free one."""
    runner = web.AppRunner(facade.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    try:
        await site.start()
        await facade.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await facade.stop()
        await runner.cleanup()
