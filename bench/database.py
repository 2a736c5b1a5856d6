"""A PostgreSQL of the benchmark's own: the embedded one, with the product's own settings."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from meschain.store.embedded import EmbeddedPostgres
from meschain.store.migrate import migrate
from meschain.testing.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; ``folder`` is private and goes with it."""

    admin_url: str
    version: str
    pid: int
    folder: Path

    @contextmanager
    def database(self) -> Iterator[str]:
        """Lend a fresh, migrated database by its URL."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = urlsplit(self.admin_url)._replace(path=f"/{name}").geturl()
        migrate(url)
        try:
            yield url
        finally:
            with psycopg.connect(self.admin_url, autocommit=True) as connection:
                connection.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )


@contextmanager
def server() -> Iterator[Server]:
    """Start a server in a folder of its own and remove both afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="meschain-bench-") as folder,
        guarded(Path(folder)),
    ):
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            url = postgres.start()
            with psycopg.connect(url, autocommit=True) as connection:
                row = connection.execute("SHOW server_version").fetchone()
            assert row is not None
            assert postgres.pid is not None
            yield Server(url, str(row[0]), postgres.pid, Path(folder))
        finally:
            postgres.remove()
