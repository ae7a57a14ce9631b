"""Given events in an outbox, then every committed one reaches its topic, in order, whatever breaks between."""

import asyncio
import os
import signal
import sys
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from servicekit.consumers import Consumer, ConsumerLoop
from servicekit.database import driver
from servicekit.outbox import RELAY_LOCK, OutboxEvent, Relay, add
from servicekit.scope import EVERYTHING
from servicekit.testing import eventually

ROOT = uuid4()

RELAY_THAT_DIES = """
import asyncio, sys
from servicekit.database import Database
from servicekit.outbox import Relay
asyncio.run(Relay(Database(sys.argv[1]), sys.argv[2], "kit").run())
"""


def event(kafka: Any, number: str, key: UUID = ROOT) -> OutboxEvent:
    return OutboxEvent(ROOT, kafka.topic, key, kafka.event(number))


async def write(base: Any, *events: OutboxEvent) -> None:
    async with base.database.transaction(EVERYTHING) as connection:
        await add(connection, events)


async def unpublished(base: Any) -> int:
    rows = await base.rows("SELECT count(*) AS waiting FROM outbox WHERE published_at IS NULL")
    return int(rows[0]["waiting"])


async def all_published(base: Any) -> bool:
    return await unpublished(base) == 0


def numbers(kafka: Any, records: Any) -> list[str]:
    kind = type(kafka.event(""))
    return [kind.FromString(record.value).order_completed.order.number for record in records]


async def test_committed_events_and_no_others_are_published(base: Any, kafka: Any, running: Any) -> None:
    """Given a transaction that commits and one that rolls back, When the relay runs, Then the first's event is out."""
    with pytest.raises(RuntimeError):
        async with base.database.transaction(EVERYTHING) as connection:
            await add(connection, [event(kafka, "rolled back")])
            raise RuntimeError
    await write(base, event(kafka, "committed"))
    running.start(Relay(base.database, kafka.bootstrap, "kit").run())

    await eventually(lambda: all_published(base))
    (record,) = await kafka.read(kafka.topic, 1)
    row = (await base.rows("SELECT * FROM outbox"))[0]
    headers = dict(record.headers)
    assert numbers(kafka, [record]) == ["committed"]
    assert record.key == str(ROOT).encode()
    assert headers["event_id"].decode() == str(row["event_id"])
    assert headers["root_id"].decode() == str(ROOT)
    assert headers["occurred_at"].decode() == row["created_at"].isoformat()


async def test_events_of_one_key_stay_in_order(base: Any, kafka: Any, running: Any) -> None:
    """Given 300 events of three keys in 30 transactions, When the relay works beside, Then each key's order holds."""
    running.start(Relay(base.database, kafka.bootstrap, "kit").run())
    keys = [uuid4() for _ in range(3)]
    for start in range(0, 300, 10):
        await write(base, *(event(kafka, f"{number:03}", keys[number % 3]) for number in range(start, start + 10)))

    await eventually(lambda: all_published(base))
    records = await kafka.read(kafka.topic, 300)
    for remainder, key in enumerate(keys):
        of_key = [record for record in records if record.key == str(key).encode()]
        assert numbers(kafka, of_key) == [f"{number:03}" for number in range(remainder, 300, 3)]


async def test_a_transaction_that_commits_late_is_not_lost(base: Any, kafka: Any, running: Any) -> None:
    """Given a transaction with a lower id that commits after a higher one is published, Then its event follows."""
    running.start(Relay(base.database, kafka.bootstrap, "kit").run())
    async with base.database.transaction(EVERYTHING) as late:
        await add(late, [event(kafka, "late")])
        await write(base, event(kafka, "early"))
        await eventually(lambda: all_published(base))
        assert numbers(kafka, await kafka.read(kafka.topic, 1)) == ["early"]
        low = await (await driver(late)).fetchval("SELECT min(id) FROM outbox")

    await eventually(lambda: all_published(base))
    assert sorted(numbers(kafka, await kafka.read(kafka.topic, 2))) == ["early", "late"]
    early = (await base.rows("SELECT max(id) AS id FROM outbox"))[0]["id"]
    assert low < early


async def test_a_relay_that_dies_between_ack_and_mark_repeats_and_the_effect_is_one(
    base: Any, kafka: Any, running: Any
) -> None:
    """Given a relay that is killed after the broker's ack, When another goes on, Then the event is on the topic twice
    with one id, and a consumer acts once."""
    await write(base, event(kafka, "once"))
    environment = {**os.environ, "FARTHING_ENV": "development", "FARTHING_FAULT": "kit.after_publish"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RELAY_THAT_DIES, base.app_url, kafka.bootstrap, env=environment
    )
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    assert await unpublished(base) == 1

    running.start(Relay(base.database, kafka.bootstrap, "kit").run())
    consumer = Consumer(f"kit.{kafka.topic}", kafka.topic, type(kafka.event("")), base.write_effect)
    running.start(ConsumerLoop(consumer, base.database, kafka.bootstrap, "kit").run())

    await eventually(lambda: all_published(base), 30)
    first, second = await kafka.read(kafka.topic, 2)
    assert dict(first.headers)["event_id"] == dict(second.headers)["event_id"]
    await kafka.send("the end", partition=first.partition)
    await eventually(lambda: ends_with(base, "the end"))
    assert await base.effects() == ["once", "the end"]


async def ends_with(base: Any, body: str) -> bool:
    return bool((await base.effects())[-1:] == [body])


async def leader(base: Any) -> list[int]:
    rows = await base.rows(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND ((classid::bigint << 32) | objid::bigint) = $1",
        RELAY_LOCK,
    )
    return [row["pid"] for row in rows]


async def test_of_two_relays_one_leads_and_the_other_takes_over(base: Any, kafka: Any, running: Any) -> None:
    """Given two relays, When the leader's connection is ended by the server, Then the other, or it again, goes on."""
    for _ in range(2):
        running.start(Relay(base.database, kafka.bootstrap, "kit").run())
    await write(base, event(kafka, "1"))
    await eventually(lambda: all_published(base))
    (first,) = await leader(base)

    await base.rows("SELECT pg_terminate_backend($1)", first)
    await write(base, event(kafka, "2"))

    await eventually(lambda: all_published(base))
    (second,) = await leader(base)
    assert second != first
    assert numbers(kafka, await kafka.read(kafka.topic, 2)) == ["1", "2"]


async def test_a_large_event_reaches_its_topic(base: Any, kafka: Any, running: Any) -> None:
    """Given an event of 7 MB, as the largest order makes, When the relay runs, Then it arrives whole."""
    running.start(Relay(base.database, kafka.bootstrap, "kit").run())
    await write(base, event(kafka, "x" * 7_000_000), event(kafka, "behind it"))

    await eventually(lambda: all_published(base), 30)
    large, small = sorted(await kafka.read(kafka.topic, 2), key=lambda record: -len(record.value))
    assert len(numbers(kafka, [large])[0]) == 7_000_000
    assert numbers(kafka, [small]) == ["behind it"]


async def test_an_event_too_large_fails_the_change(base: Any, kafka: Any) -> None:
    """Given an event of 9 MB, When it is added, Then the change fails with its size, and the outbox stays free."""
    with pytest.raises(ValueError, match="OrdersEvent of 90"):
        await write(base, event(kafka, "x" * 9_000_000))
    assert await unpublished(base) == 0


async def test_events_of_an_outage_of_kafka_arrive_after_it(base: Any, kafka: Any, running: Any, stack: Any) -> None:
    """Given a broker that is killed for 15 s, When changes go on, Then every event arrives, in order."""
    running.start(Relay(base.database, kafka.bootstrap, "kit").run())
    await write(base, event(kafka, "000"))
    await eventually(lambda: all_published(base))

    await asyncio.to_thread(stack.kill, "kafka")
    for number in range(1, 16):
        await write(base, event(kafka, f"{number:03}"))
        await asyncio.sleep(1)
    assert await unpublished(base) == 15
    await asyncio.to_thread(stack.start, "kafka")

    await eventually(lambda: all_published(base), 60)
    seen = dict.fromkeys(numbers(kafka, await kafka.read(kafka.topic, 16)))
    assert list(seen) == [f"{number:03}" for number in range(16)]


async def test_a_restart_of_postgresql_is_survived(base: Any, kafka: Any, running: Any, stack: Any) -> None:
    """Given a relay at work, When PostgreSQL is killed and comes back, Then the relay goes on by itself."""
    running.start(Relay(base.database, kafka.bootstrap, "kit").run())
    await write(base, event(kafka, "before"))
    await eventually(lambda: all_published(base))

    await asyncio.to_thread(stack.kill, "postgres")
    await asyncio.to_thread(stack.start, "postgres")
    await write(base, event(kafka, "after"))

    await eventually(lambda: all_published(base), 30)
    assert numbers(kafka, await kafka.read(kafka.topic, 2)) == ["before", "after"]


async def test_a_connection_that_breaks_within_a_statement_is_survived(base: Any, kafka: Any, running: Any) -> None:
    """Given a server that goes away within a statement, which asyncpg reports as a fault of its own, When the relay
    meets that, Then it begins anew."""

    class Breaking:
        met = False

        async def connect(self) -> Any:
            if not self.met:
                self.met = True
                raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
            return await base.database.connect()

    broken = Breaking()
    running.start(Relay(broken, kafka.bootstrap, "kit").run())  # type: ignore[arg-type]
    await write(base, event(kafka, "after"))
    await eventually(lambda: all_published(base), 30)
    assert broken.met
