"""Writes the chamber of horrors: broken files byte by byte, as no editor would save them.

Run it in this folder after changing it; what must be said about each file stands in
``expected.toml``. The archives carry no clock, so the same files come out every time.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
HEAD = "Stok Kodu;Ürün Adı;Fiyat;Stok\n"
DATE_STYLE, ZEROS_STYLE, PERCENT_STYLE = 1, 2, 3
_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><numFmts count="1">'
    '<numFmt numFmtId="164" formatCode="0000000000000"/></numFmts>'
    '<cellStyleXfs count="1"><xf numFmtId="14"/></cellStyleXfs>'
    '<cellXfs count="4"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/>'
    '<xf numFmtId="9"/></cellXfs></styleSheet>'
)


def text(value: str) -> str:
    """A cell's text, stored in the cell itself."""
    escaped = value.replace("&", "&amp;").replace("<", "&lt;")
    return f't="inlineStr"><is><t xml:space="preserve">{escaped}</t></is>'


def number(value: str, style: int = 0) -> str:
    return f's="{style}"><v>{value}</v>'


def truth(value: str) -> str:
    return f't="b"><v>{value}</v>'


def formula(result: str | None, kind: str = "n") -> str:
    value = "" if result is None else f"<v>{result}</v>"
    return f't="{kind}"><f>A1*2</f>{value}'


def sheet(rows: dict[int, list[str]], merges: tuple[str, ...] = ()) -> str:
    """A worksheet; an empty string leaves its cell out."""
    lines = []
    for row_number, cells in rows.items():
        filled = "".join(
            f'<c r="{chr(65 + place)}{row_number}" {cell}</c>'
            for place, cell in enumerate(cells)
            if cell
        )
        lines.append(f'<row r="{row_number}">{filled}</row>')
    ranges = "".join(f'<mergeCell ref="{each}"/>' for each in merges)
    merged = f"<mergeCells>{ranges}</mergeCells>" if merges else ""
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData>{merged}</worksheet>'


def workbook(sheets: dict[str, str], *, hidden: tuple[str, ...] = ()) -> bytes:
    listed = "".join(
        f'<sheet name="{name}" sheetId="{place}" r:id="rId{place}"'
        f"{' state=' + chr(34) + 'hidden' + chr(34) if name in hidden else ''}/>"
        for place, name in enumerate(sheets, 1)
    )
    related = "".join(
        f'<Relationship Id="rId{place}" Type="{_OFFICE}/worksheet" '
        f'Target="worksheets/sheet{place}.xml"/>'
        for place in range(1, len(sheets) + 1)
    )
    parts = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": (
            f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="rId1" '
            f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
        ),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": (
            f'<Relationships xmlns="{_PACKAGE}">{related}<Relationship Id="rId99" '
            f'Type="{_OFFICE}/styles" Target="/xl/styles.xml"/></Relationships>'
        ),
        "xl/styles.xml": _STYLES,
    }
    parts |= {
        f"xl/worksheets/sheet{place}.xml": each for place, each in enumerate(sheets.values(), 1)
    }
    return archive(parts)


def archive(parts: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def workbooks() -> dict[str, bytes]:
    names = [text(name) for name in ("Stok Kodu", "Barkod", "Ürün Adı", "Fiyat", "KDV")]
    plain = {1: names, 2: [text("A-1"), "", text("Kazak"), number("149.9"), number("10")]}
    whole = workbook({"Ürünler": sheet(plain)})
    return {
        "empty.xlsx": workbook({"Sayfa1": sheet({})}),
        "cut.xlsx": whole[: len(whole) // 2],
        "no-workbook.xlsx": archive({"mimetype": "application/vnd.oasis.opendocument.spreadsheet"}),
        "old.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
        "formulas.xlsx": workbook(
            {
                "Ürünler": sheet(
                    {
                        1: names,
                        2: [text("F-1"), "", text("Kazak"), formula("299.8"), number("10")],
                        3: [text("F-2"), "", text("Kaban"), formula(None), number("10")],
                        4: [text("F-3"), "", text("Atkı"), formula("#N/A", "e"), number("10")],
                        5: [text("F-4"), "", formula("Şal", "str"), number("80"), number("10")],
                    }
                )
            }
        ),
        "damage.xlsx": workbook(
            {
                "Ürünler": sheet(
                    {
                        1: names,
                        2: [number("45424", DATE_STYLE), "", text("Tarih"), number("10")],
                        3: [
                            text("D-2"),
                            number("8.690000000000119E+17"),
                            text("Uzun"),
                            number("10"),
                        ],
                        4: [number("12.1"), "", text("Kesirli"), number("10")],
                        5: [
                            text("D-4"),
                            number("799999000039", ZEROS_STYLE),
                            text("Sıfır"),
                            number("0.30000000000000004"),
                            number("0.2", PERCENT_STYLE),
                        ],
                        6: [text("D-5"), number("45424", DATE_STYLE), text("Barkod"), number("10")],
                        7: [text("D-6"), "", text("Metin"), text("1.249,90"), number("10")],
                    }
                )
            }
        ),
        "merged.xlsx": workbook(
            {
                "Liste": sheet(
                    {
                        1: [text("Avlunya toptan fiyat listesi")],
                        2: [
                            text("Model Kodu"),
                            text("Stok Kodu"),
                            text("Ürün Adı"),
                            text("Liste"),
                            "",
                            text("Stok"),
                        ],
                        3: ["", "", "", text("Fiyatı"), text("Beden"), ""],
                        4: [
                            text("M-1"),
                            text("M-1-S"),
                            text("Kazak"),
                            number("100"),
                            "",
                            number("3"),
                        ],
                        5: ["", text("M-1-M"), "", number("100"), "", number("4")],
                        6: [
                            text("M-2"),
                            text("M-2-S"),
                            text("Kaban"),
                            number("200"),
                            "",
                            number("5"),
                        ],
                    },
                    ("A1:F1", "A2:A3", "B2:B3", "C2:C3", "D2:E2", "F2:F3", "A4:A5", "C4:C5"),
                )
            }
        ),
        "hidden-first.xlsx": workbook(
            {"Ayarlar": sheet({1: [text("gizli")]}), "Ürünler": sheet(plain)}, hidden=("Ayarlar",)
        ),
        "truths.xlsx": workbook(
            {
                "Ürünler": sheet(
                    {
                        1: names,
                        2: [truth("1"), "", text("Kazak"), number("10")],
                        3: [text("T-2"), truth("0"), text("Kaban"), number("10")],
                        4: [text("T-3"), "", truth("1"), number("10")],
                        5: [text("T-4"), "", text("Şal"), truth("1")],
                    }
                )
            }
        ),
        "doctype.xlsx": workbook({"S": f'<!DOCTYPE x [<!ENTITY a "b">]>{sheet(plain)}'}),
        "far-right.xlsx": workbook(
            {
                "S": sheet(plain).replace(
                    "</row></sheetData>", '<c r="XFD2"><v>1</v></c></row></sheetData>'
                )
            }
        ),
    }


def tables() -> dict[str, bytes]:
    def ours(rows: str, head: str = HEAD) -> bytes:
        return (head + rows).encode()

    turkish = HEAD + "A-1;Işıltılı Şal;149,90;3\n"
    return {
        "empty.csv": b"",
        "only-mark.csv": b"\xef\xbb\xbf",
        "no-sku.csv": ours("Kazak;10\n", "Ürün Adı;Fiyat\n"),
        "header-twice.csv": ours("A;A;10\n", "sku;Stok Kodu;Fiyat\n"),
        "header-only.csv": ours(""),
        "utf16.csv": turkish.encode("utf-16"),
        "utf16-unmarked.csv": turkish.encode("utf-16-le"),
        "windows-1254.csv": turkish.encode("cp1254"),
        "windows-1252.csv": "sku;title;price;stock\nA-1;Žanetta süß;149,90;3\n".encode("cp1252"),
        "no-encoding.csv": HEAD.encode("cp1254") + b"A-1;\x81\x8d;1;1\n",
        "misread-twice.csv": (
            HEAD + "A-1;" + "Gömleği çiçekli".encode().decode("cp1254") + ";9;1\n"
        ).encode(),
        "lost-letters.csv": ours("A-1;I\ufffd\ufffdlt\ufffdl\ufffd;9;1\n"),
        "old-mac.csv": turkish.replace("\n", "\r").encode(),
        "sep-line.csv": ("sep=|\r\n" + turkish.replace(";", "|")).encode("utf-8-sig"),
        "open-quote.csv": ours('A-1;"Kazak;10;1\nA-2;Kaban;20;2\n'),
        "cells-too-many.csv": ours("A-1;Kazak; mavi;10;1\nA-2;Kaban;20;2\n"),
        "zero-byte.csv": ours("A-1;Ka\x00zak;10;1\n"),
        "dates-as-sku.csv": ours("12.May;Kazak;10;1\n2026-05-01;Kaban;10;1\nMAR-12;Şal;10;1\n"),
        "numbers-as-codes.csv": ours(
            "1,23E+12;;Kazak;10\nA-2;8,68E+12;Kaban;10\nA-3;8680000000017,0;Şal;10\n",
            "Stok Kodu;Barkod;Ürün Adı;Fiyat\n",
        ),
        "zeros-lost.csv": ours(
            "A-1;0799999000039;Kazak;10\nA-2;799999000046;Kaban;10\n",
            "Stok Kodu;Barkod;Ürün Adı;Fiyat\n",
        ),
        "twice.csv": ours(
            "A-1;4006381333931;Kazak;10\nA-1;;Kazak;10\nA-2;4006381333931;Kaban;10\n",
            "Stok Kodu;Barkod;Ürün Adı;Fiyat\n",
        ),
        "both-ways.csv": ours("A-1;Kazak;1.249,90;1\nA-2;Kaban;1,249.90;1\nA-3;Şal;80;1\n"),
        "undecided.csv": ours("A-1;Kazak;1.249;1\nA-2;Kaban;80;1\n"),
        "thousands.csv": ours("A-1;Kazak;149,90;1\nA-2;Kaban;149,900;1\n"),
        "prices.csv": ours(
            "A-1;Kazak;;\nA-2;Kaban;0;\nA-3;Şal;-5;\nA-4;Bere;bedava;\nA-5;Çorap;50;80\n",
            "Stok Kodu;Ürün Adı;Liste Fiyatı;Satış Fiyatı\n",
        ),
        "old-vat.csv": ours("A-1;Kazak;10;18\nA-2;Kaban;10;%20\n", "sku;name;price;vat\n"),
        "html-titles.csv": ours("A-1;<br>;10;1\nA-2;<b>Kaban</b>;10;1\n"),
        "bundles.csv": ours(
            "S-1;Set;10;S-1*2\nS-2;Set;10;YOK-9\nS-3;Set;10;*2\nA-1;Kazak;10;\n",
            "Stok Kodu;Ürün Adı;Fiyat;Set İçeriği\n",
        ),
        "cut.csv.gz": gzip.compress(turkish.encode() * 50, mtime=0)[:-9],
        "login.xls": b"<!doctype html>\n<html><body><form>\xc5\x9eifre</form></body></html>",
        "cut.sql": b"INSERT INTO `oc_product` (`product_id`) VALUES (1),(2",
    }


def shops() -> dict[str, bytes]:
    woo = (
        "Kimlik,Tür,Stok kodu (SKU),İsim,Yayımlanmış,İndirimli fiyatın başladığı tarih,"
        "Stokta?,Stok,Ağırlık (taş),İndirimli satış fiyatı,Normal fiyat,Ebeveyn,"
        "Gruplanmış ürünler,Nitelik 1 ismi,Nitelik 1 değer(ler)i\n"
        '1,variable,W-1,Kazak,1,,1,,,,,,,Renk,"Mavi, Kırmızı"\n'
        "2,variation,W-1-M,Kazak - Mavi,1,,1,parent,,,100,W-1,,Renk,Mavi\n"
        "3,variation,W-1-K,Kazak - Kırmızı,1,,1,-2,2,,100,W-1,,Renk,Kırmızı\n"
        "4,variation,W-9-M,Kaban - Mavi,1,,1,5,,,100,W-9,,Renk,Mavi\n"
        "5,variable,W-5,Şal,1,,1,,,,,,,,\n"
        '6,grouped,W-6,Takım,1,,1,,,,,,"W-1, W-5",,\n'
        "7,external,W-7,Başka dükkân,1,,1,,,,10,,,,\n"
        "8,simple,W-8,Taslak,-1,,1,1,,,10,,,,\n"
        "9,simple,,Kodsuz,1,,1,1,,,10,,,,\n"
        "10,simple,W-10,Bere,1,yakında,0,,,5,10,,,,\n"
        '11,"simple, downloadable, virtual",W-11,E-kitap,1,,1,,,,10,,,,\n'
    )
    shopify = (
        "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Tracker,"
        "Variant Inventory Qty,Variant Price,Variant Compare At Price,Image Src,Gift Card,Status\n"
        "kazak,Kazak,Beden,S,K-S,shopify,-3,100,90,https://a.example/1.jpg,false,active\n"
        "kazak,,,M,,shopify,4,100,,,,\n"
        "kazak,,,,,,,,,https://a.example/2.jpg,,\n"
        "kazak,,,,,,,,,,,\n"
        "kart,Hediye kartı,Title,Default Title,G-1,,0,50,,,true,active\n"
        "eski,Eski,Title,Default Title,E-1,shopify,1,50,,,false,archived\n"
        ",Adsız,Title,Default Title,N-1,shopify,1,50,,,false,active\n"
    )
    google = (
        "id\ttitle\tlink\tprice\tsale_price\tsale_price_effective_date\tavailability\tgtin\t"
        "item_group_id\tcolor\tshipping_weight\timage_link\n"
        "G-1\tKazak\thttps://a.example/1\t149.90 TRY\t99.90 EUR\t\tin_stock\t\t\t\t\t\n"
        "G-2\tKaban\thttps://a.example/2\t149.90 TRY\t\t\tsoon\t\t\t\t2 stones\t\n"
        "G-3\tŞal\thttps://a.example/3\tabout 10\t\t\tin_stock\t\t\t\t\t\n"
        "G-4\tBere\thttps://a.example/4\t80.00 TRY\t60.00 TRY\ttomorrow\tout of stock\t\t\t\t\t\n"
    )
    return {"woo.csv": woo.encode(), "shopify.csv": shopify.encode(), "google.tsv": google.encode()}


def documents() -> dict[str, bytes]:
    def feed(title: str, prolog: str = "") -> str:
        return (
            f'{prolog}<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><item>'
            f"<g:id>X-1</g:id><title>{title}</title><g:price>80.00 TRY</g:price>"
            "<g:availability>in_stock</g:availability></item></channel></rss>"
        )

    laughs = "".join(f'<!ENTITY l{depth} "{f"&l{depth - 1};" * 10}">' for depth in range(1, 10))
    return {
        "laughs.xml": feed(
            "&l9;", f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY l0 "ha">{laughs}]>'
        ).encode(),
        "outside.xml": feed(
            "&out;", '<!DOCTYPE rss [<!ENTITY out SYSTEM "file:///etc/hostname">]>'
        ).encode(),
        "cut.xml": feed("Kazak")[:-30].encode(),
        "control.xml": feed("Ka&#11;zak").encode(),
        "declared-wrong.xml": feed("Işıltılı Şal", '<?xml version="1.0" encoding="UTF-8"?>').encode(
            "cp1254"
        ),
        "declared-turkish.xml": feed(
            "Işıltılı Şal", '<?xml version="1.0" encoding="ISO-8859-9"?>'
        ).encode("iso8859-9"),
        "utf16.xml": feed("Işıltılı Şal", '<?xml version="1.0" encoding="UTF-16"?>').encode(
            "utf-16"
        ),
        "unknown.xml": "<Urunler><Urun><Kod>7</Kod><Ad>Şal</Ad></Urun></Urunler>".encode(),
        "no-items.xml": b'<rss version="2.0"><channel><title>Bos</title></channel></rss>',
        "deep.xml": b"<a>" * 80 + b"</a>" * 80,
    }


def main() -> None:
    for make in (tables, workbooks, shops, documents):
        for name, content in make().items():
            (HERE / name).write_bytes(content)


if __name__ == "__main__":
    main()
