"""What a reply means: its problem if it has one, and its body as a wire type."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from meschain.channel.http import HttpReply
from meschain.channel.outcome import (
    ContractBroken,
    Problem,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.marketplaces.trendyol import wire

T = TypeVar("T")

RAW_LENGTH_MAX: Final = 4096

# The identical price-and-stock body within 15 minutes. The status of this answer is not documented,
# so its sentence [A] is looked for under any 4xx. Source: sheet 1.4, 2.5.
_REPEATED: Final = "15 dakika boyunca aynı isteği"

# Their discriminators → our suggestion. Source: sheet 1.4.
_ADVICE: Final = {
    "invalid.barcode": "advice.trendyol.barcode_invalid",
    "product.not.found": "advice.trendyol.barcode_unknown",
    "supplier.api.supplier.not.found": "advice.trendyol.seller_unknown",
}


def text(value: wire.Text) -> str:
    """A value that may have come as a number or as null, in our form."""
    return "" if value is None else str(value)


def broken(detail: str, raw: bytes) -> ContractBroken:
    return ContractBroken(detail, raw[:RAW_LENGTH_MAX])


def decoded(raw: bytes, kind: type[T]) -> T | ContractBroken:
    """The body as ``kind``; numbers written as strings are accepted."""
    try:
        return msgspec.json.decode(raw, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return broken(str(error), raw)


def problem_of(reply: HttpReply) -> Problem | None:
    """Why the reply is no success; None for 2xx. Source: sheet 1.4, 1.5."""
    if 200 <= reply.status < 300:
        return None
    code, words = _envelope(reply.body) or ("", "")
    if reply.status >= 500:
        return Unknown("server_error", words or f"HTTP {reply.status}")
    if _REPEATED in words:
        return Unknown("duplicate", words)
    if reply.status == 429:
        return Throttled(_retry_after_s(reply))
    return _said_no(reply, code, words)


def _said_no(reply: HttpReply, code: str, words: str) -> Problem:
    if reply.status in {401, 403}:
        return Unauthorized(words or code)
    if reply.status in {400, 404, 409} and (code or words or not reply.body.strip()):
        return Refused(code or str(reply.status), words, _ADVICE.get(code, ""))
    # Also 426: the endpoint itself is being retired, which no repetition heals.
    return broken(f"HTTP {reply.status}", reply.body)


def _envelope(body: bytes) -> tuple[str, str] | None:
    """Their discriminator and their words, from whichever of the five envelopes it is."""
    parsed = decoded(body, wire.ErrorBody)
    if isinstance(parsed, ContractBroken):
        return None
    inner = parsed.error.errors if isinstance(parsed.error, wire.LabelErrors) else parsed.errors
    if inner:
        first = inner[0]
        words = "; ".join(filter(None, (text(item.message) or text(item.title) for item in inner)))
        return text(first.key) or text(first.type) or text(first.code), words
    outer = parsed.error if isinstance(parsed.error, str) else ""
    return text(parsed.exception) or outer, text(parsed.message)


def _retry_after_s(reply: HttpReply) -> float | None:
    # The header is not documented [U]; it is believed where it comes.
    seconds = reply.headers.get("retry-after", "")
    return float(seconds) if seconds.isdecimal() else None
