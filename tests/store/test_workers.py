"""Leases and heartbeats in the database: who lives, who serves what, and how it is handed over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from meschain.channel.clock import Clock
from meschain.channel.contract import Channel
from meschain.channel.pacing import Pacer
from meschain.registry import marketplaces
from meschain.store.unit_of_work import Database
from meschain.sync.account import Lease, ServedAccount
from meschain.sync.ownership import LEASE_S, MARGIN_S, SETTLED_S, Claimed, Ownership
from meschain.testing.shop import NOW, Shop

Connection = psycopg.Connection[tuple[Any, ...]]
Worker = Callable[[str], Ownership]


class Clockwork:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.set_back_s = 0.0  # of the wall clock, by somebody

    def monotonic_s(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds - self.set_back_s)


@pytest.fixture
def clock() -> Clockwork:
    return Clockwork()


@pytest.fixture
async def worker(database_url: str, clock: Clockwork) -> AsyncIterator[Worker]:
    database = Database(database_url)
    await database.open()
    try:
        yield lambda owner: Ownership(database, cast(Clock, clock), owner)
    finally:
        await database.close()


def stock_of_accounts(connection: Connection, count: int) -> None:
    shop = Shop.open(connection)
    for number in range(count):
        shop.account(f"account {number}")
    connection.execute(
        "INSERT INTO ownership (merchant_id, account_id)"
        " SELECT merchant_id, account_id FROM account"
    )


def served(claimed: Claimed, clock: Clockwork) -> ServedAccount:
    manifest = next(iter(marketplaces().values())).manifest
    return ServedAccount(
        merchant_id=claimed.merchant_id,
        account_id=claimed.account_id,
        name="",
        state="armed",
        currency="TRY",
        channel=cast(Channel, SimpleNamespace(manifest=manifest)),
        pacer=Pacer(manifest, "", cast(Clock, clock)),
        clock=cast(Clock, clock),
        lease=claimed.lease,
    )


async def test_a_worker_lives_as_long_as_its_leases_and_is_settled_after_a_while(
    worker: Worker, clock: Clockwork
) -> None:
    first, second = worker("first"), worker("second")
    await first.beat(2_000)
    clock.seconds = SETTLED_S
    await first.beat(2_000)
    await second.beat(7)
    census = await second.census()
    assert [(w.owner, w.accounts_max, w.is_settled) for w in census.workers] == [
        ("first", 2_000, True),
        ("second", 7, False),
    ]
    clock.seconds += LEASE_S - 1
    await second.beat(7)
    clock.seconds += 2
    assert [(w.owner, w.is_settled) for w in (await second.census()).workers] == [("second", True)]


async def test_a_worker_that_fell_silent_or_whose_clock_was_set_back_begins_anew(
    worker: Worker, clock: Clockwork
) -> None:
    slept = worker("slept")
    await slept.beat(1)
    clock.seconds = SETTLED_S + LEASE_S + 1
    await slept.beat(1)
    assert [w.is_settled for w in (await slept.census()).workers] == [False]
    clock.seconds += SETTLED_S
    await slept.beat(1)
    assert [w.is_settled for w in (await slept.census()).workers] == [True]
    clock.set_back_s = 86_400
    assert (await slept.census()).workers == []
    await slept.beat(1)
    clock.seconds += SETTLED_S
    await slept.beat(1)
    assert [w.is_settled for w in (await slept.census()).workers] == [True]


async def test_who_leaves_is_gone_at_once_and_its_accounts_are_free(
    worker: Worker, connection: Connection
) -> None:
    stock_of_accounts(connection, 3)
    first, second = worker("first"), worker("second")
    await first.beat(1)
    await second.beat(1)
    assert len(await first.claim(2)) == 2
    seen = await second.census()
    assert (seen.accounts, seen.free) == (3, 1)
    await first.release()
    seen = await second.census()
    assert (seen.accounts, seen.free, [w.owner for w in seen.workers]) == (3, 3, ["second"])


async def test_an_account_is_handed_over_with_its_pacers_last_word_and_only_by_its_owner(
    worker: Worker, connection: Connection, clock: Clockwork
) -> None:
    stock_of_accounts(connection, 1)
    old, new = worker("old"), worker("new")
    (claimed,) = await old.claim()
    account = served(claimed, clock)
    await old.hand_over(account)
    (taken,) = await new.claim()
    assert taken.lease.epoch == claimed.lease.epoch + 1
    assert taken.pacer is not None
    assert json.loads(taken.pacer)["final"] is True
    await old.hand_over(account)  # late: it has another owner now
    assert connection.execute("SELECT owner FROM ownership").fetchone() == ("new",)


async def test_a_renewal_that_comes_back_late_revives_no_lease_that_was_given_up(
    worker: Worker, connection: Connection, clock: Clockwork
) -> None:
    stock_of_accounts(connection, 2)
    owner = worker("owner")
    kept, leaving = (served(claimed, clock) for claimed in await owner.claim())
    leaving.is_dismissed = True
    leaving.lease = Lease(leaving.lease.epoch, -inf)
    clock.seconds = 2
    assert await owner.renew([kept, leaving]) == []
    assert kept.lease.until_s == 2 + LEASE_S - MARGIN_S
    assert not leaving.has_lease
