"""The columns of our CSV and the names under which they are understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from meschain.domain.text import fold
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused

# Field → names, the first English, the second Turkish: those two are written, all are read. They
# are compared without case, accents, underscores and brackets.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "model_code": ("model_code", "Model Kodu", "Ana Ürün Kodu", "model"),
    "sku": ("sku", "Stok Kodu", "Satıcı Stok Kodu", "stock code"),
    "barcode": ("barcode", "Barkod", "gtin", "ean"),
    "title": ("title", "Ürün Adı", "Başlık", "name"),
    "description": ("description", "Açıklama", "Ürün Açıklaması"),
    "brand": ("brand", "Marka"),
    "category": ("category", "Kategori"),
    "list_price": ("list_price", "Liste Fiyatı", "Piyasa Satış Fiyatı"),
    "sale_price": ("sale_price", "Satış Fiyatı", "price", "Fiyat"),
    "cost": ("cost", "Maliyet", "Alış Fiyatı"),
    "currency": ("currency", "Para Birimi"),
    "quantity": ("quantity", "Stok", "Stok Adedi", "Miktar", "stock"),
    "vat_percent": ("vat_percent", "KDV", "KDV Oranı", "vat"),
    "desi": ("desi", "Desi"),
    "weight_g": ("weight_g", "Ağırlık (g)"),
    "length_mm": ("length_mm", "Uzunluk (mm)"),
    "width_mm": ("width_mm", "Genişlik (mm)"),
    "height_mm": ("height_mm", "Yükseklik (mm)"),
    "handling_days": ("handling_days", "Hazırlık Süresi (gün)", "Termin (gün)"),
    "origin_country": ("origin_country", "Menşe", "Menşei"),
    "image_urls": ("images", "Görseller"),
    "product_image_urls": ("product_images", "Ürün Görselleri"),
    "bundle": ("bundle", "Set İçeriği", "Takım"),
}
# Prefix of a column that carries a name of its own → field.
PREFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "title": ("title", "Ürün Adı", "Başlık"),
    "description": ("description", "Açıklama"),
    "attributes": ("attr", "Özellik"),
    "product_attributes": ("product_attr", "Ürün Özelliği"),
}
REFUSED_COLUMNS: Final = ("refused_row", "refused_reason")
"""What ``write_refused`` adds; ignored on reading, so that a mended file goes straight back in."""
NUMERIC: Final = frozenset(
    {
        *("list_price", "sale_price", "cost", "quantity", "vat_percent", "desi", "weight_g"),
        *("length_mm", "width_mm", "height_mm", "handling_days"),
    }
)


def key_of(name: str) -> str:
    return " ".join(fold(name).replace("_", " ").replace("(", " ").replace(")", " ").split())


_FIELD_OF: Final = {key_of(name): fld for fld, names in NAMES.items() for name in names}
_PREFIX_OF: Final = {key_of(name): fld for fld, names in PREFIXES.items() for name in names}
_ENGLISH: Final = frozenset(
    key_of(name)
    for name in (
        *(names[0] for names in (*NAMES.values(), *PREFIXES.values())),
        *("model", "stock code", "gtin", "ean", "name", "price", "stock", "vat"),
    )
)
_IGNORED: Final = {key_of(name) for name in REFUSED_COLUMNS}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each field stands. ``at`` holds plain fields; named ones are kept by their name."""

    columns: tuple[str, ...]
    at: Mapping[str, int]
    titles: Mapping[str, int]
    descriptions: Mapping[str, int]
    attributes: Mapping[str, int]
    product_attributes: Mapping[str, int]
    unknown: tuple[str, ...] = ()
    lone_descriptions: tuple[str, ...] = ()

    @property
    def numeric(self) -> Iterator[tuple[str, int]]:
        """Column name and place of every numeric field that the file has."""
        return ((self.columns[place], place) for fld, place in self.at.items() if fld in NUMERIC)


@dataclass(slots=True)
class _Places:
    at: dict[str, int] = field(default_factory=dict)
    named: dict[str, dict[str, int]] = field(
        default_factory=lambda: {fld: {} for fld in PREFIXES},
    )

    def put(self, home: dict[str, int], name: str, place: int, column: str) -> None:
        if name in home:
            raise FileRefused(Reason.HEADER_TWICE, column=column)
        home[name] = place


def recognized_count(header: Sequence[str]) -> int:
    """How many cells of a header we know: the measure by which the delimiter is found."""
    return sum(
        key_of(cell) in _FIELD_OF or key_of(cell.partition(":")[0]) in _PREFIX_OF for cell in header
    )


def header_language(header: Sequence[str]) -> str | None:
    """``en`` or ``tr``, whichever more names of the header are in; None where that is neither."""
    counts = {"en": 0, "tr": 0}
    for cell in header:
        key = key_of(cell.partition(":")[0])
        if (fld := _FIELD_OF.get(key) or _PREFIX_OF.get(key)) is not None:
            english, turkish = (NAMES.get(fld) or PREFIXES[fld])[:2]
            # "SKU", "desi" and the like are the same in both.
            if key_of(english) != key_of(turkish):
                counts["en"] += key in _ENGLISH
                counts["tr"] += key not in _ENGLISH
    if counts["en"] == counts["tr"]:
        return None
    return max(counts, key=counts.__getitem__)


def lay_out(header: Sequence[str], language: str) -> Layout:
    """The layout of a file with this header. Raises: FileRefused.

    ``language`` is that of the columns ``title`` and ``description`` without one of their own.
    """
    columns = tuple(cell.strip() or f"column {place + 1}" for place, cell in enumerate(header))
    places = _Places()
    unknown: list[str] = []
    for place, column in enumerate(columns):
        prefix, colon, name = column.partition(":")
        plain = _FIELD_OF.get(key_of(column))
        if plain in ("title", "description"):
            places.put(places.named[plain], language, place, column)
        elif plain is not None:
            places.put(places.at, plain, place, column)
        elif colon and name.strip() and (home := _PREFIX_OF.get(key_of(prefix))):
            tag = name.strip()
            if home in ("title", "description"):
                tag = tag.lower()
            places.put(places.named[home], tag, place, column)
        elif key_of(column) not in _IGNORED and header[place].strip():
            unknown.append(column)
    if "sku" not in places.at:
        raise FileRefused(Reason.HEADER_NO_SKU)
    titles, descriptions = places.named["title"], places.named["description"]
    lone = [tag for tag in descriptions if tag not in titles]
    return Layout(
        columns=columns,
        at=places.at,
        titles=titles,
        descriptions={tag: place for tag, place in descriptions.items() if tag in titles},
        attributes=places.named["attributes"],
        product_attributes=places.named["product_attributes"],
        unknown=tuple(unknown),
        lone_descriptions=tuple(columns[descriptions[tag]] for tag in lone),
    )
