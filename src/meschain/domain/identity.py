"""Distinct types for the keys of trade, and what makes a barcode a GTIN."""

from __future__ import annotations

import re
from typing import Final, NewType

MerchantId = NewType("MerchantId", int)
AccountId = NewType("AccountId", int)
ProductId = NewType("ProductId", int)
VariantId = NewType("VariantId", int)
ListingId = NewType("ListingId", int)
OrderId = NewType("OrderId", int)

Sku = NewType("Sku", str)
"""The merchant's own unique key of a variant, as text, never parsed."""
Barcode = NewType("Barcode", str)
"""What is printed on the goods: a GTIN or an in-house code, at most 40 characters."""
OrderRef = NewType("OrderRef", str)
"""The marketplace's number of an order, as text: they grow, and they get letters."""

BARCODE_LENGTH_MAX: Final = 40
_GTIN_LENGTHS: Final = frozenset({8, 12, 13, 14})
_DIGITS: Final = re.compile(r"[0-9]+")


def has_gtin_length(barcode: str) -> bool:
    """Whether the code is all digits and as long as a GTIN-8, -12, -13 or -14."""
    return len(barcode) in _GTIN_LENGTHS and _DIGITS.fullmatch(barcode) is not None


def gtin_check_digit_holds(barcode: str) -> bool:
    """Whether the last digit is the GS1 modulo-10 check digit of the others.

    Source: GS1 General Specifications, section 7.9. Call it only where ``has_gtin_length``.
    """
    body, check = barcode[:-1], int(barcode[-1])
    weighted = sum(int(digit) * (3, 1)[i % 2] for i, digit in enumerate(reversed(body)))
    return (10 - weighted % 10) % 10 == check
