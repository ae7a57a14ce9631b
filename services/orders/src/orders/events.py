"""What orders publishes on `farthing.orders.v1`. The key is the purchaser's organization."""

from farthing.orders.events.v1.events_pb2 import (
    OrderCanceled,
    OrderCompleted,
    OrderPaymentKept,
    OrderPlaced,
    OrderRefunded,
    OrdersEvent,
)
from farthing.orders.v1 import orders_pb2
from money.messages import money_to_message
from servicekit.outbox import OutboxEvent

from orders.convert.orders import order_to_message
from orders.convert.refunds import refund_to_message
from orders.convert.values import instant_to_message
from orders.domain.cancellations import cancel_text
from orders.domain.orders import Order, Payment, with_refusal_for_purchaser
from orders.domain.refunds import Refund

TOPIC = "farthing.orders.v1"


def order_placed(order: Order) -> OutboxEvent:
    """The order waits for its payment. Needs all tiers."""
    event = OrderPlaced(root_id=str(order.root_id), order=_published(order))
    return _event(order, OrdersEvent(order_placed=event))


def order_completed(order: Order) -> OutboxEvent:
    """The order is paid. Needs all tiers."""
    event = OrderCompleted(root_id=str(order.root_id), order=_published(order))
    return _event(order, OrdersEvent(order_completed=event))


def order_canceled(order: Order) -> OutboxEvent:
    """The order will not be paid; the reason is the one its purchaser reads. Needs all tiers."""
    event = OrderCanceled(root_id=str(order.root_id), order=_published(order))
    return _event(order, OrdersEvent(order_canceled=event))


def order_payment_kept(order: Order, payment: Payment) -> OutboxEvent:
    """Money arrived for a canceled order, and stays on the purchaser's balance. Needs all tiers."""
    told = with_refusal_for_purchaser(order)
    event = OrderPaymentKept(
        root_id=str(order.root_id),
        order=_published(order),
        top_up_id=str(payment.top_up_id or ""),
        amount=money_to_message(order.currency, payment.received_micros),
        reason=cancel_text(told, order.organization_id),
        received_at=instant_to_message(payment.received_at),
    )
    return _event(order, OrdersEvent(order_payment_kept=event))


def order_refunded(order: Order, refund: Refund) -> OutboxEvent:
    """Lines of the order are given back; `order` is as it is after that. Needs all tiers of both."""
    told = refund_to_message(refund, order, order.organization_id)
    event = OrderRefunded(root_id=str(order.root_id), order=_published(order), refund=told)
    return _event(order, OrdersEvent(order_refunded=event))


def _published(order: Order) -> orders_pb2.Order:
    return order_to_message(with_refusal_for_purchaser(order), order.organization_id)


def _event(order: Order, message: OrdersEvent) -> OutboxEvent:
    return OutboxEvent(root_id=order.root_id, topic=TOPIC, key=order.organization_id, message=message)
