"""What wallet writes into the audit trail: organizations, members, credit limits, top-ups confirmed by hand."""

from typing import Any

from farthing.audit.v1 import audit_pb2
from farthing.wallet.v1 import organizations_pb2, wallets_pb2
from google.protobuf.json_format import MessageToDict
from servicekit.audit import AuditRpc
from servicekit.paging import Pager
from servicekit.testing import as_service

from .world import House, Organization, Tree, eur, member_of, person, request_id


async def trail_of(house: House, organization: Organization) -> list[dict[str, Any]]:
    """The audit events of an organization's books, the oldest first, as its own boss reads them."""
    rpc = AuditRpc(house.database, Pager("test"))
    request = audit_pb2.ListAuditEventsRequest(filter=audit_pb2.AuditFilter(organization_id=organization.id))
    with member_of(organization):
        events = (await rpc.ListAuditEvents(request, None)).events
    return [MessageToDict(event, preserving_proto_field_name=True) for event in reversed(events)]


async def test_changes_of_an_organization_are_kept_with_before_and_after(house: House, tree: Tree) -> None:
    """Given a customer. When its name, logo, members and credit limit change. Then the trail says who, from and to."""
    customer = tree.customer
    wallet = await house.wallet_of(customer)
    with member_of(tree.reseller):
        await house.update(customer, name="Renamed", branding=organizations_pb2.Branding(logo=b"<svg/>"))
        await house.update(customer, name="Renamed")
        await house.organizations.AddMember(
            organizations_pb2.AddMemberRequest(
                request_id=request_id(), organization_id=customer.id, member=person("Nora")
            ),
            None,
        )
        await house.wallets.SetCreditLimit(
            wallets_pb2.SetCreditLimitRequest(request_id=request_id(), wallet_id=wallet.id, credit_limit=eur(50)), None
        )

    trail = await trail_of(house, customer)

    assert [event["action"] for event in trail] == [
        "ORGANIZATION_CREATED",
        "ORGANIZATION_UPDATED",
        "MEMBER_ADDED",
        "CREDIT_LIMIT_SET",
    ]
    created, renamed, added, limit = trail
    assert created["after"]["domain"] == customer.domain
    assert "before" not in created
    assert (renamed["before"]["name"], renamed["after"]["name"]) == ("customer", "Renamed")
    assert renamed["after"]["logo"].startswith("sha256:")
    assert (renamed["actor_subject"], renamed["target_id"]) == ("carla@caller.example", customer.id)
    assert added["before"]["members"] == []
    assert [member["name"] for member in added["after"]["members"]] == ["Nora"]
    assert (limit["before"], limit["after"]) == ({"credit_limit": "0 EUR"}, {"credit_limit": "50 EUR"})


async def test_a_top_up_confirmed_by_hand_names_who_did(house: House, tree: Tree) -> None:
    """Given a manual top-up. When the seller confirms it. Then the trail has its reference, amount and the person."""
    wallet = await house.wallet_of(tree.customer)
    with as_service("operator"):
        top_up = await house.top_ups.CreateTopUp(
            wallets_pb2.CreateTopUpRequest(
                request_id=request_id(), wallet_id=wallet.id, amount=eur(10), method=wallets_pb2.TOP_UP_METHOD_MANUAL
            ),
            None,
        )
    with member_of(tree.reseller):
        await house.top_ups.SettleTopUp(
            wallets_pb2.SettleTopUpRequest(request_id=request_id(), id=top_up.id, bank_reference="REF 1"), None
        )

    settled = (await trail_of(house, tree.customer))[-1]

    assert (settled["action"], settled["target_id"]) == ("TOP_UP_SETTLED", top_up.id)
    assert settled["before"] == {"state": "PENDING"}
    assert (settled["after"]["reference"], settled["after"]["amount"]) == ("REF 1", "10 EUR")
    assert settled["actor_subject"] == "carla@caller.example"


async def test_the_trail_of_others_is_not_seen(house: House, tree: Tree) -> None:
    """Given changes of a customer. When the sibling partner looks. Then there is nothing."""
    rpc = AuditRpc(house.database, Pager("test"))
    request = audit_pb2.ListAuditEventsRequest(filter=audit_pb2.AuditFilter(organization_id=tree.customer.id))
    with member_of(tree.sibling):
        assert not (await rpc.ListAuditEvents(request, None)).events
