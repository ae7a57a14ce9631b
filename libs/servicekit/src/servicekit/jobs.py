"""Work that recurs: claims rows, works on them, sleeps when there are none."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

log = structlog.get_logger()

_WORKED = Counter("farthing_job_items", "Items a job worked on", ["job"])
_FAILED = Counter("farthing_job_failures", "Runs of a job that failed", ["job"])
BACKOFF_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """`run` returns how many items it worked on; it runs again at once while there are some, else after `every_s`.

    Several replicas run the same job: it claims its rows (FOR UPDATE SKIP LOCKED).
    """

    name: str
    every_s: float
    run: Callable[[], Awaitable[int]]


def backoff_s(every_s: float, failures: int) -> float:
    """How long to wait after that many failures in a row: doubled each time, up to half a minute."""
    # After some doublings the bound holds anyway; a power of thousands would not fit a float.
    return min(every_s * 2.0 ** min(failures, 30), BACKOFF_MAX_S)


async def run_forever(job: Job) -> None:
    """Runs `job` until it is cancelled. A failed run is logged and tried again, later each time."""
    failures = 0
    while True:
        try:
            worked = await job.run()
        except Exception as error:
            failures += 1
            _FAILED.labels(job.name).inc()
            delay_s = backoff_s(job.every_s, failures)
            log.warning(
                "job failed",
                job=job.name,
                failures=failures,
                next_try_s=delay_s,
                error=repr(error),
                exc_info=failures == 1,
            )
            await asyncio.sleep(delay_s)
            continue
        failures = 0
        _WORKED.labels(job.name).inc(worked)
        await asyncio.sleep(0 if worked else job.every_s)
