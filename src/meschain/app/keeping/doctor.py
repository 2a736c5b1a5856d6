"""What is well and what is wrong with a hub, found by looking only."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import psycopg
from psycopg.rows import class_row

from meschain import __version__
from meschain.app.images.store import ImageStore
from meschain.app.keeping.backups import BackupPlan, Kept, backups_in, read_proof
from meschain.app.keeping.storage import Folder, Storage
from meschain.channel.clock import microseconds
from meschain.domain.image import original_name
from meschain.store.migrate import migrations
from meschain.store.sql import query
from meschain.store.vault import MasterKeyInvalid, Vault, VaultLocked

Level = Literal["good", "notice", "wrong"]
Connection = psycopg.Connection[tuple[Any, ...]]

GIB: Final = 1024**3
MIB: Final = 1024**2
DISK_WRONG_BYTES: Final = GIB
DISK_NOTICE_BYTES: Final = 5 * GIB
CLOCK_NOTICE_MS: Final = 1_000
CLOCK_WRONG_MS: Final = 10_000  # longer than a lease
TRANSACTION_NOTICE_S: Final = 3_600
XID_AGE_WRONG: Final = 1_500_000_000  # the server stops writing at about 2,100 million
BACKLOG_NOTICE_S: Final = 900
ORDERS_WRONG_S: Final = 900
WAITING_NOTICE_S: Final = 300
WISH_NOTICE_S: Final = 3_600
LANE_RUNS_MISSED: Final = 3
ERASURE_GRACE_DAYS: Final = 2
_SERVED_LANES: Final = ("orders", "stock", "prices")  # the others run on demand


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. ``kind`` names its texts, ``subject`` says which one, of several."""

    kind: str
    level: Level
    subject: str = ""
    params: dict[str, str | int] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the hub lies and what its settings say of backups."""

    home: Path
    database_folder: Path | None  # None: a server of one's own
    master_key: Path
    images_folder: Path
    s3_file: Path
    plan: BackupPlan | None
    hub_pid: int | None  # of the hub that says it runs here,
    hub_lives: bool = False  # and whether it does
    backup_key: Path | None = None  # the file with the key that seals backups


class _Server(msgspec.Struct, frozen=True):
    version: str
    version_number: int
    size_bytes: int
    clock_us: int
    unsafe: list[str]
    has_checksums: bool
    connections_max: int
    connections: int
    transaction_s: int
    xid_age: int
    may_create: bool
    only_reads: bool


@dataclass(frozen=True, slots=True)
class _Archive:
    is_on: bool
    is_failing: bool
    last_us: int | None


@dataclass(frozen=True, slots=True)
class _Account:
    merchant: str
    name: str
    state: str
    is_served: bool
    fresh_us: int | None
    oldest_us: int | None
    refused: int
    throttled: int
    waiting_us: int | None
    wish_us: int | None


@dataclass(frozen=True, slots=True)
class _Lane:
    merchant: str
    name: str
    lane: str
    is_paused: bool
    interval_s: int
    last_run_us: int | None
    last_success_us: int | None
    last_error: str
    last_error_us: int | None
    net_found: int


@dataclass(slots=True)
class Doctor:
    """Looks at one place. ``now`` is this machine's clock, read right before the database's."""

    place: Place
    now: datetime
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: str, level: Level, subject: str = "", **params: str | int) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, level, subject, params))

    # — without the database —

    def look_around(self) -> None:
        """The program, its folder, the disk."""
        self.add(
            "program",
            "good",
            version=__version__,
            python=platform.python_version(),
            system=platform.system(),
        )
        home = self.place.home
        if home.exists() and home.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self.add("folder_open", "notice", str(home))
        for folder in dict.fromkeys((home, self.place.database_folder or home)):
            self._disk(folder)
        self._hub()
        if self.place.plan is None:
            self.add("backup_unplanned", "notice")
        key = self.place.backup_key
        if key is not None and not key.exists():
            self.add("backup_key_missing", "wrong", str(key))
        s3_file = self.place.s3_file
        if s3_file.exists() and s3_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self.add("credentials_open", "wrong", str(s3_file))

    def _disk(self, folder: Path) -> None:
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(existing).free
        if free < DISK_WRONG_BYTES or not os.access(existing, os.W_OK):
            level: Level = "wrong"
        else:
            level = "notice" if free < DISK_NOTICE_BYTES else "good"
        kind = "disk" if level == "good" else "disk_low"
        self.add(kind, level, str(folder), free=free // MIB)

    def _hub(self) -> None:
        pid = self.place.hub_pid
        if pid is None:
            return
        if self.place.hub_lives:
            self.add("hub", "good", pid=pid)
        else:
            self.add("hub_gone", "notice", pid=pid)

    def look_at_backups(self, storage: Storage) -> None:
        """Their age, their place, their last trial. Raises BucketFailed."""
        try:
            kept = backups_in(storage)
        except OSError as wrong:
            words = wrong.strerror or str(wrong)
            self.add("backup_unreadable", "wrong", storage.address(), words=words)
            return
        # One from the future was made while a clock was wrong: it says nothing of today.
        self._newest_backup(storage, next((each for each in kept if each.at <= self.now), None))

    def _newest_backup(self, storage: Storage, newest: Kept | None) -> None:
        plan = self.place.plan
        if newest is None:
            if plan is not None:
                self.add("backup_none", "wrong", storage.address())
            return
        age = self.now - newest.at
        hours = int(age.total_seconds() // 3600)
        is_late = plan is not None and age > 2 * timedelta(hours=plan.every_hours)
        level: Level = "wrong" if is_late else "good"
        subject = storage.address(newest.name)
        self.add("backup_old" if is_late else "backup", level, subject, hours=hours)
        if isinstance(storage, Folder):
            self._backup_disk(storage, newest)
        proof = read_proof(storage)
        if proof is not None and proof.problem:
            self.add("backup_unproven", "wrong", proof.file, words=proof.problem)
        elif plan is not None:
            days = None if proof is None else (self.now - proof.at).days
            if days is None or days > 2 * plan.test_every_days:
                self.add("backup_untested", "notice", storage.address())

    def _backup_disk(self, storage: Folder, newest: Kept) -> None:
        folder = storage.path
        if folder.stat().st_dev == self.place.home.stat().st_dev:
            self.add("backup_same_disk", "notice", str(folder))
        free, needed = shutil.disk_usage(folder).free, 2 * storage.size_bytes(newest.name)
        if self.place.plan is not None and (free < needed or not os.access(folder, os.W_OK)):
            self.add("backup_disk_low", "wrong", str(folder), free=free // MIB)

    # — with it —

    def look_into(self, connection: Connection) -> None:
        """The server, the schema, the key, the accounts."""
        self._server(connection)
        if not self._schema(connection):
            return
        self._key(connection)
        self._images(connection)
        is_served = self._accounts(connection)
        self._lanes(connection, is_served)
        self._personal_data(connection)
        ((alerts,),) = connection.execute(query("doctor.alerts")).fetchall()
        if alerts:
            self.add("alerts", "notice", count=alerts)

    def _server(self, connection: Connection) -> None:
        cursor = connection.execute(query("doctor.server"))
        row = cursor.fetchone()
        assert row is not None
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        server = msgspec.convert(dict(zip(names, row, strict=True)), _Server)
        kind = "database" if server.version_number >= 150_000 else "database_old"
        level: Level = "good" if kind == "database" else "wrong"
        self.add(kind, level, version=server.version, size=-(-server.size_bytes // MIB))
        if server.only_reads:
            self.add("database_read_only", "wrong")
        if server.unsafe:
            self.add("database_unsafe", "wrong", ", ".join(server.unsafe))
        if not server.has_checksums:
            self.add("database_unchecked", "notice")
        if server.connections > server.connections_max * 8 // 10:
            self.add("connections", "notice", used=server.connections, limit=server.connections_max)
        if server.transaction_s > TRANSACTION_NOTICE_S:
            self.add("transaction_long", "notice", minutes=server.transaction_s // 60)
        if server.xid_age > XID_AGE_WRONG:
            self.add("wraparound", "wrong")
        if self.place.plan is not None and not server.may_create:
            self.add("may_not_create", "notice")
        self._archive(connection)
        for name, percent in connection.execute(query("doctor.bloat")).fetchall():
            self.add("bloat", "notice", name, percent=percent)
        off_ms = abs(server.clock_us - microseconds(self.now)) // 1000
        if off_ms > CLOCK_NOTICE_MS:
            self.add("clock_off", "wrong" if off_ms > CLOCK_WRONG_MS else "notice", ms=off_ms)
        else:
            self.add("clock", "good", ms=off_ms)

    def _archive(self, connection: Connection) -> None:
        """Whether the server could be taken back to any moment, as far as it knows itself."""
        with connection.cursor(row_factory=class_row(_Archive)) as cursor:
            archive = cursor.execute(query("doctor.archive")).fetchone()
        assert archive is not None
        if not archive.is_on:
            self.add("log_unarchived", "good")
        elif archive.is_failing:
            self.add("archive_failing", "wrong")
        elif archive.last_us is None:
            self.add("archive_empty", "notice")
        else:
            ago_us = max(0, microseconds(self.now) - archive.last_us)
            self.add("log_archived", "good", minutes=ago_us // 60_000_000)

    def _schema(self, connection: Connection) -> bool:
        """Whether this program understands it."""
        found: Mapping[int, str] = {}
        if connection.execute("SELECT to_regclass('schema_migration')").fetchone() != (None,):
            rows = connection.execute("SELECT version, checksum FROM schema_migration").fetchall()
            found = dict(rows)
        known = {each.version: each for each in migrations()}
        later = sorted(found.keys() - known.keys())
        changed = [each.name for each in known.values() if found.get(each.version, each.checksum)
                   != each.checksum]  # fmt: skip
        if later:
            self.add("schema_newer", "wrong", version=later[-1])
        elif changed:
            self.add("schema_changed", "wrong", ", ".join(changed))
        elif found.keys() != known.keys():
            self.add("schema_older", "notice", count=len(known) - len(found))
        else:
            return True
        return False

    def _key(self, connection: Connection) -> None:
        path = self.place.master_key
        rows = connection.execute(query("doctor.data_keys")).fetchall()
        if not path.exists():
            if rows:
                self.add("key_missing", "wrong", str(path))
            return
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self.add("key_open", "wrong", str(path))
        try:
            vault = Vault(path.read_bytes())
            for merchant_id, key_number, wrapped in rows:
                vault.load_data_key(merchant_id, key_number, bytes(wrapped))
        except MasterKeyInvalid:
            self.add("key_invalid", "wrong", str(path))
        except VaultLocked:
            self.add("key_other", "wrong", str(path))
        else:
            self.add("key", "good", fingerprint=vault.fingerprint)

    def _images(self, connection: Connection) -> None:
        store = ImageStore(self.place.images_folder)
        rows = connection.execute(query("doctor.images")).fetchall()
        lost = sum(not store.has(original_name(*row)) for row in rows)
        if lost:
            self.add("images_lost", "wrong", str(store.folder), count=lost)
        elif rows:
            self.add("images", "good", str(store.folder), count=len(rows))

    def _accounts(self, connection: Connection) -> set[tuple[str, str]]:
        """Returns those that somebody serves."""
        now_us = microseconds(self.now)
        with connection.cursor(row_factory=class_row(_Account)) as cursor:
            accounts = cursor.execute(query("doctor.accounts"), {"now_us": now_us}).fetchall()
        self.add("accounts", "good", count=len(accounts))
        for each in accounts:
            subject = f"{each.merchant} · {each.name}"
            for kind, level, params in _of_account(each, now_us):
                self.add(kind, level, subject, **params)
        return {(each.merchant, each.name) for each in accounts if each.is_served}

    def _lanes(self, connection: Connection, served: set[tuple[str, str]]) -> None:
        now_us = microseconds(self.now)
        with connection.cursor(row_factory=class_row(_Lane)) as cursor:
            lanes = cursor.execute(query("doctor.lanes")).fetchall()
        for each in lanes:
            subject = f"{each.merchant} · {each.name} · {each.lane}"
            if each.is_paused:
                self.add("lane_paused", "notice", subject)
            elif (each.merchant, each.name) in served and each.lane in _SERVED_LANES:
                patience_s = LANE_RUNS_MISSED * each.interval_s + 60
                if each.last_run_us is not None and now_us - each.last_run_us > patience_s * 10**6:
                    minutes = (now_us - each.last_run_us) // 60_000_000
                    self.add("lane_silent", "wrong", subject, minutes=minutes)
            if (each.last_error_us or 0) > (each.last_success_us or 0):
                self.add("lane_failing", "notice", subject, words=each.last_error)
            if each.net_found:
                self.add("net_found", "notice", subject, count=each.net_found)

    def _personal_data(self, connection: Connection) -> None:
        params = {"now": self.now, "grace_days": ERASURE_GRACE_DAYS}
        for merchant, account, count in connection.execute(
            query("personal_data.overdue"), params
        ).fetchall():
            self.add("personal_overdue", "wrong", f"{merchant} · {account}", count=count)


Said = tuple[str, Level, dict[str, str | int]]


def _of_account(each: _Account, now_us: int) -> Iterator[Said]:
    is_armed = each.state == "armed"
    if each.state == "reconnect":
        yield "account_reconnect", "wrong", {}
    if each.state == "paused":
        yield "account_paused", "notice", {}
    if is_armed and not each.is_served:
        yield "account_unserved", "wrong", {}
    fresh_us = each.fresh_us or None if each.is_served else None
    if each.is_served and fresh_us is None:
        yield "orders_unread", "notice", {}
    waiting: tuple[tuple[str, Level, int | None, int], ...] = (
        ("orders_old", "wrong", fresh_us, ORDERS_WRONG_S),
        ("backlog_old", "notice", each.oldest_us if is_armed else None, BACKLOG_NOTICE_S),
        ("webhook_waiting", "notice", each.waiting_us, WAITING_NOTICE_S),
        ("wish_waiting", "notice", each.wish_us, WISH_NOTICE_S),
    )
    for kind, level, since_us, limit_s in waiting:
        if since_us is not None and now_us - since_us > limit_s * 1_000_000:
            yield kind, level, {"minutes": (now_us - since_us) // 60_000_000}
    for kind, count in (("refused", each.refused), ("throttled", each.throttled)):
        if count:
            yield kind, "notice", {"count": count}
