"""Fixtures of the store tests: a shop in its own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from meschain.store.unit_of_work import Database
from meschain.testing.shop import Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection of the owner, each statement its own transaction."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        opened.execute("SET timezone = 'UTC'")
        opened.execute("SET lock_timeout = '10s'")  # a test that waits for itself ends
        yield opened


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database as use cases reach it."""
    opened = Database(database_url, app_connections=2, engine_connections=2)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def shop(connection: Connection) -> Shop:
    """An open merchant with nothing in it yet."""
    return Shop.open(connection)


@pytest.fixture
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For commands: the database and a data folder are theirs. Returns a folder for files."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    # The log belongs to the test run here.
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    return tmp_path
