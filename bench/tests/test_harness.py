"""Medians, ratios, and what is written down."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.harness import Effort, Figure, Measured, Result, Round, Row, interleave, write

ROW = Row(name="row", title="A row", unit="things/s", against="another", target=0.8)
FIELDS = {
    *("name", "title", "value", "unit", "against", "against_value", "ratio", "target", "bound", "reached"),
    *("rounds", "cores", "versions", "measured_at", "notes"),
}


def rounds(*pairs: tuple[float, float]) -> list[Round]:
    return [Round(Figure(ours), Figure(against)) for ours, against in pairs]


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """Given a machine that is slow for one round. When both sides were slow then. Then the ratio does not move."""
    result = Result(ROW, Measured(rounds((90, 100), (9, 10), (180, 200))))

    assert (result.value, result.against_value) == (90, 100)
    assert result.ratio == pytest.approx(0.9)
    assert result.reached


@pytest.mark.parametrize(("ours", "bound", "reached"), [(79, "at_least", False), (80, "at_least", True)])
def test_a_target_is_reached_at_its_value(ours: float, bound: str, reached: bool) -> None:
    """Given a target of 0.8. When the ratio is just below or at it. Then it is missed or reached."""
    assert Result(ROW, Measured(rounds((ours, 100)))).reached is reached


def test_a_bound_from_above_is_kept_below_it() -> None:
    """Given a bound of 1 from above. When the ratio is 0.5 or 1.5. Then it is kept or broken."""
    row = Row("row", "A row", "s", "the bound", 1.0, "at_most")

    assert Result(row, Measured(rounds((1, 2)))).reached
    assert not Result(row, Measured(rounds((3, 2)))).reached


def test_sides_take_turns_at_going_first() -> None:
    """Given two sides. When four rounds are measured. Then each goes first in every second one."""
    calls: list[str] = []

    def side(name: str, value: float) -> Figure:
        calls.append(name)
        return Figure(value)

    found = interleave(Effort(rounds=4), lambda: side("ours", 3), lambda: side("against", 2), lambda _: None)

    assert calls == ["against", "ours", "ours", "against"] * 2
    assert [each.ratio for each in found] == [1.5] * 4


def test_two_rounds_are_refused() -> None:
    """Given an effort of two rounds. When it is asked for. Then it is refused: two have no median."""
    with pytest.raises(ValueError, match="take 3 or more"):
        interleave(Effort(rounds=2), lambda: Figure(1), lambda: Figure(1), lambda _: None)


def test_the_file_holds_every_field(tmp_path: Path) -> None:
    """Given a result. When it is written. Then the JSON has all fields, each round with both sides."""
    result = Result(ROW, Measured(rounds((1, 2), (2, 2), (3, 2)), ["a note"]))

    path = write(result, {"python": "3"}, tmp_path)

    found = json.loads(path.read_text())
    assert path.name == "row.json"
    assert set(found) == FIELDS
    assert (found["value"], found["against_value"], found["ratio"]) == (2, 2, 1)
    assert [each["ratio"] for each in found["rounds"]] == [0.5, 1, 1.5]
    assert datetime.fromisoformat(found["measured_at"]).astimezone(UTC).tzinfo is UTC
