"""Answer what was edited on a marketplace's panel, and say who wins from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
import psycopg

from meschain.app.queries.conflicts import FIELDS, ConflictRules, Rule
from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.app.queries.conflicts import ConflictView
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

Keep = Literal["hub", "channel"]

CHUNK: Final = 1_000  # sales run beside a mass answer undisturbed
TRIES: Final = 10
RETRY_S: Final = 0.3


async def resolve_conflicts(
    database: Database,
    clock: Clock,
    merchant_id: int,
    conflicts: Sequence[ConflictView],
    keep: Keep,
    *,
    actor: str,
) -> int:
    """Settle these in favour of the hub or of the channel; returns how many it changed.

    Open questions get their answer. What was kept of the channel's before is given up with
    ``keep`` "hub" and stays as it is with "channel". Whatever somebody else has answered meanwhile
    is left alone. Raises LockNotAvailable when others hold the same SKUs for seconds.
    """
    settled = 0
    accounts = sorted({each.account_id for each in conflicts})
    for account_id in accounts:
        of_account = [each for each in conflicts if each.account_id == account_id]
        asked = [each for each in of_account if each.state == "open"]
        kept = [each for each in of_account if each.state == "kept"] if keep == "hub" else []
        name = "keep_ours" if keep == "hub" else "keep_theirs"
        for rows, work in ((asked, name), (kept, "drop_kept")):
            for start in range(0, len(rows), CHUNK):
                chunk = rows[start : start + CHUNK]
                settled += await _settle(
                    database, clock, merchant_id, account_id, chunk, work, actor=actor
                )
    return settled


async def _settle(
    database: Database,
    clock: Clock,
    merchant_id: int,
    account_id: int,
    rows: Sequence[ConflictView],
    work: str,
    *,
    actor: str,
) -> int:
    """One transaction. It gives way to whoever sells or sends, and tries again."""
    for tries_left in reversed(range(TRIES)):
        now = clock.now()
        params: dict[str, object] = {
            "merchant": merchant_id,
            "account": account_id,
            "listings": [row.listing_id for row in rows],
            "fields": [FIELDS[row.field] for row in rows],
            "actor": actor,
            "action": f"conflict.{work}",
            "now": now,
            "now_us": microseconds(now),
        }
        count = len(rows)
        try:
            async with database.merchant(merchant_id) as unit:
                await unit.run("conflict.give_way")
                if work == "drop_kept":
                    await unit.run("conflict.note_drop", params)
                else:
                    found = await unit.rows("conflict.lock", params)
                    count = len(found)
                    params |= {
                        "listings": [row[0] for row in found],
                        "fields": [row[1] for row in found],
                    }
                    if found:
                        await unit.run("conflict.note", params)
                touched = await unit.row(f"conflict.{work}", params)
                unit.wake((account_id,))
                if touched is not None and isinstance(touched[0], list):
                    unit.wake(touched[0])
        except psycopg.errors.LockNotAvailable:
            if not tries_left:
                raise
            await clock.sleep(RETRY_S)
        else:
            return count
    raise AssertionError("the last try returns or raises")


async def set_conflict_rules(
    database: Database,
    clock: Clock,
    merchant_id: int,
    account_id: int,
    *,
    price: Rule | None = None,
    quantity: Rule | None = None,
    sweep_interval_s: int | None = None,
    actor: str,
) -> ConflictRules:
    """From the next edit on; None leaves a rule as it is. Open questions stay open."""
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    async with database.merchant(merchant_id) as unit:
        row = await unit.row(
            "conflict.set_rules",
            key | {"price": price, "quantity": quantity, "interval_s": sweep_interval_s},
        )
        assert row is not None, "the caller has just read the account"
        rules = ConflictRules(price=row[0], quantity=row[1], sweep_interval_s=row[2])
        facts = {"account_id": account_id, **msgspec.structs.asdict(rules)}
        await unit.run(
            "catalog.add_audit",
            key
            | {
                "now": clock.now(),
                "actor": actor,
                "action": "account.conflict_rule",
                "facts": msgspec.json.encode(facts).decode(),
            },
        )
    return rules
