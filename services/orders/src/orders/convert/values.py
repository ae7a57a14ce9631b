"""Instants."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def instant_to_message(instant: datetime | None) -> Timestamp | None:
    """Unset for None."""
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def instant_from_message(message: Timestamp) -> datetime:
    """With time zone UTC, cut to the microsecond. ValueError outside of the years 1 to 9999."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error
