"""A merchant's shop in the database, made for a test: variants, stock, accounts, listings."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOW_US = 1_793_534_400_000_000


@dataclass(slots=True)
class Shop:
    """One merchant with a default location; ids of what was made."""

    connection: psycopg.Connection[tuple[object, ...]]
    merchant_id: int
    location_id: int
    variants: dict[str, int] = field(default_factory=dict)  # SKU → id
    accounts: dict[str, int] = field(default_factory=dict)  # name → id
    listings: dict[tuple[str, str], int] = field(default_factory=dict)  # (account, SKU) → id

    @classmethod
    def open(cls, connection: psycopg.Connection[tuple[object, ...]], name: str = "Kaya") -> Shop:
        """Insert the merchant and its location."""
        merchant = _one(
            connection,
            "INSERT INTO merchant (name, created_at) VALUES (%s, %s) RETURNING merchant_id",
            (name, NOW),
        )
        location = _one(
            connection,
            "INSERT INTO location (merchant_id, code, name, is_default)"
            " VALUES (%s, 'main', 'Depo', true) RETURNING location_id",
            (merchant,),
        )
        return cls(connection, merchant, location)

    def variant(self, sku: str, *, on_hand: int = 0, sale_minor: int = 10_000) -> int:
        """One product with one variant, its stock booked as a receipt."""
        product = _one(
            self.connection,
            "INSERT INTO product (merchant_id, model_code, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s) RETURNING product_id",
            (self.merchant_id, f"M-{sku}", NOW, NOW),
        )
        variant = _one(
            self.connection,
            "INSERT INTO variant (merchant_id, product_id, sku, barcode, currency,"
            " list_price_minor, sale_price_minor, vat_percent, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, 'TRY', %s, %s, 20, %s, %s) RETURNING variant_id",
            (self.merchant_id, product, sku, f"B{sku}", sale_minor, sale_minor, NOW, NOW),
        )
        self.variants[sku] = variant
        if on_hand:
            self.move({sku: on_hand})
        return variant

    def bundle(self, sku: str, components: dict[str, int]) -> int:
        """A set of other variants."""
        variant = self.variant(sku)
        self.connection.execute(
            "UPDATE variant SET is_bundle = true WHERE merchant_id = %s AND variant_id = %s",
            (self.merchant_id, variant),
        )
        for component, units in components.items():
            self.connection.execute(
                "INSERT INTO bundle_component VALUES (%s, %s, %s, %s)",
                (self.merchant_id, variant, self.variants[component], units),
            )
        return variant

    def move(self, deltas: dict[str, int], kind: str = "receipt") -> None:
        """Book counted units."""
        self.connection.execute(
            "SELECT move_stock(%s, %s, %s, %s::bigint[], %s::integer[], '', 'test', %s, %s)",
            (
                self.merchant_id,
                self.location_id,
                kind,
                [self.variants[sku] for sku in deltas],
                list(deltas.values()),
                NOW,
                NOW_US,
            ),
        )

    def account(
        self, name: str, *, marketplace: str = "sandbox", lowers_own_shelf: bool = False
    ) -> int:
        """An armed account."""
        account = _one(
            self.connection,
            "INSERT INTO account (merchant_id, marketplace, name, state, base_urls,"
            " lowers_own_shelf, created_at) VALUES (%s, %s, %s, 'armed', '{}', %s, %s)"
            " RETURNING account_id",
            (self.merchant_id, marketplace, name, lowers_own_shelf, NOW),
        )
        self.accounts[name] = account
        return account

    def list_on(self, account: str, skus: Sequence[str], *, acknowledged: bool = True) -> None:
        """Listings on sale; ``acknowledged``: the shelf already stands as desired, all clean."""
        for sku in skus:
            listing = _one(
                self.connection,
                "INSERT INTO listing (merchant_id, account_id, variant_id, state, created_at)"
                " VALUES (%s, %s, %s, 'on_sale', %s) RETURNING listing_id",
                (self.merchant_id, self.accounts[account], self.variants[sku], NOW),
            )
            self.connection.execute(
                "INSERT INTO listing_key (merchant_id, account_id, listing_id, push_key, barcode,"
                " stock_code) VALUES (%s, %s, %s, %s, %s, %s)",
                (self.merchant_id, self.accounts[account], listing, f"B{sku}", f"B{sku}", sku),
            )
            self.listings[account, sku] = listing
            self.connection.execute(
                "SELECT open_offers(%s, %s::bigint[], %s)",
                (self.merchant_id, [listing], NOW_US),
            )
        if acknowledged:
            self.connection.execute(
                "UPDATE offer_acknowledged k SET quantity = q.quantity,"
                " quantity_revision = q.revision, quantity_sent_us = %(us)s,"
                " quantity_done_us = %(us)s, list_minor = p.list_minor, sale_minor = p.sale_minor,"
                " price_revision = p.revision FROM offer_desired_quantity q"
                " JOIN offer_desired_price p USING (merchant_id, account_id, listing_id)"
                " WHERE q.merchant_id = k.merchant_id AND q.account_id = k.account_id"
                " AND q.listing_id = k.listing_id AND k.merchant_id = %(m)s"
                " AND k.account_id = %(a)s",
                {"us": NOW_US, "m": self.merchant_id, "a": self.accounts[account]},
            )
            self.connection.execute(
                "DELETE FROM offer_dirty WHERE merchant_id = %s AND account_id = %s",
                (self.merchant_id, self.accounts[account]),
            )


def _one(
    connection: psycopg.Connection[tuple[object, ...]], statement: str, params: tuple[object, ...]
) -> int:
    row = connection.execute(statement, params).fetchone()
    assert row is not None
    value = row[0]
    assert isinstance(value, int)
    return value
