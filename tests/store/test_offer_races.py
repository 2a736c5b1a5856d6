"""Races around the offer tables that an adversary would try: looks, raises, own sales, locks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from meschain.testing.shop import NOW_US, Shop

Connection = psycopg.Connection[tuple[Any, ...]]
SECOND = 1_000_000
SKEW_US = 2 * SECOND
DONE, REFUSED, UNKNOWN, AGAIN, ARRIVED = range(5)
T = NOW_US + 100 * SECOND  # well after the shelves were told


@dataclass
class Lane:
    """One account's offer lane, driven by hand through the functions themselves."""

    shop: Shop
    account_id: int
    epoch: int = 1

    @property
    def connection(self) -> Connection:
        return self.shop.connection

    def claim(self, *, now_us: int = T, up: bool = True) -> list[tuple[int, int | None]]:
        """(ticket, quantity) of every claimed listing."""
        rows = self.connection.execute(
            "SELECT o_ticket_id, o_quantity FROM claim_offers(%s::int[], %s::int[], '{100}',"
            " '{100}', '{100}', %s::boolean[], '{false}', '{false}', '{2}', '{0}', %s::bigint[],"
            " %s, %s, %s)",
            (
                [self.shop.merchant_id],
                [self.account_id],
                [up],
                [self.epoch],
                now_us,
                now_us + 20 * SECOND,
                SKEW_US,
            ),
        ).fetchall()
        return [(int(ticket), quantity) for ticket, quantity in rows]

    def accept(self, ticket: int, *, at_us: int = T) -> None:
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
        sent_us: int = T,
        now_us: int = T + SECOND,
        connection: Connection | None = None,
    ) -> None:
        (connection or self.connection).execute(
            "SELECT * FROM end_tickets(%s::int[], %s::bigint[], %s::bigint[], %s::smallint[],"
            " '{\"\"}', '{\"\"}', '{\"\"}', '{0}', %s::bigint[], %s::bigint[], %s::bigint[],"
            " %s::bigint[], %s::bigint[], '{}', '{}', '{}', '{}', '{}', '{}', '{}', %s, %s)",
            (
                [self.shop.merchant_id],
                [ticket],
                [self.epoch],
                [verdict],
                [now_us + 3 * SECOND],
                [now_us + 60 * SECOND],
                [sent_us],
                [sent_us],
                [sent_us],
                now_us,
                SKEW_US,
            ),
        )

    def look(self, sku: str, quantity: int, *, began_us: int, now_us: int) -> None:
        self.connection.execute(
            "SELECT settle_observed(%s, %s, %s::bigint[], '{1}', %s::int[], '{NULL}', '{NULL}',"
            " %s, %s)",
            (
                self.shop.merchant_id,
                self.account_id,
                [self.listing(sku)],
                [quantity],
                began_us,
                now_us,
            ),
        )

    def listing(self, sku: str) -> int:
        name = next(n for n, number in self.shop.accounts.items() if number == self.account_id)
        return self.shop.listings[name, sku]

    def acknowledged(self, sku: str) -> int | None:
        row = self.connection.execute(
            "SELECT quantity FROM offer_acknowledged WHERE listing_id = %s", (self.listing(sku),)
        ).fetchone()
        assert row is not None
        quantity: int | None = row[0]
        return quantity

    def dirty(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT urgency, reassert FROM offer_dirty WHERE account_id = %s AND field = 1",
            (self.account_id,),
        ).fetchall()

    def own_sale(self, sku: str, units: int, *, placed_us: int) -> None:
        """The channel sold: its own shelf is lower, and the stock with it."""
        order = self.connection.execute("SELECT count(*) + 1 FROM offer_shelf_sale").fetchone()
        assert order is not None
        self.connection.execute(
            "INSERT INTO offer_shelf_sale VALUES (%s, %s, %s, %s, %s, %s)",
            (self.shop.merchant_id, self.account_id, self.listing(sku), order[0], placed_us, units),
        )
        self.shop.move({sku: -units}, "adjustment")


@pytest.fixture
def lane(shop: Shop) -> Lane:
    """SKU A with 10 units, acknowledged on ``east``, which lowers its own shelf."""
    shop.variant("A", on_hand=10)
    account_id = shop.account("east", lowers_own_shelf=True)
    shop.list_on("east", ["A"])
    return Lane(shop, account_id)


# — a look that was overtaken —


def test_a_look_that_began_before_a_push_ended_judges_nothing(lane: Lane) -> None:
    """Or else it takes the shelf of before for the shelf of now, and drops the last change.

    The shelf is unsettled and looked at: it shows 9. Meanwhile 10 is pushed and stands. Meanwhile a
    sale makes 9 the wanted quantity again. "Equal", says the look; but the shelf shows 10.
    """
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], UNKNOWN)
    lane.connection.execute("DELETE FROM offer_dirty")
    began_us = T + 10 * SECOND  # due since T + 4; the shelf shows 9
    lane.shop.move({"A": 1})
    ((ticket, quantity),) = lane.claim(now_us=T + 11 * SECOND)
    assert quantity == 10
    lane.end(ticket, sent_us=T + 11 * SECOND, now_us=T + 12 * SECOND)
    lane.shop.move({"A": -1}, "adjustment")
    lane.look("A", 9, began_us=began_us, now_us=T + 13 * SECOND)
    assert [quantity for _, quantity in lane.claim(now_us=T + 14 * SECOND)] == [9]


def test_a_look_that_began_afterwards_is_believed(lane: Lane) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], UNKNOWN)
    lane.look("A", 9, began_us=T + 10 * SECOND, now_us=T + 11 * SECOND)
    assert lane.acknowledged("A") == 9
    assert lane.claim(now_us=T + 12 * SECOND) == []


def test_what_a_look_shows_too_much_of_is_lowered_even_when_orders_are_not_fresh(
    lane: Lane,
) -> None:
    """Lowering is always allowed, also by telling a shelf again what it was told before."""
    lane.connection.execute(
        "INSERT INTO offer_unsettled VALUES (%s, %s, %s, 1, 0, 0, %s, 2)",
        (lane.shop.merchant_id, lane.account_id, lane.listing("A"), T + 9 * SECOND),
    )
    lane.look("A", 14, began_us=T + 10 * SECOND, now_us=T + 11 * SECOND)
    assert [q for _, q in lane.claim(now_us=T + 12 * SECOND, up=False)] == [10]


def test_a_quantity_that_is_told_again_takes_its_price_along(lane: Lane) -> None:
    """A marketplace that refuses the very body it has had accepts another one."""
    lane.shop.move({"A": -1}, "adjustment")
    ((ticket, _),) = lane.claim()
    sent = "SELECT field, quantity, sale_minor FROM offer_inflight WHERE listing_id = %s ORDER BY 1"
    assert lane.connection.execute(sent, [lane.listing("A")]).fetchall() == [(1, 9, None)]
    lane.end(ticket, ARRIVED)
    lane.claim()
    rows = lane.connection.execute(sent, [lane.listing("A")]).fetchall()
    assert rows == [(1, 9, None), (2, None, 10_000)]


def test_its_company_is_prices_that_stand_there(lane: Lane) -> None:
    """Another each time, by chance; never one that was refused."""
    for sku in ("B", "C"):
        lane.shop.variant(sku, on_hand=10)
    lane.shop.list_on("east", ["B", "C"])
    lane.connection.execute(
        "INSERT INTO offer_refusal (merchant_id, account_id, listing_id, field, revision, code,"
        " words, advice, refused_us) VALUES (%s, %s, %s, 2, 1, 'X', '', '', 1)",
        (lane.shop.merchant_id, lane.account_id, lane.listing("B")),
    )
    beside: set[int] = set()
    for _ in range(20):
        lane.shop.move({"A": -1}, "adjustment")
        ((ticket, _),) = lane.claim()
        lane.end(ticket, ARRIVED)
        told = lane.claim()
        rows = lane.connection.execute(
            "SELECT listing_id, field FROM offer_inflight WHERE listing_id <> %s",
            [lane.listing("A")],
        ).fetchall()
        assert {field for _, field in rows} <= {2}
        beside |= {listing for listing, _ in rows}
        lane.end(told[0][0], DONE)
        lane.shop.move({"A": 1}, "adjustment")
        ((ticket, _),) = lane.claim()
        lane.end(ticket, DONE)
    assert beside == {lane.listing("C")}


def test_a_shelf_that_will_not_be_told_is_told_ever_more_slowly(lane: Lane) -> None:
    """The push is refused as a repetition, the look shows another quantity, again and again."""
    lane.shop.move({"A": -1}, "adjustment")
    now_us, told = T, 0
    for _ in range(600):  # an hour
        for ticket, _ in lane.claim(now_us=now_us):
            lane.end(ticket, ARRIVED, sent_us=now_us, now_us=now_us)
            told += 1
        due = lane.connection.execute(
            "SELECT 1 FROM offer_unsettled WHERE field = 1 AND recheck_us <= %s", (now_us,)
        ).fetchone()
        if due:
            lane.connection.execute("UPDATE offer_unsettled SET final_us = %s", (2**60,))
            lane.look("A", 7, began_us=now_us, now_us=now_us)
        now_us += 6 * SECOND
    assert 4 <= told <= 20


def unsettled_for_an_hour(lane: Lane) -> None:
    """An old doubt, whose next look is far away."""
    lane.connection.execute(
        "INSERT INTO offer_unsettled VALUES (%s, %s, %s, 1, %s, %s, %s, 2)",
        (
            lane.shop.merchant_id,
            lane.account_id,
            lane.listing("A"),
            T + 3_600 * SECOND,
            T + 7_200 * SECOND,
            T - SECOND,
        ),
    )


def test_what_an_old_doubt_turns_out_to_show_too_much_of_is_lowered_at_once(lane: Lane) -> None:
    """Only a repetition that was refused is told again later; a first telling never waits."""
    unsettled_for_an_hour(lane)
    lane.connection.execute(
        "UPDATE offer_unsettled SET recheck_us = 0, since_us = %s", (T - 3_600 * SECOND,)
    )
    lane.look("A", 12, began_us=T, now_us=T)
    rows = lane.connection.execute(
        "SELECT reassert, urgency, not_before_us FROM offer_dirty WHERE field = 1"
    ).fetchall()
    assert rows == [(True, 0, 0)]
    assert lane.claim(up=False)


def next_look_us(lane: Lane) -> int:
    row = lane.connection.execute("SELECT recheck_us FROM offer_unsettled").fetchone()
    assert row is not None
    return int(row[0])


def test_overlapping_tickets_are_looked_after_also_where_an_older_doubt_stands(lane: Lane) -> None:
    """The two may apply in the wrong order: a unit too many is shown until it is looked at."""
    unsettled_for_an_hour(lane)
    lane.shop.move({"A": -1}, "adjustment")
    ((first, _),) = lane.claim()
    lane.accept(first)
    lane.shop.move({"A": -1}, "adjustment")
    ((second, _),) = lane.claim()
    lane.accept(second)
    lane.end(second, now_us=T + 2 * SECOND)
    assert next_look_us(lane) == 2**63 - 1
    lane.end(first, now_us=T + 3 * SECOND)
    assert next_look_us(lane) == T + 3 * SECOND


def test_a_sale_that_fell_into_a_push_is_looked_after_also_where_an_older_doubt_stands(
    lane: Lane,
) -> None:
    unsettled_for_an_hour(lane)
    lane.shop.move({"A": -1}, "adjustment")
    ((ticket, _),) = lane.claim()
    lane.own_sale("A", 1, placed_us=T)
    lane.end(ticket, sent_us=T, now_us=T + SECOND)
    assert next_look_us(lane) <= T + SECOND + SKEW_US


# — what is on its way counts as standing there —


def test_lowering_what_is_on_its_way_up_is_lowering(lane: Lane) -> None:
    """5 more are on their way; 3 are sold: 12 is less than the 15 that will stand there."""
    lane.shop.move({"A": 5})
    ((ticket, quantity),) = lane.claim()
    assert quantity == 15
    lane.accept(ticket)
    lane.shop.move({"A": -3}, "adjustment")
    assert lane.dirty() == [(0, False)]
    assert [q for _, q in lane.claim(up=False)] == [12]


def test_a_quantity_is_not_raised_beyond_what_stands_there_without_fresh_orders(
    lane: Lane,
) -> None:
    lane.shop.move({"A": 5})
    assert lane.claim(up=False) == []
    assert lane.dirty() == [(3, False)]
    assert [q for _, q in lane.claim(up=True)] == [15]


def test_the_same_quantity_is_not_told_again_without_fresh_orders(lane: Lane) -> None:
    """It may put back a unit whose sale nobody has told us."""
    lane.shop.move({"A": -1}, "adjustment")
    lane.shop.move({"A": 1})
    assert lane.claim(up=False) == []
    assert [q for _, q in lane.claim(up=True)] == [10]


# — the channel's own sales —


def test_the_channels_own_sale_needs_no_push(lane: Lane) -> None:
    lane.own_sale("A", 2, placed_us=T)
    assert lane.claim(now_us=T + SECOND) == []
    assert lane.acknowledged("A") == 8
    lane.own_sale("A", 1, placed_us=T + 2 * SECOND)
    assert lane.claim(now_us=T + 3 * SECOND) == []
    assert lane.acknowledged("A") == 7


def test_an_own_sale_beside_one_elsewhere_is_pushed(lane: Lane) -> None:
    lane.own_sale("A", 2, placed_us=T)
    lane.shop.move({"A": -1}, "adjustment")
    assert [q for _, q in lane.claim()] == [7]


@pytest.mark.parametrize(
    ("placed_us", "is_pushed"),
    [
        (T - 10 * SECOND, True),  # before the push: the push has put the unit back
        (T, True),  # while it was on its way: nobody can say
        (T + 2 * SECOND, True),  # within the doubt about clocks
        (T + 5 * SECOND, False),  # clearly afterwards: the shelf is lower by itself
    ],
)
def test_an_own_sale_is_judged_by_when_it_was_placed(
    lane: Lane, placed_us: int, *, is_pushed: bool
) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    lane.end(lane.claim()[0][0], sent_us=T, now_us=T + SECOND)
    lane.own_sale("A", 1, placed_us=placed_us)
    pushed = [q for _, q in lane.claim(now_us=T + 8 * SECOND)]
    assert pushed == ([8] if is_pushed else [])
    assert lane.acknowledged("A") == (9 if is_pushed else 8)


def test_an_own_sale_known_while_a_push_was_on_its_way_is_looked_at_afterwards(
    lane: Lane,
) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    ((ticket, _),) = lane.claim()
    lane.own_sale("A", 1, placed_us=T)
    lane.end(ticket, sent_us=T, now_us=T + SECOND)
    assert lane.connection.execute("SELECT reason FROM offer_unsettled").fetchall() == [(4,)]


def test_a_look_ends_the_doubt_about_own_sales_so_that_sweeps_judge_the_listing_again(
    lane: Lane,
) -> None:
    lane.shop.move({"A": -1}, "adjustment")
    ((ticket, _),) = lane.claim()
    lane.own_sale("A", 1, placed_us=T)
    lane.end(ticket, sent_us=T, now_us=T + SECOND)
    ((ticket, _),) = lane.claim(now_us=T + 2 * SECOND)
    lane.end(ticket, sent_us=T + SECOND, now_us=T + 2 * SECOND)
    assert lane.connection.execute("SELECT units FROM offer_shelf_sale").fetchall() == [(1,)]
    lane.look("A", 8, began_us=T + 9 * SECOND, now_us=T + 9 * SECOND)
    assert lane.connection.execute("SELECT units FROM offer_shelf_sale").fetchall() == []
    assert lane.connection.execute("SELECT * FROM offer_unsettled").fetchall() == []


def test_a_shelf_that_nobody_is_sure_of_is_not_believed_to_have_lowered_itself(
    lane: Lane,
) -> None:
    """15 was pushed and nobody knows whether it arrived; 10 less an own sale would fit, by luck."""
    lane.shop.move({"A": 5})
    lane.end(lane.claim()[0][0], UNKNOWN)
    lane.shop.move({"A": -5}, "adjustment")
    lane.own_sale("A", 1, placed_us=T + 20 * SECOND)
    assert [q for _, q in lane.claim(now_us=T + 30 * SECOND)] == [9]


# — the race of the merchant's report, counted —


def test_an_absolute_push_over_an_unseen_sale_puts_the_unit_back_until_the_sale_is_known(
    lane: Lane,
) -> None:
    """The shelf as the channel keeps it, beside the hub: what one lost second can cost."""
    shelf = 10
    lane.shop.move({"A": -4}, "adjustment")  # sold elsewhere
    ((ticket, quantity),) = lane.claim()
    shelf -= 1  # the channel sells; the hub does not know
    assert quantity is not None
    shelf = quantity  # the push arrives and puts the sold unit back
    lane.end(ticket, sent_us=T, now_us=T + SECOND)
    put_back = shelf - 5
    assert put_back == 1
    lane.own_sale("A", 1, placed_us=T - SECOND)  # now the hub learns of it
    ((ticket, quantity),) = lane.claim(now_us=T + 5 * SECOND)
    assert quantity == 5
    lane.end(ticket, sent_us=T + 5 * SECOND, now_us=T + 6 * SECOND)
    assert lane.acknowledged("A") == 5


# — locks —


def test_an_ending_ticket_and_a_sale_take_dirty_rows_in_one_order(
    lane: Lane, database_url: str
) -> None:
    """Or else they wait for each other: one account's listing is older, the other account's id."""
    shop = lane.shop
    shop.variant("B", on_hand=10)
    shop.account("first")  # will have the smaller number of the two below …
    shop.account("second")
    shop.list_on("second", ["B"])  # … and the younger listing
    shop.list_on("first", ["B"])
    shop.move({"B": -1}, "adjustment")
    lanes = [Lane(shop, shop.accounts[name]) for name in ("first", "second")]
    tickets = [one.claim()[0][0] for one in lanes]
    older, younger = shop.listings["second", "B"], shop.listings["first", "B"]
    mark = (
        "INSERT INTO offer_dirty (merchant_id, account_id, listing_id, field, urgency, rank,"
        " since_us) VALUES (%s, %s, %s, 1, 0, 0, 0)"
        " ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE SET rank = 1"
    )

    def end_both(connection: Connection) -> None:
        ends = "ARRAY[%s, %s]"
        connection.execute(
            f"SELECT * FROM end_tickets({ends}, {ends}::bigint[], '{{1,1}}', '{{3,3}}',"  # noqa: S608
            " '{\"\",\"\"}', '{\"\",\"\"}', '{\"\",\"\"}', '{0,0}', '{0,0}', '{0,0}', '{0,0}',"
            " '{0,0}', '{0,0}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', 0, 0)",
            (shop.merchant_id, shop.merchant_id, *tickets),
        )

    with psycopg.connect(database_url) as sale:
        sale.execute(mark, (shop.merchant_id, lanes[1].account_id, older))
        failed: list[BaseException] = []
        ending = _in_thread(database_url, end_both, failed)
        _until_blocked(lane.connection)
        sale.execute("SET lock_timeout = '2s'")
        sale.execute(mark, (shop.merchant_id, lanes[0].account_id, younger))
        sale.commit()
        ending.join(timeout=10)
    assert failed == []
    assert [len(one.dirty()) for one in lanes] == [1, 1]


def _in_thread(
    database_url: str, work: Callable[[Connection], None], failed: list[BaseException]
) -> threading.Thread:
    def run() -> None:
        try:
            with psycopg.connect(database_url) as connection:
                work(connection)
        except psycopg.Error as failure:
            failed.append(failure)

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
