"""The lanes: how they are, run now, rest, go on."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import aiohttp
import click
import msgspec

from meschain.app.commands.change_account import pause_lanes
from meschain.app.queries.health import StatusView
from meschain.app.queries.sync_status import (
    Progress,
    SyncStatus,
    ask,
    read_progress,
    read_sync_status,
)
from meschain.app.queries.view import instant
from meschain.channel.clock import microseconds
from meschain.cli.database import HubAddress
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import Group, Whole, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.wording import ages, milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from meschain.app.queries.health import AccountView
    from meschain.cli.session import Desk

_ASK_S: Final = 3.0
_LOOK_S: Final = 0.2
_ASK_AGAIN_S: Final = 1.0  # a hub that was pulling just then may have missed it


@click.group("sync", cls=Group)
def sync() -> None:
    pass


# — status —


@sync.command("status")
@for_merchant
@reports
@at_desk
async def status(desk: Desk) -> None:
    found = await read_sync_status(
        desk.hub.database,
        desk.hub.clock,
        desk.merchant_id,
        measured=await _measured(desk),
    )
    if desk.out.document(found):
        return
    if not found.status.accounts:
        desk.out.say("cli.account.none")
        return
    view = found.status
    desk.out.say(
        "cli.sync.head",
        style="bold",
        orders=view.orders.last_ten_minutes,
        backlog=view.backlog,
        problems=view.problems.offers + view.problems.listings + view.problems.alerts,
        propagation=milliseconds(desk.out, view.propagation),
    )
    desk.out.table(
        (
            "account", "state", "served", "backlog", "oldest", "tickets", "propagation",
            "answered", "error_rate", "consistency",
        ),
        [_account(desk, found, each) for each in view.accounts],
        right="backlog tickets propagation answered error_rate consistency",
    )  # fmt: skip
    desk.out.line()
    desk.out.table(
        ("account", "lane", "interval", "last_run", "next_run", "runs", "failures", "net"),
        [
            (
                account.name,
                desk.words.text(f"cli.lane.{lane.name}")
                + (" " + desk.words.text("cli.lane.rests") if lane.is_paused else ""),
                desk.words.text("cli.seconds", count=lane.interval_s),
                ages(desk.out, lane.last_run_at, view.at),
                _ahead(desk, lane.next_run_at, view),
                desk.out.number(lane.runs),
                desk.out.number(lane.failures),
                desk.out.number(lane.net_found),
            )
            for account in view.accounts
            for lane in account.lanes
        ],
        right="interval runs failures net",
    )
    _say_quotas_and_errors(desk, found)


async def _measured(desk: Desk) -> StatusView | None:
    """What the running hub of this data folder says of itself; only it has measured anything."""
    try:
        address = msgspec.json.decode(
            desk.session.settings.address_file.read_bytes(), type=HubAddress
        )
        timeout = aiohttp.ClientTimeout(total=_ASK_S)
        url = f"{address.url}/api/v1/status?merchant={desk.merchant_id}"
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            if answer.status != 200:
                return None
            return msgspec.json.decode(await answer.read(), type=StatusView)
    except (OSError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
        return None  # none runs here, or it is just going


def _account(desk: Desk, found: SyncStatus, account: AccountView) -> tuple[str, ...]:
    out, words = desk.out, desk.words
    times = found.requests.get(account.account_id)
    # Measured is what a hub has told: "here" is there, seen from us.
    served_by = "nobody" if account.served_by == "nobody" else "hub"
    return (
        account.name,
        words.text(f"page.account.state_{account.state}"),
        words.text(f"cli.served.{served_by}"),
        out.number(account.backlog),
        ages(out, account.oldest_dirty_at, found.status.at),
        out.number(account.tickets_open),
        milliseconds(out, account.propagation),
        milliseconds(out, times.answered if times else None),
        _percent(desk, account.error_rate_bps),
        _percent(desk, account.consistency_bps),
    )


def _percent(desk: Desk, bps: int | None) -> str:
    return "–" if bps is None else desk.words.percent(Decimal(bps) / 100)


def _ahead(desk: Desk, at: datetime | None, view: StatusView) -> str:
    if at is None:
        return "–"
    seconds = int((at - view.at).total_seconds())
    if seconds <= 0:
        return desk.words.text("cli.now")
    return desk.words.text("cli.in_seconds", count=seconds)


def _say_quotas_and_errors(desk: Desk, found: SyncStatus) -> None:
    for account in found.status.accounts:
        for quota in account.quotas:
            if quota.used:
                use = desk.words.text(
                    "quota.use", used=quota.used, limit=quota.limit, window=int(quota.window_s)
                )
                desk.out.say("cli.sync.quota", name=account.name, group=quota.group, use=use)
        if account.sweeping_checked is not None:
            desk.out.say(
                "cli.sync.sweeping",
                name=account.name,
                checked=account.sweeping_checked,
                expected=account.sweeping_expected or 0,
            )
        if account.conflicts:
            desk.out.say(
                "cli.sync.conflicts", style="red", name=account.name, count=account.conflicts
            )
        if account.last_error:
            desk.out.say(
                "cli.sync.last_error", style="red", name=account.name, words=account.last_error
            )
    problems = found.status.problems
    if problems.offers + problems.listings + problems.alerts:
        desk.out.say("cli.sync.problems")
    if not found.is_measured:
        desk.out.note("cli.sync.not_measured")


# — run —


@sync.command("run")
@click.argument("account", required=False)
@click.option("--timeout", "timeout_s", type=Whole(1, 86_400), default=120)
@for_merchant
@reports
@at_desk
async def run(desk: Desk, account: str | None, timeout_s: int) -> None:
    row = None if account is None else await desk.account(account)
    account_id = None if row is None else row.account_id
    begun_us = microseconds(desk.hub.clock.now())
    before = await read_progress(desk.hub.database, desk.hub.clock, desk.merchant_id, account_id)
    if not before:
        raise Failure("account_none")
    # What a hub serves, it is asked to do; only what nobody serves is done here, under leases.
    engine = desk.hub.engine
    free = frozenset(each.account_id for each in before if not each.is_served)
    if free:
        desk.out.note("cli.sync.run_here")
        engine.settings.only = free
        await engine.start()
    if len(free) < len(before):
        desk.out.note("cli.sync.run_there")
    try:
        after = await _until_done(desk, account_id, begun_us, timeout_s)
    finally:
        if free:
            await engine.stop()
    left = [each for each in after if not _is_done(each, begun_us)]
    if not desk.out.document({"accounts": after, "is_done": not left}):
        desk.out.table(
            ("account", "state", "backlog", "tickets", "orders_known", "last_error"),
            [
                (
                    each.name,
                    desk.words.text(f"page.account.state_{each.state}"),
                    desk.out.number(each.dirty),
                    desk.out.number(each.tickets),
                    ages(desk.out, instant(each.fresh_us or None), desk.hub.clock.now()),
                    each.last_error or "",
                )
                for each in after
            ],
            right="backlog tickets",
        )
    if left:
        raise Incomplete("run_unfinished", names=", ".join(each.name for each in left))


async def _ask(desk: Desk, accounts: Sequence[Progress]) -> None:
    """Ask those who serve these accounts, should it be another process."""
    there = [
        each.account_id
        for each in accounts
        if each.is_served and desk.hub.engine.account(each.account_id) is None
    ]
    if there:
        await ask(desk.hub.database, desk.merchant_id, there)


async def _until_done(
    desk: Desk, account_id: int | None, begun_us: int, timeout_s: int
) -> Sequence[Progress]:
    until_s = desk.hub.clock.monotonic_s() + timeout_s
    with desk.out.progress("cli.sync.running") as tick:
        most = 0
        ask_at_s = 0.0
        while True:
            found = await read_progress(
                desk.hub.database, desk.hub.clock, desk.merchant_id, account_id
            )
            waiting = sum(each.dirty for each in found if each.state == "armed")
            most = max(most, waiting)
            tick(most - waiting, most)
            now_s = desk.hub.clock.monotonic_s()
            if now_s >= ask_at_s:
                ask_at_s = now_s + _ASK_AGAIN_S
                await _ask(desk, [each for each in found if not _is_done(each, begun_us)])
            is_late = desk.hub.clock.monotonic_s() > until_s
            if is_late or all(_is_done(each, begun_us) for each in found):
                return found
            await asyncio.sleep(_LOOK_S)


def _is_done(account: Progress, begun_us: int) -> bool:
    """Orders were read since we began, and what may be sent has been sent and answered."""
    if account.state == "reconnect":
        return False
    is_sent = account.state != "armed" or (account.dirty == 0 and account.tickets == 0)
    return is_sent and account.fresh_us >= begun_us


# — rest —


@sync.command("pause")
@click.argument("account", required=False)
@for_merchant
@reports
@at_desk
async def pause(desk: Desk, account: str | None) -> None:
    await _rest(desk, account, is_paused=True)


@sync.command("resume")
@click.argument("account", required=False)
@for_merchant
@reports
@at_desk
async def resume(desk: Desk, account: str | None) -> None:
    await _rest(desk, account, is_paused=False)


async def _rest(desk: Desk, account: str | None, *, is_paused: bool) -> None:
    row = None if account is None else await desk.account(account)
    await pause_lanes(
        desk.hub.database,
        desk.hub.clock,
        desk.merchant_id,
        None if row is None else row.account_id,
        is_paused=is_paused,
        actor=desk.actor,
    )
    if not desk.out.document({"account": account, "is_paused": is_paused}):
        desk.out.say("cli.sync.paused" if is_paused else "cli.sync.resumed")
