"""Price and stock: one call, up to a thousand items, applied a moment later (fact sheet 4)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Final

import msgspec
from aiohttp import web

from meschain.marketplaces.trendyol.facade.batch import (
    Batch,
    Batches,
    BatchKind,
    Failures,
    iso_instant,
)
from meschain.marketplaces.trendyol.facade.envelope import Refused
from meschain.marketplaces.trendyol.facade.gate import Call, Request
from meschain.marketplaces.trendyol.facade.seller import APPROVED_STATES, Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.sandbox.world import Shelf, World

QUANTITY_MAX: Final = 20_000
_PRICE_MAX: Final = Decimal(10) ** 8  # ours: keeps minor units a machine word
_REPEAT_S: Final = 15 * 60.0
_PRICE_UPDATES_MAX: Final = 30
_PRICE_WINDOW_S: Final = 60.0
_REPEATED: Final = "15 dakika boyunca aynı isteği tekrarlı olarak atamazsınız!"


class InventoryItem(Request, gc=False):
    """One item; what is absent stays as it is."""

    barcode: str
    quantity: int | None = None
    sale_price: Decimal | None = None
    list_price: Decimal | None = None


class InventoryBody(Request):
    items: list[InventoryItem]


class InventoryEcho(InventoryItem, gc=False):
    """The item as results show it."""

    update_request_date: str = ""


class InventoryEchoes(Request):
    items: list[InventoryEcho]


_DECODER: Final = msgspec.json.Decoder(InventoryBody)
_ECHOES: Final = msgspec.json.Decoder(InventoryEchoes)


def price_minor(price: Decimal) -> int | None:
    """Whole minor units, or None for what is no price: not above zero, or finer than a kuruş."""
    if not 0 < price < _PRICE_MAX:
        return None
    scaled = price.scaleb(2)
    minor = int(scaled)
    return minor if minor == scaled else None


def _echoes(batch: Batch) -> list[InventoryEcho]:
    """The typed items again: ten times cheaper than untyped ones, and read for every batch."""
    date = iso_instant(batch.created_at)
    items = _ECHOES.decode(batch.raw).items
    for item in items:
        item.update_request_date = date
    return items


KIND: Final = BatchKind("ProductInventoryUpdate", _echoes, has_status=False)


class Inventory:
    """POST /inventory/sellers/{sellerId}/products/price-and-inventory."""

    def __init__(self, world: World, settings: Settings, batches: Batches) -> None:
        self._world = world
        self._settings = settings
        self._batches = batches

    async def update(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_DECODER)
        items = body.items
        for item in items:
            if not item.barcode.strip():
                raise Refused(400, "invalid.barcode", "barcode must not be empty")
            if self._settings.inventory_bounds == "request":
                sale = None if item.sale_price is None else price_minor(item.sale_price)
                listed = None if item.list_price is None else price_minor(item.list_price)
                for reason in _bound_reasons(item, sale, listed, None):
                    raise Refused(400, "invalid.request", reason)
        digest = blake2b(raw, digest_size=16).digest()
        self._check_repeat(call.seller, digest)
        reply = self._batches.accept(call.seller, KIND, raw, items, self._apply)
        call.seller.bodies[digest] = self._world.clock.monotonic_s()
        return reply

    def _check_repeat(self, seller: Seller, digest: bytes) -> None:
        """The identical body is refused for 15 minutes, whatever was sent in between."""
        bodies, now_s = seller.bodies, self._world.clock.monotonic_s()
        while bodies:
            oldest = next(iter(bodies))
            if bodies[oldest] > now_s - _REPEAT_S:
                break
            del bodies[oldest]
        if digest in bodies:
            raise Refused(400, "repeated.request", _REPEATED)

    def _apply(self, seller: Seller, items: Sequence[InventoryItem], batch: Batch) -> Failures:
        failures: Failures = {}
        now_s = self._world.clock.monotonic_s()
        now = self._world.clock.now()
        shelves, cards, seen = seller.shop.shelves, seller.cards, set[str]()
        for at, item in enumerate(items):
            barcode = item.barcode
            shelf = shelves.get(barcode)
            if barcode in seen:
                failures[at] = ["Aynı barkod istek içinde birden fazla kez gönderilemez."]
                continue
            seen.add(barcode)
            if shelf is None or shelf.state not in APPROVED_STATES:
                failures[at] = [f"{barcode} barkodlu onaylı ürün bulunamadı."]
                continue
            sale = None if item.sale_price is None else price_minor(item.sale_price)
            listed = None if item.list_price is None else price_minor(item.list_price)
            has_price = item.sale_price is not None or item.list_price is not None
            reasons = _bound_reasons(item, sale, listed, shelf)
            if not reasons and has_price and not _admit_price(seller, barcode, now_s):
                reasons = ["Bir barkodun fiyatı dakikada en fazla 30 kez güncellenebilir."]
            if reasons:
                failures[at] = reasons
                continue
            self._world.set_offer(
                seller.shop,
                shelf,
                quantity=item.quantity,
                list_minor=listed,
                sale_minor=sale,
                cause=batch.batch_id,
            )
            card = cards.get(barcode)
            if card is not None:
                if has_price:
                    card.price_changed_at = now
                if item.quantity is not None:
                    card.stock_changed_at = now
        return failures


def _bound_reasons(
    item: InventoryItem, sale: int | None, listed: int | None, shelf: Shelf | None
) -> list[str]:
    """What is wrong with the values; the shelf completes a price that came alone."""
    reasons: list[str] = []
    if item.quantity is not None and not 0 <= item.quantity <= QUANTITY_MAX:
        reasons.append(f"Stok adedi 0 ile {QUANTITY_MAX} arasında olmalıdır.")
    if (sale is None) is not (item.sale_price is None) or (listed is None) is not (
        item.list_price is None
    ):
        reasons.append("Fiyat sıfırdan büyük ve en fazla iki ondalıklı olmalıdır.")
    elif sale is not None or listed is not None:
        if sale is None and shelf is not None:
            sale = shelf.sale_minor
        if listed is None and shelf is not None:
            listed = shelf.list_minor
        if sale is not None and listed is not None and listed < sale:
            reasons.append("Liste fiyatı satış fiyatından küçük olamaz.")
    return reasons


def _admit_price(seller: Seller, barcode: str, now_s: float) -> bool:
    """Count a price update of one barcode; at most 30 in any minute."""
    times = seller.price_updates.get(barcode, ())
    is_full = len(times) >= _PRICE_UPDATES_MAX
    if is_full and times[-_PRICE_UPDATES_MAX] > now_s - _PRICE_WINDOW_S:
        return False
    seller.price_updates[barcode] = (*times[1 - _PRICE_UPDATES_MAX :], now_s)
    return True
