"""The service as a process: charges over mTLS, and what is left when it is killed around a commit."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import grpc.aio
import pytest
from farthing.wallet.v1 import wallets_pb2 as pb
from farthing.wallet.v1.wallets_pb2_grpc import WalletServiceStub
from local_stack.stack import Stack
from servicekit.database import Database
from servicekit.testing import eventually

from .ledger_world import Chain, World


@pytest.fixture
def service(stack: Stack, database: Database) -> Iterator[dict[str, str]]:
    """How to start `wallet` on the tests' database, and on no Kafka: nobody else shall hear of it."""
    address = stack.env()["WALLET_DATABASE_URL"].rpartition("/")[0]
    was_running = stack.pid("wallet") is not None
    stack.stop("wallet")
    yield {"DATABASE_URL": f"{address}/{database.engine.url.database}", "KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    stack.stop("wallet")
    if was_running:
        stack.start("wallet")


def channel_as(stack: Stack, name: str) -> grpc.aio.Channel:
    """A channel to wallet's internal listener with the certificate of `name`."""
    env = stack.env()
    folder = Path(env["TLS_DIR"])
    credentials = grpc.ssl_channel_credentials(
        (folder / "ca.pem").read_bytes(), (folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes()
    )
    return grpc.aio.secure_channel(env["WALLET_INTERNAL_GRPC"], credentials)


def request(chain: Chain, *nets: int) -> pb.PostChargeRequest:
    """A charge of `nets` at each tier, with a request id of its own."""
    ids = [str(id_) for id_ in chain.organization_ids]
    tiers = [
        pb.ChargeTier(buyer_id=ids[n], seller_id=ids[n + 1], net_micros=net, tax_micros=0) for n, net in enumerate(nets)
    ]
    charge = pb.Charge(request_id=str(uuid4()), currency="EUR", tiers=tiers, order_id=str(uuid4()), item="Proxy")
    return pb.PostChargeRequest(charge=charge)


@pytest.mark.system
@pytest.mark.parametrize(
    ("point", "posted_before"), [("wallet.before_post_commit", False), ("wallet.after_post_commit", True)]
)
async def test_killed_around_the_commit_a_charge_is_there_once(
    stack: Stack, service: dict[str, str], world: World, point: str, posted_before: bool
) -> None:
    """Given a service that is killed before or after its commit. When the charge is repeated. Then it is there once."""
    chain = await world.chain(money=(100, 100, 100))
    asked = request(chain, 10, 8, 5)
    await asyncio.to_thread(stack.start, "wallet", **service, FARTHING_FAULT=point)

    async with channel_as(stack, "orders") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as died:
            await WalletServiceStub(channel).PostCharge(asked, timeout=10)
    assert died.value.code() is grpc.StatusCode.UNAVAILABLE
    await eventually(lambda: stack.pid("wallet") is None)
    assert await world.balances(chain) == ([90, 92, 95] if posted_before else [100, 100, 100])

    await asyncio.to_thread(stack.start, "wallet", **service)
    async with channel_as(stack, "orders") as channel:
        first = await WalletServiceStub(channel).PostCharge(asked, timeout=10)
        again = await WalletServiceStub(channel).PostCharge(asked, timeout=10)

    assert first == again
    assert first.result.balance_after_micros == 90
    assert await world.balances(chain) == [90, 92, 95]
    await world.check(chain.root_id)


@pytest.mark.system
async def test_batches_and_reads_over_the_wire(stack: Stack, service: dict[str, str], world: World) -> None:
    """Given the running service. When orders streams batches. Then answers come in order, and the balance is theirs."""
    chain = await world.chain(money=(1000, 1000, 1000))
    batches = [
        pb.PostChargesRequest(charges=[request(chain, 3, 2, 1).charge for _ in range(size)]) for size in (1, 100, 7)
    ]

    async def stream() -> AsyncIterator[pb.PostChargesRequest]:
        for batch in batches:
            yield batch

    await asyncio.to_thread(stack.start, "wallet", **service)
    async with channel_as(stack, "orders") as channel:
        stub: Any = WalletServiceStub(channel)
        replies = [reply async for reply in stub.PostCharges(stream(), timeout=20)]
        balance = await stub.GetBalance(pb.GetBalanceRequest(wallet_id=str(chain.wallet_ids[0])), timeout=5)

    assert [[result.request_id for result in reply.results] for reply in replies] == [
        [charge.request_id for charge in batch.charges] for batch in batches
    ]
    assert not any(result.HasField("refusal") for reply in replies for result in reply.results)
    assert (balance.total.units, balance.total.nanos, balance.sequence) == (0, (1000 - 3 * 108) * 1000, 109)
    await world.check(chain.root_id)


@pytest.mark.system
async def test_only_services_that_sell_may_charge(stack: Stack, service: dict[str, str], world: World) -> None:
    """Given the running service. When documents, or nobody we know, posts a charge. Then refused, nothing is posted."""
    chain = await world.chain(money=(100, 100, 100))
    await asyncio.to_thread(stack.start, "wallet", **service)

    async with channel_as(stack, "documents") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as other:
            await WalletServiceStub(channel).PostCharge(request(chain, 10, 8, 5), timeout=5)
    async with grpc.aio.insecure_channel(stack.env()["WALLET_GRPC"]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as nobody:
            await WalletServiceStub(channel).PostCharge(request(chain, 10, 8, 5), timeout=5)

    assert other.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert nobody.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert await world.balances(chain) == [100, 100, 100]


@pytest.mark.system
async def test_postgresql_killed_in_the_middle(stack: Stack, service: dict[str, str], world: World) -> None:
    """Given charges under way. When PostgreSQL is killed and comes back. Then repeating ends with each posted once."""
    chain = await world.chain(money=(100_000, 100_000, 100_000))
    await asyncio.to_thread(stack.start, "wallet", **service)
    async with channel_as(stack, "orders") as channel:
        stub: Any = WalletServiceStub(channel)

        async def insist(asked: pb.PostChargeRequest) -> Any:
            for _ in range(60):
                try:
                    return await stub.PostCharge(asked, timeout=5)
                except grpc.aio.AioRpcError as error:
                    assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
                    await asyncio.sleep(0.25)
            raise AssertionError("never answered")

        async def keep_asking(count: int) -> list[Any]:
            return [await insist(request(chain, 10, 8, 5)) for _ in range(count)]

        asking = asyncio.gather(*(keep_asking(50) for _ in range(8)))
        await asyncio.sleep(0.15)
        await asyncio.to_thread(stack.kill, "postgres")
        await asyncio.to_thread(stack.start, "postgres")
        replies = [reply for some in await asking for reply in some]

    assert len({reply.result.transaction_id for reply in replies}) == 400
    await world.pool.expire_connections()
    for _ in range(10):
        try:
            assert await world.balances(chain) == [96_000, 96_800, 98_000]
            break
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await asyncio.sleep(0.2)
    await world.check(chain.root_id)
