from __future__ import annotations

import base64
import re
import zlib
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meschain.domain.order import Address
from meschain.label import Captions, CargoLabel, UnprintableCode, render_pdf, render_zpl
from meschain.label.layout import (
    HEIGHT_MM,
    WIDTH_MM,
    Bars,
    Words,
    has_glyph,
    layout,
    printable,
    width_mm,
)
from meschain.messages import Catalog

MM = 72 / 25.4
TURKISH = "abcçdefgğhıijklmnoöprsştuüvyzABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZâîûÂÎÛ"
# Widths of bar, space, bar … by symbol value. Source: ISO/IEC 15417, table 1. Written down apart
# from the library whose drawing it reads back.
PATTERNS = re.findall(
    r"\d+",
    """
    212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232
    122132 122231 113222 123122 123221 223211 221132 221231 213212 223112 312131 311222 321122
    321221 312212 322112 322211 212123 212321 232121 111323 131123 131321 112313 132113 132311
    211313 231113 231311 112133 112331 132131 113123 113321 133121 313121 211331 231131 213113
    213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224 111422
    121124 121421 141122 141221 112214 112412 122114 122411 142112 142211 241211 221114 413111
    241112 134111 111242 121142 121241 114212 124112 124211 411212 421112 421211 212141 214121
    412121 111143 111341 131141 114113 114311 411113 411311 113141 114131 311141 411131 211412
    211214 211232 2331112
    """,
)
CODES = st.text("0123456789ABCXYZabcxyz./+$%_-", min_size=1, max_size=24)


@pytest.fixture(scope="module")
def label() -> CargoLabel:
    return sample()


@cache
def sample() -> CargoLabel:
    return CargoLabel(
        carrier="Yurtiçi Kargo",
        cargo_code="7330012345678901",
        order_number="10654411111",
        package_number="33301",
        recipient=Address(
            full_name="Gülşah Iğdır Öztürk",
            street="Çiçekli Sk. No: 12 D: 5",
            neighborhood="Küçükçamlıca Mah.",
            district="Üsküdar",
            city="İstanbul",
            postal_code="34696",
            country_code="TR",
            phone="0532 000 00 00",
        ),
        sender_name="Kızılçay Giyim",
        captions=Captions.of(Catalog.load("tr").text),
        desi="2,5",
        payment="Kargo ücreti pazaryerine ait",
        lines=("2 × KZK-1042-M", "1 × ŞAPKA-7"),
        piece=1,
        pieces=2,
    )


def content_of(pdf: bytes) -> str:
    """The drawing commands of the only page."""
    streams = re.findall(rb"ASCII85Decode[^>]*>>\s*stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    pages = [
        zlib.decompress(base64.a85decode(b"<~" + stream.strip(), adobe=True)) for stream in streams
    ]
    (page,) = [page for page in pages if b" re f" in page]
    return page.decode("latin-1")


def scan(pdf: bytes) -> str:
    """Read the bars of the page as a scanner does: widths to symbols, symbols to text."""
    bars = [
        (float(x), float(width))
        for x, width in re.findall(r"([\d.]+) [\d.]+ ([\d.]+) [\d.]+ re f", content_of(pdf))
    ]
    bars.sort()
    edges = [edge for x, width in bars for edge in (x, x + width)]
    assert edges[0] > 10 * bars[0][1] / 2, "quiet zone on the left"
    assert WIDTH_MM * MM - edges[-1] > 10 * bars[0][1] / 2, "quiet zone on the right"
    runs = [after - before for before, after in pairwise(edges)]
    module = sum(runs[:6]) / 11
    widths = "".join(str(round(run / module)) for run in runs)
    symbols = [PATTERNS.index(widths[at : at + 6]) for at in range(0, len(widths) - 7, 6)]
    assert widths[-7:] == PATTERNS[106], "stop"
    *data, check = symbols
    assert check == (data[0] + sum(at * value for at, value in enumerate(data))) % 103
    return decoded(data)


def decoded(symbols: list[int]) -> str:
    charset = {104: "B", 105: "C"}[symbols[0]]
    text = ""
    for symbol in symbols[1:]:
        if charset == "C" and symbol == 100:
            charset = "B"
        elif charset == "B" and symbol == 99:
            charset = "C"
        else:
            text += f"{symbol:02d}" if charset == "C" else chr(symbol + 32)
    return text


def printed(zpl: bytes) -> list[str]:
    """Field data as a printer reads it, hex escapes resolved."""
    return [
        re.sub("_([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), data)
        for data in re.findall(r"\^FH_\^FD(.*?)\^FS", zpl.decode())
    ]


def code_of(zpl: bytes) -> str:
    """What ^BC in mode N makes of its field data."""
    (raw,) = re.findall(r"\^BCN,\d+,N,N,N,N\^FH_\^FD(.*?)\^FS", zpl.decode())
    data = re.sub("_([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), raw)
    return re.sub(">[:;56]", "", data)


# — the code —


def test_the_table_of_patterns_is_whole() -> None:
    assert len(PATTERNS) == len(set(PATTERNS)) == 107
    assert all(sum(map(int, pattern)) == 11 for pattern in PATTERNS[:106])


@settings(max_examples=60, deadline=None)
@given(CODES)
def test_the_bars_of_the_pdf_read_back_as_the_cargo_code(code: str) -> None:
    assert scan(render_pdf(replace(sample(), cargo_code=code))) == code


@settings(max_examples=60, deadline=None)
@given(CODES)
def test_the_zpl_carries_the_same_symbols(code: str) -> None:
    zpl = render_zpl(replace(sample(), cargo_code=code))
    assert code_of(zpl) == code
    (bars,) = [item for item in layout(replace(sample(), cargo_code=code)) if type(item) is Bars]
    assert decoded(list(bars.symbols[:-2])) == code
    assert f"^BY{bars.module_dots}^BCN".encode() in zpl


def test_an_even_number_of_digits_is_packed_in_pairs(label: CargoLabel) -> None:
    assert b"^FD>;7330012345678901^FS" in render_zpl(label)


@pytest.mark.parametrize("code", ["", " 123", "12\n3", "ĞÜ1", "1>2", "1^2", "1~2", "9" * 49])
def test_a_code_that_would_not_scan_unchanged_is_refused(code: str) -> None:
    with pytest.raises(UnprintableCode):
        replace(sample(), cargo_code=code)


def test_a_code_too_long_for_wide_enough_bars_is_refused() -> None:
    with pytest.raises(UnprintableCode, match="too long"):
        render_pdf(replace(sample(), cargo_code="AB" * 20))


# — the page —


def test_the_page_is_100_by_150_millimeters(label: CargoLabel) -> None:
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", render_pdf(label))
    assert [float(side) / MM for side in box] == pytest.approx([100, 150], abs=0.01)
    assert b"^PW800\n^LL1200\n" in render_zpl(label)


def test_every_turkish_letter_has_a_glyph_and_the_font_is_embedded(label: CargoLabel) -> None:
    assert all(has_glyph(letter) for letter in TURKISH + "…×·")
    assert printable(TURKISH) == TURKISH
    assert render_pdf(label).count(b"/FontFile2") == 2


def test_decomposed_letters_are_joined_and_foreign_ones_fall_to_their_base() -> None:
    assert printable("Gu\u0308ls\u0327ah") == "Gülşah"
    assert printable("Nguyễn 李") == "Nguyen ?"
    assert printable("a\r\nb\t\x00c") == "a b c"


def test_all_that_the_carrier_needs_is_on_the_label(label: CargoLabel) -> None:
    text = "\n".join(item.text for item in layout(label) if isinstance(item, Words))
    for part in (
        "Yurtiçi Kargo",
        "Parça 1/2",
        "7330012345678901",
        "Gülşah Iğdır Öztürk",
        "Küçükçamlıca Mah. Çiçekli Sk. No: 12 D: 5",
        "34696 Üsküdar / İstanbul",
        "0532 000 00 00",
        "Kızılçay Giyim",
        "10654411111",
        "33301",
        "Desi 2,5",
        "Kargo ücreti pazaryerine ait",
        "2 × KZK-1042-M",
    ):
        assert part in text


def test_the_same_label_gives_the_same_bytes(label: CargoLabel) -> None:
    assert render_pdf(label) == render_pdf(label)
    assert render_zpl(label) == render_zpl(label)


@settings(max_examples=80, deadline=None)
@given(
    st.text(max_size=300),
    st.text("WĞMŞ ", max_size=400),
    st.lists(st.text("W", max_size=80), max_size=9),
)
def test_no_text_overflows_the_label_or_its_neighbor(
    wild: str, wide: str, lines: list[str]
) -> None:
    label = replace(
        sample(),
        carrier=wide,
        order_number=wide,
        package_number=wild,
        recipient=Address(full_name=wide, company=wild, street=wide, city=wild, phone=wide),
        sender_name=wild,
        desi=wide,
        payment=wide,
        lines=tuple(lines),
    )
    words = [item for item in layout(label) if isinstance(item, Words)]
    boxes = [
        (word.x_mm, word.y_mm, word.x_mm + width_mm(word.text, word.size_mm, bold=word.bold), word)
        for word in words
    ]
    for left, top, right, word in boxes:
        assert 0 <= left <= right <= WIDTH_MM - 3
        assert 0 <= top <= top + word.size_mm <= HEIGHT_MM - 2
    for left, top, right, word in boxes:
        for other_left, other_top, other_right, other in boxes:
            apart = right <= other_left or other_right <= left
            over = top + word.size_mm <= other_top or other_top + other.size_mm <= top
            assert word is other or apart or over, (word, other)


def test_what_is_shortened_ends_visibly(label: CargoLabel) -> None:
    long = replace(
        label,
        sender_name="Uzun Adlı Mağaza " * 20,
        lines=tuple(f"{i} × KOD" for i in range(1, 10)),
    )
    texts = [item.text for item in layout(long) if isinstance(item, Words)]
    assert any(text.startswith("Uzun") and text.endswith("…") for text in texts)
    assert texts[-1] == "+ 6"


def test_an_amount_to_collect_is_never_the_part_that_is_cut(label: CargoLabel) -> None:
    due = replace(label, payment="Kapıda ödeme: 1.249,90 TL · Kargo ücreti alıcıya ait")
    text = " ".join(item.text for item in layout(due) if isinstance(item, Words))
    assert "1.249,90 TL" in text


# — injection —


@settings(max_examples=150, deadline=None)
@given(st.text("^~_\\XZAFSD>ğ,\n\x10\x1b 1", max_size=40))
def test_no_text_of_an_order_can_become_a_printer_command(text: str) -> None:
    label = replace(
        sample(), carrier=text, sender_name=text, recipient=Address(full_name=text), lines=(text,)
    )
    plain = replace(
        sample(), carrier="x", sender_name="x", recipient=Address(full_name="x"), lines=("x",)
    )
    zpl = render_zpl(label).decode()
    commands = re.findall(r"[\^~][A-Z0-9]{2}", zpl)
    assert "~" not in zpl
    assert set(commands) <= set(re.findall(r"\^[A-Z0-9]{2}", render_zpl(plain).decode()))
    assert zpl.count("^XA") == zpl.count("^XZ") == 1
    if printable(text):
        assert any(printable(text).startswith(line.rstrip("…")) for line in printed(zpl.encode()))
