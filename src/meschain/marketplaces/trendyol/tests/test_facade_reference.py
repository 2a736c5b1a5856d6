from __future__ import annotations

import msgspec

from meschain.marketplaces.trendyol.tests.facade_market import TSHIRT, Json, market


async def test_brands_are_paged_from_a_thousand_until_empty() -> None:
    async with market() as m:
        first = await m.get("/product/brands", page="0", size="1000")
        assert len(msgspec.convert(first.json["brands"], list[Json])) >= 20
        assert set(first.json) == {"brands"}  # no totals
        assert set(msgspec.convert(first.json["brands"], list[Json])[0]) == {"id", "name", "luxe"}
        assert (await m.get("/product/brands", page="1")).json == {"brands": []}
        assert (await m.get("/product/brands", size="50")).status == 400


async def test_brands_by_name_are_a_bare_array_and_mind_the_case() -> None:
    async with market() as m:
        assert [
            b["name"] for b in (await m.get("/product/brands/by-name", name="Akasya")).rows
        ] == ["Akasya"]
        assert (await m.get("/product/brands/by-name", name="akasya")).rows == []
        assert (await m.get("/product/brands/by-name")).status == 400
    async with market(brand_search="substring") as m:
        assert len((await m.get("/product/brands/by-name", name="akas")).rows) == 1


async def test_the_category_tree_is_a_bare_recursive_array() -> None:
    async with market() as m:
        roots = (await m.get("/product/product-categories")).rows
        assert len(roots) >= 6
        assert set(roots[0]) == {"id", "name", "parentId", "subCategories"}
        assert roots[0]["parentId"] is None
        below = msgspec.convert(roots[0]["subCategories"], list[Json])
        assert below[0]["parentId"] == roots[0]["id"]
        found = (await m.get("/product/product-categories", name="t-shirt")).rows
        assert len(found) == 1


async def test_attributes_carry_flags_and_no_values() -> None:
    async with market() as m:
        path = f"/product/categories/{TSHIRT}/attributes"
        answer = await m.get(path)
        assert set(answer.json) == {"id", "name", "displayName", "categoryAttributes"}
        rows = msgspec.convert(answer.json["categoryAttributes"], list[Json])
        assert rows[0] == {
            "allowCustom": True,
            "attribute": {"id": 47, "name": "Renk"},
            "categoryId": TSHIRT,
            "required": True,
            "varianter": False,
            "slicer": True,
            "allowMultipleAttributeValues": False,
        }
        assert sum(1 for row in rows if row["varianter"]) == 1
        needed = (await m.get(path, required="true")).json["categoryAttributes"]
        others = (await m.get(path, required="false")).json["categoryAttributes"]
        assert len(msgspec.convert(needed, list[Json])) == 5
        assert len(msgspec.convert(others, list[Json])) == len(rows) - 5
        assert (await m.get("/product/categories/1/attributes")).status == 404


async def test_attribute_values_are_paged() -> None:
    path = f"/product/categories/{TSHIRT}/attributes/338/values"
    async with market() as m:
        answer = await m.get(path, size="5", page="1")
        assert (answer.json["page"], answer.json["size"]) == (1, 5)
        assert answer.json["totalElements"] == 21
        assert answer.json["totalPages"] == 5
        assert [set(row) for row in answer.content] == [
            {"attributeValueId", "attributeValue"} for _ in range(5)
        ]
        sizes = {row["attributeValue"] for row in (await m.get(path, size="1000")).content}
        assert {"XS", "XXL", *(str(number) for number in range(34, 47))} <= sizes
        assert (await m.get(path, size="1001")).status == 400
        assert (await m.get(f"/product/categories/{TSHIRT}/attributes/1/values")).status == 404
    async with market(attribute_value_key="attributeValueName") as m:
        assert "attributeValueName" in (await m.get(path)).content[0]


async def test_carriers_and_addresses() -> None:
    async with market() as m:
        carriers = (await m.get("/product/lookup/cargo-providers")).rows
        assert {"code": "YKMP", "name": "Yurtiçi Kargo"} in carriers
        answer = (await m.get("/sellers/{seller}/addresses")).json
        addresses = msgspec.convert(answer["supplierAddresses"], list[Json])
        assert answer["defaultShipmentAddress"] == addresses[0]
        assert {"defaultInvoiceAddress", "defaultReturningAddress"} <= set(answer)
        assert {"id", "isShipmentAddress", "district", "postCode", "fullName"} <= set(addresses[0])
