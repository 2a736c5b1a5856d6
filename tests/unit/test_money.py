from datetime import date

from meschain.app.commands.add_merchant import currencies
from meschain.domain.money import currency_exponent

# ISO 4217, table A.1; every other currency in use has two digits.
USED = currencies(date(2026, 11, 20))
NONE = [
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"),
    *("PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"),
]
THREE = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]


def test_every_currency_in_use_has_the_digits_of_its_standard() -> None:
    expected = dict.fromkeys(NONE, 0) | dict.fromkeys(THREE, 3)
    assert expected.keys() <= USED
    assert {c: currency_exponent(c) for c in USED if currency_exponent(c) != 2} == expected


def test_a_currency_that_ended_is_none_in_use() -> None:
    assert {"TRY", "EUR", "USD"} <= USED
    assert not {"TRL", "DEM", "XXX"} & USED
