"""Given prices that follow each other, then at every instant one is valid at most, and the past stands still."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orders.domain.catalogue import (
    CLOCK_TOLERANCE,
    ValidFromPast,
    Validity,
    ValidityOverlap,
    effective_from,
    place,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def valid_at(existing: list[Validity], instant: datetime) -> list[Validity]:
    return [
        each for each in existing if each.valid_from <= instant and (each.valid_to is None or instant < each.valid_to)
    ]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_any_series_of_changes_never_overlaps_nor_touches_the_past(starts: list[int]) -> None:
    """Given changes from any instants in any order, when placed, then none overlap and earlier instants keep theirs."""
    existing: list[Validity] = []
    model: dict[int, object] = {}  # minute of start -> id; the latest start at or before an instant is valid
    for start in starts:
        before = list(existing)
        begins = NOON + start * MINUTE
        if start in model:
            with pytest.raises(ValidityOverlap):
                place(existing, begins)
            continue
        placement = place(existing, begins)
        existing = [replace(each, valid_to=begins) if each.id == placement.closes else each for each in existing]
        existing.append(Validity(uuid4(), placement.valid_from, placement.valid_to))
        model[start] = existing[-1].id
        for minute in range(42):
            instant = NOON + minute * MINUTE
            expected = [model[max(m for m in model if m <= minute)]] if any(m <= minute for m in model) else []
            assert [each.id for each in valid_at(existing, instant)] == expected
            if minute < start:
                assert {v.id for v in valid_at(existing, instant)} == {v.id for v in valid_at(before, instant)}


def test_a_new_price_before_a_planned_one_ends_where_that_begins() -> None:
    """Given one open price and one planned for tomorrow, when one is set from now on, then it lasts until tomorrow."""
    tomorrow = NOON + timedelta(days=1)
    current = Validity(uuid4(), NOON - MINUTE, tomorrow)
    planned = Validity(uuid4(), tomorrow, None)
    placement = place([planned, current], NOON)
    assert (placement.valid_from, placement.valid_to, placement.closes) == (NOON, tomorrow, current.id)


def test_one_instant_has_room_for_one() -> None:
    """Given a price planned for noon, when another is set for noon, then it is refused; a microsecond later it fits."""
    planned = Validity(uuid4(), NOON, None)
    with pytest.raises(ValidityOverlap, match="2026-11-23T12:00:00"):
        place([planned], NOON)
    assert place([planned], NOON + timedelta(microseconds=1)).closes == planned.id


def test_one_that_ended_is_left_alone() -> None:
    """Given a price that ended at noon, when one begins at noon, then nothing is closed."""
    assert place([Validity(uuid4(), NOON - MINUTE, NOON)], NOON).closes is None


def test_the_past_is_refused_but_a_slow_clock_is_forgiven() -> None:
    """Given instants around now, when asked for, then nothing begins in the past."""
    assert effective_from(None, NOON) == NOON
    assert effective_from(NOON - CLOCK_TOLERANCE, NOON) == NOON
    assert effective_from(NOON + MINUTE, NOON) == NOON + MINUTE
    with pytest.raises(ValidFromPast, match="never change"):
        effective_from(NOON - CLOCK_TOLERANCE - timedelta(microseconds=1), NOON)
