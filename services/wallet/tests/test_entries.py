"""Charges and the ledger's reads through their handlers, on a real PostgreSQL: as-of, pages, and who sees what."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from local_stack.stack import Stack
from servicekit.call import Call
from servicekit.database import Database
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.testing import as_caller, as_service
from wallet.engine import Engine
from wallet.rpc.charges import ChargesRpc
from wallet.rpc.entries import EntriesRpc
from wallet.rpc.lists import ListsRpc
from wallet.rpc.service import wallet_service

from .ledger_world import Chain, World

CONTEXT: Any = None


@pytest.fixture(scope="module")
async def charges(database: Database) -> AsyncIterator[ChargesRpc]:
    """The handlers of charges."""
    engine = Engine(database, connections=2)
    yield ChargesRpc(engine)
    await engine.close()


@pytest.fixture(scope="session")
def reads(database: Database) -> Any:
    """The handlers of the ledger's reads."""
    reads, lists = EntriesRpc(database), ListsRpc(database, Pager("test"))
    return SimpleNamespace(
        GetBalance=reads.GetBalance,
        GetTransaction=reads.GetTransaction,
        GetSellerAccounts=reads.GetSellerAccounts,
        ListEntries=lists.ListEntries,
    )


def message(chain: Chain, *prices: tuple[int, int], **fields: Any) -> pb.Charge:
    """A charge as `orders` sends it."""
    ids = [str(id_) for id_ in chain.organization_ids]
    tiers = [
        pb.ChargeTier(buyer_id=ids[n], seller_id=ids[n + 1], net_micros=net, tax_micros=tax)
        for n, (net, tax) in enumerate(prices)
    ]
    asked = {"request_id": str(uuid4()), "currency": "EUR", "order_id": str(uuid4()), "order_number": "2026-000009"}
    return pb.Charge(tiers=tiers, item="Proxy", **{**asked, **fields})


async def post(charges: ChargesRpc, *messages: pb.Charge) -> list[pb.ChargeResult]:
    """The results of a batch that `orders` sends."""

    async def stream() -> AsyncIterator[pb.PostChargesRequest]:
        yield pb.PostChargesRequest(charges=messages)

    with as_service("orders", "/farthing.wallet.v1.WalletService/PostCharges"):
        replies = [reply async for reply in charges.PostCharges(stream(), CONTEXT)]
    assert len(replies) == 1
    return list(replies[0].results)


def seen_by(chain: Chain, tier: int) -> AbstractContextManager[Call]:
    """A call of the buyer of `tier`; tier 4 is the platform."""
    root_id = None if tier == 4 else chain.root_id
    return as_caller(chain.organization_ids[tier - 1], root_id, method="/farthing.wallet.v1.WalletService/Read")


def micros(money: Money) -> int:
    """A Money as millionths."""
    assert money.currency_code == "EUR"
    return money.units * 1_000_000 + money.nanos // 1000


def stamp(instant: datetime) -> Timestamp:
    """An instant as a message."""
    made = Timestamp()
    made.FromDatetime(instant)
    return made


async def refused(call: Any, reason: str) -> Problem:
    """The problem that awaiting `call` ends with."""
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.reason == reason
    return caught.value


async def test_one_charge_and_its_repeat(world: World, charges: ChargesRpc) -> None:
    """Given a chain with money. When orders posts a charge twice. Then both answers are the same, to the byte."""
    chain = await world.chain(money=(1000, 1000, 1000))
    request = pb.PostChargeRequest(charge=message(chain, (100, 20), (80, 0), (50, 5)))

    with as_service("orders"):
        first = await charges.PostCharge(request, CONTEXT)
        again = await charges.PostCharge(request, CONTEXT)

    assert first == again
    assert first.result.request_id == request.charge.request_id
    assert UUID(first.result.transaction_id)
    assert first.result.balance_after_micros == 880
    assert not first.result.HasField("refusal")
    await world.check(chain.root_id)


async def test_request_ids_belong_to_the_service_that_gave_them(world: World, charges: ChargesRpc) -> None:
    """Given a charge of orders. When usage uses the same id for another. Then it is posted, not refused."""
    chain = await world.chain(money=(1000, 1000, 1000))
    with as_service("orders"):
        ours = await charges.PostCharge(
            pb.PostChargeRequest(charge=message(chain, (100, 0), (80, 0), (50, 0), request_id="7")), CONTEXT
        )
    with as_service("usage"):
        theirs = await charges.PostCharge(
            pb.PostChargeRequest(charge=message(chain, (10, 0), (8, 0), (5, 0), request_id="7")), CONTEXT
        )

    assert ours.result.transaction_id != theirs.result.transaction_id
    assert theirs.result.balance_after_micros == 890


async def test_a_batch_answers_in_order_with_its_refusals(world: World, charges: ChargesRpc) -> None:
    """Given a batch of good and malformed charges. When it is posted. Then each has its own answer, in its place."""
    chain = await world.chain(money=(1000, 1000, 1000))
    good = message(chain, (100, 0), (80, 0), (50, 0))
    zero = message(chain, (0, 0), (80, 0), (50, 0))
    nobody = message(chain, (1, 0), (1, 0), (1, 0))
    nobody.tiers[1].buyer_id = "nobody"
    nameless = message(chain, (1, 0), (1, 0), (1, 0), request_id="")
    poor = message(chain, (100, 0), (9000, 0), (50, 0))

    results = await post(charges, zero, good, nobody, nameless, poor, good)

    assert [result.refusal.reason for result in results] == [
        "AMOUNT_OUT_OF_RANGE",
        "",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "INSUFFICIENT_CREDIT",
        "",
    ]
    assert results[1] == results[5]
    assert results[4].refusal.organization_id == str(chain.organization_ids[1])
    assert (results[4].refusal.available_micros, results[4].refusal.needed_micros) == (920, 9000)
    assert "920" not in results[4].refusal.message
    assert await world.balances(chain) == [900, 920, 950]


async def test_balance_now_and_then(world: World, charges: ChargesRpc, reads: Any, database: Database) -> None:
    """Given 40 lines. When the balance is asked for at each of their instants. Then it is that of the prefix."""
    chain = await world.chain(money=(10_000, 10_000, 10_000), limits=(500, 0, 0))
    for _ in range(13):
        await post(charges, *(message(chain, (random.randint(1, 9), 0), (1, 0), (0, 0)) for _ in range(3)))
    lines = await world.pool.fetch(
        "SELECT sequence, posted_at, balance_after_micros FROM lines WHERE wallet_id = $1 ORDER BY sequence",
        chain.wallet_ids[0],
    )
    assert len(lines) == 40
    wallet_id = str(chain.wallet_ids[0])
    last_at = {line["posted_at"]: line for line in lines}

    with seen_by(chain, 1):
        now = await reads.GetBalance(pb.GetBalanceRequest(wallet_id=wallet_id), CONTEXT)
        before = await reads.GetBalance(
            pb.GetBalanceRequest(wallet_id=wallet_id, as_of=stamp(lines[0]["posted_at"] - timedelta(microseconds=1))),
            CONTEXT,
        )
        for instant, line in last_at.items():
            then = await reads.GetBalance(pb.GetBalanceRequest(wallet_id=wallet_id, as_of=stamp(instant)), CONTEXT)
            assert (then.sequence, micros(then.total)) == (line["sequence"], line["balance_after_micros"])
            assert then.as_of == stamp(instant)

    assert (now.sequence, micros(now.total)) == (40, lines[-1]["balance_after_micros"])
    assert micros(now.available) == micros(now.total) + 500
    assert micros(now.reserved) == 0
    assert (before.sequence, micros(before.total)) == (0, 0)


async def test_reserved_counts_against_what_is_available(world: World, reads: Any) -> None:
    """Given 100 on the wallet, 30 of it reserved. When the balance is asked for. Then 70 is available."""
    chain = await world.chain(money=(100, 0, 0))
    await world.pool.execute("UPDATE wallets SET reserved_micros = 30 WHERE id = $1", chain.wallet_ids[0])

    with seen_by(chain, 1):
        balance = await reads.GetBalance(pb.GetBalanceRequest(wallet_id=str(chain.wallet_ids[0])), CONTEXT)

    assert (micros(balance.total), micros(balance.reserved), micros(balance.available)) == (100, 30, 70)


async def test_an_answer_about_the_past_waits_for_what_is_under_way(world: World, reads: Any) -> None:
    """Given a posting that is not committed yet. When the balance of a moment ago is asked for. Then it waits."""
    chain = await world.chain(money=(100, 0, 0))
    other = await asyncpg.connect(**connection_of(world))
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE wallets SET balance_micros = balance_micros WHERE id = $1", chain.wallet_ids[0])
        as_of = await other.fetchval("SELECT farthing_now()")
        request = pb.GetBalanceRequest(wallet_id=str(chain.wallet_ids[0]), as_of=stamp(as_of))
        with seen_by(chain, 1):
            asking = asyncio.create_task(reads.GetBalance(request, CONTEXT))
            done, _ = await asyncio.wait({asking}, timeout=0.3)
            assert not done
            await transaction.commit()
            assert micros((await asking).total) == 100
    finally:
        await other.close()


def connection_of(world: World) -> dict[str, Any]:
    """How the pool connects."""
    arguments: dict[str, Any] = {"dsn": world.pool._connect_args[0], **world.pool._connect_kwargs}
    return {name: arguments[name] for name in ("dsn", "server_settings")}


async def test_the_future_has_no_balance(world: World, reads: Any) -> None:
    """Given a wallet. When its balance of tomorrow is asked for. Then refused, with when the books end."""
    chain = await world.chain()
    tomorrow = stamp(datetime.now(UTC) + timedelta(days=1))

    with seen_by(chain, 1):
        wallet = pb.GetBalanceRequest(wallet_id=str(chain.wallet_ids[0]), as_of=tomorrow)
        assert "as_of" in (await refused(reads.GetBalance(wallet, CONTEXT), "INVALID_ARGUMENT")).fields


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(10**15, 0), (-(2**63), 0), (253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 10**9)],
)
async def test_no_instant_has_a_balance(world: World, reads: Any, seconds: int, nanos: int) -> None:
    """Given what is no instant. When a wallet or a seller's accounts are asked for as of it. Then it says why not."""
    chain, never = await world.chain(), Timestamp(seconds=seconds, nanos=nanos)
    wallet = pb.GetBalanceRequest(wallet_id=str(chain.wallet_ids[0]), as_of=never)
    seller = pb.GetSellerAccountsRequest(organization_id=str(chain.organization_ids[0]), as_of=never)

    with seen_by(chain, 1):
        for asked in (reads.GetBalance(wallet, CONTEXT), reads.GetSellerAccounts(seller, CONTEXT)):
            problem = await refused(asked, "INVALID_ARGUMENT")
            assert list(problem.fields) == ["as_of"]
            assert "between the years 1 and 9999, with nanos from 0" in problem.message


async def test_entries_in_pages(world: World, charges: ChargesRpc, reads: Any) -> None:
    """Given 26 lines. When they are read in pages of 10 while more are posted. Then each once, newest first."""
    chain = await world.chain(money=(1000, 1000, 1000))
    await post(charges, *(message(chain, (1, 0), (1, 0), (1, 0)) for _ in range(25)))
    request = pb.ListEntriesRequest(wallet_id=str(chain.wallet_ids[0]), page_size=10)

    found: list[pb.Entry] = []
    sizes = []
    with seen_by(chain, 1):
        while True:
            page = await reads.ListEntries(request, CONTEXT)
            found += page.entries
            sizes.append(len(page.entries))
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
            await post(charges, message(chain, (1, 0), (1, 0), (1, 0)))

    assert sizes == [10, 10, 6]
    assert [entry.sequence for entry in found] == list(range(26, 0, -1))
    assert (found[0].type, found[-1].type) == (pb.ENTRY_TYPE_EXPENSE, pb.ENTRY_TYPE_RECHARGE)
    assert (found[0].item, found[0].order_number, micros(found[0].amount)) == ("Proxy", "2026-000009", -1)
    assert (found[-1].item, found[-1].order_id, micros(found[-1].amount)) == ("Top-up", "", 1000)
    assert len({entry.hash for entry in found}) == 26
    running = 0
    for entry in reversed(found):
        running += micros(entry.amount)
        assert micros(entry.balance_after) == running


async def test_a_page_token_is_good_for_its_list_and_caller_only(world: World, charges: ChargesRpc, reads: Any) -> None:
    """Given a token of a wallet's list. When it is used for another wallet, by another, or changed. Then refused."""
    chain = await world.chain(money=(10, 10, 10))
    await post(charges, *(message(chain, (1, 0), (1, 0), (1, 0)) for _ in range(3)))
    request = pb.ListEntriesRequest(wallet_id=str(chain.wallet_ids[0]), page_size=2)
    with seen_by(chain, 3):
        token = (await reads.ListEntries(request, CONTEXT)).next_page_token
        other_wallet = pb.ListEntriesRequest(wallet_id=str(chain.wallet_ids[1]), page_size=2, page_token=token)
        await refused(reads.ListEntries(other_wallet, CONTEXT), "PAGE_TOKEN_INVALID")
        request.page_token = ("B" if token[0] == "A" else "A") + token[1:]
        await refused(reads.ListEntries(request, CONTEXT), "PAGE_TOKEN_INVALID")
    with seen_by(chain, 1):
        request.page_token = token
        await refused(reads.ListEntries(request, CONTEXT), "PAGE_TOKEN_INVALID")


async def test_each_sees_its_own_wallet_and_those_below(world: World, charges: ChargesRpc, reads: Any) -> None:
    """Given a chain and a stranger. When each asks for each wallet. Then one's own and those below."""
    chain, stranger = await world.chain(money=(10, 10, 10)), await world.chain()
    [result] = await post(charges, message(chain, (3, 0), (2, 0), (1, 0)))
    seen: dict[int, list[int]] = {}
    for tier in (1, 2, 3, 4):
        with seen_by(chain, tier):
            seen[tier] = [number for number in (1, 2, 3) if await sees(reads, chain.wallet_ids[number - 1])]
    texts = set()
    with seen_by(stranger, 3):
        for wallet_id in (chain.wallet_ids[0], uuid4()):
            for request, call in (
                (pb.GetBalanceRequest(wallet_id=str(wallet_id)), reads.GetBalance),
                (pb.ListEntriesRequest(wallet_id=str(wallet_id)), reads.ListEntries),
            ):
                problem = await refused(call(request, CONTEXT), "NOT_FOUND")
                texts.add((problem.code, problem.message.replace(str(wallet_id), "ID")))
        transaction = pb.GetTransactionRequest(id=result.transaction_id)
        await refused(reads.GetTransaction(transaction, CONTEXT), "NOT_FOUND")
        accounts = pb.GetSellerAccountsRequest(organization_id=str(chain.organization_ids[1]))
        await refused(reads.GetSellerAccounts(accounts, CONTEXT), "NOT_FOUND")

    assert seen == {1: [1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 2, 3]}
    assert len(texts) == 1
    assert texts.pop()[0] is grpc.StatusCode.NOT_FOUND


async def sees(reads: Any, wallet_id: UUID) -> bool:
    """Does the caller get that wallet's balance?"""
    try:
        await reads.GetBalance(pb.GetBalanceRequest(wallet_id=str(wallet_id)), CONTEXT)
    except Problem as problem:
        assert problem.reason == "NOT_FOUND"
        return False
    return True


@pytest.mark.parametrize("table", ["wallets", "lines", "transactions", "postings"])
async def test_the_database_itself_shows_a_tenant_its_own_rows_only(
    world: World, charges: ChargesRpc, database: Database, stack: Stack, table: str
) -> None:
    """Given two trees. When plain SQL runs in the scope of one, or in none. Then the other's rows do not exist."""
    chain, stranger = await world.chain(money=(10, 10, 10)), await world.chain(money=(10, 10, 10))
    await post(charges, message(chain, (3, 0), (2, 0), (1, 0)), message(stranger, (3, 0), (2, 0), (1, 0)))
    counts = {}
    for scope in (*chain.organization_ids[:3], ""):
        connection = await asyncpg.connect(
            stack.env()["WALLET_DATABASE_URL"],
            database=database.engine.url.database,
            server_settings={"farthing.scope": str(scope)},
        )
        roots = await connection.fetch(f"SELECT root_id, count(*) FROM {table} GROUP BY 1")
        await connection.close()
        assert {row["root_id"] for row in roots} <= {chain.root_id}
        counts[scope] = sum(row["count"] for row in roots)

    customer, reseller, partner, nobody = counts.values()
    assert nobody == 0
    expected = {"wallets": (1, 2, 3), "lines": (2, 4, 6), "transactions": (2, 3, 4), "postings": (4, 8, 12)}
    assert (customer, reseller, partner) == expected[table]


async def test_a_transaction_shows_the_tiers_one_may_see(world: World, charges: ChargesRpc, reads: Any) -> None:
    """Given a purchase over three tiers. When each of the chain looks. Then the tiers from its own down."""
    chain = await world.chain(money=(1000, 1000, 1000), earns=(False, True, False))
    [result] = await post(charges, message(chain, (100, 20), (80, 0), (50, 5)))
    request = pb.GetTransactionRequest(id=result.transaction_id)
    seen: dict[int, set[int]] = {}
    for tier in (1, 2, 3, 4):
        with seen_by(chain, tier):
            transaction = await reads.GetTransaction(request, CONTEXT)
        seen[tier] = {posting.tier for posting in transaction.postings}
        assert sum(micros(posting.amount) for posting in transaction.postings) == 0
    with as_service("operator"):
        whole = await reads.GetTransaction(request, CONTEXT)

    assert seen == {1: {1}, 2: {1, 2}, 3: {1, 2, 3}, 4: {1, 2, 3}}
    ids = [str(id_) for id_ in chain.organization_ids]
    wallets = [str(id_) for id_ in chain.wallet_ids]
    legs = [
        (posting.tier, pb.AccountType.Name(posting.account_type), posting.organization_id, posting.wallet_id)
        for posting in whole.postings
    ]
    assert sorted(legs) == sorted(
        [
            (1, "ACCOUNT_TYPE_WALLET", ids[0], wallets[0]),
            (1, "ACCOUNT_TYPE_WALLET", ids[1], wallets[1]),
            (1, "ACCOUNT_TYPE_TAX_PAYABLE", ids[1], ""),
            (2, "ACCOUNT_TYPE_WALLET", ids[1], wallets[1]),
            (2, "ACCOUNT_TYPE_REVENUE", ids[2], ""),
            (3, "ACCOUNT_TYPE_WALLET", ids[2], wallets[2]),
            (3, "ACCOUNT_TYPE_REVENUE", ids[3], ""),
            (3, "ACCOUNT_TYPE_TAX_PAYABLE", ids[3], ""),
        ]
    )
    assert (whole.item, whole.currency, whole.type) == ("Proxy", "EUR", pb.ENTRY_TYPE_EXPENSE)


async def test_what_a_seller_took_in_earned_owes_and_paid(world: World, charges: ChargesRpc, reads: Any) -> None:
    """Given top-ups and purchases. When each seller asks for its accounts, now and before. Then its own sums."""
    chain = await world.chain(money=(1000, 700, 500), earns=(False, True, False))
    [first] = await post(charges, message(chain, (100, 20), (80, 8), (50, 5)))
    [second] = await post(charges, message(chain, (10, 2), (8, 1), (5, 0)))

    async def sums(tier: int, as_of: Timestamp | None = None) -> tuple[int, ...]:
        request = pb.GetSellerAccountsRequest(
            organization_id=str(chain.organization_ids[tier - 1]), currency="EUR", as_of=as_of
        )
        found = await reads.GetSellerAccounts(request, CONTEXT)
        return tuple(micros(amount) for amount in (found.cash_received, found.revenue, found.tax_payable, found.cost))

    assert first.posted_at != second.posted_at
    for tier, now, then in (
        (1, (0, 0, 0, 110), (0, 0, 0, 100)),
        (2, (1000, 110, 22, 88), (1000, 100, 20, 80)),
        (3, (700, 88, 9, 55), (700, 80, 8, 50)),
    ):
        with seen_by(chain, tier):
            assert await sums(tier) == now
            assert await sums(tier, first.posted_at) == then


async def test_the_books_stay_with_the_seller_when_a_buyer_moves(world: World, charges: ChargesRpc, reads: Any) -> None:
    """Given a customer that bought and moved to another seller. When the old seller looks. Then it is there."""
    chain = await world.chain(money=(3, 10, 10))
    [result] = await post(charges, message(chain, (3, 0), (2, 0), (1, 0)))
    customer, _, partner, platform = chain.organization_ids
    await world.pool.execute(
        "UPDATE organizations SET parent_id = $2, ancestor_ids = $3 WHERE id = $1",
        customer,
        partner,
        [partner, platform],
    )
    await world.pool.execute("UPDATE wallets SET state = 2 WHERE id = $1", chain.wallet_ids[0])

    with seen_by(chain, 2):
        accounts = await reads.GetSellerAccounts(
            pb.GetSellerAccountsRequest(organization_id=str(chain.organization_ids[1]), currency="EUR"), CONTEXT
        )
        own = await reads.ListEntries(pb.ListEntriesRequest(wallet_id=str(chain.wallet_ids[1])), CONTEXT)
        transaction = await reads.GetTransaction(pb.GetTransactionRequest(id=result.transaction_id), CONTEXT)

    assert (micros(accounts.revenue), micros(accounts.cash_received)) == (3, 3)
    assert [entry.item for entry in own.entries] == ["Proxy", "Top-up"]
    assert {posting.tier for posting in transaction.postings} == {1, 2}


def test_a_service_with_a_missing_part_does_not_start() -> None:
    """Given parts that leave an RPC without an owner. When the service is put together. Then it says which."""
    with pytest.raises(TypeError, match="nobody serves WalletService"):
        wallet_service(object())
