"""Orders paid from outside, called off, and given back, through the whole house."""

import grpc
import pytest
from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import wallets_pb2
from servicekit.testing import eventually

from tests.system.world import MICROS, TIMEOUT_S, Shop, World, micros, money, open_shop, reason, tag

State = orders_pb2.Order


async def place(
    world: World, shop: Shop, method: orders_pb2.PaymentMethod.ValueType, quantity: int = 1
) -> orders_pb2.Order:
    request = orders_pb2.PlaceOrderRequest(
        request_id=f"place-{tag()}",
        items=[orders_pb2.NewOrderItem(sku_id=shop.sku_id, quantity=quantity)],
        payment_method=method,
    )
    return await world.orders.PlaceOrder(request, metadata=world.as_(shop.customer, "member"), timeout=TIMEOUT_S)


async def read(world: World, shop: Shop, order: orders_pb2.Order) -> orders_pb2.Order:
    request = orders_pb2.GetOrderRequest(id=order.id)
    return await world.orders.GetOrder(request, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)


async def becomes(world: World, shop: Shop, order: orders_pb2.Order, state: int) -> orders_pb2.Order:
    async def there() -> bool:
        return (await read(world, shop, order)).state == state

    await eventually(there, timeout_s=30)
    return await read(world, shop, order)


async def settle(world: World, shop: Shop, order: orders_pb2.Order) -> None:
    """The partner's finance finds the money in its bank account."""
    request = wallets_pb2.SettleTopUpRequest(
        request_id=f"settle-{tag()}", id=order.payment.top_up_id, bank_reference=f"BANK-{order.number}"
    )
    await world.wallets.SettleTopUp(request, metadata=world.as_(shop.partner, "finance"), timeout=TIMEOUT_S)


async def refund(world: World, shop: Shop, order: orders_pb2.Order, **line: object) -> orders_pb2.Refund:
    lines = [orders_pb2.RefundLine(position=1, **line)] if line else []
    request = orders_pb2.RefundOrderRequest(
        request_id=f"refund-{tag()}", id=order.number, lines=lines, reason="does not work"
    )
    return await world.orders.RefundOrder(request, metadata=world.as_(shop.partner, "finance"), timeout=TIMEOUT_S)


async def test_a_sandbox_payment_completes_the_order(world: World) -> None:
    """Given a customer without money, when it orders and pays in the sandbox, then the order is completed from what
    arrived, nothing is left over, and there is a receipt for each of the two."""
    shop = await open_shop(world, tax_ppm=200_000)
    partner_micros = await world.balance_micros(shop.partner)

    placed = await place(world, shop, orders_pb2.PAYMENT_METHOD_SANDBOX)
    order = await becomes(world, shop, placed, State.STATE_COMPLETED)

    assert order.payment.HasField("received_at")
    assert await world.balance_micros(shop.customer) == 0
    assert await world.balance_micros(shop.partner) == partner_micros - 6 * MICROS
    receipt = await world.sent_receipt(shop.customer, order_id=order.id)
    assert micros(receipt.total) == 12 * MICROS
    await world.sent_receipt(shop.customer, top_up_id=order.payment.top_up_id)


async def test_a_bank_transfer_completes_the_order_when_finance_confirms_it(world: World) -> None:
    """Given an order by bank transfer, when the partner's finance confirms the money, then it is completed."""
    shop = await open_shop(world)
    placed = await place(world, shop, orders_pb2.PAYMENT_METHOD_BANK_TRANSFER)
    assert (placed.state, bool(placed.payment.top_up_id)) == (State.STATE_PENDING_PAYMENT, True)
    await settle(world, shop, placed)
    await becomes(world, shop, placed, State.STATE_COMPLETED)
    assert await world.balance_micros(shop.customer) == 0


async def test_late_money_of_a_canceled_order_stays_on_the_balance(world: World) -> None:
    """Given a canceled order, when its money arrives after all, then it is the customer's, to spend on the next one."""
    shop = await open_shop(world)
    placed = await place(world, shop, orders_pb2.PAYMENT_METHOD_BANK_TRANSFER)
    cancel = orders_pb2.CancelOrderRequest(request_id=f"cancel-{tag()}", id=placed.number, reason="too slow")
    await world.orders.CancelOrder(cancel, metadata=world.as_(shop.customer, "member"), timeout=TIMEOUT_S)
    await settle(world, shop, placed)

    async def free_again() -> bool:
        request = wallets_pb2.GetBalanceRequest(wallet_id=shop.customer.wallet_id)
        found = await world.wallets.GetBalance(request, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)
        return micros(found.available) == 10 * MICROS

    await eventually(free_again, timeout_s=30)
    assert (await read(world, shop, placed)).state == State.STATE_CANCELED
    assert (await world.buy(shop.customer, shop.sku_id)).state == State.STATE_COMPLETED


async def test_money_that_arrives_when_the_partner_cannot_buy_stays_on_the_balance(world: World) -> None:
    """Given a partner whose money is spent, when its customer's arrives, then the order is canceled, the money kept."""
    shop = await open_shop(world)
    placed = await place(world, shop, orders_pb2.PAYMENT_METHOD_BANK_TRANSFER)
    await world.price(shop.platform, shop.sku_id, 1_000_000 * MICROS)
    dear = await place(world, shop, orders_pb2.PAYMENT_METHOD_BANK_TRANSFER)
    await settle(world, shop, dear)
    canceled = await becomes(world, shop, dear, State.STATE_CANCELED)
    assert "on the purchaser's balance" in canceled.cancel_reason
    await settle(world, shop, placed)
    await becomes(world, shop, placed, State.STATE_COMPLETED)
    assert await world.balance_micros(shop.customer) == 10 * MICROS


async def test_refunds_go_back_through_the_tiers(world: World) -> None:
    """Given three units at 10.00 + 20 %, when one, then 1.00, then the rest are given back, then all is as before."""
    shop = await open_shop(world, tax_ppm=200_000)
    await world.top_up(shop.customer, 100 * MICROS)
    partner_micros = await world.balance_micros(shop.partner)
    order = await world.buy(shop.customer, shop.sku_id, quantity=3)

    one = await refund(world, shop, order, quantity=1)
    assert (one.state, micros(one.total)) == (orders_pb2.Refund.STATE_POSTED, 12 * MICROS)
    assert await world.balance_micros(shop.customer) == 76 * MICROS
    assert await world.balance_micros(shop.partner) == partner_micros - 12 * MICROS
    await refund(world, shop, order, amount=money("USD", MICROS))
    assert (await read(world, shop, order)).state == State.STATE_PARTLY_REFUNDED
    await refund(world, shop, order)

    assert (await read(world, shop, order)).state == State.STATE_REFUNDED
    assert await world.balance_micros(shop.customer) == 100 * MICROS
    assert await world.balance_micros(shop.partner) == partner_micros
    with pytest.raises(grpc.aio.AioRpcError) as nothing:
        await refund(world, shop, order)
    assert reason(nothing.value) == "NOTHING_TO_REFUND"


async def test_books_hold(world: World, books_hold: object) -> None:
    """Given all of that, when it is verified, then every invariant holds."""
    assert callable(books_hold)
    books_hold()
