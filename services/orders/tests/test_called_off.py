"""Given orders that were called off, then nobody is to pay them any more, whatever dies or comes late."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from farthing.orders.v1 import orders_pb2
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from farthing.wallet.v1 import wallets_pb2
from servicekit.scope import EVERYTHING
from sqlalchemy import text

from .conftest import World, problem_of
from .test_payments import BANK, PROVIDER, SANDBOX, Method, State, cancel, kept, place, read, resolve

FAILED, SETTLED = wallets_pb2.TopUp.STATE_FAILED, wallets_pb2.TopUp.STATE_SETTLED


@pytest.mark.parametrize("method", [BANK, PROVIDER, SANDBOX])
async def test_the_top_up_of_a_canceled_order_is_ended(world: World, method: Method) -> None:
    """Given an order that waits, when its purchaser cancels it, then the job ends its top-up, once."""
    order = await place(world, method)
    await cancel(world, order, world.customer)
    assert await world.paying.resolve_pending() == 1
    assert await world.paying.resolve_pending() == 0
    top_up = world.wallet.top_ups[order.id]
    assert (top_up.state, top_up.failure_reason) == (FAILED, f"Order {order.number} is canceled.")
    assert [(each.request_id, each.id) for each in world.wallet.cancels_asked] == [(order.id, top_up.id)]
    assert await world.event_names() == ["order_placed", "order_canceled"]


async def test_the_top_up_of_an_overdue_order_is_ended(world: World) -> None:
    """Given an order that nobody paid, when its time is over, then its top-up is ended, too."""
    order = await place(world, PROVIDER)
    world.clock.advance(timedelta(minutes=60))
    assert await world.paying.cancel_overdue() == 1
    assert await world.paying.resolve_pending() == 1
    assert world.wallet.top_ups[order.id].state == FAILED


async def test_an_overdue_order_is_in_the_audit_trail(world: World) -> None:
    """Given an order that nobody paid, when its time is over, then the trail says that the service canceled it."""
    order = await place(world, PROVIDER)
    world.clock.advance(timedelta(minutes=60))
    for _ in range(2):
        await world.paying.cancel_overdue()
    query = text(
        "SELECT action, actor_subject, actor_name, actor_organization_id, service, origin, before, after "
        "FROM audit_events WHERE target_id = :id"
    )
    async with world.database.transaction(EVERYTHING) as connection:
        rows = (await connection.execute(query, {"id": order.id})).all()
    before = {"state": "PENDING_PAYMENT"}
    after = {"state": "CANCELED", "reason": "Not paid by 23 November 2026, 13:00 UTC."}
    assert [tuple(row) for row in rows] == [("ORDER_CANCELED", "orders", "", None, "orders", "", before, after)]


@pytest.mark.parametrize("fault", ["error:UNAVAILABLE", "drop", "hang"])
async def test_a_lost_end_is_asked_for_again(world: World, fault: str) -> None:
    """Given a wallet whose answer is lost, when the lease is over, then the top-up is ended by the same question."""
    order = await place(world, PROVIDER)
    await cancel(world, order, world.customer)
    world.wallet.script = [fault]
    assert await world.paying.resolve_pending() == 0
    await resolve(world)
    assert world.wallet.top_ups[order.id].state == FAILED
    first, second = world.wallet.cancels_asked
    assert first == second
    assert await world.paying.resolve_pending() == 0


async def test_a_top_up_of_which_nothing_is_known_is_ended(world: World) -> None:
    """Given a top-up whose answer was lost, when the order is canceled, then it is asked for again and ended."""
    world.wallet.script = ["drop"]
    request = world.purchase()
    request.payment_method = PROVIDER
    problem = await problem_of(world.place(request))
    order = await read(world, orders_pb2.Order(id=problem.metadata["order_id"]))
    await cancel(world, order, world.customer)
    assert await world.paying.resolve_pending() == 0, "whoever asked may still be asking"
    await resolve(world)
    assert world.wallet.top_ups[order.id].state == FAILED
    assert len(world.wallet.top_ups) == 1
    assert (await read(world, order)).payment.top_up_id == world.wallet.top_ups[order.id].id


async def test_a_top_up_that_was_never_made_is_no_more_asked_about(world: World) -> None:
    """Given an order whose seller takes no such payment, when it is canceled first, then the matter is closed."""
    world.wallet.script = ["error:UNAVAILABLE"]
    request = world.purchase()
    request.payment_method = PROVIDER
    problem = await problem_of(world.place(request))
    order = orders_pb2.Order(id=problem.metadata["order_id"], number=problem.metadata["order_number"])
    await cancel(world, order, world.customer)
    world.wallet.script = ["refused:PAYMENT_ACCOUNT_UNUSABLE"]
    await resolve(world)
    assert await world.paying.resolve_pending() == 0
    assert world.wallet.cancels_asked == []


async def test_a_failed_payment_needs_no_end(world: World) -> None:
    """Given an order whose top-up failed, when it is canceled for that, then wallet is not asked to end it."""
    order = await place(world, PROVIDER)
    await world.hear(WalletEvent(top_up_failed=world.wallet.fail(order.id, world.partner.id, "declined")))
    assert (await read(world, order)).state == State.STATE_CANCELED
    assert await world.paying.resolve_pending() == 0
    assert world.wallet.cancels_asked == []


async def test_money_after_the_end_stays_on_the_balance(world: World) -> None:
    """Given an order whose top-up was ended, when its money comes all the same, then it is kept and told, once."""
    order = await place(world)
    await cancel(world, order, world.customer)
    await world.paying.resolve_pending()
    await world.settle(order)
    assert world.wallet.top_ups[order.id].state == SETTLED
    assert await world.paying.resolve_pending() == 1
    assert (await kept(world)).order.id == order.id
    assert world.wallet.released == [world.wallet.top_ups[order.id].hold_id]
    assert await world.event_names() == ["order_placed", "order_canceled", "order_payment_kept"]


async def test_many_replicas_end_each_top_up(world: World) -> None:
    """Given canceled orders, when four replicas look at once, then each top-up is ended, asked once."""
    placed = [await place(world, PROVIDER) for _ in range(6)]
    for order in placed:
        await cancel(world, order, world.reseller)
    # A lease that no slow machine outlives.
    paying = replace(world.paying, lease=timedelta(hours=1))
    while sum(await asyncio.gather(*(paying.resolve_pending() for _ in range(4)))):
        pass
    assert sorted(each.request_id for each in world.wallet.cancels_asked) == sorted(order.id for order in placed)
    assert all(each.state == FAILED for each in world.wallet.top_ups.values())
