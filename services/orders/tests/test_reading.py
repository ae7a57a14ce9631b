"""Given orders in a tree of organizations, then everybody reads their own and those below, and nothing else shows."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from orders.domain.search import OrderFilter, OrderOrder, Place
from orders.rpc.reads import Reads
from orders.store import catalogue as catalogue_store
from orders.store import listing, search
from orders.store import orders as order_store
from orders.store.search import Key
from servicekit.paging import Pager
from servicekit.scope import EVERYTHING, Scope
from servicekit.testing import as_service
from sqlalchemy import text

from .conftest import NOON, Member, World, problem_of

SECOND = timedelta(seconds=1)


async def get(world: World, who: Member | None, id_: str) -> orders_pb2.Order:
    order = await world.call(who, "GetOrder", orders_pb2.GetOrderRequest(id=id_))
    assert isinstance(order, orders_pb2.Order)
    return order


async def listed(world: World, who: Member | None, page_size: int = 0, **filter_: object) -> list[orders_pb2.Order]:
    """All pages."""
    request = orders_pb2.ListOrdersRequest(page_size=page_size, filter=orders_pb2.OrderFilter(**filter_))
    found: list[orders_pb2.Order] = []
    while True:
        response = await world.call(who, "ListOrders", request)
        assert isinstance(response, orders_pb2.ListOrdersResponse)
        assert page_size == 0 or len(response.orders) <= page_size
        found += response.orders
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


WAYS_TO_WRITE: list[Callable[[str], str]] = [
    str,
    str.lower,
    lambda number: f"  {number} ",
    lambda number: number.replace("-", " "),
    lambda number: number.replace("-", ""),
]


@pytest.mark.parametrize("write", WAYS_TO_WRITE)
async def test_an_order_is_found_by_its_number_however_written(world: World, write: Callable[[str], str]) -> None:
    """Given an order, when asked for by its number in small letters, with spaces or no dashes, then it is found."""
    order = await world.place(world.purchase())
    assert await get(world, world.customer, write(order.number)) == order
    assert await get(world, world.customer, order.id.upper()) == order


async def test_everybody_above_sees_the_tiers_up_to_its_own_purchase(world: World) -> None:
    """Given an order over three tiers, when each of the chain reads it, then none sees its own seller's cost."""
    order = await world.place(world.purchase(2))

    async def buyers(who: Member | None) -> list[str]:
        return [tier.buyer_id for tier in (await get(world, who, order.id)).tiers]

    customer, reseller, partner = (str(who.id) for who in (world.customer, world.reseller, world.partner))
    assert await buyers(world.customer) == [customer]
    assert await buyers(world.reseller) == [reseller, customer]
    assert await buyers(world.partner) == [partner, customer, reseller]
    assert await buyers(world.platform) == [customer, reseller, partner]
    assert await buyers(None) == [customer, reseller, partner]
    cost, revenue = (await get(world, world.reseller, order.id)).tiers
    assert (cost.net.units, revenue.net.units) == (3, 4)


async def test_siblings_and_strangers_find_nothing(world: World) -> None:
    """Given an order, when a sibling, a stranger or a maker of ids asks, then all get the same words."""
    order = await world.place(world.purchase())
    for who in (world.sibling, world.stranger):
        for id_ in (order.id, order.number):
            problem = await problem_of(get(world, who, id_))
            assert problem.code is grpc.StatusCode.NOT_FOUND
            unknown = str(uuid4())
            missing = await problem_of(get(world, who, unknown))
            assert problem.message.replace(id_, "") == missing.message.replace(unknown, "")
        assert await listed(world, who) == []
        assert await listed(world, who, organization_id=str(world.customer.id)) == []
    assert (await problem_of(get(world, world.customer, "no id at all"))).code is grpc.StatusCode.NOT_FOUND


async def test_the_database_itself_hides_other_tenants(world: World) -> None:
    """Given orders of others, when SQL without any condition runs in a scope, then row security leaves the own rows."""
    await world.place(world.purchase())

    async def rows(who: Member, table: str) -> int:
        root_id = None if who is world.platform else who.organization.root_id
        async with world.database.transaction(Scope(who.id, root_id)) as connection:
            query = text(f"SELECT count(*) FROM {table} WHERE root_id IN (:partner, :platform)")
            found = await connection.execute(query, {"partner": world.partner.id, "platform": world.platform.id})
            return int(found.scalar_one())

    for table in ("orders", "order_items", "order_tiers", "order_item_tiers", "prices", "taxes"):
        assert await rows(world.stranger, table) == 0, table
        assert await rows(world.sibling, table) == 0, table
    assert await rows(world.customer, "order_tiers") == 1
    assert await rows(world.reseller, "order_tiers") == 2
    assert await rows(world.partner, "order_tiers") == 3
    assert await rows(world.customer, "prices") == 0


async def test_the_stores_ask_for_the_scope_themselves(world: World) -> None:
    """Given a connection that sees everything, when a store reads in a stranger's scope, then it finds nothing."""
    order = await world.place(world.purchase())
    foreign = Scope(world.stranger.id, world.stranger.organization.root_id)
    sibling = Scope(world.sibling.id, world.sibling.organization.root_id)
    own = Scope(world.customer.id, world.customer.organization.root_id)
    seller_id, order_root = world.reseller.id, world.partner.id
    scopes = ((foreign, 0), (sibling, 0), (own, 1))
    key = Key(order_root, Place(NOON, UUID(order.id)))
    for scope, count in scopes:
        async with world.database.transaction(scope) as connection:
            assert len(await listing.read_found(connection, [key])) == count
    async with world.database.transaction(EVERYTHING) as connection:
        for scope, count in scopes:
            prepared = await search.prepare(connection, scope, OrderFilter(), OrderOrder.NEWEST)
            assert prepared is not None
            keys = await search.find_keys(connection, prepared, None, 9)
            assert len(keys) == count
            assert len(await listing.read_exported(connection, scope, [key], None)) == count
            found = await order_store.find_order(connection, scope, number=order.number)
            assert (found is not None) == bool(count)
            prices = await catalogue_store.list_prices(connection, scope, seller_id, valid_at=None, after=None, count=9)
            assert prices == []
            assert await catalogue_store.list_taxes(connection, scope, seller_id, after=None, count=9) == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8])
async def test_pages_hold_every_order_once_the_newest_first(world: World, page_size: int) -> None:
    """Given orders, some of one instant, when paged in any size, then each comes once, in order."""
    placed = []
    for number in range(7):
        placed.append((await world.place(world.purchase())).id)
        if number % 3 == 2:
            world.clock.advance(SECOND)
    found = await listed(world, world.customer, page_size)
    assert sorted(order.id for order in found) == sorted(placed)
    instants = [(order.created_at.ToNanoseconds(), order.id) for order in found]
    assert instants == sorted(instants, reverse=True)


async def test_large_orders_make_short_pages(world: World) -> None:
    """Given three orders of 700 KB, when asked for in one page, then pages end early, and nothing is lost."""
    request = world.purchase(1000)
    request.items[0].proxies.extend(
        [orders_pb2.Proxy(address=f"{'a' * 60}.example", port=1, location="x" * 100)] * 1000
    )
    request.items.extend([request.items[0]] * 3)
    placed = []
    for _ in range(3):
        request.request_id = str(uuid4())
        placed.append((await world.place(request)).id)
        world.clock.advance(SECOND)
    first = await world.call(world.customer, "ListOrders", orders_pb2.ListOrdersRequest())
    assert [order.id for order in first.orders] == [placed[2], placed[1]]
    second = orders_pb2.ListOrdersRequest(page_token=first.next_page_token)
    assert [order.id for order in (await world.call(world.customer, "ListOrders", second)).orders] == [placed[0]]


async def test_a_page_is_not_moved_by_new_orders(world: World) -> None:
    """Given a first page, when an order arrives before the second is read, then the second is as it was."""
    old = await world.place(world.purchase())
    world.clock.advance(SECOND)
    await world.place(world.purchase())
    request = orders_pb2.ListOrdersRequest(page_size=1)
    request.page_token = (await world.call(world.customer, "ListOrders", request)).next_page_token
    world.clock.advance(SECOND)
    await world.place(world.purchase())
    second = await world.call(world.customer, "ListOrders", request)
    assert [order.id for order in second.orders] == [old.id]
    assert second.next_page_token == ""


async def test_filters_in_any_combination(world: World) -> None:
    """Given orders of two buyers, types, states and instants, when filtered, then all that is set holds."""
    first = await world.place(world.purchase())
    world.clock.advance(SECOND)
    package = await world.place(world.purchase(sku_id=world.package_id))
    world.wallet.script = [f"refuse:{world.customer.id}"]
    canceled = (await problem_of(world.place(world.purchase()))).metadata["order_id"]
    other = await world.place(world.purchase(), world.sibling)

    async def ids(**filter_: object) -> set[str]:
        return {order.id for order in await listed(world, world.reseller, **filter_)}

    customer = str(world.customer.id)
    assert await ids() == {first.id, package.id, canceled, other.id}
    assert await ids(organization_id=customer) == {first.id, package.id, canceled}
    assert await ids(type=catalogue_pb2.PRODUCT_TYPE_PACKAGE) == {package.id}
    assert await ids(state=orders_pb2.Order.STATE_CANCELED) == {canceled}
    assert await ids(state=orders_pb2.Order.STATE_COMPLETED, organization_id=customer) == {first.id, package.id}
    later = first.created_at.ToDatetime(tzinfo=NOON.tzinfo) + SECOND
    assert await ids(created_from=later) == {package.id, canceled, other.id}
    assert await ids(created_to=later) == {first.id}
    assert await ids(created_from=later, created_to=later) == set()
    between = Timestamp(seconds=first.created_at.seconds, nanos=first.created_at.nanos + 1)
    assert await ids(created_from=between) == {package.id, canceled, other.id}
    assert await ids(created_to=between) == {first.id}


async def bad_tokens(world: World) -> dict[str, tuple[Member, orders_pb2.ListOrdersRequest]]:
    request = orders_pb2.ListOrdersRequest(page_size=1)
    token = (await world.call(world.customer, "ListOrders", request)).next_page_token
    assert token
    middle = len(token) // 2
    altered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    filter_ = orders_pb2.OrderFilter(state=orders_pb2.Order.STATE_COMPLETED)
    return {
        "another tenant's": (world.sibling, orders_pb2.ListOrdersRequest(page_size=1, page_token=token)),
        "another filter's": (world.customer, orders_pb2.ListOrdersRequest(page_token=token, filter=filter_)),
        "altered": (world.customer, orders_pb2.ListOrdersRequest(page_token=altered)),
        "invented": (world.customer, orders_pb2.ListOrdersRequest(page_token="bm8")),
    }


async def test_page_tokens_are_good_for_their_list_alone(world: World) -> None:
    """Given a page token, when used by another tenant, with another filter, altered or invented, then it is refused."""
    for _ in range(2):
        await world.place(world.purchase())
    for what, (who, request) in (await bad_tokens(world)).items():
        call: Awaitable[object] = world.call(who, "ListOrders", request)
        problem = await problem_of(call)
        assert problem.reason == "PAGE_TOKEN_INVALID", what
    token = (await world.call(world.customer, "ListOrders", orders_pb2.ListOrdersRequest(page_size=1))).next_page_token
    prices = catalogue_pb2.ListPricesRequest(seller_id=str(world.customer.id), page_token=token)
    assert (await problem_of(world.call(world.customer, "ListPrices", prices))).reason == "PAGE_TOKEN_INVALID"


async def test_orders_and_their_lines_cannot_be_rewritten(world: World) -> None:
    """Given an order, when the runtime role tries to change its lines or delete it, then the database refuses."""
    await world.place(world.purchase())
    for statement in (
        "UPDATE order_items SET quantity = 2",
        "UPDATE order_item_tiers SET net_micros = 0",
        "UPDATE refund_line_tiers SET net_micros = 0",
        "UPDATE refunds SET reason = ''",
        "UPDATE order_fees SET period_to = now()",
        "UPDATE order_fee_tiers SET net_micros = 0",
        "UPDATE audit_events SET actor_name = ''",
        "DELETE FROM audit_events",
        "DELETE FROM orders",
        "DELETE FROM order_items",
        "UPDATE prices SET unit_price_micros = 0",
        "DELETE FROM prices",
    ):
        with pytest.raises(Exception, match="permission denied"):
            async with world.database.transaction(EVERYTHING) as connection:
                await connection.execute(text(statement))


def test_what_is_not_to_be_seen_ends_no_list() -> None:
    """Given a page with a row that gives no message, when it is made, then the list goes on behind its last row."""
    reads = Reads(None, None, Pager("test"))  # type: ignore[arg-type]

    def page(found: list[int]) -> tuple[list[str], str]:
        messages, token = reads.page(
            found, 3, lambda row: None if row == 2 else orders_pb2.Order(id=str(row)), lambda row: {"row": row}
        )
        return [message.id for message in messages], token

    with as_service():
        messages, token = page([1, 2, 3, 4])
        assert messages == ["1", "3"]
        assert reads.pager.decode(token) == {"row": 3}
        assert page([3, 2]) == (["3"], "")
