"""The package object under its current names, and the log a stream is read from.

Field list and money rules: fact sheet 6.2.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from meschain.marketplaces.trendyol.facade.envelope import major
from meschain.marketplaces.trendyol.facade.seller import Card, PackageFacts, Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.taxonomy import Taxonomy
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import OrderLine, Parcel, ParcelState, Person

GMT3: Final = timezone(timedelta(hours=3))
GMT3_MS: Final = 3 * 3600 * 1000
STATUS: Final = {
    ParcelState.AWAITING: "Awaiting",
    ParcelState.CREATED: "Created",
    ParcelState.PICKING: "Picking",
    ParcelState.INVOICED: "Invoiced",
    ParcelState.SHIPPED: "Shipped",
    ParcelState.AT_COLLECTION_POINT: "AtCollectionPoint",
    ParcelState.DELIVERED: "Delivered",
    ParcelState.UNDELIVERED: "UnDelivered",
    ParcelState.RETURNED: "Returned",
    ParcelState.CANCELLED: "Cancelled",
    ParcelState.UNSUPPLIED: "UnSupplied",
    ParcelState.BROKEN_UP: "UnPacked",
}
UNSUPPLIED_REASONS: Final = {
    500: "Stok tükendi",
    501: "Kusurlu/Defolu/Bozuk ürün",
    502: "Hatalı fiyat",
    504: "Entegrasyon hatası",
    505: "Toplu alım",
    506: "Mücbir sebep",
}
_CENT: Final = Decimal("0.01")
_ZERO: Final = Decimal(0)
_WAREHOUSE_BASE: Final = 372_000
# Fields that no order of this economy fills: same in every package.
_PACKAGE_CONSTANTS: Final[dict[str, object]] = {
    "discountDisplays": [],
    "orderCountryCode": "TR",
    "channelId": 1,
    "cargoTrackingLink": "",
    "deliveryType": "normal",
    "deliveryAddressType": "Shipment",
    "timeSlotId": 0,
    "fastDelivery": False,
    "fastDeliveryType": "",
    "deliveredByService": False,
    "giftBoxRequested": False,
    "3pByTrendyol": False,
    "isCod": False,
    "etgbNo": None,
    "etgbDate": None,
    "hsCode": None,
    "containsDangerousProduct": False,
    "is4P": False,
    "invoiceLink": "",
    "invoiceStatus": "NotInvoiced",
    "invoiceRejectedReasonKeys": "",
    "sellerDeliveryMethod": None,
    "sellerOtpCode": None,
}


class PackageLog:
    """Every change of every package of one seller, in the order of time.

    A package counts only at its latest entry, so reading backwards yields each package once,
    by last modification, descending; a position in the log is a cursor that later changes leave
    standing.
    """

    def __init__(self) -> None:
        self._times_ms: list[int] = []
        self._parcels: list[Parcel] = []
        self._latest: dict[int, int] = {}  # package → its last position

    def note(self, parcel: Parcel) -> None:
        # A wall clock set back must not unsort the log.
        last_ms = self._times_ms[-1] if self._times_ms else 0
        self._latest[parcel.number] = len(self._parcels)
        self._times_ms.append(max(last_ms, epoch_ms(parcel.modified_at)))
        self._parcels.append(parcel)

    def position_after(self, end_ms: int) -> int:
        """Where reading backwards begins for packages modified at ``end_ms`` or before."""
        return bisect_right(self._times_ms, end_ms)

    def backwards(self, position: int, start_ms: int) -> Iterator[tuple[int, Parcel]]:
        """Packages before ``position`` modified at ``start_ms`` or later, newest first."""
        oldest = bisect_left(self._times_ms, start_ms)
        for at in range(position - 1, oldest - 1, -1):
            parcel = self._parcels[at]
            if self._latest[parcel.number] == at:
                yield at, parcel


class Packages:
    """Keeps which units travel where, and writes the package object."""

    def __init__(self, settings: Settings, taxonomy: Taxonomy) -> None:
        self._settings = settings
        self._taxonomy = taxonomy

    def note(self, seller: Seller, parcel: Parcel) -> None:
        """A parcel came to be or changed: log it; a new one takes its units from its origin."""
        if parcel.number not in seller.parcels:
            if parcel.carrier not in self._taxonomy.cargo_providers:
                parcel.carrier = self._settings.cargo_provider
            seller.parcels[parcel.number] = self._facts(seller, parcel)
        seller.log.note(parcel)

    @staticmethod
    def _facts(seller: Seller, parcel: Parcel) -> PackageFacts:
        warehouse_id = _WAREHOUSE_BASE + seller.number % 1000
        units: dict[int, tuple[int, ...]] = {}
        origin = seller.parcels.get(parcel.origins[0]) if parcel.origins else None
        taken = {
            (line_id, unit)
            for sibling in parcel.order.parcels
            if sibling is not parcel and sibling.origins and sibling.origins == parcel.origins
            for line_id, held in seller.parcels[sibling.number].units.items()
            for unit in held
        }
        for line_id, count in parcel.units.items():
            pool = (
                range(parcel.order.line(line_id).units) if origin is None else origin.units[line_id]
            )
            free = [unit for unit in pool if (line_id, unit) not in taken]
            units[line_id] = tuple(free[:count])
        if origin is not None and origin.warehouse_id is not None:
            warehouse_id = origin.warehouse_id
        return PackageFacts(units, warehouse_id)

    def document(self, seller: Seller, parcel: Parcel) -> dict[str, object]:
        """The package as every pull and every webhook carries it."""
        order, buyer, facts = parcel.order, parcel.order.buyer, seller.parcels[parcel.number]
        status = STATUS[parcel.state]
        lines = [
            self._line(seller, parcel, order.line(line_id), units)
            for line_id, units in facts.units.items()
        ]
        gross = seller_discount = marketplace_discount = 0
        for line_id, units in facts.units.items():
            line = order.line(line_id)
            for unit in units:
                gross += line.unit_sale_minor
                seller_discount += line.unit_seller_discounts_minor[unit]
                marketplace_discount += _marketplace_discount(line, buyer, unit)
        total_discount = seller_discount + marketplace_discount
        return {
            "shipmentPackageId": parcel.number,
            "orderNumber": order.number,
            "status": status,
            "shipmentPackageStatus": status,
            "orderDate": self._order_date(order.placed_at),
            "lastModifiedDate": epoch_ms(parcel.modified_at),
            "originShipmentDate": epoch_ms(parcel.created_at),
            "agreedDeliveryDate": _agreed_delivery(order.placed_at, facts.extended_days),
            "estimatedDeliveryStartDate": epoch_ms(order.placed_at + timedelta(days=2)),
            "estimatedDeliveryEndDate": epoch_ms(order.placed_at + timedelta(days=4)),
            "packageHistories": [
                {"createdDate": epoch_ms(at), "status": STATUS[state]}
                for at, state in parcel.history
            ],
            "paymentMethod": order.payment_method,
            "currencyCode": order.shop.currency,
            "packageGrossAmount": major(gross),
            "packageSellerDiscount": major(seller_discount),
            "packageTyDiscount": major(marketplace_discount),
            "packageTotalDiscount": major(total_discount),
            "packageTotalPrice": major(gross - total_discount),
            "customerId": buyer.number,
            "customerFirstName": buyer.first_name,
            "customerLastName": buyer.last_name,
            "customerEmail": buyer.email,
            "identityNumber": buyer.identity_number,
            "taxNumber": buyer.tax_number if buyer.is_company else None,
            "commercial": buyer.is_company,
            "supplierId": seller.number,
            "warehouseId": facts.warehouse_id,
            # Documented as text, sent as a number (fact sheet 6.2, types observed live).
            "cargoTrackingNumber": int(parcel.cargo_code),
            "cargoSenderNumber": parcel.tracking_number,
            "cargoProviderName": self.carrier_name(parcel),
            "cargoDeci": parcel.desi,
            "micro": order.micro_export,
            "createdBy": parcel.created_by,
            "originPackageIds": list(parcel.origins) or None,
            "shipmentNumber": parcel.number % 1_000_000_000,
            "invoiceNumber": parcel.invoice_number,
            "shipmentAddress": _address(buyer),
            "invoiceAddress": _invoice_address(buyer),
            "lines": lines,
            **_PACKAGE_CONSTANTS,
            **self._payer(),
        }

    def _payer(self) -> dict[str, object]:
        """1 on the seller's own contract, absent when the marketplace pays (fact sheet 6.2)."""
        return {"whoPays": 1} if self._settings.cargo_payer == "seller" else {}

    def carrier_name(self, parcel: Parcel) -> str:
        provider = self._taxonomy.cargo_providers.get(parcel.carrier)
        return parcel.carrier if provider is None else provider.name

    def _order_date(self, placed_at: datetime) -> int:
        # The order date alone is an epoch shifted by three hours (fact sheet 6.2, time zone).
        return epoch_ms(placed_at) + (GMT3_MS if self._settings.order_date == "gmt3" else 0)

    def _line(
        self, seller: Seller, parcel: Parcel, line: OrderLine, units: tuple[int, ...]
    ) -> dict[str, object]:
        shelf, buyer = line.shelf, parcel.order.buyer
        card = seller.cards.get(shelf.key)
        gross = major(line.unit_sale_minor)
        seller_minor = [line.unit_seller_discounts_minor[unit] for unit in units]
        ty_minor = [_marketplace_discount(line, buyer, unit) for unit in units]
        # Documents disagree whether a line's discounts are per unit or of all (fact sheet 6.2).
        shown = _total if self._settings.line_discounts == "total" else _average
        reason = int(parcel.cancel_reason) if parcel.cancel_reason.isdigit() else 0
        category_id = 0 if card is None else card.category_id
        root = self._taxonomy.root_of.get(category_id)
        return {
            "lineId": line.line_id,
            "barcode": shelf.barcode,
            "stockCode": shelf.stock_code,
            "contentId": card.content.content_id if card is not None and card.content else 0,
            "productName": shelf.title,
            "productSize": self._text(card, varianter=True),
            "productColor": self._text(card, varianter=False),
            "productOrigin": (card.origin or "") if card is not None else "",
            "productCategoryId": category_id,
            "quantity": len(units),
            "sellerId": seller.number,
            "salesCampaignId": 0,
            "currencyCode": parcel.order.shop.currency,
            "vatRate": shelf.vat_percent,
            "commission": line.commission_percent,
            "businessUnit": "" if root is None else root.name,
            "orderLineItemStatusName": STATUS[parcel.state],
            "lineGrossAmount": gross,
            "lineSellerDiscount": shown(seller_minor),
            "lineTyDiscount": shown(ty_minor),
            "lineTotalDiscount": shown(seller_minor) + shown(ty_minor),
            "lineUnitPrice": gross - _average(seller_minor) - _average(ty_minor),
            "discountDetails": [
                {
                    "lineItemId": f"{line.line_id}{unit:03d}",
                    "lineItemPrice": major(
                        line.unit_sale_minor
                        - line.unit_seller_discounts_minor[unit]
                        - _marketplace_discount(line, buyer, unit)
                    ),
                    "lineItemSellerDiscount": major(line.unit_seller_discounts_minor[unit]),
                    "lineItemTyDiscount": major(_marketplace_discount(line, buyer, unit)),
                }
                for unit in units
            ],
            "fastDeliveryOptions": [],
            "cancelledBy": "",
            "cancelReason": UNSUPPLIED_REASONS.get(reason, ""),
            "cancelReasonCode": reason,
            "defectiveClaimListingInsight": "",
        }

    def _text(self, card: Card | None, *, varianter: bool) -> str:
        """The value that tells variants apart (size), or the first that tells pages apart."""
        if card is None:
            return ""
        for value in card.attributes:
            rule = self._taxonomy.rule(card.category_id, value.attribute_id)
            if rule is not None and (rule.varianter if varianter else rule.slicer):
                return value.text
        return ""


def _marketplace_discount(line: OrderLine, buyer: Person, unit: int) -> int:
    """Shown for corporate orders only, otherwise 0 (fact sheet 6.2)."""
    return line.unit_marketplace_discounts_minor[unit] if buyer.is_company else 0


def _average(minor: list[int]) -> Decimal:
    """Per unit, to the cent: line amounts are averages, the units' own stand in the details."""
    if not any(minor):
        return _ZERO
    return (Decimal(sum(minor)) / 100 / len(minor)).quantize(_CENT, ROUND_HALF_UP)


def _total(minor: list[int]) -> Decimal:
    return major(sum(minor)) if any(minor) else _ZERO


def _agreed_delivery(placed_at: datetime, extended_days: int) -> int:
    """23:59 Turkish time of the next day, as in the official sample, plus granted days."""
    day = placed_at.astimezone(GMT3) + timedelta(days=1 + extended_days)
    return epoch_ms(day.replace(hour=23, minute=59, second=0, microsecond=0).astimezone(UTC))


def _address(buyer: Person) -> dict[str, object]:
    full_name = f"{buyer.first_name} {buyer.last_name}"
    street = f"{buyer.neighborhood} {buyer.street}"
    return {
        "id": buyer.number,
        "firstName": buyer.first_name,
        "lastName": buyer.last_name,
        "fullName": full_name,
        "company": buyer.company_name,
        "address1": street,
        "address2": "",
        "addressLines": {"addressLine1": street, "addressLine2": ""},
        "fullAddress": f"{street} {buyer.district} {buyer.city}",
        "city": buyer.city,
        "cityCode": buyer.city_code,
        "district": buyer.district,
        "districtId": 0,
        "neighborhood": buyer.neighborhood,
        "neighborhoodId": 0,
        "postalCode": buyer.postal_code,
        "countryCode": "TR",
        "phone": buyer.phone,
        "countyId": 0,
        "countyName": "",
        "shortAddress": "",
        "stateName": "",
    }


def _invoice_address(buyer: Person) -> dict[str, object]:
    address = _address(buyer) | {
        "sector": "",
        "latitude": "",
        "longitude": "",
        "isEInvoiceAvailable": buyer.is_company,
    }
    if buyer.is_company:
        address |= {"taxOffice": buyer.tax_office, "taxNumber": buyer.tax_number}
    return address
