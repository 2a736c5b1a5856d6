from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import FileRefused, ReadingOptions, collect, read_catalog
from meschain.exchange.markup import clean_html
from meschain.exchange.out import ExportFormat, ExportOptions, SheetStyle, catalog_writer

OPTIONS = ReadingOptions(today=date(2026, 11, 20))
COMMA = ReadingOptions(today=date(2026, 11, 20), decimal_separator=",")
OPENCART_3 = Path(__file__).parent.parent / "data" / "opencart3.sql"

LETTERS = "abcçdefgğhıijklmnoöprsştuüvyzABCÇİIŞ0123456789"
words = st.text(LETTERS + " .,;:'\"!?+-()/%", min_size=1).map(lambda text: " ".join(text.split()))
texts = words.filter(bool)
names = st.text(LETTERS, min_size=1, max_size=8)
pairs = st.dictionaries(names, texts, max_size=3)
urls = st.lists(names.map("https://a.example/{}.jpg".format), max_size=3, unique=True).map(tuple)
descriptions = st.text(LETTERS + ' \n<>&;"', max_size=40).map(clean_html).map(str.strip)
decimals = partial(st.decimals, allow_nan=False, min_value=0, max_value=9_999, places=2)
wholes = st.integers(0, 1_000_000)


def stated(draw: st.DrawFn, strategy: st.SearchStrategy[int]) -> int | None:
    return draw(st.none() | strategy)


@st.composite
def catalogs(draw: st.DrawFn) -> list[ProductDraft]:
    """Catalogs that a CSV can say: prices in all rows or none, SKUs and barcodes unique."""
    has_prices = draw(st.booleans())
    has_english = draw(st.booleans())
    products: list[ProductDraft] = []
    serial = 0
    for product_number in range(draw(st.integers(1, 4))):
        variants: list[VariantDraft] = []
        for _ in range(draw(st.integers(1, 3))):
            serial += 1
            bundle = {"S-1": draw(st.integers(1, 9))} if serial > 1 and draw(st.booleans()) else {}
            sale_minor = draw(st.integers(1, 10**8))
            currency = draw(st.sampled_from(["TRY", "EUR"]))
            variants.append(
                VariantDraft(
                    sku=f"S-{serial}",
                    barcode=f"B{serial}" if draw(st.booleans()) else None,
                    attributes=draw(pairs),
                    list_price=(Money(sale_minor + draw(wholes), currency) if has_prices else None),
                    sale_price=Money(sale_minor, currency) if has_prices else None,
                    cost=Money(draw(wholes), currency) if has_prices else None,
                    quantity=None if bundle else stated(draw, wholes),
                    vat_percent=draw(st.sampled_from([None, Decimal(1), Decimal(20)])),
                    desi=draw(st.none() | decimals()),
                    weight_g=stated(draw, wholes),
                    length_mm=stated(draw, wholes),
                    width_mm=stated(draw, wholes),
                    height_mm=stated(draw, wholes),
                    handling_days=stated(draw, wholes),
                    origin_country=draw(st.sampled_from([None, "TR", "CN"])),
                    image_urls=draw(urls),
                    bundle=bundle,
                )
            )
        contents = [Content("tr", draw(texts), draw(descriptions))]
        if has_english:
            contents.append(Content("en", draw(texts), draw(descriptions)))
        products.append(
            ProductDraft(
                model_code=f"M-{product_number}",
                brand=draw(st.none() | texts),
                category=draw(st.none() | st.lists(names, min_size=1, max_size=3).map(" > ".join)),
                contents=tuple(contents),
                variants=tuple(variants),
                attributes=draw(pairs),
                image_urls=draw(urls),
            )
        )
    return products


@given(
    catalogs(),
    st.sampled_from(["en", "tr"]),
    st.sampled_from(["utf-8", "utf-8-sig", "cp1254"]),
    st.sampled_from([";", ",", "\t", "|"]),
)
def test_what_is_written_reads_back_as_the_same_drafts(
    products: list[ProductDraft], header_language: str, encoding: str, delimiter: str
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.csv"
        style = SheetStyle(encoding=encoding, delimiter=delimiter)
        options = ExportOptions(header_language=header_language, style=style)
        writer = catalog_writer(ExportFormat.CSV, options)
        for product in products:
            writer.add(product)
        writer.finish(path)
        found = collect(read_catalog(path, COMMA).records)
    assert not found.refused
    drafts = {each.draft.model_code: each.draft for each in found.products}
    assert drafts == {product.model_code: product for product in products}


cells = st.one_of(
    st.sampled_from(
        ["", "A-1", "A-2", "12.May", "8,68E+12", "1.249,90", "1,249.90", "1.249", "-1", "0", "10",
         "<br>", "A-1*2", "799999000039", "0799999000039", "%18", "TL", "x\x00y"]
    ),
    # A line end in a row of the wrong width is indistinguishable from a quote left open.
    st.text(st.characters(exclude_characters="\r\n"), max_size=6),
)  # fmt: skip
COLUMNS = (
    *("model_code", "sku", "barcode", "title", "list_price", "sale_price", "quantity"),
    *("vat_percent", "bundle"),
)


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(st.lists(cells, min_size=8, max_size=10), max_size=12))
def test_every_row_of_a_sheet_is_in_a_product_or_refused_and_never_both(
    rows: list[list[str]],
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL)
    writer.writerows([COLUMNS, *rows])
    content = text.getvalue().encode("utf-8", "replace")
    found = collect(read_catalog(content, OPTIONS).records)
    accounted = [row for product in found.products for row in product.variant_rows]
    accounted += [refused.row_number for refused in found.refused]
    filled = [number for number, row in enumerate(rows, start=2) if "".join(row).strip()]
    assert sorted(accounted) == filled


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(st.text('ab;"\t\x0b\u2028<', max_size=12), max_size=20))
def test_any_lines_are_read_or_refused_one_by_one(lines: list[str]) -> None:
    content = "\n".join(["sku;title;price", *lines]).encode()
    found = collect(read_catalog(content, OPTIONS).records)
    numbers = [refused.row_number for refused in found.refused]
    numbers += [row for product in found.products for row in product.variant_rows]
    assert len(numbers) == len(set(numbers))


@given(st.data())
def test_a_damaged_dump_is_refused_or_accounts_for_every_product(data: st.DataObject) -> None:
    whole = OPENCART_3.read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 200)))
    content = (
        whole[:start] + data.draw(st.text("'\\`,();0-/*#", max_size=3)) + whole[end:]
    ).encode()
    try:
        reading = read_catalog(content, OPTIONS)
    except FileRefused:
        return
    found = collect(reading.records)
    lines = [product.product_row for product in found.products]
    lines += [row for product in found.products for row in product.variant_rows]
    lines += [refused.row_number for refused in found.refused]
    assert lines
