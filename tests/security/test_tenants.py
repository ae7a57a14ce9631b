"""Nobody sees a sibling's or a parent's books, whatever they send (mission O2)."""

import time
import uuid
from typing import Any

import grpc
import pytest
from farthing.documents.v1 import documents_pb2
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.wallet.v1 import organizations_pb2, wallets_pb2
from money.messages import money_to_message

from tests.system.world import MICROS, TIMEOUT_S, Shop, World, open_shop, reason, tag


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def bought(world: World) -> tuple[Shop, orders_pb2.Order, documents_pb2.Document]:
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    order = await world.buy(shop.customer, shop.sku_id)
    return shop, order, await world.sent_receipt(shop.customer, order_id=order.id)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


async def test_bad_tokens_are_refused_everywhere(world: World) -> None:
    """Given no token, an expired one, one for another audience, one from another issuer and garbage, when any service
    is called, then it is UNAUTHENTICATED and says nothing else."""
    shop = await open_shop(world)
    org = shop.customer.id
    metadata = [
        [],
        bearer(world.token(org=org, exp=int(time.time()) - 60)),
        bearer(world.token(org=org, aud="somebody-else")),
        bearer(world.token(org=org, iss="https://other.example")),
        bearer("garbage"),
        bearer(world.token(org=org)[:-3] + "abc"),
        [("authorization", "Basic Zm9vOmJhcg==")],
    ]
    for sent in metadata:
        for call in (
            world.orders.ListOrders(orders_pb2.ListOrdersRequest(), metadata=sent, timeout=TIMEOUT_S),
            world.wallets.GetBalance(
                wallets_pb2.GetBalanceRequest(wallet_id=shop.customer.wallet_id), metadata=sent, timeout=TIMEOUT_S
            ),
            world.documents.ListDocuments(documents_pb2.ListDocumentsRequest(), metadata=sent, timeout=TIMEOUT_S),
            world.documents.ListNotices(documents_pb2.ListNoticesRequest(), metadata=sent, timeout=TIMEOUT_S),
        ):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert reason(error) == "UNAUTHENTICATED"


async def test_a_sibling_cannot_tell_foreign_from_missing(world: World) -> None:
    """Given a customer's order, wallet, top-up and receipt, when its sibling asks for them, then the answers are those
    for things that do not exist."""
    shop, order, receipt = await bought(world)
    top_up = await world.top_up(shop.customer, MICROS)
    thief = world.as_(shop.neighbour)
    other = str(uuid.uuid4())

    def asks(order_id: str, wallet_id: str, document_id: str, top_up_id: str, transaction_id: str) -> list[Any]:
        options = {"metadata": thief, "timeout": TIMEOUT_S}
        return [
            world.orders.GetOrder(orders_pb2.GetOrderRequest(id=order_id), **options),
            world.wallets.GetBalance(wallets_pb2.GetBalanceRequest(wallet_id=wallet_id), **options),
            world.wallets.ListEntries(wallets_pb2.ListEntriesRequest(wallet_id=wallet_id), **options),
            world.wallets.ListTopUps(wallets_pb2.ListTopUpsRequest(wallet_id=wallet_id), **options),
            world.wallets.GetTopUp(wallets_pb2.GetTopUpRequest(id=top_up_id), **options),
            world.wallets.GetTransaction(wallets_pb2.GetTransactionRequest(id=transaction_id), **options),
            world.wallets.CreateTopUp(
                wallets_pb2.CreateTopUpRequest(
                    request_id=tag(),
                    wallet_id=wallet_id,
                    amount=money_to_message("USD", MICROS),
                    method=wallets_pb2.TOP_UP_METHOD_SANDBOX,
                ),
                **options,
            ),
            world.documents.GetDocument(documents_pb2.GetDocumentRequest(id=document_id), **options),
            world.documents.CreateDownloadUrl(documents_pb2.CreateDownloadUrlRequest(id=document_id), **options),
        ]

    foreign_ids = (order.id, shop.customer.wallet_id, receipt.id, top_up.id, order.transaction_id)
    foreign = [await refused(call) for call in asks(*foreign_ids)]
    missing = [await refused(call) for call in asks(other, other, other, other, other)]
    for theirs, none, own_id in zip(foreign, missing, range(len(foreign)), strict=True):
        assert theirs.code() is grpc.StatusCode.NOT_FOUND, own_id
        said = theirs.details() or ""
        for known in foreign_ids:
            said = said.replace(known, other)
        assert (said, reason(theirs)) == (none.details(), reason(none))


async def test_a_sibling_cannot_download(world: World) -> None:
    """Given a customer's receipt, when its sibling streams it, then nothing comes."""
    shop, _, receipt = await bought(world)
    pieces = []
    with pytest.raises(grpc.aio.AioRpcError) as error:
        async for piece in world.documents.DownloadDocument(
            documents_pb2.DownloadDocumentRequest(id=receipt.id),
            metadata=world.as_(shop.neighbour),
            timeout=TIMEOUT_S,
        ):
            pieces.append(piece)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert pieces == []


async def test_lists_show_own_and_below_only(world: World) -> None:
    """Given a purchase of a customer, when customer, partner, sibling and another partner list, then the first two see
    the order and the receipt, the others nothing; and nobody below sees the partner's own books."""
    shop, order, receipt = await bought(world)
    other_partner = await world.make("other.example", parent=shop.platform)
    await world.known(other_partner)
    for team, sees in ((shop.customer, True), (shop.partner, True), (shop.neighbour, False), (other_partner, False)):
        orders = await world.orders.ListOrders(
            orders_pb2.ListOrdersRequest(page_size=1000), metadata=world.as_(team), timeout=TIMEOUT_S
        )
        documents = await world.documents.ListDocuments(
            documents_pb2.ListDocumentsRequest(page_size=1000), metadata=world.as_(team), timeout=TIMEOUT_S
        )
        assert (order.id in [found.id for found in orders.orders]) is sees
        assert (receipt.id in [found.id for found in documents.documents]) is sees
    for call in (
        world.wallets.GetBalance(
            wallets_pb2.GetBalanceRequest(wallet_id=shop.partner.wallet_id),
            metadata=world.as_(shop.customer),
            timeout=TIMEOUT_S,
        ),
        world.organizations.GetOrganization(
            organizations_pb2.GetOrganizationRequest(id=shop.partner.id),
            metadata=world.as_(shop.customer),
            timeout=TIMEOUT_S,
        ),
        world.wallets.GetSellerAccounts(
            wallets_pb2.GetSellerAccountsRequest(organization_id=shop.partner.id),
            metadata=world.as_(shop.customer),
            timeout=TIMEOUT_S,
        ),
    ):
        assert (await refused(call)).code() is grpc.StatusCode.NOT_FOUND


async def test_tiers_above_the_caller_are_hidden(world: World) -> None:
    """Given an order, when the customer reads it, then it sees its own tier; the partner sees its revenue and cost."""
    shop, order, _ = await bought(world)
    request = orders_pb2.GetOrderRequest(id=order.id)
    own = await world.orders.GetOrder(request, metadata=world.as_(shop.customer), timeout=TIMEOUT_S)
    seller = await world.orders.GetOrder(request, metadata=world.as_(shop.partner), timeout=TIMEOUT_S)
    assert [tier.buyer_id for tier in own.tiers] == [shop.customer.id]
    assert [tier.buyer_id for tier in seller.tiers] == [shop.partner.id, shop.customer.id]
    transaction = await world.wallets.GetTransaction(
        wallets_pb2.GetTransactionRequest(id=order.transaction_id),
        metadata=world.as_(shop.customer),
        timeout=TIMEOUT_S,
    )
    assert {posting.tier for posting in transaction.postings} == {1}


async def test_page_tokens_of_others_are_refused(world: World) -> None:
    """Given a customer's page token, when it is altered, used by another tenant or with another filter, then it is
    refused as not of this list."""
    shop, _, _ = await bought(world)
    await world.buy(shop.customer, shop.sku_id)
    page = await world.orders.ListOrders(
        orders_pb2.ListOrdersRequest(page_size=1), metadata=world.as_(shop.customer), timeout=TIMEOUT_S
    )
    token = page.next_page_token
    assert token
    flipped = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    filtered = orders_pb2.OrderFilter(type=catalogue_pb2.PRODUCT_TYPE_PACKAGE)
    tries = [
        (orders_pb2.ListOrdersRequest(page_size=1, page_token=flipped), shop.customer),
        (orders_pb2.ListOrdersRequest(page_size=1, page_token="x" * 50), shop.customer),
        (orders_pb2.ListOrdersRequest(page_size=1, page_token=token), shop.neighbour),
        (orders_pb2.ListOrdersRequest(page_size=1, page_token=token, filter=filtered), shop.customer),
    ]
    for request, team in tries:
        error = await refused(world.orders.ListOrders(request, metadata=world.as_(team), timeout=TIMEOUT_S))
        assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_request_ids_do_not_meet_across_tenants(world: World) -> None:
    """Given a customer's request id, when its sibling uses the same one, then it gets an order of its own; when the
    customer uses it with another body, then it is refused."""
    shop = await open_shop(world)
    await world.top_up(shop.customer, 100 * MICROS)
    await world.top_up(shop.neighbour, 100 * MICROS)
    first = await world.buy(shop.customer, shop.sku_id, request_id="the same")
    again = await world.buy(shop.customer, shop.sku_id, request_id="the same")
    other = await world.buy(shop.neighbour, shop.sku_id, request_id="the same")
    error = await refused(world.buy(shop.customer, shop.sku_id, quantity=2, request_id="the same"))
    assert first == again
    assert other.id != first.id
    assert other.organization_id == shop.neighbour.id
    assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert await world.balance_micros(shop.customer) == 90 * MICROS


async def test_members_cannot_do_what_is_the_sellers(world: World) -> None:
    """Given a customer's boss, when it sets its own credit limit, posts a charge, prices its seller's goods or makes an
    organization beside itself, then it is refused."""
    shop = await open_shop(world)
    boss = world.as_(shop.customer)
    calls = [
        world.wallets.SetCreditLimit(
            wallets_pb2.SetCreditLimitRequest(
                request_id=tag(), wallet_id=shop.customer.wallet_id, credit_limit=money_to_message("USD", MICROS)
            ),
            metadata=boss,
            timeout=TIMEOUT_S,
        ),
        world.wallets.PostCharge(
            wallets_pb2.PostChargeRequest(charge=wallets_pb2.Charge(request_id="x", currency="USD")),
            metadata=boss,
            timeout=TIMEOUT_S,
        ),
        world.catalogue.SetPrice(
            catalogue_pb2.SetPriceRequest(
                request_id=tag(), seller_id=shop.partner.id, sku_id=shop.sku_id, unit_price=money_to_message("USD", 1)
            ),
            metadata=boss,
            timeout=TIMEOUT_S,
        ),
        world.organizations.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id=tag(),
                organization=organizations_pb2.Organization(
                    parent_id=shop.partner.id, name="Sibling", domain=f"{tag()}.example", currency="USD", language="en"
                ),
            ),
            metadata=boss,
            timeout=TIMEOUT_S,
        ),
    ]
    for call in calls:
        error = await refused(call)
        assert error.code() in (
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.FAILED_PRECONDITION,
        )
    assert await world.balance_micros(shop.customer) == 0
