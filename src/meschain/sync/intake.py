"""Order intake: an observation becomes order, reservation, ledger, desired quantities, at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.domain.money import currency_exponent

if TYPE_CHECKING:
    from datetime import datetime

    from meschain.domain.order import LineObservation, OrderObservation, PackageObservation
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database
    from meschain.sync.trace import Tracer

PERSON: Final = "order.person"
RAW: Final = "order.raw"
_SEEN_MAX: Final = 10_000  # package versions remembered an account, to skip what changes nothing


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of one observation: "new", "changed", "same"; and the units sold beyond stock.

    ``is_unclear``: it may show goods that were counted already; the order should be read whole.
    """

    order_id: int
    outcome: str
    units_backorder: int
    is_unclear: bool


class Intake:
    """Takes observations of one account; remembers what it has already taken."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        *,
        merchant_id: int,
        account_id: int,
        name: str,
        tracer: Tracer | None = None,
    ) -> None:
        """``name`` is the actor that movements of this account carry."""
        self._database = database
        self._keys = keys
        self._merchant_id = merchant_id
        self._account_id = account_id
        self._actor = f"account:{name}"
        self._tracer = tracer
        self._seen: OrderedDict[tuple[str, str], tuple[datetime, str]] = OrderedDict()

    def is_known(self, order: OrderObservation) -> bool:
        """Whether every package was already taken in this very version (this process's memory)."""
        return all(
            self._seen.get((order.external_id, package.external_id))
            == (package.modified_at, package.state_raw)
            for package in order.packages
        )

    async def take(
        self, order: OrderObservation, *, detected_by: str, now: datetime
    ) -> Taken | None:
        """Take it in; None when nothing about it is new. Safe to repeat and to reorder."""
        if self.is_known(order) and not order.is_whole:
            return None
        key_number = await self._keys.current(self._merchant_id)
        seal = self._keys.vault.seal
        person = seal(self._merchant_id, key_number, PERSON, _person_document(order))
        raw = seal(self._merchant_id, key_number, RAW, order.raw)
        row = await self._database.at_once(
            self._merchant_id,
            "order.take",
            {
                "merchant": self._merchant_id,
                "account": self._account_id,
                "order": order_document(order, actor=self._actor, detected_by=detected_by),
                "person": person,
                "raw": raw,
                "key_number": key_number,
                "now": now,
                "now_us": microseconds(now),
            },
        )
        assert row is not None
        order_id, outcome, accounts, backorder, is_unclear = row
        self._database.wake(self._merchant_id, accounts)
        if self._tracer is not None and outcome != "same":
            self._tracer.order_taken(
                merchant_id=self._merchant_id,
                account_id=self._account_id,
                since_us=microseconds(now),
                order_id=order_id,
                outcome=outcome,
            )
        for package in order.packages:
            self._remember(order.external_id, package)
        return Taken(order_id, outcome, backorder, is_unclear)

    def _remember(self, order_id: str, package: PackageObservation) -> None:
        self._seen[order_id, package.external_id] = (package.modified_at, package.state_raw)
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)


def order_document(order: OrderObservation, *, actor: str, detected_by: str) -> str:
    """The JSON document that ``take_order`` reads; exact decimals travel as text."""
    return msgspec.json.encode(
        {
            "external_id": order.external_id,
            "placed_at": order.placed_at,
            "currency": order.currency,
            "payment_method": order.payment_method,
            "micro_export": order.micro_export,
            "is_company": order.buyer.is_company,
            "city": order.shipping_address.city,
            "country_code": order.shipping_address.country_code,
            "unknown_fields": order.unknown_fields,
            "detected_by": detected_by,
            "actor": actor,
            "is_whole": order.is_whole,
            "minor_factor": 10 ** currency_exponent(order.currency),
            "packages": [_package(package) for package in order.packages],
        }
    ).decode()


def _package(package: PackageObservation) -> dict[str, object]:
    return {
        "external_id": package.external_id,
        "state": None if package.state is None else package.state.value,
        "state_raw": package.state_raw,
        "modified_at": package.modified_at,
        "carrier": package.carrier,
        "cargo_code": package.cargo_code,
        "tracking_number": package.tracking_number,
        "tracking_url": package.tracking_url,
        "desi": package.desi,
        "cargo_payer": None if package.cargo_payer is None else package.cargo_payer.value,
        "origin_ids": package.origin_package_ids,
        "stated_total": package.total,
        "ship_by": package.ship_by,
        "lines": [_line(line) for line in package.lines],
    }


def _line(line: LineObservation) -> dict[str, object]:
    return {
        "line_id": line.external_id,
        "item_key": line.sku or line.barcode or line.external_id,
        "sku": line.sku,
        "barcode": line.barcode,
        "title": line.title,
        "units": line.quantity,
        "unit_gross": line.unit_gross,
        "unit_seller_discount": line.unit_seller_discount,
        "unit_marketplace_discount": line.unit_marketplace_discount,
        "payable": line.payable,
        "vat_percent": line.vat_percent,
        "commission_percent": line.commission_percent,
        "state_raw": line.state_raw,
        "extra": line.extra,
    }


def _person_document(order: OrderObservation) -> bytes:
    return msgspec.json.encode(
        {
            "buyer": order.buyer,
            "shipping_address": order.shipping_address,
            "invoice_address": order.invoice_address,
        }
    )
