"""What is asked of a wallet's lines: filter, order, place in a list, sums. Pure.

Texts are compared as `servicekit.folding` says.
"""

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from servicekit.folding import fold

from wallet.domain.ledger import LineType

TOTALS_MAX: Final = 10_000
# As many characters of an order number as name its day: `FA261123` of FA-261123-7K3M9Q2X.
ORDER_DAY_CHARACTERS: Final = 8
_LAST_CHARACTER: Final = chr(0x10FFFF)
_TYPES_BY_NAME: Final[Mapping[str, int]] = {each.name.casefold(): int(each) for each in LineType}
# What does not count in an order number.
SEPARATORS: Final = " \t\n\v\f\r-"
_COMPACT: Final = str.maketrans(string.ascii_lowercase, string.ascii_uppercase, SEPARATORS)
_NUL: Final = "\0"


def compact_number(text: str) -> str:
    """An order number as it is compared: capital letters (ASCII), no spaces, no dashes."""
    return text.translate(_COMPACT)


def after_prefix(prefix: str) -> str:
    """The end of the range of texts, in the order of their code points, that begin with `prefix`."""
    return prefix + _LAST_CHARACTER


class Order(IntEnum):
    """In which order lines are listed; the numbers of farthing.wallet.v1.EntryOrder."""

    NEWEST = 1
    OLDEST = 2
    AMOUNT_DESCENDING = 3
    AMOUNT_ASCENDING = 4

    @property
    def by_amount(self) -> bool:
        return self in (Order.AMOUNT_DESCENDING, Order.AMOUNT_ASCENDING)

    @property
    def descends(self) -> bool:
        """The largest first: by amount, and by sequence where amounts are equal."""
        return self in (Order.NEWEST, Order.AMOUNT_DESCENDING)


@dataclass(frozen=True, slots=True)
class Search:
    """The search box: any one of the three is enough. `number` is compact; empty where it is no number at all."""

    text: str
    types: frozenset[int]
    number: str

    @classmethod
    def of(cls, typed: str) -> "Search | None":
        """What a person typed; None where it is nothing but spaces."""
        text = fold(typed.strip())
        if not text:
            return None
        named = _TYPES_BY_NAME.get(text)
        number = "" if _NUL in typed else compact_number(typed)
        return cls(text, frozenset() if named is None else frozenset({named}), number)


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """All that is set must hold. `items` are folded parts, any one of them; `number` is compact; `types` any one.

    `posted_from` is in, `posted_to` is not.
    """

    posted_from: datetime | None = None
    posted_to: datetime | None = None
    types: frozenset[int] = frozenset()
    items: tuple[str, ...] = ()
    number: str = ""
    cloud_phone_id: str = ""
    search: Search | None = None

    @property
    def names_items(self) -> bool:
        """It cannot be answered without knowing which items a wallet has."""
        return bool(self.items) or self.search is not None

    @property
    def is_empty(self) -> bool:
        """Any line passes that is within the instants."""
        return not (self.types or self.items or self.number or self.cloud_phone_id or self.search)

    @property
    def searched_text(self) -> str:
        """What the search box wants to find within items; empty where nothing is searched for."""
        return self.search.text if self.search else ""

    @property
    def is_absurd(self) -> bool:
        """No line can pass: no text of the books holds a NUL."""
        return _NUL in self.number or _NUL in self.cloud_phone_id

    def wants_item(self, item: str) -> bool:
        """Whether the item has one of the parts asked for, as far as any are."""
        return not self.items or any(part in item for part in self.items)

    def finds_item(self, item: str) -> bool:
        """Whether the search box finds the (folded) item."""
        return self.search is not None and self.search.text in item


@dataclass(frozen=True, slots=True)
class NamedItems:
    """Of some items, as the lines say them, those that a filter wants and those that its search box finds."""

    wanted: tuple[str, ...]
    found: tuple[str, ...]


def matching_items(wanted: EntryFilter, items: Iterable[str]) -> NamedItems:
    """The `items` that the filter is about."""
    known = [(item, fold(item)) for item in items]
    return NamedItems(
        tuple(item for item, text in known if wanted.wants_item(text)),
        tuple(item for item, text in known if wanted.finds_item(text)),
    )


@dataclass(frozen=True, slots=True)
class Window:
    """Sequences `after` < s <= `to`: a range of instants, and what was there when a list was begun."""

    after: int
    to: int

    @property
    def is_empty(self) -> bool:
        return self.after >= self.to


@dataclass(frozen=True, slots=True)
class Place:
    """The last line of the page before; `amount_micros` counts in lists by amount only."""

    sequence: int
    amount_micros: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the lines that a filter leaves; where `more`, there are more than `count` and the sums are not known."""

    count: int
    more: bool
    credits_micros: int
    debits_micros: int
