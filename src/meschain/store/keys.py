"""Data keys of merchants: made on first need, kept sealed, opened once a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database
    from meschain.store.vault import Vault


class DataKeys:
    """The current and the older data keys of each merchant."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        """Keys are loaded lazily."""
        self.vault = vault
        self._database = database
        self._clock = clock
        self._current: dict[int, int] = {}

    async def current(self, merchant_id: int) -> int:
        """The number of the key that new records of the merchant are sealed with, loaded."""
        if merchant_id not in self._current:
            await self._load(merchant_id)
        return self._current[merchant_id]

    async def open(self, merchant_id: int, key_number: int, purpose: str, sealed: bytes) -> bytes:
        """Open a record, loading its key when needed. Raises VaultLocked."""
        if not self.vault.has_key(merchant_id, key_number):
            await self._load(merchant_id)
        return self.vault.open(merchant_id, key_number, purpose, sealed)

    async def _load(self, merchant_id: int) -> None:
        params: dict[str, object] = {"merchant": merchant_id}
        async with self._database.merchant(merchant_id) as unit:
            rows = await unit.rows("account.data_keys", params)
            if not rows:
                wrapped = self.vault.new_data_key(merchant_id, 1)
                await unit.run(
                    "account.add_data_key",
                    params | {"key_number": 1, "wrapped": wrapped, "now": self._clock.now()},
                )
                # Another process may have been first: what stands in the table counts.
                rows = await unit.rows("account.data_keys", params)
        for key_number, wrapped in rows:
            self.vault.load_data_key(merchant_id, key_number, bytes(wrapped))
            self._current[merchant_id] = max(key_number, self._current.get(merchant_id, 0))
