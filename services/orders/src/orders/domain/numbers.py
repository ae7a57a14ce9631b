"""Order numbers for people: `FA-261123-7K3M9Q2X`, the day (UTC) and 40 random bits.

The random part is Crockford's base 32, which leaves out I, L, O and U, so that it survives being read aloud.
"""

import re
from datetime import UTC, datetime

RANDOM_BITS = 40
CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = RANDOM_BITS // 5
_NUMBER = re.compile(rf"FA-[0-9]{{6}}-[{CODE_ALPHABET}]{{{_LENGTH}}}")
_WRITTEN = re.compile(r"FA([0-9OIL]{6})([0-9A-Z]{8})")
# Crockford: what is easily taken for a digit is read as that digit.
MISREAD = str.maketrans("OIL", "011")


def order_number(placed_at: datetime, random_bits: int) -> str:
    """The number of an order placed at `placed_at`; `random_bits` is an integer below 2^40."""
    if not 0 <= random_bits < 2**RANDOM_BITS:
        raise ValueError(f"{random_bits} does not fit {RANDOM_BITS} bits")
    places = range(RANDOM_BITS - 5, -1, -5)
    code = "".join(CODE_ALPHABET[random_bits >> shift & 31] for shift in places)
    return day_of_number(placed_at) + code


def day_of_number(placed_at: datetime) -> str:
    """What all numbers of orders of that day (UTC) begin with: `FA-261123-`."""
    return f"FA-{placed_at.astimezone(UTC):%y%m%d}-"


def compact_number(written: str) -> str:
    """An order number, or a part of one, as it is compared: capital letters, no spaces, no dashes."""
    return re.sub(r"[\s-]", "", written).upper()


def parse_order_number(written: str) -> str | None:
    """The order number that a person wrote, in its one true form, or None where it is none.

    Case, spaces and missing dashes do not matter, and O, I and L are read as the digits they look like.
    """
    found = _WRITTEN.fullmatch(compact_number(written))
    if found is None:
        return None
    day, code = (part.translate(MISREAD) for part in found.groups())
    number = f"FA-{day}-{code}"
    return number if _NUMBER.fullmatch(number) else None
