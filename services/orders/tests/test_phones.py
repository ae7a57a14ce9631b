"""Given what usage tells of cloud phones, twice and in any order, then their orders run, collect fees and complete."""

import itertools
import random
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from directory import store as directory
from farthing.export.v1.export_pb2 import EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX, ExportFormat
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.usage.events.v1.events_pb2 import (
    PhonePoweredDown,
    PhonePoweredUp,
    PhoneSession,
    RunningFeeCharged,
    UsageEvent,
)
from farthing.wallet.v1.wallets_pb2 import ChargeTier
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from orders.domain.phones import PhoneMismatchError
from servicekit.consumers import NotYet
from servicekit.scope import EVERYTHING
from sqlalchemy import text

from .conftest import NOON, Member, World, new_organization, problem_of
from .test_export import csv_rows, sheet_rows

State = orders_pb2.Order
MINUTE = timedelta(minutes=1)


def at(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def session_of(world: World) -> PhoneSession:
    return PhoneSession(
        root_id=str(world.partner.id),
        order_id=str(uuid4()),
        order_number=f"FA-261123-{random.getrandbits(32):08X}",
        organization_id=str(world.customer.id),
        seller_id=str(world.reseller.id),
        cloud_phone_id="phone-7",
        cloud_phone_name="Ann's phone",
        product_id=str(uuid4()),
        product_name="Cloud phone",
        sku_id=str(uuid4()),
        sku_code="phone-s",
        sku_name="Small",
        currency="EUR",
        user_subject="ann",
        user_name="Ann",
        user_email="ann@customer.example",
        powered_up_at=at(NOON),
    )


def up(session: PhoneSession) -> UsageEvent:
    return UsageEvent(phone_powered_up=PhonePoweredUp(session=session))


def down(session: PhoneSession, minutes: int = 9) -> UsageEvent:
    return UsageEvent(phone_powered_down=PhonePoweredDown(session=session, powered_down_at=at(NOON + minutes * MINUTE)))


def fee(world: World, session: PhoneSession, minute: int, micros: int = 1_000_000) -> UsageEvent:
    """Of one minute: the customer pays `micros` and 19 %, the reseller half, the partner a quarter."""
    buyers = [world.customer, world.reseller, world.partner, world.platform]
    tiers = [
        ChargeTier(
            buyer_id=str(buyer.id),
            seller_id=str(seller.id),
            net_micros=micros >> tier,
            tax_micros=micros * 19 // 100 if tier == 0 else 0,
        )
        for tier, (buyer, seller) in enumerate(itertools.pairwise(buyers))
    ]
    charged = RunningFeeCharged(
        session=session,
        fee_id=str(uuid4()),
        period_from=at(NOON + minute * MINUTE),
        period_to=at(NOON + (minute + 1) * MINUTE),
        tiers=tiers,
        transaction_id=str(uuid4()),
        charged_at=at(NOON + (minute + 1) * MINUTE),
    )
    return UsageEvent(running_fee_charged=charged)


async def read(world: World, session: PhoneSession, who: Member | None = None) -> orders_pb2.Order:
    found = await world.call(who or world.customer, "GetOrder", orders_pb2.GetOrderRequest(id=session.order_number))
    assert isinstance(found, orders_pb2.Order)
    return found


async def fees_of(world: World, session: PhoneSession, who: Member, page_size: int = 0) -> list[orders_pb2.RunningFee]:
    request = orders_pb2.ListRunningFeesRequest(order_id=session.order_id, page_size=page_size)
    found: list[orders_pb2.RunningFee] = []
    while True:
        response = await world.call(who, "ListRunningFees", request)
        assert isinstance(response, orders_pb2.ListRunningFeesResponse)
        found += response.fees
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


async def count_orders(world: World) -> int:
    """In both roots of the world, whatever their ids: a refused event must have left none."""
    query = text("SELECT count(*) FROM orders WHERE root_id = ANY (:root_ids)")
    async with world.database.transaction(EVERYTHING) as connection:
        row = {"root_ids": [world.partner.id, world.stranger.organization.root_id]}
        return int((await connection.execute(query, row)).scalar_one())


def eur(micros: int) -> Money:
    return Money(currency_code="EUR", units=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


async def test_a_phone_that_is_on_is_an_order_that_runs(world: World) -> None:
    """Given a phone, when it is powered up, then its order runs, costs nothing yet, and nothing is published."""
    session = session_of(world)
    await world.hear(up(session))
    order = await read(world, session)
    assert (order.state, order.type) == (State.STATE_RUNNING, catalogue_pb2.PRODUCT_TYPE_CLOUD_PHONE)
    assert (order.id, order.number) == (session.order_id, session.order_number)
    assert (order.cloud_phone.cloud_phone_id, order.cloud_phone.name) == ("phone-7", "Ann's phone")
    assert order.cloud_phone.powered_up_at == at(NOON) == order.created_at
    assert not order.cloud_phone.HasField("powered_down_at")
    assert (order.total, order.paying_user_name, order.items[0].product_name) == (eur(0), "Ann", "Cloud phone")
    assert await world.event_names() == []


@pytest.mark.parametrize("format_", [EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX])
async def test_a_phone_without_fees_has_earned_nothing_yet(world: World, format_: ExportFormat) -> None:
    """Given a phone without fees, when its seller reads order, totals and files, then each says a margin of zero."""
    session = session_of(world)
    await world.hear(up(session))
    request = orders_pb2.ListOrdersRequest(with_totals=True)
    nothing = orders_pb2.OrderMargin(revenue=eur(0), cost=eur(0), margin=eur(0))
    listed = await world.call(world.reseller, "ListOrders", request)
    said = [(await read(world, session, world.reseller)).margin, listed.orders[0].margin, listed.totals.sums[0].margin]
    assert said == [nothing] * 3
    assert listed.totals.sums[0].HasField("margin")
    assert (await exported_rows(world, world.reseller, format_))[0][-3:] == [0, 0, 0]
    # The partner hears of its part with the first fee, the customer sells nothing.
    for who in (world.partner, world.customer):
        listed = await world.call(who, "ListOrders", request)
        assert not listed.orders[0].HasField("margin")
        assert not listed.totals.sums[0].HasField("margin")
    assert (await exported_rows(world, world.partner, format_))[0][-3:] == [None] * 3


async def exported_rows(world: World, who: Member, format_: ExportFormat) -> list[list[float | None]]:
    """The rows of the file, their cells as numbers; None for what is empty or none."""
    request = orders_pb2.ExportOrdersRequest(format=format_)
    with who.calling("ExportOrders"):
        data = b"".join([chunk.data async for chunk in world.order_rpc.ExportOrders(request, None)])
    rows = csv_rows(data) if format_ == EXPORT_FORMAT_CSV else sheet_rows(data)
    return [[number(cell) for cell in row] for row in rows[1:]]


def number(cell: object) -> float | None:
    try:
        return float(str(cell))
    except ValueError:
        return None


async def test_fees_make_the_total_at_every_tier(world: World) -> None:
    """Given a phone with two fees, one told twice, when powered down, then completed, with the sums at every tier."""
    session = session_of(world)
    first, second = fee(world, session, 0), fee(world, session, 1, 3_000_000)
    for event in (up(session), first, second, first, down(session), down(session, 12)):
        await world.hear(event)
    order = await read(world, session)
    assert (order.state, order.cloud_phone.fee_count) == (State.STATE_COMPLETED, 2)
    assert (order.net, order.tax, order.total) == (eur(4_000_000), eur(760_000), eur(4_760_000))
    assert order.cloud_phone.powered_down_at == at(NOON + 9 * MINUTE) == order.paid_at
    seen = await read(world, session, world.reseller)
    assert [tier.net for tier in seen.tiers] == [eur(2_000_000), eur(4_000_000)]
    assert (seen.margin.revenue, seen.margin.cost, seen.margin.margin) == tuple(
        map(eur, (4_000_000, 2_000_000, 2_000_000))
    )
    query = text("SELECT total_micros FROM orders WHERE root_id = :root_id AND id = :id")
    async with world.database.transaction(EVERYTHING) as connection:
        row = {"root_id": world.partner.id, "id": session.order_id}
        assert (await connection.execute(query, row)).scalar_one() == 4_760_000
    assert await world.event_names() == []


async def test_the_order_of_events_does_not_matter(world: World) -> None:
    """Given four events of a session, when they come in any order, then the order ends the same in all of them."""
    ends = set()
    for events in itertools.permutations(range(4)):
        session = session_of(world)
        told = [up(session), fee(world, session, 0), fee(world, session, 1), down(session)]
        for index in (*events, events[0]):
            await world.hear(told[index])
        order = await read(world, session)
        ends.add((order.state, order.total.units, order.total.nanos, order.cloud_phone.fee_count))
        assert order.cloud_phone.powered_up_at == at(NOON)
    assert ends == {(State.STATE_COMPLETED, 2, 380_000_000, 2)}


async def test_fees_are_listed_the_oldest_first(world: World) -> None:
    """Given three fees that came in another order, when listed by pages, then by time, each with its tiers."""
    session = session_of(world)
    for minute in (2, 0, 1):
        await world.hear(fee(world, session, minute, 1_000_000 * (minute + 1)))
    listed = await fees_of(world, session, world.customer, page_size=1)
    assert [each.period_from for each in listed] == [at(NOON + minute * MINUTE) for minute in range(3)]
    assert [each.net for each in listed] == [eur(1_000_000), eur(2_000_000), eur(3_000_000)]
    assert [len(each.tiers) for each in listed] == [1, 1, 1]
    [own, below] = (await fees_of(world, session, world.reseller))[0].tiers
    assert (own.buyer_id, own.net, below.net) == (str(world.reseller.id), eur(500_000), eur(1_000_000))
    for who in (world.sibling, world.stranger):
        assert (await problem_of(fees_of(world, session, who))).reason == "NOT_FOUND"


async def test_an_order_that_is_no_phone_has_no_fees(world: World) -> None:
    """Given an order of proxies beside a phone's, when their fees are listed, then it has none, and its tiers stand."""
    order = await world.place(world.purchase())
    session = session_of(world)
    await world.hear(fee(world, session, 0))
    assert await fees_of(world, PhoneSession(order_id=order.id), world.customer) == []
    listed = await world.call(world.customer, "ListOrders", orders_pb2.ListOrdersRequest())
    assert {each.number: each.total for each in listed.orders} == {
        order.number: order.total,
        session.order_number: eur(1_190_000),
    }


@pytest.mark.parametrize("field", ["order_number", "organization_id", "seller_id", "cloud_phone_id", "currency"])
async def test_an_event_that_contradicts_its_order_is_refused(world: World, field: str) -> None:
    """Given an open order, when an event names it with another purchaser, phone or currency, then nothing changes."""
    session = session_of(world)
    await world.hear(up(session))
    other = PhoneSession()
    other.CopyFrom(session)
    values = {"currency": "USD", "order_number": session_of(world).order_number}
    setattr(other, field, values.get(field, str(uuid4())))
    with pytest.raises(PhoneMismatchError):
        await world.hear(fee(world, other, 0))
    assert (await read(world, session)).total == eur(0)


async def test_a_fee_that_another_pays_is_refused(world: World) -> None:
    """Given a fee whose first tier is not the purchaser's, or that has none, when heard, then it is not added."""
    session = session_of(world)
    stray, empty = fee(world, session, 0), fee(world, session, 1)
    del stray.running_fee_charged.tiers[0]
    del empty.running_fee_charged.tiers[:]
    for event in (stray, empty):
        with pytest.raises(PhoneMismatchError):
            await world.hear(event)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("root_id", ""),
        ("order_id", ""),
        ("order_id", "seven"),
        ("order_number", ""),
        ("order_number", "FA-261123-"),
        ("order_number", "FA-261124-7K3M9Q2X"),
        ("organization_id", ""),
        ("seller_id", ""),
        ("cloud_phone_id", ""),
        ("cloud_phone_id", "x" * 101),
        ("cloud_phone_name", "x" * 201),
        ("product_id", ""),
        ("sku_id", ""),
        ("currency", "eur"),
        ("currency", ""),
        ("currency", "XXX"),
    ],
)
async def test_a_session_that_cannot_be_is_refused(world: World, field: str, value: str) -> None:
    """Given a session with an impossible field, when any of its events is heard, then it says so and opens nothing."""
    session = session_of(world)
    setattr(session, field, value)
    for event in (up(session), fee(world, session, 0), down(session)):
        with pytest.raises(ValueError, match=f"{field}.*'{value}'"):
            await world.hear(event)
    assert await count_orders(world) == 0


async def test_the_longest_names_are_taken(world: World) -> None:
    """Given a phone whose id and name are as long as may be, when it is powered up, then its order is there."""
    session = session_of(world)
    session.cloud_phone_id, session.cloud_phone_name = "ü" * 100, "ü" * 200
    await world.hear(up(session))
    assert (await read(world, session)).cloud_phone.name == session.cloud_phone_name


async def test_a_session_in_a_root_not_its_purchasers_is_refused(world: World) -> None:
    """Given sessions of another root, or a purchaser of one, when heard under either, then no order opens."""
    partner, other = world.partner.id, world.stranger.organization.root_id
    elsewhere, foreign, contrary, none = (session_of(world) for _ in range(4))
    elsewhere.root_id = str(other)
    foreign.organization_id = str(world.stranger.id)
    none.organization_id = str(world.platform.id)
    heard = [(elsewhere, other), (elsewhere, partner), (foreign, partner), (contrary, other), (none, partner)]
    for session, root_id in heard:
        for event in (up(session), fee(world, session, 0), down(session)):
            with pytest.raises(PhoneMismatchError, match=r"root_id '"):
                await world.hear(event, root_id)
        assert await count_orders(world) == 0


async def test_a_seller_who_cannot_sell_to_the_purchaser_is_refused(world: World) -> None:
    """Given sessions sold by the purchaser itself or from another root, when heard, then no order opens."""
    for seller in (world.customer, world.stranger):
        session = session_of(world)
        session.seller_id = str(seller.id)
        for event in (up(session), down(session)):
            with pytest.raises(PhoneMismatchError, match=f"seller_id.*{seller.id}"):
                await world.hear(event)
        assert await count_orders(world) == 0


async def test_a_purchaser_may_have_moved_since(world: World) -> None:
    """Given a session whose seller is in the root, but no more the parent, when heard with its fee, then both count."""
    session = session_of(world)
    session.seller_id = str(world.partner.id)
    event = fee(world, session, 0)
    tiers = event.running_fee_charged.tiers
    tiers[0].seller_id = str(world.partner.id)
    del tiers[1]
    await world.hear(event)
    assert (await read(world, session)).total == eur(1_190_000)


@pytest.mark.parametrize("unknown", ["organization_id", "seller_id"])
async def test_a_session_waits_for_an_organization_that_has_not_arrived(world: World, unknown: str) -> None:
    """Given an organization not copied here yet, when its phone is heard, then it waits; once copied, it opens."""
    late = new_organization(uuid4(), [world.partner.organization, world.platform.organization], "Late", "EUR")
    session = session_of(world)
    setattr(session, unknown, str(late.id))
    with pytest.raises(NotYet, match=f"{unknown}.*{late.id}"):
        await world.hear(up(session))
    assert await count_orders(world) == 0
    async with world.database.transaction(EVERYTHING) as connection:
        await directory.save(connection, late)
    await world.hear(up(session))
    assert await count_orders(world) == 1


async def test_a_fee_whose_tiers_are_no_chain_is_refused(world: World) -> None:
    """Given fees with a gap, a circle, a foreign seller or no platform at the end, when heard, then none is added."""
    session = session_of(world)
    await world.hear(up(session))
    gap, short, foreign, circle = (fee(world, session, minute) for minute in range(4))
    del gap.running_fee_charged.tiers[1]
    del short.running_fee_charged.tiers[2]
    foreign.running_fee_charged.tiers[1].seller_id = foreign.running_fee_charged.tiers[2].buyer_id = str(
        world.stranger.id
    )
    circle.running_fee_charged.tiers[1].seller_id = circle.running_fee_charged.tiers[2].buyer_id = str(
        world.customer.id
    )
    for event, why in ((gap, "buyer_id"), (short, "platform"), (foreign, "seller_id"), (circle, "twice")):
        with pytest.raises(PhoneMismatchError, match=why):
            await world.hear(event)
    assert (await read(world, session)).total == eur(0)


async def test_a_fee_that_cannot_be_is_refused(world: World) -> None:
    """Given fees of a backward period, of amounts that cannot be or too many tiers, when heard, then it says why."""
    session = session_of(world)
    backward, net, tax, large, long = (fee(world, session, minute) for minute in range(5))
    backward.running_fee_charged.period_to.CopyFrom(at(NOON - MINUTE))
    net.running_fee_charged.tiers[1].net_micros = -1
    tax.running_fee_charged.tiers[2].tax_micros = -7
    large.running_fee_charged.tiers[0].net_micros = large.running_fee_charged.tiers[0].tax_micros = 2**62
    tiers = long.running_fee_charged.tiers
    for _ in range(14):
        tiers.add(buyer_id=tiers[-1].seller_id, seller_id=str(uuid4()))
    for event, why in (
        (backward, r"period_to 2026-11-23T11:59:00\+00:00 is before period_from 2026-11-23T12:00:00\+00:00"),
        (net, r"net_micros -1 in tier 2 .* is below zero"),
        (tax, "tax_micros -7 in tier 3 .* is below zero"),
        (large, "net_micros and tax_micros in tier 1 .* 9223372036854775808"),
        (long, "has 17 tiers; .* at most 16"),
    ):
        with pytest.raises(PhoneMismatchError, match=why):
            await world.hear(event)
    assert await count_orders(world) == 0


async def test_a_fee_waits_for_a_seller_that_has_not_arrived(world: World) -> None:
    """Given a fee with a tier of an organization not copied here yet, when heard, then it waits, and nothing counts."""
    session, late = session_of(world), uuid4()
    event = fee(world, session, 0)
    event.running_fee_charged.tiers[1].seller_id = event.running_fee_charged.tiers[2].buyer_id = str(late)
    with pytest.raises(NotYet, match=str(late)):
        await world.hear(event)
    assert await count_orders(world) == 0


@pytest.mark.parametrize("field", ["fee_id", "transaction_id"])
async def test_a_fee_without_an_id_is_refused(world: World, field: str) -> None:
    """Given a fee with an empty id, when heard, then it says which, and not even its order opens."""
    session = session_of(world)
    event = fee(world, session, 0)
    setattr(event.running_fee_charged, field, "")
    with pytest.raises(ValueError, match=f"{field}.*''"):
        await world.hear(event)
    assert await count_orders(world) == 0


async def test_a_phone_is_not_powered_down_before_it_is_up(world: World) -> None:
    """Given an end before its beginning, when heard alone or after power-up or power-down, then nothing changes."""
    session = session_of(world)
    early = down(session, minutes=-1)
    for before in (None, up(session), down(session)):
        if before is not None:
            await world.hear(before)
        with pytest.raises(PhoneMismatchError, match=r"powered_down_at.*2026-11-23T11:59"):
            await world.hear(early)
    assert (await read(world, session)).cloud_phone.powered_down_at == at(NOON + 9 * MINUTE)


async def test_a_phones_order_is_neither_canceled_nor_refunded_nor_placed(world: World) -> None:
    """Given a phone's order, when canceled, refunded or ordered by hand, then the answer says what to do instead."""
    session = session_of(world)
    await world.hear(up(session))
    canceling = orders_pb2.CancelOrderRequest(request_id="c", id=session.order_id)
    canceled = await problem_of(world.call(world.customer, "CancelOrder", canceling))
    assert (canceled.reason, "power it down" in canceled.message) == ("ORDER_STATE", True)
    await world.hear(down(session))
    refunding = orders_pb2.RefundOrderRequest(request_id="r", id=session.order_id, reason="no")
    assert (await problem_of(world.call(world.reseller, "RefundOrder", refunding))).reason == "ORDER_STATE"
    phone = await world.sku(catalogue_pb2.PRODUCT_TYPE_CLOUD_PHONE, "Cloud phone")
    assert "power one up" in (await problem_of(world.place(world.purchase(sku_id=phone)))).message
