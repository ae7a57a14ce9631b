"""Identifiers: UUID version 7 (RFC 9562), so that new rows land at the end of their indexes."""

from uuid import UUID

# A uuid.UUID that is made, spelled and hashed several times as fast.
from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811
from uuid_utils import uuid7


def new_id() -> UUID:
    """A new, time-ordered id."""
    return FastUUID(uuid7().bytes)


def parse_id(text: str) -> UUID | None:
    """The UUID that `text` spells, or None where it spells none."""
    try:
        return UUID(text)
    except ValueError:
        return None
