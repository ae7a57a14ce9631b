"""Refunds, as their readers see them, and as wallet is asked for them."""

from collections.abc import Sequence
from uuid import UUID

from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import wallets_pb2
from money.messages import money_to_message

from orders.convert.values import instant_to_message
from orders.domain.orders import Order
from orders.domain.refunds import Refund, RefundedLine, RefundState, refusal_text

_STATES = {
    RefundState.PENDING: orders_pb2.Refund.STATE_PENDING,
    RefundState.POSTED: orders_pb2.Refund.STATE_POSTED,
    RefundState.REFUSED: orders_pb2.Refund.STATE_REFUSED,
}


def refund_to_message(refund: Refund, order: Order, viewer_id: UUID | None) -> orders_pb2.Refund:
    """The refund as a member of `viewer_id` reads it (None: a service): its own tier as buyer first.

    `refund` holds the tiers that the viewer may see.
    """
    own, currency = refund.own_lines, order.currency
    net, tax = sum(line.net_micros for line in own), sum(line.tax_micros for line in own)
    tiers = sorted(_by_tier(refund).values(), key=lambda lines: (lines[0].buyer_id != viewer_id, lines[0].tier))
    return orders_pb2.Refund(
        id=str(refund.id),
        order_id=str(refund.order_id),
        order_number=order.number,
        state=_STATES[refund.state],
        reason=refund.reason,
        lines=[
            orders_pb2.RefundedLine(
                position=line.position,
                product_name=order.items[line.position - 1].product_name,
                quantity=line.quantity,
                net=money_to_message(currency, line.net_micros),
                tax=money_to_message(currency, line.tax_micros),
            )
            for line in own
        ],
        net=money_to_message(currency, net),
        tax=money_to_message(currency, tax),
        total=money_to_message(currency, net + tax),
        tiers=[
            orders_pb2.OrderTier(
                buyer_id=str(lines[0].buyer_id),
                seller_id=str(lines[0].seller_id),
                net=money_to_message(currency, sum(line.net_micros for line in lines)),
                tax=money_to_message(currency, sum(line.tax_micros for line in lines)),
            )
            for lines in tiers
        ],
        transaction_id=str(refund.transaction_id or ""),
        refusal_reason=refusal_text(refund.refusal_reason),
        created_by_name=refund.created_by_name,
        created_at=instant_to_message(refund.created_at),
        posted_at=instant_to_message(refund.posted_at),
    )


def refund_of(refund: Refund, order: Order) -> wallets_pb2.Refund:
    """What wallet is asked to take back; the same for the same refund, however often it is asked. Needs all tiers."""
    return wallets_pb2.Refund(
        request_id=str(refund.id),
        original_transaction_id=str(order.transaction_id),
        tiers=[
            wallets_pb2.ChargeTier(
                buyer_id=str(lines[0].buyer_id),
                seller_id=str(lines[0].seller_id),
                net_micros=sum(line.net_micros for line in lines),
                tax_micros=sum(line.tax_micros for line in lines),
            )
            for lines in _by_tier(refund).values()
        ],
        reason=refund.reason,
    )


def _by_tier(refund: Refund) -> dict[int, Sequence[RefundedLine]]:
    tiers: dict[int, list[RefundedLine]] = {}
    for line in refund.lines:
        tiers.setdefault(line.tier, []).append(line)
    return dict(sorted(tiers.items()))
