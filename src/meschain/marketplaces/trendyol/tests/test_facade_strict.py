"""What a façade must not be lenient about: each case is refused, or fails its item."""

from __future__ import annotations

import msgspec
import pytest

from meschain.marketplaces.trendyol.tests.facade_market import (
    HandClock,
    Json,
    Market,
    chosen,
    market,
    tshirt,
)
from meschain.sandbox.world import ParcelState

PRODUCTS = "/product/sellers/{seller}/products"
ORDERS = "/order/sellers/{seller}"
PRICE_AND_STOCK = "/inventory/sellers/{seller}/products/price-and-inventory"

# What the sheet names for another call, or for the first product version, and not for this one.
UNNAMED: list[tuple[str, str, Json]] = [
    ("POST", "/product/sellers/{seller}/v2/products", tshirt("A", currencyType="TRY")),
    ("POST", "/product/sellers/{seller}/v2/products", tshirt("A", cargoCompanyId=10)),
    ("POST", "/product/sellers/{seller}/v2/products", tshirt("A", locationBasedDelivery=None)),
    ("POST", f"{PRODUCTS}/unapproved-bulk-update", tshirt("A")),  # with price and stock
    ("POST", f"{PRODUCTS}/content-bulk-update", {"contentId": 1, "brandId": 1}),
    ("POST", f"{PRODUCTS}/variant-bulk-update", {"barcode": "A", "title": "x"}),
    ("PUT", f"{PRODUCTS}/archive-state", {"barcode": "A", "archived": True, "reason": "x"}),
    ("POST", PRICE_AND_STOCK, {"barcode": "A", "quantity": 1, "currencyType": "TRY"}),
    ("POST", PRICE_AND_STOCK, {"barcode": "A", "updateRequestDate": "2026-11-20"}),
]


@pytest.mark.parametrize(("method", "path", "item"), UNNAMED)
async def test_a_field_that_the_sheet_does_not_name_is_refused(
    method: str, path: str, item: Json
) -> None:
    async with market() as m:
        answer = await m.call(method, path, {"items": [item]})
        assert (answer.status, answer.key) == (400, "invalid.request")


async def test_unnamed_fields_and_parameters_are_ignored_where_a_setting_says_so() -> None:
    async with market(unknown_fields="ignore") as m:
        created = await m.create(tshirt("A", currencyType="TRY", salePrice=199.9))
        assert await m.reasons(created) == [[]]
        assert m.shop.shelves["A"].sale_minor == 19_990
        listed = await m.get(f"{PRODUCTS}/approved", colour="red")
        assert [row["productMainId"] for row in listed.content] == ["KZK-1042"]
        wrong = await m.create(tshirt("B", currencyType="TRY", quantity="5"))
        assert wrong.status == 400


async def test_the_delivery_type_that_is_ignored_since_august_is_no_error() -> None:
    async with market() as m:
        option = {"deliveryDuration": 1, "fastDeliveryType": "SAME_DAY_SHIPPING"}
        assert await m.reasons(await m.create(tshirt("A", deliveryOption=option))) == [[]]


@pytest.mark.parametrize(
    "path",
    [
        "/product/brands",
        "/product/product-categories",
        f"{PRODUCTS}/approved",
        f"{PRODUCTS}/unapproved",
        f"{ORDERS}/v2/orders",
        f"{ORDERS}/orders/stream",
        "/webhook/sellers/{seller}/webhooks",
    ],
)
async def test_a_parameter_that_the_sheet_does_not_name_is_refused(path: str) -> None:
    async with market() as m:
        assert (await m.get(path, barcods="A")).status == 400


async def test_the_streams_filters_are_not_those_of_the_list() -> None:
    async with market() as m:
        assert (await m.get(f"{ORDERS}/orders/stream", startDate="1", endDate="2")).status == 400
        assert (await m.get(f"{ORDERS}/v2/orders", packageItemStatuses="Created")).status == 400


async def test_another_supplier_in_the_filter_is_refused() -> None:
    async with market() as m:
        m.on_sale("A")
        own = await m.get(f"{PRODUCTS}/approved", supplierId=m.shop.seller_id)
        assert len(own.content) == 1
        assert (await m.get(f"{PRODUCTS}/approved", supplierId="1")).status == 400


async def test_dates_that_end_before_they_begin_are_refused() -> None:
    async with market() as m:
        for name in ("approved", "unapproved"):
            answer = await m.get(f"{PRODUCTS}/{name}", startDate="9", endDate="5")
            assert (answer.status, answer.key) == (400, "invalid.startDate")


async def test_a_weight_in_quotes_is_no_number() -> None:
    async with market() as m:
        assert (await m.create(tshirt("A", dimensionalWeight="1"))).status == 400
        item = {"barcode": "A", "dimensionalWeight": "1"}
        for name in ("/variant-bulk-update", "/unapproved-bulk-update"):
            assert (await m.update(name, item)).key == "invalid.request"


# — attributes: two documented forms —
def _with_size(entry: Json) -> Json:
    others = [chosen("Renk", "Mavi"), chosen("Cinsiyet", "Kadın"), chosen("Yaş Grubu", "Yetişkin")]
    return tshirt("A") | {"attributes": [*others, chosen("Menşei", "TR"), entry]}


SIZE = msgspec.convert(chosen("Beden", "M")["attributeValueIds"], list[int])[0]
DEFINITION: Json = {"attributeId": 338, "attributeValueIds": [SIZE]}
GUIDE: Json = {"attributeId": 338, "attributeValueId": SIZE}


async def test_an_attribute_in_both_forms_at_once_fails_its_item() -> None:
    async with market() as m:
        mixed = {**DEFINITION, "attributeValueId": SIZE}
        assert all(await m.reasons(await m.create(_with_size(mixed))))
        texts = {"attributeId": 47, "attributeValue": "Mavi", "customAttributeValue": "Mavi"}
        item = tshirt("B") | {"attributes": [texts]}
        assert all(await m.reasons(await m.create(item)))


@pytest.mark.parametrize(("form", "known"), [("definition", DEFINITION), ("guide", GUIDE)])
async def test_one_form_of_attributes_can_be_demanded(form: str, known: Json) -> None:
    other = GUIDE if known is DEFINITION else DEFINITION
    async with market(attributes_create=form) as m:
        (reasons,) = await m.reasons(await m.create(_with_size(other)))
        assert "Beden" in " ".join(reasons)
        attributes = msgspec.convert(_with_size(known)["attributes"], list[Json])
        if form == "guide":
            attributes = [_guide(entry) for entry in attributes]
        assert await m.reasons(await m.create(_with_size(known) | {"attributes": attributes})) == [
            []
        ]


def _guide(entry: Json) -> Json:
    if "attributeValueIds" not in entry:
        return entry
    value = msgspec.convert(entry["attributeValueIds"], list[int])[0]
    return {"attributeId": entry["attributeId"], "attributeValueId": value}


# — arrays in queries —
@pytest.mark.parametrize(
    ("form", "joined", "repeated"), [("any", 2, 2), ("comma", 2, 400), ("repeated", 0, 2)]
)
async def test_one_form_of_arrays_can_be_demanded(form: str, joined: int, repeated: int) -> None:
    async with market(arrays=form) as m:
        m.on_sale("A")
        m.on_sale("B")
        path = f"{PRODUCTS}/approved"
        assert await _found(m, f"{path}?barcodes=A,B") == joined
        assert await _found(m, f"{path}?barcodes=A&barcodes=B") == repeated


async def test_statuses_of_the_stream_are_one_list_with_commas() -> None:
    async with market() as m:
        m.buy()
        path = f"{ORDERS}/orders/stream"
        assert await _found(m, f"{path}?packageItemStatuses=Created,Picking") == 1
        twice = f"{path}?packageItemStatuses=Created&packageItemStatuses=Picking"
        assert await _found(m, twice) == 400


async def _found(m: Market, path: str) -> int:
    answer = await m.call("GET", path)
    return len(answer.content) if answer.status == 200 else answer.status


# — packages —
async def test_a_line_named_twice_in_a_group_is_refused() -> None:
    async with market() as m:
        parcel = m.parcel()
        first = next(iter(parcel.units))
        again = [first, first]
        answer = await m.on_package(parcel, "/split", {"orderLineIds": again}, method="POST")
        assert answer.status == 400
        groups = [{"orderLineIds": again}]
        answer = await m.on_package(parcel, "/multi-split", {"splitGroups": groups}, method="POST")
        assert answer.status == 400


@pytest.mark.parametrize(
    ("kind", "tracking"),
    [
        ("link", "YK123456"),
        ("link", "+905550000001"),
        ("phone", "https://kurye.example/1"),
        ("phone", "x"),
    ],
)
async def test_tracking_information_is_an_address_or_a_phone_as_it_says(
    kind: str, tracking: str
) -> None:
    async with market() as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        body = {"isPhoneNumber": kind == "phone", "trackingInfo": tracking, "params": {}}
        assert (await m.on_package(parcel, "/alternative-delivery", body)).status == 400
        assert parcel.state is ParcelState.PICKING


async def test_a_refused_own_courier_leaves_no_trace() -> None:
    async with market() as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        body = {
            "isPhoneNumber": False,
            "trackingInfo": "https://kurye.example/1",
            "params": {},
            "boxQuantity": 0,
        }
        assert (await m.on_package(parcel, "/alternative-delivery", body)).status == 400
        assert (parcel.state, parcel.tracking_number) == (ParcelState.PICKING, "")


@pytest.mark.parametrize("number", ["1", "ABC1999000000001", "ABC20260000000012"])
async def test_an_invoice_number_has_its_form(number: str) -> None:
    async with market() as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        lines = [{"lineId": line, "quantity": units} for line, units in parcel.units.items()]
        body = {"status": "Invoiced", "lines": lines, "params": {"invoiceNumber": number}}
        assert (await m.on_package(parcel, "", body)).status == 400
        assert parcel.state is ParcelState.PICKING
    async with market(invoice_number="any") as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        lines = [{"lineId": line, "quantity": units} for line, units in parcel.units.items()]
        assert (await m.on_package(parcel, "", body | {"lines": lines})).status == 200


async def test_a_package_on_the_sellers_own_contract_says_so_and_has_no_common_label() -> None:
    label = "/sellers/{seller}/common-label/"
    async with market() as m:
        assert "whoPays" not in await m.package(m.parcel())
    async with market(cargo_payer="seller") as m:
        parcel = m.advance(m.parcel(), ParcelState.PICKING)
        assert (await m.package(parcel))["whoPays"] == 1
        answer = await m.post(label + parcel.cargo_code, {"format": "ZPL"})
        assert answer.status == 400


async def test_discounts_of_a_line_may_be_read_as_totals() -> None:
    terms = {"seller_discounts_minor": {"A": (101, 102, 104)}}
    async with market() as m:
        parcel = m.buy({"A": 3}, **terms).parcels[0]
        (line,) = msgspec.convert((await m.package(parcel))["lines"], list[Json])
        assert (line["lineSellerDiscount"], line["lineUnitPrice"]) == (1.02, 98.98)
    async with market(line_discounts="total") as m:
        parcel = m.buy({"A": 3}, **terms).parcels[0]
        (line,) = msgspec.convert((await m.package(parcel))["lines"], list[Json])
        assert (line["lineSellerDiscount"], line["lineTotalDiscount"]) == (3.07, 3.07)
        assert line["lineUnitPrice"] == 98.98


# — shapes that documents and observations tell differently —
async def test_the_approved_list_may_leave_the_quantity_out() -> None:
    async with market(approved_quantity="absent") as m:
        m.on_sale("A")
        (row,) = (await m.get(f"{PRODUCTS}/approved")).content
        (variant,) = msgspec.convert(row["variants"], list[Json])
        assert "quantity" not in msgspec.convert(variant["stock"], Json)


async def test_unapproved_rows_may_be_as_documented() -> None:
    live = {"status", "origin", "cargoProviders", "specialConsumptionTax", "sgrPrice", "images"}
    async with market(clock=HandClock(), approval_s="3600", unapproved_rows="documented") as m:
        await m.batch(await m.create(tshirt("A")))
        (row,) = (await m.get(f"{PRODUCTS}/unapproved")).content
        assert not live & set(row)
        assert row["media"] == [{"url": "https://cdn.example/1.jpg"}]


async def test_the_category_tree_may_stand_in_an_object() -> None:
    async with market(category_tree="object") as m:
        assert list((await m.get("/product/product-categories")).json) == ["categories"]
