"""Daily sheets: only the columns present change; ledger and desired values follow."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from meschain.app.commands.import_sheet import SheetRun
from meschain.cli.tree import root
from meschain.testing.shop import Shop
from tests.store.commands import document, invoke

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def kaya(home: Path, shop: Shop) -> Shop:
    """Two SKUs and a set of them on one channel, whose shelves stand as desired."""
    del home
    shop.variant("A", on_hand=5)
    shop.variant("B", on_hand=8)
    shop.bundle("SET", {"A": 1, "B": 2})
    shop.account("east")
    shop.list_on("east", ["A", "B", "SET"])
    return shop


def levels(shop: Shop) -> dict[str, tuple[object, ...]]:
    rows = shop.connection.execute(
        "SELECT sku, on_hand, safety_stock FROM stock_level JOIN variant"
        " USING (merchant_id, variant_id) WHERE merchant_id = %s",
        (shop.merchant_id,),
    )
    return {str(sku): rest for sku, *rest_ in rows if (rest := tuple(rest_))}


def dirty(shop: Shop, field: int) -> set[str]:
    rows = shop.connection.execute(
        "SELECT sku FROM offer_dirty JOIN listing USING (merchant_id, account_id, listing_id)"
        " JOIN variant USING (merchant_id, variant_id) WHERE field = %s",
        (field,),
    )
    return {str(sku) for (sku,) in rows}


def prices(shop: Shop, sku: str) -> tuple[object, ...]:
    row = shop.connection.execute(
        "SELECT list_price_minor, sale_price_minor, cost_minor FROM variant WHERE sku = %s", (sku,)
    ).fetchone()
    assert row is not None
    return row


def test_a_stock_sheet_moves_the_ledger_and_what_channels_show(kaya: Shop, tmp_path: Path) -> None:
    sheet = tmp_path / "count.csv"
    sheet.write_text("Stok Kodu;Stok;Güvenlik Stoğu\nA;3;1\nB;;2\n", encoding="utf-8")

    planned = document("import", "stock", str(sheet), "--plan")
    assert planned["counts"] == {"changed": 2, "unchanged": 0, "refused": 0}
    assert levels(kaya) == {"A": (5, 0), "B": (8, 0)}
    assert not dirty(kaya, 1)

    done = document("import", "stock", str(sheet))
    assert done["counts"] == planned["counts"]
    assert levels(kaya) == {"A": (3, 1), "B": (8, 2)}
    assert dirty(kaya, 1) == {"A", "B", "SET"}, "the set follows its parts"
    moved = kaya.connection.execute(
        "SELECT kind, on_hand_delta, reason, actor FROM stock_movement WHERE kind <> 'receipt'"
    ).fetchall()
    assert moved == [("adjustment", -2, "count.csv", f"import:{done['import_id']}")]

    again = document("import", "stock", str(sheet))
    assert again["counts"] == {"changed": 0, "unchanged": 2, "refused": 0}
    ((movements,),) = kaya.connection.execute("SELECT count(*) FROM stock_movement").fetchall()
    assert movements == 3


def test_a_first_count_is_a_receipt_and_places_are_kept_apart(kaya: Shop, tmp_path: Path) -> None:
    kaya.connection.execute(
        "INSERT INTO location (merchant_id, code, name) VALUES (%s, 'izmir', 'İzmir')",
        (kaya.merchant_id,),
    )
    sheet = tmp_path / "count.csv"
    sheet.write_text("sku,location,quantity\nA,izmir,4\nA,,9\nB,main,8\n", encoding="utf-8")
    done = document("import", "stock", str(sheet))
    assert done["counts"] == {"changed": 2, "unchanged": 1, "refused": 0}
    rows = kaya.connection.execute(
        "SELECT code, kind, on_hand_delta FROM stock_movement JOIN location"
        " USING (merchant_id, location_id) ORDER BY movement_id DESC LIMIT 2"
    ).fetchall()
    assert set(rows) == {("izmir", "receipt", 4), ("main", "adjustment", 4)}


def test_bad_rows_block_no_other_and_come_back_with_their_reason(
    kaya: Shop, tmp_path: Path
) -> None:
    sheet, back = tmp_path / "count.csv", tmp_path / "back.csv"
    sheet.write_text(
        "sku;location;quantity;note\nA;;7;x\nA;;8;\nNO;;1;\nSET;;1;\nB;moon;1;\nB;;1,5;\n12.May;;1;\n"
        "B;;;\n=HYPERLINK();;1;\n",
        encoding="utf-8",
    )
    done = document("import", "stock", str(sheet), "--refused", str(back))
    assert done["counts"] == {"changed": 1, "unchanged": 0, "refused": 8}
    assert levels(kaya)["A"] == (7, 0)
    with back.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter=";"))
    assert [row["refused_row"] for row in rows] == [*list("345678"), "9", "10"]
    said = {(row["sku"], row["refused_reason"].split(".")[0]) for row in rows}
    assert ("NO", "The catalog does not hold this SKU") in said
    assert ("A", "The same stands in row 2 already, which counts") in said
    assert ("SET", "The SKU is a set; it is as many as its parts allow") in said
    assert ("B", "There is no location “moon”") in said

    mended = back.read_text(encoding="utf-8-sig").replace("NO;;1", "B;;6")
    back.write_text("\n".join([*mended.splitlines()[:1], mended.splitlines()[2]]), encoding="utf-8")
    assert document("import", "stock", str(back))["counts"] == {
        "changed": 1,
        "unchanged": 0,
        "refused": 0,
    }


def test_all_rows_refused_is_a_failure(kaya: Shop, tmp_path: Path) -> None:
    del kaya
    sheet = tmp_path / "count.csv"
    sheet.write_text("sku,quantity\nNO,1\n", encoding="utf-8")
    document("import", "stock", str(sheet), status=1)


def test_a_price_sheet_changes_the_columns_present_only(kaya: Shop, tmp_path: Path) -> None:
    sheet = tmp_path / "prices.csv"
    sheet.write_text("sku;Satış Fiyatı;Maliyet\nA;120,50;70\nB;;35,5\n", encoding="utf-8")
    assert document("import", "prices", str(sheet), "--plan")["counts"] == {
        "changed": 2,
        "unchanged": 0,
        "refused": 0,
    }
    assert prices(kaya, "A") == (10_000, 10_000, None)
    document("import", "prices", str(sheet))
    # Without a discount list price and sale price are one price.
    assert prices(kaya, "A") == (12_050, 12_050, 7_000)
    assert prices(kaya, "B") == (10_000, 10_000, 3_550)
    assert dirty(kaya, 2) == {"A"}, "what channels show follows; a cost is nobody's business"
    assert document("import", "prices", str(sheet))["counts"] == {
        "changed": 0,
        "unchanged": 2,
        "refused": 0,
    }


def test_a_large_change_is_asked_about_and_the_others_go_in(kaya: Shop, tmp_path: Path) -> None:
    sheet, back = tmp_path / "prices.csv", tmp_path / "back.csv"
    sheet.write_text(
        "sku;list_price;sale_price\nA;1050,00;1000,00\nB;150,00;50,00\nB;1;1\n", encoding="utf-8"
    )
    done = document("import", "prices", str(sheet), "--refused", str(back))
    assert done["counts"] == {"changed": 1, "unchanged": 0, "refused": 2}
    assert prices(kaya, "A") == (10_000, 10_000, None)
    assert "100.00 to 1,000.00" in back.read_text(encoding="utf-8-sig")
    done = document("import", "prices", str(back), "--yes-large")
    assert done["counts"] == {"changed": 2, "unchanged": 0, "refused": 0}
    assert prices(kaya, "A")[:2] == (105_000, 100_000)


def test_wrong_prices_are_refused_by_row(kaya: Shop, tmp_path: Path) -> None:
    del kaya
    sheet = tmp_path / "prices.csv"
    sheet.write_text(
        "sku;list_price;sale_price;currency\nA;90,00;95,00;\nB;;0,00;\nSET;;101,00;EUR\nX;;5,00;\nB;;7,00;\n",
        "utf-8",
    )
    done = document("import", "prices", str(sheet), status=1)
    refused = done["refused"]
    assert isinstance(refused, list)
    assert [each["code"] for each in refused] == [
        "price.sale_above_list",
        "price.zero",
        "sheet.currency_other",
        "sheet.sku_unknown",
        "sheet.price_large",
    ]


def workbook(rows: list[list[str | float]]) -> bytes:
    """What a spreadsheet saves: texts inline, numbers as binary fractions are shown."""

    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value!r}</v></c>"

    sheet = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="a" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="S" sheetId="1" r:id="b"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="b" '
        f'Type="{office}/worksheet" Target="worksheets/s.xml"/></Relationships>',
        "xl/worksheets/s.xml": f'<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData>'
        "</worksheet>",
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return written.getvalue()


def test_numbers_of_a_workbook_are_exact_money(kaya: Shop, tmp_path: Path) -> None:
    sheet = tmp_path / "prices.xlsx"
    sheet.write_bytes(workbook([["sku", "sale_price"], ["A", 81.99999999999999], ["B", "99,95"]]))
    document("import", "prices", str(sheet))
    assert prices(kaya, "A")[1] == 8_200
    assert prices(kaya, "B")[1] == 9_995


def test_a_sheet_is_put_back_as_one_and_later_edits_stay(kaya: Shop, tmp_path: Path) -> None:
    count, price = tmp_path / "count.csv", tmp_path / "prices.csv"
    count.write_text("sku;quantity\nA;2\nB;9\n", encoding="utf-8")
    price.write_text("sku;sale_price;cost\nA;120,00;70,00\nB;110,00;\n", encoding="utf-8")
    document("import", "stock", str(count))
    document("import", "prices", str(price))
    runs = document("import", "list")["imports"]
    assert isinstance(runs, list)
    assert {run["kind"]: run["can_undo"] for run in runs} == {"stock": True, "prices": True}
    invoke("price", "set", "B", "--list", "150", "--sale", "130")
    kaya.move({"A": 10})  # goods came in since

    for run in runs:
        done = document("import", "undo", str(run["import_id"]))
        if run["kind"] == "prices":
            kept = done["kept"]
            assert isinstance(kept, list)
            assert [each["code"] for each in kept] == ["B"]
    assert levels(kaya) == {"A": (15, 0), "B": (8, 0)}, "the count is taken back, not what came in"
    assert prices(kaya, "A") == (10_000, 10_000, None)
    assert prices(kaya, "B")[1] == 13_000


def test_counts_of_several_places_and_safety_stock_are_put_back_as_one(
    kaya: Shop, tmp_path: Path
) -> None:
    kaya.connection.execute(
        "INSERT INTO location (merchant_id, code, name, is_default)"
        " VALUES (%s, 'depo', 'Depo', false)",
        (kaya.merchant_id,),
    )
    sheet = tmp_path / "count.csv"
    sheet.write_text(
        "sku;location;quantity;safety_stock\nA;;2;1\nB;;9;3\nA;depo;4;\n", encoding="utf-8"
    )
    number = str(document("import", "stock", str(sheet))["import_id"])
    invoke("stock", "safety", "B", "2")
    done = document("import", "undo", number)
    assert kept_codes(done) == [("B", ["safety_stock"], "undo.edited")]
    rows = kaya.connection.execute(
        "SELECT sku, code, on_hand, safety_stock FROM stock_level JOIN variant"
        " USING (merchant_id, variant_id) JOIN location USING (merchant_id, location_id)"
        " ORDER BY 1, 2"
    ).fetchall()
    assert rows == [("A", "main", 5, 0), ("B", "main", 8, 2)]
    assert "was put back before" in invoke("import", "undo", number, status=1).output


def kept_codes(done: dict[str, object]) -> list[tuple[object, ...]]:
    kept = done["kept"]
    assert isinstance(kept, list)
    return [(each["code"], each["fields"], each["reason_code"]) for each in kept]


def cut_short(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """The command, ended after its first chunk of one row, as by a power cut."""

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("meschain.app.commands.import_sheet.stock.CHUNK", 1)
        patch.setattr(SheetRun, "tell", cut)
        CliRunner().invoke(root, words)


def test_a_sheet_that_was_cut_short_is_continued_as_one_import(
    kaya: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sold or counted meanwhile is not taken back by the sheet's older count."""
    for sku in ("C", "D"):
        kaya.variant(sku, on_hand=5)
    sheet = tmp_path / "count.csv"
    sheet.write_text("sku;quantity\nA;10\nB;20\nC;30\nD;40\n", encoding="utf-8")
    cut_short(monkeypatch, "import", "stock", str(sheet))
    assert levels(kaya) == {"A": (10, 0), "B": (8, 0), "C": (5, 0), "D": (5, 0)}
    kaya.connection.execute(
        "SELECT move_stock(merchant_id, location_id, 'sale', %s::bigint[], ARRAY[-1, -2], '',"
        " 'test', now(), 1) FROM location",
        ([kaya.variants["A"], kaya.variants["B"]],),
    )
    invoke("stock", "set", "C", "6")

    done = document("import", "stock", str(sheet))
    assert levels(kaya) == {"A": (9, 0), "B": (18, 0), "C": (6, 0), "D": (40, 0)}
    refused = done["refused"]
    assert isinstance(refused, list)
    assert [(each["sku"], each["code"]) for each in refused] == [("C", "sheet.counted_since")]
    runs = document("import", "list")["imports"]
    assert isinstance(runs, list)
    assert [(run["state"], run["counts"]["changed"]) for run in runs] == [("done", 3)]

    invoke("import", "undo", str(done["import_id"]))
    assert levels(kaya) == {"A": (4, 0), "B": (6, 0), "C": (6, 0), "D": (5, 0)}


def test_a_sheet_read_in_another_way_begins_anew(
    kaya: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = tmp_path / "count.csv"
    sheet.write_text("sku;quantity\nA;10\nB;20\n", encoding="utf-8")
    cut_short(monkeypatch, "import", "stock", str(sheet))
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(SheetRun, "tell", lambda _, *at: told.append(at))
    document("import", "stock", str(sheet), "--decimal", ",")
    assert levels(kaya) == {"A": (10, 0), "B": (20, 0)}
    assert told == [(2, 2)], "how much is done, and of how much"
    runs = document("import", "list")["imports"]
    assert isinstance(runs, list)
    assert [run["state"] for run in runs] == ["done", "cut_short"]


def test_prices_of_a_file_are_an_import_whatever_command_brings_them(
    kaya: Shop, tmp_path: Path
) -> None:
    price = tmp_path / "prices.csv"
    price.write_text("sku;sale_price\nA;120,00\nB;900,00\n", encoding="utf-8")
    done = document("price", "set", "--file", str(price))
    assert prices(kaya, "A")[1] == 12_000
    refused = done["refused"]
    assert isinstance(refused, list)
    assert [each["code"] for each in refused] == ["sheet.price_large"]
    document("price", "set", "--file", str(price), "--yes-large")
    assert prices(kaya, "B")[1] == 90_000
    document("import", "undo", str(done["import_id"]))
    assert prices(kaya, "A")[1] == 10_000
    large = invoke("stock", "receive", "A", "2147483647", status=1)
    assert "larger than the hub can keep" in large.output
    for amount in ("0", "1000000000000"):
        assert "is no price" in invoke("price", "set", "A", "--sale", amount, status=1).output


def test_refused_rows_that_cannot_be_written_are_said_after_what_was_done(
    kaya: Shop, tmp_path: Path
) -> None:
    sheet, nowhere = tmp_path / "count.csv", tmp_path / "no" / "refused.csv"
    sheet.write_text("sku;quantity\nA;10\nNO;20\n", encoding="utf-8")
    lost = invoke("import", "stock", str(sheet), "--refused", str(nowhere), status=1)
    assert "Changed 1, unchanged 0, refused 1" in lost.output
    assert f"could not be written to {nowhere}" in lost.output.replace("\n", " ")
    assert levels(kaya)["A"] == (10, 0)
    over = invoke("import", "stock", str(sheet), "--refused", str(sheet), status=1)
    assert "written over" in over.output
    assert sheet.read_text(encoding="utf-8").count("\n") == 3
    out = invoke("import", "stock", str(sheet), "--refused", "-")
    assert out.stdout.splitlines()[1].startswith("NO;20;3;The catalog does not hold")
    assert "unchanged 1" in out.stderr


def test_the_mapping_table_comes_in_by_the_same_door(kaya: Shop, tmp_path: Path) -> None:
    table = tmp_path / "map.csv"
    header = "marketplace,kind,scope,ours,theirs\n"
    table.write_text(f"{header}trendyol,brand,,Kaya,7\ntrendyol,brand,,Demir,8\n", "utf-8")
    first = document("import", "mapping", str(table))
    counts = first["counts"]
    assert isinstance(counts, dict)
    assert counts["created"] == 2
    table.write_text(f"{header}trendyol,brand,,Kaya,70\ntrendyol,brand,,Su,9\n", "utf-8")
    second = str(document("import", "mapping", str(table), "--replace")["import_id"])
    table.write_text(f"{header}trendyol,brand,,Su,10\n", "utf-8")
    document("import", "mapping", str(table))

    def held() -> list[tuple[object, ...]]:
        return kaya.connection.execute("SELECT ours, theirs FROM mapping ORDER BY 1").fetchall()

    planned = document("import", "undo", second, "--plan")
    assert held() == [("Kaya", "70"), ("Su", "10")]
    done = document("import", "undo", second)
    assert done["counts"] == planned["counts"]
    assert held() == [("Demir", "8"), ("Kaya", "7"), ("Su", "10")]
    assert kept_codes(done) == [("trendyol brand Su", ["theirs"], "undo.edited")]
    assert "was put back before" in invoke("import", "undo", second, status=1).output


@pytest.mark.parametrize("language", ["en", "tr"])
def test_what_was_done_is_said_in_both_languages(kaya: Shop, tmp_path: Path, language: str) -> None:
    del kaya
    stock, price = tmp_path / "count.csv", tmp_path / "prices.csv"
    stock.write_text("sku;quantity;odd\nA;3;\nNO;1;\n", encoding="utf-8")
    price.write_text("sku;sale_price\nA;105,00\nNO;1,00\n", encoding="utf-8")
    for kind, file in (("stock", stock), ("prices", price)):
        result = invoke("import", kind, str(file), "--language", language)
        assert "NO" in result.output
        invoke("import", kind, "--help", "--language", language)
    invoke("import", "mapping", "--help", "--language", language)
    listed = invoke("import", "list", "--language", language)
    assert "count.csv" in listed.output
    assert "prices.csv" in listed.output
