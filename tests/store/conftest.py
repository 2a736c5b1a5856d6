"""Fixtures of the store tests: a shop in its own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from meschain.testing.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection of the owner, each statement its own transaction."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        opened.execute("SET timezone = 'UTC'")
        opened.execute("SET lock_timeout = '10s'")  # a test that waits for itself ends
        yield opened


@pytest.fixture
def shop(connection: Connection) -> Shop:
    """An open merchant with nothing in it yet."""
    return Shop.open(connection)
