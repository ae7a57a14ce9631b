"""The two gRPC services. Reads go to the store with the caller's scope; changes to the commands."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from farthing.orders.v1 import catalogue_pb2, catalogue_pb2_grpc, orders_pb2, orders_pb2_grpc
from google.protobuf.message import Message
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.ids import parse_id
from servicekit.paging import Cursor, Pager, page_size
from servicekit.problems import invalid, not_found
from servicekit.scope import EVERYTHING

from orders.commands.catalogue import Catalogue
from orders.commands.inputs import instant_in
from orders.commands.orders import Orders
from orders.commands.placing import find_chain
from orders.convert import (
    offer_to_message,
    order_state_from_number,
    order_to_message,
    price_to_message,
    product_to_message,
    product_type_from_number,
    tax_to_message,
)
from orders.domain.numbers import parse_order_number
from orders.store import catalogue as catalogue_store
from orders.store import orders as order_store
from orders.store.orders import OrderFilter

# Untyped on purpose: the types in grpc's stubs lack what the library has.
Context = Any
PAGE_BYTES = 2_000_000
Row = TypeVar("Row")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Reads:
    """What reading needs."""

    database: Database
    clock: Clock
    pager: Pager

    def page(
        self,
        found: list[Row],
        size: int,
        to_message: Callable[[Row], M],
        place: Callable[[Row], Cursor],
        bound_to: Message | str = "",
    ) -> tuple[list[M], str]:
        """A page of what was found, with one row more than a page holds; and the token of the next page, or "".

        `place` is where a row stands in the list. A page ends early where it would grow past what a gRPC message
        should hold.
        """
        messages: list[M] = []
        size_bytes = 0
        for row in found[:size]:
            message = to_message(row)
            size_bytes += message.ByteSize()
            if messages and size_bytes > PAGE_BYTES:
                break
            messages.append(message)
        if len(messages) == len(found):
            return messages, ""
        return messages, self.pager.encode(place(found[len(messages) - 1]), bound_to=bound_to)


class CatalogueRpc(catalogue_pb2_grpc.CatalogueServiceServicer):
    """farthing.orders.v1.CatalogueService."""

    def __init__(self, catalogue: Catalogue, reads: Reads) -> None:
        self._catalogue, self._reads = catalogue, reads

    async def CreateProduct(
        self, request: catalogue_pb2.CreateProductRequest, context: Context
    ) -> catalogue_pb2.Product:
        return await self._catalogue.create_product(request)

    async def CreateSku(self, request: catalogue_pb2.CreateSkuRequest, context: Context) -> catalogue_pb2.Sku:
        return await self._catalogue.create_sku(request)

    async def SetPrice(self, request: catalogue_pb2.SetPriceRequest, context: Context) -> catalogue_pb2.Price:
        return await self._catalogue.set_price(request)

    async def SetTax(self, request: catalogue_pb2.SetTaxRequest, context: Context) -> catalogue_pb2.Tax:
        return await self._catalogue.set_tax(request)

    async def ListProducts(
        self, request: catalogue_pb2.ListProductsRequest, context: Context
    ) -> catalogue_pb2.ListProductsResponse:
        size = page_size(request.page_size)
        cursor = self._reads.pager.decode(request.page_token)
        after = (cursor["name"], UUID(cursor["id"])) if cursor else None
        async with self._reads.database.transaction(current_call().scope) as connection:
            found = await catalogue_store.list_products(connection, after, size + 1)
        products, token = self._reads.page(
            found, size, product_to_message, lambda product: {"name": product.name, "id": str(product.id)}
        )
        return catalogue_pb2.ListProductsResponse(products=products, next_page_token=token)

    async def ListPrices(
        self, request: catalogue_pb2.ListPricesRequest, context: Context
    ) -> catalogue_pb2.ListPricesResponse:
        size, filter_ = page_size(request.page_size), _without_page(request)
        cursor = self._reads.pager.decode(request.page_token, bound_to=filter_)
        scope = current_call().scope
        async with self._reads.database.transaction(scope) as connection:
            found = await catalogue_store.list_prices(
                connection,
                scope,
                UUID(request.seller_id),
                valid_at=instant_in(request, "valid_at"),
                after=UUID(cursor["id"]) if cursor else None,
                count=size + 1,
            )
        prices, token = self._reads.page(found, size, price_to_message, lambda price: {"id": str(price.id)}, filter_)
        return catalogue_pb2.ListPricesResponse(prices=prices, next_page_token=token)

    async def ListTaxes(
        self, request: catalogue_pb2.ListTaxesRequest, context: Context
    ) -> catalogue_pb2.ListTaxesResponse:
        size, filter_ = page_size(request.page_size), _without_page(request)
        cursor = self._reads.pager.decode(request.page_token, bound_to=filter_)
        scope = current_call().scope
        async with self._reads.database.transaction(scope) as connection:
            found = await catalogue_store.list_taxes(
                connection,
                scope,
                UUID(request.seller_id),
                after=UUID(cursor["id"]) if cursor else None,
                count=size + 1,
            )
        taxes, token = self._reads.page(found, size, tax_to_message, lambda tax: {"id": str(tax.id)}, filter_)
        return catalogue_pb2.ListTaxesResponse(taxes=taxes, next_page_token=token)

    async def ListOffers(
        self, request: catalogue_pb2.ListOffersRequest, context: Context
    ) -> catalogue_pb2.ListOffersResponse:
        buyer_id = current_call().principal.organization_id
        if buyer_id is None:
            raise invalid("Offers are made to organizations: call with the token of a member.")
        size = page_size(request.page_size)
        cursor = self._reads.pager.decode(request.page_token)
        after = (cursor["product"], cursor["code"], UUID(cursor["id"])) if cursor else None
        # The chain's prices decide what is offered, and nobody sees its seller's.
        async with self._reads.database.transaction(EVERYTHING) as connection:
            chain = await find_chain(connection, buyer_id)
            if chain is None:
                return catalogue_pb2.ListOffersResponse()
            now = self._reads.clock.now()
            found = await catalogue_store.list_offers(connection, chain, now, after, size + 1)
        offers, token = self._reads.page(
            found,
            size,
            offer_to_message,
            lambda offer: {"product": offer.product.name, "code": offer.sku.code, "id": str(offer.sku.id)},
        )
        return catalogue_pb2.ListOffersResponse(offers=offers, next_page_token=token)


class OrderRpc(orders_pb2_grpc.OrderServiceServicer):
    """farthing.orders.v1.OrderService."""

    def __init__(self, orders: Orders, reads: Reads) -> None:
        self._orders, self._reads = orders, reads

    async def PlaceOrder(self, request: orders_pb2.PlaceOrderRequest, context: Context) -> orders_pb2.Order:
        order = await self._orders.place(request, context.time_remaining)
        return order_to_message(order, order.organization_id)

    async def GetOrder(self, request: orders_pb2.GetOrderRequest, context: Context) -> orders_pb2.Order:
        call = current_call()
        order_id, number = parse_id(request.id.strip()), parse_order_number(request.id)
        order = None
        if order_id is not None or number is not None:
            async with self._reads.database.transaction(call.scope) as connection:
                order = await order_store.find_order(connection, call.scope, order_id=order_id, number=number)
        if order is None:
            raise not_found(f"order '{request.id}'")
        return order_to_message(order, call.principal.organization_id)

    async def ListOrders(
        self, request: orders_pb2.ListOrdersRequest, context: Context
    ) -> orders_pb2.ListOrdersResponse:
        call = current_call()
        size = page_size(request.page_size)
        cursor = self._reads.pager.decode(request.page_token, bound_to=request.filter)
        after = (datetime.fromisoformat(cursor["created_at"]), UUID(cursor["id"])) if cursor else None
        wanted = _order_filter(request.filter)
        async with self._reads.database.transaction(call.scope) as connection:
            found = await order_store.list_orders(connection, call.scope, wanted, after, size + 1)
        viewer_id = call.principal.organization_id
        orders, token = self._reads.page(
            found,
            size,
            lambda order: order_to_message(order, viewer_id),
            lambda order: {"created_at": order.created_at.isoformat(), "id": str(order.id)},
            request.filter,
        )
        return orders_pb2.ListOrdersResponse(orders=orders, next_page_token=token)


def _order_filter(message: orders_pb2.OrderFilter) -> OrderFilter:
    return OrderFilter(
        organization_id=UUID(message.organization_id) if message.organization_id else None,
        type=product_type_from_number(message.type),
        state=order_state_from_number(message.state),
        created_from=instant_in(message, "created_from"),
        created_to=instant_in(message, "created_to"),
    )


def _without_page(request: M) -> M:
    """The request's filter alone: what a page token is bound to."""
    filter_ = type(request)()
    filter_.CopyFrom(request)
    for field in ("page_size", "page_token"):
        filter_.ClearField(field)
    return filter_
