"""The spreadsheet twin: Windows-1254, semicolons, Turkish decimals, and what spreadsheets do."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from meschain.demo.catalog.goods import Good, Item

_COLUMNS: Final = (
    *("Model Kodu", "Stok Kodu", "Barkod", "Ürün Adı", "Açıklama", "Marka", "Kategori"),
    *("Liste Fiyatı", "Satış Fiyatı", "Maliyet", "Stok", "KDV", "Desi", "Ağırlık (g)"),
    *("Hazırlık Süresi (gün)", "Menşe", "Set İçeriği", "Depo Notu"),
)
_BROKEN_SHARE: Final = 100  # one row in so many


def money(amount: Decimal) -> str:
    """1249.9 as ``1.249,90``."""
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


Row = dict[str, str]
Damage = Callable[[Row, Row], str | None]
"""Damages a row, given the one before it; the line to write instead of the cells, if any."""


def _set(**cells: str) -> Damage:
    def damage(row: Row, _before: Row) -> None:
        row.update({column.replace("_", " "): cell for column, cell in cells.items()})

    return damage


def _copy(column: str) -> Damage:
    def damage(row: Row, before: Row) -> None:
        row[column] = before[column]

    return damage


def _thousands_swapped(row: Row, _before: Row) -> None:
    row["Liste Fiyatı"] = "1,249.90"


def _quote_left_open(row: Row, _before: Row) -> str:
    row["Ürün Adı"] = f'"{row["Ürün Adı"]}'
    row["Açıklama"] = ""
    return ";".join(row.values())


def _cell_lost(row: Row, _before: Row) -> str:
    row["Açıklama"] = ""
    return ";".join(list(row.values())[:-3])


def _zeros_lost(row: Row, _before: Row) -> None:
    row["Barkod"] = "799999000039"  # 0799999000039 without its zero


# Reason that an import must give → how a row comes to deserve it.
DAMAGES: Final[dict[str, Damage]] = {
    "barcode.number_format": _set(Barkod="8,68E+12"),
    "number.other_convention": _thousands_swapped,
    "sku.date": _set(Stok_Kodu="12.May"),
    "row.quoting": _quote_left_open,
    "price.sale_above_list": _set(Satış_Fiyatı="9.999,90"),
    "sku.duplicate": _copy("Stok Kodu"),
    "number.negative": _set(Stok="-3"),
    "barcode.duplicate": _copy("Barkod"),
    "vat.rate_unknown": _set(KDV="18"),
    "price.missing": _set(Liste_Fiyatı="", Satış_Fiyatı=""),
    "title.only_html": _set(Ürün_Adı="<br /><p></p>"),
    "row.field_count": _cell_lost,
    "sku.missing": _set(Stok_Kodu=""),
    "barcode.zeros_lost": _zeros_lost,
    "row.control_character": _set(Marka="Avlunya\x07"),
    "barcode.too_long": _set(Barkod="8699999000014 / 8699999000021 / 8699999000038"),
}


def write_sheet(path: Path, goods: Sequence[Good], *, protected: frozenset[str]) -> dict[str, int]:
    """Write the twin; one row in a hundred is damaged, never one whose SKU is protected.

    Returns what an import must find: ``products``, ``variants``, ``rows`` and each reason's count.
    """
    attributes = dict.fromkeys(column for good in goods for column in _attributes(good))
    columns = (*_COLUMNS, *attributes)
    refused: Counter[str] = Counter()
    kept: set[str] = set()
    kinds = list(DAMAGES)
    lines = [_line(list(columns))]
    rows = 0
    before: Row = {}
    for good in goods:
        for item in good.items:
            rows += 1
            row = dict.fromkeys(columns, "") | _row(good, item, rows)
            line: str | None = None
            if rows % _BROKEN_SHARE == _BROKEN_SHARE // 2 and item.sku not in protected:
                reason = kinds[sum(refused.values()) % len(kinds)]
                line = DAMAGES[reason](row, before)
                refused[reason] += 1
            else:
                kept.add(good.model)
                before = row
            lines.append(_line(list(row.values())) if line is None else f"{line}\r\n")
            if rows % 400 == 0:
                lines.append(";" * (len(columns) - 1) + "\r\n")  # an empty row left behind
    path.write_bytes("".join(lines).encode("cp1254"))
    variants = rows - sum(refused.values())
    return {"products": len(kept), "variants": variants, "rows": rows, **refused}


def _attributes(good: Good, value: str = "") -> Row:
    """The product's own attributes and, under its option, the value of one variant."""
    row = {f"Ürün Özelliği:{name}": stated for name, stated in good.attributes.items()}
    return row | ({f"Özellik:{good.kind.option}": value} if good.kind.option else {})


def _row(good: Good, item: Item, number: int) -> Row:
    vat = good.kind.vat_percent
    return {
        "Model Kodu": good.model,
        "Stok Kodu": item.sku,
        "Barkod": item.barcode,
        "Ürün Adı": good.title,
        "Açıklama": good.description,
        "Marka": good.brand,
        "Kategori": " > ".join(good.path),
        "Liste Fiyatı": money(item.list_price),
        # People write what they see: now with the currency, now without.
        "Satış Fiyatı": money(item.sale_price) + (" TL" if number % 7 == 0 else ""),
        "Maliyet": money(item.cost),
        "Stok": "" if item.bundle else str(item.quantity),
        "KDV": f"%{vat}" if number % 5 == 0 else str(vat),
        "Desi": str(item.desi).replace(".", ","),
        "Ağırlık (g)": str(item.weight_g),
        "Hazırlık Süresi (gün)": str(1 + number % 3),
        "Menşe": "TR",
        "Set İçeriği": item.bundle,
        "Depo Notu": f"Raf {number % 40}" if number % 9 == 0 else "",
        **_attributes(good, item.value),
    }


def _line(cells: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=";", lineterminator="\r\n").writerow(cells)
    return line.getvalue()
