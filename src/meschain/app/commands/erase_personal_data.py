"""Erase what is known of buyers: when its time is over, or when one of them asks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.queries.personal_data import BATCH, older, read_asked, read_terms
from meschain.channel.clock import microseconds

if TYPE_CHECKING:
    from meschain.app.queries.personal_data import Found, FoundPast
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database, UnitOfWork

ACTION: Final = "personal_data.erase"
DELIVERIES_KEPT: Final = timedelta(days=1)  # by a hub that runs they are gone within minutes


class Request(msgspec.Struct, frozen=True):
    """An order whose buyer asked. ``account_id`` 0: a past order, of ``source``."""

    merchant_id: int
    account_id: int
    source: str
    number: str
    asked_at: datetime


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. ``left``: rows that still hold something; 0, or there is a defect."""

    at: datetime
    orders: list[int] = []
    past_orders: int = 0
    left: int = 0


async def erase_due(
    database: Database, clock: Clock, merchant_id: int, *, actor: str
) -> dict[str, int]:
    """Erase what is older than its account's term, and what was asked for and has ended since.

    Orders by account; "" stands for those that were asked for. Cut short, the rest is done by
    repeating it: each batch is a transaction with its own line in the audit.
    """
    now = clock.now()
    done: dict[str, int] = {}
    for term in await read_terms(database, merchant_id):
        async for page in older(database, merchant_id, term, now):
            ended = [order.order_id for order in page if order.has_ended]
            facts = {"reason": "term", "account_id": term.account_id, "days": term.days}
            erased = await _erase(database, merchant_id, ended, facts, now, actor)
            if erased:
                done[term.account] = done.get(term.account, 0) + len(erased)
    asked = [each.order_id for each in await read_asked(database, merchant_id) if each.has_ended]
    for at in range(0, len(asked), BATCH):
        erased = await _erase(
            database, merchant_id, asked[at : at + BATCH], {"reason": "request"}, now, actor
        )
        done[""] = done.get("", 0) + len(erased)
    async with database.merchant(merchant_id) as unit:
        await _erase_past(unit, now, actor)
        await _forget_deliveries(unit, now - DELIVERIES_KEPT)
    return done


async def erase_on_request(
    database: Database,
    clock: Clock,
    merchant_id: int,
    orders: Sequence[Found],
    past: Sequence[FoundPast],
    *,
    log: Path,
    actor: str,
) -> Erased:
    """Erase these orders' buyers; those that have not ended are erased as soon as they have.

    What was erased before is looked at again. The requests go into ``log`` first, so that a
    restored backup of an earlier time can be told.
    """
    now = clock.now()
    requests = [Request(merchant_id, each.account_id, "", each.number, now) for each in orders]
    requests += [Request(merchant_id, 0, each.source, each.number, now) for each in past]
    write_requests(log, requests)
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        await unit.run(
            "personal_data.ask",
            key
            | {
                "now": now,
                "accounts": [each.account_id for each in requests],
                "sources": [each.source for each in requests],
                "numbers": [each.number for each in requests],
            },
        )
    erased: list[int] = []
    for at in range(0, len(orders), BATCH):
        batch = [each.order_id for each in orders[at : at + BATCH]]
        facts = {"reason": "request"}
        erased += await _erase(database, merchant_id, batch, facts, now, actor)
    async with database.merchant(merchant_id) as unit:
        past_orders = await _erase_past(unit, now, actor)
        accounts = sorted({each.account_id for each in orders})
        await _forget_deliveries(unit, now, accounts)
    async with database.merchant(merchant_id) as unit:
        order_ids = [each.order_id for each in orders]
        row = await unit.row("personal_data.left", key | {"orders": order_ids})
    assert row is not None
    return Erased(at=now, orders=erased, past_orders=past_orders, left=int(row[0]))


async def set_term(
    database: Database, clock: Clock, merchant_id: int, account_id: int, days: int, *, actor: str
) -> None:
    """Keep buyers' data of this account so long after an order's last change."""
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id, "days": days}
    facts: dict[str, object] = {"account_id": account_id, "days": days}
    async with database.merchant(merchant_id) as unit:
        await unit.run("personal_data.set_term", key)
        await _write_down(unit, "personal_data.term", facts, clock.now(), actor)


async def _erase(
    database: Database,
    merchant_id: int,
    orders: Sequence[int],
    facts: Mapping[str, object],
    now: datetime,
    actor: str,
) -> list[int]:
    """One batch; the audit names orders by our own ids."""
    if not orders:
        return []
    params = {"merchant": merchant_id, "orders": list(orders), "now": now}
    async with database.merchant(merchant_id) as unit:
        row = await unit.row("personal_data.erase", params)
        assert row is not None
        erased: list[int] = row[0]
        if erased:
            await _write_down(unit, ACTION, {**facts, "orders": erased}, now, actor)
    return erased


async def _erase_past(unit: UnitOfWork, now: datetime, actor: str) -> int:
    """Customers' numbers of past orders that somebody asked for."""
    params = {"merchant": unit.merchant_id, "now": now}
    rows = await unit.rows("personal_data.erase_past", params)
    if rows:
        facts = {"reason": "request", "past_orders": sorted(row[0] for row in rows)}
        await _write_down(unit, ACTION, facts, now, actor)
    return len(rows)


async def _forget_deliveries(
    unit: UnitOfWork, before: datetime, accounts: Sequence[int] | None = None
) -> None:
    params = {
        "merchant": unit.merchant_id,
        "before_us": microseconds(before),
        "accounts": None if accounts is None else list(accounts),
    }
    await unit.run("personal_data.forget_deliveries", params)


async def _write_down(
    unit: UnitOfWork, action: str, facts: Mapping[str, object], now: datetime, actor: str
) -> None:
    said = msgspec.json.encode(facts).decode()
    params = {"merchant": unit.merchant_id, "action": action, "facts": said, "actor": actor}
    await unit.run("catalog.add_audit", params | {"now": now})


# — beside the database, for the day on which an older one takes its place —


def write_requests(path: Path, requests: Iterable[Request]) -> None:
    """Add lines to the file, on the disk when this returns. Raises OSError."""
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in requests)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(descriptor)


def read_requests(path: Path) -> list[Request]:
    """What was ever asked of this hub. A line that was cut by a full disk is left out."""
    found: list[Request] = []
    if path.exists():
        for line in path.read_bytes().splitlines():
            try:
                found.append(msgspec.json.decode(line, type=Request))
            except msgspec.MsgspecError:
                continue
    return found
