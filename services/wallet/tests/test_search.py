"""Filters, orders, totals and pages of a wallet's lines, compared with a filter in memory, on a real PostgreSQL."""

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servicekit.call import Call
from servicekit.database import Database
from servicekit.folding import fold
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING, Scope
from servicekit.testing import as_caller
from sqlalchemy import text
from wallet.commands.search_index import find_large_wallets, index_lines
from wallet.domain import routes
from wallet.domain.search import Search, compact_number
from wallet.rpc.lists import ListsRpc
from wallet.store import search as store
from wallet.store import search_index
from wallet.store.search_index import copy_lines

from .ledger_world import Chain, World
from .search_world import ITEMS, NUMBERS, PHONES, Row, fill, leaves, number_key, rows_of, sorted_as, stamp

CONTEXT: Any = None
METHOD = "/farthing.wallet.v1.WalletService/ListEntries"


@dataclass
class Shelf:
    """A chain full of lines; `halves`: the wallets' first lines are copied, the last are not."""

    chain: Chain
    lists: ListsRpc
    rows: dict[UUID, list[Row]]


ITEMS_A_BLOCK = 3


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    """So few items a block that there are many, and a rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_index, "ITEMS_A_BLOCK", ITEMS_A_BLOCK)
        yield


@pytest.fixture(scope="module")
async def shelves(database: Database, world: World, charges: Any) -> list[Shelf]:
    """Three chains: nothing is copied, half is, all is."""
    made = []
    for copied in (False, True, True):
        chain = await world.chain(money=(10**9,) * 3, earns=(False, True, False))
        await fill(world, charges, chain, 140, seed=len(made))
        if copied:
            await copy(database, chain)
        if len(made) == 1:
            await fill(world, charges, chain, 100, seed=7)
        rows = {wallet_id: await rows_of(world, wallet_id) for wallet_id in chain.wallet_ids}
        made.append(Shelf(chain, ListsRpc(database, Pager("test")), rows))
    halves = await world.pool.fetch(
        "SELECT p.sequence AS copied, w.sequence FROM wallets w LEFT JOIN search_progress p ON p.wallet_id = w.id "
        "AND p.root_id = w.root_id WHERE w.id = ANY ($1) ORDER BY w.id",
        [shelf.chain.wallet_ids[1] for shelf in made],
    )
    assert sorted(0 if row["copied"] is None else (row["copied"] == row["sequence"]) + 1 for row in halves) == [0, 1, 2]
    return made


async def copy(database: Database, chain: Chain, limit: int = 10**6) -> int:
    """Copies lines of a chain's wallets, and says of how many wallets there were some."""
    some = 0
    for wallet_id in chain.wallet_ids:
        async with database.transaction(EVERYTHING) as connection:
            some += await copy_lines(connection, chain.root_id, wallet_id, limit) > 0
    return some


def seen_by(chain: Chain, tier: int) -> AbstractContextManager[Call]:
    """A call of the buyer of `tier`; tier 4 is the platform."""
    return as_caller(chain.organization_ids[tier - 1], None if tier == 4 else chain.root_id, method=METHOD)


def micros(money: Money) -> int:
    """A Money as millionths."""
    return money.units * 1_000_000 + money.nanos // 1000


async def all_pages(lists: ListsRpc, request: pb.ListEntriesRequest) -> list[pb.Entry]:
    """Every entry of every page."""
    asked, found = pb.ListEntriesRequest(), []
    asked.CopyFrom(request)
    while True:
        page = await lists.ListEntries(asked, CONTEXT)
        found += page.entries
        if not page.next_page_token:
            return found
        assert len(page.entries) == (asked.page_size or 50)
        asked.page_token = page.next_page_token


async def compare(shelf: Shelf, tier: int, asked: pb.EntryFilter, order: int, page_size: int) -> int:
    """Asserts that a wallet's list is what the filter in memory leaves, in its order, with its sums; how many."""
    wallet_id = shelf.chain.wallet_ids[tier - 1]
    expected = sorted_as(order, [row for row in shelf.rows[wallet_id] if leaves(asked, row)])
    request = pb.ListEntriesRequest(
        wallet_id=str(wallet_id), filter=asked, order=order, page_size=page_size, with_totals=True
    )
    with seen_by(shelf.chain, tier):
        found = await all_pages(shelf.lists, request)
        totals = (await shelf.lists.ListEntries(request, CONTEXT)).totals
    assert [entry.sequence for entry in found] == [row.sequence for row in expected], asked
    for entry, row in zip(found, expected, strict=True):
        seen = (entry.type, entry.item, entry.order_number, entry.cloud_phone_id, micros(entry.amount), entry.kind)
        assert seen == (row.type, row.item, row.order_number, row.cloud_phone_id, row.amount, row.kind)
        assert entry.original_transaction_id == ("" if row.original_id is None else str(row.original_id))
    assert (totals.count, totals.more) == (len(expected), False)
    assert micros(totals.credits) == sum(row.amount for row in expected if row.amount > 0)
    assert micros(totals.debits) == sum(row.amount for row in expected if row.amount < 0)
    return len(expected)


def choices(rows: list[Row], dice: random.Random) -> dict[str, list[Any]]:
    """Values for each field of a filter."""
    instants = sorted(row.posted_at for row in rows)
    middle = [instants[len(instants) * n // 5] for n in range(5)]
    return {
        "posted_from": [stamp(at, dice.choice((0, 0, 1, -1, 999))) for at in middle],
        "posted_to": [stamp(at, dice.choice((0, 0, 1, -1, 999))) for at in (*middle[1:], instants[-1])],
        "types": [[1], [2], [3], [4], [1, 3], [2, 4], [1, 2, 3, 4], [2, 2]],
        "items": [["proxy"], ["%"], ["_"], ["\\"], ["x"], ["STRASSE"], ["وكيل"], ["套"], ["proxy", "CAFÉ"], ["fi"]],
        "order_number": ["FA-261123-7K3M9Q2X", "fa 261102", "FA26", "2026-", "%", "_", "FA-2611237k3m", "zzz"],
        "cloud_phone_id": ["phone-1", "PHONE-1", "机-1", "phone", "%"],
        "search": [
            "expense",
            "Earnings",
            "SYSTEM",
            "recharge",
            "proxy",
            " fa-261101 ",
            "2026",
            "%",
            "E",
            "  ",
            "-",
            "ﬁ",
        ],
    }


FIELDS = ("posted_from", "posted_to", "types", "items", "order_number", "cloud_phone_id", "search")


async def test_every_pair_of_filters(shelves: list[Shelf]) -> None:
    """Given lines of every sort. When each pair of filters is asked for, in every order. Then as in memory."""
    dice, found = random.Random(4), 0
    for shelf, pair in itertools.product(shelves, itertools.combinations_with_replacement(FIELDS, 2)):
        for tier in (1, 2):
            values = choices(shelf.rows[shelf.chain.wallet_ids[tier - 1]], dice)
            for order in dice.sample(range(5), 2):
                asked = pb.EntryFilter(**{field: dice.choice(values[field]) for field in pair})
                found += await compare(shelf, tier, asked, order, dice.choice((7, 50, 1000)))
    assert found > 1000


async def test_every_value_alone(shelves: list[Shelf]) -> None:
    """Given lines of every sort. When each value is asked for alone. Then as in memory, wherever the lines are."""
    dice, found = random.Random(5), dict.fromkeys(FIELDS, 0)
    for shelf in shelves:
        values = choices(shelf.rows[shelf.chain.wallet_ids[1]], dice)
        for field in FIELDS:
            for value in values[field]:
                asked = pb.EntryFilter(**{field: value})
                found[field] += await compare(shelf, 2, asked, dice.randrange(5), dice.choice((7, 50, 1000)))
    assert min(found.values()) > 100, found


PARTS = st.sampled_from(ITEMS).flatmap(
    lambda item: st.tuples(st.integers(0, len(item) - 1), st.integers(1, 6)).map(lambda at: item[at[0] : sum(at)])
)
INSTANTS = st.integers(0, 1000)


@st.composite
def filters(draw: st.DrawFn) -> tuple[dict[str, Any], int | None, int | None]:
    """Fields of a filter, and where in the wallet's life its instants lie (thousandths)."""
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        fields["types"] = draw(st.lists(st.integers(1, 4), max_size=3))
    if draw(st.booleans()):
        fields["items"] = draw(st.lists(PARTS | st.text(min_size=1, max_size=3), min_size=1, max_size=3))
    if draw(st.integers(0, 3)) == 0:
        fields["order_number"] = draw(
            st.sampled_from(NUMBERS).flatmap(lambda number: st.integers(0, 20).map(lambda end: number[:end].lower()))
        )
    if draw(st.integers(0, 3)) == 0:
        fields["cloud_phone_id"] = draw(st.sampled_from(PHONES))
    if draw(st.booleans()):
        fields["search"] = draw(PARTS | st.sampled_from([*NUMBERS, "expense", "Recharge"]) | st.text(max_size=4))
    return fields, draw(st.none() | INSTANTS), draw(st.none() | INSTANTS)


@given(
    asked=filters(),
    order=st.integers(0, 4),
    tier=st.integers(1, 3),
    place=st.integers(0, 2),
    page_size=st.sampled_from((0, 3, 40, 1000)),
)
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_combination(
    shelves: list[Shelf],
    asked: tuple[dict[str, Any], int | None, int | None],
    order: int,
    tier: int,
    place: int,
    page_size: int,
) -> None:
    """Given lines of every sort. When any combination is asked for. Then as in memory, page by page."""
    fields, begin, end = asked
    rows = shelves[place].rows[shelves[place].chain.wallet_ids[tier - 1]]
    made = pb.EntryFilter(**fields)
    for name, at in (("posted_from", begin), ("posted_to", end)):
        if at is not None:
            getattr(made, name).CopyFrom(stamp(rows[min(at * len(rows) // 1000, len(rows) - 1)].posted_at))
    await compare(shelves[place], tier, made, order, page_size)


async def test_texts_that_are_hard(shelves: list[Shelf]) -> None:
    """Given items in many scripts. When long, broken and right-to-left texts are asked for. Then as in memory."""
    for shelf in shelves:
        for part in (
            "y" * 10_000,
            "\0",
            "a\0b",
            "x" * 500,
            "\u202e",
            "👩‍👩‍👧",
            "ß",
            "ss",
            "SS",
            "ﬀ",
            "i̇",
            "İ",
            "ὀδυσσεύσ",
            "e",
        ):
            for fields in ({"items": [part]}, {"search": part}, {"items": ["zz", part], "search": part}):
                await compare(shelf, 1, pb.EntryFilter(**fields), 0, 1000)
        for number in ("\0", "a\0", "\u00a0", "ⓕ", "ß"):
            await compare(shelf, 1, pb.EntryFilter(order_number=number, cloud_phone_id=number), 0, 50)


async def test_instants_at_the_end_of_time(shelves: list[Shelf]) -> None:
    """Given lines. When they are asked for from the year 1 to 9999, or at no instant. Then all, or refused."""
    first, last = Timestamp(seconds=-62135596800), Timestamp(seconds=253402300799, nanos=999_999_999)
    for shelf in shelves:
        count = await compare(shelf, 1, pb.EntryFilter(posted_from=first, posted_to=last), 0, 1000)
        assert count == len(shelf.rows[shelf.chain.wallet_ids[0]])
        assert await compare(shelf, 1, pb.EntryFilter(posted_to=first), 0, 1000) == 0
        assert await compare(shelf, 1, pb.EntryFilter(posted_from=last), 0, 1000) == 0
    request = pb.ListEntriesRequest(
        wallet_id=str(shelves[0].chain.wallet_ids[0]), filter=pb.EntryFilter(posted_to=Timestamp(seconds=10**15))
    )
    with seen_by(shelves[0].chain, 1):
        problem = await refused(shelves[0].lists.ListEntries(request, CONTEXT), "INVALID_ARGUMENT")
    assert "filter.posted_to" in problem.fields


@pytest.mark.parametrize("written", ["-", "--", " - ", "  "])
async def test_a_number_that_says_nothing(shelves: list[Shelf], written: str) -> None:
    """Given lines. When asked for an order number of dashes and spaces. Then refused, with what to write instead."""
    request = pb.ListEntriesRequest(
        wallet_id=str(shelves[0].chain.wallet_ids[0]), filter=pb.EntryFilter(order_number=written)
    )
    with seen_by(shelves[0].chain, 1):
        problem = await refused(shelves[0].lists.ListEntries(request, CONTEXT), "INVALID_ARGUMENT")
    assert "FA-261123-7K3M9Q2X" in problem.fields["filter.order_number"]
    assert f"filter.order_number '{written}'" in problem.message


async def refused(call: Any, reason: str) -> Problem:
    """The problem that awaiting `call` ends with."""
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.reason == reason
    return caught.value


async def test_pages_while_lines_are_posted_and_copied(
    database: Database, world: World, charges: Any, shelves: list[Shelf]
) -> None:
    """Given a list in each order. When lines are posted and copied between its pages. Then it stays what it was."""
    chain = await world.chain(money=(10**9,) * 3, earns=(False, True, False))
    await fill(world, charges, chain, 60, seed=11)
    for order, copies in itertools.product(range(1, 5), (False, True)):
        asked = pb.EntryFilter(search="e", types=[2, 3, 1])
        before = await rows_of(world, chain.wallet_ids[1])
        expected = sorted_as(order, [row for row in before if leaves(asked, row)])
        request = pb.ListEntriesRequest(
            wallet_id=str(chain.wallet_ids[1]), filter=asked, order=order, page_size=17, with_totals=True
        )
        found: list[int] = []
        while True:
            with seen_by(chain, 2):
                page = await shelves[0].lists.ListEntries(request, CONTEXT)
            found += [entry.sequence for entry in page.entries]
            assert page.totals.count == len(expected)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
            await fill(world, charges, chain, 2, seed=len(found))
            if copies:
                await copy(database, chain)
        assert found == [row.sequence for row in expected]
        assert len(found) > 34


async def test_a_token_is_good_for_its_request_only(shelves: list[Shelf]) -> None:
    """Given a token. When it is altered, or used with another filter, order, wallet, caller. Then refused."""
    shelf = shelves[2]
    wallets = [str(wallet_id) for wallet_id in shelf.chain.wallet_ids]
    asked = pb.EntryFilter(items=["proxy"], types=[2])
    request = pb.ListEntriesRequest(wallet_id=wallets[0], filter=asked, page_size=2)
    with seen_by(shelf.chain, 3):
        request.page_token = (await shelf.lists.ListEntries(request, CONTEXT)).next_page_token
        assert (await shelf.lists.ListEntries(request, CONTEXT)).entries
        changes: list[dict[str, Any]] = [
            {"wallet_id": wallets[1]},
            {"order": pb.ENTRY_ORDER_OLDEST},
            {"with_totals": True},
            {"filter": pb.EntryFilter(items=["proxy"])},
            {"filter": pb.EntryFilter(items=["Proxy"], types=[2])},
            {"filter": pb.EntryFilter(items=["proxy"], types=[2], search="p")},
        ]
        for change in changes:
            other = pb.ListEntriesRequest()
            other.CopyFrom(request)
            for field, value in change.items():
                if field == "filter":
                    other.filter.CopyFrom(value)
                else:
                    setattr(other, field, value)
            await refused(shelf.lists.ListEntries(other, CONTEXT), "PAGE_TOKEN_INVALID")
        dice = random.Random(1)
        for _ in range(50):
            place = dice.randrange(len(request.page_token))
            letter = dice.choice([each for each in "Ab0-_ é" if each != request.page_token[place]])
            altered = pb.ListEntriesRequest()
            altered.CopyFrom(request)
            altered.page_token = request.page_token[:place] + letter + request.page_token[place + 1 :]
            await refused(shelf.lists.ListEntries(altered, CONTEXT), "PAGE_TOKEN_INVALID")
        request.page_size = 5
        assert len((await shelf.lists.ListEntries(request, CONTEXT)).entries) == 5
    with seen_by(shelf.chain, 1):
        await refused(shelf.lists.ListEntries(request, CONTEXT), "PAGE_TOKEN_INVALID")


async def test_who_sees_a_list(shelves: list[Shelf]) -> None:
    """Given wallets of two trees. When each asks for each. Then one's own and those below, and the same answer else."""
    shelf, stranger = shelves[2], shelves[1]
    seen: dict[int, list[int]] = {}
    for caller in (1, 2, 3, 4):
        seen[caller] = []
        for tier in (1, 2, 3):
            request = pb.ListEntriesRequest(
                wallet_id=str(shelf.chain.wallet_ids[tier - 1]), filter=pb.EntryFilter(items=["proxy"], types=[2])
            )
            with seen_by(shelf.chain, caller):
                try:
                    assert (await shelf.lists.ListEntries(request, CONTEXT)).entries
                    seen[caller].append(tier)
                except Problem as problem:
                    assert problem.reason == "NOT_FOUND"
    assert seen == {1: [1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 2, 3]}
    said = set()
    for wallet_id in (shelf.chain.wallet_ids[0], uuid4()):
        with seen_by(stranger.chain, 3):
            request = pb.ListEntriesRequest(wallet_id=str(wallet_id), filter=pb.EntryFilter(search="proxy"))
            problem = await refused(shelf.lists.ListEntries(request, CONTEXT), "NOT_FOUND")
            said.add(str(problem).replace(str(wallet_id), "ID"))
    assert len(said) == 1


async def test_copies_are_behind_row_level_security(database: Database, shelves: list[Shelf]) -> None:
    """Given copied lines. When a transaction names a wallet, its own, a stranger's, none. Then its own rows only."""
    own, foreign = shelves[2].chain, shelves[1].chain
    counts = []
    for wallet_id in (own.wallet_ids[0], foreign.wallet_ids[0], None):
        async with database.transaction(Scope(own.organization_ids[0], own.root_id)) as connection:
            if wallet_id is not None:
                await connection.execute(
                    text("SELECT set_config('farthing.wallet', :wallet_id, true)"), {"wallet_id": str(wallet_id)}
                )
            for table in (
                *("line_search", "search_items", "search_progress", "search_item_blocks"),
                *("search_item_types", "search_days"),
            ):
                counts.append((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())
    rows = shelves[2].rows[own.wallet_ids[0]]
    days = {(number_key(row.order_number)[:8], row.type) for row in rows if row.order_number}
    items = len({row.item for row in rows})
    own_counts = [len(rows), items, 1, items // ITEMS_A_BLOCK, len({(row.type, row.item) for row in rows}), len(days)]
    assert counts == [*own_counts, *[0] * 12]


async def test_more_than_can_be_counted(
    database: Database, shelves: list[Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given more lines than are counted. When totals are asked for. Then it says more, and no sums."""
    monkeypatch.setattr(store, "TOTALS_MAX", 20)
    for shelf, fields in itertools.product(shelves, ({}, {"types": [2]}, {"search": "expense"}, {"items": ["p", "e"]})):
        wallet_id = shelf.chain.wallet_ids[0]
        request = pb.ListEntriesRequest(wallet_id=str(wallet_id), filter=pb.EntryFilter(**fields), with_totals=True)
        with seen_by(shelf.chain, 1):
            totals = (await shelf.lists.ListEntries(request, CONTEXT)).totals
        assert (totals.count, totals.more, totals.HasField("credits"), totals.HasField("debits")) == (
            *(20, True),
            *(False, False),
        )


@pytest.mark.parametrize("by", routes.By)
@pytest.mark.parametrize("gathers", [False, True])
async def test_every_route(shelves: list[Shelf], monkeypatch: pytest.MonkeyPatch, by: routes.By, gathers: bool) -> None:
    """Given any filter. When its answer takes a forced route, wherever there is one. Then as in memory."""
    forced = 0

    def force(ways: Sequence[routes.Route]) -> routes.Route:
        nonlocal forced
        wanted = [way for way in ways if (way.by, way.gathers) == (by, gathers)]
        forced += bool(wanted)
        return (wanted or [routes.cheapest(ways)])[0]

    monkeypatch.setattr(store, "choose", force)
    dice = random.Random(f"{by} {gathers}")
    for shelf, pair in itertools.product(shelves[1:], itertools.combinations_with_replacement(FIELDS, 2)):
        values = choices(shelf.rows[shelf.chain.wallet_ids[1]], dice)
        asked = pb.EntryFilter(**{field: dice.choice(values[field]) for field in pair})
        for few_streams in (0, 99):
            monkeypatch.setattr(routes, "FEW_STREAMS", few_streams)
            await compare(shelf, 2, asked, dice.randrange(1, 5), dice.choice((2, 7, 50)))
    # Phones and whole numbers have no walk: their lines are few.
    assert (forced > 0) == (gathers or by in (routes.By.TYPE, routes.By.ITEM, routes.By.DAY))


@pytest.mark.parametrize("of_type", [0, 2, 300])
async def test_too_many_items_to_walk_one_by_one(
    shelves: list[Shelf], monkeypatch: pytest.MonkeyPatch, of_type: int
) -> None:
    """Given filters for more items than are walked one by one. When asked for in every order. Then as in memory."""
    monkeypatch.setattr(store, "_ITEMS_MAX", 2)
    monkeypatch.setattr(store, "_ITEMS_OF_TYPE", of_type)
    for shelf, order in itertools.product(shelves, range(1, 5)):
        for fields in (
            {"items": ["p", "e"]},
            {"search": "e"},
            {"search": "FA-26", "types": [2]},
            {"search": "e", "items": ["o"], "order_number": "FA"},
        ):
            assert await compare(shelf, 2, pb.EntryFilter(**fields), order, 30)


async def test_two_copy_at_once(database: Database, world: World, charges: Any) -> None:
    """Given lines that are not copied. When two replicas copy them at once. Then each line is copied once."""
    chain = await world.chain(money=(10**9,) * 3)
    await fill(world, charges, chain, 40, seed=3)
    while any(await asyncio.gather(*(copy(database, chain, limit=9) for _ in range(4)))):
        pass
    for wallet_id in chain.wallet_ids:
        copied = await world.pool.fetch(
            "SELECT s.sequence, i.item FROM line_search s JOIN search_items i ON i.root_id = s.root_id "
            "AND i.wallet_id = s.wallet_id AND i.item_id = s.item_id WHERE s.wallet_id = $1 ORDER BY 1",
            wallet_id,
        )
        assert [tuple(row) for row in copied] == [(row.sequence, row.item) for row in await rows_of(world, wallet_id)]


async def test_the_job_copies_what_is_far_behind(database: Database, world: World, charges: Any) -> None:
    """Given a wallet with many lines and two with few. When the job runs. Then the first is copied, once."""
    # Of other tests' wallets some may be large, and behind.
    await find_large_wallets(database)
    while await index_lines(database):
        pass
    chain = await world.chain(money=(10**9,) * 3, earns=(False, True, False))
    await fill(world, charges, chain, 250, seed=8)
    count = len(await rows_of(world, chain.wallet_ids[1]))
    assert count > 500

    copied = [await index_lines(database)]
    await find_large_wallets(database)
    copied += [await index_lines(database), await index_lines(database)]

    progress = await world.pool.fetch(
        "SELECT wallet_id, sequence FROM search_progress WHERE wallet_id = ANY ($1)", list(chain.wallet_ids)
    )
    assert [tuple(row) for row in progress] == [(chain.wallet_ids[1], count)]
    assert copied == [0, count, 0]


@given(st.text())
def test_a_number_is_compact_once(written: str) -> None:
    """Given any text. When it is compacted as an order number, twice. Then nothing changes any more."""
    assert compact_number(compact_number(written)) == compact_number(written)


def test_what_a_search_box_means() -> None:
    """Given what people type. When it is read. Then types by name, numbers without dashes."""
    assert Search.of("  ") is None
    named = Search.of(" Recharge ")
    assert named is not None and named.types == {1} and named.text == "recharge"
    turkish = Search.of("ISTANBUL")
    assert turkish is not None and turkish.text in fold("İstanbul paketi")
    number = Search.of("fa-2611 23")
    assert number is not None and (number.number, number.types) == ("FA261123", frozenset())
