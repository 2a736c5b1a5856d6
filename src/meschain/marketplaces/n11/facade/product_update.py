"""``product-update`` and ``product-delete`` (§3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from meschain.marketplaces.n11.facade import offer
from meschain.marketplaces.n11.facade.listing import ListedAttribute, Listing, listing_of
from meschain.marketplaces.n11.facade.sku_rule import (
    AttributeRow,
    read_attributes,
    template_reason,
    vat_reason,
)
from meschain.marketplaces.n11.facade.task import Reasons, SkuRow, TaskBody, TaskKind
from meschain.marketplaces.n11.facade.taxonomy import BRAND_ATTRIBUTE_ID
from meschain.sandbox.world import Shelf, ShelfState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meschain.marketplaces.n11.facade.book import Market, ShopBook

DESCRIPTION_LENGTH_MAX: Final = 30_000  # [C: S20]
# Brand, color and size are changed by N11 only [A: S1].
_LOCKED_NAMES: Final = frozenset({"Renk", "Beden", "Numara"})
_STATE: Final = {"Active": ShelfState.ON_SALE, "Suspended": ShelfState.ARCHIVED}


class ChangedSku(SkuRow):
    """One row; what is absent stays untouched."""

    status: str | None = None
    description: str | None = None
    preparingDay: int | None = None  # noqa: N815
    shipmentTemplate: str | None = None  # noqa: N815
    currencyType: str | None = None  # noqa: N815
    maxPurchaseQuantity: int | None = None  # noqa: N815
    productMainId: str | None = None  # noqa: N815
    attributes: list[AttributeRow] | None = None
    deleteProductMainId: bool | None = None  # noqa: N815
    deleteMaxPurchaseQuantity: bool | None = None  # noqa: N815
    vatRate: int | None = None  # noqa: N815
    title: msgspec.Raw = msgspec.Raw()
    categoryId: msgspec.Raw = msgspec.Raw()  # noqa: N815

    def changes_nothing(self) -> bool:
        """Whether only the stock code was sent."""
        return all(
            value is None
            for name in self.__struct_fields__
            if name not in {"stockCode", "title", "categoryId"}
            for value in (getattr(self, name),)
        )


class ProductUpdate(TaskKind[ChangedSku]):
    """Changes active and suspended products."""

    type_name = "PRODUCT_UPDATE"

    def __init__(self, market: Market) -> None:
        """Rows of this kind."""
        super().__init__(market, msgspec.json.Decoder(TaskBody[ChangedSku]))

    def rejection(self, book: ShopBook, rows: list[ChangedSku]) -> str:  # noqa: ARG002 – the base's
        """``title`` or ``categoryId`` anywhere refuses the whole task [C: S20]."""
        for row in rows:
            if not (offer.is_absent(row.title) and offer.is_absent(row.categoryId)):
                return "title ve categoryId alanları güncellenemez."
        return ""

    def apply(self, book: ShopBook, row: ChangedSku, cause: str) -> Reasons:  # noqa: ARG002
        """Change one product, or nothing of it."""
        shelf = book.shop.shelves.get(row.stockCode or "")
        if shelf is None:
            return (offer.UNKNOWN_STOCK_CODE,)
        if row.changes_nothing():
            return ()  # a silent no-op [C: S20]
        listing = listing_of(shelf)
        reasons = list(self._problems(shelf, row))
        attributes = listing.attributes
        if row.attributes is not None:
            attributes, problems = self._attributes(listing, row.attributes)
            reasons += problems
        if reasons:
            return tuple(reasons)
        listing.attributes = attributes
        self._take_over(book, shelf, listing, row)
        return ()

    # — inside —
    def _problems(self, shelf: Shelf, row: ChangedSku) -> Iterator[str]:
        settings = self.market.settings
        if shelf.state not in _STATE.values():
            yield "Yalnızca Active veya Suspended statüsündeki ürünler güncellenebilir."
        if row.status is not None and row.status not in _STATE:
            yield "status Active veya Suspended olmalıdır."
        if (row.vatRate is not None or settings.update_vat_rate == "required") and (
            reason := vat_reason(row.vatRate)
        ):
            yield reason
        if row.description is not None and len(row.description) > DESCRIPTION_LENGTH_MAX:
            yield f"description en fazla {DESCRIPTION_LENGTH_MAX} karakter olabilir."
        if row.preparingDay is not None and row.preparingDay < max(1, settings.preparing_day_min):
            yield f"preparingDay en az {max(1, settings.preparing_day_min)} olmalıdır."
        if row.shipmentTemplate is not None and (
            reason := template_reason(row.shipmentTemplate, settings)
        ):
            yield reason
        if row.currencyType is not None and row.currencyType not in offer.CURRENCIES:
            yield offer.BAD_CURRENCY
        if row.maxPurchaseQuantity is not None and row.maxPurchaseQuantity < 1:
            yield "maxPurchaseQuantity en az 1 olmalıdır."

    def _attributes(
        self, listing: Listing, rows: list[AttributeRow]
    ) -> tuple[tuple[ListedAttribute, ...], list[str]]:
        category = self.market.taxonomy.leaves.get(listing.category_id)
        if category is None:
            return listing.attributes, ["Ürünün kategorisi bulunamadı."]
        given, problems = read_attributes(rows, category, self.market.settings)
        merged = {each.attribute_id: each for each in listing.attributes}
        for attribute in given:
            is_locked = (
                attribute.attribute_id == BRAND_ATTRIBUTE_ID or attribute.name in _LOCKED_NAMES
            )
            if not is_locked or merged.get(attribute.attribute_id) == attribute:
                merged[attribute.attribute_id] = attribute
            elif self.market.settings.locked_attributes == "fail":
                problems.append(f"{attribute.name} özelliği yalnızca n11 tarafından güncellenir.")
        return tuple(merged.values()), problems

    def _take_over(self, book: ShopBook, shelf: Shelf, listing: Listing, row: ChangedSku) -> None:
        if row.description is not None:
            listing.description = row.description
        if row.preparingDay is not None:
            listing.preparing_day = row.preparingDay
        if row.shipmentTemplate is not None:
            listing.shipment_template = row.shipmentTemplate
        # Without its flag a changed group code or limit is silently ignored [B: S20].
        if row.deleteProductMainId:
            listing.product_main_id = row.productMainId
        if row.deleteMaxPurchaseQuantity:
            listing.purchase_quantity_max = row.maxPurchaseQuantity
        if row.vatRate is not None:
            shelf.vat_percent = row.vatRate
        if row.currencyType is not None and row.currencyType != listing.currency:
            self._change_currency(book, shelf, listing, row.currencyType)
        state = _STATE.get(row.status or "")
        if state is not None and state is not shelf.state:
            self.market.world.set_state(book.shop, shelf, state)

    def _change_currency(
        self, book: ShopBook, shelf: Shelf, listing: Listing, currency: str
    ) -> None:
        """The same numbers in another currency."""
        settings = self.market.settings
        list_given, sale_given = listing.foreign_minor or (shelf.list_minor, shelf.sale_minor)
        listing.currency = currency
        listing.foreign_minor = None if currency == "TL" else (list_given, sale_given)
        self.market.world.set_offer(
            book.shop,
            shelf,
            list_minor=offer.in_lira_minor(list_given, currency, settings),
            sale_minor=offer.in_lira_minor(sale_given, currency, settings),
            cause="currency",
        )


class ProductDelete(TaskKind[SkuRow]):
    """Takes products out of the shop; their stock codes are free again."""

    def __init__(self, market: Market) -> None:
        """Rows of nothing but a stock code; the task's type is unconfirmed."""
        super().__init__(market, msgspec.json.Decoder(TaskBody[SkuRow]))
        self.type_name = market.settings.delete_task_type

    def apply(self, book: ShopBook, row: SkuRow, cause: str) -> Reasons:  # noqa: ARG002
        """Delete one product."""
        shelf = book.shop.shelves.get(row.stockCode or "")
        if shelf is None:
            return (offer.UNKNOWN_STOCK_CODE,)
        self.market.world.set_state(book.shop, shelf, ShelfState.ARCHIVED)
        del book.shop.shelves[shelf.key]
        return ()
