"""Accounts: connect, look at, arm, pause, remove."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import msgspec
import psycopg

from meschain.app.commands.add_account import (
    NewAccount,
    add_account,
    let_go_of_account,
    reconnect_account,
)
from meschain.app.commands.arm_account import (
    ArmingCounts,
    ArmingLimits,
    ArmingStopped,
    StateForbids,
    arm_account,
    change_state,
    count_arming,
)
from meschain.app.commands.change_account import remove_account, set_policy
from meschain.app.commands.resolve_conflict import set_conflict_rules
from meschain.app.queries.accounts import AccountRow, read_accounts
from meschain.app.queries.conflicts import Rule, read_rules
from meschain.channel.contract import Account, Call
from meschain.channel.outcome import Done, Problem, Unauthorized
from meschain.cli.credential import Given, collect, read_credentials_file
from meschain.cli.failure import Failure
from meschain.cli.help import Exact, File, Group, OneOf, Pair, Whole, for_merchant, reports
from meschain.cli.linking import link_account
from meschain.cli.session import Desk, at_desk
from meschain.cli.speaking import account_details, opened_account, outcome_words, webhooks_of
from meschain.domain.stock import QuantityPolicy
from meschain.registry import marketplace as find_marketplace
from meschain.sync.engine import STATES_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meschain.channel.capability import Manifest


_LETTING_GO_S = 3 * STATES_S  # within this, whoever serves the account has seen its state


@click.group("account", cls=Group)
def account() -> None:
    pass


# — connecting —


@account.command("add")
@click.argument("marketplace")
@click.option("--name")
@click.option("--credentials-file", type=File())
@click.option("--seller")
@click.option("--sandbox", "sandbox", is_flag=True)
@click.option("--live", "is_live", is_flag=True)
@click.option("--base-url", "base_urls", type=Pair(), multiple=True)
@click.option("--tier")
@click.option("--setting", "settings", type=Pair(), multiple=True)
@for_merchant
@reports
@at_desk
async def add(
    desk: Desk,
    *,
    marketplace: str,
    name: str | None,
    credentials_file: Path | None,
    seller: str | None,
    sandbox: bool,
    is_live: bool,
    base_urls: tuple[tuple[str, str], ...],
    tier: str | None,
    settings: tuple[tuple[str, str], ...],
) -> None:
    manifest = find_marketplace(marketplace).manifest
    if sandbox and is_live:
        raise Failure("sandbox_or_live")
    chosen = name or marketplace
    known = await read_accounts(desk.hub.database, desk.merchant_id)
    if any(each.name == chosen for each in known):
        raise Failure("account_taken", name=chosen)
    given = Given()
    if credentials_file is not None:
        given = read_credentials_file(credentials_file, manifest, seller)
    chosen_tier = tier or given.tier or manifest.default_tier
    if chosen_tier not in manifest.tiers:
        raise Failure("tier_unknown", tier=chosen_tier, known=", ".join(manifest.tiers))
    new = NewAccount(
        marketplace=marketplace,
        name=chosen,
        base_urls=_urls(manifest, {**given.base_urls, **dict(base_urls)}, is_live=is_live),
        credentials=collect(manifest, given, desk.out),
        settings=dict(settings),
        tier=chosen_tier,
        is_live=is_live,
    )
    desk.out.note("cli.account.trying", marketplace=manifest.identity.title)
    await _try(desk, new)
    try:
        account_id = await add_account(
            desk.hub.database, desk.hub.keys, desk.hub.clock, desk.merchant_id, manifest, new
        )
    except psycopg.errors.UniqueViolation as taken:
        raise Failure("account_taken", name=chosen) from taken
    row = await desk.account(chosen)
    linked = await link_account(desk, row)
    webhook = await _register_webhook(desk, row)
    if desk.out.document(
        {
            "account_id": account_id,
            "name": chosen,
            "marketplace": marketplace,
            "state": row.state,
            "is_live": is_live,
            "linked": linked.counts,
            "webhook": webhook,
        }
    ):
        return
    desk.out.say("cli.account.added", name=chosen, style="green")
    linked.say(desk.out)
    if webhook:
        desk.out.line(webhook)
    counts = linked.counts
    is_shown = counts.linked or counts.known or not counts.ours_only
    desk.out.say("cli.account.next" if is_shown else "cli.account.next_publish", name=chosen)


def _urls(manifest: Manifest, given: Mapping[str, str], *, is_live: bool) -> dict[str, str]:
    live = manifest.hosts.get("live", {})
    if is_live:
        if given:
            raise Failure("live_takes_no_url")
        return dict(live)
    if not given:
        raise Failure("base_url_missing", services=", ".join(live))
    unknown = sorted(given.keys() - live.keys())
    if unknown or given.keys() != live.keys():
        raise Failure("base_url_services", given=", ".join(given), services=", ".join(live))
    hosts = {urlsplit(url).hostname for url in live.values()}
    for url in given.values():
        if urlsplit(url).hostname in hosts:
            raise Failure("live_must_be_typed", url=url)
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Failure("base_url_invalid", url=url)
    return {service: url.rstrip("/") for service, url in given.items()}


async def _try(desk: Desk, new: NewAccount) -> None:
    """Nothing is saved that the marketplace does not accept. Raises Failure."""
    account_ = Account(
        account_id=0,
        merchant_id=desk.merchant_id,
        marketplace=new.marketplace,
        base_urls=new.base_urls,
        credentials=new.credentials,
        settings=new.settings,
        tier=new.tier,
    )
    manifest = find_marketplace(new.marketplace).manifest
    try:
        pacer = desk.hub.pacer(manifest, new.tier, desk.merchant_id)
        channel = desk.hub.channel(account_, pacer, name=new.name)
    except ValueError as wrong:  # a setting that the marketplace's folder does not know
        raise Failure("account_setting", words=str(wrong)) from wrong
    outcome = await channel.check_credentials(Call())
    if isinstance(outcome, Unauthorized):
        raise Failure("credentials_refused", words=outcome.text)
    if not isinstance(outcome, Done):
        raise Failure("credentials_untried", words=outcome_words(outcome, desk.words))


@account.command("reconnect")
@click.argument("name")
@click.option("--credentials-file", type=File())
@click.option("--seller")
@for_merchant
@reports
@at_desk
async def reconnect(
    desk: Desk, *, name: str, credentials_file: Path | None, seller: str | None
) -> None:
    row = await desk.account(name)
    details = await account_details(desk, row)
    manifest = find_marketplace(row.marketplace).manifest
    given = Given()
    if credentials_file is not None:
        given = read_credentials_file(credentials_file, manifest, seller)
    credentials = collect(manifest, given, desk.out)
    desk.out.note("cli.account.trying", marketplace=manifest.identity.title)
    await _try(
        desk,
        NewAccount(
            marketplace=row.marketplace,
            name=row.name,
            base_urls=details.base_urls,
            credentials=credentials,
            settings=row.settings,
            tier=row.tier,
            is_live=row.is_live,
        ),
    )
    hub = desk.hub
    state = row.state
    if state == "reconnect":
        state = "read_only"  # what it was before, nobody has written down; time has passed, too
    else:
        await let_go_of_account(hub.database, desk.merchant_id, row.account_id)
        desk.out.note("cli.account.letting_go", name=row.name)
        await hub.clock.sleep(_LETTING_GO_S)
    await reconnect_account(
        hub.database,
        hub.keys,
        hub.clock,
        desk.merchant_id,
        row.account_id,
        credentials,
        state=state,
        actor=desk.actor,
    )
    if desk.out.document({"name": row.name, "state": state}):
        return
    desk.out.say(
        "cli.account.reconnected", name=row.name, state=state_words(desk, state), style="green"
    )
    if state != "armed":
        desk.out.say("cli.account.reconnected_next", name=row.name)


async def _register_webhook(desk: Desk, row: AccountRow) -> str:
    """What came of it, in words; "" when there is no public URL or nothing to register."""
    public_url = desk.session.settings.public_url
    if public_url is None or not find_marketplace(row.marketplace).manifest.orders.webhook:
        return ""
    served = await opened_account(desk, row)
    answer = await webhooks_of(desk, row, served).register(public_url, Call(guard=served))
    if isinstance(answer, Problem):
        return desk.words.text(
            "cli.account.webhook_failed", words=outcome_words(answer, desk.words)
        )
    return desk.words.text("cli.account.webhook_registered")


# — looking —


@account.command("list")
@for_merchant
@reports
@at_desk
async def list_(desk: Desk) -> None:
    rows = await read_accounts(desk.hub.database, desk.merchant_id)
    if desk.out.document({"merchant": desk.merchant.name, "accounts": rows}):
        return
    if not rows:
        desk.out.say("cli.account.none")
        return
    desk.out.table(
        ("name", "marketplace", "state", "kind", "share", "buffer", "maximum"),
        [
            (
                row.name,
                row.marketplace,
                state_words(desk, row.state),
                desk.words.text("page.account.live" if row.is_live else "page.account.sandbox"),
                desk.words.percent(Decimal(row.share_bps) / 100),
                desk.out.number(row.buffer_units),
                desk.out.number(row.quantity_max),
            )
            for row in rows
        ],
        right="share buffer maximum",
    )


def state_words(desk: Desk, state: str) -> str:
    """The state of an account as its owner calls it."""
    return desk.words.text(f"page.account.state_{state}")


@account.command("show")
@click.argument("name")
@for_merchant
@reports
@at_desk
async def show(desk: Desk, name: str) -> None:
    row = await desk.account(name)
    details = await account_details(desk, row)
    names = [each.name for each in find_marketplace(row.marketplace).manifest.credentials]
    if desk.out.document(
        {
            **msgspec.structs.asdict(row),
            "base_urls": details.base_urls,
            "served_by": details.owner,
            "listings": details.listings,
            "orders": details.orders,
            "credential_names": names,
        }
    ):
        return
    desk.out.say("cli.account.shown", name=row.name, marketplace=row.marketplace, style="bold")
    pairs = {
        "state": state_words(desk, row.state),
        "kind": desk.words.text("page.account.live" if row.is_live else "page.account.sandbox"),
        "tier": row.tier,
        "base_urls": ", ".join(f"{k}={v}" for k, v in details.base_urls.items()),
        "credentials": desk.words.text("cli.account.sealed", names=", ".join(names)),
        "settings": ", ".join(f"{k}={v}" for k, v in row.settings.items()) or "–",
        "share": desk.words.percent(Decimal(row.share_bps) / 100),
        "buffer": desk.words.text("count.units", count=row.buffer_units),
        "maximum": "–"
        if row.quantity_max is None
        else desk.words.text("count.units", count=row.quantity_max),
        "listings": desk.out.number(details.listings),
        "orders": desk.out.number(details.orders),
        "served_by": details.owner or desk.words.text("page.account.nobody"),
    }
    desk.out.pairs(pairs)


# — arming —


@account.command("arm")
@click.argument("name")
@click.option("--max-zero", type=Whole(0, 100), default=ArmingLimits().to_zero_percent)
@click.option("--max-price-change", type=Whole(0, 100), default=ArmingLimits().price_jumps_percent)
@click.option("--confirm-zero", type=Whole())
@click.option("--confirm-price-change", type=Whole())
@click.option("--plan", "is_plan", is_flag=True)
@for_merchant
@reports
@at_desk
async def arm(
    desk: Desk,
    *,
    name: str,
    max_zero: int,
    max_price_change: int,
    confirm_zero: int | None,
    confirm_price_change: int | None,
    is_plan: bool,
) -> None:
    row = await desk.account(name)
    limits = ArmingLimits(
        to_zero_percent=max_zero,
        price_jumps_percent=max_price_change,
        to_zero_confirmed=confirm_zero,
        price_jumps_confirmed=confirm_price_change,
    )
    exceeded: Sequence[str] = ()
    is_armed = False
    try:
        if is_plan:
            counts = await count_arming(desk.hub.database, desk.merchant_id, row.account_id)
            exceeded = limits.exceeded(counts)
        else:
            counts = await arm_account(
                desk.hub.database,
                desk.hub.clock,
                desk.merchant_id,
                row.account_id,
                limits,
                actor=desk.actor,
            )
            is_armed = True
    except ArmingStopped as stopped:
        counts, exceeded = stopped.counts, stopped.exceeded
    except StateForbids as forbids:
        raise _forbidden(desk, row, forbids) from forbids
    if not desk.out.document(
        {
            "account": row.name,
            "is_armed": is_armed,
            "counts": counts,
            "limits": limits,
            "exceeded": exceeded,
        }
    ):
        _say_counts(desk, row, counts)
    if exceeded and not is_plan:
        raise Failure("arming_stopped", name=row.name, options=_confirmations(counts, exceeded))
    if is_armed:
        desk.out.say("cli.account.armed", name=row.name, style="green")
    elif not exceeded:
        desk.out.say("cli.account.would_arm", name=row.name)
    else:
        desk.out.say(
            "cli.account.would_stop", name=row.name, options=_confirmations(counts, exceeded)
        )


def _say_counts(desk: Desk, row: AccountRow, counts: ArmingCounts) -> None:
    desk.out.say("cli.account.arming", name=row.name, count=counts.listings, style="bold")
    values = msgspec.structs.asdict(counts)
    desk.out.pairs(
        {f"arming.{name}": desk.out.number(values[name]) for name in values if name != "listings"}
    )


def _confirmations(counts: ArmingCounts, exceeded: Sequence[str]) -> str:
    options = {"to_zero": "--confirm-zero", "price_jumps": "--confirm-price-change"}
    values = msgspec.structs.asdict(counts)
    return " ".join(f"{options[name]} {values[name]}" for name in exceeded)


def _forbidden(desk: Desk, row: AccountRow, forbids: StateForbids) -> Failure:
    return Failure(f"state_{forbids.state}", name=row.name, state=state_words(desk, forbids.state))


@account.command("disarm")
@click.argument("name")
@for_merchant
@reports
@at_desk
async def disarm(desk: Desk, name: str) -> None:
    await _change_state(desk, name, "read_only", "cli.account.disarmed")


@account.command("pause")
@click.argument("name")
@for_merchant
@reports
@at_desk
async def pause(desk: Desk, name: str) -> None:
    await _change_state(desk, name, "paused", "cli.account.paused")


@account.command("resume")
@click.argument("name")
@for_merchant
@reports
@at_desk
async def resume(desk: Desk, name: str) -> None:
    await _change_state(desk, name, "armed", "cli.account.resumed")


async def _change_state(desk: Desk, name: str, to: str, said: str) -> None:
    row = await desk.account(name)
    if row.state != to:
        try:
            await change_state(
                desk.hub.database,
                desk.hub.clock,
                desk.merchant_id,
                row.account_id,
                to,
                actor=desk.actor,
            )
        except StateForbids as forbids:
            raise _forbidden(desk, row, forbids) from forbids
    if not desk.out.document({"account": row.name, "state": to}):
        desk.out.say(said, name=row.name)


# — changing and removing —


@account.command("set")
@click.argument("name")
@click.option("--share", type=Exact())
@click.option("--buffer", type=Whole())
@click.option("--maximum", type=Whole())
@click.option("--no-maximum", is_flag=True)
@for_merchant
@reports
@at_desk
async def set_(
    desk: Desk,
    *,
    name: str,
    share: Decimal | None,
    buffer: int | None,
    maximum: int | None,
    no_maximum: bool,
) -> None:
    if not no_maximum and (share, buffer, maximum) == (None, None, None):
        raise Failure("account_set_nothing", name=name)
    if no_maximum and maximum is not None:
        raise Failure("account_set_both")
    row = await desk.account(name)
    share_bps = row.share_bps if share is None else int(share * 100)
    if share is not None and (share_bps > 10_000 or share_bps != share * 100):
        raise Failure("share_invalid", value=str(share))
    highest = find_marketplace(row.marketplace).manifest.offers.quantity_max
    if maximum is not None and maximum > highest:
        raise Failure("maximum_invalid", value=maximum, highest=highest)
    policy = QuantityPolicy(
        share_bps,
        row.buffer_units if buffer is None else buffer,
        highest if no_maximum else row.quantity_max if maximum is None else maximum,
    )
    count = await set_policy(
        desk.hub.database,
        desk.hub.clock,
        desk.merchant_id,
        row.account_id,
        policy,
        actor=desk.actor,
    )
    if not desk.out.document({"account": row.name, **asdict(policy), "skus": count}):
        desk.out.say("cli.account.policy", name=name, count=count)


@account.command("conflict-rule")
@click.argument("name")
@click.option("--price", type=OneOf("hub", "channel", "ask"))
@click.option("--quantity", type=OneOf("hub", "channel", "ask"))
@click.option("--sweep-hours", type=Whole(1, 24 * 31))
@for_merchant
@reports
@at_desk
async def conflict_rule(
    desk: Desk, name: str, price: Rule | None, quantity: Rule | None, sweep_hours: int | None
) -> None:
    row = await desk.account(name)
    if price is None and quantity is None and sweep_hours is None:
        rules = await read_rules(desk.hub.database, desk.merchant_id, row.account_id)
    else:
        rules = await set_conflict_rules(
            desk.hub.database,
            desk.hub.clock,
            desk.merchant_id,
            row.account_id,
            price=price,
            quantity=quantity,
            sweep_interval_s=None if sweep_hours is None else sweep_hours * 3_600,
            actor=desk.actor,
        )
    if desk.out.document({"account": row.name, **msgspec.structs.asdict(rules)}):
        return
    desk.out.say("cli.account.rules", name=name, style="bold")
    desk.out.pairs(
        {
            "conflict.price": desk.words.text(f"cli.conflict.rule_{rules.price}"),
            "conflict.quantity": desk.words.text(f"cli.conflict.rule_{rules.quantity}"),
            "conflict.sweep": desk.words.text(
                "cli.conflict.hours", count=rules.sweep_interval_s // 3_600
            ),
        }
    )


@account.command("remove")
@click.argument("name")
@click.option("--yes", "is_sure", is_flag=True)
@for_merchant
@reports
@at_desk
async def remove(desk: Desk, *, name: str, is_sure: bool) -> None:
    row = await desk.account(name)
    if not is_sure:
        raise Failure("remove_needs_yes", name=name)
    is_ended = await delete_webhooks(desk, row)
    await remove_account(
        desk.hub.database, desk.hub.clock, desk.merchant_id, row.account_id, actor=desk.actor
    )
    if not desk.out.document({"account": row.name, "webhooks_ended": is_ended}):
        desk.out.say("cli.account.removed", name=name)


async def delete_webhooks(desk: Desk, row: AccountRow) -> bool:
    """As far as the marketplace can be asked: it stops by itself when nobody answers.

    Whether none is left there.
    """
    if not find_marketplace(row.marketplace).manifest.orders.webhook:
        return True
    is_ended = True
    served = await opened_account(desk, row)
    webhooks = webhooks_of(desk, row, served)
    for each in await webhooks.registered():
        if each.webhook_id:
            outcome = await webhooks.delete(each.url, each.webhook_id, Call(guard=served))
            if isinstance(outcome, Problem):
                desk.out.warn(outcome_words(outcome, desk.words))
                is_ended = False
    return is_ended
