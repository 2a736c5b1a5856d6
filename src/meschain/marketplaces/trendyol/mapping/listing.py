"""Reference data, listings as the channel shows them, and the content we publish."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from meschain.channel.contract import (
    CategoryAttribute,
    CategoryNode,
    ListingContent,
    MappedAttribute,
    ObservedOffer,
    RemoteKeys,
)
from meschain.channel.outcome import Refused
from meschain.domain.money import Money, Rounding
from meschain.marketplaces.trendyol import wire
from meschain.marketplaces.trendyol.mapping.reply import text

CURRENCY: Final = "TRY"  # the only one of the Turkish storefront. Source: sheet 3.2

_MAIN_CHANNEL: Final = "CORE"


def stored_barcode(barcode: str) -> str:
    """The barcode as they keep it: inner spaces are removed on import. Source: sheet 3.2."""
    return "".join(barcode.split())


def price(amount: Money) -> Decimal:
    assert amount.currency == CURRENCY, "the manifest names one currency"
    return amount.amount


def money(amount: Decimal | None) -> Money | None:
    if amount is None:
        return None
    return Money.from_decimal(amount, CURRENCY, rounding=Rounding.HALF_UP)


# — reference data —


def category_nodes(roots: Sequence[wire.Category]) -> list[CategoryNode]:
    """The tree as a list, parents before children."""
    nodes: list[CategoryNode] = []
    waiting: list[tuple[wire.Category, str | None]] = [(root, None) for root in reversed(roots)]
    while waiting:
        category, parent_id = waiting.pop()
        children = category.sub_categories or []
        category_id = str(category.id)
        nodes.append(CategoryNode(category_id, category.name, parent_id, is_leaf=not children))
        waiting.extend((child, category_id) for child in reversed(children))
    return nodes


def category_attribute(
    described: wire.CategoryAttribute, values: Iterable[wire.AttributeValue]
) -> CategoryAttribute:
    return CategoryAttribute(
        attribute_id=str(described.attribute.id),
        name=described.attribute.name,
        is_required=bool(described.required),
        is_variant=bool(described.varianter),
        is_slicer=bool(described.slicer),
        allows_custom=bool(described.allow_custom),
        allows_multiple=bool(described.allow_multiple_attribute_values),
        values=tuple(
            (
                str(value.attribute_value_id),
                # The definition names the first, the live service sends the second.
                text(value.attribute_value_name) or text(value.attribute_value),
            )
            for value in values
        ),
    )


# — observed listings —


def offers_of_contents(
    contents: Iterable[wire.OfferContent], wanted: Collection[str]
) -> Iterator[ObservedOffer]:
    """The wanted variants. A content may bring siblings that were not asked for."""
    for content in contents:
        for variant in content.variants or ():
            if variant.barcode in wanted:
                yield ObservedOffer(
                    keys=_keys(variant.barcode, variant.stock_code, content),
                    quantity=variant.quantity,
                    list_price=money(variant.list_price),
                    sale_price=money(variant.sale_price),
                    # This endpoint shows no sale flags, only that it is approved.
                    state="unknown",
                    state_raw="approved",
                )


def approved_offers(contents: Iterable[wire.ApprovedContent]) -> Iterator[ObservedOffer]:
    for content in contents:
        for variant in content.variants or ():
            state, state_raw = _approved_state(variant)
            prices = variant.price or wire.VariantPrice()
            yield ObservedOffer(
                keys=_keys(variant.barcode, variant.stock_code, content),
                quantity=variant.stock.quantity if variant.stock else None,
                list_price=money(prices.list_price),
                sale_price=money(prices.sale_price),
                title=text(content.title),
                state=state,
                state_raw=state_raw,
                reject_reasons=tuple(filter(None, (text(variant.lock_reason),))),
            )


def filled(offer: ObservedOffer, values: ObservedOffer | None) -> ObservedOffer:
    """The offer with those values that its own list left out."""
    if values is None:
        return offer
    return replace(
        offer,
        quantity=values.quantity if offer.quantity is None else offer.quantity,
        list_price=offer.list_price or values.list_price,
        sale_price=offer.sale_price or values.sale_price,
    )


def _keys(
    barcode: str, stock_code: wire.Text, content: wire.OfferContent | wire.ApprovedContent
) -> RemoteKeys:
    return RemoteKeys(
        barcode=barcode,
        stock_code=text(stock_code),
        remote_id=str(content.content_id),
        group_id=text(content.product_main_id),
    )


def _approved_state(variant: wire.ApprovedVariant) -> tuple[str, str]:
    """Our state, and theirs under the names of their status filter."""
    if variant.archived:
        return "archived", "archived"
    if variant.blacklisted:
        return "locked", "blacklisted"
    if variant.locked:
        return "locked", "locked"
    if variant.on_sale is None:
        return "unknown", ""
    return ("on_sale", "onSale") if variant.on_sale else ("off_sale", "notOnSale")


def unapproved_offer(product: wire.UnapprovedProduct) -> ObservedOffer:
    """A listing before approval: it has no content id, and its price cannot be changed."""
    reasons = tuple(
        ": ".join(filter(None, (text(why.reject_reason), text(why.reject_reason_detail))))
        for why in product.reject_reason_details or ()
    )
    # ``status`` is sent live only; the filter's two values are the only ones documented. Without it
    # the reasons tell, as no list shows a third kind.
    by_status = {
        "rejected": "rejected",
        "pendingApproval": "pending",
        "": "rejected" if reasons else "pending",
    }
    return ObservedOffer(
        keys=RemoteKeys(
            barcode=product.barcode,
            stock_code=text(product.stock_code),
            group_id=text(product.product_main_id),
        ),
        quantity=product.quantity,
        list_price=money(product.list_price),
        sale_price=money(product.sale_price),
        title=text(product.title),
        state=by_status.get(text(product.status), "unknown"),
        state_raw=text(product.status),
        reject_reasons=reasons,
    )


# — content we publish —


def refused_before_sending(
    items: Sequence[ListingContent], *, vat_percents: Collection[int], form: str
) -> dict[str, Refused]:
    """Items that no request can express, by barcode, with what the merchant can do."""
    return {
        item.keys.barcode: Refused("", "", advice)
        for item in items
        if (advice := _unmapped(item, vat_percents, form))
    }


def _unmapped(item: ListingContent, vat_percents: Collection[int], form: str) -> str:
    attribute_ids = [attribute.attribute_id for attribute in item.attributes]
    value_ids = [attribute.value_id or "0" for attribute in item.attributes]
    if not (item.brand_id or "").isdecimal():
        return "advice.trendyol.brand_unmapped"
    if not item.category_id.isdecimal():
        return "advice.trendyol.category_unmapped"
    if not all(identifier.isdecimal() for identifier in attribute_ids + value_ids):
        return "advice.trendyol.attribute_unmapped"
    # The guide's form has room for one value an attribute; naming it twice would be a guess.
    if form == "guide" and len(set(attribute_ids)) < len(attribute_ids):
        return "advice.trendyol.attribute_several"
    if item.vat_percent not in vat_percents:
        return "advice.trendyol.vat_rate"
    return ""


def create_item(item: ListingContent, form: str) -> wire.CreateItem:
    assert item.brand_id is not None, "refused before sending"
    return wire.CreateItem(
        barcode=stored_barcode(item.keys.barcode),
        title=item.content.title,
        product_main_id=item.keys.group_id,
        brand_id=int(item.brand_id),
        category_id=int(item.category_id),
        quantity=item.quantity,
        stock_code=item.keys.stock_code,
        dimensional_weight=item.desi,
        description=item.content.description_html,
        list_price=price(item.list_price),
        sale_price=price(item.sale_price),
        vat_rate=int(item.vat_percent),
        images=_images(item),
        attributes=FORMS[form](item.attributes),
        origin=item.origin_country,
        delivery_option=_delivery_option(item),
    )


def unapproved_update_item(item: ListingContent, form: str) -> wire.UnapprovedUpdateItem:
    assert item.brand_id is not None, "refused before sending"
    return wire.UnapprovedUpdateItem(
        barcode=stored_barcode(item.keys.barcode),
        title=item.content.title,
        description=item.content.description_html,
        product_main_id=item.keys.group_id,
        brand_id=int(item.brand_id),
        category_id=int(item.category_id),
        stock_code=item.keys.stock_code,
        dimensional_weight=item.desi,
        vat_rate=int(item.vat_percent),
        images=_images(item),
        attributes=FORMS[form](item.attributes),
        origin=item.origin_country,
        delivery_option=_delivery_option(item),
    )


def variant_update_item(
    item: ListingContent, standing: Mapping[str, wire.ApprovedVariant]
) -> wire.VariantUpdateItem:
    """What we hold, and beside it what stands there: an update without it would take it away.

    Addresses and lot number are shown nowhere; null leaves them to the seller's defaults.
    """
    barcode = stored_barcode(item.keys.barcode)
    now = standing.get(barcode) or wire.ApprovedVariant(barcode=barcode)
    return wire.VariantUpdateItem(
        barcode=barcode,
        stock_code=item.keys.stock_code,
        vat_rate=int(item.vat_percent),
        dimensional_weight=item.desi,
        origin=item.origin_country or now.origin or None,
        channels=now.channels or [_MAIN_CHANNEL],  # an empty list is an error
        location_based_delivery=now.location_based_delivery or None,
        cargo_providers=now.cargo_providers or None,
        shipment_address_id=None,
        returning_address_id=None,
        lot_number=None,
    )


def content_update_items(items: Iterable[ListingContent]) -> list[wire.ContentUpdateItem]:
    """One item a content: variants that share it share its title, text and pictures."""
    by_content: dict[str, ListingContent] = {}
    for item in items:
        by_content.setdefault(item.keys.remote_id, item)
    return [
        wire.ContentUpdateItem(
            content_id=int(content_id),
            title=item.content.title,
            description=item.content.description_html,
            images=_images(item),
        )
        for content_id, item in by_content.items()
    ]


def _images(item: ListingContent) -> list[wire.Image]:
    return [wire.Image(url=url) for url in item.image_urls]


def _delivery_option(item: ListingContent) -> wire.DeliveryOption | None:
    # Since 2026-08-17 only today (0) and tomorrow (1) exist; a longer time cannot be told.
    if item.handling_days > 1:
        return None
    return wire.DeliveryOption(delivery_duration=item.handling_days)


def _by_definition(attributes: Iterable[MappedAttribute]) -> list[wire.Attribute]:
    value_ids: dict[int, list[int]] = {}
    texts: list[wire.Attribute] = []
    for attribute in attributes:
        attribute_id = int(attribute.attribute_id)
        if attribute.value_id is None:
            custom = attribute.custom_value
            texts.append(
                wire.AttributeByDefinition(attribute_id=attribute_id, attribute_value=custom)
            )
        else:
            value_ids.setdefault(attribute_id, []).append(int(attribute.value_id))
    return [
        *(
            wire.AttributeByDefinition(attribute_id=attribute_id, attribute_value_ids=ids)
            for attribute_id, ids in value_ids.items()
        ),
        *texts,
    ]


def _by_guide(attributes: Iterable[MappedAttribute]) -> list[wire.Attribute]:
    return [
        wire.AttributeByGuide(
            attribute_id=int(attribute.attribute_id),
            attribute_value_id=None if attribute.value_id is None else int(attribute.value_id),
            custom_attribute_value=attribute.custom_value if attribute.value_id is None else None,
        )
        for attribute in attributes
    ]


FORMS: Final[dict[str, Callable[[Iterable[MappedAttribute]], list[wire.Attribute]]]] = {
    "definition": _by_definition,
    "guide": _by_guide,
}
