"""Files out: catalog, stock, prices, orders, and what marketplaces refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from meschain.app.queries.export import (
    ORDER_COLUMNS,
    ORDER_NUMERIC,
    PRICE_COLUMNS,
    PRICE_NUMERIC,
    STOCK_COLUMNS,
    STOCK_NUMERIC,
    location_id,
)
from meschain.app.queries.export import (
    orders as read_orders,
)
from meschain.app.queries.export import (
    prices as read_prices,
)
from meschain.app.queries.export import (
    products as read_products,
)
from meschain.app.queries.export import (
    stock as read_stock,
)
from meschain.app.queries.problems import read_problems
from meschain.cli.failure import Failure
from meschain.cli.files.said import SHOWN_MAX, say_more
from meschain.cli.help import File, Group, OneOf, for_merchant, reports, words_of
from meschain.cli.session import at_desk
from meschain.cli.wording import problem_words
from meschain.exchange import ENCODINGS
from meschain.exchange.out import (
    Container,
    ExportFormat,
    ExportOptions,
    LetterLost,
    Losses,
    SheetStyle,
    WorkbookFull,
    catalog_writer,
    write_sheet,
)
from meschain.exchange.out.sheet import WORKBOOK_ROWS_MAX, WORKBOOK_TEXT_MAX, GrowingSheet
from meschain.exchange.table.workbook import COLUMNS_MAX

if TYPE_CHECKING:
    from meschain.app.queries.problems import ProblemView
    from meschain.cli.output import Tick
    from meschain.cli.session import Desk
    from meschain.exchange.out.sheet import Row

Command = TypeVar("Command", bound=Callable[..., object])
_DELIMITERS: Final = {"semicolon": ";", "comma": ",", "tab": "\t"}
_TICK_ROWS: Final = 500


class Day(click.ParamType[datetime]):
    """A day in UTC, ``2026-11-20``."""

    name = "day"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "YYYY-MM-DD"

    def convert(
        self,
        value: str | datetime,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        with suppress(ValueError):
            return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
        return self.fail(words_of(ctx).text("cli.export.day", value=value), param, ctx)


@click.group("export", cls=Group)
def export() -> None:
    pass


def _written_as(*formats: str) -> Callable[[Command], Command]:
    """Where to and how; CSV is written so that spreadsheets in Turkish open it as it is."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--decimal", "decimal_separator", type=OneOf(",", "."), default=","),
            click.option("--delimiter", type=OneOf(*_DELIMITERS), default="semicolon"),
            click.option("--encoding", type=OneOf(*ENCODINGS), default="utf-8"),
            click.option("--format", "form", type=OneOf(*formats)),
            click.option("--to", "path", type=File(), required=True),
        ):
            command = option(command)
        return command

    return decorate


def _style(encoding: str, delimiter: str, decimal_separator: str) -> SheetStyle:
    return SheetStyle(
        # With its mark, by which spreadsheets know it.
        encoding="utf-8-sig" if encoding == "utf-8" else encoding,
        delimiter=_DELIMITERS[delimiter],
        decimal_separator=decimal_separator,
    )


def _form(form: str | None, path: Path) -> str:
    """As told, else by the file's name."""
    return form or (Container.XLSX if path.suffix.lower() == ".xlsx" else Container.CSV)


@export.command("products")
@_written_as(*ExportFormat)
@click.option("--location")
@click.option("--currency")
@click.option("--content-language")
@click.option("--header", type=OneOf("en", "tr"))
@for_merchant
@reports
@at_desk
async def products(
    desk: Desk,
    path: Path,
    form: str | None,
    encoding: str,
    delimiter: str,
    decimal_separator: str,
    location: str | None,
    currency: str | None,
    content_language: str | None,
    header: str | None,
) -> None:
    place = await location_id(desk.hub.database, desk.merchant_id, location)
    async with desk.hub.database.merchant(desk.merchant_id) as unit:
        row = await unit.row("view.merchant", {"merchant": desk.merchant_id})
    assert row is not None
    options = ExportOptions(
        currency=currency or str(row[2]),
        language=content_language or str(row[3]),
        header_language=header or desk.words.language,
        style=_style(encoding, delimiter, decimal_separator),
    )
    writer = catalog_writer(ExportFormat(_form(form, path)), options)
    done = 0
    with desk.out.progress("cli.export.reading") as tick:
        async for product in read_products(desk.hub.database, desk.merchant_id, location=place):
            writer.add(product)
            done += len(product.variants)
            tick(done, 0)
        with desk.out.written(path) as target:
            count = _finish(lambda: writer.finish(target))
    losses = writer.losses
    document = {
        "file": str(path),
        "format": _form(form, path),
        "rows": count,
        "variants": done - losses.left_out_count,
        "left_out_count": losses.left_out_count,
        "left_out": [
            {"sku": each.sku, "code": each.reason, "reason": desk.words.text(each.reason)}
            for each in losses.left_out
        ],
        "not_held": dict(sorted((+losses.fields).items())),
    }
    if desk.out.document(document):
        return
    desk.out.say("cli.export.done", file=str(path), rows=count)
    _say_losses(desk, losses)


def _say_losses(desk: Desk, losses: Losses) -> None:
    for name, count in sorted((+losses.fields).items()):
        what = desk.words.text(f"export.field.{name}")
        desk.out.say("cli.export.not_held", what=what, count=count)
    for each in losses.left_out[:SHOWN_MAX]:
        reason = desk.words.text(each.reason)
        desk.out.say("cli.export.left_out", style="red", sku=each.sku, reason=reason)
    say_more(desk, losses.left_out_count)


def _finish(write: Callable[[], int]) -> int:
    try:
        return write()
    except LetterLost as lost:
        encoding = lost.encoding.removesuffix("-sig")
        raise Failure("export_letter", letter=lost.letter, encoding=encoding) from lost
    except WorkbookFull as full:
        most = {
            "rows": WORKBOOK_ROWS_MAX,
            "columns": COLUMNS_MAX,
            "length": WORKBOOK_TEXT_MAX,
        }
        raise Failure("export_full", **most) from full


async def _write(
    desk: Desk,
    path: Path,
    form: str | None,
    style: SheetStyle,
    rows: AsyncIterator[Row],
    columns: Sequence[str],
    numeric: frozenset[str],
) -> None:
    """A plain table, by way of a temporary file: rows come in pages, files are written at once."""
    sheet = GrowingSheet()
    if _form(form, path) == Container.XLSX:
        style = replace(style, container=Container.XLSX)
    with desk.out.progress("cli.export.reading") as tick:
        async for row in rows:
            sheet.put(row)
            if not sheet.count % _TICK_ROWS:
                tick(sheet.count, 0)
    with desk.out.progress("cli.export.writing") as told, desk.out.written(path) as target:
        count = _finish(
            lambda: write_sheet(target, columns, _told(sheet, told), style, numeric=numeric)
        )
    if not desk.out.document({"file": str(path), "format": _form(form, path), "rows": count}):
        desk.out.say("cli.export.done", file=str(path), rows=count)


def _told(sheet: GrowingSheet, tick: Tick) -> Iterator[Row]:
    for done, row in enumerate(sheet.rows()):
        if not done % _TICK_ROWS:
            tick(done, sheet.count)
        yield row


@export.command("stock")
@_written_as(*Container)
@click.option("--location")
@for_merchant
@reports
@at_desk
async def stock(
    desk: Desk,
    path: Path,
    form: str | None,
    encoding: str,
    delimiter: str,
    decimal_separator: str,
    location: str | None,
) -> None:
    database, merchant = desk.hub.database, desk.merchant_id
    place = None if location is None else await location_id(database, merchant, location)
    rows = read_stock(database, merchant, location=place)
    style = _style(encoding, delimiter, decimal_separator)
    await _write(desk, path, form, style, rows, STOCK_COLUMNS, STOCK_NUMERIC)


@export.command("prices")
@_written_as(*Container)
@for_merchant
@reports
@at_desk
async def prices(
    desk: Desk, path: Path, form: str | None, encoding: str, delimiter: str, decimal_separator: str
) -> None:
    rows = read_prices(desk.hub.database, desk.merchant_id)
    style = _style(encoding, delimiter, decimal_separator)
    await _write(desk, path, form, style, rows, PRICE_COLUMNS, PRICE_NUMERIC)


@export.command("orders")
@_written_as(*Container)
@click.option("--since", type=Day())
@click.option("--until", type=Day())
@for_merchant
@reports
@at_desk
async def orders(
    desk: Desk,
    path: Path,
    form: str | None,
    encoding: str,
    delimiter: str,
    decimal_separator: str,
    since: datetime | None,
    until: datetime | None,
) -> None:
    rows = read_orders(
        desk.hub.database,
        desk.merchant_id,
        since=since,
        until=until,
        erased=desk.words.text("cli.personal-data.erased"),
    )
    style = _style(encoding, delimiter, decimal_separator)
    await _write(desk, path, form, style, rows, ORDER_COLUMNS, ORDER_NUMERIC)


_REFUSED_COLUMNS: Final = ("at", "account", "subject", "what", "code", "words", "advice", "times")


@export.command("refused")
@_written_as(*Container)
@for_merchant
@reports
@at_desk
async def refused(
    desk: Desk, path: Path, form: str | None, encoding: str, delimiter: str, decimal_separator: str
) -> None:
    style = _style(encoding, delimiter, decimal_separator)
    await _write(desk, path, form, style, _problems(desk), _REFUSED_COLUMNS, frozenset({"times"}))


async def _problems(desk: Desk) -> AsyncIterator[Row]:
    """What marketplaces refused, offers and listings, newest first."""
    cursor = None
    while True:
        page = await read_problems(
            desk.hub.database, desk.merchant_id, limit=_TICK_ROWS, cursor=cursor
        )
        for problem in page.items:
            if problem.kind != "alert":
                yield _refusal(desk, problem)
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def _refusal(desk: Desk, problem: ProblemView) -> Row:
    what, advice = problem_words(desk.out, problem)
    return {
        "at": problem.at.isoformat(),
        "account": problem.account_name,
        "subject": problem.subject,
        "what": what,
        "code": problem.code,
        "words": " · ".join(problem.words),
        "advice": advice,
        "times": str(problem.times),
    }
