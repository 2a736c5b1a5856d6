"""What the façade's tests stand on: the façade on loopback, time in the hand of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
from aiohttp import web

from meschain.marketplaces.trendyol.facade import TrendyolFacade, create_facade, serve_on_loopback
from meschain.marketplaces.trendyol.facade.taxonomy import taxonomy
from meschain.sandbox.clock import SandboxClock
from meschain.sandbox.facade import SellerSpec
from meschain.sandbox.faults import Faults
from meschain.sandbox.world import (
    Order,
    Parcel,
    ParcelState,
    Person,
    Shelf,
    ShelfState,
    Shop,
    World,
)

NOON = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)  # 12:00 in Istanbul
Json = dict[str, object]
TSHIRT = 604
ATTRIBUTES = {"Renk": 47, "Beden": 338, "Cinsiyet": 343, "Yaş Grubu": 346, "Menşei": 1192}


class HandClock(SandboxClock):
    """Stands still until it is pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed_s)

    def monotonic_s(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.passed_s + seconds, future))
        await future

    async def push(self, seconds: float) -> None:
        """Let time pass and everything due happen, network included."""
        self.passed_s += seconds
        due = [entry for entry in self._sleepers if entry[0] <= self.passed_s]
        self._sleepers = [entry for entry in self._sleepers if entry[0] > self.passed_s]
        for _, future in due:
            if not future.done():
                future.set_result(None)
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Answer:
    """A reply, read whole."""

    status: int
    raw: bytes
    content_type: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Json:
        return msgspec.json.decode(self.raw, type=Json)

    @property
    def rows(self) -> list[Json]:
        """A bare array."""
        return msgspec.json.decode(self.raw, type=list[Json])

    @property
    def content(self) -> list[Json]:
        return msgspec.convert(self.json["content"], list[Json])

    @property
    def text(self) -> str:
        return self.raw.decode()

    @property
    def key(self) -> object:
        """The discriminator of the product envelope."""
        errors = msgspec.convert(self.json["errors"], list[Json])
        assert errors[0]["errorCode"] == str(self.status)
        return errors[0]["key"]


@dataclass
class Market:
    """One seller in front of the façade."""

    world: World
    clock: SandboxClock
    facade: TrendyolFacade
    shop: Shop
    url: str
    session: aiohttp.ClientSession

    @property
    def headers(self) -> dict[str, str]:
        credentials = self.shop.credentials
        key, secret = credentials["api_key"], credentials["api_secret"]
        return {
            "Authorization": aiohttp.encode_basic_auth(key, secret),
            "User-Agent": f"{self.shop.seller_id} - SelfIntegration",
        }

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """``{seller}`` in ``path`` is the shop's id."""
        given = self.headers if headers is None else dict(headers)
        data = raw
        if body is not None:
            data = msgspec.json.encode(body)
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        url = f"{self.url}/integration{path.replace('{seller}', self.shop.seller_id)}"
        async with self.session.request(
            method, url, data=data, params=query, headers=given
        ) as reply:
            return Answer(reply.status, await reply.read(), reply.content_type, reply.headers)

    async def get(self, path: str, **query: str) -> Answer:
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: object) -> Answer:
        return await self.call("POST", path, body)

    async def put(self, path: str, body: object = None) -> Answer:
        return await self.call("PUT", path, body)

    # — batches —
    async def batch(self, answer: Answer) -> Json:
        """The result of an accepted batch, once it is applied."""
        assert answer.status == 200, answer.text
        batch_id = str(answer.json["batchRequestId"])
        for _ in range(200):
            result = (await self.batch_now(batch_id)).json
            items = msgspec.convert(result["items"], list[Json])
            if items and all(item["status"] != "IN_PROGRESS" for item in items):
                return result
            await asyncio.sleep(0.002)
        raise AssertionError("the batch was never applied")

    async def batch_now(self, batch_id: str) -> Answer:
        return await self.get(f"/product/sellers/{{seller}}/products/batch-requests/{batch_id}")

    async def reasons(self, answer: Answer) -> list[list[str]]:
        """Failure reasons of each item, empty where it succeeded."""
        items = msgspec.convert((await self.batch(answer))["items"], list[Json])
        for item in items:
            assert (item["status"] == "FAILED") is bool(item["failureReasons"])
        return [msgspec.convert(item["failureReasons"], list[str]) for item in items]

    async def create(self, *items: Mapping[str, object]) -> Answer:
        return await self.post("/product/sellers/{seller}/v2/products", {"items": list(items)})

    async def push_offers(self, *items: Mapping[str, object]) -> Answer:
        path = "/inventory/sellers/{seller}/products/price-and-inventory"
        return await self.post(path, {"items": list(items)})

    async def update(self, name: str, *items: Mapping[str, object], method: str = "POST") -> Answer:
        path = f"/product/sellers/{{seller}}/products{name}"
        return await self.call(method, path, {"items": list(items)})

    # — the world —
    async def settle(self) -> None:
        """Let happen what is due now."""
        await asyncio.sleep(0.01)

    def on_sale(self, barcode: str, *, quantity: int = 10, price_minor: int = 10_000) -> Shelf:
        """A shelf that buyers see, put up by the sandbox itself."""
        return self.world.add_shelf(
            self.shop,
            Shelf(
                key=barcode,
                barcode=barcode,
                stock_code=f"SKU-{barcode}",
                title=f"Ürün {barcode}",
                quantity=quantity,
                list_minor=price_minor,
                sale_minor=price_minor,
                vat_percent=20,
                state=ShelfState.ON_SALE,
            ),
        )

    def buy(self, basket: Mapping[str, int] | None = None, **more: object) -> Order:
        """An order; by default two units of A and one of B, which are put up when missing."""
        wanted = {"A": 2, "B": 1} if basket is None else basket
        for barcode in wanted:
            if barcode not in self.shop.shelves:
                self.on_sale(barcode)
        return self.world.place_order(self.shop, wanted, buyer(), **more)  # type: ignore[arg-type]

    def parcel(self) -> Parcel:
        """The only parcel of a new order."""
        return self.buy().parcels[0]

    def advance(self, parcel: Parcel, *states: ParcelState) -> Parcel:
        for state in states:
            self.world.advance(parcel, state)
        return parcel

    async def on_package(
        self, parcel: Parcel, suffix: str, body: object, *, method: str = "PUT"
    ) -> Answer:
        path = f"/order/sellers/{{seller}}/shipment-packages/{parcel.number}{suffix}"
        return await self.call(method, path, body)

    async def package(self, parcel: Parcel) -> Json:
        """The package as a pull shows it."""
        answer = await self.get(
            "/order/sellers/{seller}/v2/orders", shipmentPackageIds=str(parcel.number)
        )
        return answer.content[0]


@asynccontextmanager
async def market(*, clock: SandboxClock | None = None, **settings: str) -> AsyncIterator[Market]:
    """A market that applies and approves at once, unless the settings say otherwise."""
    chosen = {"apply_ms_min": "0", "apply_ms_max": "0", "approval_s": "0", "webhook_delay_ms": "0"}
    ticking = clock or HandClock()
    world = World(ticking, Faults(7), seed=7)
    facade = create_facade(world, chosen | settings)
    assert isinstance(facade, TrendyolFacade)
    shop = facade.open_shop(SellerSpec(1))
    async with serve_on_loopback(facade) as url, aiohttp.ClientSession() as session:
        yield Market(world, ticking, facade, shop, url, session)


def request_items(result: Json) -> list[Json]:
    """What a batch result says was asked."""
    items = msgspec.convert(result["items"], list[Json])
    return [msgspec.convert(item["requestItem"], Json) for item in items]


def buyer(*, is_company: bool = False) -> Person:
    return Person(
        number=88,
        first_name="Ayşe",
        last_name="Işık",
        email="ayse.88@relay.example",
        phone="+905550000001",
        city="İstanbul",
        district="Kadıköy",
        neighborhood="Moda Mahallesi",
        street="Bahariye Caddesi No: 5",
        postal_code="34710",
        city_code=34,
        is_company=is_company,
        company_name="Işık Ticaret" if is_company else "",
        tax_office="Kadıköy" if is_company else "",
        tax_number="1234567890" if is_company else "",
    )


def value_id(attribute: str, text: str) -> int:
    """The id of an attribute's value in the façade's own taxonomy."""
    values = taxonomy().attribute_values[ATTRIBUTES[attribute]]
    return next(number for number, known in values.items() if known == text)


def chosen(attribute: str, text: str) -> Json:
    """An attribute of a request in the definition's spelling."""
    number = ATTRIBUTES[attribute]
    return {"attributeId": number, "attributeValueIds": [value_id(attribute, text)]}


def tshirt(barcode: str, /, *, color: str = "Mavi", size: str = "M", **changed: object) -> Json:
    """A complete new product; ``changed`` replaces fields."""
    return {
        "barcode": barcode,
        "title": "Pamuklu Tişört",
        "productMainId": "KZK-1042",
        "brandId": next(iter(taxonomy().brands)),
        "categoryId": TSHIRT,
        "quantity": 5,
        "stockCode": f"KZK-1042-{size}",
        "dimensionalWeight": 1,
        "description": "<p>Yumuşak</p>",
        "listPrice": 249.90,
        "salePrice": 199.90,
        "vatRate": 10,
        "images": [{"url": "https://cdn.example/1.jpg"}],
        "attributes": [
            chosen("Renk", color),
            chosen("Beden", size),
            chosen("Cinsiyet", "Kadın"),
            chosen("Yaş Grubu", "Yetişkin"),
            chosen("Menşei", "TR"),
        ],
    } | changed


@dataclass
class Receiver:
    """A merchant's endpoint that keeps what it is sent and answers as told."""

    url: str = ""
    status: int = 200
    bodies: list[Json] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(msgspec.json.decode(await request.read(), type=Json))
        self.headers.append(request.headers)
        return web.Response(status=self.status)

    @property
    def statuses(self) -> list[object]:
        """Of the one package in each delivery."""
        return [msgspec.convert(body["content"], list[Json])[0]["status"] for body in self.bodies]

    async def until(self, count: int) -> None:
        """Wait for deliveries on the way."""
        for _ in range(400):
            if len(self.bodies) >= count:
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"{len(self.bodies)} deliveries instead of {count}")


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    kept = Receiver()
    application = web.Application()
    application.router.add_post("/hook", kept.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield kept
    finally:
        await runner.cleanup()
