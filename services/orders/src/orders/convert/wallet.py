"""What wallet is asked, and what it answers."""

from uuid import UUID

from farthing.wallet.events.v1.events_pb2 import TopUpSettled
from farthing.wallet.v1 import holds_pb2, wallets_pb2
from money.messages import money_from_message, money_to_message
from servicekit.ids import id_in

from orders.convert.values import instant_from_message
from orders.domain.orders import CancelCause, Cancellation, Order, PaymentMethod, Refusal, charge_item
from orders.domain.payments import Arrival

_TOP_UP_METHODS = {
    PaymentMethod.BANK_TRANSFER: wallets_pb2.TOP_UP_METHOD_MANUAL,
    PaymentMethod.PROVIDER: wallets_pb2.TOP_UP_METHOD_PROVIDER,
    PaymentMethod.SANDBOX: wallets_pb2.TOP_UP_METHOD_SANDBOX,
}


def charge_of(order: Order) -> wallets_pb2.Charge:
    """What wallet is asked to post; the same for the same order, however often it is asked. Needs all tiers."""
    return wallets_pb2.Charge(
        request_id=str(order.id),
        currency=order.currency,
        tiers=[
            wallets_pb2.ChargeTier(
                buyer_id=str(tier.buyer_id),
                seller_id=str(tier.seller_id),
                net_micros=tier.net_micros,
                tax_micros=tier.tax_micros,
            )
            for tier in order.tiers
        ],
        order_id=str(order.id),
        order_number=order.number,
        item=charge_item(order.items),
    )


def refusal_from_message(message: wallets_pb2.ChargeRefusal) -> Refusal:
    return Refusal(
        reason=message.reason,
        message=message.message,
        organization_id=UUID(message.organization_id) if message.organization_id else None,
        wallet_id=UUID(message.wallet_id) if message.wallet_id else None,
        available_micros=message.available_micros,
        needed_micros=message.needed_micros,
    )


def payment_failure(top_up: wallets_pb2.TopUp) -> Cancellation:
    """Why the order of a failed top-up is canceled."""
    return Cancellation(CancelCause.PAYMENT_FAILED, note=top_up.failure_reason, payment_failure=top_up.failure)


def top_up_of(order: Order, wallet_id: str) -> wallets_pb2.CreateTopUpRequest:
    """The top-up that pays the order; the same for the same order, however often it is asked for."""
    return wallets_pb2.CreateTopUpRequest(
        request_id=str(order.id),
        wallet_id=wallet_id,
        amount=money_to_message(order.currency, order.own_tier.gross_micros),
        method=_TOP_UP_METHODS[order.payment_method],
        payment_token=order.payment.token if order.payment else "",
        order_id=str(order.id),
        order_number=order.number,
        created_by_name=order.payer.name,
        created_by_email=order.payer.email,
    )


def cancel_of(order: Order, top_up_id: UUID) -> wallets_pb2.CancelTopUpRequest:
    """That nobody is to pay the order any more."""
    reason = f"Order {order.number} is canceled."
    return wallets_pb2.CancelTopUpRequest(request_id=str(order.id), id=str(top_up_id), reason=reason)


def capture_of(order: Order, hold_id: UUID) -> holds_pb2.CaptureHoldRequest:
    """The order's charge, from what arrived for it. Needs all tiers."""
    return holds_pb2.CaptureHoldRequest(hold_id=str(hold_id), charge=charge_of(order), final=True)


def release_of(order: Order, hold_id: UUID) -> holds_pb2.ReleaseHoldRequest:
    """What arrived for the order, back to the balance."""
    return holds_pb2.ReleaseHoldRequest(request_id=str(order.id), id=str(hold_id))


def arrival_from_message(message: TopUpSettled) -> Arrival:
    """ValueError for an event that can never be read."""
    top_up = message.top_up
    return Arrival(
        top_up_id=id_in(top_up, "id"),
        hold_id=id_in(top_up, "hold_id") if top_up.hold_id else None,
        micros=money_from_message(top_up.amount).micros,
        at=instant_from_message(message.posted_at),
    )
