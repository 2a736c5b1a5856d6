"""Pure: a row of a sheet as one line of a past order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.domain.order import PackageState
from meschain.domain.text import fold
from meschain.exchange import Reason
from meschain.exchange.fault import Fault
from meschain.exchange.number import CURRENCY_NAMES, WHOLE_MAX

if TYPE_CHECKING:
    from meschain.exchange.sheet.named import NamedRow

_DIGITS: Final = Decimal("0.000001")
_AMOUNT_MAX: Final = Decimal(10) ** 15
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_BUYER: Final = re.compile(r"[\w./-]{1,64}")
_NUMBER_LENGTH_MAX: Final = 100
_LOCAL: Final = re.compile(
    r"(?P<first>[0-9]{1,2})(?P<mark>[./])(?P<second>[0-9]{1,2})(?P=mark)(?P<year>[0-9]{4})"
    r"(?:[ T]+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second_of_minute>[0-9]{2}))?)?"
)
_NOT_SOLD: Final = {
    **dict.fromkeys(
        ("cancelled", "canceled", "unsupplied", "iptal", "iptal edildi", "tedarik edilemedi"),
        "cancelled",
    ),
    **dict.fromkeys(("returned", "iade", "iade edildi"), "returned"),
}
_SOLD: Final = frozenset(
    {
        *("sold", "satildi", "completed", "tamamlandi", "teslim edildi", "kargoda", "tasima"),
        *(state.value for state in PackageState if state.value not in _NOT_SOLD),
    }
)


class HistoryReason(StrEnum):
    """Why a row of history is left out; the texts are in ``messages.toml`` beside."""

    DATE = "history.date"  # value
    DATE_UNDECIDED = "history.date_undecided"  # value
    STATE = "history.state"  # value
    BUYER = "history.buyer"
    AMOUNT_MISSING = "history.amount_missing"
    SOURCE_MISSING = "history.source_missing"
    LIVE = "history.live"  # number
    CURRENCY = "history.currency"  # given, held
    INCOMPLETE = "history.incomplete"  # row


class LineRefused(Exception):
    """A row that cannot be used; ``params`` fill the reason's text."""

    def __init__(self, reason: HistoryReason, **params: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.params = params


class PastLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line; what is below 0 was taken back. Amounts are exact, in major units."""

    source: str
    number: str
    placed_at: datetime
    currency: str
    buyer_ref: str
    country: str
    city: str
    sku: str
    barcode: str
    title: str
    units: int
    unit_price: Decimal
    payable: Decimal
    vat_percent: Decimal | None
    commission_percent: Decimal | None
    state: str
    line_number: int = 0


@dataclass(frozen=True, slots=True)
class LineReader:
    """``month_first`` None: nothing in the file says whether 1/2/2026 is in January or February."""

    source: str
    currency: str
    zone: tzinfo
    month_first: bool | None

    def read(self, row: NamedRow) -> PastLine:
        """Raises: Fault, LineRefused."""
        source = row.text("source") or self.source
        if not source:
            raise LineRefused(HistoryReason.SOURCE_MISSING)
        number = row.text("order_number")
        if not number or len(number) > _NUMBER_LENGTH_MAX:
            raise Fault(Reason.CELL_MISSING, column="order_number")
        buyer = row.text("buyer_ref")
        if buyer and not _BUYER.fullmatch(buyer):
            raise LineRefused(HistoryReason.BUYER)
        units = self._units(row)
        unit_price, payable = _amounts(row, units)
        return PastLine(
            source=source,
            number=number,
            placed_at=self._instant(row.text("placed_at")),
            currency=self._currency(row),
            buyer_ref=buyer,
            country=row.text("country"),
            city=row.text("city"),
            sku=row.text("sku"),
            barcode=row.text("barcode"),
            title=row.text("title"),
            units=units,
            unit_price=unit_price,
            payable=payable,
            vat_percent=_percent(row, "vat_percent"),
            commission_percent=_percent(row, "commission_percent"),
            state=_state(row.text("state"), units),
        )

    def _currency(self, row: NamedRow) -> str:
        given = row.text("currency")
        code = CURRENCY_NAMES.get(given, given) or self.currency
        if not _CURRENCY.fullmatch(code):
            raise Fault(Reason.CURRENCY_UNKNOWN, value=given)
        return code

    @staticmethod
    def _units(row: NamedRow) -> int:
        units = row.decimal("units")
        if units is None:
            raise Fault(Reason.CELL_MISSING, column="units")
        if units != units.to_integral_value() or abs(units) > WHOLE_MAX:
            raise Fault(Reason.NUMBER_NOT_WHOLE, column="units", value=row.text("units"))
        return int(units)

    def _instant(self, given: str) -> datetime:
        """A time without a zone is the merchant's. Raises: LineRefused."""
        try:
            moment = self._moment(given)
            return (moment if moment.tzinfo else moment.replace(tzinfo=self.zone)).astimezone(UTC)
        except (ValueError, OverflowError) as unreadable:
            raise LineRefused(HistoryReason.DATE, value=given) from unreadable

    def _moment(self, given: str) -> datetime:
        found = _LOCAL.fullmatch(given)
        if found is None:
            return datetime.fromisoformat(given)
        day, month = int(found["first"]), int(found["second"])
        if found["mark"] == "/":
            if self.month_first is None:
                raise LineRefused(HistoryReason.DATE_UNDECIDED, value=given)
            if self.month_first:
                day, month = month, day
        clock = (int(found[part] or 0) for part in ("hour", "minute", "second_of_minute"))
        hour, minute, second = clock
        return datetime(int(found["year"]), month, day, hour, minute, second, tzinfo=self.zone)


def month_first_of(dates: set[tuple[int, int]]) -> bool | None:
    """What the two first parts of a file's dates with slashes show; None: nothing, or both."""
    day_first = any(first > 12 for first, _ in dates)
    month_first = any(second > 12 for _, second in dates)
    return None if day_first is month_first else month_first


def slashed(given: str) -> tuple[int, int] | None:
    """The two first parts of a date with slashes."""
    found = _LOCAL.fullmatch(given) if "/" in given else None
    return (int(found["first"]), int(found["second"])) if found else None


def _amounts(row: NamedRow, units: int) -> tuple[Decimal, Decimal]:
    """Price of one unit, and of the line. Either may be left out. Raises: Fault, LineRefused."""
    unit_price, payable = row.decimal("unit_price"), row.decimal("payable")
    if unit_price is None and payable is None:
        raise LineRefused(HistoryReason.AMOUNT_MISSING)
    if payable is None:
        assert unit_price is not None
        payable = unit_price * units
    if unit_price is None:
        unit_price = payable / units if units else Decimal(0)
    for amount in (unit_price, payable):
        if abs(amount) >= _AMOUNT_MAX:
            raise Fault(
                Reason.NUMBER_TOO_LARGE, column="payable", value=str(amount), max=str(_AMOUNT_MAX)
            )
    return unit_price.quantize(_DIGITS, ROUND_HALF_UP), payable.quantize(_DIGITS, ROUND_HALF_UP)


def _percent(row: NamedRow, fld: str) -> Decimal | None:
    percent = row.decimal(fld)
    if percent is not None and not 0 <= percent <= 100:
        raise Fault(Reason.NUMBER_TOO_LARGE, column=fld, value=str(percent), max="100")
    return percent


def _state(given: str, units: int) -> str:
    """Raises: LineRefused for a word that nobody told us of: it may mean a cancellation."""
    if not given:
        return "returned" if units < 0 else "sold"
    word = fold(given)
    if word in _SOLD:
        return "sold"
    state = _NOT_SOLD.get(word)
    if state is None:
        raise LineRefused(HistoryReason.STATE, value=given)
    return state
