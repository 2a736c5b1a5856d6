"""Merchants: whose catalog, stock and accounts a hub keeps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import psycopg

from meschain.app.commands.add_merchant import MerchantInvalid, NewMerchant, add_merchant
from meschain.app.commands.delete_merchant import TableErased, delete_merchant, half_deleted
from meschain.app.images.store import ImageStore
from meschain.channel.http import TransportLost
from meschain.cli.account import delete_webhooks
from meschain.cli.database import Reached, reached_by_command
from meschain.cli.failure import Failure
from meschain.cli.files import archive
from meschain.cli.help import File, Group, OneOf, reports, session_of
from meschain.cli.session import Desk, actor, opened_hub, read_merchants
from meschain.messages import LANGUAGES
from meschain.registry import UnknownMarketplace
from meschain.store.erasure import StillWritten


@click.group("merchant", cls=Group)
def merchant() -> None:
    pass


@merchant.command("add")
@click.argument("name")
@click.option("--currency", default="TRY")
@click.option("--content-language", type=OneOf(*LANGUAGES), default="tr")
@click.option("--time-zone", default="Europe/Istanbul")
@click.option("--country", default="TR")
@reports
@click.pass_context
def add(
    ctx: click.Context,
    name: str,
    currency: str,
    content_language: str,
    time_zone: str,
    country: str,
) -> None:
    session = session_of(ctx)
    new = NewMerchant(
        name=name.strip(),
        country=country.upper(),
        currency=currency.upper(),
        time_zone=time_zone,
        language=content_language,
        location_name=session.catalog.text("cli.merchant.location"),
    )

    async def work(reached: Reached) -> int:
        async with opened_hub(session, reached) as hub:
            try:
                return await add_merchant(hub.database, hub.clock, new, actor=actor())
            except psycopg.errors.UniqueViolation as taken:
                raise Failure("merchant_taken", name=new.name) from taken
            except MerchantInvalid as wrong:
                raise Failure(f"merchant_{wrong.field}", value=wrong.value) from wrong

    with reached_by_command(session.settings, session.out) as reached:
        merchant_id = asyncio.run(work(reached))
    if not session.out.document({"merchant_id": merchant_id, "name": new.name}):
        session.out.say("cli.merchant.added", name=new.name)


@merchant.command("list")
@reports
@click.pass_context
def list_(ctx: click.Context) -> None:
    session = session_of(ctx)
    with reached_by_command(session.settings, session.out) as reached:
        found = asyncio.run(read_merchants(reached.url))
    rows = [{"merchant_id": each.merchant_id, "name": each.name} for each in found]
    if session.out.document({"merchants": rows}):
        return
    if not found:
        session.out.say("cli.failure.merchant_none")
        return
    session.out.table(("id", "name"), [(str(e.merchant_id), e.name) for e in found], right="id")


merchant.add_command(archive.export)
merchant.add_command(archive.import_)


@merchant.command("delete")
@click.argument("name")
@click.option("--confirm")
@click.option("--export-to", type=File())
@click.option("--passphrase-file", type=File())
@click.option("--without-export", is_flag=True)
@reports
@click.pass_context
def delete(
    ctx: click.Context,
    *,
    name: str,
    confirm: str | None,
    export_to: Path | None,
    passphrase_file: Path | None,
    without_export: bool,
) -> None:
    session = session_of(ctx)

    async def work(reached: Reached) -> list[TableErased]:
        known = {each.name: each for each in await read_merchants(reached.url)}
        half = known.get(half_deleted(name))
        found = half or known.get(name)
        if not known:
            raise Failure("merchant_none")
        if found is None:
            raise Failure("merchant_unknown", name=name, known=", ".join(known))
        async with opened_hub(session, reached) as hub:
            desk = Desk(session, hub, reached, found)
            if half is None:  # else it was asked for, and part of it is gone
                await _ask(desk, confirm, export_to, without_export=without_export)
                if export_to is not None:
                    manifest = await archive.exported(desk, export_to, passphrase_file)
                    session.out.note("cli.merchant.deleting_exported", file=str(export_to))
                    kind = "open" if manifest.salt is None else "sealed"
                    session.out.note(f"cli.merchant.exported_{kind}")
                await _unregister(desk)
            with session.out.progress("cli.merchant.deleting") as tick:
                return await delete_merchant(
                    reached.url,
                    hub.database,
                    hub.clock,
                    found.merchant_id,
                    name,
                    images=ImageStore(session.settings.images_folder),
                    on_progress=tick,
                )

    with reached_by_command(session.settings, session.out) as reached:
        try:
            tables = asyncio.run(work(reached))
        except StillWritten as busy:
            raise Failure("merchant_still_written", name=name) from busy
    left = sum(each.left for each in tables)
    document = {
        "name": name,
        "export": None if export_to is None else str(export_to),
        "is_erased": not left,
        "tables": tables,
    }
    if not session.out.document(document):
        number = session.out.number
        session.out.table(
            ("table", "erased", "left"),
            [
                (each.table, number(each.erased), number(each.left))
                for each in tables
                if each.erased or each.left
            ],
            right="erased left",
        )
        if not left:
            rows = sum(each.erased for each in tables)
            session.out.say("cli.merchant.deleted", name=name, rows=rows, tables=len(tables))
    if left:
        raise Failure("merchant_left", name=name, count=left)


async def _ask(
    desk: Desk, confirm: str | None, export_to: Path | None, *, without_export: bool
) -> None:
    """Whether all was said that a deletion needs. Raises Failure."""
    name = desk.merchant.name
    if (export_to is None) is not without_export:
        raise Failure("delete_needs_export", name=name)
    if export_to is not None and await asyncio.to_thread(export_to.exists):
        raise Failure("delete_export_exists", file=str(export_to))
    if confirm != name:
        armed = [each.name for each in await desk.accounts() if each.state == "armed"]
        kind = "delete_armed" if armed else "delete_unconfirmed"
        raise Failure(kind, name=name, accounts=", ".join(armed))


async def _unregister(desk: Desk) -> None:
    """End the webhooks, as far as marketplaces can be asked: they stop when nobody answers."""
    for each in await desk.accounts():
        try:
            is_ended = await delete_webhooks(desk, each)
        except (Failure, TransportLost, UnknownMarketplace, LookupError, ValueError):
            is_ended = False  # an account that cannot be opened does not keep its merchant here
        if not is_ended:
            desk.out.note("cli.merchant.webhooks_stay", account=each.name)
