"""Given the tables that migrations make, as the two real roles, then neither can do more than it is meant to."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from servicekit.database import Database, driver, sqlstate
from servicekit.scope import EVERYTHING, Scope
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

ROOT = uuid4()
OURS, THEIRS = uuid4(), uuid4()
REFUSED = "42501"
INSERT_NOTE = text("INSERT INTO notes (root_id, id, organization_id, body) VALUES (:root, :id, :organization, 'x')")


async def insert_note(database: Database, scope: Scope, organization_id: UUID) -> UUID:
    note_id = uuid4()
    async with database.transaction(scope) as connection:
        await connection.execute(INSERT_NOTE, {"root": ROOT, "id": note_id, "organization": organization_id})
    return note_id


async def visible(database: Database, scope: Scope) -> set[UUID]:
    async with database.transaction(scope) as connection:
        return {row.organization_id for row in await connection.execute(text("SELECT organization_id FROM notes"))}


@pytest.mark.parametrize("role", ["app", "owner"])
@pytest.mark.parametrize(
    "statement", ["UPDATE effects SET body = 'y'", "DELETE FROM effects", "TRUNCATE effects"], ids=lambda s: s[:6]
)
async def test_append_only_tables_refuse_every_change(base: Any, role: str, statement: str) -> None:
    """Given a row in an append-only table, When app or owner change or remove it, Then it is refused and stays."""
    await base.rows("INSERT INTO effects (root_id, event_id, body) VALUES ($1, $1, 'x')", ROOT)
    connection = await asyncpg.connect(base.app_url if role == "app" else base.owner_url)
    try:
        await connection.execute("SET farthing.scope = 'all'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
    assert await base.effects() == ["x"]


async def test_a_scope_sees_its_own_rows_only(base: Any) -> None:
    """Given notes of two organizations, When each looks, Then it sees its own, and everything sees both."""
    await insert_note(base.database, EVERYTHING, OURS)
    await insert_note(base.database, EVERYTHING, THEIRS)

    assert await visible(base.database, Scope(OURS, ROOT)) == {OURS}
    assert await visible(base.database, Scope(THEIRS, ROOT)) == {THEIRS}
    assert await visible(base.database, Scope(uuid4(), ROOT)) == set()
    assert await visible(base.database, EVERYTHING) == {OURS, THEIRS}


async def test_a_connection_without_scope_sees_nothing(base: Any) -> None:
    """Given a note, When a connection forgot its scope, as app and as owner, Then there is nothing to see."""
    await insert_note(base.database, EVERYTHING, OURS)
    for url in (base.app_url, base.owner_url):
        connection = await asyncpg.connect(url)
        assert await connection.fetch("SELECT * FROM notes") == []
        await connection.close()
    async with base.database.engine.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM notes"))).scalar_one() == 0


async def test_a_scope_does_not_outlive_its_transaction(base: Any) -> None:
    """Given a pool whose connection just served everything, When it is used without scope, Then it sees nothing."""
    await insert_note(base.database, EVERYTHING, OURS)
    single = Database(base.app_url, pool_size=1)
    try:
        async with single.transaction(EVERYTHING) as connection:
            first = await (await driver(connection)).fetchval("SELECT pg_backend_pid()")
        async with single.engine.begin() as connection:
            assert await (await driver(connection)).fetchval("SELECT pg_backend_pid()") == first
            assert (await connection.execute(text("SELECT count(*) FROM notes"))).scalar_one() == 0
    finally:
        await single.close()


async def test_a_scope_cannot_write_for_another(base: Any) -> None:
    """Given two organizations, When one writes or moves a row into the other's, Then it is refused."""
    with pytest.raises(DBAPIError) as refused:
        await insert_note(base.database, Scope(OURS, ROOT), THEIRS)
    assert sqlstate(refused.value) == REFUSED

    note_id = await insert_note(base.database, Scope(OURS, ROOT), OURS)
    with pytest.raises(DBAPIError) as moved:
        async with base.database.transaction(Scope(OURS, ROOT)) as connection:
            await connection.execute(
                text("UPDATE notes SET organization_id = :to WHERE id = :id"), {"to": THEIRS, "id": note_id}
            )
    assert sqlstate(moved.value) == REFUSED


async def test_a_scope_cannot_change_what_it_does_not_see(base: Any) -> None:
    """Given a note of another, When we update it by its id, Then no row is hit."""
    note_id = await insert_note(base.database, EVERYTHING, THEIRS)
    async with base.database.transaction(Scope(OURS, ROOT)) as connection:
        done = await connection.execute(text("UPDATE notes SET body = 'mine' WHERE id = :id"), {"id": note_id})
        assert done.rowcount == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE outbox SET payload = ''",
        "DELETE FROM outbox",
        "DELETE FROM requests",
        "UPDATE requests SET reply = ''",
        "DELETE FROM inbox",
        "CREATE TABLE mine (id int)",
        "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
        "TRUNCATE notes",
    ],
)
async def test_the_runtime_role_may_do_no_more_than_it_needs(base: Any, statement: str) -> None:
    """Given the runtime role, When it tries what no code of ours does, Then PostgreSQL refuses."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await base.rows(statement)


async def test_an_event_too_large_for_the_topic_never_enters_the_outbox(base: Any) -> None:
    """Given a payload past 8 MB, When a hot path inserts it by hand, Then the row is refused."""
    with pytest.raises(asyncpg.CheckViolationError):
        await base.rows(
            "INSERT INTO outbox (root_id, event_id, topic, key, payload) VALUES ($1, $1, 't', 'k', $2)",
            ROOT,
            bytes(8_000_001),
        )


async def test_the_clock_of_sql_follows_the_offset(base: Any) -> None:
    """Given a database with a clock offset of 31 days, When SQL asks for the time, Then it is 31 days on."""
    moved = Database(base.app_url, pool_size=1, clock_offset="31 days")
    try:
        connection = await moved.connect()
        ahead = await connection.fetchval("SELECT farthing_now() - clock_timestamp()")
        await connection.close()
    finally:
        await moved.close()
    assert 30.99 < ahead.total_seconds() / 86_400 < 31.01
