"""One order as a whole: what was bought, in which packages it travels, to whom."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from meschain.app.queries.view import MoneyView, instant, money_view
from meschain.sync.intake import PERSON

if TYPE_CHECKING:
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database


class OrderUnknown(LookupError):
    """No order of this number; or several, on ``accounts``, and it is not said which."""

    def __init__(self, number: str, accounts: tuple[str, ...] = ()) -> None:
        """The number asked for."""
        super().__init__(number)
        self.number = number
        self.accounts = accounts


class PackageLineDetail(msgspec.Struct, frozen=True):
    """Units of an item in one package; amounts are exact, in major units."""

    line_id: str
    item_key: str
    units: int
    payable: Decimal
    unit_gross: Decimal
    unit_seller_discount: Decimal
    unit_marketplace_discount: Decimal
    vat_percent: Decimal | None
    commission_percent: Decimal | None
    state_raw: str


class PackageDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What travels together."""

    external_id: str
    state: str | None
    state_raw: str
    wanted_state: str | None
    modified_at: datetime
    carrier: str
    cargo_code: str
    tracking_number: str
    desi: Decimal | None
    cargo_payer: str | None
    ship_by: datetime | None
    invoice_number: str
    lines: list[PackageLineDetail]


class ItemDetail(msgspec.Struct, frozen=True):
    """What was bought. ``sku`` None: we do not know what ``sku_given`` is."""

    item_key: str
    sku: str | None
    sku_given: str
    barcode: str
    title: str
    units_ordered: int
    units_backorder: int


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The order; the buyer's personal data stays sealed (``open_person``)."""

    order_id: int
    external_id: str
    account_id: int
    account: str
    marketplace: str
    placed_at: datetime
    first_seen_at: datetime
    detected_by: str
    payable: MoneyView
    payment_method: str
    micro_export: bool
    is_company: bool
    city: str
    country_code: str
    unknown_fields: dict[str, object]
    items: list[ItemDetail]
    packages: list[PackageDetail]


class _Order(msgspec.Struct, frozen=True):
    order_id: int
    external_id: str
    account_id: int
    account: str
    marketplace: str
    placed_at: datetime
    first_seen_us: int
    detected_by: str
    currency: str
    payable_minor: int
    payment_method: str
    micro_export: bool
    is_company: bool
    city: str
    country_code: str
    unknown_fields: dict[str, object]


class Person(msgspec.Struct, frozen=True):
    """The buyer as the channel gave it; see ``domain.order``."""

    buyer: dict[str, str | bool]
    shipping_address: dict[str, str]
    invoice_address: dict[str, str]


async def read_order(
    database: Database, merchant_id: int, number: str, *, account_id: int | None = None
) -> OrderDetail:
    """The order of that number. Raises OrderUnknown."""
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        found = await unit.records("package.order", key | {"number": number, "account": account_id})
        if len(found) != 1:
            raise OrderUnknown(number, tuple(str(row["account"]) for row in found))
        head = msgspec.convert(found[0], _Order)
        key["order"] = head.order_id
        items = await unit.records("package.items", key)
        packages = await unit.records("package.packages", key)
    payable = money_view(head.payable_minor, head.currency)
    first_seen_at = instant(head.first_seen_us)
    assert payable is not None
    assert first_seen_at is not None
    return OrderDetail(
        order_id=head.order_id,
        external_id=head.external_id,
        account_id=head.account_id,
        account=head.account,
        marketplace=head.marketplace,
        placed_at=head.placed_at,
        first_seen_at=first_seen_at,
        detected_by=head.detected_by,
        payable=payable,
        payment_method=head.payment_method,
        micro_export=head.micro_export,
        is_company=head.is_company,
        city=head.city,
        country_code=head.country_code,
        unknown_fields=head.unknown_fields,
        items=[msgspec.convert(row, ItemDetail) for row in items],
        packages=[msgspec.convert(row, PackageDetail) for row in packages],
    )


async def open_person(
    database: Database, keys: DataKeys, merchant_id: int, order: OrderDetail
) -> Person | None:
    """The buyer's data, unsealed; None: erased, or never given. Raises VaultLocked."""
    async with database.merchant(merchant_id) as unit:
        found = await unit.records(
            "package.order",
            {
                "merchant": merchant_id,
                "number": order.external_id,
                "account": order.account_id,
            },
        )
    row = found[0]
    sealed, key_number = row["person_sealed"], row["key_number"]
    if not isinstance(sealed, bytes) or not isinstance(key_number, int):
        return None
    plain = await keys.open(merchant_id, key_number, PERSON, sealed)
    return msgspec.json.decode(plain, type=Person)
