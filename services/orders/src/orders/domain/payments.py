"""An order that is paid from outside: what is to be asked of wallet next, and what the money's arrival changes."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orders.domain.orders import Cancellation, Order, OrderState, OrderStateError


class Step(StrEnum):
    """What wallet is asked for an order."""

    CHARGE = "CHARGE"
    """Take the price from the balance."""
    START = "START"
    """Make the top-up that the order is paid by."""
    CAPTURE = "CAPTURE"
    """Take the price from what has arrived."""
    KEEP = "KEEP"
    """Let go of what has arrived: the order is canceled."""
    END = "END"
    """End the top-up: the order is called off, and nobody is to pay it any more."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A settled top-up that was earmarked for an order; `hold_id` sets its amount aside in wallet."""

    top_up_id: UUID
    hold_id: UUID | None
    micros: int
    at: datetime


def next_step(order: Order) -> Step | None:
    """What has to be asked of wallet now; None where there is nothing to ask, or the buyer has to pay first."""
    payment = order.payment
    if order.state is OrderState.PENDING_PAYMENT:
        if payment is None:
            return Step.CHARGE
        if payment.received_at is not None:
            return Step.CAPTURE
        return Step.START if payment.top_up_id is None else None
    if order.state is OrderState.CANCELED and payment is not None:
        if payment.received_at is not None:
            return Step.KEEP if payment.kept_at is None else None
        # What wallet refused, or told to have failed, has ended there.
        return Step.END if order.refusal is None and payment.top_up_ended_at is None else None
    return None


def receive(order: Order, arrival: Arrival) -> Order:
    """The order with its money here, whatever became of it meanwhile. The first arrival counts."""
    if order.payment is None:
        raise OrderStateError(f"order {order.number} is paid from the balance, not by the top-up {arrival.top_up_id}")
    if order.payment.received_at is not None:
        return order
    payment = replace(
        order.payment,
        top_up_id=arrival.top_up_id,
        hold_id=arrival.hold_id,
        received_micros=arrival.micros,
        received_at=arrival.at,
    )
    return replace(order, payment=payment)


def may_be_called_off(order: Order) -> bool:
    """True while it waits for money from outside that has not arrived."""
    return order.state is OrderState.PENDING_PAYMENT and order.payment is not None and order.payment.received_at is None


def call_off(order: Order, cancellation: Cancellation, at: datetime) -> Order:
    """The order, not to be paid any more. OrderStateError unless it may be called off."""
    if not may_be_called_off(order):
        raise OrderStateError(why_not_called_off(order))
    return replace(order, state=OrderState.CANCELED, cancellation=cancellation, canceled_at=at)


def why_not_called_off(order: Order) -> str:
    """For people: why the order cannot be canceled."""
    if order.state is OrderState.CANCELED:
        return f"Order {order.number} is canceled already."
    if order.state is OrderState.PENDING_PAYMENT and order.payment is None:
        return f"Order {order.number} is being paid from the balance right now; look at it again in a moment."
    if order.state is OrderState.PENDING_PAYMENT:
        return f"The payment of order {order.number} has arrived, and the order is being completed."
    if order.state is OrderState.RUNNING:
        return f"Order {order.number} is a cloud phone that is on; power it down to end the order."
    return f"Order {order.number} is paid; its seller can refund it."
