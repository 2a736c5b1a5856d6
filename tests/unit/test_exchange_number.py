from __future__ import annotations

from decimal import Decimal

import pytest

from meschain.domain.money import Money
from meschain.exchange.fault import Fault
from meschain.exchange.number import (
    Evidence,
    read_decimal,
    read_money,
    read_whole,
    shown_separator,
    strip_currency,
)
from meschain.exchange.reason import Reason

COMMA = {"Fiyat": ","}
POINT = {"Fiyat": "."}


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        ("1.249,90", ","),
        ("1,249.90", "."),
        ("149,90", ","),
        ("149.9", "."),
        ("1.249.900", ","),
        ("1,249,900", "."),
        ("0.125", "."),
        ("1234,567", ","),
        ("1.249", ""),
        ("1,249", ""),
        ("-1.249", ""),
        ("1249", ""),
        ("", ""),
    ],
)
def test_a_number_shows_its_decimal_separator_only_beyond_doubt(cell: str, separator: str) -> None:
    assert shown_separator(cell) == separator


def evidence(**cells: list[str]) -> Evidence:
    noted = Evidence()
    for column, column_cells in cells.items():
        for cell in column_cells:
            noted.note(column, cell)
    return noted


def test_a_column_without_evidence_follows_the_file() -> None:
    decided = evidence(price=["149,90"], desi=["1.250"]).decide(["price", "desi"], None)
    assert decided == {"price": ",", "desi": ","}


def test_columns_may_differ_when_each_shows_its_own() -> None:
    decided = evidence(price=["149,90"] * 5, desi=["2.5"] * 5).decide(["price", "desi"], None)
    assert decided == {"price": ",", "desi": "."}


def test_one_cell_in_ten_of_the_other_kind_leaves_a_column_undecided() -> None:
    assert evidence(price=["1,50"] * 9 + ["1.50"]).decide(["price"], None) == {}
    assert evidence(price=["1,50"] * 10 + ["1.50"]).decide(["price"], None) == {"price": ","}


def test_the_operator_overrules_what_the_file_shows() -> None:
    assert evidence(price=["1,50"]).decide(["price"], ".") == {"price": "."}


@pytest.mark.parametrize(
    ("cell", "separators", "number"),
    [
        ("1249", {}, "1249"),
        ("1.249,90", COMMA, "1249.90"),
        ("1.249", COMMA, "1249"),
        ("1,249.90", POINT, "1249.90"),
        ("149,90", COMMA, "149.90"),
    ],
)
def test_a_number_is_read_by_the_separator_of_its_column(
    cell: str, separators: dict[str, str], number: str
) -> None:
    assert read_decimal(cell, "Fiyat", separators) == Decimal(number)


@pytest.mark.parametrize(
    ("cell", "separators", "reason"),
    [
        ("1.249", {}, Reason.NUMBER_UNDECIDED),
        ("149,90", {}, Reason.NUMBER_UNDECIDED),
        ("1,249.90", COMMA, Reason.NUMBER_OTHER_CONVENTION),
        ("1.2.3", COMMA, Reason.NUMBER_UNREADABLE),
        ("12.May", COMMA, Reason.NUMBER_UNREADABLE),
        ("1,2E+03", COMMA, Reason.NUMBER_UNREADABLE),
        ("yok", {}, Reason.NUMBER_UNREADABLE),
        ("-5", {}, Reason.NUMBER_NEGATIVE),
        ("-5,5", COMMA, Reason.NUMBER_NEGATIVE),
        ("8680000000017", {}, Reason.NUMBER_TOO_LARGE),
        ("٣", COMMA, Reason.NUMBER_UNREADABLE),
    ],
)
def test_a_doubtful_number_is_refused_with_its_column(
    cell: str, separators: dict[str, str], reason: Reason
) -> None:
    with pytest.raises(Fault) as refusal:
        read_decimal(cell, "Fiyat", separators)
    assert refusal.value.reason is reason
    assert refusal.value.params["column"] == "Fiyat"


def test_whole_numbers_accept_empty_decimals_and_nothing_else() -> None:
    assert read_whole("5,00", "Fiyat", COMMA) == 5
    with pytest.raises(Fault) as refusal:
        read_whole("5,5", "Fiyat", COMMA)
    assert refusal.value.reason is Reason.NUMBER_NOT_WHOLE
    with pytest.raises(Fault) as refusal:
        read_whole("3000000000", "Fiyat", {})
    assert refusal.value.reason is Reason.NUMBER_TOO_LARGE


@pytest.mark.parametrize(
    ("cell", "minor"),
    [("149,9", 14990), ("149,9000", 14990), ("149", 14900), ("1.249,90", 124990)],
)
def test_money_is_exact_in_minor_units(cell: str, minor: int) -> None:
    assert read_money(cell, "Fiyat", COMMA, "TRY") == Money(minor, "TRY")


@pytest.mark.parametrize("cell", ["149,999", "149,900", "0,001"])
def test_three_decimals_of_money_are_more_likely_thousands(cell: str) -> None:
    with pytest.raises(Fault) as refusal:
        read_money(cell, "Fiyat", COMMA, "TRY")
    assert refusal.value.reason is Reason.PRICE_DIGITS


@pytest.mark.parametrize(
    ("cell", "currency", "number"),
    [
        ("149,90 TL", "TRY", "149,90"),
        ("₺149,90", "TRY", "149,90"),
        ("149,90 €", "TRY", "149,90 €"),
        ("149,90 €", "EUR", "149,90"),
    ],
)
def test_only_the_mark_of_the_own_currency_is_taken_off(
    cell: str, currency: str, number: str
) -> None:
    assert strip_currency(cell, currency) == number
