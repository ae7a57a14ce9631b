"""Exact money: signed 64-bit integers of a millionth of the currency unit ("micros"). Pure.

1 EUR is 1_000_000 micros. Everything that computes keeps every micro; only documents round, once, on
their total, and show by how much (`round_to_minor`). `money.messages` knows what contracts carry; rules do not.
"""

from money.amounts import (
    INT64_MAX,
    INT64_MIN,
    MICROS_PER_UNIT,
    Money,
    MoneyError,
    check_micros,
    tax_micros,
    times,
)
from money.currencies import check_currency, minor_exponent, not_a_currency, round_to_minor, valid_currency
from money.display import decimals_needed, format_amount, format_exact, format_money

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "MICROS_PER_UNIT",
    "Money",
    "MoneyError",
    "check_currency",
    "check_micros",
    "decimals_needed",
    "format_amount",
    "format_exact",
    "format_money",
    "minor_exponent",
    "not_a_currency",
    "round_to_minor",
    "tax_micros",
    "times",
    "valid_currency",
]
