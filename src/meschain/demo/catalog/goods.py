"""The goods behind both files, drawn from a seed: pages, variants, prices, stock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from meschain.demo.catalog.words import BRANDS, COLOR, COLORS, KINDS, SET_PATH, Kind, Shape
from meschain.domain.text import turkish_lower

# Both prefixes are unassigned numbers of our choosing; the second begins with a zero, as UPC codes
# do when they are written with thirteen digits.
_EAN_PREFIX: Final = "8699999"
_ZERO_PREFIX: Final = "0799999"
STORY_SKU: Final = "KZK-1042-M"
"""The sweater of the demo's one sale told in time: in every catalog, its last unit."""
_COLORS_PER_STYLE_MAX: Final = 3
VARIANTS_PER_PRODUCT: Final = Decimal("3.7")
"""Variants an average product has, for choosing the number of products to a number of SKUs."""


@dataclass(frozen=True, slots=True)
class Item:
    """A variant. Prices are gross lira; ``value`` is the option value, empty without options."""

    sku: str
    value: str
    barcode: str
    list_price: Decimal
    sale_price: Decimal
    cost: Decimal
    quantity: int
    desi: Decimal
    weight_g: int
    bundle: str = ""


@dataclass(frozen=True, slots=True)
class Good:
    """A product as the shop shows it. ``special``: ``none``, ``active`` or ``over``."""

    kind: Kind
    model: str
    title: str
    title_en: str
    brand: str
    path: tuple[str, ...]
    attributes: dict[str, str]
    items: tuple[Item, ...]
    special: str = "none"
    status: bool = True

    @property
    def description(self) -> str:
        lines = "".join(f"<li>{name}: {value}</li>" for name, value in self.attributes.items())
        return (
            f"<p>{self.brand} imzalı {turkish_lower(self.title)}; kutusunda &quot;bakım kartı&quot;"
            f" var.</p>\r\n<ul>{lines}</ul>\r\n<!-- 'stok' notu); silinmesin -->"
        )


@dataclass(slots=True)
class _Codes:
    """Barcodes in turn: a third are the shop's own, the others GTINs with a true check digit."""

    issued: int = 0

    def issue(self, kind: Kind) -> str:
        self.issued += 1
        if self.issued % 3 == 0:
            return f"DP{kind.prefix}{self.issued:06d}"
        prefix = _ZERO_PREFIX if kind.path[0] == "Kozmetik" else _EAN_PREFIX
        body = f"{prefix}{self.issued % 100_000:05d}"
        weighted = sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(body))
        return f"{body}{(10 - weighted % 10) % 10}"


@dataclass(slots=True)
class Shop:
    """Draws goods; the same seed draws the same goods."""

    seed: int
    codes: _Codes = field(default_factory=_Codes)
    numbers: dict[str, int] = field(default_factory=dict)

    def goods(self, count: int) -> list[Good]:
        """``count`` products, kinds mixed by their weights."""
        random_ = random.Random(self.seed)  # noqa: S311  # goods, not secrets
        drawn: list[Good] = []
        # The first style is always the sweater that the demo tells its story about.
        kinds = [KINDS[0]]
        while len(drawn) < count:
            kind = kinds.pop() if kinds else random_.choices(
                KINDS, [kind.weight for kind in KINDS]
            )[0]  # fmt: skip
            drawn.extend(self._style(kind, random_))
        return drawn[:count]

    def sets(self, goods: list[Good], count: int) -> list[Good]:
        """Sets of two of a single item, which only the spreadsheet can say."""
        single = [good for good in goods if good.kind.prefix == "HVL"]
        return [self._set_of_two(good) for good in single[:count]]

    def _style(self, kind: Kind, random_: random.Random) -> Iterator[Good]:
        trait = random_.choice(kind.traits)
        brand = random_.choice(BRANDS)
        price = Decimal(random_.randrange(kind.price_from, kind.price_to, 10)) + Decimal("9.90")
        attributes = {kind.attribute: random_.choice(kind.attribute_values)}
        colors: list[tuple[str, str]] = [("", "")]
        if kind.shape is Shape.COLOR_PAGES:
            colors = random_.sample(COLORS, random_.randint(2, _COLORS_PER_STYLE_MAX))
        for color, color_en in colors:
            number = self.numbers.get(kind.prefix, kind.first_number)
            self.numbers[kind.prefix] = number + 1
            model = f"{kind.prefix}-{number}"
            special = random_.choices(("none", "active", "over"), (55, 38, 7))[0]
            yield Good(
                kind=kind,
                model=model,
                title=" ".join(filter(None, (trait, kind.noun, color))),
                title_en=" ".join(filter(None, (color_en, kind.noun_en, str(number)))),
                brand=brand,
                path=kind.path,
                attributes=attributes | ({COLOR: color} if color else {}),
                items=tuple(self._items(kind, model, price, special, random_)),
                special=special,
            )

    def _items(
        self, kind: Kind, model: str, price: Decimal, special: str, random_: random.Random
    ) -> Iterator[Item]:
        off = Decimal(random_.choice((10, 15, 20, 25))) / 100
        for place, (value, part) in enumerate(kind.values or (("", ""),)):
            # The larger bed costs and weighs more: options with price and weight prefixes.
            step = place if kind.option == "Ölçü" else 0
            list_price = price + 200 * step
            sale_price = list_price
            if special == "active":
                sale_price = _kurus(price * (1 - off)) + 200 * step
            sku = f"{model}-{part}" if part else model
            quantity = random_.choice((0, 1, 2, 3, 5, 8, 12, 20, 35))
            yield Item(
                sku=sku,
                value=value,
                barcode=self.codes.issue(kind),
                list_price=list_price,
                sale_price=sale_price,
                cost=_kurus(price * Decimal("0.45")),
                quantity=1 if sku == STORY_SKU else quantity,
                desi=kind.desi,
                weight_g=kind.weight_g + 300 * step,
            )

    def _set_of_two(self, good: Good) -> Good:
        item = good.items[0]
        pair = replace(
            item,
            sku=f"SET2-{item.sku}",
            barcode=self.codes.issue(good.kind),
            list_price=item.list_price * 2,
            sale_price=_kurus(item.sale_price * 2 * Decimal("0.9")),
            cost=item.cost * 2,
            desi=item.desi * 2,
            weight_g=item.weight_g * 2,
            bundle=f"{item.sku}*2",
        )
        return replace(
            good, model=pair.sku, title=f"2'li {good.title} Seti", path=SET_PATH, items=(pair,)
        )


def _kurus(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
