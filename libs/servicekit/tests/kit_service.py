"""A whole service made with the kit, as a process of its own: places orders, hears of them, has a job.

`PlaceOrder` writes an event in its change; the consumer of KIT_TOPIC writes down the trace it arrived with. `GetOrder`
takes as many seconds as its id says. KIT_JOB=broken gives it a job that ends by itself.
"""

import asyncio
import os
from typing import Any
from uuid import UUID

from farthing.orders.events.v1.events_pb2 import OrderCompleted, OrdersEvent
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from servicekit import outbox, telemetry
from servicekit.consumers import Consumer, EventMeta
from servicekit.jobs import Job
from servicekit.requests import once
from servicekit.scope import Scope
from servicekit.server import Servicer
from servicekit.service import Runtime, ServiceDefinition, Wiring, run
from servicekit.settings import Settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

TOPIC = os.environ.get("KIT_TOPIC", "kit")
ROOT = UUID(int=1)


class Orders(orders_pb2_grpc.OrderServiceServicer):
    """The servicer."""

    def __init__(self, runtime: Runtime[Settings]) -> None:
        self._runtime = runtime

    async def PlaceOrder(self, request: Any, context: Any) -> orders_pb2.Order:
        async def change(connection: AsyncConnection) -> orders_pb2.Order:
            order = orders_pb2.Order(number=request.request_id)
            event = OrdersEvent(order_completed=OrderCompleted(order=order))
            await outbox.add(connection, [outbox.OutboxEvent(ROOT, TOPIC, ROOT, event)])
            return order

        return await once(self._runtime.database, ROOT, request, orders_pb2.Order, change)

    async def GetOrder(self, request: Any, context: Any) -> orders_pb2.Order:
        await asyncio.sleep(float(request.id))
        return orders_pb2.Order(number=request.id)


async def write_trace(connection: AsyncConnection, event: OrdersEvent, meta: EventMeta) -> None:
    await connection.execute(
        text("INSERT INTO effects (root_id, event_id, body) VALUES (:root_id, :event_id, :body)"),
        {"root_id": meta.root_id, "event_id": meta.event_id, "body": telemetry.current_traceparent()},
    )


async def wire(runtime: Runtime[Settings]) -> Wiring:
    async def scope_of(organization_id: UUID) -> Scope | None:
        return Scope(organization_id, ROOT)

    async def idle() -> int:
        if os.environ.get("KIT_JOB") == "broken":
            raise asyncio.CancelledError
        return 0

    descriptor = orders_pb2.DESCRIPTOR.services_by_name["OrderService"]
    return Wiring(
        servicers=[Servicer(orders_pb2_grpc.add_OrderServiceServicer_to_server, Orders(runtime), descriptor)],
        consumers=[Consumer(f"kit.{TOPIC}", TOPIC, OrdersEvent, write_trace)],
        jobs=[Job("idle", 0.1, idle)],
        scope_of=scope_of,
    )


if __name__ == "__main__":
    run(ServiceDefinition("kit", Settings, wire))
