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
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from google.protobuf.message import DecodeError, Message
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.outbox import stop_bounded
from servicekit.scope import EVERYTHING
from servicekit.telemetry import span

log = structlog.get_logger()

_PROCESSED = Counter("farthing_consumer_events", "Events processed", ["consumer", "outcome"])
_LAG = Gauge("farthing_consumer_lag", "Events behind the end of the topic", ["consumer"])

_CLAIM = text(
    "INSERT INTO inbox (root_id, consumer, event_id) VALUES (:root_id, :consumer, :event_id) "
    "ON CONFLICT DO NOTHING RETURNING event_id"
)
BATCH_RECORDS = 100
POLL_MS = 250
COMMIT_TIMEOUT_S = 10.0
POISON_TRIES = 3
RETRY_S = 0.5
RETRY_MAX_S = 10.0
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
    """Handles every message of `topic` once. `name` is unique in the service, such as `documents.orders`.

    `handle` runs in the inbox's transaction with scope EVERYTHING. ValueError, Problem and other faults of the event
    or of the code lead to the dead letters after three tries; `NotYet` and lost connections are tried for ever.
    """

    name: str
    topic: str
    message: type[M]
    handle: Callable[[AsyncConnection, M, EventMeta], Awaitable[None]]


def dead_letter_topic(topic: str, service: str) -> str:
    """Where `service` puts what it cannot process of `topic`."""
    return f"{topic}.dlq.{service}"


def is_transient(error: BaseException) -> bool:
    """True where the same event may well be processed later, unchanged."""
    if isinstance(error, DBAPIError):
        return (
            isinstance(error, OperationalError | InterfaceError)
            or error.connection_invalidated
            or _transient_code(error)
        )
    return isinstance(
        error,
        NotYet
        | OSError
        | TimeoutError
        | asyncpg.InterfaceError
        | asyncpg.PostgresConnectionError
        | asyncpg.OperatorInterventionError,
    )


def _transient_code(error: DBAPIError) -> bool:
    # Class 08 connection, 40 rollback (deadlock, serialization), 53 resources, 57 operator intervention.
    code = getattr(error.orig, "sqlstate", None) or ""
    return code[:2] in {"08", "40", "53", "57"}


class ConsumerLoop:
    """Runs one consumer until it is cancelled; in the group of the service, so that replicas share the partitions."""

    def __init__(self, consumer: Consumer[Any], database: Database, kafka_bootstrap: str, service: str) -> None:
        self._consumer = consumer
        self._database = database
        self._bootstrap = kafka_bootstrap
        self._service = service
        self._tries: dict[tuple[TopicPartition, int], int] = {}
        self._delay_s = RETRY_S

    async def run(self) -> None:
        while True:
            try:
                await self._consume()
            except (OSError, TimeoutError, KafkaError, Stuck, IllegalStateError) as error:
                log.warning("consumer stopped, trying again", consumer=self._consumer.name, error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _consume(self) -> None:
        kafka = AIOKafkaConsumer(
            self._consumer.topic,
            bootstrap_servers=self._bootstrap,
            group_id=f"{self._service}.{self._consumer.topic}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=1_000,
            max_poll_interval_ms=600_000,
        )
        try:
            await asyncio.wait_for(kafka.start(), 30)
            silent_s = 0.0
            while True:
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
        ends = await asyncio.wait_for(kafka.end_offsets(kafka.assignment()), COMMIT_TIMEOUT_S)
        lag = 0
        for partition, end in ends.items():
            lag += end - await asyncio.wait_for(kafka.position(partition), COMMIT_TIMEOUT_S)
        _LAG.labels(self._consumer.name).set(lag)
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
        if done < len(records):
            kafka.seek(partition, records[done].offset)
            await asyncio.sleep(self._delay_s)
            self._delay_s = min(self._delay_s * 2, RETRY_MAX_S)
        else:
            self._delay_s = RETRY_S

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
        async with self._database.transaction(EVERYTHING) as connection:
            for record in records:
                headers = {name: value.decode() for name, value in record.headers}
                with span(f"consume {self._consumer.topic}", headers.get("traceparent"), SpanKind.CONSUMER):
                    await self._effect(connection, record, headers)

    async def _effect(self, connection: AsyncConnection, record: ConsumerRecord, headers: dict[str, str]) -> None:
        meta = EventMeta(
            event_id=UUID(_header(headers, "event_id")),
            root_id=UUID(_header(headers, "root_id")),
            topic=record.topic,
            key=(record.key or b"").decode(),
            occurred_at=_instant(headers.get("occurred_at"), record.timestamp),
        )
        claim = {"root_id": meta.root_id, "consumer": self._consumer.name, "event_id": meta.event_id}
        if (await connection.execute(_CLAIM, claim)).one_or_none() is None:
            _PROCESSED.labels(self._consumer.name, "repeated").inc()
            return
        message = self._consumer.message()
        try:
            message.ParseFromString(record.value or b"")
        except DecodeError as error:
            raise ValueError(f"not a {message.DESCRIPTOR.full_name}: {error}") from error
        await self._consumer.handle(connection, message, meta)
        _PROCESSED.labels(self._consumer.name, "done").inc()

    async def _bury(self, record: ConsumerRecord, error: Exception) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True)
        try:
            await asyncio.wait_for(producer.start(), 30)
            headers = [
                *record.headers,
                ("dead_letter_error", repr(error)[:1000].encode()),
                ("dead_letter_origin", f"{record.topic}/{record.partition}/{record.offset}".encode()),
            ]
            topic = dead_letter_topic(record.topic, self._service)
            await asyncio.wait_for(producer.send_and_wait(topic, record.value, key=record.key, headers=headers), 30)
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
            await asyncio.wait_for(kafka.commit({partition: offset}), COMMIT_TIMEOUT_S)
        except (CommitFailedError, IllegalStateError) as error:
            # The group was rebalanced meanwhile: the records come again, and the inbox knows them.
            log.info("offsets not committed", consumer=self._consumer.name, error=repr(error))


def _header(headers: dict[str, str], name: str) -> str:
    if name not in headers:
        raise ValueError(f"the event has no header '{name}'")
    return headers[name]


def _instant(text_: str | None, timestamp_ms: int) -> datetime:
    return datetime.fromisoformat(text_) if text_ else datetime.fromtimestamp(timestamp_ms / 1000, UTC)
