"""Price and stock (§3.4), and the rules of prices that creating a product shares."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.marketplaces.n11.facade.listing import listing_of
from meschain.marketplaces.n11.facade.task import Reasons, SkuRow, TaskBody, TaskKind

if TYPE_CHECKING:
    from meschain.marketplaces.n11.facade.book import Market, ShopBook
    from meschain.marketplaces.n11.facade.settings import Settings
    from meschain.sandbox.world import Shelf

QUANTITY_MAX: Final = 999_999  # [B: S6, S7]
CURRENCIES: Final = frozenset({"TL", "USD", "EUR"})  # never TRY
_DIGITS_MIN, _DIGITS_MAX = 3, 14  # of a price in minor units
_ABSENT: Final = (b"", b"null")

BAD_PRICE: Final = (
    "Fiyat formatı hatalı: ondalık ayracı nokta olmalı ve iki ondalık hane gönderilmelidir."
)
NO_PAIR: Final = "listPrice ve salePrice birlikte gönderilmelidir."
LIST_BELOW_SALE: Final = "listPrice, salePrice değerinden küçük olamaz."
BAD_CURRENCY: Final = "currencyType geçersiz; TL, USD veya EUR olmalıdır."
BAD_QUANTITY: Final = f"quantity 0 ile {QUANTITY_MAX} arasında olmalıdır."
UNKNOWN_STOCK_CODE: Final = "stockCode ile eşleşen ürün bulunamadı."
OUTSIDE_GUARD: Final = "Ürün fiyatı izin verilen minimum/maksimum fiyat aralığı dışında."


class OfferSku(SkuRow):
    """One row; what is absent stays untouched. Prices are kept as the text that was sent."""

    listPrice: msgspec.Raw = msgspec.Raw()  # noqa: N815
    salePrice: msgspec.Raw = msgspec.Raw()  # noqa: N815
    quantity: int | None = None
    currencyType: str | None = None  # noqa: N815


def is_absent(raw: msgspec.Raw) -> bool:
    """Whether a key was left out or null."""
    return bytes(raw) in _ABSENT


def read_prices(list_price: msgspec.Raw, sale_price: msgspec.Raw) -> tuple[int, int] | str | None:
    """List and sale price in minor units, or what is wrong with them; None when both are absent.

    A price is a JSON number written with a dot and exactly two decimals, so the text decides.
    """
    list_text, sale_text = bytes(list_price), bytes(sale_price)
    if list_text in _ABSENT or sale_text in _ABSENT:
        return None if list_text in _ABSENT and sale_text in _ABSENT else NO_PAIR
    list_minor, sale_minor = _minor(list_text), _minor(sale_text)
    if list_minor is None or sale_minor is None:
        return BAD_PRICE
    return (list_minor, sale_minor) if list_minor >= sale_minor else LIST_BELOW_SALE


def _minor(text: bytes) -> int | None:
    """Digits, a dot, two digits; no regular expression, since this runs for every offer."""
    digits = text[:-3] + text[-2:]
    is_price = (
        text[-3:-2] == b"." and digits.isdigit() and _DIGITS_MIN <= len(digits) <= _DIGITS_MAX
    )
    return int(digits) if is_price else None


def in_lira_minor(minor: int, currency: str, settings: Settings) -> int:
    """What the buyer sees of a foreign price; the source of the rate is unconfirmed."""
    if currency == "TL":
        return minor
    rate = settings.rate_usd if currency == "USD" else settings.rate_eur
    return int((Decimal(minor) * rate).to_integral_value(ROUND_HALF_UP))


def is_outside_guard(list_minor: int, sale_minor: int, settings: Settings) -> bool:
    """Whether N11's price guard refuses prices in lira."""
    return sale_minor < settings.price_min_minor or list_minor > settings.price_max_minor


class PriceStockUpdate(TaskKind[OfferSku]):
    """``price-stock-update``: the hot path of the façade."""

    type_name = "SKU_UPDATE"

    def __init__(self, market: Market) -> None:
        """Rows of this kind."""
        super().__init__(market, msgspec.json.Decoder(TaskBody[OfferSku]))

    def rejection(self, book: ShopBook, rows: list[OfferSku]) -> str:  # noqa: ARG002 – the base's
        """By the older documentation one bad price refuses the whole request."""
        if self.market.settings.price_rule != "reject":
            return ""
        for row in rows:
            prices = read_prices(row.listPrice, row.salePrice)
            # A price without the other is a failure of its item.
            if isinstance(prices, str) and prices is not NO_PAIR:
                return f"{row.stockCode}: {prices}"
        return ""

    def apply(self, book: ShopBook, row: OfferSku, cause: str) -> Reasons:
        """Set what is given."""
        shelf = book.shop.shelves.get(row.stockCode or "")
        if shelf is None:
            return (UNKNOWN_STOCK_CODE,)
        prices = read_prices(row.listPrice, row.salePrice)
        if isinstance(prices, str):
            return (prices,)
        if row.quantity is not None and not 0 <= row.quantity <= QUANTITY_MAX:
            return (BAD_QUANTITY,)
        if row.currencyType is not None and row.currencyType not in CURRENCIES:
            return (BAD_CURRENCY,)
        problem = self._set(book, shelf, row, prices, cause)
        return (problem,) if problem else ()

    def _set(
        self,
        book: ShopBook,
        shelf: Shelf,
        row: OfferSku,
        prices: tuple[int, int] | None,
        cause: str,
    ) -> str:
        world, settings = self.market.world, self.market.settings
        if prices is None:
            if row.quantity is not None:
                world.set_offer(book.shop, shelf, quantity=row.quantity, cause=cause)
            return ""
        listing = listing_of(shelf)
        currency = row.currencyType or listing.currency
        list_minor = in_lira_minor(prices[0], currency, settings)
        sale_minor = in_lira_minor(prices[1], currency, settings)
        if is_outside_guard(list_minor, sale_minor, settings):
            return OUTSIDE_GUARD
        listing.currency = currency
        listing.foreign_minor = None if currency == "TL" else prices
        world.set_offer(
            book.shop,
            shelf,
            quantity=row.quantity,
            list_minor=list_minor,
            sale_minor=sale_minor,
            cause=cause,
        )
        return ""
