"""What a seller may do to a package (fact sheet 6.3). Quick checks, plain 200, effects follow."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal

import msgspec
from aiohttp import web

from meschain.marketplaces.trendyol.facade.edge import MARKETPLACE
from meschain.marketplaces.trendyol.facade.envelope import Refused
from meschain.marketplaces.trendyol.facade.gate import Call, Request
from meschain.marketplaces.trendyol.facade.package import STATUS, UNSUPPLIED_REASONS
from meschain.marketplaces.trendyol.facade.seller import PackageFacts, Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.marketplaces.trendyol.facade.taxonomy import Taxonomy
from meschain.marketplaces.trendyol.facade.timetable import Timetable
from meschain.sandbox.world import Impossible, Parcel, ParcelState, World

# Awaiting packages only reserve stock and must not be processed (fact sheet 13).
_WORKABLE: Final = frozenset({ParcelState.CREATED, ParcelState.PICKING, ParcelState.INVOICED})
_READY: Final = frozenset({ParcelState.PICKING, ParcelState.INVOICED})
_BOX_INFO_CARRIERS: Final = frozenset({"CEVAMP", "CEVATEDARIK"})  # UPS has no code to assign
# A link or a phone number; the spaces and signs a phone may hold are ours.
_LINK: Final = re.compile(r"https?://[^\s/]+\S*")
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()-]{5,19}")
_INVOICE_NUMBER: Final = re.compile(r"[A-Za-z0-9]{3}20[2-9][0-9][0-9]{9}")  # fact sheet 6.6
_RELABELLED_BASE: Final = 7_290_000_000_000_001  # apart from the world's own numbers


class Empty(Request):
    """``params`` of calls that take none."""


class LineQuantity(Request):
    line_id: int
    quantity: int


class StatusParams(Request):
    invoice_number: str | None = None


class StatusBody(Request):
    status: Literal["Picking", "Invoiced"]
    lines: list[LineQuantity]
    params: StatusParams


class UnsuppliedBody(Request):
    lines: list[LineQuantity]
    reason_id: int


class SplitGroup(Request):
    order_line_ids: list[int]


class MultiSplitBody(Request):
    split_groups: list[SplitGroup]


class LineQuantities(Request):
    order_line_id: int
    quantities: list[int]


class QuantitySplitBody(Request):
    quantity_split: list[LineQuantities]


class PackageDetail(Request):
    order_line_id: int
    quantities: int  # a whole number here, a list in the quantity split


class SplitPackage(Request):
    package_details: list[PackageDetail]


class SplitPackagesBody(Request):
    split_packages: list[SplitPackage]


class BoxInfoBody(Request):
    box_quantity: int
    deci: int


class CarrierBody(Request):
    cargo_provider: str


class WarehouseBody(Request):
    warehouse_id: int


class ExtraTimeBody(Request):
    extended_day_count: Literal[1, 2, 3]


class OwnCourierBody(Request):
    is_phone_number: bool
    tracking_info: str
    params: Empty
    box_quantity: int | None = None
    deci: int | None = None


_STATUS: Final = msgspec.json.Decoder(StatusBody)
_UNSUPPLIED: Final = msgspec.json.Decoder(UnsuppliedBody)
_SPLIT: Final = msgspec.json.Decoder(SplitGroup)
_MULTI_SPLIT: Final = msgspec.json.Decoder(MultiSplitBody)
_QUANTITY_SPLIT: Final = msgspec.json.Decoder(QuantitySplitBody)
_SPLIT_PACKAGES: Final = msgspec.json.Decoder(SplitPackagesBody)
_BOX_INFO: Final = msgspec.json.Decoder(BoxInfoBody)
_CARRIER: Final = msgspec.json.Decoder(CarrierBody)
_WAREHOUSE: Final = msgspec.json.Decoder(WarehouseBody)
_EXTRA_TIME: Final = msgspec.json.Decoder(ExtraTimeBody)
_OWN_COURIER: Final = msgspec.json.Decoder(OwnCourierBody)


class OrderAction:
    """Every PUT and POST below ``/shipment-packages/{packageId}``."""

    def __init__(
        self, world: World, settings: Settings, taxonomy: Taxonomy, timetable: Timetable
    ) -> None:
        self._world = world
        self._settings = settings
        self._taxonomy = taxonomy
        self._timetable = timetable
        self._random = random.Random(f"{MARKETPLACE}:splits:{world.seed}")  # noqa: S311
        self._cargo_numbers = itertools.count(_RELABELLED_BASE)

    # — PUT (no suffix) —
    async def set_status(self, call: Call) -> web.Response:
        """Picking, then Invoiced; never back, and nothing further by this call."""
        body = await call.body(_STATUS)
        parcel = self._parcel(call)
        if _by_line(body.lines) != parcel.units:
            raise Refused(400, "invalid.lines", "lines must be the package's lines, whole")
        invoice_number = body.params.invoice_number or ""
        is_checked = bool(invoice_number) and self._settings.invoice_number == "form"
        if is_checked and not _INVOICE_NUMBER.fullmatch(invoice_number):
            raise Refused(400, "invalid.invoiceNumber", f"invoiceNumber: {invoice_number}")
        if body.status == "Picking":
            _require(parcel, frozenset({ParcelState.CREATED}))
            self._world.advance(parcel, ParcelState.PICKING)
        else:
            _require(parcel, frozenset({ParcelState.PICKING}))
            parcel.invoice_number = invoice_number
            self._world.advance(parcel, ParcelState.INVOICED)
        return web.Response()

    # — PUT /items/unsupplied —
    async def unsupply(self, call: Call) -> web.Response:
        """The package is destroyed; what remains of it goes on in a new one."""
        body = await call.body(_UNSUPPLIED)
        parcel = self._parcel(call)
        if body.reason_id not in UNSUPPLIED_REASONS:
            raise Refused(400, "invalid.reasonId", f"reasonId: {body.reason_id}")
        _require(parcel, _WORKABLE)
        try:
            self._world.cancel_units(
                parcel, _by_line(body.lines), by_seller=True, reason=str(body.reason_id)
            )
        except Impossible as no:
            raise Refused(400, "invalid.lines", no.reason) from no
        return web.Response()

    # — POST /split, /multi-split, /quantity-split, /split-packages —
    async def split(self, call: Call) -> web.Response:
        body = await call.body(_SPLIT)
        return self._split(call, [self._whole_lines(call, body)])

    async def multi_split(self, call: Call) -> web.Response:
        body = await call.body(_MULTI_SPLIT)
        return self._split(call, [self._whole_lines(call, group) for group in body.split_groups])

    async def quantity_split(self, call: Call) -> web.Response:
        body = await call.body(_QUANTITY_SPLIT)
        groups = [
            {line.order_line_id: quantity}
            for line in body.quantity_split
            for quantity in line.quantities
        ]
        return self._split(call, groups)

    async def split_packages(self, call: Call) -> web.Response:
        body = await call.body(_SPLIT_PACKAGES)
        groups: list[Mapping[int, int]] = []
        for package in body.split_packages:
            group = Counter[int]()
            for detail in package.package_details:
                group[detail.order_line_id] += detail.quantities
            groups.append(group)
        return self._split(call, groups)

    def _whole_lines(self, call: Call, group: SplitGroup) -> Mapping[int, int]:
        units = self._parcel(call).units
        unknown = [line_id for line_id in group.order_line_ids if line_id not in units]
        if unknown:
            raise Refused(400, "invalid.orderLineIds", f"unknown: {unknown[0]}")
        if len(set(group.order_line_ids)) != len(group.order_line_ids):
            raise Refused(400, "invalid.orderLineIds", "a line may be named once")
        return {line_id: units[line_id] for line_id in group.order_line_ids}

    def _split(self, call: Call, groups: Sequence[Mapping[int, int]]) -> web.Response:
        """Answered at once, done a moment later, as documented."""
        parcel = self._parcel(call)
        _require(parcel, _WORKABLE)
        asked = Counter[int]()
        for group in groups:
            if not group or min(group.values()) < 1:
                raise Refused(400, "invalid.split", "every group needs lines and quantities")
            asked.update(group)
        if not groups or any(
            count > parcel.units.get(line_id, 0) for line_id, count in asked.items()
        ):
            raise Refused(400, "invalid.split", "not in this package")
        if len(groups) == 1 and asked == parcel.units:
            raise Refused(400, "invalid.split", "nothing would stay in the package")
        delay_ms = self._random.uniform(self._settings.apply_ms_min, self._settings.apply_ms_max)

        def apply() -> None:
            # The package may have been cancelled or split in between: then nothing happens.
            with suppress(Impossible):
                self._world.split(parcel, groups)

        self._timetable.after(delay_ms / 1000, apply)
        return web.Response()

    # — PUT /box-info —
    async def set_box_info(self, call: Call) -> web.Response:
        body = await call.body(_BOX_INFO)
        parcel = self._parcel(call)
        _require(parcel, _WORKABLE)
        if parcel.carrier not in _BOX_INFO_CARRIERS:
            raise Refused(400, "invalid.cargo.provider", "box-info is for UPS and CEVA only")
        self._set_boxes(call.seller, parcel, body.box_quantity, body.deci)
        return web.Response()

    # — PUT /cargo-providers —
    async def change_carrier(self, call: Call) -> web.Response:
        """Another carrier, and with it another tracking number on the label."""
        body = await call.body(_CARRIER)
        parcel = self._parcel(call)
        if body.cargo_provider not in self._taxonomy.cargo_providers:
            raise Refused(400, "invalid.cargo.provider", f"cargoProvider: {body.cargo_provider}")
        _require(parcel, _WORKABLE)
        parcel.carrier = body.cargo_provider
        parcel.cargo_code = str(next(self._cargo_numbers))
        self._facts(call.seller, parcel).label_boxes = 0  # the old label is void
        self._touch(call.seller, parcel)
        return web.Response()

    # — PUT /warehouse —
    async def set_warehouse(self, call: Call) -> web.Response:
        body = await call.body(_WAREHOUSE)
        parcel = self._parcel(call)
        _require(parcel, _WORKABLE)
        self._facts(call.seller, parcel).warehouse_id = body.warehouse_id
        self._touch(call.seller, parcel)
        return web.Response()

    # — PUT /extended-agreed-delivery-date —
    async def extend_delivery(self, call: Call) -> web.Response:
        body = await call.body(_EXTRA_TIME)
        parcel = self._parcel(call)
        _require(parcel, _WORKABLE)
        self._facts(call.seller, parcel).extended_days = body.extended_day_count
        self._touch(call.seller, parcel)
        return web.Response()

    # — PUT /alternative-delivery —
    async def ship_by_own_courier(self, call: Call) -> web.Response:
        """The only way a seller sets Shipped."""
        body = await call.body(_OWN_COURIER)
        parcel = self._parcel(call)
        if not (_PHONE if body.is_phone_number else _LINK).fullmatch(body.tracking_info):
            raise Refused(400, "invalid.trackingInfo", "trackingInfo must be a link or a phone")
        _require(parcel, _READY)
        boxes = 1 if body.box_quantity is None else body.box_quantity
        deci = parcel.desi if body.deci is None else body.deci
        self._set_boxes(call.seller, parcel, boxes, deci)
        parcel.tracking_number = body.tracking_info
        self._world.advance(parcel, ParcelState.SHIPPED)
        return web.Response()

    # — inside —
    def _parcel(self, call: Call) -> Parcel:
        """The package, or the oddity: 401 for one that does not exist (fact sheet 1.5)."""
        parcel = call.seller.parcel(call.path_number("packageId"))
        if parcel is not None:
            return parcel
        if self._settings.unknown_package == "404":
            raise Refused(404, "not.found", "Shipment package not found")
        raise Refused(401, "unauthorized", "Unauthorized")

    @staticmethod
    def _facts(seller: Seller, parcel: Parcel) -> PackageFacts:
        return seller.parcels[parcel.number]

    def _set_boxes(self, seller: Seller, parcel: Parcel, boxes: int, deci: int) -> None:
        if boxes < 1 or deci < 1:
            raise Refused(400, "invalid.boxQuantity", "boxQuantity and deci must be above zero")
        self._facts(seller, parcel).box_quantity = boxes
        parcel.desi = deci
        self._touch(seller, parcel)

    def _touch(self, seller: Seller, parcel: Parcel) -> None:
        """A change that is no new status: pulls show it, webhooks stay silent."""
        parcel.modified_at = self._world.clock.now()
        seller.log.note(parcel)


def _by_line(lines: Sequence[LineQuantity]) -> dict[int, int]:
    units: dict[int, int] = {}
    for line in lines:
        if line.line_id in units or line.quantity < 1:
            raise Refused(400, "invalid.lines", f"lineId: {line.line_id}")
        units[line.line_id] = line.quantity
    if not units:
        raise Refused(400, "invalid.lines", "lines must not be empty")
    return units


def _require(parcel: Parcel, states: frozenset[ParcelState]) -> None:
    if parcel.state not in states:
        raise Refused(400, "invalid.status", f"package is {STATUS[parcel.state]}")
