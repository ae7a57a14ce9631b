"""Dead letters: events that a service could not process, in `<topic>.dlq.<service>`; read, and published again.

What was replayed is remembered in Kafka, as offsets of the consumer group `dlq-replay`: the committed offset is the
first letter that was not, and its metadata names those behind it that were, one by one.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message
from servicekit.kafka import RECORD_MAX_BYTES, dead_letter_topic, stop_bounded

from farthing_cli.problems import Problem

GROUP = "dlq-replay"
# Kafka's own bound is 4096 bytes.
_METADATA_MAX = 4000
_TIMEOUT_S = 20.0
_OURS = "dead_letter_"


@dataclass(frozen=True, slots=True)
class LetterBox:
    """One dead-letter topic: whose it is, where its letters came from, and the type of their message."""

    name: str
    origin: str
    service: str
    message: str


def boxes(topics_file: Path) -> list[LetterBox]:
    """Every dead-letter topic that `topics_file` implies, in its order."""
    return [
        LetterBox(dead_letter_topic(topic["name"], service), topic["name"], service, topic["message"])
        for topic in yaml.safe_load(topics_file.read_text())["topics"]
        for service in topic.get("consumers") or ()
    ]


@dataclass(frozen=True, slots=True)
class Replayed:
    """Which offsets of a partition were replayed: all before `mark`, and those in `beyond`."""

    mark: int = 0
    beyond: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, mark: int, metadata: str) -> "Replayed":
        """From a committed offset (-1 for none) and its metadata."""
        beyond = frozenset(int(part) for part in metadata.split(",") if part.isdigit())
        return cls(max(mark, 0), beyond)

    @property
    def metadata(self) -> str:
        return ",".join(map(str, sorted(self.beyond)))

    def has(self, offset: int) -> bool:
        return offset < self.mark or offset in self.beyond

    def with_offset(self, offset: int, first: int) -> "Replayed":
        """The same with `offset`, too. Offsets before `first` are not in the topic any more."""
        beyond = self.beyond | {offset}
        mark = max(self.mark, first)
        while mark in beyond:
            mark += 1
        return Replayed(mark, frozenset(other for other in beyond if other >= mark))


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as it lies there."""

    partition: int
    offset: int
    record: ConsumerRecord
    replayed: bool

    def header(self, name: str) -> str | None:
        value = dict(self.record.headers).get(name)
        return None if value is None else value.decode(errors="replace")

    def document(self, message: str) -> dict[str, Any]:
        """For people and programs. `message` is None where the payload is none of that type."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "event_id": self.header("event_id"),
            "root_id": self.header("root_id"),
            "key": None if self.record.key is None else self.record.key.decode(errors="replace"),
            "error": self.header("dead_letter_error"),
            "origin": self.header("dead_letter_origin"),
            "buried_at": datetime.fromtimestamp(self.record.timestamp / 1000, UTC).isoformat(),
            "replayed": self.replayed,
            "size_bytes": len(self.record.value or b""),
            "message": decoded(message, self.record.value or b""),
        }


def decoded(message: str, payload: bytes) -> dict[str, Any] | None:
    """The payload as JSON (proto3 mapping), or None where it is no `message`."""
    kind = _message_type(message)
    try:
        found: dict[str, Any] = json_format.MessageToDict(kind.FromString(payload))
    except (DecodeError, json_format.Error, ValueError, TypeError):
        # All but the first: bytes that parse, but hold what JSON cannot say (a year 292277026596).
        return None
    return found


@cache
def _message_type(name: str) -> type[Message]:
    package = name.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


class DeadLetters:
    """A connection to the broker; `async with` opens and closes it. Problem where it does not answer."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> "DeadLetters":
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=GROUP, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        try:
            self._closing.push_async_callback(stop_bounded, self._consumer)
            await asyncio.wait_for(self._consumer.start(), _TIMEOUT_S)
            self._closing.push_async_callback(self._admin.close)
            await asyncio.wait_for(self._admin.start(), _TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._closing.aclose()
            raise Problem(
                f"Kafka at {self._bootstrap} does not answer ({error!r}). Is it up? farthing stack status"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def read(self, box: LetterBox) -> list[Letter]:
        """Every letter of `box` that is there now, oldest first; none where the topic does not exist yet."""
        # Not the consumer's: it knows only topics that it was assigned. All topics: asking for one could create it.
        topics = await asyncio.wait_for(self._admin.describe_topics(), _TIMEOUT_S)
        numbers = sorted(
            part["partition"] for topic in topics if topic["topic"] == box.name for part in topic["partitions"]
        )
        partitions = [TopicPartition(box.name, number) for number in numbers]
        letters: list[Letter] = []
        for partition in partitions:
            replayed = await self._replayed(partition)
            letters += [
                Letter(partition.partition, record.offset, record, replayed.has(record.offset))
                for record in await self._records(partition)
            ]
        return letters

    async def _records(self, partition: TopicPartition) -> list[ConsumerRecord]:
        end = (await asyncio.wait_for(self._consumer.end_offsets([partition]), _TIMEOUT_S))[partition]
        self._consumer.assign([partition])
        await asyncio.wait_for(self._consumer.seek_to_beginning(partition), _TIMEOUT_S)
        records: list[ConsumerRecord] = []
        while await asyncio.wait_for(self._consumer.position(partition), _TIMEOUT_S) < end:
            batch = await asyncio.wait_for(self._consumer.getmany(partition, timeout_ms=1000), _TIMEOUT_S)
            records += batch.get(partition, [])
        return [record for record in records if record.offset < end]

    async def _replayed(self, partition: TopicPartition) -> Replayed:
        known = await asyncio.wait_for(
            self._admin.list_consumer_group_offsets(GROUP, partitions=[partition]), _TIMEOUT_S
        )
        committed = known.get(partition)
        return Replayed() if committed is None else Replayed.parse(committed.offset, committed.metadata or "")

    async def replay(self, box: LetterBox, letters: Sequence[Letter]) -> None:
        """Publishes `letters` to where they came from, in order, and remembers it, one by one.

        Key, payload and headers are the original's, the event id among them: whoever processed the event before
        knows it. Dying between the two steps repeats one letter.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, max_request_size=RECORD_MAX_BYTES
        )
        try:
            await asyncio.wait_for(producer.start(), _TIMEOUT_S)
            for letter in letters:
                record = letter.record
                headers = [(name, value) for name, value in record.headers if not name.startswith(_OURS)]
                sending = producer.send_and_wait(box.origin, record.value, key=record.key, headers=headers)
                await asyncio.wait_for(sending, _TIMEOUT_S)
                await self._remember(TopicPartition(box.name, letter.partition), letter.offset)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Problem(
                f"Kafka at {self._bootstrap} failed ({error!r}). Repeat it: what was replayed is remembered."
            ) from error
        finally:
            await stop_bounded(producer)

    async def _remember(self, partition: TopicPartition, offset: int) -> None:
        first = (await asyncio.wait_for(self._consumer.beginning_offsets([partition]), _TIMEOUT_S))[partition]
        replayed = (await self._replayed(partition)).with_offset(offset, first)
        if len(replayed.metadata) > _METADATA_MAX:
            raise Problem("too many letters were replayed out of order to remember them; replay the oldest, or --all")
        self._consumer.assign([partition])
        commit = self._consumer.commit({partition: (replayed.mark, replayed.metadata)})
        await asyncio.wait_for(commit, _TIMEOUT_S)
