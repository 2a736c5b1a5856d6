"""Publish what has no listing yet: plan, keep the drafts, send, and never send twice unlooked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from meschain.channel.clock import microseconds
from meschain.channel.contract import CategoryAttribute, ItemOutcomes
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
from meschain.sync.listing.content import (
    HANDLING_DAYS_DEFAULT,
    Draft,
    VariantFacts,
    content_hash,
    draft_listing,
)
from meschain.sync.listing.mapping import load_mapping
from meschain.sync.listing.storefront import (
    LISTINGS_PER_CHUNK,
    ListingProblem,
    chunks,
    document,
    spoken,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meschain.channel.contract import ListingContent
    from meschain.channel.outcome import ItemOutcome, Outcome, Problem
    from meschain.sync.listing.mapping import MappingTable
    from meschain.sync.listing.storefront import Storefront

_VARIANTS_PER_PAGE: Final = 1_000
_ANSWER_S: Final = 60.0  # beyond the request's own time-out: until then somebody may still answer


@dataclass(slots=True)
class PublicationPlan:
    """What would be sent, and what keeps the rest from it.

    A ``problem``: reference data could not be read, so nothing after it was planned.
    ``waiting``: refused by the marketplace and unchanged since, so not sent again.
    """

    ready: list[Draft] = field(default_factory=list)
    incomplete: list[Draft] = field(default_factory=list)
    waiting: int = 0
    problem: Problem | None = None


@dataclass(slots=True)
class PublicationReport:
    """What became of the requests. A ``problem`` ended the round; the rest stays as drafts."""

    sent: int = 0
    refused: int = 0
    tickets: int = 0
    problem: Problem | None = None


async def plan_publication(
    storefront: Storefront,
    *,
    skus: Collection[str] | None = None,
    limit: int = 10_000,
    known: dict[str, Sequence[CategoryAttribute]] | None = None,
) -> PublicationPlan:
    """Drafts of all variants without a listing (of ``skus`` only); nothing is written.

    ``limit`` bounds what is ready; the catalog is read page by page until it is reached. ``known``:
    attributes by category of an earlier plan, for who plans often; what is read is added to it.
    """
    plan = PublicationPlan()
    wanted = None if skus is None else sorted(skus)
    marketplace = storefront.manifest.identity.name
    handling_days = int(storefront.settings.get("handling_days", HANDLING_DAYS_DEFAULT))
    known = {} if known is None else known
    after = 0
    async with storefront.database.merchant(storefront.merchant_id) as unit:
        mapping = await load_mapping(unit, storefront.merchant_id, marketplace)
    while len(plan.ready) < limit:
        async with storefront.database.merchant(storefront.merchant_id) as unit:
            rows = await unit.rows(
                "listing.publishable",
                storefront.key | {"after": after, "skus": wanted, "limit": _VARIANTS_PER_PAGE},
            )
        if not rows:
            break
        page = [VariantFacts(*row) for row in rows]
        after = page[-1].variant_id
        plan.problem = await _learn(storefront, mapping, page, known)
        if plan.problem is not None:
            break
        for facts in page:
            category_id = mapping.category(facts.category_path) or ""
            draft = draft_listing(
                facts,
                mapping,
                storefront.manifest,
                known.get(category_id, ()),
                handling_days=handling_days,
                images_url=storefront.images_url,
            )
            if draft.content is None:
                plan.incomplete.append(draft)
            elif facts.state == "rejected" and facts.content_hash == content_hash(draft.content):
                plan.waiting += 1
            else:
                plan.ready.append(draft)
    del plan.ready[limit:]
    await _part_shared_keys(storefront, plan)
    return plan


async def _learn(
    storefront: Storefront,
    mapping: MappingTable,
    page: Sequence[VariantFacts],
    known: dict[str, Sequence[CategoryAttribute]],
) -> Problem | None:
    """Read the attributes of categories that were not met before."""
    met = {mapping.category(facts.category_path) for facts in page} - known.keys() - {None}
    for category_id in sorted(filter(None, met)):
        answer = await spoken(storefront.channel.list_attributes(category_id, storefront.call()))
        if isinstance(answer, Refused):
            # A category that the marketplace does not know has no attributes; it will say so.
            answer = ()
        if not isinstance(answer, Sequence):
            return answer
        known[category_id] = answer
    return None


async def _part_shared_keys(storefront: Storefront, plan: PublicationPlan) -> None:
    """A key names one listing: variants that share it, with each other or a listing, must wait."""
    keyed = {draft.variant_id: _key_of(storefront, draft) for draft in plan.ready}
    uses = Counter(keyed.values())
    holders: dict[str, str] = {}
    for part in chunks(plan.ready, LISTINGS_PER_CHUNK):
        rows = [
            {"variant_id": draft.variant_id, "push_key": keyed[draft.variant_id]} for draft in part
        ]
        async with storefront.database.merchant(storefront.merchant_id) as unit:
            found = await unit.rows("listing.taken_keys", storefront.key | {"rows": document(rows)})
        holders |= dict(found)
    ready, plan.ready = plan.ready, []
    for draft in ready:
        key = keyed[draft.variant_id]
        if uses[key] == 1 and key not in holders:
            plan.ready.append(draft)
            continue
        others = [each.sku for each in ready if keyed[each.variant_id] == key and each is not draft]
        params = {"value": key, "sku": holders.get(key) or ", ".join(others)}
        problem = ListingProblem("listing.missing.own_key", params)
        plan.incomplete.append(replace(draft, content=None, problems=(problem,)))


def _key_of(storefront: Storefront, draft: Draft) -> str:
    assert draft.content is not None, "ready drafts have content"
    return storefront.push_key(draft.content.keys)


async def publish_listings(storefront: Storefront, plan: PublicationPlan) -> PublicationReport:
    """Keep the incomplete as drafts with what they lack, and send the ready in batches.

    Intent is committed before effect: listing 'sent' and a ticket stand before a byte leaves.
    """
    for part in chunks(plan.incomplete, LISTINGS_PER_CHUNK):
        rows = [
            {
                "variant_id": draft.variant_id,
                "state": "rejected" if draft.is_there else "draft",
                "problems": draft.problems,
            }
            for draft in part
        ]
        async with storefront.database.merchant(storefront.merchant_id) as unit:
            await unit.run("listing.put", storefront.at | {"rows": document(rows)})
    report = PublicationReport()
    for is_there in (False, True):
        drafts = [draft for draft in plan.ready if draft.is_there is is_there]
        for batch in chunks(drafts, storefront.manifest.catalog.batch_max):
            await _send(storefront, batch, report, is_there=is_there)
            if report.problem is not None:
                return report
    return report


async def _send(
    storefront: Storefront, batch: Sequence[Draft], report: PublicationReport, *, is_there: bool
) -> None:
    contents = [draft.content for draft in batch if draft.content is not None]
    assert len(contents) == len(batch), "only what is ready is sent"
    ticket_id, listings = await _intend(storefront, batch, contents)
    call = storefront.call()
    channel = storefront.channel
    send = channel.update_content if is_there else channel.publish
    outcome = await spoken(send(contents, call))
    report.tickets += 1
    await _settle(storefront, ticket_id, listings, outcome, report, is_there=is_there)


async def _intend(
    storefront: Storefront, batch: Sequence[Draft], contents: Sequence[ListingContent]
) -> tuple[int, dict[str, int]]:
    """Commit what is about to be sent; returns the ticket, and push key → listing."""
    at = storefront.at
    keys = [storefront.push_key(content.keys) for content in contents]
    rows = [
        {"variant_id": draft.variant_id, "state": "sent", "content_hash": content_hash(content)}
        for draft, content in zip(batch, contents, strict=True)
    ]
    async with storefront.database.merchant(storefront.merchant_id) as unit:
        await unit.run("listing.free_keys", at | {"keys": keys})
        cursor = await unit.run("listing.put", at | {"rows": document(rows)})
        ids: dict[int, int] = dict(await cursor.fetchall())
        listings = {key: ids[draft.variant_id] for key, draft in zip(keys, batch, strict=True)}
        keyed = [
            {
                "listing_id": listings[key],
                "push_key": key,
                "barcode": content.keys.barcode,
                "stock_code": content.keys.stock_code,
                "remote_id": content.keys.remote_id,
                "group_id": content.keys.group_id,
            }
            for key, content in zip(keys, contents, strict=True)
        ]
        await unit.run("listing.put_keys", at | {"rows": document(keyed)})
        row = await unit.row("listing.next_ticket")
        assert row is not None
        await unit.run(
            "listing.open_ticket",
            at
            | {
                "ticket": row[0],
                "epoch": storefront.epoch,
                "listings": sorted(listings.values()),
                "send_by_us": look_us(storefront),
            },
        )
        await storefront.tell(unit, "listing.state", dict.fromkeys(listings.values(), "sent"))
    return int(row[0]), listings


def look_us(storefront: Storefront) -> int:
    """When an unanswered request must be looked after: by then it has arrived or never will.

    As long as a stuck ticket is given; a create that is looked for too early would be sent twice.
    """
    wait_s = _ANSWER_S + storefront.manifest.offers.ticket_stuck_s
    return microseconds(storefront.clock.now()) + int(wait_s * 1_000_000)


async def _settle(
    storefront: Storefront,
    ticket_id: int,
    listings: Mapping[str, int],
    outcome: Outcome | ItemOutcomes,
    report: PublicationReport,
    *,
    is_there: bool,
) -> None:
    """Keep what the request was answered with."""
    again = "rejected" if is_there else "draft"
    match outcome:
        case Accepted(reference=reference):
            report.sent += len(listings)
            async with storefront.database.merchant(storefront.merchant_id) as unit:
                await unit.run(
                    "listing.accept_ticket",
                    storefront.at | {"ticket": ticket_id, "reference": reference},
                )
        case Done():
            report.sent += len(listings)
            done = dict.fromkeys(listings, outcome)
            await answer(storefront, ticket_id, listings, done)
        case ItemOutcomes(items=items):
            report.refused += sum(isinstance(item, Refused) for item in items.values())
            report.sent += sum(isinstance(item, Done) for item in items.values())
            await answer(storefront, ticket_id, listings, items)
        case Refused():
            # The request as a whole: not the listings' fault, so they stay drafts; and the next
            # batch would fare no better.
            problem = refusal(outcome)
            await _take_back(storefront, ticket_id, listings, again, "refused", problem)
            report.problem = outcome
        case Throttled() | Unauthorized() | NotSent():
            await _take_back(storefront, ticket_id, listings, again, "again", None)
            report.problem = outcome
        case Unknown() | ContractBroken():
            # It may have arrived. The open ticket says when to look; creating is not repeated.
            report.problem = outcome


async def _take_back(
    storefront: Storefront,
    ticket_id: int,
    listings: Mapping[str, int],
    state: str,
    ended: str,
    problem: ListingProblem | None,
) -> None:
    """Certainly not applied: the listings are drafts again."""
    problems = [] if problem is None else [problem]
    rows = [
        {"listing_id": each, "state": state, "problems": problems, "forget": True}
        for each in listings.values()
    ]
    at = storefront.at
    async with storefront.database.merchant(storefront.merchant_id) as unit:
        await unit.run("listing.answer", at | {"rows": document(rows)})
        await unit.run("listing.end_ticket", at | {"ticket": ticket_id, "outcome": ended})
        await storefront.tell(unit, "listing.state", dict.fromkeys(listings.values(), state))


def refusal(refused: Refused) -> ListingProblem:
    """A refusal in the marketplace's own words, with our advice."""
    words = " ".join(filter(None, (refused.code, refused.text)))
    return ListingProblem("listing.refused", words=words, advice=refused.advice)


async def answer(
    storefront: Storefront,
    ticket_id: int,
    listings: Mapping[str, int],
    items: Mapping[str, ItemOutcome],
) -> None:
    """Keep what was said of each listing; those not named are looked for at once."""
    rows: list[dict[str, object]] = []
    for key, listing_id in listings.items():
        item = items.get(key)
        row: dict[str, object] = {"listing_id": listing_id, "problems": [], "forget": False}
        if isinstance(item, Done):
            rows.append(row | {"state": "pending"})
        elif isinstance(item, Refused):
            rows.append(row | {"state": "rejected", "problems": [refusal(item)]})
    told = {int(str(row["listing_id"])): str(row["state"]) for row in rows}
    unknown = sorted(set(listings.values()) - told.keys())
    at = storefront.at
    async with storefront.database.merchant(storefront.merchant_id) as unit:
        await unit.run("listing.answer", at | {"rows": document(rows)})
        if unknown:
            await unit.run(
                "listing.look_for_ticket",
                at | {"ticket": ticket_id, "listings": unknown, "look_us": at["now_us"]},
            )
        else:
            await unit.run("listing.end_ticket", at | {"ticket": ticket_id, "outcome": "done"})
        await storefront.tell(unit, "listing.state", told)
