"""farthing.orders.v1.OrderService."""

from datetime import datetime
from uuid import UUID

from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from servicekit.call import current_call
from servicekit.ids import parse_id
from servicekit.paging import page_size
from servicekit.problems import not_found

from orders.commands.inputs import instant_in
from orders.commands.orders import Orders
from orders.convert.catalogue import product_type_from_number
from orders.convert.orders import order_state_from_number, order_to_message
from orders.domain.numbers import parse_order_number
from orders.rpc.reads import Context, Reads
from orders.store import orders as order_store
from orders.store.orders import OrderFilter


class OrderRpc(orders_pb2_grpc.OrderServiceServicer):
    """farthing.orders.v1.OrderService."""

    def __init__(self, orders: Orders, reads: Reads) -> None:
        self._orders, self._reads = orders, reads

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
