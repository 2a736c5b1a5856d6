"""The kept folder of a demo: its database, ready for the next start, and what the world held."""

from __future__ import annotations

import fcntl
import hashlib
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import msgspec
import psycopg
from psycopg import sql

from meschain.store.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from types import TracebackType

_DEMOS_MAX: Final = 20
_PREPARED: Final = "prepared"
_DAY: Final = "day"
_PROGRAM_FILES: Final = (".py", ".sql", ".toml", ".csv")


class TooManyDemos(RuntimeError):
    """All folders are in use by demos that run."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A preparation that was kept. ``program``: fingerprint of everything that made it."""

    program: str
    merchant_id: int
    accounts: dict[str, int]  # marketplace → account
    first_sale_s: float | None = None  # of the run that made it


class DemoFolder:
    """One demo's folder, locked as long as it runs; a context manager."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.postgres = EmbeddedPostgres(path / "postgres")
        self._lock = lock
        self._url = ""

    @classmethod
    def take(cls, home: Path) -> Self:
        """The first folder that no other demo holds. Raises TooManyDemos."""
        for number in range(1, _DEMOS_MAX + 1):
            path = home / str(number)
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            return cls(path, lock)
        raise TooManyDemos(str(home))

    def __enter__(self) -> Self:
        self._url = self.postgres.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.postgres.stop()
        os.close(self._lock)

    # — databases —

    @property
    def prepared_url(self) -> str:
        """Where a preparation is made; nobody trades there."""
        return self._url_of(_PREPARED)

    @property
    def day_url(self) -> str:
        """Where today's trade goes."""
        return self._url_of(_DAY)

    def create_prepared(self) -> str:
        """An empty database for a new preparation; the older one is gone with its notes."""
        (self.path / "prepared.json").unlink(missing_ok=True)
        self._recreate(_PREPARED, template="template0")
        return self.prepared_url

    def begin_day(self) -> str:
        """A copy of the prepared database."""
        self._recreate(_DAY, template=_PREPARED)
        return self.day_url

    # — what is kept —

    @property
    def master_key(self) -> Path:
        return self.path / "master.key"

    @property
    def catalog(self) -> Path:
        """Where the merchant's files lie."""
        path = self.path / "catalog"
        path.mkdir(exist_ok=True)
        return path

    @property
    def shelves(self) -> Path:
        """What stood on the marketplaces when the preparation ended."""
        return self.path / "shelves.json"

    def prepared(self, program: str) -> Prepared | None:
        """The preparation made by this very program, if one is kept."""
        try:
            kept = msgspec.json.decode((self.path / "prepared.json").read_bytes(), type=Prepared)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return kept if kept.program == program and self.shelves.exists() else None

    def keep(self, prepared: Prepared) -> None:
        """Note that the preparation is whole."""
        (self.path / "prepared.json").write_bytes(msgspec.json.encode(prepared))

    # — inside —

    def _url_of(self, database: str) -> str:
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()

    def _recreate(self, name: str, *, template: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )


def program_fingerprint(*terms: object) -> str:
    """Of the program's files and ``terms``: what either of them changes is prepared anew."""
    root = Path(str(resources.files("meschain")))
    digest = hashlib.sha256(repr(terms).encode())
    for path in sorted(root.rglob("*")):
        if path.suffix in _PROGRAM_FILES:
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
