"""Finding a wallet's lines: the statement that a question becomes.

Lines up to `search_progress.sequence` are found in `line_search`, those after it (all, in a small wallet) by looking
through the ledger. For the copied ones `wallet.domain.routes` says which index is walked; every walk checks the whole
filter. Connections must see everything: whether a wallet is the caller's to see is asked before.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain import routes
from wallet.domain.entries import EntryRow, WalletState
from wallet.domain.routes import By, Copied, Items, Part, Route, Stream
from wallet.domain.search import (
    ORDER_DAY_CHARACTERS,
    TOTALS_MAX,
    EntryFilter,
    Order,
    Place,
    Totals,
    Window,
    after_prefix,
    matching_items,
)
from wallet.store import search_index
from wallet.store.entries import sequence_before
from wallet.store.search_index import COMPACT_NUMBER

# Replaced by tests, which take every way there is.
choose = routes.cheapest
# What a statement's text means to SQLAlchemy, found out once: a third of what a list costs this process otherwise.
_statement = lru_cache(1_000)(text)
# Items that may be walked one by one; items of one type that are looked through once more.
_ITEMS_MAX = 1_000
_ITEMS_OF_TYPE = 300
_INT64_MAX = 2**63 - 1

# One look-up a line, by key (`OFFSET 0` keeps it so). As a join of many, the question that row-level security asks of
# each transaction, whether one of its lines is seen, may be answered by reading every line that there is.
_TRANSACTION = """CROSS JOIN LATERAL (
    SELECT * FROM transactions WHERE root_id = l.root_id AND id = l.transaction_id OFFSET 0
) AS t"""

# Which index is walked is decided here and written into the statement's shape and order, so the planner is left no
# other way to get that order, and need not think again each time. Where lines are asked for their items it thinks: it
# must know how many lines there may be to see that remembering items pays.
_PROGRESS = text("""
SELECT sequence, lines, set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true),
       set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('jit', 'off', true), set_config('plan_cache_mode', :planning, true)
FROM search_progress WHERE root_id = :root_id AND wallet_id = :wallet_id
""")
_MATCHING = f"""
    SELECT count(*) AS found, array_agg(item_id) AS ids,
           {", ".join(f"array_agg(lines[{type_}]) AS lines_{type_}" for type_ in sorted(routes.ALL_TYPES))},
           {", ".join(f"coalesce(sum(lines[{type_}]), 0)::bigint" for type_ in sorted(routes.ALL_TYPES))}
    FROM ({{items}} LIMIT :limit) AS i
"""  # noqa: S608
# Block by block: those that came first lie together, and are sold the most. The last is of items that fill none yet.
_IN_BLOCKS = """
    SELECT i.* FROM (
        (SELECT block FROM search_item_blocks b
         WHERE root_id = :root_id AND wallet_id = :wallet_id AND {block_matches} ORDER BY block)
        UNION ALL
        SELECT coalesce(max(block) + 1, 0) FROM search_item_blocks WHERE root_id = :root_id AND wallet_id = :wallet_id
    ) AS b CROSS JOIN LATERAL (
        SELECT item_id, lines FROM search_items i
        WHERE root_id = :root_id AND wallet_id = :wallet_id AND item_id > b.block * :block_size
            AND item_id <= (b.block + 1) * :block_size AND {matches}
        ORDER BY item_id
    ) AS i
"""
_AMONG_FEW = """
    SELECT item_id, lines FROM search_items i
    WHERE root_id = :root_id AND wallet_id = :wallet_id AND few.count < :few AND item_id = ANY (few.ids) AND {matches}
    ORDER BY item_id
"""
# The same of each type that has few items: nothing where there are more.
_MATCHING_OF_TYPE = f"""
SELECT each.type, few.count < :few AS is_few, i.*
FROM unnest(CAST(:types AS smallint[])) AS each (type) CROSS JOIN LATERAL (
    SELECT count(*) AS count, array_agg(item_id) AS ids FROM (
        SELECT item_id FROM search_item_types
        WHERE root_id = :root_id AND wallet_id = :wallet_id AND type = each.type LIMIT :few
    ) AS i
) AS few CROSS JOIN LATERAL (
{_MATCHING.format(items=_AMONG_FEW)}
) AS i
"""  # noqa: S608
# Of a day's lines of a type, late refunds mostly, as many as its part of the window has.
_DAYS = text("""
SELECT number_day, type, s.after, s.to, lines * (s.to - s.after)::float8 / (last_sequence - first_sequence + 1)
FROM search_days, LATERAL (SELECT greatest(first_sequence - 1, :after) AS after, least(last_sequence, :to) AS to) AS s
WHERE root_id = :root_id AND wallet_id = :wallet_id AND number_day >= :number AND number_day < :number_end
    AND last_sequence > :after AND first_sequence <= :to
""")
_LATEST_ITEMS = text(f"""
SELECT DISTINCT t.item FROM lines l {_TRANSACTION}
WHERE l.root_id = :root_id AND l.wallet_id = :wallet_id AND l.sequence > :after AND l.sequence <= :to
""")  # noqa: S608
_ROWS = f"""
SELECT l.transaction_id, l.sequence, l.type, t.item, t.order_number, t.order_id, l.amount_micros,
       l.balance_after_micros, l.posted_at, l.hash, t.kind, t.cloud_phone_id, t.original_id
FROM found f CROSS JOIN LATERAL (
    SELECT * FROM lines WHERE root_id = :root_id AND wallet_id = :wallet_id AND sequence = f.sequence OFFSET 0
) AS l {_TRANSACTION}
"""  # noqa: S608


_KEYS = {
    # The first is true of every line, and asks for the index that says so.
    By.TYPE: "x.item_id > 0 AND x.type = g.type",
    By.ITEM: "x.item_id = g.key AND x.type = g.type",
    By.DAY: "x.number <> '' AND x.number_day = g.key AND x.type = g.type",
    By.NUMBER: "x.number <> ''",
    By.PHONE: "x.cloud_phone_id = :phone AND x.cloud_phone_id <> ''",
}
# A look-up by key. Lines of like amounts are of few items; as a join (Memoize) it is remembered what they are called.
_ITEM_OF_LINE = """CROSS JOIN LATERAL (
    SELECT FROM search_items i
    WHERE i.root_id = :root_id AND i.wallet_id = :wallet_id AND i.item_id = {row}.item_id AND {matches} OFFSET 0
) AS i"""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a statement is made for: the lines looked at, in which order, how many."""

    wanted: EntryFilter
    window: Window
    # Up to here `line_search` is asked, after it the ledger.
    copied_to: int
    limit: int
    order: Order | None = None
    place: Place | None = None

    def sorting(self, prefix: str = "") -> str:
        """The columns after ORDER BY."""
        if self.order is None:
            return ""
        direction = "DESC" if self.order.descends else "ASC"
        columns = ("amount_micros", "sequence") if self.order.by_amount else ("sequence",)
        return ", ".join(f"{prefix}{column} {direction}" for column in columns)

    def sorted(self, prefix: str = "") -> str:
        """ORDER BY, where there is an order, and LIMIT."""
        return f"{f' ORDER BY {self.sorting(prefix)}' if self.order else ''} LIMIT {self.limit:d}"

    def behind(self, prefix: str) -> str:
        """What comes after `place` in a list by amount."""
        if self.place is None or self.order is None or not self.order.by_amount:
            return ""
        sign = "<" if self.order.descends else ">"
        return f" AND ({prefix}amount_micros, {prefix}sequence) {sign} (:place_amount, :place)"


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
    asked = _Asked(wanted, window, window.after, limit, order, place)
    walks, parameters = await _walks(connection, wallet, asked)
    if not walks:
        return []
    statement = f"""
        WITH found AS MATERIALIZED (
            SELECT sequence, amount_micros FROM ({" UNION ALL ".join(walks)}) AS walk{asked.sorted()}
        )
        {_ROWS} ORDER BY {asked.sorting("l.")}
    """  # noqa: S608 - put together from constants of this module; values are bound
    return [EntryRow(*row) for row in await connection.execute(_statement(statement), parameters)]


async def totals(connection: AsyncConnection, wallet: WalletState, wanted: EntryFilter, window: Window) -> Totals:
    """Counts and sums what the filter leaves, up to TOTALS_MAX lines."""
    if window.is_empty or wanted.is_absurd:
        return Totals(0, False, 0, 0)
    if wanted.is_empty and window.to - window.after > TOTALS_MAX:
        return Totals(TOTALS_MAX, True, 0, 0)
    asked = _Asked(wanted, window, window.after, TOTALS_MAX + 1)
    walks, parameters = await _walks(connection, wallet, asked)
    if not walks:
        return Totals(0, False, 0, 0)
    statement = f"""
        SELECT count(*), coalesce(sum(amount_micros) FILTER (WHERE amount_micros > 0), 0),
               coalesce(sum(amount_micros) FILTER (WHERE amount_micros < 0), 0)
        FROM (SELECT amount_micros FROM ({" UNION ALL ".join(walks)}) AS walk{asked.sorted()}) AS found
    """  # noqa: S608
    count, credits_micros, debits_micros = (await connection.execute(_statement(statement), parameters)).one()
    if count > TOTALS_MAX:
        return Totals(TOTALS_MAX, True, 0, 0)
    return Totals(count, False, int(credits_micros), int(debits_micros))


async def _walks(connection: AsyncConnection, wallet: WalletState, asked: _Asked) -> tuple[list[str], dict[str, Any]]:
    """The SELECTs, of sequences and amounts, that meet every line of the answer, and their parameters."""
    wanted, window = asked.wanted, asked.window
    keys: dict[str, Any] = {"root_id": wallet.root_id, "wallet_id": wallet.id}
    parameters: dict[str, Any] = dict(keys)
    if asked.place is not None:
        parameters |= {"place_amount": asked.place.amount_micros, "place": asked.place.sequence}
    walks: list[str] = []
    # The ledger's own key serves lines in the order of time.
    if not (wanted.is_empty and not (asked.order and asked.order.by_amount)):
        planning = "force_custom_plan" if wanted.names_items else "force_generic_plan"
        progress = (await connection.execute(_PROGRESS, {**keys, "planning": planning})).one_or_none()
        if progress is not None and progress.sequence > window.after:
            asked = replace(asked, copied_to=min(window.to, progress.sequence))
            span = Window(window.after, asked.copied_to)
            copied = await _copied(connection, keys, wanted, progress, span)
            look = routes.Look(copied, span, asked.order or Order.NEWEST, asked.limit)
            parts = [part for part in routes.parts_of(wanted) if routes.may_have_lines(part, wanted, copied)]
            known = [each for part in parts for each in await _items(connection, keys, wanted, part)]
            for number, (part, items) in enumerate(known):
                route = choose(routes.routes_of(part, wanted, items, look))
                if route.streams:
                    walks.append(_walk(route, asked, f"_{number}"))
                    parameters |= _values(route, asked, f"_{number}")
    if asked.copied_to < window.to:
        latest = await _latest(connection, keys, asked)
        if latest is not None:
            walks.append(latest[0])
            parameters |= latest[1]
    return walks, parameters


async def _copied(
    connection: AsyncConnection, keys: dict[str, Any], wanted: EntryFilter, progress: Any, span: Window
) -> Copied:
    """What is known of the copied lines, as far as the question, within `span`, is about it."""
    days: dict[Stream, None] = {}
    for number in {wanted.number, wanted.search.number if wanted.search else ""}:
        if number and len(number) <= ORDER_DAY_CHARACTERS:
            begins = {"number": number, "number_end": after_prefix(number), "after": span.after, "to": span.to}
            rows = (await connection.execute(_DAYS, {**keys, **begins})).all()
            days.update(dict.fromkeys(map(Stream._make, rows)))
    return Copied(progress.sequence, progress.lines, tuple(days))


async def _items(
    connection: AsyncConnection, keys: dict[str, Any], wanted: EntryFilter, part: Part
) -> list[tuple[Part, Items | None]]:
    """A part with its items. Apart from it the types of which there are few items at all: they are soon looked through,
    while to find those few among all that are called so would take long.
    """
    if not part.is_of_items or routes.is_narrow(part, wanted):
        return [(part, None)]
    matches, values = _matches(wanted, part), {**keys, **_texts(wanted)}
    statement = _statement(_MATCHING_OF_TYPE.format(matches=matches))
    of_type = {"types": sorted(part.types), "few": _ITEMS_OF_TYPE + 1, "limit": _ITEMS_OF_TYPE + 1}
    rows = await connection.execute(statement, {**values, **of_type})
    found: list[tuple[Part, Items | None]] = [
        (replace(part, types=frozenset({row.type})), _items_of(row)) for row in rows if row.is_few
    ]
    many = replace(part, types=part.types.difference(*(few.types for few, _ in found)))
    if not many.types:
        return found
    # The text first: of many items few are looked at twice.
    has_lines = " OR ".join(f"lines[{type_:d}] > 0" for type_ in sorted(many.types))
    of_types = f"CASE WHEN {matches} THEN {has_lines} ELSE false END"
    # What is not called so may stand beside what is.
    in_block = _matches(wanted, replace(part, is_found=part.is_found or None), "b")
    statement = _statement(_MATCHING.format(items=_IN_BLOCKS.format(block_matches=in_block, matches=of_types)))
    in_blocks = {"block_size": search_index.ITEMS_A_BLOCK, "limit": _ITEMS_MAX + 1}
    row = (await connection.execute(statement, {**values, **in_blocks})).one()
    return [*found, (many, _items_of(row) if row.found <= _ITEMS_MAX else Items(None, row[-4:]))]


def _items_of(row: Any) -> Items:
    lines = zip(row.lines_1 or (), row.lines_2 or (), row.lines_3 or (), row.lines_4 or (), strict=True)
    return Items(dict(zip(row.ids or (), lines, strict=True)), row[-4:])


def _texts(wanted: EntryFilter) -> dict[str, str]:
    """What items are searched for, as patterns. No text of the books holds a NUL, and none may be asked for."""
    texts = {f"part_{number}": part for number, part in enumerate(wanted.items)}
    if wanted.search:
        texts["searched"] = wanted.search.text
    return {name: f"%{_plain(part)}%" for name, part in texts.items() if "\0" not in part}


def _plain(part: str) -> str:
    """A part of a pattern that stands for itself."""
    return "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in part)


def _matches(wanted: EntryFilter, part: Part, row: str = "i") -> str:
    """Whether what `row` is called is an item of the part, or has one in it."""
    texts = _texts(wanted)
    parts = [f"{row}.folded LIKE :{name}" for name in texts if name != "searched"]
    matches = [f"({' OR '.join(parts) or 'false'})"] if part.is_wanted else []
    if part.is_found is not None:
        finds = f"{row}.folded LIKE :searched" if "searched" in texts else "false"
        matches.append(finds if part.is_found else f"NOT {finds}")
    return " AND ".join(matches)


def _walk(route: Route, asked: _Asked, name: str) -> str:
    """The SELECT of one part: its streams, each read along its index in the order asked for and no longer."""
    streams = f"""
        unnest(CAST(:key{name} AS {"text" if route.by is By.DAY else "integer"}[]), CAST(:type{name} AS smallint[]),
               CAST(:after{name} AS bigint[]), CAST(:to{name} AS bigint[])) AS g (key, type, after, upto)
    """
    items = (
        _ITEM_OF_LINE.format(row="x", matches=_matches(asked.wanted, route.part))
        if routes.asks_items(route.part, route.by)
        else ""
    )
    stream = f"""
        SELECT x.sequence, x.amount_micros FROM line_search x {items} WHERE {_of_stream(route, asked, name)}
    """  # noqa: S608
    if asked.order is None:
        return f"(SELECT w.* FROM {streams} CROSS JOIN LATERAL ({stream}) AS w LIMIT {asked.limit:d})"  # noqa: S608
    if route.gathers:
        return _gathered(route, asked, streams, name)
    page_of_each = f"{stream}{asked.sorted('x.')}"
    if len(route.streams) <= routes.FEW_STREAMS:
        return f"(SELECT w.* FROM {streams} CROSS JOIN LATERAL ({page_of_each}) AS w)"  # noqa: S608
    return _first_of_many(asked, streams, stream)


def _first_of_many(asked: _Asked, streams: str, stream: str) -> str:
    """First the first line of each stream. The page is on the streams whose first lines come first, and none of it
    comes after the last of those."""
    if asked.order is None:
        raise ValueError("lines without an order have no first")
    columns = ("amount_micros", "sequence") if asked.order.by_amount else ("sequence",)
    furthest = -_INT64_MAX if asked.order.descends else _INT64_MAX
    edges = ", ".join(f"coalesce(max({column}), {furthest}) AS {column}" for column in columns)
    line, last = (", ".join(f"{row}.{column}" for column in columns) for row in ("x", "edge"))
    up_to = f" AND ({line}) {'>=' if asked.order.descends else '<='} ({last})"
    return f"""(
        WITH first AS MATERIALIZED (
            SELECT g.*, w.* FROM {streams} CROSS JOIN LATERAL ({stream} ORDER BY {asked.sorting("x.")} LIMIT 1) AS w
            {asked.sorted("w.")}
        ), edge AS MATERIALIZED (
            SELECT {edges} FROM (
                SELECT * FROM first ORDER BY {asked.sorting()} OFFSET {asked.limit - 1:d} LIMIT 1
            ) AS last
        )
        SELECT w.* FROM edge CROSS JOIN first AS g CROSS JOIN LATERAL ({stream}{up_to}{asked.sorted("x.")}) AS w
    )"""  # noqa: S608


def _gathered(route: Route, asked: _Asked, streams: str, name: str) -> str:
    """All lines of the streams, sorted. What their items are called is asked once an item."""
    every = f"""
        SELECT w.* FROM {streams} CROSS JOIN LATERAL (
            SELECT x.sequence, x.amount_micros, x.item_id FROM line_search x
            WHERE {_of_stream(route, asked, name)} OFFSET 0
        ) AS w
    """  # noqa: S608
    if not routes.asks_items(route.part, route.by):
        return f"(SELECT w.sequence, w.amount_micros FROM ({every}) AS w{asked.sorted('w.')})"  # noqa: S608
    item = _ITEM_OF_LINE.format(row="d", matches=_matches(asked.wanted, route.part))
    # IS TRUE keeps the planner, who expects few lines, from going through the items for each of them.
    return f"""(
        WITH every AS MATERIALIZED ({every})
        SELECT w.sequence, w.amount_micros FROM every AS w
        WHERE (w.item_id IN (SELECT d.item_id FROM (SELECT DISTINCT item_id FROM every) AS d {item})) IS TRUE
        {asked.sorted("w.")}
    )"""  # noqa: S608


def _of_stream(route: Route, asked: _Asked, name: str) -> str:
    """The conditions of lines `x` on a stream `g` of the route."""
    return (
        "x.root_id = :root_id AND x.wallet_id = :wallet_id AND x.sequence > g.after AND x.sequence <= g.upto"
        f" AND {' AND '.join(_checks(route, asked.wanted, name))}{asked.behind('x.')}"
    )


def _checks(route: Route, wanted: EntryFilter, name: str) -> list[str]:
    """The key of a stream, and all of the filter that the streams do not say by themselves."""
    part = route.part
    checks = [_KEYS[route.by]]
    if part.number and route.by is not By.DAY:
        column = "number_day" if len(part.number) <= ORDER_DAY_CHARACTERS else "number"
        checks.append(f"x.{column} >= :number{name} AND x.{column} < :number_end{name}")
    if route.by in (By.NUMBER, By.PHONE) and part.types != routes.ALL_TYPES:
        checks.append(f"x.type = ANY (CAST(:types{name} AS smallint[]))")
    if wanted.cloud_phone_id and route.by is not By.PHONE:
        checks.append("x.cloud_phone_id = :phone")
    return checks


def _values(route: Route, asked: _Asked, name: str) -> dict[str, Any]:
    part = route.part
    values: dict[str, Any] = {
        f"key{name}": [stream.key for stream in route.streams],
        f"type{name}": [stream.type for stream in route.streams],
        f"after{name}": [stream.after for stream in route.streams],
        f"to{name}": [stream.to for stream in route.streams],
    }
    if part.number:
        values |= {f"number{name}": part.number, f"number_end{name}": after_prefix(part.number)}
    if asked.wanted.cloud_phone_id:
        values["phone"] = asked.wanted.cloud_phone_id
    return {**values, **_texts(asked.wanted), f"types{name}": sorted(part.types)}


async def _latest(
    connection: AsyncConnection, keys: dict[str, Any], asked: _Asked
) -> tuple[str, dict[str, Any]] | None:
    """The SELECT of the lines that are not copied; None where none of them is of an item that is asked for."""
    wanted = asked.wanted
    values: dict[str, Any] = {"latest_after": asked.copied_to, "latest_to": asked.window.to}
    if wanted.names_items:
        items = await connection.execute(_LATEST_ITEMS, {**keys, "after": asked.copied_to, "to": asked.window.to})
        named = matching_items(wanted, items.scalars())
        if wanted.items and not named.wanted:
            return None
        values |= {"latest_wanted": list(named.wanted), "latest_found": list(named.found)}
    for name, number in (("number", wanted.number), ("searched_number", wanted.search.number if wanted.search else "")):
        if number:
            values |= {f"latest_{name}": number, f"latest_{name}_end": after_prefix(number)}
    checks = "".join(f" AND {check}" for check in _latest_checks(wanted))
    join = _TRANSACTION if wanted.items or wanted.number or wanted.cloud_phone_id or wanted.search else ""
    statement = f"""(
        SELECT l.sequence, l.amount_micros FROM lines l {join}
        WHERE l.root_id = :root_id AND l.wallet_id = :wallet_id AND l.sequence > :latest_after
            AND l.sequence <= :latest_to{checks}{asked.behind("l.")}{asked.sorted("l.")}
    )"""  # noqa: S608
    if wanted.types:
        values["latest_types"] = sorted(wanted.types)
    if wanted.search:
        values["latest_search_types"] = sorted(wanted.search.types)
    if wanted.cloud_phone_id:
        values["phone"] = wanted.cloud_phone_id
    return statement, values


def _latest_checks(wanted: EntryFilter) -> list[str]:
    """The whole filter but its instants."""
    number = COMPACT_NUMBER.format(column="t.order_number")
    checks = []
    if wanted.types:
        checks.append("l.type = ANY (CAST(:latest_types AS smallint[]))")
    if wanted.items:
        checks.append("t.item = ANY (CAST(:latest_wanted AS text[]))")
    if wanted.number:
        checks.append(f"({number} >= :latest_number AND {number} < :latest_number_end)")
    if wanted.cloud_phone_id:
        checks.append("t.cloud_phone_id = :phone")
    if wanted.search:
        ways = [
            "t.item = ANY (CAST(:latest_found AS text[]))",
            "l.type = ANY (CAST(:latest_search_types AS smallint[]))",
        ]
        if wanted.search.number:
            ways.append(f"({number} >= :latest_searched_number AND {number} < :latest_searched_number_end)")
        checks.append(f"({' OR '.join(ways)})")
    return checks
