"""Add a channel account: credentials are tried before they are saved, and it starts read-only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import Clock, microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.channel.capability import Manifest
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

CREDENTIALS: Final = "account.credentials"
PERSONAL_DAYS: Final = 180  # after an order's end, where nobody states another time; ours


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What the merchant gives. ``credentials`` by the manifest's names."""

    marketplace: str
    name: str
    base_urls: Mapping[str, str]
    credentials: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    tier: str = ""
    is_live: bool = False


async def add_account(
    database: Database,
    keys: DataKeys,
    clock: Clock,
    merchant_id: int,
    manifest: Manifest,
    account: NewAccount,
) -> int:
    """Store the account, read-only, with sealed credentials; returns its id.

    Trying the credentials is the caller's first step (``check_credentials`` of the channel).
    Raises ``psycopg.errors.UniqueViolation`` when the name is taken.
    """
    now = clock.now()
    sealed = await _sealed(keys, merchant_id, account.credentials)
    async with database.merchant(merchant_id) as unit:
        row = await unit.row(
            "account.add",
            {
                "merchant": merchant_id,
                "marketplace": account.marketplace,
                "name": account.name,
                "is_live": account.is_live,
                "tier": account.tier or manifest.default_tier,
                "base_urls": msgspec.json.encode(dict(account.base_urls)).decode(),
                "settings": msgspec.json.encode(dict(account.settings)).decode(),
                "quantity_max": manifest.offers.quantity_max,
                "lowers_own_shelf": manifest.offers.shelf_decrement == "at_order",
                "personal_days": min(
                    PERSONAL_DAYS, manifest.orders.personal_days_max or PERSONAL_DAYS
                ),
                "now": now,
            },
        )
        assert row is not None
        account_id = int(row[0])
        key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
        await unit.run("account.put_credential", key | sealed | {"now": now})
        await unit.run("account.add_ownership", key)
        await unit.run("account.add_lanes", key)
        await unit.run("account.add_cursor", key | {"covered_us": microseconds(now)})
    return account_id


async def let_go_of_account(database: Database, merchant_id: int, account_id: int) -> None:
    """Have whoever serves the account stop, until ``reconnect_account`` gives it back."""
    async with database.merchant(merchant_id) as unit:
        await unit.run(
            "account.set_state",
            {
                "merchant": merchant_id,
                "account": account_id,
                "state": "reconnect",
                "only_from": ["armed", "read_only", "paused"],
            },
        )


async def reconnect_account(
    database: Database,
    keys: DataKeys,
    clock: Clock,
    merchant_id: int,
    account_id: int,
    credentials: Mapping[str, str],
    *,
    state: str,
    actor: str,
) -> None:
    """Replace the credentials and let the account be served again, in ``state``.

    Trying them is the caller's first step. A process that has seen "reconnect" opens the account
    anew.
    """
    now = clock.now()
    key: dict[str, object] = {"merchant": merchant_id, "account": account_id}
    sealed = await _sealed(keys, merchant_id, credentials)
    facts = msgspec.json.encode({"account_id": account_id, "state": state}).decode()
    audit = {"action": "account.reconnect", "actor": actor, "facts": facts, "now": now}
    async with database.merchant(merchant_id) as unit:
        await unit.run("account.put_credential", key | sealed | {"now": now})
        await unit.run("account.set_state", key | {"state": state, "only_from": ["reconnect"]})
        await unit.run("catalog.add_audit", key | audit)


async def _sealed(
    keys: DataKeys, merchant_id: int, credentials: Mapping[str, str]
) -> dict[str, object]:
    number = await keys.current(merchant_id)
    document = msgspec.json.encode(dict(credentials))
    return {
        "sealed": keys.vault.seal(merchant_id, number, CREDENTIALS, document),
        "key_number": number,
    }
