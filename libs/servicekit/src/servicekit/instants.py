"""Instants that requests name, as the books count them: in microseconds."""

from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from servicekit.problems import invalid

_NANOS_PER_MICRO = 1_000
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC)


def boundary(message: Message, field: str, path: str = "") -> datetime | None:
    """Where a range of instants begins or ends: what `instant_of` says of `field`; None where it is unset."""
    return instant_of(getattr(message, field), path + field) if message.HasField(field) else None


def instant_of(asked: Timestamp, field: str) -> datetime:
    """The first microsecond that is not before `asked`: what is in between belongs to the next. Problem as `cut`."""
    found = cut(asked, field)
    if asked.nanos % _NANOS_PER_MICRO:
        return _LAST_INSTANT if found >= _LAST_INSTANT else found + timedelta(microseconds=1)
    return found


def cut(asked: Timestamp, field: str) -> datetime:
    """The last microsecond that is not after `asked`, in UTC.

    Problem INVALID_ARGUMENT, naming `field`, where it is before year 1 or after 9999, or its nanos are no part of a
    second.
    """
    try:
        found: datetime = asked.ToDatetime(tzinfo=UTC)
    except (OverflowError, ValueError):
        said = "is not an instant between the years 1 and 9999, with nanos from 0 to 999,999,999"
        raise invalid(f"{field} {said}", fields={field: said}) from None
    return found
