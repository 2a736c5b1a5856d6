"""The hub's books as plain SQL gives them: one snapshot, no function of the hub's own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, LiteralString, NamedTuple

from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import class_row

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

_LISTINGS: Final = """
SELECT l.account_id, l.listing_id, k.push_key, l.variant_id, l.state,
       coalesce(l.share_bps, a.share_bps) AS share_bps,
       coalesce(l.buffer_units, a.buffer_units) AS buffer_units,
       least(l.quantity_max, a.quantity_max) AS quantity_max, a.location_ids,
       (SELECT max(r.words) FROM offer_refusal r
         WHERE r.merchant_id = l.merchant_id AND r.listing_id = l.listing_id) AS refused
  FROM listing l
  JOIN listing_key k ON k.merchant_id = l.merchant_id AND k.listing_id = l.listing_id
  JOIN account a ON a.merchant_id = l.merchant_id AND a.account_id = l.account_id
 WHERE l.merchant_id = %(merchant)s AND l.state <> 'closed'
"""
_VARIANTS: Final = """
SELECT variant_id, sku, is_bundle, coalesce(list_price_minor, sale_price_minor) AS list_minor,
       sale_price_minor AS sale_minor
  FROM variant WHERE merchant_id = %(merchant)s
"""
_COMPONENTS: Final = """
SELECT bundle_variant_id, component_variant_id, units
  FROM bundle_component WHERE merchant_id = %(merchant)s
"""
_LEVELS: Final = """
SELECT variant_id, location_id, on_hand, reserved, safety_stock
  FROM stock_level WHERE merchant_id = %(merchant)s
"""
_MOVED: Final = """
SELECT variant_id, location_id, sum(on_hand_delta)::integer, sum(reserved_delta)::integer
  FROM stock_movement WHERE merchant_id = %(merchant)s GROUP BY variant_id, location_id
"""
_MOVED_BY_ORDER: Final = """
SELECT order_id, variant_id, sum(on_hand_delta)::integer, sum(reserved_delta)::integer
  FROM stock_movement WHERE merchant_id = %(merchant)s AND order_id IS NOT NULL
 GROUP BY order_id, variant_id
"""
_RESERVED: Final = """
SELECT order_id, variant_id, location_id, sum(units_reserved)::integer, sum(units_sold)::integer
  FROM reservation WHERE merchant_id = %(merchant)s GROUP BY order_id, variant_id, location_id
"""
_COUNTED: Final = """
SELECT variant_id, on_hand_delta, occurred_at
  FROM stock_movement WHERE merchant_id = %(merchant)s AND order_id IS NULL AND on_hand_delta <> 0
 ORDER BY occurred_at, movement_id
"""
_ORDERS: Final = """
SELECT order_id, account_id, external_id, first_seen_us
  FROM orders WHERE merchant_id = %(merchant)s ORDER BY order_id
"""
_LINES: Final = """
SELECT order_id, item_key, variant_id, sku, units_ordered
  FROM order_line WHERE merchant_id = %(merchant)s
"""
_PACKAGES: Final = """
SELECT p.order_id, p.external_id, p.state, p.state_raw
  FROM package p WHERE p.merchant_id = %(merchant)s
"""
_NET_FOUND: Final = """
SELECT coalesce(sum(net_found), 0)::bigint FROM lane WHERE merchant_id = %(merchant)s
"""
_PUSHES: Final = """
SELECT account_id, released_us FROM ticket
 WHERE merchant_id = %(merchant)s AND released_us IS NOT NULL ORDER BY released_us
"""


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing of ours and what shapes its quantity; ``refused``: the marketplace's last words."""

    account_id: int
    listing_id: int
    push_key: str
    variant_id: int
    state: str
    share_bps: int
    buffer_units: int
    quantity_max: int | None
    location_ids: list[int] | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class Variant:
    variant_id: int
    sku: str
    is_bundle: bool
    list_minor: int | None
    sale_minor: int | None


class Level(NamedTuple):
    on_hand: int
    reserved: int


class Counted(NamedTuple):
    """The merchant's own change of the counted units."""

    variant_id: int
    units: int
    at: datetime


@dataclass(slots=True)
class HubOrder:
    order_id: int
    account_id: int
    external_id: str
    first_seen_us: int
    units: dict[int | None, int] = field(default_factory=dict)  # by variant; None: not known
    packages: dict[str, str | None] = field(default_factory=dict)  # external id → state


@dataclass(slots=True)
class Ledger:
    """Everything of one merchant that is checked. Units are whole, times µs since 1970."""

    listings: list[Listing]
    variants: dict[int, Variant]
    components: dict[int, dict[int, int]]  # bundle → component → units
    levels: dict[tuple[int, int], Level]  # (variant, location)
    safety: dict[tuple[int, int], int]
    moved: dict[tuple[int, int], Level]
    counted: list[Counted]
    # What belongs to orders.
    moved_by_order: dict[tuple[int, int], Level] = field(default_factory=dict)  # (order, variant)
    reserved: dict[tuple[int, int], int] = field(default_factory=dict)  # (variant, location)
    reserved_by_order: dict[tuple[int, int], Level] = field(default_factory=dict)  # on hand: −sold
    orders: list[HubOrder] = field(default_factory=list)
    safety_net_found: int = 0
    pushes_us: dict[int, list[int]] = field(default_factory=dict)  # account → requests released

    def parts(self, variant_id: int) -> dict[int, int]:
        """What one unit takes: itself, or a bundle's components with their units."""
        return self.components.get(variant_id) or {variant_id: 1}


async def read_ledger(database_url: str, merchant_id: int, *, with_orders: bool = True) -> Ledger:
    """Read all of it in one snapshot, as the merchant (row-level security stays on).

    Without orders it is what the shelves alone need, quick enough to be read every few seconds.
    """
    connection = await AsyncConnection.connect(database_url)
    async with connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.execute("SET ROLE meschain_app")
        await connection.execute("SET LOCAL timezone = 'UTC'")
        await connection.execute(
            "SELECT set_config('meschain.merchant_id', %s, true)", (str(merchant_id),)
        )
        return await _read(connection, {"merchant": merchant_id}, with_orders=with_orders)


async def _read(connection: AsyncConnection, key: dict[str, int], *, with_orders: bool) -> Ledger:
    async with connection.cursor(row_factory=class_row(Listing)) as cursor:
        listings = await (await cursor.execute(_LISTINGS, key)).fetchall()
    async with connection.cursor(row_factory=class_row(Variant)) as cursor:
        variants = await (await cursor.execute(_VARIANTS, key)).fetchall()
    components: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for bundle, component, units in await _rows(connection, _COMPONENTS, key):
        components[bundle][component] = units
    levels: dict[tuple[int, int], Level] = {}
    safety: dict[tuple[int, int], int] = {}
    for variant, location, on_hand, reserved, safety_stock in await _rows(connection, _LEVELS, key):
        levels[variant, location] = Level(on_hand, reserved)
        safety[variant, location] = safety_stock
    ledger = Ledger(
        listings=listings,
        variants={each.variant_id: each for each in variants},
        components=dict(components),
        levels=levels,
        safety=safety,
        moved={
            (variant, location): Level(on_hand, reserved)
            for variant, location, on_hand, reserved in await _rows(connection, _MOVED, key)
        },
        counted=[Counted(*row) for row in await _rows(connection, _COUNTED, key)],
    )
    if with_orders:
        await _add_orders(ledger, connection, key)
    return ledger


async def _add_orders(ledger: Ledger, connection: AsyncConnection, key: dict[str, int]) -> None:
    reserved_at: defaultdict[tuple[int, int], int] = defaultdict(int)
    reserved_for: dict[tuple[int, int], Level] = {}
    for order, variant, location, units, sold in await _rows(connection, _RESERVED, key):
        reserved_at[variant, location] += units
        before = reserved_for.get((order, variant), Level(0, 0))
        reserved_for[order, variant] = Level(before.on_hand - sold, before.reserved + units)
    pushes: defaultdict[int, list[int]] = defaultdict(list)
    for account, released_us in await _rows(connection, _PUSHES, key):
        pushes[account].append(released_us)
    (net_found,) = (await _rows(connection, _NET_FOUND, key))[0]
    ledger.reserved, ledger.reserved_by_order = dict(reserved_at), reserved_for
    ledger.moved_by_order = {
        (order, variant): Level(on_hand, reserved)
        for order, variant, on_hand, reserved in await _rows(connection, _MOVED_BY_ORDER, key)
    }
    ledger.orders = await _orders(connection, key)
    ledger.safety_net_found, ledger.pushes_us = net_found, dict(pushes)


async def _orders(connection: AsyncConnection, key: dict[str, int]) -> list[HubOrder]:
    orders = {row[0]: HubOrder(*row) for row in await _rows(connection, _ORDERS, key)}
    for order, _, variant, _, units in await _rows(connection, _LINES, key):
        known = orders[order].units
        known[variant] = known.get(variant, 0) + units
    for order, external_id, state, _ in await _rows(connection, _PACKAGES, key):
        orders[order].packages[external_id] = state
    return list(orders.values())


async def _rows(
    connection: AsyncConnection, statement: LiteralString, key: dict[str, int]
) -> list[TupleRow]:
    cursor = await connection.execute(statement, key)
    return await cursor.fetchall()
