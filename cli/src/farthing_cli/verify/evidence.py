"""What `farthing verify` looks at: one snapshot of each database, the topics' messages, the kept mail."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from servicekit.clock import SYSTEM_CLOCK

from farthing_cli.environment import need
from farthing_cli.problems import Problem

SERVICES = ("orders", "wallet", "subscriptions", "documents", "usage")
FETCH_ROWS = 1000
CONNECT_TIMEOUT_S = 10.0
Row = Any

_SHELF = """
CREATE TABLE messages (
    topic TEXT NOT NULL, event_id BLOB NOT NULL, digest BLOB NOT NULL,
    copies INTEGER NOT NULL, late INTEGER NOT NULL, differing INTEGER NOT NULL,
    PRIMARY KEY (topic, event_id)
) WITHOUT ROWID;
CREATE TABLE dead_letters (service TEXT NOT NULL, event_id BLOB NOT NULL, error TEXT NOT NULL);
CREATE INDEX dead_letters_event ON dead_letters (service, event_id);
CREATE TABLE mails (
    message_id TEXT NOT NULL, recipient TEXT NOT NULL, sha256 BLOB, copies INTEGER NOT NULL,
    PRIMARY KEY (message_id, recipient)
) WITHOUT ROWID;
"""
_ADD_MESSAGE = """
INSERT INTO messages VALUES (?, ?, ?, 1, ?, 0) ON CONFLICT DO UPDATE SET copies = copies + 1,
    late = min(late, excluded.late), differing = max(differing, digest <> excluded.digest)
"""
_ADD_MAIL = "INSERT INTO mails VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET copies = copies + 1"


class Shelf:
    """Messages and mails, on disk and sorted: there may be more of them than memory. Gone when closed."""

    def __init__(self) -> None:
        # An empty name is a temporary file that SQLite removes by itself.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_SHELF)
        self.malformed: list[str] = []

    def close(self) -> None:
        """Removes everything."""
        self._database.close()

    def add_messages(self, rows: Iterable[tuple[str, bytes, bytes, bool]]) -> None:
        """Rows of topic, event id, digest, and whether it came after the snapshots."""
        self._database.execute("BEGIN")
        self._database.executemany(_ADD_MESSAGE, rows)
        self._database.execute("COMMIT")

    def add_dead_letters(self, rows: Iterable[tuple[str, bytes, str]]) -> None:
        """Rows of service, event id, error."""
        self._database.executemany("INSERT INTO dead_letters VALUES (?, ?, ?)", rows)

    def add_mail(self, message_id: str, recipients: Iterable[str], sha256: bytes | None) -> None:
        """One kept mail; `sha256` is that of the PDF attached."""
        self._database.executemany(_ADD_MAIL, [(message_id, recipient, sha256) for recipient in recipients])

    async def messages(self, topics: Iterable[str]) -> AsyncIterator[dict[str, Any]]:
        """The distinct messages of `topics` by event id."""
        names = list(topics)
        marks = ", ".join("?" for _ in names)
        query = (
            "SELECT event_id, topic, digest, copies, late, differing FROM messages "  # noqa: S608 - marks only
            f"WHERE topic IN ({marks}) ORDER BY event_id"
        )
        for event_id, topic, digest, copies, late, differing in self._database.execute(query, names):
            yield {
                "key": UUID(bytes=event_id),
                "topic": topic,
                "digest": digest,
                "copies": copies,
                "late": bool(late),
                "differing": bool(differing),
            }

    def dead_letter(self, service: str, event_id: UUID) -> str | None:
        """Why `service` buried the event, or None where it did not."""
        query = "SELECT error FROM dead_letters WHERE service = ? AND event_id = ?"
        row = self._database.execute(query, (service, event_id.bytes)).fetchone()
        return None if row is None else str(row[0])

    def mails(self, message_id: str) -> dict[str, tuple[int, bytes | None]]:
        """Recipient -> (how many copies, SHA-256 of the PDF in it)."""
        query = "SELECT recipient, copies, sha256 FROM mails WHERE message_id = ?"
        return {
            recipient: (copies, sha256) for recipient, copies, sha256 in self._database.execute(query, (message_id,))
        }

    def mail_count(self) -> int:
        """How many mailboxes got how many different mails, in all."""
        return int(self._database.execute("SELECT count(*) FROM mails").fetchone()[0])


@dataclass(frozen=True)
class Evidence:
    """Everything the checks read. `databases` are open snapshots (REPEATABLE READ READ ONLY, all tenants)."""

    environment: Mapping[str, str]
    databases: Mapping[str, "asyncpg.Connection[Any]"]
    shelf: Shelf
    consumers: Mapping[str, tuple[str, ...]]
    owners: Mapping[str, str]
    now: datetime

    async def rows(self, database: str, query: str, *arguments: object) -> AsyncIterator[Row]:
        """The rows of a query through a cursor on the server: as many as there are, in the memory of a thousand."""
        async for row in self.databases[database].cursor(query, *arguments, prefetch=FETCH_ROWS):
            yield row

    async def value(self, database: str, query: str, *arguments: object) -> Any:
        """The one value of a query."""
        return await self.databases[database].fetchval(query, *arguments)


def digest(key: str, payload: bytes) -> bytes:
    """What makes two events the same message."""
    return hashlib.sha256(key.encode() + b"\0" + payload).digest()


@asynccontextmanager
async def snapshots(environment: Mapping[str, str]) -> AsyncIterator[dict[str, "asyncpg.Connection[Any]"]]:
    """Opens one consistent, read-only view of each database that sees every tenant. Problem where one is not there."""
    async with AsyncExitStack() as exit_stack:
        opened = {}
        for service in SERVICES:
            connection = await connect(environment, service)
            exit_stack.push_async_callback(connection.close)
            await exit_stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
            await connection.execute("SELECT set_config('farthing.scope', 'all', true)")
            opened[service] = connection
        yield opened


async def connect(environment: Mapping[str, str], service: str) -> "asyncpg.Connection[Any]":
    """A connection to a service's database as its runtime role."""
    url = need(environment, f"{service.upper()}_DATABASE_URL", f"the database of {service}")
    try:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": "farthing-verify"}
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise Problem(f"the database of {service} does not answer: {error}") from error
    if await connection.fetchval("SELECT to_regclass('outbox')") is None:
        await connection.close()
        raise Problem(f"the database of {service} has no tables yet; run `{service} migrate`")
    return connection


def now() -> datetime:
    """The instant of the check."""
    return SYSTEM_CLOCK.now()
