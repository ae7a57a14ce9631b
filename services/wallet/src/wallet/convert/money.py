"""Amounts that requests name."""

from google.type.money_pb2 import Money as MoneyMessage
from money import Money, MoneyError, check_currency
from money.messages import money_from_message
from servicekit.problems import invalid


def amount_in(message: MoneyMessage, field: str) -> Money:
    """Reads an amount. Problem AMOUNT_OUT_OF_RANGE, naming `field`, where it is none the ledger can hold;
    INVALID_ARGUMENT, naming the field's currency_code, where that is none.
    """
    try:
        check_currency(message.currency_code)
    except MoneyError as error:
        text = f"{field}: {error}."
        raise invalid(text, {f"{field}.currency_code": text}) from error
    try:
        return money_from_message(message)
    except MoneyError as error:
        text = f"{field}: {error}."
        raise invalid(text, {field: text}, reason="AMOUNT_OUT_OF_RANGE") from error
