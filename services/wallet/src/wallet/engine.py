"""The posting engine: many purchases, few transactions (design 4).

Charges that arrive while others are being written wait together and are written as one batch: the wallets they touch
are locked once, a pure function applies the charges one after the other, one statement writes the result. So a wallet
that everybody buys through is as fast as many that nobody shares. A charge that comes alone goes at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import islice
from typing import Any, NamedTuple

import asyncpg
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import Counter, Histogram
from servicekit.database import Database
from servicekit.faults import fault_point_sync
from servicekit.ids import new_id

from wallet.domain.ledger import Book, Charge, Outcome, Posted, Refusal, WalletKey
from wallet.events.ledger import TOPIC, EventRow, charge_posted
from wallet.store.ledger import Connection, explain_unknown, open_book, write

log = structlog.get_logger()

ATTEMPTS = 5
RETRY_S = 0.05
# From when a batch is taken up to the last moment at which its commit may be sent. Whoever asked and has gone may rely
# on it: what is not posted this long after its own deadline never will be.
BATCH_TIMEOUT_S = 4.0
# Charges a statement. A batch of more is written in parts, so that PostgreSQL and we work at the same time.
WRITTEN_AT_ONCE = 100
CLOSE_TIMEOUT_S = 2.0

_CHARGES = Counter("farthing_wallet_charges", "Charges answered", ["outcome"])
_BATCH_SIZE = Histogram(
    "farthing_wallet_batch_charges", "Charges a batch", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
_BATCH_S = Histogram("farthing_wallet_batch_seconds", "From the first lock to the commit", buckets=(
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5,
))  # fmt: skip
_RETRIES = Counter("farthing_wallet_batch_retries", "Batches begun again", ["error"])

# What a new attempt can heal: somebody else's lock, a request id that another batch has just used, a lost connection.
_PASSING = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class LedgerUnavailableError(Exception):
    """The ledger could not be written. Whether a commit was lost on the way is unknown: repeat with the same id."""


class Asked(NamedTuple):
    """A charge and the trace it belongs to."""

    charge: Charge
    traceparent: str | None = None


class _Waiting(NamedTuple):
    asked: Asked
    answer: asyncio.Future[Outcome]
    since_s: float


class _Lane:
    """Writes parts of batches one after the other; what has come meanwhile goes together.

    All charges of a root take the same lane, so batches written side by side never wait for each other's locks.
    """

    def __init__(
        self,
        write_batch: Callable[[Sequence[Asked]], Awaitable[list[Outcome]]],
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        batch_max: int,
    ) -> None:
        self._write_batch = write_batch
        self._begin = begin
        self._batch_max = batch_max
        self._waiting: deque[tuple[Sequence[Asked], asyncio.Future[list[Outcome]]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def post(self, part: Sequence[Asked]) -> list[Outcome]:
        answer: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append((part, answer))
        if self._running is None or self._running.done():
            self._running = self._begin(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            taken = self._take()
            try:
                outcomes = iter(await self._write_batch([asked for part, _ in taken for asked in part]))
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers of these parts
                for _, answer in taken:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for part, answer in taken:
                    own = list(islice(outcomes, len(part)))
                    if not answer.done():
                        answer.set_result(own)

    def _take(self) -> list[tuple[Sequence[Asked], asyncio.Future[list[Outcome]]]]:
        taken: list[tuple[Sequence[Asked], asyncio.Future[list[Outcome]]]] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0][0]) <= self._batch_max):
            part, answer = self._waiting.popleft()
            if not answer.done():
                taken.append((part, answer))
                size += len(part)
        return taken


class Engine:
    """Posts charges over `connections` connections of its own; a batch holds at most `batch_max` of those that wait.

    Batches that come whole are parted by root into as many lanes as there are connections.
    A single charge goes at once where none is under way; otherwise with all others that wait, when the batch before it
    is written, or after `gather_s` beside it: few large batches cost less than many small ones.
    """

    def __init__(
        self, database: Database, *, connections: int = 3, batch_max: int = 300, gather_s: float = 0.02
    ) -> None:
        self._database = database
        self._batch_max = batch_max
        self._gather_s = gather_s
        self._free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        for _ in range(connections):
            self._free.put_nowait(None)
        self._waiting: list[_Waiting] = []
        self._connections = connections
        self._collector: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes = [_Lane(self._write, self._begin, batch_max) for _ in range(connections)]

    async def post(self, asked: Asked) -> Outcome:
        """Posts one charge, in a batch with others that are on their way. Raises LedgerUnavailableError."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(asked, answer, _time_s()))
        if self._collector is None or self._collector.done():
            self._collector = self._begin(self._collect())
        elif len(self._tasks) < self._connections:
            self._begin(self._collect_beside())
        return await answer

    async def post_batch(self, batch: Sequence[Asked]) -> list[Outcome]:
        """Posts charges at once, those of a root in their order; each stands or falls alone.

        Raises LedgerUnavailableError, where some may be posted and others not.
        """
        parts: dict[int, list[int]] = {}
        for index, (charge, _) in enumerate(batch):
            parts.setdefault(hash(charge.root_id) % len(self._lanes), []).append(index)
        answers = await asyncio.gather(
            *(self._lanes[lane].post([batch[index] for index in indexes]) for lane, indexes in parts.items())
        )
        found = {
            index: outcome
            for indexes, outcomes in zip(parts.values(), answers, strict=True)
            for index, outcome in zip(indexes, outcomes, strict=True)
        }
        return [found[index] for index in range(len(batch))]

    async def _write(self, batch: Sequence[Asked]) -> list[Outcome]:
        if not batch:
            return []
        deadline_s = _time_s() + BATCH_TIMEOUT_S
        try:
            async with asyncio.timeout_at(deadline_s):
                connection = await self._free.get()
        except TimeoutError as error:
            raise LedgerUnavailableError(f"no connection was free within {BATCH_TIMEOUT_S} s") from error
        attempt = 0
        try:
            while True:
                attempt += 1
                try:
                    if connection is None or connection.is_closed():
                        async with asyncio.timeout_at(deadline_s):
                            connection = await self._connect()
                    return await self._attempt(connection, batch, deadline_s)
                except _PASSING as error:
                    _RETRIES.labels(type(error).__name__).inc()
                    log.warning("batch of charges failed", attempt=attempt, charges=len(batch), error=repr(error))
                    _drop(connection)
                    if attempt == ATTEMPTS or _time_s() + RETRY_S * attempt >= deadline_s:
                        raise LedgerUnavailableError(f"the ledger could not be written, {attempt} times") from error
                    await asyncio.sleep(RETRY_S * attempt)
        except BaseException:
            # Cancelled, or something unforeseen: nothing may go on in a transaction that was left open.
            _drop(connection)
            raise
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Finishes what is under way and gives the connections back."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        for _ in range(self._connections):
            connection = await self._free.get()
            if connection is not None:
                await connection.close(timeout=CLOSE_TIMEOUT_S)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _collect(self) -> None:
        # Whoever asks in the same turn of the loop comes along.
        await asyncio.sleep(0)
        while self._waiting:
            await self._post_waiting()

    async def _collect_beside(self) -> None:
        await asyncio.sleep(self._gather_s)
        if self._waiting and _time_s() - self._waiting[0].since_s >= self._gather_s:
            await self._post_waiting()

    async def _post_waiting(self) -> None:
        taken, self._waiting = self._waiting[: self._batch_max], self._waiting[self._batch_max :]
        batch = [each for each in taken if not each.answer.done()]
        try:
            outcomes = await self._write([each.asked for each in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers of this batch
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
        else:
            for each, outcome in zip(batch, outcomes, strict=True):
                if not each.answer.done():
                    each.answer.set_result(outcome)

    async def _connect(self) -> Connection:
        connection = await self._database.connect()
        # Plans are kept for the life of the connection: one made while a table was small must not scan it later.
        await connection.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
        return connection

    async def _attempt(self, connection: Connection, batch: Sequence[Asked], deadline_s: float) -> list[Outcome]:
        watchdog = asyncio.get_running_loop().call_at(deadline_s, connection.terminate)
        try:
            with _BATCH_S.time():
                outcomes = await self._transact(connection, batch)
        finally:
            watchdog.cancel()
        _BATCH_SIZE.observe(len(batch))
        refused = sum(isinstance(outcome, Refusal) for outcome in outcomes)
        _CHARGES.labels("refused").inc(refused)
        _CHARGES.labels("posted").inc(len(outcomes) - refused)
        return outcomes

    async def _transact(self, connection: Connection, batch: Sequence[Asked]) -> list[Outcome]:
        keys = {
            WalletKey(charge.root_id, tier.buyer_id, charge.currency) for charge, _ in batch for tier in charge.tiers
        }
        requests = [(charge.root_id, charge.request_key) for charge, _ in batch]
        async with connection.transaction():
            outcomes = await _charge(connection, await open_book(connection, keys, requests), batch)
            outcomes = await explain_unknown(connection, [charge for charge, _ in batch], outcomes)
            fault_point_sync("wallet.before_post_commit")
        fault_point_sync("wallet.after_post_commit")
        return outcomes


async def _charge(connection: Connection, book: Book, batch: Sequence[Asked]) -> list[Outcome]:
    """Posts the charges of `batch` to `book` and writes them, some while the next ones are worked out."""
    outcomes: list[Outcome] = []
    writing: asyncio.Task[str] | None = None
    try:
        for start in range(0, len(batch), WRITTEN_AT_ONCE):
            some = batch[start : start + WRITTEN_AT_ONCE]
            answers = [book.charge(charge, new_id()) for charge, _ in some]
            outcomes += answers
            events = _events(some, answers)
            if writing is not None:
                await writing
            if events:
                writing = asyncio.create_task(write(connection, book, TOPIC, events))
                # It is sent in this turn of the loop; PostgreSQL works on it from now on.
                await asyncio.sleep(0)
    finally:
        if writing is not None:
            await writing
    return outcomes


def _time_s() -> float:
    return asyncio.get_running_loop().time()


def _drop(connection: Connection | None) -> None:
    if connection is not None:
        connection.terminate()


def _events(batch: Sequence[Asked], outcomes: Sequence[Outcome]) -> list[EventRow]:
    posted_at: Timestamp | None = None
    events = []
    for (charge, traceparent), outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Posted) and outcome.lines:
            if posted_at is None:
                posted_at = Timestamp()
                posted_at.FromDatetime(outcome.posted_at)
            events.append(charge_posted(charge, outcome, posted_at, traceparent))
    return events
