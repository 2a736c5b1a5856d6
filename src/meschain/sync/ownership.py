"""Leases: which process speaks for which account, and which processes there are.

Rows here are never touched by a sale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.sync.account import Lease, ServedAccount
from meschain.sync.notify import FREE_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

LEASE_S: Final = 8.0
RENEW_S: Final = 2.0
MARGIN_S: Final = 1.0  # we stop speaking so long before others may begin
CLAIM_MAX: Final = 50  # accounts in one claim; the next follows at once
SETTLED_S: Final = 5.0  # nobody hands accounts to a worker that has not lived so long


@dataclass(frozen=True, slots=True)
class Claimed:
    """An account that this process now owns. ``pacer`` is its last owner's pacer state, JSON."""

    merchant_id: int
    account_id: int
    lease: Lease
    pacer: bytes | None


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that serves accounts and lives."""

    owner: str
    accounts_max: int
    is_settled: bool  # has lived for a while: one that starts and fails again and again has not


@dataclass(frozen=True, slots=True)
class Census:
    """Who serves and what is to be served, as of one moment."""

    workers: Sequence[Worker]  # the oldest first
    accounts: int
    free: int  # of them, those that nobody serves

    def share_of(self, owner: str, *, settled: bool = False) -> int | None:
        """How many accounts are this worker's; ``settled``: only settled ones count beside it.

        None for a worker that is not known to live.
        """
        workers = [w for w in self.workers if w.is_settled or w.owner == owner or not settled]
        parts = shares(self.accounts, [worker.accounts_max for worker in workers])
        owners = [worker.owner for worker in workers]
        return dict(zip(owners, parts, strict=True)).get(owner)


def shares(accounts: int, rooms: Sequence[int]) -> list[int]:
    """Even parts of ``accounts``, none above its room; what cannot be divided goes to the first.

    All workers come to the same parts, so an account that was handed over stays where it is.
    """
    parts = [0] * len(rooms)
    left = accounts
    order = sorted(range(len(rooms)), key=lambda place: (rooms[place], -place))
    for done, place in enumerate(order):
        parts[place] = min(rooms[place], left // (len(rooms) - done))
        left -= parts[place]
    return parts


class Ownership:
    """Claims and renews leases of accounts for one process."""

    def __init__(self, database: Database, clock: Clock, owner: str) -> None:
        """``owner`` is unique to this process."""
        self._database = database
        self._clock = clock
        self._owner = owner

    async def claim(
        self, limit: int = CLAIM_MAX, *, only: Collection[int] | None = None
    ) -> list[Claimed]:
        """Take over accounts (of ``only``) that nobody holds, each under a new epoch."""
        now_s, now_us = self._clock.monotonic_s(), microseconds(self._clock.now())
        async with self._database.engine() as unit:
            rows = await unit.rows(
                "ownership.claim",
                {
                    "owner": self._owner,
                    "now_us": now_us,
                    "lease_until_us": now_us + int(LEASE_S * 1_000_000),
                    "limit": limit,
                    "only": None if only is None else sorted(only),
                },
            )
        return [
            Claimed(
                merchant_id,
                account_id,
                Lease(epoch, now_s + LEASE_S - MARGIN_S),
                None if pacer is None else msgspec.json.encode(pacer),
            )
            for merchant_id, account_id, epoch, pacer in rows
        ]

    async def renew(
        self, accounts: Iterable[ServedAccount], *, final: bool = False
    ) -> list[ServedAccount]:
        """Renew all leases that still stand; returns the accounts that are ours no longer.

        ``final``: for the last time, nothing will be sent any more. The next owner then need not
        reckon with calls that nobody has written down.
        """
        mine = list(accounts)
        if not mine:
            return []
        now_s, now_us = self._clock.monotonic_s(), microseconds(self._clock.now())
        async with self._database.engine() as unit:
            rows = await unit.rows(
                "ownership.renew",
                {
                    "owner": self._owner,
                    "lease_until_us": now_us + int(LEASE_S * 1_000_000),
                    "merchants": [a.merchant_id for a in mine],
                    "accounts": [a.account_id for a in mine],
                    "epochs": [a.lease.epoch for a in mine],
                    "pacers": [
                        msgspec.json.encode(a.pacer.snapshot(final=final)).decode() for a in mine
                    ],
                },
            )
        kept = {account_id for _, account_id in rows}
        for account in mine:
            if account.account_id in kept and not account.is_dismissed:
                account.lease = Lease(account.lease.epoch, now_s + LEASE_S - MARGIN_S)
        return [account for account in mine if account.account_id not in kept]

    async def release(self) -> None:
        """Give everything back and be gone: others take over at once."""
        async with self._database.engine() as unit:
            await unit.run("ownership.leave", {"owner": self._owner})
            await unit.run("ownership.release", {"owner": self._owner})
            await unit.run("ownership.tell_free", {"channel": FREE_CHANNEL})

    async def hand_over(self, account: ServedAccount) -> None:
        """Give one account back, of which this process will send nothing any more."""
        state = msgspec.json.encode(account.pacer.snapshot(final=True)).decode()
        async with self._database.engine() as unit:
            await unit.run("ownership.hand_over", self._lease_of(account) | {"pacer": state})
            await unit.run("ownership.tell_free", {"channel": FREE_CHANNEL})

    async def let_go(self, account: ServedAccount) -> None:
        """Give one account back."""
        async with self._database.engine() as unit:
            await unit.run("ownership.let_go", self._lease_of(account))

    # — the workers —

    async def beat(self, accounts_max: int) -> None:
        """Say that this process lives and would serve so many accounts; as long as a lease."""
        now_us = microseconds(self._clock.now())
        await self._database.engine_rows(
            "ownership.beat",
            {
                "owner": self._owner,
                "accounts_max": accounts_max,
                "now_us": now_us,
                "until_us": now_us + int(LEASE_S * 1_000_000),
            },
        )

    async def census(self) -> Census:
        """Who lives and what there is to serve."""
        now_us = microseconds(self._clock.now())
        async with self._database.engine() as unit:
            workers = await unit.rows(
                "ownership.workers", {"now_us": now_us, "settled_us": int(SETTLED_S * 1_000_000)}
            )
            row = await unit.row("ownership.to_serve", {"now_us": now_us})
        assert row is not None
        return Census([Worker(*worker) for worker in workers], *row)

    def _lease_of(self, account: ServedAccount) -> dict[str, object]:
        return {
            "owner": self._owner,
            "merchant": account.merchant_id,
            "account": account.account_id,
            "epoch": account.lease.epoch,
        }
