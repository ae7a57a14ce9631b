"""What a check found."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

FAULTS_SHOWN = 5


@dataclass
class Findings:
    """One invariant's: what was compared, by name, and what does not hold."""

    number: int
    name: str
    counts: Counter[str] = field(default_factory=Counter)
    sums: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.fault_count == 0

    def count(self, what: str, number: int = 1) -> None:
        """`number` more of `what` were compared."""
        self.counts[what] += number

    def fault(self, text: str) -> None:
        """Something that does not hold; the first few are kept, all are counted."""
        self.fault_count += 1
        if len(self.faults) < FAULTS_SHOWN:
            self.faults.append(text)

    def expect(self, holds: bool, text: str) -> None:
        """A fault unless it holds."""
        if not holds:
            self.fault(text)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "number": self.number,
            "name": self.name,
            "ok": self.ok,
            "compared": {**self.counts, **self.sums},
            "fault_count": self.fault_count,
            "faults": self.faults,
        }

    def compared(self) -> str:
        """The same in one line for people."""
        counted = [f"{number:,} {what}" for what, number in self.counts.items()]
        return " · ".join([*counted, *(f"{what} {value}" for what, value in self.sums.items())])
