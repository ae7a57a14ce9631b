"""kill -9 of orders, wallet and documents at every named point of a purchase's path (design 9)."""

import asyncio

import grpc
import pytest
from farthing.orders.v1 import orders_pb2
from local_stack.stack import Stack
from servicekit.testing import eventually

from tests.system.world import MICROS, World, open_shop, tag

POINTS = [
    "orders.after_place_commit",
    "orders.before_charge",
    "orders.after_charge",
    "orders.before_complete_commit",
    "orders.after_complete_commit",
    "orders.before_publish",
    "orders.after_publish",
    "wallet.before_post_commit",
    "wallet.after_post_commit",
    "wallet.before_publish",
    "wallet.after_publish",
    "documents.before_issue_commit",
    "documents.after_issue_commit",
    "documents.before_put",
    "documents.after_put",
    "documents.before_archive_commit",
    "documents.after_archive_commit",
    "documents.before_data",
    "documents.after_data",
    "documents.after_sent_commit",
]
TOP_UP_POINTS = ["wallet.after_top_up_commit", "wallet.before_settle_commit", "wallet.after_settle_commit"]
PASSING = (
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


async def insist(call: object) -> object:
    """Repeats a call, as a client that got no answer does, until it is answered."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()  # type: ignore[operator]
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
                await asyncio.sleep(0.2)


async def dies(stack: Stack, service: str) -> None:
    await eventually(lambda: stack.pid(service) is None, timeout_s=30)


@pytest.mark.parametrize("point", POINTS)
async def test_a_purchase_survives(world: World, point: str) -> None:
    """Given a service that will be killed at `point`, when a customer buys and insists, then after the restart there is
    one order, one charge, one receipt, one mail."""
    stack, service = world.stack, point.split(".", maxsplit=1)[0]
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    await world.sent_receipt(shop.customer)
    await asyncio.to_thread(stack.restart, service, FARTHING_FAULT=point)
    request_id = f"insist-{tag()}"
    try:
        buying = asyncio.create_task(
            insist(lambda: world.buy(shop.customer, shop.sku_id, request_id=request_id, timeout_s=5))
        )
        await dies(stack, service)
    finally:
        await asyncio.to_thread(stack.restart, service)
    order = await buying

    assert isinstance(order, orders_pb2.Order)
    assert order.state == orders_pb2.Order.STATE_COMPLETED
    assert await world.balance_micros(shop.customer) == 90 * MICROS
    receipt = await world.sent_receipt(shop.customer, order_id=order.id, timeout_s=60)
    assert len(world.mails(receipt.delivery.message_id)) == 1


@pytest.mark.parametrize("point", TOP_UP_POINTS)
async def test_a_top_up_survives(world: World, point: str) -> None:
    """Given a wallet that will be killed at `point`, when a customer tops up and insists, then the money is there once,
    with one receipt."""
    shop = await open_shop(world)
    await asyncio.to_thread(world.stack.restart, "wallet", FARTHING_FAULT=point)
    request_id = f"insist-{tag()}"
    try:
        paying = asyncio.create_task(insist(lambda: world.top_up(shop.customer, 40 * MICROS, request_id=request_id)))
        await dies(world.stack, "wallet")
    finally:
        await asyncio.to_thread(world.stack.restart, "wallet")
    await paying
    await eventually(lambda: _has(world, shop.customer, 40 * MICROS), timeout_s=30)
    receipt = await world.sent_receipt(shop.customer, timeout_s=60)
    assert len(world.mails(receipt.delivery.message_id)) == 1


async def test_books_hold(world: World, books_hold: object) -> None:
    """Given all those deaths, when it is verified, then every invariant holds."""
    assert callable(books_hold)
    books_hold()


async def _has(world: World, team: object, amount_micros: int) -> bool:
    return await world.balance_micros(team) == amount_micros  # type: ignore[arg-type]
