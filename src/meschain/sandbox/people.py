"""Buyers from the seed: plausible Turkish names and addresses, recognisably invented.

Buyer ``number`` of a seed is always the same person, whoever asked before.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate
from typing import Final

import msgspec

from meschain.domain.text import fold
from meschain.sandbox.world import Person

# ``.example`` is reserved (RFC 2606), so no mail can reach anyone; the host part looks like the
# relay addresses that marketplaces hand out instead of a buyer's own.
RELAY_DOMAIN: Final = "alici.pazaryeri.example"
# No operator is known to hold 0500; the zeros after it make the invention visible (assumed).
PHONE_PREFIX: Final = "+90500000"
# Real tax numbers with five leading zeros are not known to be issued (assumed).
TAX_NUMBER_PREFIX: Final = "00000"
COMPANY_SHARE: Final = 0.10
_TAX_NUMBER_BODY_LENGTH: Final = 9


@dataclass(frozen=True, slots=True)
class Province:
    """A province with some of its districts; ``plate_code`` also begins its postal codes."""

    plate_code: int
    name: str
    weight: int
    districts: tuple[str, ...]


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provinces: tuple[tuple[int, str, int, tuple[str, ...]], ...]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    neighborhoods: tuple[str, ...]
    streets: tuple[str, ...]
    company_trades: tuple[str, ...]


@cache
def _names() -> _Names:
    text = resources.files(__package__).joinpath("people.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Names)


@cache
def provinces() -> tuple[Province, ...]:
    """The 81 provinces in the order of their plate codes."""
    return tuple(Province(*row) for row in _names().provinces)


@cache
def _weights_total() -> tuple[int, ...]:
    return tuple(accumulate(province.weight for province in provinces()))


def tax_number(body: str) -> str:
    """The ten-digit tax number whose first nine digits are ``body``.

    Source: check digit of the Vergi Kimlik Numarası as the revenue administration's forms verify
    it: each digit plus its place from the right, times a power of two modulo nine.
    """
    assert len(body) == _TAX_NUMBER_BODY_LENGTH
    total = 0
    for place, digit in zip(range(_TAX_NUMBER_BODY_LENGTH, 0, -1), body, strict=True):
        shifted = (int(digit) + place) % 10
        weighted = shifted * 2**place % 9
        total += 9 if shifted and not weighted else weighted
    return body + str(-total % 10)


class People:
    """All buyers of one seed."""

    def __init__(self, seed: int, *, count: int = 50_000) -> None:
        """``count`` buyers exist; who buys often is drawn by the demand."""
        self.seed = seed
        self.count = count

    def person(self, number: int) -> Person:
        """Buyer ``number`` (from 1; any larger number is a buyer too)."""
        draw = random.Random(f"person:{self.seed}:{number}")  # noqa: S311 – a simulation, no secret
        names = _names()
        place = draw.choices(provinces(), cum_weights=_weights_total())[0]
        first_name, last_name = draw.choice(names.first_names), draw.choice(names.last_names)
        district = draw.choice(place.districts)
        is_company = draw.random() < COMPANY_SHARE
        office = place.name if district == "Merkez" else district
        door = f"No: {draw.randint(1, 120)} D: {draw.randint(1, 30)}"
        return Person(
            number=number,
            first_name=first_name,
            last_name=last_name,
            email=f"{fold(first_name)}.{number}@{RELAY_DOMAIN}",
            phone=f"{PHONE_PREFIX}{draw.randrange(10_000):04d}",
            city=place.name,
            district=district,
            neighborhood=draw.choice(names.neighborhoods),
            street=f"{draw.choice(names.streets)} {door}",
            postal_code=f"{place.plate_code:02d}{draw.randrange(10, 100) * 10:03d}",
            city_code=place.plate_code,
            is_company=is_company,
            company_name=f"Örnek {last_name} {draw.choice(names.company_trades)}"
            if is_company
            else "",
            tax_office=f"{office} Vergi Dairesi" if is_company else "",
            tax_number=tax_number(f"{TAX_NUMBER_PREFIX}{draw.randrange(10_000):04d}")
            if is_company
            else "",
        )
