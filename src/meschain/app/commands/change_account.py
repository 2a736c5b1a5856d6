"""Change what an account is told of the stock, or end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.channel.clock import Clock
    from meschain.domain.stock import QuantityPolicy
    from meschain.store.unit_of_work import Database

CHUNK: Final = 5_000  # a mass change holds its locks for well under 2 s


async def set_policy(
    database: Database,
    clock: Clock,
    merchant_id: int,
    account_id: int,
    policy: QuantityPolicy,
    *,
    actor: str,
) -> int:
    """Set share, buffer and maximum; every published quantity follows. Returns variants looked at.

    Cut short, the policy stands and quantities follow with the next movement, or by repeating.
    """
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    facts = {
        "account_id": account_id,
        "share_bps": policy.share_bps,
        "buffer_units": policy.buffer_units,
        "quantity_max": policy.quantity_max,
    }
    async with database.merchant(merchant_id) as unit:
        await unit.run("arm.set_policy", key | facts)
        await unit.run("catalog.add_audit", key | _audit("account.policy", facts, actor, clock))
    after = done = 0
    while True:
        now_us = microseconds(clock.now())
        async with database.merchant(merchant_id) as unit:
            rows = await unit.rows("arm.variants_listed", key | {"after": after, "limit": CHUNK})
            variants = [int(row[0]) for row in rows]
            if not variants:
                return done
            params = key | {"variants": variants, "now_us": now_us}
            await unit.run("stock.lock_levels_everywhere", params)
            touched = await unit.row("catalog.refresh_quantity", params)
            assert touched is not None
            unit.wake(touched[0])
        after, done = variants[-1], done + len(variants)


async def remove_account(
    database: Database, clock: Clock, merchant_id: int, account_id: int, *, actor: str
) -> None:
    """End an account: its credentials go at once, orders and ledger stay.

    Webhooks at the marketplace are the caller's first step: they need the credentials.
    """
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    async with database.merchant(merchant_id) as unit:
        for name in ("close_listings", "forget_dirty", "forget_credential", "close"):
            await unit.run(f"arm.{name}", key)
        await unit.run(
            "catalog.add_audit",
            key | _audit("account.remove", {"account_id": account_id}, actor, clock),
        )


def _audit(action: str, facts: Mapping[str, object], actor: str, clock: Clock) -> dict[str, object]:
    said = msgspec.json.encode(facts).decode()
    return {"action": action, "actor": actor, "facts": said, "now": clock.now()}


async def pause_lanes(
    database: Database,
    clock: Clock,
    merchant_id: int,
    account_id: int | None,
    *,
    is_paused: bool,
    actor: str,
) -> None:
    """Let the offer lanes of one account (None: of all) rest, or go on; orders are read anyway."""
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows("plan.pause_lanes", key | {"is_paused": is_paused})
        accounts = sorted({int(row[0]) for row in rows})
        if accounts:
            action = "sync.pause" if is_paused else "sync.resume"
            facts = {"accounts": accounts}
            await unit.run("catalog.add_audit", key | _audit(action, facts, actor, clock))
            unit.wake(accounts)
