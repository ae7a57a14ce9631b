"""Given events that a real consumer buried in a real Kafka, then `farthing dlq` shows them and brings them back."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from farthing.orders.events.v1.events_pb2 import OrderCompleted, OrdersEvent
from farthing_cli.dead_letters import Replayed
from hypothesis import given
from hypothesis import strategies as st
from local_stack.stack import Stack
from servicekit.consumers import Consumer, ConsumerLoop
from servicekit.database import Database
from servicekit.migrate import migrate
from servicekit.testing import eventually

REVISION = """
from servicekit.schema import create_base

revision = "0001"
down_revision = None


def upgrade():
    create_base()
"""
FARTHING = Path(sys.executable).with_name("farthing")


@dataclass
class World:
    """A topic with a consumer that fails until it is mended, and the command."""

    env: dict[str, str]
    topic: str
    topics_file: Path
    database: Database
    producer: AIOKafkaProducer
    broken: bool = True
    done: list[str] = field(default_factory=list)

    @property
    def box(self) -> str:
        return f"{self.topic}.dlq.documents"

    async def handle(self, _connection: Any, event: OrdersEvent, _meta: Any) -> None:
        number = event.order_completed.order.number
        if self.broken and number.startswith("bad"):
            raise ValueError(f"cannot take {number}")
        self.done.append(number)

    async def send(self, number: str, value: bytes | None = None) -> str:
        event = OrdersEvent(order_completed=OrderCompleted(root_id=str(uuid4())))
        event.order_completed.order.number = number
        event_id = str(uuid4())
        headers = [("event_id", event_id.encode()), ("root_id", str(uuid4()).encode()), ("traceparent", b"00-x")]
        payload = event.SerializeToString() if value is None else value
        await self.producer.send_and_wait(self.topic, payload, key=b"organization", headers=headers)
        return event_id

    async def farthing(self, *arguments: str, code: int = 0) -> str:
        """What the command prints on stdout; on stderr, where it fails as expected."""
        process = await asyncio.create_subprocess_exec(
            str(FARTHING), "dlq", *arguments, "--topics-file", str(self.topics_file),
            env={**os.environ, **self.env}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == code, err.decode()
        return out.decode() if code == 0 else err.decode()

    async def letters(self) -> list[dict[str, Any]]:
        (topic,) = json.loads(await self.farthing("list", self.box, "--json"))["topics"]
        assert topic["count"] == len(topic["letters"])
        return list(topic["letters"])

    async def replay(self, *arguments: str) -> list[int]:
        """The offsets that were replayed."""
        result = json.loads(await self.farthing("replay", self.box, *arguments, "--json"))
        return [letter["offset"] for letter in result["replayed"]]


@pytest.fixture
async def world(stack: Stack, tmp_path: Path) -> AsyncIterator[World]:
    env = stack.env()
    name = f"dlq_{uuid4().hex[:8]}"
    admin = await asyncpg.connect(
        host=env["PGHOST"], port=int(env["PGPORT"]), user=env["PGUSER"], password=env["PGPASSWORD"], database="postgres"
    )
    for role in ("owner", "app"):
        await admin.execute(f"CREATE ROLE {name}_{role} LOGIN PASSWORD 'test'")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name}_owner")
    (tmp_path / "0001_base.py").write_text(REVISION)
    address = f"{env['PGHOST']}:{env['PGPORT']}/{name}"
    await migrate(f"postgresql://{name}_owner:test@{address}", tmp_path)

    topic = f"test.{name}"
    kafka = AIOKafkaAdminClient(bootstrap_servers=env["KAFKA_BOOTSTRAP"])
    await kafka.start()
    await kafka.create_topics([NewTopic(topic, 2, 1), NewTopic(f"{topic}.dlq.documents", 1, 1)])
    await kafka.close()
    topics_file = tmp_path / "topics.yaml"
    topics_file.write_text(
        f"topics:\n  - name: {topic}\n    message: farthing.orders.events.v1.OrdersEvent\n"
        "    consumers: [documents, usage]\n    partitions: 2\n"
    )
    producer = AIOKafkaProducer(bootstrap_servers=env["KAFKA_BOOTSTRAP"])
    await producer.start()
    made = World(env, topic, topics_file, Database(f"postgresql://{name}_app:test@{address}", pool_size=2), producer)
    consumer = Consumer(f"documents.{name}", topic, OrdersEvent, made.handle)
    listening = asyncio.ensure_future(ConsumerLoop(consumer, made.database, env["KAFKA_BOOTSTRAP"], "documents").run())
    yield made
    listening.cancel()
    await asyncio.wait({listening})
    await producer.stop()
    await made.database.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    for role in ("owner", "app"):
        await admin.execute(f"DROP ROLE {name}_{role}")
    await admin.close()


async def buried(world: World, *numbers: str) -> None:
    """Sends these, and waits until they are buried, and one that is not, processed."""
    for number in numbers:
        await world.send(number)
    await world.send("good")
    await eventually(lambda: world.done == ["good"], 60)


async def test_dead_letters_are_listed_with_their_reason(world: World) -> None:
    """Given an order that was buried and bytes that are none, When they are listed, Then each says what and why."""
    event_id = await world.send("bad 1")
    await world.send("", value=b"\xff\xff\xff")
    await buried(world)

    first, second = await world.letters()
    assert first["event_id"] == event_id
    assert first["message"]["orderCompleted"]["order"]["number"] == "bad 1"
    assert "cannot take bad 1" in first["error"]
    assert first["origin"].startswith(f"{world.topic}/")
    assert first["key"] == "organization"
    assert not first["replayed"]
    assert second["message"] is None
    assert second["size_bytes"] == 3
    table = await world.farthing("list")
    assert f"{world.topic}.dlq.usage" in table.replace("\n", "")


async def test_every_box_is_counted(world: World) -> None:
    """Given letters in two boxes, When all boxes are listed at once, Then each has its own, the second one, too."""
    kafka = AIOKafkaAdminClient(bootstrap_servers=world.env["KAFKA_BOOTSTRAP"])
    await kafka.start()
    await kafka.create_topics([NewTopic(f"{world.topic}.dlq.usage", 1, 1)])
    await kafka.close()
    for service, count in (("documents", 1), ("usage", 2)):
        for _ in range(count):
            await world.producer.send_and_wait(f"{world.topic}.dlq.{service}", b"\xff")

    topics = json.loads(await world.farthing("list", "--json"))["topics"]
    assert [(topic["service"], topic["count"]) for topic in topics] == [("documents", 1), ("usage", 2)]


async def test_a_letter_that_json_cannot_say_does_not_hide_the_rest(world: World) -> None:
    """Given a letter with a time past every calendar, When letters are listed, Then it is shown as one that cannot be
    read, beside the others."""
    far = OrdersEvent(order_completed=OrderCompleted())
    far.order_completed.order.created_at.seconds = 10**15
    for payload in (far.SerializeToString(), OrdersEvent(order_completed=OrderCompleted()).SerializeToString()):
        await world.producer.send_and_wait(world.box, payload)

    first, second = await world.letters()
    assert first["message"] is None
    assert first["size_bytes"] == far.ByteSize()
    assert second["message"] == {"orderCompleted": {}}


async def test_a_letter_is_replayed_and_then_processed(world: World) -> None:
    """Given a buried order, When its service is mended and it is replayed, Then it is processed, once; a second replay
    does nothing, and with --again the consumer knows the event."""
    await buried(world, "bad 1", "bad 2")
    world.broken = False

    assert await world.replay("--all") == [0, 1]
    await eventually(lambda: world.done == ["good", "bad 1", "bad 2"], 30)
    assert [letter["replayed"] for letter in await world.letters()] == [True, True]

    assert await world.replay("--all") == []
    assert await world.replay("--all", "--again") == [0, 1]
    await world.send("after")
    await eventually(lambda: "after" in world.done, 30)
    assert world.done == ["good", "bad 1", "bad 2", "after"]


async def test_one_letter_is_replayed_out_of_order(world: World) -> None:
    """Given three letters, When the last is replayed by its offset and then all, Then each is replayed once."""
    await buried(world, "bad 1", "bad 2", "bad 3")
    world.broken = False

    assert await world.replay("--offset", "2") == [2]
    assert [letter["replayed"] for letter in await world.letters()] == [False, False, True]
    assert await world.replay("--offset", "2") == []
    assert await world.replay("--all") == [0, 1]
    await eventually(lambda: sorted(world.done) == ["bad 1", "bad 2", "bad 3", "good"], 30)


async def test_what_fails_again_is_a_letter_again(world: World) -> None:
    """Given a letter whose service is still broken, When it is replayed, Then it is buried anew, with the first one's
    key, payload and headers, and can be replayed."""
    await buried(world, "bad 1")
    await world.replay("--all")

    async def twice() -> bool:
        return len(await world.letters()) == 2

    await eventually(twice, 60, 1)
    first, second = await world.letters()
    assert (first["replayed"], second["replayed"]) == (True, False)
    same = ("event_id", "root_id", "key", "message")
    assert [first[name] for name in same] == [second[name] for name in same]
    world.broken = False
    assert await world.replay("--all") == [1]
    await eventually(lambda: world.done == ["good", "bad 1"], 30)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["replay", "nonsense", "--all"], 2, "there is no dead-letter topic"),
        (["replay", "{box}"], 2, "--offset N"),
        (["replay", "{box}", "--all", "--offset", "0"], 2, "--offset N"),
        (["replay", "{box}", "--offset", "77"], 1, "no letter with offset 77"),
    ],
)
async def test_a_wrong_call_says_what_is_right(world: World, arguments: list[str], code: int, says: str) -> None:
    """Given a call that cannot be meant, When it is made, Then it says what to write instead, and replays nothing."""
    said = await world.farthing(*(argument.format(box=world.box) for argument in arguments), code=code)

    assert says in said.replace("\n", " ")


async def test_without_kafka_it_says_so(world: World) -> None:
    """Given nothing where Kafka should be, When letters are listed, Then the command ends and names the address."""
    world.env["KAFKA_BOOTSTRAP"] = "127.0.0.1:1"

    assert "127.0.0.1:1" in await world.farthing("list", code=1)


@given(st.lists(st.integers(min_value=0, max_value=40)))
def test_what_was_replayed_is_remembered_whatever_the_order(offsets: list[int]) -> None:
    """Given offsets replayed in any order, When the memory is written and read each time, Then it has those and no
    others, and the mark is the first one missing."""
    replayed = Replayed()
    for offset in offsets:
        grown = replayed.with_offset(offset, 0)
        replayed = Replayed.parse(grown.mark, grown.metadata)

    assert {offset for offset in range(50) if replayed.has(offset)} == set(offsets)
    assert replayed.mark == next(offset for offset in range(50) if offset not in offsets)
