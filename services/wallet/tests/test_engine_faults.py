"""The posting engine when things go wrong: lost connections, long locks, callers that go."""

import asyncio
from typing import Any

import asyncpg
import pytest
from servicekit.database import Database
from wallet import engine as engine_module
from wallet.domain.ledger import Posted
from wallet.engine import Asked, Engine, LedgerUnavailableError

from .ledger_world import World, asked, insist, reasons


async def test_a_killed_connection_posts_once(world: World, engine: Engine, monkeypatch: Any) -> None:
    """Given a batch whose connection is killed before its commit. When it is tried again. Then it is there once."""
    chain = await world.chain(money=(1000, 1000, 1000))
    write, kills = engine_module.write, []

    async def killed_after_write(connection: Any, *arguments: Any) -> None:
        await write(connection, *arguments)
        if not kills:
            kills.append(connection.get_server_pid())
            assert await terminate(world, kills[0])

    monkeypatch.setattr(engine_module, "write", killed_after_write)
    outcomes = await engine.post_batch(asked(*(chain.charge((10, 0), (8, 0), (5, 0)) for _ in range(10))))

    assert kills
    assert reasons(outcomes) == ["posted"] * 10
    assert await world.balances(chain) == [900, 920, 950]
    await world.check(chain.root_id)


async def test_a_connection_killed_between_parts_leaves_nothing(world: World, engine: Engine, monkeypatch: Any) -> None:
    """Given a batch whose connection is killed when two of its four parts are written. When it is tried again.

    Then nothing was left of the first attempt, and everything is there once.
    """
    chain = await world.chain(money=(1000, 1000, 1000))
    write, pids, left = engine_module.write, [], []

    async def killed_after_two(connection: Any, *arguments: Any) -> None:
        await write(connection, *arguments)
        pids.append(connection.get_server_pid())
        if len(pids) == 2:
            assert await terminate(world, pids[0])
            left.append(await world.balances(chain))

    monkeypatch.setattr(engine_module, "write", killed_after_two)
    monkeypatch.setattr(engine_module, "WRITTEN_AT_ONCE", 3)
    outcomes = await engine.post_batch(asked(*(chain.charge((10, 0), (8, 0), (5, 0)) for _ in range(10))))

    assert left == [[1000, 1000, 1000]]
    assert len(pids) == 6
    assert reasons(outcomes) == ["posted"] * 10
    assert await world.balances(chain) == [900, 920, 950]
    await world.check(chain.root_id)


async def test_an_answer_lost_after_the_commit_is_found_again(world: World, engine: Engine, monkeypatch: Any) -> None:
    """Given a connection that dies right after its commit. When tried again. Then posted once."""
    chain = await world.chain(money=(1000, 1000, 1000))
    lost: list[int] = []

    def lose(name: str) -> None:
        if name == "wallet.after_post_commit" and not lost:
            lost.append(1)
            raise ConnectionResetError("the answer to COMMIT never came")

    monkeypatch.setattr(engine_module, "fault_point_sync", lose)
    outcomes = await engine.post_batch(asked(chain.charge((10, 0), (8, 0), (5, 0))))

    assert lost
    assert reasons(outcomes) == ["posted"]
    assert await world.balances(chain) == [990, 992, 995]
    await world.check(chain.root_id)


async def test_connections_killed_all_the_time(world: World, engine: Engine) -> None:
    """Given connections killed in mid-batch, over and over. When charges are posted until five were killed, and 600 at
    least. Then each is there once.
    """
    chain = await world.chain(money=(100_000, 100_000, 100_000))
    stop = asyncio.Event()
    killed = 0

    async def killer() -> None:
        nonlocal killed
        while not stop.is_set():
            killed += await world.pool.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND (query LIKE '%new_line%' OR query LIKE '%request_name%')"
            )
            await asyncio.sleep(0.03)

    killing = asyncio.create_task(killer())
    outcomes: list[Any] = []
    # How many batches fit between two looks of the killer is the machine's to say. Money is there for 10,000 charges.
    while len(outcomes) < 600 or (killed < 5 and len(outcomes) < 8000):
        batch = asked(*(chain.charge((10, 0), (8, 0), (5, 0)) for _ in range(20)))
        first = await insist(engine, batch)
        again = await insist(engine, batch)
        assert [outcome[:3] for outcome in first] == [outcome[:3] for outcome in again]
        outcomes += again
        await asyncio.sleep(0.005)
    stop.set()
    await killing

    assert killed >= 5
    posted = len(outcomes)
    assert reasons(outcomes) == ["posted"] * posted
    assert await world.balances(chain) == [100_000 - 10 * posted, 100_000 - 8 * posted, 100_000 - 5 * posted]
    await world.check(chain.root_id)


async def test_a_ledger_that_stays_away_is_said_to_be_unavailable(
    world: World, engine: Engine, monkeypatch: Any
) -> None:
    """Given a database that refuses every attempt. When a charge is posted. Then its caller is told, and can repeat."""
    chain = await world.chain(money=(1000, 1000, 1000))
    charge = chain.charge((10, 0), (8, 0), (5, 0))
    attempts = []

    async def down(*_: Any) -> Any:
        attempts.append(1)
        raise asyncpg.CannotConnectNowError("the database system is starting up")

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "RETRY_S", 0.001)
        patch.setattr(engine, "_attempt", down)
        with pytest.raises(LedgerUnavailableError):
            await engine.post(Asked(charge))

    assert len(attempts) == engine_module.ATTEMPTS
    assert isinstance(await engine.post(Asked(charge)), Posted)
    await world.check(chain.root_id)


async def test_a_wallet_locked_for_long_is_not_waited_for_beyond_the_deadline(
    world: World, engine: Engine, monkeypatch: Any
) -> None:
    """Given a wallet that somebody keeps locked. When charged. Then its caller is told; never posted."""
    chain = await world.chain(money=(1000, 1000, 1000))
    charge = chain.charge((10, 0), (8, 0), (5, 0))
    monkeypatch.setattr(engine_module, "BATCH_TIMEOUT_S", 0.3)

    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM wallets WHERE id = $1 FOR UPDATE", chain.wallet_ids[1])
        with pytest.raises(LedgerUnavailableError):
            await engine.post(Asked(charge))
        with pytest.raises(LedgerUnavailableError):
            await engine.post_batch(asked(charge))

    await asyncio.sleep(0.2)
    assert await world.balances(chain) == [1000, 1000, 1000]
    monkeypatch.undo()
    assert isinstance(await engine.post(Asked(charge)), Posted)
    await world.check(chain.root_id)


async def test_a_caller_that_has_gone_is_not_charged_later(world: World, database: Database) -> None:
    """Given charges waiting behind a lock. When their callers go before their turn comes. Then they are not posted."""
    engine = Engine(database, connections=1)
    chain = await world.chain(money=(1000, 1000, 1000))
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM wallets WHERE id = $1 FOR UPDATE", chain.wallet_ids[1])
        first = asyncio.create_task(engine.post(Asked(chain.charge((10, 0), (8, 0), (5, 0)))))
        await asyncio.sleep(0.2)
        waiting = [asyncio.create_task(engine.post(Asked(chain.charge((1, 0), (1, 0), (1, 0))))) for _ in range(5)]
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    assert isinstance(await first, Posted)
    await engine.close()
    assert await world.balances(chain) == [990, 992, 995]
    await world.check(chain.root_id)


async def test_a_batch_given_up_in_the_middle_leaves_no_open_transaction(world: World, database: Database) -> None:
    """Given a batch that is given up while it waits for a lock. When the next comes. Then only that one is posted."""
    engine = Engine(database, connections=1)
    chain = await world.chain(money=(1000, 1000, 1000))
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM wallets WHERE id = $1 FOR UPDATE", chain.wallet_ids[1])
        writing = asyncio.create_task(engine._write(asked(chain.charge((1, 0), (1, 0), (1, 0)))))
        await asyncio.sleep(0.2)
        writing.cancel()
        await asyncio.wait({writing})

    assert reasons(await engine.post_batch(asked(chain.charge((10, 0), (8, 0), (5, 0))))) == ["posted"]
    await engine.close()
    assert await world.balances(chain) == [990, 992, 995]
    await world.check(chain.root_id)


async def test_a_streamed_batch_whose_caller_has_gone_waits_no_more(world: World, database: Database) -> None:
    """Given batches of a root behind one that waits for a lock. When their callers go. Then they are not posted."""
    engine = Engine(database, connections=1)
    chain = await world.chain(money=(1000, 1000, 1000))
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM wallets WHERE id = $1 FOR UPDATE", chain.wallet_ids[1])
        first = asyncio.create_task(engine.post_batch(asked(chain.charge((10, 0), (8, 0), (5, 0)))))
        await asyncio.sleep(0.1)
        gone = [asyncio.create_task(engine.post_batch(asked(chain.charge((1, 0), (1, 0), (1, 0))))) for _ in range(3)]
        await asyncio.sleep(0.1)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)

    assert reasons(await first) == ["posted"]
    await engine.close()
    assert await world.balances(chain) == [990, 992, 995]
    await world.check(chain.root_id)


async def terminate(world: World, pid: int) -> bool:
    """Kills a connection of our own role, as an administrator or a crash of its process would."""
    return bool(await world.pool.fetchval("SELECT pg_terminate_backend($1, 1000)", pid))
