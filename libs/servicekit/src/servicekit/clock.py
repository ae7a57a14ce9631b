"""Time, injected. UTC everywhere (design 5).

In SQL the same clock is `farthing_now()`: the database's clock plus the setting `farthing.clock_offset`, which only
development sets.
"""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The present instant, with time zone UTC."""
        ...


class SystemClock:
    """The machine's clock, plus an offset for a development stack that lives in another month."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self._offset = offset

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset


class FixedClock:
    """A clock for tests: stands still until it is moved."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by


SYSTEM_CLOCK: Clock = SystemClock()
