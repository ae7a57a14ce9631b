"""A stack of one row's own: servers and services in a temporary folder on disk, gone afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from local_stack.stack import Stack

from bench.harness import Progress

T = TypeVar("T")
SHARED_BUFFERS = "512MB"


@contextmanager
def own_stack(progress: Progress, services: Sequence[str]) -> Iterator[Stack]:
    """PostgreSQL, Kafka, S3 and SMTP up, and `services` migrated but not started."""
    with tempfile.TemporaryDirectory(prefix="farthing-bench-") as folder:
        stack = Stack(Path(folder) / "stack", shared_buffers=SHARED_BUFFERS)
        try:
            progress("starting PostgreSQL, Kafka, S3, SMTP")
            stack.up(services=False)
            for name in services:
                progress(f"migrating {name}")
                stack.migrate(name)
            yield stack
        finally:
            stack.destroy()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop, as the services do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def superuser_url(stack: Stack, database: str) -> str:
    """For seeding and counting: sees everything, row-level security does not bind it."""
    env = stack.env()
    return f"postgresql://{env['PGUSER']}:{env['PGPASSWORD']}@{env['PGHOST']}:{env['PGPORT']}/{database}"
