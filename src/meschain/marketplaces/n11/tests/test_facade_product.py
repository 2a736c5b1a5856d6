"""Categories, creating, updating, deleting and listing products."""

from __future__ import annotations

import pytest

from meschain.marketplaces.n11.tests.facade_stall import (
    CREATE,
    DELETE,
    UPDATE,
    Answer,
    Stall,
    dress,
    open_stall,
    payload,
    priced,
    reasons,
    statuses,
)
from meschain.sandbox.world import ShelfState

QUERY = "/ms/product-query"


async def listed(stall: Stall, **query: object) -> Answer:
    answer = await stall.call(
        "GET", QUERY, query={name: str(value) for name, value in query.items()}
    )
    assert answer.status == 200, answer.text
    return answer


async def approved(stall: Stall, *skus: object) -> None:
    """Create and wait for the catalog's approval."""
    created = await stall.task(CREATE, *skus)
    assert set(statuses(created)) == {"SUCCESS"}, created.text
    stall.clock.move(60)


async def test_the_tree_comes_whole_and_a_leaf_has_no_list_of_children() -> None:
    async with open_stall() as stall:
        tree = await stall.call("GET", "/cdn/categories")
    root = tree.rows("categories")[0]
    assert root["parentId"] is None
    leaf = tree.rows("categories", 0, "subCategories", 0, "subCategories")[0]
    assert leaf == {
        "id": 1000476,
        "name": "Elbise",
        "parentId": 1000010,
        "subCategories": None,
    }


async def test_the_tree_can_be_a_bare_array() -> None:
    async with open_stall(categories_shape="bare") as stall:
        tree = await stall.call("GET", "/cdn/categories")
    assert tree.text.startswith('[{"id":1000001')


async def test_every_leaf_names_the_brand_attribute_with_twenty_values_or_more() -> None:
    async with open_stall() as stall:
        for category_id in (1000476, 1000500, 1002571, 1002600, 1002700, 1002800):
            answer = await stall.call("GET", f"/cdn/category/{category_id}/attribute")
            assert answer.at("id") == category_id
            brand = answer.rows("categoryAttributes")[0]
            assert (brand["attributeId"], brand["attributeName"]) == (1, "Marka")
            assert brand["isMandatory"] is brand["isCustomValue"] is True
            assert len(answer.rows("categoryAttributes", 0, "attributeValues")) >= 20


@pytest.mark.parametrize("category", ["1000001", "999", "elbise"])
async def test_an_unknown_or_inner_category_has_no_attributes(category: str) -> None:
    async with open_stall() as stall:
        answer = await stall.call("GET", f"/cdn/category/{category}/attribute")
    assert (answer.status, answer.at("errorCode")) == (400, "invalidInput")


async def test_a_product_waits_for_the_catalog_and_is_then_active() -> None:
    async with open_stall() as stall:
        await stall.task(CREATE, dress("A"))
        waiting = await listed(stall, stockCode="A")
        stall.clock.move(60)
        active = await listed(stall, stockCode="A")
    assert waiting.at("content", 0, "status") == "InCatalogApproval"
    assert waiting.at("content", 0, "saleStatus") == "Before_Sale"
    row = active.rows("content")[0]
    assert (row["status"], row["saleStatus"], row["quantity"]) == ("Active", "On_Sale", 4)
    assert (row["salePrice"], row["listPrice"], row["currencyType"]) == (199.9, 249.9, "TL")
    assert (row["barcode"], row["productMainId"], row["vatRate"]) == ("869A", "ELB-1", 10)
    assert row["attributes"] == [
        {"attributeId": 1, "attributeName": "Marka", "attributeValue": "Benim Markam"},
        {"attributeId": 429, "attributeName": "Renk", "attributeValue": "Siyah"},
        {"attributeId": 430, "attributeName": "Beden", "attributeValue": "M"},
    ]
    assert "rejectInfo" not in row


async def test_the_catalog_may_reject_a_product() -> None:
    async with open_stall(rejected_words="çiçekli") as stall:
        await approved(stall, dress("A"))
        answer = await listed(stall, productStatus="CatalogRejected")
    assert answer.at("content", 0, "saleStatus") == "Sale_Closed"
    assert answer.at("content", 0, "rejectInfo")


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"title": "On dört harf.."}, "en az 15"),
        ({"title": ...}, "en az 15"),
        ({"title": "Replika Çanta Modeli"}, "yasaklı kelime"),
        ({"description": ...}, "description"),
        ({"categoryId": 1000001}, "categoryId"),
        ({"categoryId": ...}, "categoryId"),
        ({"currencyType": "TRY"}, "currencyType"),
        ({"productMainId": ...}, "productMainId"),
        ({"preparingDay": 0}, "preparingDay"),
        ({"preparingDay": ...}, "preparingDay"),
        ({"shipmentTemplate": "Yok böyle"}, "shipmentTemplate geçersiz"),
        ({"shipmentTemplate": ...}, "shipmentTemplate"),
        ({"maxPurchaseQuantity": 0}, "maxPurchaseQuantity"),
        ({"stockCode": "x" * 256}, "255"),
        ({"stockCode": ...}, "stockCode"),
        ({"barcode": ...}, "barcode veya catalogId"),
        ({"catalogId": 5}, "catalogId bulunamadı"),
        ({"quantity": 1_000_000}, "999999"),
        ({"quantity": -1}, "999999"),
        ({"quantity": ...}, "quantity"),
        ({"images": ...}, "images"),
        ({"images": []}, "görsel"),
        ({"images": [{"url": "http://resim.example/1.jpg", "order": 0}]}, "https"),
        ({"attributes": ...}, "attributes"),
        ({"attributes": []}, "Marka bilgisi verilmelidir"),
        ({"attributes": [{"id": 1, "valueId": 8372688}]}, "Zorunlu özellik verilmelidir: Renk"),
        ({"attributes": [{"id": 1, "valueId": 5}]}, "5 özellik değeri id'si kategoride"),
        ({"attributes": [{"id": 431, "valueId": 445200}]}, "431 id'li özellik"),
        ({"attributes": [{"id": 430, "customValue": "M"}]}, "özel değer kabul edilmez"),
        ({"salePrice": ...}, "birlikte"),
        ({"salePrice": ..., "listPrice": ...}, "boş olamaz"),
        ({"salePrice": priced("199.9")}, "Fiyat formatı"),
        ({"salePrice": priced('"199,90"')}, "Fiyat formatı"),
        ({"listPrice": priced("150.00")}, "küçük olamaz"),
        ({"listPrice": priced("2000000.00")}, "minimum/maksimum"),
        ({"vatRate": ...}, "vatRate alanı boş"),
        ({"vatRate": 18}, "vatRate"),
    ],
)
async def test_a_product_with_a_fault_fails_by_its_row_and_the_others_are_opened(
    changes: dict[str, object], fragment: str
) -> None:
    async with open_stall() as stall:
        answer = await stall.task(CREATE, dress("A", **changes), dress("B"))
        assert statuses(answer) == ["FAIL", "SUCCESS"], answer.text
        assert fragment in reasons(answer)
        assert list(stall.shop.shelves) == ["B"]


async def test_a_stock_code_can_be_opened_once() -> None:
    async with open_stall() as stall:
        await stall.task(CREATE, dress("A"))
        again = await stall.task(CREATE, dress("A", title="Başka bir yazlık elbise"))
    assert "daha önce kullanılmıştır" in reasons(again)


async def test_a_matched_catalog_page_needs_neither_pictures_nor_attributes() -> None:
    async with open_stall(catalog_entries="8690001:77") as stall:
        await approved(stall, dress("A", barcode=8690001, images=[], attributes=[]))
        stall.clock.move(600)
        answer = await listed(stall, stockCode="A")
    assert answer.at("content", 0, "status") == "InApproval"  # waits for the seller
    assert answer.at("content", 0, "catalogId") == 77


async def test_rules_of_single_clients_can_be_eased() -> None:
    async with open_stall(barcode_or_catalog="optional") as stall:
        await approved(stall, dress("A", barcode=...))
        assert (await listed(stall)).at("content", 0, "barcode") is None


async def test_a_category_may_ask_for_the_suppliers_invoice() -> None:
    async with open_stall(supplier_invoice_categories="1000476") as stall:
        assert "tedarikçi faturası" in reasons(await stall.task(CREATE, dress("A")))


async def test_both_values_of_an_attribute_refuse_the_request() -> None:
    both = [{"id": 1, "valueId": 8372688, "customValue": "Anka"}]
    text_null = [{"id": 1, "valueId": 8372688, "customValue": "null"}]
    async with open_stall() as stall:
        for attributes in (both, text_null):
            answer = await stall.call(
                "POST", CREATE, body=payload(dress("A", attributes=attributes), dress("B"))
            )
            assert (answer.status, answer.at("errorCode")) == (400, "TASK_ERR_001")
    async with open_stall(null_text="absent", attribute_both_status="422") as stall:
        first = await stall.call("POST", CREATE, body=payload(dress("A", attributes=both)))
        second = await stall.call("POST", CREATE, body=payload(dress("A", attributes=text_null)))
    assert (first.status, second.status) == (422, 200)


async def test_a_foreign_price_is_kept_and_buyers_see_lira() -> None:
    async with open_stall(rate_usd="40.5") as stall:
        await approved(stall, dress("A", currencyType="USD"))
        row = (await listed(stall)).rows("content")[0]
        assert stall.shop.shelves["A"].sale_minor == 809_595
    assert (row["salePrice"], row["currencyType"]) == (199.9, "USD")


async def test_suspending_and_activating_is_an_update_of_the_status() -> None:
    async with open_stall() as stall:
        await approved(stall, dress("A"))
        await stall.task(UPDATE, {"stockCode": "A", "status": "Suspended", "vatRate": 10})
        suspended = await listed(stall)
        await stall.task(UPDATE, {"stockCode": "A", "status": "Active", "vatRate": 20})
        active = await listed(stall)
    assert suspended.at("content", 0, "status") == "Suspended"
    assert suspended.at("content", 0, "saleStatus") == "Sale_Closed"
    assert active.at("content", 0, "status") == "Active"
    assert active.at("content", 0, "vatRate") == 20


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"status": "Active"}, "vatRate alanı boş"),
        ({"status": "Prohibited", "vatRate": 10}, "status Active veya Suspended"),
        ({"stockCode": "B", "status": "Active", "vatRate": 10}, "bulunamadı"),
        ({"description": "x" * 30_001, "vatRate": 10}, "30000"),
        ({"preparingDay": 0, "vatRate": 10}, "preparingDay"),
        ({"shipmentTemplate": "Yok", "vatRate": 10}, "shipmentTemplate"),
        ({"currencyType": "TRY", "vatRate": 10}, "currencyType"),
        ({"maxPurchaseQuantity": 0, "vatRate": 10}, "maxPurchaseQuantity"),
        ({"attributes": [{"id": 430, "valueId": 445103}], "vatRate": 10}, "yalnızca n11"),
        ({"attributes": [{"id": 999, "valueId": 1}], "vatRate": 10}, "999 id'li"),
    ],
)
async def test_an_update_with_a_fault_changes_nothing(
    changes: dict[str, object], fragment: str
) -> None:
    async with open_stall() as stall:
        await approved(stall, dress("A"))
        before = await listed(stall)
        answer = await stall.task(UPDATE, {"stockCode": "A", "description": "Yeni"} | changes)
        after = await listed(stall)
    assert statuses(answer) == ["FAIL"]
    assert fragment in reasons(answer)
    assert before.json == after.json


async def test_only_active_and_suspended_products_can_be_updated() -> None:
    async with open_stall() as stall:
        await stall.task(CREATE, dress("A"))
        answer = await stall.task(UPDATE, {"stockCode": "A", "preparingDay": 3, "vatRate": 10})
    assert "Active veya Suspended" in reasons(answer)


@pytest.mark.parametrize("extra", [{"title": "Yepyeni uzun bir başlık"}, {"categoryId": 1000477}])
async def test_title_or_category_in_an_update_rejects_the_whole_task(
    extra: dict[str, object],
) -> None:
    async with open_stall() as stall:
        row = {"stockCode": "A", "vatRate": 10}
        answer = await stall.call("POST", UPDATE, body=payload(row, {"stockCode": "B"} | extra))
        result = await stall.result(answer.at("id"))
    assert (answer.status, answer.at("status"), answer.at("type")) == (
        200,
        "REJECT",
        "PRODUCT_UPDATE",
    )
    assert result.at("status") == "REJECT"
    assert result.at("skus", "empty") is True


async def test_a_row_with_nothing_but_its_stock_code_succeeds_and_does_nothing() -> None:
    async with open_stall() as stall:
        await approved(stall, dress("A"))
        before = await listed(stall)
        answer = await stall.task(UPDATE, {"stockCode": "A"})
        assert statuses(answer) == ["SUCCESS"]
        assert (await listed(stall)).json == before.json


async def test_group_code_and_purchase_limit_change_only_with_their_flags() -> None:
    changed = {
        "stockCode": "A",
        "vatRate": 10,
        "productMainId": "ELB-2",
        "maxPurchaseQuantity": 9,
    }
    flags = {"deleteProductMainId": True, "deleteMaxPurchaseQuantity": True}
    async with open_stall() as stall:
        await approved(stall, dress("A"))
        ignored = await stall.task(UPDATE, changed)
        row = (await listed(stall)).rows("content")[0]
        assert statuses(ignored) == ["SUCCESS"]
        assert (row["productMainId"], row["maxPurchaseQuantity"]) == ("ELB-1", 5)
        await stall.task(UPDATE, changed | flags)
        row = (await listed(stall)).rows("content")[0]
        assert (row["productMainId"], row["maxPurchaseQuantity"]) == ("ELB-2", 9)
        await stall.task(UPDATE, {"stockCode": "A", "vatRate": 10} | flags)
        row = (await listed(stall)).rows("content")[0]
        assert (row["productMainId"], row["maxPurchaseQuantity"]) == (None, None)


async def test_other_fields_of_an_update_are_taken_over() -> None:
    async with open_stall(shipment_templates="Standart, Hızlı") as stall:
        await approved(stall, dress("A"))
        await stall.task(
            UPDATE,
            {
                "stockCode": "A",
                "vatRate": 10,
                "description": "Yeni",
                "preparingDay": 1,
                "shipmentTemplate": "Hızlı",
                "currencyType": "EUR",
                "attributes": [
                    {"id": 433, "customValue": "Modal"},
                    {"id": 430, "valueId": 445102},  # unchanged, so not a change of the size
                ],
            },
        )
        row = (await listed(stall)).rows("content")[0]
        assert stall.shop.shelves["A"].list_minor == 24_990 * 45
    assert (row["description"], row["preparingDay"]) == ("Yeni", 1)
    assert (row["shipmentTemplate"], row["currencyType"]) == ("Hızlı", "EUR")
    assert "Modal" in str(row["attributes"])


async def test_a_deleted_product_is_gone_and_its_stock_code_is_free() -> None:
    async with open_stall() as stall:
        await approved(stall, dress("A"))
        shelf = stall.shop.shelves["A"]
        deleted = await stall.task(DELETE, {"stockCode": "A"}, {"stockCode": "B"})
        gone = await listed(stall)
        await approved(stall, dress("A"))
    assert statuses(deleted) == ["SUCCESS", "FAIL"]
    assert gone.at("totalElements") == 0
    assert shelf.state is ShelfState.ARCHIVED


async def test_products_are_paged_as_spring_pages_them() -> None:
    async with open_stall() as stall:
        for place in range(45):
            stall.stock(f"S{place}")
        first = await listed(stall)
        last = await listed(stall, page=2)
        past = await listed(stall, page=3)
        large = await listed(stall, size=250)
    assert (first.at("size"), len(first.rows("content"))) == (20, 20)
    assert (first.at("totalPages"), first.at("first"), first.at("last")) == (3, True, False)
    assert (len(last.rows("content")), last.at("last")) == (5, True)
    assert (past.rows("content"), past.at("empty"), past.at("number")) == ([], True, 3)
    assert len(large.rows("content")) == 45
    assert large.at("pageable", "pageSize") == 250


async def test_products_are_filtered_by_everything_that_the_sheet_names() -> None:
    async with open_stall() as stall:
        await approved(
            stall,
            dress("A"),
            dress("B", productMainId="ELB-2", quantity=0),
            dress("C", categoryId=1000477, attributes=[*_attributes(8372689)]),
        )
        number = (await listed(stall, stockCode="B")).at("content", 0, "n11ProductId")

        async def codes(**query: object) -> str:
            rows = (await listed(stall, **query)).rows("content")
            return "".join(str(row["stockCode"]) for row in rows)

        assert await codes(id=number) == "B"
        assert await codes(productMainId="ELB-2") == "B"
        assert await codes(saleStatus="Out_Of_Stock") == "B"
        assert await codes(saleStatus="On_Sale") == "AC"
        assert await codes(productStatus="Active") == "ABC"
        assert await codes(productStatus="Suspended") == ""
        assert await codes(brandName="Anka") == "C"
        assert await codes(categoryIds="1000477,1000500") == "C"
        assert await codes(sender="N11") == ""
        assert await codes(sender="ALL") == "ABC"
        assert await codes(stockCode="A,B") == ""


def _attributes(brand_id: int) -> list[dict[str, object]]:
    return [
        {"id": 1, "valueId": brand_id},
        {"id": 429, "customValue": "Gece mavisi"},
        {"id": 430, "valueId": 445102},
    ]
