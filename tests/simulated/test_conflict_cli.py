"""The owner's side of an edit on the panel: look, answer one, answer all, give up again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from meschain.cli.tree import root
from meschain.testing.shop import NOW_US, Shop

QUANTITY, PRICE = 1, 2


@dataclass
class Owner:
    """A shop with two SKUs on one account, and its owner at the command line."""

    shop: Shop

    def __call__(self, *words: str, status: int = 0) -> str:
        result = CliRunner().invoke(root, words)
        assert result.exit_code == status, (words, result.stdout, result.stderr)
        assert "Traceback" not in result.output
        return result.stdout if status == 0 else result.stderr

    def document(self, *words: str) -> Any:  # noqa: ANN401 – whatever the command prints
        return json.loads(self(*words, "--json"))

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        return self.shop.connection.execute(statement).fetchall()

    def edited(self, sku: str, field: int, theirs: int) -> None:
        """An edit that the hub has confirmed and asks about."""
        listing = self.shop.listings["east", sku]
        self.shop.connection.execute(
            "INSERT INTO offer_conflict (merchant_id, account_id, listing_id, field, state,"
            " revision, acknowledged, sent_us, our_quantity, our_list_minor, our_sale_minor,"
            " their_quantity, their_list_minor, their_sale_minor, first_us, seen_us, look_us)"
            " SELECT k.merchant_id, k.account_id, k.listing_id, %(field)s, 2, 1, 1, 0, k.quantity,"
            " k.list_minor, k.sale_minor, %(theirs)s, %(theirs)s, %(theirs)s, %(us)s, %(us)s, 0"
            " FROM offer_acknowledged k WHERE k.listing_id = %(listing)s",
            {"field": field, "theirs": theirs, "us": NOW_US, "listing": listing},
        )
        shown = {
            QUANTITY: "UPDATE offer_acknowledged SET quantity = %s WHERE listing_id = %s",
            PRICE: "UPDATE offer_acknowledged SET sale_minor = %s WHERE listing_id = %s",
        }
        self.shop.connection.execute(shown[field], (theirs, listing))


@pytest.fixture
def owner(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    with psycopg.connect(database_url, autocommit=True) as connection:
        shop = Shop.open(connection)
        for sku in ("A", "B"):
            shop.variant(sku, on_hand=10)
        key = (shop.merchant_id, shop.account("east", marketplace="trendyol"))
        shop.list_on("east", ["A", "B"])
        connection.execute("INSERT INTO order_cursor VALUES (%s, %s, 0, 0)", key)
        connection.execute("INSERT INTO ownership (merchant_id, account_id) VALUES (%s, %s)", key)
        yield Owner(shop)


def test_nothing_edited_says_so(owner: Owner) -> None:
    assert "Nothing was edited" in owner("conflict", "list")
    assert "waits for an answer" in owner(
        "conflict", "resolve", "A", "east", "--keep", "hub", status=1
    )


def test_an_edit_is_listed_explained_planned_and_counted(owner: Owner) -> None:
    owner.edited("A", PRICE, 9_000)
    said = owner("conflict", "list")
    assert re.search(r"east +A +price .*100\.00.*90\.00.* +waits for your answer", said), said
    assert "meschain conflict resolve" in said
    assert "edited on the marketplace's panel" in owner("why", "A", "east")
    assert "edited on the panel, waits for your answer" in owner("plan")
    assert "1 edit on the panel waits" in owner("sync", "status")
    (found,) = owner.document("conflict", "list")["conflicts"]
    assert (found["sku"], found["field"], found["their_sale_price"]["minor"]) == (
        "A",
        "price",
        9_000,
    )


def test_a_problem_is_told_with_its_money_and_what_to_do(owner: Owner) -> None:
    assert "Nothing needs you" in owner("problems")
    facts = {"sku": "A", "account": "east", "currency": "TRY", "theirs_minor": 109_500,
             "ours_minor": 100_000}  # fmt: skip
    owner.shop.connection.execute(
        "SELECT raise_alert(%s, 'alert.conflict.price', 'A', %s, %s::jsonb, %s)",
        (owner.shop.merchant_id, owner.shop.accounts["east"], json.dumps(facts), NOW_US),
    )
    said = owner("problems", "--language", "tr")
    assert "orada 1.095,00 TL, burada 1.000,00 TL" in said
    assert "“meschain conflict resolve A east --keep hub”" in said
    assert "meschain problems" in owner("sync", "status")
    (problem,) = owner.document("problems")["items"]
    assert problem["params"]["theirs"] == {"minor": 109_500, "currency": "TRY", "amount": "1095.00"}


def test_a_listing_that_lacks_something_says_what(owner: Owner) -> None:
    owner.shop.connection.execute(
        "UPDATE listing SET state = 'draft', problems ="
        """ '[{"key": "listing.missing.category", "params": {"value": "Giyim"}}]'"""
        " WHERE listing_id = %s",
        (owner.shop.listings["east", "A"],),
    )
    assert "“Giyim” kategorisi eşleştirilmemiş" in owner("problems", "--language", "tr")


def test_one_answer_for_the_hub_sends_ours_again(owner: Owner) -> None:
    owner.edited("A", PRICE, 9_000)
    owner("conflict", "resolve", "A", "east", "--keep", "hub")
    assert owner.rows("SELECT 1 FROM offer_conflict") == []
    assert (PRICE, True) in owner.rows("SELECT field, reassert FROM offer_dirty")
    ((action, actor),) = owner.rows("SELECT action, actor FROM audit")
    assert action == "conflict.keep_ours"
    assert str(actor).startswith("cli:")


def test_one_answer_for_the_channel_is_shown_and_can_be_given_up(owner: Owner) -> None:
    owner.edited("A", PRICE, 9_000)
    owner.edited("A", QUANTITY, 4)
    owner("conflict", "resolve", "A", "east", "--keep", "channel", "--field", "price")
    (kept,) = [
        each for each in owner.document("conflict", "list")["conflicts"] if each["state"] == "kept"
    ]
    assert kept["kept_by"].startswith("cli:")
    assert "the listing's own instead: sale" in owner("why", "A", "east")
    told = owner("price", "set", "A", "--sale", "95", "--plan")
    assert re.search(r"A on east goes on showing .*90\.00", told), told
    assert owner.document("price", "set", "B", "--sale", "95", "--plan")["kept"] == []
    owner("conflict", "resolve", "A", "east", "--keep", "channel")
    assert "that maximum was set on the marketplace's panel" in owner("why", "A", "east")
    assert owner.rows("SELECT quantity FROM offer_desired_quantity ORDER BY listing_id") == [
        (4,),
        (10,),
    ]
    owner("conflict", "resolve", "A", "east", "--keep", "hub")
    assert owner.document("conflict", "list")["conflicts"] == []
    assert owner.rows("SELECT sale_minor FROM offer_desired_price") == [(10_000,), (10_000,)]
    assert owner.rows("SELECT quantity FROM offer_desired_quantity") == [(10,), (10,)]


def test_a_mass_answer_is_shown_first(owner: Owner) -> None:
    owner.edited("A", PRICE, 9_000)
    owner.edited("B", PRICE, 8_000)
    owner.edited("B", QUANTITY, 1)
    words = (
        "conflict",
        "resolve",
        "--all",
        "--account",
        "east",
        "--field",
        "price",
        "--keep",
        "hub",
    )
    said = owner(*words)
    assert "2 values would be told again" in said
    assert owner.rows("SELECT count(*) FROM offer_conflict") == [(3,)]
    assert owner.document(*words, "--yes")["count"] == 2
    assert owner.rows("SELECT field FROM offer_conflict") == [(QUANTITY,)]


@pytest.mark.parametrize(
    "words", [("--keep", "hub"), ("A", "--keep", "hub"), ("A", "east", "--all", "--keep", "hub")]
)
def test_what_is_meant_must_be_said(owner: Owner, words: tuple[str, ...]) -> None:
    assert "Name a SKU and an account" in owner("conflict", "resolve", *words, status=1)


def test_rules_are_shown_changed_and_written_down(owner: Owner) -> None:
    assert owner.document("account", "conflict-rule", "east") == {
        "account": "east", "price": "ask", "quantity": "hub", "sweep_interval_s": 86_400,
    }  # fmt: skip
    said = owner("account", "conflict-rule", "east", "--price", "channel", "--sweep-hours", "6")
    assert "the panel wins" in said
    assert owner.rows("SELECT price_rule, quantity_rule, sweep_interval_s FROM account") == [
        ("channel", "hub", 21_600)
    ]
    assert owner.rows("SELECT action FROM audit") == [("account.conflict_rule",)]


def test_it_is_told_in_turkish_too(owner: Owner) -> None:
    owner.edited("A", PRICE, 9_000)
    assert "yanıtınızı bekliyor" in owner("conflict", "list", "--language", "tr")
