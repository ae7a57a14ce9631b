"""What producers and consumers share: limits, names, and how to end a client that may never end by itself."""

import asyncio
from typing import Any

import structlog

log = structlog.get_logger()

# What the largest request (4 MiB) may grow to on its way into an event; the topics take a little more than that.
EVENT_MAX_BYTES = 8_000_000
RECORD_MAX_BYTES = 9_000_000


def dead_letter_topic(topic: str, service: str) -> str:
    """Where `service` puts what it cannot process of `topic`."""
    return f"{topic}.dlq.{service}"


async def stop_bounded(client: Any, timeout_s: float = 5.0) -> None:
    """Stops an aiokafka client; with the broker gone that may take for ever, or end in CancelledError."""
    task = asyncio.ensure_future(client.stop())
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and task.exception() is not None:
        log.info("stopping a Kafka client", error=repr(task.exception()))


def asked_to_end() -> bool:
    """True where a CancelledError means this task; aiokafka lets some out that mean only its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
