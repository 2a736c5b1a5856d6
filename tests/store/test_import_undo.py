"""Putting an import back: what it changed, what was changed since, what depends on it."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from meschain.app.commands.import_products import (
    AlreadyUndone,
    ImportBusy,
    ImportDone,
    ImportOptions,
    ImportUnknown,
    Keeping,
    UndoPlan,
    apply_import,
    undo_import,
)
from meschain.app.commands.import_products.walk import working_alone
from meschain.app.commands.set_price import NewPrice, set_prices
from meschain.app.commands.set_stock import Counting, change_stock
from meschain.channel.clock import SystemClock
from meschain.exchange import ReadProduct
from meschain.store.unit_of_work import Database
from meschain.testing.shop import Shop
from tests.store.drafts import lira, product, reading, variant

Connection = psycopg.Connection[tuple[object, ...]]
CLOCK = SystemClock()
OPTIONS = ImportOptions(actor="user:ayse", file_name="urunler.csv")
TABLES = (
    "SELECT model_code, brand, category_path, attributes, search_text, sort_key FROM product",
    (
        "SELECT model_code, language, title, description_html FROM product_content"
        " JOIN product USING (merchant_id, product_id)"
    ),
    (
        "SELECT sku, model_code, barcode, v.attributes, currency, list_price_minor,"
        " sale_price_minor, cost_minor, vat_percent, desi, weight_g, is_bundle FROM variant v"
        " JOIN product USING (merchant_id, product_id)"
    ),
    (
        "SELECT model_code, sku, position, source_url FROM media JOIN product USING (merchant_id,"
        " product_id) LEFT JOIN variant v USING (merchant_id, variant_id)"
    ),
    (
        "SELECT b.sku, c.sku, units FROM bundle_component JOIN variant b"
        " ON b.variant_id = bundle_variant_id JOIN variant c ON c.variant_id = component_variant_id"
    ),
    (
        "SELECT sku, on_hand, reserved, safety_stock FROM stock_level"
        " JOIN variant USING (merchant_id, variant_id)"
    ),
)


async def take(database: Database, shop: Shop, *products: ReadProduct) -> ImportDone:
    return await apply_import(database, CLOCK, shop.merchant_id, reading(*products), OPTIONS)


async def undo(
    database: Database, shop: Shop, import_id: int, *, is_plan: bool = False
) -> UndoPlan:
    return await undo_import(
        database, CLOCK, shop.merchant_id, import_id, actor="user:ayse", is_plan=is_plan
    )


def catalog(shop: Shop) -> list[list[tuple[object, ...]]]:
    return [sorted(shop.connection.execute(each.encode()).fetchall(), key=repr) for each in TABLES]


def ids_of(shop: Shop) -> dict[str, int]:
    """Variants by SKU; the shop's own means then work on them."""
    rows = shop.connection.execute("SELECT sku, variant_id FROM variant").fetchall()
    shop.variants.update({str(sku): int(str(variant)) for sku, variant in rows})
    return shop.variants


def kept(plan: UndoPlan) -> list[tuple[str, tuple[str, ...], str]]:
    return [(each.code, each.fields, each.reason) for each in plan.kept]


def level(shop: Shop, sku: str) -> object:
    row = shop.connection.execute(
        "SELECT on_hand FROM stock_level JOIN variant USING (merchant_id, variant_id)"
        " WHERE sku = %s",
        (sku,),
    ).fetchone()
    return row[0] if row else None


def ledger_equals_levels(shop: Shop) -> bool:
    """Of every variant, also of those that are gone."""
    return not shop.connection.execute(
        "SELECT variant_id, location_id, sum(on_hand_delta) FROM stock_movement"
        " GROUP BY merchant_id, variant_id, location_id"
        " HAVING sum(on_hand_delta) <> coalesce((SELECT on_hand FROM stock_level l"
        " WHERE (l.merchant_id, l.variant_id, l.location_id) = (stock_movement.merchant_id,"
        " stock_movement.variant_id, stock_movement.location_id)), 0)"
    ).fetchall()


async def test_the_catalog_is_again_what_it_was_and_the_ledger_only_grew(
    database: Database, shop: Shop
) -> None:
    await take(
        database,
        shop,
        product(
            "M",
            variant("A", barcode="1", attributes={"Renk": "Mavi", "Beden": "M"}, image_urls=("a",)),
            variant("B", barcode="2", cost=lira("40"), desi=Decimal(2)),
            variant("N", quantity=None),
        ),
        product("OLD", variant("O", image_urls=("o1", "o2"))),
        product("SET", variant("S", bundle={"A": 2}, quantity=None)),
    )
    before = catalog(shop)
    movements = shop.connection.execute("SELECT * FROM stock_movement").fetchall()
    done = await take(
        database,
        shop,
        product(
            "M",
            # Barcodes swap, an attribute is replaced and one added, a level is made.
            variant("A", barcode="2", attributes={"Renk": "Gri", "Yaka": "V"}, image_urls=("b",)),
            variant("B", barcode="1", cost=lira("44"), quantity=2, list_price=lira("130")),
            variant("N", quantity=7),
            variant("C", barcode="3", quantity=9),
            title="Yün kazak",
            images=("https://cdn.example/3.jpg", "https://cdn.example/1.jpg"),
        ),
        product("M2", variant("D"), title="Sweater", tag="en"),
        product("NEW", variant("O", image_urls=("o2", "o3"))),
        product("SET", variant("S", bundle={"A": 1, "C": 3}, quantity=None)),
        product("SET2", variant("S2", bundle={"D": 2}, quantity=None)),
    )
    assert before != catalog(shop)
    planned = await undo(database, shop, done.import_id, is_plan=True)
    assert before != catalog(shop)
    plan = await undo(database, shop, done.import_id)
    assert planned == plan
    assert not plan.kept
    assert catalog(shop) == before
    assert ledger_equals_levels(shop)
    after = shop.connection.execute("SELECT * FROM stock_movement").fetchall()
    assert set(movements) < set(after)
    with pytest.raises(AlreadyUndone):
        await undo(database, shop, done.import_id)


async def test_what_was_changed_since_stays_and_is_named(database: Database, shop: Shop) -> None:
    await take(database, shop, product("M", variant("A"), variant("B")))
    done = await take(
        database,
        shop,
        product(
            "M",
            variant("A", sale_price=lira("90"), desi=Decimal(3)),
            variant("B", sale_price=lira("80")),
            title="Yün kazak",
        ),
    )
    price = NewPrice("A", None, 9_500)
    await set_prices(database, CLOCK, shop.merchant_id, [price], actor="user:ali")
    shop.connection.execute("UPDATE product_content SET title = 'Elle yazılmış'")
    plan = await undo(database, shop, done.import_id)
    assert kept(plan) == [
        ("A", ("sale_price",), Keeping.EDITED),
        ("M", ("title.tr",), Keeping.EDITED),
    ]
    rows = shop.connection.execute("SELECT sku, sale_price_minor, desi FROM variant ORDER BY sku")
    assert rows.fetchall() == [("A", 9_500, None), ("B", 10_000, None)]


async def test_a_price_never_goes_back_below_another_that_stays(
    database: Database, shop: Shop
) -> None:
    await take(database, shop, product("M", variant("A")))
    dearer = variant("A", list_price=lira("300"), sale_price=lira("250"))
    done = await take(database, shop, product("M", dearer))
    price = NewPrice("A", None, 20_000)
    await set_prices(database, CLOCK, shop.merchant_id, [price], actor="user:ali")
    plan = await undo(database, shop, done.import_id)
    assert kept(plan) == [("A", ("sale_price", "list_price"), Keeping.EDITED)]
    row = shop.connection.execute("SELECT list_price_minor, sale_price_minor FROM variant")
    assert row.fetchall() == [(30_000, 20_000)]


async def test_units_sold_since_stay_sold(database: Database, shop: Shop) -> None:
    await take(database, shop, product("M", *(variant(sku) for sku in "ABCD")))
    more = [variant("A", quantity=12), variant("B", quantity=2), variant("C", quantity=9)]
    done = await take(database, shop, product("M", *more, variant("D", quantity=8)))
    ids = ids_of(shop)
    shop.move({"A": -3}, kind="sale")
    shop.move({"C": -6}, kind="sale")
    await change_stock(
        database, CLOCK, shop.merchant_id, {"D": 30}, Counting.COUNTED, actor="user:ali"
    )
    plan = await undo(database, shop, done.import_id)
    assert kept(plan) == [
        ("D", ("quantity",), Keeping.COUNTED),
        ("C", ("quantity",), Keeping.SOLD),
    ]
    assert [level(shop, sku) for sku in "ABCD"] == [2, 5, 3, 30]
    assert ledger_equals_levels(shop)
    moves = shop.connection.execute(
        "SELECT kind, on_hand_delta, actor FROM stock_movement WHERE variant_id = %s"
        " ORDER BY movement_id DESC LIMIT 1",
        (ids["A"],),
    ).fetchall()
    assert moves == [("adjustment", -7, f"undo:{done.import_id}")]


async def test_what_something_depends_on_is_not_removed(database: Database, shop: Shop) -> None:
    done = await take(database, shop, product("M", *(variant(sku) for sku in "ABCDE")))
    ids_of(shop)
    shop.account("n11")
    shop.list_on("n11", ["A"])
    shop.move({"B": -1}, kind="sale")
    price = NewPrice("C", None, 9_000)
    await set_prices(database, CLOCK, shop.merchant_id, [price], actor="user:ali")
    bundle = product("SET", variant("S", bundle={"D": 1}, quantity=None))
    await take(database, shop, bundle)
    plan = await undo(database, shop, done.import_id)
    assert sorted(kept(plan)) == [
        ("A", (), Keeping.LISTED),
        ("B", (), Keeping.MOVED),
        ("C", ("sale_price",), Keeping.EDITED),
        ("D", (), Keeping.BUNDLED),
    ]
    assert plan.removed == ["E"]
    assert level(shop, "A") == 5
    assert ledger_equals_levels(shop)


async def test_a_barcode_goes_back_only_when_nobody_else_has_it(
    database: Database, shop: Shop
) -> None:
    await take(database, shop, product("M", variant("A", barcode="1"), variant("B", barcode="2")))
    done = await take(
        database, shop, product("M", variant("A", barcode="11"), variant("B", barcode="1"))
    )
    await take(database, shop, product("M", variant("X", barcode="2")))
    planned = await undo(database, shop, done.import_id, is_plan=True)
    plan = await undo(database, shop, done.import_id)
    assert planned == plan
    # B cannot have 2 again, so it keeps 1, so A cannot have that.
    assert sorted(kept(plan)) == [
        ("A", ("barcode",), Keeping.BARCODE_TAKEN),
        ("B", ("barcode",), Keeping.BARCODE_TAKEN),
    ]
    rows = shop.connection.execute("SELECT sku, barcode FROM variant ORDER BY sku")
    assert rows.fetchall() == [("A", "11"), ("B", "1"), ("X", "2")]


async def test_listings_follow_what_is_put_back(database: Database, shop: Shop) -> None:
    woken: list[int] = []
    database.on_commit(lambda _, accounts: woken.extend(accounts))
    await take(database, shop, product("M", variant("A")))
    ids_of(shop)
    account = shop.account("trendyol")
    shop.list_on("trendyol", ["A"])
    done = await take(
        database, shop, product("M", variant("A", quantity=50, sale_price=lira("60")))
    )
    woken.clear()
    await undo(database, shop, done.import_id)
    desired = shop.connection.execute(
        "SELECT quantity, sale_minor FROM offer_desired_quantity"
        " JOIN offer_desired_price USING (merchant_id, account_id, listing_id)"
    ).fetchall()
    assert desired == [(5, 10_000)]
    assert set(woken) == {account}


async def test_cut_short_it_goes_on_where_it_was(database: Database, shop: Shop) -> None:
    drafts = [product(f"M{n}", variant(f"S{n}", quantity=3)) for n in range(2_500)]
    await take(database, shop, *drafts[:1_200])
    before = catalog(shop)
    changed = [product(f"M{n}", variant(f"S{n}", quantity=8)) for n in range(2_500)]
    done = await take(database, shop, *changed)

    class Stop(Exception):
        pass

    def stop(place: int, total: int) -> None:
        if place == total - 1:  # no barcode goes back, so nothing is planned before
            raise Stop

    with pytest.raises(Stop):
        await undo_import(
            database,
            CLOCK,
            shop.merchant_id,
            done.import_id,
            actor="user:ayse",
            on_progress=stop,
        )
    assert catalog(shop) != before
    assert not (await undo(database, shop, done.import_id)).kept
    assert catalog(shop) == before
    assert ledger_equals_levels(shop)


async def test_two_imports_do_not_run_at_once_and_an_unknown_one_is_not_undone(
    database: Database, shop: Shop, database_url: str
) -> None:
    other = Database(database_url, app_connections=2, engine_connections=1)
    await other.open()
    try:
        async with working_alone(other, shop.merchant_id):
            with pytest.raises(ImportBusy):
                await take(database, shop, product("M", variant("A")))
        await take(database, shop, product("M", variant("A")))
    finally:
        await other.close()
    with pytest.raises(ImportUnknown):
        await undo(database, shop, 4_711)


async def test_another_merchants_import_is_not_found(database: Database, shop: Shop) -> None:
    done = await take(database, shop, product("M", variant("A")))
    other = Shop.open(shop.connection, "Demir")
    with pytest.raises(ImportUnknown):
        await undo(database, other, done.import_id)
    assert level(shop, "A") == 5
