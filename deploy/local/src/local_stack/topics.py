"""Reads protos/topics.yaml and creates what it names, dead letter topics included."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from local_stack import kafka_process
from local_stack.errors import StackError

# An event may have 8 MB and its headers; Kafka's own limit of 1 MB would stop an outbox at the first large order.
RECORD_MAX_BYTES = 9_000_000
_NO_ERROR, _ALREADY_EXISTS = 0, 36


@dataclass(frozen=True)
class Topic:
    """A topic to create; `retention_ms` -1 keeps records for ever."""

    name: str
    partitions: int
    retention_ms: int


def read(path: Path) -> list[Topic]:
    """Returns every topic of the file and, for each consumer of it, `<topic>.dlq.<consumer>`
    with the entry's `dead_letters` settings (one partition, kept for ever, unless it says otherwise).

    Raises StackError naming the entry that is not as the file format wants it; no file means no topics.
    """
    if not path.exists():
        return []
    document = yaml.safe_load(path.read_text())
    entries = document.get("topics") if isinstance(document, Mapping) else None
    if not isinstance(entries, list):
        raise StackError(f"{path}: expected a list under `topics:`")
    topics: dict[str, Topic] = {}
    for entry in entries:
        for topic in _of_entry(path, entry):
            if topic.name in topics:
                raise StackError(f"{path}: topic {topic.name} is there twice")
            topics[topic.name] = topic
    return list(topics.values())


def _of_entry(path: Path, entry: Mapping[str, Any]) -> list[Topic]:
    try:
        name, partitions = str(entry["name"]), int(entry["partitions"])
        retention_ms = int(entry.get("retention_ms", -1))
        consumers = [str(consumer) for consumer in entry.get("consumers") or []]
        dead_letters = entry.get("dead_letters") or {}
        letter_partitions = int(dead_letters.get("partitions", 1))
        letter_retention_ms = int(dead_letters.get("retention_ms", -1))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StackError(
            f"{path}: entry {entry!r} needs `name` and a whole number of `partitions` ({error})"
        ) from error
    if partitions < 1:
        raise StackError(f"{path}: topic {name} has {partitions} partitions; it needs at least 1")
    letters = [Topic(f"{name}.dlq.{consumer}", letter_partitions, letter_retention_ms) for consumer in consumers]
    return [Topic(name, partitions, retention_ms), *letters]


def create(bootstrap: str, topics: list[Topic]) -> None:
    """Creates the topics that do not exist yet. Raises StackError naming those the broker refused."""
    if topics:
        kafka_process.run(_create(bootstrap, topics))


async def _create(bootstrap: str, topics: list[Topic]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics(
            [
                NewTopic(
                    topic.name,
                    topic.partitions,
                    1,
                    topic_configs={
                        "retention.ms": str(topic.retention_ms),
                        "max.message.bytes": str(RECORD_MAX_BYTES),
                    },
                )
                for topic in topics
            ]
        )
    finally:
        await admin.close()
    # create_topics never raises for a single topic: each has its own error code.
    refused = [error for error in answer.topic_errors if error[1] not in (_NO_ERROR, _ALREADY_EXISTS)]
    if refused:
        raise StackError("Kafka refused topics: " + "; ".join(f"{error[0]}: {error[2]}" for error in refused))
