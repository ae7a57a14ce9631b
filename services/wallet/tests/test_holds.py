"""Holds and vouchers on a real PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from servicekit.database import Database, driver
from servicekit.scope import EVERYTHING, Scope
from wallet.domain.holds import Hold, HoldState, Portion, Wanted
from wallet.domain.ledger import Kind, Posted, Refusal
from wallet.engine import Asked, Engine
from wallet.store import holds
from wallet.store.ledger import post_line

from .ledger_world import Chain, World


@pytest.fixture(scope="session")
async def world(database: Database) -> World:
    """Chains to be made, through connections that see everything."""
    return World(await database.pool(4))


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[Engine]:
    """An engine with three connections."""
    made = Engine(database, connections=3)
    yield made
    await made.close()


def wanted(chain: Chain, *amounts: int, ttl: timedelta = timedelta(hours=1)) -> Wanted:
    """A hold of an amount at each tier."""
    portions = tuple(Portion(chain.organization_ids[tier], amount) for tier, amount in enumerate(amounts))
    return Wanted(chain.root_id, chain.currency, portions, ttl, "Phone", None, "2026-000007", "phone-1")


async def held(database: Database, chain: Chain, *amounts: int, ttl: timedelta = timedelta(hours=1)) -> Hold:
    """A hold that is made."""
    async with database.transaction(EVERYTHING) as connection:
        hold = await holds.hold_in(connection, wanted(chain, *amounts, ttl=ttl))
    assert isinstance(hold, Hold)
    return hold


async def test_a_voucher_is_a_credit_of_the_seller(world: World) -> None:
    """Given an empty wallet. When it is filled by a voucher. Then its seller's credits pay, and no cash came in."""
    chain = await world.chain()
    async with world.pool.acquire() as connection, connection.transaction():
        posted = await post_line(connection, chain.recharge(1, 700)._replace(kind=Kind.VOUCHER))

    assert isinstance(posted, Posted)
    postings = await world.pool.fetch(
        "SELECT account, organization_id, amount_micros FROM postings WHERE transaction_id = $1 ORDER BY account",
        posted.transaction_id,
    )
    assert [tuple(row) for row in postings] == [
        ("CREDITS", chain.organization_ids[1], -700),
        ("WALLET", chain.organization_ids[0], 700),
    ]
    assert await world.pool.fetchval("SELECT kind FROM transactions WHERE id = $1", posted.transaction_id) == 5
    await world.check(chain.root_id)


async def test_money_that_arrives_is_held_in_the_same_transaction(
    world: World, engine: Engine, database: Database
) -> None:
    """Given an empty wallet. When money comes and is held at once. Then it cannot be spent; half-way: none."""
    chain = await world.chain(money=(0, 100, 100))
    with pytest.raises(RuntimeError):
        async with database.transaction(EVERYTHING) as connection:
            await post_line(await driver(connection), chain.recharge(1, 100))
            await holds.hold_in(connection, wanted(chain, 100))
            raise RuntimeError
    assert await world.balances(chain) == [0, 100, 100]
    async with database.transaction(EVERYTHING) as connection:
        assert isinstance(await post_line(await driver(connection), chain.recharge(1, 100)), Posted)
        hold = await holds.hold_in(connection, wanted(chain, 100))

    assert isinstance(hold, Hold)
    assert hold.state is HoldState.ACTIVE
    refused = await engine.post(Asked(chain.charge((1, 0), (1, 0), (1, 0))))
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.available_micros) == ("INSUFFICIENT_CREDIT", 0)
    async with database.transaction(EVERYTHING) as connection:
        assert await holds.find(connection, hold.id) == hold
    await world.check(chain.root_id)


async def test_more_than_is_available_is_not_held(world: World, database: Database) -> None:
    """Given 100 at two tiers, a hold of 60 at both. When 30 and 41 are wanted. Then nothing is held at either."""
    chain = await world.chain(money=(100, 100, 0))
    await held(database, chain, 60, 60)
    async with database.transaction(EVERYTHING) as connection:
        refused = await holds.hold_in(connection, wanted(chain, 30, 41))

    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.wallet_id) == ("INSUFFICIENT_CREDIT", chain.wallet_ids[1])
    assert (refused.available_micros, refused.needed_micros) == (40, 41)
    reserved = await world.pool.fetch(
        "SELECT reserved_micros FROM wallets WHERE root_id = $1 ORDER BY 1 DESC", chain.root_id
    )
    assert [row[0] for row in reserved] == [60, 60, 0]


async def test_a_hold_is_seen_by_those_whose_wallets_it_holds_and_their_sellers(
    world: World, database: Database
) -> None:
    """Given a hold at two tiers. When each looks. Then the customer sees its own part, others nothing."""
    chain, other = await world.chain(money=(100, 100, 100)), await world.chain()
    hold = await held(database, chain, 10, 20)
    seen = []
    for who in (chain.organization_ids[0], chain.organization_ids[1], other.organization_ids[1]):
        async with database.transaction(Scope(who, chain.root_id)) as connection:
            found = await holds.find(connection, hold.id)
            seen.append(None if found is None else [amount.tier for amount in found.amounts])
    assert seen == [[1], [1, 2], None]


async def test_the_owner_cannot_hold_past_its_credit_by_hand(world: World) -> None:
    """Given a wallet of 100. When 101 are reserved past the rules. Then the database refuses."""
    chain = await world.chain(money=(100, 0, 0))
    with pytest.raises(asyncpg.CheckViolationError):
        await world.pool.execute("UPDATE wallets SET reserved_micros = 101 WHERE id = $1", chain.wallet_ids[0])
