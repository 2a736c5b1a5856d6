"""Listings: link what is there, publish what is not, look at both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from meschain.app.queries.listings import read_listings
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import Group, Whole, for_merchant, reports
from meschain.cli.linking import link_account, storefront_of
from meschain.cli.session import at_desk
from meschain.cli.speaking import opened_account, outcome_words
from meschain.cli.wording import quantities
from meschain.sync.listing.advance import advance_publications
from meschain.sync.listing.publish import plan_publication, publish_listings

if TYPE_CHECKING:
    from collections import Counter

    from meschain.cli.session import Desk
    from meschain.sync.listing.content import Draft
    from meschain.sync.listing.link import LinkConflict
    from meschain.sync.listing.publish import PublicationPlan
    from meschain.sync.listing.storefront import ListingProblem, Storefront

_SHOWN_MAX: Final = 20
_ROUND_S: Final = 0.5
_UNMAPPED: Final = {f"listing.missing.{kind}" for kind in ("category", "brand", "value")}


@click.group("listing", cls=Group)
def listing() -> None:
    pass


# — linking —


@listing.command("link")
@click.argument("account")
@for_merchant
@reports
@at_desk
async def link(desk: Desk, account: str) -> None:
    row = await desk.account(account)
    linked = await link_account(desk, row)
    if desk.out.document(
        {
            "account": row.name,
            "counts": linked.counts,
            "conflicts": [
                {"code": each.reason, "reason": _conflict(desk, each), "skus": each.skus}
                for each in linked.conflicts
            ],
            "theirs_only": linked.theirs_only,
        }
    ):
        return
    desk.out.say("cli.linking.done", name=row.name, style="bold")
    linked.say(desk.out)
    for conflict in linked.conflicts[:_SHOWN_MAX]:
        desk.out.line(_conflict(desk, conflict), style="red")
    _more(desk, len(linked.conflicts))


def _conflict(desk: Desk, conflict: LinkConflict) -> str:
    return desk.words.text(
        conflict.reason,
        stock_code=conflict.offer.keys.stock_code or "–",
        barcode=conflict.offer.keys.barcode or "–",
        skus=", ".join(conflict.skus),
    )


def _more(desk: Desk, count: int) -> None:
    if count > _SHOWN_MAX:
        desk.out.say("cli.more", count=count - _SHOWN_MAX)


# — publishing —


@listing.command("publish")
@click.argument("account")
@click.option("--plan", "is_plan", is_flag=True)
@click.option("--sku", "skus", multiple=True)
@click.option("--limit", type=Whole(1, 1_000_000), default=10_000)
@click.option("--wait", "wait_s", type=Whole(0, 86_400), default=0)
@for_merchant
@reports
@at_desk
async def publish(
    desk: Desk,
    *,
    account: str,
    is_plan: bool,
    skus: tuple[str, ...],
    limit: int,
    wait_s: int,
) -> None:
    row = await desk.account(account)
    if row.state != "armed" and not is_plan:
        raise Failure("publish_needs_arming", name=row.name)
    storefront = storefront_of(desk, row, await opened_account(desk, row))
    desk.out.note("cli.publish.planning")
    plan = await plan_publication(storefront, skus=skus or None, limit=limit)
    if plan.problem is not None:
        raise Failure("publish_stopped", words=outcome_words(plan.problem, desk.words))
    document: dict[str, object] = {
        "account": row.name,
        "is_plan": is_plan,
        "ready": [draft.sku for draft in plan.ready],
        "waiting": plan.waiting,
        "images_unknown": sum(draft.images_unknown for draft in plan.ready),
        "incomplete": [
            {"sku": draft.sku, "problems": [_problem(desk, each) for each in draft.problems]}
            for draft in plan.incomplete
        ],
    }
    if is_plan:
        if not desk.out.document(document):
            _say_plan(desk, plan)
        return
    desk.out.note("cli.publish.sending", count=len(plan.ready))
    report = await publish_listings(storefront, plan)
    states = await _advance(desk, storefront, wait_s)
    document |= {
        "sent": report.sent,
        "refused": report.refused,
        "tickets": report.tickets,
        "states": dict(states),
    }
    if not desk.out.document(document):
        _say_plan(desk, plan)
        desk.out.say("cli.publish.sent", style="bold", sent=report.sent, refused=report.refused)
        for state, count in sorted(states.items()):
            desk.out.line(f"  {desk.words.text(f'listing_state.{state}')}: {count}")
    if report.problem is not None:
        raise Incomplete("publish_stopped", words=outcome_words(report.problem, desk.words))


async def _advance(desk: Desk, storefront: Storefront, wait_s: int) -> Counter[str]:
    """What became of it so far; the hub goes on looking afterwards."""
    until_s = desk.hub.clock.monotonic_s() + wait_s
    report = await advance_publications(storefront)
    states = report.states
    with desk.out.progress("cli.publish.waiting") as tick:
        while report.open and report.problem is None and desk.hub.clock.monotonic_s() < until_s:
            tick(sum(states.values()), 0)
            await asyncio.sleep(_ROUND_S)
            report = await advance_publications(storefront)
            states += report.states
    return states


def _say_plan(desk: Desk, plan: PublicationPlan) -> None:
    for draft in plan.incomplete[:_SHOWN_MAX]:
        _say_incomplete(desk, draft)
    _more(desk, len(plan.incomplete))
    if any(each.key in _UNMAPPED for draft in plan.incomplete for each in draft.problems):
        desk.out.say("cli.publish.unmapped")
    if unknown := sum(draft.images_unknown for draft in plan.ready):
        desk.out.say("cli.publish.images_unknown", style="yellow", count=unknown)
    desk.out.say(
        "cli.publish.planned",
        ready=len(plan.ready),
        incomplete=len(plan.incomplete),
        waiting=plan.waiting,
    )


def _say_incomplete(desk: Desk, draft: Draft) -> None:
    reasons = " ".join(_problem(desk, each) for each in draft.problems)
    desk.out.say("cli.publish.incomplete", style="red", sku=draft.sku, reasons=reasons)


def _problem(desk: Desk, problem: ListingProblem) -> str:
    said = desk.words.text(problem.key, **{"words": problem.words or "–", **problem.params})
    return f"{said} {desk.words.text(problem.advice)}" if problem.advice else said


# — looking —


@listing.command("list")
@click.option("--search")
@click.option("--limit", type=Whole(1, 10_000), default=50)
@click.option("--cursor")
@for_merchant
@reports
@at_desk
async def list_(desk: Desk, search: str | None, limit: int, cursor: str | None) -> None:
    page = await read_listings(
        desk.hub.database, desk.merchant_id, limit=limit, cursor=cursor, search=search
    )
    if desk.out.document(page):
        return
    if not page.items:
        desk.out.say("cli.listing.none")
        return
    names = {account.account_id: account.name for account in await desk.accounts()}
    desk.out.table(
        ("sku", "account", "state", "shown", "desired", "sale_price", "agreement"),
        [
            (
                row.sku,
                names.get(cell.account_id, str(cell.account_id)),
                desk.words.text(f"listing_state.{cell.state}"),
                *quantities(desk.out, cell.quantity_shown, cell.quantity_desired),
                desk.out.money(cell.sale_price_shown),
                desk.words.text(f"agreement.{cell.agreement}"),
            )
            for row in page.items
            for cell in row.cells
        ],
        right="shown desired sale_price",
    )
    if page.next_cursor is not None:
        desk.out.note("cli.next_page", cursor=page.next_cursor)
