"""PostgreSQL: transactions that carry the caller's scope, and plain asyncpg pools for hot paths.

Row-level security reads the setting `farthing.scope`. A connection without a scope sees nothing, so a forgotten
scope shows as missing rows, never as another tenant's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from servicekit.scope import EVERYTHING, Scope

_SET_SCOPE = text("SELECT set_config('farthing.scope', :scope, true)")
STATEMENT_TIMEOUT_MS = 30_000


class Database:
    """A service's own database, seen through its runtime role.

    `url` is a `postgresql://` address. `clock_offset` (such as `31 days`) moves `farthing_now()`; development only.
    """

    def __init__(self, url: str, *, pool_size: int = 10, clock_offset: str = "", application: str = "farthing") -> None:
        self._url = url
        self._server_settings = {
            "application_name": application,
            "farthing.scope": "",
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        }
        if clock_offset:
            self._server_settings["farthing.clock_offset"] = clock_offset
        self._pools: list[asyncpg.Pool[Any]] = []
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=10,
            connect_args={"server_settings": self._server_settings, "timeout": 10},
        )

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees what `scope` sees; commits at the end of the block, rolls back on an exception."""
        async with self.engine.begin() as connection:
            await connection.execute(_SET_SCOPE, {"scope": scope.setting})
            yield connection

    async def pool(self, size: int) -> "asyncpg.Pool[Any]":
        """`size` asyncpg connections that see everything; for hot paths that check scope themselves."""
        pool = await asyncpg.create_pool(
            self._url,
            min_size=size,
            max_size=size,
            timeout=10,
            command_timeout=STATEMENT_TIMEOUT_MS / 1000,
            server_settings={**self._server_settings, "farthing.scope": EVERYTHING.setting},
        )
        self._pools.append(pool)
        return pool

    async def connect(self) -> "asyncpg.Connection[Any]":
        """One asyncpg connection of its own that sees everything, for session locks. The caller closes it."""
        return await asyncpg.connect(
            self._url,
            timeout=10,
            server_settings={**self._server_settings, "farthing.scope": EVERYTHING.setting},
        )

    async def close(self) -> None:
        """Gives every connection back."""
        for pool in self._pools:
            await pool.close()
        await self.engine.dispose()


async def driver(connection: AsyncConnection) -> "asyncpg.Connection[Any]":
    """The asyncpg connection under a SQLAlchemy one, in the same transaction."""
    raw = await connection.get_raw_connection()
    found: asyncpg.Connection[Any] | None = raw.driver_connection
    if found is None:
        raise RuntimeError("the SQLAlchemy connection is closed")
    return found


def driver_error(error: BaseException) -> BaseException:
    """What asyncpg itself raised, where SQLAlchemy wrapped it; else `error`."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code of an error (such as `40P01`), or "" for any other error."""
    return str(getattr(driver_error(error), "sqlstate", None) or "")
