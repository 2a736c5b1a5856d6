"""Orders as a channel tells of them, drawn from a seed."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meschain.domain.order import (
    Address,
    Buyer,
    LineObservation,
    OrderObservation,
    PackageObservation,
    PackageState,
)

if TYPE_CHECKING:
    from datetime import datetime

    from bench.shop import Shop

LINES: Final = 3
_RAW_BYTES: Final = 3_000  # what a marketplace sends of such an order, kept sealed


class Orders:
    """One package of three different SKUs each."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._draw = random.Random(1)  # noqa: S311 – a seed, no secret
        self._number = 0

    def following(self, now: datetime) -> OrderObservation:
        self._number += 1
        number = self._number
        skus = self._draw.sample(range(1, self._shop.skus + 1), LINES)
        lines = tuple(_line(f"{number}-{sku}", sku) for sku in skus)
        package = PackageObservation(
            external_id=f"P{number}",
            state=PackageState.CREATED,
            state_raw="Created",
            modified_at=now,
            lines=lines,
            carrier="Örnek Kargo",
            cargo_code=f"72800{number:011}",
            desi=Decimal(1),
            total=sum((line.payable for line in lines), Decimal(0)),
            ship_by=now + timedelta(days=2),
        )
        address = Address("Ayşe Kaya", "", "Örnek Sokak 1", "", "Konak", "İzmir", "35000", "TR")
        return OrderObservation(
            external_id=f"O{number}",
            placed_at=now,
            currency="TRY",
            packages=(package,),
            buyer=Buyer("17", "Ayşe Kaya", "a@buyer.example"),
            shipping_address=address,
            invoice_address=address,
            is_whole=True,
            raw=bytes(_RAW_BYTES),
        )


def _line(line_id: str, number: int) -> LineObservation:
    gross = Decimal(10_000 + number % 5_000) / 100
    return LineObservation(
        external_id=line_id,
        sku=f"S{number}",
        barcode=f"B{number}",
        title="Örnek ürün",
        quantity=1,
        unit_gross=gross,
        unit_seller_discount=Decimal(0),
        unit_marketplace_discount=Decimal(0),
        payable=gross,
        vat_percent=Decimal(20),
        commission_percent=Decimal(13),
        state_raw="Created",
    )
