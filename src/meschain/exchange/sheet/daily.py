"""The columns of daily sheets: counted stock and prices. Reference: docs/reference/sheets.md."""

from __future__ import annotations

from typing import Final

from meschain.exchange.sheet.column import NAMES
from meschain.exchange.sheet.named import Columns

_PASSED_OVER: Final = frozenset(
    name
    for fld in ("title", "model_code", "barcode", "brand", "category", "vat_percent")
    for name in NAMES[fld]
)

STOCK_COLUMNS: Final = Columns(
    names={
        "sku": NAMES["sku"],
        "location": ("location", "Depo", "Depo Kodu", "Konum"),
        "quantity": (*NAMES["quantity"], "on_hand"),
        "safety_stock": ("safety_stock", "Güvenlik Stoğu", "Emniyet Stoğu"),
    },
    required=("sku",),
    numeric=frozenset({"quantity", "safety_stock"}),
    keys=frozenset({"sku", "location"}),
    # What an export adds for its reader: it follows from the rest.
    passed_over=_PASSED_OVER | {"reserved", "Rezerve", "available", "Satılabilir"},
)

PRICE_COLUMNS: Final = Columns(
    names={fld: NAMES[fld] for fld in ("sku", "list_price", "sale_price", "cost", "currency")},
    required=("sku",),
    numeric=frozenset({"list_price", "sale_price", "cost"}),
    keys=frozenset({"sku"}),
    passed_over=_PASSED_OVER,
)
