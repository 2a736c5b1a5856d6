"""What goes out comes back: importing an export changes nothing that the catalog holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meschain.app.commands.import_products.merge import merge_product, merge_variant
from meschain.app.commands.import_products.state import ProductState, VariantState
from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import Collected, ReadingOptions, SourceKind, collect, read_catalog
from meschain.exchange.markup import clean_html, plain_text
from meschain.exchange.neutral import neutralized, restored
from meschain.exchange.out import (
    CatalogWriter,
    ExportFormat,
    ExportOptions,
    SheetStyle,
    catalog_writer,
)

LETTERS = "abcçğıİöşü019"
# Formulas, separators, quotes, line ends inside, apostrophes before formulas, letters of XML.
texts = st.one_of(
    st.sampled_from(
        [
            "=1+1", "+90", "-5", "-5 %", "@home", "'=x", "''-y", "'68", "a,b", "a\\,b",
            "a;b", "a|b", 'a"b',
            "a & b", "5 > 3", "x_x000D_y", "\\n", "a\tb", "Pamuk, Keten", "TL", "0012",
        ]
    ),
    st.text(LETTERS + " .,;:'\"!?+-()/%=@\\&", min_size=1, max_size=12),
).map(lambda text: " ".join(text.split())).filter(bool)  # fmt: skip
names = st.text(LETTERS, min_size=1, max_size=5)
titles = texts.map(plain_text).filter(bool)
descriptions = st.sampled_from(["\\\n0", "\\\\n", "a\nb"]) | st.text(
    LETTERS + ' \n\\n<>&;"=-', max_size=30
).map(clean_html).map(str.strip)
urls = st.lists(names.map("https://a.example/{},x.jpg".format), max_size=3, unique=True).map(tuple)
OPTION_NAMES = ("Renk", "Beden", "size", "=Boy")


@st.composite
def variants(draw: st.DrawFn, sku: str, names_chosen: tuple[str, ...]) -> VariantDraft:
    sale_minor = draw(st.integers(1, 10**8))
    discount = draw(st.sampled_from([0, 0, 1, 5_000]))
    currency = draw(st.sampled_from(["TRY", "TRY", "TRY", "EUR", "JPY", "KWD"]))
    wholes = st.none() | st.integers(1, 99_999)
    return VariantDraft(
        sku=sku,
        barcode=draw(st.sampled_from([None, f"B-{sku}", "4006381333931"[:12] + sku[-1:]])),
        attributes={name: draw(texts) for name in names_chosen},
        list_price=Money(sale_minor + discount, currency) if draw(st.booleans()) else None,
        sale_price=Money(sale_minor, currency),
        cost=Money(draw(st.integers(0, 10**7)), currency) if draw(st.booleans()) else None,
        quantity=draw(st.none() | st.integers(0, 9_999)),
        vat_percent=draw(st.sampled_from([None, *map(Decimal, (0, 1, 10, 20))])),
        desi=draw(st.none() | st.decimals(0, 999, places=2)),
        weight_g=draw(wholes),
        length_mm=draw(wholes),
        width_mm=draw(wholes),
        height_mm=draw(wholes),
        handling_days=draw(st.none() | st.integers(0, 30)),
        origin_country=draw(st.sampled_from([None, "TR"])),
        image_urls=draw(urls),
    )


@st.composite
def catalogs(draw: st.DrawFn) -> list[ProductDraft]:
    products: list[ProductDraft] = []
    for number in range(draw(st.integers(1, 4))):
        chosen = tuple(draw(st.lists(st.sampled_from(OPTION_NAMES), max_size=4, unique=True)))
        count = draw(st.integers(1, 3))
        heads = [draw(st.sampled_from(["S", "=S", "ş'S", "S,"])) for _ in range(count)]
        skus = [f"{head}-{number}{place}" for place, head in enumerate(heads)]
        contents = [Content("tr", draw(titles), draw(descriptions))]
        if draw(st.booleans()):
            contents.append(Content("en", draw(titles), draw(descriptions)))
        products.append(
            ProductDraft(
                model_code=draw(st.sampled_from([f"M-{number}", skus[0], f"+M{number}"])),
                brand=draw(st.none() | texts),
                category=draw(st.none() | st.lists(names, min_size=1, max_size=3).map(" > ".join)),
                contents=tuple(contents),
                variants=tuple(draw(variants(sku, chosen)) for sku in skus),
                attributes=draw(st.dictionaries(names, texts, max_size=2)),
                image_urls=draw(urls),
            )
        )
    taken: set[str] = set()
    for place, product in enumerate(products):
        kept = []
        for variant in product.variants:
            is_free = variant.barcode not in taken
            taken.add(variant.barcode or "")
            kept.append(variant if is_free else replace(variant, barcode=None))
        products[place] = replace(product, variants=tuple(kept))
    return products


def write(
    form: ExportFormat, products: list[ProductDraft], path: Path, style: SheetStyle | None = None
) -> CatalogWriter:
    writer = catalog_writer(form, ExportOptions(style=style or SheetStyle()))
    for product in products:
        writer.add(product)
    writer.finish(path)
    return writer


def read(form: ExportFormat, path: Path) -> Collected:
    kind = SourceKind.CSV if form is ExportFormat.XLSX else SourceKind(form)
    options = ReadingOptions(
        today=date(2026, 11, 20), source_kind=kind, known_skus=frozenset({"S-00", "=S-00"})
    )
    return collect(read_catalog(path, options).records)


def held(product: ProductDraft) -> tuple[ProductState, dict[str, VariantState]]:
    """The catalog that holds this product."""
    model = product.model_code
    return merge_product(None, product, model, None), {
        each.sku: merge_variant(None, each, model_code=model, currency="TRY")
        for each in product.variants
    }


def comes_back(form: ExportFormat, product: ProductDraft, variant: VariantDraft) -> VariantDraft:
    """The variant as the format's stated gaps leave it; see docs/reference/exports.md."""
    if form in (ExportFormat.CSV, ExportFormat.XLSX):
        return variant
    # A shop knows no sale price without the price it is lower than.
    both = replace(variant, list_price=variant.list_price or variant.sale_price)
    if form is ExportFormat.GOOGLE and not both.image_urls:
        return replace(both, image_urls=product.image_urls)
    if form is ExportFormat.OPENCART and both.quantity is None:
        return replace(both, quantity=0)
    return both


@pytest.mark.parametrize("form", list(ExportFormat))
@settings(max_examples=60)
@given(catalogs())
def test_importing_an_export_changes_nothing(
    form: ExportFormat, products: list[ProductDraft]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        losses = write(form, products, path).losses
        found = read(form, path) if len(losses.left_out) < count(products) else NOTHING
    skus = {each.sku for product in products for each in product.variants}
    back = {each.sku: product for product in found.products for each in product.draft.variants}
    left_out = {each.sku for each in losses.left_out}
    refused = [each for each in found.refused if each.sku in skus]
    assert not refused, [(each.sku, each.reason_code, dict(each.params)) for each in refused]
    assert back.keys() == skus - left_out
    for original in products:
        variants_ = tuple(comes_back(form, original, each) for each in original.variants)
        product, states = held(replace(original, variants=variants_))
        for sku, state in states.items():
            if sku not in back:
                continue
            reading = back[sku]
            draft = next(each for each in reading.draft.variants if each.sku == sku)
            if reading.model_stated:
                assert reading.draft.model_code == original.model_code
            after = merge_variant(
                state, draft, model_code=original.model_code, currency=state.currency
            )
            assert differences(state, after) == {}
            merged = merge_product(product, reading.draft, original.model_code, None)
            assert differences(product, merged) == {}


@pytest.mark.parametrize("form", list(ExportFormat))
def test_white_space_inside_texts_comes_back_or_is_said(form: ExportFormat, tmp_path: Path) -> None:
    variant = VariantDraft(
        "A", list_price=Money(1, "TRY"), sale_price=Money(1, "TRY"), vat_percent=Decimal(20)
    )
    care = {"Yıkama": "30 derece\nelde\tyıkayın"}
    product = ProductDraft(
        "A", "Kaya  Tekstil", None, (Content("tr", "Kazak", ""),), (variant,), attributes=care
    )
    losses = write(form, [product], tmp_path / "out").losses
    (back,) = read(form, tmp_path / "out").products
    is_whole = (back.draft.brand, back.draft.attributes) == (product.brand, care)
    assert is_whole or losses.fields["spacing"] or losses.fields["product_attributes"]
    assert back.draft.brand == product.brand or losses.fields["spacing"]


NOTHING = Collected((), (), ())


def count(products: list[ProductDraft]) -> int:
    return sum(len(product.variants) for product in products)


def differences(before: msgspec.Struct, after: msgspec.Struct) -> dict[str, tuple[object, object]]:
    return {
        name: (old, new)
        for name in before.__struct_fields__
        if (old := getattr(before, name)) != (new := getattr(after, name))
    }


@settings(max_examples=200)
@given(st.text("'=+-@\t\r\na1., "))
def test_neutral_cells_come_back_and_run_nothing(text: str) -> None:
    written = neutralized(text)
    assert restored(written) == text
    assert written[:1] not in tuple("=+-@\t\r\n") or written.lstrip("+-")[:1].isdigit()


@settings(max_examples=40)
@given(catalogs(), st.sampled_from([";", ",", "\t"]), st.sampled_from([",", "."]))
def test_our_columns_in_any_style_are_the_same_drafts(
    products: list[ProductDraft], delimiter: str, decimal_separator: str
) -> None:
    style = SheetStyle(delimiter=delimiter, decimal_separator=decimal_separator)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out.csv"
        write(ExportFormat.CSV, products, path, style)
        found = read(ExportFormat.CSV, path)
    # An image list with the mark that separates images is left out; none of these has one.
    drafts = {each.draft.model_code: each.draft for each in found.products}
    assert drafts == {product.model_code: product for product in products}
