"""farthing.orders.v1.OrderService."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from uuid import UUID

from farthing.export.v1.export_pb2 import ExportChunk
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from servicekit.call import current_call
from servicekit.ids import parse_id
from servicekit.paging import page_size
from servicekit.problems import not_found

from orders.commands.orders import Orders, find_key
from orders.commands.refunds import Refunds
from orders.convert.orders import order_to_message
from orders.convert.phones import fee_to_message
from orders.convert.refunds import refund_to_message
from orders.domain.numbers import parse_order_number
from orders.rpc.order_lists import OrderLists
from orders.rpc.reads import Context, Reads
from orders.store import orders as order_store
from orders.store import phones as phone_store
from orders.store import refunds as refund_store


class OrderRpc(orders_pb2_grpc.OrderServiceServicer):
    """farthing.orders.v1.OrderService."""

    def __init__(self, orders: Orders, refunds: Refunds, reads: Reads) -> None:
        self._orders, self._refunds, self._reads = orders, refunds, reads
        self._lists = OrderLists(reads)

    async def PlaceOrder(self, request: orders_pb2.PlaceOrderRequest, context: Context) -> orders_pb2.Order:
        order = await self._orders.place(request, context.time_remaining)
        return order_to_message(order, order.organization_id)

    async def CancelOrder(self, request: orders_pb2.CancelOrderRequest, context: Context) -> orders_pb2.Order:
        key = await self._orders.cancel(request)
        return await self._read(str(key.id))

    async def RefundOrder(self, request: orders_pb2.RefundOrderRequest, context: Context) -> orders_pb2.Refund:
        key, refund_id = await self._refunds.refund(request)
        call = current_call()
        async with self._reads.database.transaction(call.scope) as connection:
            order = await order_store.get_order(connection, key)
            refund = await refund_store.get_refund(connection, key.root_id, refund_id)
        return refund_to_message(refund, order, call.principal.organization_id)

    async def ListRefunds(
        self, request: orders_pb2.ListRefundsRequest, context: Context
    ) -> orders_pb2.ListRefundsResponse:
        call = current_call()
        size = page_size(request.page_size)
        cursor = self._reads.pager.decode(request.page_token, bound_to=request.order_id)
        after = (datetime.fromisoformat(cursor["created_at"]), UUID(cursor["id"])) if cursor else None
        key = await find_key(self._reads.database, request.order_id)
        async with self._reads.database.transaction(call.scope) as connection:
            order = await order_store.get_order(connection, key)
            found = await refund_store.list_refunds(connection, key, after, size + 1)
        refunds, token = self._reads.page(
            found,
            size,
            lambda refund: refund_to_message(refund, order, call.principal.organization_id),
            lambda refund: {"created_at": refund.created_at.isoformat(), "id": str(refund.id)},
            request.order_id,
        )
        return orders_pb2.ListRefundsResponse(refunds=refunds, next_page_token=token)

    async def ListRunningFees(
        self, request: orders_pb2.ListRunningFeesRequest, context: Context
    ) -> orders_pb2.ListRunningFeesResponse:
        call = current_call()
        size = page_size(request.page_size)
        cursor = self._reads.pager.decode(request.page_token, bound_to=request.order_id)
        after = (datetime.fromisoformat(cursor["period_from"]), UUID(cursor["id"])) if cursor else None
        key = await find_key(self._reads.database, request.order_id)
        async with self._reads.database.transaction(call.scope) as connection:
            order = await order_store.get_order(connection, key)
            found = await phone_store.list_fees(connection, key, after, size + 1)
        fees, token = self._reads.page(
            found,
            size,
            lambda fee: fee_to_message(fee, order.currency, call.principal.organization_id),
            lambda fee: {"period_from": fee.period_from.isoformat(), "id": str(fee.id)},
            request.order_id,
        )
        return orders_pb2.ListRunningFeesResponse(fees=fees, next_page_token=token)

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
