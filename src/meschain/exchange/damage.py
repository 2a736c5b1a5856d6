"""What spreadsheets do to keys: codes turned into numbers, SKUs into dates, zeros lost."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from meschain.domain.identity import (
    BARCODE_LENGTH_MAX,
    gtin_check_digit_holds,
    has_gtin_length,
)
from meschain.exchange.fault import Fault
from meschain.exchange.reason import Reason

SKU_LENGTH_MAX: Final = 100
"""Longest SKU kept, in characters: the shortest limit for it among the marketplaces read so far."""

# "8,68E+12": how spreadsheets show long numbers. A bare "12E5" is a plausible SKU and stays.
_SCIENTIFIC: Final = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]{1,3}|[0-9][.,][0-9]+E[0-9]{1,3}")
_NUMBER_WITH_DECIMALS: Final = re.compile(r"[0-9]{6,}[.,]0+")
_MONTH: Final = (
    r"(?:[Oo]ca|[Şş]ub|[Mm]ar|[Nn]is|[Mm]ay|[Hh]az|[Tt]em|[Aa]ğu|[Ee]yl|[Ee]ki|[Kk]as|[Aa]ra"
    r"|[Jj]an|[Ff]eb|[Aa]pr|[Jj]un|[Jj]ul|[Aa]ug|[Ss]ep|[Oo]ct|[Nn]ov|[Dd]ec)"
)
# Spreadsheets write months as "May"; a SKU in capitals such as MAR-12 is left alone.
_DATE: Final = re.compile(
    rf"[0-9]{{1,2}}[.\-/ ]{_MONTH}(?:[.\-/ ](?:[0-9]{{2}}|[0-9]{{4}}))?"
    rf"|{_MONTH}[.\-/ ](?:[0-9]{{1,2}}|(?:19|20)[0-9]{{2}})"
    r"|(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:[0-2][0-9]|3[01])(?:[ T][0-9:.]{5,12}Z?)?"
    r"|(?:0?[1-9]|[12][0-9]|3[01])[./](?:0?[1-9]|1[0-2])[./](?:19|20)?[0-9]{2}"
    r"|(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12][0-9]|3[01])/(?:19|20)[0-9]{2}"
)
# Below C0's white space nothing belongs into text; C1 is what wrong decoding leaves behind.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# In keys also what is not seen at all: two SKUs that look alike would be two products.
_KEY_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]"
)
_REPLACEMENT: Final = "\ufffd"


def check_text(cell: str, column: str, *, is_key: bool = False) -> None:
    """Refuse control characters (in keys also line ends and tabs) and lost letters."""
    found = (_KEY_CONTROL if is_key else _CONTROL).search(cell)
    if found:
        code = f"U+{ord(found.group()):04X}"
        raise Fault(Reason.ROW_CONTROL_CHARACTER, column=column, code=code)
    if _REPLACEMENT in cell:
        raise Fault(Reason.ROW_DAMAGED_TEXT, column=column)


MISREAD_SIGNS: Final = frozenset("ÃÄÅ")
"""What the first bytes of UTF-8's ç, ı, ş and their like look like in a Windows code page."""


def meant_text(cell: str) -> str | None:
    """What a text was before it was read in the wrong encoding and saved so: ``ÅŸ`` was ``ş``."""
    if not MISREAD_SIGNS.intersection(cell):
        return None
    for codec in ("cp1254", "cp1252"):
        try:
            # "Ã" before a letter is not UTF-8, so honest text fails here.
            return cell.encode(codec).decode()
        except UnicodeError:
            continue
    return None


def check_sku(sku: str) -> None:
    """Refuse what a spreadsheet made of a SKU. Raises: Fault."""
    if not sku:
        raise Fault(Reason.SKU_MISSING)
    if len(sku) > SKU_LENGTH_MAX:
        raise Fault(Reason.SKU_TOO_LONG, length=str(len(sku)), length_max=str(SKU_LENGTH_MAX))
    if sku.isalnum():
        return
    if _DATE.fullmatch(sku):
        raise Fault(Reason.SKU_DATE, value=sku)
    if _SCIENTIFIC.fullmatch(sku):
        raise Fault(Reason.SKU_NUMBER_FORMAT, value=sku)


@dataclass(slots=True)
class BarcodeColumn:
    """All barcodes of a file, as the evidence for what happened to one of them.

    A code that lost its leading zeros is proven only by a neighbour: padded back to thirteen
    digits it must hold its check digit *and* begin like a thirteen-digit code of the same column
    (the same first seven digits, the zeros among them). Ten in a hundred in-house numbers hold a
    check digit by chance, and a valid twelve-digit code is a UPC; those are at most warned about,
    where most codes of the column are thirteen digits long.
    """

    count: int = 0
    thirteen_digit_count: int = 0
    zero_prefixes: set[str] = field(default_factory=set)

    def note(self, barcode: str) -> None:
        self.count += 1
        if len(barcode) == 13 and barcode.isascii() and barcode.isdigit():
            if gtin_check_digit_holds(barcode):
                self.thirteen_digit_count += 1
            if barcode[0] == "0":
                self.zero_prefixes.add(barcode[:7])

    def check(self, barcode: str) -> Fault | None:
        """A warning about an acceptable barcode, if any. Raises: Fault for an unacceptable one."""
        if len(barcode) > BARCODE_LENGTH_MAX:
            raise Fault(
                Reason.BARCODE_TOO_LONG,
                length=str(len(barcode)),
                length_max=str(BARCODE_LENGTH_MAX),
            )
        if not (barcode.isascii() and barcode.isdigit()):
            if _DATE.fullmatch(barcode):
                raise Fault(Reason.BARCODE_DATE, value=barcode)
            if _SCIENTIFIC.fullmatch(barcode) or _NUMBER_WITH_DECIMALS.fullmatch(barcode):
                raise Fault(Reason.BARCODE_NUMBER_FORMAT, value=barcode)
            return None
        if 9 <= len(barcode) <= 12:
            restored = barcode.zfill(13)
            if gtin_check_digit_holds(restored):
                if restored[:7] in self.zero_prefixes:
                    raise Fault(Reason.BARCODE_ZEROS_LOST, value=barcode, restored=restored)
                if self.thirteen_digit_count * 2 > self.count:
                    return Fault(Reason.BARCODE_ZEROS_DOUBTFUL, value=barcode, restored=restored)
        if has_gtin_length(barcode) and not gtin_check_digit_holds(barcode):
            return Fault(Reason.BARCODE_CHECK_DIGIT, value=barcode)
        return None
