"""Reading: categories, attributes and the list of products (§3.1, §3.5)."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from aiohttp import web

from meschain.marketplaces.n11.facade import replies
from meschain.marketplaces.n11.facade.body import identifier, integer
from meschain.marketplaces.n11.facade.listing import (
    PRODUCT_STATUSES,
    SALE_STATUSES,
    listing_of,
    product_id,
    product_status,
    sale_status,
)
from meschain.marketplaces.n11.facade.task import spring_page
from meschain.marketplaces.n11.facade.taxonomy import BRAND_ATTRIBUTE_ID
from meschain.sandbox.world import Shelf, ShelfState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.marketplaces.n11.facade.book import Market, ShopBook

SIZE_DEFAULT: Final = 20
SIZE_MAX: Final = 250  # above: HTTP 500 [A: S1]
_SENDERS: Final = frozenset({"SELLER", "N11", "ALL"})


class Catalog:
    """The category tree; the same for everyone."""

    def __init__(self, market: Market) -> None:
        """The tree is encoded once."""
        self._taxonomy = market.taxonomy
        tree = market.taxonomy.tree
        is_wrapped = market.settings.categories_shape == "wrapped"
        self._tree = replies.encoded({"categories": tree} if is_wrapped else tree)

    async def categories(self, book: ShopBook, request: web.Request) -> web.Response:  # noqa: ARG002
        """The whole tree in one call."""
        return web.Response(body=self._tree, content_type="application/json")

    async def attributes(self, book: ShopBook, request: web.Request) -> web.Response:  # noqa: ARG002
        """Attributes of a leaf with all their values."""
        category = self._taxonomy.leaves.get(identifier(request.match_info["category_id"]))
        if category is None:
            return replies.as_json(
                {"errorCode": "invalidInput", "errorMessage": "Geçersiz kategori."}, status=400
            )
        return replies.as_json(category.wire())


class ProductQuery:
    """``product-query``."""

    def __init__(self, market: Market) -> None:
        """Products are read from the world at each call."""
        self._settings = market.settings

    async def answer(self, book: ShopBook, request: web.Request) -> web.Response:
        """A Spring page of products. Plain validation errors are 500 here (§1.3)."""
        query = request.query
        try:
            page = integer(query.get("page", "0"))
            size = integer(query.get("size", str(SIZE_DEFAULT)))
        except ValueError:
            return replies.ms_server_error(
                "MethodArgumentTypeMismatchException", "page, size: java.lang.Integer"
            )
        if page < 0 or not 1 <= size <= SIZE_MAX:
            return replies.ms_server_error(
                "ConstraintViolationException", f"page en az 0, size en fazla {SIZE_MAX} olmalıdır"
            )
        for name, allowed in (
            ("saleStatus", SALE_STATUSES),
            ("productStatus", PRODUCT_STATUSES),
            ("sender", _SENDERS),
        ):
            if name in query and query[name] not in allowed:
                return replies.ms_server_error(
                    "IllegalArgumentException", f"No enum constant {name}.{query[name]}"
                )
        found = _matching(book, {name: text for name, text in query.items() if text})
        start = page * size
        content = [self._row(book, each) for each in found[start : start + size]]
        answer = spring_page(content, len(found), page, size)
        answer["pageable"] = {
            "pageNumber": page,
            "pageSize": size,
            "offset": start,
            "paged": True,
            "unpaged": False,
        }
        return replies.as_json(answer)

    def _row(self, book: ShopBook, shelf: Shelf) -> dict[str, object]:
        listing = listing_of(shelf)
        list_minor, sale_minor = listing.foreign_minor or (shelf.list_minor, shelf.sale_minor)
        main_id = listing.product_main_id
        row: dict[str, object] = {
            "n11ProductId": product_id(shelf),
            "sellerId": int(book.shop.seller_id),
            "sellerNickname": f"satici-{book.shop.seller_id}",
            "stockCode": shelf.stock_code,
            "title": shelf.title,
            "description": listing.description,
            "categoryId": listing.category_id,
            "productMainId": main_id,
            "status": product_status(shelf),
            "saleStatus": sale_status(shelf),
            "preparingDay": listing.preparing_day,
            "shipmentTemplate": listing.shipment_template,
            "maxPurchaseQuantity": listing.purchase_quantity_max,
            "customTextOptions": [],
            "barcode": shelf.barcode or None,
            "groupId": book.group_id(main_id) if main_id else None,
            "catalogId": listing.catalog_id,
            "currencyType": listing.currency,
            "salePrice": Decimal(sale_minor).scaleb(-2),
            "listPrice": Decimal(list_minor).scaleb(-2),
            "quantity": shelf.quantity,
            "attributes": [
                {
                    "attributeId": each.attribute_id,
                    "attributeName": each.name,
                    "attributeValue": each.value,
                }
                for each in listing.attributes
            ],
            "imageUrls": listing.image_urls,
            "vatRate": shelf.vat_percent,
            "commissionRate": self._settings.commission_rate,
            "sender": "SELLER",
        }
        if shelf.state is ShelfState.REJECTED:
            row["rejectInfo"] = self._reject_info(shelf.reject_reasons)
        return row

    def _reject_info(self, reasons: Sequence[str]) -> object:
        """Its shape is unconfirmed."""
        match self._settings.reject_info:
            case "text":
                return " ".join(reasons)
            case "array":
                return reasons
            case _:
                return {"reasons": reasons}


def _matching(book: ShopBook, query: dict[str, str]) -> list[Shelf]:
    """Products in the order they were opened; all filters together."""
    if query.get("sender") == "N11":
        return []  # the sandbox has no stock in n11depom
    shelves: list[Shelf] = list(book.shop.shelves.values())
    if "stockCode" in query:
        one = book.shop.shelves.get(query["stockCode"])
        shelves = [] if one is None else [one]
    if "id" in query:
        shelves = [each for each in shelves if str(product_id(each)) == query["id"]]
    if "productStatus" in query:
        shelves = [each for each in shelves if product_status(each) == query["productStatus"]]
    if "saleStatus" in query:
        shelves = [each for each in shelves if sale_status(each) == query["saleStatus"]]
    if "productMainId" in query:
        main_id = query["productMainId"]
        shelves = [each for each in shelves if listing_of(each).product_main_id == main_id]
    if "categoryIds" in query:
        wanted = {text.strip() for text in query["categoryIds"].split(",")}
        shelves = [each for each in shelves if str(listing_of(each).category_id) in wanted]
    if "brandName" in query:
        shelves = [each for each in shelves if _brand(each) == query["brandName"]]
    return shelves


def _brand(shelf: Shelf) -> str | None:
    for attribute in listing_of(shelf).attributes:
        if attribute.attribute_id == BRAND_ATTRIBUTE_ID:
            return attribute.value
    return None
