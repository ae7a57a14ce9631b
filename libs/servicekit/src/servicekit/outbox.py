"""Events out: written in the change's transaction, published by a relay (design 3).

One relay a service works at a time (a session lock in PostgreSQL); the others wait. It publishes unpublished rows in
the order of their ids and marks them after the broker's ack. Rows of one key get their ids while their resource is
locked, so per key that is the order of the commits; a row that commits late is found late, never lost. A crash
between ack and mark publishes a row twice, with the same `event_id`: consumers act once.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
import prometheus_client
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from google.protobuf.message import Message
from opentelemetry.instrumentation.utils import suppress_instrumentation
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.faults import fault_point
from servicekit.ids import new_id
from servicekit.kafka import EVENT_MAX_BYTES, RECORD_MAX_BYTES, asked_to_end, stop_bounded
from servicekit.telemetry import current_traceparent

log = structlog.get_logger()

_PUBLISHED = prometheus_client.Counter("farthing_outbox_published", "Events published", ["topic"])
_UNPUBLISHED = prometheus_client.Gauge("farthing_outbox_unpublished", "Events waiting for the relay")

_ADD = text(
    "INSERT INTO outbox (root_id, event_id, topic, key, payload, traceparent) "
    "VALUES (:root_id, :event_id, :topic, :key, :payload, :traceparent)"
)
_NEXT = (
    "SELECT root_id, id, event_id, topic, key, payload, traceparent, created_at FROM outbox "
    "WHERE published_at IS NULL ORDER BY id LIMIT $1"
)
_MARK = (
    "UPDATE outbox SET published_at = (SELECT farthing_now()) "
    "FROM unnest($1::uuid[], $2::bigint[]) AS done (root_id, id) "
    "WHERE outbox.root_id = done.root_id AND outbox.id = done.id"
)
RELAY_LOCK = 0x4F5554424F58
BATCH_ROWS = 1000
BATCH_BYTES = 1024 * 1024
POLL_S = 0.03
SEND_TIMEOUT_S = 30.0
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One message for `topic`. `key` is an organization's id: events of one key stay in order."""

    root_id: UUID
    topic: str
    key: UUID
    message: Message


async def add(connection: AsyncConnection, events: Sequence[OutboxEvent]) -> None:
    """Writes events in the caller's transaction; they are published once it commits.

    ValueError for one of more than 8 MB: it would stand in the way of all that come after it.
    """
    if not events:
        return
    for event in events:
        if event.message.ByteSize() > EVENT_MAX_BYTES:
            name = event.message.DESCRIPTOR.full_name
            raise ValueError(f"a {name} of {event.message.ByteSize()} bytes is too large for an event")
    traceparent = current_traceparent()
    await connection.execute(
        _ADD,
        [
            {
                "root_id": event.root_id,
                "event_id": new_id(),
                "topic": event.topic,
                "key": str(event.key),
                "payload": event.message.SerializeToString(),
                "traceparent": traceparent,
            }
            for event in events
        ],
    )


class Relay:
    """Publishes a service's outbox until it is cancelled."""

    def __init__(self, database: Database, kafka_bootstrap: str, service: str) -> None:
        self._database = database
        self._bootstrap = kafka_bootstrap
        self._service = service

    async def run(self) -> None:
        while True:
            try:
                # Its polling would fill every trace store with statements that say nothing.
                with suppress_instrumentation():
                    await self._lead()
            except asyncio.CancelledError:
                if asked_to_end():
                    raise
                log.warning("outbox relay lost its producer, trying again", service=self._service)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # noqa: BLE001 - asyncpg and aiokafka fail in more ways than their errors name
                log.warning("outbox relay stopped, trying again", service=self._service, error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _lead(self) -> None:
        connection = await self._database.connect()
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", RELAY_LOCK):
                await asyncio.sleep(RETRY_S)
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                enable_idempotence=True,
                acks="all",
                linger_ms=2,
                max_request_size=RECORD_MAX_BYTES,
                max_batch_size=BATCH_BYTES,
            )
            try:
                await producer.start()
                while True:
                    if await self._publish(connection, producer) < BATCH_ROWS:
                        await asyncio.sleep(POLL_S)
            finally:
                await stop_bounded(producer)
        finally:
            # A broken connection has nothing left to say good-bye to.
            with contextlib.suppress(Exception):
                await connection.close(timeout=2)

    async def _publish(self, connection: "asyncpg.Connection[Any]", producer: AIOKafkaProducer) -> int:
        rows = await connection.fetch(_NEXT, BATCH_ROWS)
        _UNPUBLISHED.set(len(rows))
        if not rows:
            return 0
        await fault_point(f"{self._service}.before_publish")
        # A send whose timeout passed is unknown, not failed: its rows stay unmarked and go out again.
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await _send(producer, rows)
        await fault_point(f"{self._service}.after_publish")
        await connection.execute(_MARK, [row["root_id"] for row in rows], [row["id"] for row in rows])
        for topic, count in Counter(row["topic"] for row in rows).items():
            _PUBLISHED.labels(topic).inc(count)
        return len(rows)


async def _send(producer: AIOKafkaProducer, rows: Sequence[Any]) -> None:
    """Sends rows as one batch a partition, each in the rows' order; a future a row would cost more than the row."""
    by_partition: dict[tuple[str, int], list[Any]] = defaultdict(list)
    partitions = {topic: await _partitions(producer, topic) for topic in {row["topic"] for row in rows}}
    for row in rows:
        topic = row["topic"]
        by_partition[topic, _partition(row["key"], partitions[topic])].append(row)
    await asyncio.gather(
        *(_send_partition(producer, topic, partition, some) for (topic, partition), some in by_partition.items())
    )


async def _send_partition(producer: AIOKafkaProducer, topic: str, partition: int, rows: Sequence[Any]) -> None:
    acks = []
    batch = producer.create_batch()
    for row in rows:
        record = {"timestamp": None, "key": row["key"].encode(), "value": row["payload"], "headers": _headers(row)}
        if batch.append(**record) is None:
            acks.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(**record)
    acks.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*acks)


async def _partitions(producer: AIOKafkaProducer, topic: str) -> tuple[int, ...]:
    return tuple(sorted(await producer.partitions_for(topic)))


@lru_cache(100_000)
def _partition(key: str, partitions: tuple[int, ...]) -> int:
    """Where Kafka's own clients put that key."""
    found: int = DefaultPartitioner()(key.encode(), list(partitions), list(partitions))
    return found


def _headers(row: Any) -> list[tuple[str, bytes]]:
    headers = [
        ("event_id", str(row["event_id"]).encode()),
        ("root_id", str(row["root_id"]).encode()),
        ("occurred_at", row["created_at"].isoformat().encode()),
        ("schema", row["topic"].encode()),
    ]
    if row["traceparent"]:
        headers.append(("traceparent", row["traceparent"].encode()))
    return headers
