"""What all commands about files do: fingerprints, refused rows, how a file was read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meschain import __version__
from meschain.app.commands.import_sheet import SheetRun
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.help import File, OneOf
from meschain.exchange import ENCODINGS, read_column_map, write_refused
from meschain.exchange.sheet.named import SheetOptions

if TYPE_CHECKING:
    from meschain.cli.output import Tick
    from meschain.cli.session import Desk
    from meschain.exchange import RowWarning, SourceForm
    from meschain.exchange.refused import Refused, ToldRow
    from meschain.messages import Catalog


SHOWN_MAX: Final = 20
DOCUMENT_MAX: Final = 10_000  # rows of a JSON document: it is built in memory


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


def sheet_run(desk: Desk, file: Path, tick: Tick, told: Told) -> SheetRun:
    return SheetRun(
        database=desk.hub.database,
        clock=desk.hub.clock,
        merchant_id=desk.merchant_id,
        actor=desk.actor,
        file_name=file.name,
        file_hash=fingerprint(file),
        terms_hash=hashlib.sha256(f"{__version__} {told.options}".encode()).digest(),
        is_plan=told.is_plan,
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


def reason_text(row: ToldRow, words: Catalog) -> str:
    """Why a row is left out or remarked upon; the problem of a tax class is a text itself."""
    params = dict(row.params)
    if "problem" in params:
        params["problem"] = words.text(f"vat.problem.{params['problem']}")
    return words.text(row.reason_code, **params)


def refusal_documents(desk: Desk, rows: Sequence[ToldRow]) -> list[dict[str, object]]:
    """The first of them; how many there are stands in the document's counts."""
    return [
        {
            "row_number": each.row_number,
            "sku": each.sku,
            "code": each.reason_code,
            "reason": reason_text(each, desk.words),
        }
        for each in rows[:DOCUMENT_MAX]
    ]


def say_warnings(desk: Desk, warnings: Sequence[RowWarning]) -> None:
    for warning in warnings:
        desk.out.say("cli.import.file_warning", reason=reason_text(warning, desk.words))


def say_refused(desk: Desk, refused: Sequence[ToldRow]) -> None:
    for each in refused[:SHOWN_MAX]:
        desk.out.say(
            "cli.import.refused",
            style="red",
            row=each.row_number,
            sku=each.sku or "–",
            reason=reason_text(each, desk.words),
        )
    say_more(desk, len(refused))


def say_more(desk: Desk, count: int) -> None:
    if count > SHOWN_MAX:
        desk.out.say("cli.more", count=count - SHOWN_MAX)


def check_back(back: Path | None, file: Path) -> None:
    """Refused rows are not written over the file that they come from. Raises: Failure."""
    if back is not None and back.exists() and back.samefile(file):
        raise Failure("refused_over_file", file=str(file))


def write_back(
    desk: Desk, form: SourceForm, refused: Sequence[Refused], *, back: Path | None, file: Path
) -> Failure | None:
    """Write the refused rows where that was asked for; what hinders it is told at the end."""
    if back is None:
        return None
    try:
        with desk.out.written(back) as target:
            write_refused(target, form, refused, lambda row: reason_text(row, desk.words))
    except OSError as lost:
        words = lost.strerror or str(lost)
        return Failure("refused_unwritten", file=file.name, back=str(back), words=words)
    return None


def end(
    desk: Desk,
    refused: Sequence[Refused],
    *,
    back: Path | None,
    lost: Failure | None,
    file: Path,
    taken: int,
) -> None:
    """Say where the refused rows are; nothing taken at all is a failure."""
    if lost is not None:
        raise lost
    if refused and back is not None and str(back) != "-":
        desk.out.say("cli.import.refused_file", file=str(back))
    if refused and not taken:
        raise Incomplete("import_refused", file=file.name, count=len(refused))
