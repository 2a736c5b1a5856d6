"""Orders read, and packages acted upon."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from meschain.channel.contract import (
    Call,
    Label,
    OrderPage,
    OrderWindow,
    PackageLine,
    PackageRef,
)
from meschain.channel.http import HttpReply
from meschain.channel.outcome import (
    ContractBroken,
    Done,
    Problem,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.domain.order import (
    Address,
    Buyer,
    CargoPayer,
    OrderObservation,
    PackageObservation,
    PackageState,
)
from meschain.marketplaces.trendyol.tests.playback import NOW, channel, ok, refusal, sample

WINDOW = OrderWindow(datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 11, 2, tzinfo=UTC))
REF = PackageRef(
    order_id="10654411111",
    package_id="3330111111",
    lines=(PackageLine("11", 1), PackageLine("12", 3)),
)
PACKAGE_PATH = "/order/sellers/2738/shipment-packages/3330111111"


def _rows(name: str, **changed: object) -> bytes:
    page = json.loads(sample(name))
    page["content"] = [row | changed for row in page["content"]]
    return json.dumps(page).encode()


def _order(page: OrderPage | Problem) -> OrderObservation:
    assert isinstance(page, OrderPage)
    assert not page.broken
    return page.orders[0]


async def _read(name: str, **changed: object) -> tuple[OrderObservation, PackageObservation]:
    trendyol, _ = channel(ok(body=_rows(name, **changed)))
    order = _order(await trendyol.pull_order("10654411111", Call()))
    return order, order.packages[0]


# — reading —


async def test_a_private_buyers_package_is_read_in_full() -> None:
    order, package = await _read("packages")
    assert order.external_id == "10654411111"
    assert (order.currency, order.payment_method) == ("TRY", "Kredi Kartı")
    assert order.is_whole
    assert not order.micro_export
    assert order.buyer == Buyer(
        external_id="888888888",
        full_name="Örnek Alıcı",
        email="relay@example.com",
        identity_number="11111111111",
    )
    assert order.shipping_address == Address(
        full_name="Örnek Alıcı",
        street="Deneme Sokak 1 Daire 2",
        neighborhood="Moda",
        district="Kadıköy",
        city="İstanbul",
        postal_code="34710",
        country_code="TR",
    )
    assert order.unknown_fields == {}
    assert json.loads(order.raw)[0]["shipmentNumber"] == 606404425
    assert package.state is PackageState.DELIVERED
    assert (package.carrier, package.cargo_code) == ("Trendyol Express", "7280027504111111")
    assert (package.desi, package.cargo_payer) == (Decimal(10), CargoPayer.SELLER)
    assert package.total == package.lines[0].payable == Decimal("498.9")
    assert package.lines[0].commission_percent == 13
    assert package.lines[0].extra["productColor"] == "Mavi"


async def test_the_order_date_is_corrected_and_the_others_are_not() -> None:
    """In the official sample the date lies 10 796 s after the package's own creation."""
    order, package = await _read("packages")
    created = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1762242537624)
    assert abs(order.placed_at - created) < timedelta(seconds=5)
    assert package.modified_at == datetime(2025, 11, 11, 12, 50, 8, 581000, tzinfo=UTC)
    assert package.ship_by == datetime(2025, 11, 5, 20, 59, tzinfo=UTC)


async def test_a_companys_package_carries_what_its_invoice_needs() -> None:
    order, package = await _read("packages_company")
    assert order.buyer.is_company
    assert (order.buyer.company_name, order.buyer.tax_office, order.buyer.tax_number) == (
        "Deneme Ticaret A.Ş.",
        "Kadıköy",
        "1234567890",
    )
    assert package.cargo_payer is CargoPayer.MARKETPLACE
    assert package.origin_package_ids == ("3330111110",)


async def test_line_money_is_the_sum_of_its_units_not_average_times_quantity() -> None:
    _, package = await _read("packages_company")
    (line,) = package.lines
    assert line.payable == package.total == Decimal("290.00")
    assert line.payable != Decimal("96.67") * line.quantity
    assert (line.unit_seller_discount, line.unit_marketplace_discount) == (
        Decimal("10.00") / 3,
        Decimal("0.30") / 3,
    )


async def test_without_units_the_lines_own_price_counts() -> None:
    line = json.loads(sample("packages_company"))["content"][0]["lines"][0]
    _, package = await _read("packages_company", lines=[line | {"discountDetails": None}])
    assert package.lines[0].payable == Decimal("290.01")


async def test_an_unknown_status_is_kept_and_never_guessed() -> None:
    _, package = await _read("packages", status="OnTheMoon")
    assert (package.state, package.state_raw) == (None, "OnTheMoon")


async def test_an_unknown_payer_is_kept_and_never_guessed() -> None:
    _, package = await _read("packages", whoPays=7)
    assert package.cargo_payer is None


async def test_fields_nobody_documented_are_shown_by_path_with_exact_values() -> None:
    page = json.loads(sample("packages"))["content"][0]
    line = page["lines"][0] | {"insurance": 1.10}
    address = page["invoiceAddress"] | {"floor": "3"}
    order, package = await _read("packages", lines=[line], invoiceAddress=address, drone=True)
    assert order.unknown_fields == {
        "drone": {"3330111111": True},
        "invoiceAddress.floor": {"3330111111": "3"},
        "lines.insurance": {"4765111111": Decimal("1.1")},
    }
    assert package.lines[0].extra["insurance"] == Decimal("1.1")


async def test_numbers_for_strings_strings_for_numbers_and_nulls_are_read() -> None:
    order, package = await _read(
        "packages",
        orderNumber=10654411111,
        cargoDeci="2.5",
        cargoTrackingNumber="0728",
        whoPays=None,
        shipmentAddress=None,
        agreedDeliveryDate=None,
        packageTotalPrice="498.90",
        commercial=None,
    )
    assert order.external_id == "10654411111"
    assert order.shipping_address == Address()
    assert (package.desi, package.cargo_code, package.total, package.ship_by) == (
        Decimal("2.5"),
        "0728",
        Decimal("498.90"),
        None,
    )


@pytest.mark.parametrize(
    "changed", [{"orderDate": 10**20}, {"lastModifiedDate": -1}, {"currencyCode": None}]
)
async def test_a_row_without_a_possible_date_or_currency_is_kept_raw(
    changed: dict[str, object],
) -> None:
    trendyol, _ = channel(ok(body=_rows("packages", **changed)))
    page = await trendyol.pull_order("10654411111", Call())
    assert isinstance(page, OrderPage)
    assert not page.orders
    assert len(page.broken) == 1


async def test_the_stream_is_followed_with_unchanged_filters_until_it_has_no_more() -> None:
    trendyol, transport = channel(ok("stream"), ok("stream_last"))
    first = await trendyol.pull_orders(WINDOW, None, Call())
    assert isinstance(first, OrderPage)
    assert [order.external_id for order in first.orders] == ["10654411111", "10654422222"]
    assert not any(order.is_whole for order in first.orders)
    other_window = OrderWindow(WINDOW.modified_from, WINDOW.modified_to + timedelta(minutes=1))
    last = await trendyol.pull_orders(other_window, first.next_token, Call())
    assert isinstance(last, OrderPage)
    assert last.next_token is None
    assert transport.query(1) == transport.query(0) | {
        "nextCursor": "7b9c7f3e-0000-4000-8000-000000000000"
    }
    assert transport.query(0)["size"] == "200"


async def test_the_window_goes_out_as_it_is_and_the_manifest_covers_both_readings_of_it() -> None:
    trendyol, transport = channel(ok("stream_last"))
    await trendyol.pull_orders(WINDOW, None, Call())
    query = transport.query()
    assert int(query["lastModifiedStartDate"]) == WINDOW.modified_from.timestamp() * 1000
    assert int(query["lastModifiedEndDate"]) == WINDOW.modified_to.timestamp() * 1000
    limits = trendyol.manifest.orders
    assert limits.horizon_s == timedelta(hours=3).total_seconds()
    assert limits.window_s_max <= timedelta(days=14).total_seconds()


async def test_more_without_a_cursor_is_not_the_end() -> None:
    trendyol, _ = channel(ok(body=b'{"content":[],"hasMore":true,"nextCursor":""}'))
    assert isinstance(await trendyol.pull_orders(WINDOW, None, Call()), ContractBroken)


async def test_a_refused_cursor_is_told() -> None:
    trendyol, _ = channel(refusal(400, "error_order"))
    token = "1:2:gone"  # noqa: S105 – a cursor, no secret
    refused = await trendyol.pull_orders(WINDOW, token, Call())
    assert refused == Refused("Bad Request", "Geçersiz istek")


async def test_an_order_is_whole_once_the_windows_reach_back_to_its_placing() -> None:
    placed = NOW - timedelta(days=20)
    shifted_ms = int((placed + timedelta(hours=3)).timestamp() * 1000)
    recent = _rows("packages", orderDate=shifted_ms)
    older = _rows("packages", orderDate=shifted_ms, shipmentPackageId=3330111112)
    trendyol, transport = channel(ok(body=recent), ok(body=older))
    order = _order(await trendyol.pull_order("10654411111", Call()))
    assert order.is_whole
    assert [package.external_id for package in order.packages] == ["3330111111", "3330111112"]
    assert transport.query(0)["startDate"] == transport.query(1)["endDate"]
    assert transport.query()["orderNumber"] == "10654411111"


async def test_an_order_older_than_the_readable_month_is_never_called_whole() -> None:
    shifted_ms = int((NOW - timedelta(days=40)).timestamp() * 1000)
    trendyol, transport = channel(*[ok(body=_rows("packages", orderDate=shifted_ms))] * 2)
    order = _order(await trendyol.pull_order("10654411111", Call()))
    assert not order.is_whole
    assert len(order.packages) == 1
    oldest = datetime.fromtimestamp(int(transport.query()["startDate"]) / 1000, UTC)
    assert oldest > NOW - timedelta(days=28) + timedelta(hours=3)


async def test_an_order_that_does_not_exist_is_an_empty_page() -> None:
    trendyol, _ = channel(*[ok(body=b'{"content":[],"totalPages":0}')] * 3)
    assert await trendyol.pull_order("1", Call()) == OrderPage((), None)


async def test_packages_of_one_order_are_gathered_and_the_latest_is_its_head() -> None:
    page = json.loads(sample("packages"))
    first = page["content"][0]
    later = first | {
        "shipmentPackageId": 3330111112,
        "lastModifiedDate": first["lastModifiedDate"] + 1,
        "customerFirstName": "Yeni",
    }
    page["content"] = [first, later, first]
    trendyol, _ = channel(ok(body=json.dumps(page).encode()))
    order = _order(await trendyol.pull_order("10654411111", Call()))
    assert [package.external_id for package in order.packages] == ["3330111111", "3330111112"]
    assert order.buyer.full_name == "Yeni Alıcı"


# — acting —


async def test_picking_and_invoiced_name_the_lines_of_the_package() -> None:
    trendyol, transport = channel(ok(), ok())
    assert await trendyol.advance_package(REF, PackageState.PICKING, Call()) == Done()
    assert transport.requests[0].method == "PUT"
    assert transport.paths == [PACKAGE_PATH]
    lines = [{"lineId": 11, "quantity": 1}, {"lineId": 12, "quantity": 3}]
    assert transport.body() == {"status": "Picking", "lines": lines, "params": {}}
    await trendyol.advance_package(
        REF, PackageState.INVOICED, Call(), invoice_number="ABC2025000000001"
    )
    assert transport.body() == {
        "status": "Invoiced",
        "lines": lines,
        "params": {"invoiceNumber": "ABC2025000000001"},
    }


async def test_shipped_cannot_be_set() -> None:
    trendyol, transport = channel()
    refused = await trendyol.advance_package(REF, PackageState.SHIPPED, Call())
    assert refused == Refused("lacking", "", "advice.trendyol.state_not_settable")
    assert not transport.requests


@pytest.mark.parametrize(
    ("reason", "reason_id"),
    [
        ("out_of_stock", 500),
        ("defective", 501),
        ("wrong_price", 502),
        ("other", 504),
        ("force_majeure", 506),
    ],
)
async def test_cancelling_lines_gives_their_number_for_our_reason(
    reason: str, reason_id: int
) -> None:
    trendyol, transport = channel(ok())
    assert await trendyol.cancel_lines(REF, [PackageLine("12", 2)], reason, Call()) == Done()
    assert transport.paths == [f"{PACKAGE_PATH}/items/unsupplied"]
    assert transport.body() == {"lines": [{"lineId": 12, "quantity": 2}], "reasonId": reason_id}


@pytest.mark.parametrize(
    ("groups", "endpoint", "body"),
    [
        ([[("11", 1)]], "split", {"orderLineIds": [11]}),
        ([[("11", 1)], [("12", 3)]], "split", {"orderLineIds": [11]}),
        (
            [[("12", 1)], [("12", 2)]],
            "quantity-split",
            {"quantitySplit": [{"orderLineId": 12, "quantities": [1, 2]}]},
        ),
        (
            [[("12", 1)]],
            "split-packages",
            {"splitPackages": [{"packageDetails": [{"orderLineId": 12, "quantities": 1}]}]},
        ),
        (
            [[("11", 1), ("12", 1)], [("12", 2)]],
            "split-packages",
            {
                "splitPackages": [
                    {
                        "packageDetails": [
                            {"orderLineId": 11, "quantities": 1},
                            {"orderLineId": 12, "quantities": 1},
                        ]
                    },
                    {"packageDetails": [{"orderLineId": 12, "quantities": 2}]},
                ]
            },
        ),
    ],
)
async def test_a_split_takes_the_plainest_endpoint_that_can_say_it(
    groups: list[list[tuple[str, int]]], endpoint: str, body: object
) -> None:
    trendyol, transport = channel(ok())
    lines = [[PackageLine(*line) for line in group] for group in groups]
    assert await trendyol.split_package(REF, lines, Call()) == Done()
    assert transport.requests[0].method == "POST"
    assert transport.requests[0].operation in trendyol.manifest.operations
    assert transport.paths == [f"{PACKAGE_PATH}/{endpoint}"]
    assert transport.body() == body


async def test_three_whole_groups_take_the_multi_split() -> None:
    three = tuple(PackageLine(line_id, 1) for line_id in ("11", "12", "A13"))
    trendyol, transport = channel(ok())
    await trendyol.split_package(
        PackageRef("1", "3330111111", three), [[line] for line in three], Call()
    )
    assert transport.paths == [f"{PACKAGE_PATH}/multi-split"]
    assert transport.body() == {
        "splitGroups": [
            {"orderLineIds": [11]},
            {"orderLineIds": [12]},
            {"orderLineIds": ["A13"]},
        ]
    }


@pytest.mark.parametrize(
    ("tracking", "is_phone"),
    [("https://courier.example.com/t/1", False), ("+90 (555) 000-00-00", True)],
)
async def test_an_own_courier_is_an_address_or_a_phone(tracking: str, *, is_phone: bool) -> None:
    trendyol, transport = channel(ok())
    assert await trendyol.ship_own_courier(REF, tracking, Call()) == Done()
    assert transport.paths == [f"{PACKAGE_PATH}/alternative-delivery"]
    assert transport.body() == {
        "isPhoneNumber": is_phone,
        "trackingInfo": tracking,
        "params": {},
    }


@pytest.mark.parametrize("tracking", ["ABC123", "", "+-", "7280027504111111", "+12"])
async def test_a_bare_tracking_number_is_not_sent_as_either(tracking: str) -> None:
    trendyol, transport = channel()
    refused = await trendyol.ship_own_courier(REF, tracking, Call())
    assert refused == Refused("", tracking, "advice.trendyol.tracking_url_or_phone")
    assert not transport.requests


@pytest.mark.parametrize(
    ("probe", "outcome"),
    [
        (
            ok("inventory_and_price"),
            Refused("", "ClientApiAuthenticationException", "advice.trendyol.package_unknown"),
        ),
        (refusal(401, "error_gateway"), Unauthorized("ClientApiAuthenticationException")),
        (refusal(429, "error_too_many"), Throttled()),
        (refusal(500), Unknown("server_error", "HTTP 500")),
    ],
)
async def test_a_401_for_a_package_is_believed_only_when_the_credentials_fail_too(
    probe: HttpReply, outcome: Problem
) -> None:
    trendyol, _ = channel(refusal(401, "error_gateway"), probe)
    assert await trendyol.advance_package(REF, PackageState.PICKING, Call()) == outcome


# — labels —


async def test_their_label_is_fetched_for_their_carrier_on_their_contract() -> None:
    trendyol, transport = channel(ok(body=_rows("packages", whoPays=None)), ok(), ok("labels"))
    label = await trendyol.fetch_label(REF, Call())
    assert label == Label("application/zpl", b"^XA^FDbox 1^FS^XZ\n^XA^FDbox 2^FS^XZ")
    assert transport.paths[1:] == ["/sellers/2738/common-label/7280027504111111"] * 2
    assert [request.method for request in transport.requests] == ["GET", "POST", "GET"]
    assert transport.body(1) == {"format": "ZPL"}


@pytest.mark.parametrize(
    "changed",
    [
        {"whoPays": 1},
        {"whoPays": None, "cargoProviderName": "Yurtiçi Kargo"},
        {"whoPays": 7, "cargoProviderName": "Aras Kargo"},
    ],
)
async def test_any_other_package_gives_the_cargo_code_for_a_label_of_ours(
    changed: dict[str, object],
) -> None:
    trendyol, transport = channel(ok(body=_rows("packages", **changed)))
    assert await trendyol.fetch_label(REF, Call()) == Label("text/plain", b"7280027504111111")
    assert len(transport.requests) == 1


async def test_a_401_for_the_label_itself_is_not_believed_either() -> None:
    aras = ok(body=_rows("packages", whoPays=None, cargoProviderName="ARAS Kargo"))
    trendyol, _ = channel(aras, ok(), refusal(401, "error_label"), ok("inventory_and_price"))
    gone = await trendyol.fetch_label(REF, Call())
    assert isinstance(gone, Refused)
    assert gone.advice == "advice.trendyol.package_unknown"


async def test_a_label_that_they_refuse_is_not_quietly_replaced() -> None:
    aras = _rows("packages", whoPays=None, cargoProviderName="ARAS Kargo")
    trendyol, _ = channel(ok(body=aras), refusal(404, "error_label"))
    refused = await trendyol.fetch_label(REF, Call())
    assert refused == Refused("NotFoundException", "Etiket bulunamadı")


async def test_a_package_without_code_or_without_existence_says_which() -> None:
    trendyol, _ = channel(
        ok(body=_rows("packages", cargoTrackingNumber=None)),
        ok(body=_rows("packages", shipmentPackageId=1)),
    )
    no_code = await trendyol.fetch_label(REF, Call())
    assert no_code == Refused("", "", "advice.trendyol.cargo_code_missing")
    replaced = await trendyol.fetch_label(REF, Call())
    assert replaced == Refused("", "", "advice.trendyol.package_unknown")
