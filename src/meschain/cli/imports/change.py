"""One changed field as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meschain.domain.money import Money

if TYPE_CHECKING:
    from meschain.app.commands.import_products import FieldChange
    from meschain.messages import Catalog

_LENGTH_MAX: Final = 40


def change_text(change: FieldChange, words: Catalog) -> str:
    """``sale_price: 1.249,90 TL → 999,90 TL``."""

    def said(value: object) -> str:
        if isinstance(value, Money):
            return words.money(value)
        text = "–" if value is None else str(value)
        return text if len(text) <= _LENGTH_MAX else text[: _LENGTH_MAX - 1] + "…"

    return f"{change.field}: {said(change.before)} → {said(change.after)}"
