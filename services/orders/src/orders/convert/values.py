"""Money and instants."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from money import Money, from_units_nanos, to_units_nanos


def money_to_message(currency: str, micros: int) -> MoneyMessage:
    """google.type.Money of an amount in micros."""
    units, nanos = to_units_nanos(micros)
    return MoneyMessage(currency_code=currency, units=units, nanos=nanos)


def money_from_message(message: MoneyMessage) -> Money:
    """The amount; MoneyError where it is finer than a millionth or too large."""
    return from_units_nanos(message.currency_code, message.units, message.nanos)


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
