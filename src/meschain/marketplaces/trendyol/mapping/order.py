"""Packages as order observations, and the bodies of actions on packages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.channel.contract import PackageLine, PackageRef
from meschain.channel.outcome import ContractBroken
from meschain.domain.order import (
    Address,
    Buyer,
    CargoPayer,
    LineObservation,
    OrderObservation,
    PackageObservation,
    PackageState,
)
from meschain.domain.text import fold
from meschain.marketplaces.trendyol import wire
from meschain.marketplaces.trendyol.mapping.reply import decoded, text

States = Mapping[str, PackageState]

# ``orderDate`` is an epoch that runs three hours ahead; history and lastModified are true. [D]
# The two date filters are documented as GMT+3 as well and nobody has said which clock they mean.
# Source: sheet 6.2.
SHIFT: Final = timedelta(hours=3)

# By the account's setting ``order_date``: how far the order date runs ahead.
ORDER_DATE_SHIFTS: Final[Mapping[str, timedelta]] = {"gmt3": SHIFT, "utc": timedelta()}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The seller's own cargo contract; the field is absent when the marketplace pays. Source: sheet 6.2
_SELLER_PAYS: Final = 1

# Carriers of which the marketplace gives a label, by the start of their folded name. Source: 6.5
_LABEL_CARRIERS: Final = ("trendyol express", "tex", "aras")

# Our reasons → theirs. They have no "other": an integration error (504) claims the least, as the
# others state a fact about goods or buyer. Source: sheet 6.3.
UNSUPPLIED_REASONS: Final[Mapping[str, int]] = {
    "out_of_stock": 500,
    "defective": 501,
    "wrong_price": 502,
    "other": 504,
    "force_majeure": 506,
}

# A phone number is international, or Turkish with its 0, or a mobile one without. Other digits are
# a carrier's own number. Spaces, brackets and hyphens are for people.
_PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}|0[1-9][0-9]{9}|5[0-9]{9}")
_PHONE_SIGNS: Final = re.compile(r"[ ()-]")

STATUS_NAMES: Final[Mapping[PackageState, str]] = {
    PackageState.PICKING: "Picking",
    PackageState.INVOICED: "Invoiced",
}


def epoch_ms(instant: datetime) -> int:
    return microseconds(instant) // 1000


def instant(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


# — observation —


def orders(
    rows: Iterable[msgspec.Raw], states: States, date_shift: timedelta
) -> tuple[tuple[OrderObservation, ...], tuple[bytes, ...]]:
    """Packages gathered to orders, in the order met; and the rows that could not be read."""
    gathered: dict[str, dict[str, tuple[wire.Package, bytes]]] = {}
    unread: list[bytes] = []
    for row in rows:
        raw = bytes(row)
        package = decoded(raw, wire.Package)
        if isinstance(package, ContractBroken):
            unread.append(raw)
            continue
        packages = gathered.setdefault(str(package.order_number), {})
        package_id = str(package.shipment_package_id)
        # The same package may come twice while pages move: the later look counts.
        known = packages.get(package_id)
        if known is None or known[0].last_modified_date <= package.last_modified_date:
            packages[package_id] = package, raw
    observed = tuple(
        _order(list(packages.values()), states, date_shift) for packages in gathered.values()
    )
    return observed, tuple(unread)


def whole(order: OrderObservation) -> OrderObservation:
    """The observation as one of a read that covered every package."""
    return replace(order, is_whole=True)


def package_of(orders: Iterable[OrderObservation], package_id: str) -> PackageObservation | None:
    packages = (package for order in orders for package in order.packages)
    return next((package for package in packages if package.external_id == package_id), None)


def _order(
    rows: Sequence[tuple[wire.Package, bytes]], states: States, date_shift: timedelta
) -> OrderObservation:
    # All packages carry the head; the one touched last has its current form, as addresses of
    # micro-export orders come empty at first.
    head = max((package for package, _ in rows), key=lambda package: package.last_modified_date)
    return OrderObservation(
        external_id=str(head.order_number),
        placed_at=instant(head.order_date) - date_shift,
        currency=head.currency_code,
        packages=tuple(_package(package, raw, states) for package, raw in rows),
        buyer=_buyer(head),
        shipping_address=_address(head.shipment_address),
        invoice_address=_address(head.invoice_address),
        micro_export=bool(head.micro),
        payment_method=text(head.payment_method),
        unknown_fields=_undocumented(rows),
        raw=b"[" + b",".join(raw for _, raw in rows) + b"]",
    )


def _package(package: wire.Package, raw: bytes, states: States) -> PackageObservation:
    extras = msgspec.json.decode(raw, type=_LineFields).lines
    return PackageObservation(
        external_id=str(package.shipment_package_id),
        state=states.get(package.status),
        state_raw=package.status,
        modified_at=instant(package.last_modified_date),
        lines=tuple(_line(*pair) for pair in zip(package.lines, extras, strict=True)),
        carrier=text(package.cargo_provider_name),
        cargo_code=text(package.cargo_tracking_number),
        tracking_number=text(package.cargo_sender_number),
        tracking_url=text(package.cargo_tracking_link),
        desi=package.cargo_deci,
        cargo_payer=_cargo_payer(package.who_pays),
        origin_package_ids=tuple(str(origin) for origin in package.origin_package_ids or ()),
        total=package.package_total_price,
        ship_by=instant(package.agreed_delivery_date) if package.agreed_delivery_date else None,
    )


_EMPTY: Final[tuple[object, ...]] = (None, "", [])


def _line(line: wire.Line, fields: Mapping[str, msgspec.Raw]) -> LineObservation:
    known = wire.Line.__struct_encode_fields__
    extra = {name: _value(raw) for name, raw in fields.items() if name not in known}
    units = line.discount_details or []
    return LineObservation(
        external_id=str(line.line_id),
        sku=text(line.stock_code),
        barcode=text(line.barcode),
        title=text(line.product_name),
        quantity=line.quantity,
        unit_gross=line.line_gross_amount,
        unit_seller_discount=_per_unit(
            line, [unit.line_item_seller_discount for unit in units], line.line_seller_discount
        ),
        unit_marketplace_discount=_per_unit(
            line, [unit.line_item_ty_discount for unit in units], line.line_ty_discount
        ),
        payable=_payable(line),
        vat_percent=line.vat_rate,
        commission_percent=line.commission,
        state_raw=text(line.order_line_item_status_name),
        extra={name: value for name, value in extra.items() if value not in _EMPTY},
    )


def _payable(line: wire.Line) -> Decimal:
    """The units' own prices: those of the line are averages and can miss cents (sheet 6.2)."""
    units = line.discount_details or []
    if len(units) == line.quantity:
        return sum((unit.line_item_price for unit in units), Decimal(0))
    return line.line_unit_price * line.quantity


def _per_unit(line: wire.Line, units: Sequence[Decimal | None], of_line: Decimal | None) -> Decimal:
    """The exact mean of the units' discounts.

    Whether the line's own amount is per unit or of all is told both ways, and it is rounded; it
    counts, as per unit, only where the units say nothing (sheet 6.2).
    """
    known = [amount for amount in units if amount is not None]
    if known and len(known) == line.quantity:
        return sum(known, Decimal(0)) / line.quantity
    return of_line or Decimal(0)


def _cargo_payer(who_pays: int | None) -> CargoPayer | None:
    if who_pays is None:
        return CargoPayer.MARKETPLACE
    return CargoPayer.SELLER if who_pays == _SELLER_PAYS else None


def _buyer(package: wire.Package) -> Buyer:
    is_company = bool(package.commercial)
    invoice = package.invoice_address or wire.Address()
    tax_number = text(invoice.tax_number) or text(package.tax_number)
    return Buyer(
        external_id=text(package.customer_id),
        full_name=_joined(package.customer_first_name, package.customer_last_name),
        email=text(package.customer_email),
        is_company=is_company,
        company_name=text(invoice.company) if is_company else "",
        tax_office=text(invoice.tax_office) if is_company else "",
        tax_number=tax_number if is_company else "",
        identity_number="" if is_company else text(package.identity_number),
    )


def _address(address: wire.Address | None) -> Address:
    if address is None:
        return Address()
    lines = address.address_lines or wire.AddressLines()
    return Address(
        full_name=text(address.full_name) or _joined(address.first_name, address.last_name),
        company=text(address.company),
        street=_joined(address.address1, address.address2)
        or _joined(lines.address_line1, lines.address_line2)
        or text(address.full_address),
        neighborhood=text(address.neighborhood),
        district=text(address.district),
        city=text(address.city),
        postal_code=text(address.postal_code),
        country_code=text(address.country_code),
        phone=text(address.phone),
    )


def _joined(*parts: wire.Text) -> str:
    return " ".join(filter(None, (text(part).strip() for part in parts)))


# — fields that nobody documented —


class _LineFields(msgspec.Struct):
    lines: list[dict[str, msgspec.Raw]]


_ANYTHING: Final = msgspec.json.Decoder(object, float_hook=Decimal)

_PACKAGE_KNOWN: Final = wire.PACKAGE_NOT_CARRIED.union(wire.Package.__struct_encode_fields__)
_LINE_KNOWN: Final = wire.LINE_NOT_CARRIED.union(wire.Line.__struct_encode_fields__)
_ADDRESS_KNOWN: Final = wire.ADDRESS_NOT_CARRIED.union(wire.Address.__struct_encode_fields__)


def _value(raw: msgspec.Raw) -> object:
    return _ANYTHING.decode(raw)


def _undocumented(rows: Iterable[tuple[wire.Package, bytes]]) -> dict[str, object]:
    """Path of a field → its value by package or line id, so that nothing overwrites another."""
    found: dict[str, dict[str, object]] = {}
    for package, raw in rows:
        package_id = str(package.shipment_package_id)
        for path, owner_id, value in _undocumented_of(package, package_id, raw):
            found.setdefault(path, {})[owner_id] = value
    return dict(found)


def _undocumented_of(
    package: wire.Package, package_id: str, raw: bytes
) -> Iterator[tuple[str, str, object]]:
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    for name in fields.keys() - _PACKAGE_KNOWN:
        yield name, package_id, _value(fields[name])
    for kind in ("shipmentAddress", "invoiceAddress"):
        address = msgspec.json.decode(fields.get(kind, b"null"), type=dict[str, msgspec.Raw] | None)
        for name in (address or {}).keys() - _ADDRESS_KNOWN:
            yield f"{kind}.{name}", package_id, _value((address or {})[name])
    lines = msgspec.json.decode(fields["lines"], type=list[dict[str, msgspec.Raw]])
    for line, line_fields in zip(package.lines, lines, strict=True):
        for name in line_fields.keys() - _LINE_KNOWN:
            yield f"lines.{name}", str(line.line_id), _value(line_fields[name])


# — actions —


def wire_id(identifier: str) -> int | str:
    """Their ids are numbers today; one that got letters goes as text."""
    return int(identifier) if identifier.isdecimal() else identifier


def action_lines(lines: Iterable[PackageLine]) -> list[wire.ActionLine]:
    return [wire.ActionLine(line_id=wire_id(line.line_id), quantity=line.units) for line in lines]


def split(package: PackageRef, groups: Sequence[Sequence[PackageLine]]) -> tuple[str, wire.Split]:
    """Endpoint and body for a split: the plainest of the four that can say it (sheet 6.3).

    Whole lines go by id: one group, or two that cover the package (the rest stays behind either
    way), by ``split``; more by ``multi-split``. Parts of a single line go by ``quantity-split``,
    anything else by ``split-packages``.
    """
    units = {line.line_id: line.units for line in package.lines}
    moved = [line for group in groups for line in group]
    if all(units.get(line.line_id) == line.units for line in moved):
        split_groups = [
            wire.SplitGroup(order_line_ids=[wire_id(line.line_id) for line in group])
            for group in groups
        ]
        covers_all = len(moved) == len(package.lines)
        if len(groups) == 1 or (len(groups) == 2 and covers_all):
            return "split", split_groups[0]
        return "multi-split", wire.MultiSplit(split_groups=split_groups)
    line_ids = {line.line_id for line in moved}
    if len(line_ids) == 1 and sum(line.units for line in moved) == units.get(moved[0].line_id):
        quantities = wire.LineQuantities(
            order_line_id=wire_id(moved[0].line_id), quantities=[line.units for line in moved]
        )
        return "quantity-split", wire.QuantitySplit(quantity_split=[quantities])
    packages = [
        wire.SplitPackage(
            package_details=[
                wire.PackageDetail(order_line_id=wire_id(line.line_id), quantities=line.units)
                for line in group
            ]
        )
        for group in groups
    ]
    return "split-packages", wire.SplitPackages(split_packages=packages)


def own_courier(tracking: str) -> wire.AlternativeDelivery | None:
    """The body of a hand-over to an own courier; None when it is neither address nor phone."""
    is_url = tracking.lower().startswith(("http://", "https://"))
    is_phone = _PHONE.fullmatch(_PHONE_SIGNS.sub("", tracking)) is not None
    if not (is_url or is_phone):
        return None
    return wire.AlternativeDelivery(
        is_phone_number=is_phone, tracking_info=tracking, params=wire.NO_PARAMS
    )


def has_common_label(package: PackageObservation) -> bool:
    """Whether the marketplace prints this label: two carriers, on its own contract (sheet 6.5)."""
    return package.cargo_payer is CargoPayer.MARKETPLACE and fold(package.carrier).startswith(
        _LABEL_CARRIERS
    )
