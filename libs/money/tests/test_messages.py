"""google.type.Money <-> micros: every amount, sum and currency, and what is no amount."""

import pytest
from google.type.money_pb2 import Money as MoneyMessage
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency
from money import INT64_MAX, INT64_MIN, Money, MoneyError, valid_currency
from money.messages import money_from_message, money_to_message

CURRENCIES = sorted(each.code for each in Currency if valid_currency(each.code))


@given(st.sampled_from(CURRENCIES), st.integers(INT64_MIN, INT64_MAX))
def test_amounts_come_back(currency: str, micros: int) -> None:
    """Given any amount in a currency of any number of decimals, When it is sent and read, Then it is the same."""
    sent = MoneyMessage.FromString(money_to_message(currency, micros).SerializeToString())
    assert money_from_message(sent) == Money(currency, micros)
    assert sent.units * 10**9 + sent.nanos == micros * 1000
    assert sent.units * sent.nanos >= 0, "both have the amount's sign"
    assert abs(sent.nanos) < 10**9


@pytest.mark.parametrize(
    ("micros", "units", "nanos"),
    [
        (0, 0, 0),
        (1, 0, 1000),
        (-1, 0, -1000),
        (1_000_000, 1, 0),
        (-1_750_000, -1, -750_000_000),
        (999_999, 0, 999_999_000),
        (INT64_MIN, -9_223_372_036_854, -775_808_000),
    ],
)
@pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD", "CLF"])
def test_known_amounts(currency: str, micros: int, units: int, nanos: int) -> None:
    """Given currencies of 0, 2, 3 and 4 decimals, When amounts are sent, Then a millionth is 1000 nanos in each."""
    sent = money_to_message(currency, micros)
    assert (sent.currency_code, sent.units, sent.nanos) == (currency, units, nanos)


@given(st.integers(-(2**80), 2**80))
def test_sums_may_be_larger_than_amounts(micros: int) -> None:
    """Given a sum past 64 bits of micros, When it is sent, Then no digit is lost; as an amount it is refused."""
    sent = money_to_message("EUR", micros)
    assert sent.units * 10**9 + sent.nanos == micros * 1000
    if not INT64_MIN <= micros <= INT64_MAX:
        with pytest.raises(MoneyError, match="out of range"):
            money_from_message(sent)


@pytest.mark.parametrize(
    ("units", "nanos", "named"),
    [
        (1, 1, "nanos 1 "),
        (0, 999_999_999, "999999999"),
        (0, 1_000_000_000, "1000000000"),
        (0, -1_000_000_000, "-1000000000"),
        (1, -1000, "-1000"),
        (-1, 1000, "units -1"),
        (INT64_MAX, 0, "out of range"),
        (INT64_MIN, 0, "out of range"),
    ],
)
def test_what_is_no_amount_is_refused(units: int, nanos: int, named: str) -> None:
    """Given units and nanos that are no amount, When they are read, Then the error names the value."""
    with pytest.raises(MoneyError, match=named):
        money_from_message(MoneyMessage(currency_code="EUR", units=units, nanos=nanos))


def test_nothing_is_zero_of_no_currency() -> None:
    """Given a field that is not set, When it is read, Then it is zero; whose field it is knows the currency."""
    assert money_from_message(MoneyMessage()) == Money("", 0)
