"""Connections that die while nobody uses them."""

import asyncio
from typing import Any

import asyncpg
import pytest
from local_stack.stack import Stack
from servicekit import database as database_module
from servicekit.database import Database
from servicekit.scope import EVERYTHING
from sqlalchemy import text


@pytest.mark.parametrize("ask_after_s", [5.0, 0.0])
async def test_connections_that_died_in_the_pool_are_replaced(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, ask_after_s: float
) -> None:
    """Given idle connections that the server has ended. When transactions come. Then all of them work."""
    monkeypatch.setattr(database_module, "ASK_AFTER_S", ask_after_s)
    env = stack.env()
    name = f"test-pool-{ask_after_s:.0f}"
    database = Database(env["USAGE_DATABASE_URL"], pool_size=3, application=name)
    superuser: asyncpg.Connection[Any] = await asyncpg.connect(
        host=env["PGHOST"], port=int(env["PGPORT"]), user=env["PGUSER"], password=env["PGPASSWORD"], database="usage"
    )

    async def backend() -> int:
        async with database.transaction(EVERYTHING) as connection:
            await connection.execute(text("SELECT pg_sleep(0.05)"))
            return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    try:
        before = await asyncio.gather(*(backend() for _ in range(3)))
        ended = await superuser.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", name
        )
        after = await asyncio.gather(*(backend() for _ in range(3)))
    finally:
        await superuser.close()
        await database.close()

    assert len(ended) == 3
    assert not set(before) & set(after)
