"""One order as a whole: what was bought, in which packages it travels, to whom."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from meschain.app.queries.orders import order_values
from meschain.app.queries.view import MoneyView
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
    """What travels together. ``taken_state``: the marketplace said yes to it; not seen yet."""

    external_id: str
    state: str | None
    state_raw: str
    wanted_state: str | None
    taken_state: str | None = None
    modified_at: datetime
    carrier: str
    cargo_code: str
    tracking_number: str
    desi: Decimal | None
    cargo_payer: str | None
    ship_by: datetime | None
    invoice_number: str
    lines: list[PackageLineDetail]

    @property
    def standing(self) -> str | None:
        """The state by all that is known: what the marketplace said yes to, else what was seen.

        A cancellation may be of a part, and a split is made of several: these must be seen.
        """
        return (
            self.state
            if self.taken_state in {"unsupplied", "superseded"}
            else (self.taken_state or self.state)
        )


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
    """The order; the buyer's personal data stays sealed (``open_person``) until ``erased_at``."""

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
    erased_at: datetime | None
    unknown_fields: dict[str, object]
    items: list[ItemDetail]
    packages: list[PackageDetail]


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
        head = order_values(found[0])
        key["order"] = head["order_id"]
        items = await unit.records("package.items", key)
        packages = await unit.records("package.packages", key)
    return msgspec.convert(head | {"items": items, "packages": packages}, OrderDetail)


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
