"""Past orders: exact to the last digit, apart from everything that serves orders."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from meschain.testing.shop import NOW, NOW_US, Shop
from tests.store.commands import document, invoke

Connection = psycopg.Connection[tuple[object, ...]]
UCI = Path(__file__).parents[3] / "shared" / "data" / "uci-online-retail" / "transactions.csv.gz"
UCI_MAP = """\
[columns]
order_number = "InvoiceNo"
sku = "StockCode"
title = "Description"
units = "Quantity"
placed_at = "InvoiceDate"
unit_price = "UnitPrice"
buyer_ref = "CustomerID"
country = "Country"

[fixed]
currency = "GBP"
source = "shop"
"""
HISTORY = ("past_order", "past_order_line", "import_run", "import_step", "audit")
OWN = """\
order_number;placed_at;sku;title;units;unit_price;currency;buyer_ref;state
1;2025-03-01 10:00;A;Kazak;2;33,333;TRY;C-7;
1;2025-03-01 10:00;B;Etek;1;10,00;TRY;C-7;İptal Edildi
2;01.03.2025 23:30;A;Kazak;-1;33,333;TRY;;
3;2025-03-02T08:00:00Z;X;Eski ürün;1;19,90;EUR;;Teslim Edildi
"""


@pytest.fixture
def home(home: Path, shop: Shop) -> Path:
    shop.variant("A", on_hand=5)
    shop.account("east")
    shop.list_on("east", ["A"])
    return home


def others(connection: Connection) -> dict[str, object]:
    """Every table that is not history's, with the runs and the audit left out."""
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    found: dict[str, object] = {}
    for (name,) in names:
        if name not in HISTORY and not str(name).startswith("schema_"):
            query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(str(name)))
            found[str(name)] = sorted(map(repr, connection.execute(query).fetchall()))
    return found


def kept(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT number, line_number, sku, units, unit_price::text, l.payable::text, state,"
        " currency, buyer_ref, placed_at::text FROM past_order_line l JOIN past_order p"
        " USING (merchant_id, past_order_id) ORDER BY number, line_number"
    ).fetchall()


def test_history_is_kept_exact_and_touches_nothing_else(home: Path, connection: Connection) -> None:
    file = home / "orders.csv"
    file.write_text(OWN, encoding="utf-8")
    before = others(connection)

    planned = document("import", "orders", str(file), "--source", "shop", "--plan")
    assert not kept(connection)
    done = document("import", "orders", str(file), "--source", "shop")
    assert done["counts"] == planned["counts"]
    assert done["counts"] == {
        "orders": 3,
        "lines_created": 4,
        "lines_updated": 0,
        "lines_unchanged": 0,
        "lines_removed": 0,
        "refused": 0,
    }
    assert done["sums"] == planned["sums"]
    morning, evening = "2025-03-01 07:00:00+00", "2025-03-01 20:30:00+00"  # of Istanbul, in UTC
    assert kept(connection) == [
        ("1", 1, "A", 2, "33.333000", "66.666000", "sold", "TRY", "C-7", morning),
        ("1", 2, "B", 1, "10.000000", "10.000000", "cancelled", "TRY", "C-7", morning),
        ("2", 1, "A", -1, "33.333000", "-33.333000", "returned", "TRY", "", evening),
        ("3", 1, "X", 1, "19.900000", "19.900000", "sold", "EUR", "", "2025-03-02 08:00:00+00"),
    ]
    # Rounded once, at the document, and both kept; what was cancelled is not owed.
    totals = connection.execute(
        "SELECT number, payable::text, payable_minor FROM past_order ORDER BY number"
    ).fetchall()
    assert totals == [
        ("1", "66.666000", 6_667),
        ("2", "-33.333000", -3_333),
        ("3", "19.900000", 1_990),
    ]
    assert others(connection) == before


def test_the_same_file_changes_nothing_and_a_corrected_one_only_what_differs(
    home: Path, connection: Connection
) -> None:
    file = home / "orders.csv"
    file.write_text(OWN, encoding="utf-8")
    document("import", "orders", str(file), "--source", "shop")
    again = document("import", "orders", str(file), "--source", "shop")["counts"]
    assert again == {
        "orders": 3,
        "lines_created": 0,
        "lines_updated": 0,
        "lines_unchanged": 4,
        "lines_removed": 0,
        "refused": 0,
    }
    lines = OWN.splitlines()
    corrected = "\n".join([lines[0], lines[1].replace("33,333", "30,00")])
    file.write_text(corrected, encoding="utf-8")
    planned = document("import", "orders", str(file), "--source", "shop", "--plan")["counts"]
    counts = document("import", "orders", str(file), "--source", "shop")["counts"]
    assert counts == planned
    assert isinstance(counts, dict)
    assert (counts["lines_updated"], counts["lines_removed"]) == (1, 1)
    rows = kept(connection)
    assert len(rows) == 3, "orders that the file does not name stay"
    ((payable,),) = connection.execute(
        "SELECT payable_minor FROM past_order WHERE number = '1'"
    ).fetchall()
    assert payable == 6_000


def test_an_order_goes_in_whole_or_not_at_all(home: Path, connection: Connection) -> None:
    file, back = home / "orders.csv", home / "back.csv"
    file.write_text(
        "order_number;placed_at;sku;units;unit_price;currency;state;buyer_ref\n"
        "1;2025-03-01;A;1;5,00;;;\n"
        "2;2025-03-01;A;1;5,00;;;\n"
        "2;2025-03-01;B;1,5;5,00;;;\n"
        "3;yesterday;A;1;5,00;;;\n"
        "4;2025-03-01;A;1;;;;\n"
        "5;2025-03-01;A;1;5,00;;kayboldu;\n"
        "6;2025-03-01;A;1;5,00;;;ali@example.com\n"
        "7;2025-03-01;A;1;5,00;TRY;;\n"
        "7;2025-03-01;A;1;5,00;EUR;;\n"
        ";2025-03-01;A;1;5,00;;;\n",
        encoding="utf-8",
    )
    words = ("import", "orders", str(file), "--source", "shop", "--refused", str(back))
    done = document(*words)
    assert [row[0] for row in kept(connection)] == ["1"]
    refused = done["refused"]
    assert isinstance(refused, list)
    assert [(each["row_number"], each["code"]) for each in refused] == [
        (3, "history.incomplete"),
        (4, "number.not_whole"),
        (5, "history.date"),
        (6, "history.amount_missing"),
        (7, "history.state"),
        (8, "history.buyer"),
        (9, "history.incomplete"),
        (10, "history.currency"),
        (11, "cell.missing"),
    ]
    mended = back.read_text(encoding="utf-8-sig").replace("1,5", "2").splitlines()
    back.write_text("\n".join(mended[:3]), encoding="utf-8")
    assert document("import", "orders", str(back), "--source", "shop")["refused"] == []
    assert [row[:2] for row in kept(connection)] == [("1", 1), ("2", 1), ("2", 2)]


def test_dates_with_slashes_follow_the_file_or_are_refused(
    home: Path, connection: Connection
) -> None:
    file = home / "orders.csv"
    head = "order_number,placed_at,units,unit_price\n"
    words = ("import", "orders", str(file), "--source", "shop")
    file.write_text(f"{head}1,02/03/2025,1,5\n", encoding="utf-8")
    refused = document(*words, status=1)["refused"]
    assert isinstance(refused, list)
    assert refused[0]["code"] == "history.date_undecided"
    file.write_text(f"{head}1,0001-01-01,1,5\n", encoding="utf-8")
    refused = document(*words, status=1)["refused"]
    assert isinstance(refused, list)
    assert refused[0]["code"] == "history.date"
    file.write_text(f"{head}1,02/03/2025 12:00,1,5\n2,25/03/2025,1,5\n", encoding="utf-8")
    document(*words)
    assert kept(connection)[0][-1] == "2025-03-02 09:00:00+00"


def test_orders_that_the_hub_took_in_itself_are_no_history(
    shop: Shop, home: Path, connection: Connection
) -> None:
    order = {
        "external_id": "O-1", "placed_at": NOW.isoformat(), "currency": "TRY",
        "payment_method": "", "micro_export": False, "is_company": False, "city": "",
        "country_code": "TR", "unknown_fields": {}, "detected_by": "poll", "actor": "test",
        "minor_factor": 100,
        "packages": [
            {
                "external_id": "P1", "state": "created", "state_raw": "Created",
                "modified_at": NOW.isoformat(), "carrier": "", "cargo_code": "",
                "tracking_number": "", "tracking_url": "", "desi": None, "cargo_payer": None,
                "origin_ids": [], "stated_total": None, "ship_by": None,
                "lines": [
                    {
                        "line_id": "L1", "item_key": "A", "sku": "A", "barcode": "", "title": "",
                        "units": 1, "unit_gross": "10", "unit_seller_discount": 0,
                        "unit_marketplace_discount": 0, "payable": "10", "vat_percent": 20,
                        "commission_percent": 1, "state_raw": "", "extra": {},
                    }
                ],
            }
        ],
    }  # fmt: skip
    shop.connection.execute(
        "SELECT take_order(%s, %s, %s::jsonb, '', '', 1, %s, %s)",
        (shop.merchant_id, shop.accounts["east"], json.dumps(order), NOW, NOW_US),
    )
    out = home / "orders.csv"
    document("export", "orders", "--to", str(out))
    refused = document("import", "orders", str(out), status=1)["refused"]
    assert isinstance(refused, list)
    assert [each["code"] for each in refused] == ["history.live"]
    assert not kept(connection)
    # In a hub that never saw them they are.
    invoke("merchant", "add", "Yeni")
    document("import", "orders", str(out), "--merchant", "Yeni")
    assert [row[:4] for row in kept(connection)] == [("O-1", 1, "A", 1)]


@pytest.mark.parametrize("language", ["en", "tr"])
def test_what_came_in_is_said_in_both_languages(home: Path, language: str) -> None:
    file = home / "orders.csv"
    file.write_text(OWN + "9;?;A;;1;1;;;\n", encoding="utf-8")
    words = ("import", "orders", str(file), "--source", "shop", "--language", language)
    for said in (invoke(*words, "--plan").stdout, invoke(*words).stdout):
        assert "43,333 TRY" in said or "43.333 TRY" in said
    invoke("import", "orders", "--help", "--language", language)


@pytest.mark.slow
@pytest.mark.skipif(not UCI.is_file(), reason="the UCI sample is not beside this repository")
def test_a_year_of_a_real_shop_comes_back_with_its_control_totals(
    home: Path, connection: Connection
) -> None:
    column_map = home / "uci.toml"
    column_map.write_text(UCI_MAP, encoding="utf-8")
    done = document("import", "orders", str(UCI), "--columns", str(column_map))
    assert done["refused"] == []
    assert done["sums"] == {
        "GBP": {
            "lines": 541_909,
            "units": 5_176_450,
            "payable": "9747747.934",
            "cancelled_lines": 0,
            "cancelled_payable": "0",
        }
    }
    ((orders, lines, units, payable, guests),) = connection.execute(
        "SELECT count(DISTINCT p.past_order_id), count(*), sum(l.units), sum(l.payable)::text,"
        " count(*) FILTER (WHERE p.buyer_ref = '') FROM past_order_line l"
        " JOIN past_order p USING (merchant_id, past_order_id)"
    ).fetchall()
    assert (orders, lines, units) == (25_900, 541_909, 5_176_450)
    assert payable == "9747747.934000"
    assert guests == 135_080
    ((exact,),) = connection.execute("SELECT sum(payable)::text FROM past_order").fetchall()
    assert exact == payable
    rate = done["rows_per_s"]
    assert isinstance(rate, int)
    assert rate > 0


def test_a_refused_cell_that_would_run_as_a_formula_goes_back_harmless(home: Path) -> None:
    file, back = home / "orders.csv", home / "back.csv"
    file.write_text(
        "order_number;placed_at;units;unit_price;title\n1;?;1;1;=cmd()\n", encoding="utf-8"
    )
    words = ("import", "orders", str(file), "--source", "shop", "--refused", str(back))
    document(*words, status=1)
    with back.open(encoding="utf-8-sig", newline="") as opened:
        (row,) = csv.DictReader(opened, delimiter=";")
    assert row["title"] == "'=cmd()"


PANEL = (
    *("Barkod", "Paket No", "Kargo Firması", "Sipariş Tarihi", "Termin Süresinin Bittiği Tarih"),
    *("Kargoya Teslim Tarihi", "Kargo Kodu", "Sipariş Numarası", "Alıcı", "Teslimat Adresi", "İl"),
    *("İlçe", "Ürün Adı", "Fatura Adresi", "Alıcı - Fatura Adresi", "Sipariş Statüsü", "E-Posta"),
    *("Komisyon Oranı", "Marka", "Stok Kodu", "Adet", "Birim Fiyatı", "Satış Tutarı"),
    *("İndirim Tutarı", "Trendyol İndirim Tutarı", "Faturalanacak Tutar", "Butik Numarası"),
    *("Teslim Tarihi", "Müşteri Sipariş Adedi", "Mikro İhracat", "Ülke", "Müşteri Telefon No"),
)


def panel_row(**stated: str) -> str:
    cells = dict.fromkeys(PANEL, "") | {
        "Sipariş Tarihi": "03.04.2026 21:15",
        "Alıcı": "Ayşe Yılmaz",
        "Teslimat Adresi": "Kordon 5",
        "İl": "İzmir",
        "Ülke": "Türkiye",
        "Komisyon Oranı": "21,5",
        "Birim Fiyatı": "1.249,90",
    }
    names = {"order": "Sipariş Numarası", "state": "Sipariş Statüsü", "sku": "Stok Kodu"}
    names |= {"units": "Adet", "payable": "Faturalanacak Tutar"}
    cells |= {names[name]: value for name, value in stated.items()}
    return ";".join(cells[name] for name in PANEL)


def test_the_sheet_of_a_panel_is_known_and_its_buyers_stay_out(
    home: Path, connection: Connection
) -> None:
    """What the buyer paid, not the price before discounts; a cancellation is none of it."""
    sheet = home / "siparisler.csv"
    rows = [
        panel_row(order="71", state="Teslim Edilen", sku="A", units="2", payable="2.399,80"),
        panel_row(order="72", state="TESLİM EDİLEMEDİ", sku="A", units="1", payable="1.249,90"),
        panel_row(order="73", state="İptal Edildi", sku="B", units="1", payable="1.249,90"),
        panel_row(order="74", state="Eksik Ürün", sku="B", units="1", payable="1.249,90"),
    ]
    sheet.write_text("\n".join([";".join(PANEL), *rows, ""]), encoding="utf-8")
    done = document("import", "orders", str(sheet))
    assert done["read_as"] == "trendyol"
    refused = done["refused"]
    assert isinstance(refused, list)
    assert [(each["row_number"], each["code"]) for each in refused] == [(5, "history.state")]
    found = connection.execute(
        "SELECT o.source, o.number, o.placed_at AT TIME ZONE 'UTC', l.units, l.unit_price::text,"
        " l.payable::text, l.commission_percent::text, l.state, o.city, o.buyer_ref"
        " FROM past_order o JOIN past_order_line l USING (merchant_id, past_order_id) ORDER BY 2"
    ).fetchall()
    at = datetime(2026, 4, 3, 18, 15)  # noqa: DTZ001 – of Istanbul, in UTC
    rest = ("21.5000", "İzmir", "")
    assert found == [
        *(
            ("trendyol", number, at, units, "1249.900000", paid, rest[0], state, *rest[1:])
            for number, units, paid, state in (
                ("71", 2, "2399.800000", "sold"),
                ("72", 1, "1249.900000", "returned"),
                ("73", 1, "1249.900000", "cancelled"),
            )
        )
    ]
    kept_texts = connection.execute("SELECT past_order::text FROM past_order").fetchall()
    assert "Ayşe" not in str(kept_texts)
    assert "order sheet of Trendyol" in invoke("import", "orders", str(sheet), "--plan").output


def test_our_own_columns_stay_our_own(home: Path) -> None:
    (home / "own.csv").write_text(OWN, encoding="utf-8")
    done = document("import", "orders", str(home / "own.csv"), "--source", "shop", "--plan")
    assert done["read_as"] is None


def test_history_is_put_back_as_one(home: Path, connection: Connection) -> None:
    """What the import brought goes; what it found, or another changed since, stays and is named."""
    header = "order_number;placed_at;sku;units;unit_price\n"
    file = home / "own.csv"
    file.write_text(f"{header}1;2025-03-01;A;1;10\n2;2025-03-01;A;1;10\n", encoding="utf-8")
    document("import", "orders", str(file), "--source", "shop")
    file.write_text(
        f"{header}1;2025-03-01;A;1;10\n2;2025-03-01;A;7;10\n3;2025-03-02;A;1;10\n"
        "4;2025-03-02;A;1;10\n5;2025-03-02;A;1;10\n5;2025-03-02;B;1;10\n",
        encoding="utf-8",
    )
    second = str(document("import", "orders", str(file), "--source", "shop")["import_id"])
    file.write_text(f"{header}4;2025-03-02;A;1;11\n", encoding="utf-8")
    document("import", "orders", str(file), "--source", "shop")
    planned = document("import", "undo", second, "--plan")
    done = document("import", "undo", second)
    assert done["removed"] == planned["removed"] == ["shop 3", "shop 5"]
    kept_ = done["kept"]
    assert isinstance(kept_, list)
    assert [(each["code"], each["reason_code"]) for each in kept_] == [
        ("shop 4", "undo.edited"),
        ("shop 2", "undo.restated"),
    ]
    left = connection.execute(
        "SELECT number, units, unit_price::integer FROM past_order JOIN past_order_line"
        " USING (merchant_id, past_order_id) ORDER BY 1"
    ).fetchall()
    assert left == [("1", 1, 10), ("2", 7, 10), ("4", 1, 11)]
