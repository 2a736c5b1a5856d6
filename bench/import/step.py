"""One step of the measurement, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import json
import resource
import sys
import time
import zipfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import psutil
import psycopg

from meschain.app.commands.import_products import (
    ImportOptions,
    apply_import,
    plan_import,
    terms_hash,
    undo_import,
)
from meschain.app.queries.imports import read_imports
from meschain.channel.clock import SystemClock
from meschain.exchange import ReadingOptions, ReadProduct, RefusedRow, read_catalog
from meschain.store.unit_of_work import Database
from meschain.testing.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS: Final = ReadingOptions(today=date(2026, 11, 20))
CLOCK: Final = SystemClock()
COLORS: Final = ("Mavi", "Kırmızı", "Yeşil", "Sarı", "Siyah")
_DESCRIPTION: Final = "<p>Yumuşak, sıcak tutan, makinede yıkanabilen bir kazak.</p>"
_OURS: Final = (
    *("Model Kodu", "Stok Kodu", "Barkod", "Ürün Adı", "Açıklama", "Marka", "Kategori"),
    *("Liste Fiyatı", "Satış Fiyatı", "Stok", "KDV", "Desi", "Özellik:Renk", "Görseller"),
)
_WOO: Final = (
    *("ID", "Type", "SKU", "Name", "Published", "Description", "In stock?", "Stock"),
    *("Weight (kg)", "Sale price", "Regular price", "Categories", "Images", "Parent"),
    *("Attribute 1 name", "Attribute 1 value(s)"),
)
_SHEET_NAMESPACE: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006/relationships"


def barcode(serial: int) -> str:
    digits = f"869{serial:09d}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


def ours(products: int, variants: int) -> Iterator[list[str | float]]:
    serial = 0
    for product in range(products):
        for variant in range(variants):
            serial += 1
            price = 100 + serial % 900 + 0.9
            yield [
                *(f"KZK-{product}", f"KZK-{product}-{variant}", barcode(serial)),
                *(f"Yün kazak {product}", _DESCRIPTION, "Avlunya", "Giyim > Kadın > Kazak"),
                *(price + 100, price, serial % 50, 10, 2, COLORS[variant % 5]),
                f"https://a.example/{product}-{variant}.jpg",
            ]


def make_csv(file: Path, products: int, variants: int) -> None:
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, delimiter=";")
        writer.writerow(_OURS)
        for cells in ours(products, variants):
            writer.writerow(
                f"{each:.2f}".replace(".", ",") if isinstance(each, float) else each
                for each in cells
            )


def make_xlsx(file: Path, products: int, variants: int) -> None:
    """As spreadsheet programs write it: texts shared, numbers as numbers."""
    strings: dict[str, int] = {}

    def cell(place: int, number: int, value: str | float) -> str:
        reference = f"{chr(65 + place)}{number}"
        if isinstance(value, str) and not (place == 2 and value.isdigit()):
            index = strings.setdefault(value, len(strings))
            return f'<c r="{reference}" t="s"><v>{index}</v></c>'
        return f'<c r="{reference}"><v>{value}</v></c>'

    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(f'<worksheet xmlns="{_SHEET_NAMESPACE}"><sheetData>'.encode())
            rows: Iterator[list[str | float]] = ours(products, variants)
            number = 1
            cells: list[str | float] | None = list(_OURS)
            while cells is not None:
                filled = "".join(cell(place, number, each) for place, each in enumerate(cells))
                sheet.write(f'<row r="{number}">{filled}</row>'.encode())
                number += 1
                cells = next(rows, None)
            sheet.write(b"</sheetData></worksheet>")
        shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in strings)
        parts = {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="a" '
            f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{_SHEET_NAMESPACE}" xmlns:r="{_OFFICE}">'
            '<sheets><sheet name="Katalog" sheetId="1" r:id="a"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">'
            f'<Relationship Id="a" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
            f'<Relationship Id="b" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
            "</Relationships>",
            "xl/sharedStrings.xml": f'<sst xmlns="{_SHEET_NAMESPACE}">{shared}</sst>',
        }
        for name, text in parts.items():
            archive.writestr(name, text)


def make_woocommerce(file: Path, products: int, variants: int) -> None:
    """Simple products, or variable ones with their variations."""
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(_WOO)
        for cells in ours(products, variants):
            model, sku, _, title, description, _, category, price, sale, stock = cells[:10]
            image, color = cells[13], cells[12]
            identity, several = hash(sku) % 10**9, variants > 1
            shared = [title, 1, description, 1]
            if several and str(sku).endswith("-0"):
                named = ["Renk", ", ".join(COLORS[:variants])]
                more = ["", 0.4, "", "", category, image, "", *named]
                writer.writerow([identity, "variable", model, *shared, *more])
            kind, parent = ("variation", model) if several else ("simple", "")
            priced = [stock, "", sale, price, category, image, parent, "Renk", color]
            writer.writerow([identity + 1, kind, sku, *shared, *priced])


def make_google(file: Path, products: int, variants: int) -> None:
    with file.open("w", encoding="utf-8") as target:
        target.write('<rss xmlns:g="http://base.google.com/ns/1.0"><channel>')
        for cells in ours(products, variants):
            names = ("g:item_group_id", "g:id", "g:gtin", "title", "description", "g:brand")
            stated = dict(zip(names, cells, strict=False))
            stated |= {
                "g:product_type": cells[6],
                "g:price": f"{cells[7]:.2f} TRY",
                "g:sale_price": f"{cells[8]:.2f} TRY",
                "g:availability": "in_stock",
                "g:color": cells[12],
                "g:image_link": cells[13],
            }
            texts = (f"<{name}>{escape(str(text))}</{name}>" for name, text in stated.items())
            target.write(f"<item>{''.join(texts)}</item>\n")
        target.write("</channel></rss>")


MAKERS: Final = {
    "csv": make_csv,
    "xlsx": make_xlsx,
    "woocommerce": make_woocommerce,
    "google": make_google,
}


def read(file: Path) -> tuple[int, int]:
    rows = refused = 0
    for record in read_catalog(file, OPTIONS).records:
        if isinstance(record, ReadProduct):
            rows += len(record.draft.variants)
        elif isinstance(record, RefusedRow):
            refused += 1
    return rows, refused


async def store(file: Path, url: str, which: str) -> tuple[int, int, float]:
    """Rows, refused rows, and the seconds of CPU that the database used for them."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT merchant_id FROM merchant").fetchone()
        merchant_id = Shop.open(connection).merchant_id if found is None else int(str(found[0]))
        postmaster = psutil.Process(connection.info.backend_pid).parent()
        assert postmaster is not None
    before_s = used_s(postmaster)
    database = Database(url)
    await database.open()
    try:
        if which == "undo":
            counts = await undo(database, merchant_id)
        else:
            counts = await take(file, database, merchant_id, is_plan=which == "plan")
        # What an ended process used is not seen: ask while our connections still stand.
        database_s = used_s(postmaster) - before_s
    finally:
        await database.close()
    kept = ("variants_created", "variants_updated", "variants_unchanged", "removed", "put_back")
    return sum(counts.get(name, 0) for name in kept), counts.get("refused", 0), database_s


async def take(
    file: Path, database: Database, merchant_id: int, *, is_plan: bool
) -> dict[str, int]:
    with file.open("rb") as opened:
        file_hash = hashlib.file_digest(opened, "sha256").digest()
    about = ImportOptions(
        actor="bench", file_name=file.name, file_hash=file_hash, terms_hash=terms_hash(OPTIONS)
    )
    reading = read_catalog(file, OPTIONS)
    if is_plan:
        return (await plan_import(database, merchant_id, reading, about)).counts
    return (await apply_import(database, CLOCK, merchant_id, reading, about)).plan.counts


async def undo(database: Database, merchant_id: int) -> dict[str, int]:
    """The latest import that changed anything, put back."""
    runs = await read_imports(database, merchant_id, limit=100)
    run = next(each for each in runs if each.can_undo and each.counts["variants_created"])
    plan = await undo_import(database, CLOCK, merchant_id, run.import_id, actor="bench")
    return plan.counts


def used_s(postmaster: psutil.Process) -> float:
    """CPU used so far by the server's living processes."""
    used = 0.0
    for process in postmaster.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def peak_mib() -> float:
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(which: str, *arguments: str) -> None:
    before_mib = peak_mib()
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    rows = refused = 0
    database_s = None
    if which == "make":
        name, products, variants, file = arguments
        MAKERS[name](Path(file), int(products), int(variants))
    elif which == "read":
        rows, refused = read(Path(arguments[0]))
    else:
        file, url = arguments
        rows, refused, database_s = asyncio.run(store(Path(file), url, which))
    result = {
        "rows": rows,
        "refused": refused,
        "took_s": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - cpu_began_s,
        "database_cpu_s": database_s,
        "grown_mib": peak_mib() - before_mib,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
