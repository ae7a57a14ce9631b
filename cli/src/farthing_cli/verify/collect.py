"""Reads the topics and the maildir onto the shelf."""

import asyncio
import hashlib
import mailbox
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import getaddresses
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import yaml
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from farthing_cli.environment import need
from farthing_cli.problems import Problem
from farthing_cli.verify.evidence import Shelf, digest

KAFKA_TIMEOUT_S = 15.0
POLL_MS = 500
Offsets = dict[TopicPartition, int]


@dataclass(frozen=True)
class Topics:
    """The topics of protos/topics.yaml: who publishes and who consumes each."""

    owners: Mapping[str, str]
    consumers: Mapping[str, tuple[str, ...]]

    def dead_letters(self) -> dict[str, str]:
        """Each dead-letter topic and the service whose it is."""
        return {f"{topic}.dlq.{service}": service for topic, services in self.consumers.items() for service in services}


def read_topics(file: Path) -> Topics:
    """The topics a file names. Problem where it cannot be read."""
    try:
        entries = yaml.safe_load(file.read_text())["topics"]
        owners = {str(entry["name"]): str(entry["owner"]) for entry in entries}
        consumers = {str(entry["name"]): tuple(map(str, entry.get("consumers") or ())) for entry in entries}
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise Problem(f"{file} cannot be read as the list of topics: {error!r}") from error
    return Topics(owners, consumers)


class TopicReader:
    """Reads whole topics without joining any group. Use as an async context manager."""

    def __init__(self, environment: Mapping[str, str], topics: Topics) -> None:
        self._topics = topics
        bootstrap = need(environment, "KAFKA_BOOTSTRAP", "where Kafka listens (host:port)")
        self._bootstrap = bootstrap
        self._kafka = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )

    async def __aenter__(self) -> "TopicReader":
        try:
            await asyncio.wait_for(self._kafka.start(), KAFKA_TIMEOUT_S)
        except (KafkaError, TimeoutError, OSError) as error:
            await self._stop()
            raise Problem(f"Kafka at {self._bootstrap} does not answer: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.wait({asyncio.ensure_future(self._kafka.stop())}, timeout=5)

    async def ends(self, names: Iterable[str]) -> Offsets:
        """Where each partition of the topics ends now. Problem where a topic does not exist."""
        partitions: list[TopicPartition] = []
        for name in names:
            numbers = await asyncio.wait_for(self._partitions(name), KAFKA_TIMEOUT_S)
            partitions.extend(TopicPartition(name, number) for number in sorted(numbers))
        ends = await asyncio.wait_for(self._kafka.end_offsets(partitions), KAFKA_TIMEOUT_S)
        return cast(Offsets, ends)

    async def _partitions(self, name: str) -> set[int]:
        found = self._kafka.partitions_for_topic(name)
        if not found:
            self._kafka._client.add_topic(name)
            await self._kafka._client.force_metadata_update()
            found = self._kafka.partitions_for_topic(name)
        if not found:
            raise Problem(f"Kafka has no topic {name}, which protos/topics.yaml names; create it first")
        return set(found)

    async def read(self, shelf: Shelf, before: Offsets) -> None:
        """Puts every message up to now on the shelf; those at or past `before` count as late."""
        letters = self._topics.dead_letters()
        ends = await self.ends([*self._topics.owners, *letters])
        self._kafka.assign(list(ends))
        await asyncio.wait_for(self._kafka.seek_to_beginning(), KAFKA_TIMEOUT_S)
        unread = {partition for partition, end in ends.items() if end > 0}
        deadline = asyncio.get_running_loop().time() + KAFKA_TIMEOUT_S
        while unread:
            batches = await self._kafka.getmany(timeout_ms=POLL_MS, max_records=1000)
            if batches:
                deadline = asyncio.get_running_loop().time() + KAFKA_TIMEOUT_S
            elif asyncio.get_running_loop().time() > deadline:
                raise Problem(f"Kafka stopped answering while {sorted(p.topic for p in unread)[0]} was read")
            for partition, records in batches.items():
                self._shelve(shelf, partition, records, letters, before.get(partition))
            for partition in list(unread):
                if await self._kafka.position(partition) >= ends[partition]:
                    unread.discard(partition)

    def _shelve(
        self,
        shelf: Shelf,
        partition: TopicPartition,
        records: list[ConsumerRecord],
        letters: Mapping[str, str],
        before: int | None,
    ) -> None:
        messages, dead = [], []
        for record in records:
            headers = {name: value.decode(errors="replace") for name, value in record.headers}
            try:
                event_id = UUID(headers["event_id"]).bytes
            except (KeyError, ValueError):
                shelf.malformed.append(f"{record.topic}/{record.partition}/{record.offset} has no event_id")
                continue
            if partition.topic in letters:
                dead.append((letters[partition.topic], event_id, headers.get("dead_letter_error", "")))
            else:
                content = digest((record.key or b"").decode(errors="replace"), record.value or b"")
                messages.append((partition.topic, event_id, content, before is not None and record.offset >= before))
        shelf.add_messages(messages)
        shelf.add_dead_letters(dead)


def read_maildir(shelf: Shelf, folder: Path) -> None:
    """Puts who got which mail, with which PDF, on the shelf."""
    if not folder.is_dir():
        return
    for message in mailbox.Maildir(folder, create=False):
        message_id = str(message["Message-ID"] or "").strip()
        if message_id:
            recipients = [address.casefold() for _, address in getaddresses(message.get_all("X-RcptTo", []))]
            shelf.add_mail(message_id, recipients, _pdf_sha256(message))


def _pdf_sha256(message: "Message[Any, Any]") -> bytes | None:
    for part in message.walk():
        if part.get_content_type() == "application/pdf":
            content = part.get_payload(decode=True)
            return hashlib.sha256(content).digest() if isinstance(content, bytes) else None
    return None
