"""Amounts in micros: arithmetic that refuses to overflow, tax, and google.type.Money as plain integers."""

from __future__ import annotations

from dataclasses import dataclass

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
MICROS_PER_UNIT = 1_000_000
PPM = 1_000_000
_NANOS_PER_MICRO = 1_000
_NANOS_PER_UNIT = 1_000_000_000


class MoneyError(ValueError):
    """An amount, currency or combination of them that cannot be; the message is meant for people."""


def check_micros(micros: int) -> int:
    """Return `micros` unchanged, or raise MoneyError when it does not fit a signed 64-bit integer."""
    if not INT64_MIN <= micros <= INT64_MAX:
        raise MoneyError(f"the amount {micros} micros is out of range; amounts lie between {INT64_MIN} and {INT64_MAX}")
    return micros


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in one currency.

    `currency` is an ISO 4217 code in capitals, `micros` a signed 64-bit count of millionths of its unit.
    Mixing currencies and leaving the 64-bit range raise MoneyError. Equality compares both fields, so
    unequal currencies are simply unequal; ordering them raises.
    """

    currency: str
    micros: int

    def __post_init__(self) -> None:
        check_micros(self.micros)

    def __add__(self, other: Money) -> Money:
        return Money(self.currency, self.micros + self._same_currency(other, "add").micros)

    def __sub__(self, other: Money) -> Money:
        return Money(self.currency, self.micros - self._same_currency(other, "subtract").micros)

    def __neg__(self) -> Money:
        return Money(self.currency, -self.micros)

    def __lt__(self, other: Money) -> bool:
        return self.micros < self._same_currency(other, "compare").micros

    def __le__(self, other: Money) -> bool:
        return self.micros <= self._same_currency(other, "compare").micros

    def __gt__(self, other: Money) -> bool:
        return self.micros > self._same_currency(other, "compare").micros

    def __ge__(self, other: Money) -> bool:
        return self.micros >= self._same_currency(other, "compare").micros

    @property
    def is_zero(self) -> bool:
        return self.micros == 0

    def _same_currency(self, other: Money, verb: str) -> Money:
        if other.currency != self.currency:
            raise MoneyError(f"cannot {verb} {self.currency} and {other.currency}; convert one of them first")
        return other


def from_units_nanos(currency: str, units: int, nanos: int) -> Money:
    """Read google.type.Money: whole `units` plus `nanos` (10^-9 of a unit, same sign as units).

    Raises MoneyError when nanos is out of +-999,999,999, finer than a millionth, of the other sign, or
    when the sum leaves the 64-bit range of micros.
    """
    if abs(nanos) >= _NANOS_PER_UNIT:
        raise MoneyError(f"nanos {nanos} is out of range; it must lie between -999999999 and 999999999")
    if nanos % _NANOS_PER_MICRO:
        raise MoneyError(f"nanos {nanos} is finer than a millionth of a unit; amounts need multiples of 1000 nanos")
    if (units > 0 and nanos < 0) or (units < 0 and nanos > 0):
        raise MoneyError(f"units {units} and nanos {nanos} disagree in sign; both must point the same way")
    return Money(currency, units * MICROS_PER_UNIT + nanos // _NANOS_PER_MICRO)


def to_units_nanos(micros: int) -> tuple[int, int]:
    """Split micros into google.type.Money's (units, nanos); both carry the sign of the amount."""
    units, rest = divmod(abs(check_micros(micros)), MICROS_PER_UNIT)
    sign = -1 if micros < 0 else 1
    return sign * units, sign * rest * _NANOS_PER_MICRO


def times(unit_price_micros: int, quantity: int) -> int:
    """Price of `quantity` pieces in micros, exact; MoneyError when it leaves the 64-bit range."""
    check_micros(unit_price_micros)
    return check_micros(unit_price_micros * quantity)


def tax_micros(net_micros: int, rate_ppm: int) -> int:
    """Tax on `net_micros` at `rate_ppm` millionths (200_000 = 20 %), rounded half to even at the micro.

    Half-even is unbiased over many lines and symmetric: the tax of a refund is minus the tax of its sale.
    Raises MoneyError for a negative rate and when the tax leaves the 64-bit range.
    """
    if rate_ppm < 0:
        raise MoneyError(f"the tax rate {rate_ppm} ppm is negative; rates start at 0")
    quotient, rest = divmod(check_micros(net_micros) * rate_ppm, PPM)
    if rest * 2 > PPM or (rest * 2 == PPM and quotient % 2):
        quotient += 1
    return check_micros(quotient)
