"""Pure: N11's structures to the neutral ones and back. No I/O, no clock, nothing guessed.

Listings and offers are here as requests and rows, orders as observations. Facts and their
certainty: fact sheet 3.1 to 3.6 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.contract import (
    CategoryAttribute,
    CategoryNode,
    ListingContent,
    MappedAttribute,
    ObservedOffer,
    OfferPush,
    PackageLine,
    RemoteKeys,
)
from meschain.channel.outcome import Done, ItemOutcome, Refused, Unknown
from meschain.domain.money import Money, Rounding
from meschain.domain.order import (
    Address,
    Buyer,
    CargoPayer,
    LineObservation,
    OrderObservation,
    PackageObservation,
    PackageState,
)
from meschain.marketplaces.n11 import wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

BRAND_ATTRIBUTE_ID: Final = "1"  # ``Marka`` in every category [A]
CANCEL_REASON_IDS: Final[Mapping[str, int]] = {
    "out_of_stock": 61,
    "defective": 62,
    "wrong_price": 63,
    "force_majeure": 64,
    "other": 65,
}

_CURRENCY_TYPES: Final[Mapping[str, str]] = {"TRY": "TL", "USD": "USD", "EUR": "EUR"}
_CURRENCIES: Final[Mapping[str, str]] = {theirs: ours for ours, theirs in _CURRENCY_TYPES.items()}
_ORDER_CURRENCY: Final = "TRY"  # order money is always TL, whatever the product's currency

# An ``Active`` listing is on sale only if its ``saleStatus`` says so. What ``Unlisted`` means is
# nowhere stated: it stays unknown, with its raw name.
_OFFER_STATES: Final[Mapping[str, str]] = {
    "InCatalogApproval": "pending",
    "InApproval": "pending",
    "Suspended": "archived",
    "CatalogRejected": "rejected",
    "Prohibited": "locked",
}
_ACTIVE_STATES: Final[Mapping[str, str]] = {
    "On_Sale": "on_sale",
    "Before_Sale": "off_sale",
    "Out_Of_Stock": "off_sale",
    "Sale_Closed": "off_sale",
}
# The sheet has the item reasons only in translation; the field names in them are literal.
_REASON_ADVICE: Final[tuple[tuple[str, str], ...]] = (
    ("vatrate", "advice.n11.vat_rate"),
    ("listprice", "advice.n11.list_price"),
    ("shipmenttemplate", "advice.n11.shipment_template"),
)
# deliveryFeeType: 1 n11 · 2 buyer · 3 store · 4 conditional, buyer · 5 conditionally free, seller
_CARGO_PAYERS: Final[Mapping[str, CargoPayer]] = {
    "1": CargoPayer.MARKETPLACE,
    "2": CargoPayer.BUYER,
    "3": CargoPayer.SELLER,
    "4": CargoPayer.BUYER,
    "5": CargoPayer.SELLER,
}
_COMPANY_INVOICE: Final = "2"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_MS_MAX: Final = 10**13  # the year 2286: later is no date but damage
_AMOUNT_DIGITS_MAX: Final = 12
_UNIT_AMOUNT: Final = Decimal("0.000001")  # as fine as unit amounts are kept


class Unreadable(ValueError):
    """A row contradicts the contract; the caller keeps it raw."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The account settings that stand in every product body."""

    integrator: str
    shipment_template: str
    preparing_days_min: int
    purchase_quantity_max: int | None


def text(value: wire.Text) -> str:
    """Null, number or text as text without outer blanks."""
    return "" if value is None else str(value).strip()


def number_or_text(identifier: str) -> int | str:
    """N11's ids are JSON numbers; one that has got letters goes out as text."""
    is_number = identifier.isascii() and identifier.isdecimal()
    return int(identifier) if is_number and str(int(identifier)) == identifier else identifier


def reasons_text(*places: Iterable[wire.Text] | wire.Text) -> str:
    """The reasons in N11's words, from all the places where N11 may put them."""
    found: list[str] = []
    for place in places:
        entries = [place] if place is None or isinstance(place, (str, int)) else place
        found += [text(entry) for entry in entries if text(entry)]
    return " · ".join(dict.fromkeys(found))


def refused_for(code: str, reasons: str) -> Refused:
    """A refusal in N11's words, with our advice where the words name a field."""
    folded = reasons.lower()
    advice = next((key for name, key in _REASON_ADVICE if name in folded), "")
    return Refused(code, reasons, advice)


# — reference data —


def category_nodes(tree: wire.CategoryTree | list[wire.Category]) -> Iterator[CategoryNode]:
    """The tree flattened, parents before their children."""
    roots = tree if isinstance(tree, list) else tree.categories
    waiting: list[tuple[wire.Category, str | None]] = [(root, None) for root in reversed(roots)]
    while waiting:
        node, parent_id = waiting.pop()
        node_id = text(node.id)
        children = node.sub_categories or []
        yield CategoryNode(node_id, text(node.name), parent_id, is_leaf=not children)
        waiting += [(child, node_id) for child in reversed(children)]


def category_attribute(attribute: wire.Attribute) -> CategoryAttribute:
    """One attribute with its values; the brand is the attribute with id 1."""
    attribute_id = text(attribute.attribute_id)
    return CategoryAttribute(
        attribute_id=attribute_id,
        name=text(attribute.attribute_name),
        is_required=bool(attribute.is_mandatory),
        is_variant=bool(attribute.is_variant),
        is_slicer=bool(attribute.is_slicer),
        allows_custom=bool(attribute.is_custom_value),
        values=tuple((text(v.id), text(v.value)) for v in attribute.attribute_values or ()),
        is_brand=attribute_id == BRAND_ATTRIBUTE_ID,
    )


# — listings and offers —


def price_refusal(list_price: Money, sale_price: Money) -> Refused | None:
    """Why this pair of prices must not leave.

    An older official page says that one bad price makes N11 ``REJECT`` the whole request: a
    price that is known to be bad would take the other 999 SKUs with it.
    """
    if sale_price.currency not in _CURRENCY_TYPES or list_price.currency != sale_price.currency:
        return Refused("", f"{list_price.currency}/{sale_price.currency}", "advice.n11.currency")
    if list_price < sale_price:
        return Refused("", f"{list_price.amount} < {sale_price.amount}", "advice.n11.list_price")
    return None


def vat_refusal(item: ListingContent) -> Refused | None:
    """Why this VAT rate cannot be written: N11 takes whole percents only."""
    is_whole = item.vat_percent == item.vat_percent.to_integral_value()
    return None if is_whole else Refused("", str(item.vat_percent), "advice.n11.vat_rate")


def new_sku_refusal(item: ListingContent) -> Refused | None:
    """Why this item cannot be created as it is."""
    return vat_refusal(item) or price_refusal(item.list_price, item.sale_price)


def new_sku(item: ListingContent, terms: Terms) -> wire.NewSku:
    """The row that creates a listing. Without a variant group the SKU is a group of its own."""
    code = item.keys.stock_code
    brand = MappedAttribute(BRAND_ATTRIBUTE_ID, item.brand_id, item.brand_name)
    return wire.NewSku(
        title=item.content.title,
        description=item.content.description_html,
        category_id=number_or_text(item.category_id),
        currency_type=_CURRENCY_TYPES[item.sale_price.currency],
        product_main_id=item.keys.group_id or code,
        preparing_day=max(item.handling_days, terms.preparing_days_min),
        shipment_template=terms.shipment_template,
        stock_code=code,
        quantity=item.quantity,
        images=tuple(wire.Image(url=url, order=n) for n, url in enumerate(item.image_urls)),
        attributes=(_sku_attribute(brand), *_other_attributes(item)),
        sale_price=item.sale_price.amount,
        list_price=item.list_price.amount,
        vat_rate=int(item.vat_percent),
        max_purchase_quantity=terms.purchase_quantity_max,
        barcode=item.keys.barcode or None,
    )


def sku_update(item: ListingContent, terms: Terms) -> wire.SkuUpdate:
    """The row that changes a listing's content.

    Group and purchase limit are taken over only with their ``delete…`` flag, otherwise silently
    ignored [B]. Title, category, brand, pictures and barcode are not changeable here.
    """
    limit = terms.purchase_quantity_max
    return wire.SkuUpdate(
        stock_code=item.keys.stock_code,
        vat_rate=int(item.vat_percent),
        description=item.content.description_html or None,
        preparing_day=max(item.handling_days, terms.preparing_days_min),
        shipment_template=terms.shipment_template or None,
        product_main_id=item.keys.group_id or None,
        delete_product_main_id=bool(item.keys.group_id),
        max_purchase_quantity=limit,
        delete_max_purchase_quantity=limit is not None,
        attributes=tuple(_other_attributes(item)) or None,
    )


def _sku_attribute(attribute: MappedAttribute) -> wire.SkuAttribute:
    """A value id or free text, never both: both are ``TASK_ERR_001``."""
    value_id = attribute.value_id
    return wire.SkuAttribute(
        id=number_or_text(attribute.attribute_id),
        value_id=number_or_text(value_id) if value_id else None,
        custom_value=None if value_id else attribute.custom_value,
    )


def _other_attributes(item: ListingContent) -> Iterator[wire.SkuAttribute]:
    """All attributes but the brand, which is a field of its own with us."""
    named = (entry for entry in item.attributes if entry.attribute_id != BRAND_ATTRIBUTE_ID)
    return map(_sku_attribute, named)


def sku_offer(push: OfferPush) -> wire.SkuOffer:
    """The row that sets quantity, prices or both; what is None stays out and untouched."""
    if push.list_price is None or push.sale_price is None:
        return wire.SkuOffer(stock_code=push.key, quantity=push.quantity)
    return wire.SkuOffer(
        stock_code=push.key,
        list_price=push.list_price.amount,
        sale_price=push.sale_price.amount,
        quantity=push.quantity,
        currency_type=_CURRENCY_TYPES[push.sale_price.currency],
    )


def item_reasons(item: wire.TaskItem) -> str:
    """Some answers put the reasons beside the item's status, some inside its ``sku``."""
    return reasons_text(item.reasons, item.sku.reasons if item.sku else None)


def item_outcomes(items: Iterable[wire.TaskItem]) -> dict[str, ItemOutcome]:
    """What a processed task says of each SKU, by stock code."""
    outcomes: dict[str, ItemOutcome] = {}
    for item in items:
        outcomes[text(item.item_code)] = _outcome(text(item.status), item_reasons(item))
    outcomes.pop("", None)  # a row without a code speaks of nothing
    return outcomes


def line_outcomes(results: Iterable[wire.LineResult]) -> dict[str, ItemOutcome]:
    """What an acknowledgement says of each line, by line id."""
    return {
        text(result.line_id): _outcome(text(result.status), reasons_text(result.reasons))
        for result in results
    }


def _outcome(status: str, reasons: str) -> ItemOutcome:
    match status.upper():  # one official snapshot prints ``Fail``
        case "SUCCESS":
            return Done()
        case "FAIL":
            return refused_for("", reasons)
        case _:
            return Unknown("not_named", f"{status} {reasons}".strip())


def observed_offer(row: wire.Product) -> ObservedOffer:
    """A row of product-query as the channel's own view of a listing."""
    status, sale_status = text(row.status), text(row.sale_status)
    states = _ACTIVE_STATES if status == "Active" else _OFFER_STATES
    currency = _CURRENCIES.get(text(row.currency_type))
    return ObservedOffer(
        keys=RemoteKeys(
            barcode=text(row.barcode),
            stock_code=text(row.stock_code),
            remote_id=text(row.n11_product_id),
            group_id=text(row.product_main_id),
        ),
        quantity=row.quantity,
        list_price=_money(row.list_price, currency),
        sale_price=_money(row.sale_price, currency),
        title=text(row.title),
        state=states.get(sale_status if status == "Active" else status, "unknown"),
        state_raw=f"{status}/{sale_status}",
        reject_reasons=_reject_reasons(row.reject_info),
    )


def _money(amount: wire.Amount, currency: str | None) -> Money | None:
    if amount is None or currency is None or not _is_sane(amount):
        return None
    return Money.from_decimal(amount, currency, rounding=Rounding.HALF_UP)


def _reject_reasons(info: object) -> tuple[str, ...]:
    """``rejectInfo`` in whatever shape: text as it is, anything else as its JSON."""
    if info in (None, "", [], {}):
        return ()
    return (info if isinstance(info, str) else msgspec.json.encode(info).decode(),)


# — orders —

_ROW: Final = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)
_PACKAGE_FIELDS: Final = wire.field_names(wire.ShipmentPackage) | wire.PACKAGE_FIELDS_UNREAD
_ADDRESS_FIELDS: Final = wire.field_names(wire.OrderAddress)
_LINE_FIELDS: Final = wire.field_names(wire.OrderLine)
_LINE_FIELDS_KNOWN: Final = _LINE_FIELDS | wire.LINE_FIELDS_UNREAD
_LINE_FIELDS_HIDDEN: Final = _LINE_FIELDS - wire.LINE_FIELDS_SHOWN
_HISTORY_FIELDS: Final = wire.field_names(wire.PackageHistory) | {"status"}


@dataclass(frozen=True, slots=True)
class PackageRow:
    """One row of shipmentPackages: the observed package, and what it says of its order."""

    package: PackageObservation
    wire: wire.ShipmentPackage
    placed_at: datetime
    unknown_fields: Mapping[str, object]
    raw: bytes


def package_row(raw: bytes, states: Mapping[str, str]) -> PackageRow:
    """Read one row. ``states`` is the manifest's table. Raises ``Unreadable``."""
    try:
        fields = _ROW.decode(raw)
        row = msgspec.convert(fields, wire.ShipmentPackage, strict=False)
    except wire.UNDECODABLE as error:
        raise Unreadable(str(error)) from error
    dates = [entry.created_date for entry in row.package_histories or () if entry.created_date]
    modified_ms = row.last_modified_date or max(dates, default=None)
    if modified_ms is None:
        raise Unreadable("a package without any date")
    line_fields = _objects(fields.get("lines"))
    lines = tuple(
        _line(line, extra) for line, extra in zip(row.lines or (), line_fields, strict=True)
    )
    state_raw = text(row.shipment_package_status)
    known = states.get(state_raw)
    state = None if known is None else PackageState(known)
    package = PackageObservation(
        external_id=_package_key(row, is_superseded=state is PackageState.SUPERSEDED),
        state=state,
        state_raw=state_raw,
        modified_at=_instant(modified_ms),
        lines=lines,
        carrier=text(row.cargo_provider_name),
        cargo_code=text(row.cargo_tracking_number),
        tracking_number=text(row.cargo_sender_number),
        tracking_url=text(row.cargo_tracking_link),
        cargo_payer=_cargo_payer(row.lines or ()),
        total=_stated(row.total_amount),
    )
    # No field says when the buyer ordered: the first status the package was in is the nearest.
    placed_at = _instant(min(dates, default=modified_ms))
    return PackageRow(package, row, placed_at, dict(_unknown_fields(fields)), raw)


def order_observations(
    rows: Iterable[PackageRow], *, is_whole: bool = False
) -> tuple[OrderObservation, ...]:
    """The rows gathered by order. Of a package seen twice the later state counts."""
    orders: dict[str, dict[str, PackageRow]] = {}
    for row in rows:
        packages = orders.setdefault(text(row.wire.order_number), {})
        seen = packages.get(row.package.external_id)
        if seen is None or seen.package.modified_at <= row.package.modified_at:
            packages[row.package.external_id] = row
    return tuple(
        _order(number, tuple(packages.values()), is_whole=is_whole)
        for number, packages in orders.items()
    )


def _order(number: str, rows: Sequence[PackageRow], *, is_whole: bool) -> OrderObservation:
    head = max(rows, key=lambda row: row.package.modified_at).wire
    billing = head.billing_address or wire.OrderAddress()
    shipping = head.shipping_address or wire.OrderAddress()
    buyer_name = text(head.customer_full_name) or text(billing.full_name)
    is_company = text(billing.invoice_type) == _COMPANY_INVOICE
    country = text(head.country_code)
    return OrderObservation(
        external_id=number,
        placed_at=min(row.placed_at for row in rows),
        currency=_ORDER_CURRENCY,
        packages=tuple(row.package for row in rows),
        buyer=Buyer(
            external_id=text(head.customer_id),
            full_name=buyer_name,
            email=text(head.customer_email),
            is_company=is_company,
            company_name=text(billing.full_name) if is_company else "",
            tax_office=text(billing.tax_house) or text(head.tax_office),
            tax_number=text(billing.tax_id) or text(head.tax_id),
            identity_number=text(billing.tc_id) or text(head.tc_identity_number),
        ),
        # At a pick-up point the shipping address is the point's and its name is null.
        shipping_address=_address(
            shipping, text(shipping.full_name) or text(billing.full_name) or buyer_name, country
        ),
        invoice_address=_address(billing, text(billing.full_name), ""),
        micro_export=any(row.wire.micro for row in rows),
        is_whole=is_whole,
        unknown_fields={name: value for row in rows for name, value in row.unknown_fields.items()},
        raw=b"[" + b",".join(row.raw for row in rows) + b"]",
    )


def _address(address: wire.OrderAddress, full_name: str, country: str) -> Address:
    is_company = text(address.invoice_type) == _COMPANY_INVOICE
    return Address(
        full_name=full_name,
        company=full_name if is_company else "",
        street=text(address.address),
        neighborhood=text(address.neighborhood),
        district=text(address.district),
        city=text(address.city),
        postal_code=text(address.postal_code),
        country_code=text(address.country_code) or country,
        phone=text(address.gsm),
    )


def _package_key(row: wire.ShipmentPackage, *, is_superseded: bool) -> str:
    """The package id; a special location delivery has none and is keyed by order and line.

    One part of a split keeps the line id, and with it the key that the whole package had; what is
    left of the whole is told apart by its status.
    """
    if text(row.id):
        return text(row.id)
    line_ids = sorted((text(line.order_line_id) for line in row.lines or ()), key=_by_length)
    parts = [text(row.order_number), *line_ids[:1]]
    if is_superseded:
        parts.append(PackageState.SUPERSEDED)
    return ":".join(parts)


def _by_length(identifier: str) -> tuple[int, str]:
    """Orders numbers kept as text like numbers."""
    return len(identifier), identifier


def _line(line: wire.OrderLine, fields: Mapping[str, object]) -> LineObservation:
    """A line. Where N11 states an amount for all units, it is exact and counts.

    sellerInvoiceAmount = price × quantity − (sellerDiscount + sellerCouponDiscount) × quantity; the
    discounts are per unit (the official formula lacks the factor, its own sample has it) and
    rounded where they do not divide. What N11 pays is stated, and never deducted.
    """
    if line.quantity < 1:
        raise Unreadable(f"{line.quantity} units")
    gross = _amount(line.price)
    discount = _amount(line.seller_discount) + _amount(line.seller_coupon_discount)
    invoiced = _stated(line.seller_invoice_amount)
    return LineObservation(
        external_id=text(line.order_line_id),
        sku=text(line.stock_code),
        barcode=text(line.barcode),
        title=text(line.product_name),
        quantity=line.quantity,
        unit_gross=gross,
        unit_seller_discount=discount,
        unit_marketplace_discount=_unit_mall_discount(line),
        payable=(gross - discount) * line.quantity if invoiced is None else invoiced,
        vat_percent=_stated(line.vat_rate),
        commission_percent=_commission_percent(line),
        state_raw=text(line.order_item_line_item_status_name),
        extra={k: v for k, v in fields.items() if k not in _LINE_FIELDS_HIDDEN and v is not None},
    )


def _unit_mall_discount(line: wire.OrderLine) -> Decimal:
    """N11's own sample has 0 a unit and 43.6 for the line: where they differ, the total counts."""
    unit, total = _amount(line.mall_discount), _stated(line.total_mall_discount_price)
    if total is None or unit * line.quantity == total:
        return unit
    return (total / line.quantity).quantize(_UNIT_AMOUNT, ROUND_HALF_UP)


def _commission_percent(line: wire.OrderLine) -> Decimal | None:
    """The rate less what a campaign takes off it."""
    rate = _stated(line.commission_rate)
    return None if rate is None else rate - _amount(line.seller_campaign_commission_rate)


def _is_sane(amount: Decimal) -> bool:
    """NaN and astronomical numbers are damage, not money."""
    return amount.is_finite() and amount.adjusted() <= _AMOUNT_DIGITS_MAX


def _stated(amount: wire.Amount) -> wire.Amount:
    """The amount or rate as given. Raises ``Unreadable`` for damage."""
    if amount is not None and not _is_sane(amount):
        raise Unreadable(f"number {amount}")
    return amount


def _amount(amount: wire.Amount) -> Decimal:
    """The amount, 0 for null: N11 leaves out a discount that is not there."""
    return _stated(amount) or Decimal(0)


def _instant(epoch_ms: int) -> datetime:
    """The instant of an epoch in milliseconds, exact."""
    if not 0 < epoch_ms < _EPOCH_MS_MAX:
        raise Unreadable(f"date {epoch_ms}")
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def epoch_ms(instant: datetime) -> int:
    """Milliseconds since the epoch, rounded down."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _cargo_payer(lines: Iterable[wire.OrderLine]) -> CargoPayer | None:
    """Who pays the carrier, if all lines agree."""
    payers = {_CARGO_PAYERS.get(text(line.delivery_fee_type)) for line in lines}
    return payers.pop() if len(payers) == 1 else None


def _unknown_fields(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The fields that the fact sheet does not name, by dotted path."""
    parts = (
        ("", [fields], _PACKAGE_FIELDS),
        ("billingAddress.", _objects([fields.get("billingAddress")]), _ADDRESS_FIELDS),
        ("shippingAddress.", _objects([fields.get("shippingAddress")]), _ADDRESS_FIELDS),
        ("lines.", _objects(fields.get("lines")), _LINE_FIELDS_KNOWN),
        ("packageHistories.", _objects(fields.get("packageHistories")), _HISTORY_FIELDS),
    )
    for prefix, objects, known in parts:
        for entry in objects:
            yield from ((prefix + name, entry[name]) for name in entry if name not in known)


def _objects(value: object) -> list[wire.Extras]:
    """The JSON objects of a list that has already been read once with its types."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


# — package actions —


def remaining_lines(
    lines: Sequence[PackageLine], cancelled: Sequence[PackageLine]
) -> tuple[PackageLine, ...]:
    """What is left of a package after cancelling; at most what was there may be cancelled."""
    left = {line.line_id: line.units for line in lines}
    for line in cancelled:
        left[line.line_id] -= line.units
        assert left[line.line_id] >= 0, "more units cancelled than the line has"
    return tuple(PackageLine(line_id, units) for line_id, units in left.items() if units)


def split_package(lines: Iterable[PackageLine]) -> wire.SplitPackage:
    """One new package by units."""
    return wire.SplitPackage(
        package_details=tuple(
            wire.PackageDetail(order_line_id=number_or_text(line.line_id), quantities=line.units)
            for line in lines
        )
    )


def cancelled_item(line: PackageLine, reason: str) -> wire.CancelledItem:
    """Units that cannot be supplied, with N11's number of the reason."""
    return wire.CancelledItem(
        order_line_id=number_or_text(line.line_id),
        quantity=line.units,
        cancel_reason_id=CANCEL_REASON_IDS[reason],
    )
