"""Amounts as people read them, and exactly."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from money import INT64_MAX, INT64_MIN, MoneyError, decimals_needed, format_amount, format_exact, format_money

NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("micros", "currency", "language", "text"),
    [
        (1_234_567_890_000, "EUR", "en", "€1,234,567.89"),
        (1_234_560_000, "EUR", "de", f"1.234,56{NBSP}€"),
        (1_234_560_000, "EUR", "fr", f"1\u202f234,56{NBSP}€"),
        (1_234_560_000, "CNY", "zh", "¥1,234.56"),
        (1_234_000_000, "JPY", "en", "¥1,234"),
        (-5_500_000, "USD", "en", "-$5.50"),
        (1, "USD", "en", "$0.000001"),
        (12_345_600, "USD", "en", "$12.3456"),
        (1_500_000, "KWD", "en", f"KWD{NBSP}1.500"),
        (1_000_000, "EUR", "not-a-language", "€1.00"),
    ],
)
def test_money_for_people(micros: int, currency: str, language: str, text: str) -> None:
    """Given an amount and a language, When formatted, Then it reads as people there write it."""
    assert format_money(micros, currency, language) == text


def test_arabic_money_carries_its_symbol() -> None:
    """Given riyals in Arabic, When formatted, Then digits and the Arabic symbol are there."""
    text = format_money(1_234_500_000, "SAR", "ar")
    assert "1,234.50" in text
    assert "ر.س" in text


def test_unknown_currency_is_refused() -> None:
    """Given a code that is no currency, When formatted, Then the error names it."""
    with pytest.raises(MoneyError, match="'EURO'"):
        format_money(1, "EURO", "en")


@given(st.integers(INT64_MIN, INT64_MAX))
def test_exact_loses_nothing(micros: int) -> None:
    """Given any amount, When written exactly and read back, Then every millionth is there, plainly."""
    text = format_exact(micros)
    assert Decimal(text) == Decimal(micros).scaleb(-6)
    assert "E" not in text.upper()
    assert not ("." in text and text.endswith("0"))


@given(st.integers(INT64_MIN, INT64_MAX))
def test_display_never_rounds(micros: int) -> None:
    """Given any amount, When shown to people, Then the digits shown are the whole amount."""
    shown = format_money(micros, "USD", "en").replace("$", "").replace(",", "")
    assert Decimal(shown) == Decimal(micros).scaleb(-6)


@given(st.integers(INT64_MIN, INT64_MAX))
def test_columns_show_the_whole_amount_with_equal_decimals(micros: int) -> None:
    """Given any amount, When formatted for a column with the decimals it needs, Then exactly those appear."""
    decimals = decimals_needed(micros)
    text = format_amount(micros, "en", decimals)
    assert Decimal(text.replace(",", "")) == Decimal(micros).scaleb(-6)
    assert len(text.partition(".")[2]) == decimals


def test_columns_speak_the_language() -> None:
    """Given an amount, When formatted for a German column, Then comma and dots are where Germans put them."""
    assert format_amount(1_234_500_000, "de") == "1.234,50"
    assert format_amount(1_234_500_000, "de", 4) == "1.234,5000"
    assert format_amount(-12_500, "en", 2) == "-0.0125"
