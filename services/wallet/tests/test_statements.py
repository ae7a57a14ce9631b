"""Statements of a wallet at any instants, compared with the ledger's lines, on a real PostgreSQL."""

import asyncio
import itertools
import random
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from servicekit.call import Call
from servicekit.database import Database
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.testing import as_caller
from wallet.rpc.entries import EntriesRpc
from wallet.rpc.lists import ListsRpc
from wallet.store import search_index

from .ledger_world import Chain, World
from .search_world import Row, fill, rows_of, stamp

CONTEXT: Any = None
METHOD = "/farthing.wallet.v1.WalletService/GetStatement"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
async def chain(world: World, charges: Any) -> Chain:
    """A chain with some hundred lines."""
    made = await world.chain(money=(10**9,) * 3, earns=(False, True, False))
    await fill(world, charges, made, 120, seed=21)
    return made


@pytest.fixture(scope="session")
def lists(database: Database) -> ListsRpc:
    """The handlers of lists and statements."""
    return ListsRpc(database, Pager("test"))


def seen_by(chain: Chain, tier: int) -> AbstractContextManager[Call]:
    """A call of the buyer of `tier`; tier 4 is the platform."""
    return as_caller(chain.organization_ids[tier - 1], None if tier == 4 else chain.root_id, method=METHOD)


def micros(money: Money) -> int:
    """A Money as millionths."""
    return money.units * 1_000_000 + money.nanos // 1000


def asked(wallet_id: UUID, start: Timestamp, end: Timestamp, **fields: Any) -> pb.GetStatementRequest:
    """A request for a statement; `from` is a word of Python's."""
    return pb.GetStatementRequest(wallet_id=str(wallet_id), **{"from": start, "to": end}, **fields)


async def whole(lists: ListsRpc, request: pb.GetStatementRequest) -> tuple[pb.Statement, list[pb.Entry]]:
    """The header, the same on every page, and all lines."""
    header, lines = None, []
    while True:
        page = await lists.GetStatement(request, CONTEXT)
        lines += page.lines
        request.page_token = page.next_page_token
        page.ClearField("lines")
        page.ClearField("next_page_token")
        assert header is None or header == page
        header = page
        if not request.page_token:
            return header, lines


def check(statement: pb.Statement, lines: list[pb.Entry], rows: list[Row], start: datetime, end: datetime) -> None:
    """Asserts that a statement says what the ledger's lines do."""
    inside = [row for row in rows if start <= row.posted_at < end]
    before = [row for row in rows if row.posted_at < start]
    assert [line.sequence for line in lines] == [row.sequence for row in inside]
    assert micros(statement.opening) == (before[-1].balance_after if before else 0)
    assert micros(statement.closing) == micros(statement.opening) + sum(row.amount for row in inside)
    assert micros(statement.credits) == sum(row.amount for row in inside if row.amount > 0)
    assert micros(statement.debits) == sum(row.amount for row in inside if row.amount < 0)
    assert statement.line_count == len(inside)
    assert {(each.type, each.count, micros(each.amount)) for each in statement.sums} == {
        (type_, len(of), sum(row.amount for row in of))
        for type_ in {row.type for row in inside}
        if (of := [row for row in inside if row.type == type_])
    }


async def test_any_instants(world: World, chain: Chain, lists: ListsRpc) -> None:
    """Given a wallet. When statements follow each other at any instants. Then each is the ledger."""
    dice = random.Random(9)
    for tier in (1, 2, 3):
        rows = await rows_of(world, chain.wallet_ids[tier - 1])
        around = [row.posted_at + timedelta(microseconds=dice.choice((-1, 0, 0, 1))) for row in rows]
        for _ in range(12):
            cuts = sorted([LONG_AGO, *dice.sample(around, 3)])
            closing = 0
            for start, end in itertools.pairwise(cuts):
                request = asked(chain.wallet_ids[tier - 1], stamp(start), stamp(end), page_size=dice.choice((9, 1000)))
                with seen_by(chain, tier):
                    statement, lines = await whole(lists, request)
                check(statement, lines, rows, start, end)
                assert micros(statement.opening) == closing
                closing = micros(statement.closing)


@pytest.mark.parametrize("part", [5, 21, 1000])
async def test_sums_that_are_known(
    world: World, charges: Any, lists: ListsRpc, database: Database, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Given lines copied in parts of any size, all but the last. When statements cut them. Then each is the ledger."""
    monkeypatch.setattr(search_index, "SUMS_EVERY", 7)
    chain = await world.chain(money=(10**9,) * 3, earns=(False, True, False))
    await fill(world, charges, chain, 60, seed=part)
    copied = 1
    while copied:
        async with database.transaction(EVERYTHING) as connection:
            copied = await search_index.copy_lines(connection, chain.root_id, chain.wallet_ids[1], part)
    known = await world.pool.fetch("SELECT * FROM search_sums WHERE wallet_id = $1", chain.wallet_ids[1])
    rows = await rows_of(world, chain.wallet_ids[1])
    for each in known:
        before = [row.amount for row in rows if row.sequence <= each["sequence"] and row.type == each["type"]]
        assert each["lines"] == len(before)
        assert each["credits_micros"] == sum(amount for amount in before if amount > 0)
        assert each["debits_micros"] == sum(amount for amount in before if amount < 0)
    assert max(each["sequence"] for each in known) == len(rows) // 7 * 7
    await fill(world, charges, chain, 20, seed=part + 1)
    rows, dice = await rows_of(world, chain.wallet_ids[1]), random.Random(part)
    for start, end in (sorted(dice.sample([row.posted_at for row in rows], 2)) for _ in range(40)):
        with seen_by(chain, 2):
            statement, lines = await whole(lists, asked(chain.wallet_ids[1], stamp(start), stamp(end), page_size=1000))
        check(statement, lines, rows, start, end)


async def test_closing_is_the_balance_then(world: World, chain: Chain, lists: ListsRpc, database: Database) -> None:
    """Given a statement's end. When the balance just before it is asked for. Then it is the closing one."""
    reads, rows = EntriesRpc(database), await rows_of(world, chain.wallet_ids[0])
    wallet_id = str(chain.wallet_ids[0])
    for row in rows[::15]:
        with seen_by(chain, 1):
            statement = await lists.GetStatement(
                asked(chain.wallet_ids[0], stamp(LONG_AGO), stamp(row.posted_at)), None
            )
            as_of = stamp(row.posted_at - timedelta(microseconds=1))
            balance = await reads.GetBalance(pb.GetBalanceRequest(wallet_id=wallet_id, as_of=as_of), CONTEXT)
        assert (statement.closing, statement.line_count) == (balance.total, balance.sequence)


async def test_nanoseconds_are_not_lost(world: World, chain: Chain, lists: ListsRpc) -> None:
    """Given a line at an instant. When a statement ends or begins a nanosecond later. Then the line is in, or not."""
    rows = await rows_of(world, chain.wallet_ids[0])
    at = rows[3].posted_at
    with seen_by(chain, 1):
        until = await lists.GetStatement(asked(chain.wallet_ids[0], stamp(LONG_AGO), stamp(at)), CONTEXT)
        past = await lists.GetStatement(asked(chain.wallet_ids[0], stamp(LONG_AGO), stamp(at, 1)), CONTEXT)
        since = await lists.GetStatement(asked(chain.wallet_ids[0], stamp(at, 1), stamp(rows[-1].posted_at)), CONTEXT)
    then = sum(row.posted_at == at for row in rows)
    assert past.line_count == until.line_count + then
    assert since.opening == past.closing


async def test_pages_do_not_change_when_lines_follow(world: World, charges: Any, lists: ListsRpc) -> None:
    """Given a statement up to now. When lines are posted between its pages. Then all pages say the same."""
    chain = await world.chain(money=(10**9,) * 3)
    await fill(world, charges, chain, 30, seed=1)
    rows = await rows_of(world, chain.wallet_ids[0])
    now = await world.pool.fetchval("SELECT farthing_now()")
    request = asked(chain.wallet_ids[0], stamp(LONG_AGO), stamp(now), page_size=10)
    with seen_by(chain, 1):
        first = await lists.GetStatement(request, CONTEXT)
    await fill(world, charges, chain, 10, seed=2)
    request.page_token = first.next_page_token
    with seen_by(chain, 1):
        _, rest = await whole(lists, request)
    check(first, [*first.lines, *rest], rows, LONG_AGO, now)
    assert len(rest) > 10


async def test_a_statement_waits_for_what_is_under_way(world: World, lists: ListsRpc) -> None:
    """Given a posting that is not committed. When a statement up to now is asked for. Then it waits for it."""
    chain = await world.chain(money=(100, 0, 0))
    async with world.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE wallets SET balance_micros = balance_micros WHERE id = $1", chain.wallet_ids[0])
        now = await other.fetchval("SELECT farthing_now()")
        with seen_by(chain, 1):
            call = lists.GetStatement(asked(chain.wallet_ids[0], stamp(LONG_AGO), stamp(now)), CONTEXT)
            asking = asyncio.create_task(call)
            done, _ = await asyncio.wait({asking}, timeout=0.3)
            assert not done
            await transaction.commit()
            assert micros((await asking).closing) == 100


async def refused(call: Any, reason: str) -> Problem:
    """The problem that awaiting `call` ends with."""
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.reason == reason
    return caught.value


async def test_what_is_refused(chain: Chain, lists: ListsRpc) -> None:
    """Given a wallet. When a statement of the future, backwards, of never, or foreign is asked for. Then refused."""
    wallet_id, now = chain.wallet_ids[0], datetime.now(UTC)
    tomorrow = now + timedelta(days=1)
    with seen_by(chain, 1):
        future = await refused(
            lists.GetStatement(asked(wallet_id, stamp(now), stamp(tomorrow)), None), "INVALID_ARGUMENT"
        )
        back = await refused(
            lists.GetStatement(asked(wallet_id, stamp(now), stamp(LONG_AGO)), None), "INVALID_ARGUMENT"
        )
        never = asked(wallet_id, Timestamp(seconds=10**15), stamp(now))
        assert "from" in (await refused(lists.GetStatement(never, CONTEXT), "INVALID_ARGUMENT")).fields
        for other in (chain.wallet_ids[1], uuid4()):
            await refused(lists.GetStatement(asked(other, stamp(LONG_AGO), stamp(LONG_AGO)), None), "NOT_FOUND")
        first = await lists.GetStatement(asked(wallet_id, stamp(LONG_AGO), stamp(now), page_size=5), CONTEXT)
        changed = asked(wallet_id, stamp(LONG_AGO, 1), stamp(now), page_size=5, page_token=first.next_page_token)
        await refused(lists.GetStatement(changed, CONTEXT), "PAGE_TOKEN_INVALID")
    assert ("to" in future.fields, "from" in back.fields) == (True, True)
    with seen_by(chain, 2):
        own = asked(wallet_id, stamp(LONG_AGO), stamp(now), page_size=5, page_token=first.next_page_token)
        await refused(lists.GetStatement(own, CONTEXT), "PAGE_TOKEN_INVALID")
        own.page_token = ""
        assert (await lists.GetStatement(own, CONTEXT)).opening == first.opening


async def test_an_empty_statement(chain: Chain, lists: ListsRpc) -> None:
    """Given a wallet. When a statement of before its life, or of no time at all, is asked for. Then nothing moved."""
    year_one = Timestamp(seconds=-62135596800)
    with seen_by(chain, 1):
        for start, end in ((year_one, year_one), (stamp(LONG_AGO), stamp(LONG_AGO))):
            statement, lines = await whole(lists, asked(chain.wallet_ids[0], start, end))
            assert (statement.line_count, len(statement.sums), lines) == (0, 0, [])
            assert {micros(each) for each in (statement.opening, statement.closing, statement.credits)} == {0}
            assert (statement.organization_id, statement.seller_id) == tuple(map(str, chain.organization_ids[:2]))
