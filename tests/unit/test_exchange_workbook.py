"""Workbooks cell by cell: what is stored there, and what we take it for."""

from __future__ import annotations

import importlib.util
import zipfile
from datetime import date
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest

from meschain.exchange import (
    FileRefused,
    ReadingOptions,
    Reason,
    RefusedRow,
    collect,
    read_catalog,
)
from meschain.exchange.sheet.daily import PRICE_COLUMNS
from meschain.exchange.sheet.named import SheetOptions, open_sheet
from meschain.exchange.source import Source
from meschain.exchange.table.row import Spool
from meschain.exchange.table.workbook import open_workbook

DATA = Path(__file__).parent.parent / "data"
OPTIONS = ReadingOptions(today=date(2026, 11, 20))


def load_parts() -> ModuleType:
    """The chamber of horrors' own means of writing workbooks."""
    spec = importlib.util.spec_from_file_location("horrors", DATA / "horrors" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PARTS = load_parts()


def cell(content: str) -> tuple[str, bool]:
    """The text read from one cell, and whether it counts as a number."""
    name = PARTS.text("sku")
    workbook = PARTS.workbook({"S": PARTS.sheet({1: [name], 2: [content]})})
    (row,) = open_workbook(Source(workbook), len, None).rows()
    assert isinstance(row.cells, list)
    return row.cells[0], row.numbers == (0,)


@pytest.mark.parametrize(
    ("stored", "style", "text", "is_number"),
    [
        ("149.9", 0, "149.9", True),
        ("0.30000000000000004", 0, "0.3", True),
        ("1249.9000000000001", 0, "1249.9", True),
        ("8690000000012", 0, "8690000000012", True),
        ("123456789012345", 0, "123456789012345", True),
        # A spreadsheet keeps 15 digits: of longer numbers the last ones are gone.
        ("1234567890123456", 0, "1.23456789012346E+15", True),
        ("8.690000000000119E+17", 0, "8.69000000000012E+17", True),
        ("1E-3", 0, "0.001", True),
        ("-2.5", 0, "-2.5", True),
        ("799999000039", PARTS.ZEROS_STYLE, "0799999000039", True),
        ("45424", PARTS.DATE_STYLE, "2024-05-12", False),
        ("45424.5", PARTS.DATE_STYLE, "2024-05-12 12:00:00", False),
        ("0.2", PARTS.PERCENT_STYLE, "20%", True),
        ("0.085", PARTS.PERCENT_STYLE, "8.5%", True),
        ("nan", 0, "nan", True),
        ("1E+400", 0, "1E+400", True),
        ("1", 99, "1", True),  # a style that the workbook does not define
    ],
)
def test_a_number_is_taken_as_it_is_stored(
    stored: str,
    style: int,
    text: str,
    is_number: bool,  # noqa: FBT001 – a case of the table
) -> None:
    assert cell(PARTS.number(stored, style)) == (text, is_number)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('t="inlineStr"><is><t>Şal</t></is>', "Şal"),
        ('t="inlineStr"><is><r><t>Ka</t></r><r><rPr><b/></rPr><t>zak</t></r></is>', "Kazak"),
        ('t="inlineStr"><is><t>A_x000D_B_x0041_</t></is>', "A\rBA"),
        ('t="inlineStr"><is><t>A_xD800_</t></is>', "A\ufffd"),
        ('t="str"><f>"a"</f><v>a</v>', "a"),
        ('t="d"><v>2026-05-12T00:00:00</v>', "2026-05-12"),
        ('t="d"><v>2026-05-12T08:30:00</v>', "2026-05-12 08:30:00"),
    ],
)
def test_a_text_is_taken_without_its_dress(content: str, text: str) -> None:
    assert cell(content) == (text, False)


@pytest.mark.parametrize(("stored", "text"), [("1", "TRUE"), ("0", "FALSE")])
def test_a_truth_value_is_no_code(stored: str, text: str) -> None:
    """A spreadsheet makes one of a typed TRUE or DOĞRU; nobody can tell what the code was."""
    truth = f't="b"><v>{stored}</v>'
    assert cell(truth) == (text, True)
    names = [PARTS.text(name) for name in ("sku", "barcode", "title", "price")]
    rows = {
        1: names,
        2: [truth, "", PARTS.text("Kazak"), PARTS.number("10")],
        3: [PARTS.text("A-2"), truth, PARTS.text("Kaban"), PARTS.number("10")],
        4: [PARTS.text("A-3"), "", truth, PARTS.number("10")],
        5: [PARTS.text(text), "", PARTS.text("Yazılmış"), PARTS.number("10")],
    }
    found = collect(read_catalog(PARTS.workbook({"S": PARTS.sheet(rows)}), OPTIONS).records)
    refused = [(each.row_number, each.params["column"]) for each in found.refused]
    assert refused == [(2, "sku"), (3, "barcode")]
    assert {each.reason_code for each in found.refused} == {Reason.CELL_TRUTH_VALUE}
    skus = [each.sku for product in found.products for each in product.draft.variants]
    assert skus == ["A-3", text]
    prices = PARTS.workbook({"S": PARTS.sheet({1: names, 2: rows[2]})})
    (row,) = open_sheet(prices, PRICE_COLUMNS, SheetOptions()).rows()
    assert isinstance(row, RefusedRow)
    assert row.reason_code is Reason.CELL_TRUTH_VALUE


def test_reading_aids_of_shared_and_own_texts_are_left_out() -> None:
    found = cell('t="inlineStr"><is><t>東京</t><rPh sb="0" eb="2"><t>とうきょう</t></rPh></is>')
    assert found == ("東京", False)


def test_a_workbook_of_another_program_is_read_as_it_was_filled_in() -> None:
    options = ReadingOptions(today=date(2026, 11, 20), sheet="Ürünler")
    reading = read_catalog(DATA / "formats" / "catalog.xlsx", options)
    found = collect(reading.records)
    variants = {each.sku: each for product in found.products for each in product.draft.variants}
    assert reading.form.sheet == "Ürünler"
    # A text beside numbers decides how the column's texts are read; numbers need no deciding.
    assert [str(each.list_price.amount) for each in variants.values() if each.list_price] == [
        *("1249.90", "1249.90", "2499.90"),
    ]
    assert variants["KZK-1-M"].sale_price is not None
    assert str(variants["KZK-1-M"].sale_price.amount) == "999.92"  # stored as 999.92000000000007
    assert variants["KZK-1-M"].barcode == "0799999000039"
    assert str(variants["10012"].vat_percent) == "10"
    assert [each.reason_code for each in found.warnings if not each.row_number] == [
        Reason.FORMULAS_READ
    ]


@pytest.mark.parametrize(
    "content",
    [
        't="s"><v>7</v>',  # a shared text that is not there
        't="s"><v>-1</v>',
        't="s"><v>x</v>',
        's="x"><v>1</v>',
        f's="{"9" * 5_000}"><v>1</v>',
    ],
)
def test_a_cell_that_refers_to_nothing_refuses_the_workbook(content: str) -> None:
    """Whatever stood there, part of the file is gone, and nobody can tell which."""
    with pytest.raises(FileRefused) as refused:
        cell(content)
    assert refused.value.reason is Reason.FILE_XLSX_BROKEN


def test_elements_may_carry_a_prefix_as_some_programs_write_them() -> None:
    sheet = PARTS.sheet({1: [PARTS.text("sku")], 2: [PARTS.number("149.9")]})
    for name in ("worksheet", "sheetData", "row", "c", "v", "is", "t"):
        sheet = sheet.replace(f"<{name}", f"<x:{name}").replace(f"</{name}>", f"</x:{name}>")
    sheet = sheet.replace("xmlns=", "xmlns:x=").replace("<x:x:", "<x:")
    (row,) = open_workbook(Source(PARTS.workbook({"S": sheet})), len, None).rows()
    assert (row.cells, row.numbers) == (["149.9"], (0,))


def test_a_number_merged_over_rows_is_a_number_in_each() -> None:
    """So it needs no decimal mark, whatever the texts beside it are written with."""
    names = [PARTS.text(name) for name in ("sku", "title", "price")]
    rows = {
        1: names,
        2: [PARTS.text("A-1"), PARTS.text("Şal"), PARTS.number("149.9")],
        3: [PARTS.text("A-2"), PARTS.text("Atkı"), ""],
        4: [PARTS.text("A-3"), PARTS.text("Bere"), PARTS.text("1.249,90")],
    }
    workbook = PARTS.workbook({"S": PARTS.sheet(rows, ("C2:C3",))})
    found = collect(read_catalog(workbook, OPTIONS).records)
    prices = [
        str(each.sale_price.amount)
        for product in found.products
        for each in product.draft.variants
        if each.sale_price
    ]
    assert prices == ["149.90", "149.90", "1249.90"]


def test_dates_count_from_1904_where_the_workbook_says_so() -> None:
    name = PARTS.text("sku")
    plain = PARTS.workbook({"S": PARTS.sheet({1: [name], 2: [PARTS.number("43962", 1)]})})
    target = BytesIO()
    with zipfile.ZipFile(BytesIO(plain)) as given, zipfile.ZipFile(target, "w") as changed:
        for part in given.namelist():
            content = given.read(part).replace(b"<sheets>", b'<workbookPr date1904="1"/><sheets>')
            changed.writestr(part, content)
    (row,) = open_workbook(Source(target.getvalue()), len, None).rows()
    assert row.cells == ["2024-05-12"]


@pytest.mark.slow
def test_a_part_that_is_too_large_is_not_unpacked() -> None:
    """The size is the archive's own statement, and no more than that is ever unpacked."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in PARTS_OF_A_BOMB.items():
            archive.writestr(part, content)
        with archive.open("xl/sharedStrings.xml", "w", force_zip64=True) as strings:
            strings.write(b"<sst><si><t>")
            for _ in range(300):
                strings.write(b"a" * 1_000_000)
            strings.write(b"</t></si></sst>")
    assert len(target.getvalue()) < 2_000_000
    with pytest.raises(FileRefused) as refused:
        read_catalog(target.getvalue(), OPTIONS)
    assert refused.value.reason is Reason.FILE_TOO_LARGE


_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PARTS_OF_A_BOMB = {
    "[Content_Types].xml": "<Types/>",
    "_rels/.rels": f'<R><Relationship Id="a" Type="{_OFFICE}/officeDocument" Target="w.xml"/></R>',
    "w.xml": f'<w xmlns:r="{_OFFICE}"><sheet name="S" r:id="b"/></w>',
    "_rels/w.xml.rels": f'<R><Relationship Id="b" Type="{_OFFICE}/worksheet" '
    f'Target="xl/worksheets/s.xml"/><Relationship Id="c" Type="{_OFFICE}/sharedStrings" '
    'Target="xl/sharedStrings.xml"/></R>',
    "xl/worksheets/s.xml": "<worksheet><sheetData/></worksheet>",
}


def test_a_spool_gives_back_its_rows_in_order_however_often() -> None:
    spool = Spool()
    rows = [(number, [str(number), "ş"], (0,), ()) for number in range(1, 1_000)]
    for row in rows:
        spool.put(row)
    walk = iter(spool)
    assert next(walk) == rows[0]
    assert list(spool) == rows
    assert [*walk] == rows[1:]
