"""An answer names the instant it is true for; asked again at that instant it is the same, whatever was under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.database import Database
from servicekit.testing import as_caller
from wallet.domain.ledger import Posted
from wallet.engine import Engine
from wallet.rpc.entries import EntriesRpc
from wallet.store.ledger import post_line

from .ledger_world import Chain, World, asked

CONTEXT: Any = None


@pytest.fixture(scope="module")
def reads(database: Database) -> EntriesRpc:
    """The handlers of the ledger's reads."""
    return EntriesRpc(database)


async def balance(reads: EntriesRpc, chain: Chain, as_of: Timestamp | None = None) -> pb.Balance:
    """The customer's balance, as it sees it."""
    with as_caller(chain.organization_ids[0], chain.root_id, method="/farthing.wallet.v1.WalletService/GetBalance"):
        request = pb.GetBalanceRequest(wallet_id=str(chain.wallet_ids[0]), as_of=as_of)
        return await reads.GetBalance(request, CONTEXT)


async def accounts(reads: EntriesRpc, chain: Chain, as_of: Timestamp | None = None) -> pb.SellerAccounts:
    """The accounts of the customer's reseller, as it sees them."""
    seller_id = chain.organization_ids[1]
    with as_caller(seller_id, chain.root_id, method="/farthing.wallet.v1.WalletService/GetSellerAccounts"):
        request = pb.GetSellerAccountsRequest(organization_id=str(seller_id), currency="EUR", as_of=as_of)
        return await reads.GetSellerAccounts(request, CONTEXT)


@asynccontextmanager
async def under_way(world: World, chain: Chain, micros: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Money that is posted on the customer's wallet, dated, and not committed before the yielded call."""
    async with world.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert isinstance(await post_line(connection, chain.recharge(1, micros)), Posted)
        yield transaction.commit


async def test_a_balance_as_it_stands_stays_true_for_its_instant(world: World, reads: EntriesRpc) -> None:
    """Given a posting that is dated but not committed. When the balance is asked for, and again later. Then it stays.

    It does not wait either: whoever buys asks for it.
    """
    chain = await world.chain(money=(100, 0, 0))
    async with under_way(world, chain, 50) as commit:
        before = await asyncio.wait_for(balance(reads, chain), 10)
        await commit()

    assert await balance(reads, chain, before.as_of) == before
    after = await balance(reads, chain)
    assert (before.total.nanos, after.total.nanos) == (100_000, 150_000)
    assert await balance(reads, chain, after.as_of) == after


async def test_an_empty_wallet_is_empty_since_it_is_there(world: World, reads: EntriesRpc) -> None:
    """Given a wallet without a line. When its balance is asked for before money comes, and after. Then it stays."""
    chain = await world.chain()
    before = await balance(reads, chain)
    async with under_way(world, chain, 50) as commit:
        await commit()

    assert (before.total.nanos, before.sequence) == (0, 0)
    assert await balance(reads, chain, before.as_of) == before
    assert (await balance(reads, chain)).sequence == 1


@pytest.mark.parametrize("explicit", [False, True])
async def test_a_sellers_accounts_wait_for_what_is_under_way(world: World, reads: EntriesRpc, explicit: bool) -> None:
    """Given a posting that is dated but not committed. When its seller asks for its accounts. Then they have it."""
    chain = await world.chain(money=(100, 0, 0))
    async with under_way(world, chain, 50) as commit:
        as_of = Timestamp()
        as_of.FromDatetime(await world.pool.fetchval("SELECT farthing_now()"))
        asking = asyncio.create_task(accounts(reads, chain, as_of if explicit else None))
        done, _ = await asyncio.wait({asking}, timeout=0.3)
        assert not done
        await commit()
    found = await asking

    assert found.cash_received.nanos == 150_000
    assert await accounts(reads, chain, found.as_of) == found


async def test_answers_stay_while_charges_are_posted(world: World, engine: Engine, reads: EntriesRpc) -> None:
    """Given charges of several buyers under way. When balances and accounts are asked for, and again. Then they stay.

    The reseller pays as much as it takes, so every answer has revenue and cost alike: both are of one moment.
    """
    first = await world.chain(money=(100_000, 100_000, 100_000))
    chains = [first, *[await world.chain(money=(100_000,), under=first) for _ in range(3)]]
    stop = asyncio.Event()

    async def buy(chain: Chain) -> None:
        while not stop.is_set():
            [outcome] = await engine.post_batch(asked(chain.charge((1, 0), (1, 0), (1, 0))))
            assert isinstance(outcome, Posted)

    buying = [asyncio.create_task(buy(chain)) for chain in chains]
    balances = []
    sums = []
    for number in range(40):
        chain = chains[number % len(chains)]
        balances.append((chain, await balance(reads, chain)))
        sums.append(await accounts(reads, first))
        explicit = await accounts(reads, first, sums[-1].as_of)
        assert explicit == sums[-1]
    stop.set()
    await asyncio.gather(*buying)

    assert [await balance(reads, chain, answer.as_of) for chain, answer in balances] == [each for _, each in balances]
    assert [await accounts(reads, first, answer.as_of) for answer in sums] == sums
    assert [answer.revenue for answer in sums] == [answer.cost for answer in sums]
    assert sums[-1].revenue.nanos > sums[0].revenue.nanos
