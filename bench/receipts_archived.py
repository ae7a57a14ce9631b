"""Our side of the row `receipts`: documents' own jobs, wired as in the service, work off what was issued before.

Run with the environment of the service; reads how many receipts as JSON, prints how many a second.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack

import uvloop
from documents.consumers import on_orders_event, on_wallet_event
from documents.settings import from_environment
from documents.wiring import wire
from servicekit.clock import SYSTEM_CLOCK
from servicekit.consumers import EventMeta
from servicekit.database import Database
from servicekit.ids import new_id
from servicekit.jobs import Job
from servicekit.paging import Pager
from servicekit.scope import EVERYTHING
from servicekit.service import Runtime

from bench.receipts_world import PARTNER, organization_events, purchase

_ISSUED_AT_ONCE = 100


async def measure(count: int) -> float:
    """Receipts a second, from the first claim to the last commit."""
    settings = from_environment()
    database = Database(settings.database_url.get_secret_value(), application="bench")
    async with AsyncExitStack() as closing:
        closing.push_async_callback(database.close)
        wiring = await wire(Runtime(settings, database, SYSTEM_CLOCK, Pager("bench"), closing))
        jobs = {job.name: job for job in wiring.jobs}
        await jobs["probe_archive"].run()
        await _issue(database, count)
        lanes = [job for name, job in jobs.items() if name.startswith("archive_receipts")]
        started_s = time.perf_counter()
        archived = sum(await asyncio.gather(*(_work_off(lane) for lane in lanes)))
        elapsed_s = time.perf_counter() - started_s
    if archived != count:
        raise SystemExit(f"{archived} receipts were archived, not {count}")
    return count / elapsed_s


async def _work_off(lane: Job) -> int:
    done = 0
    while taken := await lane.run():
        done += taken
    return done


async def _issue(database: Database, count: int) -> None:
    meta = EventMeta(new_id(), PARTNER.root_id, "bench", str(PARTNER.id), SYSTEM_CLOCK.now())
    async with database.transaction(EVERYTHING) as connection:
        for event in organization_events():
            await on_wallet_event(connection, event, meta, mail_domain="farthing.test")
    for start in range(0, count, _ISSUED_AT_ONCE):
        async with database.transaction(EVERYTHING) as connection:
            for _ in range(min(_ISSUED_AT_ONCE, count - start)):
                await on_orders_event(connection, purchase(), meta, mail_domain="farthing.test")


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(int(json.load(sys.stdin))))))
