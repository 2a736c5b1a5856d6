"""What goes out as files: the catalog, stock, prices and orders.

Each is read page by page out of one snapshot: an import that runs meanwhile moves nothing past it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meschain.app.commands.import_products import LocationUnknown
from meschain.domain.catalog import Content, ProductDraft, VariantDraft
from meschain.domain.money import Money
from meschain.exchange.out.layout import amount, exact

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

    from meschain.store.unit_of_work import Database, UnitOfWork

_PRODUCTS: Final = 500
_ROWS: Final = 5_000
_ORDERS: Final = 500
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)

Row = Mapping[str, str]
"""Column → cell; numbers with a decimal point."""


class _Variant(msgspec.Struct, frozen=True):
    sku: str
    barcode: str | None
    attributes: dict[str, str]
    currency: str
    list_price_minor: int | None
    sale_price_minor: int | None
    cost_minor: int | None
    vat_percent: Decimal | None
    desi: Decimal | None
    weight_g: int | None
    length_mm: int | None
    width_mm: int | None
    height_mm: int | None
    handling_days: int | None
    origin_country: str | None
    image_urls: tuple[str, ...]
    bundle: dict[str, int] | None
    on_hand: int | None

    def draft(self) -> VariantDraft:
        def money(minor: int | None) -> Money | None:
            return None if minor is None else Money(minor, self.currency)

        vat = self.vat_percent
        return VariantDraft(
            sku=self.sku,
            barcode=self.barcode,
            attributes=self.attributes,
            list_price=money(self.list_price_minor),
            sale_price=money(self.sale_price_minor),
            cost=money(self.cost_minor),
            quantity=self.on_hand,
            vat_percent=vat if vat is None or vat % 1 else vat.quantize(Decimal(1)),
            desi=self.desi,
            weight_g=self.weight_g,
            length_mm=self.length_mm,
            width_mm=self.width_mm,
            height_mm=self.height_mm,
            handling_days=self.handling_days,
            origin_country=self.origin_country,
            image_urls=self.image_urls,
            bundle=self.bundle or {},
        )


_CONTENTS: Final = msgspec.json.Decoder(list[Content])
_VARIANTS: Final = msgspec.json.Decoder(list[_Variant])
_ATTRIBUTES: Final = msgspec.json.Decoder(dict[str, str])


async def location_id(database: Database, merchant_id: int, code: str | None) -> int:
    """The place of that code, None: the default one. Raises: LocationUnknown."""
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("stock.location", {"merchant": merchant_id, "location": code})
    if row is None:
        raise LocationUnknown(code or "")
    return int(row[0])


async def products(
    database: Database, merchant_id: int, *, location: int
) -> AsyncIterator[ProductDraft]:
    """The catalog as an import would state it, with the units counted at ``location``."""
    params = {"merchant": merchant_id, "location": location, "limit": _PRODUCTS}
    async with database.frozen(merchant_id) as unit:
        async for row in _pages(unit, "export.products", params):
            _, model_code, brand, category, attributes, contents, images, variants = row
            yield ProductDraft(
                model_code=model_code,
                brand=brand or None,
                category=category or None,
                contents=tuple(_CONTENTS.decode(contents)),
                variants=tuple(each.draft() for each in _VARIANTS.decode(variants)),
                attributes=_ATTRIBUTES.decode(attributes),
                image_urls=tuple(images),
            )


async def _pages(
    unit: UnitOfWork, name: str, params: Mapping[str, object]
) -> AsyncIterator[TupleRow]:
    """All rows of a query, by pages; the first column is the key."""
    after = 0
    while True:
        rows = await unit.rows(name, {**params, "after": after})
        for row in rows:
            yield row
        if len(rows) < int(str(params["limit"])):
            return
        after = rows[-1][0]


STOCK_COLUMNS: Final = (
    *("sku", "location", "title", "quantity", "reserved", "safety_stock", "available"),
)
STOCK_NUMERIC: Final = frozenset({"quantity", "reserved", "safety_stock", "available"})


async def stock(
    database: Database, merchant_id: int, *, location: int | None
) -> AsyncIterator[Row]:
    """Units by SKU and place, everywhere or at one."""
    place = (0, 0)
    async with database.frozen(merchant_id) as unit:
        while True:
            params = {
                "merchant": merchant_id,
                "location": location,
                "after": place[0],
                "after_place": place[1],
                "limit": _ROWS,
            }
            rows = await unit.rows("export.stock", params)
            for _, _, sku, code, title, *units in rows:
                cells = (sku, code, title, *map(str, units))
                yield dict(zip(STOCK_COLUMNS, cells, strict=True))
            if len(rows) < _ROWS:
                return
            place = rows[-1][0], rows[-1][1]


PRICE_COLUMNS: Final = (
    *("sku", "title", "currency", "list_price", "sale_price", "cost", "vat_percent"),
)
PRICE_NUMERIC: Final = frozenset({"list_price", "sale_price", "cost", "vat_percent"})


async def prices(database: Database, merchant_id: int) -> AsyncIterator[Row]:
    """List price, sale price and cost by SKU, VAT included."""
    params = {"merchant": merchant_id, "limit": _ROWS}
    async with database.frozen(merchant_id) as unit:
        async for _, sku, title, currency, *minors, vat in _pages(unit, "export.prices", params):
            held = (None if minor is None else Money(minor, currency) for minor in minors)
            percent = "" if vat is None else f"{vat.normalize():f}"
            cells = (sku, title, currency, *map(amount, held), percent)
            yield dict(zip(PRICE_COLUMNS, cells, strict=True))


class _Line(msgspec.Struct, frozen=True):
    package: str
    state: str
    carrier: str
    tracking_number: str
    invoice_number: str
    line_id: str
    sku: str
    barcode: str
    title: str
    units: int
    unit_price: str
    unit_seller_discount: str
    unit_marketplace_discount: str
    payable: str
    vat_percent: str | None
    commission_percent: str | None


ORDER_COLUMNS: Final = (
    *("order_number", "placed_at", "source", "marketplace", "currency", "city", "country"),
    *("buyer_ref", "is_company", "micro_export", *(each for each in _Line.__struct_fields__)),
)
ORDER_NUMERIC: Final = frozenset(
    {
        *("units", "unit_price", "unit_seller_discount", "unit_marketplace_discount"),
        *("payable", "vat_percent", "commission_percent"),
    }
)
_LINES: Final = msgspec.json.Decoder(list[_Line])


async def orders(
    database: Database,
    merchant_id: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    erased: str,
) -> AsyncIterator[Row]:
    """A row for each line, first the history that was imported, then each package's, oldest first.

    ``until`` itself is left out. Buyers' personal data stays sealed; ``erased`` is the word for
    what was erased. Times are UTC; amounts keep the digits they came with.
    """
    span = {"merchant": merchant_id, "since": since, "until": until, "limit": _ORDERS}
    async with database.frozen(merchant_id) as unit:
        async for _, *order in _pages(unit, "export.past_orders", span):
            for row in _of_order(order, erased):
                yield row
        at, after = _FIRST, 0
        while True:
            rows = await unit.rows("export.orders", span | {"after_at": at, "after": after})
            for _, *order in rows:
                for row in _of_order(order, erased):
                    yield row
            if len(rows) < _ORDERS:
                return
            after, at = rows[-1][0], rows[-1][1]


def _of_order(order: Sequence[Any], erased: str) -> Iterator[Row]:
    placed_at, number, *rest, is_company, micro_export, is_erased, lines = order
    flags = ("" if each is None else str(int(each)) for each in (is_company, micro_export))
    head = (number, placed_at.isoformat(), *rest, *flags)
    for line in _LINES.decode(lines):
        said = msgspec.structs.asdict(line)
        if is_erased:
            said["tracking_number"] = erased
        of_line = (_text(said[name], is_number=name in ORDER_NUMERIC) for name in said)
        yield dict(zip(ORDER_COLUMNS, (*head, *of_line), strict=True))


def _text(value: object, *, is_number: bool) -> str:
    """A number goes without the zeros that its column pads it with."""
    text = "" if value is None else str(value)
    return exact(Decimal(text)) if is_number and text else text
