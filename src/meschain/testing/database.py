"""The database of a test run: one embedded PostgreSQL, one migrated template, one copy a test.

A pytest plugin, loaded by `-p meschain.testing.database`. With `MESCHAIN_TEST_DATABASE_URL` set,
that server is used instead; its user must be allowed to create databases.
"""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from meschain.store.embedded import EmbeddedPostgres
from meschain.store.migrate import migrate
from meschain.testing.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a test writes need not survive a power cut, and one that waits for a lock it holds itself
# must fail, not hang. Nothing else differs from a hub's server but its size.
TEST_SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "lock_timeout": "20s",
    "shared_buffers": "128MB",
    "max_wal_size": "256MB",
}
# On some disks a database copied there takes 200 ms, in memory always some 10.
MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes a private folder there
MEMORY_FREE_BYTES_MIN: Final = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A running server and the name of its migrated template; plain text to hand to workers."""

    admin_url: str
    template: str

    @contextmanager
    def database(self) -> Iterator[str]:
        """Lend a fresh copy of the template by its URL; some 20 ms, and gone afterwards."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, self.template)
        try:
            yield url_of(self.admin_url, name)
        finally:
            self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def execute(self, statement: str, *names: str) -> None:
        composed = sql.SQL(statement).format(*map(sql.Identifier, names))
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(composed)


class DatabaseRun:
    """Starts the server when first asked for it and ends it, with all it made, at the run's end."""

    def __init__(self) -> None:
        self._postgres: EmbeddedPostgres | None = None
        self._guarding = ExitStack()
        self._server: DatabaseServer | None = None

    def server(self) -> DatabaseServer:
        if self._server is None:
            admin_url = os.environ.get("MESCHAIN_TEST_DATABASE_URL") or self._start()
            server = DatabaseServer(admin_url, f"template_{uuid.uuid4().hex[:12]}")
            server.execute("CREATE DATABASE {}", server.template)
            self._server = server
            migrate(url_of(admin_url, server.template))
        return self._server

    def _start(self) -> str:
        folder = Path(tempfile.mkdtemp(prefix="meschain-test-", dir=memory_folder()))
        self._guarding.enter_context(guarded(folder))
        self._postgres = EmbeddedPostgres(folder, settings=TEST_SETTINGS)
        return self._postgres.start()

    def end(self) -> None:
        if self._postgres is not None:
            self._postgres.remove()
            self._guarding.close()
        elif self._server is not None:
            self._server.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._server.template)


def memory_folder() -> Path | None:
    """A folder in memory, where there is one with room that programs may be run from."""
    if not MEMORY_FOLDER.is_dir():
        return None
    status = os.statvfs(MEMORY_FOLDER)
    is_roomy = status.f_bavail * status.f_frsize >= MEMORY_FREE_BYTES_MIN
    return MEMORY_FOLDER if is_roomy and not status.f_flag & os.ST_NOEXEC else None


def url_of(url: str, database: str) -> str:
    """Give the URL of another database on the same server."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


RUN_KEY: Final = pytest.StashKey[DatabaseRun]()
SERVER_KEY: Final = pytest.StashKey[DatabaseServer]()


class XdistNode(Protocol):
    """What xdist hands over of a worker about to start."""

    config: pytest.Config
    workerinput: dict[str, object]


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[SERVER_KEY] = DatabaseServer(given["admin_url"], given["template"])
        return
    config.stash[RUN_KEY] = DatabaseRun()
    # A run ended by a plain `kill` cleans up like one ended by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: XdistNode) -> None:
    """Called in the main process for every xdist worker: they all share its server."""
    server = node.config.stash[RUN_KEY].server()
    node.workerinput |= {"admin_url": server.admin_url, "template": server.template}


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN_KEY in config.stash:
        config.stash[RUN_KEY].end()


@pytest.fixture(scope="session")
def database_server(pytestconfig: pytest.Config) -> DatabaseServer:
    """The run's server, for tests that need more than one database or a database apart."""
    if SERVER_KEY in pytestconfig.stash:
        return pytestconfig.stash[SERVER_KEY]
    return pytestconfig.stash[RUN_KEY].server()


@pytest.fixture
def database_url(database_server: DatabaseServer) -> Iterator[str]:
    """A migrated database of the test's own, as a URL; dropped when the test ends."""
    with database_server.database() as url:
        yield url
