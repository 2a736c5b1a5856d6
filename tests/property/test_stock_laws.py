"""Laws of stock that hold for every history: the ledger, what is published, and the shelves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meschain.domain.stock import (
    QuantityPolicy,
    StockLevel,
    bundle_available,
    published_quantity,
)
from meschain.testing.database import DatabaseServer
from meschain.testing.shop import NOW, NOW_US, Shop

Connection = psycopg.Connection[tuple[Any, ...]]
SECOND = 1_000_000
SKEW_US = 2 * SECOND
CONTENTS = {"A": {"A": 1}, "B": {"B": 1}, "SET": {"A": 2, "B": 1}}

settings.register_profile(
    "laws",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LAWS = settings.get_profile("laws")


@pytest.fixture(scope="module")
def connection(database_server: DatabaseServer) -> Iterator[Connection]:
    """One database for all examples; each example is rolled back."""
    with database_server.database() as url, psycopg.connect(url, autocommit=True) as opened:
        opened.execute("SET timezone = 'UTC'")
        yield opened


# — what is published —


POLICIES = st.builds(
    QuantityPolicy,
    share_bps=st.integers(0, 10_000),
    buffer_units=st.integers(0, 1_000),
    quantity_max=st.none() | st.integers(0, 1_000_000),
)


@LAWS
@given(st.lists(st.tuples(st.integers(0, 2_000_000), POLICIES), min_size=1, max_size=50))
def test_the_database_publishes_exactly_what_the_domain_says(
    connection: Connection, cases: list[tuple[int, QuantityPolicy]]
) -> None:
    rows = connection.execute(
        "SELECT published_quantity(a, s, b, m) FROM unnest(%s::bigint[], %s::int[], %s::int[],"
        " %s::int[]) WITH ORDINALITY AS x (a, s, b, m, n) ORDER BY n",
        (
            [available for available, _ in cases],
            [policy.share_bps for _, policy in cases],
            [policy.buffer_units for _, policy in cases],
            [policy.quantity_max for _, policy in cases],
        ),
    ).fetchall()
    assert [row[0] for row in rows] == [published_quantity(*case) for case in cases]


@given(st.integers(0, 10**6), POLICIES)
def test_never_more_is_published_than_there_is(available: int, policy: QuantityPolicy) -> None:
    assert 0 <= published_quantity(available, policy) <= available


# — the ledger —


STATES = ("created", "picking", "shipped", "delivered", "cancelled", "unsupplied", "returned")
STEPS = st.one_of(
    st.tuples(st.just("move"), st.sampled_from("AB"), st.integers(-5, 9)),
    st.tuples(
        st.just("order"),
        st.integers(1, 4),
        st.lists(
            st.tuples(st.sampled_from(sorted(CONTENTS)), st.integers(1, 3)), min_size=1, max_size=3
        ),
        st.sampled_from(STATES),
    ),
)


@LAWS
@given(st.lists(STEPS, max_size=14), POLICIES)
def test_after_any_history_the_levels_are_their_sums_and_the_shelves_follow_them(
    connection: Connection, history: list[tuple[Any, ...]], policy: QuantityPolicy
) -> None:
    with connection.transaction(force_rollback=True):
        shop = Shop.open(connection, "Kaya")
        shop.variant("A", on_hand=6)
        shop.variant("B", on_hand=4)
        shop.bundle("SET", CONTENTS["SET"])
        account = shop.account("east")
        connection.execute(
            "UPDATE account SET share_bps = %s, buffer_units = %s, quantity_max = %s"
            " WHERE account_id = %s",
            (policy.share_bps, policy.buffer_units, policy.quantity_max, account),
        )
        shop.list_on("east", sorted(CONTENTS))
        for minute, step in enumerate(history):
            if step[0] == "move":
                shop.move({step[1]: step[2]}, "adjustment")
            else:
                _take(shop, account, minute, *step[1:])
        levels = _levels(shop)
        _check_ledger(shop, levels)
        for sku, contents in CONTENTS.items():
            available = bundle_available(
                [(levels[part].available, units) for part, units in contents.items()]
            )
            assert _desired(shop, sku) == published_quantity(available, policy), sku


def _take(
    shop: Shop, account: int, minute: int, number: int, basket: list[tuple[str, int]], state: str
) -> None:
    """What a channel may say: also steps that are not legal, older ones, other contents."""
    units = Counter[str]()
    for sku, count in basket:
        units[sku] += count
    package: dict[str, object] = {
        "external_id": f"P{number}",
        "state": state,
        "state_raw": state,
        "modified_at": (NOW + timedelta(minutes=minute)).isoformat(),
        "origin_ids": [],
        "lines": [
            {
                "line_id": sku,
                "item_key": sku,
                "sku": sku,
                "barcode": "",
                "title": sku,
                "units": count,
                "unit_gross": "1",
                "unit_seller_discount": "0",
                "unit_marketplace_discount": "0",
                "payable": str(count),
                "vat_percent": None,
                "commission_percent": None,
                "state_raw": "",
                "extra": {},
            }
            for sku, count in sorted(units.items())
        ],
    }
    plain = ("carrier", "cargo_code", "tracking_number", "tracking_url")
    package |= dict.fromkeys(plain, "")
    package |= dict.fromkeys(("desi", "cargo_payer", "stated_total", "ship_by"))
    order: dict[str, object] = {
        "external_id": str(number),
        "placed_at": NOW.isoformat(),
        "currency": "TRY",
        "micro_export": False,
        "is_company": False,
        "unknown_fields": {},
        "actor": "test",
        "minor_factor": 100,
        "packages": [package],
    }
    order |= dict.fromkeys(("payment_method", "city", "country_code", "detected_by"), "")
    shop.connection.execute(
        "SELECT take_order(%s, %s, %s::jsonb, '', '', 1, %s, %s)",
        (shop.merchant_id, account, json.dumps(order), NOW, NOW_US),
    )


def _levels(shop: Shop) -> dict[str, StockLevel]:
    names = {number: sku for sku, number in shop.variants.items()}
    connection: Connection = shop.connection
    rows = connection.execute(
        "SELECT variant_id, sum(on_hand), sum(reserved), sum(safety_stock) FROM stock_level"
        " WHERE merchant_id = %s GROUP BY variant_id",
        (shop.merchant_id,),
    ).fetchall()
    levels = dict.fromkeys(names.values(), StockLevel(0, 0, 0))
    return levels | {names[variant]: StockLevel(*map(int, sums)) for variant, *sums in rows}


def _check_ledger(shop: Shop, levels: dict[str, StockLevel]) -> None:
    for sku, number in shop.variants.items():
        ((on_hand, reserved),) = shop.connection.execute(
            "SELECT coalesce(sum(on_hand_delta), 0), coalesce(sum(reserved_delta), 0)"
            " FROM stock_movement WHERE merchant_id = %s AND variant_id = %s",
            (shop.merchant_id, number),
        ).fetchall()
        ((promised, sold),) = shop.connection.execute(
            "SELECT coalesce(sum(units_reserved), 0), coalesce(sum(units_sold), 0)"
            " FROM reservation WHERE merchant_id = %s AND variant_id = %s",
            (shop.merchant_id, number),
        ).fetchall()
        ((booked,),) = shop.connection.execute(
            "SELECT coalesce(sum(-on_hand_delta), 0) FROM stock_movement"
            " WHERE merchant_id = %s AND variant_id = %s AND kind = 'sale'",
            (shop.merchant_id, number),
        ).fetchall()
        assert (levels[sku].on_hand, levels[sku].reserved) == (on_hand, reserved), sku
        assert reserved == promised, sku
        assert booked == sold, sku


def _desired(shop: Shop, sku: str) -> int:
    row = shop.connection.execute(
        "SELECT quantity FROM offer_desired_quantity WHERE listing_id = %s",
        (shop.listings["east", sku],),
    ).fetchone()
    assert row is not None
    quantity = row[0]
    assert isinstance(quantity, int)
    return quantity


# — the shelf —


@dataclass
class Request:
    """A push as the channel sees it: it may be applied once, any time until it is over."""

    ticket: int
    quantity: int
    sent_us: int
    is_applied: bool = False
    is_answered: bool = False
    may_apply_until_us: int = 2**62


@dataclass
class Channel:
    """A channel that lowers its own shelf, applies pushes in any order, and loses answers."""

    shop: Shop
    account_id: int
    shelf: int
    now_us: int = NOW_US + 100 * SECOND
    requests: list[Request] = field(default_factory=list)
    unseen: list[tuple[int, int]] = field(default_factory=list)  # own sales: (placed, units)
    sales: int = 0

    @property
    def listing(self) -> int:
        return self.shop.listings["east", "A"]

    # — what may happen —

    def move(self, number: int) -> None:
        self.shop.move({"A": number % 9 - 4}, "adjustment")

    def sell(self, number: int) -> None:
        units = number % 3 + 1
        if self.shelf >= units:
            self.shelf -= units
            self.unseen.append((self.now_us, units))

    def detect(self, number: int) -> None:
        if self.unseen:
            placed_us, units = self.unseen.pop(number % len(self.unseen))
            self.sales += 1
            self.shop.connection.execute(
                "INSERT INTO offer_shelf_sale VALUES (%s, %s, %s, %s, %s, %s)",
                (
                    self.shop.merchant_id,
                    self.account_id,
                    self.listing,
                    self.sales,
                    placed_us,
                    units,
                ),
            )
            self.shop.move({"A": -units}, "adjustment")

    def claim(self, number: int) -> None:
        connection: Connection = self.shop.connection
        rows = connection.execute(
            "SELECT o_ticket_id, o_quantity FROM claim_offers(%s::int[], %s::int[], '{9}', '{9}',"
            " '{9}', %s::boolean[], '{false}', '{false}', '{2}', '{0}', '{1}', %s, %s, %s)",
            (
                [self.shop.merchant_id],
                [self.account_id],
                [number % 4 != 0],
                self.now_us,
                self.now_us + 20 * SECOND,
                SKEW_US,
            ),
        ).fetchall()
        for ticket, quantity in rows:
            if quantity is not None:
                self.requests.append(Request(ticket, quantity, self.now_us))

    def apply(self, number: int) -> None:
        waiting = [r for r in self.requests if not r.is_applied]
        if waiting:
            request = waiting[number % len(waiting)]
            request.is_applied = True
            self.shelf = request.quantity

    def answer(self, number: int) -> None:
        """The channel accepts (a ticket), or its answer is lost."""
        waiting = [r for r in self.requests if not r.is_answered]
        if not waiting:
            return
        request = waiting[number % len(waiting)]
        request.is_answered = True
        if number % 5 == 0:
            request.may_apply_until_us = self.now_us + 30 * SECOND
            self._end(request, 2)
            return
        self.shop.connection.execute(
            "SELECT accept_tickets(%s::int[], %s::bigint[], '{1}', '{r}', %s::bigint[],"
            " %s::bigint[], %s::bigint[])",
            ([self.shop.merchant_id], [request.ticket], *([[request.sent_us]] * 3)),
        )

    def finish(self, number: int) -> None:
        """A ticket is polled to its end: done, once it is applied."""
        done = [
            r
            for r in self.requests
            if r.is_answered and r.is_applied and r.may_apply_until_us == 2**62
        ]
        if done:
            self._end(done[number % len(done)], 0)

    def look(self, number: int) -> None:
        due = self.shop.connection.execute(
            "SELECT 1 FROM offer_unsettled WHERE listing_id = %s AND field = 1"
            " AND recheck_us <= %s",
            (self.listing, self.now_us),
        ).fetchone()
        if due is None:
            return
        began_us, shown = self.now_us, self.shelf
        self.wait(number % 4)
        if number % 2:  # much may happen while a look is on its way
            self.apply(number)
            self.finish(number)
        self.shop.connection.execute(
            "SELECT settle_observed(%s, %s, %s::bigint[], '{1}', %s::int[], '{NULL}', '{NULL}',"
            " %s, %s)",
            (
                self.shop.merchant_id,
                self.account_id,
                [self.listing],
                [shown],
                began_us,
                self.now_us,
            ),
        )

    def wait(self, number: int) -> None:
        self.now_us += number % 7 * SECOND
        for request in list(self.requests):
            if request.may_apply_until_us < self.now_us:
                self.requests.remove(request)  # lost for good

    def _end(self, request: Request, verdict: int) -> None:
        if verdict == 0:
            self.requests.remove(request)
        self.shop.connection.execute(
            "SELECT * FROM end_tickets(%s::int[], %s::bigint[], '{1}', %s::smallint[],"
            " '{\"\"}', '{\"\"}', '{\"\"}', '{0}', %s::bigint[], %s::bigint[], %s::bigint[],"
            " %s::bigint[], %s::bigint[], '{}', '{}', '{}', '{}', '{}', '{}', '{}', %s, %s)",
            (
                [self.shop.merchant_id],
                [request.ticket],
                [verdict],
                [self.now_us + 3 * SECOND],
                [self.now_us + 35 * SECOND],
                *([[request.sent_us]] * 3),
                self.now_us,
                SKEW_US,
            ),
        )

    # — rest —

    def is_quiet(self) -> bool:
        row = self.shop.connection.execute(
            "SELECT (SELECT count(*) FROM offer_dirty WHERE field = 1 AND account_id = %(a)s)"
            " + (SELECT count(*) FROM offer_inflight WHERE account_id = %(a)s)"
            " + (SELECT count(*) FROM offer_unsettled WHERE account_id = %(a)s)",
            {"a": self.account_id},
        ).fetchone()
        return row is not None and row[0] == 0 and not self.requests and not self.unseen

    def come_to_rest(self) -> None:
        """Nothing new happens, everything under way ends."""
        for _ in range(80):
            if self.is_quiet():
                return
            while self.unseen:
                self.detect(0)
            self.wait(6)
            self.claim(1)
            for number in (1, 2, 3):
                self.answer(number)
                self.apply(number)
                self.finish(number)
            self.look(0)
        raise AssertionError("it never comes to rest")


HAPPENINGS = ("move", "sell", "detect", "claim", "apply", "answer", "finish", "look", "wait")


@pytest.mark.slow
@settings(LAWS, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 59)), max_size=40))
def test_whatever_happens_the_shelf_comes_to_show_what_we_want(
    connection: Connection, history: list[tuple[str, int]]
) -> None:
    """Own sales seen late, pushes applied late and out of order, answers lost, looks overtaken."""
    with connection.transaction(force_rollback=True):
        shop = Shop.open(connection, "Kaya")
        shop.variant("A", on_hand=20)
        account = shop.account("east", lowers_own_shelf=True)
        shop.list_on("east", ["A"])
        channel = Channel(shop, account, 20)
        for name, number in history:
            getattr(channel, name)(number)
        channel.come_to_rest()
        assert channel.shelf == _desired(shop, "A")
        row = connection.execute("SELECT quantity FROM offer_acknowledged").fetchone()
        assert row == (channel.shelf,)
