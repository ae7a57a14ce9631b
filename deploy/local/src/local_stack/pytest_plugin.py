"""Pytest fixtures: local stacks in folders of their own, removed afterwards."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_stack.stack import Stack


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """PostgreSQL, Kafka, S3 and SMTP, shared by the whole run; no service runs or is migrated."""
    with temporary_stack(request, services=False) as made:
        yield made


@pytest.fixture(scope="session")
def running_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A whole house with all five services, shared by the whole run: who uses it leaves every part running.

    Not the shared servers: tests of single services leave rows and events there that no other service would
    understand, and `farthing verify` rightly finds them.
    """
    with temporary_stack(request) as made:
        yield made


@contextmanager
def temporary_stack(request: pytest.FixtureRequest, *, services: bool = True) -> Iterator[Stack]:
    """A stack that is up; stopped and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="farthing-test-"))
    # A mkdtemp folder is closed to others, but as root PostgreSQL runs as another user.
    folder.chmod(0o711)
    made = Stack(folder)
    # Ended by SIGTERM (`timeout`, CI), pytest would otherwise leave without stopping the stack.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made.up(services=services, progress=_progress(request))
        yield made
    finally:
        made.destroy()
        signal.signal(signal.SIGTERM, before)


def _progress(request: pytest.FixtureRequest) -> Callable[[str], None]:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def progress(line: str) -> None:
        if reporter is not None:
            reporter.write_line(f"  stack: {line}")

    return progress
