"""Backups: the whole database in one file, and back into any PostgreSQL; see ADR 0008."""

from meschain.store.backup.dump import BackupIncomplete, Saved, save
from meschain.store.backup.envelope import (
    KEY_BYTES_MIN,
    BackupDamaged,
    BackupLocked,
    BackupUnknown,
    Header,
    Tick,
    read_header,
)
from meschain.store.backup.load import (
    BackupDiffers,
    DatabaseInUse,
    Loaded,
    check_unused,
    drop_before,
    erasure_requests,
    has_merchants,
    scratch,
    swap,
)

__all__ = [
    "KEY_BYTES_MIN",
    "BackupDamaged",
    "BackupDiffers",
    "BackupIncomplete",
    "BackupLocked",
    "BackupUnknown",
    "DatabaseInUse",
    "Header",
    "Loaded",
    "Saved",
    "Tick",
    "check_unused",
    "drop_before",
    "erasure_requests",
    "has_merchants",
    "read_header",
    "save",
    "scratch",
    "swap",
]
