"""google.type.Money <-> Money."""

from google.type import money_pb2
from money import Money, MoneyError, from_units_nanos, to_units_nanos
from servicekit.problems import invalid


def money_from_message(message: money_pb2.Money, field: str) -> Money:
    """Reads an amount. Problem AMOUNT_OUT_OF_RANGE, naming `field`, where it is none the ledger can hold."""
    try:
        return from_units_nanos(message.currency_code, message.units, message.nanos)
    except MoneyError as error:
        text = f"{field}: {error}."
        raise invalid(text, {field: text}, reason="AMOUNT_OUT_OF_RANGE") from error


def money_to_message(money: Money) -> money_pb2.Money:
    """Writes an amount."""
    units, nanos = to_units_nanos(money.micros)
    return money_pb2.Money(currency_code=money.currency, units=units, nanos=nanos)
