"""Splitting packages, cancelling with a split, pick-up."""

from __future__ import annotations

import pytest

from meschain.marketplaces.n11.tests.facade_stall import (
    SPLIT_BY_LINE,
    SPLIT_BY_QUANTITY,
    Answer,
    Json,
    Stall,
    line_ids,
    open_stall,
)
from meschain.sandbox.world import Order, ParcelState

COLLECTION = "/rest/delivery/v1/collectionRequest"


async def picking(stall: Stall, basket: dict[str, int], **terms: object) -> tuple[Order, list[int]]:
    """An order in Picking, and its line ids."""
    order = stall.buy(basket, **terms)
    stall.world.advance(order.parcels[0], ParcelState.PICKING)
    answer = await stall.packages(status="Picking", orderNumber=order.number)
    return order, line_ids(answer)


async def rows_of(stall: Stall, order: Order, status: str) -> list[Json]:
    return (await stall.packages(status=status, orderNumber=order.number)).rows("content")


def contents(row: Json) -> dict[object, tuple[object, object]]:
    """Stock code → (units, line id)."""
    lines = row["lines"]
    assert isinstance(lines, list)
    return {line["stockCode"]: (line["quantity"], line["orderLineId"]) for line in lines}


def quantities(*groups: dict[int, int], cancelled: dict[int, int] | None = None) -> Json:
    return {
        "splitPackages": [
            {
                "packageDetails": [
                    {"orderLineId": line_id, "quantities": units}
                    for line_id, units in group.items()
                ]
            }
            for group in groups
        ],
        "cancelledItems": [
            {"orderLineId": line_id, "quantity": units, "cancelReasonId": 61}
            for line_id, units in (cancelled or {}).items()
        ],
    }


async def split(stall: Stall, body: Json) -> Answer:
    return await stall.call("POST", SPLIT_BY_QUANTITY, body=body)


async def test_a_split_by_line_makes_one_package_a_group_and_one_of_the_rest() -> None:
    async with open_stall() as stall:
        order, (a, b, c) = await picking(stall, {"A": 1, "B": 2, "C": 1})
        answer = await stall.call(
            "POST",
            SPLIT_BY_LINE,
            body={"splitGroups": [{"orderLineIds": [a]}, {"orderLineIds": [b]}]},
        )
        children = await rows_of(stall, order, "Picking")
        parents = await rows_of(stall, order, "Unpacked")
    assert (answer.at("code"), answer.at("message")) == (200, "success")
    items = answer.rows("splitPackageOrderItems")
    assert [(item["stockCode"], item["orderLineId"], item["quantity"]) for item in items] == [
        ("A", a, 1),
        ("B", b, 2),
        ("C", c, 1),
    ]
    assert {item["orderNumber"] for item in items} == {order.number}
    assert [item["packageId"] for item in items] == [row["id"] for row in children]
    assert [contents(row) for row in children] == [{"A": (1, a)}, {"B": (2, b)}, {"C": (1, c)}]
    assert len(parents) == 1
    codes = {row["cargoTrackingNumber"] for row in [*parents, *children]}
    assert len(codes) == 4


async def test_a_split_by_quantity_keeps_the_line_id_on_one_part_only() -> None:
    async with open_stall() as stall:
        order, (a, b) = await picking(stall, {"A": 5, "B": 1})
        answer = await split(stall, quantities({a: 2}))
        children = await rows_of(stall, order, "Picking")
        assert [contents(row)["A"][0] for row in children] == [2, 3]
        ids = [contents(row)["A"][1] for row in children]
        assert ids[0] != a
        assert ids[1] == a
        assert contents(children[1])["B"] == (1, b)
        assert {item["orderLineId"] for item in answer.rows("splitPackageOrderItems")} == {*ids, b}
        again = await split(stall, quantities({int(str(ids[0])): 1}))  # a part can be split again
        assert again.status == 200
        units = [contents(row)["A"][0] for row in await rows_of(stall, order, "Picking")]
        assert sorted(map(str, units)) == ["1", "1", "3"]


async def test_units_cancelled_with_a_split_appear_as_an_unsupplied_package() -> None:
    async with open_stall() as stall:
        order, (a, b) = await picking(stall, {"A": 3, "B": 1})
        answer = await split(stall, quantities({a: 2}, cancelled={a: 1}))
        assert answer.status == 200, answer.text
        (dead,) = await rows_of(stall, order, "UnSupplied")
        assert contents(dead)["A"][0] == 1
        living = [contents(row) for row in await rows_of(stall, order, "Picking")]
        assert living == [{"A": (2, a)}, {"B": (1, b)}]
        assert len(await rows_of(stall, order, "Unpacked")) == 1
        assert [parcel.cancel_reason for parcel in order.parcels if parcel.cancel_reason] == ["61"]
        assert stall.shop.shelves["A"].quantity == 7  # a seller's cancellation brings nothing back


async def test_money_survives_a_split_to_the_last_kurus() -> None:
    async with open_stall() as stall:
        order, (a,) = await picking(stall, {"A": 3}, seller_discounts_minor={"A": (334, 333, 333)})
        await split(stall, quantities({a: 1}))
        children = await rows_of(stall, order, "Picking")
    assert [row["totalDiscountAmount"] for row in children] == [3.34, 6.66]
    assert [row["totalAmount"] for row in children] == [96.66, 193.34]


REFUSED = [
    ("created", {"a": 1}, {}, "Picking"),
    ("picking", {}, {"a": 1}, "tek başına"),
    ("picking", {"a": 3}, {}, "aşamaz"),
    ("picking", {"a": 1}, {"a": 2}, "aşamaz"),
    ("picking", {"a": 2, "b": 1}, {}, "tek pakete"),
    ("picking", {"a": 0}, {}, "en az 1"),
    ("picking", {"x": 1}, {}, "bulunamadı"),
    ("picking", {"a": 1, "other": 1}, {}, "tek bir sipariş"),
    ("picking", {"a": 1}, {"other": 1}, "tek bir sipariş"),
]


@pytest.mark.parametrize(("state", "group", "cancelled", "fragment"), REFUSED)
async def test_a_split_that_breaks_a_rule_is_refused_and_changes_nothing(
    state: str, group: dict[str, int], cancelled: dict[str, int], fragment: str
) -> None:
    async with open_stall() as stall:
        _, (other,) = await picking(stall, {"C": 1})
        order = stall.buy({"A": 2, "B": 1})
        found = await stall.packages(status="Created", orderNumber=order.number)
        a, b = line_ids(found)
        if state == "picking":
            stall.world.advance(order.parcels[0], ParcelState.PICKING)
        ids = {"a": a, "b": b, "x": 1, "other": other}
        body = quantities(
            *([{ids[name]: units for name, units in group.items()}] if group else []),
            cancelled={ids[name]: units for name, units in cancelled.items()},
        )
        answer = await split(stall, body)
        assert len(order.parcels) == 1
    assert (answer.status, answer.at("status")) == (400, "failure")
    assert fragment in str(answer.at("errorMessage"))


async def test_a_reason_to_cancel_must_be_one_of_the_five() -> None:
    async with open_stall() as stall:
        _, (a,) = await picking(stall, {"A": 2})
        body = quantities({a: 1})
        body["cancelledItems"] = [{"orderLineId": a, "quantity": 1, "cancelReasonId": 60}]
        assert (await split(stall, body)).status == 400


async def test_a_refusal_can_stand_in_the_body_instead() -> None:
    async with open_stall(split_refusal="200") as stall:
        answer = await split(stall, quantities({1: 1}))
    assert (answer.status, answer.at("code")) == (200, 400)
    assert answer.at("message")


@pytest.mark.parametrize("groups", [[], [[]], [["a"], ["a"]], [["a", "b"]], [["a", "other"]]])
async def test_a_split_by_line_that_breaks_a_rule_is_refused(groups: list[list[str]]) -> None:
    async with open_stall() as stall:
        _, (other,) = await picking(stall, {"C": 1})
        order, (a, b) = await picking(stall, {"A": 2, "B": 1})
        ids = {"a": a, "b": b, "other": other}
        answer = await stall.call(
            "POST",
            SPLIT_BY_LINE,
            body={
                "splitGroups": [{"orderLineIds": [ids[each] for each in group]} for group in groups]
            },
        )
        assert len(order.parcels) == 1
    assert answer.status == 400


async def test_a_buyers_partial_cancel_gives_new_packages_and_a_new_code() -> None:
    async with open_stall() as stall:
        order = stall.buy({"A": 3})
        (a,) = line_ids(await stall.packages())
        (line,) = order.lines
        stall.world.cancel_units(order.parcels[0], {line.line_id: 1}, by_seller=False)
        (dead,) = await rows_of(stall, order, "Cancelled")
        (alive,) = await rows_of(stall, order, "Created")
        (parent,) = await rows_of(stall, order, "Unpacked")
    assert contents(alive) == {"A": (2, a)}
    assert contents(dead)["A"][0] == 1
    assert contents(dead)["A"][1] != a
    assert alive["cargoTrackingNumber"] != parent["cargoTrackingNumber"]


async def test_a_pick_up_names_every_line_of_a_package_and_a_known_firm() -> None:
    async with open_stall() as stall:
        order, (a, b) = await picking(stall, {"A": 1, "B": 1})
        number = str(order.parcels[0].number)

        async def ask(*ids: int, firm: str = "HLZ", package: str = number) -> Answer:
            details = [
                {
                    "id": package,
                    "orderLineId": each,
                    "boxQuantity": 1,
                    "desi": 5,
                    "shipmentCompany": firm,
                }
                for each in ids
            ]
            return await stall.call("PUT", COLLECTION, body={"collectionRequestDetails": details})

        whole = await ask(a, b)
        assert (whole.status, whole.json) == (200, {"code": 200, "message": "success"})
        for refused in (ask(a), ask(), ask(a, b, firm="YK"), ask(a, b, package="1"), ask(a, 5)):
            assert (await refused).status == 400
