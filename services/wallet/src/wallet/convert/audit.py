"""What changed of an organization, as the audit trail keeps it."""

from dataclasses import asdict, fields
from enum import Enum
from hashlib import sha256
from typing import Any
from uuid import UUID

from directory.domain import Organization

_NOT_TOLD = ("version", "members", "ancestor_ids", "created_at")


def changed_fields(before: Organization, after: Organization) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that differ, as they were and as they are; of the members those that differ."""
    names = [
        field.name
        for field in fields(Organization)
        if field.name not in _NOT_TOLD and getattr(before, field.name) != getattr(after, field.name)
    ]
    was = {name: _plain(getattr(before, name)) for name in names}
    now = {name: _plain(getattr(after, name)) for name in names}
    if before.members != after.members:
        was["members"] = [_plain(asdict(member)) for member in before.members if member not in after.members]
        now["members"] = [_plain(asdict(member)) for member in after.members if member not in before.members]
    return was, now


def created_fields(made: Organization) -> dict[str, Any]:
    """What a new organization began with."""
    names = ("name", "domain", "parent_id", "currency", "earnings")
    return {
        **{name: _plain(getattr(made, name)) for name in names},
        "members": [_plain(asdict(member)) for member in made.members],
    }


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case UUID():
            return str(value)
        case bytes():
            return f"sha256:{sha256(value).hexdigest()}" if value else ""
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case tuple() | list():
            return [_plain(each) for each in value]
        case None | str() | int() | bool():
            return value
        case _:
            return _plain(asdict(value))
