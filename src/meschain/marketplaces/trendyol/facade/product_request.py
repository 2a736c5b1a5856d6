"""Bodies of the product services, under the marketplace's names (fact sheet 3.2 to 3.4)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from meschain.marketplaces.trendyol.facade.gate import Request


class Image(Request):
    url: str


class AttributeInput(Request):
    """Both documented spellings: the guide's and the definition's (fact sheet 3.3)."""

    attribute_id: int
    attribute_value_id: int | None = None
    attribute_value_ids: list[int] | None = None
    attribute_value: str | None = None
    custom_attribute_value: str | None = None


class DeliveryOption(Request):
    delivery_duration: int
    fast_delivery_type: str | None = None  # ignored since 2026-08-17


class ProductItem(Request, kw_only=True):
    """What a new product and a not yet approved one have in common."""

    barcode: str
    title: str
    product_main_id: str
    brand_id: int
    category_id: int
    description: str
    vat_rate: int
    images: list[Image]
    attributes: list[AttributeInput]
    stock_code: str | None = None
    dimensional_weight: Decimal | None = None
    origin: str | None = None
    delivery_option: DeliveryOption | None = None
    lot_number: str | None = None
    shipment_address_id: int | None = None
    returning_address_id: int | None = None


class CreateItem(ProductItem, kw_only=True):
    cargo_providers: list[str] | None = None
    quantity: int
    list_price: Decimal
    sale_price: Decimal


class CreateBody(Request):
    items: list[CreateItem]


class WholeUnapprovedItem(ProductItem, kw_only=True):
    """An update together with what it leaves as it is. Price and stock have no place in it."""

    location_based_delivery: str | None = None


class UnapprovedItem(Request, kw_only=True):
    """As WholeUnapprovedItem, but only the barcode is certain."""

    barcode: str
    title: str | None = None
    product_main_id: str | None = None
    brand_id: int | None = None
    category_id: int | None = None
    description: str | None = None
    vat_rate: int | None = None
    images: list[Image] | None = None
    attributes: list[AttributeInput] | None = None
    stock_code: str | None = None
    dimensional_weight: Decimal | None = None
    origin: str | None = None
    delivery_option: DeliveryOption | None = None
    lot_number: str | None = None
    shipment_address_id: int | None = None
    returning_address_id: int | None = None
    location_based_delivery: str | None = None


class UnapprovedBody(Request):
    items: list[UnapprovedItem]


class ContentItem(Request, kw_only=True):
    content_id: int
    title: str | None = None
    description: str | None = None
    images: list[Image] | None = None
    attributes: list[AttributeInput] | None = None


class ContentBody(Request):
    items: list[ContentItem]


class VariantItem(Request, kw_only=True):
    """UNSET tells an absent field from a null one: no partial update here."""

    barcode: str
    stock_code: str | msgspec.UnsetType = msgspec.UNSET
    vat_rate: int | msgspec.UnsetType = msgspec.UNSET
    dimensional_weight: Decimal | msgspec.UnsetType = msgspec.UNSET
    shipment_address_id: int | msgspec.UnsetType | None = msgspec.UNSET
    returning_address_id: int | msgspec.UnsetType | None = msgspec.UNSET
    lot_number: str | msgspec.UnsetType | None = msgspec.UNSET
    location_based_delivery: str | msgspec.UnsetType | None = msgspec.UNSET
    origin: str | msgspec.UnsetType | None = msgspec.UNSET
    channels: list[str] | msgspec.UnsetType = msgspec.UNSET
    cargo_providers: list[str] | msgspec.UnsetType | None = msgspec.UNSET


class VariantBody(Request):
    items: list[VariantItem]


class DeliveryItem(Request):
    barcode: str
    delivery_options: DeliveryOption


class DeliveryBody(Request):
    items: list[DeliveryItem]


class ArchiveItem(Request):
    barcode: str
    archived: bool


class ArchiveBody(Request):
    items: list[ArchiveItem]


class BarcodeItem(Request):
    barcode: str


class BarcodeBody(Request):
    """Delete and unlock."""

    items: list[BarcodeItem]
