"""Backups in their storage: made, tried, kept for a time and forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from meschain.store.backup import Saved, Tick, save, scratch

if TYPE_CHECKING:
    from pathlib import Path

    from meschain.app.keeping.storage import Storage

SUFFIX: Final = ".backup"
_NAME: Final = re.compile(r"meschain-(\d{8}T\d{6}Z)\.backup")
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_PROOF: Final = "self-test.json"

Count = Annotated[int, msgspec.Meta(ge=0)]
Span = Annotated[int, msgspec.Meta(ge=1)]


class BackupPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section ``[backup]`` of the settings: how often, where to, and what is kept.

    ``keep_*``: the newest backup of each of so many days, weeks and months that have one.
    """

    every_hours: Span = 24
    folder: str | None = None  # or s3://bucket/prefix; None: "backups" in the data folder
    key_file: str | None = None
    keep_daily: Count = 7
    keep_weekly: Count = 5
    keep_monthly: Count = 12
    test_every_days: Span = 30


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup in its storage."""

    name: str
    at: datetime


class Proof(msgspec.Struct, frozen=True):
    """The last self-test: which backup was restored into a scratch database, and what came of it.

    ``problem`` is empty when every table held what had been saved. ``good``: the newest file that
    ever stood the test.
    """

    at: datetime
    file: str
    rows: int
    problem: str = ""
    good: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was just made."""

    name: str
    size_bytes: int
    saved: Saved


def read_key(path: Path) -> bytes:
    """The key in a file: its bytes without the line's end. Raises OSError."""
    return path.read_bytes().rstrip(b"\r\n")


def make_backup(
    conninfo: str,
    storage: Storage,
    *,
    now: datetime,
    key: bytes | None,
    master_key: bytes | None,
    tick: Tick,
) -> Made:
    """Save the database into ``storage``, whole or not at all.

    Raises what ``Storage`` raises (a full disk), BackupLocked, BackupIncomplete.
    """
    name = f"meschain-{now.astimezone(UTC).strftime(_STAMP)}{SUFFIX}"
    with storage.writing(name) as file:
        saved = save(conninfo, file, now=now, key=key, master_key=master_key, tick=tick)
    return Made(name, storage.size_bytes(name), saved)


def backups_in(storage: Storage) -> list[Kept]:
    """What lies there, the newest first. Raises what ``Storage`` raises."""
    found: list[Kept] = []
    for match in filter(None, map(_NAME.fullmatch, storage.names())):
        with suppress(ValueError):  # digits that are no date: somebody else's file
            found.append(Kept(match[0], datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)))
    return sorted(found, key=lambda each: each.at, reverse=True)


def is_due(kept: Iterable[Kept], now: datetime, every: timedelta) -> bool:
    """Whether none is younger than ``every``. One from the future (a clock was wrong) is none."""
    return not any(now - every < each.at <= now for each in kept)


def superseded(kept: Sequence[Kept], plan: BackupPlan, *, good: str = "") -> list[Kept]:
    """Those that no day, week or month of the plan holds on to; never the newest.

    ``good``: the file that stood the last test. Until a newer one does, it may be the only one that
    can be restored, and stays.
    """
    newest_first = sorted(kept, key=lambda each: each.at, reverse=True)
    held = {good, *(each.name for each in newest_first[:1])}
    for pattern, count in (
        ("%Y-%m-%d", plan.keep_daily),
        ("%G-%V", plan.keep_weekly),
        ("%Y-%m", plan.keep_monthly),
    ):
        by_time: dict[str, str] = {}
        for each in newest_first:
            by_time.setdefault(each.at.strftime(pattern), each.name)
        held.update(list(by_time.values())[:count])
    return [each for each in newest_first if each.name not in held]


def forget(storage: Storage, plan: BackupPlan, now: datetime) -> list[str]:
    """Delete what is superseded, and what killed runs left; returns the backups deleted."""
    proof = read_proof(storage)
    kept = superseded(backups_in(storage), plan, good=proof.good if proof else "")
    gone = [each.name for each in kept]
    storage.delete(gone)
    storage.sweep(now)
    return gone


def prove(
    conninfo: str, storage: Storage, name: str, *, now: datetime, key: bytes | None, tick: Tick
) -> Proof:
    """Restore a backup into a scratch database and compare each table's rows with what was saved.

    Raises what ``store.backup`` and ``Storage`` raise.
    """
    with storage.reading(name) as file, scratch(conninfo, file, key, tick) as loaded:
        loaded.bring_to_today()
        return Proof(now, name, loaded.rows, good=name)


def read_proof(storage: Storage) -> Proof | None:
    """The last self-test of the backups there. Raises what ``Storage`` raises."""
    if _PROOF not in storage.names():
        return None
    try:
        with storage.reading(_PROOF) as file:
            return msgspec.json.decode(file.read(), type=Proof)
    except msgspec.MsgspecError:
        return None


def write_proof(storage: Storage, proof: Proof) -> None:
    """Keep it beside the backups."""
    with storage.writing(_PROOF) as file:
        file.write(msgspec.json.encode(proof))
