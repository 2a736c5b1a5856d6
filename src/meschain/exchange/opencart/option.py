"""Options of a product as variants: axes, their combinations, prices and stable SKUs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import prod
from typing import Final

from meschain.domain.text import fold
from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason

# Types of which the buyer chooses exactly one value; all others (checkbox, text, file, date) are
# wishes about a product and no form of it. Source: OpenCart 3 and 4, admin model ``option``.
VARIANT_TYPES: Final = frozenset({"select", "radio", "image"})
COMBINATIONS_MAX: Final = 500
"""Variants of one product; a product with more is refused rather than blown up."""

_NOT_IN_SKU: Final = re.compile(r"[^A-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What an option value does to a price or a weight: adds, takes off, or replaces it."""

    prefix: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of one option on one product. ``quantity`` None: it keeps no stock of its own."""

    choice_id: int  # product_option_value_id, unique over the shop
    option: str
    value: str
    quantity: int | None
    price: Adjustment
    weight: Adjustment


@dataclass(frozen=True, slots=True)
class Axis:
    """An option that makes variants, with the values this product has of it."""

    product_option_id: int
    option: str
    choices: tuple[Choice, ...]


def combinations(axes: Sequence[Axis]) -> list[tuple[Choice, ...]]:
    """Every combination of one value an axis; one empty combination without axes. Raises: Fault."""
    for axis in axes:
        if not axis.choices:
            raise Fault(Reason.OPTION_EMPTY, option=axis.option)
    names = [axis.option for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise Fault(Reason.OPTION_TWICE, option=name)
    count = prod(len(axis.choices) for axis in axes)
    if count > COMBINATIONS_MAX:
        raise Fault(Reason.OPTION_TOO_MANY, count=str(count), count_max=str(COMBINATIONS_MAX))
    return list(itertools.product(*(axis.choices for axis in axes)))


def adjusted(
    base: Decimal, choices: Iterable[Choice], adjustment_of: Callable[[Choice], Adjustment]
) -> Decimal:
    """A price or weight after its options: ``=`` replaces it, ``+`` and ``-`` follow.

    The newest schema has no prefixes and signed amounts, which arrive here as ``+``. ``=`` comes
    from widespread extensions. Raises: Fault for any other prefix and for two replacements.
    """
    fixed: list[Choice] = []
    total = Decimal(0)
    for choice in choices:
        adjustment = adjustment_of(choice)
        if adjustment.prefix == "=":
            fixed.append(choice)
            base = adjustment.amount
        elif adjustment.prefix in ("+", "-"):
            total += adjustment.amount if adjustment.prefix == "+" else -adjustment.amount
        elif adjustment.amount:
            raise Fault(
                Reason.OPTION_PREFIX_UNKNOWN, option=choice.option, prefix=adjustment.prefix
            )
    if len(fixed) > 1:
        options = ", ".join(choice.option for choice in fixed)
        raise Fault(Reason.OPTION_TWO_FIXED_PRICES, options=options)
    return base + total


def sku_part(choice: Choice) -> str:
    """An option value as part of a SKU: ASCII capitals and digits, else the value's id."""
    return _NOT_IN_SKU.sub("", fold(choice.value).upper()) or str(choice.choice_id)


SkuKey = tuple[int, tuple[int, ...]]
"""Product id and the chosen ids, in the order of the axes."""


def name_skus(
    wanted: Mapping[SkuKey, tuple[str, tuple[Choice, ...]]], taken: Iterable[str]
) -> dict[SkuKey, str]:
    """SKUs for variants that have none: the product's SKU and the folded option values.

    The same for any order of the dump's rows. Where two come out alike, or like a SKU that a
    product states itself, the one with the lower ids keeps the short form and the other gets its
    ids appended: ids only grow, so a value added later never renames an older variant.
    """
    used = set(taken)
    named: dict[SkuKey, str] = {}
    for key in sorted(wanted):
        base, choices = wanted[key]
        short = "-".join((base, *map(sku_part, choices)))
        sku = short if short not in used else "-".join((short, *map(str, key[1])))
        used.add(sku)
        named[key] = sku
    return named
