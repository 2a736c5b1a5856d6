"""The master key: replaced beside a running hub, and what is left when it is lost."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from meschain.store.vault import MasterKeyInvalid, Vault, VaultLocked, write_master_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    with _alone(path):
        vault = Vault.at(path)
        state = await read_key_state(database, vault, merchants)
        if state.locked:
            raise VaultLocked(str(path))
        if not state.older:
            write_master_keys(path, vault.with_new_key())
            vault = Vault.at(path)
        for merchant_id in merchants:
            await _seal_anew(database, clock, vault, merchant_id, actor=actor)
        return (await read_key_state(database, vault, merchants)).newest


async def _seal_anew(
    database: Database, clock: Clock, vault: Vault, merchant_id: int, *, actor: str
) -> None:
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


async def forget_older(database: Database, path: Path, merchants: Sequence[int]) -> int:
    """Drop the replaced master keys from the file; returns how many.

    Raises VaultLocked when anything in the database still needs one of them.
    """
    with _alone(path):
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

    A file at ``path`` that is no help is put aside, and a new master key is made. No hub may run:
    it would go on sealing with the data keys that it has open. Run again after it was killed, it
    goes on with the merchants that are left.
    """
    with _alone(path):
        vault = usable(path)
        lost, opened = list(merchants), 0
        if vault is not None:
            states = {each: await read_key_state(database, vault, [each]) for each in merchants}
            lost = [each for each, state in states.items() if state.locked]
            opened = sum(state.newest + state.older for state in states.values())
        if not opened:
            _put_aside(path, f"lost-{clock.now():%Y%m%d%H%M%S}")
        Vault.at(path)
        return sum([await _forget(database, clock, each, actor=actor) for each in lost])


def usable(path: Path) -> Vault | None:
    """The vault of the file, unless it is missing or holds no master key."""
    try:
        return Vault(path.read_bytes())
    except (FileNotFoundError, MasterKeyInvalid):
        return None


async def _forget(database: Database, clock: Clock, merchant_id: int, *, actor: str) -> int:
    key: dict[str, object] = {"merchant": merchant_id}
    async with database.merchant(merchant_id) as unit:
        for name in ("forget_sealed", "forget_webhooks", "forget_deliveries", "forget_data_keys"):
            await unit.run(f"account.{name}", key)
        accounts = len(await unit.rows("account.must_reconnect", key))
        await unit.run(
            "catalog.add_audit",
            key
            | {
                "now": clock.now(),
                "actor": actor,
                "action": "key.lost",
                "facts": msgspec.json.encode({"accounts": accounts}).decode(),
            },
        )
    return accounts


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One at a time.

    Of two that replace the file, one would lose the other's key, and all that it has just sealed.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _put_aside(path: Path, mark: str) -> None:
    if path.exists():
        path.replace(path.with_name(f"{path.name}.{mark}"))
