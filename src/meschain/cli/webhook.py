"""Webhooks: have a marketplace tell us of orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meschain.channel.contract import Call
from meschain.channel.outcome import Problem
from meschain.cli.failure import Failure
from meschain.cli.help import Group, for_merchant, reports
from meschain.cli.session import at_desk
from meschain.cli.speaking import opened_account, outcome_words, webhooks_of

if TYPE_CHECKING:
    from meschain.cli.session import Desk


@click.group("webhook", cls=Group)
def webhook() -> None:
    pass


@webhook.command("register")
@click.argument("account")
@click.option("--url")
@for_merchant
@reports
@at_desk
async def register(desk: Desk, account: str, url: str | None) -> None:
    row = await desk.account(account)
    base_url = url or desk.session.settings.public_url
    if base_url is None:
        raise Failure("public_url_missing")
    served = await opened_account(desk, row)
    answer = await webhooks_of(desk, row, served).register(base_url, Call(guard=served))
    if isinstance(answer, Problem):
        raise Failure("webhook_refused", name=row.name, words=outcome_words(answer, desk.words))
    # The URL holds the unguessable path, so it is not printed.
    if not desk.out.document(
        {"account": row.name, "webhook_id": answer.webhook_id, "is_active": answer.is_active}
    ):
        desk.out.say("cli.account.webhook_registered")


@webhook.command("list")
@click.argument("account")
@for_merchant
@reports
@at_desk
async def list_(desk: Desk, account: str) -> None:
    row = await desk.account(account)
    served = await opened_account(desk, row)
    found = await webhooks_of(desk, row, served).registered()
    if desk.out.document(
        {
            "account": row.name,
            "webhooks": [
                {
                    "webhook_id": each.webhook_id,
                    "host": _host(each.url),
                    "is_active": each.is_active,
                    "created_at": each.created_at,
                }
                for each in found
            ],
        }
    ):
        return
    if not found:
        desk.out.say("cli.webhook.none", name=row.name)
        return
    desk.out.table(
        ("id", "host", "active", "since"),
        [
            (
                each.webhook_id or "–",
                _host(each.url),
                desk.words.text("answer.yes" if each.is_active else "answer.no"),
                desk.words.moment(each.created_at, "datetime"),
            )
            for each in found
        ],
    )


def _host(url: str) -> str:
    return "/".join(url.split("/")[:3])


@webhook.command("remove")
@click.argument("account")
@click.argument("webhook_id")
@for_merchant
@reports
@at_desk
async def remove(desk: Desk, account: str, webhook_id: str) -> None:
    row = await desk.account(account)
    served = await opened_account(desk, row)
    webhooks = webhooks_of(desk, row, served)
    found = [each for each in await webhooks.registered() if each.webhook_id == webhook_id]
    if not found:
        raise Failure("webhook_unknown", id=webhook_id, name=row.name)
    outcome = await webhooks.delete(found[0].url, webhook_id, Call(guard=served))
    if isinstance(outcome, Problem):
        raise Failure("webhook_refused", name=row.name, words=outcome_words(outcome, desk.words))
    if not desk.out.document({"account": row.name, "webhook_id": webhook_id}):
        desk.out.say("cli.webhook.removed", name=row.name)
