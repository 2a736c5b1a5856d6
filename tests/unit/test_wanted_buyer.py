"""A buyer is found however people write them, and nobody else is."""

from __future__ import annotations

import pytest

from meschain.app.queries.order_detail import Person
from meschain.app.queries.personal_data import Wanted

AYSE = Person(
    buyer={
        "external_id": "88001",
        "full_name": "Ayşe Işık Kaya",
        "email": "Ayse.Kaya@relay.example",
        "company_name": "Kaya Tekstil",
        "tax_number": "1234567890",
        "identity_number": "11122233344",
        "is_company": False,
    },
    shipping_address={"full_name": "Mehmet Kaya", "phone": "+90 532 123 45 67"},
    invoice_address={"full_name": "", "phone": ""},
)


@pytest.mark.parametrize(
    "text",
    [
        "ayse.kaya@RELAY.example",
        " ayse.kaya@relay.example ",
        "0532 123 45 67",
        "+905321234567",
        "5321234567",
        "88001",
        "1234567890",
        "11122233344",
        "ayşe kaya",
        "KAYA AYSE ISIK",
        "mehmet kaya",
        "kaya tekstil",
    ],
)
def test_the_buyer_is_meant_by(text: str) -> None:
    assert Wanted(text).is_of(AYSE)


@pytest.mark.parametrize(
    "text",
    [
        "kaya@relay.example",
        "0533 123 45 67",
        "1234567",
        "8800",
        "880012",
        "ayşe demir",
        "ay kaya",
        "",
        " ",
        "@",
        "İzmir",
    ],
)
def test_the_buyer_is_not_meant_by(text: str) -> None:
    assert not Wanted(text).is_of(AYSE)


@pytest.mark.parametrize(
    ("text", "is_name"),
    [("Ayşe Kaya", True), ("", True), ("a@b.c", False), ("88001", False), ("C-7", False)],
)
def test_only_what_others_may_share_is_a_name(text: str, is_name: bool) -> None:  # noqa: FBT001 – a case of the table
    assert Wanted(text).is_name is is_name
