"""Cloud phones: an order that collects fees while it runs."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from orders.domain.numbers import day_of_number
from orders.domain.orders import Order, OrderState
from orders.domain.pricing import Tier


@dataclass(frozen=True, slots=True)
class RunningFee:
    """What a phone cost over [period_from, period_to), charged already.

    `tiers` run from the purchaser up, one line each; a reader may hold fewer than there are.
    """

    id: UUID
    period_from: datetime
    period_to: datetime
    tiers: tuple[Tier, ...]
    transaction_id: UUID
    charged_at: datetime


class PhoneMismatchError(ValueError):
    """An event that does not belong to the order it names."""


def check_session(order: Order, session: Order) -> None:
    """PhoneMismatchError unless the order here is the one that an event's session opens, with a number of its day."""
    same = (
        order.phone is not None
        and session.phone is not None
        and order.phone.id == session.phone.id
        and (order.organization_id, order.seller_id) == (session.organization_id, session.seller_id)
        and (order.number, order.currency) == (session.number, session.currency)
    )
    if not same:
        raise PhoneMismatchError(f"order {order.number} is not the session of cloud phone that the event tells of")
    if not session.number.startswith(day_of_number(session.created_at)):
        raise PhoneMismatchError(f"the number {session.number} is not of the day the phone was powered up")


def check_fee(order: Order, fee: RunningFee) -> None:
    """PhoneMismatchError unless the fee begins with the order's purchaser and its seller."""
    first = fee.tiers[0] if fee.tiers else None
    if first is None or (first.buyer_id, first.seller_id) != (order.organization_id, order.seller_id):
        raise PhoneMismatchError(f"fee {fee.id} is not paid by the purchaser of order {order.number} to its seller")


def power_down(order: Order, at: datetime) -> Order:
    """The order, completed; as it is where it was already."""
    if order.phone is None or order.state is not OrderState.RUNNING:
        return order
    return replace(order, state=OrderState.COMPLETED, paid_at=at, phone=replace(order.phone, powered_down_at=at))
