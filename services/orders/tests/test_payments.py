"""Given orders paid from outside, then the money completes them, or stays on the balance, whatever comes late."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import grpc
import protovalidate
import pytest
from farthing.orders.events.v1.events_pb2 import OrderPaymentKept
from farthing.orders.v1 import orders_pb2
from farthing.wallet.events.v1.events_pb2 import TopUpSettled, WalletEvent
from farthing.wallet.v1 import holds_pb2, wallets_pb2
from google.protobuf.message import Message
from orders.domain.cancellations import CANNOT_SELL_WHEN_PAID, CHAIN_CHANGED_WHEN_PAID
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from sqlalchemy import text

from .conftest import LEASE, NOON, Member, World, problem_of
from .scripted_wallet import wallet_id

LEASE_OVER_S = LEASE.total_seconds() + 0.05
BANK, PROVIDER = orders_pb2.PAYMENT_METHOD_BANK_TRANSFER, orders_pb2.PAYMENT_METHOD_PROVIDER
SANDBOX = orders_pb2.PAYMENT_METHOD_SANDBOX
State = orders_pb2.Order
Cancellation = orders_pb2.OrderCancellation
CARD_EXPIRED = wallets_pb2.TOP_UP_FAILURE_CARD_EXPIRED
Method = orders_pb2.PaymentMethod.ValueType


async def place(world: World, method: Method = BANK, token: str = "") -> orders_pb2.Order:
    request = world.purchase(2)
    request.payment_method, request.payment_token = method, token
    return await world.place(request)


async def read(world: World, order: orders_pb2.Order, who: Member | None = None) -> orders_pb2.Order:
    found = await world.call(who or world.customer, "GetOrder", orders_pb2.GetOrderRequest(id=order.id))
    assert isinstance(found, orders_pb2.Order)
    return found


async def cancel(world: World, order: orders_pb2.Order, who: Member | None, reason: str = "") -> orders_pb2.Order:
    request = orders_pb2.CancelOrderRequest(request_id=str(uuid4()), id=order.number, reason=reason)
    canceled = await world.call(who, "CancelOrder", request)
    assert isinstance(canceled, orders_pb2.Order)
    return canceled


async def resolve(world: World) -> None:
    await asyncio.sleep(LEASE_OVER_S)
    await world.paying.resolve_pending()


async def kept(world: World) -> OrderPaymentKept:
    """The one event that tells that the money stays."""
    [found] = [event for event in await world.events() if event.HasField("order_payment_kept")]
    return found.order_payment_kept


async def test_an_order_by_bank_transfer_waits_for_its_money(world: World) -> None:
    """Given a customer, when it orders by bank transfer, then a top-up of the total is asked for, nothing charged."""
    order = await place(world)
    assert order.state == State.STATE_PENDING_PAYMENT
    assert order.payment_method == BANK
    assert order.payment.due_at.ToDatetime(tzinfo=NOON.tzinfo) == NOON + timedelta(days=7)
    [asked] = world.wallet.top_ups_asked
    assert order.payment.top_up_id == world.wallet.top_ups[order.id].id
    assert (asked.request_id, asked.order_id, asked.order_number) == (order.id, order.id, order.number)
    assert (asked.wallet_id, asked.amount) == (wallet_id(str(world.customer.id)), order.total)
    assert asked.method == wallets_pb2.TOP_UP_METHOD_MANUAL
    assert (asked.created_by_name, asked.created_by_email) == (order.paying_user_name, order.paying_user_email)
    assert world.wallet.asked == []
    assert await world.paying.resolve_pending() == 0, "there is nothing to ask before the money comes"
    assert await world.event_names() == ["order_placed"]


async def test_a_repeat_learns_the_same_checkout_page(world: World) -> None:
    """Given an order through a provider, when its request is repeated, then the same page, and one top-up."""
    request = world.purchase()
    request.payment_method = PROVIDER
    first = await world.place(request)
    assert first.payment.checkout_url == f"https://pay.example/{first.number}"
    assert first.payment.due_at.ToDatetime(tzinfo=NOON.tzinfo) == NOON + timedelta(minutes=60)
    assert await world.place(request) == first
    assert len(world.wallet.top_ups_asked) == 1


async def test_the_money_completes_the_order_from_its_hold(world: World) -> None:
    """Given an order that waits, when its top-up settles, heard twice, then it is captured once and completed."""
    order = await place(world, SANDBOX, "sandbox_ok")
    await world.settle(order)
    assert (await read(world, order)).state == State.STATE_PENDING_PAYMENT, "nothing remote in the inbox's transaction"
    again = TopUpSettled(root_id=str(world.partner.id), top_up=world.wallet.top_ups[order.id])
    await world.hear(WalletEvent(top_up_settled=again))
    assert await world.paying.resolve_pending() == 1
    assert await world.paying.resolve_pending() == 0
    done = await read(world, order)
    assert done.state == State.STATE_COMPLETED
    assert done.transaction_id == world.wallet.posted[order.id].transaction_id
    assert done.payment.received_at.ToDatetime(tzinfo=NOON.tzinfo) == NOON + timedelta(seconds=1)
    assert list(world.wallet.holds.values()) == [holds_pb2.Hold.STATE_CAPTURED]
    assert await world.event_names() == ["order_placed", "order_completed"]


async def test_a_settlement_of_something_else_is_passed_over(world: World) -> None:
    """Given settled top-ups without an order, or for one of another service, when heard, then nothing happens."""
    for order_id in ("", str(uuid4())):
        top_up = wallets_pb2.TopUp(id=str(uuid4()), order_id=order_id)
        await world.hear(WalletEvent(top_up_settled=TopUpSettled(root_id=str(world.partner.id), top_up=top_up)))
    assert await world.event_names() == []


@pytest.mark.parametrize("fault", ["lose", "hang", "error:UNAVAILABLE"])
async def test_a_lost_top_up_is_asked_for_again(world: World, fault: str) -> None:
    """Given a wallet whose answer is lost, when the lease is over, then the job makes the one top-up."""
    world.wallet.script = [fault]
    request = world.purchase()
    request.payment_method = BANK
    problem = await problem_of(world.place(request))
    assert (problem.code, problem.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    await resolve(world)
    order = await world.place(request)
    assert order.payment.top_up_id == world.wallet.top_ups[order.id].id
    assert world.wallet.top_ups_asked[0] == world.wallet.top_ups_asked[1], "the very same top-up is asked for"
    assert len(world.wallet.top_ups) == 1


async def test_money_that_comes_before_the_answer_completes_the_order(world: World) -> None:
    """Given a top-up whose answer is lost, when it settles all the same, then the order is completed."""
    world.wallet.script = ["lose"]
    request = world.purchase()
    request.payment_method = BANK
    problem = await problem_of(world.place(request))
    await world.hear(WalletEvent(top_up_settled=world.wallet.settle(problem.metadata["order_id"], world.partner.id)))
    assert await world.paying.resolve_pending() == 1
    assert (await world.place(request)).state == State.STATE_COMPLETED
    assert len(world.wallet.top_ups_asked) == 1


@pytest.mark.parametrize(
    ("answer", "reason", "words", "why"),
    [
        (
            "refused:PAYMENT_ACCOUNT_UNUSABLE",
            "PAYMENT_ACCOUNT_UNUSABLE",
            "The seller takes no payment through a payment provider",
            Cancellation(cause=Cancellation.CAUSE_PAYMENT_NOT_OFFERED),
        ),
        (
            "fail:as told",
            "PAYMENT_REFUSED",
            "The payment failed: as told",
            Cancellation(cause=Cancellation.CAUSE_PAYMENT_FAILED, payment_failure=CARD_EXPIRED),
        ),
    ],
)
async def test_a_payment_that_is_not_offered_cancels_the_order(
    world: World, answer: str, reason: str, words: str, why: Cancellation
) -> None:
    """Given a seller without that method, or a card refused at once, when ordered, then canceled with the reason."""
    world.wallet.script = [answer]
    request = world.purchase()
    request.payment_method = PROVIDER
    first, second = await problem_of(world.place(request)), await problem_of(world.place(request))
    assert (first.reason, first.message, first.metadata) == (second.reason, second.message, second.metadata)
    assert first.reason == reason
    assert first.message.startswith(words)
    order = await read(world, orders_pb2.Order(id=first.metadata["order_id"]))
    assert (order.state, order.cancel_reason) == (State.STATE_CANCELED, first.message)
    assert order.cancellation == (await world.events())[-1].order_canceled.order.cancellation == why
    assert await world.event_names() == ["order_placed", "order_canceled"]


async def test_a_token_is_for_the_sandbox_alone(world: World) -> None:
    """Given a payment token, when it comes with another method, then it is refused and nothing is written."""
    assert "payment_token" in (await problem_of(place(world, BANK, "sandbox_ok"))).fields
    assert await world.event_names() == []


@pytest.mark.parametrize("request_type", [orders_pb2.PlaceOrderRequest, wallets_pb2.CreateTopUpRequest])
def test_only_tokens_that_the_sandbox_knows_come_in(request_type: type[Message]) -> None:
    """Given payment tokens, when a request brings one, then unknown ones are refused at the door, by their field."""
    validator = protovalidate.Validator()

    def said(token: str) -> list[str]:
        request = request_type()
        setattr(request, "payment_token", token)  # noqa: B010 - of either request
        violations = [violation.proto for violation in validator.collect_violations(request)]
        return [each.message for each in violations if each.field.elements[0].field_name == "payment_token"]

    assert [said(token) for token in ("", "sandbox_ok", "sandbox_declined", "sandbox_late")] == [[]] * 4
    for unknown in ("4111", "SANDBOX_OK", "sandbox_ok ", "x" * 10_000):
        [why] = said(unknown)
        assert "none that the sandbox knows; use sandbox_ok" in why
        assert len(why) < 200


async def test_a_failed_payment_cancels_the_order(world: World) -> None:
    """Given an order that waits, when its top-up fails, heard twice, then it is canceled with the reason, once."""
    order = await place(world, PROVIDER)
    failed = WalletEvent(top_up_failed=world.wallet.fail(order.id, world.partner.id, "card declined"))
    await world.hear(failed)
    await world.hear(failed)
    canceled = await read(world, order)
    assert (canceled.state, canceled.cancel_reason) == (State.STATE_CANCELED, "The payment failed: card declined")
    assert canceled.cancellation == Cancellation(cause=Cancellation.CAUSE_PAYMENT_FAILED, payment_failure=CARD_EXPIRED)
    assert await world.event_names() == ["order_placed", "order_canceled"]


async def test_an_unpaid_order_is_canceled_when_it_is_due(world: World) -> None:
    """Given two orders, when the time of one is over, then that one is canceled, and says by when it was not paid."""
    due, waits = await place(world, PROVIDER), await place(world, BANK)
    world.clock.advance(timedelta(minutes=59))
    assert await world.paying.cancel_overdue() == 0
    world.clock.advance(timedelta(minutes=1))
    assert sum(await asyncio.gather(*(world.paying.cancel_overdue() for _ in range(3)))) == 1
    canceled = await read(world, due)
    assert canceled.state == State.STATE_CANCELED
    assert canceled.cancel_reason == "Not paid by 23 November 2026, 13:00 UTC."
    assert canceled.cancellation == Cancellation(cause=Cancellation.CAUSE_NOT_PAID)
    assert (await read(world, waits)).state == State.STATE_PENDING_PAYMENT
    assert (await world.event_names()).count("order_canceled") == 1


async def test_late_money_stays_on_the_balance_and_both_sides_are_told(world: World) -> None:
    """Given a canceled order, when its money arrives, heard twice, then it is let go of, and that is told once."""
    order = await place(world)
    canceled = await cancel(world, order, world.customer, "bought elsewhere")
    assert canceled.cancel_reason == "Canceled by Boss of Customer: bought elsewhere"
    assert canceled.cancellation == Cancellation(
        cause=Cancellation.CAUSE_PURCHASER, person_name="Boss of Customer", note="bought elsewhere"
    )
    await world.settle(order)
    assert await world.paying.resolve_pending() == 1
    again = TopUpSettled(root_id=str(world.partner.id), top_up=world.wallet.top_ups[order.id])
    await world.hear(WalletEvent(top_up_settled=again))
    assert await world.paying.resolve_pending() == 0
    late = await read(world, order)
    assert late.state == State.STATE_CANCELED
    assert late.payment.HasField("received_at")
    assert world.wallet.asked == []
    assert world.wallet.released == [world.wallet.top_ups[order.id].hold_id]
    told = await kept(world)
    assert (told.top_up_id, told.amount, told.reason) == (order.payment.top_up_id, order.total, canceled.cancel_reason)
    assert [tier.buyer_id for tier in told.order.tiers] == [
        str(each.id) for each in (world.customer, world.reseller, world.partner)
    ]
    assert await world.event_names() == ["order_placed", "order_canceled", "order_payment_kept"]


async def test_a_chain_that_lacks_credit_when_the_money_arrives_keeps_it(world: World) -> None:
    """Given a reseller without credit, when its customer's money arrives, then canceled, kept, and no wallet named."""
    order = await place(world)
    await world.settle(order)
    world.wallet.script = [f"refuse:{world.reseller.id}"]
    assert await world.paying.resolve_pending() == 1
    canceled = await read(world, order)
    assert (canceled.state, canceled.cancel_reason) == (State.STATE_CANCELED, CANNOT_SELL_WHEN_PAID)
    assert "€4.56 needed" in (await read(world, order, world.reseller)).cancel_reason
    told = await kept(world)
    assert told.reason == CANNOT_SELL_WHEN_PAID
    assert told.order.cancellation == Cancellation(cause=Cancellation.CAUSE_SELLER_CANNOT_SELL)
    assert "4.56" not in str(told)
    assert world.wallet.released == [world.wallet.top_ups[order.id].hold_id]
    assert world.wallet.posted == {}
    assert await world.event_names() == ["order_placed", "order_canceled", "order_payment_kept"]


async def test_a_chain_that_changed_when_the_money_arrives_is_told_as_that(world: World) -> None:
    """Given a customer whose chain is another when its money arrives, then code and words say so, for every reader."""
    order = await place(world)
    await world.settle(order)
    world.wallet.script = ["refused:CHAIN_MISMATCH"]
    assert await world.paying.resolve_pending() == 1
    for who in (world.customer, world.reseller, world.partner, world.platform):
        canceled = await read(world, order, who)
        assert canceled.cancellation == Cancellation(cause=Cancellation.CAUSE_CHAIN_CHANGED)
        assert canceled.cancel_reason == CHAIN_CHANGED_WHEN_PAID


async def test_a_lost_release_is_asked_for_again(world: World) -> None:
    """Given late money, when letting go of it is not answered, then it is told only after the next try."""
    order = await place(world)
    await cancel(world, order, world.customer)
    await world.settle(order)
    world.wallet.script = ["error:UNAVAILABLE"]
    assert await world.paying.resolve_pending() == 0
    assert "order_payment_kept" not in await world.event_names()
    await resolve(world)
    assert (await kept(world)).order.id == order.id


async def test_a_lost_capture_is_asked_for_again_and_charged_once(world: World) -> None:
    """Given a capture whose answer is lost, when the job asks again, then it is that one charge."""
    order = await place(world)
    await world.settle(order)
    world.wallet.script = ["lose"]
    assert await world.paying.resolve_pending() == 0
    await resolve(world)
    assert (await read(world, order)).state == State.STATE_COMPLETED
    assert (world.wallet.captures, len(world.wallet.posted)) == (2, 1)
    assert await world.event_names() == ["order_placed", "order_completed"]


async def test_a_hold_that_ended_meanwhile_is_charged_from_the_balance(world: World) -> None:
    """Given money whose hold has expired, when the order is completed, then by a charge with the same request id."""
    order = await place(world)
    await world.settle(order)
    world.wallet.holds[world.wallet.top_ups[order.id].hold_id] = holds_pb2.Hold.STATE_EXPIRED
    await world.paying.resolve_pending()
    assert (await read(world, order)).state == State.STATE_COMPLETED
    assert [charge.request_id for charge in world.wallet.asked] == [order.id, order.id]


@pytest.mark.parametrize("who", ["reseller", "platform", "service"])
async def test_sellers_may_cancel_and_are_not_named(world: World, who: str) -> None:
    """Given an order that waits, when one above cancels it, then its purchaser learns no name of another's people."""
    order = await place(world)
    await cancel(world, order, None if who == "service" else getattr(world, who), "out of stock")
    by = "automatically" if who == "service" else "by the seller"
    cause = Cancellation.CAUSE_SERVICE if who == "service" else Cancellation.CAUSE_SELLER
    canceled = await read(world, order)
    assert canceled.cancel_reason == f"Canceled {by}: out of stock"
    assert canceled.cancellation == Cancellation(cause=cause, note="out of stock")


async def test_nobody_else_cancels(world: World) -> None:
    """Given an order, when strangers or siblings would cancel it, then it does not exist for them."""
    order = await place(world)
    for who in (world.stranger, world.sibling):
        assert (await problem_of(cancel(world, order, who))).reason == "NOT_FOUND"
    assert await world.event_names() == ["order_placed"]


async def test_only_what_waits_for_outside_money_is_canceled(world: World) -> None:
    """Given orders that are completed, canceled, being charged, or paid, when canceled, then ORDER_STATE says why."""
    completed = await world.place(world.purchase())
    canceled = await place(world)
    await cancel(world, canceled, world.customer)
    arrived = await place(world)
    await world.settle(arrived)
    world.wallet.script = ["hang"]
    charging = await problem_of(world.place(world.purchase()))
    being_charged = await read(world, orders_pb2.Order(id=charging.metadata["order_id"]))
    for order, words in (
        (completed, "is paid"),
        (canceled, "is canceled already"),
        (arrived, "has arrived"),
        (being_charged, "is being paid from the balance"),
    ):
        problem = await problem_of(cancel(world, order, world.customer))
        assert problem.reason == "ORDER_STATE"
        assert words in problem.message


async def test_a_repeated_cancel_is_one_cancel(world: World) -> None:
    """Given a cancel, when its request is repeated, then the same answer, one event, one line of the audit trail."""
    order = await place(world)
    request = orders_pb2.CancelOrderRequest(request_id="once", id=order.id, reason="no")
    first = await world.call(world.customer, "CancelOrder", request)
    assert await world.call(world.customer, "CancelOrder", request) == first
    assert (await world.event_names()).count("order_canceled") == 1
    query = text("SELECT action, actor_name, before, after, request_id FROM audit_events WHERE target_id = :id")
    async with world.database.transaction(EVERYTHING) as connection:
        rows = (await connection.execute(query, {"id": order.id})).all()
    before, after = {"state": "PENDING_PAYMENT"}, {"state": "CANCELED", "reason": "no"}
    assert [tuple(row) for row in rows] == [("ORDER_CANCELED", "Boss of Customer", before, after, "once")]


async def test_a_cancel_that_races_the_money_has_one_winner(world: World) -> None:
    """Given orders whose money arrives as they are canceled or due, then each is completed, or canceled and kept."""
    placed = [await place(world, PROVIDER) for _ in range(6)]
    world.clock.advance(timedelta(minutes=60))

    async def race(number: int, order: orders_pb2.Order) -> None:
        tries = [world.settle(order), cancel(world, order, world.customer)]
        results = await asyncio.gather(*(tries if number % 2 else reversed(tries)), return_exceptions=True)
        assert all(not isinstance(each, Exception) or isinstance(each, Problem) for each in results)

    await asyncio.gather(*(race(number, order) for number, order in enumerate(placed)), world.paying.cancel_overdue())
    for _ in range(3):
        await resolve(world)
    names = await world.event_names()
    states = [(await read(world, order)).state for order in placed]
    assert names.count("order_completed") == states.count(State.STATE_COMPLETED) == len(world.wallet.posted)
    assert names.count("order_canceled") == names.count("order_payment_kept") == states.count(State.STATE_CANCELED)
    assert len(world.wallet.released) + len(world.wallet.posted) == len(placed)


async def test_jobs_of_many_replicas_complete_each_order_once(world: World) -> None:
    """Given orders whose money is here, when four replicas work at once, then each is charged and completed once."""
    placed = [await place(world) for _ in range(4)]
    for order in placed:
        await world.settle(order)
    while (await world.event_names()).count("order_completed") < len(placed):
        await asyncio.gather(*(world.paying.resolve_pending() for _ in range(4)))
    assert sorted(world.wallet.posted) == sorted(order.id for order in placed)
    await resolve(world)
    assert (await world.event_names()).count("order_completed") == len(placed)
