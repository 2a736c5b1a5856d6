"""Laws of the import: twice is once, put back is as before, refused rows never block."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meschain.app.commands.import_products import (
    ImportOptions,
    ImportPlan,
    UndoPlan,
    apply_import,
    plan_import,
    undo_import,
)
from meschain.app.commands.import_products.merge import DraftRefused, merge_variant
from meschain.app.commands.import_products.state import VariantState, changes_of
from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import CatalogReading, ReadProduct, SourceForm, SourceKind
from meschain.store.unit_of_work import Database
from meschain.testing.shop import Shop
from tests.store.small_market import HandClock

OPTIONS = ImportOptions(actor="law")
SKUS = ("A", "B", "C", "D", "E", "F")
BARCODES = ("1", "2", "3", "4")
WORDS = ("Kazak", "Işık", "ŞAL 'x'", '"', "\\u0041", "a\nb", "N\x00L", "🧵", "  ")


CATALOG = (
    """model_code, brand, category_path, attributes, search_text, sort_key
       FROM product WHERE merchant_id = %s""",
    """model_code, language, title, description_html
       FROM product_content JOIN product USING (merchant_id, product_id)
       WHERE merchant_id = %s""",
    """sku, model_code, barcode, v.attributes, currency, list_price_minor, sale_price_minor,
       cost_minor, vat_percent, desi, weight_g, origin_country, is_bundle
       FROM variant v JOIN product USING (merchant_id, product_id) WHERE merchant_id = %s""",
    """model_code, sku, position, source_url
       FROM media JOIN product USING (merchant_id, product_id)
       LEFT JOIN variant USING (merchant_id, variant_id) WHERE merchant_id = %s""",
    """b.sku, c.sku, units, 0 FROM bundle_component x
       JOIN variant b ON b.variant_id = bundle_variant_id
       JOIN variant c ON c.variant_id = component_variant_id WHERE x.merchant_id = %s""",
    """sku, on_hand, 0, 0 FROM stock_level JOIN variant USING (merchant_id, variant_id)
       WHERE merchant_id = %s AND on_hand <> 0""",
)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


money = st.builds(Money, st.integers(1, 400), st.sampled_from(("TRY", "TRY", "TRY", "EUR")))
names = st.dictionaries(st.sampled_from(("Renk", "Beden")), st.sampled_from(WORDS), max_size=2)
urls = st.lists(st.sampled_from(("u1", "u2", "u3")), max_size=3).map(tuple)
variants = st.builds(
    VariantDraft,
    sku=st.sampled_from(SKUS),
    barcode=maybe(st.sampled_from(BARCODES)),
    attributes=names,
    list_price=maybe(money),
    sale_price=maybe(money),
    cost=maybe(money),
    quantity=maybe(st.integers(0, 2**33)),
    vat_percent=maybe(st.sampled_from((Decimal(1), Decimal("20.00"), Decimal(20)))),
    desi=maybe(st.decimals(0, 10**8, places=3, allow_nan=False, allow_infinity=False)),
    weight_g=maybe(st.integers(0, 5_000)),
    origin_country=maybe(st.sampled_from(("TR", "CN"))),
    image_urls=urls,
    bundle=st.dictionaries(st.sampled_from(SKUS), st.integers(1, 3), max_size=2)
    | st.just({})
    | st.just({}),
)
contents = st.lists(
    st.builds(
        Content, st.sampled_from(("tr", "en")), st.sampled_from(WORDS), st.sampled_from(("", "<p>"))
    ),
    max_size=2,
    unique_by=lambda content: content.language,
).map(tuple)


@st.composite
def files(draw: st.DrawFn) -> list[ReadProduct]:
    products: list[ReadProduct] = []
    row = 2
    for _ in range(draw(st.integers(1, 4))):
        stated = draw(st.booleans())
        drafts = draw(st.lists(variants, min_size=1, max_size=3 if stated else 1))
        draft = ProductDraft(
            model_code=draw(st.sampled_from(("M1", "M2"))) if stated else drafts[0].sku,
            brand=draw(st.sampled_from((None, *WORDS[:4]))),
            category=draw(st.sampled_from((None, "Giyim"))),
            contents=draw(contents),
            variants=tuple(drafts),
            attributes=draw(names),
            image_urls=draw(urls),
        )
        rows = tuple(range(row, row + len(drafts)))
        products.append(ReadProduct(draft, row, rows, model_stated=stated))
        row += len(drafts)
    return products


def reading(products: list[ReadProduct]) -> CatalogReading:
    form = SourceForm(kind=SourceKind.CSV, encoding="utf-8")
    return CatalogReading(form=form, records=iter(products))


def without(products: list[ReadProduct], refused: set[int]) -> list[ReadProduct]:
    """The file as it is once its refused rows are cut out."""
    kept: list[ReadProduct] = []
    for read in products:
        pairs = [
            (draft, row)
            for draft, row in zip(read.draft.variants, read.variant_rows, strict=True)
            if row not in refused
        ]
        if pairs:
            drafts, rows = zip(*pairs, strict=True)
            draft = replace(read.draft, variants=drafts)
            kept.append(replace(read, draft=draft, variant_rows=rows))
    return kept


def catalog(connection: psycopg.Connection[tuple[object, ...]], merchant_id: int) -> list[object]:
    """All that the merchant's catalog says, without ids and times."""
    return [
        connection.execute(f"SELECT {what} ORDER BY 1, 2, 3, 4", (merchant_id,)).fetchall()
        for what in CATALOG
    ]


@pytest.mark.slow
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(first=files(), second=files())
def test_twice_is_once_and_refused_rows_never_block(
    database_url: str, first: list[ReadProduct], second: list[ReadProduct]
) -> None:
    asyncio.run(_check(database_url, first, second))


async def _check(url: str, first: list[ReadProduct], second: list[ReadProduct]) -> None:
    database = Database(url, app_connections=1, engine_connections=1)
    await database.open()
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("TRUNCATE merchant CASCADE")
        kaya, demir = (Shop.open(owner, name).merchant_id for name in ("Kaya", "Demir"))
        try:
            await _apply(database, kaya, first)
            await _apply(database, demir, first)

            before = catalog(owner, kaya)
            planned = await plan_import(database, kaya, reading(second), OPTIONS)
            done = await apply_import(database, HandClock(), kaya, reading(second), OPTIONS)
            plan = done.plan
            assert planned == plan
            after = catalog(owner, kaya)

            back = await _undo(database, kaya, done.import_id, is_plan=True)
            assert catalog(owner, kaya) == after
            assert await _undo(database, kaya, done.import_id) == back
            assert not back.kept
            assert catalog(owner, kaya) == before
            assert _ledger_holds(owner, kaya)
            await _apply(database, kaya, second)
            assert catalog(owner, kaya) == after

            again = await _apply(database, kaya, second)
            assert not again.created
            assert not again.updated
            assert not again.products_created
            assert not again.products_updated
            assert catalog(owner, kaya) == after

            refused = {refusal.row_number for refusal in plan.refused}
            rest = await _apply(database, demir, without(second, refused))
            assert not rest.refused
            assert catalog(owner, demir) == after
        finally:
            await database.close()


async def _undo(
    database: Database, merchant_id: int, import_id: int, *, is_plan: bool = False
) -> UndoPlan:
    return await undo_import(
        database, HandClock(), merchant_id, import_id, actor="law", is_plan=is_plan
    )


def _ledger_holds(connection: psycopg.Connection[tuple[object, ...]], merchant_id: int) -> bool:
    """On hand is the sum of the movements, also of variants that are gone."""
    return not connection.execute(
        "SELECT 1 FROM stock_movement m FULL JOIN stock_level l"
        " USING (merchant_id, variant_id, location_id) WHERE merchant_id = %s"
        " GROUP BY merchant_id, variant_id, location_id"
        " HAVING coalesce(sum(m.on_hand_delta), 0) <> coalesce(max(l.on_hand), 0)",
        (merchant_id,),
    ).fetchall()


async def _apply(database: Database, merchant_id: int, products: list[ReadProduct]) -> ImportPlan:
    done = await apply_import(database, HandClock(), merchant_id, reading(products), OPTIONS)
    return done.plan


@given(first=variants, second=variants)
def test_what_is_not_stated_stays_and_what_is_taken_in_is_settled(
    first: VariantDraft, second: VariantDraft
) -> None:
    try:
        before = merge_variant(None, first, model_code="M", currency="TRY")
        after = merge_variant(before, second, model_code="M", currency="TRY")
    except DraftRefused:
        return
    assert merge_variant(after, second, model_code="M", currency="TRY") == after
    assert changes_of(after, after) == ()
    for name in ("barcode", "cost", "vat_percent", "desi", "weight_g", "origin_country"):
        column = "cost_minor" if name == "cost" else name
        if getattr(second, name) is None:
            assert getattr(after, column) == getattr(before, column)
        else:
            assert getattr(after, column) is not None
    assert before.attributes.items() <= (after.attributes | _of(before, second)).items()
    if after.sale_price_minor is not None and after.list_price_minor is not None:
        assert after.sale_price_minor <= after.list_price_minor


def _of(before: VariantState, second: VariantDraft) -> dict[str, str]:
    return {name: value for name, value in before.attributes.items() if name in second.attributes}
