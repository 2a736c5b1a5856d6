"""The sandbox's control interface as a client reads it; nothing here knows the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import aiohttp
import msgspec

from meschain.sandbox.journal import JournalEntry, decode_entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from meschain.sandbox.faults import Fault

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_PAGES_MAX: Final = 10_000
_JOURNAL_PAGE: Final = 50_000


class WorldLine(msgspec.Struct, frozen=True):
    """One listing in an order of the world."""

    line_id: int
    key: str
    barcode: str
    stock_code: str
    units: int


class WorldParcel(msgspec.Struct, frozen=True):
    """``units`` by line id."""

    parcel_number: int
    order_number: str
    state: str
    units: dict[int, int]
    cargo_code: str = ""


class WorldOrder(msgspec.Struct, frozen=True):
    """An order as it was placed, and its parcels as they stand."""

    number: int
    order_number: str
    marketplace: str
    seller_id: str
    placed_at_us: int
    lines: list[WorldLine]
    parcels: list[WorldParcel]


class WorldShelf(msgspec.Struct, frozen=True):
    """A listing as buyers see it."""

    number: int
    marketplace: str
    seller_id: str
    key: str
    barcode: str
    stock_code: str
    title: str
    state: str
    quantity: int
    list_minor: int
    sale_minor: int
    vat_percent: int


class InjectedFault(msgspec.Struct, frozen=True):
    """A fault that was injected."""

    number: int
    at_us: int
    fault: str
    marketplace: str


class WorldState(msgspec.Struct, frozen=True):
    """Counts of the world."""

    at_us: int
    orders_total: int
    shelves: int
    journal_last_number: int
    journal_forgotten: int
    faults_injected: int
    demand_is_on: bool


class Statistics(msgspec.Struct, frozen=True):
    """What world and façades have counted."""

    demand: dict[str, int]
    carrier: dict[str, int]
    facades: dict[str, dict[str, object]]

    @property
    def refused_by_quota(self) -> dict[str, int]:
        """Requests refused for a quota, by marketplace and group; injected refusals not among."""
        refused: dict[str, int] = {}
        for marketplace, counted in self.facades.items():
            told = counted.get("refused_by_quota", 0)
            groups = told if isinstance(told, dict) else {"": told}
            for group, count in groups.items():
                if isinstance(count, int) and count:
                    refused[f"{marketplace} {group}".strip()] = count
        return refused


class _Page(msgspec.Struct, frozen=True):
    next_after: int | None


class _Orders(_Page, frozen=True):
    orders: list[WorldOrder]


class _Shelves(_Page, frozen=True):
    shelves: list[WorldShelf]


class _FaultLog(_Page, frozen=True):
    faults: list[InjectedFault]


class _Refusal(msgspec.Struct, frozen=True):
    reason: str
    detail: str = ""


class WorldRefused(Exception):
    """The world would not; ``reason`` is its short constant, as ``sold_out``."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail or reason)
        self.reason = reason


_Answer = TypeVar("_Answer")
_PageT = TypeVar("_PageT", bound=_Page)


class Control:
    """One control interface, over a session of its own or a lent one."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        """``url`` is the ``control_url`` of any account."""
        self.url = url.rstrip("/")
        self._session = session

    # — looking —

    async def state(self) -> WorldState:
        return await self._get("/state", WorldState)

    async def statistics(self) -> Statistics:
        return await self._get("/statistics", Statistics)

    async def orders(self, after: int = 0) -> list[WorldOrder]:
        """Every order numbered above ``after``."""
        pages = self._pages("/orders?limit=5000&", _Orders, after)
        return [each async for page in pages for each in page.orders]

    async def shelves(self) -> list[WorldShelf]:
        """Every listing of every shop."""
        pages = self._pages("/shelves?", _Shelves)
        return [each async for page in pages for each in page.shelves]

    async def journal(self, after: int = 0) -> list[JournalEntry]:
        """Everything that happened after ``after``. Raises WorldRefused when it was forgotten."""
        found: list[JournalEntry] = []
        for _ in range(_PAGES_MAX):
            path = f"/journal?limit={_JOURNAL_PAGE}&after={after}"
            lines = (await self._request("GET", path)).splitlines()
            found += map(decode_entry, lines)
            if len(lines) < _JOURNAL_PAGE:
                return found
            after = found[-1].number
        raise OverflowError("journal")

    async def fault_log(self) -> list[InjectedFault]:
        """Every fault that was injected."""
        pages = self._pages("/faults/log?", _FaultLog)
        return [each async for page in pages for each in page.faults]

    async def _pages(self, path: str, kind: type[_PageT], after: int = 0) -> AsyncIterator[_PageT]:
        """All pages of a listing; ``path`` ends where ``after=…`` is added."""
        position: int | None = after
        for _ in range(_PAGES_MAX):
            page = await self._get(f"{path}after={position}", kind)
            yield page
            position = page.next_after
            if position is None:
                return
        raise OverflowError(path)

    # — moving —

    async def place_order(
        self, marketplace: str, seller_id: str, basket: Mapping[str, int]
    ) -> WorldOrder:
        """Buy. Raises WorldRefused where a buyer is refused, as with ``sold_out``."""
        shop: dict[str, object] = {"marketplace": marketplace, "seller_id": seller_id}
        body = shop | {"basket": dict(basket)}
        return await self._send("POST", "/orders", body, WorldOrder)

    async def scan(self, cargo_code: str) -> WorldParcel:
        """The carrier takes the parcel with this label. Raises WorldRefused."""
        return await self._send("POST", "/scan", {"cargo_code": cargo_code}, WorldParcel)

    async def add_shelves(
        self, marketplace: str, seller_id: str, shelves: list[dict[str, object]]
    ) -> None:
        """Listings that stand on sale at once."""
        shop: dict[str, object] = {"marketplace": marketplace, "seller_id": seller_id}
        await self._request("POST", "/shelves", shop | {"shelves": shelves})

    async def set_faults(self, rates: Mapping[Fault, float], *, is_enabled: bool) -> None:
        """Rates in force from now on; ``is_enabled`` False ends all faults."""
        named = {fault.value: rate for fault, rate in rates.items()}
        await self._request("PUT", "/faults", {"rates": named, "is_enabled": is_enabled})

    async def set_demand(self, settings: Mapping[str, object]) -> None:
        """Change how buyers come."""
        await self._request("PUT", "/demand", dict(settings))

    async def set_carrier(self, settings: Mapping[str, object]) -> None:
        """Change how the carrier works."""
        await self._request("PUT", "/carrier", dict(settings))

    async def set_factor(self, factor: float) -> None:
        """Change how fast the economy runs."""
        await self._request("PUT", "/time", {"factor": factor})

    # — inside —

    async def _get(self, path: str, kind: type[_Answer]) -> _Answer:
        return msgspec.json.decode(await self._request("GET", path), type=kind)

    async def _send(
        self, method: str, path: str, body: dict[str, object], kind: type[_Answer]
    ) -> _Answer:
        return msgspec.json.decode(await self._request(method, path, body), type=kind)

    async def _request(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        async with self._session.request(
            method, f"{self.url}/control{path}", data=content, timeout=_TIMEOUT
        ) as answer:
            raw = await answer.read()
            if answer.status >= 400:
                refusal = msgspec.json.decode(raw, type=_Refusal)
                raise WorldRefused(refusal.reason, refusal.detail)
            return raw
