"""What `documents` hears: organizations to copy, payments to issue receipts for, events to tell by mail."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from directory.consumer import copy_organization
from farthing.orders.events.v1.events_pb2 import OrdersEvent
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from servicekit.consumers import Consumer, EventMeta
from sqlalchemy.ext.asyncio import AsyncConnection

from documents.commands import issue, notify
from documents.convert import source_of_order, source_of_top_up
from documents.notice_events import notices_of_orders, notices_of_wallet


async def on_wallet_event(
    connection: AsyncConnection, event: WalletEvent, meta: EventMeta, *, mail_domain: str
) -> None:
    """Copies organizations, issues the receipts of top-ups, and tells what is to be told; the rest is not ours."""
    match event.WhichOneof("event"):
        case "organization_created":
            await copy_organization(connection, event.organization_created)
        case "organization_updated":
            await copy_organization(connection, event.organization_updated)
        case "top_up_settled":
            await issue(connection, source_of_top_up(event.top_up_settled))
        case _:
            await notify(connection, notices_of_wallet(event, meta.event_id, meta.occurred_at), mail_domain)


async def on_orders_event(
    connection: AsyncConnection, event: OrdersEvent, meta: EventMeta, *, mail_domain: str
) -> None:
    """Issues the receipt of a paid order, and tells what is to be told."""
    if event.WhichOneof("event") == "order_completed":
        await issue(connection, source_of_order(event.order_completed))
    else:
        await notify(connection, notices_of_orders(event, meta.event_id, meta.occurred_at), mail_domain)


def consumers(mail_domain: str) -> Sequence[Consumer[Any]]:
    """Both; `mail_domain` is the right side of the Message-IDs."""
    return (
        Consumer(
            name="documents.wallet",
            topic="farthing.wallet.v1",
            message=WalletEvent,
            handle=partial(on_wallet_event, mail_domain=mail_domain),
        ),
        Consumer(
            name="documents.orders",
            topic="farthing.orders.v1",
            message=OrdersEvent,
            handle=partial(on_orders_event, mail_domain=mail_domain),
        ),
    )
