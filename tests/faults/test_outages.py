"""Servers that go away and come back, events that come twice, services that stand still."""

import asyncio
import signal

import grpc
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from farthing.documents.v1 import documents_pb2
from farthing.orders.v1 import orders_pb2
from servicekit.testing import eventually

from tests.faults.test_kill import insist
from tests.system.world import MICROS, World, open_shop, reason, tag

PURCHASES = 6


@pytest.mark.parametrize("server", ["kafka", "postgres", "s3", "smtp"])
async def test_a_server_is_killed_and_comes_back_in_the_middle(world: World, server: str) -> None:
    """Given purchases under way, when a server is killed and comes back after some seconds, then every purchase that
    was insisted on is there once, with one receipt and one mail."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    await world.sent_receipt(shop.customer)
    ids = [f"outage-{tag()}" for _ in range(PURCHASES)]

    async def buy(number: int) -> object:
        await asyncio.sleep(number * 0.3)
        return await insist(lambda: world.buy(shop.customer, shop.sku_id, request_id=ids[number], timeout_s=5))

    buying = [asyncio.create_task(buy(number)) for number in range(PURCHASES)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(world.stack.kill, server)
    await asyncio.sleep(3)
    await asyncio.to_thread(world.stack.start, server)
    orders = await asyncio.gather(*buying)

    assert await world.balance_micros(shop.customer) == (100 - 10 * PURCHASES) * MICROS
    for order in orders:
        assert isinstance(order, orders_pb2.Order)
        receipt = await world.sent_receipt(shop.customer, order_id=order.id, timeout_s=90)
        assert len(world.mails(receipt.delivery.message_id)) == 1


async def test_smtp_down_defers_and_then_sends(world: World) -> None:
    """Given SMTP is down, when a customer buys, then the order stands, the delivery says DEFERRED and why; when SMTP is
    back, then the one mail arrives."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    await world.sent_receipt(shop.customer)
    await asyncio.to_thread(world.stack.stop, "smtp")
    try:
        order = await world.buy(shop.customer, shop.sku_id)

        async def deferred() -> bool:
            found = await world.receipts(shop.customer, order_id=order.id)
            return bool(found) and found[0].delivery.state == documents_pb2.Delivery.STATE_DEFERRED

        await eventually(deferred, timeout_s=30)
        [waiting] = await world.receipts(shop.customer, order_id=order.id)
    finally:
        await asyncio.to_thread(world.stack.start, "smtp")
    assert order.state == orders_pb2.Order.STATE_COMPLETED
    assert waiting.delivery.last_error
    receipt = await world.sent_receipt(shop.customer, order_id=order.id, timeout_s=90)
    assert len(world.mails(receipt.delivery.message_id)) == 1


async def test_topics_replayed_twice_change_nothing(world: World) -> None:
    """Given a purchase with its receipt, when every event of both topics is published twice more, then there is still
    one receipt and one mail, and the same balances."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    order = await world.buy(shop.customer, shop.sku_id)
    before = await world.sent_receipt(shop.customer, order_id=order.id)
    count = len(await world.receipts(shop.partner))

    published = 0
    for topic in ("farthing.wallet.v1", "farthing.orders.v1"):
        for _ in range(2):
            published += await _republish(world.env["KAFKA_BOOTSTRAP"], topic)
    assert published > 0
    marker = await world.buy(shop.customer, shop.sku_id)
    await world.sent_receipt(shop.customer, order_id=marker.id, timeout_s=90)

    after = await world.sent_receipt(shop.customer, order_id=order.id)
    assert after == before
    assert len(world.mails(before.delivery.message_id)) == 1
    assert len(await world.receipts(shop.partner)) == count + 1
    assert await world.balance_micros(shop.customer) == 80 * MICROS


async def test_documents_stopped_past_its_session_and_continued(world: World) -> None:
    """Given `documents` stands still (SIGSTOP) past its session, when it goes on, then each receipt and mail is one."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    await world.sent_receipt(shop.customer)
    world.stack.kill("documents", signal.SIGSTOP)
    try:
        orders = [await world.buy(shop.customer, shop.sku_id) for _ in range(3)]
        await asyncio.sleep(5)
    finally:
        world.stack.kill("documents", signal.SIGCONT)
    for order in orders:
        receipt = await world.sent_receipt(shop.customer, order_id=order.id, timeout_s=60)
        assert len(world.mails(receipt.delivery.message_id)) == 1


async def test_two_purchases_race_for_the_last_credit(world: World) -> None:
    """Given credit for one, when ten buy at once, then one wins and nine are refused for want of credit."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 10 * MICROS)
    results = await asyncio.gather(*(world.buy(shop.customer, shop.sku_id) for _ in range(10)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert {reason(error) for error in refused} == {"INSUFFICIENT_CREDIT"}
    assert len(refused) == 9
    assert await world.balance_micros(shop.customer) == 0


async def test_books_hold(world: World, books_hold: object) -> None:
    """Given all those outages, when it is verified, then every invariant holds."""
    assert callable(books_hold)
    books_hold()


async def _republish(bootstrap: str, topic: str) -> int:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    count = 0
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        behind = {partition for partition, end in ends.items() if end > 0}
        async with asyncio.timeout(60):
            while behind:
                for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                    for record in records:
                        if record.offset < ends[partition]:
                            await producer.send_and_wait(
                                topic,
                                record.value,
                                key=record.key,
                                headers=list(record.headers),
                                partition=partition.partition,
                            )
                            count += 1
                    if records[-1].offset >= ends[partition] - 1:
                        behind.discard(partition)
    finally:
        await consumer.stop()
        await producer.stop()
    return count
