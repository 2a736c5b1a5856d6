"""The catalog in: products, mapping tables."""

from __future__ import annotations

import asyncio
import copy
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meschain.app.commands.import_products import (
    ImportOptions,
    apply_import,
    plan_import,
    terms_hash,
)
from meschain.app.commands.mapping import (
    MappingFileRefused,
    apply_mapping,
    export_mapping,
    plan_mapping,
    read_mapping,
    write_mapping,
)
from meschain.cli.failure import Failure, Incomplete
from meschain.cli.files import daily, history
from meschain.cli.files.said import (
    check_back,
    end,
    fingerprint,
    reason_text,
    refusal_documents,
    say_refused,
    write_back,
)
from meschain.cli.help import Exact, File, Group, Misused, OneOf, Whole, for_merchant, reports
from meschain.cli.imports import runs
from meschain.cli.imports.change import change_text
from meschain.cli.reference import find
from meschain.cli.session import at_desk
from meschain.domain.money import Money, Rounding
from meschain.exchange import (
    ENCODINGS,
    FileFormat,
    ReadingOptions,
    SourceKind,
    read_catalog,
    read_column_map,
)
from meschain.registry import marketplaces

if TYPE_CHECKING:
    from meschain.app.commands.import_products import ImportPlan
    from meschain.app.commands.mapping import MappingPlan
    from meschain.cli.session import Desk
    from meschain.exchange import CatalogReading, SourceForm, VatPreview
    from meschain.messages import Catalog, Param

_SHOWN_MAX: Final = 20
_KINDS: Final = tuple(kind for kind in SourceKind if kind is not SourceKind.SUPPLIER)


@click.group("import", cls=Group)
def import_() -> None:
    pass


class _VatAnswer(click.ParamType[tuple[int, Decimal]]):
    """``9=20``: goods of tax class 9 carry 20 % VAT."""

    name = "class=percent"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "CLASS=PERCENT"

    def convert(
        self,
        value: str | tuple[int, Decimal],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, Decimal]:
        if isinstance(value, tuple):
            return value
        tax_class, equals, percent = value.partition("=")
        if not equals:
            raise Misused("vat_answer", ctx, value=value)
        return Whole().convert(tax_class, param, ctx), Exact().convert(percent, param, ctx)


@import_.command("products")
@click.argument("file", type=File())
@click.option("--plan", "is_plan", is_flag=True)
@click.option("--refused", type=File())
@click.option("--vat", type=_VatAnswer(), multiple=True)
@click.option("--location")
@click.option("--currency")
@click.option("--content-language")
@click.option("--format", "source_kind", type=OneOf(*_KINDS))
@click.option("--columns", "columns_file", type=File())
@click.option("--sheet")
@click.option("--encoding", type=OneOf(*ENCODINGS))
@click.option("--decimal", "decimal_separator", type=OneOf(",", "."))
@click.option("--table-prefix")
@click.option("--shop-url")
@click.option("--include-disabled", is_flag=True)
@for_merchant
@reports
@at_desk
async def products(
    desk: Desk,
    *,
    file: Path,
    is_plan: bool,
    refused: Path | None,
    vat: tuple[tuple[int, Decimal], ...],
    location: str | None,
    currency: str | None,
    content_language: str | None,
    source_kind: str | None,
    columns_file: Path | None,
    sheet: str | None,
    encoding: str | None,
    decimal_separator: str | None,
    table_prefix: str | None,
    shop_url: str | None,
    include_disabled: bool,
) -> None:
    check_back(refused, file)
    async with desk.hub.database.merchant(desk.merchant_id) as unit:
        row = await unit.row("view.merchant", {"merchant": desk.merchant_id})
    assert row is not None
    options = ReadingOptions(
        today=desk.hub.clock.now().date(),
        currency=currency,
        currency_fallback=str(row[2]),
        language=content_language or str(row[3]),
        vat_by_tax_class=dict(vat),
        decimal_separator=decimal_separator,
        known_skus=await _known_skus(desk),
        shop_url=shop_url,
        table_prefix=table_prefix,
        include_disabled=include_disabled,
        source_kind=SourceKind(source_kind) if source_kind else None,
        encoding=encoding,
        sheet=sheet,
        column_map=read_column_map(columns_file) if columns_file else None,
    )
    about = ImportOptions(
        actor=desk.actor,
        location=location,
        file_name=file.name,
        file_hash=fingerprint(file),
        terms_hash=terms_hash(options),
    )
    with desk.out.progress("cli.import.reading", file=file.name):
        reading = await asyncio.to_thread(read_catalog, file, options)
    plan, import_id, continued = await _carry_out(desk, reading, about, is_plan=is_plan)
    lost = write_back(desk, plan.form, plan.refused, back=refused, file=file)
    document = _document(desk, plan, file, is_plan=is_plan)
    if not desk.out.document(document | {"import_id": import_id, "continued": continued}):
        if continued:
            desk.out.say("cli.import.continued", count=continued)
        _say_import(desk, plan, is_plan=is_plan)
    end(desk, plan.refused, back=refused, lost=lost, file=file, taken=plan.variants)


async def _carry_out(
    desk: Desk, reading: CatalogReading, about: ImportOptions, *, is_plan: bool
) -> tuple[ImportPlan, int | None, int]:
    """The plan, the import's number, and how many variants an earlier process had taken in."""
    with desk.out.progress("cli.import.comparing" if is_plan else "cli.import.writing") as tick:
        database, merchant_id = desk.hub.database, desk.merchant_id
        if is_plan:
            plan = await plan_import(database, merchant_id, reading, about, on_progress=tick)
            return plan, None, 0
        done = await apply_import(
            database, desk.hub.clock, merchant_id, reading, about, on_progress=tick
        )
        return done.plan, done.import_id, done.continued


async def _known_skus(desk: Desk) -> frozenset[str]:
    """So that a set may name parts that an earlier file brought."""
    async with desk.hub.database.merchant(desk.merchant_id) as unit:
        rows = await unit.rows("stock.skus", {"merchant": desk.merchant_id})
    return frozenset(str(row[0]) for row in rows)


def _document(desk: Desk, plan: ImportPlan, file: Path, *, is_plan: bool) -> dict[str, object]:
    return {
        "file": file.name,
        "is_plan": is_plan,
        "counts": plan.counts,
        "form": plan.form,
        "vat": plan.vat_previews,
        "created": plan.created,
        "updated": plan.updated,
        "products_created": plan.products_created,
        "products_updated": plan.products_updated,
        "refused": refusal_documents(desk, plan.refused),
        "warnings": refusal_documents(desk, plan.warnings),
    }


def _say_import(desk: Desk, plan: ImportPlan, *, is_plan: bool) -> None:
    out, words = desk.out, desk.words
    out.line(words.text("cli.import.form", form=_form(plan.form, words)))
    _say_vat(desk, plan.vat_previews)
    for change in plan.updated[:_SHOWN_MAX]:
        fields = ", ".join(change_text(each, words) for each in change.changes)
        out.say("cli.import.updated", sku=change.sku, row=change.row_number, fields=fields)
    _more(desk, len(plan.updated))
    say_refused(desk, plan.refused)
    if plan.warnings:
        out.say("cli.import.warnings", count=len(plan.warnings))
        for warning in plan.warnings[:5]:
            text = reason_text(warning, words)
            if not warning.row_number:
                out.say("cli.import.file_warning", reason=text)
                continue
            out.say(
                "cli.import.warning",
                row=warning.row_number,
                sku=warning.sku or "–",
                reason=text,
            )
    ended = "cli.import.planned" if is_plan else "cli.import.done"
    out.line(words.text(ended, **plan.counts), style="bold")


def _form(form: SourceForm, words: Catalog) -> str:
    """What the file was found to be, in a line."""
    text = words.text
    parts = [text(f"cli.import.kind.{form.kind}")]
    match form.file_format:
        case FileFormat.TEXT:
            mark = text("cli.import.tab") if form.delimiter == "\t" else f"“{form.delimiter}”"
            parts.append(text("cli.import.form.text", delimiter=mark))
        case FileFormat.XLSX:
            parts.append(text("cli.import.form.xlsx", sheet=form.sheet or ""))
        case FileFormat.XML | FileFormat.SQL:
            parts.append(form.file_format.upper())
    if form.file_format is not FileFormat.XLSX:
        parts.append(form.encoding)
    if form.header_language is not None:
        parts.append(text(f"cli.import.header.{form.header_language}"))
    marks = form.decimal_separators
    for separator in sorted(set(marks.values())):
        named = ", ".join(name for name, mark in marks.items() if mark == separator)
        of_all = len(set(marks.values())) == 1
        key = "cli.import.form.decimal" if of_all else "cli.import.form.decimals"
        parts.append(text(key, separator=separator, columns=named))
    return " · ".join(parts)


def _more(desk: Desk, count: int) -> None:
    if count > _SHOWN_MAX:
        desk.out.say("cli.more", count=count - _SHOWN_MAX)


def _say_vat(desk: Desk, previews: tuple[VatPreview, ...]) -> None:
    text = desk.words.text
    for preview in previews:
        about: dict[str, Param] = {
            "id": preview.tax_class_id,
            "title": preview.title,
            "count": preview.product_count,
        }
        if preview.percent is None or preview.gross is None:
            problem = text(f"vat.problem.{preview.problem}") if preview.problem else ""
            desk.out.line(text("cli.import.vat_open", problem=problem, **about), style="red")
            continue
        net = Money.from_decimal(preview.net, preview.gross.currency, rounding=Rounding.HALF_UP)
        shown = text("vat.preview", net=net, vat=preview.percent, gross=preview.gross)
        desk.out.line(text("cli.import.vat", sum=shown, **about))


# — mapping —


@click.group("mapping", cls=Group)
def mapping() -> None:
    pass


@mapping.command("import")
@click.argument("file", type=File())
@click.option("--plan", "is_plan", is_flag=True)
@click.option("--replace", "replaces", is_flag=True)
@for_merchant
@reports
@at_desk
async def import_mapping(
    desk: Desk,
    *,
    file: Path,
    is_plan: bool,
    replaces: bool,
) -> None:
    try:
        reading = read_mapping(file, marketplaces().keys())
    except MappingFileRefused as refused:
        raise Failure("mapping_refused", missing=refused.missing) from refused
    if is_plan:
        plan = await plan_mapping(desk.hub.database, desk.merchant_id, reading, replaces=replaces)
    else:
        plan = await apply_mapping(
            desk.hub.database,
            desk.hub.clock,
            desk.merchant_id,
            reading,
            actor=desk.actor,
            file_name=file.name,
            replaces=replaces,
        )
    refusals = [
        {
            "row_number": each.row_number,
            "code": each.reason,
            "reason": desk.words.text(each.reason, **each.params),
        }
        for each in plan.refused
    ]
    if not desk.out.document(
        {
            "file": file.name,
            "is_plan": is_plan,
            "import_id": plan.import_id,
            "counts": plan.counts,
            "refused": refusals,
        }
    ):
        _say_mapping(desk, plan, is_plan=is_plan)
    if plan.refused and not plan.changes and not plan.unchanged:
        raise Incomplete("import_refused", file=file.name, count=len(plan.refused))


def _say_mapping(desk: Desk, plan: MappingPlan, *, is_plan: bool) -> None:
    for each in plan.refused[:_SHOWN_MAX]:
        desk.out.say(
            "cli.import.refused",
            style="red",
            row=each.row_number,
            sku=" ".join(each.cells[:4]),
            reason=desk.words.text(each.reason, **each.params),
        )
    _more(desk, len(plan.refused))
    ended = "cli.mapping.planned" if is_plan else "cli.mapping.done"
    desk.out.line(desk.words.text(ended, **plan.counts), style="bold")


@mapping.command("export")
@click.argument("file", type=File())
@click.option("--marketplace")
@for_merchant
@reports
@at_desk
async def export(desk: Desk, file: Path, marketplace: str | None) -> None:
    names = None if marketplace is None else [marketplace]
    rows = await export_mapping(desk.hub.database, desk.merchant_id, names)
    with desk.out.written(file) as target:
        write_mapping(target, rows)
    if not desk.out.document({"file": str(file), "rows": len(rows)}):
        desk.out.say("cli.mapping.exported", file=str(file), count=len(rows))


mapping.add_command(find)


# — other files that come in —

_import_mapping = copy.copy(import_mapping)
_import_mapping.name = "mapping"  # by which its texts are found
_BESIDE: Final = (
    *(daily.stock, daily.prices, history.orders, _import_mapping),
    *(runs.list_, runs.undo),
)
for command in _BESIDE:
    import_.add_command(command)
