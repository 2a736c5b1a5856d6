"""``GET /rest/delivery/v1/shipmentPackages``: silent clamping, one status a call (§3.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiohttp import web

from meschain.marketplaces.n11.facade import replies
from meschain.marketplaces.n11.facade.body import integer
from meschain.marketplaces.n11.facade.package_row import package_row
from meschain.marketplaces.n11.facade.packages import CREATED, STATUSES, Package
from meschain.sandbox.clock import epoch_ms

if TYPE_CHECKING:
    from meschain.marketplaces.n11.facade.book import Market, ShopBook

_SENDERS: Final = frozenset({"SELLER", "ALL"})  # of the sandbox; nothing stands in n11depom
SIZE_MAX: Final = 100  # larger values are silently clamped
WINDOW_MS: Final = 15 * 24 * 3_600_000  # so are wider windows, to the days before endDate
OLDEST_MS: Final = epoch_ms(datetime(2024, 11, 1, tzinfo=UTC))  # no older order is listed
_HOUR_MS: Final = 3_600_000
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Window:
    start_ms: int
    end_ms: int
    by_change: bool

    def covers(self, package: Package) -> bool:
        at_ms = package.modified_ms if self.by_change else package.created_ms
        return self.start_ms <= at_ms <= self.end_ms


class PackageQuery:
    """The list of packages; polled often, so rows are kept until their package changes."""

    def __init__(self, market: Market) -> None:
        """Rows are built on demand."""
        self._clock = market.world.clock
        self._settings = market.settings

    async def answer(self, book: ShopBook, request: web.Request) -> web.Response:
        """One page, ordered by last change."""
        query = request.query
        try:
            window = self._window(query)
            page = integer(query.get("page", "0"))
            size = min(integer(query.get("size", str(SIZE_MAX))), SIZE_MAX)
        except ValueError:
            return _invalid("startDate, endDate, page ve size sayı olmalıdır.")
        direction = query.get("orderByDirection", self._settings.order_direction)
        if page < 0 or size < 1 or direction not in {"ASC", "DESC"}:
            return _invalid("page, size veya orderByDirection geçersiz.")
        found = list(self._found(book, window, query))
        if direction == "ASC":
            found.reverse()
        rows = [self._row(each) for each in found[page * size : (page + 1) * size]]
        # pageCount counts the rows of this page, not the pages.
        head = b'{"pageCount":%d,"totalPages":%d,"page":%d,"size":%d,"content":[' % (
            len(rows),
            -(-len(found) // size),
            page,
            size,
        )
        body = b"".join((head, b",".join(rows), b"]}"))
        return web.Response(body=body, content_type="application/json")

    # — inside —
    def _window(self, query: Query) -> _Window:
        """The window asked for; one date alone spans 15 days, none means the last 15."""
        shift_ms = self._settings.window_shift_h * _HOUR_MS
        start, end = query.get("startDate"), query.get("endDate")
        if end is not None:
            end_ms = integer(end) + shift_ms
        elif start is not None:
            end_ms = integer(start) + shift_ms + WINDOW_MS
        else:
            end_ms = epoch_ms(self._clock.now())
        start_ms = integer(start) + shift_ms if start is not None else end_ms - WINDOW_MS
        return _Window(
            max(start_ms, end_ms - WINDOW_MS, OLDEST_MS),
            end_ms,
            by_change=query.get("orderByField") == "true",
        )

    def _found(self, book: ShopBook, window: _Window, query: Query) -> Iterator[Package]:
        """Matching packages, the last changed first."""
        status = query.get("status")
        if status is None and self._settings.status_omitted == "created":
            status = CREATED
        if status is not None and status not in STATUSES:
            return  # an empty page
        if query.get("sender", "SELLER") not in _SENDERS:
            return
        order_number, package_ids = query.get("orderNumber"), query.get("packageIds")
        if order_number is None and package_ids is None:
            for package in book.packages.latest_first(status):
                if package.modified_ms < window.start_ms:
                    return  # nor was any of the rest created later than it was changed
                if window.covers(package):
                    yield package
            return
        is_windowed = self._settings.lookup_window == "applied"
        for package in book.packages.point_look_up(order_number, package_ids):
            if (status is None or package.status == status) and (
                not is_windowed or window.covers(package)
            ):
                yield package

    def _row(self, package: Package) -> bytes:
        tracking = package.parcel.tracking_number  # a carrier may add it after the state
        if package.row is None or package.row_tracking != tracking:
            package.row = replies.encoded(package_row(package, self._settings))
            package.row_tracking = tracking
        return package.row


def _invalid(message: str) -> web.Response:
    return replies.rest_failure(replies.INVALID_INPUT, message)
