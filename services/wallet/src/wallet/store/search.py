"""Finding a wallet's lines: which index serves a question, and the one statement that answers it.

Lines up to `search_progress.sequence` are found in `line_search`, those after it (all, in a small wallet) by looking
through the ledger. A question becomes *branches*, each a walk along one index in the order asked for that ends after a
page; every branch checks the whole filter, so a branch decides how fast an answer is, never what it is. No line is in
two branches.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.entries import EntryRow, WalletState
from wallet.domain.ledger import LineType
from wallet.domain.search import (
    ORDER_DAY_CHARACTERS,
    TOTALS_MAX,
    EntryFilter,
    Items,
    Order,
    Place,
    Totals,
    Window,
    after_prefix,
    matching_items,
)
from wallet.store.entries import sequence_before
from wallet.store.search_index import COMPACT_NUMBER

# Walks side by side; what would need more is common enough to be met on a walk through everything.
_WALKS_MAX = 256
_DAYS_MAX = 64
_ALL_TYPES = frozenset(int(each) for each in LineType)

# One look-up a line, by key (`OFFSET 0` keeps it so). As a join of many, the question that row-level security asks of
# each transaction, whether one of its lines is seen, may be answered by reading every line that there is.
_TRANSACTION = """CROSS JOIN LATERAL (
    SELECT * FROM transactions WHERE root_id = l.root_id AND id = l.transaction_id OFFSET 0
) AS t"""

_OPEN = text("SELECT set_config('farthing.wallet', CAST(:wallet_id AS text), true)")
_PROGRESS = text("""
SELECT coalesce((SELECT sequence FROM search_progress WHERE root_id = :root_id AND wallet_id = :wallet_id), 0)
""")
_ITEM_IDS = text("""
SELECT item_id, wanted, found FROM (
    SELECT item_id, EXISTS (SELECT FROM unnest(CAST(:parts AS text[])) AS p (part) WHERE strpos(folded, part) > 0)
               AS wanted,
           :searched <> '' AND strpos(folded, :searched) > 0 AS found
    FROM search_items WHERE root_id = :root_id AND wallet_id = :wallet_id
) AS i WHERE wanted OR found
""")
_LATEST_ITEMS = text(f"""
SELECT DISTINCT t.item FROM lines l {_TRANSACTION}
WHERE l.root_id = :root_id AND l.wallet_id = :wallet_id AND l.sequence > :after AND l.sequence <= :to
""")  # noqa: S608
# From one day to the next along the index, whatever the number of lines a day.
_DAYS = text("""
WITH RECURSIVE days (day) AS (
    (SELECT number_day FROM line_search
     WHERE root_id = :root_id AND wallet_id = :wallet_id AND number <> '' AND number_day >= :number
     ORDER BY number_day LIMIT 1)
    UNION ALL
    SELECT (SELECT x.number_day FROM line_search x
            WHERE x.root_id = :root_id AND x.wallet_id = :wallet_id AND x.number <> '' AND x.number_day > day
            ORDER BY x.number_day LIMIT 1)
    FROM days WHERE day < :number_end
)
SELECT day FROM days WHERE day < :number_end LIMIT :limit
""")

_ROWS = f"""
SELECT l.transaction_id, l.sequence, l.type, t.item, t.order_number, t.order_id, l.amount_micros,
       l.balance_after_micros, l.posted_at, l.hash, t.kind, t.cloud_phone_id, t.original_id
FROM found f CROSS JOIN LATERAL (
    SELECT * FROM lines WHERE root_id = :root_id AND wallet_id = :wallet_id AND sequence = f.sequence OFFSET 0
) AS l {_TRANSACTION}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class _Branch:
    """Rows of `drive` (nothing, or `FROM` of a lateral join), each with its walk along `line_search x`."""

    where: str
    drive: str = ""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a half of the lines has what a filter asks for, and how the parameters of its items are called."""

    type: str
    item: str
    item_type: str
    number: str
    prefix: str


_COPIED = _Columns("x.type", "x.item_id", "integer", "x.number", "")
_LATEST = _Columns("l.type", "t.item", "text", COMPACT_NUMBER.format(column="t.order_number"), "latest_")


@dataclass(frozen=True, slots=True)
class _Question:
    """What is known before the answer: the lines looked at, the items of each half, all parameters."""

    wanted: EntryFilter
    window: Window
    # Up to here `line_search` is asked, after it the ledger.
    indexed_to: int
    indexed_items: Items
    latest_items: Items
    branches: tuple[_Branch, ...]
    parameters: dict[str, Any]


async def window_of(connection: AsyncConnection, wallet: WalletState, wanted: EntryFilter) -> Window:
    """The sequences between the filter's instants, of the lines that the wallet has now."""
    after = 0 if wanted.posted_from is None else await sequence_before(connection, wallet, wanted.posted_from)
    to = wallet.sequence if wanted.posted_to is None else await sequence_before(connection, wallet, wanted.posted_to)
    return Window(after, to)


async def page(
    connection: AsyncConnection,
    wallet: WalletState,
    wanted: EntryFilter,
    window: Window,
    *,
    order: Order,
    place: Place | None = None,
    limit: int,
) -> list[EntryRow]:
    """At most `limit` lines of a wallet that `find_wallet` gave, from behind `place`."""
    if place is not None and not order.by_amount:
        window = (
            replace(window, to=min(window.to, place.sequence - 1))
            if order.descends
            else replace(window, after=max(window.after, place.sequence))
        )
    if window.is_empty or wanted.is_absurd:
        return []
    question = await _question(connection, wallet, wanted, window, in_time=not order.by_amount)
    walks = _walks(question, order, place, limit)
    if not walks:
        return []
    statement = f"""
        WITH found AS MATERIALIZED (
            SELECT sequence, amount_micros FROM ({" UNION ALL ".join(walks)}) AS walk
            ORDER BY {_sorting(order)} LIMIT {limit:d}
        )
        {_ROWS} ORDER BY {_sorting(order, "l.")}
    """  # noqa: S608 - put together from constants of this module; values are bound
    return [EntryRow(*row) for row in await connection.execute(text(statement), question.parameters)]


async def totals(connection: AsyncConnection, wallet: WalletState, wanted: EntryFilter, window: Window) -> Totals:
    """Counts and sums what the filter leaves, up to TOTALS_MAX lines."""
    if window.is_empty or wanted.is_absurd:
        return Totals(0, False, 0, 0)
    if wanted.is_empty and window.to - window.after > TOTALS_MAX:
        return Totals(TOTALS_MAX, True, 0, 0)
    question = await _question(connection, wallet, wanted, window, in_time=True)
    walks = _walks(question, None, None, None)
    if not walks:
        return Totals(0, False, 0, 0)
    statement = f"""
        SELECT count(*), coalesce(sum(amount_micros) FILTER (WHERE amount_micros > 0), 0),
               coalesce(sum(amount_micros) FILTER (WHERE amount_micros < 0), 0)
        FROM (SELECT amount_micros FROM ({" UNION ALL ".join(walks)}) AS walk LIMIT {TOTALS_MAX + 1:d}) AS found
    """  # noqa: S608
    count, credits_micros, debits_micros = (await connection.execute(text(statement), question.parameters)).one()
    if count > TOTALS_MAX:
        return Totals(TOTALS_MAX, True, 0, 0)
    return Totals(count, False, int(credits_micros), int(debits_micros))


async def _question(
    connection: AsyncConnection, wallet: WalletState, wanted: EntryFilter, window: Window, *, in_time: bool
) -> _Question:
    keys: dict[str, Any] = {"root_id": wallet.root_id, "wallet_id": wallet.id}
    indexed_to = 0
    # The ledger's own key serves lines in the order of time.
    if not (wanted.is_empty and in_time):
        await connection.execute(_OPEN, {"wallet_id": str(wallet.id)})
        indexed_to = (await connection.execute(_PROGRESS, keys)).scalar_one()
    middle = max(window.after, min(window.to, indexed_to))
    indexed_items = latest_items = Items()
    if wanted.names_items and middle > window.after:
        indexed_items = await _indexed_items(connection, keys, wanted)
    if wanted.names_items and middle < window.to:
        latest = await connection.execute(_LATEST_ITEMS, {**keys, "after": middle, "to": window.to})
        latest_items = matching_items(wanted, latest.scalars())
    parameters = {**keys, "after": window.after, "middle": middle, "to": window.to, **_values(wanted)}
    branches: tuple[_Branch, ...] = ()
    if middle > window.after and not (wanted.items and not indexed_items.wanted):
        branches, more = await _branches(connection, keys, wanted, indexed_items)
        parameters |= more
    return _Question(wanted, window, middle, indexed_items, latest_items, branches, parameters)


async def _indexed_items(connection: AsyncConnection, keys: dict[str, Any], wanted: EntryFilter) -> Items:
    # No text of the books holds a NUL, and none may be asked for.
    parts = [part for part in wanted.items if "\0" not in part]
    searched = "" if "\0" in wanted.searched_text else wanted.searched_text
    rows = (await connection.execute(_ITEM_IDS, {**keys, "parts": parts, "searched": searched})).all()
    return Items(tuple(row.item_id for row in rows if row.wanted), tuple(row.item_id for row in rows if row.found))


def _values(wanted: EntryFilter) -> dict[str, Any]:
    """The parameters that the conditions of both halves share."""
    values: dict[str, Any] = {}
    if wanted.types:
        values["types"] = sorted(wanted.types)
    if wanted.number:
        values |= {"number": wanted.number, "number_end": after_prefix(wanted.number)}
    if wanted.cloud_phone_id:
        values["phone"] = wanted.cloud_phone_id
    if wanted.search:
        values["search_types"] = sorted(wanted.search.types)
        if wanted.search.number:
            values |= {"search_number": wanted.search.number, "search_number_end": after_prefix(wanted.search.number)}
    return values


async def _branches(
    connection: AsyncConnection, keys: dict[str, Any], wanted: EntryFilter, items: Items
) -> tuple[tuple[_Branch, ...], dict[str, Any]]:
    """The walks that meet every line of the copied half that the filter leaves, and their parameters."""
    allowed = wanted.types or _ALL_TYPES
    if wanted.cloud_phone_id:
        return (_Branch("x.cloud_phone_id = :phone AND x.cloud_phone_id <> ''"),), {}
    if wanted.number:
        branch, more = await _by_number(connection, keys, wanted.number, "number")
        if branch is not None:
            return (branch,), more
    if wanted.items and len(items.wanted) * len(allowed) <= _WALKS_MAX:
        return (_BY_PAIR,), _pairs(items.wanted, allowed)
    if wanted.search is not None:
        found = await _by_search(connection, keys, wanted, items, allowed)
        if found is not None:
            return found
    return (_BY_TYPE,), {"walk_types": sorted(allowed)}


_BY_PAIR = _Branch(
    "x.item_id = g.item_id AND x.type = g.type",
    "unnest(CAST(:pair_items AS integer[]), CAST(:pair_types AS smallint[])) AS g (item_id, type)",
)
_BY_TYPE = _Branch("x.type = g.type", "unnest(CAST(:walk_types AS smallint[])) AS g (type)")
_NEITHER = (
    " AND NOT x.item_id = ANY (CAST(:found AS integer[])) AND NOT x.type = ANY (CAST(:search_types AS smallint[]))"
)


def _pairs(item_ids: tuple[int, ...] | tuple[str, ...], types: frozenset[int]) -> dict[str, Any]:
    pairs = [(item_id, type_) for item_id in item_ids for type_ in sorted(types)]
    return {"pair_items": [pair[0] for pair in pairs], "pair_types": [pair[1] for pair in pairs]}


async def _by_number(
    connection: AsyncConnection, keys: dict[str, Any], number: str, name: str
) -> tuple[_Branch | None, dict[str, Any]]:
    """Numbers of a part of a day by the number, of whole days by the day; None for too many days."""
    if len(number) > ORDER_DAY_CHARACTERS:
        return _Branch(f"x.number <> '' AND x.number >= :{name} AND x.number < :{name}_end"), {}
    days = await connection.execute(
        _DAYS, {**keys, "number": number, "number_end": after_prefix(number), "limit": _DAYS_MAX + 1}
    )
    found = list(days.scalars())
    if len(found) > _DAYS_MAX:
        return None, {}
    drive = "unnest(CAST(:days AS text[])) AS g (day)"
    return _Branch("x.number <> '' AND x.number_day = g.day", drive), {"days": found}


async def _by_search(
    connection: AsyncConnection, keys: dict[str, Any], wanted: EntryFilter, items: Items, allowed: frozenset[int]
) -> tuple[tuple[_Branch, ...], dict[str, Any]] | None:
    """A walk for each of the three ways of being found; None where one of them goes nearly everywhere."""
    search = wanted.search
    if search is None:
        return None
    others = allowed - search.types
    if len(items.found) * len(others) > _WALKS_MAX:
        return None
    branches, parameters = [_BY_PAIR], _pairs(items.found, others)
    if search.types & allowed:
        branches.append(_BY_TYPE)
        parameters["walk_types"] = sorted(search.types & allowed)
    if search.number:
        branch, more = await _by_number(connection, keys, search.number, "search_number")
        if branch is None:
            return None
        branches.append(replace(branch, where=f"{branch.where} {_NEITHER}"))
        parameters |= more
    return tuple(branches), parameters


def _walks(question: _Question, order: Order | None, place: Place | None, limit: int | None) -> list[str]:
    """The SELECTs, one a branch and one for the ledger's last lines, each in the order asked for and no longer."""
    wanted, parameters = question.wanted, question.parameters
    end = "" if order is None else f" ORDER BY {_sorting(order, '{0}')} LIMIT {limit:d}"
    behind = ""
    if place is not None and order is not None and order.by_amount:
        parameters |= {"place_amount": place.amount_micros, "place": place.sequence}
        behind = f" AND ({{0}}amount_micros, {{0}}sequence) {'<' if order.descends else '>'} (:place_amount, :place)"
    walks = []
    if question.branches:
        parameters |= {"wanted": list(question.indexed_items.wanted), "found": list(question.indexed_items.found)}
    for branch in question.branches:
        conditions = " AND ".join((branch.where, *_conditions(wanted, _COPIED)))
        walk = f"""
            SELECT x.sequence, x.amount_micros FROM line_search x
            WHERE x.root_id = :root_id AND x.wallet_id = :wallet_id AND x.sequence > :after AND x.sequence <= :middle
                AND {conditions}{behind.format("x.")}{end.format("x.")}
        """  # noqa: S608
        if branch.drive:
            walk = f"SELECT w.* FROM {branch.drive} CROSS JOIN LATERAL ({walk}) AS w"  # noqa: S608
        walks.append(f"({walk})")
    if question.window.to > question.indexed_to and not (wanted.items and not question.latest_items.wanted):
        walks.append(_latest(question, behind.format("l.") + end.format("l.")))
    return walks


def _latest(question: _Question, end: str) -> str:
    wanted = question.wanted
    question.parameters.update(
        latest_wanted=list(question.latest_items.wanted), latest_found=list(question.latest_items.found)
    )
    conditions = _conditions(wanted, _LATEST)
    of_ledger = bool(wanted.items or wanted.number or wanted.cloud_phone_id or wanted.search)
    join = _TRANSACTION if of_ledger else ""
    return f"""(
        SELECT l.sequence, l.amount_micros FROM lines l {join}
        WHERE l.root_id = :root_id AND l.wallet_id = :wallet_id AND l.sequence > :middle AND l.sequence <= :to
            {"".join(f" AND {condition}" for condition in conditions)}{end}
    )"""  # noqa: S608


def _conditions(wanted: EntryFilter, columns: _Columns) -> list[str]:
    """The whole filter but its instants."""
    item, type_, number, prefix = columns.item, columns.type, columns.number, columns.prefix
    conditions = []
    if wanted.types:
        conditions.append(f"{type_} = ANY (CAST(:types AS smallint[]))")
    if wanted.items:
        conditions.append(f"{item} = ANY (CAST(:{prefix}wanted AS {columns.item_type}[]))")
    if wanted.number:
        conditions.append(f"({number} >= :number AND {number} < :number_end)")
    if wanted.cloud_phone_id:
        conditions.append("cloud_phone_id = :phone")
    if wanted.search:
        ways = [
            f"{item} = ANY (CAST(:{prefix}found AS {columns.item_type}[]))",
            f"{type_} = ANY (CAST(:search_types AS smallint[]))",
        ]
        if wanted.search.number:
            ways.append(f"({number} >= :search_number AND {number} < :search_number_end)")
        conditions.append(f"({' OR '.join(ways)})")
    return conditions


def _sorting(order: Order, prefix: str = "") -> str:
    direction = "DESC" if order.descends else "ASC"
    columns = ("amount_micros", "sequence") if order.by_amount else ("sequence",)
    return ", ".join(f"{prefix}{column} {direction}" for column in columns)
