"""Fixtures of the tests that use the whole house."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from local_stack.layout import PARTS
from local_stack.stack import Stack

from tests.system.world import World

Verify = Callable[[], dict[str, Any]]


@pytest.fixture
async def world(running_stack: Stack) -> AsyncIterator[World]:
    """Clients of the five running services."""
    # A test that failed may have left something down: that is its own failure, and nobody else's.
    if any(running_stack.pid(part) is None for part in PARTS):
        await asyncio.to_thread(running_stack.up)
    made = World(running_stack)
    yield made
    await made.close()


@pytest.fixture
def books_hold(running_stack: Stack) -> Callable[[], None]:
    """Runs `farthing verify` and asserts that every invariant holds."""

    def check() -> None:
        env = running_stack.env()
        command = [str(Path(sys.executable).with_name("farthing")), "verify", "--json", "--wait", "60"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, (
            f"verify said:\n{_failed(done.stdout) or done.stdout[-3000:]}\n{done.stderr[-2000:]}"
        )

    return check


def _failed(output: str) -> str:
    try:
        report = json.loads(output)
    except json.JSONDecodeError:
        return ""
    checks = report.get("invariants") or report.get("checks") or []
    return "\n".join(json.dumps(check)[:1500] for check in checks if not check.get("ok"))
