"""Given a named fault point, then it kills a development process that is told so, and no other."""

import asyncio
import os
import signal
import sys

import pytest

PASS = "from servicekit.faults import fault_point_sync; fault_point_sync('here'); print('passed')"


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"FARTHING_ENV": "development", "FARTHING_FAULT": "here"}, -signal.SIGKILL),
        ({"FARTHING_ENV": "development", "FARTHING_FAULT": "elsewhere"}, 0),
        ({"FARTHING_ENV": "development"}, 0),
        ({"FARTHING_ENV": "production", "FARTHING_FAULT": "here"}, 0),
        ({"FARTHING_FAULT": "here"}, 0),
    ],
    ids=["armed", "another", "unarmed", "production", "no environment"],
)
async def test_a_fault_point_kills_only_where_it_is_armed(environment: dict[str, str], code: int) -> None:
    """Given an environment, When a process passes the point `here`, Then it dies only in development and if named."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PASS, env={"PATH": os.environ["PATH"], **environment}, stdout=asyncio.subprocess.PIPE
    )
    await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == code
