"""Pytest fixtures: one local stack for a whole test run, in a folder of its own, removed afterwards."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.stack import Stack


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """PostgreSQL, Kafka, S3 and SMTP, started when the first test asks; no service runs or is migrated."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def progress(line: str) -> None:
        if reporter is not None:
            reporter.write_line(f"  stack: {line}")

    folder = Path(tempfile.mkdtemp(prefix="farthing-test-"))
    # A mkdtemp folder is closed to others, but as root PostgreSQL runs as another user.
    folder.chmod(0o711)
    started = Stack(folder)
    # Ended by SIGTERM (`timeout`, CI), pytest would otherwise leave without stopping the stack.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        started.up(services=False, progress=progress)
        yield started
    finally:
        started.destroy()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def running_stack(stack: Stack) -> Stack:
    """The same stack with all five services migrated and serving."""
    stack.up(services=True)
    return stack
