"""Holds and vouchers on a real PostgreSQL."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from farthing.wallet.v1 import holds_pb2, wallets_pb2
from google.protobuf.duration_pb2 import Duration
from servicekit.database import Database, driver
from servicekit.paging import Pager
from servicekit.scope import EVERYTHING, Scope
from servicekit.testing import as_caller, as_service
from wallet.commands.holds import expire_holds
from wallet.domain.holds import Hold, HoldState, Portion, Wanted
from wallet.domain.ledger import Kind, Posted, Refusal
from wallet.engine import Asked, Engine
from wallet.rpc.holds import HoldsRpc
from wallet.store import holds
from wallet.store.ledger import post_line

from .ledger_world import Chain, World
from .world import refused

ACTIVE, CAPTURED, RELEASED, EXPIRED = 1, 2, 3, 4


@pytest.fixture
def rpc(database: Database) -> HoldsRpc:
    """The handlers."""
    return HoldsRpc(database, Pager("test"))


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


def creation(chain: Chain, *amounts: int, **fields: Any) -> holds_pb2.CreateHoldRequest:
    """CreateHold with an amount at each tier."""
    tiers = [
        holds_pb2.HoldTier(organization_id=str(chain.organization_ids[n]), amount_micros=amount)
        for n, amount in enumerate(amounts)
    ]
    asked: dict[str, Any] = {
        "request_id": str(uuid4()),
        "currency": "EUR",
        "ttl": Duration(seconds=60),
        "item": "Phone",
        "cloud_phone_id": "phone-1",
        **fields,
    }
    return holds_pb2.CreateHoldRequest(tiers=tiers, **asked)


async def create(rpc: HoldsRpc, chain: Chain, *amounts: int) -> holds_pb2.Hold:
    """A hold that `usage` makes."""
    with as_service("usage"):
        response = await rpc.CreateHold(creation(chain, *amounts), None)
    assert not response.HasField("refusal"), response.refusal
    return response.hold


def charge_of(chain: Chain, *prices: tuple[int, int], **fields: Any) -> wallets_pb2.Charge:
    """A charge of (net, tax) at each tier."""
    ids = [str(id_) for id_ in chain.organization_ids]
    tiers = [
        wallets_pb2.ChargeTier(buyer_id=ids[n], seller_id=ids[n + 1], net_micros=net, tax_micros=tax)
        for n, (net, tax) in enumerate(prices)
    ]
    asked = {"request_id": str(uuid4()), "currency": "EUR", "item": "Minute", "cloud_phone_id": "phone-1", **fields}
    return wallets_pb2.Charge(tiers=tiers, **asked)


async def capture(
    rpc: HoldsRpc, hold_id: str, charge: wallets_pb2.Charge, *, final: bool = False
) -> holds_pb2.CaptureHoldResponse:
    """What `usage` is answered."""
    with as_service("usage"):
        return await rpc.CaptureHold(holds_pb2.CaptureHoldRequest(hold_id=hold_id, charge=charge, final=final), None)


async def release(rpc: HoldsRpc, hold_id: str) -> holds_pb2.Hold:
    """The hold, after `usage` has released it."""
    with as_service("usage"):
        return await rpc.ReleaseHold(holds_pb2.ReleaseHoldRequest(request_id=str(uuid4()), id=hold_id), None)


async def reserved(world: World, chain: Chain) -> list[int]:
    """What is reserved on the chain's wallets, from the customer's up, after a look that their active holds say so."""
    rows = await world.pool.fetch(
        "SELECT w.id, w.reserved_micros, (SELECT coalesce(sum(a.held_micros - a.captured_micros), 0)"
        " FROM hold_amounts a JOIN holds h ON h.root_id = a.root_id AND h.id = a.hold_id"
        " WHERE a.wallet_id = w.id AND h.state = 1) AS held"
        " FROM wallets w WHERE w.id = ANY($1)",
        list(chain.wallet_ids),
    )
    assert all(row["reserved_micros"] == row["held"] for row in rows)
    found = {row["id"]: row["reserved_micros"] for row in rows}
    return [found[wallet_id] for wallet_id in chain.wallet_ids]


async def test_a_hold_is_captured_in_parts_and_the_rest_goes_back(world: World, rpc: HoldsRpc) -> None:
    """Given all of a wallet held. When two parts are captured, the second final. Then the charges, events and rest."""
    chain = await world.chain(money=(100, 100, 100))
    hold = await create(rpc, chain, 100, 50)

    first = await capture(rpc, hold.id, charge_of(chain, (20, 4), (10, 0), (7, 0)))

    assert (first.result.balance_after_micros, first.hold.state) == (76, ACTIVE)
    assert [(amount.held_micros, amount.captured_micros) for amount in first.hold.amounts] == [(100, 24), (50, 10)]
    assert await world.balances(chain) == [76, 90, 93]
    assert await reserved(world, chain) == [76, 40, 0]
    last = await capture(rpc, hold.id, charge_of(chain, (6, 0), (5, 0), (1, 0)), final=True)
    assert (last.hold.state, last.hold.HasField("ended_at")) == (CAPTURED, True)
    assert await reserved(world, chain) == [0, 0, 0]
    assert await world.balances(chain) == [70, 85, 92]
    payload = await world.pool.fetchval("SELECT payload FROM outbox WHERE root_id = $1 ORDER BY id", chain.root_id)
    event = WalletEvent.FromString(payload).charge_posted
    assert (event.transaction_id, event.cloud_phone_id) == (first.result.transaction_id, "phone-1")
    await world.check(chain.root_id)


async def test_a_hold_of_which_nothing_is_left_has_ended(world: World, rpc: HoldsRpc) -> None:
    """Given a hold. When the whole of it is captured, not as the last. Then it is captured."""
    chain = await world.chain(money=(100, 100, 100))
    hold = await create(rpc, chain, 24)
    captured = await capture(rpc, hold.id, charge_of(chain, (20, 4), (10, 0), (7, 0)))
    assert captured.hold.state == CAPTURED
    assert await reserved(world, chain) == [0, 0, 0]


async def test_captures_that_are_refused_change_nothing(world: World, rpc: HoldsRpc) -> None:
    """Given a hold of 30, and a partner short of credit. When captures do not fit. Then each says why; all stays."""
    chain, other = await world.chain(money=(100, 100, 5)), await world.chain(money=(100, 100, 100))
    hold = await create(rpc, chain, 30)
    released = await create(rpc, chain, 10)
    await release(rpc, released.id)
    answers = [
        await capture(rpc, hold.id, charge_of(chain, (31, 0), (1, 0), (1, 0)), final=True),
        await capture(rpc, hold.id, charge_of(chain, (10, 0), (1, 0), (6, 0)), final=True),
        await capture(rpc, hold.id, charge_of(other, (1, 0), (1, 0), (1, 0)), final=True),
        await capture(rpc, hold.id, charge_of(chain, (1, 0), (1, 0), (1, 0), currency="USD"), final=True),
        await capture(rpc, hold.id, charge_of(chain), final=True),
        await capture(rpc, released.id, charge_of(chain, (1, 0), (1, 0), (1, 0))),
    ]
    assert [answer.result.refusal.reason for answer in answers] == [
        "HOLD_EXCEEDED",
        "INSUFFICIENT_CREDIT",
        "CHAIN_MISMATCH",
        "CURRENCY_MISMATCH",
        "INVALID_ARGUMENT",
        "HOLD_NOT_ACTIVE",
    ]
    assert (answers[0].result.refusal.available_micros, answers[0].result.refusal.needed_micros) == (30, 31)
    assert [answer.hold.state for answer in answers] == [ACTIVE] * 5 + [RELEASED]
    assert await reserved(world, chain) == [30, 0, 0]
    assert await world.balances(chain) == [100, 100, 5]
    with refused("NOT_FOUND", grpc.StatusCode.NOT_FOUND):
        await capture(rpc, str(uuid4()), charge_of(chain, (1, 0), (1, 0), (1, 0)))


async def test_a_repeated_capture_is_one_charge_also_of_post_charge(
    world: World, rpc: HoldsRpc, engine: Engine
) -> None:
    """Given a final capture. When it is repeated, ten at once, and with another body. Then one charge; refused."""
    chain = await world.chain(money=(100, 100, 100))
    hold = await create(rpc, chain, 100)
    charge = charge_of(chain, (20, 4), (10, 0), (7, 0))

    answers = await asyncio.gather(*(capture(rpc, hold.id, charge, final=True) for _ in range(10)))

    assert len({answer.result.SerializeToString() for answer in answers}) == 1
    assert {answer.hold.state for answer in answers} == {CAPTURED}
    other = charge_of(chain, (21, 4), (10, 0), (7, 0), request_id=charge.request_id)
    assert (await capture(rpc, hold.id, other)).result.refusal.reason == "REQUEST_ID_REUSED"
    assert await world.balances(chain) == [76, 90, 93]
    await world.check(chain.root_id)


async def test_captures_at_once_take_no_more_than_was_held(world: World, rpc: HoldsRpc) -> None:
    """Given a hold of 50 in a wallet of 100. When ten captures of 10 race. Then five of them pass."""
    chain = await world.chain(money=(100, 100, 100))
    hold = await create(rpc, chain, 50)
    answers = await asyncio.gather(
        *(capture(rpc, hold.id, charge_of(chain, (10, 0), (10, 0), (10, 0))) for _ in range(10))
    )
    reasons = sorted(answer.result.refusal.reason for answer in answers)
    assert reasons == [""] * 5 + ["HOLD_NOT_ACTIVE"] * 5
    assert await world.balances(chain) == [50, 50, 50]
    assert await reserved(world, chain) == [0, 0, 0]
    await world.check(chain.root_id)


async def test_hold_and_charge_race_for_the_last_credit(world: World, rpc: HoldsRpc, engine: Engine) -> None:
    """Given credit for one of two. When a hold and a charge race, many times. Then one of them wins each time."""
    winners = set()
    for number in range(20):
        chain = await world.chain(money=(10, 100, 100))
        with as_service("usage"):
            asked = [
                rpc.CreateHold(creation(chain, 6), None),
                engine.post(Asked(chain.charge((6, 0), (1, 0), (1, 0)))),
            ]
            answers = await asyncio.gather(*(asked if number % 2 else asked[::-1]))
        hold, charge = answers if number % 2 else answers[::-1]
        won = (not hold.HasField("refusal"), isinstance(charge, Posted))
        assert sorted(won) == [False, True]
        winners.add(won)
        assert await reserved(world, chain) == ([6, 0, 0] if won[0] else [0, 0, 0])
        await world.check(chain.root_id)
    assert winners


async def test_release_and_capture_race(world: World, rpc: HoldsRpc) -> None:
    """Given a hold of all credit. When release, capture and expiry race, many times. Then one ends it, all adds up."""
    for _ in range(15):
        chain = await world.chain(money=(100, 100, 100))
        hold = await held(rpc._database, chain, 100, ttl=timedelta())
        captured, _, _ = await asyncio.gather(
            capture(rpc, str(hold.id), charge_of(chain, (60, 0), (1, 0), (1, 0)), final=True),
            release(rpc, str(hold.id)),
            expire_holds(rpc._database),
        )
        with as_service("usage"):
            now = await rpc.GetHold(holds_pb2.GetHoldRequest(id=str(hold.id)), None)
        if captured.result.HasField("refusal"):
            assert captured.result.refusal.reason == "HOLD_NOT_ACTIVE"
            assert now.state in (RELEASED, EXPIRED)
            assert await world.balances(chain) == [100, 100, 100]
        else:
            assert now.state == CAPTURED
            assert await world.balances(chain) == [40, 99, 99]
        assert await reserved(world, chain) == [0, 0, 0]
        await world.check(chain.root_id)


async def test_what_is_due_expires_and_gives_back(world: World, rpc: HoldsRpc, database: Database) -> None:
    """Given two holds, one of them over. When the job runs, twice at once. Then that one has expired, no other."""
    chain = await world.chain(money=(100, 100, 100))
    over, running = await held(database, chain, 30, 20, ttl=timedelta()), await held(database, chain, 10)
    await capture(rpc, str(over.id), charge_of(chain, (5, 0), (5, 0), (5, 0)))

    await asyncio.gather(expire_holds(database), expire_holds(database))

    with as_service("usage"):
        states = [
            (await rpc.GetHold(holds_pb2.GetHoldRequest(id=str(hold.id)), None)).state for hold in (over, running)
        ]
    assert states == [EXPIRED, ACTIVE]
    assert await reserved(world, chain) == [10, 0, 0]
    assert await expire_holds(database) == 0
    released = await release(rpc, str(over.id))
    assert released.state == EXPIRED


async def test_create_hold_answers_a_repeat_and_forgets_a_refusal(world: World, rpc: HoldsRpc) -> None:
    """Given no money. When a hold is asked for, money comes, and it is asked for twice more. Then refused; one hold."""
    chain = await world.chain()
    asked = creation(chain, 30)
    with as_service("orders"):
        first = await rpc.CreateHold(asked, None)
        unknown = await rpc.CreateHold(creation(Chain(chain.root_id, (uuid4(),), ()), 1), None)
        twice = creation(chain, 1)
        twice.tiers.append(twice.tiers[0])
        doubled = await rpc.CreateHold(twice, None)
        nul = await rpc.CreateHold(creation(chain, 1, item="a\0b"), None)
    assert (first.refusal.reason, first.refusal.needed_micros) == ("INSUFFICIENT_CREDIT", 30)
    assert unknown.refusal.reason == "WALLET_UNKNOWN"
    assert (doubled.refusal.reason, nul.refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    async with world.pool.acquire() as connection, connection.transaction():
        await post_line(connection, chain.recharge(1, 50))
    with as_service("orders"):
        made = await asyncio.gather(*(rpc.CreateHold(asked, None) for _ in range(5)))
    assert len({response.hold.id for response in made}) == 1
    assert await reserved(world, chain) == [30, 0, 0]


async def test_the_holds_of_a_wallet_are_listed_for_those_who_see_it(world: World, rpc: HoldsRpc) -> None:
    """Given five holds, one released. When listed in pages, by state, and by a stranger. Then each once; NOT_FOUND."""
    chain, other = await world.chain(money=(100, 100, 100)), await world.chain()
    made = [await create(rpc, chain, 10, 1) for _ in range(5)]
    await release(rpc, made[1].id)
    customer = as_caller(chain.organization_ids[0], chain.root_id)
    wallet_id = str(chain.wallet_ids[0])
    with customer:
        listed, token = [], ""
        while True:
            request = holds_pb2.ListHoldsRequest(wallet_id=wallet_id, page_size=2, page_token=token)
            page = await rpc.ListHolds(request, None)
            listed.extend(page.holds)
            token = page.next_page_token
            if not token:
                break
        gone = await rpc.ListHolds(holds_pb2.ListHoldsRequest(wallet_id=wallet_id, state=RELEASED), None)
    assert [hold.id for hold in listed] == [hold.id for hold in reversed(made)]
    assert all(len(hold.amounts) == 1 for hold in listed)
    assert [hold.id for hold in gone.holds] == [made[1].id]
    with as_caller(other.organization_ids[0], other.root_id):
        with refused("NOT_FOUND"):
            await rpc.ListHolds(holds_pb2.ListHoldsRequest(wallet_id=wallet_id), None)
        with refused("NOT_FOUND"):
            await rpc.GetHold(holds_pb2.GetHoldRequest(id=made[0].id), None)
