from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange import (
    Collected,
    FileRefused,
    ReadingOptions,
    Reason,
    VatProblem,
    collect,
    read_catalog,
)

OPENCART_3 = Path(__file__).parent.parent / "data" / "opencart3.sql"
TODAY = date(2026, 11, 20)
OPTIONS = ReadingOptions(today=TODAY)

Rows = Mapping[str, list[dict[str, object]]]


def literal(value: object) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def dump(tables: Rows, *, shuffled_by: int | None = None) -> bytes:
    """A dump of the given rows; what a shop always has is added."""
    always: Rows = {
        "language": [{"language_id": 1, "code": "tr-tr"}],
        "tax_class": [{"tax_class_id": 9, "title": "KDV"}],
        "tax_rate": [{"tax_rate_id": 1, "rate": "20.0000", "type": "P"}],
        "tax_rule": [{"tax_rule_id": 1, "tax_class_id": 9, "tax_rate_id": 1}],
    }
    statements: list[str] = []
    for table, rows in {**always, **tables}.items():
        rows = list(rows)  # noqa: PLW2901  # shuffled below, the caller's stays
        if shuffled_by is not None:
            random.Random(shuffled_by).shuffle(rows)  # noqa: S311  # an order, no secret
        for row in rows:
            columns = ", ".join(f"`{name}`" for name in row)
            values = ", ".join(map(literal, row.values()))
            insert = f"INSERT INTO `oc_{table}` ({columns}) VALUES ({values});\n"  # noqa: S608  # a file
            statements.append(insert)
    return "".join(statements).encode()


def product(product_id: int, model: str, **columns: object) -> dict[str, object]:
    stated: dict[str, object] = {
        "product_id": product_id, "master_id": 0, "model": model, "sku": "", "ean": "",
        "variant": "", "quantity": 10, "price": "100.0000", "tax_class_id": 9, "status": 1,
    }  # fmt: skip
    return stated | columns


def title(product_id: int, name: str) -> dict[str, object]:
    return {"product_id": product_id, "language_id": 1, "name": name, "description": ""}


def options(
    product_id: int, product_option_id: int, option_id: int, name: str, *values: tuple[int, str]
) -> dict[str, list[dict[str, object]]]:
    """One select option whose values (id, name) keep five units each and cost nothing more."""
    return {
        "option": [{"option_id": option_id, "type": "select"}],
        "option_description": [{"option_id": option_id, "language_id": 1, "name": name}],
        "product_option": [
            {
                "product_option_id": product_option_id,
                "product_id": product_id,
                "option_id": option_id,
            }
        ],
        "option_value_description": [
            {"option_value_id": key, "language_id": 1, "option_id": option_id, "name": value}
            for key, value in values
        ],
        "product_option_value": [
            {
                "product_option_value_id": 1000 + key, "product_option_id": product_option_id,
                "product_id": product_id, "option_id": option_id, "option_value_id": key,
                "quantity": 5, "subtract": 1, "price": "0", "price_prefix": "+", "weight": "0",
                "weight_prefix": "+",
            }
            for key, _ in values
        ],
    }  # fmt: skip


def joined(*parts: Rows) -> dict[str, list[dict[str, object]]]:
    tables: dict[str, list[dict[str, object]]] = {}
    for part in parts:
        for table, rows in part.items():
            tables.setdefault(table, []).extend(rows)
    return tables


def read(content: bytes | Path, options: ReadingOptions = OPTIONS) -> Collected:
    return collect(read_catalog(content, options).records)


def drafts(found: Collected) -> dict[str, ProductDraft]:
    return {each.draft.model_code: each.draft for each in found.products}


def variants(found: Collected) -> dict[str, VariantDraft]:
    return {each.sku: each for draft in drafts(found).values() for each in draft.variants}


def reasons(found: Collected) -> list[Reason]:
    return [refused.reason_code for refused in found.refused]


def test_opencart_3_is_read_by_its_schema() -> None:
    found = read(OPENCART_3, ReadingOptions(today=TODAY, shop_url="https://shop.example/"))
    torch = drafts(found)["FNR-10"]
    assert torch.brand == "Aydın"
    assert torch.category == "Ev > Aydınlatma"
    assert torch.contents == (
        Content("tr", "Fener & Pil", '<p>Işıklı; "uzun" ömürlü</p>'),
        Content("en", "Torch"),
    )
    assert torch.attributes == {"Renk": "Kırmızı", "MPN": "PN-7"}
    assert torch.image_urls == (
        "https://shop.example/image/catalog/fener.jpg",
        "https://shop.example/image/catalog/a.jpg",
        "https://shop.example/image/catalog/b.jpg",
    )
    assert torch.variants == (
        VariantDraft(
            sku="FNR-10",
            barcode="8690000000012",
            list_price=Money(12000, "TRY"),
            sale_price=Money(9600, "TRY"),
            quantity=5,
            vat_percent=Decimal(20),
            weight_g=500,
            length_mm=100,
            width_mm=25,
            height_mm=40,
        ),
    )
    assert reasons(found) == [Reason.PRODUCT_DISABLED]
    assert {warning.reason_code for warning in found.warnings} == {
        Reason.DUMP_ORPHANS,
        Reason.OPTION_NOT_A_VARIANT,
        Reason.BARCODE_OF_PRODUCT,
    }


def test_options_become_variants_with_their_prices_and_weights() -> None:
    shirt = variants(read(OPENCART_3))
    assert {
        sku: (found.list_price, found.weight_g, found.quantity, found.attributes["Beden"])
        for sku, found in shirt.items()
        if sku.startswith("GMK")
    } == {
        "GMK-20-KUCUK": (Money(22800, "TRY"), 305, 4, "Küçük"),
        "GMK-20-BUYUK": (Money(6000, "TRY"), 280, 4, "Büyük"),
        "GMK-20-KUCUK-1002": (Money(24000, "TRY"), 300, 1, "küçük"),
    }


def test_a_unit_that_nobody_names_is_measured_by_its_ratio_and_an_isbn_is_a_barcode() -> None:
    novel = variants(read(OPENCART_3))["ROMAN-1"]
    assert novel.weight_g == 500
    assert novel.barcode == "9786050000009"
    assert novel.list_price == Money(5050, "TRY")


@pytest.mark.parametrize(
    ("today", "sale_minor"),
    [
        (date(2026, 11, 1), 7200),
        (date(2026, 11, 19), 7200),
        (date(2026, 11, 20), 9600),
        (date(2026, 11, 21), 8400),
        (date(2026, 10, 31), 8400),
    ],
)
def test_the_special_of_the_day_is_the_sale_price(today: date, sale_minor: int) -> None:
    """A special ends with the beginning of its end date; of those active the lowest priority."""
    torch = variants(read(OPENCART_3, ReadingOptions(today=today)))["FNR-10"]
    assert torch.sale_price == Money(sale_minor, "TRY")


def test_without_a_special_the_sale_price_is_stated_so_that_an_old_one_ends() -> None:
    shirt = variants(read(OPENCART_3))["GMK-20-KUCUK"]
    assert shirt.sale_price == shirt.list_price


@pytest.mark.parametrize(
    ("discount", "sale_minor"),
    [
        ({"type": "F", "price": "80"}, 9600),
        ({"type": "P", "price": "25"}, 9000),
        ({"type": "S", "price": "10"}, 10800),
        ({"price": "80"}, 9600),
        ({"type": "F", "price": "80", "quantity": 2}, 12000),
        ({"type": "F", "price": "80", "date_start": "kırk"}, 12000),
    ],
)
def test_newer_shops_keep_specials_as_discounts_for_one_piece(
    discount: dict[str, object], sale_minor: int
) -> None:
    row: dict[str, object] = {
        "product_discount_id": 1, "product_id": 1, "customer_group_id": 1, "quantity": 1,
        "priority": 1, "date_start": "0000-00-00", "date_end": "0000-00-00",
    }  # fmt: skip
    found = read(
        dump(
            {
                "product": [product(1, "A-1")],
                "product_description": [title(1, "Kazak")],
                "product_discount": [row | discount],
            }
        )
    )
    assert variants(found)["A-1"].sale_price == Money(sale_minor, "TRY")


def test_newer_shops_keep_codes_in_rows_and_names_of_brands_by_language() -> None:
    found = read(
        dump(
            {
                "product": [{**product(1, "A-1"), "manufacturer_id": 3}],
                "product_description": [title(1, "Kazak")],
                "identifier": [{"identifier_id": 7, "name": "EAN", "code": "EAN"}],
                "product_code": [
                    {"product_id": 1, "identifier_id": "7", "value": "8690000000012"},
                    {"product_id": 1, "identifier_id": "SKU", "value": "KZK-1"},
                ],
                "manufacturer": [{"manufacturer_id": 3, "image": ""}],
                "manufacturer_description": [
                    {"manufacturer_id": 3, "language_id": 1, "name": "Avlunya"}
                ],
            }
        )
    )
    assert variants(found)["KZK-1"].barcode == "8690000000012"
    assert drafts(found)["A-1"].brand == "Avlunya"


def master_and_pages() -> dict[str, list[dict[str, object]]]:
    """A case in three colors and two sizes; two colors have pages of their own, one with a SKU."""
    colors = options(1, 50, 5, "Renk", (1, "Siyah"), (2, "Mavi"), (3, "Haki"))
    sizes = options(1, 60, 6, "Boy", (4, "S"), (5, "L"))
    pages = {
        "product": [
            product(1, "KLF-1"),
            product(2, "KLF-1-SYH", master_id=1, variant='{"50":"1001"}', price="110"),
            product(3, "KLF-1", master_id=1, variant='{"50":"1002","60":""}', price="120"),
        ],
        "product_description": [title(1, "Kılıf")],
    }
    return joined(colors, sizes, pages)


def test_variant_pages_take_their_combinations_from_the_master() -> None:
    found = read(dump(master_and_pages()))
    assert not found.refused
    case = drafts(found)["KLF-1"]
    assert {each.sku: (dict(each.attributes), each.list_price) for each in case.variants} == {
        "KLF-1-HAKI-S": ({"Renk": "Haki", "Boy": "S"}, Money(12000, "TRY")),
        "KLF-1-HAKI-L": ({"Renk": "Haki", "Boy": "L"}, Money(12000, "TRY")),
        "KLF-1-SYH-S": ({"Renk": "Siyah", "Boy": "S"}, Money(13200, "TRY")),
        "KLF-1-SYH-L": ({"Renk": "Siyah", "Boy": "L"}, Money(13200, "TRY")),
        "KLF-1-MAVI-S": ({"Renk": "Mavi", "Boy": "S"}, Money(14400, "TRY")),
        "KLF-1-MAVI-L": ({"Renk": "Mavi", "Boy": "L"}, Money(14400, "TRY")),
    }


@pytest.mark.parametrize("seed", range(5))
def test_skus_do_not_depend_on_the_order_of_rows(seed: int) -> None:
    def result(content: bytes) -> dict[str, set[str]]:
        return {
            model: {each.sku for each in draft.variants}
            for model, draft in drafts(read(content)).items()
        }

    assert result(dump(master_and_pages(), shuffled_by=seed)) == result(dump(master_and_pages()))


def test_a_generated_sku_gives_way_to_a_stated_one_and_to_lower_ids() -> None:
    tables = joined(
        options(1, 50, 5, "Beden", (1, "6.5"), (2, "65"), (3, "★")),
        {
            "product": [product(1, "A"), product(2, "A-65")],
            "product_description": [title(1, "Bot"), title(2, "Başka")],
        },
    )
    found = variants(read(dump(tables)))
    assert set(found) == {"A-65", "A-65-1001", "A-65-1002", "A-1003"}


def test_stock_is_stated_only_where_the_shop_counts_each_variant() -> None:
    """Two options that count by themselves do not say how many of each combination there are."""
    found = read(dump(master_and_pages()))
    assert {each.quantity for each in variants(found).values()} == {None, 5}
    assert variants(found)["KLF-1-SYH-S"].quantity == 5  # its color is fixed, the size counts
    assert variants(found)["KLF-1-HAKI-S"].quantity is None
    assert Reason.STOCK_UNKNOWN_BY_COMBINATION in {each.reason_code for each in found.warnings}


def test_nothing_left_is_known_even_where_units_are_shared() -> None:
    tables = master_and_pages()
    tables["product_option_value"][2]["quantity"] = 0  # Haki
    found = variants(read(dump(tables)))
    assert found["KLF-1-HAKI-S"].quantity == 0


def test_an_option_without_stock_of_its_own_leaves_the_quantity_open() -> None:
    tables = joined(
        options(1, 50, 5, "Beden", (1, "S"), (2, "M")),
        {"product": [product(1, "A")], "product_description": [title(1, "Kazak")]},
    )
    for row in tables["product_option_value"]:
        row["subtract"] = 0
    assert {each.quantity for each in variants(read(dump(tables))).values()} == {None}


def page(**columns: object) -> dict[str, list[dict[str, object]]]:
    return {"product": [product(1, "A") | columns], "product_description": [title(1, "Kazak")]}


def with_option(prefix: str, price: str) -> dict[str, list[dict[str, object]]]:
    tables = joined(page(), options(1, 50, 5, "Beden", (1, "S")))
    tables["product_option_value"][0] |= {"price_prefix": prefix, "price": price}
    return tables


def without(table: str) -> dict[str, list[dict[str, object]]]:
    tables = joined(page(), options(1, 50, 5, "Beden", (1, "S")))
    del tables[table]
    return tables


SPECIAL_ABOVE = {
    "product_special": [
        {"product_id": 1, "customer_group_id": 1, "priority": 1, "price": "101",
         "date_start": "0000-00-00", "date_end": "0000-00-00"}
    ]
}  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({**page(), "product_description": [title(2, "Kazak")]}, Reason.TITLE_MISSING),
        ({**page(), "product_description": [title(1, "&lt;br&gt;")]}, Reason.TITLE_ONLY_HTML),
        (page(model=""), Reason.SKU_MISSING),
        (page(model="12.May"), Reason.SKU_DATE),
        (page(status=0), Reason.PRODUCT_DISABLED),
        (page(price="0.0000"), Reason.PRICE_ZERO),
        (page(price="-1"), Reason.NUMBER_NEGATIVE),
        (page(price="yok"), Reason.PRICE_MISSING),
        (page(quantity=-2), Reason.NUMBER_NEGATIVE),
        (page(tax_class_id=0), Reason.VAT_CLASS_UNCLEAR),
        (page(ean="8,68E+12"), Reason.BARCODE_NUMBER_FORMAT),
        (page(master_id=99), Reason.MASTER_UNKNOWN),
        (joined(page(), SPECIAL_ABOVE), Reason.PRICE_SALE_ABOVE_LIST),
        (with_option("*", "2"), Reason.OPTION_PREFIX_UNKNOWN),
        (with_option("-", "200"), Reason.NUMBER_NEGATIVE),
        (without("product_option_value"), Reason.OPTION_EMPTY),
        (without("option_description"), Reason.OPTION_NAMELESS),
        (without("option_value_description"), Reason.OPTION_NAMELESS),
    ],
)
def test_a_broken_page_is_refused_and_blocks_no_other(tables: Rows, reason: Reason) -> None:
    other = {"product": [product(8, "B-8")], "product_description": [title(8, "Etek")]}
    found = read(dump(joined(tables, other)))
    assert reasons(found) == [reason]
    assert list(variants(found)) == ["B-8"]


def test_a_base_price_of_zero_may_be_priced_in_full_by_options_but_not_in_part() -> None:
    tables = joined(page(price="0"), options(1, 50, 5, "Beden", (1, "S"), (2, "M")))
    first, second = tables["product_option_value"]
    first["price"] = second["price"] = "30.0000"
    assert len(variants(read(dump(tables)))) == 2
    first["price"] = "0.0000"
    found = read(dump(tables))
    assert reasons(found) == [Reason.PRICE_ZERO]
    assert not found.products


def test_a_variant_page_that_repeats_its_master_is_refused() -> None:
    tables = joined(
        options(1, 50, 5, "Renk", (1, "Siyah")),
        {
            "product": [
                product(1, "A"),
                product(2, "A", master_id=1, variant='{"50":""}'),
                product(3, "A", master_id=1, variant='{"50":"4711"}'),
            ],
            "product_description": [title(1, "Kılıf")],
        },
    )
    found = read(dump(tables))
    assert reasons(found) == [Reason.VARIANT_WITHOUT_OPTION, Reason.VARIANT_OPTION_UNKNOWN]
    assert list(variants(found)) == ["A-SIYAH"]


def test_two_products_of_one_model_do_not_melt_into_one() -> None:
    tables = {
        "product": [
            product(1, "A"),
            product(2, "A"),
            product(3, "M", sku="X"),
            product(4, "M", sku="Y"),
        ],
        "product_description": [title(key, "Kazak") for key in (1, 2, 3, 4)],
    }
    found = read(dump(tables))
    assert reasons(found) == [Reason.SKU_DUPLICATE]
    assert set(drafts(found)) == {"A", "X", "Y"}


@pytest.mark.parametrize(
    ("rates", "problem"),
    [
        ([], VatProblem.NO_RATE),
        ([("20", "P"), ("2", "F")], VatProblem.FIXED_AMOUNT),
        ([("20", "P"), ("10", "P")], VatProblem.SEVERAL_RATES),
    ],
)
def test_an_unclear_tax_class_is_asked_about_and_never_guessed(
    rates: list[tuple[str, str]], problem: VatProblem
) -> None:
    tables = joined(
        page(),
        {
            "tax_rate": [
                {"tax_rate_id": key, "rate": rate, "type": kind}
                for key, (rate, kind) in enumerate(rates, start=1)
            ],
            "tax_rule": [
                {"tax_rule_id": key, "tax_class_id": 9, "tax_rate_id": key}
                for key in range(1, len(rates) + 1)
            ],
        },
    )
    reading = read_catalog(dump(tables), OPTIONS)
    (preview,) = reading.vat_previews
    assert (preview.percent, preview.gross, preview.problem) == (None, None, problem)
    (refused,) = collect(reading.records).refused
    assert refused.reason_code is Reason.VAT_CLASS_UNCLEAR
    assert refused.params["problem"] == problem

    answered = ReadingOptions(today=TODAY, vat_by_tax_class={9: Decimal(10)})
    reading = read_catalog(dump(tables), answered)
    (preview,) = reading.vat_previews
    assert (preview.percent, preview.problem) == (Decimal(10), problem)
    assert preview.gross == Money(11000, "TRY")
    assert variants(collect(reading.records))["A"].list_price == Money(11000, "TRY")


def test_the_preview_shows_a_hundred_and_a_product_of_the_class() -> None:
    (preview,) = read_catalog(dump(page(price="279.9900")), OPTIONS).vat_previews
    assert (preview.net, preview.percent, preview.gross) == (
        Decimal("100.00"),
        Decimal(20),
        Money(12000, "TRY"),
    )
    assert (preview.example_sku, preview.example_net, preview.example_gross) == (
        "A",
        Decimal("279.9900"),
        Money(33599, "TRY"),
    )


def test_a_rate_that_marketplaces_do_not_take_is_refused() -> None:
    tables = joined(page(), {"tax_rate": [{"tax_rate_id": 1, "rate": "18.0000", "type": "P"}]})
    assert reasons(read(dump(tables))) == [Reason.VAT_RATE_UNKNOWN]


def test_a_row_that_does_not_fit_its_table_is_refused_with_its_line() -> None:
    content = dump(page()) + b"INSERT INTO oc_product (product_id, model) VALUES (5);\n"
    (refused,) = read(content).refused
    assert refused.reason_code is Reason.DUMP_VALUE_COUNT
    assert refused.row_number == content.count(b"\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"INSERT INTO oc_order (order_id) VALUES (1);", Reason.DUMP_NO_PRODUCTS),
        (dump(page()) + dump(page()).replace(b"oc_", b"old_"), Reason.DUMP_TWO_SHOPS),
    ],
)
def test_a_dump_without_one_shop_is_refused(content: bytes, reason: Reason) -> None:
    with pytest.raises(FileRefused) as refusal:
        read_catalog(content, OPTIONS)
    assert refusal.value.reason is reason


def test_the_operator_chooses_between_two_shops() -> None:
    both = dump(page()) + dump(page(price="10")).replace(b"oc_", b"old_")
    found = read(both, ReadingOptions(today=TODAY, table_prefix="old_"))
    assert variants(found)["A"].list_price == Money(1200, "TRY")
