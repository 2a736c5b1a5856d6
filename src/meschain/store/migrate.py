"""Bring a database to this program's schema: numbered migrations once, functions when changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import psycopg

_NAME: Final = re.compile(r"(\d{4})_(pre|post)_([a-z0-9_]+)\.sql")
_LOCK: Final = 7_305_114_301  # advisory: one migration at a time on a database

_BOOKS: Final = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    phase      text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS schema_function (
    name     text PRIMARY KEY,
    checksum text NOT NULL
);
"""


class DatabaseNewerThanProgram(RuntimeError):
    """The database was migrated by a newer program; this one must not touch it."""

    def __init__(self, found: int, known: int) -> None:
        """``found``: its last migration; ``known``: the last of this program."""
        super().__init__(f"it is at migration {found}, this program knows {known}")
        self.found = found
        self.known = known


class BackupNewerThanProgram(DatabaseNewerThanProgram):
    """The same of a backup."""


class MigrationChanged(RuntimeError):
    """An applied migration's text differs from what this program carries."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step. ``pre`` runs before new code starts, ``post`` after old code is gone."""

    version: int
    phase: str
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Fingerprint of the text, so that a changed history is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations of this program in order of their number."""
    found: list[Migration] = []
    for entry in (resources.files("meschain.store") / "migrations").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            text = entry.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), match[2], match[3], text))
    return sorted(found, key=lambda migration: migration.version)


def _functions() -> list[tuple[str, str]]:
    folder = resources.files("meschain.store") / "functions"
    return sorted(
        (entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    )


def migrate(conninfo: str, *, only: Mapping[int, str] | None = None) -> list[str]:
    """Apply what is missing and return the names of what was applied; safe to run at any time.

    Each migration is its own transaction. ``only``: these (number → fingerprint) and no functions,
    to make the schema of an earlier day. Raises DatabaseNewerThanProgram, BackupNewerThanProgram,
    MigrationChanged.
    """
    applied: list[str] = []
    known = migrations()
    if only is not None:
        if max(only) > known[-1].version:
            raise BackupNewerThanProgram(max(only), known[-1].version)
        known = [migration for migration in known if migration.version in only]
        changed = [each.name for each in known if only[each.version] != each.checksum]
        if changed or len(known) != len(only):
            unknown = sorted(only.keys() - {each.version for each in known})
            raise MigrationChanged(", ".join(changed or map(str, unknown)))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(_BOOKS)
        done: dict[int, str] = dict(
            connection.execute("SELECT version, checksum FROM schema_migration").fetchall()
        )
        newest = known[-1].version
        if done and max(done) > newest:
            raise DatabaseNewerThanProgram(max(done), newest)
        for migration in known:
            if migration.version in done:
                if done[migration.version] != migration.checksum:
                    raise MigrationChanged(migration.name)
                continue
            with connection.transaction():
                connection.execute(migration.sql)
                connection.execute(
                    "INSERT INTO schema_migration (version, name, phase, checksum)"
                    " VALUES (%s, %s, %s, %s)",
                    (migration.version, migration.name, migration.phase, migration.checksum),
                )
            applied.append(f"{migration.version:04d}_{migration.phase}_{migration.name}")
        if only is None:
            applied += _apply_functions(connection)
    return applied


def _apply_functions(connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    """Functions are replaced as a whole when any text changed: they call one another."""
    functions = _functions()
    stored = dict(connection.execute("SELECT name, checksum FROM schema_function").fetchall())
    current = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in functions}
    if stored == current:
        return []
    with connection.transaction():
        for name, text in functions:
            connection.execute(text)
            connection.execute(
                "INSERT INTO schema_function (name, checksum) VALUES (%s, %s)"
                " ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum",
                (name, current[name]),
            )
        connection.execute(
            "DELETE FROM schema_function WHERE NOT name = ANY (%s)", (list(current),)
        )
    return sorted(name for name in current if stored.get(name) != current[name])
