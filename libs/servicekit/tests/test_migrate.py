"""Given a folder of revisions and an empty database, then it is brought to the newest, once."""

import asyncio
from typing import Any

import asyncpg
import pytest
from servicekit.migrate import migrate

SECOND = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TABLE later (id int PRIMARY KEY)")
"""
BROKEN = SECOND.replace("CREATE TABLE later (id int PRIMARY KEY)", "CREATE TABLE later (id nonsense)")


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


async def test_a_second_run_does_nothing(empty: Any) -> None:
    """Given an empty database, When it is migrated twice, Then the second run has nothing to do."""
    assert await migrate(empty.owner_url, empty.migrations) == ["0001_kit"]
    assert await migrate(empty.owner_url, empty.migrations) == []


async def test_a_new_revision_is_added(base: Any) -> None:
    """Given a migrated database, When a revision is added, Then that one runs."""
    (base.migrations / "0002_later.py").write_text(SECOND)

    assert await migrate(base.owner_url, base.migrations) == ["0002_later"]
    assert "later" in await tables(base.owner_url)


async def test_two_at_once_wait_for_each_other(empty: Any) -> None:
    """Given an empty database, When three replicas migrate it at once, Then one does, and none fails."""
    done = await asyncio.gather(*(migrate(empty.owner_url, empty.migrations) for _ in range(3)))

    assert sorted(done) == [[], [], ["0001_kit"]]


async def test_a_broken_revision_leaves_nothing_behind(empty: Any) -> None:
    """Given revisions of which the last is broken, When they run, Then the database stays as it was."""
    (empty.migrations / "0002_later.py").write_text(BROKEN)

    with pytest.raises(Exception, match="nonsense"):
        await migrate(empty.owner_url, empty.migrations)
    assert await tables(empty.owner_url) == set()


async def test_the_runtime_role_cannot_migrate(empty: Any) -> None:
    """Given the runtime role, When it migrates, Then PostgreSQL refuses."""
    with pytest.raises(Exception, match="permission denied"):
        await migrate(empty.app_url, empty.migrations)
