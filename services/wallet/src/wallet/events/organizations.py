"""What the other services learn of the tree: each organization whole, after every change."""

from directory.convert import organization_to_message
from directory.domain import Organization
from farthing.wallet.events.v1.events_pb2 import OrganizationCreated, OrganizationUpdated, WalletEvent
from servicekit.outbox import OutboxEvent

from wallet.events.ledger import TOPIC


def organization_created(organization: Organization) -> OutboxEvent:
    """An organization is in the tree."""
    fact = OrganizationCreated(organization=organization_to_message(organization))
    return _event(organization, WalletEvent(organization_created=fact))


def organization_updated(organization: Organization) -> OutboxEvent:
    """An organization, its members or its place changed."""
    fact = OrganizationUpdated(organization=organization_to_message(organization))
    return _event(organization, WalletEvent(organization_updated=fact))


def _event(organization: Organization, event: WalletEvent) -> OutboxEvent:
    return OutboxEvent(organization.root_id, TOPIC, organization.id, event)
