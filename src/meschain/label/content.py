"""What a cargo label says. All texts come ready for the reader; only the code is checked here."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from meschain.domain.order import Address

# What carriers' codes are made of. Anything else is refused, for an altered code is a lost parcel.
_CODE: Final = re.compile(r"[0-9A-Za-z./+$%_ -]{1,48}")


class UnprintableCode(ValueError):
    """A cargo code that cannot stand on the label as bars a hand scanner reads."""


@dataclass(frozen=True, slots=True)
class Captions:
    """The label's own words, in the language of those who handle the parcel."""

    recipient: str
    sender: str
    order: str
    package: str
    desi: str
    piece: str
    contents: str

    @classmethod
    def of(cls, text: Callable[[str], str]) -> Captions:
        """Captions from a catalog's ``text``, under the keys ``label.<name>``."""
        return cls(**{field.name: text(f"label.{field.name}") for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class CargoLabel:
    """One piece of one package.

    ``payment`` says who pays the carrier, and what is collected at the door; ``desi`` is the
    volumetric weight as printed; ``lines`` are short ("2 × KZK-1042-M").
    """

    carrier: str
    cargo_code: str
    order_number: str
    package_number: str
    recipient: Address
    sender_name: str
    captions: Captions
    desi: str = ""
    payment: str = ""
    lines: tuple[str, ...] = ()
    piece: int = 1
    pieces: int = 1

    def __post_init__(self) -> None:
        """Refuse a code that Code 128 or a scanner would not carry unchanged."""
        assert 1 <= self.piece <= self.pieces, "piece n of m"
        if _CODE.fullmatch(self.cargo_code) is None or self.cargo_code != self.cargo_code.strip():
            raise UnprintableCode(f"cargo code {self.cargo_code!r}")
