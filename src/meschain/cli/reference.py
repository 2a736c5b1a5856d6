"""``meschain mapping find``: the ids that the mapping table asks for, by the names they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import click

from meschain.cli.failure import Failure
from meschain.cli.help import Command, Whole, for_merchant, reports
from meschain.cli.linking import storefront_of
from meschain.cli.session import at_desk
from meschain.cli.speaking import opened_account, outcome_words
from meschain.sync.listing.reference import holding, leaf_paths
from meschain.sync.listing.storefront import spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from meschain.channel.contract import CategoryAttribute
    from meschain.channel.outcome import Problem
    from meschain.cli.session import Desk

_SHOWN_MAX: Final = 50
_T = TypeVar("_T")


@click.command("find", cls=Command)
@click.argument("account")
@click.argument("words", nargs=-1)
@click.option("--brand", "is_brand", is_flag=True)
@click.option("--category")
@click.option("--attribute")
@click.option("--limit", type=Whole(1, 100_000), default=_SHOWN_MAX)
@for_merchant
@reports
@at_desk
async def find(
    desk: Desk,
    *,
    account: str,
    words: tuple[str, ...],
    is_brand: bool,
    category: str | None,
    attribute: str | None,
    limit: int,
) -> None:
    if attribute is not None and category is None:
        raise Failure("find_needs_category")
    if is_brand and (category is not None or not words):
        raise Failure("find_brand_what")
    row = await desk.account(account)
    storefront = storefront_of(desk, row, await opened_account(desk, row))
    channel, call = storefront.channel, storefront.call()
    kind = "category"
    required: dict[str, bool] = {}
    if is_brand:
        kind = "brand"
        brands = await _heard(desk, channel.find_brands(" ".join(words), call))
        found = [(each.brand_id, each.name) for each in brands]
    elif category is None:
        nodes = await _heard(desk, channel.list_categories(call))
        found = holding(leaf_paths(nodes), words)
    else:
        attributes = await _heard(desk, channel.list_attributes(category, call))
        if attribute is None:
            kind = "attribute"
            required = {each.attribute_id: each.is_required for each in attributes}
            found = holding(((each.attribute_id, each.name) for each in attributes), words)
        else:
            kind = "value"
            found = holding(_values(attributes, attribute), words)
    rows = [
        {"theirs": theirs, "name": name}
        | ({"is_required": required[theirs]} if kind == "attribute" else {})
        for theirs, name in found
    ]
    if desk.out.document({"account": row.name, "kind": kind, "found": rows}):
        return
    if not found:
        desk.out.say("cli.mapping.find.nothing")
        return
    columns = ("theirs", f"found.{kind}", "required") if required else ("theirs", f"found.{kind}")
    desk.out.table(
        columns,
        [
            (theirs, name, *([_answer(desk, is_it=required[theirs])] if required else []))
            for theirs, name in found[:limit]
        ],
    )
    if len(found) > limit:
        desk.out.note("cli.plan.more", count=len(found) - limit)


def _values(attributes: Sequence[CategoryAttribute], wanted: str) -> Sequence[tuple[str, str]]:
    for each in attributes:
        if each.attribute_id == wanted:
            return each.values
    known = ", ".join(f"{each.attribute_id} ({each.name})" for each in attributes)
    raise Failure("find_attribute_unknown", value=wanted, known=known or "–")


async def _heard(desk: Desk, answer: Awaitable[Sequence[_T] | Problem]) -> Sequence[_T]:
    """What the marketplace told. Raises Failure."""
    heard = await spoken(answer)
    if not isinstance(heard, Sequence):
        raise Failure("find_refused", words=outcome_words(heard, desk.words))
    return heard


def _answer(desk: Desk, *, is_it: bool) -> str:
    return desk.words.text("answer.yes" if is_it else "answer.no")
