"""Importing a catalog: plan, apply, and what a repetition, a sale or a bad row do to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, timedelta
from decimal import Decimal

import psycopg
import pytest

from meschain.app.commands.import_products import (
    ImportOptions,
    ImportPlan,
    ImportReason,
    LocationUnknown,
    apply_import,
    plan_import,
)
from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import (
    ReadingOptions,
    ReadProduct,
    Reason,
    read_catalog,
)
from meschain.store.unit_of_work import Database
from meschain.testing.shop import NOW, Shop
from tests.store.drafts import lira, product, reading, variant
from tests.store.small_market import HandClock

Connection = psycopg.Connection[tuple[object, ...]]
OPTIONS = ImportOptions(actor="user:ayse", file_name="urunler.csv")


CLOCK = HandClock()


async def take(database: Database, shop: Shop, *products: ReadProduct) -> ImportPlan:
    done = await apply_import(database, CLOCK, shop.merchant_id, reading(*products), OPTIONS)
    return done.plan


def on_hand(shop: Shop) -> dict[str, int]:
    rows = shop.connection.execute(
        "SELECT sku, on_hand FROM stock_level JOIN variant USING (merchant_id, variant_id)"
        " WHERE merchant_id = %s ORDER BY sku",
        (shop.merchant_id,),
    ).fetchall()
    return dict(rows)  # type: ignore[arg-type]


def moves(shop: Shop, sku: str) -> list[tuple[object, ...]]:
    return shop.connection.execute(
        "SELECT kind, on_hand_delta FROM stock_movement JOIN variant USING (merchant_id,"
        " variant_id) WHERE merchant_id = %s AND sku = %s ORDER BY movement_id",
        (shop.merchant_id, sku),
    ).fetchall()


def column(shop: Shop, name: str, table: str = "variant", key: str = "sku") -> dict[str, object]:
    rows = shop.connection.execute(
        f"SELECT {key}, {name} FROM {table} WHERE merchant_id = %s",  # noqa: S608
        (shop.merchant_id,),
    ).fetchall()
    return dict(rows)  # type: ignore[arg-type]


def reasons(plan: ImportPlan) -> list[tuple[str | None, str]]:
    return [(refusal.sku, str(refusal.reason_code)) for refusal in plan.refused]


async def test_a_first_import_creates_everything_and_books_the_stock_as_receipts(
    database: Database, shop: Shop
) -> None:
    drafts = product("KZK-1", variant("KZK-1-S", barcode="869"), variant("KZK-1-M", quantity=None))
    plan = await take(database, shop, drafts)
    assert [created.sku for created in plan.created] == ["KZK-1-S", "KZK-1-M"]
    assert plan.products_created == ["KZK-1"]
    assert on_hand(shop) == {"KZK-1-S": 5}
    assert moves(shop, "KZK-1-S") == [("receipt", 5)]
    assert column(shop, "search_text", "product", "model_code") == {
        "KZK-1": "kazak isilbez giyim > kadin kzk-1"
    }
    run = shop.connection.execute("SELECT counts, ended_at FROM import_run").fetchone()
    assert run is not None
    assert run[0] == plan.counts
    assert run[1] == NOW
    assert shop.connection.execute("SELECT action, actor FROM audit").fetchall() == [
        ("import.products", "user:ayse")
    ]
    kinds = shop.connection.execute("SELECT kind, day FROM event").fetchall()
    assert kinds == [("catalog.imported", date(2026, 11, 1))]


async def test_planning_writes_nothing_and_says_what_applying_does(
    database: Database, shop: Shop
) -> None:
    first = product("KZK-1", variant("A"), variant("B"))
    await take(database, shop, first)
    second = product("KZK-1", variant("A", sale_price=lira("90"), quantity=3), variant("C"))
    planned = await plan_import(database, shop.merchant_id, reading(second), OPTIONS)
    assert on_hand(shop) == {"A": 5, "B": 5}
    applied = await take(database, shop, second)
    assert planned == applied
    assert [(c.field, c.before, c.after) for c in applied.updated[0].changes] == [
        ("sale_price", lira("100"), lira("90")),
        ("quantity", 5, 3),
    ]
    assert [created.sku for created in applied.created] == ["C"]


async def test_the_same_file_twice_changes_nothing(database: Database, shop: Shop) -> None:
    drafts = (
        product("KZK-1", variant("A", desi=Decimal("1.239"), attributes={"Beden": "M"})),
        product("SET", variant("S", bundle={"A": 2}, quantity=None)),
    )
    await take(database, shop, *drafts)
    before = _everything(shop)
    again = await take(database, shop, *drafts)
    assert again.counts == ImportPlan(again.form, ()).counts | {"variants_unchanged": 2}
    assert _everything(shop) == before


def _everything(shop: Shop) -> list[list[tuple[object, ...]]]:
    tables = (
        *("product", "product_content", "variant", "media", "bundle_component", "stock_level"),
        *("stock_movement", "offer_dirty", "event"),
    )
    return [
        shop.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()  # noqa: S608
        for table in tables
    ]


async def test_what_a_file_does_not_state_stays(database: Database, shop: Shop) -> None:
    await take(
        database,
        shop,
        product("M", variant("A", barcode="1", desi=Decimal(2), attributes={"Renk": "Mavi"})),
    )
    bare = ReadProduct(
        ProductDraft("A", None, None, (), (VariantDraft("A", attributes={"Beden": "M"}),)),
        2,
        (2,),
        model_stated=False,
    )
    plan = await take(database, shop, bare)
    assert [(c.field, c.before, c.after) for c in plan.updated[0].changes] == [
        ("attributes.Beden", None, "M")
    ]
    assert not plan.products_updated
    assert column(shop, "attributes") == {"A": {"Renk": "Mavi", "Beden": "M"}}
    assert column(shop, "brand", "product", "model_code") == {"M": "Işılbez"}
    assert on_hand(shop) == {"A": 5}


async def test_a_counted_quantity_becomes_the_difference_even_after_a_sale(
    database: Database, shop: Shop
) -> None:
    await take(database, shop, product("M", variant("A", quantity=10)))
    shop.variants["A"] = int(str(column(shop, "variant_id")["A"]))
    shop.move({"A": -4}, kind="sale")
    await take(database, shop, product("M", variant("A", quantity=10)))
    assert on_hand(shop) == {"A": 10}
    assert moves(shop, "A") == [("receipt", 10), ("sale", -4), ("adjustment", 4)]


async def test_a_sale_that_commits_during_an_import_is_neither_lost_nor_counted_twice(
    database: Database, shop: Shop, database_url: str
) -> None:
    await take(database, shop, product("M", variant("A", quantity=10)))
    shop.variants["A"] = int(str(column(shop, "variant_id")["A"]))
    with psycopg.connect(database_url) as other:
        seller = replace(shop, connection=other)
        seller.move({"A": -4}, kind="sale")  # holds the level's lock
        importing = asyncio.create_task(
            take(database, shop, product("M", variant("A", quantity=7)))
        )
        await asyncio.sleep(0.3)
        assert not importing.done()
        other.commit()
        await importing
    assert on_hand(shop) == {"A": 7}
    assert moves(shop, "A") == [("receipt", 10), ("sale", -4), ("adjustment", 1)]


async def test_listings_follow_a_new_price_and_quantity_and_their_accounts_are_woken(
    database: Database, shop: Shop
) -> None:
    woken: list[tuple[int, list[int]]] = []
    database.on_commit(lambda merchant, accounts: woken.append((merchant, list(accounts))))
    await take(database, shop, product("M", variant("A")))
    shop.variants["A"] = int(str(column(shop, "variant_id")["A"]))
    account = shop.account("trendyol")
    shop.list_on("trendyol", ["A"])
    await take(database, shop, product("M", variant("A", quantity=2, sale_price=lira("80"))))
    desired = shop.connection.execute(
        "SELECT quantity, list_minor, sale_minor FROM offer_desired_quantity"
        " JOIN offer_desired_price USING (merchant_id, account_id, listing_id)"
    ).fetchall()
    assert desired == [(2, 12_000, 8_000)]
    dirty = shop.connection.execute("SELECT field, urgency FROM offer_dirty ORDER BY field")
    assert dirty.fetchall() == [(1, 0), (2, 2)]
    assert woken[-1] == (shop.merchant_id, [account])


async def test_a_bundle_may_stand_above_its_components_and_follows_their_stock(
    database: Database, shop: Shop
) -> None:
    plan = await take(
        database,
        shop,
        product("SET", variant("S", bundle={"A": 2, "B": 1}, quantity=None)),
        product("M", variant("A", quantity=9), variant("B", quantity=3), row=3),
    )
    assert not plan.refused
    shop.variants["S"] = int(str(column(shop, "variant_id")["S"]))
    shop.account("n11")
    shop.list_on("n11", ["S"])
    again = product("SET", variant("S", bundle={"A": 4}, quantity=None))
    changed = (await take(database, shop, again)).updated[0].changes
    assert [(c.field, c.before, c.after) for c in changed] == [("bundle", "A*2 | B*1", "A*4")]
    quantity = shop.connection.execute("SELECT quantity FROM offer_desired_quantity").fetchall()
    assert quantity == [(2,)]


async def test_a_bundle_of_an_unknown_a_refused_or_a_bundled_component_is_refused(
    database: Database, shop: Shop
) -> None:
    await take(
        database,
        shop,
        product("M", variant("A"), variant("B", barcode="1")),
        product("SET", variant("S", bundle={"A": 2}, quantity=None), row=4),
    )
    plan = await take(
        database,
        shop,
        product("X", variant("TAKEN", barcode="1")),
        product("S1", variant("S1", bundle={"NOBODY": 1}), row=3),
        product("S2", variant("S2", bundle={"TAKEN": 1}), row=4),
        product("S3", variant("S3", bundle={"S": 1}), row=5),
        product("M", variant("A", bundle={"B": 1}, quantity=None), row=6),
    )
    assert reasons(plan) == [
        ("TAKEN", ImportReason.BARCODE_TAKEN),
        ("S1", Reason.BUNDLE_COMPONENT_UNKNOWN),
        ("S2", Reason.BUNDLE_COMPONENT_REFUSED),
        ("S3", Reason.BUNDLE_NESTED),
        ("A", Reason.BUNDLE_NESTED),
    ]
    assert not plan.created


async def test_two_skus_may_swap_their_barcodes_but_none_is_taken_away(
    database: Database, shop: Shop
) -> None:
    await take(
        database,
        shop,
        product(
            "M", variant("A", barcode="1"), variant("B", barcode="2"), variant("C", barcode="3")
        ),
    )
    swapped = (variant("A", barcode="2"), variant("B", barcode="1"), variant("D", barcode="3"))
    swap = product("M", *swapped)
    planned = await plan_import(database, shop.merchant_id, reading(swap), OPTIONS)
    plan = await take(database, shop, swap)
    assert planned == plan
    assert column(shop, "barcode") == {"A": "2", "B": "1", "C": "3"}
    assert [(r.sku, r.reason_code, r.params) for r in plan.refused] == [
        ("D", ImportReason.BARCODE_TAKEN, {"value": "3", "sku": "C"})
    ]


async def test_a_chain_of_barcodes_falls_when_its_end_does_not_give_way(
    database: Database, shop: Shop
) -> None:
    await take(
        database,
        shop,
        product(
            "M", variant("A", barcode="1"), variant("B", barcode="2"), variant("C", barcode="3")
        ),
    )
    chain = product("M", variant("A", barcode="2"), variant("B", barcode="3"), variant("C"))
    assert {sku for sku, _ in reasons(await take(database, shop, chain))} == {"A", "B"}
    open_end = product(
        "M", variant("A", barcode="2"), variant("B", barcode="3"), variant("C", barcode="4")
    )
    assert not (await take(database, shop, open_end)).refused
    assert column(shop, "barcode") == {"A": "2", "B": "3", "C": "4"}


async def test_a_known_sku_under_another_model_moves_with_its_pictures(
    database: Database, shop: Shop
) -> None:
    url = "https://cdn.example/a.jpg"
    await take(database, shop, product("OLD", variant("A", image_urls=(url,)), variant("B")))
    bare = ReadProduct(
        ProductDraft("NEW", None, None, (), (VariantDraft("A"),)), 2, (2,), model_stated=True
    )
    plan = await take(database, shop, bare)
    assert [(c.field, c.before, c.after) for c in plan.updated[0].changes] == [
        ("model_code", "OLD", "NEW")
    ]
    homes = shop.connection.execute(
        "SELECT sku, model_code, brand, title FROM variant JOIN product USING (merchant_id,"
        " product_id) JOIN product_content USING (merchant_id, product_id) ORDER BY sku"
    ).fetchall()
    assert homes == [("A", "NEW", "Işılbez", "Kazak"), ("B", "OLD", "Işılbez", "Kazak")]
    picture = shop.connection.execute(
        "SELECT model_code FROM media JOIN product USING (merchant_id, product_id)"
        " WHERE source_url = %s",
        (url,),
    ).fetchall()
    assert picture == [("NEW",)]
    rest = ReadProduct(
        ProductDraft("NEW", None, None, (), (VariantDraft("B"),)), 2, (2,), model_stated=True
    )
    await take(database, shop, rest)
    assert list(column(shop, "brand", "product", "model_code")) == ["NEW"]


async def test_a_stated_list_of_pictures_is_the_list(database: Database, shop: Shop) -> None:
    await take(database, shop, product("M", variant("A", image_urls=("u1", "u2", "u2"))))
    await take(database, shop, product("M", variant("A", image_urls=("u3", "u1"))))
    pictures = shop.connection.execute(
        "SELECT source_url, position FROM media WHERE variant_id IS NOT NULL ORDER BY position"
    ).fetchall()
    assert pictures == [("u3", 0), ("u1", 1)]


async def test_one_price_stays_one_price_and_a_discount_stays_a_discount(
    database: Database, shop: Shop
) -> None:
    def only(sku: str, **prices: Money) -> ReadProduct:
        return product(sku, VariantDraft(sku, **prices))  # type: ignore[arg-type]

    await take(database, shop, only("ONE", list_price=lira("100")))
    await take(database, shop, only("SALE", sale_price=lira("90")))
    await take(database, shop, only("TWO", list_price=lira("100"), sale_price=lira("80")))
    await take(database, shop, only("ONE", list_price=lira("150")))
    await take(database, shop, only("SALE", sale_price=lira("95")))
    await take(database, shop, only("TWO", list_price=lira("150")))
    assert column(shop, "sale_price_minor") == {"ONE": 15_000, "SALE": 9_500, "TWO": 8_000}
    assert column(shop, "list_price_minor") == {"ONE": 15_000, "SALE": None, "TWO": 15_000}
    await take(database, shop, only("ONE", sale_price=lira("170")))
    assert column(shop, "list_price_minor")["ONE"] == 17_000


async def test_what_contradicts_the_catalog_is_refused_and_blocks_nothing(
    database: Database, shop: Shop
) -> None:
    await take(database, shop, product("M", variant("A"), variant("B"), variant("C")))
    plan = await take(
        database,
        shop,
        product("M", replace(VariantDraft("A"), sale_price=lira("130")), variant("C", quantity=7)),
        product("M", replace(VariantDraft("B"), sale_price=Money(500, "EUR")), row=4),
        product(
            "N", variant("D", attributes={"x": "\0"}), variant("E", desi=Decimal(10**8)), row=5
        ),
        product("M", variant("C"), row=7),
    )
    assert [(r.row_number, r.sku, r.reason_code) for r in plan.refused] == [
        (7, "C", Reason.SKU_DUPLICATE),
        (2, "A", Reason.PRICE_SALE_ABOVE_LIST),
        (4, "B", ImportReason.CURRENCY_PARTIAL),
        (5, "D", ImportReason.TEXT_UNSTORABLE),
        (6, "E", Reason.NUMBER_TOO_LARGE),
    ]
    assert plan.refused[1].params == {"sale_price": "130.00", "list_price": "120.00"}
    assert on_hand(shop)["C"] == 7
    assert "N" not in column(shop, "brand", "product", "model_code")


async def test_a_file_that_groups_nothing_leaves_variants_with_their_products(
    database: Database, shop: Shop
) -> None:
    await take(database, shop, product("M", variant("A"), variant("B")))
    plan = await take(
        database,
        shop,
        product("A", variant("A"), title="Birinci", stated=False),
        product("B", variant("B"), title="İkinci", stated=False, row=3),
        product("N", variant("N"), title="Yeni", stated=False, row=4),
    )
    assert plan.products_created == ["N"]
    assert [(u.model_code, [c.field for c in u.changes]) for u in plan.products_updated] == [
        ("M", ["title.tr"])
    ]
    again = await take(
        database,
        shop,
        product("A", variant("A"), title="Birinci", stated=False),
        product("B", variant("B"), title="İkinci", stated=False, row=3),
    )
    assert not again.products_updated


async def test_two_merchants_with_the_same_skus_do_not_meet(
    database: Database, connection: Connection
) -> None:
    kaya, demir = Shop.open(connection, "Kaya"), Shop.open(connection, "Demir")
    await take(database, kaya, product("M", variant("A", barcode="1")))
    plan = await take(database, demir, product("M", variant("B", barcode="1", quantity=1)))
    assert not plan.refused
    await take(database, demir, product("M", variant("A", quantity=2)))
    assert on_hand(kaya) == {"A": 5}
    assert on_hand(demir) == {"A": 2, "B": 1}
    assert column(kaya, "barcode") == {"A": "1"}


async def test_a_location_is_counted_by_itself_and_an_unknown_one_is_refused(
    database: Database, shop: Shop
) -> None:
    shop.connection.execute(
        "INSERT INTO location (merchant_id, code, name) VALUES (%s, 'shop', 'Mağaza')",
        (shop.merchant_id,),
    )
    await take(database, shop, product("M", variant("A", quantity=3)))
    there = replace(OPTIONS, location="shop")
    drafts = product("M", variant("A", quantity=2))
    await apply_import(database, CLOCK, shop.merchant_id, reading(drafts), there)
    levels = shop.connection.execute(
        "SELECT code, on_hand FROM stock_level JOIN location USING (merchant_id, location_id)"
        " ORDER BY code"
    ).fetchall()
    assert levels == [("main", 3), ("shop", 2)]
    with pytest.raises(LocationUnknown):
        await plan_import(
            database, shop.merchant_id, reading(drafts), replace(OPTIONS, location="none")
        )


async def test_a_merchants_own_csv_goes_in_with_its_refused_rows_and_progress(
    database: Database, shop: Shop
) -> None:
    text = (
        "Stok Kodu;Model Kodu;Barkod;Ürün Adı;Satış Fiyatı;KDV;Stok\r\n"
        "A-1;A;8680000000017;Kazak;1.249,90;20;4\r\n"
        "A-2;A;8,68E+12;Kazak;1.249,90;20;4\r\n"
        "A-3;A;;Kazak;1.249,90;18;4\r\n"
        "B-1;B;INT-1;Şal;89,90;10;1\r\n"
    )
    options = ReadingOptions(today=NOW.astimezone(UTC).date())
    told: list[tuple[int, int]] = []
    done = await apply_import(
        database,
        CLOCK,
        shop.merchant_id,
        read_catalog(text.encode("cp1254"), options),
        OPTIONS,
        on_progress=lambda now, total: told.append((now, total)),
    )
    assert [created.sku for created in done.plan.created] == ["A-1", "B-1"]
    assert [(r.row_number, str(r.reason_code)) for r in done.plan.refused] == [
        (3, Reason.BARCODE_NUMBER_FORMAT),
        (4, Reason.VAT_RATE_UNKNOWN),
    ]
    assert column(shop, "sale_price_minor") == {"A-1": 124_990, "B-1": 8_990}
    assert told[-1] == (4, 4)


@pytest.mark.slow
async def test_a_chunk_cut_off_by_a_lost_server_leaves_whole_chunks_and_repeating_completes_it(
    database: Database, shop: Shop
) -> None:
    drafts = [product(f"M{n}", variant(f"S{n}"), row=n) for n in range(2, 1_502)]

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        del done, total
        raise Stop

    with pytest.raises(Stop):
        await apply_import(
            database, CLOCK, shop.merchant_id, reading(*drafts), OPTIONS, on_progress=stop
        )
    assert len(on_hand(shop)) == 1_000
    again = await take(database, shop, *drafts)
    assert (again.unchanged, len(again.created)) == (1_000, 500)
    ended = shop.connection.execute(
        "SELECT ended_at IS NOT NULL FROM import_run ORDER BY import_id"
    ).fetchall()
    assert ended == [(False,), (True,)]
    assert _sum_of_movements(shop) == sum(on_hand(shop).values()) == 7_500


def _sum_of_movements(shop: Shop) -> int:
    row = shop.connection.execute(
        "SELECT sum(on_hand_delta)::integer FROM stock_movement"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


async def test_a_first_import_reads_no_table_again_and_again(
    database_url: str, database: Database, shop: Shop
) -> None:
    """The checks of foreign keys are planned on empty tables, and must not keep to that plan."""
    drafts: list[ReadProduct] = []
    # Narrow rows: with wider ones the planner happens to guess right.
    for n in range(3_000):
        skus = (f"S-{2 * n}", f"S-{2 * n + 1}")
        variants = tuple(VariantDraft(sku, barcode=f"INT-{sku}", quantity=5) for sku in skus)
        contents = (Content("tr", f"Kazak {n}"),)
        drafts.append(
            ReadProduct(ProductDraft(f"M-{n}", None, None, contents, variants), n, (n, n))
        )
    await take(database, shop, *drafts)
    await database.close()  # what its connections have read is counted when they end
    with psycopg.connect(database_url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT relname, (seq_tup_read + coalesce(idx_tup_fetch, 0)) / 6000"
            " FROM pg_stat_user_tables WHERE relname = ANY (%s)",
            (["product", "product_content", "variant", "media", "stock_level"],),
        ).fetchall()
    read = {str(name): int(str(count)) for name, count in rows}
    assert len(read) == 5
    assert all(count < 200 for count in read.values()), read


# — cut short, and continued —


class Cut(Exception):
    """A power cut."""


async def test_what_an_import_continues_with_takes_back_no_newer_count(
    database: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was counted before the cut; sales, returns and counts since then are newer."""
    monkeypatch.setattr("meschain.app.commands.import_products.walk.VARIANTS_PER_CHUNK", 1)
    skus = ("A", "B", "C", "D", "E")
    options = replace(OPTIONS, file_hash=b"file")
    await take(database, shop, *(product(sku, variant(sku, quantity=10)) for sku in skus))
    counted = [product(sku, variant(sku, quantity=20)) for sku in skus]

    def cut(done: int, _: int) -> None:
        if done == 1:
            raise Cut

    with pytest.raises(Cut):
        await apply_import(
            database, CLOCK, shop.merchant_id, reading(*counted), options, on_progress=cut
        )
    ids = column(shop, "variant_id")

    def move(kind: str, sku: str, delta: int) -> None:
        shop.connection.execute(
            "SELECT move_stock(%s, location_id, %s, ARRAY[%s::bigint], ARRAY[%s], '', 'user:ali',"
            " %s, 1) FROM location WHERE merchant_id = %s",
            (shop.merchant_id, kind, ids[sku], delta, NOW + timedelta(1), shop.merchant_id),
        )

    for sku in ("A", "B"):
        move("sale", sku, -3)
    move("sale", "C", -4)
    move("return", "C", 1)
    move("adjustment", "D", 2)

    other = replace(options, actor="user:ali")
    done = await apply_import(database, CLOCK, shop.merchant_id, reading(*counted), other)
    assert done.continued == 1
    assert on_hand(shop) == {"A": 17, "B": 17, "C": 17, "D": 12, "E": 20}
    assert [(each.sku, each.reason_code, each.params) for each in done.plan.warnings] == [
        ("D", ImportReason.COUNTED_SINCE, {"stated": "20", "kept": "12"})
    ]
    row = shop.connection.execute(
        "SELECT actor FROM import_run WHERE import_id = %s", (done.import_id,)
    ).fetchone()
    assert row == ("user:ayse, user:ali",)
