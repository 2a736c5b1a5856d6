"""Orders, listings and requests as pure values."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meschain.channel.contract import OfferPush, PackageLine
from meschain.channel.outcome import Done, Refused, Unknown
from meschain.domain.money import Money
from meschain.domain.order import CargoPayer, OrderObservation, PackageState
from meschain.marketplaces.n11 import mapping, wire
from meschain.marketplaces.n11.channel import MANIFEST
from meschain.marketplaces.n11.tests.playback import sample


# Rows stay raw, so that the sheet's numbers are read and not re-encoded ones.
class _Page(msgspec.Struct):
    content: list[msgspec.Raw]


def sheet_row() -> bytes:
    return bytes(msgspec.json.decode(sample("packages.json"), type=_Page).content[0])


def package(**changes: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(sheet_row(), type=dict[str, object]) | changes)


def line(**changes: object) -> dict[str, object]:
    row = msgspec.json.decode(sheet_row(), type=dict[str, object])
    return msgspec.convert(row["lines"], list[dict[str, object]])[0] | changes


def order_of(*rows: bytes) -> OrderObservation:
    read = [mapping.package_row(row, MANIFEST.states) for row in rows]
    (order,) = mapping.order_observations(read)
    return order


def sheet_order() -> OrderObservation:
    return order_of(sheet_row())


def test_the_sheets_own_order_sums_to_its_own_invoice_total() -> None:
    (observed,) = sheet_order().packages
    (only,) = observed.lines
    assert (only.unit_gross, only.unit_seller_discount) == (Decimal("292.8"), Decimal("2.9"))
    assert only.payable == Decimal("579.8") == observed.total
    assert only.extra["sellerInvoiceAmount"] == Decimal("579.8")


def test_an_order_is_dated_by_its_first_status_and_its_last_change_in_utc() -> None:
    order = sheet_order()
    assert order.placed_at == datetime(2024, 8, 21, 21, 8, 12, 82_000, tzinfo=UTC)
    assert order.packages[0].modified_at == datetime(2024, 8, 22, 10, 43, 6, 203_000, tzinfo=UTC)


def test_invoice_type_two_is_a_company_with_its_tax_office_and_number() -> None:
    buyer = sheet_order().buyer
    assert buyer.is_company
    assert (buyer.company_name, buyer.tax_office) == ("Örnek Tekstil Ltd. Şti.", "Konak")
    assert (buyer.tax_number, buyer.identity_number) == ("1234567890", "")
    assert buyer.full_name == "Örnek Alıcı"


def test_a_pickup_point_without_a_name_gets_the_buyers_name_from_billing() -> None:
    order = order_of(sample("package_pickup_point.json"))
    assert order.shipping_address.full_name == "Ayrı Kişi"
    assert order.shipping_address.street == "Nokta 12"
    assert order.buyer.full_name == "Ayrı Kişi"
    assert not order.buyer.is_company


def test_a_package_without_id_is_keyed_by_order_and_lowest_line() -> None:
    order = order_of(sample("package_pickup_point.json"))
    assert order.external_id == "203872347999"
    assert order.packages[0].external_id == "203872347999:999999999"


def test_an_export_order_is_marked_and_carries_its_country() -> None:
    order = order_of(sample("package_pickup_point.json"))
    assert order.micro_export
    assert order.shipping_address.country_code == "DE"
    assert order.invoice_address.country_code == "TR"


def test_fields_nobody_named_are_shown_with_their_path_and_exact_numbers() -> None:
    order = order_of(sample("package_pickup_point.json"))
    assert order.unknown_fields == {
        "loyaltyTier": {"level": Decimal("1.10")},
        "billingAddress.vergiNotu": "yeni",
        "lines.giftNote": "x",
    }
    assert order.packages[0].lines[1].extra == {"giftNote": "x"}
    assert sheet_order().unknown_fields == {}


def test_the_raw_rows_are_kept_as_they_came() -> None:
    raw = sample("package_pickup_point.json")
    assert order_of(raw).raw == b"[" + raw + b"]"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Created", PackageState.CREATED),
        ("Picking", PackageState.PICKING),
        (" Shipped", PackageState.SHIPPED),
        ("Delivered", PackageState.DELIVERED),
        ("Cancelled", PackageState.CANCELLED),
        ("Canceled", PackageState.CANCELLED),
        ("UnSupplied", PackageState.UNSUPPLIED),
        ("Unpacked", PackageState.SUPERSEDED),
        ("UnPacked", PackageState.SUPERSEDED),
        ("Teleported", None),
    ],
)
def test_every_spelling_of_a_status_is_known_and_no_other(
    status: str, state: PackageState | None
) -> None:
    (observed,) = order_of(package(shipmentPackageStatus=status)).packages
    assert observed.state is state
    assert observed.state_raw == status.strip()


@pytest.mark.parametrize(
    ("fee_types", "payer"),
    [
        ([1], CargoPayer.MARKETPLACE),
        ([2], CargoPayer.BUYER),
        (["3"], CargoPayer.SELLER),
        ([4], CargoPayer.BUYER),
        ([5, 3], CargoPayer.SELLER),
        ([1, 5], None),
        ([99], None),
        ([None], None),
    ],
)
def test_who_pays_the_carrier_is_said_only_where_all_lines_agree(
    fee_types: list[object], payer: CargoPayer | None
) -> None:
    lines = [line(orderLineId=n, deliveryFeeType=fee) for n, fee in enumerate(fee_types)]
    assert order_of(package(lines=lines)).packages[0].cargo_payer is payer


def test_campaign_code_is_for_the_label_and_the_carriers_number_for_tracking() -> None:
    (observed,) = order_of(
        package(cargoSenderNumber=31, cargoTrackingLink="https://example.com/31")
    ).packages
    assert observed.cargo_code == "726400112233"
    assert (observed.tracking_number, observed.tracking_url) == ("31", "https://example.com/31")


@pytest.mark.parametrize(
    "damage",
    [
        {"orderNumber": None},
        {"lines": [{"orderLineId": 1, "quantity": 0, "price": 1}]},
        {"lines": [{"orderLineId": 1, "quantity": 1, "price": "NaN"}]},
        {"lines": [{"orderLineId": 1, "quantity": 1, "price": 1e300}]},
        {"lines": [{"quantity": 1, "price": 1}]},
        {"lines": [line(sellerInvoiceAmount="Infinity")]},
        {"lines": [line(totalMallDiscountPrice=1e300)]},
        {"lastModifiedDate": 10**18},
        {"lastModifiedDate": None, "packageHistories": None},
        {"shipmentPackageStatus": None},
    ],
)
def test_a_row_that_contradicts_the_contract_is_refused_whole(damage: dict[str, object]) -> None:
    with pytest.raises(mapping.Unreadable):
        mapping.package_row(package(**damage), MANIFEST.states)


def test_packages_of_one_order_are_gathered_and_the_later_look_counts() -> None:
    order = order_of(
        package(id=1, lastModifiedDate=20, shipmentPackageStatus="Shipped", micro=True),
        package(id=1, lastModifiedDate=10, shipmentPackageStatus="Picking"),
        package(id=2, lastModifiedDate=15, shipmentPackageStatus="Unpacked"),
    )
    states = {observed.external_id: observed.state for observed in order.packages}
    assert states == {"1": PackageState.SHIPPED, "2": PackageState.SUPERSEDED}


_UNIT = st.decimals(min_value=0, max_value=100_000, places=4, allow_nan=False)


@given(st.lists(st.tuples(_UNIT, _UNIT, _UNIT, _UNIT, st.integers(1, 999)), min_size=1, max_size=4))
def test_what_buyers_owe_is_gross_less_the_sellers_discounts_to_the_last_digit(
    rows: list[tuple[Decimal, Decimal, Decimal, Decimal, int]],
) -> None:
    lines = [
        line(
            orderLineId=n,
            price=price,
            sellerDiscount=own,
            sellerCouponDiscount=coupon,
            mallDiscount=mall,
            quantity=quantity,
            sellerInvoiceAmount=None,
            totalMallDiscountPrice=None,
        )
        for n, (price, own, coupon, mall, quantity) in enumerate(rows)
    ]
    observed = order_of(package(lines=lines)).packages[0].lines
    gross = sum(price * quantity for price, _, _, _, quantity in rows)
    discounts = sum((own + coupon) * quantity for _, own, coupon, _, quantity in rows)
    assert sum(each.payable for each in observed) == gross - discounts
    assert [each.unit_marketplace_discount for each in observed] == [row[3] for row in rows]


@given(st.integers(1, 999), st.integers(1, 10**7), st.integers(0, 10**6), st.integers(0, 10**6))
def test_rounded_discounts_of_one_unit_never_change_what_the_line_says(
    quantity: int, price_minor: int, own_minor: int, mall_minor: int
) -> None:
    """The façade's way, and any marketplace's: four decimals a unit, exact for the line."""

    def lira(minor: int, units: int = 1) -> Decimal:
        return (Decimal(minor).scaleb(-2) / units).quantize(Decimal("0.0001"))

    invoiced = lira(price_minor * quantity - own_minor)
    row = line(
        quantity=quantity,
        price=lira(price_minor),
        sellerDiscount=lira(own_minor, quantity),
        sellerInvoiceAmount=invoiced,
        mallDiscount=lira(mall_minor, quantity),
        totalMallDiscountPrice=lira(mall_minor),
    )
    (observed,) = order_of(package(lines=[row])).packages[0].lines
    assert observed.payable == invoiced
    assert round(observed.unit_marketplace_discount * quantity, 2) == lira(mall_minor)


def test_the_sheets_own_marketplace_discount_stands_in_its_total_only() -> None:
    (only,) = sheet_order().packages[0].lines
    assert only.unit_marketplace_discount == Decimal("21.8")
    assert only.extra["totalMallDiscountPrice"] == Decimal("43.6")


@pytest.mark.parametrize(
    ("rate", "campaign", "net"), [(9, 2.5, "6.5"), (9, None, "9"), (None, 2, None)]
)
def test_a_campaign_takes_its_part_off_the_commission(
    rate: int | None, campaign: float | None, net: str | None
) -> None:
    row = line(commissionRate=rate, sellerCampaignCommissionRate=campaign)
    (observed,) = order_of(package(lines=[row])).packages[0].lines
    assert observed.commission_percent == (None if net is None else Decimal(net))


def test_what_is_left_of_a_package_without_id_is_not_its_part() -> None:
    parent = package(id=None, shipmentPackageStatus="Unpacked", lines=[line(quantity=3)])
    part = package(id=None, shipmentPackageStatus="Picking", lines=[line(quantity=2)])
    for rows in ((parent, part), (part, parent)):
        found = {each.external_id: each.state for each in order_of(*rows).packages}
        assert found == {
            "2038723470012:415490391": PackageState.PICKING,
            "2038723470012:415490391:superseded": PackageState.SUPERSEDED,
        }


@given(st.integers(0, 10**11), st.integers(0, 10**11), st.sampled_from(["TRY", "USD", "EUR"]))
def test_prices_leave_as_exact_numbers_with_two_decimals(
    one: int, other: int, currency: str
) -> None:
    low, high = sorted((one, other))
    push = OfferPush("A", 3, Money(high, currency), Money(low, currency))
    body = wire.encode(mapping.sku_offer(push))
    assert re.search(rb'"listPrice":\d+\.\d\d,"salePrice":\d+\.\d\d,"quantity":3', body)
    back = msgspec.json.decode(body, type=wire.SkuOffer)
    assert back == mapping.sku_offer(push)
    assert (back.list_price, back.currency_type) == (
        Money(high, currency).amount,
        "TL" if currency == "TRY" else currency,
    )


def test_a_push_carries_only_what_is_pushed() -> None:
    price = Money(9990, "TRY")
    assert wire.encode(mapping.sku_offer(OfferPush("A", 0))) == b'{"stockCode":"A","quantity":0}'
    assert wire.encode(mapping.sku_offer(OfferPush("A", None, price, price))) == (
        b'{"stockCode":"A","listPrice":99.90,"salePrice":99.90,"currencyType":"TL"}'
    )


@pytest.mark.parametrize(
    ("list_price", "sale_price", "advice"),
    [
        (Money(100, "TRY"), Money(100, "TRY"), None),
        (Money(99, "TRY"), Money(100, "TRY"), "advice.n11.list_price"),
        (Money(100, "GBP"), Money(100, "GBP"), "advice.n11.currency"),
        (Money(100, "USD"), Money(100, "TRY"), "advice.n11.currency"),
    ],
)
def test_a_price_that_n11_would_reject_is_refused_before_it_leaves(
    list_price: Money, sale_price: Money, advice: str | None
) -> None:
    refusal = mapping.price_refusal(list_price, sale_price)
    assert (refusal.advice if refusal else None) == advice


def test_a_processed_task_is_read_by_code_in_any_case_with_reasons_from_either_place() -> None:
    task = msgspec.json.decode(sample("task_processed.json"), type=wire.TaskDetails)
    assert task.skus is not None
    assert mapping.item_outcomes(task.skus.content or ()) == {
        "SKU001": Done(),
        "SKU002": Refused("", "vatRate boş olamaz", "advice.n11.vat_rate"),
        "20242024": Refused("", "Yasaklı kelime"),
    }


def test_an_item_status_nobody_named_is_unknown_and_never_success() -> None:
    rows = [wire.TaskItem("A", "PARTIAL", None, ["x"]), wire.TaskItem(None, "SUCCESS")]
    assert mapping.item_outcomes(rows) == {"A": Unknown("not_named", "PARTIAL x")}


def test_product_rows_keep_states_raw_and_never_invent_a_currency() -> None:
    page = msgspec.json.decode(sample("product_page.json"), type=wire.ProductPage, strict=False)
    active, rejected, unlisted = map(mapping.observed_offer, page.content)
    assert (active.state, active.state_raw) == ("on_sale", "Active/On_Sale")
    assert (active.list_price, active.sale_price) == (Money(200010, "TRY"), Money(160000, "TRY"))
    assert (active.keys.remote_id, active.keys.group_id) == ("5512345678", "grp-1")
    assert (rejected.state, rejected.keys.stock_code) == ("rejected", "20242024")
    assert (rejected.list_price, rejected.quantity) == (Money(1250, "USD"), 4)
    assert rejected.reject_reasons == ('{"reason":"yasaklı kelime"}',)
    assert (unlisted.state, unlisted.state_raw) == ("unknown", "Unlisted/Sale_Closed")
    assert (unlisted.list_price, unlisted.reject_reasons) == (None, ())


@pytest.mark.parametrize(
    ("status", "sale_status", "state"),
    [
        ("Active", "Out_Of_Stock", "off_sale"),
        ("Active", "Before_Sale", "off_sale"),
        ("Active", "Sale_Closed", "off_sale"),
        ("Active", None, "unknown"),
        ("InCatalogApproval", "Before_Sale", "pending"),
        ("InApproval", "On_Sale", "pending"),
        ("Suspended", "On_Sale", "archived"),
        ("Prohibited", "On_Sale", "locked"),
    ],
)
def test_a_listing_is_on_sale_only_if_both_statuses_say_so(
    status: str, sale_status: str | None, state: str
) -> None:
    row = wire.Product("A", status=status, sale_status=sale_status)
    assert mapping.observed_offer(row).state == state


@pytest.mark.parametrize("code", ["0", "429", "12345678901234567890"])
def test_numeric_ids_leave_as_numbers(code: str) -> None:
    assert mapping.number_or_text(code) == int(code)


@pytest.mark.parametrize("code", ["007", "A1", "", "٣", "-1"])
def test_ids_that_a_number_would_change_leave_as_text(code: str) -> None:
    assert mapping.number_or_text(code) == code


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 50), min_size=1), st.data())
def test_cancelled_and_remaining_units_are_the_package(
    units: dict[str, int], data: st.DataObject
) -> None:
    lines = [PackageLine(line_id, count) for line_id, count in units.items()]
    cancelled = [
        PackageLine(line_id, data.draw(st.integers(0, count))) for line_id, count in units.items()
    ]
    left = mapping.remaining_lines(lines, cancelled)
    assert sum(each.units for each in (*left, *cancelled)) == sum(units.values())
    assert all(each.units > 0 for each in left)
