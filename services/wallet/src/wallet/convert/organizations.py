"""Organizations as callers write them: whole new ones, and changes by field mask (AIP-134, AIP-161)."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import protovalidate
from directory.convert import organization_from_message, organization_to_message, role_from_number
from directory.domain import Member, Organization
from farthing.wallet.v1 import organizations_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from servicekit.problems import invalid

CHANGEABLE = (
    "name",
    "parent_id",
    "integration_code",
    "currency",
    "language",
    "billing_address",
    "tax_id",
    "branding",
    "earnings",
)
_VALIDATOR = protovalidate.Validator()


def draft(message: organizations_pb2.Organization, new_id: Callable[[], UUID], created_at: datetime) -> Organization:
    """A new organization as asked for, with ids of ours, not yet in the tree. What the server gives is not read."""
    asked = organizations_pb2.Organization()
    asked.CopyFrom(message)
    own = str(new_id())
    asked.id, asked.root_id, asked.version = own, own, 1
    del asked.ancestor_ids[:]
    asked.created_at.FromDatetime(created_at)
    for member in asked.members:
        member.id = str(new_id())
    return organization_from_message(asked)


def new_member(message: organizations_pb2.Member, member_id: UUID) -> Member:
    """A member as asked for, under an id of ours."""
    return Member(member_id, message.name, message.email, role_from_number(message.role))


def masked_fields(request: organizations_pb2.UpdateOrganizationRequest) -> frozenset[str]:
    """The fields that the mask names. Problem INVALID_ARGUMENT for one that cannot be changed, and for none."""
    paths = frozenset(request.update_mask.paths)
    unknown = sorted(paths - set(CHANGEABLE))
    if unknown or not paths:
        said = f"cannot change {', '.join(unknown)}" if unknown else "names no field"
        text = f"The update mask {said}; it may name {', '.join(CHANGEABLE)}."
        raise invalid(text, {"update_mask": text})
    return paths


def changed(before: Organization, asked: organizations_pb2.Organization, fields: frozenset[str]) -> Organization:
    """`before` with `fields` as asked (cleared where they are not set), checked as a whole by the proto's rules."""
    message = organization_to_message(before)
    mask = FieldMask(paths=sorted(fields))
    mask.MergeMessage(asked, message, replace_message_field=True, replace_repeated_field=True)
    check_organization(message)
    return organization_from_message(message)


def check_organization(message: organizations_pb2.Organization) -> None:
    """Problem INVALID_ARGUMENT naming each field of the organization that breaks a rule of the proto."""
    fields = {}
    for violation in _VALIDATOR.collect_violations(message):
        path = violation.proto.field.elements if violation.proto.field else ()
        name = ".".join(["organization", *(element.field_name for element in path)])
        fields[name] = violation.proto.message or "is not valid"
    if fields:
        raise invalid("; ".join(f"{field}: {text}" for field, text in fields.items()), fields)
