"""What repeats all day reads a bounded number of rows, even of tables never analyzed.

So they are right after a first import: the planner takes them for nearly empty, and a statement
that leaves it a choice may well read all of a table for each row that it wants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import psycopg
import pytest
from psycopg import sql

from meschain.store.sql import query
from meschain.testing.database import DatabaseServer
from meschain.testing.shop import NOW, NOW_US, Shop

# One worker fills the tables; two would each do it, which takes seconds.
pytestmark = pytest.mark.xdist_group("fresh tables")

SKUS: Final = 3_000
TICKETS: Final = 3_000
SECOND: Final = 1_000_000
LATER_US: Final = NOW_US + 10 * SECOND
ROWS_MAX: Final = 50  # read for each listing that a statement is about

Connection = psycopg.Connection[tuple[Any, ...]]

_VARIANTS: Final = """
WITH products AS (
    INSERT INTO product (merchant_id, model_code, created_at, updated_at)
    SELECT %(merchant)s, 'M' || n, %(now)s, %(now)s FROM generate_series(1, %(count)s) n
    RETURNING product_id, model_code
)
INSERT INTO variant (merchant_id, product_id, sku, barcode, currency, list_price_minor,
                     sale_price_minor, vat_percent, created_at, updated_at)
SELECT %(merchant)s, product_id, 'S' || substr(model_code, 2), 'B' || substr(model_code, 2), 'TRY',
       12000, 10000, 20, %(now)s, %(now)s
  FROM products ORDER BY product_id
"""
_BUNDLES: Final = """
WITH bundles AS (
    UPDATE variant SET is_bundle = true
     WHERE merchant_id = %(merchant)s AND variant_id %% 10 = 3
    RETURNING variant_id
)
INSERT INTO bundle_component
SELECT %(merchant)s, variant_id, variant_id - 1, 2 FROM bundles
"""
_STOCK: Final = """
SELECT move_stock(%(merchant)s, %(location)s, 'receipt', array_agg(variant_id),
                  array_agg(100), '', 'import', %(now)s, %(now_us)s)
  FROM variant WHERE merchant_id = %(merchant)s
"""
_LISTINGS: Final = """
WITH made AS (
    INSERT INTO listing (merchant_id, account_id, variant_id, state, created_at)
    SELECT %(merchant)s, %(account)s, variant_id, 'on_sale', %(now)s
      FROM variant WHERE merchant_id = %(merchant)s ORDER BY variant_id
    RETURNING listing_id, variant_id
), keyed AS (
    INSERT INTO listing_key (merchant_id, account_id, listing_id, push_key, barcode, stock_code)
    SELECT %(merchant)s, %(account)s, m.listing_id, v.barcode, v.barcode, v.sku
      FROM made m JOIN variant v ON v.merchant_id = %(merchant)s AND v.variant_id = m.variant_id
)
SELECT array_agg(listing_id ORDER BY variant_id) FROM made
"""
_ACKNOWLEDGED: Final = """
UPDATE offer_acknowledged k
   SET quantity = 100, quantity_revision = 2, list_minor = 12000, sale_minor = 10000,
       price_revision = 1, quantity_sent_us = %(now_us)s, quantity_done_us = %(now_us)s
 WHERE k.merchant_id = %(merchant)s AND k.account_id = %(account)s
"""
_ENDED_TICKETS: Final = """
INSERT INTO ticket (merchant_id, ticket_id, account_id, surface, epoch, state, listing_ids,
                    send_by_us, claimed_us, ended_us)
SELECT %(merchant)s, nextval('ticket_id_seq'), %(account)s,
       CASE WHEN n %% 2 = 0 THEN 'offer' ELSE 'content' END, 1, 3, '{}', 0, 0, 1
  FROM generate_series(1, %(count)s) n
"""


_EXCEPTION_PARTS: Final = (
    "tickets",
    "listings",
    "fields",
    "verdicts",
    "codes",
    "words",
    "advice",
)


@dataclass(frozen=True, slots=True)
class Store:
    """Two accounts that list all SKUs: ``east`` acknowledged and clean, ``west`` all dirty."""

    connection: Connection
    merchant_id: int
    location_id: int
    east: int
    west: int
    variants: list[int]
    listings: list[int]  # of east, in the order of the variants

    @contextmanager
    def role(self, name: str) -> Iterator[Connection]:
        """As ``app``, which sees this merchant only, or as ``engine``."""
        self.connection.execute(
            "SELECT set_config('meschain.merchant_id', %s, true)", (str(self.merchant_id),)
        )
        self.connection.execute(
            sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(f"meschain_{name}"))
        )
        yield self.connection
        self.connection.execute("RESET ROLE")

    def reads(self, role: str, act: Callable[[Connection], object]) -> Counter[str]:
        """Rows that were read of each table, by whatever way, while ``act`` ran."""
        before = self._read_so_far()
        with self.role(role) as connection:
            act(connection)
        after = self._read_so_far()
        after.subtract(before)
        return Counter({table: rows for table, rows in after.items() if rows})

    def _read_so_far(self) -> Counter[str]:
        return Counter(
            dict(
                self.connection.execute(
                    "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0)"
                    " FROM pg_stat_xact_user_tables"
                ).fetchall()
            )
        )

    def named(
        self, query_name: str, **params: object
    ) -> Callable[[Connection], list[tuple[Any, ...]]]:
        """The named query, for account east unless another is given."""
        key = {"merchant": self.merchant_id, "account": self.east, "now": NOW, "now_us": LATER_US}

        def act(connection: Connection) -> list[tuple[Any, ...]]:
            cursor = connection.execute(query(query_name), key | params, prepare=True)
            return cursor.fetchall() if cursor.description else []

        return act

    def sell(
        self, number: int, *variants: int, state: str = "created"
    ) -> Callable[[Connection], list[tuple[Any, ...]]]:
        """Take an order of east: one unit of each of these (places in ``variants``)."""
        lines = [
            {"line_id": f"{number}-{n}", "item_key": f"S{n}", "sku": f"S{n}", "barcode": f"B{n}"}
            | {"title": "Kazak", "units": 1, "unit_gross": "100", "payable": "100"}
            | {"unit_seller_discount": "0", "unit_marketplace_discount": "0", "state_raw": "new"}
            | {"vat_percent": "20", "commission_percent": "13", "extra": {}}
            for n in (variant + 1 for variant in variants)
        ]
        package: dict[str, object] = {
            "external_id": f"P{number}",
            "state": state,
            "state_raw": state,
        }
        package |= {"modified_at": NOW.isoformat(), "carrier": "", "cargo_code": ""}
        package |= {"tracking_number": "", "tracking_url": "", "desi": None, "cargo_payer": None}
        order = {"external_id": f"O{number}", "placed_at": NOW.isoformat(), "currency": "TRY"}
        order |= {"payment_method": "", "city": "", "country_code": "TR", "detected_by": "poll"}
        return self.named(
            "order.take",
            order=msgspec.json.encode(
                order
                | {"micro_export": False, "is_company": False, "is_whole": False}
                | {"unknown_fields": {}, "actor": "account:east", "minor_factor": 100}
                | {
                    "packages": [
                        package
                        | {"origin_ids": [], "stated_total": None, "ship_by": None, "lines": lines}
                    ]
                }
            ).decode(),
            person=b"",
            raw=b"",
            key_number=1,
        )

    def claim(self) -> Callable[[Connection], list[tuple[Any, ...]]]:
        return self.named(
            "offer.claim",
            merchants=[self.merchant_id],
            accounts=[self.east],
            limits=[1_000],
            bulk=[1_000],
            batches=[100],
            up=[True],
            ordered=[False],
            joint=[False],
            first=[2],
            after=[0],
            epochs=[1],
            send_by_us=LATER_US + 20 * SECOND,
            skew_us=2 * SECOND,
        )

    def end(self, ticket: int) -> Callable[[Connection], list[tuple[Any, ...]]]:
        return self.named(
            "offer.end",
            merchants=[self.merchant_id],
            tickets=[ticket],
            epochs=[1],
            verdicts=[0],
            codes=[""],
            words=[""],
            advice=[""],
            not_before_us=[0],
            recheck_us=[0],
            final_us=[0],
            handed_us=[LATER_US],
            released_us=[LATER_US],
            answered_us=[LATER_US],
            skew_us=2 * SECOND,
            **{f"x_{part}": [] for part in _EXCEPTION_PARTS},
        )


@pytest.fixture(scope="module")
def url(database_server: DatabaseServer) -> Iterator[str]:
    """A database in which nothing has been analyzed, nor ever will be."""
    with database_server.database() as made, psycopg.connect(made, autocommit=True) as connection:
        for (table,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace ORDER BY relname"
        ).fetchall():
            connection.execute(
                sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = false)").format(
                    sql.Identifier(str(table))
                )
            )
        _fill(connection)
        yield made


def _fill(connection: Connection) -> None:
    shop = Shop.open(connection)
    key: dict[str, object] = {
        "merchant": shop.merchant_id,
        "location": shop.location_id,
        "now": NOW,
        "now_us": NOW_US,
    }
    connection.execute(_VARIANTS, key | {"count": SKUS})
    connection.execute(_BUNDLES, key)
    connection.execute(_STOCK, key)
    for name in ("east", "west"):
        account = shop.account(name, lowers_own_shelf=True)
        row = connection.execute(_LISTINGS, key | {"account": account}).fetchone()
        assert row is not None
        connection.execute("SELECT open_offers(%s, %s, %s)", (shop.merchant_id, row[0], NOW_US))
        connection.execute(_ENDED_TICKETS, key | {"account": account, "count": TICKETS})
        connection.execute(
            "INSERT INTO order_cursor VALUES (%s, %s, 0, 0)", (shop.merchant_id, account)
        )
        for lane in ("products", "stock", "orders", "prices"):
            connection.execute(
                "INSERT INTO lane (merchant_id, account_id, name, interval_s, batch_size,"
                " importance) VALUES (%s, %s, %s, 60, 100, 'high')",
                (shop.merchant_id, account, lane),
            )
    east = key | {"account": shop.accounts["east"]}
    connection.execute(_ACKNOWLEDGED, east)
    connection.execute(
        "DELETE FROM offer_dirty WHERE merchant_id = %(merchant)s AND account_id = %(account)s",
        east,
    )


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
def store(url: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A session of its own, so that every plan is made now; what it changes is rolled back."""
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute(
            sql.SQL("SET plan_cache_mode = {}").format(sql.Identifier(request.param))
        )
        analyzed = connection.execute(
            "SELECT relname FROM pg_class WHERE relname IN ('variant', 'listing', 'listing_key',"
            " 'offer_desired_quantity', 'offer_dirty', 'ticket') AND reltuples >= 0"
        ).fetchall()
        assert analyzed == [], "the planner must know nothing of these"
        (merchant, location), *_ = connection.execute(
            "SELECT merchant_id, location_id FROM location"
        ).fetchall()
        (east,), (west,) = connection.execute(
            "SELECT account_id FROM account ORDER BY name"
        ).fetchall()
        variants, listings = zip(
            *connection.execute(
                "SELECT variant_id, listing_id FROM listing WHERE account_id = %s"
                " ORDER BY variant_id",
                (east,),
            ).fetchall(),
            strict=True,
        )
        yield Store(connection, merchant, location, east, west, list(variants), list(listings))
        connection.rollback()


def assert_bounded(reads: Counter[str], rows_max: int) -> None:
    assert sum(reads.values()) <= rows_max, dict(reads.most_common())


# — what changes what channels should show —


def test_taking_an_order(store: Store) -> None:
    """Three SKUs on two accounts: six listings."""
    assert_bounded(store.reads("app", store.sell(1, 7, 1_500, 2_900)), 6 * ROWS_MAX)


def test_taking_an_order_whose_goods_the_channel_shows_as_before(store: Store) -> None:
    """Cancelled when first seen, so that the shelf must be told again: this once read all of it."""
    sold = store.sell(1, 7, 1_500, 2_900, state="cancelled")
    assert_bounded(store.reads("app", sold), 6 * ROWS_MAX)
    told = store.connection.execute(
        "SELECT count(*) FROM offer_dirty WHERE account_id = %s AND reassert", (store.east,)
    ).fetchall()
    assert told == [(3,)]


def test_the_observations_that_follow_an_order(store: Store) -> None:
    with store.role("app") as connection:
        ((order, *_),) = store.sell(1, 7, 1_500, 2_900)(connection)
    settle = store.named("order.settle", order=order, actor="test")
    for act in (store.sell(1, 7, 1_500, 2_900), settle):
        assert_bounded(store.reads("app", act), 6 * ROWS_MAX)


def test_moving_stock(store: Store) -> None:
    def move(connection: Connection) -> None:
        connection.execute(
            "SELECT move_stock(%s, %s, 'receipt', %s::bigint[], '{3,4}', '', 'test', %s, %s)",
            (store.merchant_id, store.location_id, store.variants[10:12], NOW, LATER_US),
        )

    assert_bounded(store.reads("app", move), 4 * ROWS_MAX)


def test_changing_one_price(store: Store) -> None:
    def change(connection: Connection) -> None:
        connection.execute(
            "UPDATE variant SET sale_price_minor = 11000"
            " WHERE merchant_id = %s AND variant_id = %s",
            (store.merchant_id, store.variants[10]),
        )
        row = connection.execute(
            "SELECT refresh_desired_price(%s, %s::bigint[], %s)",
            (store.merchant_id, [store.variants[10]], LATER_US),
        ).fetchone()
        assert row == ([store.east, store.west],)

    assert_bounded(store.reads("app", change), 2 * ROWS_MAX)


# — what lanes do all day —


def dirty_three(store: Store) -> None:
    """A sale of three SKUs after which east's shelf is known to be too high."""
    with store.role("app") as connection:
        store.sell(1, 7, 1_500, 2_900)(connection)
        connection.execute("UPDATE offer_acknowledged SET quantity = 200 WHERE quantity = 100")


def test_claiming_a_few_offers(store: Store) -> None:
    dirty_three(store)
    claimed: list[tuple[Any, ...]] = []
    reads = store.reads("engine", lambda c: claimed.extend(store.claim()(c)))
    assert len(claimed) == 3
    assert_bounded(reads, 3 * ROWS_MAX)


def test_ending_a_ticket(store: Store) -> None:
    dirty_three(store)
    with store.role("engine") as connection:
        ticket = store.claim()(connection)[0][0]
    ended: list[tuple[Any, ...]] = []
    reads = store.reads("engine", lambda c: ended.extend(store.end(ticket)(c)))
    assert ended == [(ticket, 3, 0, 0, 0)]
    assert_bounded(reads, 3 * ROWS_MAX)


def test_accepting_a_ticket(store: Store) -> None:
    dirty_three(store)
    with store.role("engine") as connection:
        ticket = store.claim()(connection)[0][0]
    at_us = [LATER_US]
    accept = store.named(
        "offer.accept",
        merchants=[store.merchant_id],
        tickets=[ticket],
        epochs=[1],
        references=["r"],
        handed_us=at_us,
        released_us=at_us,
        accepted_us=at_us,
    )
    assert_bounded(store.reads("engine", accept), 3 * ROWS_MAX)


def test_asking_what_there_is_to_do(store: Store) -> None:
    both = {"merchants": [store.merchant_id] * 2, "accounts": [store.east, store.west]}
    dirty: list[tuple[Any, ...]] = []
    ask = store.named("offer.dirty_accounts", **both)
    assert_bounded(store.reads("engine", lambda c: dirty.extend(ask(c))), 2 * ROWS_MAX)
    assert dirty == [(store.merchant_id, store.west)]
    tickets = store.named("offer.unanswered_tickets", **both, epochs=[1, 1], before_us=LATER_US)
    assert_bounded(store.reads("engine", tickets), 2 * ROWS_MAX)


def unsettle(store: Store) -> list[int]:
    """Twenty listings are unsettled, two of them due: these."""
    with store.role("engine") as connection:
        connection.execute(
            "INSERT INTO offer_unsettled (merchant_id, account_id, listing_id, field, recheck_us,"
            " since_us, reason) SELECT %s, %s, x.id, 1, CASE WHEN x.n <= 2 THEN 1 ELSE %s END, 1, 2"
            " FROM unnest(%s::bigint[]) WITH ORDINALITY AS x (id, n)",
            (store.merchant_id, store.east, LATER_US + SECOND, store.listings[100:120]),
        )
    return store.listings[100:102]


def test_asking_what_is_unsettled(store: Store) -> None:
    expected = unsettle(store)
    whose: list[tuple[Any, ...]] = []
    both = {"merchants": [store.merchant_id] * 2, "accounts": [store.east, store.west]}
    ask = store.named("offer.unsettled_accounts", **both)
    assert_bounded(store.reads("engine", lambda c: whose.extend(ask(c))), 20 + 2 * ROWS_MAX)
    assert whose == [(store.east,)]
    due: list[tuple[Any, ...]] = []
    ask = store.named("offer.unsettled_due", limit=100)
    reads = store.reads("engine", lambda c: due.extend(ask(c)))
    assert [row[0] for row in due] == expected
    assert_bounded(reads, 20 + 2 * ROWS_MAX)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("offer.postpone_unsettled", {"recheck_us": LATER_US}),
        ("offer.reassert", {}),
        ("offer.forget_unsettled", {}),
        ("offer.unsettle", {}),
        ("offer.observed_all", {"keys": ["B101", "B102"]}),
    ],
)
def test_settling_what_is_unsettled(store: Store, name: str, params: dict[str, object]) -> None:
    key: dict[str, object] = {"listings": unsettle(store), "fields": [1, 1]}
    assert_bounded(store.reads("engine", store.named(name, **key, **params)), 2 * ROWS_MAX)


@pytest.mark.parametrize("field", [1, 2])
def test_the_safety_net_reads_its_account_once(store: Store, field: int) -> None:
    """A sweep by nature; yet a few rows for each listing, not a table for each."""
    net = store.named("offer.safety_net", field=field, limit=100)
    found: list[tuple[Any, ...]] = []
    reads = store.reads("engine", lambda c: found.extend(net(c)))
    assert found == []
    assert_bounded(reads, 8 * SKUS)


# — what comes in, and what is published —


def test_what_a_pull_writes_down(store: Store) -> None:
    alert = {"kind": "alert.test", "subject": "s"}
    written: dict[str, dict[str, object]] = {
        "inbound.cursor": {},
        "inbound.lane_ran": {
            "next_run_us": 1,
            "error": "",
            "net_found": 0,
            "name": "orders",
            "covered_us": LATER_US,
        },
        "inbound.lane_schedules": {"merchants": [store.merchant_id], "accounts": [store.east]},
        "inbound.raise_alert": {**alert, "params": "{}"},
        "inbound.resolve_alert": {**alert},
    }
    for name, params in written.items():
        assert_bounded(store.reads("engine", store.named(name, **params)), ROWS_MAX)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("listing.accept_ticket", {"reference": "r"}),
        ("listing.content_tickets", {"limit": 100}),
        ("listing.push_keys", {}),
        ("listing.look_for_ticket", {"look_us": LATER_US}),
        ("listing.end_ticket", {"outcome": "done"}),
    ],
)
def test_following_a_publication(store: Store, name: str, params: dict[str, object]) -> None:
    """A request for two listings."""
    key: dict[str, object] = {"ticket": 1_000_000, "listings": store.listings[10:12]}
    with store.role("app") as connection:
        connection.execute(
            "UPDATE listing SET state = 'sent' WHERE merchant_id = %s AND listing_id = ANY (%s)",
            (store.merchant_id, key["listings"]),
        )
        store.named("listing.open_ticket", **key, epoch=1, send_by_us=LATER_US)(connection)
    assert_bounded(store.reads("app", store.named(name, **key, **params)), 2 * ROWS_MAX)


@pytest.mark.parametrize("name", ["listing.orphans", "listing.pending"])
def test_looking_for_publications_reads_no_table_twice(store: Store, name: str) -> None:
    """A sweep by nature: what waits is found among the listings of all accounts."""
    with store.role("app") as connection:
        connection.execute(
            "UPDATE listing"
            " SET state = CASE WHEN variant_id %% 2 = 0 THEN 'sent' ELSE 'pending' END"
            " WHERE merchant_id = %s AND account_id = %s",
            (store.merchant_id, store.east),
        )
    reads = store.reads("app", store.named(name, limit=100))
    assert_bounded(reads, 4 * SKUS + 2 * TICKETS)
