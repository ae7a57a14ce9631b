"""ISO 4217: which codes exist, how many decimals their documents show, and rounding to that."""

from __future__ import annotations

import re
from functools import lru_cache

from iso4217 import raw_table

from money.amounts import MICROS_PER_UNIT, MoneyError, check_micros

# The standard lists these beside currencies; nobody can be paid in them.
_NOT_MONEY = frozenset({"XTS", "XXX"})
_MICRO_EXPONENT = 6
_CODE = re.compile("[A-Z]{3}")
# What is no code may be of any length.
_LONGEST_QUOTED = 10

_EXPONENTS: dict[str, int] = {
    code: int(str(row["CcyMnrUnts"]))
    for code, row in raw_table.items()
    if code and code not in _NOT_MONEY and str(row["CcyMnrUnts"]).isdigit()
}


def valid_currency(code: str) -> bool:
    """True for an ISO 4217 code in capitals that has minor units (no metals, funds units or test codes)."""
    return code in _EXPONENTS


def check_currency(code: str) -> str:
    """Return `code` unchanged, or raise MoneyError where it is not three capitals, as codes are.

    Whether there is such a currency is not asked: the standard drops some that wallets have still.
    """
    if not _CODE.fullmatch(code):
        raise not_a_currency(code)
    return code


def not_a_currency(code: str) -> MoneyError:
    """What is to be said of `code`, which is none; quoted short, whatever it is."""
    return MoneyError(
        f"'{code[:_LONGEST_QUOTED]}' is not a currency; use an ISO 4217 code in capitals, such as EUR or USD"
    )


@lru_cache(maxsize=256)
def minor_exponent(currency: str) -> int:
    """Decimals of the currency's smallest unit: 2 for EUR, 0 for JPY, 3 for KWD. MoneyError if unknown."""
    try:
        return _EXPONENTS[currency]
    except KeyError:
        raise not_a_currency(currency) from None


def round_to_minor(micros: int, currency: str) -> tuple[int, int]:
    """Round to the currency's smallest unit, half away from zero, as invoices do.

    Returns (rounded_micros, rounding_micros) with rounded_micros == micros + rounding_micros, so a document
    can show what the rounding added (or took, when negative). The rounded amount is for display: it may lie up to
    half a smallest unit beyond the 64-bit range. Raises MoneyError for an unknown currency and for `micros` out of it.
    """
    step = MICROS_PER_UNIT // 10 ** min(minor_exponent(currency), _MICRO_EXPONENT)
    size = (abs(check_micros(micros)) + step // 2) // step * step
    rounded = -size if micros < 0 else size
    return rounded, rounded - micros
