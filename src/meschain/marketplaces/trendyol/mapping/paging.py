"""Where a read of many pages stands: tokens, and the queries they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from meschain.channel.contract import OrderWindow
from meschain.channel.outcome import ContractBroken
from meschain.marketplaces.trendyol.mapping.order import SHIFT, epoch_ms
from meschain.marketplaces.trendyol.mapping.reply import broken

Query = tuple[tuple[str, str], ...]
Shelf = Literal["approved", "unapproved"]

PAGE_SIZE: Final = 100  # the approved filter's maximum; the unapproved one would allow 1000
_WINDOW_PAGES: Final = 10_000 // PAGE_SIZE  # pages reachable by number. Source: sheet 2.5

_PACKAGES_PAGE_SIZE: Final = 200
_READ_SPAN: Final = timedelta(days=14)
# "1 month", read cautiously: a date before it is refused, the shortest month has 28 days, and the
# clocks may differ, by hours if the filter is read as GMT+3.
_READ_HISTORY: Final = timedelta(days=28) - SHIFT - timedelta(hours=1)


# — listings: by page number within the window, then by the token of the last page —


class SweepPosition(NamedTuple):
    """The next page to read: ``page`` while it counts, then ``cursor``."""

    shelf: Shelf
    page: int
    cursor: str = ""


def position_of(token: str | None) -> SweepPosition:
    if token is None:
        return SweepPosition("approved", 0)
    shelf, page, cursor = token.split(":", 2)
    return SweepPosition("approved" if shelf == "approved" else "unapproved", int(page), cursor)


def sweep_query(position: SweepPosition) -> Query:
    size = ("size", str(PAGE_SIZE))
    if position.cursor:
        return (("nextPageToken", position.cursor), size)
    return (("page", str(position.page)), size)


def after(
    position: SweepPosition, *, is_empty: bool, total_pages: int | None, cursor: str
) -> str | ContractBroken | None:
    """The token after this page; None when the sweep has ended.

    Broken: more pages are stated than the window reaches and no token leads on. To end there would
    make every listing beyond look deleted.
    """
    end = "unapproved:0:" if position.shelf == "approved" else None
    following = position.page + 1
    if is_empty:
        return end
    if following >= _WINDOW_PAGES:
        if cursor:
            return f"{position.shelf}:{following}:{cursor}"
        if not position.cursor and (total_pages or 0) > _WINDOW_PAGES:
            return broken(f"{total_pages} pages and no token to go on with", b"")
        return end
    if following < (total_pages or 0):
        return f"{position.shelf}:{following}:"
    return end


# — orders: the stream's cursor is bound to its filters, so the token carries both —


class StreamPosition(NamedTuple):
    start_ms: int
    end_ms: int
    cursor: str = ""


def stream_position_of(window: OrderWindow, token: str | None) -> StreamPosition:
    if token is None:
        return StreamPosition(epoch_ms(window.modified_from), epoch_ms(window.modified_to))
    start_ms, end_ms, cursor = token.split(":", 2)
    return StreamPosition(int(start_ms), int(end_ms), cursor)


def stream_token(position: StreamPosition, cursor: str) -> str:
    return f"{position.start_ms}:{position.end_ms}:{cursor}"


def stream_query(position: StreamPosition) -> Query:
    filters = (
        ("lastModifiedStartDate", str(position.start_ms)),
        ("lastModifiedEndDate", str(position.end_ms)),
        ("size", str(_PACKAGES_PAGE_SIZE)),
    )
    return (*filters, ("nextCursor", position.cursor)) if position.cursor else filters


def history_windows(now: datetime) -> Iterator[OrderWindow]:
    """The readable month in windows, the latest first; the end again widened by the shift."""
    oldest, end = now - _READ_HISTORY, now + SHIFT
    while end > oldest:
        start = max(oldest, end - _READ_SPAN)
        yield OrderWindow(modified_from=start, modified_to=end)
        end = start


def order_query(order_number: str, window: OrderWindow) -> Query:
    return (
        ("orderNumber", order_number),
        ("startDate", str(epoch_ms(window.modified_from))),
        ("endDate", str(epoch_ms(window.modified_to))),
        ("page", "0"),
        ("size", str(_PACKAGES_PAGE_SIZE)),
    )
