"""The master key: replaced beside a running hub, and what is left when it is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from meschain.store.vault import Vault, VaultLocked, write_master_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meschain.channel.clock import Clock
    from meschain.store.unit_of_work import Database


@dataclass(frozen=True, slots=True)
class KeyState:
    """How many data keys the newest master key opens, how many an older one, how many none."""

    newest: int
    older: int
    locked: int


async def read_key_state(database: Database, vault: Vault, merchants: Sequence[int]) -> KeyState:
    """Try every data key."""
    newest = older = locked = 0
    for merchant_id in merchants:
        async with database.merchant(merchant_id) as unit:
            rows = await unit.rows("account.data_keys", {"merchant": merchant_id})
        for key_number, wrapped in rows:
            try:
                is_older = vault.rewrap(merchant_id, key_number, bytes(wrapped)) is not None
            except VaultLocked:
                locked += 1
            else:
                older += is_older
                newest += not is_older
    return KeyState(newest, older, locked)


async def rotate(
    database: Database, clock: Clock, path: Path, merchants: Sequence[int], *, actor: str
) -> int:
    """Make a new master key and seal every data key with it; returns how many.

    Hubs go on: each has its data keys open, and reads the file again when one does not open. The
    older keys stay in the file, behind the new one, for backups made before. Run again after it was
    killed, it finds what was not yet sealed anew. Raises VaultLocked.
    """
    vault = Vault.at(path)
    state = await read_key_state(database, vault, merchants)
    if state.locked:
        raise VaultLocked(str(path))
    if not state.older:
        write_master_keys(path, vault.with_new_key())
        vault = Vault.at(path)
    for merchant_id in merchants:
        key: dict[str, object] = {"merchant": merchant_id}
        async with database.merchant(merchant_id) as unit:
            for key_number, wrapped in await unit.rows("account.lock_data_keys", key):
                anew = vault.rewrap(merchant_id, key_number, bytes(wrapped))
                if anew is not None:
                    await unit.run(
                        "account.put_data_key", key | {"key_number": key_number, "wrapped": anew}
                    )
            await unit.run(
                "catalog.add_audit",
                key
                | {
                    "now": clock.now(),
                    "actor": actor,
                    "action": "key.rotate",
                    "facts": msgspec.json.encode({"fingerprint": vault.fingerprint}).decode(),
                },
            )
    return (await read_key_state(database, vault, merchants)).newest


async def forget_older(database: Database, path: Path, merchants: Sequence[int]) -> int:
    """Drop the replaced master keys from the file; returns how many.

    Raises VaultLocked when anything in the database still needs one of them.
    """
    vault = Vault.at(path)
    state = await read_key_state(database, vault, merchants)
    if state.older or state.locked:
        raise VaultLocked(str(path))
    write_master_keys(path, vault.newest)
    return vault.replaced


async def give_up(
    database: Database, clock: Clock, path: Path, merchants: Sequence[int], *, actor: str
) -> int:
    """After the master key was lost: forget what nothing opens; returns the accounts to reconnect.

    A file at ``path`` that is no help is put aside, and a new master key is made.
    """
    _put_aside(path, f"lost-{clock.now():%Y%m%d%H%M%S}")
    Vault.at(path)
    accounts = 0
    for merchant_id in merchants:
        key: dict[str, object] = {"merchant": merchant_id}
        async with database.merchant(merchant_id) as unit:
            for name in (
                "forget_sealed",
                "forget_webhooks",
                "forget_deliveries",
                "forget_data_keys",
            ):
                await unit.run(f"account.{name}", key)
            found = len(await unit.rows("account.must_reconnect", key))
            accounts += found
            await unit.run(
                "catalog.add_audit",
                key
                | {
                    "now": clock.now(),
                    "actor": actor,
                    "action": "key.lost",
                    "facts": msgspec.json.encode({"accounts": found}).decode(),
                },
            )
    return accounts


def _put_aside(path: Path, mark: str) -> None:
    if path.exists():
        path.replace(path.with_name(f"{path.name}.{mark}"))
