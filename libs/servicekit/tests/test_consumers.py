"""Given events on a topic, then each acts once, in order, and what cannot be processed stands in nobody's way."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from servicekit.consumers import Consumer, ConsumerLoop, NotYet, Stuck, is_transient
from servicekit.problems import invalid, unavailable
from servicekit.testing import eventually
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class Hearing:
    """One consumer of the test's topic, which writes effects unless the test says otherwise."""

    def __init__(self, base: Any, kafka: Any, running: Any, name: str = "") -> None:
        self.base, self.kafka, self._running = base, kafka, running
        self.name = f"kit.{kafka.topic}{name}"
        self.tries: Counter[str] = Counter()

    async def act(self, connection: Any, body: str) -> None:
        """Overridden by tests: raises what the test is about."""

    def loop(self) -> ConsumerLoop:
        async def handle(connection: Any, event: Any, meta: Any) -> None:
            body = event.order_completed.order.number
            self.tries[body] += 1
            await self.base.write_effect(connection, event, meta)
            await self.act(connection, body)

        consumer = Consumer(self.name, self.kafka.topic, type(self.kafka.event("")), handle)
        return ConsumerLoop(consumer, self.base.database, self.kafka.bootstrap, "kit")

    def start(self) -> "asyncio.Task[None]":
        return self._running.start(self.loop().run())  # type: ignore[no-any-return]

    async def end(self, task: "asyncio.Task[None]") -> None:
        await self._running.end(task)

    async def has(self, *bodies: str) -> bool:
        return set(bodies) <= set(await self.base.effects())


@pytest.fixture
def hearing(base: Any, kafka: Any, running: Any) -> Hearing:
    return Hearing(base, kafka, running)


async def test_the_same_event_twice_acts_once(hearing: Hearing) -> None:
    """Given an event that was published twice, When it is heard, Then it acts once."""
    hearing.start()
    event_id, root_id = uuid4(), uuid4()
    for _ in range(2):
        await hearing.kafka.send("one", event_id=event_id, root_id=root_id, partition=0)
    await hearing.kafka.send("two", partition=0)

    await eventually(lambda: hearing.has("two"), 30)
    assert await hearing.base.effects() == ["one", "two"]


async def test_a_topic_that_is_read_again_acts_once(hearing: Hearing) -> None:
    """Given 50 events that have acted, When the group's offsets are set back to the beginning, Then none acts again."""
    for number in range(50):
        await hearing.kafka.send(str(number), partition=number % 2)
    first = hearing.start()
    await eventually(lambda: hearing.has(*map(str, range(50))), 30)
    await hearing.end(first)

    rewind = AIOKafkaConsumer(
        bootstrap_servers=hearing.kafka.bootstrap, group_id=hearing.name, enable_auto_commit=False
    )
    await rewind.start()
    rewind.assign([TopicPartition(hearing.kafka.topic, number) for number in range(2)])
    await rewind.commit({TopicPartition(hearing.kafka.topic, number): 0 for number in range(2)})
    await rewind.stop()
    hearing.start()
    for partition in range(2):
        await hearing.kafka.send(f"end {partition}", partition=partition)

    await eventually(lambda: hearing.has("end 0", "end 1"), 30)
    assert Counter(await hearing.base.effects()).most_common(1)[0][1] == 1
    assert len(await hearing.base.effects()) == 52


async def test_a_poison_message_is_buried_after_three_tries(hearing: Hearing) -> None:
    """Given an event whose handler always fails, When it is heard, Then it is tried three times one by one, lands in
    the dead letters with what is needed to replay it, leaves no trace, and the ones behind it act."""

    async def act(_connection: Any, body: str) -> None:
        if body == "poison":
            raise ValueError("cannot be")

    hearing.act = act  # type: ignore[method-assign]
    await hearing.kafka.send("before", partition=1)
    event_id = await hearing.kafka.send("poison", partition=1)
    await hearing.kafka.send("behind", partition=1)
    hearing.start()

    await eventually(lambda: hearing.has("before", "behind"), 30)
    (letter,) = await hearing.kafka.read(hearing.kafka.dead_letters, 1)
    headers = {name: value.decode() for name, value in letter.headers}
    assert await hearing.base.effects() == ["before", "behind"]
    assert letter.key == b"key"
    assert type(hearing.kafka.event("")).FromString(letter.value).order_completed.order.number == "poison"
    assert headers["event_id"] == str(event_id)
    assert "cannot be" in headers["dead_letter_error"]
    assert headers["dead_letter_origin"] == f"{hearing.kafka.topic}/1/1"
    # Three tries by itself; a batch with it in it may have come before each.
    assert 3 <= hearing.tries["poison"] <= 6


@pytest.mark.parametrize(
    "bad",
    [
        {"value": b"\xff\xff\xff garbage"},
        {"headers": []},
        {"headers": [("event_id", b"no uuid"), ("root_id", b"no uuid")]},
        {"headers": [("event_id", b"\xff\xfe"), ("root_id", b"\xff")]},
        {"headers": [("event_id", None)]},
        {"value": b"\xff" * 2_000_000},
    ],
    ids=["bytes", "no headers", "no uuid", "no text", "null header", "2 MB"],
)
async def test_garbage_is_buried(hearing: Hearing, bad: Any) -> None:
    """Given a record that is no event, When it is heard, Then it is buried as it is and the next one acts."""
    hearing.kafka.producer._max_request_size = 9_000_000
    await hearing.kafka.send("garbage", partition=0, **bad)
    await hearing.kafka.send("behind", partition=0)
    hearing.start()

    await eventually(lambda: hearing.has("behind"), 30)
    (letter,) = await hearing.kafka.read(hearing.kafka.dead_letters, 1)
    assert await hearing.base.effects() == ["behind"]
    if "value" in bad:
        assert letter.value == bad["value"]


async def test_a_value_that_fits_no_column_is_buried(hearing: Hearing) -> None:
    """Given a handler that writes a number no column holds, When it is heard, Then it is buried, not tried for ever."""

    async def act(connection: Any, body: str) -> None:
        if body == "huge":
            await connection.execute(text("SELECT CAST(:n AS integer)"), {"n": 2**80})

    hearing.act = act  # type: ignore[method-assign]
    await hearing.kafka.send("huge", partition=0)
    await hearing.kafka.send("behind", partition=0)
    hearing.start()

    await eventually(lambda: hearing.has("behind"), 30)
    assert len(await hearing.kafka.read(hearing.kafka.dead_letters, 1)) == 1


async def test_what_comes_too_early_waits_in_its_place(hearing: Hearing) -> None:
    """Given an event that builds on one that is not here yet, When it is heard, Then it is tried until it can act, the
    ones behind it wait, and the other partition goes on."""
    arrived = asyncio.Event()

    async def act(_connection: Any, body: str) -> None:
        if body == "early" and not arrived.is_set():
            raise NotYet("its organization")

    hearing.act = act  # type: ignore[method-assign]
    await hearing.kafka.send("early", partition=0)
    await hearing.kafka.send("behind", partition=0)
    await hearing.kafka.send("elsewhere", partition=1)
    hearing.start()

    async def tried_often() -> bool:
        return hearing.tries["early"] >= 6 and await hearing.has("elsewhere")

    await eventually(tried_often, 30)
    await hearing.kafka.send("elsewhere too", partition=1)
    await eventually(lambda: hearing.has("elsewhere too"), 30)
    assert not await hearing.has("behind")

    arrived.set()
    await eventually(lambda: hearing.has("early", "behind"), 30)
    effects = await hearing.base.effects()
    assert effects.index("early") < effects.index("behind")
    assert len(effects) == 4


async def test_an_outage_of_postgresql_loses_and_doubles_nothing(hearing: Hearing, stack: Any) -> None:
    """Given a consumer at work, When PostgreSQL is killed and comes back, Then each event acts once, unburied."""

    async def act(_connection: Any, _body: str) -> None:
        await asyncio.sleep(0.01)

    hearing.act = act  # type: ignore[method-assign]
    hearing.start()
    await hearing.kafka.send("0", partition=0)
    await eventually(lambda: hearing.has("0"), 30)
    for number in range(1, 200):
        await hearing.kafka.send(str(number), partition=number % 2)

    await asyncio.to_thread(stack.kill, "postgres")
    await asyncio.sleep(3)
    await asyncio.to_thread(stack.start, "postgres")

    await eventually(lambda: hearing.has(*map(str, range(200))), 60)
    assert len(await hearing.base.effects()) == 200
    assert await depth(hearing) == 0


async def depth(hearing: Hearing) -> int:
    """How many dead letters there are."""
    consumer = AIOKafkaConsumer(bootstrap_servers=hearing.kafka.bootstrap)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(hearing.kafka.dead_letters, 0)])
    finally:
        await consumer.stop()
    return sum(ends.values())


async def test_an_outage_of_kafka_is_survived(hearing: Hearing, stack: Any) -> None:
    """Given a consumer at work, When Kafka is killed and comes back, Then it hears what is sent afterwards."""
    hearing.start()
    await hearing.kafka.send("before")
    await eventually(lambda: hearing.has("before"), 30)

    await asyncio.to_thread(stack.kill, "kafka")
    await asyncio.sleep(2)
    await asyncio.to_thread(stack.start, "kafka")
    await asyncio.wait_for(hearing.kafka.send("after"), 60)

    await eventually(lambda: hearing.has("after"), 60)
    assert await hearing.base.effects() == ["before", "after"]


async def test_a_second_replica_takes_its_share(base: Any, kafka: Any, running: Any) -> None:
    """Given a replica in mid-work, When a second joins and the first leaves, Then every event acted once, in order."""
    replicas = [Hearing(base, kafka, running) for _ in range(2)]

    async def act(_connection: Any, _body: str) -> None:
        await asyncio.sleep(0.01)

    for replica in replicas:
        replica.act = act  # type: ignore[method-assign]
    sent: list[str] = []

    async def send_steadily() -> None:
        while True:
            await kafka.send(f"{len(sent):04}", partition=len(sent) % 2)
            sent.append(f"{len(sent):04}")
            await asyncio.sleep(0.01)

    sending = running.start(send_steadily())
    first = replicas[0].start()
    await eventually(lambda: len(replicas[0].tries) > 20, 30)
    replicas[1].start()
    await eventually(lambda: len(replicas[1].tries) > 20, 30)
    await replicas[0].end(first)
    heard = len(replicas[1].tries)
    await eventually(lambda: len(replicas[1].tries) > heard + 50, 30)
    await running.end(sending)

    await eventually(lambda: replicas[0].has(*sent), 60)
    effects = await base.effects()
    assert len(effects) == len(set(effects))
    for remainder in range(2):
        of_partition = [body for body in effects if int(body) % 2 == remainder]
        assert of_partition == sorted(of_partition)


async def test_silence_before_the_end_of_the_topic_is_noticed(hearing: Hearing) -> None:
    """Given a real consumer that stopped hearing (paused behind our back), When it looks, Then it calls itself stuck;
    at the end of the topic, or while an event waits its turn, it does not."""
    await hearing.kafka.send("unheard", partition=0)
    loop = hearing.loop()
    consumer = AIOKafkaConsumer(
        hearing.kafka.topic,
        bootstrap_servers=hearing.kafka.bootstrap,
        group_id=hearing.name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        partition = TopicPartition(hearing.kafka.topic, 0)
        await consumer.seek_to_beginning()
        consumer.pause(*consumer.assignment())
        assert await consumer.getmany(timeout_ms=300) == {}
        with pytest.raises(Stuck, match="1 events behind"):
            await loop._look_for_silence(consumer)

        loop._put_off(consumer, partition, 0)
        await loop._look_for_silence(consumer)

        loop._waits_until_s.clear()
        await consumer.seek_to_end()
        await loop._look_for_silence(consumer)
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (NotYet("x"), True),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (PoolTimeoutError("pool is empty"), True),
        (asyncpg.InternalClientError("another operation (2) is in progress"), True),
        (asyncpg.DeadlockDetectedError("x"), True),
        (asyncpg.TooManyConnectionsError("x"), True),
        (asyncpg.DiskFullError("x"), True),
        (asyncpg.CannotConnectNowError("x"), True),
        (asyncpg.InvalidPasswordError("x"), True),
        (asyncpg.ReadOnlySQLTransactionError("x"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (unavailable("wallet"), True),
        (asyncpg.exceptions.DataError("x"), False),
        (asyncpg.UniqueViolationError("x"), False),
        (asyncpg.CheckViolationError("x"), False),
        (asyncpg.InsufficientPrivilegeError("x"), False),
        (invalid("x"), False),
        (ValueError(), False),
        (KeyError(), False),
        (ZeroDivisionError(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_may_succeed_later_is_told_from_what_never_will(error: Exception, transient: bool) -> None:
    """Given an error of a handler, When it is judged, Then outages are tried again and faults of the event are not."""
    assert is_transient(error) is transient


def test_an_answer_of_a_service_that_is_away_may_come_later() -> None:
    """Given the errors of calls to another service, When they are judged, Then UNAVAILABLE alone is tried again."""

    def answer(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
        return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())

    assert is_transient(answer(grpc.StatusCode.UNAVAILABLE))
    assert not is_transient(answer(grpc.StatusCode.INVALID_ARGUMENT))
