"""The Channel protocol for N11: REST by polling, product writes as tasks, no webhooks.

The manifest beside this file says what N11 lacks; README.md says why things are as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meschain.channel.capability import Manifest, load_manifest
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
from meschain.channel.outcome import (
    Accepted,
    ContractBroken,
    Done,
    ItemOutcome,
    Outcome,
    Problem,
    Refused,
    Unknown,
)
from meschain.domain.order import PackageState
from meschain.domain.text import fold
from meschain.marketplaces.n11 import mapping, wire
from meschain.marketplaces.n11.client import N11Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from meschain.channel.clock import Clock
    from meschain.channel.http import Transport

MANIFEST: Final = load_manifest(Path(__file__).with_name("manifest.toml"))

# The seven statuses in the order in which packages pass through them: a package that moves on
# while they are read one by one is then met again later, never missed.
_STATUSES: Final = (
    "Created",
    "Picking",
    "Cancelled",
    "UnSupplied",
    "Unpacked",
    "Shipped",
    "Delivered",
)
_TASK_PAGE_SIZE: Final = 1000  # a task has at most 1000 SKUs: one page, unless N11 cuts it
_PAGES_MAX: Final = 50  # of a task or of one order; more is no longer the documented contract


@dataclass(frozen=True, slots=True)
class Settings:
    """The account's settings, read once; README.md explains each."""

    terms: mapping.Terms
    brand_category_id: str
    statuses: tuple[str, ...]  # "" asks for all of them at once

    @classmethod
    def of(cls, account: Account) -> Settings:
        """Raises ValueError for a setting that is no number or no known choice."""
        given = account.settings
        choice = given.get("order_status_query", "each")
        if choice not in ("each", "omitted"):
            raise ValueError(f"order_status_query: {choice}")
        limit = given.get("purchase_quantity_max", "")
        return cls(
            terms=mapping.Terms(
                integrator=given.get("integrator", "MesChain"),
                shipment_template=given.get("shipment_template", ""),
                preparing_days_min=int(given.get("preparing_days_min", "1")),
                purchase_quantity_max=int(limit) if limit else None,
            ),
            brand_category_id=given.get("brand_category_id", ""),
            statuses=_STATUSES if choice == "each" else ("",),
        )


def connect(account: Account, transport: Transport, clock: Clock) -> Channel:
    """The channel of one account. N11 signs and expires nothing, so the clock is not needed."""
    del clock
    return N11Channel(N11Client(account, transport), Settings.of(account))


class N11Channel:
    """One seller account on N11."""

    def __init__(self, client: N11Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    @property
    def manifest(self) -> Manifest:
        return MANIFEST

    # — connection and reference data —

    async def check_credentials(self, call: Call) -> Outcome:
        """One product row: /ms checks key and secret, /cdn was seen to accept the key alone."""
        page = await self._client.query_products((("page", "0"), ("size", "1")), call)
        return page if isinstance(page, Problem) else Done()

    async def list_categories(self, call: Call) -> Sequence[CategoryNode] | Problem:
        tree = await self._client.read_categories(call)
        return tree if isinstance(tree, Problem) else tuple(mapping.category_nodes(tree))

    async def list_attributes(
        self, category_id: str, call: Call
    ) -> Sequence[CategoryAttribute] | Problem:
        page = await self._client.read_category_attributes(category_id, call)
        if isinstance(page, Problem):
            return page
        return tuple(map(mapping.category_attribute, page.category_attributes))

    async def find_brands(self, name: str, call: Call) -> Sequence[BrandEntry] | Problem:
        """N11 has no brand service: brands are values of attribute 1 of each category."""
        if not self._settings.brand_category_id:
            return Refused("", "", "advice.n11.brand_category")
        attributes = await self.list_attributes(self._settings.brand_category_id, call)
        if isinstance(attributes, Problem):
            return attributes
        wanted = fold(name)
        return tuple(
            BrandEntry(value_id, value)
            for attribute in attributes
            if attribute.is_brand
            for value_id, value in attribute.values
            if wanted in fold(value)
        )

    # — listings —

    async def observe_offers(self, keys: Sequence[str], call: Call) -> OfferPage | Problem:
        """product-query takes one stock code at a time."""
        assert len(keys) == MANIFEST.offers.observe_batch_max
        rows = await self._products_with(keys[0], call)
        if isinstance(rows, Problem):
            return rows
        return OfferPage(tuple(map(mapping.observed_offer, rows)), next_token=None)

    async def list_offers(self, page_token: str | None, call: Call) -> OfferPage | Problem:
        """The token is the page number."""
        number = int(page_token or "0")
        size = str(MANIFEST.catalog.page_size_max)
        page = await self._client.query_products((("page", str(number)), ("size", size)), call)
        if isinstance(page, Problem):
            return page
        return OfferPage(
            tuple(map(mapping.observed_offer, page.content)),
            str(number + 1) if _has_more(page.content, number, page.total_pages) else None,
            page.total_elements,
        )

    async def publish(self, items: Sequence[ListingContent], call: Call) -> Outcome | ItemOutcomes:
        if not self._settings.terms.shipment_template:
            return Refused("", "", "advice.n11.shipment_template")
        refused = _refused_contents(items, mapping.new_sku_refusal)
        if refused is not None:
            return refused
        rows = tuple(mapping.new_sku(item, self._settings.terms) for item in items)
        return _ticket(await self._client.create_products(self._task(rows), call))

    async def update_content(
        self, items: Sequence[ListingContent], call: Call
    ) -> Outcome | ItemOutcomes:
        """What product-update can change; the rest of the content is N11's alone."""
        refused = _refused_contents(items, mapping.vat_refusal)
        if refused is not None:
            return refused
        rows = tuple(mapping.sku_update(item, self._settings.terms) for item in items)
        return _ticket(await self._client.update_products(self._task(rows), call))

    async def close_listings(
        self, keys: Sequence[RemoteKeys], call: Call
    ) -> Outcome | ItemOutcomes:
        """Suspend. N11 wants the VAT rate even for that, so it is read first, SKU by SKU.

        A key that N11 does not show, or shows without a VAT rate, is not in the task.
        """
        codes = [key.stock_code for key in keys]
        _assert_batch(codes, MANIFEST.catalog.batch_max)
        rows: list[wire.SkuUpdate] = []
        for code in codes:
            products = await self._products_with(code, call)
            if isinstance(products, Problem):
                return products
            rows += [
                wire.SkuUpdate(stock_code=code, vat_rate=product.vat_rate, status="Suspended")
                for product in products[:1]
                if product.vat_rate is not None
            ]
        if not rows:
            refusal = Refused("", "", "advice.n11.not_listed")
            return ItemOutcomes(dict.fromkeys(codes, refusal))
        return _ticket(await self._client.update_products(self._task(tuple(rows)), call))

    # — offers —

    async def push_offers(self, pushes: Sequence[OfferPush], call: Call) -> Outcome | ItemOutcomes:
        """One task. Nothing is sent if a price is known to be refused: it could fail them all."""
        _assert_batch([push.key for push in pushes], MANIFEST.offers.batch_max)
        refused: dict[str, ItemOutcome] = {}
        for push in pushes:
            if push.list_price is None or push.sale_price is None:
                assert push.list_price is push.sale_price, "prices are pushed as a pair"
                assert push.quantity is not None, "a push without any value"
                continue
            refusal = mapping.price_refusal(push.list_price, push.sale_price)
            if refusal is not None:
                refused[push.key] = refusal
        if refused:
            return ItemOutcomes({**_not_sent(push.key for push in pushes), **refused})
        rows = tuple(map(mapping.sku_offer, pushes))
        return _ticket(await self._client.update_price_and_stock(self._task(rows), call))

    async def poll_ticket(self, reference: str, call: Call) -> TicketOpen | TicketEnded | Problem:
        """All rows of a task.

        ``Refused("REJECT")`` ends the ticket as a whole: nothing of it was applied. Any other
        refusal is of this question, and a question about a task we hold a number of can only
        be refused because N11 has forgotten the task: ``Unknown("expired")``. So has it where the
        answer gives no status.
        """
        items: list[wire.TaskItem] = []
        for number in range(_PAGES_MAX):
            body = wire.TaskQuery(
                task_id=mapping.number_or_text(reference),
                pageable=wire.Pageable(page=number, size=_TASK_PAGE_SIZE),
            )
            task = await self._client.query_task(body, call)
            if isinstance(task, Refused):
                return Unknown("expired", f"{task.code} {task.text}".strip())
            if isinstance(task, Problem):
                return task
            rows = (task.skus.content if task.skus else None) or []
            match mapping.text(task.status).upper():
                case "":
                    return Unknown("expired")
                case "IN_QUEUE":
                    return TicketOpen()
                case "REJECT":
                    reasons = mapping.reasons_text(task.reasons, map(mapping.item_reasons, rows))
                    return mapping.refused_for("REJECT", reasons)
                case _:
                    items += rows
            if not _has_more(rows, number, task.skus.total_pages if task.skus else None):
                return TicketEnded(mapping.item_outcomes(items))
        return ContractBroken(f"task with more than {_PAGES_MAX} pages", b"")

    # — orders —

    async def pull_orders(
        self, window: OrderWindow, page_token: str | None, call: Call
    ) -> OrderPage | Problem:
        """One page, the last changed first. The token is ``status:page``.

        The statuses are read one after the other, and each may be left early for the next.
        """
        length = window.modified_to - window.modified_from
        assert length.total_seconds() <= MANIFEST.orders.window_s_max, "N11 would clamp it silently"
        status, number = _order_token(page_token or f"{self._settings.statuses[0]}:0")
        query = (
            ("startDate", str(mapping.epoch_ms(window.modified_from))),
            ("endDate", str(mapping.epoch_ms(window.modified_to))),
            ("orderByField", "true"),  # the window is over lastModifiedDate, not over creation
            # Newest first also means that what changes meanwhile is met twice, never missed.
            ("orderByDirection", "DESC"),
        )
        read = await self._packages(query, status, number, call)
        if isinstance(read, Problem):
            return read
        rows, broken, has_more = read
        following = self._settings.statuses[self._settings.statuses.index(status) + 1 :]
        skip_token = f"{following[0]}:0" if following else None
        next_token = f"{status}:{number + 1}" if has_more else skip_token
        return OrderPage(mapping.order_observations(rows), next_token, tuple(broken), skip_token)

    async def pull_order(self, order_id: str, call: Call) -> OrderPage | Problem:
        """The order by its number, in every status. Not whole where a row could not be read."""
        found: list[mapping.PackageRow] = []
        broken: list[bytes] = []
        for status in self._settings.statuses:
            for number in range(_PAGES_MAX):
                query = (("orderNumber", order_id),)
                read = await self._packages(query, status, number, call)
                if isinstance(read, Problem):
                    return read
                rows, unread, has_more = read
                found += [row for row in rows if mapping.text(row.wire.order_number) == order_id]
                broken += unread
                if not has_more:
                    break
            else:
                return ContractBroken(f"order with more than {_PAGES_MAX} pages", b"")
        return OrderPage(
            mapping.order_observations(found, is_whole=not broken), None, tuple(broken)
        )

    async def advance_package(
        self, package: PackageRef, to: PackageState, call: Call, *, invoice_number: str = ""
    ) -> Outcome | ItemOutcomes:
        """Approve every line: Created → Picking is the only step N11 takes from us."""
        del invoice_number  # N11 knows no invoiced status; links follow with the invoices issue
        if to is not PackageState.PICKING:
            return _lacking("advance_package.invoiced")
        references = tuple(
            wire.LineReference(line_id=mapping.number_or_text(line.line_id))
            for line in package.lines
        )
        body = wire.StatusUpdate(lines=references, status="Picking")
        results = await self._client.update_order_lines(body, call)
        if isinstance(results, Problem):
            return results
        return ItemOutcomes(mapping.line_outcomes(results.content))

    async def cancel_lines(
        self, package: PackageRef, cancelled: Sequence[PackageLine], reason: str, call: Call
    ) -> Outcome | ItemOutcomes:
        """Cancel units by splitting the rest into a package of its own.

        N11 does not take a cancellation without a split, so the last units of a package cannot
        be cancelled here.
        """
        remaining = mapping.remaining_lines(package.lines, cancelled)
        if not remaining:
            return Refused("lacking", "", "advice.n11.cancel_needs_split")
        body = wire.SplitByQuantity(
            split_packages=(mapping.split_package(remaining),),
            cancelled_items=tuple(mapping.cancelled_item(line, reason) for line in cancelled),
        )
        result = await self._client.split_by_quantity(body, call)
        return result if isinstance(result, Problem) else Done()

    async def split_package(
        self, package: PackageRef, groups: Sequence[Sequence[PackageLine]], call: Call
    ) -> Outcome:
        """Each group becomes a package, what is not named a further one.

        By lines where every group takes whole lines, else by units. Package ids, cargo codes
        and some line ids change: read the order again and match by stock code.
        """
        units = {line.line_id: line.units for line in package.lines}
        result: wire.SplitResult | Problem
        if all(line.units == units[line.line_id] for group in groups for line in group):
            by_line = tuple(
                wire.SplitGroup(
                    order_line_ids=tuple(mapping.number_or_text(line.line_id) for line in group)
                )
                for group in groups
            )
            result = await self._client.split_by_line(wire.SplitByLine(split_groups=by_line), call)
        else:
            by_units = tuple(map(mapping.split_package, groups))
            body = wire.SplitByQuantity(split_packages=by_units)
            result = await self._client.split_by_quantity(body, call)
        return result if isinstance(result, Problem) else Done()

    async def ship_own_courier(self, package: PackageRef, tracking: str, call: Call) -> Outcome:
        """Not offered: README.md says what the one SOAP call leaves open."""
        del package, tracking, call
        return _lacking("ship_own_courier")

    async def fetch_label(self, package: PackageRef, call: Call) -> Label | Problem:
        """N11 has no label: ours must carry the campaign code."""
        del call
        if not package.cargo_code:
            return Refused("", "", "advice.n11.no_cargo_code")
        return Label("text/plain", package.cargo_code.encode())

    # — webhooks: none —

    async def register_webhook(
        self, url: str, secret: WebhookSecret, call: Call
    ) -> WebhookRegistration | Problem:
        del url, secret, call
        return _lacking("register_webhook")

    async def list_webhooks(self, call: Call) -> Sequence[WebhookRegistration] | Problem:
        del call
        return _lacking("list_webhooks")

    async def delete_webhook(self, webhook_id: str, call: Call) -> Outcome:
        del webhook_id, call
        return _lacking("delete_webhook")

    async def activate_webhook(self, webhook_id: str, call: Call) -> Outcome:
        del webhook_id, call
        return _lacking("activate_webhook")

    def verify_webhook(self, delivery: WebhookDelivery, secret: WebhookSecret) -> bool:
        """Nothing that claims to come from N11 does."""
        del delivery, secret
        return False

    def parse_webhook(self, delivery: WebhookDelivery) -> OrderPage | Problem:
        del delivery
        return _lacking("parse_webhook")

    # — shared steps —

    def _task(
        self,
        rows: tuple[wire.NewSku, ...] | tuple[wire.SkuUpdate, ...] | tuple[wire.SkuOffer, ...],
    ) -> wire.TaskRequest:
        payload = wire.TaskPayload(integrator=self._settings.terms.integrator, skus=rows)
        return wire.TaskRequest(payload=payload)

    async def _products_with(self, code: str, call: Call) -> list[wire.Product] | Problem:
        """The rows of one stock code. Whether N11 matches it exactly is not said: we do."""
        size = str(MANIFEST.catalog.page_size_max)
        query = (("stockCode", code), ("page", "0"), ("size", size))
        page = await self._client.query_products(query, call)
        if isinstance(page, Problem):
            return page
        return [row for row in page.content if mapping.text(row.stock_code) == code]

    async def _packages(
        self, query: tuple[tuple[str, str], ...], status: str, number: int, call: Call
    ) -> tuple[list[mapping.PackageRow], list[bytes], bool] | Problem:
        """One page: the rows, those that could not be read, and whether more pages follow."""
        size = str(MANIFEST.orders.page_size_max)
        asked = (*query, ("page", str(number)), ("size", size))
        if status:
            asked = (*asked, ("status", status))
        page = await self._client.query_packages(asked, call)
        if isinstance(page, Problem):
            return page
        rows: list[mapping.PackageRow] = []
        broken: list[bytes] = []
        for raw in map(bytes, page.content):
            try:
                rows.append(mapping.package_row(raw, MANIFEST.states))
            except mapping.Unreadable:
                broken.append(raw)
        return rows, broken, _has_more(page.content, number, page.total_pages)


def _lacking(operation: str) -> Refused:
    return Refused("lacking", "", MANIFEST.lacks[operation])


def _has_more(rows: Sequence[object], number: int, total_pages: int | None) -> bool:
    """Whether page ``number + 1`` is worth asking for: an empty page is always the end."""
    return bool(rows) and (total_pages is None or number + 1 < total_pages)


def _order_token(token: str) -> tuple[str, int]:
    status, _, number = token.rpartition(":")
    return status, int(number)


def _assert_batch(codes: Sequence[str], batch_max: int) -> None:
    assert 0 < len(codes) <= batch_max
    assert len(set(codes)) == len(codes), "N11 forbids a stock code twice in one request"


def _refused_contents(
    items: Sequence[ListingContent], refusal_of: Callable[[ListingContent], Refused | None]
) -> ItemOutcomes | None:
    """The items that cannot be written as N11's numbers; if there are any, nothing is sent."""
    _assert_batch([item.keys.stock_code for item in items], MANIFEST.catalog.batch_max)
    refused = {item.keys.stock_code: why for item in items if (why := refusal_of(item))}
    if not refused:
        return None
    return ItemOutcomes({**_not_sent(item.keys.stock_code for item in items), **refused})


def _not_sent(codes: Iterable[str]) -> dict[str, ItemOutcome]:
    """For the others of a request that never left: they are sent again without the refused."""
    return dict.fromkeys(codes, Unknown("not_sent"))


def _ticket(answer: wire.TaskAcknowledgement | Problem) -> Outcome:
    """A task's acknowledgement: ``REJECT`` is final, and comes with HTTP 200."""
    if isinstance(answer, Problem):
        return answer
    if answer.status.upper() == "REJECT":
        return mapping.refused_for("REJECT", mapping.reasons_text(answer.reasons))
    return Accepted(mapping.text(answer.id))
