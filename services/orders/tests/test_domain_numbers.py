"""Given order numbers, then people can read them aloud, and what they write is understood."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orders.domain.numbers import RANDOM_BITS, order_number, parse_order_number

bits = st.integers(0, 2**RANDOM_BITS - 1)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001


@given(instants, bits)
def test_a_number_has_one_form_and_reads_back(at: datetime, random_bits: int) -> None:
    """Given any instant and random bits, when written and read, then it is the same number, without I L O U."""
    number = order_number(at, random_bits)
    assert re.fullmatch(r"FA-[0-9]{6}-[0-9A-HJKMNP-TV-Z]{8}", number)
    assert number[3:9] == at.strftime("%y%m%d")
    assert parse_order_number(number) == number


@given(instants, bits, bits)
def test_different_bits_give_different_numbers(at: datetime, one: int, other: int) -> None:
    """Given two draws on one day, when written, then the numbers are equal only where the draws are."""
    assert (order_number(at, one) == order_number(at, other)) == (one == other)


@given(instants, bits, st.randoms(use_true_random=False))
def test_sloppy_writing_is_understood(at: datetime, random_bits: int, random: object) -> None:
    """Given a number in small letters, with spaces, without dashes, 0 as O and 1 as I or L, then it is found."""
    number = order_number(at, random_bits)
    choose = random.choice  # type: ignore[attr-defined]
    sloppy = "".join(
        choose([character, character.lower(), {"0": "o", "1": choose("iLl")}.get(character, character)])
        for character in number[3:]
    )
    assert parse_order_number(f" fa {choose([sloppy, sloppy.replace('-', ''), sloppy.replace('-', ' - ')])} ") == number


def test_the_day_is_utc() -> None:
    """Given an instant late in the evening west of Greenwich, when numbered, then the day is the UTC one."""
    evening = datetime(2026, 11, 22, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert order_number(evening, 0) == "FA-261123-00000000"


@pytest.mark.parametrize(
    "text", ["", "FA", "FA-261123-7K3M9Q2", "FA-261123-7K3M9Q2XX", "FA-261123-7K3M9Q2U", "XA-261123-7K3M9Q2X",
             "FA-2611A3-7K3M9Q2X", "FA-261123-7K3M9Q2X; DROP TABLE orders", "0199a1b2-0000-7000-8000-000000000000"],
)  # fmt: skip
def test_what_is_no_number_is_none(text: str) -> None:
    """Given something else, when read, then it is no order number."""
    assert parse_order_number(text) is None


@pytest.mark.parametrize("random_bits", [-1, 2**RANDOM_BITS])
def test_bits_that_do_not_fit_are_refused(random_bits: int) -> None:
    """Given bits out of range, when numbered, then it is refused rather than cut."""
    with pytest.raises(ValueError, match="does not fit"):
        order_number(datetime(2026, 1, 1, tzinfo=UTC), random_bits)
