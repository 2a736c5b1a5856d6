"""``product-create``: field rules of §3.2, then the catalog's approval."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.domain.text import fold
from meschain.marketplaces.n11.facade import offer, replies
from meschain.marketplaces.n11.facade.body import Body
from meschain.marketplaces.n11.facade.listing import ListedAttribute, Listing, attach
from meschain.marketplaces.n11.facade.sku_rule import (
    AttributeRow,
    carries_both_values,
    read_attributes,
    template_reason,
    vat_reason,
)
from meschain.marketplaces.n11.facade.task import Reasons, SkuRow, TaskBody, TaskKind
from meschain.marketplaces.n11.facade.taxonomy import BRAND_ATTRIBUTE_ID, Category
from meschain.sandbox.world import Shelf, ShelfState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from meschain.marketplaces.n11.facade.book import Market, ShopBook

TITLE_LENGTH_MIN: Final = 15  # [A: S1]
STOCK_CODE_LENGTH_MAX: Final = 255  # [B: S6, S7]


class ImageRow(Body):
    """One picture."""

    url: str | None = None
    order: int | None = None


class NewSku(SkuRow):
    """One row. Required fields are optional here: a missing one fails the item, not the body."""

    title: str | None = None
    description: str | None = None
    categoryId: int | None = None  # noqa: N815
    currencyType: str | None = None  # noqa: N815
    productMainId: str | None = None  # noqa: N815
    preparingDay: int | None = None  # noqa: N815
    shipmentTemplate: str | None = None  # noqa: N815
    maxPurchaseQuantity: int | None = None  # noqa: N815
    catalogId: int | None = None  # noqa: N815
    barcode: str | int | None = None  # the documentation's sample prints a number
    quantity: int | None = None
    images: list[ImageRow] | None = None
    attributes: list[AttributeRow] | None = None
    salePrice: msgspec.Raw = msgspec.Raw()  # noqa: N815
    listPrice: msgspec.Raw = msgspec.Raw()  # noqa: N815
    vatRate: int | None = None  # noqa: N815


class ProductCreate(TaskKind[NewSku]):
    """Opens products, which then wait for the catalog's approval."""

    type_name = "PRODUCT_CREATE"

    def __init__(self, market: Market) -> None:
        """Rows of this kind, and N11's own catalog pages."""
        super().__init__(market, msgspec.json.Decoder(TaskBody[NewSku]))
        pairs = (entry.rpartition(":") for entry in market.settings.catalog_entries)
        self._catalog = {barcode: int(catalog_id) for barcode, _, catalog_id in pairs}
        self._opened: list[Shelf] = []

    def refused_request(self, rows: list[NewSku]) -> web.Response | None:
        """TASK_ERR_001 [C: S20]; its HTTP status is unconfirmed."""
        settings = self.market.settings
        if not any(carries_both_values(row.attributes or (), settings) for row in rows):
            return None
        return replies.as_json(
            {
                "errorCode": "TASK_ERR_001",
                "errorMessage": "Özellik için valueId ve customValue birlikte gönderilemez.",
            },
            status=settings.attribute_both_status,
        )

    def apply(self, book: ShopBook, row: NewSku, cause: str) -> Reasons:  # noqa: ARG002
        """Open one product."""
        barcode = "" if row.barcode is None else str(row.barcode)
        catalog_id = self._catalog_match(row.catalogId, barcode)
        category = self.market.taxonomy.leaves.get(row.categoryId or 0)
        chosen: list[ListedAttribute] = []
        reasons = [
            *self._name_problems(book, row),
            *self._place_problems(row, category, barcode),
            *self._terms_problems(row),
            *_image_problems(row, is_matched=catalog_id is not None),
        ]
        if row.attributes is None:
            reasons.append("attributes alanı boş olamaz.")
        elif catalog_id is None and category is not None:  # a matched page has its own attributes
            chosen, problems = self._attributes(row.attributes, category)
            reasons += problems
        if reasons:
            return tuple(reasons)
        self._open(book, row, barcode, catalog_id, tuple(chosen))
        return ()

    def finish(self, book: ShopBook) -> None:
        """Approval comes later, in the economy's time; its duration is undocumented."""
        opened, self._opened = self._opened, []
        if opened:
            delay_s = self.market.world.clock.economy_s(self.market.settings.approval_delay_s)
            self.market.agenda.after(delay_s, partial(self._approve, book, opened))

    # — rules —
    def _name_problems(self, book: ShopBook, row: NewSku) -> Iterator[str]:
        settings = self.market.settings
        stock_code, title = row.stockCode or "", row.title or ""
        if len(stock_code) > STOCK_CODE_LENGTH_MAX:
            yield f"stockCode en fazla {STOCK_CODE_LENGTH_MAX} karakter olabilir."
        if stock_code in book.shop.shelves:
            yield "Bu stok kodu tarafınızdan daha önce kullanılmıştır."
        if len(title.strip()) < TITLE_LENGTH_MIN:
            yield f"Ürün başlığı en az {TITLE_LENGTH_MIN} karakter olmalıdır."
        words = fold(f"{title} {row.description or ''}")
        for word in settings.forbidden_words:
            if fold(word) in words:
                yield f"Ürün bilgisinde yasaklı kelime bulunmaktadır: {word}"
        if not (row.description or "").strip():
            yield "description alanı boş olamaz."
        if not row.productMainId:
            yield "productMainId alanı boş olamaz."

    def _place_problems(
        self, row: NewSku, category: Category | None, barcode: str
    ) -> Iterator[str]:
        settings = self.market.settings
        if category is None:
            yield f"categoryId geçersiz veya alt kategori değil: {row.categoryId}"
        elif str(category.category_id) in settings.supplier_invoice_categories:
            yield "Bu kategori için tedarikçi faturası gereklidir."
        if not barcode and row.catalogId is None and settings.barcode_or_catalog == "required":
            yield "barcode veya catalogId alanlarından biri gönderilmelidir."
        if row.catalogId is not None and row.catalogId not in self._catalog.values():
            yield f"catalogId bulunamadı: {row.catalogId}"

    def _terms_problems(self, row: NewSku) -> Iterator[str]:
        settings = self.market.settings
        if row.currencyType not in offer.CURRENCIES:
            yield offer.BAD_CURRENCY
        if row.preparingDay is None or row.preparingDay < settings.preparing_day_min:
            yield f"preparingDay en az {settings.preparing_day_min} olmalıdır."
        if row.maxPurchaseQuantity is not None and row.maxPurchaseQuantity < 1:
            yield "maxPurchaseQuantity en az 1 olmalıdır."
        if row.quantity is None or not 0 <= row.quantity <= offer.QUANTITY_MAX:
            yield offer.BAD_QUANTITY
        if reason := template_reason(row.shipmentTemplate, settings):
            yield reason
        if reason := vat_reason(row.vatRate):
            yield reason
        prices = offer.read_prices(row.listPrice, row.salePrice)
        if prices is None:
            yield "listPrice ve salePrice boş olamaz."
        elif isinstance(prices, str):
            yield prices
        elif offer.is_outside_guard(*self._in_lira(prices, row.currencyType), settings):
            yield offer.OUTSIDE_GUARD

    def _attributes(
        self, rows: list[AttributeRow], category: Category
    ) -> tuple[list[ListedAttribute], list[str]]:
        chosen, problems = read_attributes(rows, category, self.market.settings)
        given = {row.id for row in rows}
        for attribute in category.attributes.values():
            if attribute.attribute_id in given or "isMandatory" not in attribute.flags:
                continue
            problems.append(
                "Marka bilgisi verilmelidir."
                if attribute.attribute_id == BRAND_ATTRIBUTE_ID
                else f"Zorunlu özellik verilmelidir: {attribute.name}"
            )
        return chosen, problems

    def _catalog_match(self, catalog_id: int | None, barcode: str) -> int | None:
        if catalog_id is not None:
            return catalog_id if catalog_id in self._catalog.values() else None
        return self._catalog.get(barcode)

    def _in_lira(self, prices: tuple[int, int], currency: str | None) -> tuple[int, int]:
        list_minor, sale_minor = (
            offer.in_lira_minor(each, currency or "TL", self.market.settings) for each in prices
        )
        return list_minor, sale_minor

    # — effects —
    def _open(
        self,
        book: ShopBook,
        row: NewSku,
        barcode: str,
        catalog_id: int | None,
        chosen: tuple[ListedAttribute, ...],
    ) -> None:
        stock_code, currency = row.stockCode or "", row.currencyType or "TL"
        prices = offer.read_prices(row.listPrice, row.salePrice)
        assert isinstance(prices, tuple), "the rules have passed"
        list_minor, sale_minor = self._in_lira(prices, currency)
        shelf = Shelf(
            key=stock_code,
            barcode=barcode,
            stock_code=stock_code,
            title=(row.title or "").strip(),
            quantity=row.quantity or 0,
            list_minor=list_minor,
            sale_minor=sale_minor,
            vat_percent=row.vatRate or 0,
        )
        listing = Listing(
            category_id=row.categoryId or 0,
            description=row.description or "",
            currency=currency,
            foreign_minor=None if currency == "TL" else prices,
            product_main_id=row.productMainId,
            preparing_day=row.preparingDay or 1,
            shipment_template=row.shipmentTemplate or "",
            purchase_quantity_max=row.maxPurchaseQuantity,
            catalog_id=catalog_id,
            awaits_seller=catalog_id is not None,
            attributes=chosen,
            image_urls=tuple(image.url or "" for image in row.images or ()),
        )
        attach(shelf, listing)
        self.market.world.add_shelf(book.shop, shelf)
        if not listing.awaits_seller:
            self._opened.append(shelf)

    def _approve(self, book: ShopBook, opened: list[Shelf]) -> None:
        rejected_words = self.market.settings.rejected_words
        for shelf in opened:
            if (
                shelf.state is not ShelfState.PENDING
                or book.shop.shelves.get(shelf.key) is not shelf
            ):
                continue
            title = fold(shelf.title)
            if any(fold(word) in title for word in rejected_words):
                self.market.world.set_state(
                    book.shop,
                    shelf,
                    ShelfState.REJECTED,
                    reasons=("Ürün katalog kurallarına uygun değildir.",),
                )
            else:
                self.market.world.set_state(book.shop, shelf, ShelfState.ON_SALE)


def _image_problems(row: NewSku, *, is_matched: bool) -> Iterator[str]:
    if row.images is None:
        yield "images alanı gönderilmelidir."
    elif not row.images and not is_matched:
        yield "En az bir ürün görseli gönderilmelidir."
    for image in row.images or ():
        if not (image.url or "").startswith("https://"):
            yield f"Görsel adresi https olmalıdır: {image.url}"
        if image.order is None:
            yield "Görselin order alanı boş olamaz."
