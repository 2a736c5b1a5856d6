"""Files out of a hub, and back in: the real samples, every format, every command."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import os
import subprocess
import sys
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from meschain.app.queries import export
from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import ReadingOptions, collect, read_catalog
from meschain.exchange.out import ExportFormat, ExportOptions, catalog_writer
from meschain.store.unit_of_work import Database
from meschain.testing.shop import NOW, NOW_US, Shop
from tests.store.commands import document, invoke

Connection = psycopg.Connection[tuple[object, ...]]
SAMPLES = Path(__file__).parents[3] / "shared" / "data"
SHOP_FORMATS = [form for form in ExportFormat if form not in ("csv", "xlsx")]
COLUMNS = (
    *("model_code", "sku", "barcode", "brand", "category", "title", "title:en", "description"),
    *("list_price", "sale_price", "cost", "quantity", "vat_percent", "desi", "weight_g"),
    *("origin_country", "attr:Beden", "product_attr:Kumaş", "images", "product_images", "bundle"),
)
JUMPER = {
    "model_code": "KZK",
    "brand": "Kaya",
    "category": "Giyim > Kazak",
    "title": '=Kazak "şık"',
    "title:en": "Jumper",
    "description": "<p>Yün; el\nörgüsü</p>",
    "list_price": "1499,90",
    "sale_price": "1249,90",
    "cost": "700,00",
    "vat_percent": "20",
    "desi": "2,50",
    "product_attr:Kumaş": "Yün, Pamuk",
    "product_images": "https://a.example/1.jpg|https://a.example/2.jpg",
}
CATALOG = (
    {
        **JUMPER, "sku": "KZK-M", "barcode": "8690000000012", "quantity": "5", "weight_g": "450",
        "origin_country": "TR", "attr:Beden": "M", "images": "https://a.example/m.jpg",
    },
    {**JUMPER, "sku": "KZK-L", "barcode": "DP-7", "quantity": "0", "attr:Beden": "L",
     "images": "https://a.example/l.jpg"},
    {
        "model_code": "TRK", "sku": "TRK-7", "category": "Giyim > Tişört", "title": "Tişört",
        "list_price": "349,90", "sale_price": "349,90", "quantity": "20", "vat_percent": "10",
    },
    {
        "model_code": "SET", "sku": "SET-2", "title": "İkili", "list_price": "700,00",
        "sale_price": "650,00", "vat_percent": "20", "bundle": "TRK-7*2|KZK-M",
    },
)  # fmt: skip


def contents(connection: Connection, merchant: str) -> dict[str, object]:
    """The catalog of a merchant, by names that mean the same in another hub."""
    queries = {
        "products": "SELECT model_code, brand, category_path, attributes FROM product",
        "contents": "SELECT model_code, language, title, description_html FROM product_content"
        " JOIN product USING (merchant_id, product_id)",
        "variants": "SELECT sku, model_code, barcode, v.attributes, currency, list_price_minor,"
        " sale_price_minor, cost_minor, vat_percent, desi, weight_g, length_mm, width_mm,"
        " height_mm, handling_days, origin_country, is_bundle FROM variant v"
        " JOIN product USING (merchant_id, product_id)",
        "media": "SELECT model_code, sku, position, source_url FROM media"
        " JOIN product USING (merchant_id, product_id)"
        " LEFT JOIN variant USING (merchant_id, variant_id)",
        "bundles": "SELECT b.sku, c.sku, units FROM bundle_component x"
        " JOIN variant b ON b.variant_id = bundle_variant_id"
        " JOIN variant c ON c.variant_id = component_variant_id",
        "stock": "SELECT sku, code, on_hand FROM stock_level"
        " JOIN variant USING (merchant_id, variant_id)"
        " JOIN location USING (merchant_id, location_id)",
    }
    ((merchant_id,),) = connection.execute(
        "SELECT merchant_id FROM merchant WHERE name = %s", (merchant,)
    ).fetchall()
    found: dict[str, object] = {}
    for name, text in queries.items():
        alias = {"variants": "v.", "bundles": "x.", "media": "media."}.get(name, "")
        rows = connection.execute(
            f"{text} WHERE {alias}merchant_id = %s".encode(), (merchant_id,)
        ).fetchall()
        found[name] = sorted(map(repr, rows))
    return found


def changes_nothing(
    home: Path, form: str, *options: str, currency: str = "TRY"
) -> dict[str, object]:
    """Export, import: unchanged throughout. Returns what the export said."""
    out = home / f"out.{form}"
    said = document(
        "export", "products", "--to", str(out), "--format", form, "--currency", currency, *options
    )
    back = "csv" if form == "xlsx" else form
    plan = document(
        "import", "products", str(out), "--plan", "--format", back, "--currency", currency
    )
    found = plan["counts"]
    for name in ("variants_created", "variants_updated", "products_created", "products_updated"):
        assert found[name] == 0, (form, plan["updated"], plan["products_updated"])
    assert found["variants_unchanged"] == said["variants"]
    return said


@pytest.fixture
def kaya(home: Path) -> Path:
    with (home / "in.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, COLUMNS, delimiter=";")
        writer.writeheader()
        writer.writerows(CATALOG)
    invoke("merchant", "add", "Kaya")
    assert document("import", "products", str(home / "in.csv"))["counts"]["refused"] == 0
    return home


@pytest.mark.parametrize("form", list(ExportFormat))
def test_importing_an_export_changes_nothing(kaya: Path, form: ExportFormat) -> None:
    said = changes_nothing(kaya, form)
    assert said["left_out_count"] == 0
    if form in ("csv", "xlsx"):
        assert said["not_held"] == {}, "our own columns hold everything"
    else:
        assert said["not_held"], "every shop's format lacks something, and says so"


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_another_merchant_with_our_file_has_the_same_catalog(
    kaya: Path, connection: Connection, form: str
) -> None:
    out = kaya / f"out.{form}"
    document("export", "products", "--to", str(out), "--header", "tr")
    invoke("merchant", "add", "Yeni")
    document("import", "products", str(out), "--merchant", "Yeni")
    assert contents(connection, "Yeni") == contents(connection, "Kaya")


def test_a_csv_opens_as_it_is_in_a_turkish_spreadsheet_and_runs_no_formula(kaya: Path) -> None:
    out = kaya / "out.csv"
    invoke("export", "products", "--to", str(out), "--header", "tr")
    raw = out.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfModel Kodu;Stok Kodu;")
    with out.open(encoding="utf-8-sig", newline="") as opened:
        rows = {row["Stok Kodu"]: row for row in csv.DictReader(opened, delimiter=";")}
    assert rows["KZK-M"]["Ürün Adı"] == '\'=Kazak "şık"'
    assert rows["KZK-M"]["Satış Fiyatı"] == "1249,90"
    assert rows["KZK-L"]["Stok"] == "0"


def test_a_letter_that_the_encoding_lacks_writes_nothing(kaya: Path) -> None:
    out = kaya / "out.csv"
    out.write_text("before", encoding="utf-8")
    words = ("export", "products", "--to", str(out), "--encoding", "windows-1252")
    said = invoke(*words, status=1)
    assert "windows-1252" in said.stderr
    assert out.read_text(encoding="utf-8") == "before"
    assert not list(kaya.glob(".*part"))


def test_a_text_that_a_workbook_cannot_hold_writes_nothing(
    kaya: Path, connection: Connection
) -> None:
    connection.execute("UPDATE product_content SET description_html = repeat('x', 32768)")
    out = kaya / "out.xlsx"
    said = invoke("export", "products", "--to", str(out), status=1)
    assert "32,767" in said.stderr
    assert not out.exists()
    changes_nothing(kaya, "csv")


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_what_a_cell_of_ours_cannot_hold_is_said(
    kaya: Path, connection: Connection, form: str
) -> None:
    connection.execute("UPDATE media SET source_url = source_url || '?a=1|2'")
    connection.execute("UPDATE variant SET sku = 'TRK|7' WHERE sku = 'TRK-7'")
    said = changes_nothing(kaya, form)
    # Two variants and one product have images; the set would come back as no set.
    assert said["not_held"] == {"image_urls": 2, "product_image_urls": 1}
    assert [each["sku"] for each in said["left_out"]] == ["SET-2"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", list(ExportFormat))
def test_units_sold_beyond_stock_are_said(
    kaya: Path, connection: Connection, form: ExportFormat
) -> None:
    connection.execute(
        "SELECT move_stock(l.merchant_id, l.location_id, 'adjustment', ARRAY[v.variant_id],"
        " ARRAY[-23], '', 'test', %s, %s) FROM variant v JOIN location l USING (merchant_id)"
        " WHERE v.sku = 'TRK-7'",
        (NOW, NOW_US),
    )
    out = kaya / "out"
    said = document("export", "products", "--to", str(out), "--format", form)
    assert said["not_held"]["below_zero"] == 1
    back = "csv" if form is ExportFormat.XLSX else form
    found = document("import", "products", str(out), "--plan", "--format", back)["counts"]
    assert found["refused"] == 0
    # A shop is to sell none of it; our own file leaves open what it cannot state.
    assert found["variants_updated"] == (form in SHOP_FORMATS)


@pytest.mark.usefixtures("kaya")
def test_a_variant_that_moves_meanwhile_goes_out_once(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes out is of one moment, however many pages it takes."""
    monkeypatch.setattr(export, "_PRODUCTS", 1)
    ((merchant, place),) = connection.execute(
        "SELECT merchant_id, location_id FROM location"
    ).fetchall()

    async def read() -> list[str]:
        database = Database(database_url)
        await database.open()
        found: list[str] = []
        try:
            async for product in export.products(
                database, int(str(merchant)), location=int(str(place))
            ):
                found += [each.sku for each in product.variants]
                connection.execute(
                    "UPDATE variant SET product_id = (SELECT max(product_id) FROM product)"
                    " WHERE sku LIKE 'KZK%'"
                )
                connection.execute(
                    "UPDATE variant SET product_id = (SELECT min(product_id) FROM product)"
                    " WHERE sku = 'TRK-7'"
                )
        finally:
            await database.close()
        return found

    assert sorted(asyncio.run(read())) == ["KZK-L", "KZK-M", "SET-2", "TRK-7"]


@pytest.mark.skipif(
    not (SAMPLES / "catalogue-opencart-sample").is_dir(),
    reason="the real OpenCart sample is not beside this repository",
)
@pytest.mark.parametrize("form", list(ExportFormat))
def test_the_real_opencart_sample_goes_in_and_out(home: Path, form: ExportFormat) -> None:
    invoke("merchant", "add", "Kaya", "--currency", "USD", "--content-language", "en")
    dump = SAMPLES / "catalogue-opencart-sample" / "opencart-en-gb.sql.gz"
    words = ("import", "products", str(dump), "--vat", "9=20", "--vat", "100=20")
    assert document(*words, "--content-language", "en")["counts"]["variants_created"] == 33
    out = home / f"out.{form}"
    said = document("export", "products", "--to", str(out), "--format", form)
    assert said["left_out_count"] == 0
    assert said["variants"] == 33
    back = "csv" if form is ExportFormat.XLSX else str(form)
    plan = document(
        "import", "products", str(out), "--plan", "--format", back, "--currency", "USD",
        "--content-language", "en",
    )  # fmt: skip
    found = plan["counts"]
    not_counted = said["not_held"].get("not_counted", 0)
    assert found["variants_created"] == found["products_created"] == 0
    assert found["products_updated"] == 0, plan["products_updated"]
    # A shop counts every page: what was never counted comes back as 0, as the export has said.
    assert found["variants_updated"] == not_counted, plan["updated"]
    assert found["variants_unchanged"] + not_counted == 33


@pytest.mark.skipif(
    not (SAMPLES / "catalogue-woocommerce-sample").is_dir(),
    reason="the real WooCommerce sample is not beside this repository",
)
@pytest.mark.parametrize("form", list(ExportFormat))
def test_the_real_woocommerce_sample_goes_in_and_out(home: Path, form: ExportFormat) -> None:
    invoke("merchant", "add", "Kaya", "--currency", "USD", "--content-language", "en")
    sample = SAMPLES / "catalogue-woocommerce-sample" / "sample_products.csv"
    words = ("import", "products", str(sample), "--currency", "USD", "--content-language", "en")
    brought = document(*words)["counts"]["variants_created"]
    assert brought == 20
    out = home / f"out.{form}"
    said = document("export", "products", "--to", str(out), "--format", form)
    if form is ExportFormat.OPENCART:
        # The export of WooCommerce states no VAT, and OpenCart keeps net prices.
        assert said["left_out_count"] == brought
        return
    assert said["variants"] == brought
    back = "csv" if form is ExportFormat.XLSX else str(form)
    plan = document(
        "import", "products", str(out), "--plan", "--format", back, "--currency", "USD",
        "--content-language", "en",
    )  # fmt: skip
    found = plan["counts"]
    lent = said["not_held"].get("lent_images", 0)
    assert found["variants_updated"] == (lent if form is ExportFormat.GOOGLE else 0)
    assert found["variants_unchanged"] + found["variants_updated"] == brought
    assert found["products_updated"] == found["products_created"] == 0


def saleor(channel: int) -> list[ProductDraft]:
    """The sample's products as one of its two channels sells them."""
    records = json.loads(
        gzip.decompress((SAMPLES / "catalogue-saleor-multichannel/catalogue.json.gz").read_bytes())
    )
    by_model: defaultdict[str, dict[object, dict[str, object]]] = defaultdict(dict)
    for record in records:
        by_model[record["model"]][record["pk"]] = record["fields"]
    listed = {
        fields["variant"]: fields
        for fields in by_model["product.productvariantchannellisting"].values()
        if fields["channel"] == channel and fields["price_amount"] is not None
    }
    stock = {
        fields["product_variant"]: fields["quantity"]
        for fields in by_model["warehouse.stock"].values()
    }
    values = by_model["attribute.attributevalue"]
    names = by_model["attribute.attribute"]
    owner = by_model["attribute.assignedvariantattribute"]
    chosen: defaultdict[object, dict[str, str]] = defaultdict(dict)
    for fields in by_model["attribute.assignedvariantattributevalue"].values():
        value = values[fields["value"]]
        name = str(names[value["attribute"]]["name"])
        chosen[owner[fields["assignment"]]["variant"]][name] = str(value["name"])
    of_product: defaultdict[object, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for fields in by_model["attribute.assignedproductattributevalue"].values():
        value = values[fields["value"]]
        name = str(names[value["attribute"]]["name"])
        of_product[fields["product"]][name].append(str(value["name"]))
    variants: defaultdict[object, list[VariantDraft]] = defaultdict(list)
    for key, fields in by_model["product.productvariant"].items():
        listing = listed.get(key)
        if listing is None:
            continue
        currency = str(listing["currency"])
        price, sale = (
            Money(int(Decimal(str(listing[name])) * 100), currency)
            for name in ("price_amount", "discounted_price_amount")
        )
        quantity = stock.get(key)
        variants[fields["product"]].append(
            VariantDraft(
                sku=str(fields["sku"] or f"saleor-{key}"),
                attributes=chosen[key],
                list_price=price,
                sale_price=sale,
                quantity=quantity if isinstance(quantity, int) else None,
            )
        )
    return [
        ProductDraft(
            model_code=str(fields["slug"]),
            brand=None,
            category=None,
            contents=(Content("en", str(fields["name"]), str(fields["description_plaintext"])),),
            variants=tuple(variants[key]),
            attributes={name: ", ".join(each) for name, each in of_product[key].items()},
        )
        for key, fields in by_model["product.product"].items()
        if variants[key]
    ]


@pytest.mark.skipif(
    not (SAMPLES / "catalogue-saleor-multichannel").is_dir(),
    reason="the real Saleor sample is not beside this repository",
)
@pytest.mark.parametrize("channel", [1, 2])
def test_the_real_saleor_sample_goes_in_and_out_by_channel(
    home: Path, connection: Connection, channel: int
) -> None:
    """Two channels with prices of their own; our catalog holds one a SKU, so one at a time."""
    products = saleor(channel)
    currency = {1: "USD", 2: "PLN"}[channel]
    brought = sum(len(product.variants) for product in products)
    assert brought == 73
    invoke("merchant", "add", "Kaya", "--currency", currency, "--content-language", "en")
    source = home / "in.csv"
    writer = catalog_writer(ExportFormat.CSV, ExportOptions(language="en"))
    for product in products:
        writer.add(product)
    writer.finish(source)
    done = document("import", "products", str(source), "--content-language", "en")
    assert done["counts"]["variants_created"] == brought
    for form in ExportFormat:
        out = home / f"out.{form}"
        said = document("export", "products", "--to", str(out), "--format", form)
        if form is ExportFormat.OPENCART:
            assert said["left_out_count"] == brought, "no VAT is stated"
            continue
        assert said["left_out_count"] == 0
        back = "csv" if form is ExportFormat.XLSX else str(form)
        plan = document(
            "import", "products", str(out), "--plan", "--format", back, "--currency", currency,
            "--content-language", "en",
        )  # fmt: skip
        assert plan["counts"]["variants_unchanged"] == brought, plan["updated"]
        assert plan["counts"]["products_updated"] == 0, plan["products_updated"]
    # And a merchant who has nothing gets the same from our own file.
    invoke("merchant", "add", "Yeni", "--currency", currency, "--content-language", "en")
    words = ("import", "products", str(home / "out.xlsx"), "--merchant", "Yeni")
    document(*words, "--content-language", "en")
    assert contents(connection, "Yeni") == contents(connection, "Kaya")


# — stock, prices, orders, refusals —


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_stock_and_prices_come_back_unchanged(kaya: Path, form: str) -> None:
    for kind, rows in (("stock", 3), ("prices", 4)):
        out = kaya / f"{kind}.{form}"
        assert document("export", kind, "--to", str(out))["rows"] == rows
        found = document("import", kind, str(out))["counts"]
        assert found == {"changed": 0, "unchanged": rows, "refused": 0}


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_prices_in_a_currency_of_three_decimals_come_back_unchanged(home: Path, form: str) -> None:
    """``1,250`` alone is a price or a thousand times as much."""
    invoke("merchant", "add", "Kuveyt", "--currency", "KWD")
    given = home / "in.csv"
    given.write_text("sku;title;sale_price;cost\nA;Elbise;1,250;0,000\n", encoding="utf-8")
    document("import", "products", str(given), "--decimal", ",")
    out = home / f"prices.{form}"
    assert document("export", "prices", "--to", str(out))["rows"] == 1
    found = document("import", "prices", str(out))["counts"]
    assert found == {"changed": 0, "unchanged": 1, "refused": 0}


@pytest.mark.parametrize("form", list(ExportFormat))
def test_a_merchant_of_another_country_need_not_repeat_its_currency_and_language(
    home: Path, form: ExportFormat
) -> None:
    """A file goes out in the merchant's own; coming back it is taken for that."""
    invoke("merchant", "add", "Kaya", "--currency", "USD", "--content-language", "en")
    given = home / "in.csv"
    given.write_text(
        "sku;title;list_price;sale_price;quantity;vat_percent\nA;Dress;15.00;12.50;3;20\n",
        encoding="utf-8",
    )
    document("import", "products", str(given))
    out = home / "out"
    said = document("export", "products", "--to", str(out), "--format", form)
    assert said["left_out_count"] == 0
    back = "csv" if form is ExportFormat.XLSX else form
    plan = document("import", "products", str(out), "--plan", "--format", back)
    assert plan["products_updated"] == []
    assert plan["counts"]["variants_unchanged"] == 1, plan["updated"]


@pytest.mark.usefixtures("kaya")
def test_a_reader_who_has_had_enough_is_no_failure(home: Path, database_url: str) -> None:
    """As in ``meschain export stock --to - | head -1``."""
    environment = {**os.environ, "DATABASE_URL": database_url, "MESCHAIN_HOME": str(home / "home")}
    words = (sys.executable, "-m", "meschain", "export", "stock", "--to", "-")
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        said = command.stderr.read().decode()
        assert command.wait(timeout=120) == 0, said
    assert "Traceback" not in said
    assert "Exception" not in said


PAST = (
    "order_number;placed_at;sku;title;units;unit_price;payable;currency;state;buyer_ref;vat_percent\n"
    "1;2025-03-01 10:00;A;=Kazak;2;33,333333;66,67;TRY;;12680;20\n"
    "1;2025-03-01 10:00;B;;1;10;10;TRY;iptal;12680;\n"
    "C2;2025-03-02T23:30+00:00;A;;-1;33,333333;;EUR;;;\n"
)


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_history_goes_out_and_comes_back_unchanged(
    home: Path, connection: Connection, form: str
) -> None:
    invoke("merchant", "add", "Kaya")
    given = home / "past.csv"
    given.write_text(PAST, encoding="utf-8")
    document("import", "orders", str(given), "--source", "mağaza")
    out = home / f"orders.{form}"
    assert document("export", "orders", "--to", str(out))["rows"] == 3
    found = document("import", "orders", str(out))["counts"]
    assert (found["lines_unchanged"], found["orders"], found["refused"]) == (3, 2, 0)
    invoke("merchant", "add", "Yeni")
    document("import", "orders", str(out), "--merchant", "Yeni")
    tables = [
        connection.execute(
            "SELECT source, number, placed_at, o.currency, buyer_ref, o.payable, payable_minor,"
            " line_number, sku, title, units, unit_price, l.payable, vat_percent, state"
            " FROM past_order o JOIN past_order_line l USING (merchant_id, past_order_id)"
            " JOIN merchant m USING (merchant_id) WHERE m.name = %s ORDER BY number, line_number",
            (name,),
        ).fetchall()
        for name in ("Kaya", "Yeni")
    ]
    assert tables[0] == tables[1]
    since = ("--since", "2025-03-02", "--merchant", "Yeni")
    assert document("export", "orders", "--to", str(out), *since)["rows"] == 1


def test_orders_go_out_without_personal_data_and_with_all_their_digits(
    shop: Shop, home: Path
) -> None:
    shop.variant("A", on_hand=5)
    account = shop.account("east")
    order = {
        "external_id": "O-1", "placed_at": NOW.isoformat(), "currency": "TRY",
        "payment_method": "", "micro_export": False, "is_company": True, "city": "İzmir",
        "country_code": "TR", "unknown_fields": {}, "detected_by": "poll", "actor": "test",
        "minor_factor": 100,
        "packages": [
            {
                "external_id": "P1", "state": "created", "state_raw": "Created",
                "modified_at": NOW.isoformat(), "carrier": "", "cargo_code": "",
                "tracking_number": "12.50", "tracking_url": "", "desi": None, "cargo_payer": None,
                "origin_ids": [], "stated_total": None, "ship_by": None,
                "lines": [
                    {
                        "line_id": "L1", "item_key": "A", "sku": "A", "barcode": "BA",
                        "title": "=Kazak", "units": 3, "unit_gross": "33.333333",
                        "unit_seller_discount": 0, "unit_marketplace_discount": "0.5",
                        "payable": "99.999999", "vat_percent": 20, "commission_percent": "12.5",
                        "state_raw": "", "extra": {},
                    }
                ],
            }
        ],
    }  # fmt: skip
    shop.connection.execute(
        "SELECT take_order(%s, %s, %s::jsonb, '', '', 1, %s, %s)",
        (shop.merchant_id, account, json.dumps(order), NOW, NOW_US),
    )
    out = home / "orders.csv"
    assert document("export", "orders", "--to", str(out), "--decimal", ".")["rows"] == 1
    with out.open(encoding="utf-8-sig", newline="") as opened:
        (row,) = csv.DictReader(opened, delimiter=";")
    assert row["order_number"] == "O-1"
    assert row["placed_at"] == NOW.isoformat()
    assert row["source"] == "east"
    assert (row["units"], row["unit_price"], row["payable"]) == ("3", "33.333333", "99.999999")
    assert row["unit_marketplace_discount"] == "0.5", "of one unit, as its name says"
    assert (row["title"], row["tracking_number"]) == ("'=Kazak", "12.50")
    assert (row["vat_percent"], row["is_company"], row["city"]) == ("20", "1", "İzmir")
    for words, rows in (
        (("--since", f"{NOW.date()}"), 1),
        (("--until", f"{NOW.date()}"), 0),
        (("--since", "2026-11-02"), 0),
    ):
        assert document("export", "orders", "--to", str(out), *words)["rows"] == rows


@pytest.mark.parametrize("language", ["en", "tr"])
def test_refusals_go_out_in_the_marketplaces_words(shop: Shop, home: Path, language: str) -> None:
    shop.variant("A", on_hand=5)
    account = shop.account("east")
    shop.list_on("east", ["A"])
    shop.connection.execute(
        "INSERT INTO offer_refusal (merchant_id, account_id, listing_id, field, revision, code,"
        " words, advice, refused_us) VALUES (%s, %s, %s, 2, 1, 'E7', 'Fiyat düşük', '', %s)",
        (shop.merchant_id, account, shop.listings["east", "A"], NOW_US),
    )
    out = home / "refused.csv"
    result = invoke("export", "refused", "--to", str(out), "--language", language)
    assert "1" in result.stdout
    with out.open(encoding="utf-8-sig", newline="") as opened:
        (row,) = csv.DictReader(opened, delimiter=";")
    assert (row["subject"], row["account"], row["code"]) == ("A", "east", "E7")
    assert row["words"] == "Fiyat düşük"
    assert row["what"]
    assert row["advice"]


@pytest.mark.parametrize("language", ["en", "tr"])
def test_what_a_format_lacks_is_said_in_both_languages(kaya: Path, language: str) -> None:
    for form in SHOP_FORMATS:
        out = kaya / f"out.{form}"
        words = ("export", "products", "--to", str(out), "--format", form, "--language", language)
        said = invoke(*words).stdout
        assert len(said.splitlines()) > 2
    to = str(kaya / "x")
    priced = ("export", "products", "--to", to, "--format", "shopify")
    said = invoke(*priced, "--currency", "EUR", "--language", language).stdout
    assert "KZK-M" in said, "what is left out is named"
    for kind in ("products", "stock", "prices", "orders", "refused"):
        invoke("export", kind, "--help", "--language", language)


def test_an_export_of_our_columns_reads_as_ours(kaya: Path) -> None:
    out = kaya / "out.csv"
    invoke("export", "products", "--to", str(out))
    found = collect(read_catalog(out, ReadingOptions(today=date(2026, 11, 20))).records)
    assert not found.refused
    assert not found.warnings
