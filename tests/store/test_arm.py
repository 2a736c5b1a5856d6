"""Arming: what would change is counted first, and too much of it stops until it is confirmed."""

from __future__ import annotations

import psycopg
import pytest

from meschain.app.commands.arm_account import (
    ArmingLimits,
    ArmingStopped,
    StateForbids,
    arm_account,
    change_state,
    count_arming,
)
from meschain.app.commands.change_account import remove_account, set_policy
from meschain.channel.clock import SystemClock
from meschain.domain.stock import QuantityPolicy
from meschain.store.unit_of_work import Database
from meschain.testing.shop import Shop

Connection = psycopg.Connection[tuple[object, ...]]
CLOCK = SystemClock()
SKUS = [f"S{number:02d}" for number in range(20)]


@pytest.fixture
def account_id(shop: Shop) -> int:
    """A read-only account that shows 20 SKUs exactly as they should be."""
    for sku in SKUS:
        shop.variant(sku, on_hand=10)
    account = shop.account("east")
    shop.list_on("east", SKUS)
    shop.connection.execute("UPDATE account SET state = 'read_only'")
    return account


def shelf(shop: Shop, sku: str, **values: int) -> None:
    """Say what the channel was last seen to show."""
    for column, value in values.items():
        shop.connection.execute(
            f"UPDATE offer_acknowledged SET {column} = %s"  # noqa: S608
            " WHERE merchant_id = %s AND listing_id = %s",
            (value, shop.merchant_id, shop.listings["east", sku]),
        )


def state_of(connection: Connection) -> object:
    row = connection.execute("SELECT state FROM account").fetchone()
    assert row is not None
    return row[0]


def audits(connection: Connection) -> list[tuple[object, object]]:
    rows = connection.execute("SELECT action, facts FROM audit ORDER BY audit_id").fetchall()
    return [(action, facts) for action, facts in rows]


async def test_what_arming_changes_is_counted_by_kind(
    shop: Shop, database: Database, account_id: int
) -> None:
    shop.variant("ALONE", on_hand=1)
    shop.move({"S00": -10})
    shelf(shop, "S01", quantity=4)
    shelf(shop, "S02", quantity=14)
    shelf(shop, "S03", sale_minor=9_000)
    shelf(shop, "S04", sale_minor=13_000)
    shelf(shop, "S05", sale_minor=12_000)
    counts = await count_arming(database, shop.merchant_id, account_id)
    assert counts.listings == 20
    assert counts.to_zero == 1
    assert (counts.quantity_falls, counts.quantity_rises) == (2, 1)
    assert (counts.price_rises, counts.price_falls) == (1, 2)
    assert counts.price_jumps == 1, "13,000 → 10,000 is more than a fifth, 12,000 → 10,000 is not"
    assert counts.unlinked_ours == 1
    assert counts.unread == 0


async def test_arming_stops_above_its_limits_and_goes_on_when_the_counts_are_confirmed(
    shop: Shop, database: Database, account_id: int
) -> None:
    shop.move(dict.fromkeys(SKUS[:3], -10))
    limits = ArmingLimits()
    with pytest.raises(ArmingStopped) as stopped:
        await arm_account(database, CLOCK, shop.merchant_id, account_id, limits, actor="test")
    assert stopped.value.exceeded == ["to_zero"]
    assert stopped.value.counts.to_zero == 3
    assert state_of(shop.connection) == "read_only"
    assert not audits(shop.connection)

    fewer = ArmingLimits(to_zero_confirmed=2)
    with pytest.raises(ArmingStopped):
        await arm_account(database, CLOCK, shop.merchant_id, account_id, fewer, actor="test")
    meant = ArmingLimits(to_zero_confirmed=3)
    await arm_account(database, CLOCK, shop.merchant_id, account_id, meant, actor="test")
    assert state_of(shop.connection) == "armed"
    [(action, facts)] = audits(shop.connection)
    assert action == "account.arm"
    assert isinstance(facts, dict)
    assert facts["to_zero"] == 3
    assert facts["limits"]["to_zero_confirmed"] == 3


async def test_prices_that_jump_stop_arming_as_well(
    shop: Shop, database: Database, account_id: int
) -> None:
    shelf(shop, "S00", sale_minor=1_000)
    shelf(shop, "S01", sale_minor=90_000)
    with pytest.raises(ArmingStopped) as stopped:
        await arm_account(
            database, CLOCK, shop.merchant_id, account_id, ArmingLimits(), actor="test"
        )
    assert stopped.value.exceeded == ["price_jumps"]


async def test_a_few_changes_arm_without_asking(
    shop: Shop, database: Database, account_id: int
) -> None:
    shop.move({"S00": -10, "S01": -10})
    await arm_account(database, CLOCK, shop.merchant_id, account_id, ArmingLimits(), actor="test")
    assert state_of(shop.connection) == "armed"


async def test_disarming_is_always_possible_and_other_changes_only_from_their_states(
    shop: Shop, database: Database, account_id: int
) -> None:
    async def to(state: str) -> str:
        return await change_state(
            database, CLOCK, shop.merchant_id, account_id, state, actor="test"
        )

    with pytest.raises(StateForbids):
        await to("paused")
    with pytest.raises(StateForbids):
        await to("armed")  # resuming is for paused accounts; arming has limits
    await arm_account(database, CLOCK, shop.merchant_id, account_id, ArmingLimits(), actor="test")
    assert await to("paused") == "armed"
    assert await to("armed") == "paused"
    for state in ("armed", "paused", "reconnect"):
        shop.connection.execute("UPDATE account SET state = %s", (state,))
        assert await to("read_only") == state
        assert state_of(shop.connection) == "read_only"


async def test_a_policy_reaches_every_published_quantity_and_bundles_too(
    shop: Shop, database: Database, account_id: int
) -> None:
    shop.bundle("PAIR", {"S00": 2})
    shop.list_on("east", ["PAIR"])
    policy = QuantityPolicy(5_000, 1, 3)
    count = await set_policy(database, CLOCK, shop.merchant_id, account_id, policy, actor="test")
    assert count == 21
    rows = shop.connection.execute(
        "SELECT listing_id, quantity FROM offer_desired_quantity"
    ).fetchall()
    quantities = {listing: quantity for listing, quantity in rows}  # noqa: C416 – its types
    assert quantities[shop.listings["east", "S00"]] == 3, "10 × 50 % − 1 = 4, at most 3"
    assert quantities[shop.listings["east", "PAIR"]] == 1, "5 sets × 50 % − 1"


async def test_a_removed_account_keeps_no_credentials_and_frees_its_name(
    shop: Shop, database: Database, account_id: int
) -> None:
    shop.connection.execute(
        "INSERT INTO account_credential VALUES (%s, %s, 'sealed', 1, now())",
        (shop.merchant_id, account_id),
    )
    shop.move({"S00": -1})
    await remove_account(database, CLOCK, shop.merchant_id, account_id, actor="test")
    assert state_of(shop.connection) == "closed"
    for table in ("account_credential", "offer_dirty"):
        row = shop.connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        assert row == (0,)
    shop.account("east")
