"""A wallet's movements between two instants: opening + credits + debits = closing. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TypeSum:
    """The lines of one type in a statement; `debits_micros` is zero or less."""

    type: int
    count: int
    credits_micros: int
    debits_micros: int

    @property
    def amount_micros(self) -> int:
        return self.credits_micros + self.debits_micros


@dataclass(frozen=True, slots=True)
class Header:
    """What every page of a statement says: it is over the lines `after` < sequence <= `to`."""

    after: int
    to: int
    opening_micros: int
    closing_micros: int
    sums: tuple[TypeSum, ...]

    @property
    def credits_micros(self) -> int:
        return sum(each.credits_micros for each in self.sums)

    @property
    def debits_micros(self) -> int:
        return sum(each.debits_micros for each in self.sums)

    @property
    def line_count(self) -> int:
        return self.to - self.after

    @property
    def agrees(self) -> bool:
        """Opening, movements and closing fit together; anything else is damage to the books."""
        counted = sum(each.count for each in self.sums)
        moved = self.credits_micros + self.debits_micros
        return counted == self.line_count and self.opening_micros + moved == self.closing_micros
