"""Imports that were made, and putting one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from meschain.app.commands.import_products import (
    AlreadyUndone,
    ImportUnknown,
)
from meschain.app.commands.put_back import put_import_back
from meschain.app.queries.imports import read_imports
from meschain.cli.failure import Failure
from meschain.cli.help import Command, Whole, for_merchant, reports
from meschain.cli.imports.change import change_text
from meschain.cli.session import at_desk

if TYPE_CHECKING:
    from meschain.app.commands.import_products import UndoPlan
    from meschain.app.queries.imports import ImportRun
    from meschain.cli.session import Desk

_SHOWN_MAX: Final = 20
# What is told of a run in a line; each kind of import counts its own things.
_TOLD: Final = ("created", "updated", "changed", "unchanged", "refused")


@click.command("list", cls=Command)
@click.option("--limit", type=Whole(1, 100_000), default=50)
@for_merchant
@reports
@at_desk
async def list_(desk: Desk, limit: int) -> None:
    runs = await read_imports(desk.hub.database, desk.merchant_id, limit=limit)
    documents = [
        {name: getattr(run, name) for name in run.__struct_fields__} | {"state": run.state}
        for run in runs
    ]
    if desk.out.document({"imports": documents}):
        return
    if not runs:
        desk.out.say("cli.import.list.none")
        return
    text, now = desk.words.text, desk.hub.clock.now()
    desk.out.table(
        ("id", "occurred", "import.file", "import.actor", "state", "import.counts"),
        [
            (
                str(run.import_id),
                desk.out.age(run.started_at, now),
                run.file_name or run.kind,
                run.actor,
                text(f"cli.import.state.{run.state}"),
                _counts(run, desk),
            )
            for run in runs
        ],
        right="id",
    )


def _counts(run: ImportRun, desk: Desk) -> str:
    said: list[str] = []
    for name in _TOLD:
        count = run.counts.get(f"variants_{name}", run.counts.get(name, 0))
        if count:
            said.append(desk.words.text(f"cli.import.count.{name}", count=count))
    return ", ".join(said) or "–"


@click.command("undo", cls=Command)
@click.argument("number", type=Whole(1))
@click.option("--plan", "is_plan", is_flag=True)
@for_merchant
@reports
@at_desk
async def undo(desk: Desk, *, number: int, is_plan: bool) -> None:
    try:
        with desk.out.progress("cli.import.undoing") as tick:
            plan = await put_import_back(
                desk.hub.database,
                desk.hub.clock,
                desk.merchant_id,
                number,
                actor=desk.actor,
                is_plan=is_plan,
                on_progress=tick,
            )
    except ImportUnknown as unknown:
        raise Failure("import_unknown", number=str(number)) from unknown
    except AlreadyUndone as undone:
        raise Failure("import_undone", number=str(number)) from undone
    document = {
        "import_id": number,
        "is_plan": is_plan,
        "counts": plan.counts,
        "put_back": plan.put_back,
        "removed": plan.removed,
        "kept": [
            {
                "code": each.code,
                "fields": each.fields,
                "reason_code": each.reason,
                "reason": desk.words.text(each.reason),
            }
            for each in plan.kept
        ],
    }
    if not desk.out.document(document):
        _say(desk, plan, is_plan=is_plan)


def _say(desk: Desk, plan: UndoPlan, *, is_plan: bool) -> None:
    out = desk.out
    for back in plan.put_back[:_SHOWN_MAX]:
        fields = ", ".join(change_text(change, desk.words) for change in back.changes)
        out.say("cli.import.undo.back", code=back.code, fields=fields)
    _more(desk, len(plan.put_back))
    for each in plan.kept[:_SHOWN_MAX]:
        out.say(
            "cli.import.undo.kept",
            style="yellow",
            code=each.code,
            fields=", ".join(each.fields) or "–",
            reason=desk.words.text(each.reason),
        )
    _more(desk, len(plan.kept))
    ended = "cli.import.undo.planned" if is_plan else "cli.import.undo.done"
    out.say(ended, style="bold", **plan.counts)


def _more(desk: Desk, count: int) -> None:
    if count > _SHOWN_MAX:
        desk.out.say("cli.more", count=count - _SHOWN_MAX)
