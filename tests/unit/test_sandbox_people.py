"""Buyers: always the same for a seed, plausible, and nobody who exists."""

from collections import Counter

import pytest

from meschain.sandbox.people import (
    PHONE_PREFIX,
    RELAY_DOMAIN,
    TAX_NUMBER_PREFIX,
    People,
    provinces,
    tax_number,
)


def test_a_buyer_is_the_same_whoever_was_asked_for_before() -> None:
    one, other = People(7), People(7)
    for number in range(1, 50):
        one.person(number)
    assert one.person(50) == other.person(50)
    assert one.person(50) != People(8).person(50)


def test_there_are_81_provinces_in_the_order_of_their_plates() -> None:
    assert [province.plate_code for province in provinces()] == list(range(1, 82))
    assert len({province.name for province in provinces()}) == 81
    assert all(province.districts and province.weight > 0 for province in provinces())


def test_a_metropolis_has_districts_and_none_of_them_is_merkez() -> None:
    named = {province.name: province for province in provinces()}
    for name in ("İstanbul", "Ankara", "İzmir", "Bursa", "Antalya"):
        assert len(named[name].districts) >= 5
        assert "Merkez" not in named[name].districts


def test_one_buyer_in_ten_is_a_company_with_the_tax_office_of_its_place() -> None:
    buyers = [People(1).person(number) for number in range(1, 3001)]
    companies = [buyer for buyer in buyers if buyer.is_company]
    assert 0.07 < len(companies) / len(buyers) < 0.13
    for company in companies:
        place = company.city if company.district == "Merkez" else company.district
        assert company.tax_office == f"{place} Vergi Dairesi"
        assert company.company_name.startswith("Örnek ")
        assert len(company.tax_number) == 10
        assert company.tax_number == tax_number(company.tax_number[:9])
        assert company.tax_number.startswith(TAX_NUMBER_PREFIX)


def test_nobody_can_be_reached_or_taken_for_real() -> None:
    for number in range(1, 200):
        buyer = People(3).person(number)
        assert buyer.email.endswith("@" + RELAY_DOMAIN)
        assert RELAY_DOMAIN.endswith(".example")
        assert buyer.email.isascii()
        assert buyer.phone.startswith(PHONE_PREFIX)
        assert len(buyer.phone) == len("+905000001234")
        assert buyer.identity_number == "11111111111"
        assert buyer.postal_code[:2] == f"{buyer.city_code:02d}"
        assert len(buyer.postal_code) == 5


def test_most_buyers_live_where_most_people_do() -> None:
    cities = Counter(People(1).person(number).city for number in range(1, 3001))
    assert cities.most_common(1)[0][0] == "İstanbul"
    assert len(cities) > 60


@pytest.mark.parametrize(
    ("body", "check"),
    # Worked by hand: in the second one place turns from 0 into 9, in the third one digit into 0.
    [("123456789", "0"), ("000000000", "1"), ("999999999", "4")],
)
def test_the_check_digit_of_a_tax_number_follows_the_published_rule(body: str, check: str) -> None:
    assert tax_number(body) == body + check
