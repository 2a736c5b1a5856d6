"""Pulling packages: the stream, the paged list, and the list that is no more (fact sheet 6.1)."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from aiohttp import web

from meschain.marketplaces.trendyol.facade.edge import MARKETPLACE
from meschain.marketplaces.trendyol.facade.envelope import Refused, json_reply
from meschain.marketplaces.trendyol.facade.gate import Call
from meschain.marketplaces.trendyol.facade.package import GMT3_MS, STATUS, Packages
from meschain.marketplaces.trendyol.facade.seller import Seller, StreamCursor
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import Parcel, World

_SIZE_DEFAULT: Final = 50
_SIZE_MAX: Final = 200
_REACHABLE_MAX: Final = 10_000
_PACKAGE_IDS_MAX: Final = 50
_CURSORS_MAX: Final = 1000
_DAY_MS: Final = 24 * 3600 * 1000
_RANGE_MAX_MS: Final = 14 * _DAY_MS
_LIST_DEFAULT_DAYS: Final = 7
_LIST_HISTORY: Final = timedelta(days=30)
_STREAM_DEFAULT_DAYS: Final = 14
_STREAM_HISTORY: Final = timedelta(days=90)
_STREAM_STATUSES: Final = frozenset(STATUS.values()) | {"Verified"}
_LIST_STATUSES: Final = frozenset(STATUS.values()) - {"UnPacked"}
_DATE_FIELDS: Final = frozenset({"PackageLastModifiedDate", "CreatedDate"})
_DIRECTIONS: Final = frozenset({"ASC", "DESC"})
STREAM_QUERY: Final = frozenset(
    {"packageItemStatuses", "lastModifiedStartDate", "lastModifiedEndDate", "size", "nextCursor"}
)
LIST_QUERY: Final = frozenset(
    {
        "startDate", "endDate", "page", "size", "orderNumber", "status", "orderByField",
        "orderByDirection", "shipmentPackageIds",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Window:
    """True epochs in milliseconds, both ends included."""

    start_ms: int
    end_ms: int


class OrderRead:
    """GET …/orders/stream, …/v2/orders and the retired …/orders."""

    def __init__(self, world: World, settings: Settings, packages: Packages) -> None:
        self._world = world
        self._settings = settings
        self._packages = packages
        self._random = random.Random(f"{MARKETPLACE}:cursors:{world.seed}")  # noqa: S311

    # — GET …/orders —
    async def first_version(self, _: Call) -> web.Response:
        """Closed; before that it answered 426 three times a day."""
        if self._settings.order_v1 == "closed":
            raise Refused(404, "not.found", "No such service")
        raise Refused(426, "upgrade.required", "This endpoint is closed, use v2 or stream")

    # — GET …/orders/stream —
    async def stream(self, call: Call) -> web.Response:
        size = call.number("size", _SIZE_DEFAULT, low=1, high=_SIZE_MAX)
        statuses = frozenset(call.listed("packageItemStatuses", most=20, form="comma"))
        if not statuses <= _STREAM_STATUSES:
            unknown = min(statuses - _STREAM_STATUSES)
            raise Refused(400, "invalid.packageItemStatuses", f"unknown: {unknown}")
        filters = tuple(
            call.request.query.get(name, "")
            for name in ("packageItemStatuses", "lastModifiedStartDate", "lastModifiedEndDate")
        )
        token = call.text("nextCursor")
        if token is None:
            window = self._window(
                call,
                ("lastModifiedStartDate", "lastModifiedEndDate"),
                default_days=_STREAM_DEFAULT_DAYS,
                history=_STREAM_HISTORY,
            )
            position = call.seller.log.position_after(window.end_ms)
            cursor = StreamCursor(filters, window.start_ms, window.end_ms, position)
        else:
            known = call.seller.cursors.get(token)
            if known is None or known.filters != filters:
                raise Refused(400, "invalid.cursor", "nextCursor belongs to other filters")
            cursor = known
        found, has_more, position = self._page(call.seller, cursor, statuses, size)
        following = ""
        if has_more:
            following = self._remember(
                call.seller, StreamCursor(filters, cursor.start_ms, cursor.end_ms, position)
            )
        return json_reply(
            {
                "content": self._documents(call.seller, found),
                "size": size,
                "hasMore": has_more,
                "nextCursor": following,
            }
        )

    @staticmethod
    def _page(
        seller: Seller, cursor: StreamCursor, statuses: frozenset[str], size: int
    ) -> tuple[list[Parcel], bool, int]:
        found: list[Parcel] = []
        position = cursor.position
        for at, parcel in seller.log.backwards(cursor.position, cursor.start_ms):
            if statuses and STATUS[parcel.state] not in statuses:
                continue
            if len(found) == size:
                return found, True, position
            found.append(parcel)
            position = at
        return found, False, position

    def _remember(self, seller: Seller, cursor: StreamCursor) -> str:
        token = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        seller.cursors[token] = cursor
        if len(seller.cursors) > _CURSORS_MAX:
            del seller.cursors[next(iter(seller.cursors))]
        return token

    # — GET …/v2/orders —
    async def listed(self, call: Call) -> web.Response:
        size = call.number("size", _SIZE_DEFAULT, low=1, high=_SIZE_MAX)
        page = call.number("page", 0)
        if (page + 1) * size > _REACHABLE_MAX:
            raise Refused(429, "too.many.requests", "Only the first 10000 packages can be listed")
        status = call.choice("status", _LIST_STATUSES)
        field = call.choice("orderByField", _DATE_FIELDS) or "CreatedDate"
        direction = call.choice("orderByDirection", _DIRECTIONS) or "DESC"
        dated = _modified_ms if field == "PackageLastModifiedDate" else _created_ms
        candidates, is_lookup = self._candidates(call)
        window = self._window(
            call,
            ("startDate", "endDate"),
            default_days=self._settings.order_lookup_days if is_lookup else _LIST_DEFAULT_DAYS,
            history=_LIST_HISTORY,
        )
        found = [
            parcel
            for parcel in candidates
            if window.start_ms <= dated(parcel) <= window.end_ms
            and status in {None, STATUS[parcel.state]}
        ]
        found.sort(key=_by(dated), reverse=direction == "DESC")
        return json_reply(
            {
                "page": page,
                "size": size,
                "totalPages": -(-len(found) // size),
                "totalElements": len(found),
                "content": self._documents(call.seller, found[page * size : (page + 1) * size]),
            }
        )

    def _candidates(self, call: Call) -> tuple[Iterable[Parcel], bool]:
        """The packages that the keys name, or all; and whether keys were given."""
        seller = call.seller
        ids = call.listed("shipmentPackageIds", most=_PACKAGE_IDS_MAX)
        order_number = call.text("orderNumber")
        if ids:
            if not all(package_id.isdecimal() for package_id in ids):
                raise Refused(400, "invalid.shipmentPackageIds", "ids must be numbers")
            named = [seller.parcel(int(package_id)) for package_id in ids]
            parcels = [parcel for parcel in named if parcel is not None]
            if order_number is not None:
                parcels = [p for p in parcels if p.order.number == order_number]
            return parcels, True
        if order_number is not None:
            order = seller.shop.orders.get(order_number)
            return (() if order is None else order.parcels), True
        return seller.shop.parcels.values(), False

    # — both —
    def _documents(self, seller: Seller, parcels: Iterable[Parcel]) -> list[dict[str, object]]:
        return [self._packages.document(seller, parcel) for parcel in parcels]

    def _window(
        self, call: Call, names: tuple[str, str], *, default_days: int, history: timedelta
    ) -> _Window:
        """The dates asked for: both or none, at most 14 days apart, not before the history."""
        now = self._world.clock.now()
        given = [call.optional_number(name) for name in names]
        start_ms, end_ms = given
        oldest_ms = epoch_ms(now - history)
        if start_ms is None and end_ms is None:
            return _Window(max(oldest_ms, epoch_ms(now) - default_days * _DAY_MS), epoch_ms(now))
        if start_ms is None or end_ms is None:
            raise Refused(400, f"invalid.{names[0]}", "both dates are needed")
        if end_ms < start_ms or end_ms - start_ms > _RANGE_MAX_MS:
            raise Refused(400, f"invalid.{names[0]}", "dates may be at most 14 days apart")
        if self._settings.filter_epoch == "gmt3":
            start_ms, end_ms = start_ms - GMT3_MS, end_ms - GMT3_MS
        if start_ms < oldest_ms:
            if self._settings.old_dates == "refuse":
                raise Refused(400, f"invalid.{names[0]}", "date is before the readable history")
            start_ms = oldest_ms
        return _Window(start_ms, end_ms)


def _modified_ms(parcel: Parcel) -> int:
    return epoch_ms(parcel.modified_at)


def _created_ms(parcel: Parcel) -> int:
    return epoch_ms(parcel.order.placed_at)


def _by(dated: Callable[[Parcel], int]) -> Callable[[Parcel], tuple[int, int]]:
    """A total order: equal times fall back on the package's number."""
    return lambda parcel: (dated(parcel), parcel.number)
