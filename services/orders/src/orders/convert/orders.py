"""Orders, as their readers see them."""

from collections.abc import Iterable
from uuid import UUID

from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import wallets_pb2
from money.messages import money_to_message

from orders.convert.catalogue import PRODUCT_TYPES
from orders.convert.values import instant_from_message, instant_to_message
from orders.domain.cancellations import cancel_text, told_reason
from orders.domain.orders import (
    CancelCause,
    CloudPhone,
    Margin,
    Order,
    OrderItem,
    OrderState,
    Payment,
    PaymentMethod,
    Proxy,
    margin_of,
)
from orders.domain.pricing import Tier, TierLine

_STATES = {
    OrderState.PENDING_PAYMENT: orders_pb2.Order.STATE_PENDING_PAYMENT,
    OrderState.COMPLETED: orders_pb2.Order.STATE_COMPLETED,
    OrderState.CANCELED: orders_pb2.Order.STATE_CANCELED,
    OrderState.PARTLY_REFUNDED: orders_pb2.Order.STATE_PARTLY_REFUNDED,
    OrderState.REFUNDED: orders_pb2.Order.STATE_REFUNDED,
    OrderState.RUNNING: orders_pb2.Order.STATE_RUNNING,
}
_STATE_OF = {number: state for state, number in _STATES.items()}
_METHODS = {
    PaymentMethod.BALANCE: orders_pb2.PAYMENT_METHOD_BALANCE,
    PaymentMethod.BANK_TRANSFER: orders_pb2.PAYMENT_METHOD_BANK_TRANSFER,
    PaymentMethod.PROVIDER: orders_pb2.PAYMENT_METHOD_PROVIDER,
    PaymentMethod.SANDBOX: orders_pb2.PAYMENT_METHOD_SANDBOX,
}
_CAUSES = {
    CancelCause.PURCHASER: orders_pb2.OrderCancellation.CAUSE_PURCHASER,
    CancelCause.SELLER: orders_pb2.OrderCancellation.CAUSE_SELLER,
    CancelCause.SERVICE: orders_pb2.OrderCancellation.CAUSE_SERVICE,
    CancelCause.NOT_PAID: orders_pb2.OrderCancellation.CAUSE_NOT_PAID,
    CancelCause.PAYMENT_FAILED: orders_pb2.OrderCancellation.CAUSE_PAYMENT_FAILED,
    CancelCause.PAYMENT_NOT_OFFERED: orders_pb2.OrderCancellation.CAUSE_PAYMENT_NOT_OFFERED,
}
_REFUSED = {
    "INSUFFICIENT_CREDIT": orders_pb2.OrderCancellation.CAUSE_INSUFFICIENT_CREDIT,
    "CHAIN_MISMATCH": orders_pb2.OrderCancellation.CAUSE_CHAIN_CHANGED,
    "SELLER_CANNOT_SELL": orders_pb2.OrderCancellation.CAUSE_SELLER_CANNOT_SELL,
}
_METHOD_OF = {number: method for method, number in _METHODS.items()}


def order_state_from_number(number: int) -> OrderState | None:
    """None for UNSPECIFIED."""
    return _STATE_OF.get(orders_pb2.Order.State.ValueType(number))


def payment_method_from_number(number: int) -> PaymentMethod | None:
    """None for UNSPECIFIED."""
    return _METHOD_OF.get(orders_pb2.PaymentMethod.ValueType(number))


def order_to_message(order: Order, viewer_id: UUID | None) -> orders_pb2.Order:
    """The order as a member of `viewer_id` reads it (None: a service): its own tier as buyer first.

    `order` holds the tiers and the refusal that the viewer may see.
    """
    own = order.own_tier
    tiers = sorted(order.tiers, key=lambda tier: (tier.buyer_id != viewer_id, tier.number))
    return orders_pb2.Order(
        id=str(order.id),
        number=order.number,
        state=_STATES[order.state],
        type=PRODUCT_TYPES[order.type],
        organization_id=str(order.organization_id),
        seller_id=str(order.seller_id),
        paying_user_name=order.payer.name,
        paying_user_email=order.payer.email,
        payment_method=_METHODS[order.payment_method],
        items=[
            _item_to_message(position, item, line, order.currency)
            for position, (item, line) in enumerate(zip(order.items, own.lines, strict=True), start=1)
        ],
        net=money_to_message(order.currency, own.net_micros),
        tax=money_to_message(order.currency, own.tax_micros),
        total=money_to_message(order.currency, own.gross_micros),
        tiers=[tier_to_message(tier, order.currency) for tier in tiers],
        transaction_id=str(order.transaction_id) if order.transaction_id else "",
        cancel_reason=cancel_text(order, viewer_id),
        created_at=instant_to_message(order.created_at),
        paid_at=instant_to_message(order.paid_at),
        canceled_at=instant_to_message(order.canceled_at),
        refunded=money_to_message(order.currency, own.refunded_micros),
        payment=_payment_to_message(order.payment),
        cloud_phone=_phone_to_message(order.phone),
        margin=_margin_to_message(margin_of(order, viewer_id), order.currency),
        cancellation=_cancellation_to_message(order),
    )


def _payment_to_message(payment: Payment | None) -> orders_pb2.OrderPayment | None:
    if payment is None:
        return None
    return orders_pb2.OrderPayment(
        top_up_id=str(payment.top_up_id or ""),
        checkout_url=payment.checkout_url,
        due_at=instant_to_message(payment.due_at),
        received_at=instant_to_message(payment.received_at),
    )


def _cancellation_to_message(order: Order) -> orders_pb2.OrderCancellation | None:
    ended, refusal = order.cancellation, order.refusal
    if ended is not None:
        called_off = ended.cause in (CancelCause.PURCHASER, CancelCause.SELLER, CancelCause.SERVICE)
        return orders_pb2.OrderCancellation(
            cause=_CAUSES[ended.cause],
            # Of others' people no name.
            person_name=ended.person_name if ended.cause is CancelCause.PURCHASER else "",
            note=ended.note if called_off else "",
            payment_failure=wallets_pb2.TopUpFailure.ValueType(ended.payment_failure),
        )
    if refusal is None:
        return None
    cause = _REFUSED[told_reason(refusal)]
    if cause != orders_pb2.OrderCancellation.CAUSE_INSUFFICIENT_CREDIT:
        return orders_pb2.OrderCancellation(cause=cause)
    return orders_pb2.OrderCancellation(
        cause=cause,
        organization_id=str(refusal.organization_id),
        needed=money_to_message(order.currency, refusal.needed_micros),
        available=money_to_message(order.currency, refusal.available_micros),
    )


def _phone_to_message(phone: CloudPhone | None) -> orders_pb2.CloudPhone | None:
    if phone is None:
        return None
    return orders_pb2.CloudPhone(
        cloud_phone_id=phone.id,
        name=phone.name,
        powered_up_at=instant_to_message(phone.powered_up_at),
        powered_down_at=instant_to_message(phone.powered_down_at),
        fee_count=phone.fee_count,
    )


def _margin_to_message(margin: Margin | None, currency: str) -> orders_pb2.OrderMargin | None:
    if margin is None:
        return None
    return orders_pb2.OrderMargin(
        revenue=money_to_message(currency, margin.revenue_micros),
        cost=money_to_message(currency, margin.cost_micros),
        margin=money_to_message(currency, margin.revenue_micros - margin.cost_micros),
    )


def _item_to_message(position: int, item: OrderItem, line: TierLine, currency: str) -> orders_pb2.OrderItem:
    return orders_pb2.OrderItem(
        sku_id=str(item.sku.id),
        sku_code=item.sku.code,
        product_name=item.product_name,
        sku_name=item.sku.name,
        unit=item.sku.unit,
        quantity=item.quantity,
        unit_price=money_to_message(currency, line.unit_price_micros),
        net=money_to_message(currency, line.net_micros),
        tax_name=line.tax.name,
        tax_rate_ppm=line.tax.rate_ppm,
        tax=money_to_message(currency, line.tax_micros),
        contents=item.sku.contents,
        proxies=[
            orders_pb2.Proxy(
                address=proxy.address,
                port=proxy.port,
                location=proxy.location,
                expires_at=instant_to_message(proxy.expires_at),
            )
            for proxy in item.proxies
        ],
        refunded=money_to_message(currency, line.refunded_micros),
        position=position,
    )


def tier_to_message(tier: Tier, currency: str) -> orders_pb2.OrderTier:
    return orders_pb2.OrderTier(
        buyer_id=str(tier.buyer_id),
        seller_id=str(tier.seller_id),
        net=money_to_message(currency, tier.net_micros),
        tax=money_to_message(currency, tier.tax_micros),
        refunded_net=money_to_message(currency, tier.refunded_net_micros),
        refunded_tax=money_to_message(currency, tier.refunded_tax_micros),
    )


def proxies_from_messages(messages: Iterable[orders_pb2.Proxy]) -> tuple[Proxy, ...]:
    """ValueError for an expiry outside of the years 1 to 9999."""
    return tuple(
        Proxy(
            message.address,
            message.port,
            message.location,
            instant_from_message(message.expires_at) if message.HasField("expires_at") else None,
        )
        for message in messages
    )
