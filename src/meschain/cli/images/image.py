"""Images: taken in, fetched, looked at, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meschain.app.images.fetching import fetch_images
from meschain.app.images.refusal import ImageRefused
from meschain.app.images.removal import CodeUnknown, prune_images, remove_files
from meschain.app.images.source import SourceRefused
from meschain.app.images.store import ImageStore
from meschain.app.images.take_in import Order, add_one, take_in
from meschain.app.images.view import read_images
from meschain.cli.database import reached_by_command
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import File, Group, Whole, for_merchant, reports, session_of
from meschain.cli.session import at_desk

if TYPE_CHECKING:
    from meschain.app.images.take_in import Left, Progress, TakeIn
    from meschain.app.images.view import ImageView
    from meschain.cli.session import Desk

_SHOWN_MAX: Final = 20
_PLACE_MAX: Final = 9_999
_MIB: Final = 1 << 20
_NOTHING: Final = "–"


@click.group("image", cls=Group)
def image() -> None:
    pass


def _order(desk: Desk, tick: Progress, *, is_plan: bool) -> Order:
    return Order(
        database=desk.hub.database,
        clock=desk.hub.clock,
        store=_store(desk),
        merchant_id=desk.merchant_id,
        actor=desk.actor,
        is_plan=is_plan,
        on_progress=tick,
    )


def _store(desk: Desk) -> ImageStore:
    return ImageStore(desk.session.settings.images_folder)


# — in —


@image.command("import")
@click.argument("folder", type=File())
@click.option("--plan", "is_plan", is_flag=True)
@for_merchant
@reports
@at_desk
async def import_(
    desk: Desk,
    folder: Path,
    is_plan: bool,  # noqa: FBT001 – an option of the command line
) -> None:
    try:
        with desk.out.progress("cli.image.reading") as tick:
            found = await take_in(_order(desk, tick, is_plan=is_plan), folder)
    except SourceRefused as refused:
        raise Failure(f"image_source_{refused.kind}", file=str(folder)) from refused
    _tell(desk, folder, found, is_plan=is_plan)


@image.command("add")
@click.argument("code")
@click.argument("file", type=File())
@click.option("--place", type=Whole(0, _PLACE_MAX), default=1)
@click.option("--plan", "is_plan", is_flag=True)
@for_merchant
@reports
@at_desk
async def add(
    desk: Desk,
    code: str,
    file: Path,
    place: int,
    is_plan: bool,  # noqa: FBT001 – an option of the command line
) -> None:
    with desk.out.progress("cli.image.reading") as tick:
        found = await add_one(_order(desk, tick, is_plan=is_plan), file, code, place)
    _tell(desk, file, found, is_plan=is_plan)


def _tell(desk: Desk, path: Path, found: TakeIn, *, is_plan: bool) -> None:
    document = {
        "source": str(path),
        "is_plan": is_plan,
        "counts": found.counts,
        "taken": found.taken,
        "refused": _refusals(desk, found.refused),
    }
    if not desk.out.document(document):
        for each in found.taken[:_SHOWN_MAX]:
            desk.out.say(
                "cli.image.replaced" if each.is_replacement else "cli.image.taken",
                file=each.file,
                code=each.code,
                place=each.place,
                size=f"{each.width_px}×{each.height_px}",
            )
        _more(desk, len(found.taken))
        _say_refused(desk, found.refused)
        desk.out.say(
            "cli.image.planned" if is_plan else "cli.image.done", style="bold", **found.counts
        )
    if found.refused and not found.taken and not found.unchanged:
        raise Incomplete("image_all_refused", file=str(path), count=len(found.refused))


def _refusals(desk: Desk, refused: Sequence[Left]) -> list[dict[str, str]]:
    return [
        {
            "file": each.file,
            "code": each.reason,
            "reason": desk.words.text(each.reason, **each.params),
        }
        for each in refused
    ]


def _say_refused(desk: Desk, refused: Sequence[Left]) -> None:
    for each in refused[:_SHOWN_MAX]:
        desk.out.line(desk.words.text(each.reason, **each.params), style="red")
    _more(desk, len(refused))


def _more(desk: Desk, count: int) -> None:
    if count > _SHOWN_MAX:
        desk.out.say("cli.more", count=count - _SHOWN_MAX)


@image.command("fetch")
@click.option("--plan", "is_plan", is_flag=True)
@click.option("--again", is_flag=True)
@click.option("--allow-private", "allows_private", is_flag=True)
@for_merchant
@reports
@at_desk
async def fetch(
    desk: Desk,
    is_plan: bool,  # noqa: FBT001 – options of the command line
    again: bool,  # noqa: FBT001
    allows_private: bool,  # noqa: FBT001
) -> None:
    with desk.out.progress("cli.image.fetching") as tick:
        order = _order(desk, tick, is_plan=is_plan)
        done = await fetch_images(order, again=again, allows_private=allows_private)
    document = {
        "is_plan": is_plan,
        "counts": done.counts,
        "fetched": done.fetched,
        "refused": _refusals(desk, done.refused),
    }
    if not desk.out.document(document):
        _say_refused(desk, done.refused)
        key = "cli.image.fetch_planned" if is_plan else "cli.image.fetched"
        desk.out.say(key, style="bold", **done.counts)
    if done.refused and not done.fetched and not done.known:
        raise Incomplete("image_none_fetched", count=len(done.refused))


# — looking —


@image.command("list")
@click.option("--code")
@click.option("--problems", "is_troubled", is_flag=True)
@click.option("--limit", type=Whole(1, 10_000), default=50)
@click.option("--cursor")
@for_merchant
@reports
@at_desk
async def list_(
    desk: Desk,
    code: str | None,
    is_troubled: bool,  # noqa: FBT001 – an option of the command line
    limit: int,
    cursor: str | None,
) -> None:
    page = await read_images(
        desk.hub.database,
        _store(desk),
        desk.merchant_id,
        limit=limit,
        cursor=cursor,
        code=code,
        is_troubled=is_troubled,
    )
    if desk.out.document(page):
        return
    if not page.items:
        desk.out.say("cli.image.none")
        return
    desk.out.table(
        ("image.code", "image.place", "image.source", "image.size", "state", "image.name"),
        [_row(desk, each) for each in page.items],
        right="image.place",
    )
    for each in page.items:
        if each.problem is not None:
            desk.out.line(desk.words.text(each.problem, **each.problem_params), style="red")
    if page.next_cursor is not None:
        desk.out.note("cli.next_page", cursor=page.next_cursor)


def _row(desk: Desk, each: ImageView) -> tuple[str, ...]:
    return (
        each.sku or each.model_code,
        str(each.place),
        each.source_url or each.file_name,
        _NOTHING if each.width_px is None else f"{each.width_px}×{each.height_px}",
        desk.words.text(f"cli.image.state.{each.state}"),
        each.name or _NOTHING,
    )


# — out —


@image.command("remove")
@click.argument("code")
@click.option("--place", type=Whole(0, _PLACE_MAX))
@for_merchant
@reports
@at_desk
async def remove(desk: Desk, code: str, place: int | None) -> None:
    try:
        gone = await remove_files(
            desk.hub.database, desk.hub.clock, desk.merchant_id, code, place, actor=desk.actor
        )
    except CodeUnknown as unknown:
        raise Failure("image_code_unknown", code=code) from unknown
    except ImageRefused as refused:
        raise Failure("image_code_unknown", code=code) from refused
    if not gone:
        raise Failure("image_none_to_remove", code=code)
    if not desk.out.document({"code": code, "removed": gone}):
        desk.out.say("cli.image.removed", code=code, count=gone)


@image.command("prune")
@reports
@click.pass_context
def prune(ctx: click.Context) -> None:
    session = session_of(ctx)
    store = ImageStore(session.settings.images_folder)
    with reached_by_command(session.settings, session.out) as reached:
        count, size = asyncio.run(prune_images(reached.url, store))
    if not session.out.document({"deleted": count, "size_bytes": size}):
        session.out.say("cli.image.pruned", count=count, size=-(-size // _MIB))
