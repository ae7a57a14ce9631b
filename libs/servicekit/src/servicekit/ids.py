"""Identifiers: UUID version 7 (RFC 9562), so that new rows land at the end of their indexes."""

from uuid import UUID

# A uuid.UUID that is made, spelled and hashed several times as fast.
from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811
from google.protobuf.message import Message
from uuid_utils import uuid7

# Of what is no id, characters.
_SHOWN = 40


def new_id() -> UUID:
    """A new, time-ordered id."""
    return FastUUID(uuid7().bytes)


def parse_id(text: str) -> UUID | None:
    """The UUID that `text` spells, or None where it spells none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def id_in(message: Message, field: str) -> UUID:
    """The id in `field` of an event. ValueError, which names the field and what it holds, where that is none."""
    written: str = getattr(message, field)
    found = parse_id(written)
    if found is None:
        shown = written if len(written) <= _SHOWN else f"{written[:_SHOWN]}…"
        raise ValueError(f"{field} '{shown}' is not a UUID")
    return found
