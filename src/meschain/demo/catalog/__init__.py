"""The demo's merchant: one seeded catalog in two messy files, and what an import must find."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Final

from meschain.demo.catalog.dump import write_dump
from meschain.demo.catalog.goods import STORY_SKU, VARIANTS_PER_PRODUCT, Shop
from meschain.demo.catalog.sheet import write_sheet
from meschain.demo.catalog.words import ATTRIBUTE_VALUES, BRANDS, CATEGORY_PATHS

__all__ = [
    "ATTRIBUTE_VALUES",
    "BRANDS",
    "CATEGORY_PATHS",
    "STORY_SKU",
    "CatalogFiles",
    "generate_catalog",
    "products_for",
]

_SETS_SHARE: Final = 40  # one set of two for so many products


@dataclass(frozen=True, slots=True)
class CatalogFiles:
    """The two files and what an import must find in them.

    ``expected`` is JSON: for ``dump`` and ``sheet`` the counts ``products``, ``variants`` and
    ``rows``, and under each reason code how many rows are refused for it.
    """

    dump: Path
    sheet: Path
    expected: Path


def products_for(skus: int) -> int:
    """Products that make about so many variants."""
    return int((Decimal(skus) / VARIANTS_PER_PRODUCT).to_integral_value(ROUND_HALF_UP))


def generate_catalog(directory: Path, *, products: int = 400, seed: int = 1) -> CatalogFiles:
    """Write the dump, its spreadsheet twin and the expectations; the same seed, the same bytes.

    The twin holds the same products and what the shop cannot hold: desi, cost, sets of two,
    barcodes of option values. Each file has broken rows of its own, about one in a hundred.
    """
    shop = Shop(seed)
    goods = shop.goods(products)
    sets = shop.sets(goods, products // _SETS_SHARE)
    protected = frozenset({STORY_SKU, *(item.sku for good in sets for item in good.items)})
    components = {item.bundle.partition("*")[0] for good in sets for item in good.items}
    files = CatalogFiles(
        dump=directory / "opencart.sql",
        sheet=directory / "urunler.csv",
        expected=directory / "expected.json",
    )
    expected = {
        "seed": seed,
        "dump": write_dump(files.dump, goods, protected=frozenset({STORY_SKU})),
        "sheet": write_sheet(files.sheet, [*goods, *sets], protected=protected | components),
    }
    files.expected.write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
    return files
