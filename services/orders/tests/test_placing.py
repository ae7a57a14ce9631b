"""Given price lists at every tier, when an order is placed, then it is priced as of that instant, or refused whole."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from directory import store as directory
from farthing.orders.v1 import orders_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from orders.domain.cancellations import CANNOT_SELL
from servicekit.scope import EVERYTHING
from sqlalchemy import text

from .conftest import NOON, MakeWorld, Member, World, problem_of

MICROSECOND = timedelta(microseconds=1)


async def orders_of(world: World) -> int:
    query = text("SELECT count(*) FROM orders WHERE root_id = :root_id")
    async with world.database.transaction(EVERYTHING) as connection:
        return int((await connection.execute(query, {"root_id": world.partner.id})).scalar_one())


async def test_a_purchase_is_priced_at_every_tier_charged_once_and_completed(world: World) -> None:
    """Given prices and the seller's tax, when 3 are bought, then each tier pays its own price, in one charge."""
    order = await world.place(world.purchase(3))
    assert order.state == orders_pb2.Order.STATE_COMPLETED
    assert (order.net.units, order.net.nanos) == (6, 0)
    assert (order.tax.units, order.tax.nanos) == (1, 140_000_000)
    assert (order.total.units, order.total.nanos, order.total.currency_code) == (7, 140_000_000, "EUR")
    assert order.paid_at.ToDatetime(tzinfo=NOON.tzinfo) == NOON + timedelta(seconds=1)
    assert order.paying_user_name == "Boss of Customer"
    [charge] = world.wallet.asked
    assert [(tier.buyer_id, tier.seller_id, tier.net_micros, tier.tax_micros) for tier in charge.tiers] == [
        (str(world.customer.id), str(world.reseller.id), 6_000_000, 1_140_000),
        (str(world.reseller.id), str(world.partner.id), 4_500_000, 0),
        (str(world.partner.id), str(world.platform.id), 3_000_000, 0),
    ]
    assert (charge.request_id, charge.order_number, charge.item) == (order.id, order.number, "US proxies")
    assert order.transaction_id == world.wallet.posted[order.id].transaction_id


async def test_both_events_carry_every_tier(world: World) -> None:
    """Given a purchase, when its events are read, then they name the root, the purchaser and all three tiers."""
    order = await world.place(world.purchase(3))
    placed, completed = await world.events()
    assert placed.order_placed.order.state == orders_pb2.Order.STATE_PENDING_PAYMENT
    assert completed.order_completed.root_id == str(world.partner.id)
    published = completed.order_completed.order
    assert (published.id, published.transaction_id) == (order.id, order.transaction_id)
    assert [(tier.net.units, tier.tax.nanos) for tier in published.tiers] == [(6, 140_000_000), (4, 0), (3, 0)]
    async with world.database.transaction(EVERYTHING) as connection:
        keys = await connection.execute(
            text("SELECT DISTINCT key FROM outbox WHERE root_id = :root_id"), {"root_id": world.partner.id}
        )
    assert keys.scalars().all() == [str(world.customer.id)]


async def test_a_partner_buys_from_the_platform_alone(world: World) -> None:
    """Given the top-level partner, when it buys, then there is one tier, at the platform's price."""
    order = await world.place(world.purchase(), world.partner)
    [tier] = world.wallet.asked[0].tiers
    assert (tier.seller_id, tier.net_micros) == (str(world.platform.id), 1_000_000)
    assert order.seller_id == str(world.platform.id)


async def test_packages_keep_their_contents_and_proxies_theirs(world: World) -> None:
    """Given a package and two proxies set aside, when bought, then the orders show contents and proxies as given."""
    package = await world.place(world.purchase(sku_id=world.package_id))
    assert list(package.items[0].contents) == ["10 proxies", "1 profile"]
    expires_at = Timestamp(seconds=1_800_000_000)
    proxies = [
        orders_pb2.Proxy(address="192.0.2.1", port=8080, location="US", expires_at=expires_at),
        orders_pb2.Proxy(address="proxy.example", port=1),
    ]
    request = world.purchase(2)
    request.items[0].proxies.extend(proxies)
    order = await world.place(request)
    assert list(order.items[0].proxies) == proxies
    read = await world.call(world.customer, "GetOrder", orders_pb2.GetOrderRequest(id=order.id))
    assert read == order


@pytest.mark.parametrize("given", [1, 3])
async def test_proxies_are_none_or_one_a_unit(world: World, given: int) -> None:
    """Given a quantity of 2, when 1 or 3 proxies come with it, then it is refused and nothing is written."""
    request = world.purchase(2)
    request.items[0].proxies.extend([orders_pb2.Proxy(address="192.0.2.1", port=1)] * given)
    problem = await problem_of(world.place(request))
    assert problem.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(problem.fields) == ["items[0].proxies"]
    assert await orders_of(world) == 0


async def test_proxies_do_not_go_with_packages(world: World) -> None:
    """Given a package, when a proxy comes with it, then it is refused."""
    request = world.purchase(1, world.package_id)
    request.items[0].proxies.append(orders_pb2.Proxy(address="192.0.2.1", port=1))
    assert "is not a proxy" in (await problem_of(world.place(request))).message


async def test_one_order_is_of_one_type(world: World) -> None:
    """Given a proxy and a package, when put in one order, then it is refused."""
    request = world.purchase()
    request.items.append(orders_pb2.NewOrderItem(sku_id=world.package_id, quantity=1))
    assert "one order for each" in (await problem_of(world.place(request))).message


async def test_an_unknown_sku_is_not_found(world: World) -> None:
    """Given an id that names nothing, when bought, then it is not found."""
    problem = await problem_of(world.place(world.purchase(sku_id=str(uuid4()))))
    assert problem.code is grpc.StatusCode.NOT_FOUND


async def test_the_price_is_that_of_the_instant(world: World) -> None:
    """Given a price that changes at noon, when bought a microsecond before and at noon, then old and new price."""
    later = NOON + timedelta(hours=1)
    await world.price(world.reseller, world.sku_id, 999, valid_from=later)
    world.clock.advance(later - NOON - MICROSECOND)
    before = await world.place(world.purchase())
    world.clock.advance(MICROSECOND)
    after = await world.place(world.purchase())
    assert (before.net.units, after.net.units, after.net.nanos) == (2, 9, 990_000_000)


async def test_no_price_of_the_own_seller_names_the_sku(make_world: MakeWorld) -> None:
    """Given a seller without a price in the buyer's currency, when bought, then the SKU is named, nothing written."""
    world = await make_world()
    await world.price(world.reseller, world.sku_id, 200, currency="USD")
    problem = await problem_of(world.place(world.purchase()))
    assert (problem.reason, problem.metadata["sku_id"]) == ("NO_PRICE", world.sku_id)
    assert "EUR" in problem.message
    assert (await orders_of(world), world.wallet.asked, await world.events()) == (0, [], [])


@pytest.mark.parametrize("missing", ["partner", "platform"])
async def test_no_price_further_up_is_told_in_general_only(make_world: MakeWorld, missing: str) -> None:
    """Given a tier above without a price, when bought, then the buyer learns that it cannot be sold, and no more."""
    world = await make_world()
    for seller in world.sellers:
        if seller is not getattr(world, missing):
            await world.price(seller, world.sku_id, 200)
    problem = await problem_of(world.place(world.purchase()))
    assert (problem.reason, problem.message, problem.metadata) == ("SELLER_CANNOT_SELL", CANNOT_SELL, {})
    assert await orders_of(world) == 0


async def test_the_platforms_own_currency_does_not_matter_but_its_price_does(world: World) -> None:
    """Given a platform that keeps its books in USD with a price in EUR, when bought in EUR, then it is sold."""
    assert world.platform.organization.currency == "USD"
    assert (await world.place(world.purchase())).state == orders_pb2.Order.STATE_COMPLETED


@pytest.mark.parametrize("currencies", [("EUR", "USD", "EUR"), ("EUR", "EUR", "USD")])
async def test_a_chain_of_mixed_currencies_is_refused(make_world: MakeWorld, currencies: tuple[str, str, str]) -> None:
    """Given a seller, near or far, that buys in another currency, when bought, then it is refused whole."""
    world = await make_world(currencies=currencies)
    for seller in world.sellers:
        await world.price(seller, world.sku_id, 200)
    problem = await problem_of(world.place(world.purchase()))
    assert problem.reason == "CURRENCY_MISMATCH"
    assert "USD" not in problem.message
    assert await orders_of(world) == 0


async def test_what_cannot_be_counted_is_refused(make_world: MakeWorld) -> None:
    """Given a price near the ledger's limit, when too many are bought, then it is refused; far up without figures."""
    world = await make_world()
    for seller in world.sellers:
        await world.price(seller, world.sku_id, 900_000_000_000_000)
    assert (await problem_of(world.place(world.purchase(2)))).reason == "AMOUNT_OUT_OF_RANGE"
    world.clock.advance(timedelta(seconds=1))
    await world.price(world.reseller, world.sku_id, 1)
    problem = await problem_of(world.place(world.purchase(2)))
    assert (problem.reason, problem.message) == ("SELLER_CANNOT_SELL", CANNOT_SELL)


async def test_an_order_for_nothing_is_refused(make_world: MakeWorld) -> None:
    """Given a price of zero, when bought, then it is refused: nothing could be charged."""
    world = await make_world()
    for seller in world.sellers:
        await world.price(seller, world.sku_id, 0)
    assert (await problem_of(world.place(world.purchase()))).reason == "AMOUNT_OUT_OF_RANGE"


async def test_an_order_too_large_to_publish_is_refused(world: World) -> None:
    """Given thousands of proxies with long names, when bought at once, then the order is to be split."""
    request = world.purchase(1000)
    request.items[0].proxies.extend(
        [orders_pb2.Proxy(address=f"{'a' * 60}.example", port=1, location="x" * 100)] * 1000
    )
    for _ in range(5):
        request.items.append(request.items[0])
    problem = await problem_of(world.place(request))
    assert (problem.code, problem.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert await orders_of(world) == 0


async def test_the_platform_buys_from_nobody(world: World) -> None:
    """Given the platform, when it orders, then it is denied."""
    problem = await problem_of(world.place(world.purchase(), world.platform))
    assert problem.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_number_that_is_taken_is_drawn_again(world: World) -> None:
    """Given a source of randomness that repeats itself, when two orders are placed, then both stand."""
    draws = [7, 7, 7, 8]
    world.redraw(lambda: draws.pop(0))
    first, second = await world.place(world.purchase()), await world.place(world.purchase())
    assert (first.number, second.number) == ("FA-261123-00000007", "FA-261123-00000008")
    assert await world.event_names() == ["order_placed", "order_completed"] * 2


async def test_numbers_that_never_end_being_taken_write_nothing(world: World) -> None:
    """Given a source of randomness that always says the same, when a second is placed, then nothing is left."""
    world.redraw(lambda: 7)
    await world.place(world.purchase())
    with pytest.raises(RuntimeError, match="randomness"):
        await world.place(world.purchase())
    assert await orders_of(world) == 1
    assert len(world.wallet.asked) == 1


async def test_a_chain_that_is_not_whole_here_yet_is_to_be_repeated(world: World) -> None:
    """Given a customer whose seller's event has not arrived, when it buys, then only once it came."""
    late = replace(
        world.reseller.organization, id=(late_id := uuid4()), domain=f"late-{late_id}.example", integration_code="L"
    )
    ancestors = (late.id, *late.ancestor_ids)
    early = replace(
        world.customer.organization,
        id=(early_id := uuid4()),
        domain=f"early-{early_id}.example",
        parent_id=late.id,
        ancestor_ids=ancestors,
    )
    async with world.database.transaction(EVERYTHING) as connection:
        await directory.save(connection, early)
    buyer, request = Member(early), world.purchase()
    problem = await problem_of(world.place(request, buyer))
    assert (problem.code, problem.reason) == (grpc.StatusCode.UNAVAILABLE, "ORGANIZATION_NOT_YET_KNOWN")
    async with world.database.transaction(EVERYTHING) as connection:
        await directory.save(connection, late)
    await world.price(Member(late), world.sku_id, 200)
    assert (await world.place(request, buyer)).state == orders_pb2.Order.STATE_COMPLETED
