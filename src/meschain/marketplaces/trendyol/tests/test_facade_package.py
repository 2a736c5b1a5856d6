from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from meschain.marketplaces.trendyol.tests.facade_market import HandClock, Json, Market, market
from meschain.sandbox.world import Parcel, ParcelState, ShelfState

LABEL = "/sellers/{seller}/common-label/"
OWN_COURIER: Json = {"isPhoneNumber": False, "trackingInfo": "https://t.example/1", "params": {}}


def units(parcel: Parcel) -> list[Json]:
    return [{"lineId": line, "quantity": count} for line, count in parcel.units.items()]


def status_body(parcel: Parcel, status: str, **params: str) -> Json:
    return {"status": status, "lines": units(parcel), "params": params}


def living(m: Market) -> list[Parcel]:
    dead = {ParcelState.BROKEN_UP, ParcelState.UNSUPPLIED, ParcelState.CANCELLED}
    return [parcel for parcel in m.shop.parcels.values() if parcel.state not in dead]


# — Picking, Invoiced —
async def test_picking_then_invoiced() -> None:
    async with market() as m:
        parcel = m.parcel()
        answer = await m.on_package(parcel, "", status_body(parcel, "Picking"))
        assert (answer.status, answer.raw) == (200, b"")
        invoiced = status_body(parcel, "Invoiced", invoiceNumber="ABC2026000000001")
        assert (await m.on_package(parcel, "", invoiced)).status == 200
        package = await m.package(parcel)
        assert (package["status"], package["invoiceNumber"]) == ("Invoiced", "ABC2026000000001")
        histories = msgspec.convert(package["packageHistories"], list[Json])
        assert [row["status"] for row in histories] == ["Created", "Picking", "Invoiced"]


async def test_status_goes_forward_only() -> None:
    async with market() as m:
        parcel = m.parcel()
        early = await m.on_package(parcel, "", status_body(parcel, "Invoiced"))
        assert early.status == 400
        assert set(early.json) == {"error", "message"}
        m.advance(parcel, ParcelState.PICKING, ParcelState.INVOICED)
        for status in ("Picking", "Invoiced"):
            assert (await m.on_package(parcel, "", status_body(parcel, status))).status == 400


@pytest.mark.parametrize("status", ["Shipped", "Delivered", "picking", "Cancelled"])
async def test_no_other_status_is_the_sellers_to_set(status: str) -> None:
    async with market() as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING, ParcelState.INVOICED)
        assert (await m.on_package(parcel, "", status_body(parcel, status))).status == 400


async def test_an_awaiting_package_is_seen_but_not_touched() -> None:
    async with market() as m:
        parcel = m.buy(awaiting=True).parcels[0]
        assert (await m.package(parcel))["status"] == "Awaiting"
        assert (await m.on_package(parcel, "", status_body(parcel, "Picking"))).status == 400
        unsupplied = {"lines": units(parcel), "reasonId": 500}
        assert (await m.on_package(parcel, "/items/unsupplied", unsupplied)).status == 400


async def test_the_lines_must_be_the_packages() -> None:
    async with market() as m:
        parcel = m.parcel()
        whole = status_body(parcel, "Picking")
        some = whole | {"lines": units(parcel)[:1]}
        foreign = whole | {"lines": [{"lineId": 1, "quantity": 1}]}
        for body in (some, foreign, whole | {"lines": []}, {"status": "Picking"}):
            assert (await m.on_package(parcel, "", body)).status == 400
        assert parcel.state is ParcelState.CREATED


async def test_an_unknown_package_answers_401() -> None:
    async with market() as m:
        parcel = m.parcel()
        path = "/order/sellers/{seller}/shipment-packages/1"
        answer = await m.put(path, status_body(parcel, "Picking"))
        assert answer.status == 401
        assert set(answer.json) == {"error", "message"}
        assert (await m.put(path + "/warehouse", {"warehouseId": 1})).status == 401
    async with market(unknown_package="404") as m:
        assert (await m.put(path, status_body(parcel, "Picking"))).status == 404


# — unsupplied —
async def test_unsupplied_destroys_the_package_and_the_rest_goes_on() -> None:
    async with market() as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        (first, second) = parcel.units
        body = {"lines": [{"lineId": first, "quantity": 1}], "reasonId": 500}
        assert (await m.on_package(parcel, "/items/unsupplied", body)).status == 200
        assert (await m.package(parcel))["status"] == "UnPacked"
        (rest,) = living(m)
        package = await m.package(rest)
        assert package["orderNumber"] == parcel.order.number
        assert package["shipmentPackageId"] != parcel.number
        assert (package["createdBy"], package["originPackageIds"]) == ("cancel", [parcel.number])
        assert rest.units == {first: 1, second: 1}
        assert package["status"] == "Picking"


async def test_a_package_unsupplied_whole_is_unsupplied() -> None:
    async with market() as m:
        parcel = m.parcel()
        body = {"lines": units(parcel), "reasonId": 504}
        assert (await m.on_package(parcel, "/items/unsupplied", body)).status == 200
        package = await m.package(parcel)
        lines = msgspec.convert(package["lines"], list[Json])
        assert (package["status"], lines[0]["cancelReasonCode"]) == ("UnSupplied", 504)
        assert m.shop.shelves["A"].quantity == 8  # what was taken stays taken


async def test_restocking_is_a_setting() -> None:
    async with market(restocks_on_cancel="on") as m:
        parcel = m.parcel()
        body = {"lines": units(parcel), "reasonId": 500}
        await m.on_package(parcel, "/items/unsupplied", body)
        assert m.shop.shelves["A"].quantity == 10


@pytest.mark.parametrize(("reason", "extra"), [(503, 0), (500, 1), (500, 5)])
async def test_unsupplied_needs_a_known_reason_and_its_own_lines(reason: int, extra: int) -> None:
    async with market() as m:
        parcel = m.parcel()
        lines = units(parcel)
        if extra:
            lines = [{"lineId": next(iter(parcel.units)), "quantity": 2 + extra}]
        body = {"lines": lines, "reasonId": reason}
        assert (await m.on_package(parcel, "/items/unsupplied", body)).status == 400
        assert parcel.state is ParcelState.CREATED


# — splits —
async def test_a_split_is_answered_before_it_is_done() -> None:
    clock = HandClock()
    async with market(clock=clock, apply_ms_min="100", apply_ms_max="100") as m:
        parcel = m.parcel()
        first, second = parcel.units
        body = {"orderLineIds": [second]}
        assert (await m.on_package(parcel, "/split", body, method="POST")).status == 200
        assert living(m) == [parcel]
        await clock.push(0.1)
        assert [p.units for p in living(m)] == [{second: 1}, {first: 2}]
        package = await m.package(living(m)[0])
        assert (package["createdBy"], package["originPackageIds"]) == ("split", [parcel.number])


async def test_four_ways_to_split() -> None:
    async def parts(suffix: str, shape: str) -> list[list[int]]:
        async with market() as m:
            parcel = m.buy({"A": 3, "B": 1}).parcels[0]
            first, second = parcel.units
            body = msgspec.json.decode(
                shape.replace("FIRST", str(first)).replace("SECOND", str(second)), type=Json
            )
            answer = await m.on_package(parcel, suffix, body, method="POST")
            assert answer.status == 200, answer.text
            await m.settle()
            return [[p.units.get(first, 0), p.units.get(second, 0)] for p in living(m)]

    assert await parts("/split", '{"orderLineIds":[FIRST]}') == [[3, 0], [0, 1]]
    multi = '{"splitGroups":[{"orderLineIds":[FIRST]},{"orderLineIds":[SECOND]}]}'
    assert await parts("/multi-split", multi) == [[3, 0], [0, 1]]
    quantity = '{"quantitySplit":[{"orderLineId":FIRST,"quantities":[1,2]}]}'
    assert await parts("/quantity-split", quantity) == [[1, 0], [2, 0], [0, 1]]
    packages = (
        '{"splitPackages":[{"packageDetails":[{"orderLineId":FIRST,"quantities":2},'
        '{"orderLineId":SECOND,"quantities":1}]}]}'
    )
    assert await parts("/split-packages", packages) == [[2, 1], [1, 0]]


@pytest.mark.parametrize(
    "pick",
    [
        lambda a, b: {"orderLineIds": [a, b]},  # nothing would stay
        lambda a, _: {"orderLineIds": [a, 1]},
        lambda _, __: {"orderLineIds": []},
        lambda _, __: {"orderLineIds": "all"},
    ],
)
async def test_a_split_that_splits_nothing_is_refused(pick: object) -> None:
    async with market() as m:
        parcel = m.parcel()
        assert callable(pick)
        body = pick(*parcel.units)
        assert (await m.on_package(parcel, "/split", body, method="POST")).status == 400
        too_many = {"quantitySplit": [{"orderLineId": next(iter(parcel.units)), "quantities": [3]}]}
        answer = await m.on_package(parcel, "/quantity-split", too_many, method="POST")
        assert answer.status == 400


async def test_a_split_loses_against_a_cancellation() -> None:
    clock = HandClock()
    async with market(clock=clock, apply_ms_min="100", apply_ms_max="100") as m:
        parcel = m.parcel()
        body = {"orderLineIds": [next(iter(parcel.units))]}
        await m.on_package(parcel, "/split", body, method="POST")
        m.world.cancel_units(parcel, parcel.units, by_seller=False)
        await clock.push(0.1)
        assert living(m) == []
        assert (await m.package(parcel))["status"] == "Cancelled"


async def test_units_keep_their_own_discount_through_a_split() -> None:
    async with market() as m:
        m.on_sale("A", price_minor=10_000)
        order = m.buy({"A": 3}, seller_discounts_minor={"A": (334, 333, 333)})
        parcel = order.parcels[0]
        line_id = next(iter(parcel.units))
        body = {"quantitySplit": [{"orderLineId": line_id, "quantities": [1, 2]}]}
        await m.on_package(parcel, "/quantity-split", body, method="POST")
        await m.settle()
        totals = [Decimal(str((await m.package(part))["packageTotalPrice"])) for part in living(m)]
        assert totals == [Decimal("96.66"), Decimal("193.34")]
        details = [
            detail["lineItemId"]
            for part in living(m)
            for line in msgspec.convert((await m.package(part))["lines"], list[Json])
            for detail in msgspec.convert(line["discountDetails"], list[Json])
        ]
        assert len(set(details)) == 3


# — carrier and the rest —
async def test_another_carrier_means_another_label() -> None:
    async with market() as m:
        parcel = m.parcel()
        before = (await m.package(parcel))["cargoTrackingNumber"]
        answer = await m.on_package(parcel, "/cargo-providers", {"cargoProvider": "ARASMP"})
        assert answer.status == 200
        package = await m.package(parcel)
        assert package["cargoProviderName"] == "Aras Kargo"
        assert package["cargoTrackingNumber"] != before
        assert m.world.find_parcel(parcel.cargo_code) is parcel
        unknown = await m.on_package(parcel, "/cargo-providers", {"cargoProvider": "UPS"})
        assert unknown.status == 400


async def test_box_info_is_for_ceva_only() -> None:
    async with market() as m:
        parcel = m.parcel()
        body = {"boxQuantity": 2, "deci": 7}
        assert (await m.on_package(parcel, "/box-info", body)).status == 400
        parcel.carrier = "CEVAMP"
        assert (await m.on_package(parcel, "/box-info", body)).status == 200
        assert (await m.package(parcel))["cargoDeci"] == 7
        nothing = {"boxQuantity": 0, "deci": 7}
        assert (await m.on_package(parcel, "/box-info", nothing)).status == 400


async def test_the_warehouse_changes_until_the_parcel_leaves() -> None:
    async with market() as m:
        parcel = m.parcel()
        assert (await m.on_package(parcel, "/warehouse", {"warehouseId": 5})).status == 200
        assert (await m.package(parcel))["warehouseId"] == 5
        m.advance(parcel, ParcelState.PICKING, ParcelState.INVOICED, ParcelState.SHIPPED)
        assert (await m.on_package(parcel, "/warehouse", {"warehouseId": 6})).status == 400


async def test_extra_time_is_one_to_three_days() -> None:
    async with market() as m:
        parcel = m.parcel()
        before = (await m.package(parcel))["agreedDeliveryDate"]
        suffix = "/extended-agreed-delivery-date"
        assert (await m.on_package(parcel, suffix, {"extendedDayCount": 4})).status == 400
        assert (await m.on_package(parcel, suffix, {"extendedDayCount": 2})).status == 200
        after = (await m.package(parcel))["agreedDeliveryDate"]
        assert msgspec.convert(after, int) - msgspec.convert(before, int) == 2 * 86_400_000


async def test_a_change_without_a_new_status_shows_in_the_stream() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        parcel, _ = m.parcel(), m.parcel()
        await clock.push(1)
        await m.on_package(parcel, "/warehouse", {"warehouseId": 5})
        rows = (await m.get("/order/sellers/{seller}/orders/stream")).content
        assert rows[0]["shipmentPackageId"] == parcel.number
        assert len(rows) == 2


async def test_the_sellers_own_courier_ships() -> None:
    async with market() as m:
        parcel = m.parcel()
        assert (await m.on_package(parcel, "/alternative-delivery", OWN_COURIER)).status == 400
        m.advance(parcel, ParcelState.PICKING)
        assert (await m.on_package(parcel, "/alternative-delivery", OWN_COURIER)).status == 200
        assert (await m.package(parcel))["status"] == "Shipped"
        again = await m.on_package(parcel, "/alternative-delivery", OWN_COURIER)
        assert again.status == 400


async def test_no_call_exists_that_the_sheet_denies() -> None:
    async with market() as m:
        parcel = m.parcel()
        for suffix in ("/shipped", "/update-tracking-number", "/deliver"):
            assert (await m.on_package(parcel, suffix, {})).status == 404


# — labels —
async def test_a_label_is_made_and_then_fetched_one_per_box() -> None:
    async with market() as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        path = LABEL + parcel.cargo_code
        assert (await m.get(path)).status == 404
        made = await m.post(path, {"format": "ZPL", "boxQuantity": 2})
        assert (made.status, made.raw) == (200, b"")
        labels = msgspec.convert((await m.get(path)).json["data"], list[Json])
        assert [label["format"] for label in labels] == ["ZPL", "ZPL"]
        for label in labels:
            text = str(label["label"])
            assert text.startswith("^XA")
            assert text.endswith("^XZ")
            assert parcel.cargo_code in text


async def test_a_label_needs_the_right_carrier_and_moment() -> None:
    async with market() as m:
        parcel = m.parcel()
        path, body = LABEL + parcel.cargo_code, {"format": "ZPL"}
        assert (await m.post(path, body)).status == 400  # still Created
        m.advance(parcel, ParcelState.PICKING)
        parcel.carrier = "YKMP"
        assert (await m.post(path, body)).status == 400
        parcel.carrier = "ARASMP"
        assert (await m.post(path, {"format": "PDF"})).status == 400
        assert (await m.post(path, body)).status == 200


async def test_label_errors_have_an_envelope_of_their_own() -> None:
    async with market() as m:
        missing = await m.get(LABEL + "123")
        assert missing.status == 404
        error = msgspec.convert(missing.json["error"], Json)
        errors = msgspec.convert(error["errors"], list[Json])
        assert error["status"] == 404
        assert (errors[0]["code"], errors[0]["type"]) == (1001, "NotFoundException")
        assert errors[0]["title"]


async def test_a_new_carrier_voids_the_label() -> None:
    async with market() as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        await m.post(LABEL + parcel.cargo_code, {"format": "ZPL"})
        await m.on_package(parcel, "/cargo-providers", {"cargoProvider": "ARASMP"})
        assert (await m.get(LABEL + parcel.cargo_code)).status == 404


async def test_a_sale_lowers_the_shelf_at_once() -> None:
    async with market() as m:
        m.buy()
        assert m.shop.shelves["A"].quantity == 8
        assert m.shop.shelves["A"].state is ShelfState.ON_SALE
