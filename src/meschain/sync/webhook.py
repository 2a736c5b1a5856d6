"""Webhooks in: recorded and answered at once, taken in afterwards; kept alive on the other side.

A delivery is an observation like a pulled page (ADR 0005): losing, doubling or delaying one costs
time, never an order. So nothing here repeats, orders or counts deliveries.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from meschain.channel.clock import microseconds
from meschain.channel.contract import Call, LeaseExpired, Priority, WebhookDelivery, WebhookSecret
from meschain.channel.http import TransportLost
from meschain.channel.outcome import Problem
from meschain.store.unit_of_work import DATABASE_AWAY
from meschain.store.vault import VaultLocked
from meschain.sync.account import Lease
from meschain.sync.ownership import Claimed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meschain.channel.clock import Clock
    from meschain.channel.contract import Channel
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database
    from meschain.sync.account import ServedAccount
    from meschain.sync.engine import Engine, OpenAccount

log = logging.getLogger(__name__)

SECRET: Final = "webhook.secret"  # noqa: S105 – what the seal is for, no secret
DELIVERY: Final = "webhook.delivery"
POLL_S: Final = 1.0  # deliveries recorded by others, or left behind, are looked for so often
KEPT_S: Final = 60.0  # handled deliveries hold buyers' data and go soon
FORGET_EVERY_S: Final = 20.0
CHECK_EVERY_S: Final = 600.0  # a marketplace switches webhooks off after failures of ours
PENDING_S: Final = 3_600.0  # a registration that nobody confirmed is given up
HANDLING_MAX: Final = 256  # deliveries under way at once in this process; the rest waits recorded
FORGED_MAX: Final = 5  # wrong secrets within the window before the owner is told
FORGED_WINDOW_S: Final = 600.0
CHANNELS_MAX: Final = 1_000  # accounts of other processes whose channel is kept for verifying

PENDING: Final = "pending:"  # begins the id of a webhook that the marketplace has not named yet

FORGED_ALERT: Final = "alert.webhook.forged"
UNREADABLE_ALERT: Final = "alert.webhook.unreadable"
MISSING_ALERT: Final = "alert.webhook.missing"


class Receipt(Enum):
    """What became of an incoming request."""

    RECORDED = "recorded"
    FORGED = "forged"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class _Recorded:
    merchant_id: int
    account_id: int
    inbox_id: int
    delivery: WebhookDelivery


class Webhooks:
    """Receives for every account of the hub, takes in for those that this process serves."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        clock: Clock,
        engine: Engine,
        open_account: OpenAccount,
    ) -> None:
        """One a process, owned by its engine."""
        self._database = database
        self._keys = keys
        self._clock = clock
        self._engine = engine
        self._open_account = open_account
        self._channels: dict[int, Channel] = {}  # of accounts that other processes serve
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._handled: list[_Recorded] = []  # taken in, not yet marked so
        self._forgeries: dict[int, list[float]] = {}  # account → when, monotonic
        self.received = 0
        self.taken = 0

    # — receiving —

    async def receive(self, path_token: str, delivery: WebhookDelivery) -> Receipt:
        """Record a delivery that carries the registered secret; taking it in begins right after."""
        async with self._database.engine() as unit:
            row = await unit.row("webhook.by_token", {"path_token": path_token})
        if row is None:
            return Receipt.UNKNOWN
        merchant_id, account_id, webhook_id, sealed, key_number = row
        channel = await self._channel(merchant_id, account_id)
        if channel is None:
            return Receipt.UNKNOWN
        secret = msgspec.json.decode(
            await self._keys.open(merchant_id, key_number, SECRET, bytes(sealed)),
            type=WebhookSecret,
        )
        if not channel.verify_webhook(delivery, secret):
            await self._count_forgery(merchant_id, account_id, webhook_id)
            return Receipt.FORGED
        key_number = await self._keys.current(merchant_id)
        document = msgspec.msgpack.encode(delivery)
        async with self._database.engine() as unit:
            recorded = await unit.row(
                "inbound.put_delivery",
                {
                    "merchant": merchant_id,
                    "account": account_id,
                    "received_us": microseconds(self._clock.now()),
                    "body_sealed": self._keys.vault.seal(
                        merchant_id, key_number, DELIVERY, document
                    ),
                    "key_number": key_number,
                },
            )
        assert recorded is not None
        self.received += 1
        self._begin(_Recorded(merchant_id, account_id, recorded[0], delivery))
        return Receipt.RECORDED

    async def _channel(self, merchant_id: int, account_id: int) -> Channel | None:
        """The account's channel; without a lease of ours it verifies and can send nothing."""
        served = self._engine.account(account_id)
        if served is not None:
            return served.channel
        if account_id not in self._channels:
            account = await self._open_account(
                Claimed(merchant_id, account_id, Lease(epoch=0, until_s=0.0), None)
            )
            if account is None:
                return None
            if len(self._channels) >= CHANNELS_MAX:
                self._channels.clear()
            self._channels[account_id] = account.channel
        return self._channels[account_id]

    async def _count_forgery(self, merchant_id: int, account_id: int, webhook_id: str) -> None:
        now_s = self._clock.monotonic_s()
        recent = [
            at_s for at_s in self._forgeries.get(account_id, ()) if at_s > now_s - FORGED_WINDOW_S
        ]
        recent.append(now_s)
        log.warning("webhook delivery with a wrong secret", extra={"account": account_id})
        if len(recent) >= FORGED_MAX:
            recent = []
            await self._alert(
                FORGED_ALERT, merchant_id, account_id, webhook_id, {"count": FORGED_MAX}
            )
        self._forgeries[account_id] = recent

    # — taking in —

    def _begin(self, recorded: _Recorded) -> None:
        if self._engine.account(recorded.account_id) is None:
            return  # the process that serves it looks once a second
        if len(self._under_way) >= HANDLING_MAX:
            return  # recorded is safe; our own next look takes it in
        if recorded.inbox_id not in self._under_way:
            task = asyncio.create_task(self._handle(recorded))
            self._under_way[recorded.inbox_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(recorded.inbox_id, None))

    async def _handle(self, recorded: _Recorded) -> None:
        try:
            if not await self._engine.deliver(recorded.account_id, recorded.delivery):
                return
        except Exception as defect:
            # A process edge: whatever a body holds, it must not stop those of others.
            if _is_database_away(defect):
                log.warning("webhook waits for the database", extra={"error": str(defect)})
                return  # it stays recorded and is tried again
            log.exception("webhook cannot be taken in", extra={"account": recorded.account_id})
            await self._set_aside(recorded)
        self.taken += 1
        self._handled.append(recorded)

    async def _set_aside(self, recorded: _Recorded) -> None:
        """Nothing can be made of it: the pull tells what it meant; the owner hears that it came."""
        served = self._engine.account(recorded.account_id)
        if served is not None:
            served.poll_orders.set()
        try:
            await self._alert(
                UNREADABLE_ALERT,
                recorded.merchant_id,
                recorded.account_id,
                str(recorded.account_id),
                {},
            )
        except DATABASE_AWAY as away:
            log.warning("alert was not stored", extra={"error": str(away)})

    async def run_inbox(self) -> None:
        """Take in what was left behind and forget what was handled, until cancelled."""
        forget_at_s = 0.0
        try:
            while True:
                await self.take_left_behind()
                now_s = self._clock.monotonic_s()
                if now_s >= forget_at_s:
                    forget_at_s = now_s + FORGET_EVERY_S
                    await self._forget()
                await self._clock.sleep(POLL_S)
        finally:
            under_way = list(self._under_way.values())
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def run_checks(self) -> None:
        """Keep the registrations of served accounts alive, until cancelled."""
        while True:
            for account in self._engine.accounts:
                await self.check(account)
            await self._clock.sleep(CHECK_EVERY_S)

    async def take_left_behind(self) -> int:
        """Mark what was handled, then take in what is recorded and unhandled; returns how many."""
        accounts = self._engine.accounts
        handled, self._handled = self._handled, []
        try:
            async with self._database.engine() as unit:
                if handled:
                    await unit.run(
                        "webhook.handled",
                        {
                            "merchants": [each.merchant_id for each in handled],
                            "accounts": [each.account_id for each in handled],
                            "inboxes": [each.inbox_id for each in handled],
                            "now_us": microseconds(self._clock.now()),
                        },
                    )
                rows = await unit.rows(
                    "webhook.unhandled",
                    _keys(accounts)
                    | {
                        "under_way": list(self._under_way),
                        "limit": HANDLING_MAX - len(self._under_way),
                    },
                )
        except BaseException:
            self._handled = handled + self._handled
            raise
        just_handled = {each.inbox_id for each in self._handled}
        for merchant_id, account_id, inbox_id, sealed, key_number in rows:
            if inbox_id in just_handled:
                continue
            try:
                document = await self._keys.open(merchant_id, key_number, DELIVERY, bytes(sealed))
            except VaultLocked:
                log.exception("webhook delivery does not open", extra={"account": account_id})
                document = msgspec.msgpack.encode(WebhookDelivery({}, b""))  # the pull will tell
            delivery = msgspec.msgpack.decode(document, type=WebhookDelivery)
            self._begin(_Recorded(merchant_id, account_id, inbox_id, delivery))
        return len(rows)

    async def _forget(self) -> None:
        before_us = microseconds(self._clock.now()) - int(KEPT_S * 1_000_000)
        async with self._database.engine() as unit:
            await unit.run(
                "webhook.forget_handled", _keys(self._engine.accounts) | {"before_us": before_us}
            )

    # — registrations —

    async def check(self, account: ServedAccount) -> None:
        """Bring our rows and the marketplace's list together; wake what it has put to sleep."""
        key: dict[str, object] = {
            "merchant": account.merchant_id,
            "account": account.account_id,
        }
        async with self._database.engine() as unit:
            rows = await unit.rows("webhook.of_account", key)
        if not rows or not account.has_lease:
            return
        call = Call(Priority.BULK, guard=account)
        try:
            listed = await account.channel.list_webhooks(call)
            if isinstance(listed, Problem):
                log.info("webhooks cannot be listed", extra={"account": account.account_id})
                return
            theirs = {webhook.url: webhook for webhook in listed}
            for webhook_id, url, _, was_active, created_at in rows:
                known = theirs.get(url)
                if known is None:
                    age_s = (self._clock.now() - created_at).total_seconds()
                    await self._miss(key, url, webhook_id, is_given_up=age_s > PENDING_S)
                    continue
                is_active = known.is_active
                if not is_active:
                    outcome = await account.channel.activate_webhook(known.webhook_id, call)
                    is_active = not isinstance(outcome, Problem)
                    log.warning(
                        "webhook was passive",
                        extra={"account": account.account_id, "is_active": is_active},
                    )
                if (known.webhook_id, is_active) != (webhook_id, was_active):
                    async with self._database.engine() as unit:
                        await unit.run(
                            "webhook.confirm",
                            key | {"url": url, "webhook": known.webhook_id, "is_active": is_active},
                        )
        except (LeaseExpired, TransportLost) as lost:
            log.info("webhooks were not checked", extra={"error": str(lost)})

    async def _miss(
        self, key: dict[str, object], url: str, webhook_id: str, *, is_given_up: bool
    ) -> None:
        """The marketplace does not list it: registered just now, never registered, or deleted."""
        if not is_given_up:
            return
        async with self._database.engine() as unit:
            await unit.run("webhook.forget", key | {"url": url})
        if webhook_id.startswith(PENDING):
            return
        merchant_id, account_id = int(str(key["merchant"])), int(str(key["account"]))
        await self._alert(MISSING_ALERT, merchant_id, account_id, webhook_id, {})

    async def _alert(
        self,
        kind: str,
        merchant_id: int,
        account_id: int,
        subject: str,
        params: dict[str, int],
    ) -> None:
        async with self._database.engine() as unit:
            await unit.run(
                "inbound.raise_alert",
                {
                    "merchant": merchant_id,
                    "account": account_id,
                    "kind": kind,
                    "subject": subject,
                    "params": msgspec.json.encode(params).decode(),
                    "now_us": microseconds(self._clock.now()),
                },
            )


def _keys(accounts: Sequence[ServedAccount]) -> dict[str, object]:
    return {
        "merchants": sorted({account.merchant_id for account in accounts}),
        "accounts": [account.account_id for account in accounts],
    }


def _is_database_away(defect: BaseException) -> bool:
    if isinstance(defect, BaseExceptionGroup):
        return any(_is_database_away(each) for each in defect.exceptions)
    return isinstance(defect, DATABASE_AWAY)
