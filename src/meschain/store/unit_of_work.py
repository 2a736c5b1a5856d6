"""The only commit: one transaction a use case, for one merchant (app) or for the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool

from meschain.store.sql import query

Wake = Callable[[int, Sequence[int]], None]
"""Told after a commit: merchant and the accounts whose dirty rows may have grown."""

_APP_ROLE: Final = "meschain_app"
_ENGINE_ROLE: Final = "meschain_engine"


@dataclass(slots=True)
class UnitOfWork:
    """An open transaction. Leaving the context without an exception commits it."""

    connection: AsyncConnection[TupleRow]
    merchant_id: int | None
    touched: set[int] = field(default_factory=set)

    async def run(
        self, name: str, params: Mapping[str, object] | None = None
    ) -> AsyncCursor[TupleRow]:
        """Execute the named query ``file.query``."""
        return await self.connection.execute(query(name), params, prepare=True)

    async def rows(self, name: str, params: Mapping[str, object] | None = None) -> list[TupleRow]:
        """All rows of the named query."""
        return await (await self.run(name, params)).fetchall()

    async def row(self, name: str, params: Mapping[str, object] | None = None) -> TupleRow | None:
        """The first row of the named query, or None."""
        return await (await self.run(name, params)).fetchone()

    async def records(
        self, name: str, params: Mapping[str, object] | None = None
    ) -> list[dict[str, object]]:
        """All rows as dictionaries, for reports."""
        cursor = self.connection.cursor(row_factory=dict_row)
        await cursor.execute(query(name), params)
        return await cursor.fetchall()

    def wake(self, accounts: Sequence[int]) -> None:
        """Wake these accounts' lanes after the commit, never before."""
        self.touched.update(accounts)


class Database:
    """Connection pools of the two roles, and the units of work on them."""

    def __init__(
        self, conninfo: str, *, app_connections: int = 8, engine_connections: int = 4
    ) -> None:
        """``conninfo`` is a libpq URL; nothing connects before ``open``."""
        self.conninfo = conninfo
        self._wake: Wake = lambda _merchant_id, _accounts: None
        self._app = _pool(conninfo, _APP_ROLE, app_connections)
        self._engine = _pool(conninfo, _ENGINE_ROLE, engine_connections)

    def on_commit(self, wake: Wake) -> None:
        """Register who is told which accounts were touched."""
        self._wake = wake

    async def open(self) -> None:
        """Open both pools; raises ``psycopg_pool.PoolTimeout`` when the server does not answer."""
        await self._app.open(wait=True, timeout=30)
        await self._engine.open(wait=True, timeout=30)

    async def close(self) -> None:
        """Close both pools."""
        await self._app.close()
        await self._engine.close()

    @asynccontextmanager
    async def merchant(self, merchant_id: int) -> AsyncIterator[UnitOfWork]:
        """A transaction that sees this merchant only (row-level security)."""
        async with self._app.connection() as connection:
            unit = UnitOfWork(connection, merchant_id)
            async with connection.pipeline(), connection.transaction():
                await connection.execute(
                    "SELECT set_config('meschain.merchant_id', %s, true)",
                    (str(merchant_id),),
                    prepare=True,
                )
                yield unit
        if unit.touched:
            self._wake(merchant_id, sorted(unit.touched))

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[UnitOfWork]:
        """A transaction of the engine's role; every query names its merchant."""
        async with self._engine.connection() as connection, connection.transaction():
            yield UnitOfWork(connection, None)


def _pool(conninfo: str, role: str, size: int) -> AsyncConnectionPool[AsyncConnection[TupleRow]]:
    async def configure(connection: AsyncConnection[TupleRow]) -> None:
        # A role by name from this module, never from outside: it cannot be a parameter of SET.
        await connection.execute(f"SET ROLE {role}")
        await connection.execute("SET client_min_messages = warning")
        await connection.execute("SET timezone = 'UTC'")

    return AsyncConnectionPool(
        conninfo,
        min_size=1,
        max_size=size,
        open=False,
        configure=configure,
        kwargs={"autocommit": True},
        name=role,
    )
