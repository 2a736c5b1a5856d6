"""What all commands about files do: fingerprints, refused rows, how a file was read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meschain.app.commands.import_sheet import SheetRun
from meschain.cli.failure import Incomplete
from meschain.cli.help import File, OneOf
from meschain.exchange import ENCODINGS, read_column_map, write_refused
from meschain.exchange.sheet.named import SheetOptions

if TYPE_CHECKING:
    from meschain.app.commands.import_sheet import SheetRefusal
    from meschain.cli.output import Tick
    from meschain.cli.session import Desk
    from meschain.exchange import RowWarning, SourceForm

SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Told:
    """What a command is told of the sheet: to plan only, where refused rows go, how to read."""

    is_plan: bool
    refused: Path | None
    options: SheetOptions


def read_as(command: Callable[..., object]) -> Callable[..., object]:
    """The options of every command that takes in a sheet; it gets them as ``told``."""

    @functools.wraps(command)
    def run(
        *args: object,
        is_plan: bool,
        refused: Path | None,
        columns_file: Path | None,
        sheet: str | None,
        encoding: str | None,
        decimal_separator: str | None,
        **others: object,
    ) -> object:
        options = SheetOptions(
            encoding=encoding,
            sheet=sheet,
            decimal_separator=decimal_separator,
            column_map=read_column_map(columns_file) if columns_file else None,
        )
        return command(*args, told=Told(is_plan, refused, options), **others)

    wrapped: Callable[..., object] = run
    for option in (
        click.option("--decimal", "decimal_separator", type=OneOf(",", ".")),
        click.option("--encoding", type=OneOf(*ENCODINGS)),
        click.option("--sheet"),
        click.option("--columns", "columns_file", type=File()),
        click.option("--refused", type=File()),
        click.option("--plan", "is_plan", is_flag=True),
    ):
        wrapped = option(wrapped)
    return wrapped


def fingerprint(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def sheet_run(desk: Desk, file: Path, tick: Tick, *, is_plan: bool) -> SheetRun:
    return SheetRun(
        database=desk.hub.database,
        clock=desk.hub.clock,
        merchant_id=desk.merchant_id,
        actor=desk.actor,
        file_name=file.name,
        file_hash=fingerprint(file),
        is_plan=is_plan,
        on_progress=tick,
    )


def form_document(form: SourceForm) -> dict[str, object]:
    return {
        "file_format": form.file_format,
        "encoding": form.encoding,
        "delimiter": form.delimiter,
        "decimal_separators": form.decimal_separators,
        "sheet": form.sheet,
    }


def refusal_documents(desk: Desk, refused: Sequence[SheetRefusal]) -> list[dict[str, object]]:
    return [
        {
            "row_number": each.row_number,
            "sku": each.sku,
            "code": each.reason_code,
            "reason": desk.words.text(each.reason_code, **each.params),
        }
        for each in refused
    ]


def say_warnings(desk: Desk, warnings: Sequence[RowWarning]) -> None:
    for warning in warnings:
        reason = desk.words.text(warning.reason_code, **warning.params)
        desk.out.say("cli.import.file_warning", reason=reason)


def say_refused(desk: Desk, refused: Sequence[SheetRefusal]) -> None:
    for each in refused[:SHOWN_MAX]:
        desk.out.say(
            "cli.import.refused",
            style="red",
            row=each.row_number,
            sku=each.sku or "–",
            reason=desk.words.text(each.reason_code, **each.params),
        )
    say_more(desk, len(refused))


def say_more(desk: Desk, count: int) -> None:
    if count > SHOWN_MAX:
        desk.out.say("cli.more", count=count - SHOWN_MAX)


def end(
    desk: Desk,
    form: SourceForm,
    refused: Sequence[SheetRefusal],
    *,
    back: Path | None,
    file: Path,
    taken: int,
) -> None:
    """Write the refused rows back where that was asked for; nothing taken at all is a failure."""
    if back is not None:
        write_refused(back, form, refused, lambda code, params: desk.words.text(code, **params))
        if refused:
            desk.out.say("cli.import.refused_file", file=str(back))
    if refused and not taken:
        raise Incomplete("import_refused", file=file.name, count=len(refused))
