"""Keeps the copy from wallet's events."""

from farthing.wallet.events.v1.events_pb2 import OrganizationCreated, OrganizationUpdated, WalletEvent
from servicekit.consumers import Consumer, EventMeta
from sqlalchemy.ext.asyncio import AsyncConnection

from directory.convert import organization_from_message
from directory.store import save

TOPIC = "farthing.wallet.v1"


async def copy_organization(connection: AsyncConnection, event: OrganizationCreated | OrganizationUpdated) -> None:
    """Copies the organization unless a newer version is here: events may come twice and in any order.

    ValueError for an event that can never be read.
    """
    await save(connection, organization_from_message(event.organization))


def organization_consumer(service: str) -> Consumer[WalletEvent]:
    """For a service that needs nothing of wallet's topic but the organizations."""
    return Consumer(f"{service}.organizations", TOPIC, WalletEvent, _copy)


async def _copy(connection: AsyncConnection, event: WalletEvent, _meta: EventMeta) -> None:
    match event.WhichOneof("event"):
        case "organization_created":
            await copy_organization(connection, event.organization_created)
        case "organization_updated":
            await copy_organization(connection, event.organization_updated)
