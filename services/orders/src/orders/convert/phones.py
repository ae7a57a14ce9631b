"""Cloud phones: what usage tells of them, and their fees as readers see them."""

from datetime import datetime
from uuid import UUID

from farthing.orders.v1 import orders_pb2
from farthing.usage.events.v1.events_pb2 import PhoneSession, RunningFeeCharged
from money import valid_currency
from money.messages import money_to_message
from servicekit.ids import id_in

from orders.convert.orders import tier_to_message
from orders.convert.values import instant_from_message, instant_to_message
from orders.domain.catalogue import ProductType, Sku
from orders.domain.numbers import parse_order_number
from orders.domain.orders import CloudPhone, Order, OrderItem, OrderState, Payer
from orders.domain.phones import RunningFee
from orders.domain.pricing import NO_TAX, Tier, TierLine

# As long as a filter takes it.
_LONGEST_PHONE_ID = 100
_LONGEST_PHONE_NAME = 200


def order_from_session(session: PhoneSession) -> Order:
    """The order that a session opens, running, without fees. ValueError for what can never be read."""
    powered_up_at = instant_from_message(session.powered_up_at)
    organization_id, seller_id = id_in(session, "organization_id"), id_in(session, "seller_id")
    sku = Sku(id_in(session, "sku_id"), id_in(session, "product_id"), session.sku_code, session.sku_name, "")
    if parse_order_number(session.order_number) != session.order_number:
        raise ValueError(f"order_number '{session.order_number}' is not an order number")
    if not valid_currency(session.currency):
        raise ValueError(f"currency '{session.currency}' is not an ISO 4217 code in capitals")
    return Order(
        root_id=id_in(session, "root_id"),
        id=id_in(session, "order_id"),
        number=session.order_number,
        state=OrderState.RUNNING,
        type=ProductType.CLOUD_PHONE,
        organization_id=organization_id,
        seller_id=seller_id,
        payer=Payer(session.user_subject, session.user_name, session.user_email),
        currency=session.currency,
        items=(OrderItem(sku, session.product_name, 1),),
        tiers=(Tier(1, organization_id, seller_id, (TierLine(0, 0, NO_TAX, 0),)),),
        created_at=powered_up_at,
        phone=_phone(session, powered_up_at),
    )


def fee_from_message(message: RunningFeeCharged) -> RunningFee:
    """ValueError for what can never be read."""
    return RunningFee(
        id=id_in(message, "fee_id"),
        period_from=instant_from_message(message.period_from),
        period_to=instant_from_message(message.period_to),
        tiers=tuple(
            Tier(
                number,
                id_in(tier, "buyer_id"),
                id_in(tier, "seller_id"),
                (TierLine(0, tier.net_micros, NO_TAX, tier.tax_micros),),
            )
            for number, tier in enumerate(message.tiers, start=1)
        ),
        transaction_id=id_in(message, "transaction_id"),
        charged_at=instant_from_message(message.charged_at),
    )


def _phone(session: PhoneSession, powered_up_at: datetime) -> CloudPhone:
    if not 1 <= len(session.cloud_phone_id) <= _LONGEST_PHONE_ID:
        raise ValueError(f"cloud_phone_id has 1 to {_LONGEST_PHONE_ID} characters, not as '{session.cloud_phone_id}'")
    if len(session.cloud_phone_name) > _LONGEST_PHONE_NAME:
        raise ValueError(
            f"cloud_phone_name has at most {_LONGEST_PHONE_NAME} characters, not as '{session.cloud_phone_name}'"
        )
    return CloudPhone(session.cloud_phone_id, session.cloud_phone_name, powered_up_at)


def fee_to_message(fee: RunningFee, currency: str, viewer_id: UUID | None) -> orders_pb2.RunningFee:
    """The fee as a member of `viewer_id` reads it (None: a service): its own tier as buyer first."""
    own = fee.tiers[0]
    tiers = sorted(fee.tiers, key=lambda tier: (tier.buyer_id != viewer_id, tier.number))
    return orders_pb2.RunningFee(
        id=str(fee.id),
        period_from=instant_to_message(fee.period_from),
        period_to=instant_to_message(fee.period_to),
        net=money_to_message(currency, own.net_micros),
        tax=money_to_message(currency, own.tax_micros),
        tiers=[tier_to_message(tier, currency) for tier in tiers],
        transaction_id=str(fee.transaction_id),
        charged_at=instant_to_message(fee.charged_at),
    )
