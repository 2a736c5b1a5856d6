"""The generator says what an import must find; the readers must find exactly that."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from meschain.demo.catalog import (
    ATTRIBUTE_VALUES,
    BRANDS,
    CATEGORY_PATHS,
    STORY_SKU,
    CatalogFiles,
    generate_catalog,
    products_for,
)
from meschain.domain.catalog import VariantDraft
from meschain.exchange import Collected, ReadingOptions, collect, read_catalog

OPTIONS = ReadingOptions(today=date(2026, 11, 20))
COUNTS = {"products", "variants", "rows"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CatalogFiles:
    return generate_catalog(tmp_path_factory.mktemp("catalog"))


@pytest.fixture(scope="module")
def dump(files: CatalogFiles) -> Collected:
    return collect(read_catalog(files.dump, OPTIONS).records)


@pytest.fixture(scope="module")
def sheet(files: CatalogFiles) -> Collected:
    return collect(read_catalog(files.sheet, OPTIONS).records)


def variants(found: Collected) -> dict[str, VariantDraft]:
    return {each.sku: each for product in found.products for each in product.draft.variants}


def summary(found: Collected) -> dict[str, int]:
    return {
        "products": len(found.products),
        "variants": len(variants(found)),
        **Counter(str(refused.reason_code) for refused in found.refused),
    }


def expected(files: CatalogFiles, part: str) -> dict[str, int]:
    stated: dict[str, dict[str, int]] = json.loads(files.expected.read_text())
    return {name: count for name, count in stated[part].items() if name != "rows"}


@pytest.mark.slow
def test_the_importer_finds_what_the_generator_says(
    files: CatalogFiles, dump: Collected, sheet: Collected
) -> None:
    assert summary(dump) == expected(files, "dump")
    assert summary(sheet) == expected(files, "sheet")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_any_seed_is_read_as_it_says(tmp_path: Path, seed: int) -> None:
    files = generate_catalog(tmp_path, products=900, seed=seed)
    for part, path in (("dump", files.dump), ("sheet", files.sheet)):
        found = collect(read_catalog(path, OPTIONS).records)
        assert summary(found) == expected(files, part)


def test_its_size_is_that_of_the_story(files: CatalogFiles) -> None:
    counts = expected(files, "sheet")
    assert 390 <= counts["products"] <= 420
    assert 1400 <= counts["variants"] <= 1600
    broken = sum(count for name, count in counts.items() if name not in COUNTS)
    assert 10 <= broken <= 20
    assert 2_000 <= products_for(8_000) <= 2_300


def test_both_files_agree_on_what_both_can_hold(dump: Collected, sheet: Collected) -> None:
    """Net prices with VAT added come to the twin's gross prices, to the kuruş."""
    ours, theirs = variants(dump), variants(sheet)
    shared = ours.keys() & theirs.keys()
    assert len(shared) > 1_400
    for sku in shared:
        a, b = ours[sku], theirs[sku]
        assert (a.list_price, a.sale_price, a.vat_percent, a.weight_g, a.quantity) == (
            b.list_price, b.sale_price, b.vat_percent, b.weight_g, b.quantity,
        )  # fmt: skip
        assert a.attributes == b.attributes
    products = {each.draft.model_code: each.draft for each in sheet.products}
    for product in dump.products:
        if twin := products.get(product.draft.model_code):
            ours_too = product.draft
            assert (ours_too.brand, ours_too.category, ours_too.attributes) == (
                twin.brand,
                twin.category,
                twin.attributes,
            )
            assert ours_too.contents[0] == twin.contents[0]


def test_the_twin_adds_what_the_shop_cannot_hold(sheet: Collected) -> None:
    found = variants(sheet).values()
    assert all(each.desi and each.cost and each.barcode for each in found)
    in_house = sum(not (each.barcode or "").isdigit() for each in found)
    assert 0.3 < in_house / len(found) < 0.37
    bundles = [each for each in found if each.bundle]
    assert bundles
    assert all(list(each.bundle.values()) == [2] for each in bundles)


def test_the_constants_name_everything_that_is_in_the_files(
    dump: Collected, sheet: Collected
) -> None:
    for found in (dump, sheet):
        assert {each.draft.brand for each in found.products} <= set(BRANDS)
        assert {each.draft.category for each in found.products} <= set(CATEGORY_PATHS)
        for product in found.products:
            named = [
                product.draft.attributes,
                *(each.attributes for each in product.draft.variants),
            ]
            for attributes in named:
                assert all(value in ATTRIBUTE_VALUES[name] for name, value in attributes.items())
    assert {each.vat_percent for each in variants(dump).values()} == {
        Decimal(1),
        Decimal(10),
        Decimal(20),
    }


def test_the_sweater_of_the_story_is_in_every_catalog(tmp_path: Path) -> None:
    for products in (2, 40):
        files = generate_catalog(tmp_path, products=products, seed=5)
        for path in (files.dump, files.sheet):
            found = variants(collect(read_catalog(path, OPTIONS).records))
            assert found[STORY_SKU].quantity == 1


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def content(name: str, seed: int) -> tuple[bytes, bytes]:
        folder = tmp_path / name
        folder.mkdir()
        files = generate_catalog(folder, products=50, seed=seed)
        return files.dump.read_bytes(), files.sheet.read_bytes()

    assert content("a", 1) == content("b", 1)
    assert content("c", 2) != content("d", 1)
