"""Arm an account: from here on the hub writes to it – after a look at what that would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

JUMP_PERCENT: Final = 20  # a price that changes by more is worth a second look


class ArmingCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What would change at once. ``unread``: listings of which the channel's values are unknown.

    ``price_jumps`` are sale prices that change by more than 20 %, up or down.
    """

    listings: int
    unread: int
    to_zero: int
    quantity_falls: int
    quantity_rises: int
    price_falls: int
    price_rises: int
    price_jumps: int
    unlinked_ours: int


class ArmingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on arming stops, in percent of the listings; or the counts the owner confirms."""

    to_zero_percent: int = 10
    price_jumps_percent: int = 5
    to_zero_confirmed: int | None = None
    price_jumps_confirmed: int | None = None

    def exceeded(self, counts: ArmingCounts) -> list[str]:
        """The names of the counts that are above their limit and were not confirmed."""
        judged = (
            ("to_zero", counts.to_zero, self.to_zero_percent, self.to_zero_confirmed),
            (
                "price_jumps",
                counts.price_jumps,
                self.price_jumps_percent,
                self.price_jumps_confirmed,
            ),
        )
        return [
            name
            for name, count, percent, confirmed in judged
            if count * 100 > counts.listings * percent and (confirmed is None or count > confirmed)
        ]


class ArmingStopped(Exception):
    """More would change than the limits allow; nothing was armed."""

    def __init__(self, counts: ArmingCounts, exceeded: Sequence[str]) -> None:
        """``exceeded`` names fields of ``counts``."""
        super().__init__(", ".join(exceeded))
        self.counts = counts
        self.exceeded = exceeded


class StateForbids(Exception):
    """The account is in a state from which this is not possible; ``state`` names it."""

    def __init__(self, state: str) -> None:
        """The state that was found."""
        super().__init__(state)
        self.state = state


async def count_arming(database: Database, merchant_id: int, account_id: int) -> ArmingCounts:
    """What arming would change now."""
    async with database.merchant(merchant_id) as unit:
        return await _counts(unit, {"merchant": merchant_id, "account": account_id})


async def arm_account(
    database: Database,
    clock: Clock,
    merchant_id: int,
    account_id: int,
    limits: ArmingLimits,
    *,
    actor: str,
) -> ArmingCounts:
    """Arm a read-only account. Raises ArmingStopped, StateForbids.

    The counts are taken in the transaction that arms; sales that are booked meanwhile wait.
    """
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    async with database.merchant(merchant_id) as unit:
        await _require(unit, key, ("read_only",))
        counts = await _counts(unit, key)
        exceeded = limits.exceeded(counts)
        if exceeded:
            raise ArmingStopped(counts, exceeded)
        facts = {**msgspec.structs.asdict(counts), "limits": msgspec.structs.asdict(limits)}
        await _set_state(unit, key, "armed", "account.arm", facts, actor, clock.now())
        unit.wake((account_id,))
    return counts


async def change_state(
    database: Database,
    clock: Clock,
    merchant_id: int,
    account_id: int,
    to: str,
    *,
    actor: str,
) -> str:
    """Disarm ("read_only"), pause ("paused") or resume ("armed"); returns the state before.

    Disarming is always possible, pausing an armed account and resuming a paused one.
    Raises StateForbids.
    """
    before = {"read_only": ("armed", "paused", "reconnect"), "paused": ("armed",)}
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    async with database.merchant(merchant_id) as unit:
        state = await _require(unit, key, before.get(to, ("paused",)))
        action = {"read_only": "account.disarm", "paused": "account.pause"}
        await _set_state(
            unit, key, to, action.get(to, "account.resume"), {"before": state}, actor, clock.now()
        )
        unit.wake((account_id,))
    return state


async def _require(unit: UnitOfWork, key: dict[str, object], states: Sequence[str]) -> str:
    row = await unit.row("arm.lock_account", key)
    assert row is not None, "the caller has just read the account"
    state = str(row[1])
    if state not in states:
        raise StateForbids(state)
    return state


async def _counts(unit: UnitOfWork, key: dict[str, object]) -> ArmingCounts:
    records = await unit.records("arm.counts", key | {"jump_percent": JUMP_PERCENT})
    unlinked = await unit.row("arm.unlinked_ours", key)
    assert unlinked is not None
    return msgspec.convert(records[0] | {"unlinked_ours": unlinked[0]}, ArmingCounts)


async def _set_state(
    unit: UnitOfWork,
    key: dict[str, object],
    state: str,
    action: str,
    facts: dict[str, object],
    actor: str,
    now: datetime,
) -> None:
    await unit.run(
        "account.set_state",
        key | {"state": state, "only_from": ["read_only", "armed", "paused", "reconnect"]},
    )
    said = msgspec.json.encode({"account_id": key["account"], **facts}).decode()
    about = key | {"now": now, "now_us": microseconds(now), "facts": said}
    await unit.run("catalog.add_audit", about | {"actor": actor, "action": action})
    await unit.run("catalog.add_event", about | {"kind": action})
