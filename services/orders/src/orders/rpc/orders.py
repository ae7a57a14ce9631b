"""farthing.orders.v1.OrderService."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from farthing.export.v1.export_pb2 import ExportChunk
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from servicekit.call import current_call
from servicekit.ids import parse_id
from servicekit.problems import not_found

from orders.commands.orders import Orders
from orders.convert.orders import order_to_message
from orders.domain.numbers import parse_order_number
from orders.rpc.order_lists import OrderLists
from orders.rpc.reads import Context, Reads
from orders.store import orders as order_store


class OrderRpc(orders_pb2_grpc.OrderServiceServicer):
    """farthing.orders.v1.OrderService."""

    def __init__(self, orders: Orders, reads: Reads) -> None:
        self._orders, self._reads = orders, reads
        self._lists = OrderLists(reads)

    async def PlaceOrder(self, request: orders_pb2.PlaceOrderRequest, context: Context) -> orders_pb2.Order:
        order = await self._orders.place(request, context.time_remaining)
        return order_to_message(order, order.organization_id)

    async def CancelOrder(self, request: orders_pb2.CancelOrderRequest, context: Context) -> orders_pb2.Order:
        key = await self._orders.cancel(request)
        return await self._read(str(key.id))

    async def GetOrder(self, request: orders_pb2.GetOrderRequest, context: Context) -> orders_pb2.Order:
        return await self._read(request.id)

    async def _read(self, written: str) -> orders_pb2.Order:
        """The order of that id or number, as the caller sees it."""
        call = current_call()
        order_id, number = parse_id(written.strip()), parse_order_number(written)
        order = None
        if order_id is not None or number is not None:
            async with self._reads.database.transaction(call.scope) as connection:
                order = await order_store.find_order(connection, call.scope, order_id=order_id, number=number)
        if order is None:
            raise not_found(f"order '{written}'")
        return order_to_message(order, call.principal.organization_id)

    async def ListOrders(
        self, request: orders_pb2.ListOrdersRequest, context: Context
    ) -> orders_pb2.ListOrdersResponse:
        return await self._lists.list(request)

    async def ExportOrders(
        self, request: orders_pb2.ExportOrdersRequest, context: Context
    ) -> AsyncIterator[ExportChunk]:
        async with aclosing(self._lists.export(request)) as chunks:
            async for chunk in chunks:
                yield chunk
