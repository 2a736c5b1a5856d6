"""Reference data, listings read, and listings published."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from meschain.channel.contract import (
    BrandEntry,
    Call,
    CategoryNode,
    ItemOutcomes,
    MappedAttribute,
    OfferPage,
    RemoteKeys,
)
from meschain.channel.outcome import Accepted, ContractBroken, Refused, Throttled, Unknown
from meschain.marketplaces.trendyol.tests.playback import (
    channel,
    content,
    lira,
    ok,
    refusal,
    sample,
)

TICKET = "c57e3453-2c00-11f0-aa3a-be9298facace-1746718627"


@pytest.mark.parametrize("wrapped", [False, True])
async def test_the_category_tree_becomes_a_list_whose_leaves_take_products(
    *, wrapped: bool
) -> None:
    tree = sample("categories")
    trendyol, _ = channel(ok(body=b'{"categories":' + tree + b"}" if wrapped else tree))
    assert await trendyol.list_categories(Call()) == [
        CategoryNode("368", "Aksesuar", None, is_leaf=False),
        CategoryNode("387", "Takı", "368", is_leaf=False),
        CategoryNode("1238", "Kolye", "387", is_leaf=True),
        CategoryNode("398", "Şapka", "368", is_leaf=True),
    ]


async def test_attributes_come_with_the_values_of_all_pages_under_either_name() -> None:
    trendyol, transport = channel(
        ok("category_attributes"),
        ok("attribute_values_none"),
        ok("attribute_values_page_0"),
        ok("attribute_values_page_1"),
    )
    attributes = await trendyol.list_attributes("1238", Call())
    assert isinstance(attributes, list)
    color, size = attributes
    assert (color.name, color.is_slicer, color.is_variant, color.allows_custom) == (
        "Renk",
        True,
        False,
        True,
    )
    assert (size.is_variant, size.allows_multiple, size.is_required) == (True, True, True)
    assert size.values == (("2872", "S"), ("2873", "M"), ("2874", "L"))
    assert transport.query() == {"page": "1", "size": "1000"}


async def test_a_value_list_that_never_ends_is_not_followed_for_ever() -> None:
    endless = json.loads(sample("attribute_values_page_0")) | {"totalPages": 10**6}
    page = ok(body=json.dumps(endless).encode())
    trendyol, _ = channel(ok("category_attributes"), *[page] * 100)
    assert isinstance(await trendyol.list_attributes("1238", Call()), ContractBroken)


async def test_a_throttled_page_of_values_throttles_the_whole_read() -> None:
    trendyol, _ = channel(ok("category_attributes"), refusal(429, "error_too_many"))
    assert await trendyol.list_attributes("1238", Call()) == Throttled()


async def test_brands_are_found_by_name() -> None:
    trendyol, transport = channel(ok("brands_by_name"))
    assert await trendyol.find_brands("örnek", Call()) == [
        BrandEntry("40", "ÖRNEK MARKA"),
        BrandEntry("41", "Örnek"),
    ]
    assert transport.query() == {"name": "örnek"}


async def test_observing_keeps_only_the_barcodes_asked_for() -> None:
    trendyol, transport = channel(ok("approved"))
    page = await trendyol.observe_offers(["8680000000011"], Call())
    assert isinstance(page, OfferPage)
    (observed,) = page.offers
    assert observed.keys == RemoteKeys("8680000000011", "KZK-1042-M", "12715815", "KZK-1042")
    assert (observed.state, observed.quantity, observed.list_price, observed.sale_price) == (
        "on_sale",
        7,
        lira("249.90"),
        lira("222.00"),
    )
    assert len(transport.requests) == 1


async def test_a_quantity_that_the_list_leaves_out_is_read_where_it_is_never_left_out() -> None:
    priced = (
        b'{"content":[{"contentId":12715815,"variants":[{"barcode":"8680000000028",'
        b'"salePrice":1,"listPrice":2,"quantity":40}]}]}'
    )
    trendyol, transport = channel(ok("approved"), ok(body=priced))
    page = await trendyol.observe_offers(["8680000000028"], Call())
    assert isinstance(page, OfferPage)
    (observed,) = page.offers
    assert (observed.state, observed.quantity) == ("off_sale", 40)
    assert observed.sale_price == lira("222.00")  # what the list did say stands
    assert transport.paths[1].endswith("/approved/inventory-and-price")


async def test_a_listing_that_awaits_approval_is_not_absent() -> None:
    trendyol, transport = channel(ok("approved"), ok("unapproved"))
    page = await trendyol.observe_offers(
        ["8680000000011", "8680000000066", "8680000000099"], Call()
    )
    assert isinstance(page, OfferPage)
    assert [(seen.keys.barcode, seen.state) for seen in page.offers] == [
        ("8680000000011", "on_sale"),
        ("8680000000066", "pending"),
    ]
    assert transport.query()["barcodes"] == "8680000000066,8680000000099"


async def test_the_array_of_barcodes_can_be_written_the_other_way() -> None:
    trendyol, transport = channel(
        ok("approved"), ok("unapproved"), settings={"barcodes_array": "repeated"}
    )
    await trendyol.observe_offers(["8680000000011", "8680000000066"], Call())
    assert transport.requests[0].query[:2] == (
        ("barcodes", "8680000000011"),
        ("barcodes", "8680000000066"),
    )


async def test_the_sweep_reads_approved_listings_then_unapproved_ones_with_reasons() -> None:
    trendyol, transport = channel(ok("approved"), ok("inventory_and_price"), ok("unapproved"))
    first = await trendyol.list_offers(None, Call())
    assert isinstance(first, OfferPage)
    assert [(seen.state, seen.state_raw, seen.quantity) for seen in first.offers] == [
        ("on_sale", "onSale", 7),
        ("off_sale", "notOnSale", 0),  # left out by the list, so read where it is not
        ("archived", "archived", 7),
        ("locked", "locked", 7),
        ("locked", "blacklisted", 7),
    ]
    assert first.offers[3].reject_reasons == ("Yüksek fiyat",)
    second = await trendyol.list_offers(first.next_token, Call())
    assert isinstance(second, OfferPage)
    assert [(seen.state, seen.reject_reasons) for seen in second.offers] == [
        ("pending", ()),
        ("rejected", ("Görsel hatası: Görsel okunmuyor",)),
    ]
    assert second.next_token is None
    assert [path.rsplit("/", 1)[1] for path in transport.paths] == [
        "approved",
        "inventory-and-price",
        "unapproved",
    ]


async def test_a_status_before_approval_that_we_do_not_know_is_kept_and_never_guessed() -> None:
    page = json.loads(sample("unapproved"))
    page["content"] = [page["content"][0] | {"status": "inRevision"}]
    trendyol, _ = channel(ok(body=json.dumps(page).encode()))
    read = await trendyol.list_offers("unapproved:0:", Call())
    assert isinstance(read, OfferPage)
    assert [(seen.state, seen.state_raw) for seen in read.offers] == [("unknown", "inRevision")]


def _approved(total_pages: int, cursor: str | None, *, empty: bool = False) -> bytes:
    page = json.loads(sample("approved")) | {"totalPages": total_pages, "nextPageToken": cursor}
    for row in page["content"]:
        for variant in row["variants"]:
            variant["stock"] = {"quantity": 7}
    return json.dumps(page | ({"content": []} if empty else {})).encode()


async def test_the_sweep_goes_beyond_ten_thousand_rows_by_their_token() -> None:
    trendyol, transport = channel(
        ok(body=_approved(250, "first")),
        ok(body=_approved(250, "a:b")),
        ok(body=_approved(250, "last")),
        ok(body=_approved(250, None, empty=True)),
    )
    page = await trendyol.list_offers(None, Call())
    assert isinstance(page, OfferPage)
    assert page.next_token == "approved:1:"  # noqa: S105 – a page, no secret
    page = await trendyol.list_offers("approved:99:", Call())
    assert transport.query() == {"page": "99", "size": "100"}
    assert isinstance(page, OfferPage)
    page = await trendyol.list_offers(page.next_token, Call())
    assert transport.query() == {"nextPageToken": "a:b", "size": "100"}
    assert isinstance(page, OfferPage)
    page = await trendyol.list_offers(page.next_token, Call())
    assert transport.query() == {"nextPageToken": "last", "size": "100"}
    assert isinstance(page, OfferPage)
    assert page.next_token == "unapproved:0:"  # noqa: S105 – a page, no secret


async def test_a_sweep_that_cannot_go_on_does_not_pretend_to_have_ended() -> None:
    trendyol, _ = channel(ok(body=_approved(250, None)))
    assert isinstance(await trendyol.list_offers("approved:99:", Call()), ContractBroken)


async def test_publishing_sends_exact_prices_and_answers_with_a_ticket() -> None:
    trendyol, transport = channel(ok("batch_receipt"))
    assert await trendyol.publish([content("868 000")], Call()) == Accepted(TICKET)
    assert transport.paths == ["/product/sellers/2738/v2/products"]
    assert transport.body() == {
        "items": [
            {
                "barcode": "868000",
                "title": "Kazak",
                "productMainId": "KZK-1042",
                "brandId": 40,
                "categoryId": 1238,
                "quantity": 7,
                "stockCode": "KZK-1042-M",
                "dimensionalWeight": Decimal("1.5"),
                "description": "<p>Yün</p>",
                "listPrice": Decimal("249.90"),
                "salePrice": Decimal("222.00"),
                "vatRate": 10,
                "images": [{"url": "https://example.com/1.jpg"}],
                "attributes": [{"attributeId": 338, "attributeValueIds": [2873]}],
                "origin": "TR",
                "deliveryOption": {"deliveryDuration": 1},
            }
        ]
    }
    assert b'"listPrice":249.90' in (transport.requests[0].body or b"")


ATTRIBUTES = (
    MappedAttribute("1", value_id="2"),
    MappedAttribute("47", custom_value="Mavi"),
)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "definition",
            [
                {"attributeId": 1, "attributeValueIds": [2]},
                {"attributeId": 47, "attributeValue": "Mavi"},
            ],
        ),
        (
            "guide",
            [
                {"attributeId": 1, "attributeValueId": 2},
                {"attributeId": 47, "customAttributeValue": "Mavi"},
            ],
        ),
    ],
)
async def test_the_form_of_attributes_is_set_for_each_operation(
    form: str, expected: list[object]
) -> None:
    trendyol, transport = channel(
        ok("batch_receipt"), ok("batch_receipt"), settings={"attributes_create": form}
    )
    await trendyol.publish([content(attributes=ATTRIBUTES)], Call())
    assert _only_item(transport.body())["attributes"] == expected
    await trendyol.update_content([content(attributes=ATTRIBUTES)], Call())
    updated = _only_item(transport.body())["attributes"]
    assert isinstance(updated, list)
    assert "attributeValueIds" in updated[0]


def _only_item(body: object) -> dict[str, object]:
    assert isinstance(body, dict)
    (item,) = body["items"]
    assert isinstance(item, dict)
    return item


@pytest.mark.parametrize(
    ("item", "advice"),
    [
        (content("A", brand_id=None), "advice.trendyol.brand_unmapped"),
        (content("A", vat_percent="18"), "advice.trendyol.vat_rate"),
        (
            content("A", attributes=(MappedAttribute("color", value_id="2"),)),
            "advice.trendyol.attribute_unmapped",
        ),
    ],
)
async def test_what_no_request_can_say_is_refused_and_nothing_is_sent(
    item: object, advice: str
) -> None:
    trendyol, transport = channel()
    outcome = await trendyol.publish([content("B"), item], Call())  # type: ignore[list-item]
    assert outcome == ItemOutcomes({"B": Unknown("not_sent"), "A": Refused("", "", advice)})
    assert not transport.requests


async def test_the_definitions_form_takes_several_values_an_attribute() -> None:
    two = (MappedAttribute("338", value_id="1"), MappedAttribute("338", value_id="2"))
    trendyol, transport = channel(ok("batch_receipt"))
    await trendyol.publish([content("A", attributes=two)], Call())
    assert _only_item(transport.body())["attributes"] == [
        {"attributeId": 338, "attributeValueIds": [1, 2]}
    ]


async def test_the_guides_form_takes_one_value_an_attribute() -> None:
    """Its documents name no way to give two; a repeated attribute would be a guess."""
    two = (MappedAttribute("338", value_id="1"), MappedAttribute("338", value_id="2"))
    trendyol, transport = channel(settings={"attributes_create": "guide"})
    outcome = await trendyol.publish([content("A", attributes=two)], Call())
    refused = Refused("", "", "advice.trendyol.attribute_several")
    assert outcome == ItemOutcomes({"A": refused})
    assert not transport.requests


async def test_a_longer_handling_time_is_left_out_rather_than_shortened() -> None:
    trendyol, transport = channel(ok("batch_receipt"))
    await trendyol.publish([content(handling_days=3)], Call())
    assert "deliveryOption" not in _only_item(transport.body())


async def test_an_update_goes_where_the_listing_stands() -> None:
    standing = (
        b'{"content":[{"contentId":7,"variants":[{"barcode":"A","channels":["CORE","LUXE"],'
        b'"locationBasedDelivery":"ENABLED","cargoProviders":["TEXMP"]}]}]}'
    )
    trendyol, transport = channel(ok(body=standing), *[ok("batch_receipt")] * 3)
    outcome = await trendyol.update_content(
        [content("N"), content("A", content_id="7"), content("B", content_id="7")], Call()
    )
    assert outcome == Accepted(",".join([TICKET] * 3))
    assert [path.rsplit("/", 1)[1] for path in transport.paths] == [
        "approved",
        "unapproved-bulk-update",
        "variant-bulk-update",
        "content-bulk-update",
    ]
    assert "listPrice" not in _only_item(transport.body(1))
    kept = {"channels": ["CORE", "LUXE"], "locationBasedDelivery": "ENABLED"}
    nothing = {"channels": ["CORE"], "locationBasedDelivery": None}
    assert transport.body(2) == {
        "items": [
            {
                "barcode": barcode,
                "stockCode": "KZK-1042-M",
                "vatRate": 10,
                "dimensionalWeight": Decimal("1.5"),
                "origin": "TR",
                "cargoProviders": providers,
                "shipmentAddressId": None,
                "returningAddressId": None,
                "lotNumber": None,
                **stands,
            }
            for barcode, stands, providers in (("A", kept, ["TEXMP"]), ("B", nothing, None))
        ]
    }
    assert transport.body(3) == {
        "items": [
            {
                "contentId": 7,
                "title": "Kazak",
                "description": "<p>Yün</p>",
                "images": [{"url": "https://example.com/1.jpg"}],
            }
        ]
    }


async def test_half_an_update_is_no_ticket() -> None:
    trendyol, _ = channel(ok("approved"), ok("batch_receipt"), refusal(500))
    outcome = await trendyol.update_content([content(content_id="7")], Call())
    assert outcome == Unknown("server_error", "HTTP 500")


async def test_closing_a_listing_archives_it() -> None:
    trendyol, transport = channel(ok("batch_receipt"))
    keys = [RemoteKeys(barcode="8680000000011")]
    assert await trendyol.close_listings(keys, Call()) == Accepted(TICKET)
    assert transport.requests[0].method == "PUT"
    assert transport.paths == ["/product/sellers/2738/products/archive-state"]
    assert transport.body() == {"items": [{"barcode": "8680000000011", "archived": True}]}
