"""N11's JSON as typed structures under N11's own names, as the fact sheet of 2026-10 gives them.

Replies are read tolerantly: fields nobody named are skipped here (the mapping collects them),
numbers may come as text and text as numbers, and almost everything may be null. A field is
required only where its absence means that this is another kind of document, so that an error
body never passes for an empty page. Amounts are ``Decimal`` from the first byte to the last:
JSON numbers are decoded into it directly, and written as numbers by ``encode``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

Text: TypeAlias = str | int | None
"""Text that may come as a number. Identifiers widen over time, so they are text to us."""

Amount: TypeAlias = Decimal | None
"""Money or a rate, exact."""

Extras: TypeAlias = dict[str, object]
"""A JSON object as it came; fractions are ``Decimal``."""

UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding may raise for bytes that are not the expected document."""


class Reply(msgspec.Struct, rename="camel"):
    """Base of what N11 answers."""


class Body(msgspec.Struct, rename="camel", omit_defaults=True):
    """Base of what we send: a field left at None is not in the body (absent stays untouched)."""


# — errors (fact sheet 1.3) —


class FailureReason(Reply):
    """One entry of ``errors`` in the product family."""

    reason: Text = None


class Failure(Reply):
    """The error envelopes of all JSON families in one: none of them has every field."""

    type_name: Text = msgspec.field(name="@type", default=None)
    name: Text = None
    message: Text = None
    description: Text = None
    errors: list[FailureReason] | None = None
    code: Text = None
    error_code: Text = None
    error_message: Text = None


# — categories (3.1) —


class Category(Reply):
    """A node of the tree; no ``subCategories`` means leaf."""

    id: int | str
    name: Text = None
    sub_categories: list[Category] | None = None


class CategoryTree(Reply):
    """The wrapped form of the tree; some clients saw the bare array."""

    categories: list[Category]


class AttributeValue(Reply):
    """A value that may be chosen."""

    id: int | str
    value: Text = None


class Attribute(Reply):
    """An attribute of one category."""

    attribute_id: int | str
    attribute_name: Text = None
    is_mandatory: bool | None = None
    is_variant: bool | None = None
    is_slicer: bool | None = None
    is_custom_value: bool | None = None
    attribute_values: list[AttributeValue] | None = None


class CategoryAttributes(Reply):
    """All attributes of one category with all their values."""

    category_attributes: list[Attribute]


# — products (3.2 to 3.5) —


class Image(Body):
    """A picture by https address; ``order`` starts at 0."""

    url: str
    order: int


class SkuAttribute(Body):
    """Exactly one of the two values is filled; both together are ``TASK_ERR_001``."""

    id: int | str
    value_id: int | str | None = None
    custom_value: str | None = None


class NewSku(Body):
    """A row of ``product-create``."""

    title: str
    description: str
    category_id: int | str
    currency_type: str
    product_main_id: str
    preparing_day: int
    shipment_template: str
    stock_code: str
    quantity: int
    images: tuple[Image, ...]
    attributes: tuple[SkuAttribute, ...]
    sale_price: Decimal
    list_price: Decimal
    vat_rate: int
    max_purchase_quantity: int | None = None
    barcode: str | None = None


class SkuUpdate(Body):
    """A row of ``product-update``. It has no title and no category: either makes it ``REJECT``."""

    stock_code: str
    vat_rate: int
    status: str | None = None
    description: str | None = None
    preparing_day: int | None = None
    shipment_template: str | None = None
    product_main_id: str | None = None
    delete_product_main_id: bool | None = None
    max_purchase_quantity: int | None = None
    delete_max_purchase_quantity: bool | None = None
    attributes: tuple[SkuAttribute, ...] | None = None


class SkuOffer(Body):
    """A row of ``price-stock-update``: quantity, or both prices with currency, or all."""

    stock_code: str
    list_price: Amount = None
    sale_price: Amount = None
    quantity: int | None = None
    currency_type: str | None = None


class TaskPayload(Body):
    """What every product task carries."""

    integrator: str
    skus: tuple[NewSku, ...] | tuple[SkuUpdate, ...] | tuple[SkuOffer, ...]


class TaskRequest(Body):
    """The body of the three task endpoints."""

    payload: TaskPayload


class TaskAcknowledgement(Reply):
    """``IN_QUEUE``, or ``REJECT`` at HTTP 200."""

    id: int | str
    status: str
    reasons: list[Text] | Text = None


class Pageable(Body):
    """Which page of the task's rows."""

    page: int
    size: int


class TaskQuery(Body):
    """The body of ``task-details/page-query``."""

    task_id: int | str
    pageable: Pageable


class TaskSku(Reply):
    """The echo inside a task row; some answers put the reasons here."""

    reasons: list[Text] | Text = None


class TaskItem(Reply):
    """What became of one SKU of a task."""

    item_code: Text = None
    status: Text = None
    sku: TaskSku | None = None
    reasons: list[Text] | Text = None


class TaskItems(Reply):
    """A Spring page of task rows."""

    content: list[TaskItem] | None = None
    total_pages: int | None = None


class TaskDetails(Reply):
    """A task and one page of its rows."""

    task_id: int | str
    status: Text = None
    skus: TaskItems | None = None
    reasons: list[Text] | Text = None


class Product(Reply):
    """A row of ``product-query``, as far as we use it."""

    stock_code: int | str
    n11_product_id: Text = None
    title: Text = None
    product_main_id: Text = None
    status: Text = None
    sale_status: Text = None
    barcode: Text = None
    currency_type: Text = None
    sale_price: Amount = None
    list_price: Amount = None
    quantity: int | None = None
    vat_rate: int | None = None
    reject_info: object = None  # shape unconfirmed: kept as text


class ProductPage(Reply):
    """A Spring page of products; past the end it is empty with HTTP 200."""

    content: list[Product]
    total_elements: int | None = None
    total_pages: int | None = None


# — orders (3.6) —


class OrderAddress(Reply):
    """Billing or shipping address; ``fullName`` is null where the parcel goes to a point."""

    full_name: Text = None
    address: Text = None
    city: Text = None
    district: Text = None
    neighborhood: Text = None
    postal_code: Text = None
    gsm: Text = None
    tc_id: Text = None
    tax_id: Text = None
    tax_house: Text = None
    invoice_type: Text = None
    country_code: Text = None


class OrderLine(Reply):
    """A line. The invoice amount and ``total…`` are for all its units, other amounts for one."""

    order_line_id: int | str
    quantity: int
    price: Decimal
    product_name: Text = None
    stock_code: Text = None
    barcode: Text = None
    seller_discount: Amount = None
    seller_coupon_discount: Amount = None
    seller_invoice_amount: Amount = None
    mall_discount: Amount = None
    total_mall_discount_price: Amount = None
    vat_rate: Amount = None
    commission_rate: Amount = None
    seller_campaign_commission_rate: Amount = None
    delivery_fee_type: Text = None
    order_item_line_item_status_name: Text = None


class PackageHistory(Reply):
    """When the package entered a status (the status may carry a leading space)."""

    created_date: int | None = None


class ShipmentPackage(Reply):
    """A package of an order; ``id`` is null for special location deliveries."""

    order_number: int | str
    shipment_package_status: str
    id: Text = None
    customer_id: Text = None
    customer_full_name: Text = msgspec.field(name="customerfullName", default=None)
    customer_email: Text = None
    tc_identity_number: Text = None
    tax_id: Text = None
    tax_office: Text = None
    billing_address: OrderAddress | None = None
    shipping_address: OrderAddress | None = None
    cargo_provider_name: Text = None
    cargo_tracking_number: Text = None
    cargo_sender_number: Text = None
    cargo_tracking_link: Text = None
    total_amount: Amount = None
    micro: bool | None = None
    country_code: Text = None
    last_modified_date: int | None = None
    lines: list[OrderLine] | None = None
    package_histories: list[PackageHistory] | None = None


class PackagePage(Reply):
    """A page of packages, each kept raw. ``pageCount`` counts rows, not pages: never read."""

    content: list[msgspec.Raw]
    total_pages: int | None = None


# Fields of a package that the sheet names and no structure above reads. Any other field is
# unknown to us and shown to the merchant.
PACKAGE_FIELDS_UNREAD: Final = frozenset(
    {
        "deliveryAddressType",
        "shipmentCompanyId",
        "shipmentMethod",
        "totalDiscountAmount",
        "isReturned",
        "agreedDeliveryDate",
        "invoiceLink",
        "invoiceDate",
        "etgbNo",
        "etgbDate",
        "productOrigin",
        "hsCode",
    }
)
LINE_FIELDS_UNREAD: Final = frozenset(
    {
        "productId",
        "dueAmount",
        "totalSellerDiscountPrice",
        "netMarketingFeeRate",
        "netMarketplaceFeeRate",
        "taxDeductionRate",
        "sender",
        "productOrigin",
        "hsCode",
        "countryCode",
        "invoiceLink",
        "invoiceDate",
        "etgbNo",
        "etgbDate",
        "variantAttributes",
    }
)


# Fields of a line that are read, and shown as they came as well: we keep what follows from them.
LINE_FIELDS_SHOWN: Final = frozenset(
    {"sellerInvoiceAmount", "totalMallDiscountPrice", "sellerCampaignCommissionRate"}
)


class LineReference(Body):
    """A line of ``order/v1/update``; ``lineId`` is the order line id."""

    line_id: int | str


class StatusUpdate(Body):
    """The body of ``order/v1/update``: only ``Picking`` is possible."""

    lines: tuple[LineReference, ...]
    status: str


class LineResult(Reply):
    """What became of one line."""

    line_id: int | str
    status: str
    reasons: list[Text] | Text = None


class LineResults(Reply):
    """Per-line results; some may fail while others succeed."""

    content: list[LineResult]


class SplitGroup(Body):
    """Lines that become one new package."""

    order_line_ids: tuple[int | str, ...]


class SplitByLine(Body):
    """The body of ``splitCombinePackage``."""

    split_groups: tuple[SplitGroup, ...]


class PackageDetail(Body):
    """Units of a line in a new package. The plural is N11's."""

    order_line_id: int | str
    quantities: int


class SplitPackage(Body):
    """One new package."""

    package_details: tuple[PackageDetail, ...]


class CancelledItem(Body):
    """Units of a line that the seller cannot supply."""

    order_line_id: int | str
    quantity: int
    cancel_reason_id: int


class SplitByQuantity(Body):
    """The body of ``splitPackageByQuantity``; cancelling alone is not accepted."""

    split_packages: tuple[SplitPackage, ...]
    cancelled_items: tuple[CancelledItem, ...] | None = None


class SplitResult(Reply):
    """``code`` 200 is success. The list of new items came only in 2026-05 and is not relied on."""

    code: int
    message: Text = None


def field_names(struct: type[Reply]) -> frozenset[str]:
    """The names on the wire that ``struct`` reads."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(struct))


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def encode(body: Body) -> bytes:
    """The body as JSON. Amounts become numbers with exactly the digits of their ``Decimal``."""
    return _ENCODER.encode(body)
