"""A market stall for the façade's tests: the façade on loopback, a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
import msgspec
from multidict import CIMultiDict

from meschain.marketplaces.n11.facade import N11Facade, create_facade, serve
from meschain.sandbox.clock import SandboxClock
from meschain.sandbox.facade import SellerSpec
from meschain.sandbox.faults import Faults
from meschain.sandbox.world import Order, Person, Shelf, ShelfState, Shop, World

NOON: Final = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)  # 12:00 in Istanbul
PACKAGES: Final = "/rest/delivery/v1/shipmentPackages"
SPLIT_BY_LINE: Final = "/rest/delivery/v1/splitCombinePackage"
SPLIT_BY_QUANTITY: Final = "/rest/delivery/v1/splitPackageByQuantity"
APPROVE: Final = "/rest/order/v1/update"
CREATE, UPDATE, OFFER, DELETE = (
    f"/ms/product/tasks/{name}"
    for name in ("product-create", "product-update", "price-stock-update", "product-delete")
)
TASK: Final = "/ms/product/task-details/page-query"
Json = dict[str, "object"]


class HandClock(SandboxClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed_s)

    def monotonic_s(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        until_s = self.elapsed_s + seconds
        while self.elapsed_s < until_s:
            await self._moved.wait()

    def move(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self._moved.set()
        self._moved = asyncio.Event()


@dataclass(slots=True)
class Answer:
    """One reply, read to its end."""

    status: int
    content_type: str
    text: str
    json: Mapping[str, object] = field(default_factory=dict)

    def at(self, *path: str | int) -> object:
        """The value at a path of keys and places."""
        found: object = self.json
        for step in path:
            if not isinstance(found, dict | list):
                raise KeyError(step)
            found = found[step]  # type: ignore[index]  # a wrong kind of step fails the test
        return found

    def rows(self, *path: str | int) -> list[Json]:
        """The list of objects at a path."""
        return msgspec.convert(self.at(*path), type=list[dict[str, object]])


@dataclass(slots=True)
class Stall:
    """A seller's view of the façade, and the world behind it."""

    facade: N11Facade
    world: World
    clock: HandClock
    shop: Shop
    base_url: str
    session: aiohttp.ClientSession

    @property
    def keys(self) -> dict[str, str]:
        credentials = self.shop.credentials
        return {"appkey": credentials["app_key"], "appsecret": credentials["app_secret"]}

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        raw: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        data = raw if raw is not None or body is None else msgspec.json.encode(body)
        given = CIMultiDict({"Content-Type": "application/json"} if data is not None else {})
        given.update(self.keys if headers is None else headers)
        async with self.session.request(
            method,
            self.base_url + path,
            data=data,
            params=query,
            headers=given,
        ) as reply:
            text = await reply.text()
            is_json = reply.content_type == "application/json" and text.startswith("{")
            return Answer(
                reply.status, reply.content_type, text, msgspec.json.decode(text) if is_json else {}
            )

    async def packages(self, **query: object) -> Answer:
        """The package list; dates are epoch milliseconds."""
        return await self.call(
            "GET", PACKAGES, query={name: str(value) for name, value in query.items()}
        )

    async def task(self, path: str, *skus: object) -> Answer:
        """Send a task and wait, by the clock, until it is applied; the result with its rows."""
        sent = await self.call("POST", path, body=payload(*skus))
        assert sent.status == 200, sent.text
        assert sent.at("status") == "IN_QUEUE", sent.text
        self.clock.move(1)
        return await self.result(sent.at("id"))

    async def offer(self, row: bytes) -> Answer:
        """One row of price-stock-update as raw text: how a number is written matters."""
        body = b'{"payload":{"integrator":"Test","skus":[' + row + b"]}}"
        return await self.call("POST", OFFER, raw=body)

    async def result(self, task_id: object, **pageable: int) -> Answer:
        page = {"page": 0, "size": 1000} | pageable
        return await self.call("POST", TASK, body={"taskId": task_id, "pageable": page})

    def stock(self, key: str, quantity: int = 10, price_minor: int = 10000) -> Shelf:
        """A product on sale, put there without the API."""
        return self.world.add_shelf(
            self.shop,
            Shelf(
                key=key,
                barcode=f"B-{key}",
                stock_code=key,
                title=f"Sınama ürünü {key}",
                quantity=quantity,
                list_minor=price_minor,
                sale_minor=price_minor,
                vat_percent=10,
                state=ShelfState.ON_SALE,
            ),
        )

    def buy(self, basket: Mapping[str, int], **terms: object) -> Order:
        """A sale; shelves that are missing are stocked first."""
        for key in basket:
            if key not in self.shop.shelves:
                self.stock(key)
        buyer = terms.pop("buyer", AYSE)
        return self.world.place_order(self.shop, basket, buyer, **terms)  # type: ignore[arg-type]


AYSE: Final = Person(
    number=7,
    first_name="Ayşe",
    last_name="Yılmaz",
    email="ayse@ornek.example",
    phone="05320000000",
    city="İzmir",
    district="Karşıyaka",
    neighborhood="Bostanlı",
    street="Cemal Gürsel Cd. No: 3",
    postal_code="35590",
    city_code=35,
)
LALE_LTD: Final = Person(
    number=8,
    first_name="Işık",
    last_name="Çınar",
    email="satinalma@lale.example",
    phone="02120000000",
    city="İstanbul",
    district="Şişli",
    neighborhood="Esentepe",
    street="Büyükdere Cd. No: 100",
    postal_code="34394",
    city_code=34,
    is_company=True,
    company_name="Lale Ltd. Şti.",
    tax_office="Zincirlikuyu",
    tax_number="1234567890",
)


def payload(*skus: object, integrator: object = "Test") -> Json:
    return {"payload": {"integrator": integrator, "skus": list(skus)}}


def priced(text: str) -> msgspec.Raw:
    """A number written exactly so."""
    return msgspec.Raw(text.encode())


def dress(stock_code: str, **changes: object) -> Json:
    """A row of product-create that N11 accepts."""
    row: Json = {
        "title": "Çiçekli Yazlık Elbise",
        "description": "<p>Pamuklu</p>",
        "categoryId": 1000476,
        "currencyType": "TL",
        "productMainId": "ELB-1",
        "preparingDay": 2,
        "shipmentTemplate": "Standart",
        "maxPurchaseQuantity": 5,
        "stockCode": stock_code,
        "barcode": f"869{stock_code}",
        "quantity": 4,
        "images": [{"url": "https://resim.example/1.jpg", "order": 0}],
        "attributes": [
            {"id": 1, "valueId": None, "customValue": "Benim Markam"},
            {"id": 429, "valueId": 444050, "customValue": None},
            {"id": 430, "valueId": 445102},
        ],
        "salePrice": priced("199.90"),
        "listPrice": priced("249.90"),
        "vatRate": 10,
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}


def reasons(answer: Answer, place: int = 0) -> str:
    """All reasons of one row, joined."""
    row = answer.rows("skus", "content")[place]
    found = row["reasons"]
    assert isinstance(found, Sequence)
    return " | ".join(str(each) for each in found)


def statuses(answer: Answer) -> list[object]:
    return [row["status"] for row in answer.rows("skus", "content")]


def line_ids(answer: Answer, place: int = 0) -> list[int]:
    """``orderLineId`` of all lines of one package row."""
    lines = answer.rows("content", place, "lines")
    return [int(str(line["orderLineId"])) for line in lines]


@asynccontextmanager
async def open_stall(**settings: str) -> AsyncIterator[Stall]:
    """The façade with these settings, one seller, no faults unless forced."""
    clock = HandClock()
    world = World(clock, Faults(1), seed=1)
    facade = create_facade(world, settings)
    shop = facade.open_shop(SellerSpec(seller_number=1))
    async with (
        serve(facade) as base_url,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
    ):
        yield Stall(facade, world, clock, shop, base_url, session)
