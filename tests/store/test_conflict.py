"""Edits on the marketplace's own panel: seen twice before they count, settled by their rule."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from meschain.store.sql import query
from meschain.testing.shop import NOW, NOW_US, Shop

if TYPE_CHECKING:
    Connection = psycopg.Connection[tuple[Any, ...]]

SECOND = 1_000_000
LAG_US = 20 * SECOND
LATER_US = NOW_US + 3_600 * SECOND  # long after the last push
QUANTITY, PRICE = 1, 2


@dataclass
class Panel:
    """What the channel shows for one SKU, held against the hub's books as the audit does."""

    shop: Shop
    account_id: int
    now_us: int = LATER_US

    @property
    def connection(self) -> Connection:
        return self.shop.connection

    @property
    def listing(self) -> int:
        return self.shop.listings["east", "A"]

    def rows(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, params).fetchall()

    def rule(self, field: str, rule: str) -> None:
        statement = sql.SQL("UPDATE account SET {} = %s").format(sql.Identifier(f"{field}_rule"))
        self.connection.execute(statement, (rule,))

    def look(
        self, quantity: int | None = 10, sale: int | None = 10_000, *, list_minor: int | None = None
    ) -> dict[int, str]:
        """Judge one look at the shelf; the verdict of each field. A minute passes with it."""
        found = self.rows(
            "SELECT field, verdict FROM judge_shelf(%s, %s, '{BA}', %s::int[], %s::bigint[],"
            " %s::bigint[], %s, %s, %s, %s, %s)",
            self.shop.merchant_id,
            self.account_id,
            [quantity],
            [sale if list_minor is None else list_minor],
            [sale],
            self.now_us,
            LAG_US,
            2 * SECOND,
            NOW,
            self.now_us + SECOND,
        )
        self.now_us += 60 * SECOND
        return dict(found)

    def twice(self, quantity: int | None = 10, sale: int | None = 10_000) -> dict[int, str]:
        self.look(quantity, sale)
        return self.look(quantity, sale)

    def orders_known(self) -> None:
        """The account's orders are known up to now."""
        self.connection.execute(
            "UPDATE order_cursor SET fresh_us = %s, covered_us = %s", (self.now_us, self.now_us)
        )

    def sell(self, units: int, number: str = "O1", *, state: str = "created") -> None:
        """The channel's own order, as the hub takes it in; placed long after the last push."""
        line = {
            "line_id": "L1", "item_key": "A", "sku": "A", "barcode": "", "title": "",
            "units": units, "unit_gross": 1, "unit_seller_discount": 0,
            "unit_marketplace_discount": 0, "payable": 1, "vat_percent": 20,
            "commission_percent": 1, "state_raw": "", "extra": {},
        }  # fmt: skip
        package = {
            "external_id": "P1", "state": state, "state_raw": state,
            "modified_at": NOW.replace(hour=13).isoformat(), "carrier": "", "cargo_code": "",
            "tracking_number": "", "tracking_url": "", "desi": None, "cargo_payer": None,
            "origin_ids": [], "stated_total": None, "ship_by": None, "lines": [line],
        }  # fmt: skip
        order = {
            "external_id": number, "placed_at": NOW.replace(hour=13).isoformat(),
            "currency": "TRY", "payment_method": "", "micro_export": False, "is_company": False,
            "city": "", "country_code": "TR", "unknown_fields": {}, "detected_by": "poll",
            "actor": "test", "minor_factor": 100, "packages": [package],
        }  # fmt: skip
        self.connection.execute(
            "SELECT take_order(%s, %s, %s::jsonb, '', '', 1, %s, %s)",
            (self.shop.merchant_id, self.account_id, json.dumps(order), NOW, self.now_us),
        )

    def settle(self) -> None:
        """What the hub wants stands on the shelf, nothing is left to do."""
        self.connection.execute(
            "UPDATE offer_acknowledged k SET quantity = q.quantity, quantity_revision = q.revision,"
            " quantity_sent_us = %s, quantity_done_us = %s FROM offer_desired_quantity q"
            " WHERE q.listing_id = k.listing_id",
            (self.now_us, self.now_us),
        )
        self.connection.execute("DELETE FROM offer_dirty")
        self.connection.execute("DELETE FROM offer_shelf_sale")
        self.now_us += 3_600 * SECOND

    def set_price(self, minor: int) -> None:
        self.connection.execute(
            "UPDATE variant SET list_price_minor = %s, sale_price_minor = %s", (minor, minor)
        )
        self.connection.execute(
            "SELECT refresh_desired_price(%s, %s::bigint[], %s)",
            (self.shop.merchant_id, [self.shop.variants["A"]], self.now_us),
        )

    def claim(self, *, joint: bool = False) -> list[tuple[int | None, int | None]]:
        """Quantity and sale price that a claim would send, one row a listing."""
        rows = self.rows(
            "SELECT o_quantity, o_sale_minor FROM claim_offers(%s::int[], %s::int[], '{100}',"
            " '{100}', '{100}', '{true}', '{false}', %s::boolean[], '{2}', '{0}', '{1}', %s, %s,"
            " %s)",
            [self.shop.merchant_id],
            [self.account_id],
            [joint],
            self.now_us,
            self.now_us + 20 * SECOND,
            2 * SECOND,
        )
        return [(quantity, sale) for quantity, sale in rows]

    def resolve(self, name: str, field: int) -> None:
        params = {
            "merchant": self.shop.merchant_id, "account": self.account_id,
            "listings": [self.listing], "fields": [field], "actor": "cli:test",
            "now_us": self.now_us,
        }  # fmt: skip
        self.connection.execute(query(f"conflict.{name}"), params)

    def net(self, field: int) -> list[tuple[Any, ...]]:
        """What only the safety net would find."""
        params = {
            "merchant": self.shop.merchant_id, "account": self.account_id, "field": field,
            "now_us": self.now_us, "limit": 100,
        }  # fmt: skip
        return self.connection.execute(query("offer.safety_net"), params).fetchall()

    def open(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT field, our_quantity, their_quantity, our_sale_minor, their_sale_minor"
            " FROM offer_conflict WHERE state = 2 ORDER BY field"
        )

    def dirty(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT field, urgency, reassert FROM offer_dirty ORDER BY field")

    def events(self) -> list[str]:
        found = self.rows("SELECT kind FROM event WHERE kind LIKE 'conflict.%%' ORDER BY event_id")
        assert found == self.rows("SELECT action FROM audit ORDER BY audit_id"), "both are told"
        return [kind for (kind,) in found]


@pytest.fixture
def panel(shop: Shop) -> Panel:
    """Ten units at 100.00 on one shelf, in step since an hour; orders are known up to now."""
    shop.variant("A", on_hand=10)
    account = shop.account("east", lowers_own_shelf=True)
    shop.list_on("east", ["A"])
    shop.connection.execute(
        "INSERT INTO order_cursor VALUES (%s, %s, 0, 0)", (shop.merchant_id, account)
    )
    opened = Panel(shop, account)
    opened.now_us += 86_400 * SECOND
    opened.orders_known()
    opened.now_us = LATER_US
    return opened


# — what is no conflict —


def test_a_shelf_as_wanted_is_equal_and_leaves_nothing(panel: Panel) -> None:
    assert panel.look() == {QUANTITY: "equal", PRICE: "equal"}
    assert panel.rows("SELECT 1 FROM offer_conflict") == []


def test_what_is_seen_once_does_not_count(panel: Panel) -> None:
    assert panel.look(4, 9_000) == {QUANTITY: "suspect", PRICE: "suspect"}
    assert (panel.open(), panel.dirty(), panel.events()) == ([], [], [])
    assert panel.look() == {QUANTITY: "equal", PRICE: "equal"}
    assert panel.rows("SELECT 1 FROM offer_conflict") == []


def test_two_looks_within_the_read_lag_are_one(panel: Panel) -> None:
    panel.look(4, 9_000)
    panel.now_us -= 59 * SECOND
    assert panel.look(4, 9_000) == {QUANTITY: "suspect", PRICE: "suspect"}
    assert panel.look(4, 9_000) == {QUANTITY: "hub", PRICE: "ask"}, "counted from the first look"


def test_something_else_each_time_begins_anew(panel: Panel) -> None:
    panel.look(10, 9_000)
    assert panel.look(10, 8_000)[PRICE] == "suspect"
    assert panel.look(10, 9_000)[PRICE] == "suspect"
    assert panel.open() == []


@pytest.mark.parametrize("table", ["offer_dirty", "offer_inflight", "offer_unsettled"])
@pytest.mark.parametrize("field", [QUANTITY, PRICE])
def test_while_something_of_ours_is_under_way_nothing_is_judged(
    panel: Panel, table: str, field: int
) -> None:
    more = {
        "offer_dirty": {"urgency": 3, "rank": 0},
        "offer_inflight": {"ticket_id": 1, "revision": 1},
        "offer_unsettled": {"recheck_us": 0, "reason": 2},
    }[table]
    row = {
        "merchant_id": panel.shop.merchant_id,
        "account_id": panel.account_id,
        "listing_id": panel.listing,
        "field": field,
        "since_us": 0,
        **more,
    }
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    panel.connection.execute(statement, list(row.values()))
    for _ in range(3):
        assert panel.look(4, 9_000)[field] == "moving"
    assert field not in [row[0] for row in panel.open()]


def test_a_push_between_the_looks_puts_the_first_one_out_of_date(panel: Panel) -> None:
    panel.look(4, 9_000)
    panel.connection.execute(
        "UPDATE offer_acknowledged SET price_revision = price_revision + 1,"
        " quantity_sent_us = %s, quantity_done_us = %s",
        (panel.now_us - 40 * SECOND, panel.now_us - 30 * SECOND),
    )
    assert panel.look(4, 9_000) == {QUANTITY: "suspect", PRICE: "suspect"}


def test_a_shelf_that_was_told_since_the_look_began_is_not_judged_by_it(panel: Panel) -> None:
    panel.connection.execute(
        "UPDATE offer_acknowledged SET quantity_done_us = %s", (panel.now_us + SECOND,)
    )
    assert panel.look(4)[QUANTITY] == "moving"


@pytest.mark.parametrize("shown", [7, 8, 10])
def test_own_sales_explain_every_quantity_down_to_what_they_took(panel: Panel, shown: int) -> None:
    """Three units were sold there; how many of them the shelf shows yet, nobody can say."""
    panel.shop.connection.execute("UPDATE account SET quantity_max = 10")
    panel.sell(3)
    panel.connection.execute("DELETE FROM offer_dirty")
    assert panel.twice(shown)[QUANTITY] in {"differs", "equal"}
    assert panel.rows("SELECT 1 FROM offer_conflict WHERE field = 1") == []


def test_own_sales_do_not_explain_more_than_they_took(panel: Panel) -> None:
    panel.sell(3)
    panel.connection.execute("DELETE FROM offer_dirty")
    assert panel.twice(6)[QUANTITY] == "hub"


@pytest.mark.parametrize(("state", "verdict"), [("cancelled", "differs"), ("created", "hub")])
def test_a_shelf_that_rose_by_a_cancelled_order_was_not_edited(
    panel: Panel, state: str, verdict: str
) -> None:
    panel.sell(3)
    panel.settle()  # seven stand there
    panel.sell(3, state=state)
    panel.connection.execute("DELETE FROM offer_dirty")
    panel.connection.execute(
        "UPDATE package SET modified_at = %s", (NOW.replace(hour=23),)
    ) if state == "cancelled" else None
    panel.connection.execute("UPDATE offer_desired_quantity SET quantity = 7")
    assert panel.twice(10)[QUANTITY] == verdict


def test_a_quantity_waits_until_orders_are_known_up_to_the_first_look(panel: Panel) -> None:
    panel.connection.execute("UPDATE order_cursor SET fresh_us = %s", (panel.now_us - SECOND,))
    assert panel.twice(4, 9_000) == {QUANTITY: "suspect", PRICE: "ask"}
    panel.orders_known()
    assert panel.look(4, 9_000)[QUANTITY] == "hub"


@pytest.mark.parametrize("state", ["read_only", "paused", "reconnect"])
def test_an_account_that_is_not_armed_has_no_conflicts(panel: Panel, state: str) -> None:
    panel.connection.execute("UPDATE account SET state = %s", (state,))
    assert panel.twice(4, 9_000) == {QUANTITY: "differs", PRICE: "differs"}


def test_a_shelf_that_we_never_told_anything_has_none_either(panel: Panel) -> None:
    panel.connection.execute(
        "UPDATE offer_acknowledged SET price_revision = 0, quantity_revision = 0"
    )
    assert panel.twice(4, 9_000) == {QUANTITY: "differs", PRICE: "differs"}


def test_a_refused_price_that_was_set_on_the_panel_instead_is_simply_acknowledged(
    panel: Panel,
) -> None:
    panel.set_price(12_000)
    panel.connection.execute("DELETE FROM offer_dirty")
    panel.connection.execute(
        "INSERT INTO offer_refusal VALUES (%s, %s, %s, 2, 2, 'x', 'x', '', 0, 1)",
        (panel.shop.merchant_id, panel.account_id, panel.listing),
    )
    assert panel.look(10, 10_000)[PRICE] == "differs", "ours, of before"
    assert panel.look(10, 12_000)[PRICE] == "equal"
    assert panel.rows("SELECT sale_minor, price_revision FROM offer_acknowledged") == [(12_000, 2)]
    assert panel.rows("SELECT 1 FROM offer_refusal") == []


# — the hub wins —


def test_hub_a_quantity_is_told_again_and_never_in_silence(panel: Panel) -> None:
    assert panel.twice(4) == {QUANTITY: "hub", PRICE: "equal"}
    assert panel.dirty() == [(QUANTITY, 3, True)]
    assert panel.events() == ["conflict.hub"]
    assert panel.rows("SELECT facts->'changes', actor FROM audit") == [
        ([{"sku": "A", "field": "quantity", "ours": 10, "theirs": 4}], "hub")
    ]
    assert panel.claim() == [(10, 10_000)]
    assert panel.rows("SELECT 1 FROM alert") == []


def test_hub_a_price_is_told_again_and_a_low_one_first(panel: Panel) -> None:
    panel.rule("price", "hub")
    assert panel.twice(10, 5_000)[PRICE] == "hub"
    assert (PRICE, 1, True) in panel.dirty(), "a price brake"
    assert panel.events() == ["conflict.hub"]
    assert panel.claim() == [(10, 10_000)], "no body that was sent before"


# — the channel wins —


def test_channel_a_price_becomes_the_listings_own(panel: Panel) -> None:
    panel.rule("price", "channel")
    assert panel.twice(10, 9_000)[PRICE] == "channel"
    assert panel.dirty() == []
    assert panel.look(10, 9_000)[PRICE] == "equal"
    panel.set_price(12_000)
    assert panel.dirty() == [], "the variant's price is no longer this listing's"
    panel.resolve("drop_kept", PRICE)
    assert panel.claim() == [(None, 12_000)]
    assert panel.events() == ["conflict.channel"]


def test_channel_a_quantity_becomes_the_listings_maximum(panel: Panel) -> None:
    """Closed by hand on the panel: 0 stays 0 until its owner says otherwise."""
    panel.rule("quantity", "channel")
    panel.connection.execute("UPDATE listing SET quantity_max = 8")
    assert panel.twice(0)[QUANTITY] == "channel"
    assert panel.claim() == []
    assert panel.look(0)[QUANTITY] == "equal"
    panel.shop.move({"A": 5})
    assert panel.claim() == []
    assert panel.net(QUANTITY) == []
    panel.resolve("drop_kept", QUANTITY)
    assert panel.rows("SELECT quantity_max FROM listing") == [(8,)]
    assert panel.claim() == [(8, None)]


# — its owner is asked —


def test_ask_a_price_is_left_alone_until_it_is_decided(panel: Panel) -> None:
    assert panel.twice(10, 9_000)[PRICE] == "ask"
    assert panel.open() == [(PRICE, None, None, 10_000, 9_000)]
    assert panel.events() == ["conflict.ask"]
    assert panel.look(10, 9_000)[PRICE] == "held"
    assert panel.events() == ["conflict.ask"], "told once"
    assert (panel.dirty(), panel.net(PRICE)) == ([], [])


def test_ask_a_quantity_told_again_does_not_carry_our_price_over_theirs(panel: Panel) -> None:
    """Both were edited: the quantity goes back at once, with no price beside it."""
    assert panel.twice(4, 9_000) == {QUANTITY: "hub", PRICE: "ask"}
    assert panel.claim() == [(10, None)]


def test_a_first_sight_already_keeps_our_price_from_being_carried_along(panel: Panel) -> None:
    panel.look(10, 9_000)
    panel.connection.execute(
        "INSERT INTO offer_dirty VALUES (%s, %s, %s, 1, 3, 0, 0, 0, true)",
        (panel.shop.merchant_id, panel.account_id, panel.listing),
    )
    assert panel.claim() == [(10, None)]


def test_ask_a_marketplace_that_demands_all_fields_gets_the_price_it_shows(panel: Panel) -> None:
    panel.twice(10, 9_000)
    panel.shop.move({"A": -2}, "adjustment")
    assert panel.claim(joint=True) == [(8, 9_000)]


def test_ask_a_new_price_of_the_merchants_is_the_answer(panel: Panel) -> None:
    panel.twice(10, 9_000)
    panel.set_price(12_000)
    assert panel.claim() == [(None, 12_000)]
    panel.connection.execute(
        query("conflict.end_answered"),
        {"merchant": panel.shop.merchant_id, "account": panel.account_id, "now": NOW,
         "now_us": panel.now_us},
    )  # fmt: skip
    assert panel.open() == []
    assert panel.events() == ["conflict.ask", "conflict.answered"]


def test_ask_a_quantity_that_falls_is_never_held_and_one_that_rises_is(panel: Panel) -> None:
    panel.rule("quantity", "ask")
    assert panel.twice(4)[QUANTITY] == "ask"
    panel.shop.move({"A": 2})
    assert panel.claim() == []
    assert panel.net(QUANTITY) == [], "held is not lost"
    panel.shop.move({"A": -11}, "adjustment")  # one is left
    assert panel.claim() == [(1, None)]
    assert panel.open() == [(QUANTITY, 10, 4, None, None)], "still to be answered"


def test_ask_more_than_there_is_is_lowered_whatever_the_rule(panel: Panel) -> None:
    for rule in ("ask", "channel"):
        panel.rule("quantity", rule)
        assert panel.twice(15)[QUANTITY] == "hub"
        assert panel.claim() == [(10, 10_000)]
        panel.connection.execute("DELETE FROM offer_inflight")
        panel.settle()


def test_ask_set_right_on_the_panel_ends_the_question(panel: Panel) -> None:
    panel.rule("quantity", "ask")
    panel.twice(4, 9_000)
    assert panel.look() == {QUANTITY: "equal", PRICE: "equal"}
    assert panel.open() == []
    assert panel.events() == ["conflict.ask", "conflict.ended"]


def test_ask_edited_once_more_asks_for_the_later_value(panel: Panel) -> None:
    panel.twice(10, 9_000)
    panel.look(10, 8_500)
    assert panel.open() == [(PRICE, None, None, 10_000, 8_500)]


@pytest.mark.parametrize("field", [QUANTITY, PRICE])
def test_ask_answered_for_the_hub_it_is_told_again(panel: Panel, field: int) -> None:
    panel.rule("quantity", "ask")
    panel.twice(*((4, 10_000) if field == QUANTITY else (10, 9_000)))
    panel.resolve("keep_ours", field)
    assert panel.open() == []
    assert panel.claim() == [(10, 10_000)]


@pytest.mark.parametrize(("field", "shown"), [(QUANTITY, (4, 10_000)), (PRICE, (10, 9_000))])
def test_ask_answered_for_the_channel_nothing_is_sent(
    panel: Panel, field: int, shown: tuple[int, int]
) -> None:
    panel.rule("quantity", "ask")
    panel.twice(*shown)
    panel.resolve("keep_theirs", field)
    assert panel.open() == []
    assert panel.claim() == []
    assert panel.look(*shown)[field] == "equal"


def test_ask_answered_for_the_channel_after_we_had_to_lower_it(panel: Panel) -> None:
    """Theirs was 4, one was left, then goods came in: at most 4 again, and that must go out."""
    panel.rule("quantity", "ask")
    panel.twice(4)
    panel.shop.move({"A": -9}, "adjustment")
    assert panel.claim() == [(1, None)]
    panel.connection.execute("DELETE FROM offer_inflight")
    panel.connection.execute("UPDATE offer_acknowledged SET quantity = 1, quantity_revision = 2")
    panel.shop.move({"A": 30})
    assert panel.claim() == [], "a raise waits for the answer"
    panel.resolve("keep_theirs", QUANTITY)
    assert panel.claim() == [(4, None)]


def test_a_held_raise_goes_out_when_its_question_ends(panel: Panel) -> None:
    """Resolving must mark it dirty: nothing else would carry it."""
    panel.rule("quantity", "ask")
    panel.twice(4)
    panel.shop.move({"A": 2})
    assert panel.claim() == []
    panel.resolve("keep_ours", QUANTITY)
    assert panel.claim() == [(12, None)]


def test_whoever_sells_goes_first(panel: Panel, database_url: str) -> None:
    """The audit waits for a lock shorter than any deadlock is looked for, and gives way."""
    panel.look(4)
    with psycopg.connect(database_url) as other:
        other.execute("UPDATE offer_acknowledged SET quantity = quantity")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            panel.look(4)
    assert panel.look(4)[QUANTITY] == "hub"


def test_another_merchants_shelf_of_the_same_key_is_not_touched(
    panel: Panel, connection: Connection
) -> None:
    other = Shop.open(connection, "Demir")
    other.variant("A", on_hand=10)
    other.account("east")
    other.list_on("east", ["A"])
    panel.twice(4, 9_000)
    assert panel.rows("SELECT DISTINCT merchant_id FROM offer_conflict") == [
        (panel.shop.merchant_id,)
    ]
    assert panel.rows("SELECT 1 FROM offer_dirty WHERE merchant_id = %s", other.merchant_id) == []
