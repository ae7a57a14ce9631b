"""google.type.Money, in which contracts carry amounts, <-> micros. A currency's decimals do not matter: JPY as KWD."""

from google.type.money_pb2 import Money as MoneyMessage

from money.amounts import MICROS_PER_UNIT, Money, MoneyError

_NANOS_PER_MICRO = 1_000
_NANOS_PER_UNIT = 1_000_000_000


def money_to_message(currency: str, micros: int) -> MoneyMessage:
    """An amount, or a sum, which may be larger than an amount can be; units and nanos both carry its sign."""
    units, rest = divmod(abs(micros), MICROS_PER_UNIT)
    sign = -1 if micros < 0 else 1
    return MoneyMessage(currency_code=currency, units=sign * units, nanos=sign * rest * _NANOS_PER_MICRO)


def money_from_message(message: MoneyMessage) -> Money:
    """The exact amount; its currency is not looked at, and empty where the message has none.

    Raises MoneyError when nanos is out of +-999,999,999, finer than a millionth, of the other sign than units, or
    when the amount leaves the 64-bit range of micros.
    """
    units, nanos = message.units, message.nanos
    if abs(nanos) >= _NANOS_PER_UNIT:
        raise MoneyError(f"nanos {nanos} is out of range; it must lie between -999999999 and 999999999")
    if nanos % _NANOS_PER_MICRO:
        raise MoneyError(f"nanos {nanos} is finer than a millionth of a unit; amounts need multiples of 1000 nanos")
    if (units > 0 and nanos < 0) or (units < 0 and nanos > 0):
        raise MoneyError(f"units {units} and nanos {nanos} disagree in sign; both must point the same way")
    return Money(message.currency_code, units * MICROS_PER_UNIT + nanos // _NANOS_PER_MICRO)
