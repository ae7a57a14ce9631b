"""kill -9 of orders and wallet at every named point of a payment from outside, late money, a refund (design 9)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import wallets_pb2
from servicekit.testing import eventually

from tests.faults.test_kill import dies, insist
from tests.system.world import MICROS, TIMEOUT_S, Shop, World, micros, open_shop, tag

# Each waits for orders' lease of ten seconds. Of those that lead to the same state, one is in the short run.
at_length = partial(pytest.param, marks=pytest.mark.slow)
BY_BANK = orders_pb2.PAYMENT_METHOD_BANK_TRANSFER


@asynccontextmanager
async def killed_at(world: World, point: str) -> AsyncIterator[None]:
    """The service of `point` dies there of what the block begins, and is there again after it."""
    service = point.split(".", maxsplit=1)[0]
    await asyncio.to_thread(world.stack.restart, service, FARTHING_FAULT=point)
    try:
        yield
        await dies(world.stack, service)
    finally:
        await asyncio.to_thread(world.stack.restart, service)


async def balances(world: World, shop: Shop) -> tuple[int, int]:
    """What the customer and the partner have, asked until it is answered."""
    found = [await insist(lambda team=team: world.balance_micros(team)) for team in (shop.customer, shop.partner)]
    return found[0], found[1]  # type: ignore[return-value]


def buying(world: World, shop: Shop) -> "asyncio.Task[object]":
    request_id = f"insist-{tag()}"
    return asyncio.create_task(
        insist(
            lambda: world.buy(shop.customer, shop.sku_id, request_id=request_id, timeout_s=5, payment_method=BY_BANK)
        )
    )


@pytest.mark.parametrize("point", [at_length("orders.before_top_up"), "orders.after_top_up"])
async def test_a_payment_survives_its_beginning(world: World, point: str) -> None:
    """Given orders that will be killed at `point`, when a customer orders by bank and insists, then there is one order
    and one top-up, and its money completes it."""
    shop = await open_shop(world)
    async with killed_at(world, point):
        placing = buying(world, shop)
    order = await placing
    assert isinstance(order, orders_pb2.Order)
    await world.settle(shop.partner, order.payment.top_up_id)
    await world.order_in(shop.customer, order.id, orders_pb2.Order.STATE_COMPLETED)
    assert await world.balance_micros(shop.customer) == 0


@pytest.mark.parametrize(
    "point",
    [
        at_length("orders.before_capture"),
        "orders.after_capture",
        at_length("orders.before_complete_commit"),
        "orders.after_complete_commit",
        at_length("wallet.before_capture_commit"),
        "wallet.after_capture_commit",
    ],
)
async def test_a_settled_order_survives(world: World, point: str) -> None:
    """Given a service that will be killed at `point`, when an order is paid by bank, then it is completed once."""
    shop = await open_shop(world)
    order = await world.buy(shop.customer, shop.sku_id, payment_method=BY_BANK)
    async with killed_at(world, point):
        await insist(lambda: world.settle(shop.partner, order.payment.top_up_id))
    await world.order_in(shop.customer, order.id, orders_pb2.Order.STATE_COMPLETED)
    assert await balances(world, shop) == (0, 994 * MICROS)
    receipt = await world.sent_receipt(shop.customer, order_id=order.id, timeout_s=60)
    assert len(world.mails(receipt.delivery.message_id)) == 1


@pytest.mark.parametrize("point", [at_length("orders.before_release"), "orders.after_release"])
async def test_late_money_survives(world: World, point: str) -> None:
    """Given orders that will be killed at `point`, when money of a canceled order arrives, then it is free to spend."""
    shop = await open_shop(world)
    order = await world.buy(shop.customer, shop.sku_id, payment_method=BY_BANK)
    cancel = orders_pb2.CancelOrderRequest(request_id=f"cancel-{tag()}", id=order.id)
    await world.orders.CancelOrder(cancel, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)
    async with killed_at(world, point):
        await world.settle(shop.partner, order.payment.top_up_id)

    async def free_to_spend() -> bool:
        asked = wallets_pb2.GetBalanceRequest(wallet_id=shop.customer.wallet_id)
        found = await world.wallets.GetBalance(asked, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)
        return micros(found.available) == 10 * MICROS

    await eventually(free_to_spend, timeout_s=60)
    assert (await world.order(shop.customer, order.id)).state == orders_pb2.Order.STATE_CANCELED


@pytest.mark.parametrize(
    "point", [at_length("orders.before_end"), "orders.after_end", at_length("wallet.after_cancel_commit")]
)
async def test_the_end_of_a_canceled_orders_top_up_survives(world: World, point: str) -> None:
    """Given a service that will be killed at `point`, when an order is canceled, then its top-up fails, for good."""
    shop = await open_shop(world)
    order = await world.buy(shop.customer, shop.sku_id, payment_method=BY_BANK)
    cancel = orders_pb2.CancelOrderRequest(request_id=f"cancel-{tag()}", id=order.id)
    async with killed_at(world, point):
        await insist(lambda: world.orders.CancelOrder(cancel, metadata=world.as_(shop.customer), timeout=TIMEOUT_S))

    async def failed() -> bool:
        asked = wallets_pb2.GetTopUpRequest(id=order.payment.top_up_id)
        found = await world.wallets.GetTopUp(asked, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)
        return bool(found.state == wallets_pb2.TopUp.STATE_FAILED)

    await eventually(failed, timeout_s=60)
    assert (await world.order(shop.customer, order.id)).state == orders_pb2.Order.STATE_CANCELED


@pytest.mark.parametrize(
    "point",
    [
        at_length("orders.after_refund_commit"),
        at_length("orders.before_refund"),
        "orders.after_refund",
        "orders.before_refunded_commit",
        at_length("wallet.before_refund_commit"),
        "wallet.after_refund_commit",
    ],
)
async def test_a_refund_survives(world: World, point: str) -> None:
    """Given a service that will be killed at `point`, when the seller refunds and insists, then it is done once."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 50 * MICROS)
    order = await world.buy(shop.customer, shop.sku_id, quantity=2)
    wanted = orders_pb2.RefundOrderRequest(
        request_id=f"refund-{tag()}",
        id=order.id,
        lines=[orders_pb2.RefundLine(position=1, quantity=1)],
        reason="does not work",
    )
    async with killed_at(world, point):
        refunding = asyncio.create_task(
            insist(lambda: world.orders.RefundOrder(wanted, metadata=world.as_(shop.partner), timeout=5))
        )
    refund = await refunding
    assert isinstance(refund, orders_pb2.Refund)
    assert (refund.state, micros(refund.total)) == (orders_pb2.Refund.STATE_POSTED, 10 * MICROS)
    assert await balances(world, shop) == (40 * MICROS, 994 * MICROS)
    assert (await world.order(shop.customer, order.id)).state == orders_pb2.Order.STATE_PARTLY_REFUNDED


async def test_books_hold(world: World, books_hold: object) -> None:
    """Given all those deaths, when it is verified, then every invariant holds."""
    assert callable(books_hold)
    books_hold()
