"""The words of the demo catalog: what the shop sells, under invented brands.

Prices are gross lira ranges in whole tens; weights in grams; desi as carriers round it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

# Coined; none is meant to be anyone's. Twenty, as shops of this size list.
BRANDS: Final = (
    *("Avlunya", "Bezenka", "Çıngılan", "Dalvira", "Esvapse", "Fırdönel", "Göynekli", "Hırkalya"),
    *("Işılbez", "İnceyünel", "Kumaştra", "Lodosel", "Mırnavi", "Nakışör", "Örgünaz", "Pabuçsa"),
    *("Rüzgelin", "Şalvarya", "Tılsımel", "Yünüşka"),
)
COLORS: Final = (
    ("Lacivert", "Navy"),
    ("Bordo", "Burgundy"),
    ("Siyah", "Black"),
    ("Ekru", "Ecru"),
    ("Haki", "Khaki"),
    ("Gül Kurusu", "Dusty Rose"),
    ("Açık Gri", "Light Grey"),
    ("Hardal", "Mustard"),
)

# Option values as they read, and as they must stand in a generated SKU.
CLOTHING_SIZES: Final = (("XS", "XS"), ("S", "S"), ("M", "M"), ("L", "L"), ("XL", "XL"))
SHOE_SIZES: Final = tuple((str(size), str(size)) for size in range(36, 42))
BED_SIZES: Final = (
    ("Tek Kişilik", "TEKKISILIK"),
    ("Çift Kişilik", "CIFTKISILIK"),
    ("King Size", "KINGSIZE"),
)
TONES: Final = (
    ("01 Şeftali", "01SEFTALI"),
    ("02 Gül", "02GUL"),
    ("03 Vişne", "03VISNE"),
    ("04 Kızıl", "04KIZIL"),
    ("05 Toprak", "05TOPRAK"),
)
CASE_COLORS: Final = (("Siyah", "SIYAH"), ("Şeffaf", "SEFFAF"), ("Mürdüm", "MURDUM"))


class Shape(Enum):
    """How a kind of goods stands in the shop."""

    COLOR_PAGES = "color pages"  # one page a color, sizes as option
    OPTION = "option"
    VARIANT_PAGES = "variant pages"  # a master page and one page a color (master_id)
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of goods. ``weight`` is its share among the products."""

    prefix: str
    first_number: int
    path: tuple[str, ...]
    noun: str
    noun_en: str
    traits: tuple[str, ...]
    vat_percent: int
    price_from: int
    price_to: int
    weight_g: int
    desi: Decimal
    shape: Shape
    weight: int
    option: str = ""
    values: tuple[tuple[str, str], ...] = ()
    attribute: str = ""
    attribute_values: tuple[str, ...] = ()


_KNIT: Final = ("Yün", "Pamuk", "Akrilik")
_CLOTH: Final = ("Pamuk", "Viskon", "Keten")


def _apparel(  # one line a kind, in the order of Kind
    prefix: str, first_number: int, path: tuple[str, ...], nouns: tuple[str, str],
    traits: tuple[str, ...], prices: tuple[int, int], fabrics: tuple[str, ...],
) -> Kind:  # fmt: skip
    return Kind(
        prefix, first_number, ("Giyim", *path), *nouns, traits, 10, *prices, 380, Decimal(2),
        Shape.COLOR_PAGES, 30, "Beden", CLOTHING_SIZES, "Kumaş", fabrics,
    )  # fmt: skip


KINDS: Final = (
    _apparel("KZK", 1041, ("Kadın", "Kazak"), ("Kazak", "Sweater"),
             ("Balıkçı Yaka", "V Yaka", "Örgü Desenli", "Salaş"), (590, 1490), _KNIT),
    _apparel("ELB", 1201, ("Kadın", "Elbise"), ("Elbise", "Dress"),
             ("Midi", "Kuşaklı", "Çiçekli", "Uzun Kollu"), (690, 1890), _CLOTH),
    _apparel("ETK", 1301, ("Kadın", "Etek"), ("Etek", "Skirt"),
             ("Pileli", "Kalem", "Düğmeli"), (390, 990), _CLOTH),
    _apparel("GML", 1401, ("Erkek", "Gömlek"), ("Gömlek", "Shirt"),
             ("Dar Kesim", "Oduncu", "Hâkim Yaka"), (490, 1190), _CLOTH),
    _apparel("PNT", 1501, ("Erkek", "Pantolon"), ("Pantolon", "Trousers"),
             ("Kargo", "Pileli", "Beli Lastikli"), (590, 1390), _CLOTH),
    _apparel("TSR", 1601, ("Çocuk", "Tişört"), ("Tişört", "T-Shirt"),
             ("Baskılı", "Çizgili", "Cepli"), (190, 490), ("Pamuk",)),
    Kind("BOT", 2001, ("Ayakkabı", "Kadın", "Bot"), "Bot", "Boots",
         ("Bağcıklı", "Fermuarlı", "İçi Peluş"), 10, 1290, 2990, 1100, Decimal(5),
         Shape.COLOR_PAGES, 30, "Numara", SHOE_SIZES, "Dış Materyal", ("Deri", "Süet")),
    Kind("SPR", 2201, ("Ayakkabı", "Erkek", "Spor Ayakkabı"), "Spor Ayakkabı", "Sneakers",
         ("Hafif Taban", "Fileli", "Yüksek Bilek"), 10, 990, 2490, 900, Decimal(5),
         Shape.COLOR_PAGES, 30, "Numara", SHOE_SIZES, "Dış Materyal", ("Tekstil", "Deri")),
    Kind("KLF", 3001, ("Telefon Aksesuarları", "Kılıf"), "Telefon Kılıfı", "Phone Case",
         ("Darbe Emici", "Cüzdanlı", "İnce"), 20, 149, 449, 60, Decimal(1),
         Shape.VARIANT_PAGES, 70, "Renk", CASE_COLORS, "Ekran Boyutu", ("6,1 inç", "6,7 inç")),
    Kind("SRJ", 3201, ("Telefon Aksesuarları", "Şarj Aleti"), "Şarj Aleti", "Charger",
         ("20 W", "45 W", "Çift Çıkışlı"), 20, 249, 899, 140, Decimal(1),
         Shape.SINGLE, 70, attribute="Bağlantı", attribute_values=("USB-C", "USB-A")),
    Kind("NML", 4001, ("Kozmetik", "Cilt Bakımı", "Nemlendirici"), "Nemlendirici Krem",
         "Moisturizer", ("Kuru Ciltler İçin", "Yağlı Ciltler İçin", "Gece"), 20, 199, 690, 120,
         Decimal(1), Shape.SINGLE, 60, attribute="Hacim", attribute_values=("50 ml", "100 ml")),
    Kind("RUJ", 4201, ("Kozmetik", "Makyaj", "Ruj"), "Mat Ruj", "Matte Lipstick",
         ("Uzun Süre Kalıcı", "Nemlendiren", "Kadife Bitişli"), 20, 129, 390, 30, Decimal(1),
         Shape.OPTION, 60, "Renk Tonu", TONES, "Bitiş", ("Mat", "Kadife")),
    Kind("KTP", 5001, ("Kitap", "Roman"), "Roman", "Novel",
         ("Kayıp Değirmenin", "Son Vapurun", "Sarı Defterin", "Rüzgârlı Tepenin"), 1, 120, 390,
         320, Decimal(1), Shape.SINGLE, 120, attribute="Cilt", attribute_values=("Karton", "Sert")),
    Kind("NVR", 6001, ("Ev Tekstili", "Nevresim Takımı"), "Nevresim Takımı", "Bedding Set",
         ("Saten", "Ranforce", "Çiçek Desenli"), 10, 690, 2290, 1900, Decimal(8),
         Shape.OPTION, 60, "Ölçü", BED_SIZES, "Kumaş", ("Pamuk Saten", "Ranforce")),
    Kind("HVL", 6201, ("Ev Tekstili", "Havlu"), "Havlu", "Towel",
         ("Bambu", "Püsküllü", "Jakarlı"), 10, 149, 590, 420, Decimal(2),
         Shape.SINGLE, 40, attribute="Ölçü", attribute_values=("50×90 cm", "70×140 cm")),
)  # fmt: skip

SET_PATH: Final = ("Ev Tekstili", "Setler")
CATEGORY_PATHS: Final = tuple(
    dict.fromkeys((*(" > ".join(kind.path) for kind in KINDS), " > ".join(SET_PATH)))
)
"""Every category path of the generated catalog, as the merchant writes it."""

COLOR: Final = "Renk"
ATTRIBUTE_VALUES: Final[dict[str, tuple[str, ...]]] = {}
"""Attribute or option name → every value the generator uses, for mapping to marketplaces."""
for _kind in KINDS:
    _named = {
        _kind.option: tuple(value for value, _ in _kind.values),
        _kind.attribute: _kind.attribute_values,
    }
    if _kind.shape is Shape.COLOR_PAGES:
        _named[COLOR] = tuple(name for name, _ in COLORS)
    for _name, _values in _named.items():
        if _name:
            _known = ATTRIBUTE_VALUES.get(_name, ())
            ATTRIBUTE_VALUES[_name] = tuple(dict.fromkeys((*_known, *_values)))
