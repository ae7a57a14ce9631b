"""A stack of one row's own: servers and services in a temporary folder on disk, gone afterwards."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import uvloop
from local_stack.stack import Stack

from bench.harness import Progress

T = TypeVar("T")
SHARED_BUFFERS = "512MB"
# Where worlds that take long to make are kept, and found again by the next run; empty: nothing is kept.
KEPT = os.environ.get("FARTHING_BENCH_KEEP", "")


@contextmanager
def own_stack(progress: Progress, services: Sequence[str]) -> Iterator[Stack]:
    """PostgreSQL, Kafka, S3 and SMTP up, and `services` migrated but not started."""
    with tempfile.TemporaryDirectory(prefix="farthing-bench-") as folder:
        stack = Stack(Path(folder) / "stack", shared_buffers=SHARED_BUFFERS)
        try:
            _up(stack, progress, services)
            yield stack
        finally:
            stack.destroy()


@contextmanager
def seeded_stack(progress: Progress, service: str, world: str, seed: Callable[[Stack], None]) -> Iterator[Stack]:
    """A stack whose `service` has what `seed` put into its database, up and not started.

    With FARTHING_BENCH_KEEP it is kept there as `world`, and not seeded when it is there already; migrations that
    came since are run. Whoever changes what a world is made of gives it another name or removes the folder.
    """
    if not KEPT:
        with own_stack(progress, [service]) as stack:
            seed(stack)
            yield stack
        return
    folder = Path(KEPT).resolve() / world
    stack, seeded = Stack(folder / "stack", shared_buffers=SHARED_BUFFERS), folder / "seeded"
    if folder.exists() and not seeded.exists():
        progress(f"removing {world}, which was not finished")
        stack.destroy()
    try:
        _up(stack, progress, [service])
        if not seeded.exists():
            seed(stack)
            seeded.touch()
        yield stack
    finally:
        stack.down()


def _up(stack: Stack, progress: Progress, services: Sequence[str]) -> None:
    progress("starting PostgreSQL, Kafka, S3, SMTP")
    stack.up(services=False)
    for name in services:
        progress(f"migrating {name}")
        stack.migrate(name)


@asynccontextmanager
async def indexes_afterwards(
    connection: asyncpg.Connection[Any], tables: Sequence[str], progress: Progress
) -> AsyncIterator[None]:
    """Indexes of `tables` that are no constraint's are made after the rows: kept row by row they take the most time."""
    found = await connection.fetch(
        "SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid::regclass::text = ANY ($1) AND NOT i.indisunique",
        list(tables),
    )
    for index in found:
        await connection.execute(f"DROP INDEX {index['name']}")
    yield
    await connection.execute("SET maintenance_work_mem = '1GB'")
    for index in found:
        progress(f"index {index['name']}")
        await connection.execute(index["definition"])


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop, as the services do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def superuser_url(stack: Stack, database: str) -> str:
    """For seeding and counting: sees everything, row-level security does not bind it."""
    env = stack.env()
    return f"postgresql://{env['PGUSER']}:{env['PGPASSWORD']}@{env['PGHOST']}:{env['PGPORT']}/{database}"
