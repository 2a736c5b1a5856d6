"""The columns of past orders, a row a line. Reference: docs/reference/past-orders.md."""

from __future__ import annotations

from typing import Final

from meschain.exchange.sheet.column import NAMES
from meschain.exchange.sheet.named import Columns

HISTORY_COLUMNS: Final = Columns(
    names={
        "order_number": ("order_number", "Sipariş Numarası", "Sipariş No"),
        "placed_at": ("placed_at", "Sipariş Tarihi"),
        "source": ("source", "Kaynak", "Kanal"),
        "sku": NAMES["sku"],
        "barcode": NAMES["barcode"],
        "title": NAMES["title"],
        "units": ("units", "Adet", "quantity", "Miktar"),
        "unit_price": ("unit_price", "Birim Fiyat", "Birim Fiyatı"),
        "payable": ("payable", "Tutar", "line_total"),
        "currency": NAMES["currency"],
        "vat_percent": NAMES["vat_percent"],
        "commission_percent": ("commission_percent", "Komisyon Oranı"),
        "state": ("state", "Durum", "Sipariş Durumu", "Sipariş Statüsü"),
        "buyer_ref": ("buyer_ref", "Müşteri No", "Müşteri Numarası"),
        "country": ("country", "Ülke"),
        "city": ("city", "Şehir", "İl"),
    },
    required=("order_number", "placed_at", "units"),
    numeric=frozenset({"units", "unit_price", "payable", "vat_percent", "commission_percent"}),
    keys=frozenset({"order_number", "sku", "barcode", "buyer_ref"}),
    # What ``meschain export orders`` writes besides.
    passed_over=frozenset(
        {
            *("marketplace", "is_company", "micro_export", "package", "carrier", "line_id"),
            *("tracking_number", "invoice_number", "unit_seller_discount"),
            "unit_marketplace_discount",
        }
    ),
)
