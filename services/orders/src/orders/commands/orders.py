"""The life of an order: placed, paid or called off, whatever dies on the way.

The order is written first, waiting for its payment; then wallet is asked (`commands.paying`).
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import grpc
from farthing.orders.v1 import orders_pb2 as pb
from servicekit import audit, outbox
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.faults import fault_point
from servicekit.ids import parse_id
from servicekit.problems import Problem, denied, invalid, not_found, precondition
from servicekit.requests import once
from sqlalchemy.ext.asyncio import AsyncConnection

from orders import events
from orders.clients import WalletUnansweredError
from orders.commands.paying import Paying, cancellation, count_finished
from orders.commands.placing import check_size, draft_order, find_chain
from orders.convert.orders import payment_method_from_number
from orders.domain.cancellations import cancel_reason, cancel_text
from orders.domain.numbers import RANDOM_BITS, order_number, parse_order_number
from orders.domain.orders import (
    CancelCause,
    Cancellation,
    Order,
    OrderStateError,
    Payer,
    Payment,
    PaymentMethod,
    Refusal,
    as_seen_by_purchaser,
)
from orders.domain.payments import Step, call_off, next_step
from orders.store import orders as store
from orders.store.orders import OrderKey

# A day's numbers have 40 random bits: even the second draw is all but never needed.
NUMBER_DRAWS = 8
POLL_S = 0.1
POLLS = 20
# What an answer needs after wallet's, within the caller's deadline.
ANSWER_S = 0.25


def _no_deadline() -> float | None:
    return None


def _draw_bits() -> int:
    return secrets.randbits(RANDOM_BITS)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an order waits for its payment from outside."""

    payment: timedelta = timedelta(minutes=60)
    bank_transfer: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Orders:
    """What placing orders and calling them off needs."""

    database: Database
    clock: Clock
    paying: Paying
    timeouts: Timeouts = Timeouts()
    draw_bits: Callable[[], int] = field(default=_draw_bits)

    async def place(
        self, request: pb.PlaceOrderRequest, time_left_s: Callable[[], float | None] = _no_deadline
    ) -> Order:
        """Buys for the caller's organization; returns the order as its purchaser may see it: completed, or waiting for
        its payment from outside.

        `time_left_s` tells for how long the caller still waits. Raises Problem: for what cannot be ordered nothing
        is written; a refused order stands canceled, and its repeat is refused in the same words; an order whose
        payment is unknown stays pending, and its repeat or the job resolves it.
        """
        call = current_call()
        root_id, organization_id = call.scope.root_id, call.principal.organization_id
        if root_id is None or organization_id is None:
            raise denied("The platform has no seller to buy from; orders are placed by the organizations below it.")
        payer = Payer(call.principal.subject, call.principal.name, call.principal.email)
        method = payment_method_from_number(request.payment_method) or PaymentMethod.BALANCE
        if request.payment_token and method is not PaymentMethod.SANDBOX:
            text = "is for payments in the sandbox alone"
            raise invalid(f"payment_token {text}", fields={"payment_token": text})
        placed: list[Order] = []

        async def change(connection: AsyncConnection) -> pb.Order:
            chain = await find_chain(connection, organization_id)
            if chain is None:
                raise LookupError(f"organization {organization_id} has a root, but no seller")
            draft = await draft_order(connection, chain, request, payer, self.clock.now())
            placed.append(await self._add(connection, self._paid_by(draft, method, request.payment_token)))
            return pb.Order(id=str(placed[0].id))

        reply = await once(self.database, root_id, request, pb.Order, change)
        await fault_point("orders.after_place_commit")
        if placed:
            order = await self._pay(placed[0], time_left_s())
        else:
            order = await self._pay_again(OrderKey(root_id, UUID(reply.id)), time_left_s)
        order = as_seen_by_purchaser(order)
        if order.refusal is not None:
            raise refused(order, order.refusal)
        return order

    async def cancel(self, request: pb.CancelOrderRequest) -> OrderKey:
        """Calls off an order that the caller may see and that waits for its payment from outside."""
        key = await find_key(self.database, request.id)
        canceled: list[Order] = []

        async def change(connection: AsyncConnection) -> pb.Order:
            order = await store.lock_order(connection, key)
            try:
                after = call_off(order, _called_off(order, request.reason.strip()), self.clock.now())
            except OrderStateError as error:
                raise precondition("ORDER_STATE", str(error), **named(order)) from None
            await store.finish_order(connection, after)
            await outbox.add(connection, [events.order_canceled(after)])
            await audit.record(connection, cancellation(order, request.reason.strip(), request.request_id))
            canceled.append(after)
            return pb.Order(id=str(order.id))

        await once(self.database, key.root_id, request, pb.Order, change)
        for order in canceled:
            count_finished(order)
        return key

    def _paid_by(self, draft: Order, method: PaymentMethod, token: str) -> Order:
        if method is PaymentMethod.BALANCE:
            return draft
        wait = self.timeouts.bank_transfer if method is PaymentMethod.BANK_TRANSFER else self.timeouts.payment
        return replace(draft, payment_method=method, payment=Payment(draft.created_at + wait, token))

    async def _add(self, connection: AsyncConnection, draft: Order) -> Order:
        for _ in range(NUMBER_DRAWS):
            order = replace(draft, number=order_number(draft.created_at, self.draw_bits()))
            event = events.order_placed(order)
            check_size(event.message.ByteSize())
            if await store.add_order(connection, order, self.paying.lease):
                await outbox.add(connection, [event])
                return order
        raise RuntimeError(f"{NUMBER_DRAWS} order numbers in a row were taken; the source of randomness is broken")

    async def _pay(self, order: Order, time_left_s: float | None) -> Order:
        """Asks wallet and writes its answer. The caller holds the lease. Problem where no answer comes."""
        try:
            return await self.paying.ask(order, None if time_left_s is None else max(time_left_s - ANSWER_S, 0.0))
        except WalletUnansweredError as error:
            raise unpaid_yet(order) from error

    async def _pay_again(self, key: OrderKey, time_left_s: Callable[[], float | None]) -> Order:
        """The answer to a repeated request; waits a moment for whoever is asking wallet just now."""
        for _ in range(POLLS):
            order, leased = await self.paying.take(key)
            if next_step(order) not in (Step.CHARGE, Step.START):
                # Where its money has arrived, the job does the rest.
                return order
            if leased:
                return await self._pay(order, time_left_s())
            await asyncio.sleep(POLL_S)
        raise Problem(
            grpc.StatusCode.ABORTED,
            "REQUEST_IN_PROGRESS",
            f"Order {order.number} is being paid right now; repeat in a moment with the same request id.",
            named(order),
        )


async def find_key(database: Database, written: str) -> OrderKey:
    """Where the order of that id or number is; Problem where there is none in the caller's scope."""
    scope = current_call().scope
    order_id, number = parse_id(written.strip()), parse_order_number(written)
    order = None
    if order_id is not None or number is not None:
        async with database.transaction(scope) as connection:
            order = await store.find_order(connection, scope, order_id=order_id, number=number)
    if order is None:
        raise not_found(f"order '{written}'")
    return OrderKey(order.root_id, order.id)


def _called_off(order: Order, note: str) -> Cancellation:
    principal = current_call().principal
    if principal.kind == "service":
        cause = CancelCause.SERVICE
    elif principal.organization_id == order.organization_id:
        cause = CancelCause.PURCHASER
    else:
        cause = CancelCause.SELLER
    return Cancellation(cause, principal.name, note)


def refused(order: Order, refusal: Refusal) -> Problem:
    """What the purchaser is told; `order` is as the purchaser may see it."""
    reason = cancel_reason(order)
    metadata = named(order)
    if reason == "INSUFFICIENT_CREDIT":
        metadata |= {
            "wallet_id": str(refusal.wallet_id or ""),
            "available_micros": str(refusal.available_micros),
            "needed_micros": str(refusal.needed_micros),
        }
    return precondition(reason, cancel_text(order, order.organization_id), **metadata)


def unpaid_yet(order: Order) -> Problem:
    """What the purchaser is told where wallet gave no answer."""
    if order.payment is None:
        text = (
            f"Whether order {order.number} could be paid is not known yet. It will be completed or canceled by itself, "
            "and charged once at most; repeat in a moment with the same request id to learn which."
        )
    else:
        text = (
            f"Order {order.number} waits for its payment, but how to pay it is not known yet; "
            "repeat in a moment with the same request id to learn it."
        )
    return Problem(grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", text, named(order))


def named(order: Order) -> dict[str, str]:
    """The order, for programs."""
    return {"order_id": str(order.id), "order_number": order.number}
