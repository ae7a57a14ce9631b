"""Ways through `order_search` to what a search finds, and which of them reads the least.

A list is a walk along one index, or a merge of some (one a class, a buyer, a product name), each cut at the page's
size, so that a page does not read what it does not show; what the index does not say is checked row by row on the way.
Where few rows are left they are gathered and sorted instead. Which way is taken is not guessed: a few hundred rows of
each are looked at first, and how many of them match says how far one would have to go.
"""

import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any
from uuid import UUID

from servicekit.database import Database
from servicekit.scope import EVERYTHING
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.search import EVERY_NAME, OrderOrder, Place

# Streams that a page merges at most: buyers of a scope, names that a part is in.
MOST_STREAMS = 256
PAGE = 50
BATCH = 1000
"""Orders that an export reads at a time."""
# Rows of each way that are looked at before one is taken.
_SAMPLE = 400
# A way that is expected to read no more rows than this is taken without counting.
_SHORT = 2000
# What opening a stream costs, in rows.
_OPENING = 3
# What is asked of a row that no index says: it is looked up, which costs as much as so many rows.
_ELSEWHERE = ("names", "search", "either", "seller")
_LOOKING_UP = 8
# How far rows are counted, and how many are gathered at most while another way may be shorter.
_MOST = 3000

_CREATED = ("created_from", "created_to")
_EVERY = f"s.name_id = {EVERY_NAME}"


class Route(Enum):
    """What is walked along. The indexes begin with order_search_; they end in _everywhere, but for those of buyers and
    sellers, where no root is known, which is for the platform and our services.
    """

    ALL = auto()
    """newest, largest."""
    CLASSES = auto()
    """class_newest, class_largest: a stream a class."""
    ORGANIZATIONS = auto()
    """newest_of, largest_of: a stream a buyer."""
    SELLER = auto()
    """seller_newest, seller_largest."""
    NAMES = auto()
    """newest, largest: a stream a name of the filter."""
    SEARCH = auto()
    """The same, of the names that the search box means."""
    NUMBER = auto()
    """(root_id, number) of orders, or orders_number; gathered."""
    SEARCH_NUMBER = auto()
    """The same, for the search box; gathered."""
    PHONE = auto()
    """orders_phone; gathered."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A route: rows `s` of `table` for which `at` holds, in one stream or, with `keys` (an array), in a stream for each
    key that stands in `column`.

    Conditions of `holds` need not be checked any more. Gathered, it is read whole, by time, and sorted afterwards.
    """

    route: Route
    at: str
    holds: tuple[str, ...] = ()
    table: str = "order_search s"
    keys: str = ""
    column: str = ""
    streams: int = 1
    # Of the keys the one whose stream is read first: the others go no further than it did.
    first: str = ""
    gathered: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """An order that was found, and its place in the list."""

    root_id: UUID
    place: Place


@dataclass(frozen=True, slots=True)
class Search:
    """A filter in a scope, made ready: conditions on rows `s` of order_search by what they are about.

    `of_orders`: those that are about columns of orders, as conditions on `orders AS g`.
    """

    order: OrderOrder
    conditions: dict[str, str]
    of_orders: dict[str, str]
    parameters: dict[str, object]
    walk: Walk = Walk(Route.ALL, _EVERY)

    def by(self, walk: Walk) -> "Search":
        """The same search on another way."""
        return replace(self, walk=walk)

    @property
    def walked(self) -> str:
        """The column that streams are sorted by."""
        return "created_at" if self.walk.gathered else self.value

    @property
    def checks(self) -> str:
        """What is asked of each row on the way; "" where there is nothing to ask."""
        return _and(*self._asked().values())

    @property
    def elsewhere(self) -> bool:
        """Whether rows are asked what stands in no index of their way, and is looked up."""
        return any(about in _ELSEWHERE for about in self._asked())

    @property
    def inside(self) -> str:
        """The checks, but those that are looked up elsewhere."""
        return _and(*(condition for about, condition in self._asked().items() if about not in _ELSEWHERE))

    @property
    def bound(self) -> tuple[str, ...]:
        """What a stream can begin and end with: the root and, sorted by time, the dates."""
        return ("root", *_CREATED) if self.walked == "created_at" else ("root",)

    def _asked(self) -> dict[str, str]:
        held = (*self.bound, *self.walk.holds)
        return {about: condition for about, condition in self.conditions.items() if about not in held}

    def stream(self, columns: str, checks: str, limit: str, *, after: bool = False, to: str = "") -> str:
        """The first rows of one stream for which `checks` hold, those behind (:after_value, :after_id) if `after`, and
        none beyond `to`, an expression that gives NULL where there is no end.

        Where it begins and ends is said with the column of the key and the one it is sorted by together: were the key
        equal to something, another index that is sorted alike would serve as well, and be walked to its end for a key
        that nothing has.
        """
        key, walked, way = self.walk.column, f"s.{self.walked}", self.way
        column, one = (f"s.{key}, ", "k.key, ") if key else ("", "")
        timed = self.walked == "created_at"
        lowest = ["CAST(:created_from AS timestamptz)"] if timed and "created_from" in self.conditions else []
        highest = ["CAST(:created_to AS timestamptz)"] if timed and "created_to" in self.conditions else []
        within = "<"
        if to and way == "DESC":
            lowest += [to, "'-infinity'" if timed else str(-(2**63))]
        elif to:
            # Here the end belongs to it; that of the dates does not.
            checks = _and(checks, self.conditions["created_to"] if highest else "")
            highest += [to, "'infinity'" if timed else str(2**63 - 1)]
            within = "<="
        lower = f"({column}{walked}) >= ({one}greatest({', '.join(lowest)}))" if lowest else ""
        upper = f"({column}{walked}) {within} ({one}least({', '.join(highest)}))" if highest else ""
        if after:
            behind = f"({column}{walked}, s.order_id) {self.beyond} ({one}:after_value, :after_id)"
            lower, upper = (lower, behind) if way == "DESC" else (behind, upper)
        if key:
            lower, upper = lower or f"s.{key} >= k.key", upper or f"s.{key} <= k.key"
        where = _and(self.walk.at, self.conditions.get("root", ""), lower, upper, checks)
        sorting = f"{column}{walked}, s.order_id".replace(", ", f" {way}, ")
        return f"SELECT {columns} FROM {self.walk.table} WHERE {where} ORDER BY {sorting} {way} LIMIT {limit}"  # noqa: S608

    def gathered(self, columns: str, after: bool) -> str:
        """All rows for which everything holds, those behind (:after_value, :after_id) if `after`."""
        at = f"s.{self.walk.column} = k.key" if self.walk.keys else ""
        dates = [self.conditions[about] for about in _CREATED if about in self.conditions]
        behind = f"(s.{self.value}, s.order_id) {self.beyond} (:after_value, :after_id)" if after else ""
        where = _and(self.walk.at, at, self.conditions.get("root", ""), *dates, self.checks, behind)
        table = f"{_each(self.walk)}, {self.walk.table}" if self.walk.keys else self.walk.table
        return f"SELECT {columns} FROM {table} WHERE {where}"  # noqa: S608

    @property
    def value(self) -> str:
        """The column of the order that is asked for."""
        return "total_micros" if self.order.by_amount else "created_at"

    @property
    def way(self) -> str:
        return "DESC" if self.order.descending else "ASC"

    @property
    def beyond(self) -> str:
        return "<" if self.order.descending else ">"


def in_orders(condition: str) -> str:
    """A condition on `orders AS g`, asked of a row `s`. OFFSET keeps it a question a row: few rows are to be asked."""
    return f"EXISTS (SELECT FROM orders g WHERE g.root_id = s.root_id AND g.id = s.order_id AND {condition} OFFSET 0)"


def has_name(parameter: str, *also: str) -> str:
    """That an order has one of the names, for which `also` holds of its row `m`, asked of a row `s`.

    The sum keeps the names of the order from being looked for in every name's stream: it has few, they may be many.
    """
    named = _and(f"m.name_id + 0 = ANY (:{parameter})", *also)
    return (
        "EXISTS (SELECT FROM order_search m WHERE m.root_id = s.root_id AND m.order_id = s.order_id"
        f" AND {named} OFFSET 0)"
    )


# -- which way -------------------------------------------------------------------------------------------------------

_STREAMS = (
    (Route.CLASSES, "classes", "classes", "smallint", "class"),
    (Route.ORGANIZATIONS, "organizations", "organization_ids", "uuid", "organization_id"),
    (Route.NAMES, "names", "name_ids", "bigint", "name_id"),
    (Route.SEARCH, "search", "search_ids", "bigint", "name_id"),
)
_RARE = ((Route.PHONE, "phone"), (Route.NUMBER, "number"), (Route.SEARCH_NUMBER, "search_number"))
_RARE_ROUTES = [route for route, _ in _RARE]
_JOINED = f"orders g JOIN order_search s ON s.root_id = g.root_id AND s.order_id = g.id AND {_EVERY}"


def walks(search: Search) -> list[Walk]:
    """The ways that serve a search; one alone where no other can be better."""
    conditions = search.conditions
    for route, about in _RARE:
        if about in conditions:
            root = " AND g.root_id = :root_id" if "root" in conditions else ""
            return [Walk(route, search.of_orders[about] + root, (about,), _JOINED, gathered=True)]
    found = [Walk(Route.ALL, _EVERY)]
    for route, about, parameter, type_, column in _STREAMS:
        keys = search.parameters.get(parameter)
        if about not in conditions or not isinstance(keys, list) or len(keys) > MOST_STREAMS:
            continue
        at = "" if column == "name_id" else _EVERY
        walk = Walk(route, at, (about,), keys=f"CAST(:{parameter} AS {type_}[])", column=column, streams=len(keys))
        # All that one buyer bought is less than all that there is.
        found = [walk] if route is Route.ORGANIZATIONS and len(keys) == 1 else [*found, walk]
    if "seller" in conditions and "root" in conditions:
        found.append(Walk(Route.SELLER, f"{conditions['seller']} AND {_EVERY}", ("seller",)))
    if search.order.by_amount and any(bound in conditions for bound in _CREATED):
        found += [replace(walk, gathered=True) for walk in found]
    return found


_ALONG_INDEXES = text("""
    SELECT set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true)
""")


@asynccontextmanager
async def walking(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees everything, to prepare and walk in: what an index can sort is not sorted, so that a
    stream is read as far as a page goes, and no further. What no index sorts is sorted all the same.
    """
    async with database.transaction(EVERYTHING) as connection:
        await connection.execute(_ALONG_INDEXES)
        yield connection


async def choose(connection: AsyncConnection, search: Search, *, whole: bool) -> Search:
    """The search on the way that reads the least for a page or, `whole`, for all that is found, in batches."""
    ways = [search.by(walk) for walk in walks(search)]
    if ways[0].walk.route is Route.ORGANIZATIONS and (await _sizes(connection, ways[:1]))[0] < _MOST:
        # All that one buyer has ever bought is soon read.
        ways = [way for way in ways if way.walk.route is Route.ORGANIZATIONS]
    if len(ways) == 1:
        return ways[0]
    count = BATCH if whole else PAGE
    walked = [way for way in ways if not way.walk.gathered]
    looks = await _look(connection, walked)
    walked = [way.by(replace(way.walk, first=look.key)) for way, look in zip(walked, looks, strict=True)]
    costs = [_cost(way, look, count) for way, look in zip(walked, looks, strict=True)]
    ways = walked + [way for way in ways if way.walk.gathered]
    if min(costs) > _SHORT:
        # What was looked at does not match for long. To read all of the smallest is what is certain.
        costs += [math.inf] * (len(ways) - len(costs))
        certain = [_whole_cost(*each, count, whole) for each in zip(ways, await _sizes(connection, ways), strict=True)]
        costs = [min(pair) for pair in zip(costs, certain, strict=True)]
    if min(costs) == math.inf:
        # None matched, and none is short: what PostgreSQL expects each of them to have must do.
        costs = await _expected(connection, ways)
    return ways[costs.index(min(costs))]


@dataclass(frozen=True, slots=True)
class _Look:
    """The first rows of a way: how many were read, how many of them had to be looked up elsewhere, how many match, and
    whether that was all; and the key of the stream in which what matches lies closest.
    """

    read: int
    looked_up: int
    matching: int
    all: bool
    key: Any = None

    @property
    def cost(self) -> float:
        return self.read + _LOOKING_UP * self.looked_up


def _cost(way: Search, look: _Look, count: int) -> float:
    """What the rows that are expected to be read cost; infinite where none matches: it may be that none ever will."""
    if look.all:
        return look.cost
    return count * look.cost / look.matching + _OPENING * way.walk.streams if look.matching else math.inf


def _whole_cost(way: Search, size: float, count: int, whole: bool) -> float:
    """What reading all rows of a way costs; gathered, all of them again for each batch."""
    if whole and not way.walk.gathered:
        return math.inf
    again = max(size / count, 1) if whole else 1
    return size * again * (_LOOKING_UP if way.elsewhere else 1)


async def _look(connection: AsyncConnection, ways: Sequence[Search]) -> list[_Look]:
    parts = []
    for way in ways:
        each = max(_SAMPLE // (2 if way.elsewhere else 1) // way.walk.streams, 2)
        checks = way.checks or "true"
        looked_up = way.inside or "true" if way.elsewhere else "false"
        columns = ", ".join(f"s.{column}" for column in _COLUMNS if f"s.{column}" in (f"{checks} s.{way.walked}"))
        key, by_stream = ("k.key::text", "GROUP BY k.key") if way.walk.keys else ("''", "")
        span = f"max(s.{way.walked}) - min(s.{way.walked})"
        # Of a stream that ended nothing more comes, however close its rows lie.
        parts.append(f"""
            SELECT coalesce(sum(read), 0)::int, coalesce(sum(looked_up), 0)::int, coalesce(sum(matching), 0)::int,
                   coalesce(max(read) < {each:d}, true),
                   (array_agg(key ORDER BY read < {each:d}, (matching + 0.5) / greatest(span, 0.001) DESC))[1]
            FROM (
                SELECT {key} AS key, count(*) AS read, count(*) FILTER (WHERE {looked_up}) AS looked_up,
                       count(*) FILTER (WHERE {checks}) AS matching,
                       {span if way.walked == "total_micros" else f"extract(epoch FROM {span})"} AS span
                FROM {_streams(way, way.stream(columns, "", str(each)))} {by_stream}
            ) AS looks
        """)  # noqa: S608
    return [_Look(*row) for row in await _asked_of_each(connection, parts, ways[0].parameters)]


async def _sizes(connection: AsyncConnection, ways: Sequence[Search]) -> list[float]:
    """How many rows each way has; infinite where they are too many to be counted."""
    parts = [f"SELECT count(*) FROM {_counted(way)}" for way in ways]  # noqa: S608
    counts = [int(row[0]) for row in await _asked_of_each(connection, parts, ways[0].parameters)]
    return [count if count < _MOST else math.inf for count in counts]


def _counted(way: Search) -> str:
    """A FROM item of all rows of a way, _MOST at most."""
    return f"(SELECT FROM {_streams(way, way.stream('', '', str(_MOST)))} LIMIT {_MOST:d}) AS counted"


async def _expected(connection: AsyncConnection, ways: Sequence[Search]) -> list[float]:
    """How many rows each way is expected to have; nothing is read."""
    found = []
    for way in ways:
        at = f"s.{way.walk.column} = ANY ({way.walk.keys})" if way.walk.keys else ""
        where = _and(way.walk.at, at, *(way.conditions.get(about, "") for about in way.bound))
        query = f"EXPLAIN (FORMAT JSON) SELECT FROM order_search s WHERE {where}"
        plan = (await connection.execute(text(query), used(query, way.parameters))).scalar_one()
        found.append(float(plan[0]["Plan"]["Plan Rows"]))
    return found


async def _asked_of_each(
    connection: AsyncConnection, parts: Sequence[str], parameters: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """The row that each of `parts` gives, all in one question."""
    asked = [f"(SELECT {number}, p.* FROM ({part}) AS p)" for number, part in enumerate(parts)]  # noqa: S608
    query = " UNION ALL ".join(asked)
    rows = (await connection.execute(text(query), used(query, parameters))).all()
    return [tuple(row)[1:] for row in sorted(rows, key=lambda row: int(row[0]))]


def _streams(search: Search, stream: str) -> str:
    """A FROM item `s`: `stream` for each of the keys."""
    keys = f"{_each(search.walk)} CROSS JOIN LATERAL " if search.walk.keys else ""
    return f"{keys}({stream}) AS s"


def _each(walk: Walk) -> str:
    """A FROM item `k` of the keys."""
    return f"unnest({walk.keys}) AS k(key)"


_COLUMNS = ("root_id", "order_id", "class", "created_at", "total_micros", "organization_id", "seller_id")


def used(sql: str, parameters: Mapping[str, object]) -> dict[str, object]:
    """Those of the parameters that `sql` has."""
    return {name: value for name, value in parameters.items() if re.search(rf":{name}\b", sql)}


# -- from a way to SQL -----------------------------------------------------------------------------------------------


def page_sql(search: Search, after: bool) -> str:
    """The next `:count` orders (root_id, id, value) in order, those after (:after_value, :after_id) if `after`."""
    walk, columns = search.walk, f"s.root_id, s.order_id AS id, s.{search.value} AS value"
    if not walk.gathered and not walk.keys:
        return search.stream(columns, search.checks, ":count", after=after)
    # An order with two of the names is in two streams.
    ends = f"SELECT DISTINCT * FROM found ORDER BY value {search.way}, id {search.way} LIMIT :count"  # noqa: S608
    if walk.gathered:
        return f"WITH found AS MATERIALIZED ({search.gathered(columns, after)}) {ends}"
    stream = search.stream(columns, search.checks, ":count", after=after)
    if not walk.first:
        return f"WITH found AS (SELECT s.* FROM {_streams(search, stream)}) {ends}"  # noqa: S608
    nearer = search.stream(columns, search.checks, ":count", after=after, to="(SELECT value FROM last)")
    return f"""
        WITH first AS MATERIALIZED (
            SELECT s.* FROM {_streams(search, stream)} WHERE k.key::text = :first
        ), last AS MATERIALIZED (
            SELECT value FROM first ORDER BY value {search.way} OFFSET :count - 1 LIMIT 1
        ), found AS (
            SELECT * FROM first UNION ALL
            SELECT s.* FROM {_streams(search, nearer)} WHERE k.key::text <> :first
        ) {ends}
    """  # noqa: S608


def source(search: Search, limit: str) -> str:
    """FROM and WHERE of what the search finds, `limit` a stream, each order once, as rows `s` in no order."""
    walk = search.walk
    if walk.route in _RARE_ROUTES:
        return f"FROM ({search.gathered('s.root_id, s.order_id', after=False)}) AS s"
    once = ""
    if walk.route in _NAMED and walk.streams > 1:
        # Of an order with several of the names, the row of the first of them.
        once = "NOT " + has_name(_NAMED[walk.route], "m.name_id < s.name_id")
    return "FROM " + _streams(search, search.stream("s.root_id, s.order_id", _and(search.checks, once), limit))


_NAMED = {Route.NAMES: "name_ids", Route.SEARCH: "search_ids"}


def _and(*conditions: str) -> str:
    return " AND ".join(condition for condition in conditions if condition)
