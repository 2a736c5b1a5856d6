"""The open-source shop's own demonstration data, as it is; it lies beside this repository."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from meschain.domain.money import Money
from meschain.exchange import (
    CatalogReading,
    ReadingOptions,
    Reason,
    VatProblem,
    collect,
    read_catalog,
)

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "catalogue-opencart-sample"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the real OpenCart sample is not beside this repository"
)
ANSWERS = {9: Decimal(20), 100: Decimal(20)}


def reading(
    language: str, answers: dict[int, Decimal], *, include_disabled: bool = False
) -> CatalogReading:
    return read_catalog(
        FOLDER / f"opencart-{language}.sql.gz",
        ReadingOptions(
            today=date(2026, 11, 20), vat_by_tax_class=answers, include_disabled=include_disabled
        ),
    )


def test_both_of_its_tax_classes_are_asked_about() -> None:
    """Class 9 has 20 % and a fixed "Eco Tax"; product 45 names class 100, which does not exist."""
    read = reading("en-gb", {})
    assert {
        each.tax_class_id: (each.problem, each.product_count) for each in read.vat_previews
    } == {
        9: (VatProblem.FIXED_AMOUNT, 18),
        100: (VatProblem.NO_CLASS, 1),
    }
    found = collect(read.records)
    assert not found.products
    assert Counter(refused.reason_code for refused in found.refused) == {
        Reason.VAT_CLASS_UNCLEAR: 19,
        Reason.PRODUCT_DISABLED: 1,
    }


@pytest.mark.parametrize("language", ["en-gb", "fr-fr"])
def test_with_an_answer_every_product_but_the_disabled_variant_is_read(language: str) -> None:
    found = collect(reading(language, ANSWERS).records)
    assert len(found.products) == 19
    assert sum(len(each.draft.variants) for each in found.products) == 33
    (refused,) = found.refused
    assert refused.reason_code is Reason.PRODUCT_DISABLED
    assert refused.raw_row["product_id"] == "50"


def test_its_variant_chooses_nothing_and_is_refused_even_when_disabled_ones_are_wanted() -> None:
    (refused,) = collect(reading("en-gb", ANSWERS, include_disabled=True).records).refused
    assert refused.reason_code is Reason.VARIANT_WITHOUT_OPTION


def test_line_ends_inside_models_and_escaped_names_come_out_clean() -> None:
    found = collect(reading("en-gb", ANSWERS).records)
    drafts = {each.draft.model_code: each.draft for each in found.products}
    assert "Product 1" in drafts
    laptop = drafts["Product 17"]
    assert laptop.category == "Laptops & Notebooks"
    assert laptop.variants[0].list_price == Money(120000, "USD")
    assert all("<script" not in each.contents[0].description_html for each in drafts.values())
    assert {each.sku: each.list_price for each in drafts["Product 8"].variants} == {
        "Product 8-SMALL": Money(12600, "USD"),
        "Product 8-MEDIUM": Money(13200, "USD"),
        "Product 8-LARGE": Money(13800, "USD"),
    }
