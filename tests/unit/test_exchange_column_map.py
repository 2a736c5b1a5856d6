"""A column map is read, or refused with the entry to mend; its price rules keep their promise."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from meschain.exchange import (
    FileRefused,
    ReadingOptions,
    Reason,
    collect,
    read_catalog,
    read_column_map,
)
from meschain.exchange.columnmap import PriceRule, RoundingTo

SKU = '[columns]\nsku = "Kod"\n'


def price(text: str, base: str, vat: str = "0") -> Decimal:
    column_map = read_column_map(f'{SKU}[price.sale_price]\nof = "Maliyet"\n{text}'.encode())
    return column_map.prices["sale_price"].price(Decimal(base), Decimal(vat))


@pytest.mark.parametrize(
    ("rule", "base", "wanted"),
    [
        ("times = 1.35", "100", "135.00"),
        ("times = 1.35", "0.01", "0.01"),
        ('times = "1,35"\nplus = "2,50"', "100", "137.50"),
        ('times = 1.35\nending = ",90"', "100", "135.90"),
        ('times = 1.35\nending = ",90"', "100.666", "135.90"),
        ('times = 1.35\nending = ",90"', "100.67", "136.90"),
        ('ending = ",90"', "135.90", "135.90"),
        ('ending = ",90"', "135.91", "136.90"),
        ('ending = ",90"\nrounding = "down"', "135.89", "134.90"),
        ('ending = ",90"\nrounding = "nearest"', "135.39", "134.90"),
        ('ending = ",90"\nrounding = "nearest"', "135.40", "135.90"),
        ('ending = "9,90"', "135.00", "139.90"),
        ('ending = "9,90"', "139.91", "149.90"),
        ('ending = "99"', "135.00", "199"),
        ('ending = ",00"', "135.01", "136.00"),
        # Never below the ending itself, however small the cost.
        ('ending = ",90"\nrounding = "down"', "0.10", "0.90"),
        ("plus = -50", "10", "0.00"),
        ('plus = -50\nending = ",90"', "10", "0.90"),
    ],
)
def test_a_price_rule(rule: str, base: str, wanted: str) -> None:
    assert price(rule, base) == Decimal(wanted)


def test_vat_is_added_before_the_price_is_rounded() -> None:
    assert price('times = 1.35\nadds_vat = true\nending = ",90"', "100", "20") == Decimal("162.90")
    assert price("adds_vat = true", "99.99", "10") == Decimal("109.99")


def test_a_rule_without_anything_gives_the_cost() -> None:
    assert PriceRule(of="Maliyet").price(Decimal("12.34"), Decimal(0)) == Decimal("12.34")
    assert PriceRule(of="Maliyet").rounding is RoundingTo.UP


@pytest.mark.parametrize(
    ("text", "reason", "entry"),
    [
        ("[columns\n", Reason.MAP_UNREADABLE, None),
        ("[column]\nsku = 'a'", Reason.MAP_UNKNOWN, "column"),
        ("[file]\nformat = 'xml'", Reason.MAP_UNKNOWN, "file.format"),
        ("[file]\nencoding = 'klingon'", Reason.MAP_VALUE, "file.encoding"),
        ("[file]\ndecimal = ';'", Reason.MAP_VALUE, "file.decimal"),
        ("[file]\ndelimiter = ';;'", Reason.MAP_VALUE, "file.delimiter"),
        ("[columns]\nsku = ''", Reason.MAP_VALUE, "columns.sku"),
        ("[columns]\nsku = []", Reason.MAP_VALUE, "columns.sku"),
        ("[columns]\nsku = true", Reason.MAP_VALUE, "columns.sku"),
        ("columns = 3", Reason.MAP_VALUE, "columns"),
        (f"{SKU}[price.desi]\nof = 'a'", Reason.MAP_VALUE, "price.desi"),
        (f"{SKU}[price.cost]\ntimes = 2", Reason.MAP_MISSING, "price.cost.of"),
        (f"{SKU}[price.cost]\nof = 'a'\ntimes = 0", Reason.MAP_VALUE, "price.cost.times"),
        (f"{SKU}[price.cost]\nof = 'a'\ntimes = 'nan'", Reason.MAP_VALUE, "price.cost.times"),
        (f"{SKU}[price.cost]\nof = 'a'\nending = 'x'", Reason.MAP_VALUE, "price.cost.ending"),
        (f"{SKU}[price.cost]\nof = 'a'\nrounding = 'in'", Reason.MAP_VALUE, "price.cost.rounding"),
        (f"{SKU}[price.cost]\nof = 'a'\nadds_vat = 1", Reason.MAP_VALUE, "price.cost.adds_vat"),
        (f"{SKU}[stock]\nkeep_back = -1", Reason.MAP_VALUE, "stock.keep_back"),
        (f"{SKU}[stock]\nat_most = '5'", Reason.MAP_VALUE, "stock.at_most"),
    ],
)
def test_a_wrong_map_says_where(text: str, reason: Reason, entry: str | None) -> None:
    with pytest.raises(FileRefused) as refused:
        read_column_map(text.encode())
    assert refused.value.reason is reason
    assert refused.value.params.get("entry") == entry


GONE = b"""
[columns]
sku = "Kod"
title = "Ad"
cost = "Alis"
quantity = "Stok"
[words.quantity]
"\xc4\xb0ptal" = 0
[price.sale_price]
of = "Alis"
times = 1.35
ending = ",90"
"""


def test_what_is_sold_out_keeps_its_price_and_loses_its_units() -> None:
    """A rule would make ,90 of a cost of 0; a refused row would leave what is gone on sale."""
    feed = "Kod;Ad;Alis;Stok\nA;Kazak;0;IPTAL\nB;Kaban;;0\nC;Bere;0;3\nX;Yeni;0;0\nD;Atki;80;2\n"
    options = ReadingOptions(
        today=date(2026, 11, 20),
        known_skus=frozenset("ABCD"),
        column_map=read_column_map(GONE),
    )
    found = collect(read_catalog(feed.encode(), options).records)
    read = {each.sku: each for product in found.products for each in product.draft.variants}
    assert {
        sku: (each.sale_price and str(each.sale_price.amount), each.quantity)
        for sku, each in read.items()
    } == {
        "A": (None, 0),
        "B": (None, 0),
        "D": ("108.90", 2),
    }
    assert [(each.sku, each.reason_code) for each in found.warnings] == [
        ("A", Reason.PRICE_STAYS),
        ("B", Reason.PRICE_STAYS),
    ]
    assert [(each.sku, each.reason_code) for each in found.refused] == [
        ("C", Reason.PRICE_ZERO),
        ("X", Reason.PRICE_MISSING),
    ]


def test_a_cleared_price_of_our_own_columns_is_understood_alike() -> None:
    sheet = b"sku;title;price;stock\nA;Kazak;;0\nB;Kaban;0,00;0\nC;Bere;0;1\n"
    options = ReadingOptions(today=date(2026, 11, 20), known_skus=frozenset("ABC"))
    found = collect(read_catalog(sheet, options).records)
    skus = [each.sku for product in found.products for each in product.draft.variants]
    assert skus == ["A", "B"]
    assert [(each.sku, each.reason_code) for each in found.refused] == [("C", Reason.PRICE_ZERO)]
