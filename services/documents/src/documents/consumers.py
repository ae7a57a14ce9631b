"""What `documents` hears: organizations to copy, purchases and top-ups to issue receipts for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from directory.consumer import copy_organization
from farthing.orders.events.v1.events_pb2 import OrdersEvent
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from servicekit.consumers import Consumer, EventMeta
from sqlalchemy.ext.asyncio import AsyncConnection

from documents.commands import issue
from documents.convert import source_of_order, source_of_top_up


async def on_wallet_event(connection: AsyncConnection, event: WalletEvent, meta: EventMeta) -> None:
    """Copies organizations and issues the receipts of top-ups; everything else is not ours."""
    match event.WhichOneof("event"):
        case "organization_created":
            await copy_organization(connection, event.organization_created)
        case "organization_updated":
            await copy_organization(connection, event.organization_updated)
        case "top_up_settled":
            await issue(connection, source_of_top_up(event.top_up_settled))


async def on_orders_event(connection: AsyncConnection, event: OrdersEvent, meta: EventMeta) -> None:
    """Issues the receipt of a paid order."""
    if event.WhichOneof("event") == "order_completed":
        await issue(connection, source_of_order(event.order_completed))


CONSUMERS: Sequence[Consumer[Any]] = (
    Consumer(name="documents.wallet", topic="farthing.wallet.v1", message=WalletEvent, handle=on_wallet_event),
    Consumer(name="documents.orders", topic="farthing.orders.v1", message=OrdersEvent, handle=on_orders_event),
)
