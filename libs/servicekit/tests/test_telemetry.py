"""Given work, then its trace id is handed on and stands in every log line."""

import asyncio
import json
import os
import sys

import pytest
from servicekit.telemetry import current_traceparent, span

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LOGS = f"""
import logging, structlog
from servicekit.telemetry import configure_logging, span
configure_logging("kit", "INFO")
log = structlog.get_logger()
with span("work", "{TRACEPARENT}"):
    log.info("within", amount_micros=7)
log.debug("not shown")
logging.getLogger("some.library").warning("from a library")
for number in range(50):
    logging.getLogger("aiokafka.conn").error("outage %d", number)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_outside_of_work_there_is_no_trace() -> None:
    """Given no work, When the trace is asked for, Then there is none."""
    assert current_traceparent() is None


def test_work_continues_the_trace_it_was_given() -> None:
    """Given a traceparent, When work begins with it, Then it is handed on within, and not after."""
    with span("work", TRACEPARENT):
        assert current_traceparent() == TRACEPARENT
    assert current_traceparent() is None


@pytest.mark.parametrize("parent", [None, "", "garbage", "00-short-00f067aa0ba902b7-01", TRACEPARENT + "\r\nx: y"])
def test_work_without_a_good_trace_begins_one(parent: str | None) -> None:
    """Given no traceparent, or one that is none (W3C), When work begins, Then it has a trace of its own."""
    with span("work", parent):
        first = current_traceparent()
    with span("work", parent):
        second = current_traceparent()

    assert first is not None
    assert second is not None
    assert len(first) == len(TRACEPARENT)
    assert first != second


async def test_traces_of_concurrent_work_do_not_mix() -> None:
    """Given two tasks at once, When each works within its trace, Then each keeps its own."""

    async def work(parent: str) -> bool:
        with span("work", parent):
            await asyncio.sleep(0.01)
            return current_traceparent() == parent

    assert await asyncio.gather(*(work(TRACEPARENT.replace("4bf9", f"{number:04x}")) for number in range(20)))


async def test_logs_are_json_with_trace_ids() -> None:
    """Given a process that logs, When its output is read, Then each line is JSON with service, level and trace id,
    libraries' lines too, and an outage of Kafka does not flood it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOGS, stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]}
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    lines = [json.loads(line) for line in output.decode().splitlines()]
    within, library, *outage, failed = lines

    assert {line["service"] for line in lines} == {"kit"}
    assert (within["event"], within["amount_micros"], within["level"]) == ("within", 7, "info")
    assert within["trace_id"] == TRACEPARENT[3:35]
    assert "trace_id" not in library
    assert library["event"] == "from a library"
    assert len(outage) == 1
    assert "ZeroDivisionError" in failed["exception"]
