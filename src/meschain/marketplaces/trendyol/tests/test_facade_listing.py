from __future__ import annotations

import msgspec
import pytest

from meschain.marketplaces.trendyol.tests.facade_market import (
    HandClock,
    Json,
    Market,
    market,
    tshirt,
)
from meschain.sandbox.clock import epoch_ms
from meschain.sandbox.world import ShelfState

APPROVED = "/product/sellers/{seller}/products/approved"
UNAPPROVED = "/product/sellers/{seller}/products/unapproved"


def variants(row: Json) -> list[Json]:
    return msgspec.convert(row["variants"], list[Json])


async def put_up(m: Market, count: int) -> None:
    for number in range(count):
        m.on_sale(f"B{number:05d}")


async def test_color_opens_a_page_and_size_an_option_in_it() -> None:
    async with market() as m:
        await m.batch(
            await m.create(
                tshirt("MM", color="Mavi", size="M"),
                tshirt("ML", color="Mavi", size="L"),
                tshirt("SM", color="Siyah", size="M"),
            )
        )
        rows = (await m.get(APPROVED)).content
        assert [[v["barcode"] for v in variants(row)] for row in rows] == [["MM", "ML"], ["SM"]]
        assert {row["productMainId"] for row in rows} == {"KZK-1042"}


async def test_an_approved_row_is_a_page_with_its_variants() -> None:
    async with market() as m:
        await m.batch(await m.create(tshirt("A1")))
        answer = await m.get(APPROVED)
        assert {k: v for k, v in answer.json.items() if k != "content"} == {
            "totalElements": 1,
            "totalPages": 1,
            "page": 0,
            "size": 20,
            "nextPageToken": None,
        }
        row = answer.content[0]
        attributes = msgspec.convert(row["attributes"], list[Json])
        assert {
            "attributeId": 47,
            "attributeName": "Renk",
            "attributeValueId": 1004,
            "attributeValue": "Mavi",
            "attributeValues": [],
        } in attributes
        assert "Beden" not in {attribute["attributeName"] for attribute in attributes}
        variant = variants(row)[0]
        assert variant["price"] == {
            "salePrice": 199.9,
            "listPrice": 249.9,
            "priceSeenByCustomer": 199.9,
        }
        assert variant["supplierId"] == int(m.shop.seller_id)
        assert (variant["onSale"], variant["archived"], variant["locked"]) == (True, False, False)
        sizes = msgspec.convert(variant["attributes"], list[Json])
        assert [size["attributeValue"] for size in sizes] == ["M"]


async def test_inventory_and_price_is_the_short_form() -> None:
    async with market() as m:
        m.on_sale("A", quantity=3, price_minor=1050)
        await m.get(APPROVED)
        await m.batch(await m.push_offers({"barcode": "A", "quantity": 4}))
        row = (await m.get(APPROVED + "/inventory-and-price", barcode="A")).content[0]
        assert set(row) == {"contentId", "productMainId", "variants"}
        assert variants(row)[0] | {"variantId": 0} == {
            "variantId": 0,
            "barcode": "A",
            "salePrice": 10.5,
            "listPrice": 10.5,
            "quantity": 4,
            "stockCode": "SKU-A",
            "stockLastModifiedDate": epoch_ms(m.clock.now()),
        }


async def test_page_sizes_are_bounded() -> None:
    async with market() as m:
        assert (await m.get(APPROVED, size="101")).status == 400
        assert (await m.get(APPROVED, size="0")).status == 400
        assert (await m.get(UNAPPROVED, size="1000")).status == 200
        assert (await m.get(UNAPPROVED, size="1001")).status == 400
        assert (await m.get(APPROVED, page="101", size="100")).status == 400
        assert (await m.get(APPROVED, page="100", size="100")).status == 200


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_the_token_reads_on_where_pages_end(direction: str) -> None:
    async with market() as m:
        await put_up(m, 7)
        seen: list[object] = []
        query = {"size": "3", "orderByDirection": direction}
        while True:
            answer = await m.get(APPROVED, **query)
            seen += [variants(row)[0]["barcode"] for row in answer.content]
            token = answer.json["nextPageToken"]
            if token is None:
                break
            query["nextPageToken"] = str(token)
        expected = [f"B{number:05d}" for number in range(7)]
        assert seen == (expected if direction == "ASC" else expected[::-1])
        second = await m.get(APPROVED, size="3", page="1", orderByDirection=direction)
        assert [variants(row)[0]["barcode"] for row in second.content] == seen[3:6]


async def test_a_made_up_token_is_refused() -> None:
    async with market() as m:
        assert (await m.get(APPROVED, nextPageToken="abc")).status == 400


async def test_filters_by_key() -> None:
    async with market() as m:
        await put_up(m, 60)
        for query in (
            {"barcode": "B00007"},
            {"stockCode": "SKU-B00007"},
            {"productMainId": "SKU-B00007"},
        ):
            rows = (await m.get(APPROVED, **query)).content
            assert [variants(row)[0]["barcode"] for row in rows] == ["B00007"]
        content_id = (await m.get(APPROVED, barcode="B00007")).content[0]["contentId"]
        assert len((await m.get(APPROVED, contentId=str(content_id))).content) == 1
        fifty = ",".join(f"B{number:05d}" for number in range(50))
        assert (await m.get(APPROVED, barcodes=fifty, size="100")).json["totalElements"] == 50
        assert (await m.get(APPROVED, barcodes=fifty + ",B00050")).status == 400
        assert (await m.get(APPROVED, contentId="x")).status == 400


async def test_filters_by_status() -> None:
    async with market() as m:
        m.on_sale("SOLD", quantity=0)
        m.on_sale("THERE")
        archived = m.on_sale("AWAY")
        m.world.set_state(m.shop, archived, ShelfState.ARCHIVED)

        async def found(status: str) -> list[object]:
            rows = (await m.get(APPROVED, status=status)).content
            return [variant["barcode"] for row in rows for variant in variants(row)]

        assert await found("onSale") == ["THERE"]
        assert await found("notOnSale") == ["SOLD", "AWAY"]
        assert await found("archived") == ["AWAY"]
        assert await found("locked") == await found("blacklisted") == []
        assert (await m.get(APPROVED, status="pendingApproval")).status == 400


async def test_filters_by_date() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        m.on_sale("OLD")
        await clock.push(100)
        m.on_sale("YOUNG")
        since = {"startDate": str(epoch_ms(clock.now()))}
        assert (await m.get(APPROVED, **since)).json["totalElements"] == 1
        await m.batch(await m.push_offers({"barcode": "OLD", "quantity": 1}))
        since["dateQueryType"] = "VARIANT_MODIFIED_DATE"
        assert (await m.get(APPROVED, **since)).json["totalElements"] == 2
        assert (await m.get(APPROVED, dateQueryType="CREATED_DATE")).status == 400


async def test_unapproved_products_are_another_world() -> None:
    async with market(approval_s="3600") as m:
        await m.batch(await m.create(tshirt("A1"), tshirt("A2", size="L")))
        m.world.set_state(
            m.shop, m.shop.shelves["A2"], ShelfState.REJECTED, reasons=("Görsel bulanık",)
        )
        assert (await m.get(APPROVED)).content == []
        rows = (await m.get(UNAPPROVED)).content
        assert [row["barcode"] for row in rows] == ["A1", "A2"]
        assert rows[0]["images"] == [{"url": "https://cdn.example/1.jpg"}]
        assert (rows[0]["salePrice"], rows[0]["quantity"], rows[0]["vatRate"]) == (199.9, 5, 10)
        pending = (await m.get(UNAPPROVED, status="pendingApproval")).content
        rejected = (await m.get(UNAPPROVED, status="rejected")).content
        assert ([row["barcode"] for row in pending], [row["barcode"] for row in rejected]) == (
            ["A1"],
            ["A2"],
        )
        assert rejected[0]["rejectReasonDetails"] == [
            {"rejectReason": "Görsel bulanık", "rejectReasonDetail": "Görsel bulanık"}
        ]
        assert (await m.get(UNAPPROVED, status="onSale")).status == 400
    async with market(approval_s="3600", unapproved_rows="documented") as m:
        await m.batch(await m.create(tshirt("A1")))
        assert "media" in (await m.get(UNAPPROVED)).content[0]


async def test_a_deleted_listing_leaves_its_page() -> None:
    async with market() as m:
        await m.batch(await m.create(tshirt("A1"), tshirt("A2", size="L")))
        assert len(variants((await m.get(APPROVED)).content[0])) == 2
        del m.shop.shelves["A1"]
        assert [v["barcode"] for v in variants((await m.get(APPROVED)).content[0])] == ["A2"]
