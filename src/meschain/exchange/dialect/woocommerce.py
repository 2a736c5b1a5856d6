"""The product CSV of WooCommerce, exported in English or Turkish.

A variable product has a row of its own; its variations name it by SKU, or by ``id:`` and number
where it has none, and inherit weight and size from it. Prices have no currency and are taken as
they stand. Sources: woocommerce/woocommerce, ``class-wc-product-csv-exporter.php`` (columns, types,
statuses, ``parent`` stock, escaping of commas and line ends) and ``abstract-wc-csv-exporter.php``
(apostrophe before =, +, −, @); Turkish column names from exports of shops in Turkish.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

from meschain.exchange.dialect.base import (
    NO_SEPARATORS,
    Cells,
    Header,
    Left,
    Line,
    Stated,
    left_out,
)
from meschain.exchange.dialect.unit import LENGTH_UNITS, WEIGHT_UNITS, grams, millimeters
from meschain.exchange.fault import Fault
from meschain.exchange.neutral import restored
from meschain.exchange.number import read_decimal
from meschain.exchange.reason import Reason
from meschain.exchange.record import FileRefused, ReadingOptions, SourceKind
from meschain.exchange.sheet.column import key_of

# Column → its names, English first. The second half is known and not needed.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("ID", "Kimlik"),
    "type": ("Type", "Tür"),
    "sku": ("SKU", "Stok kodu (SKU)", "Stok kodu"),
    "barcode": ("GTIN, UPC, EAN, or ISBN", "GTIN, UPC, EAN veya ISBN"),
    "name": ("Name", "İsim"),
    "published": ("Published", "Yayımlanmış"),
    "short_description": ("Short description", "Kısa açıklama"),
    "description": ("Description", "Açıklama"),
    "sale_from": ("Date sale price starts", "İndirimli fiyatın başladığı tarih"),
    "sale_to": ("Date sale price ends", "İndirimli fiyatın bittiği tarih"),
    "in_stock": ("In stock?", "Stokta?"),
    "stock": ("Stock", "Stok"),
    "sale_price": ("Sale price", "İndirimli satış fiyatı"),
    "regular_price": ("Regular price", "Normal fiyat"),
    "cost": ("Cost of goods",),
    "categories": ("Categories", "Kategoriler"),
    "images": ("Images", "Görseller"),
    "parent": ("Parent", "Ebeveyn"),
    "grouped": ("Grouped products", "Gruplanmış ürünler"),
    "brands": ("Brands", "Markalar"),
}
_NOT_NEEDED: Final = (
    *("Is featured?", "Öne çıkan?", "Visibility in catalog", "Katalogda görünürlük"),
    *("Tax status", "Vergi durumu", "Tax class", "Vergi sınıfı"),
    *("Low stock amount", "Düşük stok miktarı"),
    *("Backorders allowed?", "Yok satmaya izin?", "Ön Siparişe İzin Ver?"),
    *("Sold individually?", "Ayrı ayrı mı satılıyor?", "Allow customer reviews?"),
    "Müşteri değerlendirmelerine izin verilsin mi?",
    "Müşteri incelemelerine izin verilsin mi?",
    *("Purchase note", "Satın alma notu", "Tags", "Etiketler", "Shipping class", "Gönderim sınıfı"),
    *("Download limit", "İndirme sınırı", "Download expiry days", "İndirme sona erme günü"),
    *("Upsells", "Yukarı satışlar", "Cross-sells", "Çapraz satışlar", "External URL"),
    *("Harici URL", "Button text", "Düğme metni", "Position", "Konum"),
)
_MEASURES: Final[Mapping[str, tuple[str, ...]]] = {
    "weight_g": ("weight", "agirlik"),
    "length_mm": ("length", "uzunluk"),
    "width_mm": ("width", "genislik"),
    "height_mm": ("height", "yukseklik"),
}
_MEASURE: Final = re.compile(r"(?P<name>[^(]+?)\s*(?:\((?P<unit>[^)]*)\))?")
_ATTRIBUTE: Final = re.compile(
    r"(?:attribute|nitelik) (?P<number>[0-9]{1,3}) (?P<part>name|ismi|value s|deger ler i|.+)"
)
_UNUSED: Final = re.compile(r"(?:meta:|download [0-9]|indirme [0-9])")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_COMMA: Final = re.compile(r"(?<!\\),")
_DIGITAL: Final = frozenset({"virtual", "downloadable"})
_PUBLISHED: Final = frozenset({"1", ""})
_SIMPLE: Final = frozenset({"simple", ""})


def recognized_count(header: Sequence[str]) -> int:
    """How many names of this header WooCommerce writes; 0 where type and SKU are not among them."""
    return Header(header).recognized_count(_NAMES, "type", "sku")


class WooCommerceDialect:
    kind = SourceKind.WOOCOMMERCE
    is_by_product = True
    own_separators = NO_SEPARATORS

    def __init__(self, header: Sequence[str], options: ReadingOptions) -> None:
        """Raises: FileRefused."""
        found = Header(header)
        self.columns = found.columns
        self._options = options
        self._at = found.places(_NAMES)
        if "sku" not in self._at:
            raise FileRefused(Reason.HEADER_NO_SKU)
        self.sku_place: int = self._at["sku"]
        self.barcode_place = self._at.get("barcode")
        self._measures = self._find_measures()
        self._attributes = self._find_attributes()
        used = {*self._at.values(), *(place for place, _ in self._measures.values())}
        self.used = frozenset(used.union(*self._attributes))
        ignored = {key_of(name) for name in _NOT_NEEDED}
        self.remarks = left_out(
            column
            for place, column in enumerate(self.columns)
            if header[place].strip()
            and place not in self.used
            and (key := key_of(column)) not in ignored
            and not _ATTRIBUTE.fullmatch(key)
            and not _UNUSED.match(key)
        )
        numeric = [
            self._at[each]
            for each in ("regular_price", "sale_price", "cost", "stock")
            if each in self._at
        ]
        numeric += [place for place, _ in self._measures.values()]
        self.numeric = [(self.columns[place], place) for place in numeric]
        english = {key_of(names[0]) for names in _NAMES.values()}
        in_english = sum(key_of(self.columns[place]) in english for place in self._at.values())
        self.header_language = "en" if in_english * 2 > len(self._at) else "tr"
        self._cells = Cells(self._said_names(), options.language)
        self.layout = self._cells.layout

    def _find_measures(self) -> dict[str, tuple[int, str]]:
        """Field → place and unit; the unit stands in the header, "Weight (kg)"."""
        found: dict[str, tuple[int, str]] = {}
        for place, column in enumerate(self.columns):
            parts = _MEASURE.fullmatch(column)
            for fld, names in _MEASURES.items():
                if parts is not None and key_of(parts["name"]) in names:
                    found.setdefault(fld, (place, (parts["unit"] or "").strip().lower()))
        return found

    def _find_attributes(self) -> list[tuple[int, int]]:
        """Places of name and value of each numbered attribute, in order."""
        names: dict[int, int] = {}
        values: dict[int, int] = {}
        for place, column in enumerate(self.columns):
            found = _ATTRIBUTE.fullmatch(key_of(column))
            if found is None:
                continue
            if found["part"] in ("name", "ismi"):
                names[int(found["number"])] = place
            elif found["part"] in ("value s", "deger ler i"):
                values[int(found["number"])] = place
        return [(names[number], values[number]) for number in sorted(names.keys() & values.keys())]

    def _said_names(self) -> dict[str, str]:
        """Our fields that this file can fill → the column to name in messages."""
        sources = {
            "sku": "sku",
            "barcode": "barcode",
            "title": "name",
            "brand": "brands",
            "category": "categories",
            "list_price": "regular_price",
            "sale_price": "sale_price",
            "cost": "cost",
            "product_image_urls": "images",
            "image_urls": "images",
        }
        names = {fld: self.columns[self._at[at]] for fld, at in sources.items() if at in self._at}
        if "description" in self._at or "short_description" in self._at:
            place = self._at.get("description", self._at.get("short_description", 0))
            names["description"] = self.columns[place]
        if "stock" in self._at or "in_stock" in self._at:
            names["quantity"] = self.columns[self._at.get("stock", self._at.get("in_stock", 0))]
        if "regular_price" in self._at:
            names.setdefault("sale_price", names["list_price"])
        names.update({fld: self.columns[place] for fld, (place, _) in self._measures.items()})
        return names

    def _get(self, line: Line, column: str) -> str:
        place = self._at.get(column)
        return _plain(line.cells[place]) if place is not None else ""

    def _types(self, cells: Sequence[str]) -> tuple[str, set[str]]:
        place = self._at.get("type")
        given = "" if place is None else cells[place]
        parts = [part.strip().lower() for part in given.split(",")]
        kinds = [part for part in parts if part not in _DIGITAL]
        return (kinds[0] if kinds else ""), {*parts} & _DIGITAL

    def key(self, cells: Sequence[str]) -> str:
        kind, _ = self._types(cells)
        if kind == "variation" and "parent" in self._at:
            return f"of {_plain(cells[self._at['parent']])}"
        sku = _plain(cells[self.sku_place])
        identity = cells[self._at["id"]].strip() if "id" in self._at else ""
        own = sku or f"id:{identity}"
        return f"of {own}" if kind == "variable" else f"{kind} {own}"

    def translate(
        self, lines: Sequence[Line], separators: Mapping[str, str]
    ) -> Iterator[Stated | Left]:
        by_kind: dict[str, list[Line]] = {}
        for line in lines:
            by_kind.setdefault(self._types(line.cells)[0], []).append(line)
        variations = by_kind.get("variation", [])
        parents = by_kind.get("variable", [])
        if parents or variations:
            yield from self._variable(parents, variations, separators)
        for kind, each in by_kind.items():
            if kind not in ("variable", "variation"):
                for line in each:
                    yield self._alone(kind, line, separators)

    def _variable(
        self, parents: list[Line], variations: list[Line], separators: Mapping[str, str]
    ) -> Iterator[Stated | Left]:
        if not parents:
            for line in variations:
                named = self._get(line, "parent") or "–"
                yield Left(line, Fault(Reason.VARIANT_NO_PARENT, parent=named))
            return
        parent = parents[0]
        for line in parents[1:]:
            yield Left(line, Fault(Reason.SKU_DUPLICATE, row=str(parent.number)))
        if not self._is_published(parent):
            for line in (parent, *variations):
                yield Left(line, Fault(Reason.PRODUCT_DISABLED))
            return
        if not variations:
            yield Left(parent, Fault(Reason.PRODUCT_NO_VARIANTS))
            return
        chosen = {name for line in variations for name, _ in self._named(line)}
        shared = {name: value for name, value in self._named(parent) if name not in chosen}
        identity = self._get(parent, "sku") or self._get(parent, "id")
        yield Stated(
            parent,
            self._cells.row(self._of_product(parent)),
            identity,
            product_attributes=shared,
            sells=False,
        )
        for line in variations:
            yield self._variation(line, parent, identity, separators)

    def _variation(
        self, line: Line, parent: Line, model: str, separators: Mapping[str, str]
    ) -> Stated | Left:
        if not self._is_published(line):
            return Left(line, Fault(Reason.PRODUCT_DISABLED))
        try:
            remarks: list[Fault] = []
            fields = {
                **self._measured(parent, separators, remarks),
                **self._measured(line, separators, remarks),
                **self._of_variant(line, remarks),
                "image_urls": "|".join(_several(self._get(line, "images"))),
            }
        except Fault as fault:
            return Left(line, fault)
        return Stated(
            line,
            self._cells.row(fields),
            model,
            attributes=dict(self._named(line)),
            remarks=remarks,
        )

    def _alone(self, kind: str, line: Line, separators: Mapping[str, str]) -> Stated | Left:
        if kind == "grouped":
            members = self._get(line, "grouped") or "–"
            return Left(line, Fault(Reason.PRODUCT_GROUPED, members=members), is_refused=False)
        if kind not in _SIMPLE:
            return Left(line, Fault(Reason.PRODUCT_KIND, kind=kind))
        if not self._is_published(line):
            return Left(line, Fault(Reason.PRODUCT_DISABLED))
        try:
            remarks: list[Fault] = []
            fields = {
                **self._of_product(line),
                **self._measured(line, separators, remarks),
                **self._of_variant(line, remarks),
            }
        except Fault as fault:
            return Left(line, fault)
        if self._types(line.cells)[1]:
            remarks.append(Fault(Reason.PRODUCT_DIGITAL))
        return Stated(
            line,
            self._cells.row(fields),
            product_attributes=dict(self._named(line)),
            remarks=remarks,
        )

    def _is_published(self, line: Line) -> bool:
        return self._options.include_disabled or self._get(line, "published") in _PUBLISHED

    def _of_product(self, line: Line) -> dict[str, str]:
        description = self._get(line, "description") or self._get(line, "short_description")
        categories = _several(self._get(line, "categories"))
        return {
            "title": self._get(line, "name"),
            "description": _lines(description),
            "brand": next(iter(_several(self._get(line, "brands"))), ""),
            # The deepest says most; of equally deep ones the first.
            "category": max(categories, key=lambda path: path.count(">"), default=""),
            "product_image_urls": "|".join(_several(self._get(line, "images"))),
        }

    def _of_variant(self, line: Line, remarks: list[Fault]) -> dict[str, str]:
        regular = _led(self._get(line, "regular_price"))
        sale = _led(self._get(line, "sale_price"))
        if sale and not self._is_on_sale(line, remarks):
            sale = ""
        return {
            "sku": self._get(line, "sku"),
            "barcode": self._get(line, "barcode"),
            "list_price": regular,
            "sale_price": sale or regular,
            "cost": _led(self._get(line, "cost")),
            "quantity": self._quantity(line, remarks),
        }

    def _is_on_sale(self, line: Line, remarks: list[Fault]) -> bool:
        for column, is_later in (("sale_from", True), ("sale_to", False)):
            given = self._get(line, column)
            if not given:
                continue
            try:
                day = date.fromisoformat((_DATE.match(given) or [""])[0])
            except ValueError:
                remarks.append(Fault(Reason.PRICE_SPECIAL_DATES, value=given))
                return False
            if day > self._options.today if is_later else day < self._options.today:
                return False
        return True

    def _quantity(self, line: Line, remarks: list[Fault]) -> str:
        stock = self._get(line, "stock")
        if stock == "parent":
            # The variations share one count, and nothing says how many of each there are.
            remarks.append(Fault(Reason.STOCK_SHARED))
            return ""
        if stock.startswith("-"):
            remarks.append(Fault(Reason.STOCK_NEGATIVE, quantity=stock))
            return "0"
        return stock or ("0" if self._get(line, "in_stock") in ("0", "backorder") else "")

    def _measured(
        self, line: Line, separators: Mapping[str, str], remarks: list[Fault]
    ) -> dict[str, str]:
        """Weight and size that the line states. Raises: Fault."""
        stated: dict[str, str] = {}
        for fld, (place, unit) in self._measures.items():
            cell = _led(line.cells[place].strip())
            if not cell:
                continue
            if unit not in (WEIGHT_UNITS if fld == "weight_g" else LENGTH_UNITS):
                column = self.columns[place]
                remarks.append(Fault(Reason.MEASURE_UNIT_UNKNOWN, column=column, value=cell))
                continue
            amount = read_decimal(cell, self.columns[place], separators)
            convert = grams if fld == "weight_g" else millimeters
            if converted := convert(amount, unit):
                stated[fld] = converted
        return stated

    def _named(self, line: Line) -> Iterator[tuple[str, str]]:
        """Attributes with a value; several values of one are joined as a person would."""
        for name_place, value_place in self._attributes:
            name = _plain(line.cells[name_place])
            values = _several(_plain(line.cells[value_place]))
            if name and values:
                yield name, ", ".join(values)

    def raw_row(self, line: Line, _: Line | None) -> Mapping[str, str]:
        return dict(zip(self.columns, line.cells, strict=True))


def _plain(cell: str) -> str:
    """The cell without the apostrophe that keeps spreadsheets from computing it."""
    return restored(cell.strip())


def _led(number: str) -> str:
    """``.5`` as ``0.5``."""
    return f"0{number}" if number[:1] in (".", ",") else number


def _several(cell: str) -> list[str]:
    """The values of a cell, separated by commas; one inside a value has a backslash before it."""
    parts = (part.replace("\\,", ",").strip() for part in _COMMA.split(cell))
    return [part for part in parts if part]


def _lines(description: str) -> str:
    r"""Line ends are exported as ``\n``, and a ``\n`` that was meant as ``\\n``."""
    if "\\n" not in description:
        return description
    parts = description.split("\\\\n")
    return "\\n".join(part.replace("\\n", "\n") for part in parts)
