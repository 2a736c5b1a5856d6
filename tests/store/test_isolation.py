"""Two merchants in one database: neither sees nor touches the other, in any table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from meschain.testing.shop import NOW, NOW_US, Shop

Connection = psycopg.Connection[tuple[Any, ...]]

# Tables that are no merchant's: facts of the schema and of the hub.
SHARED = {
    *("hub", "package_state", "package_transition", "schema_migration", "schema_function"),
    *("worker", "budget_loan"),  # processes and what they lend one another
}
ENGINE_TABLES = {
    "account",
    "account_credential",
    "alert",
    "attempt",
    "event",
    "lane",
    "listing",
    "listing_key",
    "offer_acknowledged",
    "offer_conflict",
    "offer_desired_price",
    "offer_desired_quantity",
    "offer_dirty",
    "offer_inflight",
    "offer_refusal",
    "offer_shelf_sale",
    "offer_unsettled",
    "order_cursor",
    "ownership",
    "package_wish",
    "supplier_feed",
    "sweep",
    "ticket",
    "webhook",
    "webhook_inbox",
}


def tables(connection: Connection) -> list[str]:
    """Every table of ours; partitions are reached through their parent."""
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace ORDER BY relname"
    ).fetchall()
    return [str(name) for (name,) in rows]


@contextmanager
def acting(connection: Connection, role: str, merchant: int | None = None) -> Iterator[Connection]:
    """A transaction of that role, for that merchant; rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        if merchant is not None:
            connection.execute(
                "SELECT set_config('meschain.merchant_id', %s, true)", (str(merchant),)
            )
        yield connection


def fill(shop: Shop, mark: str) -> None:
    """At least one row of this merchant in every table that has a merchant."""
    merchant, connection = shop.merchant_id, shop.connection
    shop.variant(f"A{mark}", on_hand=5)
    shop.bundle(f"SET{mark}", {f"A{mark}": 2})
    account = shop.account("east", lowers_own_shelf=True)
    shop.list_on("east", [f"A{mark}"])
    listing = shop.listings["east", f"A{mark}"]
    variant = shop.variants[f"A{mark}"]
    order = {
        "external_id": f"O{mark}",
        "placed_at": NOW.isoformat(),
        "currency": "TRY",
        "payment_method": "",
        "micro_export": False,
        "is_company": False,
        "city": "",
        "country_code": "TR",
        "unknown_fields": {},
        "detected_by": "poll",
        "actor": "test",
        "minor_factor": 100,
        "packages": [
            {
                "external_id": "P1",
                "state": "created",
                "state_raw": "Created",
                "modified_at": NOW.isoformat(),
                "carrier": "",
                "cargo_code": "",
                "tracking_number": "",
                "tracking_url": "",
                "desi": None,
                "cargo_payer": None,
                "origin_ids": [],
                "stated_total": None,
                "ship_by": None,
                "lines": [
                    {
                        "line_id": "L1",
                        "item_key": f"A{mark}",
                        "sku": f"A{mark}",
                        "barcode": "",
                        "title": "",
                        "units": 1,
                        "unit_gross": 1,
                        "unit_seller_discount": 0,
                        "unit_marketplace_discount": 0,
                        "payable": 1,
                        "vat_percent": 20,
                        "commission_percent": 1,
                        "state_raw": "",
                        "extra": {},
                    }
                ],
            }
        ],
    }
    connection.execute(
        "SELECT take_order(%s, %s, %s::jsonb, '', '', 1, %s, %s)",
        (merchant, account, json.dumps(order), NOW, NOW_US),
    )
    known: dict[str, object] = {
        "merchant_id": merchant,
        "account_id": account,
        "listing_id": listing,
        "variant_id": variant,
        "bundle_variant_id": shop.variants[f"SET{mark}"],
        "component_variant_id": variant,
        "location_id": shop.location_id,
        "field": 1,
        "path_token": mark,
        "kind": "category",
        "day": NOW.date(),
        "package_id": "P1",
        "line_id": "L1",
        "units": 1,
        "listing_ids": [listing],
        "name": "orders",
        "interval_s": 1,
        "every_s": 60,
        "batch_size": 1,
        "importance": "high",
    }
    for name in ("product_id", "order_id"):
        row = connection.execute(
            sql.SQL("SELECT max({}) FROM {} WHERE merchant_id = %s").format(
                sql.Identifier(name),
                sql.Identifier("product" if name == "product_id" else "orders"),
            ),
            (merchant,),
        ).fetchone()
        assert row is not None
        known[name] = row[0]
    waiting = [table for table in tables(connection) if table not in SHARED]
    for _ in range(4):  # tables that refer to others may have to wait for them
        waiting = [t for t in waiting if not _has_row(connection, t, merchant)]
        for table in waiting:
            _insert(connection, table, known, mark)
        for name, table in (
            ("return_id", "return_claim"),
            ("settlement_id", "settlement"),
            ("import_id", "import_run"),
            ("past_order_id", "past_order"),
        ):
            row = connection.execute(
                sql.SQL("SELECT max({}) FROM {} WHERE merchant_id = %s").format(
                    sql.Identifier(name), sql.Identifier(table)
                ),
                (merchant,),
            ).fetchone()
            if row is not None and row[0] is not None:
                known[name] = row[0]
    assert [t for t in waiting if not _has_row(connection, t, merchant)] == []


def rows_of(connection: Connection, merchant: int) -> dict[str, list[str]]:
    """Every row of the merchant, by table."""
    found = {}
    for table in set(tables(connection)) - SHARED:
        query = sql.SQL("SELECT t::text FROM {} t WHERE merchant_id = %s ORDER BY 1")
        rows = connection.execute(query.format(sql.Identifier(table)), (merchant,)).fetchall()
        found[table] = [str(row) for (row,) in rows]
    return found


def _has_row(connection: Connection, table: str, merchant: int) -> bool:
    query = sql.SQL("SELECT 1 FROM {} WHERE merchant_id = %s LIMIT 1")
    return bool(connection.execute(query.format(sql.Identifier(table)), (merchant,)).fetchone())


_SAMPLES: dict[str, object] = {
    "integer": 1,
    "bigint": 1,
    "smallint": 1,
    "numeric": 1,
    "boolean": False,
    "bytea": b"x",
    "timestamp with time zone": NOW,
    "jsonb": "{}",
    "date": NOW.date(),
}


def _insert(connection: Connection, table: str, known: dict[str, object], mark: str) -> None:
    """A row of plain values; silently none where another table must come first."""
    samples = _SAMPLES | {"text": mark}
    columns = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s"
        " AND table_schema = 'public' AND is_nullable = 'NO' AND column_default IS NULL"
        " AND is_identity = 'NO'",
        (table,),
    ).fetchall()
    values = {name: known.get(name, samples.get(kind)) for name, kind in columns}
    if table == "return_line":
        values["return_id"] = known.get("return_id")
    if table == "package_wish":
        values["state"] = "picking"
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    try:
        with connection.transaction():
            connection.execute(statement, list(values.values()))
    except (psycopg.errors.ForeignKeyViolation, psycopg.errors.NotNullViolation):
        return


@pytest.fixture
def two(connection: Connection) -> tuple[Shop, Shop]:
    """Two merchants with a row in every table each."""
    shops = Shop.open(connection, "Kaya"), Shop.open(connection, "Demir")
    for shop, mark in zip(shops, "XY", strict=True):
        fill(shop, mark)
    return shops


def test_every_table_is_a_merchants_or_known_to_be_shared(connection: Connection) -> None:
    """A new table without a merchant must be thought about, here."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT 1 FROM pg_attribute a"
        " WHERE a.attrelid = c.oid AND a.attname = 'merchant_id')"
    ).fetchall()
    assert {name for (name,) in rows} <= SHARED


def test_every_table_of_a_merchant_has_its_policies_forced(connection: Connection) -> None:
    """A new table without policies fails here, partitions included."""
    rows = connection.execute(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, c.relispartition,"
        " (SELECT array_agg(p.polname::text ORDER BY p.polname) FROM pg_policy p"
        "   WHERE p.polrelid = c.oid)"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'merchant_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(rows) > 40
    for table, is_forced, is_partition, policies in rows:
        if is_partition and not is_forced:
            granted = connection.execute(
                "SELECT has_table_privilege(role, %s, 'SELECT') FROM"
                " unnest(ARRAY['meschain_app', 'meschain_engine']) role",
                (table,),
            ).fetchall()
            assert granted == [(False,), (False,)], f"{table} can be read around its parent"
            continue
        assert is_forced, table
        assert "one_merchant" in (policies or []), table


def test_a_merchant_sees_its_own_rows_and_no_others(two: tuple[Shop, Shop]) -> None:
    connection = two[0].connection
    for table in set(tables(connection)) - SHARED:
        query = sql.SQL("SELECT array_agg(DISTINCT merchant_id) FROM {}").format(
            sql.Identifier(table)
        )
        for shop in two:
            with acting(connection, "meschain_app", shop.merchant_id):
                assert connection.execute(query).fetchall() == [([shop.merchant_id],)], table


def test_without_a_merchant_nothing_is_seen(two: tuple[Shop, Shop]) -> None:
    """Also after a transaction that had one: what it set is gone, and reads as an empty text."""
    connection = two[0].connection
    with acting(connection, "meschain_app", two[0].merchant_id):
        pass
    for table in set(tables(connection)) - SHARED:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        with acting(connection, "meschain_app"):
            assert connection.execute(query).fetchall() == [(0,)], table


def test_a_merchant_changes_and_deletes_its_own_rows_only(two: tuple[Shop, Shop]) -> None:
    connection = two[0].connection
    mine, theirs = (shop.merchant_id for shop in two)
    for table in set(tables(connection)) - SHARED:
        name = sql.Identifier(table)
        with acting(connection, "meschain_app", mine):
            touched = connection.execute(
                sql.SQL("UPDATE {} SET merchant_id = merchant_id WHERE merchant_id = %s").format(
                    name
                ),
                (theirs,),
            ).rowcount
            assert touched == 0, table
            deleted = connection.execute(
                sql.SQL("DELETE FROM {} WHERE merchant_id = %s").format(name), (theirs,)
            ).rowcount
            assert deleted == 0, table


def test_a_row_cannot_be_written_into_or_handed_to_another_merchant(
    two: tuple[Shop, Shop],
) -> None:
    connection = two[0].connection
    mine, theirs = (shop.merchant_id for shop in two)
    for table in set(tables(connection)) - SHARED - {"merchant"}:
        copied = sql.SQL(
            "INSERT INTO {0} SELECT (jsonb_populate_record(t, %s::jsonb)).* FROM {0} t LIMIT 1"
        ).format(sql.Identifier(table))
        handed = sql.SQL("UPDATE {} SET merchant_id = %s").format(sql.Identifier(table))
        with acting(connection, "meschain_app", mine):
            with pytest.raises(psycopg.Error) as refused, connection.transaction():
                connection.execute(handed, (theirs,))
            assert refused.value.sqlstate == "42501", (table, refused.value)
            with pytest.raises(psycopg.Error) as refused, connection.transaction():
                connection.execute(copied, (f'{{"merchant_id": {theirs}}}',))
            assert refused.value.sqlstate in {"42501", "428C9"}, (table, refused.value)


def test_the_engines_role_reaches_its_tables_and_no_others(two: tuple[Shop, Shop]) -> None:
    connection = two[0].connection
    reached: set[str] = set()
    for table in tables(connection):
        with acting(connection, "meschain_engine"):
            try:
                with connection.transaction():
                    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
                    ((count,),) = connection.execute(query).fetchall()
            except psycopg.errors.InsufficientPrivilege:
                continue
        reached.add(table)
        if table not in SHARED:
            assert isinstance(count, int)
            assert count >= 2, f"the engine serves all merchants, also in {table}"
    assert reached - SHARED == ENGINE_TABLES
    assert reached & SHARED == {
        *("hub", "package_state", "package_transition", "worker", "budget_loan"),
    }


def test_the_engine_can_neither_make_nor_remove_accounts(two: tuple[Shop, Shop]) -> None:
    connection = two[0].connection
    for statement in ("DELETE FROM account", "INSERT INTO account (merchant_id) VALUES (1)"):
        with acting(connection, "meschain_engine"), pytest.raises(psycopg.Error) as refused:
            connection.execute(statement)
        assert refused.value.sqlstate == "42501"


def test_no_role_of_ours_can_log_in_or_see_around_policies(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT rolname, rolcanlogin, rolbypassrls, rolsuper FROM pg_roles"
        " WHERE rolname IN ('meschain_app', 'meschain_engine') ORDER BY 1"
    ).fetchall()
    assert rows == [
        ("meschain_app", False, False, False),
        ("meschain_engine", False, False, False),
    ]
