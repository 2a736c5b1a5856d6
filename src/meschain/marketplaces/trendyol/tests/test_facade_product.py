from __future__ import annotations

import msgspec
import pytest

from meschain.marketplaces.trendyol.tests.facade_market import (
    HandClock,
    Json,
    chosen,
    market,
    request_items,
    tshirt,
    value_id,
)
from meschain.sandbox.world import ShelfState

SINGLE = "/product/sellers/{seller}/product/"


def attributes(**changed: Json | None) -> list[Json]:
    """Those of a t-shirt with one replaced or left out."""
    names = {"color": "Renk", "size": "Beden", "origin": "Menşei"}
    kept = {
        "Renk": chosen("Renk", "Mavi"),
        "Beden": chosen("Beden", "M"),
        "Cinsiyet": chosen("Cinsiyet", "Kadın"),
        "Yaş Grubu": chosen("Yaş Grubu", "Yetişkin"),
        "Menşei": chosen("Menşei", "TR"),
    }
    for name, entry in changed.items():
        if entry is None:
            del kept[names[name]]
        else:
            kept[names[name]] = entry
    return list(kept.values())


# — create —
async def test_a_product_waits_for_approval_and_then_is_on_sale() -> None:
    clock = HandClock()
    async with market(clock=clock, approval_s="3600") as m:
        result = await m.batch(await m.create(tshirt("8680001")))
        assert result["status"] == "COMPLETED"
        assert result["batchRequestType"] == "ProductV2OnBoarding"
        shelf = m.shop.shelves["8680001"]
        assert (shelf.quantity, shelf.sale_minor, shelf.list_minor) == (5, 19_990, 24_990)
        pending = (await m.get(SINGLE + "8680001")).json
        assert (pending["approved"], pending["contentId"]) == (False, None)
        await clock.push(3600)
        assert shelf.state is ShelfState.ON_SALE
        approved = (await m.get(SINGLE + "8680001")).json
        assert approved["approved"] is True
        assert isinstance(approved["contentId"], int)
        assert set(approved) == {
            "barcode",
            "approved",
            "approvedDate",
            "archived",
            "listingId",
            "contentId",
        }


async def test_the_economys_speed_shortens_approval() -> None:
    clock = HandClock()
    async with market(clock=clock, approval_s="3600") as m:
        clock.factor = 60
        await m.batch(await m.create(tshirt("A1")))
        await clock.push(60)
        assert m.shop.shelves["A1"].state is ShelfState.ON_SALE


async def test_approval_may_be_refused_with_reasons() -> None:
    async with market(reject_percent="100") as m:
        await m.batch(await m.create(tshirt("A1")))
        rows = (await m.get("/product/sellers/{seller}/products/unapproved")).content
        assert rows[0]["status"] == "rejected"
        assert rows[0]["rejectReasonDetails"]


async def test_blanks_vanish_from_a_barcode_and_stay_gone() -> None:
    async with market() as m:
        await m.batch(await m.create(tshirt("ÇA 12.b")))
        assert list(m.shop.shelves) == ["ÇA12.b"]
        unknown = await m.push_offers({"barcode": "ÇA 12.b", "quantity": 1})
        assert all(await m.reasons(unknown))
        known = await m.push_offers({"barcode": "ÇA12.b", "quantity": 1})
        assert await m.reasons(known) == [[]]


BROKEN: list[tuple[Json, str]] = [
    ({"barcode": "A/1"}, "Barkod"),
    ({"barcode": "x" * 41}, "Barkod"),
    ({"title": "x" * 101}, "başlığı"),
    ({"title": ""}, "başlığı"),
    ({"productMainId": "x" * 41}, "Model kodu"),
    ({"stockCode": "x" * 101}, "Stok kodu"),
    ({"description": "x" * 30_001}, "Açıklama"),
    ({"brandId": 1}, "marka"),
    ({"categoryId": 368}, "kategori"),  # not a leaf
    ({"categoryId": 1}, "kategori"),
    ({"quantity": 20_001}, "Stok adedi"),
    ({"quantity": -1}, "Stok adedi"),
    ({"listPrice": 199.89}, "Liste fiyatı"),
    ({"salePrice": 0, "listPrice": 0}, "Fiyat"),
    ({"salePrice": 9.999}, "Fiyat"),
    ({"vatRate": 18}, "KDV"),
    ({"images": []}, "Görsel"),
    ({"images": [{"url": "https://cdn.example/1.jpg"}] * 9}, "Görsel"),
    ({"images": [{"url": "http://cdn.example/1.jpg"}]}, "https"),
    ({"dimensionalWeight": -1}, "Desi"),
    ({"origin": "TUR"}, "Menşei"),
    ({"lotNumber": "a_b"}, "Parti"),
    ({"deliveryOption": {"deliveryDuration": 2}}, "Termin"),
    ({"shipmentAddressId": 1}, "adres"),
    ({"cargoProviders": ["UPS"]}, "kargo"),
    ({"attributes": attributes(size=None)}, "Zorunlu"),
    ({"attributes": [*attributes(), chosen("Renk", "Siyah")]}, "birden fazla kez"),
    ({"attributes": [*attributes(), {"attributeId": 701, "attributeValue": "x"}]}, "kategoride"),
    ({"attributes": attributes(size={"attributeId": 338})}, "yalnızca biri"),
    ({"attributes": attributes(size={"attributeId": 338, "attributeValueId": 1})}, "değer yok"),
    ({"attributes": attributes(size={"attributeId": 338, "attributeValue": "M"})}, "serbest"),
    (
        {"attributes": attributes(color={"attributeId": 47, "attributeValue": "x" * 51})},
        "50 karakter",
    ),
    (
        {"attributes": attributes(color={"attributeId": 47, "attributeValueIds": [1001, 1002]})},
        "birden fazla değer",
    ),
]


@pytest.mark.parametrize(("changed", "word"), BROKEN, ids=lambda case: str(case)[:40])
async def test_a_broken_rule_fails_its_item_alone(changed: Json, word: str) -> None:
    async with market() as m:
        bad = tshirt("BAD") | changed
        first, second = await m.reasons(await m.create(bad, tshirt("GOOD", size="L")))
        assert word in " ".join(first)
        assert second == []
        assert list(m.shop.shelves) == ["GOOD"]


async def test_all_broken_rules_are_told_together() -> None:
    async with market() as m:
        bad = tshirt("BAD", vatRate=18, title="", brandId=1)
        assert len((await m.reasons(await m.create(bad)))[0]) == 3


@pytest.mark.parametrize(
    "name", ["barcode", "title", "brandId", "salePrice", "images", "attributes", "stockCode"]
)
async def test_a_missing_field_refuses_the_request(name: str) -> None:
    async with market() as m:
        item = tshirt("A1")
        del item[name]
        assert (await m.create(tshirt("A2"), item)).status == 400
        assert m.shop.shelves == {}


async def test_the_guide_asks_less_than_the_definition() -> None:
    async with market(create_required="guide") as m:
        item = tshirt("A1")
        del item["stockCode"], item["dimensionalWeight"]
        assert await m.reasons(await m.create(item)) == [[]]


async def test_both_attribute_spellings_are_taken_and_the_guides_is_echoed() -> None:
    async with market() as m:
        blue = value_id("Renk", "Mavi")
        spellings: list[Json] = [
            {"attributeId": 47, "attributeValueIds": [blue]},
            {"attributeId": 47, "attributeValueId": blue},
            {"attributeId": 47, "attributeValue": "Gece Mavisi"},
            {"attributeId": 47, "customAttributeValue": "Gece Mavisi"},
        ]
        items = [
            tshirt(f"A{number}", attributes=attributes(color=entry))
            for number, entry in enumerate(spellings)
        ]
        result = await m.batch(await m.create(*items))
        assert result["failedItemCount"] == 0
        colors = []
        for item in request_items(result):
            product = msgspec.convert(item["product"], Json)
            assert {"currencyType", "cargoCompanyId"} <= set(product)
            colors.append(msgspec.convert(product["attributes"], list[Json])[0])
        assert colors == [
            {"attributeId": 47, "attributeValueId": blue},
            {"attributeId": 47, "attributeValueId": blue},
            {"attributeId": 47, "customAttributeValue": "Gece Mavisi"},
            {"attributeId": 47, "customAttributeValue": "Gece Mavisi"},
        ]


async def test_a_barcode_is_created_once() -> None:
    async with market() as m:
        first, second = await m.reasons(await m.create(tshirt("A1"), tshirt("A1")))
        assert first == []
        assert "mevcut" in second[0]
        assert "mevcut" in (await m.reasons(await m.create(tshirt("A 1"))))[0][0]


# — unapproved update —
async def test_a_rejected_product_is_mended_and_judged_again() -> None:
    clock = HandClock()
    async with market(clock=clock, approval_s="10") as m:
        await m.batch(await m.create(tshirt("A1")))
        shelf = m.shop.shelves["A1"]
        m.world.set_state(m.shop, shelf, ShelfState.REJECTED, reasons=("Görsel",))
        update = tshirt("A1", title="Yeni Başlık", vatRate=20)
        for name in ("quantity", "listPrice", "salePrice"):
            del update[name]
        result = await m.batch(await m.update("/unapproved-bulk-update", update))
        assert result["batchRequestType"] == "ProductV2Update"
        item = request_items(result)[0]
        assert {"contentId", "deliveryDuration"} <= set(msgspec.convert(item["product"], Json))
        assert (shelf.state, shelf.title, shelf.vat_percent) == (
            ShelfState.PENDING,
            "Yeni Başlık",
            20,
        )
        await clock.push(10)
        assert shelf.state is ShelfState.ON_SALE


async def test_an_unapproved_update_must_be_whole_or_breaks_the_server() -> None:
    async with market(approval_s="3600") as m:
        await m.batch(await m.create(tshirt("A1")))
        update = {"barcode": "A1", "title": "Yeni"}
        answer = await m.update("/unapproved-bulk-update", update)
        assert (answer.status, answer.key) == (500, "TrendyolSystemException")
    async with market(approval_s="3600", unapproved_update="partial") as m:
        await m.batch(await m.create(tshirt("A1")))
        assert await m.reasons(await m.update("/unapproved-bulk-update", update)) == [[]]
        assert m.shop.shelves["A1"].title == "Yeni"


async def test_an_approved_product_has_no_unapproved_update() -> None:
    async with market() as m:
        await m.batch(await m.create(tshirt("A1")))
        offer = {"quantity", "listPrice", "salePrice"}  # such an update has no place for them
        item = {name: value for name, value in tshirt("A1").items() if name not in offer}
        assert all(await m.reasons(await m.update("/unapproved-bulk-update", item)))


# — approved updates —
async def test_a_content_update_enters_quality_control_first() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        await m.batch(await m.create(tshirt("A1")))
        await clock.push(0)
        content_id = (await m.get(SINGLE + "A1")).json["contentId"]
        audits = f"/product/sellers/{{seller}}/products/{content_id}/update-audits"
        clock.factor = 0.01
        answer = await m.update(
            "/content-bulk-update",
            {"contentId": content_id, "title": "Yeni", "attributes": attributes(size=None)},
        )
        result = await m.batch(answer)
        assert result["batchRequestType"] == "ApprovedProductContentUpdate"
        row = (await m.get(audits)).content[0]
        assert set(row) == {"barcode", "contentId", "batchRequestId", "requestDate", "updates"}
        assert isinstance(row["requestDate"], str)
        updates = msgspec.convert(row["updates"], list[Json])
        assert [update["type"] for update in updates] == ["TITLE", "ATTRIBUTE"]
        await clock.push(1)
        assert (await m.get(audits, status="RUNNING")).content == []
        assert m.shop.shelves["A1"].title == "Yeni"


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"attributes": attributes()}, "Varyant"),
        ({"attributes": attributes(size=None, color=chosen("Renk", "Siyah"))}, "Ayırt edici"),
        ({"attributes": attributes(size=None, origin=None)}, "Zorunlu"),
        ({"images": [{"url": "https://cdn.example/1.jpg"}] * 9}, "Görsel"),
        ({"title": "x" * 101}, "başlığı"),
    ],
)
async def test_what_a_content_update_may_not_do(changed: Json, word: str) -> None:
    async with market() as m:
        await m.batch(await m.create(tshirt("A1")))
        content_id = (await m.get(SINGLE + "A1")).json["contentId"]
        answer = await m.update("/content-bulk-update", {"contentId": content_id} | changed)
        assert word in (await m.reasons(answer))[0][0]
        unknown = await m.update("/content-bulk-update", {"contentId": 1, "title": "Yeni"})
        assert all(await m.reasons(unknown))


VARIANT: Json = {
    "stockCode": "NEW",
    "vatRate": 20,
    "dimensionalWeight": 2.5,
    "shipmentAddressId": None,
    "returningAddressId": None,
    "lotNumber": None,
    "locationBasedDelivery": "ENABLED",
    "origin": "TR",
    "channels": ["CORE"],
    "cargoProviders": ["TEXMP"],
}


async def test_a_variant_update_is_whole() -> None:
    async with market() as m:
        m.on_sale("A")
        result = await m.batch(await m.update("/variant-bulk-update", {"barcode": "A"} | VARIANT))
        assert result["batchRequestType"] == "ApprovedProductVariantUpdate"
        item = request_items(result)[0]
        assert item["supplierId"] == int(m.shop.seller_id)
        assert (m.shop.shelves["A"].stock_code, m.shop.shelves["A"].vat_percent) == ("NEW", 20)
        partial = await m.update("/variant-bulk-update", {"barcode": "A", "stockCode": "X"})
        assert partial.status == 400
        empty = {"barcode": "A"} | VARIANT | {"channels": []}
        assert (await m.update("/variant-bulk-update", empty)).status == 400
        luxury = {"barcode": "A"} | VARIANT | {"channels": ["LUXURY"]}
        assert "channels" in (await m.reasons(await m.update("/variant-bulk-update", luxury)))[0][0]
    async with market(variant_update="partial") as m:
        m.on_sale("A")
        partial = await m.update("/variant-bulk-update", {"barcode": "A", "stockCode": "X"})
        assert await m.reasons(partial) == [[]]
        assert m.shop.shelves["A"].stock_code == "X"


async def test_delivery_info_is_plural_in_and_singular_out() -> None:
    clock = HandClock()
    async with market(clock=clock, apply_ms_min="100", apply_ms_max="100") as m:
        m.on_sale("A")
        sent = {"barcode": "A", "deliveryOptions": {"deliveryDuration": 1}}
        answer = await m.update("/delivery-info-bulk-update", sent)
        running = await m.batch_now(str(answer.json["batchRequestId"]))
        assert running.json["status"] == "IN_PROGRESS"
        items = msgspec.convert(running.json["items"], list[Json])
        assert items[0]["status"] == "IN_PROGRESS"
        await clock.push(0.1)
        result = await m.batch(answer)
        item = request_items(result)[0]
        assert item == {
            "supplierId": int(m.shop.seller_id),
            "barcode": "A",
            "storeFrontCode": "TR",
            "storeFrontId": 1,
            "request": {"barcode": "A", "deliveryOption": {"deliveryDuration": 1}},
        }


# — archive, delete, unlock —
async def test_an_approved_product_is_deleted_a_day_after_it_was_archived() -> None:
    clock = HandClock()
    async with market(clock=clock) as m:
        shelf = m.on_sale("A")
        delete = {"barcode": "A"}
        assert all(await m.reasons(await m.update("", delete, method="DELETE")))
        archive = {"barcode": "A", "archived": True}
        result = await m.batch(await m.update("/archive-state", archive, method="PUT"))
        assert result["batchRequestType"] == "ProductArchiveUpdate"
        assert {"batchRequestLogId", "notes"} <= set(
            msgspec.convert(result["items"], list[Json])[0]
        )
        assert shelf.state is ShelfState.ARCHIVED
        assert (await m.get(SINGLE + "A")).json["archived"] is True
        await clock.push(24 * 3600)
        assert all(await m.reasons(await m.update("", delete, method="DELETE")))
        await clock.push(1)
        result = await m.batch(await m.update("", delete, method="DELETE"))
        assert (result["batchRequestType"], result["failedItemCount"]) == ("ProductDeletion", 0)
        gone = await m.get(SINGLE + "A")
        assert (gone.status, gone.key) == (404, "product.not.found")


async def test_an_archived_product_comes_back() -> None:
    async with market() as m:
        shelf = m.on_sale("A")
        for archived in (True, False):
            sent = {"barcode": "A", "archived": archived}
            assert await m.reasons(await m.update("/archive-state", sent, method="PUT")) == [[]]
        assert shelf.state is ShelfState.ON_SALE


async def test_a_pending_product_may_be_deleted_and_not_archived() -> None:
    async with market(approval_s="3600") as m:
        await m.batch(await m.create(tshirt("A1")))
        archive = {"barcode": "A1", "archived": True}
        assert all(await m.reasons(await m.update("/archive-state", archive, method="PUT")))
        deleted = await m.update("", {"barcode": "A1"}, method="DELETE")
        assert await m.reasons(deleted) == [[]]
        assert m.shop.shelves == {}
        assert await m.reasons(await m.create(tshirt("A1"))) == [[]]


async def test_unlock_needs_a_lock() -> None:
    async with market() as m:
        m.on_sale("A")
        await m.get(SINGLE + "A")
        unlock = {"barcode": "A"}
        assert all(await m.reasons(await m.update("/unlock", unlock, method="PUT")))
        card = m.facade.seller(m.shop.seller_id).cards["A"]
        card.lock_reason = "Düşük fiyat"
        result = await m.batch(await m.update("/unlock", unlock, method="PUT"))
        assert (result["batchRequestType"], result["failedItemCount"]) == ("ProductUnlockUpdate", 0)
        assert card.lock_reason is None
