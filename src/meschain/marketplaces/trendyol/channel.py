"""One seller account on Trendyol: the Channel protocol out of client and mapping."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from meschain.channel.capability import Manifest, load_manifest
from meschain.channel.clock import Clock
from meschain.channel.contract import (
    Account,
    BrandEntry,
    Call,
    CategoryAttribute,
    CategoryNode,
    Channel,
    ItemOutcomes,
    Label,
    ListingContent,
    ObservedOffer,
    OfferPage,
    OfferPush,
    OrderPage,
    OrderWindow,
    PackageLine,
    PackageRef,
    RemoteKeys,
    TicketEnded,
    TicketOpen,
    WebhookDelivery,
    WebhookRegistration,
    WebhookSecret,
)
from meschain.channel.http import Transport
from meschain.channel.outcome import (
    Accepted,
    ContractBroken,
    Done,
    Outcome,
    Problem,
    Refused,
    Unauthorized,
    Unknown,
)
from meschain.domain.order import OrderObservation, PackageState
from meschain.marketplaces.trendyol import wire
from meschain.marketplaces.trendyol.client import DEFAULT_INTEGRATOR, Query, TrendyolClient
from meschain.marketplaces.trendyol.mapping import listing, offer, order, paging, webhook
from meschain.marketplaces.trendyol.mapping.reply import broken, decoded, text

_MANIFEST: Final = Path(__file__).with_name("manifest.toml")

# Alphanumeric, at most 30 characters. Source: sheet 1.2.
_INTEGRATOR: Final = re.compile(r"[A-Za-z0-9]{1,30}")

# What an account may set, the default first: open points of the documentation. README.md says more.
SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "attributes_create": tuple(listing.FORMS),
    "attributes_update": tuple(listing.FORMS),
    "barcodes_array": ("comma", "repeated"),
    "order_date": tuple(order.ORDER_DATE_SHIFTS),
}

# A value list longer than this is no value list: the read is bounded.
_VALUE_PAGES_MAX: Final = 100

# Joins the batches of one content update to one ticket; no batch id holds a comma.
_JOINT: Final = ","

T = TypeVar("T")
_Send = Callable[[wire.Items, Call], Awaitable[wire.BatchReceipt | Problem]]


@cache
def _manifest() -> Manifest:
    return load_manifest(_MANIFEST)


def connect(account: Account, transport: Transport, clock: Clock) -> Channel:
    """The account's channel. Nothing is sent yet."""
    return TrendyolChannel(account, transport, clock)


class TrendyolChannel:
    """Implements ``Channel``."""

    def __init__(self, account: Account, transport: Transport, clock: Clock) -> None:
        self._client = TrendyolClient(account, transport)
        self._clock = clock
        self._settings = account.settings
        self._states = {name: PackageState(value) for name, value in self.manifest.states.items()}

    @property
    def manifest(self) -> Manifest:
        return _manifest()

    def _setting(self, name: str) -> str:
        return self._settings.get(name, SETTINGS[name][0])

    # — connection and reference data —

    async def check_credentials(self, call: Call) -> Done | Problem:
        if not _INTEGRATOR.fullmatch(self._settings.get("integrator", DEFAULT_INTEGRATOR)):
            return Refused("", "", "advice.trendyol.integrator_name")
        for name, known in SETTINGS.items():
            if self._setting(name) not in known:
                return Refused("", f"{name}={self._setting(name)}", "advice.trendyol.setting")
        # The smallest read that names the seller, so that the id is tried beside the key.
        page = await self._client.get_inventory_and_price((("page", "0"), ("size", "1")), call)
        return Done() if isinstance(page, wire.OfferPage) else page

    async def list_categories(self, call: Call) -> Sequence[CategoryNode] | Problem:
        tree = await self._client.get_category_tree(call)
        if isinstance(tree, wire.CategoryEnvelope):
            return listing.category_nodes(tree.categories)
        return listing.category_nodes(tree) if isinstance(tree, list) else tree

    async def list_attributes(
        self, category_id: str, call: Call
    ) -> Sequence[CategoryAttribute] | Problem:
        described = await self._client.get_category_attributes(category_id, call)
        if not isinstance(described, wire.CategoryAttributes):
            return described
        attributes: list[CategoryAttribute] = []
        for attribute in described.category_attributes or ():
            values = await self._attribute_values(category_id, str(attribute.attribute.id), call)
            if not isinstance(values, list):
                return values
            attributes.append(listing.category_attribute(attribute, values))
        return attributes

    async def _attribute_values(
        self, category_id: str, attribute_id: str, call: Call
    ) -> list[wire.AttributeValue] | Problem:
        values: list[wire.AttributeValue] = []
        for page_number in range(_VALUE_PAGES_MAX):
            page = await self._client.get_attribute_values(
                category_id, attribute_id, page_number, call
            )
            if not isinstance(page, wire.AttributeValuePage):
                return page
            values += page.content
            if page_number + 1 >= page.total_pages:
                return values
        return broken(f"attribute {attribute_id} has over {_VALUE_PAGES_MAX} pages of values", b"")

    async def find_brands(self, name: str, call: Call) -> Sequence[BrandEntry] | Problem:
        brands = await self._client.get_brands_by_name(name, call)
        if not isinstance(brands, list):
            return brands
        return [BrandEntry(str(brand.id), brand.name) for brand in brands]

    # — listings —

    async def observe_offers(self, keys: Sequence[str], call: Call) -> OfferPage | Problem:
        """Approved listings with these barcodes; those missing there, among the unapproved.

        Without the second look a listing that awaits approval would seem absent and be created
        twice. It costs a request only where something is missing.
        """
        assert 0 < len(keys) <= self.manifest.offers.observe_batch_max
        wanted = dict.fromkeys(listing.stored_barcode(key) for key in keys)
        found = await self._client.get_approved(self._barcode_query(wanted), call)
        if not isinstance(found, wire.ApprovedPage):
            return found
        approved = [
            offer
            for offer in listing.approved_offers(found.content)
            if offer.keys.barcode in wanted
        ]
        filled = await self._filled(approved, call)
        if not isinstance(filled, list):
            return filled
        offers = filled
        missing = wanted.keys() - {observed.keys.barcode for observed in offers}
        if missing:
            query = self._barcode_query([key for key in wanted if key in missing])
            unapproved = await self._client.get_unapproved(query, call)
            if not isinstance(unapproved, wire.UnapprovedPage):
                return unapproved
            offers += [
                listing.unapproved_offer(product)
                for product in unapproved.content
                if product.barcode in missing
            ]
        return OfferPage(tuple(offers), next_token=None)

    async def _filled(
        self, offers: list[ObservedOffer], call: Call
    ) -> list[ObservedOffer] | Problem:
        """With quantity and prices, which the documented list may leave out (sheet 3.5)."""
        lacking = [
            offer.keys.barcode
            for offer in offers
            if None in {offer.quantity, offer.list_price, offer.sale_price}
        ]
        values: dict[str, ObservedOffer] = {}
        at_once = self.manifest.offers.observe_batch_max
        for start in range(0, len(lacking), at_once):
            barcodes = lacking[start : start + at_once]
            page = await self._client.get_inventory_and_price(self._barcode_query(barcodes), call)
            if not isinstance(page, wire.OfferPage):
                return page
            found = listing.offers_of_contents(page.content, barcodes)
            values |= {observed.keys.barcode: observed for observed in found}
        return [listing.filled(offer, values.get(offer.keys.barcode)) for offer in offers]

    def _barcode_query(self, barcodes: Sequence[str] | dict[str, None]) -> Query:
        # How the array is written is not documented [U]. A comma, as in the one array that is
        # (packageItemStatuses), cannot occur in a barcode; the setting allows the other way.
        if self._setting("barcodes_array") == "repeated":
            listed: Query = tuple(("barcodes", barcode) for barcode in barcodes)
        else:
            listed = (("barcodes", ",".join(barcodes)),)
        return (*listed, ("page", "0"), ("size", str(paging.PAGE_SIZE)))

    async def list_offers(self, page_token: str | None, call: Call) -> OfferPage | Problem:
        """All approved listings, then all unapproved ones."""
        position = paging.position_of(page_token)
        page: wire.ApprovedPage | wire.UnapprovedPage | Problem
        observed: list[ObservedOffer]
        if position.shelf == "approved":
            page = await self._client.get_approved(paging.sweep_query(position), call)
            if not isinstance(page, wire.ApprovedPage):
                return page
            filled = await self._filled(list(listing.approved_offers(page.content)), call)
            if not isinstance(filled, list):
                return filled
            observed = filled
        else:
            page = await self._client.get_unapproved(paging.sweep_query(position), call)
            if not isinstance(page, wire.UnapprovedPage):
                return page
            observed = [listing.unapproved_offer(product) for product in page.content]
        next_token = paging.after(
            position,
            is_empty=not page.content,
            total_pages=page.total_pages,
            cursor=text(page.next_page_token),
        )
        if isinstance(next_token, ContractBroken):
            return next_token
        return OfferPage(tuple(observed), next_token)

    async def publish(self, items: Sequence[ListingContent], call: Call) -> Outcome | ItemOutcomes:
        assert 0 < len(items) <= self.manifest.catalog.batch_max
        form = self._setting("attributes_create")
        if refused := self._refused_before_sending(items, form):
            return refused
        body = wire.Items(items=[listing.create_item(item, form) for item in items])
        return _ticket(await self._client.create_products(body, call))

    async def update_content(
        self, items: Sequence[ListingContent], call: Call
    ) -> Outcome | ItemOutcomes:
        """Unapproved listings (without content id) in bulk; approved ones as variant and content.

        The ticket joins the batches sent. A later one that is not taken makes its problem the
        outcome of all: content is absolute, so sending the first one again does no harm.
        """
        assert 0 < len(items) <= self.manifest.catalog.batch_max
        form = self._setting("attributes_update")
        if refused := self._refused_before_sending(items, form):
            return refused
        approved = [item for item in items if item.keys.remote_id]
        unapproved = [item for item in items if not item.keys.remote_id]
        standing = await self._standing(approved, call)
        if not isinstance(standing, dict):
            return standing
        requests: list[tuple[_Send, Sequence[wire.Item]]] = [
            (
                self._client.update_unapproved,
                [listing.unapproved_update_item(item, form) for item in unapproved],
            ),
            (
                self._client.update_variants,
                [listing.variant_update_item(item, standing) for item in approved],
            ),
            (self._client.update_contents, listing.content_update_items(approved)),
        ]
        references: list[str] = []
        for send, body in requests:
            if body:
                receipt = await send(wire.Items(items=body), call)
                if not isinstance(receipt, wire.BatchReceipt):
                    return receipt
                references.append(receipt.batch_request_id)
        return Accepted(_JOINT.join(references))

    async def _standing(
        self, items: Sequence[ListingContent], call: Call
    ) -> dict[str, wire.ApprovedVariant] | Problem:
        """What stands there now, by barcode: a variant update must repeat what it keeps."""
        standing: dict[str, wire.ApprovedVariant] = {}
        barcodes = [listing.stored_barcode(item.keys.barcode) for item in items]
        at_once = self.manifest.offers.observe_batch_max
        for start in range(0, len(barcodes), at_once):
            query = self._barcode_query(barcodes[start : start + at_once])
            page = await self._client.get_approved(query, call)
            if not isinstance(page, wire.ApprovedPage):
                return page
            for content in page.content:
                standing |= {variant.barcode: variant for variant in content.variants or ()}
        return standing

    def _refused_before_sending(
        self, items: Sequence[ListingContent], form: str
    ) -> ItemOutcomes | None:
        # An outcome cannot be a ticket for some and a refusal for others. So nothing is sent, and
        # the others are named so: the caller sends them again without these.
        refused = listing.refused_before_sending(
            items, vat_percents=self.manifest.catalog.vat_percents, form=form
        )
        if not refused:
            return None
        others = dict.fromkeys((item.keys.barcode for item in items), Unknown("not_sent"))
        return ItemOutcomes({**others, **refused})

    async def close_listings(
        self, keys: Sequence[RemoteKeys], call: Call
    ) -> Outcome | ItemOutcomes:
        assert 0 < len(keys) <= self.manifest.catalog.batch_max
        items = [
            wire.ArchiveItem(barcode=listing.stored_barcode(key.barcode), archived=True)
            for key in keys
        ]
        return _ticket(await self._client.set_archive_state(wire.Items(items=items), call))

    # — offers —

    async def push_offers(self, pushes: Sequence[OfferPush], call: Call) -> Outcome | ItemOutcomes:
        assert 0 < len(pushes) <= self.manifest.offers.batch_max
        items = [offer.offer_item(push) for push in pushes]
        assert len({item.barcode for item in items}) == len(items), "a barcode once a batch"
        return _ticket(await self._client.push_price_and_inventory(wire.Items(items=items), call))

    async def poll_ticket(self, reference: str, call: Call) -> TicketOpen | TicketEnded | Problem:
        batches: list[wire.Batch] = []
        for batch_request_id in reference.split(_JOINT):
            batch = await self._client.get_batch(batch_request_id, call)
            if not isinstance(batch, wire.Batch):
                return batch
            batches.append(batch)
        are_open = any(offer.is_open(batch) for batch in batches)
        if len(batches) == 1:
            decided = offer.item_outcomes(batches[0])
            return TicketOpen(decided) if are_open else TicketEnded(decided)
        if are_open:
            return TicketOpen()  # what one batch accepted, another may still refuse
        content_ids = await self._content_ids(offer.variant_barcodes(batches), call)
        if not isinstance(content_ids, dict):
            return content_ids
        return TicketEnded(offer.outcomes_of_update(batches, content_ids))

    async def _content_ids(self, barcodes: Sequence[str], call: Call) -> dict[str, str] | Problem:
        """Barcode → content id, as batches of contents name no barcode."""
        content_ids: dict[str, str] = {}
        at_once = self.manifest.offers.observe_batch_max
        for start in range(0, len(barcodes), at_once):
            query = self._barcode_query(barcodes[start : start + at_once])
            page = await self._client.get_inventory_and_price(query, call)
            if not isinstance(page, wire.OfferPage):
                return page
            for observed in listing.offers_of_contents(page.content, barcodes):
                content_ids[observed.keys.barcode] = observed.keys.remote_id
        return content_ids

    # — orders —

    def _orders(
        self, rows: Iterable[msgspec.Raw]
    ) -> tuple[tuple[OrderObservation, ...], tuple[bytes, ...]]:
        shift = order.ORDER_DATE_SHIFTS[self._setting("order_date")]
        return order.orders(rows, self._states, shift)

    async def pull_orders(
        self, window: OrderWindow, page_token: str | None, call: Call
    ) -> OrderPage | Problem:
        position = paging.stream_position_of(window, page_token)
        page = await self._client.get_package_stream(paging.stream_query(position), call)
        if not isinstance(page, wire.PackageStream):
            return page
        cursor = text(page.next_cursor)
        if page.has_more and not cursor:
            return broken("the stream has more but gives no cursor", b"")
        orders, unread = self._orders(page.content)
        next_token = paging.stream_token(position, cursor) if page.has_more else None
        return OrderPage(orders, next_token, unread)

    async def pull_order(self, order_id: str, call: Call) -> OrderPage | Problem:
        """All packages of one order of the last month.

        Without dates the last 7 days are read, and a read spans at most 14. Packages are never
        older than their order, so the order is whole once the windows reach back to its placing.
        """
        rows: list[msgspec.Raw] = []
        found: tuple[OrderObservation, ...] = ()
        unread: tuple[bytes, ...] = ()
        for window in paging.history_windows(self._clock.now()):
            page = await self._client.get_packages(paging.order_query(order_id, window), call)
            if not isinstance(page, wire.PackagePage):
                return page
            rows += page.content
            found, unread = self._orders(rows)
            is_cut = (page.total_pages or 0) > 1
            if is_cut or unread:
                break
            if found and window.modified_from <= min(seen.placed_at for seen in found):
                return OrderPage(tuple(order.whole(seen) for seen in found), None)
        return OrderPage(found, None, unread)

    async def advance_package(
        self, package: PackageRef, to: PackageState, call: Call, *, invoice_number: str = ""
    ) -> Outcome | ItemOutcomes:
        status = order.STATUS_NAMES.get(to)
        if status is None:
            # All other states follow the carrier's scan. Source: sheet 6.3.
            return Refused("lacking", "", "advice.trendyol.state_not_settable")
        body = wire.PackageStatus(
            status=status,
            lines=order.action_lines(package.lines),
            params=wire.PackageStatusParams(invoice_number=invoice_number or None),
        )
        return await self._settled(
            await self._client.put_package_status(package.package_id, body, call), call
        )

    async def cancel_lines(
        self, package: PackageRef, cancelled: Sequence[PackageLine], reason: str, call: Call
    ) -> Outcome | ItemOutcomes:
        """The package dies with it; what is left comes back under another package id."""
        body = wire.Unsupplied(
            lines=order.action_lines(cancelled), reason_id=order.UNSUPPLIED_REASONS[reason]
        )
        return await self._settled(
            await self._client.put_unsupplied(package.package_id, body, call), call
        )

    async def split_package(
        self, package: PackageRef, groups: Sequence[Sequence[PackageLine]], call: Call
    ) -> Outcome:
        """Done means taken: the new packages appear later, by webhook or pull."""
        endpoint, body = order.split(package, groups)
        return await self._settled(
            await self._client.post_split(package.package_id, endpoint, body, call), call
        )

    async def ship_own_courier(self, package: PackageRef, tracking: str, call: Call) -> Outcome:
        body = order.own_courier(tracking)
        if body is None:
            return Refused("", tracking, "advice.trendyol.tracking_url_or_phone")
        return await self._settled(
            await self._client.put_alternative_delivery(package.package_id, body, call), call
        )

    async def _settled(self, outcome: T | Problem, call: Call) -> T | Problem:
        """Tell a vanished package from a vanished credential.

        Package actions answer 401 for a package that does not exist (seen live), and package ids
        change with every split and cancellation. Believing such a 401 would pause the account.
        """
        if not isinstance(outcome, Unauthorized):
            return outcome
        checked = await self.check_credentials(call)
        if isinstance(checked, Done):
            return Refused("", outcome.text, "advice.trendyol.package_unknown")
        return checked

    async def fetch_label(self, package: PackageRef, call: Call) -> Label | Problem:
        """Their own label where they print one, else the cargo code for ours.

        Carrier and payer decide, which the reference does not carry: the order is read first.
        """
        page = await self.pull_order(package.order_id, call)
        if not isinstance(page, OrderPage):
            return page
        observed = order.package_of(page.orders, package.package_id)
        if observed is None:
            return Refused("", "", "advice.trendyol.package_unknown")
        if not observed.cargo_code:
            return Refused("", "", "advice.trendyol.cargo_code_missing")
        if order.has_common_label(observed):
            return await self._common_label(observed.cargo_code, call)
        return Label("text/plain", observed.cargo_code.encode())

    async def _common_label(self, cargo_code: str, call: Call) -> Label | Problem:
        created = await self._client.create_label(cargo_code, wire.LabelOrder(format="ZPL"), call)
        settled = await self._settled(created, call)
        if not isinstance(settled, Done):
            return settled
        labels = await self._settled(await self._client.get_labels(cargo_code, call), call)
        if not isinstance(labels, wire.Labels):
            return labels
        # One document a box; printers take them one after the other.
        return Label("application/zpl", "\n".join(box.label for box in labels.data).encode())

    # — webhooks —

    async def register_webhook(
        self, url: str, secret: WebhookSecret, call: Call
    ) -> WebhookRegistration | Problem:
        if not webhook.is_url_allowed(url):
            return Refused("", url, "advice.trendyol.webhook_url")
        receipt = await self._client.create_webhook(webhook.webhook_order(url, secret), call)
        if not isinstance(receipt, wire.WebhookReceipt):
            return receipt
        return WebhookRegistration(receipt.id, url, is_active=True)

    async def list_webhooks(self, call: Call) -> Sequence[WebhookRegistration] | Problem:
        webhooks = await self._client.get_webhooks(call)
        if not isinstance(webhooks, list):
            return webhooks
        return [webhook.registration(each) for each in webhooks]

    async def delete_webhook(self, webhook_id: str, call: Call) -> Outcome:
        return await self._client.delete_webhook(webhook_id, call)

    async def activate_webhook(self, webhook_id: str, call: Call) -> Outcome:
        return await self._client.activate_webhook(webhook_id, call)

    def verify_webhook(self, delivery: WebhookDelivery, secret: WebhookSecret) -> bool:
        return webhook.is_authentic(delivery, secret)

    def parse_webhook(self, delivery: WebhookDelivery) -> OrderPage | Problem:
        """The same model as a pull, one page of it."""
        page = decoded(delivery.body, wire.PackagePage)
        if not isinstance(page, wire.PackagePage):
            return page
        orders, unread = self._orders(page.content)
        return OrderPage(orders, None, unread)


def _ticket(receipt: wire.BatchReceipt | Problem) -> Outcome:
    """Accepted is not applied: the batch's items decide."""
    if isinstance(receipt, wire.BatchReceipt):
        return Accepted(receipt.batch_request_id)
    return receipt
