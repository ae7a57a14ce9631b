"""PostRefund on a real PostgreSQL: never more than was charged, at any tier, in any order, by anybody at once."""

import asyncio
import random
from typing import Any
from uuid import uuid4

import grpc
import pytest
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from farthing.wallet.v1 import wallets_pb2 as pb
from servicekit.database import Database
from servicekit.testing import as_caller, as_service
from wallet.domain.ledger import Charge, Kind, Posted
from wallet.engine import Asked, Engine
from wallet.rpc.entries import EntriesRpc
from wallet.rpc.refunds import RefundsRpc
from wallet.store.ledger import post_line

from .ledger_world import Chain, World
from .world import refused

PRICES = ((100, 20), (80, 0), (50, 5))


@pytest.fixture
def refunds(database: Database) -> RefundsRpc:
    """The handler."""
    return RefundsRpc(database)


def refund_of(chain: Chain, transaction_id: object, *amounts: tuple[int, int], **fields: Any) -> pb.Refund:
    """A refund of (net, tax) at each tier."""
    ids = [str(id_) for id_ in chain.organization_ids]
    tiers = [
        pb.ChargeTier(buyer_id=ids[n], seller_id=ids[n + 1], net_micros=net, tax_micros=tax)
        for n, (net, tax) in enumerate(amounts)
    ]
    asked = {"request_id": str(uuid4()), "original_transaction_id": str(transaction_id), "reason": "Broken", **fields}
    return pb.Refund(tiers=tiers, **asked)


async def post(refunds: RefundsRpc, refund: pb.Refund) -> pb.ChargeResult:
    """What `orders` is answered."""
    with as_service("orders"):
        return (await refunds.PostRefund(pb.PostRefundRequest(refund=refund), None)).result


async def bought(engine: Engine, chain: Chain, *prices: tuple[int, int]) -> tuple[Charge, Posted]:
    """A purchase that is posted."""
    charge = chain.charge(*prices)._replace(cloud_phone_id="phone-1")
    outcome = await engine.post(Asked(charge))
    assert isinstance(outcome, Posted)
    return charge, outcome


async def test_a_refund_goes_back_through_every_tier(world: World, engine: Engine, refunds: RefundsRpc) -> None:
    """Given a purchase. When half of it, then the rest is refunded. Then all have what they had; events say so."""
    chain = await world.chain(money=(1000, 1000, 1000))
    charge, posted = await bought(engine, chain, *PRICES)

    half = await post(refunds, refund_of(chain, posted.transaction_id, (50, 10), (40, 0), (25, 2)))

    assert half.balance_after_micros == 940
    assert await world.balances(chain) == [940, 960, 972]
    rest = await post(refunds, refund_of(chain, posted.transaction_id, (50, 10), (40, 0), (25, 3)))
    assert not rest.HasField("refusal")
    assert await world.balances(chain) == [1000, 1000, 1000]
    row = await world.pool.fetchrow(
        "SELECT type, kind, original_id, order_id, cloud_phone_id FROM transactions WHERE id = $1::text::uuid",
        half.transaction_id,
    )
    assert tuple(row) == (4, 3, posted.transaction_id, charge.order_id, "phone-1")
    payloads = await world.pool.fetch("SELECT payload FROM outbox WHERE root_id = $1 ORDER BY id", chain.root_id)
    event = WalletEvent.FromString(payloads[1]["payload"]).refund_posted
    assert (event.transaction_id, event.original_transaction_id) == (half.transaction_id, str(posted.transaction_id))
    assert (event.order_id, event.reason) == (str(charge.order_id), "Broken")
    assert [(t.net_micros, t.tax_micros, t.sequence, t.balance_after_micros) for t in event.tiers] == [
        (50, 10, 3, 940),
        (40, 0, 3, 960),
        (25, 2, 3, 972),
    ]
    assert await world.pool.fetchval("SELECT count(*) FROM audit_events WHERE root_id = $1", chain.root_id) == 2
    await world.check(chain.root_id)


async def test_what_was_earned_in_the_wallet_is_taken_back(world: World, engine: Engine, refunds: RefundsRpc) -> None:
    """Given sellers without money whose earnings go to the wallet. When all is refunded. Then nobody stands below."""
    chain = await world.chain(money=(120, 0, 0), earns=(False, True, True))
    _, posted = await bought(engine, chain, (100, 20), (80, 0), (50, 5))
    assert await world.balances(chain) == [0, 20, 25]

    result = await post(refunds, refund_of(chain, posted.transaction_id, *PRICES))

    assert not result.HasField("refusal")
    assert await world.balances(chain) == [120, 0, 0]
    kept = await world.pool.fetch(
        "SELECT account, organization_id FROM postings WHERE root_id = $1 AND account IN ('REVENUE', 'TAX_PAYABLE', "
        "'CLEARING') GROUP BY 1, 2 HAVING sum(amount_micros) <> 0",
        chain.root_id,
    )
    assert kept == []
    await world.check(chain.root_id)


async def test_earnings_that_are_spent_refuse_the_refund(world: World, engine: Engine, refunds: RefundsRpc) -> None:
    """Given a reseller that spent what it earned. When a refund is asked for. Then refused, and nothing moves."""
    chain = await world.chain(money=(120, 0, 1000), earns=(False, True, False))
    _, posted = await bought(engine, chain, (100, 20), (80, 0), (50, 5))
    own = Chain(chain.root_id, chain.organization_ids[1:], chain.wallet_ids[1:])
    await bought(engine, own, (20, 0), (1, 0))

    result = await post(refunds, refund_of(chain, posted.transaction_id, *PRICES))

    assert (result.refusal.reason, result.refusal.wallet_id) == ("INSUFFICIENT_CREDIT", str(chain.wallet_ids[1]))
    assert (result.refusal.available_micros, result.refusal.needed_micros) == (80, 100)
    assert await world.balances(chain) == [0, 0, 944]
    await world.check(chain.root_id)


async def test_what_cannot_be_refunded(world: World, engine: Engine, refunds: RefundsRpc) -> None:
    """Given a purchase half refunded. When more, other tiers, less than zero or nothing is asked. Then refused."""
    chain, other = await world.chain(money=(1000, 1000, 1000)), await world.chain()
    _, posted = await bought(engine, chain, *PRICES)
    await post(refunds, refund_of(chain, posted.transaction_id, (50, 10), (40, 0), (25, 2)))
    before = await world.balances(chain)
    reasons = [
        (await post(refunds, refund_of(of, posted.transaction_id, *amounts))).refusal.reason
        for of, amounts in (
            (chain, ((51, 0), (0, 0), (0, 0))),
            (chain, ((0, 11), (0, 0), (0, 0))),
            (chain, ((1, 0), (0, 0), (0, 4))),
            (chain, ((1, 0), (0, 0))),
            (other, ((1, 0), (0, 0), (0, 0))),
            (chain, ((1, -1), (0, 0), (0, 0))),
            (chain, ((0, 0), (0, 0), (0, 0))),
        )
    ]
    assert reasons == [
        "REFUND_EXCEEDS_CHARGE",
        "REFUND_EXCEEDS_CHARGE",
        "REFUND_EXCEEDS_CHARGE",
        "CHAIN_MISMATCH",
        "CHAIN_MISMATCH",
        "AMOUNT_OUT_OF_RANGE",
        "NOTHING_TO_REFUND",
    ]
    assert await world.balances(chain) == before
    recharge = await world.pool.fetchval("SELECT id FROM transactions WHERE root_id = $1 AND type = 1", chain.root_id)
    for unknown in (uuid4(), recharge):
        with refused("NOT_FOUND", grpc.StatusCode.NOT_FOUND):
            await post(refunds, refund_of(chain, unknown, (1, 0), (0, 0), (0, 0)))


async def test_a_repeat_gets_the_first_answer(world: World, engine: Engine, refunds: RefundsRpc) -> None:
    """Given a refund. When it comes ten times at once, and with another body. Then one refund; that is refused."""
    chain = await world.chain(money=(1000, 1000, 1000))
    _, posted = await bought(engine, chain, *PRICES)
    asked = refund_of(chain, posted.transaction_id, (10, 2), (8, 0), (5, 0))
    other = refund_of(chain, posted.transaction_id, (11, 2), (8, 0), (5, 0), request_id=asked.request_id)

    results = await asyncio.gather(*(post(refunds, asked) for _ in range(10)))

    assert len({result.SerializeToString() for result in results}) == 1
    assert results[0].balance_after_micros == 892
    assert (await post(refunds, other)).refusal.reason == "REQUEST_ID_REUSED"
    assert await world.balances(chain) == [892, 928, 950]
    await world.check(chain.root_id)


async def test_refunds_at_once_never_pass_the_charge(world: World, engine: Engine, refunds: RefundsRpc) -> None:
    """Given a purchase of 10 parts. When 25 refunds of a part or two race. Then what is granted is 10 parts at most."""
    chain = await world.chain(money=(1000, 1000, 1000))
    for _ in range(4):
        _, posted = await bought(engine, chain, (100, 20), (80, 0), (50, 10))
        sizes = [random.choice((1, 2)) for _ in range(25)]
        asked = [refund_of(chain, posted.transaction_id, (10 * n, 2 * n), (8 * n, 0), (5 * n, n)) for n in sizes]
        results = await asyncio.gather(*(post(refunds, each) for each in asked))
        granted = sum(n for n, result in zip(sizes, results, strict=True) if not result.HasField("refusal"))
        reasons = {result.refusal.reason for result in results if result.HasField("refusal")}
        assert granted in (9, 10)
        assert reasons == {"REFUND_EXCEEDS_CHARGE"}
    await world.check(chain.root_id)


async def test_a_closed_wallet_gets_nothing_back(world: World, engine: Engine, refunds: RefundsRpc) -> None:
    """Given a purchase whose buyer moved since, with a new wallet. When a refund is asked for. Then WALLET_UNKNOWN."""
    chain = await world.chain(money=(120, 1000, 1000))
    _, posted = await bought(engine, chain, *PRICES)
    await world.pool.execute("UPDATE wallets SET state = 2 WHERE id = $1", chain.wallet_ids[0])
    await world.wallet(chain.root_id, chain.organization_ids[0], chain.organization_ids[2], "EUR")

    result = await post(refunds, refund_of(chain, posted.transaction_id, *PRICES))

    assert (result.refusal.reason, result.refusal.wallet_id) == ("WALLET_UNKNOWN", str(chain.wallet_ids[0]))
    await world.check(chain.root_id)


async def test_transactions_tell_their_kind_and_sellers_their_sums_net_of_refunds(
    world: World, engine: Engine, refunds: RefundsRpc, database: Database
) -> None:
    """Given a purchase, half refunded, and a voucher. When seller and stranger look. Then net sums; NOT_FOUND."""
    chain, other = await world.chain(money=(1000, 1000, 1000), earns=(False, True, False)), await world.chain()
    _, posted = await bought(engine, chain, *PRICES)
    result = await post(refunds, refund_of(chain, posted.transaction_id, (50, 10), (40, 0), (25, 2)))
    async with world.pool.acquire() as connection, connection.transaction():
        await post_line(connection, chain.recharge(1, 70)._replace(kind=Kind.VOUCHER))
    reads = EntriesRpc(database)
    reseller = str(chain.organization_ids[1])

    with as_caller(chain.organization_ids[1], chain.root_id):
        transaction = await reads.GetTransaction(pb.GetTransactionRequest(id=result.transaction_id), None)
        accounts = await reads.GetSellerAccounts(pb.GetSellerAccountsRequest(organization_id=reseller), None)
    with as_caller(other.organization_ids[1], other.root_id), refused("NOT_FOUND"):
        await reads.GetTransaction(pb.GetTransactionRequest(id=result.transaction_id), None)

    assert transaction.kind == pb.TRANSACTION_KIND_REFUND
    assert (transaction.type, transaction.cloud_phone_id) == (pb.ENTRY_TYPE_SYSTEM, "phone-1")
    assert transaction.original_transaction_id == str(posted.transaction_id)
    by_tier: dict[int, int] = {}
    for posting in transaction.postings:
        by_tier[posting.tier] = by_tier.get(posting.tier, 0) + posting.amount.nanos
    assert by_tier == {1: 0, 2: 0}
    earned = [each for each in transaction.postings if each.tier == 1 and each.organization_id == reseller]
    assert [(each.account_type, each.wallet_id, each.amount.nanos) for each in earned] == [
        (pb.ACCOUNT_TYPE_WALLET, str(chain.wallet_ids[1]), -50_000),
        (pb.ACCOUNT_TYPE_TAX_PAYABLE, "", -10_000),
    ]
    sums = (accounts.cash_received, accounts.revenue, accounts.tax_payable, accounts.cost, accounts.credits_given)
    assert [amount.nanos // 1000 for amount in sums] == [1000, 50, 10, 40, 70]
