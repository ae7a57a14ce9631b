"""The posting engine on a real PostgreSQL: races, repeats, refusals, lost connections."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from local_stack.stack import Stack
from money import INT64_MAX
from servicekit.database import Database
from wallet import engine as engine_module
from wallet.domain.ledger import Posted, Refusal
from wallet.engine import Asked, Engine
from wallet.store.ledger import post_line

from .ledger_world import Chain, World, asked, insist, reasons


async def test_a_purchase_is_written_with_its_lines_and_its_event(world: World, engine: Engine) -> None:
    """Given a chain with money. When the customer buys. Then lines, balances and one event say so."""
    chain = await world.chain(money=(1000, 1000, 1000))
    charge = chain.charge((100, 20), (80, 0), (50, 5))

    outcome = await engine.post(Asked(charge, "00-" + "1" * 32 + "-" + "2" * 16 + "-01"))

    assert isinstance(outcome, Posted)
    assert outcome.balance_after_micros == 880
    assert await world.balances(chain) == [880, 920, 945]
    row = await world.pool.fetchrow("SELECT key, payload, traceparent FROM outbox WHERE root_id = $1", chain.root_id)
    event = WalletEvent.FromString(row["payload"]).charge_posted
    assert row["key"] == str(chain.organization_ids[0])
    assert row["traceparent"].startswith("00-1111")
    assert (event.transaction_id, event.order_id) == (str(outcome.transaction_id), str(charge.order_id))
    assert event.posted_at.ToDatetime(tzinfo=outcome.posted_at.tzinfo) == outcome.posted_at
    assert [(tier.wallet_id, tier.net_micros, tier.tax_micros, tier.balance_after_micros) for tier in event.tiers] == [
        (str(chain.wallet_ids[0]), 100, 20, 880),
        (str(chain.wallet_ids[1]), 80, 0, 920),
        (str(chain.wallet_ids[2]), 50, 5, 945),
    ]
    await world.check(chain.root_id)


async def test_earnings_are_credited_to_the_wallet(world: World, engine: Engine) -> None:
    """Given a reseller without money that lets its earnings go to its wallet. When a customer buys. Then it can."""
    chain = await world.chain(money=(120, 0, 50), earns=(False, True, False))

    outcome = await engine.post(Asked(chain.charge((100, 20), (80, 0), (50, 0))))

    assert isinstance(outcome, Posted)
    assert await world.balances(chain) == [0, 20, 0]
    accounts = await world.pool.fetch(
        "SELECT account, organization_id, sum(amount_micros) AS micros FROM postings WHERE transaction_id = $1 "
        "GROUP BY 1, 2 HAVING sum(amount_micros) <> 0",
        outcome.transaction_id,
    )
    customer, reseller, partner, platform = chain.organization_ids
    assert {
        (row["account"], row["organization_id"]): row["micros"] for row in accounts if row["account"] != "CLEARING"
    } == {
        ("WALLET", customer): -120,
        ("WALLET", reseller): 20,
        ("TAX_PAYABLE", reseller): 20,
        ("WALLET", partner): -50,
        ("REVENUE", partner): 80,
        ("REVENUE", platform): 50,
    }
    await world.check(chain.root_id)


async def test_two_purchases_race_for_the_last_credit(world: World, database: Database) -> None:
    """Given credit for one purchase. When two engines post two at once, many times. Then one of each pair wins."""
    engines = [Engine(database, connections=1) for _ in range(2)]
    for _ in range(20):
        chain = await world.chain(money=(100, 1000, 1000))
        outcomes = await asyncio.gather(
            *(engine.post(Asked(chain.charge((100, 0), (80, 0), (50, 0)))) for engine in engines)
        )
        assert sorted(reasons(outcomes)) == ["INSUFFICIENT_CREDIT", "posted"]
        assert await world.balances(chain) == [0, 920, 950]
        await world.check(chain.root_id)
    for engine in engines:
        await engine.close()


async def test_a_repeat_gets_the_same_answer(world: World, engine: Engine) -> None:
    """Given a posted charge and others after it. When it is repeated. Then the first answer, and nothing is written."""
    chain = await world.chain(money=(1000, 1000, 1000))
    charge = chain.charge((100, 0), (80, 0), (50, 0))
    first = await engine.post(Asked(charge))
    await engine.post(Asked(chain.charge((1, 0), (1, 0), (1, 0))))

    again = await engine.post(Asked(charge))

    assert isinstance(first, Posted)
    assert again == first._replace(lines=())
    assert await world.balances(chain) == [899, 919, 949]
    await world.check(chain.root_id)


async def test_a_request_id_with_another_body_is_refused(world: World, engine: Engine) -> None:
    """Given a posted charge. When its id comes with another item, or another customer. Then REQUEST_ID_REUSED."""
    chain = await world.chain(money=(1000, 1000, 1000))
    cousin = await world.chain(under=chain, money=(1000,))
    request_id = str(uuid4())
    await engine.post(Asked(chain.charge((100, 0), (80, 0), (50, 0), request_id=request_id)))

    outcomes = [
        await engine.post(Asked(chain.charge((100, 0), (80, 0), (50, 0), request_id=request_id, item="Other"))),
        await engine.post(Asked(cousin.charge((100, 0), (80, 0), (50, 0), request_id=request_id))),
    ]

    assert reasons(outcomes) == ["REQUEST_ID_REUSED", "REQUEST_ID_REUSED"]
    assert await world.balances(chain) == [900, 920, 950]
    await world.check(chain.root_id)


async def test_the_same_request_id_of_two_customers_at_once(world: World, database: Database) -> None:
    """Given two customers. When one id is used for both at once. Then one is posted, the other refused."""
    engines = [Engine(database, connections=1) for _ in range(2)]
    partner = await world.chain()
    for _ in range(10):
        customers = [await world.chain(under=partner, money=(100,)) for _ in range(2)]
        request_id = str(uuid4())
        free = [
            customer.charge((10, 0), (0, 0), (0, 0), request_id=request_id, item=str(number))
            for number, customer in enumerate(customers)
        ]
        outcomes = await asyncio.gather(
            *(engine.post(Asked(charge)) for engine, charge in zip(engines, free, strict=True))
        )
        assert sorted(reasons(outcomes)) == ["REQUEST_ID_REUSED", "posted"]
    await world.check(partner.root_id)
    for engine in engines:
        await engine.close()


async def test_duplicates_in_one_batch_are_repeats(world: World, engine: Engine) -> None:
    """Given a batch with a charge twice and its id once more with another body. When posted. Then once, and refused."""
    chain = await world.chain(money=(1000, 1000, 1000))
    charge = chain.charge((100, 0), (80, 0), (50, 0), request_id="twice")
    other = chain.charge((90, 0), (80, 0), (50, 0), request_id="twice")

    outcomes = await engine.post_batch(asked(charge, charge, other))

    assert reasons(outcomes) == ["posted", "posted", "REQUEST_ID_REUSED"]
    assert outcomes[0][:3] == outcomes[1][:3]
    assert await world.balances(chain) == [900, 920, 950]
    await world.check(chain.root_id)


async def test_a_batch_written_in_parts_is_as_one(world: World, engine: Engine, monkeypatch: Any) -> None:
    """Given a batch of several parts, one all refused, one with a repeat of the first. When posted. Then as if whole.

    The last credit, spent in the first part, is gone in the last one, and all stands at one instant.
    """
    monkeypatch.setattr(engine_module, "WRITTEN_AT_ONCE", 3)
    chain = await world.chain(money=(50, 1000, 1000))
    good = [chain.charge((10, 0), (8, 0), (5, 0)) for _ in range(5)]
    dear = [chain.charge((60, 0), (8, 0), (5, 0)) for _ in range(3)]
    late = chain.charge((1, 0), (1, 0), (1, 0))

    outcomes = await engine.post_batch(asked(*good[:3], *dear, *good[3:], good[0], late))

    short = "INSUFFICIENT_CREDIT"
    assert reasons(outcomes) == [*["posted"] * 3, *[short] * 3, *["posted"] * 3, short]
    assert outcomes[0][:3] == outcomes[8][:3]
    assert len({outcome.posted_at for outcome in outcomes if isinstance(outcome, Posted)}) == 1
    assert await world.balances(chain) == [0, 960, 975]
    await world.check(chain.root_id)


async def test_a_refusal_touches_nobody_else_in_the_batch(world: World, engine: Engine) -> None:
    """Given a batch of good charges and every kind of bad one. When posted. Then only the bad are refused."""
    chain = await world.chain(money=(1000, 1000, 1000))
    poor = [await world.chain(under=chain, money=(5,))]
    poor.append(await world.chain(money=(1000, 5, 1000)))
    poor.append(await world.chain(money=(1000, 1000, 5)))
    dollars = await world.chain(money=(100, 100, 100), currency="USD")
    strangers = chain.charge((10, 0), (8, 0), (5, 0))
    strangers = strangers._replace(tiers=(strangers.tiers[0]._replace(buyer_id=uuid4()), *strangers.tiers[1:]))
    skipping = chain.charge((10, 0), (8, 0), (5, 0))
    skipping = skipping._replace(
        tiers=(skipping.tiers[0]._replace(seller_id=skipping.tiers[2].buyer_id), skipping.tiers[2])
    )
    short = chain.charge((10, 0), (8, 0))
    short = short._replace(root_id=short.tiers[-1].buyer_id)
    good = [chain.charge((10, 0), (8, 0), (5, 0)) for _ in range(3)]

    outcomes = await engine.post_batch(
        asked(
            good[0],
            *(each.charge((10, 0), (8, 0), (6, 0)) for each in poor),
            strangers,
            good[1],
            skipping,
            short,
            dollars.charge((10, 0), (8, 0), (5, 0), currency="EUR"),
            good[2],
        )
    )

    assert reasons(outcomes) == [
        "posted",
        "INSUFFICIENT_CREDIT",
        "INSUFFICIENT_CREDIT",
        "INSUFFICIENT_CREDIT",
        "WALLET_UNKNOWN",
        "posted",
        "CHAIN_MISMATCH",
        "CHAIN_MISMATCH",
        "CURRENCY_MISMATCH",
        "posted",
    ]
    lacking = [outcome for outcome in outcomes[1:4] if isinstance(outcome, Refusal)]
    assert [(each.wallet_id, each.available_micros) for each in lacking] == [
        (poor[tier].wallet_ids[tier], 5) for tier in range(3)
    ]
    assert await world.balances(chain) == [970, 976, 985]
    for each in (chain, *poor[1:], dollars):
        await world.check(each.root_id)


async def test_amounts_at_the_edge_of_64_bits(world: World, engine: Engine) -> None:
    """Given wallets near the limits of 64 bits. When charged and recharged there. Then exact, or refused."""
    top = INT64_MAX
    chain = await world.chain(money=(top, top, top))

    over = await asyncio.gather(*(engine.post(Asked(chain.charge((top, 0), (top, 0), (top, 0)))) for _ in range(2)))

    assert sorted(reasons(over)) == ["INSUFFICIENT_CREDIT", "posted"]
    assert await world.balances(chain) == [0, 0, 0]
    async with world.pool.acquire() as connection, connection.transaction():
        assert isinstance(await post_line(connection, chain.recharge(1, top)), Posted)
        refused = await post_line(connection, chain.recharge(1, 1))
    assert reasons([refused]) == ["AMOUNT_OUT_OF_RANGE"]
    await world.check(chain.root_id)


async def test_single_charges_are_gathered_into_batches(world: World, engine: Engine, monkeypatch: Any) -> None:
    """Given 300 callers at once under one partner. When each posts one charge. Then few transactions carry them all."""
    chain = await world.chain(money=(0, 10_000, 10_000))
    customers = [await world.chain(under=chain, money=(100,)) for _ in range(20)]
    sizes: list[int] = []
    attempt = engine._attempt

    async def counted(connection: Any, batch: Any, deadline_s: float) -> Any:
        sizes.append(len(batch))
        return await attempt(connection, batch, deadline_s)

    monkeypatch.setattr(engine, "_attempt", counted)
    outcomes = await asyncio.gather(
        *(engine.post(Asked(random.choice(customers).charge((3, 0), (2, 0), (1, 0)))) for _ in range(300))
    )

    posted = reasons(outcomes).count("posted")
    assert sum(sizes) == 300
    assert len(sizes) <= 20
    assert (await world.balances(chain))[1:] == [10_000 - 2 * posted, 10_000 - posted]
    await world.check(chain.root_id)


async def test_batches_over_many_roots_answer_in_their_order(world: World, engine: Engine) -> None:
    """Given chains under eight roots. When batches mix their charges. Then each answer stands at its charge's place."""
    chains = [await world.chain(money=(100 + number, 1000, 1000)) for number in range(8)]
    picks = [[random.randrange(8) for _ in range(40)] for _ in range(6)]

    answers = await asyncio.gather(
        *(engine.post_batch(asked(*(chains[pick].charge((9, 0), (2, 0), (1, 0)) for pick in some))) for some in picks)
    )

    seen: dict[int, list[int]] = {number: [] for number in range(8)}
    for some, outcomes in zip(picks, answers, strict=True):
        for pick, outcome in zip(some, outcomes, strict=True):
            if isinstance(outcome, Posted):
                seen[pick].append(outcome.balance_after_micros)
            else:
                assert outcome.organization_id == chains[pick].organization_ids[0]
    for number, chain in enumerate(chains):
        assert sorted(seen[number], reverse=True) == [100 + number - 9 * n for n in range(1, len(seen[number]) + 1)]
        assert (await world.balances(chain))[0] == seen[number][-1]
        await world.check(chain.root_id)


async def test_top_ups_and_charges_cross_without_deadlock(world: World, engine: Engine) -> None:
    """Given wallets shared by many. When top-ups and charges cross in any order. Then all are done and it adds up."""
    chain = await world.chain(money=(0, 10_000, 10_000))
    customers = [await world.chain(under=chain, money=(1000,)) for _ in range(6)]

    async def top_up(customer: Chain) -> None:
        async with world.pool.acquire() as connection, connection.transaction():
            assert isinstance(await post_line(connection, customer.recharge(1, 7)), Posted)

    work: list[Any] = [engine.post(Asked(random.choice(customers).charge((3, 0), (2, 0), (1, 0)))) for _ in range(100)]
    work += [top_up(random.choice(customers)) for _ in range(40)]
    random.shuffle(work)
    await asyncio.gather(*work)

    total = sum([(await world.balances(customer))[0] for customer in customers])
    assert total == 6 * 1000 + 40 * 7 - 100 * 3
    await world.check(chain.root_id)


@pytest.mark.parametrize("role", ["WALLET_DATABASE_URL", "WALLET_OWNER_DATABASE_URL"])
@pytest.mark.parametrize("table", ["lines", "transactions"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET type = 2", "DELETE FROM {}", "TRUNCATE {}, top_ups, adjustments"])
async def test_the_books_cannot_be_changed(
    world: World, database: Database, stack: Stack, role: str, table: str, statement: str
) -> None:
    """Given posted lines. When the service's role or even the owner changes, deletes or truncates. Then refused."""
    chain = await world.chain(money=(100, 100, 100))
    connection = await asyncpg.connect(
        stack.env()[role], database=database.engine.url.database, server_settings={"farthing.scope": "all"}
    )
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(table))
    finally:
        await connection.close()
    await world.check(chain.root_id)


class Model:
    """Balances in a dict; limits of 30, 0 and 100; the reseller's earnings go to its wallet."""

    limits = (30, 0, 100)

    def __init__(self) -> None:
        self.balances = [0, 0, 0]

    def purchase(self, start: int, nets: tuple[int, ...]) -> bool:
        after = list(self.balances)
        for tier in range(start, 3):
            after[tier] -= nets[tier]
            if after[tier] < -self.limits[tier]:
                return False
            if tier == 0:
                after[1] += nets[0]
        self.balances = after
        return True


async def play(world: World, engine: Engine, sequences: list[list[tuple[Any, ...]]]) -> None:
    """Plays many sequences side by side, one step of each a batch, and compares each with its model."""
    chains = [await world.chain(limits=Model.limits, earns=(False, True, False)) for _ in sequences]
    models = [Model() for _ in sequences]
    for step in range(max(map(len, sequences), default=0)):
        batch, expected = [], []
        async with world.pool.acquire() as connection, connection.transaction():
            for chain, model, moves in zip(chains, models, sequences, strict=True):
                match moves[step] if step < len(moves) else None:
                    case ("top-up", tier, amount):
                        assert isinstance(await post_line(connection, chain.recharge(tier, amount)), Posted)
                        model.balances[tier - 1] += amount
                    case ("purchase", start, nets) if nets[start]:
                        charge = chain.charge(*((net, 0) for net in nets))
                        batch.append(charge._replace(tiers=charge.tiers[start:]))
                        expected.append("posted" if model.purchase(start, nets) else "INSUFFICIENT_CREDIT")
        assert reasons(await insist(engine, asked(*batch))) == expected
    for chain, model in zip(chains, models, strict=True):
        assert await world.balances(chain) == model.balances
    roots: set[UUID] = {chain.root_id for chain in chains}
    for root_id in roots:
        await world.check(root_id)


@pytest.mark.parametrize("seed", range(3))
async def test_random_sequences_agree_with_a_plain_model(world: World, engine: Engine, seed: int) -> None:
    """Given 20 random sequences. When played in batches on the database. Then all balances and books agree."""
    await play(world, engine, random_sequences(random.Random(seed), 20))


@pytest.mark.slow
async def test_ten_thousand_random_sequences_agree_with_a_plain_model(world: World, engine: Engine) -> None:
    """Given 10,000 random sequences. When played in batches on the database. Then all balances and books agree."""
    for seed in range(100):
        await play(world, engine, random_sequences(random.Random(seed), 100))


def random_sequences(source: random.Random, count: int) -> list[list[tuple[Any, ...]]]:
    """Sequences of up to 25 steps."""
    return [[random_move(source) for _ in range(source.randint(0, 25))] for _ in range(count)]


def random_move(source: random.Random) -> tuple[Any, ...]:
    """A top-up at a tier, or a purchase that begins at one."""
    if source.random() < 0.4:
        return ("top-up", source.randint(1, 3), source.randint(1, 120))
    return ("purchase", source.randint(0, 2), tuple(source.randint(0, 60) for _ in range(3)))
