"""The only commit: one transaction a use case, for one merchant (app) or for the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from meschain.store.sql import query

# Asked again later, as it is. A server that only reads (a replica after a failover, a hosted one
# whose disk is nearly full) is away for whoever writes.
DATABASE_AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    PoolTimeout,
)

Wake = Callable[[int, Sequence[int]], None]
"""Told after a commit: merchant and the accounts whose dirty rows may have grown."""

_APP_ROLE: Final = "meschain_app"
_ENGINE_ROLE: Final = "meschain_engine"
_LANE_CONNECTIONS: Final = 2
# A process that is stopped inside a transaction must not keep its locks: others take over from it.
IDLE_MS: Final = {_ENGINE_ROLE: 5_000, _APP_ROLE: 60_000}
_SEE_MERCHANT: Final = "SELECT set_config('meschain.merchant_id', %s, true)"


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
        # Of the two loops that claim and acknowledge: they never wait behind pulls and looks.
        self._lanes = _pool(conninfo, _ENGINE_ROLE, _LANE_CONNECTIONS)

    def on_commit(self, wake: Wake) -> None:
        """Register who is told which accounts were touched."""
        self._wake = wake

    async def open(self) -> None:
        """Open all pools; raises ``psycopg_pool.PoolTimeout`` when the server does not answer."""
        await self._app.open(wait=True, timeout=30)
        await self._engine.open(wait=True, timeout=30)
        await self._lanes.open(wait=True, timeout=30)

    async def close(self) -> None:
        """Close all pools."""
        await self._app.close()
        await self._engine.close()
        await self._lanes.close()

    def pool_sizes(self) -> dict[str, tuple[int, int, int]]:
        """By pool: connections, those of them that are idle, and who waits for one."""
        pools = {"app": self._app, "engine": self._engine, "lanes": self._lanes}
        stats = {name: pool.get_stats() for name, pool in pools.items()}
        return {
            name: (
                each.get("pool_size", 0),
                each.get("pool_available", 0),
                each.get("requests_waiting", 0),
            )
            for name, each in stats.items()
        }

    @asynccontextmanager
    async def merchant(self, merchant_id: int) -> AsyncIterator[UnitOfWork]:
        """A transaction that sees this merchant only (row-level security)."""
        async with self._app.connection() as connection:
            unit = UnitOfWork(connection, merchant_id)
            async with connection.pipeline(), connection.transaction():
                await connection.execute(_SEE_MERCHANT, (str(merchant_id),), prepare=True)
                yield unit
        self.wake(merchant_id, list(unit.touched))

    @asynccontextmanager
    async def frozen(self, merchant_id: int) -> AsyncIterator[UnitOfWork]:
        """What this merchant has at one moment, to be read; what happens meanwhile is not seen."""
        async with self._app.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # Who reads slowly, from a pipe perhaps, holds no lock that anybody waits for.
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1h'")
            await connection.execute(_SEE_MERCHANT, (str(merchant_id),))
            yield UnitOfWork(connection, merchant_id)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[UnitOfWork]:
        """A connection of one's own, outside any transaction: for what is held until it ends.

        Not of the pool, whose connections those who hold it need for their work.
        """
        async with await AsyncConnection.connect(self.conninfo, autocommit=True) as connection:
            await connection.execute(f"SET ROLE {_APP_ROLE}")
            yield UnitOfWork(connection, None)

    async def at_once(
        self, merchant_id: int, name: str, params: Mapping[str, object]
    ) -> TupleRow | None:
        """A use case of one query for this merchant: its first row, once that is committed.

        Merchant, query and commit go out together (a pipeline without BEGIN is one transaction, up
        to its end), so that no lock is held while the server waits for us. Waking is the caller's.
        """
        async with self._app.connection() as connection:
            async with connection.pipeline():
                await connection.execute(_SEE_MERCHANT, (str(merchant_id),), prepare=True)
                cursor = await connection.execute(query(name), params, prepare=True)
            return await cursor.fetchone()

    def wake(self, merchant_id: int, accounts: Sequence[int]) -> None:
        """Wake these accounts' lanes: what touched them is committed."""
        if accounts:
            self._wake(merchant_id, sorted(set(accounts)))

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[UnitOfWork]:
        """A transaction of the engine's role; every query names its merchant."""
        async with self._engine.connection() as connection, connection.transaction():
            yield UnitOfWork(connection, None)

    async def engine_rows(self, name: str, params: Mapping[str, object]) -> list[TupleRow]:
        """All rows of one statement of the engine's role that is a transaction of its own.

        One round trip where ``engine`` takes three; committed when this returns.
        """
        return await _rows_of(self._engine, name, params)

    async def lane_rows(self, name: str, params: Mapping[str, object]) -> list[TupleRow]:
        """As ``engine_rows``, for the loops that claim and acknowledge."""
        return await _rows_of(self._lanes, name, params)


async def _rows_of(
    pool: AsyncConnectionPool[AsyncConnection[TupleRow]], name: str, params: Mapping[str, object]
) -> list[TupleRow]:
    async with pool.connection() as connection:
        cursor = await UnitOfWork(connection, None).run(name, params)
        return await cursor.fetchall() if cursor.description else []


def _pool(conninfo: str, role: str, size: int) -> AsyncConnectionPool[AsyncConnection[TupleRow]]:
    async def configure(connection: AsyncConnection[TupleRow]) -> None:
        # A role by name from this module, never from outside: it cannot be a parameter of SET.
        await connection.execute(f"SET ROLE {role}")
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_MS[role]}")
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
