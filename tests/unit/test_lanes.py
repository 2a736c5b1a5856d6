"""Turns, timers and deadlines of the offer lanes, without a database."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from meschain.channel.clock import Clock
from meschain.channel.contract import Call, Channel, LeaseExpired, Priority
from meschain.channel.pacing import Pacer
from meschain.registry import marketplaces
from meschain.store.unit_of_work import Database
from meschain.sync.account import Lease, ServedAccount
from meschain.sync.lane import (
    CLAIM_ROWS_MAX,
    PUSH,
    REQUESTS_MAX,
    SEND_BY_US,
    OfferLanes,
    _SendBy,
)
from meschain.sync.wake import Wakeups
from meschain.testing.shop import NOW

MARKET = next(iter(marketplaces().values()))


class Standing:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic_s(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


def served(number: int, clock: Standing) -> ServedAccount:
    manifest = MARKET.manifest
    tier = manifest.tiers[-1]
    return ServedAccount(
        merchant_id=1,
        account_id=number,
        name=str(number),
        state="armed",
        currency="TRY",
        channel=cast(Channel, SimpleNamespace(manifest=manifest)),
        pacer=Pacer(manifest, tier, cast(Clock, clock)),
        clock=cast(Clock, clock),
        lease=Lease(1, 2_000.0),
    )


def lanes_of(accounts: list[ServedAccount], clock: Standing) -> OfferLanes:
    lanes = OfferLanes(cast(Database, None), cast(Clock, clock), Wakeups(), lambda _: None)
    for account in accounts:
        lanes.serve(account)
    return lanes


async def test_accounts_that_one_claim_has_no_rows_left_for_are_first_in_the_next() -> None:
    """Or else the accounts with the smallest numbers take everything, as long as they have work."""
    clock = Standing()
    accounts = [served(number, clock) for number in range(1, 8)]
    lanes = lanes_of(accounts, clock)
    turns = Counter[int]()
    for _ in range(7):
        taken = lanes._in_turn({account.account_id for account in accounts})  # noqa: SLF001
        assert sum(rows for _, rows, _, _ in taken) <= CLAIM_ROWS_MAX
        turns.update(account.account_id for account, _, _, _ in taken)
    assert set(turns) == {account.account_id for account in accounts}
    assert max(turns.values()) - min(turns.values()) <= 1


async def test_a_lane_that_waits_for_its_quota_has_one_timer_however_often_it_is_woken() -> None:
    clock = Standing()
    account = served(1, clock)
    lanes = lanes_of([account], clock)
    while account.pacer.available(PUSH, Priority.CRITICAL):
        (await account.pacer.acquire(PUSH, Call(Priority.CRITICAL))).settle()
    loop = asyncio.get_running_loop()
    for _ in range(50):
        assert lanes._in_turn({1}) == []  # noqa: SLF001
    scheduled = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]  # noqa: SLF001
    assert len(scheduled) == 1
    for timer in scheduled:
        timer.cancel()


async def test_patience_is_for_lanes_that_have_nothing_more_or_no_room_for_it() -> None:
    """A full lane that may send on is not kept waiting for a larger set; its set is full."""
    clock = Standing()
    account = served(1, clock)
    lanes = lanes_of([account], clock)
    assert not lanes._has_room_for_more()  # noqa: SLF001
    lanes._full[1] = 100  # noqa: SLF001
    assert lanes._has_room_for_more()  # noqa: SLF001
    account.sending = REQUESTS_MAX - 1  # the last place is kept for what is urgent
    assert not lanes._has_room_for_more()  # noqa: SLF001
    account.sending = 0
    lanes.dismiss(1)
    assert not lanes._has_room_for_more()  # noqa: SLF001


def test_a_lane_that_a_quota_held_up_takes_as_much_as_a_request_holds() -> None:
    """It costs one call of the quota, full or not; the rest would wait for the next."""
    clock = Standing()
    accounts = [served(number, clock) for number in range(1, 31)]
    lanes = lanes_of(accounts, clock)
    everyone = {account.account_id for account in accounts}
    for account in accounts:
        account.held_us = int(clock.now().timestamp() * 1_000_000)
    shares = [rows for _, rows, _, _ in lanes._in_turn(everyone)]  # noqa: SLF001
    assert len(shares) == 30
    assert max(shares) < MARKET.manifest.offers.batch_max
    clock.seconds += 5
    taken = lanes._in_turn(everyone)  # noqa: SLF001
    assert all(rows >= batch for _, rows, _, batch in taken)
    assert len(taken) <= CLAIM_ROWS_MAX / MARKET.manifest.offers.batch_max
    again = lanes._in_turn(everyone)  # noqa: SLF001
    assert {each.account_id for each, *_ in taken}.isdisjoint(each.account_id for each, *_ in again)


def test_values_that_waited_too_long_are_not_sent_any_more() -> None:
    """A throttle held the request back; meanwhile a sale may have made its quantity wrong."""
    clock = Standing()
    account = served(1, clock)
    guard = _SendBy(account, clock.monotonic_s() + SEND_BY_US / 1_000_000)
    clock.seconds += SEND_BY_US / 1_000_000 - 1
    guard.check()
    clock.seconds += 2
    with pytest.raises(LeaseExpired):
        guard.check()


def test_a_push_is_guarded_by_the_lease_as_well() -> None:
    clock = Standing()
    account = served(1, clock)
    account.lease = Lease(1, clock.seconds - 1)
    with pytest.raises(LeaseExpired):
        _SendBy(account, clock.seconds + 100).check()
