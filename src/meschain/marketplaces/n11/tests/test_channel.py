"""The neutral operations against a played N11: what is asked, and what comes of the answers."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from meschain.channel.contract import (
    BrandEntry,
    ItemOutcomes,
    Label,
    ListingContent,
    MappedAttribute,
    OfferPage,
    OfferPush,
    OrderPage,
    OrderWindow,
    PackageLine,
    PackageRef,
    RemoteKeys,
    TicketEnded,
    TicketOpen,
    WebhookDelivery,
    WebhookSecret,
)
from meschain.channel.outcome import Accepted, Done, Refused, Unauthorized, Unknown
from meschain.domain.catalog import Content
from meschain.domain.money import Money
from meschain.domain.order import PackageState
from meschain.marketplaces.n11.channel import MANIFEST
from meschain.marketplaces.n11.tests.playback import (
    CALL,
    SAMPLES,
    Playback,
    channel_on,
    json_reply,
    sample,
)

QUEUED = json_reply(sample("task_queued.json"))
EMPTY = json_reply('{"content":[],"totalPages":0}')
PACKAGES = json_reply(sample("packages.json"))
NEW = ListingContent(
    keys=RemoteKeys(barcode="8690000000005", stock_code="SKU001"),
    content=Content("tr", "Keten Elbise Uzun", "<p>Keten</p>"),
    category_id="1002571",
    brand_id="8372689",
    brand_name="Koza",
    attributes=(
        MappedAttribute("1", custom_value="another brand"),
        MappedAttribute("429", value_id="444058", custom_value="M"),
        MappedAttribute("430", custom_value="Keten"),
    ),
    image_urls=("https://example.com/1.jpg", "https://example.com/2.jpg"),
    vat_percent=Decimal(20),
    desi=Decimal(2),
    quantity=10,
    list_price=Money(220000, "TRY"),
    sale_price=Money(200000, "TRY"),
    handling_days=0,
)
PACKAGE = PackageRef(
    "2038723470012", "98765432101", (PackageLine("1", 3), PackageLine("2", 1)), "726400112233"
)


# — connection —


async def test_credentials_are_tried_where_both_of_them_are_checked() -> None:
    playback = Playback(json_reply(sample("product_page.json")))
    assert await channel_on(playback).check_credentials(CALL) == Done()
    (request,) = playback.requests
    assert request.url == "https://n11.invalid/ms/product-query"
    assert request.headers["appkey"] == "the-key"
    assert request.headers["appsecret"] == "the-secret"
    assert "authorization" not in {name.lower() for name in request.headers}


async def test_wrong_credentials_are_unauthorized() -> None:
    refusal = json_reply('{"@type":"SellerApiUserUnauthorizedException","message":"hayır"}', 401)
    outcome = await channel_on(Playback(refusal)).check_credentials(CALL)
    assert outcome == Unauthorized("hayır")


def test_no_secret_is_ever_printed() -> None:
    playback = Playback(QUEUED)
    assert "the-secret" not in repr(channel_on(playback)) + repr(playback.requests)


@pytest.mark.parametrize("setting", [{"order_status_query": "some"}, {"preparing_days_min": "x"}])
def test_a_setting_that_cannot_be_meant_is_refused_at_once(setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        channel_on(Playback(EMPTY), setting)


# — reference data —


async def test_the_tree_is_the_same_wrapped_and_bare() -> None:
    wrapped = sample("categories.json")
    bare = msgspec.json.encode(msgspec.json.decode(wrapped, type=dict[str, object])["categories"])
    nodes = await channel_on(Playback(json_reply(wrapped))).list_categories(CALL)
    assert nodes == await channel_on(Playback(json_reply(bare))).list_categories(CALL)
    assert isinstance(nodes, tuple)
    assert [(n.category_id, n.parent_id, n.is_leaf) for n in nodes] == [
        ("1000001", None, False),
        ("1000476", "1000001", True),
        ("1000477", "1000001", False),
        ("1000478", "1000477", True),
        ("1000002", None, True),
    ]


async def test_the_brand_is_attribute_one_with_its_values_inside() -> None:
    playback = Playback(json_reply(sample("category_attributes.json")))
    attributes = await channel_on(playback).list_attributes("1002571", CALL)
    assert isinstance(attributes, tuple)
    brand, size = attributes
    assert playback.requests[0].url.endswith("/cdn/category/1002571/attribute")
    assert (brand.is_brand, brand.allows_custom, brand.is_required) == (True, True, True)
    assert brand.values == (("8372688", "Işıl"), ("8372689", "Koza"))
    assert (size.is_brand, size.is_variant, size.allows_custom) == (False, True, False)


async def test_brands_are_found_in_the_category_of_the_setting() -> None:
    playback = Playback(json_reply(sample("category_attributes.json")))
    channel = channel_on(playback, {"brand_category_id": "1002571"})
    assert await channel.find_brands("IŞIL", CALL) == (BrandEntry("8372688", "Işıl"),)


async def test_without_that_setting_the_merchant_is_told_what_is_needed() -> None:
    playback = Playback(EMPTY)
    outcome = await channel_on(playback).find_brands("Koza", CALL)
    assert outcome == Refused("", "", "advice.n11.brand_category")
    assert playback.requests == []


# — listings —


async def test_a_listing_is_observed_by_its_exact_stock_code() -> None:
    playback = Playback(json_reply(sample("product_page.json")))
    page = await channel_on(playback).observe_offers(["SKU001"], CALL)
    assert isinstance(page, OfferPage)
    assert [offer.keys.stock_code for offer in page.offers] == ["SKU001"]
    assert playback.queries == [{"stockCode": "SKU001", "page": "0", "size": "250"}]


async def test_the_sweep_ends_at_the_last_page_and_at_an_empty_one() -> None:
    playback = Playback(json_reply(sample("product_page.json")), EMPTY)
    channel = channel_on(playback)
    first = await channel.list_offers(None, CALL)
    assert isinstance(first, OfferPage)
    assert (len(first.offers), first.next_token, first.total) == (3, "1", 253)
    second = await channel.list_offers(first.next_token, CALL)
    assert second == OfferPage((), None, None)
    assert playback.queries[1] == {"page": "1", "size": "250"}


async def test_a_new_listing_is_queued_with_numbers_exact_and_one_value_an_attribute() -> None:
    playback = Playback(QUEUED)
    channel = channel_on(playback, {"shipment_template": "Standart", "preparing_days_min": "2"})
    assert await channel.publish([NEW], CALL) == Accepted("1092")
    (request,) = playback.requests
    assert request.url == "https://n11.invalid/ms/product/tasks/product-create"
    assert request.body is not None
    assert b'"salePrice":2000.00,"listPrice":2200.00,"vatRate":20' in request.body
    (body,) = playback.bodies
    assert body == {
        "payload": {
            "integrator": "MesChain",
            "skus": [
                {
                    "title": "Keten Elbise Uzun",
                    "description": "<p>Keten</p>",
                    "categoryId": 1002571,
                    "currencyType": "TL",
                    "productMainId": "SKU001",
                    "preparingDay": 2,
                    "shipmentTemplate": "Standart",
                    "stockCode": "SKU001",
                    "barcode": "8690000000005",
                    "quantity": 10,
                    "images": [
                        {"url": "https://example.com/1.jpg", "order": 0},
                        {"url": "https://example.com/2.jpg", "order": 1},
                    ],
                    "attributes": [
                        {"id": 1, "valueId": 8372689},
                        {"id": 429, "valueId": 444058},
                        {"id": 430, "customValue": "Keten"},
                    ],
                    "salePrice": 2000.0,
                    "listPrice": 2200.0,
                    "vatRate": 20,
                }
            ],
        }
    }


async def test_an_update_names_neither_title_nor_category_nor_brand_and_flags_the_group() -> None:
    playback = Playback(QUEUED)
    channel = channel_on(
        playback, {"purchase_quantity_max": "5", "integrator": "Ornek", "shipment_template": "S"}
    )
    item = replace(NEW, keys=replace(NEW.keys, group_id="grp-1"), handling_days=4)
    assert await channel.update_content([item], CALL) == Accepted("1092")
    assert playback.bodies == [
        {
            "payload": {
                "integrator": "Ornek",
                "skus": [
                    {
                        "stockCode": "SKU001",
                        "vatRate": 20,
                        "description": "<p>Keten</p>",
                        "preparingDay": 4,
                        "shipmentTemplate": "S",
                        "productMainId": "grp-1",
                        "deleteProductMainId": True,
                        "maxPurchaseQuantity": 5,
                        "deleteMaxPurchaseQuantity": True,
                        "attributes": [
                            {"id": 429, "valueId": 444058},
                            {"id": 430, "customValue": "Keten"},
                        ],
                    }
                ],
            }
        }
    ]


async def test_nothing_is_published_without_a_shipment_template() -> None:
    playback = Playback(QUEUED)
    outcome = await channel_on(playback, {}).publish([NEW], CALL)
    assert outcome == Refused("", "", "advice.n11.shipment_template")
    assert playback.requests == []


async def test_an_item_that_cannot_be_written_is_named_and_the_others_are_not_sent() -> None:
    playback = Playback(QUEUED)
    odd = replace(NEW, keys=RemoteKeys(stock_code="ODD"), vat_percent=Decimal("2.5"))
    outcome = await channel_on(playback).publish([NEW, odd], CALL)
    assert outcome == ItemOutcomes(
        {
            NEW.keys.stock_code: Unknown("not_sent"),
            "ODD": Refused("", "2.5", "advice.n11.vat_rate"),
        }
    )
    assert playback.requests == []


async def test_closing_suspends_with_the_vat_rate_n11_itself_shows() -> None:
    playback = Playback(json_reply(sample("product_page.json")), EMPTY, QUEUED)
    keys = [RemoteKeys(stock_code="SKU001"), RemoteKeys(stock_code="GONE")]
    assert await channel_on(playback).close_listings(keys, CALL) == Accepted("1092")
    assert playback.requests[-1].url.endswith("/ms/product/tasks/product-update")
    skus = [{"stockCode": "SKU001", "vatRate": 20, "status": "Suspended"}]
    assert playback.bodies == [{"payload": {"integrator": "MesChain", "skus": skus}}]


async def test_closing_what_is_not_listed_is_refused_without_a_task() -> None:
    playback = Playback(EMPTY)
    outcome = await channel_on(playback).close_listings([RemoteKeys(stock_code="GONE")], CALL)
    assert outcome == ItemOutcomes({"GONE": Refused("", "", "advice.n11.not_listed")})
    assert len(playback.requests) == 1


# — offers and tickets —


async def test_quantity_and_prices_go_out_in_one_task() -> None:
    playback = Playback(QUEUED)
    pushes = [
        OfferPush("A", 0),
        OfferPush("B", None, Money(9990, "TRY"), Money(9990, "TRY")),
        OfferPush("C", 2, Money(1205, "USD"), Money(1200, "USD")),
    ]
    assert await channel_on(playback).push_offers(pushes, CALL) == Accepted("1092")
    (request,) = playback.requests
    assert request.operation == "push_offers"
    assert request.body == (
        b'{"payload":{"integrator":"MesChain","skus":['
        b'{"stockCode":"A","quantity":0},'
        b'{"stockCode":"B","listPrice":99.90,"salePrice":99.90,"currencyType":"TL"},'
        b'{"stockCode":"C","listPrice":12.05,"salePrice":12.00,"quantity":2,"currencyType":"USD"}'
        b"]}}"
    )


async def test_one_bad_price_never_takes_the_others_with_it() -> None:
    playback = Playback(QUEUED)
    bad = OfferPush("BAD", 1, Money(1, "TRY"), Money(2, "TRY"))
    outcome = await channel_on(playback).push_offers([OfferPush("A", 0), bad], CALL)
    assert outcome == ItemOutcomes(
        {
            "A": Unknown("not_sent"),
            "BAD": Refused("", "0.01 < 0.02", "advice.n11.list_price"),
        }
    )
    assert playback.requests == []


async def test_a_rejected_task_is_refused_although_http_says_200() -> None:
    reply = json_reply(sample("task_rejected.json"))
    outcome = await channel_on(Playback(reply)).push_offers([OfferPush("A", 0)], CALL)
    reasons = "listPrice salePrice değerinden düşük olamaz."
    assert outcome == Refused("REJECT", reasons, "advice.n11.list_price")


async def test_a_queued_task_stays_open_and_a_processed_one_ends_item_by_item() -> None:
    queued = json_reply('{"taskId":1092,"status":"IN_QUEUE","skus":null}')
    playback = Playback(queued, json_reply(sample("task_processed.json")))
    channel = channel_on(playback)
    assert await channel.poll_ticket("1092", CALL) == TicketOpen()
    ended = await channel.poll_ticket("1092", CALL)
    assert isinstance(ended, TicketEnded)
    assert ended.items["SKU001"] == Done()
    assert {code for code, item in ended.items.items() if isinstance(item, Refused)} == {
        "SKU002",
        "20242024",
    }
    assert playback.bodies[0] == {"taskId": 1092, "pageable": {"page": 0, "size": 1000}}


async def test_every_page_of_a_task_is_read() -> None:
    pages = [
        json_reply(
            f'{{"taskId":1,"status":"processed","skus":{{"totalPages":2,'
            f'"content":[{{"itemCode":"{code}","status":"Success"}}]}}}}'
        )
        for code in ("A", "B")
    ]
    ended = await channel_on(Playback(*pages)).poll_ticket("1", CALL)
    assert ended == TicketEnded({"A": Done(), "B": Done()})


async def test_a_task_that_never_stops_paging_is_cut_off() -> None:
    endless = (
        '{"taskId":1,"status":"PROCESSED",'
        '"skus":{"content":[{"itemCode":"A","status":"SUCCESS"}],"totalPages":99999}}'
    )
    playback = Playback(json_reply(endless))
    outcome = await channel_on(playback).poll_ticket("1", CALL)
    assert not isinstance(outcome, TicketEnded)
    assert len(playback.requests) == 50


async def test_a_rejected_task_ends_as_a_whole_with_all_its_reasons() -> None:
    task = (
        '{"taskId":1,"status":"REJECT","reasons":["görev"],'
        '"skus":{"content":[{"itemCode":"A","sku":{"reasons":["satır"]}}]}}'
    )
    outcome = await channel_on(Playback(json_reply(task))).poll_ticket("1", CALL)
    assert outcome == Refused("REJECT", "görev · satır")


async def test_a_task_n11_no_longer_knows_has_expired_and_is_not_refused() -> None:
    reply = json_reply('{"@type":"TaskNotFoundException","message":"yok"}', 400)
    outcome = await channel_on(Playback(reply)).poll_ticket("1", CALL)
    assert outcome == Unknown("expired", "TaskNotFoundException yok")


# — orders —


async def test_a_window_asks_by_last_change_and_for_the_newest_first(
    window: OrderWindow,
) -> None:
    playback = Playback(PACKAGES)
    page = await channel_on(playback).pull_orders(window, None, CALL)
    assert isinstance(page, OrderPage)
    assert [order.external_id for order in page.orders] == ["2038723470012"]
    assert not page.orders[0].is_whole
    assert page.skip_token == "Picking:0"  # noqa: S105 – a place in a list, no secret
    (query,) = playback.queries
    assert query == {
        "startDate": "1791619200000",
        "endDate": str(1791619200000 + 4 * 3_600_000),
        "orderByField": "true",
        "orderByDirection": "DESC",
        "page": "0",
        "size": "100",
        "status": "Created",
    }


async def test_the_pull_follows_total_pages_and_then_every_other_status(
    window: OrderWindow,
) -> None:
    playback = Playback(PACKAGES, PACKAGES, PACKAGES, EMPTY)
    channel = channel_on(playback)
    token: str | None = None
    for _ in range(MANIFEST.orders.pages_max):
        page = await channel.pull_orders(window, token, CALL)
        assert isinstance(page, OrderPage)
        token = page.next_token
        if token is None:
            break
    asked = [(query["status"], query["page"]) for query in playback.queries]
    assert asked == [
        ("Created", "0"),
        ("Created", "1"),
        ("Created", "2"),
        ("Picking", "0"),
        ("Cancelled", "0"),
        ("UnSupplied", "0"),
        ("Unpacked", "0"),
        ("Shipped", "0"),
        ("Delivered", "0"),
    ]


async def test_an_account_may_ask_for_all_statuses_in_one_call(window: OrderWindow) -> None:
    playback = Playback(EMPTY)
    channel = channel_on(playback, {"order_status_query": "omitted"})
    page = await channel.pull_orders(window, None, CALL)
    assert page == OrderPage((), None)
    assert "status" not in playback.queries[0]


async def test_a_row_that_cannot_be_read_is_kept_raw_beside_the_others(
    window: OrderWindow,
) -> None:
    reply = json_reply(
        b'{"content":[{"id":1},' + sample("package_pickup_point.json") + b'],"totalPages":1}'
    )
    page = await channel_on(Playback(reply)).pull_orders(window, None, CALL)
    assert isinstance(page, OrderPage)
    assert page.broken == (b'{"id":1}',)
    assert len(page.orders) == 1


async def test_a_window_that_n11_would_clamp_is_our_own_mistake(window: OrderWindow) -> None:
    too_long = OrderWindow(window.modified_to - timedelta(days=15), window.modified_to)
    with pytest.raises(AssertionError):
        await channel_on(Playback(EMPTY)).pull_orders(too_long, None, CALL)


def test_the_longest_window_with_the_doubtful_hours_stays_below_the_clamp() -> None:
    assert MANIFEST.orders.window_s_max + 3 * 3600 < 15 * 86_400
    assert MANIFEST.orders.overlap_s >= 3 * 3600


def test_the_fastest_poll_of_all_statuses_fits_the_documented_quota() -> None:
    quota = next(each for each in MANIFEST.quotas if each.group == "shipment_packages")
    calls = 7 * quota.window_s / MANIFEST.orders.poll_interval_s_min
    assert calls <= quota.limit["standard"] * 0.6


async def test_one_order_is_read_in_every_status_and_is_then_whole() -> None:
    last_page = sample("packages.json").replace(b'"totalPages": 3', b'"totalPages": 1')
    other = last_page.replace(b"98765432101", b"98765432102").replace(b'"Created"', b'"Picking"')
    playback = Playback(json_reply(last_page), json_reply(other), EMPTY)
    page = await channel_on(playback).pull_order("2038723470012", CALL)
    assert isinstance(page, OrderPage)
    (order,) = page.orders
    assert order.is_whole
    assert [each.external_id for each in order.packages] == ["98765432101", "98765432102"]
    assert {query["orderNumber"] for query in playback.queries} == {"2038723470012"}
    assert len(playback.queries) == 7


async def test_an_order_with_an_unreadable_row_is_not_called_whole() -> None:
    body = sample("packages.json").replace(b'"totalPages": 3', b'"totalPages": 1')
    reply = json_reply(body.replace(b'"content": [', b'"content": [{"id":1},'))
    channel = channel_on(Playback(reply), {"order_status_query": "omitted"})
    page = await channel.pull_order("2038723470012", CALL)
    assert isinstance(page, OrderPage)
    assert not page.orders[0].is_whole
    assert page.broken == (b'{"id":1}',)


async def test_rows_of_other_orders_are_not_taken_for_this_one() -> None:
    channel = channel_on(Playback(PACKAGES, EMPTY))
    assert await channel.pull_order("999", CALL) == OrderPage((), None)


# — package actions —


async def test_picking_is_reported_line_by_line() -> None:
    playback = Playback(json_reply(sample("order_update.json")))
    package = PackageRef("1", "2", (PackageLine("426659152", 1), PackageLine("426659153", 2)))
    outcome = await channel_on(playback).advance_package(package, PackageState.PICKING, CALL)
    reasons = "Sipariş kalemi uygun durumda değil"
    assert outcome == ItemOutcomes({"426659152": Done(), "426659153": Refused("", reasons)})
    (request,) = playback.requests
    assert (request.method, request.url) == ("PUT", "https://n11.invalid/rest/order/v1/update")
    lines = [{"lineId": 426659152}, {"lineId": 426659153}]
    assert playback.bodies == [{"lines": lines, "status": "Picking"}]


async def test_cancelling_some_units_splits_off_the_rest() -> None:
    playback = Playback(json_reply(sample("split.json")))
    cancelled = [PackageLine("1", 1), PackageLine("2", 1)]
    channel = channel_on(playback)
    assert await channel.cancel_lines(PACKAGE, cancelled, "out_of_stock", CALL) == Done()
    (request,) = playback.requests
    assert request.url.endswith("/rest/delivery/v1/splitPackageByQuantity")
    assert playback.bodies == [
        {
            "splitPackages": [{"packageDetails": [{"orderLineId": 1, "quantities": 2}]}],
            "cancelledItems": [
                {"orderLineId": 1, "quantity": 1, "cancelReasonId": 61},
                {"orderLineId": 2, "quantity": 1, "cancelReasonId": 61},
            ],
        }
    ]


async def test_the_whole_package_cannot_be_cancelled_and_the_merchant_hears_what_can() -> None:
    playback = Playback(EMPTY)
    outcome = await channel_on(playback).cancel_lines(PACKAGE, PACKAGE.lines, "other", CALL)
    assert outcome == Refused("lacking", "", "advice.n11.cancel_needs_split")
    assert playback.requests == []


async def test_whole_lines_are_split_by_line() -> None:
    playback = Playback(json_reply('{"code":200,"message":"success"}'))
    assert await channel_on(playback).split_package(PACKAGE, [[PACKAGE.lines[1]]], CALL) == Done()
    assert playback.requests[0].url.endswith("/rest/delivery/v1/splitCombinePackage")
    assert playback.bodies == [{"splitGroups": [{"orderLineIds": [2]}]}]


async def test_parts_of_lines_are_split_by_quantity_without_a_cancellation() -> None:
    playback = Playback(json_reply(sample("split.json")))
    groups = [[PackageLine("1", 1)], [PackageLine("1", 2), PackageLine("2", 1)]]
    assert await channel_on(playback).split_package(PACKAGE, groups, CALL) == Done()
    assert playback.bodies == [
        {
            "splitPackages": [
                {"packageDetails": [{"orderLineId": 1, "quantities": 1}]},
                {
                    "packageDetails": [
                        {"orderLineId": 1, "quantities": 2},
                        {"orderLineId": 2, "quantities": 1},
                    ]
                },
            ]
        }
    ]


async def test_a_split_code_other_than_200_is_refused_although_http_says_200() -> None:
    playback = Playback(json_reply('{"code":409,"message":"paket uygun değil"}'))
    outcome = await channel_on(playback).split_package(PACKAGE, [[PACKAGE.lines[1]]], CALL)
    assert outcome == Refused("409", "paket uygun değil")


async def test_the_label_is_the_campaign_code_for_us_to_print() -> None:
    channel = channel_on(Playback(EMPTY))
    assert await channel.fetch_label(PACKAGE, CALL) == Label("text/plain", b"726400112233")
    without = replace(PACKAGE, cargo_code="")
    assert await channel.fetch_label(without, CALL) == Refused("", "", "advice.n11.no_cargo_code")


async def test_what_n11_lacks_is_refused_with_the_manifests_advice_and_without_a_call() -> None:
    playback = Playback(EMPTY)
    channel = channel_on(playback)
    delivery = WebhookDelivery({}, b"{}")
    secret = WebhookSecret("basic", "u", "s")
    answers = {
        "advance_package.invoiced": await channel.advance_package(
            PACKAGE, PackageState.INVOICED, CALL, invoice_number="F1"
        ),
        "ship_own_courier": await channel.ship_own_courier(PACKAGE, "T1", CALL),
        "register_webhook": await channel.register_webhook("https://example.com", secret, CALL),
        "list_webhooks": await channel.list_webhooks(CALL),
        "delete_webhook": await channel.delete_webhook("1", CALL),
        "activate_webhook": await channel.activate_webhook("1", CALL),
        "parse_webhook": channel.parse_webhook(delivery),
    }
    assert answers == {
        operation: Refused("lacking", "", advice) for operation, advice in MANIFEST.lacks.items()
    }
    assert not channel.verify_webhook(delivery, secret)
    assert playback.requests == []


# — the data beside the code —


def test_every_advice_has_words_in_both_languages_and_no_words_are_left_over() -> None:
    folder = Path(SAMPLES).parent
    messages = tomllib.loads((folder / "messages.toml").read_text(encoding="utf-8"))
    assert set(messages["en"]) == set(messages["tr"])
    used = "".join(
        (folder / name).read_text(encoding="utf-8")
        for name in ("channel.py", "client.py", "mapping.py", "manifest.toml")
    )
    advice = {key for key in messages["en"] if key.startswith("advice.")}
    assert advice == {key for key in advice if f'"{key}"' in used}
    assert used.count('"advice.n11.') == sum(used.count(f'"{key}"') for key in advice)


def test_the_manifest_gives_every_operation_a_quota_that_exists() -> None:
    groups = {quota.group for quota in MANIFEST.quotas}
    for operation in MANIFEST.operations.values():
        assert set(operation.quotas) <= groups
        assert operation.source
    assert set(MANIFEST.states.values()) <= set(PackageState)
