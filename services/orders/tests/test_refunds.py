"""Given a paid order, then its seller gives back what it likes, once, at every tier, and never above what was paid."""

import asyncio
from uuid import uuid4

import grpc
import pytest
from farthing.orders.v1 import orders_pb2
from google.type.money_pb2 import Money
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING, Scope
from sqlalchemy import text

from .conftest import LEASE, Member, World, problem_of

State = orders_pb2.Order
LEASE_OVER_S = LEASE.total_seconds() + 0.05


def eur(micros: int) -> Money:
    return Money(currency_code="EUR", units=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def micros(money: Money) -> int:
    return money.units * 1_000_000 + money.nanos // 1000


def asking(order: orders_pb2.Order, *lines: orders_pb2.RefundLine, reason: str = "broken") -> object:
    return orders_pb2.RefundOrderRequest(request_id=str(uuid4()), id=order.number, lines=lines, reason=reason)


async def refund(
    world: World, order: orders_pb2.Order, *lines: orders_pb2.RefundLine, who: Member | None = None
) -> orders_pb2.Refund:
    refund = await world.call(who or world.reseller, "RefundOrder", asking(order, *lines))
    assert isinstance(refund, orders_pb2.Refund)
    return refund


async def read(world: World, order: orders_pb2.Order, who: Member | None = None) -> orders_pb2.Order:
    found = await world.call(who or world.customer, "GetOrder", orders_pb2.GetOrderRequest(id=order.id))
    assert isinstance(found, orders_pb2.Order)
    return found


async def listed(world: World, order: orders_pb2.Order, who: Member, page_size: int = 0) -> list[orders_pb2.Refund]:
    request = orders_pb2.ListRefundsRequest(order_id=order.number, page_size=page_size)
    found: list[orders_pb2.Refund] = []
    while True:
        response = await world.call(who, "ListRefunds", request)
        assert isinstance(response, orders_pb2.ListRefundsResponse)
        found += response.refunds
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


async def test_a_refund_by_a_service_names_it(world: World) -> None:
    """Given an order, when one of our own services refunds it, then its name stands where a person's would."""
    order = await world.place(world.purchase())
    request = orders_pb2.RefundOrderRequest(request_id=str(uuid4()), id=order.id, reason="a fault of ours")
    made = await world.call(None, "RefundOrder", request)
    assert isinstance(made, orders_pb2.Refund)
    assert made.created_by_name == "operator"


async def test_a_unit_goes_back_at_every_tier(world: World) -> None:
    """Given 3 units at 2.00 and 19 % tax, when the seller gives one back, then a third at each tier, in one refund."""
    order = await world.place(world.purchase(3))
    given_back = await refund(world, order, orders_pb2.RefundLine(position=1, quantity=1))
    assert given_back.state == orders_pb2.Refund.STATE_POSTED
    assert (given_back.net, given_back.tax, given_back.total) == (eur(2_000_000), eur(380_000), eur(2_380_000))
    assert given_back.created_by_name == "Boss of Reseller"
    [asked] = world.wallet.refunds_asked
    assert (asked.request_id, asked.original_transaction_id) == (given_back.id, order.transaction_id)
    assert [(tier.buyer_id, tier.net_micros, tier.tax_micros) for tier in asked.tiers] == [
        (str(world.customer.id), 2_000_000, 380_000),
        (str(world.reseller.id), 1_500_000, 0),
        (str(world.partner.id), 1_000_000, 0),
    ]
    seen = await read(world, order)
    assert (seen.state, seen.refunded, seen.total) == (State.STATE_PARTLY_REFUNDED, eur(2_380_000), order.total)
    assert (seen.items[0].refunded, seen.items[0].position) == (eur(2_380_000), 1)
    assert (seen.tiers[0].refunded_net, seen.tiers[0].refunded_tax) == (eur(2_000_000), eur(380_000))
    assert seen.transaction_id == order.transaction_id


async def test_the_event_carries_order_and_refund_whole(world: World) -> None:
    """Given a refund, when its event is read, then order and refund are in it with all tiers, as they are now."""
    order = await world.place(world.purchase(2))
    given_back = await refund(world, order)
    event = (await world.events())[-1].order_refunded
    assert event.root_id == str(world.partner.id)
    assert (event.order.id, event.order.state) == (order.id, State.STATE_REFUNDED)
    assert (event.order.refunded, len(event.order.tiers)) == (order.total, 3)
    assert (event.refund.id, event.refund.total, event.refund.reason) == (given_back.id, order.total, "broken")
    assert event.refund.transaction_id == world.wallet.posted[given_back.id].transaction_id
    assert [tier.buyer_id for tier in event.refund.tiers] == [
        str(each.id) for each in (world.customer, world.reseller, world.partner)
    ]


async def test_readers_see_their_tiers_and_margins(world: World) -> None:
    """Given a refund of half, when each of the chain reads, then each sees its tiers, and its margin less the half."""
    order = await world.place(world.purchase(2))
    await refund(world, order, orders_pb2.RefundLine(position=1, amount=eur(2_380_000)), who=world.platform)
    for who, tiers, margin in (
        (world.customer, 1, None),
        (world.reseller, 2, (2_000_000, 1_500_000, 500_000)),
        (world.partner, 3, (1_500_000, 1_000_000, 500_000)),
        (world.platform, 3, (1_000_000, 0, 1_000_000)),
    ):
        [seen] = await listed(world, order, who)
        assert len(seen.tiers) == tiers
        assert seen.tiers[0].buyer_id == str(world.customer.id if who is world.platform else who.id)
        assert (seen.lines[0].product_name, seen.lines[0].quantity) == ("US proxies", 0)
        whole = await read(world, order, who)
        assert whole.HasField("margin") == (margin is not None)
        if margin:
            got = (whole.margin.revenue, whole.margin.cost, whole.margin.margin)
            assert tuple(map(micros, got)) == margin


async def test_the_purchaser_refunds_nothing_itself(world: World) -> None:
    """Given an order, when its purchaser, a sibling or a stranger would refund it, then they may not, and none is."""
    order = await world.place(world.purchase())
    assert (await problem_of(refund(world, order, who=world.customer))).reason == "ROLE_NOT_ALLOWED"
    for who in (world.sibling, world.stranger):
        assert (await problem_of(refund(world, order, who=who))).reason == "NOT_FOUND"
        assert (await problem_of(listed(world, order, who))).reason == "NOT_FOUND"
    assert world.wallet.refunds_asked == []


async def test_refunds_end_at_the_whole(world: World) -> None:
    """Given refunds by unit, by amount and of the rest, when more is asked, then nothing is left; pages show all."""
    order = await world.place(world.purchase(3))
    await refund(world, order, orders_pb2.RefundLine(position=1, quantity=1))
    await refund(world, order, orders_pb2.RefundLine(position=1, amount=eur(1)))
    too_much = orders_pb2.RefundLine(position=1, amount=eur(4_760_000))
    problem = await problem_of(refund(world, order, too_much))
    assert (problem.reason, problem.metadata["left_micros"]) == ("REFUND_EXCEEDS_CHARGE", "4759999")
    await refund(world, order)
    assert (await read(world, order)).state == State.STATE_REFUNDED
    assert (await problem_of(refund(world, order))).reason == "NOTHING_TO_REFUND"
    found = await listed(world, order, world.customer, page_size=1)
    assert sorted(micros(each.total) for each in found) == [1, 2_380_000, 4_759_999]
    assert sum(micros(each.total) for each in found) == micros(order.total)
    columns = zip(*(asked.tiers for asked in world.wallet.refunds_asked), strict=True)
    by_tier = [sum(tier.net_micros for tier in column) for column in columns]
    assert by_tier == [6_000_000, 4_500_000, 3_000_000]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([orders_pb2.RefundLine(position=2)], "INVALID_ARGUMENT"),
        ([orders_pb2.RefundLine(position=1), orders_pb2.RefundLine(position=1)], "INVALID_ARGUMENT"),
        ([orders_pb2.RefundLine(position=1, quantity=1, amount=eur(1))], "INVALID_ARGUMENT"),
        ([orders_pb2.RefundLine(position=1, amount=eur(0))], "AMOUNT_OUT_OF_RANGE"),
        ([orders_pb2.RefundLine(position=1, amount=Money(currency_code="EUR", nanos=1))], "AMOUNT_OUT_OF_RANGE"),
        ([orders_pb2.RefundLine(position=1, amount=Money(currency_code="USD", units=1))], "CURRENCY_MISMATCH"),
        ([orders_pb2.RefundLine(position=1, quantity=2)], "REFUND_EXCEEDS_CHARGE"),
    ],
)
async def test_what_cannot_be_given_back_is_refused(
    world: World, lines: list[orders_pb2.RefundLine], reason: str
) -> None:
    """Given an order of one unit, when its refund contradicts it or itself, then it is refused, and none is written."""
    order = await world.place(world.purchase())
    assert (await problem_of(refund(world, order, *lines))).reason == reason
    assert await listed(world, order, world.reseller) == []


@pytest.mark.parametrize("code", ["", "eur", "X" * 10_000])
async def test_nothing_is_given_back_in_what_is_no_currency(world: World, code: str) -> None:
    """Given a paid order, when its refund is in no currency, then refused by the field, not told at length."""
    order = await world.place(world.purchase())
    line = orders_pb2.RefundLine(position=1, amount=Money(currency_code=code, units=1))
    problem = await problem_of(refund(world, order, line))
    assert (problem.reason, list(problem.fields)) == ("INVALID_ARGUMENT", ["lines[0].amount.currency_code"])
    assert f"'{code[:10]}' is not a currency" in problem.message
    assert len(problem.message) < 200


async def test_unpaid_orders_are_not_refunded(world: World) -> None:
    """Given an order that waits for its payment, when its seller refunds it, then ORDER_STATE."""
    request = world.purchase()
    request.payment_method = orders_pb2.PAYMENT_METHOD_BANK_TRANSFER
    assert (await problem_of(refund(world, await world.place(request)))).reason == "ORDER_STATE"


async def test_a_refusal_of_wallets_is_told_in_words_and_leaves_all_as_it_was(world: World) -> None:
    """Given a seller that spent its earnings, when wallet refuses, then the refund says so and names no wallet."""
    order = await world.place(world.purchase())
    world.wallet.script = [f"refuse:{world.partner.id}"]
    refused = await refund(world, order)
    assert refused.state == orders_pb2.Refund.STATE_REFUSED
    assert "has spent what it earned" in refused.refusal_reason
    assert str(world.partner.id) not in refused.refusal_reason
    assert "1.23" not in str(refused)
    assert (await read(world, order)) == order
    assert await world.event_names() == ["order_placed", "order_completed"]
    assert (await refund(world, order)).state == orders_pb2.Refund.STATE_POSTED, "another one may fare better"


@pytest.mark.parametrize("fault", ["hang", "lose", "error:UNAVAILABLE"])
@pytest.mark.parametrize("way", ["job", "repeat"])
async def test_a_lost_answer_is_asked_for_again_and_posted_once(world: World, fault: str, way: str) -> None:
    """Given a refund whose answer is lost, when the job or a repeat asks again, then it is that one refund."""
    order = await world.place(world.purchase())
    request = asking(order)
    world.wallet.script = [fault]
    problem = await problem_of(world.call(world.reseller, "RefundOrder", request))
    assert problem.code is grpc.StatusCode.UNAVAILABLE
    [pending] = await listed(world, order, world.customer)
    assert pending.state == orders_pb2.Refund.STATE_PENDING
    assert (await read(world, order)).state == State.STATE_COMPLETED
    assert (await problem_of(refund(world, order))).reason == "ORDER_STATE", "one refund at a time"
    await asyncio.sleep(LEASE_OVER_S)
    if way == "job":
        assert await world.refunds.resolve_pending() == 1
        assert await world.refunds.resolve_pending() == 0
    posted = await world.call(world.reseller, "RefundOrder", request)
    assert posted.state == orders_pb2.Refund.STATE_POSTED
    assert len({each.SerializeToString() for each in world.wallet.refunds_asked}) == 1
    assert (await world.event_names()).count("order_refunded") == 1
    assert (await read(world, order)).refunded == order.total


async def test_a_repeat_is_one_refund(world: World) -> None:
    """Given a refund, when its request is repeated, then the same answer, one refund, one line of the audit trail."""
    order = await world.place(world.purchase(2))
    request = asking(order, orders_pb2.RefundLine(position=1, quantity=1))
    answers = await asyncio.gather(*(world.call(world.reseller, "RefundOrder", request) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await listed(world, order, world.reseller)) == 1
    query = text("SELECT action, actor_name, before, after FROM audit_events WHERE target_id = :id")
    async with world.database.transaction(EVERYTHING) as connection:
        [row] = (await connection.execute(query, {"id": order.id})).all()
    assert (row.action, row.actor_name, row.before["state"]) == ("ORDER_REFUNDED", "Boss of Reseller", "COMPLETED")
    assert row.after == {"refund_id": answers[0].id, "amount": "2.38 EUR", "reason": "broken"}


async def test_refunds_that_race_never_give_back_more_than_was_paid(world: World) -> None:
    """Given an order of two units, when six refunds of one unit race, then two at most are posted, one at a time."""
    order = await world.place(world.purchase(2))
    line = orders_pb2.RefundLine(position=1, quantity=1)
    results = await asyncio.gather(*(refund(world, order, line) for _ in range(6)), return_exceptions=True)
    posted = [result for result in results if isinstance(result, orders_pb2.Refund)]
    assert 1 <= len(posted) <= 2
    refused = {result.reason for result in results if isinstance(result, Problem)}
    assert refused <= {"ORDER_STATE", "REFUND_EXCEEDS_CHARGE", "NOTHING_TO_REFUND"}
    assert micros((await read(world, order)).refunded) == sum(micros(each.total) for each in posted)


@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.one_of(st.integers(1, 3), st.integers(100, 2_000_000))), min_size=1, max_size=5
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_database_adds_up_as_the_rules_do(world: World, asked: list[tuple[int, int]]) -> None:
    """Given any refunds of two lines, when read back, then the order says what the refunds say, to the micro."""
    request = world.purchase(3)
    request.items.append(orders_pb2.NewOrderItem(sku_id=world.sku_id, quantity=2))
    order = await world.place(request)
    total = 0
    for position, much in asked:
        by = {"quantity": much} if much <= 3 else {"amount": eur(much)}
        try:
            total += micros((await refund(world, order, orders_pb2.RefundLine(position=position, **by))).total)
        except Problem as problem:
            assert problem.reason in ("REFUND_EXCEEDS_CHARGE", "NOTHING_TO_REFUND")
        seen = await read(world, order)
        assert micros(seen.refunded) == total == sum(micros(item.refunded) for item in seen.items)
        assert micros(seen.tiers[0].refunded_net) + micros(seen.tiers[0].refunded_tax) == total


async def test_the_database_itself_hides_others_refunds(world: World) -> None:
    """Given a refund, when SQL without any condition runs in a scope, then row security leaves the own tiers."""
    order = await world.place(world.purchase())
    await refund(world, order)

    async def rows(who: Member, table: str) -> int:
        async with world.database.transaction(Scope(who.id, who.organization.root_id)) as connection:
            query = text(f"SELECT count(*) FROM {table} WHERE root_id = :root_id")
            return int((await connection.execute(query, {"root_id": world.partner.id})).scalar_one())

    for table in ("refunds", "refund_line_tiers", "refunded_lines", "audit_events"):
        assert await rows(world.stranger, table) == await rows(world.sibling, table) == 0, table
    for who, tiers in ((world.customer, 1), (world.reseller, 2), (world.partner, 3)):
        assert (await rows(who, "refunds"), await rows(who, "refunded_lines")) == (1, tiers)
