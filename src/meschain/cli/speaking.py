"""Speaking to a marketplace on a command's behalf, and saying what it answered."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.app.commands.register_webhook import AccountWebhooks
from meschain.channel.contract import ItemOutcomes
from meschain.channel.outcome import (
    Accepted,
    ContractBroken,
    Done,
    NotSent,
    Refused,
    Throttled,
    Unauthorized,
    Unknown,
)
from meschain.cli.failure import Failure
from meschain.sync.account import Lease
from meschain.sync.engine import is_paused
from meschain.sync.ownership import RENEW_S, Claimed, Ownership
from meschain.sync.package_lane import PackageLane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meschain.app.queries.accounts import AccountRow
    from meschain.channel.outcome import Outcome
    from meschain.cli.session import Desk
    from meschain.messages import Catalog
    from meschain.sync.account import ServedAccount

# A command asks and acts; it never pushes offers, which is what a lease guards. It has none of its
# own, and its calls are bounded by their time-outs.
_SPEAKS_S: Final = 3_600.0
_DRAIN_S: Final = 2.0  # so long a request under way may take to end


async def opened_account(desk: Desk, account: AccountRow) -> ServedAccount:
    """The account's channel in this process. Raises Failure.

    Its pacer begins where the serving hub's was last stored, so that both stay within the quotas.
    """
    details = await account_details(desk, account)
    lease = Lease(details.epoch, desk.hub.clock.monotonic_s() + _SPEAKS_S)
    pacer = None if details.pacer is None else msgspec.json.encode(details.pacer)
    if pacer is None:
        # Nothing is known of what was sent. A single question may go all the same: taking every
        # window for full, as a new owner does, would keep the merchant waiting for minutes.
        lease = Lease(1, lease.until_s)
    claimed = Claimed(desk.merchant_id, account.account_id, lease, pacer)
    served = await desk.hub.open_account(claimed)
    if served is None:
        raise Failure("account_unservable", name=account.name)
    return served


@asynccontextmanager
async def carried_out(desk: Desk, account: AccountRow) -> AsyncIterator[None]:
    """While inside, the account's order lane works: in the hub that serves it, else here.

    Here under a lease of our own and with the pacer that the last owner left. Raises Failure.
    """
    hub = desk.hub
    owner = f"{desk.actor}:{os.getpid()}:{secrets.token_hex(4)}"
    ownership = Ownership(hub.database, hub.clock, owner)
    claimed = await ownership.claim(1, only=[account.account_id])
    if not claimed:
        await desk.wake()
        yield
        return
    try:
        served = await hub.open_account(claimed[0])
        if served is None:
            raise Failure("account_unservable", name=account.name)
        keys: dict[str, object] = {
            "merchants": [desk.merchant_id],
            "accounts": [account.account_id],
        }
        served.is_paused = is_paused(await hub.database.engine_rows("inbound.lane_schedules", keys))
        lane = PackageLane(hub.database, hub.keys, hub.clock)
        lane.serve(served)
        tasks = [
            asyncio.create_task(lane.run()),
            asyncio.create_task(_keep_lease(ownership, served)),
        ]
        try:
            yield
        finally:
            await lane.drain(_DRAIN_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # What we spent of its quotas, for the next owner; nothing is sent after it.
            await ownership.renew([served], final=True)
    finally:
        await ownership.release()


async def _keep_lease(ownership: Ownership, served: ServedAccount) -> None:
    while not await ownership.renew([served]):
        await served.clock.sleep(RENEW_S)
    served.is_dismissed = True


def webhooks_of(desk: Desk, account: AccountRow, served: ServedAccount) -> AccountWebhooks:
    """The webhooks of an account whose channel is open."""
    return AccountWebhooks(
        desk.hub.database,
        desk.hub.keys,
        desk.hub.clock,
        served.channel,
        merchant_id=desk.merchant_id,
        account_id=account.account_id,
    )


class AccountDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What ``account show`` knows beyond the list."""

    base_urls: dict[str, str]
    owner: str | None
    lease_until_us: int
    listings: int
    orders: int
    epoch: int
    pacer: dict[str, object] | None


async def account_details(desk: Desk, account: AccountRow) -> AccountDetails:
    """More about one account."""
    async with desk.hub.database.merchant(desk.merchant_id) as unit:
        records = await unit.records(
            "arm.details", {"merchant": desk.merchant_id, "account": account.account_id}
        )
    return msgspec.convert(records[0], AccountDetails)


def outcome_words(outcome: Outcome, words: Catalog) -> str:
    """An outcome in the marketplace's own words, with our advice behind."""
    match outcome:
        case Done() | Accepted():
            return words.text("outcome.done" if outcome == Done() else "outcome.accepted")
        case Refused(code="lacking"):
            return words.text(outcome.advice)
        case Refused():
            said = " ".join(part for part in (outcome.code, outcome.text) if part)
            refused = words.text("outcome.refused", text=said or "–")
            return f"{refused} {words.text(outcome.advice)}" if outcome.advice else refused
        case Throttled():
            return words.text("outcome.throttled")
        case Unauthorized():
            said = words.text("outcome.unauthorized")
            return f"{said} ({outcome.text})" if outcome.text else said
        case NotSent(reason="package_changed") | Unknown(evidence="package_changed"):
            return words.text("outcome.package_changed")
        case Unknown():
            said = words.text("outcome.unknown")
            return f"{said} ({outcome.text or outcome.evidence})"
        case NotSent():
            return words.text("outcome.not_sent", reason=outcome.reason)
        case ContractBroken():
            return f"{words.text('outcome.contract_broken')} ({outcome.detail})"


def item_words(outcome: Outcome | ItemOutcomes, words: Catalog) -> list[tuple[str, str]]:
    """Each item with what became of it; one entry under "" for an outcome of the whole."""
    if isinstance(outcome, ItemOutcomes):
        return [(key, outcome_words(each, words)) for key, each in sorted(outcome.items.items())]
    return [("", outcome_words(outcome, words))]
