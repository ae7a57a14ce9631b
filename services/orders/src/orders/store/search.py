"""Finds orders by a filter, in an order, page by page. The one place for the SQL of lists, totals and exports.

These queries run in scope EVERYTHING and say the caller's scope themselves: row-level security would call a function a
row and keep indexes from being used. What is found is read again in the caller's scope before it leaves.

A list is a merge of streams, each of them sorted by an index and cut at the page's size, so that the first page does
not read what it does not show. What else the filter says is checked row by row along the stream. Which streams to
merge is decided by what PostgreSQL expects each of them to read (`Route`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from uuid import UUID

from servicekit.folding import fold
from servicekit.scope import Scope
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.search import (
    EVERY_NUMBER,
    NumberRange,
    OrderFilter,
    OrderOrder,
    Place,
    order_classes,
    parse_number_prefix,
)

# So many streams a page merges at most: organizations of a scope, names that a filter's part is in.
MOST_ORGANIZATIONS = 64
MOST_NAMES = 200
PAGE = 50
BATCH = 1000
"""Orders that an export reads at a time."""
# What opening a stream costs, in orders read.
_STREAM_COST = 20


class Route(Enum):
    """What a search walks along, and the index that serves it, by time and by amount; `root_id` comes first in each
    but those that end in _everywhere, for the platform and our services.
    """

    ALL = auto()
    """orders_newest, orders_newest_everywhere; orders_largest, orders_largest_everywhere."""
    CLASSES = auto()
    """A stream a class: orders_class_newest, orders_class_largest (and _everywhere)."""
    ORGANIZATIONS = auto()
    """A stream a buyer: orders_newest_of, orders_largest_of."""
    SELLER = auto()
    """One stream: orders_seller_newest, orders_seller_largest."""
    NAMES = auto()
    """A stream a product name: the primary key of order_names, order_names_everywhere; by time alone."""
    GATHER = auto()
    """All that the filter leaves, sorted afterwards, for few: orders_phone, the unique (root_id, number) or
    orders_number, or any of the above."""
    GATHER_NAMES = auto()
    """The same, from order_names."""


@dataclass(frozen=True, slots=True)
class Key:
    """An order that was found, and its place in the list."""

    root_id: UUID
    place: Place


@dataclass(frozen=True, slots=True)
class Search:
    """A filter in a scope, made ready: conditions on `orders AS o` by what they are about, and the way to walk."""

    order: OrderOrder
    conditions: Mapping[str, str]
    parameters: Mapping[str, object]
    route: Route = Route.ALL
    # Which names NAMES and GATHER_NAMES walk along: `names` or `search`.
    names: str = "names"

    def where(self, *without: str, only: tuple[str, ...] | None = None) -> str:
        """Conditions joined by AND."""
        kept = [
            condition
            for about, condition in self.conditions.items()
            if about not in without and (only is None or about in only)
        ]
        return " AND ".join(kept) or "true"


async def prepare(
    connection: AsyncConnection, scope: Scope, wanted: OrderFilter, order: OrderOrder, *, whole: bool = False
) -> Search | None:
    """The search for `wanted` within `scope`, or None where nothing can be found. Needs scope EVERYTHING.

    `whole`: all of it will be read, in batches of BATCH, and not a page of it.
    """
    conditions: dict[str, str] = {}
    parameters: dict[str, object] = {}
    if not await _bound_to_scope(connection, scope, wanted, conditions, parameters):
        return None
    numbers = parse_number_prefix(wanted.order_number)
    if numbers is None or not order_classes(wanted):
        return None
    _bound_by_columns(wanted, numbers, conditions, parameters)
    if not await _bound_by_names(connection, wanted, conditions, parameters):
        return None
    search = Search(order, conditions, parameters)
    return await _routed(connection, search, whole)


async def find_keys(connection: AsyncConnection, search: Search, after: Place | None, count: int) -> list[Key]:
    """The next `count` orders after `after`, in the search's order. Needs scope EVERYTHING."""
    parameters = {**search.parameters, "count": count}
    if after is not None:
        parameters |= {"after_value": after.value, "after_id": after.id}
    query = _page_sql(search, after is not None)
    rows = (await connection.execute(text(query), used(query, parameters))).all()
    return [Key(row.root_id, Place(row.value, row.id)) for row in rows]


# -- from a filter to conditions -----------------------------------------------------------------------------------

_BELOW = " IN (SELECT s.id FROM organizations s WHERE s.id = :viewer_id OR s.ancestor_ids @> ARRAY[:viewer_id])"
_SOME_BELOW = text("""
    SELECT id FROM organizations WHERE id = :viewer_id OR ancestor_ids @> ARRAY[:viewer_id] LIMIT :count
""")
_ORGANIZATION = text("SELECT root_id, id, parent_id, ancestor_ids FROM organizations WHERE id = :id")


async def _bound_to_scope(
    connection: AsyncConnection,
    scope: Scope,
    wanted: OrderFilter,
    conditions: dict[str, str],
    parameters: dict[str, object],
) -> bool:
    """Adds whose orders these are; False where the filter names an organization that the scope does not hold."""
    root_id = scope.root_id
    if wanted.organization_id is not None:
        found = (await connection.execute(_ORGANIZATION, {"id": wanted.organization_id})).one_or_none()
        if found is None:
            return False
        above = (found.id, *found.ancestor_ids)
        if not scope.everything and scope.organization_id not in above:
            return False
        root_id = found.root_id
        conditions["organizations"] = "o.organization_id = ANY (:organization_ids)"
        parameters["organization_ids"] = [wanted.organization_id]
    elif scope.organization_id not in (None, scope.root_id) and scope.root_id is not None:
        viewer: dict[str, object] = {"viewer_id": scope.organization_id}
        rows = await connection.execute(_SOME_BELOW, {**viewer, "count": MOST_ORGANIZATIONS + 1})
        below = list(rows.scalars())
        if len(below) <= MOST_ORGANIZATIONS:
            conditions["organizations"] = "o.organization_id = ANY (:organization_ids)"
            parameters["organization_ids"] = below
        else:
            conditions["below"] = "o.organization_id" + _BELOW
            parameters |= viewer
    if wanted.seller_id is not None:
        conditions["seller"] = "o.seller_id = :seller_id"
        parameters["seller_id"] = wanted.seller_id
        seller = (await connection.execute(_ORGANIZATION, {"id": wanted.seller_id})).one_or_none()
        # What the platform sells itself lives under every root.
        if seller is not None and seller.parent_id is not None:
            if root_id not in (None, seller.root_id):
                return False
            root_id = seller.root_id
    if root_id is not None:
        conditions["root"] = "o.root_id = :root_id"
        parameters["root_id"] = root_id
    return True


def _bound_by_columns(
    wanted: OrderFilter, numbers: NumberRange, conditions: dict[str, str], parameters: dict[str, object]
) -> None:
    if (wanted.types, wanted.states, wanted.payment_methods) != (None, None, None):
        conditions["classes"] = "o.class = ANY (:classes)"
    parameters["classes"] = order_classes(wanted)
    since = [instant for instant in (wanted.created_from, numbers.created_from) if instant is not None]
    until = [instant for instant in (wanted.created_to, numbers.created_to) if instant is not None]
    if since:
        conditions["created_from"] = "o.created_at >= :created_from"
        parameters["created_from"] = max(since)
    if until:
        conditions["created_to"] = "o.created_at < :created_to"
        parameters["created_to"] = min(until)
    if wanted.cloud_phone_id:
        conditions["phone"] = "o.cloud_phone_id = :cloud_phone_id"
        parameters["cloud_phone_id"] = wanted.cloud_phone_id
    if numbers != EVERY_NUMBER:
        # Of a day or more of them, when they were created says nearly the same.
        about = "day" if numbers.of_days else "number"
        conditions[about] = _number_condition("number", numbers, parameters)


def _number_condition(name: str, numbers: NumberRange, parameters: dict[str, object]) -> str:
    parameters[f"{name}_first"] = numbers.first
    if numbers.whole:
        return f"o.number = :{name}_first"
    parameters[f"{name}_end"] = numbers.end
    return f"(o.number >= :{name}_first AND o.number < :{name}_end)"


async def _bound_by_names(
    connection: AsyncConnection, wanted: OrderFilter, conditions: dict[str, str], parameters: dict[str, object]
) -> bool:
    """Adds what names and the search box say; False where no order can be meant."""
    if wanted.product_names:
        name_ids = await _name_ids(connection, wanted, wanted.product_names, parameters)
        if not name_ids:
            return False
        conditions["names"] = "o.name_ids && :name_ids"
        parameters["name_ids"] = name_ids
    part = wanted.search.strip()
    numbers = parse_number_prefix(part)
    if numbers == EVERY_NUMBER:
        return True
    name_ids = await _name_ids(connection, wanted, (part,), parameters)
    if name_ids:
        parameters["search_ids"] = name_ids
        conditions["search"] = "o.name_ids && :search_ids"
        if numbers is not None:
            number = _number_condition("search", numbers, parameters)
            conditions["either"] = f"({conditions.pop('search')} OR {number})"
    elif numbers is None:
        return False
    else:
        conditions["search_number"] = _number_condition("search", numbers, parameters)
    return True


_NAMES = """
    SELECT DISTINCT n.id FROM unnest(CAST(:patterns AS text[])) AS p(pattern)
    JOIN LATERAL (SELECT id FROM product_names WHERE folded LIKE p.pattern AND {where}) n ON true
"""


async def _name_ids(
    connection: AsyncConnection, wanted: OrderFilter, parts: tuple[str, ...], parameters: Mapping[str, object]
) -> list[int]:
    """The names that any of `parts` is in. From three letters on product_names_parts serves it; the dictionary is
    small enough to be read for fewer.
    """
    where = ["true"]
    values: dict[str, object] = {"patterns": [f"%{_literally(fold(part))}%" for part in parts]}
    if "root_id" in parameters:
        where.append("root_id = :root_id")
        values["root_id"] = parameters["root_id"]
    if wanted.types is not None:
        where.append("type = ANY (:types)")
        values["types"] = [type_.value for type_ in wanted.types]
    rows = await connection.execute(text(_NAMES.format(where=" AND ".join(where))), values)
    return list(rows.scalars())


def _literally(part: str) -> str:
    """`part` with what LIKE would take for a wildcard escaped."""
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


# -- which way ------------------------------------------------------------------------------------------------------

_CREATED = ("created_from", "created_to")


@dataclass(frozen=True, slots=True)
class _Way:
    """A route, the SQL of what it may have to read, and how many streams it merges; none: it gathers."""

    search: Search
    sql: str
    streams: int
    # What reading one of them costs.
    weight: int = 1


async def _routed(connection: AsyncConnection, search: Search, whole: bool) -> Search:
    """The search with the route that is expected to read the least.

    Of streams that hold E orders, M of which match, a page reads page x E / M of each; a gathering reads all E each
    time. Read whole, merged streams are each read ahead by a batch.
    """
    if "phone" in search.conditions:
        return _by(search, Route.GATHER)
    ways = _ways(search)
    if len(ways) == 1:
        return ways[0].search
    matching, *expected = await _expected(
        connection, search, [_orders(search, tuple(search.conditions))] + [w.sql for w in ways]
    )

    def cost(way: _Way, rows: float) -> float:
        if way.streams == 0:
            return rows * way.weight * (max(matching / BATCH, 1) if whole else 1)
        read = rows * way.streams if whole else min(rows, rows * way.streams * PAGE / max(matching, 1))
        return read * way.weight + way.streams * _STREAM_COST

    costs = [cost(way, rows) for way, rows in zip(ways, expected, strict=True)]
    return ways[costs.index(min(costs))].search


def _ways(search: Search) -> list[_Way]:
    """What the search may go by; one alone where nothing else can be better."""
    conditions = search.conditions
    names = [about for about in ("names", "search") if about in conditions]
    gathered = [about for about in ("number", "search_number") if about in conditions]
    dated = search.order.by_amount and any(bound in conditions for bound in _CREATED)
    bounds = () if search.order.by_amount else _CREATED
    streams = _streams(search)
    ways = [
        _Way(_by(search, route), _orders(search, (*about, *bounds)), many) for route, (about, many) in streams.items()
    ]
    if len(streams) == 1 and not names and not gathered and not dated:
        return ways
    gathering = [about for about, _ in streams.values()] + [("root", about) for about in gathered]
    ways += [_Way(_by(search, Route.GATHER), _orders(search, (*about, *_CREATED)), 0) for about in gathering]
    for about in names:
        where = search.where(only=("root", *_CREATED))
        sql = f"SELECT 1 FROM order_names o WHERE o.name_id = ANY (:{_NAME_IDS[about]}) AND {where}"  # noqa: S608
        # Each is read in order_names and in orders.
        ways.append(_Way(_by(search, Route.GATHER_NAMES, about), sql, 0, weight=2))
        many = len(_list(search, _NAME_IDS[about]))
        if not search.order.by_amount and many <= MOST_NAMES:
            ways.append(_Way(_by(search, Route.NAMES, about), sql, many, weight=2))
    return ways


def _streams(search: Search) -> dict[Route, tuple[tuple[str, ...], int]]:
    """The routes of sorted streams along `orders`: which conditions bound them, and how many streams they merge."""
    conditions = search.conditions
    found: dict[Route, tuple[tuple[str, ...], int]] = {Route.ALL: (("root",), 1)}
    if "classes" in conditions:
        found[Route.CLASSES] = (("root", "classes"), len(_list(search, "classes")))
    if "organizations" in conditions:
        found[Route.ORGANIZATIONS] = (("root", "organizations"), len(_list(search, "organization_ids")))
        if "classes" not in conditions:
            # Whose orders they are bounds them without leaving any out.
            del found[Route.ALL]
    if "seller" in conditions and "root" in conditions:
        found[Route.SELLER] = (("root", "seller"), 1)
    return found


def _orders(search: Search, about: tuple[str, ...]) -> str:
    """What conditions leave. Those that follow from others are left out: PostgreSQL would count them twice."""
    without = ["day"]
    if "organizations" in about or "seller" in about:
        without.append("root")
    if "organizations" in about:
        without.append("seller")
    return f"SELECT 1 FROM orders o WHERE {search.where(*without, only=about)}"  # noqa: S608


_NAME_IDS = {"names": "name_ids", "search": "search_ids"}


def _list(search: Search, parameter: str) -> list[object]:
    found = search.parameters.get(parameter, [])
    return found if isinstance(found, list) else []


def _by(search: Search, route: Route, names: str = "names") -> Search:
    return Search(search.order, search.conditions, search.parameters, route, names)


async def _expected(connection: AsyncConnection, search: Search, queries: list[str]) -> list[float]:
    """How many rows PostgreSQL expects of each; nothing is read. One question for all: an Append of their plans."""
    sql = " UNION ALL ".join(queries)
    query = text("EXPLAIN (FORMAT JSON) " + sql)
    plan = (await connection.execute(query, used(sql, search.parameters))).scalar_one()[0]["Plan"]
    plans = plan.get("Plans", []) if plan["Node Type"] == "Append" else []
    if len(plans) != len(queries):
        # It may leave out what it proves to be empty.
        return (
            [(await _expected(connection, search, [one, one]))[0] for one in queries]
            if len(queries) > 2
            else [0.0] * len(queries)
        )
    return [float(each["Plan Rows"]) for each in plans]


def used(sql: str, parameters: Mapping[str, object]) -> dict[str, object]:
    """Those of the parameters that `sql` has."""
    return {name: value for name, value in parameters.items() if re.search(rf":{name}\b", sql)}


# -- from conditions to SQL -----------------------------------------------------------------------------------------

_NAMES_OF = """(
    SELECT DISTINCT o.root_id, o.order_id FROM order_names o WHERE o.name_id = ANY (:{ids}) AND {where}
) n JOIN orders o ON o.root_id = n.root_id AND o.id = n.order_id"""


def source(search: Search) -> str:
    """FROM and WHERE of all that the search finds, in no order."""
    if search.route in (Route.NAMES, Route.GATHER_NAMES):
        where = search.where(only=("root", *_CREATED))
        return f"FROM {_NAMES_OF.format(ids=_NAME_IDS[search.names], where=where)} WHERE {search.where(search.names)}"
    return f"FROM orders o WHERE {search.where()}"


def _page_sql(search: Search, after: bool) -> str:
    value = "total_micros" if search.order.by_amount else "created_at"
    way, beyond = ("DESC", "<") if search.order.descending else ("ASC", ">")
    found = f"SELECT o.root_id, o.id, o.{value} AS value "
    sorted_ = f" ORDER BY o.{value} {way}, o.id {way} LIMIT :count"
    cut = f" AND (o.{value}, o.id) {beyond} (:after_value, :after_id)" if after else ""
    ends = f" ORDER BY value {way}, id {way} LIMIT :count"
    match search.route:
        case Route.GATHER | Route.GATHER_NAMES:
            return f"WITH found AS MATERIALIZED ({found}{source(search)}{cut}) SELECT * FROM found{ends}"  # noqa: S608
        case Route.CLASSES:
            stream = f"{found} FROM orders o WHERE o.class = k.class AND {search.where('classes')}{cut}{sorted_}"
            keys = "unnest(CAST(:classes AS smallint[])) AS k(class)"
        case Route.ORGANIZATIONS:
            where = search.where("organizations")
            stream = f"{found} FROM orders o WHERE o.organization_id = k.organization_id AND {where}{cut}{sorted_}"
            keys = "unnest(CAST(:organization_ids AS uuid[])) AS k(organization_id)"
        case Route.NAMES:
            names_where = search.where(only=("root", *_CREATED)).replace("o.", "n.")
            names_cut = cut.replace("o.id", "n.order_id").replace("o.", "n.")
            stream = (
                "SELECT n.root_id, n.order_id AS id, n.created_at AS value FROM order_names n"  # noqa: S608
                " JOIN orders o ON o.root_id = n.root_id AND o.id = n.order_id"
                f" WHERE n.name_id = k.name_id AND {names_where}{names_cut} AND {search.where(search.names)}"
                f" ORDER BY n.created_at {way}, n.order_id {way} LIMIT :count"
            )
            keys = f"unnest(CAST(:{_NAME_IDS[search.names]} AS bigint[])) AS k(name_id)"
        case Route.ALL | Route.SELLER:
            return f"{found} FROM orders o WHERE {search.where()}{cut}{sorted_}"
    # An order with two of the names is in two streams.
    return f"SELECT DISTINCT f.root_id, f.id, f.value FROM {keys} CROSS JOIN LATERAL ({stream}) f{ends}"  # noqa: S608
