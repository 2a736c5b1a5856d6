from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from meschain.domain.catalog import Content, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import (
    Collected,
    FileRefused,
    ReadingOptions,
    Reason,
    SourceForm,
    collect,
    read_catalog,
)

OPTIONS = ReadingOptions(today=date(2026, 11, 20))
HEADER = (
    "Model Kodu;Stok Kodu;Barkod;Ürün Adı;Liste Fiyatı;Satış Fiyatı;Stok;KDV;"
    "Özellik:Beden;Set İçeriği"
)
GOOD = "KZK-1;KZK-1-S;8690000000012;Kazak;1.249,90;999,90;5;10;S;"


def read(
    *rows: str, header: str = HEADER, encoding: str = "utf-8", options: ReadingOptions = OPTIONS
) -> Collected:
    content = "\r\n".join((header, *rows)).encode(encoding)
    return collect(read_catalog(content, options).records)


def form(content: bytes) -> SourceForm:
    return read_catalog(content, OPTIONS).form


def test_a_full_row_becomes_a_variant_with_everything_it_states() -> None:
    header = (
        "model_code,sku,barcode,title,description,title:en,brand,category,list_price,sale_price,cost,"
        "currency,quantity,vat_percent,desi,weight_g,length_mm,width_mm,height_mm,handling_days,"
        "origin_country,images,product_images,attr:Beden,product_attr:Kumaş"
    )
    row = (
        'KZK-1,KZK-1-S,DP1,Yün Kazak,"<p onclick=x>Sıcak<script>1</script></p>",Sweater,Avlunya,'
        "Giyim>Kadın > Kazak,1249.90,999.90,450.5,TL,5,%10,2.50,350,300,200,50,2,Türkiye,"
        "https://a.example/1.jpg|https://a.example/2.jpg,https://a.example/0.jpg,S,Yün"
    )
    found = read(row, header=header)
    assert not found.refused
    assert not found.warnings
    (product,) = found.products
    assert product.variant_rows == (2,)
    assert product.model_stated
    draft = product.draft
    assert (draft.model_code, draft.brand, draft.category) == (
        "KZK-1",
        "Avlunya",
        "Giyim > Kadın > Kazak",
    )
    assert draft.contents == (
        Content("tr", "Yün Kazak", "<p>Sıcak</p>"),
        Content("en", "Sweater"),
    )
    assert draft.attributes == {"Kumaş": "Yün"}
    assert draft.image_urls == ("https://a.example/0.jpg",)
    assert draft.variants == (
        VariantDraft(
            sku="KZK-1-S",
            barcode="DP1",
            attributes={"Beden": "S"},
            list_price=Money(124990, "TRY"),
            sale_price=Money(99990, "TRY"),
            cost=Money(45050, "TRY"),
            quantity=5,
            vat_percent=Decimal(10),
            desi=Decimal("2.50"),
            weight_g=350,
            length_mm=300,
            width_mm=200,
            height_mm=50,
            handling_days=2,
            origin_country="TR",
            image_urls=("https://a.example/1.jpg", "https://a.example/2.jpg"),
        ),
    )


def test_what_is_not_stated_stays_none_and_a_file_without_models_says_so() -> None:
    (product,) = read("A-1;7", header="Stok Kodu;Stok").products
    assert not product.model_stated
    assert product.draft.variants == (VariantDraft(sku="A-1", quantity=7),)
    assert product.draft.contents == ()
    assert product.draft.brand is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1254"])
def test_the_encoding_is_found(encoding: str) -> None:
    (product,) = read(GOOD.replace("Kazak", "Işıl Şık Kazağı"), encoding=encoding).products
    assert product.draft.contents[0].title == "Işıl Şık Kazağı"
    assert form((HEADER + "\n" + GOOD).encode(encoding)).encoding == encoding


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_the_delimiter_is_found_by_the_header(delimiter: str) -> None:
    content = f"sku{delimiter}title{delimiter}price\nA-1{delimiter}Kazak{delimiter}149".encode()
    assert form(content).delimiter == delimiter


def test_a_told_delimiter_counts_as_a_row() -> None:
    content = b"sep=;\nsku;title\nA-1;Kazak\n"
    (product,) = collect(read_catalog(content, OPTIONS).records).products
    assert product.variant_rows == (3,)


def row(**changes: str) -> str:
    """The second row of a file, sound but for the changes."""
    cells = {
        "model": "KZK-1", "sku": "KZK-1-M", "barcode": "DP2", "title": "Kazak", "list": "1.249,90",
        "sale": "999,90", "stock": "5", "vat": "10", "size": "M", "bundle": "",
    }  # fmt: skip
    return ";".join((cells | changes).values())


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (row(sku=""), Reason.SKU_MISSING),
        (row(sku="12.May"), Reason.SKU_DATE),
        (row(sku="8,68E+12"), Reason.SKU_NUMBER_FORMAT),
        (row(sku="KZK-1-S"), Reason.SKU_DUPLICATE),
        (row(barcode="8,68E+12"), Reason.BARCODE_NUMBER_FORMAT),
        (row(barcode="8690000000012"), Reason.BARCODE_DUPLICATE),
        (row(barcode="9" * 41), Reason.BARCODE_TOO_LONG),
        (row(title="<br />"), Reason.TITLE_ONLY_HTML),
        (row(model="KZK-9", title=""), Reason.TITLE_MISSING),
        (row(list="", sale=""), Reason.PRICE_MISSING),
        (row(sale="0"), Reason.PRICE_ZERO),
        (row(list="-1.249,90"), Reason.NUMBER_NEGATIVE),
        (row(stock="-1"), Reason.NUMBER_NEGATIVE),
        (row(stock="1,5"), Reason.NUMBER_NOT_WHOLE),
        (row(list="12.May"), Reason.NUMBER_UNREADABLE),
        (row(sale="1.249,91"), Reason.PRICE_SALE_ABOVE_LIST),
        (row(list="1.249,999"), Reason.PRICE_DIGITS),
        (row(vat="18"), Reason.VAT_RATE_UNKNOWN),
        (row(vat="0,2"), Reason.VAT_RATE_UNKNOWN),
        (row(title="Kazak\x07"), Reason.ROW_CONTROL_CHARACTER),
        (row(title="�orap"), Reason.ROW_DAMAGED_TEXT),
        (row(bundle="YOK-1*2", stock=""), Reason.BUNDLE_COMPONENT_UNKNOWN),
        (row(bundle="KZK-1-M*2", stock=""), Reason.BUNDLE_OF_ITSELF),
        (row(bundle="|*2", stock=""), Reason.BUNDLE_UNREADABLE),
        (row() + ";x", Reason.ROW_FIELD_COUNT),
        ("KZK-1;KZK-1-M", Reason.ROW_FIELD_COUNT),
        (row(title='"Kazak'), Reason.ROW_QUOTING),
    ],
)
def test_a_damaged_row_is_refused_and_blocks_no_other(damaged: str, reason: Reason) -> None:
    last = "KZK-2;KZK-2-S;DP3;Etek;149,90;;1;10;S;"
    found = read(GOOD, damaged, last)
    assert [(refused.row_number, refused.reason_code) for refused in found.refused] == [(3, reason)]
    assert sorted(each.variant_rows for each in found.products) == [(2,), (4,)]


def test_a_file_that_writes_numbers_both_ways_has_those_rows_refused() -> None:
    found = read("A-1;1.249,90", "A-2;1,249.90", "A-3;1.249", "A-4;1249", header="sku;list_price")
    assert {refused.row_number: refused.reason_code for refused in found.refused} == {
        2: Reason.NUMBER_UNDECIDED,
        3: Reason.NUMBER_UNDECIDED,
        4: Reason.NUMBER_UNDECIDED,
    }
    assert [each.draft.variants[0].sku for each in found.products] == ["A-4"]


def test_a_file_that_settles_nothing_refuses_what_could_mean_two_things() -> None:
    found = read("A-1;1.249", "A-2;1249", header="sku;list_price")
    assert [refused.reason_code for refused in found.refused] == [Reason.NUMBER_UNDECIDED]
    overruled = ReadingOptions(today=OPTIONS.today, decimal_separator=",")
    assert not read("A-1;1.249", header="sku;list_price", options=overruled).refused


def test_rows_of_a_model_need_not_stand_together() -> None:
    found = read(GOOD, "KZK-2;KZK-2-S;;Etek;149,90;;1;10;S;", row())
    assert {each.draft.model_code: each.variant_rows for each in found.products} == {
        "KZK-1": (2, 4),
        "KZK-2": (3,),
    }


def test_a_title_may_stand_in_one_row_of_the_model_only() -> None:
    (product,) = read(GOOD, row(title="")).products
    assert [content.title for content in product.draft.contents] == ["Kazak"]
    assert len(product.draft.variants) == 2


def test_contradictions_between_rows_of_a_model_keep_the_first_and_warn() -> None:
    found = read(GOOD, row(title="Hırka"))
    assert [warning.reason_code for warning in found.warnings] == [Reason.PRODUCT_CONFLICT]
    assert found.warnings[0].params["kept"] == "Kazak"


def test_variants_that_nothing_tells_apart_are_remarked_upon() -> None:
    found = read(GOOD, row(size="S"))
    assert [warning.reason_code for warning in found.warnings] == [Reason.VARIANT_SAME_ATTRIBUTES]


def test_a_bundle_may_stand_above_its_components_and_has_no_stock_of_its_own() -> None:
    found = read(row(sku="SET-1", model="SET-1", bundle="KZK-1-S*2|KZK-1-S"), GOOD)
    bundle = next(each for each in found.products if each.draft.model_code == "SET-1")
    assert bundle.draft.variants[0].bundle == {"KZK-1-S": 3}
    assert bundle.draft.variants[0].quantity is None
    assert [warning.reason_code for warning in found.warnings] == [Reason.BUNDLE_QUANTITY_IGNORED]


@pytest.mark.parametrize(
    ("component_row", "bundle", "reason"),
    [
        (row(stock="-1"), "KZK-1-M*2", Reason.BUNDLE_COMPONENT_REFUSED),
        (row(bundle="KZK-1-S*2", stock=""), "KZK-1-M", Reason.BUNDLE_NESTED),
    ],
)
def test_a_bundle_needs_components_that_stand_and_are_no_bundles(
    component_row: str, bundle: str, reason: Reason
) -> None:
    found = read(
        GOOD, component_row, row(sku="SET-1", model="SET-1", barcode="", bundle=bundle, stock="")
    )
    refused = {each.sku: each.reason_code for each in found.refused}
    assert refused["SET-1"] is reason


def test_a_bundle_may_name_what_the_catalog_already_has() -> None:
    options = ReadingOptions(today=OPTIONS.today, known_skus={"OLD-1"})
    assert not read(row(bundle="OLD-1*2", stock=""), options=options).refused


def test_a_refused_row_frees_its_sku_and_barcode_for_the_next() -> None:
    """The first row of a model without a title must not block the sound one that follows it."""
    found = read("M-1;A-1;DP1;;10;;;10;;", "M-2;A-1;DP1;Kazak;10;;;10;;")
    assert [refused.reason_code for refused in found.refused] == [Reason.TITLE_MISSING]
    assert [each.variant_rows for each in found.products] == [(3,)]


def test_unknown_columns_are_named_and_those_of_a_refused_file_are_not() -> None:
    header = HEADER + ";Depo Notu;refused_row;refused_reason"
    found = read(GOOD + ";raf 3;17;barkod", header=header)
    assert [warning.params["column"] for warning in found.warnings] == ["Depo Notu"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.FILE_EMPTY),
        (b"\n\n", Reason.FILE_EMPTY),
        (b"sku\n\x81\x8d\n", Reason.FILE_ENCODING),
        (b"name;price\nKazak;1\n", Reason.HEADER_NO_SKU),
        (b"sku;Stok Kodu\nA;B\n", Reason.HEADER_TWICE),
        (b"\x1f\x8bbroken", Reason.FILE_GZIP),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(content: bytes, reason: Reason) -> None:
    with pytest.raises(FileRefused) as refusal:
        collect(read_catalog(content, OPTIONS).records)
    assert refusal.value.reason is reason
