"""Where everything stands on the label, in millimeters from the top left corner.

One layout serves both renderers. Text is measured with the font that the PDF embeds; the
printer's own font 0 is narrower (a condensed face), so what fits here fits there.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from reportlab.graphics.barcode.code128 import Code128
from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont

from meschain.label.content import UnprintableCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meschain.label.content import CargoLabel

WIDTH_MM: Final = 100.0
HEIGHT_MM: Final = 150.0
DOT_MM: Final = 0.125  # 203 dpi, the resolution of common label printers, is 8 dots a millimeter

_MARGIN_MM: Final = 4.0
_INNER_MM: Final = WIDTH_MM - 2 * _MARGIN_MM
_QUIET_MODULES: Final = 10  # light space on both sides. Source: ISO/IEC 15417, section 4.4
_MODULE_DOTS: Final = (4, 3, 2)  # 0.25 mm is the narrowest bar that every hand scanner reads
_BAR_MM: Final = 28.0
_LEADING: Final = 1.2
_ELLIPSIS: Final = "…"
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Words:
    """One line of text; ``y_mm`` is the top of its line."""

    x_mm: float
    y_mm: float
    size_mm: float
    text: str
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across the label."""

    y_mm: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A Code 128 symbol: ``symbols`` are its values from start to stop."""

    x_mm: float
    y_mm: float
    height_mm: float
    module_dots: int
    symbols: tuple[int, ...]
    modules: tuple[int, ...]  # widths of bar, space, bar …


Item = Words | Rule | Bars


@cache
def font(*, bold: bool) -> str:
    """The name of the embedded font. Vera has all Turkish letters, which a test proves."""
    name = "LabelBold" if bold else "Label"
    registerFont(TTFont(name, "VeraBd.ttf" if bold else "Vera.ttf"))
    return name


@cache
def _glyphs() -> frozenset[int]:
    faces = [TTFont("Glyphs", file).face for file in ("Vera.ttf", "VeraBd.ttf")]
    return frozenset.intersection(*(frozenset(face.charToGlyph) for face in faces))


def has_glyph(character: str) -> bool:
    """Whether both weights can print it."""
    return ord(character) in _glyphs()


def printable(text: str) -> str:
    """One line of characters the font has; others fall to their base letter or to "?"."""
    composed = unicodedata.normalize("NFC", _SPACE.sub(" ", text)).strip()
    return "".join(char if has_glyph(char) else _substitute(char) for char in composed)


def _substitute(character: str) -> str:
    base = unicodedata.normalize("NFKD", character)[0]
    return base if has_glyph(base) else "?"


def width_mm(text: str, size_mm: float, *, bold: bool) -> float:
    """How long a line becomes."""
    return stringWidth(text, font(bold=bold), size_mm)


def _shortened(text: str, size_mm: float, width: float, *, bold: bool) -> str:
    """The text if it fits, else as much as fits and an ellipsis: nothing is cut silently."""
    if width_mm(text, size_mm, bold=bold) <= width:
        return text
    while text and width_mm(text + _ELLIPSIS, size_mm, bold=bold) > width:
        text = text[:-1].rstrip()
    return text + _ELLIPSIS


def _wrapped(
    text: str, size_mm: float, width: float, lines_max: int, *, bold: bool = False
) -> list[str]:
    """At most ``lines_max`` lines, broken at words; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    rest = printable(text)
    while rest and len(lines) < lines_max - 1:
        end = len(rest)
        while width_mm(rest[:end], size_mm, bold=bold) > width:
            space = rest.rfind(" ", 0, end)
            end = space if space > 0 else end - 1  # a word longer than the line is broken
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest:
        lines.append(_shortened(rest, size_mm, width, bold=bold))
    return lines


def _bars(code: str, y_mm: float) -> Bars:
    barcode = Code128(code, quiet=0)
    assert barcode.width > 0  # reportlab encodes when it is asked for the width
    symbols = tuple(barcode.encoded)
    modules = tuple("ABCD".index(letter.upper()) + 1 for letter in barcode.decomposed)
    length = sum(modules)
    room_dots = WIDTH_MM / DOT_MM
    for dots in _MODULE_DOTS:
        if (length + 2 * _QUIET_MODULES) * dots <= room_dots:
            x_dots = int((room_dots - length * dots) / 2)
            return Bars(x_dots * DOT_MM, y_mm, _BAR_MM, dots, symbols, modules)
    raise UnprintableCode(f"cargo code {code!r} is too long for the label")


def layout(label: CargoLabel) -> list[Item]:
    """Everything on the label, top to bottom."""
    return [*_head(label), *_recipient(label), *_foot(label)]


def _head(label: CargoLabel) -> Iterator[Item]:
    piece = f"{label.captions.piece} {label.piece}/{label.pieces}"
    piece = _shortened(printable(piece), 5.0, 40.0, bold=True)
    piece_mm = width_mm(piece, 5.0, bold=True)
    carrier = _shortened(printable(label.carrier), 5.0, _INNER_MM - piece_mm - 4, bold=True)
    yield Words(_MARGIN_MM, 4.5, 5.0, carrier, bold=True)
    yield Words(WIDTH_MM - _MARGIN_MM - piece_mm, 4.5, 5.0, piece, bold=True)
    yield Rule(12.5)
    yield _bars(label.cargo_code, 15.0)
    size = 5.0
    while width_mm(label.cargo_code, size, bold=True) > _INNER_MM:
        size -= 0.25  # the code in letters is shrunk, never shortened
    x_mm = (WIDTH_MM - width_mm(label.cargo_code, size, bold=True)) / 2
    yield Words(x_mm, 44.0, size, label.cargo_code, bold=True)
    yield Rule(52.0)


def _recipient(label: CargoLabel) -> Iterator[Item]:
    to = label.recipient
    name = ", ".join(filter(None, (to.full_name, to.company)))
    street = " ".join(filter(None, (to.neighborhood, to.street)))
    place = " / ".join(filter(None, (to.district, to.city)))
    country = "" if to.country_code in {"", "TR"} else f"({to.country_code})"
    yield from _captioned(_MARGIN_MM, 54.0, label.captions.recipient, ())
    y_mm = 58.0
    for text, size, lines_max, bold in (
        (name, 5.0, 2, True),
        (street, 3.8, 4, False),
        (" ".join(filter(None, (to.postal_code, place, country))), 5.0, 1, True),
        (to.phone, 3.8, 1, False),
    ):
        for line in _wrapped(text, size, _INNER_MM, lines_max, bold=bold):
            yield Words(_MARGIN_MM, y_mm, size, line, bold)
            y_mm += size * _LEADING
        y_mm += 0.5
    yield Rule(101.0)


def _foot(label: CargoLabel) -> Iterator[Item]:
    captions = label.captions
    half_mm = _INNER_MM / 2
    middle_mm = _MARGIN_MM + half_mm
    sender = _wrapped(label.sender_name, 3.8, _INNER_MM, 1)
    yield from _captioned(_MARGIN_MM, 103.0, captions.sender, sender)
    order = _wrapped(label.order_number, 3.8, half_mm - 2, 1, bold=True)
    yield from _captioned(_MARGIN_MM, 112.0, captions.order, order, bold=True)
    package = _wrapped(label.package_number, 3.8, half_mm, 1, bold=True)
    yield from _captioned(middle_mm, 112.0, captions.package, package, bold=True)
    if label.desi:
        desi = _wrapped(f"{captions.desi} {label.desi}", 3.5, 28.0, 1, bold=True)
        yield from (Words(_MARGIN_MM, 119.8, 3.5, line, bold=True) for line in desi)
    # Two lines: an amount to be collected at the door must never be the part that is cut.
    payment = _wrapped(label.payment, 3.5, _INNER_MM - 30, 2, bold=True)
    for row, line in enumerate(payment):
        yield Words(_MARGIN_MM + 30, 119.8 + row * 4.1, 3.5, line, bold=True)
    yield Rule(128.0)
    shown = list(label.lines)
    if len(shown) > 4:
        shown[3:] = [f"+ {len(shown) - 3}"]
    lines = [line for text in shown for line in _wrapped(text, 3.2, _INNER_MM, 1)]
    yield from _captioned(_MARGIN_MM, 129.0, captions.contents, lines, size=3.2)


def _captioned(
    x_mm: float,
    y_mm: float,
    caption: str,
    lines: Sequence[str],
    *,
    size: float = 3.8,
    bold: bool = False,
) -> Iterator[Words]:
    yield Words(x_mm, y_mm, 2.6, _shortened(printable(caption), 2.6, _INNER_MM / 2, bold=False))
    for row, line in enumerate(lines):
        yield Words(x_mm, y_mm + 3.4 + row * size * _LEADING, size, line, bold)
