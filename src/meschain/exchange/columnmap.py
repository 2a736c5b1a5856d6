"""The saved mapping of a supplier's columns to ours, with its rules for prices and stock.

Reference: docs/reference/column-maps.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn

from meschain.domain.text import fold
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused
from meschain.exchange.source import ENCODINGS

_ENDING: Final = re.compile(r"(?P<whole>[0-9]*)(?:[.,](?P<part>[0-9]{1,3}))?")
_SECTIONS: Final = frozenset({"file", "columns", "fixed", "words", "price", "stock"})
_FILE_KEYS: Final = frozenset({"encoding", "delimiter", "decimal", "sheet", "item", "variant"})
_RULE_KEYS: Final = frozenset({"of", "times", "plus", "adds_vat", "ending", "rounding"})
_STOCK_KEYS: Final = frozenset({"keep_back", "at_most"})
_TIMES_MAX: Final = 10_000
_AMOUNT_MAX: Final = 10**9
_PRICE_FIELDS: Final = frozenset({"list_price", "sale_price", "cost"})


class RoundingTo(StrEnum):
    UP = "up"
    DOWN = "down"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRule:
    """``of`` × ``times`` + ``plus``, then VAT, then the next amount that ends as wanted.

    ``ending`` is ``0.90`` for prices such as 149,90 and ``9.90`` for such as 149,90 and 159,90;
    ``step`` is the distance between two such prices. Without a step the amount is rounded half up
    to hundredths.
    """

    of: str
    times: Decimal = Decimal(1)
    plus: Decimal = Decimal(0)
    adds_vat: bool = False
    ending: Decimal = Decimal(0)
    step: Decimal | None = None
    rounding: RoundingTo = RoundingTo.UP

    def price(self, base: Decimal, vat_percent: Decimal) -> Decimal:
        """The price for ``base``, both in units of the same currency; never below the ending."""
        amount = base * self.times + self.plus
        if self.adds_vat:
            amount *= 1 + vat_percent / 100
        if self.step is None:
            return max(amount, Decimal(0)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
        below = (amount - self.ending) // self.step * self.step + self.ending
        if below > amount:  # ``//`` of decimals rounds towards zero
            below -= self.step
        above = below if below == amount else below + self.step
        is_up = self.rounding is RoundingTo.UP or (
            self.rounding is RoundingTo.NEAREST and above - amount <= amount - below
        )
        return max(above if is_up else below, self.ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMap:
    """``columns``: our column → theirs, in the order in which they are joined or tried."""

    columns: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    prices: Mapping[str, PriceRule] = field(default_factory=dict)
    keep_back: int = 0
    at_most: int | None = None
    encoding: str | None = None
    delimiter: str | None = None
    decimal_separator: str | None = None
    sheet: str | None = None
    item: str | None = None
    variant: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Every column of theirs that is named, once."""
        named = [each for theirs in self.columns.values() for each in theirs]
        return tuple(dict.fromkeys([*named, *(rule.of for rule in self.prices.values())]))


def read_column_map(source: Path | bytes) -> ColumnMap:
    """Raises: FileRefused, naming the entry to mend; OSError."""
    content = source.read_bytes() if isinstance(source, Path) else source
    try:
        # A decimal point written without quotes must not become a binary fraction.
        document = tomllib.loads(content.decode("utf-8-sig"), parse_float=Decimal)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        raise FileRefused(Reason.MAP_UNREADABLE, detail=str(broken)) from broken
    _only(document, _SECTIONS, "")
    about = _table(document, "file")
    _only(about, _FILE_KEYS, "file.")
    stock = _table(document, "stock")
    _only(stock, _STOCK_KEYS, "stock.")
    columns = {ours: _names(theirs, ours) for ours, theirs in _table(document, "columns").items()}
    fixed = {ours: _text(each, f"fixed.{ours}") for ours, each in _table(document, "fixed").items()}
    words = _table(document, "words")
    prices = _table(document, "price")
    for ours in prices.keys() - _PRICE_FIELDS:
        _wrong(f"price.{ours}", ours)
    encoding = _optional(about, "encoding")
    if encoding is not None and encoding not in ENCODINGS:
        _wrong("file.encoding", encoding)
    decimal_separator = _optional(about, "decimal")
    if decimal_separator not in (None, ",", "."):
        _wrong("file.decimal", str(decimal_separator))
    delimiter = _optional(about, "delimiter")
    if delimiter is not None and len(delimiter) != 1:
        _wrong("file.delimiter", delimiter)
    return ColumnMap(
        columns=columns,
        fixed=fixed,
        words={
            ours: {
                fold(theirs): _text(ours_word, f"words.{ours}.{theirs}")
                for theirs, ours_word in _table(words, ours).items()
            }
            for ours in words
        },
        prices={ours: _rule(_table(prices, ours), f"price.{ours}") for ours in prices},
        keep_back=_whole(stock, "keep_back") or 0,
        at_most=_whole(stock, "at_most"),
        encoding=encoding,
        delimiter=delimiter,
        decimal_separator=decimal_separator,
        sheet=_optional(about, "sheet"),
        item=_optional(about, "item"),
        variant=_optional(about, "variant"),
    )


def _rule(given: Mapping[str, object], where: str) -> PriceRule:
    _only(given, _RULE_KEYS, f"{where}.")
    if "of" not in given:
        raise FileRefused(Reason.MAP_MISSING, entry=f"{where}.of")
    adds_vat = given.get("adds_vat", False)
    if not isinstance(adds_vat, bool):
        _wrong(f"{where}.adds_vat", str(adds_vat))
    ending, step = Decimal(0), None
    if "ending" in given:
        ending, step = _ending(_text(given["ending"], f"{where}.ending"), f"{where}.ending")
    rounding = str(given.get("rounding", RoundingTo.UP))
    if rounding not in set(RoundingTo):
        _wrong(f"{where}.rounding", rounding)
    times = _decimal(given.get("times", 1), f"{where}.times")
    if not 0 < times <= _TIMES_MAX:
        _wrong(f"{where}.times", str(times))
    return PriceRule(
        of=_text(given["of"], f"{where}.of"),
        times=times,
        plus=_decimal(given.get("plus", 0), f"{where}.plus"),
        adds_vat=adds_vat,
        ending=ending,
        step=step,
        rounding=RoundingTo(rounding),
    )


def _ending(text: str, where: str) -> tuple[Decimal, Decimal]:
    """``,90`` as 0.90 a unit apart, ``9,90`` as 9.90 ten units apart."""
    found = _ENDING.fullmatch(text.strip())
    if found is None or not (found["whole"] or found["part"]):
        _wrong(where, text)
    ending = Decimal(f"{found['whole'] or 0}.{found['part'] or 0}")
    return ending, Decimal(10) ** len(found["whole"])


def _wrong(entry: str, value: str) -> NoReturn:
    raise FileRefused(Reason.MAP_VALUE, entry=entry, value=value)


def _only(given: Mapping[str, object], allowed: frozenset[str], where: str) -> None:
    for key in given:
        if key not in allowed:
            named = ", ".join(sorted(allowed))
            raise FileRefused(Reason.MAP_UNKNOWN, entry=f"{where}{key}", allowed=named)


def _table(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    given = document.get(key, {})
    if not isinstance(given, dict):
        _wrong(key, str(given))
    return given


def _names(given: object, ours: str) -> tuple[str, ...]:
    each = given if isinstance(given, list) else [given]
    names = tuple(_text(name, f"columns.{ours}").strip() for name in each)
    if not all(names) or not names:
        _wrong(f"columns.{ours}", str(given))
    return names


def _text(given: object, where: str) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | Decimal):
        _wrong(where, str(given))
    return str(given)


def _optional(given: Mapping[str, object], key: str) -> str | None:
    return _text(given[key], f"file.{key}") if key in given else None


def _whole(given: Mapping[str, object], key: str) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        _wrong(f"stock.{key}", str(value))
    return value


def _decimal(given: object, where: str) -> Decimal:
    try:
        number = Decimal(_text(given, where).replace(",", "."))
    except InvalidOperation:
        _wrong(where, str(given))
    if not number.is_finite() or abs(number) > _AMOUNT_MAX:
        _wrong(where, str(given))
    return number
