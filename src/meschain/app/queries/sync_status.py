"""Lane health for a reader outside the serving process: what the database tells of the lanes."""

from collections.abc import Sequence
from typing import Final

import msgspec

from meschain.app.queries.health import Percentiles, StatusView, percentiles, read_status
from meschain.channel.clock import Clock, microseconds
from meschain.store.unit_of_work import Database, UnitOfWork
from meschain.sync.notify import ASK_CHANNEL, CHANNEL

_NEWEST_TICKETS: Final = 20_000
_SAMPLES: Final = 500
_ACCOUNTS_A_HINT: Final = 700  # a hint of PostgreSQL holds less than 8,000 bytes


class RequestTimes(msgspec.Struct, frozen=True):
    """Of the last answered requests: claimed → accepted, and what the pacer held back of it."""

    answered: Percentiles
    paced: Percentiles


class SyncStatus(msgspec.Struct, frozen=True, kw_only=True):
    """``status`` as the serving hub measured it where one runs (``is_measured``)."""

    status: StatusView
    is_measured: bool
    requests: dict[int, RequestTimes]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an account is: offers to send, requests under way, orders known up to."""

    account_id: int
    name: str
    dirty: int
    tickets: int
    fresh_us: int
    last_run_us: int | None
    last_error: str | None
    state: str
    is_served: bool


async def read_sync_status(
    database: Database, clock: Clock, merchant_id: int, *, measured: StatusView | None = None
) -> SyncStatus:
    """``measured``: the status as a running hub told it over its API."""
    status = measured or await read_status(database, clock, merchant_id, ())
    async with database.merchant(merchant_id) as unit:
        rows = await unit.rows(
            "plan.ticket_times",
            {"merchant": merchant_id, "newest": _NEWEST_TICKETS, "limit": _SAMPLES},
        )
    answered: dict[int, list[int]] = {}
    paced: dict[int, list[int]] = {}
    for account_id, answered_us, paced_us in rows:
        answered.setdefault(account_id, []).append(answered_us)
        paced.setdefault(account_id, []).append(paced_us or 0)
    return SyncStatus(
        status=status,
        is_measured=measured is not None,
        requests={
            account_id: RequestTimes(percentiles(times), percentiles(paced[account_id]))
            for account_id, times in answered.items()
        },
    )


async def read_progress(
    database: Database, clock: Clock, merchant_id: int, account_id: int | None
) -> list[Progress]:
    """Of one account, or of all."""
    async with database.merchant(merchant_id) as unit:
        records = await unit.records(
            "plan.progress",
            {
                "merchant": merchant_id,
                "account": account_id,
                "now_us": microseconds(clock.now()),
            },
        )
    return [msgspec.convert(record, Progress) for record in records]


async def wake(database: Database, merchant_id: int, account_ids: Sequence[int]) -> None:
    """Have the serving processes look at these accounts now."""
    async with database.merchant(merchant_id) as unit:
        await _hint(unit, CHANNEL, account_ids)


async def ask(database: Database, merchant_id: int, account_ids: Sequence[int]) -> None:
    """Have the serving processes run all lanes of these accounts now, order pulls too."""
    async with database.merchant(merchant_id) as unit:
        await unit.run("plan.make_due", {"merchant": merchant_id, "accounts": list(account_ids)})
        await _hint(unit, ASK_CHANNEL, account_ids)


async def _hint(unit: UnitOfWork, channel: str, account_ids: Sequence[int]) -> None:
    for start in range(0, len(account_ids), _ACCOUNTS_A_HINT):
        payload = ",".join(map(str, account_ids[start : start + _ACCOUNTS_A_HINT]))
        await unit.run("plan.wake", {"channel": channel, "payload": payload})
