"""ISO 4217 codes and the rounding that documents show."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from money import (
    INT64_MAX,
    INT64_MIN,
    MoneyError,
    check_currency,
    format_amount,
    format_money,
    minor_exponent,
    round_to_minor,
    valid_currency,
)


@pytest.mark.parametrize(
    ("code", "valid"),
    [("EUR", True), ("USD", True), ("JPY", True), ("KWD", True), ("eur", False), ("EURO", False), ("", False)]
    + [(code, False) for code in ("XXX", "XTS", "XAU", "ABC", "EUR ", "€")],
)
def test_valid_currency(code: str, valid: bool) -> None:
    """Given a code, When it is checked, Then only ISO 4217 money in capitals passes."""
    assert valid_currency(code) is valid


@pytest.mark.parametrize("code", ["", "eur", "EU", "EURO", "EU€", "ÄÖÜ", "EUR\n", "X" * 10_000])
def test_what_is_no_code_is_quoted_short(code: str) -> None:
    """Given what is not three capitals, When it is checked, Then the error quotes its beginning; others may pass."""
    with pytest.raises(MoneyError) as refused:
        check_currency(code)
    assert f"'{code[:10]}' is not a currency" in str(refused.value)
    assert len(str(refused.value)) < 100
    assert check_currency("ZZZ") == "ZZZ", "a currency of yesterday still has its wallets"


def test_minor_exponents() -> None:
    """Given currencies with 0, 2, 3 and 4 decimals, When asked, Then ISO 4217 answers; unknown is refused."""
    assert [minor_exponent(c) for c in ("JPY", "EUR", "KWD", "CLF")] == [0, 2, 3, 4]
    with pytest.raises(MoneyError, match="'eur' is not a currency"):
        minor_exponent("eur")


@given(st.integers(-(10**17), 10**17), st.sampled_from(["JPY", "EUR", "KWD", "CLF"]))
def test_rounding_is_commercial_and_shown(micros: int, currency: str) -> None:
    """Given any amount, When rounded, Then Decimal's half-up agrees and the difference is handed back."""
    rounded, rounding = round_to_minor(micros, currency)
    step = Decimal(1).scaleb(-minor_exponent(currency))
    assert rounded == int(Decimal(micros).scaleb(-6).quantize(step, ROUND_HALF_UP).scaleb(6))
    assert rounding == rounded - micros
    assert round_to_minor(rounded, currency) == (rounded, 0)
    assert round_to_minor(-micros, currency) == (-rounded, -rounding)


def test_halves_go_away_from_zero() -> None:
    """Given half a cent, When rounded, Then it becomes a cent in either direction; yen keep no decimals."""
    assert round_to_minor(5_000, "EUR") == (10_000, 5_000)
    assert round_to_minor(-5_000, "EUR") == (-10_000, -5_000)
    assert round_to_minor(4_999, "EUR") == (0, -4_999)
    assert round_to_minor(500_000, "JPY") == (1_000_000, 500_000)


def test_rounding_may_pass_the_largest_amount() -> None:
    """Given amounts at both ends of the range, When rounded, Then up to the cent beyond: it is shown, never stored."""
    assert round_to_minor(INT64_MAX, "EUR") == (INT64_MAX + 4_193, 4_193)
    assert round_to_minor(INT64_MIN, "EUR") == (INT64_MIN - 4_192, -4_192)
    assert format_money(INT64_MAX + 4_193, "EUR") == "€9,223,372,036,854.78"
    assert format_amount(INT64_MIN - 4_192) == "-9,223,372,036,854.78"


def test_an_amount_out_of_range_is_not_rounded() -> None:
    """Given one micro more than the largest amount, When rounded, Then a MoneyError says so."""
    with pytest.raises(MoneyError, match="out of range"):
        round_to_minor(INT64_MAX + 1, "EUR")
