"""Files made to hurt: small on the disk, endless when unpacked, or one cell without end."""

from __future__ import annotations

import gzip
import importlib.util
import io
import time
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from meschain.exchange import FileRefused, ReadingOptions, Reason, collect, read_catalog
from meschain.exchange import source as source_module
from meschain.exchange.table import items as items_module
from meschain.exchange.table import package as package_module
from meschain.exchange.table import row as row_module

DATA = Path(__file__).parent.parent / "data"
OPTIONS = ReadingOptions(today=date(2026, 11, 20))
MEGABYTE = 1 << 20
SECONDS_MAX = 30


def load_parts() -> ModuleType:
    """The chamber of horrors' own means of writing workbooks."""
    spec = importlib.util.spec_from_file_location("horrors", DATA / "horrors" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PARTS = load_parts()
FEED = b'<rss xmlns:g="g"><channel>'
STRINGS = b'<Relationship Id="s" Type="x/sharedStrings" Target="/xl/shared.xml"/></Relationships>'


def refused(content: bytes | Path) -> Reason:
    """Why the file is refused, and that this did not take long."""
    began_s = time.monotonic()
    with pytest.raises(FileRefused) as whole:
        collect(read_catalog(content, OPTIONS).records)
    assert time.monotonic() - began_s < SECONDS_MAX
    return whole.value.reason


def workbook(*rows: list[str], **parts: bytes) -> bytes:
    """A workbook of these rows, with other parts put in their place."""
    names = [PARTS.text(name) for name in ("Stok Kodu", "Barkod", "Ürün Adı", "Fiyat", "Stok")]
    whole = PARTS.workbook({"S": PARTS.sheet(dict(enumerate([names, *rows], 1)))})
    if not parts:
        return bytes(whole)
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(whole)) as given,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        contents = {name: given.read(name) for name in given.namelist()}
        for name, content in parts.items():
            contents[f"xl/{name.replace('__', '/')}.xml"] = content
        if "shared" in parts:
            related = "xl/_rels/workbook.xml.rels"
            contents[related] = contents[related].replace(b"</Relationships>", STRINGS)
        for name, content in contents.items():
            packed.writestr(name, content)
    return target.getvalue()


def sheet(content: bytes) -> bytes:
    return workbook(worksheets__sheet1=b"<worksheet>" + content + b"</worksheet>")


@pytest.mark.parametrize(
    "content",
    [
        b"<sheetData><row><c t='inlineStr'><is><t>"
        + b"a" * (64 * MEGABYTE)
        + b"</t></is></c></row>",
        b"<!--" + b" " * (64 * MEGABYTE) + b"--><sheetData/>",
        b"<sheetData a='" + b" " * (64 * MEGABYTE) + b"'/>",
        b"<sheetData><row>"
        + b"".join(
            b"<c t='inlineStr'><is><t>" + b"a" * MEGABYTE + b"</t></is></c>" for _ in range(6)
        )
        + b"</row></sheetData>",
    ],
    ids=["cell", "comment", "attribute", "row"],
)
def test_a_cell_without_end_refuses_the_workbook(content: bytes) -> None:
    assert refused(sheet(content)) is Reason.FILE_LINE_TOO_LONG


def test_a_part_of_endless_elements_refuses_the_workbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_module, "_ELEMENTS_MAX", 10_000)
    styles = b"<styleSheet>" + b"<a/>" * 10_000 + b"</styleSheet>"
    assert refused(workbook(styles=styles)) is Reason.FILE_TOO_LARGE


def test_endless_shared_strings_refuse_the_workbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_module, "_STRINGS_MAX", 10_000)
    strings = b"<sst>" + b"<si/>" * 10_001 + b"</sst>"
    assert refused(workbook(shared=strings)) is Reason.FILE_TOO_LARGE


def test_one_long_text_named_by_many_cells_refuses_the_workbook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A text of 3 MB, named 200 times by a file of some kilobytes."""
    monkeypatch.setattr(row_module, "_SPOOL_BYTES_MAX", 64 * MEGABYTE)
    strings = b"<sst><si><t>" + b"a" * (3 * MEGABYTE) + b"</t></si></sst>"
    rows = b"<sheetData>" + b"<row><c t='s'><v>0</v></c></row>" * 200 + b"</sheetData>"
    content = workbook(shared=strings, worksheets__sheet1=b"<worksheet>" + rows + b"</worksheet>")
    assert len(content) < MEGABYTE
    assert refused(content) is Reason.FILE_UNPACKED


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!--" + b" " * (32 * MEGABYTE) + b"--><item/>", Reason.FILE_LINE_TOO_LONG),
        (b"<item><g:id>" + b"a " * (16 * MEGABYTE) + b"</g:id></item>", Reason.FILE_LINE_TOO_LONG),
        (b" x" * (16 * MEGABYTE) + b"<item/>", Reason.FILE_LINE_TOO_LONG),
        (b"<item>" + b"<g:id x=''/>" * 20_000 + b"</item>", Reason.XML_LIMIT),
        (b"<item>" + b"<g:image_link>x</g:image_link>" * 20_000 + b"</item>", Reason.XML_LIMIT),
    ],
    ids=["comment", "text", "text between items", "empty attributes", "repeated"],
)
def test_an_element_without_end_refuses_the_feed(
    content: bytes, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items_module, "_ITEM_CHARACTERS_MAX", 50_000)
    assert refused(FEED + content + b"</channel></rss>") is reason


def test_a_line_without_end_refuses_the_file(tmp_path: Path) -> None:
    file = tmp_path / "line.csv"
    with file.open("wb") as target:
        target.write("Stok Kodu;Ürün Adı;Fiyat\n".encode())
        target.truncate(1 << 30)  # a gigabyte of zero bytes, sparse on the disk
    assert refused(file) is Reason.FILE_LINE_TOO_LONG


def test_an_archive_that_unpacks_without_end_refuses_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_module, "_UNPACKED_BYTES_MAX", 64 * MEGABYTE)
    line = b"A;Kazak;5,00" + b" " * 1_000 + b"\n"
    content = gzip.compress("Stok Kodu;Ürün Adı;Fiyat\n".encode() + line * 80_000)
    assert len(content) < MEGABYTE
    assert refused(content) is Reason.FILE_UNPACKED


def test_more_columns_than_a_spreadsheet_holds_refuse_the_file() -> None:
    names = ";".join(["Stok Kodu", "Ürün Adı", "Fiyat", *(f"c{n}" for n in range(20_000))])
    assert refused(f"{names}\nA;x;5,00\n".encode()) is Reason.FILE_TOO_WIDE


def test_five_thousand_columns_are_read() -> None:
    names = ";".join(["Stok Kodu", "Ürün Adı", "Fiyat", *(f"Özellik:n{n}" for n in range(5_000))])
    cells = ";".join(["A", "Kazak", "5,00", *("v" for _ in range(5_000))])
    (product,) = collect(read_catalog(f"{names}\n{cells}\n".encode(), OPTIONS).records).products
    assert len(product.draft.variants[0].attributes) == 5_000


def sku_reasons(content: bytes) -> Iterator[Reason]:
    for row in collect(read_catalog(content, OPTIONS).records).refused:
        yield row.reason_code


@pytest.mark.parametrize("hidden", ["\ufeff", "\u200b", "\u00ad", "\u202e", "\u2060"])
def test_a_code_with_letters_that_nobody_sees_is_refused(hidden: str) -> None:
    """Two files put together leave a byte order mark inside; a web page leaves the others."""
    text = f"sku;barcode;title;sale_price\n{hidden}A;;Kazak;5,00\nB;86{hidden}9;Şal;5,00\n"
    assert list(sku_reasons(text.encode())) == [Reason.ROW_CONTROL_CHARACTER] * 2


def test_a_date_written_out_is_no_code_and_a_price_is_never_a_binary_fraction() -> None:
    content = workbook(
        ['t="d"><v>2026-05-12T00:00:00</v>', "", PARTS.text("x"), PARTS.number("5")],
        [PARTS.text("2026-05-12T08:30:00Z"), "", PARTS.text("y"), PARTS.number("5")],
        [
            PARTS.text("A"),
            PARTS.number("8690000000012"),
            PARTS.text("z"),
            PARTS.number("8.1999999999999993"),
            PARTS.number("3.0000000000000004"),
        ],
        [PARTS.text("B"), PARTS.text("8.68E+12"), PARTS.text("z"), PARTS.number("1.1E+2")],
    )
    found = collect(read_catalog(content, OPTIONS).records)
    assert [(each.row_number, each.reason_code) for each in found.refused] == [
        (2, Reason.SKU_DATE),
        (3, Reason.SKU_DATE),
        (5, Reason.BARCODE_NUMBER_FORMAT),
    ]
    ((variant,),) = (product.draft.variants for product in found.products)
    assert variant.sale_price is not None
    assert (variant.sale_price.minor, variant.barcode, variant.quantity) == (
        *(820, "8690000000012", 3),
    )


def test_line_ends_of_every_kind_may_stand_in_one_file() -> None:
    text = b'sku;title;sale_price\r\nA;x;5,00\nB;x;6,00\rC;x;7,00\r\n\r\nD;"x\r\ny";8,00\n'
    found = collect(read_catalog(text, OPTIONS).records)
    assert [each.draft.variants[0].sku for each in found.products] == ["A", "B", "C", "D"]
