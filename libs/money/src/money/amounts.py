"""Amounts in micros: arithmetic that refuses to overflow, and tax."""

from __future__ import annotations

from dataclasses import dataclass

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
MICROS_PER_UNIT = 1_000_000
PPM = 1_000_000


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
