"""What the files of shops and feeds mean in our drafts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import (
    CatalogReading,
    Collected,
    FileFormat,
    FileRefused,
    ReadingOptions,
    Reason,
    SourceKind,
    collect,
    read_catalog,
    read_column_map,
)

FORMATS = Path(__file__).parent.parent / "data" / "formats"
WOO_SAMPLE = Path(__file__).parents[3] / "shared/data/catalogue-woocommerce-sample"
OPTIONS = ReadingOptions(today=date(2026, 11, 20))
SUPPLIER = replace(OPTIONS, column_map=read_column_map(FORMATS / "supplier.toml"))


def lira(amount: str) -> Money:
    return Money(int(Decimal(amount) * 100), "TRY")


def read(content: bytes | str, options: ReadingOptions = OPTIONS) -> Collected:
    content = content.encode() if isinstance(content, str) else content
    return collect(read_catalog(content, options).records)


def open_(name: str, options: ReadingOptions = OPTIONS) -> CatalogReading:
    return read_catalog(FORMATS / name, options)


def variants(found: Collected) -> dict[str, VariantDraft]:
    return {each.sku: each for product in found.products for each in product.draft.variants}


def faults(found: Collected) -> list[tuple[int, str]]:
    return [(each.row_number, str(each.reason_code)) for each in found.refused]


def remarks(found: Collected) -> list[tuple[int, str]]:
    return [(each.row_number, str(each.reason_code)) for each in found.warnings]


def mended(name: str, *changes: tuple[str, str]) -> str:
    text = (FORMATS / name).read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text


# — WooCommerce —


def test_a_variable_product_gathers_its_variations_wherever_they_stand() -> None:
    reading = open_("woocommerce.csv")
    assert (reading.form.kind, reading.form.header_language) == (SourceKind.WOOCOMMERCE, "tr")
    shirt, sock = collect(reading.records).products
    assert shirt.draft == ProductDraft(
        model_code="GMLK",
        brand="Avlunya",
        category="Giyim > Erkek > Gömlek",
        contents=(Content("tr", "Gömlek", "<p>Pamuklu</p>\n<p>Rahat</p>"),),
        variants=(
            VariantDraft(
                sku="GMLK-M",
                barcode="8690000000019",
                attributes={"Beden": "M"},
                list_price=lira("599.90"),
                sale_price=lira("449.90"),
                quantity=7,
                weight_g=250,
                image_urls=("https://a.example/m.jpg",),
                length_mm=300,
                width_mm=205,
                height_mm=20,
            ),
            VariantDraft(
                sku="GMLK-L",
                attributes={"Beden": "L"},
                list_price=lira("599.90"),
                sale_price=lira("599.90"),  # the sale ended in January
                quantity=0,  # not counted, and not in stock
                weight_g=300,
                length_mm=300,
                width_mm=205,
                height_mm=20,
            ),
        ),
        attributes={"Kumaş": "Pamuk, Keten, ham"},
        image_urls=("https://a.example/1.jpg", "https://a.example/2.jpg"),
    )
    assert (shirt.product_row, shirt.variant_rows, shirt.model_stated) == (3, (2, 4), True)
    # The apostrophe keeps spreadsheets from computing the code; it is no part of it.
    assert (sock.draft.model_code, sock.model_stated) == ("+KOD-1", False)
    assert sock.draft.variants[0].list_price == lira("1049.90")
    assert sock.draft.contents[0].description_html == "Kısa açıklama"


@pytest.mark.parametrize(
    ("day", "price"),
    [
        (date(2026, 10, 31), "599.90"),
        (date(2026, 11, 1), "449.90"),
        (date(2026, 11, 30), "449.90"),
        (date(2026, 12, 1), "599.90"),
    ],
)
def test_a_sale_price_holds_on_its_first_and_last_day(day: date, price: str) -> None:
    found = collect(open_("woocommerce.csv", replace(OPTIONS, today=day)).records)
    assert variants(found)["GMLK-M"].sale_price == lira(price)


def test_a_parent_may_be_named_by_its_number() -> None:
    nameless = mended("woocommerce.csv", ("variable,GMLK,", "variable,,"), (",GMLK,,", ",id:11,,"))
    found = read(nameless)
    assert found.products[0].draft.model_code == "11"
    assert list(variants(found)) == ["GMLK-M", "GMLK-L", "+KOD-1"]


def test_an_unpublished_parent_takes_its_variations_with_it() -> None:
    draft = mended("woocommerce.csv", ("GMLK,,Gömlek,1,", "GMLK,,Gömlek,-1,"))
    refused = sorted(faults(read(draft)))
    assert refused == [(row, "product.disabled") for row in (2, 3, 4)]
    assert len(variants(read(draft, replace(OPTIONS, include_disabled=True)))) == 3


def test_a_title_that_cannot_be_used_refuses_every_variation() -> None:
    found = read(mended("woocommerce.csv", ("GMLK,,Gömlek,1,", "GMLK,,<br>,1,")))
    assert faults(found) == [(3, "title.only_html"), (2, "title.missing"), (4, "title.missing")]
    assert list(variants(found)) == ["+KOD-1"]


@pytest.mark.skipif(not WOO_SAMPLE.exists(), reason="the shared samples are not beside this tree")
def test_the_real_woocommerce_sample_is_accounted_for_row_by_row() -> None:
    found = collect(read_catalog(WOO_SAMPLE / "sample_products.csv", OPTIONS).records)
    by_model = {each.draft.model_code: each.draft for each in found.products}
    assert len(variants(found)) == 20
    assert faults(found) == [(18, "product.kind")]
    assert remarks(found) == [
        *((10, "product.digital"), (11, "product.digital"), (17, "product.grouped")),
    ]
    hoodie = by_model["cc-hoodie"]
    assert {each.sku: dict(each.attributes) for each in hoodie.variants} == {
        "cc-hoodie-red": {"Color": "Red", "Logo": "No"},
        "cc-hoodie-green": {"Color": "Green", "Logo": "No"},
        "cc-hoodie-blue": {"Color": "Blue", "Logo": "No"},
        "cc-hoodie-blue-logo": {"Color": "Blue", "Logo": "Yes"},
        "cc-hoodie-green-logo": {"Color": "Green", "Logo": "Yes"},
        "cc-hoodie-red-logo": {"Color": "Red", "Logo": "Yes"},
    }
    assert hoodie.category == "Clothing > Hoodies"
    assert len(hoodie.image_urls) == 4
    assert by_model["cc-beanie"].variants[0].sale_price == lira("18")


# — Shopify —


def test_rows_of_one_handle_are_variants_or_images() -> None:
    reading = open_("shopify.csv")
    assert reading.form.kind is SourceKind.SHOPIFY
    found = collect(reading.records)
    sweater, mug = found.products
    assert sweater.draft.image_urls == tuple(
        f"https://a.example/kazak-{number}.jpg" for number in (1, 3, 2, 4)
    )
    small, medium, gray = sweater.draft.variants
    assert small == VariantDraft(
        sku="YK-S-MAVI",
        barcode="8690000000019",
        attributes={"Beden": "S", "Renk": "Mavi"},
        list_price=lira("1249.90"),
        sale_price=lira("899.90"),
        cost=lira("310"),
        quantity=5,
        weight_g=450,
        image_urls=("https://a.example/mavi.jpg",),
    )
    assert medium.quantity == 0
    assert (gray.list_price, gray.quantity) == (lira("899.90"), 0)
    # No options; not counted by the shop, which writes 0 all the same.
    assert (mug.draft.variants[0].attributes, mug.draft.variants[0].quantity) == ({}, None)
    assert [each.reason_code for each in found.warnings if each.row_number == 1] == [
        Reason.HEADER_UNKNOWN
    ]


def test_the_names_before_and_after_shopify_renamed_its_columns_mean_the_same() -> None:
    renamed = {
        "Handle": "URL handle",
        "Body (HTML)": "Description",
        "Variant SKU": "SKU",
        "Variant Price": "Price",
        "Variant Compare At Price": "Compare-at price",
        "Variant Inventory Qty": "Inventory quantity",
        "Variant Inventory Tracker": "Inventory tracker",
        "Variant Grams": "Weight value (grams)",
        "Variant Barcode": "Barcode",
        "Image Src": "Product image URL",
        "Variant Image": "Variant image URL",
        "Custom Product Type": "Type",
        "Standardized Product Type": "Product category",
    }
    header, rest = (FORMATS / "shopify-before.csv").read_text(encoding="utf-8").split("\n", 1)
    names = ",".join(renamed.get(name, name) for name in header.split(","))
    before, after = collect(open_("shopify-before.csv").records), read(f"{names}\n{rest}")
    assert before.products == tuple(
        replace(each, raw_rows=kept.raw_rows)
        for each, kept in zip(after.products, before.products, strict=True)
    )
    belt = before.products[0].draft
    # A compare-at price below the price strikes nothing out.
    assert [each.list_price for each in belt.variants] == [lira("349"), lira("349")]
    assert [each.attributes for each in belt.variants] == [{"Uzunluk": "90"}, {"Uzunluk": "100"}]


# — Google —


def test_text_and_xml_of_a_google_feed_say_the_same() -> None:
    text, xml = open_("google.tsv"), open_("google.xml")
    assert (text.form.file_format, xml.form.file_format) == (FileFormat.TEXT, FileFormat.XML)
    assert text.form.kind is xml.form.kind is SourceKind.GOOGLE
    from_text, from_xml = collect(text.records), collect(xml.records)
    assert [each.draft for each in from_text.products] == [each.draft for each in from_xml.products]
    dress, hat = from_text.products
    assert dress.draft.variants[0] == VariantDraft(
        sku="EL-1-M",
        barcode="8690000000019",
        attributes={"color": "Mavi", "size": "M", "gender": "female", "MPN": "KE-1"},
        list_price=lira("1299.90"),
        sale_price=lira("899.90"),
        weight_g=400,
        image_urls=tuple(f"https://a.example/{number}.jpg" for number in (1, 2, 3)),
    )
    assert dress.draft.category == "Giyim > Kadın > Elbise"
    assert dress.draft.contents[0].title == "Keten Elbise Mavi M"
    # Out of stock is 0; in stock counts nothing. The sale of the second ended in January.
    large = dress.draft.variants[1]
    assert (large.quantity, large.sale_price) == (0, lira("1299.90"))
    assert dress.draft.variants[0].quantity is None
    assert hat.draft.category is None  # a number of Google's own taxonomy is no name
    assert (from_text.products[1].variant_rows, from_xml.products[1].variant_rows) == ((4,), (3,))


@pytest.mark.parametrize(
    ("price", "minor", "currency"),
    [
        ("15.00 USD", 1500, "USD"),
        ("USD 15.00", 1500, "USD"),
        ("149,90 TRY", 14990, "TRY"),
        ("149.90 TL", 14990, "TRY"),
        ("1500 JPY", 1500, "JPY"),
        ("149.90", 14990, "TRY"),
    ],
)
def test_a_price_of_a_feed_brings_its_currency(price: str, minor: int, currency: str) -> None:
    found = read(f"id\ttitle\tavailability\tprice\nA-1\tŞal\tin stock\t{price}\n")
    assert variants(found)["A-1"].sale_price == Money(minor, currency)


def test_atom_is_read_like_rss() -> None:
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">'
        "<title>Avlunya</title><entry><g:id>A-1</g:id><title>Şal</title>"
        "<g:price>80.00 TRY</g:price><g:availability>in_stock</g:availability></entry></feed>"
    )
    assert variants(read(atom))["A-1"].list_price == lira("80")


# — a supplier's columns —


def test_a_suppliers_xml_by_its_column_map() -> None:
    reading = open_("supplier.xml", SUPPLIER)
    assert (reading.form.kind, reading.form.encoding) == (SourceKind.SUPPLIER, "cp1254")
    thermos, jug = collect(reading.records).products
    assert thermos.draft.contents[0].title == "Çelik Termos"
    assert thermos.draft.category == "Mutfak > Termos"
    assert thermos.draft.image_urls == ("https://t.example/1.jpg", "https://t.example/2.jpg")
    black, white = thermos.draft.variants
    # (185.50 × 1.35 + 20) × 1.20 = 324.51, up to the next that ends in ,90
    assert black == VariantDraft(
        sku="T-100-S",
        barcode="8690000000019",
        attributes={"Renk": "Siyah"},
        sale_price=lira("324.90"),
        cost=lira("185.50"),
        quantity=8,  # 14, less 2 kept back, at most 8
        vat_percent=Decimal(20),
        handling_days=2,
    )
    assert white.quantity == 8  # "Var" means 10
    assert (jug.draft.variants[0].quantity, jug.draft.variants[0].cost) == (0, lira("1040"))


def test_the_same_map_reads_a_table() -> None:
    names = (
        "@kod;Secenekler/Secenek/StokKodu;UrunAdi;AlisFiyati;KDV;Secenekler/Secenek/Stok;Iskonto\n"
    )
    found = read(f"{names}T-1;T-1-S;Termos;185,50;20;14;5\n", SUPPLIER)
    assert variants(found)["T-1-S"].sale_price == lira("324.90")
    missing = {each.params["column"] for each in found.warnings}
    assert missing == {
        *("Secenekler/Secenek/Barkod", "Marka", "AnaKategori", "AltKategori"),
        *("Secenekler/Secenek/Renk", "Doviz", "Resimler/Resim"),
    }


def test_a_number_that_cannot_be_read_names_the_suppliers_column() -> None:
    names = "@kod;Secenekler/Secenek/StokKodu;UrunAdi;AlisFiyati;KDV;Secenekler/Secenek/Stok\n"
    found = read(
        f"{names}T-1;T-1-S;Termos;yok;20;14\nT-2;T-2-S;Termos;10;20;çok\nT-3;T-3-S;Termos;10;;1\n",
        SUPPLIER,
    )
    assert [(each.reason_code, each.params["column"]) for each in found.refused] == [
        (Reason.NUMBER_UNREADABLE, "AlisFiyati"),
        (Reason.NUMBER_UNREADABLE, "Secenekler/Secenek/Stok"),
        (Reason.MAP_VAT_MISSING, "AlisFiyati"),
    ]


def test_only_the_mark_of_the_rows_own_currency_is_left_out() -> None:
    names = "@kod;Secenekler/Secenek/StokKodu;UrunAdi;AlisFiyati;KDV;Doviz\n"
    rows = (
        "T-1;T-1-S;Termos;10,50 TL;20;TL",
        "T-2;T-2-S;Termos;$10,50;20;USD",
        "T-3;T-3-S;Termos;$10,50;20;TL",  # ten dollars are not ten lira
        "T-4;T-4-S;Termos;10,50 TL;20;USD",
    )
    found = read(names + "\n".join(rows), SUPPLIER)
    assert faults(found) == [(4, "number.unreadable"), (5, "number.unreadable")]
    assert variants(found)["T-2-S"].cost == Money(1050, "USD")


# — what was found can be overruled —


def test_a_wrong_guess_is_overruled() -> None:
    # Our own names in Shopify's file, by which it would be taken for ours.
    text = "Handle,Title,SKU,Barcode,Price\nkazak,Kazak,K-1,,80\n"
    assert read_catalog(text.encode(), OPTIONS).form.kind is SourceKind.SHOPIFY
    as_ours = replace(OPTIONS, source_kind=SourceKind.CSV)
    assert read_catalog(text.encode(), as_ours).form.kind is SourceKind.CSV

    latin = "sku;title;price\nA-1;\xde;80\n".encode("latin-1")
    for encoding, title in ((None, "Ş"), ("windows-1252", "Þ"), ("iso-8859-9", "Ş")):
        found = read(latin, replace(OPTIONS, encoding=encoding))
        assert found.products[0].draft.contents[0].title == title
    with pytest.raises(FileRefused) as refused:
        read(latin, replace(OPTIONS, encoding="utf-8"))
    assert refused.value.reason is Reason.FILE_ENCODING_TOLD


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("sku;title;price", "en"),
        ("Stok Kodu;Ürün Adı;Fiyat", "tr"),
        ("stok kodu;özellik:Renk;stok", "tr"),
        ("sku;title;Fiyat;Stok", None),  # as many of each
        ("sku;desi", "en"),
    ],
)
def test_the_language_of_a_header_is_told(header: str, language: str | None) -> None:
    row = ";".join("1" for _ in header.split(";"))
    assert read_catalog(f"{header}\n{row}\n".encode(), OPTIONS).form.header_language == language
