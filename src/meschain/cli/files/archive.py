"""A whole merchant out, and into another hub."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from meschain.app.commands.add_merchant import MerchantInvalid
from meschain.app.commands.merchant_archive import (
    ArchiveBusy,
    ArchiveDone,
    ArchiveRefused,
    MerchantNameTaken,
    export_archive,
    import_archive,
)
from meschain.app.images.store import ImageStore
from meschain.cli.database import Reached, reached_by_command
from meschain.cli.failure import Failure
from meschain.cli.help import Command, File, for_merchant, reports, session_of
from meschain.cli.session import actor, at_desk, opened_hub, read_merchants

if TYPE_CHECKING:
    from meschain.app.commands.merchant_archive import Manifest
    from meschain.cli.session import Desk


def _passphrase(path: Path | None) -> bytes | None:
    """The file's text without the line end that editors put behind it."""
    if path is None:
        return None
    passphrase = path.read_bytes().rstrip(b"\r\n")
    if not passphrase:
        raise Failure("passphrase_empty", file=str(path))
    return passphrase


@click.command("export", cls=Command)
@click.option("--to", "path", type=File(), required=True)
@click.option("--passphrase-file", type=File())
@for_merchant
@reports
@at_desk
async def export(desk: Desk, path: Path, passphrase_file: Path | None) -> None:
    with desk.out.written(path) as target:
        manifest = await exported(desk, target, passphrase_file)
    if desk.out.document({"file": str(path), **msgspec.to_builtins(manifest)}):
        return
    rows = sum(part.rows for part in manifest.tables)
    desk.out.say("cli.merchant.exported", name=manifest.merchant.name, rows=rows, file=str(path))
    if manifest.images:
        desk.out.say("cli.merchant.exported_images", count=len(manifest.images))
    key = "cli.merchant.exported_open" if manifest.salt is None else "cli.merchant.exported_sealed"
    desk.out.say(key)


async def exported(desk: Desk, path: Path, passphrase_file: Path | None) -> Manifest:
    """Write the desk's merchant to ``path``. Raises Failure, OSError."""
    passphrase = _passphrase(passphrase_file)
    with desk.out.progress("cli.merchant.exporting") as tick:
        return await export_archive(
            path,
            desk.reached.url,
            desk.hub.database,
            desk.hub.keys,
            desk.hub.clock,
            desk.merchant_id,
            images=ImageStore(desk.session.settings.images_folder),
            passphrase=passphrase,
            on_progress=tick,
        )


@click.command("import", cls=Command)
@click.argument("file", type=File())
@click.option("--name")
@click.option("--passphrase-file", type=File())
@reports
@click.pass_context
def import_(ctx: click.Context, file: Path, name: str | None, passphrase_file: Path | None) -> None:
    session = session_of(ctx)
    out = session.out
    passphrase = _passphrase(passphrase_file)

    async def work(reached: Reached) -> ArchiveDone:
        known = {each.name: each.merchant_id for each in await read_merchants(reached.url)}
        async with opened_hub(session, reached) as hub:
            with out.progress("cli.merchant.importing") as tick:
                return await import_archive(
                    file,
                    hub.database,
                    hub.keys,
                    hub.clock,
                    images=ImageStore(session.settings.images_folder),
                    name=name,
                    known=known,
                    passphrase=passphrase,
                    actor=actor(),
                    on_progress=tick,
                )

    with reached_by_command(session.settings, out) as reached:
        try:
            done = asyncio.run(work(reached))
        except MerchantInvalid as wrong:
            raise Failure(f"merchant_{wrong.field}", value=wrong.value) from wrong
        except ArchiveBusy as busy:
            raise Failure("archive_busy", name=str(busy)) from busy
        except MerchantNameTaken as taken:
            raise Failure("merchant_taken", name=str(taken)) from taken
        except ArchiveRefused as refused:
            raise Failure(refused.problem, file=file.name, part=refused.part) from refused
    if out.document(done):
        return
    out.say("cli.merchant.imported", name=done.name, rows=done.rows)
    if done.accounts:
        said = "cli.merchant.imported_sealed" if done.has_secrets else "cli.merchant.imported_open"
        out.say(said, name=done.name)
    if done.feeds:
        out.say("cli.merchant.imported_feeds", count=done.feeds)
