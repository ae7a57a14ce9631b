"""What wallet is asked, and what it answers."""

from uuid import UUID

from farthing.wallet.v1 import wallets_pb2

from orders.domain.orders import Order, Refusal, charge_item


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
