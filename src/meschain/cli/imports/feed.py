"""Suppliers' feeds: added, listed, looked at, removed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meschain.app.feeds import (
    FeedExists,
    FeedSourceWrong,
    FeedUnknown,
    LookState,
    add_feed,
    look_at_feed,
    read_feeds,
    remove_feed,
)
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import File, Group, Misused, for_merchant, reports
from meschain.cli.imports.change import change_text
from meschain.cli.session import at_desk

if TYPE_CHECKING:
    from meschain.app.feeds import FeedLook, FeedView
    from meschain.cli.session import Desk

_SHOWN_MAX: Final = 20
_EVERY: Final = re.compile(r"([1-9][0-9]{0,4})(min|m|h|d)")
_UNITS_S: Final = {"m": 60, "min": 60, "h": 3_600, "d": 86_400}
_EVERY_S_MAX: Final = 31 * 86_400


class _Every(click.ParamType[int]):
    """``30min``, ``1h``, ``1d``, in seconds."""

    name = "every"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "30min|1h|1d"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        del param
        if isinstance(value, int):
            return value
        found = _EVERY.fullmatch(value.strip().lower())
        seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
        if not 0 < seconds <= _EVERY_S_MAX:
            raise Misused("feed_every", ctx, value=value)
        return seconds


@click.group("feed", cls=Group)
def feed() -> None:
    pass


@feed.command("add")
@click.argument("name")
@click.option("--from", "source", required=True)
@click.option("--map", "map_file", type=File(), required=True)
@click.option("--every", "every_s", type=_Every(), default="1h")
@click.option("--allow-private", "allows_private", is_flag=True)
@for_merchant
@reports
@at_desk
async def add(
    desk: Desk,
    *,
    name: str,
    source: str,
    map_file: Path,
    every_s: int,
    allows_private: bool,
) -> None:
    column_map = await asyncio.to_thread(map_file.read_bytes)
    try:
        await add_feed(
            desk.hub.database,
            desk.hub.keys,
            desk.hub.clock,
            desk.merchant_id,
            name=name,
            source=source,
            column_map=column_map,
            every_s=every_s,
            allows_private=allows_private,
            actor=desk.actor,
        )
    except FeedExists as exists:
        raise Failure("feed_exists", name=name) from exists
    except FeedSourceWrong as wrong:
        raise Failure("feed_source", source=str(wrong)) from wrong
    if not desk.out.document({"name": name, "every_s": every_s}):
        desk.out.say("cli.feed.added", name=name)


@feed.command("list")
@for_merchant
@reports
@at_desk
async def list_(desk: Desk) -> None:
    feeds = await read_feeds(desk.hub.database, desk.merchant_id)
    if desk.out.document({"feeds": feeds}):
        return
    if not feeds:
        desk.out.say("cli.feed.none")
        return
    now = desk.hub.clock.now()
    desk.out.table(
        ("name", "feed.source", "interval", "feed.looked", "feed.taken", "feed.variants"),
        [
            (
                each.name,
                each.source,
                _every(each.every_s),
                desk.out.age(each.looked_at, now),
                desk.out.age(each.taken_at, now),
                desk.out.number(each.variants),
            )
            for each in feeds
        ],
        right="feed.variants",
    )
    for each in feeds:
        if (each.next_due_at - now).total_seconds() > _EVERY_S_MAX:
            desk.out.say("cli.feed.waits", name=each.name)
        _say_problem(desk, each)


def _every(seconds: int) -> str:
    for unit in ("d", "h"):
        if seconds % _UNITS_S[unit] == 0:
            return f"{seconds // _UNITS_S[unit]}{unit}"
    return f"{seconds // 60}min"


def _say_problem(desk: Desk, each: FeedView) -> None:
    if each.problem is None:
        return
    params = each.problem_params or {}
    desk.out.line(desk.words.text(each.problem, **params), style="red")
    desk.out.line(desk.words.text(f"{each.problem}.advice", **params))


@feed.command("run")
@click.argument("name")
@click.option("--plan", "is_plan", is_flag=True)
@click.option("--yes-large", "allows_large", is_flag=True)
@click.option("--wait", "waits", is_flag=True)
@for_merchant
@reports
@at_desk
async def run(
    desk: Desk,
    *,
    name: str,
    is_plan: bool,
    allows_large: bool,
    waits: bool,
) -> None:
    try:
        with desk.out.progress("cli.feed.looking", name=name):
            look = await look_at_feed(
                desk.hub.database,
                desk.hub.keys,
                desk.hub.clock,
                desk.merchant_id,
                name,
                actor=f"feed:{name}",
                is_plan=is_plan,
                allows_large=allows_large,
                waits=waits,
            )
    except FeedUnknown as unknown:
        raise Failure("feed_unknown", name=name) from unknown
    document = {
        "name": name,
        "state": look.state,
        "is_plan": is_plan,
        "import_id": look.import_id,
        "counts": look.plan.counts if look.plan else None,
        "updated": look.plan.updated if look.plan else [],
        "problem": look.hold,
        "params": look.params,
    }
    if not desk.out.document(document):
        _say(desk, name, look, is_plan=is_plan)
    if look.hold is not None:
        raise Incomplete("feed_held", name=name)


def _say(desk: Desk, name: str, look: FeedLook, *, is_plan: bool) -> None:
    out, words = desk.out, desk.words
    if look.plan is not None:
        for each in look.plan.updated[:_SHOWN_MAX]:
            fields = ", ".join(change_text(change, words) for change in each.changes)
            out.say("cli.import.updated", sku=each.sku, row=each.row_number, fields=fields)
        for row in look.plan.refused[:_SHOWN_MAX]:
            reason = words.text(row.reason_code, **row.params)
            out.say("cli.import.refused", row=row.row_number, sku=row.sku or "–", reason=reason)
    if look.hold is not None:
        params: dict[str, str | int] = {"feed": name, **(look.params or {})}
        if "reason" in params:
            reason = str(params.pop("reason"))
            params["detail"] = words.text(reason, **params)
        out.line(words.text(look.hold, **params), style="red")
        out.line(words.text(f"{look.hold}.advice", **params))
    elif look.state is LookState.UNCHANGED:
        out.say("cli.feed.unchanged", name=name)
    elif look.plan is not None:
        ended = "cli.import.planned" if is_plan else "cli.import.done"
        out.say(ended, style="bold", **look.plan.counts)


@feed.command("remove")
@click.argument("name")
@for_merchant
@reports
@at_desk
async def remove(desk: Desk, name: str) -> None:
    try:
        await remove_feed(
            desk.hub.database, desk.hub.clock, desk.merchant_id, name, actor=desk.actor
        )
    except FeedUnknown as unknown:
        raise Failure("feed_unknown", name=name) from unknown
    if not desk.out.document({"name": name}):
        desk.out.say("cli.feed.removed", name=name)
