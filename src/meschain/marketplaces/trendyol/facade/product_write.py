"""Product services that change something: every one a batch (fact sheet 3.2 and 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from meschain.marketplaces.trendyol.facade import product_request as wire
from meschain.marketplaces.trendyol.facade import product_rule as rule
from meschain.marketplaces.trendyol.facade.batch import (
    Batch,
    Batches,
    BatchKind,
    Failures,
    RawItem,
    each,
)
from meschain.marketplaces.trendyol.facade.catalog import Catalog
from meschain.marketplaces.trendyol.facade.envelope import Refused
from meschain.marketplaces.trendyol.facade.gate import Call
from meschain.marketplaces.trendyol.facade.inventory import price_minor
from meschain.marketplaces.trendyol.facade.seller import (
    APPROVED_STATES,
    Card,
    ContentAudit,
    Seller,
)
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.timetable import Timetable
from meschain.sandbox.world import Shelf, ShelfState

Item = TypeVar("Item")
Change = Callable[[Seller, Item, Batch], list[str]]

_CREATE: Final = msgspec.json.Decoder(wire.CreateBody)
_UNAPPROVED: Final = msgspec.json.Decoder(wire.UnapprovedBody)
_CONTENT: Final = msgspec.json.Decoder(wire.ContentBody)
_VARIANT: Final = msgspec.json.Decoder(wire.VariantBody)
_DELIVERY: Final = msgspec.json.Decoder(wire.DeliveryBody)
_ARCHIVE: Final = msgspec.json.Decoder(wire.ArchiveBody)
_BARCODE: Final = msgspec.json.Decoder(wire.BarcodeBody)
_DELETE_AFTER: Final = timedelta(days=1)
# What production asks of an unapproved update although only barcode is documented as required.
_UNAPPROVED_FIELDS: Final = (
    "title",
    "description",
    "product_main_id",
    "brand_id",
    "category_id",
    "stock_code",
    "dimensional_weight",
    "vat_rate",
    "images",
    "attributes",
)


def _guide_attributes(item: RawItem) -> RawItem:
    """Results show attributes in the guide's spelling, whichever was sent (fact sheet 3.3)."""
    inputs = item.get("attributes")
    if not isinstance(inputs, list):
        return item
    shown: list[dict[str, object]] = []
    for entry in msgspec.convert(inputs, list[wire.AttributeInput]):
        text = rule.custom_text(entry)
        if text is not None:
            shown.append({"attributeId": entry.attribute_id, "customAttributeValue": text})
        shown += [
            {"attributeId": entry.attribute_id, "attributeValueId": value_id}
            for value_id in rule.value_ids(entry)
        ]
    return {**item, "attributes": shown}


def _create_echo(_: Batch, item: RawItem) -> object:
    # Two fields of the first product version live on in results only (fact sheet 3.2).
    product = {**_guide_attributes(item), "currencyType": "TRY", "cargoCompanyId": None}
    return {"barcode": item["barcode"], "product": product}


def _unapproved_echo(_: Batch, item: RawItem) -> object:
    delivery = item.get("deliveryOption")
    duration = delivery.get("deliveryDuration") if isinstance(delivery, dict) else None
    product = {**_guide_attributes(item), "contentId": None, "deliveryDuration": duration}
    return {"barcode": item["barcode"], "product": product}


def _update_echo(batch: Batch, item: RawItem) -> object:
    return {"supplierId": batch.seller.number, "updateRequest": _guide_attributes(item)}


def _delivery_echo(batch: Batch, item: RawItem) -> object:
    return {
        "supplierId": batch.seller.number,
        "barcode": item["barcode"],
        "storeFrontCode": "TR",
        "storeFrontId": 1,
        # The request's key is plural, the echo's singular (fact sheet 3.4).
        "request": {"barcode": item["barcode"], "deliveryOption": item["deliveryOptions"]},
    }


def _archive_echo(batch: Batch, item: RawItem) -> object:
    supplier = batch.seller.number
    return {"archived": item["archived"], "supplierId": supplier, "barcode": item["barcode"]}


def _barcode_echo(_: Batch, item: RawItem) -> object:
    return {"barcode": item["barcode"]}


_CREATE_KIND: Final = BatchKind("ProductV2OnBoarding", each(_create_echo))
_UNAPPROVED_KIND: Final = BatchKind("ProductV2Update", each(_unapproved_echo))
_CONTENT_KIND: Final = BatchKind("ApprovedProductContentUpdate", each(_update_echo))
_VARIANT_KIND: Final = BatchKind("ApprovedProductVariantUpdate", each(_update_echo))
_DELIVERY_KIND: Final = BatchKind(
    "ProductDeliveryOptionUpdate", each(_delivery_echo), lists_unfinished=True
)
_ARCHIVE_KIND: Final = BatchKind("ProductArchiveUpdate", each(_archive_echo), is_logged=True)
_DELETE_KIND: Final = BatchKind("ProductDeletion", each(_barcode_echo))
_UNLOCK_KIND: Final = BatchKind("ProductUnlockUpdate", each(_barcode_echo), lists_unfinished=True)


def _one_by_one(change: Change[Item]) -> Callable[[Seller, Sequence[Item], Batch], Failures]:
    """Apply a change item after item; a reason given is a failure."""

    def apply(seller: Seller, items: Sequence[Item], batch: Batch) -> Failures:
        failures: Failures = {}
        for at, item in enumerate(items):
            reasons = change(seller, item, batch)
            if reasons:
                failures[at] = reasons
        return failures

    return apply


class ProductWrite:
    """Create, update, archive, delete, unlock."""

    def __init__(
        self, catalog: Catalog, settings: Settings, batches: Batches, timetable: Timetable
    ) -> None:
        self._catalog = catalog
        self._world = catalog.world
        self._settings = settings
        self._batches = batches
        self._timetable = timetable

    # — POST …/v2/products —
    async def create(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_CREATE)
        items = body.items
        for item in items:
            _check_barcode(item.barcode)
            # The definition requires both, the guide neither (fact sheet 3.2).
            is_incomplete = item.stock_code is None or item.dimensional_weight is None
            if is_incomplete and self._settings.create_required == "openapi":
                raise Refused(
                    400, "invalid.request", "stockCode and dimensionalWeight are required"
                )
        apply = _one_by_one(self._create)
        return self._batches.accept(call.seller, _CREATE_KIND, raw, items, apply)

    def _create(self, seller: Seller, item: wire.CreateItem, _: Batch) -> list[str]:
        form = self._settings.attributes_create
        reasons = rule.form_reasons(item.attributes, form, self._catalog.taxonomy)
        reasons += rule.create_reasons(item, self._catalog.known(seller))
        barcode = rule.stored_barcode(item.barcode)
        if barcode in seller.shop.shelves:
            reasons.append(f"{barcode} barkodlu ürün zaten mevcut.")
        sale, listed = price_minor(item.sale_price), price_minor(item.list_price)
        if reasons or sale is None or listed is None:
            return reasons
        shelf = Shelf(
            key=barcode,
            barcode=barcode,
            stock_code=item.stock_code or "",
            title=item.title,
            quantity=item.quantity,
            list_minor=listed,
            sale_minor=sale,
            vat_percent=item.vat_rate,
        )
        card = Card(shelf, "", "", 0, 0, (), ())
        self._catalog.cards(seller)  # adopt what stands there before one more does
        self._world.add_shelf(seller.shop, shelf)
        seller.cards[barcode] = card
        self._write_card(card, item)
        card.cargo_providers = tuple(item.cargo_providers or ())
        self._catalog.submit(seller, card)
        return []

    # — POST …/products/unapproved-bulk-update —
    async def update_unapproved(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_UNAPPROVED)
        items = body.items
        for item in items:
            _check_barcode(item.barcode)
            missing = [name for name in _UNAPPROVED_FIELDS if getattr(item, name) is None]
            if missing and self._settings.unapproved_update == "full":
                raise Refused(500, "TrendyolSystemException", "Beklenmeyen hata")
        apply = _one_by_one(self._update_unapproved)
        return self._batches.accept(call.seller, _UNAPPROVED_KIND, raw, items, apply)

    def _update_unapproved(self, seller: Seller, item: wire.UnapprovedItem, _: Batch) -> list[str]:
        card = self._catalog.card(seller, item.barcode)
        if card is None or card.shelf.state in APPROVED_STATES:
            return [f"{item.barcode} barkodlu onaysız ürün bulunamadı."]
        whole = _completed(item, card)
        location = whole.location_based_delivery
        known = self._catalog.known(seller)
        reasons = self._update_form_reasons(item.attributes)
        reasons += rule.product_reasons(whole, known, location_based_delivery=location)
        if reasons:
            return reasons
        shelf = card.shelf
        shelf.title, shelf.vat_percent = whole.title, whole.vat_rate
        shelf.stock_code = whole.stock_code or ""
        self._write_card(card, whole)
        card.location_based_delivery = location
        self._world.set_state(seller.shop, shelf, ShelfState.PENDING)
        self._catalog.submit(seller, card)
        return []

    def _write_card(self, card: Card, item: wire.ProductItem) -> None:
        card.product_main_id = item.product_main_id
        card.description = item.description
        card.brand_id, card.category_id = item.brand_id, item.category_id
        card.images = tuple(image.url for image in item.images)
        card.attributes = rule.chosen_values(item.attributes, self._catalog.taxonomy)
        card.dimensional_weight = item.dimensional_weight or Decimal(0)
        if item.delivery_option is not None:
            card.delivery_duration = item.delivery_option.delivery_duration
        card.origin, card.lot_number = item.origin, item.lot_number
        card.shipment_address_id = item.shipment_address_id
        card.returning_address_id = item.returning_address_id

    def _update_form_reasons(self, inputs: Sequence[wire.AttributeInput] | None) -> list[str]:
        form = self._settings.attributes_update
        return rule.form_reasons(inputs or (), form, self._catalog.taxonomy)

    # — POST …/products/content-bulk-update —
    async def update_content(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_CONTENT)
        items = body.items
        apply = _one_by_one(self._update_content)
        return self._batches.accept(call.seller, _CONTENT_KIND, raw, items, apply)

    def _update_content(self, seller: Seller, item: wire.ContentItem, batch: Batch) -> list[str]:
        self._catalog.cards(seller)
        content = seller.contents.get(item.content_id)
        if content is None:
            return [f"{item.content_id} numaralı içerik bulunamadı."]
        reasons = rule.text_reasons(item.title, item.description)
        if item.images is not None:
            reasons += rule.image_reasons(item.images)
        if item.attributes is not None:
            reasons += self._update_form_reasons(item.attributes)
            reasons += self._content_attribute_reasons(content.category_id, item, seller)
        if reasons:
            return reasons
        kinds = {
            "TITLE": item.title,
            "DESCRIPTION": item.description,
            "MEDIA": item.images,
            "ATTRIBUTE": item.attributes,
        }
        audit = ContentAudit(
            content.content_id,
            next(iter(content.cards)),
            batch.batch_id,
            self._world.clock.now(),
            tuple(kind for kind, value in kinds.items() if value is not None),
        )
        seller.audits.append(audit)
        # Success of the batch means "entered quality control"; the verdict follows (sheet 15.10).
        delay_s = self._world.clock.economy_s(self._settings.approval_s)
        self._timetable.after(delay_s, lambda: self._finish_audit(seller, audit, item))
        return []

    def _content_attribute_reasons(
        self, category_id: int, item: wire.ContentItem, seller: Seller
    ) -> list[str]:
        """All or none, and what tells pages and variants apart is frozen (fact sheet 3.1, 3.4)."""
        taxonomy = self._catalog.taxonomy
        category = taxonomy.categories[category_id]
        varianters = {entry.id for entry in category.attributes if entry.varianter}
        inputs = item.attributes or []
        named = {entry.attribute_id for entry in inputs}
        if named & varianters:
            return ["Varyant özelliği onaylı üründe değiştirilemez."]
        content = seller.contents[item.content_id]
        page_only = msgspec.structs.replace(
            category, attributes=tuple(e for e in category.attributes if not e.varianter)
        )
        reasons = rule.attribute_reasons(inputs, page_only, taxonomy)
        if not reasons:
            slicers = self._catalog.values(category_id, content.attributes, slicer=True)
            values = rule.chosen_values(inputs, taxonomy)
            if set(self._catalog.values(category_id, values, slicer=True)) != set(slicers):
                reasons.append("Ayırt edici özellik onaylı üründe değiştirilemez.")
        return reasons

    def _finish_audit(self, seller: Seller, audit: ContentAudit, item: wire.ContentItem) -> None:
        content = seller.contents.get(audit.content_id)
        if content is None:  # deleted meanwhile: quality control has nothing left to judge
            return
        now = self._world.clock.now()
        audit.status, audit.completed_at = "SUCCESS", now
        content.modified_at = now
        if item.title is not None:
            content.title = item.title
            for card in content.cards.values():
                card.shelf.title = item.title
        if item.description is not None:
            content.description = item.description
        if item.images is not None:
            content.images = tuple(image.url for image in item.images)
        if item.attributes is not None:
            content.attributes = rule.chosen_values(item.attributes, self._catalog.taxonomy)

    # — POST …/products/variant-bulk-update —
    async def update_variant(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_VARIANT)
        items = body.items
        for item in items:
            _check_barcode(item.barcode)
            absent = [
                name for name in item.__struct_fields__ if getattr(item, name) is msgspec.UNSET
            ]
            if absent and self._settings.variant_update == "full":
                raise Refused(400, "invalid.request", f"missing: {', '.join(absent)}")
            if item.channels == []:
                raise Refused(400, "invalid.request", "channels must not be empty")
        apply = _one_by_one(self._update_variant)
        return self._batches.accept(call.seller, _VARIANT_KIND, raw, items, apply)

    def _update_variant(self, seller: Seller, item: wire.VariantItem, _: Batch) -> list[str]:
        card = self._approved(seller, item.barcode)
        if card is None:
            return [_not_approved(item.barcode)]
        stock_code = _or(item.stock_code, card.shelf.stock_code)
        vat_rate = _or(item.vat_rate, card.shelf.vat_percent)
        weight = _or(item.dimensional_weight, card.dimensional_weight)
        origin = _or(item.origin, card.origin)
        lot_number = _or(item.lot_number, card.lot_number)
        shipment_id = _or(item.shipment_address_id, card.shipment_address_id)
        returning_id = _or(item.returning_address_id, card.returning_address_id)
        providers = _or(item.cargo_providers, list(card.cargo_providers)) or []
        location_based = _or(item.location_based_delivery, card.location_based_delivery)
        channels = _or(item.channels, list(card.channels))
        reasons = rule.variant_reasons(
            self._catalog.known(seller),
            stock_code=stock_code,
            vat_rate=vat_rate,
            dimensional_weight_is_valid=weight >= 0,
            origin=origin,
            lot_number=lot_number,
            address_ids=(shipment_id, returning_id),
            cargo_providers=providers,
            location_based_delivery=location_based,
        )
        if not rule.CHANNELS.issuperset(channels):
            reasons.append("channels CORE ve LUXE değerlerini alabilir.")
        if reasons:
            return reasons
        card.shelf.stock_code, card.shelf.vat_percent = stock_code, vat_rate
        card.dimensional_weight, card.origin, card.lot_number = weight, origin, lot_number
        card.shipment_address_id, card.returning_address_id = shipment_id, returning_id
        card.cargo_providers, card.channels = tuple(providers), tuple(channels)
        card.location_based_delivery = location_based
        card.shelf.changed_at = self._world.clock.now()
        return []

    # — POST …/products/delivery-info-bulk-update —
    async def update_delivery(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_DELIVERY)
        items = body.items
        apply = _one_by_one(self._update_delivery)
        return self._batches.accept(call.seller, _DELIVERY_KIND, raw, items, apply)

    def _update_delivery(self, seller: Seller, item: wire.DeliveryItem, _: Batch) -> list[str]:
        card = self._approved(seller, item.barcode)
        if card is None:
            return [_not_approved(item.barcode)]
        duration = item.delivery_options.delivery_duration
        reasons = rule.delivery_reasons(duration)
        if not reasons:
            card.delivery_duration = duration
        return reasons

    # — PUT …/products/archive-state —
    async def archive(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_ARCHIVE)
        items = body.items
        return self._batches.accept(
            call.seller, _ARCHIVE_KIND, raw, items, _one_by_one(self._archive)
        )

    def _archive(self, seller: Seller, item: wire.ArchiveItem, _: Batch) -> list[str]:
        card = self._approved(seller, item.barcode)
        if card is None:
            return [_not_approved(item.barcode)]
        wanted = ShelfState.ARCHIVED if item.archived else ShelfState.ON_SALE
        if card.shelf.state is not wanted:
            card.archived_at = self._world.clock.now() if item.archived else None
            self._world.set_state(seller.shop, card.shelf, wanted)
        return []

    # — DELETE …/products —
    async def delete(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_BARCODE)
        items = body.items
        return self._batches.accept(
            call.seller, _DELETE_KIND, raw, items, _one_by_one(self._delete)
        )

    def _delete(self, seller: Seller, item: wire.BarcodeItem, _: Batch) -> list[str]:
        card = self._catalog.card(seller, item.barcode)
        if card is None:
            return [f"{item.barcode} barkodlu ürün bulunamadı."]
        if card.shelf.state in APPROVED_STATES:
            archived_at = card.archived_at
            if archived_at is None or self._world.clock.now() - archived_at <= _DELETE_AFTER:
                return ["Onaylı ürün, arşivlendikten bir gün sonra silinebilir."]
        self._catalog.remove(seller, card)
        return []

    # — PUT …/products/unlock —
    async def unlock(self, call: Call) -> web.Response:
        raw, body = await call.raw_and_body(_BARCODE)
        items = body.items
        return self._batches.accept(
            call.seller, _UNLOCK_KIND, raw, items, _one_by_one(self._unlock)
        )

    def _unlock(self, seller: Seller, item: wire.BarcodeItem, _: Batch) -> list[str]:
        card = self._approved(seller, item.barcode)
        if card is None:
            return [_not_approved(item.barcode)]
        if card.lock_reason is None:
            return [f"{item.barcode} barkodlu ürün kilitli değil."]
        card.lock_reason = card.locked_at = None
        return []

    def _approved(self, seller: Seller, barcode: str) -> Card | None:
        card = self._catalog.card(seller, barcode)
        return card if card is not None and card.shelf.state in APPROVED_STATES else None


Value = TypeVar("Value")


def _or(given: Value | msgspec.UnsetType, current: Value) -> Value:
    return current if isinstance(given, msgspec.UnsetType) else given


def _not_approved(barcode: str) -> str:
    return f"{barcode} barkodlu onaylı ürün bulunamadı."


def _check_barcode(barcode: str) -> None:
    if not barcode.strip():
        raise Refused(400, "invalid.barcode", "barcode must not be empty")


def _completed(item: wire.UnapprovedItem, card: Card) -> wire.WholeUnapprovedItem:
    """What was not sent stays as it is."""
    kept = wire.WholeUnapprovedItem(
        barcode=card.shelf.barcode,
        title=card.shelf.title,
        product_main_id=card.product_main_id,
        brand_id=card.brand_id,
        category_id=card.category_id,
        description=card.description,
        vat_rate=card.shelf.vat_percent,
        images=[wire.Image(url) for url in card.images],
        attributes=_inputs(card),
        stock_code=card.shelf.stock_code or None,
        dimensional_weight=card.dimensional_weight,
        origin=card.origin,
        lot_number=card.lot_number,
        shipment_address_id=card.shipment_address_id,
        returning_address_id=card.returning_address_id,
        location_based_delivery=card.location_based_delivery,
    )
    sent = {
        name: getattr(item, name)
        for name in item.__struct_fields__
        if getattr(item, name) is not None
    }
    return msgspec.structs.replace(kept, **{**sent, "barcode": card.shelf.barcode})


def _inputs(card: Card) -> list[wire.AttributeInput]:
    """Kept values as they would be sent, several values of one attribute together."""
    inputs: dict[int, wire.AttributeInput] = {}
    for value in card.attributes:
        entry = inputs.setdefault(value.attribute_id, wire.AttributeInput(value.attribute_id))
        if value.value_id is None:
            entry.attribute_value = value.text
        else:
            entry.attribute_value_ids = [*(entry.attribute_value_ids or ()), value.value_id]
    return list(inputs.values())
