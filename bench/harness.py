"""What every row shares: rounds, medians, ratios, the JSON it leaves behind, and the versions it was measured with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from local_stack import artifacts, postgres
from servicekit.clock import SYSTEM_CLOCK

RESULTS = Path(__file__).parent / "results"
ROUNDS_MIN = 3
_PACKAGES = (
    "grpcio",
    "uvloop",
    "protobuf",
    "protovalidate",
    "asyncpg",
    "aiokafka",
    "typst",
    "minio",
    "aiosmtplib",
    "xlsxwriter",
)

Progress = Callable[[str], None]
Side = Callable[[], "Figure"]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one side did in one round, in the row's unit; `details` are kept beside it (latencies, what was left)."""

    value: float
    details: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides, one right after the other."""

    ours: Figure
    against: Figure

    @property
    def ratio(self) -> float:
        """Ours over the other side's."""
        return self.ours.value / self.against.value if self.against.value else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One speed: what is measured, against what, and which ratio is to be reached (`at_least` or `at_most`)."""

    name: str
    title: str
    unit: str
    against: str
    target: float
    bound: Literal["at_least", "at_most"] = "at_least"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: rounds, and seconds of each side in a round."""

    rounds: int = ROUNDS_MIN
    seconds: float = 8.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of a row and what one should know about them."""

    rounds: Sequence[Round]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its figures: medians of each side, and the median of the rounds' ratios.

    The ratio is taken within each round, so that a machine that is slower for a while slows both sides of it.
    """

    row: Row
    measured: Measured

    @property
    def value(self) -> float:
        return median(each.ours.value for each in self.measured.rounds)

    @property
    def against_value(self) -> float:
        return median(each.against.value for each in self.measured.rounds)

    @property
    def ratio(self) -> float:
        return median(each.ratio for each in self.measured.rounds)

    @property
    def reached(self) -> bool:
        return self.ratio >= self.row.target if self.row.bound == "at_least" else self.ratio <= self.row.target

    def as_dict(self, versions: Mapping[str, str], measured_at: datetime) -> dict[str, Any]:
        """What is written to `results/<name>.json`."""
        return {
            "name": self.row.name,
            "title": self.row.title,
            "value": _short(self.value),
            "unit": self.row.unit,
            "against": self.row.against,
            "against_value": _short(self.against_value),
            "ratio": _short(self.ratio),
            "target": self.row.target,
            "bound": self.row.bound,
            "reached": self.reached,
            "rounds": [
                {
                    "value": _short(each.ours.value),
                    "against_value": _short(each.against.value),
                    "ratio": _short(each.ratio),
                    "details": dict(each.ours.details),
                    "against_details": dict(each.against.details),
                }
                for each in self.measured.rounds
            ],
            "cores": os.cpu_count(),
            "versions": dict(versions),
            "measured_at": measured_at.isoformat(timespec="seconds"),
            "notes": list(self.measured.notes),
        }


def interleave(effort: Effort, ours: Side, against: Side, progress: Progress) -> list[Round]:
    """Measures both sides in turn, the other one first in every second round. ValueError for fewer than 3 rounds."""
    if effort.rounds < ROUNDS_MIN:
        raise ValueError(f"{effort.rounds} rounds give no median worth its name; take {ROUNDS_MIN} or more")
    rounds = []
    for number in range(1, effort.rounds + 1):
        if number % 2:
            theirs, own = against(), ours()
        else:
            own, theirs = ours(), against()
        done = Round(own, theirs)
        progress(f"round {number} of {effort.rounds}: {own.value:,.4g} beside {theirs.value:,.4g}, {done.ratio:.2f}x")
        rounds.append(done)
    return rounds


def write(result: Result, versions: Mapping[str, str], folder: Path = RESULTS) -> Path:
    """Writes `<name>.json`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.row.name}.json"
    now = SYSTEM_CLOCK.now().astimezone(UTC)
    path.write_text(json.dumps(result.as_dict(versions, now), indent=2, ensure_ascii=False) + "\n")
    return path


def versions() -> dict[str, str]:
    """What both sides ran on."""
    pgbench = postgres.CLIENT_BIN / "pgbench"
    said = subprocess.run([str(pgbench), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "python": platform.python_version(),
        "postgres": said.strip().rpartition(" ")[2],
        "kafka": artifacts.KAFKA_VERSION,
        "versitygw": artifacts.VERSITYGW_VERSION,
        **{package: version(package) for package in _PACKAGES},
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")
