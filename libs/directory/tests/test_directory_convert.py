"""Given any organization, when it is written as wallet publishes it and read again, then nothing is lost."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from directory.convert import organization_from_message, organization_to_message
from directory.domain import BillingAddress, Earnings, Member, Organization, Role
from farthing.wallet.v1 import organizations_pb2
from hypothesis import given
from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
instants = st.integers(0, 4_000_000_000_000_000).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
members = st.builds(Member, st.uuids(), texts, texts, st.sampled_from(Role))
organizations = st.builds(
    Organization,
    id=st.uuids(),
    root_id=st.uuids(),
    parent_id=st.none() | st.uuids(),
    ancestor_ids=st.lists(st.uuids(), max_size=5).map(tuple),
    name=texts,
    domain=texts,
    currency=texts,
    language=texts,
    created_at=instants,
    version=st.integers(1, 2**63 - 1),
    integration_code=texts,
    billing_address=st.builds(BillingAddress, st.lists(texts, max_size=6).map(tuple), texts, texts, texts),
    tax_id=texts,
    logo=st.binary(max_size=20),
    primary_color=texts,
    accent_color=texts,
    footer=texts,
    earnings=st.sampled_from(Earnings),
    members=st.lists(members, max_size=4).map(tuple),
)


@given(organizations)
def test_nothing_is_lost(organization: Organization) -> None:
    """Given any organization, when it goes through bytes and back, then it is the same."""
    sent = organization_to_message(organization).SerializeToString()
    assert organization_from_message(organizations_pb2.Organization.FromString(sent)) == organization


def test_unspecified_earnings_are_revenue() -> None:
    """Given a message that says nothing about earnings, when it is read, then they are the seller's revenue."""
    message = organizations_pb2.Organization(id=str(UUID(int=1)), root_id=str(UUID(int=1)))
    assert organization_from_message(message).earnings is Earnings.REVENUE


def test_address_lines_leave_out_what_is_empty() -> None:
    """Given an address with and without parts, when it is printed, then only what is there makes a line."""
    address = BillingAddress(("Acme GmbH", "", "Hauptstr. 1"), "10115", "Berlin", "DE")
    one = UUID(int=1)
    organization = Organization(
        one,
        one,
        None,
        (),
        "Acme",
        "acme.example",
        "EUR",
        "de",
        datetime(2026, 1, 1, tzinfo=UTC),
        billing_address=address,
    )
    assert organization.address_lines == ("Acme GmbH", "Hauptstr. 1", "10115 Berlin", "DE")
    assert organization.boss is None
    assert organization.is_platform
