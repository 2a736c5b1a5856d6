"""One shop on a served façade, the real connector in front of it, and time that runs faster."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Final

from aiohttp import web
from msgspec.structs import replace

from meschain.channel.contract import (
    Account,
    Call,
    Channel,
    ItemOutcomes,
    ListingContent,
    MappedAttribute,
    OrderPage,
    OrderWindow,
    PackageLine,
    PackageRef,
    Priority,
    RemoteKeys,
    TicketEnded,
    TicketOpen,
)
from meschain.channel.outcome import Accepted, Problem
from meschain.channel.pacing import Pacer
from meschain.channel.transport import HttpTransport, open_session
from meschain.domain.catalog import Content
from meschain.domain.money import Money
from meschain.registry import Marketplace, marketplace
from meschain.sandbox.clock import SandboxClock
from meschain.sandbox.economy import Economy, EconomySettings
from meschain.sandbox.facade import Facade, KeepsStatistics, SellerSpec
from meschain.sandbox.world import Order, Shelf, ShelfState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meschain.channel.capability import Manifest
    from meschain.channel.contract import ObservedOffer
    from meschain.channel.http import HttpReply, HttpRequest, Transport
    from meschain.channel.outcome import ItemOutcome, Outcome
    from meschain.domain.order import OrderObservation, PackageObservation

PAGES_MAX: Final = 200
POLLS_MAX: Final = 400
BEGAN: Final = datetime(2026, 11, 20, 9, tzinfo=UTC)  # a Friday noon in Istanbul


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Another reading of what the documentation leaves open: façade and account settings."""

    facade: Mapping[str, str]
    account: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What the suite cannot know of a marketplace.

    ``facade`` are settings that only shorten waiting; ``account`` are settings of the account.
    ``sees_held``: an order in its payment check is shown. ``marketplace_discount``: whether what
    the marketplace pays of a discount is deducted from the invoice: never, or for companies.
    ``readings``: where the sheet is unsure, the façade's default is the stricter reading, and the
    connector must cope with the others too.
    """

    marketplace: str
    facade: Mapping[str, str] = field(default_factory=dict)
    account: Mapping[str, str] = field(default_factory=dict)
    brand_name: str
    sees_held: bool
    marketplace_discount: str  # "never" or "company"
    knows_tickets_for_ever: bool  # an unknown ticket looks like one that is still open
    last_units_cancellable: bool
    readings: tuple[Reading, ...] = ()


class HastyClock(SandboxClock):
    """Time for both sides: ``speed`` times faster than the machine's, hence quotas and retries."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self.speed = speed
        self._zero_s = super().monotonic_s()

    def monotonic_s(self) -> float:
        return (super().monotonic_s() - self._zero_s) * self.speed

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.monotonic_s())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)


class Tampering:
    """A transport whose replies can be falsified: what no façade says, a marketplace may."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.replace: dict[bytes, bytes] = {}
        self.requests = Counter[str]()

    async def send(self, request: HttpRequest, call: Call) -> HttpReply:
        self.requests[request.operation] += 1
        reply = await self._inner.send(request, call)
        body = reply.body
        for genuine, falsified in self.replace.items():
            body = body.replace(genuine, falsified)
        return type(reply)(reply.status, reply.headers, body)


class Stage:
    """What a test of the suite acts on."""

    def __init__(
        self,
        profile: Profile,
        market: Marketplace,
        economy: Economy,
        facade: Facade,
        account: Account,
        channel: Channel,
        pacer: Pacer,
        transport: Tampering,
    ) -> None:
        self.profile = profile
        self.market = market
        self.economy = economy
        self.world = economy.world
        self.facade = facade
        self.account = account
        self.channel = channel
        self.pacer = pacer
        self.transport = transport
        self.shop = economy.world.shops[0]
        self._numbers = 0

    @property
    def manifest(self) -> Manifest:
        return self.market.manifest

    @property
    def call(self) -> Call:
        """Terms for one call."""
        return Call(Priority.CRITICAL)

    def now(self) -> datetime:
        return self.economy.clock.now()

    # — shelves —

    def stock(self, count: int, *, quantity: int = 10) -> list[str]:
        """Listings that stand on sale; returns their push keys."""
        keys: list[str] = []
        for _ in range(count):
            self._numbers += 1
            code, barcode = f"KZK-{self._numbers:05d}", f"86800{self._numbers:08d}"
            by_code = self.shop.facts.get("shelf_key") == "stock_code"
            shelf = Shelf(
                key=code if by_code else barcode,
                barcode=barcode,
                stock_code=code,
                title=f"Örnek Kazak {self._numbers}",
                quantity=quantity,
                list_minor=12_990,
                sale_minor=9_990,
                vat_percent=10,
                state=ShelfState.ON_SALE,
            )
            self.world.add_shelf(self.shop, shelf)
            keys.append(shelf.barcode if self.manifest.offers.key == "barcode" else code)
        return keys

    def shelf(self, key: str) -> Shelf:
        """The shelf with this push key."""
        name = self.manifest.offers.key
        return next(s for s in self.shop.shelves.values() if getattr(s, name) == key)

    def money(self, minor: int) -> Money:
        return Money(minor, self.manifest.identity.currencies[0])

    def key_of(self, keys: RemoteKeys) -> str:
        """The push key among the keys of a listing."""
        value = keys.barcode if self.manifest.offers.key == "barcode" else keys.stock_code
        assert value
        return value

    async def contents(self, count: int, **changes: object) -> list[ListingContent]:
        """Variants of one group in the first leaf category, complete by its own attributes."""
        nodes = await self.channel.list_categories(self.call)
        assert not isinstance(nodes, Problem), nodes
        leaf = next(node for node in nodes if node.is_leaf)
        attributes = await self.channel.list_attributes(leaf.category_id, self.call)
        assert not isinstance(attributes, Problem), attributes
        brands = await self.channel.find_brands(self.profile.brand_name, self.call)
        assert not isinstance(brands, Problem), brands
        mapped = tuple(
            MappedAttribute(a.attribute_id, value_id=a.values[0][0])
            if a.values
            else MappedAttribute(a.attribute_id, custom_value="Pamuk")
            for a in attributes
            if a.is_required and not a.is_brand
        )
        made: list[ListingContent] = []
        for _ in range(count):
            self._numbers += 1
            number = self._numbers
            content = ListingContent(
                keys=RemoteKeys(
                    barcode=f"86811{number:08d}", stock_code=f"NEW-{number}", group_id="MODEL-1"
                ),
                content=Content("tr", f"Çok Güzel Örnek Kazak {number}", "<p>Yumuşacık.</p>"),
                category_id=leaf.category_id,
                brand_id=brands[0].brand_id,
                brand_name=brands[0].name,
                attributes=mapped,
                image_urls=("https://cdn.ornek.example/1.jpg",),
                vat_percent=Decimal(10),
                desi=Decimal(2),
                quantity=7,
                list_price=self.money(15_000),
                sale_price=self.money(12_345),
                handling_days=1,
                origin_country="TR",
            )
            made.append(_changed(content, changes))
        return made

    # — tickets and waiting —

    async def ended(self, outcome: Outcome | ItemOutcomes) -> Mapping[str, ItemOutcome]:
        """The items' ends of a request, polled to it where it was a ticket."""
        if isinstance(outcome, ItemOutcomes):
            return outcome.items
        assert isinstance(outcome, Accepted), outcome
        for _ in range(POLLS_MAX):
            answer = await self.channel.poll_ticket(outcome.reference, self.call)
            if isinstance(answer, TicketEnded):
                return answer.items
            assert isinstance(answer, TicketOpen), answer
            await self.economy.clock.sleep(0.1)
        raise AssertionError(f"ticket {outcome.reference} never ended")

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait for the façade, some seconds at most."""
        for _ in range(POLLS_MAX):
            if happened():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it did not happen in time")

    async def swept(self) -> dict[str, ObservedOffer]:
        """All listings, read page by page; a key that comes twice is a fault of the sweep."""
        found: dict[str, ObservedOffer] = {}
        token: str | None = None
        for _ in range(PAGES_MAX):
            page = await self.channel.list_offers(token, self.call)
            assert not isinstance(page, Problem), page
            for offer in page.offers:
                key = self.key_of(offer.keys)
                assert key not in found, f"{key} came twice"
                found[key] = offer
            token = page.next_token
            if token is None:
                return found
        raise AssertionError("the sweep does not end")

    async def swept_until(self, key: str, state: str) -> ObservedOffer:
        """The listing, once the channel shows it in that state."""
        for _ in range(POLLS_MAX):
            offer = (await self.swept()).get(key)
            if offer is not None and offer.state == state:
                return offer
            await self.economy.clock.sleep(1)
        raise AssertionError(f"{key} never became {state}")

    # — orders —

    def place(self, basket: Mapping[str, int], **terms: object) -> Order:
        """A buyer buys: push key → units."""
        shelves = {self.shelf(key).key: units for key, units in basket.items()}
        buyer = terms.pop("buyer", None) or len(self.world.orders) + 1
        assert isinstance(buyer, int)
        return self.world.place_order(
            self.shop,
            shelves,
            self.economy.people.person(buyer),
            **terms,  # type: ignore[arg-type]  # the world's own keyword arguments
        )

    def window(self, *, hours_back: float = 2, hours_ahead: float | None = None) -> OrderWindow:
        """The window the engine would read."""
        horizon_s = self.manifest.orders.horizon_s if hours_ahead is None else hours_ahead * 3600
        now = self.now()
        return OrderWindow(now - timedelta(hours=hours_back), now + timedelta(seconds=horizon_s))

    async def pages(self, window: OrderWindow | None = None) -> list[OrderPage]:
        """Every page of a window."""
        window = window or self.window()
        pages: list[OrderPage] = []
        token: str | None = None
        for _ in range(PAGES_MAX):
            page = await self.channel.pull_orders(window, token, self.call)
            assert isinstance(page, OrderPage), page
            pages.append(page)
            token = page.next_token
            if token is None:
                return pages
        raise AssertionError("the pull does not end")

    async def pulled(self, window: OrderWindow | None = None) -> dict[str, OrderObservation]:
        """Orders by number; of packages met twice the later one counts."""
        found: dict[str, OrderObservation] = {}
        for page in await self.pages(window):
            for order in page.orders:
                known = found.get(order.external_id)
                found[order.external_id] = order if known is None else _merged(known, order)
        return found

    async def read(self, order: Order) -> OrderObservation:
        """One order, whole."""
        page = await self.channel.pull_order(order.number, self.call)
        assert isinstance(page, OrderPage), page
        assert not page.broken
        assert [seen.external_id for seen in page.orders] == [order.number]
        return page.orders[0]

    async def read_until(
        self, order: Order, is_so: Callable[[OrderObservation], bool]
    ) -> OrderObservation:
        """The order, once it looks so."""
        for _ in range(POLLS_MAX):
            seen = await self.read(order)
            if is_so(seen):
                return seen
            await self.economy.clock.sleep(1)
        raise AssertionError(f"order {order.number} never came to look so")

    # — counts —

    def refused_by_quota(self) -> int:
        """Calls that the façade refused because we were too fast."""
        assert isinstance(self.facade, KeepsStatistics)
        counted = self.facade.statistics()["refused_by_quota"]
        if isinstance(counted, Mapping):
            return sum(counted.values())
        assert isinstance(counted, int)
        return counted


class ConformancePart:
    """Base of the suite's parts: they open stages by the folder's profile."""

    profile: ClassVar[Profile]

    @asynccontextmanager
    async def open(
        self,
        *,
        speed: float = 20.0,
        facade: Mapping[str, str] | None = None,
        account: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        tier: str = "",
    ) -> AsyncIterator[Stage]:
        """A fresh world, façade and connector; ``credentials`` replace the right ones."""
        profile = self.profile
        market = marketplace(profile.marketplace)
        clock = HastyClock(speed)
        economy = Economy(seed=7, settings=EconomySettings(), clock=clock)
        front = market.facade_factory()(economy.world, {**profile.facade, **(facade or {})})
        shop = front.open_shop(SellerSpec(1, tier))
        runner = web.AppRunner(front.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await front.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        opened = Account(
            account_id=1,
            merchant_id=1,
            marketplace=profile.marketplace,
            base_urls={name: url + path for name, path in front.services.items()},
            credentials={**shop.credentials, **(credentials or {})},
            settings={**profile.account, **(account or {})},
            tier=shop.tier or market.manifest.default_tier,
        )
        operations = dict(market.manifest.operations)
        if timeout_s is not None:
            for name, operation in operations.items():
                operations[name] = replace(operation, timeout_s=timeout_s)
        try:
            async with open_session() as session:
                pacer = Pacer(market.manifest, opened.tier, clock)
                http = HttpTransport(session, pacer, operations, clock, loopback_only=True)
                transport = Tampering(http)
                channel = market.connect(opened, transport, clock)
                yield Stage(profile, market, economy, front, opened, channel, pacer, transport)
        finally:
            await front.stop()
            await runner.cleanup()


def package_ref(order: OrderObservation, package: PackageObservation) -> PackageRef:
    """The package as an action names it."""
    return PackageRef(
        order.external_id,
        package.external_id,
        tuple(PackageLine(line.external_id, line.quantity) for line in package.lines),
        package.cargo_code,
    )


def package_lines(package: PackageObservation, units: Sequence[int]) -> list[PackageLine]:
    """So many units of each line, in order; 0 leaves the line out."""
    return [
        PackageLine(line.external_id, count)
        for line, count in zip(package.lines, units, strict=True)
        if count
    ]


def _changed(content: ListingContent, changes: Mapping[str, object]) -> ListingContent:
    values = {name: getattr(content, name) for name in content.__slots__} | dict(changes)
    return ListingContent(**values)


def _merged(one: OrderObservation, other: OrderObservation) -> OrderObservation:
    packages = {package.external_id: package for package in one.packages}
    for package in other.packages:
        known = packages.get(package.external_id)
        if known is None or known.modified_at <= package.modified_at:
            packages[package.external_id] = package
    values = {name: getattr(other, name) for name in other.__slots__}
    return type(other)(**(values | {"packages": tuple(packages.values())}))
