"""A merchant's shop in the database, in bulk: variants, stock, accounts, listings, offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

CHUNK: Final = 5_000

_VARIANTS: Final = """
WITH products AS (
    INSERT INTO product (merchant_id, model_code, brand, created_at, updated_at)
    SELECT %(merchant)s, 'M-' || n, 'Örnek', %(now)s, %(now)s
      FROM generate_series(1, %(count)s) n
    RETURNING product_id, model_code
)
INSERT INTO variant (merchant_id, product_id, sku, barcode, currency, list_price_minor,
                     sale_price_minor, vat_percent, desi, created_at, updated_at)
SELECT %(merchant)s, product_id, 'S' || n, 'B' || n, 'TRY', 12000 + n %% 5000, 10000 + n %% 5000,
       20, 1, %(now)s, %(now)s
  FROM (SELECT product_id, substr(model_code, 3)::integer AS n FROM products ORDER BY 2) p
"""
_STOCK: Final = """
SELECT move_stock(%(merchant)s, %(location)s, 'receipt', array_agg(variant_id ORDER BY variant_id),
                  array_agg(%(on_hand)s::integer), '', 'bench', %(now)s, %(now_us)s)
  FROM variant WHERE merchant_id = %(merchant)s AND variant_id > %(after)s
   AND variant_id <= %(until)s
"""
_LISTINGS: Final = """
WITH made AS (
    INSERT INTO listing (merchant_id, account_id, variant_id, state, created_at)
    SELECT %(merchant)s, %(account)s, variant_id, 'on_sale', %(now)s FROM variant
     WHERE merchant_id = %(merchant)s AND variant_id > %(after)s AND variant_id <= %(until)s
     ORDER BY variant_id
    RETURNING listing_id, variant_id
), keyed AS (
    INSERT INTO listing_key (merchant_id, account_id, listing_id, push_key, barcode, stock_code)
    SELECT %(merchant)s, %(account)s, m.listing_id,
           CASE WHEN %(by_stock_code)s THEN v.sku ELSE v.barcode END, v.barcode, v.sku
      FROM made m JOIN variant v ON v.merchant_id = %(merchant)s AND v.variant_id = m.variant_id
)
SELECT array_agg(listing_id) FROM made
"""
_ACKNOWLEDGE: Final = """
UPDATE offer_acknowledged k
   SET quantity = q.quantity, quantity_revision = q.revision, quantity_sent_us = %(now_us)s,
       quantity_done_us = %(now_us)s, list_minor = p.list_minor, sale_minor = p.sale_minor,
       price_revision = p.revision
  FROM offer_desired_quantity q JOIN offer_desired_price p
 USING (merchant_id, account_id, listing_id)
 WHERE q.merchant_id = k.merchant_id AND q.account_id = k.account_id
   AND q.listing_id = k.listing_id AND k.merchant_id = %(merchant)s
"""


@dataclass(frozen=True, slots=True)
class Shop:
    """One merchant. SKU ``n`` is ``S<n>`` with barcode ``B<n>``, from 1."""

    merchant_id: int
    location_id: int
    skus: int
    first_variant_id: int


def open_shop(url: str, *, skus: int, on_hand: int, now: datetime, name: str = "Kaya") -> Shop:
    """Insert the merchant, its variants and their stock."""
    with psycopg.connect(url, autocommit=True) as connection:
        merchant = _number(
            connection,
            "INSERT INTO merchant (name, created_at) VALUES (%(name)s, %(now)s)"
            " RETURNING merchant_id",
            {"name": name, "now": now},
        )
        location = _number(
            connection,
            "INSERT INTO location (merchant_id, code, name, is_default)"
            " VALUES (%(merchant)s, 'main', 'Depo', true) RETURNING location_id",
            {"merchant": merchant},
        )
        key: dict[str, object] = {"merchant": merchant, "now": now, "now_us": microseconds(now)}
        connection.execute(_VARIANTS, key | {"count": skus})
        first = _number(
            connection,
            "SELECT min(variant_id) FROM variant WHERE merchant_id = %(merchant)s",
            {"merchant": merchant},
        )
        for start in range(first - 1, first - 1 + skus, CHUNK):
            connection.execute(
                _STOCK,
                key
                | {"location": location, "on_hand": on_hand}
                | {"after": start, "until": min(start + CHUNK, first - 1 + skus)},
            )
        return Shop(merchant, location, skus, first)


def list_on(
    url: str,
    shop: Shop,
    account_ids: Sequence[int],
    *,
    by_stock_code: bool = False,
    skus: range | None = None,
    now: datetime,
) -> None:
    """Listings of ``skus`` (all, from 1) on these accounts, on sale, all their offers dirty."""
    wanted = skus or range(1, shop.skus + 1)
    begin, end = shop.first_variant_id + wanted.start - 2, shop.first_variant_id + wanted.stop - 2
    key: dict[str, object] = {"merchant": shop.merchant_id, "now": now}
    with psycopg.connect(url, autocommit=True) as connection:
        for account_id in account_ids:
            for start in range(begin, end, CHUNK):
                row = connection.execute(
                    _LISTINGS,
                    key
                    | {"account": account_id, "by_stock_code": by_stock_code}
                    | {"after": start, "until": min(start + CHUNK, end)},
                ).fetchone()
                assert row is not None
                connection.execute(
                    "SELECT open_offers(%s, %s, %s)",
                    (shop.merchant_id, row[0], microseconds(now)),
                )


def acknowledge_all(url: str, shop: Shop, *, now: datetime) -> None:
    """As if every shelf stood as desired: nothing is dirty."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            _ACKNOWLEDGE, {"merchant": shop.merchant_id, "now_us": microseconds(now)}
        )
        connection.execute("DELETE FROM offer_dirty WHERE merchant_id = %s", (shop.merchant_id,))


def settle_down(url: str) -> None:
    """What autovacuum would have done by the time a merchant begins to trade.

    It leaves empty tables alone, and so must we: the planner believes what an analysis once said
    of them until the next one, a minute into the measurement.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        filled = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p'"
            " AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0"
            " ORDER BY relname"
        ).fetchall()
        for (name,) in filled:
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(str(name))))
        connection.execute("CHECKPOINT")


def raise_prices(
    connection: psycopg.Connection[tuple[object, ...]], shop: Shop, *, chunk: int, now: datetime
) -> None:
    """All prices by one kuruş, ``chunk`` variants a transaction, in key order."""
    first, last = shop.first_variant_id, shop.first_variant_id + shop.skus
    for start in range(first, last, chunk):
        chosen = list(range(start, min(start + chunk, last)))
        with connection.transaction():
            connection.execute(
                "UPDATE variant SET sale_price_minor = sale_price_minor + 1,"
                " list_price_minor = list_price_minor + 1"
                " WHERE merchant_id = %s AND variant_id = ANY (%s)",
                (shop.merchant_id, chosen),
            )
            connection.execute(
                "SELECT refresh_desired_price(%s, %s, %s)",
                (shop.merchant_id, chosen, microseconds(now)),
            )


def local_accounts(url: str, shop: Shop, count: int, *, now: datetime) -> list[int]:
    """Accounts that no engine serves: only their rows are wanted."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [
            _number(
                connection,
                "INSERT INTO account (merchant_id, marketplace, name, state, base_urls,"
                " lowers_own_shelf, created_at) VALUES (%(merchant)s, 'none', %(name)s, 'armed',"
                " '{}', true, %(now)s) RETURNING account_id",
                {"merchant": shop.merchant_id, "name": f"account {n}", "now": now},
            )
            for n in range(1, count + 1)
        ]


def _number(
    connection: psycopg.Connection[tuple[object, ...]], statement: str, params: dict[str, object]
) -> int:
    row = connection.execute(statement, params).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
