"""A column map is read, or refused with the entry to mend; its price rules keep their promise."""

from __future__ import annotations

from decimal import Decimal

import pytest

from meschain.exchange import FileRefused, Reason, read_column_map
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
