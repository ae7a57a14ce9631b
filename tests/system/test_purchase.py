"""One purchase through the whole house: real services, Kafka, PostgreSQL, S3 and SMTP."""

import asyncio
import hashlib
from datetime import UTC, datetime
from email.message import Message
from io import BytesIO
from itertools import pairwise
from urllib.request import urlopen

import grpc
import pytest
from farthing.documents.v1 import documents_pb2
from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import wallets_pb2
from pypdf import PdfReader

from tests.system.world import MICROS, TIMEOUT_S, World, info, micros, open_shop, reason


def _fetched(url: str) -> bytes:
    with urlopen(url) as response:
        data: bytes = response.read()
        return data


def _pdf(mail: Message) -> bytes:
    [part] = [part for part in mail.walk() if part.get_content_type() == "application/pdf"]
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


async def test_a_purchase_moves_money_at_every_tier_and_its_receipt_reaches_both(world: World) -> None:
    """Given a customer with money and a partner with credit, when the customer buys two at 10.00 + 20 %, then the
    customer pays 24.00, the partner 12.00, the postings sum to zero, and one mail with the archived PDF reaches
    purchaser and boss."""
    shop = await open_shop(world, tax_ppm=200_000)
    before_micros = await world.balance_micros(shop.partner)
    await world.top_up(shop.customer, 100 * MICROS)

    order = await world.buy(shop.customer, shop.sku_id, quantity=2)

    assert order.state == orders_pb2.Order.STATE_COMPLETED
    assert (micros(order.net), micros(order.tax), micros(order.total)) == (20 * MICROS, 4 * MICROS, 24 * MICROS)
    assert await world.balance_micros(shop.customer) == 76 * MICROS
    assert await world.balance_micros(shop.partner) == before_micros - 12 * MICROS
    transaction = await world.wallets.GetTransaction(
        wallets_pb2.GetTransactionRequest(id=order.transaction_id), metadata=world.service(), timeout=TIMEOUT_S
    )
    assert sum(micros(posting.amount) for posting in transaction.postings) == 0
    assert {posting.tier for posting in transaction.postings} == {1, 2}

    receipt = await world.sent_receipt(shop.customer, order_id=order.id)
    assert micros(receipt.total) == 24 * MICROS
    assert set(receipt.delivery.recipients) == {shop.customer.boss_email, shop.customer.buyer_email}
    [mail] = world.mails(receipt.delivery.message_id)
    pdf = _pdf(mail)
    assert hashlib.sha256(pdf).digest() == receipt.sha256
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages)
    assert receipt.number in text
    assert order.number in text


async def test_the_archived_file_is_what_is_downloaded(world: World) -> None:
    """Given an archived receipt, when it is downloaded by stream and by link, then both are the archived bytes."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    order = await world.buy(shop.customer, shop.sku_id)
    receipt = await world.sent_receipt(shop.customer, order_id=order.id)

    request = documents_pb2.DownloadDocumentRequest(id=receipt.id)
    pieces = [
        piece
        async for piece in world.documents.DownloadDocument(
            request, metadata=world.as_(shop.customer, "member"), timeout=TIMEOUT_S
        )
    ]
    link = await world.documents.CreateDownloadUrl(
        documents_pb2.CreateDownloadUrlRequest(id=receipt.id), metadata=world.as_(shop.customer), timeout=TIMEOUT_S
    )

    data = b"".join(piece.data for piece in pieces)
    assert hashlib.sha256(data).digest() == receipt.sha256 == pieces[0].info.sha256
    assert len(data) == receipt.size_bytes
    assert await asyncio.to_thread(_fetched, link.url) == data


async def test_top_up_by_bank_is_confirmed_by_the_seller_and_gets_its_receipt(world: World) -> None:
    """Given a manual top-up, when the customer tries to settle it, then it is refused; when the partner's finance
    settles it, then the money is there and its receipt is mailed."""
    shop = await open_shop(world)
    asked = await world.top_up(shop.customer, 30 * MICROS, method=wallets_pb2.TOP_UP_METHOD_MANUAL)
    assert asked.state == wallets_pb2.TopUp.STATE_PENDING
    settle = wallets_pb2.SettleTopUpRequest(request_id="settle", id=asked.id, bank_reference=f"BANK-{asked.id}")

    with pytest.raises(grpc.aio.AioRpcError) as own:
        await world.wallets.SettleTopUp(settle, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)
    settled = await world.wallets.SettleTopUp(settle, metadata=world.as_(shop.partner, "finance"), timeout=TIMEOUT_S)

    assert own.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert settled.state == wallets_pb2.TopUp.STATE_SETTLED
    assert await world.balance_micros(shop.customer) == 30 * MICROS
    receipt = await world.sent_receipt(shop.customer, top_up_id=asked.id)
    assert len(world.mails(receipt.delivery.message_id)) == 1


async def test_purchaser_who_is_the_boss_gets_one_copy(world: World) -> None:
    """Given a customer whose boss buys, when the receipt is sent, then it names one recipient."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 50 * MICROS)
    request = orders_pb2.PlaceOrderRequest(
        request_id="boss buys", items=[orders_pb2.NewOrderItem(sku_id=shop.sku_id, quantity=1)]
    )
    order = await world.orders.PlaceOrder(request, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)
    receipt = await world.sent_receipt(shop.customer, order_id=order.id)
    assert list(receipt.delivery.recipients) == [shop.customer.boss_email]
    assert len(world.mails(receipt.delivery.message_id)) == 1


async def test_lacking_credit_is_refused_whole_and_says_why(world: World) -> None:
    """Given a customer with 5.00, when it buys for 10.00, then it learns what it has and needs, and nothing moved."""
    shop = await open_shop(world)
    partner_micros = await world.balance_micros(shop.partner)
    await world.top_up(shop.customer, 5 * MICROS)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.buy(shop.customer, shop.sku_id, request_id="too dear")
    with pytest.raises(grpc.aio.AioRpcError) as again:
        await world.buy(shop.customer, shop.sku_id, request_id="too dear")

    assert reason(refused.value) == reason(again.value) == "INSUFFICIENT_CREDIT"
    assert refused.value.details() == again.value.details()
    metadata = info(refused.value).metadata
    assert metadata["wallet_id"] == shop.customer.wallet_id
    assert (metadata["available_micros"], metadata["needed_micros"]) == (str(5 * MICROS), str(10 * MICROS))
    assert await world.balance_micros(shop.customer) == 5 * MICROS
    assert await world.balance_micros(shop.partner) == partner_micros


async def test_a_partner_without_credit_is_not_given_away(world: World) -> None:
    """Given a partner without money, when its customer buys, then the customer learns that it cannot be done now and
    nothing of the partner."""
    shop = await open_shop(world, partner_credit_micros=0)
    await world.top_up(shop.customer, 100 * MICROS)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.buy(shop.customer, shop.sku_id)
    assert reason(refused.value) == "SELLER_CANNOT_SELL"
    said = f"{refused.value.details()} {dict(info(refused.value).metadata)}"
    assert shop.partner.wallet_id not in said
    assert shop.partner.id not in said
    assert "6000000" not in said
    assert await world.balance_micros(shop.customer) == 100 * MICROS


async def test_receipt_numbers_have_no_gap(world: World) -> None:
    """Given eight purchases from one partner, when their receipts are out, then the partner's numbers follow."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 200 * MICROS)
    for _ in range(8):
        await world.buy(shop.customer, shop.sku_id)
    await world.top_up(shop.neighbour, MICROS)
    wanted = {await_.id for await_ in await _orders(world, shop.customer)}
    for order_id in wanted:
        await world.sent_receipt(shop.customer, order_id=order_id)
    await world.sent_receipt(shop.neighbour)
    issued = [document for document in await world.receipts(shop.partner) if document.issuer_id == shop.partner.id]
    numbers = sorted(int(document.number.rsplit("-", 1)[1]) for document in issued)
    assert len(numbers) == 10
    assert all(later - earlier == 1 for earlier, later in pairwise(numbers))
    assert numbers[0] == 1


async def test_balance_as_of_an_instant(world: World) -> None:
    """Given a top-up, an instant, and a purchase, when the balance as of that instant is asked, then it is the one
    between."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    between = datetime.now(UTC)
    await world.buy(shop.customer, shop.sku_id)
    assert await world.balance_micros(shop.customer, as_of=between) == 100 * MICROS
    assert await world.balance_micros(shop.customer) == 90 * MICROS


async def test_books_hold(world: World, books_hold: object) -> None:
    """Given all that these tests did, when it is verified, then every invariant holds."""
    assert callable(books_hold)
    books_hold()


async def _orders(world: World, team: object) -> list[orders_pb2.Order]:
    found = await world.orders.ListOrders(
        orders_pb2.ListOrdersRequest(page_size=100),
        metadata=world.as_(team),  # type: ignore[arg-type]
        timeout=TIMEOUT_S,
    )
    return list(found.orders)
