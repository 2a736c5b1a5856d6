"""The protocol of design.md §2. The lost updates of its obvious simplifications come first."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from meschain.testing.shop import NOW_US, Shop

if TYPE_CHECKING:
    from collections.abc import Callable

    Connection = psycopg.Connection[tuple[Any, ...]]

SECOND = 1_000_000
SKEW_US = 2 * SECOND
FOREVER = 2**63 - 1
DONE, REFUSED, UNKNOWN, AGAIN, ARRIVED = range(5)


@dataclass
class Lane:
    """One account's offer lane, driven by hand."""

    shop: Shop
    account_id: int
    epoch: int = 1

    @property
    def connection(self) -> Connection:
        return self.shop.connection

    def claim(
        self,
        *,
        connection: Connection | None = None,
        now_us: int = NOW_US + SECOND,
        up: bool = True,
        ordered: bool = False,
        joint: bool = False,
        limit: int = 1_000,
        batch: int = 1_000,
        first: int = 2,
        after: int = 0,
    ) -> list[tuple[Any, ...]]:
        """Rows of claim_offers: ticket, merchant, account, listing, key, quantity, list, sale, …"""
        return (
            (connection or self.connection)
            .execute(
                "SELECT * FROM claim_offers(%s::int[], %s::int[], %s::int[], %s::int[], %s::int[],"
                " %s::boolean[], %s::boolean[], %s::boolean[], %s::smallint[], %s::bigint[],"
                " %s::bigint[], %s, %s, %s)",
                (
                    [self.shop.merchant_id],
                    [self.account_id],
                    [limit],
                    [limit],
                    [batch],
                    [up],
                    [ordered],
                    [joint],
                    [first],
                    [after],
                    [self.epoch],
                    now_us,
                    now_us + 20 * SECOND,
                    SKEW_US,
                ),
            )
            .fetchall()
        )

    def accept(self, ticket: int, *, at_us: int = NOW_US + SECOND) -> None:
        self.connection.execute(
            "SELECT accept_tickets(%s::int[], %s::bigint[], %s::bigint[], '{r}', %s::bigint[],"
            " %s::bigint[], %s::bigint[])",
            ([self.shop.merchant_id], [ticket], [self.epoch], [at_us], [at_us], [at_us]),
        )

    def end(
        self,
        ticket: int,
        verdict: int = DONE,
        *,
        items: dict[int, int] | None = None,
        released_us: int = NOW_US + SECOND,
        now_us: int = NOW_US + 2 * SECOND,
        epoch: int | None = None,
        recheck_us: int = NOW_US + 5 * SECOND,
        final_us: int = NOW_US + 60 * SECOND,
    ) -> tuple[Any, ...] | None:
        """End a ticket; ``items`` maps listing → its own verdict."""
        exceptions = items or {}
        return self.connection.execute(
            "SELECT * FROM end_tickets(%s::int[], %s::bigint[], %s::bigint[], %s::smallint[],"
            " '{\"\"}', '{\"\"}', '{\"\"}', '{0}', %s::bigint[], %s::bigint[], %s::bigint[],"
            " %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[],"
            " %s::smallint[], %s::text[], %s::text[], %s::text[], %s, %s)",
            (
                [self.shop.merchant_id],
                [ticket],
                [self.epoch if epoch is None else epoch],
                [verdict],
                [recheck_us],
                [final_us],
                [released_us],
                [released_us],
                [released_us],
                [ticket] * len(exceptions),
                list(exceptions),
                [0] * len(exceptions),
                list(exceptions.values()),
                ["code"] * len(exceptions),
                ["words"] * len(exceptions),
                [""] * len(exceptions),
                now_us,
                SKEW_US,
            ),
        ).fetchone()

    def acknowledged(self, sku: str, name: str) -> tuple[Any, ...]:
        row = self.connection.execute(
            "SELECT quantity, quantity_revision, sale_minor, price_revision FROM offer_acknowledged"
            " WHERE merchant_id = %s AND account_id = %s AND listing_id = %s",
            (self.shop.merchant_id, self.account_id, self.shop.listings[name, sku]),
        ).fetchone()
        assert row is not None
        return row

    def dirty(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT listing_id, field, urgency, not_before_us, reassert FROM offer_dirty"
            " WHERE merchant_id = %s AND account_id = %s ORDER BY field, listing_id",
            (self.shop.merchant_id, self.account_id),
        ).fetchall()

    def unsettled(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT listing_id, field, recheck_us, reason FROM offer_unsettled"
            " WHERE merchant_id = %s AND account_id = %s ORDER BY listing_id, field",
            (self.shop.merchant_id, self.account_id),
        ).fetchall()


@pytest.fixture
def lane(shop: Shop) -> Lane:
    """SKU A with 10 units, listed on ``shelf``; everything stands as desired."""
    shop.variant("A", on_hand=10)
    account_id = shop.account("shelf")
    shop.list_on("shelf", ["A"])
    return Lane(shop, account_id)


def _in_thread(database_url: str, work: Callable[[Connection], None]) -> threading.Thread:
    def run() -> None:
        with psycopg.connect(database_url) as connection:
            work(connection)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def _until_blocked(connection: Connection) -> None:
    """Wait until some backend waits for a lock; bounded."""
    for _ in range(500):
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        ).fetchone()
        if row and row[0]:
            return
        time.sleep(0.01)
    pytest.fail("nobody is waiting for a lock")


# — the lost updates that the protocol exists for —


def test_marking_dirty_with_do_nothing_loses_the_update(lane: Lane, database_url: str) -> None:
    """The obvious way: the row is there already, so it is left alone – and not locked either."""
    lane.shop.move({"A": -1}, "adjustment")
    with psycopg.connect(database_url) as writer:
        writer.execute(
            "WITH d AS (UPDATE offer_desired_quantity SET quantity = 8, revision = revision + 1"
            " RETURNING *) INSERT INTO offer_dirty SELECT merchant_id, account_id, listing_id, 1,"
            " 0, 0, 0 FROM d ON CONFLICT DO NOTHING"
        )
        assert [row[5] for row in lane.claim()] == [9]
        writer.commit()
    assert lane.dirty() == []  # desired is 8, 9 is on its way, and nothing will ever send the 8


def test_a_change_during_a_claim_is_never_lost(lane: Lane, database_url: str) -> None:
    """The same race through the real code: the writer waits for the claim and marks afresh."""
    lane.shop.move({"A": -1}, "adjustment")
    with psycopg.connect(database_url) as claimer:
        assert [row[5] for row in lane.claim(connection=claimer)] == [9]

        def sell(connection: Connection) -> None:
            lane.shop.__class__(
                connection, lane.shop.merchant_id, lane.shop.location_id, lane.shop.variants
            ).move({"A": -1}, "adjustment")

        writer = _in_thread(database_url, sell)
        _until_blocked(lane.connection)
        claimer.commit()
        writer.join(timeout=10)
    assert [(row[1], row[2]) for row in lane.dirty()] == [(1, 0)]


def test_a_claim_in_one_statement_loses_the_update(lane: Lane, database_url: str) -> None:
    """Deleting and reading in one statement reads the values of its own, older snapshot."""
    lane.shop.move({"A": -1}, "adjustment")
    seen: list[int] = []

    def claim(connection: Connection) -> None:
        row = connection.execute(
            "WITH gone AS (DELETE FROM offer_dirty RETURNING *)"
            " SELECT q.quantity FROM gone JOIN offer_desired_quantity q"
            " USING (merchant_id, account_id, listing_id)"
        ).fetchone()
        assert row is not None
        seen.append(row[0])

    with psycopg.connect(database_url) as writer:
        Shop(writer, lane.shop.merchant_id, lane.shop.location_id, lane.shop.variants).move(
            {"A": -1}, "adjustment"
        )
        claimer = _in_thread(database_url, claim)
        _until_blocked(lane.connection)
        writer.commit()
        claimer.join(timeout=10)
    assert seen == [9]  # the desired quantity is 8
    assert lane.dirty() == []


def test_the_real_claim_leaves_a_row_that_is_being_written(lane: Lane, database_url: str) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    with psycopg.connect(database_url) as writer:
        Shop(writer, lane.shop.merchant_id, lane.shop.location_id, lane.shop.variants).move(
            {"A": -1}, "adjustment"
        )
        assert lane.claim() == []
        writer.commit()
    assert [row[5] for row in lane.claim()] == [8]


def test_an_older_answer_never_lowers_what_is_acknowledged(lane: Lane) -> None:
    """Two tickets on one listing, answered the wrong way round."""
    lane.shop.move({"A": -1}, "adjustment")
    first = lane.claim()[0][0]
    lane.accept(first)
    lane.shop.move({"A": -1}, "adjustment")
    second = lane.claim()[0][0]
    lane.accept(second)
    lane.end(second)
    lane.end(first)
    assert lane.acknowledged("A", "shelf")[:2] == (8, 4)


def test_acknowledging_without_the_revision_would_regress(lane: Lane) -> None:
    """What the rule above prevents: the last answer wins, and the shelf is believed to show 9."""
    lane.shop.move({"A": -1}, "adjustment")
    first = lane.claim()[0][0]
    lane.accept(first)
    lane.shop.move({"A": -1}, "adjustment")
    second = lane.claim()[0][0]
    for ticket in (second, first):
        lane.connection.execute(
            "UPDATE offer_acknowledged k SET quantity = i.quantity FROM offer_inflight i"
            " WHERE i.ticket_id = %s AND i.listing_id = k.listing_id",
            (ticket,),
        )
    assert lane.acknowledged("A", "shelf")[0] == 9


# — overlapping tickets —


def test_a_quantity_down_overtakes_an_open_ticket_and_unsettles_the_listing(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    first = lane.claim()[0][0]
    lane.accept(first)
    lane.shop.move({"A": -1}, "adjustment")
    second = lane.claim()[0][0]
    assert [row[2:] for row in lane.unsettled()] == [(FOREVER, 1)]
    lane.accept(second)
    lane.end(second)
    assert [row[2] for row in lane.unsettled()] == [FOREVER]  # the older one may still apply
    lane.end(first, now_us=NOW_US + 3 * SECOND)
    assert [row[2] for row in lane.unsettled()] == [NOW_US + 3 * SECOND]


def test_a_quantity_up_waits_for_open_tickets_of_unknown_order(lane: Lane) -> None:
    lane.shop.move({"A": -3}, "adjustment")
    first = lane.claim()[0][0]
    lane.accept(first)
    lane.shop.move({"A": 2})
    assert lane.claim() == []
    lane.end(first)
    assert [row[5] for row in lane.claim()] == [9]


def test_a_quantity_up_need_not_wait_where_tickets_apply_in_order(lane: Lane) -> None:
    lane.shop.move({"A": -3}, "adjustment")
    lane.accept(lane.claim()[0][0])
    lane.shop.move({"A": 2})
    assert [row[5] for row in lane.claim(ordered=True)] == [9]


def test_an_unanswered_request_is_never_overtaken(lane: Lane) -> None:
    """Not even by a quantity down: two requests on the wire may arrive in any order."""
    lane.shop.move({"A": -1}, "adjustment")
    first = lane.claim()[0][0]
    lane.shop.move({"A": -1}, "adjustment")
    assert lane.claim() == []
    lane.accept(first)
    assert [row[5] for row in lane.claim()] == [8]


# — outcomes —


def test_a_refused_item_waits_for_new_input_and_the_others_are_done(lane: Lane) -> None:
    lane.shop.variant("B", on_hand=5)
    lane.shop.list_on("shelf", ["B"])
    lane.shop.move({"A": -1, "B": -1}, "adjustment")
    ticket = lane.claim()[0][0]
    refused = lane.shop.listings["shelf", "A"]
    assert lane.end(ticket, items={refused: REFUSED}) == (ticket, 1, 1, 0, 0)
    assert lane.acknowledged("B", "shelf")[0] == 4
    assert lane.claim() == []
    lane.shop.move({"A": -1}, "adjustment")
    assert [row[5] for row in lane.claim()] == [8]


def test_an_unknown_quantity_down_is_sent_again_at_once_and_looked_at_later(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], UNKNOWN)
    assert [(row[1], row[2]) for row in lane.dirty()] == [(1, 0)]
    assert [row[2:] for row in lane.unsettled()] == [(NOW_US + 5 * SECOND, 2)]


def test_an_unknown_quantity_up_is_looked_at_before_it_is_sent_again(lane: Lane) -> None:
    lane.shop.move({"A": 5})
    lane.end(lane.claim()[0][0], UNKNOWN)
    assert lane.dirty() == []
    assert len(lane.unsettled()) == 1


def test_a_repetition_that_was_refused_as_such_is_looked_at(lane: Lane) -> None:
    lane.shop.move({"A": 5})
    lane.end(lane.claim()[0][0], ARRIVED)
    assert lane.dirty() == []
    assert len(lane.unsettled()) == 1


def test_a_fall_refused_as_a_repetition_is_told_once_more_in_other_company(lane: Lane) -> None:
    """It may be a value that came, went and came again: then the shelf shows too much."""
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], ARRIVED)
    assert [row[1:] for row in lane.dirty()] == [(1, 0, 0, True)]
    assert len(lane.unsettled()) == 1
    again = lane.claim()[0][0]
    lane.end(again, ARRIVED)
    assert lane.dirty() == [], "now it is looked at first"


def test_a_push_that_was_taken_makes_the_next_repetition_a_first_one(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], ARRIVED)
    lane.end(lane.claim()[0][0], DONE)
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], ARRIVED)
    assert [row[1:] for row in lane.dirty()] == [(1, 0, 0, True)]


def test_a_request_that_was_not_sent_stays_dirty_and_keeps_its_age(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], AGAIN)
    assert [row[1:] for row in lane.dirty()] == [(1, 0, 0, False)]
    assert lane.unsettled() == []


def test_a_look_that_shows_what_we_want_settles_only_after_the_last_possible_application(
    lane: Lane,
) -> None:
    lane.shop.move({"A": 5})
    lane.end(lane.claim()[0][0], UNKNOWN)
    listing = lane.shop.listings["shelf", "A"]

    def look(quantity: int, now_us: int) -> None:
        lane.connection.execute(
            "SELECT settle_observed(%s, %s, %s::bigint[], '{1}', %s::int[], '{NULL}', '{NULL}',"
            " %s, %s)",
            (lane.shop.merchant_id, lane.account_id, [listing], [quantity], now_us, now_us),
        )

    look(15, NOW_US + 6 * SECOND)
    assert lane.acknowledged("A", "shelf")[0] == 15
    assert len(lane.unsettled()) == 1
    look(15, NOW_US + 61 * SECOND)
    assert lane.unsettled() == []


def test_a_look_that_shows_something_else_tells_the_shelf_again(lane: Lane) -> None:
    lane.shop.move({"A": 5})
    lane.end(lane.claim()[0][0], UNKNOWN)
    listing = lane.shop.listings["shelf", "A"]
    lane.connection.execute(
        "SELECT settle_observed(%s, %s, %s::bigint[], '{1}', '{10}', '{NULL}', '{NULL}', %s, %s)",
        (
            lane.shop.merchant_id,
            lane.account_id,
            [listing],
            NOW_US + 6 * SECOND,
            NOW_US + 6 * SECOND,
        ),
    )
    assert [row[5] for row in lane.claim()] == [15]


# — takeover —


def test_after_a_takeover_unanswered_downs_go_again_and_the_old_owner_is_not_heard(
    lane: Lane,
) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    ticket = lane.claim()[0][0]
    adopted = lane.connection.execute(
        "SELECT * FROM adopt_account(%s, %s, 2, %s, %s, %s, %s)",
        (lane.shop.merchant_id, lane.account_id, NOW_US + 9, NOW_US + 99, NOW_US + 5, SKEW_US),
    ).fetchall()
    assert adopted == []
    assert [(row[1], row[2]) for row in lane.dirty()] == [(1, 0)]
    assert lane.end(ticket, DONE, epoch=1) is None  # the zombie's late answer
    assert lane.acknowledged("A", "shelf")[0] == 10


def test_after_a_takeover_accepted_tickets_are_polled_on(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    ticket = lane.claim()[0][0]
    lane.accept(ticket)
    adopted = lane.connection.execute(
        "SELECT o_ticket_id, o_reference FROM adopt_account(%s, %s, 2, 0, 0, %s, %s)",
        (lane.shop.merchant_id, lane.account_id, NOW_US, SKEW_US),
    ).fetchall()
    assert adopted == [(ticket, "r")]
    lane.epoch = 2
    lane.end(ticket)
    assert lane.acknowledged("A", "shelf")[0] == 9


# — what may rise, and when —


def test_a_quantity_rises_only_when_the_orders_are_known(lane: Lane) -> None:
    lane.shop.move({"A": 5})
    assert lane.claim(up=False) == []
    assert [row[5] for row in lane.claim(up=True)] == [15]


def test_a_quantity_falls_whatever_is_known_of_orders(lane: Lane) -> None:
    lane.shop.move({"A": -5}, "adjustment")
    assert [row[5] for row in lane.claim(up=False)] == [5]


def test_a_row_marked_as_falling_that_would_rise_is_held_too(lane: Lane) -> None:
    """The mark is a hint of its moment; what counts is the value read in the claim."""
    lane.shop.move({"A": 5})
    lane.connection.execute("UPDATE offer_dirty SET urgency = 0")
    assert lane.claim(up=False) == []
    assert [row[2] for row in lane.dirty()] == [3]


# — order of sending —


def test_falling_quantities_go_first_and_fast_sellers_before_slow_ones(lane: Lane) -> None:
    for sku in ("B", "C", "D"):
        lane.shop.variant(sku, on_hand=5)
    lane.shop.list_on("shelf", ["B", "C", "D"])
    lane.shop.move({"B": 1})  # rises
    lane.connection.execute(
        "UPDATE stock_level SET velocity_milli = 9000, velocity_us = %s WHERE variant_id = %s",
        (NOW_US, lane.shop.variants["D"]),
    )
    lane.shop.move({"C": -1}, "adjustment")
    lane.shop.move({"D": -1}, "adjustment")
    order = [lane.claim(limit=1)[0][4] for _ in range(3)]
    assert order == ["BD", "BC", "BB"]


def test_the_round_among_the_not_urgent_goes_on_behind_the_last_claim(lane: Lane) -> None:
    """Otherwise low numbers, dirty again and again, would starve the high ones."""
    for sku in ("B", "C"):
        lane.shop.variant(sku, on_hand=5)
    lane.shop.list_on("shelf", ["B", "C"])
    lane.shop.move({"A": 1, "B": 1, "C": 1})
    after = lane.shop.listings["shelf", "A"]
    assert [row[4] for row in lane.claim(limit=2, after=after)] == ["BB", "BC"]


def test_a_price_and_a_quantity_of_one_listing_travel_in_one_request(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    lane.connection.execute("UPDATE variant SET sale_price_minor = 9000")
    lane.connection.execute(
        "SELECT refresh_desired_price(%s, %s::bigint[], %s)",
        (lane.shop.merchant_id, [lane.shop.variants["A"]], NOW_US),
    )
    rows = lane.claim()
    assert [(row[5], row[6], row[7]) for row in rows] == [(9, 10_000, 9_000)]


def test_only_the_dirty_field_is_in_the_body(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    assert [(row[5], row[6], row[7]) for row in lane.claim()] == [(9, None, None)]


def test_where_all_fields_are_demanded_the_other_is_read_in_the_same_claim(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    rows = lane.claim(joint=True)
    assert [(row[5], row[6], row[7]) for row in rows] == [(9, 10_000, 10_000)]
    lane.end(rows[0][0])
    assert lane.acknowledged("A", "shelf")[0] == 9


def test_a_thousand_changes_of_one_sku_cost_one_push(lane: Lane) -> None:
    for _ in range(1_000 // 50):
        lane.shop.move({"A": -1}, "adjustment")
        lane.shop.move({"A": 1})
    lane.shop.move({"A": -1}, "adjustment")
    assert [row[5] for row in lane.claim()] == [9]
    assert lane.claim() == []


def test_listings_that_are_not_on_sale_are_left_alone(lane: Lane) -> None:
    lane.connection.execute("UPDATE listing SET state = 'rejected'")
    lane.shop.move({"A": -1}, "adjustment")
    assert lane.claim() == []


def test_requests_are_cut_at_the_batch_size(lane: Lane) -> None:
    for sku in ("B", "C"):
        lane.shop.variant(sku, on_hand=5)
    lane.shop.list_on("shelf", ["B", "C"])
    lane.shop.move({"A": -1, "B": -1, "C": -1}, "adjustment")
    tickets = [row[0] for row in lane.claim(batch=2)]
    assert sorted(tickets.count(ticket) for ticket in set(tickets)) == [1, 2]


def test_a_refused_fall_is_told_again_ever_more_slowly(lane: Lane) -> None:
    """Some refusals are a marketplace's bad moment, and the shelf goes on showing too much."""
    waits: list[int] = []
    for _ in range(3):
        lane.shop.connection.execute("UPDATE offer_dirty SET not_before_us = 0")
        if not lane.dirty():
            lane.connection.execute(
                "INSERT INTO offer_dirty SELECT merchant_id, account_id, listing_id, 1, 0, 0, 0, 0,"
                " true FROM offer_acknowledged"
            )
        if not waits:
            lane.shop.move({"A": -1}, "adjustment")
        lane.end(lane.claim()[0][0], REFUSED)
        waits.append(lane.unsettled()[0][2] - (NOW_US + 2 * SECOND))
    assert waits == [3 * SECOND, 12 * SECOND, 48 * SECOND]


def test_one_claim_judges_the_listings_of_many_lanes_each_by_its_own(shop: Shop) -> None:
    """The same SKU on three shelves: one waits for an answer, one rises without fresh orders."""
    for sku in ("A", "B"):
        shop.variant(sku, on_hand=10)
    lanes = [Lane(shop, shop.account(name)) for name in ("one", "two", "three")]
    for name in ("one", "two", "three"):
        shop.list_on(name, ["A", "B"])
    shop.move({"A": -1}, "adjustment")
    first = lanes[0].claim()
    assert [row[3] for row in first] == [shop.listings["one", "A"]]
    shop.move({"A": -1, "B": 1}, "adjustment")
    rows = shop.connection.execute(
        "SELECT o_account_id, o_listing_id, o_quantity FROM claim_offers("
        " array_fill(%s::int, '{3}'), %s::int[], '{9,9,9}', '{9,9,9}', '{1,1,1}',"
        " '{true,true,false}', '{false,false,false}', '{false,false,false}', '{2,2,2}', '{0,0,0}',"
        " '{1,1,1}', %s, %s, %s)",
        (
            shop.merchant_id,
            [lane.account_id for lane in lanes],
            NOW_US + SECOND,
            NOW_US + 20 * SECOND,
            SKEW_US,
        ),
    ).fetchall()
    one, two, three = (lane.account_id for lane in lanes)
    assert sorted(rows) == sorted(
        [
            (one, shop.listings["one", "B"], 11),  # A waits for the answer to the first request
            (two, shop.listings["two", "A"], 8),
            (two, shop.listings["two", "B"], 11),
            (three, shop.listings["three", "A"], 8),  # B may not rise there
        ]
    )
    assert [row[0] for row in lanes[0].dirty()] == [shop.listings["one", "A"]]
    assert lanes[1].dirty() == []
    assert [row[:3] for row in lanes[2].dirty()] == [(shop.listings["three", "B"], 1, 3)]


def test_what_ends_differently_from_its_ticket_does_so_in_all_its_fields(lane: Lane) -> None:
    shop = lane.shop
    shop.variant("B", on_hand=10)
    shop.list_on("shelf", ["B"])
    for sku in ("A", "B"):
        shop.connection.execute(
            "UPDATE variant SET sale_price_minor = 9000 WHERE merchant_id = %s AND sku = %s",
            (shop.merchant_id, sku),
        )
    shop.connection.execute(
        "SELECT refresh_desired_price(%s, array_agg(variant_id), %s) FROM variant"
        " WHERE merchant_id = %s",
        (shop.merchant_id, NOW_US, shop.merchant_id),
    )
    shop.move({"A": -1, "B": -1}, "adjustment")
    rows = lane.claim()
    assert len({row[0] for row in rows}) == 1
    refused = shop.listings["shelf", "B"]
    assert lane.end(rows[0][0], items={refused: REFUSED}) == (rows[0][0], 2, 2, 0, 0)
    assert lane.acknowledged("A", "shelf")[::2] == (9, 9_000)
    assert lane.acknowledged("B", "shelf")[::2] == (10, 10_000)


@pytest.mark.slow
def test_a_claim_reads_what_it_claims_and_not_the_catalog(shop: Shop) -> None:
    """Statistics are from before the catalog came: no plan may rest on how small all was then."""
    connection = shop.connection
    shop.variant("A", on_hand=10)
    shop.account("shelf")
    shop.list_on("shelf", ["A"])
    connection.execute("ANALYZE")
    lane = Lane(shop, shop.account("large"))
    skus = [f"S{number}" for number in range(400)]
    for sku in skus:
        shop.variant(sku)
    shop.move(dict.fromkeys(skus, 10))
    shop.list_on("large", skus)
    shop.move({f"S{number}": -1 for number in range(0, 400, 100)}, "adjustment")

    def fetched() -> dict[str, int]:
        rows = connection.execute(
            "SELECT relname, (idx_tup_fetch + seq_tup_read)::integer"
            " FROM pg_stat_xact_user_tables WHERE idx_scan > 0"
        )
        return {str(name): int(str(count)) for name, count in rows}

    with connection.transaction():
        before = fetched()
        rows = lane.claim()
        assert len(rows) == 4
        assert lane.end(rows[0][0]) == (rows[0][0], 4, 0, 0, 0)
        read = {name: count - before.get(name, 0) for name, count in fetched().items()}
        assert {name: n for name, n in read.items() if n > 50} == {}


def test_a_process_that_overslept_its_takeover_claims_nothing(shop: Shop) -> None:
    """What it took could neither be sent nor be seen by its successor."""
    shop.variant("A", on_hand=10)
    old = Lane(shop, shop.account("one"), epoch=1)
    shop.list_on("one", ["A"])
    shop.move({"A": -1}, "adjustment")
    shop.connection.execute(
        "INSERT INTO ownership (merchant_id, account_id, epoch) VALUES (%s, %s, 2)"
        " ON CONFLICT (merchant_id, account_id) DO UPDATE SET epoch = 2",
        (shop.merchant_id, old.account_id),
    )
    assert old.claim() == []
    assert len(Lane(shop, old.account_id, epoch=2).claim()) > 0


def test_adopting_what_an_earlier_lease_left_spares_what_this_one_has_sent(shop: Shop) -> None:
    for sku in ("A", "B"):
        shop.variant(sku, on_hand=10)
    old = Lane(shop, shop.account("one"), epoch=1)
    shop.list_on("one", ["A", "B"])
    shop.move({"A": -1}, "adjustment")
    (left,) = {row[0] for row in old.claim()}
    shop.move({"B": -1}, "adjustment")
    (ours,) = {row[0] for row in Lane(shop, old.account_id, epoch=2).claim()}
    shop.connection.execute(
        "SELECT * FROM adopt_account(%s, %s, 2, %s, %s, %s, 0)",
        (shop.merchant_id, old.account_id, NOW_US, NOW_US, NOW_US),
    )
    rows = shop.connection.execute("SELECT ticket_id, (state, epoch, outcome)::text FROM ticket")
    assert {ticket: str(state) for ticket, state in rows} == {
        left: "(3,2,unknown)",
        ours: '(1,2,"")',
    }
