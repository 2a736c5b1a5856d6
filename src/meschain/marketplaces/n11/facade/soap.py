"""The two SOAP operations in scope: own-carrier shipment, and the list of carriers (§3.6).

Elements are matched by local name, since clients disagree about prefixes (§1.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from meschain.marketplaces.n11.facade import replies
from meschain.marketplaces.n11.facade.body import identifier
from meschain.marketplaces.n11.facade.package_row import CARRIERS
from meschain.marketplaces.n11.facade.packages import CREATED, PICKING, SHIPPED
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import ParcelState

if TYPE_CHECKING:
    from aiohttp import web

    from meschain.marketplaces.n11.facade.book import Market, ShopBook

# Any case, with or without slash or .wsdl, as different clients address them.
_SERVICE: Final = re.compile(r"(\w+?)(?:\.wsdl)?/?", re.IGNORECASE)
_OPERATIONS: Final = {
    "orderservice": "MakeOrderItemShipment",
    "shipmentcompanyservice": "GetShipmentCompanies",
}
_SUCCESS: Final = "<result><status>success</status></result>"


def operation_of(path_rest: str) -> str | None:
    """The operation that the service at ``/ws/<path_rest>`` offers here; None: out of scope."""
    match = _SERVICE.fullmatch(path_rest)
    return _OPERATIONS.get(match[1].lower()) if match else None


class SoapRequest:
    """The request element of an envelope."""

    def __init__(self, content_type: str, text: bytes) -> None:
        """Raises ValueError when there is none."""
        if content_type != "text/xml":
            raise ValueError(f"SOAP 1.1 does not come as {content_type}")
        # A document type could define entities that grow without end; SOAP 1.1 forbids it.
        if b"<!DOCTYPE" in text:
            raise ValueError("a document type in a SOAP message")
        try:
            envelope = ET.fromstring(text)  # noqa: S314 – no entities without a document type
        except (ET.ParseError, LookupError) as broken:  # LookupError: an encoding nobody knows
            raise ValueError(str(broken)) from broken
        body = _child(envelope, "Body")
        if body is None or len(body) == 0:
            raise ValueError("no request in the Body")
        self.element = body[0]
        self.name = _local(self.element)

    def credentials(self) -> tuple[str, str]:
        """Key and secret from ``auth``, the first child; empty texts when absent."""
        first = self.element[0] if len(self.element) else None
        if first is None or _local(first) != "auth":
            return "", ""
        return _text(first, "appKey"), _text(first, "appSecret")


class Soap:
    """Answers, always at HTTP 200."""

    def __init__(self, market: Market) -> None:
        """Shipments go to the world at once."""
        self._world = market.world
        self._settings = market.settings

    def shipment_companies(self) -> web.Response:
        """The carriers."""
        rows = "".join(
            f"<shipmentCompany><id>{carrier_id}</id><name>{escape(name)}</name>"
            f"<shortName>{short_name}</shortName></shipmentCompany>"
            for carrier_id, (name, short_name) in CARRIERS.items()
        )
        return replies.soap(
            "GetShipmentCompaniesResponse",
            f"{_SUCCESS}<shipmentCompanies>{rows}</shipmentCompanies>",
        )

    def make_shipment(self, book: ShopBook, request: SoapRequest) -> web.Response:
        """All items or none. A package leaves when all its lines have left."""
        listed = _child(request.element, "orderItemList")
        items = [] if listed is None else [each for each in listed if _local(each) == "orderItem"]
        problem = "" if items else "orderItemList boş olamaz."
        for item in items:
            problem = problem or self._problem(book, item)
        if problem:
            return replies.soap_failure(
                replies.INVALID_INPUT,
                problem,
                response_name="MakeOrderItemShipmentResponse",
            )
        for item in items:
            self._ship(book, item)
        return replies.soap("MakeOrderItemShipmentResponse", _SUCCESS)

    # — inside —
    def _problem(self, book: ShopBook, item: ET.Element) -> str:
        found = book.packages.find_line(identifier(_text(item, "id")))
        if found is None:
            return "Sipariş kalemi bulunamadı."
        package, line_id = found
        # Item status 2 (paid) is Created, 5 (accepted) is Picking (§4.2) [C: S14].
        if package.status_of(line_id) not in {CREATED, PICKING}:
            return "Sipariş kaleminin durumu kargolama için uygun değil."
        if identifier(_text(item, "shipmentInfo", "shipmentCompany", "id")) not in CARRIERS:
            return "shipmentCompany bulunamadı."
        if _text(item, "shipmentInfo", "shipmentMethod") != "1":
            return "shipmentMethod geçersiz."
        has_number = _text(item, "shipmentInfo", "trackingNumber") or _text(
            item, "shipmentInfo", "campaignNumber"
        )
        return "" if has_number else "trackingNumber veya campaignNumber gönderilmelidir."

    def _ship(self, book: ShopBook, item: ET.Element) -> None:
        found = book.packages.find_line(identifier(_text(item, "id")))
        if found is None or found[0].status_of(found[1]) == SHIPPED:
            return  # named twice in one request
        package, line_id = found
        now_ms = epoch_ms(self._world.clock.now())
        if not book.packages.approve_line(package, line_id, SHIPPED, now_ms):
            return
        carrier_id = identifier(_text(item, "shipmentInfo", "shipmentCompany", "id"))
        package.parcel.carrier = CARRIERS[carrier_id][0]
        package.parcel.tracking_number = _text(item, "shipmentInfo", "trackingNumber")
        self._world.advance(package.parcel, ParcelState.SHIPPED)


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ET.Element, name: str) -> ET.Element | None:
    return next((each for each in element if _local(each) == name), None)


def _text(element: ET.Element, *path: str) -> str:
    found: ET.Element | None = element
    for name in path:
        found = None if found is None else _child(found, name)
    return "" if found is None else (found.text or "").strip()
