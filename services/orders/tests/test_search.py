"""Given random orders, when they are looked for, then lists are what looking at each order would give."""

import random
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from uuid import UUID, uuid4

import asyncpg
import pytest
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_stack.stack import Stack
from orders.convert.search import filter_from_message
from orders.domain.catalogue import ProductType
from orders.domain.orders import OrderState, margin_of
from orders.domain.search import EVERY_NUMBER, OrderFilter, OrderOrder, Place, parse_number_prefix
from orders.rpc.order_lists import OrderLists
from orders.rpc.reads import Reads
from orders.store import listing, search, walks
from orders.store.walks import Route, Search
from servicekit.clock import FixedClock
from servicekit.database import Database
from servicekit.paging import Pager
from servicekit.testing import as_caller, as_service, service_database
from sqlalchemy import text

from .conftest import NOON, World, problem_of
from .shelf import DIMENSIONS, Shelf, add, draw, draw_filter, fill

VIEWERS = ("", "platform", "partner", "reseller", "customer", "direct", "other", "stranger")
ORDERS = list(OrderOrder)
LIST = "/farthing.orders.v1.OrderService/ListOrders"
NUMBERS = {
    OrderOrder.NEWEST: orders_pb2.ORDER_ORDER_NEWEST,
    OrderOrder.OLDEST: orders_pb2.ORDER_ORDER_OLDEST,
    OrderOrder.LARGEST: orders_pb2.ORDER_ORDER_AMOUNT_DESCENDING,
    OrderOrder.SMALLEST: orders_pb2.ORDER_ORDER_AMOUNT_ASCENDING,
}


@pytest.fixture(scope="module")
async def search_database(stack: Stack) -> AsyncIterator[Database]:
    """Of its own: the platform sees these orders and no others."""
    async for database in new_database(stack):
        yield database


async def new_database(stack: Stack) -> AsyncIterator[Database]:
    env, name = stack.env(), f"search_{uuid4().hex[:8]}"
    superuser = await asyncpg.connect(
        host=env["PGHOST"], port=int(env["PGPORT"]), user=env["PGUSER"], password=env["PGPASSWORD"], database="postgres"
    )
    await superuser.execute(f"CREATE DATABASE {name} OWNER orders_owner")
    await superuser.close()
    keys = ("ORDERS_DATABASE_URL", "ORDERS_OWNER_DATABASE_URL")
    urls = {key: f"{env[key].rpartition('/')[0]}/{name}" for key in keys}
    database = await service_database({**env, **urls}, "orders", pool_size=5)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def busy_database(stack: Stack) -> AsyncIterator[Database]:
    """Where orders are written meanwhile."""
    async for database in new_database(stack):
        yield database


@pytest.fixture(scope="module")
async def shelf(search_database: Database) -> Shelf:
    return await fill(search_database, 300, seed=4)


async def found(shelf: Shelf, viewer: str, wanted: OrderFilter, order: OrderOrder, size: int = 7) -> list[UUID]:
    """Ids, read in pages of `size`."""
    ids: list[UUID] = []
    after: Place | None = None
    scope = shelf.scope(viewer)
    async with walks.walking(shelf.database) as connection:
        prepared = await search.prepare(connection, scope, wanted, order)
        while prepared is not None:
            keys = await search.find_keys(connection, prepared, after, size)
            ids += [key.place.id for key in keys]
            if len(keys) < size:
                break
            after = keys[-1].place
    return ids


async def check(shelf: Shelf, viewer: str, wanted: OrderFilter, order: OrderOrder, size: int = 7) -> int:
    expected = [each.id for each in shelf.naive(viewer, wanted, order)]
    assert await found(shelf, viewer, wanted, order, size) == expected, (viewer, wanted, order)
    return len(expected)


@pytest.mark.parametrize("pair", list(combinations(DIMENSIONS, 2)), ids="+".join)
async def test_every_pair_of_filters(shelf: Shelf, pair: tuple[str, str]) -> None:
    """Given 300 orders, when any two filters are set, for any viewer in any order, then exactly those come."""
    drawn = random.Random(str(pair))
    lengths = [
        await check(shelf, drawn.choice(VIEWERS[:5]), draw_filter(shelf, drawn, pair), order)
        for order in ORDERS
        for _ in range(3)
    ]
    assert len(lengths) == 12


@pytest.mark.parametrize("dimension", DIMENSIONS)
async def test_every_filter_leaves_some_and_not_all(shelf: Shelf, dimension: str) -> None:
    """Given 300 orders, when one filter is set, then it leaves some orders and drops some: it is not passed over."""
    drawn = random.Random(dimension)
    lengths = [
        await check(shelf, "", draw_filter(shelf, drawn, [dimension]), drawn.choice(ORDERS), 50) for _ in range(12)
    ]
    assert any(0 < length < len(shelf.orders) for length in lengths)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    dimensions=st.lists(st.sampled_from(DIMENSIONS), unique=True, max_size=len(DIMENSIONS)),
    viewer=st.sampled_from(VIEWERS),
    order=st.sampled_from(ORDERS),
    size=st.integers(1, 60),
)
async def test_any_combination_of_filters(
    shelf: Shelf, seed: int, dimensions: list[str], viewer: str, order: OrderOrder, size: int
) -> None:
    """Given 300 orders, when any filters are combined, for any viewer, order and page, then exactly those come."""
    drawn = random.Random(seed)
    await check(shelf, viewer, draw_filter(shelf, drawn, dimensions), order, size)


def ways(prepared: Search) -> list[Search]:
    """The search by every way that serves it, and by those gathered that it would not gather."""
    found = walks.walks(prepared)
    return [prepared.by(walk) for walk in found + [replace(walk, gathered=True) for walk in found]]


async def test_every_route_finds_the_same(shelf: Shelf) -> None:
    """Given filters, when each is looked for by every route that serves it, then all find the same, page by page."""
    drawn = random.Random(9)
    used: set[Route] = set()
    for _ in range(60):
        viewer, order = drawn.choice(VIEWERS[:5]), drawn.choice(ORDERS)
        wanted = draw_filter(shelf, drawn, drawn.sample(DIMENSIONS, drawn.randrange(4)))
        expected = [each.id for each in shelf.naive(viewer, wanted, order)]
        async with walks.walking(shelf.database) as connection:
            prepared = await search.prepare(connection, shelf.scope(viewer), wanted, order)
            for way in ways(prepared) if prepared else []:
                used.add(way.walk.route)
                first = await search.find_keys(connection, way, None, 5)
                rest = await search.find_keys(connection, way, first[-1].place, 999) if first else []
                assert [key.place.id for key in first + rest] == expected, (way.walk, wanted)
                totals = await listing.find_totals(connection, way, None)
                assert totals.count == len(expected), (way.walk, wanted)
    assert used == set(Route)


async def test_a_scope_of_many_organizations(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a scope of more organizations than streams, when it lists, then it is bounded all the same."""
    monkeypatch.setattr(search, "MOST_STREAMS", 1)
    monkeypatch.setattr(walks, "MOST_STREAMS", 1)
    drawn = random.Random(3)
    for _ in range(40):
        wanted = draw_filter(shelf, drawn, drawn.sample(DIMENSIONS, drawn.randrange(3)))
        await check(shelf, drawn.choice(("reseller", "partner")), wanted, drawn.choice(ORDERS))


@pytest.mark.parametrize(
    ("written", "first", "end", "whole"),
    [
        ("FA-261123-7K3M9Q2X", "FA-261123-7K3M9Q2X", "FA-261123-7K3M9Q2Y", True),
        ("fa261123 7k3m9q2x", "FA-261123-7K3M9Q2X", "FA-261123-7K3M9Q2Y", True),
        ("FA-26", "FA-26", "FA-27", False),
        (" fa 26l1 ", "FA-2611", "FA-2612", False),
        ("FA-261123", "FA-261123", "FA-261124", False),
        ("FA-261123-", "FA-261123", "FA-261124", False),
        ("FA-261123-O", "FA-261123-0", "FA-261123-1", False),
        ("FA-261123-9", "FA-261123-9", "FA-261123-:", False),
    ],
)
def test_beginnings_of_numbers(written: str, first: str, end: str, whole: bool) -> None:
    """Given a number as people write it, or its beginning, when it is read, then it bounds those that begin so."""
    read = parse_number_prefix(written)
    assert read is not None
    assert (read.first, read.end, read.whole) == (first, end, whole)


@pytest.mark.parametrize("written", ["", " ", "F", "fa", "FA-"])
def test_beginnings_of_every_number(written: str) -> None:
    """Given what every number begins with, when it is read, then it says nothing."""
    assert parse_number_prefix(written) == EVERY_NUMBER


@pytest.mark.parametrize(
    "written", ["X", "FAX", "FA-26-X", "FA-2613", "FA-260231", "FA-26112U", "FA-261123-7K3M9Q2X9", "FA-261123-U", "٣"]
)
def test_what_no_number_begins_with(written: str) -> None:
    """Given what no number begins with, when it is read, then there is none."""
    assert parse_number_prefix(written) is None


def test_one_type_and_several_must_both_hold() -> None:
    """Given a filter of one type and of several without it, when it is read, then nothing is left."""
    message = orders_pb2.OrderFilter(type=1, types=[2], state=2, states=[2, 3])
    wanted = filter_from_message(message, None, None)
    assert wanted.types == frozenset()
    assert wanted.states == {OrderState.COMPLETED}
    assert filter_from_message(orders_pb2.OrderFilter(), None, None) == OrderFilter()


# -- through the RPC -------------------------------------------------------------------------------------------------


class Lists:
    """ListOrders, as members call it."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.rpc = OrderLists(Reads(shelf.database, FixedClock(NOON), Pager("a key for tests")))

    async def list(self, viewer: str, request: orders_pb2.ListOrdersRequest) -> orders_pb2.ListOrdersResponse:
        if not viewer:
            with as_service(method=LIST):
                return await self.rpc.list(request)
        scope = self.shelf.scope(viewer)
        assert scope.organization_id is not None
        with as_caller(scope.organization_id, scope.root_id, method=LIST):
            return await self.rpc.list(request)


@pytest.fixture
def lists(shelf: Shelf) -> Lists:
    return Lists(shelf)


@pytest.mark.parametrize("viewer", VIEWERS)
async def test_totals_are_the_sums_of_what_is_listed(shelf: Shelf, lists: Lists, viewer: str) -> None:
    """Given orders, some given back, when totals are asked for, then they are the sums of the orders listed."""
    viewer_id = shelf.id(viewer) if viewer else None
    for states in ([], [orders_pb2.Order.STATE_REFUNDED, orders_pb2.Order.STATE_PARTLY_REFUNDED]):
        request = orders_pb2.ListOrdersRequest(page_size=3, with_totals=True)
        request.filter.states.extend(states)
        totals = (await lists.list(viewer, request)).totals
        wanted = filter_from_message(request.filter, None, None)
        expected = shelf.naive(viewer, wanted, OrderOrder.NEWEST)
        assert (totals.count, totals.more) == (len(expected), False)
        assert {each.total.currency_code for each in totals.sums} == {each.currency for each in expected}
        for found_sum in totals.sums:
            of = [each for each in expected if each.currency == found_sum.total.currency_code]
            assert micros(found_sum.total) == sum(each.own_tier.gross_micros for each in of)
            assert micros(found_sum.refunded) == sum(shelf.refunded_micros[each.id] for each in of)
            margins = [margin for margin in (margin_of(each, viewer_id) for each in of) if margin is not None]
            assert found_sum.HasField("margin") == bool(margins)
            assert micros(found_sum.margin.revenue) == sum(each.revenue_micros for each in margins)
            assert micros(found_sum.margin.cost) == sum(each.cost_micros for each in margins)
            assert micros(found_sum.margin.margin) == sum(each.revenue_micros - each.cost_micros for each in margins)


async def test_more_than_can_be_counted_is_said_so(shelf: Shelf, lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more orders than are counted, when totals are asked for, then "more", and no sums."""
    everything = orders_pb2.ListOrdersRequest(with_totals=True)
    monkeypatch.setattr(listing, "COUNTED_MOST", len(shelf.orders))
    totals = (await lists.list("", everything)).totals
    assert (totals.count, totals.more) == (len(shelf.orders), False)
    assert totals.sums
    monkeypatch.setattr(listing, "COUNTED_MOST", len(shelf.orders) - 1)
    totals = (await lists.list("", everything)).totals
    assert (totals.count, totals.more, list(totals.sums)) == (len(shelf.orders) - 1, True, [])


async def test_listed_orders_are_whole_and_in_order(shelf: Shelf, lists: Lists) -> None:
    """Given orders, when they are listed by the RPC in each order, then pages hold them once, with their amounts."""
    for order, number in NUMBERS.items():
        request = orders_pb2.ListOrdersRequest(page_size=41, order=number)
        request.filter.type = 1
        listed: list[orders_pb2.Order] = []
        while True:
            response = await lists.list("partner", request)
            assert not response.HasField("totals")
            listed += response.orders
            request.page_token = response.next_page_token
            if not request.page_token:
                break
        wanted = OrderFilter(types=frozenset({ProductType.PROXY}))
        expected = shelf.naive("partner", wanted, order)
        assert [each.id for each in listed] == [str(each.id) for each in expected]
        assert [micros(each.total) for each in listed] == [each.own_tier.gross_micros for each in expected]
        partner = shelf.id("partner")
        assert [each.HasField("margin") for each in listed] == [
            margin_of(each, partner) is not None for each in expected
        ]


async def test_page_tokens_are_bound_to_the_whole_request(lists: Lists) -> None:
    """Given a page token, when the filter, the order or the totals change, or another asks, then it is refused."""
    request = orders_pb2.ListOrdersRequest(page_size=2)
    token = (await lists.list("customer", request)).next_page_token
    again = orders_pb2.ListOrdersRequest(page_size=9, page_token=token)
    assert len((await lists.list("customer", again)).orders) == 9
    middle = len(token) // 2
    altered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    refused = [
        ("customer", orders_pb2.ListOrdersRequest(page_token=altered)),
        ("customer", orders_pb2.ListOrdersRequest(page_token="bm8")),
        ("customer", orders_pb2.ListOrdersRequest(page_token=token, order=orders_pb2.ORDER_ORDER_OLDEST)),
        ("customer", orders_pb2.ListOrdersRequest(page_token=token, with_totals=True)),
        ("customer", orders_pb2.ListOrdersRequest(page_token=token, filter=orders_pb2.OrderFilter(search="a"))),
        (
            "customer",
            orders_pb2.ListOrdersRequest(page_token=token, filter=orders_pb2.OrderFilter(product_names=["a"])),
        ),
        ("sibling", orders_pb2.ListOrdersRequest(page_token=token)),
        ("reseller", orders_pb2.ListOrdersRequest(page_token=token)),
        ("stranger", orders_pb2.ListOrdersRequest(page_token=token)),
        ("", orders_pb2.ListOrdersRequest(page_token=token)),
    ]
    for who, asked in refused:
        assert (await problem_of(lists.list(who, asked))).reason == "PAGE_TOKEN_INVALID", (who, asked)


async def test_organizations_out_of_reach_are_as_if_they_were_not(shelf: Shelf, lists: Lists) -> None:
    """Given orders of others, when a filter names their buyer or seller, then the answer is that of an unknown id."""
    outside = {
        "customer": ["sibling", "reseller", "partner", "stranger", "platform"],
        "reseller": ["direct", "stranger", "partner"],
        "stranger": ["customer", "partner"],
    }
    for viewer, others in outside.items():
        unknown = orders_pb2.OrderFilter(organization_id=str(uuid4()))
        nothing = await lists.list(viewer, orders_pb2.ListOrdersRequest(filter=unknown, with_totals=True))
        for other in others:
            filter_ = orders_pb2.OrderFilter(organization_id=str(shelf.id(other)))
            response = await lists.list(viewer, orders_pb2.ListOrdersRequest(filter=filter_, with_totals=True))
            assert response == nothing, (viewer, other)
    sold = orders_pb2.OrderFilter(seller_id=str(shelf.id("other")))
    assert list((await lists.list("partner", orders_pb2.ListOrdersRequest(filter=sold))).orders) == []


@pytest.mark.parametrize("order", [OrderOrder.NEWEST, OrderOrder.LARGEST])
async def test_pages_stay_as_they_are_while_orders_are_written(busy_database: Database, order: OrderOrder) -> None:
    """Given a list being paged, when orders arrive between pages, then what was there comes once, in its order."""
    drawn = random.Random(order.value)
    shelf = await fill(busy_database, 60, seed=ORDERS.index(order) + 100)
    lists = Lists(shelf)
    before = [str(each.id) for each in shelf.naive("partner", OrderFilter(), order)]
    request = orders_pb2.ListOrdersRequest(page_size=4, order=NUMBERS[order])
    listed: list[str] = []
    while True:
        response = await lists.list("partner", request)
        listed += [each.id for each in response.orders]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
        new = draw(shelf, drawn)
        await add(shelf, replace(new, created_at=new.created_at + timedelta(days=9)), drawn)
    assert len(listed) == len(set(listed))
    assert [each for each in listed if each in before] == before
    assert len(shelf.orders) > 60


async def test_names_of_ten_thousand_letters_are_found(shelf: Shelf) -> None:
    """Given names of 10,000 letters, when looked for whole, by a middle or by two letters, then they are found."""
    for part in ("a" * 10_000, "A" * 5_000, "b" * 30 + "SS", "bß", "bb"):
        length = await check(shelf, "", OrderFilter(product_names=(part,)), OrderOrder.NEWEST)
        assert 0 < length < len(shelf.orders), part[:20]


async def test_products_of_ten_thousand_letters_are_sold_and_found(world: World) -> None:
    """Given products with names of 10,000 letters, when listed, offered, bought and searched, then each is there."""
    names = [letter * 10_000 for letter in "xy"]
    for name in names:
        sku_id = await world.sku(catalogue_pb2.PRODUCT_TYPE_PACKAGE, name)
        for seller in world.sellers:
            await world.price(seller, sku_id, 100)
        await world.place(world.purchase(sku_id=sku_id))
    for method, request, repeated in (
        ("ListProducts", catalogue_pb2.ListProductsRequest(page_size=1), "products"),
        ("ListOffers", catalogue_pb2.ListOffersRequest(page_size=1), "offers"),
    ):
        listed = []
        while True:
            response = await world.call(world.customer, method, request)
            listed += [getattr(each, "product", each).name for each in getattr(response, repeated)]
            request.page_token = response.next_page_token
            assert len(request.page_token) < 2000
            if not request.page_token:
                break
        assert [name for name in listed if name in names] == names
        assert listed == sorted(listed)
    request = orders_pb2.ListOrdersRequest(filter=orders_pb2.OrderFilter(product_names=["Y" * 10_000]))
    found_orders = (await world.call(world.customer, "ListOrders", request)).orders
    assert [each.items[0].product_name for each in found_orders] == names[1:]


BY_AMOUNT = (OrderOrder.LARGEST, OrderOrder.SMALLEST)


@pytest.mark.parametrize("written", ["-", "--", " - "])
async def test_dashes_are_looked_for_in_names(shelf: Shelf, written: str) -> None:
    """Given names with a dash and others, when a dash is in the search box, then it is no beginning of every number."""
    every = await check(shelf, "partner", OrderFilter(), OrderOrder.NEWEST)
    assert await check(shelf, "partner", OrderFilter(search=written), OrderOrder.NEWEST) < every


@pytest.mark.parametrize("written", ["-", "--", " - ", "  "])
async def test_a_number_that_says_nothing_is_refused(lists: Lists, written: str) -> None:
    """Given orders, when asked for a number of dashes and spaces, then the answer says what to write instead."""
    request = orders_pb2.ListOrdersRequest(filter=orders_pb2.OrderFilter(order_number=written))
    problem = await problem_of(lists.list("partner", request))
    assert (problem.reason, list(problem.fields)) == ("INVALID_ARGUMENT", ["filter.order_number"])
    assert f"filter.order_number '{written}'" in problem.message
    assert "FA-261123-7K3M9Q2X" in problem.fields["filter.order_number"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("viewer", ["", "partner", "customer"])
async def test_the_indexes_serve_the_routes(shelf: Shelf, viewer: str, order: OrderOrder) -> None:
    """Given no other way than indexes, when each walk is planned, then its own index is what it goes along."""
    along = "largest" if order in BY_AMOUNT else "newest"
    everywhere = "" if viewer else "_everywhere"
    expected = {
        Route.ALL: (OrderFilter(), f"{along}{everywhere}"),
        Route.CLASSES: (OrderFilter(types=frozenset({ProductType.PROXY})), f"class_{along}{everywhere}"),
        Route.NAMES: (OrderFilter(product_names=("a",)), f"{along}{everywhere}"),
        Route.SEARCH: (OrderFilter(search="e"), f"{along}{everywhere}"),
    }
    if viewer == "customer":
        expected = {Route.ORGANIZATIONS: (OrderFilter(), f"{along}_of")}
    if viewer == "partner":
        expected[Route.SELLER] = (OrderFilter(seller_id=shelf.id("reseller")), f"seller_{along}")
    async with walks.walking(shelf.database) as connection:
        for route, (wanted, index) in expected.items():
            prepared = await search.prepare(connection, shelf.scope(viewer), wanted, order)
            assert prepared is not None
            walk = next(each for each in walks.walks(prepared) if each.route is route)
            for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
                await connection.execute(text(f"SET LOCAL {setting} = off"))
            query = walks.page_sql(prepared.by(walk), after=False)
            parameters = walks.used(query, {**prepared.parameters, "count": 5, "look": 5})
            plan = (await connection.execute(text("EXPLAIN " + query), parameters)).scalars().all()
            # With a single root here, those without one serve as well.
            either = re.compile(rf"using order_search_{index}(_everywhere)? ")
            assert any(either.search(line) for line in plan), "\n".join(plan)


@pytest.mark.parametrize("viewer", ["", "partner"])
async def test_the_names_of_an_order_are_looked_up_by_the_order(shelf: Shelf, viewer: str) -> None:
    """Given a name that many products have, when orders are walked along, then each is asked for its own few names.

    Looked for in the stream of every name instead, ten thousand orders took as long as ten million.
    """
    async with walks.walking(shelf.database) as connection:
        prepared = await search.prepare(
            connection, shelf.scope(viewer), OrderFilter(product_names=("e",)), OrderOrder.NEWEST
        )
        assert prepared is not None
        query = walks.page_sql(prepared.by(walks.Walk(Route.ALL, "s.name_id = 0")), after=False)
        parameters = walks.used(query, {**prepared.parameters, "count": 5})
        plan = (await connection.execute(text("EXPLAIN " + query), parameters)).scalars().all()
    looked_up = next(number for number, line in enumerate(plan) if "using order_search_pkey on order_search m" in line)
    assert "order_id" in plan[looked_up + 1], "\n".join(plan)
    assert "name_id" not in plan[looked_up + 1], "\n".join(plan)


def micros(money: object) -> int:
    return money.units * 1_000_000 + money.nanos // 1000  # type: ignore[attr-defined]
