"""Identifiers: UUID version 7 (RFC 9562), so that new rows land at the end of their indexes."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A new, time-ordered id."""
    return uuid7()


def parse_id(text: str) -> UUID | None:
    """The UUID that `text` spells, or None where it spells none."""
    try:
        return UUID(text)
    except ValueError:
        return None
