"""Read models on a real database: paging, money, agreement, problems, feed, two merchants."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from meschain.app.queries.events import EventView, FeedCursor, can_resume, feed_end, read_events
from meschain.app.queries.health import percentiles, read_status
from meschain.app.queries.listings import ListingCell, read_listings, read_recent_listings
from meschain.app.queries.orders import read_orders
from meschain.app.queries.paging import CursorInvalid, cursor_of, position_of
from meschain.app.queries.problems import Lack, read_problems
from meschain.channel.clock import SystemClock, microseconds
from meschain.domain.order import (
    Address,
    Buyer,
    LineObservation,
    OrderObservation,
    PackageObservation,
    PackageState,
)
from meschain.store.unit_of_work import Database
from meschain.sync.intake import order_document
from meschain.testing.shop import NOW_US, Shop

Connection = psycopg.Connection[tuple[object, ...]]
PLACED = datetime(2026, 11, 2, 9, tzinfo=UTC)


def sell(
    shop: Shop,
    account: str,
    number: int,
    sku: str,
    units: int = 1,
    *,
    seen_at: datetime | None = None,
) -> int:
    placed_at = PLACED + timedelta(minutes=number // 2)  # two at a time share an instant
    line = LineObservation(
        external_id="1",
        sku=sku,
        barcode="",
        title=f"Kitap {sku}",
        quantity=units,
        unit_gross=Decimal("12.345"),
        unit_seller_discount=Decimal(0),
        unit_marketplace_discount=Decimal(0),
        payable=Decimal("12.345") * units,
        vat_percent=Decimal(20),
        commission_percent=None,
    )
    package = PackageObservation(
        external_id=f"p{number}",
        state=PackageState.CREATED,
        state_raw="Created",
        modified_at=placed_at,
        lines=(line,),
    )
    address = Address(full_name="Ay Kaya", street="Sokak 1", city="İzmir", country_code="TR")
    order = OrderObservation(
        external_id=f"o{number}",
        placed_at=placed_at,
        currency="TRY",
        buyer=Buyer(full_name="Ay Kaya"),
        shipping_address=address,
        invoice_address=address,
        packages=(package,),
        is_whole=True,
    )
    seen_at = seen_at or placed_at + timedelta(seconds=1)
    row = shop.connection.execute(
        "SELECT o_order_id FROM take_order(%s, %s, %s::jsonb, '', '', 1, %s, %s)",
        (
            shop.merchant_id,
            shop.accounts[account],
            order_document(order, actor="test", detected_by="webhook"),
            seen_at,
            microseconds(seen_at),
        ),
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    for sku in ("A", "B", "C"):
        shop.variant(sku, on_hand=5)
    for account in ("west", "east"):
        shop.account(account)
        shop.list_on(account, ["A", "B", "C"])
    return shop


# — orders —


async def test_orders_come_newest_first_and_every_one_on_exactly_one_page(
    database: Database, stocked: Shop
) -> None:
    for number in range(7):
        sell(stocked, "west", number, "A")
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages < 5:
        page = await read_orders(database, stocked.merchant_id, limit=3, cursor=cursor)
        seen += [order.external_id for order in page.items]
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"o{number}" for number in reversed(range(7))]
    assert pages == 3


async def test_an_order_carries_exact_money_its_lines_and_no_personal_data(
    database: Database, stocked: Shop
) -> None:
    sell(stocked, "west", 1, "A", 3)
    sell(stocked, "west", 2, "UNHEARD-OF")
    page = await read_orders(database, stocked.merchant_id, limit=10)
    unknown, known = page.items
    assert (known.payable.minor, known.payable.amount, known.payable.currency) == (
        3704,  # 3 × 12.345 = 37.035, rounded once at the document
        "37.04",
        "TRY",
    )
    assert [(line.sku, line.units) for line in known.lines] == [("A", 3)]
    assert [(line.sku, line.sku_given) for line in unknown.lines] == [(None, "UNHEARD-OF")]
    assert [package.state for package in known.packages] == ["created"]
    assert known.first_seen_at - known.placed_at == timedelta(seconds=1)
    assert "Kaya" not in repr(page)


@pytest.mark.parametrize(("phase", "taken"), [(1, None), (3, "picking")])
async def test_a_step_that_the_marketplace_said_yes_to_is_told_from_one_only_asked_for(
    database: Database, stocked: Shop, phase: int, taken: str | None
) -> None:
    sell(stocked, "west", 1, "A")
    stocked.connection.execute("UPDATE package SET wanted_state = 'picking'")
    stocked.connection.execute(
        "INSERT INTO package_wish (merchant_id, account_id, order_id, package_id, state, actor,"
        " wish_us, phase, next_us)"
        " SELECT merchant_id, %s, order_id, external_id, 'picking', 'test', 1, %s, 0 FROM package",
        (stocked.accounts["west"], phase),
    )
    (order,) = (await read_orders(database, stocked.merchant_id, limit=9)).items
    (package,) = order.packages
    assert (package.state, package.wanted_state, package.taken_state) == (
        "created",
        "picking",
        taken,
    )


async def test_single_orders_and_single_accounts_can_be_asked_for(
    database: Database, stocked: Shop
) -> None:
    first = sell(stocked, "west", 1, "A")
    sell(stocked, "west", 2, "A")
    third = sell(stocked, "east", 3, "A")
    some = await read_orders(database, stocked.merchant_id, limit=9, order_ids=[first, third])
    assert [order.order_id for order in some.items] == [third, first]
    east = await read_orders(
        database, stocked.merchant_id, limit=9, account_id=stocked.accounts["east"]
    )
    assert [order.order_id for order in east.items] == [third]


@pytest.mark.parametrize("cursor", ["", "!", "é", "bm9uZQ", cursor_of(("x",)), "[" * 300])
async def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        position_of(cursor, tuple[int, int])


# — listings —


def cell(cells: list[ListingCell], shop: Shop, account: str) -> ListingCell:
    return next(each for each in cells if each.account_id == shop.accounts[account])


async def test_the_matrix_shows_what_each_account_wants_and_shows(
    database: Database, stocked: Shop
) -> None:
    sell(stocked, "west", 1, "B", 2)
    page = await read_listings(database, stocked.merchant_id, limit=10)
    assert [row.sku for row in page.items] == ["A", "B", "C"]
    row = page.items[1]
    assert (row.on_hand, row.reserved, row.available) == (5, 2, 3)
    east = cell(row.cells, stocked, "east")
    assert (east.quantity_desired, east.quantity_shown, east.agreement) == (3, 5, "waiting")
    assert east.since == PLACED + timedelta(seconds=1)
    assert east.sale_price_shown is not None
    assert east.sale_price_shown.amount == "100.00"
    assert cell(page.items[0].cells, stocked, "east").agreement == "equal"


async def test_what_is_sent_refused_or_looked_at_is_told_apart(
    database: Database, stocked: Shop
) -> None:
    key = (stocked.merchant_id, stocked.accounts["west"])
    stocked.connection.execute(
        "INSERT INTO offer_inflight VALUES (%s, %s, %s, 1, 1, 9, 4, NULL, NULL, NULL, %s)",
        (*key, stocked.listings["west", "A"], NOW_US),
    )
    stocked.connection.execute(
        "INSERT INTO offer_refusal VALUES (%s, %s, %s, 2, 9, '400', 'olmaz', '', %s)",
        (*key, stocked.listings["west", "B"], NOW_US),
    )
    stocked.connection.execute(
        "INSERT INTO offer_unsettled VALUES (%s, %s, %s, 1, 0, 0, %s, 2)",
        (*key, stocked.listings["west", "C"], NOW_US),
    )
    page = await read_listings(database, stocked.merchant_id, limit=10)
    assert [cell(row.cells, stocked, "west").agreement for row in page.items] == [
        "sent",
        "refused",
        "looking",
    ]


async def test_skus_are_paged_searched_and_read_one_by_one(
    database: Database, stocked: Shop
) -> None:
    merchant = stocked.merchant_id
    stocked.connection.execute(
        "UPDATE product SET search_text = 'isiltili ruj' WHERE model_code = 'M-B'"
    )
    first = await read_listings(database, merchant, limit=2)
    assert [row.sku for row in first.items] == ["A", "B"]
    second = await read_listings(database, merchant, limit=2, cursor=first.next_cursor)
    assert [row.sku for row in second.items] == ["C"]
    assert second.next_cursor is None
    for search, found in (("IŞIL", ["B"]), ("c", ["C"]), ("BA", ["A"]), ("nothing", [])):
        page = await read_listings(database, merchant, limit=9, search=search)
        assert [row.sku for row in page.items] == found, search
    some = await read_listings(database, merchant, limit=9, skus=["C", "A", "nobody's"])
    assert [row.sku for row in some.items] == ["A", "C"]


async def test_the_sku_that_moved_last_comes_first(database: Database, stocked: Shop) -> None:
    stocked.move({"B": 1})
    stocked.move({"A": 1})
    page = await read_recent_listings(database, stocked.merchant_id, limit=2)
    assert [row.sku for row in page.items] == ["A", "B"]


async def test_a_bundle_has_no_stock_of_its_own(database: Database, stocked: Shop) -> None:
    stocked.bundle("SET", {"A": 2, "B": 1})
    stocked.list_on("west", ["SET"])
    page = await read_listings(database, stocked.merchant_id, limit=9, skus=["SET"])
    row = page.items[0]
    assert (row.is_bundle, row.on_hand, row.available) == (True, None, None)
    assert row.cells[0].quantity_desired == 2


# — problems —


async def test_every_problem_has_the_marketplaces_words_and_a_fix(
    database: Database, stocked: Shop
) -> None:
    connection, merchant = stocked.connection, stocked.merchant_id
    connection.execute(
        "INSERT INTO offer_refusal VALUES (%s, %s, %s, 2, 9, '17', 'KDV hatalı', 'advice.x', %s)",
        (merchant, stocked.accounts["west"], stocked.listings["west", "A"], NOW_US + 2),
    )
    connection.execute(
        "UPDATE listing SET state = 'rejected', observed_at = created_at, problems ="
        """ '[{"key": "listing.rejected", "words": "Görsel bulanık"}, "Marka yok"]'"""
        " WHERE listing_id = %s",
        (stocked.listings["east", "B"],),
    )
    connection.execute(
        "UPDATE listing SET state = 'draft', created_at = created_at - interval '1 day', problems ="
        """ '[{"key": "listing.missing.category", "params": {"value": "Giyim"}}]'"""
        " WHERE listing_id = %s",
        (stocked.listings["west", "B"],),
    )
    sell(stocked, "east", 1, "UNHEARD-OF")
    page = await read_problems(database, merchant, limit=10)
    alert, offer, listing, draft = page.items
    assert (draft.message, draft.words, draft.lacks) == (
        "problem.listing.incomplete",
        [],
        [Lack("listing.missing.category", {"value": "Giyim"})],
    )
    assert (alert.message, alert.advice, alert.params) == (
        "alert.order.unknown_sku",
        "alert.order.unknown_sku.advice",
        {"order": "o1", "sku": "UNHEARD-OF"},
    )
    assert (offer.message, offer.words, offer.advice, offer.subject, offer.account_name) == (
        "problem.offer.price",
        ["KDV hatalı"],
        "advice.x",
        "A",
        "west",
    )
    assert (listing.message, listing.words, listing.lacks, listing.advice) == (
        "problem.listing.rejected",
        ["Görsel bulanık", "Marka yok"],
        [],
        "advice.listing.rejected",
    )
    pages = [await read_problems(database, merchant, limit=1)]
    while pages[-1].next_cursor is not None:
        cursor = pages[-1].next_cursor
        pages.append(await read_problems(database, merchant, limit=1, cursor=cursor))
    assert [each.items[0] for each in pages] == page.items


# — status —


async def test_status_counts_backlog_problems_and_orders(database: Database, stocked: Shop) -> None:
    clock = SystemClock()
    sell(stocked, "west", 1, "A", seen_at=clock.now())
    sell(stocked, "west", 2, "A")
    status = await read_status(database, clock, stocked.merchant_id, ())
    assert (status.orders.last_minute, status.orders.last_ten_minutes) == (1, 1)
    assert status.backlog == 2
    assert status.oldest_dirty_at == PLACED + timedelta(minutes=1, seconds=1)
    assert [account.name for account in status.accounts] == ["west", "east"]
    assert {account.served_by for account in status.accounts} == {"nobody"}
    assert (status.propagation.p50_ms, status.consistency_bps) == (None, None)


def test_percentiles_are_taken_by_nearest_rank() -> None:
    hundred = percentiles(us * 1_000 for us in range(1, 101))
    assert (hundred.p50_ms, hundred.p99_ms, hundred.samples) == (50.0, 99.0, 100)
    one = percentiles([7_500])
    assert (one.p50_ms, one.p99_ms) == (7.5, 7.5)


# — the feed —


async def _told(
    database: Database, clock: SystemClock, merchant_id: int, since: FeedCursor, count: int
) -> tuple[list[EventView], FeedCursor]:
    """Read until ``count`` events are told, bounded.

    Transactions of other tests, open anywhere in the cluster, hold the feed back by design.
    """
    told: list[EventView] = []
    for _ in range(400):
        events, since = await read_events(database, clock, merchant_id, since)
        told += events
        if len(told) >= count:
            break
        await clock.sleep(0.05)
    return told, since


async def test_the_feed_tells_each_event_once_and_goes_on_where_it_was(
    database: Database, stocked: Shop
) -> None:
    clock = SystemClock()
    begin = await feed_end(database, stocked.merchant_id)
    first = sell(stocked, "west", 1, "A", seen_at=clock.now())
    second = sell(stocked, "west", 2, "A", seen_at=clock.now())
    events, cursor = await _told(database, clock, stocked.merchant_id, begin, 2)
    assert [event.facts["order_id"] for event in events] == [first, second]
    assert await read_events(database, clock, stocked.merchant_id, cursor) == ([], cursor)
    parsed = FeedCursor.parse(str(cursor))
    assert parsed == cursor
    third = sell(stocked, "west", 3, "A", seen_at=clock.now())
    events, _ = await _told(database, clock, stocked.merchant_id, cursor, 1)
    assert [event.facts["order_id"] for event in events] == [third]


async def test_what_an_open_transaction_writes_comes_later_and_is_not_lost(
    database: Database, stocked: Shop, database_url: str
) -> None:
    """The slow one began first: a reader by id alone would step over it."""
    clock = SystemClock()
    begin = await feed_end(database, stocked.merchant_id)
    now = clock.now()
    with psycopg.connect(database_url) as slow:
        slow.execute(
            "INSERT INTO event (merchant_id, day, at_us, kind, facts)"
            " VALUES (%s, %s, 1, 'slow', '{}')",
            (stocked.merchant_id, now.date()),
        )
        sell(stocked, "west", 1, "A", seen_at=now)
        events, cursor = await read_events(database, clock, stocked.merchant_id, begin)
        assert events == []
        slow.commit()
    events, _ = await _told(database, clock, stocked.merchant_id, cursor, 2)
    assert [event.kind for event in events] == ["slow", "order.new"]


async def test_a_cursor_of_another_epoch_or_of_long_ago_cannot_be_resumed(
    database: Database, stocked: Shop
) -> None:
    clock = SystemClock()
    cursor = await feed_end(database, stocked.merchant_id)
    assert await can_resume(database, clock, stocked.merchant_id, cursor)
    sell(stocked, "west", 1, "A", seen_at=clock.now() - timedelta(days=3))
    assert not await can_resume(database, clock, stocked.merchant_id, cursor)
    # What is settled ends before the oldest open transaction, also one of another database.
    for _ in range(400):
        cursor = await feed_end(database, stocked.merchant_id)
        if await can_resume(database, clock, stocked.merchant_id, cursor):
            break
        await clock.sleep(0.05)
    assert await can_resume(database, clock, stocked.merchant_id, cursor)
    stocked.connection.execute("UPDATE hub SET feed_epoch = feed_epoch + 1")
    assert not await can_resume(database, clock, stocked.merchant_id, cursor)


@pytest.mark.parametrize("text", ["", "1-2", "a-b-c", "1-2-3-4", "1--2-3", "9999999999-1-1"])
def test_a_text_that_is_no_cursor_is_none(text: str) -> None:
    assert FeedCursor.parse(text) is None


# — two merchants —


async def test_no_view_shows_another_merchants_rows(
    database: Database, stocked: Shop, connection: Connection
) -> None:
    clock = SystemClock()
    begin = await feed_end(database, stocked.merchant_id)
    other = Shop.open(connection, "Demir")
    other.variant("A", on_hand=1)
    other.account("north")
    other.list_on("north", ["A"])
    sell(stocked, "west", 1, "A", seen_at=clock.now())
    sell(stocked, "west", 2, "UNHEARD-OF", seen_at=clock.now())
    theirs = other.merchant_id
    assert (await read_orders(database, theirs, limit=9)).items == []
    assert (await read_problems(database, theirs, limit=9)).items == []
    rows = (await read_listings(database, theirs, limit=9)).items
    assert [[each.account_id for each in row.cells] for row in rows] == [[other.accounts["north"]]]
    status = await read_status(database, clock, theirs, ())
    assert (status.merchant.name, status.orders.last_ten_minutes) == ("Demir", 0)
    assert [account.name for account in status.accounts] == ["north"]
    assert (await read_events(database, clock, theirs, begin))[0] == []
