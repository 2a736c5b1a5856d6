"""Leases: which process speaks for which account. Rows here are never touched by a sale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.sync.account import Lease, ServedAccount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database

LEASE_S: Final = 8.0
RENEW_S: Final = 2.0
MARGIN_S: Final = 1.0  # we stop speaking so long before others may begin
CLAIM_MAX: Final = 50  # accounts in one claim; the next follows at once


@dataclass(frozen=True, slots=True)
class Claimed:
    """An account that this process now owns. ``pacer`` is its last owner's pacer state, JSON."""

    merchant_id: int
    account_id: int
    lease: Lease
    pacer: bytes | None


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

    async def renew(self, accounts: Iterable[ServedAccount], *, final: bool = False) -> set[int]:
        """Renew all leases that still stand; returns the accounts that are ours no longer.

        ``final``: for the last time, nothing will be sent any more. The next owner then need not
        reckon with calls that nobody has written down.
        """
        mine = list(accounts)
        if not mine:
            return set()
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
            if account.account_id in kept:
                account.lease = Lease(account.lease.epoch, now_s + LEASE_S - MARGIN_S)
        return {a.account_id for a in mine} - kept

    async def release(self) -> None:
        """Give everything back: the next process takes over at once."""
        async with self._database.engine() as unit:
            await unit.run("ownership.release", {"owner": self._owner})

    async def let_go(self, account: ServedAccount) -> None:
        """Give one account back."""
        async with self._database.engine() as unit:
            await unit.run(
                "ownership.let_go",
                {
                    "owner": self._owner,
                    "merchant": account.merchant_id,
                    "account": account.account_id,
                    "epoch": account.lease.epoch,
                },
            )
