"""The day's sheet: what was sold, what it owes in VAT and commission, what the carrier took."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import psycopg

from meschain.domain.money import Money, Rounding
from meschain.registry import marketplace

if TYPE_CHECKING:
    from meschain.demo.screen import Screen

# Lines that were sold and not cancelled; VAT is inside the price.
_SOLD: Final = """
SELECT a.marketplace, o.currency, coalesce(l.vat_percent, 0),
       sum(l.payable), sum(l.payable * l.vat_percent / (100 + l.vat_percent)),
       sum(l.payable * coalesce(l.commission_percent, 0) / 100), sum(l.units)::integer
  FROM package_line l
  JOIN package p ON p.merchant_id = l.merchant_id AND p.order_id = l.order_id
                AND p.external_id = l.package_id
  JOIN orders o ON o.merchant_id = l.merchant_id AND o.order_id = l.order_id
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
  LEFT JOIN package_state s ON s.state = p.state
 WHERE l.merchant_id = %(merchant)s AND coalesce(s.effect, 'reserve') IN ('reserve', 'consume')
 GROUP BY a.marketplace, o.currency, coalesce(l.vat_percent, 0)
 ORDER BY a.marketplace, o.currency, 3
"""
_ORDERS: Final = """
SELECT a.marketplace, count(*)::integer,
       (count(*) FILTER (WHERE o.payable = 0))::integer
  FROM orders o JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE o.merchant_id = %(merchant)s GROUP BY a.marketplace ORDER BY a.marketplace
"""
_CARGO: Final = """
SELECT p.carrier, coalesce(p.cargo_payer, ''), count(*)::integer, coalesce(sum(p.desi), 0)
  FROM package p JOIN package_state s ON s.state = p.state AND s.effect = 'consume'
 WHERE p.merchant_id = %(merchant)s GROUP BY p.carrier, coalesce(p.cargo_payer, '')
 ORDER BY 3 DESC, 1
"""


@dataclass(frozen=True, slots=True)
class _Sold:
    market: str
    currency: str
    vat_percent: Decimal
    payable: Decimal
    vat: Decimal
    commission: Decimal
    units: int


@dataclass(slots=True)
class DaySheet:
    """The figures; exact sums, rounded once where they are shown."""

    sold: list[_Sold] = field(default_factory=list)
    orders: dict[str, tuple[int, int]] = field(default_factory=dict)  # market → all, cancelled
    cargo: list[tuple[str, str, int, Decimal]] = field(default_factory=list)

    @classmethod
    async def read(cls, database_url: str, merchant_id: int) -> DaySheet:
        """From the hub's books."""
        key = {"merchant": merchant_id}
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            sold = await (await connection.execute(_SOLD, key)).fetchall()
            orders = await (await connection.execute(_ORDERS, key)).fetchall()
            cargo = await (await connection.execute(_CARGO, key)).fetchall()
        return cls(
            [_Sold(*row) for row in sold],
            {market: (count, cancelled) for market, count, cancelled in orders},
            [(carrier, payer, count, desi) for carrier, payer, count, desi in cargo],
        )

    def tell(self, screen: Screen) -> None:
        """All of it, in the reader's language."""
        screen.say("demo.sheet.title")
        for market, (count, cancelled) in self.orders.items():
            of_market = [each for each in self.sold if each.market == market]
            screen.point(
                "demo.sheet.orders",
                market=marketplace(market).manifest.identity.title,
                orders=count,
                cancelled=cancelled,
                units=sum(each.units for each in of_market),
                payable=_money(of_market, "payable"),
                commission=_money(of_market, "commission"),
            )
        for percent in sorted({each.vat_percent for each in self.sold}):
            at_rate = [each for each in self.sold if each.vat_percent == percent]
            screen.point(
                "demo.sheet.vat",
                vat=percent.normalize(),
                payable=_money(at_rate, "payable"),
                contained=_money(at_rate, "vat"),
            )
        for carrier, payer, count, desi in self.cargo:
            screen.point(
                "demo.sheet.cargo",
                carrier=carrier or "–",
                count=count,
                desi=desi.normalize() if desi % 1 else int(desi),
                payer=screen.text(f"demo.payer.{payer or 'unknown'}"),
            )


def _money(sold: list[_Sold], name: str) -> Money:
    """The sum of one column, rounded to the minor unit."""
    currency = sold[0].currency if sold else "TRY"
    total = sum((getattr(each, name) or Decimal(0) for each in sold), Decimal(0))
    return Money.from_decimal(total, currency, rounding=Rounding.HALF_UP)
