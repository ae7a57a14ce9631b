"""Given five databases as migrations make them, then every key begins with the shard, and nobody may do too much."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from local_stack.stack import Stack
from servicekit.testing import service_database

SERVICES = ("orders", "wallet", "subscriptions", "documents", "usage")

# Alembic's own: one row that names the revision, the same in every shard.
NOT_SHARDED = {"migrations"}
# Read and written by servicekit alone, with a key that names the caller; never listed for anybody.
WITHOUT_ROW_SECURITY = {"outbox", "inbox", "requests", "migrations"}
# Everybody reads them, and only the platform's catalogue writes them: there is no tenant in them.
OF_THE_PLATFORM = {"orders": {"products", "skus"}}
# What must never change once it is written: the ledger, the archive, what was sold, what was answered.
APPEND_ONLY = {
    "orders": {
        "inbox",
        "requests",
        "order_items",
        "order_item_tiers",
        "refund_line_tiers",
        "order_fees",
        "order_fee_tiers",
        "audit_events",
    },
    "wallet": {"inbox", "requests", "transactions", "lines"},
    "subscriptions": {"inbox", "requests"},
    "documents": {"inbox", "requests", "snapshots", "manifest"},
    "usage": {"inbox", "requests"},
}

TABLES = """
    SELECT c.oid, c.relname AS name, c.relkind::text AS kind, c.relrowsecurity AND c.relforcerowsecurity AS secured,
           coalesce('security_invoker=true' = ANY (c.reloptions) OR 'security_invoker=on' = ANY (c.reloptions), false)
             AS invoker
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm')
"""
KEYS = """
    SELECT t.relname AS table, i.relname AS key, coalesce(a.attname, '(an expression)') AS first,
           x.indisprimary AS primary
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = 'public'
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0] AND a.attnum > 0
    WHERE x.indisunique OR x.indisexclusion
"""
FOREIGN_KEYS = """
    SELECT c.conrelid::regclass::text AS table, c.conname AS key, a.attname AS first, b.attname AS first_there
    FROM pg_constraint c
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
    WHERE c.contype = 'f'
"""


@pytest.fixture(params=SERVICES)
async def service(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[tuple[str, Any]]:
    """A service's name, and its migrated database as the superuser sees it."""
    env = stack.env()
    database = await service_database(env, request.param)
    await database.close()
    connection = await asyncpg.connect(
        host=env["PGHOST"],
        port=int(env["PGPORT"]),
        user=env["PGUSER"],
        password=env["PGPASSWORD"],
        database=request.param,
    )
    yield request.param, connection
    await connection.close()


async def test_every_key_begins_with_the_shard(service: tuple[str, Any]) -> None:
    """Given a service's tables, When their keys are read, Then each has a primary key, and primary keys, unique and
    exclusion constraints and foreign keys, at both ends, begin with root_id."""
    _, connection = service
    tables = {row["name"] for row in await connection.fetch(TABLES) if row["kind"] in "rp"} - NOT_SHARDED
    keys = [row for row in await connection.fetch(KEYS) if row["table"] in tables]

    assert {row["table"] for row in keys if row["primary"]} == tables
    assert [(row["table"], row["key"]) for row in keys if row["first"] != "root_id"] == []
    foreign = await connection.fetch(FOREIGN_KEYS)
    assert [row["key"] for row in foreign if (row["first"], row["first_there"]) != ("root_id", "root_id")] == []


async def test_every_shard_key_is_a_uuid_and_set(service: tuple[str, Any]) -> None:
    """Given a service's tables, When root_id is read, Then it is a uuid and never null, everywhere."""
    _, connection = service
    rows = await connection.fetch(
        "SELECT table_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name = 'root_id' "
        "AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')"
    )
    assert {(row["data_type"], row["is_nullable"]) for row in rows} == {("uuid", "NO")}


async def test_rows_of_tenants_are_behind_row_level_security(service: tuple[str, Any]) -> None:
    """Given a service's tables and views, When their security is read, Then it is on and forced, and views obey it."""
    name, connection = service
    rows = await connection.fetch(TABLES)

    open_ = {row["name"] for row in rows if row["kind"] in "rp" and not row["secured"]}
    assert open_ - WITHOUT_ROW_SECURITY == OF_THE_PLATFORM.get(name, set())
    assert [row["name"] for row in rows if row["kind"] == "v" and not row["invoker"]] == []
    assert [row["name"] for row in rows if row["kind"] == "m"] == []


async def test_the_runtime_role_is_nobody_special(service: tuple[str, Any]) -> None:
    """Given a service's runtime role, When its rights are read, Then it owns nothing and bypasses nothing."""
    name, connection = service
    app = f"{name}_app"
    role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", app)

    assert not any(role[right] for right in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb"))
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relowner = $1::regrole", app) == 0
    assert not await connection.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", app)
    assert not await connection.fetchval("SELECT pg_has_role($1, $2, 'MEMBER')", app, f"{name}_owner")
    others = [other for other in SERVICES if other != name]
    for other in others:
        assert not await connection.fetchval("SELECT has_database_privilege($1, $2, 'CONNECT')", app, other)


async def test_the_runtime_role_deletes_nothing(service: tuple[str, Any]) -> None:
    """Given a service's tables, When the runtime role's rights are read, Then none is DELETE or TRUNCATE."""
    name, connection = service
    for row in await connection.fetch(TABLES):
        for right in ("DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
            has = await connection.fetchval(
                "SELECT has_table_privilege($1, $2::oid, $3)", f"{name}_app", row["oid"], right
            )
            assert not has, f"{name}_app may {right} {row['name']}"


async def test_what_is_written_for_good_cannot_be_changed(service: tuple[str, Any]) -> None:
    """Given the tables that hold what must never change, When they are read, Then the runtime role may not UPDATE a
    column of them, and a trigger refuses everybody."""
    name, connection = service
    triggered = {
        row["name"]
        for row in await connection.fetch(
            "SELECT c.relname AS name FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE t.tgname = 'append_only' AND t.tgenabled = 'O'"
        )
    }
    assert triggered >= APPEND_ONLY[name]
    for table in triggered:
        has = await connection.fetchval("SELECT has_any_column_privilege($1, $2, 'UPDATE')", f"{name}_app", table)
        assert not has, f"{name}_app may UPDATE {table}"
