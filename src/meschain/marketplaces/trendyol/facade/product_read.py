"""Product lists: approved pages, unapproved rows, and single looks (fact sheet 3.5)."""

from __future__ import annotations

import base64
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from aiohttp import web

from meschain.marketplaces.trendyol.facade.batch import iso_instant
from meschain.marketplaces.trendyol.facade.catalog import Catalog, variant_id
from meschain.marketplaces.trendyol.facade.envelope import Refused, json_reply, major
from meschain.marketplaces.trendyol.facade.gate import Call
from meschain.marketplaces.trendyol.facade.seller import (
    APPROVED_STATES,
    Card,
    ChosenValue,
    Content,
    ContentAudit,
    Seller,
)
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import ShelfState

_SIZE_DEFAULT: Final = 20
_APPROVED_SIZE_MAX: Final = 100
_UNAPPROVED_SIZE_MAX: Final = 1000
_REACHABLE_MAX: Final = 10_000
_BARCODES_MAX: Final = 50
_APPROVED_STATUSES: Final = frozenset({"archived", "blacklisted", "locked", "onSale", "notOnSale"})
_UNAPPROVED_STATUSES: Final = {
    "rejected": ShelfState.REJECTED,
    "pendingApproval": ShelfState.PENDING,
}
_APPROVED_DATES: Final = frozenset(
    {"VARIANT_CREATED_DATE", "VARIANT_MODIFIED_DATE", "CONTENT_MODIFIED_DATE"}
)
_UNAPPROVED_DATES: Final = frozenset({"CREATED_DATE", "LAST_MODIFIED_DATE"})
_DIRECTIONS: Final = frozenset({"ASC", "DESC"})
_PAGING: Final = {"page", "size", "orderByDirection", "nextPageToken"}
_KEYS: Final = {"barcode", "barcodes", "contentId", "stockCode", "productMainId", "status"}
INVENTORY_QUERY: Final = frozenset(_PAGING | _KEYS)
LIST_QUERY: Final = INVENTORY_QUERY | {
    "origin", "brandIds", "supplierId", "startDate", "endDate", "dateQueryType",
}  # fmt: skip
AUDIT_QUERY: Final = frozenset({"page", "size", "status"})
_AUDIT_STATUSES: Final = frozenset({"SUCCESS", "FAIL", "RUNNING"})

CardTest = Callable[[Card], bool]


@dataclass(frozen=True, slots=True)
class _Page:
    """Where in the list a reply lies. ``after`` is the content a nextPageToken stands on."""

    page: int
    size: int
    is_descending: bool
    after: int | None


class ProductRead:
    """Every GET on products."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._shows_quantity = settings.approved_quantity == "present"

    # — GET …/products/approved —
    async def approved(self, call: Call) -> web.Response:
        return self._approved(call, self._content_row)

    # — GET …/products/approved/inventory-and-price —
    async def inventory_and_price(self, call: Call) -> web.Response:
        return self._approved(call, _inventory_row)

    def _approved(
        self, call: Call, row: Callable[[Seller, Content, Sequence[Card]], dict[str, object]]
    ) -> web.Response:
        page = _page(call, _APPROVED_SIZE_MAX)
        tests = [*_key_tests(call), *_status_tests(call), *_date_tests(call)]
        seller = call.seller
        cards = self._catalog.cards(seller)
        ids = _content_ids(call, seller, cards, tests)
        total = len(ids)
        taken, token = _cut(ids, page)
        content = []
        for content_id in taken:
            entry = seller.contents[content_id]
            shown = [card for card in entry.cards.values() if all(test(card) for test in tests)]
            content.append(row(seller, entry, shown))
        return json_reply(
            {
                "totalElements": total,
                "totalPages": -(-total // page.size),
                "page": page.page,
                "size": page.size,
                "nextPageToken": token,
                "content": content,
            }
        )

    def _content_row(
        self, seller: Seller, content: Content, cards: Sequence[Card]
    ) -> dict[str, object]:
        commission = self._catalog.taxonomy.categories[content.category_id].commission
        return {
            "contentId": content.content_id,
            "productMainId": content.product_main_id,
            **self._brand_and_category(content.brand_id, content.category_id),
            "creationDate": epoch_ms(content.created_at),
            "lastModifiedDate": epoch_ms(content.modified_at),
            "lastModifiedBy": "",
            "title": content.title,
            "description": content.description,
            "images": [{"url": url} for url in content.images],
            "attributes": [self._attribute(value) for value in content.attributes],
            "variants": [self._variant(seller, card, commission) for card in cards],
        }

    def _brand_and_category(self, brand_id: int, category_id: int) -> dict[str, object]:
        taxonomy = self._catalog.taxonomy
        return {
            "brand": {"id": brand_id, "name": taxonomy.brands[brand_id].name},
            "category": {"id": category_id, "name": taxonomy.categories[category_id].name},
        }

    def _attribute(self, value: ChosenValue) -> dict[str, object]:
        return {
            "attributeId": value.attribute_id,
            "attributeName": self._catalog.taxonomy.attributes[value.attribute_id].name,
            "attributeValueId": value.value_id,
            "attributeValue": value.text,
            "attributeValues": [],
        }

    def _variant(self, seller: Seller, card: Card, commission: Decimal) -> dict[str, object]:
        shelf = card.shelf
        varianters = self._catalog.values(card.category_id, card.attributes, varianter=True)
        return {
            "variantId": variant_id(card),
            "supplierId": seller.number,
            "barcode": shelf.barcode,
            "commission": commission,
            "attributes": [self._attribute(value) for value in varianters],
            "productUrl": f"https://www.trendyol.com/p-{variant_id(card)}",
            "onSale": _is_on_sale(card),
            "channels": list(card.channels),
            "deliveryOption": {"deliveryDuration": card.delivery_duration},
            "stock": {
                **({"quantity": shelf.quantity} if self._shows_quantity else {}),
                "lastModifiedDate": _optional_ms(card.stock_changed_at),
            },
            "price": {
                "salePrice": major(shelf.sale_minor),
                "listPrice": major(shelf.list_minor),
                "priceSeenByCustomer": major(shelf.sale_minor),
            },
            "stockCode": shelf.stock_code,
            "origin": card.origin,
            "vatRate": shelf.vat_percent,
            "sellerCreatedDate": _optional_ms(shelf.created_at),
            "sellerModifiedDate": _optional_ms(shelf.changed_at),
            "locked": card.lock_reason is not None,
            "lockReason": card.lock_reason,
            "lockDate": _optional_ms(card.locked_at),
            "archived": shelf.state is ShelfState.ARCHIVED,
            "archivedDate": _optional_ms(card.archived_at),
            "docNeeded": False,
            "hasViolation": False,
            "blacklisted": False,
            "dimensionalWeight": card.dimensional_weight,
            "locationBasedDelivery": card.location_based_delivery,
            "specialConsumptionTax": 0,
            "cargoProviders": list(card.cargo_providers),
        }

    # — GET …/products/unapproved —
    async def unapproved(self, call: Call) -> web.Response:
        page = _page(call, _UNAPPROVED_SIZE_MAX)
        status = call.choice("status", frozenset(_UNAPPROVED_STATUSES))
        states = (
            frozenset(_UNAPPROVED_STATUSES.values())
            if status is None
            else frozenset({_UNAPPROVED_STATUSES[status]})
        )
        tests = [*_key_tests(call), *_unapproved_date_tests(call)]
        found = {
            card.shelf.number: card
            for card in self._catalog.cards(call.seller).values()
            if card.shelf.state in states and all(test(card) for test in tests)
        }
        taken, token = _cut(sorted(found), page)
        return json_reply(
            {
                "totalElements": len(found),
                "totalPages": -(-len(found) // page.size),
                "page": page.page,
                "size": page.size,
                "nextPageToken": token,
                "content": [self._unapproved_row(call.seller, found[number]) for number in taken],
            }
        )

    def _unapproved_row(self, seller: Seller, card: Card) -> dict[str, object]:
        shelf = card.shelf
        images = [{"url": url} for url in card.images]
        row: dict[str, object] = {
            "supplierId": seller.number,
            "productMainId": card.product_main_id,
            "createDateTime": _optional_ms(shelf.created_at),
            "lastUpdateDate": _optional_ms(shelf.changed_at),
            "lastPriceChangeDate": _optional_ms(shelf.created_at),
            "lastStockChangeDate": _optional_ms(shelf.created_at),
            **self._brand_and_category(card.brand_id, card.category_id),
            "barcode": shelf.barcode,
            "title": shelf.title,
            "description": card.description,
            "quantity": shelf.quantity,
            "listPrice": major(shelf.list_minor),
            "salePrice": major(shelf.sale_minor),
            "vatRate": shelf.vat_percent,
            "dimensionalWeight": card.dimensional_weight,
            "stockCode": shelf.stock_code,
            "attributes": [self._attribute(value) for value in card.attributes],
            "rejectReasonDetails": [
                {"rejectReason": reason, "rejectReasonDetail": reason}
                for reason in shelf.reject_reasons
            ],
            "locationBasedDelivery": card.location_based_delivery,
            "lotNumber": card.lot_number,
        }
        if self._settings.unapproved_rows == "documented":
            return row | {"media": images}
        is_rejected = shelf.state is ShelfState.REJECTED
        return row | {  # as seen live (fact sheet 3.5)
            "images": images,
            "status": "rejected" if is_rejected else "pendingApproval",
            "origin": card.origin,
            "cargoProviders": list(card.cargo_providers),
            "specialConsumptionTax": 0,
            "sgrPrice": None,
        }

    # — GET …/product/{barcode} —
    async def single(self, call: Call) -> web.Response:
        card = self._catalog.card(call.seller, call.request.match_info["barcode"])
        if card is None:
            raise Refused(404, "product.not.found", "Product is not found")
        return json_reply(
            {
                "barcode": card.shelf.barcode,
                "approved": card.shelf.state in APPROVED_STATES,
                "approvedDate": _optional_ms(card.approved_at),
                "archived": card.shelf.state is ShelfState.ARCHIVED,
                "listingId": f"{variant_id(card):032x}",
                "contentId": None if card.content is None else card.content.content_id,
            }
        )

    # — GET …/products/{contentId}/update-audits —
    async def update_audits(self, call: Call) -> web.Response:
        page = call.number("page", 0)
        size = call.number("size", _SIZE_DEFAULT, low=1, high=_APPROVED_SIZE_MAX)
        status = call.choice("status", _AUDIT_STATUSES)
        content_id = call.path_number("contentId")
        found = [
            audit
            for audit in reversed(call.seller.audits)
            if audit.content_id == content_id and status in {None, audit.status}
        ]
        return json_reply(
            {
                "page": page,
                "size": size,
                "totalPage": -(-len(found) // size),
                "content": [_audit_row(audit) for audit in found[page * size : (page + 1) * size]],
            }
        )


def _audit_row(audit: ContentAudit) -> dict[str, object]:
    completed_at = None if audit.completed_at is None else iso_instant(audit.completed_at)
    return {
        "barcode": audit.barcode,
        "contentId": audit.content_id,
        "batchRequestId": audit.batch_request_id,
        "requestDate": iso_instant(audit.requested_at),
        "updates": [
            {
                "type": kind,
                "status": audit.status,
                "completedDate": completed_at,
                "rejectReasons": [],
            }
            for kind in audit.kinds
        ],
    }


def _inventory_row(_: Seller, content: Content, cards: Sequence[Card]) -> dict[str, object]:
    return {
        "contentId": content.content_id,
        "productMainId": content.product_main_id,
        "variants": [
            {
                "variantId": variant_id(card),
                "barcode": card.shelf.barcode,
                "salePrice": major(card.shelf.sale_minor),
                "listPrice": major(card.shelf.list_minor),
                "quantity": card.shelf.quantity,
                "stockCode": card.shelf.stock_code,
                "stockLastModifiedDate": _optional_ms(card.stock_changed_at),
            }
            for card in cards
        ],
    }


def _page(call: Call, size_max: int) -> _Page:
    page = call.number("page", 0)
    size = call.number("size", _SIZE_DEFAULT, low=1, high=size_max)
    token = call.text("nextPageToken")
    if token is None and page * size > _REACHABLE_MAX:
        raise Refused(400, "invalid.page", "page*size must not exceed 10000, use nextPageToken")
    is_descending = call.choice("orderByDirection", _DIRECTIONS) == "DESC"
    return _Page(page, size, is_descending, None if token is None else _opened(token))


def _cut(ids: Sequence[int], page: _Page) -> tuple[Sequence[int], str | None]:
    """The page's part of ascending ``ids``, and the token of what follows."""
    if page.is_descending:
        upto = len(ids) if page.after is None else bisect_left(ids, page.after)
        upto -= page.page * page.size if page.after is None else 0
        start = max(0, upto - page.size)
        taken = list(reversed(ids[start : max(0, upto)]))
        has_more = start > 0 and upto > 0
    else:
        start = page.page * page.size if page.after is None else bisect_right(ids, page.after)
        taken = list(ids[start : start + page.size])
        has_more = start + page.size < len(ids)
    return taken, _sealed(taken[-1]) if has_more and taken else None


def _sealed(last_id: int) -> str:
    return base64.urlsafe_b64encode(f"after:{last_id}".encode()).decode()


def _opened(token: str) -> int:
    try:
        word, _, number = base64.urlsafe_b64decode(token).decode().partition(":")
        if word == "after":
            return int(number)
    except ValueError:  # not ours: wrong alphabet, padding, text or number
        pass
    raise Refused(400, "invalid.nextPageToken", "nextPageToken is not valid")


def _content_ids(
    call: Call, seller: Seller, cards: dict[str, Card], tests: Sequence[CardTest]
) -> Sequence[int]:
    """Ascending ids of contents of which at least one variant passes; keys avoid the full walk."""
    contents: Iterable[Content] = seller.contents.values()
    if not tests:
        return list(seller.contents)
    barcodes = _barcodes(call)
    if barcodes:
        named = (cards.get(barcode) for barcode in barcodes)
        by_id = {
            card.content.content_id: card.content
            for card in named
            if card is not None and card.content is not None
        }
        contents = (by_id[content_id] for content_id in sorted(by_id))
    return [
        content.content_id
        for content in contents
        if any(all(test(card) for test in tests) for card in content.cards.values())
    ]


def _barcodes(call: Call) -> list[str]:
    barcodes = call.listed("barcodes", most=_BARCODES_MAX)
    one = call.text("barcode")
    return [*barcodes, one] if one is not None else barcodes


def _key_tests(call: Call) -> list[CardTest]:
    """Filters on keys, the same in both lists."""
    if call.optional_number("supplierId") not in {None, call.seller.number}:
        raise Refused(400, "invalid.supplierId", "supplierId is another seller's")
    tests: list[CardTest] = []
    barcodes = frozenset(_barcodes(call))
    if barcodes:
        tests.append(lambda card: card.shelf.barcode in barcodes)
    content_id = call.optional_number("contentId")
    if content_id is not None:
        tests.append(
            lambda card: card.content is not None and card.content.content_id == content_id
        )
    stock_code = call.text("stockCode")
    if stock_code is not None:
        tests.append(lambda card: card.shelf.stock_code == stock_code)
    main_id = call.text("productMainId")
    if main_id is not None:
        tests.append(lambda card: card.product_main_id == main_id)
    origin = call.text("origin")
    if origin is not None:
        tests.append(lambda card: card.origin == origin)
    brand_ids = frozenset(call.listed("brandIds", most=_REACHABLE_MAX))
    if brand_ids:
        tests.append(lambda card: str(card.brand_id) in brand_ids)
    return tests


def _status_tests(call: Call) -> list[CardTest]:
    match call.choice("status", _APPROVED_STATUSES):
        case "archived":
            return [lambda card: card.shelf.state is ShelfState.ARCHIVED]
        case "blacklisted":
            return [lambda _: False]
        case "locked":
            return [lambda card: card.lock_reason is not None]
        case "onSale":
            return [_is_on_sale]
        case "notOnSale":
            return [lambda card: not _is_on_sale(card)]
        case _:
            return []


def _is_on_sale(card: Card) -> bool:
    """Buyable now: approved, not archived, not locked, and something on the shelf."""
    shelf = card.shelf
    return shelf.state is ShelfState.ON_SALE and card.lock_reason is None and shelf.quantity > 0


def _date_tests(call: Call) -> list[CardTest]:
    match call.choice("dateQueryType", _APPROVED_DATES):
        case "VARIANT_MODIFIED_DATE":
            return _between(call, lambda card: card.shelf.changed_at)
        case "CONTENT_MODIFIED_DATE":
            return _between(call, _content_modified_at)
        case _:
            return _between(call, _created_at)


def _unapproved_date_tests(call: Call) -> list[CardTest]:
    if call.choice("dateQueryType", _UNAPPROVED_DATES) == "LAST_MODIFIED_DATE":
        return _between(call, lambda card: card.shelf.changed_at)
    return _between(call, _created_at)


def _content_modified_at(card: Card) -> datetime | None:
    return None if card.content is None else card.content.modified_at


def _created_at(card: Card) -> datetime | None:
    return card.shelf.created_at


def _between(call: Call, dated: Callable[[Card], datetime | None]) -> list[CardTest]:
    start_ms, end_ms = call.optional_number("startDate"), call.optional_number("endDate")
    if start_ms is None and end_ms is None:
        return []
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise Refused(400, "invalid.startDate", "endDate is before startDate")

    def test(card: Card) -> bool:
        at = dated(card)
        if at is None:
            return False
        at_ms = epoch_ms(at)
        return (start_ms is None or at_ms >= start_ms) and (end_ms is None or at_ms <= end_ms)

    return [test]


def _optional_ms(instant: datetime | None) -> int | None:
    return None if instant is None else epoch_ms(instant)
