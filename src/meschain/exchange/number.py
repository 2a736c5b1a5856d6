"""Numbers as spreadsheets write them, and which separator stands for the decimals.

``1.249,90`` shows a decimal comma, ``1,249.90`` a decimal point, ``1.249`` alone shows nothing.
Each column is decided by what its cells show; one that shows nothing or both follows the file. What
stays undecided is refused with its row, for a price read wrongly by a thousand is worse than none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from meschain.domain.money import Money, currency_exponent
from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason

# One style decides a column when it outnumbers the other nine to one: single foreign cells are then
# refused, not the whole column. Chosen, not measured; below it nobody can tell what a column means.
_MAJORITY: Final = 9
_OTHER: Final = {",": ".", ".": ","}
_PLAIN: Final = {
    ",": re.compile(r"-?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+)(?:,[0-9]+)?"),
    ".": re.compile(r"-?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?"),
}
_CURRENCY_MARKS: Final = {"TRY": ("TL", "TRY", "₺"), "EUR": ("EUR", "€"), "USD": ("USD", "$")}
CURRENCY_NAMES: Final = {"TL": "TRY", "₺": "TRY", "€": "EUR", "$": "USD", "£": "GBP"}
"""Marks that stand for a currency's code."""
WHOLE_MAX: Final = 2_147_483_647
"""The largest whole number kept: what a PostgreSQL ``integer`` holds."""
AMOUNT_MAX: Final = Decimal(10) ** 12
"""What every amount must stay below, in major units."""


def shown_separator(cell: str) -> str:
    """The decimal separator that a number shows beyond doubt (``,`` or ``.``), else ``""``."""
    comma, point = cell.rfind(","), cell.rfind(".")
    if comma < 0 and point < 0:
        return ""
    if comma >= 0 and point >= 0:
        return "," if comma > point else "."
    separator = "," if comma >= 0 else "."
    head, _, tail = cell.partition(separator)
    if separator in tail:
        return _OTHER[separator]  # twice the same: thousands
    looks_like_thousands = len(tail) == 3 and 1 <= len(head.lstrip("-")) <= 3
    if looks_like_thousands and not head.lstrip("-").startswith("0"):
        return ""
    return separator


@dataclass(slots=True)
class Evidence:
    """What the numeric cells of a file show, by column."""

    by_column: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, column: str, cell: str) -> None:
        separator = shown_separator(cell)
        if separator:
            self.by_column.setdefault(column, Counter())[separator] += 1

    def decide(self, columns: Iterable[str], overruled: str | None) -> Mapping[str, str]:
        """Column → decimal separator; a column that stays undecided is absent."""
        if overruled is not None:
            return dict.fromkeys(columns, overruled)
        of_file = _decided(sum(self.by_column.values(), Counter[str]()))
        decided: dict[str, str] = {}
        for column in columns:
            shown = self.by_column.get(column, Counter[str]())
            if separator := _decided(shown) or of_file:
                decided[column] = separator
        return decided


def _decided(shown: Counter[str]) -> str | None:
    commas, points = shown[","], shown["."]
    if commas > points * _MAJORITY:
        return ","
    if points > commas * _MAJORITY:
        return "."
    return None


def strip_currency(cell: str, currency: str) -> str:
    """The cell without the marks of its own currency; a foreign mark stays and is unreadable."""
    if cell[:1].isdigit() and cell[-1:].isdigit():
        return cell
    for mark in _CURRENCY_MARKS.get(currency, (currency,)):
        if cell.endswith(mark):
            return cell[: -len(mark)].rstrip()
        if cell.startswith(mark):
            return cell[len(mark) :].lstrip()
    return cell


def read_decimal(cell: str, column: str, separators: Mapping[str, str]) -> Decimal:
    """The number in a cell, never negative. Raises: Fault."""
    if cell.isascii() and cell.isdigit():
        return _bounded(Decimal(cell), cell, column)
    separator = separators.get(column)
    if separator is None:
        if any(pattern.fullmatch(cell) for pattern in _PLAIN.values()):
            if "," not in cell and "." not in cell:
                raise Fault(Reason.NUMBER_NEGATIVE, column=column, value=cell)
            raise Fault(Reason.NUMBER_UNDECIDED, column=column, value=cell)
        raise Fault(Reason.NUMBER_UNREADABLE, column=column, value=cell)
    if not _PLAIN[separator].fullmatch(cell):
        if _PLAIN[_OTHER[separator]].fullmatch(cell):
            raise Fault(
                Reason.NUMBER_OTHER_CONVENTION, column=column, value=cell, separator=separator
            )
        raise Fault(Reason.NUMBER_UNREADABLE, column=column, value=cell)
    number = Decimal(cell.replace(_OTHER[separator], "").replace(separator, "."))
    if number < 0:
        raise Fault(Reason.NUMBER_NEGATIVE, column=column, value=cell)
    return _bounded(number, cell, column)


def _bounded(number: Decimal, cell: str, column: str) -> Decimal:
    if number >= AMOUNT_MAX:
        raise Fault(Reason.NUMBER_TOO_LARGE, column=column, value=cell, max=str(AMOUNT_MAX))
    return number


def read_whole(cell: str, column: str, separators: Mapping[str, str]) -> int:
    """A whole number from 0 to ``WHOLE_MAX``; ``5,00`` is 5. Raises: Fault."""
    number = read_decimal(cell, column, separators)
    if number != number.to_integral_value():
        raise Fault(Reason.NUMBER_NOT_WHOLE, column=column, value=cell)
    if number > WHOLE_MAX:
        raise Fault(Reason.NUMBER_TOO_LARGE, column=column, value=cell, max=str(WHOLE_MAX))
    return int(number)


def read_money(cell: str, column: str, separators: Mapping[str, str], currency: str) -> Money:
    """An amount that the currency's minor unit holds exactly. Raises: Fault.

    ``149,900`` beside ``149,90`` is refused although it could be read: three digits after the
    separator are more often the other convention's thousands than a price in tenths of a kuruş.
    """
    number = read_decimal(cell, column, separators)
    exponent = currency_exponent(currency)
    minor = number.scaleb(exponent)
    separator = separators.get(column)
    decimals = len(cell.rpartition(separator)[2]) if separator and separator in cell else 0
    if minor != minor.to_integral_value() or (decimals == 3 and exponent != 3):
        raise Fault(Reason.PRICE_DIGITS, column=column, value=cell, digits_max=str(exponent))
    return Money(int(minor), currency)
