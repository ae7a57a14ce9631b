"""Amounts, tax and google.type.Money against plain integer and Decimal arithmetic."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from money import (
    INT64_MAX,
    INT64_MIN,
    Money,
    MoneyError,
    check_micros,
    tax_micros,
    times,
)

micros = st.integers(INT64_MIN, INT64_MAX)
small = st.integers(-(10**15), 10**15)


@given(small, small)
def test_addition_and_subtraction_undo_each_other(a: int, b: int) -> None:
    """Given two amounts, When one is added and taken away again, Then the first is back, to the micro."""
    x, y = Money("EUR", a), Money("EUR", b)
    assert x + y == Money("EUR", a + b)
    assert (x + y) - y == x
    assert x + (-x) == Money("EUR", 0)
    assert (x - x).is_zero
    assert x.is_zero == (a == 0)


@given(small, small)
def test_order_is_the_order_of_micros(a: int, b: int) -> None:
    """Given two amounts of one currency, When they are compared, Then their micros decide."""
    x, y = Money("EUR", a), Money("EUR", b)
    assert (x < y, x <= y, x > y, x >= y, x == y) == (a < b, a <= b, a > b, a >= b, a == b)


@pytest.mark.parametrize("operation", ["__add__", "__sub__", "__lt__", "__le__", "__gt__", "__ge__"])
def test_mixed_currencies_are_refused(operation: str) -> None:
    """Given euros and dollars, When they are combined or ordered, Then the error names both."""
    with pytest.raises(MoneyError, match=r"EUR and USD"):
        getattr(Money("EUR", 1), operation)(Money("USD", 1))
    assert Money("EUR", 1) != Money("USD", 1)


@given(micros, micros)
def test_sums_never_wrap(a: int, b: int) -> None:
    """Given any two 64-bit amounts, When they are added, Then the true sum or a MoneyError comes back."""
    if INT64_MIN <= a + b <= INT64_MAX:
        assert (Money("EUR", a) + Money("EUR", b)).micros == a + b
    else:
        with pytest.raises(MoneyError, match=str(a + b)):
            Money("EUR", a) + Money("EUR", b)


def test_the_bounds_are_those_of_int64() -> None:
    """Given the ends of the range, When they are stepped over, Then a MoneyError names the value."""
    assert check_micros(INT64_MAX) == 9_223_372_036_854_775_807
    assert check_micros(INT64_MIN) == -9_223_372_036_854_775_808
    for beyond in (INT64_MAX + 1, INT64_MIN - 1):
        with pytest.raises(MoneyError, match=str(beyond)):
            check_micros(beyond)
    with pytest.raises(MoneyError):
        -Money("EUR", INT64_MIN)
    assert issubclass(MoneyError, ValueError)


@given(micros, st.integers(0, 1_000_000))
def test_tax_rounds_half_to_even(net: int, rate: int) -> None:
    """Given any net and rate up to 100 %, When taxed, Then Decimal's half-even says the same."""
    with localcontext() as context:
        context.prec = 60
        expected = int((Decimal(net) * rate / 1_000_000).to_integral_value(ROUND_HALF_EVEN))
    assert tax_micros(net, rate) == expected


def test_tax_of_known_amounts() -> None:
    """Given 20 % and exact halves, When taxed, Then halves go to the even micro, refunds mirror sales."""
    assert tax_micros(100_000_000, 200_000) == 20_000_000
    assert tax_micros(1, 500_000) == 0
    assert tax_micros(3, 500_000) == 2
    assert tax_micros(-3, 500_000) == -2
    assert tax_micros(19_990_001, 190_000) == 3_798_100
    with pytest.raises(MoneyError, match="-1 ppm"):
        tax_micros(1, -1)
    with pytest.raises(MoneyError):
        tax_micros(INT64_MAX, 2_000_000)


@given(micros, st.integers(-(10**9), 10**9))
def test_times_is_exact_or_refused(price: int, quantity: int) -> None:
    """Given any price and quantity, When multiplied, Then the true product or a MoneyError comes back."""
    if INT64_MIN <= price * quantity <= INT64_MAX:
        assert times(price, quantity) == price * quantity
    else:
        with pytest.raises(MoneyError, match="out of range"):
            times(price, quantity)
