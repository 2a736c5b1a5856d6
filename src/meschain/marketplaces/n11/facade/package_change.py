"""What a seller may do to packages: approve, split, cancel within a split (§3.6)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from meschain.marketplaces.n11.facade import replies
from meschain.marketplaces.n11.facade.body import UNREADABLE, Body
from meschain.marketplaces.n11.facade.packages import CREATED, PICKING, Package
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import Impossible, ParcelState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from meschain.marketplaces.n11.facade.book import Market, ShopBook

# 61 out of stock, 62 defective, 63 wrong price, 64 force majeure, 65 other
CANCEL_REASON_IDS: Final = frozenset({61, 62, 63, 64, 65})
PICK_UP_COMPANIES: Final = frozenset({"HLZ", "CEVA", "BL"})
_UNKNOWN_LINE: Final = "Sipariş kalemi bulunamadı."
_Units = Counter[int]  # by the world's line id
Request = TypeVar("Request", bound=Body)


class _Line(Body):
    lineId: int  # noqa: N815 – the wire's names


class _Approval(Body):
    lines: list[_Line]
    status: str


class _SplitGroup(Body):
    orderLineIds: list[int]  # noqa: N815


class _SplitByLine(Body):
    splitGroups: list[_SplitGroup]  # noqa: N815


class _Detail(Body):
    orderLineId: int  # noqa: N815
    quantities: int


class _SplitPackage(Body):
    packageDetails: list[_Detail]  # noqa: N815


class _CancelledItem(Body):
    orderLineId: int  # noqa: N815
    quantity: int
    cancelReasonId: int  # noqa: N815


class _SplitByQuantity(Body):
    splitPackages: list[_SplitPackage]  # noqa: N815
    cancelledItems: tuple[_CancelledItem, ...] = ()  # noqa: N815


class _Collection(Body):
    id: str
    orderLineId: int  # noqa: N815
    boxQuantity: int  # noqa: N815
    desi: int
    shipmentCompany: str  # noqa: N815


class _CollectionRequest(Body):
    collectionRequestDetails: list[_Collection]  # noqa: N815


_approval: Final = msgspec.json.Decoder(_Approval)
_split_by_line: Final = msgspec.json.Decoder(_SplitByLine)
_split_by_quantity: Final = msgspec.json.Decoder(_SplitByQuantity)
_collection: Final = msgspec.json.Decoder(_CollectionRequest)


class Refused(ValueError):
    """A split or pick-up request that N11 does not carry out."""


class PackageChange:
    """The writing calls of /rest."""

    def __init__(self, market: Market) -> None:
        """Changes go to the world at once."""
        self._world = market.world
        self._settings = market.settings

    async def approve(self, book: ShopBook, request: web.Request) -> web.Response:
        """Created → Picking, line by line; a line that cannot is FAIL and the others go on."""

        def work(body: _Approval) -> web.Response:
            rows = [
                _line_result(
                    "lineId", line.lineId, self._approve_line(book, line.lineId, body.status)
                )
                for line in body.lines
            ]
            return replies.as_json({"content": rows})

        return await self._carry_out(request, _approval, work)

    async def split_by_line(self, book: ShopBook, request: web.Request) -> web.Response:
        """One new package per group; lines not named go to a further one."""

        def work(body: _SplitByLine) -> web.Response:
            package, groups = self._line_groups(book, body)
            return self._split(book, package, groups)

        return await self._carry_out(request, _split_by_line, work)

    async def split_by_quantity(self, book: ShopBook, request: web.Request) -> web.Response:
        """Split by units; units may be cancelled only together with a split."""

        def work(body: _SplitByQuantity) -> web.Response:
            if not body.splitPackages:
                raise Refused("splitPackages boş olamaz; iptal tek başına gönderilemez.")
            if any(item.cancelReasonId not in CANCEL_REASON_IDS for item in body.cancelledItems):
                raise Refused("cancelReasonId geçersiz.")
            given = [
                [(detail.orderLineId, detail.quantities) for detail in split.packageDetails]
                for split in body.splitPackages
            ]
            if not body.cancelledItems:
                return self._split(book, *self._quantity_groups(book, given))
            # The cancelled part goes first, since the last part of a line keeps its id.
            given.insert(0, [(item.orderLineId, item.quantity) for item in body.cancelledItems])
            package, groups = self._quantity_groups(book, given)
            reason = str(body.cancelledItems[0].cancelReasonId)
            return self._split(book, package, groups, first_cancelled_for=reason)

        return await self._carry_out(request, _split_by_quantity, work)

    async def request_collection(self, book: ShopBook, request: web.Request) -> web.Response:
        """A logistics firm picks up; every line of the package must be named."""

        def work(body: _CollectionRequest) -> web.Response:
            self._check_collection(book, body.collectionRequestDetails)
            return replies.as_json({"code": 200, "message": "success"})

        return await self._carry_out(request, _collection, work)

    # — inside —
    async def _carry_out(
        self,
        request: web.Request,
        decoder: msgspec.json.Decoder[Request],
        work: Callable[[Request], web.Response],
    ) -> web.Response:
        """Where refusals of a split stand is undocumented: HTTP status, or a code in the body."""
        try:
            return work(decoder.decode(await request.read()))
        except UNREADABLE as broken:
            return replies.rest_failure(replies.INVALID_INPUT, str(broken))
        except Refused as refused:
            if self._settings.split_refusal == "200":
                return replies.as_json({"code": 400, "message": str(refused)})
            return replies.rest_failure(replies.INVALID_INPUT, str(refused))

    def _approve_line(self, book: ShopBook, order_line_id: int, status: str) -> str:
        if status != PICKING:
            return "status yalnızca Picking olabilir."
        found = book.packages.find_line(order_line_id)
        if found is None:
            return _UNKNOWN_LINE
        package, line_id = found
        if package.status_of(line_id) != CREATED:
            return "Sipariş kalemi Created statüsünde değil."
        now_ms = epoch_ms(self._world.clock.now())
        if book.packages.approve_line(package, line_id, PICKING, now_ms):
            self._world.advance(package.parcel, ParcelState.PICKING)
        return ""

    def _picking(self, book: ShopBook, order_line_ids: Sequence[int]) -> Package:
        """The one package that holds all these lines; it must be in Picking."""
        found = [book.packages.find_line(each) for each in order_line_ids]
        packages = {id(each[0]): each[0] for each in found if each is not None}
        if not found or None in found:
            raise Refused(_UNKNOWN_LINE)
        if len(packages) > 1:
            raise Refused("Bir istekte tek bir siparişin paketi bölünebilir.")
        package = next(iter(packages.values()))
        if package.status != PICKING:
            raise Refused("Yalnızca Picking statüsündeki paketler bölünebilir.")
        return package

    def _line_groups(self, book: ShopBook, body: _SplitByLine) -> tuple[Package, list[_Units]]:
        ids = [each for group in body.splitGroups for each in group.orderLineIds]
        if len(set(ids)) < len(ids) or not all(group.orderLineIds for group in body.splitGroups):
            raise Refused("orderLineIds boş veya tekrarlı olamaz.")
        package = self._picking(book, ids)
        world_ids = {item.order_line_id: line_id for line_id, item in package.items.items()}
        units = package.parcel.units
        return package, [
            Counter({world_ids[each]: units[world_ids[each]] for each in group.orderLineIds})
            for group in body.splitGroups
        ]

    def _quantity_groups(
        self, book: ShopBook, given: Sequence[Sequence[tuple[int, int]]]
    ) -> tuple[Package, list[_Units]]:
        if not all(given) or any(units < 1 for group in given for _, units in group):
            raise Refused("Paket içeriği boş olamaz, adetler en az 1 olmalıdır.")
        package = self._picking(book, [each for group in given for each, _ in group])
        world_ids = {item.order_line_id: line_id for line_id, item in package.items.items()}
        groups: list[_Units] = []
        for group in given:
            units: _Units = Counter()
            for order_line_id, count in group:
                units[world_ids[order_line_id]] += count
            groups.append(units)
        return package, groups

    def _split(
        self,
        book: ShopBook,
        package: Package,
        groups: list[_Units],
        *,
        first_cancelled_for: str = "",
    ) -> web.Response:
        """Break the package up; a reason cancels the first part."""
        parcel = package.parcel
        total: _Units = Counter()
        for group in groups:
            total.update(group)
        if any(count > parcel.units[line_id] for line_id, count in total.items()):
            raise Refused("Adetlerin toplamı sipariş kaleminin adedini aşamaz.")
        if len(groups) == 1 and total == parcel.units:
            raise Refused("Paketin tamamı tek pakete bölünemez.")
        try:
            made = self._world.split(parcel, groups)
            if first_cancelled_for:
                part = made[0]
                self._world.cancel_units(
                    part, part.units, by_seller=True, reason=first_cancelled_for
                )
        except Impossible as impossible:
            raise Refused(f"Paket bölünemedi: {impossible.reason}") from impossible
        items = []
        for child in made:
            split_off = book.packages.find(child.number)
            for line_id, item in split_off.items.items() if split_off else ():
                items.append(
                    {
                        "orderNumber": child.order.number,
                        "packageId": str(child.number),
                        "orderLineId": item.order_line_id,
                        "stockCode": child.order.line(line_id).shelf.stock_code,
                        "quantity": item.stop - item.start,
                    }
                )
        return replies.as_json({"code": 200, "message": "success", "splitPackageOrderItems": items})

    def _check_collection(self, book: ShopBook, details: list[_Collection]) -> None:
        if not details:
            raise Refused("collectionRequestDetails boş olamaz.")
        named: dict[int, set[int]] = {}
        for detail in details:
            if detail.shipmentCompany not in PICK_UP_COMPANIES:
                raise Refused("shipmentCompany HLZ, CEVA veya BL olmalıdır.")
            if detail.boxQuantity < 1 or detail.desi < 1:
                raise Refused("boxQuantity ve desi en az 1 olmalıdır.")
            found = book.packages.find_line(detail.orderLineId)
            if found is None or str(found[0].parcel.number) != detail.id:
                raise Refused("Sipariş kalemi pakette bulunamadı.")
            if found[0].status not in {CREATED, PICKING}:
                raise Refused("Paket gönderime hazır değil.")
            named.setdefault(found[0].parcel.number, set()).add(detail.orderLineId)
        for number, order_line_ids in named.items():
            package = book.packages.find(number)
            items = package.items.values() if package else ()
            if order_line_ids != {item.order_line_id for item in items}:
                raise Refused("Paketin tüm kalemleri gönderilmelidir.")


def _line_result(id_name: str, order_line_id: int, reason: str) -> dict[str, object]:
    return {
        id_name: order_line_id,
        "status": "FAIL" if reason else "SUCCESS",
        "reasons": reason or "İşlem başarılı.",
    }
