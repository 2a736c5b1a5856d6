"""``meschain doctor``: what is well, what is wrong, and what to do about it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click
import msgspec
import psycopg

from meschain.app.keeping.bucket import BucketFailed
from meschain.app.keeping.doctor import Doctor, Finding, Place
from meschain.app.keeping.storage import storage_at
from meschain.channel.clock import SystemClock
from meschain.cli.database import HubAddress, is_locked, reached_by_command
from meschain.cli.failure import Failure, explain
from meschain.cli.help import Command, reports, session_of
from meschain.store.embedded import EmbeddedPostgresError
from meschain.store.embedded.postmaster import home_of

if TYPE_CHECKING:
    from meschain.cli.session import Session
    from meschain.messages import Catalog
    from meschain.settings import Settings

_MARKS: Final = {"good": "✓", "notice": "!", "wrong": "✗"}
_STYLES: Final = {"good": "green", "notice": "yellow", "wrong": "red"}


@click.command("doctor", cls=Command)
@reports
@click.pass_context
def doctor(ctx: click.Context) -> None:
    session = session_of(ctx)
    findings = _findings(session)
    words = session.catalog
    wrong = sum(each.level == "wrong" for each in findings)
    if not session.out.document(
        {
            "is_well": not wrong,
            "findings": [
                {**msgspec.structs.asdict(each), "what": _what(each, words), "do": _do(each, words)}
                for each in findings
            ],
        }
    ):
        for each in findings:
            said = f"{_MARKS[each.level]} {_what(each, words)}"
            session.out.line(said, style=_STYLES[each.level])
            if advice := _do(each, words):
                session.out.line(f"  → {advice}")
    if wrong:
        raise Failure("doctor_wrong", count=wrong)


def _findings(session: Session) -> list[Finding]:
    settings = session.settings
    looking = Doctor(_place(settings), SystemClock().now())
    looking.look_around()
    address = settings.backup_address
    try:
        looking.look_at_backups(storage_at(address, settings.s3_file))
    except (OSError, BucketFailed) as away:
        words = explain(away, session.catalog) or str(away)
        looking.add("backup_away", "wrong", address, words=words)
    is_embedded = settings.database_url is None
    cluster = home_of(settings.postgres_dir) / "cluster"
    if is_embedded and not cluster.exists():
        # The key is made by the first hub, after its database.
        if settings.master_key.exists():
            looking.add("database_gone", "wrong", str(cluster))
        else:
            looking.add("database_none", "notice")
        return looking.findings
    try:
        with (
            reached_by_command(settings, session.out, is_migrated=False) as reached,
            psycopg.connect(reached.url) as found,
        ):
            found.read_only = True
            looking.now = SystemClock().now()
            looking.look_into(found)
    except (psycopg.Error, EmbeddedPostgresError, Failure) as away:
        words = explain(away, session.catalog) or str(away)
        looking.add("database_away", "wrong", words=words)
    return looking.findings


def _place(settings: Settings) -> Place:
    pid, is_held = None, False
    with suppress(OSError, msgspec.MsgspecError), settings.address_file.open("rb") as file:
        pid = msgspec.json.decode(file.read(), type=HubAddress).pid
        is_held = is_locked(file)
    return Place(
        home=settings.home,
        database_folder=None if settings.database_url else home_of(settings.postgres_dir),
        master_key=settings.master_key,
        backup_key=settings.backup_key_file,
        images_folder=settings.images_folder,
        s3_file=settings.s3_file,
        plan=settings.backup,
        hub_pid=pid,
        hub_lives=is_held,
    )


def _what(finding: Finding, words: Catalog) -> str:
    said = words.text(f"cli.doctor.{finding.kind}", **finding.params)
    return f"{finding.subject}: {said}" if finding.subject else said


def _do(finding: Finding, words: Catalog) -> str:
    key = f"cli.doctor.{finding.kind}.do"
    return words.text(key) if key in words else ""
