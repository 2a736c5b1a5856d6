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
from typing import Final

import msgspec

from meschain.store.backup import Saved, Tick, save, scratch

_NAME: Final = re.compile(r"meschain-(\d{8}T\d{6}Z)\.backup")
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_PARTIAL: Final = ".partial-"
_PROOF: Final = "self-test.json"


class BackupPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section ``[backup]`` of the settings: how often, where to, and what is kept.

    ``keep_*``: the newest backup of each of so many days, weeks and months that have one.
    """

    every_hours: int = 24
    folder: str | None = None  # None: "backups" in the data folder
    key_file: str | None = None
    keep_daily: int = 7
    keep_weekly: int = 5
    keep_monthly: int = 12
    test_every_days: int = 30


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup in the folder."""

    path: Path
    at: datetime


class Proof(msgspec.Struct, frozen=True):
    """The last self-test: which backup was restored into a scratch database, and what came of it.

    ``problem`` is empty when every table held what had been saved.
    """

    at: datetime
    file: str
    rows: int
    problem: str = ""


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

    Raises OSError (a full disk), BackupLocked, BackupIncomplete.
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
    finally:
        partial.unlink(missing_ok=True)
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
    return Made(path, path.stat().st_size, saved)


def backups_in(folder: Path) -> list[Kept]:
    """What lies there, the newest first."""
    found: list[Kept] = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match:
                found.append(Kept(path, datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)))
    return sorted(found, key=lambda each: each.at, reverse=True)


def is_due(kept: Iterable[Kept], now: datetime, every: timedelta) -> bool:
    """Whether none is younger than ``every``. One from the future (a clock was wrong) is none."""
    return not any(now - every < each.at <= now for each in kept)


def superseded(kept: Sequence[Kept], plan: BackupPlan) -> list[Kept]:
    """Those that no day, week or month of the plan holds on to; never the newest."""
    newest_first = sorted(kept, key=lambda each: each.at, reverse=True)
    held: set[Path] = {each.path for each in newest_first[:1]}
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


def forget(folder: Path, plan: BackupPlan) -> list[Path]:
    """Delete what is superseded, and what killed runs left; returns the backups deleted."""
    gone = [each.path for each in superseded(backups_in(folder), plan)]
    for path in (*gone, *folder.glob(_PARTIAL + "*")):
        path.unlink(missing_ok=True)
    return gone


def prove(conninfo: str, path: Path, *, now: datetime, key: bytes | None, tick: Tick) -> Proof:
    """Restore ``path`` into a scratch database and compare each table's rows with what was saved.

    Raises what ``store.backup`` raises.
    """
    with scratch(conninfo, path, key, tick) as loaded:
        loaded.bring_to_today()
        return Proof(now, path.name, loaded.rows)


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
