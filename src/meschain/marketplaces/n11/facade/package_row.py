"""One row of ``shipmentPackages``, quirks and spelling included (§3.6)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meschain.marketplaces.n11.facade.listing import listing_of, product_id
from meschain.marketplaces.n11.facade.packages import STATUS, Item, Package
from meschain.sandbox.clock import epoch_ms

if TYPE_CHECKING:
    from meschain.marketplaces.n11.facade.settings import Settings
    from meschain.sandbox.world import OrderLine, Parcel, Person

# id → (name, shortName): the carriers of ``GetShipmentCompanies``; ids are invented.
CARRIERS: Final = {
    342: ("Sandbox Kargo", "SND"),
    343: ("Yurtiçi Kargo", "YK"),
    344: ("Aras Kargo", "ARAS"),
    345: ("MNG Kargo", "MNG"),
    346: ("Sürat Kargo", "SRT"),
    347: ("PTT Kargo", "PTT"),
    348: ("Horoz Lojistik", "HLZ"),
}
_CARRIER_IDS: Final = {name: carrier_id for carrier_id, (name, _) in CARRIERS.items()}
_OTHER_CARRIER_ID: Final = 399
_POINT_TYPES: Final = ("KTN", "EASYPOINT", "PUP")  # since 2026-08-03
# Mapping pages of the documentation write these two otherwise.
_MAPPING_PAGE: Final = {"Cancelled": "Canceled", "Unpacked": "UnPacked"}
_CAMPAIGN_EVERY: Final = 5  # orders; their commission rate is lowered by a campaign
_CAMPAIGN_PERCENT: Final = 2
# The world knows only Turkish addresses; exports go to these by turns.
_EXPORT_COUNTRIES: Final = ("DE", "AZ", "SA", "NL")


def package_row(package: Package, settings: Settings) -> dict[str, object]:
    """The package as the list shows it."""
    parcel, order, buyer = package.parcel, package.parcel.order, package.parcel.order.buyer
    country = _EXPORT_COUNTRIES[package.order_place % 4] if order.micro_export else "TR"
    point = _point_type(package, settings)
    lines = [
        _line_row(package, order.line(line_id), item, settings)
        for line_id, item in package.items.items()
    ]
    invoiced = sum(
        (_invoice_minor(order.line(line_id), item) for line_id, item in package.items.items()), 0
    )
    discounted = sum(
        (_seller_minor(order.line(line_id), item) for line_id, item in package.items.items()), 0
    )
    days = max(
        (listing_of(order.line(each).shelf).preparing_day for each in package.items), default=1
    )
    is_special = _recurs(package.package_place, settings.special_delivery_every)
    row: dict[str, object] = {
        "id": None if is_special else str(parcel.number),
        "orderNumber": order.number,
        "shipmentPackageStatus": _spelled(package.status, settings),
        "customerId": buyer.number,
        "customerfullName": f"{buyer.first_name} {buyer.last_name}",  # lower-case f is real
        "customerEmail": buyer.email,
        "tcIdentityNumber": None,
        "taxId": buyer.tax_number or None,
        "taxOffice": buyer.tax_office or None,
        "billingAddress": _address(buyer, country),
        "shippingAddress": _point(buyer, country) if point else _address(buyer, country),
        "deliveryAddressType": point,
        "shipmentCompanyId": _CARRIER_IDS.get(parcel.carrier, _OTHER_CARRIER_ID),
        "cargoProviderName": parcel.carrier,
        "cargoTrackingNumber": parcel.cargo_code,  # the campaign code
        "cargoSenderNumber": parcel.tracking_number or None,
        "cargoTrackingLink": (
            f"https://kargo.example/takip/{parcel.tracking_number}"
            if parcel.tracking_number
            else None
        ),
        "shipmentMethod": 1,
        "totalAmount": _lira(invoiced),
        "totalDiscountAmount": _lira(discounted),
        "isReturned": False,  # a returned package looks delivered; returns live in SOAP
        "micro": order.micro_export,
        "lastModifiedDate": package.modified_ms,
        "agreedDeliveryDate": epoch_ms(order.placed_at + timedelta(days=days)),
        "lines": lines,
        "packageHistories": _histories(parcel, settings),
    }
    if order.micro_export:
        row |= {
            "countryCode": country,
            "invoiceLink": None,
            "invoiceDate": None,
            "etgbNo": None,
            "etgbDate": None,
        }
    return row


def _line_row(
    package: Package, line: OrderLine, item: Item, settings: Settings
) -> dict[str, object]:
    """Discounts are per unit, ``total…`` fields per line: the documentation omits the factor."""
    units = item.stop - item.start
    seller_minor = _seller_minor(line, item)
    mall_minor = sum(line.unit_marketplace_discounts_minor[item.start : item.stop])
    # Every second order carries its seller discount as a coupon: both are the seller's to pay.
    is_coupon = package.order_place % 2 == 0
    is_export = package.parcel.order.micro_export
    campaign = _CAMPAIGN_PERCENT if _recurs(package.order_place, _CAMPAIGN_EVERY) else 0
    return {
        "orderLineId": item.order_line_id,
        "productId": product_id(line.shelf),
        "productName": line.shelf.title,
        "stockCode": line.shelf.stock_code,
        "barcode": line.shelf.barcode or None,
        "quantity": units,
        "price": _lira(line.unit_sale_minor),
        "dueAmount": 0,  # as the sample has it; meaning unconfirmed
        "sellerInvoiceAmount": _lira(_invoice_minor(line, item)),
        "sellerDiscount": 0 if is_coupon else _lira(seller_minor, units),
        "sellerCouponDiscount": _lira(seller_minor, units) if is_coupon else 0,
        "totalSellerDiscountPrice": _lira(seller_minor),
        "mallDiscount": _lira(mall_minor, units),
        "totalMallDiscountPrice": _lira(mall_minor),
        "vatRate": line.shelf.vat_percent,
        "commissionRate": line.commission_percent + campaign,
        "sellerCampaignCommissionRate": campaign,
        "netMarketingFeeRate": 0,
        "netMarketplaceFeeRate": 0,
        "taxDeductionRate": 1,
        "deliveryFeeType": settings.delivery_fee_type,
        "sender": "SELLER",
        "productOrigin": "TR" if is_export else None,
        "hsCode": "620442000000" if is_export else None,
        "orderItemLineItemStatusName": _spelled(package.status_of(line.line_id), settings),
        "variantAttributes": [
            {"name": each.name, "value": each.value}
            for each in listing_of(line.shelf).attributes
            if each.is_option
        ],
    }


def _seller_minor(line: OrderLine, item: Item) -> int:
    return sum(line.unit_seller_discounts_minor[item.start : item.stop])


def _invoice_minor(line: OrderLine, item: Item) -> int:
    """What the invoice carries: a discount that N11 pays is never the seller's to deduct."""
    return line.unit_sale_minor * (item.stop - item.start) - _seller_minor(line, item)


def _lira(minor: int, units: int = 1) -> Decimal | int:
    """Lira; per unit with four decimals, since a discount need not divide evenly."""
    if minor == 0:
        return 0
    lira = Decimal(minor).scaleb(-2)
    return lira if units == 1 else (lira / units).quantize(Decimal("0.0001"))


def _address(buyer: Person, country: str) -> dict[str, object]:
    # An identity number may be empty since 2025-10-15: every second person leaves it out.
    is_given = not buyer.is_company and buyer.number % 2 == 1
    return {
        "fullName": (
            buyer.company_name if buyer.is_company else f"{buyer.first_name} {buyer.last_name}"
        ),
        "address": buyer.street,
        "city": buyer.city,
        "district": buyer.district,
        "neighborhood": buyer.neighborhood,
        "postalCode": buyer.postal_code,
        "gsm": buyer.phone,
        "tcId": buyer.identity_number if is_given else "",
        "taxId": buyer.tax_number or None,
        "taxHouse": buyer.tax_office or None,
        "invoiceType": 2 if buyer.is_company else 1,
        "countryCode": country,
    }


def _point(buyer: Person, country: str) -> dict[str, object]:
    """A pick-up point: its own address, and nobody's name."""
    return _address(buyer, country) | {
        "fullName": None,
        "address": f"Teslimat Noktası No: 7, {buyer.neighborhood}",
        "gsm": None,
        "tcId": "",
        "taxId": None,
        "taxHouse": None,
    }


def _point_type(package: Package, settings: Settings) -> str | None:
    if not _recurs(package.order_place, settings.pickup_point_every):
        return None
    return _POINT_TYPES[package.order_place // settings.pickup_point_every % 3]


def _recurs(place: int, every: int) -> bool:
    return every > 0 and place % every == 0


def _spelled(status: str, settings: Settings) -> str:
    is_listed = settings.status_spelling == "list_page"
    return status if is_listed else _MAPPING_PAGE.get(status, status)


def _histories(parcel: Parcel, settings: Settings) -> list[dict[str, object]]:
    """Later entries carry a leading space, as production's do."""
    rows: list[dict[str, object]] = []
    shown = ""
    for at, state in parcel.history:
        status = STATUS.get(state)
        if status is None or status == shown:
            continue
        spelled = _spelled(status, settings)
        rows.append({"createdDate": epoch_ms(at), "status": f" {spelled}" if rows else spelled})
        shown = status
    return rows
