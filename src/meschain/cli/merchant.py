"""Merchants: whose catalog, stock and accounts a hub keeps."""

from __future__ import annotations

import asyncio

import click
import psycopg

from meschain.app.commands.add_merchant import NewMerchant, add_merchant
from meschain.cli.database import Reached, reached_by_command
from meschain.cli.failure import Failure
from meschain.cli.help import Group, OneOf, reports, session_of
from meschain.cli.session import actor, opened_hub, read_merchants
from meschain.messages import LANGUAGES


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
        country=country,
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
        raise Failure("merchant_none")
    session.out.table(("id", "name"), [(str(e.merchant_id), e.name) for e in found], right="id")
