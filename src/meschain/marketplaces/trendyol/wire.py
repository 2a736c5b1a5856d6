"""The marketplace's types, under its own names. Source: fact sheet of 2026-10-09.

Incoming types tolerate what was seen live: unknown fields, nulls, and numbers where the definition
says string. Every amount is decoded to and encoded from ``Decimal``: no float comes near money.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

import msgspec

Text: TypeAlias = str | int | None  # documented as string; seen as number and as null
Amount: TypeAlias = Decimal | None
# Milliseconds since 1970 up to the year 9999: what no calendar holds makes a row unreadable.
EpochMs: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)]
Units: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class _In(msgspec.Struct, rename="camel"):
    """What they send."""


class _Out(msgspec.Struct, rename="camel", omit_defaults=True):
    """What we send. A field with a default is left out of the body while it has it."""


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def encode(body: _Out | list[_Out]) -> bytes:
    """The body as JSON; decimals become numbers with exactly their digits."""
    return _ENCODER.encode(body)


# — errors: five envelopes in one type (sheet 1.4) —


class ErrorItem(_In):
    """One of ``errors``: of the product family (key, message) or a label's (code, type, title)."""

    key: Text = None
    message: Text = None
    code: Text = None
    type: Text = None
    title: Text = None


class LabelErrors(_In):
    errors: list[ErrorItem] | None = None


class ErrorBody(_In):
    errors: list[ErrorItem] | None = None
    exception: Text = None
    error: str | LabelErrors | None = None
    message: Text = None


# — reference data (sheet 3.1) —


class Category(_In):
    id: int
    name: str
    sub_categories: list[Category] | None = None


class CategoryEnvelope(_In):
    """Seen by one client instead of the bare array."""

    categories: list[Category]


class AttributeName(_In):
    id: int
    name: str


class CategoryAttribute(_In):
    attribute: AttributeName
    allow_custom: bool | None = None
    required: bool | None = None
    varianter: bool | None = None
    slicer: bool | None = None
    allow_multiple_attribute_values: bool | None = None


class CategoryAttributes(_In):
    category_attributes: list[CategoryAttribute] | None = None


class AttributeValue(_In):
    attribute_value_id: int
    attribute_value_name: Text = None
    attribute_value: Text = None  # live name of the same field


class AttributeValuePage(_In):
    content: list[AttributeValue]
    total_pages: int


class Brand(_In):
    id: int
    name: str


# — listings (sheet 3.5) —


class VariantPrice(_In):
    sale_price: Amount = None
    list_price: Amount = None


class VariantStock(_In):
    quantity: int | None = None


class ApprovedVariant(_In):
    barcode: str
    stock_code: Text = None
    on_sale: bool | None = None
    locked: bool | None = None
    lock_reason: Text = None
    archived: bool | None = None
    blacklisted: bool | None = None
    origin: str | None = None
    channels: list[str] | None = None
    location_based_delivery: str | None = None
    cargo_providers: list[str] | None = None
    stock: VariantStock | None = None
    price: VariantPrice | None = None


class ApprovedContent(_In):
    content_id: int
    product_main_id: Text = None
    title: Text = None
    variants: list[ApprovedVariant] | None = None


class ApprovedPage(_In):
    content: list[ApprovedContent]
    total_pages: int | None = None
    next_page_token: Text = None


class OfferVariant(_In):
    barcode: str
    sale_price: Amount = None
    list_price: Amount = None
    quantity: int | None = None
    stock_code: Text = None


class OfferContent(_In):
    content_id: int
    product_main_id: Text = None
    variants: list[OfferVariant] | None = None


class OfferPage(_In):
    content: list[OfferContent]


class RejectReason(_In):
    reject_reason: Text = None
    reject_reason_detail: Text = None


class UnapprovedProduct(_In):
    barcode: str
    product_main_id: Text = None
    title: Text = None
    quantity: int | None = None
    list_price: Amount = None
    sale_price: Amount = None
    stock_code: Text = None
    status: Text = None  # live only
    reject_reason_details: list[RejectReason] | None = None


class UnapprovedPage(_In):
    content: list[UnapprovedProduct]
    total_pages: int | None = None
    next_page_token: Text = None


# — create and update (sheet 3.2, 3.4) —


class Image(_Out):
    url: str


class AttributeByDefinition(_Out):
    """The form of the OpenAPI definition."""

    attribute_id: int
    attribute_value_ids: list[int] | None = None
    attribute_value: str | None = None


class AttributeByGuide(_Out):
    """The form of the guide's sample on the same page."""

    attribute_id: int
    attribute_value_id: int | None = None
    custom_attribute_value: str | None = None


Attribute: TypeAlias = AttributeByDefinition | AttributeByGuide


class DeliveryOption(_Out):
    delivery_duration: int


class CreateItem(_Out):
    barcode: str
    title: str
    product_main_id: str
    brand_id: int
    category_id: int
    quantity: int
    stock_code: str
    dimensional_weight: Decimal
    description: str
    list_price: Decimal
    sale_price: Decimal
    vat_rate: int
    images: list[Image]
    attributes: list[Attribute]
    origin: str | None = None
    delivery_option: DeliveryOption | None = None


class UnapprovedUpdateItem(_Out):
    """All fields that the live service demands, though its definition says only the barcode."""

    barcode: str
    title: str
    description: str
    product_main_id: str
    brand_id: int
    category_id: int
    stock_code: str
    dimensional_weight: Decimal
    vat_rate: int
    images: list[Image]
    attributes: list[Attribute]
    origin: str | None = None
    delivery_option: DeliveryOption | None = None


class ContentUpdateItem(_Out):
    """Of an approved content. ``attributes`` (all or none) are left out: none."""

    content_id: int
    title: str
    description: str
    images: list[Image]


class VariantUpdateItem(_Out):
    """Every field, null where nothing stands: the definition knows no partial update (3.4)."""

    barcode: str
    stock_code: str
    vat_rate: int
    dimensional_weight: Decimal
    origin: str | None
    channels: list[str]
    location_based_delivery: str | None
    cargo_providers: list[str] | None
    shipment_address_id: int | None
    returning_address_id: int | None
    lot_number: str | None


class ArchiveItem(_Out):
    barcode: str
    archived: bool


class OfferItem(_Out):
    """Price and stock; a field that is left out stays as it is (sheet 4)."""

    barcode: str
    quantity: int | None = None
    sale_price: Decimal | None = None
    list_price: Decimal | None = None


Item: TypeAlias = (
    CreateItem
    | UnapprovedUpdateItem
    | ContentUpdateItem
    | VariantUpdateItem
    | ArchiveItem
    | OfferItem
)


class Items(_Out):
    items: Sequence[Item]


# — batches (sheet 5) —


class BatchReceipt(_In):
    batch_request_id: str


class UpdateRequest(_In):
    content_id: Text = None
    barcode: Text = None


class RequestItem(_In):
    barcode: Text = None
    update_request: UpdateRequest | None = None


class BatchItem(_In):
    request_item: RequestItem | None = None
    status: Text = None
    failure_reasons: list[Text] | None = None


class Batch(_In):
    status: Text = None  # absent on inventory batches
    batch_request_type: Text = None
    item_count: int | None = None
    items: list[BatchItem] | None = None


# — orders (sheet 6.2) —


class AddressLines(_In):
    address_line1: Text = None
    address_line2: Text = None


class Address(_In):
    first_name: Text = None
    last_name: Text = None
    full_name: Text = None
    company: Text = None
    address1: Text = None
    address2: Text = None
    address_lines: AddressLines | None = None
    full_address: Text = None
    city: Text = None
    district: Text = None
    neighborhood: Text = None
    postal_code: Text = None
    country_code: Text = None
    phone: Text = None
    tax_office: Text = None
    tax_number: Text = None


class DiscountDetail(_In):
    """One physical unit of a line."""

    line_item_price: Decimal
    line_item_seller_discount: Amount = None
    line_item_ty_discount: Amount = None


class Line(_In):
    line_id: str | int
    quantity: Units
    line_gross_amount: Decimal
    line_unit_price: Decimal
    barcode: Text = None
    stock_code: Text = None
    product_name: Text = None
    vat_rate: Amount = None
    commission: Amount = None
    order_line_item_status_name: Text = None
    line_seller_discount: Amount = None
    line_ty_discount: Amount = None
    discount_details: list[DiscountDetail] | None = None


class Package(_In):
    shipment_package_id: str | int
    order_number: str | int
    status: str
    order_date: EpochMs
    last_modified_date: EpochMs
    currency_code: str
    lines: list[Line]
    agreed_delivery_date: EpochMs | None = None
    payment_method: Text = None
    package_total_price: Amount = None
    customer_id: Text = None
    customer_first_name: Text = None
    customer_last_name: Text = None
    customer_email: Text = None
    identity_number: Text = None
    tax_number: Text = None
    commercial: bool | None = None
    cargo_tracking_number: Text = None
    cargo_tracking_link: Text = None
    cargo_sender_number: Text = None
    cargo_provider_name: Text = None
    cargo_deci: Amount = None
    who_pays: int | None = None
    micro: bool | None = None
    origin_package_ids: list[str | int] | None = None
    shipment_address: Address | None = None
    invoice_address: Address | None = None


# Documented names that the neutral order has no place for. They stay in the raw row; a name that
# is neither here nor in the types above is undocumented and gets reported.
PACKAGE_NOT_CARRIED: Final = frozenset(
    {
        "3pByTrendyol", "channelId", "containsDangerousProduct", "createdBy", "deliveredByService",
        "deliveryAddressType", "deliveryType", "discountDisplays", "estimatedDeliveryEndDate",
        "estimatedDeliveryStartDate", "etgbDate", "etgbNo", "fastDelivery", "fastDeliveryType",
        "giftBoxRequested", "hsCode", "invoiceLink", "invoiceNumber", "invoiceRejectedReasonKeys",
        "invoiceStatus", "is4P", "isCod", "orderCountryCode", "originShipmentDate",
        "packageGrossAmount", "packageHistories", "packageSellerDiscount", "packageTotalDiscount",
        "packageTyDiscount", "sellerDeliveryMethod", "sellerOtpCode", "shipmentNumber",
        "shipmentPackageStatus", "supplierId", "timeSlotId", "warehouseId",
    }
)  # fmt: skip
LINE_NOT_CARRIED: Final = frozenset(
    {
        "businessUnit", "cancelReason", "cancelReasonCode", "cancelledBy", "contentId",
        "currencyCode", "defectiveClaimListingInsight", "fastDeliveryOptions", "lineTotalDiscount",
        "productCategoryId", "productColor", "productOrigin", "productSize", "salesCampaignId",
        "sellerId",
    }
)  # fmt: skip
ADDRESS_NOT_CARRIED: Final = frozenset(
    {
        "cityCode", "countyId", "countyName", "districtId", "id", "isEInvoiceAvailable", "latitude",
        "longitude", "neighborhoodId", "sector", "shortAddress", "stateName",
    }
)  # fmt: skip


class PackagePage(_In):
    """Answer of ``v2/orders`` and body of a webhook; rows stay raw so that one may be broken."""

    content: list[msgspec.Raw]
    total_pages: int | None = None


class PackageStream(_In):
    content: list[msgspec.Raw]
    has_more: bool
    next_cursor: Text = None


# — actions on packages (sheet 6.3) —


class ActionLine(_Out):
    line_id: int | str
    quantity: int


class PackageStatusParams(_Out):
    invoice_number: str | None = None


class PackageStatus(_Out):
    status: str
    lines: list[ActionLine]
    params: PackageStatusParams


class Unsupplied(_Out):
    lines: list[ActionLine]
    reason_id: int


class SplitGroup(_Out):
    """Body of ``split``, and one group of ``multi-split``."""

    order_line_ids: list[int | str]


class MultiSplit(_Out):
    split_groups: list[SplitGroup]


class LineQuantities(_Out):
    order_line_id: int | str
    quantities: list[int]


class QuantitySplit(_Out):
    quantity_split: list[LineQuantities]


class PackageDetail(_Out):
    order_line_id: int | str
    quantities: int  # a number here, though a list in quantity-split


class SplitPackage(_Out):
    package_details: list[PackageDetail]


class SplitPackages(_Out):
    split_packages: list[SplitPackage]


Split: TypeAlias = SplitGroup | MultiSplit | QuantitySplit | SplitPackages


class _NoParams(_Out):
    """An empty object that the body must carry."""


class AlternativeDelivery(_Out):
    is_phone_number: bool
    tracking_info: str
    params: _NoParams


NO_PARAMS: Final = _NoParams()


# — labels (sheet 6.5) —


class LabelOrder(_Out):
    format: str


class LabelBox(_In):
    label: str
    format: Text = None


class Labels(_In):
    data: list[LabelBox]


# — webhooks (sheet 12) —


class WebhookOrder(_Out):
    url: str
    authentication_type: str
    subscribed_statuses: list[str]  # empty: all
    username: str | None = None
    password: str | None = None
    api_key: str | None = None


class WebhookReceipt(_In):
    id: str


class Webhook(_In):
    id: str
    url: str
    status: str
