"""farthing.wallet.v1.Organization <-> Organization; nothing is lost either way."""

from datetime import UTC
from uuid import UUID

from farthing.wallet.v1 import organizations_pb2
from servicekit.ids import id_in

from directory.domain import BillingAddress, Earnings, Member, Organization, Role

_ROLES = {
    organizations_pb2.MEMBER_ROLE_BOSS: Role.BOSS,
    organizations_pb2.MEMBER_ROLE_ADMIN: Role.ADMIN,
    organizations_pb2.MEMBER_ROLE_FINANCE: Role.FINANCE,
    organizations_pb2.MEMBER_ROLE_MEMBER: Role.MEMBER,
}
_ROLE_NUMBERS = {role: number for number, role in _ROLES.items()}


def organization_from_message(message: organizations_pb2.Organization) -> Organization:
    """Reads a whole organization, as wallet publishes it. ValueError where an id is none."""
    address, branding = message.billing_address, message.branding
    return Organization(
        id=id_in(message, "id"),
        root_id=id_in(message, "root_id"),
        parent_id=id_in(message, "parent_id") if message.parent_id else None,
        ancestor_ids=tuple(UUID(ancestor) for ancestor in message.ancestor_ids),
        name=message.name,
        domain=message.domain,
        currency=message.currency,
        language=message.language,
        created_at=message.created_at.ToDatetime(tzinfo=UTC),
        version=message.version,
        integration_code=message.integration_code,
        billing_address=BillingAddress(tuple(address.lines), address.postal_code, address.city, address.country),
        tax_id=message.tax_id,
        logo=branding.logo,
        primary_color=branding.primary_color,
        accent_color=branding.accent_color,
        footer=branding.footer,
        earnings=earnings_from_number(message.earnings),
        members=tuple(member_from_message(member) for member in message.members),
    )


def organization_to_message(organization: Organization) -> organizations_pb2.Organization:
    """Writes a whole organization."""
    address = organization.billing_address
    message = organizations_pb2.Organization(
        id=str(organization.id),
        parent_id=str(organization.parent_id or ""),
        root_id=str(organization.root_id),
        name=organization.name,
        domain=organization.domain,
        integration_code=organization.integration_code,
        currency=organization.currency,
        language=organization.language,
        billing_address=organizations_pb2.BillingAddress(
            lines=address.lines, postal_code=address.postal_code, city=address.city, country=address.country
        ),
        tax_id=organization.tax_id,
        branding=organizations_pb2.Branding(
            logo=organization.logo,
            primary_color=organization.primary_color,
            accent_color=organization.accent_color,
            footer=organization.footer,
        ),
        earnings=(
            organizations_pb2.EARNINGS_WALLET
            if organization.earnings is Earnings.WALLET
            else organizations_pb2.EARNINGS_REVENUE
        ),
        members=[member_to_message(member) for member in organization.members],
        version=organization.version,
        ancestor_ids=[str(ancestor) for ancestor in organization.ancestor_ids],
    )
    message.created_at.FromDatetime(organization.created_at)
    return message


def member_from_message(message: organizations_pb2.Member) -> Member:
    """Reads a member. ValueError where the id is none, KeyError for a role that is none."""
    return Member(id_in(message, "id"), message.name, message.email, role_from_number(message.role))


def member_to_message(member: Member) -> organizations_pb2.Member:
    """Writes a member."""
    return organizations_pb2.Member(
        id=str(member.id), name=member.name, email=member.email, role=_ROLE_NUMBERS[member.role]
    )


def role_from_number(number: organizations_pb2.MemberRole.ValueType) -> Role:
    """Reads a role. KeyError for UNSPECIFIED and unknown numbers."""
    return _ROLES[number]


def earnings_from_number(number: organizations_pb2.Earnings.ValueType) -> Earnings:
    """Reads where earnings go; UNSPECIFIED is taken as REVENUE."""
    return Earnings.WALLET if number == organizations_pb2.EARNINGS_WALLET else Earnings.REVENUE
