"""Makes a filter of orders ready for `orders.store.walks`: whose orders, which columns, which names; and finds pages.

These queries run in scope EVERYTHING and say the caller's scope themselves: row-level security would call a function a
row and keep indexes from being used. What is found is read again in the caller's scope before it leaves.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from servicekit.folding import fold
from servicekit.scope import Scope
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.catalogue import ProductType
from orders.domain.search import (
    EVERY_NUMBER,
    NumberRange,
    OrderFilter,
    OrderOrder,
    Place,
    order_classes,
    parse_number_prefix,
)
from orders.store.walks import (
    MOST_STREAMS,
    Key,
    Search,
    choose,
    has_name,
    in_orders,
    page_sql,
    used,
)


async def prepare(
    connection: AsyncConnection, scope: Scope, wanted: OrderFilter, order: OrderOrder, *, whole: bool = False
) -> Search | None:
    """The search for `wanted` within `scope`, or None where nothing can be found. Within `walking`.

    `whole`: all of it will be read, in batches, and not a page of it.
    """
    numbers = parse_number_prefix(wanted.order_number)
    if numbers is None or not order_classes(wanted):
        return None
    made = Search(order, {}, {}, {})
    if not await _bound_to_scope(connection, scope, wanted, made):
        return None
    _bound_by_columns(wanted, numbers, made)
    if not await _bound_by_names(connection, wanted, made):
        return None
    return await choose(connection, made, whole=whole)


async def find_keys(connection: AsyncConnection, search: Search, after: Place | None, count: int) -> list[Key]:
    """The next `count` orders after `after`, in the search's order. Within `walking`."""
    parameters = {**search.parameters, "count": count, "first": search.walk.first}
    if after is not None:
        parameters |= {"after_value": after.value, "after_id": after.id}
    query = page_sql(search, after is not None)
    rows = (await connection.execute(text(query), used(query, parameters))).all()
    return [Key(row.root_id, Place(row.value, row.id)) for row in rows]


# -- from a filter to conditions -----------------------------------------------------------------------------------

_BELOW = """EXISTS (
    SELECT FROM organizations b WHERE b.root_id = s.root_id AND b.id = s.organization_id
    AND (b.id = :viewer_id OR b.ancestor_ids @> ARRAY[CAST(:viewer_id AS uuid)]) OFFSET 0
)"""
_SOME_BELOW = text("""
    SELECT id FROM organizations WHERE id = :viewer_id OR ancestor_ids @> ARRAY[:viewer_id] LIMIT :count
""")
_ORGANIZATION = text("SELECT root_id, id, parent_id, ancestor_ids FROM organizations WHERE id = :id")


async def _bound_to_scope(connection: AsyncConnection, scope: Scope, wanted: OrderFilter, search: Search) -> bool:
    """Adds whose orders these are; False where the filter names an organization that the scope does not hold."""
    conditions, parameters, root_id = search.conditions, search.parameters, scope.root_id
    buyers: list[UUID] = []
    if wanted.organization_id is not None:
        found = (await connection.execute(_ORGANIZATION, {"id": wanted.organization_id})).one_or_none()
        if found is None:
            return False
        above = (found.id, *found.ancestor_ids)
        if not scope.everything and scope.organization_id not in above:
            return False
        root_id = found.root_id
        buyers = [wanted.organization_id]
    elif scope.organization_id not in (None, scope.root_id) and scope.root_id is not None:
        parameters["viewer_id"] = scope.organization_id
        below = await connection.execute(_SOME_BELOW, {"viewer_id": scope.organization_id, "count": MOST_STREAMS + 1})
        buyers = list(below.scalars())
    if len(buyers) > MOST_STREAMS:
        conditions["below"] = _BELOW
    elif buyers:
        conditions["organizations"] = "s.organization_id = ANY (:organization_ids)"
        parameters["organization_ids"] = buyers
    if wanted.seller_id is not None:
        conditions["seller"] = "s.seller_id = :seller_id"
        parameters["seller_id"] = wanted.seller_id
        seller = (await connection.execute(_ORGANIZATION, {"id": wanted.seller_id})).one_or_none()
        # What the platform sells itself lives under every root.
        if seller is not None and seller.parent_id is not None:
            if root_id not in (None, seller.root_id):
                return False
            root_id = seller.root_id
    if root_id is not None:
        conditions["root"] = "s.root_id = :root_id"
        parameters["root_id"] = root_id
    return True


def _bound_by_columns(wanted: OrderFilter, numbers: NumberRange, search: Search) -> None:
    conditions, parameters = search.conditions, search.parameters
    if (wanted.types, wanted.states, wanted.payment_methods) != (None, None, None):
        conditions["classes"] = "s.class = ANY (:classes)"
        parameters["classes"] = order_classes(wanted)
    _created_within(wanted.created_from, wanted.created_to, search)
    if numbers.of_days:
        _created_within(numbers.created_from, numbers.created_to, search)
    if wanted.cloud_phone_id:
        _bound_in_orders("phone", "g.cloud_phone_id = :cloud_phone_id", search)
        parameters["cloud_phone_id"] = wanted.cloud_phone_id
    if numbers != EVERY_NUMBER and not numbers.of_days:
        _bound_in_orders("number", _number_is("number", numbers, search), search)


def _created_within(since: datetime | None, until: datetime | None, search: Search) -> None:
    for about, operator, instant in (("created_from", ">=", since), ("created_to", "<", until)):
        if instant is None:
            continue
        known = search.parameters.get(about)
        if not isinstance(known, datetime) or (known < instant if about == "created_from" else instant < known):
            search.parameters[about] = instant
        search.conditions[about] = f"s.created_at {operator} :{about}"


def _bound_in_orders(about: str, condition: str, search: Search) -> None:
    search.of_orders[about] = condition
    search.conditions[about] = in_orders(condition)


def _number_is(name: str, numbers: NumberRange, search: Search) -> str:
    search.parameters[f"{name}_first"] = numbers.first
    if numbers.whole:
        return f"g.number = :{name}_first"
    search.parameters[f"{name}_end"] = numbers.end
    return f"(g.number >= :{name}_first AND g.number < :{name}_end)"


async def _bound_by_names(connection: AsyncConnection, wanted: OrderFilter, search: Search) -> bool:
    """Adds what names and the search box say; False where no order can be meant."""
    conditions, parameters = search.conditions, search.parameters
    types: dict[int, ProductType] = {}
    if wanted.product_names:
        types |= await _names(connection, wanted, wanted.product_names, parameters)
        parameters["name_ids"] = list(types)
        conditions["names"] = has_name("name_ids")
    part = wanted.search.strip()
    # Dashes alone are no beginning of a number here: they may stand in names.
    numbers = parse_number_prefix(part) if part.strip("- ") or not part else None
    searched = await _names(connection, wanted, (part,), parameters) if numbers != EVERY_NUMBER else {}
    if numbers is None:
        types |= searched
        parameters["search_ids"] = list(searched)
        conditions["search"] = has_name("search_ids")
    elif searched:
        parameters["search_ids"] = list(searched)
        number = in_orders(_number_is("search", numbers, search))
        conditions["either"] = f"({has_name('search_ids')} OR {number})"
    elif numbers != EVERY_NUMBER and numbers.of_days:
        _created_within(numbers.created_from, numbers.created_to, search)
    elif numbers != EVERY_NUMBER:
        _bound_in_orders("search_number", _number_is("search", numbers, search), search)
    if {"names", "search"} <= conditions.keys():
        await _leave_names_that_meet(connection, search)
    for about, ids in (("names", "name_ids"), ("search", "search_ids")):
        if about in conditions and not _of_types(parameters[ids], types, wanted, search):
            return False
    return True


def _of_types(ids: object, types: Mapping[int, ProductType], wanted: OrderFilter, search: Search) -> bool:
    """Leaves the classes of the types that names are of; False where none is left, or no name."""
    found = frozenset(types[id_] for id_ in ids) if isinstance(ids, list) else frozenset()
    if "classes" in search.conditions:
        search.parameters["classes"] = order_classes(replace(wanted, types=found))
        return bool(search.parameters["classes"])
    return bool(found)


async def _leave_names_that_meet(connection: AsyncConnection, search: Search) -> None:
    """Leaves those names of the filter and of the search box that stand in an order together."""
    root = " AND p.root_id = :root_id" if "root" in search.conditions else ""
    met: list[set[int]] = []
    for kept, other in (("name_ids", "search_ids"), ("search_ids", "name_ids")):
        query = f"""
            SELECT n.id FROM unnest(CAST(:{kept} AS bigint[])) AS n(id)
            WHERE n.id = ANY (:{other}) OR EXISTS (
                SELECT FROM product_name_pairs p WHERE p.first_id = n.id AND p.second_id = ANY (:{other}){root}
            )
        """  # noqa: S608
        ids = list((await connection.execute(text(query), used(query, search.parameters))).scalars())
        search.parameters[kept] = ids
        met.append(set(ids))
    names, searched = met
    # Of two conditions one that follows from the other.
    if names <= searched:
        del search.conditions["search"]
    elif searched <= names:
        del search.conditions["names"]


async def _names(
    connection: AsyncConnection, wanted: OrderFilter, parts: tuple[str, ...], parameters: Mapping[str, object]
) -> dict[int, ProductType]:
    """The names that any of `parts` is in, by id, and their types.

    A root's dictionary is read whole for it; everybody's, for the platform: 15,000 names in 2 ms.
    """
    values: dict[str, object] = {
        f"part_{number}": f"%{_literally(fold(part))}%" for number, part in enumerate(dict.fromkeys(parts))
    }
    where = ["(" + " OR ".join(f"folded LIKE :{name}" for name in values) + ")"]
    if "root_id" in parameters:
        where.append("root_id = :root_id")
        values["root_id"] = parameters["root_id"]
    if wanted.types is not None:
        where.append("type = ANY (:types)")
        values["types"] = [type_.value for type_ in wanted.types]
    query = text("SELECT DISTINCT id, type FROM product_names WHERE " + " AND ".join(where))  # noqa: S608
    return {row.id: ProductType(row.type) for row in await connection.execute(query, values)}


def _literally(part: str) -> str:
    """`part` with what LIKE would take for a wildcard escaped."""
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
