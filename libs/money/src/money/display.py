"""Amounts for people, in their language, and as exact plain decimals. What people read may be a rounded amount or a
sum, larger than an amount can be; an exact decimal is an amount."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.numbers import NumberPattern, parse_pattern

from money.amounts import MICROS_PER_UNIT, check_micros
from money.currencies import minor_exponent

_FALLBACK = Locale("en")
# CLDR's currencySpacing, which babel leaves out: a code made of letters keeps its distance from the digits.
_LETTER_BEFORE_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)")


@lru_cache(maxsize=256)
def _locale(language: str) -> Locale:
    try:
        return Locale.parse(language.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return _FALLBACK


@lru_cache(maxsize=1024)
def _pattern(language: str, symbol: bool, decimals: int) -> NumberPattern:
    """The language's pattern for money or for plain numbers, with `decimals` to six fraction digits."""
    locale = _locale(language)
    pattern = (locale.currency_formats["standard"] if symbol else locale.decimal_formats[None]).pattern
    parsed = parse_pattern(pattern)
    parsed.frac_prec = (decimals, max(decimals, 6))
    return parsed


def format_money(micros: int, currency: str, language: str = "en") -> str:
    """Format for people with the currency's symbol: 1234567890 EUR is '1.234,56789 EUR-sign' in `de`.

    Shows at least the currency's own decimals and, when the amount is finer, as many more as it needs (six
    at most), so nothing displayed is ever rounded; round with `round_to_minor` first where that is wanted.
    `language` is a BCP 47 tag; an unknown one falls back to English. MoneyError for an unknown currency.
    """
    pattern = _pattern(language, True, minor_exponent(currency))
    value = Decimal(micros).scaleb(-6)
    text = pattern.apply(value, _locale(language), currency=currency, currency_digits=False)
    return _LETTER_BEFORE_DIGIT.sub("\u00a0", text)


def format_amount(micros: int, language: str = "en", decimals: int = 2) -> str:
    """Format for a column that names its currency elsewhere: no symbol, at least `decimals` digits, exact."""
    value = Decimal(micros).scaleb(-6)
    return str(_pattern(language, False, decimals).apply(value, _locale(language)))


def decimals_needed(micros: int) -> int:
    """How many decimals (0 to 6) write the amount without loss: 2 for 1_250_000, 6 for 1."""
    return len(f"{abs(micros) % MICROS_PER_UNIT:06d}".rstrip("0"))


def format_exact(micros: int) -> str:
    """Plain decimal string that keeps every millionth: '-12.5', '0.000001', '3'. Never an exponent."""
    units, rest = divmod(abs(check_micros(micros)), MICROS_PER_UNIT)
    fraction = f"{rest:06d}".rstrip("0")
    return ("-" if micros < 0 else "") + str(units) + (f".{fraction}" if fraction else "")
