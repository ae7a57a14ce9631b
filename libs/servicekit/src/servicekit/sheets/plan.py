"""What a file is to look like: its columns, and how a value of each kind is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path

# Excel's (ECMA-376 says nothing; Microsoft's "Excel specifications and limits" does).
ROWS_PER_SHEET_MAX = 1_048_576

Row = Sequence[object]


class Kind(IntEnum):
    """What a column holds, and what its cells are given as. Any cell may be None: it stays empty."""

    # str.
    TEXT = 1
    # int.
    INTEGER = 2
    # int of millionths of the currency's unit, shown as a number with two to six decimals.
    AMOUNT = 3
    # Aware datetime; shown in UTC.
    INSTANT = 4


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `summed`: its sum stands among the totals, one a currency (AMOUNT and INTEGER only)."""

    name: str
    kind: Kind = Kind.TEXT
    summed: bool = False

    @property
    def heading(self) -> str:
        """As it stands in the file: instants say which zone they are in."""
        return f"{self.name} (UTC)" if self.kind is Kind.INSTANT else self.name


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole file. `currency_column` names the column whose text tells the totals apart; empty: one total."""

    sheet_name: str
    columns: tuple[Column, ...]
    # Label and value, for the sheet that says what this is.
    facts: tuple[tuple[str, str], ...] = ()
    currency_column: str = ""
    # The heading included.
    rows_per_sheet: int = ROWS_PER_SHEET_MAX


@dataclass(frozen=True, slots=True)
class Job:
    """What the worker is told first: the plan, the format (`csv` or `xlsx`) and a folder for temporary files."""

    plan: Plan
    format: str
    folder: Path


class Totals:
    """Counts and sums, a line a currency in the order in which they first came."""

    def __init__(self, plan: Plan) -> None:
        self.columns = [position for position, column in enumerate(plan.columns) if column.summed]
        names = [column.name for column in plan.columns]
        self.currency_at = names.index(plan.currency_column) if plan.currency_column else None
        self.count = 0
        self._sums: dict[str, list[int]] = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Takes `rows` in."""
        self.count += len(rows)
        if not self.columns:
            return
        currency_at, columns, sums = self.currency_at, self.columns, self._sums
        for row in rows:
            currency = "" if currency_at is None else str(row[currency_at] or "")
            line = sums.get(currency)
            if line is None:
                line = sums[currency] = [0] * len(columns)
            for index, position in enumerate(columns):
                value = row[position]
                if value is not None:
                    line[index] += value  # type: ignore[operator]  # the plan says it is an int

    def lines(self) -> list[tuple[str, dict[int, int]]]:
        """Currency, and the sum at each summed column's position."""
        return [(currency, dict(zip(self.columns, line, strict=True))) for currency, line in self._sums.items()]


def decimal_of(micros: int) -> str:
    """Millionths as a plain exact decimal of two to six places: 12500000 is `12.50`."""
    whole, part = divmod(abs(micros), 1_000_000)
    sign = "-" if micros < 0 else ""
    places = f"{part:06d}"
    return f"{sign}{whole}.{places[:2]}{places[2:].rstrip('0')}"


def utc(value: datetime) -> datetime:
    """`value` in UTC. ValueError where it has no zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return value.astimezone(UTC)
