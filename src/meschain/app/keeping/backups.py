"""Backups in a folder: made, tried, kept for a time and forgotten."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import msgspec

from meschain.store.backup import Saved, Tick, save, scratch

_NAME: Final = re.compile(r"meschain-(\d{8}T\d{6}Z)\.backup")
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_PARTIAL: Final = ".partial-"
_PROOF: Final = "self-test.json"
_LEFT_AFTER: Final = timedelta(days=1)

Count = Annotated[int, msgspec.Meta(ge=0)]
Span = Annotated[int, msgspec.Meta(ge=1)]


class BackupPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section ``[backup]`` of the settings: how often, where to, and what is kept.

    ``keep_*``: the newest backup of each of so many days, weeks and months that have one.
    """

    every_hours: Span = 24
    folder: str | None = None  # None: "backups" in the data folder
    key_file: str | None = None
    keep_daily: Count = 7
    keep_weekly: Count = 5
    keep_monthly: Count = 12
    test_every_days: Span = 30


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup in the folder."""

    path: Path
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

    path: Path
    size_bytes: int
    saved: Saved


def read_key(path: Path) -> bytes:
    """The key in a file: its bytes without the line's end. Raises OSError."""
    return path.read_bytes().rstrip(b"\r\n")


def make_backup(
    conninfo: str,
    folder: Path,
    *,
    now: datetime,
    key: bytes | None,
    master_key: bytes | None,
    tick: Tick,
) -> Made:
    """Save the database into ``folder``, whole or not at all.

    Raises OSError (a full disk; its ``filename`` is set), BackupLocked, BackupIncomplete.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"meschain-{now.astimezone(UTC).strftime(_STAMP)}.backup"
    descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=folder)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            saved = save(conninfo, file, now=now, key=key, master_key=master_key, tick=tick)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as wrong:
        wrong.filename = wrong.filename or str(folder)  # a full disk does not say which
        raise
    finally:
        partial.unlink(missing_ok=True)
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
    return Made(path, path.stat().st_size, saved)


def backups_in(folder: Path) -> list[Kept]:
    """What lies there, the newest first. Raises OSError when it cannot be looked into."""
    found: list[Kept] = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            match = _NAME.fullmatch(path.name)
            with suppress(ValueError):  # digits that are no date: somebody else's file
                if match:
                    at = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
                    found.append(Kept(path, at))
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
    held: set[Path] = {each.path for each in newest_first[:1]}
    held.update(each.path for each in kept if each.path.name == good)
    for pattern, count in (
        ("%Y-%m-%d", plan.keep_daily),
        ("%G-%V", plan.keep_weekly),
        ("%Y-%m", plan.keep_monthly),
    ):
        by_time: dict[str, Path] = {}
        for each in newest_first:
            by_time.setdefault(each.at.strftime(pattern), each.path)
        held.update(list(by_time.values())[:count])
    return [each for each in newest_first if each.path not in held]


def forget(folder: Path, plan: BackupPlan, now: datetime) -> list[Path]:
    """Delete what is superseded, and what killed runs left; returns the backups deleted."""
    proof = read_proof(folder)
    kept = superseded(backups_in(folder), plan, good=proof.good if proof else "")
    gone = [each.path for each in kept]
    # One that is being written to belongs to a backup that somebody else makes just now.
    old = (now - _LEFT_AFTER).timestamp()
    left = [each for each in folder.glob(_PARTIAL + "*") if each.stat().st_mtime < old]
    for path in (*gone, *left):
        path.unlink(missing_ok=True)
    return gone


def prove(conninfo: str, path: Path, *, now: datetime, key: bytes | None, tick: Tick) -> Proof:
    """Restore ``path`` into a scratch database and compare each table's rows with what was saved.

    Raises what ``store.backup`` raises.
    """
    with scratch(conninfo, path, key, tick) as loaded:
        loaded.bring_to_today()
        return Proof(now, path.name, loaded.rows, good=path.name)


def read_proof(folder: Path) -> Proof | None:
    """The last self-test of this folder's backups."""
    try:
        return msgspec.json.decode((folder / _PROOF).read_bytes(), type=Proof)
    except (OSError, msgspec.MsgspecError):
        return None


def write_proof(folder: Path, proof: Proof) -> None:
    """Keep it beside the backups."""
    partial = folder / (_PARTIAL + _PROOF)
    partial.write_bytes(msgspec.json.encode(proof))
    partial.replace(folder / _PROOF)
