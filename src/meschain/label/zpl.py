"""The label in ZPL II for printers of 203 dpi.

Source: Zebra, "ZPL II Programming Guide": ^BC (invocation codes of Code 128), ^FH, ^CI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meschain.label.layout import DOT_MM, HEIGHT_MM, WIDTH_MM, Bars, Rule, Words, layout

if TYPE_CHECKING:
    from meschain.label.content import CargoLabel

_START_B: Final = 104
_START_C: Final = 105
_TO_C: Final = 99  # within set B
_TO_B: Final = 100  # within set C
_SPECIAL: Final = frozenset("^~_\\")


def render_zpl(label: CargoLabel) -> bytes:
    """One label as UTF-8. No text of the order can become a command: see ``_field``."""
    commands = ["^XA", "^CI28", f"^PW{_dots(WIDTH_MM)}", f"^LL{_dots(HEIGHT_MM)}", "^LH0,0"]
    for item in layout(label):
        match item:
            case Words():
                at = f"^FO{_dots(item.x_mm)},{_dots(item.y_mm)}"
                commands.append(f"{at}^A0N,{_dots(item.size_mm)}{_field(item.text)}")
            case Rule():
                left, width = _dots(0.03 * WIDTH_MM), _dots(0.94 * WIDTH_MM)
                commands.append(f"^FO{left},{_dots(item.y_mm)}^GB{width},2,2^FS")
            case Bars():
                at = f"^FO{_dots(item.x_mm)},{_dots(item.y_mm)}^BY{item.module_dots}"
                data = _field(_invocations(item.symbols))
                commands.append(f"{at}^BCN,{_dots(item.height_mm)},N,N,N,N{data}")
    commands += ["^PQ1", "^XZ"]
    return "\n".join(commands).encode() + b"\n"


def _dots(millimeters: float) -> int:
    return round(millimeters / DOT_MM)


def _field(text: str) -> str:
    """Field data with everything that could begin a command or an escape written in hex."""
    data = "".join(f"_{ord(char):02X}" if char in _SPECIAL else char for char in text)
    return f"^FH_^FD{data}^FS"


def _invocations(symbols: tuple[int, ...]) -> str:
    """The very symbols of the PDF, for ^BC in mode N: start, set changes and data; no check."""
    in_c = symbols[0] == _START_C
    assert in_c or symbols[0] == _START_B, "our codes hold no control characters"
    parts = [">;" if in_c else ">:"]
    for symbol in symbols[1:-2]:  # the printer adds check character and stop itself
        if in_c and symbol == _TO_B:
            parts.append(">6")
            in_c = False
        elif not in_c and symbol == _TO_C:
            parts.append(">5")
            in_c = True
        else:
            parts.append(f"{symbol:02d}" if in_c else chr(symbol + 32))
    return "".join(parts)
