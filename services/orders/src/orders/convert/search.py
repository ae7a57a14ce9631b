"""Filters and totals of lists."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from farthing.orders.v1 import orders_pb2
from servicekit.problems import invalid

from orders.convert.catalogue import product_type_from_number
from orders.convert.orders import order_state_from_number, payment_method_from_number
from orders.domain.numbers import compact_number
from orders.domain.search import OrderFilter, OrderOrder

_ORDERS = {
    orders_pb2.ORDER_ORDER_UNSPECIFIED: OrderOrder.NEWEST,
    orders_pb2.ORDER_ORDER_NEWEST: OrderOrder.NEWEST,
    orders_pb2.ORDER_ORDER_OLDEST: OrderOrder.OLDEST,
    orders_pb2.ORDER_ORDER_AMOUNT_DESCENDING: OrderOrder.LARGEST,
    orders_pb2.ORDER_ORDER_AMOUNT_ASCENDING: OrderOrder.SMALLEST,
}
T = TypeVar("T")


def order_order_from_number(number: int) -> OrderOrder:
    """NEWEST for UNSPECIFIED."""
    return _ORDERS[orders_pb2.OrderOrder.ValueType(number)]


def filter_from_message(
    message: orders_pb2.OrderFilter, created_from: datetime | None, created_to: datetime | None
) -> OrderFilter:
    """The filter, with the instants of `message` as they were read.

    Problem INVALID_ARGUMENT where the order number has nothing but dashes and spaces: every number would begin so.
    """
    if message.order_number and not compact_number(message.order_number):
        said = "has nothing but dashes and spaces; write a number, or its beginning: FA-261123-7K3M9Q2X, FA-2611"
        raise invalid(f"filter.order_number '{message.order_number}' {said}", fields={"filter.order_number": said})
    return OrderFilter(
        organization_id=UUID(message.organization_id) if message.organization_id else None,
        seller_id=UUID(message.seller_id) if message.seller_id else None,
        types=_all_of(product_type_from_number(message.type), map(product_type_from_number, message.types)),
        states=_all_of(order_state_from_number(message.state), map(order_state_from_number, message.states)),
        payment_methods=_all_of(None, map(payment_method_from_number, message.payment_methods)),
        created_from=created_from,
        created_to=created_to,
        product_names=tuple(message.product_names),
        order_number=message.order_number,
        cloud_phone_id=message.cloud_phone_id,
        search=message.search,
    )


def _all_of(one: T | None, several: Iterable[T | None]) -> frozenset[T] | None:
    """What both leave, the field of one value and the field of several; None where neither says anything."""
    found = frozenset(each for each in several if each is not None) or None
    if one is None:
        return found
    return frozenset({one}) if found is None else found & {one}
