"""The texts of one language, with typed placeholders and plurals."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from datetime import datetime, tzinfo
from decimal import Decimal
from string import Formatter
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from babel import Locale
from babel.dates import format_datetime
from babel.numbers import format_decimal, format_percent

from meschain.messages.source import LANGUAGES, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

_FALLBACK: Final = "en"
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_PATTERNS: Final = {
    "time": "HH:mm:ss",
    "time_ms": "HH:mm:ss.SSS",
    "date": "d MMM y",
    "datetime": "d MMM y HH:mm",
}


@runtime_checkable
class Amount(Protocol):
    """What ``{…:money}`` takes: an exact number of major units, as ``domain.money.Money`` is."""

    @property
    def amount(self) -> Decimal:
        """Major units with exactly the currency's digits."""
        ...

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        ...


Param = str | int | Decimal | datetime | Amount


class MessageMissing(UserWarning):
    """A text or a parameter of it is missing: our mistake, not the reader's."""


def language_of_environment(environment: Mapping[str, str] | None = None) -> str:
    """MESCHAIN_LANG, else the locale of the environment, else English; always one we have."""
    env = os.environ if environment is None else environment
    for name in ("MESCHAIN_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if env.get(name):
            return _supported(env[name])
    return _FALLBACK


def _supported(tag: str) -> str:
    language = tag.replace("-", "_").split("_")[0].split(".")[0].lower()
    return language if language in LANGUAGES else _FALLBACK


class Catalog:
    """All texts of one language.

    A text names its parameters in braces, with a kind after a colon: ``{amount:money}``,
    ``{price:digits}`` (a number that was kept as text, such as ``1068.90``), ``{count:number}``,
    ``{rate:percent}`` (20 means 20 %), ``{at:time}``, ``:time_ms``, ``:date``, ``:datetime``,
    ``{name:word}`` (one word of a command line: quoted where a shell would take it for several);
    without a kind the value is printed as it is.

    A key with CLDR plural forms is written ``key.one``, ``key.other`` … and chosen by the
    parameter ``count``.

    What is missing is printed as its key, with a ``MessageMissing`` warning: production goes on,
    and the test suite, for which warnings are errors, fails.
    """

    def __init__(
        self, language: str, texts: Mapping[str, str], *, time_zone: tzinfo | None = None
    ) -> None:
        """``time_zone`` None: times are shown in the machine's own zone."""
        self.language = language
        self._texts = texts
        self._time_zone = time_zone
        self._locale = Locale.parse(language)
        self._templates: dict[str, tuple[tuple[str, str | None, str], ...]] = {}

    @classmethod
    def load(cls, language: str | None = None, *, time_zone: tzinfo | None = None) -> Catalog:
        """The catalog of ``language`` (None: of the environment), merged from all folders."""
        chosen = language_of_environment() if language is None else _supported(language)
        texts: dict[str, str] = {}
        for _, table in tables(chosen):
            texts.update(table)
        return cls(chosen, texts, time_zone=time_zone)

    def __contains__(self, key: str) -> bool:
        return key in self._texts or f"{key}.other" in self._texts

    def text(self, key: str, **params: Param) -> str:
        """The text of ``key`` with its parameters filled in."""
        form = self._form(key, params.get("count"))
        if form is None:
            _missing(f"no text {key!r} in {self.language}")
            return key
        return "".join(
            literal if name is None else literal + self._filled(form, name, kind, params)
            for literal, name, kind in self._template(form)
        )

    def money(self, value: Amount) -> str:
        """``1.249,90 TL`` in Turkish, ``TRY 1,249.90`` elsewhere."""
        number = self._digits(value.amount)
        if self.language == "tr":
            return f"{number} {'TL' if value.currency == 'TRY' else value.currency}"
        return f"{value.currency} {number}"

    def number(self, value: int | Decimal) -> str:
        """Grouped, with all its digits."""
        printed: str = format_decimal(value, locale=self._locale, decimal_quantization=False)
        return printed

    def _digits(self, value: Decimal) -> str:
        digits = -int(value.as_tuple().exponent)
        pattern = "#,##0." + "0" * digits if digits > 0 else "#,##0"
        # Not rounded: the pattern has exactly the digits of the value.
        printed: str = format_decimal(value, pattern, self._locale, decimal_quantization=False)
        return printed

    def percent(self, value: int | Decimal) -> str:
        """20 → ``%20`` in Turkish, ``20%`` in English."""
        share = Decimal(value).scaleb(-2)
        return format_percent(share, locale=self._locale, decimal_quantization=False)

    def moment(self, value: datetime, kind: str) -> str:
        """An aware instant in the reader's time zone; hours count to 24 in every language."""
        assert value.tzinfo is not None, "an instant without a zone"
        local = value.astimezone(self._time_zone)
        return format_datetime(local, _PATTERNS[kind], locale=self._locale)

    def _form(self, key: str, count: Param | None) -> str | None:
        if key in self._texts:
            return key
        if isinstance(count, int | Decimal):
            form = f"{key}.{self._locale.plural_form(count)}"
            if form in self._texts:
                return form
        other = f"{key}.other"
        return other if other in self._texts else None

    def _template(self, form: str) -> tuple[tuple[str, str | None, str], ...]:
        """Literal, name of the parameter after it or None, and its kind; parsed once."""
        if form not in self._templates:
            self._templates[form] = tuple(
                (literal, name, kind or "")
                for literal, name, kind, _ in Formatter().parse(self._texts[form])
            )
        return self._templates[form]

    def _filled(self, form: str, name: str, kind: str, params: Mapping[str, Param]) -> str:
        if name not in params:
            _missing(f"{form!r} needs {name!r}")
            return f"{{{name}}}"
        value = params[name]
        printed = self._printed(kind, value)
        if printed is None:
            _missing(f"{form!r} cannot print {type(value).__name__} {name!r} as {kind!r}")
        return str(value) if printed is None else printed

    def _printed(self, kind: str, value: Param) -> str | None:
        match kind, value:
            case "", _:
                return str(value)
            case "word", _:
                return shlex.quote(str(value))
            case "money", Amount():
                return self.money(value)
            case "digits", str() if _NUMBER.fullmatch(value):
                return self._digits(Decimal(value))
            case "number", int() | Decimal():
                return self.number(value)
            case "percent", int() | Decimal():
                return self.percent(value)
            case _, datetime() if kind in _PATTERNS:
                return self.moment(value, kind)
        return None


def _missing(detail: str) -> None:
    warnings.warn(detail, MessageMissing, stacklevel=3)
