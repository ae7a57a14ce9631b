"""Keeps the copy from wallet's events."""

from farthing.wallet.events.v1.events_pb2 import OrganizationCreated, OrganizationUpdated
from sqlalchemy.ext.asyncio import AsyncConnection

from directory.convert import organization_from_message
from directory.store import save


async def copy_organization(
    connection: AsyncConnection, event: OrganizationCreated | OrganizationUpdated
) -> None:
    """Copies the organization unless a newer version is here: events may come twice and in any order.

    ValueError for an event that can never be read.
    """
    await save(connection, organization_from_message(event.organization))
