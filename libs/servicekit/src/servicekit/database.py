"""PostgreSQL: transactions that carry the caller's scope, and plain asyncpg pools for hot paths.

Row-level security reads the setting `farthing.scope`. A connection without a scope sees nothing, so a forgotten
scope shows as missing rows, never as another tenant's.
"""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from servicekit.scope import EVERYTHING, Scope

_SET_SCOPE = text("SELECT set_config('farthing.scope', :scope, true)")
STATEMENT_TIMEOUT_MS = 30_000
# For how long an idle connection is taken to be alive, unless it is known to be closed.
ASK_AFTER_S = 5.0


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
            pool_timeout=10,
            # The connection that was used last knows the statements: it has parsed and planned them.
            pool_use_lifo=True,
            connect_args={"server_settings": self._server_settings, "timeout": 10},
        )
        event.listen(self.engine.sync_engine, "checkin", _note_checkin)
        event.listen(self.engine.sync_engine, "checkout", _check_alive)

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


def _note_checkin(_: object, record: Any) -> None:
    record.info["idle_since_s"] = time.monotonic()


def _check_alive(dbapi_connection: Any, record: Any, _: object) -> None:
    """A connection that is dead is replaced before it is used (SQLAlchemy does so on DisconnectionError).

    One that was closed is known to be, without asking; only after a while the server is asked, which costs three
    round trips.
    """
    alive = not dbapi_connection.driver_connection.is_closed()
    if alive and time.monotonic() > record.info.get("idle_since_s", math.inf) + ASK_AFTER_S:
        try:
            dbapi_connection.ping()
        except (DBAPIError, dbapi_connection.dbapi.Error, OSError, TimeoutError):
            alive = False
    if not alive:
        raise DisconnectionError("the connection was closed while it was idle")


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
