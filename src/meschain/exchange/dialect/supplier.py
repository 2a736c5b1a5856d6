"""Any columns, by a column map; see ``exchange.columnmap``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from meschain.domain.text import fold
from meschain.exchange.columnmap import ColumnMap, PriceRule
from meschain.exchange.dialect.base import Header, Left, Line, Stated
from meschain.exchange.fault import Fault
from meschain.exchange.number import CURRENCY_NAMES, read_decimal, read_whole, strip_currency
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused, ReadingOptions, SourceKind
from meschain.exchange.sheet.column import NUMERIC, lay_out

_BETWEEN_URLS: Final = re.compile(r"[|,;\s]+(?=https?://)")
# What stands between the texts of several columns of theirs; other fields take the first filled.
_JOINED: Final = {
    "category": " > ",
    "image_urls": "|",
    "product_image_urls": "|",
    "bundle": "|",
}


class SupplierDialect:
    kind = SourceKind.SUPPLIER
    is_by_product = False
    header_language = None

    def __init__(
        self, header: Sequence[str], options: ReadingOptions, column_map: ColumnMap
    ) -> None:
        """Raises: FileRefused."""
        found = Header(header)
        self.columns = found.columns
        self._map = column_map
        self._default_currency = options.currency or options.currency_fallback
        names = [*column_map.columns, *column_map.fixed, *column_map.prices]
        ours = list(dict.fromkeys(names))
        self.layout = lay_out(ours, options.language)
        if self.layout.unknown:
            raise FileRefused(Reason.MAP_COLUMN_OF_OURS, column=", ".join(self.layout.unknown))
        self._field_at = {place: fld for fld, place in self.layout.at.items()}
        self._place_of = {
            name: place for name in column_map.sources if (place := found.place(name)) is not None
        }
        sku_name = ours[self.layout.at["sku"]]
        sku_sources = [
            self._place_of[name]
            for name in column_map.columns.get(sku_name, ())
            if name in self._place_of
        ]
        if not sku_sources:
            wanted = ", ".join(column_map.columns.get(sku_name, ("sku",)))
            raise FileRefused(Reason.HEADER_NO_COLUMN, column=wanted)
        self.sku_place: int = sku_sources[0]
        self.remarks = tuple(
            Fault(Reason.MAP_COLUMN_MISSING, column=name)
            for name in column_map.sources
            if name not in self._place_of
        )
        self.used = frozenset(self._place_of.values())
        self.barcode_place = self._first_place("barcode")
        numeric = {rule.of for rule in column_map.prices.values()}
        for place, name in enumerate(ours):
            if self._field_at.get(place) in NUMERIC:
                numeric.update(column_map.columns.get(name, ()))
        self.numeric = [
            (self.columns[place], place)
            for name, place in self._place_of.items()
            if name in numeric
        ]
        self._ours = ours

    def _first_place(self, fld: str) -> int | None:
        at = self.layout.at.get(fld)
        names = () if at is None else self._map.columns.get(self.layout.columns[at], ())
        return next((self._place_of[name] for name in names if name in self._place_of), None)

    def key(self, cells: Sequence[str]) -> str:
        return self._model(cells) or cells[self.sku_place].strip()

    def _model(self, cells: Sequence[str]) -> str:
        place = self._first_place("model_code")
        return "" if place is None else cells[place].strip()

    def translate(
        self, lines: Sequence[Line], separators: Mapping[str, str]
    ) -> Iterator[Stated | Left]:
        for line in lines:
            try:
                cells = self._cells(line, separators)
            except Fault as fault:
                yield Left(line, fault)
            else:
                yield Stated(line, cells, self._model(line.cells))

    def _cells(self, line: Line, separators: Mapping[str, str]) -> list[str]:
        """Raises: Fault."""
        currency = self._currency(line)
        cells = [
            self._cell(place, name, line, separators, currency)
            for place, name in enumerate(self._ours)
        ]
        at = self.layout.at
        if "quantity" in at and cells[at["quantity"]]:
            name = self._ours[at["quantity"]]
            units = read_whole(cells[at["quantity"]], name, {name: "."})
            units = max(units - self._map.keep_back, 0)
            most = self._map.at_most
            cells[at["quantity"]] = str(units if most is None else min(units, most))
        vat = cells[at["vat_percent"]] if "vat_percent" in at else ""
        is_none_left = "quantity" in at and cells[at["quantity"]] == "0"
        for ours, rule in self._map.prices.items():
            price = self._price(rule, line, separators, currency=currency, vat=vat)
            if price is None and not is_none_left:
                raise Fault(Reason.PRICE_ZERO, column=rule.of)
            cells[self._ours.index(ours)] = price or ""
        return cells

    def _currency(self, line: Line) -> str:
        """The code of the row's currency; what is no code is left for the row's reader to say."""
        at = self.layout.at.get("currency")
        given = "" if at is None else self._cell(at, self._ours[at], line, {}, "")
        return CURRENCY_NAMES.get(given, given) or self._default_currency

    def _cell(
        self, place: int, name: str, line: Line, separators: Mapping[str, str], currency: str
    ) -> str:
        fld = self._field_at.get(place, "")
        given = [
            (theirs, text)
            for theirs in self._map.columns.get(name, ())
            if theirs in self._place_of and (text := line.cells[self._place_of[theirs]].strip())
        ]
        if not given:
            return self._map.fixed.get(name, "")
        words = self._map.words.get(name, {})
        given = [(theirs, words.get(fold(text), text)) for theirs, text in given]
        if fld in NUMERIC:
            return self._number(
                *given[0], is_word=bool(words), currency=currency, separators=separators
            )
        if fld in ("image_urls", "product_image_urls"):
            return "|".join(url for _, cell in given for url in _BETWEEN_URLS.split(cell))
        if fld in _JOINED:
            return _JOINED[fld].join(text for _, text in given)
        return given[0][1]

    def _number(
        self, theirs: str, text: str, *, is_word: bool, currency: str, separators: Mapping[str, str]
    ) -> str:
        """The number with a decimal point, whatever the feed writes. Raises: Fault.

        Only the mark of the row's own currency is left out: one of another is no such price.
        """
        if is_word and text.isascii() and text.isdigit():
            return text
        column = self.columns[self._place_of[theirs]]
        bare = strip_currency(text, currency).strip("% ")
        return f"{read_decimal(bare, column, separators):f}"

    def _price(
        self,
        rule: PriceRule,
        line: Line,
        separators: Mapping[str, str],
        *,
        currency: str,
        vat: str,
    ) -> str | None:
        """The price by the rule; None of 0, of which a rule would make its ending alone."""
        place = self._place_of.get(rule.of)
        text = "" if place is None else line.cells[place].strip()
        if not text:
            return ""
        number = self._number(
            rule.of, text, is_word=False, currency=currency, separators=separators
        )
        if not Decimal(number):
            return None
        if rule.adds_vat and not vat:
            raise Fault(Reason.MAP_VAT_MISSING, column=rule.of)
        return f"{rule.price(Decimal(number), Decimal(vat or 0)):f}"

    @property
    def own_separators(self) -> Mapping[str, str]:
        """``translate`` writes every number with a point."""
        return dict.fromkeys(self._ours, ".")

    def raw_row(self, line: Line, _: Line | None) -> Mapping[str, str]:
        return dict(zip(self.columns, line.cells, strict=True))
