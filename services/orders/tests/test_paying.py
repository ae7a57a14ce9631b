"""Given a wallet that refuses, hangs or loses its answer, then an order is charged once, and ends completed or not."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.orders.v1 import orders_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from orders.clients import Charged, WalletClient
from orders.domain.cancellations import CANNOT_SELL
from orders.domain.orders import Refusal
from orders.store import orders as store
from orders.store.orders import OrderKey
from prometheus_client import REGISTRY
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.testing import eventually

from .conftest import LEASE, NOON, World, problem_of
from .scripted_wallet import ScriptedWallet

LACKS = orders_pb2.OrderCancellation.CAUSE_INSUFFICIENT_CREDIT
CANNOT = orders_pb2.OrderCancellation.CAUSE_SELLER_CANNOT_SELL
LEASE_OVER_S = LEASE.total_seconds() + 0.05


async def read(world: World, problem: Problem) -> orders_pb2.Order:
    """The order that a problem names, as the purchaser reads it."""
    request = orders_pb2.GetOrderRequest(id=problem.metadata["order_id"])
    order = await world.call(world.customer, "GetOrder", request)
    assert isinstance(order, orders_pb2.Order)
    assert order.number == problem.metadata["order_number"]
    return order


async def test_lacking_credit_of_ones_own_is_told_with_figures(world: World) -> None:
    """Given a customer without credit, when it buys, then it learns its own figures, and the order stands canceled."""
    world.wallet.script = [f"refuse:{world.customer.id}"]
    problem = await problem_of(world.place(world.purchase()))
    assert (problem.code, problem.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDIT")
    assert problem.metadata["available_micros"] == "1230000"
    assert problem.metadata["needed_micros"] == "4560000"
    assert UUID(problem.metadata["wallet_id"])
    order = await read(world, problem)
    assert order.state == orders_pb2.Order.STATE_CANCELED
    assert order.cancel_reason == problem.message
    lacking = order.cancellation
    assert (lacking.cause, lacking.organization_id) == (LACKS, str(world.customer.id))
    assert (lacking.needed.nanos, lacking.available.nanos) == (560_000_000, 230_000_000)
    assert order.transaction_id == ""
    assert await world.event_names() == ["order_placed", "order_canceled"]


async def test_lacking_credit_of_a_seller_is_told_to_nobody_below_it(world: World) -> None:
    """Given a partner without credit, when the customer buys, then no figure, wallet or partner shows anywhere."""
    world.wallet.script = [f"refuse:{world.partner.id}"]
    problem = await problem_of(world.place(world.purchase()))
    assert (problem.reason, problem.message) == ("SELLER_CANNOT_SELL", CANNOT_SELL)
    assert set(problem.metadata) == {"order_id", "order_number"}
    order = await read(world, problem)
    canceled = (await world.events())[-1].order_canceled.order
    assert order.cancel_reason == canceled.cancel_reason == CANNOT_SELL
    for message in (order, canceled):
        assert "1.23" not in str(message)
        assert "4.56" not in str(message)
    assert str(world.partner.id) not in str(order)
    # The reseller between them learns no more; the partner itself does.
    request = orders_pb2.GetOrderRequest(id=order.id)
    assert (await world.call(world.reseller, "GetOrder", request)).cancel_reason == CANNOT_SELL
    assert order.cancellation == orders_pb2.OrderCancellation(cause=CANNOT)
    assert "€4.56 needed" in (await world.call(world.partner, "GetOrder", request)).cancel_reason
    assert "A reseller's wallet" in (await world.call(world.platform, "GetOrder", request)).cancel_reason


async def test_a_repeat_gets_the_same_order(world: World) -> None:
    """Given a completed order, when its request is repeated after a price change, then the answer is the same."""
    request = world.purchase()
    first = await world.place(request)
    world.clock.advance(LEASE)
    await world.price(world.reseller, world.sku_id, 999)
    assert await world.place(request) == first
    assert len(world.wallet.asked) == 1
    assert await world.event_names() == ["order_placed", "order_completed"]


async def test_a_repeat_of_a_refused_order_is_refused_in_the_same_words(world: World) -> None:
    """Given a refused order, when repeated after the credit came, then the same refusal: a new request id is needed."""
    world.wallet.script = [f"refuse:{world.customer.id}"]
    request = world.purchase()
    first, second = await problem_of(world.place(request)), await problem_of(world.place(request))
    assert (first.reason, first.message, first.metadata) == (second.reason, second.message, second.metadata)
    assert len(world.wallet.asked) == 1


async def test_a_request_id_with_another_body_is_refused(world: World) -> None:
    """Given a used request id, when it comes with another quantity, then it is refused and nothing is charged."""
    request = world.purchase()
    await world.place(request)
    request.items[0].quantity = 2
    assert (await problem_of(world.place(request))).reason == "REQUEST_ID_REUSED"
    assert len(world.wallet.asked) == 1


async def test_request_ids_belong_to_their_organization(world: World) -> None:
    """Given one request id, when two organizations use it, then each gets an order of its own."""
    request = world.purchase()
    first, second = await world.place(request), await world.place(request, world.sibling)
    assert first.id != second.id


async def test_a_wallet_that_hangs_leaves_the_order_pending_until_the_job_completes_it(world: World) -> None:
    """Given a wallet that hangs, when ordered, then unavailable; once it answers, the job completes the order, once."""
    world.wallet.script = ["hang"]
    request = world.purchase()
    problem = await problem_of(world.place(request))
    assert problem.code is grpc.StatusCode.UNAVAILABLE
    assert (await read(world, problem)).state == orders_pb2.Order.STATE_PENDING_PAYMENT
    assert await world.paying.resolve_pending() == 0, "the first asker's lease is not over"
    await asyncio.sleep(LEASE_OVER_S)
    assert await world.paying.resolve_pending() == 1
    assert await world.paying.resolve_pending() == 0
    order = await world.place(request)
    assert order.state == orders_pb2.Order.STATE_COMPLETED
    assert order.id == problem.metadata["order_id"]
    assert await world.event_names() == ["order_placed", "order_completed"]


@pytest.mark.parametrize("way", ["job", "repeat"])
async def test_a_lost_answer_is_asked_for_again_and_charged_once(world: World, way: str) -> None:
    """Given a charge whose answer is lost, when the job or a repeat asks again, then it is that one charge."""
    world.wallet.script = ["lose"]
    request = world.purchase()
    problem = await problem_of(world.place(request))
    assert len(world.wallet.posted) == 1
    await asyncio.sleep(LEASE_OVER_S)
    if way == "job":
        await world.paying.resolve_pending()
    order = await world.place(request)
    assert order.state == orders_pb2.Order.STATE_COMPLETED
    assert order.transaction_id == world.wallet.posted[problem.metadata["order_id"]].transaction_id
    assert (len(world.wallet.asked), len(world.wallet.posted)) == (2, 1)
    assert world.wallet.asked[0] == world.wallet.asked[1], "the very same charge is asked for"
    assert await world.event_names() == ["order_placed", "order_completed"]


async def test_the_job_cancels_what_wallet_refuses(world: World) -> None:
    """Given an order whose first question hung, when the second is refused, then it is canceled, with its reason."""
    world.wallet.script = ["hang", f"refuse:{world.reseller.id}"]
    request = world.purchase()
    await problem_of(world.place(request))
    await asyncio.sleep(LEASE_OVER_S)
    assert await world.paying.resolve_pending() == 1
    assert (await problem_of(world.place(request))).reason == "SELLER_CANNOT_SELL"
    assert await world.event_names() == ["order_placed", "order_canceled"]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "NOT_FOUND"])
async def test_an_error_that_wallet_does_not_explain_is_no_refusal(world: World, code: str) -> None:
    """Given an answer that is not wallet's own word, when ordered, then the payment is unknown, not refused."""
    world.wallet.script = [f"error:{code}"]
    problem = await problem_of(world.place(world.purchase()))
    assert problem.reason == "DEPENDENCY_UNAVAILABLE"
    assert (await read(world, problem)).state == orders_pb2.Order.STATE_PENDING_PAYMENT


async def test_a_repeat_waits_for_the_one_that_is_asking(world: World) -> None:
    """Given ten calls with one request id at once, when wallet is slow, then all get the one order, charged once."""
    world.wallet.script = ["slow"]
    request = world.purchase()
    answers = await asyncio.gather(*(world.place(request) for _ in range(8)))
    assert {answer.id for answer in answers} == {answers[0].id}
    assert all(answer.state == orders_pb2.Order.STATE_COMPLETED for answer in answers)
    assert (len(world.wallet.asked), len(world.wallet.posted)) == (1, 1)
    assert await world.event_names() == ["order_placed", "order_completed"]


async def test_jobs_of_many_replicas_ask_once(
    world: World, wallet_channel: tuple[ScriptedWallet, grpc.aio.Channel]
) -> None:
    """Given five pending orders, when four replicas resolve at once, then each order is asked for once more."""
    world.wallet.script = ["hang"] * 5
    requests = [world.purchase() for _ in range(5)]
    await asyncio.gather(*(problem_of(world.place(request)) for request in requests))
    await asyncio.sleep(LEASE_OVER_S)
    # An answer and a lease that no slow machine outlives.
    patient = replace(world.paying, wallet=WalletClient(wallet_channel[1], 30.0), lease=timedelta(hours=1))
    settled = await asyncio.gather(*(patient.resolve_pending() for _ in range(4)))
    assert sum(settled) == 5
    assert len(world.wallet.asked) == 10
    assert (await world.event_names()).count("order_completed") == 5


async def test_the_first_answer_wins_and_writes_one_event(world: World) -> None:
    """Given a pending order, when twice charged and once refused answers race, then one is written, and one event."""
    world.wallet.script = ["hang"]
    problem = await problem_of(world.place(world.purchase()))
    key = OrderKey(world.partner.id, UUID(problem.metadata["order_id"]))
    charged = Charged(uuid4(), NOON)
    answers = [charged, charged, Refusal("INSUFFICIENT_CREDIT", "", world.customer.id, uuid4(), 0, 1)]
    orders = await asyncio.gather(*(world.paying.finish(key, answer) for answer in answers))
    assert len({order.state for order in orders}) == 1
    names = await world.event_names()
    assert names[0] == "order_placed"
    assert len(names) == 2


async def test_the_database_refuses_a_second_end(world: World) -> None:
    """Given a completed order, when it is written as finished again, then no row changes."""
    placed = await world.place(world.purchase())
    key = OrderKey(world.partner.id, UUID(placed.id))
    async with world.database.transaction(EVERYTHING) as connection:
        order = await store.get_order(connection, key)
        assert not await store.finish_order(connection, order)
        assert not await store.lease_order(connection, key, LEASE)


async def test_a_canceled_order_that_is_charged_after_all_raises_an_alarm(world: World) -> None:
    """Given a canceled order, when wallet says that it is charged, then it stays canceled and the alarm counts it."""

    def alarms() -> float:
        return REGISTRY.get_sample_value("farthing_orders_charged_after_cancel_total") or 0.0

    world.wallet.script = [f"refuse:{world.customer.id}"]
    problem = await problem_of(world.place(world.purchase()))
    before = alarms()
    key = OrderKey(world.partner.id, UUID(problem.metadata["order_id"]))
    order = await world.paying.finish(key, Charged(uuid4(), NOON))
    assert order.state == "CANCELED"
    assert alarms() == before + 1
    assert await world.event_names() == ["order_placed", "order_canceled"]


async def test_a_caller_who_leaves_does_not_lose_the_order(world: World) -> None:
    """Given a caller whose call ends while wallet is asked, when the lease is over, then the job completes it."""
    world.wallet.script = ["lose"]
    call = asyncio.ensure_future(world.place(world.purchase()))
    await eventually(lambda: len(world.wallet.posted) == 1)
    call.cancel()
    await asyncio.sleep(LEASE_OVER_S)
    assert await world.paying.resolve_pending() == 1
    assert len(world.wallet.posted) == 1
    assert await world.event_names() == ["order_placed", "order_completed"]


async def test_the_callers_deadline_bounds_the_question(world: World) -> None:
    """Given a caller with no time left, when it orders, then wallet is not waited for; the job resolves it."""
    world.wallet.script = ["slow"]
    with world.customer.calling("PlaceOrder"):
        problem = await problem_of(world.orders.place(world.purchase(), lambda: 0.26))
    assert problem.code is grpc.StatusCode.UNAVAILABLE
    await asyncio.sleep(LEASE_OVER_S)
    assert await world.paying.resolve_pending() == 1


async def test_expiries_keep_their_microseconds(world: World) -> None:
    """Given a proxy that expires at an odd instant, when the order is read back, then it is that microsecond."""
    request = world.purchase()
    expires_at = Timestamp(seconds=1_800_000_000, nanos=123_456_000)
    request.items[0].proxies.append(orders_pb2.Proxy(address="192.0.2.1", port=1, expires_at=expires_at))
    order = await world.place(request)
    assert order.items[0].proxies[0].expires_at == expires_at
