"""Backups: everything in one file, and back."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from meschain.app.commands.erase_personal_data import read_requests
from meschain.app.images.store import ImageStore
from meschain.app.keeping.backups import (
    SUFFIX,
    Made,
    Proof,
    backups_in,
    forget,
    make_backup,
    prove,
    read_key,
    read_proof,
    write_proof,
)
from meschain.app.keeping.bucket import SCHEME, BucketFailed
from meschain.app.keeping.storage import file_at, storage_at
from meschain.channel.clock import SystemClock
from meschain.cli.database import reached_by_command, reached_by_hub
from meschain.cli.failure import Failure, explain
from meschain.cli.help import Address, Command, File, reports, session_of
from meschain.cli.session import actor
from meschain.store.backup import (
    KEY_BYTES_MIN,
    Loaded,
    check_unused,
    drop_before,
    erasure_requests,
    has_merchants,
    scratch,
    swap,
)
from meschain.store.vault import Vault, VaultLocked, joined, write_master_keys

if TYPE_CHECKING:
    from datetime import datetime

    from meschain.app.keeping.storage import Storage
    from meschain.cli.session import Session
    from meschain.settings import Settings

log = logging.getLogger(__name__)

MIB = 1024 * 1024
_SHOWN = 5


@click.command("backup", cls=Command)
@click.option("--to", "address", type=Address())
@click.option("--key-file", type=File())
@click.option("--with-key", is_flag=True)
@click.option("--scheduled", is_flag=True)
@reports
@click.pass_context
def backup(
    ctx: click.Context,
    *,
    address: str | None,
    key_file: Path | None,
    with_key: bool,
    scheduled: bool,
) -> None:
    session = session_of(ctx)
    settings = session.settings
    storage = storage_at(address or settings.backup_address, settings.s3_file)
    key = _key(key_file or settings.backup_key_file)
    if with_key and key is None:
        raise Failure("backup_key_lies_open")
    master_key = settings.master_key.read_bytes() if with_key else None
    now = SystemClock().now()
    with reached_by_command(settings, session.out) as reached:
        with session.out.progress("cli.backup.working") as tick:
            made = make_backup(
                reached.url, storage, now=now, key=key, master_key=master_key, tick=tick
            )
        gone: list[str] = []
        proof: Proof | None = None
        if scheduled and settings.backup:
            proof = _prove_when_due(session, reached.url, storage, made.name, key, now)
            gone = forget(storage, settings.backup, now)
    file = storage.address(made.name)
    _tell_made(session, made, file, gone, is_sealed=key is not None, has_key=with_key)
    if proof is not None and proof.problem:
        raise Failure("backup_unproven", file=proof.file, words=proof.problem)


def _tell_made(
    session: Session, made: Made, file: str, gone: list[str], *, is_sealed: bool, has_key: bool
) -> None:
    images = ImageStore(session.settings.images_folder)
    files, size = images.size()
    if session.out.document(
        {
            "file": file,
            "size_bytes": made.size_bytes,
            "tables": made.saved.tables,
            "rows": made.saved.rows,
            "schema_version": made.saved.schema_version,
            "is_sealed": is_sealed,
            "has_master_key": has_key,
            "deleted": gone,
            "images": {"folder": str(images.folder), "files": files, "size_bytes": size},
        }
    ):
        return
    session.out.say(
        "cli.backup.made",
        file=file,
        count=made.saved.rows,
        size=-(-made.size_bytes // MIB),
    )
    if not has_key:
        session.out.note("cli.backup.keep_key", file=str(session.settings.master_key))
    if files:
        session.out.note(
            "cli.backup.images", count=files, size=-(-size // MIB), folder=str(images.folder)
        )


def _prove_when_due(
    session: Session,
    url: str,
    storage: Storage,
    newest: str,
    key: bytes | None,
    now: datetime,
) -> Proof | None:
    """The self-test of the newest backup, as often as the plan says; its result is kept."""
    settings = session.settings
    assert settings.backup is not None
    last = read_proof(storage)
    days = settings.backup.test_every_days
    if last is not None and not last.problem and 0 <= (now - last.at).days < days:
        return None
    try:
        with session.out.progress("cli.restore.testing") as tick:
            proof = prove(url, storage, newest, now=now, key=key, tick=tick)
    except Exception as defect:
        # Whatever it was: the storage says so from now on, and `doctor` reads it there.
        log.warning("backup failed its trial", exc_info=defect)
        words = explain(defect, session.catalog) or f"{type(defect).__name__}: {defect}"
        proof = Proof(now, newest, 0, words, good=last.good if last else "")
    write_proof(storage, proof)
    return proof


@click.command("restore", cls=Command)
@click.argument("file", type=Address())
@click.option("--key-file", type=File())
@click.option("--test", "is_test", is_flag=True)
@click.option("--replace", is_flag=True)
@click.option("--keep-armed", is_flag=True)
@reports
@click.pass_context
def restore(
    ctx: click.Context,
    *,
    file: str,
    key_file: Path | None,
    is_test: bool,
    replace: bool,
    keep_armed: bool,
) -> None:
    session = session_of(ctx)
    key = _key(key_file or session.settings.backup_key_file)
    now = SystemClock().now()
    storage, name = _located(file, session.settings)
    if is_test:
        with (
            reached_by_command(session.settings, session.out, may_begin=True) as reached,
            session.out.progress("cli.restore.testing") as tick,
        ):
            proof = prove(reached.url, storage, name, now=now, key=key, tick=tick)
        _remember(session.settings, storage, proof)
        if not session.out.document({"file": file, "rows": proof.rows, "is_equal": True}):
            session.out.say("cli.restore.proven", file=file, count=proof.rows)
        return
    with reached_by_hub(session.settings, session.out, may_begin=True) as reached:
        is_empty = not has_merchants(reached.url)
        if not is_empty and not replace:
            raise Failure("restore_not_empty")
        check_unused(reached.url)
        asked = erasure_requests(reached.url)
        with (
            session.out.progress("cli.restore.working") as tick,
            storage.reading(name) as opened,
            scratch(reached.url, opened, key, tick) as loaded,
        ):
            loaded.bring_to_today()
            master_keys = _master_keys(session.settings, loaded)
            armed = loaded.begin_anew(now=SystemClock().now(), actor=actor(), keep_armed=keep_armed)
            asked += map(msgspec.structs.astuple, read_requests(session.settings.erasure_log))
            erased = loaded.erase_again(asked, now=now)
            if master_keys is not None:
                write_master_keys(session.settings.master_key, master_keys)
            before = swap(loaded, reached.url, stamp=now.strftime("%Y%m%d%H%M%S"))
            if is_empty:
                drop_before(reached.url)
        header, rows = loaded.header, loaded.rows
    if session.out.document(
        {
            "file": file,
            "rows": rows,
            "made_at": header.created_at,
            "schema_version_before": header.schema_version,
            "accounts_armed": armed if keep_armed else 0,
            "accounts_disarmed": 0 if keep_armed else armed,
            "orders_erased": erased,
            "database_before": None if is_empty else before,
        }
    ):
        return
    session.out.say("cli.restore.done", count=rows, at=header.created_at)
    if not is_empty:
        session.out.say("cli.restore.before", name=before)
    if erased:
        session.out.say("cli.restore.erased_again", count=erased)
    if armed:
        session.out.say(f"cli.restore.{'armed' if keep_armed else 'disarmed'}", count=armed)


def _remember(settings: Settings, storage: Storage, proof: Proof) -> None:
    """A trial by hand counts like one of the schedule, unless a newer backup was tried before."""
    ours = storage_at(settings.backup_address, settings.s3_file)
    if storage.address() != ours.address():
        return
    last = read_proof(storage)
    if last is None or proof.file >= last.file:
        with suppress(OSError, BucketFailed):  # what can only be read
            write_proof(storage, proof)


def _located(address: str, settings: Settings) -> tuple[Storage, str]:
    """The backup that is meant. Raises Failure, with what there is, when it names none."""
    is_bucket = address.startswith(SCHEME)
    if Path(address).is_dir() or (is_bucket and not address.endswith(SUFFIX)):
        storage = storage_at(address, settings.s3_file)
        known = ", ".join(each.name for each in backups_in(storage)[:_SHOWN])
        raise Failure("restore_which", address=storage.address(), known=known or "–")
    return file_at(address, settings.s3_file)


def _master_keys(settings: Settings, loaded: Loaded) -> bytes | None:
    """What the master key file must hold from now on; None: as it is.

    Raises Failure when nothing at hand opens what the backup has sealed.
    """
    ours = settings.master_key.read_bytes() if settings.master_key.exists() else b""
    keys = joined(ours, loaded.master_key or b"")
    wrapped = loaded.data_keys()
    if not wrapped:
        return None
    try:
        vault = Vault(keys)
        for merchant_id, key_number, sealed in wrapped:
            vault.load_data_key(merchant_id, key_number, sealed)
    except VaultLocked as locked:
        raise Failure("restore_without_master_key", file=str(settings.master_key)) from locked
    return None if keys == ours else keys


def _key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    key = read_key(path)
    if len(key) < KEY_BYTES_MIN:
        raise Failure("backup_key_short", file=str(path), count=KEY_BYTES_MIN)
    return key
