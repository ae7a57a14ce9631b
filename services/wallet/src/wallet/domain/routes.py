"""How the copied lines of a wallet are walked to answer a question: which ways there are, and the cheapest. Pure.

A question falls into *parts*, none of which has a line in common with another: items and types times the beginning of
an order number. A part is met on *streams*, each sorted by an index. A route decides how fast an answer is, never what
it is: whatever its streams do not say by themselves is checked line by line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from wallet.domain.ledger import LineType
from wallet.domain.search import ORDER_DAY_CHARACTERS, EntryFilter, Order, Window

ALL_TYPES = frozenset(int(each) for each in LineType)
# Fewer streams are read side by side; of more, only those that have the first lines.
FEW_STREAMS = 4
# So many are always tried one by one.
_FEW_ITEMS = 100

# Microseconds, measured: to find a place in an index, to read on by an entry, to look at its row, to look up what its
# item is called, to sort it among others.
_SEEK, _ENTRY, _ROW, _ITEM, _SORT = 6.0, 0.15, 4.0, 2.0, 0.3


class By(StrEnum):
    """What the streams of a route have in common."""

    TYPE = "type"
    ITEM = "item"
    DAY = "day"
    NUMBER = "number"
    PHONE = "phone"


@dataclass(frozen=True, slots=True)
class Items:
    """Items of a part: `lines` of each, of type 1, 2, 3, 4; None where they are many.

    `at_least` are the lines of all, or of some of the many.
    """

    lines: Mapping[int, Sequence[int]] | None
    at_least: Sequence[int]


class Stream(NamedTuple):
    """Lines of one key (an item, a day, or nothing) and type, `after` < sequence <= `to`, about `lines` of them."""

    key: int | str
    type: int
    after: int
    to: int
    lines: float


@dataclass(frozen=True, slots=True)
class Copied:
    """What is known of the copied lines: up to which sequence there are, how many of type 1, 2, 3, 4, and where in the
    window that is looked at the lines of an order's day lie.
    """

    sequence: int
    lines: Sequence[int]
    days: Sequence[Stream] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """At the copied lines within `window`, in this order, until there are `limit`."""

    copied: Copied
    window: Window
    order: Order
    limit: int


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of these types, whose item the filter wants (as far as `is_wanted`), and the search box finds or does not
    (None: either), and whose number begins so.
    """

    types: frozenset[int]
    number: str = ""
    is_wanted: bool = False
    is_found: bool | None = None

    @property
    def asks_for_items(self) -> bool:
        """The text of an item decides whether a line is in it."""
        return self.is_wanted or self.is_found is not None

    @property
    def is_of_items(self) -> bool:
        """It is worth to know which items these are: not where they are all but a few."""
        return self.is_wanted or self.is_found is True


@dataclass(frozen=True, slots=True)
class Route:
    """A part, the streams on which it is met, and how.

    `gathers`: everything on the streams is read and then sorted; otherwise they are read in the order asked for, until
    there is a page.
    """

    part: Part
    by: By
    streams: Sequence[Stream]
    gathers: bool
    cost: float


def parts_of(wanted: EntryFilter) -> list[Part]:
    """The parts of a question."""
    types, search, wants = wanted.types or ALL_TYPES, wanted.search, bool(wanted.items)
    if search is None:
        return [Part(types, wanted.number, wants)]
    others = types - search.types
    parts = [Part(types & search.types, wanted.number, wants), Part(others, wanted.number, wants, is_found=True)]
    number = _both(wanted.number, search.number) if search.number else None
    if number is not None:
        parts.append(Part(others, number, wants, is_found=False))
    return [part for part in parts if part.types]


def routes_of(part: Part, wanted: EntryFilter, items: Items | None, look: Look) -> list[Route]:
    """Every way to the lines of a part; `items` are its, as far as it is worth to know them."""
    if is_narrow(part, wanted):
        return [_whole(part, By.PHONE if wanted.cloud_phone_id else By.NUMBER, look.window)]
    share = 1.0
    if items is not None:
        of_types = sum(look.copied.lines[type_ - 1] for type_ in part.types)
        share = min(1.0, sum(items.at_least[type_ - 1] for type_ in part.types) / max(1, of_types))
    days = list(_days(part, look.copied))
    return [*_by_key(part, items, share, look, days), *_by_day(part, share, look, days)]


def is_narrow(part: Part, wanted: EntryFilter) -> bool:
    """There are few lines of a phone, or of a number that says more than its day, whatever else is asked for."""
    return bool(wanted.cloud_phone_id) or len(part.number) > ORDER_DAY_CHARACTERS


def asks_items(part: Part, by: By) -> bool:
    """Whether streams do not say by themselves whether their lines' items are of the part."""
    return part.asks_for_items and by is not By.ITEM


def may_have_lines(part: Part, wanted: EntryFilter, copied: Copied) -> bool:
    """Nothing has a number that begins like no day; most of what is written into the search box does not."""
    return not part.number or is_narrow(part, wanted) or any(_days(part, copied))


def cheapest(routes: Sequence[Route]) -> Route:
    """The one that is expected to take the least time."""
    return min(routes, key=lambda route: route.cost)


def _both(number: str, searched: str) -> str | None:
    """What begins with both begins with the longer; None where nothing can."""
    longer, shorter = (number, searched) if len(number) > len(searched) else (searched, number)
    return longer if longer.startswith(shorter) else None


def _whole(part: Part, by: By, window: Window) -> Route:
    """One stream, of few lines whatever they are."""
    return Route(part, by, (Stream(0, 0, window.after, window.to, 0),), True, 0)


def _by_key(part: Part, items: Items | None, share: float, look: Look, days: Sequence[Stream]) -> list[Route]:
    """By type, or by item and type; between the sequences where numbers of the days asked for are."""
    copied = look.copied
    windows = _windows(days) if part.number else dict.fromkeys(sorted(part.types), look.window)
    by_type = [
        _stream(0, type_, span, lines, copied) for type_, span in windows.items() if (lines := copied.lines[type_ - 1])
    ]
    kept = 1.0
    if part.number:
        kept = min(1.0, sum(day.lines for day in days) / max(1.0, sum(stream.lines for stream in by_type)))
    late = _late(days, windows, by_type) if look.order is Order.NEWEST else {}
    routes = _ways(part, By.TYPE, by_type, kept * share, look, late=late)
    if items is None or items.lines is None or _too_many(items.lines, windows, routes):
        return routes
    by_item = [
        _stream(item, type_, span, lines, copied)
        for item, of_types in sorted(items.lines.items())
        for type_, span in windows.items()
        if (lines := of_types[type_ - 1])
    ]
    return [*routes, *_ways(part, By.ITEM, by_item, kept, look, late=late)]


def _too_many(items: Sized, windows: Sized, routes: Sequence[Route]) -> bool:
    """Not worth the thought: to find the places alone would take longer."""
    return len(items) > _FEW_ITEMS and len(items) * len(windows) * _SEEK > 3 * cheapest(routes).cost


def _by_day(part: Part, share: float, look: Look, days: Sequence[Stream]) -> list[Route]:
    if not part.number:
        return []
    gathered = _gathered(part, By.DAY, days)
    # No index has a day's lines by amount.
    return [gathered] if look.order.by_amount else [gathered, _walked(part, By.DAY, days, share, look)]


def _days(part: Part, copied: Copied) -> Iterator[Stream]:
    number, types = part.number, part.types
    return (day for day in copied.days if day.type in types and str(day.key).startswith(number))


def _windows(days: Iterable[Stream]) -> dict[int, Window]:
    """Of each type, where its lines are."""
    windows: dict[int, tuple[int, int]] = {}
    for _, type_, after, to, _ in days:
        first, last = windows.get(type_, (after, to))
        windows[type_] = (min(first, after), max(last, to))
    return {type_: Window(*span) for type_, span in sorted(windows.items())}


def _late(days: Iterable[Stream], windows: Mapping[int, Window], by_type: Iterable[Stream]) -> Mapping[int, float]:
    """Of each type, the share of its window that comes after the day that was ordered last: some late refunds, and what
    has nothing to do with those days.
    """
    last = {day.type: day for day in sorted(days)}
    lines = {stream.type: stream.lines for stream in by_type}
    late = {}
    for type_, span in windows.items():
        if type_ in last and lines.get(type_):
            after = (span.to - last[type_].after) / (span.to - span.after)
            late[type_] = max(0.0, after - last[type_].lines / lines[type_])
    return late


def _ways(
    part: Part, by: By, streams: list[Stream], kept: float, look: Look, *, late: Mapping[int, float]
) -> list[Route]:
    """To gather all of the streams, or to walk along them, when a share of `kept` of their lines passes.

    `late` is the share of each type's that is passed in vain first.
    """
    gathered = _gathered(part, by, streams)
    walked = _walked(part, by, streams, kept, look)
    if not look.order.by_amount:
        in_vain = sum(stream.lines * late.get(stream.type, 0.0) for stream in streams)
        return [gathered, replace(walked, cost=walked.cost + in_vain * _ROW)]
    # In the order of amounts a window is met line by line, but without a look at the rows outside it.
    entries = 0.0
    for stream in streams:
        within = (stream.to - stream.after) / look.copied.sequence
        per_line = 1 / max(within * kept, 1e-9)
        entries += min(stream.lines / max(within, 1e-9), per_line * (1 + look.limit / len(streams)))
    return [gathered, replace(walked, cost=walked.cost + entries * _ENTRY)]


def _walked(part: Part, by: By, streams: Sequence[Stream], kept: float, look: Look) -> Route:
    """Costs of a walk that ends with a page, of lines of which a share of `kept` passes."""
    per_line, limit = 1 / max(kept, 1e-9), look.limit
    twice = len(streams) > FEW_STREAMS
    first = sum(min(stream.lines, per_line if twice else per_line * limit) for stream in streams)
    rows = first + (min(sum(stream.lines for stream in streams), per_line * limit) if twice else 0)
    seeks = len(streams) + (min(len(streams), limit) if twice else 0)
    from_index = by is By.DAY or (look.order.by_amount and not (by is By.ITEM and part.number))
    per_row = (_ENTRY if from_index else _ROW) + (_ITEM if asks_items(part, by) else 0)
    return Route(part, by, streams, False, seeks * _SEEK + rows * per_row)


def _gathered(part: Part, by: By, streams: Sequence[Stream]) -> Route:
    lines = sum(stream.lines for stream in streams)
    # Of many lines' items each is looked up once.
    asked = _SORT if asks_items(part, by) else 0
    per_row = (_ENTRY if by is By.DAY else _ROW) + asked + _SORT
    return Route(part, by, streams, True, len(streams) * _SEEK + lines * per_row)


def _stream(key: int, type_: int, window: Window, lines: int, copied: Copied) -> Stream:
    """Of a key with so many lines in the whole wallet."""
    return Stream(key, type_, window.after, window.to, lines * (window.to - window.after) / copied.sequence)
