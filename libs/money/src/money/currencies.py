"""ISO 4217: which codes exist, how many decimals their documents show, and rounding to that."""

from __future__ import annotations

from functools import lru_cache

from iso4217 import raw_table

from money.amounts import MICROS_PER_UNIT, MoneyError, check_micros

# The standard lists these beside currencies; nobody can be paid in them.
_NOT_MONEY = frozenset({"XTS", "XXX"})
_MICRO_EXPONENT = 6

_EXPONENTS: dict[str, int] = {
    code: int(str(row["CcyMnrUnts"]))
    for code, row in raw_table.items()
    if code and code not in _NOT_MONEY and str(row["CcyMnrUnts"]).isdigit()
}


def valid_currency(code: str) -> bool:
    """True for an ISO 4217 code in capitals that has minor units (no metals, funds units or test codes)."""
    return code in _EXPONENTS


@lru_cache(maxsize=256)
def minor_exponent(currency: str) -> int:
    """Decimals of the currency's smallest unit: 2 for EUR, 0 for JPY, 3 for KWD. MoneyError if unknown."""
    try:
        return _EXPONENTS[currency]
    except KeyError:
        raise MoneyError(
            f"'{currency}' is not a currency; use an ISO 4217 code in capitals, such as EUR or USD"
        ) from None


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
