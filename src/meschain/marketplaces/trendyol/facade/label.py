"""The marketplace's own label, in ZPL, for two carriers (fact sheet 6.5)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web

from meschain.marketplaces.trendyol.facade.envelope import Refused, json_reply
from meschain.marketplaces.trendyol.facade.gate import Call, Request
from meschain.marketplaces.trendyol.facade.seller import Seller
from meschain.marketplaces.trendyol.facade.settings import Settings
from meschain.sandbox.world import Parcel, ParcelState, World

_CARRIERS: Final = frozenset({"TEXMP", "ARASMP"})
_STATES: Final = frozenset({ParcelState.PICKING, ParcelState.INVOICED})
Boxes = Annotated[int, msgspec.Meta(ge=1, le=100)]


class LabelBody(Request):
    format: Literal["ZPL"]
    box_quantity: Boxes | None = None
    volumetric_height: float | None = None


_DECODER: Final = msgspec.json.Decoder(LabelBody)


class CommonLabel:
    """POST asks for a label, GET fetches it: one per box."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings

    async def create(self, call: Call) -> web.Response:
        body = await call.body(_DECODER)
        parcel = self._parcel(call)
        if parcel.carrier not in _CARRIERS:
            raise Refused(400, "invalid.carrier", "Only Trendyol Express and Aras have labels")
        if self._settings.cargo_payer == "seller":
            raise Refused(400, "invalid.contract", "Only Trendyol's own contract has labels")
        if parcel.state not in _STATES:
            raise Refused(400, "invalid.status", "Package must be Picking or Invoiced")
        facts = call.seller.parcels[parcel.number]
        facts.label_boxes = body.box_quantity or facts.box_quantity or 1
        return web.Response()

    async def read(self, call: Call) -> web.Response:
        parcel = self._parcel(call)
        boxes = call.seller.parcels[parcel.number].label_boxes
        if not boxes:
            raise Refused(404, "not.found", "No label was created")
        labels = [
            {"label": _zpl(parcel, box, boxes), "format": "ZPL"} for box in range(1, boxes + 1)
        ]
        return json_reply({"data": labels})

    def _parcel(self, call: Call) -> Parcel:
        code = call.request.match_info["cargoTrackingNumber"]
        parcel = self._world.parcel_labelled(code)
        if parcel is None:
            raise Refused(404, "not.found", "Cargo tracking number not found")
        if not _belongs(call.seller, parcel):
            raise Refused(401, "unauthorized", "Cargo tracking number of another seller")
        return parcel


def _belongs(seller: Seller, parcel: Parcel) -> bool:
    return parcel.order.shop is seller.shop


def _zpl(parcel: Parcel, box: int, boxes: int) -> str:
    """A plain 100×150 mm label at 203 dpi: code as Code 128, addressee, box of boxes."""
    buyer = parcel.order.buyer
    name = f"{buyer.first_name} {buyer.last_name}"
    place = f"{buyer.district} / {buyer.city}"
    return (
        "^XA^CI28^PW800^LL1200"
        f"^FO60,80^BY3^BCN,240,Y,N,N^FD{parcel.cargo_code}^FS"
        f"^FO60,420^A0N,40,40^FD{_plain(name)}^FS"
        f"^FO60,480^A0N,32,32^FD{_plain(buyer.neighborhood + ' ' + buyer.street)}^FS"
        f"^FO60,530^A0N,32,32^FD{_plain(place)}^FS"
        f"^FO60,620^A0N,32,32^FD{parcel.order.number}  {box}/{boxes}^FS"
        "^XZ"
    )


def _plain(text: str) -> str:
    """``^`` and ``~`` begin commands."""
    return text.replace("^", " ").replace("~", " ")
