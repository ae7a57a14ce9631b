"""Given work that recurs, then it runs, rests, and backs off."""

import asyncio
from typing import Any

import pytest
from servicekit.jobs import BACKOFF_MAX_S, Job, backoff_s, run_forever
from servicekit.testing import eventually


@pytest.mark.parametrize(
    ("failures", "delay_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, BACKOFF_MAX_S), (10_000, BACKOFF_MAX_S)]
)
def test_each_failure_doubles_the_wait_up_to_a_bound(failures: int, delay_s: float) -> None:
    """Given a job every half second, When it failed that often in a row, Then it waits so long, and never overflows."""
    assert backoff_s(0.5, failures) == delay_s


async def test_a_job_goes_on_at_once_while_there_is_work(running: Any) -> None:
    """Given a job with five items, one a run, and a minute of rest, When it runs, Then all are done before it rests."""
    items = [1, 2, 3, 4, 5]

    async def one() -> int:
        if not items:
            return 0
        items.pop()
        return 1

    running.start(run_forever(Job("items", 60.0, one)))

    await eventually(lambda: not items, 1)


async def test_a_job_that_fails_is_tried_again(running: Any) -> None:
    """Given a job that fails twice, When it runs, Then it waits longer each time and then works."""
    times: list[float] = []

    async def work() -> int:
        times.append(asyncio.get_running_loop().time())
        if len(times) <= 2:
            raise ConnectionRefusedError
        return 0

    running.start(run_forever(Job("flaky", 0.1, work)))

    await eventually(lambda: len(times) >= 3, 3)
    assert times[1] - times[0] >= 0.19
    assert times[2] - times[1] >= 0.39
