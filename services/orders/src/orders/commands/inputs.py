"""Reads what the rules in the protos cannot check, and says what is wrong with it."""

from datetime import datetime

from google.protobuf.message import Message
from google.type.money_pb2 import Money as MoneyMessage
from money import Money, MoneyError, not_a_currency, valid_currency
from money.messages import money_from_message
from servicekit.instants import cut
from servicekit.problems import invalid


def instant_in(request: Message, field: str) -> datetime | None:
    """The instant in `field`, cut to the microsecond, or None where it is unset. Problem for one that is none."""
    return cut(getattr(request, field), field) if request.HasField(field) else None


def price_in(message: MoneyMessage, field: str) -> Money:
    """An amount of zero or more in a currency that exists; else a Problem."""
    if not valid_currency(message.currency_code):
        text = str(not_a_currency(message.currency_code))
        raise invalid(f"{field}: {text}", fields={f"{field}.currency_code": text})
    try:
        amount = money_from_message(message)
        if amount.micros < 0:
            raise MoneyError("the amount is negative; prices start at 0")
    except MoneyError as error:
        raise invalid(f"{field}: {error}", fields={field: str(error)}, reason="AMOUNT_OUT_OF_RANGE") from None
    return amount
