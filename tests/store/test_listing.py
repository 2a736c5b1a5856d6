"""Linking what a channel has and publishing what it lacks, on a small channel of the test's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import cast

import psycopg
import pytest

from meschain.channel.contract import (
    Channel,
    ItemOutcomes,
    LeaseExpired,
    MappedAttribute,
    RemoteKeys,
    TicketEnded,
    TicketOpen,
)
from meschain.channel.outcome import (
    ContractBroken,
    Done,
    NotSent,
    Outcome,
    Problem,
    Refused,
    Throttled,
    Unknown,
)
from meschain.domain.money import Money
from meschain.domain.text import fold
from meschain.store.unit_of_work import Database
from meschain.sync.listing import (
    Conflict,
    LinkReport,
    PublicationPlan,
    Storefront,
    advance,
    advance_publications,
    link_listings,
    plan_publication,
    publish_listings,
)
from meschain.testing.shop import Shop
from tests.store.small_market import MAPPING, HandClock, Market, offer

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def shop(connection: Connection) -> Shop:
    shop = Shop.open(connection)
    shop.account("pazar")
    return shop


@pytest.fixture
def market() -> Market:
    return Market()


def front(
    database: Database, shop: Shop, market: Market, clock: HandClock | None = None
) -> Storefront:
    return Storefront(
        database=database,
        channel=cast("Channel", market),
        clock=clock or HandClock(),
        merchant_id=shop.merchant_id,
        account_id=shop.accounts["pazar"],
        epoch=3,
    )


def listings(shop: Shop) -> dict[str, tuple[object, ...]]:
    """SKU → state, key, quantity desired and shown, of open listings."""
    rows = shop.connection.execute(
        "SELECT sku, l.state, k.push_key, q.quantity, a.quantity FROM listing l"
        " JOIN variant USING (merchant_id, variant_id)"
        " LEFT JOIN listing_key k USING (merchant_id, listing_id)"
        " LEFT JOIN offer_desired_quantity q USING (merchant_id, listing_id)"
        " LEFT JOIN offer_acknowledged a USING (merchant_id, listing_id)"
        " WHERE l.merchant_id = %s AND l.state <> 'closed' ORDER BY sku",
        (shop.merchant_id,),
    ).fetchall()
    return {str(sku): rest for sku, *rest_ in rows for rest in (tuple(rest_),)}


def states(shop: Shop) -> dict[str, object]:
    return {sku: row[0] for sku, row in listings(shop).items()}


def everything(shop: Shop) -> list[list[tuple[object, ...]]]:
    tables = (
        *("listing", "listing_key", "offer_desired_price", "offer_desired_quantity"),
        *("offer_acknowledged", "offer_dirty", "event"),
    )
    return [
        shop.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4").fetchall()  # noqa: S608
        for table in tables
    ]


def conflicts(report: LinkReport) -> list[tuple[str, str, tuple[str, ...]]]:
    return sorted(
        (str(each.reason), each.offer.keys.barcode, each.skus) for each in report.matching.conflicts
    )


# — linking —


async def test_a_sweep_links_by_stock_code_then_by_barcode_and_never_twice(
    database: Database, shop: Shop, market: Market
) -> None:
    woken: list[list[int]] = []
    database.on_commit(lambda _merchant, accounts: woken.append(list(accounts)))
    for sku in ("A", "B", "C"):
        shop.variant(sku, on_hand=7)
    market.show(
        offer("BA", "A"), offer("BB", "other", state="off_sale"), offer("X", "X"), offer("Y")
    )
    report = await link_listings(front(database, shop, market))
    assert listings(shop) == {"A": ("on_sale", "BA", 7, 5), "B": ("off_sale", "BB", 7, 5)}
    assert [each.keys.barcode for each in report.matching.theirs_only] == ["X", "Y"]
    assert report.matching.ours_only == ["C"]
    assert report.swept == 4
    assert woken == [[shop.accounts["pazar"]]]
    before = everything(shop)
    again = await link_listings(front(database, shop, market))
    assert everything(shop) == before
    assert len(again.matching.known) == 2
    assert not again.matching.links
    assert again.matching.ours_only == ["C"]


async def test_what_the_channel_holds_stands_beside_ours_with_revision_zero(
    database: Database, shop: Shop, market: Market
) -> None:
    shop.variant("A", on_hand=7, sale_minor=9_000)
    market.show(offer("BA", "A"))
    await link_listings(front(database, shop, market))
    query = (
        "SELECT quantity, list_minor, sale_minor, quantity_revision, price_revision,"
        " quantity_done_us > 0 FROM offer_acknowledged"
    )
    assert shop.connection.execute(query).fetchall() == [(5, 12_000, 10_000, 0, 0, True)]
    market.show(offer("BA", "A", quantity=3))
    await link_listings(front(database, shop, market))
    assert shop.connection.execute(query).fetchall() == [(3, 12_000, 10_000, 0, 0, True)]
    # Once a lane has acknowledged a push of ours, a look leaves its values alone, and asks for no
    # other push.
    shop.connection.execute("DELETE FROM offer_dirty")
    shop.connection.execute("UPDATE offer_acknowledged SET quantity_revision = 2, quantity = 7")
    market.show(offer("BA", "A", quantity=1, sale_price=Money(1, "TRY")))
    await link_listings(front(database, shop, market))
    assert shop.connection.execute(query).fetchall() == [(7, 12_000, 1, 2, 0, True)]
    assert not shop.connection.execute("SELECT 1 FROM offer_dirty").fetchall()


async def test_a_shelf_that_shows_too_many_units_is_corrected_first(
    database: Database, shop: Shop, market: Market
) -> None:
    for sku, on_hand in (("EMPTY", 0), ("LESS", 2), ("MORE", 9)):
        shop.variant(sku, on_hand=on_hand)
    shop.variant("CHEAP", on_hand=5, sale_minor=12_500)
    market.show(*(offer(f"B{sku}", sku) for sku in ("EMPTY", "LESS", "MORE", "CHEAP")))
    await link_listings(front(database, shop, market))
    rows = shop.connection.execute(
        "SELECT sku, field, urgency FROM offer_dirty JOIN listing USING (merchant_id, listing_id)"
        " JOIN variant USING (merchant_id, variant_id) WHERE urgency < 2 ORDER BY 1, 2"
    ).fetchall()
    assert rows == [("CHEAP", 2, 1), ("EMPTY", 1, 0), ("LESS", 1, 0)]


async def test_whatever_could_mean_two_things_is_reported_and_left_alone(
    database: Database, shop: Shop, market: Market
) -> None:
    for sku in ("A", "B", "C", "D", "E", "F"):
        shop.variant(sku)
    shop.connection.execute("UPDATE variant SET barcode = 'BE' WHERE sku = 'F'")
    market.show(
        offer("BA", "B"),  # the barcode says A, the stock code B
        offer("BC", "C"),
        offer("", "C"),  # a second one of C, without the key
        offer("999", "D"),  # our D has another barcode
        offer("BE", "none"),  # two of ours share this barcode
        offer("BD", "x"),
    )
    report = await link_listings(front(database, shop, market))
    assert conflicts(report) == [
        (Conflict.NO_KEY, "", ()),
        (Conflict.OTHER_BARCODE, "999", ("D",)),
        (Conflict.TWO_OF_OURS, "BA", ("B", "A")),
        (Conflict.TWO_OF_OURS, "BE", ("E", "F")),
    ]
    assert set(listings(shop)) == {"C", "D"}


async def test_two_of_theirs_for_one_of_ours_conflict_also_beside_a_linked_one(
    database: Database, shop: Shop, market: Market
) -> None:
    shop.variant("A")
    shop.connection.execute("UPDATE variant SET barcode = NULL")
    market.show(offer("1", "A"), offer("2", "A"))
    report = await link_listings(front(database, shop, market))
    assert [each.reason for each in report.matching.conflicts] == [Conflict.TWO_OF_THEIRS] * 2
    assert not listings(shop)
    del market.offers["2"]
    await link_listings(front(database, shop, market))
    market.show(offer("2", "A"))
    report = await link_listings(front(database, shop, market))
    assert conflicts(report) == [(Conflict.TWO_OF_THEIRS, "2", ("A",))]
    assert listings(shop)["A"][1] == "1"


async def test_half_a_sweep_links_nothing(database: Database, shop: Shop, market: Market) -> None:
    shop.variant("A")
    market.show(offer("BA", "A"), offer("2"), offer("3"))
    market.broken_page = Throttled(1.0)
    report = await link_listings(front(database, shop, market))
    assert report.problem == Throttled(1.0)
    assert not listings(shop)


async def test_a_changed_key_is_closed_and_linked_anew_and_a_lost_one_is_told(
    database: Database, shop: Shop, market: Market
) -> None:
    shop.variant("A", on_hand=4)
    shop.variant("B", on_hand=4)
    shop.connection.execute("UPDATE variant SET barcode = NULL")
    market.show(offer("1", "A"), offer("9", "B"))
    await link_listings(front(database, shop, market))
    market.offers.clear()
    market.show(offer("2", "A"))
    report = await link_listings(front(database, shop, market))
    assert report.vanished == ["B"]
    assert listings(shop)["A"] == ("on_sale", "2", 4, 5)
    old = shop.connection.execute(
        "SELECT push_key, state, (SELECT count(*) FROM offer_dirty d"
        " WHERE d.listing_id = l.listing_id) FROM listing l JOIN listing_key USING (listing_id)"
        " WHERE state = 'closed'"
    ).fetchall()
    assert old == [("1", "closed", 0)]
    # And back again: the closed listing gives its key up.
    market.offers.clear()
    market.show(offer("1", "A"))
    await link_listings(front(database, shop, market))
    assert listings(shop)["A"][1] == "1"


async def test_a_listing_that_is_locked_or_rejected_gets_its_offers_when_it_comes_back(
    database: Database, shop: Shop, market: Market
) -> None:
    shop.variant("A", on_hand=4)
    market.show(offer("BA", "A", state="rejected", reject_reasons=("Görsel uygun değil",)))
    await link_listings(front(database, shop, market))
    assert listings(shop)["A"] == ("rejected", "BA", None, None)
    problems = shop.connection.execute("SELECT problems FROM listing").fetchone()
    assert problems == ([{"key": "listing.rejected", "words": "Görsel uygun değil"}],)
    market.show(offer("BA", "A", state="unknown"))
    await link_listings(front(database, shop, market))
    assert listings(shop)["A"] == ("off_sale", "BA", 4, 5)
    market.show(offer("BA", "A"))
    await link_listings(front(database, shop, market))
    market.show(offer("BA", "A", state="unknown"))
    await link_listings(front(database, shop, market))
    assert states(shop) == {"A": "on_sale"}


async def test_two_merchants_link_the_same_codes_to_their_own_variants(
    database: Database, connection: Connection, market: Market
) -> None:
    shops = [Shop.open(connection, name) for name in ("Kaya", "Demir")]
    for shop in shops:
        shop.account("pazar")
        shop.variant("A", on_hand=shop.merchant_id)
    market.show(offer("BA", "A"))
    await link_listings(front(database, shops[0], market))
    assert not listings(shops[1])
    await link_listings(front(database, shops[1], market))
    for shop in shops:
        assert listings(shop) == {"A": ("on_sale", "BA", shop.merchant_id, 5)}


# — publishing —


def sweater(shop: Shop, sku: str, **attributes: str) -> None:
    """A variant that can be published."""
    shop.variant(sku, on_hand=6)
    shop.connection.execute(
        "UPDATE product p SET brand = 'Işılbez', category_path = 'Giyim > Kazak'"
        " FROM variant v WHERE v.product_id = p.product_id AND v.sku = %s",
        (sku,),
    )
    stated = {"Renk": "lacivert", "Beden": "M"} | attributes
    shop.connection.execute(
        "UPDATE variant SET attributes = %s::jsonb, desi = 2 WHERE sku = %s",
        (json.dumps({name: value for name, value in stated.items() if value}), sku),
    )
    shop.connection.execute(
        "INSERT INTO product_content SELECT merchant_id, product_id, 'tr', %s, '<p>Sıcak</p>'"
        " FROM variant WHERE sku = %s",
        (f"Kazak {sku}", sku),
    )
    for position, url in enumerate(("https://x/1.jpg", "https://x/2.jpg")):
        shop.connection.execute(
            "INSERT INTO media (merchant_id, product_id, position, source_url)"
            " SELECT merchant_id, product_id, %s, %s FROM variant WHERE sku = %s",
            (position, url, sku),
        )


def map_words(shop: Shop) -> None:
    for kind, scope, ours, theirs, name in MAPPING:
        shop.connection.execute(
            "INSERT INTO mapping VALUES (%s, 'pazar', %s, %s, %s, %s, %s, %s)",
            (shop.merchant_id, kind, scope, ours, fold(ours), theirs, name),
        )


async def publish(store: Storefront) -> PublicationPlan:
    plan = await plan_publication(store)
    await publish_listings(store, plan)
    return plan


def problems(plan: PublicationPlan) -> dict[str, list[tuple[str, Mapping[str, str]]]]:
    return {
        draft.sku: [(problem.key, problem.params) for problem in draft.problems]
        for draft in plan.incomplete
    }


async def test_a_draft_is_built_from_the_product_and_the_mapping_table(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A", Renk="GÜL KURUSU")
    plan = await plan_publication(front(database, shop, market))
    assert not plan.incomplete
    content = plan.ready[0].content
    assert content is not None
    assert content.keys == RemoteKeys("BA", "A", "", "M-A")
    assert (content.category_id, content.brand_id) == ("607", "11073")
    assert content.attributes == (
        MappedAttribute("47", custom_value="Gül kurusu"),
        MappedAttribute("338", value_id="1031"),
    )
    assert content.image_urls == ("https://x/1.jpg",)
    assert (content.vat_percent, content.desi, content.quantity) == (Decimal(20), Decimal(2), 0)
    assert content.sale_price == Money(10_000, "TRY")
    assert not listings(shop)


async def test_what_is_missing_is_named_for_each_variant_and_kept_with_its_draft(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "COLOR", Renk="Petrol")
    sweater(shop, "SIZE", Beden="")
    shop.variant("BARE")
    shop.connection.execute(
        "UPDATE variant SET barcode = NULL, vat_percent = 18, sale_price_minor = NULL"
        " WHERE sku = 'BARE'"
    )
    sweater(shop, "TALL")
    shop.connection.execute(
        "UPDATE product_content SET title = repeat('x', 41), description_html = '' FROM variant v"
        " WHERE v.product_id = product_content.product_id AND sku = 'TALL'"
    )
    shop.connection.execute("UPDATE variant SET desi = NULL, length_mm = 100 WHERE sku = 'TALL'")
    store = front(database, shop, market)
    plan = await publish(store)
    assert problems(plan) == {
        "COLOR": [("listing.missing.value", {"attribute": "Renk", "value": "Petrol"})],
        "SIZE": [("listing.missing.attribute", {"attribute": "Beden"})],
        "BARE": [
            ("listing.missing.category_none", {}),
            ("listing.missing.brand_none", {}),
            ("listing.missing.title", {"language": "tr"}),
            ("listing.missing.image", {}),
            ("listing.missing.barcode", {}),
            ("listing.missing.vat_allowed", {"value": "18", "allowed": "0, 1, 10, 20"}),
            ("listing.missing.desi", {}),
            ("listing.missing.price", {}),
        ],
        "TALL": [
            ("listing.missing.title_long", {"length": "41", "limit": "40"}),
            ("listing.missing.description", {}),
            ("listing.missing.desi", {}),
        ],
    }
    assert states(shop) == dict.fromkeys(("BARE", "COLOR", "SIZE", "TALL"), "draft")
    kept = shop.connection.execute(
        "SELECT problems FROM listing JOIN variant USING (variant_id) WHERE sku = 'COLOR'"
    ).fetchone()
    params = {"attribute": "Renk", "value": "Petrol"}
    assert kept == ([{"key": "listing.missing.value", "params": params}],)
    assert not market.sent
    # Once it is mapped, the draft goes out.
    shop.connection.execute(
        "INSERT INTO mapping VALUES (%s, 'pazar', 'value', '/47', 'Petrol', 'petrol', '1024', '')",
        (shop.merchant_id,),
    )
    assert [draft.sku for draft in (await publish(store)).ready] == ["COLOR"]
    assert states(shop)["COLOR"] == "sent"


async def test_intent_stands_before_a_byte_leaves_and_batches_keep_the_limit(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    for sku in ("A", "B", "C"):
        sweater(shop, sku)
    seen: list[object] = []

    def look() -> None:
        seen.append(
            shop.connection.execute(
                "SELECT surface, state, epoch, cardinality(listing_ids) FROM ticket"
                " ORDER BY ticket_id DESC LIMIT 1"
            ).fetchone()
        )

    market.on_send = look
    await publish(front(database, shop, market))
    assert seen == [("content", 1, 3, 2), ("content", 1, 3, 1)]
    assert [len(items) for _, items in market.sent] == [2, 1]
    after = shop.connection.execute("SELECT state, reference FROM ticket ORDER BY ticket_id")
    assert after.fetchall() == [(2, "t1"), (2, "t2")]
    again = await publish(front(database, shop, market))
    assert not again.ready


async def test_a_publication_goes_its_way_to_the_shelf_and_opens_its_offers(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    store = front(database, shop, market)
    await publish(store)
    report = await advance_publications(store)
    assert (report.open, states(shop)) == (1, {"A": "sent"})
    market.polls = [TicketEnded({"BA": Done()})]
    report = await advance_publications(store)
    assert states(shop) == {"A": "pending"}
    assert report.open == 1
    market.show(offer("BA", "A", quantity=0, state="pending"))
    await advance_publications(store)
    assert listings(shop)["A"] == ("pending", "BA", None, None)
    market.show(offer("BA", "A", quantity=0, state="off_sale"))
    report = await advance_publications(store)
    assert (dict(report.states), report.open) == ({"off_sale": 1}, 0)
    assert listings(shop)["A"] == ("off_sale", "BA", 6, 0)
    dirty = shop.connection.execute("SELECT field FROM offer_dirty ORDER BY field").fetchall()
    assert dirty == [(1,), (2,)]
    assert (await advance_publications(store)).states == {}


async def test_refused_items_show_the_marketplaces_words_and_wait_for_new_content(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    sweater(shop, "B")
    store = front(database, shop, market)
    await publish(store)
    words = Refused("E7", "Marka onaylı değil", "advice.x")
    market.polls = [TicketEnded({"BA": Done(), "BB": words})]
    report = await advance_publications(store)
    assert dict(report.states) == {"pending": 1, "rejected": 1}
    problem = shop.connection.execute(
        "SELECT problems FROM listing WHERE state = 'rejected'"
    ).fetchone()
    told = {"key": "listing.refused", "words": "E7 Marka onaylı değil", "advice": "advice.x"}
    assert problem == ([told],)
    plan = await publish(store)
    assert (plan.waiting, plan.ready) == (1, [])
    shop.connection.execute("UPDATE mapping SET theirs = '99' WHERE kind = 'brand'")
    await publish(store)
    assert [(name, len(items)) for name, items in market.sent] == [("publish", 2), ("publish", 1)]
    assert states(shop) == {"A": "pending", "B": "sent"}


async def test_a_listing_that_exists_and_was_rejected_is_corrected_not_created(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    market.show(offer("BA", "A", state="rejected", reject_reasons=("Başlık",)))
    store = front(database, shop, market)
    await link_listings(store)
    await publish(store)
    assert [(name, items[0].keys.remote_id) for name, items in market.sent] == [("update", "rBA")]
    market.polls = [TicketEnded({"BA": Done()})]
    await advance_publications(store)
    assert states(shop) == {"A": "rejected"}
    assert (await plan_publication(store)).waiting == 1


async def test_a_correction_that_was_lost_on_its_way_is_sent_again(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    market.show(offer("BA", "A", state="rejected", reject_reasons=("Başlık",)))
    clock = HandClock()
    store = front(database, shop, market, clock)
    await link_listings(store)
    market.answers = [Unknown("lost")]
    await publish(store)
    clock.instant += timedelta(seconds=961)
    report = await advance_publications(store)
    assert (dict(report.states), report.again) == ({"rejected": 1}, 0)
    await publish(store)
    assert [name for name, _ in market.sent] == ["update", "update"]
    assert states(shop) == {"A": "sent"}


@pytest.mark.parametrize(
    "answer", [Unknown("lost"), ContractBroken("html", b"<html>"), Unknown("duplicate")]
)
async def test_an_unknown_outcome_is_looked_at_before_anything_is_repeated(
    database: Database, shop: Shop, market: Market, answer: Outcome
) -> None:
    map_words(shop)
    sweater(shop, "A")
    sweater(shop, "B")
    clock = HandClock()
    store = front(database, shop, market, clock)
    market.answers = [answer]
    plan = await plan_publication(store)
    report = await publish_listings(store, plan)
    assert report.problem == answer
    assert states(shop) == {"A": "sent", "B": "sent"}
    await publish(store)
    assert (await advance_publications(store)).open == 2
    assert len(market.sent) == 1  # too early to look: it may still arrive
    assert "observe_offers" not in market.calls
    clock.instant += timedelta(seconds=961)
    market.show(offer("BA", "A", state="pending"))
    after = await advance_publications(store)
    assert after.again == 1
    assert states(shop) == {"A": "pending", "B": "draft"}
    await publish(store)
    assert [item.keys.stock_code for item in market.sent[1][1]] == ["B"]


async def test_a_process_cut_off_between_intent_and_answer_leaves_something_to_look_for(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    clock = HandClock()
    store = front(database, shop, market, clock)

    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    market.on_send = kill
    with pytest.raises(Killed):
        await publish(store)
    clock.instant += timedelta(seconds=961)
    market.on_send = lambda: None
    market.show(offer("BA", "A"))
    await advance_publications(store)
    assert listings(shop)["A"] == ("on_sale", "BA", 6, 5)
    assert not market.sent
    # Even without its ticket a listing is not forgotten.
    sweater(shop, "B")
    await publish(store)
    shop.connection.execute("UPDATE ticket SET state = 3")
    assert (await advance_publications(store)).again == 1
    assert states(shop)["B"] == "draft"


@pytest.mark.parametrize("answer", [Throttled(3.0), NotSent("breaker"), Refused("", "no template")])
async def test_a_request_that_was_not_taken_leaves_drafts_and_ends_the_round(
    database: Database, shop: Shop, market: Market, answer: Outcome
) -> None:
    map_words(shop)
    for sku in ("A", "B", "C"):
        sweater(shop, sku)
    store = front(database, shop, market)
    market.answers = [answer]
    report = await publish_listings(store, await plan_publication(store))
    assert report.problem == answer
    assert len(market.sent) == 1
    assert set(states(shop).values()) == {"draft"}
    assert shop.connection.execute("SELECT state FROM ticket").fetchall() == [(3,)]
    await publish(store)
    assert states(shop) == {"A": "sent", "B": "sent", "C": "sent"}


async def test_a_lease_that_ran_out_sends_nothing(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")

    class Gone:
        def check(self) -> None:
            raise LeaseExpired

    store = replace(front(database, shop, market), guard=Gone())
    report = await publish_listings(store, await plan_publication(store))
    assert report.problem == NotSent("lease_expired")
    assert states(shop) == {"A": "draft"}
    assert not market.sent


async def test_items_that_an_answer_does_not_name_are_looked_for_and_sent_again(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    sweater(shop, "B")
    store = front(database, shop, market)
    market.answers = [ItemOutcomes({"BA": Refused("", "", "advice.brand")})]
    report = await publish_listings(store, await plan_publication(store))
    assert report.refused == 1
    assert states(shop) == {"A": "rejected", "B": "sent"}
    assert (await advance_publications(store)).again == 1
    await publish(store)
    assert [item.keys.stock_code for item in market.sent[1][1]] == ["B"]


@pytest.mark.parametrize("silent", [Unknown("expired"), TicketOpen()])
async def test_a_ticket_that_is_stuck_or_forgotten_is_looked_behind(
    database: Database, shop: Shop, market: Market, silent: TicketOpen | Problem
) -> None:
    map_words(shop)
    sweater(shop, "A")
    clock = HandClock()
    store = front(database, shop, market, clock)
    await publish(store)
    clock.instant += timedelta(seconds=901)
    market.polls = [silent]
    market.show(offer("BA", "A", state="pending"))
    await advance_publications(store)
    assert states(shop) == {"A": "pending"}
    assert shop.connection.execute("SELECT state, outcome FROM ticket").fetchall() == [
        (3, "unknown")
    ]


async def test_a_rejected_task_refuses_all_that_it_carried(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    sweater(shop, "B")
    store = front(database, shop, market)
    await publish(store)
    market.polls = [Refused("REJECT", "Geçersiz kategori")]
    await advance_publications(store)
    assert states(shop) == {"A": "rejected", "B": "rejected"}
    market.polls = [Throttled()]
    sweater(shop, "C")
    await publish(store)
    assert (await advance_publications(store)).problem == Throttled()
    assert states(shop)["C"] == "sent"


async def test_an_approved_listing_without_a_sale_state_is_supplied_all_the_same(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    sweater(shop, "A")
    store = front(database, shop, market)
    market.shows_state_by_key = False
    market.answers = [ItemOutcomes({"BA": Done()})]
    await publish(store)
    market.show(offer("BA", "A", quantity=0))
    await advance_publications(store)
    assert market.calls[-1] == "observe_offers"
    assert listings(shop)["A"] == ("off_sale", "BA", 6, 0)


async def test_many_pending_listings_are_seen_page_by_page(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    skus = [f"S{n}" for n in range(5)]
    for sku in skus:
        sweater(shop, sku)
    store = front(database, shop, market)
    market.answers = [ItemOutcomes({f"B{sku}": Done() for sku in skus})] * 3
    await publish(store)
    market.show(*(offer(f"B{sku}", sku) for sku in skus))
    report = await advance_publications(store)
    assert dict(report.states) == {"on_sale": 5}
    assert "observe_offers" not in market.calls


async def five_pending(database: Database, shop: Shop, market: Market) -> Storefront:
    """Five listings that wait for approval; the channel shows two of them on sale."""
    map_words(shop)
    skus = [f"S{n}" for n in range(5)]
    for sku in skus:
        sweater(shop, sku)
    store = front(database, shop, market)
    market.answers = [ItemOutcomes({f"B{sku}": Done() for sku in skus})] * 3
    await publish(store)
    for n, sku in enumerate(skus):
        market.show(offer(f"B{sku}", sku, state="on_sale" if n < 2 else "pending"))
    return store


async def test_what_one_round_does_not_look_at_stays_open(
    database: Database, shop: Shop, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advance, "_LOOKS_MAX", 2)
    report = await advance_publications(await five_pending(database, shop, market))
    assert "list_offers" not in market.calls
    assert (dict(report.states), report.open) == ({"on_sale": 2}, 3)


async def test_a_round_that_ends_early_still_says_how_many_wait(
    database: Database, shop: Shop, market: Market
) -> None:
    store = await five_pending(database, shop, market)
    sweater(shop, "LAST")
    await publish(store)
    market.polls = [Throttled()]
    report = await advance_publications(store)
    assert report.problem == Throttled()
    assert report.open == 6


async def test_a_sweep_settles_all_that_wait_however_many(
    database: Database, shop: Shop, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advance, "_LOOKS_MAX", 3)
    store = await five_pending(database, shop, market)
    for offer_ in list(market.offers.values()):
        market.show(replace(offer_, state="on_sale"))
    report = await advance_publications(store)
    assert "observe_offers" not in market.calls
    assert (dict(report.states), report.open) == ({"on_sale": 5}, 0)


async def test_variants_that_share_a_key_wait_for_one_of_their_own(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    for sku in ("A", "B", "C"):
        sweater(shop, sku)
    shop.connection.execute("UPDATE variant SET barcode = 'B A' WHERE sku = 'B'")
    store = front(database, shop, market)
    plan = await publish(store)
    assert problems(plan) == {
        "A": [("listing.missing.own_key", {"value": "BA", "sku": "B"})],
        "B": [("listing.missing.own_key", {"value": "BA", "sku": "A"})],
    }
    shop.connection.execute("UPDATE variant SET barcode = 'BC' WHERE sku = 'A'")
    assert problems(await plan_publication(store)) == {
        "A": [("listing.missing.own_key", {"value": "BC", "sku": "C"})]
    }


async def test_a_draft_that_the_channel_turns_out_to_have_is_linked(
    database: Database, shop: Shop, market: Market
) -> None:
    sweater(shop, "A")
    store = front(database, shop, market)
    await publish(store)
    assert states(shop) == {"A": "draft"}
    market.show(offer("BA", "A"))
    await link_listings(store)
    assert listings(shop)["A"] == ("on_sale", "BA", 6, 5)
    count = shop.connection.execute("SELECT count(*) FROM listing").fetchone()
    assert count == (1,)


async def test_only_the_named_skus_are_planned_and_a_limit_holds(
    database: Database, shop: Shop, market: Market
) -> None:
    map_words(shop)
    for sku in ("A", "B", "C"):
        sweater(shop, sku)
    store = front(database, shop, market)
    named = await plan_publication(store, skus=["C", "nobody"])
    assert [draft.sku for draft in named.ready] == ["C"]
    assert len((await plan_publication(store, limit=2)).ready) == 2
    assert market.calls.count("list_attributes 607") == 2
