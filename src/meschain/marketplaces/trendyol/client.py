"""One method per endpoint: the request it takes, the type it answers. No decisions.

Every method returns the body or the problem that stood in its place.
"""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import quote

from meschain.channel.contract import Account, Call, LeaseExpired
from meschain.channel.http import HttpReply, HttpRequest, Transport, TransportLost
from meschain.channel.outcome import Done, NotSent, Problem, Unknown
from meschain.marketplaces.trendyol import wire
from meschain.marketplaces.trendyol.mapping.reply import broken, decoded, problem_of
from meschain.marketplaces.trendyol.mapping.webhook import basic

T = TypeVar("T")
Query = tuple[tuple[str, str], ...]

NOT_FOUND: Final = 404
DEFAULT_INTEGRATOR: Final = "SelfIntegration"


class TrendyolClient:
    """The endpoints of one account."""

    def __init__(self, account: Account, transport: Transport) -> None:
        self._transport = transport
        self._base = account.base_urls["integration"]
        seller_id = account.credentials["seller_id"]
        self._seller = quote(seller_id, safe="")
        integrator = account.settings.get("integrator", DEFAULT_INTEGRATOR)
        credentials = basic(account.credentials["api_key"], account.credentials["api_secret"])
        # A missing User-Agent is answered with 403. Source: sheet 1.2.
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "User-Agent": f"{seller_id} - {integrator}",
        }

    # — reference data —

    async def get_category_tree(
        self, call: Call
    ) -> list[wire.Category] | wire.CategoryEnvelope | Problem:
        reply = await self._get("list_categories", "/product/product-categories", call)
        if not isinstance(reply, HttpReply):
            return reply
        # The root is documented and seen as an array; one client also met an object (sheet 3.1).
        if reply.body.lstrip().startswith(b"{"):
            return decoded(reply.body, wire.CategoryEnvelope)
        return decoded(reply.body, list[wire.Category])

    async def get_category_attributes(
        self, category_id: str, call: Call
    ) -> wire.CategoryAttributes | Problem:
        path = f"/product/categories/{_segment(category_id)}/attributes"
        reply = await self._get("list_attributes", path, call)
        return _body(reply, wire.CategoryAttributes)

    async def get_attribute_values(
        self, category_id: str, attribute_id: str, page: int, call: Call
    ) -> wire.AttributeValuePage | Problem:
        path = (
            f"/product/categories/{_segment(category_id)}"
            f"/attributes/{_segment(attribute_id)}/values"
        )
        query = (("page", str(page)), ("size", "1000"))
        reply = await self._get("list_attribute_values", path, call, query)
        return _body(reply, wire.AttributeValuePage)

    async def get_brands_by_name(self, name: str, call: Call) -> list[wire.Brand] | Problem:
        reply = await self._get("find_brands", "/product/brands/by-name", call, (("name", name),))
        return _body(reply, list[wire.Brand])

    # — listings —

    async def get_inventory_and_price(self, query: Query, call: Call) -> wire.OfferPage | Problem:
        path = self._products("/approved/inventory-and-price")
        return _body(await self._get("observe_offers", path, call, query), wire.OfferPage)

    async def get_approved(self, query: Query, call: Call) -> wire.ApprovedPage | Problem:
        reply = await self._get("list_offers", self._products("/approved"), call, query)
        return _body(reply, wire.ApprovedPage)

    async def get_unapproved(self, query: Query, call: Call) -> wire.UnapprovedPage | Problem:
        path = self._products("/unapproved")
        return _body(await self._get("list_unapproved", path, call, query), wire.UnapprovedPage)

    async def create_products(self, items: wire.Items, call: Call) -> wire.BatchReceipt | Problem:
        path = f"/product/sellers/{self._seller}/v2/products"
        return await self._batch("publish", "POST", path, items, call)

    async def update_unapproved(self, items: wire.Items, call: Call) -> wire.BatchReceipt | Problem:
        path = self._products("/unapproved-bulk-update")
        return await self._batch("update_unapproved", "POST", path, items, call)

    async def update_contents(self, items: wire.Items, call: Call) -> wire.BatchReceipt | Problem:
        path = self._products("/content-bulk-update")
        return await self._batch("update_content", "POST", path, items, call)

    async def update_variants(self, items: wire.Items, call: Call) -> wire.BatchReceipt | Problem:
        path = self._products("/variant-bulk-update")
        return await self._batch("update_variant", "POST", path, items, call)

    async def set_archive_state(self, items: wire.Items, call: Call) -> wire.BatchReceipt | Problem:
        path = self._products("/archive-state")
        return await self._batch("close_listings", "PUT", path, items, call)

    # — offers —

    async def push_price_and_inventory(
        self, items: wire.Items, call: Call
    ) -> wire.BatchReceipt | Problem:
        path = f"/inventory/sellers/{self._seller}/products/price-and-inventory"
        return await self._batch("push_offers", "POST", path, items, call)

    async def get_batch(self, batch_request_id: str, call: Call) -> wire.Batch | Problem:
        path = self._products(f"/batch-requests/{_segment(batch_request_id)}")
        reply = await self._exchange("poll_ticket", "GET", path, call)
        # What happens after the four hours of retention is not documented (sheet 5).
        if isinstance(reply, HttpReply) and reply.status == NOT_FOUND:
            return Unknown("expired")
        return _body(_successful(reply), wire.Batch)

    # — orders —

    async def get_package_stream(self, query: Query, call: Call) -> wire.PackageStream | Problem:
        path = f"/order/sellers/{self._seller}/orders/stream"
        return _body(await self._get("pull_orders", path, call, query), wire.PackageStream)

    async def get_packages(self, query: Query, call: Call) -> wire.PackagePage | Problem:
        path = f"/order/sellers/{self._seller}/v2/orders"
        return _body(await self._get("pull_order", path, call, query), wire.PackagePage)

    async def put_package_status(
        self, package_id: str, body: wire.PackageStatus, call: Call
    ) -> Done | Problem:
        path = self._package(package_id)
        return await self._act("advance_package", "PUT", path, call, wire.encode(body))

    async def put_unsupplied(
        self, package_id: str, body: wire.Unsupplied, call: Call
    ) -> Done | Problem:
        path = self._package(package_id, "/items/unsupplied")
        return await self._act("cancel_lines", "PUT", path, call, wire.encode(body))

    async def post_split(
        self, package_id: str, endpoint: str, body: wire.Split, call: Call
    ) -> Done | Problem:
        """``endpoint``: split, multi-split, quantity-split or split-packages."""
        path = self._package(package_id, f"/{endpoint}")
        operation = "split_package" if endpoint == "split" else endpoint.replace("-", "_")
        return await self._act(operation, "POST", path, call, wire.encode(body))

    async def put_alternative_delivery(
        self, package_id: str, body: wire.AlternativeDelivery, call: Call
    ) -> Done | Problem:
        path = self._package(package_id, "/alternative-delivery")
        return await self._act("ship_own_courier", "PUT", path, call, wire.encode(body))

    async def create_label(
        self, cargo_tracking_number: str, body: wire.LabelOrder, call: Call
    ) -> Done | Problem:
        path = self._label(cargo_tracking_number)
        return await self._act("create_label", "POST", path, call, wire.encode(body))

    async def get_labels(self, cargo_tracking_number: str, call: Call) -> wire.Labels | Problem:
        reply = await self._get("fetch_label", self._label(cargo_tracking_number), call)
        return _body(reply, wire.Labels)

    # — webhooks: only the creation answers in JSON, all other writes in plain text (sheet 12) —

    async def create_webhook(
        self, body: wire.WebhookOrder, call: Call
    ) -> wire.WebhookReceipt | Problem:
        reply = await self._exchange(
            "register_webhook", "POST", self._webhooks(), call, body=wire.encode(body)
        )
        return _body(_successful(reply), wire.WebhookReceipt)

    async def get_webhooks(self, call: Call) -> list[wire.Webhook] | Problem:
        reply = await self._get("list_webhooks", self._webhooks(), call)
        return _body(reply, list[wire.Webhook])

    async def delete_webhook(self, webhook_id: str, call: Call) -> Done | Problem:
        path = self._webhooks(f"/{_segment(webhook_id)}")
        reply = await self._exchange("delete_webhook", "DELETE", path, call)
        # A second deletion is answered with 404, in whatever form: it is gone, as was asked.
        if isinstance(reply, HttpReply) and reply.status == NOT_FOUND:
            return Done()
        return _done(_successful(reply))

    async def activate_webhook(self, webhook_id: str, call: Call) -> Done | Problem:
        path = self._webhooks(f"/{_segment(webhook_id)}/activate")
        return await self._act("activate_webhook", "PUT", path, call)

    # — paths and the exchange —

    def _products(self, suffix: str) -> str:
        return f"/product/sellers/{self._seller}/products{suffix}"

    def _package(self, package_id: str, suffix: str = "") -> str:
        return f"/order/sellers/{self._seller}/shipment-packages/{_segment(package_id)}{suffix}"

    def _label(self, cargo_tracking_number: str) -> str:
        return f"/sellers/{self._seller}/common-label/{_segment(cargo_tracking_number)}"

    def _webhooks(self, suffix: str = "") -> str:
        return f"/webhook/sellers/{self._seller}/webhooks{suffix}"

    async def _get(
        self, operation: str, path: str, call: Call, query: Query = ()
    ) -> HttpReply | Problem:
        return _successful(await self._exchange(operation, "GET", path, call, query=query))

    async def _batch(
        self, operation: str, method: str, path: str, items: wire.Items, call: Call
    ) -> wire.BatchReceipt | Problem:
        reply = await self._exchange(operation, method, path, call, body=wire.encode(items))
        return _body(_successful(reply), wire.BatchReceipt)

    async def _act(
        self, operation: str, method: str, path: str, call: Call, body: bytes | None = None
    ) -> Done | Problem:
        """An action whose success says nothing but its status."""
        return _done(_successful(await self._exchange(operation, method, path, call, body=body)))

    async def _exchange(
        self,
        operation: str,
        method: str,
        path: str,
        call: Call,
        *,
        query: Query = (),
        body: bytes | None = None,
    ) -> HttpReply | Unknown | NotSent:
        typed = {} if body is None else {"Content-Type": "application/json"}
        request = HttpRequest(
            operation=operation,
            method=method,
            url=self._base + path,
            headers=self._headers | typed,
            query=query,
            body=body,
        )
        try:
            return await self._transport.send(request, call)
        except TransportLost as lost:
            # Resending its bytes would be refused as a repetition, and may not be needed at all.
            return Unknown("lost", lost.detail) if lost.may_have_arrived else NotSent(lost.detail)
        except LeaseExpired:
            return NotSent("lease_expired")


def _segment(text: str) -> str:
    return quote(text, safe="")


def _successful(reply: HttpReply | Unknown | NotSent) -> HttpReply | Problem:
    if not isinstance(reply, HttpReply):
        return reply
    return problem_of(reply) or reply


def _body(reply: HttpReply | Problem, kind: type[T]) -> T | Problem:
    return decoded(reply.body, kind) if isinstance(reply, HttpReply) else reply


def _done(reply: HttpReply | Problem) -> Done | Problem:
    if not isinstance(reply, HttpReply):
        return reply
    # Success says nothing or a few words of plain text; a web page is somebody else's answer.
    if reply.body.lstrip().startswith(b"<"):
        return broken("a page of markup instead of an answer", reply.body)
    return Done()
