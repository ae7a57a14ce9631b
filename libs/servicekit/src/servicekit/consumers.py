"""Events in: each acts once (design 3).

The inbox row is written in the transaction of the effect; offsets are committed after it. What cannot be processed
goes to the dead letters; what cannot be processed *yet* (a database that is down, `NotYet`) is tried for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
import grpc.aio
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from google.protobuf.message import DecodeError, Message
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database, driver_error, sqlstate
from servicekit.ids import parse_id
from servicekit.kafka import RECORD_MAX_BYTES, asked_to_end, dead_letter_topic, stop_bounded
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.telemetry import span

log = structlog.get_logger()

_PROCESSED = Counter("farthing_consumer_events", "Events processed", ["consumer", "outcome"])
_LAG = Gauge("farthing_consumer_lag", "Events behind the end of the topic", ["consumer", "partition"])

_CLAIM = text(
    "INSERT INTO inbox (root_id, consumer, event_id) VALUES (:root_id, :consumer, :event_id) "
    "ON CONFLICT DO NOTHING RETURNING event_id"
)
BATCH_RECORDS = 100
POLL_MS = 250
COMMIT_TIMEOUT_S = 10.0
POISON_TRIES = 3
RETRY_S = 0.5
RETRY_MAX_S = 5.0
SILENCE_S = 15.0

M = TypeVar("M", bound=Message)


class NotYet(Exception):  # noqa: N818 - not an error, a matter of time
    """The event cannot be processed yet, because something it builds on has not arrived; it is tried again."""


class Stuck(Exception):  # noqa: N818
    """The consumer gets no records though there are some; it is made anew."""


@dataclass(frozen=True, slots=True)
class EventMeta:
    """What travels beside a message."""

    event_id: UUID
    root_id: UUID
    topic: str
    key: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Consumer(Generic[M]):
    """Handles every message of `topic` once. `name` is unique, such as `documents.orders`; one consumer a topic.

    `handle` runs in the inbox's transaction with scope EVERYTHING. ValueError, Problem and other faults of the event
    or of the code lead to the dead letters after three tries. `NotYet`, lost connections, deadlocks and the like (see
    `is_transient`) are tried for ever; the events behind it in its partition wait, other partitions go on.
    """

    name: str
    topic: str
    message: type[M]
    handle: Callable[[AsyncConnection, M, EventMeta], Awaitable[None]]


# Class 08 connection, 28 credentials, 40 rollback (deadlock, serialization), 53 resources, 57 operator intervention;
# a server that became a replica (25006); a lock that was not to be had (55P03).
_TRANSIENT_SQLSTATES = ("08", "28", "40", "53", "57", "25006", "55P03")
_TRANSIENT_STATUSES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def is_transient(error: BaseException) -> bool:
    """True where the same event or call may well succeed later, unchanged."""
    if isinstance(error, Problem):
        return error.code in _TRANSIENT_STATUSES
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in _TRANSIENT_STATUSES
    if sqlstate(error):
        return sqlstate(error).startswith(_TRANSIENT_SQLSTATES)
    cause = driver_error(error)
    if isinstance(cause, asyncpg.InterfaceError):
        # asyncpg.DataError: a value that fits no column. It will not fit tomorrow either.
        return not isinstance(cause, ValueError)
    # InternalClientError: what asyncpg says of a connection that broke in the middle of a statement.
    return isinstance(cause, NotYet | OSError | TimeoutError | PoolTimeoutError | asyncpg.InternalClientError)


class ConsumerLoop:
    """Runs one consumer until it is cancelled. Replicas of the service share the partitions."""

    def __init__(
        self,
        consumer: Consumer[Any],
        database: Database,
        kafka_bootstrap: str,
        service: str,
        session_timeout_ms: int = 10_000,
    ) -> None:
        self._consumer = consumer
        self._session_timeout_ms = session_timeout_ms
        self._database = database
        self._bootstrap = kafka_bootstrap
        self._service = service
        self._tries: dict[tuple[TopicPartition, int], int] = {}
        # Of partitions whose next event is tried again later: how long to wait the next time, and until when now.
        self._delays_s: dict[TopicPartition, float] = {}
        self._waits_until_s: dict[TopicPartition, float] = {}

    async def run(self) -> None:
        while True:
            try:
                await self._consume()
            except asyncio.CancelledError:
                if asked_to_end():
                    raise
                log.warning("consumer lost its connection, trying again", consumer=self._consumer.name)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # noqa: BLE001 - aiokafka fails in more ways than its errors name
                log.warning("consumer stopped, trying again", consumer=self._consumer.name, error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _consume(self) -> None:
        kafka = AIOKafkaConsumer(
            self._consumer.topic,
            bootstrap_servers=self._bootstrap,
            group_id=f"{self._service}.{self._consumer.topic}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=self._session_timeout_ms,
            heartbeat_interval_ms=self._session_timeout_ms // 5,
            max_poll_interval_ms=600_000,
        )
        try:
            async with asyncio.timeout(30):
                await kafka.start()
            self._waits_until_s.clear()
            silent_s = 0.0
            while True:
                self._resume(kafka)
                batches = await kafka.getmany(timeout_ms=POLL_MS, max_records=BATCH_RECORDS)
                silent_s = 0.0 if batches else silent_s + POLL_MS / 1000
                if silent_s >= SILENCE_S:
                    await self._look_for_silence(kafka)
                    silent_s = 0.0
                for partition, records in batches.items():
                    await self._process(kafka, partition, records)
        finally:
            await stop_bounded(kafka)

    async def _look_for_silence(self, kafka: AIOKafkaConsumer) -> None:
        """A consumer that hears nothing may be at the end, or cut off: only the end offsets tell."""
        heard = kafka.assignment() - self._waits_until_s.keys()
        async with asyncio.timeout(COMMIT_TIMEOUT_S):
            ends = await kafka.end_offsets(heard)
        lag = 0
        for partition, end in ends.items():
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                behind = end - await kafka.position(partition)
            _LAG.labels(self._consumer.name, partition.partition).set(behind)
            lag += behind
        if lag > 0:
            raise Stuck(f"{self._consumer.name} hears nothing, but is {lag} events behind")

    async def _process(
        self, kafka: AIOKafkaConsumer, partition: TopicPartition, records: Sequence[ConsumerRecord]
    ) -> None:
        try:
            await self._effects(records)
            done = len(records)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found again below, record by record
            log.info("a batch failed, going on one by one", consumer=self._consumer.name, error=repr(error))
            done = await self._one_by_one(partition, records)
        if done:
            await self._commit(kafka, partition, records[done - 1].offset + 1)
        if done:
            self._delays_s.pop(partition, None)
        if done < len(records):
            self._put_off(kafka, partition, records[done].offset)
        _LAG.labels(self._consumer.name, partition.partition).set(
            max(0, (kafka.highwater(partition) or 0) - records[0].offset - done)
        )

    def _put_off(self, kafka: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        """Reads `partition` again from `offset` on, after a while; the others go on meanwhile."""
        if partition not in kafka.assignment():
            return
        delay_s = self._delays_s.get(partition, RETRY_S)
        self._delays_s[partition] = min(delay_s * 2, RETRY_MAX_S)
        self._waits_until_s[partition] = asyncio.get_running_loop().time() + delay_s
        kafka.seek(partition, offset)
        kafka.pause(partition)

    def _resume(self, kafka: AIOKafkaConsumer) -> None:
        now_s = asyncio.get_running_loop().time()
        for partition in [waiting for waiting, until_s in self._waits_until_s.items() if until_s <= now_s]:
            del self._waits_until_s[partition]
            if partition in kafka.assignment():
                kafka.resume(partition)

    async def _one_by_one(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> int:
        """How many records are settled, from the first on; stops at one that has to be tried again."""
        for index, record in enumerate(records):
            place = (partition, record.offset)
            try:
                await self._effects([record])
            except Exception as error:  # noqa: BLE001 - sorted into later and never
                if is_transient(error):
                    log.warning("event waits", consumer=self._consumer.name, offset=record.offset, error=repr(error))
                    return index
                self._tries[place] = self._tries.get(place, 0) + 1
                if self._tries[place] < POISON_TRIES:
                    return index
                await self._bury(record, error)
            self._tries.pop(place, None)
        return len(records)

    async def _effects(self, records: Sequence[ConsumerRecord]) -> None:
        outcomes = []
        async with self._database.transaction(EVERYTHING) as connection:
            for record in records:
                headers = {name: value.decode() for name, value in record.headers}
                with span(f"consume {self._consumer.topic}", headers.get("traceparent"), SpanKind.CONSUMER):
                    outcomes.append(await self._effect(connection, record, headers))
        for outcome in outcomes:
            _PROCESSED.labels(self._consumer.name, outcome).inc()

    async def _effect(self, connection: AsyncConnection, record: ConsumerRecord, headers: dict[str, str]) -> str:
        meta = EventMeta(
            event_id=_id(headers, "event_id"),
            root_id=_id(headers, "root_id"),
            topic=record.topic,
            key=(record.key or b"").decode(),
            occurred_at=_instant(headers.get("occurred_at"), record.timestamp),
        )
        claim = {"root_id": meta.root_id, "consumer": self._consumer.name, "event_id": meta.event_id}
        if (await connection.execute(_CLAIM, claim)).one_or_none() is None:
            return "repeated"
        message = self._consumer.message()
        try:
            message.ParseFromString(record.value or b"")
        except DecodeError as error:
            raise ValueError(f"not a {message.DESCRIPTOR.full_name}: {error}") from error
        await self._consumer.handle(connection, message, meta)
        return "done"

    async def _bury(self, record: ConsumerRecord, error: Exception) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, max_request_size=RECORD_MAX_BYTES
        )
        try:
            async with asyncio.timeout(30):
                await producer.start()
            headers = [
                *record.headers,
                ("dead_letter_error", repr(error)[:1000].encode()),
                ("dead_letter_origin", f"{record.topic}/{record.partition}/{record.offset}".encode()),
            ]
            topic = dead_letter_topic(record.topic, self._service)
            async with asyncio.timeout(30):
                await producer.send_and_wait(topic, record.value, key=record.key, headers=headers)
        finally:
            await stop_bounded(producer)
        _PROCESSED.labels(self._consumer.name, "dead").inc()
        log.error(
            "event is a dead letter",
            consumer=self._consumer.name,
            topic=topic,
            offset=record.offset,
            error=repr(error),
        )

    async def _commit(self, kafka: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await kafka.commit({partition: offset})
        except (CommitFailedError, IllegalStateError) as error:
            # The group was rebalanced meanwhile: the records come again, and the inbox knows them.
            log.info("offsets not committed", consumer=self._consumer.name, error=repr(error))


def _id(headers: dict[str, str], name: str) -> UUID:
    if name not in headers:
        raise ValueError(f"the event has no header '{name}'")
    found = parse_id(headers[name])
    if found is None:
        raise ValueError(f"the event's header {name} '{headers[name][:100]}' is not a UUID")
    return found


def _instant(text_: str | None, timestamp_ms: int) -> datetime:
    return datetime.fromisoformat(text_) if text_ else datetime.fromtimestamp(timestamp_ms / 1000, UTC)
