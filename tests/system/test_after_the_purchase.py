"""Money from outside, money back, vouchers, cloud phones and their mails, through real services and servers."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from farthing.orders.v1 import orders_pb2
from farthing.usage.events.v1 import events_pb2
from farthing.wallet.v1 import vouchers_pb2, wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from money.messages import money_to_message
from servicekit import outbox
from servicekit.database import Database
from servicekit.scope import EVERYTHING
from servicekit.testing import eventually

from tests.system.world import MICROS, TIMEOUT_S, Shop, Team, World, micros, open_shop, reason, tag

BY_BANK = orders_pb2.PAYMENT_METHOD_BANK_TRANSFER
BY_CARD = orders_pb2.PAYMENT_METHOD_SANDBOX


async def subjects(world: World, mailbox: str) -> list[str]:
    """What a mailbox was told, apart from receipts."""
    mails = await asyncio.to_thread(world.mails_to, mailbox)
    return [str(mail["Subject"]) for mail in mails if mail.get_content_type() != "multipart/mixed"]


async def told(world: World, mailbox: str, count: int) -> list[str]:
    """The notices of a mailbox once there are `count`."""

    async def there() -> bool:
        return len(await subjects(world, mailbox)) >= count

    await eventually(there, timeout_s=30, every_s=0.2)
    return await subjects(world, mailbox)


async def test_money_from_outside_completes_its_order(world: World, books_hold: Callable[[], None]) -> None:
    """Given an order to be paid by bank, When the seller's finance confirms the money, Then the order is completed, the
    balance is as before, and purchaser and boss get the receipts of order and top-up."""
    shop = await open_shop(world)
    placed = await world.buy(shop.customer, shop.sku_id, payment_method=BY_BANK)
    assert placed.state == orders_pb2.Order.STATE_PENDING_PAYMENT
    assert placed.payment.top_up_id
    assert placed.payment.due_at.seconds > placed.created_at.seconds

    await world.settle(shop.partner, placed.payment.top_up_id)
    paid = await world.order_in(shop.customer, placed.id, orders_pb2.Order.STATE_COMPLETED)

    assert paid.payment.received_at.seconds
    assert await world.balance_micros(shop.customer) == 0
    await world.sent_receipt(shop.customer, order_id=paid.id)
    await world.sent_receipt(shop.customer, top_up_id=placed.payment.top_up_id)
    books_hold()


async def test_money_that_comes_after_the_cancellation_stays(world: World, books_hold: Callable[[], None]) -> None:
    """Given an order by bank that its buyer cancels, When the money arrives all the same, Then it is on the balance,
    free to spend, the order stays canceled, and both sides are told."""
    shop = await open_shop(world)
    placed = await world.buy(shop.customer, shop.sku_id, payment_method=BY_BANK)
    canceled = await world.orders.CancelOrder(
        orders_pb2.CancelOrderRequest(request_id=tag(), id=placed.number, reason="No longer needed"),
        metadata=world.as_(shop.customer),
        timeout=TIMEOUT_S,
    )
    assert canceled.state == orders_pb2.Order.STATE_CANCELED

    await world.settle(shop.partner, placed.payment.top_up_id)

    async def free() -> bool:
        found = await world.wallets.GetBalance(
            wallets_pb2.GetBalanceRequest(wallet_id=shop.customer.wallet_id),
            metadata=world.as_(shop.customer),
            timeout=TIMEOUT_S,
        )
        return micros(found.total) == micros(found.available) == 10 * MICROS

    await eventually(free, timeout_s=30, every_s=0.1)
    assert (await world.order(shop.customer, placed.id)).state == orders_pb2.Order.STATE_CANCELED
    assert len(await told(world, shop.customer.boss_email, 2)) == 2, "canceled, and the money kept"
    assert await told(world, shop.partner.boss_email, 1)
    books_hold()


async def test_money_arrives_but_the_seller_cannot_buy(world: World, books_hold: Callable[[], None]) -> None:
    """Given a partner without credit, When the money for its customer's order arrives, Then the order is canceled, the
    money stays on the customer's balance, and nothing above was charged."""
    shop = await open_shop(world, partner_credit_micros=0)
    placed = await world.buy(shop.customer, shop.sku_id, payment_method=BY_BANK)

    await world.settle(shop.partner, placed.payment.top_up_id)
    canceled = await world.order_in(shop.customer, placed.id, orders_pb2.Order.STATE_CANCELED)

    assert canceled.cancel_reason
    assert "credit" not in canceled.cancel_reason, "its seller's books are its seller's"
    assert await world.balance_micros(shop.customer) == 10 * MICROS
    assert await world.balance_micros(shop.partner) == 0
    books_hold()


async def test_each_end_of_an_order_is_one_mail_in_its_readers_language(
    world: World, books_hold: Callable[[], None]
) -> None:
    """Given a French customer whose orders are declined, called off by their seller, and paid for where the partner
    cannot buy, When they have ended, Then of each it has one mail, which says why in French, and what people wrote."""
    shop = await open_shop(world, partner_credit_micros=0, language="fr")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.buy(shop.customer, shop.sku_id, payment_method=BY_CARD, payment_token="sandbox_declined")
    assert reason(refused.value) == "PAYMENT_REFUSED"
    called_off, paid = [await world.buy(shop.customer, shop.sku_id, payment_method=BY_BANK) for _ in range(2)]
    await world.orders.CancelOrder(
        orders_pb2.CancelOrderRequest(request_id=tag(), id=called_off.id, reason="Rupture de stock"),
        metadata=world.as_(shop.partner),
        timeout=TIMEOUT_S,
    )
    await world.settle(shop.partner, paid.payment.top_up_id)

    await told(world, shop.customer.boss_email, 3)
    books_hold()
    mails = [
        " ".join(str(mail.get_payload(0).get_payload(decode=True), "utf-8").split())
        for mail in await asyncio.to_thread(world.mails_to, shop.customer.boss_email)
        if mail.get_content_type() != "multipart/mixed"
    ]
    assert len(mails) == 3
    for said in (
        "Motif : le paiement a été refusé.",
        "Motif : le vendeur a annulé la commande. Remarque : Rupture de stock",
        "Motif : votre vendeur ne peut pas vendre ceci pour le moment.",
    ):
        assert sum(said in mail for mail in mails) == 1, f"{said} in {mails}"


async def test_a_refund_goes_back_through_every_tier(world: World, books_hold: Callable[[], None]) -> None:
    """Given an order of three at 10.00 + 20 %, When one and then the rest are given back, Then customer and partner
    have what they had, the order is refunded, and one refund more is refused."""
    shop = await open_shop(world, tax_ppm=200_000)
    await world.top_up(shop.customer, 100 * MICROS)
    before = await world.balance_micros(shop.partner)
    order = await world.buy(shop.customer, shop.sku_id, quantity=3)

    one = await refund(world, shop, order, lines=[orders_pb2.RefundLine(position=1, quantity=1)])
    assert (micros(one.net), micros(one.tax), micros(one.total)) == (10 * MICROS, 2 * MICROS, 12 * MICROS)
    partly = await world.order(shop.customer, order.id)
    assert partly.state == orders_pb2.Order.STATE_PARTLY_REFUNDED
    assert await world.balance_micros(shop.customer) == 76 * MICROS
    assert await world.balance_micros(shop.partner) == before - 12 * MICROS

    await refund(world, shop, order)
    assert (await world.order(shop.customer, order.id)).state == orders_pb2.Order.STATE_REFUNDED
    assert await world.balance_micros(shop.customer) == 100 * MICROS
    assert await world.balance_micros(shop.partner) == before
    with pytest.raises(grpc.aio.AioRpcError) as again:
        await refund(world, shop, order)
    assert again.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.aio.AioRpcError) as own:
        await world.orders.RefundOrder(
            orders_pb2.RefundOrderRequest(request_id=tag(), id=order.id, reason="mine"),
            metadata=world.as_(shop.customer),
            timeout=TIMEOUT_S,
        )
    assert own.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert len(await told(world, shop.customer.buyer_email, 2)) == 2
    books_hold()


async def refund(world: World, shop: Shop, order: orders_pb2.Order, **fields: object) -> orders_pb2.Refund:
    request = orders_pb2.RefundOrderRequest(request_id=tag(), id=order.id, reason="It did not work", **fields)
    done = await world.orders.RefundOrder(request, metadata=world.as_(shop.partner, "finance"), timeout=TIMEOUT_S)
    assert done.state == orders_pb2.Refund.STATE_POSTED
    return done


async def test_a_voucher_is_used_once_and_gets_a_receipt(world: World, books_hold: Callable[[], None]) -> None:
    """Given a lot of vouchers of the partner, When its two customers race for one code, Then one of them has the money
    and a receipt, and the other is refused."""
    shop = await open_shop(world)
    finance = world.as_(shop.partner, "finance")
    lot = await world.vouchers.CreateVoucherLot(
        vouchers_pb2.CreateVoucherLotRequest(
            request_id=tag(),
            seller_id=shop.partner.id,
            name="Welcome",
            amount=money_to_message("USD", 5 * MICROS),
            count=2,
            expires_at=_in(timedelta(days=1)),
        ),
        metadata=finance,
        timeout=TIMEOUT_S,
    )
    asked = vouchers_pb2.ExportVoucherCodesRequest(lot_id=lot.id)
    codes = [
        each.code
        async for reply in world.vouchers.ExportVoucherCodes(asked, metadata=finance, timeout=TIMEOUT_S)
        for each in reply.codes
    ]
    assert len(set(codes)) == 2

    async def redeem(team: Team) -> wallets_pb2.TopUp | str:
        request = vouchers_pb2.RedeemVoucherRequest(request_id=tag(), wallet_id=team.wallet_id, code=codes[0].lower())
        try:
            return await world.vouchers.RedeemVoucher(request, metadata=world.as_(team, "member"), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return reason(error)

    answers = await asyncio.gather(*(redeem(team) for team in (shop.customer, shop.neighbour)))
    won = [answer for answer in answers if not isinstance(answer, str)]
    assert len(won) == 1
    assert [answer for answer in answers if isinstance(answer, str)] == ["VOUCHER_NOT_VALID"]
    winner = shop.customer if won[0].wallet_id == shop.customer.wallet_id else shop.neighbour
    assert await world.balance_micros(winner) == 5 * MICROS
    await world.sent_receipt(winner, top_up_id=won[0].id)
    books_hold()


async def test_a_cloud_phone_is_an_order_that_runs(world: World, books_hold: Callable[[], None]) -> None:
    """Given a phone's events, power-down before its last fee, When they arrive, Then one order has both fees, is found
    by the phone's id, and is complete."""
    shop = await open_shop(world)
    phone, order_id, started = f"phone-{tag()}", str(uuid.uuid4()), datetime.now(UTC)
    session = events_pb2.PhoneSession(
        root_id=shop.partner.id,
        order_id=order_id,
        order_number=f"FA-{started:%y%m%d}-{uuid.uuid4().hex[:8].upper()}",
        organization_id=shop.customer.id,
        seller_id=shop.partner.id,
        cloud_phone_id=phone,
        cloud_phone_name="Pixel in Frankfurt",
        product_id=str(uuid.uuid4()),
        product_name="Cloud phone",
        sku_id=shop.sku_id,
        sku_code="cloud-phone-hour",
        sku_name="per hour",
        currency="USD",
        user_subject="u1",
        user_name="Bea Buyer",
        user_email=shop.customer.buyer_email,
        powered_up_at=_at(started),
    )

    def fee(number: int) -> events_pb2.UsageEvent:
        begin = started + timedelta(hours=number)
        charged = events_pb2.RunningFeeCharged(
            session=session,
            fee_id=str(uuid.uuid4()),
            period_from=_at(begin),
            period_to=_at(begin + timedelta(hours=1)),
            tiers=[
                wallets_pb2.ChargeTier(buyer_id=shop.customer.id, seller_id=shop.partner.id, net_micros=100_001),
                wallets_pb2.ChargeTier(buyer_id=shop.partner.id, seller_id=shop.platform.id, net_micros=60_000),
            ],
            transaction_id=str(uuid.uuid4()),
            charged_at=_at(begin + timedelta(hours=1)),
        )
        return events_pb2.UsageEvent(running_fee_charged=charged)

    first, second = fee(0), fee(1)
    down = events_pb2.PhonePoweredDown(session=session, powered_down_at=_at(started + timedelta(hours=2)))
    up = events_pb2.UsageEvent(phone_powered_up=events_pb2.PhonePoweredUp(session=session))
    await publish(world, shop, up, first, events_pb2.UsageEvent(phone_powered_down=down), second, second)
    order = await world.order_in(shop.customer, order_id, orders_pb2.Order.STATE_COMPLETED)

    async def both() -> bool:
        return (await world.order(shop.customer, order_id)).cloud_phone.fee_count == 2

    await eventually(both, timeout_s=20)
    order = await world.order(shop.customer, order_id)
    assert micros(order.total) == 200_002
    fees = await world.orders.ListRunningFees(
        orders_pb2.ListRunningFeesRequest(order_id=order.number), metadata=world.as_(shop.customer), timeout=TIMEOUT_S
    )
    assert [micros(each.net) for each in fees.fees] == [100_001, 100_001]
    found = await world.orders.ListOrders(
        orders_pb2.ListOrdersRequest(filter=orders_pb2.OrderFilter(cloud_phone_id=phone)),
        metadata=world.as_(shop.customer),
        timeout=TIMEOUT_S,
    )
    assert [each.id for each in found.orders] == [order_id]
    seen = await world.order(shop.partner, order_id)
    assert micros(seen.margin.margin) == 2 * (100_001 - 60_000)
    books_hold()


async def publish(world: World, shop: Shop, *events: events_pb2.UsageEvent) -> None:
    """As usage would, in this order; each has an id of its own, even where it says the same."""
    database = Database(world.env["USAGE_DATABASE_URL"], pool_size=1)
    root_id, key = uuid.UUID(shop.partner.id), uuid.UUID(shop.customer.id)
    try:
        async with database.transaction(EVERYTHING) as connection:
            await outbox.add(
                connection, [outbox.OutboxEvent(root_id, "farthing.usage.v1", key, event) for event in events]
            )
    finally:
        await database.close()


def _in(delta: timedelta) -> Timestamp:
    return _at(datetime.now(UTC) + delta)


def _at(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message
