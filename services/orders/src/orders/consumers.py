"""What orders hears: organizations, of which it keeps a copy, money that arrives for orders, and cloud phones."""

from typing import Any

from directory.consumer import copy_organization
from farthing.usage.events.v1.events_pb2 import UsageEvent
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from servicekit.clock import Clock
from servicekit.consumers import Consumer, EventMeta
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.commands.arrivals import payment_failed, payment_settled
from orders.commands.phones import phone_powered_down, phone_powered_up, running_fee_charged


class Hearing:
    """Handles events, each in the transaction of its inbox row."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def on_wallet_event(self, connection: AsyncConnection, event: WalletEvent, _meta: EventMeta) -> None:
        """Copies organizations; notes what pays an order, and what will not. The rest is passed over."""
        match event.WhichOneof("event"):
            case "organization_created":
                await copy_organization(connection, event.organization_created)
            case "organization_updated":
                await copy_organization(connection, event.organization_updated)
            case "top_up_settled":
                await payment_settled(connection, event.top_up_settled)
            case "top_up_failed":
                await payment_failed(connection, event.top_up_failed, self._clock)

    async def on_usage_event(self, connection: AsyncConnection, event: UsageEvent, meta: EventMeta) -> None:
        """Opens the orders of cloud phones, adds their fees, completes them."""
        match event.WhichOneof("event"):
            case "phone_powered_up":
                await phone_powered_up(connection, event.phone_powered_up, meta.root_id)
            case "running_fee_charged":
                await running_fee_charged(connection, event.running_fee_charged, meta.root_id)
            case "phone_powered_down":
                await phone_powered_down(connection, event.phone_powered_down, meta.root_id)


def consumers(clock: Clock) -> list[Consumer[Any]]:
    """One a topic. The name of wallet's is from when it heard organizations alone; the inbox knows it by that name."""
    hearing = Hearing(clock)
    return [
        Consumer("orders.organizations", "farthing.wallet.v1", WalletEvent, hearing.on_wallet_event),
        Consumer("orders.usage", "farthing.usage.v1", UsageEvent, hearing.on_usage_event),
    ]
