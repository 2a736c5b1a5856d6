"""The façade as a whole: its parts, its routes, its shops."""

from __future__ import annotations

import random
from collections.abc import Mapping
from http import HTTPMethod
from typing import Final

from aiohttp import web

from meschain.marketplaces.trendyol.facade import order_read, product_read
from meschain.marketplaces.trendyol.facade.batch import Batches
from meschain.marketplaces.trendyol.facade.catalog import Catalog
from meschain.marketplaces.trendyol.facade.edge import MARKETPLACE, Edge
from meschain.marketplaces.trendyol.facade.envelope import PREFIX
from meschain.marketplaces.trendyol.facade.gate import TIERS, Bucket, Gate, Operation
from meschain.marketplaces.trendyol.facade.inventory import Inventory
from meschain.marketplaces.trendyol.facade.label import CommonLabel
from meschain.marketplaces.trendyol.facade.order_action import OrderAction
from meschain.marketplaces.trendyol.facade.order_read import OrderRead
from meschain.marketplaces.trendyol.facade.package import PackageLog, Packages
from meschain.marketplaces.trendyol.facade.product_read import ProductRead
from meschain.marketplaces.trendyol.facade.product_write import ProductWrite
from meschain.marketplaces.trendyol.facade.reference import Reference
from meschain.marketplaces.trendyol.facade.seller import Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.taxonomy import taxonomy
from meschain.marketplaces.trendyol.facade.timetable import Timetable
from meschain.marketplaces.trendyol.facade.webhook import Webhooks
from meschain.sandbox.facade import SellerSpec
from meschain.sandbox.world import OrderChanged, Shop, World

_SELLER_ID_BASE: Final = 200_000
_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_KEY_LENGTH: Final = 20
# A thousand new products with their longest descriptions fit in.
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024

GET: Final = HTTPMethod.GET
POST: Final = HTTPMethod.POST
PUT: Final = HTTPMethod.PUT
DELETE: Final = HTTPMethod.DELETE


class TrendyolFacade:
    """Trendyol's seller API in front of the world; see ``meschain.sandbox.facade.Facade``."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._timetable = Timetable(world.clock)
        self._edge = Edge(world, settings)
        self._gate = Gate(world.clock, settings)
        known = taxonomy()
        self._catalog = Catalog(world, settings, known, self._timetable)
        self._packages = Packages(settings, known)
        self._webhooks = Webhooks(world, settings, self._timetable, self._packages)
        self._application = web.Application(
            middlewares=self._edge.middlewares(), client_max_size=_BODY_BYTES_MAX
        )
        for operation in self._operations():
            self._application.router.add_route(
                operation.method, PREFIX + operation.path, self._gate.guard(operation)
            )
        world.subscribe(self._on_change)

    @property
    def marketplace(self) -> str:
        return MARKETPLACE

    @property
    def services(self) -> Mapping[str, str]:
        return {"integration": PREFIX}

    def application(self) -> web.Application:
        return self._application

    def open_shop(self, seller: SellerSpec) -> Shop:
        """A shop with key and secret drawn from the seed. Raises ValueError for an unknown tier."""
        tier = seller.tier or TIERS[0]
        if tier not in TIERS:
            raise ValueError(f"tier must be one of {', '.join(TIERS)}")
        seller_id = str(_SELLER_ID_BASE + seller.seller_number)
        draw = random.Random(f"{MARKETPLACE}:keys:{self._world.seed}:{seller_id}")  # noqa: S311
        key, secret = ("".join(draw.choices(_ALPHABET, k=_KEY_LENGTH)) for _ in range(2))
        shop = self._world.open_shop(
            Shop(
                marketplace=MARKETPLACE,
                seller_id=seller_id,
                credentials={"seller_id": seller_id, "api_key": key, "api_secret": secret},
                tier=tier,
                restocks_on_cancel=self._settings.restocks_on_cancel == "on",
            )
        )
        shop.facts["carriers"] = [self._settings.cargo_provider]
        self._gate.admit_seller(Seller(shop, int(seller_id), PackageLog()), key, secret)
        return shop

    async def start(self) -> None:
        self._timetable.start()
        self._webhooks.start()

    async def stop(self) -> None:
        self._edge.is_closing = True
        await self._timetable.stop()
        await self._webhooks.stop()

    def statistics(self) -> Mapping[str, object]:
        """What the façade counted since it began."""
        return {
            "refused_by_quota": dict(self._gate.refused_by_quota),
            "webhooks_delivered": self._webhooks.delivered,
            "webhook_attempts_failed": self._webhooks.failed,
        }

    def seller(self, seller_id: str) -> Seller:
        """The marketplace's own side of a shop, for whoever recounts."""
        return self._gate.sellers[seller_id]

    def _on_change(self, change: OrderChanged) -> None:
        shop = change.order.shop
        if shop.marketplace != MARKETPLACE:
            return
        seller = self._gate.sellers[shop.seller_id]
        self._packages.note(seller, change.parcel)
        self._webhooks.announce(seller, change.parcel)

    def _operations(self) -> list[Operation]:
        """Every call there is, with the bucket it draws on (fact sheet 2.2, 2.3)."""
        batches = Batches(self._world, self._settings, self._timetable)
        return [
            *self._product_operations(batches),
            *self._order_operations(),
            *self._webhook_operations(),
        ]

    def _product_operations(self, batches: Batches) -> list[Operation]:
        settings = self._settings
        reference = Reference(settings, self._catalog.taxonomy)
        write = ProductWrite(self._catalog, settings, batches, self._timetable)
        read = ProductRead(self._catalog, settings)
        inventory = Inventory(self._world, settings, batches)
        seller, category = "/product/sellers/{sellerId}", "/product/categories/{categoryId:\\d+}"
        products = seller + "/products"
        values = category + "/attributes/{attributeId:\\d+}/values"
        reads, writes = Bucket.PRODUCT_READ, Bucket.PRODUCT_WRITE
        return [
            Operation(GET, "/product/brands", reads, reference.brands, frozenset({"page", "size"})),
            Operation(
                GET, "/product/brands/by-name", reads, reference.brands_by_name, frozenset({"name"})
            ),
            Operation(
                GET, "/product/product-categories", reads, reference.categories, frozenset({"name"})
            ),
            Operation(
                GET, category + "/attributes", reads, reference.attributes, frozenset({"required"})
            ),
            Operation(GET, values, reads, reference.attribute_values, frozenset({"page", "size"})),
            Operation(
                GET,
                "/product/lookup/cargo-providers",
                Bucket.BURST_ONLY,  # no member of any bucket
                reference.cargo_providers,
            ),
            Operation(GET, "/sellers/{sellerId}/addresses", reads, reference.addresses),
            Operation(POST, seller + "/v2/products", writes, write.create),
            Operation(POST, products + "/unapproved-bulk-update", writes, write.update_unapproved),
            Operation(POST, products + "/content-bulk-update", writes, write.update_content),
            Operation(POST, products + "/variant-bulk-update", writes, write.update_variant),
            Operation(POST, products + "/delivery-info-bulk-update", writes, write.update_delivery),
            Operation(PUT, products + "/archive-state", writes, write.archive),
            Operation(DELETE, products, writes, write.delete),
            Operation(PUT, products + "/unlock", writes, write.unlock),
            Operation(GET, products + "/approved", reads, read.approved, product_read.LIST_QUERY),
            Operation(
                GET,
                products + "/approved/inventory-and-price",
                reads,
                read.inventory_and_price,
                product_read.INVENTORY_QUERY,
            ),
            Operation(
                GET, products + "/unapproved", reads, read.unapproved, product_read.LIST_QUERY
            ),
            Operation(
                GET,
                products + "/{contentId:\\d+}/update-audits",
                reads,
                read.update_audits,
                product_read.AUDIT_QUERY,
            ),
            Operation(GET, seller + "/product/{barcode}", reads, read.single),
            Operation(GET, products + "/batch-requests/{batchRequestId}", reads, batches.result),
            Operation(
                POST,
                "/inventory/sellers/{sellerId}/products/price-and-inventory",
                Bucket.INVENTORY_WRITE,
                inventory.update,
            ),
        ]

    def _order_operations(self) -> list[Operation]:
        read = OrderRead(self._world, self._settings, self._packages)
        action = OrderAction(self._world, self._settings, self._catalog.taxonomy, self._timetable)
        label = CommonLabel(self._world, self._settings)
        seller = "/order/sellers/{sellerId}"
        package = seller + "/shipment-packages/{packageId:\\d+}"
        common_label = "/sellers/{sellerId}/common-label/{cargoTrackingNumber}"
        status, change = Bucket.PACKAGE_STATUS, Bucket.PACKAGE_CHANGE
        extra_time = package + "/extended-agreed-delivery-date"
        return [
            Operation(GET, seller + "/orders", Bucket.PACKAGES, read.first_version, query=None),
            Operation(
                GET, seller + "/v2/orders", Bucket.PACKAGES, read.listed, order_read.LIST_QUERY
            ),
            Operation(
                GET, seller + "/orders/stream", Bucket.STREAM, read.stream, order_read.STREAM_QUERY
            ),
            Operation(PUT, package, status, action.set_status),
            Operation(PUT, package + "/alternative-delivery", status, action.ship_by_own_courier),
            Operation(PUT, package + "/warehouse", status, action.set_warehouse),
            Operation(PUT, package + "/items/unsupplied", change, action.unsupply),
            Operation(POST, package + "/split", change, action.split),
            Operation(POST, package + "/multi-split", change, action.multi_split),
            Operation(POST, package + "/quantity-split", change, action.quantity_split),
            Operation(POST, package + "/split-packages", change, action.split_packages),
            Operation(PUT, package + "/box-info", change, action.set_box_info),
            Operation(PUT, package + "/cargo-providers", change, action.change_carrier),
            Operation(PUT, extra_time, change, action.extend_delivery),
            Operation(POST, common_label, Bucket.LABEL_CREATE, label.create),
            Operation(GET, common_label, Bucket.LABEL_READ, label.read),
        ]

    def _webhook_operations(self) -> list[Operation]:
        webhooks, bucket = self._webhooks, Bucket.BURST_ONLY
        every = "/webhook/sellers/{sellerId}/webhooks"
        one = every + "/{webhookId}"
        return [
            Operation(POST, every, bucket, webhooks.create),
            Operation(GET, every, bucket, webhooks.listed),
            Operation(PUT, one, bucket, webhooks.update),
            Operation(DELETE, one, bucket, webhooks.delete),
            Operation(PUT, one + "/activate", bucket, webhooks.activate),
            Operation(PUT, one + "/deactivate", bucket, webhooks.deactivate),
        ]
